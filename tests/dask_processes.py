"""Run a real Dask scheduler and real workers on this machine, each in its own process."""

import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
from conftest import surroundings


class DaskProcesses:
    """Start a scheduler and workers with a store of their own.

    Args:
        folder: for their files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = folder / "store"
        self._file = folder / "scheduler.json"
        self.processes = [self._start("scheduler", "--host", "127.0.0.1", "--port", "0")]
        self.address = self._address()

    def worker(self, *options: str, **environment: str) -> "subprocess.Popen[bytes]":
        """Start one more worker."""
        local = self.folder / f"worker{len(self.processes)}"
        where = ["--host", "127.0.0.1", "--local-directory", str(local)]
        process = self._start("worker", *where, "--nthreads", "1", "--no-nanny", *options, **environment)
        self.processes.append(process)
        return process

    def _start(self, what: str, *options: str, **environment: str) -> "subprocess.Popen[bytes]":
        log = (self.folder / f"{what}{time.monotonic_ns()}.log").open("wb")
        usual = surroundings(QUANTBENCH_CACHE=str(self.store))
        module = f"distributed.cli.dask_{what}"
        command = [sys.executable, "-m", module, "--scheduler-file", str(self._file), "--no-dashboard", *options]
        with log:
            return subprocess.Popen(command, cwd=self.folder, env=usual | environment, stdout=log, stderr=log)

    def _address(self) -> str:
        import json

        for _ in range(600):
            with suppress(OSError, ValueError, KeyError):
                return str(json.loads(self._file.read_text())["address"])
            time.sleep(0.1)
        raise AssertionError("the scheduler did not start within 60 s")

    def wait_for(self, workers: int) -> None:
        """Wait until there are so many workers."""
        from distributed import Client

        with Client(self.address, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=60)

    def stop(self) -> None:
        """End all processes."""
        for process in reversed(self.processes):  # a worker that loses its scheduler while it ends may hang
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def cells_under_way(worker: "subprocess.Popen[bytes]") -> int:
    """Count the processes that a worker has started for cells."""
    with suppress(psutil.Error):
        children = psutil.Process(worker.pid).children(recursive=True)
        return sum("spawn_main" in " ".join(child.cmdline()) for child in children)
    return 0
