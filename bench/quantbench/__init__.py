"""quantbench: a benchmark and regression gate for TensorFlow model quantization.

What a model file needs, what reads a finished run, and :func:`run`. A name is imported when it is first used, and none
of them imports TensorFlow.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quantbench.core.arrays import Array, Inputs
    from quantbench.engine.whole_run import Finished, run
    from quantbench.errors import BadInput, Exit
    from quantbench.records import Report, Verdict
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

__version__ = "0.1.0"

__all__ = [
    "Array",
    "BadInput",
    "Exit",
    "Finished",
    "Floor",
    "Head",
    "Inputs",
    "Metric",
    "Rebuilt",
    "Recipe",
    "ReferenceModel",
    "Report",
    "Scaled",
    "Verdict",
    "as_unit_floats",
    "binary_logits_loss",
    "by_name",
    "load_report",
    "logits_loss",
    "metric_from_file",
    "reconstruction_auc",
    "run",
]

_DEFINED_IN = {
    "quantbench.core.arrays": ("Array", "Inputs"),
    "quantbench.engine.whole_run": ("Finished", "run"),
    "quantbench.errors": ("BadInput", "Exit"),
    "quantbench.records": ("Report", "Verdict"),
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
_MODULE = {name: module for module, names in _DEFINED_IN.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for (PEP 562), so that ``import quantbench`` costs nothing."""
    if name not in _MODULE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(_MODULE[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
