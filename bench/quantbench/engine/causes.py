"""Look for the causes of a run's red scores while its artifacts are at hand."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import zip_longest
from pathlib import Path

from quantbench.build.store import Store, default_root
from quantbench.engine import artifacts, explain
from quantbench.engine.cell import CellId
from quantbench.errors import BadInput
from quantbench.records import FLOAT_CONTROL, Attribution, Cell, Kind, Verdict
from quantbench.reference.model import ReferenceModel

# What a red run may take longer. Cells that are red together mostly have one cause, so that the first ones tell it.
MOST_CELLS, MOST_SECONDS = 5, 60.0
# What is kept in a report; ``quantbench explain`` shows the rest.
_SUSPECTS, _CHANGES = 3, 40


def of_reds(
    cells: Iterable[Cell],
    made: Mapping[CellId, Path],
    models: Mapping[str, ReferenceModel],
    accepted: Callable[[Cell], str | None],
    say: Callable[[str], None],
) -> Iterator[tuple[CellId, Attribution]]:
    """Attribute the error of the cells whose score or outputs are red; a cell that cannot be explained is left out.

    Args:
        made: cell -> its artifact.
        accepted: cell -> hash of the accepted artifact; None where none is recorded.
    """
    since = time.monotonic()
    reds = [cell for cell in cells if is_red(cell) and cell.id in made]
    for cell in in_turns(reds)[:MOST_CELLS]:
        left = MOST_SECONDS - (time.monotonic() - since)
        if left <= 0:
            break
        say(f"looking for the cause: {cell.id}")
        try:
            attributed = explain.attributed(subject(cell, made, accepted), models[cell.model], left)
        except (BadInput, OSError):
            continue
        kept = {"suspects": attributed.suspects[:_SUSPECTS], "changes": attributed.changes[:_CHANGES]}
        yield cell.id, attributed.model_copy(update={"operators": [], **kept})


def in_turns(cells: Iterable[Cell]) -> list[Cell]:
    """Sort cells so that each model has its first one before any has its second, for few of many are explained."""
    of_model: dict[str, list[Cell]] = {}
    for cell in cells:
        of_model.setdefault(cell.model, []).append(cell)
    return [cell for turn in zip_longest(*of_model.values()) for cell in turn if cell is not None]


def is_red(cell: Cell) -> bool:
    """Check whether a cell's score or outputs got worse, or break a limit."""
    return cell.verdicts.get(Kind.ACCURACY) is Verdict.REGRESSED


def subject(cell: Cell, made: Mapping[CellId, Path], accepted: Callable[[Cell], str | None]) -> explain.Subject:
    """Collect the artifacts of a cell of a run that has just ended."""
    control = None if cell.seeds else made.get(f"{cell.model}/{FLOAT_CONTROL}")
    sha256 = accepted(cell)
    known = None if sha256 in (None, cell.artifact_sha256) else artifacts.in_store(Store(default_root()), str(sha256))
    return explain.Subject(
        cell.id,
        made[cell.id].read_bytes(),
        control.read_bytes() if control is not None and cell.variant != FLOAT_CONTROL else None,
        known.read_bytes() if known is not None else None,
    )
