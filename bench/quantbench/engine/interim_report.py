"""A run's report while the run goes on: made of all that is known so far, and written now and then."""

import shlex
import time

from quantbench import gate
from quantbench.baselines import files as baseline_files
from quantbench.engine import shards
from quantbench.engine.cell import Planned, failure_of
from quantbench.engine.context import Running
from quantbench.engine.false_alarms import Budget
from quantbench.engine.results import Known, predictions_sha256, reference_sha256
from quantbench.errors import Exit
from quantbench.records import Cell, Kind, LeftToCpu, Report, Shard, worst

_SAVE_SECONDS = 1.0
# A save writes all cells, so of many cells it takes long: at most a twentieth of the time goes into saving.
_SAVE_REST = 19


class Recording:
    """Makes and writes the report of one run.

    Attributes:
        report: as it was last made.
    """

    report: Report

    def __init__(self, running: Running, known: Known, budget: Budget) -> None:
        self._running = running
        self._known = known
        self._budget = budget
        self._saved = running.since
        self._save_took = 0.0

    def save_now_and_then(self) -> None:
        """Write what is known so far, unless that was done a moment ago."""
        if time.perf_counter() - self._saved > max(_SAVE_SECONDS, _SAVE_REST * self._save_took):
            self.save("running", Exit.GREEN)

    def save(self, state: str, status: Exit, notes: list[str] | None = None) -> None:
        """Make the report of what is known, and write it with the predictions."""
        begin = time.perf_counter()
        self.report = self._report(state, status, notes or [])
        self._running.folder.write(self.report, self._known.predictions())
        self._saved = time.perf_counter()
        self._save_took = self._saved - begin

    def _report(self, state: str, status: Exit, notes: list[str]) -> Report:
        running = self._running
        cells = self.cells()
        return Report.model_validate(
            {
                "run": running.folder.path.name,
                "started": running.started,
                "seconds": time.perf_counter() - running.since,
                "state": state,
                "exit_status": int(status),
                "selection": running.selection,
                "trained_from_scratch": running.options.train,
                "environment": running.environment.model_copy(update={"load": running.timing.load()}),
                "false_alarms": self._budget.false_alarms(),
                "data_sha256": {cell.model.name: cell.model.data_sha256 for cell in running.plan.cells.values()},
                "notes": notes,
                "shard": self._shard(),
                "cells": cells,
            }
        )

    def _shard(self) -> Shard | None:
        plan, options = self._running.plan, self._running.options
        if plan.shard_of is None:
            return None
        index, of = plan.shard_of
        models = sorted({cell.model.name for cell in plan.whole.values()})
        return Shard(
            index=index,
            of=of,
            split=plan.split,
            options={name: str(getattr(options, name)) for name in shards.SAME_IN_ALL},
            baselines={name: baseline_files.fingerprint(options.baseline_dir, name) for name in models},
            folder=shlex.quote(str(self._running.folder.path)),
            again=self._running.again(),
        )

    def cells(self) -> list[Cell]:
        """All cells of this machine, as far as they are known."""
        return [self._cell(cell) for cell in self._running.plan.cells.values()]

    def _cell(self, cell: Planned) -> Cell:
        finished = cell.finished  # first: what finishes meanwhile is whole in the next report
        outcomes = cell.so_far
        known = self._known.judgements.get(cell.id, {})
        judgements = [judgement for kind in Kind for judgement in known.get(kind, [])]
        measurements = self._known.measurements(cell) if finished else {}
        baseline, on_gpu = self._running.baselines[cell.model.name], self._known.on_gpu.get(cell.id)
        return Cell(
            id=cell.id,
            model=cell.model.name,
            variant=cell.variant.name,
            family=cell.variant.family,
            control=cell.variant.control,
            metric=cell.model.metric.name,
            metric_unit=cell.model.metric.unit,
            higher_is_better=cell.model.metric.higher_is_better,
            metric_scale=cell.model.metric.scale,
            seeds=cell.seeds if cell.variant.trained else [],
            verdict=worst([judgement.verdict for judgement in judgements]),
            verdicts={kind: worst([j.verdict for j in found]) for kind, found in known.items()},
            selected=cell.selected,
            cached=finished and all(outcome.cached for outcome in outcomes),
            seconds=sum(outcome.seconds for outcome in outcomes),
            alone_seconds=self._known.alone_seconds.get(cell.id),
            artifact_sha256=outcomes[0].artifact_sha256 if outcomes else None,
            predictions_sha256=predictions_sha256(outcomes[0]) if outcomes else None,
            measurements=measurements,
            judgements=judgements,
            census=outcomes[0].contents.census if outcomes and outcomes[0].contents else None,
            reference_sha256=reference_sha256(outcomes[0]) if outcomes else None,
            failure=failure_of(outcomes),
            overlay=baseline.overlay.get(cell.variant.name),
            exceptions=baseline.exceptions.get(cell.variant.name, []),
            gpu_left=[LeftToCpu(operator=name, reason=why) for name, why in on_gpu.left_why] if on_gpu else [],
            drift=gate.drift_of(cell.model.metric, measurements, self._running.accepted(cell)),
            untimed=self._running.timing.untimed.get(cell.id, {}),
            retried=cell.retried,
        )
