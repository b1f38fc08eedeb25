"""Run the cells of a run on its targets, after everything here is computed and timed, and judge their answers."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from quantbench import gate
from quantbench.baselines import overlays
from quantbench.build.store import Store
from quantbench.core.arrays import Array
from quantbench.core.targets import Target
from quantbench.engine import measurements as measured
from quantbench.engine.context import Rules
from quantbench.engine.plan import Plan
from quantbench.engine.progress import Progress
from quantbench.engine.results import CellResult, Results, sha256
from quantbench.engine.score import examples_of
from quantbench.engine.there import There
from quantbench.errors import disk_is_full
from quantbench.measure.latency import Latency
from quantbench.records import FLOAT_CONTROL, Judgement, Kind, Measurement, OnTarget, Verdict
from quantbench.records import Target as TargetRecord
from quantbench.reference.metrics import Metric
from quantbench.reference.model import ReferenceModel
from quantbench.targets.failures import TargetFailed
from quantbench.targets.runner import Artifact, Runner, Taken, Told


@dataclass
class _Seen:
    """Collect what comes of one cell on one target."""

    measurements: dict[str, Measurement] = field(default_factory=dict)
    lacking: dict[str, str] = field(default_factory=dict)


class Targets:
    """Run cells on the targets of one run.

    Args:
        targets: in the order of the report.
        timed: whether latencies are measured.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        plan: Plan,
        results: Results,
        rules: Rules,
        store: Store,
        progress: Progress,
        timed: bool,
    ) -> None:
        self._runners = [Runner(target, store) for target in targets]
        self._plan = plan
        self._results = results
        self._rules = rules
        self._store = store
        self._progress = progress
        self._timed = timed

    def judge(self, result: CellResult) -> list[Judgement]:
        """Run a cell that has an artifact on each target, and judge its answers there."""
        judged = []
        for runner in self._runners:
            there, judgement = self._one(runner, result)
            now = self._results.of(result.cell.id).alone
            kept = {**now.there, runner.target.name: there}
            result = self._results.join(result.cell.id, replace(now, there=kept))
            judged.append(judgement)
        return judged

    def records(self) -> dict[str, TargetRecord]:
        """Return the targets as a report tells of them, by name."""
        return {runner.target.name: _record(runner) for runner in self._runners}

    def close(self) -> None:
        """End the workers."""
        for runner in self._runners:
            runner.close()

    def _one(self, runner: Runner, result: CellResult) -> tuple[There, Judgement]:
        cell, name, told = result.cell, runner.target.name, Told()
        subject = self._rules.subject(cell)
        first = result.outcomes[0]
        if first.artifact is None or first.artifact_sha256 is None or first.predictions is None:
            there = There(OnTarget(failure="it has no answers here", verdict=Verdict.ERROR))
            return there, gate.no_answers(subject, name, there.record.failure)
        artifact = Artifact(first.artifact, first.artifact_sha256)
        self._progress.say(f"{cell.id}: running it on {name}")
        try:
            with self._store.temporary_files():
                taken = runner.answers(cell.model, artifact, told)
        except TargetFailed as failure:
            record = OnTarget(
                failure=str(failure), code=failure.code, verdict=Verdict.ERROR, retried=list(told.retried)
            )
            return There(record), gate.no_answers(subject, name, str(failure))
        except OSError as error:
            if disk_is_full(error):
                raise
            record = OnTarget(failure=str(error), code="failed", verdict=Verdict.ERROR, retried=list(told.retried))
            return There(record), gate.no_answers(subject, name, str(error))
        judgement, record = self._judged(runner, result, taken)
        seen = _Seen(dict(record.measurements), dict(record.lacking))
        self._time(runner, result, artifact, told, seen)
        record = record.model_copy(
            update={"measurements": seen.measurements, "lacking": seen.lacking, "retried": list(told.retried)}
        )
        assert runner.machine is not None
        return There(record, taken.predictions, runner.machine.results_class), judgement

    def _judged(self, runner: Runner, result: CellResult, taken: Taken) -> tuple[Judgement, OnTarget]:
        assert runner.machine is not None
        cell, name, metric = result.cell, runner.target.name, result.cell.model.metric
        subject, examples, n = self._rules.subject(cell), examples_of(result.cell.model), len(taken.predictions)
        here = result.outcomes[0].predictions
        assert here is not None
        accepted = self._accepted(cell.model, cell.variant.name, runner.machine.results_class, n)
        # Every shard of a run shares the budget with the others.
        count = sum(Kind.TARGET in one.kinds for one in self._plan.whole.values()) * len(self._runners)
        judgement, seen = gate.on_target(
            subject,
            name,
            metric,
            taken.predictions,
            here[:n] if accepted is None else accepted,
            examples,
            "litert-cpu" if accepted is None else "baseline",
            gate.targets_alpha(count),
            metric.matters(metric.value(here[:n], examples.labels[:n]), cell.model.smallest_drop),
            taken.nonfinite,
        )
        beside = (
            seen if accepted is None or seen is None else gate.paired(metric, taken.predictions, here[:n], examples)
        )
        record = OnTarget(
            measurements=_of_answers(metric, beside, taken),
            verdict=judgement.verdict,
            accepted=accepted is not None,
            predictions_sha256=sha256(taken.predictions),
            cached=taken.cached,
            lacking={"memory": taken.no_memory} if taken.no_memory else {},
        )
        return judgement, record if beside is None else record.model_copy(update=_pairs(beside))

    def _accepted(self, model: ReferenceModel, variant: str, results_class: str, n: int) -> Array | None:
        """Return the accepted answers of a target's results class; None where there are none of as many examples."""
        stored = self._rules.baselines[model.name].predictions.get(overlays.stored_as(variant, results_class))
        return None if stored is None or len(stored) < n else stored[:n]

    def _time(self, runner: Runner, result: CellResult, artifact: Artifact, told: Told, seen: _Seen) -> None:
        if not self._timed or not runner.target.times:
            return
        control = self._results.of(result.cell.float_control).outcomes[:1]
        if not control or control[0].artifact is None or control[0].artifact_sha256 is None:
            seen.lacking["latency"] = "its float32 reference could not be made"
            return
        reference = Artifact(control[0].artifact, control[0].artifact_sha256)
        try:
            timed = runner.times(result.cell.model, artifact, reference, told)
        except TargetFailed as failure:
            seen.lacking["latency"] = str(failure)
            return
        seen.measurements.update(_of_times(timed, result.cell.variant.name))


def _of_answers(metric: Metric, beside: gate.Paired | None, taken: Taken) -> dict[str, Measurement]:
    found = {}
    if beside is not None:
        unit = "fraction" if metric.scale == 100 else metric.unit
        found["score"] = Measurement(value=beside.score, unit=unit, n=beside.n)
        found["agreement"] = Measurement(value=1 - beside.differing / beside.n, unit="fraction", n=beside.n)
    if taken.memory is not None:
        peak, empty = taken.memory
        found["memory"] = Measurement(value=max(0, peak - empty), unit="bytes", n=1)
        found["peak_memory"] = Measurement(value=peak, unit="bytes", n=1)
    return found


def _pairs(beside: gate.Paired) -> dict[str, float | int | None]:
    return {
        "local": beside.reference,
        "lost": beside.lost,
        "gained": beside.gained,
        "differing": beside.differing,
    }


def _of_times(timed: Latency, variant: str) -> dict[str, Measurement]:
    first = [1e3 * process["variant"].first for process in timed.processes]
    found = {
        "latency": measured.over_processes(timed.microseconds(), "µs"),
        "first_call": measured.over_processes(first, "ms"),
    }
    if variant != FLOAT_CONTROL:
        found["latency_ratio"] = measured.over_processes(timed.ratios(), "ratio")
    return found


def _record(runner: Runner) -> TargetRecord:
    machine = runner.machine
    return TargetRecord(
        address=runner.target.address,
        emulated=runner.target.emulated,
        machine=machine,
        results_class="" if machine is None else machine.results_class,
        failure="" if runner.failure is None else str(runner.failure),
        notes=list(runner.notes),
        sent=runner.sent,
    )
