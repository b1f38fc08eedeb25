"""quantbench: a benchmark and regression gate for TensorFlow model quantization.

What a model file needs; :func:`run`, :func:`try_model`, :func:`load_report` and :func:`compare`, which return records,
print nothing and end no process; and :func:`settings`, what the repository's config says. A name is imported when it is
first used, and none of them imports TensorFlow.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quantbench.adopt.commands import Tried
    from quantbench.adopt.trying import try_model
    from quantbench.comparison import Comparison
    from quantbench.comparison.of_runs import compare_runs as compare
    from quantbench.core.arrays import Array, Inputs
    from quantbench.core.config import Settings
    from quantbench.core.config import settings_at as settings
    from quantbench.engine.whole_run import Finished, run
    from quantbench.errors import BadInput, DiskFull, Exit, NothingSelected
    from quantbench.records import Advice, Report, Verdict
    from quantbench.records.run_folder import load_report
    from quantbench.reference.metrics import Metric, by_name, metric_from_file, reconstruction_auc
    from quantbench.reference.model import (
        Floor,
        Head,
        Rebuilt,
        Recipe,
        ReferenceModel,
        Scaled,
        as_unit_floats,
        binary_logits_loss,
        logits_loss,
    )
    from quantbench.suites.checks import Checked, Checks

__version__ = "0.1.0"

__all__ = [
    "Advice",
    "Array",
    "BadInput",
    "Checked",
    "Checks",
    "Comparison",
    "DiskFull",
    "Exit",
    "Finished",
    "Floor",
    "Head",
    "Inputs",
    "Metric",
    "NothingSelected",
    "Rebuilt",
    "Recipe",
    "ReferenceModel",
    "Report",
    "Scaled",
    "Settings",
    "Tried",
    "Verdict",
    "as_unit_floats",
    "binary_logits_loss",
    "by_name",
    "compare",
    "load_report",
    "logits_loss",
    "metric_from_file",
    "reconstruction_auc",
    "run",
    "settings",
    "try_model",
]

_DEFINED_IN = {
    "quantbench.suites.checks": ("Checked", "Checks"),
    "quantbench.adopt.commands": ("Tried",),
    "quantbench.adopt.trying": ("try_model",),
    "quantbench.comparison": ("Comparison",),
    "quantbench.comparison.of_runs": ("compare_runs",),
    "quantbench.core.config": ("Settings", "settings_at"),
    "quantbench.core.arrays": ("Array", "Inputs"),
    "quantbench.engine.whole_run": ("Finished", "run"),
    "quantbench.errors": ("BadInput", "DiskFull", "Exit", "NothingSelected"),
    "quantbench.records": ("Advice", "Report", "Verdict"),
    "quantbench.records.run_folder": ("load_report",),
    "quantbench.reference.metrics": ("Metric", "by_name", "metric_from_file", "reconstruction_auc"),
    "quantbench.reference.model": (
        "Floor",
        "Head",
        "Rebuilt",
        "Recipe",
        "ReferenceModel",
        "Scaled",
        "as_unit_floats",
        "binary_logits_loss",
        "logits_loss",
    ),
}
# Public name -> the one in its module, where they differ.
_CALLED = {"compare": "compare_runs", "settings": "settings_at"}
_MODULE = {name: module for module, names in _DEFINED_IN.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for (PEP 562), so that ``import quantbench`` costs nothing."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    called = _CALLED.get(name, name)
    found = getattr(import_module(_MODULE[called]), called)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
