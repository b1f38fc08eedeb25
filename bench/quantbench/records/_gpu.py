"""Describe what was accepted of an artifact on one kind of accelerator."""

from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from quantbench.records._common import Record

# What an agreement is a share of: whole examples, their values, as pixels, or detections.
Compared = Literal["examples", "values", "detections"]


class AcceptedGpu(Record):
    """What an artifact did on a device when it was accepted.

    Attributes:
        agreement: share of what is compared in which it answered as litert-cpu.
        examples: number of examples that it answered.
        left: operators that were left to the CPU.
        operators: of all; 0 where the accelerator took all of them, and named no number.
        left_macs: multiplications that were left to the CPU, at most; None where operators were left and that was not
            counted: before 1.11.
        compared: what the agreement is a share of; None where that is whole examples, and in older baselines, which
            compared values of some models and whole examples of all others.
    """

    agreement: float = Field(ge=0, le=1)
    examples: int = Field(ge=1)
    left: int = Field(default=0, ge=0)
    operators: int = Field(default=0, ge=0)
    left_macs: int | None = Field(default=None, ge=0)
    compared: Compared | None = None

    @model_serializer(mode="wrap")
    def _without_unknown(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = serialize(self)
        return {name: value for name, value in fields.items() if value is not None}
