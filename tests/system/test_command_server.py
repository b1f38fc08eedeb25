"""What tests start instead of a fresh interpreter does what a fresh one does."""

import importlib
import os
import subprocess
import sys
import threading
import time
import types
from pathlib import Path
from typing import Any

import command_server
import conftest
import forked_workers
import pytest
from conftest import ROOT, command, run_quantbench, surroundings
from quantbench.core import walls

SAME = [["models"], ["run", "--seeds", "many"], ["compare", "nowhere", "nowhere"], ["config"]]


@pytest.mark.parametrize("arguments", SAME, ids=lambda arguments: arguments[0])
def test_a_forked_command_says_and_returns_what_a_fresh_one_does(arguments: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "user's own"
    folder.mkdir()
    (folder / "pyproject.toml").write_text('[tool.quantbench]\nreport-dir = "elsewhere"\n')
    seen = surroundings(QUANTBENCH_CACHE=str(tmp_path / "store"))
    forked = command_server.run(arguments, folder, seen, 60)
    fresh = subprocess.run(command(*arguments), cwd=folder, env=seen, capture_output=True, text=True)
    assert (forked.returncode, forked.stdout, forked.stderr) == (fresh.returncode, fresh.stdout, fresh.stderr)


def test_each_has_its_own_folder_and_environment_at_the_same_time(tmp_path: Path) -> None:
    said: dict[str, str] = {}

    def ask(name: str, seeds: int) -> None:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "pyproject.toml").write_text(f'[tool.quantbench]\nreport-dir = "{name}"\n')
        said[name] = command_server.run(["config"], folder, surroundings(QUANTBENCH_SEEDS=str(seeds)), 60).stdout

    threads = [threading.Thread(target=ask, args=[name, seeds]) for seeds, name in enumerate(("one", "two"), 11)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, seeds in (("one", "11"), ("two", "12")):
        rows = {line.split()[0]: line.split()[1:] for line in said[name].splitlines() if len(line.split()) > 1}
        assert rows["report_dir"][0] == name
        assert rows["seeds"][0] == seeds


def test_one_that_does_not_end_is_killed(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    (models / "m.py").write_text("import time\ntime.sleep(60)\n")
    with pytest.raises(subprocess.TimeoutExpired) as caught:
        command_server.run(["models", "--model-dir", str(models)], tmp_path, surroundings(), 5)
    assert 'm.py", line 2' in caught.value.__notes__[1]  # where it hung


def test_what_hangs_for_being_forked_is_done_by_a_fresh_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(conftest, "FORKED_SECONDS", 1)
    hang = "import sys, time\nif 'command_server' in sys.argv[0] or 'forked_workers' in sys.modules: time.sleep(60)"
    with pytest.warns(UserWarning, match="a forked command hung"):
        done = run_quantbench("--version", store=tmp_path, cwd=tmp_path, first=hang)
    assert done.stdout.startswith("quantbench ")


def test_no_process_is_forked_while_another_thread_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The forked one would wait forever for a thread that it does not have."""
    (tmp_path / "slowly_imported.py").write_text("import release\nrelease.event.wait(60)\n")
    release = types.ModuleType("release")
    release.event = threading.Event()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "release", release)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(forked_workers.os, "listdir", lambda _: [])  # pytest may have threads of libraries
    assert not forked_workers._is_busy()
    thread = threading.Thread(target=importlib.import_module, args=["slowly_imported"])
    thread.start()
    while "slowly_imported" not in sys.modules:
        time.sleep(0.01)
    assert forked_workers._is_busy()
    release.event.set()
    thread.join()
    assert not forked_workers._is_busy()


def test_a_death_by_a_signal_is_its_status(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    (models / "m.py").write_text("import os\nos.kill(os.getpid(), 9)\n")
    assert command_server.run(["models", "--model-dir", str(models)], tmp_path, surroundings(), 60).returncode == -9


def test_the_server_has_no_thread_that_a_fork_would_lose() -> None:
    script = (
        f"import sys, os, tempfile; sys.path.insert(0, {str(ROOT / 'tests')!r})\n"
        "import command_server\n"
        "command_server._import()\n"
        "threaded = {'tensorflow', 'ai_edge_litert'} & sys.modules.keys()\n"
        "print(len(os.listdir('/proc/self/task')), threaded, tempfile.tempdir)"
    )
    one = surroundings(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1")
    done = subprocess.run([sys.executable, "-c", script], env=one, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1 set() None"


FORKED = """import os, signal, sys, warnings
import forked_workers, numpy
from quantbench.core import walls
state = forked_workers._State()
warnings.simplefilter("error")
signal.signal(signal.SIGTERM, print)
opened = open(__file__)
read, write = os.pipe()
def work():
    warnings.warn("only told")
    print(dict(os.environ), os.read(opened.fileno(), 9), signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
    before = os.open(os.devnull, os.O_RDONLY)
    opened.close()
    os.fstat(before)
    try:
        open(os.path.join(sys.argv[1], "new"), "w")
    except OSError as error:
        print(type(error).__name__)
    sys.exit(3)
pid = walls.behind(lambda: forked_workers._forked(state, {"A": "1"}, (0, write, 2), (), work), walls.Room())
os.close(write)
told = os.fdopen(read).read()
print(told, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), opened.read(6))
"""


def test_a_forked_worker_has_nothing_of_the_command_but_its_walls(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(FORKED)
    seen = surroundings()
    seen["PYTHONPATH"] += f"{os.pathsep}{ROOT / 'tests'}"
    called = [sys.executable, str(script), str(tmp_path)]
    done = subprocess.run(called, env=seen, capture_output=True, text=True, timeout=60)
    own, *others = done.stdout.splitlines()
    assert own == "{'A': '1'} b'' True", done.stderr
    assert others == [*["PermissionError"] * walls.available().files, " 3 import"]
    assert "only told" in done.stderr
    assert (tmp_path / "new").exists() == (not walls.available().files)


def test_what_an_interpreter_reads_as_it_starts_starts_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A variable of Python's own says nothing to a process that is forked."""
    monkeypatch.setattr(command_server, "run", None)  # it would be an error to call it
    done = run_quantbench("--version", store=tmp_path, cwd=tmp_path, PYTHONUTF8="1")
    assert done.stdout.startswith("quantbench ")


def test_what_is_to_be_done_at_the_end_is_done(tmp_path: Path) -> None:
    """A finalizer belongs to the process that has registered it: here the server, which would never end a lease."""
    models = tmp_path / "models"
    models.mkdir()
    lease = "from pathlib import Path\nfrom quantbench.build.store import Store\nStore(Path('store')).lease()\n"
    (models / "m.py").write_text(lease)
    command_server.run(["models", "--model-dir", str(models)], tmp_path, surroundings(), 60)
    assert list((tmp_path / "store" / ".held").iterdir()) == []


def is_two(number: int) -> None:
    """The body of a test."""
    assert number == 2


def test_a_test_in_a_forked_process_fails_as_it_would_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conftest, "forks", True)

    def run(number: int) -> bool | None:
        item: Any = types.SimpleNamespace(
            module=sys.modules[__name__],
            originalname="is_two",
            funcargs={"number": number},
            _fixtureinfo=types.SimpleNamespace(argnames=["number"]),
            get_closest_marker=lambda name: True if name == "forked" else None,
        )
        return conftest.pytest_pyfunc_call(item)

    assert run(2)
    with pytest.raises(pytest.fail.Exception, match="assert 1 == 2"):
        run(1)


def test_files_stay_whole_slow_ones_come_first_and_what_runs_alone_last() -> None:
    def item(path: str, *marks: str) -> types.SimpleNamespace:
        return types.SimpleNamespace(path=path, marks=marks, get_closest_marker=lambda name: (name in marks) or None)

    items: list[Any] = [item("a"), item("b", "alone"), item("b"), item("c"), item("c", "slow"), item("d", "slow")]
    conftest._put_in_order(items)
    assert [(one.path, one.marks) for one in items] == [
        *(("c", ()), ("c", ("slow",)), ("d", ("slow",)), ("a", ())),
        *(("b", ()), ("b", ("alone",))),
    ]
