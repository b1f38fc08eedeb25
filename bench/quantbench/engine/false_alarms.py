"""Share a run's false-alarm budget (alpha) over its scores and latencies, and set each score's Holm threshold."""

from collections.abc import Collection

from quantbench import gate
from quantbench.engine.cell import CellId, Planned
from quantbench.engine.context import Rules
from quantbench.engine.outputs import Compared
from quantbench.engine.plan import Plan
from quantbench.engine.results import CellResult
from quantbench.engine.score import Scored
from quantbench.records import FalseAlarms, Judgement, Kind
from quantbench.records.measurements import OUTPUT_DISTANCE


def of_outputs(cell_id: CellId) -> str:
    """The name by which the judgement of a cell's outputs shares the budget; that of its score has the cell's id."""
    return f"{cell_id} {OUTPUT_DISTANCE}"


class Budget:
    """Share the budget of one run by Holm's method.

    Args:
        budget: alpha, the probability of any red judgement where nothing changed.
        threads: numbers of threads that latency is measured with.
    """

    def __init__(self, plan: Plan, rules: Rules, budget: float, threads: Collection[int]) -> None:
        self._plan = plan
        self._rules = rules
        self._whole = budget
        self._budget = gate.beside_limits(budget)
        self._threads = threads
        self._red_at: dict[str, float] | None = None
        self._at_even_share: dict[CellId, Judgement] = {}
        self._outputs_at_even_share: dict[CellId, Judgement | None] = {}

    @property
    def settled(self) -> bool:
        """Return whether it is known which scores' predictions changed, and so the threshold of each."""
        return self._red_at is not None

    def false_alarms(self) -> FalseAlarms:
        """Return the budget and how many judgements share it: those with changed predictions, once all are known.

        A shard sees only its own cells, so it counts all cells of the run: what is red there is red in the whole run.
        """
        if self._plan.shard_of is not None:
            return self.even()
        if self._red_at is not None:
            return self._shared_by(len(self._red_at) + self._timed_ones())
        return self._shared_by(self._scores(self._plan.asked_for(Kind.ACCURACY)) + self._timed_ones())

    def even(self) -> FalseAlarms:
        """Return the per-test alpha if the predictions of every cell of the whole run had changed."""
        scored = [cell for cell in self._plan.whole.values() if Kind.ACCURACY in cell.kinds]
        return self._shared_by(self._scores(scored) + self._timed_ones())

    def _scores(self, cells: Collection[Planned]) -> int:
        """Count the judgements of scores, and of outputs where the baseline has their distances."""
        accepted = [self._rules.accepted(cell) for cell in cells]
        return len(cells) + sum(OUTPUT_DISTANCE in cell.measurements for cell in accepted if cell is not None)

    def _shared_by(self, judgements: int) -> FalseAlarms:
        return gate.with_limits(gate.share(self._budget, judgements), self._whole)

    def limit_alpha(self) -> float:
        """Return the p-value at which a release limit is red: the same in a shard, in the whole run and when merged."""
        cells = [cell for cell in self._plan.whole.values() if Kind.ACCURACY in cell.kinds and cell.control]
        limits = sum(cell.model.floor(cell.variant.name, cell.variant.family) is not None for cell in cells)
        return gate.limit_alpha(self._whole, limits)

    def _timed_ones(self) -> int:
        """Count latency judgements of the whole run: cells that have a latency baseline of its machine classes."""
        timed = [cell for cell in self._plan.whole.values() if Kind.LATENCY in cell.kinds]
        machines = [self._rules.machine(count) for count in self._threads]
        return gate.timed_ones([self._rules.accepted(cell) for cell in timed], machines)

    def at_even_share(self, result: CellResult) -> Judgement:
        """Judge a score at the even share; it has a p-value where its predictions changed."""
        cell = result.cell
        if cell.id not in self._at_even_share:
            if result.failure is not None:
                subject, accepted = self._rules.subject(cell), self._rules.accepted(cell)
                judged = gate.failed(subject, Kind.ACCURACY, result.failure, accepted)
            else:
                judged = self.scored(result).judge(self.even().share)
            self._at_even_share[cell.id] = judged
        return self._at_even_share[cell.id]

    def outputs_at_even_share(self, result: CellResult) -> Judgement | None:
        """How a cell's outputs are judged if chance has moved all judgements; its controls have to be computed."""
        cell = result.cell
        if cell.id not in self._outputs_at_even_share:
            compared = self.compared(result)
            self._outputs_at_even_share[cell.id] = compared.judge(self.even().share) if compared else None
        return self._outputs_at_even_share[cell.id]

    def p_values(self, result: CellResult) -> dict[str, float]:
        """The p-values of a cell that share the budget: of its score and its outputs, where chance has moved them."""
        found = {result.cell.id: self.at_even_share(result)}
        outputs = self.outputs_at_even_share(result)
        if outputs is not None:
            found[of_outputs(result.cell.id)] = outputs
        return {name: judged.p_value for name, judged in found.items() if judged.p_value is not None}

    def settle(self, results: Collection[CellResult], unfinished: int = 0) -> None:
        """Set the p-value below which each score is red.

        Args:
            results: of all cells whose score is judged.
            unfinished: number of unfinished cells of a stopped run; each counts as changed.
        """
        moved = {name: p_value for result in results for name, p_value in self.p_values(result).items()}
        if self._plan.shard_of is not None:
            self._red_at = dict.fromkeys(moved, self.even().share)
        else:
            self._red_at = gate.holm(moved, self._budget, self._timed_ones() + unfinished)

    def close(self) -> None:
        """Mark the budget as settled: where nothing had to be settled, no predictions changed."""
        self._red_at = self._red_at or {}

    def holm_threshold(self, name: str) -> float:
        """Return the p-value below which changed predictions, or outputs (:func:`of_outputs`), are red.

        Call :meth:`settle` first.
        """
        assert self._red_at is not None, "the budget is settled before a score that chance has moved is judged"
        return self._red_at[name]

    def compared(self, result: CellResult) -> Compared | None:
        """The outputs of a finished cell, as they are judged; None where no baseline can tell of them."""
        cell = result.cell
        first = result.first
        lost = result.failure is not None or first is None or any(outcome.nonfinite for outcome in result.outcomes)
        if lost or first is None or self._rules.train:
            return None
        return Compared(
            self._rules.subject(cell),
            cell.model.metric,
            self._rules.baselines[cell.model.name],
            result.measurements.get(OUTPUT_DISTANCE),
            first.predictions,
            result.to_store,
            cell.variant.trained,
            self._rules.strict_change,
        )

    def scored(self, result: CellResult) -> Scored:
        """Return the score of a finished cell with everything that its judge needs."""
        cell, first = result.cell, result.outcomes[0]
        assert first.predictions is not None
        return Scored(
            self._rules.subject(cell),
            cell.model,
            self._rules.baselines[cell.model.name],
            gate.Answers(
                result.measurements.get("score"),
                first.predictions,
                sum(outcome.nonfinite for outcome in result.outcomes),
            ),
            seeds=len(cell.seeds) if cell.variant.trained else 0,
            retrained=self._rules.train,
            artifact_sha256=first.artifact_sha256,
            reference_sha256=result.reference_sha256,
        )
