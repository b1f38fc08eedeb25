"""What a worker says is data: checked before it is believed, whatever it is."""

import hashlib
import re
from typing import Any

import numpy as np
import pytest
from quantbench.targets import worker
from quantbench.targets.failures import TargetFailed
from quantbench.targets.link import Link
from quantbench.targets.session import Session

HELLO: dict[str, Any] = {
    "kind": "hello",
    "protocol": 1,
    "little_endian": True,
    **{name: name[:1] for name in ("python", "machine", "os", "cpu", "isa", "litert", "runtime", "numpy", "folder")},
    "litert_record": "",
    "cores": 2,
    "memory": 3,
    "free": 4,
    "time": 5.0,
}
LOADED = {"kind": "loaded", "outputs": [{"name": "y", "dtype": "int8", "scale": 0.5, "zero_point": 0}]}
VALUES = np.arange(8, dtype=np.int8).tobytes()
ROWS: dict[str, Any] = {"kind": "rows", "start": 0, "count": 4, "outputs": [{"dtype": "int8", "shape": [2]}]}
END = {"kind": "end", "stop": 4, "sha256": hashlib.sha256(VALUES).hexdigest()}


class Said(Link):
    """In place of a link: says what it was told to say."""

    def __init__(self, *frames: tuple[dict[str, Any], bytes], hello: dict[str, Any] = HELLO) -> None:
        self.hello = hello
        self.frames = list(frames)

    def send(self, head: dict[str, Any], body: bytes = b"") -> None:
        pass

    def receive(self, limit: float = 0) -> tuple[dict[str, Any], bytes]:
        return self.frames.pop(0)


def answers(*frames: tuple[dict[str, Any], bytes], stop: int = 4) -> list[Any]:
    return [rows for _, rows in Session(Said(*frames)).answers("a" * 64, {}, 0, stop, 1, 1)]


def test_rows_are_read_as_they_were_sent() -> None:
    found = answers((LOADED, b""), (ROWS, VALUES), (END, b""))
    assert [rows.start for rows in found] == [0]
    assert np.array_equal(found[0].outputs[0], np.arange(8).reshape(4, 2))


WRONG_ROWS = {
    "out of order: row 1 came where 0": ROWS | {"start": 1},
    "out of order: row True": ROWS | {"start": True},
    "answers to 5 examples where 4 were left": ROWS | {"count": 5},
    "answers to 0 examples": ROWS | {"count": 0},
    "answers to -1 examples": ROWS | {"count": -1},
    "truncated: 8 bytes came": ROWS | {"outputs": [{"dtype": "int8", "shape": [3]}]},
    "too long: 8 bytes came": ROWS | {"outputs": [{"dtype": "int8", "shape": [1]}]},
    "truncated": ROWS | {"outputs": [{"dtype": "int8", "shape": [2**49, 2**49]}]},
    "output's shape": ROWS | {"outputs": [{"dtype": "int8", "shape": [-2]}]},
    "output's type": ROWS | {"outputs": [{"dtype": "object", "shape": [2]}]},
    "output's type ": ROWS | {"outputs": ["int8"]},
    "how many outputs": ROWS | {"outputs": []},
    "the answers, ": {"kind": "\x1b[2J"},
}


@pytest.mark.parametrize("words", WRONG_ROWS)
def test_rows_that_cannot_be_are_an_error(words: str) -> None:
    with pytest.raises(TargetFailed, match=words.strip()) as failed:
        answers((LOADED, b""), (WRONG_ROWS[words], VALUES), (END, b""))
    assert failed.value.code == "garbled"
    assert "\x1b" not in str(failed.value)


def test_an_end_that_does_not_fit_is_an_error() -> None:
    for wrong in (END | {"stop": 3}, END | {"sha256": "0" * 64}, END | {"stop": "4"}):
        with pytest.raises(TargetFailed, match="which it does not agree with"):
            answers((LOADED, b""), (ROWS, VALUES), (wrong, b""))
    with pytest.raises(TargetFailed, match="without an answer"):
        answers((LOADED, b""), ({**END, "stop": 0, "sha256": hashlib.sha256().hexdigest()}, b""))


def test_outputs_whose_shape_changes_are_an_error() -> None:
    other = ROWS | {"start": 4, "outputs": [{"dtype": "int8", "shape": [2, 1]}]}
    with pytest.raises(TargetFailed, match="shape changes"):
        answers((LOADED, b""), (ROWS, VALUES), (other, VALUES), stop=8)


@pytest.mark.parametrize(
    "outputs",
    [[], "y", [{}], [{"name": "y", "dtype": "int8", "scale": float("nan"), "zero_point": 0}], LOADED["outputs"] * 2],
)
def test_outputs_that_cannot_be_are_an_error(outputs: Any) -> None:
    with pytest.raises(TargetFailed, match="makes no sense"):
        answers(({"kind": "loaded", "outputs": outputs}, b""))


@pytest.mark.parametrize("name", [name for name in HELLO if name != "kind"])
def test_a_machine_that_cannot_be_is_an_error(name: str) -> None:
    negative = [] if name == "time" else [-1]
    for wrong in (None, [], {"a": 1}, *negative):
        with pytest.raises(TargetFailed, match="makes no sense"):
            Session(Said(hello=HELLO | {name: wrong}))


def test_text_of_a_machine_is_shown_escaped_and_short() -> None:
    machine = Session(Said(hello=HELLO | {"cpu": "\x1b[2J" + "x" * 9999})).machine
    assert machine.cpu.startswith(r"\x1b[2J")
    assert len(machine.cpu) < 210


def test_times_and_memory_that_cannot_be_are_an_error() -> None:
    good = {"seconds": [1e-3, 2e-3], "own": [1e-3, 2e-3], "first": 0.1}
    wrong: list[Any] = [None, {}, good | {"own": [1e-3]}, good | {"seconds": [float("inf"), 1]}, good | {"first": "1"}]
    for one in wrong:
        with pytest.raises(TargetFailed, match="makes no sense"):
            Session(Said(({"kind": "times", "control": good, "variant": one}, b""))).times("a", "b", {}, 1, 0, False)
    stood = good | {"seconds": [0.0, 1e-3]}
    with pytest.raises(TargetFailed, match="clock stood still"):
        Session(Said(({"kind": "times", "control": good, "variant": stood}, b""))).times("a", "b", {}, 1, 0, False)
    for peak in (None, -1, 2**60, True, 1.5):
        with pytest.raises(TargetFailed, match="makes no sense"):
            Session(Said(({"kind": "memory", "peak": peak, "empty": 1}, b""))).memory("a", {}, False)


def test_a_file_whose_size_there_never_settles_is_given_up() -> None:
    stored = [({"kind": "stored", "size": size}, b"") for size in (1, 0) * 9]
    session = Session(Said(({"kind": "have", "missing": {"a": 0}}, b""), *stored))
    with pytest.raises(TargetFailed, match="keeps changing"):
        session.bring([("a", 10, lambda: b"x" * 10)])
    with pytest.raises(TargetFailed, match="which files it has"):
        Session(Said(({"kind": "have", "missing": {"b": 0}}, b""))).bring([("a", 10, bytes)])


def test_frames_are_cut_wherever_they_come_in_pieces() -> None:
    stream = worker.packed({"kind": "a"}) + worker.packed({"kind": "b", "n": 1}, b"xyz")
    frames, found = worker.Frames(), []
    for at in range(len(stream)):
        frames.add(stream[at : at + 1])
        while (frame := frames.next()) is not None:
            found.append(worker.unpacked(frame))
    assert found == [({"kind": "a"}, b""), ({"kind": "b", "n": 1}, b"xyz")]


def test_what_is_no_frame_is_seen_at_its_beginning() -> None:
    for wrong in (b"hello", b"Q\0", worker.FRAME.pack(b"QBT1", 2**21, 0, 0), worker.FRAME.pack(b"QBT1", 0, 2**27, 0)):
        frames = worker.Frames()
        frames.add(wrong)
        with pytest.raises(worker.Garbled):
            frames.next()
    for head in (b"{", b"[1]", b'{"kind": 1}', b"[" * 100_000):
        frame = (
            worker.packed({"kind": "a"})[:0] + worker.FRAME.pack(b"QBT1", len(head), 0, worker.zlib.crc32(head)) + head
        )
        with pytest.raises(worker.Garbled):
            worker.unpacked(frame)


def test_errors_that_a_worker_tells_of_are_known_or_garbled() -> None:
    known = TargetFailed.told({"code": "refused", "text": "no such op"})
    assert (known.code, str(known)) == ("refused", "no such op")
    for head in ({}, {"code": 7}, {"code": ["x"]}, {"code": "lost-and-found", "text": "\x1b"}):
        assert TargetFailed.told(head).code == "garbled"
    assert re.search(r"\? are needed", str(TargetFailed.told({"code": "no-room", "needed": "x" * 99})))
