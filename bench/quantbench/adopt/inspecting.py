"""Look at a ``.tflite`` that another tool has built: how it is quantized, what runs it, and whether it fits a model.

The file is parsed as a flatbuffer here, and loaded by LiteRT in a process behind walls.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from quantbench import files
from quantbench.adopt import formats
from quantbench.adopt.formats import Specs
from quantbench.errors import BadInput
from quantbench.gate import violations
from quantbench.measure import census
from quantbench.records import Census, Compiled, Structure
from quantbench.safety import tflite
from quantbench.tflite import graph as graphs
from quantbench.tflite.compiled import compiled_of
from quantbench.tflite.graph import Graph
from quantbench.variants import VARIANTS, built

_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV")


@dataclass(frozen=True)
class Inspected:
    """Hold what a file is.

    Attributes:
        inputs: name -> shape and dtype; float32 where they are quantized on the way; empty for a compiled file.
        outputs: name -> shape, of one example.
        shapes: of the inputs, of one example, in the file's order.
        compiled: None where LiteRT runs the file itself.
    """

    path: Path
    sha256: str
    bytes: int
    census: Census
    structure: Structure
    inputs: Specs
    outputs: dict[str, tuple[int, ...]]
    compiled: Compiled | None
    shapes: tuple[tuple[int, ...], ...] = ()


def inspect(path: Path) -> Inspected:
    """Look at a file.

    Raises:
        BadInput: it is no ``.tflite``, damaged, or LiteRT lacks an operator or cannot load it.
    """
    if not path.exists():
        raise BadInput(f"{path}: no such file; expected a .tflite that another tool has built")
    files.check_tree(path, "the artifact")
    content = tflite.content(path)
    if content.startswith(_LFS_POINTER):
        raise BadInput(f"{path}: is a pointer of Git LFS, and not the file itself; run git lfs pull")
    try:
        graph = graphs.read(content)
    except ValueError as error:
        raise BadInput(
            f"{path}: cannot be read: {' '.join(str(error).split())[:300]}; build or copy it again"
        ) from None
    compiled = compiled_of(graph)
    inputs: Specs = {}
    if compiled is None:
        graph, specs = formats.tflite_graph(path)
        inputs = formats.fed_as_float(path, specs)
    found = census.census(content)
    outputs = dict(zip(_output_names(graph), (tuple(one.shape[1:]) for one in graph.outputs), strict=True))
    sha256 = hashlib.sha256(content).hexdigest()
    shapes = tuple(tuple(one.shape[1:]) for one in graph.inputs)
    return Inspected(path, sha256, len(content), found, structure_of(found), inputs, outputs, compiled, shapes)


def _output_names(graph: Graph) -> list[str]:
    """Name the outputs as LiteRT does, in the file's order; the only one has an empty name."""
    if len(graph.outputs) == 1:
        return [""]
    names = [one.name for one in graph.outputs]
    for name, place in next(iter(graph.signatures.values())).outputs.items() if graph.signatures else ():
        if 0 <= place < len(names):
            names[place] = name
    return names


def structure_of(found: Census) -> Structure:
    """Sum up how a file is quantized."""
    computes = {one.index: one.precision for one in found.compute}
    own = [one for one in found.compute if not one.again and one.weights is not None]
    convolutions = [one.granularity or "float" for one in own if one.operator in _CONVOLUTIONS]
    return Structure(
        layers=len(computes),
        weights=dict(Counter(str(one.weights) for one in own)),
        computes=dict(Counter(computes.values())),
        granularity=dict(Counter(convolutions)),
        inputs=[port.dtype for port in found.inputs],
        outputs=[port.dtype for port in found.outputs],
        keeps=[name for name, of in built.SPECS.items() if not violations(VARIANTS[of].promise, found)],
    )


def operators_left(one: Inspected) -> int | None:
    """Count the operators that an accelerator does not take; None for a file that is not compiled."""
    if one.compiled is None:
        return None
    return sum(one.compiled.left.values())


# ---------------------------------------------------------------- whether it fits a model


def check_fits(one: Inspected, inputs: Specs, outputs: Mapping[str, tuple[int, ...]], model: str) -> None:
    """Raise BadInput where a file takes or gives something else than the model that it is compared with.

    Args:
        inputs: of the model: name -> shape with the batch first, and dtype.
        outputs: name, empty where it is the only one -> shape of one example's output.
        model: as the user named it.
    """
    _check_inputs(one, inputs, model)
    if set(one.outputs) != set(outputs):
        raise BadInput(
            f"{one.path}: its outputs are {_named(one.outputs)}, and those of {model} {_named(outputs)}: expected the "
            "same names, by which outputs are matched; build it with the signature of the float model"
        )
    for name, shape in outputs.items():
        if _size(one.outputs[name]) != _size(shape) or (one.outputs[name] != shape and -1 not in one.outputs[name]):
            what = f"output {name}" if name else "its output"
            raise BadInput(
                f"{one.path}: {what} has shape {_shape(one.outputs[name])}, and that of {model} {_shape(shape)}: "
                "expected the same; is it a file of this model?"
            )


def check_shapes(one: Inspected, inputs: Specs, outputs: Mapping[str, tuple[int, ...]], model: str) -> None:
    """Raise BadInput where a compiled file has inputs or outputs of other sizes; its compiler may have renamed them."""
    pairs = {
        "inputs": (one.shapes, [tuple(shape[1:]) for shape, _ in inputs.values()]),
        "outputs": (one.outputs.values(), outputs.values()),
    }
    for what, (found, wanted) in pairs.items():
        if not _fit(found, wanted):
            shapes = [", ".join(map(_shape, each)) for each in (found, wanted)]
            raise BadInput(
                f"{one.path}: its {what} have shape {shapes[0]}, and those of {model} {shapes[1]}: expected the same; "
                "is it compiled of this model?"
            )


def _fit(found: Iterable[tuple[int, ...]], wanted: Iterable[tuple[int, ...]]) -> bool:
    """Check whether shapes hold as many values as those wanted, in any order; a free dimension is of any size."""
    left = sorted(map(_size, found))
    for shape in sorted(wanted, key=lambda shape: (_is_free(shape), -_size(_fixed(shape)))):
        size, free = _size(_fixed(shape)), _is_free(shape)
        one = next((each for each in left if each == size or (free and each % size == 0)), None)
        if one is None:
            return False
        left.remove(one)
    return not left


def _fixed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size for size in shape if size not in (None, -1))


def _is_free(shape: tuple[int, ...]) -> bool:
    return len(_fixed(shape)) < len(shape)


def _check_inputs(one: Inspected, inputs: Specs, model: str) -> None:
    if len(one.inputs) != len(inputs) or (len(inputs) > 1 and set(one.inputs) != set(inputs)):
        raise BadInput(
            f"{one.path}: its inputs are {_named(one.inputs)}, and those of {model} {_named(inputs)}: expected the "
            "same names, by which examples are given to it; build it with the signature of the float model"
        )
    pairs = [(name, one.inputs[name], inputs[name]) for name in inputs] if len(inputs) > 1 else []
    pairs = pairs or [("", next(iter(one.inputs.values())), next(iter(inputs.values())))]
    for name, (shape, dtype), (wanted, of) in pairs:
        what = f"input {name}" if name else "its input"
        if tuple(shape[1:]) != tuple(wanted[1:]):
            order = sorted(shape[1:]) == sorted(wanted[1:])
            hint = "; its axes are in another order (NCHW?)" if order else "; is it a file of this model?"
            raise BadInput(
                f"{one.path}: {what} has shape {_shape(shape[1:])}, and that of {model} {_shape(wanted[1:])}: expected "
                f"the same{hint}"
            )
        if np.dtype(dtype) != np.dtype(of):
            raise BadInput(
                f"{one.path}: {what} is {np.dtype(dtype).name} without a scale, and that of {model} "
                f"{np.dtype(of).name}: expected the same, or integers with a scale; build it with a quantized input"
            )


def _size(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape)) if shape else 1


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(str(size) for size in shape) or "()"


def _named(ports: Mapping[str, object]) -> str:
    return ", ".join(name or "one without a name" for name in ports)
