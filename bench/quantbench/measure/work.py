"""Estimate the arithmetic of one call of an artifact, from its file alone: the same number on every machine."""

from math import prod
from pathlib import Path

from quantbench.tflite import graph
from quantbench.tflite.graph import Operator

_CONVOLUTIONS = ("CONV_2D", "CONV_3D", "TRANSPOSE_CONV", "CONV_3D_TRANSPOSE")


def operations(artifact: Path) -> int | None:
    """Count the multiplications of one call, and an operation per output value of all else.

    Returns:
        A count; the bodies of loops count once. None where the file cannot be read as an artifact.
    """
    try:
        return operations_of(graph.read(artifact.read_bytes()))
    except (OSError, ValueError):
        return None


def operations_of(whole: graph.Graph) -> int:
    """Count the operations of one call of a file that is read already."""
    return sum(_of(operator) for operator in whole.operators)


def _of(operator: Operator) -> int:
    values = max((prod(tensor.shape) for tensor in operator.outputs), default=0)
    shapes = [tensor.shape if tensor is not None else () for tensor in operator.inputs]
    weights = shapes[1] if len(shapes) > 1 else ()
    if operator.name in _CONVOLUTIONS and weights:
        return values * prod(weights[1:])
    if operator.name == "DEPTHWISE_CONV_2D" and weights:
        return values * prod(weights[:-1])
    if operator.name == "FULLY_CONNECTED" and weights:
        return values * int(weights[-1])
    if operator.name == "BATCH_MATMUL" and shapes[0]:
        return values * int(shapes[0][-1])
    if operator.name in graph.WEIGHTS:  # recurrent: each matrix once a step
        steps = max(1, prod(shapes[0]) // max(1, shapes[0][-1])) if shapes[0] else 1
        return steps * sum(int(prod(shapes[slot])) for slot in graph.WEIGHTS[operator.name] if slot < len(shapes))
    return int(values)
