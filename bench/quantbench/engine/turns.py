"""Time cells in turns with their accepted artifacts: where no baseline of this machine tells of their latency, and
where one calls it slower.

Without a baseline, all such cells are timed before the first one is judged, those first that look worst from their
files; red ones are confirmed as they come. Each is timed in stages, until it is decided. A run has a limited time for
both.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from quantbench import gate
from quantbench.build.package_contents import package_contents
from quantbench.build.store import Store, default_root
from quantbench.engine import accepted as known
from quantbench.engine.cell import CellId, Planned
from quantbench.engine.context import Rules
from quantbench.engine.plan import Plan
from quantbench.engine.progress import Progress
from quantbench.engine.results import CellResult, Results
from quantbench.engine.timing import Timing
from quantbench.measure import latency, work
from quantbench.records import BaselineCell, InTurns, Judgement, Kind, Measurement

# Why a cell is timed further, by the stages that it had.
_WHY = {
    1: "seems slower than its {}; measuring again to confirm",
    2: "still not clear whether it is slower than its {}; measuring twice as long",
}
# What one timing takes at first sight, as a multiple of its seconds: fresh processes have to start.
EXPECTED = 3.0
# Two converters of one version differ by less in what they say of themselves.
_STAMP_BYTES = 4096


@dataclass(frozen=True)
class Taken:
    """Hold what is known of one cell.

    Attributes:
        turns: what of it is as accepted, and what kept it from being timed.
        artifact, accepted: files to time; None where there is nothing to time.
        packages: folder of the accepted runtime; None where it is the installed one.
        stages: ratios to the accepted artifact by measurement, of each stage so far.
    """

    turns: InTurns
    artifact: Path | None = None
    accepted: Path | None = None
    packages: Path | None = None
    stages: tuple[gate.Timed, ...] = ()

    def lacking(self, why: str, detail: str = "") -> "Taken":
        """Return it with what kept it from being timed, and without what was measured so far."""
        return replace(self, turns=_without(self.turns, why, detail), stages=())

    def out_of_time(self) -> "Taken":
        """Return it with what was measured so far, which decides nothing yet."""
        return replace(self, turns=_without(self.turns, "time"))


class Turns:
    """Time the cells of one run in turns with what was accepted.

    Args:
        store: of the run.
    """

    def __init__(
        self, plan: Plan, results: Results, rules: Rules, timing: Timing, store: Store, progress: Progress
    ) -> None:
        self._plan = plan
        self._results = results
        self._rules = rules
        self._timing = timing
        self._stores = [store, Store(default_root())] if store.root != default_root() else [store]
        self._progress = progress
        self._runtimes = known.Runtimes(allowed=not plan.options.cluster)
        self._here = package_contents(known.LITERT)
        self._taken: dict[CellId, Taken] | None = None
        self._spent, self._longest = 0.0, 0.0

    # ------------------------------------------------------------ without a baseline

    def prepare(self, alpha: float) -> None:
        """Time every cell that no baseline of this machine tells of; the others only when they are red.

        Args:
            alpha: a cell's share of the false-alarm budget.
        """
        if self._taken is not None:
            return
        asked = [(cell.id, self._comparable(cell)) for cell in self._plan.asked_for(Kind.LATENCY)]
        baselines = {cell_id: baseline for cell_id, baseline in asked if baseline is not None}
        known.touch(_wanted(baselines), self._stores[0])
        machine = self._rules.machine(1)
        self._taken = self._looked_at({name: of for name, of in baselines.items() if machine not in of.latency})
        due = [cell_id for cell_id, taken in self._taken.items() if taken.accepted is not None]
        due.sort(key=lambda cell_id: _growth(self._taken[cell_id]), reverse=True)  # type: ignore[index]
        for place, cell_id in enumerate(due, 1):
            if self._has_time():
                self._progress.say(f"in turns with the accepted artifact, {place} of {len(due)}: {cell_id}")
            taken = self._taken[cell_id]
            unclear = partial(gate.unclear_in_turns, taken.turns, alpha=alpha)
            self._taken[cell_id] = self._timed(self._plan.cells[cell_id], taken, unclear)

    def judged(self, result: CellResult, name: str, ratio: Measurement, alpha: float) -> list[Judgement] | None:
        """Judge a latency that has no baseline of this machine; None where nothing accepted is known of the cell.

        Args:
            name: of the judged measurement.
            alpha: the cell's share of the false-alarm budget.
        """
        self.prepare(alpha)
        taken = (self._taken or {}).get(result.cell.id)
        if taken is None:
            return None
        subject, machine = self._rules.subject(result.cell), self._rules.machine(1)
        return gate.judged_in_turns(subject, name, ratio, machine, taken.turns, taken.stages, alpha)

    # ------------------------------------------------------------ what a baseline calls slower

    def confirmed(self, result: CellResult, judged: list[Judgement], alpha: float, threads: int) -> list[Judgement]:
        """Keep of red latencies what is slower in turns with the accepted artifact too.

        Args:
            alpha: the p-value at which the typical call is red.
        """
        baseline = self._comparable(result.cell, threads)
        if baseline is None or not gate.red_by_baseline(judged):
            return judged
        taken = self._looked_at({result.cell.id: baseline})[result.cell.id]
        if taken.accepted is not None and threads > 1 and taken.packages is not None:
            taken = taken.lacking("runtime", "two runtimes are timed with one thread only")
        elif taken.accepted is not None:
            if self._has_time():
                what = "red by its baseline; timing it in turns with the accepted artifact"
                self._progress.say(f"{result.cell.id}: {what}")
            unclear = partial(gate.unconfirmed, judged, taken.turns, alpha=alpha)
            taken = self._timed(result.cell, taken, unclear, threads)
        return gate.confirmed(judged, taken.turns, taken.stages, alpha)

    # ------------------------------------------------------------ what is accepted

    def _comparable(self, cell: Planned, threads: int = 0) -> BaselineCell | None:
        """Return what a cell is compared with; None where nothing is known of its accepted artifact.

        Args:
            threads: of the latency baseline that it is red by, which is of an earlier artifact where the accepted one
                comes from a run that timed nothing; 0 where there is no such baseline.
        """
        baseline = self._rules.accepted(cell)
        if self._plan.options.no_turns or baseline is None:
            return None
        stored = baseline.latency.get(self._rules.machine(threads)) if threads else None
        if stored is not None and stored.artifact is not None:
            baseline = baseline.model_copy(update={"artifact_sha256": stored.artifact})
        return None if baseline.artifact_sha256 is None else baseline

    def _is_made(self, cell: Planned) -> bool:
        result = self._results.of(cell.id)
        return result.failure is None and result.first is not None and result.first.artifact is not None

    def _looked_at(self, baselines: Mapping[CellId, BaselineCell]) -> dict[CellId, Taken]:
        """Return what of these cells is as accepted, and the files of what is not."""
        made = {cell_id: of for cell_id, of in baselines.items() if self._is_made(self._plan.cells[cell_id])}
        seen = {cell_id: self._differences(self._plan.cells[cell_id], of) for cell_id, of in made.items()}
        changed = {cell_id: of for cell_id, of in made.items() if seen[cell_id].turns.artifact == "changed"}
        files = known.find(_wanted(changed), self._stores, self._plan.options.report_dir)
        for cell_id, baseline in changed.items():
            file, found = files.get(baseline.artifact_sha256 or ""), seen[cell_id]
            own_code = self._plan.cells[cell_id].model.form == "code"
            if file is None:
                seen[cell_id] = found.lacking("artifact")
            elif own_code and _differ_in_stamp_alone(found.artifact, file):
                seen[cell_id] = replace(found, turns=found.turns.model_copy(update={"artifact": "stamp"}))
            else:
                seen[cell_id] = replace(found, accepted=file)
        return {cell_id: self._with_runtime(taken) for cell_id, taken in seen.items()}

    def _with_runtime(self, taken: Taken) -> Taken:
        if taken.turns.lacking is not None:
            return taken
        turns, packages = self._runtimes.of(taken.turns)
        if turns.lacking is not None or turns.same:
            return replace(taken, turns=turns, accepted=None)
        return replace(taken, turns=turns, packages=packages, accepted=taken.accepted or taken.artifact)

    def _differences(self, cell: Planned, baseline: BaselineCell) -> Taken:
        first = self._results.of(cell.id).outcomes[0]
        overlaid = cell.variant.name in self._rules.baselines[cell.model.name].overlay
        turns = known.differences(baseline, overlaid, first.artifact_sha256, first.sources, self._here)
        return Taken(turns, first.artifact)

    # ------------------------------------------------------------ timing

    def _timed(
        self, cell: Planned, taken: Taken, unclear: Callable[[Sequence[gate.Timed]], bool], threads: int = 1
    ) -> Taken:
        """Time a cell in stages, until it is decided or the run's time is used up.

        Args:
            unclear: whether it needs a further stage, from those that it had.
        """
        while not taken.stages or unclear(taken.stages):
            done = len(taken.stages)
            times = gate.next_stage(done)
            longer = gate.longer_in_turns(taken.stages[0]) if done else 1
            if not self._has_time(times * cost_of(longer)):
                return taken.out_of_time()
            if done:
                self._progress.say(f"{cell.id}: {why_further(done, 'accepted artifact')}")
            try:
                taken = replace(taken, stages=(*taken.stages, self._once(cell, taken, threads, times, longer)))
            except latency.LatencyFailed as error:
                return taken.lacking("failed", str(error))
        return taken

    def _has_time(self, times: float = 1) -> bool:
        """Whether a stage that takes as long as so many first ones would be within the run's time, by the longest."""
        expected = times * (self._longest or EXPECTED * self._plan.options.latency_budget)
        return not self._spent or self._spent + expected <= self._plan.options.turns_budget

    def _once(self, cell: Planned, taken: Taken, threads: int, times: int, longer: int) -> dict[str, Measurement]:
        assert taken.artifact is not None
        assert taken.accepted is not None
        begin = time.perf_counter()
        try:
            given = cell.model, taken.artifact, taken.accepted, taken.packages, threads, times, longer
            return self._timing.in_turns(*given)
        finally:
            took = time.perf_counter() - begin
            self._spent, self._longest = self._spent + took, max(self._longest, took / (times * cost_of(longer)))


def cost_of(longer: int) -> float:
    """Return how long a process that times so many times as long takes, by one of a first stage."""
    return (EXPECTED - 1 + longer) / EXPECTED


def why_further(done: int, reference: str) -> str:
    """Say why a cell is timed further.

    Args:
        done: stages that it had.
        reference: what it is compared with.
    """
    return _WHY[done].format(reference)


def _without(turns: InTurns, why: str, detail: str = "") -> InTurns:
    return turns.model_copy(update={"lacking": why, "detail": detail})


def _wanted(baselines: Mapping[CellId, BaselineCell]) -> list[known.Wanted]:
    found = [known.wanted(cell_id, baseline) for cell_id, baseline in baselines.items()]
    return [one for one in found if one is not None]


def _growth(taken: Taken) -> tuple[float, float]:
    """Return by how much more an artifact computes than the accepted one, and how much larger it is."""
    assert taken.artifact is not None
    assert taken.accepted is not None
    now, then = work.operations(taken.artifact), work.operations(taken.accepted)
    size = taken.artifact.stat().st_size / max(1, taken.accepted.stat().st_size)
    return (now / then if now and then else 1.0, size)


def _differ_in_stamp_alone(artifact: Path | None, accepted: Path) -> bool:
    """Whether two artifacts are one, but for what their converters say of themselves; for models of our user's own."""
    if artifact is None or abs(artifact.stat().st_size - accepted.stat().st_size) > _STAMP_BYTES:
        return False
    from quantbench.tflite.edit import without_stamp

    try:
        return without_stamp(artifact.read_bytes()) == without_stamp(accepted.read_bytes())
    except Exception:  # LiteRT's tools raise what they like on a file that they cannot read
        return False
