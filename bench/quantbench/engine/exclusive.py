"""What is measured while nothing else of ours runs, and how it is judged: latency, and answers on the GPU."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from quantbench import gate
from quantbench.build.store import Store
from quantbench.core import environment
from quantbench.core.output import native_output_to
from quantbench.engine.cell import Planned
from quantbench.engine.context import Running
from quantbench.engine.false_alarms import Budget
from quantbench.engine.progress import Counts
from quantbench.engine.results import Known
from quantbench.engine.workers.task import Outcome
from quantbench.measure import gpu, gpu_devices, latency
from quantbench.records import Device, Judgement, Kind
from quantbench.records.measurements import judged_latency, name_at
from quantbench.reference.model import ReferenceModel
from quantbench.variants import FLOAT_CONTROL


class Alone:
    """Measures cells of one run, one after the other."""

    def __init__(self, running: Running, known: Known, budget: Budget) -> None:
        self._running = running
        self._known = known
        self._budget = budget
        self._timing_since: float | None = None

    @contextmanager
    def _alone(self, cell: Planned) -> Iterator[None]:
        """Count the time in which nothing but this cell is measured."""
        start = time.perf_counter()
        try:
            with self._running.held.store.temporary_files():
                yield
        finally:
            before = self._known.alone_seconds.get(cell.id, 0.0)
            self._known.alone_seconds[cell.id] = before + time.perf_counter() - start

    # ------------------------------------------------------------ GPU

    def gpu(self, cell: Planned, outcome: Outcome) -> Judgement:
        """Run a cell's artifact on the GPU, where there is one, and judge how it answers there."""
        subject, here = self._running.subject(cell), self._running.environment
        device, reason = here.gpu, here.no_gpu
        if device is not None:
            control = self._running.float_control(cell)
            self._running.computing.finish()
            with self._alone(cell):
                taken = _on_gpu(outcome, control, cell.model, device, self._running.held.store)
            self._known.on_gpu[cell.id], reason = taken, taken.failure or taken.refusal
            if taken.refusal and cell.model.stateful:
                return gate.no_gpu(f"LiteRT's GPU accelerator takes no state: {reason}")
        found = self._known.measurements(cell)
        return gate.gpu(subject, found, device, reason, self._running.accepted(cell), gpu_devices.required())

    # ------------------------------------------------------------ latency

    def latency(self, cell: Planned, artifact: Path) -> list[Judgement]:
        """Time a cell's artifact in turns with its float control, and judge it; for each number of threads."""
        timing = self._running.timing
        self._running.computing.finish()
        self._show_timing()
        # Latency shares the budget with the scores that chance has moved, and now all of them are known.
        self._budget.red_at()
        subject, name = self._running.subject(cell), judged_latency(cell.variant.name)
        control = self._running.float_control(cell).artifact
        if control is None:
            return [gate.not_timed(subject, name, "its float control could not be made")]
        judgements: list[Judgement] = []
        with self._alone(cell), native_output_to(self._running.logs / "timing.log"):
            for threads in timing.threads:
                try:
                    judgements += self._with_threads(cell, artifact, control, threads)
                except latency.LatencyFailed as error:
                    judgements.append(gate.not_timed(subject, name_at(name, threads), str(error)))
            timing.besides(cell.id, cell.model, artifact)
        return judgements

    def _show_timing(self) -> None:
        """How far the timing is, and how long the rest takes if it goes on like that."""
        cells = self._running.plan.asked_for(Kind.LATENCY)
        done = sum(Kind.LATENCY in self._known.judgements.get(cell.id, {}) for cell in cells)
        now = time.perf_counter()
        self._timing_since = self._timing_since or now
        rest = (now - self._timing_since) / done * (len(cells) - done) if done else None
        self._running.progress.show(Counts("timed", done, len(cells), 1, 0, rest))

    def _with_threads(self, cell: Planned, artifact: Path, control: Path, threads: int) -> list[Judgement]:
        """Latency with so many threads, by the baselines of the machine class of so many."""
        timing, subject, baseline = self._running.timing, self._running.subject(cell), self._running.accepted(cell)
        machine = environment.with_threads(self._running.environment.machine_class, threads)
        known = baseline.latency.get(machine) if baseline else None
        name = judged_latency(cell.variant.name)
        found = timing.once(cell.id, cell.model, artifact, control, threads)
        one = gate.threads(threads, found["threads_at_work"])
        if one is not None and timing.splits(threads, self._other_controls(cell.model)):
            one = None
        if one is not None and self._running.plan.shard_of is None:
            return [one]
        again = None
        if known is not None and gate.suspicious(found[name], known, threads):
            self._running.progress.say(f"{cell.id}: slower than its baseline; measuring it once more")
            again = timing.once(cell.id, cell.model, artifact, control, threads)[name]
        share, label = self._budget.false_alarms().share, name_at(name, threads)
        judged = gate.latency(subject, label, found[name], baseline, machine, share, again, threads)
        # Another shard may hold the model that the runtime does split, so that this error goes when they are merged.
        return [one, judged] if one is not None else [judged]

    def _other_controls(self, model: ReferenceModel) -> Iterator[tuple[ReferenceModel, Path]]:
        """The float controls of this run's other models."""
        for cell in self._running.plan.cells.values():
            first = cell.first
            if cell.variant.name == FLOAT_CONTROL and cell.model is not model and first and first.artifact:
                yield cell.model, first.artifact


def _on_gpu(outcome: Outcome, control: Outcome, model: ReferenceModel, device: Device, store: Store) -> gpu.OnGpu:
    if control.artifact is None or outcome.artifact is None:
        return gpu.OnGpu(failure="its float control could not be made")
    artifacts = [gpu.Artifact(one.artifact, one.artifact_sha256 or "") for one in (outcome, control) if one.artifact]
    return gpu.through_store(artifacts[0], artifacts[1], model, device, store)
