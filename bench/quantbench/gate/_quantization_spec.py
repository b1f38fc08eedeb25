"""Check an artifact against its variant's quantization spec: a spec and a census come in, violations go out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from quantbench.records import Census, Compute
from quantbench.tflite.graph import CASTS

if TYPE_CHECKING:
    from quantbench.variants.declare import QuantizationSpec

# Kernels that pruning and clustering compress.
COMPRESSIBLE = ("CONV_2D", "FULLY_CONNECTED")
_ACTIVATIONS = ("int8", "int16", "uint8")  # of static quantization
CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV")


@dataclass(frozen=True)
class Violation:
    """One way in which an artifact is not quantized as specified.

    Attributes:
        key: the phrase by which baselines keep an accepted one; it stays as it is for their sake.
        shown: as reports say it; empty where the key says it well.
        partly: whether the artifact is the specified one but for operators that stay in float.
    """

    key: str
    shown: str = ""
    partly: bool = False

    @property
    def words(self) -> str:
        """Return the violation as reports say it."""
        return self.shown or self.key


def violations(promise: QuantizationSpec, census: Census) -> list[Violation]:
    """List each violation of the quantization spec; empty where the artifact conforms."""
    violations = [*_operators(promise, census), *_granularity(promise, census), *_io(promise, census)]
    violations += _activations(promise, census)
    violations += _stored(promise, census) + _rest_in_float(promise, census) + _compression(promise, census)
    if census.degenerate:
        key = f"{len(census.degenerate)} activations have an empty range (min = max), first {census.degenerate[0]}"
        violations.append(Violation(key))
    return violations


def _covered(promise: QuantizationSpec, census: Census) -> list[Compute]:
    return [
        compute
        for compute in census.compute
        if (not promise.covers or compute.operator in promise.covers)
        and prod(compute.shape) >= promise.min_elements
        and not (promise.rotations and _is_rotation(compute))
    ]


def _is_rotation(compute: Compute) -> bool:
    square = len(compute.shape) == 2 and compute.shape[0] == compute.shape[1]
    return compute.weights == "float32" and square and compute.distinct == 2 and compute.zeros == 0


def _operators(promise: QuantizationSpec, census: Census) -> list[Violation]:
    covered = _covered(promise, census)
    if not covered and (promise.covers or promise.weights not in (None, "float32")):
        return [
            Violation(f"it has no {' or '.join(promise.covers) or 'compute operator with weights to be quantized'}")
        ]
    wrong = [compute for compute in covered if not _kept(promise, compute)]
    in_float = {compute.index for compute in wrong if compute.precision == "float"}
    not_kept = {compute.index for compute in wrong}
    least, most = promise.in_float
    nothing_left = most > 0 and len(not_kept) == len({compute.index for compute in covered})
    if not_kept > in_float or nothing_left or not least <= len(in_float) <= most:
        expected = " ".join(word for word in (promise.weights, promise.computes) if word)
        allowed = f"; {least} to {most} in float are meant" if most else ""
        total = len({compute.index for compute in covered})
        key = f"{len(not_kept)} of {total} compute operators are not {expected}: {_counted(wrong)}{allowed}"
        if in_float == not_kept and len(not_kept) < total and all(one.weights == "float32" for one in wrong):
            which = ", ".join(sorted({one.operator for one in wrong}))
            stay = f"{len(not_kept)} of {total} layers stay float32 ({which})" if which else "no layer stays float32"
            return [Violation(key, f"{stay}{allowed}", partly=True)]
        return [Violation(key, f"{len(not_kept)} of {total} layers are not {expected}: {_counted(wrong)}{allowed}")]
    return []


def _kept(promise: QuantizationSpec, compute: Compute) -> bool:
    if promise.weights and compute.weights is not None and compute.weights != promise.weights:
        return False
    if promise.computes is None:
        return True
    # A product of two activations has no integer weights to be hybrid with.
    of_activations = compute.operator == "BATCH_MATMUL" and compute.weights is None
    return compute.precision == promise.computes or (promise.computes == "hybrid" and of_activations)


def _counted(computes: Iterable[Compute]) -> str:
    each = {
        (compute.index, f"{compute.operator} {compute.weights or 'activations'} {compute.precision}")
        for compute in computes
    }
    counts = Counter(what for _, what in each)
    return ", ".join(f"{count} {what}" for what, count in sorted(counts.items())) or "none"


def _granularity(promise: QuantizationSpec, census: Census) -> list[Violation]:
    covered = [
        compute for compute in _covered(promise, census) if compute.weights == (promise.weights or compute.weights)
    ]
    if promise.granularity == "per-tensor":
        wrong = [compute for compute in covered if compute.granularity != "per-tensor"]
    elif promise.granularity == "per-channel":
        wrong = [
            compute for compute in covered if compute.operator in CONVOLUTIONS and compute.granularity == "per-tensor"
        ]
        wrong = [compute for compute in wrong if _channels(compute) > 1]
    elif promise.granularity == "blockwise":
        wrong = [] if any(compute.granularity == "blockwise" for compute in covered) else covered
    else:
        return []
    key = f"{len(wrong)} of {len(covered)} weight tensors are not {promise.granularity}"
    return [Violation(key)] if wrong else []


def _channels(compute: Compute) -> int:
    return compute.shape[-1] if compute.operator == "DEPTHWISE_CONV_2D" else compute.shape[0]


def _io(promise: QuantizationSpec, census: Census) -> list[Violation]:
    """Check the dtype of inputs and outputs, except integers without a scale (an index, a token)."""
    ports = [*census.inputs, *census.outputs]
    wrong = [port for port in ports if port.dtype != promise.io and (port.scale or port.dtype.startswith("float"))]
    return [Violation(f"{port.name[:60]} is {port.dtype}, not {promise.io}") for port in wrong] if promise.io else []


def _activations(promise: QuantizationSpec, census: Census) -> list[Violation]:
    """Check the width of integer activations; an int8 LSTM or SVDF keeps its state, and little else, in int16."""
    if promise.activations is None:
        return []
    ports = [one.dtype for one in (*census.inputs, *census.outputs)]
    others = [name for name in _ACTIVATIONS if name != promise.activations]
    found = {name: count for name in others if (count := census.activations.get(name, 0) - ports.count(name)) > 0}
    right, wrong = census.activations.get(promise.activations, 0), sum(found.values())
    if not wrong or (set(found) == {"int16"} and wrong < right and wrong <= _states(census)):
        return []
    which = " or ".join(found)
    return [Violation(f"{wrong} of {wrong + right} integer activations are {which}, not {promise.activations}")]


def _states(census: Census) -> int:
    """Count the tensors in which recurrent operators may keep int16: an LSTM its state, and one for each gate."""
    found = 0
    for name, counts in census.operators.items():
        if "LSTM" in name or name == "SVDF":
            each = (1 if name == "SVDF" else 5) * (2 if name.startswith("BIDIRECTIONAL") else 1)
            found += each * sum(counts.values())
    return found


def _stored(promise: QuantizationSpec, census: Census) -> list[Violation]:
    if promise.stored is None or promise.stored in census.constants:
        return []
    held = ", ".join(sorted(census.constants)) or "nothing"
    return [Violation(f"no weights are stored as {promise.stored}: the constants are {held}")]


def _rest_in_float(promise: QuantizationSpec, census: Census) -> list[Violation]:
    if not promise.all_integer:
        return []
    in_float = {name: counts.get("float", 0) for name, counts in census.operators.items() if name not in CASTS}
    left = ", ".join(f"{count} {name}" for name, count in sorted(in_float.items()) if count)
    return [Violation(f"operators left in float: {left}")] if left else []


def _compression(promise: QuantizationSpec, census: Census) -> list[Violation]:
    if promise.sparsity is None and promise.distinct is None:
        return []
    kernels = [kernel for kernel in census.compute if kernel.operator in COMPRESSIBLE and kernel.weights is not None]
    kept = sum(prod(kernel.shape) for kernel in kernels if _is_compressed(promise, kernel))
    share = kept / max(1, sum(prod(kernel.shape) for kernel in kernels))
    if share >= promise.compressed:
        return []
    wanted = [] if promise.sparsity is None else [f"{100 * promise.sparsity:g} % zeros"]
    wanted += [] if promise.distinct is None else [f"at most {promise.distinct} distinct values in a channel"]
    kernels_with = f"kernels with {' and '.join(wanted)} hold {100 * share:.0f} % of the weights, "
    least = f"{100 * promise.compressed:g} %"
    return [Violation(f"{kernels_with}{least} are promised", f"{kernels_with}at least {least} specified")]


def _is_compressed(promise: QuantizationSpec, kernel: Compute) -> bool:
    # tfmot rounds the number of weights that it keeps, so half a weight is tolerated.
    forgiven = 0.5 / max(1, prod(kernel.shape))
    if promise.sparsity is not None and (kernel.zeros or 0.0) < promise.sparsity - forgiven - 1e-6:
        return False
    return promise.distinct is None or (kernel.distinct_in_channel or 0) <= promise.distinct
