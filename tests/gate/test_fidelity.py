"""The judge of the outputs: every fault that keeps the score is red, other kernels never are, and a change is named."""

import datetime
from collections.abc import Callable

import numpy as np
import pytest
from conftest import accepted
from quantbench import gate
from quantbench.core import distances
from quantbench.core.arrays import Array
from quantbench.gate._fidelity import SMALLEST_EFFECT
from quantbench.measure import fidelity
from quantbench.records import BaselineCell, BaselineValue, Judgement, Loosened, Measurement, Verdict

SUBJECT = gate.Subject("m", "v", "reports/r")
SHARE = 0.01 / 308  # of the budget, if chance had moved every cell of all reference models
N = 1000
LOGITS = np.random.default_rng(1).normal(0, 3, (N, 10))


def softmax(logits: Array, temperature: float = 1.0) -> Array:
    powers = np.exp((logits - logits.max(axis=1, keepdims=True)) / temperature)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float32)


def logits(noise: float, seed: int = 2) -> Array:
    return LOGITS + np.random.default_rng(seed).normal(0, noise, LOGITS.shape)


FLOAT, INT8, INT4 = softmax(LOGITS), softmax(logits(0.1)), softmax(logits(0.6))


def measured(outputs: Array, reference: Array | None, trained: bool = False) -> Measurement:
    found = fidelity.output_distance([(outputs, outputs if reference is None else reference)], trained)
    assert found is not None
    return found


def value_of(measured: Measurement) -> BaselineValue:
    update = {"unit": measured.unit, "values": measured.values, "tolerance": gate.SMALLEST_EFFECT, "n": measured.n}
    return accepted(measured.value).model_copy(update=update)


def judge(
    now: Array, before: Array, control: Array | None = FLOAT, *, allowed: float = SHARE, **more: object
) -> Judgement:
    """Judge outputs against accepted ones, both with the same control; without one they are the float control's."""
    value = value_of(measured(before, control))
    outputs = gate.Outputs(
        measured(now, control),
        fidelity.to_store(now, control, control is None),
        fidelity.to_store(before, control, control is None),
        int(np.count_nonzero(now.argmax(1) != before.argmax(1))) if now.shape == before.shape else None,
        len(now),
    )
    cell = BaselineCell(measurements={"output_distance": value})
    found = gate.fidelity(SUBJECT, outputs, cell, allowed, False, **more)  # type: ignore[arg-type]
    assert found is not None
    return found


def _dead_column(logits: Array) -> Array:
    outputs = softmax(logits)
    outputs[:, 3] = 0
    return outputs


def _one_hot(logits: Array) -> Array:
    return np.eye(10, dtype=np.float32)[logits.argmax(1)]


FAULTS: dict[str, Callable[[Array], Array]] = {
    "softmax gone": lambda logits: logits.astype(np.float32),
    "temperature 4": lambda logits: softmax(logits, 4),
    "temperature 1/4": lambda logits: softmax(logits, 0.25),
    "beta .25": lambda logits: softmax(0.25 * logits),
    "halved": lambda logits: softmax(logits) / 2,
    "one-hot": _one_hot,
    "1 % of noise": lambda logits: (
        softmax(logits) + np.random.default_rng(5).normal(0, 0.01, logits.shape).astype(np.float32)
    ),
    "dead column": _dead_column,
    "not finite in 10 %": lambda logits: np.where(np.arange(len(logits))[:, None] % 10 == 0, np.nan, softmax(logits)),
}


@pytest.mark.parametrize("noise", [0.1, 0.6], ids=["int8", "int4"])
@pytest.mark.parametrize("fault", FAULTS)
def test_outputs_further_from_the_control_are_red_though_the_score_may_stay(fault: str, noise: float) -> None:
    found = judge(FAULTS[fault](logits(noise)), softmax(logits(noise)))
    assert found.verdict is Verdict.REGRESSED, found.message
    assert found.p_value is not None
    assert found.p_value <= SHARE / 10
    assert found.value is not None
    assert found.reference is not None
    assert found.value > found.reference
    assert found.actions


@pytest.mark.parametrize("fault", sorted(set(FAULTS) - {"not finite in 10 %"}))
def test_the_float_controls_own_outputs_are_held_to_the_accepted_ones(fault: str) -> None:
    found = judge(FAULTS[fault](LOGITS), FLOAT, None)
    assert found.verdict is Verdict.REGRESSED, found.message
    assert "the accepted ones" in found.message


def test_a_softmax_gone_everywhere_is_red_in_float32_and_an_error_elsewhere() -> None:
    now = gate.Outputs(
        measured(logits(0.1), LOGITS),
        fidelity.to_store(logits(0.1), LOGITS, False),
        fidelity.to_store(INT8, FLOAT, False),
    )
    cell = BaselineCell(measurements={"output_distance": value_of(measured(INT8, FLOAT))})
    found = gate.fidelity(SUBJECT, now, cell, SHARE, False)
    assert found is not None
    assert found.verdict is Verdict.ERROR  # what they were measured from is another thing


def test_outputs_as_accepted_pass_and_take_no_share_of_the_budget() -> None:
    for control, before in ((FLOAT, INT8), (FLOAT, INT4), (None, FLOAT)):
        found = judge(before.copy(), before, control)
        assert (found.verdict, found.p_value, found.actions) == (Verdict.PASS, None, [])


def test_float_kernels_that_add_in_another_order_pass() -> None:
    other = (FLOAT * (1 + np.random.default_rng(3).normal(0, 1e-6, FLOAT.shape))).astype(np.float32)
    assert judge(other, FLOAT, None).verdict is Verdict.PASS
    assert judge((INT8 * np.float32(1 + 1e-6)).astype(np.float32), INT8).verdict is Verdict.PASS


def test_other_kernels_pass_or_have_changed_and_are_never_red() -> None:
    """Rounding elsewhere moves each example to another side of its rounding error; twice as far as was measured."""
    before = softmax(logits(0.6) + _rounding(10))
    found = [judge(softmax(logits(0.6) + _rounding(seed)), before) for seed in range(11, 41)]
    assert {one.verdict for one in found} <= {Verdict.PASS, Verdict.CHANGED}
    assert Verdict.CHANGED in {one.verdict for one in found}
    near = judge(softmax(logits(0.6) + 0.2 * _rounding(11)), softmax(logits(0.6) + 0.2 * _rounding(10)))
    assert near.verdict is Verdict.PASS
    assert "no more than other kernels" in near.message


def _rounding(seed: int) -> Array:
    return np.random.default_rng(seed).normal(0, 0.15, LOGITS.shape)


def test_outputs_that_moved_as_far_to_both_sides_have_changed_and_strictness_makes_that_red() -> None:
    another = softmax(logits(0.6, seed=9))
    found = judge(another, INT4)
    assert found.verdict is Verdict.CHANGED, found.message
    assert "predictions changed" in found.message
    assert found.p_value is None
    strict = judge(another, INT4, strict=True)
    assert strict.verdict is Verdict.REGRESSED
    assert "--strict-change" in strict.message


def test_flips_alone_are_a_change() -> None:
    """A tie broken the other way in a tenth of the examples moves no distance."""
    even = np.full((N, 2), 0.5, dtype=np.float32)
    few = even + np.array([[1e-4, -1e-4]], dtype=np.float32)
    turned = few.copy()
    turned[:100] = few[:100, ::-1]
    assert judge(turned, few, even).verdict is Verdict.CHANGED


def test_outputs_closer_to_the_control_have_changed() -> None:
    assert judge(INT8, INT4).verdict is Verdict.CHANGED


def test_what_is_no_classifier_is_judged_by_its_relative_error() -> None:
    control = np.random.default_rng(4).normal(0, 1, (N, 3)).astype(np.float32)
    before = control + np.random.default_rng(5).normal(0, 0.01, control.shape).astype(np.float32)
    assert measured(before, control).unit == "squared relative error"
    for now in (before * 1.2, before + 0.2, np.where([True, True, False], before, 0), before * 1e6):
        assert judge(now.astype(np.float32), before, control).verdict is Verdict.REGRESSED
    assert judge(before * np.float32(1.001), before, control).verdict is Verdict.PASS


def test_a_baseline_without_distances_judges_nothing() -> None:
    outputs = gate.Outputs(measured(INT8, FLOAT), fidelity.to_store(INT8, FLOAT, False), None)
    for cell in (None, BaselineCell()):
        assert gate.fidelity(SUBJECT, outputs, cell, SHARE, False) is None


def test_an_edited_distance_is_an_error() -> None:
    stored = fidelity.to_store(INT8, FLOAT, False)
    cell = BaselineCell(measurements={"output_distance": accepted(0.5)})
    for held in (stored, None):
        found = gate.fidelity(SUBJECT, gate.Outputs(measured(INT8, FLOAT), stored, held), cell, SHARE, False)
        assert found is not None
        assert found.verdict is Verdict.ERROR
        assert "edited by hand" in found.message


def test_another_number_of_outputs_is_an_error() -> None:
    cell = BaselineCell(measurements={"output_distance": value_of(measured(INT8, FLOAT))})
    stored = fidelity.to_store(INT8, FLOAT, False)
    found = gate.fidelity(SUBJECT, gate.Outputs(None, None, stored), cell, SHARE, False)
    assert found is not None
    assert found.verdict is Verdict.ERROR


def test_a_loosened_tolerance_is_told_in_its_own_unit_and_holds() -> None:
    value = value_of(measured(INT8, FLOAT))
    until = datetime.date(2999, 1, 1)
    loosened = value.model_copy(update={"loosened": Loosened(tolerance=0.5, reason="why", expires=until)})
    cell = BaselineCell(measurements={"output_distance": loosened})
    [sentence] = gate.exceptions(cell, "pp", datetime.date(2026, 1, 1))
    assert "loosened from 0.002 of distance to 0.5 of distance" in sentence
    now = softmax(logits(0.1), 4)
    outputs = gate.Outputs(
        measured(now, FLOAT), fidelity.to_store(now, FLOAT, False), fidelity.to_store(INT8, FLOAT, False)
    )
    found = gate.fidelity(SUBJECT, outputs, gate.in_force(cell, datetime.date(2026, 1, 1)), SHARE, False)
    assert found is not None
    assert found.verdict is Verdict.CHANGED
    over = gate.fidelity(SUBJECT, outputs, gate.in_force(cell, datetime.date(3000, 1, 1)), SHARE, False)
    assert over is not None
    assert over.verdict is Verdict.REGRESSED


# ------------------------------------------------------------ size and power


def _rates(grown: Array, allowed: float) -> float:
    """How often the rule is red, for rows of (after - before), by the very arithmetic of the judge."""
    from scipy import stats

    n = grown.shape[1]
    shift, error = grown.mean(axis=1), grown.std(axis=1, ddof=1) / np.sqrt(n)
    p = 2 * stats.t.sf((shift - SMALLEST_EFFECT) / error, n - 1)
    return float(np.mean((shift > SMALLEST_EFFECT) & (p <= allowed)))


def _pairs(rng: np.random.Generator, runs: int, n: int, extra: float) -> Array:
    """Skewed distances as measured (a tenth of the examples makes most of the mean), after and before."""
    before = rng.lognormal(-7, 2, (runs, n))
    after = before * rng.lognormal(0, 0.5, (runs, n)) * np.exp(-0.125)
    grown = np.minimum(after, 2) - np.minimum(before, 2)
    return np.asarray(grown - grown.mean() + extra)


def test_the_size_is_kept_even_where_the_shift_is_the_whole_margin() -> None:
    rng = np.random.default_rng(6)
    for n in (50, 300, 1000):
        assert _rates(_pairs(rng, 2000, n, 0.0), 0.01) <= 0.001  # nothing got worse
        assert _rates(_pairs(rng, 2000, n, SMALLEST_EFFECT), 0.01) <= 0.02  # the worst case of the null


def test_the_simulated_rule_is_that_of_the_judge() -> None:
    for extra in (0.05, 0.3, 0.6):
        now = softmax(logits(0.6) + logits(extra, 8) - LOGITS)
        grown = distances.decode(distances.encode(distances.distances(now, FLOAT))) - distances.decode(
            distances.encode(distances.distances(INT4, FLOAT))
        )
        assert (_rates(grown[None], 0.01) == 1) == (judge(now, INT4, allowed=0.01).verdict is Verdict.REGRESSED)


def test_the_power_at_the_smallest_change_that_is_told() -> None:
    """Adding what ``detectable`` says makes at least 75 of 100 simulated runs red, 80 in the mean."""
    told = judge(INT4, softmax(logits(0.6) + logits(0.15, 11) - LOGITS)).detectable
    assert told is not None
    grown = distances.distances(INT4, FLOAT) - distances.distances(
        softmax(logits(0.6) + logits(0.15, 11) - LOGITS), FLOAT
    )
    rng = np.random.default_rng(7)
    drawn = rng.choice(grown, (1000, N)) - grown.mean() + told
    assert 0.72 <= _rates(drawn, SHARE) <= 0.9


# ------------------------------------------------------------ what trains


def trained(now: list[float], before: list[float], samples: list[list[float]], allowed: float = SHARE) -> Judgement:
    def found(values: list[float]) -> Measurement:
        mean = float(np.mean(values))
        return Measurement(value=mean, unit="squared Hellinger distance", n=N, values=values)

    codes = np.full(N, 150, dtype=np.uint8)
    first = float(distances.decode(codes).mean())
    scaled = [first * value / before[0] for value in before]
    cell = BaselineCell(measurements={"output_distance": value_of(found(scaled))})
    outputs = gate.Outputs(found([first * value / before[0] for value in now]), codes + 1, codes)
    judged = gate.fidelity(SUBJECT, outputs, cell, allowed, True, samples)
    assert judged is not None
    return judged


SPREAD = [[1.0, 1.1, 0.9, 1.05, 0.95]]


def test_a_training_that_did_not_repeat_is_judged_by_the_spread_of_trainings() -> None:
    five = SPREAD[0]
    assert trained(five[::-1], five, SPREAD).verdict is Verdict.PASS
    assert trained([1.2], five, SPREAD).verdict is Verdict.PASS
    worse = trained([500 * value for value in five], five, SPREAD)
    assert worse.verdict is Verdict.REGRESSED, worse.message
    assert trained([1.3], [1.0], []).verdict is Verdict.PASS
    assert "spread of this model's trainings is unknown" in trained([1.3], [1.0], []).message
    assert trained([300.0], [1.0], []).verdict is Verdict.REGRESSED


def test_new_trainings_are_red_no_more_often_than_their_share() -> None:
    rng = np.random.default_rng(8)
    reds = 0
    for _ in range(300):
        five = list(np.exp(rng.normal(0, 0.1, 5)))
        new = float(np.exp(rng.normal(0, 0.1)))
        reds += trained([new], five, [five], allowed=0.05).verdict is Verdict.REGRESSED
    assert reds <= 0.05 * 300 + 2 * np.sqrt(0.05 * 300)


# ------------------------------------------------------------ one byte an example


def test_distances_survive_their_byte_within_a_step() -> None:
    values = np.concatenate([[0.0, 1e-9], np.geomspace(1e-8, 2, 5000)])
    back = distances.decode(distances.encode(values))
    assert back[0] == back[1] == 0
    assert np.abs(np.log(back[2:] / values[2:])).max() < 0.04
    assert back.mean() == pytest.approx(values.mean(), rel=2e-3)
    assert np.array_equal(distances.encode(back), distances.encode(values))


def test_a_reference_keeps_its_outputs_within_one_part_in_4096() -> None:
    found = distances.kept(FLOAT)
    assert found.shape == FLOAT.shape
    assert np.abs(found / FLOAT - 1).max() < 1 / 4096
    assert distances.kept(np.zeros((500, 784), dtype=np.float32)).shape == (50, 784)
    assert distances.kept(np.zeros((500, 5000), dtype=np.float32)).shape == (10, 5000)
    assert distances.kept(np.zeros((500, 30000), dtype=np.float32)).shape == (8, 30000)
    assert np.array_equal(distances.kept(found), found)
