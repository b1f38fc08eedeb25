"""Start ranges of fake-quantized activations at what calibration shows, where training is too short to reach that.

tfmot's ranges start at -6 and 6, and follow what they see by a thousandth a step. After 375 steps two thirds of the
start are still in them: distances in pixels are clipped to a third, and what is clipped has no gradient.

They start at the average of the examples' extremes, which is what a moving average tends to. From the extremes of all
examples, half as large again for the model ``detector``, its steps are coarser and it loses more.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from quantbench.errors import Unsupported
from quantbench.variants.declare import Workbench

START, DECAY = 6.0, 0.999  # of tfmot's moving averages
# Of the true range. The models whose training lasts 625 steps reach .46 of it at least, and lose nothing by that.
# Of those with 375 steps (detector, keyword, segmenter, tiny_lm), values beyond 47 start elsewhere: only detector's do.
ENOUGH = 0.4


@dataclass
class Range:
    """Hold the variables of one range, and the averages of the extremes that were seen."""

    minimum: Any
    maximum: Any
    low: float = 0.0
    high: float = 0.0
    count: int = 0

    def saw(self, low: float, high: float) -> None:
        """Take another example's extremes into the averages; 0 is always within a range."""
        self.count += 1
        self.low += (min(low, 0.0) - self.low) / self.count
        self.high += (max(high, 0.0) - self.high) / self.count

    @property
    def widest(self) -> float:
        """Return the larger of both ends, without its sign."""
        return max(-self.low, self.high)


def started(bench: Workbench, quantized: Any) -> None:
    """Set those ranges of a fake-quantized model that its training could not reach from tfmot's start."""
    reached = 1 - DECAY ** bench.finetune_steps()
    if reached >= ENOUGH:
        return
    for each in _observed(bench, quantized):
        if (1 - reached) * START + reached * each.widest < ENOUGH * each.widest:
            each.minimum.assign(each.low)
            each.maximum.assign(each.high)


def _observed(bench: Workbench, quantized: Any) -> list[Range]:
    """Run the calibration examples through the model without any rounding; return what its activations reach."""
    found: dict[int, Range] = {}

    def note(values: Any, minimum: Any, maximum: Any, **_: Any) -> Any:
        seen = values.numpy()
        found.setdefault(id(minimum), Range(minimum, maximum)).saw(float(seen.min()), float(seen.max()))
        return values

    try:
        examples = bench.calibration()
    except Unsupported:  # there are none
        return []
    with _in_place_of_rounding(note):
        for x in examples:
            quantized(x, training=False)
    return list(found.values())


@contextmanager
def _in_place_of_rounding(note: Any) -> Iterator[None]:
    """Let tfmot call ``note`` with each activation, and leave inputs and weights as they are."""
    from tensorflow_model_optimization.python.core.quantization.keras import quant_ops

    def unrounded(values: Any, *_: Any, **__: Any) -> Any:
        return values

    changed = {"MovingAvgQuantize": note, "AllValuesQuantize": unrounded, "LastValueQuantize": unrounded}
    rounding = {name: getattr(quant_ops, name) for name in changed}
    try:
        for name, function in changed.items():
            setattr(quant_ops, name, function)
        yield
    finally:
        for name, function in rounding.items():
            setattr(quant_ops, name, function)
