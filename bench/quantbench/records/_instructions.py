"""Describe the instructions of one call of an artifact, as valgrind counts them."""

from pydantic import Field

from quantbench.records._common import Record

BETWEEN = "between operators"  # the runtime itself: what runs in no operator's code
OperatorCount = tuple[str, int]


class Counted(Record):
    """Say which parts of a call the instructions are in.

    Attributes:
        profile: of the processor that valgrind showed; counts of one profile are comparable.
        operators: (kernel, instructions) of each operator that ran, in order, and of what ran between them last; the
            numbers add up to the measurement ``instructions``.
    """

    profile: str
    operators: list[OperatorCount] = Field(default_factory=list)
