"""What a run writes for CI systems, spreadsheets and job summaries; hostile names, and what is too long."""

import csv
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import pytest
from made_up_runs import cell, floor, measured, report, write
from quantbench.cli.report import report as command
from quantbench.core.echo import plain
from quantbench.errors import BadInput
from quantbench.records import Action, Judgement, Kind, Measurement, Report, Shard, Verdict
from quantbench.report import cells_csv, junit
from quantbench.report.github_summary import cut
from quantbench.report.markdown import render

HOSTILE = "<b>&\"'\x00\x1b]]>\ud800\u2028=1+1"


def judged(
    verdict: Verdict, kind: Kind = Kind.ACCURACY, measurement: str = "score", message: str = "said"
) -> Judgement:
    return Judgement(
        kind=kind,
        measurement=measurement,
        against="baseline",
        verdict=verdict,
        value=0.8,
        reference=0.9,
        unit="pp",
        change=10.0,
        tolerance=0.5,
        p_value=0.001,
        message=message,
        actions=[Action(what="look closer", command=["quantbench", "run"])],
    )


def one(verdict: Verdict, variant: str = "v", **more: object) -> object:
    return cell(
        variant,
        verdict=verdict,
        verdicts={Kind.ACCURACY: verdict},
        judgements=[judged(verdict)],
        measurements={"score": measured(0.8, "fraction"), "size": measured(1024.0, n=1)},
        **more,
    )


def parsed(found: Report) -> ElementTree.Element:
    return ElementTree.fromstring(junit.render(found))


def properties(element: ElementTree.Element) -> dict[str, str]:
    return {one.attrib["name"]: one.attrib["value"] for one in element.findall("./properties/property")}


RESULTS = {
    Verdict.PASS: None,
    Verdict.IMPROVED: None,
    Verdict.CHANGED: None,
    Verdict.WARN: None,
    Verdict.REGRESSED: "failure",
    Verdict.ERROR: "error",
    Verdict.MISSING: "error",
    Verdict.UNSUPPORTED: "skipped",
    Verdict.XFAIL: "skipped",
    Verdict.UNJUDGED: "skipped",
}


@pytest.mark.parametrize("verdict", Verdict)
def test_every_verdict_is_a_result_that_ci_knows(verdict: Verdict) -> None:
    whole = parsed(report([one(verdict)]))
    [suite] = whole.findall("testsuite")
    [case] = suite.findall("testcase")
    tags = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
    assert tags == ([RESULTS[verdict]] if RESULTS[verdict] else [])
    for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        assert suite.attrib[attribute] == whole.attrib[attribute] == str(tags.count(tag))
    assert suite.attrib["tests"] == "1"
    if verdict in (Verdict.WARN, Verdict.IMPROVED, Verdict.CHANGED):
        assert "said" in (case.findtext("system-out") or "")
    if tags:
        [told] = [child for child in case if child.tag == tags[0]]
        assert told.attrib["message"] == "said"
        assert "→ look closer: quantbench run" in (told.text or "")


def test_a_case_tells_what_was_measured_and_the_suite_what_it_depends_on() -> None:
    suite = parsed(report([one(Verdict.REGRESSED, seconds=2.0)])).find("testsuite")
    assert suite is not None
    run = properties(suite)
    assert run["commit"] == "a" * 40
    assert run["machine class"] == "A_2-core"
    assert run["tensorflow"] == "2.20.0"
    case = suite.find("testcase")
    assert case is not None
    assert (case.attrib["classname"], case.attrib["name"], case.attrib["time"]) == (
        "quantbench.accuracy",
        "m/v",
        "2.000",
    )
    found = properties(case)
    assert {"cell": "m/v", "kind": "accuracy", "verdict": "regressed"}.items() <= found.items()
    assert found["score"] == "0.8 fraction"
    assert found["score.interval"].endswith("fraction (95 %)")
    assert (found["score.change"], found["score.tolerance"], found["score.p_value"]) == ("10 pp", "0.5 pp", "0.001")
    assert "size" not in found  # belongs to another kind of check


def test_a_run_that_did_not_end_is_no_pass_for_ci() -> None:
    suite = parsed(report([one(Verdict.PASS), cell("w")], state="interrupted")).find("testsuite")
    assert suite is not None
    assert suite.attrib["errors"] == "1"
    assert (
        "interrupted: 1 of 2 cells have no verdict"
        in suite.findall("testcase")[-1].findall("error")[0].attrib["message"]
    )


def test_hostile_names_stay_text_in_xml() -> None:
    names = {"id": f"{HOSTILE}/v", "model": HOSTILE, "judgements": [judged(Verdict.ERROR, message=HOSTILE)]}
    found = one(Verdict.ERROR).model_copy(update=names)  # type: ignore[attr-defined]
    [case] = parsed(report([found])).iter("testcase")
    assert case.attrib["name"] == plain(f"{HOSTILE}/v")
    assert case.find("b") is None


def table(found: Report) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(cells_csv.render(found))))


def test_each_measurement_is_a_row_with_unit_interval_and_verdict() -> None:
    ratio = Measurement(value=1.5, unit="ratio to float32", n=4, spread=0.1, spread_of="fresh processes")
    quantile = Measurement(value=5.0, unit="µs", n=900, low=4.5, high=6.0)
    found = cell(
        "v",
        verdict=Verdict.REGRESSED,
        judgements=[judged(Verdict.REGRESSED), *floor(0.1)],
        measurements={"score": measured(0.8, "fraction"), "latency_ratio": ratio, "latency_p99": quantile},
    )
    by_name = {row["measurement"]: row for row in table(report([found]))}
    assert list(by_name) == ["latency_p99", "latency_ratio", "score"]
    score = by_name["score"]
    assert (score["cell"], score["value"], score["unit"], score["n"]) == ("m/v", "0.8", "fraction", "1000")
    assert float(score["low"]) < 0.8 < float(score["high"])
    assert (score["verdict"], score["baseline"], score["change"], score["p_value"]) == (
        "regressed",
        "0.9",
        "10",
        "0.001",
    )
    assert (by_name["latency_p99"]["low"], by_name["latency_p99"]["high"]) == ("4.5", "6")
    assert float(by_name["latency_ratio"]["low"]) < 1.5 < float(by_name["latency_ratio"]["high"])
    assert by_name["latency_ratio"]["verdict"] == ""
    assert by_name["latency_ratio"]["kind"] == "latency"


def test_a_cell_without_measurements_is_not_missed() -> None:
    [row] = table(report([cell("v", verdict=Verdict.ERROR)]))
    assert (row["cell"], row["cell_verdict"], row["measurement"], row["value"]) == ("m/v", "error", "", "")
    assert row["verdict"] == "error"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_no_text_is_a_formula_to_a_spreadsheet(start: str) -> None:
    hostile = f'{start}cmd|"/c calc",\n;A1'
    found = cell("v", measurements={"score": Measurement(value=-0.5, unit=hostile, n=1)})
    found = found.model_copy(update={"id": f"{hostile}/v", "model": hostile})
    [row] = table(report([found]))
    assert row["model"] == row["unit"] == f"'{plain(hostile)}"
    assert row["cell"] == f"'{plain(hostile)}/v"
    assert row["value"] == "-0.5"  # a number stays one


def test_a_run_folder_holds_them(tmp_path: Path) -> None:
    broken = one(Verdict.PASS).model_copy(update={"id": "m/\ud800", "variant": "\ud800"})  # type: ignore[attr-defined]
    found = report([one(Verdict.PASS), broken])  # type: ignore[list-item]
    junit.write(tmp_path / junit.JUNIT, found)
    cells_csv.write(tmp_path / cells_csv.CSV, found)
    assert (tmp_path / "junit.xml").read_bytes().startswith(b"<?xml")
    assert (tmp_path / "cells.csv").read_text(encoding="utf-8").startswith("run,cell,model")
    assert not list(tmp_path.glob(".*"))


def long_report(cells: int, models: int = 4, message: str = "worse") -> Report:
    found = []
    for i in range(cells):
        verdict = Verdict.REGRESSED if i % models == 1 else Verdict.WARN if i % models == 2 else Verdict.PASS
        base = one(verdict, f"v{i}").model_copy(  # type: ignore[attr-defined]
            update={
                "id": f"m{i % models}/v{i}",
                "model": f"m{i % models}",
                "judgements": [judged(verdict, message=f"m{i % models}/v{i}: {message}")],
            }
        )
        found.append(base)
    return report(found, exit_status=1)


def test_what_fits_is_shown_whole() -> None:
    found = long_report(40)
    assert cut(found, 1_000_000) == render(found)


@pytest.mark.parametrize("limit", [20_000, 60_000, 150_000])
def test_what_does_not_fit_is_cut_with_the_worst_first_and_says_so(limit: int) -> None:
    found = long_report(2000)
    text = cut(found, limit)
    assert len(text.encode()) <= limit < len(render(found).encode())
    assert text.startswith("# quantbench: RED")
    assert "> **Cut**" in text.split("\n## ")[0]
    assert found.run in text.split("> **Cut**")[1].split("\n")[0]
    assert text.index("REGRESSED** m1/") < limit
    assert "! warn** m2/" not in text or text.index("REGRESSED** m1/") < text.index("! warn** m2/")
    shown = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## m")]
    assert shown == [model for model in ("m1", "m2", "m0", "m3") if model in shown]
    for model in {"m0", "m1", "m2", "m3"} - set(shown):
        assert f"tables of {model}" in text


def test_one_endless_message_is_cut_too() -> None:
    text = cut(long_report(3, message="é" * 100_000), 9_000)
    assert len(text.encode()) <= 9_000
    assert "> **Cut**" in text


def test_a_shard_by_itself_is_not_shown_as_a_run(tmp_path: Path) -> None:
    part = Shard(index=1, of=2, split={"m/v": 1, "m/w": 2}, options={"threads": "1"}, baselines={}, folder="x")
    folder = write(tmp_path, report([one(Verdict.PASS)], shard=part, started="2026-01-01T00:00:00Z"))  # type: ignore[list-item]
    with pytest.raises(BadInput, match="shard 2/2 is missing"):
        command([folder], report_dir=tmp_path / "merged")
    with pytest.raises(BadInput, match="make one run of the shards first"):
        command([folder], summary=True)
