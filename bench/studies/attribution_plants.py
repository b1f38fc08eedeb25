"""Count how often ``quantbench explain`` names the operator that a fault was planted in.

    python -m studies.attribution_plants --report-dir reports/reference

Each fault is put into one operator of a real ``ptq_static_wi8_ai8`` artifact. Its place is then looked for twice: with
the healthy artifact at hand, as where the accepted one is still in the cache, and with the float model alone. Of
a fault that does no harm, which by chance may even bring the outputs nearer to float32's, there is nothing to find:
those are counted apart.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from quantbench import files
from quantbench.build.artifact import StoreWorkbench
from quantbench.build.store import Store, default_root
from quantbench.core.arrays import Inputs, rows
from quantbench.measure import attribution, repairs
from quantbench.records import Attribution, json_text
from quantbench.reference.model import load_models
from quantbench.selftest.flatbuffer import Inapplicable, Layer
from quantbench.tflite import graph, surgery
from quantbench.tflite.edit import edited, repacked
from quantbench.tflite.graph import COMPUTE
from quantbench.variants import VARIANTS
from tabulate import tabulate

from studies import _common

MODELS = ("mobilenet_v2", "resnet8", "vit_tiny", "ds_cnn")
VARIANT = "ptq_static_wi8_ai8"
EXAMPLES = 64
HARM = 1.5  # from this multiple of the healthy artifact's error on
Plant = Callable[..., None]  # (objects of the file, at=position, random=generator)


@dataclass(frozen=True)
class Row:
    """Describe one plant.

    Attributes:
        rank: place of the operator in the list of suspects, from 1; None where it is not in it.
        recovered: share of the squared error of the outputs that its repair takes away.
        seconds: of attribution and proof together.
        harm: error of the outputs with the fault, as a multiple of the healthy artifact's.
    """

    model: str
    fault: str
    operator: str
    position: int
    known: bool
    rank: int | None
    recovered: float
    seconds: float
    harm: float


def _layer(model: Any, at: int) -> Layer:
    return Layer(model, model.subgraphs[0].operators[at])


def _range(factor: float) -> Plant:
    """Scale the range of an operator's output, and of the tensors that only pass it on."""

    def plant(model: Any, at: int, random: np.random.Generator) -> None:  # noqa: ARG001
        part = model.subgraphs[0]
        waiting, changed = [int(index) for index in part.operators[at].outputs], set[int]()
        while waiting:
            index = waiting.pop()
            changed.add(index)
            quantization = part.tensors[index].quantization
            quantization.scale = [scale * factor for scale in quantization.scale]
            for one in part.operators:
                if index in [int(each) for each in one.inputs] and repairs.passes_on(surgery.name_of(model, one)):
                    waiting += [int(each) for each in one.outputs]
        surgery.settle_biases(model, changed)  # as a converter writes them, for the ranges that it found

    return plant


def _weight_scale(model: Any, at: int, random: np.random.Generator) -> None:  # noqa: ARG001
    quantization = _layer(model, at).tensor(1).quantization
    quantization.scale = [scale * 1.5 for scale in quantization.scale]


def _no_bias(model: Any, at: int, random: np.random.Generator) -> None:  # noqa: ARG001
    layer = _layer(model, at)
    layer.write(2, np.zeros_like(layer.read(2, "int32")))


def _channels(model: Any, at: int, random: np.random.Generator) -> None:
    """Replace an eighth of the channels, one at least, by noise."""
    layer = _layer(model, at)
    weights = layer.read(1, "int8")
    axis = layer.tensor(1).quantization.quantizedDimension
    turned = np.moveaxis(weights, axis, 0)
    chosen = random.permutation(len(turned))[: max(1, len(turned) // 8)]
    turned[chosen] = random.integers(-127, 128, turned[chosen].shape)
    layer.write(1, weights)


def _saturated(model: Any, at: int, random: np.random.Generator) -> None:  # noqa: ARG001
    layer = _layer(model, at)
    layer.write(1, np.clip(layer.read(1, "int8"), -32, 32))


def _truncated(model: Any, at: int, random: np.random.Generator) -> None:  # noqa: ARG001
    """Move every weight by half a step down on average, as a cast that does not round."""
    layer = _layer(model, at)
    layer.write(1, np.clip(layer.read(1, "int8").astype(np.int16) - 1, -127, 127).astype(np.int8))


def _per_tensor(model: Any, at: int, random: np.random.Generator) -> None:  # noqa: ARG001
    """Give all channels the largest scale, and round the weights to it."""
    layer = _layer(model, at)
    quantization, weights = layer.tensor(1).quantization, layer.read(1, "int8")
    scales = np.asarray(quantization.scale)
    if len(scales) < 2:
        raise Inapplicable("its weights have one scale already")
    shape = [-1 if place == quantization.quantizedDimension else 1 for place in range(weights.ndim)]
    rounded = np.round(weights * scales.reshape(shape) / scales.max())
    layer.write(1, np.clip(rounded, -127, 127).astype(np.int8))
    bias = layer.read(2, "int32").astype(np.float64) * scales / scales.max()
    layer.write(2, np.round(bias).astype(np.int32))
    quantization.scale = [float(scales.max())] * len(scales)


def _no_activation(model: Any, at: int, random: np.random.Generator) -> None:  # noqa: ARG001
    options = model.subgraphs[0].operators[at].builtinOptions
    if not getattr(options, "fusedActivationFunction", 0):
        raise Inapplicable("it has no activation")
    options.fusedActivationFunction = 0


FAULTS: dict[str, Plant] = {
    "range stretched 8 times": _range(8.0),
    "range clipped to a quarter": _range(0.25),
    "scale of weights times 1.5": _weight_scale,
    "bias of zeros": _no_bias,
    "an eighth of the channels random": _channels,
    "weights saturated at 32": _saturated,
    "weights truncated": _truncated,
    "weights per-tensor": _per_tensor,
    "activation dropped": _no_activation,
}


def _planted(healthy: bytes, plant: Plant, random: np.random.Generator) -> tuple[int, bytes]:
    """Plant a fault in an operator drawn at random, of those that it fits."""
    operators = graph.read(healthy).main().operators
    places = [place for place, one in enumerate(operators) if one.name in COMPUTE]
    for place in random.permutation(places):
        try:
            return int(place), edited(healthy, partial(plant, at=int(place), random=random))
        except Inapplicable:
            continue
    raise Inapplicable("no operator of this artifact can have it")


def _rank(found: Attribution, position: int) -> tuple[int | None, float]:
    for rank, suspect in enumerate(found.suspects, 1):
        if position in (suspect.position, *suspect.together):
            return rank, suspect.recovered
    return None, 0.0


def _looked_for(float32: bytes, faulty: bytes, inputs: Inputs, healthy: bytes | None) -> tuple[Attribution, float]:
    since = time.perf_counter()
    found = attribution.errors(float32, faulty, inputs)
    found = repairs.explained(found, float32, faulty, inputs, healthy)
    return found, time.perf_counter() - since


def _of_model(name: str, each: int, model_dir: Path) -> list[Row]:
    model = load_models(model_dir)[name]
    bench = StoreWorkbench(model, 0, None, Store(default_root()))
    float32, healthy = bench.float_artifact(), repacked(VARIANTS[VARIANT].make(bench))
    inputs = model.prepare(rows(model.pack().test.x, slice(0, EXAMPLES)))
    least = repairs.output_error(float32, healthy, inputs)
    found = []
    for number, (fault, plant) in enumerate(FAULTS.items()):
        for repeat in range(each):
            try:
                place, faulty = _planted(healthy, plant, np.random.default_rng([number, repeat]))
            except Inapplicable:
                continue
            operator = graph.read(faulty).operators[place].name
            harm = repairs.output_error(float32, faulty, inputs) / least
            for known in (True, False):
                told, seconds = _looked_for(float32, faulty, inputs, healthy if known else None)
                rank, recovered = _rank(told, place)
                found.append(Row(name, fault, operator, place, known, rank, recovered, seconds, harm))
                print(found[-1], flush=True)
    return found


def table(found: Sequence[Row]) -> str:
    """Return counts by what was at hand and by model, as Markdown."""
    models = [*dict.fromkeys(row.model for row in found), ""]
    lines = [
        line
        for words, chosen in [
            (f"{words}, {what}", [row for row in found if row.known == known and (row.harm >= HARM) == harmful])
            for known, words in ((True, "accepted artifact"), (False, "float model alone"))
            for harmful, what in ((True, "harmful"), (False, "harmless"))
        ]
        for model in models
        if (line := _line(words, model, [row for row in chosen if row.model == model or not model]))
    ]
    headers = ["model", "at hand", "faults", "named first", "among three", "median s", "most s"]
    return tabulate(lines, headers, tablefmt="pipe", disable_numparse=True)


def _line(words: str, model: str, chosen: Sequence[Row]) -> list[object]:
    if not chosen:
        return []
    ranks, seconds = [row.rank or len(chosen) + 99 for row in chosen], [row.seconds for row in chosen]
    firsts = [sum(rank <= most for rank in ranks) for most in (1, 3)]
    return [model or "all", words, len(chosen), *firsts, f"{np.median(seconds):.1f}", f"{max(seconds):.1f}"]


def main() -> None:
    """Plant, look, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--each", type=int, default=2, help="operators that get each fault")
    parser.add_argument("--model-dir", type=Path, default=Path("models"))
    parser.add_argument("--report-dir", type=Path, default=Path("reports"))
    given = parser.parse_args()
    found = [row for name in given.models.split(",") for row in _of_model(name, given.each, given.model_dir)]
    given.report_dir.mkdir(parents=True, exist_ok=True)
    files.replace(given.report_dir / "attribution_plants.json", json_text([asdict(row) for row in found]))
    words = __doc__.strip().split("\n\n")[-1]
    text = f"# Faults found by explain\n\n{words}\n\n{table(found)}\n\n{_common.machine()}\n"
    files.replace(given.report_dir / "attribution_plants.md", text)
    print(table(found))


if __name__ == "__main__":
    main()
