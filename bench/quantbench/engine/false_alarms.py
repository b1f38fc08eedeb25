"""A run's false-alarm budget: which tests of scores share it, and at what p-value each is red; latency has its own."""

from collections.abc import Collection
from functools import cached_property, partial

from quantbench import gate
from quantbench.engine.cell import CellId, Planned
from quantbench.engine.context import Rules
from quantbench.engine.outputs import Compared
from quantbench.engine.plan import Plan
from quantbench.engine.results import CellResult, predicted
from quantbench.engine.score import Scored, judge_pools, pools_of, potential
from quantbench.measure import flipped
from quantbench.records import FalseAlarms, Judgement, Kind, Pooled
from quantbench.records.measurements import OUTPUT_DISTANCE, of_output
from quantbench.reference.heads import by_output


def of_outputs(cell_id: CellId, output: str = "") -> str:
    """Return the name by which the judgement of an output shares the budget; its score has the cell's id."""
    return f"{of_output(cell_id, output)} {OUTPUT_DISTANCE}"


def outputs_of(cell: Planned) -> list[str]:
    """Return the scored outputs of a cell; the main one is empty, and first."""
    return ["", *(head.name for head in cell.model.heads)]


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
        self._at_even_share: dict[tuple[CellId, str], Judgement] = {}
        self._scored: dict[tuple[CellId, str], Scored] = {}
        self._outputs_at_even_share: dict[tuple[CellId, str], Judgement | None] = {}

    @property
    def settled(self) -> bool:
        """Whether it is known which scores chance has moved, and so what each is red at."""
        return self._thresholds is not None

    def false_alarms(self) -> FalseAlarms:
        """The budget, and how many tests share it: those that chance has moved; until all are known, may move.

        A part of a run sees only its own cells, so it counts all of them: what is red there is red in the whole run.
        """
        if self._plan.is_part or self._thresholds is None:
            return self.even()
        return self._alarms(self._thresholds)

    def even(self) -> FalseAlarms:
        """Return the alarms' shares if the predictions of every cell of the whole run had changed."""
        count = self._potential
        share = self._of_scores / max(1, count)
        return self._alarms(gate.Thresholds({}, count, 0, share))

    def _alarms(self, thresholds: gate.Thresholds) -> FalseAlarms:
        shared = gate.alarms(self._budget, thresholds, self._timed_ones, self._potential > 0)
        return gate.with_limits(shared, self._whole)

    def limit_alpha(self) -> float:
        """Return the p-value at which a release limit is red: the same in a shard, in the whole run and when merged."""
        return gate.limit_alpha(self._whole, self._limits)

    @cached_property
    def _limits(self) -> int:
        """Count the release limits of the whole run."""
        cells = [cell for cell in self._plan.whole.values() if Kind.ACCURACY in cell.kinds and cell.control]
        return sum(
            model.floor(cell.variant.name, cell.variant.family) is not None
            for cell in cells
            for model in by_output(cell.model).values()
        )

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
        of_scores = sum(
            potential(model, [(cell.variant.family, len(cell.seeds)) for cell in cells])
            for cells in by_model.values()
            for model in by_output(cells[0].model).values()
        )
        accepted = [(cell, self._rules.accepted(cell)) for cells in by_model.values() for cell in cells]
        known = [(cell, one) for cell, one in accepted if one is not None]
        heavier = sum(
            gate.weight_of(one.measurements.get(of_output("score", output))) - 1
            for cell, one in known
            if cell.variant.trained
            for output in outputs_of(cell)
        )
        of_distances = sum(
            of_output(OUTPUT_DISTANCE, output) in one.measurements for cell, one in known for output in outputs_of(cell)
        )
        return of_scores + heavier + of_distances

    @cached_property
    def _timed_ones(self) -> int:
        """Count latency judgements of the whole run: cells that have a latency baseline of its machine classes, or an
        accepted artifact to be timed in turns with.
        """
        timed = [cell for cell in self._plan.whole.values() if Kind.LATENCY in cell.kinds]
        machines = [self._rules.machine(count) for count in self._threads]
        in_turns = "" if self._plan.options.no_turns or not self._rules.drift else self._rules.machine(1)
        return gate.timed_ones([self._rules.accepted(cell) for cell in timed], machines, in_turns)

    def at_even_share(self, result: CellResult, output: str = "") -> Judgement:
        """Judge a score at the even share; it has a p-value where its predictions changed.

        Args:
            output: a further output; empty for the main one.
        """
        cell = result.cell
        if (cell.id, output) not in self._at_even_share:
            if result.failure is not None:
                subject, accepted = self._rules.subject(cell), self._rules.accepted(cell)
                judged = gate.failed(subject, Kind.ACCURACY, result.failure, accepted)
            else:
                judged = self.scored(result, output).judge(self.even().share)
            self._at_even_share[cell.id, output] = judged
        return self._at_even_share[cell.id, output]

    def suspicious(self, result: CellResult) -> bool:
        """Whether any output of a cell that trained anew looks worse: at an unadjusted p-value of 5 %."""
        if result.failure is not None or not result.cell.variant.trained or self._rules.train:
            return False
        p_value = self.least_p_value(result)
        return p_value is not None and p_value <= gate.SUSPICIOUS and not self.scored(result).repeated

    def least_p_value(self, result: CellResult) -> float | None:
        """The smallest p-value of the scores of a cell's outputs; None where chance has moved none."""
        judged = [self.at_even_share(result, output).p_value for output in outputs_of(result.cell)]
        return min((p_value for p_value in judged if p_value is not None), default=None)

    def forget(self, cell_id: CellId) -> None:
        """Judge a cell anew, as its seeds are others."""
        self._at_even_share = {key: judged for key, judged in self._at_even_share.items() if key[0] != cell_id}
        self._scored = {key: scored for key, scored in self._scored.items() if key[0] != cell_id}
        self._outputs_at_even_share = {
            key: judged for key, judged in self._outputs_at_even_share.items() if key[0] != cell_id
        }

    def outputs_at_even_share(self, result: CellResult, output: str = "") -> Judgement | None:
        """How the values of an output are judged if chance has moved all judgements; its controls have to be computed.

        Args:
            output: a further output; empty for the main one.
        """
        key = result.cell.id, output
        if key not in self._outputs_at_even_share:
            compared = self.compared(result, output)
            self._outputs_at_even_share[key] = compared.judge(self.even().share) if compared else None
        return self._outputs_at_even_share[key]

    def p_values(self, result: CellResult) -> dict[str, float]:
        """The p-values of a cell that share the budget: of its scores and its outputs, where chance has moved them."""
        found: dict[str, Judgement | None] = {}
        for output in outputs_of(result.cell):
            found[of_output(result.cell.id, output)] = self.at_even_share(result, output)
            found[of_outputs(result.cell.id, output)] = self.outputs_at_even_share(result, output)
        return {
            name: judged.p_value for name, judged in found.items() if judged is not None and judged.p_value is not None
        }

    def settle(self, results: Collection[CellResult], unfinished: int = 0) -> None:
        """Fix what each score is red at, and judge the cells of each model together.

        Args:
            results: of all cells whose score is judged.
            unfinished: number of unfinished cells of a stopped run; each counts as changed.
        """
        moved = [
            (result, output)
            for result in results
            for output in outputs_of(result.cell)
            if self.at_even_share(result, output).p_value is not None
        ]
        tested = [test for one in moved for test in self.scored(*one).hypotheses(self.at_even_share(*one))]
        distances = {
            of_outputs(result.cell.id, output): self.outputs_at_even_share(result, output)
            for result in results
            for output in outputs_of(result.cell)
        }
        tested += [
            gate.Hypothesis(name, judged.p_value)
            for name, judged in distances.items()
            if judged is not None and judged.p_value is not None
        ]
        if self._plan.is_part:
            self._thresholds = gate.even_thresholds(tested, self.even().share, self._potential)
            return
        pools = pools_of(self.scored(result, output) for result, output in moved)
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

    def holm_threshold(self, name: str) -> float:
        """Return the p-value below which changed predictions, or outputs (:func:`of_outputs`), are red.

        Call :meth:`settle` first.
        """
        return self.thresholds.of(name)

    def compared(self, result: CellResult, output: str = "") -> Compared | None:
        """The values of an output of a finished cell, as they are judged; None where no baseline can tell of them.

        Args:
            output: a further output; empty for the main one.
        """
        cell, first = result.cell, result.first
        lost = result.failure is not None or first is None or any(outcome.nonfinite for outcome in result.outcomes)
        if lost or first is None or self._rules.train:
            return None
        by_rules = self._rules.of_output(cell, output)
        accepted = by_rules.baseline.cell(cell.variant.name)
        if not output and accepted is not None and gate.of_all_outputs(accepted.measurements, result.measurements):
            return None  # told among what is not recorded
        return Compared(
            by_rules.subject,
            by_rules.model.metric,
            by_rules.baseline,
            result.measurements.get(of_output(OUTPUT_DISTANCE, output)),
            predicted(first, output),
            result.to_store.get(output),
            cell.variant.trained,
            self._rules.strict_change,
        )

    def scored(self, result: CellResult, output: str = "") -> Scored:
        """Return the score of a finished cell with everything that its judge needs.

        Args:
            output: a further output; empty for the main one.
        """
        cell, first = result.cell, result.outcomes[0]
        if (cell.id, output) not in self._scored:
            predictions, by_rules = predicted(first, output), self._rules.of_output(cell, output)
            assert predictions is not None
            self._scored[cell.id, output] = Scored(
                by_rules.subject,
                by_rules.model,
                by_rules.baseline,
                gate.Answers(
                    result.measurements.get(of_output("score", output)),
                    predictions,
                    sum(outcome.nonfinite for outcome in result.outcomes),
                ),
                seeds=len(cell.seeds) if cell.variant.trained else 0,
                retrained=self._rules.train,
                artifact_sha256=first.artifact_sha256,
                reference_sha256=None if output else result.reference_sha256,
                sources=first.sources,
                ask=partial(flipped.on_reference_kernels, first.artifact, by_rules.model) if first.artifact else None,
                trained_sha256=first.trained_sha256,
                family=cell.variant.family,
            )
        return self._scored[cell.id, output]
