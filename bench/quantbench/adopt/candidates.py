"""Compare what a search tried: which may be judged, in which order, and which of them is the smallest within the limit.

Judged one after another, each at the full level, as long as each is within (a fixed sequence of tests: Maurer, Hothorn
& Lehmacher 1995; Westfall & Krishen 2001). The order comes from the examples of the search alone, so that the share of
searches that end with an artifact beyond the limit is at most that level, however many were tried.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from quantbench.adopt import ranking, splitting
from quantbench.adopt.ranking import Scored
from quantbench.core.arrays import Array
from quantbench.core.drops import Drop
from quantbench.records import Decision, OutputVerdict

# How surely the spare steps of the sequence keep the limit, in standard errors of the search: an artifact that was
# chosen as the smallest of many is worse than it looks.
SPARE = (0.2, 0.4, 0.7, 1.0, 1.5, 2.0)
# Mixed artifacts within this factor in cost count as one step of the sequence.
STEP = 1.05


@dataclass(frozen=True)
class Tried:
    """Hold an artifact with its score on the examples of the search.

    Attributes:
        name: of the fixed variant; empty for a mixed one.
        size: bytes of its file.
        cost: what is to be small.
        drop: of the first output.
        margin: see :func:`quantbench.adopt.splitting.margin`; of the output that is nearest to its limit.
        chosen: position -> setting, of a mixed one.
    """

    name: str
    size: int
    cost: float
    drop: float
    margin: float
    chosen: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Question:
    """Hold what every artifact is asked on some examples.

    Attributes:
        outputs: what is scored; the first one is the model's main output.
        limits: of each, in its unit.
        float32: output -> predictions of float32 on all examples.
        places: of the examples.
    """

    outputs: Sequence[Scored]
    limits: Sequence[float]
    float32: Mapping[str, Array]
    places: Array

    def drops(self, predictions: Mapping[str, Array]) -> list[Drop]:
        """Return the drop of each output.

        Args:
            predictions: output -> of these examples.
        """
        return [
            ranking.drop_between(
                one.metric, predictions[name], self.float32[name][self.places], one.labels[self.places]
            )
            for name, one in zip(self.float32, self.outputs, strict=True)
        ]

    def score(self, predictions: Mapping[str, Array]) -> list[float]:
        """Return the score of each output."""
        named = zip(self.float32, self.outputs, strict=True)
        return [float(one.metric.value(predictions[name], one.labels[self.places])) for name, one in named]


def margin_of(drops: Sequence[Drop], limits: Sequence[float], searched: int, judged: int) -> float:
    """Return the margin of the output that is nearest to its limit."""
    return min(splitting.margin(drop, limit, searched, judged) for drop, limit in zip(drops, limits, strict=True))


def sequence(tried: Iterable[Tried]) -> list[Tried]:
    """Return what is judged, in order: from what keeps the limit most surely to the smallest.

    Of all that may keep it, some of those that are smaller than everything surer, the surest mixed one of each step in
    cost, and all fixed variants that are smaller than every surer fixed one; at the end the fixed variants that are
    smaller still, whatever the search says.
    """
    everything = sorted(tried, key=lambda one: (one.cost, -one.margin))
    front, mixed = _front(everything), [one for one in everything if not one.name]
    kept = front[:1]
    for spare in SPARE:
        kept += [one for one in front if one.margin >= front[0].margin + spare][:1]
    kept += [*front[-1:], *_steps(mixed), *_front([one for one in everything if one.name])]
    least = front[0].cost if front else math.inf
    smaller = [one for one in everything if one.name and one.cost < least and one not in kept]
    distinct = [one for place, one in enumerate(kept) if one not in kept[:place]]
    ordered = sorted(distinct, key=lambda one: (-_sureness(one, mixed), -one.cost))
    return ordered + sorted(smaller, key=lambda one: -one.margin)


def _steps(mixed: Sequence[Tried]) -> list[Tried]:
    """Return the surest of each step in cost: the smallest with much luck in the search would hide all between."""
    found: list[Tried] = []
    begun = 0.0
    for one in mixed:
        if one.margin >= 0 and (not found or one.cost > STEP * begun):
            found.append(one)
            begun = one.cost
        elif one.margin >= 0 and one.margin > found[-1].margin:
            found[-1] = one
    return found


def _sureness(one: Tried, mixed: Sequence[Tried]) -> float:
    """Return the margin; of a mixed artifact no less than of smaller ones, which have coarser settings."""
    smaller = [other.margin for other in mixed if not one.name and other.cost <= one.cost]
    return max([one.margin, *smaller])


def _front(by_cost: Sequence[Tried]) -> list[Tried]:
    """Return those that may keep the limit and are surer than everything cheaper, the cheapest first."""
    front: list[Tried] = []
    for one in by_cost:
        if one.margin >= 0 and (not front or one.margin > front[-1].margin):
            front.append(one)
    return front


@dataclass(frozen=True)
class Judged:
    """Hold an artifact with its verdict on examples that the search never saw."""

    tried: Tried
    verdict: Decision
    outputs: list[OutputVerdict]


def judged(
    order: Sequence[Tried], question: Question, predicted: Callable[[Tried], Mapping[str, Array] | None]
) -> list[Judged]:
    """Judge one after another until one is not within.

    Args:
        question: on the examples that judge.
        predicted: returns the predictions of an artifact on these; None where it cannot be run.
    """
    found: list[Judged] = []
    for one in order:
        predictions = predicted(one)
        if predictions is None:
            continue
        found.append(judgement(one, question, predictions))
        if found[-1].verdict != "within":
            break
    return found


def judgement(one: Tried, question: Question, predictions: Mapping[str, Array]) -> Judged:
    """Judge one artifact at the full level, by each of its outputs."""
    alpha = splitting.ALPHA
    verdicts = []
    scores, drops = question.score(predictions), question.drops(predictions)
    for output, limit, drop, score in zip(question.outputs, question.limits, drops, scores, strict=True):
        decided = ranking.answer(drop, limit, alpha) if math.isfinite(drop.estimate) else "beyond"
        verdicts.append(
            OutputVerdict(
                output=output.output,
                score=_finite(score),
                drop=_finite(drop.estimate) if math.isfinite(drop.estimate) else 1e9,  # type: ignore[arg-type]
                low=_finite(drop.lower(alpha)),
                high=_finite(drop.upper(alpha)),
                verdict=decided,
                needed=drop.needed(limit, alpha) if decided == "undecided" else None,
            )
        )
    return Judged(one, ranking.together(verdict.verdict for verdict in verdicts), verdicts)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def smallest(found: Sequence[Judged]) -> Judged | None:
    """Return the smallest that is within; None where none is."""
    return min((one for one in found if one.verdict == "within"), key=lambda one: one.tried.cost, default=None)
