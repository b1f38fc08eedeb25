"""Measure latency, GPU predictions, TFLite-Micro and instructions once our other processes ended, and judge them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from quantbench import gate
from quantbench.build.store import Store
from quantbench.core.output import native_output_to
from quantbench.engine import on_micro
from quantbench.engine.cell import CellId
from quantbench.engine.context import Rules
from quantbench.engine.counting import Counting
from quantbench.engine.false_alarms import Budget
from quantbench.engine.kept import Kept
from quantbench.engine.on_targets import Targets
from quantbench.engine.plan import Plan
from quantbench.engine.progress import Counts, Progress
from quantbench.engine.results import CellResult, Judgements, Results
from quantbench.engine.timing import Timing
from quantbench.engine.turns import Turns, why_further
from quantbench.engine.workers.task import Outcome
from quantbench.measure import gpu, gpu_devices, latency
from quantbench.records import Device, Judgement, Kind, Measurement, Verdict
from quantbench.records.measurements import judged_latency, name_at, of_output
from quantbench.reference.model import ReferenceModel
from quantbench.variants import FLOAT_CONTROL


class Alone:
    """Measure cells of one run, one after the other, once all cells are computed and the workers have ended.

    Args:
        judgements: those made so far.
        log: file that receives the output of timing processes.
        targets: runs cells elsewhere; None where there are none.
        turns: times cells in turns with their accepted artifacts; None where nothing can be accepted.
    """

    def __init__(
        self,
        plan: Plan,
        results: Results,
        rules: Rules,
        budget: Budget,
        timing: Timing,
        store: Store,
        judgements: Judgements,
        progress: Progress,
        log: Path,
        turns: Turns | None = None,
        targets: Targets | None = None,
    ) -> None:
        self._plan = plan
        self._results = results
        self._rules = rules
        self._budget = budget
        self._timing = timing
        self._store = store
        self._judgements = judgements
        self._progress = progress
        self._log = log
        self._turns = turns
        self._targets = targets
        self._timing_since: float | None = None
        self._counting = Counting(plan, results, rules, store, progress)

    def judge(self, kind: Kind, result: CellResult) -> list[Judgement]:
        """Measure a cell that has an artifact, and judge the measurements."""
        if kind is Kind.INSTRUCTIONS:
            return self._counting.judge(result)
        if kind is Kind.MICRO:
            return on_micro.judge(result, self._results, self._rules, on_micro.runner(self._store), Kept(self._store))
        if kind is Kind.TARGET:
            return self._targets.judge(result) if self._targets is not None else []
        return self._latency(result) if kind is Kind.LATENCY else self._gpu(result)

    @contextmanager
    def _alone(self, cell_id: CellId) -> Iterator[None]:
        """Count the time during which only this cell is measured."""
        start = time.perf_counter()
        try:
            with self._store.temporary_files():
                yield
        finally:
            before = self._results.of(cell_id).alone
            seconds = (before.seconds or 0.0) + time.perf_counter() - start
            self._results.join(cell_id, replace(before, seconds=seconds))

    def _float_control(self, result: CellResult) -> Outcome:
        return self._results.of(result.cell.float_control).outcomes[0]

    # ------------------------------------------------------------ GPU

    def _gpu(self, result: CellResult) -> list[Judgement]:
        """Run a cell's artifact on each GPU, where there is one, and judge its predictions."""
        here = self._rules.environment
        if here.gpu is None:
            return [gate.gpu(self._rules.subject(result.cell), {}, None, here.no_gpu, None, gpu_devices.required())]
        return [
            one.model_copy(update={"measurement": of_output(one.measurement, name)})
            for name, device in here.gpus.items()
            for one in self._on_device(result, name, device)
        ]

    def _on_device(self, result: CellResult, name: str, device: Device) -> list[Judgement]:
        """Run a cell's artifact on a GPU, and judge it.

        Args:
            name: empty for the first GPU of the run.
        """
        cell = result.cell
        with self._alone(cell.id):
            taken = _on_gpu(result.outcomes[0], self._float_control(result), cell.model, device, self._store)
        before = self._results.of(cell.id).alone
        result = self._results.join(cell.id, replace(before, on_gpu={**before.on_gpu, name: taken}))
        subject, accepted = self._rules.subject(cell), self._rules.accepted(cell)
        if taken.refusal:
            return [gate.gpu_refused(subject, taken.refusal, device, accepted, taken.crashed)]
        contents, measured = result.outcomes[0].contents, dict(result.on_gpu(name))
        census = contents.census if contents else None
        judged = gate.gpu(subject, measured, device, taken.failure, accepted, gpu_devices.required(), census)
        return [judged, *gate.gpu_left(subject, measured, device, accepted)]

    # ------------------------------------------------------------ latency

    def _latency(self, result: CellResult) -> list[Judgement]:
        """Time a cell's artifact interleaved with its float control, and judge it, for each number of threads."""
        cell, artifact = result.cell, result.outcomes[0].artifact
        assert artifact is not None
        self._show_timing()
        subject, name = self._rules.subject(cell), judged_latency(cell.variant.name)
        control = self._float_control(result).artifact
        if control is None:
            return [gate.not_timed(subject, name, "its float32 reference could not be made")]
        if self._turns is not None:
            with self._store.temporary_files(), native_output_to(self._log):
                self._turns.prepare(self._budget.latency_share())
        judgements: list[Judgement] = []
        try:
            with self._alone(cell.id), native_output_to(self._log):
                for threads in self._timing.threads:
                    try:
                        judgements += self._with_threads(result, artifact, control, threads)
                    except latency.LatencyFailed as error:
                        judgements.append(gate.not_timed(subject, name_at(name, threads), str(error)))
                self._timing.besides(cell.id, cell.model, artifact)
        finally:
            for cell_id in {cell.id, cell.float_control}:  # the model in Keras is timed once, for its float control
                self._join_timed(cell_id)
        return judgements

    def _join_timed(self, cell_id: CellId) -> None:
        timed, untimed = self._timing.measurements(cell_id), self._timing.untimed.get(cell_id, {})
        if timed or untimed:
            alone = replace(self._results.of(cell_id).alone, timed=timed, untimed=dict(untimed))
            self._results.join(cell_id, alone)

    def _show_timing(self) -> None:
        """Show the timing progress and the estimated remaining time."""
        cells = self._plan.asked_for(Kind.LATENCY)
        done = sum(Kind.LATENCY in self._judgements.get(cell.id, {}) for cell in cells)
        now = time.perf_counter()
        self._timing_since = self._timing_since or now
        rest = (now - self._timing_since) / done * (len(cells) - done) if done else None
        self._progress.show(Counts("timed", done, len(cells), 1, 0, rest))

    def _with_threads(self, result: CellResult, artifact: Path, control: Path, threads: int) -> list[Judgement]:
        """Judge latency with this number of threads, by the baselines of the machine class for it."""
        cell, timing = result.cell, self._timing
        subject, baseline, machine = self._rules.subject(cell), self._rules.accepted(cell), self._rules.machine(threads)
        name, host = judged_latency(cell.variant.name), self._rules.environment.host
        stages = [timing.once(cell.id, cell.model, artifact, control, threads)]
        measured = stages[0]
        too_few = gate.threads(threads, measured["threads_at_work"])
        if too_few is not None and threads > 1 and timing.splits(threads, self._other_controls(cell.model)):
            too_few = None
        if too_few is not None and self._plan.shard_of is None:
            return [too_few]
        known = gate.accepted_beside(baseline, machine, host)
        share, label = self._budget.latency_share(), name_at(name, threads)
        of_typical, of_others = gate.beside_share(share) if threads == 1 else (share, 0.0)

        def typical() -> tuple[Judgement, bool]:
            values = [stage[name] for stage in stages]
            found, more = gate.latency_in_stages(subject, label, values, baseline, machine, of_typical, threads, host)
            if threads == 1 and found.verdict is not Verdict.REGRESSED:
                more = more or gate.unclear_beside(stages, name, known, of_others)
            return found, more

        longer = gate.longer_processes(measured, name, known) if threads == 1 else 1
        found, unclear = typical()
        while unclear and len(stages) < len(gate.STAGES):
            self._progress.say(f"{cell.id}: {why_further(len(stages), 'baseline')}")
            times = gate.next_stage(len(stages))
            stages.append(timing.once(cell.id, cell.model, artifact, control, threads, times, longer))
            found, unclear = typical()
        if timing.recording and threads == 1 and len(stages) < len(gate.STAGES):
            self._progress.say(f"{cell.id}: timing on, for the baseline that it becomes")
            times = sum(map(gate.next_stage, range(len(stages), len(gate.STAGES))))
            timing.once(cell.id, cell.model, artifact, control, threads, times, longer)  # which judges nothing
        judged = [found]
        if threads == 1:
            judged = gate.slower_than_yardstick(judged, measured, gate.after_the_first(stages), known)
            red = judged[0].verdict is Verdict.REGRESSED
            judged += gate.latency_beside(subject, stages, name, known, of_others, red)
        unknown = judged[0].verdict is Verdict.UNJUDGED
        alpha = share if unknown else of_typical
        judged = self._in_turns(result, judged, label, measured[name], alpha, threads)
        # Another shard may hold a model that the runtime splits: the error then goes away when the shards are merged.
        return [too_few, *judged] if too_few is not None else judged

    def _in_turns(
        self, result: CellResult, judged: list[Judgement], label: str, ratio: Measurement, alpha: float, threads: int
    ) -> list[Judgement]:
        """Judge by the accepted artifact what no baseline tells of, and ask it about what is red by a baseline.

        Args:
            judged: the typical call first.
            ratio: that of the typical call, as measured here.
        """
        if self._turns is None:
            return judged
        if judged[0].verdict is not Verdict.UNJUDGED:
            return self._turns.confirmed(result, judged, alpha, threads)
        instead = self._turns.judged(result, label, ratio, alpha) if threads == 1 else None
        return judged if instead is None else [*instead, *judged[1:]]

    def _other_controls(self, model: ReferenceModel) -> Iterator[tuple[ReferenceModel, Path]]:
        """Yield the float controls of this run's other models."""
        for cell in self._plan.cells.values():
            if cell.variant.name == FLOAT_CONTROL and cell.model is not model:
                first = self._results.of(cell.id).first
                if first is not None and first.artifact is not None:
                    yield cell.model, first.artifact


def _on_gpu(outcome: Outcome, control: Outcome, model: ReferenceModel, device: Device, store: Store) -> gpu.OnGpu:
    if control.artifact is None or outcome.artifact is None:
        return gpu.OnGpu(failure="its float32 reference could not be made")
    artifacts = [
        gpu.Artifact(each.artifact, each.artifact_sha256 or "") for each in (outcome, control) if each.artifact
    ]
    return gpu.through_store(artifacts[0], artifacts[1], model, device, store)
