"""Keep in the store what takes long to compute from stored answers: resampled drops, and scores on other kernels.

Where all cells of a run are stored, nothing else takes as long. It is a function of the answers, the model's file, its
data and the code alone, which together are its key, so that what is recalled is what would be computed.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from quantbench import gate
from quantbench.build.artifact import code_sha256
from quantbench.build.package_contents import package_contents
from quantbench.build.store import Store
from quantbench.core.arrays import Array
from quantbench.core.drops import MeanDrop
from quantbench.core.environment import cpu
from quantbench.engine.hashes import hashes_of
from quantbench.records import MicroAnswers
from quantbench.reference.metrics import BY_NAME
from quantbench.reference.metrics import CODE as METRICS
from quantbench.reference.model import ReferenceModel

_FILE = "kept.json"
_METRICS = "quantbench.reference.metrics."
_PACKAGES = ("numpy", "scipy", "pycocotools")
_CODE = (
    "quantbench.core.arrays",
    "quantbench.core.drops",
    "quantbench.core.stats",
    "quantbench.engine.kept",
    "quantbench.engine.on_micro",
    "quantbench.gate._limits",
    "quantbench.reference.datasets",
    "quantbench.reference.model",
    *METRICS,
)


@dataclass(frozen=True)
class Kept:
    """Recall results from a store, or compute them now.

    Those of metrics that count right answers take no time, and a metric of the user's own may change unseen.
    """

    store: Store

    def drop_seen(
        self,
        model: ReferenceModel,
        answers: Mapping[str, Mapping[int, Array]],
        facts: Mapping[str, Any],
        make: Callable[[], gate.DropSeen | None],
    ) -> gate.DropSeen | None:
        """Return a drop from a control.

        Args:
            answers: cell and control -> seed -> predictions of one output.
            facts: what else it is computed from.
        """
        if not _keepable(model):
            return make()
        arrays = {f"{which} {seed}": array for which, of in answers.items() for seed, array in of.items()}

        def made() -> Any:
            seen = make()
            return None if seen is None else asdict(seen)

        found = self._through(model, {"what": "drop", **facts}, arrays, made)
        return None if found is None else gate.DropSeen(**{**found, "drop": MeanDrop(**found["drop"])})

    def compared(
        self, model: ReferenceModel, new: Array, reference: Array, make: Callable[[], MicroAnswers]
    ) -> MicroAnswers:
        """Return how TFLite-Micro's answers compare with the reference kernels'."""
        if not _keepable(model):
            return make()
        arrays = {"new": new, "reference": reference}
        found = self._through(model, {"what": "compared"}, arrays, lambda: make().model_dump(mode="json"))
        return MicroAnswers.model_validate(found)

    def _through(
        self, model: ReferenceModel, facts: Mapping[str, Any], arrays: Mapping[str, Array], make: Callable[[], Any]
    ) -> Any:
        recipe = {
            **facts,
            "model": model.name,
            "metric": model.metric.name,
            "file": hashes_of(model).file,
            "data": model.data_sha256,
            "answers": {name: _sha256(array) for name, array in arrays.items()},
            "packages": {name: package_contents(name) for name in _PACKAGES},
            "code": code_sha256(*_CODE),
            "cpu": cpu(),
        }
        return self.store.remember(recipe, lambda: {_FILE: json.dumps(make()).encode()}, _read)


def _keepable(model: ReferenceModel) -> bool:
    """Whether what takes long is a function of the key: the code of a metric of the user's own may be in any file."""
    metric = model.metric
    computes = [getattr(metric, field.name) for field in fields(metric) if field.name != "predict"]
    own = [each for each in computes if callable(each) and not each.__module__.startswith(_METRICS)]
    return metric.correct is None and metric.name in BY_NAME and not own


def _read(folder: Path, _cached: bool) -> Any:
    return json.loads((folder / _FILE).read_text(encoding="utf-8"))


def _sha256(array: Array) -> str:
    found = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode())
    found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()
