"""Load an untrusted model in one process behind walls, and query it: see :mod:`quantbench.adopt.loading_worker`.

Loading TensorFlow takes seconds, so one process answers all queries about a model. Queries and answers are lines of
JSON; arrays go through ``.npz`` files in a scratch folder, the only place where that process can write.
"""

import json
import os
import stat
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from quantbench.adopt.formats import Specs
from quantbench.adopt.outputs import Output, usable
from quantbench.core import walls
from quantbench.core.arrays import Inputs, length
from quantbench.core.child_process import HERE, ended, exchanged, parsed
from quantbench.errors import BadInput, DiskFull, disk_is_full, full_disk_named
from quantbench.reference.model import ReferenceModel

LIMIT_SECONDS = 600.0  # per query; the first one loads TensorFlow and the model
_MOST_WORDS = 300
_OUT_OF_MEMORY = ("MemoryError", "bad_alloc", "ResourceExhausted", "Cannot allocate memory", "out of memory")


class CannotRun(Exception):
    """Raised when a loaded model cannot run on these examples; the message begins with the error's type."""


class Loading:
    """Keep one model loaded in its own process, from the first query to the end of the context.

    Args:
        model: in any form but code.
        shown: the file as the user named it, for messages.
        limit: timeout of a query in seconds.
    """

    def __init__(self, model: ReferenceModel, shown: Path, limit: float = LIMIT_SECONDS) -> None:
        self._model = model
        self._kept = (model.file.parent / model.weights).absolute()
        self._shown = shown
        self._limit = limit
        self._process: subprocess.Popen[str] | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="quantbench-")
        self._scratch = Path(self._folder.name).resolve()
        self._errors = self._scratch / "errors.log"
        self._questions = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
        self._folder.cleanup()

    def input_specs(self) -> Specs:
        """Return the model's inputs, see :func:`quantbench.adopt.formats.input_specs`.

        Raises:
            BadInput: the model cannot be loaded.
        """
        answer = self._ask({"ask": "inputs"})
        try:
            return {
                str(name): (tuple(int(size) for size in shape), np.dtype(str(dtype)))
                for name, (shape, dtype) in answer["specs"].items()
            }
        except Exception:  # NumPy has many ways to name a type, and to refuse one
            raise self._bad("the process that loaded it gave no inputs of it") from None

    def outputs(self) -> list[Output]:
        """Return the model's outputs in its own order, see :func:`quantbench.adopt.outputs.found`.

        Raises:
            BadInput: the model cannot be loaded.
        """
        answer = self._ask({"ask": "outputs"})
        try:
            return usable([Output(str(key), str(name), str(activation)) for key, name, activation in answer["outputs"]])
        except (KeyError, TypeError, ValueError):
            raise self._bad("the process that loaded it gave no outputs of it") from None

    def predict(self, inputs: Inputs, as_saved: bool = False) -> Inputs:
        """Compute the float model's outputs, see :func:`quantbench.reference.float_model.predict`.

        Raises:
            BadInput: the model cannot be loaded, or its process died.
            CannotRun: it cannot run on these examples.
            DiskFull: there is no room for the examples, or for its outputs.
        """
        names = list(inputs) if isinstance(inputs, dict) else None
        self._questions += 1
        given = self._scratch / f"inputs{self._questions}.npz"
        results = self._scratch / f"outputs{self._questions}.npz"
        with full_disk_named():
            np.savez(given, *(inputs.values() if isinstance(inputs, dict) else [inputs]))
        files = {"inputs": str(given), "outputs": str(results)}
        answer = self._ask({"ask": "answers", "names": names, "as_saved": as_saved, **files})
        given.unlink()
        arrays = self._arrays(results)
        outputs = answer.get("outputs")
        if not isinstance(outputs, list) or len(outputs) != len(arrays) or not arrays:
            raise self._bad("the process that ran it gave no outputs of it")
        for array in arrays:
            if array.dtype.kind not in "biuf" or array.ndim == 0 or len(array) != length(inputs):
                raise self._bad(
                    f"its outputs are {array.dtype} of shape {array.shape}; expected numbers, {length(inputs)} of them"
                )
        named = dict(zip((str(name) for name in outputs), arrays, strict=True))
        return named[""] if list(named) == [""] else dict(named)

    def _arrays(self, path: Path) -> list[Any]:
        """Read the arrays that the process wrote; links, blocking files, and files that unpack to more are refused."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with os.fdopen(descriptor, "rb") as opened:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise ValueError("it is no regular file")
                with np.load(opened, allow_pickle=False) as file:
                    packed = [member for member in file.zip.infolist() if member.compress_type]
                    if packed:
                        raise ValueError("it is packed")
                    return [file[f"arr_{i}"] for i in range(len(file.files))]
        except Exception as error:  # a damaged file can fail in many ways
            raise self._bad(f"the outputs that its process wrote cannot be read ({error})") from None
        finally:
            path.unlink(missing_ok=True)

    # ------------------------------------------------------------ the process

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        process = self._process or self._started()
        line, late = exchanged(process, question, self._limit)
        if not line:
            raise self._dead(process, late)
        answer = parsed(line)
        if not isinstance(answer, dict):
            raise self._bad("the process that loaded it gave no answer that can be read")
        if "refused" in answer:
            raise BadInput(self._in_users_words(str(answer["refused"])))
        if "failed" in answer:
            words = self._in_users_words(str(answer["failed"]))
            self._check_room(words)
            if any(text in words for text in _OUT_OF_MEMORY):
                raise self._bad(_too_large())
            raise CannotRun(words)
        return answer

    def _started(self) -> "subprocess.Popen[str]":
        room = walls.Room(write=(self._scratch,), read=(self._kept,))
        command = [sys.executable, "-m", "quantbench.adopt.loading_worker"]
        seen = {**walls.environment(), "TMPDIR": str(self._scratch)}
        pipe = subprocess.PIPE
        with self._errors.open("wb") as errors:
            start = partial(subprocess.Popen, stdin=pipe, stdout=pipe, stderr=errors, text=True, errors="replace")
            self._process = process = walls.behind(partial(start, command, env=seen, cwd=HERE.home), room)
        walls.bound(process.pid)
        model = self._model
        job = {"path": str(self._kept), "form": model.form, "trusted": model.trusted, "stateful": model.stateful}
        assert process.stdin is not None
        with suppress(OSError):  # a process that died is reported by the query
            process.stdin.write(json.dumps(job) + "\n")
        return process

    def _dead(self, process: "subprocess.Popen[str]", late: bool) -> BadInput:
        if late:
            return self._bad(f"it could not be loaded and run within {self._limit:.0f} s")
        status = process.wait()
        with self._errors.open("rb") as file:
            file.seek(max(0, self._errors.stat().st_size - 20_000))
            lines = file.read().decode(errors="replace").strip().splitlines()
        if any(text in line for line in lines for text in _OUT_OF_MEMORY) or status == -9:
            return self._bad(_too_large())
        last = f": {lines[-1]}" if lines else ""
        self._check_room(last)
        return self._bad(f"the process that loaded it {ended(status)}{last}")

    def _check_room(self, words: str) -> None:
        """Raises DiskFull where the process found no room for what it writes."""
        if disk_is_full(CannotRun(words)):
            raise DiskFull(f"no space is left in {self._scratch.parent}, where {self._shown} is tried; free some")

    def _bad(self, words: str) -> BadInput:
        who = "LiteRT cannot load and run it: " if self._model.form == "tflite" else ""
        return BadInput(f"{self._shown}: {who}{self._in_users_words(words)}")

    def _in_users_words(self, words: str) -> str:
        """Put a message on one line, with the user's name for the file instead of that of our copy."""
        shown = " ".join(words.split()).replace(str(self._kept), str(self._shown))
        return shown[: _MOST_WORDS + len(str(self._shown))]


def _too_large() -> str:
    return f"it takes more memory than it may have, {walls.memory_limit() / 2**30:.0f} GiB, or than there is"
