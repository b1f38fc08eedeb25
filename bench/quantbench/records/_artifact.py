"""What is in an artifact: its tensors, its operators, and the ranges that they can hold."""

from pydantic import Field

from quantbench.records._common import Record


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
