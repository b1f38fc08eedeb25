"""Count the instructions of all artifacts of a run together, as most of the time goes into starting the processes."""

from dataclasses import replace

from quantbench import gate
from quantbench.build.store import Store
from quantbench.core.threads import cores
from quantbench.engine.context import Rules
from quantbench.engine.plan import Plan
from quantbench.engine.progress import Progress
from quantbench.engine.results import CellResult, Results
from quantbench.measure import instructions
from quantbench.measure.instructions import Count, Wanted
from quantbench.records import Judgement, Kind
from quantbench.records.measurements import INSTRUCTIONS


class Counting:
    """Count the cells of one run once, and judge each."""

    def __init__(self, plan: Plan, results: Results, rules: Rules, store: Store, progress: Progress) -> None:
        self._plan = plan
        self._results = results
        self._rules = rules
        self._store = store
        self._progress = progress

    def judge(self, result: CellResult) -> list[Judgement]:
        """Judge the instructions of a cell that has an artifact; the first call counts those of all cells."""
        if result.alone.count is None:
            self._count_all()
        result = self._results.of(result.cell.id)
        count = result.alone.count or Count(failure="it has no artifact")
        counted = None if count.failure else count.counted()
        measured = result.measurements.get(INSTRUCTIONS)
        subject, accepted = self._rules.subject(result.cell), self._rules.accepted(result.cell)
        return gate.instructions(subject, measured, counted, count.failure, accepted)

    def _count_all(self) -> None:
        wanted: dict[str, Wanted] = {}
        for cell in self._plan.asked_for(Kind.INSTRUCTIONS):
            first = self._results.of(cell.id).first
            if first is not None and first.artifact is not None and first.artifact_sha256 is not None:
                wanted[cell.id] = Wanted(first.artifact, first.artifact_sha256, cell.model)
        reason = instructions.unavailable()
        if reason:
            self._join(dict.fromkeys(wanted, Count(failure=reason)))
            return
        new = sum(instructions.find(one, self._store) is None for one in wanted.values())
        if new:
            self._progress.say(f"counting the instructions of {new} artifacts under valgrind")
        with self._store.temporary_files():
            counts = instructions.through_store(list(wanted.values()), self._store, cores())
        self._join(dict(zip(wanted, counts, strict=True)))

    def _join(self, counts: dict[str, Count]) -> None:
        for cell_id, count in counts.items():
            self._results.join(cell_id, replace(self._results.of(cell_id).alone, count=count))
