"""What the judges say of a run's cells: each kind of each cell is judged once, as soon as what it needs is computed."""

from quantbench import gate
from quantbench.core import environment
from quantbench.engine import measurements
from quantbench.engine.cell import CellId, Planned, failure_of
from quantbench.engine.context import Running
from quantbench.engine.exclusive import Alone
from quantbench.engine.false_alarms import Budget
from quantbench.engine.interim_report import Recording
from quantbench.engine.plan import ALONE
from quantbench.engine.results import Known
from quantbench.engine.workers.task import Outcome
from quantbench.errors import DiskFull, disk_is_full
from quantbench.measure import memory
from quantbench.records import Judgement, Kind


class Judging:
    """Judges the cells of one run."""

    def __init__(self, running: Running, known: Known, budget: Budget, alone: Alone, recording: Recording) -> None:
        self._running = running
        self._known = known
        self._budget = budget
        self._alone = alone
        self._recording = recording

    def judge(self, cell_id: CellId, kind: Kind) -> list[Judgement]:
        """The judgements of one kind on one cell; waits for the cell, and is worked out once.

        Raises:
            DiskFull: nothing more can be stored or reported.
        """
        try:
            return self._judged(cell_id, kind)
        except OSError as error:
            if disk_is_full(error):
                raise DiskFull(self._running.computing.where_full()) from error
            raise

    def judge_computed(self) -> None:
        """What of a run that was stopped can be judged without measuring more."""
        for cell in self._running.plan.cells.values():
            if self._running.plan.computed(cell):
                for kind in cell.kinds - ALONE:
                    self.judge(cell.id, kind)

    def account_for_everything(self) -> None:
        """In a whole run, what was asked for and never judged (its test failed before) is an error, not an absence."""
        for cell in self._running.plan.cells.values():
            known = self._known.judgements.setdefault(cell.id, {})
            for kind in cell.kinds - set(known):
                known[kind] = [gate.never_judged(self._running.subject(cell), kind)]

    def _judged(self, cell_id: CellId, kind: Kind) -> list[Judgement]:
        known = self._known.judgements.setdefault(cell_id, {})
        if kind not in known:
            cell = self._running.plan.cells[cell_id]
            judged = gate.excused(
                self._running.subject(cell),
                self._judge(cell, kind),
                self._running.accepted(cell),
                environment.today(),
                kind is _first(cell.kinds),
            )
            # A control that was brought along is shown, and never called missing.
            expected = self._running.drift and cell.selected
            known[kind] = judged if expected else [gate.without_baseline(judgement) for judgement in judged]
            self._recording.save_now_and_then()
        return known[kind]

    def _judge(self, cell: Planned, kind: Kind) -> list[Judgement]:
        outcomes = self._running.outcomes(cell.id)
        failed = failure_of(outcomes)
        if failed is not None:
            return [gate.failed(self._running.subject(cell), kind, failed, self._running.accepted(cell))]
        first = outcomes[0]
        match kind:
            case Kind.ACCURACY:
                return self._accuracy(cell, outcomes)
            case Kind.STRUCTURE:
                return self._structure(cell, outcomes)
            case Kind.SIZE:
                return self._size(cell, first)
            case Kind.MEMORY:
                return self._memory(cell, first)
            case Kind.GPU:
                return [self._alone.gpu(cell, first)]
            case Kind.LATENCY:
                assert first.artifact is not None
                return self._alone.latency(cell, first.artifact)

    def _structure(self, cell: Planned, outcomes: list[Outcome]) -> list[Judgement]:
        censuses = [outcome.contents.census for outcome in outcomes if outcome.contents is not None]
        trained = cell.variant.trained or self._running.options.train
        subject, accepted = self._running.subject(cell), self._running.accepted(cell)
        return gate.structure(subject, censuses, cell.variant.promise, accepted, trained)

    def _size(self, cell: Planned, first: Outcome) -> list[Judgement]:
        found, accepted = self._known.measurements(cell), self._running.accepted(cell)
        return gate.sizes(self._running.subject(cell), found, accepted, first.artifact_sha256)

    def _memory(self, cell: Planned, first: Outcome) -> list[Judgement]:
        self._running.float_control(cell)
        taken = first.memory or memory.Memory(failure="no process was started")
        found, accepted = self._known.measurements(cell), self._running.accepted(cell)
        here = self._running.environment
        ratio = accepted.measurements.get("memory_ratio") if accepted else None
        other_kernels = ratio is not None and environment.isa_accepted(ratio.accepted) not in ("", here.isa)
        subject, machine = self._running.subject(cell), environment.memory_class(here)
        return gate.memory(subject, found, taken.failure, taken.no_arena, accepted, machine, other_kernels)

    # ------------------------------------------------------------ accuracy

    def _accuracy(self, cell: Planned, outcomes: list[Outcome]) -> list[Judgement]:
        judgements = [self._score(cell), *self._agreements(cell, outcomes), *self._against_control(cell)]
        drifted = gate.drift(
            self._running.subject(cell),
            cell.model.metric,
            None if self._running.options.train else self._known.measurements(cell).get("score"),
            self._running.accepted(cell),
            cell.model.floor(cell.variant.name, cell.variant.family),
        )
        return judgements + ([drifted] if drifted else [])

    def _score(self, cell: Planned) -> Judgement:
        """Drift of the score against the baseline."""
        scored = self._budget.scored(cell)
        judged = scored.judge(self._budget.even().share)
        if judged.p_value is not None:  # chance has moved it, so that it shares the budget with others
            judged = scored.judge(self._budget.red_at()[cell.id])
        return scored.with_origin(judged)

    def _agreements(self, cell: Planned, outcomes: list[Outcome]) -> list[Judgement]:
        """Whether the artifact answers as the float model, as before its conversion, as on the reference kernels."""
        subject, found = self._running.subject(cell), self._known.measurements(cell)
        judgements = []
        if "float_agreement" in found:
            judgements.append(gate.agreement(found["float_agreement"]))
        if "conversion_agreement" in found:
            parting = next((outcome.parting for outcome in outcomes if outcome.parting), "")
            with_control = measurements.control_agreement(cell.model.metric, outcomes[0], self._known.control(cell))
            judgements.append(gate.conversion(found["conversion_agreement"], parting, with_control))
        if "reference_agreement" in found:
            accepted = self._running.accepted(cell)
            judgements.append(gate.reference_kernels(subject, found["reference_agreement"], accepted))
        return judgements

    def _against_control(self, cell: Planned) -> list[Judgement]:
        """The floor, and whether both were trained equally long; waits for the control."""
        control = self._running.plan.control_of(cell)
        if control is None:
            return []
        found = self._known.measurements(cell)
        self._running.outcomes(control.id)
        of_control = self._known.measurements(control)
        limit = cell.model.floor(cell.variant.name, cell.variant.family)
        floor = gate.floor(cell.model.metric, found.get("score"), of_control.get("score"), limit)
        judgements = [floor] if floor else []
        if "training_steps" in found and "training_steps" in of_control:
            judgements.append(gate.as_long(found["training_steps"], of_control["training_steps"]))
        return judgements


def _first(kinds: set[Kind]) -> Kind:
    return next(kind for kind in Kind if kind in kinds)
