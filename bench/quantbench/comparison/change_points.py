"""Where the level of a noisy series changes, by ruptures.

It finds the segmentation into means with the least squares under a penalty. Sources: Truong, Oudre & Vayatis 2020,
"Selective review of offline change point detection methods"; PELT: Killick, Fearnhead & Eckley 2012.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np

from quantbench.core.arrays import Array

_SHORTEST = 3  # one or two runs that stand out are no new level
_KERNELS = "ruptures.detection._detection.ekcpd"


def starts(x: Array, penalty: float) -> list[int]:
    """Where in ``x`` of shape (n,) a new level starts, oldest first.

    Args:
        penalty: of one more level, in squares.
    """
    search = _search()
    if search is None:
        return searched_by_package(x, penalty)
    before = search(x.astype(np.double).reshape(-1, 1), penalty, _SHORTEST)
    found, end = list[int](), len(x)
    while end > 0:
        found.append(int(end))
        end = before[end]
    return found[:0:-1]


def searched_by_package(x: Array, penalty: float) -> list[int]:
    """Search as ``starts`` does, through the interface that ruptures documents."""
    import ruptures

    search = ruptures.KernelCPD(kernel="linear", min_size=_SHORTEST)
    return [int(end) for end in search.fit_predict(x, pen=penalty)[:-1]]


@lru_cache
def _search() -> Callable[[Array, float, int], Any] | None:
    """Return ruptures' compiled search alone, as its package loads scipy for .6 s; None where it cannot be loaded."""
    for file in _compiled():
        spec = spec_from_file_location(_KERNELS, file)
        if spec is None or spec.loader is None:
            continue
        try:
            module = module_from_spec(spec)
            spec.loader.exec_module(module)
        except ImportError:
            return None
        return getattr(module, "ekcpd_pelt_L2", None)
    return None


def _compiled() -> Iterator[Path]:
    """Yield the compiled files that this Python can load, in the order in which it would."""
    package = find_spec("ruptures")
    for folder in package.submodule_search_locations or () if package else ():
        files = (Path(folder, "detection", "_detection", f"ekcpd{suffix}") for suffix in EXTENSION_SUFFIXES)
        yield from (file for file in files if file.is_file())


def best_step(y: Array) -> float:
    """Compute the residual sum of squares of the best single step."""
    n = np.arange(1, len(y))
    sums, squares = np.cumsum(y), float(np.sum(y**2))
    before, after = sums[:-1], sums[-1] - sums[:-1]
    return float(np.min(squares - before**2 / n - after**2 / (len(y) - n)))
