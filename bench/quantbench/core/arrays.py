"""Arrays as they pass between the rooms: one input is an array, several are a dict by name."""

from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]

# One input is a plain array; several are a dict keyed by input name.
Inputs = Array | dict[str, Array]


def rows(inputs: Inputs, index: slice | Array) -> Inputs:
    """The examples of ``inputs`` that ``index`` selects."""
    if isinstance(inputs, dict):
        return {name: array[index] for name, array in inputs.items()}
    return inputs[index]


def length(inputs: Inputs) -> int:
    """Number of examples."""
    return len(next(iter(inputs.values()))) if isinstance(inputs, dict) else len(inputs)
