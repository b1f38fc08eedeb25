"""Take artifacts that another tool has built as variants of a model: those that its list of artifacts names.

The list lies beside the model's file. A file is read anew in every run, and its hash is part of its cache key, so that
what was built since is measured and judged like everything else.
"""

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from quantbench import files
from quantbench.core.nearest import nearest
from quantbench.errors import BadInput
from quantbench.records import BuiltArtifact, artifacts_text, read_artifacts
from quantbench.reference.model import ReferenceModel
from quantbench.tflite import compiled
from quantbench.variants.declare import QuantizationSpec, Taxonomy, Variant, Workbench

PREFIX = "built_"
ENDING = ".artifacts.json"
FAMILY = "built"
REPORT = "Vela summary"
_VARIANT = re.compile(rf"{PREFIX}[A-Za-z][A-Za-z0-9_]*")
_IN_FILE = "as its file says"
# What ``--spec`` takes -> the variant whose quantization spec it is.
SPECS = {
    "float32": "float32",
    "float16": "ptq_float16",
    "dynamic": "ptq_dynamic_wi8_afp32",
    "int8": "ptq_static_wi8_ai8",
    "int8-io": "ptq_static_wi8_ai8_int_io",
    "uint8-io": "ptq_static_wi8_ai8_uint8_io",
    "per-tensor": "ptq_static_wi8_ai8_per_tensor",
    "int16x8": "ptq_static_wi8_ai16",
    "int16x8-io": "aeq_static_wi8_ai16",
}
ANY = QuantizationSpec(io=None)


def is_built(variant: str) -> bool:
    """Check whether a variant's name is that of an artifact built elsewhere."""
    return _VARIANT.fullmatch(variant) is not None


def list_of(model_file: Path, name: str) -> Path:
    """Return where the list of a model's artifacts is, if it has one."""
    return model_file.with_name(f"{name}{ENDING}")


def declared(model_file: Path, name: str) -> dict[str, BuiltArtifact]:
    """Return variant -> artifact of a model's list, with files that do not depend on the working directory.

    Raises:
        BadInput: the list cannot be read.
    """
    path = list_of(model_file, name)
    if not path.is_file():
        return {}
    return {
        f"{PREFIX}{one.name}": _placed(one, lambda file: os.path.normpath(path.parent.absolute() / file))
        for one in read_artifacts(path)
    }


def _placed(one: BuiltArtifact, place: Callable[[str], str]) -> BuiltArtifact:
    """Return an artifact whose files are named otherwise."""
    return one.model_copy(update={"file": place(one.file), "report": place(one.report) if one.report else ""})


def files_of(model_file: Path, name: str) -> list[Path]:
    """Return the files that a model's list names: artifacts, and their compilers' reports. Raises BadInput."""
    return [Path(file) for one in declared(model_file, name).values() for file in (one.file, one.report) if file]


def declare(model_file: Path, name: str, artifacts: Mapping[str, BuiltArtifact], near: Path | None = None) -> None:
    """Write the list of a model's artifacts.

    Args:
        artifacts: by variant, with absolute files.
        near: folder that the list names files relative to; absolute ones where None.
    """
    listed = [
        one if near is None else _placed(one, lambda file: os.path.relpath(file, near.absolute()))
        for one in artifacts.values()
    ]
    files.replace(list_of(model_file, name), artifacts_text(listed))


def content(path: Path, what: str = "artifact") -> bytes:
    """Read an artifact, or its compiler's report. Raises BadInput where it is not there, or no regular file."""
    if not path.exists():
        raise BadInput(f"{path}: the {what} is not there; build it before the run, or correct where the list names it")
    return files.read_bytes(path, what, files.LARGEST_MODEL, follow=True)


def spec_of(name: str, fixed: Mapping[str, Variant]) -> QuantizationSpec:
    """Return a quantization spec by name: one of ``SPECS``, or a variant's; no promise at all where it is empty.

    Raises:
        BadInput: there is no such spec.
    """
    if not name:
        return ANY
    variant = SPECS.get(name, name)
    if variant not in fixed or is_built(variant):
        near = nearest(name, [*SPECS, *fixed])
        known = f"did you mean {near}?" if near else f"expected one of {', '.join(SPECS)}, or a variant's name"
        raise BadInput(f"--spec: unknown quantization spec {name!r}; {known}")
    return fixed[variant].promise


def variant(name: str, promise: QuantizationSpec = ANY, make: Callable[[Workbench], bytes] | None = None) -> Variant:
    """Return the variant of an artifact; what can be known of it without its model where nothing else is given."""
    return Variant(
        name,
        "an artifact that another tool has built",
        FAMILY,
        "built elsewhere",
        make or _unknown,
        Taxonomy(_IN_FILE, _IN_FILE, _IN_FILE),
        promise,
        packages=(),
        gate="all",
        timed_in_gate=True,
    )


def _unknown(_bench: Workbench) -> bytes:
    raise BadInput("no list of artifacts names it; add it with adopt --artifact NAME=FILE")


def of_model(model: ReferenceModel, fixed: Mapping[str, Variant]) -> dict[str, Variant]:
    """Return the artifacts of a model's list as variants, by name.

    Raises:
        BadInput: the list cannot be read, names an unknown spec, or is of a model that is code.
    """
    found = declared(model.file, model.name)
    if found and model.form == "code":
        raise BadInput(
            f"{list_of(model.file, model.name)}: {model.name} is a model of code, beside which files of others are not "
            "run; adopt its saved model, and the artifacts with it"
        )
    made = {}
    for name, one in found.items():
        try:
            promise = spec_of(one.spec, fixed)
        except BadInput as error:
            raise BadInput(f"{list_of(model.file, model.name)}: {one.name}: {error}") from None
        report = Path(one.report) if one.report else None
        made[name] = replace(variant(name, promise), make=_maker(Path(one.file), report), compiled=one.compiled)
    return made


def figures(model: ReferenceModel, variant: Variant, artifact: bytes) -> dict[str, int]:
    """Return what a run judges of a compiled artifact. Raises BadInput where it, or its report, is another."""
    one = declared(model.file, model.name)[variant.name]
    report = Path(one.report) if one.report else None
    try:
        return compiled.measured(artifact, variant.compiled, report, Path(one.file).stem)
    except BadInput as error:
        raise BadInput(f"{one.file}: {error}") from None


def _maker(path: Path, report: Path | None = None) -> Callable[[Workbench], bytes]:
    """Return what reads the artifact; its hash and its report's are in the cache key, as the function holds them."""
    try:
        hashes = {str(path): hashlib.sha256(content(path)).hexdigest()}
        if report is not None:
            hashes[str(report)] = hashlib.sha256(content(report, REPORT)).hexdigest()
    except BadInput as error:  # the cell fails, and all others are measured
        return _missing(str(error))
    return _reader(str(path), hashes)


def _reader(path: str, hashes: dict[str, str]) -> Callable[[Workbench], bytes]:
    def make(_bench: Workbench) -> bytes:
        found = {one: content(Path(one), "artifact" if one == path else REPORT) for one in hashes}
        if any(hashlib.sha256(found[one]).hexdigest() != sha256 for one, sha256 in hashes.items()):
            raise BadInput(f"{path}: the artifact changed while it was measured; run again once it is built")
        return found[path]

    return make


def _missing(words: str) -> Callable[[Workbench], bytes]:
    def make(_bench: Workbench) -> bytes:
        raise BadInput(words)

    return make
