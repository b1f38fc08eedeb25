"""The store: what goes in comes out, damage is noticed, and a key follows the code that decides a result."""

import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.store import Store, digest, source_fingerprint


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    store = Store(tmp_path / "s")
    key = digest({"a": 1})
    assert store.get(key) is None
    store.put(key, {"x": b"content"}, {"a": 1})
    folder = store.get(key)
    assert folder is not None
    assert (folder / "x").read_bytes() == b"content"
    assert store.root.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "index"])
def test_a_damaged_entry_is_made_again(tmp_path: Path, damage: str) -> None:
    store = Store(tmp_path)
    folder = store.put("ab12", {"x": b"content"}, {})
    if damage == "flip":
        (folder / "x").write_bytes(b"Content")
    elif damage == "truncate":
        (folder / "x").write_bytes(b"")
    elif damage == "remove":
        (folder / "x").unlink()
    else:
        (folder / "entry.json").write_text("{")
    assert store.get("ab12") is None
    store.put("ab12", {"x": b"content"}, {})
    assert store.get("ab12") is not None


def test_an_entry_under_a_key_that_is_not_its_own_is_damaged_and_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put("ab12", {"x": b"content"}, {}).rename(tmp_path / "ab" / "ab34")
    assert store.damaged() == []
    assert store.get("ab34") is None
    assert store.damaged() == ["ab34: ValueError: it is the entry of ab12"]


def test_two_writers_of_one_entry_agree(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = store.put("ab12", {"x": b"content"}, {})
    assert store.put("ab12", {"x": b"content"}, {}) == first
    assert [path.name for path in first.parent.iterdir()] == ["ab12"]


def test_the_fingerprint_follows_captured_values() -> None:
    def make(recipe: str) -> Callable[[], str]:
        return lambda: recipe

    assert source_fingerprint(make("a")) == source_fingerprint(make("a"))
    assert source_fingerprint(make("a")) != source_fingerprint(make("b"))


def _one() -> int:
    return 1


def _two() -> int:
    return 2


def test_a_captured_function_counts_by_its_source_not_its_address() -> None:
    def make(function: Callable[[], int]) -> Callable[[], int]:
        return lambda: function()

    assert source_fingerprint(make(_one)) != source_fingerprint(make(_two))
    code = "from test_store import _one; from bench.store import source_fingerprint\n"
    code += "def make(f):\n    return lambda: f()\nimport sys; sys.stdout.write(source_fingerprint(make(_one)))"
    script = Path(__file__).parent / "_fingerprint.py"
    script.write_text(code)
    try:
        printed = {subprocess.check_output([sys.executable, str(script)], text=True) for _ in range(2)}
    finally:
        script.unlink()
    assert len(printed) == 1


def _module(helper: str, other: str) -> types.ModuleType:
    source = f"def helper():\n    return {helper}\ndef other():\n    return {other}\ndef make():\n    return helper()\n"
    module = types.ModuleType("made_up")
    module.__file__ = f"/made_up_{helper}_{other}.py"
    import linecache
    import sys

    linecache.cache[module.__file__] = (len(source), None, source.splitlines(keepends=True), module.__file__)
    sys.modules["made_up"] = module
    exec(compile(source, module.__file__, "exec"), module.__dict__)
    return module


def test_the_fingerprint_follows_what_a_function_uses_and_nothing_else() -> None:
    same = source_fingerprint(_module("1", "1").make)
    assert source_fingerprint(_module("1", "2").make) == same
    assert source_fingerprint(_module("2", "1").make) != same
