"""Warn about the user's data before anything is quantized: scales that differ, inputs that never vary, few examples.

All facts are taken from a sample of evenly spaced examples, so that data of any size costs a few megabytes of reading.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from quantbench.core.arrays import Array, Inputs, length

# Sample of one input. Two splits of the same data differ little in the quantiles of so many values.
_EXAMPLES = 1000
_VALUES = 2_000_000
# The middle 99 % of the values, so that a few outliers are no difference of scale.
_BULK = (0.005, 0.995)
# Pixels of 0..255 against 0..1 or -1..1 differ 255 or 128 times; splits of heavy-tailed data, by less than 4.
_TIMES = 8.0
# Share of one split's values beyond the other's extremes, where -1..1 against 0..1 has half. Beyond the extremes of n
# examples, 2 / (n + 1) are expected by chance, and three times that is rare.
_OUTSIDE, _OUTSIDE_BY_CHANCE = 0.25, 6.0
_FEWEST_VALUES = 20  # the width of fewer says little
_FEWEST_APART = 10  # nor does that of so few that are not all the same
_DIVIDED_BY_255 = (180.0, 330.0)
# Ranges found on fewer examples depend on which ones were chosen; tools recommend 100 to 500.
_FEW_CALIBRATION = 50


@dataclass(frozen=True)
class Spread:
    """Describe the values of one input in one split, as its sample shows them.

    Attributes:
        low, high: smallest and largest value.
        bulk: width of the middle 99 % of the values.
        apart: number of values other than the median: of sparse data, those that tell a width.
        repeats: whether all examples are equal.
        examples: number of examples in the split, not in the sample.
    """

    low: float
    high: float
    bulk: float
    apart: int
    repeats: bool
    examples: int

    @property
    def words(self) -> str:
        """Return the range in words."""
        return f"{self.low:.4g} to {self.high:.4g}"


def sample(values: Array) -> Array:
    """Take evenly spaced examples; of a memory-mapped array, only these are read."""
    size = int(np.prod(values.shape[1:])) or 1
    count = min(len(values), max(2, min(_EXAMPLES, _VALUES // size)))
    return np.asarray(values[np.linspace(0, len(values) - 1, count).astype(int)])


def spread(values: Array) -> Spread:
    """Describe the values of one input."""
    few = sample(values)
    flat = few.reshape(-1).astype(np.float64)
    low, high = np.quantile(flat, _BULK)
    repeats = len(few) > 1 and bool((few == few[:1]).all())
    apart = int(np.count_nonzero(flat != np.median(flat)))
    return Spread(float(flat.min()), float(flat.max()), float(high - low), apart, repeats, len(values))


def differ_in_scale(one: Array, other: Array) -> bool:
    """Check whether two splits of an input can hardly be of the same data: other widths, or mostly other values."""
    if one.dtype.kind == other.dtype.kind == "i":
        return False  # numbers of words or categories, which have no scale
    a, b = spread(one), spread(other)
    if min(one.size, other.size) < _FEWEST_VALUES or a.low == a.high or b.low == b.high:
        return a.high < b.low or b.high < a.low
    widths = (a.bulk, b.bulk) if a.bulk and b.bulk else (a.high - a.low, b.high - b.low)
    if min(a.apart, b.apart) >= _FEWEST_APART and max(widths) > _TIMES * min(widths):
        return True
    return _is_outside(sample(one), b) or _is_outside(sample(other), a)


def _is_outside(values: Array, of: Spread) -> bool:
    share = float(np.mean((values < of.low) | (values > of.high)))
    return share > _OUTSIDE + _OUTSIDE_BY_CHANCE / (of.examples + 1)


def notes(splits: Mapping[str, Inputs], files: Mapping[str, object]) -> list[str]:
    """List what is wrong or thin in the data, one sentence each; warnings first.

    Args:
        splits: raw inputs of ``test``, and of ``calibration`` and ``train`` where there are any.
        files: split -> name of its file, as the user knows it.
    """
    tests = _named(splits["test"])
    found = []
    for split, what in (("calibration", "calibration"), ("train", "training")):
        if split in splits:
            for name, values in _named(splits[split]).items():
                if differ_in_scale(values, tests[name]):
                    found.append(_of_scale(what, name, files[split], values, files["test"], tests[name]))
    found += [
        sentence
        for name, values in tests.items()
        if (sentence := _of_repeats(name, files["test"], spread(values), alone=len(tests) == 1))
    ]
    if "calibration" in splits:
        count = length(splits["calibration"])
        if 1 < count < _FEW_CALIBRATION:
            found.append(
                f"{files['calibration']} has {count} calibration examples: ranges found on fewer than "
                f"{_FEW_CALIBRATION} depend on which ones they are; 100 to 500 training examples are usual"
            )
    return found


def _named(inputs: Inputs) -> dict[str, Array]:
    named = dict(inputs) if isinstance(inputs, dict) else {"x": inputs}
    return {name: values for name, values in named.items() if values.dtype.kind in "fiub"}


def _of_scale(what: str, name: str, file: object, values: Array, test_file: object, test: Array) -> str:
    here, there = spread(values), spread(test)
    widths = sorted((here.high - here.low, there.high - there.low))
    pixels = _DIVIDED_BY_255[0] < widths[1] / widths[0] < _DIVIDED_BY_255[1] if widths[0] else False
    guess = "; one of them was probably divided by 255" if pixels else ""
    harm = "Static ranges found on" if what == "calibration" else "Weights trained on"
    return (
        f"warning: {what} and evaluation inputs are on different scales: {name} is {here.words} in {file}, and "
        f"{there.words} in {test_file}{guess}. {harm} the {what} data do not fit the evaluation examples: prepare both "
        "in the same way"
    )


def _of_repeats(name: str, file: object, seen: Spread, alone: bool) -> str:
    if not seen.repeats:
        return ""
    value = f"{seen.low:.4g} throughout" if seen.low == seen.high else "the same in all examples"
    if alone:
        return f"warning: {name} is {value} in {file}, so no score says anything about other inputs"
    return f"input {name} is {value} in {file}, so nothing is known about other values"
