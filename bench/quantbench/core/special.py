"""Load the compiled functions of ``scipy.special`` alone, as its package wraps them for other array libraries.

The package takes .15 s to load, a third of ``quantbench compare``; its functions of NumPy's arrays are all in one
compiled module, which takes .005 s.
"""

import sys
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from typing import Any

_PACKAGE = "scipy.special"


@lru_cache
def functions() -> Any:
    """Return the functions of ``scipy.special``; the package itself where it is loaded, or where they are elsewhere."""
    if _PACKAGE in sys.modules or (spec := find_spec(_PACKAGE)) is None:
        return import_module(_PACKAGE)
    package = sys.modules[_PACKAGE] = module_from_spec(spec)  # not executed
    try:
        return import_module(f"{_PACKAGE}._ufuncs")
    except ImportError:
        sys.modules.pop(_PACKAGE)
        return import_module(_PACKAGE)
    finally:
        if sys.modules.get(_PACKAGE) is package:
            del sys.modules[_PACKAGE]
