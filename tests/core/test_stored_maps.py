"""Maps of classes are stored as where they differ from the control's."""

from pathlib import Path

import numpy as np
import pytest
from quantbench.baselines.files import packed
from quantbench.errors import BadInput
from quantbench.reference.datasets import read_npz, read_predictions


def maps() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    control = generator.integers(0, 6, (50, 64), dtype=np.uint8)
    other = control.copy()
    other[3, 7] ^= 5
    return {"float32": control, "v": other, "v#outputs": np.zeros(50, np.uint8), "w": control[:20]}


def test_maps_return_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    path.write_bytes(packed(maps()))
    stored = read_npz(path, "maps")
    assert set(stored) == {"float32", "v^float32", "v#outputs", "w"}
    assert np.count_nonzero(stored["v^float32"]) == 1
    read = read_predictions(path, "maps")
    assert read.keys() == maps().keys()
    assert all(np.array_equal(read[name], array) for name, array in maps().items())


def test_numbers_are_stored_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    arrays = {"float32": np.arange(9, dtype=np.uint8), "v": np.ones(9, dtype=np.uint8)}
    path.write_bytes(packed(arrays))
    assert read_npz(path, "classes").keys() == arrays.keys()


@pytest.mark.parametrize("control", [None, np.zeros((50, 65), np.uint8), np.zeros((50, 64), np.float32)])
def test_a_difference_needs_its_control(tmp_path: Path, control: np.ndarray | None) -> None:
    path = tmp_path / "m.npz"
    arrays = {"v^float32": np.zeros((50, 64), np.uint8)} | ({} if control is None else {"float32": control})
    np.savez(path, **arrays)
    with pytest.raises(BadInput, match=r"array 'v\^float32': expected a difference from 'float32' of its shape"):
        read_predictions(path, "stored predictions")


def test_a_map_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "maps.npz"
    np.savez(
        path,
        **{
            "float32": np.ones((2, 4), np.uint8),
            "v": np.ones((2, 4), np.uint8),
            "v^float32": np.ones((2, 4), np.uint8),
        },
    )
    with pytest.raises(BadInput, match="the file holds it whole too"):
        read_predictions(path, "predictions")
