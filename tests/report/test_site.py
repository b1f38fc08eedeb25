"""The site of nights: what is red now and since when, what changed, and every verdict; no name breaks a page."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up_pages import HOSTILE, Page
from made_up_runs import cell, environment, floor, measured, report, write
from quantbench.comparison.history import History, gathered, read_history
from quantbench.comparison.summary import Scoring, Summary
from quantbench.errors import BadInput
from quantbench.records import Cell, Judgement, Kind, Measurement, Verdict
from quantbench.report import plots
from quantbench.report.html.templating import asset
from quantbench.report.plots import Series
from quantbench.report.site import facts, pages
from quantbench.report.site.cell import cell_page
from quantbench.report.site.words import sign


def day(number: int) -> str:
    return f"2026-{1 + number // 28:02d}-{1 + number % 28:02d}T00-00-00Z"


def lay(folder: Path, number: int, cells: list[Cell], **more: Any) -> Path:
    packages = {"tensorflow": "2.20.0" if number < 3 else "2.21.0"}
    made = environment(packages=packages, git_commit=f"{number:012d}" + "0" * 28)
    return write(folder, report(cells, day(number), environment=made, **more))


def night(number: int, red: bool) -> list[Cell]:
    """Make two cells, of which one may be larger than accepted, and red."""
    size = measured(1100 if red else 1000)
    judged = [
        Judgement(
            kind=Kind.SIZE, measurement="size", against="baseline", verdict=Verdict.PASS, reference=1000, message=""
        )
    ]
    ratio = Measurement(value=0.9 + 0.001 * (number % 3), unit="ratio", n=4, spread=0.002, spread_of="fresh processes")
    verdict = Verdict.REGRESSED if red else Verdict.PASS
    costs = {"size": size, "latency_ratio": ratio, "score": measured(0.875, "fraction")}
    return [
        cell("small", measurements=costs, verdict=verdict, judgements=[*judged, *floor(0.2)]),
        cell("other", measurements={"size": measured(500)}, verdict=Verdict.PASS),
    ]


@pytest.fixture
def six_nights(tmp_path: Path) -> Path:
    """Six nights; in the fourth a new TensorFlow made a cell larger, which is red since."""
    for number in range(6):
        lay(tmp_path / "runs", number, night(number, red=number >= 3))
    return tmp_path / "runs"


def index_of(history: History, **links: str) -> str:
    return pages.index(facts.site(history, links))


def data_of(page: str) -> dict[str, Any]:
    [text] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    return dict(json.loads(text))


def test_what_is_red_now_is_said_first_with_its_night_and_cause(six_nights: Path) -> None:
    page = index_of(read_history(six_nights))
    said = Page(page).said()
    assert "✗ 1 of 2 cells red" in said.replace("  ", " ")
    assert f"Newest night: {day(5)}, 2 of 2 cells, 1 red, commit 000000000005" in said
    [row] = re.findall(r"<tr><th scope=\"row\"><a href=\"cells/m/small.html\">.*", page)
    assert "✗ REGRESSED" in row
    assert day(3) in row
    assert "tensorflow 2.20.0 → 2.21.0, commit 000000000002 → 000000000003" in row
    assert "size 1,000 bytes → 1,100 bytes (+10.00 %)" in row


def test_every_verdict_is_there_newest_night_first(six_nights: Path) -> None:
    history = read_history(six_nights)
    data = data_of(index_of(history))
    small = next(one for one in data["cells"] if one[0] == "m/small")
    assert [data["signs"][int(place)][2] for place in small[2]] == ["regressed"] * 3 + ["pass"] * 3
    assert [one[1] for one in data["nights"]] == [day(number) for number in reversed(range(6))]
    assert [one[3] for one in data["nights"]] == [1, 1, 1, 0, 0, 0]
    assert [one[4] for one in data["nights"]] == [-1, -1, 3, -1, -1, -1]  # what moved, by its place


def test_nights_of_one_day_are_told_apart_by_their_time(six_nights: Path) -> None:
    assert [one.date for one in facts.nights(read_history(six_nights), {})][-1] == "2026-01-06"
    write(six_nights, report(night(6, red=False), "2026-01-06T21-30-00Z", started="2026-01-06T21:30:00+00:00"))
    assert [one.date for one in facts.nights(read_history(six_nights), {})][-1] == "2026-01-06 21:30"


def test_verdicts_are_told_apart_without_colour() -> None:
    signs = [sign(verdict) for verdict in Verdict]
    assert len(set(signs)) == len(signs)
    assert {key.verdict for key in pages.legend(set(Verdict))} == set(Verdict)
    assert all(f".v-{verdict}" in asset("site.css") for verdict in Verdict)


def test_what_fails_a_run_is_red_and_nothing_else(tmp_path: Path) -> None:
    made = [cell(str(verdict), measurements={"size": measured(1)}, verdict=verdict) for verdict in Verdict]
    write(tmp_path, report(made, day(0)))
    site = facts.site(read_history(tmp_path), {})
    assert {now.found.verdict for now in site.red} == {Verdict.REGRESSED, Verdict.ERROR, Verdict.MISSING}
    assert site.newest.reds == 3


def test_what_changed_is_gathered_by_night_with_what_changed_besides(six_nights: Path) -> None:
    site = facts.site(read_history(six_nights), {})
    [change] = site.changes
    assert (change.night, [move.step.measurement for move in change.moves]) == (3, ["size"])
    assert change.moves[0].worse
    assert change.causes[0] == "tensorflow 2.20.0 → 2.21.0"
    assert "1 worse" in Page(pages.index(site)).said()


def test_a_cell_that_the_newest_night_lacks_stays_red(six_nights: Path) -> None:
    lay(six_nights, 6, night(6, red=False)[1:])
    site = facts.site(read_history(six_nights), {})
    assert [(now.found.cell, now.last) for now in site.red] == [("m/small", 5)]
    assert f"last measured {day(5)}" in pages.index(site)


def test_a_damaged_and_a_foreign_night_cost_themselves_and_are_named(six_nights: Path) -> None:
    (six_nights / day(1) / "report.json").write_text("{")
    (six_nights / day(2) / "report.json").write_text(json.dumps({"kind": "something else"}))
    (six_nights / day(9)).mkdir()
    said = Page(index_of(read_history(six_nights))).said()
    assert "3 folders could not be read" in said
    assert "report is not JSON" in said
    assert "not a report" in said
    assert "holds no report.json" in said
    assert "4 nights" in said


def test_an_empty_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"^--report-dir: .* holds no run that can be read$"):
        read_history(tmp_path)


def test_a_cell_s_page_draws_its_interval_its_accepted_value_its_limit_and_its_shift(six_nights: Path) -> None:
    site = facts.site(read_history(six_nights), {})
    small = next(one for one in site.cells if one.id == "m/small")
    page = cell_page(site, small, {id(run): at for at, run in enumerate(site.history.runs)})
    charts = dict(re.findall(r"<figcaption>([^<]*) <small>.*?(<svg.*?</svg>)", page))
    assert set(charts) == {"Score, %", "Accuracy drop vs float32, pp", "Latency, ratio to float32", "Size, KiB"}
    assert 'class="band"' in charts["Latency, ratio to float32"]
    assert 'class="band"' not in charts["Size, KiB"]
    assert 'class="accepted"' in charts["Size, KiB"]
    assert 'class="limit"' in charts["Accuracy drop vs float32, pp"]
    assert f"<title>{day(3)}: size 1,000 bytes → 1,100 bytes (+10.00 %)</title>" in charts["Size, KiB"]
    assert 'class="shift"' not in charts["Score, %"]
    assert "Regressed since the night" in Page(page).said()


def test_each_kind_of_machine_has_charts_of_its_own(tmp_path: Path) -> None:
    for number in range(4):
        size = measured(1000 if number % 2 else 2000)
        machine = environment(machine_class="AB"[number % 2], isa=f"{number % 2}" * 8)
        made = cell(measurements={"size": size}, verdict=Verdict.PASS if number % 2 else Verdict.REGRESSED)
        write(tmp_path, report([made], day(number), environment=machine))
    site = facts.site(read_history(tmp_path), {})
    assert [(now.found.machine, now.last) for now in site.red] == [("A", 2)]
    assert site.changes == []  # neither machine's size moved
    page = cell_page(site, site.cells[0], {id(run): at for at, run in enumerate(site.history.runs)})
    assert "On A" in Page(page).said()
    assert page.count("<figcaption>") == 2
    assert '<th scope="col">machine' in pages.index(site)


def test_pages_link_to_the_reports_that_there_are(six_nights: Path, tmp_path: Path) -> None:
    (six_nights / day(5) / "report.html").write_text("a report")
    links = {day(5): f"../runs/{day(5)}/report.html"}
    out = tmp_path / "site"
    assert pages.write(out, facts.site(read_history(six_nights), links)) == 3
    assert (out / data_of((out / "index.html").read_text())["nights"][0][2]).is_file()
    its_page = out / "cells" / "m" / "small.html"
    to = [tag["href"] for tag in Page(its_page.read_text()).of("a") if "report.html" in (tag["href"] or "")]
    assert [(its_page.parent / str(link)).resolve() for link in to] == [six_nights / day(5) / "report.html"]


@pytest.mark.parametrize("name", ["../../etc/x", "m\n/x", "/etc/x", "m/../x", "m/a b", "", "m", HOSTILE, "\ud800/x"])
def test_a_name_cannot_lead_out_of_the_site(name: str) -> None:
    assert re.fullmatch(r"cells/_/[0-9a-f]{16}\.html", facts.page_of(name))


def of_hostile_names() -> History:
    run = Summary(
        report_bytes=0, run=HOSTILE, started=HOSTILE, state=HOSTILE, trained_from_scratch=False,
        environment=environment(git_commit=HOSTILE, packages={HOSTILE: HOSTILE}, machine_class=HOSTILE),
        data_sha256={}, scoring={HOSTILE: Scoring(metric=HOSTILE, unit=HOSTILE, scale=1.0, higher_is_better=True)},
        trained=[], cells=[HOSTILE.replace("/", "")], verdicts=[Verdict.REGRESSED],
        values={"score": [0.5], "size": [1e300], "floor_drop": [1e99], "floor_limit": [1e98]},
    )  # fmt: skip
    run.scoring[run.cells[0]] = run.scoring[HOSTILE]
    return gathered([run], [])


def test_hostile_names_are_shown_and_nothing_else(tmp_path: Path) -> None:
    history = of_hostile_names()
    history.folders.append(HOSTILE)
    site = facts.site(history, {HOSTILE: HOSTILE})
    pages.write(tmp_path, site)
    for path in [tmp_path / "index.html", *(tmp_path / "cells").rglob("*.html")]:
        page = Page(path.read_text())
        assert len(page.of("script")) == (2 if path.name == "index.html" else 0)
        assert page.of("img") == []
        assert all(tag.get("href", "").startswith(("#", "cells/_/", "../", '"><script>')) for tag in page.of("a"))  # type: ignore[union-attr]
    data = data_of((tmp_path / "index.html").read_text())
    assert data["nights"][0][1] == HOSTILE


def test_a_folder_that_cannot_be_written_is_one_sentence(six_nights: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(BadInput, match=r"^OUT: cannot write .*; give a folder that can be written$"):
        pages.write(tmp_path / "taken", facts.site(read_history(six_nights), {}))


def test_many_values_are_searched_quickly_and_the_page_says_so(
    six_nights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "shifts that still hold" not in index_of(read_history(six_nights))
    monkeypatch.setattr(facts, "SEARCHED", 3)
    assert "shifts that still hold" in index_of(read_history(six_nights))


def drawn(series: Series) -> dict[str, str]:
    dates = [f"night {number}" for number in range(len(series.values))]
    plot = plots.over_nights("title", dates, series, ".3g")
    return {item.kind: item.d for group in plot.groups for item in group.items if item.d}


def test_a_line_of_nights_keeps_its_corners_alone() -> None:
    flat = drawn(Series(np.full(50, 3.0)))["trend"]
    assert flat.count("L") == 1
    stepped = drawn(Series(np.where(np.arange(50) < 20, 1.0, 2.0)))["trend"]
    assert stepped.count("L") == 3


def test_a_line_passes_over_nights_without_a_value_and_levels_end_there() -> None:
    values = np.array([1.0, np.nan, 2.0])
    found = drawn(Series(values, half=np.array([0.1, np.nan, np.nan]), accepted=np.array([1.5, np.nan, 1.6])))
    assert found["trend"].count("L") == 1
    assert found["accepted"].count("M") == 2
    assert found["band"].endswith("z")


@pytest.mark.parametrize("value", [1e308, -1e308, 0.0, 1e-300])
def test_any_finite_value_is_drawn(value: float) -> None:
    found = drawn(Series(np.array([value, value]), half=np.array([1e308, 0.0]), limit=np.array([value, np.nan])))
    assert "nan" not in "".join(found.values())
    assert "inf" not in "".join(found.values())


def test_red_cells_by_night_are_bars() -> None:
    plot = plots.reds("title", ["a", "b", "c"], [0, 2, 1])
    [bars] = [item.d for group in plot.groups for item in group.items if item.kind.startswith("reds")]
    assert bars.count("M") == 2
