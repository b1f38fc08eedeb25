"""Judge the drop from the float control of the same run against the release limit, by an interval.

A limit is about the true drop, of which a test set shows a sample: red where even the lower bound of the drop lies
beyond the limit, a warning where the limit lies inside the interval, a pass where the upper bound lies below it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from quantbench.core.arrays import Array
from quantbench.core.drops import (
    Drop,
    MeanDrop,
    bootstrap_drop,
    crossed_mean,
    fraction_drop,
    with_trainings,
)
from quantbench.core.stats import pooled_sd
from quantbench.gate._common import Subject
from quantbench.gate.score.words import show_score
from quantbench.records import Action, FalseAlarms, Judgement, Kind, Measurement, Verdict

if TYPE_CHECKING:
    from quantbench.reference.metrics import Metric
    from quantbench.reference.model import Floor

# Part of the false-alarm budget of the scores that the release limits share evenly. It is fixed, because every cell has
# a limit in every run, and sharing one pool would leave the few scores that did change a tenth of their alpha. Each
# limit's own part is small (3.2e-6 of a budget of 1 % in a run of 308), which costs little: 4.5 standard errors
# beyond the limit are red, where the whole budget would make it 4.0.
OF_LIMITS = 0.1
# One-sided: below it the limit is kept, so that the interval outside of which it passes is one of 95 %.
KEPT_AT = 0.025
LIMIT_IS_POLICY = "accepting the baseline will not turn this green: the limit is 'floors' in {model}.py"
SEEDS_THAT_TELL = 5
PRACTICAL_TIMES = 20  # as many examples as there are
CLOSE_TO_LIMIT = 0.1  # of the limit
AT_THE_LIMIT = "make the variant lose less, or set a limit in 'floors' that it clearly meets"
SEEMS_BROKEN = 0.5  # p-value: the drop itself lies beyond the limit


def limit_alpha(budget: float, limits: int) -> float:
    """Return the p-value at which a release limit is red: an even share of the limits' part of the budget."""
    return OF_LIMITS * budget / max(1, limits)


def beside_limits(budget: float) -> float:
    """Return the part of the budget that is left to the changes of scores."""
    return (1 - OF_LIMITS) * budget


def with_limits(alarms: FalseAlarms, budget: float) -> FalseAlarms:
    """Add the limits' part of the whole ``budget`` to what the report says of it."""
    return alarms.model_copy(update={"limits": OF_LIMITS * budget})


@dataclass(frozen=True)
class Spread:
    """Describe how far a drop from the control differs from one training to the next.

    Attributes:
        sd: standard deviation of the drop of one training, cell and control with the same seed, in the metric's unit.
        degrees: degrees of freedom of ``sd``.
    """

    sd: float
    degrees: int


def drops_over_seeds(metric: Metric, own: Sequence[float], control: Sequence[float]) -> list[float]:
    """Return a cell's drop from its control, seed by seed.

    Args:
        own, control: scores, both with the seeds 0, 1, ...; one score of the control where that is not trained.
    """
    references = list(control) if len(control) > 1 else list(control) * len(own)
    return [metric.drop(a, b) for a, b in zip(own, references, strict=False)]


@dataclass(frozen=True)
class DropSeen:
    """Hold a cell's drop from its control, with what it was computed from.

    Attributes:
        value, reference: scores of the cell and of its control, means over the seeds that both have.
        seeds: number of seeds that both have; 0 where the cell is not trained.
        spread_known: whether the error contains the spread of trainings, where there is any.
    """

    drop: Drop
    value: float
    reference: float
    seeds: int
    spread_known: bool


def drop_seen(
    metric: Metric,
    labels: Array,
    own: Mapping[int, Array],
    control: Mapping[int, Array],
    trained: bool,
    spread: Spread | None = None,
) -> DropSeen | None:
    """Compare a cell with its control, seed by seed; None where they have no predictions to be compared.

    Args:
        labels: of the test split, shape (n,).
        own, control: seed -> predictions, shape (n, ...); where the control is not trained, it has one seed.
        trained: whether the cell is trained.
        spread: of the drop from training to training, as in the baseline; used where this run has one seed.
    """
    pairs = _same_seeds(own, control)
    if not pairs:
        return None
    value = float(np.mean([metric.value(a, labels) for a, _ in pairs]))
    reference = float(np.mean([metric.value(b, labels) for _, b in pairs]))
    drop = _drop(metric, labels, pairs)
    seeds = len(pairs) if trained else 0
    if seeds == 1 and spread is not None:
        drop = with_trainings(drop, spread.sd, spread.degrees, 1, len(labels))
    return DropSeen(drop, value, reference, seeds, seeds != 1 or spread is not None)


def _same_seeds(own: Mapping[int, Array], control: Mapping[int, Array]) -> list[tuple[Array, Array]]:
    """Pair the trainings of one seed: pairs cut the deviation of the difference from .182 to .064 pp (resnet8)."""
    if len(control) == 1 and len(own) > 1:
        (only,) = control.values()
        return [(predictions, only) for predictions in own.values()]
    return [(own[seed], control[seed]) for seed in own if seed in control]


def _drop(metric: Metric, labels: Array, pairs: Sequence[tuple[Array, Array]]) -> Drop:
    if metric.correct is not None:
        right = [(metric.correct(a, labels), metric.correct(b, labels)) for a, b in pairs]
        if len(right) == 1:
            return fraction_drop(*right[0], metric.scale)
        return crossed_mean(np.stack([b.astype(float) - a.astype(float) for a, b in right]), metric.scale)

    each = [metric.drop_of_chosen(a, b, labels) for a, b in pairs]

    def drops(chosen: Array) -> list[float]:
        return [drop(chosen) for drop in each]

    seen = bootstrap_drop(lambda chosen: float(np.mean(drops(chosen))), len(labels))
    if len(pairs) == 1:
        return seen
    sd, degrees = pooled_sd([drops(np.arange(len(labels)))])
    return with_trainings(seen, sd, degrees, len(pairs), len(labels))


def floor(
    subject: Subject,
    metric: Metric,
    score: Measurement | None,
    control: Measurement | None,
    limit: Floor | None,
    seen: DropSeen | None,
    alpha: float,
) -> Judgement | None:
    """Judge a drop from the float control of the same run against its limit; None where no limit is declared.

    Args:
        seen: the drop; None where the two cannot be compared.
        alpha: p-value at which a drop beyond the limit is red.
    """
    if limit is None or score is None:
        return None
    if control is None or seen is None:
        return _undecidable(metric, limit, "its float32 reference has no score")
    drop = seen.drop
    if not np.isfinite(drop.estimate):
        return _undecidable(metric, limit, f"{metric.name} cannot be computed on these labels")
    above, below = drop.p_above(limit.max_drop), drop.p_below(limit.max_drop)
    # A drop that is exactly its limit keeps it, and one without any error needs no test.
    exact = isinstance(drop, MeanDrop) and drop.error == 0
    broken = drop.estimate > limit.max_drop + 1e-9
    if above <= alpha and broken:
        verdict = Verdict.REGRESSED
    elif below <= KEPT_AT or (exact and not broken):
        verdict = Verdict.PASS
    else:
        verdict = Verdict.WARN
    low, high = drop.lower(KEPT_AT), drop.upper(KEPT_AT)
    known = bool(np.isfinite(low) and np.isfinite(high))
    return Judgement(
        kind=Kind.ACCURACY,
        measurement="score",
        against="floor",
        verdict=verdict,
        value=seen.value,
        reference=seen.reference,
        unit=metric.unit,
        change=drop.estimate,
        tolerance=limit.max_drop,
        p_value=above,
        low=low if known else None,
        high=high if known else None,
        message=_sentence(metric, limit, seen, verdict, alpha, (low, high) if known else None),
        actions=_actions(subject, seen, verdict),
    )


def _undecidable(metric: Metric, limit: Floor, why: str) -> Judgement:
    message = f"the release limit of {limit.max_drop:g} {metric.unit} cannot be checked: {why}"
    return Judgement(kind=Kind.ACCURACY, measurement="score", against="floor", verdict=Verdict.ERROR, message=message)


def _sentence(
    metric: Metric,
    limit: Floor,
    seen: DropSeen,
    verdict: Verdict,
    alpha: float,
    interval: tuple[float, float] | None,
) -> str:
    unit, drop = metric.unit, seen.drop
    between = (
        "95 % interval unknown"
        if interval is None
        else f"95 % interval of the drop {interval[0]:+.2f} to {interval[1]:+.2f}"
    )
    seeds = f", mean of {seen.seeds} seeds" if seen.seeds > 1 else ""
    side = "above" if (drop.estimate < 0) == metric.higher_is_better else "below"
    head = (
        f"{metric.name} {show_score(metric, seen.value)} is {abs(drop.estimate):.2f} {unit} {side} its float32 "
        "reference "
        f"({show_score(metric, seen.reference)}{seeds}; {between})"
    )
    if verdict is Verdict.PASS:
        return f"{head}, within the {limit.max_drop:g} {unit} allowed"
    if verdict is Verdict.REGRESSED:
        p_value = drop.p_above(limit.max_drop)
        return (
            f"{head}, more than the {limit.max_drop:g} {unit} allowed (p = {p_value:.2g}, fails below {alpha:.2g}); "
            f"the limit's reason: {limit.reason}"
        )
    return f"{head}; the limit of {limit.max_drop:g} {unit} lies inside that interval{_what_tells(limit, seen)}"


def _what_tells(limit: Floor, seen: DropSeen) -> str:
    if 0 < seen.seeds < SEEDS_THAT_TELL:
        return "; more seeds would narrow it"
    if not np.isfinite(seen.drop.upper(KEPT_AT)):
        return ""
    needed = seen.drop.needed(limit.max_drop, KEPT_AT)
    times = np.inf if needed is None else needed / seen.drop.n
    if times > PRACTICAL_TIMES and abs(seen.drop.estimate - limit.max_drop) <= CLOSE_TO_LIMIT * limit.max_drop:
        return f"; the drop is at the limit, and no practical number of {_evidence(seen)} would decide: {AT_THE_LIMIT}"
    if needed is None:
        return ""
    if seen.seeds:
        return f"; about {times:.1f} times as many {_evidence(seen)} would decide"
    return f"; about {_rounded(needed):,} examples would decide"


def _evidence(seen: DropSeen) -> str:
    """Name what narrows the interval: of a cell with several trainings, both samples have to grow."""
    return "seeds and examples" if seen.seeds else "examples"


def _rounded(count: int) -> int:
    """Round to two digits: an estimate from these examples knows no more."""
    return round(count, 2 - len(str(count)))


def _actions(subject: Subject, seen: DropSeen, verdict: Verdict) -> list[Action]:
    if verdict is Verdict.PASS:
        return []
    more = [subject.more_seeds(SEEDS_THAT_TELL)]
    policy = [Action(what=LIMIT_IS_POLICY.format(model=subject.model))] if verdict is Verdict.REGRESSED else []
    return [*(more if 0 < seen.seeds < SEEDS_THAT_TELL else []), *policy]


def wants_more_seeds(judgement: Judgement, seen: DropSeen) -> bool:
    """Return whether further seeds could decide a limit that a cell seems to break.

    A limit that seems to be kept, and lies inside the interval, is only a warning: a run in which nothing changed would
    train for it each time.
    """
    undecided = judgement.against == "floor" and judgement.verdict is not Verdict.PASS
    return undecided and 0 < seen.seeds < SEEDS_THAT_TELL and (judgement.p_value or 0.0) <= SEEMS_BROKEN
