"""Look for the causes of a run's red scores while its artifacts are at hand."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

from quantbench.build.store import Store, default_root
from quantbench.engine import artifacts, explain
from quantbench.engine.cell import CellId
from quantbench.errors import BadInput
from quantbench.records import FLOAT_CONTROL, Attribution, Cell, OperatorError
from quantbench.reference.model import ReferenceModel

# What a red run may take longer. Cells that are red together mostly have one cause, so that the first ones tell it.
MOST_CELLS, MOST_SECONDS = 5, 60.0
# What is kept in a report; ``quantbench explain`` shows the rest. An operator takes some 230 bytes there, and as many
# on the page.
_SUSPECTS, _CHANGES, _UNTRIED, MOST_OPERATORS = 3, 40, 3, 400
_LONGEST_NAME = 80
Artifact = Callable[[CellId], bytes | None]


def of_reds(
    cells: Iterable[Cell],
    artifact: Artifact,
    models: Mapping[str, ReferenceModel],
    accepted: Callable[[Cell], str | None],
    say: Callable[[str], None],
    foreign: bool = False,
) -> Iterator[tuple[CellId, Attribution]]:
    """Attribute the error of the cells whose score or outputs are red; a cell that cannot be explained is left out.

    Those that have a cause already, as of a shard, count among the cells that may be explained, and keep it.

    Args:
        artifact: cell -> its artifact; None where it is not at hand.
        accepted: cell -> hash of the accepted artifact; None where none is recorded.
        foreign: whether artifacts may have been made elsewhere; see :class:`quantbench.engine.explain.Subject`.
    """
    since, cells = time.monotonic(), list(cells)
    reds = [cell for cell in cells if explain.is_red(cell)]
    waiting = [cell for cell in reds if cell.attribution is None]
    tried = len(reds) - len(waiting)
    for cell in in_turns(waiting):
        left = MOST_SECONDS - (time.monotonic() - since)
        if left <= 0 or tried >= MOST_CELLS:
            break
        try:
            taken = subject(cell, artifact, accepted, explain.moved(cell, cells))
            if taken is None:
                continue
            tried += 1
            say(f"looking for the cause: {cell.id}")
            attributed = explain.attributed(replace(taken, foreign=foreign), models[cell.model], left)
        except (BadInput, OSError):
            continue
        yield cell.id, for_report(attributed)


def in_turns(cells: Iterable[Cell]) -> list[Cell]:
    """Sort cells so that each model has its first one before any has its second, for few of many are explained."""
    of_model: dict[str, list[Cell]] = {}
    for cell in cells:
        of_model.setdefault(cell.model, []).append(cell)
    return [cell for turn in zip_longest(*of_model.values()) for cell in turn if cell is not None]


def made_here(made: Mapping[CellId, Path]) -> Artifact:
    """Return what reads the artifacts of a run from where it made them."""

    def read(cell: CellId) -> bytes | None:
        return made[cell].read_bytes() if cell in made else None

    return read


def for_report(found: Attribution) -> Attribution:
    """Return what a report keeps: the suspects, some changes, and the errors along the graph, rounded."""
    return found.model_copy(
        update={
            "suspects": found.suspects[:_SUSPECTS],
            "changes": found.changes[:_CHANGES],
            "untried": found.untried[:_UNTRIED],
            "operators": [_short(one) for one in _largest(found)],
        }
    )


def _largest(found: Attribution) -> list[OperatorError]:
    """Return the operators in their order; of too many, the suspects and those with the largest errors."""
    if len(found.operators) <= MOST_OPERATORS:
        return found.operators
    suspects = {one.position for one in found.suspects}
    ranked = sorted(found.operators, key=lambda one: (one.position not in suspects, one.finite, -one.error))
    return sorted(ranked[:MOST_OPERATORS], key=lambda one: one.position)


def _short(one: OperatorError) -> OperatorError:
    """Round what a chart and a sentence need; leave out the rest."""
    rounded = {name: _three(getattr(one, name)) for name in ("error", "own", "cosine", "clipped", "steps")}
    name = next((part for part in reversed(one.tensor.split(";")) if part), "")
    return one.model_copy(update={**rounded, "tensor": name[-_LONGEST_NAME:], "low": 0.0, "high": 0.0})


def _three(value: float | None) -> float | None:
    """Round to three digits."""
    return None if value is None else float(f"{value:.3g}")


def subject(
    cell: Cell, artifact: Artifact, accepted: Callable[[Cell], str | None], moved: bool = False
) -> explain.Subject | None:
    """Collect the artifacts of a cell; None where its own is not at hand, or nothing that it may be compared with.

    Args:
        moved: whether float32 itself got worse: then the accepted artifact alone tells what changed.
    """
    content = artifact(cell.id)
    if content is None:
        return None
    control = None if cell.seeds or cell.variant == FLOAT_CONTROL else artifact(f"{cell.model}/{FLOAT_CONTROL}")
    sha256 = accepted(cell)
    known = None if sha256 in (None, cell.artifact_sha256) else artifacts.in_store(Store(default_root()), str(sha256))
    if moved and known is None:
        return None
    before = known.read_bytes() if known is not None else None
    return explain.Subject(cell.id, content, None if moved else control, before, output=explain.red_output(cell))
