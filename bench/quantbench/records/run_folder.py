"""Read the files of a run folder."""

import json
import os
from pathlib import Path

from quantbench import files
from quantbench.errors import BadInput
from quantbench.records import Evidence, Report, parts, read_record

REPORT = "report.json"

LATEST = "latest"

EVIDENCE = "evidence"


def evidence_of(run: Path, cell_id: str) -> Evidence:
    """Return the evidence of a cell of a run.

    Raises:
        BadInput: there is no such run, or it has no such cell.
    """
    model, variant = parts(cell_id)
    folder = run_folder(run)
    path = folder / EVIDENCE / f"{model}.json"
    if not os.path.lexists(path):
        raise BadInput(f"{path}: holds no evidence of {cell_id}; give a run folder and a cell of it")
    text = files.read_text(path, "evidence", files.LARGEST_EVIDENCE, inside=folder)
    try:
        return Evidence.model_validate(json.loads(text)[variant])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BadInput(f"{path}: holds no evidence of {cell_id}; give a run folder and a cell of it") from None


def read(run: Path) -> tuple[Report, Path]:
    """Return the report and the folder of a run, given as its folder or its ``report.json``.

    Raises:
        BadInput: there is no such run, or its report is damaged.
    """
    folder = run_folder(run)
    named = not run.is_dir()  # then a person named this very file, which may be a link
    path = run if named else folder / REPORT
    if not os.path.lexists(path):
        raise BadInput(f"{run}: no run there; give a run folder such as reports/latest, or its report.json")
    return read_record(path, Report, "report", follow=named), folder


def run_folder(run: Path) -> Path:
    """Return the folder of a run given by a person, as a folder or a ``report.json``.

    ``latest`` is a link made by runs, and may come with a folder of others: it must lead to a folder beside it.

    Raises:
        BadInput: it leads anywhere else.
    """
    folder = run if run.is_dir() else run.parent
    if folder.name == LATEST and folder.is_symlink():
        to = os.readlink(folder)
        if to in ("", ".", "..") or "/" in to or not files.is_folder(folder.parent / to):
            raise BadInput(
                f"{folder}: expected a link to a run's folder beside it, found one to {to!r}; remove it, or give that "
                "folder itself"
            )
    return folder


def load_report(run: Path | str) -> Report:
    """Read the report of a finished run.

    Args:
        run: its folder, such as ``reports/latest``, or its ``report.json``.

    Raises:
        BadInput: there is no such run, or its report is damaged; the message says what to do.
    """
    if not isinstance(run, str | os.PathLike):
        raise BadInput(f"run: expected the path of a run folder or of its report.json, found {run!r}")
    return read(Path(run))[0]
