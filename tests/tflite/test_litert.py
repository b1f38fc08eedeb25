"""The LiteRT runtime: quantizing inputs, state, and broken artifacts; and timing, with real processes."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantbench.measure.accuracy import nonfinite_examples
from quantbench.tflite.litert import LiteRT, dequantize, quantize


@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.floats(1e-3, 10), st.integers(-128, 127))
def test_inputs_are_rounded_and_clamped_never_wrapped(values: list[float], scale: float, zero_point: int) -> None:
    real = np.array(values)
    integers = quantize(real, np.int8, scale, zero_point)
    back = dequantize(integers, scale, zero_point)
    low, high = (-128 - zero_point) * scale, (127 - zero_point) * scale
    assert np.all(np.abs(back - np.clip(real, low, high)) <= scale * 0.5 + 1e-5 * np.abs(real) + 1e-4)


def test_a_truncating_cast_would_differ() -> None:
    assert list(quantize(np.array([0.6, -0.6, 500.0]), np.int8, 1.0, 0)) == [1, -1, 127]


def test_integers_are_what_the_formula_in_one_line_gives_bit_by_bit() -> None:
    real = (300 * np.random.default_rng(0).standard_normal((50, 40))).astype(np.float32)
    before, scale, zero_point = real.copy(), 0.7318, -5
    integers = quantize(real, np.int8, scale, zero_point)
    assert np.array_equal(integers, np.clip(np.round(real / scale + zero_point), -128, 127).astype(np.int8))
    back = dequantize(integers, scale, zero_point)
    assert back.tobytes() == ((integers.astype(np.float32) - zero_point) * np.float32(scale)).tobytes()
    assert np.array_equal(real, before)  # what came in is left as it was


def test_nonfinite_examples_are_counted_over_all_outputs() -> None:
    a = np.array([[0.0, 1.0], [np.nan, 0.0], [0.0, 0.0]])
    b = np.array([[0.0], [0.0], [np.inf]])
    assert nonfinite_examples(a) == 1
    assert nonfinite_examples({"a": a, "b": b}) == 2


def test_a_file_that_is_no_artifact_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "not.tflite"
    path.write_bytes(b"not a flatbuffer")
    with pytest.raises(ValueError, match=r"(?i)model"):
        LiteRT(path)
