"""Ask a process of our own for mixed artifacts of one model, see :mod:`quantbench.adopt.tuning_worker`."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np

from quantbench import files
from quantbench.adopt.frontier import Option, Unit
from quantbench.core.arrays import Array
from quantbench.core.child_process import ChildFailed, Standing
from quantbench.records import IN_FLOAT
from quantbench.reference.datasets import read_npz
from quantbench.reference.model import ReferenceModel

LIMIT_SECONDS = 300.0  # of one question; the first one loads the tools


@dataclass(frozen=True)
class Found:
    """Describe an operator of the float model.

    Attributes:
        weights: number that operators with the same weights share; None where it has none.
        elements: number of its weights.
        offered: settings that the tool takes for it.
    """

    position: int
    operator: str
    tensor: str
    weights: int | None
    elements: int
    offered: tuple[str, ...]


@dataclass(frozen=True)
class Made:
    """Hold an artifact and its predictions.

    Attributes:
        predictions: output -> of the examples asked for; the first output has an empty name.
    """

    artifact: bytes
    predictions: dict[str, Array]


class Refused(Exception):
    """Raised where the tools do not make or run an artifact; the message says why."""


class Workshop:
    """Keep one process for one model, from the first question to the end of the context.

    Args:
        model: whose file the process loads; confined unless it is code of the user's own.
        float_artifact: that is quantized.
        seen: places of the test examples that the search may look at.
        ranges: how ranges of activations are found, see :class:`quantbench.records.MixedRecipe`.
    """

    def __init__(self, model: ReferenceModel, float_artifact: bytes, seen: Array, ranges: str = "averaged") -> None:
        reads = None if model.form == "code" else model.file.parent
        self._child = Standing("quantbench.adopt.tuning_worker", reads)
        folder = self._child.scratch()
        self._folder = folder
        (folder / "store").mkdir()
        files.replace(folder / "float.tflite", float_artifact)
        np.save(folder / "seen.npy", seen)
        given = {
            "model": [str(model.file), model.name],
            "float": str(folder / "float.tflite"),
            "rows": str(folder / "seen.npy"),
            "scratch": str(folder / "store"),
            "ranges": ranges,
        }
        self._subject = folder / "subject.json"
        files.replace(self._subject, json.dumps(given))
        self.float_bytes = len(float_artifact)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.end()

    def operators(self, names: Sequence[str]) -> list[Found]:
        """List the operators of the main graph, with those of the named settings that each may get.

        Raises:
            Refused: the model cannot be read or run.
        """
        answer = self._ask({"do": "operators", "settings": list(names)})
        return [
            Found(
                int(one["position"]),
                one["operator"],
                one["tensor"],
                one["weights"],
                int(one["elements"]),
                tuple(one["offered"]),
            )
            for one in answer["operators"]
        ]

    def option(self, positions: Sequence[int], setting: str) -> Option:
        """Quantize these operators and nothing else, and measure what that costs and saves. Raises Refused."""
        answer = self._ask({"do": "sensitivity", "chosen": dict.fromkeys(positions, setting)})
        error = float(answer["error"])
        return Option(setting, int(answer["bytes"]) - self.float_bytes, error if math.isfinite(error) else math.inf)

    def made(self, chosen: Mapping[int, str], places: Array) -> Made:
        """Make an artifact, and predict some test examples with it. Raises Refused."""
        file, asked, results = (self._folder / name for name in ("made.tflite", "rows.npy", "predictions.npz"))
        np.save(asked, places)
        settings = {place: name for place, name in chosen.items() if name != IN_FLOAT}
        where = {"file": str(file), "rows": str(asked), "predictions": str(results)}
        answer = self._ask({"do": "candidate", "chosen": settings, **where})
        content = files.read_bytes(file, "artifact", files.LARGEST_MODEL, inside=self._folder)
        arrays = read_npz(results, "predictions", inside=self._folder)
        names = [str(name) for name in answer["outputs"]]
        return Made(content, {name: arrays[f"arr_{number}"] for number, name in enumerate(names)})

    def _ask(self, question: dict[str, Any]) -> Any:
        try:
            answer = self._child.ask({"subject": str(self._subject), **question}, LIMIT_SECONDS)
        except ChildFailed as failed:
            raise Refused(f"the process that makes it {failed}") from None
        if not isinstance(answer, dict):
            raise Refused("the process that makes it gave no answer that can be read")
        if "refused" in answer:
            raise Refused(str(answer["refused"]))
        return answer


def units_of(found: Sequence[Found]) -> list[tuple[tuple[int, ...], tuple[str, ...]]]:
    """Return the operators that have settings to choose from, the largest first; the same weights go together."""
    together: dict[object, list[Found]] = {}
    for one in found:
        together.setdefault(("alone", one.position) if one.weights is None else one.weights, []).append(one)
    units = []
    for members in sorted(together.values(), key=lambda members: -members[0].elements):
        offered = [name for name in members[0].offered if all(name in one.offered for one in members)]
        if offered:
            units.append((tuple(one.position for one in members), tuple(offered)))
    return units


def unit_of(positions: tuple[int, ...], options: Sequence[Option]) -> Unit:
    """Return a unit with its measured options, and that of leaving it in float."""
    return Unit(positions, (*options, Option(IN_FLOAT, 0, 0.0)))
