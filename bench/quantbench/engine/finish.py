"""How a run ends: whole, stopped or on a full disk, its last report is written and what nobody needs any more goes."""

from dataclasses import dataclass, replace

import numpy as np

from quantbench import gate
from quantbench.baselines import files as baseline_files
from quantbench.baselines import update
from quantbench.build.eviction import GB, clear
from quantbench.core import streams, walls
from quantbench.core.signals import in_a_hurry, stop_asked, undisturbed
from quantbench.engine.context import Running
from quantbench.engine.false_alarms import Budget
from quantbench.engine.interim_report import Recording
from quantbench.engine.judging import Judging
from quantbench.engine.results import Known
from quantbench.errors import BadInput, DiskFull, Exit, disk_is_full
from quantbench.variants import FLOAT_CONTROL

# The exit status in the last report that this process has written, which is the one to end with; None: it wrote none.
reported: Exit | None = None


@dataclass(frozen=True)
class HowEnded:
    """What kept a run from its end, if anything did.

    Attributes:
        interrupted: by a signal.
        cut_short: by pytest's own -x or --maxfail.
        disk_full: nothing more can be written.
        crashed: pytest itself has failed.
    """

    interrupted: bool = False
    cut_short: bool = False
    disk_full: bool = False
    crashed: bool = False

    @property
    def partial(self) -> bool:
        """Whether only what is finished counts."""
        return self.interrupted or self.cut_short or self.disk_full or self.crashed

    def status(self, judged: Exit, output_full: bool) -> Exit:
        """The run's exit status, for its report and its process: a regression is hidden by nothing.

        Args:
            judged: what its cells come to.
            output_full: what was printed is lost for want of space.
        """
        stops = {
            Exit.DISK_FULL: self.disk_full,
            Exit.INTERRUPTED: self.interrupted,
            Exit.NOT_MEASURED: self.crashed,
        }
        after_all = Exit.DISK_FULL if output_full else judged
        return judged if judged is Exit.REGRESSED else next((one for one, so in stops.items() if so), after_all)


class Ending:
    """Brings one run to its end."""

    def __init__(self, running: Running, known: Known, budget: Budget, judging: Judging, recording: Recording) -> None:
        self._running = running
        self._known = known
        self._budget = budget
        self._judging = judging
        self._recording = recording
        self._folder = running.folder

    def finish(self, how: HowEnded, notes: list[str]) -> Exit:
        """Write the last report, and return the exit status that it states."""
        global reported
        with undisturbed():
            how = replace(how, interrupted=how.interrupted or stop_asked())  # one that comes later comes too late
            reported = self._ended(how, notes)
            return reported

    def _ended(self, how: HowEnded, notes: list[str]) -> Exit:
        try:
            if not how.disk_full:
                return self._finished(how, notes)
        except (OSError, DiskFull) as error:
            if not disk_is_full(error):
                raise
        return self._finished_on_full_disk(notes)

    def _finished_on_full_disk(self, notes: list[str]) -> Exit:
        self._folder.give_back_reserve()
        status = Exit.DISK_FULL
        try:
            where = self._running.computing.where_full()
            status = self._finished(HowEnded(disk_full=True), [*notes, where])
        except OSError as error:
            self._running.progress.say(f"the report of what was finished could not be written either: {error}")
        return status

    def _finished(self, how: HowEnded, notes: list[str]) -> Exit:
        """Judge what is left, write the last report, and tidy up."""
        partial = how.partial
        self._judge_the_rest(partial)
        self._part_from_workers()
        self._budget.settle()
        lost = streams.lost_for_want_of_space()
        status = how.status(gate.exit_status([cell.verdict for cell in self._recording.cells()]), bool(lost))
        notes = [*notes, lost] if lost else notes
        self._recording.save("interrupted" if partial else "complete", status, notes + self._notes())
        if self._running.options.update_baselines and not partial:
            status = self._update_baselines(status)
        models = {cell.model.name: cell.model for cell in self._running.plan.cells.values()}
        self._folder.finish(self._recording.report, self._known.evidence(), models)
        self._tidy()
        return status

    def _judge_the_rest(self, partial: bool) -> None:
        computing = self._running.computing
        computing.partial = partial
        if partial:
            self._judging.judge_computed()
            computing.stop()
        else:
            self._judging.account_for_everything()
        computing.finish()

    def _part_from_workers(self) -> None:
        if self._running.cluster is not None:
            self._running.cluster.close()
        self._running.progress.close()

    def _tidy(self) -> None:
        """What nobody needs any more goes: the reserve, this run's scratch, and of the store what is too much."""
        options, store = self._running.options, self._running.held.store
        self._folder.give_back_reserve()
        store.release()
        if options.no_cache:
            self._folder.remove_store()
            return
        if in_a_hurry():  # the next run clears the store
            return
        cleared = clear(store, options.cache_size * GB)
        if cleared:
            self._running.progress.say(f"store {store.root}: {cleared}")

    # ------------------------------------------------------------ what a reader has to know

    def _notes(self) -> list[str]:
        cells, cluster = self._running.plan.cells.values(), self._running.cluster
        return [
            *self._training_notes(),
            *self._running.held.notes(),
            *self._walls(),
            *self._running.timing.notes(),
            *([cluster.note()] if cluster else []),
            *(f"{cell.id}: {reason}" for cell in cells for reason in cell.retried),
        ]

    def _walls(self) -> list[str]:
        """What stands between a stranger's model and this machine, where there is such a model."""
        strangers = any(cell.model.form != "code" for cell in self._running.plan.cells.values())
        return [walls.available().sentence()] if strangers and self._running.cluster is None else []

    def _training_notes(self) -> list[str]:
        """How far from the pinned weights each model trained again has landed."""
        if not self._running.options.train:
            return []
        notes = []
        for cell in self._running.plan.cells.values():
            score = self._known.measurements(cell).get("score") if cell.so_far else None
            if cell.variant.name == FLOAT_CONTROL and score is not None:
                metric, pinned = cell.model.metric, cell.model.seed_scores[0]
                spread = metric.scale * float(np.std(cell.model.seed_scores, ddof=1))
                away = metric.drop(pinned, score.value) / spread
                notes.append(
                    f"{cell.model.name} trained again: {metric.name} {gate.show_score(metric, score.value)}, "
                    f"{away:+.1f} seed standard deviations from the pinned weights' {gate.show_score(metric, pinned)}"
                )
        return notes

    # ------------------------------------------------------------ baselines

    def _update_baselines(self, status: Exit) -> Exit:
        """Accept this run's values; the run still ends as it was judged against the old ones."""
        running, save = self._running, self._recording.save
        reason, folder, report = running.options.update_baselines, running.folder.path, self._recording.report
        models = {cell.model.name: cell.model for cell in running.plan.cells.values()}
        try:
            update.check_report(report, folder)
            proposals = [
                update.propose(report, folder, name, running.baseline_on_disk(models[name]), reason)
                for name in sorted(models)
            ]
            for proposal in proposals:
                baseline_files.save(running.options.baseline_dir, proposal.file, proposal.predictions)
        except BadInput as error:
            save("complete", status, [f"baselines not updated: {error}"])
            return status or Exit.BAD_INPUT
        moved = sum(move.moves for proposal in proposals for move in proposal.moves)
        where = running.options.baseline_dir
        notes = [f"{moved} baseline values accepted into {where}; run again to be judged by them"]
        notes += [f"declared: {cell}: {why}" for proposal in proposals for cell, why in proposal.declared.items()]
        save("complete", status, notes)
        return status
