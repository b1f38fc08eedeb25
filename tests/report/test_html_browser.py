"""The pages in a real browser: they sort, filter, link and print, ask nothing of the network, and fit a phone."""

from pathlib import Path
from typing import Any

import pytest
from browsers import Watched, browser
from made_up_pages import HOSTILE
from made_up_runs import answers, cell, measured, side
from quantbench.comparison import compare
from quantbench.records import Failure, Report
from quantbench.reference.model import ReferenceModel
from quantbench.report import comparison
from quantbench.report.html import page as html

__all__ = ["browser"]  # a fixture


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
    all_read(page)
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


@pytest.fixture
def opened_large(browser: Any, large: Report, tmp_path: Path) -> Watched:
    html.write(tmp_path / "page.html", large, tmp_path, {})
    opened = Watched(browser, tmp_path / "page.html")
    all_read(opened.page)
    return opened


_SIZE = f"parseFloat(row.cells[{html.COLUMNS.index('size, KiB')}].textContent.replace(/,/g, ''))"


def all_read(page: Any) -> None:
    """Wait until the page has read what it kept for later."""
    page.locator("#later").wait_for(state="detached")


@pytest.mark.slow
def test_in_a_browser_who_asks_before_all_is_read_is_answered_in_order(
    browser: Any, large: Report, tmp_path: Path
) -> None:
    html.write(tmp_path / "page.html", large, tmp_path, {})
    page = Watched(browser, tmp_path / "page.html").page
    page.add_init_script("window.requestIdleCallback = () => 0")  # so that the page does not read by itself
    page.reload()
    assert page.locator("#later").count() == 1
    page.evaluate(
        """column => {
            for (const _ of [1, 2]) document.querySelectorAll(".cells thead button")[column].click();
            document.querySelector("button.more").click();
        }""",
        html.COLUMNS.index("size, KiB"),
    )
    all_read(page)
    sizes = page.eval_on_selector_all(".cells tbody tr", f"rows => rows.map(row => {_SIZE})")
    assert len(sizes) == 8
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.slow
def test_in_a_browser_a_large_table_sorts_filters_and_lengthens_over_all_its_rows(opened_large: Watched) -> None:
    page, told = opened_large.page, opened_large.page.locator(".filters output")
    assert told.inner_text() == "9 of 9 cells, the first 4 shown"
    page.locator(".cells thead th").nth(html.COLUMNS.index("size, KiB")).locator("button").click()
    sizes = [float(value.replace(",", "")) for value in opened_large.column(html.COLUMNS.index("size, KiB"))]
    assert sizes == sorted(sizes)
    assert sizes[0] == 9.8  # 10,000 bytes: a row that was not in the document
    assert page.eval_on_selector_all(".cells tbody tr", "rows => rows.map(row => row.ariaRowIndex)") == list("2345")
    more = page.locator("button.more")
    more.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")  # the focus is on the first new row's link by now
    assert len(opened_large.column(1)) == 8
    page.locator(".filters input").fill("m3/")
    assert opened_large.column(1) == ["1 %2F#?é"]
    assert told.inner_text() == "1 of 9 cells"
    assert more.is_hidden()
    assert opened_large.said == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 6, 8])
def test_in_a_browser_a_link_brings_a_cell_that_waited(
    opened_large: Watched, made_up: Report, number: int, tmp_path: Path
) -> None:
    page, wanted = opened_large.page, made_up.cells[number]
    page.locator(".filters input").fill(f"{wanted.model}/{wanted.variant}"[:20])
    link = page.locator(".cells tbody tr", has=page.locator("th", has_text=wanted.variant)).first.locator("a")
    link.click()
    open_cells = "found => found.map(one => one.id)"
    assert page.eval_on_selector_all("details.cell[open] .inside", open_cells) == [wanted.id]
    page.reload()  # as somebody opens it who was sent the address
    all_read(page)
    assert page.eval_on_selector_all("details.cell[open] .inside", open_cells) == [wanted.id]
    assert opened_large.said == []


@pytest.mark.slow
def test_in_a_browser_folds_fill_and_paper_gets_every_row(opened_large: Watched) -> None:
    page = opened_large.page
    page.get_by_text("Models 3 to 4 of 4").click()
    page.get_by_role("table", name="Drop vs float32").nth(1).wait_for()  # a fold tells a moment later that it is open
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert len(opened_large.column(1)) == 9
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert len(opened_large.column(1)) == 4
    assert opened_large.said == []


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_a_browser_a_comparison_asks_nothing_and_fits_a_phone(browser: Any, tmp_path: Path, scheme: str) -> None:
    sizes = [cell(measurements={"size": measured(size)}) for size in (1000, 2000)]
    refused = cell("refused", failure=Failure(what="crash", reason=HOSTILE))
    old, new = side([sizes[0], cell("refused", answers(1))]), side([sizes[1], refused])
    (tmp_path / "c.html").write_text(comparison.page(compare(old, new, lambda _model: "unknown")))
    opened = Watched(browser, tmp_path / "c.html", color_scheme=scheme, viewport={"width": 390, "height": 800})
    assert opened.page.get_by_role("cell", name="✗ worse").count() == 2
    assert opened.asked == [(tmp_path / "c.html").as_uri()]
    assert opened.said == []
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 390
