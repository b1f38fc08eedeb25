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
from quantbench.baselines.update_cell import degrees, of_devices, taken, with_pooled_noise
from quantbench.core.arrays import Array
from quantbench.core.distances import of_head, outputs_of
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
from quantbench.records.measurements import OUTPUT_DISTANCE, of_output
from quantbench.reference.datasets import read_predictions
from quantbench.reference.heads import by_output
from quantbench.reference.model import Floor, ReferenceModel
from quantbench.variants import VARIANTS

FloorOf = Callable[[str, str], Floor | None]  # (variant, family) -> the floor in a model's file


def floors_of(model: ReferenceModel) -> dict[str, FloorOf]:
    """Return what finds the release limits of each scored output of a model; the main one is empty, and first."""
    return {output: scored.floor for output, scored in by_output(model).items()}


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
    cells = [cell for cell in report.cells if cell.model == model.name]
    heads = {head.name: head.metric.name for head in model.heads}
    for cell in cells:
        found = {name: output.metric for name, output in cell.outputs.items()}
        if found != heads:
            raise BadInput(
                f"{path}: field 'outputs': the further outputs of {model.name} are scored by {heads or 'nothing'}, "
                f"found {found or 'nothing'}; run it again"
            )
    metrics = {cell.metric for cell in cells} - {model.metric.name}
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
        for output, scored in by_output(model).items():
            _check_score(report, path, cell, output, scored, stored)


def _check_score(
    report: Report, path: Path, cell: Cell, output: str, model: ReferenceModel, stored: dict[str, Array]
) -> None:
    score = cell.measurements.get(of_output("score", output))
    answers = stored.get(_predictions_of(cell.variant, output))
    if score is None or answers is None or cell.predictions_sha256 is None:
        return
    labels, whose = model.pack().test.y, named_output(f"cell {cell.id}", output)
    if is_of_target(overlays.stored_as(cell.variant, class_of(report.environment))):
        labels = labels[: score.n]
    if not model.metric.fits(answers, labels):
        raise BadInput(
            f"{path}: {whose}: its predictions, of shape {answers.shape}, are none of the {len(labels)} "
            "test examples; run it again"
        )
    if not gate.is_score_of(score, model.metric, answers, labels, bool(cell.seeds)):
        score_value = score.values[0] if cell.seeds and score.values else score.value
        raise BadInput(
            f"{path}: {whose}: the score {score_value:.9g} is not that of its stored predictions, "
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
    floor_of: FloorOf | Mapping[str, FloorOf] | None = None,
) -> Proposal:
    """Compute the new baseline of one model.

    Args:
        baseline: as stored on disk.
        only: ids of the cells to accept; all of the model's where None.
        overlay: write values that differ from the base for the run's results class, and leave the base unchanged;
            always so where a cell has such an overlay already.
        restart_drift: whether drift is measured from the values of these cells from now on.
        floor_of: (variant, family) -> floor in the model's file, or one of each output (:func:`floors_of`); None keeps
            the accepted floors.

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
        outputs = {output: draft.outputs(cell, output, moved, stored) for output in ("", *cell.outputs)}
        answers = {output: draft.answers(cell, output, moved, stored) for output in ("", *cell.outputs)}
        draft.take(cell, entry, answers, outputs, overlay)
    before = baseline.file.cells if baseline.file else {}
    by_output_of = floor_of if isinstance(floor_of, Mapping) or floor_of is None else {"": floor_of}
    limits = [] if by_output_of is None else draft.take_floors(cells, before, by_output_of)
    kept = {variant: without_outgrown(entry) for variant, entry in with_pooled_noise(draft.kept).items()}
    file = BaselineFile(
        model=model,
        metric=cells[0].metric,
        outputs={name: output.metric for name, output in cells[0].outputs.items()},
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

    def answers(self, cell: Cell, output: str, moved: list[Move], stored: dict[str, Array]) -> Array | None:
        """Choose the predictions of an output that belong to an entry; of the main one where it is empty.

        An equal score may have different predictions; a score that does not move keeps the old ones.
        """
        anew = _taken_anew(moved, of_output("score", output))
        return (stored if anew else self.seen.predictions).get(_predictions_of(cell.variant, output))

    def outputs(self, cell: Cell, output: str, moved: list[Move], stored: dict[str, Array]) -> Array | None:
        """Choose the distances of an output that belong to an entry, or the float control's own values of it."""
        anew = _taken_anew(moved, of_output(OUTPUT_DISTANCE, output))
        return (stored if anew else self.seen.predictions).get(outputs_of(cell.variant, output))

    def take_floors(
        self, cells: list[Cell], before: Mapping[str, BaselineCell], floor_of: Mapping[str, FloorOf]
    ) -> list[LimitChange]:
        """Put the model's release limits into the entries; return those that changed, of all cells of the model.

        Args:
            floor_of: of each output; the main one is empty.
        """
        families = {cell.variant: cell.family for cell in cells}
        scored = {cell.variant for cell in cells if Kind.ACCURACY in cell.verdicts or cell.failure is not None}
        for variant, family in families.items():
            now = {output: _max_drop(found(variant, family)) for output, found in floor_of.items()}
            accepted = AcceptedFloor(max_drop=now.pop(""), outputs=now)
            if variant in scored or self.kept[variant].floor is None:
                self.kept[variant] = self.kept[variant].model_copy(update={"floor": accepted})
        changes = []
        for variant, entry in before.items():
            if entry.floor is None or (variant not in families and variant not in VARIANTS):
                continue
            family = families[variant] if variant in families else VARIANTS[variant].family
            accepted_ones = {"": entry.floor.max_drop, **entry.floor.outputs}
            for output, then in accepted_ones.items():
                limit = floor_of[output](variant, family) if output in floor_of else None
                if _max_drop(limit) != then:
                    unit = cells[0].outputs[output].unit if output in cells[0].outputs else cells[0].metric_unit
                    reason = "" if limit is None else limit.reason
                    id_ = named_output(cell_key(cells[0].model, variant), output)
                    changes.append(LimitChange(id_, "", then, _max_drop(limit), unit, reason, variant in scored))
        return changes

    def take(
        self,
        cell: Cell,
        entry: BaselineCell,
        answers: Mapping[str, Array | None],
        outputs: Mapping[str, Array | None],
        overlay: bool,
    ) -> None:
        """Put an entry into the base, or into the overlay of its class where it has or requests one."""
        base = self.kept.get(cell.variant, BaselineCell())
        if overlay or self._here in base.overlays:
            _check_base(cell, base, self._here, overlay)
            self._lay_over(cell, base, entry, answers, outputs)
            return
        score = base.measurements.get("score")
        there = "" if score is None else class_accepted(score.accepted)
        if there not in ("", self._here) and not of_devices(cell):
            self.replaced[cell.id] = there
        self.kept[cell.variant] = entry
        for output, predictions in answers.items():
            scored = of_output("score", output) in entry.measurements
            self._keep(_predictions_of(cell.variant, output), predictions if scored else None)
        for output, distances in outputs.items():
            compared = of_output(OUTPUT_DISTANCE, output) in entry.measurements
            self._keep(outputs_of(cell.variant, output), distances if compared else None)

    def _lay_over(
        self,
        cell: Cell,
        base: BaselineCell,
        entry: BaselineCell,
        answers: Mapping[str, Array | None],
        outputs: Mapping[str, Array | None],
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
                **{name: getattr(entry, name) for name in ("gpu", "gpu_agreement", "gpu_refusal")},  # by device
            }
        )
        for output, predictions in answers.items():
            scored = own is not None and of_output("score", output) in own.measurements
            stored_as = overlays.stored_as(_predictions_of(cell.variant, output), self._here)
            self._keep(stored_as, predictions if scored else None)
        for output, distances in outputs.items():
            compared = own is not None and of_output(OUTPUT_DISTANCE, output) in own.measurements
            name = overlays.outputs_of(_predictions_of(cell.variant, output), self._here)
            self._keep(name, distances if compared else None)
        self.overlaid += [cell.id] if own is not None else []

    def _overlay(
        self, cell: Cell, base: BaselineCell, entry: BaselineCell, answers: Mapping[str, Array | None]
    ) -> Overlay | None:
        several = bool(cell.seeds)  # then the score over seeds decides, and one seed's predictions are no news
        of_base = {output: self._old.predictions.get(_predictions_of(cell.variant, output)) for output in answers}
        differ = [
            of_output("score", output)
            for output, predictions in answers.items()
            if predictions is not None and not several and not overlays.same(predictions, of_base[output])
        ]
        old = base.overlays.get(self._here, Overlay())
        return overlays.split_off(base, old, entry, self._accepted, several, differ)

    def _keep(self, name: str, answers: Array | None) -> None:
        self.predictions.pop(name, None)
        if answers is not None:
            self.predictions[name] = answers


def _max_drop(limit: Floor | None) -> float | None:
    return None if limit is None else limit.max_drop


def named_output(cell: str, output: str) -> str:
    """Return a cell's id with the further output that something is about; empty for the main one."""
    return f"{cell}, output {output}" if output else cell


def _predictions_of(variant: str, output: str) -> str:
    """Return the name of the stored predictions of an output; empty for the main one."""
    return of_head(variant, output) if output else variant


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


def check_length(what: str, text: str, before: str = "") -> None:
    """Raise BadInput where a text is longer than a baseline file may hold.

    Args:
        before: what the file holds in front of it.
    """
    most = LONGEST_TEXT - len(before)
    if len(text) > most:
        raise BadInput(f"{what}: {len(text)} characters, expected at most {most}; give a shorter one")


def _accepted(report: Report, reason: str, here: str) -> Accepted:
    environment = describe(report.environment)
    check_length("--reason", reason)
    check_length(f"run {report.run}: its environment", environment)
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
        for output in cell.outputs:
            if of_output("score", output) in cell.measurements and of_head(cell.variant, output) not in stored:
                raise BadInput(
                    f"{path}: expected the predictions of output {output} as array {of_head(cell.variant, output)!r}; "
                    "fetch the run's whole folder again"
                )
        if score is not None and len(stored[cell.variant]) != score.n:
            raise BadInput(
                f"{path}: array {cell.variant!r}: expected {score.n} predictions as in the report, found "
                f"{len(stored[cell.variant])}; fetch the run's whole folder again"
            )
        for output in ("", *cell.outputs):
            distance, name = cell.measurements.get(of_output(OUTPUT_DISTANCE, output)), outputs_of(cell.variant, output)
            if distance is not None and not gate.is_distance_of(distance, stored.get(name)):
                raise BadInput(
                    f"{path}: array {name!r}: expected the distances whose mean is the report's {distance.value:.9g}; "
                    "fetch the run's whole folder again"
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
    """List what is newly declared: cells that cannot be made, are partly quantized, differ on a GPU or do not load."""
    declared: dict[str, list[str]] = {}
    for cell in cells:
        said = declared.setdefault(cell.id, [])
        old = before.cell(cell.variant) or BaselineCell()
        new = now.cell(cell.variant) or BaselineCell()
        if cell.failure and not old.unsupported:
            said.append(cell.failure.reason)
        if new.broken_promise and new.broken_promise != old.broken_promise:
            said.append(f"only partly quantized: {new.broken_promise}")
        refused = new.micro.refusal if new.micro else None
        if refused is not None and (old.micro is None or old.micro.refusal != refused):
            said.append(f"does not run on TFLite-Micro: {refused.words}")
        for device, why in new.gpu_refusal.items():
            if why != old.gpu_refusal.get(device):
                said.append(f"does not run on {device}: {why}")
        for device, share in new.gpu_agreement.items():
            if share != old.gpu_agreement.get(device):
                said.append(f"answers as litert-cpu on {100 * share:.1f} % of the examples on {device}")
    return {cell_id: "; ".join(said) for cell_id, said in declared.items() if said}


def limit_of(cell: Cell, entry: BaselineCell | None = None) -> LimitSeen | None:
    """Return a run's drop from the float control beside the release limit; None where the run judged none.

    Args:
        entry: the cell as an update writes it, with the limit that the model's file declares by now.
    """
    for judged in cell.judgements:
        of_main = judged.against == "floor" and judged.measurement == "score"
        if of_main and judged.tolerance is not None and judged.change is not None:
            now = entry.floor.max_drop if entry is not None and entry.floor is not None else judged.tolerance
            if now is None:
                return None
            return LimitSeen(judged.change, now, judged.verdict is Verdict.REGRESSED and judged.change > now)
    return None
