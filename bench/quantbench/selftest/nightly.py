"""Judge single cells as a nightly run does, by the engine's own objects and without computing the other cells."""

from functools import lru_cache
from pathlib import Path

import numpy as np

from quantbench import gate
from quantbench.baselines.effective import EffectiveBaseline, load_current
from quantbench.core import environment
from quantbench.core.arrays import Array
from quantbench.core.distances import of_head, outputs_of
from quantbench.core.options import RunOptions
from quantbench.engine.cell import Planned
from quantbench.engine.context import Rules
from quantbench.engine.false_alarms import Budget
from quantbench.engine.judging import Judging
from quantbench.engine.plan import Plan
from quantbench.engine.results import CellResult, result_of
from quantbench.engine.workers.task import Outcome
from quantbench.errors import BadInput
from quantbench.records import (
    FLOAT_CONTROL,
    Accepted,
    BaselineCell,
    BaselineFile,
    BaselineValue,
    Judgement,
    Kind,
    cell_key,
)
from quantbench.records.measurements import OUTPUT_DISTANCE, without_output
from quantbench.reference.model import ReferenceModel, load_models
from quantbench.variants import of_every_model

KINDS = frozenset({Kind.ACCURACY, Kind.SIZE, Kind.STRUCTURE})
_TOLERANCES = {"score": 0.0, OUTPUT_DISTANCE: gate.SMALLEST_EFFECT, **gate.SIZE_TOLERANCES}


class Nightly:
    """Hold the rules of a run of all variants of all models, of which single cells of one model are judged.

    It is a shard of that run, so that every test is red at an even share of the budget, as if the predictions of all
    cells had changed: the hardest case for each.

    Attributes:
        baseline: accepted values of this model; see :meth:`accept`.
    """

    def __init__(self, model: ReferenceModel) -> None:
        options = RunOptions(shard="1/2")
        models = {**load_models(model.file.parent), model.name: model}
        self._plan = Plan(options, models)
        self._plan.of_this_shard({cell_key(of, variant): KINDS for of in models for variant in of_every_model()})
        self._plan.fix({cell_key(model.name, variant): KINDS for variant in of_every_model()})
        self._model = model
        empty = BaselineFile(
            model=model.name,
            metric=model.metric.name,
            outputs={head.name: head.metric.name for head in model.heads},
            data_sha256=model.data_sha256,
            predictions_sha256="",
            cells={},
        )
        self.baseline = EffectiveBaseline(empty)
        others = {
            name: _accepted_of(one.file, name, options.baseline_dir)
            for name, one in models.items()
            if name != model.name
        }
        rules = Rules({**others, model.name: self.baseline}, environment.collect(), "reports/selftest")
        self._budget = Budget(self._plan, rules, gate.DEFAULT_BUDGET, (1,))
        self._judging = Judging(rules, self._budget, environment.today())

    @property
    def share(self) -> float:
        """P-value at which a test is red."""
        return self._budget.even().share

    def result(self, variant: str, outcome: Outcome, control: Outcome) -> CellResult:
        """Return what a run knows of a cell.

        Args:
            control: the float control's outcome; the same one for the float control itself.
        """
        cell = self._cell(variant)
        if variant == FLOAT_CONTROL:
            return result_of(cell, [outcome], None, outcome)
        return result_of(cell, [outcome], control, control, [control])

    def accept(self, result: CellResult) -> None:
        """Accept a result as the cell's baseline."""
        variant = result.cell.variant.name
        assert self.baseline.file is not None
        cells = {**self.baseline.file.cells, variant: _accepted(result)}
        self.baseline.file = self.baseline.file.model_copy(update={"cells": cells})
        first = result.outcomes[0]
        stored = {of_head(variant, output): answers for output, answers in first.heads.items()}
        stored |= {outputs_of(variant, output): array for output, array in result.to_store.items()}
        if first.predictions is not None:
            stored[variant] = first.predictions
        self.baseline.predictions |= stored

    def judge(self, result: CellResult, control: CellResult) -> list[Judgement]:
        """Judge a result by everything that a run judges without timing or memory."""
        cell = result.cell
        self._budget.forget(cell.id)
        self._budget.settle([result])
        reference = None if cell.variant.name == FLOAT_CONTROL else control
        return [
            judgement
            for kind in sorted(KINDS)
            for judgement in self._judging.with_exceptions(cell, kind, self._judging.judge(kind, result, reference))
        ]

    def _cell(self, variant: str) -> Planned:
        return self._plan.cells[cell_key(self._model.name, variant)]


@lru_cache
def _accepted_of(file: Path, name: str, folder: Path) -> EffectiveBaseline:
    """Return another model's baseline, which tells how many outputs share the budget; empty where it has none."""
    try:
        found = load_current(folder, load_models(file.parent)[name])
    except BadInput:
        return EffectiveBaseline()
    return EffectiveBaseline(found.file, found.predictions)


def _accepted(result: CellResult) -> BaselineCell:
    stamp = Accepted(date="", reason="healthy", run="selftest", environment="")
    values = {
        name: BaselineValue(
            value=measured.value,
            unit=measured.unit,
            n=measured.n,
            noise=0.0,
            noise_from="healthy",
            tolerance=_TOLERANCES[without_output(name)],
            tolerance_from="as recorded by an update",
            accepted=stamp,
        )
        for name, measured in result.measurements.items()
        if without_output(name) in _TOLERANCES
    }
    first = result.outcomes[0]
    return BaselineCell(
        measurements=values,
        census=first.contents.census if first.contents else None,
        artifact_sha256=first.artifact_sha256,
    )


def moved(outputs: Array, healthy: Array, probabilities: bool) -> float:
    """Return how far outputs moved, from 0 to 1, on the mean of the examples.

    Of probabilities: the share of probability that is elsewhere (total variation). Of others: the error as a share of
    the healthy outputs' root mean square, at most 1 an example.

    Args:
        outputs, healthy: shape (n, values).
    """
    new, old = outputs.astype(np.float64), healthy.astype(np.float64)
    with np.errstate(all="ignore"):
        if probabilities:
            each = np.abs(new - old).sum(axis=1) / 2
        else:
            scale = float(np.sqrt(np.mean(np.sum(old**2, axis=1)))) or 1.0
            each = np.sqrt(np.sum((new - old) ** 2, axis=1)) / scale
    return float(np.mean(np.minimum(np.where(np.isfinite(each), each, 1.0), 1.0)))
