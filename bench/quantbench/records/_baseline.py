"""Describe a model's baseline: values that maintainers accepted for each cell, and temporary exceptions."""

import datetime
from typing import Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from quantbench.records._artifact import Census
from quantbench.records._common import SCHEMA_VERSION, Record, Stalls
from quantbench.records._gpu import AcceptedGpu
from quantbench.records._instructions import OperatorCount
from quantbench.records._micro import AcceptedMicro
from quantbench.records._provenance import Accepted, Provenance, SharedText, check_notes, check_updates

LEAST_PROCESSES = 2  # of a latency baseline: one has no spread


class First(Record):
    """First accepted value: drift is measured from it, whatever was accepted since."""

    value: float
    date: str
    run: str


class Loosened(Record):
    """A tolerance that maintainers widened until an expiry date; afterwards the computed one applies again.

    Attributes:
        tolerance: in the unit of the one it replaces.
        expires: last day on which it applies.
    """

    tolerance: float = Field(ge=0)
    reason: str = Field(min_length=1)
    expires: datetime.date


class Xfail(Record):
    """A known failure that is expected to continue until an expiry date.

    Attributes:
        ticket: where it is tracked.
        expires: last day on which the failure is excused.
        bound: the largest change for the worse that is excused, in the judgement's unit; None where it has no number.
        seen: the reason that the tools or the judge gave; where there is no number, only this one is excused.
    """

    ticket: str = Field(min_length=1)
    reason: str = Field(min_length=1)
    expires: datetime.date
    bound: float | None = Field(default=None, description="the largest change for the worse that is excused")
    seen: str | None = Field(default=None, description="the failure that is excused, where it has no number")


def _without_outputs(fields: dict[str, Any]) -> dict[str, Any]:
    """Omit further outputs where there are none, as of most models: unchanged lines keep a change easy to review."""
    return {name: value for name, value in fields.items() if value or name != "outputs"}


class AcceptedFloor(Record):
    """The floor that a model's file declared when the cell was accepted; None: it declared no floor for it.

    Attributes:
        outputs: further output -> its own floor.
    """

    max_drop: float | None = None
    outputs: dict[str, float | None] = Field(default_factory=dict, description="empty in files before 1.9")

    @model_serializer(mode="wrap")
    def _without_empty(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without_outputs(serialize(self))


class HandEdit(Record):
    """A deliberate change by hand that a maintainer sealed: which fields, when and why."""

    date: str
    reason: str = Field(min_length=1)
    fields: list[str]


class BaselineValue(Record):
    """Last accepted value of one measurement.

    Attributes:
        noise: standard deviation of one repetition, as recorded; 0 where repeating changes nothing.
        noise_from: source of that number.
        tolerance: largest change in the bad direction that passes, in ``unit`` (if ``relative``, as a fraction).
        tolerance_from: how it was derived.
    """

    value: float
    unit: str
    n: int = Field(ge=1)
    noise: float = Field(ge=0)
    noise_from: SharedText
    values: list[float] | None = None
    tolerance: float = Field(ge=0)
    tolerance_from: SharedText
    accepted: Provenance
    first: First | None = Field(
        default=None, description="None in files of before 1.2: the accepted value is the first"
    )
    loosened: Loosened | None = None
    artifact: str | None = Field(
        default=None, description="of a latency: hash of the artifact that it is of; None in files before 1.8"
    )
    hosts: dict[str, float] | None = Field(
        default=None, description="of a latency: what the same artifact took on each host that was accepted, by hash"
    )
    stalls: list[Stalls] | None = Field(
        default=None, description="of time lost in stalls: what it is computed from, by least length; since 1.11"
    )

    @model_validator(mode="after")
    def _only_wider(self) -> Self:
        if self.loosened is not None and self.loosened.tolerance <= self.tolerance:
            raise ValueError(
                f"a tolerance may only be widened: expected 'loosened.tolerance' above the computed "
                f"{self.tolerance:g}, found {self.loosened.tolerance:g}; give a larger one or remove 'loosened'"
            )
        return self


class Overlay(Record):
    """Values of a cell that differ from its base in one results class; all others are as in the base."""

    measurements: dict[str, BaselineValue] = Field(default_factory=dict)
    unsupported: str | None = None
    broken_promise: str | None = None
    census: Census | None = None
    artifact_sha256: str | None = None
    reference_sha256: str | None = None
    reference_agreement: float | None = None
    conversion_agreement: float | None = None


_RARE = (
    "by_machine",
    "counted",
    "overlays",
    "xfail",
    "gpu",
    "gpu_agreement",
    "gpu_refusal",
    "micro",
    "conversion_agreement",
    "trained_sha256",
    "sources",
    "training",
    "hand_edits",
    "seal",
)  # fields of a cell that few have


class BaselineCell(Record):
    """Accepted values; latency, instructions and float32's peak memory by machine class, the rest by results class."""

    measurements: dict[str, BaselineValue] = Field(default_factory=dict)
    latency: dict[str, BaselineValue] = Field(default_factory=dict)
    peak_memory: dict[str, BaselineValue] = Field(default_factory=dict)
    by_machine: dict[str, dict[str, BaselineValue]] = Field(
        default_factory=dict,
        description="measurement -> machine class -> value, of latency and memory beside the two fields above, and of "
        "instructions",
    )
    counted: dict[str, list[OperatorCount]] = Field(
        default_factory=dict,
        description="profile of the processor that valgrind shows -> (kernel, instructions) of each operator of a call",
    )
    unsupported: str | None = Field(default=None, description="the tools' reason, where the cell cannot be made")
    broken_promise: str | None = Field(
        default=None, description="where the artifact is known not to be what it is called"
    )
    census: Census | None = None
    artifact_sha256: str | None = None
    reference_sha256: str | None = None
    trained_sha256: str | None = Field(
        default=None, description="of the first seed's weights after all training; shows whether training repeats"
    )
    training: list[dict[str, str]] = Field(
        default_factory=list, description="facts of each training of the first seed, in order: steps, loss, rate, ..."
    )
    sources: dict[str, str] = Field(
        default_factory=dict, description="what the answers come from besides the artifact -> its hash or version"
    )
    reference_agreement: float | None = Field(
        default=None, description="share of examples on which the default kernels answer as the reference kernels"
    )
    conversion_agreement: float | None = Field(
        default=None,
        description="share of examples on which the artifact answers as its fake-quantized model: lowest of all seeds",
    )
    gpu: dict[str, AcceptedGpu] = Field(
        default_factory=dict, description="by device name: agreement with litert-cpu, and operators left to the CPU"
    )
    gpu_agreement: dict[str, float] = Field(
        default_factory=dict,
        description="by device name: accepted share of examples on which it answers as litert-cpu, where that is low",
    )
    gpu_refusal: dict[str, str] = Field(
        default_factory=dict, description="by device name: why the accelerator is known not to run it; since 1.10"
    )
    micro: AcceptedMicro | None = Field(
        default=None, description="what TFLite-Micro made of the artifact; its arena is among the measurements"
    )
    overlays: dict[str, Overlay] = Field(default_factory=dict, description="by results class")
    xfail: dict[str, Xfail] = Field(default_factory=dict, description="by measurement, or 'floor' or 'cell'")
    floor: AcceptedFloor | None = Field(default=None, description="in force when accepted; None in files before 1.5")
    hand_edits: list[HandEdit] = Field(default_factory=list, description="made by hand and sealed with a reason")
    seal: dict[str, str] = Field(
        default_factory=dict, description="in files before 1.7, whose seals lay in the cells; now in 'seals'"
    )

    @model_serializer(mode="wrap")
    def _only_what_is_there(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omit empty exceptions: few cells have one, and unchanged lines keep a change easy to review."""
        fields: dict[str, Any] = serialize(self)
        return {name: value for name, value in fields.items() if value or name not in _RARE}

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


class BaselineFile(Record):
    """``baselines/<model>.json``."""

    schema_version: str = SCHEMA_VERSION
    kind: Literal["quantbench.baseline"] = "quantbench.baseline"
    model: str
    metric: str
    outputs: dict[str, str] = Field(
        default_factory=dict, description="further output -> its metric; empty in files before 1.9"
    )
    data_sha256: str
    predictions_sha256: str = Field(
        description="of the .npz of stored per-example predictions beside this file; since 1.11 its arrays NAME^OTHER "
        "are differences from others"
    )
    updates: dict[str, Accepted] = Field(
        default_factory=dict, description="by id, which follows from the content: who accepted values, when and why"
    )
    notes: dict[str, str] = Field(
        default_factory=dict, description="by id, which follows from the content: texts that values share"
    )
    cells: dict[str, BaselineCell]
    seals: dict[str, dict[str, str]] = Field(
        default_factory=dict,
        description="variant -> digest of every field, by group; shows edits by hand, is no secret",
    )
    seal: str | None = Field(
        default=None, description="digests of the fields above but the cells, which have their own"
    )

    @model_serializer(mode="wrap")
    def _without_empty(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without_outputs(serialize(self))

    @field_validator("updates")
    @classmethod
    def _as_their_ids_say(cls, updates: dict[str, Accepted]) -> dict[str, Accepted]:
        return check_updates(updates)

    @field_validator("notes")
    @classmethod
    def _as_their_ids_say_too(cls, notes: dict[str, str]) -> dict[str, str]:
        return check_notes(notes)
