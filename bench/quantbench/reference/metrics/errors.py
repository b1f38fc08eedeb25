"""Score numbers: errors in the outputs' own units, and as shares of the labels' spread."""

import numpy as np

from quantbench.core.arrays import Array
from quantbench.reference.metrics.metric import Metric, flat_outputs


def _mean_absolute_error(predictions: Array, labels: Array) -> float:
    return float(np.mean(np.abs(predictions - labels.reshape(predictions.shape))))


def _absolute_errors(predictions: Array, labels: Array) -> Array:
    errors = np.abs(predictions.astype(np.float64) - labels.reshape(predictions.shape))
    return np.asarray(errors.reshape(len(errors), -1).mean(axis=1))


def _squared_errors(predictions: Array, labels: Array) -> Array:
    errors = (predictions.astype(np.float64) - labels.reshape(predictions.shape)) ** 2
    return np.asarray(errors.reshape(len(errors), -1).mean(axis=1))


MEAN_ABSOLUTE_ERROR = Metric(
    "mean_absolute_error",
    False,
    "units",
    1.0,
    "continuous",
    flat_outputs,
    _mean_absolute_error,
    losses=_absolute_errors,
    rows=True,
)


def _mean_squared_error(predictions: Array, labels: Array) -> float:
    return float(np.mean((predictions - labels.reshape(predictions.shape)) ** 2))


MEAN_SQUARED_ERROR = Metric(
    "mean_squared_error",
    False,
    "squared units",
    1.0,
    "continuous",
    flat_outputs,
    _mean_squared_error,
    losses=_squared_errors,
    rows=True,
)


def _relative_error(predictions: Array, labels: Array) -> float:
    reference = labels.reshape(predictions.shape).astype(np.float64)
    scale = float(np.sqrt(np.mean(reference**2)))
    return float(np.sqrt(np.mean((predictions - reference) ** 2)) / scale) if scale else float("nan")


def _all_zero(labels: Array) -> str:
    return "" if np.any(labels) else "output_error is relative to the labels' RMS, and all of them are 0"


# For a model without labels, the float model's own outputs are the labels.
RELATIVE_ERROR = Metric(
    "output_error",
    False,
    "% of the outputs' RMS",
    100.0,
    "continuous",
    flat_outputs,
    _relative_error,
    losses=_squared_errors,
    undefined=_all_zero,
    rows=True,
)


# ---------------------------------------------------------------- in units of the labels' spread


def spreads(labels: Array) -> Array:
    """Return the standard deviation of each column of labels, shape (values,)."""
    return np.asarray(labels.reshape(len(labels), -1).astype(np.float64).std(axis=0))


def _spread(labels: Array) -> float:
    """Return the standard deviation of all labels together around the mean of each column."""
    return float(np.sqrt(np.mean(spreads(labels) ** 2)))


def _over(error: Array, spread: float) -> Array:
    return error / spread if spread else np.full_like(error, np.nan)


def _spread_errors(predictions: Array, labels: Array) -> Array:
    return _over(_absolute_errors(predictions, labels), _spread(labels))


def _spread_error(predictions: Array, labels: Array) -> float:
    return float(np.mean(_spread_errors(predictions, labels)))


def _constant(labels: Array) -> str:
    return "" if _spread(labels) else "the error is in units of the labels' spread, and all labels are equal"


def _root_of_squares(predictions: Array, labels: Array) -> float:
    return float(np.sqrt(np.mean(_squared_errors(predictions, labels))))


def _root_over_spread(predictions: Array, labels: Array) -> float:
    spread = _spread(labels)
    return _root_of_squares(predictions, labels) / spread if spread else float("nan")


OF_SPREAD = "% of the labels' spread"
ROOT_MEAN_SQUARED_ERROR = Metric(
    "root_mean_squared_error",
    False,
    "units",
    1.0,
    "continuous",
    flat_outputs,
    _root_of_squares,
    losses=_squared_errors,
    rows=True,
)
# A limit in these units means the same for labels of any scale: 100 % is the error of always answering about the mean.
MAE_OF_SPREAD = Metric(
    "mae_of_spread",
    False,
    OF_SPREAD,
    100.0,
    "continuous",
    flat_outputs,
    _spread_error,
    losses=_spread_errors,
    undefined=_constant,
    rows=True,
    also=(MEAN_ABSOLUTE_ERROR,),
)
RMSE_OF_SPREAD = Metric(
    "rmse_of_spread",
    False,
    OF_SPREAD,
    100.0,
    "continuous",
    flat_outputs,
    _root_over_spread,
    losses=_squared_errors,
    undefined=_constant,
    rows=True,
    also=(ROOT_MEAN_SQUARED_ERROR,),
)


def column_errors(predictions: Array, labels: Array) -> Array:
    """Return the mean absolute error of each column in units of its own spread; NaN where a column is constant."""
    flat = labels.reshape(predictions.shape).astype(np.float64)
    spread = spreads(flat)
    error = np.abs(predictions - flat).mean(axis=0)
    return np.asarray(np.divide(error, spread, out=np.full_like(error, np.nan), where=spread > 0))


def _column_losses(predictions: Array, labels: Array) -> Array:
    flat = labels.reshape(predictions.shape).astype(np.float64)
    spread = spreads(flat)
    kept = spread > 0
    if not kept.any():
        return np.full(len(flat), np.nan)
    return np.asarray((np.abs(predictions - flat)[:, kept] / spread[kept]).mean(axis=1))


def _column_error(predictions: Array, labels: Array) -> float:
    return float(np.mean(_column_losses(predictions, labels)))


# For columns of unlike scales, such as boxes in pixels beside scores: no column's error drowns that of another.
COLUMN_ERROR = Metric(
    "column_error",
    False,
    "% of each column's spread",
    100.0,
    "continuous",
    flat_outputs,
    _column_error,
    losses=_column_losses,
    undefined=_constant,
    rows=True,
    also=(MEAN_ABSOLUTE_ERROR,),
)
