"""Know how far healthy artifacts differ from the CPU on each kind of device: the null of the judge of accelerators.

``python -m studies.gpu_null`` measures it from what the baselines accepted, without artifacts of a known fault
(:mod:`quantbench.gate._gpu_faults`), and writes :mod:`quantbench.gate._gpu_null_measured`; a test compares the two.
"""

from typing import NamedTuple

from quantbench.gate._agreement import fewer_than
from quantbench.gate._gpu_null_measured import LOWEST
from quantbench.records import Census, Compared, Device, Measurement

# What an artifact computes with decides how far rounding takes it: a device may dequantize weights where the CPU
# computes in integers.
ARITHMETIC = ("float", "hybrid", "integer", "int16")
# Less strict than where something was accepted on the device: the lowest of many artifacts is a wide limit already.
NULL_RED_AT = 0.01


class Null(NamedTuple):
    """The lowest agreement with litert-cpu of all healthy artifacts of a kind of device and arithmetic.

    Attributes:
        examples: of the artifact that it was measured of.
        models: number of models that the artifacts are of.
        kind: of device.
    """

    agreement: float
    examples: int
    models: int
    kind: str


def arithmetic(census: Census | None) -> str | None:
    """Return what an artifact computes with, the most quantized of its operators; None where it is not known."""
    if census is None:
        return None
    seen = {one.precision for one in census.compute}
    if "integer" in seen and "int16" in census.activations:
        return "int16"
    return next((each for each in reversed(ARITHMETIC) if each in seen), None)


def null_of(device: Device, census: Census | None, compared: Compared) -> Null | None:
    """Return the null of a device and artifact; None where no artifact was measured that is compared and computes so.

    The lowest of all kinds of devices stands for a kind that was never measured, the lowest of all arithmetic for an
    unknown one.
    """
    computed = arithmetic(census)
    found = [
        Null(agreement, examples, models, kind)
        for (kind, of, name), (agreement, examples, _, models) in LOWEST.items()
        if of == compared and computed in (None, name)
    ]
    of_kind = [null for null in found if null.kind == device.kind]
    return min(of_kind or found, key=lambda null: null.agreement, default=None)


def less_than_healthy(agreement: Measurement, null: Null | None) -> bool:
    """Check whether less agrees than of any healthy artifact, beyond chance (Fisher); not known without a null."""
    return null is not None and fewer_than(agreement, null.agreement, null.examples) <= NULL_RED_AT
