"""End a run, whether whole, stopped or on a full disk: write its last report and remove what is no longer needed."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from quantbench import gate
from quantbench.baselines import files as baseline_files
from quantbench.baselines import update
from quantbench.baselines.effective import load_current
from quantbench.build.eviction import GB, clear_if_changed
from quantbench.core import streams, walls
from quantbench.core.options import RunOptions
from quantbench.core.signals import in_a_hurry, stop_asked, undisturbed
from quantbench.engine.accepted import keep_artifacts, keep_measured
from quantbench.engine.context import HeldStore
from quantbench.engine.interim_report import Recording
from quantbench.engine.results import CellResult, Results
from quantbench.engine.score import examples_of
from quantbench.errors import BadInput, DiskFull, Exit, disk_is_full
from quantbench.records import Evidence, Report
from quantbench.reference.model import ReferenceModel
from quantbench.report.run_folder import RunFolder
from quantbench.variants import FLOAT_CONTROL

# The exit status in the last report written by this process, with which the process ends; None before any report.
reported: Exit | None = None


@dataclass(frozen=True)
class HowEnded:
    """Describe what stopped a run early, if anything.

    Attributes:
        interrupted: by a signal.
        cut_short: by pytest's -x or --maxfail.
        disk_full: there is no space left.
        crashed: pytest itself failed.
        where_full: what to do about the full disk, where known.
    """

    interrupted: bool = False
    cut_short: bool = False
    disk_full: bool = False
    crashed: bool = False
    where_full: str = ""

    @property
    def partial(self) -> bool:
        """Return whether only finished cells count."""
        return self.interrupted or self.cut_short or self.disk_full or self.crashed

    def status(self, judged: Exit, output_full: bool) -> Exit:
        """Return the run's exit status, for its report and its process; a regression always takes precedence.

        Args:
            judged: the status that follows from its cells.
            output_full: whether printed output was lost because the disk is full.
        """
        stops = {
            Exit.DISK_FULL: self.disk_full,
            Exit.INTERRUPTED: self.interrupted,
            Exit.NOT_MEASURED: self.crashed,
        }
        after_all = Exit.DISK_FULL if output_full else judged
        return judged if judged is Exit.REGRESSED else next((stop for stop, so in stops.items() if so), after_all)


class Writes(Protocol):
    """Declare the part of :class:`quantbench.report.run_folder.RunFolder` that ending a run uses."""

    def finish(
        self, report: Report, evidence: Mapping[str, Mapping[str, Evidence]], models: Mapping[str, ReferenceModel]
    ) -> None:
        """Write the report in all its formats."""

    def give_back_reserve(self) -> None:
        """Free the reserved space for the last report."""


class Ending:
    """End one run.

    Args:
        close: judges what remains and releases the workers; its argument is whether only finished cells count.
        notes: what a reader of the report should know.
        accept: makes the run's values the baselines, and returns its exit status with more notes; None where they
                should not be accepted.
        tidy: called last, when the report is written.
        where_full: what to do about a full disk.
        say: prints a line.
    """

    def __init__(
        self,
        folder: Writes,
        recording: Recording,
        results: Results,
        models: Mapping[str, ReferenceModel],
        *,
        close: Callable[[bool], None],
        notes: Callable[[], list[str]],
        accept: Callable[[Report, Exit], tuple[Exit, list[str]]] | None,
        tidy: Callable[[], None],
        where_full: Callable[[], str],
        say: Callable[[str], None],
    ) -> None:
        self._folder = folder
        self._recording = recording
        self._results = results
        self._models = models
        self._close = close
        self._notes = notes
        self._accept = accept
        self._tidy = tidy
        self._where_full = where_full
        self._say = say

    def finish(self, how: HowEnded, notes: list[str]) -> Exit:
        """Write the last report, and return the exit status it contains."""
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
            status = self._finished(HowEnded(disk_full=True), [*notes, self._where_full()])
        except OSError as error:
            self._say(f"the report of the finished cells could not be written either: {error}")
        return status

    def _finished(self, how: HowEnded, notes: list[str]) -> Exit:
        """Judge what remains, write the last report, and tidy up."""
        self._close(how.partial)
        lost = streams.lost_for_want_of_space()
        status = how.status(gate.exit_status(self._recording.verdicts()), bool(lost))
        notes = [*notes, lost] if lost else notes
        self._recording.save("interrupted" if how.partial else "complete", status, notes + self._notes())
        if self._accept is not None and not how.partial:
            status, accepted = self._accept(self._recording.report, status)
            self._recording.save("complete", status, accepted)
        self._folder.finish(self._recording.report, self._results.evidence(), self._models)
        self._folder.give_back_reserve()
        self._tidy()
        return status


# ------------------------------------------------------------ cleaning up


def tidy(folder: RunFolder, held: HeldStore, options: RunOptions, say: Callable[[str], None]) -> None:
    """Remove this run's scratch files, and trim its store to the maximum size."""
    held.store.release()
    if options.no_cache:
        folder.remove_store()
        return
    if in_a_hurry():  # the next run clears the store
        return
    cleared = clear_if_changed(held.store, options.cache_size * GB)
    if cleared:
        say(f"cache {held.store.root}: {cleared}")


# ------------------------------------------------------------ notes for the reader


def no_baselines_note(folder: Path) -> list[str]:
    """Say once that there is no folder of baselines, which every cell without one says in other words."""
    if folder.is_dir():
        return []
    return [f"--baseline-dir: no such folder: {folder}, so that no cell has a baseline"]


def as_accepted_note(counts: Mapping[str, int]) -> list[str]:
    """Say what was taken from the baselines instead of being measured by this run."""
    if not counts:
        return []
    parts = [f"{what} of {count}" for what, count in counts.items()]
    return [
        "taken from the baselines, as artifact, model, data, code, packages, system and processor are as they were "
        f"then: {', '.join(parts)} artifacts; --no-cache measures them"
    ]


def seals_note(folder: Path, baselines: Mapping[str, baseline_files.Baseline]) -> list[str]:
    """Which baselines carry no seals, so that an edit by hand would not be seen in them."""
    bare = [name for name, baseline in baselines.items() if baseline.file is not None and not baseline.sealed]
    if not bare:
        return []
    return [
        f"{folder}: the baseline of {', '.join(bare)} has no seals, so an edit by hand would go unnoticed: "
        f"quantbench baseline seal {','.join(bare)}"
    ]


def walls_note(models: Iterable[ReferenceModel]) -> list[str]:
    """Return which protections apply to untrusted models, where the run has such a model."""
    return [walls.available().sentence()] if any(model.form != "code" for model in models) else []


def split_notes(model: ReferenceModel, share: float) -> list[str]:
    """What a model's test split cannot judge at a p-value of ``share``, and what it shares with other splits."""
    pack = model.pack()
    found = gate.of_split(model.metric, examples_of(model), pack.test.x, share)
    found += [
        f"{count:,} of {len(pack.test):,} test examples are also in the {split} split"
        for split, count in pack.shared.items()
    ]
    return [f"{model.name}: {note}" for note in found]


def training_note(control: CellResult) -> list[str]:
    """Return how far the score of a retrained model is from that of the pinned weights, by its float control."""
    model, score = control.cell.model, control.measurements.get("score")
    if control.cell.variant.name != FLOAT_CONTROL or score is None:
        return []
    metric, pinned = model.metric, model.seed_scores[0]
    away = metric.drop(pinned, score.value) / (metric.scale * float(np.std(model.seed_scores, ddof=1)))
    return [
        f"{model.name} trained again: {metric.name} {gate.show_score(metric, score.value)}, "
        f"{away:+.1f} standard deviations (over seeds) from the pinned weights' {gate.show_score(metric, pinned)}"
    ]


# ------------------------------------------------------------ baselines


def accept(
    report: Report, status: Exit, folder: Path, options: RunOptions, models: Mapping[str, ReferenceModel], drift: bool
) -> tuple[Exit, list[str]]:
    """Accept a run's values into the baselines; its status still results from comparing with the old ones.

    Args:
        folder: the run's folder.
        drift: whether baselines may exist already.

    Returns:
        The run's exit status, and notes on what was accepted or why nothing was.
    """
    where = options.baseline_dir
    try:
        update.check_report(report, folder)
        proposals = [
            update.propose(
                report,
                folder,
                name,
                load_current(where, models[name]) if drift else baseline_files.Baseline(),
                options.update_baselines,
                floor_of=update.floors_of(models[name]),
            )
            for name in sorted(models)
        ]
        accepted = [proposal.file for proposal in proposals]
        keep_measured(where, accepted, models, folder)
        for proposal in proposals:
            baseline_files.save(where, proposal.file, proposal.predictions)
        keep_artifacts(accepted, folder)
    except BadInput as error:
        return status or Exit.BAD_INPUT, [f"baselines not updated: {error}"]
    moved = sum(move.moves for proposal in proposals for move in proposal.moves)
    notes = [f"{moved} baseline values accepted into {where}; run again to compare with them"]
    if report.environment.git_dirty:
        notes.append(f"{update.of_local_changes(report.environment)} (--allow-dirty)")
    return status, notes + [
        f"known limitation: {cell}: {why}" for proposal in proposals for cell, why in proposal.declared.items()
    ]
