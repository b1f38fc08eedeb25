"""Inject slowdowns into artifacts that are timed in turns with the accepted one: without a baseline of the machine, and
to confirm what is red by a baseline.

The accepted artifact is the healthy variant, recorded as the control of the same processes; nothing else differs from
:mod:`quantbench.selftest.latency`, whose recordings of the variant beside float32 serve as baseline and run.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import numpy as np

from quantbench import gate
from quantbench.engine import measurements
from quantbench.measure.latency import Latency, Process
from quantbench.records import InTurns, Judgement, LatencyFault, LatencyNull, Measurement, Verdict
from quantbench.records.measurements import RATIO

OURS = "quantbench"
CHANGED = InTurns(artifact="changed")
Pool = list[Process]
Timed = dict[str, Measurement]


def draw(pool: Pool, random: np.random.Generator, *counts: int) -> list[Pool]:
    """Draw disjoint random samples from a pool."""
    order = random.permutation(len(pool))
    starts = np.cumsum([0, *counts])
    return [[pool[i] for i in order[a:b]] for a, b in pairwise(starts)]


def _in_turns(processes: Pool) -> Timed:
    return measurements.in_turns(Latency(processes))


def stages_of(most: int, per_run: int) -> list[int]:
    """Return how many processes each stage of a run gets, where there are ``most`` in all."""
    ends = [0, *(min(stage * per_run, most) for stage in gate.STAGES)]
    return [b - a for a, b in pairwise(ends) if b > a]


def timed_until(
    pool: Pool, random: np.random.Generator, per_run: int, unclear: Callable[[Sequence[Timed]], bool]
) -> list[Timed]:
    """Draw the stages of one timing in turns, as many as it needs."""
    taken: list[Timed] = []
    for stage in draw(pool, random, *stages_of(len(pool), per_run)):
        taken.append(_in_turns(stage))
        if not unclear(taken):
            break
    return taken


def red_in_turns(subject: gate.Subject, pool: Pool, random: np.random.Generator, per_run: int, share: float) -> bool:
    """Check whether a cell without a baseline is red, by one timing in turns."""
    stages = timed_until(pool, random, per_run, partial(gate.unclear_in_turns, CHANGED, alpha=share))
    judged = gate.judged_in_turns(subject, RATIO, stages[0][RATIO], "here", CHANGED, stages, share)
    return any(one.verdict is Verdict.REGRESSED for one in judged)


def still_red(judged: list[Judgement], pool: Pool, random: np.random.Generator, per_run: int, alpha: float) -> bool:
    """Check whether what is red by a baseline stays red once it was timed in turns."""
    stages = timed_until(pool, random, per_run, partial(gate.unconfirmed, judged, CHANGED, alpha=alpha))
    return any(one.verdict is Verdict.REGRESSED for one in gate.confirmed(judged, CHANGED, stages, alpha))


def without_baseline(
    name: str, strength: str, pool: Pool, trials: int, per_run: int, subject: gate.Subject, share: float
) -> LatencyFault:
    """Measure how often a slower artifact is red that no baseline tells of."""
    random = np.random.default_rng(3)
    reds = [red_in_turns(subject, pool, random, per_run, share) for _ in range(trials)]
    return LatencyFault(plant=name, strength=strength, measurement=RATIO, trials=trials, caught={OURS: sum(reds)})


def healthy_without_baseline(
    pool: Pool, runs: int, cells: int, per_run: int, subject: gate.Subject, share: float
) -> LatencyNull:
    """Measure how often the accepted artifact is red against itself, by cell and by run."""
    random, judgements, whole = np.random.default_rng(4), 0, 0
    for _ in range(runs):
        reds = [red_in_turns(subject, pool, random, per_run, share) for _ in range(cells)]
        judgements, whole = judgements + sum(reds), whole + any(reds)
    return LatencyNull(
        where="no baseline, the artifact in turns with itself",
        recordings=len(pool),
        runs=runs,
        cells=cells,
        red_judgements={OURS: judgements},
        red_runs={OURS: whole},
    )


def confirmed(
    name: str,
    strength: str,
    by_baseline: Callable[[np.random.Generator], list[Judgement]],
    pool: Pool,
    trials: int,
    per_run: int,
    alpha: float,
) -> LatencyFault:
    """Measure how often a run is red by a baseline and stays red after it was timed in turns.

    Args:
        by_baseline: draws a run and its baseline, and judges.
        pool: what is drawn for the timing in turns.
    """
    random, caught = np.random.default_rng(5), 0
    for _ in range(trials):
        judged = by_baseline(random)
        if gate.red_by_baseline(judged):
            caught += still_red(judged, pool, random, per_run, alpha)
    return LatencyFault(plant=name, strength=strength, measurement=RATIO, trials=trials, caught={OURS: caught})
