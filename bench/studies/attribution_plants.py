"""Count how often ``quantbench explain`` names the operator that a fault was planted in.

    python -m studies.attribution_plants --report-dir reports/reference

With ``--models``, rows of other models that are there already stay.

Each fault is put into one operator of a real ``ptq_static_wi8_ai8`` artifact. All are chosen before any is looked for:
of the operators that a fault fits, in random order, the first in which it is harmful, which is a drop of at least 1 pp
in accuracy on the first 1,000 test examples against the healthy artifact. Where a fault is harmful in no operator of a
model, it is listed as such. Its place is then looked for as a red run does it, in a process of its own and with the
repaired artifact scored: with the healthy artifact at hand, as where the accepted one is still in the cache, and with
the float model alone. An operator that is left in float costs no accuracy but time and size; its place has to be the
first of what changed.
"""

import argparse
import json
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from quantbench import files
from quantbench.core.arrays import rows
from quantbench.engine import explain
from quantbench.measure import regions
from quantbench.records import FLOAT_CONTROL, Attribution, json_text
from quantbench.reference.model import load_models
from quantbench.selftest.flatbuffer import Inapplicable, Layer
from quantbench.tflite import graph, matching, surgery
from quantbench.tflite.edit import edited, repacked
from quantbench.tflite.graph import COMPUTE
from quantbench.tflite.litert import LiteRT
from tabulate import tabulate

from studies import _common

MODELS = ("mobilenet_v2", "resnet8", "vit_tiny", "ds_cnn")
VARIANT = "ptq_static_wi8_ai8"
SCORED = 1000
OUTLIER = 16  # times the largest weight
HARM = 1.0  # drop in the score, in pp, from which on a fault is harmful
IN_FLOAT = "operator left in float"
FIXED = ("SOFTMAX", "LOGISTIC", "TANH")  # their kernels want a range of their own
Plant = Callable[..., None]  # (objects of the file, at=position, random=generator)


@dataclass(frozen=True)
class Fault:
    """Hold an artifact with one fault.

    Attributes:
        position: of the operator that it is in.
        drop: in the score against the healthy artifact, in the metric's unit.
    """

    kind: str
    position: int
    drop: float
    artifact: bytes


@dataclass(frozen=True)
class Row:
    """Describe what was found of one fault.

    Attributes:
        known: whether the healthy artifact was at hand.
        rank: place of the operator in the list of suspects, from 1; None where it is not in it.
        named: the first suspect, in words.
        itself: whether the first suspect is named by the operator itself, and not by one that was repaired with it.
        recovered: share of the squared error of the outputs that its repair takes away.
        seconds: of CPU time of the whole explanation, that of its process included.
        drop: in the score by the fault, in the metric's unit.
    """

    model: str
    fault: str
    operator: str
    position: int
    known: bool
    rank: int | None
    named: str
    itself: bool
    recovered: float
    seconds: float
    drop: float


def _layer(model: Any, at: int) -> Layer:
    return Layer(model, model.subgraphs[0].operators[at])


def _passed_on(model: Any, at: int, change: Callable[[Any], None]) -> None:
    """Change the range of an operator's output, and of the tensors that only pass it on."""
    part = model.subgraphs[0]
    waiting, changed = [int(index) for index in part.operators[at].outputs], set[int]()
    while waiting:
        index = waiting.pop()
        if index in changed:
            continue
        changed.add(index)
        change(part.tensors[index].quantization)
        for one in part.operators:
            if index in [int(each) for each in one.inputs] and regions.passes_on(surgery.name_of(model, one)):
                waiting += [int(each) for each in one.outputs]
    surgery.settle_biases(model, changed)  # as a converter writes them, for the ranges that it found


def _range(factor: float) -> Plant:
    """Scale a range."""

    def scaled(quantization: Any) -> None:
        quantization.scale = [scale * factor for scale in quantization.scale]

    def plant(model: Any, at: int, random: np.random.Generator) -> None:  # noqa: ARG001
        _passed_on(model, at, scaled)

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
    """Give all channels one scale, that of an outlier 16 times as large as all other weights, and round to it."""
    layer = _layer(model, at)
    quantization, weights = layer.tensor(1).quantization, layer.read(1, "int8")
    scales = np.asarray(quantization.scale)
    if len(scales) < 2:
        raise Inapplicable("its weights have one scale already")
    wide = OUTLIER * scales.max()
    shape = [-1 if place == quantization.quantizedDimension else 1 for place in range(weights.ndim)]
    rounded = np.round(weights * scales.reshape(shape) / wide)
    layer.write(1, np.clip(rounded, -127, 127).astype(np.int8))
    bias = layer.read(2, "int32").astype(np.float64) * scales / wide
    layer.write(2, np.round(bias).astype(np.int32))
    quantization.scale = [float(wide)] * len(scales)


def _no_activation(model: Any, at: int, random: np.random.Generator) -> None:  # noqa: ARG001
    """Drop the activation, and give the output the range that a converter then finds, with as much below zero."""
    options = model.subgraphs[0].operators[at].builtinOptions
    if not getattr(options, "fusedActivationFunction", 0):
        raise Inapplicable("it has no activation")
    options.fusedActivationFunction = 0

    def both_sides(quantization: Any) -> None:
        quantization.scale, quantization.zeroPoint = [2 * float(quantization.scale[0])], [0]

    _passed_on(model, at, both_sides)


FAULTS: dict[str, Plant] = {
    "range stretched 32 times": _range(32.0),
    "range clipped to a quarter": _range(0.25),
    "scale of weights times 1.5": _weight_scale,
    "bias of zeros": _no_bias,
    "an eighth of the channels random": _channels,
    "weights saturated at 32": _saturated,
    "weights truncated": _truncated,
    "weights per-tensor, with an outlier": _per_tensor,
    "activation dropped": _no_activation,
}


def _in_float(healthy: bytes, float32: bytes, at: int) -> Fault:
    """Leave an operator in float, as where a converter has no kernel for it any more."""
    old, new = graph.read(float32).main(), graph.read(healthy).main()
    partner = {theirs: ours for ours, theirs in matching.match(old, new).pairs}
    if at not in partner:
        raise Inapplicable("it has no partner in the float model")
    faulty = surgery.in_float(healthy, float32, [(partner[at], at)])
    name = new.operators[at].outputs[0].name
    made = (name, f"{name}_float")
    after = graph.read(faulty).main().operators
    place = next(i for i, one in enumerate(after) if one.outputs and one.outputs[0].name in made)
    return Fault(IN_FLOAT, place, 0.0, faulty)


def _places(healthy: bytes, ranges: bool) -> list[int]:
    """List the operators that a fault may be put into: with weights, or for a range all that decide on their own."""
    operators = graph.read(healthy).main().operators
    if not ranges:
        return [place for place, one in enumerate(operators) if one.name in COMPUTE]
    own = [not regions.passes_on(one.name) and one.name not in FIXED for one in operators]
    return [i for i, one in enumerate(operators) if own[i] and one.outputs and one.outputs[0].dtype == "int8"]


def _planned(
    healthy: bytes, float32: bytes, score: Callable[[bytes], float], sign: float, each: int
) -> tuple[list[Fault], list[str]]:
    """Choose the faults, and say which kinds harm in no operator.

    Args:
        score: artifact -> score in the metric's unit.
        sign: 1 where more is better, else -1.
    """
    best, found, none = score(healthy), [], []
    for number, (kind, plant) in enumerate(FAULTS.items()):
        taken: set[int] = set()
        for repeat in range(each):
            if len(taken) < repeat:
                break  # it is harmful in no other operator
            random = np.random.default_rng([number, repeat])
            for place in (int(one) for one in random.permutation(_places(healthy, "range" in kind))):
                if place in taken:
                    continue
                try:
                    faulty = edited(healthy, partial(plant, at=place, random=random))
                    drop = sign * (best - score(faulty))
                except (Inapplicable, IndexError, RuntimeError, ValueError):  # a product of activations has no bias
                    continue
                if drop >= HARM:
                    taken.add(place)
                    found.append(Fault(kind, place, drop, faulty))
                    break
        if len(taken) < each:
            none.append(f"{kind} {len(taken)}")
    random = np.random.default_rng(len(FAULTS))
    chosen = random.permutation(_places(healthy, ranges=False))[:each]
    return [*found, *(_in_float(healthy, float32, int(place)) for place in chosen)], none


def _row(name: str, fault: Fault, known: bool, told: Attribution, seconds: float) -> Row:
    operator = graph.read(fault.artifact).operators[fault.position].name
    places = [{one.position, *one.together} for one in told.suspects]
    if fault.kind == IN_FLOAT:
        places = [{one} for one in dict.fromkeys(change.position for change in told.changes)]
    rank = next((rank for rank, group in enumerate(places, 1) if fault.position in group), None)
    first = told.suspects[0] if told.suspects else None
    named = "" if first is None else f"{first.operator} {first.position} {first.repaired_by}"
    itself = first is not None and first.position == fault.position
    recovered = told.suspects[rank - 1].recovered if rank and fault.kind != IN_FLOAT else 0.0
    return Row(
        name, fault.kind, operator, fault.position, known, rank, named, itself, round(recovered, 3), round(seconds, 1),
        round(fault.drop, 2),
    )  # fmt: skip


def _of_model(name: str, each: int, model_dir: Path) -> tuple[list[Row], list[str]]:
    model = load_models(model_dir)[name]
    float32 = _common.artifact(model, FLOAT_CONTROL).read_bytes()
    healthy = repacked(_common.artifact(model, VARIANT).read_bytes())
    split = model.pack().test
    inputs, labels = model.prepare(rows(split.x, slice(0, SCORED))), split.y[:SCORED]

    def score(artifact: bytes) -> float:
        outputs = LiteRT(artifact).run(inputs)
        return float(model.metric.value(model.metric.predict(outputs, inputs), labels)) * model.metric.scale

    faults, none = _planned(healthy, float32, score, 1 if model.metric.higher_is_better else -1, each)
    print(f"{name}: {len(faults)} faults; {'; '.join(none)}", flush=True)
    found = []
    for fault in faults:
        for known in (True, False) if fault.kind != IN_FLOAT else (True,):
            since = _cpu_seconds()
            subject = explain.Subject(name, fault.artifact, float32, healthy if known else None)
            told = explain.attributed(subject, model)
            found.append(_row(name, fault, known, told, _cpu_seconds() - since))
            print(found[-1], flush=True)
    return found, none


def _cpu_seconds() -> float:
    """Return the CPU time of this process and its finished children; wall time would be that of the machine's load."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def table(found: Sequence[Row]) -> str:
    """Return counts by what was at hand and by model, as Markdown."""
    models = [*dict.fromkeys(row.model for row in found), ""]
    groups = [
        ("accepted artifact at hand", [row for row in found if row.known and row.fault != IN_FLOAT]),
        ("float model alone", [row for row in found if not row.known]),
        (IN_FLOAT, [row for row in found if row.fault == IN_FLOAT]),
    ]
    lines = [
        line
        for words, chosen in groups
        for model in models
        if (line := _line(words, model, [row for row in chosen if row.model == model or not model]))
    ]
    headers = ["model", "faults", "n", "place first", "by its own name", "among three", "median CPU s", "most CPU s"]
    return tabulate(lines, headers, tablefmt="pipe", disable_numparse=True)


def by_kind(found: Sequence[Row]) -> str:
    """Return counts by the kind of the fault, as Markdown."""
    lines = []
    for kind in dict.fromkeys(row.fault for row in found):
        cells: list[object] = [kind]
        for known in (True, False):
            ranks = [row.rank or 99 for row in found if row.fault == kind and row.known == known]
            cells += [len(ranks), sum(rank == 1 for rank in ranks)] if ranks else ["", ""]
        drops = [row.drop for row in found if row.fault == kind and row.known]
        lines.append([*cells, f"{np.median(drops):.1f}" if kind != IN_FLOAT else ""])
    headers = ["fault", "accepted at hand", "first", "float alone", "first", "median drop, pp"]
    return tabulate(lines, headers, tablefmt="pipe", disable_numparse=True)


def _line(words: str, model: str, chosen: Sequence[Row]) -> list[object]:
    if not chosen:
        return []
    ranks, seconds = [row.rank or 99 for row in chosen], [row.seconds for row in chosen]
    firsts = [sum(rank <= most for rank in ranks) for most in (1, 3)]
    own = sum(row.itself for row in chosen) if chosen[0].fault != IN_FLOAT else ""
    return [
        model or "all",
        words,
        len(chosen),
        firsts[0],
        own,
        firsts[1],
        f"{np.median(seconds):.1f}",
        f"{max(seconds):.1f}",
    ]


def main() -> None:
    """Plant, look, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--each", type=int, default=2, help="operators that get each kind of fault")
    parser.add_argument("--model-dir", type=Path, default=Path("models"))
    parser.add_argument("--report-dir", type=Path, default=Path("reports"))
    given = parser.parse_args()
    machine = _common.machine()
    given.report_dir.mkdir(parents=True, exist_ok=True)
    path = given.report_dir / "attribution_plants.json"
    kept = json.loads(path.read_text()) if path.is_file() else {"faults": [], "fewer": {}}
    found = [Row(**row) for row in kept["faults"]]
    fewer = dict(kept["fewer"])
    for name in given.models.split(","):
        more, fewer[name] = _of_model(name, given.each, given.model_dir)
        found = [*(row for row in found if row.model != name), *more]
        files.replace(path, json_text({"faults": [asdict(row) for row in found], "fewer": fewer}))
    words = __doc__.strip().split("\n\n")[-1]
    none = [f"{name}: {', '.join(each)}" for name, each in fewer.items() if each]
    missing = "Fewer operators than asked for, as a fault is harmful in no other: " + "; ".join(none) + "."
    parts = ["# Faults found by explain", words, table(found), by_kind(found), missing if none else "", machine]
    text = "\n\n".join(part for part in parts if part) + "\n"
    files.replace(given.report_dir / "attribution_plants.md", text)
    print(table(found))


if __name__ == "__main__":
    main()
