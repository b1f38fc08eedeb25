"""The first wall for Keras files: nothing is loaded that does more than rebuild Keras' own layers and their weights."""

import base64
import io
import json
import marshal
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import SOURCE, run_script
from quantbench.adopt import formats
from quantbench.errors import BadInput
from quantbench.safety import archive, hdf5, hdf5_worker, keras_config

Config = dict[str, Any]
VERSIONS = {"keras2": "2.15.0", "keras3": "3.4.0"}


ASKED = hdf5._asked


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that this module writes are whole: no process of its own (half a second) for each of some 200."""
    monkeypatch.setattr(hdf5, "_asked", lambda job, path: hdf5_worker.run(job))


# ---------------------------------------------------------------- files


def layer(kind: str, config: Config | None = None, **more: Any) -> Config:
    return {"class_name": kind, "config": {"name": "evil", **(config or {})}, **more}


def model(*layers: Config) -> Config:
    inputs = {"class_name": "InputLayer", "config": {"name": "x", "batch_input_shape": [None, 4], "dtype": "float32"}}
    return {"class_name": "Sequential", "config": {"name": "m", "layers": [inputs, *layers]}}


def weights() -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.create_dataset("layers/dense/vars/0", data=np.ones((4, 2), np.float32))
    return buffer.getvalue()


def keras_file(path: Path, config: Any, form: str = "keras2", content: bytes | None = None, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("metadata.json", json.dumps({"keras_version": VERSIONS[form]}))
        made.writestr("config.json", config if isinstance(config, bytes) else json.dumps(config))
        made.writestr("model.weights.h5", weights() if content is None else content)
        for name, more in members.items():
            made.writestr(name, more)
    return path


def h5_file(path: Path, config: Any, form: str = "keras2") -> Path:
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = VERSIONS[form]
        file.attrs["model_config"] = config if isinstance(config, bytes | str) else json.dumps(config)
        file.create_dataset("model_weights/dense/kernel:0", data=np.ones((4, 2), np.float32))
    return path


def check(path: Path, allow_code: bool = False) -> None:
    formats.check_safe(path, formats.detect(path), allow_code)


# ---------------------------------------------------------------- configurations


def activated(name: str, module: str | None, registered: str | None = None) -> Config:
    """A layer whose activation is a function that is named as Keras names those of others."""
    function = {"class_name": "function", "config": name, "module": module, "registered_name": registered}
    return layer("Dense", {"activation": function})


IMPURE = [
    *("io.write_file", "io.read_file", "io.gfile.rmtree", "io.gfile.copy", "io.matching_files", "load_op_library"),
    *("load_library", "compat.v1.load_file_system_library", "compat.v1.gfile.DeleteRecursively", "raw_ops.WriteFile"),
    *("compat.v1.write_file", "keras.utils.get_file", "keras.models.load_model", "py_function", "numpy_function"),
    *("compat.v1.py_func", "print", "map_fn", "while_loop", "function", "saved_model.load", "data.Dataset.list_files"),
    *("summary.create_file_writer", "nn.fixed_unigram_candidate_sampler", "nn.__class__", "compat.v1.compat.v1.abs"),
    *("distribute.cluster_resolver.SlurmClusterResolver", "profiler.experimental.start", "config.set_visible_devices"),
    *("debugging.experimental.enable_dump_debug_info", "sysconfig.get_lib", "audio.decode_wav", "image.decode_jpeg"),
]
CELL = {"class_name": "LSTMCell", "config": {"units": 4}}
MARSHALLED = base64.b64encode(marshal.dumps((lambda a, b: a).__code__)).decode()
EVIL: list[tuple[str, Config, str]] = [
    *(("keras2", layer("TFOpLambda", {"function": name}), f"calls tf.{name}, which is not a pure") for name in IMPURE),
    ("keras2", layer("SlicingOpLambda", {"function": "io.write_file"}), "(SlicingOpLambda) calls tf.io.write_file"),
    ("keras2", layer("TFOpLambda", {"function": ["io.write_file"]}), "(TFOpLambda) calls"),
    ("keras2", layer("TFOpLambda", {"function": {"a": 1}}), "(TFOpLambda) calls"),
    ("keras2", layer("TFOpLambda"), "(TFOpLambda) calls"),
    ("keras2", layer("TensorFlowOpLayer", {"node_def": {"op": "WriteFile"}}), "runs WriteFile, which is not a pure"),
    ("keras2", layer("TensorFlowOpLayer", {"node_def": {"op": "PyFunc"}}), "runs PyFunc, which is not a pure"),
    ("keras2", layer("TensorFlowOpLayer", {"node_def": "\n\x01w\x12\tWriteFile"}), "an operator that cannot be read"),
    ("keras2", layer("ClassMethod", {"cls_symbol": "data.Dataset", "method_name": "list_files"}), "data.Dataset.list"),
    ("keras2", layer("ClassMethod", {"cls_symbol": "RaggedTensor", "method_name": "__reduce__"}), "__reduce__"),
    ("keras2", layer("InstanceMethod", {"attr_name": "__getattribute__"}), "uses '__getattribute__' of a tensor"),
    ("keras2", layer("InstanceProperty", {"attr_name": "graph"}), "uses 'graph' of a tensor"),
    *((form, layer("Lambda", {"function": ["4wEA", None, None]}), "is a Lambda, which runs") for form in VERSIONS),
    *((form, layer("Dense", {"activation": {"class_name": "__lambda__", "config": {}}}), "is a Lambda")
      for form in VERSIONS),
    ("keras2", layer("RNN", {"cell": {"class_name": "ResidualWrapper", "config": {
        "cell": CELL, "residual_fn": [MARSHALLED, None, None], "residual_fn_type": "lambda"}}}),
     "has a residual_fn of its own"),
    ("keras2", layer("RNN", {"cell": {"class_name": "ResidualWrapper", "config": {
        "cell": CELL, "residual_fn_type": "lambda"}}}), "has a residual_fn_type of 'lambda'"),
    ("keras2", layer("RNN", {"cell": {"class_name": "DropoutWrapper", "config": {
        "cell": CELL, "dropout_state_filter_visitor": "f", "dropout_fn_type": "function"}}}), "dropout_state_filter"),
    ("keras2", layer("Bidirectional", {"layer": layer("RNN", {"cell": {"class_name": "StackedRNNCells", "config": {
        "cells": [{"class_name": "ResidualWrapper", "config": {"cell": CELL, "residual_fn_type": "function"}}]}}})}),
     "has a residual_fn_type of 'function'"),
    ("keras2", layer("TimeDistributed", {"layer": model(layer("Lambda"))}), "is a Lambda"),
    ("keras2", layer("Anything", {"output_shape_type": "lambda"}), "of the class 'Anything'"),
    ("keras2", layer("Masking", {"mask_type": "lambda"}), "has a mask_type of 'lambda'"),
    *((form, layer("Dense", module=module), f"(Dense) is to be imported from '{module}'") for form in VERSIONS
      for module in ("evil", "os", "builtins", "keras.utils", "keras.src.utils.file_utils", "keras.saving", "kerasevil",
                     "keras.src", "tensorflow", "tf_kerasevil.layers", "keras.src.layers.core.lambda_layer", "keras.")),
    *((form, activated("system", module, registered), "calls the function") for form in VERSIONS
      for module in ("builtins", "os", "keras.utils", None) for registered in (None, "system")),
    *((form, activated("relu", "builtins", "exec"), "calls the function 'builtins.exec'") for form in VERSIONS),
    *((form, activated("relu", "os"), "calls the function 'os.relu'") for form in VERSIONS),
    *((form, layer("Dense", module="keras.layers", registered_name="Evil>Dense"), "registered as 'Evil>Dense'")
      for form in VERSIONS),
    *((form, layer("get_file", module="keras.utils"), "of the class 'get_file'") for form in VERSIONS),
    *((form, layer("load_model", module="keras.models"), "of the class 'load_model'") for form in VERSIONS),
    *((form, layer("Evil>Dense"), "of the class 'Evil>Dense'") for form in VERSIONS),
    *((form, layer("Dense.call", module="keras.layers"), "of the class 'Dense.call'") for form in VERSIONS),
    *((form, layer(""), "of the class ''") for form in VERSIONS),
    *((form, layer(["Dense"]), "a class_name that is no name") for form in VERSIONS),  # type: ignore[arg-type]
    *((form, layer("StringLookup", {"vocabulary": "/etc/passwd"}), "reads its vocabulary from a file")
      for form in VERSIONS),
    *((form, layer("TextVectorization", {"vocabulary": {"class_name": "__bytes__", "config": {"value": "/x"}}}),
       "reads its vocabulary from a file") for form in VERSIONS),
    *((form, layer("IntegerLookup", {"vocabulary": {"class_name": "__tensor__", "config": {"value": "/x"}}}),
       "reads its vocabulary from a file") for form in VERSIONS),
    *(("keras3", layer(name, module="keras.layers"), f"is a {name}, which") for name in
      ("TFSMLayer", "JaxLayer", "FlaxLayer", "TorchModuleWrapper")),
    *(("keras3", layer(name, module="keras.src.ops.core"), "calls functions that are given to it") for name in
      ("Map", "Scan", "WhileLoop", "ForiLoop", "Cond", "Switch", "VectorizedMap", "AssociativeScan")),
    *(("keras2", layer(name), "builds feature columns") for name in ("DenseFeatures", "SequenceFeatures")),
    *((form, layer("Dense", {"activation": name}), f"has the activation '{name}'") for form in VERSIONS
      for name in ("os.system", "deserialize", "get", "Evil>f", "keras.utils.get_file")),
    *((form, layer("Dense", {"kernel_initializer": "deserialize"}), "has the kernel_initializer") for form in VERSIONS),
    *((form, layer("Dense", {"bias_regularizer": "deserialize"}), "has the bias_regularizer") for form in VERSIONS),
    *((form, layer("Dense", {"kernel_constraint": "a.b"}), "has the kernel_constraint") for form in VERSIONS),
    ("keras3", layer("InputLayer", {"spec": {"class_name": "__typespec__", "spec_name": "Popen", "config": [],
                                             "module": "subprocess", "registered_name": None}}), "of the type 'Popen'"),
    ("keras2", layer("InputLayer", {"spec": {"class_name": "__typespec__", "spec_name": "TensorSpec", "module": "evil",
                                             "registered_name": None, "config": []}}), "has an input of the type"),
    ("keras2", layer("InputLayer", {"spec": {"class_name": "TypeSpec", "type_spec": "tf.data.IteratorSpec",
                                             "serialized": []}}), "has an input of the type"),
    ("keras2", layer("InputLayer", {"spec": {"class_name": "CompositeTensor", "spec": {}, "tensors": []}}),
     "is a CompositeTensor"),
    *((form, {**model(), "name": "evil", "compile_config": {"loss": layer("function", module="evil")}}, "calls the fun")
      for form in VERSIONS),
    *((form, layer("Dense", {}, build_config={"class_name": "Evil", "config": {}}), "of the class 'Evil'")
      for form in VERSIONS),
]  # fmt: skip


@pytest.mark.parametrize("container", [keras_file, h5_file], ids=["keras", "h5"])
@pytest.mark.parametrize(
    ("form", "evil", "words"), EVIL, ids=[f"{i}-{form}-{evil['class_name']}" for i, (form, evil, _) in enumerate(EVIL)]
)
def test_what_is_not_on_the_lists_is_refused(
    tmp_path: Path, form: str, evil: Config, words: str, container: Callable[..., Path]
) -> None:
    path = container(tmp_path / ("m.h5" if container is h5_file else "m.keras"), model(layer("Dense"), evil), form)
    with pytest.raises(BadInput) as caught:
        check(path)
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"{path}: layer 'evil' ")
    assert "\n" not in str(caught.value)


FINE: list[tuple[str, Config]] = [
    *(("keras2", layer("TFOpLambda", {"function": name})) for name in
      ("math.multiply", "nn.relu", "__operators__.add", "compat.v1.gather", "compat.v1.transpose", "image.resize",
       "reshape", "concat", "math.reduce_mean", "cast", "clip_by_value", "keras.backend.mean")),
    ("keras2", layer("SlicingOpLambda", {"function": "__operators__.getitem"})),
    ("keras2", layer("TensorFlowOpLayer", {"node_def": {"op": "AddV2", "name": "a"}})),
    ("keras2", layer("ClassMethod", {"cls_symbol": "RaggedTensor", "method_name": "from_row_splits"})),
    ("keras2", layer("RNN", {"cell": {"class_name": "ResidualWrapper", "config": {"cell": CELL}}})),
    ("keras2", layer("Dense", module="keras.layers", registered_name=None)),
    ("keras2", layer("TFOpLambda", {"function": "math.add"}, module="keras.src.layers.core.tf_op_layer",
                     registered_name="TFOpLambda")),
    ("keras2", layer("TFOpLambda", {"function": "math.add"}, module="tf_keras.src.layers.core.tf_op_layer")),
    ("keras3", layer("Add", module="keras.src.ops.numpy", registered_name="Add")),
    ("keras3", layer("Functional", module="keras.src.models.functional", registered_name="Functional")),
    *((form, layer("StringLookup", {"vocabulary": ["a", "b"]})) for form in VERSIONS),
    *((form, layer("StringLookup", {"vocabulary": None})) for form in VERSIONS),
    *((form, layer("Dense", {"activation": "swish", "kernel_initializer": "he_normal", "bias_regularizer": "l2"}))
      for form in VERSIONS),
    *((form, {"class_name": "function", "config": "relu", "module": "builtins", "registered_name": "relu"})
      for form in VERSIONS),
]  # fmt: skip


@pytest.mark.parametrize("container", [keras_file, h5_file], ids=["keras", "h5"])
@pytest.mark.parametrize(("form", "fine"), FINE, ids=[f"{i}-{form}" for i, (form, _) in enumerate(FINE)])
def test_what_is_on_the_lists_is_not_refused(
    tmp_path: Path, form: str, fine: Config, container: Callable[..., Path]
) -> None:
    check(container(tmp_path / ("m.h5" if container is h5_file else "m.keras"), model(fine), form))


@pytest.mark.parametrize("form", VERSIONS)
def test_what_the_outermost_model_is_compiled_with_is_never_read(tmp_path: Path, form: str) -> None:
    check(keras_file(tmp_path / "m.keras", {**model(), "compile_config": {"loss": layer("MyLoss")}}, form))


@pytest.mark.parametrize("form", VERSIONS)
def test_a_trusted_file_may_carry_code_but_no_bomb(tmp_path: Path, form: str) -> None:
    path = keras_file(tmp_path / "m.keras", model(layer("Lambda"), layer("Own", module="mine")), form)
    check(path, allow_code=True)
    bomb = io.BytesIO()
    with h5py.File(bomb, "w") as file:
        file.create_dataset("x", shape=(2**33,), dtype="f4", chunks=(2**20,))
    with pytest.raises(BadInput, match="its datasets declare more than"):
        check(keras_file(tmp_path / "m.keras", model(), form, bomb.getvalue()), allow_code=True)


@pytest.mark.parametrize("container", [keras_file, h5_file], ids=["keras", "h5"])
def test_a_key_that_is_there_twice_hides_nothing(tmp_path: Path, container: Callable[..., Path]) -> None:
    text = b'{"class_name": "Sequential", "config": {"class_name": "CompositeTensor"}, "config": {}}'
    path = container(tmp_path / ("m.h5" if container is h5_file else "m.keras"), text)
    with pytest.raises(BadInput, match="a key is there twice"):
        check(path)


def test_both_halves_of_a_file_that_is_two_are_read_as_keras_does(tmp_path: Path) -> None:
    fine, evil = h5_file(tmp_path / "fine.h5", model()), h5_file(tmp_path / "evil.h5", model(layer("Lambda")))
    good, bad = keras_file(tmp_path / "g.keras", model()), keras_file(tmp_path / "b.keras", model(layer("Lambda")))
    for first, second, name in ((fine, bad, "m.keras"), (evil, good, "m.h5"), (evil, good, "m"), (fine, bad, "m")):
        both = tmp_path / name
        both.write_bytes(first.read_bytes() + second.read_bytes())
        with pytest.raises(BadInput, match="is a Lambda"):
            check(both)


def test_hdf5_behind_a_user_block_is_hdf5(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "m.h5", "w", userblock_size=1024) as file:
        file.attrs["keras_version"] = "2.15.0"
        file.attrs["model_config"] = json.dumps(model(layer("Lambda")))
    with pytest.raises(BadInput, match="is a Lambda"):
        keras_config.check(tmp_path / "m.h5", "keras2")


@pytest.mark.parametrize("text", [b"\xff", b"[" * 100_000, b"nul", np.array([b"{}", b"{}"]), 5, "{" * 10])
def test_a_configuration_that_is_no_text_of_json_is_refused(tmp_path: Path, text: Any) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.attrs["keras_version"] = "2.15.0"
        file.attrs["model_config"] = text
    with pytest.raises(BadInput, match=r"m\.h5: model_config is not"):
        check(tmp_path / "m.h5")


# ---------------------------------------------------------------- HDF5


def external_storage(file: h5py.File, outside: Path) -> None:
    outside.write_bytes(b"secret" * 100)
    file.create_dataset("w", shape=(4,), dtype="f4", external=[(str(outside), 0, 16)])


def external_link(file: h5py.File, outside: Path) -> None:
    with h5py.File(outside, "w") as other:
        other["w"] = np.ones(4)
    file["w"] = h5py.ExternalLink(str(outside), "/w")


def soft_link(file: h5py.File, outside: Path) -> None:
    file["w"] = h5py.SoftLink("/elsewhere")


def virtual(file: h5py.File, outside: Path) -> None:
    with h5py.File(outside, "w") as other:
        other["w"] = np.ones(4)
    layout = h5py.VirtualLayout(shape=(4,), dtype="f8")
    layout[:] = h5py.VirtualSource(str(outside), "w", shape=(4,))
    file.create_virtual_dataset("w", layout)


def circle(file: h5py.File, outside: Path) -> None:
    group = file.create_group("a")
    group["b"] = file["/"]


def linked_twice(file: h5py.File, outside: Path) -> None:
    file["w"] = np.ones(4)
    file["v"] = file["w"]


def never_written(file: h5py.File, outside: Path) -> None:
    file.create_dataset("w", shape=(2**33,), dtype="f4", chunks=(2**20,))


def compressed(file: h5py.File, outside: Path) -> None:
    made = file.create_dataset("w", shape=(2**34,), dtype="u1", chunks=(2**20,), compression="gzip")
    made[: 2**20] = 0


def foreign_filter(file: h5py.File, outside: Path) -> None:
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_chunk((4,))
    plan.set_filter(32015, h5py.h5z.FLAG_OPTIONAL)
    space = h5py.h5s.create_simple((4,))
    h5py.h5d.create(file.id, b"w", h5py.h5t.IEEE_F32LE, space, plan)


def words(file: h5py.File, outside: Path) -> None:
    file.create_dataset("w", data=["a" * 1000] * 10, dtype=h5py.string_dtype())


def references(file: h5py.File, outside: Path) -> None:
    file.create_dataset("w", data=[file["/"].ref], dtype=h5py.ref_dtype)


def too_deep(file: h5py.File, outside: Path) -> None:
    file.create_group("/".join("a" * (hdf5_worker._DEEPEST + 2)))


def too_many(file: h5py.File, outside: Path) -> None:
    for index in range(12):
        file.create_group(str(index))


def endless_names(content: bytes) -> bytes:
    """The free space of each group's names, a list in the file, begins again at its end: HDF5 turns in circles."""
    found, at = bytearray(content), -1
    while (at := content.find(b"HEAP", at + 1)) >= 0:
        size, free, begin = struct.unpack_from("<QQQ", content, at + 8)
        if free < size:
            struct.pack_into("<Q", found, begin + free, free)
    assert bytes(found) != content
    return bytes(found)


def endless_tree(content: bytes) -> bytes:
    """The tree of each group's members is its own branch: HDF5 goes down until its stack ends."""
    found, at = bytearray(content), -1
    while (at := content.find(b"TREE", at + 1)) >= 0:
        found[at + 5] = 1  # level
        struct.pack_into("<Q", found, at + 32, at)
    assert bytes(found) != content
    return bytes(found)


REACHING: list[tuple[Callable[[h5py.File, Path], None], str]] = [
    (external_storage, "dataset '/w' has its bytes in another file"),
    (external_link, "'/w' is a link into another file"),
    (soft_link, "'/w' is a soft link"),
    (virtual, "dataset '/w' is a virtual one"),
    (circle, "'/a/b' is linked to twice"),
    (linked_twice, "is linked to twice"),
    (never_written, "its datasets declare more than"),
    (compressed, "its datasets declare more than"),
    (foreign_filter, "dataset '/w' needs filter 32015"),
    (words, "dataset '/w' holds values of varying lengths"),
    (references, "dataset '/w' holds references"),
    (too_deep, "its groups are nested more than 200 levels deep"),
    (too_many, "it has more than 10 groups and datasets"),
]


@pytest.mark.parametrize(("make", "words"), REACHING, ids=[make.__name__ for make, _ in REACHING])
def test_hdf5_that_reaches_out_or_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[h5py.File, Path], None], words: str
) -> None:
    if make is too_many:
        monkeypatch.setattr(hdf5_worker, "_MOST_OBJECTS", 10)
    with h5py.File(tmp_path / "m.h5", "w") as file:
        make(file, tmp_path / "outside")
        file.attrs["keras_version"] = "2.15.0"
        file.attrs["model_config"] = json.dumps(model())
    with pytest.raises(BadInput) as caught:
        check(tmp_path / "m.h5")
    assert words in str(caught.value)
    inner = (tmp_path / "m.h5").read_bytes()
    with pytest.raises(BadInput) as caught:
        check(keras_file(tmp_path / "m.keras", model(), "keras3", inner))
    assert str(caught.value).startswith(f"{tmp_path / 'm.keras'}: model.weights.h5: ")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        # Which limit comes first depends on the processor.
        (endless_names, r"(reading it takes more than 2 s|reading it crashes HDF5|.*memory allocation failed)"),
        (endless_tree, "reading it crashes HDF5"),
    ],
)
@pytest.mark.parametrize("container", ["m.h5", pytest.param("keras2", marks=pytest.mark.nightly), "keras3"])
def test_what_hdf5_itself_fails_on_is_met_in_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, container: str, change: Callable[[bytes], bytes], words: str
) -> None:
    monkeypatch.setattr(hdf5, "_asked", ASKED)
    monkeypatch.setattr(hdf5, "_LIMIT_SECONDS", 2)
    if container == "m.h5":
        path = h5_file(tmp_path / "m.h5", model())
        path.write_bytes(change(path.read_bytes()))
    else:
        path = keras_file(tmp_path / "m.keras", model(), container, change(weights()))
    with pytest.raises(BadInput, match=rf"{path.name}: (model.weights.h5: )?is not a whole HDF5 file \({words}"):
        check(path)


def test_memory_that_an_attribute_claims_is_not_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its text is said to be of two GiB, far more than the file."""
    monkeypatch.setattr(hdf5, "_asked", ASKED)
    path = h5_file(tmp_path / "m.h5", model())
    with h5py.File(path, "a") as file:
        file.attrs["text"] = "seven 7"
    content = path.read_bytes()
    at = content.index((7).to_bytes(4, "little"), content.index(b"text\0"))
    path.write_bytes(content[:at] + (2**31 - 1).to_bytes(4, "little") + content[at + 4 :])
    with pytest.raises(BadInput, match="is not a whole HDF5 file"):
        check(path)


def test_weights_of_any_healthy_kind_are_not_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.attrs["keras_version"] = "2.15.0"
        file.attrs["model_config"] = json.dumps(model())
        file["stored"] = np.random.default_rng(0).normal(size=(300, 300))
        file["empty"], file["one"] = np.zeros((0, 4)), 3.0
        for name in ("gzip", "lzf"):
            file.create_dataset(name, data=np.zeros((1000, 100)), compression=name, shuffle=True, fletcher32=True)
    check(tmp_path / "m.h5")
    with zipfile.ZipFile(tmp_path / "m.keras", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("metadata.json", '{"keras_version": "3.0.0"}')
        made.writestr("config.json", json.dumps(model()))
        made.write(tmp_path / "m.h5", "model.weights.h5")
        made.writestr("assets/layers/lookup/vocabulary.txt", "a\nb\n")
    check(tmp_path / "m.keras")


def test_a_model_without_weights_beside_it_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as made:
        made.writestr("metadata.json", '{"keras_version": "3.0.0"}')
        made.writestr("config.json", json.dumps(model()))
    with pytest.raises(BadInput, match=r"holds no model\.weights\.h5"):
        check(tmp_path / "m.keras")


# ---------------------------------------------------------------- archives


def in_directory(path: Path, name: bytes, at: int, value: bytes) -> None:
    """Overwrite a field of the member's entry in the archive's directory (``at`` counts from its start)."""
    content = bytearray(path.read_bytes())
    entry = content.rindex(name) - 46
    assert content[entry : entry + 4] == b"PK\x01\x02"
    content[entry + at : entry + at + len(value)] = value
    path.write_bytes(content)


def a_bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as made, made.open("bomb", "w") as file:
        for _ in range(archive._ALWAYS_FINE // 2**20 + 1):
            file.write(bytes(2**20))


def two_of_one_name(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as made, pytest.warns(UserWarning, match="Duplicate name"):
        made.writestr("config.json", "{}")


def two_names_of_one_case(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as made:
        made.writestr("CONFIG.json", "{}")


def a_link(path: Path) -> None:
    member = zipfile.ZipInfo("assets/link")
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as made:
        made.writestr(member, "/etc/passwd")


def encrypted(path: Path) -> None:
    in_directory(path, b"config.json", 8, b"\x01\x00")


def another_method(path: Path) -> None:
    with zipfile.ZipFile(path, "a", zipfile.ZIP_LZMA) as made:
        made.writestr("bomb", bytes(1000))


def a_stored_size_that_is_false(path: Path) -> None:
    in_directory(path, b"config.json", 24, (2**31).to_bytes(4, "little"))


def a_packed_size_that_is_false(path: Path) -> None:
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as made:
        made.writestr("more", bytes(1000))
    in_directory(path, b"more", 24, (2000).to_bytes(4, "little"))


def a_size_cut_short(path: Path) -> None:
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as made:
        made.writestr("more", bytes(1000))
    in_directory(path, b"more", 24, (10).to_bytes(4, "little"))


def overlapping(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as made:
        made.writestr("more", bytes(1000))
        offset = made.getinfo("config.json").header_offset
    in_directory(path, b"more", 42, offset.to_bytes(4, "little"))


def past_the_directory(path: Path) -> None:
    for field in (20, 24):
        in_directory(path, b"model.weights.h5", field, (2**20).to_bytes(4, "little"))


def outside(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as made:
        made.writestr("assets/../../outside", "x")


def too_many_members(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as made:
        for index in range(10):
            made.writestr(str(index), "")


def a_huge_configuration(path: Path) -> None:
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as made, made.open("other.json", "w") as file:
        for _ in range(65):
            file.write(b" " * 2**20)


def a_control_character(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as made:
        made.writestr("assets/\x1b[2J", "x")


PACKED: list[tuple[Callable[[Path], None], str]] = [
    (a_bomb, "unpacks to 257.0 MiB, more than the 256.0 MiB that it may"),
    (two_of_one_name, "member 'config.json' is in the archive twice"),
    (two_names_of_one_case, "member 'CONFIG.json' is in the archive twice"),
    (a_link, "member 'assets/link' is a link or a special file"),
    (encrypted, "member 'config.json' is encrypted"),
    (another_method, "member 'bomb' is compressed by method 14"),
    (a_stored_size_that_is_false, "and said to be of 2147483648"),
    (a_packed_size_that_is_false, "member 'more' unpacks to 1000 bytes and is said to be of 2000"),
    (a_size_cut_short, "is not a whole .keras file"),
    (overlapping, "overlaps with another"),
    (past_the_directory, "reaches into the archive's directory"),
    (outside, "would be unpacked outside of its folder"),
    (too_many_members, "the archive has 13 members, more than the 10"),
    (a_huge_configuration, "more than the 67108864 of a configuration"),
    (a_control_character, "has a name that no file should have"),
]


@pytest.mark.parametrize(("change", "words"), PACKED, ids=[change.__name__ for change, _ in PACKED])
def test_an_archive_that_unpacks_to_too_much_or_elsewhere_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None], words: str
) -> None:
    if change is too_many_members:
        monkeypatch.setattr(archive, "_MOST_MEMBERS", 10)
    path = keras_file(tmp_path / "m.keras", model())
    check(path)
    change(path)
    with pytest.raises(BadInput) as caught:
        check(path)
    assert words in str(caught.value)
    assert "\x1b" not in str(caught.value)


# ---------------------------------------------------------------- with Keras itself

PUBLIC_BUT_REFUSED = {
    "InputSpec": "describes a layer's inputs; no layer",
    **keras_config.REFUSED,
}
EVERY_NAME = """
import importlib, inspect, json
import keras, tf_keras
from keras.src import api_export
from tensorflow.python.util import tf_export
from quantbench.safety import keras_names as names
exported = {"keras2": tf_export._NAME_TO_SYMBOL_MAPPING, "keras3": api_export.REGISTERED_NAMES_TO_OBJS}
out = {}
for form, classes, modules, package in (
    ("keras2", names.CLASSES_2, names.MODULES_2, "tf_keras"), ("keras3", names.CLASSES_3, names.MODULES_3, "keras")
):
    found, strange = set(), []
    for module in sorted(modules):
        members = [(name, exported[form].get(f"{module}.{name}")) for name in sorted(classes)]
        try:
            loaded = importlib.import_module(module.replace("keras", package + ".src", 1))
            members += [(name, vars(loaded).get(name)) for name in sorted(classes)]
        except ModuleNotFoundError:
            pass
        for name, one in members:
            if one is None:
                continue
            found.add(name)
            if not (inspect.isclass(one) and one.__module__.split(".")[0] == package):
                strange.append(f"{module}.{name} is {one!r}")
    layers = {
        name.rpartition(".")[2] for name, one in exported[form].items()
        if name.startswith("keras.layers.") and inspect.isclass(one) and "experimental" not in name
    }
    out[form] = {"missing": sorted(classes - found), "strange": strange, "layers": sorted(layers - classes)}
symbols = exported["keras2"]
for name in names.PURE_SYMBOLS:
    for full in (name, "compat.v1." + name):
        if inspect.isclass(symbols.get(full)):
            out.setdefault("classes", []).append(full)
out["unknown"] = sorted(n for n in names.PURE_SYMBOLS if n not in symbols and "compat.v1." + n not in symbols)
print(json.dumps(out))
"""


def in_a_process(script: str, folder: Path, *arguments: object) -> str:
    path = folder / "script.py"
    path.write_text(script)
    done = run_script(path, *map(str, arguments), PYTHONPATH=f"{folder}:{SOURCE}")
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_the_lists_are_those_of_the_installed_keras(tmp_path: Path) -> None:
    found = json.loads(in_a_process(EVERY_NAME, tmp_path).splitlines()[-1])
    for form in VERSIONS:
        assert found[form]["missing"] == []
        assert found[form]["strange"] == []
        assert set(found[form]["layers"]) <= set(PUBLIC_BUT_REFUSED)
    assert found["unknown"] == []
    assert "classes" not in found


def calls(function: str, argument: object, **keywords: object) -> Config:
    """A Keras 2 model with a layer that calls a function of TensorFlow on constants while the model is rebuilt."""
    nodes = [[["_CONSTANT_VALUE", -1, argument, keywords]]]
    return {
        "class_name": "Functional",
        "config": {
            "name": "m",
            "layers": [
                {**model()["config"]["layers"][0], "name": "x", "inbound_nodes": []},
                {**layer("TFOpLambda", {"function": function}), "name": "evil", "inbound_nodes": nodes[0]},
            ],
            "input_layers": [["x", 0, 0]],
            "output_layers": [["x", 0, 0]],
        },
    }


LOAD = """
import sys
from pathlib import Path
import tf_keras
for path in sys.argv[1:]:
    try:
        loaded = tf_keras.models.load_model(path, compile=False, safe_mode=True)
        print("LOADED", Path(path).name, [w.numpy().tobytes() for w in loaded.weights])
    except Exception as error:
        print("FAILED", Path(path).name, type(error).__name__, " ".join(str(error).split())[:300])
"""
WALLED = """
import sys
from pathlib import Path
from quantbench.core.tensorflow import tensorflow
from quantbench.reference import float_model
from quantbench.errors import BadInput
from quantbench.reference.model import ReferenceModel
keras = tensorflow().keras
for path in map(Path, sys.argv[1:]):
    model = object.__new__(ReferenceModel)
    for name, value in (("file", path), ("weights", path.name), ("form", "keras2"), ("trusted", False)):
        object.__setattr__(model, name, value)
    try:
        float_model._load(keras.models.load_model, model)
        print("LOADED", path.name)
    except BadInput as error:
        print("REFUSED", error)
"""


@pytest.mark.slow
def test_the_ways_in_are_real_and_shut(tmp_path: Path) -> None:
    """Each file does what it is refused for where Keras alone loads it; through
    :mod:`quantbench.reference.float_model`, none does.
    """
    marks = tmp_path / "marks"
    marks.mkdir()
    (tmp_path / "evil_module.py").write_text(f"open({str(marks / 'imported')!r}, 'w').close()")
    # Made from text, so that the path is one of its constants: the file brings no closure along.
    function = eval(f"lambda a, b: (open({str(marks / 'lambda')!r}, 'w').close(), a)[1]")
    code = base64.b64encode(marshal.dumps(function.__code__))
    files = [
        h5_file(tmp_path / "write.h5", calls("io.write_file", str(marks / "written"), contents="x")),
        h5_file(tmp_path / "gfile.h5", calls("io.gfile.makedirs", str(marks / "made"))),
        keras_file(tmp_path / "import.keras", layer("Dense", module="evil_module", registered_name="Dense")),
        h5_file(
            tmp_path / "cell.h5",
            model(
                {"class_name": "Reshape", "config": {"name": "r", "target_shape": [2, 2]}},
                layer(
                    "RNN",
                    {
                        "cell": {
                            "class_name": "ResidualWrapper",
                            "config": {
                                "cell": {"class_name": "SimpleRNNCell", "config": {"units": 2}},
                                "residual_fn": [code.decode(), None, None],
                                "residual_fn_type": "lambda",
                                "residual_fn_module": "tf_keras.src.layers.rnn.cell_wrappers",
                            },
                        }
                    },
                ),
            ),
        ),
    ]
    (tmp_path / "secret").write_bytes(b"the secret bytes")
    files.append(h5_file(tmp_path / "external.h5", model({"class_name": "Dense", "config": {"name": "d", "units": 1}})))
    with h5py.File(files[-1], "a") as file:
        group = file["model_weights"]
        group.attrs["layer_names"] = np.array([b"d"])
        group.attrs["backend"] = "tensorflow"
        dense = group.create_group("d")
        dense.attrs["weight_names"] = np.array([b"k", b"b"])
        dense.create_dataset("k", shape=(4, 1), dtype="f4", external=[(str(tmp_path / "secret"), 0, 16)])
        dense["b"] = np.zeros(1, np.float32)

    output = in_a_process(WALLED, tmp_path, *files)
    assert output.count("REFUSED") == len(files), output
    assert list(marks.iterdir()) == []
    output = in_a_process(LOAD, tmp_path, *files)
    assert sorted(one.name for one in marks.iterdir()) == ["imported", "lambda", "made", "written"], output
    assert "the secret bytes" in output, output


HEALTHY = """
import sys
from pathlib import Path
import numpy as np
import keras as keras3, tensorflow as tf, tf_keras as keras2
from quantbench.safety import keras_config
out = Path(sys.argv[1])
for form, keras in (("keras2", keras2), ("keras3", keras3)):
    L = keras.layers
    made = {}
    x = keras.Input((8, 8, 3))
    y = L.Conv2D(4, 3, activation="relu", kernel_regularizer=keras.regularizers.L2(1e-3))(x * 2 + 1)
    y = L.BatchNormalization()(y)
    y = (tf.nn.relu6(y) if form == "keras2" else keras.ops.relu6(y))[:, 1:, ::2]
    y = tf.reshape(y, (-1, 5 * 3, 4)) if form == "keras2" else keras.ops.reshape(y, (-1, 5 * 3, 4))
    y = L.Bidirectional(L.LSTM(3, return_sequences=True))(y)
    y = L.RNN(L.StackedRNNCells([L.GRUCell(3), L.SimpleRNNCell(2)]), return_sequences=True)(y)
    y = L.TimeDistributed(L.Dense(4, activation=keras.activations.gelu, kernel_constraint="max_norm"))(y)
    y = L.MultiHeadAttention(2, 3)(y, y)
    y = L.LayerNormalization()(y)
    y = L.Activation(L.LeakyReLU(0.2) if form == "keras3" else "swish")(y)
    body = keras.Model(x, L.GlobalAveragePooling1D()(y))
    body.compile("adam", "mse", metrics=["mae", keras.metrics.AUC()])
    i = keras.Input((8, 8, 3))
    made["large"] = keras.Model(i, {"a": L.Dense(2)(body(i)), "b": L.Softmax()(body(i))})
    made["large"].compile("sgd", lambda a, b: 0)
    w = L.TimeDistributed(L.Dense(3))(L.GRU(2, return_sequences=True)(L.Reshape((12, 16))(x)))
    made["plain"] = keras.Model(x, L.Dense(2, activation="tanh")(L.Flatten()(w)))
    lookup = L.StringLookup(vocabulary=["a", "b"])
    s = keras.Input((1,), dtype="string")
    made["words"] = keras.Model(s, lookup(s))
    if form == "keras2":
        z = keras.Input((4, 4, 2))
        made["functions"] = keras.Model(z, tf.concat([tf.image.resize(z, (2, 2)), tf.nn.avg_pool2d(z, 2, 2, "SAME"),
            tf.reduce_mean(tf.gather(tf.transpose(z, (0, 2, 1, 3)), [0, 1], axis=1), axis=2, keepdims=True)[:, :, :1] *
            tf.cast(tf.ones((2, 2, 2)), tf.float32)], -1) @ tf.ones((6, 2)) / 3 - tf.squeeze(tf.zeros((1, 1, 2)), 0))
    for name, one in made.items():
        # Keras 3 cannot read operations from .h5, and no version words.
        for suffix in (".keras", ".h5") if name == "plain" or (form == "keras2" and name != "words") else (".keras",):
            path = out / f"{name}_{form}{suffix}"
            one.save(path)
            keras_config.check(path, form)
            again = keras.models.load_model(path, compile=False)
            if "words" not in name:
                assert all(np.array_equal(a, b) for a, b in zip(again.get_weights(), one.get_weights(), strict=True))
            print("FINE", path.name)
"""


@pytest.mark.slow
@pytest.mark.nightly
def test_healthy_models_are_not_refused(tmp_path: Path) -> None:
    output = in_a_process(HEALTHY, tmp_path, tmp_path)
    assert output.count("FINE") == 7 + 4, output


@pytest.mark.parametrize("name", ["CON", "aux.txt", "assets/NUL", "assets/x ", "model.weights.h5.", "lpt1.h5"])
def test_names_that_windows_takes_for_others_are_refused(tmp_path: Path, name: str) -> None:
    path = keras_file(tmp_path / "m.keras", model())
    with zipfile.ZipFile(path, "a") as made:
        made.writestr(name, b"x")
    with pytest.raises(BadInput, match="has a name that Windows takes for another"):
        check(path)
