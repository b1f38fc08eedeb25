"""Judge a whole run from predictions alone: every cell that has a baseline, by the engine's own budget and judges.

Nothing is built or measured. A cell whose predictions are not given answers as its baseline does.
"""

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from quantbench.baselines.effective import EffectiveBaseline, effective_baseline, load_current
from quantbench.core import environment
from quantbench.core.arrays import Array
from quantbench.core.distances import of_head, outputs_of
from quantbench.core.options import RunOptions
from quantbench.engine import measurements
from quantbench.engine.cell import CellId, Planned
from quantbench.engine.context import Rules
from quantbench.engine.false_alarms import Budget
from quantbench.engine.judging import Judging
from quantbench.engine.plan import Plan
from quantbench.engine.results import CellResult
from quantbench.engine.workers.task import Outcome
from quantbench.gate import DEFAULT_BUDGET
from quantbench.records import BaselineValue, Judgement, Kind, Measurement, Pooled, Verdict
from quantbench.records.measurements import OUTPUT_DISTANCE, without_output
from quantbench.reference.model import ReferenceModel
from quantbench.selftest.runs import RED
from quantbench.variants import VARIANTS

SEEDS_ON_SUSPICION = RunOptions().seeds_on_suspicion
Drawn = Mapping[CellId, Sequence[Array]]  # cell -> predictions, one array per seed
More = Callable[[CellId], Sequence[Array]]


class _Timed(Budget):
    """A budget of which latency has its part, whether or not this machine has latency baselines."""

    @cached_property
    def _timed_ones(self) -> int:
        return 1


@dataclass(frozen=True)
class Verdicts:
    """How a run was judged.

    Attributes:
        judgements: (cell or pool, judgement) of all that changed, or whose reference did.
        reseeded: cells that looked worse, and trained more seeds.
    """

    judgements: Sequence[tuple[str, Judgement]]
    reseeded: Sequence[CellId] = ()

    def of(self, *verdicts: Verdict) -> list[tuple[str, Judgement]]:
        """List the judgements with one of these verdicts."""
        return [(name, judged) for name, judged in self.judgements if judged.verdict in verdicts]

    @property
    def red(self) -> list[tuple[str, Judgement]]:
        """List what fails the run."""
        return self.of(*RED)


class Night:
    """Hold all cells with stored predictions, as a nightly run plans them.

    Args:
        latency: whether the run times its cells too, so that latency has its part of the budget.
        repeats: whether every training gives the very weights that were accepted.
    """

    def __init__(
        self,
        models: Mapping[str, ReferenceModel],
        baselines: Mapping[str, EffectiveBaseline],
        latency: bool = True,
        repeats: bool = False,
    ) -> None:
        self.models, self.baselines = models, {name: _marked(one, repeats) for name, one in baselines.items()}
        self.rules = Rules(self.baselines, environment.collect(), "reports/selftest")
        self.today = environment.today()
        self._budget = _Timed if latency else Budget
        self._trained_sha256 = _SAME if repeats else _ANEW
        self.plan = Plan(RunOptions(), models)
        self.plan.fix(
            {
                f"{name}/{variant}": {Kind.ACCURACY}
                for name, baseline in self.baselines.items()
                for variant in VARIANTS
                if variant in baseline.predictions and "score" in _measured(baseline, variant)
            }
        )
        self.cells: dict[CellId, Planned] = {
            name: cell for name, cell in self.plan.cells.items() if cell.variant.name in self._stored(cell)
        }
        self._unchanged = {name: self._result(cell, [self.stored(name)]) for name, cell in self.cells.items()}

    def _stored(self, cell: Planned) -> Mapping[str, Array]:
        return self.baselines[cell.model.name].predictions

    def stored(self, cell_id: CellId) -> Array:
        """Return a cell's accepted predictions."""
        cell = self.cells[cell_id]
        return self._stored(cell)[cell.variant.name]

    def budget(self) -> Budget:
        """Return the engine's budget, of which nothing is spent yet."""
        return self._budget(self.plan, self.rules, DEFAULT_BUDGET, [1])

    def judge(self, drawn: Drawn, more: More | None = None) -> Verdicts:
        """Judge a run of these predictions.

        Args:
            more: cell -> predictions of all seeds, where a cell that trains looks worse (``--seeds-on-suspicion``);
                None: no more are trained.
        """
        budget = self.budget()
        results = {name: self._result(self.cells[name], predictions) for name, predictions in drawn.items()}
        suspects = [name for name, result in results.items() if more is not None and budget.suspicious(result)]
        for name in suspects:
            assert more is not None
            budget.forget(name)
            results[name] = self._result(self.cells[name], more(name))
        budget.settle(list(results.values()))
        judging = Judging(self.rules, budget, self.today)
        judged: list[tuple[str, Judgement]] = []
        for name, cell in self.cells.items():
            if name in results or cell.control in results:
                result = results.get(name, self._unchanged[name])
                control = None if cell.control is None else results.get(cell.control, self._unchanged.get(cell.control))
                found = judging.judge(Kind.ACCURACY, result, control)
                judged += [(name, one) for one in judging.with_exceptions(cell, Kind.ACCURACY, found)]
        judged += [(pool.id, pool.judgement) for pool in budget.pooled]
        return Verdicts(judged, suspects)

    def pooled(self, drawn: Drawn) -> Sequence[Pooled]:
        """Judge only what is tested of several cells together."""
        budget = self.budget()
        budget.settle([self._result(self.cells[name], predictions) for name, predictions in drawn.items()])
        return budget.pooled

    def _result(self, cell: Planned, predictions: Sequence[Array]) -> CellResult:
        labels, metric = cell.model.pack().test.y, cell.model.metric
        trained = cell.variant.trained
        outcomes = tuple(
            Outcome(
                seed,
                predictions=answers,
                score=metric.value(answers, labels),
                trained_sha256=self._trained_sha256 if trained else None,
                heads={
                    head.name: self._stored(cell)[of_head(cell.variant.name, head.name)] for head in cell.model.heads
                },
            )
            for seed, answers in enumerate(predictions)
        )
        seeds = tuple(range(len(outcomes)))
        computed = measurements.scores(cell.model, trained, outcomes) | self._distance(cell)
        stored = self._stored(cell)
        names = {output: outputs_of(cell.variant.name, output) for output in ("", *(h.name for h in cell.model.heads))}
        to_store = {output: stored[name] for output, name in names.items() if name in stored}
        return CellResult(replace(cell, seeds=seeds), outcomes, finished=True, computed=computed, to_store=to_store)

    def _distance(self, cell: Planned) -> dict[str, Measurement]:
        """Return the accepted distances of the outputs: main predictions are drawn, and the rest stays as it was."""
        accepted = _measured(self.baselines[cell.model.name], cell.variant.name)
        return {
            name: Measurement(value=value.value, unit=value.unit, n=value.n)
            for name, value in accepted.items()
            if without_output(name) == OUTPUT_DISTANCE
        }


_SAME, _ANEW = "the accepted weights", "other weights"


def _marked(baseline: EffectiveBaseline, repeats: bool) -> EffectiveBaseline:
    """Note the weights that repeat, or others; the shipped baselines hold no hash of them yet."""
    if baseline.file is None:
        return baseline
    cells = {
        name: cell.model_copy(update={"trained_sha256": _SAME}) if repeats and VARIANTS[name].trained else cell
        for name, cell in baseline.file.cells.items()
    }
    return replace(baseline, file=baseline.file.model_copy(update={"cells": cells}))


def _measured(baseline: EffectiveBaseline, variant: str) -> Mapping[str, BaselineValue]:
    cell = baseline.cell(variant)
    return {} if cell is None else cell.measurements


def load_baselines(
    models: Mapping[str, ReferenceModel], folder: Path, today: datetime.date | None = None
) -> dict[str, EffectiveBaseline]:
    """Read the baselines of all models that have one, as a run on this machine sees them."""
    here = environment.collect()
    found = {
        name: effective_baseline(
            load_current(folder, model),
            model.metric.unit,
            here.results_class,
            here.machine_class,
            today or environment.today(),
        )
        for name, model in models.items()
    }
    return {name: baseline for name, baseline in found.items() if baseline.predictions}
