"""Describe what was accepted of an artifact on one kind of accelerator."""

from pydantic import Field

from quantbench.records._common import Record


class AcceptedGpu(Record):
    """What an artifact did on a device when it was accepted.

    Attributes:
        agreement: share of the examples on which it answered as litert-cpu.
        examples: number of them.
        left: operators that were left to the CPU.
        operators: of all; 0 where the accelerator took all of them, and named no number.
    """

    agreement: float = Field(ge=0, le=1)
    examples: int = Field(ge=1)
    left: int = Field(default=0, ge=0)
    operators: int = Field(default=0, ge=0)
