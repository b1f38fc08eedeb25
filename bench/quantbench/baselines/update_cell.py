"""What a baseline takes of one cell of a run: which values move, and the facts that go with them.

Of its memory: arena, ratio to float32, and by machine class float32's own peak and what the model takes of it.
"""

from dataclasses import replace

from quantbench import gate
from quantbench.baselines import derived, micro
from quantbench.baselines.accepted_value import Move, following, latency_of, move_of, value_of
from quantbench.baselines.outputs import outputs_in
from quantbench.core.environment import memory_class, with_threads
from quantbench.errors import BadInput
from quantbench.records import (
    Accepted,
    AcceptedGpu,
    BaselineCell,
    BaselineValue,
    Cell,
    Device,
    Kind,
    Measurement,
    OperatorCount,
    Report,
    Verdict,
)
from quantbench.records.measurements import (
    INSTRUCTIONS,
    OF_YARDSTICK,
    OUTPUT_DISTANCE,
    STALLS,
    judged_latency,
    kind_of,
    name_at,
    of_output,
    threads_in,
)

LENT = "sd over seeds, pooled over the model's cells that train alike, or over all where these have too few seeds"
MINIMUM_SEEDS = 5
# One cell with so many seeds tells the spread of a model's trainings as well as it is told at all; others may then be
# recorded with fewer: their prediction interval is only wider, by sqrt(1 + 1/n).
ENOUGH_DEGREES = MINIMUM_SEEDS - 1
# Four of 93 artifacts, with int4 weights, counted up to 0.02 % more in another process: their kernels allocate memory.
COUNTED_ALIKE = 0.0005
FRESH = "sd over fresh processes of one run"
# What a device makes of a file says nothing about which file is accepted, and machines may build it differently. A
# latency has the hash of its own file.
_OF_A_DEVICE = {Kind.GPU, Kind.LATENCY, Kind.TARGET}


def taken(
    cell: Cell, old: BaselineCell, accepted: Accepted, report: Report, other_degrees: int, repeated: bool = False
) -> tuple[BaselineCell, list[Move]]:
    """The cell's accepted values after an update, and what moved them.

    Args:
        other_degrees: of freedom, of the spread over seeds that the model's other trained cells tell.
        repeated: whether the first seed's predictions are the accepted ones bit by bit, so that its weights and the
            facts of its training belong to them, however many seeds were run.

    Raises:
        BadInput: a trained cell with too few seeds.
    """
    if cell.failure is not None:
        return BaselineCell(unsupported=cell.failure.reason, xfail=old.xfail, overlays=old.overlays), []
    measurements, latency, peak_memory = dict(old.measurements), dict(old.latency), dict(old.peak_memory)
    by_machine = {name: dict(values) for name, values in old.by_machine.items()}
    counted = dict(old.counted)
    moves = [
        *_score_and_size_moves(cell, measurements, accepted, other_degrees, _unknown_weights(cell, old, repeated)),
        *latency_moves(cell, latency, accepted, report, cell.artifact_sha256 == old.artifact_sha256),
        *_moves_beside(cell, by_machine, accepted, report),
        *_memory_moves(cell, measurements, peak_memory, by_machine, accepted, report),
        *_instruction_moves(cell, by_machine, counted, accepted, cell.artifact_sha256 == old.artifact_sha256),
    ]
    moves += micro.moves(cell, measurements, accepted)
    agreement = cell.measurements.get("reference_agreement")
    conversion = cell.measurements.get("conversion_agreement")
    judged = Kind.STRUCTURE in cell.verdicts
    answered = Kind.ACCURACY in cell.verdicts
    of_the_file = old.artifact_sha256 is None or not of_devices(cell)
    of_stored = (repeated and of_the_file) or _takes_answers(moves)
    return BaselineCell(
        measurements=measurements,
        latency=latency,
        peak_memory=peak_memory,
        by_machine=by_machine,
        counted=counted,
        broken_promise=_broken_promise(cell) if judged else old.broken_promise,
        census=(cell.census if judged else None) or old.census,
        artifact_sha256=cell.artifact_sha256 if of_the_file else old.artifact_sha256,
        reference_sha256=cell.reference_sha256 if of_the_file else old.reference_sha256,
        trained_sha256=cell.trained_sha256 if of_stored else old.trained_sha256,
        training=(cell.training if of_stored else None) or old.training,
        sources=(cell.sources if of_the_file else None) or old.sources,
        reference_agreement=(agreement.value if agreement else None) if answered else old.reference_agreement,
        conversion_agreement=(conversion.value if conversion else None) if answered else old.conversion_agreement,
        gpu=accepted_gpu(cell, old, report),
        gpu_agreement=gpu_agreement(cell, old, report),
        gpu_refusal=gpu_refusal(cell, old, report),
        micro=micro.accepted(cell, old),
        overlays=old.overlays,
        xfail=old.xfail,
        floor=old.floor,
        hand_edits=old.hand_edits,
    ), moves


def of_devices(cell: Cell) -> bool:
    """Whether a run judged nothing but what devices make of a cell's file."""
    return bool(cell.verdicts) and set(cell.verdicts) <= _OF_A_DEVICE


def _takes_answers(moves: list[Move]) -> bool:
    """Whether this run's predictions become the stored ones, so that the weights behind them do too."""
    return any(move.measurement == "score" and (move.moves or move.new == move.old) for move in moves)


def _unknown_weights(cell: Cell, old: BaselineCell, repeated: bool) -> bool:
    """Whether nobody knows from which weights the stored predictions are, while those of this run are known.

    The artifact of this run would stand beside answers of another training, and never be judged example by example.
    """
    return cell.trained_sha256 is not None and old.trained_sha256 is None and not repeated


def _tells_spread(new: BaselineValue | None, old: BaselineValue | None) -> bool:
    """Whether a value over five seeds stands where one over fewer was accepted, so that its spread is news."""
    seeds = [0 if value is None else len(value.values or []) for value in (old, new)]
    return seeds[0] < MINIMUM_SEEDS <= seeds[1]


def _score_and_size_moves(
    cell: Cell, measurements: dict[str, BaselineValue], accepted: Accepted, other_degrees: int, anew: bool
) -> list[Move]:
    """Moves what of them changed, in place.

    Args:
        anew: whether the scores of a trained cell are taken however near they are, with the answers behind them.
    """
    known_seeds = len(measurements["score"].values or []) if "score" in measurements else 0
    too_few = 0 < len(cell.seeds) < MINIMUM_SEEDS and "score" in cell.measurements
    if too_few and not known_seeds and other_degrees < ENOUGH_DEGREES:
        raise BadInput(
            f"cell {cell.id}: trained with {len(cell.seeds)} seed(s), a baseline needs {MINIMUM_SEEDS} as long as the "
            f"model's other trained cells do not tell the spread; run again with --seeds {MINIMUM_SEEDS}, or leave the "
            "cell out with --only"
        )
    scores, distances = ([of_output(of, output) for output in ("", *cell.outputs)] for of in ("score", OUTPUT_DISTANCE))
    names = [
        name
        for name in (*scores, *distances, *gate.SIZE_TOLERANCES)
        if name in cell.measurements and kind_of(name) in cell.verdicts
    ]
    values = {name: value_of(name, cell, accepted) for name in names}
    if gate.of_all_outputs(measurements, names):
        measurements.pop(OUTPUT_DISTANCE, None)  # another quantity than the main output's
    found = {name: move_of(cell, name, measurements.get(name), value) for name, value in values.items()}
    anew = anew or any(_tells_spread(values.get(name), measurements.get(name)) for name in (*scores, *distances))
    if cell.seeds and (anew or any(found[name].moves for name in scores if name in found)):
        # The weights of a training belong to the stored predictions, and to the distances, of every output.
        found |= {name: replace(found[name], moves=True) for name in (*scores, *distances) if name in found}
    for name, value in values.items():
        held = measurements.get(name)
        if held is not None and len(cell.seeds) < len(held.values or []):
            found[name] = replace(found[name], moves=False)  # a mean of more seeds is not replaced by one of fewer
        if found[name].moves:
            measurements[name] = following(value, held)
    return list(found.values())


def gpu_agreement(cell: Cell, old: BaselineCell, report: Report) -> dict[str, float]:
    """Agreements by device, as far as no healthy artifact's is as low; one that was not measured keeps its own."""
    found = dict(old.gpu_agreement)
    for device, name in _measured_gpus(cell, report):
        agreement = _agreement_to_accept(cell, old, device, name)
        found.pop(device.name, None)
        if agreement is not None and gate.below_healthy(agreement, cell.measurements, device, cell.census, name):
            found[device.name] = agreement.value
    return found


def accepted_gpu(cell: Cell, old: BaselineCell, report: Report) -> dict[str, AcceptedGpu]:
    """What was measured on this run's devices; others keep their own."""
    found = dict(old.gpu)
    for device, name in _measured_gpus(cell, report):
        left, macs = (cell.measurements.get(of_output(each, name)) for each in ("gpu_left", "gpu_left_macs"))
        agreement = _agreement_to_accept(cell, old, device, name)
        found.pop(device.name, None)
        if agreement is None:
            continue
        of = (0, 0) if left is None else (int(left.value), left.n)
        compared = gate.compared_in(cell.measurements, name)
        found[device.name] = AcceptedGpu(
            agreement=agreement.value,
            examples=agreement.n,
            left=of[0],
            operators=of[1],
            left_macs=None if macs is None else int(macs.value),
            compared=None if compared == "examples" else compared,
        )
    return found


def _agreement_to_accept(cell: Cell, old: BaselineCell, device: Device, name: str) -> Measurement | None:
    """Return the agreement to accept on a device; None where nothing was measured.

    Where a slow device answered fewer examples than were accepted, and contradicts nothing, what was accepted stays,
    unless that compared whole examples of a detector.
    """
    measured, before = cell.measurements.get(of_output("gpu_agreement", name)), old.gpu.get(device.name)
    if before is not None and before.compared is None and gate.compared_in(cell.measurements, name) == "detections":
        return measured
    if measured is None or before is None or of_output("gpu_examples", name) not in cell.measurements:
        return measured
    judged = {one.verdict for one in cell.judgements if one.measurement == of_output("gpu_agreement", name)}
    if before.examples <= measured.n or judged & {Verdict.REGRESSED, Verdict.IMPROVED}:
        return measured
    return measured.model_copy(update={"value": before.agreement, "n": before.examples})


def gpu_refusal(cell: Cell, old: BaselineCell, report: Report) -> dict[str, str]:
    """Why this run's devices do not run it, where they did not; others keep their own."""
    found = dict(old.gpu_refusal)
    for device, name in _measured_gpus(cell, report):
        found.pop(device.name, None)
        if refusal := _refusal(cell, name):
            found[device.name] = refusal
    return found


def _measured_gpus(cell: Cell, report: Report) -> list[tuple[Device, str]]:
    """Return (device, what the names of its measurements end in) where the cell was measured there, or refused."""
    if Kind.GPU not in cell.verdicts:
        return []
    return [
        (device, name)
        for name, device in report.environment.gpus.items()
        if _refusal(cell, name) or of_output("gpu_agreement", name) in cell.measurements
    ]


def _refusal(cell: Cell, name: str) -> str:
    return cell.further_gpu_refusals.get(name, "") if name else cell.gpu_refusal


def latency_moves(
    cell: Cell, latency: dict[str, BaselineValue], accepted: Accepted, report: Report, same_artifact: bool = False
) -> list[Move]:
    """Move what of the latency changed, in place, for every number of threads that the run judged.

    Args:
        same_artifact: whether the accepted artifact is that of the run, so that its levels on other hosts count; a
            latency that names its own artifact is compared with that.
    """
    if Kind.LATENCY not in cell.verdicts:
        return []
    moves = []
    for name, measured in cell.measurements.items():
        threads = threads_in(name)
        if name != name_at(judged_latency(cell.variant), threads):
            continue
        machine = with_threads(report.environment.machine_class, threads)
        host, before = report.environment.host, latency.get(machine)
        value = latency_of(measured, accepted.model_copy(update={"host": host or None}))
        move = move_of(cell, name, before, value)
        moves.append(move)
        # Levels of other hosts count as long as they are of this artifact.
        of_before = None if before is None else before.artifact
        same = same_artifact if of_before is None else of_before == cell.artifact_sha256
        hosts = gate.hosts_with(before if same else None, host, measured.value)
        of_run = {"artifact": cell.artifact_sha256}
        if move.moves:
            latency[machine] = following(value, before).model_copy(update={"hosts": hosts, **of_run})
        elif before is not None:
            kept = hosts is None or set(hosts) == set(before.hosts or {})
            latency[machine] = before.model_copy(update=of_run if kept else {"hosts": hosts, **of_run})
    return moves


def _moves_beside(
    cell: Cell, by_machine: dict[str, dict[str, BaselineValue]], accepted: Accepted, report: Report
) -> list[Move]:
    """Moves what of the latency beside the typical call changed, in place; one thread's alone is judged."""
    if Kind.LATENCY not in cell.verdicts:
        return []
    machine, moves = with_threads(report.environment.machine_class, 1), []
    for name in (*gate.RULES, OF_YARDSTICK):
        if name not in cell.measurements:
            continue
        value = latency_of(cell.measurements[name], accepted)
        rule = gate.RULES.get(name)
        if rule is not None:
            value = value.model_copy(update={"tolerance": rule.tolerance, "tolerance_from": rule.reason})
        values = by_machine.setdefault(name, {})
        move = move_of(cell, name, values.get(machine), value)
        moves.append(move)
        if move.moves:
            values[machine] = following(value, values.get(machine))
    return [*moves, *_moves_of_stalls(cell, by_machine, accepted, machine)]


def _moves_of_stalls(
    cell: Cell, by_machine: dict[str, dict[str, BaselineValue]], accepted: Accepted, machine: str
) -> list[Move]:
    """Move the time lost in stalls, in place: a baseline holds it only where a cell stalls."""
    measured, values = cell.measurements.get(STALLS), by_machine.get(STALLS, {})
    if measured is None:
        return []
    ratio = judged_latency(cell.variant)
    old, found = values.get(machine), gate.stalls_to_accept(measured, ratio)
    if old is None and not found:
        return []
    if old is not None and not found and gate.stalls_ended(measured, ratio, old):
        values.pop(machine)
        if not values:
            by_machine.pop(STALLS, None)
        return [Move(cell.id, STALLS, old.unit, old.value, 0.0, None, moves=True)]
    rule = {"tolerance": gate.STALL_TOLERANCE, "tolerance_from": gate.STALL_TOLERANCE_REASON}
    value = latency_of(measured, accepted).model_copy(update=rule)
    move = move_of(cell, STALLS, old, value)
    uncounted = old is not None and old.stalls is None  # an earlier version wrote it
    # Fewer processes than see them leave them accepted.
    move = replace(move, moves=found and (move.moves or uncounted))
    if move.moves:
        by_machine.setdefault(STALLS, {})[machine] = following(value, old)
    return [move]


def _memory_moves(
    cell: Cell,
    measurements: dict[str, BaselineValue],
    peak_memory: dict[str, BaselineValue],
    by_machine: dict[str, dict[str, BaselineValue]],
    accepted: Accepted,
    report: Report,
) -> list[Move]:
    """Moves what of the memory changed, in place; nothing where a run did not judge it."""
    if Kind.MEMORY not in cell.verdicts:
        return []
    candidates = [(measurements, name, name, value) for name, value in memory_values(cell, accepted).items()]
    model = model_memory_value(cell, accepted)
    if model is not None:
        of_model = by_machine.setdefault("model_memory", {})
        candidates.append((of_model, memory_class(report.environment), "model_memory", model))
    peak = peak_memory_value(cell, accepted)
    if peak is not None:
        candidates.append((peak_memory, memory_class(report.environment), "peak_memory", peak))
    moves = []
    for kept, key, name, value in candidates:
        move = move_of(cell, name, kept.get(key), value)
        stays = model_stays if name == "model_memory" else peak_stays
        move = replace(move, moves=move.moves and not stays(kept.get(key), value))
        moves.append(move)
        if move.moves:
            kept[key] = following(value, kept.get(key))
    return moves


def _instruction_moves(
    cell: Cell,
    by_machine: dict[str, dict[str, BaselineValue]],
    counted: dict[str, list[OperatorCount]],
    accepted: Accepted,
    same_artifact: bool,
) -> list[Move]:
    """Moves the instructions of a call, in place, with the operators that they are in.

    Counts of other profiles are of the artifact that was accepted before: with another one they go, so that nothing is
    red there for what was accepted here.
    """
    if Kind.INSTRUCTIONS not in cell.verdicts or INSTRUCTIONS not in cell.measurements or cell.counted is None:
        return []
    profile, value = cell.counted.profile, instructions_value(cell.measurements[INSTRUCTIONS], accepted)
    values = by_machine.setdefault(INSTRUCTIONS, {})
    if not same_artifact:
        for other in {*values} - {profile}:
            values.pop(other)
            counted.pop(other, None)
    move, held = move_of(cell, INSTRUCTIONS, values.get(profile), value), values.get(profile)
    if held is not None and abs(value.value - held.value) <= COUNTED_ALIKE * held.value:
        move = replace(move, moves=False)
    if move.moves:
        values[profile] = following(value, values.get(profile))
    if move.moves or move.new == move.old:
        counted[profile] = cell.counted.operators
    return [move]


def instructions_value(measured: Measurement, accepted: Accepted) -> BaselineValue:
    """The instructions of a call, as they are accepted."""
    return BaselineValue(
        value=measured.value,
        unit=measured.unit,
        n=measured.n,
        noise=0.0,
        noise_from="a count repeats exactly",
        tolerance=gate.INSTRUCTIONS_TOLERANCE,
        tolerance_from=gate.INSTRUCTIONS_TOLERANCE_REASON,
        accepted=accepted,
    )


def memory_values(cell: Cell, accepted: Accepted) -> dict[str, BaselineValue]:
    """``arena`` and ``memory_ratio``, as far as the cell has them."""
    values = {}
    if "arena" in cell.measurements:
        values["arena"] = _memory_value(
            cell, "arena", gate.ARENA_TOLERANCE, gate.ARENA_TOLERANCE_REASON, "a plan repeats exactly", accepted
        )
    if "memory_ratio" in cell.measurements:
        values["memory_ratio"] = _memory_value(
            cell, "memory_ratio", gate.RATIO_TOLERANCE, gate.RATIO_TOLERANCE_REASON, FRESH, accepted
        )
    return values


def peak_memory_value(cell: Cell, accepted: Accepted) -> BaselineValue | None:
    """The float control's own peak; None of any other cell, or where it was not measured."""
    if cell.variant != "float32" or "peak_memory" not in cell.measurements:
        return None
    return _memory_value(cell, "peak_memory", gate.PEAK_TOLERANCE, gate.PEAK_TOLERANCE_REASON, FRESH, accepted)


def model_memory_value(cell: Cell, accepted: Accepted) -> BaselineValue | None:
    """The memory of the model alone; None where it was not measured."""
    if "model_memory" not in cell.measurements:
        return None
    return _memory_value(
        cell, "model_memory", gate.MODEL_TOLERANCE, gate.MODEL_TOLERANCE_REASON, FRESH, accepted
    ).model_copy(update={"values": cell.measurements["model_memory"].values})


def model_stays(old: BaselineValue | None, new: BaselineValue) -> bool:
    """Whether the model's memory moved by less than half its tolerance, so that reruns move no baseline."""
    return old is not None and abs(new.value - old.value) <= old.tolerance / 2


def peak_stays(old: BaselineValue | None, new: BaselineValue) -> bool:
    """Whether a peak or ratio moved by less than half its tolerance: three sd at least, so reruns move no baseline."""
    return old is not None and old.noise > 0 and abs(new.value - old.value) <= old.tolerance * old.value / 2


def _memory_value(
    cell: Cell, name: str, tolerance: float, tolerance_from: str, noise_from: str, accepted: Accepted
) -> BaselineValue:
    measured = cell.measurements[name]
    return BaselineValue(
        value=measured.value,
        unit=measured.unit,
        n=measured.n,
        noise=measured.spread or 0.0,
        noise_from=noise_from,
        tolerance=tolerance,
        tolerance_from=tolerance_from,
        accepted=accepted,
    )


def _broken_promise(cell: Cell) -> str | None:
    """Why the artifact is not what its name says; None where it is."""
    for judgement in cell.judgements:
        if judgement.measurement == "promise" and judgement.verdict in (Verdict.REGRESSED, Verdict.UNSUPPORTED):
            return judgement.detail
    return None


def degrees(cells: dict[str, BaselineCell], but: str) -> int:
    """Degrees of freedom of the spread over seeds, of all trained cells but one."""
    scores = [
        cell.measurements["score"] for name, cell in cells.items() if name != but and "score" in cell.measurements
    ]
    return sum(len(score.values) - 1 for score in scores if score.values)


def with_pooled_noise(cells: dict[str, BaselineCell]) -> dict[str, BaselineCell]:
    """A cell that trained once has no spread of its own; those of the model that train alike lend it theirs."""
    outputs = {output for cell in cells.values() for output in outputs_in(cell)}
    for measurement in ("score", *(of_output("score", output) for output in sorted(outputs))):
        cells = _with_pooled_noise(cells, measurement)
    return cells


def _with_pooled_noise(cells: dict[str, BaselineCell], measurement: str) -> dict[str, BaselineCell]:
    changed = dict(cells)
    for name, sd in derived.pooled_noise(cells, measurement).items():
        score = cells[name].measurements[measurement]
        if len(score.values or []) == 1:
            lent = score.model_copy(update={"noise": sd, "noise_from": LENT})
            changed[name] = cells[name].model_copy(
                update={"measurements": {**cells[name].measurements, measurement: lent}}
            )
    return changed
