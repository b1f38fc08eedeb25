"""A run's false-alarm budget: which tests of scores share it, and at what p-value each is red; latency has its own."""

from collections.abc import Collection
from functools import cached_property

from quantbench import gate
from quantbench.engine.cell import CellId, Planned
from quantbench.engine.context import Rules
from quantbench.engine.plan import Plan
from quantbench.engine.results import CellResult
from quantbench.engine.score import Scored, judge_pools, pools_of, potential
from quantbench.records import FalseAlarms, Judgement, Kind, Pooled


class Budget:
    """How one run shares its budget.

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
        self._thresholds: gate.Thresholds | None = None
        self._pooled: list[Pooled] = []
        self._at_even_share: dict[CellId, Judgement] = {}
        self._scored: dict[CellId, Scored] = {}

    @property
    def settled(self) -> bool:
        """Whether it is known which scores chance has moved, and so what each is red at."""
        return self._thresholds is not None

    def false_alarms(self) -> FalseAlarms:
        """The budget, and how many tests share it: those that chance has moved; until all are known, may move.

        A shard sees only its own cells, so it counts all cells of the run: what is red there is red in the whole run.
        """
        if self._plan.shard_of is not None or self._thresholds is None:
            return self.even()
        return self._with_limits(gate.alarms(self._budget, self._thresholds, self._timed_ones, self._potential > 0))

    def even(self) -> FalseAlarms:
        """What every test of the whole run could count on if chance had moved them all."""
        count = self._potential
        share = self._of_scores / max(1, count)
        return self._with_limits(
            gate.alarms(self._budget, gate.Thresholds({}, count, 0, share), self._timed_ones, count > 0)
        )

    def _with_limits(self, alarms: FalseAlarms) -> FalseAlarms:
        return gate.with_limits(alarms, self._whole)

    def limit_alpha(self) -> float:
        """Return the p-value at which a release limit is red: the same in a shard, in the whole run and when merged."""
        cells = [cell for cell in self._plan.whole.values() if Kind.ACCURACY in cell.kinds and cell.control]
        limits = sum(cell.model.floor(cell.variant.name, cell.variant.family) is not None for cell in cells)
        return gate.limit_alpha(self._whole, limits)

    def latency_share(self) -> float:
        """The p-value at which a latency is red, whatever the scores do."""
        alarms = self.even().latency
        return self._budget if alarms is None else alarms.share

    @property
    def _of_scores(self) -> float:
        return gate.split(self._budget, self._timed_ones, self._potential > 0)[0]

    @cached_property
    def _potential(self) -> int:
        by_model: dict[str, list[Planned]] = {}
        for cell in self._plan.whole.values():
            if Kind.ACCURACY in cell.kinds:
                by_model.setdefault(cell.model.name, []).append(cell)
        return sum(
            potential(cells[0].model, [(cell.variant.family, len(cell.seeds)) for cell in cells])
            for cells in by_model.values()
        )

    @cached_property
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

    def suspicious(self, result: CellResult) -> bool:
        """Whether a cell that trained anew looks worse: at an unadjusted p-value of 5 %."""
        if result.failure is not None or not result.cell.variant.trained or self._rules.train:
            return False
        p_value = self.at_even_share(result).p_value
        return p_value is not None and p_value <= gate.SUSPICIOUS and not self.scored(result).repeated

    def forget(self, cell_id: CellId) -> None:
        """Judge a cell anew, as its seeds are others."""
        self._at_even_share.pop(cell_id, None)
        self._scored.pop(cell_id, None)

    def settle(self, results: Collection[CellResult], unfinished: int = 0) -> None:
        """Fix what each score is red at, and judge the cells of each model together.

        Args:
            results: of all cells whose score is judged.
            unfinished: number of unfinished cells of a stopped run; each counts as changed.
        """
        moved = [result for result in results if self.at_even_share(result).p_value is not None]
        tested = [
            hypothesis for result in moved for hypothesis in self.scored(result).hypotheses(self.at_even_share(result))
        ]
        if self._plan.shard_of is not None:
            self._thresholds = gate.even_thresholds(tested, self.even().share, self._potential)
            return
        pools = pools_of(self.scored(result) for result in moved)
        together = [pool.hypothesis() for pool, _ in pools]
        self._thresholds = gate.thresholds([*tested, *together], self._of_scores, unfinished)
        self._pooled = judge_pools(pools, together, self._thresholds, self._rules.run)

    def close(self) -> None:
        """All is judged: where nothing had to be settled, chance has moved no score."""
        self._thresholds = self._thresholds or gate.thresholds([], self._of_scores)

    @property
    def pooled(self) -> list[Pooled]:
        """The judgements on several cells together; none in a shard, which knows only some of them."""
        return self._pooled

    @property
    def thresholds(self) -> gate.Thresholds:
        """What each test is red at; to be settled first."""
        assert self._thresholds is not None, "the budget is settled before a score that chance has moved is judged"
        return self._thresholds

    def holm_threshold(self, cell_id: CellId) -> float:
        """The p-value at which a score that chance has moved is red; to be settled first."""
        return self.thresholds.of(cell_id)

    def scored(self, result: CellResult) -> Scored:
        """Return the score of a finished cell with everything that its judge needs."""
        cell, first = result.cell, result.outcomes[0]
        if cell.id not in self._scored:
            assert first.predictions is not None
            self._scored[cell.id] = Scored(
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
                trained_sha256=first.trained_sha256,
                family=cell.variant.family,
            )
        return self._scored[cell.id]
