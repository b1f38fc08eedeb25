"""Start the worker on a target, and exchange frames with it; its protocol is described in
:mod:`quantbench.targets.worker`.

To add a kind of target: return the command that starts its Python from :func:`command`. That command gets
``-c BOOTSTRAP`` as further arguments and the worker's source on its standard input; nothing has to be installed or
copied there but Python >= 3.9, NumPy and a LiteRT interpreter. What comes back is data: it is checked, and is never run
or unpickled.
"""

import fcntl
import os
import secrets
import select
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from quantbench.build import arm_root
from quantbench.core.targets import Target
from quantbench.errors import BadInput
from quantbench.targets import worker
from quantbench.targets.failures import TargetFailed, start_failed, told_at_start

# Without quotes, so that every shell hands it on as it is.
BOOTSTRAP = "import sys;i=sys.stdin.buffer;exec(i.read(int(i.readline())))"
SOURCE = Path(worker.__file__)
SSH = "QUANTBENCH_SSH_COMMAND"  # in place of ``ssh``, as GIT_SSH_COMMAND is for git
START_SECONDS = 120.0  # an emulator takes several seconds to import NumPy
CONNECT_SECONDS = 20
# Longer than any pause between two frames: the worker says every 5 s that it is alive.
SILENCE_SECONDS = 45.0
_ENDING_SECONDS = 5.0
_MOST_NOISE = 2**16  # bytes that a login may print before the worker speaks
_PIPE_BYTES = 2**20


def emulated(target: Target) -> list[str]:
    """Return the command of an emulated ARM core, whose root is made now where it is missing. Raises TargetFailed."""
    del target
    try:
        return arm_root.root().command()
    except arm_root.DoesNotStart as problem:
        raise TargetFailed("unreachable", str(problem).removeprefix(f"{arm_root.NAME}: ")) from None
    except BadInput as problem:
        raise TargetFailed("not-here", str(problem).removeprefix(f"{arm_root.NAME}: ")) from None


# Kinds of target whose command is made elsewhere: scheme -> function.
LAUNCHERS: dict[str, Callable[[Target], list[str]]] = {arm_root.NAME: emulated}


def command(target: Target) -> list[str]:
    """Return the command that starts a Python on the target, with what it runs."""
    if target.scheme == "local":
        return [sys.executable, "-c", BOOTSTRAP]
    if target.scheme == "command":
        return [*target.words, "-c", BOOTSTRAP]
    if target.scheme == "ssh":
        remote = f"exec {target.python} -c {shlex.quote(BOOTSTRAP)}"
        to = [*(["-p", str(target.port)] if target.port else []), *(["-l", target.user] if target.user else [])]
        # Whether host keys are checked, and which keys are used, is the user's own configuration.
        options = ["-T", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_SECONDS}"]
        return [*shlex.split(os.environ.get(SSH) or "ssh"), *options, *to, "--", target.host, remote]
    if target.scheme in LAUNCHERS:
        return [*LAUNCHERS[target.scheme](target), "-c", BOOTSTRAP]
    raise TargetFailed("unreachable", f"this quantbench cannot start {target.scheme}")


class Link:
    """Hold a worker that has been started on a target.

    Args:
        environment: variables added to those of this process, for the command that starts the worker.

    Attributes:
        hello: what the worker said of its machine, as it came.

    Raises:
        TargetFailed: it could not be started; the message says why.
    """

    def __init__(self, target: Target, environment: Mapping[str, str] | None = None) -> None:
        self._target = target
        self._frames = worker.Frames()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115, closed with the link
        pipe, token = subprocess.PIPE, secrets.token_hex(16)
        try:
            self._process = subprocess.Popen(
                command(target),
                stdin=pipe,
                stdout=pipe,
                stderr=self._errors,
                env=os.environ | (environment or {}),
                start_new_session=True,  # a signal at the keyboard ends this process first, in order
            )
        except OSError as error:
            self._errors.close()
            raise TargetFailed("unreachable", f"{error.filename} cannot be started: {error.strerror}") from None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to, self._from = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._to, False)
        with suppress(OSError, AttributeError):
            fcntl.fcntl(self._to, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)  # type: ignore[attr-defined, unused-ignore]
        try:
            self.hello = self._begin(token)
        except BaseException:
            self.close()
            raise

    def _begin(self, token: str) -> dict[str, Any]:
        source = SOURCE.read_bytes() + f"\nmain({token!r}, {self._target.folder!r})\n".encode()
        try:
            self._write(b"%d\n" % len(source) + source, START_SECONDS)
            hello, _ = self._first(token)
        except TargetFailed as failure:
            if failure.code == "lost":  # it ended before it said a word: why is in what it wrote
                raise start_failed(self._target, self._ended(), self.errors()) from None
            raise
        if hello["kind"] == "error":
            raise told_at_start(self._target, hello)
        return hello

    def _first(self, token: str) -> tuple[dict[str, Any], bytes]:
        """Return the first frame that has the token; whatever a login prints before it is left out."""
        held, end = b"", time.monotonic() + START_SECONDS
        while True:
            at = held.find(worker.MAGIC)
            while at >= 0:
                frames = worker.Frames()
                frames.add(held[at:])
                try:
                    frame = frames.next()
                    if frame is None:
                        break
                    head, body = worker.unpacked(frame)
                    if head.get("token") == token:
                        self._frames = frames
                        return head, body
                except worker.Garbled:
                    pass
                at = held.find(worker.MAGIC, at + 1)
            if len(held) > _MOST_NOISE:
                raise TargetFailed("garbled", f"what its command wrote is no answer of a worker: {held[:80]!r}")
            held += self._read(end - time.monotonic())

    def send(self, head: dict[str, Any], body: bytes = b"") -> None:
        """Send a request. Raises TargetFailed."""
        self._write(worker.packed(head, body), SILENCE_SECONDS)

    def receive(self, limit: float = SILENCE_SECONDS) -> tuple[dict[str, Any], bytes]:
        """Return the next frame that is no mere sign of life.

        Args:
            limit: seconds until then.

        Raises:
            TargetFailed: the connection is lost or silent, what came is no frame, or it is an ``error``.
        """
        end = time.monotonic() + limit
        while True:
            try:
                frame = self._frames.next()
                head, body = worker.unpacked(frame) if frame is not None else ({}, b"")
            except worker.Garbled as garbled:
                raise TargetFailed("garbled", str(garbled)) from None
            if frame is None:
                if time.monotonic() > end:
                    raise TargetFailed("slow", f"it did not finish within {limit:.0f} s")
                self._frames.add(self._read(SILENCE_SECONDS))
            elif head["kind"] == "error":
                raise TargetFailed.told(head)
            elif head["kind"] != "alive":
                return head, body
            elif time.monotonic() > end:
                raise TargetFailed("slow", f"it did not finish within {limit:.0f} s")

    def _read(self, seconds: float) -> bytes:
        ready, _, _ = select.select([self._from], [], [], max(0.0, seconds))
        if not ready:
            raise TargetFailed("silent", f"nothing came from it for {max(seconds, 1):.0f} s")
        piece = os.read(self._from, 2**20)
        if not piece:
            raise TargetFailed("lost", self._lost())
        return piece

    def _write(self, data: bytes, seconds: float) -> None:
        left = memoryview(data)
        while left:
            _, ready, _ = select.select([], [self._to], [], seconds)
            if not ready:
                raise TargetFailed("silent", f"it took nothing for {seconds:.0f} s")
            try:
                left = left[os.write(self._to, left) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise TargetFailed("lost", self._lost()) from None

    def _lost(self) -> str:
        last = [line for line in self.errors().splitlines() if line.strip()][-1:]
        status = self._ended()
        how = f"its command was ended by signal {-status}" if status < 0 else f"its command ended with status {status}"
        return f"the connection was lost: {how}{''.join(f' ({line[:200]})' for line in last)}"

    def _ended(self) -> int:
        try:
            return self._process.wait(_ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def errors(self) -> str:
        """Return the end of what the command wrote to standard error."""
        size = os.fstat(self._errors.fileno()).st_size
        return os.pread(self._errors.fileno(), 20_000, max(0, size - 20_000)).decode(errors="replace")

    @property
    def pid(self) -> int:
        """Return the process of the command, on this machine."""
        return self._process.pid

    def close(self) -> None:
        """End the worker: the end of its input ends it, with what it has started."""
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()
        self._ended()
        self._errors.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
