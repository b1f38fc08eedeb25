"""Folders of examples: arrays that are something else, images that are bombs or programs, and links out."""

import os
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from hostile import archives, tflites
from hostile.room import SECRET, Hostile, Room

_LABELS = np.arange(20) % 2
_SVG = '<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><image href="file://{private}"/></svg>'
_EPS = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n({ran}) (w) file closefile\n"


def _arrays(write: Callable[[Path, Room], object]) -> Callable[[Room], list[str]]:
    """A folder whose ``x.npy`` is made by ``write``."""

    def make(room: Room) -> list[str]:
        folder = room.given / "data"
        folder.mkdir()
        np.save(folder / "y.npy", _LABELS)
        write(folder / "x.npy", room)
        return _trying(room, tflites.healthy(room.given / "m.tflite"), folder)

    return make


def _images(write: Callable[[Path, Room], object]) -> Callable[[Room], list[str]]:
    """A folder of images, one of which is made by ``write``, for a model that takes one pixel."""

    def make(room: Room) -> list[str]:
        folder = room.given / "data"
        for name in ("cat", "dog"):
            (folder / name).mkdir(parents=True)
            (folder / name / "1.png").write_bytes(_png(1, 1))
        write(folder / "cat" / "2.png", room)
        model = tflites.model()
        model.subgraphs[0].tensors[0].shape = [1, 1, 1, 4]
        (room.given / "m.tflite").write_bytes(tflites.packed(model))
        return _trying(room, room.given / "m.tflite", folder)

    return make


def _trying(room: Room, model: Path, folder: Path) -> list[str]:
    arguments = room.trying(model)
    arguments[arguments.index("--data") + 1] = str(folder)
    return arguments


def _png(width: int, height: int, content: bytes = b"\0\0\0\0") -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(content)) + chunk(b"IEND", b"")


def _pickled(path: Path, room: Room) -> None:
    objects = np.empty(20, object)
    objects[0] = archives._Runs(str(room.ran))
    np.save(path, objects, allow_pickle=True)


def _header(text: Callable[[Room], str]) -> Callable[[Path, Room], object]:
    def write(path: Path, room: Room) -> None:
        header = text(room) + "\n"
        path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + bytes(320))

    return write


def _shape(shape: str, descr: str = "'<f4'") -> Callable[[Path, Room], object]:
    return _header(lambda _: f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}")


def _private(path: Path, room: Room) -> None:
    values = np.frombuffer(f"{SECRET}!!".encode() * 40, np.float32).reshape(20, 4)
    np.save(room.outside / "private.npy", values)
    path.symlink_to(room.outside / "private.npy")


def _many(path: Path, _room: Room) -> None:
    for number in range(10_100):
        (path.parent / f"x_{number}.npy").touch()


def _named(path: Path, _room: Room) -> None:
    path.write_bytes(_png(1, 1))
    path.parent.rename(path.parent.with_name("cat\x1b]0;title\x07\n quantbench: all is well"))


def all_of_them() -> Iterator[Hostile]:
    """All."""
    arrays: dict[str, tuple[str, Callable[[Path, Room], object]]] = {
        "pickled_objects": ("run", _pickled),
        "code_in_a_header": ("run", _header(lambda room: f"{{'descr': open({str(room.ran)!r}, 'a'), 'shape': (1,)}}")),
        "link_to_a_private_array": ("read", _private),
        "link_to_zeros": ("time", lambda path, room: path.symlink_to("/dev/zero")),
        "pipe": ("time", lambda path, room: os.mkfifo(path)),
        "huge_shape": ("memory", _shape("(999999999999, 4)")),
        "overflowing_shape": ("memory", _shape("(4611686018427387904, 4)")),
        "negative_shape": ("memory", _shape("(-5, 4)")),
        "zero_wide": ("memory", _shape("(9999999999,)", "'|V0'")),
        "deep_header": ("time", _header(lambda _: "(" * 95 + ")" * 95)),
        "ten_thousand_shards": ("time", _many),
    }
    for name, (aim, write) in arrays.items():
        yield Hostile(f"npy_{name}", "arrays in a folder", _arrays(write), (aim,))
    images: dict[str, tuple[str, Callable[[Path, Room], object]]] = {
        "bomb": ("memory", lambda path, room: path.write_bytes(_png(60_000, 60_000))),
        "large_bomb": ("memory", lambda path, room: path.write_bytes(_png(12_000, 12_000))),
        "program": ("run", lambda path, room: path.write_text(_EPS.format(ran=room.ran))),
        "drawing_of_a_private_file": ("read", lambda path, room: path.write_text(_SVG.format(private=room.private))),
        "link": ("read", lambda path, room: path.symlink_to(room.private)),
        "pipe": ("time", lambda path, room: os.mkfifo(path)),
        "class_that_clears_the_screen": ("words", _named),
        "list_of_classes_that_is_private": (
            "read",
            lambda path, room: (path.parents[1] / "classes.txt").symlink_to(room.private),
        ),
    }
    for name, (aim, write) in images.items():
        yield Hostile(f"image_{name}", "images", _images(write), (aim,))


ALL = list(all_of_them())
