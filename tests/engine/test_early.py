"""A variant is set aside by a part of the examples only where it is surely beyond its limit."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from quantbench.build.store import Store
from quantbench.engine.workers import early
from quantbench.measure import accuracy
from quantbench.measure.chunks import Looks, answer
from quantbench.reference.datasets import Pack, Split
from quantbench.reference.metrics import ACCURACY
from quantbench.reference.model import Floor
from studies import early_looks

LABELS = np.arange(4000) % 10


class Subject(SimpleNamespace):
    """A made-up model."""

    def floor(self, _variant: str, _family: str) -> Floor:
        return Floor(0.5, "made up")


def looks(
    monkeypatch: pytest.MonkeyPatch, known: bool = True, variant: str = "ptq_static_wi8_ai8", **changed: object
) -> Looks | None:
    pack = Pack(None, None, Split(np.zeros((len(LABELS), 1)), LABELS), "d")
    fields = {"metric": ACCURACY, "heads": (), "stateful": False, "pack": lambda: pack} | changed
    monkeypatch.setattr(early.build, "find", lambda *_: SimpleNamespace(sha256="a"))
    float32 = SimpleNamespace(predictions=LABELS) if known else None
    monkeypatch.setattr(early.accuracy, "find", lambda *_: float32)
    return early.looks(Subject(**fields), variant, None, 1e-4, Store.__new__(Store))


def wrong(places: np.ndarray, share: float) -> dict[str, np.ndarray]:
    off = np.arange(len(places)) < share * len(places)
    return {accuracy.MAIN: np.where(off, LABELS[places] + 1, LABELS[places])}


def test_only_what_is_surely_beyond_is_set_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    found = looks(monkeypatch)
    assert found is not None
    assert found.parts == (250, 1000)
    places = np.arange(0, 4000, 16)
    found.look(places, wrong(places, 0.005))
    found.look(places, wrong(places, 0.02))  # worse than allowed, but too few examples to be sure
    with pytest.raises(early.SurelyBeyond, match=r"^20 pp worse than float32 on 250 of 4,000 examples"):
        found.look(places, wrong(places, 0.2))


def test_nothing_is_set_aside_before_float32_is_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    found = looks(monkeypatch, known=False)
    assert found is not None
    found.look(np.arange(250), wrong(np.arange(250), 0.9))


@pytest.mark.parametrize(
    "changed", [{"heads": ("another",)}, {"stateful": True}, {"variant": "float32"}, {"variant": "float32_finetuned"}]
)
def test_what_another_output_or_a_state_decides_or_others_are_compared_with_is_scored_whole(
    changed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert looks(monkeypatch, **changed) is None


def run(x: np.ndarray, found: Looks | None) -> tuple[list[object], list[int]]:
    told: list[int] = []
    got = answer(
        x,
        lambda part: part.astype(np.float32),
        lambda part: part * 2,
        lambda outputs, _: {"predictions": outputs.argmax(1)},
        lambda so_far, _: told.append(so_far),
        looks=found,
    )
    return [got.predictions["predictions"].tolist(), got.nonfinite, got.first.tolist(), got.inputs_sha256], told


def test_parts_that_are_looked_at_change_nothing_in_the_results() -> None:
    x = np.random.default_rng(0).integers(0, 255, (3000, 300), dtype=np.uint8)
    seen: list[tuple[int, bool]] = []

    def look(places: np.ndarray, predictions: dict[str, np.ndarray]) -> None:
        own = np.array_equal(predictions["predictions"], x[places].argmax(1))
        seen.append((len(set(places.tolist())), own))
        assert np.ptp(places) > 2000  # drawn from all of them

    with_looks, told = run(x, Looks((187, 750), look, least_seconds=0.0))
    assert with_looks == run(x, None)[0]
    assert seen == [(187, True), (750, True)]
    assert told == sorted(told)
    assert told[-1] == 3000


def test_a_quick_model_is_not_looked_at() -> None:
    def look(_places: np.ndarray, _predictions: dict[str, np.ndarray]) -> None:
        raise AssertionError

    run(np.zeros((3000, 3), np.uint8), Looks((187,), look))


def test_looks_ship_no_more_and_hardly_ever_set_a_good_variant_aside() -> None:
    at_limit = early_looks.counted(2000, 0.5, 60)
    assert at_limit.shipped <= at_limit.without <= 0.08
    assert early_looks.counted(2000, 0.25, 60).aside == 0
    far = early_looks.counted(2000, 10.0, 20)
    assert far.shipped == 0
    assert far.scored < 0.3
