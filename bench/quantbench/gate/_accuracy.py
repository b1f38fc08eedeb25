"""Judge a score: its drift from the baseline, and its drop from the float control of the same run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from quantbench.core.arrays import Array
from quantbench.core.stats import Paired
from quantbench.gate._common import Subject, beyond, edited, missing
from quantbench.gate.score import flips as flipping
from quantbench.gate.score import losses, pairs, trainings
from quantbench.gate.score.flips import Examples
from quantbench.gate.score.trainings import Repeats
from quantbench.gate.score.words import score_judgement, versus
from quantbench.records import Action, BaselineCell, BaselineValue, Judgement, Kind, Measurement, Verdict

if TYPE_CHECKING:
    from quantbench.reference.metrics import Metric


@dataclass(frozen=True)
class Answers:
    """Hold a score with the predictions that it was computed from.

    Attributes:
        score: the mean, and one value per seed where the cell trains.
        predictions: of the first seed, shape (n,).
        nonfinite: examples whose output was NaN or infinite.
    """

    score: Measurement | None
    predictions: Array
    nonfinite: int


def accuracy(
    subject: Subject,
    metric: Metric,
    answers: Answers,
    labels: Array | Examples,
    baseline: BaselineCell | None,
    stored: Array | None,
    alpha: float,
    trained: bool,
    repeats: Repeats | None = None,
    repeated: bool = False,
    smallest: float | None = None,
) -> Judgement:
    """Judge the drift of the score against the baseline, with a p-value where chance can move it.

    Args:
        labels: of the test split, shape (n,), or with what else is known of its examples.
        stored: the baseline's predictions, shape (n,).
        alpha: significance level of this judgement, its share of the false-alarm budget.
        trained: whether the cell is trained, so that its score is a mean over seeds.
        repeats: spread between trainings, where the cell or the float model itself was trained.
        repeated: whether the first seed's training gave the very model that the baseline is of.
        smallest: smallest drop that matters, where the model's file declares it.
    """
    examples = labels if isinstance(labels, Examples) else Examples(labels)
    if answers.nonfinite:
        n = len(answers.predictions)
        message = f"{answers.nonfinite} of {n} examples have a NaN or infinite output"
        return score_judgement(Verdict.REGRESSED, message, subject.choices())
    if answers.score is None:
        why = metric.undefined(examples.labels) if metric.undefined else ""
        message = f"{metric.name} cannot be computed: {why or 'the result is NaN for these predictions and labels'}"
        return score_judgement(Verdict.ERROR, message, [Action(what="use other test examples or another metric")])
    accepted = baseline.measurements.get("score") if baseline else None
    if accepted is None:
        return missing(subject, Kind.ACCURACY, "score", baseline)
    consistent = stored is not None and is_score_of(accepted, metric, stored, examples.labels, trained)
    matters = metric.matters(accepted.value, smallest)
    usable = stored if consistent else None
    same_training = repeated and usable is not None
    judged = _drift(
        subject, metric, answers, examples, accepted, usable, alpha, trained, repeats, same_training, matters
    )
    return judged if consistent else edited(judged, "the baseline's score does not match its stored predictions")


def _drift(
    subject: Subject,
    metric: Metric,
    answers: Answers,
    examples: Examples,
    accepted: BaselineValue,
    stored: Array | None,
    alpha: float,
    trained: bool,
    repeats: Repeats | None,
    repeated: bool,
    matters: float,
) -> Judgement:
    """Choose the most sensitive test that the data allow; without ``stored`` predictions, only the tolerance."""
    assert answers.score is not None
    score = answers.score
    if stored is not None and np.array_equal(answers.predictions, stored) and _same_seeds(score, accepted):
        return _identical(metric, score, accepted, len(examples), alpha, None if repeated else repeats, matters)
    if repeats is not None and not repeated:
        if stored is not None and metric.correct is not None:
            found = flipping.flips(metric, answers.predictions, stored, examples)
            repeats = repeats.at_least(trainings.least_sd(metric, Paired(found.n, found.lost, found.gained)))
        return trainings.by_repeats(subject, metric, score, accepted, repeats, alpha, matters)
    if trained and not repeated:
        return trainings.too_few_repeats(subject, metric, score, accepted)
    if stored is None:
        return _by_tolerance(subject, metric, score, accepted)
    score, accepted = first_seed(score, accepted)
    if metric.correct is not None:
        found = flipping.flips(metric, answers.predictions, stored, examples)
        judged = pairs.by_pairs(subject, metric, score, accepted, found, alpha, matters)
    else:
        judged = losses.by_losses(
            subject, metric, answers.predictions, score, accepted, stored, examples, alpha, matters
        )
    return judged.model_copy(update={"message": f"{judged.message}; {_REPEATED}"}) if trained else judged


_REPEATED = "the training reproduced the baseline's, so predictions are compared one by one"


def first_seed(score: Measurement, accepted: BaselineValue) -> tuple[Measurement, BaselineValue]:
    """Return both scores of the first seed alone, whose predictions are stored."""
    if not score.values or not accepted.values:
        return score, accepted
    first, before = {"value": score.values[0], "values": None}, {"value": accepted.values[0], "values": None}
    return score.model_copy(update=first), accepted.model_copy(update=before)


def _same_seeds(score: Measurement, accepted: BaselineValue) -> bool:
    """Check that the other seeds repeat their scores too, as predictions are stored for the first seed only."""
    if not score.values or not accepted.values:
        return True
    return all(math.isclose(a, b, abs_tol=1e-6) for a, b in zip(score.values, accepted.values, strict=False))


def is_score_of(
    accepted: BaselineValue | Measurement, metric: Metric, stored: Array, labels: Array, trained: bool
) -> bool:
    """Check that a recorded value is the score of the stored predictions, and was not edited by hand."""
    value = accepted.value
    if trained and accepted.values:
        if not _equal(value, float(np.mean(accepted.values))):
            return False
        value = accepted.values[0]
    return _equal(value, metric.value(stored, labels))


def _equal(recorded: float, computed: float) -> bool:
    return math.isclose(recorded, computed, rel_tol=1e-6, abs_tol=1e-6)  # files keep nine digits


def _identical(
    metric: Metric,
    score: Measurement,
    accepted: BaselineValue,
    n: int,
    alpha: float,
    repeats: Repeats | None,
    matters: float,
) -> Judgement:
    """Pass a score whose predictions are unchanged: no p-value, and no share of the false-alarm budget."""
    message = f"all {n:,} predictions equal the baseline's"
    detectable: float | None = None
    churn: int | None = None
    if repeats is not None:
        detectable = trainings.detectable_of(repeats, alpha, accepted.tolerance, matters)
    elif metric.correct is not None:
        churn = pairs.churn_of(None, n)
        detectable = max(accepted.tolerance, pairs.detectable(metric, n, churn, alpha, matters))
    return score_judgement(
        Verdict.PASS, message, metric=metric, score=score, accepted=accepted, detectable=detectable, churn=churn
    )


def _by_tolerance(subject: Subject, metric: Metric, score: Measurement, accepted: BaselineValue) -> Judgement:
    """Judge by the tolerance alone, where no paired test applies."""
    verdict = beyond(metric.drop(score.value, accepted.value), accepted.tolerance)
    message = f"{versus(metric, score, accepted)}; tolerance {accepted.tolerance:.2f} {metric.unit}"
    actions = [] if verdict is Verdict.PASS else subject.choices()
    return score_judgement(verdict, message, actions, metric, score, accepted, detectable=accepted.tolerance)
