"""A cell on TFLite-Micro within a run: what is compared, what goes into the report, and what a judge makes of it."""

from typing import Any

import numpy as np
import pytest
from conftest import accepted
from made_up_cells import Planned, baseline, model, outcome
from made_up_runs import LABELS, answers, environment
from quantbench.engine import on_micro
from quantbench.engine.context import Rules
from quantbench.engine.results import Results
from quantbench.measure.micro import OnMicro
from quantbench.measure.micro_log import Arena
from quantbench.records import AcceptedMicro, BaselineCell, Judgement, Kind, MicroRefusal, Verdict
from quantbench.reference.metrics import ACCURACY, MEAN_SQUARED_ERROR
from quantbench.variants import variant_of

CELL = "m/float32"


def judged(taken: OnMicro, on_reference: Any = None, **held: Any) -> tuple[dict[str, Judgement], Results]:
    made = model()
    planned = Planned(made, variant_of(made, "float32"), frozenset({Kind.MICRO}), True, (0,))
    first = outcome(others={} if on_reference is None else {"litert-reference": on_reference})
    results = Results({CELL: planned}, lambda _: [first])
    cell = BaselineCell(
        measurements={"micro_arena": accepted(100, 0.0, "bytes")},
        micro=AcceptedMicro(**{"version": "1", "examples": 300, "differing": 0} | held),
    )
    rules = Rules({"m": baseline({}, float32=cell)}, environment(), "r")
    found = on_micro.judge(results.of(CELL), results, rules, lambda *_: taken)
    return {one.measurement: one for one in found}, results


def test_answers_are_compared_with_those_of_the_reference_kernels_example_by_example() -> None:
    reference, mine = answers(30)[:300], answers(30)[:300]
    mine[100:120] = (mine[100:120] + 1) % 10
    found, results = judged(OnMicro("1", Arena(100, 60, 40), predictions=mine), reference)
    micro = on_micro.record(OnMicro("1", Arena(100, 60, 40), predictions=mine), results.of(CELL).outcomes[0], model())
    assert micro.answers is not None
    assert micro.answers.differing == list(range(100, 120))
    assert (micro.answers.lost, micro.answers.gained) == (20, 0)
    assert found["micro_agreement"].verdict is Verdict.REGRESSED
    assert found["micro_arena"].verdict is Verdict.PASS
    kept = results.of(CELL)
    assert kept.alone.micro == micro
    assert kept.measurements["micro_arena"].value == 100
    assert kept.measurements["micro_agreement"].value == 280 / 300


def test_a_larger_arena_is_red_and_answers_without_reference_kernels_are_not_judged() -> None:
    found, _ = judged(OnMicro("1", Arena(116, 60, 56), predictions=answers(30)[:300]))
    assert {name: one.verdict for name, one in found.items()} == {"micro_loads": "pass", "micro_arena": "regressed"}


def test_what_does_not_run_is_in_the_report_and_red_where_it_ran_before() -> None:
    refusal = MicroRefusal(reason="Didn't find op", operator="GELU", missing=True)
    found, results = judged(OnMicro("1", refusal=refusal))
    assert [one.verdict for one in found.values()] == [Verdict.REGRESSED]
    kept = results.of(CELL).alone.micro
    assert kept is not None
    assert kept.refusal == refusal
    known, _ = judged(OnMicro("1", refusal=refusal), refusal=refusal)
    assert [one.verdict for one in known.values()] == [Verdict.UNSUPPORTED]


def test_a_process_that_found_nothing_out_is_an_error_and_no_refusal() -> None:
    found, results = judged(OnMicro(failure="its process died of SIGKILL"))
    assert [one.verdict for one in found.values()] == [Verdict.ERROR]
    assert results.of(CELL).alone.micro is None


def test_numbers_differ_beyond_rounding_and_where_they_are_none() -> None:
    reference = np.array([1.0, 2.0, 100.0], np.float32)
    new = np.array([1.5, 5.0, np.nan], np.float32)  # 2 % of the largest is 2
    assert on_micro.compared(MEAN_SQUARED_ERROR, new, reference, reference).differing == [1, 2]
    assert on_micro.compared(MEAN_SQUARED_ERROR, new, reference, reference).score is None  # JSON has no NaN
    finite = np.array([1.5, 5.0, 100.0], np.float32)
    of_numbers = on_micro.compared(MEAN_SQUARED_ERROR, finite, reference, reference)
    assert (of_numbers.score, of_numbers.reference_score) == (pytest.approx((0.25 + 9) / 3), 0)
    assert on_micro.compared(ACCURACY, LABELS[:9], LABELS[:10], LABELS[:10]).differing == list(range(10))
