"""SavedModels that write, read, load or fill, when they are loaded or when they are run."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hostile.room import Hostile, Room

Change = Callable[[Any, Room], None]
Body = Callable[[Any, Any, Room], Any]  # (tensorflow, the input, the room) -> the output


def saved(folder: Path, body: Callable[[Any], Any], **kept: Any) -> Path:
    """A SavedModel with one signature, as TensorFlow writes it."""
    import tensorflow as tf

    module = tf.Module()
    module.kernel = tf.Variable(tf.eye(4, 2), name="kernel")
    for name, value in kept.items():
        setattr(module, name, value)
    module.serve = tf.function(body, input_signature=[tf.TensorSpec([1, 4], tf.float32, name="x")])
    tf.saved_model.save(module, str(folder), signatures=module.serve)
    return folder


def healthy(room: Room) -> Path:
    """A model with nothing wrong; TensorFlow writes it once for each process."""
    template = room.root.parent / "template"
    if not template.exists():
        import tensorflow as tf

        saved(template, lambda x: tf.matmul(x, tf.eye(4, 2)) * 2.0)
    return Path(shutil.copytree(template, room.given / "m"))


def read(folder: Path) -> Any:
    """What is in its ``saved_model.pb``."""
    from tensorflow.core.protobuf import saved_model_pb2

    found = saved_model_pb2.SavedModel()
    found.ParseFromString((folder / "saved_model.pb").read_bytes())
    return found


def function(found: Any) -> Any:
    """The function that computes."""
    functions = found.meta_graphs[0].graph_def.library.function
    return next(one for one in functions if any(node.op == "MatMul" for node in one.node_def))


# ---------------------------------------------------------------- what TensorFlow itself writes


def _write_file(tf: Any, x: Any, room: Room) -> Any:
    with tf.control_dependencies([tf.io.write_file(str(room.victim), "x")]):
        return tf.identity(x)


def _print_to_file(tf: Any, x: Any, room: Room) -> Any:
    with tf.control_dependencies([tf.print("ran", x, output_stream=f"file://{room.victim}")]):
        return tf.identity(x)


def _read_file(tf: Any, x: Any, room: Room) -> Any:
    return x + tf.cast(tf.strings.length(tf.io.read_file(str(room.private))), tf.float32)


def _matching(tf: Any, x: Any, room: Room) -> Any:
    return x + tf.cast(tf.size(tf.raw_ops.MatchingFiles(pattern=f"{room.outside}/*")), tf.float32)


def _save(tf: Any, x: Any, room: Room) -> Any:
    save = tf.raw_ops.SaveV2(prefix=str(room.outside / "made"), tensor_names=["x"], shape_and_slices=[""], tensors=[x])
    with tf.control_dependencies([save]):
        return tf.identity(x)


def _restore(tf: Any, x: Any, room: Room) -> Any:
    arguments = {"prefix": str(room.outside / "private"), "tensor_names": ["x"], "shape_and_slices": [""]}
    return x + tf.raw_ops.RestoreV2(**arguments, dtypes=[tf.float32])[0]


def _lines(tf: Any, x: Any, room: Room) -> Any:
    lines = tf.data.TextLineDataset(str(room.private))
    return x + tf.cast(lines.reduce(tf.constant(0, tf.int64), lambda count, _: count + 1), tf.float32)


def _records(tf: Any, x: Any, room: Room) -> Any:
    found = tf.data.TFRecordDataset(str(room.private))
    return x + tf.cast(found.reduce(tf.constant(0, tf.int64), lambda count, _: count + 1), tf.float32)


def _python(tf: Any, x: Any, room: Room) -> Any:
    return tf.reshape(tf.numpy_function(lambda a: a, [x], tf.float32), [1, 4])


def _move(tf: Any, x: Any, room: Room) -> Any:
    merge = tf.raw_ops.MergeV2Checkpoints(
        checkpoint_prefixes=[str(room.victims)], destination_prefix=str(room.outside / "made")
    )
    with tf.control_dependencies([merge]):
        return tf.identity(x)


def _summary(tf: Any, x: Any, room: Room) -> Any:
    writer = tf.raw_ops.SummaryWriter(shared_name="w", container="")
    made = tf.raw_ops.CreateSummaryFileWriter(
        writer=writer, logdir=str(room.outside / "made"), max_queue=1, flush_millis=1, filename_suffix=""
    )
    with tf.control_dependencies([made]):
        return tf.identity(x)


BODIES: dict[str, tuple[str, Body]] = {
    "write_file": ("write", _write_file),
    "print_to_file": ("write", _print_to_file),
    "read_file": ("read", _read_file),
    "matching_files": ("read", _matching),
    "save_checkpoint": ("write", _save),
    "restore_checkpoint": ("read", _restore),
    "text_lines": ("read", _lines),
    "records": ("read", _records),
    "python": ("run", _python),
    "merge_checkpoints": ("write", _move),
    "summary_writer": ("write", _summary),
}


def real() -> Iterator[Hostile]:
    """Operators in the function that is called."""
    for name, (aim, body) in BODIES.items():

        def make(room: Room, body: Body = body) -> list[str]:
            import tensorflow as tf

            return room.trying(saved(room.given / "m", lambda x: tf.matmul(body(tf, x, room), tf.eye(4, 2))))

        yield Hostile(f"saved_{name}", "SavedModel operators", make, (aim,))


def initializers() -> Iterator[Hostile]:
    """What runs while the model is loaded."""
    kind = "SavedModel initializers"

    def at_load(body: Callable[[Any, Room], Any], command: str = "try") -> Callable[[Room], list[str]]:
        def make(room: Room) -> list[str]:
            import tensorflow as tf

            class Resource(tf.saved_model.experimental.TrackableResource):  # type: ignore[misc,name-defined]
                def _create_resource(self) -> Any:
                    return tf.raw_ops.MutableHashTableV2(key_dtype=tf.string, value_dtype=tf.int64, shared_name="t")

                def _initialize(self) -> None:
                    if not tf.executing_eagerly():
                        body(tf, room)

                def _destroy_resource(self) -> None:
                    pass

            resource = Resource()
            _ = resource.resource_handle
            path = saved(room.given / "m", lambda x: tf.matmul(x, tf.eye(4, 2)), resource=resource)
            return room.trying(path, command)

        return make

    def write(tf: Any, room: Room) -> None:
        tf.io.write_file(str(room.victim), "x")

    def printed(tf: Any, room: Room) -> None:
        tf.print("x", output_stream=f"file://{room.victim}")

    def copied(tf: Any, room: Room) -> None:
        tf.io.write_file(str(room.given / "copied"), tf.io.read_file(str(room.private)))

    def checkpoint(tf: Any, room: Room) -> None:
        arguments = {"prefix": str(room.outside / "made"), "tensor_names": ["x"], "shape_and_slices": [""]}
        tf.raw_ops.SaveV2(**arguments, tensors=[tf.zeros(2)])

    for body in (write, printed, copied, checkpoint):
        yield Hostile(f"saved_init_{body.__name__}", kind, at_load(body), ("write",))
    yield Hostile("saved_init_adopted", kind, at_load(copied, "adopt"), ("write", "read"))

    def table(room: Room) -> list[str]:
        import tensorflow as tf

        words = room.given / "words.txt"
        words.write_text("a\nb\n")
        initializer = tf.lookup.TextFileInitializer(
            str(words), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
        )
        table = tf.lookup.StaticHashTable(initializer, -1)

        def body(x: Any) -> Any:
            return tf.matmul(x, tf.eye(4, 2)) + tf.cast(table.lookup(tf.constant("a")), tf.float32)

        return [str(saved(room.given / "m", body, table=table))]

    def asset(change: Callable[[Path, Room], None], command: str = "try") -> Callable[[Room], list[str]]:
        def make(room: Room) -> list[str]:
            path = Path(table(room)[0])
            change(path, room)
            return room.trying(path, command)

        return make

    def renamed(name: str) -> Callable[[Path, Room], None]:
        def change(path: Path, room: Room) -> None:
            found = read(path)
            found.meta_graphs[0].asset_file_def[0].filename = name.format(room=room)
            (path / "saved_model.pb").write_bytes(found.SerializeToString())

        return change

    def linked(path: Path, room: Room) -> None:
        (path / "assets" / "words.txt").unlink()
        (path / "assets" / "words.txt").symlink_to(room.private)

    def folder_linked(path: Path, room: Room) -> None:
        shutil.rmtree(path / "assets")
        (room.outside / "words.txt").write_text("S3CRET\n")
        (path / "assets").symlink_to(room.outside)

    yield Hostile("asset_above", kind, asset(renamed("../../../outside/private.txt")), ("read",))
    yield Hostile("asset_absolute", kind, asset(renamed("{room.private}")), ("read",))
    yield Hostile("asset_linked", kind, asset(linked), ("read",))
    yield Hostile("asset_linked_adopted", kind, asset(linked, "adopt"), ("read",))
    yield Hostile("asset_folder_linked", kind, asset(folder_linked), ("read",))


# ---------------------------------------------------------------- what somebody edited


def _node(found: Any, op: str, *paths: str, inputs: tuple[str, ...] = ()) -> None:
    """Put an operator into the function, which waits for it."""
    inside = function(found)
    names = list(inputs)
    for number, path in enumerate(paths):
        constant = inside.node_def.add()
        constant.name, constant.op = f"evil_{number}", "Const"
        constant.attr["dtype"].type = 7
        constant.attr["value"].tensor.dtype = 7
        constant.attr["value"].tensor.tensor_shape.SetInParent()
        constant.attr["value"].tensor.string_val.append(path.encode())
        names.append(f"evil_{number}:output:0")
    node = inside.node_def.add()
    node.name, node.op = "evil", op
    node.input.extend(names)
    next(one for one in inside.node_def if one.op == "MatMul").input.append("^evil")


def _op(op: str, *paths: str) -> Change:
    return lambda found, room: _node(found, op, *(path.format(room=room) for path in paths))


def _swapped(found: Any, room: Room) -> None:
    for node in function(found).node_def:
        if node.op == "MatMul":
            node.op = "SomebodysMatMul"


def _hidden(found: Any, room: Room) -> None:
    """A function that is called as an operator that nobody knows, and one whose name is that of a known operator."""
    library = found.meta_graphs[0].graph_def.library
    copy = library.function.add()
    copy.CopyFrom(function(found))
    copy.signature.name = "WriteFile"
    _op("WriteFile", "{room.victim}", "x")(found, room)


def _in_graph(found: Any, room: Room) -> None:
    graph = found.meta_graphs[0].graph_def
    for name, text in (("where", str(room.victim)), ("what", "x")):
        constant = graph.node.add()
        constant.name, constant.op = name, "Const"
        constant.attr["dtype"].type = 7
        constant.attr["value"].tensor.dtype = 7
        constant.attr["value"].tensor.tensor_shape.SetInParent()
        constant.attr["value"].tensor.string_val.append(text.encode())
    node = graph.node.add()
    node.name, node.op = "evil", "WriteFile"
    node.input.extend(["where", "what"])


def _huge_constant(found: Any, room: Room) -> None:
    constant = next(one for one in function(found).node_def if one.op == "Const")
    tensor = constant.attr["value"].tensor
    tensor.Clear()
    tensor.dtype = 1
    for size in (2**17, 2**17):
        tensor.tensor_shape.dim.add().size = size
    tensor.float_val.append(1.0)
    constant.attr["dtype"].type = 1


def _negative_constant(found: Any, room: Room) -> None:
    constant = next(one for one in function(found).node_def if one.op == "Const")
    constant.attr["value"].tensor.tensor_shape.dim.add().size = -(2**40)


def _library(found: Any, room: Room) -> None:
    meta = found.meta_graphs[0].meta_info_def
    meta.stripped_op_list.op.add().name = "LoadLibrary"
    _op("LoadLibrary", "{room.victim}")(found, room)


def _two_graphs(found: Any, room: Room) -> None:
    other = found.meta_graphs.add()
    other.CopyFrom(found.meta_graphs[0])
    other.meta_info_def.tags.append("gpu")
    inside = function(type("Found", (), {"meta_graphs": [other]}))
    node = inside.node_def.add()
    node.name, node.op = "evil", "WriteFile"


def _attribute(found: Any, room: Room) -> None:
    """A function that hides in an attribute of an attribute."""
    node = next(one for one in function(found).node_def if one.op == "MatMul")
    inner = node.attr["_hidden"].list.func.add()
    inner.name = "PyFunc"
    inner.attr["f"].func.name = "WriteFile"
    node.op = "PyFuncStateless"


def _device(found: Any, room: Room) -> None:
    for node in function(found).node_def:
        node.device = f"/job:worker/replica:0/task:0/device:CPU:0\x1b[2J@127.0.0.1:{room.port}"
    _op("WriteFile", "{room.victim}", "x")(found, room)


def _no_graphs(found: Any, room: Room) -> None:
    del found.meta_graphs[:]


def _no_signature(found: Any, room: Room) -> None:
    found.meta_graphs[0].signature_def.clear()
    for node in found.meta_graphs[0].object_graph_def.nodes:
        del node.children[:]


def _recursive(found: Any, room: Room) -> None:
    inside = function(found)
    node = inside.node_def.add()
    node.name, node.op = "again", "PartitionedCall"
    node.attr["f"].func.name = inside.signature.name
    node.attr["Tin"].list.SetInParent()
    node.attr["Tout"].list.SetInParent()
    next(one for one in inside.node_def if one.op == "MatMul").input.append("^again")


CHANGES: dict[str, tuple[str, Change]] = {
    "write_in_function": ("write", _op("WriteFile", "{room.victim}", "x")),
    "read_in_function": ("read", _op("ReadFile", "{room.private}")),
    "write_in_graph": ("write", _in_graph),
    "write_named_as_function": ("write", _hidden),
    "write_in_other_graph": ("write", _two_graphs),
    "python_in_attribute": ("run", _attribute),
    "load_library": ("run", _library),
    "unknown_operator": ("run", _swapped),
    "remote_device": ("network", _device),
    "huge_constant": ("memory", _huge_constant),
    "negative_constant": ("time", _negative_constant),
    "calls_itself": ("time", _recursive),
    "no_graphs": ("time", _no_graphs),
    "no_signature": ("time", _no_signature),
    "send": ("network", _op("_Send")),
    "receive": ("network", _op("_Recv")),
    "rpc": ("network", _op("RpcClient", "127.0.0.1")),
    "dataset_service": ("network", _op("RegisterDatasetV2", "a", "b", "c")),
    "remote_call": ("network", _op("RemoteCall", "127.0.0.1")),
    "checkpoint_sql": ("read", _op("SqlDataset", "sqlite", "{room.private}", "select")),
    "lmdb": ("read", _op("LMDBReader")),
    "whole_file_reader": ("read", _op("WholeFileReaderV2")),
    "audio_summary": ("write", _op("WriteAudioSummary", "x")),
    "graph_summary": ("write", _op("WriteGraphSummary", "x")),
    "save_dataset": ("write", _op("SaveDatasetV2", "{room.outside}/made")),
    "snapshot": ("write", _op("SnapshotDatasetV2", "{room.outside}/made")),
    "debug_identity": ("write", _op("DebugIdentityV2")),
    "xla_call": ("run", _op("XlaCallModule")),
    "eager_python": ("run", _op("EagerPyFunc")),
    "stack": ("memory", _op("StackV2")),
    "tpu": ("run", _op("TPUExecute")),
    "load_checkpoint": ("read", _op("RestoreSlice", "{room.private}", "x", "")),
    "asset_file": ("read", _op("InitializeTableFromTextFileV2", "x", "{room.private}")),
    "delete_session": ("delete", _op("DeleteSessionTensor", "x")),
    "copy_host": ("run", _op("CopyHost")),
    "nccl": ("network", _op("NcclAllReduce")),
    "collective": ("network", _op("CollectiveInitializeCommunicator")),
}


def edited() -> Iterator[Hostile]:
    """A model with nothing wrong, whose graph somebody changed."""
    for name, (aim, change) in CHANGES.items():

        def make(room: Room, change: Change = change) -> list[str]:
            path = healthy(room)
            found = read(path)
            change(found, room)
            (path / "saved_model.pb").write_bytes(found.SerializeToString())
            return room.trying(path)

        yield Hostile(f"graph_{name}", "SavedModel graphs", make, (aim,))


def files() -> Iterator[Hostile]:
    """The folder itself."""
    kind = "SavedModel folders"

    def text(path: Path, room: Room) -> None:
        from google.protobuf import text_format

        found = read(path)
        _in_graph(found, room)
        (path / "saved_model.pb").unlink()
        (path / "saved_model.pbtxt").write_text(text_format.MessageToString(found))

    def both(path: Path, room: Room) -> None:
        from google.protobuf import text_format

        found = read(path)
        _op("WriteFile", "{room.victim}", "x")(found, room)
        (path / "saved_model.pbtxt").write_text(text_format.MessageToString(found))
        (path / "saved_model.pb").write_bytes(b"")

    def fingerprint(path: Path, room: Room) -> None:
        (path / "fingerprint.pb").unlink(missing_ok=True)
        os.mkfifo(path / "fingerprint.pb")

    def link(path: Path, room: Room) -> None:
        shutil.move(path / "saved_model.pb", room.outside / "model.pb")
        (path / "saved_model.pb").symlink_to(room.outside / "model.pb")

    def private_link(path: Path, room: Room) -> None:
        (path / "assets").mkdir(exist_ok=True)
        (path / "assets" / "note.txt").symlink_to(room.private)

    def folder_link(path: Path, room: Room) -> None:
        (path / "assets.extra").symlink_to(room.outside)

    def zeros(path: Path, room: Room) -> None:
        (path / "assets").mkdir(exist_ok=True)
        (path / "assets" / "zeros").symlink_to("/dev/zero")

    def memory(path: Path, room: Room) -> None:
        (path / "assets").mkdir(exist_ok=True)
        (path / "assets" / "memory").symlink_to("/proc/self/mem")

    def fifo(path: Path, room: Room) -> None:
        (path / "assets").mkdir(exist_ok=True)
        os.mkfifo(path / "assets" / "pipe")

    def fifo_as_model(path: Path, room: Room) -> None:
        (path / "saved_model.pb").unlink()
        os.mkfifo(path / "saved_model.pb")

    def socket_inside(path: Path, room: Room) -> None:
        import socket

        before = Path.cwd()
        os.chdir(path)
        try:
            with socket.socket(socket.AF_UNIX) as one:
                one.bind("s")
        finally:
            os.chdir(before)

    def loop(path: Path, room: Room) -> None:
        (path / "assets.extra").symlink_to(path)

    def variables_link(path: Path, room: Room) -> None:
        shutil.move(path / "variables", room.outside / "variables")
        (path / "variables").symlink_to(room.outside / "variables")

    def deep(path: Path, room: Room) -> None:
        here = path / "assets"
        for _ in range(400):
            here = here / "deeper"
        here.mkdir(parents=True)

    def noise(path: Path, room: Room) -> None:
        (path / "saved_model.pb").write_bytes(bytes(range(256)) * 40)

    def nested(path: Path, room: Room) -> None:
        """Messages within messages, deeper than a reader can go."""
        content = b""
        for _ in range(3000):
            size = len(content)
            length = bytes([(size & 0x7F) | 0x80, (size >> 7 & 0x7F) | 0x80, size >> 14])
            content = b"\x12" + length + content
        (path / "saved_model.pb").write_bytes(content)

    changes = {
        "text": (text, ("write",)), "text_beside": (both, ("write",)), "fifo_as_fingerprint": (fingerprint, ("time",)),
        "model_linked": (link, ("read",)), "private_link": (private_link, ("read",)),
        "folder_link": (folder_link, ("read",)), "link_to_zeros": (zeros, ("memory",)),
        "link_to_memory": (memory, ("read",)), "fifo": (fifo, ("time",)), "fifo_as_model": (fifo_as_model, ("time",)),
        "socket": (socket_inside, ("time",)), "loop": (loop, ("time",)),
        "variables_linked": (variables_link, ("read",)), "deep_folders": (deep, ("time",)), "noise": (noise, ("time",)),
        "nested_messages": (nested, ("time",)),
    }  # fmt: skip
    for name, (change, aims) in changes.items():
        for command in ("try", "adopt") if "link" in name else ("try",):

            def make(room: Room, change: Callable[[Path, Room], None] = change, command: str = command) -> list[str]:
                path = healthy(room)
                change(path, room)
                return room.trying(path, command)

            yield Hostile(f"folder_{name}" + ("_adopted" if command == "adopt" else ""), kind, make, aims)


ALL = [*real(), *initializers(), *edited(), *files()]
