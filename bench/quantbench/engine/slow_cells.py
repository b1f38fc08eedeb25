"""Time a run's slow cells by operator while its artifacts are at hand."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from quantbench.engine import causes, explain_time
from quantbench.engine.cell import CellId
from quantbench.engine.explain import Subject
from quantbench.errors import BadInput
from quantbench.measure import operator_times
from quantbench.records import FLOAT_CONTROL, Cell, Kind, OperatorTimes, Verdict
from quantbench.reference.model import ReferenceModel

# What a run with slow cells may take longer; one cell takes about four seconds. Cells that are slow together mostly
# have one cause, so that the first ones tell it.
MOST_CELLS, MOST_SECONDS = 3, 30.0
# What is kept in a report; ``quantbench explain --time`` shows the rest.
_KEPT = 5


def of_slow(
    cells: Iterable[Cell],
    artifact: causes.Artifact,
    models: Mapping[str, ReferenceModel],
    accepted: Callable[[Cell], str | None],
    say: Callable[[str], None],
) -> dict[CellId, OperatorTimes]:
    """Time the cells that are slower than accepted; for arguments, see :func:`quantbench.engine.causes.of_reds`.

    A cell that cannot be timed by operator is left out.
    """
    found: dict[CellId, OperatorTimes] = {}
    since, tried = time.monotonic(), 0
    for cell in filter(is_slow, cells):
        left = MOST_SECONDS - (time.monotonic() - since)
        if left <= 0 or tried >= MOST_CELLS:
            break
        try:
            subject = _subject(cell, artifact, accepted)
            if subject is None:
                continue
            tried += 1
            say(f"timing by operator: {cell.id}")
            timed = explain_time.timed(subject, models[cell.model], left)
        except (BadInput, OSError):
            continue
        found[cell.id] = operator_times.largest(timed, _KEPT)
    return found


def _subject(cell: Cell, artifact: causes.Artifact, accepted: Callable[[Cell], str | None]) -> Subject | None:
    """Add the float model of a trained cell, whose weights are others but take no other time."""
    subject = causes.subject(cell, artifact, accepted)
    if subject is None or subject.control is not None or cell.variant == FLOAT_CONTROL:
        return subject
    return replace(subject, control=artifact(f"{cell.model}/{FLOAT_CONTROL}"))


def is_slow(cell: Cell) -> bool:
    """Check whether a cell's latency got worse, for certain or probably."""
    return cell.verdicts.get(Kind.LATENCY) in (Verdict.REGRESSED, Verdict.WARN)
