"""Flip predictions thousands of times over, and compare the gate with a fixed tolerance.

Faults in artifacts show what regressions look like; flips show the limit of the paired test's sensitivity, and how
often it fails where predictions only changed by chance, as they do when a runtime rounds differently.
"""

from collections.abc import Callable

import numpy as np

from quantbench import gate
from quantbench.core.arrays import Array
from quantbench.records import Accepted, BaselineCell, BaselineValue, FlipRate, Measurement, Verdict
from quantbench.reference.model import ReferenceModel

# (net examples lost, discordant pairs) of 10,000: 30 net flips are 0.3 pp.
LOSSES = [(10, 20), (20, 30), (25, 40), (30, 40), (50, 80)]
PROMISED = 30
CHANCE = [10, 40, 160]
FIXED_PP = 0.1
OURS, FIXED = "quantbench", "drop beyond 0.1 pp"


class Flipper:
    """Compare a baseline of real predictions with predictions of which some are flipped.

    Args:
        predictions: class of each test example, shape (n,).
        share: p-value below which the gate fails.
    """

    def __init__(self, model: ReferenceModel, predictions: Array, share: float) -> None:
        assert model.metric.correct is not None
        self._model, self._old, self._share = model, predictions, share
        self._labels = model.pack().test.y
        self._right = model.metric.correct(predictions, self._labels)
        self._score = model.metric.value(predictions, self._labels)
        stamp = Accepted(date="", reason="healthy", run="selftest", environment="")
        value = BaselineValue(
            value=self._score,
            unit="fraction",
            n=len(predictions),
            noise=0.0,
            noise_from="healthy",
            tolerance=0.0,
            tolerance_from="as recorded by an update",
            accepted=stamp,
        )
        self._baseline = BaselineCell(measurements={"score": value})

    def reds(self, lost: int, gained: int, random: np.random.Generator) -> dict[str, bool]:
        """Return which rules fail after losing and gaining so many examples, chosen at random."""
        new = self._old.copy()
        right, wrong = np.flatnonzero(self._right), np.flatnonzero(~self._right)
        for i in random.choice(right, lost, replace=False):
            new[i] = (self._labels[i] + 1) % 10
        gains = random.choice(wrong, gained, replace=False)
        new[gains] = self._labels[gains]
        score = self._model.metric.value(new, self._labels)
        answers = gate.Answers(Measurement(value=score, unit="fraction", n=len(new)), new, 0)
        judgement = gate.accuracy(
            gate.Subject(self._model.name, "flipped", "reports/selftest"),
            self._model.metric,
            answers,
            self._labels,
            self._baseline,
            self._old,
            self._share,
            trained=False,
        )
        drop = self._model.metric.drop(score, self._score)
        return {OURS: judgement.verdict is Verdict.REGRESSED, FIXED: drop > FIXED_PP}


def run(model: ReferenceModel, predictions: Array, share: float, trials: int) -> list[FlipRate]:
    """Measure how often each rule fails: for true losses, and for changes in random directions."""
    flipper = Flipper(model, predictions, share)
    random = np.random.default_rng(0)

    def rate(net: int, discordant: int, draw: Callable[[], int]) -> FlipRate:
        lost = [draw() for _ in range(trials)]
        reds = [flipper.reds(k, discordant - k, random) for k in lost]
        counts = {rule: sum(red[rule] for red in reds) for rule in reds[0]}
        return FlipRate(net=net, discordant=discordant, trials=trials, red=counts)

    losses = [rate(net, pairs, lambda net=net, pairs=pairs: (pairs + net) // 2) for net, pairs in LOSSES]  # type: ignore[misc]
    return losses + [rate(0, pairs, lambda pairs=pairs: int(random.binomial(pairs, 0.5))) for pairs in CHANCE]  # type: ignore[misc]
