"""Judge memory: the planned arena, and what the model takes of its process at the peak.

Baselines that hold no value of the latter yet are judged by the whole process: the peak's ratio to the float control's,
and the control's own peak. Python is most of both, so that 1 % of them is 10 to 110 % of what a model takes.
"""

from collections.abc import Collection

from quantbench.gate._common import Subject, beyond, missing, not_measured
from quantbench.records import BaselineCell, BaselineValue, Judgement, Kind, Measurement, Verdict
from quantbench.records.measurements import shown

ARENA_TOLERANCE = 64.0
ARENA_TOLERANCE_REASON = "one step of the memory planner's alignment; the plan itself repeats exactly"
RATIO_TOLERANCE = 0.01
RATIO_TOLERANCE_REASON = (
    "1 % of the ratio: 25 times the sd of its change between two runs (0.04 %, drawn from 40 fresh processes of "
    "float32 and 40 of an int8 variant), so that another Python, which is in both peaks, stays below it"
)
# Kernels pack weights differently: of 75 ratios up to 1.8 % between an EPYC and a Xeon that has AMX.
OTHER_KERNELS_TOLERANCE = 0.03
PEAK_TOLERANCE = 0.02
PEAK_TOLERANCE_REASON = (
    "2 % of the peak: policy, 80 times the sd of its change between two runs (0.025 %), for what the class of machine "
    "does not tell, such as a patch of Python or of the C library"
)

MODEL_TOLERANCE = 81920.0
MODEL_TOLERANCE_REASON = (
    "80 KiB in every process: the sd between processes is 2 KiB, but some artifacts take 48 to 92 KiB more in some, "
    "and another installation of the same packages changed it by 12 KiB"
)
# The part of a model that holds less than this share of its own arena was not measured: int16 kernels and those that
# read weights as they are stored held 0.42 of it or more, and a part that hid in memory of the imports 0.01.
LEAST_OF_ARENA = 0.2
# Memory that many calls may keep in all: what an allocator keeps for later comes in steps of up to 16 pages.
LEAK_BYTES = 65536


def memory(
    subject: Subject,
    measured: dict[str, Measurement],
    failure: str,
    no_arena: str,
    baseline: BaselineCell | None,
    machine: str,
    other_kernels: bool = False,
) -> list[Judgement]:
    """Judge a cell's tensor arena and peak memory.

    Args:
        measured: ``arena``; ``memory_ratio``, or ``peak_memory`` of the float control itself.
        failure: why nothing could be measured; empty where it was.
        no_arena: why the builtin kernels cannot plan the arena; empty where they can.
        machine: machine class that the control's own peak belongs to.
        other_kernels: whether the accepted ratio comes from a processor with a different instruction set, for which the
            runtime chooses other kernels; :data:`OTHER_KERNELS_TOLERANCE` applies then.
    """
    if failure:
        return [not_measured(subject, Kind.MEMORY, "peak_memory", failure)]
    arena = _arena(subject, measured.get("arena"), no_arena, baseline)
    model = _model(subject, measured, baseline, machine)
    judged = [arena, model or _peak(subject, measured, baseline, machine, other_kernels)]
    return [*judged, *_of_calls(subject, measured)]


def _of_calls(subject: Subject, measured: dict[str, Measurement]) -> list[Judgement]:
    """Judge what needs no baseline: memory that calls keep, and answers that are not those of another call."""
    found: list[tuple[str, Measurement, float, str]] = []
    leak, wrong, batch = (measured.get(name) for name in ("leak", "wrong_answers", "permuted_batch"))
    if leak is not None and leak.value * leak.n > LEAK_BYTES:
        words = f"each call keeps {leak.value:,.0f} bytes (seen over {leak.n:,} calls of one process)"
        found.append(("leak", leak, LEAK_BYTES / leak.n, words))
    if wrong is not None and wrong.value:
        words = (
            f"{wrong.value:,.0f} of {wrong.n:,} calls gave different outputs than an earlier call with the same "
            "example, in the same or a fresh process"
        )
        found.append(("wrong_answers", wrong, 0.0, words))
    if batch is not None and batch.value:
        found.append(("permuted_batch", batch, 0.0, "in one batch, examples get the outputs of other examples"))
    return [
        Judgement(
            kind=Kind.MEMORY,
            measurement=name,
            against="nothing",
            verdict=Verdict.REGRESSED,
            value=taken.value,
            unit=taken.unit,
            change=taken.value,
            tolerance=tolerance,
            detectable=tolerance,
            message=words,
            actions=[subject.again("measure again")],
        )
        for name, taken, tolerance, words in found
    ]


def unrecorded(baseline: BaselineCell | None, measured: Collection[str], machine: str) -> bool:
    """Whether a cell's baseline holds memory, and none of the model alone on this class of machine."""
    if baseline is None or "model_memory" not in measured or "arena" not in baseline.measurements:
        return False
    return machine not in baseline.by_machine.get("model_memory", {})


def _model(
    subject: Subject, measured: dict[str, Measurement], baseline: BaselineCell | None, machine: str
) -> Judgement | None:
    """Judge the memory of the model alone; None where it was not measured or has no baseline on this machine class."""
    model, arena = measured.get("model_memory"), measured.get("arena")
    if model is None:
        return None
    if arena is not None and model.value < LEAST_OF_ARENA * arena.value:
        why = (
            f"its process holds {model.value:,.0f} bytes for the model, but the arena alone takes {arena.value:,.0f}: "
            "the memory was there before the model was loaded"
        )
        return not_measured(subject, Kind.MEMORY, "model_memory", why)
    accepted = baseline.by_machine.get("model_memory", {}).get(machine) if baseline else None
    if accepted is None:
        return None
    words = f"{accepted.tolerance:,.0f} bytes in each of {len(model.values or [model.value])} processes"
    # Some artifacts take up to 92 KiB more in some processes by chance; what a model really grew by, it takes in all.
    nearest = min(model.values or [model.value], key=lambda value: abs(value - accepted.value))
    return _against(subject, model, accepted, "model_memory", accepted.tolerance, words, nearest)


def _arena(subject: Subject, arena: Measurement | None, reason: str, baseline: BaselineCell | None) -> Judgement:
    accepted = baseline.measurements.get("arena") if baseline else None
    if arena is None:
        if accepted is not None:
            return not_measured(subject, Kind.MEMORY, "arena", f"the builtin kernels no longer run it: {reason}")
        return _unjudged("arena", None, f"no arena: the builtin kernels cannot run it: {reason}")
    if accepted is None:
        return missing(subject, Kind.MEMORY, "arena", baseline)
    return _against(subject, arena, accepted, "arena", accepted.tolerance, f"{accepted.tolerance:g} bytes")


def _peak(
    subject: Subject, measured: dict[str, Measurement], baseline: BaselineCell | None, machine: str, other_kernels: bool
) -> Judgement:
    ratio = measured.get("memory_ratio")
    if ratio is not None:
        accepted = baseline.measurements.get("memory_ratio") if baseline else None
        if accepted is None:
            return missing(subject, Kind.MEMORY, "memory_ratio", baseline)
        return _ratio(subject, ratio, accepted, other_kernels)
    if subject.variant != "float32":
        return not_measured(subject, Kind.MEMORY, "memory_ratio", "its float32 reference could not be measured")
    peak = measured["peak_memory"]
    accepted = baseline.peak_memory.get(machine) if baseline else None
    if accepted is None:
        words = f"peak memory {peak.value:,.0f} bytes; not gated: no baseline for this machine profile ({machine})"
        return _unjudged("peak_memory", peak, words)
    allowed = accepted.tolerance * accepted.value
    return _against(subject, peak, accepted, "peak_memory", allowed, f"{100 * accepted.tolerance:g} %")


def _ratio(subject: Subject, ratio: Measurement, accepted: BaselineValue, other_kernels: bool) -> Judgement:
    tolerance = max(accepted.tolerance, OTHER_KERNELS_TOLERANCE) if other_kernels else accepted.tolerance
    words = f"{100 * tolerance:g} %"
    if tolerance != accepted.tolerance:
        words += f", not {100 * accepted.tolerance:g} %: accepted on another processor, with other kernels"
    return _against(subject, ratio, accepted, "memory_ratio", tolerance * accepted.value, words)


def _against(
    subject: Subject,
    measured: Measurement,
    accepted: BaselineValue,
    name: str,
    allowed: float,
    tolerance: str,
    nearest: float | None = None,
) -> Judgement:
    """Compare a measurement with its accepted value; where processes differ, the nearest of them has to be beyond."""
    growth = measured.value - accepted.value
    verdict = beyond(growth if nearest is None else nearest - accepted.value, allowed)
    percent = 100 * growth / accepted.value if accepted.value else 0.0
    message = (
        f"{shown(name)} {_shown(measured.value, measured.unit)}, baseline "
        f"{_shown(accepted.value, accepted.unit)} ({percent:+.2f} %; tolerance {tolerance})"
    )
    return Judgement(
        kind=Kind.MEMORY,
        measurement=name,
        against="baseline",
        verdict=verdict,
        value=measured.value,
        reference=accepted.value,
        unit=measured.unit,
        change=growth,
        tolerance=allowed,
        detectable=allowed,
        message=message,
        actions=[] if verdict is Verdict.PASS else subject.repeats(),
    )


def _shown(value: float, unit: str) -> str:
    return f"{value:,.0f} bytes" if unit == "bytes" else f"{value:.4f}"


def _unjudged(name: str, measured: Measurement | None, words: str) -> Judgement:
    return Judgement(
        kind=Kind.MEMORY,
        measurement=name,
        against="nothing",
        verdict=Verdict.UNJUDGED,
        value=measured.value if measured else None,
        unit="bytes",
        message=words,
    )
