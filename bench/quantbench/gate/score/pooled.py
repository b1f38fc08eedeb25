"""Judge all changed cells of a model together, and those of each family: small losses that no cell shows alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from quantbench.core.arrays import Array
from quantbench.core.randomization import by_group, sign_flip_p, smallest_p
from quantbench.gate.score.flips import evidence_of
from quantbench.gate.score.hypotheses import Hypothesis, Thresholds
from quantbench.gate.score.parts import SUSPICIOUS
from quantbench.records import Action, Judgement, Kind, Pooled, Verdict
from quantbench.records.measurements import output_in, without_output

if TYPE_CHECKING:
    from quantbench.reference.metrics import Metric

_FINE = 6  # steps to a unit that square roots are rounded to


@dataclass(frozen=True)
class Moved:
    """A cell whose answers changed.

    Attributes:
        differences: 1 where an answer is newly wrong, -1 where newly right, 0 elsewhere; shape (n,).
    """

    cell: str
    family: str
    differences: Array


@dataclass(frozen=True)
class Pool:
    """Several cells of one model.

    Attributes:
        model: its name, with that of the output where that is a further one.
        family: None for all.
        cells: all of them; of those with equal differences, one is counted.
        counted: how many are.
        differences: summed over the counted cells, by example or by group.
        lost, gained: newly wrong and newly right answers of the counted cells.
        n: examples.
    """

    model: str
    family: str | None
    cells: tuple[str, ...]
    counted: int
    differences: Array
    lost: int
    gained: int
    n: int

    @property
    def id(self) -> str:
        """Return the pool's name."""
        output = output_in(self.model)
        whose = f"{without_output(self.model)}, output {output}" if output else self.model
        return f"{whose}: all {self.family or 'variants'}" + (" variants" if self.family else "")

    def hypothesis(self) -> Hypothesis:
        """Return the test of "nothing got worse anywhere here".

        Any odd function of an example's sum keeps the test valid. Cells often flip the same few examples, and the
        square root keeps those from drowning what each cell loses by itself; it is rounded, for the exact test.
        """
        places = np.flatnonzero(self.differences)
        summed = self.differences[places]
        moved = (np.sign(summed) * np.rint(_FINE * np.sqrt(np.abs(summed)))).astype(np.int64)
        return Hypothesis(self.id, sign_flip_p(moved), smallest_p(moved), evidence_of(self.model, places, moved))

    def judge(
        self, metric: Metric, hypothesis: Hypothesis, thresholds: Thresholds, matters: float, accept: Action
    ) -> Pooled:
        """Judge the mean drop of the counted cells."""
        drop = metric.scale * (self.lost - self.gained) / self.n / self.counted
        p_value, holm_threshold = hypothesis.p_value, thresholds.of(hypothesis.key)
        verdict = Verdict.PASS
        if drop >= matters and p_value <= SUSPICIOUS:
            verdict = Verdict.REGRESSED if p_value <= holm_threshold else Verdict.WARN
        message = (
            f"{len(self.cells)} cells changed predictions: together {self.lost} newly wrong, {self.gained} newly "
            "right, a mean "
            f"drop of {drop:+.3f} {metric.unit} (sign flips by example, p = {p_value:.2g}; fails below "
            f"{holm_threshold:.2g})"
        )
        judgement = Judgement(
            kind=Kind.ACCURACY,
            measurement="pooled score",
            against="baseline",
            verdict=verdict,
            unit=metric.unit,
            change=drop,
            p_value=p_value,
            message=message,
            actions=[] if verdict is Verdict.PASS else [accept],
        )
        model = without_output(self.model)
        return Pooled(id=self.id, model=model, family=self.family, cells=list(self.cells), judgement=judgement)


def pools(model: str, moved: Sequence[Moved], groups: Array | None = None) -> list[Pool]:
    """Pool all cells of a model that moved, and those of each family; two different cells make a pool."""
    families: Mapping[str | None, list[Moved]] = {
        None: list(moved),
        **{family: [one for one in moved if one.family == family] for family in sorted({one.family for one in moved})},
    }
    found: list[Pool] = []
    seen: set[tuple[str, ...]] = set()
    for family, cells in families.items():
        names = tuple(one.cell for one in cells)
        distinct = list({one.differences.astype(np.int8).tobytes(): one.differences for one in cells}.values())
        if len(distinct) > 1 and names not in seen:
            seen.add(names)
            found.append(_pool(model, family, names, np.stack(distinct), groups))
    return found


def _pool(model: str, family: str | None, names: tuple[str, ...], differences: Array, groups: Array | None) -> Pool:
    summed = by_group(differences.sum(axis=0, dtype=np.int64), groups)
    lost, gained = int(np.count_nonzero(differences > 0)), int(np.count_nonzero(differences < 0))
    return Pool(model, family, names, len(differences), summed, lost, gained, differences.shape[1])
