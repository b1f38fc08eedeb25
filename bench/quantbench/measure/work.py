"""Estimate the arithmetic of one call of an artifact, from its file alone: the same number on every machine."""

from math import prod
from pathlib import Path

from quantbench.tflite import graph
from quantbench.tflite.graph import Operator
from quantbench.tflite.work import macs


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
    return sum(_of(whole, operator) for operator in whole.operators)


def _of(whole: graph.Graph, operator: Operator) -> int:
    values = max((prod(tensor.shape) for tensor in operator.outputs), default=0)
    return macs(whole, operator) or int(values)
