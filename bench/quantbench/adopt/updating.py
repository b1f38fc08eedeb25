"""Take a retrained or changed model over under the name of an adopted one: compare, review, and keep the history.

The new float model and its artifacts are compared with the previous ones on the same examples, in pairs. What is surely
worse, or breaks a limit, is red, and nothing is written unless the user accepts it with a reason.
"""

import difflib
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from quantbench import files
from quantbench.adopt import artifacts, declaration, gating, limits, pack, understand
from quantbench.adopt.before_and_now import accepted_sizes, compared, of_compiled, review, sizes_of, worse_words
from quantbench.adopt.limits import Limit
from quantbench.adopt.search import run_predictions
from quantbench.baselines import files as baseline_files
from quantbench.baselines import retrained, update
from quantbench.core.arrays import Array, Inputs
from quantbench.core.output import output_to
from quantbench.core.signals import check, settle, undisturbed
from quantbench.engine.session import Session
from quantbench.errors import BadInput, Exit
from quantbench.records import BuiltArtifact, MixedRecipe, Verdict, read_recipe, recipe_text
from quantbench.reference.datasets import Split
from quantbench.reference.metrics import RELATIVE_ERROR
from quantbench.reference.model import Head, ReferenceModel, load_file, load_models
from quantbench.variants import FLOAT_CONTROL, built, known, offered, tuned

Say = Callable[[str], None]
_SPLITS = {"test": "evaluation", "calibration": "calibration", "train": "training"}


@dataclass(frozen=True)
class Asked:
    """Hold how a model is to be updated.

    Attributes:
        name: of the adopted model.
        gate: variants to gate from now on, comma-separated; empty for those gated so far.
        new_data: whether other evaluation data is meant, so that the previous model is measured on it too.
        accept: why what got worse is accepted; empty where it is not.
        max_drop: the new limit; None keeps the floors of the model's file.
        latency_budget: seconds of timing per variant; 0: nothing is timed.
        recipe: of a mixed artifact, in the place of the one so far; None keeps that one, if there is any.
        own: artifacts that other tools build, beside those so far or in their places, by variant.
    """

    name: str
    gate: str = ""
    new_data: bool = False
    accept: str = ""
    max_drop: Limit | None = None
    latency_budget: float = 3.0
    recipe: Path | None = None
    own: Mapping[str, BuiltArtifact] = field(default_factory=dict)


def update_for_good(given: understand.Given, asked: Asked, folders: gating.Folders, say: Say) -> Exit:
    """Measure the new model, compare it with the previous one, print a review, and write it where nothing got worse.

    Data that is not given stays as it was adopted.

    Returns:
        REGRESSED where a variant got worse or breaks its limit, and was not accepted: then nothing is written.

    Raises:
        BadInput: there is no such adopted model, the new one does not take its examples, or other evaluation data was
            given without saying so; see :func:`quantbench.adopt.understand.understand` too.
    """
    old = _adopted(asked.name, folders)
    baseline = baseline_files.load(folders.baseline_dir, old)
    if baseline.file is None:
        raise BadInput(
            f"--update: {asked.name} has no baseline in {folders.baseline_dir}; give its --baseline-dir, or adopt it"
        )
    if given.metric and given.metric not in (old.metric.name, _metric_of(old)):
        raise BadInput(
            f"--metric: {asked.name} is scored by {old.metric.name}, and so is its history; adopt the model under "
            f"another name to score it by {given.metric}"
        )
    if understand.is_code(given.model):
        raise BadInput(f"{given.model}: a .py model is not a saved model; change {old.file} instead")
    folders.check()
    update.check_length("--accept", asked.accept.strip())
    recipe = read_recipe(asked.recipe) if asked.recipe is not None else None
    listed = {**built.declared(old.file, old.name), **asked.own}
    gate = gating.named_gate(asked.gate, known([old])) or old.gate_variants or tuple(offered(old))
    gate = gating.with_tuned(gate) if recipe is not None else gate
    gate = gating.with_built(gate, asked.own)
    kinds = gating.kinds_for(asked.latency_budget)
    with tempfile.TemporaryDirectory(prefix="quantbench-") as place:
        aside = Path(place)
        understood = _understood(given, asked, old, aside, say)
        listed |= artifacts.checked(asked.own, understood, given.model, asked.accept)
        new = understood.model
        _bring_recipe(old, new.file.parent, recipe)
        artifacts.bring(listed, new)
        declaration.with_gate(new, gate if asked.gate or old.gate_variants else ())
        new = _keeping_edits(new, old, asked)
        same = _same_examples(new.pack().test, old.pack().test, old)
        if not same and not asked.new_data:
            raise BadInput(
                f"--data: {given.evaluation} has other examples or labels than those {asked.name} was adopted with, so "
                "old and new scores cannot be paired; leave --data out, or use --new-data to measure the old model "
                "on them too"
            )
        before, sizes = baseline.predictions, accepted_sizes(baseline)
        if not same:
            session, status, whole = gating.measured(_on_new_data(old, new, aside), gate, folders.report_dir, 0.0, say)
            if not whole:
                return status
            before = run_predictions(session, asked.name)
            sizes = sizes_of(session.report)
        session, status, whole = gating.measured(new, gate, folders.report_dir, asked.latency_budget, say)
        if not whole:
            return status
        gating.check_control(session.report, given.model)
        artifacts.check_made(session.report, asked.own)
        update.check_report(session.report, session.folder.path)
        rows = compared(session.report, new, before, run_predictions(session, asked.name), sizes)
        red = [f"{row.name}: {worse_words(row)}" for row in rows if row.worse]
        red += gating.failures(session.report)
        costs = [(name, one) for name, found in of_compiled(session.report, baseline).items() for one in found]
        red += [f"{name}: {one.message}" for name, one in costs if one.verdict in (Verdict.REGRESSED, Verdict.ERROR)]
        for line in review(rows, new, old, kept=asked.gate == "", same=same):
            say(line)
        for name, one in costs:
            say(f"{name}: {one.message}")
        for message in red:
            say(f"RED {message}")
        if red and not asked.accept.strip():
            say(f"Nothing was written: {asked.name} stays as it was. Accept this with --accept 'why'.")
            return Exit.REGRESSED
        reason = asked.accept.strip() or f"updated from {Path(given.model).name}"
        written = _write(new, old, baseline, session, aside / "model", folders, reason)
    for path in written:
        say(f"wrote {path}")
    say(f"gate it with: {gating.gate_command(folders, bool(kinds & {'latency'}), asked.name)}")
    return Exit.GREEN


# ---------------------------------------------------------------- the previous model and its data


def _adopted(name: str, folders: gating.Folders) -> ReferenceModel:
    """Return an adopted model. Raises BadInput."""
    models = load_models(folders.model_dir)
    if name not in models:
        near = difflib.get_close_matches(name, models, n=1, cutoff=0.6)
        hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(models)}"
        raise BadInput(f"--update: {folders.model_dir} has no model {name!r}; {hint}")
    model = models[name]
    if model.form == "code":
        raise BadInput(f"--update: {name} is a model of code, which adopt did not write; change {model.file} instead")
    return model


def _understood(
    given: understand.Given, asked: Asked, old: ReferenceModel, aside: Path, say: Say
) -> understand.Understood:
    """Derive the new reference model, with the splits of the adopted data where no other is given."""
    kept = _kept_data(old, aside / "kept")
    limit = old.floor(FLOAT_CONTROL, "control") or next(iter(old.floors.values()), None)
    whole = replace(
        given,
        evaluation=given.evaluation or kept["test"],
        calibration=given.calibration or kept.get("calibration"),
        training=given.training or kept.get("train"),
        metric=_metrics_of(old),
        output=",".join(old.metric.outputs) if old.heads else given.output,
        max_drop=asked.max_drop or (limits.parse(repr(limit.max_drop)) if limit else given.max_drop),
    )
    try:
        with output_to(aside / "loading.log"):
            understood = understand.understand(whole, asked.name, aside / "model")
    except BadInput as error:
        told = _in_users_words(str(error), kept, asked.name)
        more = "; give --data that fits, or adopt it under another name" if told != str(error) else ""
        raise BadInput(f"{told}{more}") from None
    for note in understood.notes:
        say(_in_users_words(note, kept, asked.name))
    return understood


_OWN = r"metric_from_file\(__file__, '(?P<file>[^']+)', '(?P<name>[^']+)'"  # as adopt writes a metric of the user's


def _metric_of(old: ReferenceModel, head: Head | None = None) -> str:
    """Return the metric of an output as ``--metric`` takes it; a metric file is the copy beside the adopted model."""
    begin = "    metric=" if head is None else f"Head({head.name!r}, "
    own = re.search(re.escape(begin) + _OWN, old.file.read_text(encoding="utf-8"))
    metric = old.metric if head is None else head.metric
    return f"{old.file.parent / own['file']}:{own['name']}" if own else metric.name


def _labelled(old: ReferenceModel) -> list[Head]:
    """Return the further outputs that have labels; the others are held to the float model's own outputs."""
    return [head for head in old.heads if head.metric.name != RELATIVE_ERROR.name]


def _metrics_of(old: ReferenceModel) -> str:
    """Return the metric of every output as ``--metric`` takes them, by the outputs' keys."""
    more = [f"{','.join(head.metric.outputs)}={_metric_of(old, head)}" for head in _labelled(old)]
    return ",".join([_metric_of(old), *more])


def _in_users_words(text: str, kept: Mapping[str, Path], name: str) -> str:
    for split, path in kept.items():
        text = text.replace(str(path), f"the {_SPLITS[split]} data of {name}")
    return text


def _kept_data(old: ReferenceModel, folder: Path) -> dict[str, Path]:
    """Write the adopted splits as the user once gave them: split -> file."""
    folder.mkdir()
    held = old.pack()
    written = {}
    for name, split in (("test", held.test), ("calibration", held.calibration), ("train", held.train)):
        if split is not None:
            written[name] = folder / f"{name}.npz"
            # Where there were no labels, those kept are the previous float model's own outputs.
            unlabelled = name == "calibration" or (name == "test" and old.metric.name == RELATIVE_ERROR.name)
            labels = None if unlabelled else split.y
            more = {
                f"y_{head.metric.outputs[0]}": split.more[head.labels]
                for head in _labelled(old)
                if not unlabelled and head.labels in split.more
            }
            np.savez(written[name], **_arrays(split.x, labels), **more)  # type: ignore[arg-type]
    return written


def _arrays(x: Inputs, y: Array | None) -> dict[str, Array]:
    inputs = {f"x_{name}": values for name, values in x.items()} if isinstance(x, dict) else {"x": x}
    return inputs if y is None else {**inputs, "y": y}


def _same_examples(new: Split, old: Split, model: ReferenceModel) -> bool:
    """Check whether two splits have the same examples and labels, in the same order."""
    labels = model.metric.name == RELATIVE_ERROR.name or np.array_equal(new.y, old.y)
    labels = labels and all(
        np.array_equal(new.more.get(head.labels, ()), old.more[head.labels]) for head in _labelled(model)
    )
    names, before = _arrays(new.x, None), _arrays(old.x, None)
    return bool(labels) and names.keys() == before.keys() and all(np.array_equal(names[k], before[k]) for k in names)


def _keeping_edits(new: ReferenceModel, old: ReferenceModel, asked: Asked) -> ReferenceModel:
    """Write the previous model's file with the new derived fields, so that floors and comments of people stay."""
    derived = declaration.DERIVED + (("floors",) if asked.max_drop is not None else ())
    before, now = old.file.read_text(encoding="utf-8"), new.file.read_text(encoding="utf-8")
    files.replace(new.file, declaration.updated(before, now, old.file, derived))
    return load_file(new.file)[0]


def _bring_recipe(old: ReferenceModel, folder: Path, recipe: MixedRecipe | None = None) -> None:
    """Put a recipe beside a model in another folder: the given one, or that of the previous model, if it has one."""
    path = tuned.recipe_file(old)
    if recipe is None and path.is_file():
        recipe = read_recipe(path, follow=False)
    if recipe is not None:
        files.replace(folder / path.name, recipe_text(recipe))


def _on_new_data(old: ReferenceModel, new: ReferenceModel, aside: Path) -> ReferenceModel:
    """Lay out the previous model with the new data, in a folder of its own."""
    folder = aside / "previous"
    weights = folder / old.weights
    weights.parent.mkdir(parents=True)
    files.copy_tree(old.file.parent / old.weights, weights, "the previous model", limit=sys.maxsize)
    data = folder / new.data
    data.parent.mkdir(parents=True, exist_ok=True)
    pack.copy_data(new.file.parent / new.data, data)
    _bring_recipe(old, folder)
    if listed := built.declared(old.file, old.name):
        built.declare(folder / old.file.name, old.name, listed)
    text = old.file.read_text(encoding="utf-8")
    path = folder / old.file.name
    now = new.file.read_text(encoding="utf-8")
    files.replace(path, declaration.updated(text, now, old.file, ("data", "data_sha256")))
    return load_file(path)[0]


# ---------------------------------------------------------------- writing


def _write(
    new: ReferenceModel,
    old: ReferenceModel,
    baseline: baseline_files.Baseline,
    session: Session,
    folder: Path,
    folders: gating.Folders,
    reason: str,
) -> list[Path]:
    """Write model, weights, data and baseline; what was there comes back where any of it fails.

    Raises:
        BadInput: a folder cannot be written.
        DiskFull: there is no space; everything is as it was.
    """
    fresh = update.propose(
        session.report, session.folder.path, new.name, baseline_files.Baseline(), reason, floor_of=update.floors_of(new)
    )
    proposal = retrained.with_history(fresh, baseline)
    model_dir, baseline_dir = folders.model_dir, folders.baseline_dir
    path = baseline_files.json_path(baseline_dir, new.name)
    touched = [model_dir / f"{new.name}.py", path, path.with_suffix(".npz")]
    touched += [tuned.recipe_file(old), built.list_of(old.file, old.name)]
    touched += [model_dir / one for one in {old.weights, new.weights, old.data, new.data}]
    with tempfile.TemporaryDirectory(prefix="quantbench-") as place:
        check()
        with undisturbed():  # a model without its baseline would be half updated
            kept = _set_aside(touched, Path(place))
            try:
                for one in {new.weights, new.data}:
                    if (model_dir / one).is_dir():  # files that only the previous one has would stay in it
                        _removed(model_dir / one)
                gating.copied(folder, model_dir)
                artifacts.settle(model_dir, new.name)
                saved = baseline_files.save(baseline_dir, proposal.file, proposal.predictions)
                for stale in {old.weights, old.data} - {new.weights, new.data}:
                    _removed(model_dir / stale)
            except BaseException:
                _put_back(touched, kept)
                raise
            settle()
    return [model_dir / f"{new.name}.py", *saved]


def _set_aside(paths: Sequence[Path], place: Path) -> dict[Path, Path]:
    """Copy what is there: path -> its copy."""
    kept = {}
    for number, path in enumerate(paths):
        if path.exists():
            kept[path] = place / str(number)
            files.copy_tree(path, kept[path], "the previous model", limit=sys.maxsize)
    return kept


def _put_back(paths: Sequence[Path], kept: Mapping[Path, Path]) -> None:
    for path in paths:
        if path.is_dir() or path not in kept:
            _removed(path)
        if path in kept:
            files.copy_tree(kept[path], path, "the previous model", limit=sys.maxsize)


def _removed(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
