"""Archives that unpack to more than there is, or to where they should not."""

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil

from hostile import keras_parts as parts
from hostile.room import Hostile, Room
from hostile.tflites import healthy

BOMB = 2**30  # bytes, more than a file may make a process take


def _deflated(file: zipfile.ZipFile, name: str, count: int, head: bytes = b"") -> None:
    """A member of so many zero bytes, a thousandth of that on the disk: one compressed block, again and again."""
    block = bytes(2**20)
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = compressor.compress(head) + compressor.flush(zlib.Z_FULL_FLUSH)
    again = compressor.compress(block) + compressor.flush(zlib.Z_FULL_FLUSH)
    content = first + again * (count // len(block)) + compressor.flush()
    check = zlib.crc32(head)
    for _ in range(count // len(block)):
        check = zlib.crc32(block, check)
    info = zipfile.ZipInfo(name)
    info.compress_type, info.CRC = zipfile.ZIP_DEFLATED, check
    info.compress_size, info.file_size = len(content), len(head) + count
    assert file.fp is not None
    info.header_offset = file.start_dir
    file.fp.seek(file.start_dir)
    file.fp.write(info.FileHeader(zip64=False) + content)
    file.start_dir = file.fp.tell()
    file.filelist.append(info)
    file.NameToInfo[name] = info
    file._didModify = True  # type: ignore[attr-defined]


def _metadata(file: zipfile.ZipFile, version: str) -> None:
    file.writestr("metadata.json", json.dumps({"keras_version": version}))


def _config(version: str) -> str:
    config = parts.modern(parts.sequential(parts.dense()))
    return json.dumps(parts.sequential3(parts.dense3()) if version[0] == "3" else config)


def _bomb(member: str, version: str, count: int = BOMB) -> Callable[[Room], list[str]]:
    def make(room: Room) -> list[str]:
        path = room.given / "m.keras"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            if member != "metadata.json":
                _metadata(file, version)
            if member != "config.json":
                file.writestr("config.json", _config(version))
            _deflated(file, member, count)
        return room.trying(path)

    return make


def _lying(room: Room) -> list[str]:
    """A member that says that it is small."""
    path = room.given / "m.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        _metadata(file, parts.KERAS2)
        file.writestr("config.json", _config(parts.KERAS2))
        _deflated(file, "model.weights.h5", BOMB)
    content = bytearray(path.read_bytes())
    for sign, at in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        place = content.rfind(sign)
        content[place + at : place + at + 4] = struct.pack("<I", 2000)
    path.write_bytes(content)
    return room.trying(path)


def _again(file: zipfile.ZipFile, names: list[str]) -> None:
    """Further members that share the bytes of the last one."""
    last = file.filelist[-1]
    for name in names:
        copy = zipfile.ZipInfo(name)
        for field in ("compress_type", "CRC", "compress_size", "file_size", "header_offset", "flag_bits"):
            setattr(copy, field, getattr(last, field))
        file.filelist.append(copy)
        file.NameToInfo[name] = copy


def _overlapping(room: Room) -> list[str]:
    """Many members that share the same bytes."""
    path = room.given / "m.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        _metadata(file, parts.KERAS2)
        file.writestr("config.json", _config(parts.KERAS2))
        _deflated(file, "assets/0", 2**24)
        _again(file, [f"assets/{number}" for number in range(1, 200)])
    return room.trying(path)


def _many(room: Room) -> list[str]:
    path = room.given / "m.keras"
    with zipfile.ZipFile(path, "w") as file:
        _metadata(file, parts.KERAS2)
        file.writestr("config.json", _config(parts.KERAS2))
        for number in range(40_000):
            file.writestr(f"assets/{number}", b"")
    return room.trying(path)


def _link(room: Room) -> list[str]:
    path = room.given / "m.keras"
    with zipfile.ZipFile(path, "w") as file:
        _metadata(file, parts.KERAS3)
        file.writestr("config.json", _config(parts.KERAS3))
        info = zipfile.ZipInfo("model.weights.h5")
        info.create_system, info.external_attr = 3, 0o120777 << 16
        file.writestr(info, str(room.private))
    return room.trying(path)


def _member(name: str, content: bytes = b"x") -> Callable[[Room], list[str]]:
    def make(room: Room) -> list[str]:
        return room.trying(
            parts.archive(
                room.given / "m.keras",
                _config(parts.KERAS3),
                parts.KERAS3,
                **{name.format(room=room): content},
            )
        )

    return make


def _twins(room: Room) -> list[str]:
    """Two configurations, of which the check may read one and the loader the other."""
    import warnings

    path = room.given / "m.keras"
    evil = json.dumps(parts.modern(parts.operator("io.write_file", str(room.victim), contents="x")))
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as file:
        warnings.simplefilter("ignore")
        _metadata(file, parts.KERAS2)
        file.writestr("config.json", evil)
        file.writestr("config.json", _config(parts.KERAS2))
        file.writestr("model.weights.h5", parts.weights(path))
    return room.trying(path)


def _encrypted(room: Room) -> list[str]:
    path = parts.archive(room.given / "m.keras", _config(parts.KERAS2))
    content = bytearray(path.read_bytes())
    start = 0
    while (place := content.find(b"PK\x01\x02", start)) >= 0:
        content[place + 8] |= 1
        start = place + 4
    path.write_bytes(content)
    return room.trying(path)


def _not_json(name: str, content: bytes) -> Callable[[Room], list[str]]:
    def make(room: Room) -> list[str]:
        path = room.given / "m.keras"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for member, usual in (
                ("metadata.json", b'{"keras_version": "2.15.0"}'),
                ("config.json", _config(parts.KERAS2).encode()),
            ):
                file.writestr(member, content if member == name else usual)
            file.writestr("model.weights.h5", parts.weights(path))
        return room.trying(path)

    return make


def keras() -> Iterator[Hostile]:
    """A ``.keras`` is an archive."""
    kind = "archives"
    makers: dict[str, tuple[str, Callable[[Room], list[str]]]] = {
        "bomb_of_weights_keras2": ("memory", _bomb("model.weights.h5", parts.KERAS2)),
        "bomb_of_weights_keras3": ("memory", _bomb("model.weights.h5", parts.KERAS3)),
        "bomb_of_config": ("memory", _bomb("config.json", parts.KERAS2, BOMB // 2)),
        "bomb_of_metadata": ("memory", _bomb("metadata.json", parts.KERAS2, BOMB // 2)),
        "bomb_of_assets": ("memory", _bomb("assets/layer/vocabulary.txt", parts.KERAS3)),
        "size_that_lies": ("memory", _lying),
        "overlapping_members": ("memory", _overlapping),
        "many_members": ("time", _many),
        "link_as_member": ("read", _link),
        "two_configurations": ("write", _twins),
        "encrypted": ("time", _encrypted),
        "member_above": ("write", _member("assets/../../../outside/made")),
        "member_absolute": ("write", _member("{room.outside}/made")),
        "member_of_a_drive": ("write", _member("C:/made")),
        "member_with_backslashes": ("write", _member("assets\\..\\..\\made")),
        "member_with_escapes": ("words", _member("../\x1b[2J\x1b]0;owned\x07")),
        "deep_config": ("time", _not_json("config.json", b'{"a":' * 90_000 + b"1" + b"}" * 90_000)),
        "deep_metadata": ("time", _not_json("metadata.json", b"[" * 200_000)),
        "config_of_bytes": ("time", _not_json("config.json", b"\xff\xfe" * 99)),
        "config_of_a_list": ("time", _not_json("config.json", b"[1, 2]")),
        "config_of_a_huge_number": ("time", _not_json("config.json", b'{"class_name": ' + b"9" * 100_000 + b"}")),
        "config_of_nan": ("time", _not_json("config.json", b'{"class_name": NaN, "config": {}}')),
        "config_of_twins": (
            "run",
            _not_json("config.json", b'{"class_name": "Sequential", "class_name": "Lambda", "config": {}}'),
        ),
        "config_of_nothing": ("time", _not_json("config.json", b"")),
    }
    for name, (aim, make) in makers.items():
        yield Hostile(f"archive_{name}", kind, make, (aim,), forbidden=("cannot load it",))


# ---------------------------------------------------------------- arrays


def _npy(descr: str, shape: str, body: bytes) -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"
    header = header.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + body


def _data(write: Callable[[zipfile.ZipFile, Room], None]) -> Callable[[Room], list[str]]:
    def make(room: Room) -> list[str]:
        with zipfile.ZipFile(room.data, "w", zipfile.ZIP_DEFLATED) as file:
            write(file, room)
        return room.trying(_healthy(room))

    return make


def _healthy(room: Room) -> Path:
    return healthy(room.given / "m.tflite")


class _Runs:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return open, (self.path, "a")


def _pickled(file: zipfile.ZipFile, room: Room) -> None:
    buffer = io.BytesIO()
    objects = np.empty(1, object)
    objects[0] = _Runs(str(room.ran))
    np.save(buffer, objects, allow_pickle=True)
    file.writestr("x.npy", buffer.getvalue())


def npz() -> Iterator[Hostile]:
    """Data of others."""
    kind = "arrays"
    labels = _npy("'|u1'", "(20,)", bytes(20))

    def bomb(file: zipfile.ZipFile, room: Room) -> None:
        """More than there is memory for, of which the disk holds a megabyte."""
        _deflated(file, "x.npy", BOMB, _npy("'<f4'", f"({BOMB // 16}, 4)", b""))
        _again(file, [f"x{number}.npy" for number in range(psutil.virtual_memory().total // BOMB + 1)])

    def lying(shape: str, descr: str = "'<f4'", body: bytes = bytes(320)) -> Callable[[zipfile.ZipFile, Room], None]:
        def write(file: zipfile.ZipFile, room: Room) -> None:
            file.writestr("x.npy", _npy(descr, shape, body))
            file.writestr("y.npy", labels)

        return write

    def names(file: zipfile.ZipFile, room: Room) -> None:
        file.writestr("../../outside/made.npy", _npy("'<f4'", "(20, 4)", bytes(320)))

    def code(file: zipfile.ZipFile, room: Room) -> None:
        header = f"{{'descr': open({str(room.ran)!r}, 'a'), 'fortran_order': False, 'shape': (1,)}}\n"
        file.writestr("x.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode())

    writers = {
        "pickled_objects": ("run", _pickled),
        "code_in_a_header": ("run", code),
        "bomb": ("memory", bomb),
        "huge_shape": ("memory", lying("(999999999999, 4)")),
        "negative_shape": ("memory", lying("(-5, 4)")),
        "deep_header": ("time", lying("(" * 95 + ")" * 95)),
        "objects_without_pickle": ("run", lying("(20,)", "'|O'")),
        "nested_dtype": ("time", lying("(20,)", "[('a', [('b', '|O')])]")),
        "huge_dtype": ("memory", lying("(20,)", "'|V999999999999'")),
        "zero_wide": ("memory", lying("(9999999999,)", "'|V0'", b"")),
        "strings": ("words", lying("(20,)", "'<U4'")),
        "names_outside": ("write", names),
    }
    for name, (aim, write) in writers.items():
        yield Hostile(f"npz_{name}", kind, _data(write), (aim,))

    def pickle_alone(room: Room) -> list[str]:
        import pickle

        room.data.write_bytes(pickle.dumps(_Runs(str(room.ran))))
        return room.trying(_healthy(room))

    yield Hostile("npz_that_is_a_pickle", kind, pickle_alone, ("run",))


ALL = [*keras(), *npz()]
