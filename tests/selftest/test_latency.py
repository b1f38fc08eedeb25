"""In which order timing processes are recorded, and how many beside each other."""

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from quantbench.gate import _latency_beside as gate_beside
from quantbench.records import LatencyFault
from quantbench.selftest import latency, suite
from studies.stalls import simulated


def test_what_takes_several_threads_is_recorded_alone_and_the_rest_beside_each_other() -> None:
    lock, running, seen = threading.Lock(), [0], []

    def once(numbered: tuple[int, latency.Condition]) -> Any:
        with lock:
            running[0] += 1
        time.sleep(0.02)
        with lock:
            seen.append((numbered[1].threads, running[0]))
            running[0] -= 1
        return {"number": numbered[0]}

    order = 3 * [latency.HEALTHY, latency.TWO_THREADS, latency.HEALTHY]
    found = list(latency._recorded(once, order, 2))
    assert max(beside for threads, beside in seen if threads == 1) == 2
    assert {beside for threads, beside in seen if threads == 2} == {1}
    assert all(order[process["number"]] is condition for condition, process in found)  # type: ignore[call-overload]
    assert [process["number"] for _, process in latency._recorded(once, order, 1)] == list(range(9))  # type: ignore[call-overload]


def _made_up(monkeypatch: pytest.MonkeyPatch, of: float = 1.0) -> list[LatencyFault]:
    """Judge made-up processes in the place of recorded ones, with this share of their turns."""
    random = np.random.default_rng(3)

    def recorded(
        _model: Any, _control: Any, _variant: Any, counts: dict[Any, int], load: bool, *_: Any, **__: Any
    ) -> Any:
        def once(one: latency.Condition) -> Any:
            every = one.planted["stall"][0] if "stall" in one.planted else 0
            made = simulated(random, 1e6 * one.planted["lasting"], every, 0.02 if load else 0.0)
            return {
                name: replace(blocks, whole=blocks.whole[: int(of * len(blocks.whole))])
                for name, blocks in made.items()
            }

        return {one: [once(one) for _ in range(count)] for one, count in counts.items()}

    monkeypatch.setattr(latency, "record", recorded)
    return latency.stalls(cast(Any, None), Path("control"), Path("variant"), 10, lambda _: None)


def test_rare_stalls_are_caught_by_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    found = _made_up(monkeypatch)
    assert [one.strength for one in found] == [
        f"30 ms, calls of {micro} µs, {where}" for where in ("idle", "loaded") for micro in (100, 300)
    ]
    caught = [one.caught[latency.OURS] for one in found]
    assert caught[0] == caught[2] == 10
    assert caught[1] >= 9
    assert [suite._share_to_catch(one) for one in found] == [latency.STALLS_CAUGHT, 0.0, 0.0, 0.0]
    assert [one.note for one in found[:2]] == ["", ""]


def test_a_dead_judge_of_stalls_makes_its_row_red_on_a_quiet_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_beside, "tested", lambda *_: None)
    quiet = _made_up(monkeypatch)[0]
    assert quiet.caught[latency.OURS] < suite._share_to_catch(quiet) * quiet.trials
    busy = _made_up(monkeypatch, 0.3)[0]
    assert suite._share_to_catch(busy) == 0
    assert busy.note.startswith("too few calls to see it: ")
    assert busy.note.endswith(" a process, 400 are needed")
