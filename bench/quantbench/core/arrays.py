"""Define arrays as passed between rooms: a single input is an array, several are a dict by name."""

from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]

# A single input is a plain array; several are a dict keyed by input name.
Inputs = Array | dict[str, Array]


def rows(inputs: Inputs, index: slice | Array) -> Inputs:
    """Return the examples of ``inputs`` selected by ``index``."""
    if isinstance(inputs, dict):
        return {name: array[index] for name, array in inputs.items()}
    return inputs[index]


def length(inputs: Inputs) -> int:
    """Return the number of examples."""
    return len(next(iter(inputs.values()))) if isinstance(inputs, dict) else len(inputs)
