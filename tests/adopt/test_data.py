"""The user's examples in every form that is read, and what is said of those that are not."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import surroundings
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from quantbench.adopt import data, images, npy_files, pack, python_source
from quantbench.core.arrays import Shards
from quantbench.core.child_process import ONE_THREAD
from quantbench.errors import BadInput, DiskFull
from quantbench.reference.datasets import load_pack

IMAGES: Any = {"image": ((1, 8, 6, 3), np.float32)}
GREY: Any = {"image": ((1, 8, 6, 1), np.float32)}
FOURS: Any = {"x": ((1, 4), np.float32)}
TWO: Any = {"image": ((1, 8, 6, 1), np.float32), "age/years": ((1, 2), np.float32)}
X = np.arange(40, dtype=np.float32).reshape(10, 4)
Y = np.arange(10)


def read(source: Path | str, specs: Any, scratch: Path) -> data.Examples:
    return data.read_examples(str(source), specs, scratch / "scratch", "--data")


def refused(source: Path | str, specs: Any, scratch: Path) -> str:
    with pytest.raises(BadInput) as caught:
        read(source, specs, scratch)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def folder_of(path: Path, **arrays: np.ndarray) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(path / f"{name}.npy", array)
    return path


# ---------------------------------------------------------------- folders of .npy files


def test_a_folder_is_mapped_and_not_read(tmp_path: Path) -> None:
    found = read(folder_of(tmp_path / "d", x=X, y=Y), FOURS, tmp_path)
    assert isinstance(found.inputs, np.memmap)
    assert np.array_equal(found.inputs, X)
    assert np.array_equal(found.labels[""], Y)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.data())
def test_shards_are_as_one_array(tmp_path_factory: pytest.TempPathFactory, counts: list[int], draw: Any) -> None:
    whole = np.random.default_rng(0).normal(size=(sum(counts), 2, 2)).astype(np.float32)
    parts = np.split(whole, np.cumsum(counts)[:-1])
    folder = tmp_path_factory.mktemp("shards")
    folder_of(folder, **{f"x_{number:03d}": part for number, part in enumerate(parts)}, y=np.arange(len(whole)))
    found = read(folder, {"x": ((1, 2, 2, 1), np.float32)}, folder).inputs
    whole = whole[..., None]
    assert (found.shape, found.dtype, len(found)) == (whole.shape, whole.dtype, len(whole))  # type: ignore[union-attr]
    places = draw.draw(st.lists(st.integers(-len(whole), len(whole) - 1), max_size=8))
    bounds = st.none() | st.integers(-len(whole) - 2, len(whole) + 2)
    part = slice(draw.draw(bounds), draw.draw(bounds), draw.draw(st.sampled_from([None, 1, 2, -1, -3])))
    for index in (part, np.array(places, dtype=int), whole[:, 0, 0, 0] > 0, draw.draw(st.integers(-1, 0))):
        assert np.array_equal(found[index], whole[index])  # type: ignore[index]
    assert np.array_equal(np.asarray(found), whole)
    assert np.array_equal(found * 2, whole * 2)  # type: ignore[operator]


def test_shards_of_several_inputs_are_told_from_inputs_with_numbers(tmp_path: Path) -> None:
    specs: Any = {"in_1": ((1, 4), np.float32), "in_2": ((1, 4), np.float32)}
    folder_of(tmp_path / "d", x_in_1_000=X[:3], x_in_1_001=X[3:], x_in_2=X, y=Y)
    found = read(tmp_path / "d", specs, tmp_path)
    assert isinstance(found.inputs, dict)
    assert isinstance(found.inputs["in_1"], Shards)
    assert np.array_equal(np.asarray(found.inputs["in_1"]), found.inputs["in_2"])


def test_an_input_with_a_name_that_no_file_can_have(tmp_path: Path) -> None:
    pixels, ages = np.zeros((5, 8, 6), np.uint8), np.zeros((5, 2), np.float32)
    found = read(folder_of(tmp_path / "d", x_image=pixels, x_age_years=ages), TWO, tmp_path)
    assert isinstance(found.inputs, dict)
    assert {name: array.shape for name, array in found.inputs.items()} == {"image": (5, 8, 6, 1), "age/years": (5, 2)}


def test_labels_of_named_outputs(tmp_path: Path, code: Path) -> None:
    folder_of(tmp_path / "d", x=X, y_head_1=Y, y_head_2_000=Y[:4], y_head_2_001=Y[4:] + 1)
    found = read(tmp_path / "d", FOURS, tmp_path)
    assert list(found.labels) == ["head_1", "head_2"]
    assert np.array_equal(found.labels["head_2"], [0, 1, 2, 3, 5, 6, 7, 8, 9, 10])
    for name in ("HEADS", "HEADS_FLAT"):
        found = data.read_examples(f"{code}:{name}", FOURS, tmp_path / name, "--data")
        assert {key: values.shape for key, values in found.labels.items()} == {"a": (10,), "b": (10, 2)}
    folder_of(tmp_path / "e", x=X, y_head=Y[:3])
    assert "y_head has 3 labels, x has 10 examples" in refused(tmp_path / "e", FOURS, tmp_path)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x_000": X, "x_001": X[:, :3]}, r"x_001.npy: x has examples of shape \(3,\) \(float32\), x_000.npy has"),
        ({"x_000": X, "x_001": X.astype(np.float64)}, r"x_001.npy: .*\(float64\).* all shards need the same"),
        ({"x_000": X, "x_002": X}, "the shards of x are numbered 0 to 2, and number 1 is missing"),
        ({"x_002": X, "x_003": X}, "the shards of x are numbered 2 to 3, and number 0 is missing"),
        ({"x_1": X, "x_01": X}, "x_01.npy and x_1.npy are the same shard"),
        ({"x": X, "x_000": X}, "holds both x.npy and x_000.npy"),
        ({"x_0": X, "x_1": X, "y_0": Y[:9], "y_1": Y}, "y_0.npy: y has 9 labels, x_0.npy has 10 examples"),
        ({"x": X, "y": Y[:9]}, "y has 9 labels, x has 10 examples"),
        ({"x": X, "y": Y.astype(str)}, "y holds text; give whole numbers"),
        ({"x": X.astype(str)}, "array x has dtype <U32, expected numbers; turn text into whole numbers"),
        ({"z": X, "y": Y}, r"it has the arrays y, z; expected x \(inputs\) and y \(labels\)"),
        ({"x": X[:0]}, "array x is empty"),
        ({"x": np.float32(1)}, "holds a single value"),
        ({"x": np.where(X == 5, np.nan, X)}, "array x holds NaN or infinite values in 1 of 10 examples"),
        ({"x": X, "y": np.where(Y == 3, np.inf, Y)}, "y holds NaN or infinite values"),
    ],
)
def test_wrong_folders(tmp_path: Path, arrays: dict[str, Any], words: str) -> None:
    assert re.search(words, refused(folder_of(tmp_path / "d", **arrays), FOURS, tmp_path))


def test_a_npy_file_is_never_unpickled(tmp_path: Path) -> None:
    folder_of(tmp_path / "d", y=Y)
    np.save(tmp_path / "d" / "x.npy", np.array([{"a": 1}] * 10, dtype=object), allow_pickle=True)
    assert "holds Python objects, which are never unpickled" in refused(tmp_path / "d", FOURS, tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not a .npy file"),
        (b"\x93NUMPY", "is a damaged .npy file"),
        (b"\x93NUMPY\x01\x00\xff\xff" + b"a" * 100, "is a damaged .npy file"),
    ],
)
def test_a_damaged_npy_file(tmp_path: Path, content: bytes, words: str) -> None:
    folder_of(tmp_path / "d")
    (tmp_path / "d" / "x.npy").write_bytes(content)
    assert words in refused(tmp_path / "d", FOURS, tmp_path)


def test_a_npy_file_cut_short(tmp_path: Path) -> None:
    path = folder_of(tmp_path / "d", x=X) / "x.npy"
    path.write_bytes(path.read_bytes()[:-1])
    assert "is cut short: 159 bytes of values, expected 160" in refused(tmp_path / "d", FOURS, tmp_path)


@pytest.mark.parametrize("kind", ["link", "fifo", "folder"])
def test_links_and_special_files_are_refused(tmp_path: Path, kind: str) -> None:
    folder = folder_of(tmp_path / "d")
    np.save(tmp_path / "private.npy", X)
    if kind == "link":
        (folder / "x.npy").symlink_to(tmp_path / "private.npy")
    elif kind == "fifo":
        os.mkfifo(folder / "x.npy")
    else:
        (folder / "x.npy").mkdir()
    assert "x.npy: x cannot be read: it is a " in refused(folder, FOURS, tmp_path)


# ---------------------------------------------------------------- .npz


def test_a_large_npz_is_unpacked_onto_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "SMALL_BYTES", 100)
    np.savez_compressed(tmp_path / "d.npz", x=X, y=Y)
    found = read(tmp_path / "d.npz", FOURS, tmp_path)
    assert isinstance(found.inputs, np.memmap)
    assert np.array_equal(found.inputs, X)
    np.savez(tmp_path / "evil.npz", x=np.array([{}] * 10, dtype=object), allow_pickle=True)
    (tmp_path / "scratch").rename(tmp_path / "old")
    assert "never unpickled" in refused(tmp_path / "evil.npz", FOURS, tmp_path)


def test_an_npz_for_which_the_disk_has_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "SMALL_BYTES", 100)
    monkeypatch.setattr(npy_files, "KEEP_FREE", 2**60)
    np.savez(tmp_path / "d.npz", x=X)
    with pytest.raises(DiskFull, match=r"takes 288 bytes unpacked, and .* has room for 0 bytes"):
        read(tmp_path / "d.npz", FOURS, tmp_path)


# ---------------------------------------------------------------- images


def picture(path: Path, value: int = 100, size: tuple[int, int] = (6, 8), mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode in ("L", "I;16") else (value,) * len(mode)).save(path)  # type: ignore[arg-type]
    return path


@pytest.fixture
def animals(tmp_path: Path) -> Path:
    for number in range(4):
        picture(tmp_path / "animals" / "cat" / f"{number}.png", number)
        picture(tmp_path / "animals" / "dog" / f"{number}.jpg", 200 + number, (60, 80))
    (tmp_path / "animals" / "cat" / ".DS_Store").write_bytes(b"?")
    (tmp_path / "animals" / "README.txt").write_text("cats and dogs")
    return tmp_path / "animals"


def test_images_by_class(animals: Path, tmp_path: Path) -> None:
    found = read(animals, IMAGES, tmp_path)
    assert found.classes == ("cat", "dog")
    assert isinstance(found.inputs, np.ndarray)
    assert (found.inputs.shape, found.inputs.dtype) == ((8, 8, 6, 3), np.uint8)
    assert sorted(found.labels[""]) == [0] * 4 + [1] * 4
    assert list(found.labels[""]) != sorted(found.labels[""])  # in a fixed random order
    values = found.inputs[:, 0, 0, 0]
    assert set(values[found.labels[""] == 0]) == {0, 1, 2, 3}
    assert (values[found.labels[""] == 1] > 190).all()
    again = data.read_examples(str(animals), IMAGES, tmp_path / "again", "--data")
    assert np.array_equal(found.inputs, again.inputs)


def test_images_become_what_the_model_takes(tmp_path: Path) -> None:
    picture(tmp_path / "flat" / "a.png", 7, (12, 16), "RGBA")
    grey = read(tmp_path / "flat", GREY, tmp_path)
    assert grey.labels == {}
    assert np.array_equal(grey.inputs, np.full((1, 8, 6, 1), 7))
    first = data.read_examples(str(tmp_path / "flat"), {"i": ((1, 3, 8, 6), np.float32)}, tmp_path / "first", "--data")
    assert first.inputs.shape == (1, 3, 8, 6)  # type: ignore[union-attr]


def test_classes_in_the_order_of_the_models_outputs(animals: Path, tmp_path: Path) -> None:
    (animals / "classes.txt").write_text("dog\ncow\ncat\n")
    found = read(animals, IMAGES, tmp_path)
    assert found.classes == ("dog", "cow", "cat")
    assert set(found.labels[""]) == {0, 2}
    data.check_classes(animals, found.classes, 3)
    (animals / "classes.txt").write_text("dog\ncow\n")
    assert "cat: the class is not in classes.txt" in refused(animals, IMAGES, tmp_path)
    (animals / "classes.txt").write_text("dog\ndog\ncat\n")
    assert "names 'dog' twice" in refused(animals, IMAGES, tmp_path)


def test_classes_that_are_not_those_of_the_model(animals: Path, tmp_path: Path) -> None:
    data.check_classes(animals, ("cat", "dog"), 1)
    with pytest.raises(BadInput, match=r"holds 2 class folders, the model has 10 classes, .*classes.txt"):
        data.check_classes(animals, ("cat", "dog"), 10)


@pytest.mark.parametrize("names", [["0", "1", "10", "2"], ["1", "2"], ["3", "7"]])
def test_numbered_classes_that_can_be_read_in_two_ways(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        picture(tmp_path / "d" / name / "a.png")
    assert "the output of each class is unknown; write classes.txt" in refused(tmp_path / "d", IMAGES, tmp_path)


def test_training_images_of_other_classes(animals: Path, tmp_path: Path) -> None:
    picture(tmp_path / "train" / "fox" / "a.png", 40)
    sources = {"test": animals, "calibration": tmp_path / "train", "train": None}
    (tmp_path / "theirs").mkdir()
    folder_of(tmp_path / "theirs", x=np.ones((3, 8, 6, 3), np.uint8), y=np.zeros(3, int))
    data.read({"test": tmp_path / "theirs", "train": tmp_path / "train"}, IMAGES, tmp_path / "named_in_one")
    found = data.read(sources, IMAGES, tmp_path / "s")
    assert found.classes == ("cat", "dog")
    assert found.data["calibration"][1] is None
    assert "classes: 0 cat, 1 dog" in found.notes
    with pytest.raises(BadInput, match=r"train: its classes \(0 fox\) are not those of .* \(0 cat, 1 dog\)"):
        data.read({**sources, "train": tmp_path / "train"}, IMAGES, tmp_path / "t")


def test_wrong_images(animals: Path, tmp_path: Path) -> None:
    broken = animals / "cat" / "9.png"
    broken.write_bytes((animals / "cat" / "1.png").read_bytes()[:50])
    assert f"{broken}: cannot be read as an image" in refused(animals, IMAGES, tmp_path)
    broken.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")  # a program, to a decoder that knows it
    assert f"{broken}: cannot be read as an image" in refused(animals, IMAGES, tmp_path)
    picture(broken, 1, mode="I;16")
    assert "has more than 8 bits a channel (I;16)" in refused(animals, IMAGES, tmp_path)
    broken.unlink()
    broken.symlink_to(animals / "cat" / "1.png")
    assert f"{broken}: is a link, which is not followed here" in refused(animals, IMAGES, tmp_path)
    broken.unlink()
    os.mkfifo(broken)
    assert f"{broken}: image cannot be read: it is a named pipe" in refused(animals, IMAGES, tmp_path)
    broken.unlink()
    (animals / "cow").mkdir()
    assert "cow: the class folder is empty" in refused(animals, IMAGES, tmp_path)
    (animals / "cow" / "more").mkdir()
    assert "more: is a folder; expected images in the class folder cow" in refused(animals, IMAGES, tmp_path)
    picture(animals / "loose.png")
    assert "loose.png: is an image beside the class folders" in refused(animals, IMAGES, tmp_path)
    assert "holds images, and the model takes x (4,)" in refused(animals, FOURS, tmp_path)


def test_an_image_that_is_a_bomb(tmp_path: Path) -> None:
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    size = struct.pack(">IIBBBBB", 12_000, 12_000, 8, 2, 0, 0, 0)
    (tmp_path / "d").mkdir()
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    (tmp_path / "d" / "bomb.png").write_bytes(content)
    assert "bomb.png: has more than 89,478,485 pixels" in refused(tmp_path / "d", IMAGES, tmp_path)


def test_images_of_several_processes_are_one_array(
    animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "_BATCH", 3)
    found = read(animals, IMAGES, tmp_path)
    assert isinstance(found.inputs, Shards)
    monkeypatch.undo()
    assert np.array_equal(np.asarray(found.inputs), data.read_examples(str(animals), IMAGES, tmp_path / "o", "").inputs)


# ---------------------------------------------------------------- Python code

CODE = """
import numpy as np
X = np.arange(40, dtype=np.float32).reshape(10, 4)
Y = np.arange(10)
LIST = [(x, y) for x, y in zip(X, Y)]
BATCHES = [(X[i:i + 4], Y[i:i + 4]) for i in (0, 4, 8)]
PAIR = (X, Y); DICTS = [{"x": x, "y": y} for x, y in LIST]
ALONE = list(X)
PLAIN = [([float(v) for v in x], int(y)) for x, y in LIST]
HEADS = [(x, {"a": y, "b": [y, y]}) for x, y in LIST]
HEADS_FLAT = [{"x": x, "y_a": y, "y_b": [y, y]} for x, y in LIST]
_private = 1

def generator():
    print("hello")
    yield from LIST

class Sequence:
    def __len__(self):
        return 3
    def __getitem__(self, i):
        return BATCHES[i % 3]
SEQUENCE = Sequence()

class Short:
    def __len__(self):
        return 12
    def __iter__(self):
        return iter(LIST)
SHORT = Short()

def named():
    yield {"a": X[0], "b": X[0]}, 1

def other_shape():
    yield X[0], 0
    yield X[0, :3], 1

def other_label():
    yield X[0], 0
    yield X[0], [1, 2]

def loses_labels():
    yield X[0], 0
    yield {"x": X[0]}

def raises():
    yield X[0], 0
    raise ValueError("no such\\nfile")

def exits():
    raise SystemExit(3)

def wrong():
    yield np.zeros((7, 9)), 0

def three():
    yield X[0], 0, 1.0

def text():
    yield "a sentence", 0

def ragged():
    yield [[1, 2], [3]], 0

def unequal():
    yield X, Y[:9]

def to_float():
    yield np.zeros(4, np.int32), 0
    yield np.zeros(4), 0

def endless():
    while True:
        yield X, Y

class Repeated:
    def cardinality(self):
        return -1
    def __iter__(self):
        return iter(LIST)
REPEATED = Repeated()
EMPTY = []
NUMBER = 5

def tensorflow_raises():
    yield X, Y
    raise RuntimeError("{{function_node __wrapped__IteratorGetNext_device_/x}} Expected 12 elements. [Op:Next] name: ")
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "gen.py").write_text(CODE)
    return tmp_path / "gen.py"


@pytest.mark.parametrize("name", ["LIST", "BATCHES", "DICTS", "PLAIN", "generator", "SEQUENCE", "PAIR", "ALONE"])
def test_what_python_code_may_yield(code: Path, tmp_path: Path, name: str) -> None:
    found = read(f"{code}:{name}", FOURS, tmp_path)
    assert np.array_equal(found.inputs, X)  # type: ignore[arg-type]
    if name == "ALONE":
        assert found.labels == {}
    else:
        assert np.array_equal(found.labels[""], Y)


def test_python_code_for_several_inputs(code: Path, tmp_path: Path) -> None:
    specs: Any = {"a": ((1, 4), np.float32), "b": ((1, 4), np.float32)}
    found = read(f"{code}:named", specs, tmp_path)
    assert isinstance(found.inputs, dict)
    assert {name: array.shape for name, array in found.inputs.items()} == {"a": (1, 4), "b": (1, 4)}
    assert "item 1 has one x, the model takes a, b; yield ({name: array, ...}, y)" in refused(
        f"{code}:LIST", specs, tmp_path
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("SHORT", "ended after 10 items, its length says 12"),
        ("EMPTY", "yielded nothing"),
        ("NUMBER", "is of type int; expected an iterable of (x, y)"),
        ("missing", "the file defines no missing; it defines np, X, Y, LIST"),
        ("other_shape", "item 2 has x of shape (3,), item 1 had (4,)"),
        ("other_label", "item 2 has y of shape (2,), item 1 had ()"),
        ("loses_labels", "item 2 has x, item 1 had x, y"),
        ("raises", "raised ValueError at line 49 after 1 items: no such file"),
        ("exits", "raised SystemExit at line 52: 3"),
        ("tensorflow_raises", "after 1 items: Expected 12 elements."),
        ("wrong", "item 1 has x of shape (7, 9); expected an example of shape (4,) or a batch of shape (n, 4)"),
        ("three", "item 1 has 3 parts, expected (x, y)"),
        ("text", "item 1: x holds text or objects (str); turn them into numbers first"),
        ("ragged", "item 1: x is not an array of numbers"),
        ("unequal", "item 1 is a batch with different numbers of examples: x 10, y 9"),
        ("to_float", "item 2 has x of dtype float64, item 1 had int32"),
        ("named", "item 1 is a dict with a, b; expected x and y"),
        ("REPEATED", "repeats for ever; remove .repeat()"),
    ],
)
def test_python_code_that_does_not_fit(code: Path, tmp_path: Path, name: str, words: str) -> None:
    told = refused(f"{code}:{name}", FOURS, tmp_path)
    assert words in told
    assert told.startswith(f"{code}:{name}: ")
    assert "{{" not in told
    assert "[Op" not in told


def test_python_code_that_never_ends_stops_before_the_disk_is_full(
    code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(python_source, "KEEP_FREE", shutil.disk_usage(tmp_path).free - 100_000)
    assert "the disk has no room for more; does it end?" in refused(f"{code}:endless", FOURS, tmp_path)


def test_python_code_that_is_not_there(code: Path, tmp_path: Path) -> None:
    assert "name what to read in the file, as gen.py:NAME" in refused(code, FOURS, tmp_path)
    assert "no such file" in refused(tmp_path / "none.py:x", FOURS, tmp_path)
    code.write_text("import nothing_of_that_name")
    assert "raised ModuleNotFoundError at line 1: No module named" in refused(f"{code}:x", FOURS, tmp_path)


def test_python_code_runs_where_the_user_is(code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "here.npy", X)
    (tmp_path / "helper.py").write_text("import numpy as np\nexamples = list(np.load('here.npy'))\n")
    code.write_text("from helper import examples")
    monkeypatch.chdir(tmp_path)
    assert np.array_equal(read("gen.py:examples", FOURS, tmp_path).inputs, X)  # type: ignore[arg-type]


# ---------------------------------------------------------------- other files


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a b.csv", "import numpy as np; t = np.genfromtxt("),
        ("t.tsv", "delimiter='\\t'"),
        ("t.parquet", "pd.read_parquet("),
        ("t.pkl", "pd.read_pickle("),
        ("t.feather", "pd.read_feather("),
        ("t.jsonl", "lines=True"),
        ("t.npy", "put both into a folder as x.npy and y.npy"),
        ("t.hdf5", "h5py.File("),
        ("t.mat", "scipy.io.loadmat("),
        ("t.tfrecord", "tf.data.TFRecordDataset("),
        ("t.tfrecord-00000-of-00002", "tf.data.TFRecordDataset("),
        ("t.tar.gz", "is an archive; unpack it"),
    ],
)
def test_the_line_of_python_that_converts(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / name).write_text("a,LABEL\n1,2\n3,4\n")
    told = refused(tmp_path / name, FOURS, tmp_path)
    assert words in told
    assert repr(str(tmp_path / name)) in told or "archive" in told


def test_the_line_for_a_csv_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "it's.csv").write_text("a,b,LABEL\n1,2,0\n3,4,1\n")
    line = refused("it's.csv", FOURS, tmp_path).split("give it's.npz: ")[1].rsplit("  (", 1)[0]
    exec(line, {})
    inputs, labels = data.read_split("it's.npz", {"x": ((1, 2), np.float32)})
    assert np.array_equal(inputs, [[1, 2], [3, 4]])  # type: ignore[arg-type]
    assert np.array_equal(labels, [0, 1])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["notes.md"], "the folder holds notes.md; expected an .npz"),
        ([], "the folder holds nothing; expected"),
        (["a.tfrecord-00000-of-00001"], "TFRecord files are read by your own code"),
        (["dataset_spec.pb"], "tf.data.Dataset.load("),
    ],
)
def test_other_folders(tmp_path: Path, names: list[str], words: str) -> None:
    (tmp_path / "d").mkdir()
    for name in names:
        (tmp_path / "d" / name).write_text("?")
    assert words in refused(tmp_path / "d", FOURS, tmp_path)


def test_a_model_that_takes_text(tmp_path: Path) -> None:
    assert "input 'words' of the model takes text (object)" in refused(
        tmp_path, {"words": ((1, 1), np.dtype(object))}, tmp_path
    )


# ---------------------------------------------------------------- the pack


@pytest.mark.parametrize("small", [0, 10**9])
def test_the_pack_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: int) -> None:
    monkeypatch.setattr(pack, "SMALL_BYTES", small)
    x = np.random.default_rng(0).integers(0, 255, (10, 8, 6), dtype=np.uint8)
    folder_of(tmp_path / "d", x_000=x[:4], x_001=x[4:], y=Y.reshape(10, 1))
    (tmp_path / "gen.py").write_text("import numpy as np\nX = [np.full((8, 6, 1), i, np.uint8) for i in range(5)]\n")
    sources = {"test": tmp_path / "d", "calibration": tmp_path / "gen.py:X", "train": None}
    folder = tmp_path / "model" / "data"
    found = data.read(sources, GREY, folder / ".examples")
    labels = {f"y_{split}": y for split, (_, y) in found.data.items() if y is not None}
    name, sha256 = pack.write(folder, "m", pack.inputs(found.data) | labels, found.stored)
    data.forget(folder / ".examples")
    assert name == ("m" if small == 0 else "m.npz")
    loaded = load_pack(folder / name, sha256)
    assert np.array_equal(np.asarray(loaded.test.x), x[..., None])
    assert np.array_equal(loaded.test.y, Y)
    assert loaded.calibration is not None
    assert np.array_equal(np.asarray(loaded.calibration.x)[:, 0, 0, 0], range(5))
    if small == 0:
        assert sorted(path.name for path in (folder / name).iterdir()) == [
            *("elsewhere.json", "shapes.json", "x_calibration.npy", "y_test.npy")
        ]
        np.save(folder_of(tmp_path / "kept" / "m") / "x_test-00007.npy", X)  # of an earlier pack
        pack.copy_data(folder / name, tmp_path / "kept" / "m")
        pack.bring_data(folder / name)
        (tmp_path / "d" / "x_000.npy").unlink()
        for place in (folder / name, tmp_path / "kept" / "m"):
            again = load_pack.__wrapped__(place, sha256)
            assert np.array_equal(np.asarray(again.test.x), x[..., None])


def test_calibration_data_larger_than_is_ever_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "_CALIBRATION_VALUES", 16)
    folder_of(tmp_path / "d", x=X, y=Y)
    folder_of(tmp_path / "c", x=X + 100)
    sources = {"test": tmp_path / "d", "calibration": tmp_path / "c", "train": None}
    found = data.read(sources, FOURS, tmp_path / "s")
    assert np.array_equal(found.data["calibration"][0], X[[0, 3, 6, 9]] + 100)  # type: ignore[arg-type]
    assert any(note.startswith("calibration: 4 of 10 examples, evenly spaced") for note in found.notes)


def test_shared_examples_are_told(tmp_path: Path) -> None:
    folder_of(tmp_path / "d", x=X, y=Y)
    folder_of(tmp_path / "c", x=X[2:5])
    found = data.read({"test": tmp_path / "d", "calibration": tmp_path / "c"}, FOURS, tmp_path / "s")
    assert any(note.startswith("warning: 3 evaluation examples are calibration examples too") for note in found.notes)


# ---------------------------------------------------------------- memory

# Reads, packs, loads and goes through the data with less memory for itself than the data takes; pages of files that
# are mapped are not its own, and the system takes them back when it needs them.
BOUNDED = """
import resource, sys
from pathlib import Path
import numpy as np
from quantbench.adopt import data, pack
from quantbench.core.arrays import chunks, rows
from quantbench.reference.datasets import load_pack

resource.setrlimit(resource.RLIMIT_DATA, (int(sys.argv[2]), int(sys.argv[2])))
try:
    np.ones(int(sys.argv[2]), np.uint8)
    sys.exit("the limit does not hold")
except MemoryError:
    pass
folder = Path(sys.argv[1])
specs = {"x": ((1, 512, 512, 1), np.float32)}
found = data.read({"test": folder / "d", "calibration": folder / "c"}, specs, folder / "m" / ".examples")
labels = {f"y_{split}": y for split, (_, y) in found.data.items() if y is not None}
name, sha256 = pack.write(folder / "m", "m", pack.inputs(found.data) | labels, found.stored)
loaded = load_pack(folder / "m" / name, sha256)
total = sum(float(np.sum(rows(loaded.test.x, part))) for part in chunks(loaded.test.x))
print(total, len(loaded.test), loaded.shared)
"""


def sparse(path: Path, count: int, first: float) -> None:
    """A file of so many examples of 1 MiB that takes no room: the first value is given, all others are 0."""
    with path.open("wb") as file:
        description = {"descr": "<f4", "fortran_order": False, "shape": (count, 512, 512)}
        np.lib.format.write_array_header_1_0(file, description)
        file.write(np.float32(first).tobytes())
        file.truncate(file.tell() - 4 + count * 2**20)


@pytest.mark.parametrize("gib", [1, pytest.param(6, marks=pytest.mark.nightly)])
def test_data_larger_than_the_memory_is_read_packed_and_gone_through(tmp_path: Path, gib: int) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "c").mkdir()
    for number in range(4):
        sparse(tmp_path / "d" / f"x_{number:03d}.npy", gib * 256, number)
    np.save(tmp_path / "d" / "y.npy", np.arange(gib * 1024))
    sparse(tmp_path / "c" / "x.npy", 3, 2)
    script = [sys.executable, "-c", BOUNDED, str(tmp_path), str(640 * 2**20)]
    done = subprocess.run(script, capture_output=True, text=True, env=surroundings(**ONE_THREAD))
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["6.0", str(gib * 1024), "{'calibration':", "1}"]
    assert not [path for path in (tmp_path / "m" / "m").iterdir() if path.stat().st_size > 2**24]  # nothing is copied


@pytest.mark.parametrize(
    ("found", "wanted", "line"),
    [
        ((3, 8, 6), (8, 6, 3), "give x.transpose(0, 2, 3, 1)"),
        ((144,), (8, 6, 3), "give x.reshape(-1, 8, 6, 3)"),
        ((12, 12), (144,), "give x.reshape(len(x), -1)"),
        ((3, 8, 7), (8, 6, 3), ""),
    ],
)
def test_the_same_numbers_in_another_shape_are_refused_with_the_line_that_mends_them(
    found: tuple[int, ...], wanted: tuple[int, ...], line: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "e.npz", x=np.zeros((5, *found), np.float32))
    said = refused(tmp_path / "e.npz", {"x": ((None, *wanted), np.float32)}, tmp_path)
    assert f"has examples of shape {found}, the model takes {wanted}" in said
    assert line or "give" not in said
    assert line in said
