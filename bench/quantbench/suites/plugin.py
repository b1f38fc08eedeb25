"""Connect a run to pytest: options, cells as parameters, and tests that wait for a cell and state its verdict.

Loaded by ``pytest.ini`` of the suites, or by :mod:`quantbench.suites.entry` for ``pytest --pyargs quantbench.suites``,
so only where this package's suites are collected.
"""

import sys
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from quantbench.core import config as settings_of
from quantbench.core import streams
from quantbench.core.echo import guarded, line, plain
from quantbench.core.options import declared, flag, from_mapping, negative
from quantbench.core.signals import check, settle, stop_asked, stop_in_order
from quantbench.engine import progress
from quantbench.engine.drive import until_stopped
from quantbench.engine.finish import HowEnded
from quantbench.engine.plan import ALONE, IN_ORDER
from quantbench.engine.session import Session
from quantbench.errors import BadInput, DiskFull, Exit, NothingSelected, full_disk_named
from quantbench.measure import gpu_devices
from quantbench.records import Kind, parts
from quantbench.suites.expected import OPTION, CommandLine
from quantbench.suites.screen import SCREEN, Screen
from quantbench.variants import FLOAT_CONTROL, VARIANTS
from quantbench.variants.built import FAMILY

SESSION = pytest.StashKey[Session]()
COMMAND_LINE = pytest.StashKey[CommandLine]()
BENCHMARKS = ".benchmarks"
TIMER = "quantbench.measure.pytest_benchmark.timer"
# Cell -> what is to be judged of it, whether or not its tests were collected.
EXPECTED = pytest.StashKey[dict[str, set[Kind]]]()
# Variants that the pull-request gate runs on a GPU; the others are nightly.
ON_GPU_IN_GATE = (FLOAT_CONTROL, "ptq_float16", "ptq_static_wi8_ai8")


def pytest_addoption(parser: pytest.Parser) -> None:
    streams.make_lenient()  # here, for pytest takes the streams for itself right after this
    group = parser.getgroup("quantbench")
    usual = _settings().options()
    for option in declared():
        name, default = f"{OPTION}{option.name}", getattr(usual, option.name)
        text = f"{option.metadata['help']} (default: {default or 'none'})"
        if isinstance(option.default, bool):
            group.addoption(
                flag(option.name), dest=name, action="store_true", default=default, help=option.metadata["help"]
            )
            if option.name in settings_of.KEYS:
                opposite = f"the opposite of {flag(option.name)}"
                group.addoption(negative(option.name), dest=name, action="store_false", help=opposite)
        else:
            group.addoption(flag(option.name), dest=name, type=type(option.default), default=default, help=text)


def _settings() -> settings_of.Settings:
    """Return what the command line does: the same settings hold for both."""
    try:
        return settings_of.resolve()
    except BadInput as error:
        raise pytest.UsageError(line(str(error))) from None


def pytest_configure(config: pytest.Config) -> None:
    for family in sorted({FAMILY, *(variant.family for variant in VARIANTS.values())}):
        config.addinivalue_line("markers", f"{family}: cells of the {family} family")
    config.addinivalue_line("markers", "nightly: what takes too long for the pull-request gate")
    for kind in Kind:
        config.addinivalue_line("markers", f"{kind}: tests of the {kind} suite")
    if config.option.help or config.getoption("version", 0):
        return
    stop_in_order()
    _guard(config)
    if hasattr(config.option, "benchmark_timer"):  # without the suites' own ini file nothing else names it
        config.option.benchmark_timer = TIMER
    settings = _settings()
    _store_no_benchmarks(config)
    settings.name_cache()
    values = {o.name: config.getoption(f"{OPTION}{o.name}") for o in declared()}
    command_line = config.stash[COMMAND_LINE] = CommandLine.of(config)
    for option in command_line.elsewhere(values):
        raise pytest.UsageError(
            f"{option}: an ini file or PYTEST_ADDOPTS gives it; cells are chosen on the command line alone"
        )
    try:
        config.stash[SESSION] = Session(from_mapping(values, settings.options().usual), lambda text: _say(config, text))
    except BadInput as error:
        raise pytest.UsageError(line(settings.located(str(error)))) from None


def _store_no_benchmarks(config: pytest.Config) -> None:
    """Let pytest-benchmark, which makes its folder even where it stores nothing, make none unless it is to store."""
    asked = any(getattr(config.option, name, None) for name in _STORING)
    if getattr(config.option, "benchmark_storage", None) == f"file://./{BENCHMARKS}" and not asked:
        config.option.benchmark_storage = f"file://{tempfile.gettempdir()}"


_STORING = ("benchmark_save", "benchmark_autosave", "benchmark_save_data", "benchmark_compare")


def _guard(config: pytest.Config) -> None:
    """Escape whatever pytest prints about a cell, tracebacks and warnings, except for its own colours."""
    reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        writer = config.get_terminal_writer()
        writer._file = guarded(writer._file)


def _say(config: pytest.Config, text: str) -> None:
    reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
    capture = config.pluginmanager.get_plugin("capturemanager")
    if reporter is None or capture is None:
        return
    with capture.global_and_fixture_disabled():
        reporter.ensure_newline()
        reporter.write_line(f"  {line(text)}")
        reporter.flush()  # otherwise a pipe would show it only much later


def _bar(config: pytest.Config) -> progress.Bar | None:
    """Return a bar in place of pytest's own letters, on a terminal without ``-v``."""
    reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
    capture = config.pluginmanager.get_plugin("capturemanager")
    if reporter is None or capture is None or config.get_verbosity() > 0:
        return None
    with capture.global_and_fixture_disabled():
        if not progress.is_terminal(sys.stdout):
            return None
        bar = progress.Bar(sys.stdout)
    reporter.showfspath = False
    return bar


def _screen(config: pytest.Config) -> Screen | None:
    """Return what shows the run, where ``quantbench run`` started it."""
    screen = config.pluginmanager.get_plugin(SCREEN)
    return screen if isinstance(screen, Screen) else None


@pytest.hookimpl(wrapper=True)
def pytest_report_teststatus(config: pytest.Config) -> Generator[None, Any, Any]:
    status = yield
    drawn = SESSION in config.stash and isinstance(config.stash[SESSION].progress, progress.Bar)
    return (status[0], "", "") if drawn and status else status


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "cell" not in metafunc.fixturenames or SESSION not in metafunc.config.stash:
        return
    run = metafunc.config.stash[SESSION]
    kind = next((kind for kind in ALONE if metafunc.definition.get_closest_marker(kind) is not None), None)
    of = next((one for one in Kind if metafunc.definition.get_closest_marker(one.value) is not None), None)
    names = [name for name in run.cell_ids() if of is None or run.measures(name, of)]
    if not names:  # pytest would make one skipped test without a cell of it
        metafunc.parametrize("cell", [""])
        return
    cells = [pytest.param(name, id=name, marks=_marks(run, name, kind)) for name in names]
    metafunc.parametrize("cell", cells)


def _marks(run: Session, cell_id: str, alone: Kind | None) -> list[pytest.MarkDecorator]:
    model, name = parts(cell_id)
    variant = VARIANTS[name]
    marks = [getattr(pytest.mark, variant.family)]
    small = run.models[model].trains_in_gate
    in_gate = variant.gate != "nightly" and (small or (variant.gate == "all" and not variant.trained))
    too_long = {Kind.LATENCY: not variant.timed_in_gate, Kind.GPU: name not in ON_GPU_IN_GATE}
    if not in_gate or (alone is not None and too_long.get(alone, False)):
        marks.append(pytest.mark.nightly)
    return marks


def _kind_of(item: pytest.Item) -> Kind | None:
    return next((kind for kind in Kind if item.get_closest_marker(kind.value)), None)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Move what is measured exclusively to the end, after everything has been computed."""
    session = config.stash.get(SESSION, None)
    if session is not None:
        items[:] = [item for item in items if _cell_of(item) != ""]
        expected = _expected(session, config, items)
        left_out = _left_out(session, config, expected)
        _leave_out(config, items, [item for item in items if _kind_of(item) in left_out])
        expected = {cell: kinds for cell, asked in expected.items() if (kinds := asked - _asked_off(config, left_out))}
        _leave_out(config, items, _of_other_shards(session, expected, items))
        config.stash[EXPECTED] = expected
    items.sort(key=lambda item: IN_ORDER.index(kind) if (kind := _kind_of(item)) in IN_ORDER else -1)


def _leave_out(config: pytest.Config, items: list[pytest.Item], gone: list[pytest.Item]) -> None:
    if gone:
        left = set(gone)
        items[:] = [item for item in items if item not in left]
        config.hook.pytest_deselected(items=gone)


def _expected(session: Session, config: pytest.Config, items: list[pytest.Item]) -> dict[str, set[Kind]]:
    """Return what models, variants and the command line ask for, cell -> kinds, whether or not there is a test for it.

    Where the user selects in a way that only pytest can follow, it is what pytest collected.
    """
    command_line = config.stash[COMMAND_LINE]
    if command_line.only_pytest_knows:
        return _wanted(config, items)
    expected: dict[str, set[Kind]] = {}
    for kind in Kind:
        for cell in session.cell_ids():
            marks = [mark.name for mark in _marks(session, cell, kind if kind in ALONE else None)]
            if session.measures(cell, kind) and command_line.selects(kind, cell, marks):
                expected.setdefault(cell, set()).add(kind)
    return expected


def _of_other_shards(session: Session, expected: dict[str, set[Kind]], items: list[pytest.Item]) -> list[pytest.Item]:
    """Return the tests of other shards, and take their cells out of what is expected."""
    if not session.options.shard:
        return []
    try:
        mine = session.of_this_shard(expected)
    except BadInput as error:
        items.clear()  # pytest still ends the collection, and none of it is to be computed
        raise pytest.UsageError(line(str(error))) from None
    for other in set(expected) - mine:
        del expected[other]
    return [item for item in items if (cell := _cell_of(item)) is not None and cell not in mine]


def _cell_of(item: pytest.Item) -> str | None:
    if isinstance(item, pytest.Function) and hasattr(item, "callspec") and "cell" in item.callspec.params:
        return str(item.callspec.params["cell"])
    return None


def _wanted(config: pytest.Config, items: list[pytest.Item]) -> dict[str, set[Kind]]:
    """Cell -> what is to be measured of it."""
    wanted: dict[str, set[Kind]] = {}
    for item in items:
        cell, kind = _cell_of(item), _kind_of(item)
        if cell is not None and kind is not None and _will_run(config, kind):
            wanted.setdefault(cell, set()).add(kind)
    return wanted


def _left_out(session: Session, config: pytest.Config, expected: dict[str, set[Kind]]) -> set[Kind]:
    """Return the kinds that are not measured: those turned off, the GPU where there is none, instructions without
    valgrind, TFLite-Micro without its package, targets where none is named.

    A GPU requested by name, or required, is kept, and becomes unjudged or an error with the reason; TFLite-Micro
    requested by name becomes an error.
    """
    options = session.options
    turned_off = {Kind.LATENCY: options.no_latency, Kind.GPU: options.no_gpu, Kind.MICRO: options.no_micro}
    left_out = {kind for kind, off in turned_off.items() if off}
    left_out |= set() if session.counts_instructions else {Kind.INSTRUCTIONS}
    left_out |= set() if session.has_targets else {Kind.TARGET}
    by_name = config.stash[COMMAND_LINE].markers.split()
    left_out |= set() if session.runs_micro or Kind.MICRO in by_name else {Kind.MICRO}
    asked_for = "gpu" in by_name or gpu_devices.required()
    if Kind.GPU not in left_out and not asked_for and any(Kind.GPU in kinds for kinds in expected.values()):
        left_out |= set() if session.look_for_gpu().devices else {Kind.GPU}
    return left_out


def _asked_off(config: pytest.Config, left_out: set[Kind]) -> set[Kind]:
    """Return which of the kinds that are not measured are not expected either: all but those that only an ini file,
    or PYTEST_ADDOPTS, turns off.
    """
    command_line = config.stash[COMMAND_LINE]
    by_ini = {
        kind
        for kind, name in (
            (Kind.LATENCY, "no_latency"),
            (Kind.GPU, "no_gpu"),
            (Kind.MICRO, "no_micro"),
            (Kind.INSTRUCTIONS, "no_instructions"),
        )
        if config.getoption(f"{OPTION}{name}") and not command_line.option(name)
    }
    return left_out - by_ini


def pytest_collection_finish(session: pytest.Session) -> None:
    if session.items:
        _plan(session)


def _plan(session: pytest.Session) -> None:
    """Fix what is computed and judged: what was collected, and what should have been."""
    config = session.config
    run = config.stash.get(SESSION, None)
    if run is None or config.option.collectonly or EXPECTED not in config.stash or run.planned:
        return
    run.selection = config.stash[COMMAND_LINE].in_words()
    screen = _screen(config)
    if screen is None:
        run.progress = _bar(config) or run.progress
    else:
        run.progress = screen.watch(run, lambda: _bar(config), lambda text: _say(config, text))
    collected = _wanted(config, session.items)
    expected = config.stash[EXPECTED]
    everything = {cell: expected.get(cell, set()) | collected.get(cell, set()) for cell in [*expected, *collected]}
    try:
        with _full_disk_ends_the_run():
            run.plan(everything, collected)
    except NothingSelected:
        session.items.clear()
    except BadInput as error:
        raise pytest.UsageError(line(str(error))) from None


def _will_run(config: pytest.Config, kind: Kind) -> bool:
    """Apply pytest-benchmark's own selection: ``--benchmark-only`` and ``--benchmark-skip``."""
    if kind is Kind.LATENCY:
        return not (config.getoption("benchmark_skip", False) or config.getoption("benchmark_disable", False))
    return not config.getoption("benchmark_only", False)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Let no later signal interrupt how pytest handles a signal that ended the collection."""
    try:
        return (yield)
    except KeyboardInterrupt:
        settle()
        raise


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Iterator[None]:
    """Plan what was expected where nothing was collected, and let no signal interrupt what follows the last test."""
    try:
        _plan(session)
        return (yield)
    except KeyboardInterrupt:
        # A signal may hit an instruction without a line number, of which pytest cannot print the traceback.
        raise KeyboardInterrupt from None
    finally:
        settle()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol() -> None:
    """End the run before the next test where a signal's exception was lost."""
    check()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Compute what a test judges before it starts, so that no test waits for its own or other cells."""
    cell, kind = _cell_of(item), _kind_of(item)
    if cell is None or kind is None or SESSION not in item.config.stash or not item.config.stash[SESSION].planned:
        return
    with _full_disk_ends_the_run():
        item.config.stash[SESSION].prepare(cell, kind)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call() -> Iterator[None]:
    with _full_disk_ends_the_run():
        return (yield)


@contextmanager
def _full_disk_ends_the_run() -> Iterator[None]:
    """End the run on a full disk, not only the test that met it."""
    try:
        with full_disk_named():
            yield
    except DiskFull as error:
        pytest.exit(line(str(error)), returncode=int(Exit.DISK_FULL))


@pytest.fixture
def run(request: pytest.FixtureRequest) -> Session:
    """Return the run that this test belongs to."""
    return request.config.stash[SESSION]


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Iterator[None]:
    run = session.config.stash.get(SESSION, None)
    if run is None or not run.planned:
        return (yield)
    how = HowEnded(
        interrupted=exitstatus == pytest.ExitCode.INTERRUPTED or stop_asked(),
        cut_short=bool(session.shouldfail or session.shouldstop),
        disk_full=exitstatus == Exit.DISK_FULL,
        crashed=exitstatus == pytest.ExitCode.INTERNAL_ERROR,
    )
    status = run.finish(until_stopped(run.judge_the_rest, how))
    session.exitstatus = int(status)
    _forget_silent_teardowns(session.config)
    return (yield)


def _forget_silent_teardowns(config: pytest.Config) -> None:
    """Drop silent teardowns: pytest searches them all for each failed test, minutes for thousands of failures."""
    reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        quiet = reporter.stats.get("", [])
        reporter.stats[""] = [report for report in quiet if any("teardown" in name for name, _ in report.sections)]


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    run = config.stash.get(SESSION, None)
    if run is None or not run.planned or _screen(config) is not None:
        return
    from quantbench.report.terminal import summary

    terminalreporter.section("quantbench")
    terminalreporter.write_line(plain(summary(run.report, Path(run.folder.path))))
