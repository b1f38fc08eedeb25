"""Define the file that lists a model's artifacts built elsewhere, and what ``judge`` found of such files."""

import json
import re
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from quantbench import files
from quantbench.errors import BadInput
from quantbench.records._advice import Decision, JudgedOutput, Machine, OutputVerdict
from quantbench.records._common import Record
from quantbench.records._json_text import json_text

ARTIFACTS_VERSION = "1.1"
BUILT_NAME = r"^[A-Za-z][A-Za-z0-9_]*$"  # so that the cell of it is none of a head or an overlay
_LARGEST = 2**20


class BuiltArtifact(Record):
    """Name one artifact that another tool builds.

    Attributes:
        name: its cell is ``MODEL/built_NAME``.
        file: where that tool writes it; relative to the folder of the list.
        spec: quantization spec that it has to keep; empty where none is declared.
        compiled: accelerator that it is compiled for, so that nothing here runs it; since 1.1, as ``report``.
        report: where the compiler writes its report of that file, as ``file``; empty where none is declared.
    """

    name: str = Field(pattern=BUILT_NAME)
    file: str = Field(min_length=1)
    spec: str = ""
    compiled: str = ""
    report: str = ""


class BuiltArtifacts(Record):
    """List the artifacts of one model that other tools build."""

    kind: Literal["artifacts"] = "artifacts"
    artifacts_version: str = ARTIFACTS_VERSION
    artifacts: list[BuiltArtifact]


def artifacts_text(artifacts: list[BuiltArtifact]) -> str:
    """Return the text of a list of artifacts."""
    listed = BuiltArtifacts(artifacts=artifacts).model_dump(mode="json")
    of_compiled = ("compiled", "report")
    listed["artifacts"] = [
        {name: value for name, value in one.items() if value or name not in of_compiled} for one in listed["artifacts"]
    ]
    return json_text(listed) + "\n"


def read_artifacts(path: Path) -> list[BuiltArtifact]:
    """Read a list of artifacts.

    Raises:
        BadInput: it is no such list, of another version, or has a name twice.
    """
    text = files.read_text(path, "list of artifacts", _LARGEST)
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: list of artifacts is not JSON ({error}); adopt --artifact writes one") from None
    version = data.get("artifacts_version") if isinstance(data, dict) else None
    if not isinstance(version, str) or not re.fullmatch(r"1\.[0-9]{1,4}", version) or version > ARTIFACTS_VERSION:
        raise BadInput(
            f"{path}: field 'artifacts_version': expected {ARTIFACTS_VERSION!r}, found {version!r}; upgrade "
            "quantbench, or write the list with adopt --artifact"
        )
    try:
        found = BuiltArtifacts.model_validate_json(text, strict=True).artifacts
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "(whole file)"
        raise BadInput(
            f"{path}: field '{field}': {first['msg']}, found {repr(first.get('input'))[:60]}; correct it, or write the "
            "list with adopt --artifact"
        ) from None
    names = [one.name for one in found]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise BadInput(f"{path}: field 'artifacts': {twice} is named twice; give each artifact a name of its own")
    return found


class Structure(Record):
    """Say how a file is quantized, from its operators and tensors.

    Attributes:
        layers: number of compute operators.
        weights: dtype -> number of weight tensors.
        computes: ``integer``, ``hybrid`` or ``float`` -> number of compute operators.
        granularity: ``per-channel``, ``per-tensor``, ... -> number of weight tensors of convolutions.
        inputs, outputs: dtypes, in order.
        keeps: specs that it keeps, of those that ``--spec`` takes.
    """

    layers: int = Field(ge=0)
    weights: dict[str, int]
    computes: dict[str, int]
    granularity: dict[str, int]
    inputs: list[str]
    outputs: list[str]
    keeps: list[str] = Field(default_factory=list)


class Compiled(Record):
    """Say what a vendor's compiler made of a file.

    Attributes:
        compiler: name of the target, such as Ethos-U.
        operators: custom operators, each of which is a part that the accelerator takes.
        left: name -> number of operators that are left to the CPU.
        figures: of the compiler's own report, by name; see :mod:`quantbench.tflite.vela`.
        about: what the report says of itself, such as the accelerator's configuration.
    """

    compiler: str
    operators: int = Field(ge=1)
    left: dict[str, int] = Field(default_factory=dict)
    figures: dict[str, float] = Field(default_factory=dict)
    about: dict[str, str] = Field(default_factory=dict)


class Held(Record):
    """Hold one figure against the limit that the user gave for it.

    Attributes:
        value: None where it is not known.
        low: smallest value that a noisy figure may have, with 95 %; None of an exact one.
    """

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    limit: float
    verdict: Decision


class JudgedFile(Record):
    """Say what was found of one file.

    Attributes:
        name: the file's own, or with its folder where two have the same one.
        verdict: of everything together: ``within`` what is allowed, ``beyond`` it, or ``undecided``.
        why: what made it beyond or undecided, one clause each.
        spec: declared one; empty where there is none.
        broken: in which ways it is not as declared.
        outputs: one for each scored output; none where it was not scored.
        lost, gained: examples that only the reference, or only this file, has right; None of metrics that do not count.
        changed: examples with another prediction than the reference's.
        score_low, score_high: 95 % interval of the main score.
        size: bytes as a fraction of the reference's; None without one.
        latency: time of a call as a fraction of the reference's, with its 95 % interval; None where it was not timed.
        arena, peak: tensor arena and peak memory in bytes; None where they were not measured.
    """

    name: str
    file: str
    sha256: str
    bytes: int = Field(ge=0)
    verdict: Decision
    why: list[str] = Field(default_factory=list)
    spec: str = ""
    broken: list[str] = Field(default_factory=list)
    structure: Structure | None = None
    compiled: Compiled | None = None
    outputs: list[OutputVerdict] = Field(default_factory=list)
    lost: int | None = None
    gained: int | None = None
    changed: int | None = None
    score_low: float | None = None
    score_high: float | None = None
    size: float | None = None
    latency: float | None = None
    latency_low: float | None = None
    latency_high: float | None = None
    arena: float | None = None
    peak: float | None = None
    held: list[Held] = Field(default_factory=list)


class FileVerdicts(Record):
    """Say of files that were built elsewhere whether they may be shipped.

    Attributes:
        reference: what they are compared with: the float model, or the file that was shipped so far; None where there
            is neither.
        against: what the reference is; empty without one.
        judged: the scored outputs; none where every file is compiled.
        files: in the order given.
        folder: the run's folder.
        arguments: options that repeat it.
    """

    reference: JudgedFile | None = None
    against: Literal["", "float", "shipped"] = ""
    judged: list[JudgedOutput] = Field(default_factory=list)
    files: list[JudgedFile] = Field(min_length=1)
    machine: Machine
    notes: list[str] = Field(default_factory=list)
    folder: str = ""
    arguments: list[str] = Field(default_factory=list)

    @property
    def verdict(self) -> Decision:
        """Return that of all files together: the worst one."""
        found = {one.verdict for one in self.files}
        return "beyond" if "beyond" in found else "undecided" if "undecided" in found else "within"
