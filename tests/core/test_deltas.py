"""Predictions are stored as differences from like ones, and read back as they were."""

from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from quantbench.baselines.files import as_stored, packed
from quantbench.core.deltas import as_differences, from_differences
from quantbench.errors import BadInput
from quantbench.reference.datasets import read_npz, read_predictions

Arrays = dict[str, np.ndarray]
BITS = st.integers(0, 2**32 - 1)  # of any float32, NaN and infinities too
ONES = np.ones(4, np.uint8)
BYTES, OTHERS = st.integers(0, 255), st.floats(allow_nan=False)
NAMES = st.text("abf.@#/3", min_size=1, max_size=4) | st.just("float32")


def same(one: Arrays, other: Arrays) -> bool:
    """Whether two sets of arrays are equal bit for bit."""
    kinds = [{name: (array.dtype, array.shape) for name, array in arrays.items()} for arrays in (one, other)]
    return kinds[0] == kinds[1] and all(one[name].tobytes() == other[name].tobytes() for name in one)


@st.composite
def any_arrays(draw: st.DrawFn) -> Arrays:
    """Arrays of a few shapes, some of them nearly equal."""
    found: Arrays = {}
    for name in draw(st.sets(NAMES, max_size=6)):
        shape = draw(st.sampled_from([(1,), (7,), (7, 3), (4, 4), (0,)]))
        kind = draw(st.sampled_from(["u1", "f4", "f8", "like"]))
        if kind == "like" and found:
            array = next(iter(found.values())).copy()
            if array.size and draw(st.booleans()):
                array.reshape(-1)[0] = draw(BYTES)
            found[name] = array
        elif kind == "f8":
            found[name] = draw(arrays_of.arrays(np.float64, shape, elements=OTHERS))
        elif kind == "u1":
            found[name] = draw(arrays_of.arrays(np.uint8, shape, elements=BYTES))
        else:
            found[name] = draw(arrays_of.arrays(np.uint32, shape, elements=BITS)).view(np.float32)
    return found


@settings(max_examples=150, deadline=None)
@given(any_arrays())
def test_any_arrays_return_as_they_were(arrays: Arrays) -> None:
    stored = as_differences(arrays)
    assert same(from_differences(stored), arrays)


def maps() -> Arrays:
    generator = np.random.default_rng(0)
    control = generator.integers(0, 6, (50, 64), dtype=np.uint8)
    other = control.copy()
    other[3, 7] ^= 5
    losses = generator.random(50, dtype=np.float32)
    return {
        "float32": control,
        "a": other,
        "b": other,
        "b#outputs": generator.integers(0, 256, 50, dtype=np.uint8),
        "c": control[:20],
        "of_loss": losses,
        "of_loss2": np.nextafter(losses, np.float32(2)),
    }


def test_each_is_the_difference_from_what_it_is_nearest_to(tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    path.write_bytes(packed(maps()))
    stored = read_npz(path, "maps")
    assert set(stored) == {"float32", "a^float32", "b^a", "b#outputs", "c", "of_loss^", "of_loss2^of_loss"}
    assert np.count_nonzero(stored["a^float32"]) == 1
    assert not stored["b^a"].any()
    assert stored["of_loss2^of_loss"].tolist() == [[2] * 50] + 3 * [[0] * 50], "one number of the format further"
    assert same(read_predictions(path, "maps"), maps())


def test_files_of_before_1_11_are_read(tmp_path: Path) -> None:
    path, whole = tmp_path / "m.npz", maps()
    np.savez(path, **{"a^float32": whole["a"] ^ whole["float32"], "float32": whole["float32"], "l": whole["of_loss"]})
    assert same(read_predictions(path, "maps"), {"a": whole["a"], "float32": whole["float32"], "l": whole["of_loss"]})


@pytest.mark.parametrize("path", sorted((ROOT / "baselines").glob("*.npz")), ids=lambda path: path.stem)
def test_the_projects_own_predictions_are_as_this_version_writes_them(path: Path) -> None:
    arrays = read_predictions(path, "predictions")
    with np.load(path, allow_pickle=False) as stored:
        assert same(dict(stored), as_stored(arrays))  # not its bytes, which depend on zlib
    assert same(from_differences(as_differences(arrays)), arrays)


@pytest.mark.parametrize("control", [None, np.zeros((50, 65), np.uint8), np.zeros((50, 64), np.float32)])
def test_a_difference_needs_what_it_is_from(tmp_path: Path, control: np.ndarray | None) -> None:
    path = tmp_path / "m.npz"
    arrays = {"v^float32": np.zeros((50, 64), np.uint8)} | ({} if control is None else {"float32": control})
    np.savez(path, **arrays)
    with pytest.raises(BadInput, match=r"array 'v\^float32': expected a difference from 'float32' of its shape"):
        read_predictions(path, "stored predictions")


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        (
            {"v": np.ones(4, np.uint8), "v^w": np.ones(4, np.uint8), "w": np.ones(4, np.uint8)},
            "the file holds it twice",
        ),
        ({"v^": np.ones((4, 2), np.uint8), "v^v": np.ones((4, 2), np.uint8)}, "the file holds it twice"),
        ({"v^w": np.ones(4, np.uint8), "w^v": np.ones(4, np.uint8)}, "expected a difference from 'w' of its shape"),
        ({"v^v": np.ones(4, np.uint8)}, "expected a difference from 'v' of its shape"),
        ({"^v": np.ones(4, np.uint8), "v": np.ones(4, np.uint8)}, "expected a name before"),
        ({"v^": np.ones((3, 4), np.uint8)}, "expected the four bytes of each float32"),
        ({"v^": np.ones((4, 4), np.float32)}, "expected the four bytes of each float32"),
        ({"v^w": np.ones((4, 5), np.int8), "w": np.ones(5, np.float32)}, "expected a difference from 'w' of its shape"),
    ],
)
def test_no_difference_from_itself_or_of_another_kind(tmp_path: Path, arrays: Arrays, words: str) -> None:
    path = tmp_path / "maps.npz"
    np.savez(path, **arrays)
    with pytest.raises(BadInput, match=words):
        read_predictions(path, "predictions")
