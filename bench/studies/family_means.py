"""Ask whether the mean over cells of one kind sees half a point that its cells do not, from the baselines alone.

    python -m studies.family_means --report-dir reports/reference

Cells whose weights are restricted while they train (pruned, clustered, int4) spread so far in some models that half a
point lost in them alone is often missed. Their mean spreads less than one of them, where the seed does not move them
together. Drawn are accepted seeds and new ones as the selftest draws them, with the recorded spread and correlation;
the mean is compared by its spread over the accepted seeds, as nothing else is known of it in a user's model, or by the
true one, which nobody knows.
"""

import argparse
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from quantbench.core.arrays import Array
from quantbench.core.options import RunOptions
from quantbench.reference.model import load_models
from quantbench.selftest.night import SEEDS_ON_SUSPICION, Night, load_baselines
from quantbench.selftest.nulls import Matrix, Sharing, TrainedTests
from quantbench.selftest.outcomes import HARM_PP
from quantbench.variants import VARIANTS

from studies import _common

SEEDS = (5, 10)  # accepted ones
RULES = ("each cell", "mean, by accepted seeds", "mean, by its true spread")


@dataclass(frozen=True)
class Family:
    """Hold the cells of one kind of a model that have several accepted seeds.

    Attributes:
        places: of the cells among those of ``tests``.
        alike: correlation between two of them that trained with the same seed, as recorded in all pairs.
    """

    name: str
    tests: TrainedTests
    places: tuple[int, ...]
    alike: float

    @property
    def of_mean(self) -> float:
        """Return the spread of the mean of the cells, by that of one of them."""
        count = len(self.places)
        return math.sqrt((1 + (count - 1) * self.alike) / count)


def families(name: str, tests: TrainedTests) -> list[Family]:
    """Return the restricted cells of a model that are quantized in training, those that are afterwards, and all."""
    known = [
        place
        for place, variant in enumerate(tests.known.names)
        if VARIANTS[variant].training == "restricted" and tests.olds[place] > 1
    ]
    chosen: Mapping[str, list[int]] = {
        "QAT": [place for place in known if VARIANTS[tests.known.names[place]].family == "qat"],
        "static int8": [place for place in known if VARIANTS[tests.known.names[place]].family == "ptq"],
        "all": known,
    }
    return [
        Family(f"{name}: {what}", tests, tuple(places), _alike(tests, places))
        for what, places in chosen.items()
        if len(places) > 1
    ]


def _alike(tests: TrainedTests, places: list[int]) -> float:
    """Return the correlation of all pairs of cells over the seeds that both have, from the variance of their mean."""
    values = [tests.known.values[place].values or [] for place in places]
    scores = np.array([one[: min(map(len, values))] for one in values])
    own, mean = float(np.mean(np.var(scores, axis=1, ddof=1))), float(np.var(scores.mean(axis=0), ddof=1))
    return min(0.95, max(0.0, (len(places) * mean / own - 1) / (len(places) - 1))) if own else 0.0


def caught(family: Family, harm: float, seeds: int, budget: float, trials: int) -> dict[str, int]:
    """Return how many runs are red by each rule, in which the family's cells got worse by so many pp.

    Args:
        seeds: accepted ones.
    """
    tests, places = family.tests, np.asarray(family.places)
    random, scale, new = np.random.default_rng(7), family.tests.model.metric.scale, SEEDS_ON_SUSPICION
    spread, degrees = tests.known.spreads[places[0]], tests.degrees[places]
    sharing = Sharing()  # all of the model's cells trained anew, and the mean is one test more with their weight
    sharing.add(np.zeros(len(tests.olds)), weights=tests.weights)
    weight = float(tests.weights[places[0]])
    today = weight * sharing.share(budget)
    sharing.add(np.zeros(1), weights=weight)
    level = weight * sharing.share(budget)
    found = dict.fromkeys(RULES, 0)
    for _ in range(trials):
        true = scale * spread.sd * math.sqrt(spread.degrees / random.chisquare(spread.degrees))
        old, now = (true * _drawn(random, family, n) for n in (seeds, new))
        drops = old.mean(axis=1) - now.mean(axis=1) + harm
        errors = math.sqrt(1 / seeds + 1 / new)
        each = _p(drops / (errors * tests.sd[places]), degrees)
        mean = float(drops.mean())
        by_seeds = mean / (errors * float(np.std(old.mean(axis=0), ddof=1)))
        by_truth = mean / (errors * true * family.of_mean)
        matters = mean >= float(tests.matters[places].min())
        red = {
            RULES[0]: bool(((each <= today) & (drops >= tests.matters[places])).any()),
            RULES[1]: matters and _p(by_seeds, seeds - 1) <= level,
            RULES[2]: matters and _p(by_truth, 1e9) <= level,
        }
        found = {rule: found[rule] + bool(red[rule]) for rule in RULES}
    return found


def _drawn(random: np.random.Generator, family: Family, seeds: int) -> Array:
    """Draw standard normals of shape (cells, seeds), alike between cells."""
    common, own = random.standard_normal(seeds), random.standard_normal((len(family.places), seeds))
    return np.asarray(math.sqrt(family.alike) * common + math.sqrt(1 - family.alike) * own)


def _p(t: Array | float, degrees: Array | float) -> Array:
    from scipy.special import stdtr

    return np.asarray(stdtr(degrees, -np.asarray(t)))


def report(trials: int) -> list[str]:
    """Write the report's paragraphs and table."""
    models = {name: model for name, model in load_models(RunOptions().model_dir).items() if model.metric.correct}
    models = {name: model for name, model in models.items() if model.pack().test.y.ndim == 1}
    baselines = load_baselines(models, RunOptions().baseline_dir)
    matrix = Matrix.of(Night({name: models[name] for name in baselines}, baselines))
    rows = []
    for name, tests in matrix.trained.items():
        for family in families(name, tests):
            row = [family.name, str(len(family.places)), f"{family.alike:.2f}", f"{family.of_mean:.2f}"]
            for seeds in SEEDS:
                found = caught(family, HARM_PP, seeds, matrix.budget, trials)
                row += [f"{100 * found[rule] / trials:.0f}" for rule in RULES]
            healthy = caught(family, 0.0, SEEDS[0], matrix.budget, trials)
            rows.append([*row, " / ".join(str(healthy[rule]) for rule in RULES)])
    headers = ["restricted cells", "cells", "alike", "spread of the mean, by a cell's"]
    headers += [f"{seeds}: {rule}" for seeds in SEEDS for rule in RULES]
    return [
        "# Half a point lost in cells of restricted weights alone, by each cell and by their mean",
        f"Per cent of {trials:,} runs that are red, in which {SEEDS_ON_SUSPICION} new seeds are compared with 5 or 10 "
        f"accepted ones and every trained cell of the model trained anew. *Alike* is the correlation of two cells over "
        "the recorded seeds. By its true spread the mean has no degrees of freedom to lose; the last column counts "
        "healthy runs that are red, by the three rules.",
        _common.table([*headers, "healthy, red"], rows),
    ]


def main() -> None:
    """Simulate, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000, help="runs of each row")
    parser.add_argument("--report-dir", type=Path, default=Path("reports"))
    given = parser.parse_args()
    _common.write(given.report_dir, "family_means.md", report(given.trials))


if __name__ == "__main__":
    _common.quietly(main)
