"""Inject slowdowns into real timing processes under random load, and compare the gate with other tools' rules.

Fresh processes are recorded once, for all conditions in random order, while :mod:`quantbench.selftest.load` loads the
machine. Runs are then resampled from the recordings: some healthy processes for the baseline, some of a condition for
the run, and more for the later stages of what is unclear; no process is used twice in one trial. A slowdown of 1 % is
recorded in turns with the accepted artifact too, in one process, where neither a baseline's noise nor that between runs
is in the ratio.

Rules of other tools judge the variant's own times in the same recordings, from three times as many processes: they time
neither a control nor a reference load, so that the total time is the same.
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
    LatencyFault,
    LatencyNull,
    LatencySelftest,
    Measurement,
    Verdict,
)
from quantbench.records.measurements import RATIO, TO_YARDSTICK
from quantbench.reference.model import ReferenceModel
from quantbench.selftest.load import busy

PER_RUN = 12  # processes of one measurement, as in a run with the default budget
SECONDS = 0.25
# The number of cells that a pull-request gate times: float32 and two variants of seven models, with unchanged scores.
CELLS = 21
SHARE = gate.split(gate.beside_limits(gate.DEFAULT_BUDGET), CELLS)[1] / CELLS  # as in a run that judges scores too
OURS = "quantbench"


@dataclass(frozen=True)
class Condition:
    """Describe what is injected into the timing processes.

    Attributes:
        measurement: which judgement has to catch it.
        planted: keys of the worker's job.
        threads: of the kernels.
        in_turns: whether the variant is timed against itself, the accepted artifact, and not against float32.
    """

    name: str
    strength: str
    measurement: str
    planted: dict[str, Any] = field(hash=False)
    threads: int = 1
    in_turns: bool = False


HEALTHY = Condition("healthy", "", RATIO, {})
SLOWER = [
    Condition("the variant slower by", f"{percent} %", RATIO, {"slow": {"variant": percent / 100}})
    for percent in (1, 2, 3, 5, 10)
]
IN_TURNS = [
    Condition("in turns with the accepted artifact, slower by", f"{percent} %", RATIO, planted, in_turns=True)
    for percent, planted in ((0, {}), (1, {"slow": {"variant": 0.01}}))
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
BESIDE = [
    Condition("each call of the variant waits", "1 ms", RATIO, {"wait": 1e-3}),
    Condition("the first call of the variant longer by", "50 ms", RATIO, {"first": 0.05}),
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
    """Record fresh processes of every condition in random order, so that changes of the machine affect all alike."""
    turns = [condition for condition, count in counts.items() for _ in range(count)]
    order = np.random.default_rng(seed).permutation(len(turns))
    processes: dict[Condition, list[Process]] = {condition: [] for condition in counts}
    with tempfile.TemporaryDirectory(prefix="quantbench-") as folder, busy(seed) if load else contextlib.nullcontext():
        inputs = save_inputs(model, Path(folder))
        for done, which in enumerate(order):
            condition = turns[int(which)]
            # The recorded process copies the tensor buffers, so nothing here is shared with the next one.
            base = variant if condition.in_turns else control
            process = time_once(variant, base, inputs, SECONDS, condition.threads, done, **condition.planted)
            processes[condition].append(process)
            if (done + 1) % 20 == 0:
                say(f"recorded {done + 1} of {len(turns)} timing processes")
    return processes


# ---------------------------------------------------------------- rules


SUBJECT = gate.Subject("selftest", "latency", "reports/selftest")


def _our_rule(condition: Condition, old: list[Process], stages: list[list[Process]], share: float) -> bool:
    """Check whether the gate's own judge fails."""
    name = condition.measurement
    if name == "threads_at_work":
        return gate.threads(2, measurements.latency(Latency(stages[0]))[name]) is not None
    if condition.in_turns:
        return _in_turns([Latency(stage).ratios() for stage in stages], gate.beside_share(share)[0])
    variant = "float32" if name == TO_YARDSTICK else "variant"
    before, first = _measured(old, variant), _measured(stages[0], variant)
    beside = {
        other: {"here": _accepted(before[other]).model_copy(update={"tolerance": rule.tolerance})}
        for other, rule in gate.RULES.items()
        if other in before
    }
    baseline = BaselineCell(latency={"here": _accepted(before[name])}, by_machine=beside)
    known = gate.accepted_beside(baseline, "here")
    of_typical, of_others = gate.beside_share(share)
    taken, suspected = [first], gate.suspicious_beside(first, name, known)
    while True:
        ratios = [stage[name] for stage in taken]
        typical, unclear = gate.latency_in_stages(SUBJECT, name, ratios, baseline, "here", of_typical)
        if len(taken) == len(stages) or not (unclear or (suspected and len(taken) == 1)):
            break
        taken.append(_measured(stages[len(taken)], variant))
    second = taken[1] if len(taken) > 1 else None
    judged = [typical, *gate.latency_beside(SUBJECT, first, second, name, known, of_others)]
    return any(judgement.verdict is Verdict.REGRESSED for judgement in judged)


def _measured(processes: list[Process], variant: str) -> dict[str, Measurement]:
    timed = Latency(processes)
    return measurements.latency(timed) | measurements.beside(timed, variant)


def _in_turns(stages: list[list[float]], alpha: float) -> bool:
    """Check whether an artifact that is timed in turns with the accepted one is slow."""
    looks = (gate.look(stages[:done], gate.IN_TURNS, alpha) for done in range(1, len(stages) + 1))
    return next((look.step for look in looks if look.step is not gate.Step.MORE), None) is gate.Step.SLOW


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


# The rules of existing tools, on raw times: (old times, new times) -> whether it fails.
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
    """Draw disjoint random samples from a pool."""
    order = random.permutation(len(pool))
    starts = np.cumsum([0, *counts])
    return [[pool[i] for i in order[a:b]] for a, b in pairwise(starts)]


def _trial(
    condition: Condition, healthy: list[Process], pool: list[Process], random: np.random.Generator, per_run: int
) -> dict[str, bool]:
    """Return which rules fail, on one resampled run of a condition against a resampled healthy baseline."""
    same = pool is healthy
    known = 0 if condition.in_turns else per_run
    later = min(gate.STAGES[-1] * per_run, len(pool) - same * known) - 2 * per_run
    counts = per_run, per_run, later
    if same:
        old, *stages = _draw(pool, random, known, *counts)
        theirs_old, theirs_new = _draw(pool, random, len(pool) // 2, len(pool) // 2)
    else:
        [old], stages = _draw(healthy, random, known), _draw(pool, random, *counts)
        [theirs_old], [theirs_new] = _draw(healthy, random, 3 * per_run), _draw(pool, random, 3 * per_run)
    red = {OURS: _our_rule(condition, old, [stage for stage in stages if stage], SHARE)}
    times_old, times_new = _times(theirs_old), _times(theirs_new)
    return red | {name: rule(times_old, times_new) for name, rule in PEERS.items()}


def injected_faults(
    condition: Condition, healthy: list[Process], pool: list[Process], trials: int, per_run: int
) -> LatencyFault:
    """Measure how often each rule catches a condition."""
    random = np.random.default_rng(0)
    reds = [_trial(condition, healthy, pool, random, per_run) for _ in range(trials)]
    caught = {name: sum(red[name] for red in reds) for name in reds[0]}
    return LatencyFault(
        plant=condition.name,
        strength=condition.strength,
        measurement=condition.measurement,
        trials=trials,
        caught=caught,
    )


def null_runs(
    healthy: list[Process],
    runs: int,
    cells: int,
    per_run: int,
    where: str,
    later: list[Process] | None = None,
    in_turns: bool = False,
) -> LatencyNull:
    """Measure how often each rule fails where nothing changed: single judgements, and whole runs of ``cells`` cells.

    Args:
        where: description of the recordings, for the report.
        later: recordings for the runs, where they differ from those for the baselines.
        in_turns: whether they were timed in turns with the accepted artifact.
    """
    random = np.random.default_rng(1)
    pool = healthy if later is None else later
    of_control = 0 if in_turns else cells - 2 * cells // 3
    single: dict[str, int] = {}
    whole: dict[str, int] = {}
    for _ in range(runs):
        reds = [
            _trial(Condition("", "", name, {}, in_turns=in_turns), healthy, pool, random, per_run)
            for name in [RATIO] * (cells - of_control) + [TO_YARDSTICK] * of_control
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
    # Half the processes, as the quick selftest once used, only catch 10 % in 95 % of runs; a real run uses all.
    trials = 20 if quick else 200
    least = (3 if quick else gate.STAGES[-1]) * PER_RUN
    chosen = [SLOWER[-1], NO_XNNPACK] if quick else [*SLOWER, *RUNTIME, *BESIDE, NO_XNNPACK]
    counts = dict.fromkeys([*chosen, THREAD_TOO_FEW, TWO_THREADS], least)
    counts[HEALTHY] = 6 * PER_RUN
    if not quick:
        counts |= dict.fromkeys(IN_TURNS, least)
    pools = record(model, control, variant, counts, True, say)
    healthy = pools[HEALTHY]
    nulls = [null_runs(healthy, 20 if quick else 300, CELLS, PER_RUN, "loaded")]
    if not quick:
        idle = record(model, control, variant, {HEALTHY: least}, False, say, seed=1)[HEALTHY]
        nulls.append(null_runs(idle, 100, CELLS, PER_RUN, "baseline recorded idle, run loaded", healthy))
        nulls.append(null_runs(healthy, 100, CELLS, PER_RUN, "baseline recorded loaded, run idle", idle))
        same, slower = (pools[condition] for condition in IN_TURNS)
        nulls.append(null_runs(same, 300, CELLS, PER_RUN, "in turns with the accepted artifact, loaded", in_turns=True))
    faults = [injected_faults(condition, healthy, pools[condition], trials, PER_RUN) for condition in chosen]
    if not quick:
        faults.append(injected_faults(IN_TURNS[1], same, slower, trials, PER_RUN))
    faults.append(injected_faults(THREAD_TOO_FEW, pools[TWO_THREADS], pools[THREAD_TOO_FEW], trials, PER_RUN))
    nulls.append(_threads_kept(pools[TWO_THREADS], trials, PER_RUN))
    return LatencySelftest(
        recordings={f"{condition.name} {condition.strength}".strip(): len(pool) for condition, pool in pools.items()},
        processes=PER_RUN,
        seconds=SECONDS,
        share=SHARE,
        spread=_spread(Latency(healthy)),
        disturbed=Latency(healthy).disturbed(),
        plants=faults,
        nulls=nulls,
    )


def _threads_kept(pool: list[Process], trials: int, per_run: int) -> LatencyNull:
    """Measure how often two working threads are mistaken for one."""
    random = np.random.default_rng(2)
    reds = sum(_our_rule(TWO_THREADS, [], _draw(pool, random, per_run), SHARE) for _ in range(trials))
    where = "two threads, both at work"
    return LatencyNull(
        where=where, recordings=len(pool), runs=trials, cells=1, red_judgements={OURS: reds}, red_runs={OURS: reds}
    )


def _spread(timed: Latency) -> dict[str, float]:
    """Compute the standard deviation of one process as a fraction, by measurement."""
    values = {RATIO: timed.ratios(), TO_YARDSTICK: timed.control_to_yardstick()}
    return {name: float(np.std(per_process, ddof=1) / np.mean(per_process)) for name, per_process in values.items()}
