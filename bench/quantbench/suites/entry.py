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
CELL = "quantbench_cell"
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


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if CELL in metafunc.fixturenames:
        from quantbench.suites.checks import cells_of

        names = cells_of(metafunc)
        metafunc.parametrize(CELL, names, ids=names)


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
    if (shared := session.config.stash.get(SHARED, None)) is not None:
        cut_short = bool(session.shouldfail or session.shouldstop)
        shared.finish(exitstatus == pytest.ExitCode.INTERRUPTED, cut_short)
    return (yield)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if (shared := config.stash.get(SHARED, None)) is not None and shared.reports:
        terminalreporter.section("quantbench")
        for report in shared.reports:
            terminalreporter.write_line(f"report: {report}")
