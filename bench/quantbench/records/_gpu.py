"""Describe what was accepted of an artifact on one kind of accelerator."""

from typing import Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from quantbench.records._common import Record


class AcceptedGpu(Record):
    """What an artifact did on a device when it was accepted.

    Attributes:
        agreement: share of the examples on which it answered as litert-cpu.
        examples: number of them.
        left: operators that were left to the CPU.
        operators: of all; 0 where the accelerator took all of them, and named no number.
        left_macs: multiplications that were left to the CPU, at most; None where operators were left and that was not
            counted: before 1.11.
    """

    agreement: float = Field(ge=0, le=1)
    examples: int = Field(ge=1)
    left: int = Field(default=0, ge=0)
    operators: int = Field(default=0, ge=0)
    left_macs: int | None = Field(default=None, ge=0)

    @model_serializer(mode="wrap")
    def _without_unknown(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = serialize(self)
        return {name: value for name, value in fields.items() if value is not None}
