"""In which order timing processes are recorded, and how many beside each other."""

import threading
import time
from typing import Any

from quantbench.selftest import latency


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
