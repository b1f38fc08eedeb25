"""Whether an artifact is what its variant's name says: a promise and a census in, what is broken out. Pure."""

from collections import Counter
from collections.abc import Iterable
from math import prod

from quantbench.records import Census, Compute
from quantbench.tflite.graph import CASTS
from quantbench.variants.declare import Promise

# Kernels that pruning and clustering work on.
COMPRESSIBLE = ("CONV_2D", "FULLY_CONNECTED")
CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV")


def broken(promise: Promise, census: Census) -> list[str]:
    """One sentence for each thing that does not hold; empty where the promise is kept."""
    found = [*_operators(promise, census), *_granularity(promise, census), *_io(promise, census)]
    found += _rest_in_float(promise, census) + _compression(promise, census)
    if census.degenerate:
        found.append(
            f"{len(census.degenerate)} activations have an empty range (min = max), first {census.degenerate[0]}"
        )
    return found


def _covered(promise: Promise, census: Census) -> list[Compute]:
    return [
        one
        for one in census.compute
        if (not promise.covers or one.operator in promise.covers)
        and prod(one.shape) >= promise.min_elements
        and not (promise.rotations and _is_rotation(one))
    ]


def _is_rotation(one: Compute) -> bool:
    square = len(one.shape) == 2 and one.shape[0] == one.shape[1]
    return one.weights == "float32" and square and one.distinct == 2 and one.zeros == 0


def _operators(promise: Promise, census: Census) -> list[str]:
    covered = _covered(promise, census)
    if not covered and (promise.covers or promise.weights not in (None, "float32")):
        return [f"it has no {' or '.join(promise.covers) or 'compute operator with weights to be quantized'}"]
    wrong = [one for one in covered if not _kept(promise, one)]
    in_float = {one.index for one in wrong if one.precision == "float"}
    not_kept = {one.index for one in wrong}
    least, most = promise.in_float
    nothing_left = most > 0 and len(not_kept) == len({one.index for one in covered})
    if not_kept > in_float or nothing_left or not least <= len(in_float) <= most:
        expected = " ".join(word for word in (promise.weights, promise.computes) if word)
        allowed = f"; {least} to {most} in float are meant" if most else ""
        total = len({one.index for one in covered})
        return [f"{len(not_kept)} of {total} compute operators are not {expected}: {_counted(wrong)}{allowed}"]
    return []


def _kept(promise: Promise, one: Compute) -> bool:
    if promise.weights and one.weights is not None and one.weights != promise.weights:
        return False
    if promise.computes is None:
        return True
    # A product of two activations has no integer weights to be hybrid with.
    of_activations = one.operator == "BATCH_MATMUL" and one.weights is None
    return one.precision == promise.computes or (promise.computes == "hybrid" and of_activations)


def _counted(found: Iterable[Compute]) -> str:
    each = {(one.index, f"{one.operator} {one.weights or 'activations'} {one.precision}") for one in found}
    counts = Counter(what for _, what in each)
    return ", ".join(f"{count} {what}" for what, count in sorted(counts.items())) or "none"


def _granularity(promise: Promise, census: Census) -> list[str]:
    covered = [one for one in _covered(promise, census) if one.weights == (promise.weights or one.weights)]
    if promise.granularity == "per-tensor":
        wrong = [one for one in covered if one.granularity != "per-tensor"]
    elif promise.granularity == "per-channel":
        wrong = [one for one in covered if one.operator in CONVOLUTIONS and one.granularity == "per-tensor"]
        wrong = [one for one in wrong if _channels(one) > 1]
    elif promise.granularity == "blockwise":
        wrong = [] if any(one.granularity == "blockwise" for one in covered) else covered
    else:
        return []
    return [f"{len(wrong)} of {len(covered)} weight tensors are not {promise.granularity}"] if wrong else []


def _channels(one: Compute) -> int:
    return one.shape[-1] if one.operator == "DEPTHWISE_CONV_2D" else one.shape[0]


def _io(promise: Promise, census: Census) -> list[str]:
    """Whole numbers that a model takes as such (an index, a token) have no scale, and are not meant."""
    ports = [*census.inputs, *census.outputs]
    wrong = [port for port in ports if port.dtype != promise.io and (port.scale or port.dtype.startswith("float"))]
    return [f"{port.name[:60]} is {port.dtype}, not {promise.io}" for port in wrong] if promise.io else []


def _rest_in_float(promise: Promise, census: Census) -> list[str]:
    if not promise.all_integer:
        return []
    in_float = {name: counts.get("float", 0) for name, counts in census.operators.items() if name not in CASTS}
    left = ", ".join(f"{count} {name}" for name, count in sorted(in_float.items()) if count)
    return [f"operators left in float: {left}"] if left else []


def _compression(promise: Promise, census: Census) -> list[str]:
    if promise.sparsity is None and promise.distinct is None:
        return []
    kernels = [one for one in census.compute if one.operator in COMPRESSIBLE and one.weights is not None]
    kept = sum(prod(one.shape) for one in kernels if _is_compressed(promise, one))
    share = kept / max(1, sum(prod(one.shape) for one in kernels))
    if share >= promise.compressed:
        return []
    wanted = [] if promise.sparsity is None else [f"{100 * promise.sparsity:g} % zeros"]
    wanted += [] if promise.distinct is None else [f"at most {promise.distinct} distinct values in a channel"]
    return [
        f"kernels with {' and '.join(wanted)} hold {100 * share:.0f} % of the weights, {100 * promise.compressed:g} % "
        "are promised"
    ]


def _is_compressed(promise: Promise, one: Compute) -> bool:
    # tfmot rounds the number of weights that it keeps, so half a weight is forgiven.
    forgiven = 0.5 / max(1, prod(one.shape))
    if promise.sparsity is not None and (one.zeros or 0.0) < promise.sparsity - forgiven - 1e-6:
        return False
    return promise.distinct is None or (one.distinct_in_channel or 0) <= promise.distinct
