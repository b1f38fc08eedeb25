"""Packages that go on under another name: either is used, and what is recorded says which."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from made_up_runs import environment
from quantbench.cli.absent import sentence
from quantbench.comparison.earlier import changed_since_accepted
from quantbench.core import renamed
from quantbench.core.environment import changed_between, describe
from quantbench.records import Accepted

OLD, NEW = "ai-edge-quantizer", "litert-quantizer"


def _installed(folder: Path, name: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install an empty package into a folder that stands before all others."""
    (folder / module).mkdir(parents=True)
    (folder / module / "recipe_manager.py").write_text(f"WHO = {name!r}\n")
    information = folder / f"{name.replace('-', '_')}-9.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 9\n")
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    importlib.invalidate_caches()


def _imported() -> list[str]:
    return [name for name in sys.modules if name.partition(".")[0] in renamed.QUANTIZER_MODULES]


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Make both quantizers absent, until a test installs one; what it imports then is not left to other tests."""
    kept = [path for path in sys.path if not any((Path(path) / name).exists() for name in renamed.QUANTIZER_MODULES)]
    monkeypatch.setattr(sys, "path", kept)
    for name in _imported():
        monkeypatch.delitem(sys.modules, name)
    renamed.installed_name.cache_clear()
    yield monkeypatch
    for name in _imported():
        del sys.modules[name]


@pytest.fixture(autouse=True)
def _forget() -> object:
    yield
    renamed.installed_name.cache_clear()


def test_whichever_quantizer_is_installed_is_used_and_the_one_that_goes_on_first(
    alone: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert renamed.installed_name(NEW) == NEW  # of neither: the one to install
    with pytest.raises(ModuleNotFoundError) as caught:
        renamed.quantizer("recipe_manager")
    assert "litert-quantizer is not installed here" in (sentence(caught.value) or "")
    for name, module in ((OLD, "ai_edge_quantizer"), (NEW, "litert_quantizer")):
        _installed(tmp_path / name, name, module, alone)
        renamed.installed_name.cache_clear()
        assert name == renamed.quantizer("recipe_manager").WHO
        assert renamed.installed_name(NEW) == name


def test_a_change_of_name_is_told_as_one_change() -> None:
    old, new = (environment(packages={name: version}) for name, version in ((OLD, "0.10.0"), (NEW, "0.11.0")))
    assert changed_between(old, new) == ["litert-quantizer 0.10.0 (ai-edge-quantizer) → 0.11.0"]
    assert changed_between(new, old) == ["litert-quantizer 0.11.0 → 0.10.0 (ai-edge-quantizer)"]
    assert changed_between(old, environment(packages={OLD: "0.10.1"})) == ["ai-edge-quantizer 0.10.0 → 0.10.1"]


def test_what_changed_since_an_accepted_value_names_the_quantizer_once_and_as_used() -> None:
    stamp = Accepted(
        date="2026-01-01", reason="r", run="r", environment=describe(environment(packages={OLD: "0.10.0"}))
    )
    [fact] = changed_since_accepted(stamp, environment(packages={NEW: "0.11.0"}), [NEW])
    assert (fact.name, fact.old, fact.new, fact.used) == (NEW, "0.10.0 (ai-edge-quantizer)", "0.11.0", True)
    [fact] = changed_since_accepted(stamp, environment(packages={OLD: "0.9.0"}), ["tf-keras"])
    assert (fact.name, fact.used) == (OLD, False)
