"""Make mixed artifacts and run them, in a process that may crash and that is confined for models of others.

Each line is a question about one model, whose facts are in the file ``subject``: ``{"subject": FILE, "do": "operators",
...}`` lists the operators, ``sensitivity`` measures the outputs' error with few of them quantized, and ``candidate``
writes an artifact with its predictions on some examples. See :mod:`quantbench.adopt.workshop`, which asks.
"""

import json
import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from quantbench.build.artifact import REFUSING, StoreWorkbench, refusal_words
from quantbench.build.store import Store
from quantbench.core.arrays import Array, Inputs, rows
from quantbench.core.worker import answer_lines
from quantbench.errors import Unsupported
from quantbench.measure import attribution
from quantbench.reference.model import ReferenceModel, load_file
from quantbench.tflite.litert import LiteRT
from quantbench.variants import settings, tuned

_FEW = 64  # examples whose outputs are compared for each operator; fewer for a large model


class Subject:
    """Hold what all questions about a model share.

    Args:
        given: ``{"model": [FILE, NAME], "float": FILE.tflite, "rows": FILE.npy, "ranges": "averaged"}``; the rows are
            those of the test examples that may be looked at.
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        file, name = given["model"]
        self.model: ReferenceModel = next(model for model in load_file(Path(file)) if model.name == name)
        self.float_artifact = Path(given["float"]).read_bytes()
        self.operators = tuned.operators_of(self.float_artifact)
        self._bench = StoreWorkbench(self.model, 0, None, Store(Path(given["scratch"])))
        self._ranges = str(given["ranges"])
        self._statistics: Any = None
        seen = np.load(given["rows"], allow_pickle=False)
        spread = seen[np.linspace(0, len(seen) - 1, min(len(seen), _FEW)).astype(int)]
        self._few = attribution.examples(self.float_artifact, self.inputs(spread))
        self._exact = self._outputs(self.float_artifact)

    def inputs(self, places: Array) -> Inputs:
        """Return prepared test examples."""
        return self.model.prepare(rows(self.model.pack().test.x, places))

    def make(self, chosen: Mapping[int, str]) -> bytes:
        """Return the artifact with these settings; ranges are found once for all."""
        if self._statistics is None and any(settings.is_static(name) for name in chosen.values()):
            self._statistics = tuned.statistics_of(self._bench, self.float_artifact, self.operators, self._ranges)
        return tuned.quantized(self._bench, self.float_artifact, self.operators, chosen, self._ranges, self._statistics)

    def error(self, artifact: bytes) -> float:
        """Return the mean squared error of the outputs on few examples, as a share of their mean square."""
        shares = []
        for exact, made in zip(self._exact, self._outputs(artifact), strict=True):
            error, signal = float(np.mean((made - exact) ** 2)), float(np.mean(exact**2))
            shares.append(error / signal if signal else error)
        return float(np.mean(shares))

    def predictions(self, artifact: bytes, places: Array) -> dict[str, Array]:
        """Return the predictions of every scored output: that of the first under an empty name."""
        inputs = self.inputs(places)
        outputs = LiteRT(artifact, stateful=self.model.stateful).run(inputs)
        heads = {head.name: head.metric.predict(outputs, inputs) for head in self.model.heads}
        return {"": self.model.metric.predict(outputs, inputs), **heads}

    def _outputs(self, artifact: bytes) -> list[Array]:
        made = LiteRT(artifact, stateful=self.model.stateful).run(self._few)
        named = made if isinstance(made, dict) else {"": made}
        return [np.asarray(named[name], dtype=np.float64) for name in sorted(named)]


@lru_cache(maxsize=1)
def _subject(path: str) -> Subject:
    return Subject(json.loads(Path(path).read_text(encoding="utf-8")))


def answer(line: str) -> dict[str, Any]:
    """Answer one question; what the tools refuse is an answer too."""
    job = json.loads(line)
    try:
        subject = _subject(job["subject"])
        return _DOES[job["do"]](subject, job)
    except Unsupported as refusal:
        return {"refused": str(refusal)}
    except REFUSING as refusal:
        return {"refused": refusal_words(refusal)}


def _operators(subject: Subject, job: Mapping[str, Any]) -> dict[str, Any]:
    found = []
    for place, one in enumerate(subject.operators):
        weights = settings.weights_of(one)
        found.append(
            {
                "position": place,
                "operator": one.name,
                "tensor": one.outputs[0].name if one.outputs else "",
                "weights": None if weights is None else _number_of(subject, weights),
                "elements": 0 if weights is None else math.prod(weights.shape),
                "offered": settings.offered(one, job["settings"]),
            }
        )
    return {"operators": found, "bytes": len(subject.float_artifact)}


def _number_of(subject: Subject, weights: Any) -> int:
    """Return a number that operators with the same weights share."""
    for place, one in enumerate(subject.operators):
        if settings.weights_of(one) is weights:
            return place
    raise ValueError("no operator has these weights")


def _sensitivity(subject: Subject, job: Mapping[str, Any]) -> dict[str, Any]:
    made = subject.make(_chosen(job))
    return {"error": subject.error(made), "bytes": len(made)}


def _candidate(subject: Subject, job: Mapping[str, Any]) -> dict[str, Any]:
    made = subject.make(_chosen(job))
    Path(job["file"]).write_bytes(made)
    places = np.load(job["rows"], allow_pickle=False)
    predictions = subject.predictions(made, places)
    np.savez(job["predictions"], *predictions.values())
    return {"bytes": len(made), "outputs": list(predictions)}


def _chosen(job: Mapping[str, Any]) -> dict[int, str]:
    return {int(position): str(name) for position, name in job["chosen"].items()}


_DOES: dict[str, Callable[[Subject, Mapping[str, Any]], dict[str, Any]]] = {
    "operators": _operators,
    "sensitivity": _sensitivity,
    "candidate": _candidate,
}


if __name__ == "__main__":
    answer_lines(lambda _job: answer)
