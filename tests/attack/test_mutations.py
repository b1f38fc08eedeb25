"""Models of others, mutated by what they are made of: each is taken, or refused in one sentence; never anything else.

What was put in on purpose, such as a function or an operator that writes, has to be refused wherever it was put.
The default run tries a twelfth of them (see :func:`damage.examples`), and a tenth of those that are opened in a process
of their own.
"""

import copy
import functools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import damage
import h5py
import numpy as np
import pytest
from damage import Content, Draw, examples, one
from hostile import keras_parts as parts
from hostile import saved_models, tflites
from hypothesis import given
from hypothesis import strategies as st
from quantbench.adopt import formats
from quantbench.errors import BadInput
from quantbench.measure.census import of_file

pytestmark = pytest.mark.slow
SECONDS = 10.0  # of the processor, that a file may take


def refused(use: Callable[[], object], path: Path) -> bool:
    """Whether a file is refused, in one sentence that names it, and in time."""
    began = time.process_time()
    try:
        use()
    except BadInput as error:
        words = str(error)
        assert "\n" not in words
        assert "Traceback" not in words
        assert len(words) < 1500
        assert path.name in words, words
        return True
    finally:
        assert time.process_time() - began < SECONDS
    return False


def check(path: Path) -> None:
    """All that `try` asks of a file before it has it loaded."""
    formats.check_safe(path, formats.detect(path))


# ---------------------------------------------------------------- Keras


CLASSES = [
    "Dense", "Conv2D", "Functional", "Sequential", "RNN", "Bidirectional", "TimeDistributed", "Wrapper", "Activation",
    "Embedding", "StringLookup", "MultiHeadAttention", "TFOpLambda", "InputLayer", "Model", "dense", "", "Dense>Dense",
]  # fmt: skip
MODULES = ["keras.layers", "keras", "keras.src.layers.core.dense", "tf_keras.src.engine.functional", "", None, 7]
EVIL: list[Any] = [
    {"class_name": "Lambda", "config": {"name": "evil", "function": parts.code("lambda x: x")}},
    parts.new_lambda(Path("never")),
    {"class_name": "Thing", "module": "canary_module", "config": {}, "registered_name": "Thing"},
    {"class_name": "function", "module": "os", "config": "system", "registered_name": "system"},
    {"class_name": "os.system", "config": {}},
    {"class_name": "TFOpLambda", "config": {"name": "op", "function": "io.write_file"}},
    {"class_name": "TFOpLambda", "config": {"name": "op", "function": "compat.v1.py_func"}},
    {"class_name": "SlicingOpLambda", "config": {"name": "op", "function": "load_op_library"}},
    {"class_name": "TFSMLayer", "config": {"name": "op", "filepath": "/tmp/x"}, "module": "keras.layers"},
    {"class_name": "ResidualWrapper", "config": {"residual_fn": ["code", None, None], "residual_fn_type": "lambda"}},
]
VALUES: list[Any] = [*damage.OTHERS, *damage.NUMBERS, {"class_name": "Dense"}, {"config": {}}, [["x", 0, 0]], {"a": {}}]


def keras_models() -> list[tuple[str, Any]]:
    """Version and configuration of models with nothing wrong."""
    flat = parts.sequential(parts.dense())
    inner = parts.sequential(parts.dense(), name="inner")
    wrapped = {"class_name": "TimeDistributed", "config": {"name": "each", "layer": parts.dense()}}
    nested = parts.sequential(inner, {"class_name": "Bidirectional", "config": {"name": "both", "layer": wrapped}})
    operator = parts.operator("nn.relu", parts.INPUT, name=None)
    three = parts.sequential3(parts.dense3())
    found = [(parts.KERAS2, parts.modern(config)) for config in (flat, nested, operator)]
    return [*found, (parts.KERAS3, three)]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of everything in a configuration."""
    return damage._paths(value, path)


@st.composite
def mutated_config(draw: Draw, evil: bool) -> tuple[str, Any]:
    """A configuration with classes, modules or types swapped, and with what is hostile put in where asked."""
    version, config = one(draw, keras_models())
    for _ in range(draw(st.integers(0 if evil else 1, 3))):
        path = one(draw, places(config))
        how = one(draw, ["class", "module", "value", "value", "twice", "gone", "wrap"])
        config = _mutated(draw, config, path, how)
    if evil:
        inside = [path for path in places(config) if path[-1] not in ("class_name", "module", "registered_name")]
        config = damage._with(config, one(draw, inside), one(draw, EVIL)) if inside else one(draw, EVIL)
    return version, config


def _mutated(draw: Draw, config: Any, path: tuple[Any, ...], how: str) -> Any:
    if how == "class":
        return damage._with(config, (*path[:-1], "class_name"), one(draw, CLASSES))
    if how == "module":
        return damage._with(config, (*path[:-1], "module"), one(draw, MODULES))
    if how == "wrap":
        old = functools.reduce(lambda value, key: value[key], path, config)
        return damage._with(config, path, {"class_name": one(draw, CLASSES), "config": {"layer": copy.deepcopy(old)}})
    if how == "value":
        return damage._with(config, path, one(draw, VALUES))
    config = copy.deepcopy(config)
    inner = functools.reduce(lambda value, key: value[key], path[:-1], config)
    if how == "gone":
        del inner[path[-1]]
    elif isinstance(inner, list):
        inner.append(copy.deepcopy(inner[path[-1]]))
    return config


def _written(path: Path, version: str, config: Any) -> Path:
    text = json.dumps(config)
    return (parts.h5 if path.suffix == ".h5" else parts.archive)(path, text, version)


EACH_FORM = [
    (".keras", 8),
    (".h5", 6),
    pytest.param(".keras", 150, marks=pytest.mark.nightly),
    pytest.param(".h5", 150, marks=pytest.mark.nightly),
]


@pytest.mark.parametrize(("suffix", "files"), EACH_FORM)
def test_mutated_configurations(tmp_path: Path, suffix: str, files: int) -> None:
    path = tmp_path / f"m{suffix}"

    @examples(files)
    @given(mutated_config(False))
    def each(found: tuple[str, Any]) -> None:
        refused(lambda: check(_written(path, *found)), path)

    each()


@pytest.mark.parametrize(("suffix", "files"), EACH_FORM)
def test_what_is_hostile_is_refused_wherever_it_is(tmp_path: Path, suffix: str, files: int) -> None:
    path = tmp_path / f"m{suffix}"

    @examples(files)
    @given(mutated_config(True))
    def each(found: tuple[str, Any]) -> None:
        assert refused(lambda: check(_written(path, *found)), path), found

    each()


def test_what_is_not_mutated_is_taken(tmp_path: Path) -> None:
    for suffix in (".keras", ".h5"):
        for version, config in keras_models()[: 4 if suffix == ".keras" else 3]:
            path = tmp_path / f"m{suffix}"
            assert not refused(lambda: check(_written(path, version, config)), path)  # noqa: B023


# ---------------------------------------------------------------- SavedModels


DANGEROUS = ["WriteFile", "ReadFile", "PyFunc", "PrintV2", "MatchingFiles", "TextLineDataset", "NobodysOp"]
HARMLESS = [
    "MatMul",
    "Identity",
    "Const",
    "NoOp",
    "AddV2",
    "Relu",
    "Reshape",
    "PartitionedCall",
    "StatefulPartitionedCall",
]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel with nothing wrong."""
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("saved") / "m"
    return saved_models.saved(folder, lambda x: tf.nn.relu(tf.matmul(x, tf.eye(4, 2)) * 2.0))


def _nodes(found: Any) -> list[Any]:
    graph = found.meta_graphs[0].graph_def
    return [*graph.node, *(node for function in graph.library.function for node in function.node_def)]


@st.composite
def mutation_of_a_graph(draw: Draw) -> tuple[list[tuple[str, int, Any]], bool]:
    """What is changed at which node, and whether it has to be refused."""
    steps, evil = [], False
    for _ in range(draw(st.integers(1, 4))):
        how = one(draw, ["harmless", "dangerous", "attribute", "shape", "input", "function", "copy", "name", "device"])
        value: Any = draw(st.integers(0, 2**31))
        if how in ("harmless", "dangerous"):
            value = one(draw, HARMLESS if how == "harmless" else DANGEROUS)
        evil = evil or how == "dangerous"
        steps.append((how, draw(st.integers(0, 10_000)), value))
    steps.sort(key=lambda step: step[0] == "dangerous")  # last, so that no other change undoes it
    return steps, evil


def _apply(found: Any, how: str, at: int, value: Any) -> None:
    nodes = _nodes(found)
    node = nodes[at % len(nodes)]
    library = found.meta_graphs[0].graph_def.library.function
    if how in ("harmless", "dangerous"):
        node.op = value
    elif how == "attribute":
        node.attr["T" if at % 2 else "f"].func.name = library[at % len(library)].signature.name
    elif how == "shape":
        tensor = node.attr["value"].tensor
        tensor.dtype = 1
        tensor.tensor_shape.dim.add().size = value - 2**30
    elif how == "input":
        node.input.append(("^" if at % 2 else "") + nodes[value % len(nodes)].name)
    elif how == "function":
        library[at % len(library)].signature.name = ["x", "", library[value % len(library)].signature.name][at % 3]
    elif how == "copy":
        library.add().CopyFrom(library[at % len(library)])
    elif how == "name":
        node.name = ["", "\x1b[2J", "x" * 10_000, nodes[value % len(nodes)].name][at % 4]
    else:
        node.device = "/job:worker/task:9\x1b[2J"


def test_mutated_graphs(template: Path) -> None:
    whole = (template / "saved_model.pb").read_bytes()
    try:

        @examples(220)
        @given(mutation_of_a_graph())
        def each(mutation: tuple[list[tuple[str, int, Any]], bool]) -> None:
            steps, evil = mutation
            (template / "saved_model.pb").write_bytes(whole)
            found = saved_models.read(template)
            for step in steps:
                _apply(found, *step)
            (template / "saved_model.pb").write_bytes(found.SerializeToString())
            assert refused(lambda: check(template), template) or not evil, steps

        each()

        @examples(120)
        @given(damage.damaged_bytes(Content(whole)))
        def damaged(content: bytes) -> None:
            (template / "saved_model.pb").write_bytes(content)
            refused(lambda: check(template), template)

        damaged()
    finally:
        (template / "saved_model.pb").write_bytes(whole)
    assert not refused(lambda: check(template), template)


# ---------------------------------------------------------------- HDF5


@st.composite
def mutation_of_hdf5(draw: Draw) -> list[tuple[str, str, Any]]:
    """What is changed at which object."""
    names = ["model_weights", "model_weights/dense", "model_weights/dense/dense/kernel:0", "model_weights/dense/dense"]
    ways = [
        "attribute",
        "attribute",
        "external link",
        "soft link",
        "hard link",
        "external",
        "virtual",
        "shape",
        "type",
        "gone",
    ]
    return [(one(draw, ways), one(draw, names), draw(st.integers(0, 2**20))) for _ in range(draw(st.integers(1, 3)))]


def _attribute(number: int) -> Any:
    values = [b"", b"x" * 5000, 7, np.zeros(9), np.array([b"a", b"b"]), h5py.Empty("f4"), "\x1b[2J", -1, np.nan, True]
    return values[number % len(values)]


def _change_hdf5(file: h5py.File, how: str, name: str, number: int) -> bool:
    """Change one thing; whether the file leads outside now."""
    if how == "attribute":
        known = [*file.attrs] if number % 2 else ["layer_names", "weight_names", "x"]
        (file if number % 2 else file.get(name, file)).attrs[known[number % len(known)]] = _attribute(number // 2)
        return False
    if name in file:
        del file[name]
    if how == "external link":
        file[name] = h5py.ExternalLink(["/etc/passwd", "other.h5", "../other.h5"][number % 3], "/x")
    elif how == "soft link":
        file[name] = h5py.SoftLink(["/", name, "/nowhere", "model_weights"][number % 4])
    elif how == "hard link":
        file[name] = file["/"]
    elif how == "external":
        file.create_dataset(name, (4, 2), "f4", external=[("/etc/passwd", 0, 32)])
    elif how == "virtual":
        layout = h5py.VirtualLayout((4, 2), "f4")
        layout[:] = h5py.VirtualSource("other.h5", "x", (4, 2))
        file.create_virtual_dataset(name, layout)
    elif how == "shape":
        file.create_dataset(name, (number + 1, 2**20), "f4", chunks=(1, 2**10))
    elif how == "type":
        kinds = [h5py.string_dtype(), h5py.ref_dtype, "S10", "c16", np.dtype([("a", "f4")]), h5py.vlen_dtype("i4")]
        file.create_dataset(name, (4,), kinds[number % len(kinds)])
    return how in ("external link", "external", "virtual")


@pytest.mark.parametrize("files", [13, pytest.param(270, marks=pytest.mark.nightly)])
def test_mutated_hdf5(tmp_path: Path, files: int) -> None:
    path = tmp_path / "m.h5"
    whole = parts.h5(path, parts.sequential(parts.dense())).read_bytes()

    @examples(files * 5 // 9)
    @given(mutation_of_hdf5())
    def each(steps: list[tuple[str, str, Any]]) -> None:
        path.write_bytes(whole)
        evil = ""
        with h5py.File(path, "a") as file:
            for how, name, number in steps:
                if evil and (evil.startswith(name) or how in ("gone", "soft link", "hard link")):
                    continue  # it would be gone again
                try:
                    evil = name if _change_hdf5(file, how, name, number) else evil
                except (KeyError, ValueError, OSError, TypeError, RuntimeError):  # HDF5 itself will not write that
                    continue
            evil = evil if evil and file.get(evil, getlink=True) is not None else ""
        assert refused(lambda: check(path), path) or not evil, steps

    each()

    @examples(files * 4 // 9)
    @given(damage.damaged_bytes(Content(whole)))
    def damaged(content: bytes) -> None:
        path.write_bytes(content)
        refused(lambda: check(path), path)

    damaged()


# ---------------------------------------------------------------- flatbuffers


@st.composite
def mutated_tables(draw: Draw) -> Content:
    """Offsets, lengths and tables of fields swapped for others of the same file, so that tables are shared."""
    content = bytearray(tflites.packed(tflites.model()))
    words = len(content) // 4
    for _ in range(draw(st.integers(1, 5))):
        at = 4 * draw(st.integers(2, words - 1))
        how = one(draw, ["other", "near", "large", "zero", "half"])
        old = int.from_bytes(content[at : at + 4], "little")
        if how == "other":  # as another offset, so that it leads to what that leads to
            other = 4 * draw(st.integers(2, words - 1))
            new = other + int.from_bytes(content[other : other + 4], "little") - at
        elif how == "near":
            new = old + draw(st.integers(-16, 16))
        elif how == "large":
            new = one(draw, [2**31 - 1, 2**31, 2**32 - 1, 2**16, 2**24, len(content), len(content) // 4])
        elif how == "half":
            new = (old & 0xFFFF0000) | draw(st.integers(0, 64))
        else:
            new = 0
        content[at : at + 4] = (new % 2**32).to_bytes(4, "little")
    return Content(content)


@st.composite
def mutated_model(draw: Draw) -> Content:
    """Fields of a model set to what does not fit them."""
    found = tflites.model()
    graph = found.subgraphs[0]
    numbers = [-1, 0, 1, 3, 4, 99, 2**31 - 1, -(2**31)]
    for _ in range(draw(st.integers(1, 4))):
        owner = one(draw, [found, graph, *graph.tensors, *graph.operators, *found.operatorCodes, *found.buffers])
        field = one(draw, sorted(vars(owner)))
        old = getattr(owner, field)
        if isinstance(old, bool) or old is None:
            continue
        if isinstance(old, int):
            new: Any = one(draw, numbers)
            new = abs(new) if field in ("buffer", "opcodeIndex", "version", "offset", "size") else new
            new = new % 100 if field in ("type", "builtinOptionsType", "deprecatedBuiltinCode") else new
        elif isinstance(old, list) and old and isinstance(old[0], int):
            new = one(draw, [[], [one(draw, numbers)], [one(draw, numbers), *old], old * 50])
        elif isinstance(old, list):
            new = one(draw, [[], old * 2, old[:1] * 30, old[1:]])
        elif isinstance(old, str):
            new = one(draw, ["", "\x1b[2J", "x" * 5000])
        else:
            new = None
        setattr(owner, field, new)
    try:
        return Content(tflites.packed(found))
    except Exception:  # the library itself will not write that
        return Content(tflites.packed(tflites.model()))


def test_mutated_flatbuffers(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"

    @examples(300)
    @given(st.one_of(mutated_tables(), mutated_model()))
    def each(content: bytes) -> None:
        path.write_bytes(content)
        refused(lambda: of_file(path), path)

    each()
    assert not refused(lambda: of_file(tflites.healthy(path)), path)
