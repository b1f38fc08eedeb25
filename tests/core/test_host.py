"""The host of a report: known again, and not named."""

import platform

import pytest
from quantbench.core import environment
from quantbench.engine.merge import together


@pytest.fixture(autouse=True)
def _not_remembered() -> None:
    environment.host.cache_clear()


def test_a_host_is_known_again_and_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "node", lambda: "build-7.example.org")
    here = environment.host()
    assert len(here) == environment.HOST_DIGITS
    assert "build" not in here
    environment.host.cache_clear()
    assert environment.host() == here
    environment.host.cache_clear()
    monkeypatch.setattr(platform, "node", lambda: "build-8.example.org")
    assert environment.host() != here


def test_a_report_records_it_and_a_merged_one_all() -> None:
    one = environment.collect()
    assert one.host == environment.host()
    other = one.model_copy(update={"host": "0"})
    assert together([one, other]).host == f"0 + {one.host}"
