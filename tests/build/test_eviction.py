"""A store stays within bounds: least recently used first, nothing that a living run uses, nothing of a dead one."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, Quantbench, ThreeCells, command, surroundings
from quantbench.build.eviction import GB, clear, clear_all, clear_environments, clear_if_changed
from quantbench.build.store import ENVIRONMENTS, INSTALLED, Store, digest

HOUR = 3600


def filled(root: Path, ages: dict[str, int]) -> Store:
    """A store with an entry of 1,000 bytes a name, used so many seconds ago."""
    store = Store(root)
    root.mkdir(exist_ok=True)
    now = root.stat().st_mtime
    for name, age in ages.items():
        folder = store.put(digest({"name": name}), {"x": bytes(1000)}, {"what": "test", "name": name})
        os.utime(folder, (now - age, now - age))
    store.release()
    return store


def there(store: Store, *names: str) -> list[bool]:
    return [store.has(digest({"name": name})) for name in names]


def one_entry(store: Store) -> int:
    return sum(file.stat().st_size for file in next(store.root.glob("??/*")).iterdir())


def test_what_was_used_least_recently_goes_first(tmp_path: Path) -> None:
    store = filled(tmp_path, {"old": 3 * HOUR, "older": 4 * HOUR, "new": HOUR})
    assert store.get(digest({"name": "older"})) is not None  # and so it is the newest now
    cleared = clear(store, 2.5 * one_entry(store))
    assert there(store, "old", "older", "new") == [False, True, True]
    assert str(cleared).startswith("1 entry (1.2 kB) used least recently removed")
    assert "2 entries" in str(cleared)


def test_no_limit_and_a_dry_run_remove_no_entry(tmp_path: Path) -> None:
    store = filled(tmp_path, {"a": HOUR, "b": HOUR})
    assert not clear(store, 0)
    told = clear(store, 1, dry_run=True)
    assert len(told.entries) == 2
    assert "2 entries (2.4 kB) used least recently would be removed" in str(told)
    assert there(store, "a", "b") == [True, True]


def quiet(store: Store) -> None:
    """As a store is in which nobody stored or removed anything for an hour."""
    for shard in store.root.glob("??"):
        os.utime(shard, (time.time() - HOUR, time.time() - HOUR))


def test_a_store_in_which_nothing_changed_is_not_looked_through_again(tmp_path: Path) -> None:
    store = filled(tmp_path, {"a": HOUR, "b": 2 * HOUR})
    assert clear_if_changed(store, 0) is not None
    quiet(store)
    assert clear_if_changed(store, 0) is None

    assert clear_if_changed(store, 1.5 * one_entry(store)) is not None  # another limit
    assert there(store, "a", "b") == [True, False]
    assert clear_if_changed(store, 1.5 * one_entry(store)) is not None  # something was removed just before
    quiet(store)
    assert clear_if_changed(store, 1.5 * one_entry(store)) is None

    filled(tmp_path, {"c": HOUR})
    assert clear_if_changed(store, 1.5 * one_entry(store)) is not None  # something was stored
    quiet(store)
    (store.root / ".held" / "dead.lock").touch()
    assert clear_if_changed(store, 1.5 * one_entry(store)) is not None  # a run was killed
    assert not (store.root / ".held" / "dead.lock").exists()


def test_what_is_stored_is_seen_where_the_clock_of_the_files_lags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, now = filled(tmp_path, {"a": HOUR}), time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 60 * 10**9)
    limit = 1.5 * one_entry(store)
    quiet(store)
    assert clear_if_changed(store, limit) is not None
    assert clear_if_changed(store, limit) is None
    filled(tmp_path, {"b": 2 * HOUR})
    assert clear_if_changed(store, limit) is not None
    assert there(store, "a", "b") == [True, False]


def test_what_a_living_run_needs_is_looked_for_again(tmp_path: Path) -> None:
    store = filled(tmp_path, {"a": HOUR})
    store.lease()
    store.get(digest({"name": "a"}))
    assert clear_if_changed(store, 1) is not None
    quiet(store)
    assert clear_if_changed(store, 1) is not None
    store.release()


def in_another_process(root: Path, code: str) -> "subprocess.Popen[str]":
    """Python that has a ``store``, says a word when it is ready, and waits for one."""
    store = f"from quantbench.build.store import *\nstore = Store(Path({str(root)!r}))"
    script = f"{store}\n{code}\nprint('ready', flush=True)\ninput()"
    process = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_what_a_living_run_has_used_stays_and_goes_when_it_died(tmp_path: Path) -> None:
    store = filled(tmp_path, {"used": 3 * HOUR, "unused": HOUR})
    with in_another_process(tmp_path, "store.lease(); assert store.get(digest({'name': 'used'}))") as other:
        told = clear(store, 1)
        assert there(store, "used", "unused") == [True, False]
        assert "1 entry (1." in str(told)
        assert "kept for a run that is not finished" in str(told)
        other.kill()
    clear(store, 1)
    assert there(store, "used") == [False]


def test_leftovers_of_a_killed_run_go_and_those_of_a_living_one_stay(tmp_path: Path) -> None:
    store = filled(tmp_path, {"a": HOUR})
    code = "lease = store.lease(); (lease.scratch / 'x').write_bytes(b'1')\n"
    code += "folder = store.path('ff' * 32).parent; folder.mkdir(); tempfile.mkdtemp(prefix=UNFINISHED, dir=folder)"
    with in_another_process(tmp_path, code) as other:
        assert not clear(store, 0).leftovers
        other.kill()
    told = clear(store, 0)
    assert len(told.leftovers) == 2
    assert "2 leftovers (1 bytes) of unfinished work removed" in str(told)
    assert not list(tmp_path.glob("*/.*"))
    assert not list((tmp_path / ".held").iterdir())
    assert there(store, "a") == [True]


@pytest.mark.slow
def test_a_run_that_is_killed_while_it_times_leaves_nothing_for_ever(
    quantbench: Quantbench, three_cells: ThreeCells, tmp_path: Path
) -> None:
    store = three_cells.copied_store(tmp_path / "store")  # the common one may be held by this very process
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    timed = ["--models", "seed_cnn", "--variants", "float32", "-k", "latency", "--latency-budget", "60"]
    run = subprocess.Popen(
        command("run", *timed, "--report-dir", str(tmp_path / "reports")),
        cwd=ROOT,
        env=surroundings(QUANTBENCH_CACHE=str(store), TMPDIR=str(temporary)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not (begun := list(store.glob(".held/*/scratch/*/inputs.npz"))) and time.monotonic() < deadline:
        time.sleep(0.1)
    run.kill()
    run.wait()
    assert begun
    assert list(temporary.iterdir()) == []
    assert "leftover" in quantbench("cache", "gc", QUANTBENCH_CACHE=str(store)).output
    assert list((store / ".held").iterdir()) == []


def test_a_process_that_ends_leaves_no_hold(tmp_path: Path) -> None:
    with in_another_process(tmp_path, "store.lease()") as other:
        assert len(list((tmp_path / ".held").iterdir())) == 2
        other.communicate("\n")
    assert not list((tmp_path / ".held").iterdir())


def test_an_entry_used_while_others_are_cleared_away_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = filled(tmp_path, {"a": HOUR})
    real = Store.changing

    def used_just_before(self: Store) -> object:
        os.utime(store.path(digest({"name": "a"})))
        return real(self)

    monkeypatch.setattr(Store, "changing", used_just_before)
    assert len(clear(store, 1).spared) == 1
    assert there(store, "a") == [True]


# ---------------------------------------------------------------- environments of `ab`


def installed(store: Store, ages: dict[str, int]) -> list[Path]:
    """Environments of 1,000 bytes, used so many seconds ago."""
    folders = [store.root / ENVIRONMENTS / name for name in ages]
    now = store.root.stat().st_mtime
    for folder, age in zip(folders, ages.values(), strict=True):
        (folder / "lib").mkdir(parents=True)
        (folder / "lib" / "x").write_bytes(bytes(990))
        (folder / INSTALLED).write_text("0123456789")
        os.utime(folder, (now - age, now - age))
    return folders


def test_environments_get_what_the_entries_leave(tmp_path: Path) -> None:
    store = filled(tmp_path, {"a": 5 * HOUR})
    folders = installed(store, {"new": HOUR, "old": 2 * HOUR, "older": 3 * HOUR})
    limit = one_entry(store) + 2500
    cells, told = clear_all(store, limit, dry_run=True)
    assert (bool(cells), len(told.entries), all(folder.exists() for folder in folders)) == (False, 1, True)
    cells, told = clear_all(store, limit)
    assert [folder.exists() for folder in folders] == [True, True, False]
    assert str(told) == (
        "1 installed environment (1.0 kB) used least recently removed; 2 installed environments (2.0 kB) left"
    )
    assert not any(clear_all(store, 0))
    cells, told = clear_all(store, one_entry(store) - 1)
    assert there(store, "a") == [False]
    assert (len(cells.entries), len(told.entries), list((tmp_path / ENVIRONMENTS).iterdir())) == (1, 1, folders[:1])


def test_an_environment_that_is_used_stays_and_one_that_is_half_made_goes_when_its_maker_died(tmp_path: Path) -> None:
    store = filled(tmp_path, {})
    used, other, half = installed(store, {"used": HOUR, "other": 0, "half": HOUR})
    code = f"store.lease(); os.utime({str(used)!r}); (Path({str(half)!r}) / 'requirements.txt').unlink()"
    os.utime(other, (0, 0))
    with in_another_process(tmp_path, code) as process:
        told = clear_environments(store, 0)
        assert [folder.exists() for folder in (used, other, half)] == [True, False, True]
        assert (len(told.spared), told.leftovers) == (2, [])
        process.kill()
    assert len(clear_environments(store, 10**6).leftovers) == 1
    assert [folder.exists() for folder in (used, half)] == [True, False]


def test_the_commands(quantbench: Quantbench, tmp_path: Path) -> None:
    here = {"QUANTBENCH_CACHE": str(tmp_path / "own")}
    assert "0 entries, 0 bytes" in quantbench("cache", "ls", **here).output
    filled(tmp_path / "own", {"a": HOUR, "b": 2 * HOUR})
    assert "2 entries, 2." in quantbench("cache", "ls", **here).output
    assert "nothing would be removed" in quantbench("cache", "gc", "--dry-run", **here).output
    done = quantbench("cache", "gc", "--cache-size", str(2000 / GB), **here)
    assert "1 entry (1.2 kB) used least recently removed" in done.output
    installed(Store(tmp_path / "own"), {"one": HOUR, "two": 2 * HOUR})
    root = tmp_path / "own" / "environments" / "arm" / "root"
    root.mkdir(parents=True)
    listed = quantbench("cache", "ls", **here).output
    assert "installed for quantbench ab: 2, 2.0 kB\ninstalled for ARM answers: 1, 0 bytes" in listed
    root.rmdir()
    root.parent.rmdir()
    done = quantbench("cache", "gc", "--cache-size", str(2500 / GB), **here)
    assert "nothing removed; 1 entry" in done.output
    assert "1 installed environment (1.0 kB) used least recently removed; 1 installed" in done.output
    wrong = quantbench("cache", "gc", "--cache-size", "-1", **here)
    assert (wrong.status, "--cache-size: expected GB" in wrong.output) == (4, True)
