"""The site of nights in a real browser: it says nothing on the console, asks for nothing else, and its parts work."""

from pathlib import Path
from typing import Any

import pytest
from browsers import Watched, browser
from quantbench.comparison.history import read_history
from quantbench.report.site import facts, pages
from studies.long_history import make

__all__ = ["browser"]  # a fixture

NIGHTS, CELLS = 60, 41  # half of them red in cells 0, 20 and 40


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    make(folder / "runs", NIGHTS, CELLS)
    history = read_history(folder / "runs")
    newest = history.folders[-1]
    (folder / "runs" / newest / "report.html").write_text("<title>a report</title>")
    pages.write(folder / "out", facts.site(history, {newest: f"../runs/{newest}/report.html"}))
    return folder / "out"


@pytest.fixture
def opened(browser: Any, site: Path) -> Watched:
    return Watched(browser, site / "index.html")


def rows(opened: Watched) -> list[str]:
    found: list[str] = opened.page.eval_on_selector_all(
        ".matrix tr[data-cell]", "rows => rows.map(row => row.dataset.cell)"
    )
    return found


def shown(opened: Watched) -> str:
    return str(opened.page.locator(".filters output").inner_text())


@pytest.mark.slow
def test_in_a_browser_the_newest_nights_are_shown_and_older_ones_are_a_click_away(opened: Watched) -> None:
    page = opened.page
    assert page.locator(".matrix thead th").nth(1).inner_text() == "2023-03-01"
    assert page.locator(".matrix tr[data-cell]").first.locator("td").first.inner_text() == "✗"
    assert shown(opened).endswith(f"(45 of {NIGHTS})")
    assert page.locator(".newer").is_disabled()
    page.locator(".older").focus()
    page.keyboard.press("Enter")
    assert shown(opened) == f"{CELLS} of {CELLS} cells; nights 2023-01-01 to 2023-01-15 (15 of {NIGHTS})"
    assert page.locator(".older").is_disabled()
    assert page.locator(".matrix tr[data-cell]").first.locator("td").first.inner_text() == "✓"
    page.locator(".reset").click()
    assert shown(opened).endswith(f"(45 of {NIGHTS})")
    assert opened.said == []


@pytest.mark.slow
def test_in_a_browser_cells_are_filtered_by_name_and_by_what_is_red(opened: Watched) -> None:
    page = opened.page
    assert len(rows(opened)) == CELLS
    page.locator(".filters input").fill("MADE V02")
    assert rows(opened) == [f"made_up/v{number:03d}" for number in range(20, 30)]
    page.locator(".filters select").select_option("red")
    assert rows(opened) == ["made_up/v020"]
    page.locator(".filters input").fill("")
    assert rows(opened) == ["made_up/v000", "made_up/v020", "made_up/v040"]
    assert opened.said == []


@pytest.mark.slow
def test_in_a_browser_a_cell_s_page_opens_and_leads_back(opened: Watched, site: Path) -> None:
    page = opened.page
    page.locator(".matrix tr[data-cell='made_up/v020'] th a").click()
    assert page.url == (site / "cells" / "made_up" / "v020.html").as_uri()
    assert page.locator("header h1").inner_text() == "✗ made_up/v020"
    assert page.locator("figure svg").count() == 7
    page.locator("table.newest tbody a").first.click()
    assert page.title() == "a report"
    page.go_back()
    page.get_by_text("← All cells and nights").click()
    assert page.url == (site / "index.html").as_uri()
    assert opened.said == []


@pytest.mark.slow
def test_in_a_browser_a_night_leads_to_its_report_and_a_mark_to_what_moved(opened: Watched) -> None:
    page = opened.page
    page.locator(".matrix a", has_text="◆").first.click()
    moved = page.locator("tr:target")
    assert "tensorflow 2.20.0 → 2.21.0" in moved.inner_text()
    page.locator(".matrix thead a").first.click()
    assert page.title() == "a report"
    assert opened.said == []


@pytest.mark.slow
def test_in_a_browser_a_square_says_what_it_is(opened: Watched) -> None:
    opened.page.locator(".matrix tr[data-cell='made_up/v020'] td").first.hover()
    said = opened.page.locator(".pointed").inner_text()
    assert said == "made_up/v020, night 2023-03-01T00-00-00Z: regressed"


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("page", ["index.html", "cells/made_up/v020.html"])
def test_in_a_browser_nothing_is_asked_for_and_a_phone_does_not_scroll_sideways(
    browser: Any, site: Path, page: str, scheme: str
) -> None:
    opened = Watched(browser, site / page, color_scheme=scheme, viewport={"width": 390, "height": 800})
    opened.page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    assert opened.asked == [(site / page).as_uri()]
    assert opened.said == []
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.slow
def test_without_javascript_all_but_the_table_of_nights_is_there(browser: Any, site: Path) -> None:
    opened = Watched(browser, site / "index.html", java_script_enabled=False)
    assert opened.page.locator(".filters").is_hidden()
    assert opened.page.get_by_role("link", name="made_up/v020").first.is_visible()
    opened.page.goto((site / "cells/made_up/v020.html").as_uri())
    assert opened.page.locator("figure svg").first.is_visible()
