"""The page: everything is there, nothing foreign runs or loads, and a real browser sorts, filters and links."""

import re
import shutil
import struct
import zlib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from conftest import ROOT, command

from bench.datasets import Array, Pack, Split
from bench.records import (
    Cell,
    Environment,
    Evidence,
    Failure,
    FalseAlarms,
    Judgement,
    Kind,
    Measurement,
    Report,
    Verdict,
    write_json,
)
from bench.reference import ReferenceModel
from bench.report import behind, html, html_cells, html_charts, words
from bench.report.behind import Behind

HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(2)>&amp;' </style>"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def judgement(cell_id: str, verdict: Verdict, change: float = 0.0, **more: Any) -> Judgement:
    fields: dict[str, Any] = {"kind": Kind.ACCURACY, "measurement": "score", "against": "baseline", "unit": "pp"} | more
    message = f"{cell_id}: accuracy moved by {change:+.2f} pp"
    return Judgement(verdict=verdict, change=change, tolerance=0.5, message=message, **fields)


def cell(model: str, variant: str, score: float, size: float, verdict: Verdict = Verdict.PASS, **more: Any) -> Cell:
    name = f"{model}/{variant}"
    measured = {
        "score": Measurement(value=score, unit="fraction", n=1000),
        "size": Measurement(value=size, unit="bytes", n=1),
        "gzip_size": Measurement(value=size / 2, unit="bytes", n=1),
        "latency": Measurement(value=size / 1000, unit="µs", n=5, spread=0.5, spread_of="fresh processes"),
        "latency_ratio": Measurement(value=0.8, unit="ratio to float32", n=4, spread=0.02, spread_of="fresh processes"),
    }
    control = None if variant == "float32" else "float32"
    found = [judgement(name, verdict, 0.4 if verdict is not Verdict.PASS else 0.0)]
    if control:
        found.append(judgement(name, Verdict.PASS, 100 * (0.9 - score), against="floor"))
    fields: dict[str, Any] = {"family": "ptq" if control else "control", "verdict": verdict, "judgements": found} | more
    return Cell(
        id=name, model=model, variant=variant, control=control, metric="accuracy", metric_unit="pp",
        verdicts={Kind.ACCURACY: verdict}, measurements=measured, **fields,
    )  # fmt: skip


def report(cells: list[Cell], status: int = 0, **more: Any) -> Report:
    environment = Environment(
        python="3.11",
        os="Linux",
        cpu="CPU",
        isa="abc",
        cores=2,
        memory_gib=8,
        packages={"numpy": "2"},
        machine_class="m",
    )
    return Report(
        run="2026-01-01", started="2026-01-01", seconds=1, state="complete", exit_status=status, selection="",
        environment=environment, false_alarms=FalseAlarms(budget=0.01, judgements=3, share=0.003), cells=cells, **more,
    )  # fmt: skip


@pytest.fixture
def made_up() -> Report:
    """Nine cells: one red with an action, one that failed, one with names that attack."""
    action = "look closer: quantbench inspect m1/b; what was trained is not what is shipped"
    red = cell("m1", "b", 0.87, 90_000, Verdict.REGRESSED)
    red.judgements[0].action = action
    failed = Cell(
        id="m2/failed", model="m2", variant="failed", family="qat", control="float32", metric="accuracy",
        metric_unit="pp", verdict=Verdict.ERROR, failure=Failure(what="crash", reason="no <b>memory</b>", log=HOSTILE),
        judgements=[judgement("m2/failed", Verdict.ERROR, change=0.0)],
    )  # fmt: skip
    cells = [cell("m1", "float32", 0.9, 400_000), cell("m1", "a", 0.901, 100_000), red]
    cells += [cell("m2", "float32", 0.8, 300_000), cell("m2", "a", 0.795, 80_000, Verdict.WARN), failed]
    cells += [cell(HOSTILE, HOSTILE, 0.7, 10_000, Verdict.WARN, exceptions=[HOSTILE], overlay=HOSTILE, family=HOSTILE)]
    cells += [cell(HOSTILE, "float32", 0.9, 20_000), cell("m3", "1 %2F#?é", 0.9, 20_000)]
    return report(cells, status=1, notes=[HOSTILE])


class Page(HTMLParser):
    """What a parser finds in a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def said(self) -> str:
        return " ".join(self.text)


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
    assert words.STATUS_WORDS[1] in said
    for _cell, verdict, _messages, _actions in words.attention(made_up):
        assert words.MARKS[verdict] in said
    text = html.render(made_up, Behind())
    assert text.index("What needs attention") < text.index("What changed") < text.index('class="cells"')
    assert "look closer: <code>quantbench inspect m1/b</code>" in text
    assert "400,000" in said and "bytes" in said  # noqa: PT018
    assert "0.800 ± 0.010" in said
    assert "87.00 %" in said
    assert "False-alarm budget 1 %" in said


def test_half_a_surrogate_pair_in_a_name_is_written_as_something_else(tmp_path: Path) -> None:
    made = report([cell("m\ud800", "float32", 0.9, 1000)])
    html.write(tmp_path / "page.html", made, tmp_path, {})
    assert 'id="m?/float32"' in (tmp_path / "page.html").read_text()


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
    changed = html._changed(made_up)
    assert changed.count("m1/float32</a>") == 1
    assert "+0.25 pp" in changed


def test_the_front_is_what_nothing_else_beats(made_up: Report) -> None:
    one = made_up.cells[0]
    points = [html_charts.Point(one, x, y) for x, y in [(1, 5), (2, 5), (2, 3), (3, 4), (4, 1), (5, 1)]]
    assert [(point.x, point.drop) for point in html_charts.front(points)] == [(1, 5), (2, 3), (4, 1)]


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (0.031, "ratio", "3.1 %"),
        (0.00919, "ratio to float32", "0.00919"),
        (0.05, "fraction", "5 pp"),
        (1234.4, "bytes", "1,234 bytes"),
        (2.2e-8, "pp", "0 pp"),
        (None, "pp", ""),
    ],
)
def test_changes_have_the_unit_that_they_are_meant_in(value: float | None, unit: str, shown: str) -> None:
    assert html_cells._amount(value, unit) == shown


@pytest.mark.parametrize(
    ("shown", "number"), [("-0.04 pp", -0.04), ("1,188.9", 1188.9), ("", None), ("+1e-05 units", 1e-5), ("∅", None)]
)
def test_charts_take_their_numbers_from_what_tables_show(shown: str, number: float | None) -> None:
    assert html_charts.leading_number(shown) == number


def test_one_example_that_is_equal_everywhere_still_gets_a_chart() -> None:
    made = report([cell("m", "float32", 0.9, 1000), cell("m", "a", 0.9, 1000)])
    drawn = html_charts.scatters("m", made.cells, {one.id: one for one in made.cells})
    assert drawn.count("<svg") == 2
    assert not re.search(r"nan|inf\b", drawn)


def _pixels(data: bytes) -> tuple[int, int, bytes]:
    width, height = struct.unpack(">II", data[16:24])
    length = struct.unpack(">I", data[33:37])[0]
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    return width, height, zlib.decompress(data[41 : 41 + length])


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 1), (2, 3, 3)])
def test_a_picture_is_a_png_of_its_pixels(shape: tuple[int, ...]) -> None:
    image: Array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    width, height, rows = _pixels(behind.png(image))
    assert (width, height) == (3, 2)
    assert rows == b"".join(b"\x00" + row.tobytes() for row in image)
    assert _pixels(behind.png(image / np.float32(255)))[:2] == (3, 2)


def test_a_large_picture_is_thinned_out() -> None:
    assert _pixels(behind.png(np.zeros((1000, 500), np.uint8)))[:2] == (32, 63)


@pytest.fixture
def run_folder(
    tmp_path: Path, made_up: Report, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, dict[str, ReferenceModel]]:
    """A run whose cell m1/b flipped examples 3 and 5, and the model with its images."""
    for name in ("evidence", "predictions"):
        (tmp_path / name).mkdir()
    evidence = Evidence(flipped=[3, 5, 10**6], range_method="min-max").model_dump_json()
    (tmp_path / "evidence" / "m1.json").write_text(f'{{"b": {evidence}}}')
    (tmp_path / "evidence" / "m2.json").write_text("{")  # damaged: the page is made all the same
    labels = np.arange(10) % 3
    new = labels.copy()
    new[[3, 5]] += 1
    np.savez(tmp_path / "predictions" / "m1.npz", float32=labels, b=new)
    made_up.data_sha256 = {"m1": "d"}
    model = ReferenceModel(
        name="m1", description="", weights="", weights_sha256="", data="", data_sha256="d", floors={}
    )
    pack = Pack(None, None, Split(np.zeros((10, 8, 8), np.uint8), labels), "d")
    monkeypatch.setattr(ReferenceModel, "pack", lambda self: pack)
    return tmp_path, {"m1": model}


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
    monkeypatch.setattr(behind, "MOST_BYTES", 10)
    page = page_of(made_up, Behind.of(folder, made_up, models))
    assert not page.of("img")
    assert "Pictures of 1 cells are left out" in page.said()


def test_the_command_writes_the_page_of_a_report_alone(made_up: Report, tmp_path: Path) -> None:
    import subprocess

    write_json(tmp_path / "report.json", made_up)
    call = command("report", str(tmp_path), "--html", str(tmp_path / "page.html"), "--model-dir", str(tmp_path))
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "no pictures" in done.stderr
    page = (tmp_path / "page.html").read_text()
    assert page.count('<details class="cell">') == len(made_up.cells)
    assert "holds no evidence" in page


# ------------------------------------------------------------ in a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """The system's Chromium, driven through playwright; the tests that need it are skipped where it is not there."""
    driver = pytest.importorskip("playwright.sync_api", reason="needs playwright (extra: tests)")
    if CHROMIUM is None:
        pytest.skip("needs chromium on the path, e.g. Debian's package of that name")
    with driver.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Watched:
    """A page opened in a browser, with everything that it said or asked for."""

    def __init__(self, browser: Any, path: Path, **how: Any) -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page = browser.new_page(**how)
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: self.said.append(dialog.message))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())

    def column(self, number: int) -> list[str]:
        found: list[str] = self.page.eval_on_selector_all(
            ".cells tbody tr:not([hidden])", f"rows => rows.map(row => row.cells[{number}].textContent.trim())"
        )
        return found


@pytest.fixture
def opened(browser: Any, made_up: Report, tmp_path: Path) -> Watched:
    html.write(tmp_path / "page.html", made_up, tmp_path, {})
    return Watched(browser, tmp_path / "page.html")


@pytest.mark.slow
def test_in_a_browser_the_table_sorts_by_click_and_by_keyboard(opened: Watched) -> None:
    page = opened.page
    size = html.COLUMNS.index("size, KiB")
    head = page.locator(".cells thead th").nth(size)
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    values = [float(value.replace(",", "")) for value in opened.column(size) if value]
    assert values == sorted(values)
    assert opened.column(size)[-1] == ""  # what failed has no size, and stays last
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    values = [float(value.replace(",", "")) for value in opened.column(size) if value]
    assert values == sorted(values, reverse=True)
    assert opened.column(size)[-1] == ""
    verdict = page.locator(".cells thead th").nth(html.COLUMNS.index("verdict"))
    verdict.locator("button").click()
    assert opened.column(3)[-1] == "✗ REGRESSED"
    assert page.locator("th[aria-sort]").count() == 1
    assert opened.said == []


@pytest.mark.slow
def test_in_a_browser_the_table_filters(opened: Watched) -> None:
    page = opened.page
    page.locator(".filters input").fill("M1/ /a")
    assert opened.column(1) == ["a"]
    assert page.locator(".filters output").inner_text() == "1 of 9 cells"
    page.locator(".filters .reset").click()
    page.locator('select[data-of="model"]').select_option("m2")
    page.locator('select[data-of="verdict"]').select_option("warn")
    assert opened.column(1) == ["a"]
    page.locator('select[data-of="verdict"]').select_option("")
    page.locator('select[data-of="model"]').select_option(HOSTILE)
    assert len(opened.column(1)) == 2
    assert opened.said == []


@pytest.mark.slow
@pytest.mark.parametrize("number", range(9))
def test_in_a_browser_a_link_unfolds_its_cell(opened: Watched, made_up: Report, number: int) -> None:
    page, wanted = opened.page, made_up.cells[number].id
    page.locator(".cells tbody a").nth(number).click()
    unfolded = page.eval_on_selector_all("details.cell[open] .inside", "found => found.map(one => one.id)")
    assert unfolded == [wanted]
    assert opened.said == []
    page.reload()  # as somebody opens it who was sent the address
    assert page.eval_on_selector_all("details.cell[open] .inside", "found => found.map(one => one.id)") == [wanted]


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_a_browser_nothing_is_asked_of_the_network_and_a_phone_does_not_scroll_sideways(
    browser: Any, made_up: Report, run_folder: tuple[Path, dict[str, ReferenceModel]], scheme: str
) -> None:
    folder, models = run_folder
    html.write(folder / "page.html", made_up, folder, models)
    opened = Watched(browser, folder / "page.html", color_scheme=scheme, viewport={"width": 390, "height": 800})
    opened.page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    opened.page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    asked = [url for url in opened.asked if not url.startswith("data:")]
    assert asked == [(folder / "page.html").as_uri()]
    assert opened.said == []
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert opened.page.evaluate("Array.from(document.images).every(one => one.naturalWidth === 8)")
