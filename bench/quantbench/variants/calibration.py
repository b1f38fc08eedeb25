"""Calibrate a float model once for all variants of a process that need the same statistics of it.

The TFLite converter and litert-quantizer calibrate for each variant anew, which takes longer than the rest of most
conversions. What they collect depends on the float model, the examples, and what each operator is asked for alone.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from quantbench.core.renamed import quantizer as tool

T = TypeVar("T")
KEPT = 4  # float models: that of the variants after training, and those that are trained in between


class Kept:
    """Keep what was made of the last few float models.

    It is no plain dict, whose contents would be part of the keys of the variants that use it.
    """

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def of(self, key: str, make: Callable[[], T]) -> T:
        """Return what was made under a key, or make it now."""
        if key not in self._made:
            made = make()
            while len(self._made) >= KEPT:
                del self._made[next(iter(self._made))]  # the one that was made first
            self._made[key] = made
        found: T = self._made[key]
        return found


_BY_CONVERTER, _BY_QUANTIZER = Kept(), Kept()


def digest(float_artifact: bytes, examples: Iterable[Any], *others: object) -> str:
    """Hash a float model, the examples that it is calibrated on, and what else decides what comes of it.

    Args:
        examples: each one a list of arrays, or a dict of them.
    """
    found = hashlib.sha256(float_artifact)
    found.update(repr(others).encode())
    for example in examples:
        named = example.items() if isinstance(example, dict) else enumerate(example)
        for name, values in named:
            array = np.asarray(values)
            found.update(f"{name} {array.dtype.str} {array.shape}".encode())
            found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


@dataclass(frozen=True)
class Shared:
    """Hand a converter the same examples each time that it asks; those of other converters are left alone.

    Attributes:
        examples: each one a list of arrays, or a dict of them by input.
    """

    examples: Sequence[Any]

    def __call__(self) -> Iterator[Any]:
        """Begin with the first one again."""
        return iter(self.examples)


def shared_by_converters() -> None:
    """Let the converters of this process that are given :class:`Shared` examples calibrate an equal model once."""
    from tensorflow.lite.python.optimize import calibrator

    calibrate = calibrator.Calibrator.calibrate
    if hasattr(calibrate, "shares"):
        return

    def once(self: Any, dataset_gen: Callable[[], Iterable[Any]]) -> Any:
        if not isinstance(dataset_gen, Shared):
            return calibrate(self, dataset_gen)
        key = digest(self._model_content, dataset_gen.examples)
        return _BY_CONVERTER.of(key, lambda: calibrate(self, dataset_gen))

    once.shares = True  # type: ignore[attr-defined]
    calibrator.Calibrator.calibrate = once


@dataclass(frozen=True)
class Statistics:
    """Hold what litert-quantizer's calibrator collected, and for what.

    Attributes:
        asked: (operator, scope) -> the functions that took its statistics; None where it had none to take.
        values: tensor name -> statistics.
    """

    asked: dict[tuple[Any, str], Any]
    values: dict[str, Any]


class Remembered:
    """Stand for a recipe whose answers are remembered.

    The calibrator asks for each operator of each example again, and each time the recipe matches its expressions and
    the tool its policy.
    """

    def __init__(self, recipe: Any) -> None:
        self._recipe = recipe
        self.answers: dict[tuple[Any, str], Any] = {}

    def get_quantization_configs(self, operator: Any, scope: str) -> Any:
        """Return the algorithm of an operator, and its settings."""
        asked = operator, scope
        if asked not in self.answers:
            self.answers[asked] = self._recipe.get_quantization_configs(operator, scope)
        return self.answers[asked]


def statistics(key: str, recipe: Any, collect: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    """Return the statistics that a recipe needs, of an earlier recipe where that took the same ones.

    Args:
        key: of the float model, its examples and how their statistics are joined, see :func:`digest`.
        collect: recipe -> what a calibrator collects for it.
    """
    earlier: list[Statistics] = _BY_QUANTIZER.of(key, list)
    remembered = Remembered(recipe)
    for each in earlier:
        if all(_functions(remembered, *asked) == functions for asked, functions in each.asked.items()):
            return deepcopy(each.values)
    values = collect(remembered)
    asked = {one: _functions(remembered, *one) for one in remembered.answers}
    earlier.append(Statistics(asked, deepcopy(values)))
    return values


def _functions(recipe: Remembered, operator: Any, scope: str) -> Any:
    """Return what takes the statistics of an operator, and what joins those of two examples."""
    manager, algorithm = tool("algorithm_manager"), recipe.get_quantization_configs(operator, scope)[0]
    if algorithm == manager.AlgorithmName.NO_QUANTIZE:
        return None
    take = manager.get_quantization_func(algorithm, operator, tool("qtyping").QuantizeMode.CALIBRATE)
    joins = getattr(manager, "get_update_qsv_func", None)  # which the older package has not
    return take, joins(algorithm, operator) if joins else None
