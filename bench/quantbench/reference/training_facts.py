"""State how a model was trained, read from what was trained and not from its recipe: steps, loss, rate, examples.

A training that somebody else's change made longer, faster or of fewer examples is seen by comparing these facts with
those of the accepted training.
"""

import hashlib
from typing import Any

import numpy as np

from quantbench.core.arrays import Array

_DIGITS = 12


def facts(keras_model: Any, order: Any, labels: Array, batch_size: int) -> dict[str, str]:
    """Return the facts of the training that a model has just been through: what -> value in words.

    Inputs are not hashed: another processor prepares them with other last bits.

    Args:
        order: a ``tf.data.Dataset`` of the positions of the examples, in batches, shuffled as for the training.
        labels: of all examples that it was given.
    """
    seen = [np.asarray(positions) for positions in order]
    positions = np.concatenate(seen) if seen else np.zeros(0, np.int64)
    return {
        "steps": str(int(keras_model.optimizer.iterations)),
        "optimizer": type(keras_model.optimizer).__name__,
        "rate": _rate(keras_model.optimizer),
        "loss": _loss(keras_model.loss),
        "batch": str(batch_size),
        "examples an epoch": str(len(positions)),
        "labels": _digest(np.asarray(labels)),
        "order of the first epoch": _digest(positions),
    }


def _digest(array: Array) -> str:
    found = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode())
    found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:_DIGITS]


def _rate(optimizer: Any) -> str:
    given = optimizer.get_config()["learning_rate"]
    if isinstance(given, dict):  # a schedule
        parts = given.get("config", given)
        shown = [f"{name} {_number(value)}" for name, value in sorted(parts.items()) if value and name != "name"]
        return f"{given.get('class_name', 'schedule')}: {', '.join(shown)}"
    return _number(given)


def _number(value: Any) -> str:
    return str(value) if isinstance(value, str | bool) else f"{float(value):.6g}"


def _loss(loss: Any) -> str:
    if isinstance(loss, list | tuple):
        return "; ".join(_loss(one) for one in loss)
    if isinstance(loss, str):
        return loss
    name = getattr(loss, "name", None) or getattr(loss, "__name__", type(loss).__name__)
    try:
        config = loss.get_config()
    except AttributeError:  # a plain function
        return str(name)
    shown = [f"{key} {value}" for key, value in sorted(config.items()) if key != "name"]
    return " ".join([str(name), *shown])
