"""Simulate the decision of ``try`` with looks at random parts of the examples, which set variants aside.

    python -m studies.early_looks --report-dir reports/reference

Each table has 20 variants with the same true drop, where 0.5 pp is allowed; every look sees a part of the examples that
the decision sees. Counted are the tables in which any variant is said to be within the limit, with looks and without,
those in which any is set aside, and the examples that were scored.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from quantbench.adopt import ranking
from quantbench.core.arrays import Array
from quantbench.core.drops import FractionDrop
from quantbench.core.stats import Paired
from quantbench.engine.workers import early

from studies import _common

VARIANTS, LIMIT, CHURN = 20, 0.5, 0.01
DROPS = (0.0, 0.25, 0.5, 1.0, 3.0, 10.0)


@dataclass(frozen=True)
class Counted:
    """Hold what came of some tables, as fractions of them.

    Attributes:
        shipped, without: where any variant is within the limit, with looks and without.
        aside: where any variant is set aside.
        scored: examples that were scored, as a fraction of all of all variants.
    """

    shipped: float
    without: float
    aside: float
    scored: float


def tables(n: int, drop: float, trials: int, seed: int = 0) -> Array:
    """Draw losses and gains in each stretch of the examples between looks, shape (trials, VARIANTS, stretches, 2)."""
    random = np.random.default_rng([seed, n, round(1000 * drop)])
    bounds = [0, *(int(share * n) for share in early.SHARES), n]
    fractions = [CHURN + drop / 100, CHURN, 1 - 2 * CHURN - drop / 100]
    parts = [random.multinomial(size, fractions, (trials, VARIANTS))[:, :, :2] for size in np.diff(bounds)]
    return np.stack(parts, axis=2)


def counted(n: int, drop: float, trials: int) -> Counted:
    """Decide on so many tables of n examples."""
    shipped = without = aside = scored = 0.0
    for table in tables(n, drop, trials):
        places = [_place(n, variant) for variant in table]
        kept = [place is None for place in places]
        each = ranking.ALPHA / 2 / VARIANTS
        within = [_drop(n, variant.sum(axis=0)) for variant in table]
        answers = [ranking.answer(one, LIMIT, each) == "within" for one in within]
        shipped += any(good and stays for good, stays in zip(answers, kept, strict=True))
        without += any(answers)
        aside += not all(kept)
        scored += sum(1.0 if place is None else early.SHARES[place] for place in places) / VARIANTS
    return Counted(shipped / trials, without / trials, aside / trials, scored / trials)


def _place(n: int, variant: Array) -> int | None:
    """Return the look at which a variant is set aside; None where it stays."""
    level, so_far = early.level_each(VARIANTS), np.cumsum(variant, axis=0)
    for place, share in enumerate(early.SHARES):
        part = int(share * n)
        if part >= early.LEAST_EXAMPLES and early.is_beyond(_drop(part, so_far[place]), LIMIT, level):
            return place
    return None


def _drop(n: int, counts: Array) -> FractionDrop:
    return FractionDrop(Paired(n, int(counts[0]), int(counts[1])), 100)


def report(trials: int, sizes: Sequence[int]) -> list[str]:
    """Write the report's paragraphs and table."""
    rows = []
    for n in sizes:
        for drop in DROPS:
            found = counted(n, drop, trials)
            shares = (found.shipped, found.without, found.aside, found.scored)
            rows.append([f"{n:,}", f"{drop:g}", *(f"{100 * share:.2f}" for share in shares)])
    headers = ["examples", "true drop, pp", "shipped, %", "without looks, %", "any set aside, %", "examples scored, %"]
    return [
        "# The decision of `try`, with looks at a part of the examples",
        f"{trials} tables of {VARIANTS} variants each, all with the same true drop; {LIMIT} pp is allowed, "
        f"{100 * CHURN:g} % of the examples are gained and as many lost besides the drop. Looks at 1/16 and 1/4 of the "
        f"examples, from {early.LEAST_EXAMPLES} on, share a level of {100 * early.LEVEL:g} %.",
        _common.table(headers, rows),
    ]


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--examples", default="500,2000,10000")
    parser.add_argument("--report-dir", type=Path, required=True)
    options = parser.parse_args()
    sizes = [int(size) for size in options.examples.split(",")]
    _common.write(options.report_dir, "early_looks.md", report(options.trials, sizes))


if __name__ == "__main__":
    main()
