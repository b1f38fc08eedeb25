"""A run's false-alarm budget: which scores share it, which latencies do, and at what p-value each score is red."""

from collections.abc import Collection

from quantbench import gate
from quantbench.core import environment
from quantbench.engine.cell import CellId, Planned, failure_of
from quantbench.engine.context import Running
from quantbench.engine.results import Known, reference_sha256
from quantbench.engine.score import Scored
from quantbench.records import FalseAlarms, Judgement, Kind


class Budget:
    """How one run shares its budget, by Holm's method."""

    def __init__(self, running: Running, known: Known) -> None:
        self._running = running
        self._known = known
        self._red_at: dict[CellId, float] | None = None

    def false_alarms(self) -> FalseAlarms:
        """The budget, and how many judgements share it: those that chance has moved; until all are known, may move.

        A shard knows its own only, so to it all of the whole run may move: what is red there is red in the whole run.
        """
        if self._running.plan.shard_of is not None:
            return self.even()
        return gate.share(self._running.options.false_alarms, len(self._moved_or_may()) + self._timed_ones())

    def even(self) -> FalseAlarms:
        """What every judgement of the whole run could count on if chance had moved them all."""
        scores = sum(Kind.ACCURACY in cell.kinds for cell in self._running.plan.whole.values())
        return gate.share(self._running.options.false_alarms, scores + self._timed_ones())

    def _moved_or_may(self) -> Collection[CellId]:
        if self._red_at is not None:
            return self._red_at
        return [cell.id for cell in self._running.plan.asked_for(Kind.ACCURACY)]

    def _timed_ones(self) -> int:
        """Latency judgements of the whole run: of cells that have a latency baseline of its machine classes."""
        machine, threads = self._running.environment.machine_class, self._running.timing.threads
        timed = [cell for cell in self._running.plan.whole.values() if Kind.LATENCY in cell.kinds]
        return gate.timed_ones(
            [self._running.accepted(cell) for cell in timed],
            [environment.with_threads(machine, count) for count in threads],
        )

    def red_at(self) -> dict[CellId, float]:
        """What p-value each score that chance has moved is red at; waits for all scores of the run."""
        if self._red_at is None:
            plan, computing, budget = self._running.plan, self._running.computing, self._running.options.false_alarms
            cells = plan.asked_for(Kind.ACCURACY)
            if computing.partial:
                cells = [cell for cell in cells if plan.computed(cell)]
            computing.wait(cells)
            found = {cell.id: self._score_judgement(cell, budget).p_value for cell in cells}
            moved = {cell_id: p_value for cell_id, p_value in found.items() if p_value is not None}
            unfinished = len(plan.cells) - len(cells) if computing.partial else 0
            if plan.shard_of is not None:
                self._red_at = dict.fromkeys(moved, self.even().share)
            else:
                self._red_at = gate.holm(moved, budget, self._timed_ones() + unfinished)
        return self._red_at

    def settle(self) -> None:
        """All is judged: where no score asked what it is red at, chance has moved none."""
        self._red_at = self._red_at or {}

    def _score_judgement(self, cell: Planned, allowed: float) -> Judgement:
        """Drift of a finished cell's score, red at a p-value of ``allowed``."""
        failed = failure_of(cell.so_far)
        if failed is not None:
            return gate.failed(self._running.subject(cell), Kind.ACCURACY, failed, self._running.accepted(cell))
        return self.scored(cell).judge(allowed)

    def scored(self, cell: Planned) -> Scored:
        """The score of a finished cell that has one, as it is judged."""
        first = cell.so_far[0]
        assert first.predictions is not None
        return Scored(
            self._running.subject(cell),
            cell.model,
            self._running.baselines[cell.model.name],
            gate.Answers(
                self._known.measurements(cell).get("score"),
                first.predictions,
                sum(outcome.nonfinite for outcome in cell.so_far),
            ),
            seeds=len(cell.seeds) if cell.variant.trained else 0,
            retrained=self._running.options.train,
            artifact_sha256=first.artifact_sha256,
            reference_sha256=reference_sha256(first),
        )
