"""Inject slowdowns into real timing processes under random load, and compare the gate with other tools' rules.

Fresh processes are recorded once, for all conditions in random order, while :mod:`quantbench.selftest.load` loads the
machine. Runs are then resampled from the recordings: healthy processes for the baseline, as many as a run records that
updates baselines, some of a condition for the run, and more for the later stages of what is unclear; no process is used
twice in one trial, but for those that time longer where stalls are suspected. A quick selftest's baseline has those of
one measurement.

Rules of other tools judge the variant's own times in the same recordings, from three times as many processes: they
time neither a control nor a reference load, so that the total time is the same. A quick selftest leaves them out,
records no more processes than the gate's own rule draws, shorter ones, and as many beside each other as there are
cores.
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from quantbench import gate
from quantbench.core.arrays import Array
from quantbench.core.threads import cores
from quantbench.engine import measurements
from quantbench.measure.latency import CALLS, Blocks, Latency, Process, save_inputs, time_once
from quantbench.records import (
    Accepted,
    BaselineCell,
    BaselineValue,
    Judgement,
    LatencyFault,
    LatencyNull,
    LatencySelftest,
    Measurement,
    Verdict,
)
from quantbench.records.measurements import RATIO, TO_YARDSTICK
from quantbench.reference.model import ReferenceModel
from quantbench.selftest import turns
from quantbench.selftest.load import busy
from quantbench.selftest.turns import draw, stages_of

PER_RUN = 12  # processes of one measurement, as in a run with the default budget
PER_BASELINE = gate.STAGES[-1] * PER_RUN  # of a run that records baselines
SECONDS = 0.25
# Of a quick selftest: half of a process is its start. Fewer blocks in each spread further, which its rows show.
QUICK_SECONDS = 0.1
THREADS_AT_WORK = "threads_at_work"
# The number of cells that a pull-request gate times: float32 and two variants of seven models, with unchanged scores.
CELLS = 21
SHARE = gate.split(gate.beside_limits(gate.DEFAULT_BUDGET), CELLS)[1] / CELLS  # as in a run that judges scores too


@dataclass(frozen=True)
class Condition:
    """Describe what is injected into the timing processes.

    Attributes:
        measurement: which judgement has to catch it.
        planted: keys of the worker's job.
        threads: of the kernels.
        in_turns: whether the accepted artifact, the healthy variant, is timed in place of float32.
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
# What a machine does that takes more time for this variant: nearly always red by a baseline of another one.
OTHER_MACHINE = SLOWER[3]
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
# Rare stalls are found by their number, and so by the calls that a run makes, as many as calls of these seconds allow.
LASTING = (1e-4, 3e-4)
STALL = (1000, 0.03)
STALLS_NAME = "one of 1,000 calls waits"
# How many a run meets depends on the calls that the machine lets a process make: with calls of 100 µs, a quiet machine
# lets it make more than 900, of 300 µs, about 430, where 94 of 100 runs are red by simulation. Below 400, the first
# twelve processes often meet fewer than two, as a note says. That stalls are caught is promised from 700 calls on: with
# fewer, they are seen, but missed too often for a promise. Under our load, and of longer calls, rows are shown only.
STALLS_CAUGHT, ENOUGH_CALLS, AIMED_AT = 0.9, 700, "30 ms, calls of 100 µs, idle"
FEW_CALLS = 400
IN_TURNS = {
    percent: Condition("in turns: the artifact slower by", f"{percent} %", RATIO, planted, in_turns=True)
    for percent, planted in (
        (0, {}),
        *((percent, {"slow": {"variant": percent / 100}}) for percent in (1, 2, 3, 5, 10)),
    )
}
BY_FEW = f"a baseline of {PER_RUN} processes:"
# Names of faults that are judged with the product's rules in turns: without a baseline, and after red by one.
NO_BASELINE = "no baseline, in turns: the variant slower by"
CONFIRMED = "confirmed in turns: the variant slower by"
NO_XNNPACK = Condition("XNNPACK off", "", TO_YARDSTICK, {"runtime": "litert-builtin"})
THREAD_TOO_FEW = Condition("a thread too few", "1 of 2", THREADS_AT_WORK, {})
TWO_THREADS = Condition("healthy", "2 threads", THREADS_AT_WORK, {}, threads=2)


def record(
    model: ReferenceModel,
    control: Path,
    variant: Path,
    counts: dict[Condition, int],
    load: bool,
    say: Callable[[str], None],
    seed: int = 0,
    quick: bool = False,
) -> dict[Condition, list[Process]]:
    """Record fresh processes of every condition in random order, so that changes of the machine affect all alike.

    Args:
        load: whether other work runs meanwhile.
        quick: whether as many processes as cores run beside each other, each of which is load for the others; what
            takes several threads runs alone, after them. Blocks are timed for a shorter time, and hardly any where only
            threads are counted.
    """
    turns = [condition for condition, count in counts.items() for _ in range(count)]
    order = np.random.default_rng(seed).permutation(len(turns))
    processes: dict[Condition, list[Process]] = {condition: [] for condition in counts}
    with (
        tempfile.TemporaryDirectory(prefix="quantbench-") as folder,
        busy(seed) if load else contextlib.nullcontext(),
    ):
        inputs = save_inputs(model, Path(folder))

        def once(numbered: tuple[int, Condition]) -> Process:
            number, condition = numbered
            # The recorded process copies the tensor buffers, so nothing here is shared with the next one.
            beside = variant if condition.in_turns else control
            seconds = _seconds(condition, quick)
            return time_once(variant, beside, inputs, seconds, condition.threads, number, **condition.planted)

        in_order, at_once = [turns[int(which)] for which in order], cores() if quick else 1
        for done, (condition, process) in enumerate(_recorded(once, in_order, at_once)):
            processes[condition].append(process)
            if (done + 1) % 20 == 0:
                say(f"recorded {done + 1} of {len(turns)} timing processes")
    return processes


def _seconds(condition: Condition, quick: bool) -> float:
    """Return how long the blocks of a process are timed; other tools' rules judge those of every condition."""
    if not quick:
        return SECONDS
    return 0.0 if condition.measurement == THREADS_AT_WORK else QUICK_SECONDS


def _recorded(
    once: Callable[[tuple[int, Condition]], Process], order: list[Condition], at_once: int
) -> Iterator[tuple[Condition, Process]]:
    """Record the conditions in this order, so many beside each other; those of several threads alone, at the end."""
    numbered = list(enumerate(order))
    alone = [one for one in numbered if at_once > 1 and one[1].threads > 1]
    for some, workers in (([one for one in numbered if one not in alone], at_once), (alone, 1)):
        with ThreadPoolExecutor(workers) as pool:
            yield from zip([condition for _, condition in some], pool.map(once, some), strict=True)


# ---------------------------------------------------------------- rules


OURS = turns.OURS
SUBJECT = gate.Subject("selftest", "latency", "reports/selftest")


def _our_rule(condition: Condition, old: list[Process], stages: list[list[Process]], share: float) -> bool:
    """Check whether the gate's own judge fails."""
    name = condition.measurement
    if name == THREADS_AT_WORK:
        return gate.threads(2, measurements.latency(Latency(stages[0]))[name]) is not None
    return any(judgement.verdict is Verdict.REGRESSED for judgement in _by_baseline(name, old, stages, share))


def _by_baseline(name: str, old: list[Process], stages: list[list[Process]], share: float) -> list[Judgement]:
    """Judge a run by a baseline, before anything is timed in turns."""
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
    taken = [first]
    while True:
        ratios = [stage[name] for stage in taken]
        typical, unclear = gate.latency_in_stages(SUBJECT, name, ratios, baseline, "here", of_typical)
        red = typical.verdict is Verdict.REGRESSED
        unclear = unclear or (not red and gate.unclear_beside(taken, name, known, of_others))
        if len(taken) == len(stages) or not unclear:
            break
        taken.append(_measured(stages[len(taken)], variant))
    return [typical, *gate.latency_beside(SUBJECT, taken, name, known, of_others, red)]


def _measured(processes: list[Process], variant: str) -> dict[str, Measurement]:
    timed = Latency(processes)
    return measurements.latency(timed) | measurements.beside(timed, variant)


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


def _trial(
    condition: Condition,
    healthy: list[Process],
    pool: list[Process],
    random: np.random.Generator,
    per_run: int,
    accepted: int,
    peers: bool = True,
    longer: bool = False,
) -> dict[str, bool]:
    """Return which rules fail, on one resampled run of a condition against a resampled healthy baseline.

    Args:
        longer: whether processes of later stages time longer, as where stalls are suspected.
    """
    same = pool is healthy
    counts = stages_of(len(pool) - same * accepted, per_run)
    if condition.measurement == THREADS_AT_WORK:  # judged by itself, without a baseline
        old, stages = [], draw(pool, random, per_run)
    elif same:
        old, *stages = draw(pool, random, accepted, *counts)
    else:
        [old], stages = draw(healthy, random, accepted), draw(pool, random, *counts)
    if longer:
        stages = [stages[0], *([_longer(pool, random) for _ in stage] for stage in stages[1:])]
    red = {OURS: _our_rule(condition, old, stages, SHARE)}
    if not peers:
        return red
    if same:
        theirs_old, theirs_new = draw(pool, random, len(pool) // 2, len(pool) // 2)
    else:
        [theirs_old], [theirs_new] = draw(healthy, random, 3 * per_run), draw(pool, random, 3 * per_run)
    times_old, times_new = _times(theirs_old), _times(theirs_new)
    return red | {name: rule(times_old, times_new) for name, rule in PEERS.items()}


def _longer(pool: list[Process], random: np.random.Generator) -> Process:
    """Put together a process that times longer from several recorded ones; some of them are drawn twice."""
    drawn = [pool[place] for place in random.integers(len(pool), size=gate.LONGER_PROCESSES)]

    def joined(name: str) -> Blocks:
        blocks = [process[name] for process in drawn]
        made: Blocks = replace(
            blocks[0],
            seconds=np.concatenate([one.seconds for one in blocks]),
            own=np.concatenate([one.own for one in blocks]),
            calls=np.concatenate([one.calls for one in blocks]),
            whole=np.concatenate([one.whole for one in blocks]),
        )
        return made

    return {name: joined(name) for name in drawn[0]}


def injected_faults(
    condition: Condition,
    healthy: list[Process],
    pool: list[Process],
    trials: int,
    per_run: int,
    accepted: int,
    peers: bool = True,
    longer: bool = False,
) -> LatencyFault:
    """Measure how often each rule catches a condition.

    Args:
        per_run: processes of a run's first stage.
        accepted: processes of a baseline.
        longer: whether processes of later stages time longer.
    """
    random = np.random.default_rng(0)
    reds = [_trial(condition, healthy, pool, random, per_run, accepted, peers, longer) for _ in range(trials)]
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
    accepted: int,
    where: str,
    later: list[Process] | None = None,
    peers: bool = True,
) -> LatencyNull:
    """Measure how often each rule fails where nothing changed: single judgements, and whole runs of ``cells`` cells.

    Args:
        where: description of the recordings, for the report.
        later: recordings for the runs, where they differ from those for the baselines.
    """
    random = np.random.default_rng(1)
    pool = healthy if later is None else later
    single: dict[str, int] = {}
    whole: dict[str, int] = {}
    for _ in range(runs):
        reds = [
            _trial(Condition("", "", name, {}), healthy, pool, random, per_run, accepted, peers)
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
    # Fewer in a run, as the quick selftest once used, only catch 10 % in 95 % of runs; a real run uses all.
    trials = 20 if quick else 200
    chosen = [SLOWER[-1], NO_XNNPACK] if quick else [*SLOWER, *RUNTIME, *BESIDE, NO_XNNPACK]
    # For all stages of a run, and for a single judgement; a quick selftest's faults are clear after two stages.
    faulty, single = (2 * PER_RUN, PER_RUN) if quick else (gate.STAGES[-1] * PER_RUN, 3 * PER_RUN)
    counts = dict.fromkeys(chosen, faulty) | dict.fromkeys([THREAD_TOO_FEW, TWO_THREADS], single)
    accepted = PER_RUN if quick else PER_BASELINE
    # A baseline and a run of all stages, and some more: else one odd recording is in all null runs.
    counts[HEALTHY] = accepted + 5 * PER_RUN
    if not quick:
        counts |= dict.fromkeys(IN_TURNS.values(), faulty)
    pools = record(model, control, variant, counts, True, say, quick=quick)
    healthy, peers = pools[HEALTHY], not quick
    nulls = [null_runs(healthy, 20 if quick else 300, CELLS, PER_RUN, accepted, "loaded", peers=peers)]
    if not quick:
        idle = record(model, control, variant, {HEALTHY: accepted + PER_RUN}, False, say, seed=1)[HEALTHY]
        nulls.append(null_runs(idle, 100, CELLS, PER_RUN, accepted, "baseline recorded idle, run loaded", healthy))
        nulls.append(null_runs(healthy, 100, CELLS, PER_RUN, accepted, "baseline recorded loaded, run idle", idle))
    faults = [
        injected_faults(condition, healthy, pools[condition], trials, PER_RUN, accepted, peers) for condition in chosen
    ]
    if not quick:
        faults += [injected_faults(*of_few, trials, PER_RUN, PER_RUN, False) for of_few in _by_few(pools)]
    alike = 1 if quick else trials  # all draws of so many processes from as many are the same
    faults.append(
        injected_faults(THREAD_TOO_FEW, pools[TWO_THREADS], pools[THREAD_TOO_FEW], alike, PER_RUN, PER_RUN, peers)
    )
    nulls.append(_threads_kept(pools[TWO_THREADS], alike, PER_RUN))
    if not quick:
        more_faults, more_nulls = judged_in_turns(pools, trials, 100, PER_RUN, accepted)
        faults, nulls = [*faults, *more_faults, *stalls(model, control, variant, trials, say)], [*nulls, *more_nulls]
    return LatencySelftest(
        recordings={f"{condition.name} {condition.strength}".strip(): len(pool) for condition, pool in pools.items()},
        processes=PER_RUN,
        seconds=QUICK_SECONDS if quick else SECONDS,
        share=SHARE,
        spread=_spread(Latency(healthy)),
        disturbed=Latency(healthy).disturbed(),
        plants=faults,
        nulls=nulls,
    )


def _by_few(pools: dict[Condition, list[Process]]) -> list[tuple[Condition, list[Process], list[Process]]]:
    """Return the slower variants once more, to be judged by what an ordinary run leaves for a baseline."""
    return [(replace(one, name=f"{BY_FEW} {one.name}"), pools[HEALTHY], pools[one]) for one in SLOWER]


def judged_in_turns(
    pools: dict[Condition, list[Process]], trials: int, runs: int, per_run: int, accepted: int
) -> tuple[list[LatencyFault], list[LatencyNull]]:
    """Measure what timing in turns catches without a baseline, and what it leaves of red by one."""
    healthy = pools[HEALTHY]
    alpha = gate.beside_share(SHARE)[0]
    faults, nulls = [], []
    for percent, condition in IN_TURNS.items():
        pool = pools[condition]
        if not percent:
            nulls.append(turns.healthy_without_baseline(pool, runs, CELLS, per_run, SUBJECT, SHARE))
            continue
        faults.append(turns.without_baseline(NO_BASELINE, condition.strength, pool, trials, per_run, SUBJECT, SHARE))

    def red(slower: Condition) -> Callable[[np.random.Generator], list[Judgement]]:
        def by_baseline(random: np.random.Generator) -> list[Judgement]:
            [old] = draw(healthy, random, accepted)
            stages = draw(pools[slower], random, *stages_of(len(pools[slower]), per_run))
            return _by_baseline(RATIO, old, stages, SHARE)

        return by_baseline

    for slower in SLOWER:
        pool = pools[IN_TURNS[int(slower.strength.partition(" ")[0])]]
        faults.append(turns.confirmed(CONFIRMED, slower.strength, red(slower), pool, trials, per_run, alpha))
    # The variant is slower here than its baseline, and no slower than the accepted artifact: a machine like that.
    machine = turns.confirmed("", "", red(OTHER_MACHINE), pools[IN_TURNS[0]], trials, per_run, alpha).caught
    where = f"another machine, on which the variant takes {OTHER_MACHINE.strength} more, confirmed in turns"
    counted = len(healthy) + len(pools[OTHER_MACHINE]) + len(pools[IN_TURNS[0]])
    nulls.append(
        LatencyNull(where=where, recordings=counted, runs=trials, cells=1, red_judgements=machine, red_runs=machine)
    )
    return faults, nulls


def stalls(
    model: ReferenceModel, control: Path, variant: Path, trials: int, say: Callable[[str], None]
) -> list[LatencyFault]:
    """Measure how often rare stalls are red, idle and loaded, where calls last as long as :data:`LASTING`."""
    faults = []
    for load in (False, True):
        where = "loaded" if load else "idle"
        pairs = []
        for seconds in LASTING:
            planted = {"lasting": seconds, "calls": CALLS}
            strength = f"30 ms, calls of {1e6 * seconds:.0f} µs, {where}"
            healthy = Condition(HEALTHY.name, strength, RATIO, planted)
            pairs.append((healthy, replace(healthy, name=STALLS_NAME, planted=planted | {"stall": STALL})))
        counts = {one: count * PER_RUN for pair in pairs for one, count in zip(pair, (2, 5), strict=True)}
        pools = record(model, control, variant, counts, load, say, seed=2 + load)
        for healthy, stalling in pairs:
            row = injected_faults(stalling, pools[healthy], pools[stalling], trials, PER_RUN, PER_RUN, False, True)
            faults.append(_with_calls(row, pools[stalling]))
    return faults


def can_meet_stalls(row: LatencyFault) -> bool:
    """Whether the processes of a row of rare stalls made so many calls that they have to be caught."""
    return row.strength == AIMED_AT and row.calls is not None and row.calls >= ENOUGH_CALLS


def _with_calls(row: LatencyFault, pool: list[Process]) -> LatencyFault:
    """Add to a row how many calls its processes made, and whether they are too few to see one stall in 1,000."""
    blocks = [process["variant"] for process in pool]
    calls = float(np.mean([len(one.whole) * one.in_whole + len(one.calls) for one in blocks]))
    few = f"too few calls to see it: {calls:.0f} a process, {FEW_CALLS} are needed" if calls < FEW_CALLS else ""
    return row.model_copy(update={"calls": calls, "note": few})


def _threads_kept(pool: list[Process], trials: int, per_run: int) -> LatencyNull:
    """Measure how often two working threads are mistaken for one."""
    random = np.random.default_rng(2)
    reds = sum(_our_rule(TWO_THREADS, [], draw(pool, random, per_run), SHARE) for _ in range(trials))
    where = "two threads, both at work"
    return LatencyNull(
        where=where, recordings=len(pool), runs=trials, cells=1, red_judgements={OURS: reds}, red_runs={OURS: reds}
    )


def _spread(timed: Latency) -> dict[str, float]:
    """Compute the standard deviation of one process as a fraction, by measurement."""
    values = {RATIO: timed.ratios(), TO_YARDSTICK: timed.control_to_yardstick()}
    return {name: float(np.std(per_process, ddof=1) / np.mean(per_process)) for name, per_process in values.items()}
