import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

PACKAGE = Path(__file__).parents[2] / "bench" / "quantbench"
# Those of a Dask cluster are that library's own.
WORKERS = sorted(
    ".".join(("quantbench", *file.relative_to(PACKAGE).with_suffix("").parts)) for file in PACKAGE.glob("*/*_worker.py")
)
# A worker whose work never ends, and says when it begins.
STUCK = """
import os, runpy, sys, time
from pathlib import Path
from quantbench.core import worker

def stuck(job):
    Path(sys.argv[2]).with_suffix(".part").write_text(str(os.getpid()))
    Path(sys.argv[2]).with_suffix(".part").rename(sys.argv[2])
    time.sleep(600)

main, lines = worker.worker_main, worker.answer_lines
worker.worker_main = lambda run: main(stuck)
worker.answer_lines = lambda begin, ready="": lines(stuck, ready)
runpy.run_module(sys.argv[1], run_name="__main__")
"""
PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-c', *sys.argv[1:]])"
CHATTY = """
import os
from quantbench.core.worker import worker_main

def run(job):
    print("a library says so")
    os.system("echo a program says so")
    return {"twice": 2 * job["value"]}

worker_main(run)
"""
LINES = """
import json
from quantbench.core.worker import answer_lines

def begin(job):
    print("a library says so")
    return lambda line: json.loads(line) + job["value"]

answer_lines(begin, ready="ready")
"""


def test_every_worker_is_known() -> None:
    assert len(WORKERS) == 19


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel does it on Linux only")
@pytest.mark.parametrize("module", WORKERS)
def test_a_worker_does_not_outlive_the_process_that_started_it(module: str, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    command = [sys.executable, "-c", PARENT, STUCK, module, str(begun)]
    # The worker's input is ours too, so that it is not the end of it that ends the worker.
    read, write = os.pipe()
    with subprocess.Popen(command, stdin=read, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as parent:
        os.close(read)
        os.write(write, b"{}\n")
        other = os.dup(write) if _answers_lines(module) else None
        os.close(write)
        try:
            _until(begun.exists, 60, parent)
            worker = psutil.Process(int(begun.read_text(encoding="utf-8")))
            parent.send_signal(signal.SIGKILL)
            parent.wait()
            try:
                _until(lambda: _is_gone(worker), 5)
            finally:
                if not _is_gone(worker):
                    worker.kill()
        finally:
            parent.kill()
            if other is not None:
                os.close(other)


def _answers_lines(module: str) -> bool:
    return "answer_lines(" in (PACKAGE / f"{module.removeprefix('quantbench.').replace('.', '/')}.py").read_text(
        "utf-8"
    )


def _is_gone(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)  # nobody may have asked how it ended yet
    except psutil.NoSuchProcess:
        return True


def _until(happened: Callable[[], bool], seconds: float, parent: "subprocess.Popen[str] | None" = None) -> None:
    end = time.monotonic() + seconds
    while not happened():
        if parent is not None and parent.poll() is not None:
            assert parent.stderr is not None
            pytest.fail(parent.stderr.read())
        assert time.monotonic() < end
        time.sleep(0.02)


def _started(code: str) -> "subprocess.Popen[str]":
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def test_a_workers_standard_output_is_its_result_alone() -> None:
    with _started(CHATTY) as worker:
        output, errors = worker.communicate('{"value": 4}', timeout=60)
    assert json.loads(output) == {"twice": 8}
    assert "a library says so" in errors
    assert "a program says so" in errors


def test_a_worker_answers_line_by_line_until_there_are_no_more() -> None:
    with _started(LINES) as worker:
        output, errors = worker.communicate('{"value": 4}\n1\n2\n', timeout=60)
    assert output.splitlines() == ["ready", "5", "6"]
    assert "a library says so" in errors
    assert worker.returncode == 0


def test_a_worker_outlives_the_thread_that_started_it() -> None:
    started: list[subprocess.Popen[str]] = []
    thread = threading.Thread(target=lambda: started.append(_started(CHATTY)))
    thread.start()
    thread.join()
    with started[0] as worker:
        output, _ = worker.communicate('{"value": 4}', timeout=60)
    assert json.loads(output) == {"twice": 8}


def test_the_memory_worker_imports_nothing_of_weight() -> None:
    """What it imports is part of the peak that it measures, and of the ratios that baselines hold."""
    code = (
        "import sys, numpy, ai_edge_litert.interpreter, ctypes, json, mmap, resource; before = set(sys.modules)\n"
        "import quantbench.measure.memory_worker; print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    packages = {"quantbench", "quantbench.core", "quantbench.measure"}
    assert set(done.stdout.split()) == packages | {"gc", "quantbench.core.worker", "quantbench.measure.memory_worker"}
