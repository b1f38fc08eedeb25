"""How a run ends: whole, stopped or on a full disk, its last report is written and what nobody needs any more goes."""

import numpy as np

from bench import acceptance, baselines, gate
from bench.budget import Budget
from bench.clearing import GB, clear
from bench.errors import BadInput, DiskFull, Exit, disk_is_full
from bench.interruption import undisturbed
from bench.judging import Judging
from bench.known import Known
from bench.recording import Recording
from bench.running import Running
from bench.safety import walls
from bench.variants import FLOAT_CONTROL


class Ending:
    """Brings one run to its end."""

    def __init__(self, running: Running, known: Known, budget: Budget, judging: Judging, recording: Recording) -> None:
        self._running = running
        self._known = known
        self._budget = budget
        self._judging = judging
        self._recording = recording
        self._folder = running.folder

    def finish(self, interrupted: bool, notes: list[str], cut_short: bool, disk_full: bool) -> Exit:
        """Write the last report, and return the exit status; arguments as of :meth:`bench.session.Session.finish`."""
        with undisturbed():
            try:
                if not disk_full:
                    return self._finished(interrupted, notes, cut_short)
            except (OSError, DiskFull) as error:
                if not disk_is_full(error):
                    raise
            return self._finished_on_full_disk(notes)

    def _finished_on_full_disk(self, notes: list[str]) -> Exit:
        self._folder.give_back_reserve()
        status = Exit.DISK_FULL
        try:
            where = self._running.computing.where_full()
            status = self._finished(True, [*notes, where], False, Exit.DISK_FULL)
        except OSError as error:
            self._running.progress.say(f"the report of what was finished could not be written either: {error}")
        return status

    def _finished(self, interrupted: bool, notes: list[str], cut_short: bool, stopped: Exit = Exit.INTERRUPTED) -> Exit:
        """Judge what is left, write the last report, and tidy up.

        Args:
            stopped: the status of a run that was interrupted.
        """
        partial = interrupted or cut_short
        self._judge_the_rest(partial)
        self._part_from_workers()
        self._budget.settle()
        status = gate.exit_status([cell.verdict for cell in self._recording.cells()], interrupted)
        status = stopped if status is Exit.INTERRUPTED else status
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
            acceptance.check_report(report, folder)
            proposals = [
                acceptance.propose(report, folder, name, running.baseline_on_disk(models[name]), reason)
                for name in sorted(models)
            ]
            for proposal in proposals:
                baselines.save(running.options.baseline_dir, proposal.file, proposal.predictions)
        except BadInput as error:
            save("complete", status, [f"baselines not updated: {error}"])
            return status or Exit.BAD_INPUT
        moved = sum(move.moves for proposal in proposals for move in proposal.moves)
        where = running.options.baseline_dir
        notes = [f"{moved} baseline values accepted into {where}; run again to be judged by them"]
        notes += [f"declared: {cell}: {why}" for proposal in proposals for cell, why in proposal.declared.items()]
        save("complete", status, notes)
        return status
