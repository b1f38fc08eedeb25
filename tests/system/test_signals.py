"""However often and whenever a run is told to stop, it ends once, and its report and its exit status agree."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import ROOT, THREE_CELLS, THREE_VARIANTS, ThreeCells, command, run_quantbench, surroundings
from quantbench.ab import runs
from quantbench.build.store import HELD, Store
from quantbench.engine.finish import HowEnded
from quantbench.engine.workers.local import LocalExecutor
from quantbench.engine.workers.task import Outcome, Task
from quantbench.errors import Exit
from quantbench.records import Report, read_record
from studies import doubled_signals

INT, TERM, HUP = signal.SIGINT, signal.SIGTERM, signal.SIGHUP


# ---------------------------------------------------------------- whole runs


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize("runs", [3, 36])
def test_several_signals_end_a_run_as_one(runs: int, three_cells: ThreeCells, tmp_path: Path) -> None:
    done, wrong = doubled_signals.study(runs, 0, tmp_path, three_cells.store)
    assert wrong == []
    assert len(done) == runs
    assert "Nothing was wrong." in doubled_signals.render(done, wrong)


# The first signal comes as a function is entered, the others as another is: what deals with the first.
MOMENTS = {
    "planning": (
        "quantbench.report.run_folder.RunFolder.create",
        "_pytest.terminal.TerminalReporter.pytest_keyboard_interrupt",
    ),
    "submitting": ("quantbench.engine.scheduler.from_store", "quantbench.engine.drive.Drive.judge_computed"),
    "waiting": ("quantbench.engine.scheduler.Computing.wait", "quantbench.engine.interim_report.Recording.save"),
    "judging": ("quantbench.gate.structure", "quantbench.report.run_folder.RunFolder.finish"),
    "between": (
        "_pytest.runner.pytest_runtest_teardown",
        "_pytest.terminal.TerminalReporter.pytest_keyboard_interrupt",
    ),
    "controls": ("quantbench.engine.session.Session.judge_the_rest", "quantbench.report.html.page.write"),
    "parting": ("quantbench.engine.scheduler.Computing.finish", "quantbench.engine.finish.tidy"),
    "tidying": ("quantbench.engine.finish.tidy", "quantbench.build.store.Store.release"),
    "telling": ("quantbench.report.terminal.summary", "quantbench.report.terminal.summary"),
}
# Before a run begins, as it works, and as it ends; the other moments lie between these.
IN_DEFAULT_RUN = ("planning", "waiting", "parting", "telling")
INJECTED = """
import functools, importlib, os, signal, sys
number, moments = getattr(signal, sys.argv[1]), sys.argv[2:4]
sent = []
def enter(place, path):
    parts = path.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            owner = importlib.import_module(".".join(parts[:cut]))
        except ImportError:
            continue
        break
    for name in parts[cut:-1]:
        owner = getattr(owner, name)
    raw = vars(owner)[parts[-1]]
    original = raw.__func__ if isinstance(raw, staticmethod) else raw
    @functools.wraps(original)
    def entered(*given, **named):
        if place not in sent and (place == 0 or 0 in sent):
            sent.append(place)
            for _ in range(1 if place == 0 else 3):
                os.kill(os.getpid(), number)
        return original(*given, **named)
    setattr(owner, parts[-1], staticmethod(entered) if isinstance(raw, staticmethod) else entered)
for place, path in enumerate(moments):
    enter(place, path)
sys.argv[1:4] = []
from quantbench.cli import main
import atexit
atexit.register(lambda: print("sent", sent, file=sys.stderr))
main()
"""


def _each_moment() -> Iterator[Any]:
    for moment, number in [*product(MOMENTS, ["SIGTERM"]), ("waiting", "SIGINT")]:
        yield pytest.param(moment, number, marks=() if moment in IN_DEFAULT_RUN else pytest.mark.nightly)


@pytest.mark.parametrize(("moment", "number"), _each_moment())
def test_the_second_signal_never_undoes_the_first(
    moment: str, number: str, three_cells: ThreeCells, store: Path, tmp_path: Path
) -> None:
    first, second = MOMENTS[moment]
    arguments = ["run", *THREE_CELLS, "--report-dir", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", INJECTED, number, first, second, *arguments],
        cwd=ROOT,
        env=surroundings(QUANTBENCH_CACHE=str(store)),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert "Traceback" not in done.stderr + done.stdout, done.stderr
    assert "INTERNALERROR" not in done.stdout
    assert "sent [0" in done.stderr, done.stderr
    report = read_record(tmp_path / "latest" / "report.json", Report, "report")
    too_late = moment in ("parting", "tidying", "telling")  # how it ends was settled
    assert report.state == ("complete" if too_late else "interrupted")
    assert report.exit_status == done.returncode == (Exit.GREEN if too_late else Exit.INTERRUPTED)
    assert not [cell.id for cell in report.cells if cell.failure or cell.verdict == "error"]
    assert f'name="exit status" value="{done.returncode}"' in (tmp_path / "latest" / "junit.xml").read_text()


def test_a_signal_while_cells_are_collected_begins_no_run(three_cells: ThreeCells, store: Path, tmp_path: Path) -> None:
    moments = ["_pytest.main.Session.genitems", "_pytest.terminal.TerminalReporter.pytest_keyboard_interrupt"]
    done = subprocess.run(
        [sys.executable, "-c", INJECTED, "SIGTERM", *moments, "run", *THREE_CELLS, "--report-dir", str(tmp_path)],
        cwd=ROOT,
        env=surroundings(QUANTBENCH_CACHE=str(store)),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == Exit.INTERRUPTED, done.stderr
    assert "sent [0, 1]" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("2*"))


def test_try_ends_once_too(three_cells: ThreeCells, store: Path, tmp_path: Path) -> None:
    moments = ["quantbench.engine.drive.Drive.judge", "quantbench.engine.finish.Ending.finish"]
    model = f"{ROOT / 'models' / 'seed_cnn.py'}:seed_cnn"
    arguments = ["try", model, "--variants", THREE_VARIANTS, "--latency-budget", "0", "--report-dir", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", INJECTED, "SIGINT", *moments, *arguments],
        cwd=ROOT,
        env=surroundings(QUANTBENCH_CACHE=str(store)),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == Exit.INTERRUPTED, done.stderr + done.stdout
    assert "sent [0, 1]" in done.stderr
    report = read_record(tmp_path / "latest" / "report.json", Report, "report")
    assert (report.state, report.exit_status) == ("interrupted", Exit.INTERRUPTED)


def test_who_ignores_a_closed_terminal_goes_on(three_cells: ThreeCells, store: Path, tmp_path: Path) -> None:
    """As ``nohup`` does."""
    moments = ["quantbench.engine.scheduler.Computing.wait", "quantbench.engine.drive.Drive.judge"]
    ignore = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    done = subprocess.run(
        [sys.executable, "-c", ignore + INJECTED, "SIGHUP", *moments, "run", *THREE_CELLS, "--report-dir", tmp_path],
        cwd=ROOT,
        env=surroundings(QUANTBENCH_CACHE=str(store)),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == Exit.GREEN, done.stderr
    assert "sent [0, 1]" in done.stderr
    assert read_record(tmp_path / "latest" / "report.json", Report, "report").state == "complete"


@pytest.mark.parametrize(
    ("more", "broken", "status", "state"),
    [([], False, 0, "complete"), ([], True, 1, "complete"), (["-x"], True, 1, "interrupted")],
)
def test_a_report_states_the_exit_status_of_its_run(
    more: list[str],
    broken: bool,
    status: int,
    state: str,
    three_cells: ThreeCells,
    store: Path,
    baselines: Path,
    tmp_path: Path,
) -> None:
    """Interrupted runs and those on a full disk or with a full output have tests of their own that see to the same."""
    if broken:
        file = baselines / "seed_cnn.json"
        data = json.loads(file.read_text())
        data["cells"]["float32"]["measurements"]["score"].update(value=0.95)
        file.write_text(json.dumps(data))
    where = ["--baseline-dir", str(baselines), "--report-dir", str(tmp_path / "reports")]
    done = run_quantbench("run", *THREE_CELLS, *where, *more, store=store)
    found = json.loads((tmp_path / "reports" / "latest" / "report.json").read_text())
    assert (done.returncode, found["exit_status"], found["state"]) == (status, status, state), done.stdout


@pytest.mark.parametrize(
    ("how", "judged", "full", "status"),
    [
        (HowEnded(), Exit.GREEN, False, Exit.GREEN),
        (HowEnded(), Exit.NOT_MEASURED, False, Exit.NOT_MEASURED),
        (HowEnded(cut_short=True), Exit.GREEN, False, Exit.GREEN),
        (HowEnded(), Exit.GREEN, True, Exit.DISK_FULL),
        (HowEnded(), Exit.REGRESSED, True, Exit.REGRESSED),
        (HowEnded(interrupted=True), Exit.NOT_MEASURED, False, Exit.INTERRUPTED),
        (HowEnded(interrupted=True), Exit.REGRESSED, False, Exit.REGRESSED),
        (HowEnded(interrupted=True, disk_full=True), Exit.GREEN, False, Exit.DISK_FULL),
        (HowEnded(crashed=True), Exit.GREEN, False, Exit.NOT_MEASURED),
        (HowEnded(crashed=True, interrupted=True), Exit.GREEN, False, Exit.INTERRUPTED),
    ],
)
def test_what_decides_the_exit_status(how: HowEnded, judged: Exit, full: bool, status: Exit) -> None:
    assert how.status(judged, full) is status


# ---------------------------------------------------------------- the handler


def python(script: str) -> str:
    """What a script prints that may send signals to itself."""
    begin = "import os, signal, sys, time\nfrom quantbench.core import signals as on\non.stop_in_order()\n"
    begin += "def send(number=signal.SIGTERM): os.kill(os.getpid(), number)\n"
    done = subprocess.run([sys.executable, "-c", begin + script], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_one_signal_raises_once(number: str) -> None:
    script = f"""
try:
    send(signal.{number})
except KeyboardInterrupt:
    send(signal.{number}); send(); send(signal.SIGINT)
    print("handled", on.stop_asked(), on.in_a_hurry())
"""
    assert python(script) == "handled True True\n"


def test_a_signal_whose_exception_was_lost_is_not() -> None:
    script = """
class Careless:
    def __del__(self): send()
sys.unraisablehook = lambda _: print("lost")
careless = Careless()
del careless
assert on.stop_asked()
try:
    on.check()
except KeyboardInterrupt:
    print("noticed by what waits")
on._LOST_SECONDS = 0.1
time.sleep(0.2)
try:
    send()
except KeyboardInterrupt:
    print("noticed by the next")
"""
    assert python(script) == "lost\nnoticed by what waits\nnoticed by the next\n"


def test_what_ends_a_run_is_not_ended_and_is_made_faster() -> None:
    script = """
with on.undisturbed():
    send()
    on.check()
    print("undisturbed", on.stop_asked())
with on.hurried_by(lambda: print("faster")):
    print("not yet")
    with on.undisturbed():
        send()
on.settle()
send()
print("settled")
try:
    with on.interruptible():
        print("never")
except KeyboardInterrupt:
    print("at once")
"""
    assert python(script) == "undisturbed True\nnot yet\nfaster\nsettled\nat once\n"


def test_what_comes_while_nothing_may_be_disturbed_can_stop_it_afterwards() -> None:
    script = """
try:
    with on.undisturbed(then_stop=True):
        send()
        print("to the end")
except KeyboardInterrupt:
    print("then")
"""
    assert python(script) == "to the end\nthen\n"


# ---------------------------------------------------------------- workers


def _task(folder: Path, variant: str) -> Task:
    return Task(folder / "m.py", "m", variant, 0, None, folder, folder / "logs" / f"{variant}.log")


def ends_once(task: Task) -> Outcome:
    """Fails the first time, each in a way that is no fault of the cell."""
    first = task.store / f"{task.variant} begun"
    if first.exists():
        return Outcome(task.seed, score=0.5)
    first.touch()
    task.log.parent.mkdir(exist_ok=True)
    if task.variant == "thread":
        raise RuntimeError("can't start new thread")
    if task.variant == "process":
        raise BlockingIOError(11, os.strerror(11))
    if task.variant == "pthread":
        task.log.write_text("F0000 Check failed: ret == 0 (11 vs. 0)Thread tf_ creation via pthread_create() failed.\n")
        os.kill(os.getpid(), signal.SIGABRT)
    os.kill(os.getpid(), getattr(signal, task.variant))
    time.sleep(10)
    return Outcome(task.seed, score=0.1)


OTHER_WAYS = [pytest.param(name, marks=pytest.mark.nightly) for name in ("SIGTERM", "SIGQUIT", "process")]


@pytest.mark.parametrize("what", ["SIGKILL", "thread", "pthread", *OTHER_WAYS])
def test_what_is_no_fault_of_the_cell_is_computed_once_more(what: str, tmp_path: Path) -> None:
    with LocalExecutor(workers=1, how=ends_once) as pool:
        found = pool.submit(_task(tmp_path, what), 60.0).result(timeout=120)
    assert found.failure is None
    assert found.score == 0.5
    assert len(found.retried) == 1
    words = {"thread": "can't start new thread", "process": "temporarily unavailable", "pthread": "SIGABRT"}
    assert words.get(what, f"died of {what}") in found.retried[0]


def aborts(task: Task) -> Outcome:
    """A crash of the cell's own."""
    (task.store / f"{time.monotonic_ns()} begun").touch()
    os.kill(os.getpid(), signal.SIGABRT)
    return Outcome(task.seed)


def test_a_crash_of_its_own_is_not_computed_again(tmp_path: Path) -> None:
    with LocalExecutor(workers=1, how=aborts) as pool:
        found = pool.submit(_task(tmp_path, "x"), 60.0).result(timeout=120)
    assert found.failure is not None
    assert "SIGABRT" in found.failure.reason
    assert len(list(tmp_path.glob("* begun"))) == 1


def fills_its_scratch(task: Task) -> Outcome:
    """Leaves so much in the scratch folder that removing it takes a moment."""
    scratch = Store(task.store).lease().scratch
    for number in range(5_000):
        (scratch / str(number)).touch()
    return Outcome(task.seed)


def hangs_with_a_scratch(task: Task) -> Outcome:
    """Heeds no SIGTERM, as native code does."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    Store(task.store).lease()
    time.sleep(60)
    return Outcome(task.seed)


def test_a_normal_end_leaves_nothing_of_its_workers(tmp_path: Path) -> None:
    pool = LocalExecutor(workers=2, logs=tmp_path / "logs", how=fills_its_scratch)
    for name in ("a", "b"):
        assert pool.submit(_task(tmp_path, name), 60.0).result(timeout=120).failure is None
    pool.close()
    assert list((tmp_path / HELD).iterdir()) == []


def test_who_has_to_kill_a_worker_removes_what_it_left(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.lease()
    pool = LocalExecutor(workers=1, logs=tmp_path / "logs", how=hangs_with_a_scratch)
    assert pool.submit(_task(tmp_path, "a"), 8.0).result(timeout=120).failure is not None
    pool.close()
    assert [path for path in (tmp_path / HELD).glob("*.lock") if path.name.startswith(f"{os.getpid()}-")]
    store.release()
    assert list((tmp_path / HELD).iterdir()) == []


def sleeps(task: Task) -> Outcome:
    """Longer than the clock takes to jump."""
    time.sleep(2.0)
    return Outcome(task.seed, score=0.5)


def test_a_clock_that_is_set_ends_no_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = time.monotonic()

    def jumping() -> float:
        return 1e9 + (86_400.0 if time.monotonic() - begin > 1.0 else 0.0)

    monkeypatch.setattr("pebble.pool.process.time", SimpleNamespace(time=jumping, sleep=time.sleep))
    with LocalExecutor(workers=1, how=sleeps) as pool:
        assert pool.submit(_task(tmp_path, "a"), 60.0).result(timeout=120).score == 0.5


# ---------------------------------------------------------------- ab, selftest


def _signalled_twice(script: str, arguments: list[str], after: str, folder: Path) -> tuple[int, str, float]:
    """Two SIGTERM to a command's first process, once it has printed such a line: status, output, seconds to the end."""
    (folder / "tmp").mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        cwd=ROOT,
        env=surroundings(QUANTBENCH_CACHE=str(folder / "store"), TMPDIR=str(folder / "tmp")),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        lines, since = [], 0.0
        for line in process.stdout:
            lines.append(line)
            if not since and after in line:
                since = time.monotonic()
                process.send_signal(TERM)
                time.sleep(0.2)
                process.send_signal(TERM)
        process.wait(timeout=120)
    output = "".join(lines)
    assert since, output
    assert "Traceback" not in output
    assert list((folder / "tmp").iterdir()) == []
    assert list((folder / "store").glob(".held/*")) == []
    return process.returncode, output, time.monotonic() - since


AB_HERE = """
import sys
from pathlib import Path
from quantbench.ab import environments
environments.resolve = lambda side: environments.Resolved(side, ("ai-edge-litert==1",))
environments.install = lambda resolved: Path(sys.executable)
from quantbench.cli import main
main()
"""


@pytest.mark.nightly
@pytest.mark.slow
def test_ab_ends_once_and_keeps_the_report_of_the_side_that_ran(tmp_path: Path) -> None:
    arguments = ["ab", "--old", "tensorflow", "--new", "tensorflow", "--models", "seed_cnn", "--variants"]
    arguments += [THREE_VARIANTS, "--latency-budget", "0", "--report-dir", str(tmp_path / "reports")]
    status, output, _ = _signalled_twice(AB_HERE, arguments, "old: [1/3]", tmp_path)
    assert status == Exit.INTERRUPTED, output
    [path] = (tmp_path / "reports").glob("ab-*/old/latest/report.json")
    report = read_record(path, Report, "report")
    assert (report.state, report.exit_status) == ("interrupted", Exit.INTERRUPTED)


SLOW_PLANTS = """
import time
from quantbench.selftest import suite
def planted(model, quick, say, first=None):
    say("planting")
    time.sleep(100)
suite.faults_in_artifacts = planted
from quantbench.cli import main
main()
"""


@pytest.mark.nightly
@pytest.mark.slow
def test_selftest_does_not_wait_for_its_training(tmp_path: Path) -> None:
    """It took 50 s to end, whatever came after the first signal."""
    arguments = ["selftest", "--quick", "--report-dir", str(tmp_path / "reports")]
    status, output, seconds = _signalled_twice(SLOW_PLANTS, arguments, "planting", tmp_path)
    assert status == Exit.INTERRUPTED, output
    assert seconds < 20


def test_a_side_of_ab_is_waited_for_while_it_writes_its_report(tmp_path: Path) -> None:
    script = "import signal, sys, time, pathlib\n"
    script += f"def end(*_): time.sleep(0.5); pathlib.Path({str(tmp_path / 'report')!r}).touch(); sys.exit(2)\n"
    script += "signal.signal(signal.SIGTERM, end); print('[1/3]', flush=True); time.sleep(60)\n"
    side = subprocess.Popen([*command()[:1], "-c", script], stdout=subprocess.PIPE, text=True)
    assert side.stdout is not None
    side.stdout.readline()
    runs._end_orderly(side)
    side.stdout.close()
    assert side.returncode == Exit.INTERRUPTED
    assert (tmp_path / "report").exists()
