"""Know the faults of LiteRT's GPU accelerator that were found: which artifacts have them, and on which devices seen."""

from typing import NamedTuple

from quantbench.records import Census, Device

# Where they were seen. Elsewhere the same artifact is red, and its message names the operators.
_SEEN_ON = ("SwiftShader", "llvmpipe")
_OF_STORED_INTEGERS = ("ADD", "SUB", "MUL")
_NAMED = 3  # operators, of those that have a fault


class Fault(NamedTuple):
    """Describe a fault that an artifact may show.

    Attributes:
        what: the accelerator does, in words that follow "it".
        operators: that have it, by position.
    """

    what: str
    operators: list[int]

    def __str__(self) -> str:
        """Say what the accelerator does, and in which operators."""
        named = ", ".join(map(str, self.operators[:_NAMED]))
        more = f" and {len(self.operators) - _NAMED} more" * (len(self.operators) > _NAMED)
        return f"it {self.what} (operator{'s' * (len(self.operators) > 1)} {named}{more})"


def known_fault(census: Census | None) -> Fault | None:
    """Return the fault that an artifact may show; None where it has no such operator."""
    if census is None or census.options is None or census.order is None:
        return None
    if strided := _strided_pointwise(census):
        return Fault("computes pointwise convolutions with a stride as if that were one", strided)
    if stored := _of_stored_integers(census):
        return Fault("adds and multiplies int16 values as they are stored, without their scales", stored)
    return None


def _strided_pointwise(census: Census) -> list[int]:
    """Return the operators that the accelerator was seen to compute with a stride of one.

    They are convolutions of one by one with a larger stride whose weights are not converted to float before: integer
    and hybrid ones. The same in float, and larger kernels with a stride, are right (``studies.gpu_stride``).
    """
    found: list[int] = []
    if "int16" in census.activations:  # none of its convolutions is taken
        return found
    for one in census.compute:
        if one.operator != "CONV_2D" or one.precision == "float" or one.shape[1:3] != [1, 1]:
            continue
        words = _options(census, one.index)
        if any(word.startswith("stride") and int(word.partition("=")[2]) > 1 for word in words):
            found.append(one.index)
    return found


def _of_stored_integers(census: Census) -> list[int]:
    """Return the operators that the accelerator computes without the scales of their values, where it takes them.

    Of int16 values it takes no operator with weights, but these, wherever their neighbours allow it
    (``studies.gpu_int16``).
    """
    if "int16" not in census.activations or census.order is None:
        return []
    return [index for index in range(len(census.order)) if _options(census, index)[0] in _OF_STORED_INTEGERS]


def _options(census: Census, index: int) -> list[str]:
    """Return the name of an operator and its options."""
    assert census.options is not None
    assert census.order is not None
    return census.options[census.order[index]].split()


def seen_on(device: Device) -> bool:
    """Check whether the faults were seen on such a device."""
    return device.name.startswith(_SEEN_ON)
