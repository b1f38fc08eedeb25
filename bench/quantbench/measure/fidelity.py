"""Measure the output fidelity of an artifact: its agreement with the float control, example by example."""

import math
from collections.abc import Sequence

import numpy as np

from quantbench.core.arrays import Array
from quantbench.core.distances import are_probabilities, decode, distance_from, distances, encode, kept
from quantbench.records import Census, Measurement
from quantbench.reference.metrics import Metric, in_order
from quantbench.reference.model import ReferenceModel


def against_control(
    metric: Metric, predictions: Array, control: Array, outputs: Array | None, control_outputs: Array | None
) -> dict[str, Measurement]:
    """Measure the agreement on all examples, and the errors of the outputs on the first ones.

    Args:
        predictions, control: one prediction per example, shape (n,) or (n, values).
        outputs, control_outputs: shape (m, values), float32.

    Returns:
        ``agreement`` (fraction of equal predictions), ``output_error_mean`` and ``output_error_worst`` (absolute, in
        the outputs' own unit), ``output_snr`` (dB: power of the control's outputs over that of the difference), and
        ``output_kl`` (nats, mean Kullback-Leibler divergence from the control) where outputs are probabilities.
    """
    measurements = {
        "agreement": Measurement(value=metric.agreement(predictions, control), unit="fraction", n=len(predictions))
    }
    if outputs is None or control_outputs is None or outputs.shape != control_outputs.shape:
        return measurements
    new, old = outputs.astype(np.float64), control_outputs.astype(np.float64)
    finite = np.isfinite(new).all(axis=1) & np.isfinite(old).all(axis=1)
    new, old = new[finite], old[finite]
    if not len(new):
        return measurements
    error = np.abs(new - old)
    n = len(new)
    measurements["output_error_mean"] = Measurement(value=float(error.mean()), unit="output", n=n)
    measurements["output_error_worst"] = Measurement(value=float(error.max()), unit="output", n=n)
    noise = float(np.mean(error**2))
    if noise > 0 and np.any(old):
        measurements["output_snr"] = Measurement(value=float(10 * np.log10(np.mean(old**2) / noise)), unit="dB", n=n)
    if are_probabilities(old):
        measurements["output_kl"] = Measurement(value=_divergence(old, new), unit="nats", n=n)
    return measurements


def columns(census: Census | None, model: ReferenceModel) -> dict[str, Array]:
    """Return which values of a row of all outputs belong to each scored output, by its name.

    The main output, whose name is empty, has those that its own metric scores, which a further one may score too, and
    all that no other one has. Apart, a small output is not hidden by large values of another, and each is measured by
    the distance that its own values ask for.
    """
    sizes = {} if census is None else _sizes(census)
    places, start = {}, 0
    for name in in_order(dict.fromkeys(sizes, np.empty(0))):
        places[name] = np.arange(start, start + sizes[name])
        start += sizes[name]
    found = {
        head.name: np.concatenate([places[name] for name in head.metric.outputs])
        for head in model.heads
        if any(sizes.get(name) for name in head.metric.outputs) and all(name in places for name in head.metric.outputs)
    }
    if not found:
        return {}
    every = np.arange(start)
    own = [places[name] for name in model.metric.outputs if name in places]
    main = np.union1d(np.setdiff1d(every, np.concatenate([*found.values()])), np.concatenate([every[:0], *own]))
    return {"": main if len(main) else every, **found}


def _sizes(census: Census) -> dict[str, int]:
    """Return how many values an example has in each output, by its name in the signature where there is one."""
    signature = next(iter((census.signatures or {}).values()), None)
    named = {} if signature is None else {place: name for name, place in signature.outputs.items()}
    return {named.get(place, port.name): math.prod(port.shape[1:]) for place, port in enumerate(census.outputs)}


def to_store(outputs: Array | None, control_outputs: Array | None, is_reference: bool) -> Array | None:
    """Return what later runs compare an artifact's outputs with; None where there are none to compare.

    Args:
        is_reference: it is the float control itself, whose own outputs are stored; of all others, the distances from
            their control's, one byte an example.
    """
    if outputs is None:
        return None
    if is_reference:
        return kept(outputs)
    if control_outputs is None or outputs.shape != control_outputs.shape:
        return None
    return encode(distances(outputs, control_outputs))


def output_distance(pairs: Sequence[tuple[Array, Array]], trained: bool) -> Measurement | None:
    """Measure how far the outputs are from the control's: the mean over examples, one value a seed where it trains.

    Args:
        pairs: (outputs, the control's outputs), shapes (m, values), one pair a seed; none of the float control itself.
    """
    if not pairs or any(new.shape != old.shape for new, old in pairs):
        return None
    values = [float(np.mean(decode(encode(distances(new, old))))) for new, old in pairs]
    return Measurement(
        value=float(np.mean(values)),
        unit=distance_from(pairs[0][1]),
        n=len(pairs[0][0]),
        spread=float(np.std(values, ddof=1)) if len(values) > 1 else None,
        spread_of="seeds" if len(values) > 1 else None,
        values=values if trained else None,
    )


def flipped(metric: Metric, predictions: Array, control: Array) -> list[int]:
    """List the test examples that are predicted differently from the control; empty for metrics without classes."""
    if metric.kind != "right_or_wrong" or predictions.shape != control.shape:
        return []
    return [int(i) for i in np.flatnonzero(predictions != control)]


def _divergence(old: Array, new: Array) -> float:
    """Compute mean KL(old || new); an int8 softmax rounds small values to 0, so both are kept above half its step."""
    least = 1 / 512
    p, q = np.clip(old, least, None), np.clip(new, least, None)
    p, q = p / p.sum(axis=1, keepdims=True), q / q.sum(axis=1, keepdims=True)
    return float(np.mean(np.sum(p * np.log(p / q), axis=1)))
