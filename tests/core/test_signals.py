"""Work that a run can do without is ended by a signal, and the run is not."""

import os
import signal
import time
from contextlib import suppress
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict
from pydantic_core import core_schema
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


class SendsASignal:
    """A type that is interrupted while pydantic completes a class with it."""

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return core_schema.any_schema()


class CompletedLate(BaseModel):
    model_config = ConfigDict(defer_build=True)

    field: SendsASignal


def test_no_class_stays_half_made() -> None:
    made = []

    def work() -> None:
        made.append(CompletedLate.model_validate({"field": 3}).field)
        time.sleep(30)

    assert not ends_only_this(work)
    assert made == [3]


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
