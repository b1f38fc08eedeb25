"""Look up metrics by the name that ``--metric`` takes."""

import difflib
from collections.abc import Callable
from dataclasses import replace

from quantbench.errors import BadInput
from quantbench.reference.metrics.boxes import BOX_IOU, MEAN_AVERAGE_PRECISION
from quantbench.reference.metrics.classes import (
    ACCURACY,
    BINARY_ACCURACY,
    BINARY_ACCURACY_LOGITS,
    F1,
    F1_LOGITS,
    LABEL_F1,
    LABEL_F1_LOGITS,
    MASK_ACCURACY,
    MASK_ACCURACY_LOGITS,
    MEAN_IOU,
    PIXEL_ACCURACY,
    TOKEN_ACCURACY,
    TOP_K_MOST,
    top_k,
)
from quantbench.reference.metrics.errors import (
    COLUMN_ERROR,
    MAE_OF_SPREAD,
    MEAN_ABSOLUTE_ERROR,
    MEAN_SQUARED_ERROR,
    RELATIVE_ERROR,
    RMSE_OF_SPREAD,
    ROOT_MEAN_SQUARED_ERROR,
)
from quantbench.reference.metrics.metric import Metric
from quantbench.reference.metrics.ranking import AUC, false_accepts_per_hour, recall_at, reconstruction_auc
from quantbench.reference.metrics.sequences import BITS_PER_TOKEN, PERPLEXITY, error_rate

BY_NAME = {
    metric.name: metric
    for metric in (
        ACCURACY,
        BINARY_ACCURACY,
        BINARY_ACCURACY_LOGITS,
        AUC,
        F1,
        F1_LOGITS,
        LABEL_F1,
        LABEL_F1_LOGITS,
        PIXEL_ACCURACY,
        TOKEN_ACCURACY,
        MASK_ACCURACY,
        MASK_ACCURACY_LOGITS,
        MEAN_IOU,
        MEAN_AVERAGE_PRECISION,
        BOX_IOU,
        MEAN_ABSOLUTE_ERROR,
        MEAN_SQUARED_ERROR,
        ROOT_MEAN_SQUARED_ERROR,
        MAE_OF_SPREAD,
        RMSE_OF_SPREAD,
        COLUMN_ERROR,
        RELATIVE_ERROR,
        PERPLEXITY,
        BITS_PER_TOKEN,
        error_rate(None),
    )
}


def _reconstruction_auc(normal: int) -> Metric:
    return replace(reconstruction_auc(normal), name=f"reconstruction_auc:{normal}")


# Metrics with numbers of their own: name -> (what to give, kind of each number, function).
_WITH_NUMBERS: dict[str, tuple[str, tuple[type, ...], Callable[..., Metric]]] = {
    "reconstruction_auc": ("NORMAL, the label of normal examples", (int,), _reconstruction_auc),
    "recall_at": ("K", (int,), recall_at),
    "word_error_rate": ("SPACE, the class that separates words", (int,), error_rate),
    "false_accepts_per_hour": ("CUT_OFF:SECONDS, seconds of an example", (float, float), false_accepts_per_hour),
}


# What others call them, which no similarity of letters finds.
_ALSO_CALLED = {
    "miou": "mean_iou",
    "iou": "mean_iou",
    "map": "mean_average_precision",
    "mae": "mean_absolute_error",
    "mse": "mean_squared_error",
    "rmse": "root_mean_squared_error",
    "cer": "character_error_rate",
    "wer": "word_error_rate:SPACE",
    "roc_auc": "auc",
}


def by_name(name: str) -> Metric:
    """Look up a metric by its ``--metric`` name: accuracy, top5, auc, mean_absolute_error, recall_at:5, ...

    Raises:
        BadInput: unknown metric, or numbers that it does not take.
    """
    if name.startswith("top") and name[3:].isdigit():
        return top_k(int(name[3:]))
    first, _, rest = name.partition(":")
    if first in _WITH_NUMBERS:
        return _with_numbers(name, first, rest.split(":") if rest else [])
    if name not in BY_NAME:
        known = [*BY_NAME, f"top2 to top{TOP_K_MOST}", *known_with_numbers()]
        close = _ALSO_CALLED.get(name.lower()) or next(iter(difflib.get_close_matches(name, known, n=1)), "")
        hint = f"did you mean {close}? " if close else ""
        raise BadInput(f"--metric: unknown metric {name!r}; {hint}known: {', '.join(known)}, file.py:NAME")
    return BY_NAME[name]


def known_with_numbers() -> list[str]:
    """List the metrics with numbers of their own, as they are given."""
    return [f"{name}:{what.partition(',')[0]}" for name, (what, _, _) in _WITH_NUMBERS.items()]


def _with_numbers(name: str, first: str, given: list[str]) -> Metric:
    what, kinds, make = _WITH_NUMBERS[first]
    if first == "reconstruction_auc" and not given:
        given = ["0"]
    try:
        numbers = [kind(text) for kind, text in zip(kinds, given, strict=True)]
    except ValueError:
        raise BadInput(f"--metric: {first} is given as {first}:{what}; found {name!r}") from None
    return make(*numbers)
