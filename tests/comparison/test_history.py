"""Many runs: what moved, since which one, and what is left out."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Quantbench
from made_up_runs import cell, environment, floor, measured, report, write
from quantbench.comparison import change_points
from quantbench.comparison.history import History, read_history
from quantbench.comparison.shifts import LEAST_RUNS, cause_of, starts, steps
from quantbench.comparison.slopes import drift_slope
from quantbench.comparison.summary import SUMMARY, read_summary
from quantbench.comparison.summary import VERSION as SUMMARY_VERSION
from quantbench.comparison.trends import trend, trends
from quantbench.errors import BadInput
from quantbench.records import (
    SCHEMA_VERSION,
    Attribution,
    Cell,
    Judgement,
    Kind,
    Measurement,
    OnTarget,
    Suspect,
    Verdict,
)
from quantbench.report.answers import of_history
from quantbench.report.history import chart, of_cell, overview
from studies.history_alarms import noise
from studies.long_history import make


def day(number: int) -> str:
    return f"2026-{1 + number // 28:02d}-{1 + number % 28:02d}T00-00-00Z"


def lay(folder: Path, number: int, made: Cell | None = None, **more: Any) -> Path:
    return write(folder, report([made or cell(measurements={"size": measured(1000)})], day(number), **more))


def of_values(tmp_path: Path, name: str, values: np.ndarray[Any, Any], **more: Any) -> History:
    """A history of one cell with one measurement, a value a run."""
    for number, value in enumerate(values):
        lay(tmp_path, number, cell(measurements={name: measured(float(value))}, **more))
    return read_history(tmp_path)


def test_a_size_that_changed_is_dated_to_its_run(tmp_path: Path) -> None:
    for number, size in enumerate([1000, 1000, 1100, 1100]):
        packages = {"tensorflow": "2.20.0" if number < 2 else "2.21.0"}
        made = cell(measurements={"size": measured(size)}, verdict=Verdict.PASS if number < 2 else Verdict.REGRESSED)
        lay(tmp_path, number, made, environment=environment(packages=packages, git_commit=f"{number}" * 40))
    history = read_history(tmp_path)
    [shift] = steps(trend(history, "m/v"), "size")
    assert (shift.before.run, shift.since.run, shift.old, shift.new) == (day(1), day(2), 1000, 1100)
    told = overview(history)
    assert told.startswith("# 4 runs, 1 of 1 cell changed")
    assert f"✗ REGRESSED (was pass) | {day(2)}" in told
    trended = of_cell(history, "m/v")
    assert f"size 1,000 bytes → 1,100 bytes (+10.00 %) in run `{day(2)}`, commit 222222222222" in trended
    assert f"(`{day(1)}`): tensorflow 2.20.0 → 2.21.0, commit 111111111111 → 222222222222" in trended


def test_instructions_are_counted_and_no_bytes(tmp_path: Path) -> None:
    for number, count in enumerate([3_070_219, 3_182_654]):
        lay(tmp_path, number, cell(measurements={"instructions": measured(count, "instructions")}))
    assert "instructions 3,070,219 instructions → 3,182,654 instructions (+3.66 %)" in overview(read_history(tmp_path))


def test_nothing_that_moved_is_said(tmp_path: Path) -> None:
    assert overview(of_values(tmp_path, "size", np.full(3, 1000))).startswith("# 3 runs, nothing changed (1 cell)")
    assert overview(read_history(tmp_path, last=1)).startswith("# 1 run, nothing changed (1 cell)")


def test_a_shift_in_noise_is_found_and_noise_alone_is_not(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    noise = random.normal(0.85, 0.004, 40)
    quiet = of_values(tmp_path / "quiet", "latency_ratio", noise)
    assert steps(trend(quiet, "m/v"), "latency_ratio") == []
    moved = of_values(tmp_path / "moved", "latency_ratio", noise * np.where(np.arange(40) < 25, 1, 1.04))
    for quick in (False, True):
        [shift] = steps(trend(moved, "m/v"), "latency_ratio", quick)
        assert shift.since.run == day(25)
        assert shift.new / shift.old == pytest.approx(1.04, abs=0.01)


def test_few_noisy_runs_tell_no_shift(tmp_path: Path) -> None:
    history = of_values(tmp_path, "latency_ratio", np.array([0.8, 0.9, 0.8]))
    assert steps(trend(history, "m/v"), "latency_ratio") == []
    assert f"3 runs are too few to tell a shift from noise: {LEAST_RUNS} are needed" in of_cell(history, "m/v")


@pytest.mark.parametrize(("memory", "length", "most"), [(0.0, 30, 4), (0.5, 100, 4), (0.8, 100, 8)])
def test_noise_is_called_a_shift_about_as_rarely_as_measured(memory: float, length: int, most: int) -> None:
    """In at most 1 %, 1 % and 2 % of 400 series; with the variance of independent noise, 38 % and 97 % at .5 and .8."""
    series = noise(np.random.default_rng(2), memory, (400, length))
    assert sum(bool(starts(x, quick=False)) for x in series) <= most


@pytest.mark.parametrize(("where", "least"), [(slice(70, 100), 0.95), (slice(40, 70), 0.85)])
def test_a_shift_of_three_sds_is_found(where: slice, least: float) -> None:
    """To stay, or for thirty runs, in series of 100 independent runs."""
    series = noise(np.random.default_rng(3), 0.0, (200, 100))
    series[:, where] += 3
    assert np.mean([bool(starts(x, quick=False)) for x in series]) >= least


def test_a_new_level_starts_where_it_starts() -> None:
    random = np.random.default_rng(3)
    x = random.normal(size=60) + 4 * (np.arange(60) >= 35)
    assert change_points.starts(x, 20.0) == [35]


def _drops(tmp_path: Path, drops: np.ndarray[Any, Any]) -> History:
    for number, drop in enumerate(drops):
        lay(tmp_path, number, cell(judgements=floor(float(drop))))
    return read_history(tmp_path)


def test_a_slow_drift_is_told_with_the_runs_until_the_floor(tmp_path: Path) -> None:
    history = _drops(tmp_path, 0.1 + 0.005 * np.arange(40) + np.random.default_rng(0).normal(0, 0.005, 40))
    found = drift_slope(trend(history, "m/v"))
    assert found is not None
    assert found.slope == pytest.approx(0.15, abs=0.02)
    assert found.runs_left == pytest.approx(42, abs=6)
    assert "; limit reached in about " in overview(history)
    assert "Slow drift: loses 0.15 pp in 30 runs" in of_cell(history, "m/v")


@pytest.mark.parametrize("step", [0.0, 0.3])
def test_noise_and_a_single_step_are_no_drift(tmp_path: Path, step: float) -> None:
    drops = np.random.default_rng(0).normal(0.1, 0.005, 40) + step * (np.arange(40) >= 20)
    assert drift_slope(trend(_drops(tmp_path, drops), "m/v")) is None


def test_what_cannot_be_read_is_skipped_and_named(tmp_path: Path) -> None:
    for number in range(5):
        lay(tmp_path, number)
    truncated, newer, older = (tmp_path / day(number) / "report.json" for number in (1, 2, 3))
    truncated.write_text(truncated.read_text()[:200])
    newer.write_text(json.dumps(json.loads(newer.read_text()) | {"schema_version": "99.0"}))
    older.write_text(json.dumps(json.loads(older.read_text()) | {"schema_version": "1.0"}))
    (tmp_path / day(6)).mkdir()
    shutil.copytree(tmp_path / day(4), tmp_path / "copy")
    (tmp_path / "selftest").mkdir()
    (tmp_path / "latest").symlink_to(day(4))
    history = read_history(tmp_path)
    assert [run.run for run in history.runs] == [day(0), day(3), day(4)]
    told = {one.name: one.why for one in history.skipped}
    assert set(told) == {day(1), day(2), day(6), "copy"}
    assert "is not JSON" in told[day(1)]
    assert f"newer than this quantbench reads ({SCHEMA_VERSION})" in told[day(2)]
    assert told[day(6)] == "holds no report.json"
    assert told["copy"] == f"the same run as {day(4)}"
    assert "4 folders skipped" in overview(history)


def test_runs_of_other_data_models_and_machines_are_set_apart(tmp_path: Path) -> None:
    costs = {"latency_ratio": measured(0.9, "ratio", [0.9, 0.9]), "memory_ratio": measured(0.98, "ratio")}
    timed = cell(measurements=costs)
    lay(tmp_path, 0, timed, data_sha256={"m": "e" * 64})
    lay(tmp_path, 1, cell("other"))
    lay(tmp_path, 2, timed, environment=environment(machine_class="B", isa="87654321"))
    lay(tmp_path, 3, timed)
    found = trend(read_history(tmp_path), "m/v")
    assert [run.run for run in found.runs] == [day(3)]
    assert found.apart == {
        "measured on different data": 1,
        "without this cell": 1,
        "on another kind of processor, shown as a series of its own": 1,
    }
    [here, there] = trends(read_history(tmp_path), "m/v")
    assert (here.machine, there.machine) == ("A_2-core", "B")
    assert [run.run for run in there.runs] == [day(2)]
    assert "- runs measured on different data: 1" in of_cell(read_history(tmp_path), "m/v")


def test_a_summary_is_made_again_where_it_is_not_its_reports(tmp_path: Path) -> None:
    path = lay(tmp_path, 0) / "report.json"
    assert read_summary(path).values["size"] == [1000]
    beside = path.with_name(SUMMARY)
    first = beside.read_text()
    beside.write_text("{")
    assert read_summary(path).values["size"] == [1000]
    assert beside.read_text() == first
    path.write_text(path.read_text().replace("1000.0", "20000.0"))
    os.utime(path, ns=(0, 0))  # older than the summary, as after a copy
    assert read_summary(path).values["size"] == [20000]


def test_a_cell_that_is_gone_says_where_it_was_last(tmp_path: Path) -> None:
    for number, size in enumerate([1000, 1100]):
        lay(tmp_path, number, cell(measurements={"size": measured(size)}))
    lay(tmp_path, 2, cell("other"))
    history = read_history(tmp_path)
    assert f"– not gated, last in {day(1)}" in overview(history)
    assert f"last in run {day(1)}" in of_cell(history, "m/v")


def test_only_the_newest_runs(tmp_path: Path) -> None:
    of_values(tmp_path, "size", np.array([1000, 1100, 1100]))
    assert overview(read_history(tmp_path, last=2)).startswith("# 2 runs, nothing changed (1 cell)")


def test_a_chart_is_drawn(tmp_path: Path) -> None:
    history = of_values(tmp_path, "size", np.array([1000, 1000, 1100]))
    chart(history, "m/v", tmp_path / "c.svg")
    drawn = (tmp_path / "c.svg").read_text()
    assert drawn.startswith("<svg")
    assert day(2) in drawn


def test_bad_input_is_one_sentence(quantbench: Quantbench, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no run that can be read"):
        read_history(tmp_path)
    lay(tmp_path, 0)
    with pytest.raises(BadInput, match="no run holds cell 'm/w'; they hold m/v"):
        trend(read_history(tmp_path), "m/w")
    done = quantbench("history", "--report-dir", str(tmp_path / "nowhere"))
    assert (done.status, len(done.output.splitlines())) == (4, 1)


def test_the_command_answers_from_summaries_alone(quantbench: Quantbench, tmp_path: Path) -> None:
    make(tmp_path, runs=60, cells=3)
    done = quantbench("history", "--report-dir", str(tmp_path))
    assert done.status == 0
    assert "# 60 runs, 2 of 3 cells changed" in done.output
    assert "latency ratio 0.8" in done.output


def test_a_summary_keeps_intervals_of_what_was_repeated_and_what_was_accepted(tmp_path: Path) -> None:
    ratio = Measurement(value=0.8, unit="ratio", n=4, spread=0.02, spread_of="fresh processes")
    judged = Judgement(
        kind=Kind.SIZE, measurement="size", against="baseline", verdict=Verdict.PASS, reference=990, message=""
    )
    made = cell(measurements={"size": measured(1000), "latency_ratio": ratio}, judgements=[judged])
    found = read_summary(lay(tmp_path, 0, made) / "report.json")
    assert found.accepted == {"size": [990]}
    assert found.errors["latency_ratio"][0] == pytest.approx(3.182 * 0.02 / 2, rel=1e-3)  # Student's t, 3 degrees
    assert set(found.errors) == {"latency_ratio"}
    history = read_history(tmp_path)
    assert history.accepted["size"].tolist() == [[990]]
    assert np.isnan(history.errors["size"]).all()


@pytest.mark.parametrize(("version", "again"), [("1.0", True), ("1.1", False), (SUMMARY_VERSION, False), ("9.0", True)])
def test_a_summary_that_only_lacks_what_is_new_is_not_made_again(tmp_path: Path, version: str, again: bool) -> None:
    report = lay(tmp_path, 0) / "report.json"
    read_summary(report)
    path = report.with_name(SUMMARY)
    whole = json.loads(path.read_text())
    path.write_text(json.dumps(whole | {"schema_version": version, "run": "marked"}))
    assert read_summary(report).run == (day(0) if again else "marked")


def test_the_operator_behind_a_shift_of_a_score_is_told_from_the_run_that_found_it(tmp_path: Path) -> None:
    cause = Attribution(
        examples=8,
        matched=1.0,
        operators=[],
        output_error=0.1,
        suspects=[
            Suspect(position=3, operator="CONV_2D", tensor="net/conv/Conv2D", repaired_by="float", recovered=0.9)
        ],
    )
    for number, score in enumerate([0.9, 0.9, 0.8, 0.8]):
        made = cell(measurements={"score": measured(score, "fraction")}, attribution=cause if number == 3 else None)
        lay(tmp_path, number, made)
    history = read_history(tmp_path)
    told = f"cause: CONV\\_2D net/conv, which explains 90 % of the outputs' error (found in run {day(3)})"
    assert told.replace("\\", "") in of_cell(history, "m/v").replace("\\", "")
    assert told.replace("\\", "") in overview(history).replace("\\", "")
    [shift] = of_history(history, "m/v").trends[0].shifts
    assert shift.cause is not None
    assert (shift.cause.operator, shift.cause.tensor) == ("CONV_2D", "net/conv/Conv2D")
    lay(tmp_path, 4, cell(measurements={"score": measured(0.9, "fraction")}))
    found = trend(read_history(tmp_path), "m/v")
    assert cause_of(found, steps(found, "score")[1]) is None  # of the shift back


def test_answers_on_a_target_have_a_history_of_their_own(tmp_path: Path) -> None:
    for number, there in enumerate([0.90, 0.90, 0.84, 0.84, 0.84, 0.84]):
        scored = {"score": Measurement(value=there, unit="fraction", n=1000)}
        verdict = Verdict.PASS if number < 2 else Verdict.REGRESSED
        judged = Judgement(
            kind=Kind.TARGET,
            measurement="target_score@pi",
            against="baseline",
            verdict=verdict,
            reference=0.9,
            message="on pi",
        )
        made = cell(
            measurements={"score": measured(0.9, "fraction", n=1000), "micro_arena": measured(1000 + 8 * (number > 3))},
            targets={"pi": OnTarget(measurements=scored, verdict=verdict)},
            judgements=[judged],
        )
        lay(tmp_path, number, made)
    history = read_history(tmp_path)
    assert history.cells == ["m/v", "m/v@target:pi"]
    [shift] = steps(trend(history, "m/v@target:pi"), "score")
    assert (shift.since.run, shift.old, shift.new) == (day(2), 0.90, 0.84)
    assert steps(trend(history, "m/v"), "score") == []
    assert [step.since.run for step in steps(trend(history, "m/v"), "micro_arena")] == [day(4)]
    told = overview(history)
    assert "m/v@target:pi" in told
    assert "✗ REGRESSED (was pass)" in told
    assert "micro arena 1,000" in told
    assert history.accepted["score"][0].tolist()[1] == 0.9
