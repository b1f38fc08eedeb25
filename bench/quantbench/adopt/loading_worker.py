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
from pathlib import Path
from typing import Any

import numpy as np

from quantbench.adopt import formats, outputs
from quantbench.core.worker import Job, answer_lines
from quantbench.errors import BadInput
from quantbench.reference import float_model
from quantbench.reference.model import Floor, ReferenceModel


def answer(model: ReferenceModel, question: dict[str, Any]) -> dict[str, Any]:
    """Answer one query."""
    try:
        if question["ask"] == "inputs":
            specs = formats.input_specs(model)
            return {"specs": {name: [list(shape), np.dtype(dtype).str] for name, (shape, dtype) in specs.items()}}
        if question["ask"] == "outputs":
            return {"outputs": [[one.key, one.name, one.activation] for one in outputs.found(model)]}
        return {"outputs": _answers(model, question)}
    except BadInput as error:
        return {"refused": str(error)}
    except Exception as error:  # whatever an operator of an untrusted model raises
        return {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}


def _answers(model: ReferenceModel, question: dict[str, Any]) -> list[str]:
    with np.load(question["inputs"], allow_pickle=False) as file:
        arrays = [file[f"arr_{i}"] for i in range(len(file.files))]
    names = question["names"]
    inputs = arrays[0] if names is None else dict(zip(names, arrays, strict=True))
    computed = float_model.predict(model, inputs, question["as_saved"])
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
    return lambda line: answer(model, json.loads(line))


if __name__ == "__main__":
    answer_lines(begin)
