"""SVG charts beside ``report.md``: what is drawn, in words too, and the same bytes for the same report."""

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from conftest import Quantbench
from hypothesis import given
from hypothesis import strategies as st
from made_up_pages import HOSTILE, cell, report
from quantbench.errors import BadInput
from quantbench.records import Report, Verdict, write_json
from quantbench.report import chart_data, charts, plots
from quantbench.report.formatting import escape
from quantbench.report.markdown import render


@pytest.fixture
def made() -> Report:
    one = [cell("m1", "float32", 0.9, 400_000), cell("m1", "a", 0.901, 100_000), cell("m1", "b", 0.87, 90_000)]
    other = [cell(HOSTILE, "float32", 0.9, 20_000), cell(HOSTILE, HOSTILE, 0.85, 10_000, Verdict.REGRESSED)]
    return report([*one, *other])


def drawn(folder: Path, made: Report) -> list[charts.Chart]:
    return charts.write(folder, made)


def test_charts_lie_beside_the_report_and_say_what_they_show(made: Report, tmp_path: Path) -> None:
    found = drawn(tmp_path, made)
    assert [one.file for one in found] == [
        "drop_against_latency.svg",
        "drop_against_size.svg",
        "drop_by_variant_and_model.svg",
    ]
    text = render(made, found)
    for one in found:
        picture = ElementTree.parse(tmp_path / "charts" / one.file).getroot()
        assert picture.get("role") == "img"
        assert picture.get("aria-label") == one.title
        assert f"![{one.title}](charts/{one.file})" in text
    assert "- m1: 1 `b` 87.9 KiB +3.00 pp, 2 `a` 97.7 KiB -0.10 pp" in text
    words = "".join(ElementTree.parse(tmp_path / "charts" / "drop_by_variant_and_model.svg").getroot().itertext())
    assert "+3.00" in words  # in the heat map, colour is not the only sign
    assert "beyond its limit" in words


def test_the_same_report_gives_the_same_bytes(made: Report, tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        drawn(tmp_path / name, made)
    for path in (tmp_path / "one" / "charts").iterdir():
        assert path.read_bytes() == (tmp_path / "other" / "charts" / path.name).read_bytes()


def test_what_has_no_numbers_is_not_drawn(made: Report, tmp_path: Path) -> None:
    for one in made.cells:
        del one.measurements["latency"]
    assert [chart.file for chart, _ in charts.of(made)] == ["drop_against_size.svg", "drop_by_variant_and_model.svg"]
    assert list(charts.of(report([]))) == []
    assert "## Charts" not in render(made)


def test_of_too_many_models_those_that_need_attention_are_drawn(made: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charts, "MOST_MODELS", 1)
    [latency, *_] = [chart for chart, _ in charts.of(made)]
    assert latency.title.endswith("(1 of the models)")
    assert latency.description[0].startswith(escape(HOSTILE))


def test_they_need_no_other_library(made: Report, tmp_path: Path) -> None:
    write_json(tmp_path / "report.json", made.model_copy(update={"cells": made.cells[:3]}))
    script = (
        "import sys; sys.modules['altair'] = sys.modules['vl_convert'] = None\n"
        "from pathlib import Path\n"
        "from quantbench.records.run_folder import read\n"
        "from quantbench.report import charts\n"
        f"report, folder = read(Path({str(tmp_path)!r})); print(len(charts.write(folder, report)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "3\n"


def test_a_folder_that_cannot_be_written_is_told_in_one_sentence(made: Report, tmp_path: Path) -> None:
    (tmp_path / "charts").write_text("a file")
    with pytest.raises(BadInput, match="--charts: cannot write to"):
        charts.write(tmp_path, made)


def test_plots_stand_in_rows_and_do_not_overlap() -> None:
    one = [cell("m", "float32", 0.9, 4000), cell("m", "a", 0.8, 3000)]
    points = chart_data.points(chart_data.SIZE, one, {each.id: each for each in one})
    laid_out = plots.sheet("s", [plots.scatter("m", chart_data.SIZE, points, points[:1])] * 7, plots.family_legend(), 3)
    corners = [tuple(map(float, placed.place.split())) for placed in laid_out.plots]
    assert [x for x, _ in corners] == [12, 454, 896, 12, 454, 896, 12]
    assert sorted({y for _, y in corners}) == [32, 344, 656]
    assert all(y + 280 < float(laid_out.height) and x + 430 < float(laid_out.width) for x, y in corners)
    assert sum(bool(item.text) for item in laid_out.legend) == 3


@pytest.mark.parametrize(
    ("values", "style", "labels"),
    [
        ([0.80, 0.90], ".2f", ["0.80", "0.82", "0.84", "0.86", "0.88", "0.90"]),
        ([5.0, 5.0], ".0f", ["5"]),
        ([1, 6], ".0f", ["1", "2", "3", "4", "5", "6"]),
        ([1, 2], ".0f", ["1", "2"]),
        ([0.0, 0.0], ".1f", ["-1.0", "-0.5", "0.0", "0.5", "1.0"]),
        ([100_000, 400_000], ",.0f", ["100,000", "150,000", "200,000", "250,000", "300,000", "350,000", "400,000"]),
    ],
)
def test_a_linear_axis_has_round_labels_once_each(values: list[float], style: str, labels: list[str]) -> None:
    place, ticks = plots.linear_axis(values, 300, 0, style)
    assert [tick.label for tick in ticks] == labels
    assert all(0 <= place(value) <= 300 for value in values)
    assert all(tick.at == pytest.approx(place(float(tick.label.replace(",", "")))) for tick in ticks)


@given(st.floats(80, 100), st.floats(0.05, 20))
def test_a_low_axis_has_two_labels_at_least(value: float, change: float) -> None:
    _, ticks = plots.linear_axis([value, value - change], 120, 14, ".2f")
    assert 2 <= len(ticks) <= 8


@given(st.lists(st.floats(1e-3, 1e7), min_size=1), st.lists(st.floats(-1e5, 1e5), min_size=1))
def test_every_value_has_its_place_between_the_edges(sizes: list[float], drops: list[float]) -> None:
    across, _ = plots.log_axis(sizes, 10, 90)
    up, ticks = plots.drop_axis(drops, 10, 90)
    assert all(10 <= across(value) <= 90 for value in sizes)
    assert all(10 <= up(value) <= 90 for value in drops)
    assert up(max(drops)) <= up(min(drops))
    assert sum(tick.zero for tick in ticks) == 1


EXTREME = (0.0, 1.0, 5e-324, 1e-308, 1e-250, 1e17, 123456.789, 1.7e308)


@pytest.mark.parametrize("one", EXTREME)
@pytest.mark.parametrize("other", [*EXTREME, -1.0, -1.7e308])
def test_no_number_is_too_large_or_too_small_for_an_axis(one: float, other: float) -> None:
    for style in (",.0f", ".2f", ".4g"):
        plots.trend("t", [1, 2], [one, other], style, [(2, "shift")])
    place, _ = plots.drop_axis([one, other], 0, 100)
    assert all(0 <= place(value) <= 100 for value in (one, other))
    if one > 0 and other > 0:
        place, ticks = plots.log_axis([one, other], 0, 100)
        assert all(0 <= place(value) <= 100 for value in (one, other))
        assert len(ticks) >= 3


def test_the_command_draws_and_links_them(quantbench: Quantbench, made: Report, tmp_path: Path) -> None:
    made.cells = [one for one in made.cells if one.model == "m1"]  # others are refused when they are read
    write_json(tmp_path / "report.json", made)
    done = quantbench("report", str(tmp_path), "--charts")
    assert done.status == 0, done.output
    assert "(charts/drop_against_size.svg)" in (tmp_path / "report.md").read_text()
    assert (tmp_path / "charts" / "drop_against_size.svg").exists()
