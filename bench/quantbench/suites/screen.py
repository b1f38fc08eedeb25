"""Show a run of ``quantbench run`` on one screen: a line a cell, then what needs attention, and the verdict last.

Whoever starts pytest itself on the suites gets pytest's own screen. What pytest finds wrong, such as an exception in a
test, is shown in every case.
"""

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from quantbench.core.echo import plain
from quantbench.engine.plan import ALONE
from quantbench.engine.progress import JudgedLines, Progress, Silent
from quantbench.engine.session import Session
from quantbench.errors import BadInput
from quantbench.records import Report, Verdict
from quantbench.report.github_annotations import annotations, on_github

SCREEN = "quantbench-screen"
# With these pytest shows what was asked for instead of running it.
_LISTING = {"--collect-only", "--co", "--fixtures", "--markers", "--help", "--version", "--cache-show"}
_RED = tuple(f"{verdict.upper()} " for verdict in (Verdict.REGRESSED, Verdict.MISSING, Verdict.ERROR))


class Screen:
    """Take the place of pytest's own screen.

    Args:
        quiet: whether to show the verdict alone.
        verbose: whether to show pytest's screen as well, every cell and every note.
        explain: turns pytest's message on a wrong command line into one sentence.

    Attributes:
        report: of the run, once it has ended; None where nothing was run.
        folder: of the run.
    """

    __name__ = SCREEN  # pytest's registry calls a plugin by it

    def __init__(self, quiet: bool, verbose: bool, explain: Callable[[str], str]) -> None:
        self.report: Report | None = None
        self.folder = Path()
        self._quiet = quiet
        self._verbose = verbose
        self._explain = explain
        self._session: Session | None = None

    def arguments(self, given: Sequence[str]) -> list[str]:
        """Return the options that make pytest say less, or more.

        Args:
            given: the user's own words for pytest.
        """
        if self._verbose:
            return ["-v"]
        if _LISTING & set(given):
            return ["-q"] if self._quiet else []
        asked = any(word.startswith("--benchmark-") for word in given)
        return ["-qq", "--disable-warnings", *([] if asked else ["--benchmark-quiet"])]

    def watch(self, session: Session, bar: Callable[[], Progress | None], say: Callable[[str], None]) -> Progress:
        """Take a run that begins, and return how to show its progress.

        Args:
            bar: makes a bar where there is a terminal for one.
            say: prints a line.
        """
        self._session = session
        if self._quiet:
            return Silent()
        return bar() or JudgedLines(say, verbose=self._verbose)

    # ------------------------------------------------------------ pytest's hooks

    @pytest.hookimpl(wrapper=True)
    def pytest_cmdline_parse(self) -> Generator[None, Any, Any]:
        """Refuse a wrong command line with our sentence."""
        return (yield from self._refusing())

    @pytest.hookimpl(wrapper=True)
    def pytest_cmdline_main(self) -> Generator[None, Any, Any]:
        """Refuse wrong input with our sentence."""
        return (yield from self._refusing())

    def _refusing(self) -> Generator[None, Any, Any]:
        try:
            return (yield)
        except pytest.UsageError as error:
            raise BadInput(self._explain("\n".join(str(part) for part in error.args))) from None

    @pytest.hookimpl(wrapper=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> Generator[None, Any, Any]:
        """Judge cell by cell, so that each has its verdict as early as possible; what is timed stays last."""
        result = yield
        order: dict[Any, int] = {}
        items.sort(key=lambda item: (1, 0) if _alone(item) else (0, order.setdefault(_cell(item), len(order))))
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_report_teststatus(self, report: pytest.CollectReport | pytest.TestReport) -> Generator[None, Any, Any]:
        """Print no letters, and leave failures that are verdicts to the summary."""
        status = yield
        if self._verbose or not status:
            return status
        if report.failed and str(report.longrepr).startswith(_RED):
            return ("judged", "", "")
        return status if report.failed else (status[0], "", "")

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, Any, Any]:
        """Print the summary after everything else, so that the verdict is the last line."""
        with _without_blank_lines(session.config) if self._quiet else nullcontext():
            result = yield
        if self._session is not None and self._session.planned:
            self._tell(session.config, self._session)
        return result

    def _tell(self, config: pytest.Config, run: Session) -> None:
        from quantbench.report.formatting import headline
        from quantbench.report.terminal import summary

        self.report, self.folder = run.report, Path(run.folder.path)
        writer = config.get_terminal_writer()
        if on_github(os.environ) and run.report.shard is None:
            for command in annotations(run.report, _files(run), Path.cwd()):
                writer.line(command)
        if self._quiet:
            writer.line(plain(headline(run.report)))
        else:
            writer.line(plain(summary(run.report, self.folder, self._verbose)))


@contextmanager
def _without_blank_lines(config: pytest.Config) -> Iterator[None]:
    """Print no empty line, such as the one that pytest ends with."""
    writer: Any = config.get_terminal_writer()
    usual = writer.line
    writer.line = lambda text="", **markup: usual(text, **markup) if text else None
    try:
        yield
    finally:
        writer.line = usual


def _files(run: Session) -> dict[str, Path]:
    return {name: model.file for name, model in run.models.items()}


def _alone(item: pytest.Item) -> bool:
    return any(item.get_closest_marker(kind.value) is not None for kind in ALONE)


def _cell(item: pytest.Item) -> object:
    return item.callspec.params.get("cell") if hasattr(item, "callspec") else None
