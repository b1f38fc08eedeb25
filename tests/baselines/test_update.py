"""From a run to a baseline: what is kept of the old one, what goes into an overlay, and which runs are refused."""

import hashlib
from pathlib import Path
from typing import Any

import made_up_runs
import numpy as np
import pytest
from conftest import ROOT, THREE_VARIANTS, Quantbench, accepted, edit, update_of
from quantbench import gate
from quantbench.baselines import update as acceptance
from quantbench.baselines.files import Baseline, load, packed
from quantbench.baselines.overlays import resolve
from quantbench.comparison import Outcome, Truth, compare
from quantbench.comparison.load import baseline_sides
from quantbench.core.arrays import Array
from quantbench.core.environment import class_accepted, class_of
from quantbench.errors import BadInput
from quantbench.records import (
    AcceptedFloor,
    BaselineCell,
    Cell,
    Device,
    Environment,
    Failure,
    Judgement,
    Kind,
    Loosened,
    Measurement,
    Report,
    Verdict,
    Xfail,
    write_json,
)
from quantbench.records.run_folder import read
from quantbench.reference.metrics import ACCURACY
from quantbench.reference.model import Floor, load_models
from quantbench.report.baseline_review import Suggestion, render
from quantbench.report.markdown import render as report_text

LABELS = np.zeros(1000, dtype=np.uint16)
FUTURE = "2999-01-01"


def environment(isa: str = "aaaaaaaa", litert: str = "2.3.0", commit: str = "1" * 40) -> Environment:
    fields: dict[str, Any] = {"python": "3.11.7", "os": "Linux", "cpu": "CPU", "cores": 2, "memory_gib": 4.0}
    packages = {"ai-edge-litert": litert, "numpy": "2.0"}
    return Environment(**fields, isa=isa, packages=packages, git_commit=commit, machine_class=f"{isa}_machine")


def answers(wrong: int, shift: int = 0) -> Array:
    predictions = LABELS.copy()
    predictions[shift : shift + wrong] = 1
    return predictions


class Run:
    """A run of one cell, m/v, on disk."""

    def __init__(self, folder: Path, predictions: Array, size: float = 100.0, name: str = "r1", **of: Any) -> None:
        self.folder = folder / name
        (self.folder / "predictions").mkdir(parents=True)
        (self.folder / "predictions" / "m.npz").write_bytes(packed({"v": predictions}))
        score = Measurement(value=ACCURACY.value(predictions, LABELS), unit="fraction", n=1000)
        cell = Cell(
            id="m/v",
            model="m",
            variant="v",
            family="ptq",
            metric="accuracy",
            metric_unit="pp",
            verdict=Verdict.PASS,
            verdicts={Kind.ACCURACY: Verdict.PASS, Kind.SIZE: Verdict.PASS},
            predictions_sha256=hashlib.sha256(predictions.tobytes()).hexdigest(),
            measurements={"score": score, "size": Measurement(value=size, unit="bytes", n=1)},
        )
        self.report = Report(
            run=name,
            started="s",
            seconds=1.0,
            state="complete",
            exit_status=0,
            selection="",
            environment=environment(**of),
            false_alarms=gate.share(0.01, 1),
            data_sha256={"m": "d"},
            cells=[cell],
        )

    def accept(self, baseline: Baseline, **ways: bool) -> acceptance.Proposal:
        return acceptance.propose(self.report, self.folder, "m", baseline, f"reason of {self.report.run}", **ways)


def reviewed(
    run: Run, baseline: Baseline, proposal: acceptance.Proposal, written: bool = True, left_out: tuple[str, ...] = ()
) -> str:
    """The review document, with the comparison beside which it is told."""
    sides = baseline_sides(run.report, run.folder, {"m": baseline}, {"m/v"})
    found = compare(*sides, lambda _model: Truth(ACCURACY, LABELS))
    suggestion = None if written else Suggestion(["quantbench", "baseline", "update", "reports/r"])
    return render(found, [proposal], written, left_out, suggestion)


def limited(run: Run, drop: float, limit: float) -> Run:
    """Add the judgement of the cell's drop from float32 against its release limit."""
    verdict = Verdict.REGRESSED if drop > limit else Verdict.PASS
    judged = Judgement(
        kind=Kind.ACCURACY,
        measurement="score",
        against="floor",
        verdict=verdict,
        change=drop,
        tolerance=limit,
        message="",
    )
    run.report.cells[0] = run.report.cells[0].model_copy(update={"judgements": [judged]})
    return run


def after(proposal: acceptance.Proposal) -> Baseline:
    return Baseline(proposal.file, proposal.predictions)


def cell_of(baseline: Baseline) -> BaselineCell:
    cell = baseline.cell("v")
    assert cell is not None
    return cell


def test_the_first_value_stays_through_every_update_until_drift_is_restarted(tmp_path: Path) -> None:
    baseline = after(Run(tmp_path, answers(100), name="r1").accept(Baseline()))
    for number, wrong in ((2, 101), (3, 102), (4, 103)):
        proposal = Run(tmp_path, answers(wrong), size=100.0 + number, name=f"r{number}").accept(baseline)
        baseline = after(proposal)
    score = cell_of(baseline).measurements["score"]
    assert score.first is not None
    assert (score.value, score.first.value, score.first.run) == (0.897, 0.9, "r1")
    assert cell_of(baseline).measurements["size"].first.value == 100.0  # type: ignore[union-attr]
    run = Run(tmp_path, answers(103), name="r5")
    restarted = cell_of(after(run.accept(baseline, restart_drift=True))).measurements["score"]
    assert restarted.first is not None
    assert (restarted.first.value, restarted.first.run) == (0.897, "r4")


def test_without_a_recorded_first_value_the_accepted_one_is_it(tmp_path: Path) -> None:
    baseline = after(Run(tmp_path, answers(100)).accept(Baseline()))
    cell = cell_of(baseline)
    old = {name: value.model_copy(update={"first": None}) for name, value in cell.measurements.items()}
    assert baseline.file is not None
    baseline.file.cells["v"] = cell.model_copy(update={"measurements": old})
    score = cell_of(after(Run(tmp_path, answers(110), name="r2").accept(baseline))).measurements["score"]
    assert score.first is not None
    assert (score.value, score.first.value, score.first.run) == (0.89, 0.9, "r1")


def test_the_review_tells_what_came_between_the_drift_and_the_exceptions_that_stay(tmp_path: Path) -> None:
    baseline = after(Run(tmp_path, answers(100)).accept(Baseline()))
    cell = cell_of(baseline)
    wide = Loosened.model_validate({"tolerance": 0.3, "reason": "why", "expires": FUTURE})
    loose = {**cell.measurements, "score": cell.measurements["score"].model_copy(update={"loosened": wide})}
    known = {"floor": Xfail.model_validate({"ticket": "T-1", "reason": "a kernel", "expires": FUTURE})}
    assert baseline.file is not None
    baseline.file.cells["v"] = cell.model_copy(update={"measurements": loose, "xfail": known})
    run = Run(tmp_path, answers(110), name="r2", litert="2.4.0", commit="2" * 40)
    proposal = run.accept(baseline)
    text = reviewed(run, baseline, proposal)
    assert (
        "Changed between the two:\n\n- ai-edge-litert 2.3.0 → 2.4.0, commits 111111111111 → 222222222222: `m/v` score"
        in text
    )
    assert "+1.00 pp (+0.32 to +1.68)" in text
    assert "score: tolerance loosened from 0 pp to 0.3 pp until 2999-01-01: why" in text
    assert "floor: xfail until 2999-01-01, T-1: a kernel" in text
    kept = cell_of(after(proposal))
    assert kept.measurements["score"].loosened == wide
    assert kept.xfail == known
    assert kept.measurements["score"].accepted.commit == "2" * 40


def test_a_run_beside_its_baseline_is_told_by_the_comparer(tmp_path: Path) -> None:
    """Paired example by example, with interval and p-value, beside what accepting would change."""
    baseline = after(Run(tmp_path, answers(100)).accept(Baseline()))
    run = Run(tmp_path, answers(160), size=99.0, name="r2")
    text = reviewed(run, baseline, run.accept(baseline), written=False)
    assert text.startswith("# Proposed baseline update: 1 cell, 1 gets worse\n")
    assert "2 of 2 values would move" in text
    worse, rest = (part.splitlines() for part in text.split("## The rest"))
    [score] = [[one.strip() for one in line.split("|")] for line in worse if "| score " in line]
    assert score[3:6] == ["90.00 %", "84.00 %", "+6.00 pp (+4.50 to +7.50)"]
    assert score[6].startswith("1.7e-18 (")
    [size] = [[one.strip() for one in line.split("|")] for line in rest if "| size " in line]
    assert size[1:7] == ["better", "`m/v`", "size", "100 bytes", "99 bytes", "-1.00 %"]
    same = Run(tmp_path, answers(100), name="r3")
    text = reviewed(same, baseline, same.accept(baseline), written=False)
    assert text.startswith("# Proposed baseline update: nothing changes\n")
    assert "Nothing differs: 1 cell is bit-identical." in text
    assert "##" not in text


def test_what_moves_within_its_tolerance_is_a_count(tmp_path: Path) -> None:
    baseline = after(Run(tmp_path, answers(100), size=30000.0).accept(Baseline()))
    run = Run(tmp_path, answers(100), size=30002.0, name="r2")
    text = reviewed(run, baseline, run.accept(baseline))
    assert text.startswith("# Baseline update: 1 cell, none get worse\n")
    assert "Written too, but within tolerance or chance: 1 value (size 1)." in text
    assert "30,002" not in text


def test_the_review_begins_with_what_gets_worse_and_what_stays_red_after_it(tmp_path: Path) -> None:
    baseline = after(Run(tmp_path, answers(100)).accept(Baseline()))
    run = limited(Run(tmp_path, answers(160), size=99.0, name="r2"), drop=5.51, limit=4.0)
    proposal = run.accept(baseline)
    text = reviewed(run, baseline, proposal, left_out=("m/w",))
    assert text.startswith("# Baseline update: 1 cell, 1 gets worse — 1 STILL FAILS its limit after this update\n")
    titles = [line for line in text.splitlines() if line.startswith("## ")]
    assert titles == ["## Gets worse", "## Still red after this update", "## The rest"]
    assert "`m/v`: accuracy drop vs float32 5.51 pp, release limit 4 pp: exceeded by 1.51 pp." in text
    assert "- not part of this update, and red: `m/w`" in text
    assert "exceeded by 1.51 pp |" in text  # in the value's own row
    told = reviewed(run, baseline, proposal, written=False)
    assert "Nothing to accept turns a cell green" in told
    assert "quantbench baseline update" not in told
    kept = limited(Run(tmp_path, answers(160), name="r3"), drop=3.0, limit=4.0)
    told = reviewed(kept, baseline, kept.accept(baseline), written=False)
    assert "STILL" not in told
    assert "1.00 pp left" in told
    assert "`quantbench baseline update reports/r --reason 'why this is right'`" in told


def test_a_reason_that_the_next_run_would_not_read_is_refused(tmp_path: Path) -> None:
    run = Run(tmp_path, answers(100))
    with pytest.raises(BadInput, match="--reason: 2001 characters, expected at most 2000"):
        acceptance.propose(run.report, run.folder, "m", Baseline(), "x" * 2001)
    assert acceptance.propose(run.report, run.folder, "m", Baseline(), "x" * 2000).file.cells


def test_a_reason_that_is_too_long_is_refused_before_the_run_is_read_or_made(
    quantbench: Quantbench, tmp_path: Path
) -> None:
    words = "2001 characters, expected at most 2000; give a shorter one"
    done = quantbench("baseline", "update", str(tmp_path / "none"), "--reason", "x" * 2001)
    assert done.status == 4
    assert f"--reason: {words}" in done.output
    options = ["--models", "seed_cnn", "--variants", "float32", "--no-latency", "--allow-dirty"]
    done = quantbench("run", *options, "--update-baselines", "x" * 2001)
    assert done.status == 4
    assert f"--update-baselines: {words}" in done.output
    assert not (done.reports / "latest").exists()


def test_a_limit_that_was_loosened_after_the_run_is_no_longer_exceeded(tmp_path: Path) -> None:
    run = limited(Run(tmp_path, answers(160)), drop=5.51, limit=4.0)

    def text(limit: float) -> str:
        made = acceptance.propose(
            run.report, run.folder, "m", Baseline(), "r", floor_of=lambda _variant, _family: Floor(limit, "policy")
        )
        return reviewed(run, Baseline(), made)

    assert "STILL FAILS" in text(5.0)
    assert "STILL FAILS" not in text(6.0)


def test_on_another_machine_profile_the_command_keeps_both(tmp_path: Path) -> None:
    baseline = after(Run(tmp_path, answers(100)).accept(Baseline()))
    run = Run(tmp_path, answers(160), name="r2", isa="bbbbbbbb")
    text = reviewed(run, baseline, run.accept(baseline), written=False)
    assert "come from another machine profile (`aaaaaaaa_litert-2.3.0`) than this run (`bbbbbbbb_litert-2.3.0`)" in text
    assert "`quantbench baseline update reports/r --per-machine --reason 'why this is right'`" in text
    assert "were replaced. To keep both, restore the files from git" in reviewed(run, baseline, run.accept(baseline))
    laid = run.accept(baseline, overlay=True)
    assert "another machine profile" not in reviewed(run, baseline, laid)
    again = Run(tmp_path, answers(160), name="r3")
    assert "--per-machine" not in reviewed(again, baseline, again.accept(baseline), written=False)


def test_a_package_that_an_older_version_did_not_record_was_not_absent(tmp_path: Path) -> None:
    baseline = after(Run(tmp_path, answers(100)).accept(Baseline()))
    run = Run(tmp_path, answers(160), name="r2")
    run.report.environment.packages["ai-edge-quantizer"] = "0.10.1"
    text = reviewed(run, baseline, run.accept(baseline))
    assert "- ai-edge-quantizer (not recorded) → 0.10.1, commit 111111111111: `m/v` score" in text
    assert "absent" not in text


def test_what_moves_no_value_is_told_too(tmp_path: Path) -> None:
    """Other answers of an equal score, another structure, a failure: the comparer sees them."""
    baseline = after(Run(tmp_path, answers(100)).accept(Baseline()))
    run = Run(tmp_path, answers(100), name="r2")
    failure = {"failure": Failure(what="unsupported", reason="no kernel"), "measurements": {}}
    run.report.cells[0] = run.report.cells[0].model_copy(update=failure | {"predictions_sha256": None})
    text = reviewed(run, baseline, run.accept(baseline))
    assert "- worse: `m/v` cell: worked before; now unsupported: no kernel" in text
    assert "New known limitations (unsupported, or only partly quantized):\n\n- `m/v`: no kernel" in text
    new = Run(tmp_path, answers(100), name="r3")
    text = reviewed(new, Baseline(), new.accept(Baseline()))
    assert "- new: cell of m/v: only in this run" in text
    assert "| new       | `m/v`  | score " in text


def test_of_a_run_only_what_it_judged_is_compared_with_the_baseline(tmp_path: Path) -> None:
    baseline = after(Run(tmp_path, answers(100)).accept(Baseline()))
    run = Run(tmp_path, answers(200), name="r2")
    run.report.cells[0].verdicts = {Kind.SIZE: Verdict.PASS}
    sides = baseline_sides(run.report, run.folder, {"m": baseline}, {"m/v"})
    found = compare(*sides, lambda _model: Truth(ACCURACY, LABELS))
    assert [(item.measurement, item.outcome) for item in found.items] == [("size", Outcome.UNCHANGED)]


def test_a_loosened_tolerance_that_the_derived_one_has_outgrown_goes_and_the_review_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    baseline = after(Run(tmp_path, answers(100)).accept(Baseline()))
    cell = cell_of(baseline)
    wide = Loosened.model_validate({"tolerance": 0.0015, "reason": "why", "expires": FUTURE})
    size = cell.measurements["size"].model_copy(update={"loosened": wide})
    assert baseline.file is not None
    baseline.file.cells["v"] = cell.model_copy(update={"measurements": {**cell.measurements, "size": size}})
    monkeypatch.setitem(gate.SIZE_TOLERANCES, "size", 0.002)
    run = Run(tmp_path, answers(100), size=101.0, name="r2")
    proposal = run.accept(baseline)
    assert cell_of(after(proposal)).measurements["size"].loosened is None
    assert "Widened tolerances that end" in reviewed(run, baseline, proposal)


def test_an_overlay_holds_what_differs_and_never_moves_the_base(tmp_path: Path) -> None:
    base = after(Run(tmp_path, answers(100)).accept(Baseline()))
    run = Run(tmp_path, answers(100, shift=3), name="r2", isa="bbbbbbbb")
    here = class_of(run.report.environment)
    proposal = run.accept(base, overlay=True)
    new = after(proposal)
    cell = cell_of(new)
    assert here == "bbbbbbbb_litert-2.3.0"
    assert cell.measurements == cell_of(base).measurements
    assert list(cell.overlays[here].measurements) == ["score"]  # other predictions of an equal score
    assert set(new.predictions) == {"v", f"v@{here}"}
    assert (new.predictions["v"] == answers(100)).all()
    assert (resolve(new, here).predictions["v"] == answers(100, shift=3)).all()
    assert (resolve(new, "another").predictions["v"] == answers(100)).all()
    assert proposal.overlaid == ["m/v"]
    assert f"Written for the machine profile `{here}` only; the common values stay: `m/v`" in reviewed(
        run, base, proposal
    )


def test_a_cell_with_an_overlay_of_this_class_is_updated_there_until_it_is_as_the_base_again(tmp_path: Path) -> None:
    base = after(Run(tmp_path, answers(100)).accept(Baseline()))
    laid = after(Run(tmp_path, answers(90), name="r2", isa="bbbbbbbb").accept(base, overlay=True))
    moved = after(Run(tmp_path, answers(80), size=105.0, name="r3", isa="bbbbbbbb").accept(laid))
    assert cell_of(moved).measurements["score"].value == 0.9
    overlay = cell_of(moved).overlays["bbbbbbbb_litert-2.3.0"]
    assert {name: value.value for name, value in overlay.measurements.items()} == {"score": 0.92, "size": 105.0}
    assert overlay.measurements["score"].first.value == 0.91  # type: ignore[union-attr]
    again = after(Run(tmp_path, answers(100), name="r4", isa="bbbbbbbb").accept(moved))
    assert cell_of(again).overlays == {}
    assert set(again.predictions) == {"v"}


def test_an_overlay_needs_a_base_and_another_class(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="m/v has no baseline that it could differ from"):
        Run(tmp_path, answers(100)).accept(Baseline(), overlay=True)
    base = after(Run(tmp_path, answers(100), name="r2").accept(Baseline()))
    with pytest.raises(BadInput, match="was recorded on this very machine profile"):
        Run(tmp_path, answers(90), name="r3").accept(base, overlay=True)


def test_what_a_runtime_refuses_in_one_class_alone_is_an_overlay_too(tmp_path: Path) -> None:
    base = after(Run(tmp_path, answers(100)).accept(Baseline()))
    run = Run(tmp_path, answers(100), name="r2", isa="bbbbbbbb")
    failure = {"failure": Failure(what="unsupported", reason="no kernel"), "measurements": {}}
    run.report.cells[0] = run.report.cells[0].model_copy(update=failure | {"predictions_sha256": None})
    new = after(run.accept(base, overlay=True))
    assert resolve(new, "bbbbbbbb_litert-2.3.0").cell("v").unsupported == "no kernel"  # type: ignore[union-attr]
    assert resolve(new, "another").cell("v").unsupported is None  # type: ignore[union-attr]


def test_the_class_of_a_value_accepted_before_it_was_recorded_is_read_from_its_words() -> None:
    stamp = accepted(1.0).accepted
    told = "AMD EPYC (4471762b), Python 3.11.7, ai-edge-litert 2.3.0, numpy 2.4.6"
    assert class_accepted(stamp.model_copy(update={"environment": told})) == "4471762b_litert-2.3.0"
    assert class_accepted(stamp) == ""


def test_predictions_that_are_not_those_of_the_report_are_refused(tmp_path: Path) -> None:
    run = Run(tmp_path, answers(100))
    for other in ({"v": answers(100, shift=1)}, {"another": answers(100)}):
        (run.folder / "predictions" / "m.npz").write_bytes(packed(other))
        with pytest.raises(BadInput, match="expected the predictions of the report"):
            run.accept(Baseline())
    short = Run(tmp_path, answers(100), name="r2")
    [cell] = short.report.cells
    score = cell.measurements["score"].model_copy(update={"n": 2000})
    short.report.cells[0] = cell.model_copy(update={"measurements": {"score": score}})
    with pytest.raises(BadInput, match="expected 2000 predictions as in the report, found 1000"):
        short.accept(Baseline())


def test_a_crash_behind_an_xfail_or_a_regression_still_cannot_be_accepted(tmp_path: Path) -> None:
    run = Run(tmp_path, answers(100))
    [cell] = run.report.cells
    crash = Failure(what="crash", reason="r")
    untimed = Judgement(kind=Kind.LATENCY, measurement="x", against="nothing", verdict=Verdict.ERROR, message="m")
    for hidden in (
        {"verdict": Verdict.XFAIL, "failure": crash},
        {"verdict": Verdict.REGRESSED, "judgements": [untimed]},
    ):
        run.report.cells[0] = cell.model_copy(update=hidden)
        with pytest.raises(BadInput, match="could not be measured"):
            acceptance.check_report(run.report, run.folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data_sha256": {"seed_cnn": "0" * 64}}, "measured on another data pack"),
        ({"data_sha256": {}}, "measured on another data pack"),
    ],
)
def test_a_run_on_other_data_is_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    report = Run(tmp_path, answers(100)).report.model_copy(update=change)
    with pytest.raises(BadInput, match=words):
        acceptance.check_data(report, tmp_path, load_models(ROOT / "models")["seed_cnn"])


def test_a_report_of_a_newer_schema_is_refused(tmp_path: Path) -> None:
    run = Run(tmp_path, answers(100))
    write_json(run.folder / "report.json", run.report.model_copy(update={"schema_version": "1.99"}))
    with pytest.raises(BadInput, match=r"'schema_version': 1\.99 is newer than this quantbench reads"):
        read(run.folder)


SIDE = {"stalls": 3, "lost": 0.1, "usual": 1.0, "calls": 1000}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"lost": 0}, "3 stalls need `lost` and `usual` of more than 0 seconds"),
        ({"usual": 0}, "3 stalls need `lost` and `usual` of more than 0 seconds"),
        ({"calls": 2}, "at least as many calls as stalls, 3, found 2"),
        ({"stalls": 10**12, "calls": 10**13}, "less than or equal to 10000000"),
        ({"calls": 10**16}, "less than or equal to"),
        ({"lost": 1e12}, "less than or equal to"),
    ],
)
def test_a_report_of_impossible_stalls_is_refused_in_one_sentence(
    tmp_path: Path, wrong: dict[str, Any], words: str
) -> None:
    folder = _with_stalls(tmp_path, SIDE | wrong)
    with pytest.raises(BadInput, match=rf"^[^\n]*measurements\.stalls[^\n]*{words}[^\n]*$"):
        read(folder)


def test_an_update_by_a_report_of_impossible_stalls_is_bad_input(quantbench: Quantbench, tmp_path: Path) -> None:
    folder = _with_stalls(tmp_path, SIDE | {"lost": 0})
    done = quantbench("baseline", "update", str(folder), "--baseline-dir", str(tmp_path / "b"), "--reason", "r")
    assert done.status == 4
    assert "3 stalls need `lost` and `usual`" in done.output
    assert "Traceback" not in done.output


def _with_stalls(tmp_path: Path, side: dict[str, Any]) -> Path:
    """Write a report whose cell stalls like this."""
    run = Run(tmp_path, answers(100))
    counted = [{"longer": 0.001, "artifact": side, "beside": SIDE}]
    measured = {"value": 0.1, "unit": "fraction of its time", "n": 2, "values": [0.1, 0.1], "stalls": counted}
    write_json(run.folder / "report.json", run.report)
    edit(run.folder / "report.json", lambda data: data["cells"][0]["measurements"].update(stalls=measured))
    return run.folder


def test_a_report_names_exceptions_overlay_and_drift_from_its_json_alone(tmp_path: Path) -> None:
    report = Run(tmp_path, answers(100)).report
    told = ["judged by values of its machine profile c (score): why", "floor: xfail until 2999-01-01, T|1: r"]
    drift = {"since": "2026-01-01", "score": 0.1, "size": 0.02}
    cell = report.cells[0].model_dump(mode="json") | {"exceptions": told, "overlay": "c", "drift": drift}
    text = report_text(Report.model_validate(report.model_dump(mode="json") | {"cells": [cell]}))
    assert "## Exceptions\n\n- `m/v`: judged by values of its machine profile c (score): why" in text
    assert "T\\|1" in text
    assert "+0.10 pp, +2.0 %" in text


def test_a_baseline_of_other_data_is_refused_and_can_be_recorded_afresh(
    quantbench: Quantbench, baselines: Path, tmp_path: Path
) -> None:
    edit(baselines / "seed_cnn.json", lambda data: data.update(data_sha256="0" * 64))
    chosen = ["run", "--models", "seed_cnn", "--variants", THREE_VARIANTS, "--no-latency"]
    refused = quantbench(*chosen, "--baseline-dir", str(baselines))
    assert refused.status == 4
    assert "baseline update reports/latest --replace seed_cnn" in refused.output
    done = quantbench(*chosen, "--baseline-dir", str(tmp_path / "none"))
    assert done.status == 3
    update = [
        "baseline",
        "update",
        str(done.reports / "latest"),
        "--baseline-dir",
        str(baselines),
        "--reason",
        "new data",
        "--allow-dirty",
    ]
    assert quantbench(*update).status == 4
    afresh = quantbench(*update, "--replace", "seed_cnn")
    assert afresh.status == 0, afresh.output
    assert "Recorded from scratch, without these cells of the old baseline" in afresh.output
    assert quantbench(*chosen, "--baseline-dir", str(baselines)).status == 0


def test_an_overlay_and_exceptions_decide_a_real_run(quantbench: Quantbench, baselines: Path) -> None:
    """The base is of another CPU and scores higher: the overlay holds. Then a loosened size, and an xfail."""
    model, variant = load_models(ROOT / "models")["seed_cnn"], "ptq_static_wi8_ai8"
    cell = f"seed_cnn/{variant}"

    def elsewhere(data: dict[str, Any]) -> None:
        found = data["cells"][variant]["measurements"]
        found["score"].update(value=0.88)
        for value in found.values():
            update = update_of(data, value)
            environment = update["environment"].replace("(4471762b)", "(00000000)")
            value["accepted"] = {**update, "environment": environment, "results_class": None}

    edit(baselines / "seed_cnn.json", elsewhere)
    folders = ["--baseline-dir", str(baselines)]
    chosen = ["run", "--models", "seed_cnn", "--variants", THREE_VARIANTS, "--no-latency", *folders]
    red = quantbench(*chosen)
    assert red.status == 1
    update = [
        "baseline",
        "update",
        str(red.reports / "latest"),
        *folders,
        "--reason",
        "rounds otherwise",
        "--allow-dirty",
    ]
    laid = quantbench(*update, "--only", cell, "--overlay")
    assert "the common values stay" in laid.output
    assert load(baselines, model).cell(variant).measurements["score"].value == 0.88  # type: ignore[union-attr]
    green = quantbench(*chosen)
    assert green.status == 0, green.output
    assert green.cell(cell)["overlay"] == green.report()["environment"]["results_class"]
    assert f"exception: {cell}: judged by values of its machine profile" in green.output

    def of_another_artifact(data: dict[str, Any]) -> None:
        found = data["cells"][variant]
        found["measurements"]["size"].update(value=58_000)
        found["artifact_sha256"] = found["overlays"][results_class]["artifact_sha256"] = "0" * 64

    results_class = green.cell(cell)["overlay"]
    edit(baselines / "seed_cnn.json", of_another_artifact)
    assert quantbench(*chosen).status == 1
    loosen = ["baseline", "loosen", cell, "size", "--tolerance", "0.02", "--reason", "strings", "--expires", FUTURE]
    assert quantbench(*loosen, *folders).output.startswith(f"{cell}: size: tolerance loosened from 0.1 % to 2 %")
    assert quantbench(*chosen).status == 0
    xfail = ["baseline", "xfail", cell, "size", *folders]
    assert (
        quantbench(*xfail, "--ticket", "T-1", "--reason", "strings", "--expires", FUTURE, "--bound", "9e4").status == 0
    )
    passes = quantbench(*chosen)
    assert passes.status == 1
    assert "size passes, but an xfail expects a failure until 2999-01-01 (T-1: strings)" in passes.output
    assert quantbench(*loosen[:4], "--remove", *folders).status == 0
    excused = quantbench(*chosen)
    assert excused.status == 0
    assert excused.cell(cell)["verdict"] == "xfail"
    assert (
        "size: xfail until 2999-01-01, up to 9e+04, T-1: strings"
        in (excused.reports / "latest" / "report.md").read_text()
    )
    assert quantbench(*xfail, "--remove").status == 0
    assert quantbench(*chosen).status == 1


def test_a_run_of_code_with_local_changes_is_refused(tmp_path: Path) -> None:
    run = Run(tmp_path, answers(100))
    acceptance.check_commit(run.report.environment, "reports/r")
    run.report.environment.git_dirty = True
    with pytest.raises(BadInput, match=r"^reports/r: .*local changes that are in no commit; commit them .*allow-dirty"):
        acceptance.check_commit(run.report.environment, "reports/r")


def test_a_floor_that_changed_since_it_was_accepted_is_in_the_review(tmp_path: Path) -> None:
    def accept(run: Run, old: Any, drop: float | None) -> Any:
        floor = None if drop is None else Floor(drop, "policy")
        return acceptance.propose(run.report, run.folder, "m", old, "r", floor_of=lambda _variant, _family: floor)

    run = Run(tmp_path, answers(100), name="r1")
    first = accept(run, Baseline(), 0.5)
    assert first.limits == []
    again = Run(tmp_path, answers(100), name="r2")
    looser = accept(again, after(first), 40.0)
    assert looser.limits == [acceptance.LimitChange("m/v", "", 0.5, 40.0, "pp", "policy")]
    for written in (True, False):
        text = reviewed(again, after(first), looser, written)
        limit = "release limit 0.5 pp → 40 pp (looser), in the file of model m, “policy”: `m/v`"
        assert f"## Limits that change with it\n\n- {limit}\n" in text
    assert cell_of(after(looser)).floor == AcceptedFloor(max_drop=40.0)
    assert accept(Run(tmp_path, answers(100), name="r3"), after(looser), 40.0).limits == []
    stricter = accept(Run(tmp_path, answers(100), name="r4"), after(looser), 1.0)
    assert [one.looser for one in stricter.limits] == [False]


def test_a_limit_of_a_cell_outside_of_the_update_is_in_the_review_and_stays(tmp_path: Path) -> None:
    run = Run(tmp_path, answers(100))
    baseline = after(run.accept(Baseline()))
    assert baseline.file is not None
    other = BaselineCell(floor=AcceptedFloor(max_drop=1.0))
    baseline.file.cells["ptq_float16"] = other
    made = acceptance.propose(
        run.report, run.folder, "m", baseline, "r", floor_of=lambda _variant, _family: Floor(4.0, "policy")
    )
    assert made.limits == [acceptance.LimitChange("m/ptq_float16", "", 1.0, 4.0, "pp", "policy", accepted=False)]
    assert made.file.cells["ptq_float16"].floor == AcceptedFloor(max_drop=1.0)
    assert "`m/ptq_float16`; not part of this update, so a warning stays" in reviewed(run, baseline, made)


def test_a_tolerance_that_a_new_rule_computes_is_a_limit_that_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    baseline = after(Run(tmp_path, answers(100)).accept(Baseline()))
    monkeypatch.setitem(gate.SIZE_TOLERANCES, "size", 0.5)
    run = Run(tmp_path, answers(100), size=120.0, name="r2")
    made = run.accept(baseline)
    assert "- tolerance of size 0.001 → 0.5 (looser; by the rule of this version): `m/v`" in reviewed(
        run, baseline, made
    )


def test_the_weights_behind_stored_predictions_are_recorded_however_many_seeds_a_run_has(tmp_path: Path) -> None:
    first = Run(tmp_path, answers(50))
    cell = first.report.cells[0]
    score = cell.measurements["score"]
    values = [score.value, *(score.value - 0.001 * i for i in range(1, 5))]
    five = score.model_copy(update={"value": float(np.mean(values)), "values": values, "spread": 0.001})
    cell.measurements["score"], cell.seeds = five, [0, 1, 2, 3, 4]
    baseline = after(first.accept(Baseline()))
    assert cell_of(baseline).trained_sha256 is None
    for wrong, taken in ((50, "w"), (51, None)):
        again = Run(tmp_path, answers(wrong), name=f"of{wrong}")
        of_one = again.report.cells[0]
        of_one.measurements["score"] = of_one.measurements["score"].model_copy(
            update={"values": [of_one.measurements["score"].value]}
        )
        of_one.seeds, of_one.trained_sha256 = [0], "w"
        assert cell_of(after(again.accept(baseline))).trained_sha256 == taken


def test_answers_of_unknown_weights_are_replaced_however_near_the_score_is(tmp_path: Path) -> None:
    def of_five_seeds(wrong: int, weights: str | None) -> Run:
        run = Run(tmp_path, answers(wrong), name=f"of{wrong}{weights}")
        [cell] = run.report.cells
        score = cell.measurements["score"]
        values = [score.value + 0.01 * i for i in (0, -2, -1, 1, 2)]
        cell.measurements["score"] = score.model_copy(update={"values": values, "spread": 0.016})
        cell.seeds, cell.trained_sha256 = [0, 1, 2, 3, 4], weights
        return run

    unknown = after(of_five_seeds(50, None).accept(Baseline()))
    known = after(of_five_seeds(51, "w").accept(unknown))
    assert cell_of(known).trained_sha256 == "w"
    np.testing.assert_array_equal(known.predictions["v"], answers(51))
    kept = after(of_five_seeds(50, "x").accept(known))
    assert cell_of(kept).trained_sha256 == "w", "a score within its noise keeps answers whose weights are known"


def test_a_target_that_was_away_does_not_keep_a_run_from_being_accepted(tmp_path: Path) -> None:
    def judged(kind: Kind) -> Cell:
        away = Judgement(kind=kind, measurement="x", against="nothing", verdict=Verdict.ERROR, message="away")
        return made_up_runs.cell("v", made_up_runs.answers(100), verdict=Verdict.ERROR, judgements=[away])

    acceptance.check_report(made_up_runs.report([judged(Kind.TARGET)]), tmp_path)
    with pytest.raises(BadInput, match="could not be measured"):
        acceptance.check_report(made_up_runs.report([judged(Kind.SIZE)]), tmp_path)


def on_a_device(run: Run, sha256: str) -> Run:
    """Let a run have judged an accelerator alone, of a file with another hash."""
    agreement = Measurement(value=0.995, unit="fraction", n=200)
    of_file = {
        "artifact_sha256": sha256,
        "reference_sha256": sha256,
        "trained_sha256": sha256,
        "sources": {"x": sha256},
    }
    measured = {**run.report.cells[0].measurements, "gpu_agreement": agreement}
    run.report.cells[0] = run.report.cells[0].model_copy(
        update={**of_file, "verdicts": {Kind.GPU: Verdict.PASS}, "measurements": measured}
    )
    run.report.environment.gpu = Device(name="A GPU", kind="discrete", driver="d")
    return run


def test_an_update_of_an_accelerator_alone_touches_nothing_else(tmp_path: Path) -> None:
    """This machine may build the file otherwise, and says nothing of its score, its limits or its weights."""

    def accept(run: Run, old: Baseline, drop: float) -> acceptance.Proposal:
        floor = Floor(drop, "policy")
        return acceptance.propose(run.report, run.folder, "m", old, "r", floor_of=lambda _variant, _family: floor)

    first = Run(tmp_path, answers(100), name="r1")
    found = {name: Measurement(value=0.99, unit="fraction", n=200) for name in ("reference_agreement", "score")}
    cell = first.report.cells[0]
    first.report.cells[0] = cell.model_copy(
        update={
            "artifact_sha256": "a" * 64,
            "reference_sha256": "b" * 64,
            "measurements": {**found, **cell.measurements},
        }
    )
    before = after(accept(first, Baseline(), 0.5))
    run = on_a_device(Run(tmp_path, answers(300), size=50.0, name="r2"), "c" * 64)
    made = accept(run, before, 40.0)
    changed = cell_of(after(made)).model_dump(exclude={"gpu"})
    assert changed == cell_of(before).model_dump(exclude={"gpu"})
    assert cell_of(after(made)).gpu["A GPU"].agreement == 0.995
    assert np.array_equal(made.predictions["v"], answers(100))
    assert [one.accepted for one in made.limits] == [False]
    elsewhere = on_a_device(Run(tmp_path, answers(300), name="r3", isa="bbbbbbbb"), "c" * 64)
    assert accept(elsewhere, before, 0.5).replaced == {}


def test_what_an_accelerator_did_is_kept_where_the_cell_has_an_overlay(tmp_path: Path) -> None:
    before = after(Run(tmp_path, answers(100), name="r1").accept(Baseline()))
    other = Run(tmp_path, answers(160), name="r2", isa="bbbbbbbb").accept(before, overlay=True)
    run = on_a_device(Run(tmp_path, answers(160), name="r3", isa="bbbbbbbb"), "c" * 64)
    assert list(cell_of(after(run.accept(after(other)))).gpu) == ["A GPU"]
