"""What a baseline takes of a cell's run on TFLite-Micro: its arena as a value, the rest as facts."""

from quantbench import gate
from quantbench.baselines.accepted_value import Move, following, move_of
from quantbench.records import Accepted, AcceptedMicro, BaselineCell, BaselineValue, Cell, Kind
from quantbench.records.measurements import MICRO_ARENA


def moves(cell: Cell, measurements: dict[str, BaselineValue], accepted: Accepted) -> list[Move]:
    """Move the arena, in place; one that was accepted goes where the artifact does not load any more."""
    if Kind.MICRO not in cell.verdicts or cell.micro is None:
        return []
    if MICRO_ARENA not in cell.measurements:
        measurements.pop(MICRO_ARENA, None)
        return []
    measured = cell.measurements[MICRO_ARENA]
    value = BaselineValue(
        value=measured.value,
        unit=measured.unit,
        n=1,
        noise=0.0,
        noise_from="an allocator repeats exactly",
        tolerance=gate.MICRO_ARENA_TOLERANCE,
        tolerance_from=gate.MICRO_ARENA_TOLERANCE_REASON,
        accepted=accepted,
    )
    move = move_of(cell, MICRO_ARENA, measurements.get(MICRO_ARENA), value)
    if move.moves:
        measurements[MICRO_ARENA] = following(value, measurements.get(MICRO_ARENA))
    return [move]


def accepted(cell: Cell, old: BaselineCell) -> AcceptedMicro | None:
    """Return what is accepted besides the arena; what was, where this run did not ask or found nothing out."""
    found = cell.micro
    if Kind.MICRO not in cell.verdicts or found is None:
        return old.micro
    answers = found.answers
    return AcceptedMicro(
        version=found.version,
        refusal=found.refusal,
        examples=answers.examples if answers else None,
        differing=len(answers.differing) if answers else None,
    )
