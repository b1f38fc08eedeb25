"""Describe how long each operator of an artifact takes beside the same step in other artifacts of the model."""

from pydantic import Field

from quantbench.records._common import Record


class OperatorTime(Record):
    """Describe the time of one operator, by LiteRT's profiler.

    Attributes:
        position: among the operators of the file.
        operator: name of the builtin.
        tensor: name of its output.
        kernel: of XNNPACK's that computes it; empty where it is one of LiteRT's own.
        microseconds: in one call. XNNPACK's clock counts whole microseconds: right to about one.
        reference: microseconds of the operator of the same step in the reference; None where there is none.
        reference_kernel: as ``kernel``, in the reference.
    """

    position: int
    operator: str
    tensor: str
    kernel: str = ""
    microseconds: float
    reference: float | None = None
    reference_kernel: str = ""


class KindTime(Record):
    """Add up the operators of one kind.

    Attributes:
        count: how many there are.
        microseconds, reference: of all, and of their partners in the reference.
        moved: how many run on LiteRT's own kernels and in the reference on XNNPACK's.
    """

    operator: str
    count: int
    microseconds: float
    reference: float
    moved: int = 0


class OperatorTimes(Record):
    """Say where an artifact's time goes, and where it takes longer than a reference timed in turns with it.

    Attributes:
        subject, reference: what was timed: a cell and ``float32`` or ``the accepted artifact``, or two files.
        processes: fresh processes that timed; numbers are medians of theirs.
        microseconds, reference_microseconds: of one call, without the profiler.
        operators: those of the artifact, in its order; in a run's report those that take longer by most.
        kinds: of all its operators, the one that takes longer by most first.
        matched: share of the operators of the two graphs that have a partner.
        gone: microseconds of operators of the reference that have no partner.
    """

    subject: str = ""
    reference: str = ""
    processes: int
    microseconds: float
    reference_microseconds: float
    operators: list[OperatorTime] = Field(default_factory=list)
    kinds: list[KindTime] = Field(default_factory=list)
    matched: float = 1.0
    gone: float = 0.0
