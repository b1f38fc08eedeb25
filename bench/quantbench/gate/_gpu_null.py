"""Know how far healthy artifacts differ from the CPU on each kind of device: the null of the judge of accelerators.

Measured by ``python -m studies.gpu_null`` from what the baselines accepted, without artifacts of a known fault
(:mod:`quantbench.gate._gpu_faults`); a test compares it with them. Two kinds of artifacts have none: with int16
activations, of which LiteRT's accelerator was seen to compute operators wrong, and detectors, whose agreement counts
whole pictures.
"""

from typing import NamedTuple

from quantbench.gate._agreement import fewer_than
from quantbench.records import Census, Device, Measurement

# What an artifact computes with decides how far rounding takes it: a device may dequantize weights where the CPU
# computes in integers.
ARITHMETIC = ("float", "hybrid", "integer")
# Less strict than where something was accepted on the device: the lowest of many artifacts is a wide limit already.
NULL_RED_AT = 0.01


class Null(NamedTuple):
    """The lowest agreement with litert-cpu of all healthy artifacts of a kind of device and arithmetic."""

    agreement: float
    examples: int


# By kind of device, then by arithmetic. Only software devices could be measured so far.
NULLS: dict[str, dict[str, Null]] = {
    "software": {"float": Null(1.0, 200), "hybrid": Null(0.98, 200), "integer": Null(0.965, 200)},
}


def arithmetic(census: Census | None) -> str | None:
    """Return what an artifact computes with, the most quantized of its operators; None where it is not known."""
    seen = {one.precision for one in census.compute} if census else set()
    return next((each for each in reversed(ARITHMETIC) if each in seen), None)


def has_null(census: Census | None, pictures: bool) -> bool:
    """Check whether an artifact can be held to what others showed.

    Args:
        pictures: whether one changed detection makes a whole picture differ.
    """
    return not pictures and (census is None or "int16" not in census.activations)


def null_of(device: Device, census: Census | None) -> tuple[Null, str]:
    """Return the null of a device and artifact, and the kind of device that it was measured on.

    The lowest of all kinds stands for a kind that was never measured, the lowest of all arithmetic for an unknown one.
    """
    kinds = [device.kind] if device.kind in NULLS else list(NULLS)
    computed = arithmetic(census)
    found = [
        (null, kind) for kind in kinds for name, null in NULLS[kind].items() if computed is None or name == computed
    ]
    return min(found, key=lambda pair: pair[0].agreement)


def less_than_healthy(agreement: Measurement, device: Device, census: Census | None) -> bool:
    """Check whether fewer examples agree than of any healthy artifact on such a device, beyond chance (Fisher)."""
    null, _ = null_of(device, census)
    return fewer_than(agreement, null.agreement, null.examples) <= NULL_RED_AT
