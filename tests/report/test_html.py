"""The page: everything is there, and nothing foreign runs or loads. What a browser makes of it: test_html_browser."""

import base64
import hashlib
import json
import re
import struct
import xml.etree.ElementTree as ElementTree
import zlib
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from conftest import ROOT, command
from jinja2 import UndefinedError
from made_up_pages import HOSTILE, Page, cell, judgement, report, timed
from pydantic import BaseModel
from quantbench.core.arrays import Array
from quantbench.records import Action, Census, Evidence, Report, Verdict, write_json
from quantbench.reference.model import ReferenceModel
from quantbench.report import chart_data, evidence, formatting, markdown, plots, targets
from quantbench.report.evidence import Behind
from quantbench.report.html import cells, templating
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
    assert "5 cells are shown as an outline only" in text
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
    for tag in ("style", "script"):
        [content] = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
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
    assert "inspect: <code>quantbench inspect m1/b</code>" in text
    assert "400,000" in said and "bytes" in said  # noqa: PT018
    assert "0.800 ± 0.010" in said
    assert "87.00 %" in said
    assert "The 1 % false-alarm rate" in said


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


def test_changes_within_tolerance_are_folded_away(made_up: Report) -> None:
    """The gzip size that moved by two bytes is no finding; it is counted, and listed behind a toggle."""
    for one in made_up.cells:
        one.judgements = []
    made_up.cells[0].judgements = [
        judgement("m1/float32", Verdict.PASS, 0.3, measurement="gzip_size"),
        judgement("m1/float32", Verdict.PASS, 0.2, measurement="size"),
    ]
    quiet = html._changed(made_up, Later(large=False))
    assert quiet.startswith("<p>Nothing beyond its tolerance.</p>")
    assert "<details><summary>2 values changed within tolerance</summary>" in quiet
    made_up.cells[0].judgements.append(judgement("m1/float32", Verdict.REGRESSED, 9.0))
    changed = html._changed(made_up, Later(large=False))
    shown, folded = changed.split("<details>")
    assert "+9.00 pp" in shown
    assert shown.count("<li>") == 1
    assert folded.count("<li>") == 2
    assert formatting.within_tolerance(made_up) == 2
    assert "- 2 values changed within tolerance" in markdown.render(made_up)


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
        (3_070_219.0, "instructions", "3,070,219 instructions"),
        (2.2e-8, "pp", "0 pp"),
        (None, "pp", ""),
    ],
)
def test_changes_have_the_unit_that_they_are_meant_in(value: float | None, unit: str, shown: str) -> None:
    assert cells._amount(value, unit) == shown


def test_charts_draw_from_numbers_as_exact_as_tables_show_them(made_up: Report) -> None:
    by_id = {one.id: one for one in made_up.cells}
    red = by_id["m1/b"]
    red.judgements[1].change = 3.00499
    assert chart_data.drop_of(red, by_id) == 3.0
    red.judgements.clear()  # without a floor, what was measured
    assert chart_data.drop_of(red, by_id) == pytest.approx(3.0)
    assert formatting.drop(red, by_id) == "+3.00 pp"
    red.measurements["score"].value = float("nan")
    assert chart_data.drop_of(red, by_id) is None
    assert chart_data.drop_of(by_id["m1/float32"], by_id) == 0.0


def test_a_drop_is_not_read_out_of_words(made_up: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    before = html.scatters("m1", made_up.cells[:3], {one.id: one for one in made_up.cells})
    monkeypatch.setattr(formatting, "drop", lambda cell, cells: "no number")
    assert html.scatters("m1", made_up.cells[:3], {one.id: one for one in made_up.cells}) == before


def test_one_example_that_is_equal_everywhere_still_gets_a_chart() -> None:
    made = report([cell("m", "float32", 0.9, 1000), cell("m", "a", 0.9, 1000)])
    drawn = html._charts_of({"m": made.cells}, {one.id: one for one in made.cells})
    assert drawn.count("<svg viewBox") == 2 + 3  # and the shapes of the legend
    assert not re.search(r"nan|inf\b", drawn)


def test_latency_distributions_are_drawn_and_told_where_the_record_holds_them() -> None:
    inside = cells.details(timed(), {}, Behind(), [])
    assert "median 12.1 µs (95 %: 12.0 to 12.2); p90 13.5 µs" in inside
    assert "p99 20.0 µs (95 %: 16.0 to ∞); a typical call 11.8 to 12.6 µs in 3 processes" in inside
    assert inside.count('class="process" d="M') == 2  # the marks of the processes, and their legend
    assert 'class="p99"' in inside
    assert "<h4>Latency</h4>" not in cells.details(cell("m", "a", 0.9, 1000), {}, Behind(), [])
    together = html.latencies("m1", [timed(), timed("m1/b"), cell("m1", "c", 0.9, 1000)])
    assert together is not None
    assert [group.cell for group in together.groups if group.cell] == ["m1/a", "m1/b"]
    assert not re.search(r"nan|inf\b", repr(together.groups))
    assert html.latencies("m1", [timed()]) is None
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
    assert "label 0, newly wrong" in page.said()


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
    assert "has no evidence" in page


def waiting(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/octet-stream" id="later">([A-Za-z0-9+/=]+)</script>', page)
    assert found is not None
    loaded: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(found[1])))
    return loaded


def test_a_large_page_keeps_most_cells_of_other_machines_as_data(
    large: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All 10,000 in a table took a browser four times as long as the rest of the page."""
    monkeypatch.setattr(targets, "rows", lambda _: [[f"m/there{number}"] for number in range(7)])
    text = html.render(large, Behind())
    assert [f"m/there{number}" in text for number in range(7)] == 4 * [True] + 3 * [False]
    assert any(fold.count("m/there") == 3 for fold in waiting(text)["folds"])
    assert "3 more cells" in text


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


def _attacked(record: Any) -> Any:
    """The record with words that attack in each of its free texts; None where it has none."""
    if isinstance(record, str) and not isinstance(record, StrEnum):
        return HOSTILE
    if isinstance(record, list):
        return [_attacked(one) for one in record]
    if isinstance(record, dict):
        return {name: _attacked(one) for name, one in record.items()}
    if isinstance(record, BaseModel):
        fields = {name: _attacked(getattr(record, name)) for name in type(record).model_fields}
        return record.model_copy(update=fields)  # unchecked: a reader would refuse them
    return record


def test_words_that_attack_are_escaped_in_every_field_that_a_page_shows(made_up: Report) -> None:
    one, red, failed = timed("m1/a"), made_up.cells[2], made_up.cells[5]
    made_of: dict[str, Any] = {
        "constants": {},
        "scales": 0,
        "activations": {},
        "inputs": [],
        "outputs": [],
        "compute": [],
    }
    one.census = Census.model_validate(made_of | {"operators": {HOSTILE: {"float": 1}}})
    ranged = {"tensor": "t", "dtype": "int8", "granularity": "per-tensor", "low": -1, "high": 1, "constant": False}
    kept = {"flipped": [1], "range_method": "m", "ranges": [ranged]}
    whole = report([one, timed("m1/c"), cell("m1", "float32", 0.9, 4000), red, failed], notes=["n"])
    attacked = _attacked(whole)
    for place, each in enumerate(attacked.cells):  # what names a measurement decides what is drawn
        each.measurements = {HOSTILE: each.measurements["size"]} | each.measurements if each.measurements else {}
        each.control = whole.cells[place].control and f"{place}"
    evidence = {HOSTILE: {HOSTILE: _attacked(Evidence.model_validate(kept))}}
    page = page_of(attacked, Behind(evidence=evidence))
    assert len(page.of("script")) == len(page.of("style")) == 1
    assert not page.of("img")
    assert all(not name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert page.said().count(HOSTILE) > 100
    assert {attributes["class"] for _, attributes in page.tags if "class" in attributes} >= {
        "strip",
        "judged",
        "mark ptq",
    }


@pytest.mark.parametrize("large", [False, True])
def test_characters_that_are_orders_are_shown_on_every_part_of_a_page(
    large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = "a\x1b[2J\u202eb\ud800\x00"
    if large:
        monkeypatch.setattr(html.deferred, "WHOLE_PAGE", 0)
        monkeypatch.setattr(html, "MOST_LISTED", 0)
    one = cell(orders, orders, 0.8, 4000, Verdict.REGRESSED, family=orders, exceptions=[orders])
    one.judgements[0].actions = [Action(what=orders, command=["quantbench", orders])]
    float32 = cell(orders, "float32", 0.9, 9000)
    latencies = [timed(f"{orders}/{name}") for name in ("c", "d")]
    text = html.render(report([one, float32, *latencies], notes=[orders]), Behind())
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e\ud800-\udfff]", text)
    assert text.count("a\\x1b[2J") > 10
    if large:
        known = waiting(text)["cells"]
        links = {unquote(link["href"] or "").removeprefix("#") for link in Page(text).of("a")}
        assert known and {name for name in links if "/" in name} <= known.keys()  # noqa: PT018
        assert not re.search("[\x00-\x08\x0b-\x1f\u202e\ud800-\udfff]", "".join(known))


def test_a_picture_of_its_own_escapes_too() -> None:
    title = templating.picture(plots.sheet(HOSTILE, [plots.trend(HOSTILE, [1, 2], [1.0, 2.0], ".2f", [(2, HOSTILE)])]))
    root = ElementTree.fromstring(title)
    assert root.get("aria-label") == HOSTILE
    assert not [one for one in root.iter() if one.tag.endswith(("script", "img"))]
    assert "var(" not in title  # few programs but browsers know variables in a picture


def test_a_template_asks_for_nothing_that_it_is_not_given_and_trusts_nothing() -> None:
    with pytest.raises(UndefinedError):
        templating.fragment("lines.html.j2")
    assert templating.environment().autoescape is True
    folder = Path(templating.__file__).parent / "templates"
    for path in folder.iterdir():
        assert "safe" not in re.findall(r"\|\s*(\w+)", path.read_text()), path
        if path.name != "plot.svg.j2":  # whose numbers are our own, and whose words are escaped by name
            assert "autoescape" not in path.read_text(), path
    assert re.findall(r"{{ text.*?}}", (folder / "plot.svg.j2").read_text()) == ["{{ text|e }}"]
