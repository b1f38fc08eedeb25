"""Ask a target's worker for answers, times and memory; everything that it says is checked before it is believed."""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from quantbench.core.arrays import Array
from quantbench.core.echo import line
from quantbench.records import TargetMachine
from quantbench.targets.failures import TargetFailed
from quantbench.targets.link import Link
from quantbench.targets.worker import PROTOCOL

PIECE_BYTES = 4 * 2**20  # of a file, in one frame: what a cut costs at most
_FILES_AT_ONCE = 16  # are asked for together, for the worker hashes those that it has
_DTYPES = frozenset(
    {"bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64"}
)
_MOST_PORTS, _MOST_RANK, _MOST_BLOCKS = 1000, 8, 10**6
_HASH_SECONDS = 300.0


@dataclass(frozen=True)
class Part:
    """Some rows of an input, as a file on the target.

    Attributes:
        content: makes its bytes again; only called where the target lacks them.
    """

    sha256: str
    rows: int
    size: int
    content: Callable[[], bytes]


@dataclass(frozen=True)
class Input:
    """An input of a model, divided into parts.

    Attributes:
        shape: of a row.
    """

    dtype: str
    shape: tuple[int, ...]
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Port:
    """An output of an artifact, as the target's runtime describes it."""

    name: str
    dtype: str
    scale: float
    zero_point: int


@dataclass(frozen=True)
class Rows:
    """Outputs of some examples, as stored; those from ``start`` on.

    Attributes:
        outputs: one array per output, shape (rows, ...).
    """

    start: int
    outputs: tuple[Array, ...]


@dataclass(frozen=True)
class Blocks:
    """Times of an artifact in one process: wall and CPU seconds a call, shape (blocks,), and of the first call."""

    seconds: Array
    own: Array
    first: float


class Session:
    """Talk to the worker of one link.

    Attributes:
        machine: what the worker says of its machine.

    Raises:
        TargetFailed: what the worker said makes no sense.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self.machine = _machine(link.hello)
        self._there: set[str] = set()

    # ------------------------------------------------------------ files

    def bring(self, files: Sequence[tuple[str, int, Callable[[], bytes]]]) -> int:
        """Send those files that are not there, and return how many bytes that took.

        Args:
            files: (SHA-256, bytes, content) of each.
        """
        wanted = {sha256: (size, content) for sha256, size, content in files if sha256 not in self._there}
        names, sent = list(wanted), 0
        for begin in range(0, len(names), _FILES_AT_ONCE):
            some = names[begin : begin + _FILES_AT_ONCE]
            for sha256, offset in self._missing(some).items():
                size, content = wanted[sha256]
                sent += self._put(sha256, size, content(), offset)
            self._there.update(some)
        return sent

    def _missing(self, names: list[str]) -> dict[str, int]:
        self._link.send({"kind": "have", "files": names})
        head, _ = self._link.receive(_HASH_SECONDS)
        missing = head.get("missing")
        if head["kind"] != "have" or not isinstance(missing, dict) or not set(missing) <= set(names):
            raise _garbled("which files it has")
        return {name: missing[name] if _is_whole(missing[name]) else 0 for name in names if name in missing}

    def _put(self, sha256: str, size: int, content: bytes, offset: int) -> int:
        """Send a file from ``offset`` on, piece by piece; what was sent before a cut need not be sent again."""
        offset, sent = offset if offset < size else 0, 0
        for _ in range(2 * (size // PIECE_BYTES + 2)):
            piece = content[offset : offset + PIECE_BYTES]
            self._link.send({"kind": "put", "sha256": sha256, "size": size, "offset": offset}, piece)
            head, _ = self._link.receive(_HASH_SECONDS)
            if head["kind"] != "stored" or not _is_whole(head.get("size")) or head["size"] > size:
                raise _garbled("what it stored")
            sent, offset = sent + len(piece), int(head["size"])
            if offset == size:
                return sent
        raise TargetFailed("bad-file", "a file did not arrive whole: its size there keeps changing")

    # ------------------------------------------------------------ answers

    def answers(
        self,
        artifact: str,
        inputs: Mapping[str, Input],
        start: int,
        stop: int,
        seconds: float,
        limit: float,
        stateful: bool = False,
        runtime: str = "litert-cpu",
    ) -> Iterator[tuple[list[Port], Rows]]:
        """Yield the outputs of the examples from start to stop as they come, fewer where ``seconds`` are over.

        Args:
            artifact: SHA-256 of a file that was brought.
            limit: seconds until the next of them.

        Raises:
            TargetFailed: rows are missing, out of order or of another size than they say; or whatever the worker says.
        """
        request = {"kind": "answers", "artifact": artifact, "inputs": _described(inputs), "start": start, "stop": stop}
        self._link.send(request | {"seconds": seconds, "stateful": stateful, "runtime": runtime})
        head, _ = self._link.receive(limit)
        ports = _ports(head)
        received, hashed, shapes = start, hashlib.sha256(), None
        while True:
            head, body = self._link.receive(limit)
            if head["kind"] == "end":
                break
            rows = _rows(head, body, ports, received, stop)
            now = [array.shape[1:] for array in rows.outputs]
            if shapes is not None and now != shapes:
                raise _garbled("outputs whose shape changes from one example to the next")
            shapes, received = now, received + len(rows.outputs[0])
            hashed.update(body)
            yield ports, rows
        if head.get("stop") != received or head.get("sha256") != hashed.hexdigest():
            raise TargetFailed("garbled", f"its answers ended after row {received:,}, which it does not agree with")
        if received == start:
            raise TargetFailed("garbled", "it ended without an answer")

    # ------------------------------------------------------------ times and memory

    def times(
        self, artifact: str, control: str, inputs: Mapping[str, Input], seconds: float, seed: int, stateful: bool
    ) -> dict[str, Blocks]:
        """Time an artifact in turns with its control, in one fresh process there.

        Raises:
            TargetFailed: its clock stood still or went back; or whatever the worker says.
        """
        request = {"kind": "times", "artifact": artifact, "control": control, "inputs": _described(inputs, 1)}
        self._link.send(request | {"seconds": seconds, "seed": seed, "stateful": stateful})
        head, _ = self._link.receive(_HASH_SECONDS + 20 * seconds)
        if head["kind"] != "times":
            raise _garbled("times")
        return {name: _blocks(head.get(name)) for name in ("control", "variant")}

    def memory(self, artifact: str, inputs: Mapping[str, Input], stateful: bool) -> tuple[int, int, bool]:
        """Return (peak, before loading) in bytes without pages of files, and whether the peak began at the latter."""
        self._link.send({"kind": "memory", "artifact": artifact, "inputs": _described(inputs, 1), "stateful": stateful})
        head, _ = self._link.receive(_HASH_SECONDS)
        peak, empty = head.get("peak"), head.get("empty")
        if head["kind"] != "memory" or not _is_whole(peak) or not _is_whole(empty):
            raise _garbled("memory")
        assert isinstance(peak, int)
        assert isinstance(empty, int)
        return peak, empty, head.get("reset") is True


def _garbled(what: str) -> TargetFailed:
    return TargetFailed("garbled", f"what it said of {what} makes no sense")


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**50


def _described(inputs: Mapping[str, Input], parts: int | None = None) -> dict[str, Any]:
    return {
        name: {
            "dtype": one.dtype,
            "shape": list(one.shape),
            "parts": [[part.sha256, part.rows] for part in one.parts[:parts]],
        }
        for name, one in inputs.items()
    }


def _machine(hello: Mapping[str, Any]) -> TargetMachine:
    """Read what a worker says of its machine. Raises TargetFailed."""
    if hello.get("kind") != "hello" or hello.get("protocol") != PROTOCOL or hello.get("little_endian") is not True:
        raise _garbled("itself")
    texts = {}
    for name in ("python", "machine", "os", "cpu", "isa", "litert", "litert_record", "runtime", "numpy", "folder"):
        if not isinstance(hello.get(name), str):
            raise _garbled(f"its {name}")
        texts[name] = line(hello[name][:200])
    numbers = {name: hello.get(name) for name in ("cores", "memory", "free")}
    if not _are_numbers([hello.get("time")]) or not all(_is_whole(value) for value in numbers.values()):
        raise _garbled("its machine")
    if not numbers["cores"]:
        raise _garbled("its cores")
    return TargetMachine.model_validate({**texts, **numbers, "clock": float(hello["time"])})


def _ports(head: Mapping[str, Any]) -> list[Port]:
    given = head.get("outputs")
    if head.get("kind") != "loaded" or not isinstance(given, list) or not 0 < len(given) <= _MOST_PORTS:
        raise _garbled("the artifact's outputs")
    found = []
    for one in given:
        if not isinstance(one, dict):
            raise _garbled("an output")
        name, dtype, scale, zero = (one.get(key) for key in ("name", "dtype", "scale", "zero_point"))
        right = isinstance(name, str) and dtype in _DTYPES and isinstance(zero, int) and abs(zero) < 2**31
        if not right or not isinstance(scale, int | float) or not math.isfinite(scale):
            raise _garbled("an output")
        found.append(Port(str(name)[:500], str(dtype), float(scale), zero or 0))
    if len({port.name for port in found}) < len(found):
        raise _garbled("outputs of one name")
    return found


def _rows(head: Mapping[str, Any], body: bytes, ports: Sequence[Port], expected: int, stop: int) -> Rows:
    """Read answers. Raises TargetFailed."""
    if head.get("kind") != "rows":
        raise _garbled(f"the answers, {line(str(head.get('kind'))[:40])!r},")
    start, count, outputs = head.get("start"), head.get("count"), head.get("outputs")
    if start != expected or isinstance(start, bool):
        raise TargetFailed("garbled", f"its answers are out of order: row {start!r:.20} came where {expected} was due")
    if not isinstance(count, int) or isinstance(count, bool) or not 0 < count <= stop - expected:
        raise TargetFailed("garbled", f"it sent answers to {count!r:.20} examples where {stop - expected} were left")
    if not isinstance(outputs, list) or len(outputs) != len(ports):
        raise _garbled("how many outputs there are")
    arrays, at = [], 0
    for one, port in zip(outputs, ports, strict=True):
        shape = one.get("shape") if isinstance(one, dict) else None
        if not isinstance(one, dict) or one.get("dtype") != port.dtype or not isinstance(shape, list):
            raise _garbled("an output's type")
        if len(shape) > _MOST_RANK or not all(_is_whole(length) for length in shape):
            raise _garbled("an output's shape")
        dtype = np.dtype(port.dtype).newbyteorder("<")
        size = dtype.itemsize * count * math.prod(shape)
        if at + size > len(body):
            raise TargetFailed("garbled", f"its answers are truncated: {len(body):,} bytes came where more were due")
        arrays.append(np.frombuffer(body, dtype, count * math.prod(shape), at).reshape(count, *shape))
        at += size
    if at != len(body):
        raise TargetFailed("garbled", f"its answers are too long: {len(body):,} bytes came where {at:,} were due")
    return Rows(expected, tuple(arrays))


def _blocks(given: object) -> Blocks:
    if not isinstance(given, dict):
        raise _garbled("times")
    if not all(_are_numbers(one) for one in (given.get("seconds"), given.get("own"), [given.get("first")])):
        raise _garbled("times")
    seconds, own = (np.array(given[name], dtype=np.float64) for name in ("seconds", "own"))
    blocks = Blocks(seconds, own, float(given["first"]))
    if len(blocks.seconds) != len(blocks.own):
        raise _garbled("times")
    if not (blocks.seconds > 0).all() or blocks.first <= 0 or not (blocks.own >= 0).all():
        raise TargetFailed("clock", "its clock stood still or went back while it timed")
    return blocks


def _are_numbers(given: Any) -> bool:
    return (
        isinstance(given, list)
        and 0 < len(given) <= _MOST_BLOCKS
        and all(isinstance(one, int | float) and not isinstance(one, bool) and math.isfinite(one) for one in given)
    )
