"""The page: everything is there, and nothing foreign runs or loads. What a browser makes of it: test_html_browser."""

import json
import re
import struct
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from conftest import ROOT, command
from made_up_pages import HOSTILE, Page, cell, judgement, report, timed
from quantbench.core.arrays import Array
from quantbench.records import Report, Verdict, write_json
from quantbench.reference.model import ReferenceModel
from quantbench.report import chart_data, evidence, formatting
from quantbench.report.evidence import Behind
from quantbench.report.html import cells, charts, latency
from quantbench.report.html import page as html
from quantbench.report.html.deferred import Later


def page_of(made: Report, known: Behind | None = None) -> Page:
    return Page(html.render(made, known or Behind()))


def test_every_cell_has_a_row_and_a_part_that_can_be_linked_to(made_up: Report) -> None:
    page = page_of(made_up)
    ids = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    assert len(set(ids)) == len(ids)
    assert {one.id for one in made_up.cells} <= set(ids)
    rows = [row for row in page.of("tr") if "data-model" in row]
    assert [row["data-model"] for row in rows] == [one.model for one in made_up.cells]
    targets = {unquote(link["href"] or "").removeprefix("#") for link in page.of("a")}
    assert targets <= {*ids}
    assert {one.id for one in made_up.cells} <= targets


def test_of_too_many_cells_those_that_need_attention_are_shown_whole(
    made_up: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(html, "MOST_WHOLE", 4)
    text = html.render(made_up, Behind())
    assert text.count("Judgements of ") == 4
    assert "Judgements of m1/b" in text
    assert "Of 5 cells only the outline is shown" in text
    assert {one.id for one in made_up.cells} <= {attributes.get("id") for _, attributes in Page(text).tags}


def test_no_name_becomes_markup(made_up: Report) -> None:
    page = page_of(made_up)
    assert len(page.of("script")) == len(page.of("style")) == 1
    assert not page.of("img")
    handlers = [name for _, attributes in page.tags for name in attributes if name.startswith("on") or name == "style"]
    assert handlers == []
    assert HOSTILE in page.said()


def test_nothing_is_loaded_and_no_script_or_style_but_the_pages_own_may_run(made_up: Report) -> None:
    text = html.render(made_up, Behind())
    assert not re.search(r"https?://|@import|url\(", text)
    page = Page(text)
    policy = next(meta["content"] for meta in page.of("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    for tag in ("link", "iframe", "object", "base", "form"):
        assert not page.of(tag)
    sources = [value for _, attributes in page.tags for name, value in attributes.items() if name in ("src", "srcset")]
    assert sources == []


def test_the_verdict_what_needs_attention_and_units_are_there_in_words(made_up: Report) -> None:
    said = page_of(made_up).said()
    assert formatting.STATUS_WORDS[1] in said
    for _cell, verdict, _messages, _actions in formatting.attention(made_up):
        assert formatting.MARKS[verdict] in said
    text = html.render(made_up, Behind())
    assert text.index("What needs attention") < text.index("What changed") < text.index('class="cells"')
    assert "look closer: <code>quantbench inspect m1/b</code>" in text
    assert "400,000" in said and "bytes" in said  # noqa: PT018
    assert "0.800 ± 0.010" in said
    assert "87.00 %" in said
    assert "False-alarm budget 1 %" in said


def test_half_a_surrogate_pair_in_a_name_is_shown_as_an_escape(tmp_path: Path) -> None:
    made = report([cell("m\ud800", "float32", 0.9, 1000)])
    html.write(tmp_path / "page.html", made, tmp_path, {})
    assert 'id="m\\ud800/float32"' in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("status", "shown"), [(0, "GREEN"), (1, "RED: regressed"), (2, "INTERRUPTED"), (3, "NOT MEASURED"), (9, "STATUS 9")]
)
def test_every_status_is_told_in_words(status: int, shown: str) -> None:
    page = html.render(report([], status), Behind())
    assert shown in page
    assert "<p>Nothing.</p>" in page


def test_headings_of_tables_say_what_they_head_and_tables_what_they_are(made_up: Report) -> None:
    page = page_of(made_up)
    assert all(head.get("scope") in ("row", "col") for head in page.of("th"))
    assert len(page.of("caption")) == len(page.of("table"))
    assert len(page.of("main")) == len(page.of("nav")) == len(page.of("header")) == 1


def test_what_only_rounds_or_is_noise_did_not_change(made_up: Report) -> None:
    made_up.cells[0].judgements = [
        judgement("m1/float32", Verdict.PASS, 1e-9),
        judgement("m1/float32", Verdict.PASS, 0.1, measurement="latency"),  # of what repeats, within a third
        judgement("m1/float32", Verdict.PASS, 0.25),
    ]
    changed = html._changed(made_up, Later(large=False))
    assert changed.count("m1/float32</a>") == 1
    assert "+0.25 pp" in changed


def test_the_front_is_what_nothing_else_beats(made_up: Report) -> None:
    one = made_up.cells[0]
    found = [chart_data.Point(one, x, y) for x, y in [(1, 5), (2, 5), (2, 3), (3, 4), (4, 1), (5, 1)]]
    assert [(point.x, point.drop) for point in chart_data.front(found)] == [(1, 5), (2, 3), (4, 1)]


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (0.031, "ratio", "3.1 %"),
        (0.00919, "ratio to float32", "0.00919×"),
        (0.05, "fraction", "5 pp"),
        (1234.4, "bytes", "1,234 bytes"),
        (2.2e-8, "pp", "0 pp"),
        (None, "pp", ""),
    ],
)
def test_changes_have_the_unit_that_they_are_meant_in(value: float | None, unit: str, shown: str) -> None:
    assert cells._amount(value, unit) == shown


@pytest.mark.parametrize(
    ("shown", "number"), [("-0.04 pp", -0.04), ("1,188.9", 1188.9), ("", None), ("+1e-05 units", 1e-5), ("∅", None)]
)
def test_charts_take_their_numbers_from_what_tables_show(shown: str, number: float | None) -> None:
    assert chart_data.leading_number(shown) == number


def test_one_example_that_is_equal_everywhere_still_gets_a_chart() -> None:
    made = report([cell("m", "float32", 0.9, 1000), cell("m", "a", 0.9, 1000)])
    drawn = charts.scatters("m", made.cells, {one.id: one for one in made.cells})
    assert drawn.count("<svg") == 2
    assert not re.search(r"nan|inf\b", drawn)


def test_latency_distributions_are_drawn_and_told_where_the_record_holds_them() -> None:
    inside = cells.details(timed(), {}, Behind(), [])
    assert "median 12.1 µs (95 %: 12.0 to 12.2); p90 13.5 µs" in inside
    assert "p99 20.0 µs (95 %: 16.0 to ∞); a typical call 11.8 to 12.6 µs in 3 processes" in inside
    assert inside.count('class="process" d="M') == 2  # the marks of the processes, and their legend
    assert 'class="p99"' in inside
    assert latency.of_cell(cell("m", "a", 0.9, 1000)) == ""
    together = latency.of_model("m1", [timed(), timed("m1/b"), cell("m1", "c", 0.9, 1000)])
    assert together.count("<a href=") == 2
    assert not re.search(r"nan|inf\b", together)
    assert latency.of_model("m1", [timed()]) == ""
    assert "Latency distributions" in html.render(report([timed(), timed("m1/b")]), Behind())


def _pixels(data: bytes) -> tuple[int, int, bytes]:
    width, height = struct.unpack(">II", data[16:24])
    length = struct.unpack(">I", data[33:37])[0]
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    return width, height, zlib.decompress(data[41 : 41 + length])


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 1), (2, 3, 3)])
def test_a_picture_is_a_png_of_its_pixels(shape: tuple[int, ...]) -> None:
    image: Array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    width, height, rows = _pixels(evidence.png(image))
    assert (width, height) == (3, 2)
    assert rows == b"".join(b"\x00" + row.tobytes() for row in image)
    assert _pixels(evidence.png(image / np.float32(255)))[:2] == (3, 2)


def test_a_large_picture_is_thinned_out() -> None:
    assert _pixels(evidence.png(np.zeros((1000, 500), np.uint8)))[:2] == (32, 63)


def test_flipped_examples_are_shown_with_both_predictions(
    made_up: Report, run_folder: tuple[Path, dict[str, ReferenceModel]]
) -> None:
    folder, models = run_folder
    page = page_of(made_up, Behind.of(folder, made_up, models))
    assert [image["alt"] for image in page.of("img")] == ["Test example 3", "Test example 5"]
    assert all((image["src"] or "").startswith("data:image/png;base64,") for image in page.of("img"))
    assert "#3: 0 → 1" in page.said()
    assert "label 0, lost" in page.said()


def test_no_pictures_of_other_data_or_beyond_the_room_for_them(
    made_up: Report, run_folder: tuple[Path, dict[str, ReferenceModel]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, models = run_folder
    other = made_up.model_copy(update={"data_sha256": {"m1": "e"}})
    page = page_of(other, Behind.of(folder, other, models))
    assert not page.of("img")
    assert "1000000" in page.said()  # the examples are still listed
    monkeypatch.setattr(evidence, "MOST_BYTES", 10)
    page = page_of(made_up, Behind.of(folder, made_up, models))
    assert not page.of("img")
    assert "Pictures of 1 cells are left out" in page.said()


def test_the_command_writes_the_page_of_a_report_alone(made_up: Report, tmp_path: Path) -> None:
    import subprocess

    made_up.cells = [one for one in made_up.cells if one.model in ("m1", "m2")]  # others are refused when they are read
    write_json(tmp_path / "report.json", made_up)
    call = command("report", str(tmp_path), "--html", str(tmp_path / "page.html"), "--model-dir", str(tmp_path))
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "no pictures" in done.stderr
    page = (tmp_path / "page.html").read_text()
    assert page.count('<details class="cell">') == len(made_up.cells)
    assert "holds no evidence" in page


def waiting(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="later">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    loaded: dict[str, Any] = json.loads(found[1])
    return loaded


def test_a_large_page_keeps_most_of_itself_as_data(large: Report) -> None:
    text = html.render(large, Behind())
    kept = waiting(text)
    assert text.partition('id="later"')[0].count("<tr data-model=") == 4
    assert "".join(kept["rows"]).count("<tr data-model=") == 5
    here = {attributes.get("id") for _, attributes in Page(text).tags}
    assert {one.id for one in large.cells} <= here | {*kept["cells"]}
    assert not here & {*kept["cells"]}
    assert any("Drop against size" in one for one in kept["folds"])  # the charts of further models
    page = Page(text)
    assert len(page.of("script")) == 2
    assert not page.of("img")  # what waits holds the names that attack, and stays data
