"""Derive a reference model from any saved model and examples: metric, input range and loss.

``quantbench try`` does so in a temporary folder, ``quantbench adopt`` in folders that the user keeps; after that, both
treat it like the project's own models.
"""

import keyword
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from quantbench import files
from quantbench.adopt import data as examples
from quantbench.adopt import formats, hints, pack, task
from quantbench.adopt.loading import CannotRun, Loading
from quantbench.core.arrays import Array, Inputs, chunks, rows
from quantbench.errors import BadInput, DiskFull, disk_is_full
from quantbench.reference.datasets import file_sha256
from quantbench.reference.metrics import (
    RELATIVE_ERROR,
    by_name,
    first_output,
)
from quantbench.reference.model import Floor, Form, ReferenceModel, Scaled, load_file

PROBE_EXAMPLES = 500
_PROBE_BYTES = 2**28  # of these as float32; 445 images of 224 x 224 x 3
_SCRATCH = ".examples"  # beside the data pack, so that what is written there can be moved into it
SCALES = ("as_given", "unit", "symmetric")


@dataclass(frozen=True)
class Given:
    """Hold what the user gave.

    Attributes:
        model: a saved model, or ``file.py:NAME``.
        evaluation, calibration, training: examples in any form, see :mod:`quantbench.adopt.data`.
        metric: name, or empty to derive it.
        max_drop: largest drop that may be shipped, in the metric's unit.
        allow_code: whether a Keras file may run its own code when it is loaded.
    """

    model: str
    evaluation: Path | None
    calibration: Path | None = None
    training: Path | None = None
    metric: str = ""
    max_drop: float = 0.5
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
    if not (math.isfinite(given.max_drop) and given.max_drop >= 0):
        raise BadInput(f"--max-drop: expected a number of at least 0, found {given.max_drop}")
    if is_code(given.model):
        return _code_model(given)
    if given.evaluation is None:
        raise BadInput(f"--data: give the examples to evaluate on: {hints.FORMS}")
    path = Path(given.model)
    if not path.exists():
        raise BadInput(f"{path}: no such file; expected {formats.FORMS}")
    files.check_tree(path, "the model")  # before anything in it is opened, as a pipe or a device would never end
    form = formats.detect(path)
    formats.check_safe(path, form, given.allow_code)
    bare = _bare_model(path, name, form, folder, given)
    with Loading(bare, path) as loaded:
        specs = _input_specs(loaded, path)
        sources = {"test": given.evaluation, "calibration": given.calibration, "train": given.training}
        found = examples.read(sources, specs, bare.file.parent / "data" / _SCRATCH)
        probed = _probe(bare, found, specs, given, loaded)
        x, y = found.data["test"]
        found.data["test"] = x, _own_outputs(probed, x, given, loaded) if y is None else y
    return Understood(_write(probed, found, folder, given), found.notes)


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
    limit = Floor(given.max_drop, "the limit given with --max-drop")
    return Understood(replace(model, floors={"default": limit}), notes)


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
        floors={"default": Floor(given.max_drop, "the limit given with --max-drop")},
        form=form,
        trusted=given.allow_code,
        file=folder / f"{name}.py",
    )


# ---------------------------------------------------------------- data and metric


def _probe(
    bare: ReferenceModel,
    found: examples.Found,
    specs: formats.Specs,
    given: Given,
    loaded: Loading,
) -> ReferenceModel:
    """Run the float model on a few examples to derive the metric, the input range and the loss."""
    x, y = found.data["test"]
    notes = found.notes
    first = slice(0, _probed_examples(specs))
    few = rows(x, first)
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
        outputs = outputs_by_range["as_given"][1]
        task.check_labels(given.evaluation, metric, y, outputs)
        if metric.kind == "right_or_wrong":
            examples.check_classes(given.evaluation, found.classes, math.prod(first_output(outputs).shape[1:]))
        how = task.best_range(metric, outputs_by_range, rows(y, first))  # type: ignore[arg-type]
    if images:
        words = {"as_given": "0 to 255 as given", "unit": "divided by 255", "symmetric": "scaled to -1..1"}
        notes.append(f"input range: uint8 pixels {words[how]}: the float model scores best so")
    prepare, outputs = outputs_by_range[how]
    return replace(bare, metric=metric, prepare=prepare, loss=task.loss_for(metric, outputs))


def _probed_examples(specs: formats.Specs) -> int:
    """Return how many examples fit into the memory of a probe: one at least."""
    values = sum(math.prod(shape[1:]) for shape, _ in specs.values())
    return max(1, min(PROBE_EXAMPLES, _PROBE_BYTES // (4 * max(1, values))))


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
    trusted={trusted!r},{classes}
    floors={{"default": Floor({max_drop!r}, "the limit given when the model was adopted")}},
)
'''


def _write(model: ReferenceModel, found: examples.Found, folder: Path, given: Given) -> ReferenceModel:
    """Write the data pack and the model file; return the model that the file declares."""
    place = (folder / model.data).parent
    pack_name, pack_sha256 = pack.write(
        place, model.name, pack.inputs(found.data) | pack.labels(found.data), found.stored
    )
    examples.forget(place / _SCRATCH)
    assert isinstance(model.prepare, Scaled)
    logits = model.loss == "logits"
    text = _TEMPLATE.format(
        name=model.name,
        logits_import=", logits_loss" if logits else "",
        description=model.description,
        form=model.form,
        weights=model.weights,
        weights_sha256=model.weights_sha256,
        data=f"{place.name}/{pack_name}",
        data_sha256=pack_sha256,
        metric=model.metric.name,
        how=model.prepare.how,
        dtypes=dict(model.prepare.dtypes),
        loss="logits_loss" if logits else repr(model.loss),
        trusted=model.trusted,
        classes=f"\n    classes={found.classes!r}," if found.classes else "",
        max_drop=given.max_drop,
    )
    model.file.write_text(text, encoding="utf-8")
    return load_file(model.file)[0]


def _own_outputs(model: ReferenceModel, x: Inputs, given: Given, loaded: Loading) -> Array:
    """Compute the float model's own outputs chunk by chunk, which replace the missing labels."""
    parts = [rows(x, part) for part in chunks(x)]
    return np.concatenate([RELATIVE_ERROR.predict(_float_outputs(loaded, model.prepare(p), given), {}) for p in parts])


def check_name(name: str) -> None:
    """Raise BadInput unless the name can be that of a file and of a cell."""
    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
        raise BadInput(f"--name: expected letters, digits and underscores, a letter first, found {name!r}")
