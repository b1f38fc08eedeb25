"""Read ``adopt --artifact NAME=FILE`` and ``--spec NAME=SPEC``, and check the files before anything is measured."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from quantbench.adopt import inspecting, understand
from quantbench.errors import BadInput
from quantbench.gate import violations
from quantbench.records import BuiltArtifact, Report
from quantbench.records._built import BUILT_NAME
from quantbench.reference.model import ReferenceModel
from quantbench.safety import tflite
from quantbench.tflite import compiled
from quantbench.variants import VARIANTS, built

Artifacts = dict[str, BuiltArtifact]  # by variant, with absolute files


def parse(artifacts: Sequence[str], specs: Sequence[str], reports: Sequence[str] = ()) -> Artifacts:
    """Read the values of the three options.

    Raises:
        BadInput: one is not of that form, a name is given twice, a spec is unknown, or it is of no artifact.
    """
    found: Artifacts = {}
    for text in artifacts:
        name, file = _parted(text, "--artifact", "NAME=FILE such as vendor=build/model.tflite")
        if not re.fullmatch(BUILT_NAME, name):
            raise BadInput(f"--artifact: expected a name of letters, digits and '_', a letter first, found {name!r}")
        if f"{built.PREFIX}{name}" in found:
            raise BadInput(f"--artifact: {name} is given twice; give each artifact a name of its own")
        found[f"{built.PREFIX}{name}"] = BuiltArtifact(name=name, file=str(Path(file).absolute()))
    for text in specs:
        name, spec = _parted(text, "--spec", "NAME=SPEC such as vendor=int8")
        variant = f"{built.PREFIX}{name}"
        if variant not in found:
            raise BadInput(f"--spec: {name} is no artifact of this command; name it with --artifact {name}=FILE")
        built.spec_of(spec, VARIANTS)
        found[variant] = found[variant].model_copy(update={"spec": spec})
    for text in reports:
        name, file = _parted(text, "--vela-report", "NAME=FILE such as vendor=build/summary.csv")
        variant = f"{built.PREFIX}{name}"
        if variant not in found:
            raise BadInput(f"--vela-report: {name} is no artifact of this command; name it with --artifact {name}=FILE")
        found[variant] = found[variant].model_copy(update={"report": str(Path(file).absolute())})
    return found


def _parted(text: str, option: str, form: str) -> tuple[str, str]:
    name, equals, value = (part.strip() for part in text.partition("="))
    if not (name and equals and value):
        raise BadInput(f"{option}: expected {form}, found {text!r}")
    return name, value


def checked(
    artifacts: Mapping[str, BuiltArtifact], understood: understand.Understood, model: str, accept: str
) -> Artifacts:
    """Return the artifacts, each with what it is compiled for.

    Args:
        accept: why a file that breaks its spec is taken all the same, as a known limitation; empty where it is not.

    Raises:
        BadInput: a file cannot be read or run, is of another model, breaks its spec, or has a spec or a report that it
            cannot have.
    """
    found: Artifacts = {}
    for variant, one in artifacts.items():
        file = inspecting.inspect(Path(one.file))
        if file.compiled is None:
            if one.report:
                raise BadInput(f"--vela-report: {one.file}: is not compiled; leave its report out")
            inspecting.check_fits(file, understood.inputs, understood.outputs, Path(model).name)
            if not accept.strip():
                _check_spec(one, file)
            found[variant] = one
            continue
        if one.spec:
            raise BadInput(
                f"--spec: {one.file}: is compiled for {file.compiled.compiler}, which hides how it is quantized; leave "
                "the spec out, or adopt the file that it was compiled from too"
            )
        inspecting.check_shapes(file, understood.inputs, understood.outputs, Path(model).name)
        report = Path(one.report) if one.report else None
        try:
            compiled.measured(tflite.content(Path(one.file)), file.compiled.compiler, report, Path(one.file).stem)
        except BadInput as error:
            raise BadInput(f"--vela-report: {error}") from None
        found[variant] = one.model_copy(update={"compiled": file.compiled.compiler})
    return found


def _check_spec(one: BuiltArtifact, file: inspecting.Inspected) -> None:
    """Raise BadInput where a file is not quantized as its spec says."""
    broken = [each.words for each in violations(built.spec_of(one.spec, VARIANTS), file.census)]
    if broken:
        keeps = " or ".join(file.structure.keeps)
        declare = f"declare what it keeps ({keeps}), " if keeps else "leave the spec out, "
        raise BadInput(
            f"--spec: {one.file}: is not {one.spec}: {'; '.join(broken)}; build it as declared, {declare}or take it as "
            "a known limitation with --accept 'why'"
        )


def bring(artifacts: Mapping[str, BuiltArtifact], model: ReferenceModel) -> None:
    """Write the list beside a model in a temporary folder, with absolute files; nothing where there is none."""
    if artifacts:
        built.declare(model.file, model.name, artifacts)


def settle(model_dir: Path, name: str) -> None:
    """Let the list of an adopted model name its files relative to its own folder, as others have it elsewhere."""
    file = model_dir / f"{name}.py"
    if found := built.declared(file, name):
        built.declare(file, name, found, near=model_dir)


def check_made(report: Report, artifacts: Mapping[str, BuiltArtifact]) -> None:
    """Raise BadInput where an artifact could not be measured."""
    for cell in report.cells:
        if cell.variant in artifacts and cell.failure is not None:
            raise BadInput(f"--artifact: {artifacts[cell.variant].file}: {cell.failure.reason}")
