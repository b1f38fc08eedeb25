"""Derive a reference model from any saved model and examples: metric, input range and loss.

``quantbench try`` does so in a temporary folder, ``quantbench adopt`` in folders that the user keeps; after that, both
treat it like the project's own models.
"""

import keyword
import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from quantbench import files
from quantbench.adopt import checks, formats, hints, pack, readings, task
from quantbench.adopt import data as examples
from quantbench.adopt import scales as scales_of
from quantbench.adopt.limits import Limit
from quantbench.adopt.loading import CannotRun, Loading
from quantbench.adopt.outputs import Output, usable
from quantbench.build import refusals
from quantbench.core.arrays import Array, Inputs, chunks, length, rows
from quantbench.errors import BadInput, DiskFull, disk_is_full
from quantbench.reference.datasets import file_sha256
from quantbench.reference.metrics import Metric, in_order, own
from quantbench.reference.model import Floor, Form, ReferenceModel, Scaled, load_file

PROBE_EXAMPLES = 500
# Of these as float32: 111 images of 224 x 224 x 3. They run on one core before anything else can start, and 445 on
# each scale took as long as a third of all evaluations of 1,000.
_PROBE_BYTES = 2**26
_SCRATCH = ".examples"  # beside the data pack, so that what is written there can be moved into it
SCALES = ("as_given", "unit", "symmetric")


@dataclass(frozen=True)
class Given:
    """Hold what the user gave.

    Attributes:
        model: a saved model, or ``file.py:NAME``.
        evaluation, calibration, training: examples in any form, see :mod:`quantbench.adopt.data`.
        metric: name, or ``file.py:NAME``, or empty to derive it; ``OUTPUT=NAME`` for each of several outputs.
        max_drop: largest drop that may be shipped.
        allow_code: whether a Keras file may run its own code when it is loaded.
        output: name of the output that ``y`` is of.
        labels: form of the labels, see :class:`quantbench.adopt.task.Asked`.
        quantized: whether a ``.tflite`` may be quantized, as it stands for a float model that nobody has.
    """

    model: str
    evaluation: Path | None
    calibration: Path | None = None
    training: Path | None = None
    metric: str = ""
    max_drop: Limit = field(default_factory=Limit)
    allow_code: bool = False
    output: str = ""
    labels: str = ""
    quantized: bool = False


@dataclass(frozen=True)
class Understood:
    """Hold the derived reference model.

    Attributes:
        notes: one line each.
        judged: the scored outputs with the evidence for how they are scored, the main one first; empty for a model that
            is code, which declares its own.
        inputs: name -> shape with the batch first, and dtype; empty for a model that is code.
        outputs: name in artifacts, empty where it is the only one -> shape of one example's output; the same.
    """

    model: ReferenceModel
    notes: list[str]
    judged: list[task.Judged] = field(default_factory=list)
    inputs: formats.Specs = field(default_factory=dict)
    outputs: dict[str, tuple[int, ...]] = field(default_factory=dict)


def understand(given: Given, name: str, folder: Path) -> Understood:
    """Write a reference model into ``folder``: ``NAME.py``, ``weights/`` and ``data/``.

    Raises:
        BadInput: model or data are wrong, or unsafe.
    """
    if is_code(given.model):
        return _code_model(given)
    if given.evaluation is None:
        raise BadInput(f"--data: give the examples to evaluate on: {hints.FORMS}")
    path = Path(given.model)
    if not path.exists():
        raise BadInput(f"{path}: no such file; expected {formats.FORMS}")
    files.check_tree(path, "the model")  # before anything in it is opened, as a pipe or a device would never end
    form = formats.detect(path)
    formats.check_safe(path, form, given.allow_code, given.quantized)
    bare = _bare_model(path, name, form, folder, given)
    with Loading(bare, path) as loaded:
        specs = _input_specs(loaded, path)
        sources = {"test": given.evaluation, "calibration": given.calibration, "train": given.training}
        found = examples.read(sources, specs, bare.file.parent / "data" / _SCRATCH)
        notes = [*checks.notes({split: inputs for split, (inputs, _) in found.data.items()}, sources), *found.notes]
        scored = _probe(found, specs, given, loaded, notes)
        x, _ = found.data["test"]
        if policy := formats.half_precision(path, form):
            notes.insert(0, _precision_note(policy, scored, rows(x, slice(0, _probed_examples(specs))), loaded, given))
        scored = _with_own_outputs(scored, x, given, loaded)
    model = _write(bare, scored, found, folder, given)
    return Understood(model, notes, _as_written(model, scored.judged), specs, scored.outputs)


# Half precision rounds to three digits, which flips near ties; fewer equal answers than this are no rounding.
_LEAST_AGREEMENT = 0.95
# What numbers may differ by, as a share of the largest: several roundings to 11 or 8 bits.
_ROUNDED = {"float16": 0.01, "bfloat16": 0.05}


def _precision_note(policy: str, scored: "_Scored", x: Inputs, loaded: Loading, given: Given) -> str:
    """Name the policy of a half-precision model, and say how its float32 clone answers beside it."""
    few, metric = scored.prepare(x), scored.judged[0].metric
    clone, saved = (_float_outputs(loaded, few, given, as_saved) for as_saved in (False, True))
    within = _ROUNDED["bfloat16" if "bfloat16" in policy else "float16"]
    share = metric.agreement(metric.predict(clone, few), metric.predict(saved, few), within)
    count = length(few)
    about = f", within {100 * within:g} %" if metric.kind == "continuous" and not metric.by_value else ""
    warning = "" if share >= _LEAST_AGREEMENT else "warning: "
    return (
        f"{warning}{Path(given.model).name} computes in half precision (dtype policy {policy}), which TFLite does not: "
        "a float32 clone with the same weights is quantized, which answers as the saved model on "
        f"{round(share * count)} of {count} examples{about}"
    )


def _input_specs(loaded: Loading, path: Path) -> formats.Specs:
    try:
        return loaded.input_specs()
    except CannotRun as error:
        raise BadInput(f"{path}: cannot be loaded ({refusals.explained(str(error)) or error})") from None


def is_code(model: str) -> bool:
    """Check whether ``--model`` names a Python file."""
    return ".py:" in model or model.endswith(".py")


def _code_model(given: Given) -> Understood:
    file, _, name = given.model.partition(":")
    models = {model.name: model for model in load_file(Path(file))}
    if name and name not in models:
        raise BadInput(f"{given.model}: {file} defines {', '.join(models)}, not {name}")
    model = models[name] if name else next(iter(models.values()))
    pairs = (
        ("--data", given.evaluation),
        ("--metric", given.metric),
        ("--output", given.output),
        ("--labels", given.labels),
    )
    ignored = [option for option, value in pairs if value]
    notes = [f"{', '.join(ignored)} ignored: a .py model brings its own"] if ignored else []
    score = model.seed_scores[0] if model.seed_scores else 1.0  # of a fraction the highest, where none is pinned
    return Understood(replace(model, floors=floors(given, model.metric, score, model.pack().test.y)), notes)


def floors(
    given: Given,
    metric: Metric,
    float_score: float,
    labels: Array | None,
    output: str = "",
    main: Metric | None = None,
) -> dict[str, Floor]:
    """Return the limit that an output of a model is gated by, in its metric's unit.

    Args:
        float_score: of some examples at least.
        main: metric of the main output, where this is a further one.
    """
    largest = given.max_drop.of(metric, float_score, labels, output, main)
    return {"default": Floor(largest, "the limit given with --max-drop")}


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


@dataclass(frozen=True)
class _Scored:
    """Hold what is scored, on which scale of the inputs, the limits of each scored output, and all outputs' shapes."""

    judged: list[task.Judged]
    prepare: Scaled
    floors: list[dict[str, Floor]]
    outputs: dict[str, tuple[int, ...]]


def _probe(
    found: examples.Found,
    specs: formats.Specs,
    given: Given,
    loaded: Loading,
    notes: list[str],
) -> _Scored:
    """Run the float model on a few examples to find what is scored, and the input range."""
    (x, _), labels = found.data["test"], found.labels
    few = rows(x, slice(0, _probed_examples(specs)))
    dtypes = {name: np.dtype(dtype).name for name, (_, dtype) in specs.items()}
    images = all(array.dtype == np.uint8 for array in _arrays(x)) and all(
        name.startswith("f") for name in dtypes.values()
    )
    scales = [Scaled(how, dtypes) for how in (SCALES if images else SCALES[:1])]  # type: ignore[arg-type]
    try:
        known = loaded.outputs()
    except CannotRun:  # names and activations only help: the outputs themselves tell the rest
        known = []
    asked = task.Asked(given.metric, given.output, given.labels)

    def run(prepare: Scaled, raw: Inputs) -> task.Probe:
        nonlocal known
        inputs = prepare(raw)
        outputs = _float_outputs(loaded, inputs, given)
        named = outputs if isinstance(outputs, dict) else {"": outputs}
        if set(named) != {one.key for one in known}:  # as by a signature with names of its own
            known = usable([Output(name, name or "output") for name in in_order(named)])
        return task.Probe(inputs, {one.key: named[one.key] for one in known})

    def judged_first(first: list[task.Probe]) -> task.Judged | None:
        try:
            return task.work_out(first, known, labels["test"], asked, given.evaluation)[0]
        except BadInput:  # which all examples may settle
            return None

    probes = scales_of.probed(scales, few, run, judged_first)
    if columns := task.by_column(probes, known, labels["test"], asked, given.evaluation):
        notes.append(f"y has a column for each output, in the model's own order: {', '.join(columns)}")
        for split, own_labels in labels.items():
            labels[split] = _columns(own_labels, columns, split)
    judged = task.work_out(probes, known, labels["test"], asked, given.evaluation)
    if judged[0].labelled and judged[0].metric.kind == "right_or_wrong":
        examples.check_classes(given.evaluation, found.classes, math.prod(judged[0].shape))
    chosen = task.best_probe(judged[0], probes) if judged[0].labelled else 0
    if images:
        words = {"as_given": "0 to 255 as given", "unit": "divided by 255", "symmetric": "scaled to -1..1"}
        why = (
            "the float model scores best so"
            if judged[0].labelled
            else "assumed, because without labels nothing tells it; where the model takes another, save inputs as "
            "float32 in its range"
        )
        notes.append(f"input range: uint8 pixels {words[scales[chosen].how]}: {why}")
    scored = [_with_score(one, probes[chosen]) if one.labelled else one for one in judged]
    notes[:0] = [_note(one, several=len(known) > 1) for one in scored]
    limits = [_limit(given, one, judged[0].metric, probes[chosen]) for one in judged]
    shapes = {key: tuple(values.shape[1:]) for key, values in probes[chosen].outputs.items()}
    return _Scored(scored, scales[chosen], limits, shapes)


def _limit(given: Given, judged: task.Judged, main: Metric, probe: task.Probe) -> dict[str, Floor]:
    score = task.float_score(judged, probe) if judged.labelled else 0.0
    return floors(given, judged.metric, score, judged.labels if judged.labelled else None, judged.output, main)


def _probed_examples(specs: formats.Specs) -> int:
    """Return how many examples fit into the memory of a probe: one at least."""
    values = sum(math.prod(shape[1:]) for shape, _ in specs.values())
    return max(1, min(PROBE_EXAMPLES, _PROBE_BYTES // (4 * max(1, values))))


def _columns(labels: dict[str, Array], names: list[str], split: str) -> dict[str, Array]:
    """Return each column of ``y`` as the labels of its output. Raises BadInput where their number differs."""
    if "" not in labels:
        return labels
    if labels[""].shape[1:] != (len(names),):
        raise BadInput(
            f"{split} data: y has shape {labels[''].shape}; expected {len(names)} columns, as for evaluation"
        )
    return {name: labels[""][:, place] for place, name in enumerate(names)}


def _with_score(judged: task.Judged, probe: task.Probe) -> task.Judged:
    """Add the float model's score on the probed examples to the evidence."""
    count = len(next(iter(probe.outputs.values())))
    scores = [(judged.metric, task.float_score(judged, probe))]
    scores += [(also, task.float_score(replace(judged, metric=also), probe)) for also in _also(judged.metric)]
    words = ", ".join(f"{metric.name} {shown(metric, value)}" for metric, value in scores)
    return replace(judged, evidence=[*judged.evidence, f"float32 on the first {count:,} examples: {words}"])


def _also(metric: Metric) -> list[Metric]:
    """Return the further metrics of the same predictions, with the outputs of this one."""
    return [replace(also, predict=metric.predict, outputs=metric.outputs) for also in metric.also]


def shown(metric: Metric, value: float) -> str:
    """Write a score with its unit, with digits that show it whatever its size."""
    if metric.scale == 100:
        return f"{100 * value:.3g} %" if abs(value) < 0.1 else f"{100 * value:.1f} %"
    return f"{value:.4g}" if metric.unit == "units" else f"{value:.4g} {metric.unit}"


def _note(judged: task.Judged, several: bool) -> str:
    if not judged.labelled and not several:
        return judged.evidence[0]
    of = f" of output {judged.output}" if several else ""
    return f"metric: {judged.metric.name}{of}: {'; '.join(judged.evidence)}"


def _float_outputs(loaded: Loading, inputs: Inputs, given: Given, as_saved: bool = False) -> Inputs:
    """Compute the float model's outputs. Raises BadInput where it cannot run on such examples."""
    try:
        return loaded.predict(inputs, as_saved)
    except CannotRun as error:
        why = refusals.explained(str(error)) or error
        raise BadInput(
            f"{given.model}: the float model cannot be run on the examples of {given.evaluation} ({why})"
        ) from None


def _arrays(inputs: Inputs) -> list[Array]:
    return list(inputs.values()) if isinstance(inputs, dict) else [inputs]


# ---------------------------------------------------------------- writing

# Text that others chose is only written by repr: a file's name may contain quotes and code.
_TEMPLATE = '''"""{name}: adopted by quantbench."""

from quantbench import {imports}

MODEL = ReferenceModel(
    name={name!r},
    description={description!r},
    form={form!r},
    weights={weights!r},
    weights_sha256={weights_sha256!r},
    data={data!r},
    data_sha256={data_sha256!r},
    metric={metric},
    prepare={prepare},
    loss={loss},
{more}    trusted={trusted!r},
    gate_variants=(),
    floors={floors},
)
'''
_LOSS_FUNCTIONS = ("logits_loss", "binary_logits_loss")


def _write(model: ReferenceModel, scored: _Scored, found: examples.Found, folder: Path, given: Given) -> ReferenceModel:
    """Write the data pack and the model file; return the model that the file declares."""
    place = (folder / model.data).parent
    main, heads = scored.judged[0], scored.judged[1:]
    keys = ["", *(f"head{number}" for number in range(1, len(scored.judged)))]
    arrays = pack.inputs(found.data)
    for key, one in zip(keys, scored.judged, strict=True):
        dot = f".{key}" if key else ""
        arrays[f"y_test{dot}"] = one.labels
        trained = _train_labels(one, found.labels.get("train", {}), given)
        if trained is not None:
            arrays[f"y_train{dot}"] = trained
    pack_name, pack_sha256 = pack.write(place, model.name, arrays, found.stored)
    examples.forget(place / _SCRATCH)
    used = {"Floor", "ReferenceModel", "Scaled"}
    prepare = f"Scaled({scored.prepare.how!r}, {dict(scored.prepare.dtypes)!r})"
    more = ""
    if main.loss == "rebuilt":
        used.add("Rebuilt")
        more += f"    training=Rebuilt({prepare}, {int(main.metric.name.partition(':')[2])}),\n"
    if heads:
        used.add("Head")
        lines = [
            f"        Head({one.output!r}, {_expression(one, folder, used)}, {key!r}, "
            f"{_loss(one, 'y_train.' + key in arrays, used)}, {_floors(limit)}),\n"
            for key, one, limit in zip(keys[1:], heads, scored.floors[1:], strict=True)
        ]
        more += f"    heads=(\n{''.join(lines)}    ),\n"
    if found.classes:
        more += f"    classes={found.classes!r},\n"
    metric = _expression(main, folder, used)
    loss = _loss(main, "y_train" in arrays or "train" not in found.data, used)
    text = _TEMPLATE.format(
        name=model.name,
        description=model.description,
        form=model.form,
        weights=model.weights,
        weights_sha256=model.weights_sha256,
        data=f"{place.name}/{pack_name}",
        data_sha256=pack_sha256,
        metric=metric,
        prepare=prepare,
        loss=loss,
        more=more,
        trusted=model.trusted,
        floors=_floors(scored.floors[0]),
        imports=", ".join(sorted(used, key=lambda one: (one.islower(), one))),
    )
    model.file.write_text(text, encoding="utf-8")
    return load_file(model.file)[0]


def _floors(limits: dict[str, Floor]) -> str:
    """Return the limits as they are written into the model's file."""
    return f'{{"default": Floor({limits["default"].max_drop!r}, "the limit given when the model was adopted")}}'


def _train_labels(judged: task.Judged, labels: dict[str, Array], given: Given) -> Array | None:
    """Return the training labels of an output in the form of its test labels; None where there are none."""
    y = labels.get(judged.source) if judged.labelled else None
    if y is None:
        return None
    array = f"y_{judged.source}" if judged.source else "y"
    if judged.labels.shape[1:] != (found := readings.in_form(judged.form, y)).shape[1:]:
        raise BadInput(
            f"{given.training}: {array} has shape {y.shape}, which does not go with that of the evaluation data, "
            f"whose labels are read as {judged.form}"
        )
    if judged.form not in ("values", "as given") and judged.form.partition(" ")[0] != "one-hot":
        if not readings.whole_numbers(y):
            raise BadInput(f"{given.training}: {array} has dtype {y.dtype}, and the evaluation data has whole numbers")
        if judged.form in ("classes", "positions") and judged.metric.takes != "identities":
            task.check_classes(found, judged, f"{given.training}: {array}")
    return found


def _expression(judged: task.Judged, folder: Path, used: set[str]) -> str:
    """Return the metric as it is written into the model's file; a metric file is copied beside it."""
    if own.is_own(judged.made):
        file, name = own.parts(judged.made)
        kept = folder / "metrics" / file.name
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(file.read_bytes())
        own.check_travels(kept, file)
        used.add("metric_from_file")
        made = (
            f"metric_from_file(__file__, {f'metrics/{file.name}'!r}, {name!r}, {judged.shape!r}, {file_sha256(kept)!r})"
        )
    else:
        used.add("by_name")
        made = f"by_name({judged.made!r})"
    of = f".of({', '.join(repr(one) for one in judged.metric.outputs)})" if judged.metric.outputs else ""
    return made + of


def _loss(judged: task.Judged, labelled: bool, used: set[str]) -> str:
    """Return the loss as it is written into the model's file; empty where there is nothing to train on."""
    if not labelled or not judged.labelled:
        return "''"
    if judged.loss in _LOSS_FUNCTIONS:
        used.add(judged.loss)
        return judged.loss
    return repr("mean_squared_error" if judged.loss == "rebuilt" else judged.loss)


def _as_written(model: ReferenceModel, judged: list[task.Judged]) -> list[task.Judged]:
    """Return what is judged with the metrics that the model's file declares, which are those of the run."""
    metrics = [model.metric, *(head.metric for head in model.heads)]
    return [replace(one, metric=metric) for one, metric in zip(judged, metrics, strict=True)]


def _with_own_outputs(scored: "_Scored", x: Inputs, given: Given, loaded: Loading) -> _Scored:
    """Put the float model's own outputs in the place of missing labels."""
    if all(one.labelled for one in scored.judged):
        return scored
    missing = [one for one in scored.judged if not one.labelled]
    parts: list[list[Array]] = [[] for _ in missing]
    for part in chunks(x):
        outputs = _float_outputs(loaded, scored.prepare(rows(x, part)), given)
        for labels, one in zip(parts, missing, strict=True):
            labels.append(one.metric.predict(outputs, {}))
    own_labels = iter([np.concatenate(labels) for labels in parts])
    judged = [one if one.labelled else replace(one, labels=next(own_labels)) for one in scored.judged]
    return replace(scored, judged=judged)


def check_name(name: str) -> None:
    """Raise BadInput unless the name can be that of a file and of a cell."""
    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
        raise BadInput(f"--name: expected letters, digits and underscores, a letter first, found {name!r}")
