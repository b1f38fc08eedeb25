"""What takes long to compute from stored answers is recalled, and only for the very same answers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_up_cells import model
from quantbench import gate
from quantbench.build.store import Store
from quantbench.core.arrays import Array
from quantbench.engine import kept as kept_of
from quantbench.engine.kept import Kept
from quantbench.engine.on_micro import compared
from quantbench.reference.metrics import ACCURACY, MEAN_ABSOLUTE_ERROR

LABELS = np.arange(50.0)
CONTROL = LABELS + 0.1
OWN = LABELS + np.linspace(0.1, 0.4, 50)


def asked(store: Store, own: Array = OWN, spread: gate.Spread | None = None) -> tuple[gate.DropSeen | None, int]:
    """The drop, and how often it was computed."""
    times = 0

    def anew() -> gate.DropSeen | None:
        nonlocal times
        times += 1
        return gate.drop_seen(MEAN_ABSOLUTE_ERROR, LABELS, {0: own}, {0: CONTROL}, spread is not None, spread)

    facts = {"spread": None if spread is None else [spread.sd, spread.degrees]}
    of = model(metric=MEAN_ABSOLUTE_ERROR)
    return Kept(store).drop_seen(of, {"own": {0: own}, "control": {0: CONTROL}}, facts, anew), times


@pytest.mark.parametrize("spread", [None, gate.Spread(0.2, 4.0)])
def test_a_drop_is_recalled_to_the_last_bit(tmp_path: Path, spread: gate.Spread | None) -> None:
    store = Store(tmp_path)
    first, times = asked(store, spread=spread)
    assert (first is not None, times) == (True, 1)
    assert asked(store, spread=spread) == (first, 0)
    store.release()


def test_other_answers_another_spread_and_other_code_are_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    first, _ = asked(store)
    other, times = asked(store, OWN + 1)
    assert (times, other != first) == (1, True)
    assert asked(store, spread=gate.Spread(0.2, 4.0))[1] == 1
    assert asked(store, OWN.astype(np.float32))[1] == 1
    monkeypatch.setattr(kept_of, "_CODE", ("quantbench.core.drops",))
    assert asked(store)[1] == 1
    store.release()


def test_where_nothing_can_be_compared_that_is_kept_too(tmp_path: Path) -> None:
    store, of = Store(tmp_path), model(metric=MEAN_ABSOLUTE_ERROR)
    for _ in range(2):
        assert Kept(store).drop_seen(of, {"own": {}, "control": {}}, {}, lambda: None) is None
    store.release()


def test_answers_on_other_kernels_are_recalled(tmp_path: Path) -> None:
    store, of, times = Store(tmp_path), model(metric=MEAN_ABSOLUTE_ERROR), []
    for _ in range(2):
        found = Kept(store).compared(
            of, OWN, CONTROL, lambda: times.append(1) or compared(of.metric, OWN, CONTROL, LABELS)
        )
        assert found == compared(of.metric, OWN, CONTROL, LABELS)
    assert len(times) == 1
    store.release()


def test_metrics_that_count_right_answers_are_not_kept(tmp_path: Path) -> None:
    of = model(metric=ACCURACY)
    answers = np.zeros(4, dtype=np.uint8)
    Kept(Store(tmp_path / "none")).compared(
        of, answers, answers, lambda: compared(of.metric, answers, answers, answers)
    )
    assert not (tmp_path / "none").exists()


def test_a_metric_of_the_users_own_is_computed_each_time(tmp_path: Path) -> None:
    def value(predictions: Array, labels: Array) -> float:
        return 2.0 * float(np.mean(np.abs(predictions - labels)))

    store, seen = Store(tmp_path), gate.drop_seen(MEAN_ABSOLUTE_ERROR, LABELS, {0: OWN}, {0: CONTROL}, False, None)
    renamed = replace(MEAN_ABSOLUTE_ERROR, name="mine:value")
    for metric in (replace(MEAN_ABSOLUTE_ERROR, value=value), renamed):
        times = []

        def anew(times: list[int] = times) -> gate.DropSeen | None:
            times.append(1)
            return seen

        for _ in range(2):
            Kept(store).drop_seen(model(metric=metric), {"own": {0: OWN}}, {}, anew)
        assert len(times) == 2
    store.release()
