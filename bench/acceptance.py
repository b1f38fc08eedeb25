"""From a run's report to a new baseline: what would move, by how much, and the files with it moved.

A value moves only when it changed by more than a third of its noise, so that baselines stay quiet
(the rule of PyTorch's compile-time benchmarks). Nothing here measures.
"""

import datetime
from dataclasses import dataclass, replace
from pathlib import Path

from bench import acceptance_memory, gate
from bench.baselines import Baseline
from bench.datasets import Array, read_npz
from bench.environment import describe, memory_class
from bench.errors import BadInput
from bench.records import Accepted, BaselineCell, BaselineFile, BaselineValue, Cell, Kind, Measurement, Report, Verdict
from bench.stats import pooled_sd, prediction_tolerance

MINIMUM_SEEDS = 5
# One cell with so many seeds tells the spread of a model's trainings as well as it is told at all; others may then be
# recorded with fewer: their prediction interval is only wider, by sqrt(1 + 1/n).
ENOUGH_DEGREES = MINIMUM_SEEDS - 1
LATENCY_TOLERANCE = 0.05
LATENCY_TOLERANCE_REASON = "policy: less than 5 % is not called red until reruns of this machine class are on record"


@dataclass(frozen=True)
class Move:
    """One measurement of one cell, before and after.

    Attributes:
        old: accepted value; None where there was none.
        noise_units: change in standard deviations of one repetition; None where nothing repeats.
        moves: whether an update would take the new value.
    """

    cell: str
    measurement: str
    unit: str
    old: float | None
    new: float
    noise_units: float | None
    moves: bool


@dataclass(frozen=True)
class Proposal:
    """What an update would write for one model.

    Attributes:
        declared: cell -> the tools' reason, of cells that are declared unsupported by it and were not so before.
        structure: cell -> what its artifact is made of now that it was not made of before.
    """

    file: BaselineFile
    predictions: dict[str, Array]
    moves: list[Move]
    declared: dict[str, str]
    structure: dict[str, list[str]]


def check_report(report: Report, path: Path, only: set[str] | None = None) -> None:
    """Raises BadInput unless the report may become a baseline.

    Args:
        only: cells that are to be taken; all of them where None.
    """
    if report.state != "complete":
        raise BadInput(f"{path}: field 'state': the run is {report.state}; only a complete run may become a baseline")
    if report.trained_from_scratch:
        raise BadInput(f"{path}: the run trained its own float weights (--train); baselines belong to the pinned ones")
    for cell in report.cells:
        # That the tools refuse now what they did before can be accepted, and then is declared; a crash cannot.
        refused = cell.failure is not None and cell.failure.what == "unsupported"
        if cell.verdict is Verdict.ERROR and not refused and (only is None or cell.id in only):
            raise BadInput(f"{path}: cell {cell.id} could not be measured; repair it and run again")


def propose(
    report: Report, run_folder: Path, model: str, baseline: Baseline, reason: str, only: set[str] | None = None
) -> Proposal:
    """The new baseline of one model.

    Args:
        only: cell ids to take; all of the model's where None.

    Raises:
        BadInput: a trained cell with too few seeds, or predictions that are not those of the report.
    """
    cells = [cell for cell in report.cells if cell.model == model and (only is None or cell.id in only)]
    if not cells:
        raise BadInput(f"{run_folder}: the run holds no cell of {model} that --only names")
    accepted = Accepted(
        date=datetime.date.today().isoformat(), reason=reason, run=report.run, environment=describe(report.environment)
    )
    stored = read_npz(run_folder / "predictions" / f"{model}.npz", "predictions of the run")
    kept = dict(baseline.file.cells) if baseline.file else {}
    predictions = dict(baseline.predictions)
    moves: list[Move] = []
    for cell in cells:
        others = _degrees(kept, cell.variant)
        entry, moved = _cell(cell, kept.get(cell.variant, BaselineCell()), accepted, report, others)
        kept[cell.variant] = entry
        moves += moved
        # Those of an equal score may still be others; those of a score that stays where it was stay with it.
        if cell.variant in stored and any(move.moves or move.new == move.old for move in moved if _is_score(move)):
            predictions[cell.variant] = stored[cell.variant]
    file = BaselineFile(
        model=model,
        metric=cells[0].metric,
        data_sha256=report.data_sha256[model],
        predictions_sha256="",
        cells=_with_trained_tolerance(kept, report, cells[0].metric_scale),
    )
    before = {name for name, entry in (baseline.file.cells if baseline.file else {}).items() if entry.unsupported}
    declared = {cell.id: cell.failure.reason for cell in cells if cell.failure and cell.variant not in before}
    known = {name: entry.broken_promise for name, entry in (baseline.file.cells if baseline.file else {}).items()}
    for cell in cells:
        reason_broken = kept[cell.variant].broken_promise
        if reason_broken and reason_broken != known.get(cell.variant):
            declared[cell.id] = f"not what its name says: {reason_broken}"
    return Proposal(file, predictions, moves, declared, _structure(cells, baseline))


def _is_score(move: Move) -> bool:
    return move.measurement == "score"


def _structure(cells: list[Cell], baseline: Baseline) -> dict[str, list[str]]:
    found = {}
    for cell in cells:
        old = baseline.cell(cell.variant)
        if cell.census is None:
            continue
        if old is None or old.census is None:
            found[cell.id] = ["first census"]
        elif changes := gate.differences(cell.census, old.census, bool(cell.seeds)):
            found[cell.id] = changes
    return found


def _degrees(cells: dict[str, BaselineCell], but: str) -> int:
    """Degrees of freedom of the spread over seeds, of all trained cells but one."""
    scores = [
        cell.measurements["score"] for name, cell in cells.items() if name != but and "score" in cell.measurements
    ]
    return sum(len(score.values) - 1 for score in scores if score.values)


def _cell(
    cell: Cell, old: BaselineCell, accepted: Accepted, report: Report, other_degrees: int
) -> tuple[BaselineCell, list[Move]]:
    if cell.failure is not None:
        return BaselineCell(unsupported=cell.failure.reason), []
    measurements = dict(old.measurements)
    known_seeds = len(measurements["score"].values or []) if "score" in measurements else 0
    too_few = 0 < len(cell.seeds) < MINIMUM_SEEDS and "score" in cell.measurements
    if too_few and not known_seeds and other_degrees < ENOUGH_DEGREES:
        raise BadInput(
            f"cell {cell.id}: trained with {len(cell.seeds)} seed(s), a baseline needs {MINIMUM_SEEDS} as long as the "
            f"model's other trained cells do not tell the spread; run again with --seeds {MINIMUM_SEEDS}, or leave the "
            "cell out with --only"
        )
    moves = []
    for name in ("score", *gate.SIZE_TOLERANCES):
        if name in cell.measurements:
            value = _value(name, cell, accepted)
            move = _move(cell, name, measurements.get(name), value)
            if name == "score" and len(cell.seeds) < known_seeds:
                move = replace(move, moves=False)  # a mean of more seeds is not replaced by one of fewer
            moves.append(move)
            if move.moves:
                measurements[name] = value
    latency = dict(old.latency)
    name = latency_name(cell)
    if name in cell.measurements and Kind.LATENCY in cell.verdicts:
        machine = report.environment.machine_class
        value = _latency_value(cell.measurements[name], accepted)
        move = _move(cell, name, latency.get(machine), value)
        moves.append(move)
        if move.moves:
            latency[machine] = value
    peak_memory = dict(old.peak_memory)
    moves += _memory_moves(cell, measurements, peak_memory, accepted, report)
    agreement = cell.measurements.get("reference_agreement")
    judged = Kind.STRUCTURE in cell.verdicts
    return BaselineCell(
        measurements=measurements,
        latency=latency,
        peak_memory=peak_memory,
        broken_promise=_broken_promise(cell) if judged else old.broken_promise,
        census=(cell.census if judged else None) or old.census,
        artifact_sha256=cell.artifact_sha256,
        reference_sha256=cell.reference_sha256,
        reference_agreement=agreement.value if agreement else None,
    ), moves


def _memory_moves(
    cell: Cell,
    measurements: dict[str, BaselineValue],
    peak_memory: dict[str, BaselineValue],
    accepted: Accepted,
    report: Report,
) -> list[Move]:
    """Moves what of the memory changed, in place; nothing where a run did not judge it."""
    if Kind.MEMORY not in cell.verdicts:
        return []
    found = [(measurements, name, name, value) for name, value in acceptance_memory.values(cell, accepted).items()]
    peak = acceptance_memory.peak(cell, accepted)
    if peak is not None:
        found.append((peak_memory, memory_class(report.environment), "peak_memory", peak))
    moves = []
    for kept, key, name, value in found:
        move = _move(cell, name, kept.get(key), value)
        move = replace(move, moves=move.moves and not acceptance_memory.stays(kept.get(key), value))
        moves.append(move)
        if move.moves:
            kept[key] = value
    return moves


def _broken_promise(cell: Cell) -> str | None:
    """Why the artifact is not what its name says; None where it is."""
    for judgement in cell.judgements:
        if judgement.measurement == "promise" and judgement.verdict in (Verdict.REGRESSED, Verdict.UNSUPPORTED):
            return judgement.message.partition(": ")[2].partition(": ")[2]
    return None


def latency_name(cell: Cell) -> str:
    """The latency measurement that is judged: the float control's against the yardstick, else the ratio to it."""
    return "control_to_yardstick" if cell.variant == "float32" else "latency_ratio"


def _move(cell: Cell, name: str, old: BaselineValue | None, new: BaselineValue) -> Move:
    if old is None:
        return Move(cell.id, name, new.unit, None, new.value, None, moves=True)
    change = new.value - old.value
    units = abs(change) / old.noise if old.noise else None
    moves = change != 0 if units is None else units > 1 / 3
    return Move(cell.id, name, new.unit, old.value, new.value, units, moves)


def _value(name: str, cell: Cell, accepted: Accepted) -> BaselineValue:
    measured = cell.measurements[name]
    if name == "score":
        return BaselineValue(
            value=measured.value,
            unit=measured.unit,
            n=measured.n,
            noise=measured.spread or 0.0,
            noise_from="sd over seeds"
            if cell.seeds
            else "conversion and inference repeat exactly; any change is tested",
            values=measured.values,
            tolerance=0.0,
            tolerance_from="none needed: changed predictions get an exact McNemar test",
            accepted=accepted,
        )
    return BaselineValue(
        value=measured.value,
        unit=measured.unit,
        n=1,
        noise=0.0,
        noise_from="a file has one size",
        tolerance=gate.SIZE_TOLERANCES[name],
        tolerance_from=gate.SIZE_TOLERANCE_REASONS[name],
        accepted=accepted,
    )


def _latency_value(measured: Measurement, accepted: Accepted) -> BaselineValue:
    return BaselineValue(
        value=measured.value,
        unit=measured.unit,
        n=measured.n,
        noise=measured.spread or 0.0,
        noise_from="sd over fresh processes of one run",
        values=measured.values,
        tolerance=LATENCY_TOLERANCE,
        tolerance_from=LATENCY_TOLERANCE_REASON,
        accepted=accepted,
    )


def _with_trained_tolerance(cells: dict[str, BaselineCell], report: Report, scale: float) -> dict[str, BaselineCell]:
    """Tolerances of the cells that train: a prediction interval, its spread pooled over all of them."""
    scores = {name: cell.measurements["score"] for name, cell in cells.items() if "score" in cell.measurements}
    trained = {name: score.values for name, score in scores.items() if score.values}
    samples = [values for values in trained.values() if len(values) > 1]
    if not samples:
        return cells
    sd, degrees = pooled_sd(samples)
    share = report.false_alarms.share
    changed = dict(cells)
    for name, values in trained.items():
        tolerance = round(scale * prediction_tolerance(sd, len(values), degrees, share), 4)
        source = (
            f"one-sided prediction interval at {share:.2g} of false alarms for a mean of {len(values)}; sd "
            f"{scale * sd:.3f} pooled over {len(samples)} trained cells ({degrees} degrees of freedom)"
        )
        update: dict[str, object] = {"tolerance": tolerance, "tolerance_from": source}
        if len(values) == 1:
            update |= {"noise": sd, "noise_from": "sd over seeds, pooled over the model's other trained cells"}
        score = scores[name].model_copy(update=update)
        changed[name] = cells[name].model_copy(update={"measurements": {**cells[name].measurements, "score": score}})
    return changed


def distance_to_floor(cell: Cell) -> float | None:
    """How much more the score may drop before the floor, in the metric's unit; None where no floor was judged."""
    for judgement in cell.judgements:
        if judgement.against == "floor" and judgement.tolerance is not None and judgement.change is not None:
            return judgement.tolerance - judgement.change
    return None
