"""Offer the gate to the tests of any repository: the fixtures ``quantbench`` and ``quantbench_cell``, and a marker.

pytest loads this in every session of an environment that has quantbench (entry point ``pytest11``), so that it imports
pytest and the standard library alone, and does nothing unless a test asks.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from quantbench.suites.checks import Checks, Shared

SHARED: "pytest.StashKey[Shared]" = pytest.StashKey()
REPORTS: "pytest.StashKey[list[str]]" = pytest.StashKey()
CELL, FIXTURE = "quantbench_cell", "quantbench"
# Key of what a process of pytest-xdist tells the one that started it.
TOLD = "quantbench_reports"
SUITES = "quantbench.suites"
MARKER = (
    'quantbench(models="...", variants="..."): run the test once for each of these cells, comma-separated or lists; '
    f"all that the models gate where left out. The fixture {CELL} is the cell's name"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("quantbench").addoption(
        "--quantbench",
        dest="quantbench_set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="setting for the checks of this session, e.g. model_dir=ml/models; repeatable; counts before the config",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config, args: list[str]) -> None:
    """Load what the suites need for ``pytest --pyargs quantbench.suites``, before their options are read."""
    asked = any(word.partition("::")[0] == SUITES or word.startswith(f"{SUITES}.") for word in args)
    plugin = f"{SUITES}.plugin"
    if asked and "--pyargs" in args and not early_config.pluginmanager.has_plugin(plugin):
        early_config.pluginmanager.import_plugin(plugin)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", MARKER)


class Refused(str):
    """Stand for the cells of a test whose marker or settings are wrong: the sentence that it fails with."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if CELL not in metafunc.fixturenames:
        return
    from quantbench.core.echo import line
    from quantbench.errors import BadInput
    from quantbench.suites.checks import cells_of

    try:
        names: list[str] = cells_of(metafunc)
    except BadInput as error:  # of this test alone: an error of the collection would end the session
        metafunc.parametrize(CELL, [Refused(line(str(error)))], ids=["refused"])
    else:
        metafunc.parametrize(CELL, names, ids=names)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """Fail a test of which the marker, or a setting, is wrong, before it runs."""
    callspec = getattr(item, "callspec", None)
    cell = callspec.params.get(CELL) if callspec is not None else None
    if isinstance(cell, Refused):
        pytest.fail(str(cell), pytrace=False)
    marker, fixtures = item.get_closest_marker(FIXTURE), getattr(item, "fixturenames", ())
    labels_alone = marker is not None and FIXTURE in fixtures and not (marker.args or marker.kwargs)
    if marker is not None and CELL not in fixtures and not labels_alone:
        pytest.fail(
            f"@pytest.mark.{FIXTURE}: the test does not take {CELL}, so that it checks none of these cells; write "
            f"def {getattr(item, 'originalname', None) or item.name}({FIXTURE}, {CELL}): {FIXTURE}.check({CELL})",
            pytrace=False,
        )


@pytest.fixture
def quantbench(request: pytest.FixtureRequest) -> "Checks":
    """Check cells of this repository's models against their baselines: ``quantbench.check("kws", "ptq_float16")``."""
    from quantbench.suites.checks import Checks, shared_by

    stash = request.config.stash
    if SHARED not in stash:
        stash[SHARED] = shared_by(request.config, request.session.items)
    return Checks(stash[SHARED], request.node)


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Iterator[None]:
    config = session.config
    if (shared := config.stash.get(SHARED, None)) is not None:
        cut_short = bool(session.shouldfail or session.shouldstop)
        shared.finish(exitstatus == pytest.ExitCode.INTERRUPTED, cut_short)
        reports = [str(path) for path in shared.reports]
        config.stash.setdefault(REPORTS, []).extend(reports)
        if hasattr(config, "workeroutput"):
            config.workeroutput[TOLD] = reports
    return (yield)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take the reports of a process of pytest-xdist that has ended."""
    told = getattr(node, "workeroutput", {}).get(TOLD, [])
    node.config.stash.setdefault(REPORTS, []).extend(told)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if reports := config.stash.get(REPORTS, []):
        terminalreporter.section("quantbench")
        for report in reports:
            terminalreporter.write_line(f"report: {report}")
