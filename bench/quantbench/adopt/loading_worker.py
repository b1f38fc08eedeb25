"""Load an untrusted model and answer queries about it, in an interpreter that :mod:`quantbench.adopt.loading` starts.

Reads lines of JSON from standard input and writes one each to standard output. The first, which has no answer, is the
model: ``{"path": FILE, "form": FORM, "trusted": false, "stateful": false}``. Then:

    {"ask": "inputs"}                      -> {"specs": {NAME: [SHAPE, DTYPE]}}
    {"ask": "outputs"}                     -> {"outputs": [[KEY, NAME, ACTIVATION], ...]}, in the model's own order
    {"ask": "answers", "names": [NAME, ...] or null, "inputs": FILE.npz, "outputs": FILE.npz, "as_saved": false}
                                           -> {"outputs": [NAME, ...]}

or ``{"refused": WORDS}`` if the model is invalid, ``{"failed": WORDS}`` if it failed to run.
"""

import faulthandler
import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from quantbench.adopt import formats, outputs
from quantbench.core.arrays import Inputs
from quantbench.core.worker import Job, answer_lines
from quantbench.errors import BadInput
from quantbench.reference import float_model
from quantbench.reference.model import Floor, ReferenceModel


class Loaded:
    """Keep what was loaded of a model for the queries that follow: a large Keras model takes seconds each time."""

    def __init__(self, model: ReferenceModel) -> None:
        self.model = model
        self._predictors: dict[tuple[bool, int], float_model.Predictor] = {}

    @cached_property
    def keras2(self) -> Any:
        """Return the model as Keras 2. Raises BadInput."""
        return float_model.keras2(self.model)

    def predict(self, inputs: Inputs, as_saved: bool) -> Inputs:
        """Compute the outputs; where calls may leave state behind, on a model that is loaded for this query alone."""
        if self.model.stateful or self.model.form not in ("keras2", "keras3"):
            return float_model.predict(self.model, inputs, as_saved)
        key = as_saved, float_model.batch_of(inputs)
        if key not in self._predictors:
            self._predictors = {key: float_model.Predictor(self.model, inputs, as_saved)}
        return self._predictors[key](inputs)


def answer(loaded: Loaded, question: dict[str, Any]) -> dict[str, Any]:
    """Answer one query."""
    try:
        if question["ask"] == "inputs":
            specs = formats.input_specs(loaded.model, lambda _: loaded.keras2)
            return {"specs": {name: [list(shape), np.dtype(dtype).str] for name, (shape, dtype) in specs.items()}}
        if question["ask"] == "outputs":
            return {
                "outputs": [
                    [one.key, one.name, one.activation] for one in outputs.found(loaded.model, lambda _: loaded.keras2)
                ]
            }
        return {"outputs": _answers(loaded, question)}
    except BadInput as error:
        return {"refused": str(error)}
    except Exception as error:  # whatever an operator of an untrusted model raises
        return {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}


def _answers(loaded: Loaded, question: dict[str, Any]) -> list[str]:
    with np.load(question["inputs"], allow_pickle=False) as file:
        arrays = [file[f"arr_{i}"] for i in range(len(file.files))]
    names = question["names"]
    inputs = arrays[0] if names is None else dict(zip(names, arrays, strict=True))
    computed = loaded.predict(inputs, question["as_saved"])
    named = computed if isinstance(computed, dict) else {"": computed}
    np.savez(question["outputs"], *named.values())
    return list(named)


def begin(job: Job) -> Callable[[str], dict[str, Any]]:
    """Set up the model; return a function that answers a query about it, given as a line of JSON."""
    faulthandler.disable()
    path = Path(job["path"])
    model = ReferenceModel(
        name="model",
        description="",
        weights=path.name,
        weights_sha256="",
        data="",
        data_sha256="",
        floors={"default": Floor(0.0, "")},
        form=job["form"],
        trusted=job["trusted"],
        stateful=job["stateful"],
        file=path.parent / "model.py",
    )
    loaded = Loaded(model)
    return lambda line: answer(loaded, json.loads(line))


if __name__ == "__main__":
    answer_lines(begin)
