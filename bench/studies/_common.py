"""Share what several studies need: artifacts from the user's store, and a description of the machine."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from quantbench.build import artifact as build
from quantbench.build.store import Store, default_root
from quantbench.core import environment
from quantbench.core.output import native_output_to
from quantbench.errors import BadInput
from quantbench.reference.model import ReferenceModel
from quantbench.variants import VARIANTS
from tabulate import tabulate


def artifact(model: ReferenceModel, variant: str, store: Store | None = None) -> Path:
    """Return the artifact of a cell, from the store or made now. Raises BadInput where the tools refuse it."""
    built = build.artifact(model, VARIANTS[variant], 0, None, store or Store(default_root()))
    if built.path is None:
        raise BadInput(f"{model.name}/{variant}: the tools refuse it: {built.refusal}")
    return built.path


@contextmanager
def chromium() -> Iterator[Any]:
    """Start a browser; yield None where there is none."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        executable = None
    if executable is None:
        yield None
        return
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield browser
        browser.close()


def machine() -> str:
    """Describe the machine in one line: CPU, cores, packages, and its current load."""
    here = environment.collect()
    return f"{environment.describe(here)}; {here.cores} cores, load average {os.getloadavg()[0]:.1f} at the start."


def quietly(main: Callable[[], None]) -> None:
    """Run a study's command, without the output of native libraries."""
    log = default_root() / "studies.log"
    log.unlink(missing_ok=True)
    with native_output_to(log):
        main()


def table(headers: list[str], rows: Iterable[list[str]]) -> str:
    """Format a Markdown table of text cells."""
    return tabulate(list(rows), headers=headers, tablefmt="github", disable_numparse=True)


def write(folder: Path, name: str, parts: list[str]) -> None:
    """Print a report, and write it to ``folder``."""
    text = "\n\n".join(parts) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    print(text)
