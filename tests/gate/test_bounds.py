"""What exceptions excuse, and what many accepted steps add up to: both have an end."""

import datetime
from typing import Any

import pytest
from conftest import accepted, baseline_cell, steps
from made_up_cells import FLOAT, HALF, model, outcome, run
from made_up_runs import answers
from quantbench import gate
from quantbench.baselines.effective import EffectiveBaseline
from quantbench.baselines.exceptions import _limits
from quantbench.errors import BadInput
from quantbench.records import (
    AcceptedFloor,
    BaselineCell,
    BaselineFile,
    First,
    Judgement,
    Kind,
    Measurement,
    Verdict,
    Xfail,
)
from quantbench.reference.metrics import ACCURACY
from quantbench.reference.model import Floor

TODAY = datetime.date(2026, 6, 15)
SUBJECT = gate.Subject("m", "v", "reports/r")


def judgement(**more: Any) -> Judgement:
    fields: dict[str, Any] = {"kind": Kind.ACCURACY, "measurement": "score", "against": "baseline", "message": "it"}
    return Judgement(**({"verdict": Verdict.REGRESSED} | fields | more))


def excused(judged: Judgement, **limits: Any) -> Judgement:
    name = gate.excuse_name(judged)
    xfail = Xfail(ticket="T-1", reason="r", expires=TODAY, **limits)
    return gate.excused(SUBJECT, [judged], BaselineCell(xfail={name: xfail}), TODAY, first=False)[0]


@pytest.mark.parametrize(
    ("drop", "limits", "verdict", "words"),
    [
        (0.9, {"bound": 1.0}, Verdict.XFAIL, "expected to fail until"),
        (40.0, {"bound": 1.0}, Verdict.REGRESSED, "the xfail of score (T-1) excuses up to 1; this is 40"),
        (40.0, {}, Verdict.REGRESSED, "has no bound and excuses nothing: renew it with --run"),
    ],
)
def test_an_xfail_excuses_no_more_than_its_bound(
    drop: float, limits: dict[str, Any], verdict: Verdict, words: str
) -> None:
    found = excused(judgement(change=drop), **limits)
    assert found.verdict is verdict
    assert words in found.message


@pytest.mark.parametrize(
    ("seen", "now", "verdict"),
    [
        ("node 3 crashed with signal 11", "node 17 crashed with signal 11", Verdict.XFAIL),
        ("node 3 crashed with signal 11", "the converter refuses GELU", Verdict.REGRESSED),
        (None, "node 3 crashed", Verdict.REGRESSED),
    ],
)
def test_an_xfail_of_a_failure_in_words_excuses_that_failure(seen: str | None, now: str, verdict: Verdict) -> None:
    assert excused(judgement(measurement="promise", detail=now), seen=seen).verdict is verdict


def test_an_agreement_has_a_bound_too() -> None:
    low = judgement(measurement="float_agreement", against="float model", value=0.99, reference=1.0)
    assert excused(low, bound=0.02).verdict is Verdict.XFAIL
    worse = low.model_copy(update={"value": 0.9})
    assert excused(worse, bound=0.02).verdict is Verdict.REGRESSED


def test_a_bound_is_what_was_seen_and_what_the_judge_would_see_beyond_it() -> None:
    assert gate.bound_of(judgement(change=0.8, detectable=0.2)) == pytest.approx(1.0)
    assert gate.bound_of(judgement(change=0.8, against="floor")) == pytest.approx(1.0)
    assert gate.bound_of(judgement(measurement="promise")) is None


class _Target:
    id = "m/ptq_float16"


def test_an_xfail_takes_its_bound_from_a_run_in_which_it_failed() -> None:
    made = run({FLOAT: [outcome()], HALF: [outcome(120)]}, standing_of(BaselineCell()))
    made.budget.settle([made.results.of(cell) for cell in (FLOAT, HALF)])
    for kind in (Kind.ACCURACY, Kind.SIZE):
        made.drive.judge(HALF, kind)
    made.recording.save("complete", 1)  # type: ignore[arg-type]
    report = made.written[-1]
    floor = _limits(_Target(), "floor", None, report)  # type: ignore[arg-type]
    assert floor == {"bound": pytest.approx(2.5)}  # 2 pp were seen
    with pytest.raises(BadInput, match=r"--bound: expected at least the 2 that was seen, found 1"):
        _limits(_Target(), "floor", 1.0, report)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="did not fail in run r"):
        _limits(_Target(), "conversion_agreement", None, report)  # type: ignore[arg-type]


def standing_of(cell: BaselineCell) -> EffectiveBaseline:
    cells = {"ptq_float16": cell, "float32": BaselineCell()}
    file = BaselineFile(model="m", metric="accuracy", data_sha256="d", predictions_sha256="p", cells=cells)
    return EffectiveBaseline(file, {"ptq_float16": answers(100)})


def test_a_loosened_tolerance_is_a_bound() -> None:
    wide = {"tolerance": 0.05, "reason": "r", "expires": TODAY}
    cell = baseline_cell(size=accepted(100_000, 0.001, "bytes", loosened=wide), gzip_size=accepted(9, 0.01, "bytes"))
    for size, verdict in ((104_900, Verdict.PASS), (106_000, Verdict.REGRESSED)):
        sizes = {"size": Measurement(value=size, unit="bytes", n=1)}
        assert gate.sizes(SUBJECT, sizes, gate.in_force(cell, TODAY))[0].verdict is verdict


# ---------------------------------------------------------------- drift


def stepped(name: str, steps_taken: int, each: float = 0.007) -> tuple[BaselineCell, Judgement]:
    """A baseline after so many accepted steps of 0.7 %, and a run that measured one more."""
    first = First(value=1.0, date="2025-01-01", run="r0")
    value = accepted((1 + each) ** steps_taken, 0.01, "ratio", first=first, values=[1.0, 1.0], n=2)
    tables = {"latency_ratio": "latency", "control_to_yardstick": "latency", "peak_memory": "peak_memory"}
    cell = BaselineCell.model_validate(
        {tables.get(name, "measurements"): {"here" if name in tables else name: value.model_dump()}}
    )
    now = (1 + each) ** (steps_taken + 1)
    return cell, judgement(measurement=name, verdict=Verdict.PASS, value=now, unit="ratio")


def drift(name: str, steps_taken: int, each: float = 0.007) -> list[Verdict]:
    cell, judged = stepped(name, steps_taken, each)
    return [one.verdict for one in gate.growths(SUBJECT, [judged], cell, lambda _name: "here")]


@pytest.mark.parametrize("name", gate.DRIFTING)
def test_small_accepted_steps_add_up_to_a_warning(name: str) -> None:
    assert drift(name, 5) == []
    assert drift(name, 6) == [Verdict.WARN]  # the seventh release of 0.7 %
    assert drift(name, 13) == [Verdict.WARN]
    assert drift(name, 24) == [Verdict.WARN]  # never red: each step was accepted with a reason
    assert drift(name, 14, -0.007) == []  # a gain
    cell, judged = stepped(name, 0)
    assert gate.growths(SUBJECT, [judged.model_copy(update={"value": 2.0})], cell, lambda _name: "here") == []
    assert gate.growths(SUBJECT, [judged], cell, lambda _name: "elsewhere") == []


def test_drift_names_both_values_and_how_it_ends() -> None:
    cell, judged = stepped("latency_ratio", 24)
    [found] = gate.growths(SUBJECT, [judged], cell, lambda _name: "here")
    assert (
        "grew by 19.1 % since the first baseline (2025-01-01, run r0); +18.2 % of it was accepted in updates"
        in found.message
    )
    assert found.kind is Kind.LATENCY
    assert "--restart-drift" in steps(found)


def test_a_score_warns_at_half_of_what_the_floor_allows() -> None:
    def judged(value: float) -> Verdict | None:
        score = accepted(value, first=First(value=0.9, date="2026-01-01", run="r0"))
        found = gate.drift(
            SUBJECT,
            ACCURACY,
            Measurement(value=value, unit="fraction", n=1000),
            baseline_cell(score=score),
            Floor(0.5, "p"),
        )
        return found and found.verdict

    assert judged(0.898) is None
    assert judged(0.896) is Verdict.WARN
    assert judged(0.88) is Verdict.WARN


def test_float32_itself_drifts_by_the_strictest_floor_of_its_variants() -> None:
    score = accepted(0.899, first=First(value=0.9, date="2026-01-01", run="r0"))
    seen = standing_of(BaselineCell())
    assert seen.file is not None
    seen.file.cells["float32"] = baseline_cell(score=score)
    seen.predictions["float32"] = answers(101)
    floors = {"ptq_float16": Floor(0.1, "rounding"), "ptq": Floor(0.5, "policy")}
    made = run({FLOAT: [outcome(101)]}, seen, of=model(floors=floors))
    [found] = [one for one in made.judging.judge(Kind.ACCURACY, *made.result(FLOAT)) if one.measurement == "drift"]
    assert found.verdict is Verdict.WARN


# ---------------------------------------------------------------- floors


@pytest.mark.parametrize(
    ("then", "now", "verdict"),
    [
        (0.5, 0.5, None),
        (0.5, 40.0, Verdict.WARN),
        (0.5, None, Verdict.WARN),
        (0.5, 0.2, Verdict.PASS),
        (None, 0.5, Verdict.PASS),
    ],
)
def test_a_floor_changed_in_the_models_file_is_told(
    then: float | None, now: float | None, verdict: Verdict | None
) -> None:
    cell = BaselineCell(floor=AcceptedFloor(max_drop=then))
    found = gate.floor_moved(cell, None if now is None else Floor(now, "p"), "pp")
    assert [one.verdict for one in found] == ([] if verdict is None else [verdict])
    if found:
        assert "when this cell was accepted and is" in found[0].message
    assert gate.floor_moved(BaselineCell(), Floor(9.0, "p"), "pp") == []  # of before it was recorded


def test_a_run_tells_a_floor_that_allows_more_than_when_the_cell_was_accepted() -> None:
    made = run(
        {FLOAT: [outcome()], HALF: [outcome()]},
        standing_of(baseline_cell(score=accepted(0.9)).model_copy(update={"floor": AcceptedFloor(max_drop=0.1)})),
    )
    found = {one.measurement: one for one in made.judging.judge(Kind.ACCURACY, *made.result(HALF))}
    assert found["floor_accepted"].verdict is Verdict.WARN
    assert (
        found["floor_accepted"].message == "the release limit was 0.1 pp when this cell was accepted and is 0.5 pp now"
    )
