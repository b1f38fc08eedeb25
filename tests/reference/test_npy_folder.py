"""Data packs that are folders of ``.npy`` files: the same as the one file, and nothing outside is read."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from quantbench.errors import BadInput
from quantbench.reference import npy_folder
from quantbench.reference.datasets import Pack, file_sha256, load_pack
from quantbench.reference.npy_folder import Stored, Writer

RANDOM = np.random.default_rng(0)
ARRAYS = {
    "x_test.an/image-00001": RANDOM.integers(0, 255, (10, 4, 3), dtype=np.uint8),
    "x_test.age": RANDOM.normal(size=(10, 2)).astype(np.float32),
    "y_test": np.arange(10),
    "x_train.an/image-00001": RANDOM.integers(0, 255, (40, 4, 3), dtype=np.uint8),
    "x_train.age": RANDOM.normal(size=(40, 2)).astype(np.float32),
    "y_train": np.arange(40),
    "groups": np.arange(10) // 2,
    "slice_old": np.arange(10) % 2,
}


def load(folder: Path) -> Pack:
    return load_pack.__wrapped__(folder, npy_folder.sha256(folder, "data pack"))


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    npy_folder.write(tmp_path / "pack", ARRAYS)
    return tmp_path / "pack"


def test_a_folder_is_the_same_pack_as_an_npz(pack: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "pack.npz", **ARRAYS)  # type: ignore[arg-type]
    whole = load_pack(tmp_path / "pack.npz", file_sha256(tmp_path / "pack.npz"))
    found = load(pack)
    for split, other in ((found.test, whole.test), (found.train, whole.train), (found.calibration, whole.calibration)):
        assert split is not None
        assert other is not None
        assert isinstance(split.x, dict)
        assert isinstance(other.x, dict)
        assert split.x.keys() == other.x.keys()
        assert all(np.array_equal(split.x[name], other.x[name]) for name in split.x)
        assert np.array_equal(split.y, other.y)
    assert np.array_equal(found.groups, whole.groups)  # type: ignore[arg-type]
    assert found.slices.keys() == whole.slices.keys()
    assert isinstance(found.test.x["age"], np.memmap)  # type: ignore[call-overload]


def test_its_hash_is_that_of_a_folder(pack: Path) -> None:
    assert npy_folder.sha256(pack, "data pack") == file_sha256(pack)


@pytest.mark.parametrize("change", ["a value", "a name", "the order of shards"])
def test_its_hash_follows_what_it_holds(tmp_path: Path, change: str) -> None:
    folder = tmp_path / "pack"
    folder.mkdir()
    for number in range(2):
        np.save(folder / f"x_test-0000{number}.npy", np.full((5, 2), number))
    np.save(folder / "y_test.npy", np.arange(10))
    before = npy_folder.sha256(folder, "data pack")
    assert load_pack(folder, before).test.x.shape == (10, 2)  # type: ignore[union-attr]
    if change == "a value":
        np.save(folder / "y_test.npy", np.arange(1, 11))
    elif change == "a name":
        (folder / "y_test.npy").rename(folder / "y_other.npy")
    else:
        (folder / "x_test-00000.npy").rename(folder / "aside")
        (folder / "x_test-00001.npy").rename(folder / "x_test-00000.npy")
        (folder / "aside").rename(folder / "x_test-00001.npy")
    with pytest.raises(BadInput, match=r"data pack has sha256 .*expected .*restore the file"):
        load_pack.__wrapped__(folder, before)


def test_where_a_file_is_does_not_change_the_hash(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    paths = (tmp_path / "theirs" / "a.npy", tmp_path / "theirs" / "b.npy")
    for number, path in enumerate(paths):
        np.save(path, np.full((5, 6), number))
    arrays = {"x_test": Stored(paths, (2, 3)), "y_test": np.arange(10)}
    sha256 = npy_folder.write(tmp_path / "a" / "pack", arrays)
    assert npy_folder.elsewhere(tmp_path / "a" / "pack") == paths
    npy_folder.bring(tmp_path / "a" / "pack")
    assert npy_folder.elsewhere(tmp_path / "a" / "pack") == ()
    assert npy_folder.sha256(tmp_path / "a" / "pack", "data pack") == sha256 == file_sha256(tmp_path / "a" / "pack")
    for path in paths:
        path.unlink()
    found = load(tmp_path / "a" / "pack").test.x
    assert found.shape == (10, 2, 3)  # type: ignore[union-attr]
    assert np.array_equal(found[:, 0, 0], [0] * 5 + [1] * 5)  # type: ignore[call-overload]


def _links(pack: Path) -> None:
    (pack / "y_test.npy").rename(pack.parent / "private.npy")
    (pack / "y_test.npy").symlink_to(pack.parent / "private.npy")


def _pipe(pack: Path) -> None:
    (pack / "y_test.npy").unlink()
    os.mkfifo(pack / "y_test.npy")


def _names(where: object, name: str = "x_calibration.npy") -> Callable[[Path], None]:
    def change(pack: Path) -> None:
        np.save(pack.parent / "private.npy", np.zeros(5))
        (pack.parent / "link.npy").symlink_to(pack.parent / "private.npy")
        (pack.parent / "key").write_text("secret")
        text = str(where).replace("OUTSIDE", str(pack.parent)) if isinstance(where, str) else where
        (pack / "elsewhere.json").write_text(json.dumps({name: text}))

    return change


def _shapes(content: str) -> Callable[[Path], None]:
    return lambda pack: (pack / "shapes.json").write_text(content) and None  # type: ignore[func-returns-value]


def _save(name: str, array: np.ndarray) -> Callable[[Path], None]:
    return lambda pack: np.save(pack / name, array, allow_pickle=True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_links, r"y_test.npy: data pack cannot be read: it is a link, which is not followed here"),
        (_pipe, r"y_test.npy: data pack cannot be read: it is a named pipe"),
        (_names("OUTSIDE/link.npy"), r"link.npy: data pack cannot be read: it is a link"),
        (_names("OUTSIDE/key"), r"key: data pack: x_calibration is not a .npy file"),
        (_names("../private.npy"), r"'x_calibration.npy' is no file of a pack with an absolute path"),
        (_names(5), r"'x_calibration.npy' is no file of a pack with an absolute path"),
        (_names("OUTSIDE/private.npy", "y_test.npy"), r"'y_test.npy' is no file of a pack"),
        (_names("OUTSIDE/private.npy", "../../x.npy"), r"is no file of a pack with an absolute"),
        (_names("/dev/zero"), r"/dev/zero: data pack cannot be read: it is a device"),
        (_shapes("[1]"), r"shapes.json: is not a JSON object"),
        (_shapes("[" * 10_000), r"shapes.json: is not a JSON object"),
        (_shapes('{"y_test": "a"}'), r"shapes.json: y_test: expected a list of sizes, found 'a'"),
        (_shapes('{"x_test.age": [3]}'), r"examples of shape \(2,\), expected \(3,\)"),
        (_save("evil.npy", np.array([{}], dtype=object)), r"evil.npy: data pack: evil holds Python objects"),
        (_save("a-00001.npy", np.zeros(3)), r"a has the shards a-00001.npy; expected one file, or shards numbered"),
        (_save("y_test-00000.npy", np.zeros(3)), r"y_test has the shards y_test-00000.npy, y_test.npy; expected one"),
        (
            lambda pack: (pack / "notes.txt").write_text("?"),
            r"notes.txt: is not part of a data pack; expected files like",
        ),
    ],
)
def test_a_folder_that_is_not_as_it_should_be(pack: Path, change: Callable[[Path], None], words: str) -> None:
    change(pack)
    with pytest.raises(BadInput, match=words) as caught:
        load(pack)
    assert "\n" not in str(caught.value)


def test_an_array_with_its_first_axis_last_in_the_file(tmp_path: Path) -> None:
    array = np.asfortranarray(np.arange(12).reshape(4, 3))
    np.save(tmp_path / "a.npy", array)
    assert np.array_equal(npy_folder.mapped(tmp_path / "a.npy", "array"), array)


def test_a_file_of_unknown_length_is_read_as_any_other(tmp_path: Path) -> None:
    with Writer(tmp_path / "a.npy", np.float32, (2, 3)) as writer:
        for count in (0, 4, 1, 100_000):
            writer.append(np.ones((count, 2, 3)))
        with pytest.raises(ValueError, match="expected"):
            writer.append(np.ones((1, 3, 2)))
    assert np.load(tmp_path / "a.npy").shape == (100_005, 2, 3)
    with Writer(tmp_path / "empty.npy", np.int64, ()):
        pass
    assert np.load(tmp_path / "empty.npy").shape == (0,)


def test_a_shard_that_changes_while_it_is_read(tmp_path: Path) -> None:
    paths = (tmp_path / "a.npy", tmp_path / "b.npy")
    for path in paths:
        np.save(path, np.zeros((5, 2)))
    found = Stored(paths).open()
    np.save(paths[1], np.zeros((4, 2)))
    with pytest.raises(BadInput, match=r"b.npy: array changed while it was read"):
        found[7]
