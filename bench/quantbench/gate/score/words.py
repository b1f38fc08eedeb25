"""Build a judgement on a score, and the words that all of them share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from quantbench.records import Action, BaselineValue, Judgement, Kind, Measurement, Verdict

if TYPE_CHECKING:
    from quantbench.reference.metrics import Metric


def score_judgement(
    verdict: Verdict,
    message: str,
    actions: Sequence[Action] = (),
    metric: Metric | None = None,
    score: Measurement | None = None,
    accepted: BaselineValue | None = None,
    p_value: float | None = None,
    detectable: float | None = None,
    churn: int | None = None,
) -> Judgement:
    """Build the judgement on a score against its baseline."""
    change = None
    if metric and score and accepted:
        change = metric.drop(score.value, accepted.value)
    return Judgement(
        kind=Kind.ACCURACY,
        measurement="score",
        against="baseline",
        verdict=verdict,
        value=score.value if score else None,
        reference=accepted.value if accepted else None,
        unit=metric.unit if metric else "",
        change=change,
        tolerance=accepted.tolerance if accepted else None,
        p_value=p_value,
        detectable=detectable,
        churn=churn,
        message=message,
        actions=list(actions),
    )


def versus(metric: Metric, score: Measurement, accepted: BaselineValue) -> str:
    """Say what the score is and was."""
    drop = metric.drop(score.value, accepted.value)
    now, before = show_score(metric, score.value), show_score(metric, accepted.value)
    change = f"{abs(drop):.2f} {metric.unit} {worse_or_better(drop)}" if drop else "unchanged"
    return f"{metric.name} {now}, baseline {before} ({change})"


def worse_or_better(drop: float) -> str:
    """Return the direction of a change in a word; a positive drop is worse, whatever the metric."""
    return "worse" if drop > 0 else "better"


def show_score(metric: Metric, value: float) -> str:
    """Format a score for the reports."""
    return f"{100 * value:.2f} %" if metric.scale == 100 else f"{value:.5g}"


IMPLAUSIBLE = "a gain this large is rarely real: check whether test examples were used for training"
