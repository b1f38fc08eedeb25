"""Drive one run: compute what a judgement needs, settle scores that share the budget, judge, save.

The caller (pytest's hooks or :meth:`quantbench.engine.session.Session.judge_all`) asks for one kind of one cell at a
time; everything that stops a run early is handled in :func:`until_stopped` alone.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

from quantbench.core.signals import interruptible
from quantbench.engine.cell import CellId, Planned, failure_of
from quantbench.engine.false_alarms import Budget
from quantbench.engine.finish import HowEnded
from quantbench.engine.judging import Judging
from quantbench.engine.plan import ALONE, Plan
from quantbench.engine.results import CellResult, Judgements, Results
from quantbench.engine.workers.task import Outcome
from quantbench.errors import DiskFull, disk_is_full
from quantbench.records import Judgement, Kind

# Judged from the artifact alone: these need no control.
_BY_ITSELF = frozenset({Kind.SIZE, Kind.STRUCTURE})


class Computes(Protocol):
    """Declare the part of :class:`quantbench.engine.scheduler.Computing` that the loop uses.

    Attributes:
        partial: whether the run was stopped, so that only finished cells count.
    """

    partial: bool

    def wait(self, cells: Collection[Planned]) -> None:
        """Wait until these cells are computed."""

    def computed(self, cell: Planned) -> bool:
        """Return whether a cell and its controls are computed."""

    def finish(self) -> None:
        """Wait for all cells and release the workers."""

    def reseed(self, cell: Planned) -> None:
        """Compute a cell with the seeds that it is planned with now."""

    def train_beside(self, cell: Planned, seeds: Collection[int]) -> None:
        """Compute further seeds of a control, for the limits of its variants alone; :meth:`wait` waits for them too."""

    def beside(self, cell_id: CellId) -> Sequence[Outcome]:
        """Return the computed outcomes of those further seeds."""

    def stop(self) -> None:
        """Cancel everything unfinished."""

    def where_full(self) -> str:
        """Return what to do about a full disk."""


class MeasuresAlone(Protocol):
    """Declare the part of :class:`quantbench.engine.exclusive.Alone` that the loop uses."""

    def judge(self, kind: Kind, result: CellResult) -> list[Judgement]:
        """Measure a cell while none of our other processes run, and judge the measurements."""


class Drive:
    """Drive one run step by step.

    Args:
        judgements: collects the judgements.
        has_gpu: whether this run measures on a GPU.
        saved: called after each step.
        told: called with each cell, once all of it is judged but what is measured alone.
        seeds_on_suspicion: of a trained cell whose score looks worse, or whose release limit is undecided.

    Attributes:
        notes: which cells were trained with more seeds than was asked for, and why.
    """

    def __init__(
        self,
        plan: Plan,
        computing: Computes,
        results: Results,
        budget: Budget,
        judging: Judging,
        alone: MeasuresAlone,
        judgements: Judgements,
        has_gpu: bool,
        saved: Callable[[], None],
        seeds_on_suspicion: int = 1,
        told: Callable[[CellId], None] = lambda _: None,
    ) -> None:
        self.notes: list[str] = []
        self._seeds_on_suspicion = seeds_on_suspicion
        self._reseeded: dict[CellId, int] = {}
        self._plan = plan
        self._computing = computing
        self._results = results
        self._budget = budget
        self._judging = judging
        self._alone = alone
        self._judgements = judgements
        self._has_gpu = has_gpu
        self._saved = saved
        self._told = told

    def judge(self, cell_id: CellId, kind: Kind) -> list[Judgement]:
        """Return the judgements of one kind for one cell; computed once.

        Raises:
            KeyboardInterrupt: a signal was received.
            DiskFull: no space is left for the store or the report.
        """
        judged = self._judgements.setdefault(cell_id, {})
        if kind not in judged:
            cell = self._plan.cells[cell_id]
            self.prepare(cell_id, kind)
            with _full_disk_named(self._computing):
                judged[kind] = self._judging.with_exceptions(cell, kind, self._judge(cell, kind))
                self._saved()
            due = cell.kinds - ALONE or cell.kinds
            if kind in due and not due - set(judged):
                self._told(cell_id)
        return judged[kind]

    def _judge(self, cell: Planned, kind: Kind) -> list[Judgement]:
        result = self._results.of(cell.id)
        if kind in ALONE and result.failure is None:
            return self._alone.judge(kind, result)
        if result.failure is not None:
            return self._judging.failed(kind, result)
        return self._judging.judge(kind, result, self._control(cell))

    def _control(self, cell: Planned) -> CellResult | None:
        """Return the result of a cell's control, with the seeds that were trained beside its own."""
        if cell.control is None:
            return None
        control, beside = self._results.of(cell.control), tuple(self._computing.beside(cell.control))
        return replace(control, beside=beside) if beside else control

    def prepare(self, cell_id: CellId, kind: Kind) -> None:
        """Wait for everything that one judgement needs, so that judging itself does not wait.

        Raises:
            KeyboardInterrupt: a signal was received.
            DiskFull: no space is left for the store.
        """
        if kind in self._judgements.get(cell_id, {}):
            return
        with _full_disk_named(self._computing):
            self._compute(self._plan.cells[cell_id], kind)

    def _compute(self, cell: Planned, kind: Kind) -> None:
        self._computing.wait([cell])
        if kind in _BY_ITSELF or self._results.of(cell.id).failure is not None:
            return
        self._computing.wait([self._plan.cells[name] for name in sorted(cell.needs)])
        # What is measured alone comes after all seeds, and settling may ask for more of them.
        result = self._results.of(cell.id)
        shares = kind is Kind.ACCURACY and (bool(self._budget.p_values(result)) or self._limit_undecided(cell))
        if shares or kind is Kind.LATENCY:
            self._settle()
        if kind in (Kind.LATENCY, Kind.INSTRUCTIONS, Kind.TARGET) or (kind is Kind.GPU and self._has_gpu):
            self._computing.finish()

    def _settle(self) -> None:
        """Set the Holm threshold of each score whose predictions changed; needs all scores of the run."""
        if self._budget.settled:
            return
        cells, unfinished = self._plan.asked_for(Kind.ACCURACY), 0
        if self._computing.partial:
            cells = [cell for cell in cells if self._computing.computed(cell)]
            unfinished = len(self._plan.cells) - len(cells)
        self._computing.wait(cells)
        if not self._computing.partial:
            self._train_more(cells)
        self._budget.settle([self._results.of(cell.id) for cell in cells], unfinished)

    def _train_more(self, cells: Collection[Planned]) -> None:
        """Train more seeds of each cell that looks worse or does not decide its limit, before any of them is judged.

        A cell is then red by the mean of all its seeds alone, so looking twice adds no false alarm. A limit is judged
        by pairs of one seed, and so a control that is trained gets the same seeds, for this alone: its own score is
        judged by what was asked for, whichever of its variants are in the same shard.
        """
        few = [cell for cell in cells if len(cell.seeds) < self._seeds_on_suspicion]
        suspects = {cell.id: cell for cell in few if self._budget.suspicious(self._results.of(cell.id))}
        undecided = {cell.id: cell for cell in few if self._limit_undecided(cell)}
        for cell in [cell for cell in few if cell.id in suspects or cell.id in undecided]:
            self.notes.append(
                f"{cell.id}: {self._why_more(cell, cell.id in suspects)}, so it was trained with "
                f"{self._seeds_on_suspicion} seeds instead of {len(cell.seeds)}"
            )
        suspects |= undecided
        controls = {cell.control for cell in undecided.values() if cell.control is not None}
        self._train_again(suspects.values(), [self._plan.cells[name] for name in sorted(controls)])

    def _why_more(self, cell: Planned, suspicious: bool) -> str:
        if suspicious:
            p_value = self._budget.least_p_value(self._results.of(cell.id))
            return f"its score looked worse (p = {p_value:.2g})"
        of_control = "" if cell.control is None else f" below {cell.control}"
        return f"its drop{of_control} may exceed the release limit"

    def _limit_undecided(self, cell: Planned) -> bool:
        if cell.control is None or not cell.variant.trained or len(cell.seeds) >= self._seeds_on_suspicion:
            return False
        return self._judging.limit_undecided(self._results.of(cell.id), self._results.of(cell.control))

    def _train_again(self, suspects: Collection[Planned], controls: Collection[Planned]) -> None:
        """Train these cells with more seeds; where that fails, the seeds that were asked for count."""
        for cell in suspects:
            self._reseeded[cell.id] = len(cell.seeds)
            self._reseed(cell.id, self._seeds_on_suspicion)
        for control in controls:
            if control.variant.trained:
                own = len(self._plan.cells[control.id].seeds)
                self._computing.train_beside(control, range(own, self._seeds_on_suspicion))
        self._computing.wait([self._plan.cells[cell.id] for cell in [*suspects, *controls]])
        for cell in suspects:
            failure = self._results.of(cell.id).failure
            if failure is not None:  # the seed that was asked for is there
                self._reseed(cell.id, len(cell.seeds))
                self.notes.append(f"{cell.id}: further seeds could not be trained here: {failure.reason}")
        for control in controls:
            failure = failure_of(self._computing.beside(control.id))
            if failure is not None:
                self.notes.append(f"{control.id}: further seeds could not be trained here: {failure.reason}")

    def _reseed(self, cell_id: CellId, seeds: int) -> None:
        self._computing.reseed(self._plan.reseed(cell_id, seeds))
        self._results.forget(cell_id)
        self._budget.forget(cell_id)

    def _without_unfinished_seeds(self) -> None:
        """In a run that was stopped, what was asked for counts."""
        for cell_id, seeds in self._reseeded.items():
            cell = self._plan.cells[cell_id]
            if len(cell.seeds) > seeds and not self._computing.computed(cell):
                self._reseed(cell_id, seeds)

    def judge_the_rest(self) -> None:
        """Judge controls that were added to the selection, so that a broken one is noticed; wait for all computation.

        Raises:
            KeyboardInterrupt: a signal was received.
            DiskFull: no space is left for the store or the report.
        """
        for cell in self._plan.cells.values():
            if not cell.selected:
                for kind in cell.kinds:
                    self.judge(cell.id, kind)
        self._computing.wait(self._plan.cells.values())

    def judge_computed(self) -> None:
        """Judge what can be judged in a stopped run without computing or measuring more."""
        for cell in self._plan.cells.values():
            if self._computing.computed(cell):
                for kind in cell.kinds - ALONE:
                    self.judge(cell.id, kind)

    def account_for_everything(self) -> None:
        """Report each expected judgement of a whole run that was never made: its test failed, or is not there."""
        for cell in self._plan.cells.values():
            judged = self._judgements.setdefault(cell.id, {})
            for kind in cell.kinds - set(judged):
                judged[kind] = self._judging.never_judged(cell, kind, self._plan.has_test(cell, kind))

    def close(self, partial: bool) -> None:
        """Judge what remains, and release the workers.

        Args:
            partial: whether only finished cells count.
        """
        self._computing.partial = partial
        if partial:
            self._without_unfinished_seeds()
            self.judge_computed()
            self._computing.stop()
        else:
            self.account_for_everything()
        self._computing.finish()
        self._budget.close()


@contextmanager
def _full_disk_named(computing: Computes) -> Iterator[None]:
    """Turn any full disk into the error that names the folder short of space."""
    try:
        yield
    except OSError as error:
        if disk_is_full(error):
            raise DiskFull(computing.where_full()) from error
        raise


def until_stopped(work: Callable[[], None], how: HowEnded | None = None) -> HowEnded:
    """Do the work of a run unless it has been stopped already, and return what stopped it, if anything.

    Args:
        how: what stopped it already.
    """
    how = how or HowEnded()
    if how.partial:
        return how
    try:
        with interruptible():
            work()
    except KeyboardInterrupt:
        return replace(how, interrupted=True)
    except DiskFull as error:
        return replace(how, disk_full=True, where_full=str(error))
    return how
