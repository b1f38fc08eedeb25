"""The process that runs an artifact on an accelerator: how many examples and turns a slow device gets, and its end."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quantbench.core import child_process
from quantbench.core.arrays import Array
from quantbench.measure import gpu_worker
from quantbench.tflite.litert_gpu import LiteRTGPU

CALL_SECONDS = 0.02


class Slow(LiteRTGPU):
    """A device that takes its time for every call; the answer tells which example it was given."""

    def __init__(self, seconds: float = CALL_SECONDS) -> None:
        self._seconds = seconds
        self._input_names, self._output_names = ["x"], ["y"]
        self._outputs, self._shapes = [None], [((1, 2), np.dtype(np.float32))]
        self._given: Array = np.zeros(2)

    def feeder(self, inputs: Any) -> Any:
        def feed(i: int) -> None:
            self._given = inputs["x"][i % len(inputs["x"])]

        return feed

    def invoke(self) -> list[Array]:
        time.sleep(self._seconds)
        return [self._given]

    def close(self) -> None:
        pass


def job(folder: Path, **times: float) -> dict[str, Any]:
    np.savez(folder / "in.npz", x_x=np.arange(200, dtype=np.float32).reshape(100, 2))
    files = {"artifacts": {"variant": "a"}, "inputs": {"variant": str(folder / "in.npz")}}
    usual = {"answer_seconds": 60.0, "step_seconds": 60.0, "seconds": 0.0, "seed": 0}
    return {**files, "answers": str(folder / "out.npz"), **usual, **times}


@pytest.fixture
def armed(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds of each alarm that was set; none rings here."""
    seconds: list[float] = []
    monkeypatch.setattr(gpu_worker, "alarm_after", seconds.append)
    monkeypatch.setattr(gpu_worker, "_loaded", lambda *_: Slow())
    return seconds


def test_a_slow_device_answers_as_many_examples_as_its_time_allows(tmp_path: Path, armed: list[float]) -> None:
    gpu_worker.run(job(tmp_path, answer_seconds=5 * CALL_SECONDS))
    with np.load(tmp_path / "out.npz") as file:
        answers = file["y_y"]
    assert 1 < len(answers) < 50
    assert np.array_equal(answers, np.arange(2 * len(answers)).reshape(-1, 2))  # the first ones, in order
    assert armed[-1] == 0


@pytest.mark.parametrize(("slow_seconds", "calls"), [(10.0, gpu_worker.LEAST_TURNS), (0.0, 1)])
def test_it_answers_one_at_least_and_is_timed_once_at_least(
    slow_seconds: float, calls: int, tmp_path: Path, armed: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_worker, "SLOW_SECONDS", slow_seconds)
    timed = gpu_worker.run(job(tmp_path, answer_seconds=0.0))
    with np.load(tmp_path / "out.npz") as file:
        assert len(file["y_y"]) == 1
    assert len(timed["variant"]) == calls
    # Loading, the answer and the end of answers, warming up, timing, and no more.
    warmed_up = gpu_worker.WARMUP_CALLS if calls > 1 else 1
    assert armed == [60.0] * (1 + 2 + warmed_up + calls) + [0]


def test_the_slowest_device_makes_six_calls(
    tmp_path: Path, armed: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two answers, as the first may have to compile, and each file warmed up and timed once."""
    monkeypatch.setattr(gpu_worker, "SLOW_SECONDS", 0.0)
    both = job(tmp_path, answer_seconds=CALL_SECONDS / 2)
    both["artifacts"]["control"], both["inputs"]["control"] = "b", both["inputs"]["variant"]
    timed = gpu_worker.run(both)
    assert {name: len(calls) for name, calls in timed.items()} == {"variant": 1, "control": 1}
    loaded, asked, calls = 2, 2, 2 * 2  # alarms: to load, before each answer, before each further call
    assert armed == [60.0] * (loaded + asked + 1 + calls) + [0]
    with np.load(tmp_path / "out.npz") as file:
        assert len(file["y_y"]) == 2


def test_a_call_that_hangs_ends_the_process_wherever_it_hangs(tmp_path: Path) -> None:
    script = f"""
import sys
sys.path[:0] = [{str(child_process.HERE.home)!r}, {str(Path(__file__).parent)!r}]
from quantbench.measure import gpu_worker
from test_gpu_worker import Slow, job
from pathlib import Path
gpu_worker._loaded = lambda *_: Slow(60)
gpu_worker.run(job(Path({str(tmp_path)!r}), step_seconds=0.2))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False, timeout=50)
    assert done.returncode == -signal.SIGALRM, done.stderr
    assert gpu_worker.END_OF_VARIANT in done.stderr.decode()
