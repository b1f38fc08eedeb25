"""Time two runtimes interleaved, each in its own environment: their processes live at the same time, on the same core,
and one waits while the other works, a few milliseconds each, in random order.

As for a run's own latency (:mod:`quantbench.measure.latency`), fresh processes follow each other, because memory layout
differs between them. Each pair of processes gives one ratio.
"""

import contextlib
import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np

from quantbench.core import walls
from quantbench.core.child_process import ONE_THREAD, Interpreter, ended
from quantbench.measure.latency import (
    LEAST_PROCESSES,
    PROCESS_SECONDS,
    START_LIMIT_SECONDS,
    Blocks,
    LatencyFailed,
    Process,
)

LEAST_ROUNDS = 5


@dataclass(frozen=True)
class Contestant:
    """Pair an artifact with the environment whose runtime runs it.

    Attributes:
        packages: folder of packages that go before those of the environment; None where there are none.
    """

    python: Interpreter
    artifact: Path
    packages: Path | None = None


@dataclass(frozen=True)
class InterleavedTimes:
    """Hold the blocks of each contestant, by name, for each group of fresh processes."""

    groups: list[Process]

    @property
    def seconds(self) -> dict[str, list[float]]:
        """Return contestant -> typical time per call, one value per group."""
        return {name: [group[name].typical for group in self.groups] for name in self.groups[0]}

    @property
    def undisturbed(self) -> float:
        """Return the share of all blocks that ran without interruption."""
        return float(np.mean([blocks.undisturbed.mean() for group in self.groups for blocks in group.values()]))

    def ratios(self, of: str, to: str) -> list[float]:
        """Divide the times of one contestant by those of another in the same group."""
        return [a / b for a, b in zip(self.seconds[of], self.seconds[to], strict=True)]


def time_interleaved(
    contestants: Mapping[str, Contestant],
    inputs: Path,
    seconds: float,
    room: walls.Room | None = None,
    times: int = 1,
    longer: int = 1,
) -> InterleavedTimes:
    """Time artifacts against each other, batch 1, one thread.

    Args:
        contestants: name -> what to time; two or more.
        inputs: prepared examples, see :func:`quantbench.measure.latency.save_inputs`.
        seconds: total timing for each pair of contestants, half of it for each.
        room: what the processes may access, see :func:`quantbench.core.child_process.start`.
        times: as many groups of processes, and so as many seconds.
        longer: how many times as long each group times.

    Raises:
        LatencyFailed: a process did not finish.
    """
    groups = max(LEAST_PROCESSES, round(seconds / PROCESS_SECONDS))
    each = len(contestants) * longer * seconds / groups / 2
    return InterleavedTimes([_one_group(contestants, inputs, each, group, room) for group in range(groups * times)])


def _one_group(
    contestants: Mapping[str, Contestant], inputs: Path, seconds: float, seed: int, room: walls.Room | None
) -> Process:
    """Run one fresh process for each contestant, all on one core, which changes with each group."""
    with ExitStack() as stack:
        # Neither side is the older process in all groups.
        names = list(contestants)[:: -1 if seed % 2 else 1]
        players = {name: stack.enter_context(_player(contestants[name], inputs, room)) for name in names}
        stack.callback(_watch([player.process for player in players.values()], START_LIMIT_SECONDS + 10 * seconds))
        for player in players.values():
            player.ready(_core(seed))
        order = np.random.default_rng(seed)
        spent, rounds = 0.0, 0
        while spent < seconds or rounds < LEAST_ROUNDS:
            for name in order.permutation(list(players)):
                spent += players[name].turn()
            rounds += 1
        return {name: player.blocks() for name, player in players.items()}


def _core(group: int) -> int | None:
    """Choose the core of a group; None where processes cannot be pinned to one."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    cores = sorted(os.sched_getaffinity(0))
    return cores[group % len(cores)]


def _watch(processes: list[subprocess.Popen[str]], limit: float) -> Callable[[], None]:
    """Kill the processes when they hang; return a function that ends the watch."""

    def kill() -> None:
        for process in processes:
            process.kill()

    timer = threading.Timer(limit, kill)
    timer.daemon = True
    timer.start()
    return timer.cancel


class _Player:
    """Control a timing process while it takes its turns."""

    def __init__(self, process: subprocess.Popen[str], errors: IO[str]) -> None:
        self.process = process
        self._errors = errors
        self._seconds: list[float] = []
        self._own: list[float] = []
        self._whole: list[float] = []
        self._in_whole = 1

    def ready(self, core: int | None) -> None:
        """Wait until it has warmed up, and pin it to a core."""
        self._line()
        if core is not None:
            with contextlib.suppress(OSError):  # a machine may forbid it, and the processes still take turns
                os.sched_setaffinity(self.process.pid, {core})

    def turn(self) -> float:
        """Let it work for a moment; return the seconds that this took."""
        assert self.process.stdin is not None
        start = time.perf_counter()
        try:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            self._failed()
        times = json.loads(self._line())
        self._seconds += times["seconds"]
        self._own += times["own"]
        self._whole += times["whole"]
        self._in_whole = times["in_whole"]
        return time.perf_counter() - start

    def blocks(self) -> Blocks:
        """Return all of its blocks."""
        return Blocks(
            np.array(self._seconds), np.array(self._own), whole=np.array(self._whole), in_whole=self._in_whole
        )

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self._failed()
        return line

    def _failed(self) -> None:
        self.process.kill()
        status = self.process.wait()
        self._errors.seek(0)
        last = (self._errors.read().strip().splitlines() or ["no output"])[-1]
        raise LatencyFailed(f"a timing process {ended(status)}: {last[:300]}")


@contextmanager
def _player(contestant: Contestant, inputs: Path, room: walls.Room | None) -> Iterator[_Player]:
    environment = {**(os.environ if room is None else walls.environment()), **ONE_THREAD}
    environment.pop("PYTHONPATH", None)
    if contestant.packages is not None:
        environment["PYTHONPATH"] = str(contestant.packages)
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        start = partial(
            subprocess.Popen,
            [str(contestant.python.executable), "-m", "quantbench.measure.interleaved_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment,
            cwd=contestant.python.home,
        )
        process: subprocess.Popen[str] = start() if room is None else walls.behind(start, room)
        try:
            if room is not None:
                walls.bound(process.pid)
            assert process.stdin is not None
            job = {"artifact": str(contestant.artifact), "inputs": str(inputs), "threads": 1}
            with contextlib.suppress(BrokenPipeError):  # reported when its answer is missing
                process.stdin.write(json.dumps(job) + "\n")
                process.stdin.flush()
            yield _Player(process, errors)
        finally:
            process.kill()
            process.communicate()
