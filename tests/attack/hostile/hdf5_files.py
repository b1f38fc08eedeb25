"""HDF5 files that read other files, never end, or unpack to more than there is."""

import io
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np

from hostile import keras_parts as parts
from hostile.room import Hostile, Room

KERNEL, BIAS = "dense/dense/kernel:0", "dense/dense/bias:0"
Change = Callable[[h5py.Group, Room], None]


def _external(group: h5py.Group, room: Room) -> None:
    del group[KERNEL]
    group.create_dataset(KERNEL, (4, 2), "f4", external=[(str(room.outside / "private.raw"), 0, 32)])


def _external_relative(group: h5py.Group, room: Room) -> None:
    del group[KERNEL]
    group.create_dataset(KERNEL, (4, 2), "f4", external=[("../outside/private.raw", 0, 32)])


def _external_device(group: h5py.Group, room: Room) -> None:
    del group[KERNEL]
    group.create_dataset(KERNEL, (4, 2), "f4", external=[("/dev/zero", 0, 32)])


def _private_hdf5(room: Room) -> Path:
    path = room.outside / "private.h5"
    with h5py.File(path, "w") as file:
        file["kernel"] = np.frombuffer(b"S3CRET!!" * 4, np.float32).reshape(4, 2)
    return path


def _external_link(group: h5py.Group, room: Room) -> None:
    del group[KERNEL]
    group[KERNEL] = h5py.ExternalLink(str(_private_hdf5(room)), "/kernel")


def _external_group(group: h5py.Group, room: Room) -> None:
    path = _private_hdf5(room)
    with h5py.File(path, "a") as file:
        file.copy(file["kernel"], "dense/kernel:0")
        file["dense/bias:0"] = np.zeros(2, np.float32)
        file.attrs["weight_names"] = [b"dense/kernel:0", b"dense/bias:0"]
    del group["dense"]
    group["dense"] = h5py.ExternalLink(str(path), "/")


def _virtual(group: h5py.Group, room: Room) -> None:
    del group[KERNEL]
    layout = h5py.VirtualLayout((4, 2), "f4")
    layout[:] = h5py.VirtualSource(str(_private_hdf5(room)), "kernel", (4, 2))
    group.create_virtual_dataset(KERNEL, layout)


def _soft(group: h5py.Group, room: Room) -> None:
    del group[KERNEL]
    group[KERNEL] = h5py.SoftLink(KERNEL.join(["/model_weights/", ""]))


def _soft_to_nothing(group: h5py.Group, room: Room) -> None:
    del group[KERNEL]
    group[KERNEL] = h5py.SoftLink("/nowhere")


def _loop(group: h5py.Group, room: Room) -> None:
    group["dense/again"] = group
    del group[KERNEL]
    group[KERNEL] = h5py.SoftLink("/model_weights/dense/again/" * 3 + KERNEL)


def _bomb(group: h5py.Group, room: Room) -> None:
    del group[KERNEL]
    group.create_dataset(KERNEL, (2**18, 2**14), "f4", chunks=(2**10, 2**10), compression="gzip", fillvalue=1.0)


def _bomb_written(group: h5py.Group, room: Room) -> None:
    del group[KERNEL]
    big = group.create_dataset(KERNEL, (2**15, 2**15), "f4", chunks=(2**10, 2**15), compression="gzip")
    for start in range(0, 2**15, 2**13):  # a block in eight is there, the rest are fill values
        big[start : start + 2**10] = 0


def _unlimited(group: h5py.Group, room: Room) -> None:
    del group[KERNEL]
    group.create_dataset(KERNEL, (2**40, 2), "f4", maxshape=(None, 2), chunks=(1024, 2))


def _objects(group: h5py.Group, room: Room) -> None:
    del group[KERNEL]
    group.create_dataset(KERNEL, (4, 2), h5py.string_dtype())


def _references(group: h5py.Group, room: Room) -> None:
    del group[KERNEL]
    group.create_dataset(KERNEL, (4, 2), h5py.ref_dtype)


def _wide(group: h5py.Group, room: Room) -> None:
    group.attrs["layer_names"] = np.array([b"x" * 1000] * 50)


def _named_outside(group: h5py.Group, room: Room) -> None:
    group.attrs["layer_names"] = [b"/../../dense"]


CHANGES: dict[str, tuple[str, Change]] = {
    "external_storage": ("read", _external),
    "external_storage_relative": ("read", _external_relative),
    "external_storage_device": ("read", _external_device),
    "external_link": ("read", _external_link),
    "external_group": ("read", _external_group),
    "virtual_dataset": ("read", _virtual),
    "soft_link_to_itself": ("time", _soft),
    "soft_link_to_nothing": ("time", _soft_to_nothing),
    "loop": ("time", _loop),
    "bomb_of_fill_values": ("memory", _bomb),
    "bomb_of_chunks": ("memory", _bomb_written),
    "endless_dataset": ("memory", _unlimited),
    "strings_as_weights": ("time", _objects),
    "references_as_weights": ("time", _references),
    "long_names": ("time", _wide),
    "names_outside": ("read", _named_outside),
}
IN_ARCHIVE = ("external_storage", "external_link", "virtual_dataset", "bomb_of_fill_values", "endless_dataset")


def whole() -> Iterator[Hostile]:
    """A whole model of Keras 2 whose weights are elsewhere."""
    for name, (aim, change) in CHANGES.items():

        def make(room: Room, change: Change = change) -> list[str]:
            path = parts.h5(room.given / "m.h5", parts.sequential(parts.dense()))
            with h5py.File(path, "a") as file:
                change(file["model_weights"], room)
            return room.trying(path)

        yield Hostile(f"hdf5_{name}", "HDF5 links and storage", make, (aim,))


def inside() -> Iterator[Hostile]:
    """The same of the weights in a ``.keras`` of either version."""
    for version in (parts.KERAS2, parts.KERAS3):
        for name in IN_ARCHIVE:
            aim, change = CHANGES[name]

            def make(room: Room, change: Change = change, version: str = version) -> list[str]:
                aside = room.tmp / "weights.h5"
                with h5py.File(aside, "w") as file:
                    for key, values in zip((KERNEL, BIAS), parts.VALUES, strict=True):
                        file[key] = values
                    change(file, room)
                    file.create_group("vars")
                    file.move(KERNEL, "layers/dense/vars/0")
                    file.move(BIAS, "layers/dense/vars/1")
                config = parts.modern(parts.sequential(parts.dense()))
                if version == parts.KERAS3:
                    config = parts.sequential3(parts.dense3())
                content = aside.read_bytes()
                aside.unlink()
                return room.trying(parts.archive(room.given / "m.keras", config, version, weights=content))

            yield Hostile(f"hdf5_{name}_in_keras{version[0]}", "HDF5 links and storage", make, (aim,))


def adopted() -> Iterator[Hostile]:
    """A model whose weights are a private file, to be kept for good."""

    def make(room: Room) -> list[str]:
        path = parts.h5(room.given / "m.h5", parts.sequential(parts.dense()))
        with h5py.File(path, "a") as file:
            _external(file["model_weights"], room)
        return room.trying(path, "adopt")

    yield Hostile("hdf5_external_storage_adopted", "HDF5 links and storage", make, ("read",))


def attributes() -> Iterator[Hostile]:
    """Attributes that are no text, or too much of it."""
    kind = "HDF5 attributes"
    values: dict[str, tuple[str, object]] = {
        "config_number": ("model_config", 7),
        "config_numbers": ("model_config", np.zeros(50)),
        "config_empty": ("model_config", ""),
        "config_null": ("model_config", h5py.Empty("f4")),
        "config_list": ("model_config", "[]"),
        "config_deep": ("model_config", '{"a":' * 60_000 + "1" + "}" * 60_000),
        "config_twins": (
            "model_config",
            '{"class_name": "Sequential", "class_name": "Lambda", "config": {"name": "x"}}',
        ),
        "version_number": ("keras_version", 9),
        "version_array": ("keras_version", np.array([b"2.1", b"3"])),
        "version_escapes": ("keras_version", "\x1b]0;owned\x07\x1b[2J9"),
        "version_lines": ("keras_version", "9\nquantbench: all is well\nShip it"),
        "config_escapes": ("model_config", '{"class_name": "\\u001b[2J\\u001b]0;owned\\u0007", "config": {}}'),
        "layer_name_escapes": (
            "model_config",
            '{"class_name": "Lambda", "config": {"name": "\\u001b]0;owned\\u0007\\u001b[2J\\nShip it"}}',
        ),
    }
    for name, (key, value) in values.items():

        def make(room: Room, key: str = key, value: object = value) -> list[str]:
            path = parts.h5(room.given / "m.h5", parts.sequential(parts.dense()))
            with h5py.File(path, "a", track_order=True) as file:
                file.attrs.pop(key)
                if isinstance(value, str) and len(value) > 60_000:
                    value = np.array(value, dtype=h5py.string_dtype())
                file.attrs[key] = value
            return room.trying(path)

        yield Hostile(f"hdf5_{name}", kind, make, ("words",))

    def reference(room: Room) -> list[str]:
        path = parts.h5(room.given / "m.h5", parts.sequential(parts.dense()))
        with h5py.File(path, "a") as file:
            file.attrs["model_config"] = file["model_weights"].ref
        return room.trying(path)

    yield Hostile("hdf5_config_reference", kind, reference, ("time",))


def damaged() -> Iterator[Hostile]:
    """Files that end too early, or whose structure lies."""
    kind = "damaged Keras files"

    def cut(room: Room) -> list[str]:
        path = parts.h5(room.given / "m.h5", parts.sequential(parts.dense()))
        path.write_bytes(path.read_bytes()[:2000])
        return room.trying(path)

    def overwritten(room: Room) -> list[str]:
        path = parts.h5(room.given / "m.h5", parts.sequential(parts.dense()))
        content = bytearray(path.read_bytes())
        content[96:800] = b"\xff" * 704
        path.write_bytes(content)
        return room.trying(path)

    def zip_behind(room: Room) -> list[str]:
        path = parts.h5(room.given / "m.h5", parts.sequential(parts.dense(kernel_constraint="canary_module.thing")))
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("metadata.json", '{"keras_version": "3.0.0"}')
            archive.writestr("config.json", "{}")
        path.write_bytes(path.read_bytes() + buffer.getvalue())
        return room.trying(path)

    def empty(room: Room) -> list[str]:
        path = room.given / "m.h5"
        path.write_bytes(b"")
        return room.trying(path)

    def head_alone(room: Room) -> list[str]:
        path = room.given / "m.h5"
        path.write_bytes(b"\x89HDF\r\n\x1a\n")
        return room.trying(path)

    def weights_alone(room: Room) -> list[str]:
        path = room.given / "m.weights.h5"
        path.write_bytes(parts.weights(path))
        return room.trying(path)

    for make in (cut, overwritten, zip_behind, empty, head_alone, weights_alone):
        yield Hostile(f"hdf5_{make.__name__}", kind, make, ("time",))


def _heaps(content: bytes) -> Iterator[tuple[int, int, int]]:
    """Size, first free block and place of the names of each group."""
    at = -1
    while (at := content.find(b"HEAP", at + 1)) >= 0:
        yield struct.unpack_from("<QQQ", content, at + 8)


def _endless_names(content: bytes) -> bytes:
    """The list of free blocks among the names of a group begins again at its end."""
    found = bytearray(content)
    for size, free, begin in _heaps(content):
        if free < size:
            struct.pack_into("<Q", found, begin + free, free)
    return bytes(found)


def _endless_tree(content: bytes) -> bytes:
    """Each node of a group's tree is its own neighbour on both sides."""
    found, at = bytearray(content), -1
    while (at := content.find(b"TREE", at + 1)) >= 0:
        struct.pack_into("<QQ", found, at + 8, at, at)
    return bytes(found)


def _deep_tree(content: bytes) -> bytes:
    """Each node of a group's tree is its own branch."""
    found, at = bytearray(content), -1
    while (at := content.find(b"TREE", at + 1)) >= 0:
        found[at + 5] = 1
        struct.pack_into("<Q", found, at + 32, at)
    return bytes(found)


def _endless_texts(content: bytes) -> bytes:
    """The first text of a collection, which attributes point into, takes no place, so that the next one is the same."""
    found, at = bytearray(content), content.find(b"GCOL")
    struct.pack_into("<Q", found, at + 24, 0)
    return bytes(found)


def endless() -> Iterator[Hostile]:
    """Files on which HDF5 turns in circles or crashes, alone and as the weights of a ``.keras``."""
    kind = "endless HDF5"
    for change in (_endless_names, _endless_tree, _deep_tree, _endless_texts):

        def alone(room: Room, change: Callable[[bytes], bytes] = change) -> list[str]:
            path = parts.h5(room.given / "m.h5", parts.sequential(parts.dense()))
            with h5py.File(path, "a") as file:
                file["model_weights"].attrs["words"] = np.array(["a", "b"], h5py.string_dtype())
            path.write_bytes(change(path.read_bytes()))
            return room.trying(path)

        yield Hostile(f"hdf5{change.__name__}", kind, alone, ("time",))
        for version in (parts.KERAS2, parts.KERAS3):

            def held(room: Room, change: Callable[[bytes], bytes] = change, version: str = version) -> list[str]:
                aside = room.tmp / "weights.h5"
                aside.write_bytes(parts.weights(aside))
                with h5py.File(aside, "a") as file:
                    file["layers/dense"].attrs["words"] = np.array(["a", "b"], h5py.string_dtype())
                content = change(aside.read_bytes())
                aside.unlink()
                config = parts.modern(parts.sequential(parts.dense()))
                if version == parts.KERAS3:
                    config = parts.sequential3(parts.dense3())
                return room.trying(parts.archive(room.given / "m.keras", config, version, weights=content))

            yield Hostile(f"hdf5{change.__name__}_in_keras{version[0]}", kind, held, ("time",))


# A loader that fails has already read: what leads elsewhere is refused before.
_NAMES = ("hdf5_long_names", "hdf5_names_outside")  # of groups in the same file, which are not there
_REFUSED = [
    one if one.name in _NAMES else replace(one, forbidden=("cannot load it",))
    for one in (*whole(), *inside(), *adopted())
]
ALL = [*_REFUSED, *attributes(), *endless(), *damaged()]
