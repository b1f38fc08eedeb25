"""Every hostile file gets one sentence, and nothing outside of what was given is run, read, written or deleted.

The files are tried out by `driver.py`, many in a process; one of some kinds by the real command in one of its own.
A twelfth of each kind, always the same ones, is in the default run, and all of them in the nightly one.
"""

import json
import math
import os
import re
import selectors
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from conftest import run_quantbench, surroundings
from hostile import ALL, BY_NAME
from hostile.room import SECRET, Hostile, Room, changes, leaks, picture

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
SECONDS = 10.0  # of the processor, that a file may take
PATIENCE = 60.0  # seconds of the clock, after which a file is said to hang
MEMORY = 3 * 2**28  # bytes that a file may make a process take
DISK = 2**26  # bytes that it may make it write
TOGETHER = 1  # processes that share the work
_LOGS = re.compile(r"^([IWEF]\d{4} |\d{4}-\d\d-\d\d .*: [IWEF] |WARNING: All log messages|INFO: |WARNING:tensorflow)")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


# ---------------------------------------------------------------- trying them out


def _driver(folder: Path) -> "subprocess.Popen[str]":
    log = (folder / "driver.log").open("a")
    with log:
        return subprocess.Popen(
            [sys.executable, str(HERE / "driver.py"), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=surroundings(TF_CPP_MIN_LOG_LEVEL="3", PYTHONWARNINGS="ignore"),
            start_new_session=True,
        )


def _lines(process: "subprocess.Popen[str]") -> Iterator[dict[str, Any] | None]:
    """What a driver says; None where it says nothing for too long."""
    assert process.stdout is not None
    descriptor, rest = process.stdout.fileno(), b""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while True:
            if not selector.select(PATIENCE):
                yield None
                return
            read = os.read(descriptor, 2**16)
            if not read:
                return
            *whole, rest = (rest + read).split(b"\n")
            yield from (json.loads(line) for line in whole)


def _try(names: list[str], folder: Path, found: dict[str, dict[str, Any]]) -> None:
    """Have files tried out; one that hangs or ends its process costs that process alone."""
    waiting, number = list(names), 0
    while waiting:
        own = folder / str(number)
        own.mkdir(parents=True)
        number += 1
        process = _driver(own)
        assert process.stdin is not None
        with process.stdin as given:
            given.write("\n".join(waiting) + "\n")
        begun = waiting[0]
        for line in _lines(process):
            if line is None:
                found[begun] = {"name": begun, "hangs": True}
                break
            if "begun" in line:
                begun = line["begun"]
            else:
                found[line["name"]] = line
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
        died = process.wait()
        assert process.stdout is not None
        process.stdout.close()
        if begun not in found:
            found[begun] = {"name": begun, "died": died}
        waiting = [name for name in waiting if name not in found]


@pytest.fixture(scope="session")
def results(request: pytest.FixtureRequest) -> dict[str, dict[str, Any]]:
    """What became of every file that this session asks about."""
    wanted = [item.callspec.params["hostile"].name for item in request.session.items if _asks(item)]
    found: dict[str, dict[str, Any]] = {}
    # Paths of sockets may have 107 letters, so that the folder's own has to be short.
    with tempfile.TemporaryDirectory(prefix="qa-") as folder:
        shares = [wanted[start::TOGETHER] for start in range(TOGETHER)]
        threads = [
            threading.Thread(target=_try, args=(share, Path(folder) / str(number), found))
            for number, share in enumerate(shares)
            if share
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return found


def _asks(item: pytest.Item) -> bool:
    return getattr(item, "originalname", "") == "test_a_hostile_file" and hasattr(item, "callspec")


# ---------------------------------------------------------------- what has to be true


def said(output: str) -> list[str]:
    """Lines of an output, without those of libraries' own logs."""
    return [line for line in output.splitlines() if line.strip() and not _LOGS.match(line)]


def wrong(hostile: Hostile, found: dict[str, Any]) -> list[str]:
    """All that is not as it should be."""
    if "broken" in found:
        return [f"the harness itself failed: {found['broken']}"]
    if found.get("hangs"):
        return [f"took longer than {PATIENCE:.0f} s"]
    if "died" in found:
        return [f"ended the process with status {found['died']}"]
    output = found["output"]
    effects = {
        "changed outside": found["outside"],
        "private words in": found["leaks"],
        "called": found["calls"],
        "loaded code of": found["mapped"],
        "forbidden words in": found["pages"],
    }
    problems = [f"{what} {', '.join(which)}" for what, which in effects.items() if which]
    if found["status"] not in hostile.statuses:
        problems.append(f"exit status {found['status']}, expected {sorted(hostile.statuses)}")
    problems += [f"the output holds {words!r}" for words in ("Traceback", "INTERNALERROR") if words in output]
    problems += [f"the output holds {words!r}" for words in hostile.forbidden if words in output]
    if _CONTROL.search(output):
        problems.append(f"the output holds control characters: {_CONTROL.search(output)}")
    if found["status"] == 4:
        lines = said(output)
        if len(lines) > 2 or not any(line.startswith("quantbench: ") for line in lines):
            problems.append("expected one sentence")
    if found["cpu"] > SECONDS:
        problems.append(f"{found['cpu']:.1f} s of the processor")
    if found["memory"] > MEMORY:
        problems.append(f"{found['memory'] / 2**20:.0f} MiB of memory")
    if found["written"] > DISK:
        problems.append(f"{found['written'] / 2**20:.0f} MiB written")
    return problems


def sample(hostile: list[Hostile]) -> list[Hostile]:
    """A twelfth of each kind, at least two files of it, spread evenly over it."""
    chosen = []
    for kind in dict.fromkeys(one.kind for one in hostile):
        known = [one for one in hostile if one.kind == kind]
        number = min(len(known), max(2, math.ceil(len(known) / 12)))
        chosen += [known[place * len(known) // number] for place in range(number)]
    return chosen


DEFAULT = {hostile.name for hostile in sample(ALL)}


def _each(hostile: Hostile) -> Any:
    marks = () if hostile.name in DEFAULT else pytest.mark.nightly
    return pytest.param(hostile, id=f"{hostile.kind.replace(' ', '_')}-{hostile.name}", marks=marks)


@pytest.mark.parametrize("hostile", map(_each, ALL))
def test_a_hostile_file(hostile: Hostile, results: dict[str, dict[str, Any]]) -> None:
    found = results[hostile.name]
    problems = wrong(hostile, found)
    assert not problems, "; ".join(problems) + f"\n{found.get('output', '')[:2000]}"


FIRSTS = {hostile.kind: hostile.name for hostile in reversed(ALL)}


@pytest.mark.parametrize("name", [*FIRSTS.values()][::8])  # each takes as long as all of its kind in one process
def test_the_command_itself(name: str) -> None:
    """A file of some of the kinds, given to the command as a user does it."""
    hostile = BY_NAME[name]
    with tempfile.TemporaryDirectory(prefix="qa-") as folder:
        room = Room(Path(folder) / "room", 9)
        room.furnish()
        before = os.getcwd()
        os.chdir(room.work)
        try:
            arguments = list(hostile.make(room))
        finally:
            os.chdir(before)
        outside, given = picture(room.outside), picture(room.root)
        done = run_quantbench(
            *arguments, store=room.store, cwd=room.work, TMPDIR=str(room.tmp), path=[room.outside / "code"],
            CANARY_RAN=str(room.ran), TF_CPP_MIN_LOG_LEVEL="3",
        )  # fmt: skip
        output = done.stdout + done.stderr
        assert done.returncode in hostile.statuses, output
        assert "Traceback" not in output
        assert SECRET not in output
        assert not changes(outside, picture(room.outside))
        assert not leaks(room.root, given)
        if done.returncode == 4:
            assert len(said(output)) <= 2, output
            assert any(line.startswith("quantbench: ") for line in said(done.stderr)), output


def test_there_are_enough_of_them() -> None:
    for files, number, fewest in ((ALL, 150, 5), (sample(ALL), 50, 2)):
        kinds = Counter(hostile.kind for hostile in files)
        assert len(files) >= number
        assert len(kinds) >= 12
        assert min(kinds.values()) >= fewest
    assert {hostile.kind for hostile in ALL} == {BY_NAME[name].kind for name in DEFAULT}


def test_the_harness_sees_what_happens(tmp_path: Path) -> None:
    """A canary that is touched is noticed, whichever it is."""
    room = Room(tmp_path / "room", 9)
    room.furnish()
    before, given = picture(room.outside), picture(room.root)
    assert changes(before, picture(room.outside)) == []
    room.ran.touch()
    room.victim.write_text("as it was\n")  # the same words, written again
    time.sleep(0.01)
    (room.victims / "kept.txt").unlink()
    (room.reports / "copy.txt").write_text(room.private.read_text())
    assert {"ran", "victims/kept.txt"} <= set(changes(before, picture(room.outside)))
    assert leaks(room.root, given) == ["reports/copy.txt"]
    tidy = {"status": 4, "output": "quantbench: m.keras: no.\n", "cpu": 0.1, "memory": 0, "written": 0}
    tidy |= {key: [] for key in ("outside", "leaks", "calls", "mapped", "pages")}
    hostile = ALL[0]
    assert wrong(hostile, tidy) == []
    for change in (
        {"status": 0},
        {"outside": ["ran"]},
        {"leaks": ["x"]},
        {"calls": ["GET /"]},
        {"mapped": ["x.so"]},
        {"output": "Traceback (most recent call last)\n"},
        {"output": "quantbench: \x1b[2J\n"},
        {"output": "quantbench: a\nb\nc\n"},
        {"output": ""},
        {"cpu": SECONDS + 1},
        {"memory": MEMORY + 1},
        {"written": DISK + 1},
    ):
        assert wrong(hostile, tidy | change), change
