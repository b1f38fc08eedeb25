"""From single calls, several threads, batches and Keras to measurements. Nothing here judges."""

from collections.abc import Callable, Sequence

import numpy as np

from quantbench.core.arrays import Array
from quantbench.core.stats import quantile_interval, trimmed_mean
from quantbench.measure.keras import InKeras
from quantbench.measure.latency import Latency
from quantbench.records import Measurement
from quantbench.records.measurements import BY_THREADS, name_at

PERCENTILES = {"latency_p50": 0.5, "latency_p90": 0.9, "latency_p99": 0.99}


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
