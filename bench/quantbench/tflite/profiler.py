"""Run an artifact with LiteRT's own profiler, which times each operator and each kernel of XNNPACK's.

The Python interface of LiteRT has no profiler, its C interface has: ``libLiteRt.so`` of the same wheel, called here by
ctypes. It runs the same kernels as the interpreter. A wrong guess about that interface crashes the process, so this is
for workers. What it makes is freed with the process.

Source: LiteRT's headers litert/c/litert_compiled_model.h, litert_profiler.h and litert_profiler_event.h.
"""

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from quantbench.core.arrays import Array

_CPU = 1  # a bit of LiteRT's set of accelerators
_WRITE = 1  # a lock mode
# An event is 13 words of 8 bytes: tag, type, start and elapsed microseconds, memory before and after (3 words each),
# two words of metadata, source.
_WORDS, _TAG, _TYPE, _ELAPSED, _POSITION, _SUBGRAPH = 13, 0, 1, 3, 10, 11
_BUILTIN, _INTERNAL, _DELEGATED = 2, 4, 8
_TYPES = {1 << bit for bit in range(9)}
_DELEGATE = "Delegate"  # in the name of the operator that stands for a delegate's part of the graph


class NoProfile(Exception):
    """Raised where LiteRT does not profile this artifact, or not in the way that is known; the message says why."""


@dataclass(frozen=True)
class Kernel:
    """Name what was timed: an operator of LiteRT's, by its position in the file, or a kernel of the delegate's."""

    name: str
    position: int | None


class Profiled:
    """Run one artifact on one thread.

    Args:
        artifact: content of a ``.tflite``.

    Raises:
        NoProfile: LiteRT refuses it, or has no profiler.
    """

    def __init__(self, artifact: bytes) -> None:
        self._content = ctypes.create_string_buffer(artifact, len(artifact))  # LiteRT does not copy it
        self._library = _library()
        self._environment = self._made("LiteRtCreateEnvironment", 0, None)
        size = ctypes.c_size_t(len(artifact))
        try:
            self._model = self._made("LiteRtCreateModelFromBuffer", self._environment, self._content, size)
        except NoProfile:
            raise NoProfile("LiteRT's profiler does not load it; it takes none with state, such as an LSTM") from None
        options = self._made("LiteRtCreateOptions")
        self._call("LiteRtSetOptionsHardwareAccelerators", options, _CPU)
        self._option(options, b"runtime_options_string", b"enable_profiling = true\n")
        self._option(options, b"xnnpack", b"num_threads = 1\n")
        self._compiled = self._made("LiteRtCreateCompiledModel", self._environment, self._model, options)
        self._profiler = self._made("LiteRtCompiledModelGetProfiler", self._compiled)
        if not self._profiler.value:
            raise NoProfile("this version of LiteRT profiles no compiled model")
        self._signature = self._made("LiteRtGetModelSignature", self._model, ctypes.c_size_t(0))
        self._inputs, self._outputs = self._buffers("Input"), self._buffers("Output")

    def feed(self, values: Mapping[str, Array]) -> None:
        """Write one example, as stored, by the names in the signature. Raises NoProfile for another size."""
        for place, buffer in enumerate(self._inputs):
            name = ctypes.c_char_p()
            index = ctypes.c_size_t(place)
            self._call("LiteRtGetSignatureInputName", self._signature, index, ctypes.byref(name))
            wanted = (name.value or b"").decode(errors="replace")
            if wanted not in values and len(values) > 1:
                raise NoProfile(f"its input {wanted} has no example")
            value = np.ascontiguousarray(values[wanted] if wanted in values else next(iter(values.values())))
            size = ctypes.c_size_t()
            self._call("LiteRtGetTensorBufferPackedSize", buffer, ctypes.byref(size))
            if size.value != value.nbytes:
                raise NoProfile(f"its input {wanted} takes {size.value} bytes, not {value.nbytes}")
            address = self._made("LiteRtLockTensorBuffer", buffer, last=(ctypes.c_int(_WRITE),))
            ctypes.memmove(address, value.ctypes.data, value.nbytes)
            self._call("LiteRtUnlockTensorBuffer", buffer)

    def call(self) -> None:
        """Run the example once."""
        inputs, outputs = _array(self._inputs), _array(self._outputs)
        sizes = ctypes.c_size_t(len(inputs)), ctypes.c_size_t(len(outputs))
        self._call("LiteRtRunCompiledModel", self._compiled, ctypes.c_size_t(0), sizes[0], inputs, sizes[1], outputs)

    def profile(self, calls: int) -> tuple[list[Kernel], Array]:
        """Run the example some times.

        Returns:
            What ran, in the order of time, and whole microseconds of each, shape (calls, kernels).

        Raises:
            NoProfile: events are not as they are known, or differ between calls.
        """
        self._call("LiteRtResetProfiler", self._profiler)
        self._call("LiteRtStartProfiler", self._profiler)
        for _ in range(calls):
            self.call()
        self._call("LiteRtStopProfiler", self._profiler)
        events = self._events()
        types = events[:, _TYPE] & 0xFFFFFFFF
        if not set(types.tolist()) <= _TYPES:
            raise NoProfile("this version of LiteRT writes its events in another form")
        # Of the first subgraph alone: what a loop's body does is in the operator that runs it.
        chosen = events[
            ((types == _BUILTIN) & (events[:, _SUBGRAPH] == 0)) | (types == _DELEGATED) | (types == _INTERNAL)
        ]
        kernels = [_kernel(event) for event in chosen]
        kept = [not (one.position is not None and _DELEGATE in one.name) for one in kernels]
        chosen, kernels = chosen[kept], [one for one, keep in zip(kernels, kept, strict=True) if keep]
        each = len(kernels) // calls
        if not each or len(kernels) != each * calls or kernels != kernels[:each] * calls:
            raise NoProfile("it runs other operators from call to call")
        return kernels[:each], chosen[:, _ELAPSED].reshape(calls, each).astype(np.float64)

    def _events(self) -> Array:
        count = ctypes.c_int()
        self._call("LiteRtGetNumProfilerEvents", self._profiler, ctypes.byref(count))
        if count.value <= 0:
            raise NoProfile("LiteRT's profiler told of no operator")
        # Twice the room, for a version of LiteRT whose events are longer.
        words = np.zeros(2 * count.value * _WORDS, dtype=np.uint64)
        self._call("LiteRtGetProfilerEvents", self._profiler, count, words.ctypes.data_as(ctypes.c_void_p))
        return words[: count.value * _WORDS].reshape(count.value, _WORDS)

    def _option(self, options: Any, name: bytes, text: bytes) -> None:
        """Add an option as text, which LiteRT frees."""
        standard = ctypes.CDLL(None)
        standard.strdup.restype = ctypes.c_void_p
        free = ctypes.cast(standard.free, ctypes.c_void_p)
        made = self._made("LiteRtCreateOpaqueOptions", name, ctypes.c_void_p(standard.strdup(text)), free)
        self._call("LiteRtAddOpaqueOptions", options, made)

    def _buffers(self, kind: str) -> list[ctypes.c_void_p]:
        count = ctypes.c_size_t()
        self._call(f"LiteRtGetNumSignature{kind}s", self._signature, ctypes.byref(count))
        found, zero = [], ctypes.c_size_t(0)
        for index in map(ctypes.c_size_t, range(count.value)):
            tensor = self._made(f"LiteRtGetSignature{kind}TensorByIndex", self._signature, index)
            shape = (ctypes.c_byte * 128)()  # longer than LiteRT's description of a tensor, 72 bytes
            self._call("LiteRtGetRankedTensorType", tensor, shape)
            needs = self._made(f"LiteRtGetCompiledModel{kind}BufferRequirements", self._compiled, zero, index)
            found.append(self._made("LiteRtCreateManagedTensorBufferFromRequirements", self._environment, shape, needs))
        return found

    def _made(self, name: str, *arguments: Any, last: Sequence[Any] = ()) -> ctypes.c_void_p:
        """Call a function that writes a handle into what its last pointer points to."""
        handle = ctypes.c_void_p()
        self._call(name, *arguments, ctypes.byref(handle), *last)
        return handle

    def _call(self, name: str, *arguments: Any) -> None:
        function = getattr(self._library, name, None)
        if function is None:
            raise NoProfile(f"this version of LiteRT has no {name}")
        function.restype = ctypes.c_int
        status = function(*arguments)
        if status:
            raise NoProfile(f"{name} failed with status {status}")


def _library() -> ctypes.CDLL:
    import ai_edge_litert

    for name in ("libLiteRt.so", "libLiteRt.dylib"):
        path = Path(str(ai_edge_litert.__file__)).with_name(name)
        if path.is_file():
            return ctypes.CDLL(str(path))
    raise NoProfile("this version of LiteRT comes without libLiteRt, which has the profiler")


def _array(handles: Sequence[ctypes.c_void_p]) -> Any:
    return (ctypes.c_void_p * len(handles))(*(handle.value for handle in handles))


def _kernel(event: Array) -> Kernel:
    tag = ctypes.string_at(int(event[_TAG])).decode(errors="replace")
    builtin = int(event[_TYPE]) & 0xFFFFFFFF == _BUILTIN
    return Kernel(tag, int(event[_POSITION]) if builtin else None)
