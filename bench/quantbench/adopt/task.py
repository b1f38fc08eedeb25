"""Derive what is scored from outputs and labels: metric, input range and loss, as pure functions of arrays."""

from pathlib import Path

import numpy as np
from scipy.special import logsumexp

from quantbench.core.arrays import Array, Inputs, length
from quantbench.errors import BadInput
from quantbench.reference.metrics import (
    ACCURACY,
    AUC,
    BINARY_ACCURACY,
    MEAN_ABSOLUTE_ERROR,
    RELATIVE_ERROR,
    Metric,
    first_output,
)
from quantbench.reference.model import Scaled


def metric_for(outputs: Inputs, y: Array | None, notes: list[str]) -> Metric:
    """Choose the metric that fits labels and outputs; raise BadInput where none does."""
    first = first_output(outputs)
    values = int(np.prod(first.shape[1:]))
    if y is None:
        notes.append("no labels y: variants are judged by how far their outputs are from the float model's")
        return RELATIVE_ERROR
    whole = y.dtype.kind in "iub" and y.size == len(y)
    if whole and values > 1:
        metric = ACCURACY
    elif whole and set(np.unique(y).tolist()) <= {0, 1}:
        metric = BINARY_ACCURACY
    elif y.size == len(y) * values:
        metric = MEAN_ABSOLUTE_ERROR
    else:
        raise BadInput(
            f"--metric: cannot be worked out from labels of shape {y.shape} ({y.dtype}) "
            f"and outputs of shape {first.shape}"
        )
    notes.append(
        f"metric: {metric.name}, from labels of shape {y.shape} ({y.dtype}) and outputs of shape {first.shape}"
    )
    return metric


def check_labels(evaluation: Path | None, metric: Metric, y: Array, outputs: Inputs) -> None:
    """Raise BadInput unless the metric can be computed from these labels and outputs."""
    values = int(np.prod(first_output(outputs).shape[1:]))
    binary = metric in (BINARY_ACCURACY, AUC)
    if binary and values != 1:
        raise BadInput(f"--metric: {metric.name} takes a model with one output value, this one has {values}")
    if not binary and metric.kind == "right_or_wrong" and values < 2:
        raise BadInput(f"--metric: {metric.name} takes a model with one output value a class; try binary_accuracy")
    if metric.name.startswith("top") and int(metric.name[3:]) >= values:
        raise BadInput(f"--metric: {metric.name} says nothing about a model with {values} classes")
    if binary or metric.kind == "right_or_wrong":
        _check_classes(evaluation, metric, y, 2 if binary else values)
        return
    expected = metric.predict(outputs, {}).shape[1:]
    if y.size != len(y) * int(np.prod(expected)):
        raise BadInput(
            f"{evaluation}: y has shape {y.shape}; {metric.name} takes {int(np.prod(expected))} numbers an "
            "example, as many as the model's outputs have"
        )


def _check_classes(evaluation: Path | None, metric: Metric, y: Array, classes: int) -> None:
    if y.dtype.kind not in "iub" or y.size != len(y):
        raise BadInput(f"{evaluation}: y has shape {y.shape} ({y.dtype}); {metric.name} takes one whole number each")
    if int(y.min()) < 0 or int(y.max()) >= classes:
        raise BadInput(f"{evaluation}: y ranges from {y.min()} to {y.max()}; the model has classes 0 to {classes - 1}")
    if metric is AUC and len(np.unique(y)) < 2:
        raise BadInput(f"{evaluation}: y holds one class only; auc needs examples of both")


def best_range(metric: Metric, outputs_by_range: dict[str, tuple[Scaled, Inputs]], labels: Array) -> str:
    """Choose the input range on which the float model is best.

    A classifier is judged by its likelihood instead of its accuracy: on values 255 times too large it is often as
    accurate, but sure of everything.
    """

    def goodness(outputs: Inputs) -> float:
        if metric.kind == "right_or_wrong":
            return _mean_log_likelihood(first_output(outputs), labels)
        value = metric.value(metric.predict(outputs, {}), labels)
        return float(np.nan_to_num(value if metric.higher_is_better else -value, nan=-np.inf))

    return max(outputs_by_range, key=lambda how: goodness(outputs_by_range[how][1]))


def _mean_log_likelihood(outputs: Array, labels: Array) -> float:
    flat = outputs.reshape(len(outputs), -1).astype(np.float64)
    if flat.shape[1] == 1:
        flat = np.concatenate([1 - flat, flat], axis=1)
    if not _are_probabilities(flat):
        flat = np.exp(flat - logsumexp(flat, axis=1, keepdims=True))
    chosen = flat[np.arange(len(flat)), labels.reshape(-1).astype(int)]
    return float(np.mean(np.log(np.clip(chosen, 1e-7, 1))))


def _are_probabilities(flat: Array) -> bool:
    return bool((flat >= 0).all()) and bool(np.allclose(flat.sum(axis=1), 1, atol=1e-3))


def loss_for(metric: Metric, outputs: Inputs) -> str:
    """Choose the Keras loss for fine-tuning, as written into the model's file."""
    if metric is BINARY_ACCURACY:
        return "binary_crossentropy"
    if metric.kind != "right_or_wrong":
        return "mean_squared_error"
    flat = first_output(outputs).reshape(length(outputs), -1)
    return "sparse_categorical_crossentropy" if _are_probabilities(flat) else "logits"
