"""Read ``--max-drop``, and turn it into the unit of a metric; a default that means something for each kind of metric.

``0.5`` is in the metric's own unit (pp for a fraction), ``0.5pp`` in percentage points, and ``2%`` a share: of the
labels' spread for an error in the labels' own units, of the float score for everything else. ``OUTPUT=0.5pp`` is the
limit of one output.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from quantbench.core import amounts
from quantbench.core.amounts import Amount
from quantbench.core.arrays import Array
from quantbench.errors import BadInput
from quantbench.reference.metrics import Metric

# Half a point of a fraction (accuracy, AUC, F1) is what releases of quantized models usually allow.
POINTS = 0.5
# Of an error in the labels' own units, the same order of a drop beside what the labels vary by. A share of the float
# error itself would leave nothing to a good model: an error of 0 allows 0.
SHARE_OF_SPREAD = 0.01
# Of the outputs' RMS, where the float model's own outputs stand for labels, so that nothing tells what an error costs:
# a healthy int8 artifact is off by 1 to 4 %, one whose ranges are wrong by 10 % and more.
RELATIVE = 5.0
# Of the float score, for what has neither points nor units of its labels (perplexity).
SHARE_OF_SCORE = 0.02


@dataclass(frozen=True)
class Limit:
    """Hold the largest drop that may be shipped.

    Attributes:
        usual: of every output without one of its own; None for the metric's default.
        by_output: name -> limit of one output.
    """

    usual: Amount | None = None
    by_output: tuple[tuple[str, Amount], ...] = ()

    def words(self) -> list[str]:
        """Return the values of ``--max-drop`` that mean the same."""
        usual = [self.usual.text] if self.usual else []
        return usual + [f"{output}={amount.text}" for output, amount in self.by_output]

    def amount(self, metric: Metric, output: str = "", main: Metric | None = None) -> Amount | None:
        """Return the limit of an output as given; None for the default.

        Args:
            main: metric of the model's main output. A limit for all outputs that is in its unit says nothing of one in
                another unit.
        """
        own = dict(self.by_output).get(output)
        if own is not None or self.usual is None:
            return own
        fits = self.usual.unit == "%" or main is None or main.unit == metric.unit
        return self.usual if fits else None

    def of(
        self,
        metric: Metric,
        float_score: float,
        labels: Array | None = None,
        output: str = "",
        main: Metric | None = None,
    ) -> float:
        """Return the limit in the metric's unit.

        Args:
            float_score: of the float model, which ``2%`` is a share of.
            labels: whose spread it is a share of, for errors in their units.
            main: see :meth:`amount`.

        Raises:
            BadInput: the limit does not fit the metric.
        """
        amount = self.amount(metric, output, main)
        if amount is None:
            return float(_default(metric, float_score, labels))
        if amount.unit == "%":
            return float(amount.value / 100 * _whole(metric, float_score, labels))
        if amount.unit == "pp" and metric.unit != "pp":
            raise BadInput(
                f"--max-drop {amount.text}: {metric.name} is measured in {metric.unit}, not in percentage points; give "
                "a number in that unit, or a share such as 2%"
            )
        return amount.value

    def check_outputs(self, outputs: Iterable[str]) -> None:
        """Raise BadInput where a limit is given for an output that is not scored."""
        known = list(outputs)
        for name, amount in self.by_output:
            if name not in known:
                scored = ", ".join(one for one in known if one) or "one without a name"
                raise BadInput(f"--max-drop {name}={amount.text}: no output {name!r} is scored; scored is {scored}")


def parse(text: str | Sequence[str]) -> Limit:
    """Read one or several values of ``--max-drop``; none at all means the default.

    Raises:
        BadInput: one is not a limit, or a limit is given twice.
    """
    usual: Amount | None = None
    by_output: dict[str, Amount] = {}
    for each in [text] if isinstance(text, str) else text:
        output, amount = amounts.read(each)
        if output in by_output or (output is None and usual is not None):
            raise amounts.given_twice(each, output)
        if output is None:
            usual = amount
        else:
            by_output[output] = amount
    return Limit(usual, tuple(by_output.items()))


def _default(metric: Metric, float_score: float, labels: Array | None) -> float:
    if metric.unit == "pp":
        return POINTS
    if metric.unit.startswith("%"):
        return 100 * SHARE_OF_SPREAD if "spread" in metric.unit else RELATIVE
    spread = _spread(metric, labels)
    return SHARE_OF_SPREAD * spread if spread else SHARE_OF_SCORE * abs(float_score) * metric.scale


def _whole(metric: Metric, float_score: float, labels: Array | None) -> float:
    """Return what a share is of, in the metric's unit."""
    spread = _spread(metric, labels)
    if spread:
        return spread
    return 100.0 if metric.unit.startswith("%") else abs(float_score) * metric.scale


def _spread(metric: Metric, labels: Array | None) -> float:
    """Return the labels' standard deviation in the metric's unit, their variance for squared ones; 0 where neither is.

    Each column varies by itself, and the metric is a mean over them.
    """
    of_values = getattr(metric, "takes", "values") == "values"  # and not classes or words, whose numbers are names
    if labels is None or not of_values or "units" not in metric.unit:
        return 0.0
    if labels.dtype.kind not in "biuf" or not len(labels):
        return 0.0
    variances = np.var(labels.reshape(len(labels), -1).astype(np.float64), axis=0)
    return float(np.mean(variances) if metric.unit.startswith("squared") else np.mean(np.sqrt(variances)))


@dataclass(frozen=True)
class Unsupported:
    """Say why the data support no recommendation.

    Attributes:
        words: the reason, one sentence without a full stop.
        by_metric: float32 has no skill by this metric, so that another metric, output or form of labels may be meant;
            otherwise the limit is too wide.
    """

    words: str
    by_metric: bool


def without_skill(metric: Metric, labels: Array, predictions: Array) -> float:
    """Return the score of answering the same to everything: the most frequent label, or the mean of labels or answers.

    NaN where the metric takes no such answer.

    Args:
        predictions: the float model's, in whose form the answer is.
    """
    try:
        if metric.correct is not None:
            values, counts = np.unique(labels, return_counts=True)
            constant = np.full_like(labels, values[np.argmax(counts)])
        elif labels.size == predictions.size and "units" in metric.unit:
            flat = labels.reshape(predictions.shape).astype(np.float64)
            constant = np.broadcast_to(flat.mean(axis=0), flat.shape)
        else:
            constant = np.broadcast_to(predictions.mean(axis=0), predictions.shape)
        return float(metric.value(constant, labels))
    except Exception:  # whatever a metric, which may be the user's own, makes of such an answer
        return math.nan


def unsupported(
    metric: Metric, labels: Array, predictions: Array, float_score: float, limit: float, output: str = ""
) -> Unsupported | None:
    """Say where even a model that ignores its input keeps the limit; None where no such model does."""
    worst = without_skill(metric, labels, predictions)
    drop = metric.drop(worst, float_score) if math.isfinite(worst) and math.isfinite(float_score) else math.inf
    if drop > limit:
        return None
    of = f" of {output}" if output else ""
    if drop <= 0:
        return Unsupported(
            f"float32 itself is no better than a model that answers the same to every example, by {metric.name}{of}: "
            "are the labels of this model, and in its order? Check --data, --labels, --output and --metric",
            by_metric=True,
        )
    return Unsupported(
        f"the limit of {limit:.4g} {metric.unit} on {metric.name}{of} says nothing: a model that answers the same to "
        f"every example would be only {drop:.4g} {metric.unit} worse than float32; give a smaller --max-drop",
        by_metric=False,
    )
