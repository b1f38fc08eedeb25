"""Set two artifacts beside each other, operator by operator: two files, or a cell of two runs."""

from collections.abc import Iterable
from pathlib import Path

from quantbench.errors import BadInput
from quantbench.records import FileChanges, Report
from quantbench.records.run_folder import read
from quantbench.safety import tflite
from quantbench.tflite import changes, graph

MOST_CELLS = 5  # of two runs
MOST_OPERATORS = 10_000  # as many as a census describes


def of_bytes(old: str, new: str, before: bytes, after: bytes) -> FileChanges:
    """List what one artifact has otherwise than another one.

    Args:
        old, new: their names.

    Raises:
        ValueError: one is damaged, or has more operators than any model.
    """
    for name, content in ((old, before), (new, after)):
        if (count := len(graph.read(content).operators)) > MOST_OPERATORS:
            raise ValueError(f"{name} has {count:,} operators, and files of up to {MOST_OPERATORS:,} are compared")
    share = changes.matched_share(before, after)
    return FileChanges(old=old, new=new, matched=share, changes=changes.between(before, after))


def of_two(old: str, new: str, run: Path) -> FileChanges:
    """List what an artifact has otherwise than another one; each is a ``.tflite`` file or a cell of the run.

    Raises:
        BadInput: there is no such file or cell, or it is no whole ``.tflite``.
    """
    contents = [_content(name, run) for name in (old, new)]
    try:
        return of_bytes(old, new, *contents)
    except ValueError as error:
        raise BadInput(f"{new}: cannot be compared with {old}: {error}; give others") from None


def _content(name: str, run: Path) -> bytes:
    from quantbench.engine import artifacts

    if not is_file(name):
        return artifacts.find(*read(run), name)[1]
    content = tflite.content(Path(name))
    try:
        graph.read(content)
    except ValueError as error:
        raise BadInput(f"{name}: {error}; give a .tflite file") from None
    return content


def is_file(name: str) -> bool:
    """Check whether a name is meant as a file, and not as a cell."""
    return name.lower().endswith(".tflite") or Path(name).is_file()


def of_runs(old: tuple[Report, Path], new: tuple[Report, Path], cells: Iterable[str]) -> list[FileChanges]:
    """List what changed in the artifacts of some cells, of the first few whose artifacts of both runs are at hand.

    Args:
        old, new: reports with their folders.
    """
    made = [{cell.id: cell.artifact_sha256 for cell in side[0].cells} for side in (old, new)]
    found: list[FileChanges] = []
    for cell in cells:
        if len(found) == MOST_CELLS:
            break
        if made[0].get(cell) == made[1].get(cell):
            continue
        from quantbench.engine import artifacts  # slow to load, and in most comparisons nothing else was made

        try:
            before, after = (artifacts.find(*side, cell)[1] for side in (old, new))
            found.append(of_bytes(cell, cell, before, after))
        except (BadInput, ValueError):  # not made there, or gone
            continue
    return found
