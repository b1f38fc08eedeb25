"""Explain an artifact's size from that of its float control and the width of its weights."""

from collections import Counter
from dataclasses import dataclass
from math import prod

from quantbench.records import Cell, Census

BYTES = {"int2": 0.25, "int4": 0.5, "int8": 1.0, "uint8": 1.0, "float16": 2.0, "float32": 4.0}
SCALE_BYTES = 12  # a float32 scale and an int64 zero point


@dataclass(frozen=True)
class Explained:
    """Break down the bytes of an artifact.

    Attributes:
        predicted: the float control's size with every weight in the width that most weights of this artifact have.
        scales: stored scales and zero points.
        wider: weights of any other width.
        constants: all other constants, minus those of the control (int64 biases, for example).
        graph: the rest: operators, names, metadata.
    """

    predicted: float
    actual: float
    scales: float
    wider: float
    constants: float
    graph: float


def explain(cell: Cell, control: Cell | None) -> Explained | None:
    """Predict the size and explain the difference; None where one of the two has no census."""
    if control is None or cell.census is None or control.census is None:
        return None
    if "size" not in cell.measurements or "size" not in control.measurements:
        return None
    actual, before = cell.measurements["size"].value, control.measurements["size"].value
    width = _usual_width(cell.census)
    weights, float_weights = _weight_bytes(cell.census), _weight_bytes(control.census)
    ideal = (
        sum(prod(operator.shape) for operator in control.census.compute if operator.weights and not operator.again)
        * width
    )
    predicted = before - float_weights + ideal
    scales = SCALE_BYTES * float(cell.census.scales - control.census.scales)
    wider = weights - ideal
    constants = (_constant_bytes(cell.census) - weights) - (_constant_bytes(control.census) - float_weights)
    return Explained(predicted, actual, scales, wider, constants, graph=actual - predicted - scales - wider - constants)


def _usual_width(census: Census) -> float:
    widths: Counter[float] = Counter()
    for operator in census.compute:
        if operator.weights:
            widths[BYTES.get(operator.weights, 4.0)] += prod(operator.shape)
    return widths.most_common(1)[0][0] if widths else 4.0


def _weight_bytes(census: Census) -> float:
    return sum(
        prod(operator.shape) * BYTES.get(operator.weights, 4.0)
        for operator in census.compute
        if operator.weights and not operator.again
    )


def _constant_bytes(census: Census) -> float:
    return float(sum(amount.bytes for amount in census.constants.values()))
