"""From what computing a cell gave to its measurements: values with unit, n and spread. Nothing here judges."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from quantbench.core.arrays import Array
from quantbench.core.stats import quantile_interval, trimmed_mean
from quantbench.engine.workers.task import Outcome
from quantbench.measure import fidelity as behaving
from quantbench.measure.gpu import OnGpu
from quantbench.measure.keras import InKeras
from quantbench.measure.latency import Latency
from quantbench.measure.memory import Memory, StartUp
from quantbench.records import Measurement
from quantbench.records.measurements import BY_THREADS, OUTPUT_DISTANCE, RATIO, TO_YARDSTICK, name_at
from quantbench.reference.metrics import ROUNDING, Metric
from quantbench.reference.model import ReferenceModel

PERCENTILES = {"latency_p50": 0.5, "latency_p90": 0.9, "latency_p99": 0.99}


def scores(model: ReferenceModel, trained: bool, outcomes: Sequence[Outcome]) -> dict[str, Measurement]:
    """The score over all seeds, how many outputs were no numbers, and whether the float control was converted well."""
    found: dict[str, Measurement] = {}
    n = len(model.pack().test)
    values = [outcome.score for outcome in outcomes]
    good = [outcome for outcome in outcomes if outcome.failure is None]
    if len(good) == len(outcomes) and np.isfinite(values).all():
        found["score"] = Measurement(
            value=float(np.mean(values)),
            unit="fraction" if model.metric.scale == 100 else model.metric.unit,
            n=n,
            spread=float(np.std(values, ddof=1)) if len(values) > 1 else None,
            spread_of="seeds" if len(values) > 1 else None,
            values=values if trained else None,
        )
    if good:
        found["nonfinite"] = Measurement(value=sum(outcome.nonfinite for outcome in good), unit="examples", n=n)
        if good[0].agreement is not None:
            found["float_agreement"] = Measurement(value=good[0].agreement, unit="fraction", n=n)
    return found


def steps(outcomes: list[Outcome]) -> dict[str, Measurement]:
    """How long a cell was fine-tuned: of its seeds, the one that trained least."""
    counted = [outcome.steps for outcome in outcomes if outcome.steps is not None]
    return {"training_steps": Measurement(value=min(counted), unit="steps", n=len(counted))} if counted else {}


def sizes(outcome: Outcome) -> dict[str, Measurement]:
    """Bytes, as they are and after deflate."""
    assert outcome.sizes is not None
    return {name: Measurement(value=size, unit="bytes", n=1) for name, size in outcome.sizes.items()}


def output_distance(good: Sequence[Outcome], references: Sequence[Outcome], trained: bool) -> dict[str, Measurement]:
    """How far the outputs lie from the control's, each seed's from that of the control's same seed where it has one.

    Args:
        references: outcomes of the control, or of the float control where there is none, one a seed; empty of the float
            control itself, whose distance from itself is 0.
    """
    by_seed = {outcome.seed: outcome.outputs for outcome in references}
    first = references[0].outputs if references else None
    pairs = []
    for outcome in good:
        reference = by_seed.get(outcome.seed, first) if references else outcome.outputs
        if outcome.outputs is None or reference is None:
            return {}
        pairs.append((outcome.outputs, reference))
    found = behaving.output_distance(pairs, trained)
    return {} if found is None else {OUTPUT_DISTANCE: found}


def behaviour(metric: Metric, good: list[Outcome], control: Outcome | None) -> dict[str, Measurement]:
    """How the artifact answers besides the score; of a trained cell, its first seed, and the worst conversion."""
    found: dict[str, Measurement] = {}
    first = good[0]
    assert first.predictions is not None
    if control is not None and control.predictions is not None:
        found |= behaving.against_control(
            metric, first.predictions, control.predictions, first.outputs, control.outputs
        )
    for runtime, predictions in first.others.items():
        n = len(predictions)
        value = metric.agreement(predictions, first.predictions[:n], ROUNDING)
        found[f"{runtime.removeprefix('litert-')}_agreement"] = Measurement(value=value, unit="fraction", n=n)
    conversions = [outcome.conversion for outcome in good if outcome.conversion is not None]
    if conversions:
        n = len(first.predictions)
        found["conversion_agreement"] = Measurement(
            value=min(conversions), unit="fraction", n=n, values=conversions if len(conversions) > 1 else None
        )
    return found


def control_agreement(metric: Metric, first: Outcome, control: Outcome | None) -> float | None:
    """Fraction of examples on which the first seed answers as its control, near alike as conversion is judged."""
    if control is None or control.predictions is None or first.predictions is None:
        return None
    return metric.agreement(first.predictions, control.predictions, ROUNDING)


def latency(timed: Latency) -> dict[str, Measurement]:
    """Microseconds a call, the ratio to the float control, and the control's to the yardstick."""
    return {
        "latency": over_processes(timed.microseconds(), "µs"),
        RATIO: over_processes(timed.ratios(), "ratio to float32"),
        TO_YARDSTICK: over_processes(timed.control_to_yardstick(), "ratio to yardstick"),
        "threads_at_work": over_processes(timed.threads_at_work(), "threads"),
        "disturbed": Measurement(value=timed.disturbed(), unit="fraction", n=len(timed.blocks())),
    }


def at_threads(found: dict[str, Measurement], threads: int) -> dict[str, Measurement]:
    """What was measured at so many threads, by its names in a report."""
    return {name_at(name, threads): found[name] for name in BY_THREADS if name in found}


def calls(timed: Latency) -> dict[str, Measurement]:
    """Percentiles of single calls in microseconds, and examples a second; empty where no single calls were timed.

    The intervals are those of the calls of all processes together. Calls of one process resemble each other: how far
    processes lie apart is the spread.
    """
    by_process = timed.calls()
    if not by_process:
        return {}
    found = {name: _percentile(by_process, share) for name, share in PERCENTILES.items()}
    found["throughput"] = _pooled(by_process, lambda seconds: len(seconds) / float(seconds.sum()), "examples/s")
    costs = timed.timing_cost()
    found["timing_cost"] = Measurement(value=float(np.median(costs)), unit="µs", n=len(costs))
    return found


def over_processes(values: Sequence[float], unit: str) -> Measurement:
    """The trimmed mean of a value a process."""
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
    """Microseconds an example and examples a second, from seconds a call of ``size`` examples, one value a process."""
    return {
        f"batch_{size}_latency": over_processes([1e6 * one / size for one in seconds], "µs/example"),
        f"batch_{size}_throughput": over_processes([size / one for one in seconds], "examples/s"),
    }


def keras(timed: InKeras) -> dict[str, Measurement]:
    """Microseconds a call of a model in Keras, on the CPU and, where TensorFlow sees one, on a GPU."""
    found = {"keras_latency": over_processes([1e6 * one for one in timed.cpu], "µs")}
    if timed.gpu:
        found["keras_gpu_latency"] = over_processes([1e6 * one for one in timed.gpu], "µs")
    return found


def _percentile(by_process: list[Array], share: float) -> Measurement:
    found = _pooled(by_process, lambda seconds: 1e6 * float(np.quantile(seconds, share)), "µs")
    low, high = quantile_interval([1e6 * seconds for calls in by_process for seconds in calls], share)
    return found.model_copy(update={"low": low, "high": high})


def _pooled(by_process: list[Array], of: Callable[[Array], float], unit: str) -> Measurement:
    together = np.concatenate(by_process)
    return Measurement(
        value=of(together),
        unit=unit,
        n=len(together),
        spread=float(np.std([of(calls) for calls in by_process], ddof=1)) if len(by_process) > 1 else None,
        spread_of="fresh processes" if len(by_process) > 1 else None,
    )


def gpu(metric: Metric, taken: OnGpu, on_cpu: Outcome) -> dict[str, Measurement]:
    """Agreement with ``litert-cpu``, operators left to the CPU, milliseconds until read-back and their ratio."""
    if taken.failure or taken.predictions is None or on_cpu.predictions is None:
        return {}
    n = len(taken.predictions)
    value = metric.agreement(taken.predictions, on_cpu.predictions[:n], ROUNDING)
    found = {
        "gpu_agreement": Measurement(value=value, unit="fraction", n=n),
        "gpu_time": over_processes([1e3 * one for one in taken.seconds], "ms"),
    }
    if taken.operators:
        found["gpu_left"] = Measurement(value=taken.left, unit="operators", n=taken.operators)
    if taken.ratios:
        found["gpu_ratio"] = over_processes(taken.ratios, "ratio to float32 on the device")
    return found


def memory(taken: Memory, control: Memory | None) -> dict[str, Measurement]:
    """Bytes of the arena and the peak, and the peak's ratio to float32's; no ratio without ``control``."""
    if taken.failure:
        return {}
    found = {
        "peak_memory": _median(taken.peaks, "bytes"),
        "peak_resident": _median(taken.resident, "bytes"),
        "model_memory": _median(taken.own(), "bytes"),
    }
    if taken.arena is not None:
        found["arena"] = Measurement(value=taken.arena, unit="bytes", n=1)
    if control is not None and not control.failure:
        ratio = taken.peak() / control.peak()
        found["memory_ratio"] = Measurement(
            value=ratio,
            unit="ratio to float32",
            n=len(taken.peaks),
            spread=ratio * math.hypot(*(float(np.std(of.peaks, ddof=1)) / of.peak() for of in (taken, control))),
            spread_of="fresh processes, one of each",
        )
    return found


def start_up(timed: StartUp) -> dict[str, Measurement]:
    """Milliseconds from nothing loaded to the first result; shown, and never judged."""
    dropped = "file dropped from the page cache" if timed.dropped else "file perhaps in the page cache"
    return {
        "start_up_cold": _median(timed.cold, "ms", f"fresh processes, {dropped}"),
        "start_up_warm": _median(timed.warm, "ms"),
    }


def _median(values: Sequence[float], unit: str, spread_of: str = "fresh processes") -> Measurement:
    kept = [float(value) for value in values]
    found = over_processes(kept, unit)
    return found.model_copy(update={"value": float(np.median(kept)), "spread_of": spread_of})
