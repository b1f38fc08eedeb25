"""Slowdowns planted in real timing processes under random load, and what the gate and others' rules make of them.

Fresh processes are recorded once, those of all conditions in random turns, on a machine that
:mod:`quantbench.selftest.load` loads. Runs are then resampled from the recordings: some healthy processes for the
baseline, some of a condition for the run, some more for the second measurement that a suspicion asks for; never the
same process twice in one trial.

Rules of other tools judge the variant's own times in the same recordings, three times as many of them, since they time
neither a control nor a yardstick: the wall time is the same.
"""

import contextlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from quantbench import gate
from quantbench.core.arrays import Array
from quantbench.engine import measurements
from quantbench.measure.latency import Latency, Process, save_inputs, time_once
from quantbench.records import (
    Accepted,
    BaselineCell,
    BaselineValue,
    LatencyNull,
    LatencyPlant,
    LatencySelftest,
    Verdict,
)
from quantbench.records.measurements import RATIO, TO_YARDSTICK
from quantbench.reference.model import ReferenceModel
from quantbench.selftest.load import busy

PER_RUN = 12  # processes of one measurement, as a run with the default budget takes them
SECONDS = 0.25
# A pull-request gate times so many cells: float32 and two variants of seven models. Its scores have not moved here.
CELLS = 21
SHARE = gate.share(gate.DEFAULT_BUDGET, CELLS).share
OURS = "quantbench"


@dataclass(frozen=True)
class Condition:
    """What is planted in the timing processes.

    Attributes:
        measurement: which judgement has to see it.
        planted: keys of the worker's job.
        threads: of the kernels.
    """

    name: str
    strength: str
    measurement: str
    planted: dict[str, Any] = field(hash=False)
    threads: int = 1


HEALTHY = Condition("healthy", "", RATIO, {})
SLOWER = [
    Condition("the variant slower by", f"{percent} %", RATIO, {"slow": {"variant": percent / 100}})
    for percent in (2, 3, 5, 10)
]
RUNTIME = [
    Condition(
        "the whole runtime slower by",
        f"{percent} %",
        TO_YARDSTICK,
        {"slow": {"variant": percent / 100, "control": percent / 100}},
    )
    for percent in (3, 5, 10)
]
NO_XNNPACK = Condition("XNNPACK off", "", TO_YARDSTICK, {"runtime": "litert-builtin"})
THREAD_TOO_FEW = Condition("a thread too few", "1 of 2", "threads_at_work", {})
TWO_THREADS = Condition("healthy", "2 threads", "threads_at_work", {}, threads=2)


def record(
    model: ReferenceModel,
    control: Path,
    variant: Path,
    counts: dict[Condition, int],
    load: bool,
    say: Callable[[str], None],
    seed: int = 0,
) -> dict[Condition, list[Process]]:
    """Fresh processes of every condition, in random turns, so that what changes on the machine hits all alike."""
    turns = [condition for condition, count in counts.items() for _ in range(count)]
    order = np.random.default_rng(seed).permutation(len(turns))
    found: dict[Condition, list[Process]] = {condition: [] for condition in counts}
    with tempfile.TemporaryDirectory(prefix="quantbench-") as folder, busy(seed) if load else contextlib.nullcontext():
        inputs = save_inputs(model, Path(folder))
        for done, which in enumerate(order):
            condition = turns[int(which)]
            # The tensor buffers of the recorded process hold its own copy; nothing here is shared with the next.
            process = time_once(variant, control, inputs, SECONDS, condition.threads, done, **condition.planted)
            found[condition].append(process)
            if (done + 1) % 20 == 0:
                say(f"recorded {done + 1} of {len(turns)} timing processes")
    return found


# ---------------------------------------------------------------- rules


SUBJECT = gate.Subject("selftest", "latency", "reports/selftest")


def _our_rule(name: str, old: list[Process], new: list[Process], again: list[Process], share: float) -> bool:
    """Whether the gate's own judge ends red."""
    if name == "threads_at_work":
        return gate.threads(2, measurements.latency(Latency(new))[name]) is not None
    accepted = _accepted(measurements.latency(Latency(old))[name])
    ratio = measurements.latency(Latency(new))[name]
    second = measurements.latency(Latency(again))[name] if gate.suspicious(ratio, accepted) else None
    baseline = BaselineCell(latency={"here": accepted})
    return gate.latency(SUBJECT, name, ratio, baseline, "here", share, second).verdict is Verdict.REGRESSED


def _accepted(ratio: Any) -> BaselineValue:
    return BaselineValue(
        value=ratio.value,
        unit=ratio.unit,
        n=ratio.n,
        noise=ratio.spread,
        noise_from="sd over fresh processes of one run",
        values=ratio.values,
        tolerance=gate.LATENCY_TOLERANCE,
        tolerance_from=gate.LATENCY_TOLERANCE_REASON,
        accepted=Accepted(date="", reason="healthy", run="selftest", environment=""),
    )


def _slower(of: Callable[[Array], Any], limit: float) -> Callable[[Array, Array], bool]:
    return lambda old, new: bool(of(new) > (1 + limit) * of(old))


def _mann_whitney(old: Array, new: Array) -> bool:
    slower = float(np.median(new)) > float(np.median(old))
    from scipy import stats

    return slower and float(stats.mannwhitneyu(new, old).pvalue) < 0.002


# The rules of tools in use, on times as they are: (old times, new times) -> red.
PEERS: dict[str, Callable[[Array, Array], bool]] = {
    "mean beyond 1 %": _slower(np.mean, 0.01),
    "mean beyond 5 % (pytest-benchmark)": _slower(np.mean, 0.05),
    "min beyond 5 % (pytest-benchmark)": _slower(np.min, 0.05),
    "mean beyond 8.5 % of the last run": _slower(np.mean, 0.085),
    "Mann-Whitney, p < .002": _mann_whitney,
}


def _times(processes: list[Process]) -> Array:
    return np.concatenate([process["variant"].seconds for process in processes])


# ---------------------------------------------------------------- trials


def _draw(pool: list[Process], random: np.random.Generator, *counts: int) -> list[list[Process]]:
    """Disjoint random samples of a pool."""
    order = random.permutation(len(pool))
    starts = np.cumsum([0, *counts])
    return [[pool[i] for i in order[a:b]] for a, b in pairwise(starts)]


def _trial(
    condition: Condition, healthy: list[Process], pool: list[Process], random: np.random.Generator, per_run: int
) -> dict[str, bool]:
    """Which rules are red, on one resampled run of a condition against a resampled healthy baseline."""
    same = pool is healthy
    if same:
        old, new, again = _draw(pool, random, per_run, per_run, per_run)
        theirs_old, theirs_new = _draw(pool, random, len(pool) // 2, len(pool) // 2)
    else:
        [old] = _draw(healthy, random, per_run)
        new, again = _draw(pool, random, per_run, per_run)
        [theirs_old], [theirs_new] = _draw(healthy, random, 3 * per_run), _draw(pool, random, 3 * per_run)
    red = {OURS: _our_rule(condition.measurement, old, new, again, SHARE)}
    times_old, times_new = _times(theirs_old), _times(theirs_new)
    return red | {name: rule(times_old, times_new) for name, rule in PEERS.items()}


def planted(
    condition: Condition, healthy: list[Process], pool: list[Process], trials: int, per_run: int
) -> LatencyPlant:
    """How often each rule catches a condition."""
    random = np.random.default_rng(0)
    reds = [_trial(condition, healthy, pool, random, per_run) for _ in range(trials)]
    caught = {name: sum(red[name] for red in reds) for name in reds[0]}
    return LatencyPlant(
        plant=condition.name,
        strength=condition.strength,
        measurement=condition.measurement,
        trials=trials,
        caught=caught,
    )


def null_runs(
    healthy: list[Process], runs: int, cells: int, per_run: int, where: str, later: list[Process] | None = None
) -> LatencyNull:
    """How often each rule is red where nothing changed: in single judgements, and in whole runs of ``cells`` cells.

    Args:
        where: what the recordings are of, for the report.
        later: recordings of the runs where they are others than those of the baselines.
    """
    random = np.random.default_rng(1)
    pool = healthy if later is None else later
    single: dict[str, int] = {}
    whole: dict[str, int] = {}
    for _ in range(runs):
        reds = [
            _trial(Condition("", "", name, {}), healthy, pool, random, per_run)
            for name in [RATIO] * (2 * cells // 3) + [TO_YARDSTICK] * (cells - 2 * cells // 3)
        ]
        for name in reds[0]:
            single[name] = single.get(name, 0) + sum(red[name] for red in reds)
            whole[name] = whole.get(name, 0) + any(red[name] for red in reds)
    drawn = len(healthy) + (0 if later is None else len(later))
    return LatencyNull(where=where, recordings=drawn, runs=runs, cells=cells, red_judgements=single, red_runs=whole)


def run(
    model: ReferenceModel, control: Path, variant: Path, quick: bool, say: Callable[[str], None]
) -> LatencySelftest:
    """Record, resample, judge."""
    # Half the processes, as the quick one once took, see 10 % in 95 % of runs only: a real run takes them all.
    trials = 20 if quick else 200
    least = 3 * PER_RUN
    chosen = [SLOWER[-1], NO_XNNPACK] if quick else [*SLOWER, *RUNTIME, NO_XNNPACK]
    counts = dict.fromkeys([*chosen, THREAD_TOO_FEW, TWO_THREADS], least)
    counts[HEALTHY] = 2 * least
    pools = record(model, control, variant, counts, True, say)
    healthy = pools[HEALTHY]
    nulls = [null_runs(healthy, 20 if quick else 300, CELLS, PER_RUN, "loaded")]
    if not quick:
        idle = record(model, control, variant, {HEALTHY: least}, False, say, seed=1)[HEALTHY]
        nulls.append(null_runs(idle, 100, CELLS, PER_RUN, "baseline recorded idle, run loaded", healthy))
        nulls.append(null_runs(healthy, 100, CELLS, PER_RUN, "baseline recorded loaded, run idle", idle))
    plants = [planted(one, healthy, pools[one], trials, PER_RUN) for one in chosen]
    plants.append(planted(THREAD_TOO_FEW, pools[TWO_THREADS], pools[THREAD_TOO_FEW], trials, PER_RUN))
    nulls.append(_threads_kept(pools[TWO_THREADS], trials, PER_RUN))
    return LatencySelftest(
        recordings={f"{one.name} {one.strength}".strip(): len(pool) for one, pool in pools.items()},
        processes=PER_RUN,
        seconds=SECONDS,
        share=SHARE,
        spread=_spread(Latency(healthy)),
        disturbed=Latency(healthy).disturbed(),
        plants=plants,
        nulls=nulls,
    )


def _threads_kept(pool: list[Process], trials: int, per_run: int) -> LatencyNull:
    """How often two threads that both work are called one."""
    random = np.random.default_rng(2)
    reds = sum(_our_rule("threads_at_work", [], _draw(pool, random, per_run)[0], [], SHARE) for _ in range(trials))
    where = "two threads, both at work"
    return LatencyNull(
        where=where, recordings=len(pool), runs=trials, cells=1, red_judgements={OURS: reds}, red_runs={OURS: reds}
    )


def _spread(timed: Latency) -> dict[str, float]:
    """By measurement, standard deviation of one process as a fraction."""
    values = {RATIO: timed.ratios(), TO_YARDSTICK: timed.control_to_yardstick()}
    return {name: float(np.std(one, ddof=1) / np.mean(one)) for name, one in values.items()}
