"""Describe the content of an artifact: its tensors, its operators, and the ranges that they can hold."""

from pydantic import Field

from quantbench.records._common import Record


class Amount(Record):
    """Number of tensors, and their bytes in total."""

    count: int
    bytes: int


class Port(Record):
    """An input or output of an artifact. Where quantized: real value = scale x (stored - zero_point)."""

    name: str
    dtype: str
    shape: list[int]
    scale: float | None = None
    zero_point: int | None = None


class Compute(Record):
    """A compute operator with one of its weight tensors (an LSTM has several), in file order.

    Attributes:
        index: of the operator in the file.
        again: whether an earlier operator uses the same weight tensor.
        precision: ``integer``, ``hybrid`` (float activations, integer weights) or ``float``.
        weights: dtype as stored; None where both operands are activations.
        granularity: ``per-tensor``, ``per-channel``, ``blockwise`` or ``float``.
        scale: of the channel with the widest range.
        zeros: fraction of weights that are 0.
        distinct: number of distinct values in the whole tensor.
        distinct_in_channel: largest number of distinct values in one output channel.
        lowest, highest: of the stored values; None for floats.
        reach: largest magnitude of the real values, the same however a channel is divided into scale and weights.
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
    lowest: int | None = None
    highest: int | None = None
    reach: float | None = None


class Signature(Record):
    """What callers name to run a model.

    Attributes:
        inputs, outputs: name -> position of its tensor among those of the subgraph.
    """

    inputs: dict[str, int]
    outputs: dict[str, int]


class Census(Record):
    """Structure snapshot of an artifact.

    Attributes:
        constants: by dtype, all stored tensors: weights, biases, shapes.
        scales: number of stored scales; each has a zero point, 12 bytes together.
        activations: dtype -> number of tensors computed at run time.
        operators: name -> precision -> count.
        ranges: scale and zero point of each quantized activation, in file order.
        degenerate: names of quantized activations whose range is empty (min = max) or not finite.
        signatures: by their keys; None in files of before 1.5, as the next two.
        options: each operator with options of its own, once: ``CONV_2D RELU padding=1 strideH=2``.
        order: of all operators in file order, the position in ``options``.
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
    signatures: dict[str, Signature] | None = None
    options: list[str] | None = None
    order: list[int] | None = None


class Range(Record):
    """Range that a quantized tensor can hold, in real values; per-channel ones from the widest channel."""

    tensor: str
    dtype: str
    granularity: str
    constant: bool
    low: float
    high: float


class Contents(Record):
    """Content of an artifact, as kept in the store."""

    census: Census
    ranges: list[Range]
