"""Count the multiplications of an operator, by which its share of a model's work is told.

What a call takes is estimated, with all other operators, by :mod:`quantbench.measure.work`.
"""

from collections import Counter
from collections.abc import Sequence
from math import prod

from quantbench.tflite.graph import Graph, Operator, Tensor

# Operators whose every weight is used once for each row of the input, and for each step of a sequence.
_ROW_BY_ROW = (
    "SVDF",
    "UNIDIRECTIONAL_SEQUENCE_RNN",
    "BIDIRECTIONAL_SEQUENCE_RNN",
    "UNIDIRECTIONAL_SEQUENCE_LSTM",
    "BIDIRECTIONAL_SEQUENCE_LSTM",
)


def macs(graph: Graph, operator: Operator) -> int:
    """Return the multiplications with additions of one call; 0 of an operator that has no weights to multiply by."""
    shapes = [_shape(tensor) for tensor in operator.inputs]
    if not operator.outputs or len(shapes) < 2:
        return 0
    out, second = prod(_shape(operator.outputs[0])), shapes[1]
    match operator.name:
        case "CONV_2D" | "FULLY_CONNECTED":
            return out * prod(second[1:])
        case "DEPTHWISE_CONV_2D":
            return out * prod(second[1:3])
        case "CONV_3D":
            return out * prod(second[:4])
        case "TRANSPOSE_CONV" if len(shapes) > 2:
            return prod(shapes[2]) * prod(second[:3])
        case "CONV_3D_TRANSPOSE" if len(shapes) > 2:
            return prod(shapes[2]) * prod(second[:4])
        case "BATCH_MATMUL" if len(shapes[0]) > 1:
            return out * shapes[0][-2 if getattr(operator.options, "adjX", False) else -1]
        case name if name in _ROW_BY_ROW:
            return prod(shapes[0][:-1]) * sum(prod(one.shape) for one in graph.weights_of(operator))
    return 0


def left_macs(graph: Graph, count: int, refused: Sequence[str]) -> tuple[int, int]:
    """Return the least and the most multiplications of the operators that an accelerator left to the CPU.

    It says how many it left, and of which kinds it refuses some, but not which of a kind; it also leaves operators of
    other kinds.

    Args:
        count: of operators that it left.
        refused: names of operators, once for each reason; at least one operator of that name was left for it.
    """
    named, work = Counter(refused), dict[str, list[int]]()
    for one in graph.operators:
        work.setdefault(one.name, []).append(macs(graph, one))

    def bound(most: bool) -> int:
        ordered = {name: sorted(values, reverse=most) for name, values in work.items()}
        sure = [value for name, values in ordered.items() for value in values[: named[name]]]
        rest = sorted((value for name, values in ordered.items() for value in values[named[name] :]), reverse=most)
        return sum(sure) + sum(rest[: max(0, count - len(sure))])

    return bound(False), bound(True)


def _shape(tensor: Tensor | None) -> tuple[int, ...]:
    return () if tensor is None else tuple(max(1, size) for size in tensor.shape)
