"""Explain the error of a cell, or of two files: collect the artifacts and the examples, and attribute in a child."""

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from quantbench.baselines import files as baseline_files
from quantbench.build.store import Store, default_root
from quantbench.core import child_process, walls
from quantbench.core.arrays import Array, Inputs, rows
from quantbench.engine import artifacts
from quantbench.errors import BadInput
from quantbench.measure import attribution, work
from quantbench.records import FLOAT_CONTROL, ONE_MODEL, Attribution, Cell, Kind, Report, Verdict
from quantbench.records.measurements import output_in, without_output
from quantbench.reference.heads import by_output
from quantbench.reference.model import ReferenceModel, load_models
from quantbench.tflite import graph, matching
from quantbench.tflite.compiled import compiled_of

LIMIT_SECONDS = 600.0
# Examples that a repair is scored on, by the operations of one call: half a second to two for each score.
_SCORED = ((2_000_000, 4000), (20_000_000, 1000), (200_000_000, 200))
_FEW = 50


@dataclass(frozen=True)
class Subject:
    """Hold the artifacts of one cell.

    Attributes:
        name: of the cell.
        control: the float one; None where the cell was trained, whose weights are not the float model's.
        accepted: the accepted one; None where it is not at hand, or is the same.
        foreign: whether one came with a run folder, which another machine may have made: it runs behind walls, which
            let the child read the model's own folder besides.
        output: the further output that scores are of; empty: the main one.
    """

    name: str
    artifact: bytes
    control: bytes | None
    accepted: bytes | None
    foreign: bool = False
    output: str = ""


def is_red(cell: Cell) -> bool:
    """Check whether a cell's score or outputs got worse, or break a limit."""
    return cell.verdicts.get(Kind.ACCURACY) is Verdict.REGRESSED


def red_output(cell: Cell) -> str:
    """Return the further output whose score is red, where the main one's is not; else nothing."""
    red = [one.measurement for one in cell.judgements if one.verdict is Verdict.REGRESSED]
    outputs = [output_in(name) for name in red if without_output(name) == "score"]
    return outputs[0] if all(outputs) and outputs else ""


def moved(cell: Cell, cells: Iterable[Cell]) -> bool:
    """Check whether float32 of a cell's model is red itself, so that quantization is not what the cell lost by."""
    control = f"{cell.model}/{FLOAT_CONTROL}"
    return cell.id != control and any(one.id == control and is_red(one) for one in cells)


def of_cell(
    report: Report, folder: Path, name: str, model_dir: Path, baseline_dir: Path, against: Path | None = None
) -> Attribution:
    """Attribute the error of a cell of a run; for arguments and errors, see :func:`subject`."""
    return attributed(*subject(report, folder, name, model_dir, baseline_dir, against))


def subject(
    report: Report, folder: Path, name: str, model_dir: Path, baseline_dir: Path, against: Path | None = None
) -> tuple[Subject, ReferenceModel]:
    """Collect the artifacts of a cell of a run.

    Args:
        name: ``MODEL/VARIANT``.
        against: the accepted artifact; where None, it is looked for in the cache by the hash in the baseline.

    Raises:
        BadInput: there is no such cell or artifact, or its model is not in ``model_dir``.
    """
    cell, artifact = artifacts.find(report, folder, name)
    models = load_models(model_dir)
    if cell.model not in models:
        raise BadInput(f"{cell.id}: no model {cell.model} in {model_dir}; give its folder with --model-dir")
    model = models[cell.model]
    if compiled := compiled_of(graph.read(artifact)):
        raise BadInput(
            f"{cell.id}: is compiled for {compiled.compiler}, and nothing here runs it; explain what it was made from"
        )
    if against is not None:
        check_one_model(cell.id, artifact, against, "give an earlier artifact of this cell")
    accepted = read_tflite(against) if against is not None else _accepted(cell, model, baseline_dir)
    known = accepted if accepted != artifact else None
    instead = known is not None and moved(cell, report.cells)
    control = None if instead or cell.variant == FLOAT_CONTROL else _control(report, folder, cell)
    foreign = any(not artifacts.is_own(one) for one in (artifact, control) if one is not None)
    return Subject(cell.id, artifact, control, known, foreign, red_output(cell)), model


def attributed(subject: Subject, model: ReferenceModel, seconds: float = LIMIT_SECONDS) -> Attribution:
    """Attribute the error of an artifact of a reference model, with scores.

    Args:
        seconds: that it may take.

    Raises:
        BadInput: there is nothing to compare it with, or the child crashed.
    """
    check_reference(subject)
    as_scored = by_output(model)[subject.output]
    metric = as_scored.metric
    return _measured(subject, as_scored, seconds).model_copy(
        update={
            "subject": subject.name,
            "output": subject.output,
            "metric": metric.name,
            "unit": metric.unit,
            "scale": metric.scale,
            "higher_is_better": metric.higher_is_better,
            "reference": "float32" if subject.control is not None else "the accepted artifact",
        }
    )


def check_reference(subject: Subject) -> None:
    """Raise BadInput where there is nothing to compare an artifact with."""
    if subject.control is None and subject.accepted is None:
        if subject.name.endswith(f"/{FLOAT_CONTROL}"):
            raise BadInput(
                f"{subject.name}: it is what other cells are compared with, and no other accepted artifact is at hand; "
                "give an earlier artifact with --against FILE.tflite"
            )
        raise BadInput(
            f"{subject.name}: neither a float model with the same weights nor another accepted artifact is at hand "
            "(what is trained has weights of its own); give an earlier artifact with --against FILE.tflite"
        )


def of_files(artifact: Path, against: Path, examples: Inputs) -> Attribution:
    """Attribute what an artifact does otherwise than another one of the same model, float or quantized.

    Args:
        examples: prepared as the float model takes them.

    Raises:
        BadInput: a file is no ``.tflite``, or LiteRT crashes on one.
    """
    contents = [read_tflite(path) for path in (artifact, against)]
    _check_same_inputs(str(artifact), contents[0], against)
    with tempfile.TemporaryDirectory(prefix="quantbench-explain-") as place:
        folder = Path(place)
        is_float = not any(tensor.scales for tensor in graph.read(contents[1]).tensors)
        job = _job(folder, contents[0], contents[1], None if is_float else contents[1], examples)
        found = _in_child(job, child_process.room("tflite", folder), f"{artifact} and {against}")
    return found.model_copy(update={"subject": str(artifact), "reference": str(against)})


def examples_of(data: Path, model: Path) -> Inputs:
    """Read the examples ``x``, or ``x_INPUT`` for each input by its name in the signature, of an ``.npz``.

    Raises:
        BadInput: the file has no such arrays, no examples, or examples of another shape than the model's inputs.
    """
    whole = graph.read(read_tflite(model))
    entrance = next(iter(whole.signatures.values()), None)
    named = {} if entrance is None else {place: name for name, place in entrance.inputs.items()}
    names = [named.get(place, tensor.name) for place, tensor in enumerate(whole.inputs)]
    if not names:
        raise BadInput(f"{model}: the model has no input, so that nothing can be fed to it")
    wanted = ["x"] if len(names) == 1 else [f"x_{name}" for name in names]
    arrays = _arrays_of(data)
    if missing := [key for key in wanted if key not in arrays]:
        raise BadInput(f"{data}: expected the arrays {', '.join(missing)}, found {', '.join(arrays) or 'none'}")
    for key, tensor in zip(wanted, whole.inputs, strict=True):
        array, shape = arrays[key], tensor.declared_shape or tensor.shape
        fits = array.ndim == len(shape) and all(
            size in (-1, found) for size, found in zip(shape[1:], array.shape[1:], strict=True)
        )
        if not fits:
            raise BadInput(f"{data}: {key}: expected examples of shape {shape[1:]}, found {array.shape[1:]}")
        if not len(array) or array.dtype.kind not in "biuf" or not np.isfinite(array).all():
            told = f"{array.dtype} of shape {array.shape}"
            raise BadInput(f"{data}: {key}: expected one or more examples of finite numbers, found {told}")
    return arrays["x"] if len(names) == 1 else dict(zip(names, (arrays[key] for key in wanted), strict=True))


def _arrays_of(data: Path) -> dict[str, Array]:
    """Read all arrays of an ``.npz``. Raises BadInput."""
    try:
        with np.load(data, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except Exception as error:  # NumPy and zipfile raise what they like on a damaged file, and an .npy is no such thing
        why = error.strerror if isinstance(error, OSError) and error.strerror else "it is damaged, or of another format"
        raise BadInput(f"{data}: not an .npz file: {why}; create one with numpy.savez(FILE, x=...)") from None


def check_one_model(name: str, artifact: bytes, against: Path, instead: str = "give two of one model") -> None:
    """Raise BadInput where two artifacts are of different models, with how far their graphs agree."""
    _check_same_inputs(name, artifact, against)
    other, own = graph.read(read_tflite(against)).main(), graph.read(artifact).main()
    found = matching.match(other, own)
    if found.share < ONE_MODEL:
        first = next((f"; the first without: {own.operators[at].name} at {at}" for at in found.only_second), "")
        raise BadInput(
            f"{name}: only {100 * found.share:.0f} % of the operators have a partner in {against}{first}: these are "
            f"not two artifacts of one model; {instead}"
        )


def _check_same_inputs(name: str, artifact: bytes, against: Path) -> None:
    shapes = [[one.shape for one in graph.read(content).inputs] for content in (artifact, read_tflite(against))]
    if shapes[0] != shapes[1]:
        raise BadInput(
            f"{name}: takes inputs of shape {shapes[0]}, and {against} of {shapes[1]}; give two of one model"
        )


def read_tflite(path: Path) -> bytes:
    """Read an artifact. Raises BadInput where it is none."""
    try:
        content = path.read_bytes()
        graph.read(content)
    except (OSError, ValueError) as error:
        raise BadInput(
            f"{path}: {error.strerror if isinstance(error, OSError) else error}; give a .tflite file"
        ) from None
    return content


def _control(report: Report, folder: Path, cell: Cell) -> bytes | None:
    """Return the float artifact of the cell's model; None for a cell that trained, whose weights are its own."""
    if cell.seeds:
        return None
    try:
        return artifacts.find(report, folder, f"{cell.model}/{FLOAT_CONTROL}")[1]
    except BadInput:
        return None


def _accepted(cell: Cell, model: ReferenceModel, baseline_dir: Path) -> bytes | None:
    """Return the accepted artifact where the cache still has it."""
    known = baseline_files.load(baseline_dir, model).cell(cell.variant)
    sha256 = None if known is None else known.artifact_sha256
    if sha256 is None or sha256 == cell.artifact_sha256:
        return None
    found = artifacts.in_store(Store(default_root()), sha256)
    return None if found is None else found.read_bytes()


def _measured(subject: Subject, model: ReferenceModel, seconds: float) -> Attribution:
    control = subject.control if subject.control is not None else subject.accepted
    assert control is not None
    whole = graph.read(subject.artifact)
    # Kernels for 16-bit activations take ten times as long.
    wide = 10 if any(tensor.dtype == "int16" for tensor in whole.tensors) else 1
    needed = work.operations_of(whole) * wide
    count = next((count for most, count in _SCORED if needed <= most), _FEW)
    split = model.pack().test
    scored = model.prepare(rows(split.x, slice(0, count)))
    with tempfile.TemporaryDirectory(prefix="quantbench-explain-") as place:
        job = _job(Path(place), subject.artifact, control, subject.accepted, scored, split.y[:count])
        job |= {"stateful": model.stateful, "model": [str(model.file), model.name]}
        job |= {"output": subject.output, "outputs": list(model.metric.outputs)}
        room = walls.Room(read=(Path(place), model.file.parent.absolute())) if subject.foreign else None
        return _in_child(job, room, subject.name, seconds)


def _job(
    folder: Path, artifact: bytes, control: bytes, accepted: bytes | None, inputs: Inputs, labels: Any = None
) -> dict[str, Any]:
    """Write what a child needs into a folder, and return its job."""
    written: dict[str, Any] = {}
    for name, content in (("artifact", artifact), ("control", control), ("accepted", accepted)):
        path = folder / f"{name}.tflite"
        if content is not None:
            path.write_bytes(content)
        written[name] = None if content is None else str(path)
    few = attribution.examples(artifact, inputs)
    for name, chosen, more in (("examples", few, {}), ("scored", inputs, {} if labels is None else {"y": labels})):
        arrays = list(chosen.values()) if isinstance(chosen, dict) else [chosen]
        np.savez(folder / f"{name}.npz", *arrays, **more)
        written[name] = str(folder / f"{name}.npz")
    names = list(inputs) if isinstance(inputs, dict) else None
    return {**written, "names": names, "stateful": False, "model": None, "output": "", "outputs": []}


def _in_child(job: dict[str, Any], room: Any, what: str, seconds: float = LIMIT_SECONDS) -> Attribution:
    try:
        done = child_process.start("quantbench.measure.attribution_worker", job, seconds, {}, room=room)
        return Attribution.model_validate(child_process.result(done))
    except child_process.ChildFailed as error:
        raise BadInput(f"{what}: cannot be compared operator by operator: {error}") from None
