"""SavedModels made to do more than compute: each is refused in one sentence before TensorFlow loads it."""

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quantbench.adopt import formats
from quantbench.core import tensorflow
from quantbench.errors import BadInput
from quantbench.reference import float_model
from quantbench.reference.model import Floor, ReferenceModel
from quantbench.safety import saved_model
from quantbench.safety.operators import ALLOWED, SAVER, TABLE_FROM_FILE

SECRET = "nobody is to read this"


@dataclass
class Place:
    """A folder for models, and beside it what they must not touch."""

    root: Path

    @property
    def written(self) -> Path:
        """Made by a model that gets its way."""
        return self.root / "outside" / "written"

    @property
    def secret(self) -> Path:
        """Read by a model that gets its way."""
        return self.root / "outside" / "secret.txt"

    @property
    def checkpoint(self) -> str:
        """Prefix of somebody else's checkpoint."""
        return str(self.root / "outside" / "weights")

    def untouched(self) -> bool:
        """Whether nothing was added outside of the models."""
        names = {path.name for path in (self.root / "outside").iterdir()}
        return names == {"secret.txt"} and self.secret.read_text() == SECRET + "\n"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "outside").mkdir()
    found = Place(tmp_path)
    found.secret.write_text(SECRET + "\n")
    return found


@pytest.fixture(scope="module")
def tf() -> Any:
    return tensorflow.tensorflow()


def saved(tf: Any, folder: Path, effect: Callable[[Any], Any], resource: Any = None) -> Path:
    """A model that doubles its input, and with each call does something else too."""

    class Model(tf.Module):  # type: ignore[misc,name-defined]
        @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32)])  # type: ignore[untyped-decorator]
        def serve(self, x: Any) -> Any:
            done = effect(x)
            return {"x": x * 2, "read": done} if tf.is_tensor(done) else x * 2

    model = Model()
    if resource is not None:
        model.resource = resource
    tf.saved_model.save(model, str(folder), signatures=model.serve)
    return folder


def nothing(x: Any) -> None:
    """No effect."""


def initializer(tf: Any, effect: Callable[[], Any]) -> Any:
    """A resource whose initializer does something when the model is loaded."""

    class Resource(tf.saved_model.experimental.TrackableResource):  # type: ignore[misc,name-defined]
        def _create_resource(self) -> Any:
            return tf.raw_ops.MutableHashTableV2(key_dtype=tf.int64, value_dtype=tf.int64)

        def _initialize(self) -> None:
            effect()

    return Resource()


def edited(source: Path, folder: Path, edit: Callable[[Any], object]) -> Path:
    """A copy with its graph changed."""
    from tensorflow.core.protobuf import saved_model_pb2

    shutil.copytree(source, folder)
    graph = saved_model_pb2.SavedModel()
    graph.ParseFromString((folder / "saved_model.pb").read_bytes())
    edit(graph)
    (folder / "saved_model.pb").write_bytes(graph.SerializeToString())
    return folder


def refusal(folder: Path) -> str:
    """The one sentence."""
    with pytest.raises(BadInput) as caught:
        saved_model.check(folder)
    words = str(caught.value)
    assert words.startswith(f"{folder}: ")
    assert words.isprintable()
    assert len(words) < 1000
    return words


# ---------------------------------------------------------------- healthy models are not refused


def table_of_file(tf: Any, path: Path) -> Any:
    """A lookup table that is filled from a file when the model is loaded."""
    keys = tf.lookup.TextFileInitializer(
        str(path), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
    )
    return tf.lookup.StaticHashTable(keys, -1)


@pytest.fixture(scope="module")
def plain(tf: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tf, tmp_path_factory.mktemp("plain") / "model", nothing)


@pytest.fixture(scope="module")
def with_table(tf: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("table")
    (folder / "words.txt").write_text("a\nb\n")
    table = table_of_file(tf, folder / "words.txt")
    return saved(tf, folder / "model", lambda x: table.lookup(tf.strings.as_string(x)), table)


def test_models_of_tensorflow_itself_are_not_refused(tf: Any, plain: Path, with_table: Path, tmp_path: Path) -> None:
    saved_model.check(plain)
    saved_model.check(with_table)
    loaded = tf.saved_model.load(str(with_table))
    again = tmp_path / "again"
    tf.saved_model.save(loaded, str(again), signatures=loaded.signatures["serving_default"])
    saved_model.check(again)
    generator = tf.random.Generator.from_seed(1)
    table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)

    def much(x: Any) -> Any:
        for _ in tf.range(3):
            x = tf.map_fn(tf.nn.gelu, x) if tf.reduce_sum(x) > 0 else tf.einsum("ij,jk->ik", x, tf.eye(4))
        tf.debugging.assert_rank(x, 2)
        return tf.nn.top_k(x).indices + tf.cast(generator.uniform([1]) + tf.cast(table.size(), tf.float32), tf.int32)

    saved_model.check(saved(tf, tmp_path / "much", much, [generator, table]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("version", "whole_network"),
    [("3", False), *(pytest.param(version, True, marks=pytest.mark.nightly) for version in "23")],
)
def test_models_of_keras_are_not_refused(tf: Any, tmp_path: Path, version: str, whole_network: bool) -> None:
    if version == "2":
        keras = tf.keras
    else:
        import keras
    keras.utils.set_random_seed(0)
    layers = keras.layers
    image = [layers.Conv2D(4, 3), layers.BatchNormalization(), layers.DepthwiseConv2D(3), layers.UpSampling2D()]
    image += [layers.Resizing(8, 8), layers.SeparableConv2D(4, 3), layers.PReLU(), layers.GlobalMaxPooling2D()]
    layer_by_layer = [layers.ZeroPadding2D(), layers.ReLU(6.0), layers.Dropout(0.1), layers.GlobalAveragePooling2D()]
    time = [layers.Embedding(10, 4), layers.LSTM(4, return_sequences=True), layers.GRU(4, return_sequences=True)]
    time += [layers.Bidirectional(layers.LSTM(3)), layers.LayerNormalization(), layers.Dense(2, "gelu")]
    query = keras.Input((8, 16))
    for number, model in enumerate(
        [
            keras.Sequential([keras.Input((16, 16, 3)), *image]),
            keras.Sequential([keras.Input((8,)), *time]),
            keras.Model(query, layers.MultiHeadAttention(2, 8)(query, query)),
            keras.Sequential([keras.Input((8, 8, 3)), *layer_by_layer, layers.Dense(3, "softmax")]),
            *([keras.applications.MobileNetV2(weights=None)] if whole_network else []),
        ]
    ):
        folder = tmp_path / str(number)
        if version == "3":
            model.export(str(folder), format="tf_saved_model", verbose=False)
        else:
            model.export(folder)
            if number < 4:  # with every layer's own functions; of MobileNetV2 that takes a minute
                whole = tmp_path / f"{number}-whole"
                model.save(whole, save_format="tf")
                saved_model.check(whole)
        saved_model.check(folder)


def version_1(tf: Any, folder: Path, secret: Path | None = None, at_load: Any = None, values: str = "") -> Path:
    """A SavedModel of TensorFlow 1: one graph, without functions and objects."""
    v1 = tf.compat.v1
    with v1.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None, 4])
        weights = v1.get_variable("w", [4, 4], use_resource=True, initializer=v1.zeros_initializer())
        y = tf.matmul(x, weights)
        if secret is not None:
            y = y + tf.cast(table_of_file(tf, secret).lookup(tf.strings.as_string(x)), tf.float32)
        if values:
            y = (
                y
                + tf.raw_ops.RestoreV2(prefix=values, tensor_names=["w"], shape_and_slices=[""], dtypes=[tf.float32])[0]
            )
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        builder = v1.saved_model.builder.SavedModelBuilder(str(folder))
        signature = v1.saved_model.predict_signature_def({"x": x}, {"y": y})
        first = v1.tables_initializer() if at_load is None else at_load()
        assets = v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS)
        builder.add_meta_graph_and_variables(
            session, ["serve"], {"serving_default": signature}, main_op=first, assets_collection=assets
        )
        builder.save()
    return folder


def test_models_of_tensorflow_1_are_not_refused(tf: Any, tmp_path: Path) -> None:
    saved_model.check(version_1(tf, tmp_path / "plain"))
    (tmp_path / "words.txt").write_text("a\n")
    saved_model.check(version_1(tf, tmp_path / "table", tmp_path / "words.txt"))


# ---------------------------------------------------------------- operators that do more than compute

EFFECTS: dict[str, Callable[[Any, Place], Any]] = {
    "WriteFile": lambda tf, at: tf.io.write_file(str(at.written), "x"),
    "PrintV2": lambda tf, at: tf.print("x", output_stream=f"file://{at.written}"),
    "Print": lambda tf, at: tf.compat.v1.Print(tf.constant(1), ["x"]),
    "ReadFile": lambda tf, at: tf.io.read_file(str(at.secret)),
    "MatchingFiles": lambda tf, at: tf.io.matching_files(f"{at.secret.parent}/*"),
    "SaveV2": lambda tf, at: tf.raw_ops.SaveV2(
        prefix=str(at.written), tensor_names=["w"], shape_and_slices=[""], tensors=[tf.ones([1])]
    ),
    "RestoreV2": lambda tf, at: tf.raw_ops.RestoreV2(
        prefix=at.checkpoint, tensor_names=["w"], shape_and_slices=[""], dtypes=[tf.float32]
    )[0],
    "MergeV2Checkpoints": lambda tf, at: tf.raw_ops.MergeV2Checkpoints(
        checkpoint_prefixes=[at.checkpoint], destination_prefix=str(at.written)
    ),
    "EagerPyFunc": lambda tf, at: tf.py_function(lambda a: a, [1.0], tf.float32),
    "PyFunc": lambda tf, at: tf.numpy_function(lambda a: a, [1.0], tf.float32),
    "ImmutableConst": lambda tf, at: tf.raw_ops.ImmutableConst(
        dtype=tf.uint8, shape=[5], memory_region_name=str(at.secret)
    ),
    "GenerateVocabRemapping": lambda tf, at: tf.raw_ops.GenerateVocabRemapping(
        new_vocab_file=str(at.secret), old_vocab_file=str(at.secret), new_vocab_offset=0, num_new_vocab=1
    )[0],
    "LoadAndRemapMatrix": lambda tf, at: tf.raw_ops.LoadAndRemapMatrix(
        ckpt_path=at.checkpoint,
        old_tensor_name="w",
        row_remapping=[0],
        col_remapping=tf.constant([], tf.int64),
        initializing_values=tf.constant([], tf.float32),
        num_rows=1,
        num_cols=1,
    ),
    "TextLineDataset": lambda tf, at: tf.data.TextLineDataset(str(at.secret)).reduce("", lambda a, b: a + b),
    "TFRecordDataset": lambda tf, at: tf.data.TFRecordDataset(str(at.secret)).reduce("", lambda a, b: a + b),
    "CreateSummaryFileWriter": lambda tf, at: tf.raw_ops.CreateSummaryFileWriter(
        writer=tf.raw_ops.SummaryWriter(), logdir=str(at.written), max_queue=1, flush_millis=1, filename_suffix=""
    ),
    "DebugIdentityV2": lambda tf, at: tf.raw_ops.DebugIdentityV2(
        input=tf.ones([1]), tfdbg_context_id="x", op_name="x", debug_urls=[f"file://{at.written}"]
    ),
    "DecodeProtoV2": lambda tf, at: (
        tf.raw_ops.DecodeProtoV2(
            bytes=[""],
            message_type="m",
            field_names=["f"],
            output_types=[tf.int32],
            descriptor_source=str(at.secret),
        ).sizes
    ),
    "DecodeCompressed": lambda tf, at: tf.io.decode_compressed("x", "ZLIB"),
    "ParseTensor": lambda tf, at: tf.io.parse_tensor("", tf.float32),
    "WholeFileReaderV2": lambda tf, at: tf.raw_ops.WholeFileReaderV2() is None,
    "FIFOQueueV2": lambda tf, at: tf.raw_ops.FIFOQueueV2(component_types=[tf.float32]) is None,
    "FileSystemSetConfiguration": lambda tf, at: tf.raw_ops.FileSystemSetConfiguration(scheme="x", key="x", value="x"),
    "Abort": lambda tf, at: tf.raw_ops.Abort(error_msg="x"),
    "CollectiveReduceV2": lambda tf, at: tf.raw_ops.CollectiveReduceV2(
        input=[1.0], group_size=1, group_key=1, instance_key=1, ordering_token=[], merge_op="Add", final_op="Id"
    ),
    "Timestamp": lambda tf, at: tf.timestamp(),
}


@pytest.mark.parametrize("operator", EFFECTS)
def test_an_operator_that_does_more_than_compute(tf: Any, place: Place, operator: str) -> None:
    folder = saved(tf, place.root / "called", lambda x: EFFECTS[operator](tf, place) if x is not None else None)
    words = refusal(folder)
    assert operator in words or (operator in SAVER and "reads or writes checkpoints" in words)
    assert place.untouched()


@pytest.mark.parametrize("operator", ["WriteFile", "PrintV2", "ReadFile", "SaveV2", "RestoreV2", "TextLineDataset"])
def test_an_operator_in_an_initializer(tf: Any, place: Place, operator: str) -> None:
    resource = initializer(tf, lambda: EFFECTS[operator](tf, place))
    words = refusal(saved(tf, place.root / "loaded", nothing, resource))
    assert operator in words or (operator in SAVER and "reads or writes checkpoints" in words)
    assert place.untouched()


def within_a_loop(tf: Any, place: Place) -> Callable[[Any], Any]:
    return lambda x: tf.while_loop(lambda i: i < 1, lambda i: (EFFECTS["WriteFile"](tf, place), i + 1)[1:], [0])[0]


def within_a_branch(tf: Any, place: Place) -> Callable[[Any], Any]:
    def write() -> Any:
        EFFECTS["WriteFile"](tf, place)
        return tf.constant(1)

    return lambda x: tf.cond(tf.reduce_sum(x) > 1e9, write, lambda: tf.constant(0))


def within_a_case(tf: Any, place: Place) -> Callable[[Any], Any]:
    def write() -> Any:
        EFFECTS["WriteFile"](tf, place)
        return tf.constant(1)

    return lambda x: tf.switch_case(tf.cast(tf.reduce_sum(x), tf.int32), [lambda: tf.constant(0), write])


def within_a_call(tf: Any, place: Place) -> Callable[[Any], Any]:
    @tf.function  # type: ignore[untyped-decorator]
    def inner(x: Any) -> Any:
        EFFECTS["WriteFile"](tf, place)
        return x

    return lambda x: inner(inner(x))


def within_a_gradient(tf: Any, place: Place) -> Callable[[Any], Any]:
    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def odd(x: Any) -> Any:
        def gradient(upstream: Any) -> Any:
            EFFECTS["WriteFile"](tf, place)
            return upstream

        return x * 3, gradient

    def effect(x: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = odd(x)
        return tape.gradient(y, x)

    return effect


@pytest.mark.parametrize(
    "within",
    [within_a_loop, within_a_branch, within_a_case, within_a_call, within_a_gradient],
    ids=lambda f: f.__name__,
)
def test_an_operator_deep_inside(tf: Any, place: Place, within: Any) -> None:
    assert "WriteFile" in refusal(saved(tf, place.root / "deep", within(tf, place)))
    assert place.untouched()


# ---------------------------------------------------------------- the same files, with the check off


def test_without_the_check_they_have_their_way(tf: Any, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refused files above are no straw men: TensorFlow does what they say."""

    def load(name: str, effect: Callable[[Any], Any], resource: Any = None) -> Any:
        folder = saved(tf, place.root / name, effect, resource)
        return tf.saved_model.load(str(folder)).signatures["serving_default"]

    assert place.untouched()
    load("1", nothing, initializer(tf, lambda: EFFECTS["WriteFile"](tf, place)))
    assert place.written.read_text() == "x"
    place.written.unlink()
    load("2", lambda x: EFFECTS["PrintV2"](tf, place))(tf.ones([1, 4]))
    assert place.written.read_text() == "x\n"
    place.written.unlink()
    given = {"read": lambda x: EFFECTS["ReadFile"](tf, place)}
    assert load("3", given["read"])(tf.ones([1, 4]))["read"].numpy().decode() == SECRET + "\n"
    values = tf.raw_ops.ImmutableConst(dtype=tf.uint8, shape=[6], memory_region_name=str(place.secret))
    assert bytes(values.numpy()) == SECRET[:6].encode()
    outside = with_asset(tf, place, str(place.secret))
    loaded = tf.saved_model.load(str(outside))
    assert int(loaded.signatures["serving_default"](tf.constant([SECRET]))["index"][0]) == 0
    # The whole way of `try`: with the check, the same file is refused.
    model = reference(place.root / "1")
    with pytest.raises(BadInput, match="WriteFile"):
        float_model.original_saved_model(model)
    assert not place.written.exists()
    monkeypatch.setattr(saved_model, "check", lambda folder: None)
    float_model.saved_model(model)
    assert place.written.exists()


def reference(folder: Path) -> ReferenceModel:
    model = ReferenceModel("m", "m", folder.name, "", "", "", {"default": Floor(0.5, "x")}, form="saved_model")
    object.__setattr__(model, "file", folder.parent / "m.py")
    return model


def test_a_model_is_checked_again_just_before_each_load(tf: Any, place: Place) -> None:
    model = reference(saved(tf, place.root / "m", nothing, initializer(tf, lambda: EFFECTS["WriteFile"](tf, place))))
    for use in (
        lambda: float_model.saved_model(model),
        lambda: float_model.predict(model, np.zeros((1, 4), np.float32)),
        lambda: formats.input_specs(model),
        lambda: formats.check_safe(place.root / "m", "saved_model"),
    ):
        with pytest.raises(BadInput, match="WriteFile"):
            use()
    assert place.untouched()


# ---------------------------------------------------------------- assets


def with_asset(tf: Any, place: Place, name: str) -> Path:
    """A model whose table is filled from an asset of this name."""

    class Model(tf.Module):  # type: ignore[misc,name-defined]
        def __init__(self, path: Path) -> None:
            super().__init__()
            self.table = table_of_file(tf, path)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])  # type: ignore[untyped-decorator]
        def serve(self, x: Any) -> Any:
            return {"index": self.table.lookup(x)}

    (place.root / "words.txt").write_text("a\n")
    model = Model(place.root / "words.txt")
    source = place.root / "with-asset-source"
    tf.saved_model.save(model, str(source), signatures=model.serve)
    shutil.rmtree(place.root / "with-asset", ignore_errors=True)

    def edit(graph: Any) -> None:
        for asset in graph.meta_graphs[0].asset_file_def:
            asset.filename = name

    return edited(source, place.root / "with-asset", edit)


@pytest.mark.parametrize(
    "name",
    ["../../outside/secret.txt", "/etc/hostname", "a/../../../outside/secret.txt", "..", "", "a\\..\\b", "no", "\0"],
)
def test_an_asset_outside_of_the_folder(tf: Any, place: Place, name: str) -> None:
    words = refusal(with_asset(tf, place, name))
    assert "asset" in words
    assert place.untouched()


def test_an_asset_that_is_a_link(tf: Any, place: Place) -> None:
    folder = with_asset(tf, place, "words.txt")
    (folder / "assets" / "words.txt").unlink()
    (folder / "assets" / "words.txt").symlink_to(place.secret)
    assert "assets/words.txt is a link" in refusal(folder)


@pytest.mark.parametrize("way", ["constant", "input", "called"])
def test_a_table_from_a_file_that_is_no_asset(tf: Any, place: Place, with_table: Path, way: str) -> None:
    def edit(graph: Any) -> None:
        meta = graph.meta_graphs[0]
        for function in meta.graph_def.library.function:
            for node in function.node_def:
                if node.op not in TABLE_FROM_FILE:
                    continue
                if way == "constant":
                    path = function.node_def.add(name="path", op="Const")
                    path.attr["dtype"].type = 7
                    path.attr["value"].tensor.dtype = 7
                    path.attr["value"].tensor.string_val.append(str(place.secret).encode())
                    node.input[1] = "path:output:0"
                elif way == "input":
                    meta.object_graph_def.concrete_functions[function.signature.name].bound_inputs[:] = []
                else:
                    other = meta.graph_def.library.function.add()
                    other.signature.name = "other"
                    call = other.node_def.add(name="call", op="StatefulPartitionedCall", input=["a:output:0"] * 2)
                    call.attr["f"].func.name = function.signature.name
                return

    assert "not one of the model's assets" in refusal(edited(with_table, place.root / "edited", edit))


def test_functions_that_call_each_other_in_many_ways_end_soon(with_table: Path, tmp_path: Path) -> None:
    """Each is called twice by the next: 2^60 ways to follow."""

    def edit(graph: Any) -> None:
        library = graph.meta_graphs[0].graph_def.library
        name = next(f.signature.name for f in library.function if any(n.op in TABLE_FROM_FILE for n in f.node_def))
        for i in range(60):
            other = library.function.add()
            other.signature.name = f"other{i}"
            for argument in "ab":
                other.signature.input_arg.add(name=argument, type=7)
            for call in ("one", "two"):
                node = other.node_def.add(name=call, op="StatefulPartitionedCall", input=["a", "a"])
                node.attr["f"].func.name = name
            name = other.signature.name

    saved_model.check(edited(with_table, tmp_path / "edited", edit))  # none of the functions is ever called


def test_an_asset_in_a_collection_that_is_damaged(tf: Any, tmp_path: Path) -> None:
    def edit(graph: Any) -> None:
        assets = graph.meta_graphs[0].collection_def["saved_model_assets"].any_list
        assets.value.add(type_url="type.googleapis.com/tensorflow.AssetFileDef", value=b"\xff\xff")

    assert "asset in a form" in refusal(edited(version_1(tf, tmp_path / "v1"), tmp_path / "edited", edit))


# ---------------------------------------------------------------- graphs that hide something


def function_of(graph: Any, operator: str = "Mul") -> Any:
    return next(
        function
        for function in graph.meta_graphs[0].graph_def.library.function
        if any(node.op == operator for node in function.node_def)
    )


def first(graph: Any, operator: str = "Mul") -> Any:
    return next(node for node in function_of(graph, operator).node_def if node.op == operator)


def saver(graph: Any, operator: str) -> Any:
    return function_of(graph, operator).signature.name


def unknown_operator(graph: Any) -> None:
    first(graph).op = "SomebodysMul"


def escape_in_a_name(graph: Any) -> None:
    first(graph).op = "\x1b]0;title\x07\n\u202e"


def function_called_as_an_operator(graph: Any) -> None:
    first(graph).op = "WriteFile"
    graph.meta_graphs[0].graph_def.library.function.add().signature.name = "WriteFile"


def function_twice(graph: Any) -> None:
    library = graph.meta_graphs[0].graph_def.library
    library.function.add().CopyFrom(library.function[0])


def call_of_an_operator(graph: Any) -> None:
    node = first(graph)
    node.op = "StatefulPartitionedCall"
    node.attr["f"].func.name = "WriteFile"


def in_the_main_graph(graph: Any) -> None:
    graph.meta_graphs[0].graph_def.node.add(name="w", op="WriteFile")


def save_in_the_main_graph(graph: Any) -> None:
    graph.meta_graphs[0].graph_def.node.add(name="w", op="SaveV2")


def internal_operator(graph: Any) -> None:
    first(graph).op = "_Send"


def unknown_gradient(graph: Any) -> None:
    graph.meta_graphs[0].graph_def.library.gradient.add(function_name="a", gradient_func="b")


def calls_the_saver(graph: Any) -> None:
    node = first(graph)
    node.op = "StatefulPartitionedCall"
    node.attr["f"].func.name = saver(graph, "SaveV2")


def calls_the_saver_as_an_operator(graph: Any) -> None:
    first(graph).op = saver(graph, "RestoreV2")


def calls_the_saver_from_a_list(graph: Any) -> None:
    node = first(graph)
    node.op = "Case"
    node.attr["branches"].list.func.add().name = saver(graph, "SaveV2")


def calls_the_saver_from_an_attribute_of_a_call(graph: Any) -> None:
    node = first(graph)
    node.attr["f"].func.name = function_of(graph).signature.name
    node.op = "StatefulPartitionedCall"
    node.attr["f"].func.attr["g"].func.name = saver(graph, "SaveV2")


def calls_the_saver_through_another(graph: Any) -> None:
    other = graph.meta_graphs[0].graph_def.library.function.add()
    other.signature.name = "other"
    call = other.node_def.add(name="call", op="StatefulPartitionedCall")
    call.attr["f"].func.name = saver(graph, "SaveV2")
    node = first(graph)
    node.op = "StatefulPartitionedCall"
    node.attr["f"].func.name = "other"


def saver_as_a_concrete_function(graph: Any) -> None:
    graph.meta_graphs[0].object_graph_def.concrete_functions[saver(graph, "SaveV2")].SetInParent()


def saver_as_a_function_of_an_object(graph: Any) -> None:
    thing = graph.meta_graphs[0].object_graph_def.nodes.add()
    thing.function.concrete_functions.append(saver(graph, "SaveV2"))


def saver_as_a_gradient(graph: Any) -> None:
    library = graph.meta_graphs[0].graph_def.library
    name = function_of(graph).signature.name
    library.gradient.add(function_name=name, gradient_func=saver(graph, "SaveV2"))


def saver_as_a_registered_gradient(graph: Any) -> None:
    library = graph.meta_graphs[0].graph_def.library
    library.registered_gradients.add(gradient_func=saver(graph, "SaveV2"), registered_op_type="Mul")


def saver_by_its_interface(graph: Any) -> None:
    function_of(graph, "SaveV2").attr["api_implements"].s = b"mul"


def saver_by_a_word(graph: Any) -> None:
    first(graph).attr["forward_function_name"].s = saver(graph, "SaveV2").encode()


def somebodys_class(graph: Any) -> None:
    graph.meta_graphs[0].object_graph_def.nodes[0].registered_name = "Custom.Model"


def somebodys_saver(graph: Any) -> None:
    graph.meta_graphs[0].object_graph_def.nodes[0].registered_saver = "tf.TPUEmbedding"


def unknown_object(graph: Any) -> None:
    graph.meta_graphs[0].object_graph_def.nodes[0].user_object.identifier = "somebodys_object"


def replaced_attribute(graph: Any) -> None:
    graph.meta_graphs[0].object_graph_def.nodes[0].children.add(node_id=1, local_name="__class__")


def asset_without_a_file(graph: Any) -> None:
    graph.meta_graphs[0].object_graph_def.nodes.add().asset.asset_file_def_index = 3


def constant(graph: Any) -> Any:
    node = function_of(graph).node_def.add(name="bomb", op="Const")
    node.attr["dtype"].type = 1
    node.attr["value"].tensor.dtype = 1
    return node.attr["value"].tensor


def bomb(graph: Any) -> None:
    tensor = constant(graph)
    tensor.tensor_shape.dim.add(size=2**40)
    tensor.float_val.append(1)


def many_small_bombs(graph: Any) -> None:
    for _ in range(2000):
        tensor = constant(graph)
        tensor.tensor_shape.dim.add(size=2**16)
        tensor.float_val.append(1)


def overflowing_bomb(graph: Any) -> None:
    tensor = constant(graph)
    for _ in range(20):
        tensor.tensor_shape.dim.add(size=2**32)


def bomb_in_a_list(graph: Any) -> None:
    tensor = first(graph).attr["x"].list.tensor.add(dtype=1)
    tensor.tensor_shape.dim.add(size=2**40)


def bomb_in_a_default(graph: Any) -> None:
    tensor = function_of(graph).signature.attr.add(name="x").default_value.tensor
    tensor.dtype = 1
    tensor.tensor_shape.dim.add(size=2**40)


def bomb_in_a_signature(graph: Any) -> None:
    function = next(iter(graph.meta_graphs[0].object_graph_def.concrete_functions.values()))
    tensor = function.output_signature.bounded_tensor_spec_value.minimum
    tensor.dtype = 1
    tensor.tensor_shape.dim.add(size=2**40)


def negative_shape(graph: Any) -> None:
    constant(graph).tensor_shape.dim.add(size=-5)


def variant(graph: Any) -> None:
    constant(graph).dtype = 21


def two_graphs(graph: Any) -> None:
    graph.meta_graphs.add().CopyFrom(graph.meta_graphs[0])


def no_graph(graph: Any) -> None:
    del graph.meta_graphs[:]


EDITS = {
    unknown_operator: "SomebodysMul",
    escape_in_a_name: "?]0;title",
    function_called_as_an_operator: "or as an operator: WriteFile",
    function_twice: "called as another",
    call_of_an_operator: "calls a function that it does not hold: WriteFile",
    in_the_main_graph: "WriteFile",
    save_in_the_main_graph: "reads or writes checkpoints",
    internal_operator: "_Send",
    unknown_gradient: "calls a function that it does not hold",
    calls_the_saver: "reads or writes checkpoints",
    calls_the_saver_as_an_operator: "reads or writes checkpoints",
    calls_the_saver_from_a_list: "reads or writes checkpoints",
    calls_the_saver_from_an_attribute_of_a_call: "reads or writes checkpoints",
    calls_the_saver_through_another: "reads or writes checkpoints",
    saver_as_a_concrete_function: "reads or writes checkpoints",
    saver_as_a_function_of_an_object: "reads or writes checkpoints",
    saver_as_a_gradient: "reads or writes checkpoints",
    saver_as_a_registered_gradient: "reads or writes checkpoints",
    saver_by_its_interface: "reads or writes checkpoints",
    saver_by_a_word: "reads or writes checkpoints",
    somebodys_class: "a class of somebody's own: Custom.Model",
    somebodys_saver: "a class of somebody's own: tf.TPUEmbedding",
    unknown_object: "an object of an unknown kind: somebodys_object",
    replaced_attribute: "would replace __class__",
    asset_without_a_file: "an asset without a file",
    bomb: "would unpack to more than 256 MiB",
    many_small_bombs: "would unpack to more than 256 MiB",
    overflowing_bomb: "would unpack to more than 256 MiB",
    bomb_in_a_list: "would unpack to more than 256 MiB",
    bomb_in_a_default: "would unpack to more than 256 MiB",
    bomb_in_a_signature: "would unpack to more than 256 MiB",
    negative_shape: "without a whole shape",
    variant: "no array of numbers or strings",
    two_graphs: "holds 2 graphs",
    no_graph: "holds 0 graphs",
}


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_a_graph_that_hides_something(tmp_path: Path, plain: Path, edit: Any) -> None:
    assert EDITS[edit] in refusal(edited(plain, tmp_path / "edited", edit))


OTHERS = (
    "XlaCallModule XlaCustomCallV2 RemoteCall ExperimentalLMDBDataset RpcClient _Recv Send NcclAllReduce TPUExecute "
    "LMDBReader SqlDataset DataServiceDatasetV4 RegisterDatasetV2 SnapshotDatasetV2 Save SaveSlices RestoreSlice "
    "ShardedFilespec FixedUnigramCandidateSampler DumpTensor CopyHost BatchFunction CustomAggregator "
    "WriteRawProtoSummary"
)


@pytest.mark.parametrize("operator", OTHERS.split())
def test_other_operators_by_name(tmp_path: Path, plain: Path, operator: str) -> None:
    def edit(graph: Any) -> None:
        first(graph).op = operator

    assert operator in refusal(edited(plain, tmp_path / "edited", edit))


def deep(graph: Any) -> None:
    value = first(graph).attr["f"]
    for _ in range(60):
        value.func.name = function_of(graph).signature.name
        value = value.func.attr["f"]


def test_attributes_nested_deeply_end_in_one_sentence(tmp_path: Path, plain: Path) -> None:
    refusal(edited(plain, tmp_path / "edited", deep))


# ---------------------------------------------------------------- graphs of TensorFlow 1


def test_a_graph_of_tensorflow_1_that_writes(tf: Any, place: Place) -> None:
    folder = version_1(tf, place.root / "v1", at_load=lambda: tf.io.write_file(str(place.written), "x"))
    assert "WriteFile" in refusal(folder)
    tf.saved_model.load(str(folder))
    assert place.written.exists()  # with the check off


def test_a_graph_of_tensorflow_1_that_restores_another_checkpoint(tf: Any, place: Place) -> None:
    assert "reads or writes checkpoints" in refusal(version_1(tf, place.root / "v1", values=place.checkpoint))


@pytest.mark.parametrize("name", ["save/filename/input", "save/filename"])
def test_a_graph_of_tensorflow_1_whose_saver_reads_elsewhere(tf: Any, place: Place, name: str) -> None:
    def edit(graph: Any) -> None:
        node = next(node for node in graph.meta_graphs[0].graph_def.node if node.name == name)
        if node.op == "Const":
            node.attr["value"].tensor.string_val[0] = place.checkpoint.encode()
        else:
            node.op = "StringJoin"

    source = version_1(tf, place.root / "v1")
    assert "reads or writes checkpoints" in refusal(edited(source, place.root / "edited", edit))


@pytest.mark.parametrize("where", ["signature", "restore", "main", "listed", "variable", "filename"])
def test_a_graph_of_tensorflow_1_that_saves(tf: Any, place: Place, where: str) -> None:
    from tensorflow.core.framework import variable_pb2

    def edit(graph: Any) -> None:
        meta = graph.meta_graphs[0]
        writing = next(node.name for node in meta.graph_def.node if node.op == "SaveV2")
        if where == "signature":
            meta.signature_def["serving_default"].outputs["y"].name = meta.saver_def.save_tensor_name
        elif where == "restore":
            meta.saver_def.restore_op_name = writing
        elif where == "filename":
            meta.saver_def.filename_tensor_name = meta.saver_def.save_tensor_name
        elif where == "variable":
            blob = variable_pb2.VariableDef(variable_name="v:0", initial_value_name=f"{writing}:0")
            meta.collection_def["variables"].bytes_list.value.append(blob.SerializeToString())
        else:
            key = {"main": "saved_model_main_op", "listed": "table_initializer"}[where]
            meta.collection_def[key].node_list.value[:] = [writing]

    source = version_1(tf, place.root / "v1")
    assert "reads or writes checkpoints" in refusal(edited(source, place.root / "edited", edit))


def test_a_graph_of_tensorflow_1_whose_signature_fills_a_table(tf: Any, place: Place) -> None:
    def edit(graph: Any) -> None:
        meta = graph.meta_graphs[0]
        filling = next(node for node in meta.graph_def.node if node.op in TABLE_FROM_FILE)
        output = next(node for node in meta.graph_def.node if node.op == "MatMul")
        output.input.append(f"^{filling.name}")

    source = version_1(tf, place.root / "v1", place.secret)
    assert "reads or writes checkpoints" in refusal(edited(source, place.root / "edited", edit))


# ---------------------------------------------------------------- folders


def linked_graph(folder: Path, place: Place) -> None:
    (folder / "saved_model.pb").rename(place.root / "elsewhere.pb")
    (folder / "saved_model.pb").symlink_to(place.root / "elsewhere.pb")


def linked_weights(folder: Path, place: Place) -> None:
    shutil.rmtree(folder / "variables")
    (folder / "variables").symlink_to(place.root / "outside")


def endless(folder: Path, place: Place) -> None:
    (folder / "extra").symlink_to("/dev/zero")


def fifo(folder: Path, place: Place) -> None:
    (folder / "saved_model.pb").unlink()
    os.mkfifo(folder / "saved_model.pb")


def fifo_of_weights(folder: Path, place: Place) -> None:
    os.mkfifo(folder / "variables" / "variables.data-00001-of-00002")


def other_shard(folder: Path, place: Place) -> None:
    (folder / "variables" / "variables.data-1-of-\x1b").write_text("x")


def as_text(folder: Path, place: Place) -> None:
    (folder / "saved_model.pbtxt").write_text("")


def in_pieces(folder: Path, place: Place) -> None:
    (folder / "saved_model.cpb").write_text("")


def no_graph_file(folder: Path, place: Place) -> None:
    (folder / "saved_model.pb").unlink()


def a_folder_as_graph(folder: Path, place: Place) -> None:
    (folder / "saved_model.pb").unlink()
    (folder / "saved_model.pb").mkdir()


def truncated(folder: Path, place: Place) -> None:
    content = (folder / "saved_model.pb").read_bytes()
    (folder / "saved_model.pb").write_bytes(content[: len(content) // 2])


def empty(folder: Path, place: Place) -> None:
    (folder / "saved_model.pb").write_bytes(b"")


def huge_graph(folder: Path, place: Place) -> None:
    os.truncate(folder / "saved_model.pb", 2**31)


def huge_weights(folder: Path, place: Place) -> None:
    os.truncate(next((folder / "variables").glob("variables.data*")), 2**43)


def nested(folder: Path, place: Place) -> None:
    value = b""  # a call whose attribute is a call, 200 levels deep
    for _ in range(200):
        value = part(10, part(2, part(2, value)))
    (folder / "saved_model.pb").write_bytes(part(2, part(2, part(1, part(5, part(2, value))))))


def part(number: int, content: bytes) -> bytes:
    """A field of a protocol buffer."""
    return bytes([number << 3 | 2]) + varint(len(content)) + content


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


FOLDERS = {
    linked_graph: "saved_model.pb is a link",
    linked_weights: "variables is a link",
    endless: "extra is a link",
    fifo: "saved_model.pb is no regular file",
    fifo_of_weights: "is no regular file",
    other_shard: "is not a shard of weights",
    as_text: "holds saved_model.pbtxt",
    in_pieces: "holds saved_model.cpb",
    no_graph_file: "holds no saved_model.pb",
    a_folder_as_graph: "holds no saved_model.pb",
    truncated: "saved_model.pb is damaged",
    empty: "holds 0 graphs",
    huge_graph: "expected at most",
    huge_weights: "more than half of this machine's memory",
    nested: "saved_model.pb is damaged",
}


@pytest.mark.parametrize("spoil", FOLDERS, ids=lambda spoil: spoil.__name__)
def test_a_folder_that_is_no_model(place: Place, plain: Path, spoil: Any) -> None:
    folder = place.root / "model"
    shutil.copytree(plain, folder)
    spoil(folder, place)
    assert FOLDERS[spoil] in refusal(folder)
    assert place.untouched()


def test_weights_that_are_damaged_end_in_one_sentence(place: Place, plain: Path) -> None:
    for number, name in enumerate(("variables.index", "variables.data-00000-of-00001")):
        folder = place.root / f"model{number}"
        shutil.copytree(plain, folder)
        (folder / "variables" / name).write_bytes(b"\xff" * 40)
        with pytest.raises(BadInput, match="TensorFlow cannot load it"):
            float_model.saved_model(reference(folder))


# ---------------------------------------------------------------- the list itself


def test_the_list_is_what_was_reviewed(tf: Any) -> None:
    """Held to the registry: a name of an input or attribute that speaks of files or machines is not on the list."""
    from tensorflow.core.framework import op_def_pb2
    from tensorflow.python.client import pywrap_tf_session

    registry = op_def_pb2.OpList()
    registry.ParseFromString(pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList()))
    operators = {operator.name: operator for operator in registry.op}
    assert len(operators) > 1500
    assert tf.version.VERSION
    assert len(ALLOWED) == 850
    assert not ALLOWED & (SAVER | TABLE_FROM_FILE)
    reaching = re.compile(r"file|path|url|region|descriptor|vocab|librar|address|host_|uri|logdir")
    for name in sorted(ALLOWED & set(operators)):
        operator = operators[name]
        assert not name.startswith("_")
        words = [one.name for one in (*operator.input_arg, *operator.attr)]
        found = [word for word in words if reaching.search(word.lower())]
        known = {"host_reserved", "top_paths"}  # memory of cuDNN; the best sequences of a decoder
        assert not set(found) - known, (name, found)
        assert not re.search(
            r"Dataset|File|Print|Queue|Reader|Save|Restore|Summary|Debug|Dump|PyFunc|Rpc|TPU|Collective|Nccl|Xla"
            r"|Remote|Send|Recv|Experimental|Socket|Session|Barrier|Stage|Abort|Sleep|Proto|Compress",
            name,
        ), name
    stateful = {name for name in ALLOWED & set(operators) if operators[name].is_stateful}
    assert all(name in ALLOWED for name in ("Conv2D", "StatefulPartitionedCall", "TensorListReserve"))
    for name in stateful:
        assert re.search(
            r"Var|Resource|Table|Random|Rng|Stateful|Stack|TensorArray|Cudnn|^If$|^While$|^Case$|^Assert$|CheckNumerics"
            r"|Distorted|Truncated|Multinomial|^Empty$|GuaranteeConst|NonDeterministicInts|DisableCopyOnRead|StridedSlice"
            r"|IteratorGetNext",
            name,
        ), name
