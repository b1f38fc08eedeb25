"""The plain typed records that pass between the rooms, and their JSON Schema. Imports nothing of ours but errors.

Formats carry a semantic version: a reader takes its own and older ones of the same major version. Newer ones are
refused in words, for unknown keys are refused too.
"""

import datetime
import json
import math
import re
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from bench.errors import BadInput

SCHEMA_VERSION = "1.3"


class Verdict(StrEnum):
    """What a judge says. Ordered from best to worst: the worst decides a cell, and nothing absent is a pass."""

    PASS = "pass"
    IMPROVED = "improved"
    UNJUDGED = "unjudged"
    UNSUPPORTED = "unsupported"
    XFAIL = "xfail"
    WARN = "warn"
    MISSING = "missing"
    ERROR = "error"
    REGRESSED = "regressed"


LEAST_PROCESSES = 2  # of a latency baseline: one has no spread
# Where others interrupted a larger share of the blocks than this, a latency is measured once more, and marked if it
# stays so. At a load average of 5 on two cores 3 to 6 % were; beyond half, a typical block is one that was held up.
DISTURBED = 0.5
# Threads at work, as the time of all to that of the calling one: 1.000 ± .005 with one thread, 1.03 and more with two.
SEVERAL_AT_WORK = 1.02

_ORDER = list(Verdict)
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"  # of a model or variant: part of cell ids and of file names
LONGEST_NUMBER, LARGEST_NUMBER = 18, 1e100  # digits of a whole number; of any other


def worst(verdicts: list[Verdict]) -> Verdict:
    """The worst verdict; ``unjudged`` where there is none."""
    return max(verdicts, key=_ORDER.index, default=Verdict.UNJUDGED)


class Kind(StrEnum):
    """What a suite measures; one suite a kind."""

    ACCURACY = "accuracy"
    SIZE = "size"
    STRUCTURE = "structure"
    MEMORY = "memory"
    GPU = "gpu"
    LATENCY = "latency"


class Record(BaseModel):
    """Unknown keys, NaN and infinity are refused: a typing slip in a hand-edited file must not pass unseen."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Measurement(Record):
    """A value with its unit, n and spread.

    Attributes:
        value: the estimate, in ``unit``.
        n: how many examples, processes or files it is made from.
        spread: standard deviation of one repetition (a seed, a process), in ``unit``; None where nothing repeats.
        spread_of: what repeats.
        values: one value a repetition.
        low, high: 95 % interval of a quantile; None on a side where there were too few for one.
    """

    value: float
    unit: str
    n: int = Field(ge=1)
    spread: float | None = Field(default=None, ge=0)
    spread_of: str | None = None
    values: list[float] | None = None
    low: float | None = None
    high: float | None = None


class Amount(Record):
    """How many tensors, and how many bytes they take together."""

    count: int
    bytes: int


class Port(Record):
    """An input or output of an artifact. Where it is quantized: real value = scale x (stored - zero_point)."""

    name: str
    dtype: str
    shape: list[int]
    scale: float | None = None
    zero_point: int | None = None


class Compute(Record):
    """A compute operator with one of its weight tensors (an LSTM has several); in the file's order.

    Attributes:
        index: of the operator among the file's operators.
        again: the same tensor is the weights of an earlier operator too.
        precision: ``integer``, ``hybrid`` (float activations, integer weights) or ``float``.
        weights: dtype as stored; None where both operands are activations.
        granularity: ``per-tensor``, ``per-channel``, ``blockwise`` or ``float``.
        scale: of the widest channel.
        zeros: share of weights that are 0.
        distinct: different values in the whole tensor.
        distinct_in_channel: most different values along one output channel.
    """

    operator: str
    index: int = 0
    again: bool = False
    precision: str
    weights: str | None = None
    granularity: str | None = None
    shape: list[int] = Field(default_factory=list)
    scale: float | None = None
    zeros: float | None = None
    distinct: int | None = None
    distinct_in_channel: int | None = None


class Census(Record):
    """What an artifact is made of.

    Attributes:
        constants: by dtype, of everything stored: weights, biases, shapes.
        scales: how many scales are stored; each comes with a zero point, 12 bytes together.
        activations: by dtype, how many tensors that are computed at run time.
        operators: name -> precision -> how many.
        ranges: scale and zero point of each quantized activation, in the file's order.
        degenerate: names of quantized activations whose range is empty (min = max) or not finite.
    """

    constants: dict[str, Amount]
    scales: int
    activations: dict[str, int]
    operators: dict[str, dict[str, int]]
    inputs: list[Port]
    outputs: list[Port]
    compute: list[Compute]
    ranges: list[tuple[float, int]] = Field(default_factory=list)
    degenerate: list[str] = Field(default_factory=list)


class Range(Record):
    """The range that a quantized tensor can hold, in real values; per-channel ones from the widest channel."""

    tensor: str
    dtype: str
    granularity: str
    constant: bool
    low: float
    high: float


class Contents(Record):
    """What is in an artifact, as it lies in the store."""

    census: Census
    ranges: list[Range]


class Evidence(Record):
    """What lies behind a cell's numbers, for whoever wants to look closer: ``evidence/<model>.json`` of a run.

    Attributes:
        flipped: test examples whose prediction is not the control's.
        ranges: of every quantized tensor.
        range_method: how they were chosen.
    """

    flipped: list[int] = Field(default_factory=list)
    ranges: list[Range] = Field(default_factory=list)
    range_method: str = ""


class Judgement(Record):
    """One judge's word on one measurement.

    Attributes:
        change: how much worse (positive) or better (negative) than the reference, in ``unit``.
        tolerance: the largest change that passes, in ``unit``.
        p_value: probability of so large a change by chance alone, where chance can move it.
        detectable: the smallest change, in ``unit``, that this judgement would have called red.
        measured: how often it was measured apart, where one measurement does not make it red (latency).
        message: one sentence with both numbers.
        action: what to do next; empty where there is nothing to do.
    """

    kind: Kind
    measurement: str
    against: Literal[
        "baseline",
        "first baseline",
        "floor",
        "float model",
        "promise",
        "before conversion",
        "reference kernels",
        "litert-cpu",
        "control",
        "nothing",
    ]
    verdict: Verdict
    value: float | None = None
    reference: float | None = None
    unit: str = ""
    change: float | None = None
    tolerance: float | None = None
    p_value: float | None = None
    detectable: float | None = None
    measured: int | None = None
    message: str
    action: str = ""


class Failure(Record):
    """Why a cell has no result.

    Attributes:
        what: ``unsupported`` (the tools refuse), ``error``, ``crash`` or ``timeout``.
        reason: the tool's own words, one line.
        log: end of the worker's output.
    """

    what: Literal["unsupported", "error", "crash", "timeout"]
    reason: str
    log: str = ""


class Drift(Record):
    """How far a cell has come since the first baseline that was accepted of it, over all updates since.

    Attributes:
        since: date of that first baseline.
        score: drop of the score, in the metric's unit; negative is better.
        size: growth of the file, as a fraction.
    """

    since: str
    score: float | None = None
    size: float | None = None


class Cell(Record):
    """One model x one variant in one run: a row of every report."""

    id: str
    model: str = Field(pattern=NAME)
    variant: str = Field(pattern=NAME)
    family: str
    control: str | None = None
    metric: str
    metric_unit: str
    higher_is_better: bool = True
    metric_scale: float = Field(default=100.0, description="factor from a score to metric_unit")
    seeds: list[int] = Field(default_factory=list)
    verdict: Verdict = Verdict.UNJUDGED
    verdicts: dict[Kind, Verdict] = Field(default_factory=dict)
    selected: bool = Field(default=True, description="False for a control that a selection brought along")
    cached: bool = False
    seconds: float = 0.0
    alone_seconds: float | None = Field(
        default=None, description="that nothing else of the run was done in, for this cell was timed or on the GPU"
    )
    artifact_sha256: str | None = None
    predictions_sha256: str | None = None
    measurements: dict[str, Measurement] = Field(default_factory=dict)
    judgements: list[Judgement] = Field(default_factory=list)
    census: Census | None = None
    reference_sha256: str | None = Field(
        default=None, description="of the predictions on the reference kernels, for a fixed few of the examples"
    )
    failure: Failure | None = None
    overlay: str | None = Field(
        default=None, description="results class of the overlay that this cell was judged by; None: its base"
    )
    exceptions: list[str] = Field(
        default_factory=list, description="loosened tolerances, expected failures and overlays, one sentence each"
    )
    drift: Drift | None = None
    untimed: dict[str, str] = Field(
        default_factory=dict, description="what could not be timed, though it was asked for -> why"
    )
    retried: list[str] = Field(
        default_factory=list, description="why it was computed again, one sentence each time: no fault of the cell"
    )
    gpu_left: list[str] = Field(
        default_factory=list, description="operators that the GPU left to the CPU, with the accelerator's reason"
    )


class Load(Record):
    """What others did on the machine while a run timed.

    Attributes:
        others: share of all cores' time that processes besides this run's took.
        average: the system's load average of the last minute, at the end; None where it tells none.
    """

    others: float
    average: float | None = None


class Device(Record):
    """A GPU as its driver tells of it; ``software`` is a driver that computes on the CPU.

    Attributes:
        driver: its name and version, as far as it tells them.
    """

    name: str
    kind: Literal["discrete", "integrated", "virtual", "software", "unknown"]
    driver: str = ""

    @property
    def software(self) -> bool:
        """Whether it is no GPU at all, so that its times say nothing of any."""
        return self.kind == "software"

    @property
    def label(self) -> str:
        """For tables: name, kind and driver."""
        return f"{self.name} ({', '.join(part for part in (self.kind, self.driver) if part)})"


class Environment(Record):
    """What a number depends on."""

    python: str
    os: str
    cpu: str
    isa: str = Field(description="hash of the CPU's instruction-set flags")
    cores: int
    memory_gib: float
    packages: dict[str, str]
    git_commit: str | None = None
    git_dirty: bool | None = None
    machine_class: str = Field(description="key of latency baselines: CPU, ISA, cores, runtime version, threads")
    results_class: str = Field(default="", description="key of overlays: ISA and runtime version; empty before 1.2")
    load: Load | None = Field(default=None, description="of others while this run timed; None where it did not")
    gpu: Device | None = Field(
        default=None, description="the GPU that was measured; None: no_gpu says why there is none"
    )
    no_gpu: str = ""


class FalseAlarms(Record):
    """The run's false-alarm budget and how many judgements share it, by Holm's method; ``share`` is its first step."""

    budget: float
    judgements: int
    share: float


class Shard(Record):
    """Which part of a run a report is of, and what the parts have to have in common to make one run.

    Attributes:
        index, of: as in ``--shard index/of``; the first is 1.
        split: every selected cell of the whole run -> the shard that measures it.
        options: of the whole run, by name.
        baselines: model -> hash of the baseline that it is judged by; empty where there is none.
        folder: the run folder, as the commands in this report name it.
        again: the options that repeat one of its cells.
    """

    index: int = Field(ge=1)
    of: int = Field(ge=1)
    split: dict[str, int]
    options: dict[str, str]
    baselines: dict[str, str]
    folder: str
    again: str = ""


class Part(Record):
    """A shard of a run whose report was made out of several: where and when it ran."""

    index: int
    run: str
    started: str
    seconds: float
    environment: Environment


class Report(Record):
    """A run, whole or partial."""

    schema_version: str = SCHEMA_VERSION
    kind: Literal["quantbench.report"] = "quantbench.report"
    run: str
    started: str
    seconds: float
    state: Literal["running", "complete", "interrupted"]
    exit_status: int
    selection: str
    trained_from_scratch: bool = False
    environment: Environment
    false_alarms: FalseAlarms
    data_sha256: dict[str, str] = Field(default_factory=dict, description="model -> hash of its data pack")
    notes: list[str] = Field(default_factory=list)
    shard: Shard | None = Field(default=None, description="where this is a part of a run; its verdicts are provisional")
    shards: list[Part] = Field(default_factory=list, description="what this was made out of, where it was")
    cells: list[Cell]

    @model_validator(mode="after")
    def _one_key_everywhere(self) -> Self:
        ids = [cell.id for cell in self.cells]
        if len(set(ids)) < len(ids):
            raise ValueError("two cells have the same id")
        for cell in self.cells:
            if cell.id != f"{cell.model}/{cell.variant}":
                raise ValueError(f"expected the id {cell.model}/{cell.variant} as of its model and variant")
        return self


class Accepted(Record):
    """Who accepted a value, when and why; the run that measured it, on which machine and commit."""

    date: str
    reason: str
    run: str
    environment: str
    commit: str | None = None
    results_class: str | None = None


class First(Record):
    """The first accepted value: what drift is measured from, whatever was accepted since."""

    value: float
    date: str
    run: str


class Loosened(Record):
    """A tolerance that maintainers widened for a while; after the last day the derived one holds again.

    Attributes:
        tolerance: in the unit of the one that it stands in for.
        expires: the last day on which it holds.
    """

    tolerance: float = Field(ge=0)
    reason: str = Field(min_length=1)
    expires: datetime.date


class Xfail(Record):
    """A failure that is known and waited for: it must go on, and it must end.

    Attributes:
        ticket: where it is followed.
        expires: the last day on which it excuses.
    """

    ticket: str = Field(min_length=1)
    reason: str = Field(min_length=1)
    expires: datetime.date


class BaselineValue(Record):
    """What the maintainers last accepted for one measurement.

    Attributes:
        noise: standard deviation of one repetition, as recorded; 0 where repeating changes nothing.
        noise_from: where that number comes from.
        tolerance: the largest change in the bad direction that passes, in ``unit`` (a ``relative`` one: as a fraction).
        tolerance_from: how it was derived.
    """

    value: float
    unit: str
    n: int = Field(ge=1)
    noise: float = Field(ge=0)
    noise_from: str
    values: list[float] | None = None
    tolerance: float = Field(ge=0)
    tolerance_from: str
    accepted: Accepted
    first: First | None = Field(
        default=None, description="None in files of before 1.2: the accepted value is the first"
    )
    loosened: Loosened | None = None

    @model_validator(mode="after")
    def _only_wider(self) -> Self:
        if self.loosened is not None and self.loosened.tolerance <= self.tolerance:
            raise ValueError(
                f"a tolerance may only be loosened: expected 'loosened.tolerance' above the derived "
                f"{self.tolerance:g}, found {self.loosened.tolerance:g}; give a larger one or remove 'loosened'"
            )
        return self


class Overlay(Record):
    """What differs from a cell's base in one class of environments; whatever is not here is as in the base."""

    measurements: dict[str, BaselineValue] = Field(default_factory=dict)
    unsupported: str | None = None
    broken_promise: str | None = None
    census: Census | None = None
    artifact_sha256: str | None = None
    reference_sha256: str | None = None
    reference_agreement: float | None = None


class BaselineCell(Record):
    """Accepted values; latency and the float control's peak memory by machine class, the rest by results class."""

    measurements: dict[str, BaselineValue] = Field(default_factory=dict)
    latency: dict[str, BaselineValue] = Field(default_factory=dict)
    peak_memory: dict[str, BaselineValue] = Field(default_factory=dict)
    unsupported: str | None = Field(default=None, description="the tools' reason, where the cell cannot be made")
    broken_promise: str | None = Field(
        default=None, description="where the artifact is known not to be what it is called"
    )
    census: Census | None = None
    artifact_sha256: str | None = None
    reference_sha256: str | None = None
    reference_agreement: float | None = Field(
        default=None, description="share of examples on which the default kernels answer as the reference kernels"
    )
    gpu_agreement: dict[str, float] = Field(
        default_factory=dict,
        description="by device name: accepted share of examples on which it answers as litert-cpu, where that is low",
    )
    overlays: dict[str, Overlay] = Field(default_factory=dict, description="by results class")
    xfail: dict[str, Xfail] = Field(default_factory=dict, description="by measurement, or 'floor' or 'cell'")

    @model_serializer(mode="wrap")
    def _only_what_is_there(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Few cells have an exception; the others' lines stay as they are, so that a change is easy to review."""
        found: dict[str, Any] = serialize(self)
        return {
            name: value for name, value in found.items() if value or name not in ("overlays", "xfail", "gpu_agreement")
        }

    @model_validator(mode="after")
    def _enough_repeats(self) -> Self:
        for machine, value in self.latency.items():
            if len(value.values or []) < LEAST_PROCESSES:
                raise ValueError(
                    f"latency of {machine}: expected 'values' of {LEAST_PROCESSES} processes at least: one gives no "
                    "interval; remove the entry, and time the cell again on that machine"
                )
            if min(value.values or [0.0]) <= 0:
                raise ValueError(f"latency of {machine}: expected 'values' above 0, for they are ratios of times")
        return self


# A kind of check; a refusal of the input (exit status 4); a repair that the run's report names in a note.
Sight = Kind | Literal["refusal", "note"]


class Planted(Record):
    """What the gate did with one planted regression.

    Attributes:
        host: the variant that it was planted in, ``pipeline`` or ``memory``.
        seen_by: the check that has to see it; ``caught_by``: those that did.
        checks: the measurements that were called red; ``verdict``: the worst of all.
        drop: of the score, in pp; None where it could not be run.
        growth: of the file, or of the memory, as a fraction.
        harmful: whether it has to be caught: see :mod:`bench.selftest`.
        caught: called red, by any check; ``caught_by`` says which.
    """

    plant: str
    where: str
    strength: str
    seed: int
    host: str = "ptq_static_wi8_ai8"
    seen_by: Sight
    drop: float | None = None
    growth: float
    harmful: bool
    caught: bool
    caught_by: list[Sight]
    checks: list[str] = Field(default_factory=list)
    verdict: Verdict | None = None


class LatencyPlant(Record):
    """How often a planted slowdown was called red.

    Attributes:
        measurement: the judgement that has to see it.
        trials: runs resampled from the recordings.
        caught: by rule, in how many of them; ``quantbench`` is the gate's own.
    """

    plant: str
    strength: str
    measurement: str
    trials: int
    caught: dict[str, int]


class LatencyNull(Record):
    """How often a rule was red where nothing had changed.

    Attributes:
        where: what the recordings are of; ``recordings``: how many there are.
        runs: whole runs of so many ``cells``, resampled from the recordings.
        red_judgements, red_runs: by rule.
    """

    where: str
    recordings: int
    runs: int
    cells: int
    red_judgements: dict[str, int]
    red_runs: dict[str, int]


class LatencySelftest(Record):
    """The latency gate's error rates, beside those of other tools' rules on the same recordings.

    Attributes:
        recordings: by condition, how many fresh processes.
        processes: of one measurement.
        seconds: of timing in each.
        share: of the false-alarm budget, what one judgement is red at.
        spread: by measurement, sd of one process as a fraction.
        disturbed: share of blocks that others interrupted.
    """

    recordings: dict[str, int]
    processes: int
    seconds: float
    share: float
    spread: dict[str, float]
    disturbed: float
    plants: list[LatencyPlant]
    nulls: list[LatencyNull]


class FlipRate(Record):
    """How often rules were red where some of the answers to the test examples were flipped.

    Attributes:
        net: examples lost beyond those gained; 0: each flip went either way by the toss of a coin.
        discordant: examples that changed between right and wrong.
        red: by rule, in how many of the trials.
    """

    net: int
    discordant: int
    trials: int
    red: dict[str, int]


class Selftest(Record):
    """The gate's own error rates.

    Attributes:
        null_runs: healthy artifacts converted again, and ``false_reds`` among them; ``trained_null_runs`` and
            ``trained_false_reds``: the same of healthy models trained again with other seeds; ``memory_null_runs`` and
            ``memory_false_reds``: of memory measured again. ``recordings`` and ``memory_recordings``: of how many fresh
            processes the runs were drawn.
        skipped: what could not be planted, and why.
    """

    schema_version: str = SCHEMA_VERSION
    kind: Literal["quantbench.selftest"] = "quantbench.selftest"
    model: str
    variant: str
    plants: list[Planted]
    null_runs: int
    false_reds: int
    flips: list[FlipRate] = Field(default_factory=list)
    latency: LatencySelftest | None = None
    trained_null_runs: int = 0
    trained_false_reds: int = 0
    skipped: list[str] = Field(default_factory=list)
    recordings: int = 0
    memory_recordings: int = 0
    memory_null_runs: int = 0
    memory_false_reds: int = 0


class BaselineFile(Record):
    """``baselines/<model>.json``."""

    schema_version: str = SCHEMA_VERSION
    kind: Literal["quantbench.baseline"] = "quantbench.baseline"
    model: str
    metric: str
    data_sha256: str
    predictions_sha256: str = Field(description="of the .npz of stored per-example predictions beside this file")
    cells: dict[str, BaselineCell]


R = TypeVar("R", Report, BaselineFile)


def schema(record: type[Record]) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a record."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **record.model_json_schema()}


def read_record(path: Path, record: type[R], what: str) -> R:
    """Read and check a JSON file.

    Raises:
        BadInput: one sentence with the file, the field, what was found and what was expected.
    """
    text = _checked_text(path, record, what)
    try:
        return record.model_validate_json(text, strict=True)
    except ValidationError as error:
        first, *rest = error.errors()
        more = f" (and {len(rest)} more)" if rest else ""
        raise BadInput(f"{path}: {what}: {_told(first)}{more}") from None


def problems(path: Path, record: type[R], what: str) -> list[str]:
    """All that is wrong with a JSON file, where :func:`read_record` stops at the first; no file name in them."""
    try:
        record.model_validate_json(_checked_text(path, record, what), strict=True)
    except ValidationError as error:
        return [_told(one) for one in error.errors()]
    except BadInput as error:
        return [str(error).removeprefix(f"{path}: ")]
    return []


def _checked_text(path: Path, record: type[R], what: str) -> str:
    """A file's text, once it is known to be JSON of this kind and of a version that is read here."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BadInput(f"{path}: {what} not found") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: {what} cannot be read: {error}") from None
    try:
        data = json.loads(text, object_pairs_hook=_without_twins, parse_int=_whole_number, parse_float=_number)
    except _Twins as error:
        raise BadInput(
            f"{path}: {what}: key {error.args[0]!r} is there twice in one object, and only the last would count; "
            "remove one of them"
        ) from None
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: {what} is not JSON ({error}); restore it from git or make it again") from None
    if not isinstance(data, dict):
        raise BadInput(f"{path}: {what} must be a JSON object, found {type(data).__name__}")
    _check_version(path, data, record, what)
    return text


class _Twins(Exception):
    """A key that an object holds twice."""


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON takes the last of two equal keys without a word, which a bad merge of two branches leaves behind."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Twins(Counter(name for name, _ in pairs).most_common(1)[0][0])
    return found


def _whole_number(digits: str) -> int:
    """Nothing that is counted here is larger; what is fails only when it is written out or divided."""
    if len(digits) > LONGEST_NUMBER:
        raise ValueError(f"a number of {len(digits)} digits, {digits[:12]}…")
    return int(digits)


def _number(text: str) -> float:
    if abs(float(text)) > LARGEST_NUMBER:
        raise ValueError(f"a number as large as {text[:12]}")
    return float(text)


def _check_version(path: Path, data: dict[str, Any], record: type[Record], what: str) -> None:
    kind = record.model_fields["kind"].default
    if data.get("kind") != kind:
        raise BadInput(f"{path}: field 'kind': expected {kind!r}, found {data.get('kind')!r}; this is no {what}")
    version = str(data.get("schema_version"))
    parts = version.split(".")
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,4})*", version):
        raise BadInput(f"{path}: field 'schema_version': expected a version like {SCHEMA_VERSION!r}, found {version!r}")
    if [int(part) for part in parts] > [int(part) for part in SCHEMA_VERSION.split(".")]:
        raise BadInput(
            f"{path}: field 'schema_version': {version} is newer than this quantbench reads ({SCHEMA_VERSION}); "
            "upgrade quantbench"
        )


def _told(error: Any) -> str:
    """One of pydantic's errors in words; what our own validators say has named what was found already."""
    field = ".".join(str(part) for part in error["loc"]) or "(whole file)"
    if error["type"] == "value_error":
        return f"field '{field}': {error['msg'].removeprefix('Value error, ')}"
    return f"field '{field}': {error['msg']}, found {repr(error.get('input'))[:60]}"


def write_json(path: Path, record: Record) -> None:
    """Write a record atomically: sorted keys, floats rounded to nine significant digits, a final newline."""
    text = json_text(_rounded(record.model_dump(mode="json", exclude_none=True))) + "\n"
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def json_text(value: Any, depth: int = 0) -> str:
    """JSON with sorted keys, a key a line, and a line for each item of a list: short to read, and easy to merge."""
    if isinstance(value, dict) and value:
        inner = " " * (depth + 1)
        lines = [f"{inner}{_flat(key)}: {json_text(value[key], depth + 1)}" for key in sorted(value)]
        return "{\n" + ",\n".join(lines) + "\n" + " " * depth + "}"
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        inner = " " * (depth + 1)
        lines = [inner + (_flat(item) if _is_flat(item) else json_text(item, depth + 1)) for item in value]
        return "[\n" + ",\n".join(lines) + "\n" + " " * depth + "]"
    return _flat(value)


def _flat(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)


def _is_flat(item: Any) -> bool:
    return not isinstance(item, dict) or not any(isinstance(value, dict) for value in item.values())


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return value if value == 0 or not math.isfinite(value) else float(f"{value:.9g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return value
