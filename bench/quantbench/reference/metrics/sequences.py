"""Score sequences of classes: perplexity, and the error rates of characters and words."""

import math

import numpy as np
from scipy.special import logsumexp

from quantbench.core.arrays import Array, Inputs, length
from quantbench.errors import BadInput
from quantbench.reference.metrics.metric import Metric, first_output

END = -1  # fills label sequences after their last class
# Perplexity needs every class score of every position, as what the labels pick is only known with them.
MOST_SCORES = 2**27  # stored values; half a GiB per variant
_OPTIONAL = "quantbench[speech]"


def _scores(outputs: Inputs, _inputs: Inputs) -> Array:
    first = first_output(outputs)
    if first.size > MOST_SCORES:
        raise BadInput(
            f"--metric: perplexity stores every class score, and {len(first)} examples of shape {first.shape[1:]} are "
            f"more than {MOST_SCORES:,}; give fewer examples, or a metric of your own (--metric file.py:NAME)"
        )
    return np.asarray(first.reshape(len(first), -1).astype(np.float32))


def _log_likelihoods(predictions: Array, labels: Array) -> tuple[Array, Array]:
    """Return the log-likelihood of each label, and which positions have one, both of shape (n, positions)."""
    there = labels != END
    scores = predictions.reshape(*labels.shape, -1).astype(np.float64)
    sums = scores.sum(axis=-1)
    if (scores >= 0).all() and np.allclose(sums, 1, atol=1e-2):
        logs = np.log(np.clip(scores, 1e-12, None))
    else:
        logs = scores - logsumexp(scores, axis=-1, keepdims=True)
    chosen = np.take_along_axis(logs, np.where(there, labels, 0).astype(np.int64)[..., None], axis=-1)[..., 0]
    return np.where(there, chosen, 0.0), there


def _token_losses(predictions: Array, labels: Array) -> Array:
    logs, there = _log_likelihoods(predictions, labels)
    return np.asarray(-logs.sum(axis=1) * (len(labels) / max(1, int(np.count_nonzero(there)))))


def _perplexity(predictions: Array, labels: Array) -> float:
    return math.exp(min(700.0, float(np.mean(_token_losses(predictions, labels)))))


PERPLEXITY = Metric(
    "perplexity",
    False,
    "units",
    1.0,
    "continuous",
    _scores,
    _perplexity,
    losses=_token_losses,
    takes="tokens",
)


def _next_token_bits(outputs: Inputs, inputs: Inputs) -> Array:
    """Return the mean bits that each example's tokens cost after those before them, shape (n,); the first is free."""
    scores = np.asarray(first_output(outputs))
    assert isinstance(inputs, np.ndarray)
    logs, _ = _log_likelihoods(scores[:, :-1], inputs[:, 1:].astype(np.int64))
    return np.asarray(-logs.mean(axis=1) / math.log(2), dtype=np.float32)


def _mean(predictions: Array, _labels: Array) -> float:
    return float(np.mean(predictions, dtype=np.float64))


def _losses(predictions: Array, _labels: Array) -> Array:
    return np.asarray(predictions, dtype=np.float64)


# Of a language model, whose input holds the labels: the score of each position is that of the next one's token.
# Per byte where tokens are bytes. Its power of two is the perplexity.
BITS_PER_TOKEN = Metric(
    "bits_per_token", False, "bits", 1.0, "continuous", _next_token_bits, _mean, losses=_losses, takes="any"
)


# ---------------------------------------------------------------- speech


def decoded(outputs: Array) -> Array:
    """Decode class scores over time greedily, shape (n, steps): the best class, without repeats and blanks, then END.

    The blank is the last class, as in ``tf.nn.ctc_greedy_decoder``. Source: Graves et al. 2006, "Connectionist Temporal
    Classification".
    """
    best = np.argmax(outputs, axis=-1)
    blank = outputs.shape[-1] - 1
    changed = np.concatenate([np.ones((len(best), 1), bool), best[:, 1:] != best[:, :-1]], axis=1)
    kept = changed & (best != blank)
    order = np.argsort(~kept, axis=1, kind="stable")
    moved = np.take_along_axis(np.where(kept, best, END), order, axis=1)
    return np.asarray(moved.astype(np.int32))


def _decode(outputs: Inputs, _inputs: Inputs) -> Array:
    first = first_output(outputs)
    if first.ndim != 3:
        raise BadInput(f"--metric: error rates take outputs of shape (n, steps, classes), found {first.shape}")
    return decoded(first)


def _errors(found: Array, real: Array, space: int | None) -> tuple[Array, Array]:
    """Return the number of edits and of reference words or characters of each example, each of shape (n,)."""
    try:
        import jiwer
    except ImportError:
        raise BadInput(
            f"--metric: the error rates of characters and words need jiwer: pip install '{_OPTIONAL}'"
        ) from None
    edits, lengths = np.zeros(len(real)), np.zeros(len(real))
    for i in range(len(real)):
        reference, hypothesis = _text(real[i], space), _text(found[i], space)
        if not reference:  # jiwer refuses an empty reference: everything is an insertion
            edits[i] = len(hypothesis.split())
            continue
        done = jiwer.process_words(reference, hypothesis)
        edits[i] = done.substitutions + done.deletions + done.insertions
        lengths[i] = len(reference.split())
    return edits, lengths


def _text(classes: Array, space: int | None) -> str:
    """Write classes as words: each by itself, or joined up to the class that is a space."""
    kept = [int(one) for one in classes if one != END]
    if space is None:
        return " ".join(str(one) for one in kept)
    words: list[list[str]] = [[]]
    for one in kept:
        if one == space:
            words.append([])
        else:
            words[-1].append(str(one))
    return " ".join("-".join(word) for word in words if word)


def error_rate(space: int | None) -> Metric:
    """Measure edits as a share of the reference's characters, or of its words where ``space`` names their separator."""

    def losses(predictions: Array, labels: Array) -> Array:
        edits, lengths = _errors(predictions, labels, space)
        return edits * (len(edits) / max(1.0, float(lengths.sum())))

    def value(predictions: Array, labels: Array) -> float:
        return float(np.mean(losses(predictions, labels)))

    name = "character_error_rate" if space is None else f"word_error_rate:{space}"
    return Metric(name, False, "pp", 100.0, "continuous", _decode, value, losses=losses, takes="tokens", by_value=True)


def check_tokens(outputs: Inputs, labels: Array) -> str:
    """Say why labels cannot be sequences of the outputs' classes; empty where they can."""
    first = first_output(outputs)
    if first.ndim != 3:
        return f"takes outputs of shape (n, steps, classes), the model has {first.shape}"
    if labels.ndim != 2 or labels.dtype.kind not in "iu":
        return f"takes labels of shape (n, steps), whole numbers with -1 after the last, found {labels.shape}"
    if labels.min() < END or labels.max() >= first.shape[-1]:
        return f"takes labels from 0 to {first.shape[-1] - 1}, found {labels.min()} to {labels.max()}"
    return "" if length(outputs) else "takes at least one example"
