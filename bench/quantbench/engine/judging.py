"""Judge a cell's result. Nothing here computes, waits, measures or writes."""

import datetime
from functools import partial

from quantbench import gate
from quantbench.core import environment
from quantbench.engine.cell import Planned
from quantbench.engine.context import OfOutput, Rules
from quantbench.engine.false_alarms import Budget, of_outputs, outputs_of
from quantbench.engine.kept import Kept
from quantbench.engine.results import CellResult
from quantbench.measure import memory
from quantbench.records import FLOAT_CONTROL, Judgement, Kind
from quantbench.records.measurements import of_output


class Judging:
    """Judge results by the rules of one run.

    Args:
        today: exceptions that expired before this day no longer apply.
        kept: recalls drops that take long to compute; None where all are computed.
    """

    def __init__(self, rules: Rules, budget: Budget, today: datetime.date, kept: Kept | None = None) -> None:
        self._rules = rules
        self._kept = kept
        self._budget = budget
        self._today = today

    def judge(self, kind: Kind, result: CellResult, control: CellResult | None) -> list[Judgement]:
        """Return the judgements of one kind for a finished cell, except for what is measured exclusively.

        Args:
            control: the cell's reference; None for the float control.
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
            case Kind.INSTRUCTIONS | Kind.MICRO | Kind.GPU | Kind.LATENCY | Kind.TARGET:
                raise ValueError(f"{kind} is judged where it is measured")

    def failed(self, kind: Kind, result: CellResult) -> list[Judgement]:
        """Return the judgement of a cell that could not be built."""
        assert result.failure is not None
        subject, accepted = self._rules.subject(result.cell), self._rules.accepted(result.cell)
        return [gate.failed(subject, kind, result.failure, accepted)]

    def never_judged(self, cell: Planned, kind: Kind, has_test: bool = True) -> list[Judgement]:
        """Return the judgement of a requested kind whose test never asked for it, or was not even collected."""
        return [(gate.never_judged if has_test else gate.not_collected)(self._rules.subject(cell), kind)]

    def with_exceptions(self, cell: Planned, kind: Kind, judgements: list[Judgement]) -> list[Judgement]:
        """Apply the exceptions to the judgements of one kind; an added control never lacks a baseline."""
        first = next(kind_asked for kind_asked in Kind if kind_asked in cell.kinds)
        subject, accepted = self._rules.subject(cell), self._rules.accepted(cell)
        judgements = gate.without_vain_acceptance(judgements)
        judgements = [*judgements, *gate.growths(subject, judgements, accepted, self._rules.machine_of)]
        excused = gate.excused(subject, judgements, accepted, self._today, kind is first)
        if kind is first:
            edited = self._rules.baselines[cell.model.name].edited.get(cell.variant.name, [])
            excused = [*excused, *gate.seal(subject, kind, edited)]
        # A control that was added to the selection is shown, but a missing baseline of it is no finding.
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
        first = result.outcomes[0]
        old, new = accepted.census if accepted else None, first.contents.census if first.contents else None
        gone = gate.disappeared(new, old) if new is not None and old is not None else []
        return gate.sizes(subject, dict(result.measurements), accepted, first.artifact_sha256, gone)

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
        outputs = outputs_of(cell)
        judgements = [
            *(judged for output in outputs for judged in self._score(result, output)),
            *(judged for output in outputs for judged in self._outputs(result, output)),
            *self._agreements(result),
            *self._against_control(result, control),
        ]
        accepted = self._rules.accepted(cell)
        if accepted is not None and not self._rules.train:
            judgements += gate.training(self._rules.subject(cell), result.outcomes[0].training, accepted.training)
        return [*judgements, *(judged for output in outputs for judged in self._over_time(result, output))]

    def _over_time(self, result: CellResult, output: str) -> list[Judgement]:
        """Judge what was accepted in small steps since the first baseline, and a limit that is not the accepted one."""
        cell, of = result.cell, self._rules.of_output(result.cell, output)
        limit = of.model.floor(cell.variant.name, cell.variant.family)
        score = None if self._rules.train else result.measurements.get(of_output("score", output))
        # float32 has no control; it may lose no more than the strictest floor leaves to a variant of it.
        strictest = min(of.model.floors.values(), key=lambda floor: floor.max_drop, default=None)
        allowed = strictest if limit is None and cell.variant.name == FLOAT_CONTROL else limit
        drifted = gate.drift(of.subject, of.model.metric, score, of.accepted, allowed)
        found = [*([drifted] if drifted else []), *gate.floor_moved(of.accepted, limit, of.model.metric.unit)]
        return [gate.of_this_output(judged, output) for judged in found]

    def _score(self, result: CellResult, output: str) -> list[Judgement]:
        """Drift of a score against the baseline, and of its classes, slices and seeds where any of them moved."""
        scored, judged = self._budget.scored(result, output), self._budget.at_even_share(result, output)
        if judged.p_value is None:
            return [scored.with_origin(judged)]
        # Chance has moved it, so that it shares the budget with others.
        judged = scored.judge(self._budget.holm_threshold(of_output(result.cell.id, output)))
        return [scored.with_origin(judged), *scored.judge_parts(self._budget.thresholds)]

    def _outputs(self, result: CellResult, output: str) -> list[Judgement]:
        """Judge the distance of an output from the control's; empty where the baseline has none."""
        judged, compared = self._budget.outputs_at_even_share(result, output), self._budget.compared(result, output)
        if judged is not None and judged.p_value is not None and compared is not None:
            judged = compared.judge(self._budget.holm_threshold(of_outputs(result.cell.id, output)))
        return [judged] if judged is not None else []

    def _agreements(self, result: CellResult) -> list[Judgement]:
        """Judge agreement with the float model, the predictions before conversion, and the reference kernels."""
        measurements, subject = result.measurements, self._rules.subject(result.cell)
        accepted = self._rules.accepted(result.cell)
        judgements = []
        if "float_agreement" in measurements:
            judgements.append(gate.agreement(measurements["float_agreement"]))
        if "conversion_agreement" in measurements:
            first_divergent = next(
                (outcome.first_divergent for outcome in result.outcomes if outcome.first_divergent), ""
            )
            conversion = measurements["conversion_agreement"]
            before = accepted.conversion_agreement if accepted else None
            judgements.append(gate.conversion(conversion, first_divergent, result.control_agreement, before))
        if "reference_agreement" in measurements:
            judgements.append(gate.reference_kernels(subject, measurements["reference_agreement"], accepted))
        return judgements

    def _against_control(self, result: CellResult, control: CellResult | None) -> list[Judgement]:
        """Judge the floor, and whether both were trained for equally many steps."""
        if control is None:
            return []
        own, other = result.measurements, control.measurements
        floors = [self._floor(result, control, output)[0] for output in outputs_of(result.cell)]
        judgements = [floor for floor in floors if floor is not None]
        if "training_steps" in own and "training_steps" in other:
            judgements.append(gate.as_long(own["training_steps"], other["training_steps"]))
        return judgements

    def limit_undecided(self, result: CellResult, control: CellResult | None) -> bool:
        """Whether more seeds of a cell, and of its control, could decide a release limit inside its interval.

        Where the training repeated, the limit is where it was when the cell was accepted, so nothing is asked.
        """
        known = control is not None and result.finished and control.finished
        if not known or control is None or result.failure is not None or control.failure is not None:
            return False
        if not result.cell.variant.trained or not self._rules.drift or self._budget.scored(result).repeated:
            return False
        judged = [self._floor(result, control, output) for output in outputs_of(result.cell)]
        return any(
            floor is not None and seen is not None and gate.wants_more_seeds(floor, seen) for floor, seen in judged
        )

    def _floor(
        self, result: CellResult, control: CellResult, output: str
    ) -> tuple[Judgement | None, gate.DropSeen | None]:
        """Judge the drop of an output from the control against its limit; return what it was judged by too."""
        cell, of = result.cell, self._rules.of_output(result.cell, output)
        limit = of.model.floor(cell.variant.name, cell.variant.family)
        seen = self._drop_seen(result, control, of) if limit else None
        name = of_output("score", output)
        scores = (result.measurements.get(name), control.measurements.get(name))
        judged = gate.floor(of.subject, of.model.metric, *scores, limit, seen, self._budget.limit_alpha())
        return None if judged is None else gate.of_this_output(judged, output), seen

    def _drop_seen(self, result: CellResult, control: CellResult, of: OfOutput) -> gate.DropSeen | None:
        """Compare an output of a cell with that of its control, seed by seed where both were trained.

        A seed that only one of them has does not count: its pairs would leave the control's own spread out.
        """
        metric, variant, output = of.model.metric, result.cell.variant, of.subject.output
        spread = of.baseline.spread_of_drops(metric, variant.name)
        labels = of.model.pack().test.y
        own, other = result.predictions(output), control.predictions(output)
        if control.cell.variant.trained:
            own = {seed: predictions for seed, predictions in own.items() if seed in other}
        seen = partial(gate.drop_seen, metric, labels, own, other, variant.trained, spread)
        if self._kept is None:
            return seen()
        facts = {
            "output": output,
            "trained": variant.trained,
            "spread": None if spread is None else [spread.sd, spread.degrees],
        }
        return self._kept.drop_seen(of.model, {"own": own, "control": other}, facts, seen)
