"""What the judges say of a cell's result. Nothing here computes, waits, measures or writes."""

import datetime

from quantbench import gate
from quantbench.core import environment
from quantbench.engine.cell import Planned
from quantbench.engine.context import Rules
from quantbench.engine.false_alarms import Budget, of_outputs
from quantbench.engine.results import CellResult
from quantbench.measure import memory
from quantbench.records import Judgement, Kind


class Judging:
    """Judges results by the rules of one run.

    Args:
        today: exceptions whose last day is before it are over.
    """

    def __init__(self, rules: Rules, budget: Budget, today: datetime.date) -> None:
        self._rules = rules
        self._budget = budget
        self._today = today

    def judge(self, kind: Kind, result: CellResult, control: CellResult | None) -> list[Judgement]:
        """The judgements of one kind on a finished cell, but of what is measured alone.

        Args:
            control: what the cell is compared with; None of the float control.
        """
        if result.failure is not None:
            return self.failed(kind, result)
        match kind:
            case Kind.ACCURACY:
                return self._accuracy(result, control)
            case Kind.STRUCTURE:
                return self._structure(result)
            case Kind.SIZE:
                return self._size(result)
            case Kind.MEMORY:
                return self._memory(result)
            case Kind.GPU | Kind.LATENCY:
                raise ValueError(f"{kind} is judged where it is measured")

    def failed(self, kind: Kind, result: CellResult) -> list[Judgement]:
        """That of a cell that could not be made."""
        assert result.failure is not None
        subject, accepted = self._rules.subject(result.cell), self._rules.accepted(result.cell)
        return [gate.failed(subject, kind, result.failure, accepted)]

    def never_judged(self, cell: Planned, kind: Kind) -> list[Judgement]:
        """That of what was asked for, and whose test never got to ask for it."""
        return [gate.never_judged(self._rules.subject(cell), kind)]

    def with_exceptions(self, cell: Planned, kind: Kind, judgements: list[Judgement]) -> list[Judgement]:
        """The judgements of one kind, with what is expected to fail excused, and nothing missing of a control."""
        first = next(one for one in Kind if one in cell.kinds)
        excused = gate.excused(
            self._rules.subject(cell), judgements, self._rules.accepted(cell), self._today, kind is first
        )
        # A control that was brought along is shown, and never called missing.
        expected = self._rules.drift and cell.selected
        return excused if expected else [gate.without_baseline(judgement) for judgement in excused]

    def _structure(self, result: CellResult) -> list[Judgement]:
        censuses = [outcome.contents.census for outcome in result.outcomes if outcome.contents is not None]
        cell = result.cell
        trained = cell.variant.trained or self._rules.train
        subject, accepted = self._rules.subject(cell), self._rules.accepted(cell)
        return gate.structure(subject, censuses, cell.variant.promise, accepted, trained)

    def _size(self, result: CellResult) -> list[Judgement]:
        subject, accepted = self._rules.subject(result.cell), self._rules.accepted(result.cell)
        return gate.sizes(subject, dict(result.measurements), accepted, result.outcomes[0].artifact_sha256)

    def _memory(self, result: CellResult) -> list[Judgement]:
        taken = result.outcomes[0].memory or memory.Memory(failure="no process was started")
        accepted, here = self._rules.accepted(result.cell), self._rules.environment
        ratio = accepted.measurements.get("memory_ratio") if accepted else None
        other_kernels = ratio is not None and environment.isa_accepted(ratio.accepted) not in ("", here.isa)
        subject, machine = self._rules.subject(result.cell), environment.memory_class(here)
        measurements = dict(result.measurements)
        return gate.memory(subject, measurements, taken.failure, taken.no_arena, accepted, machine, other_kernels)

    # ------------------------------------------------------------ accuracy

    def _accuracy(self, result: CellResult, control: CellResult | None) -> list[Judgement]:
        cell = result.cell
        judgements = [
            self._score(result),
            *self._outputs(result),
            *self._agreements(result),
            *self._against_control(result, control),
        ]
        drifted = gate.drift(
            self._rules.subject(cell),
            cell.model.metric,
            None if self._rules.train else result.measurements.get("score"),
            self._rules.accepted(cell),
            cell.model.floor(cell.variant.name, cell.variant.family),
        )
        return judgements + ([drifted] if drifted else [])

    def _score(self, result: CellResult) -> Judgement:
        """Drift of the score against the baseline."""
        scored, judged = self._budget.scored(result), self._budget.at_even_share(result)
        if judged.p_value is not None:  # chance has moved it, so that it shares the budget with others
            judged = scored.judge(self._budget.red_at(result.cell.id))
        return scored.with_origin(judged)

    def _outputs(self, result: CellResult) -> list[Judgement]:
        """How far the outputs lie from the control's, against the accepted distance; empty where none was accepted."""
        judged, compared = self._budget.outputs_at_even_share(result), self._budget.compared(result)
        if judged is not None and judged.p_value is not None and compared is not None:
            judged = compared.judge(self._budget.red_at(of_outputs(result.cell.id)))
        return [judged] if judged is not None else []

    def _agreements(self, result: CellResult) -> list[Judgement]:
        """Whether the artifact answers as the float model, as before its conversion, as on the reference kernels."""
        measurements, subject = result.measurements, self._rules.subject(result.cell)
        judgements = []
        if "float_agreement" in measurements:
            judgements.append(gate.agreement(measurements["float_agreement"]))
        if "conversion_agreement" in measurements:
            parting = next((outcome.parting for outcome in result.outcomes if outcome.parting), "")
            conversion = measurements["conversion_agreement"]
            judgements.append(gate.conversion(conversion, parting, result.control_agreement))
        if "reference_agreement" in measurements:
            accepted = self._rules.accepted(result.cell)
            judgements.append(gate.reference_kernels(subject, measurements["reference_agreement"], accepted))
        return judgements

    @staticmethod
    def _against_control(result: CellResult, control: CellResult | None) -> list[Judgement]:
        """The floor, and whether both were trained equally long."""
        if control is None:
            return []
        cell, own, other = result.cell, result.measurements, control.measurements
        limit = cell.model.floor(cell.variant.name, cell.variant.family)
        floor = gate.floor(cell.model.metric, own.get("score"), other.get("score"), limit)
        judgements = [floor] if floor else []
        if "training_steps" in own and "training_steps" in other:
            judgements.append(gate.as_long(own["training_steps"], other["training_steps"]))
        return judgements
