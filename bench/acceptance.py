"""From a run's report to a new baseline: what would move, by how much, and the files with it moved.

A value moves only when it changed by more than a third of its noise, so that baselines stay quiet
(the rule of PyTorch's compile-time benchmarks). Nothing here measures.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

from bench import acceptance_memory, gate, overlays
from bench.baselines import Baseline, json_path, stored_hashes
from bench.datasets import Array, read_predictions
from bench.environment import class_accepted, class_of, describe, memory_class, name_at, threads_in, today, with_threads
from bench.errors import BadInput
from bench.records import (
    Accepted,
    BaselineCell,
    BaselineFile,
    BaselineValue,
    Cell,
    Kind,
    Measurement,
    Overlay,
    Report,
    Verdict,
    read_record,
)
from bench.reference import ReferenceModel
from bench.stats import pooled_sd

MINIMUM_SEEDS = 5
# One cell with so many seeds tells the spread of a model's trainings as well as it is told at all; others may then be
# recorded with fewer: their prediction interval is only wider, by sqrt(1 + 1/n).
ENOUGH_DEGREES = MINIMUM_SEEDS - 1


@dataclass(frozen=True)
class Move:
    """One measurement of one cell, before and after.

    Attributes:
        old: accepted value; None where there was none.
        noise_units: change in standard deviations of one repetition; None where nothing repeats.
        moves: whether an update would take the new value.
        first: the first value that was ever accepted; None where this is it.
        between: what lies between the old and the new measuring: commits, and versions that changed.
    """

    cell: str
    measurement: str
    unit: str
    old: float | None
    new: float
    noise_units: float | None
    moves: bool
    first: float | None = None
    between: str = ""


@dataclass(frozen=True)
class Proposal:
    """What an update would write for one model.

    Attributes:
        declared: cell -> the tools' reason, of cells that are declared unsupported by it and were not so before.
        exceptions: cell -> loosened tolerances and expected failures that stay.
        overlaid: cells that are written as an overlay of the run's results class; their base stays.
        outgrown: cell -> loosened tolerances that go, for the derived ones are as wide by now.
        dropped: cells that the baseline had, and has no more: it was started afresh from a run without them.
    """

    file: BaselineFile
    predictions: dict[str, Array]
    moves: list[Move]
    declared: dict[str, str]
    exceptions: dict[str, list[str]] = field(default_factory=dict)
    overlaid: list[str] = field(default_factory=list)
    outgrown: dict[str, list[str]] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)


def check_report(report: Report, path: Path, only: set[str] | None = None) -> None:
    """Raises BadInput unless the report may become a baseline.

    Args:
        only: cells that are to be taken; all of them where None.
    """
    if report.state != "complete":
        raise BadInput(f"{path}: field 'state': the run is {report.state}; only a complete run may become a baseline")
    if report.trained_from_scratch:
        raise BadInput(f"{path}: the run trained its own float weights (--train); baselines belong to the pinned ones")
    classes = {part.environment.machine_class for part in report.shards}
    if len(classes) > 1:
        raise BadInput(
            f"{path}: field 'shards': they ran on {len(classes)} classes of machine, and a baseline belongs to one; "
            "accept the shards' own run folders, one after the other"
        )
    for cell in report.cells:
        if _unmeasured(cell) and (only is None or cell.id in only):
            raise BadInput(f"{path}: cell {cell.id} could not be measured; repair it and run again")


def _unmeasured(cell: Cell) -> bool:
    """Whether something of a cell failed, whatever is made of it: a regression or an xfail may hide it.

    That the tools refuse now what they did before can be accepted, and then is declared; a crash cannot.
    """
    if cell.failure is not None:
        return cell.failure.what != "unsupported"
    return Verdict.ERROR in (cell.verdict, *(judgement.verdict for judgement in cell.judgements))


def check_data(report: Report, path: Path, model: ReferenceModel) -> None:
    """Raises BadInput unless the run was measured on the model's data, and by its metric."""
    found = report.data_sha256.get(model.name, "none")
    if found != model.data_sha256:
        raise BadInput(
            f"{path}: field 'data_sha256': {model.name} was measured on another data pack ({found[:12]}…) than it uses "
            f"({model.data_sha256[:12]}…); run it again"
        )
    metrics = {cell.metric for cell in report.cells if cell.model == model.name} - {model.metric.name}
    if metrics:
        raise BadInput(
            f"{path}: field 'metric': {model.name} is scored by {model.metric.name}, found {min(metrics)!r}; "
            "run it again"
        )


def propose(
    report: Report,
    run_folder: Path,
    model: str,
    baseline: Baseline,
    reason: str,
    only: set[str] | None = None,
    overlay: bool = False,
    restart_drift: bool = False,
) -> Proposal:
    """The new baseline of one model.

    Args:
        baseline: as it lies on disk.
        only: cell ids to take; all of the model's where None.
        overlay: write what differs from the base for the run's results class, and leave the base alone; done without
            asking where a cell has such an overlay already.
        restart_drift: the values of these cells count as the first ones from now on.

    Raises:
        BadInput: a trained cell with too few seeds, predictions that are not those of the report, or an overlay on no
            base.
    """
    cells = [cell for cell in report.cells if cell.model == model and (only is None or cell.id in only)]
    if not cells:
        raise BadInput(f"{run_folder}: the run holds no cell of {model} that --only names")
    here = class_of(report.environment)
    accepted = Accepted(
        date=today().isoformat(),
        reason=reason,
        run=report.run,
        environment=describe(report.environment),
        commit=_commit(report),
        results_class=here,
    )
    stored = _stored(cells, run_folder, model)
    seen = overlays.seen_by(baseline, here)
    before = baseline.file.cells if baseline.file else {}
    kept = dict(before)
    predictions = dict(baseline.predictions)
    moves: list[Move] = []
    overlaid: list[str] = []
    for cell in cells:
        base, old = kept.get(cell.variant, BaselineCell()), seen.cell(cell.variant) or BaselineCell()
        entry, moved = _cell(cell, old, accepted, report, _degrees(kept, cell.variant))
        entry = _with_pooled_noise({**kept, cell.variant: entry})[cell.variant]
        if restart_drift:
            entry = _restarted(entry)
        moves += moved
        # Those of an equal score may still be others; those of a score that stays where it was stay with it.
        taken = any(move.moves or move.new == move.old for move in moved if _is_score(move))
        answers = stored.get(cell.variant) if taken else seen.predictions.get(cell.variant)
        if overlay or here in base.overlays:
            _check_base(cell, base, here, overlay)
            own = _overlaid(cell, base, here, _without_outgrown(entry), accepted, answers, baseline)
            name = overlays.stored_as(cell.variant, here)
            predictions.pop(name, None)
            if answers is not None and own is not None and "score" in own.measurements:
                predictions[name] = answers
            others = {key: value for key, value in base.overlays.items() if key != here}
            lain = others if own is None else {**others, here: own}
            kept[cell.variant] = base.model_copy(
                update={
                    "overlays": lain,
                    "latency": entry.latency or base.latency,
                    "peak_memory": entry.peak_memory or base.peak_memory,
                }
            )
            overlaid += [cell.id] if own is not None else []
            continue
        kept[cell.variant] = entry
        predictions.pop(cell.variant, None)
        if answers is not None and "score" in entry.measurements:
            predictions[cell.variant] = answers
    kept = {variant: _without_outgrown(entry) for variant, entry in _with_pooled_noise(kept).items()}
    file = BaselineFile(
        model=model,
        metric=cells[0].metric,
        data_sha256=report.data_sha256[model],
        predictions_sha256="",
        cells=kept,
    )
    now = overlays.seen_by(Baseline(file, predictions), here)
    return Proposal(
        file,
        predictions,
        moves,
        _declared(cells, seen, now),
        _exceptions(cells, kept, report),
        overlaid,
        {f"{model}/{name}": gone for name, entry in before.items() if (gone := _outgrown(entry, kept[name]))},
    )


def afresh(proposal: Proposal, folder: Path) -> Proposal:
    """The proposal, knowing which cells of the old file it leaves behind; a file that cannot be read tells none."""
    try:
        old = read_record(json_path(folder, proposal.file.model), BaselineFile, "baseline")
    except BadInput:
        return proposal
    return replace(proposal, dropped=sorted(set(old.cells) - set(proposal.file.cells)))


def _commit(report: Report) -> str | None:
    commit = report.environment.git_commit
    return f"{commit}-dirty" if commit and report.environment.git_dirty else commit


def _stored(cells: list[Cell], run_folder: Path, model: str) -> dict[str, Array]:
    """The run's predictions, which have to be those that its report tells of."""
    path = run_folder / "predictions" / f"{model}.npz"
    stored = read_predictions(path, "predictions of the run")
    for cell in cells:
        if cell.predictions_sha256 is None:
            continue
        if cell.variant not in stored or cell.predictions_sha256 not in stored_hashes(stored[cell.variant]):
            raise BadInput(
                f"{path}: array {cell.variant!r}: expected the predictions of the report ('predictions_sha256' "
                f"{cell.predictions_sha256[:12]}…); fetch the run's whole folder again"
            )
        score = cell.measurements.get("score")
        if score is not None and len(stored[cell.variant]) != score.n:
            raise BadInput(
                f"{path}: array {cell.variant!r}: expected {score.n} predictions as in the report, found "
                f"{len(stored[cell.variant])}; fetch the run's whole folder again"
            )
    return stored


def _check_base(cell: Cell, base: BaselineCell, here: str, asked: bool) -> None:
    """Raises BadInput where an overlay makes no sense."""
    if not base.measurements and base.unsupported is None:
        raise BadInput(f"--overlay: cell {cell.id} has no base to lie over; record it without --overlay first")
    score = base.measurements.get("score")
    if asked and here not in base.overlays and score is not None and class_accepted(score.accepted) == here:
        raise BadInput(
            f"--overlay: the base of cell {cell.id} was recorded in this very class ({here}); update it without "
            "--overlay, or leave the cell out with --only"
        )


def _overlaid(
    cell: Cell,
    base: BaselineCell,
    here: str,
    entry: BaselineCell,
    accepted: Accepted,
    answers: Array | None,
    baseline: Baseline,
) -> Overlay | None:
    of_base = baseline.predictions.get(cell.variant)
    several = bool(cell.seeds)  # then the score over seeds decides, and one seed's predictions are no news
    others = answers is not None and not several and not overlays.same(answers, of_base)
    return overlays.taken_apart(base, base.overlays.get(here, Overlay()), entry, accepted, several, others)


def _restarted(entry: BaselineCell) -> BaselineCell:
    fresh = {
        name: value.model_copy(update={"first": gate.first_of(value.model_copy(update={"first": None}))})
        for name, value in entry.measurements.items()
    }
    return entry.model_copy(update={"measurements": fresh})


def _without_outgrown(cell: BaselineCell) -> BaselineCell:
    """The cell without the loosenings that are no looser than the derived tolerance any more."""

    def kept(values: dict[str, BaselineValue]) -> dict[str, BaselineValue]:
        return {
            name: value.model_copy(update={"loosened": None}) if _outgrown_by(value, value.tolerance) else value
            for name, value in values.items()
        }

    update = {
        "measurements": kept(cell.measurements),
        "latency": kept(cell.latency),
        "peak_memory": kept(cell.peak_memory),
    }
    return cell.model_copy(update=update)


def _outgrown(old: BaselineCell, new: BaselineCell) -> list[str]:
    """What was loosened in the old cell and is not in the new one, which still has it."""
    pairs = [(name, value, new.measurements.get(name)) for name, value in old.measurements.items()]
    pairs += [(f"latency of {name}", value, new.latency.get(name)) for name, value in old.latency.items()]
    pairs += [(f"peak memory of {name}", value, new.peak_memory.get(name)) for name, value in old.peak_memory.items()]
    return [name for name, before, now in pairs if before.loosened and now is not None and now.loosened is None]


def _exceptions(cells: list[Cell], kept: dict[str, BaselineCell], report: Report) -> dict[str, list[str]]:
    machine = report.environment.machine_class
    found = {c.id: gate.exceptions(kept[c.variant], c.metric_unit, today(), machine) for c in cells}
    return {cell_id: sentences for cell_id, sentences in found.items() if sentences}


def _declared(cells: list[Cell], before: Baseline, now: Baseline) -> dict[str, str]:
    """What is declared now and was not: a cell cannot be made, is not what its name says, or differs on a GPU."""
    found = {}
    for cell in cells:
        old = before.cell(cell.variant) or BaselineCell()
        new = now.cell(cell.variant) or BaselineCell()
        if cell.failure and not old.unsupported:
            found[cell.id] = cell.failure.reason
        if new.broken_promise and new.broken_promise != old.broken_promise:
            found[cell.id] = f"not what its name says: {new.broken_promise}"
        for device, share in new.gpu_agreement.items():
            if share != old.gpu_agreement.get(device):
                found[cell.id] = f"answers as litert-cpu on {100 * share:.1f} % of the examples on {device}"
    return found


def _is_score(move: Move) -> bool:
    return move.measurement == "score"


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
        return BaselineCell(unsupported=cell.failure.reason, xfail=old.xfail, overlays=old.overlays), []
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
        judged = (Kind.ACCURACY if name == "score" else Kind.SIZE) in cell.verdicts
        if name in cell.measurements and judged:
            value = _value(name, cell, accepted)
            move = _move(cell, name, measurements.get(name), value)
            if name == "score" and len(cell.seeds) < known_seeds:
                move = replace(move, moves=False)  # a mean of more seeds is not replaced by one of fewer
            moves.append(move)
            if move.moves:
                measurements[name] = _following(value, measurements.get(name))
    latency = dict(old.latency)
    moves += _latency_moves(cell, latency, accepted, report)
    peak_memory = dict(old.peak_memory)
    moves += _memory_moves(cell, measurements, peak_memory, accepted, report)
    agreement = cell.measurements.get("reference_agreement")
    judged = Kind.STRUCTURE in cell.verdicts
    gpu_agreement = _gpu_agreement(cell, old, report)
    return BaselineCell(
        measurements=measurements,
        latency=latency,
        peak_memory=peak_memory,
        broken_promise=_broken_promise(cell) if judged else old.broken_promise,
        census=(cell.census if judged else None) or old.census,
        artifact_sha256=cell.artifact_sha256,
        reference_sha256=cell.reference_sha256,
        reference_agreement=agreement.value if agreement else None,
        gpu_agreement=gpu_agreement,
        overlays=old.overlays,
        xfail=old.xfail,
    ), moves


def _gpu_agreement(cell: Cell, old: BaselineCell, report: Report) -> dict[str, float]:
    """Agreements by device, as far as they are below the usual limit; a device that was not measured keeps its own."""
    found = cell.measurements.get("gpu_agreement")
    device = report.environment.gpu if found is not None and Kind.GPU in cell.verdicts else None
    if device is None or found is None:
        return old.gpu_agreement
    others = {name: value for name, value in old.gpu_agreement.items() if name != device.name}
    return others if found.value >= gate.GPU_AGREEMENT else {**others, device.name: found.value}


def _following(value: BaselineValue, old: BaselineValue | None) -> BaselineValue:
    """A newly accepted value, which keeps what the one before it started from, and its loosened tolerance if wider."""
    loosened = old.loosened if old and not _outgrown_by(old, value.tolerance) else None
    return value.model_copy(update={"first": gate.first_of(old or value), "loosened": loosened})


def _outgrown_by(value: BaselineValue, derived: float) -> bool:
    return value.loosened is not None and value.loosened.tolerance <= derived


def between(old: Accepted, new: Accepted) -> str:
    """What came between two measurings, as far as both recorded it: versions that changed, and the commits."""
    before, after = _facts(old), _facts(new)
    changed = [
        f"{name} {before.get(name, 'absent')} → {after.get(name, 'absent')}"
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]
    commits = [(accepted.commit or "unknown")[:12] + ("+" if _dirty(accepted) else "") for accepted in (old, new)]
    changed.append(f"commit {commits[0]}" if commits[0] == commits[1] else f"commits {commits[0]} → {commits[1]}")
    return ", ".join(changed)


def _dirty(accepted: Accepted) -> bool:
    return bool(accepted.commit and accepted.commit.endswith("-dirty"))


def _facts(accepted: Accepted) -> dict[str, str]:
    """Name -> version, from the line that :func:`bench.environment.describe` makes."""
    processor, _, rest = accepted.environment.partition(", Python ")
    packages = [part.rpartition(" ") for part in f"Python {rest}".split(", ")]
    return {"CPU": processor} | {name: version for name, _, version in packages}


def _latency_moves(cell: Cell, latency: dict[str, BaselineValue], accepted: Accepted, report: Report) -> list[Move]:
    """Moves what of the latency changed, in place, for every number of threads that the run judged."""
    if Kind.LATENCY not in cell.verdicts:
        return []
    moves = []
    for name, measured in cell.measurements.items():
        threads = threads_in(name)
        if name != name_at(latency_name(cell), threads):
            continue
        machine = with_threads(report.environment.machine_class, threads)
        value = _latency_value(measured, accepted)
        move = _move(cell, name, latency.get(machine), value)
        moves.append(move)
        if move.moves:
            latency[machine] = _following(value, latency.get(machine))
    return moves


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
            kept[key] = _following(value, kept.get(key))
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
    came = between(old.accepted, new.accepted)
    first = gate.first_of(old).value
    return Move(cell.id, name, new.unit, old.value, new.value, units, moves, first, came)


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
            tolerance_from="the spread of trainings and the run's false-alarm budget, worked out when it is judged"
            if cell.seeds
            else "none needed: changed predictions get a paired test",
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
        tolerance=gate.LATENCY_TOLERANCE,
        tolerance_from=gate.LATENCY_TOLERANCE_REASON,
        accepted=accepted,
    )


def _with_pooled_noise(cells: dict[str, BaselineCell]) -> dict[str, BaselineCell]:
    """A cell that trained once has no spread of its own; the model's other trained cells lend it theirs."""
    scores = {name: cell.measurements["score"] for name, cell in cells.items() if "score" in cell.measurements}
    samples = [score.values for score in scores.values() if score.values and len(score.values) > 1]
    if not samples:
        return cells
    update = {
        "noise": pooled_sd(samples)[0],
        "noise_from": "sd over seeds, pooled over the model's other trained cells",
    }
    changed = dict(cells)
    for name, score in scores.items():
        if score.values and len(score.values) == 1:
            values = {**cells[name].measurements, "score": score.model_copy(update=update)}
            changed[name] = cells[name].model_copy(update={"measurements": values})
    return changed


def distance_to_floor(cell: Cell) -> float | None:
    """How much more the score may drop before the floor, in the metric's unit; None where no floor was judged."""
    for judgement in cell.judgements:
        if judgement.against == "floor" and judgement.tolerance is not None and judgement.change is not None:
            return judgement.tolerance - judgement.change
    return None
