"""Turn the outcome of computing a cell into measurements: values with unit, n and spread. Nothing here judges."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Literal

import numpy as np

from quantbench import gate
from quantbench.core.arrays import Array
from quantbench.core.stats import quantile_interval, trimmed_mean
from quantbench.engine.workers.task import Outcome
from quantbench.measure import fidelity as behaving
from quantbench.measure.gpu import OnGpu
from quantbench.measure.instructions import Count
from quantbench.measure.keras import InKeras
from quantbench.measure.latency import Latency
from quantbench.measure.memory import Memory, StartUp
from quantbench.measure.stalls import LONGEST_BLOCK
from quantbench.records import Measurement, Stalls
from quantbench.records.measurements import (
    BY_THREADS,
    INSTRUCTIONS,
    OF_YARDSTICK,
    OFF_CORE,
    OUTPUT_DISTANCE,
    RATIO,
    STALLS,
    TO_YARDSTICK,
    name_at,
    of_output,
)
from quantbench.reference.agreement import agreement
from quantbench.reference.metrics import ROUNDING, Metric
from quantbench.reference.model import ReferenceModel
from quantbench.variants import FLOAT_CONTROL

PERCENTILES = {"latency_p50": 0.5, "latency_p90": 0.9, "latency_p99": 0.99}


def scores(model: ReferenceModel, trained: bool, outcomes: Sequence[Outcome]) -> dict[str, Measurement]:
    """Return the score over all seeds, of each output, the number of non-finite outputs, and the agreement of the float
    control.
    """
    measurements: dict[str, Measurement] = {}
    n = len(model.pack().test)
    values = [outcome.score for outcome in outcomes]
    good = [outcome for outcome in outcomes if outcome.failure is None]
    if len(good) == len(outcomes) and np.isfinite(values).all():
        measurements["score"] = _score(model.metric, values, n, trained)
        test = model.pack().test
        for head in model.heads:
            of_head = [head.metric.value(outcome.heads[head.name], test.labels(head.labels)) for outcome in outcomes]
            if np.isfinite(of_head).all():
                measurements[of_output("score", head.name)] = _score(head.metric, of_head, n, trained)
    if good:
        measurements["nonfinite"] = Measurement(value=sum(outcome.nonfinite for outcome in good), unit="examples", n=n)
        if good[0].agreement is not None:
            of = good[0].agreement_of or n
            measurements["float_agreement"] = Measurement(value=good[0].agreement, unit="fraction", n=of)
    return measurements


def _score(metric: Metric, values: list[float], n: int, trained: bool) -> Measurement:
    return Measurement(
        value=float(np.mean(values)),
        unit="fraction" if metric.scale == 100 else metric.unit,
        n=n,
        spread=float(np.std(values, ddof=1)) if len(values) > 1 else None,
        spread_of="seeds" if len(values) > 1 else None,
        values=values if trained else None,
    )


def steps(outcomes: list[Outcome]) -> dict[str, Measurement]:
    """Return the fine-tuning steps of a cell: the smallest number over its seeds."""
    counted = [outcome.steps for outcome in outcomes if outcome.steps is not None]
    return {"training_steps": Measurement(value=min(counted), unit="steps", n=len(counted))} if counted else {}


def sizes(outcome: Outcome) -> dict[str, Measurement]:
    """Return bytes of the artifact, plain and deflated; of a compiled one what is known of it besides."""
    assert outcome.sizes is not None
    units = gate.OF_ACCELERATOR
    return {name: Measurement(value=size, unit=units.get(name, "bytes"), n=1) for name, size in outcome.sizes.items()}


def output_distance(
    model: ReferenceModel, good: Sequence[Outcome], references: Sequence[Outcome], trained: bool
) -> dict[str, Measurement]:
    """Return the distance of each scored output from the control's, each seed's from that of the same seed where it
    has one.

    Args:
        references: outcomes of the control, or of the float control where there is none, one per seed; empty for the
            float control itself, whose distance from itself is 0.
    """
    by_seed = {outcome.seed: outcome.outputs for outcome in references}
    first = references[0].outputs if references else None
    pairs = []
    for outcome in good:
        reference = by_seed.get(outcome.seed, first) if references else outcome.outputs
        if outcome.outputs is None or reference is None:
            return {}
        pairs.append((outcome.outputs, reference))
    found = {}
    for output, of in columns(model, good[0]).items():
        apart = [(new[:, of], old[:, of]) for new, old in pairs if new.shape == old.shape]
        distance = behaving.output_distance(apart, trained) if len(apart) == len(pairs) else None
        if distance is not None:
            found[of_output(OUTPUT_DISTANCE, output)] = distance
    return found


def columns(model: ReferenceModel, outcome: Outcome) -> Mapping[str, Array | slice]:
    """Return which values of a row of outputs belong to each scored output; all to the main one where it is alone."""
    of = behaving.columns(outcome.contents.census if outcome.contents else None, model)
    if not of or outcome.outputs is None or len(np.unique(np.concatenate([*of.values()]))) != outcome.outputs.shape[1]:
        return {"": slice(None)}
    return of


def output_fidelity(metric: Metric, good: list[Outcome], control: Outcome | None) -> dict[str, Measurement]:
    """Return output fidelity besides the score: of the first seed, and the worst conversion over all seeds."""
    measurements: dict[str, Measurement] = {}
    first = good[0]
    assert first.predictions is not None
    if control is not None and control.predictions is not None:
        measurements |= behaving.against_control(
            metric, first.predictions, control.predictions, first.outputs, control.outputs
        )
    for runtime, predictions in first.others.items():
        n = len(predictions)
        value = metric.agreement(predictions, first.predictions[:n], ROUNDING)
        measurements[f"{runtime.removeprefix('litert-')}_agreement"] = Measurement(value=value, unit="fraction", n=n)
    conversions = [outcome.conversion for outcome in good if outcome.conversion is not None]
    if conversions:
        n = len(first.predictions)
        measurements["conversion_agreement"] = Measurement(
            value=min(conversions), unit="fraction", n=n, values=conversions if len(conversions) > 1 else None
        )
    return measurements


def control_agreement(metric: Metric, first: Outcome, control: Outcome | None) -> float | None:
    """Return the fraction of examples on which the first seed agrees with its control, within rounding."""
    if control is None or control.predictions is None or first.predictions is None:
        return None
    return metric.agreement(first.predictions, control.predictions, ROUNDING)


def latency(timed: Latency) -> dict[str, Measurement]:
    """Return microseconds per call, the ratio to the float control, and the control's ratio to the yardstick."""
    return {
        "latency": over_processes(timed.microseconds(), "µs"),
        RATIO: over_processes(timed.ratios(), "ratio to float32"),
        TO_YARDSTICK: over_processes(timed.control_to_yardstick(), "ratio to yardstick"),
        "threads_at_work": over_processes(timed.threads_at_work(), "threads"),
        "disturbed": Measurement(value=timed.disturbed(), unit="fraction", n=len(timed.blocks())),
    }


def beside(timed: Latency, variant: str) -> dict[str, Measurement]:
    """Return what is judged beside the typical call, as ratios to the float control, or its own to the yardstick."""
    base = _base(variant)
    unit = {"control": "ratio to float32", "yardstick": "ratio to yardstick"}[base]
    units = {OFF_CORE: "fraction", OF_YARDSTICK: "ratio to yardstick"}
    found = {name: over_processes(values, units.get(name, unit)) for name, values in timed.beside(base).items()}
    return found | stalls(timed.stalls(base))


def _base(variant: str) -> Literal["control", "yardstick"]:
    return "yardstick" if variant == FLOAT_CONTROL else "control"


def uncounted_stalls(timed: Latency, variant: str) -> str:
    """Say why no stalls are counted; empty where they are, and with several threads, where they never are.

    They are counted where two processes can tell: the blocks of the others may be too long.
    """
    if stalls(timed.stalls(_base(variant))):
        return ""
    blocks = timed.usual_blocks("variant", _base(variant))
    slowest = max(blocks, key=blocks.__getitem__, default="")
    if not slowest or blocks[slowest] <= LONGEST_BLOCK:
        return ""
    whose = {"variant": "its own", "control": "float32's", "yardstick": "the reference workload's"}[slowest]
    return (
        f"{whose} blocks take {1e3 * blocks[slowest]:.2g} ms, and other programs interrupt too many of those that take "
        f"more than {1e3 * LONGEST_BLOCK:g} ms"
    )


def in_turns(timed: Latency) -> dict[str, Measurement]:
    """Return ratios to the accepted artifact, which was timed in place of the float control."""
    unit = "ratio to the accepted artifact"
    found = {name: over_processes(values, unit) for name, values in timed.beside("control").items()}
    found.pop(OF_YARDSTICK, None)
    return found | stalls(timed.stalls("control")) | {RATIO: over_processes(timed.ratios(), unit)}


def stalls(by_process: Sequence[Sequence[Stalls]]) -> dict[str, Measurement]:
    """Return the share of its time that an artifact loses in stalls, beyond what was timed in turns with it.

    Args:
        by_process: by least length; nothing is said of a single process.
    """
    if len(by_process) < 2:
        return {}
    together = [reduce(Stalls.plus, of_length) for of_length in zip(*by_process, strict=True)]
    measured = over_processes([process[0].excess for process in by_process], "fraction of its time")
    return {STALLS: measured.model_copy(update={"value": together[0].excess, "stalls": together})}


def at_threads(measurements: dict[str, Measurement], threads: int) -> dict[str, Measurement]:
    """Return what was measured with this number of threads, by its names in a report."""
    return {name_at(name, threads): measurements[name] for name in BY_THREADS if name in measurements}


def calls(timed: Latency) -> dict[str, Measurement]:
    """Return percentiles of single calls in microseconds, and examples/s; empty where no single calls were timed.

    The intervals pool the calls of all processes. Calls of one process are correlated: the spread is that between
    processes.
    """
    by_process = timed.calls()
    if not by_process:
        return {}
    measurements = {name: _percentile(by_process, share) for name, share in PERCENTILES.items()}
    measurements["throughput"] = _pooled(by_process, lambda seconds: len(seconds) / float(seconds.sum()), "examples/s")
    costs = timed.timing_cost()
    measurements["timing_cost"] = Measurement(value=float(np.median(costs)), unit="µs", n=len(costs))
    return measurements


def over_processes(values: Sequence[float], unit: str) -> Measurement:
    """Return the trimmed mean of one value per process."""
    kept = [float(value) for value in values]
    return Measurement(
        value=trimmed_mean(kept).mean,
        unit=unit,
        n=len(kept),
        spread=float(np.std(kept, ddof=1)),
        spread_of="fresh processes",
        values=kept,
    )


def batch(seconds: Sequence[float], size: int) -> dict[str, Measurement]:
    """Return microseconds per example and examples/s, from the seconds per call of each process."""
    return {
        f"batch_{size}_latency": over_processes([1e6 * each / size for each in seconds], "µs/example"),
        f"batch_{size}_throughput": over_processes([size / each for each in seconds], "examples/s"),
    }


def keras(timed: InKeras) -> dict[str, Measurement]:
    """Return microseconds per call of a Keras model, on the CPU and, where TensorFlow finds one, on a GPU."""
    measurements = {"keras_latency": over_processes([1e6 * each for each in timed.cpu], "µs")}
    if timed.gpu:
        measurements["keras_gpu_latency"] = over_processes([1e6 * each for each in timed.gpu], "µs")
    return measurements


def _percentile(by_process: list[Array], share: float) -> Measurement:
    percentile = _pooled(by_process, lambda seconds: 1e6 * float(np.quantile(seconds, share)), "µs")
    low, high = quantile_interval([1e6 * seconds for calls in by_process for seconds in calls], share)
    return percentile.model_copy(update={"low": low, "high": high})


def _pooled(by_process: list[Array], of: Callable[[Array], float], unit: str) -> Measurement:
    together = np.concatenate(by_process)
    return Measurement(
        value=of(together),
        unit=unit,
        n=len(together),
        spread=float(np.std([of(calls) for calls in by_process], ddof=1)) if len(by_process) > 1 else None,
        spread_of="fresh processes" if len(by_process) > 1 else None,
    )


def gpu(model: ReferenceModel, taken: OnGpu, on_cpu: Outcome) -> dict[str, Measurement]:
    """Return agreement with ``litert-cpu``, scores, work left on the CPU, milliseconds until read-back, their ratio.

    And the number of examples, where a slow device answered fewer than it was asked, and of values or detections, where
    agreement is a share of these.
    """
    if taken.failure or taken.predictions is None or on_cpu.predictions is None:
        return {}
    n, metric = len(taken.predictions), model.metric
    agreed = agreement(metric, taken.predictions, on_cpu.predictions[:n], ROUNDING)
    measurements = {
        **_scores(model, taken.predictions, on_cpu.predictions[:n]),
        "gpu_agreement": Measurement(value=agreed.share, unit="fraction", n=n),
        "gpu_time": over_processes([1e3 * each for each in taken.seconds], "ms"),
    }
    if agreed.of != "examples":
        measurements["gpu_compared"] = Measurement(value=agreed.parts, unit=agreed.of, n=n)
    if n < taken.asked:
        measurements["gpu_examples"] = Measurement(value=n, unit="examples", n=taken.asked)
    if taken.operators:
        measurements["gpu_left"] = Measurement(value=taken.left, unit="operators", n=taken.operators)
    if taken.macs:
        least, most = taken.left_macs
        low, high = (None, None) if least == most else (least, most)
        measurements["gpu_left_macs"] = Measurement(
            value=most, unit="multiplications", n=taken.macs, low=low, high=high
        )
    if taken.ratios:
        measurements["gpu_ratio"] = over_processes(taken.ratios, "ratio to float32 on the device")
    return measurements


def _scores(model: ReferenceModel, there: Array, here: Array) -> dict[str, Measurement]:
    """Return the score on a GPU and its change from the CPU's; nothing where either is undefined, NaN or infinite."""
    metric, n = model.metric, len(there)
    labels = model.pack().test.y[:n]
    if metric.undefined is not None and metric.undefined(labels):
        return {}
    unit = "fraction" if metric.scale == 100 else metric.unit
    score, on_cpu = metric.value(there, labels), metric.value(here, labels)
    if not (math.isfinite(score) and math.isfinite(on_cpu)):
        return {}
    return {
        "gpu_score": Measurement(value=score, unit=unit, n=n),
        "gpu_score_change": Measurement(value=score - on_cpu, unit=unit, n=n),
    }


def memory(taken: Memory, control: Memory | None) -> dict[str, Measurement]:
    """Return bytes of the arena and the peak, and the peak's ratio to float32's; no ratio without ``control``."""
    if taken.failure:
        return {}
    measurements = {
        "peak_memory": _median(taken.peaks, "bytes"),
        "peak_resident": _median(taken.resident, "bytes"),
    }
    if taken.reset:
        measurements["model_memory"] = _median(taken.own(), "bytes")
    if taken.calls:
        in_all = taken.calls + sum(len(of_process) for of_process in taken.answers)
        measurements["wrong_answers"] = Measurement(value=taken.wrong_answers(), unit="calls", n=in_all)
        kept = taken.kept()
        if kept:
            leak = sorted(kept)[1]  # three of four quarters grew by as much: one larger buffer is no leak
            measurements["leak"] = Measurement(value=leak, unit="bytes/call", n=taken.calls, values=kept)
    if taken.batch:
        permuted = float(taken.batch == "permuted")
        measurements["permuted_batch"] = Measurement(value=permuted, unit="batches", n=1)
    if taken.arena is not None:
        measurements["arena"] = Measurement(value=taken.arena, unit="bytes", n=1)
    if control is not None and not control.failure:
        ratio = taken.peak() / control.peak()
        measurements["memory_ratio"] = Measurement(
            value=ratio,
            unit="ratio to float32",
            n=len(taken.peaks),
            spread=ratio * math.hypot(*(float(np.std(of.peaks, ddof=1)) / of.peak() for of in (taken, control))),
            spread_of="fresh processes, one of each",
        )
    return measurements


def instructions(count: Count) -> dict[str, Measurement]:
    """Return the instructions of one call; empty where they could not be counted."""
    if count.failure:
        return {}
    return {INSTRUCTIONS: Measurement(value=count.total(), unit="instructions", n=1)}


def start_up(timed: StartUp) -> dict[str, Measurement]:
    """Return milliseconds from start to the first result; shown, never judged."""
    dropped = "file dropped from the page cache" if timed.dropped else "file perhaps in the page cache"
    return {
        "start_up_cold": _median(timed.cold, "ms", f"fresh processes, {dropped}"),
        "start_up_warm": _median(timed.warm, "ms"),
    }


def _median(values: Sequence[float], unit: str, spread_of: str = "fresh processes") -> Measurement:
    kept = [float(value) for value in values]
    average = over_processes(kept, unit)
    return average.model_copy(update={"value": float(np.median(kept)), "spread_of": spread_of})
