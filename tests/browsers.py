"""A real browser for tests of pages, and what a page did in it."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


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
