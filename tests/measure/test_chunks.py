"""Examples that run chunk by chunk give bit for bit what all of them give at once."""

import hashlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantbench.core.arrays import Array, Inputs, length
from quantbench.measure import chunks
from quantbench.reference.metrics import flat_outputs


def prepare(x: Inputs) -> Inputs:
    if isinstance(x, dict):
        return {name: np.asarray(values / np.float32(3), np.float32) for name, values in x.items()}
    return np.asarray(x / np.float32(3), np.float32)


def run(inputs: Inputs) -> Inputs:
    given = inputs if isinstance(inputs, dict) else {"": inputs}
    total = sum(values.reshape(len(values), -1).sum(axis=1) for values in given.values())
    outputs = np.stack([np.sin(np.asarray(total)), np.cos(np.asarray(total))], axis=1).astype(np.float32)
    outputs[np.asarray(total) > 300] = np.nan
    return outputs if not isinstance(inputs, dict) else {"a": outputs, "b": outputs[:, :1]}


def predict(outputs: Inputs, _inputs: Inputs) -> dict[str, Array]:
    flat = flat_outputs(outputs, {})
    return {"predictions": np.argmax(flat, axis=1).astype(np.uint16), "second": flat}


def whole(x: Inputs) -> chunks.Answers:
    """The straight way, with the digest as accepted baselines have it."""
    inputs = prepare(x)
    outputs = run(inputs)
    hashed = hashlib.sha256()
    for name, array in sorted((inputs if isinstance(inputs, dict) else {"": inputs}).items()):
        hashed.update(f"{name} {array.dtype.str} {array.shape}".encode())
        hashed.update(array.tobytes())
    flat = flat_outputs(outputs, {})
    kept = flat[: max(50, min(1000, 200_000 // flat.shape[1]))]
    return chunks.Answers(predict(outputs, inputs), chunks.nonfinite_rows(outputs), kept, hashed.hexdigest())


def equal(one: chunks.Answers, other: chunks.Answers) -> bool:
    assert one.predictions.keys() == other.predictions.keys()
    same = all(chunks._same(one.predictions[name], other.predictions[name]) for name in one.predictions)
    counted = (one.nonfinite, one.inputs_sha256) == (other.nonfinite, other.inputs_sha256)
    return same and counted and chunks._same(one.first, other.first)


@given(st.integers(1, 1500), st.integers(20, 4000), st.integers(1, 40), st.booleans(), st.integers(0, 5))
def test_chunks_of_any_size_give_what_the_whole_gives(
    count: int, bound: int, multiple: int, several: bool, seed: int
) -> None:
    random = np.random.default_rng(seed)
    x: Inputs = random.integers(0, 255, (count, 2, 2), dtype=np.uint8)
    if several:
        x = {"b": random.integers(0, 255, (count, 3), dtype=np.uint8), "a": np.asarray(x)}
    sizes: list[int] = []

    def counted(inputs: Inputs) -> Inputs:
        sizes.append(length(inputs))
        return run(inputs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "CHUNK_BYTES", bound)
        found = chunks.answer(x, prepare, counted, predict, multiple=multiple)
    assert equal(found, whole(x))
    assert sum(sizes) == count
    assert all(size % multiple == 0 for size in sizes[:-1])  # so that each batch of Keras is the same
    assert max(sizes[1:], default=0) <= max(multiple, bound)


def test_memory_is_bounded_by_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 4096)
    held: list[int] = []

    def small(x: Inputs) -> Inputs:
        prepared = prepare(x)
        held.append(chunks.bytes_each(prepared) * length(prepared))
        return prepared

    chunks.answer(np.zeros((5000, 16), np.uint8), small, run, predict)
    assert max(held) <= 4096
    assert sum(held) >= 5000 * 64


@pytest.mark.parametrize("where", ["prepare", "predict"])
def test_what_depends_on_other_examples_is_done_at_once(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 200)
    x = np.random.default_rng(1).integers(0, 255, (300, 5), dtype=np.uint8)

    def centred(values: Any) -> Any:
        return np.asarray(values - values.mean(axis=0), np.float32)

    def ranks(outputs: Any, _inputs: Inputs) -> dict[str, Array]:
        return {"predictions": np.argsort(np.argsort(outputs[:, 0]))}

    preparing, predicting = (centred, predict) if where == "prepare" else (prepare, ranks)
    found = chunks.answer(x, preparing, run, predicting)
    expected = predicting(run(preparing(x)), preparing(x))["predictions"]
    assert np.array_equal(found.predictions["predictions"], expected)


def test_progress_is_told_after_each_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_EXAMPLES", 400)
    told: list[tuple[int, int]] = []
    chunks.answer(np.zeros((1000, 4), np.uint8), prepare, run, predict, lambda *so_far: told.append(so_far))
    assert told == [(8, 1000), (408, 1000), (808, 1000), (1000, 1000)]
