"""SVG charts beside ``report.md``: what is drawn, in words too, and the same bytes for the same report."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from conftest import Quantbench
from made_up_pages import HOSTILE, cell, report
from quantbench.errors import BadInput
from quantbench.records import Report, Verdict, write_json
from quantbench.report import charts
from quantbench.report.formatting import escape
from quantbench.report.markdown import render


@pytest.fixture
def made() -> Report:
    one = [cell("m1", "float32", 0.9, 400_000), cell("m1", "a", 0.901, 100_000), cell("m1", "b", 0.87, 90_000)]
    other = [cell(HOSTILE, "float32", 0.9, 20_000), cell(HOSTILE, HOSTILE, 0.85, 10_000, Verdict.REGRESSED)]
    return report([*one, *other])


def drawn(folder: Path, made: Report) -> list[charts.Chart]:
    pytest.importorskip("altair", reason="needs the extra charts")
    pytest.importorskip("vl_convert", reason="needs the extra charts")
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
    assert "beyond its floor" in words


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
    assert latency.told[0].startswith(escape(HOSTILE))


def test_without_the_extra_one_sentence_says_what_to_install(
    made: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(charts, "available", lambda: False)
    with pytest.raises(BadInput, match=r"pip install 'quantbench\[charts\]'"):
        charts.write(tmp_path, made)


def test_the_command_draws_and_links_them(quantbench: Quantbench, made: Report, tmp_path: Path) -> None:
    pytest.importorskip("vl_convert", reason="needs the extra charts")
    made.cells = [one for one in made.cells if one.model == "m1"]  # others are refused when they are read
    write_json(tmp_path / "report.json", made)
    done = quantbench("report", str(tmp_path), "--charts")
    assert done.status == 0, done.output
    assert "(charts/drop_against_size.svg)" in (tmp_path / "report.md").read_text()
    assert (tmp_path / "charts" / "drop_against_size.svg").exists()
