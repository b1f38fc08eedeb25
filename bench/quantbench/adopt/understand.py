"""Derive a reference model from any saved model and ``.npz`` files: metric, input range and loss.

``quantbench try`` does so in a temporary folder, ``quantbench adopt`` in folders that the user keeps; after that, both
treat it like the project's own models.
"""

import keyword
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from quantbench import files
from quantbench.adopt import formats, task
from quantbench.adopt.data import hashes, read_split
from quantbench.adopt.limits import Limit
from quantbench.adopt.loading import CannotRun, Loading
from quantbench.core.arrays import Array, Inputs, rows
from quantbench.errors import BadInput, DiskFull, disk_is_full
from quantbench.reference.datasets import file_sha256
from quantbench.reference.metrics import (
    RELATIVE_ERROR,
    Metric,
    by_name,
)
from quantbench.reference.model import Floor, Form, ReferenceModel, Scaled, load_file

PROBE_EXAMPLES = 500
SplitData = dict[str, tuple[Inputs, Array | None]]
SCALES = ("as_given", "unit", "symmetric")


@dataclass(frozen=True)
class Given:
    """Hold what the user gave.

    Attributes:
        model: a saved model, or ``file.py:NAME``.
        evaluation, calibration, training: ``.npz`` files.
        metric: name, or empty to derive it.
        max_drop: largest drop that may be shipped.
        allow_code: whether a Keras file may run its own code when it is loaded.
    """

    model: str
    evaluation: Path | None
    calibration: Path | None = None
    training: Path | None = None
    metric: str = ""
    max_drop: Limit = field(default_factory=Limit)
    allow_code: bool = False


@dataclass(frozen=True)
class Understood:
    """Hold the derived reference model, and notes about it, one line each."""

    model: ReferenceModel
    notes: list[str]


def understand(given: Given, name: str, folder: Path) -> Understood:
    """Write a reference model into ``folder``: ``NAME.py``, ``weights/`` and ``data/``.

    Raises:
        BadInput: model or data are wrong, or unsafe.
    """
    if is_code(given.model):
        return _code_model(given)
    if given.evaluation is None:
        raise BadInput("--data: give the examples to evaluate on, an .npz with x and y")
    path = Path(given.model)
    if not path.exists():
        raise BadInput(f"{path}: no such file; expected {formats.FORMS}")
    files.check_tree(path, "the model")  # before anything in it is opened, as a pipe or a device would never end
    form = formats.detect(path)
    formats.check_safe(path, form, given.allow_code)
    bare = _bare_model(path, name, form, folder, given)
    with Loading(bare, path) as loaded:
        specs = _input_specs(loaded, path)
        data, notes = _read_data(given, specs)
        probed = _probe(bare, data, specs, given, loaded, notes)
        x, y = data["test"]
        data["test"] = x, _own_outputs(probed, x, given, loaded) if y is None else y
    return Understood(_write(probed, data, folder), notes)


def _input_specs(loaded: Loading, path: Path) -> formats.Specs:
    try:
        return loaded.input_specs()
    except CannotRun as error:
        raise BadInput(f"{path}: cannot be loaded ({error})") from None


def is_code(model: str) -> bool:
    """Check whether ``--model`` names a Python file."""
    return ".py:" in model or model.endswith(".py")


def _code_model(given: Given) -> Understood:
    file, _, name = given.model.partition(":")
    models = {model.name: model for model in load_file(Path(file))}
    if name and name not in models:
        raise BadInput(f"{given.model}: {file} defines {', '.join(models)}, not {name}")
    model = models[name] if name else next(iter(models.values()))
    ignored = [option for option, value in (("--data", given.evaluation), ("--metric", given.metric)) if value]
    notes = [f"{', '.join(ignored)} ignored: a .py model brings its own"] if ignored else []
    score = model.seed_scores[0] if model.seed_scores else 1.0  # of a fraction the highest, where none is pinned
    return Understood(replace(model, floors=floors(given, model.metric, score, model.pack().test.y)), notes)


def floors(given: Given, metric: Metric, float_score: float, labels: Array | None) -> dict[str, Floor]:
    """Return the limit that a model is gated by, in its metric's unit.

    Args:
        float_score: of some examples at least.
    """
    return {"default": Floor(given.max_drop.of(metric, float_score, labels), "the limit given with --max-drop")}


def _bare_model(path: Path, name: str, form: Form, folder: Path, given: Given) -> ReferenceModel:
    """Create a reference model of the saved file, with its data and metric not yet derived."""
    suffix = "" if path.is_dir() else {"tflite": ".tflite"}.get(form, path.suffix or ".keras")
    kept = folder / "weights" / f"{name}{suffix}"
    kept.parent.mkdir(parents=True, exist_ok=True)
    try:
        files.copy_tree(path, kept, "the model")
    except OSError as error:
        if disk_is_full(error):
            raise DiskFull(f"no space is left for a copy of {path} in {folder}; free some") from None
        raise BadInput(f"{path}: cannot be copied: {str(error)[:200]}") from None
    return ReferenceModel(
        name=name,
        description=f"adopted from {path.name}",
        weights=f"weights/{kept.name}",
        weights_sha256=file_sha256(kept),
        data=f"data/{name}.npz",
        data_sha256="",
        floors={},
        form=form,
        trusted=given.allow_code,
        file=folder / f"{name}.py",
    )


# ---------------------------------------------------------------- data and metric


def _read_data(given: Given, specs: formats.Specs) -> tuple[SplitData, list[str]]:
    """Read split -> (inputs that fit the model, labels), and notes."""
    files = {"test": given.evaluation, "calibration": given.calibration, "train": given.training}
    data = {}
    for split, path in files.items():
        if path is not None:
            data[split] = read_split(path, specs)
    if "train" in data and data["train"][1] is None:
        raise BadInput(f"{given.training}: training data needs labels, an array y")
    notes = []
    for split in ("calibration", "train"):
        shared = len(hashes(data[split][0]) & hashes(data["test"][0])) if split in data else 0
        if shared:
            notes.append(
                f"warning: {shared} {split} examples are evaluation examples too, so the score of what uses them is "
                "better than it will be in the field"
            )
    if "calibration" not in data and "train" not in data:
        notes.append("no calibration data: variants with a static range are refused (--calibration c.npz)")
    if "train" not in data:
        notes.append("no training data: QAT is refused (--train-data t.npz)")
    return data, notes


def _probe(
    bare: ReferenceModel,
    data: SplitData,
    specs: formats.Specs,
    given: Given,
    loaded: Loading,
    notes: list[str],
) -> ReferenceModel:
    """Run the float model on a few examples to derive the metric, the input range and the loss."""
    x, y = data["test"]
    few = rows(x, slice(0, PROBE_EXAMPLES))
    dtypes = {name: np.dtype(dtype).name for name, (_, dtype) in specs.items()}
    images = all(array.dtype == np.uint8 for array in _arrays(x)) and all(
        name.startswith("f") for name in dtypes.values()
    )
    outputs_by_range = {}
    for how in SCALES if images else SCALES[:1]:
        prepare = Scaled(how, dtypes)  # type: ignore[arg-type]
        outputs_by_range[how] = (prepare, _float_outputs(loaded, prepare(few), given))
    metric = by_name(given.metric) if given.metric else task.metric_for(outputs_by_range["as_given"][1], y, notes)
    if y is None:
        if metric is not RELATIVE_ERROR:
            raise BadInput(f"{given.evaluation}: has no labels y, which the metric {metric.name} needs")
        how = "as_given"
    else:
        task.check_labels(given.evaluation, metric, y, outputs_by_range["as_given"][1])
        how = task.best_range(metric, outputs_by_range, rows(y, slice(0, PROBE_EXAMPLES)))  # type: ignore[arg-type]
    if images:
        words = {"as_given": "0 to 255 as given", "unit": "divided by 255", "symmetric": "scaled to -1..1"}
        notes.append(f"input range: uint8 pixels {words[how]}: the float model scores best so")
    prepare, outputs = outputs_by_range[how]
    score = 0.0 if y is None else metric.value(metric.predict(outputs, prepare(few)), rows(y, slice(0, PROBE_EXAMPLES)))  # type: ignore[arg-type]
    return replace(
        bare,
        metric=metric,
        prepare=prepare,
        loss=task.loss_for(metric, outputs),
        floors=floors(given, metric, score, y),
    )


def _float_outputs(loaded: Loading, inputs: Inputs, given: Given) -> Inputs:
    """Compute the float model's outputs. Raises BadInput where it cannot run on such examples."""
    try:
        return loaded.predict(inputs)
    except CannotRun as error:
        raise BadInput(
            f"{given.model}: the float model cannot be run on the examples of {given.evaluation} ({error})"
        ) from None


def _arrays(inputs: Inputs) -> list[Array]:
    return list(inputs.values()) if isinstance(inputs, dict) else [inputs]


# ---------------------------------------------------------------- writing

# Text that others chose is only written by repr: a file's name may contain quotes and code.
_TEMPLATE = '''"""{name}: adopted by quantbench."""

from quantbench import Floor, ReferenceModel, Scaled, by_name{logits_import}

MODEL = ReferenceModel(
    name={name!r},
    description={description!r},
    form={form!r},
    weights={weights!r},
    weights_sha256={weights_sha256!r},
    data={data!r},
    data_sha256={data_sha256!r},
    metric=by_name({metric!r}),
    prepare=Scaled({how!r}, {dtypes!r}),
    loss={loss},
    trusted={trusted!r},
    floors={{"default": Floor({max_drop!r}, "the limit given when the model was adopted")}},
)
'''


def _write(model: ReferenceModel, data: SplitData, folder: Path) -> ReferenceModel:
    """Write the data pack and the model file; return the model that the file declares."""
    pack = folder / model.data
    pack.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Array] = {}
    for split, (inputs, labels) in data.items():
        if isinstance(inputs, dict):
            arrays |= {f"x_{split}.{name}": values for name, values in inputs.items()}
        else:
            arrays[f"x_{split}"] = inputs
        if labels is not None:
            arrays[f"y_{split}"] = labels
    np.savez_compressed(pack, **arrays)  # type: ignore[arg-type]
    assert isinstance(model.prepare, Scaled)
    logits = model.loss == "logits"
    text = _TEMPLATE.format(
        name=model.name,
        logits_import=", logits_loss" if logits else "",
        description=model.description,
        form=model.form,
        weights=model.weights,
        weights_sha256=model.weights_sha256,
        data=model.data,
        data_sha256=file_sha256(pack),
        metric=model.metric.name,
        how=model.prepare.how,
        dtypes=dict(model.prepare.dtypes),
        loss="logits_loss" if logits else repr(model.loss),
        trusted=model.trusted,
        max_drop=model.floors["default"].max_drop,
    )
    model.file.write_text(text, encoding="utf-8")
    return load_file(model.file)[0]


def _own_outputs(model: ReferenceModel, x: Inputs, given: Given, loaded: Loading) -> Array:
    """Compute the float model's own outputs, which replace the missing labels."""
    return RELATIVE_ERROR.predict(_float_outputs(loaded, model.prepare(x), given), {})


def check_name(name: str) -> None:
    """Raise BadInput unless the name can be that of a file and of a cell."""
    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
        raise BadInput(f"--name: expected letters, digits and underscores, a letter first, found {name!r}")
