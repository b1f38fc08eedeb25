"""Loosened tolerances, expected failures and drift: what they excuse, how they end, and who may write them."""

import datetime
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, accepted, baseline_cell, edit, steps
from made_up_runs import cell as run_cell
from made_up_runs import report as run_report
from quantbench import gate
from quantbench.baselines import exceptions
from quantbench.baselines.effective import effective_baseline
from quantbench.baselines.files import load
from quantbench.errors import BadInput
from quantbench.records import (
    BaselineCell,
    BaselineFile,
    First,
    Judgement,
    Kind,
    Loosened,
    Measurement,
    Report,
    Verdict,
    Xfail,
)
from quantbench.records import read_record as read
from quantbench.reference.metrics import ACCURACY
from quantbench.reference.model import Floor, load_models

TODAY = datetime.date(2026, 6, 15)
PAST, FUTURE = datetime.date(2026, 6, 14), datetime.date(2026, 7, 1)
SUBJECT = gate.Subject("m", "v", "reports/r --baseline-dir mine")
CELL = "seed_cnn/ptq_static_wi8_ai8"


def loosened(expires: datetime.date) -> BaselineCell:
    wide = Loosened(tolerance=0.05, reason="new strings", expires=expires)
    return baseline_cell(size=accepted(100_000, 0.001, "bytes", loosened=wide), gzip_size=accepted(9, 0.01, "bytes"))


def size_verdict(cell: BaselineCell) -> Verdict:
    sizes = {"size": Measurement(value=102_000, unit="bytes", n=1)}
    return gate.sizes(SUBJECT, sizes, gate.in_force(cell, TODAY))[0].verdict


def test_a_loosened_tolerance_holds_through_its_last_day() -> None:
    assert size_verdict(loosened(FUTURE)) is Verdict.PASS
    assert size_verdict(loosened(TODAY)) is Verdict.PASS


def test_after_its_last_day_the_derived_tolerance_is_back_and_the_report_says_so() -> None:
    assert size_verdict(loosened(PAST)) is Verdict.REGRESSED
    [told] = gate.exceptions(loosened(PAST), "pp", TODAY)
    assert told == (
        "size: the loosened tolerance of 5 % expired on 2026-06-14 (new strings); the computed 0.1 % applies again"
    )
    [told] = gate.exceptions(loosened(FUTURE), "pp", TODAY)
    assert told == "size: tolerance loosened from 0.1 % to 5 % until 2026-07-01: new strings"


def test_a_loosened_latency_holds_for_its_machine_class() -> None:
    wide = Loosened(tolerance=0.5, reason="r", expires=FUTURE)
    cell = BaselineCell(latency={"here": accepted(0.8, 0.05, "ratio", values=[0.8, 0.802, 0.798, 0.8], loosened=wide)})
    values = [0.88, 0.882, 0.878, 0.88, 0.881, 0.879]
    ratio = Measurement(value=0.88, unit="ratio", n=6, values=values)
    for known, verdict in ((cell, Verdict.REGRESSED), (gate.in_force(cell, TODAY), Verdict.PASS)):
        assert gate.latency(SUBJECT, "latency_ratio", ratio, known, "here", 1e-3, ratio).verdict is verdict
    assert gate.exceptions(cell, "pp", TODAY, machine="elsewhere") == []


def expected(expires: datetime.date, name: str = "score") -> BaselineCell:
    limits: dict[str, Any] = {"seen": "m/v: it"} if name in gate.WITHOUT_NUMBER else {"bound": 1.0}
    xfail = Xfail(ticket="https://example.org/1", reason="a kernel", expires=expires, **limits)
    return BaselineCell(xfail={name: xfail})


def judgement(verdict: Verdict, **more: Any) -> Judgement:
    fields: dict[str, Any] = {"kind": Kind.ACCURACY, "measurement": "score", "against": "baseline", "change": 0.8}
    return Judgement(verdict=verdict, message="m/v: it", **(fields | more))


@pytest.mark.parametrize(
    ("verdict", "expires", "becomes"),
    [
        (Verdict.REGRESSED, FUTURE, [Verdict.XFAIL]),
        (Verdict.ERROR, FUTURE, [Verdict.ERROR]),  # could not be measured: nothing is known of it
        (Verdict.PASS, FUTURE, [Verdict.PASS, Verdict.REGRESSED]),
        (Verdict.IMPROVED, FUTURE, [Verdict.IMPROVED, Verdict.REGRESSED]),
        (Verdict.WARN, FUTURE, [Verdict.WARN]),
        (Verdict.REGRESSED, TODAY, [Verdict.XFAIL]),
        (Verdict.REGRESSED, PAST, [Verdict.REGRESSED, Verdict.REGRESSED]),
        (Verdict.PASS, PAST, [Verdict.PASS, Verdict.REGRESSED]),
        (Verdict.UNJUDGED, PAST, [Verdict.UNJUDGED, Verdict.REGRESSED]),
        (Verdict.UNJUDGED, FUTURE, [Verdict.UNJUDGED]),
        (Verdict.MISSING, FUTURE, [Verdict.MISSING]),
        (Verdict.UNSUPPORTED, FUTURE, [Verdict.UNSUPPORTED]),
    ],
)
def test_what_an_xfail_makes_of_a_verdict(verdict: Verdict, expires: datetime.date, becomes: list[Verdict]) -> None:
    found = gate.excused(SUBJECT, [judgement(verdict)], expected(expires), TODAY, first=True)
    assert [one.verdict for one in found] == becomes
    if becomes[-1] is Verdict.XFAIL:
        assert "expected to fail until" in found[0].message
        assert "https://example.org/1: a kernel" in found[0].message
    if len(becomes) == 2:
        assert "quantbench baseline xfail m/v score --remove --baseline-dir mine" in steps(found[1])


def test_an_xfail_excuses_its_measurement_alone() -> None:
    floor = judgement(Verdict.REGRESSED, against="floor")
    size = judgement(Verdict.REGRESSED, kind=Kind.SIZE, measurement="size")
    found = gate.excused(
        SUBJECT, [judgement(Verdict.REGRESSED), floor, size], expected(FUTURE, "floor"), TODAY, first=True
    )
    assert [one.verdict for one in found] == [Verdict.REGRESSED, Verdict.XFAIL, Verdict.REGRESSED]
    assert gate.excused(SUBJECT, [size], None, TODAY, first=True) == [size]


def test_an_xfail_of_the_cell_ends_where_the_cell_can_be_made_or_its_day_is_over() -> None:
    crash = judgement(Verdict.ERROR, measurement="cell", change=None)
    assert [one.verdict for one in gate.excused(SUBJECT, [crash], expected(FUTURE, "cell"), TODAY, first=True)] == [
        Verdict.XFAIL
    ]
    made = gate.excused(SUBJECT, [judgement(Verdict.PASS)], expected(FUTURE, "cell"), TODAY, first=True)
    assert [one.verdict for one in made] == [Verdict.PASS, Verdict.REGRESSED]
    assert "the cell can be made" in made[1].message
    over = gate.excused(SUBJECT, [crash], expected(PAST, "cell"), TODAY, first=True)
    assert [one.verdict for one in over] == [Verdict.ERROR, Verdict.REGRESSED]
    # Told once a cell, not once a kind.
    assert gate.excused(SUBJECT, [crash], expected(PAST, "cell"), TODAY, first=False) == [crash]


def drifted(value: float, first: float, **more: Any) -> BaselineCell:
    return baseline_cell(score=accepted(value, first=First(value=first, date="2026-01-01", run="r0"), **more))


@pytest.mark.parametrize(
    ("cell", "warns"),
    [
        (drifted(0.896, 0.9), True),  # 0.4 pp of 0.5 in small steps
        (drifted(0.898, 0.9), False),  # 0.2 pp
        (drifted(0.9, 0.89), False),  # a gain
        (drifted(0.896, 0.896), False),  # nothing accepted since
        (drifted(0.896, 0.9, noise=0.0015, values=[0.896] * 5), False),  # seeds explain it
    ],
)
def test_many_small_drops_are_a_warning(cell: BaselineCell, warns: bool) -> None:
    score = Measurement(value=cell.measurements["score"].value, unit="fraction", n=1000)
    found = gate.drift(SUBJECT, ACCURACY, score, cell, Floor(0.5, "policy"))
    assert (found is not None) == warns
    if found is not None:
        assert found.verdict is Verdict.WARN
        assert "lost 0.40 pp since the first baseline (2026-01-01" in found.message
        assert "--restart-drift" in steps(found)
    assert gate.drift(SUBJECT, ACCURACY, score, cell, None) is None


def test_drift_is_told_from_the_first_value_or_from_the_accepted_one_where_no_first_is_known() -> None:
    measured = {
        "score": Measurement(value=0.897, unit="fraction", n=1000),
        "size": Measurement(value=110.0, unit="bytes", n=1),
    }
    cell = baseline_cell(score=drifted(0.898, 0.9).measurements["score"], size=accepted(100.0, unit="bytes"))
    found = gate.drift_of(ACCURACY, measured, cell)
    assert found is not None
    assert found.score == pytest.approx(0.3)
    assert found.size == pytest.approx(0.1)
    assert gate.drift_of(ACCURACY, measured, None) is None


def target(folder: Path, cell: str = CELL) -> exceptions.Target:
    return exceptions.Target(cell, ROOT / "models", folder)


def stored(folder: Path) -> BaselineCell:
    return read(folder / "seed_cnn.json", BaselineFile, "baseline").cells["ptq_static_wi8_ai8"]


def test_loosening_and_tightening_change_one_value_and_no_prediction(baselines: Path) -> None:
    before, answers = stored(baselines), (baselines / "seed_cnn.npz").read_bytes()
    told = exceptions.loosen(target(baselines), "score", 0.3, " a reason ", str(FUTURE), "", TODAY)
    assert told == f"{CELL}: score: tolerance loosened from 0 pp to 0.3 pp until 2026-07-01: a reason"
    after = stored(baselines)
    assert after.measurements["score"].loosened == Loosened(tolerance=0.3, reason="a reason", expires=FUTURE)
    assert after.measurements["size"] == before.measurements["size"]
    assert (baselines / "seed_cnn.npz").read_bytes() == answers
    assert exceptions.tighten(target(baselines), "score", "").endswith("the computed tolerance 0 applies again")
    assert stored(baselines) == before
    load(baselines, load_models(ROOT / "models")["seed_cnn"])


def failing(measurement: str, change: float, detectable: float | None = None) -> Report:
    """A run of one cell, in which a measurement was worse than its baseline by so much, in its unit."""
    kind = Kind.ACCURACY if measurement == "score" else Kind.SIZE
    red = Judgement(
        kind=kind,
        measurement=measurement,
        against="baseline",
        verdict=Verdict.REGRESSED,
        change=change,
        detectable=detectable,
        message="",
    )
    return run_report(
        [run_cell("ptq_static_wi8_ai8").model_copy(update={"id": CELL, "model": "seed_cnn", "judgements": [red]})]
    )


@pytest.mark.parametrize(
    ("measurement", "change", "detectable", "tolerance"),
    [("size", 0.4, 0.001, 0.401), ("size", 0.4, None, 0.5), ("score", 0.8, 0.2, 1.0)],
)
def test_a_tolerance_is_loosened_as_far_as_a_run_shows_and_no_further(
    baselines: Path, measurement: str, change: float, detectable: float | None, tolerance: float
) -> None:
    unit = stored(baselines).measurements["size"].value if measurement == "size" else 1.0
    report = failing(measurement, change * unit, None if detectable is None else detectable * unit)
    asked = {"reason": "r", "expires": str(FUTURE), "of_class": "", "today": TODAY, "seen": report}
    exceptions.loosen(target(baselines), measurement, None, **asked)  # type: ignore[arg-type]
    loosened = stored(baselines).measurements[measurement].loosened
    assert loosened is not None
    assert loosened.tolerance == pytest.approx(tolerance)
    for wrong, words in ((0.9 * change, "expected at least"), (1.1 * tolerance, "as that run showed no more")):
        with pytest.raises(BadInput, match=words):
            exceptions.loosen(target(baselines), measurement, wrong, **asked)  # type: ignore[arg-type]


def test_a_run_in_which_nothing_failed_loosens_nothing(baselines: Path) -> None:
    report = failing("size", 100.0)
    with pytest.raises(BadInput, match="gzip_size did not fail in run"):
        exceptions.loosen(target(baselines), "gzip_size", None, "r", str(FUTURE), "", TODAY, report)


def test_expecting_a_failure_and_a_success_again(baselines: Path) -> None:
    before = stored(baselines)
    told = exceptions.expect_failure(
        target(baselines), "floor", "https://example.org/1", "a kernel", str(TODAY), TODAY, 0.7
    )
    assert told == f"{CELL}: floor: xfail until 2026-06-15, up to 0.7, https://example.org/1: a kernel"
    assert stored(baselines).xfail["floor"].ticket == "https://example.org/1"
    exceptions.expect_success(target(baselines), "floor")
    assert stored(baselines) == before


GOOD: dict[str, Any] = {"measurement": "size", "tolerance": 0.2, "reason": "r", "expires": str(FUTURE), "of_class": ""}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"measurement": "sice"}, "MEASUREMENT: unknown name 'sice'; did you mean size?"),
        ({"measurement": "promise"}, "MEASUREMENT: unknown name 'promise'"),
        ({"measurement": "latency_ratio"}, "several latency_ratio baselines; say of which machine profile"),
        ({"of_class": "elsewhere"}, "--for: unknown name 'elsewhere'"),
        ({"tolerance": 0.0005}, "a tolerance may only be widened: expected more than the computed 0.001"),
        ({"tolerance": float("nan")}, "a tolerance may only be widened"),
        ({"tolerance": 5.0}, f"--tolerance: expected at most 0.25 for {CELL} size, found 5; give a run"),
        ({"measurement": "score", "tolerance": 40.0}, "--tolerance: expected at most 0.5 for"),
        ({"tolerance": None}, "--run: expected a run in which it failed"),
        ({"reason": " "}, "--reason: say why"),
        ({"reason": "x" * 2001}, "--reason: 2001 characters, expected at most 2000"),
        ({"expires": "soon"}, "--expires: expected a day such as 2026-07-15, found 'soon'"),
        ({"expires": str(PAST)}, "--expires: expected today (2026-06-15) or a later day"),
    ],
)
def test_a_wrong_loosening_is_refused_and_nothing_is_written(
    baselines: Path, wrong: dict[str, Any], words: str
) -> None:
    before = (baselines / "seed_cnn.json").read_bytes()
    with pytest.raises(BadInput) as caught:
        exceptions.loosen(target(baselines), **(GOOD | wrong), today=TODAY)
    assert words in str(caught.value)
    assert (baselines / "seed_cnn.json").read_bytes() == before


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"measurement": "flor"}, "did you mean floor?"),
        ({"ticket": ""}, "--ticket: expected where the failure is followed"),
        ({"reason": ""}, "--reason: say why"),
        ({"reason": "x" * 2001}, "--reason: 2001 characters, expected at most 2000"),
        ({"expires": str(PAST)}, "--expires: expected today"),
        ({"bound": None}, "--run: expected a run in which it failed"),
        ({"bound": float("inf")}, "--run: expected a run in which it failed"),
        ({"measurement": "cell"}, "--run: expected a run in which cell failed"),
    ],
)
def test_a_wrong_xfail_is_refused(baselines: Path, wrong: dict[str, Any], words: str) -> None:
    good = {"measurement": "floor", "ticket": "T-1", "reason": "r", "expires": str(FUTURE), "bound": 0.5}
    with pytest.raises(BadInput) as caught:
        exceptions.expect_failure(target(baselines), **(good | wrong), today=TODAY)
    assert words in str(caught.value)
    with pytest.raises(BadInput, match="has no xfail of 'floor'"):
        exceptions.expect_success(target(baselines), "floor")
    with pytest.raises(BadInput, match="is not widened"):
        exceptions.tighten(target(baselines), "size", "")


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("seed_cn/float32", "CELL: unknown name 'seed_cn'; did you mean seed_cnn?"),
        ("seed_cnn/flot32", "CELL: unknown name 'flot32'; did you mean float32?"),
        ("seed_cnn", "CELL: expected a cell such as seed_cnn/ptq_float16, found 'seed_cnn'"),
    ],
)
def test_an_unknown_cell_is_refused(baselines: Path, cell: str, words: str) -> None:
    with pytest.raises(BadInput) as caught:
        target(baselines, cell)
    assert words in str(caught.value)


def test_a_tolerance_tightened_by_hand_is_refused_in_one_sentence(baselines: Path) -> None:
    tight = {"tolerance": 0.0005, "reason": "r", "expires": "2030-01-01"}
    path = baselines / "seed_cnn.json"
    edit(path, lambda d: d["cells"]["float32"]["measurements"]["size"].update(loosened=tight))
    with pytest.raises(BadInput) as caught:
        read(path, BaselineFile, "baseline")
    assert "field 'cells.float32.measurements.size': a tolerance may only be widened" in str(caught.value)
    assert "above the computed 0.001, found 0.0005" in str(caught.value)


def test_exceptions_written_by_hand_are_in_force_and_told(baselines: Path) -> None:
    path = baselines / "seed_cnn.json"
    wide = {"tolerance": 0.5, "reason": "by hand", "expires": "2026-07-01"}
    known = {"floor": {"ticket": "T-1", "reason": "why", "expires": "2026-07-01"}}
    edit(path, lambda d: d["cells"]["float32"]["measurements"]["size"].update(loosened=wide))
    edit(path, lambda d: d["cells"]["float32"].update(xfail=known))
    on_disk = load(baselines, load_models(ROOT / "models")["seed_cnn"])
    found = effective_baseline(on_disk, "pp", "some class", "some machine", TODAY)
    assert found.cell("float32").measurements["size"].tolerance == 0.5  # type: ignore[union-attr]
    assert found.exceptions["float32"] == [
        "size: tolerance loosened from 0.1 % to 50 % until 2026-07-01: by hand",
        "floor: xfail until 2026-07-01, T-1: why",
    ]
    assert on_disk.cell("float32").measurements["size"].tolerance == 0.001  # type: ignore[union-attr]


def test_a_cell_without_exceptions_has_no_line_for_them(baselines: Path) -> None:
    exceptions.expect_failure(target(baselines), "floor", "T-1", "why", str(FUTURE), TODAY, 0.5)
    cells = json.loads((baselines / "seed_cnn.json").read_text())["cells"]
    assert [name for name, cell in cells.items() if "xfail" in cell] == ["ptq_static_wi8_ai8"]
    assert not any("overlays" in cell for cell in cells.values())
