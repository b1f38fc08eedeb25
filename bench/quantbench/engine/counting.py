"""Count the instructions of all artifacts of a run together, as most of the time goes into starting the processes."""

from dataclasses import replace

from quantbench import gate
from quantbench.build.store import Store
from quantbench.core import environment
from quantbench.core.threads import cores
from quantbench.engine.context import Rules
from quantbench.engine.plan import Plan
from quantbench.engine.progress import Progress
from quantbench.engine.results import CellResult, Results
from quantbench.measure import instructions
from quantbench.measure.instructions import Count, Wanted
from quantbench.records import BaselineValue, Judgement, Kind
from quantbench.records.measurements import INSTRUCTIONS


class Counting:
    """Count the cells of one run once, and judge each."""

    def __init__(self, plan: Plan, results: Results, rules: Rules, store: Store, progress: Progress) -> None:
        self._plan = plan
        self._results = results
        self._rules = rules
        self._store = store
        self._progress = progress
        self._alike: list[bool] = []  # of each unchanged cell, whether it is counted as it was accepted

    def judge(self, result: CellResult) -> list[Judgement]:
        """Judge the instructions of a cell that has an artifact; the first call counts those of all cells."""
        if result.alone.count is None:
            self._count_all()
        result = self._results.of(result.cell.id)
        count = result.alone.count or Count(failure="it has no artifact")
        counted = None if count.failure else count.counted()
        measured = result.measurements.get(INSTRUCTIONS)
        subject, accepted = self._rules.subject(result.cell), self._rules.accepted(result.cell)
        return gate.instructions(subject, measured, counted, count.failure, accepted, self._unlike(result))

    def _unlike(self, result: CellResult) -> str:
        """Say why counts of this host may not be compared with those accepted on another kind of host; empty else.

        Valgrind shows the same processor on both. Whether the runtime counts alike is seen in the cells whose artifact
        and runtime are the accepted ones: where one of them differs, or there is none, nothing is red.
        """
        value = self._value(result)
        here = self._rules.environment
        if value is None or environment.isa_accepted(value.accepted) in ("", here.isa):
            return ""
        if self._alike and all(self._alike):
            return ""
        found = "counts unchanged artifacts differently" if self._alike else "has no unchanged artifact to compare by"
        return f"accepted on another kind of processor, and this run {found}, so it is not red"

    def _value(self, result: CellResult) -> BaselineValue | None:
        accepted, count = self._rules.accepted(result.cell), result.alone.count
        if accepted is None or count is None:
            return None
        return accepted.by_machine.get(INSTRUCTIONS, {}).get(count.profile)

    def _unchanged(self, result: CellResult) -> bool:
        """Whether artifact and runtime version are those of the accepted count."""
        accepted, value, first = self._rules.accepted(result.cell), self._value(result), result.first
        if accepted is None or value is None or first is None or first.artifact_sha256 != accepted.artifact_sha256:
            return False
        there = environment.class_accepted(value.accepted).rpartition("_litert-")[2]
        return there == environment.class_of(self._rules.environment).rpartition("_litert-")[2]

    def _counted_alike(self, result: CellResult) -> bool:
        value, count = self._value(result), result.alone.count
        return value is not None and count is not None and gate.counted_alike(count.total(), value)

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
        found = {cell_id: instructions.find(one, self._store) for cell_id, one in wanted.items()}
        known = {cell_id: count for cell_id, count in found.items() if count is not None}
        rest = {cell_id: one for cell_id, one in wanted.items() if cell_id not in known}
        if rest:
            self._progress.say(
                f"counting the instructions of {len(rest)} artifact{'s' * (len(rest) > 1)} under valgrind"
            )
            with self._store.temporary_files():
                counts = instructions.through_store(list(rest.values()), self._store, cores())
            known |= dict(zip(rest, counts, strict=True))
        self._join({cell_id: known[cell_id] for cell_id in wanted})

    def _join(self, counts: dict[str, Count]) -> None:
        for cell_id, count in counts.items():
            self._results.join(cell_id, replace(self._results.of(cell_id).alone, count=count))
        results = [self._results.of(cell.id) for cell in self._plan.asked_for(Kind.INSTRUCTIONS)]
        self._alike = [self._counted_alike(one) for one in results if self._unchanged(one)]
