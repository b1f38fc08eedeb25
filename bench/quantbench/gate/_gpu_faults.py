"""Know the faults of LiteRT's GPU accelerator that were found: which artifacts have them, and on which devices seen."""

from quantbench.records import Census, Device

# Where it was seen. Elsewhere the same artifact is red, and its message names the operators.
_SEEN_ON = ("SwiftShader", "llvmpipe")


def strided_pointwise(census: Census | None) -> list[int]:
    """Return the operators, by position, that the accelerator was seen to compute with a stride of one.

    They are convolutions of one by one with a larger stride whose weights are not converted to float before: integer
    and hybrid ones. The same in float, and larger kernels with a stride, are right (``studies.gpu_stride``).
    """
    if census is None or census.options is None or census.order is None:
        return []
    found = []
    for one in census.compute:
        if one.operator != "CONV_2D" or one.precision == "float" or one.shape[1:3] != [1, 1]:
            continue
        words = census.options[census.order[one.index]].split()
        if any(word.startswith("stride") and int(word.partition("=")[2]) > 1 for word in words):
            found.append(one.index)
    return found


def seen_on(device: Device) -> bool:
    """Check whether the fault was seen on such a device."""
    return device.name.startswith(_SEEN_ON)


def words(operators: list[int]) -> str:
    """Say which operators have the fault."""
    named = ", ".join(str(position) for position in operators)
    return f"it computes pointwise convolutions with a stride as if that were one (operator {named})"
