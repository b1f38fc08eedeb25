"""Run the command line in processes that have their imports already, for tests in which those are not what is tested.

A server, one for all processes of pytest that share the tests, imports what the commands import before they do
anything, and forks a process for each command. So a command is a process of its own, with its own environment, folder
and output, that ends by itself; what it saves is about a second of imports, several hundred times in a run of all
tests. Tests of what a fresh interpreter does (imports, signals, streams, terminals) start one: ``conftest.command``.

    python command_server.py FOLDER
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from multiprocessing import process, util
from pathlib import Path
from typing import Any, NoReturn

import forked_workers
import psutil

# What the command line imports before its commands begin, and what most commands import then. Neither TensorFlow nor
# LiteRT, whose threads no fork survives; and no plugin of pytest, which pytest imports itself. Commands that load
# models are forked from a second server, which was forked from the first one and has imported TensorFlow as well: see
# forked_workers.py. Each imports at the first request.
_IMPORTED = (
    "pytest",
    "scipy.special",
    "scipy.stats",
    "quantbench.cli.app",
    "quantbench.suites.screen",
    "quantbench.comparison.history",
    "quantbench.report.comparison",
    "quantbench.report.markdown",
    "quantbench.baselines.update",
    "quantbench.adopt.commands",
    "quantbench.engine.session",
    "quantbench.report.html.page",
)
_LOADING = ("run", "try", "adopt", "tune", "export")  # commands that start processes which load TensorFlow
FRESH_WORKERS = "QUANTBENCH_TESTS_FRESH_WORKERS"  # set where a test is about those processes
PLAIN, TENSORFLOW, _LOG = "s", "t", "log"  # sockets, and what the servers print while no command has begun
_LONGEST = 2**20  # bytes of a request
_TELL = forked_workers.TELL
_DYING_SECONDS = 10.0
_CALLS = 500  # of an artifact whose memory is measured: a tenth of the usual ones
seconds_used = [0.0]  # by all commands so far, on the processors


_starting = threading.Lock()
_folder: Path | None = None


def folder() -> Path:
    """Return the folder of the server's sockets and log; start the server, which ends with this process."""
    with _starting:
        if _folder is None:
            use(_started())
        assert _folder is not None
        return _folder


def use(folder: Path) -> None:
    """Use the server that another process has started."""
    global _folder
    _folder = folder


def _started() -> Path:
    kept = tempfile.TemporaryDirectory(prefix="qb-")  # short: paths of sockets may have 107 letters
    folder = Path(kept.name)
    # As most commands: see conftest.surroundings.
    left_out = ("PYTHONUNBUFFERED", "QUANTBENCH_VULKAN", "QUANTBENCH_REQUIRE_GPU")
    seen = {name: value for name, value in os.environ.items() if name not in left_out}
    seen |= {
        "PYTHONPATH": str(Path(__file__).parents[1] / "bench"),
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }
    called, pipe = [sys.executable, __file__, str(folder)], subprocess.PIPE
    with (folder / _LOG).open("wb") as log:
        server = subprocess.Popen(called, stdin=pipe, stdout=pipe, stderr=log, env=seen)
    assert server.stdin is not None
    assert server.stdout is not None

    def end() -> None:
        server.stdin.close()  # type: ignore[union-attr]
        server.wait()
        kept.cleanup()

    atexit.register(end)
    if not server.stdout.readline():
        raise RuntimeError(f"the server of commands did not start: {(folder / _LOG).read_text()}")
    return folder


def run(
    arguments: list[str],
    cwd: Path,
    environment: Mapping[str, str],
    timeout: float,
    first: str = "",
    script: Path | None = None,
) -> "subprocess.CompletedProcess[str]":
    """Run ``quantbench ARGUMENTS`` in a forked process, and return what it printed and its status.

    It computes in one worker process unless it asks for more: each would import TensorFlow, and several tests share the
    cores anyway.

    Args:
        first: Python code that the process runs before the command.
        script: a script to run instead, with these arguments.

    Raises:
        subprocess.TimeoutExpired: it did not end in time, and was killed.
    """
    asked = {
        "arguments": arguments,
        "cwd": str(cwd),
        "environment": dict(environment),
        "first": first,
        "script": str(script or ""),
    }
    request = json.dumps(asked).encode()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, tempfile.TemporaryFile() as traces:
        loads = script is not None or (arguments and arguments[0] in _LOADING)
        loading = loads and FRESH_WORKERS not in environment
        connection.connect(str(folder() / (TENSORFLOW if loading else PLAIN)))
        pipes = [os.pipe() for _ in range(2)]
        given = os.open(os.devnull, os.O_RDONLY)
        theirs = [given, *(write for _, write in pipes), os.dup(traces.fileno())]
        socket.send_fds(connection, [len(request).to_bytes(4, "big")], theirs)
        connection.sendall(request)
        for descriptor in theirs:
            os.close(descriptor)
        printed: list[bytes] = [b"", b""]

        def read(number: int) -> None:
            with os.fdopen(pipes[number][0], "rb") as stream:
                printed[number] = stream.read()

        readers = [threading.Thread(target=read, args=[number], daemon=True) for number in range(2)]
        for reader in readers:
            reader.start()
        with connection.makefile("r") as answers:
            pid = int(answers.readline() or _ended())
            connection.settimeout(timeout)
            try:
                status, seconds = answers.readline().split()
            except TimeoutError:
                error = subprocess.TimeoutExpired(arguments, timeout)
                error.add_note("\n".join(_killed(pid, traces.fileno())))
                for reader in readers:
                    reader.join(_DYING_SECONDS)
                traces.seek(0)
                for content in (traces.read(), *printed):
                    error.add_note(content.decode(errors="replace"))
                raise error from None
        for reader in readers:
            reader.join(timeout)
    texts = [content.decode(errors="replace").replace("\r\n", "\n") for content in printed]
    seconds_used[0] += float(seconds)
    return subprocess.CompletedProcess(["quantbench", *arguments], int(status), *texts)


def _ended() -> NoReturn:
    raise RuntimeError(f"the server of commands has ended: {(folder() / _LOG).read_text()}")


def _killed(pid: int, traces: int) -> list[str]:
    """Kill a process that hangs, and those that it started; say what each was, once it has told where in Python."""
    family, told = [], []
    with suppress(psutil.Error):
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    for one in family:
        with suppress(psutil.Error):
            told.append(f"{one.pid} {one.status()}, {one.num_threads()} threads: {' '.join(one.cmdline())[:120]}")
    for one in family:
        with suppress(psutil.Error):
            one.send_signal(_TELL)
    for _ in range(50):
        time.sleep(0.1 if os.fstat(traces).st_size == 0 else 0.01)
    for one in family:
        with suppress(psutil.Error):
            one.kill()
    return told


# ---------------------------------------------------------------- the server's side


def _received(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Read a request, and the standard streams of its process and the file for its traces."""
    size, descriptors, _, _ = socket.recv_fds(connection, 4, 4)
    content = b""
    while len(content) < int.from_bytes(size, "big"):
        part = connection.recv(_LONGEST)
        if not part:
            raise EOFError
        content += part
    return json.loads(content), list(descriptors)


def _listener(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen(64)
    return listener


def _asked(*listeners: socket.socket) -> list[socket.socket]:
    """Wait for those that somebody connects to; end where standard input does."""
    readable, _, _ = select.select([0, *listeners], [], [])
    if 0 in readable:
        os._exit(0)
    return [one for one in listeners if one in readable]


def _serve(folder: Path) -> tuple[dict[str, Any], bool]:
    """Fork for each request; return in a forked process alone: the request, and whether TensorFlow is imported."""
    plain, loading = _listener(folder / PLAIN), _listener(folder / TENSORFLOW)
    listeners, tensorflow = [plain, loading], False
    print("ready", flush=True)
    _asked(*listeners)
    _import()
    # Who waits for a command is waited for by nobody. Not before: what is imported waits for processes of its own.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        for listener in _asked(*listeners):
            if listener is loading and plain in listeners:  # the first one that loads models
                tensorflow = os.fork() == 0
                listeners = [loading if tensorflow else plain]
                (plain if tensorflow else loading).close()
                if tensorflow:
                    _import_tensorflow()
                break
            connection, _ = listener.accept()
            if os.fork() == 0:
                for one in listeners:
                    one.close()
                return _answered(connection), tensorflow
            connection.close()


def _import() -> None:
    """Import what commands import, and make what each would make anew before it has read anything."""
    for module in (*_IMPORTED, "quantbench.engine.workers.local"):
        importlib.import_module(module)
    import typer.main
    from quantbench.cli.app import app
    from quantbench.core.environment import own_cpu
    from quantbench.measure import gpu_devices
    from quantbench.records._common import Record
    from quantbench.reference.model import load_models
    from quantbench.report.html.templating import environment

    whole = typer.main.get_command(app)
    typer.main.get_command = lambda _: whole
    for record in _below(Record):
        record.model_rebuild()
    own_cpu()
    gpu_devices.find()
    for name in environment().list_templates():
        environment().get_template(name)
    load_models(Path(__file__).parents[1] / "models")["seed_cnn"].pack()
    gc.freeze()  # so that no command looks through all of that again


def _below(kind: type) -> list[Any]:
    """List all classes that are derived from one."""
    return [one for derived in kind.__subclasses__() for one in (derived, *_below(derived))]


def _import_tensorflow() -> None:
    from quantbench.build import artifact
    from quantbench.build.package_contents import package_contents
    from quantbench.core import dependencies
    from quantbench.variants import VARIANTS

    forked_workers.imported()
    for name in {*artifact.STAGE_PACKAGES, *(name for variant in VARIANTS.values() for name in variant.packages)}:
        package_contents(name)  # it looks at each of their files
    dependencies.required()
    gc.freeze()


def _answered(connection: socket.socket) -> dict[str, Any]:
    """Fork once more for the command itself, and tell its process id and status; return in its process alone."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    request, descriptors = _received(connection)
    pid = os.fork()
    if pid == 0:
        connection.close()
        *streams, forked_workers.traces = descriptors
        for number, descriptor in enumerate(streams):
            os.dup2(descriptor, number)
            os.close(descriptor)
        return request
    for number in (*descriptors, 0, 1, 2):
        os.close(number)
    connection.sendall(f"{pid}\n".encode())
    _, status, used = os.wait4(pid, 0)
    connection.sendall(f"{os.waitstatus_to_exitcode(status)} {used.ru_utime + used.ru_stime}\n".encode())
    os._exit(0)


def _drivers() -> dict[str, str]:
    """What says which devices are found: the user's choice, and what loaders of drivers and libraries read."""
    read = ("QUANTBENCH_VULKAN", "QUANTBENCH_OPENVINO", "VK_", "LD_", "XDG_", "PATH", "HOME")
    return {name: value for name, value in os.environ.items() if name.startswith(read) and value}


def _become(request: dict[str, Any]) -> None:
    """Make this process what ``python -m quantbench`` is in that folder and environment."""
    from quantbench.engine.workers import local
    from quantbench.measure import gpu_devices, memory

    drivers = _drivers()
    os.environ.clear()
    os.environ.update(request["environment"])
    if _drivers() != drivers:  # the server's own list of devices is not this command's
        gpu_devices.find.cache_clear()
    os.chdir(request["cwd"])
    sys.path[0] = process.ORIGINAL_DIR = os.getcwd()
    more = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[1:1] = [entry for entry in more if entry and entry not in sys.path]
    sys.argv = ["quantbench", *request["arguments"]]
    forked_workers.tell_where()
    local.cores = lambda: 1  # what LocalExecutor takes where no number is given
    memory.measure = partial(memory.measure, processes=2)  # as few as have a spread; see measure/test_memory.py
    memory.CALLS = _CALLS
    for finalizer in util._finalizer_registry.values():  # else they are those of the server, and ignored
        finalizer._pid = os.getpid()


if __name__ == "__main__":
    asked, loading = _serve(Path(sys.argv[1]))
    _become(asked)
    if loading:
        forked_workers.install()
    with forked_workers.ending_at_once():  # taking TensorFlow apart takes a second
        if asked["script"]:
            sys.argv[0], sys.path[0] = asked["script"], str(Path(asked["script"]).parent)
            runpy.run_path(asked["script"], run_name="__main__")
            sys.exit()
        exec(asked["first"], {})
        runpy.run_module("quantbench", run_name="__main__", alter_sys=True)
