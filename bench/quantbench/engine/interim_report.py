"""Write a run's report while the run continues, from everything computed and judged so far."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from quantbench import gate
from quantbench.core.arrays import Array
from quantbench.engine.cell import CellId, Planned
from quantbench.engine.context import Rules
from quantbench.engine.false_alarms import Budget
from quantbench.engine.hashes import hashes_of
from quantbench.engine.results import Judgements, Results
from quantbench.errors import Exit
from quantbench.records import (
    Attribution,
    Cell,
    Judgement,
    Kind,
    LeftToCpu,
    Load,
    OperatorTimes,
    OutputScored,
    Report,
    Shard,
    Target,
    Verdict,
    verdict_of_cell,
    worst,
)
from quantbench.reference.metrics import Metric

# A run of a hundred cells that are all in the store ends before the first, which would cost it a tenth of its time.
_SAVE_SECONDS = 10.0
# A save writes all cells, so of many cells it takes long: at most a twentieth of the time goes into saving.
_SAVE_REST = 19
_SAVE_EACH = 0.002  # seconds for each cell, until a save was timed
Write = Callable[[Report, dict[str, dict[str, Array]]], None]


@dataclass(frozen=True)
class Header:
    """Hold what a report states about its run from beginning to end.

    Attributes:
        since, started: start time, on this process's clock and as a date.
        selection: what the user chose cells by, in words.
    """

    run: str
    since: float
    started: str
    selection: str = ""
    shard: Shard | None = None


class Recording:
    """Make and write the report of one run.

    Args:
        cells: of the run, in the order of the report.
        load: load by other processes on this machine during the run.
        write: writes the report and the predictions, by model and variant.
        targets: machines that cells ran on besides this one, by name.
        as_accepted: counts what was taken from the baselines, by kind of measurement.
        with_reds: adds to the report of a run that has ended what is red in it, grouped.

    Attributes:
        report: the last report made.
    """

    report: Report

    def __init__(
        self,
        header: Header,
        cells: Mapping[CellId, Planned],
        results: Results,
        judgements: Judgements,
        rules: Rules,
        budget: Budget,
        load: Callable[[], Load | None],
        write: Write,
        with_reds: Callable[[Report], Report] = lambda report: report,
        targets: Callable[[], Mapping[str, Target]] = dict,
        as_accepted: Callable[[], dict[str, int]] = dict,
    ) -> None:
        self._header = header
        self._planned = cells
        self._results = results
        self._judgements = judgements
        self._rules = rules
        self._budget = budget
        self._load = load
        self._write = write
        self._with_reds = with_reds
        self._targets = targets
        self._as_accepted = as_accepted
        self._saved = header.since
        self._causes: dict[CellId, Attribution] = {}
        self._times: dict[CellId, OperatorTimes] = {}
        self._save_took = _SAVE_EACH * len(cells)

    def save_now_and_then(self) -> None:
        """Write the report so far, unless one was written a moment ago."""
        if time.perf_counter() - self._saved > max(_SAVE_SECONDS, _SAVE_REST * self._save_took):
            self.save("running", Exit.GREEN)

    def save(self, state: str, status: Exit, notes: list[str] | None = None) -> None:
        """Make the report so far, and write it with the predictions."""
        begin = time.perf_counter()
        made = self._report(state, status, notes or [])
        self.report = made if state == "running" else self._with_reds(made)
        self._write(self.report, self._results.predictions())
        self._saved = time.perf_counter()
        self._save_took = self._saved - begin

    def _report(self, state: str, status: Exit, notes: list[str]) -> Report:
        header = self._header
        return Report.model_validate(
            {
                "run": header.run,
                "started": header.started,
                "seconds": time.perf_counter() - header.since,
                "state": state,
                "exit_status": int(status),
                "selection": header.selection,
                "trained_from_scratch": self._rules.train,
                "environment": self._rules.environment.model_copy(update={"load": self._load()}),
                "false_alarms": self._budget.false_alarms(),
                "data_sha256": {cell.model.name: cell.model.data_sha256 for cell in self._planned.values()},
                "models": {cell.model.name: hashes_of(cell.model) for cell in self._planned.values()},
                "notes": notes,
                "shard": header.shard,
                "as_accepted": self._as_accepted(),
                "pooled": self._budget.pooled,
                "targets": dict(self._targets()),
                "cells": self.cells(),
            }
        )

    def explain_each(self, causes: Iterable[tuple[CellId, Attribution]]) -> None:
        """Add what red scores come from to the next report, each as soon as it is found."""
        for cell, cause in causes:
            self._causes[cell] = cause

    def add_times(self, times: Mapping[CellId, OperatorTimes]) -> None:
        """Add where the time of slow cells goes to the next report."""
        self._times.update(times)

    def verdicts(self) -> list[Verdict]:
        """What decides the exit status: the verdict of each cell, and of cells together."""
        of_cells = [verdict_of_cell(_worst_by_kind(self._judged(cell.id))) for cell in self._planned.values()]
        return of_cells + [one.judgement.verdict for one in self._budget.pooled]

    def cells(self) -> list[Cell]:
        """Return all cells of this machine, as far as they are computed and judged."""
        return [self._cell(cell) for cell in self._planned.values()]

    def _judged(self, cell_id: CellId) -> Mapping[Kind, list[Judgement]]:
        return self._judgements.get(cell_id, {})

    def _cell(self, cell: Planned) -> Cell:
        result, judged = self._results.of(cell.id), self._judged(cell.id)
        verdicts = _worst_by_kind(judged)
        judgements = [judgement for kind in Kind for judgement in judged.get(kind, [])]
        measurements = dict(result.measurements)
        baseline, accepted = self._rules.baselines[cell.model.name], self._rules.accepted(cell)
        first = result.outcomes[0] if result.outcomes else None
        on_gpu, count = result.alone.on_gpu, result.alone.count
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
            outputs={head.name: _scored(head.metric) for head in cell.model.heads},
            seeds=list(cell.seeds) if cell.variant.trained else [],
            verdict=verdict_of_cell(verdicts),
            verdicts=verdicts,
            selected=cell.selected,
            cached=result.finished and all(outcome.cached for outcome in result.outcomes),
            seconds=sum(outcome.seconds for outcome in result.outcomes),
            alone_seconds=result.alone.seconds,
            artifact_sha256=first.artifact_sha256 if first else None,
            predictions_sha256=result.predictions_sha256,
            trained_sha256=first.trained_sha256 if first else None,
            measurements=measurements,
            judgements=judgements,
            census=first.contents.census if first and first.contents else None,
            reference_sha256=result.reference_sha256,
            training=list(first.training) if first else [],
            sources=dict(first.sources) if first else {},
            failure=result.failure,
            overlay=baseline.overlay.get(cell.variant.name),
            exceptions=baseline.exceptions.get(cell.variant.name, []),
            gpu_left=[
                LeftToCpu(operator=name, reason=why, device=device)
                for device, taken in on_gpu.items()
                for name, why in taken.left_why
            ],
            gpu_refusal=on_gpu[""].refusal if "" in on_gpu else "",
            further_gpu_refusals={name: taken.refusal for name, taken in on_gpu.items() if name and taken.refusal},
            drift=gate.drift_of(cell.model.metric, measurements, accepted, self._rules.machine_of),
            untimed=dict(result.alone.untimed),
            retried=result.retried,
            attribution=self._causes.get(cell.id),
            operator_times=self._times.get(cell.id),
            micro=result.alone.micro,
            counted=count.counted() if count is not None and not count.failure else None,
            targets={name: there.record for name, there in result.alone.there.items()},
        )


def _worst_by_kind(judged: Mapping[Kind, list[Judgement]]) -> dict[Kind, Verdict]:
    return {kind: worst([judgement.verdict for judgement in of_kind]) for kind, of_kind in judged.items()}


def _scored(metric: Metric) -> OutputScored:
    return OutputScored(
        metric=metric.name, unit=metric.unit, scale=metric.scale, higher_is_better=metric.higher_is_better
    )
