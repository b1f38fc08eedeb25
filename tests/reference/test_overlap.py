"""Test examples that leaked into training are refused; twins that chance brings are not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from quantbench.core.arrays import Array
from quantbench.errors import BadInput
from quantbench.reference import overlap
from quantbench.reference.datasets import Pack, file_sha256, load_pack
from quantbench.reference.model import load_models


def images(count: int, seed: int) -> Array:
    return np.random.default_rng(seed).integers(0, 256, (count, 12, 12), dtype=np.uint8)


def loaded(path: Path, **arrays: Any) -> Pack:
    labels = {f"y_{name[2:]}": np.zeros(len(array)) for name, array in arrays.items() if name != "x_calibration"}
    np.savez(path / "pack.npz", **arrays, **labels)
    return load_pack(path / "pack.npz", file_sha256(path / "pack.npz"))


@pytest.mark.parametrize("leak", [3, 50, 1000])
def test_a_leak_of_test_examples_into_training_is_refused(tmp_path: Path, leak: int) -> None:
    test, train = images(1000, 0), images(2000, 1)
    train[100 : 100 + leak] = test[:leak]
    with pytest.raises(BadInput, match=rf"{leak:,} of 1,000 examples of x_test are in x_train too"):
        loaded(tmp_path, x_test=test, x_train=train)


def test_a_leak_is_found_in_a_pack_with_several_inputs_too(tmp_path: Path) -> None:
    test, train = images(500, 0), images(500, 1)
    ages = np.arange(500)
    more = {"x_test.image": test, "x_test.age": ages, "x_train.age": ages}
    train[:60] = test[:60]
    arrays = {**more, "x_train.image": train, "y_test": ages, "y_train": ages}
    np.savez(tmp_path / "pack.npz", **arrays)
    with pytest.raises(BadInput, match="60 of 500 examples"):
        load_pack(tmp_path / "pack.npz", file_sha256(tmp_path / "pack.npz"))
    arrays["x_train.age"] = ages + 1  # another example, although half of it is the same
    np.savez(tmp_path / "pack.npz", **arrays)
    assert load_pack(tmp_path / "pack.npz", file_sha256(tmp_path / "pack.npz")).shared == {}


def test_a_single_twin_is_told_and_no_more(tmp_path: Path) -> None:
    test, train = images(1000, 0), images(2000, 1)
    train[7] = test[3]
    calibration = test[:20]
    assert loaded(tmp_path, x_test=test, x_train=train, x_calibration=calibration).shared == {
        "train": 1,
        "calibration": 20,
    }


@pytest.mark.parametrize("values", [3, 300, 100_000])
def test_tables_of_few_values_have_twins_by_chance(tmp_path: Path, values: int) -> None:
    random = np.random.default_rng(5)
    for _ in range(20):
        rows = random.integers(0, values, (3000, 2)).astype(np.float32)
        loaded(tmp_path, x_test=rows[:1000], x_train=rows[1000:])


def test_constant_examples_are_no_leak(tmp_path: Path) -> None:
    assert loaded(tmp_path, x_test=np.zeros((10, 4)), x_train=np.zeros((10, 4))).shared == {}


def test_examples_that_differ_between_the_sampled_bytes_are_no_twins() -> None:
    test = np.random.default_rng(1).integers(0, 256, (50, 5000), dtype=np.uint8)
    others = test.copy()
    others[:, 1] ^= 1
    assert overlap.shared(test, others) == 0
    assert overlap.shared(test, test) == 50


def test_our_own_packs_share_nothing() -> None:
    assert load_models(ROOT / "models")["seed_cnn"].pack().shared == {}
