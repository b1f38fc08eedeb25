"""Run artifacts on a target: this one file is copied over, and needs Python >= 3.9, NumPy and a LiteRT interpreter.

It is started as ``python -c BOOTSTRAP`` (:data:`quantbench.targets.link.BOOTSTRAP`), which reads this source from its
standard input and calls :func:`main`. From then on both sides exchange frames over standard input and output; whatever
libraries print goes to standard error. Nothing is ever unpickled.

A frame: ``QBT1``, the bytes of its head (u32), the bytes of its body (u64), the CRC-32 of both (u32), little-endian;
the head (a JSON object with a ``kind``), the body (raw bytes). Heads have at most 1 MiB, bodies 64 MiB.

The worker begins with ``hello``: the token that :func:`main` was given, and the profile of the machine; or with an
``error``. Then it answers one request after the other:

``have`` files: [sha256, ...]
    ``have`` missing: {sha256: bytes of it that are there}.
``put`` sha256, size, offset; body: the next bytes of the file
    ``stored`` size: bytes of it that are there now. Complete files are kept by hash and are never sent again.
``answers`` artifact: sha256, inputs: {name: {dtype, shape of a row, parts: [[sha256, rows], ...]}}, start, stop, and as
    options seconds, stateful, threads, runtime
    ``loaded`` inputs, outputs: [{name, dtype, scale, zero_point}, ...]; then, as they are made, ``rows`` start, count,
    outputs: [{dtype, shape of a row}, ...], body: their values as stored, output by output; then ``end`` stop, seconds,
    cpu, sha256 of all bodies. It ends early, after at least one row, where ``seconds`` are over.
``times`` artifact, control: sha256, inputs, seconds, seed, threads
    ``times`` control, variant: {seconds, own: [s a call, ...], first: s}.
``memory`` artifact, inputs, calls, stateful
    ``memory`` peak, empty: bytes, reset.
``bye``
    Nothing; the worker ends.

Instead of an answer may come ``error`` with a code (``no-module``, ``no-room``, ``bad-file``, ``bad-request``,
``refused``, ``failed``, ``died``, ``no-folder``) and a text; the worker then takes the next request. ``alive`` comes
every :data:`ALIVE_SECONDS` while a request is worked on. ``answers``, ``times`` and ``memory`` are done in a process
forked for it from one that has loaded no artifact, so that what crashes costs that request alone. At the end of its
input the worker ends, with what it has started.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import hashlib
import json
import os
import platform
import resource
import select
import shutil
import signal
import struct
import sys
import threading
import time
import zlib
from typing import Any, Callable, Iterator

if sys.version_info < (3, 9):
    sys.exit("a Python before 3.9")

PROTOCOL = 1
MAGIC = b"QBT1"
FRAME = struct.Struct("<4sIQI")
MOST_HEAD, MOST_BODY = 2**20, 2**26  # bytes
ALIVE_SECONDS = 5.0
# Answers are sent after so many rows, bytes or seconds, whichever comes first.
ROWS, BYTES, SECONDS = 512, 2**20, 0.5
PART_SECONDS = 86_400  # after which what came of a file in a session that was cut is given up
SPARE_BYTES = 2**26  # stay free on the target's disk beside what is stored there
BLOCK_SECONDS, LEAST_TURNS, WARMUP_BLOCKS = 0.0002, 5, 200  # as on the machine that gates
RESOLVERS = {
    "litert-cpu": "AUTO",
    "litert-builtin": "BUILTIN_WITHOUT_DEFAULT_DELEGATES",
    "litert-reference": "BUILTIN_REF",
}
AT_HWCAP, AT_HWCAP2 = 16, 26  # of Linux's auxiliary vector: what the CPU can do
PR_SET_PDEATHSIG, PR_SET_THP_DISABLE = 1, 41  # of Linux's prctl

Head = dict[str, Any]  # of JSON
Emit = Callable[..., None]


class Garbled(Exception):
    """Raised when what came is no frame, or one with other contents than were sent."""


class Wrong(Exception):
    """Raised when a request cannot be answered, with the code and the text of the ``error``."""

    def __init__(self, code: str, text: str, **more: Any) -> None:
        super().__init__(text)
        self.head = {"kind": "error", "code": code, "text": text, **more}


# ---------------------------------------------------------------- frames


def packed(head: Head, body: bytes = b"") -> bytes:
    """Make a frame."""
    text = json.dumps(head).encode()
    return FRAME.pack(MAGIC, len(text), len(body), zlib.crc32(body, zlib.crc32(text))) + text + body


def unpacked(frame: bytes) -> tuple[Head, bytes]:
    """Read a whole frame. Raises Garbled."""
    _, head_bytes, _, checksum = FRAME.unpack_from(frame)
    head, body = frame[FRAME.size : FRAME.size + head_bytes], frame[FRAME.size + head_bytes :]
    if zlib.crc32(body, zlib.crc32(head)) != checksum:
        raise Garbled("a frame's checksum does not match its contents")
    try:
        found = json.loads(head)
    except (ValueError, RecursionError):
        raise Garbled("a frame's head is not JSON") from None
    if not isinstance(found, dict) or not isinstance(found.get("kind"), str):
        raise Garbled("a frame's head has no kind")
    return found, body


class Frames:
    """Cut what comes in into frames."""

    def __init__(self) -> None:
        self.held = bytearray()

    def add(self, more: bytes) -> None:
        """Take the next bytes."""
        self.held += more

    def next(self) -> bytes | None:
        """Return the next whole frame; None where it is not complete yet. Raises Garbled."""
        if len(self.held) < FRAME.size:
            if not MAGIC.startswith(bytes(self.held[: len(MAGIC)])) and self.held[: len(MAGIC)] != MAGIC:
                raise Garbled("what came is no frame")
            return None
        magic, head, body, _ = FRAME.unpack_from(self.held)
        if magic != MAGIC:
            raise Garbled("what came is no frame")
        if head > MOST_HEAD or body > MOST_BODY:
            raise Garbled("a frame is longer than any may be")
        size = FRAME.size + head + body
        if len(self.held) < size:
            return None
        frame = bytes(self.held[:size])
        del self.held[:size]
        return frame


def send(to: int, data: bytes) -> None:
    """Write all of it to a descriptor."""
    left = memoryview(data)
    while left:
        left = left[os.write(to, left) :]


# ---------------------------------------------------------------- the machine


def profile() -> Head:
    """Describe the machine and what is installed on it; imports NumPy and LiteRT."""
    here: Head = {
        "python": platform.python_version(),
        "executable": sys.executable,
        "machine": platform.machine(),
        "os": platform.system() + " " + platform.release(),
        "cpu": _cpu(),
        "isa": _isa(),
        "cores": os.cpu_count() or 1,
        "memory": _memory(),
        "time": time.time(),
        "little_endian": sys.byteorder == "little",
    }
    try:
        import numpy

        name, _ = interpreter_module()
    except (ImportError, OSError) as missing:
        module = missing.name if isinstance(missing, ModuleNotFoundError) else ""
        raise Wrong("no-module", str(missing)[:300], module=module, profile=here) from None
    from importlib import metadata

    distribution = {"ai_edge_litert": "ai-edge-litert", "tflite_runtime": "tflite-runtime"}[name]
    for each in (distribution, distribution + "-nightly"):
        try:
            here.update(litert=metadata.version(each), litert_record=_sha256((_record(each),)))
            break
        except metadata.PackageNotFoundError:
            here.update(litert="unknown", litert_record="")
    return {**here, "runtime": distribution, "numpy": numpy.__version__}


def interpreter_module() -> tuple[str, Any]:
    """Return the package that has a LiteRT interpreter, and its module."""
    try:
        from ai_edge_litert import interpreter

        return "ai_edge_litert", interpreter
    except ImportError as missing:
        if missing.name not in ("ai_edge_litert", "ai_edge_litert.interpreter"):
            raise
        first = missing
    try:
        from tflite_runtime import interpreter as older
    except ModuleNotFoundError as second:
        raise (first if second.name == "tflite_runtime" else second) from None
    return "tflite_runtime", older


def _record(distribution: str) -> bytes:
    from importlib import metadata

    return (metadata.distribution(distribution).read_text("RECORD") or "").encode()


def _cpuinfo() -> Iterator[tuple[str, str]]:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            lines = file.read(2**20).splitlines()
    except OSError:
        return
    for line in lines:
        name, _, value = line.partition(":")
        yield name.strip(), value.strip()


def _cpu() -> str:
    """Name the board where it has a name, and the CPU."""
    board = ""
    try:
        with open("/sys/firmware/devicetree/base/model", encoding="utf-8", errors="replace") as file:
            board = file.read(200).strip("\0\n ")
    except OSError:
        pass
    known = dict(reversed(list(_cpuinfo())))  # of the first core
    if platform.machine() in ("x86_64", "AMD64", "i686"):
        name = known.get("model name", "")
    else:
        name = " ".join(known.get(key, "") for key in ("Model", "Hardware", "CPU implementer", "CPU part")).strip()
    return ", ".join(part for part in (board, name) if part) or platform.processor() or platform.machine()


def _isa() -> str:
    """Hash what the CPU can do, 8 hex digits."""
    if platform.machine() in ("x86_64", "AMD64", "i686"):
        flags = dict(reversed(list(_cpuinfo()))).get("flags", "")
        return hashlib.sha256(" ".join(sorted(flags.split())).encode()).hexdigest()[:8]
    try:  # under an emulator /proc/cpuinfo may be that of the machine around it, and this is not
        ask = ctypes.CDLL(None).getauxval
        ask.restype, ask.argtypes = ctypes.c_ulong, [ctypes.c_ulong]
        found = "%x %x" % (ask(AT_HWCAP), ask(AT_HWCAP2))
    except (OSError, AttributeError):
        found = platform.processor()
    return hashlib.sha256(found.encode()).hexdigest()[:8]


def _memory() -> int:
    try:
        return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (OSError, ValueError):
        return 0


# ---------------------------------------------------------------- files by hash


def home(folder: str) -> str:
    """Return the folder that files are kept in, made where it is missing. Raises Wrong."""
    chosen = folder or os.environ.get("QUANTBENCH_TARGET_DIR") or ""
    if not chosen:
        cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
        chosen = os.path.join(cache, "quantbench-target")
    try:
        os.makedirs(chosen, mode=0o700, exist_ok=True)
        if os.stat(chosen).st_uid != os.geteuid():
            raise Wrong("no-folder", chosen + " belongs to another user")
        if not os.access(chosen, os.W_OK | os.X_OK):
            raise Wrong("no-folder", chosen + " may not be written to")
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise Wrong("no-room", chosen + " cannot be made", folder=chosen, free=0, needed=0) from None
        raise Wrong("no-folder", "%s: %s" % (chosen, error.strerror)) from None
    return chosen


def _named(folder: str, sha256: object) -> str:
    if not isinstance(sha256, str) or len(sha256) != 64 or sha256.strip("0123456789abcdef"):
        raise Wrong("bad-request", "a file's hash is no SHA-256")
    return os.path.join(folder, sha256)


def _sha256(pieces: Any) -> str:
    hashed = hashlib.sha256()
    for piece in pieces:
        hashed.update(piece)
    return hashed.hexdigest()


def _pieces(path: str) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while piece := file.read(2**20):
            yield piece


class Files:
    """Keep complete files under their hash; one that is damaged counts as absent."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.used: set[str] = set()  # in this session, and checked

    def missing(self, wanted: list[str]) -> dict[str, int]:
        """Return those that are not here, each with the bytes of it that are."""
        lacking = {}
        for sha256 in wanted:
            path = _named(self.folder, sha256)
            if sha256 in self.used and os.path.exists(path):
                continue
            if os.path.isfile(path) and _sha256(_pieces(path)) == sha256:
                self.used.add(sha256)
                os.utime(path)
                continue
            lacking[sha256] = os.path.getsize(path + ".part") if os.path.isfile(path + ".part") else 0
        return lacking

    def put(self, sha256: str, size: int, offset: int, body: bytes) -> int:
        """Add the next bytes of a file, and return how many are here."""
        path = _named(self.folder, sha256)
        part = path + ".part"
        here = os.path.getsize(part) if os.path.isfile(part) else 0
        if offset == 0:
            here = 0
        if offset != here:
            return here
        self._make_room(size - offset)
        try:
            with open(part, "wb" if offset == 0 else "ab") as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            _remove(part)
            raise self._no_room(size) from None
        here = offset + len(body)
        if here >= size:
            if here > size or _sha256(_pieces(part)) != sha256:
                _remove(part)
                raise Wrong("bad-file", "a file arrived with other contents than were sent")
            os.replace(part, path)
            self.used.add(sha256)
        return here

    def path(self, sha256: str) -> str:
        """Return the path of a file that is here."""
        path = _named(self.folder, sha256)
        if sha256 not in self.used or not os.path.isfile(path):
            raise Wrong("bad-file", "a file that is needed is not here: " + sha256)
        return path

    def _make_room(self, needed: int) -> None:
        """Remove files that this session has not used, the oldest first, where the disk would get full."""
        paths = [os.path.join(self.folder, name) for name in os.listdir(self.folder) if self._may_go(name)]
        for path in sorted(paths, key=_changed):
            if shutil.disk_usage(self.folder).free >= needed + SPARE_BYTES:
                return
            _remove(path)
        if shutil.disk_usage(self.folder).free < needed + SPARE_BYTES:
            raise self._no_room(needed)

    def _may_go(self, name: str) -> bool:
        """Check whether a file is one of ours that no session needs; whatever else lies in the folder stays."""
        sha256, dot, end = name.partition(".")
        if len(sha256) != 64 or sha256.strip("0123456789abcdef") or sha256 in self.used:
            return False
        if not dot:
            return True
        try:
            return end == "part" and time.time() - os.path.getmtime(os.path.join(self.folder, name)) > PART_SECONDS
        except OSError:  # another session has finished it
            return False

    def _no_room(self, needed: int) -> Wrong:
        free = shutil.disk_usage(self.folder).free
        return Wrong("no-room", "no room", folder=self.folder, free=free, needed=needed + SPARE_BYTES)


def _changed(path: str) -> float:
    try:
        return os.path.getmtime(path)
    except OSError:  # another session has removed it
        return 0.0


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


# ---------------------------------------------------------------- an artifact


def quantize(values: Any, dtype: Any, scale: float, zero_point: int) -> Any:
    """Quantize real values to integers as the machine that gates does it: rounded, and clamped."""
    import numpy as np

    if scale == 0:
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    scaled = values / scale
    scaled += zero_point
    np.round(scaled, out=scaled)
    np.clip(scaled, limits.min, limits.max, out=scaled)
    return scaled.astype(dtype)


class Model:
    """Run one artifact, example by example."""

    def __init__(self, path: str, request: Head) -> None:
        _, module = interpreter_module()
        resolver = RESOLVERS.get(request.get("runtime", "litert-cpu"))
        if resolver is None:
            raise Wrong("bad-request", "there is no such runtime")
        self.interpreter = module.Interpreter(
            model_path=path,
            num_threads=int(request.get("threads", 1)),
            experimental_op_resolver_type=module.OpResolverType[resolver],
        )
        self.interpreter.allocate_tensors()
        self.stateful = bool(request.get("stateful"))
        self.inputs = self.interpreter.get_input_details()
        self.outputs = self.interpreter.get_output_details()
        self.names = {detail["index"]: detail["name"] for detail in self.inputs + self.outputs}
        if self.interpreter.get_signature_list():
            runner = self.interpreter.get_signature_runner()
            for details in (runner.get_input_details(), runner.get_output_details()):
                self.names.update({detail["index"]: name for name, detail in details.items()})

    def ports(self, details: list[Head]) -> list[Head]:
        """Describe its inputs or outputs."""
        import numpy as np

        return [
            {
                "name": self.names[detail["index"]],
                "dtype": np.dtype(detail["dtype"]).name,
                "scale": float(detail["quantization"][0]),
                "zero_point": int(detail["quantization"][1]),
            }
            for detail in details
        ]

    def prepared(self, given: dict[str, Any]) -> list[Any]:
        """Return examples as the input tensors take them, in their order."""
        import numpy as np

        if len(given) != len(self.inputs):
            raise Wrong("bad-request", "%d inputs given, the artifact has %d" % (len(given), len(self.inputs)))
        names = [self.names[detail["index"]] for detail in self.inputs]
        ordered = list(given.values()) if list(given) == [""] else [given.get(name) for name in names]
        prepared = []
        for values, detail in zip(ordered, self.inputs):
            if values is None:
                raise Wrong("bad-request", "inputs %s given, the artifact has %s" % (sorted(given), sorted(names)))
            dtype = np.dtype(detail["dtype"])
            if dtype.kind in "iu" and values.dtype.kind == "f":
                values = quantize(values, dtype, *detail["quantization"])
            prepared.append(np.ascontiguousarray(values, dtype=dtype))
        return prepared

    def feed(self, prepared: list[Any], example: int) -> None:
        """Copy one example into the input tensors."""
        if self.stateful:
            self.interpreter.reset_all_variables()
        for detail, values in zip(self.inputs, prepared):
            self.interpreter.set_tensor(detail["index"], values[example : example + 1])

    def answer(self) -> list[Any]:
        """Run the example, and return each output as stored, without the batch."""
        self.interpreter.invoke()
        return [self.interpreter.get_tensor(detail["index"])[0] for detail in self.outputs]


def examples(inputs: Head, files: Files, start: int, stop: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (number of its first row, input name -> rows) part by part, of the rows from start to stop."""
    import numpy as np

    first = 0
    counts = {tuple(rows for _, rows in one["parts"]) for one in inputs.values()}
    if len(counts) != 1:
        raise Wrong("bad-request", "the inputs are not divided alike")
    for number, count in enumerate(counts.pop()):
        begin, end = max(start, first), min(stop, first + count)
        if begin < end:
            found = {}
            for name, one in inputs.items():
                dtype, shape = np.dtype(one["dtype"]).newbyteorder("<"), (count, *one["shape"])
                path = files.path(one["parts"][number][0])
                size = dtype.itemsize
                for length in shape:
                    size *= length
                if dtype.hasobject or os.path.getsize(path) != size:
                    raise Wrong("bad-request", "a part of the inputs has another size than its shape")
                rows = np.memmap(path, dtype=dtype, mode="r", shape=shape) if size else np.zeros(shape, dtype)
                found[name] = rows[begin - first : end - first]
            yield begin, found
        first += count


# ---------------------------------------------------------------- what is asked


def answers(request: Head, files: Files, emit: Emit) -> None:
    """Send the outputs of each example, as they are made."""
    import numpy as np

    model = Model(files.path(request["artifact"]), request)
    emit({"kind": "loaded", "inputs": model.ports(model.inputs), "outputs": model.ports(model.outputs)})
    start, limit = int(request["start"]), float(request.get("seconds") or "inf")
    begun, cpu = time.monotonic(), time.process_time()
    sent, hashed, flushed, size = start, hashlib.sha256(), begun, 0
    held: list[list[Any]] = []

    def flush() -> None:
        nonlocal sent, held, size, flushed
        arrays = [np.stack(each) for each in zip(*held)]
        arrays = [array.astype(array.dtype.newbyteorder("<")) for array in arrays]
        shapes = [{"dtype": array.dtype.name, "shape": list(array.shape[1:])} for array in arrays]
        body = b"".join(array.tobytes() for array in arrays)
        hashed.update(body)
        emit({"kind": "rows", "start": sent, "count": len(held), "outputs": shapes}, body)
        sent, held, size, flushed = sent + len(held), [], 0, time.monotonic()

    def over() -> bool:
        return time.monotonic() - begun >= limit

    for _, rows in examples(request["inputs"], files, start, int(request["stop"])):
        if sent > start and over():
            break
        prepared = model.prepared(rows)
        for i in range(len(prepared[0])):
            model.feed(prepared, i)
            # Further outputs reuse the memory of these where their tensors are overwritten.
            held.append([np.array(output) for output in model.answer()])
            size += sum(output.nbytes for output in held[-1])
            if len(held) >= ROWS or size >= BYTES or time.monotonic() - flushed >= SECONDS:
                flush()
                if over():
                    break
        if held:
            flush()
    seconds, cpu = time.monotonic() - begun, time.process_time() - cpu
    emit({"kind": "end", "stop": sent, "seconds": seconds, "cpu": cpu, "sha256": hashed.hexdigest()})


def _first_rows(request: Head, files: Files) -> dict[str, Any]:
    for _, rows in examples(request["inputs"], files, 0, int(request.get("stop", 32))):
        return rows
    raise Wrong("bad-request", "there are no examples")


def block(call: Callable[[], Any], calls: int, cold: bool = True) -> tuple[float, float]:
    """Time calls as one block: wall and CPU seconds of this thread a call."""
    if cold:
        call()
    own, start = time.thread_time(), time.perf_counter()
    for _ in range(calls):
        call()
    end = time.perf_counter()
    return (end - start) / calls, (time.thread_time() - own) / calls


def warm_up(call: Callable[[], Any]) -> int:
    """Call until none of ten blocks was the fastest so far; return the calls that fill a block."""
    calls, best, since = 1, float("inf"), 0
    for _ in range(WARMUP_BLOCKS):
        now, _ = block(call, calls, cold=False)
        since = 0 if now < best else since + 1
        best = min(best, now)
        calls = max(1, round(BLOCK_SECONDS / max(best, 1e-7)))
        if since == 10:
            break
    return calls


def times(request: Head, files: Files, emit: Emit) -> None:
    """Time an artifact in turns with its control, block by block in random order."""
    import numpy as np

    paths = {name: files.path(request[key]) for name, key in (("control", "control"), ("variant", "artifact"))}
    rows = _first_rows(request, files)
    for path in paths.values():  # reading it from the disk, and what the runtime sets up once, are in no first call
        Model(path, request)
    seed = int(request.get("seed", 0))
    loaded, prepared = {}, {}
    found: dict[str, Head] = {name: {"seconds": [], "own": [], "first": 0.0} for name in paths}
    for name in list(paths) if seed % 2 == 0 else list(reversed(list(paths))):
        start = time.perf_counter()
        loaded[name] = Model(paths[name], request)
        between = time.perf_counter()
        prepared[name] = loaded[name].prepared(rows)
        loaded[name].feed(prepared[name], 0)
        again = time.perf_counter()
        loaded[name].interpreter.invoke()
        found[name]["first"] = between - start + time.perf_counter() - again
    per_block = {name: warm_up(model.interpreter.invoke) for name, model in loaded.items()}
    order, turn, end = np.random.default_rng(seed), 0, time.perf_counter() + float(request["seconds"])
    while time.perf_counter() < end or turn < LEAST_TURNS:
        for name in order.permutation(sorted(paths)):
            loaded[name].feed(prepared[name], turn % len(prepared[name][0]))
            seconds, own = block(loaded[name].interpreter.invoke, per_block[name])
            found[name]["seconds"].append(seconds)
            found[name]["own"].append(own)
        turn += 1
    emit({"kind": "times", **found})


def _resident() -> tuple[int, int]:
    """Return the peak and the file-backed part of what is resident, in bytes."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            lines = dict(line.split(":", 1) for line in file)
        return 1024 * int(lines["VmHWM"].split()[0]), 1024 * int(lines["RssFile"].split()[0])
    except (OSError, KeyError, ValueError):
        unit = 1 if sys.platform == "darwin" else 1024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0


def _forget_peak() -> bool:
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except (OSError, AttributeError):
        return False
    return True


def memory(request: Head, files: Files, emit: Emit) -> None:
    """Measure the peak of this process while it loads and runs the artifact, and before that."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)
    rows, path = _first_rows(request, files), files.path(request["artifact"])
    reset, (empty, empty_files) = _forget_peak(), _resident()
    kept = []

    def work() -> None:
        model = Model(path, request)
        prepared = model.prepared(rows)
        for i in range(min(int(request.get("calls", 8)), len(prepared[0]))):
            model.feed(prepared, i)
            model.answer()
        kept.append(model)

    _in_thread(work)  # its memory is then in a heap of its own, without the gaps that imports left
    peak, peak_files = _resident()
    emit({"kind": "memory", "peak": peak - peak_files, "empty": empty - empty_files, "reset": reset})


def _in_thread(work: Callable[[], None]) -> None:
    failed = []

    def run() -> None:
        try:
            work()
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


# ---------------------------------------------------------------- the session

JOBS = {"answers": answers, "times": times, "memory": memory}
FINAL = ("end", "times", "memory", "error")


def _do(request: Head, files: Files, to: int) -> None:
    """Do a job in this process, which was forked for it."""

    def emit(head: Head, body: bytes = b"") -> None:
        send(to, packed(head, body))

    try:
        JOBS[request["kind"]](request, files, emit)
    except Wrong as wrong:
        emit(wrong.head)
    except (RuntimeError, ValueError) as refusal:
        emit(Wrong("refused", " ".join(str(refusal).split())[:500]).head)
    except MemoryError:
        emit(Wrong("failed", "no memory is left").head)
    except Exception as error:
        emit(Wrong("failed", (type(error).__name__ + ": " + " ".join(str(error).split()))[:500]).head)


def _in_a_fork(request: Head, files: Files, read: int, out: int, coming: Frames) -> bool:
    """Do a job in a fork, and pass on its frames; False where the input has ended meanwhile.

    Args:
        coming: gets what else comes meanwhile: the next request may come before the fork has ended.
    """
    reads, writes = os.pipe()
    parent, child = os.getpid(), os.fork()
    if child == 0:
        try:
            os.close(reads)
            if sys.platform == "linux":
                ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() == parent:
                _do(request, files, writes)
        finally:
            os._exit(0)
    os.close(writes)
    frames, last = Frames(), ""
    try:
        while True:
            ready, _, _ = select.select([reads, read], [], [], ALIVE_SECONDS)
            if read in ready:
                more = os.read(read, 2**20)
                if not more:
                    return False
                coming.add(more)
            if not ready:
                send(out, packed({"kind": "alive"}))
            if reads not in ready:
                continue
            piece = os.read(reads, 2**20)
            if not piece:
                break
            frames.add(piece)
            while (frame := frames.next()) is not None:  # half of one is never passed on
                last = unpacked(frame)[0]["kind"]
                send(out, frame)
    finally:
        os.close(reads)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    if last not in FINAL:
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        send(out, packed(Wrong("died", "the process of this request died", signal=number).head))
    return True


def _take(request: Head, body: bytes, files: Files) -> Head:
    if request["kind"] == "have":
        return {"kind": "have", "missing": files.missing(list(request["files"]))}
    if request["kind"] == "put":
        size = files.put(request["sha256"], int(request["size"]), int(request["offset"]), body)
        return {"kind": "stored", "size": size}
    raise Wrong("bad-request", "there is no such request")


def serve(files: Files, read: int, out: int) -> None:
    """Answer requests until the input ends."""
    frames = Frames()
    while True:
        while (frame := frames.next()) is None:
            piece = os.read(read, 2**20)
            if not piece:
                return
            frames.add(piece)
        request, body = unpacked(frame)
        if request["kind"] == "bye":
            return
        try:
            if request["kind"] in JOBS:
                if not _in_a_fork(request, files, read, out, frames):
                    return
                continue
            answer = _take(request, body, files)
        except Wrong as wrong:
            answer = wrong.head
        except (KeyError, TypeError, ValueError) as error:
            answer = Wrong("bad-request", "%s: %s" % (type(error).__name__, error)).head
        except OSError as error:
            answer = Wrong("failed", "%s: %s" % (error.strerror, error.filename)).head
        send(out, packed(answer))


def main(token: str, folder: str = "") -> None:
    """Begin a session on standard input and output.

    Args:
        token: sent back with the ``hello``, which tells it from whatever a login prints.
        folder: that files are kept in; by default ``$QUANTBENCH_TARGET_DIR``, or a folder in the user's cache.
    """
    sys.stdout.flush()
    out, read = os.dup(1), 0
    os.dup2(2, 1)
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    try:
        here = profile()
        where = home(folder)
        free = shutil.disk_usage(where).free
        send(
            out, packed({"kind": "hello", "protocol": PROTOCOL, "token": token, **here, "folder": where, "free": free})
        )
        serve(Files(where), read, out)
    except Wrong as wrong:
        send(out, packed({"token": token, **wrong.head}))
    except Garbled as garbled:
        send(out, packed({"token": token, **Wrong("bad-request", str(garbled)).head}))
    except BrokenPipeError:
        pass
