"""Work that a run can do without is ended by a signal, and the run is not."""

import os
import signal
from contextlib import suppress

import pytest
from quantbench.core import signals
from quantbench.core.signals import ends_only_this, stop_asked

pytestmark = pytest.mark.usefixtures("stops_in_order")


def test_a_signal_ends_the_work_alone() -> None:
    done = []

    def work() -> None:
        done.append("first")
        os.kill(os.getpid(), signal.SIGINT)
        done.append("second")

    assert not ends_only_this(work)
    assert done == ["first"]
    assert not stop_asked()
    assert ends_only_this(lambda: None)


def test_one_whose_exception_was_lost_is_noticed() -> None:
    def work() -> None:
        with suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)

    assert not ends_only_this(work)
    assert not stop_asked()


def test_the_next_one_ends_the_run_again() -> None:
    ends_only_this(lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    assert stop_asked()


def test_one_that_came_before_ends_the_run() -> None:
    signals._state.came = 1
    with pytest.raises(KeyboardInterrupt):
        ends_only_this(lambda: None)
    assert stop_asked()
