"""Causes are looked for where something is red or slow, in bounded time, and nowhere else."""

from pathlib import Path
from typing import Any

import pytest
from made_up_runs import cell
from quantbench.engine import causes, explain, explain_time, slow_cells
from quantbench.errors import BadInput
from quantbench.records import Attribution, Cell, Kind, OperatorTimes, Verdict

TIMES = OperatorTimes(processes=3, microseconds=2.0, reference_microseconds=1.0)


def cells(count: int, kind: Kind, verdict: Verdict) -> list[Cell]:
    return [cell(f"v{number}", verdict=verdict, verdicts={kind: verdict}) for number in range(count)]


def artifacts(of: list[Cell], folder: Path) -> dict[str, Path]:
    (folder / "a.tflite").write_bytes(b"artifact")
    return {one.id: folder / "a.tflite" for one in [*of, cell("float32")]}


class Asked:
    """Stand in for what takes the time, and note what was asked for."""

    def __init__(self, answer: Any, fails: bool = False) -> None:
        self.names: list[str] = []
        self._answer, self._fails = answer, fails

    def __call__(self, subject: explain.Subject, model: Any, seconds: float) -> Any:
        self.names.append(subject.name)
        if self._fails:
            raise BadInput("cannot be timed by operator")
        return self._answer


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Asked]:
    found = {"error": Asked(Attribution(examples=1, matched=1.0, operators=[])), "time": Asked(TIMES)}
    monkeypatch.setattr(explain, "attributed", found["error"])
    monkeypatch.setattr(explain_time, "timed", found["time"])
    return found


def looked(of: list[Cell], folder: Path) -> tuple[dict[str, Attribution], dict[str, OperatorTimes]]:
    made, models = artifacts(of, folder), {"m": None}
    facts: Any = (of, causes.made_here(made), models, lambda _: None, lambda _: None)
    return dict(causes.of_reds(*facts)), slow_cells.of_slow(*facts)


@pytest.mark.parametrize("verdict", [Verdict.PASS, Verdict.IMPROVED, Verdict.UNJUDGED, Verdict.XFAIL])
def test_a_green_run_looks_for_nothing(asked: dict[str, Asked], tmp_path: Path, verdict: Verdict) -> None:
    green = [*cells(3, Kind.ACCURACY, verdict), *cells(3, Kind.LATENCY, verdict)]
    assert looked(green, tmp_path) == ({}, {})
    assert asked["error"].names == asked["time"].names == []


@pytest.mark.parametrize("verdict", [Verdict.REGRESSED, Verdict.WARN])
def test_slow_cells_are_timed_but_few(asked: dict[str, Asked], tmp_path: Path, verdict: Verdict) -> None:
    _, times = looked(cells(9, Kind.LATENCY, verdict), tmp_path)
    assert list(times) == asked["time"].names == ["m/v0", "m/v1", "m/v2"]
    assert asked["error"].names == []


def test_a_red_score_is_no_slow_cell(asked: dict[str, Asked], tmp_path: Path) -> None:
    found, times = looked(cells(1, Kind.ACCURACY, Verdict.REGRESSED), tmp_path)
    assert (list(found), times, asked["time"].names) == (["m/v0"], {}, [])


def test_the_time_of_a_run_is_bounded(asked: dict[str, Asked], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_cells, "MOST_SECONDS", 0.0)
    assert looked(cells(3, Kind.LATENCY, Verdict.REGRESSED), tmp_path)[1] == {}
    assert asked["time"].names == []


def test_a_trained_cell_is_timed_beside_float32(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    controls = []

    def timed(subject: explain.Subject, *_: object) -> OperatorTimes:
        controls.append(subject.control)
        return TIMES

    monkeypatch.setattr(explain_time, "timed", timed)
    slow = cells(1, Kind.LATENCY, Verdict.REGRESSED)
    looked([slow[0].model_copy(update={"seeds": [0, 1]})], tmp_path)
    assert controls == [b"artifact"]


def test_a_cell_that_cannot_be_timed_is_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(explain_time, "timed", Asked(None, fails=True))
    assert looked(cells(2, Kind.LATENCY, Verdict.REGRESSED), tmp_path)[1] == {}
