"""Measure how far the outputs of each example are from a reference's, and store that in one byte an example.

Two distances, both from 0 to 2. Where the reference's outputs are probabilities: the squared Hellinger distance, the
sum of (sqrt(p) - sqrt(q))^2 (Hellinger 1909). It is taken of the outputs as they are, so that halved probabilities or a
missing softmax count, and weights a change of a small probability more than the absolute error does. Elsewhere: the
squared error of an example as a share of the reference's mean sum of squares.
"""

from typing import Literal

import numpy as np

from quantbench.core.arrays import Array

Distance = Literal["squared Hellinger distance", "squared relative error"]
MOST = 2.0  # two distributions without a common class; anything farther, and what is not finite, counts as this
# One byte an example: 0 is anything below _LEAST, and each further step is 8 % larger. Steps round both ways alike, so
# that the mean of 1,000 examples is off by 0.1 %. Float kernels that add in another order differ by 1e-13.
_LEAST, _STEPS = 1e-8, 254
_GROWTH = (MOST / _LEAST) ** (1 / _STEPS)
_DECODED = np.concatenate([[0.0], _LEAST * _GROWTH ** np.arange(_STEPS + 1.0)])  # of each byte
# A reference's own outputs are kept with 12 of 24 bits, which is off by 1e-4 at most, so by 1e-9 squared.
_KEPT_BITS = 12
KEPT_VALUES, KEPT_EXAMPLES = 20_000, 50  # 45 kB a model; no fewer examples than this
MOST_VALUES, LEAST_EXAMPLES = 50_000, 8  # at most so many values; of maps, whose examples have thousands, a few
_MARK = "#outputs"


def stored_as(name: str) -> str:
    """Return the name of an array of distances or outputs beside the predictions of that name."""
    return f"{name}{_MARK}"


def of_head(variant: str, head: str) -> str:
    """Return the name of an array of predictions of a further output, beside the predictions of the main one."""
    return f"{variant}@{head}"


def outputs_of(variant: str, output: str) -> str:
    """Return the name of an array of distances or outputs of one output of a variant; empty for the main one."""
    return stored_as(of_head(variant, output) if output else variant)


def owner(name: str) -> str | None:
    """Return whose distances or outputs an array of this name holds; None where it holds predictions."""
    return name.removesuffix(_MARK) if name.endswith(_MARK) else None


def are_probabilities(outputs: Array) -> bool:
    """Check whether each row of outputs is a distribution over several classes."""
    return bool(outputs.shape[1] > 1 and (outputs >= 0).all() and np.allclose(outputs.sum(axis=1), 1, atol=1e-2))


def distance_from(reference: Array) -> Distance:
    """Name the distance that outputs are measured by, which depends on the reference alone."""
    return "squared Hellinger distance" if are_probabilities(reference) else "squared relative error"


def distances(outputs: Array, reference: Array) -> Array:
    """Compute each example's distance from the reference, shape (n,), from 0 to 2.

    Args:
        outputs, reference: shape (n, values).
    """
    new, old = outputs.astype(np.float64), reference.astype(np.float64)
    with np.errstate(all="ignore"):
        if are_probabilities(reference):
            found = np.sum((np.sqrt(np.maximum(new, 0)) - np.sqrt(np.maximum(old, 0))) ** 2, axis=1)
            # A negative output is no probability, and its root none either: it counts as far as it is below 0.
            found = found + np.sum(np.maximum(-new, 0), axis=1)
        else:
            scale = float(np.mean(np.sum(old**2, axis=1)))
            found = np.sum((new - old) ** 2, axis=1) / (scale or 1.0)
    return np.asarray(np.minimum(np.where(np.isfinite(found), found, MOST), MOST))


def encode(values: Array) -> Array:
    """Round distances to one byte each, by their logarithm."""
    steps = np.round(np.log(np.maximum(values, _LEAST) / _LEAST) / np.log(_GROWTH)) + 1
    return np.where(values < _LEAST, 0, np.clip(steps, 1, _STEPS + 1)).astype(np.uint8)


def decode(codes: Array) -> Array:
    """Return the distances that :func:`encode` rounded."""
    return np.asarray(_DECODED[codes])


def kept(outputs: Array) -> Array:
    """Return the outputs of the first examples, rounded, as a reference stores them; float32, shape (m, values)."""
    values = max(1, outputs.shape[1])
    wanted, most = max(KEPT_EXAMPLES, KEPT_VALUES // values), max(LEAST_EXAMPLES, MOST_VALUES // values)
    few = outputs[: min(wanted, most)].astype(np.float32)
    mantissa, exponent = np.frexp(few)
    return np.asarray(np.ldexp(np.round(mantissa * 2**_KEPT_BITS) / 2**_KEPT_BITS, exponent), dtype=np.float32)


def are_stored_outputs(array: Array, n: int) -> bool:
    """Check by shape and dtype whether these can be distances or outputs of some of ``n`` examples."""
    codes = array.dtype == np.uint8 and array.ndim == 1
    return bool((codes or (array.dtype == np.float32 and array.ndim == 2)) and 0 < len(array) <= n)
