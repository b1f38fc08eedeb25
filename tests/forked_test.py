"""Run the body of a test marked ``forked``; its assertions are told, and warnings are errors, as in pytest's process.

    python forked_test.py FILE

FILE is a pickle of where the test is and of what it is given.
"""

import importlib
import pickle
import sys
import warnings
from pathlib import Path

from _pytest import assertion
from _pytest.config import get_config

if __name__ == "__main__":
    sys.path[:], module, name, given = pickle.loads(Path(sys.argv[1]).read_bytes())
    assertion.install_importhook(get_config())
    test = getattr(importlib.import_module(module), name)
    warnings.simplefilter("error")
    warnings.simplefilter("ignore", DeprecationWarning)
    test(**pickle.loads(given))
