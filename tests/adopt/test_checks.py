"""Warnings about the user's data: each mistake has one, and splits of the same data have none."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quantbench.adopt import checks
from quantbench.core.arrays import Array

FILES = {"test": "e.npz", "calibration": "c.npz", "train": "t.npz"}
PIXELS = np.random.default_rng(0).integers(0, 256, (400, 8, 8, 1)).astype(np.float32)


def said(test: Any, calibration: Any, **more: Any) -> list[str]:
    return checks.notes({"test": test, "calibration": calibration} | more, FILES)


@pytest.mark.parametrize(
    ("test", "calibration"),
    [
        (PIXELS[:300], PIXELS[300:] / 255),
        (PIXELS[:300] / 255, PIXELS[300:]),
        (PIXELS[:300], PIXELS[300:] / 127.5 - 1),
        (PIXELS[:300] / 127.5 - 1, PIXELS[300:] / 255),
        (PIXELS[:300] / 255, PIXELS[300:] / 127.5 - 1),
        (PIXELS[:300].astype(np.uint8), PIXELS[300:] / 255),
        (PIXELS[:300] * (PIXELS[:300] > 250), PIXELS[300:] / 255 * (PIXELS[300:] > 250)),  # 98 % are zero
        (PIXELS[:300], np.zeros_like(PIXELS[300:]) - 5),
    ],
    ids=["divided", "not divided", "symmetric", "unit/symmetric", "symmetric/unit", "uint8", "sparse", "apart"],
)
def test_two_scales_are_a_warning_with_both_ranges(test: Array, calibration: Array) -> None:
    warned, *_ = said(test, calibration)
    assert warned.startswith("warning: calibration and evaluation inputs are on different scales: x is ")
    assert f"{test.min():.4g} to {test.max():.4g} in e.npz" in warned
    assert f"{calibration.min():.4g} to {calibration.max():.4g} in c.npz" in warned


def test_pixels_divided_on_one_side_are_named_so() -> None:
    (warned,) = said(PIXELS[:300], PIXELS[300:] / 255)
    assert "one of them was probably divided by 255" in warned
    (warned,) = said(PIXELS[:300], PIXELS[300:] / 1000)
    assert "255;" not in warned


def test_training_data_is_compared_too() -> None:
    (warned,) = said(PIXELS[:200], PIXELS[200:300], train=PIXELS[300:] / 255)
    assert warned.startswith("warning: training and evaluation inputs are on different scales")
    assert "in t.npz" in warned


@settings(max_examples=300)
@given(
    seed=st.integers(0, 2**32 - 1),
    draw=st.sampled_from(["normal", "uniform", "exponential", "sparse", "student", "lognormal"]),
    scale=st.floats(1e-3, 1e4),
    shift=st.floats(-100, 100),
    shape=st.sampled_from([(1,), (16,), (8, 8, 1)]),
    count=st.sampled_from([5, 20, 60, 300]),
)
def test_two_splits_of_one_data_set_are_no_warning(
    seed: int, draw: str, scale: float, shift: float, shape: tuple[int, ...], count: int
) -> None:
    rng = np.random.default_rng(seed)
    draws: dict[str, Any] = {
        "normal": rng.normal,
        "uniform": rng.uniform,
        "exponential": rng.exponential,
        "sparse": lambda size: rng.uniform(size=size) * (rng.uniform(size=size) < 0.1),
        "student": lambda size: rng.standard_t(2, size),
        "lognormal": lambda size: rng.lognormal(0, 1, size),
    }
    x = (draws[draw](size=(500 + count, *shape)) * scale + shift).astype(np.float32)
    assert [note for note in said(x[:500], x[500:]) if note.startswith("warning")] == []


def test_the_width_of_a_few_values_among_zeros_is_no_scale() -> None:
    sparse = np.zeros((20, 1), np.float32)
    sparse[3] = 0.005
    test = np.random.default_rng(0).uniform(size=(500, 1)) * (np.arange(500) % 10 == 0)[:, None]
    assert not any(note.startswith("warning") for note in said(test, sparse))


@settings(max_examples=50)
@given(seed=st.integers(0, 2**32 - 1), factor=st.floats(20, 1000), large=st.booleans())
def test_a_factor_of_twenty_is_always_seen(seed: int, factor: float, large: bool) -> None:
    x = np.random.default_rng(seed).normal(size=(300, 12)).astype(np.float32)
    assert said(x[:200], x[200:] * (factor if large else 1 / factor))


def test_numbers_of_words_have_no_scale() -> None:
    words = np.random.default_rng(0).integers(0, 20_000, (300, 10))
    assert said(words[:200], words[200:] // 100) == []


def test_an_input_that_never_varies_is_told_and_a_mask_beside_another_input_is_no_warning() -> None:
    (warned,) = said(np.zeros((100, 4), np.float32), np.ones((100, 4), np.float32).cumsum(1) * 0)
    assert warned == "warning: x is 0 throughout in e.npz, so no score says anything about other inputs"
    mask = np.ones((100, 4), np.float32)
    (told,) = said({"a": PIXELS[:100], "mask": mask}, {"a": PIXELS[100:200], "mask": mask})
    assert told == "input mask is 1 throughout in e.npz, so nothing is known about other values"
    (same,) = said(np.repeat(PIXELS[:1], 100, axis=0), PIXELS[:100])
    assert "is the same in all examples in e.npz" in same


def test_few_calibration_examples_are_a_note() -> None:
    (told,) = said(PIXELS[:300], PIXELS[300:320])
    assert told.startswith("c.npz has 20 calibration examples: ranges found on fewer than 50 depend on which")
    assert said(PIXELS[:300], PIXELS[300:350]) == []


def test_a_memory_mapped_array_is_read_in_part(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((5000, 50, 50), np.uint8))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert checks.sample(mapped).size <= 2_000_000
    assert checks.spread(mapped).examples == 5000
