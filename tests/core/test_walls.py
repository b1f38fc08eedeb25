"""The second wall: what a process that opens a stranger's model can do to the machine, where the first one fails."""

import io
import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import psutil
import pytest
from conftest import ROOT, Quantbench, run_script
from pebble.common.types import ResultStatus
from quantbench.adopt import loading, understand
from quantbench.adopt.loading import CannotRun, Loading
from quantbench.build.store import ENVIRONMENTS, Store, for_strangers
from quantbench.core import child_process, pools, walls
from quantbench.engine.workers.local import LocalExecutor
from quantbench.engine.workers.process import _room
from quantbench.engine.workers.task import Outcome, Task
from quantbench.errors import BadInput, Exit
from quantbench.reference.model import Floor, Form, ReferenceModel

STANDING = walls.available()
LINUX = sys.platform.startswith("linux")
needs_files = pytest.mark.skipif(not STANDING.files, reason="no Landlock here; that it is told is tested")
needs_network = pytest.mark.skipif(not STANDING.network, reason="no seccomp here; that it is told is tested")
needs_signals = pytest.mark.skipif(not STANDING.signals, reason="Landlock is older; that it is told is tested")


def attempts(room: walls.Room, *lines: str) -> list[str]:
    """What becomes of each line of Python in a process behind walls: ``done``, or the error's type."""
    code = "import os, signal, socket, subprocess, sys\n"
    for line in lines:
        code += f"try:\n    {line}\n    print('done')\n"
        code += "except BaseException as error:\n    print(type(error).__name__)\n"
    pipe = subprocess.PIPE
    start = partial(subprocess.Popen, [sys.executable, "-c", code], stdout=pipe, stderr=pipe, text=True)
    with walls.behind(start, room) as process:
        walls.bound(process.pid)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return output.splitlines()


# ---------------------------------------------------------------- which walls there are


def test_on_a_system_that_has_walls_they_stand() -> None:
    """The kernel's own list of what is on, where it is mounted; on CI they must stand."""
    listed = Path("/sys/kernel/security/lsm")
    if listed.is_file():
        assert STANDING.files == ("landlock" in listed.read_text(encoding="utf-8").split(","))
    assert STANDING.limits == LINUX
    by_default = "files,network,limits" if LINUX and os.environ.get("CI") else ""
    for wall in filter(None, os.environ.get("QUANTBENCH_REQUIRE_WALLS", by_default).split(",")):
        assert getattr(STANDING, wall), wall


@pytest.mark.parametrize(
    ("standing", "words"),
    [
        (walls.Walls(True, True, True, True), "behind walls: file system, network, signals, memory"),
        (walls.Walls(True, False, False, True), "memory; not available here: network, signals (Linux 6.12 has all)"),
        (walls.Walls(), "behind walls: none; not available here: file system, network, signals, memory"),
    ],
)
def test_what_the_system_cannot_do_is_told(standing: walls.Walls, words: str) -> None:
    assert words in standing.sentence()


@pytest.mark.parametrize("version", [0, 1, 3, 4])
def test_an_older_kernel_costs_walls_and_no_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: int) -> None:
    monkeypatch.setattr(walls, "_landlock_version", lambda: version)
    monkeypatch.setattr(walls, "_seccomp", lambda: False)
    told: list[walls.Walls] = []
    assert walls.behind(lambda: 7, walls.Room(write=(tmp_path,)), told.append) == 7
    assert told == [walls.Walls(STANDING.files and version > 0, False, False, walls._CAN_BOUND)]


def test_another_system_runs_without_walls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    told: list[walls.Walls] = []
    assert walls.behind(lambda: 7, walls.Room(), told.append) == 7
    assert not told


def test_the_doctor_tells_which_walls_stand(quantbench: Quantbench) -> None:
    assert walls.available().sentence() in quantbench("doctor", "--quick").output


# ---------------------------------------------------------------- what they stop


@needs_files
def test_files_are_written_inside_alone(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "canary").write_text("alive")
    writes = [f"open('{{}}/{name}', 'w').write('x')" for name in ("new", "canary")]
    others = [
        "os.remove('{}/canary')",
        "os.truncate('{}/canary', 0)",
        "os.mkdir('{}/folder')",
        "os.rename('{}/canary', '{}/elsewhere')",
        "os.chdir('{}') or open('relative', 'w')",
    ]
    done = attempts(
        walls.Room(write=(inside,)),
        *(line.replace("{}", str(outside)) for line in writes + others),
        f"open('{inside}/new', 'w').write('x')",
        f"os.symlink('{outside}', '{inside}/link')",
        f"os.link('{outside}/canary', '{inside}/hard')",
        f"os.mkfifo('{inside}/fifo')",
    )
    refused = "PermissionError"
    assert done == [*[refused] * 7, "done", refused, "OSError", refused]  # a link between folders is EXDEV
    assert (outside / "canary").read_text() == "alive"
    assert [path.name for path in outside.iterdir()] == ["canary"]
    assert [path.name for path in inside.iterdir()] == ["new"]


@needs_files
def test_private_files_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "canary").write_text("secret")
    (tmp_path / "model").write_text("weights")
    done = attempts(
        walls.Room(read=(tmp_path / "model",)),
        f"open('{tmp_path}/canary').read()",
        f"os.listdir('{tmp_path}')",
        "open('/etc/shadow').read()",
        f"open('/proc/{os.getpid()}/environ').read()",
        f"open('/proc/{os.getpid()}/mem', 'rb').read(1)",
        f"open('/proc/{os.getpid()}/fd/0')",
        "open('/dev/mem', 'rb')",
        f"open('{tmp_path}/model').read()",
    )
    assert done[:3] + done[3:6] == ["PermissionError"] * 6
    assert done[6] in ("PermissionError", "FileNotFoundError")
    assert done[7] == "done"


@needs_network
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
def test_nothing_is_sent(kind: socket.SocketKind, family: socket.AddressFamily, tmp_path: Path) -> None:
    with socket.socket(family, kind) as listening:
        listening.bind(("127.0.0.1", 0) if family == socket.AF_INET else str(tmp_path / "socket"))
        address = listening.getsockname()
        line = f"socket.socket({int(family)}, {int(kind)}).connect({address!r})"
        if kind == socket.SOCK_STREAM:
            listening.listen()
        assert attempts(walls.Room(read=(tmp_path,), write=(tmp_path,)), line) == ["PermissionError"]
        with socket.socket(family, kind) as own:  # it is the wall, and not that nobody listens
            own.connect(address)


@needs_network
def test_no_pair_of_sockets_sends_to_a_service(tmp_path: Path) -> None:
    assert attempts(walls.Room(), "socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)") == ["PermissionError"]


@needs_signals
def test_no_signal_reaches_others() -> None:
    done = attempts(
        walls.Room(),
        "os.kill(os.getppid(), 0)",
        "signal.pthread_kill  # there",
        "one = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=-1); one.kill(); one.wait()",
        "os.kill(os.getpid(), 0)",
    )
    assert done == ["PermissionError", "done", "done", "done"]


@needs_files
@needs_network
def test_what_it_starts_is_behind_them_too(tmp_path: Path) -> None:
    (tmp_path / "inner.py").write_text(
        "import socket\n"
        f"for tried in (lambda: open({str(tmp_path / 'canary')!r}, 'w'), socket.socket):\n"
        "    try:\n        tried()\n        print('done')\n"
        "    except PermissionError:\n        print('refused')\n"
    )
    inner = f"[sys.executable, '{tmp_path}/inner.py']"
    run = f"print(subprocess.run({inner}, capture_output=True, text=True).stdout, end='')"
    forked = f"os.fork() == 0 and os.execv(sys.executable, {inner}); os.wait()"
    assert sorted(attempts(walls.Room(read=(tmp_path,)), run, forked)) == ["done"] * 2 + ["refused"] * 4
    assert not (tmp_path / "canary").exists()


@needs_files
def test_no_rights_are_gained(tmp_path: Path) -> None:
    lines = [
        "status = dict(line.split(':', 1) for line in open('/proc/self/status'))",
        "assert int(status['NoNewPrivs']) == 1",
        "assert int(status['CapEff'], 16) & ~0b1111 == 0 and int(status['CapPrm'], 16) & ~0b1111 == 0",
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))",
    ]
    assert attempts(walls.Room(), *lines) == ["done", "done", "done", "ValueError"]


@pytest.mark.skipif(not STANDING.limits, reason="only Linux bounds others; that it is told is tested")
def test_memory_and_files_are_bounded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(walls, "memory_limit", lambda: 2**29)
    monkeypatch.setattr(walls, "LARGEST_FILE", 2**20)
    wait = "import time; time.sleep(0.5)"  # the bounds come right after the start
    large = f"open('{tmp_path}/large', 'wb').write(bytes(2**21))"
    assert attempts(walls.Room(write=(tmp_path,)), wait, "bytes(2**30)", large) == ["done", "MemoryError", "OSError"]
    assert (tmp_path / "large").stat().st_size <= 2**20


def test_nothing_of_them_stays_in_our_own_process(tmp_path: Path) -> None:
    attempts(walls.Room(), "pass")
    (tmp_path / "file").write_text("x")
    socket.socket().close()
    threading.Thread(target=lambda: (tmp_path / "other").write_text("x")).run()
    assert len(list(tmp_path.iterdir())) == 2


def test_an_error_at_the_start_is_told() -> None:
    with pytest.raises(FileNotFoundError):
        walls.behind(lambda: subprocess.Popen(["/no/such/program"]), walls.Room())


# ---------------------------------------------------------------- environment


def test_tokens_are_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "secret")
    monkeypatch.setenv("TF_ANY", "known")
    assert "GITHUB_TOKEN" not in walls.environment()
    assert walls.environment()["TF_ANY"] == "known"
    code = (
        "import os; from quantbench.core import walls; walls.forget_environment()\n"
        "print(os.environ.get('GITHUB_TOKEN'), os.environ['TF_ANY'])\n"
        "print(b'secret' in open('/proc/self/environ','rb').read(), os.popen('echo $GITHUB_TOKEN').read())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["None", "known", "False"]


# ---------------------------------------------------------------- children that measure


@needs_files
def test_a_measuring_child_of_a_stranger_is_walled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SOME_TOKEN", "secret")
    (tmp_path / "walled_probe.py").write_text(
        "import json, os, sys, tempfile\njob = json.load(sys.stdin)\n"
        "def tried(path):\n    try:\n        open(path, 'w').close()\n        return True\n"
        "    except OSError:\n        return False\n"
        "print(json.dumps([tried(job['canary']), tried(tempfile.gettempdir() + '/x'), 'SOME_TOKEN' in os.environ]))\n"
    )
    python = child_process.Interpreter(Path(sys.executable), tmp_path)
    job = {"canary": str(tmp_path / "canary")}
    for form, expected in (("tflite", [False, True, False]), ("code", [True, True, True])):
        room = child_process.room(form, tmp_path)
        assert child_process.result(child_process.start("walled_probe", job, 60, {}, python, room)) == expected


# ---------------------------------------------------------------- workers of a run


def outside(task: Task) -> Outcome:
    """In a worker: try to write beside the model; what came of it is the score."""
    try:
        (task.model_file.parent / "canary").write_text("x")
    except OSError:
        return Outcome(task.seed, score=0.0, predictions=np.arange(3))
    return Outcome(task.seed, score=1.0)


class Hostile:
    """What an unpickler turns into a call."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self._path,)


def hostile(task: Task) -> Outcome:
    """In a worker that was taken over: send code for an answer."""
    return Hostile(task.model_file.parent / "canary")  # type: ignore[return-value]


def a_task(folder: Path, stranger: bool) -> Task:
    (folder / "models").mkdir(exist_ok=True)
    root = Store(folder / "store").root
    return Task(folder / "models/m.py", "m", "v", 0, None, root, folder / "logs/v.log", stranger=stranger)


@needs_files
def test_a_worker_is_walled_for_a_stranger_and_fresh_for_the_next(tmp_path: Path) -> None:
    with LocalExecutor(1, tmp_path / "workers", outside) as executor:
        for stranger in (True, False, True):
            (tmp_path / "models/canary").unlink(missing_ok=True)
            found = executor.submit(a_task(tmp_path, stranger), 60).result()
            assert found.failure is None, found.failure
            assert found.score == float(not stranger)
            assert (tmp_path / "models/canary").exists() == (not stranger)
    assert len(list((tmp_path / "workers/0").iterdir())) == 3


def test_an_answer_that_is_code_is_not_run(tmp_path: Path) -> None:
    with LocalExecutor(1, tmp_path / "workers", hostile) as executor:
        found = executor.submit(a_task(tmp_path, True), 60).result()
    assert found.failure is not None
    assert "sent something that is not a result" in found.failure.reason
    assert not found.retried
    assert not (tmp_path / "models/canary").exists()


def test_answers_are_plain_data() -> None:
    sent = Outcome(1, predictions=np.arange(4), others={"x": np.zeros((2, 3), np.float32)}, score=float(np.float64(2)))
    found = pools.plain(pickle.dumps(sent))
    assert (found.predictions == sent.predictions).all()
    assert found.others["x"].shape == (2, 3)
    for answer in (
        os.system,
        subprocess.Popen,
        eval,
        io.open,
        np.load,
        understand.load_file,
        partial(print),
        Path.touch,
    ):
        with pytest.raises(pickle.PicklingError, match="which no answer is made of"):
            pools.plain(pickle.dumps(answer))
    with pytest.raises(pickle.PicklingError, match="is damaged"):
        pools.plain(pickle.dumps(sent)[:-20])


class _Attribute:
    """Pickles as ``getattr(owner, name)``, as Python 3.11.0 to 3.11.3 pickle the members of enumerations."""

    def __init__(self, owner: Any, name: str) -> None:
        self._of = (owner, name)

    def __reduce__(self) -> tuple[Any, tuple[Any, str]]:
        return getattr, self._of


def test_an_attribute_is_a_member_of_a_listed_enumeration() -> None:
    assert pools.plain(pickle.dumps(_Attribute(ResultStatus, "SUCCESS"))) is ResultStatus.SUCCESS
    for owner, name in ((Outcome, "__init__"), (ResultStatus, "__class__"), (ResultStatus, "mro"), ("", "format")):
        with pytest.raises(pickle.PicklingError, match="which no answer is made of"):
            pools.plain(pickle.dumps(_Attribute(owner, name)))
    with pytest.raises(pickle.PicklingError, match="which no answer is made of"):
        pools.plain(pickle.dumps(_Attribute(Exit, "GREEN")))  # an enumeration that no answer holds


@needs_files
def test_a_worker_reaches_the_entries_of_a_store_and_no_code_in_it(tmp_path: Path) -> None:
    task = a_task(tmp_path, True)
    (task.store / ENVIRONMENTS).mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (task.store / "ab").symlink_to(tmp_path / "elsewhere")
    room = _room(task, tmp_path / "workers")
    assert room is not None
    done = attempts(
        room,
        f"open('{task.store}/{ENVIRONMENTS}/site.py', 'w')",
        f"open('{task.store}/ab/x', 'w')",
        f"open('{task.store}/new', 'w')",
        f"open('{task.store}/aa/x', 'w')",
        f"open('{task.store}/.lock', 'w')",
        f"open('{task.log}', 'w')",
    )
    assert done == ["PermissionError"] * 3 + ["done"] * 3
    assert task.store / "ab" not in for_strangers(task.store)


def test_a_model_in_the_home_folder_opens_no_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "models"))
    room = _room(a_task(tmp_path, True), tmp_path / "workers")
    assert room is not None
    assert tmp_path / "models" not in room.read
    assert {tmp_path / "models" / name for name in ("weights", "data", "metrics")} <= set(room.read)


# ---------------------------------------------------------------- loading a model


def a_model(path: Path, form: Form, trusted: bool = False) -> ReferenceModel:
    floors = {"default": Floor(0.5, "x")}
    return ReferenceModel(
        "m", "", path.name, "", "", "", floors, form=form, trusted=trusted, file=path.parent / "model.py"
    )


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Keras file that answers with its two inputs."""
    folder = tmp_path_factory.mktemp("models")
    script = folder / "make.py"
    script.write_text(
        "import sys\nfrom quantbench.core.tensorflow import tensorflow\ntf = tensorflow()\n"
        'x = tf.keras.Input((2,), name="x")\n'
        'tf.keras.Model(x, tf.keras.layers.Dense(2, kernel_initializer="identity")(x)).save(sys.argv[1])\n'
    )
    path = folder / "good.h5"
    done = run_script(script, str(path))
    assert path.exists(), done.stderr
    return path


def hostile_copy(good: Path, folder: Path, symbol: str, first: Any, **others: Any) -> Path:
    """A copy with a ``TFOpLambda`` layer: tf-keras calls the symbol of TensorFlow that it names while it is loaded."""
    path = folder / "hostile.h5"
    shutil.copyfile(good, path)
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        evil = {"name": "evil", "trainable": True, "dtype": "float32", "function": symbol}
        call = ["_CONSTANT_VALUE", -1, first, others]
        config["config"]["layers"].append(
            {"class_name": "TFOpLambda", "name": "evil", "config": evil, "inbound_nodes": [call]}
        )
        file.attrs["model_config"] = json.dumps(config)
    return path


@pytest.mark.forked
def test_one_process_answers_all_questions_on_a_model(good: Path) -> None:
    x = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
    before = psutil.Process().children(recursive=True)
    with Loading(a_model(good, "keras2"), good) as loaded:
        assert loaded.input_specs() == {"x": ((1, 2), np.dtype("float32"))}
        process = loaded._process
        assert (loaded.predict(x) == x).all()
        assert (loaded.predict(-x) == -x).all()
        with pytest.raises(CannotRun):
            loaded.predict(np.zeros((3, 5), np.float32))
        assert (loaded.predict(x) == x).all()
        assert loaded._process is process
        scratch = loaded._scratch
    assert not scratch.exists()
    assert psutil.Process().children(recursive=True) == before, "no process is left behind"


@pytest.mark.forked
@needs_files
@pytest.mark.parametrize(
    ("symbol", "others"),
    [
        pytest.param("io.write_file", {"contents": "owned"}, marks=pytest.mark.nightly),  # as where the user allows it
        pytest.param("io.gfile.mkdir", {}, marks=pytest.mark.nightly),
        pytest.param("io.gfile.copy", {"dst": "{folder}/canary"}, marks=pytest.mark.nightly),
        ("io.gfile.rmtree", {}),
        pytest.param("io.gfile.remove", {}, marks=pytest.mark.nightly),
    ],
)
def test_with_the_first_wall_off_a_hostile_file_does_nothing(
    good: Path, tmp_path: Path, symbol: str, others: dict[str, str]
) -> None:
    """What is said to be trusted is not held to the lists: it goes to Keras, in the process behind the walls."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own/file").write_text("alive")
    firsts = {"io.gfile.rmtree": "own", "io.gfile.remove": "own/file", "io.gfile.copy": "own/file"}
    first = str(tmp_path / firsts.get(symbol, "canary"))
    arguments = {name: value.replace("{folder}", str(tmp_path)) for name, value in others.items()}
    (tmp_path / "model").mkdir()
    path = hostile_copy(good, tmp_path / "model", symbol, first, **arguments)
    with (
        Loading(a_model(path, "keras2", trusted=True), path) as loaded,
        pytest.raises(BadInput, match=r"hostile\.h5: Keras cannot"),
    ):
        loaded.input_specs()
    assert (tmp_path / "own/file").read_text() == "alive"
    assert not (tmp_path / "canary").exists()


class Caller:
    """A server on this machine that remembers whether anybody called."""

    def __init__(self) -> None:
        self.calls = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/x"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            self.calls += 1
            connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")
            connection.close()


def unwalled(path: Path) -> str:
    """What the loading process says of a file without walls around it."""
    job = json.dumps({"path": str(path), "form": "keras2", "trusted": True, "stateful": False})
    command = [sys.executable, "-m", "quantbench.adopt.loading_worker"]
    asked = f'{job}\n{{"ask": "inputs"}}\n'
    return subprocess.run(command, input=asked, cwd=path.parent, capture_output=True, text=True, check=True).stdout


@needs_network
def test_with_the_first_wall_off_nothing_is_fetched(good: Path, tmp_path: Path) -> None:
    caller = Caller()
    (tmp_path / "model").mkdir()
    # Into a folder where it may write, so that it is the network that stops it.
    scratch = {"origin": caller.url, "cache_dir": "."}
    inside = hostile_copy(good, tmp_path / "model", "keras.utils.get_file", "f", **scratch)
    (tmp_path / "room").mkdir()
    with walls.behind(
        partial(
            subprocess.Popen,
            [sys.executable, "-m", "quantbench.adopt.loading_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path / "room",
        ),
        walls.Room(write=(tmp_path / "room",), read=(inside,)),
    ) as process:
        job = json.dumps({"path": str(inside), "form": "keras2", "trusted": True, "stateful": False})
        output, _ = process.communicate(f'{job}\n{{"ask": "inputs"}}\n', timeout=120)
    assert "refused" in output
    assert "ermission denied" in output
    assert caller.calls == 0
    unwalled(inside)
    assert caller.calls > 0


NATIVE = """
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
__attribute__((constructor)) static void ran(void) {{
    FILE *out = fopen("{canary}", "w");
    fprintf(stderr, "native code ran; file %s, socket %s\\n",
            out ? "opened" : "refused", socket(AF_INET, SOCK_STREAM, 0) < 0 ? "refused" : "opened");
    if (out) fclose(out);
    fflush(stderr);
    abort();
}}
"""


@pytest.mark.forked
@needs_files
@needs_network
@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler to build the hostile library")
@pytest.mark.parametrize("where", [pytest.param("elsewhere", marks=pytest.mark.nightly), "the model itself"])
def test_with_the_first_wall_off_native_code_stays_behind_the_second(good: Path, tmp_path: Path, where: str) -> None:
    """A library that is not the model cannot even be read. The model's own file can: what is in it runs, walled."""
    (tmp_path / "model").mkdir()
    canary = tmp_path / "canary"
    (tmp_path / "x.c").write_text(NATIVE.format(canary=canary))
    library = tmp_path / "x.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "x.c"], check=True)
    path = tmp_path / "model" / "hostile.h5"
    if where == "elsewhere":
        hostile_copy(good, tmp_path / "model", "load_op_library", str(library))
    else:
        hostile_copy(good, tmp_path, "load_op_library", str(path))
        with h5py.File(tmp_path / "hostile.h5") as given, h5py.File(path, "w", userblock_size=2**17) as made:
            made.attrs.update(given.attrs)
            for name in given:
                given.copy(name, made)
        with path.open("r+b") as file:
            file.write(library.read_bytes())
    with Loading(a_model(path, "keras2", trusted=True), path) as loaded, pytest.raises(BadInput) as caught:
        loaded.input_specs()
    words = str(caught.value)
    assert ("native code ran" in words) == (where == "the model itself"), words
    assert "native code ran" not in words or "file refused, socket refused" in words
    assert not canary.exists()


@pytest.mark.forked
def test_without_walls_the_same_file_does_its_work(good: Path, tmp_path: Path) -> None:
    """The test above would be empty if the file were not hostile."""
    path = hostile_copy(good, tmp_path, "io.write_file", str(tmp_path / "canary"), contents="owned")
    job = json.dumps({"path": str(path), "form": "keras2", "trusted": True, "stateful": False})
    subprocess.run(
        [sys.executable, "-m", "quantbench.adopt.loading_worker"],
        input=f'{job}\n{{"ask": "inputs"}}\n',
        cwd=child_process.HERE.home,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (tmp_path / "canary").read_text() == "owned"


@pytest.mark.forked
@needs_files
def test_code_that_the_user_allows_is_walled_too(good: Path, tmp_path: Path) -> None:
    """--allow-code lets a file compute as it likes, not change the machine."""
    (tmp_path / "model").mkdir()
    canary = tmp_path / "canary"
    path = hostile_copy(good, tmp_path / "model", "io.write_file", str(canary), contents="owned")
    with Loading(a_model(path, "keras2", trusted=True), path) as loaded, pytest.raises(BadInput):
        loaded.input_specs()
    assert not canary.exists()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os; os.abort()", "the process that loaded it died of SIGABRT"),
        ("import os; os.kill(os.getpid(), 9)", "it takes more memory than it may have"),
        ("raise MemoryError", "it takes more memory than it may have"),
        ("import time; time.sleep(60)", "it could not be loaded and run within 3 s"),
        ("import os; os.write(1, b'x' * 2**21); input()", "gave no answer that can be read"),
        ("import os; os.write(1, b'[' * 10**5 + b'\\n'); input()", "gave no answer that can be read"),
        ("print('null', flush=True); input()", "gave no answer that can be read"),
        ('print(\'{"specs": {"x": 3}}\', flush=True); input()', "gave no inputs of it"),
        ('print(\'{"specs": {"x": [[1], "O,,"]}}\', flush=True); input()', "gave no inputs of it"),
    ],
)
def test_whatever_becomes_of_the_process_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: str, words: str
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\nexec '{sys.executable}' -c \"$CODE\"\n")
    python.chmod(0o755)
    monkeypatch.setattr(loading, "sys", SimpleNamespace(executable=str(python)))
    monkeypatch.setattr(walls, "behind", lambda start, room: start())
    monkeypatch.setattr(walls, "environment", lambda: {**os.environ, "CODE": code})
    path = tmp_path / "m.h5"
    with Loading(a_model(path, "keras2"), Path("given.h5"), 3.0) as loaded, pytest.raises(BadInput) as error:
        loaded.input_specs()
    assert str(error.value).startswith("given.h5: ")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["link", "fifo", "pickle", "packed", "none"])
def test_what_the_process_leaves_for_outputs_is_data(tmp_path: Path, kind: str) -> None:
    loaded = Loading(a_model(tmp_path / "m.h5", "keras2"), tmp_path / "m.h5")
    path = loaded._scratch / "outputs.npz"
    if kind == "link":
        np.savez(tmp_path / "private.npz", np.arange(3))
        path.symlink_to(tmp_path / "private.npz")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "pickle":
        np.savez(path, np.array([Hostile(tmp_path / "canary")], dtype=object))
    elif kind == "packed":
        np.savez_compressed(path, np.zeros(10**6))
    with loaded, pytest.raises(BadInput, match="the outputs that its process wrote cannot be read"):
        loaded._arrays(path)
    assert not (tmp_path / "canary").exists()


def test_a_process_goes_with_its_parent(good: Path, tmp_path: Path) -> None:
    code = (
        "import sys, time; sys.path.insert(0, sys.argv[2])\n"
        "from core.test_walls import Loading, Path, a_model\n"
        "loaded = Loading(a_model(Path(sys.argv[1]), 'keras2'), Path('x'))\n"
        "loaded.input_specs(); print(loaded._process.pid, flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", code, str(good), str(ROOT / "tests")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        one = psutil.Process(int(parent.stdout.readline()))
        assert one.is_running()
        parent.kill()
    psutil.wait_procs([one], timeout=20)
    assert not one.is_running() or one.status() == psutil.STATUS_ZOMBIE


# ---------------------------------------------------------------- from end to end


@pytest.mark.nightly
def test_a_healthy_model_is_tried_behind_walls(quantbench: Quantbench, good: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(40, 2)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x, y=x.argmax(axis=1))
    np.savez(tmp_path / "more.npz", x=-x, y=(-x).argmax(axis=1))
    data = ["--data", str(tmp_path / "data.npz"), "--train-data", str(tmp_path / "more.npz"), "--metric", "accuracy"]
    variants = ["--variants", "ptq_static_wi8_ai8,qat_wi8_ai8", "--latency-budget", "0.3"]
    done = quantbench("try", str(good), *data, *variants, "--report-dir", str(tmp_path / "reports"))
    assert done.status == 0, done.output
    assert "\nShip " in done.output
    report = json.loads((tmp_path / "reports/latest/report.json").read_text())
    assert walls.available().sentence() in report["notes"]
    measured = {cell["variant"]: set(cell["measurements"]) for cell in report["cells"]}
    assert {"score", "latency", "peak_memory", "start_up_warm"} <= measured["qat_wi8_ai8"]
    assert [cell.get("failure") for cell in report["cells"]] == [None] * 4
