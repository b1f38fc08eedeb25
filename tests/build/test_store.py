"""The store: what goes in comes out, damage is noticed, and a key follows the code that decides a result."""

import json
import os
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from quantbench.build.fingerprint import source_fingerprint
from quantbench.build.store import Store, digest
from quantbench.variants import in_order, qat


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    store = Store(tmp_path / "s")
    key = digest({"a": 1})
    assert store.get(key) is None
    store.put(key, {"x": b"content"}, {"a": 1})
    folder = store.get(key)
    assert folder is not None
    assert (folder / "x").read_bytes() == b"content"
    assert store.root.stat().st_mode & 0o077 == 0


def test_what_is_remembered_is_made_once(tmp_path: Path) -> None:
    store, recipe, made = Store(tmp_path), {"what": "test"}, []

    def make() -> dict[str, bytes]:
        made.append(1)
        return {"x": b"content"}

    def read(folder: Path, cached: bool) -> tuple[bytes, bool]:
        return (folder / "x").read_bytes(), cached

    assert store.recall(recipe, read) is None
    assert store.remember(recipe, make, read) == (b"content", False)
    assert store.remember(recipe, make, read) == store.recall(recipe, read) == (b"content", True)
    (store.path(digest(recipe)) / "x").write_bytes(b"damaged")
    assert store.remember(recipe, make, read) == (b"content", False)
    assert len(made) == 2


def test_what_cannot_be_made_is_tried_again(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def make() -> dict[str, bytes]:
        raise ValueError("it cannot be made")

    with pytest.raises(ValueError, match="cannot be made"):
        store.remember({"what": "test"}, make, lambda folder, _: folder)
    assert store.remember({"what": "test"}, lambda: {"x": b""}, lambda _, cached: cached) is False


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


def _within() -> int:
    return 3


@contextmanager
def _changed() -> Iterator[int]:
    yield _within()


def test_what_a_decorated_function_calls_counts_too() -> None:
    def make() -> int:
        with _changed() as found:
            return found

    assert {"build.test_store._changed", "build.test_store._within"} <= source_fingerprint(make).keys()
    assert f"{in_order.__name__}._on_another_order" in source_fingerprint(qat._custom)


def test_a_captured_function_counts_by_its_source_not_its_address() -> None:
    def make(function: Callable[[], int]) -> Callable[[], int]:
        return lambda: function()

    assert source_fingerprint(make(_one)) != source_fingerprint(make(_two))
    code = "from build.test_store import _one; from quantbench.build.fingerprint import source_fingerprint\n"
    code += "def make(f):\n    return lambda: f()\nprint(source_fingerprint(make(_one)))"
    script = Path(__file__).parents[1] / "_fingerprint.py"
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


def test_the_fingerprint_says_which_function_changed() -> None:
    before, now = (source_fingerprint(_module(helper, "1").make) for helper in ("1", "2"))
    assert {name for name in now if now[name] != before[name]} == {"made_up.helper"}


# ---------------------------------------------------------------- files of others are data


def outsider(folder: Path, how: str, secret: Path) -> None:
    """Make an entry reach out of its folder, with an index that fits."""
    index = json.loads((folder / "entry.json").read_text())
    if how == "a link to a file":
        (folder / "x").unlink()
        (folder / "x").symlink_to(secret)
    elif how == "a name with a path":
        index["files"] = {f"../../../{secret.name}": index["files"]["x"]}
    elif how == "an absolute name":
        index["files"] = {str(secret): index["files"]["x"]}
    elif how == "a file that is not listed":
        (folder / "unsupported.txt").write_text("so it seems")
    elif how == "a named pipe":
        (folder / "x").unlink()
        os.mkfifo(folder / "x")
    elif how == "a link to a folder":
        elsewhere = secret.parent / "elsewhere"
        folder.rename(elsewhere)
        folder.symlink_to(elsewhere)
        return
    elif how == "a link above it":
        elsewhere = secret.parent / "elsewhere"
        folder.parent.rename(elsewhere)
        folder.parent.symlink_to(elsewhere)
        return
    (folder / "entry.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    "how",
    [
        "a link to a file",
        "a name with a path",
        "an absolute name",
        "a file that is not listed",
        "a named pipe",
        "a link to a folder",
        "a link above it",
    ],
)
def test_an_entry_that_reaches_out_of_its_folder_is_refused(tmp_path: Path, how: str) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"content")
    store = Store(tmp_path / "store")
    outsider(store.put("ab12", {"x": b"content"}, {}), how, secret)
    assert not store.has("ab12")
    assert store.get("ab12") is None
    assert secret.read_bytes() == b"content"
    folder = store.put("ab12", {"x": b"content"}, {})
    assert store.get("ab12") == folder
    assert not folder.is_symlink()
    assert len(store.damaged()) == 1


@pytest.mark.parametrize("text", ["[" * 100_000, "null", "[]", '{"key": 1}', '{"key": "ab12", "files": ["x"]}', "\x00"])
def test_an_index_that_is_none_costs_its_entry_alone(tmp_path: Path, text: str) -> None:
    store = Store(tmp_path)
    (store.put("ab12", {"x": b"content"}, {}) / "entry.json").write_text(text)
    assert store.get("ab12") is None


def test_the_journal_is_not_written_through_a_link(tmp_path: Path) -> None:
    store, other = Store(tmp_path / "store"), tmp_path / "other"
    other.write_text("mine")
    (store.put("ab12", {"x": b"content"}, {}) / "x").write_bytes(b"")
    (store.root / "damaged.log").symlink_to(other)
    assert store.get("ab12") is None
    assert other.read_text() == "mine"


def test_a_root_that_is_open_to_others_is_made_private_and_said_so(tmp_path: Path) -> None:
    root = tmp_path / "store"
    root.mkdir()
    root.chmod(0o755)
    assert "was open to other users; it is private now" in Store(root).make_private()
    assert root.stat().st_mode & 0o077 == 0
    assert Store(root).make_private() == ""


def test_the_store_of_another_user_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: tmp_path.stat().st_uid + 1)
    assert "belongs to user" in Store(tmp_path).make_private()
