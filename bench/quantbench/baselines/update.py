"""Turn a run's report into a new baseline: what would move, by how much, and the files to write.

A value moves only when it changed by more than the standard error of the difference leaves to chance, so that
baselines stay stable. Nothing here measures.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from quantbench import gate
from quantbench.baselines import overlays, seals
from quantbench.baselines.accepted_value import Move, outgrown, without_outgrown
from quantbench.baselines.files import Baseline, json_path, stored_hashes
from quantbench.baselines.update_cell import degrees, taken, with_pooled_noise
from quantbench.core.arrays import Array
from quantbench.core.distances import stored_as as outputs_name
from quantbench.core.environment import class_accepted, class_of, describe, today
from quantbench.errors import BadInput
from quantbench.records import (
    LONGEST_TEXT,
    Accepted,
    AcceptedFloor,
    BaselineCell,
    BaselineFile,
    Cell,
    Environment,
    Kind,
    Overlay,
    Report,
    Verdict,
    cell_key,
    is_of_target,
    read_record,
)
from quantbench.records.measurements import OUTPUT_DISTANCE
from quantbench.reference.datasets import read_predictions
from quantbench.reference.model import Floor, ReferenceModel
from quantbench.variants import VARIANTS

FloorOf = Callable[[str, str], Floor | None]  # (variant, family) -> the floor in a model's file


@dataclass(frozen=True)
class LimitChange:
    """Describe a limit that is another than the accepted one: a release limit in the model's file, or a tolerance.

    Attributes:
        measurement: whose tolerance it is; empty for the release limit.
        before, after: None where there is no release limit.
        reason: of the release limit, as the model's file gives it.
        accepted: whether the update accepts it; that of a cell outside of the update stays a warning.
    """

    cell: str
    measurement: str
    before: float | None
    after: float | None
    unit: str
    reason: str = ""
    accepted: bool = True

    @property
    def looser(self) -> bool:
        """Whether it allows more than before."""
        return self.before is not None and (self.after is None or self.after > self.before)


class LimitSeen(NamedTuple):
    """A cell's drop from the float control and its release limit, both in the metric's unit.

    Attributes:
        exceeded: whether the run found it to be beyond the limit, which no update of a baseline moves.
    """

    drop: float
    limit: float
    exceeded: bool

    @property
    def left(self) -> float:
        """How much more the score may drop; negative beyond the limit."""
        return self.limit - self.drop


@dataclass(frozen=True)
class Proposal:
    """Describe what an update would write for one model.

    Attributes:
        declared: cell -> the tools' reason, for cells that this update newly declares unsupported.
        exceptions: cell -> loosened tolerances and expected failures that stay.
        overlaid: cells that are written as an overlay of the run's results class; their base stays.
        outgrown: cell -> loosened tolerances that are removed, as the computed ones are now as wide.
        dropped: cells that the old baseline had and the new one lacks, recorded afresh from a run without them.
        limits: limits that are others than those under which the cells were accepted.
        replaced: cell -> results class of its accepted values, where the update replaces them by those of another one.
    """

    file: BaselineFile
    predictions: dict[str, Array]
    moves: list[Move]
    declared: dict[str, str]
    exceptions: dict[str, list[str]] = field(default_factory=dict)
    overlaid: list[str] = field(default_factory=list)
    outgrown: dict[str, list[str]] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)
    limits: list[LimitChange] = field(default_factory=list)
    replaced: dict[str, str] = field(default_factory=dict)


def check_commit(environment: Environment, where: str) -> None:
    """Raise BadInput where the run's code has local changes, so that nobody could look up what was accepted.

    Where there is no git, as in an installed package, nothing is known of changes, and nothing is refused.

    Args:
        where: the run or the option that it is about.
    """
    if environment.git_dirty:
        raise BadInput(f"{where}: {of_local_changes(environment)}; commit them and run again, or give --allow-dirty")


def of_local_changes(environment: Environment) -> str:
    """Say that a run's code has local changes."""
    commit = environment.git_commit[:12] if environment.git_commit else "unknown"
    return f"the code of the run is commit {commit} with local changes that are in no commit"


def check_report(report: Report, path: Path, only: set[str] | None = None) -> None:
    """Raise BadInput unless the report may become a baseline.

    Args:
        only: ids of the cells to accept; all of them where None.
    """
    if report.state != "complete":
        raise BadInput(f"{path}: field 'state': the run is {report.state}; only a complete run may become a baseline")
    if report.trained_from_scratch:
        raise BadInput(f"{path}: the run trained its own float weights (--train); baselines belong to the pinned ones")
    classes = {part.environment.machine_class for part in report.shards}
    if len(classes) > 1:
        raise BadInput(
            f"{path}: field 'shards': they ran on {len(classes)} classes of machine, and a baseline belongs to one; "
            "accept the shards' own run folders, one after the other"
        )
    for cell in report.cells:
        if _unmeasured(cell) and (only is None or cell.id in only):
            why = f" ({cell.failure.what}: {cell.failure.reason})" if cell.failure else ""
            raise BadInput(f"{path}: cell {cell.id} could not be measured{why}; repair it and run again")


def _unmeasured(cell: Cell) -> bool:
    """Check whether any measurement of a cell failed, even where a regression or an xfail hides it.

    A new refusal by the tools can be accepted, and is then declared; a crash cannot.
    """
    if cell.failure is not None:
        return cell.failure.what != "unsupported"
    failed = [judgement.kind for judgement in cell.judgements if judgement.verdict is Verdict.ERROR]
    elsewhere = bool(failed) and set(failed) == {Kind.TARGET}  # a target that is away says nothing of what is accepted
    return not elsewhere and (bool(failed) or cell.verdict is Verdict.ERROR)


def check_data(report: Report, path: Path, model: ReferenceModel) -> None:
    """Raise BadInput unless the run used the model's current data and metric."""
    data_sha256 = report.data_sha256.get(model.name, "none")
    if data_sha256 != model.data_sha256:
        raise BadInput(
            f"{path}: field 'data_sha256': {model.name} was measured on another data pack ({data_sha256[:12]}…) than "
            f"it uses ({model.data_sha256[:12]}…); run it again"
        )
    metrics = {cell.metric for cell in report.cells if cell.model == model.name} - {model.metric.name}
    if metrics:
        raise BadInput(
            f"{path}: field 'metric': {model.name} is scored by {model.metric.name}, found {min(metrics)!r}; "
            "run it again"
        )


def check_scores(report: Report, path: Path, model: ReferenceModel, only: set[str]) -> None:
    """Raise BadInput unless each score is that of the predictions stored beside the report."""
    cells = [cell for cell in report.cells if cell.model == model.name and cell.id in only]
    stored = _stored(cells, path, model.name)
    for cell in cells:
        score, answers = cell.measurements.get("score"), stored.get(cell.variant)
        if score is None or answers is None or cell.predictions_sha256 is None:
            continue
        labels = model.pack().test.y
        if is_of_target(overlays.stored_as(cell.variant, class_of(report.environment))):
            labels = labels[: score.n]
        if not model.metric.fits(answers, labels):
            raise BadInput(
                f"{path}: cell {cell.id}: its predictions, of shape {answers.shape}, are none of the {len(labels)} "
                "test examples; run it again"
            )
        if not gate.is_score_of(score, model.metric, answers, labels, bool(cell.seeds)):
            score_value = score.values[0] if cell.seeds and score.values else score.value
            raise BadInput(
                f"{path}: cell {cell.id}: the score {score_value:.9g} is not that of its stored predictions, "
                f"{model.metric.value(answers, labels):.9g}; run it again"
            )


def propose(
    report: Report,
    run_folder: Path,
    model: str,
    baseline: Baseline,
    reason: str,
    only: set[str] | None = None,
    overlay: bool = False,
    restart_drift: bool = False,
    floor_of: FloorOf | None = None,
) -> Proposal:
    """Compute the new baseline of one model.

    Args:
        baseline: as stored on disk.
        only: ids of the cells to accept; all of the model's where None.
        overlay: write values that differ from the base for the run's results class, and leave the base unchanged;
            always so where a cell has such an overlay already.
        restart_drift: whether drift is measured from the values of these cells from now on.
        floor_of: (variant, family) -> floor in the model's file; None keeps the accepted floors.

    Raises:
        BadInput: a trained cell with too few seeds, predictions that do not match the report, an overlay without a
            base, or a baseline that was edited by hand.
    """
    if baseline.edits:
        found = baseline.edits
        more = f" (and {len(found) - 1} more: quantbench baseline check)" if len(found) > 1 else ""
        raise BadInput(f"baseline of {model}: {found[0]}{more}; {seals.action(model, found[0])}")
    cells = [cell for cell in report.cells if cell.model == model and (only is None or cell.id in only)]
    if not cells:
        raise BadInput(f"{run_folder}: the run holds no cell of {model} that --only names")
    here = class_of(report.environment)
    draft = _Draft(baseline, _accepted(report, reason, here), here)
    stored = _stored(cells, run_folder, model)
    moves: list[Move] = []
    for cell in cells:
        entry, moved = draft.entry(cell, report)
        moves += moved
        entry = _restarted(entry) if restart_drift else entry
        outputs = draft.outputs(cell, moved, stored)
        draft.take(cell, entry, draft.answers(cell, moved, stored), outputs, overlay)
    before = baseline.file.cells if baseline.file else {}
    limits = [] if floor_of is None else draft.take_floors(cells, before, floor_of)
    kept = {variant: without_outgrown(entry) for variant, entry in with_pooled_noise(draft.kept).items()}
    file = BaselineFile(
        model=model,
        metric=cells[0].metric,
        data_sha256=report.data_sha256[model],
        predictions_sha256="",
        cells=kept,
    )
    return Proposal(
        file,
        draft.predictions,
        moves,
        _declared(cells, draft.seen, overlays.resolve(Baseline(file, draft.predictions), here)),
        _exceptions(cells, kept, report),
        draft.overlaid,
        {f"{model}/{name}": gone for name, entry in before.items() if (gone := outgrown(entry, kept[name]))},
        limits=[*limits, *_tolerances(cells, before, kept)],
        replaced=draft.replaced,
    )


class _Draft:
    """Collect the cells of a run into a new baseline.

    Attributes:
        seen: the old baseline, as resolved for the run's results class.
        kept, predictions: those of the new baseline so far.
        overlaid: cells that were accepted as an overlay.
        replaced: cell -> results class of the base that was replaced by values of another class.
    """

    def __init__(self, old: Baseline, accepted: Accepted, here: str) -> None:
        self._old = old
        self._accepted = accepted
        self._here = here
        self.seen = overlays.resolve(old, here)
        self.kept = dict(old.file.cells) if old.file else {}
        self.predictions = dict(old.predictions)
        self.overlaid: list[str] = []
        self.replaced: dict[str, str] = {}

    def entry(self, cell: Cell, report: Report) -> tuple[BaselineCell, list[Move]]:
        """Make the cell's entry as a baseline of this class alone would have it, with its moves."""
        old = self.seen.cell(cell.variant) or BaselineCell()
        stored = self.seen.predictions.get(cell.variant)
        repeated = stored is not None and cell.predictions_sha256 in stored_hashes(stored)
        entry, moved = taken(cell, old, self._accepted, report, degrees(self.kept, cell.variant), repeated)
        return with_pooled_noise({**self.kept, cell.variant: entry})[cell.variant], moved

    def answers(self, cell: Cell, moved: list[Move], stored: dict[str, Array]) -> Array | None:
        """Choose the predictions that belong to an entry.

        An equal score may have different predictions; a score that does not move keeps the old ones.
        """
        return (stored if _taken_anew(moved, "score") else self.seen.predictions).get(cell.variant)

    def outputs(self, cell: Cell, moved: list[Move], stored: dict[str, Array]) -> Array | None:
        """Choose the distances of the outputs that belong to an entry, or the float control's outputs."""
        anew = _taken_anew(moved, OUTPUT_DISTANCE)
        return (stored if anew else self.seen.predictions).get(outputs_name(cell.variant))

    def take_floors(
        self, cells: list[Cell], before: Mapping[str, BaselineCell], floor_of: FloorOf
    ) -> list[LimitChange]:
        """Put the model's release limits into the entries; return those that changed, of all cells of the model."""
        taken = {cell.variant: floor_of(cell.variant, cell.family) for cell in cells}
        for variant, limit in taken.items():
            accepted = AcceptedFloor(max_drop=None if limit is None else limit.max_drop)
            self.kept[variant] = self.kept[variant].model_copy(update={"floor": accepted})
        model, unit = cells[0].model, cells[0].metric_unit
        changes = []
        for variant, entry in before.items():
            if entry.floor is None or (variant not in taken and variant not in VARIANTS):
                continue
            limit = taken[variant] if variant in taken else floor_of(variant, VARIANTS[variant].family)
            now, reason = (None, "") if limit is None else (limit.max_drop, limit.reason)
            if now != entry.floor.max_drop:
                id_ = cell_key(model, variant)
                changes.append(LimitChange(id_, "", entry.floor.max_drop, now, unit, reason, variant in taken))
        return changes

    def take(
        self, cell: Cell, entry: BaselineCell, answers: Array | None, outputs: Array | None, overlay: bool
    ) -> None:
        """Put an entry into the base, or into the overlay of its class where it has or requests one."""
        base = self.kept.get(cell.variant, BaselineCell())
        if overlay or self._here in base.overlays:
            _check_base(cell, base, self._here, overlay)
            self._lay_over(cell, base, entry, answers, outputs)
            return
        score = base.measurements.get("score")
        there = "" if score is None else class_accepted(score.accepted)
        if there not in ("", self._here):
            self.replaced[cell.id] = there
        self.kept[cell.variant] = entry
        self._keep(cell.variant, answers if "score" in entry.measurements else None)
        self._keep(outputs_name(cell.variant), outputs if OUTPUT_DISTANCE in entry.measurements else None)

    def _lay_over(
        self, cell: Cell, base: BaselineCell, entry: BaselineCell, answers: Array | None, outputs: Array | None
    ) -> None:
        own = self._overlay(cell, base, without_outgrown(entry), answers)
        others = {name: overlay for name, overlay in base.overlays.items() if name != self._here}
        self.kept[cell.variant] = base.model_copy(
            update={
                "overlays": others if own is None else {**others, self._here: own},
                "latency": entry.latency or base.latency,
                "peak_memory": entry.peak_memory or base.peak_memory,
                "by_machine": entry.by_machine or base.by_machine,
                "counted": entry.counted or base.counted,
            }
        )
        scored = own is not None and "score" in own.measurements
        self._keep(overlays.stored_as(cell.variant, self._here), answers if scored else None)
        compared = own is not None and OUTPUT_DISTANCE in own.measurements
        self._keep(overlays.outputs_of(cell.variant, self._here), outputs if compared else None)
        self.overlaid += [cell.id] if own is not None else []

    def _overlay(self, cell: Cell, base: BaselineCell, entry: BaselineCell, answers: Array | None) -> Overlay | None:
        several = bool(cell.seeds)  # then the score over seeds decides, and one seed's predictions are no news
        of_base = self._old.predictions.get(cell.variant)
        differ = answers is not None and not several and not overlays.same(answers, of_base)
        old = base.overlays.get(self._here, Overlay())
        return overlays.split_off(base, old, entry, self._accepted, several, differ)

    def _keep(self, name: str, answers: Array | None) -> None:
        self.predictions.pop(name, None)
        if answers is not None:
            self.predictions[name] = answers


def _taken_anew(moved: list[Move], name: str) -> bool:
    """Check whether a measurement's per-example values are the run's; those of an equal value may differ."""
    return any(move.moves or move.new == move.old for move in moved if move.measurement == name)


def _tolerances(
    cells: list[Cell], before: Mapping[str, BaselineCell], kept: Mapping[str, BaselineCell]
) -> list[LimitChange]:
    """List the tolerances of values that an update writes and that had others: a rule in the code changed."""
    changes = []
    for cell in cells:
        now = kept[cell.variant].measurements
        for name, old in before.get(cell.variant, BaselineCell()).measurements.items():
            new = now.get(name)
            if new is not None and new.tolerance != old.tolerance:
                changes.append(LimitChange(cell.id, name, old.tolerance, new.tolerance, ""))
    return changes


def _accepted(report: Report, reason: str, here: str) -> Accepted:
    environment = describe(report.environment)
    for what, text in (("--reason", reason), (f"run {report.run}: its environment", environment)):
        if len(text) > LONGEST_TEXT:
            raise BadInput(f"{what}: {len(text)} characters, expected at most {LONGEST_TEXT}; give a shorter one")
    return Accepted(
        date=today().isoformat(),
        reason=reason,
        run=report.run,
        environment=environment,
        commit=_commit(report),
        results_class=here,
    )


def afresh(proposal: Proposal, folder: Path) -> Proposal:
    """Add the cells of the old file that the proposal drops; none where the file cannot be read."""
    try:
        old = read_record(json_path(folder, proposal.file.model), BaselineFile, "baseline")
    except BadInput:
        return proposal
    return replace(proposal, dropped=sorted(set(old.cells) - set(proposal.file.cells)))


def _commit(report: Report) -> str | None:
    """Return the commit of the models' repository; of quantbench's checkout, where they are in none."""
    here = report.environment
    commit, dirty = here.git_commit, here.git_dirty
    if here.repository_commit:
        commit, dirty = here.repository_commit, here.repository_dirty or (commit == here.repository_commit and dirty)
    return f"{commit}-dirty" if commit and dirty else commit


def _stored(cells: list[Cell], run_folder: Path, model: str) -> dict[str, Array]:
    """Read the run's predictions, and check that they match its report."""
    path = run_folder / "predictions" / f"{model}.npz"
    if all(cell.predictions_sha256 is None for cell in cells):
        return {}  # no cell could be made, so that none has predictions
    stored = read_predictions(path, "predictions of the run", inside=run_folder)
    for cell in cells:
        if cell.predictions_sha256 is None:
            continue
        if cell.variant not in stored or cell.predictions_sha256 not in stored_hashes(stored[cell.variant]):
            raise BadInput(
                f"{path}: array {cell.variant!r}: expected the predictions of the report ('predictions_sha256' "
                f"{cell.predictions_sha256[:12]}…); fetch the run's whole folder again"
            )
        score = cell.measurements.get("score")
        if score is not None and len(stored[cell.variant]) != score.n:
            raise BadInput(
                f"{path}: array {cell.variant!r}: expected {score.n} predictions as in the report, found "
                f"{len(stored[cell.variant])}; fetch the run's whole folder again"
            )
        distance = cell.measurements.get(OUTPUT_DISTANCE)
        if distance is not None and not gate.is_distance_of(distance, stored.get(outputs_name(cell.variant))):
            raise BadInput(
                f"{path}: array {outputs_name(cell.variant)!r}: expected the distances whose mean is the report's "
                f"{distance.value:.9g}; fetch the run's whole folder again"
            )
    return stored


def _check_base(cell: Cell, base: BaselineCell, here: str, asked: bool) -> None:
    """Raise BadInput where an overlay makes no sense."""
    if not base.measurements and base.unsupported is None:
        raise BadInput(
            f"--per-machine: cell {cell.id} has no baseline that it could differ from; record it without --per-machine "
            "first"
        )
    score = base.measurements.get("score")
    if asked and here not in base.overlays and score is not None and class_accepted(score.accepted) == here:
        raise BadInput(
            f"--per-machine: the baseline of cell {cell.id} was recorded on this very machine profile ({here}); update "
            "it without --per-machine, or leave the cell out with --only"
        )


def _restarted(entry: BaselineCell) -> BaselineCell:
    fresh = {
        name: value.model_copy(update={"first": gate.first_of(value.model_copy(update={"first": None}))})
        for name, value in entry.measurements.items()
    }
    return entry.model_copy(update={"measurements": fresh})


def _exceptions(cells: list[Cell], kept: dict[str, BaselineCell], report: Report) -> dict[str, list[str]]:
    machine = report.environment.machine_class
    sentences_of = {c.id: gate.exceptions(kept[c.variant], c.metric_unit, today(), machine) for c in cells}
    return {cell_id: sentences for cell_id, sentences in sentences_of.items() if sentences}


def _declared(cells: list[Cell], before: Baseline, now: Baseline) -> dict[str, str]:
    """List what is newly declared: cells that cannot be made, are only partly quantized, or differ on a GPU."""
    newly_declared = {}
    for cell in cells:
        old = before.cell(cell.variant) or BaselineCell()
        new = now.cell(cell.variant) or BaselineCell()
        if cell.failure and not old.unsupported:
            newly_declared[cell.id] = cell.failure.reason
        if new.broken_promise and new.broken_promise != old.broken_promise:
            newly_declared[cell.id] = f"only partly quantized: {new.broken_promise}"
        for device, share in new.gpu_agreement.items():
            if share != old.gpu_agreement.get(device):
                newly_declared[cell.id] = f"answers as litert-cpu on {100 * share:.1f} % of the examples on {device}"
    return newly_declared


def limit_of(cell: Cell, entry: BaselineCell | None = None) -> LimitSeen | None:
    """Return a run's drop from the float control beside the release limit; None where the run judged none.

    Args:
        entry: the cell as an update writes it, with the limit that the model's file declares by now.
    """
    for judged in cell.judgements:
        if judged.against == "floor" and judged.tolerance is not None and judged.change is not None:
            now = entry.floor.max_drop if entry is not None and entry.floor is not None else judged.tolerance
            if now is None:
                return None
            return LimitSeen(judged.change, now, judged.verdict is Verdict.REGRESSED and judged.change > now)
    return None
