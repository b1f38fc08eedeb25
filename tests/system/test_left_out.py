"""What waits for the nightly run is left out of the others, and counted."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import conftest
import pytest
from conftest import ROOT


class Item:
    """A test of a file, with markers."""

    def __init__(self, name: str, *markers: str) -> None:
        self.name, self.path, self._markers = name, Path(name[0]), markers
        self.fixturenames = ["quantbench"] if name == "c1" else []

    def get_closest_marker(self, name: str) -> str | None:
        return name if name in self._markers else None


def collected(markexpr: str = "", nightly: bool = False) -> tuple[list[str], list[str], Any]:
    """Names of what runs and of what is deselected, and the session's settings."""
    deselected: list[str] = []
    hook = SimpleNamespace(pytest_deselected=lambda items: deselected.extend(item.name for item in items))
    option = SimpleNamespace(nightly=nightly, markexpr=markexpr)
    config: Any = SimpleNamespace(option=option, hook=hook, stash=pytest.Stash(), workeroutput={})
    items: Any = [
        Item("a1"),
        Item("a2", "nightly"),
        Item("c1"),
        Item("b1", "slow"),
        Item("b2"),
        Item("b3", "slow", "nightly"),
    ]
    conftest.pytest_collection_modifyitems(config, items)
    conftest.pytest_sessionfinish(SimpleNamespace(config=config))  # type: ignore[arg-type]
    return [item.name for item in items], deselected, config


def told(config: Any) -> list[str]:
    lines: list[str] = []
    conftest.pytest_terminal_summary(SimpleNamespace(line=lines.append), config)  # type: ignore[arg-type]
    return lines


def test_the_default_run_leaves_out_and_counts_what_is_marked_nightly() -> None:
    run, deselected, config = collected()
    assert run == ["c1", "b1", "b2", "a1"]  # files with tests that are slow or start the command first
    assert sorted(deselected) == ["a2", "b3"]
    assert told(config) == ["2 tests marked nightly were left out; --nightly runs them as well"]


def test_of_several_processes_the_first_tells_the_number() -> None:
    worker = collected()[2]
    first: Any = SimpleNamespace(stash=pytest.Stash())
    conftest.pytest_testnodedown(SimpleNamespace(config=first, workeroutput=worker.workeroutput))
    assert told(first) == told(worker)
    conftest.pytest_testnodedown(SimpleNamespace(config=first))  # of one that died
    assert told(first) == told(worker)


@pytest.mark.parametrize(("markexpr", "nightly"), [("", True), ("nightly", False), ("slow and not nightly", False)])
def test_who_asks_for_them_gets_them(markexpr: str, nightly: bool) -> None:
    run, deselected, config = collected(markexpr, nightly)
    assert len(run) == 6
    assert (deselected, told(config)) == ([], [])


def test_the_nightly_workflow_runs_all_tests() -> None:
    assert "tox run -e tests-nightly\n" in (ROOT / ".github" / "workflows" / "nightly.yml").read_text()
    assert "[testenv:tests-nightly]\n" in (ROOT / "tox.ini").read_text()
    assert "--nightly\n" in (ROOT / "tox.ini").read_text()
