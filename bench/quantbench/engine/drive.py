"""The one loop of a run: compute what a judgement needs, settle what shares the budget, judge, save.

Whoever drives it, pytest's hooks or :meth:`quantbench.engine.session.Session.judge_all`, asks for one kind of one cell
at a time; what keeps a run from its end is met in :func:`until_stopped` alone.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

from quantbench.core.signals import interruptible
from quantbench.engine.cell import CellId, Planned
from quantbench.engine.false_alarms import Budget
from quantbench.engine.finish import HowEnded
from quantbench.engine.judging import Judging
from quantbench.engine.plan import ALONE, Plan
from quantbench.engine.results import CellResult, Judgements, Results
from quantbench.errors import DiskFull, disk_is_full
from quantbench.records import Judgement, Kind

# Judged by the artifact alone: nothing waits for a control.
_BY_ITSELF = frozenset({Kind.SIZE, Kind.STRUCTURE})


class Computes(Protocol):
    """The part of :class:`quantbench.engine.scheduler.Computing` that the loop uses.

    Attributes:
        partial: the run was stopped, and only what is finished counts.
    """

    partial: bool

    def wait(self, cells: Collection[Planned]) -> None:
        """Until these are computed."""

    def computed(self, cell: Planned) -> bool:
        """Whether a cell and its controls are."""

    def finish(self) -> None:
        """Wait for everything and release the workers."""

    def stop(self) -> None:
        """Give up what is not finished."""

    def where_full(self) -> str:
        """What to do about a full disk."""


class MeasuresAlone(Protocol):
    """The part of :class:`quantbench.engine.exclusive.Alone` that the loop uses."""

    def judge(self, kind: Kind, result: CellResult) -> list[Judgement]:
        """Measure a cell while nothing else of ours runs, and judge what came of it."""


class Drive:
    """Takes one run from step to step.

    Args:
        judgements: takes what is judged.
        has_gpu: this run measures on a GPU.
        saved: called after each step.
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
    ) -> None:
        self._plan = plan
        self._computing = computing
        self._results = results
        self._budget = budget
        self._judging = judging
        self._alone = alone
        self._judgements = judgements
        self._has_gpu = has_gpu
        self._saved = saved

    def judge(self, cell_id: CellId, kind: Kind) -> list[Judgement]:
        """The judgements of one kind on one cell; worked out once.

        Raises:
            KeyboardInterrupt: a signal came.
            DiskFull: nothing more can be stored or reported.
        """
        judged = self._judgements.setdefault(cell_id, {})
        if kind not in judged:
            cell = self._plan.cells[cell_id]
            self.prepare(cell_id, kind)
            with _full_disk_named(self._computing):
                judged[kind] = self._judging.with_exceptions(cell, kind, self._judge(cell, kind))
                self._saved()
        return judged[kind]

    def _judge(self, cell: Planned, kind: Kind) -> list[Judgement]:
        result = self._results.of(cell.id)
        if kind in ALONE and result.failure is None:
            return self._alone.judge(kind, result)
        if result.failure is not None:
            return self._judging.failed(kind, result)
        return self._judging.judge(kind, result, self._results.of(cell.control) if cell.control else None)

    def prepare(self, cell_id: CellId, kind: Kind) -> None:
        """Wait for all that one judgement needs, so that judging waits for nothing.

        Raises:
            KeyboardInterrupt: a signal came.
            DiskFull: nothing more can be stored.
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
        if kind is Kind.LATENCY or (kind is Kind.GPU and self._has_gpu):
            self._computing.finish()
        # Latency shares the budget with the scores that chance has moved, so by then all of them have to be known.
        shares = kind is Kind.ACCURACY and bool(self._budget.shared_by(self._results.of(cell.id)))
        if shares or kind is Kind.LATENCY:
            self._settle()

    def _settle(self) -> None:
        """Fix what each score that chance has moved is red at, which takes all scores of the run."""
        if self._budget.settled:
            return
        cells, unfinished = self._plan.asked_for(Kind.ACCURACY), 0
        if self._computing.partial:
            cells = [cell for cell in cells if self._computing.computed(cell)]
            unfinished = len(self._plan.cells) - len(cells)
        self._computing.wait(cells)
        self._budget.settle([self._results.of(cell.id) for cell in cells], unfinished)

    def judge_the_rest(self) -> None:
        """Controls that a selection brought along, so that a sick one is seen; and wait for all that is computed.

        Raises:
            KeyboardInterrupt: a signal came.
            DiskFull: nothing more can be stored or reported.
        """
        for cell in self._plan.cells.values():
            if not cell.selected:
                for kind in cell.kinds:
                    self.judge(cell.id, kind)
        self._computing.wait(self._plan.cells.values())

    def judge_computed(self) -> None:
        """What of a run that was stopped can be judged without computing or measuring more."""
        for cell in self._plan.cells.values():
            if self._computing.computed(cell):
                for kind in cell.kinds - ALONE:
                    self.judge(cell.id, kind)

    def account_for_everything(self) -> None:
        """In a whole run, what was asked for and never judged (its test failed before) is an error, not an absence."""
        for cell in self._plan.cells.values():
            judged = self._judgements.setdefault(cell.id, {})
            for kind in cell.kinds - set(judged):
                judged[kind] = self._judging.never_judged(cell, kind)

    def close(self, partial: bool) -> None:
        """Judge what is left to judge, and release the workers.

        Args:
            partial: only what is finished counts.
        """
        self._computing.partial = partial
        if partial:
            self.judge_computed()
            self._computing.stop()
        else:
            self.account_for_everything()
        self._computing.finish()
        self._budget.close()


@contextmanager
def _full_disk_named(computing: Computes) -> Iterator[None]:
    """A full disk ends the run with the folder that is short of space, whoever has met it."""
    try:
        yield
    except OSError as error:
        if disk_is_full(error):
            raise DiskFull(computing.where_full()) from error
        raise


def until_stopped(work: Callable[[], None], how: HowEnded | None = None) -> HowEnded:
    """Do the work of a run unless something has kept it from its end, and return what did.

    Args:
        how: what has kept it from its end already.
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
