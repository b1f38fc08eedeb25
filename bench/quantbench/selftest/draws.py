"""Draw what a model's cells might answer: changed by chance, trained anew, or worse by a stated loss.

The stored predictions of the baselines are what is changed, so that the classes, the hard examples and the cells that
answer alike are the real ones.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from quantbench.baselines.effective import EffectiveBaseline
from quantbench.core import seed_spread
from quantbench.core.arrays import Array
from quantbench.core.stats import pooled_sd
from quantbench.records import BaselineValue
from quantbench.reference.model import ReferenceModel
from quantbench.variants import VARIANTS, by_training

SHARED = 0.5  # part of a cell's flips that its model's other cells have too, as kernels flip the same near ties
TAKEN = 0.7  # of the shared flips, by each cell
_MOST = 0.95  # correlation between the trainings of two cells with the same seed


@dataclass(frozen=True)
class Stored:
    """Hold the accepted predictions of a model whose examples are right or wrong.

    Attributes:
        names: variants of the untrained cells.
        predictions: of these, shape (cells, n).
    """

    model: ReferenceModel
    names: tuple[str, ...]
    predictions: Array
    labels: Array

    @cached_property
    def right(self) -> Array:
        """Whether each answer is right, shape (cells, n)."""
        assert self.model.metric.correct is not None
        return np.stack([self.model.metric.correct(one, self.labels) for one in self.predictions])

    @cached_property
    def classes(self) -> Array:
        """Class of each example as an index from 0."""
        return np.asarray(np.unique(self.labels, return_inverse=True)[1])

    def by_class(self, lost: Array, gained: Array) -> tuple[Array, Array]:
        """Count flips of each cell by class, each of shape (cells, classes)."""
        order = np.argsort(self.classes, kind="stable")
        starts = np.searchsorted(self.classes[order], np.arange(int(self.classes.max()) + 1))
        counts = [np.add.reduceat(one[:, order], starts, axis=1, dtype=np.int64) for one in (lost, gained)]
        return counts[0], counts[1]

    def answers(self, cell: int, lost: Array, gained: Array) -> Array:
        """Return predictions of a cell after flips, given as booleans of shape (n,)."""
        new: Array = self.predictions[cell].copy()
        new[lost] = _wrong(self.labels[lost], int(self.classes.max()) + 1)
        new[gained] = self.labels[gained]
        return new

    # ------------------------------------------------------------ by chance

    @cached_property
    def ties(self) -> Array:
        """Return examples that may flip by chance: those that no cell has right, and as many of each class that all do.

        The two sides are alike, as they are for answers that were nearly the other way round: each example flips with
        the same probability, in each class as many are lost as gained, and as many cells share them.
        """
        random = np.random.default_rng(0)
        found: list[Array] = []
        for one in np.unique(self.classes):
            of_class = self.classes == one
            all_right = np.flatnonzero(self.right.all(axis=0) & of_class)
            all_wrong = np.flatnonzero(~self.right.any(axis=0) & of_class)
            size = min(len(all_right), len(all_wrong))
            found += [random.choice(side, size, replace=False) for side in (all_right, all_wrong)]
        return np.concatenate(found)

    def by_chance(self, random: np.random.Generator, each_way: float) -> tuple[Array, Array]:
        """Flip answers at random, as many each way on average, in each class too; part of them in all cells.

        Hard classes flip more than easy ones. Return (lost, gained), booleans of shape (cells, n).
        """
        shape = (len(self.names), len(self.ties))
        chance = 2 * each_way / max(1, len(self.ties))
        shared = random.random(shape[1], dtype=np.float32) < chance * SHARED / TAKEN
        flipped = random.random(shape, dtype=np.float32) < chance * (1 - SHARED)
        flipped |= shared & (random.random(shape, dtype=np.float32) < TAKEN)
        everywhere = np.zeros(self.right.shape, dtype=bool)
        everywhere[:, self.ties] = flipped
        return everywhere & self.right, everywhere & ~self.right

    def losing(self, random: np.random.Generator, each_way: float, net: int) -> tuple[Array, Array]:
        """Flip by chance, and let each cell lose ``net`` examples besides, half of them the same in all cells."""
        lost, gained = self.by_chance(random, each_way)
        pool = np.flatnonzero(self.right.all(axis=0))
        together = random.choice(pool, net // 2, replace=False)
        for cell in range(len(self.names)):
            lost[cell, together] = True
            own = np.flatnonzero(self.right[cell] & ~lost[cell])
            lost[cell, random.choice(own, net - net // 2, replace=False)] = True
        return lost, gained


def stored(model: ReferenceModel, baseline: EffectiveBaseline) -> Stored | None:
    """Return the untrained cells of a model; None where its metric counts no right examples."""
    if model.metric.correct is None:
        return None
    names = tuple(name for name in untrained(baseline) if baseline.cell(name) is not None)
    arrays = np.stack([baseline.predictions[name] for name in names])
    return Stored(model, names, arrays, model.pack().test.y)


def untrained(baseline: EffectiveBaseline) -> list[str]:
    """List the variants with stored predictions that nothing trains."""
    return [name for name in baseline.predictions if name in VARIANTS and not VARIANTS[name].trained]


def _wrong(labels: Array, classes: int) -> Array:
    return (labels + 1) % classes


# ---------------------------------------------------------------- trainings


@dataclass(frozen=True)
class Trainings:
    """Hold how far the trained cells of a model spread, as its baselines know it.

    Attributes:
        names: variants.
        values: accepted scores.
        spreads: of one training, as a fraction, pooled over the cells that train alike; of each cell.
        alike: correlation between two cells that trained with the same seed.
        each_way: answers that differ between two cells with the same seed, in each direction; 0 where none is right
            or wrong.
    """

    names: tuple[str, ...]
    values: Sequence[BaselineValue]
    spreads: Sequence[seed_spread.Sample]
    alike: float
    each_way: int
    n: int

    @property
    def sd(self) -> Array:
        """Return the standard deviation of one training of each cell."""
        return np.asarray([one.sd for one in self.spreads])

    @property
    def between(self) -> list[int]:
        """Return how many answers of each cell differ each way between two trainings: those seen, and enough for their
        spread.
        """
        return [max(self.each_way, round((self.n * sd) ** 2)) if self.each_way else 0 for sd in self.sd.tolist()]

    @property
    def sd_of_flips(self) -> Array:
        """Return the least standard deviation of one training that the answers which differ allow; of each cell."""
        return np.sqrt(self.between) / self.n

    @property
    def seeds(self) -> list[int]:
        """Return the number of accepted seeds of each cell."""
        return [len(value.values or [0.0]) for value in self.values]

    def of_drop(self, variant: str, control: str) -> float:
        """Return how far the drop between two cells with the same seed differs from one training to the next."""
        sd = dict(zip(self.names, self.sd.tolist(), strict=True))
        own, other = sd.get(variant, 0.0), sd.get(control, 0.0)
        return math.sqrt(own**2 + other**2 - 2 * self.alike * own * other)

    def drawn(self, random: np.random.Generator, seeds: int, spread: float = 1.0) -> Array:
        """Draw scores of all cells with new seeds, shape (cells, seeds), as fractions where the metric is one.

        The accepted scores are draws too: each cell's own mean lies about them. The true spread of cells that train
        alike is unknown, and drawn from what their recorded seeds leave open (scaled inverse chi-squared). Cells share
        a part of it, as the same seed moves them together.

        Args:
            spread: factor of the recorded spread.
        """
        true = {
            one: one.sd * math.sqrt(one.degrees / random.chisquare(one.degrees)) for one in dict.fromkeys(self.spreads)
        }
        sd = spread * np.asarray([true[one] for one in self.spreads])
        old = self._alike(random, max(self.seeds))
        of_old = np.asarray([float(np.mean(old[i, :seen])) for i, seen in enumerate(self.seeds)])
        means = np.asarray([value.value for value in self.values]) - sd * of_old
        return np.asarray(means[:, None] + sd[:, None] * self._alike(random, seeds))

    def _alike(self, random: np.random.Generator, seeds: int) -> Array:
        """Draw standard normals of shape (cells, seeds), alike between cells."""
        common, own = random.standard_normal(seeds), random.standard_normal((len(self.names), seeds))
        return np.asarray(math.sqrt(self.alike) * common + math.sqrt(1 - self.alike) * own)


def trainings(model: ReferenceModel, baseline: EffectiveBaseline) -> Trainings | None:
    """Return what is known of a model's trainings; None where no cell was trained with two seeds."""
    accepted = {
        name: cell.measurements["score"]
        for name, cell in (baseline.file.cells if baseline.file else {}).items()
        if name in baseline.predictions and "score" in cell.measurements and cell.measurements["score"].values
    }
    several = {name: list(value.values or []) for name, value in accepted.items() if len(value.values or []) > 1}
    if not several:
        return None
    samples = {name: seed_spread.sample(value.values or []) for name, value in accepted.items()}
    spreads = {name: seed_spread.pooled(seed_spread.lenders(*by_training(name, samples))[0]) for name in accepted}
    n = len(model.pack().test.y)
    return Trainings(
        tuple(accepted),
        list(accepted.values()),
        list(spreads.values()),
        _correlation(several, {name: one.sd for name, one in spreads.items()}),
        _between(model, baseline, list(several)),
        n,
    )


def _correlation(several: Mapping[str, Sequence[float]], sd: Mapping[str, float]) -> float:
    """Return the correlation between a cell and its control, over all that have several seeds, from the differences."""
    pairs = [(name, control) for name in several if (control := VARIANTS[name].control or "") in several]
    products = sum(sd[name] * sd[control] for name, control in pairs)
    if not products:
        return 0.0
    differences, _ = pooled_sd([[a - b for a, b in zip(several[x], several[y], strict=False)] for x, y in pairs])
    variances = sum(sd[name] ** 2 + sd[control] ** 2 for name, control in pairs)
    return min(_MOST, max(0.0, (variances - len(pairs) * differences**2) / (2 * products)))


def _between(model: ReferenceModel, baseline: EffectiveBaseline, several: Sequence[str]) -> int:
    """Count the answers that differ each way between two trainings: of two cells, as one seed of each is stored."""
    if model.metric.correct is None:
        return 0
    labels = model.pack().test.y
    right = [model.metric.correct(baseline.predictions[name], labels) for name in several]
    counts = [
        min(int(np.count_nonzero(a & ~b)), int(np.count_nonzero(b & ~a)))
        for i, a in enumerate(right)
        for b in right[i + 1 :]
    ]
    return min(counts, default=0)


def scoring(model: ReferenceModel, accepted: Array, score: float, each_way: int, random: np.random.Generator) -> Array:
    """Return predictions of about this score that differ from accepted ones in so many answers each way."""
    labels, metric = model.pack().test.y, model.metric
    now = metric.value(accepted, labels)
    if metric.correct is None:
        return _shifted(model, accepted, score - now)
    right = metric.correct(accepted, labels)
    net = round((now - score) * len(labels))
    new = accepted.copy()
    lost = random.choice(np.flatnonzero(right), each_way + max(0, net), replace=False)
    gained = random.choice(np.flatnonzero(~right), each_way + max(0, -net), replace=False)
    new[lost] = _wrong(labels[lost], int(labels.max()) + 1)
    new[gained] = labels[gained]
    return new


_HALVINGS = 22


def _shifted(model: ReferenceModel, accepted: Array, change: float) -> Array:
    """Blend outputs with noise, or with the middle of their class, until an area under a curve moved by ``change``."""
    labels, metric = model.pack().test.y, model.metric
    now = metric.value(accepted, labels)
    if change < 0:
        other = accepted * np.exp(np.random.default_rng(0).standard_normal(accepted.shape))
    else:
        other = np.zeros(accepted.shape)
        for one in np.unique(labels):
            other[labels == one] = np.median(accepted[labels == one])

    def blended(share: float) -> Array:
        return np.asarray(((1 - share) * accepted + share * other).astype(accepted.dtype))

    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        reached = abs(metric.value(blended(middle), labels) - now) >= abs(change)
        low, high = (low, middle) if reached else (middle, high)
    return blended(high)


def perturbed(accepted: Array, random: np.random.Generator, share: float) -> Array:
    """Return continuous predictions that each moved by a random share of themselves."""
    return np.asarray(accepted * (1 + share * random.standard_normal(accepted.shape))).astype(accepted.dtype)
