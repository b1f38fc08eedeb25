"""Describe a run's report: its cells, and the judgements on each."""

from typing import Annotated, Literal, Self

from pydantic import FailFast, Field, model_validator

from quantbench.records._action import Action
from quantbench.records._advice import Advice
from quantbench.records._artifact import Census, Range
from quantbench.records._attribution import Attribution
from quantbench.records._built import FileVerdicts
from quantbench.records._common import NAME, SCHEMA_VERSION, Kind, Measurement, Record, Verdict
from quantbench.records._environment import Environment
from quantbench.records._instructions import Counted
from quantbench.records._micro import Micro
from quantbench.records._operator_times import OperatorTimes
from quantbench.records._reds import ModelHashes, RedGroup
from quantbench.records._targets import OnTarget, Target
from quantbench.records.origins import Flipped


class Evidence(Record):
    """Details behind a cell's numbers: ``evidence/<model>.json`` of a run.

    Attributes:
        flipped: test examples whose prediction differs from the control's.
        ranges: of every quantized tensor.
        range_method: how the ranges were chosen.
    """

    # One error for each of millions of items would take minutes.
    flipped: Annotated[list[int], FailFast()] = Field(default_factory=list)
    ranges: Annotated[list[Range], FailFast()] = Field(default_factory=list)
    range_method: str = ""


class PartChange(Record):
    """What became of one class, slice or seed of a cell.

    Attributes:
        name: e.g. ``class 3`` or ``camera 2``.
        n: examples.
        lost, gained: newly wrong and newly right examples; of groups, all examples in them.
        change: drop of the fraction right, in the metric's unit; negative is better.
        holm_threshold: p-value at which it is red.
    """

    name: str
    n: int
    lost: int
    gained: int
    change: float
    p_value: float
    holm_threshold: float
    verdict: Verdict


class InTurns(Record):
    """A latency timed in turns, on this machine, with the accepted artifact on the runtime that it was accepted with.

    Attributes:
        artifact: whether the artifact is the accepted one; ``stamp``: but for what its converter says of itself.
        accepted_runtime, runtime: version and hash of LiteRT, then and now; then is empty where it is not recorded.
        code: whether the code of ours that runs artifacts is that of the baseline.
        lacking: what it was not timed for: the accepted ``artifact`` is not at hand, the accepted ``runtime`` cannot be
            installed, the run's ``time`` for this was used up (where there are ``values``: before they decided it), or
            it ``failed``. None where it was timed, or where nothing had to be, because artifact and runtime are the
            accepted ones.
        detail: of ``lacking``, in the words of what failed.
        values: time per call divided by that of the accepted artifact, one value per fresh process or pair of them.
        measured: number of separate measurements that ``values`` hold, one after the other.
        change: of the typical call, as a fraction; None where it was not timed.
        low, high: its 95 % interval.
        p_value: of no change.
        slower: of what was red by the baseline: whether it is slower in turns too; None where that is not decided, and
            of any other.
    """

    artifact: Literal["same", "stamp", "changed"]
    accepted_runtime: str = ""
    runtime: str = ""
    code: Literal["same", "changed"] = "same"
    lacking: Literal["artifact", "runtime", "time", "failed"] | None = None
    detail: str = ""
    values: list[float] | None = None
    measured: int | None = None
    change: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    slower: bool | None = None

    @property
    def same(self) -> bool:
        """Whether artifact and runtime are the accepted ones, so that there is nothing to time."""
        return self.artifact != "changed" and bool(self.runtime) and self.accepted_runtime == self.runtime


class Judgement(Record):
    """One judge's verdict on one measurement.

    Attributes:
        change: difference from the reference, in ``unit``; positive is worse.
        tolerance: largest change that passes, in ``unit``.
        p_value: probability of a change this large by chance; None where chance cannot change it.
        detectable: smallest change, in ``unit``, that this judgement finds in four of five runs, with ``churn``.
        churn: examples assumed or seen to flip in each direction besides, for ``detectable``; None where it has none.
        parts: for a judgement on classes or slices: those that changed most, the worst first.
        low, high: 95 % interval of ``change``, where the verdict depends on where a limit lies in it, and of latencies.
        measured: number of separate measurements, where one is not enough for red (latency).
        flipped: what the reference kernels say to the examples whose answers changed.
        turns: of a latency: how it compares with the accepted artifact in turns, where that was asked.
        message: one sentence with both numbers, without the cell's name.
        detail: the reason alone, where the verdict has one besides its numbers: how the artifact violates its
                quantization spec, or why nothing was measured.
        actions: next steps; empty where nothing needs to be done.
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
        "accepted artifact",
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
    low: float | None = None
    high: float | None = None
    churn: int | None = None
    parts: list[PartChange] = Field(default_factory=list)
    measured: int | None = None
    flipped: Flipped | None = None
    turns: InTurns | None = None
    message: str
    detail: str = ""
    actions: list[Action] = Field(default_factory=list)


class Failure(Record):
    """Why a cell has no result.

    Attributes:
        what: ``unsupported`` (the tools refuse), ``error``, ``crash`` or ``timeout``.
        reason: a sentence: what, which operator or layer, what to do; the tool's own words where it is unknown.
        log: end of the worker's output; of a refusal, the tool's own text.
    """

    what: Literal["unsupported", "error", "crash", "timeout"]
    reason: str
    log: str = ""


class Drift(Record):
    """Change of a cell since its first accepted baseline, over all updates.

    Attributes:
        since: date of that first baseline.
        score: drop of the score, in the metric's unit; negative is better.
        size: growth of the file, as a fraction.
        latency: growth of the judged ratio with one thread, as a fraction.
        memory: growth of the peak's ratio to float32's, as a fraction; of float32 itself, of its peak.
        arena: growth of the tensor arena, as a fraction.
    """

    since: str
    score: float | None = None
    size: float | None = None
    latency: float | None = None
    memory: float | None = None
    arena: float | None = None


class LeftToCpu(Record):
    """An operator that a GPU left to the CPU, and the accelerator's reason; ``device`` is empty for the first GPU."""

    operator: str
    reason: str = ""
    device: str = ""


class OutputScored(Record):
    """How a further output is scored; its scores are the measurement ``score@NAME`` of a cell."""

    metric: str
    unit: str
    scale: float
    higher_is_better: bool


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
    outputs: dict[str, OutputScored] = Field(
        default_factory=dict, description="further outputs that are scored by themselves; empty before 1.9"
    )
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
    trained_sha256: str | None = Field(default=None, description="of the first seed's weights after all training")
    measurements: dict[str, Measurement] = Field(default_factory=dict)
    judgements: list[Judgement] = Field(default_factory=list)
    census: Census | None = None
    reference_sha256: str | None = Field(
        default=None, description="of the predictions on the reference kernels, for a fixed few of the examples"
    )
    training: list[dict[str, str]] = Field(
        default_factory=list, description="facts of each training of the first seed, in order: steps, loss, rate, ..."
    )
    sources: dict[str, str] = Field(
        default_factory=dict, description="what the answers come from besides the artifact -> its hash or version"
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
    gpu_left: list[LeftToCpu] = Field(
        default_factory=list, description="operators that the GPU left to the CPU, with the accelerator's reason"
    )
    gpu_refusal: str = Field(
        default="", description="why the accelerator does not run it, where it refuses or crashes; since 1.10"
    )
    further_gpu_refusals: dict[str, str] = Field(
        default_factory=dict, description="the same of further GPUs, by their names; since 1.11"
    )
    attribution: Attribution | None = Field(
        default=None, description="of a red score: the operators that its error comes from, without the harmless ones"
    )
    operator_times: OperatorTimes | None = Field(
        default=None, description="of a slow cell: the operators that take longer than in a reference, timed in turns"
    )
    micro: Micro | None = Field(default=None, description="what TFLite-Micro made of the artifact")
    counted: Counted | None = Field(default=None, description="which operators the instructions of a call are in")
    targets: dict[str, OnTarget] = Field(default_factory=dict, description="target -> what came of it there; since 1.9")


class LatencyAlarms(Record):
    """Latency's own part of the false-alarm budget: how many judgements share it, and at what p-value each is red."""

    judgements: int
    share: float


class FalseAlarms(Record):
    """The run's false-alarm budget and how many judgements share it, by Holm's method.

    Attributes:
        budget: of the whole run; where latency is judged, half of it is latency's own.
        judgements: tests of scores (cells, classes, slices, seeds, pools) that share the budget; in reports of before
            1.5 latency judgements too.
        share: the first step of Holm's method.
        left_out: tests that could not have been red, whatever had flipped in which direction; they take no share.
    """

    budget: float
    judgements: int
    share: float
    left_out: int = 0
    latency: LatencyAlarms | None = None
    limits: float | None = Field(default=None, description="further budget, of the drops beyond a release limit")


class Pooled(Record):
    """A judgement on several cells together: all of a model, or those of one family, whose answers changed.

    Attributes:
        id: e.g. ``resnet8: all variants``.
        family: None for all variants of the model.
        cells: those whose answers changed.
    """

    id: str
    model: str
    family: str | None = None
    cells: list[str]
    judgement: Judgement


class Shard(Record):
    """Which part of a run a report covers, and what all parts must have in common.

    Attributes:
        index, of: as in ``--shard index/of``; the first is 1.
        split: every selected cell of the whole run -> the shard that measures it.
        options: of the whole run, by name.
        baselines: model -> hash of its baseline; empty where there is none.
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
    """A shard of a run whose report was merged: where and when it ran."""

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
    models: dict[str, ModelHashes] = Field(default_factory=dict, description="model -> hashes; empty before 1.8")
    notes: list[str] = Field(default_factory=list)
    as_accepted: dict[str, int] = Field(
        default_factory=dict,
        description="kind of measurement -> number of artifacts of which it is what was measured when they were "
        "accepted, added up over shards; since 1.11",
    )
    shard: Shard | None = Field(default=None, description="where this is a part of a run; its verdicts are provisional")
    shards: list[Part] = Field(default_factory=list, description="what this was made out of, where it was")
    pooled: list[Pooled] = Field(default_factory=list, description="judgements on several cells together")
    reds: list[RedGroup] = Field(
        default_factory=list, description="what is red, grouped, the worst first; empty before 1.8 and while it runs"
    )
    targets: dict[str, Target] = Field(
        default_factory=dict, description="machines that cells ran on besides; since 1.9"
    )
    advice: Advice | None = Field(default=None, description="of `try`: what to ship; None in every other run")
    built: FileVerdicts | None = Field(
        default=None, description="of `judge`: what was found of files built elsewhere; None in every other run"
    )
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
