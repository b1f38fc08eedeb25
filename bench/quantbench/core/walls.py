"""Confine a process that opens an untrusted model: limit what it can do to the machine.

Landlock (Linux 5.13) restricts file access, seccomp blocks sockets and access to other processes; both need no
privileges, and are inherited by child processes. They are applied in a thread that exists only to start the process,
because they hold for one thread and what it starts: so the process is confined from its first instruction on, before
any library has started threads in it, and our own process is not restricted.

Both are called here directly. Of the packages on PyPI, ``landlock`` 1.0.0.dev5 supports neither network nor signals and
misreads a stale errno as its own; ``pyseccomp`` 0.1.2 is from 2021 and needs a system library.
"""

import ctypes
import errno
import glob
import os
import platform
import struct
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import psutil

T = TypeVar("T")

# ---------------------------------------------------------------- what a process may access


@dataclass(frozen=True)
class Room:
    """List what a confined process may access besides Python and the system's libraries.

    Attributes:
        write: folders, and existing files, that it may change.
        read: folders and files.
        locks: whether it uses locks of :mod:`multiprocessing`, which are in shared memory.
    """

    write: tuple[Path, ...] = ()
    read: tuple[Path, ...] = ()
    locks: bool = False


@dataclass(frozen=True)
class Walls:
    """Describe which restrictions apply to a confined process.

    Attributes:
        files: it writes only where allowed, and reads only what it needs.
        network: it cannot open sockets.
        signals: it cannot signal processes that it did not start.
        limits: its memory and its file sizes are limited.
    """

    files: bool = False
    network: bool = False
    signals: bool = False
    limits: bool = False

    def sentence(self) -> str:
        """Return which restrictions apply and which do not, for a report."""
        words = {"file system": self.files, "network": self.network, "signals": self.signals, "memory": self.limits}
        there = ", ".join(word for word, stands in words.items() if stands) or "none"
        lacking = ", ".join(word for word, stands in words.items() if not stands)
        behind_walls = f"saved models of others are loaded and run behind walls: {there}"
        return f"{behind_walls}; not available here: {lacking} (Linux 6.12 has all)" if lacking else behind_walls


@lru_cache
def available() -> Walls:
    """Return the restrictions available on this system, by trying them in a thread."""
    standing: list[Walls] = []
    behind(lambda: None, Room(), standing.append)
    return standing[0] if standing else Walls()


def behind(start: Callable[[], T], room: Room, tell: Callable[[Walls], object] = lambda _: None) -> T:
    """Start a process confined; report the restrictions applied, leaving out what the system does not support.

    Args:
        start: starts it and returns at once; its exceptions are raised here.
    """
    if not sys.platform.startswith("linux"):
        return start()
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            tell(_confine(room))
            done.append(start())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="walls", daemon=True)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return done[0]


def _confine(room: Room) -> Walls:
    """Confine the calling thread permanently. Raises nothing."""
    _drop_capabilities()
    private = _libc().prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    version = _landlock_version() if private else 0
    files = version > 0 and _landlock(room, version)
    network = private and _seccomp()
    return Walls(files, network, files and version >= _SIGNALS_SINCE, _CAN_BOUND)


# ---------------------------------------------------------------- Landlock
# Numbers: include/uapi/linux/landlock.h. The system calls have the same number on every architecture.

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_NO_NEW_PRIVS = 38
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_FIRST = (1 << 13) - 1  # every right on files in version 1
_REFER, _TRUNCATE, _DEVICES = 1 << 13, 1 << 14, 1 << 15  # moving between folders: 2; truncating: 3; ioctl: 5
_TCP, _TCP_SINCE = 0b11, 4  # bind and connect
_SCOPE, _SIGNALS_SINCE = 0b11, 6  # abstract UNIX sockets and signals
# Devices, sockets, fifos and links: not needed, and dangerous to whoever reads the folder afterwards.
_SPECIAL = (1 << 6) | (1 << 9) | (1 << 10) | (1 << 11) | (1 << 12) | _DEVICES
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


@lru_cache
def _libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    libc.prctl.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)
    return libc


def _call(number: int, *arguments: Any) -> int:
    return int(_libc().syscall(ctypes.c_long(number), *arguments))


def _landlock_version() -> int:
    """Return the version of the interface; 0 where it is missing, or disabled at boot."""
    return max(0, _call(_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(1)))


def _landlock(room: Room, version: int) -> bool:
    handled = _FIRST
    for right, since in ((_REFER, 2), (_TRUNCATE, 3), (_DEVICES, 5)):
        handled |= right if version >= since else 0
    rules = _Ruleset(
        handled, _TCP if version >= _TCP_SINCE else 0, _SCOPE if version >= _SIGNALS_SINCE else 0
    )  # a kernel older than a field expects 0 there
    ruleset = _call(_CREATE, ctypes.byref(rules), ctypes.c_size_t(ctypes.sizeof(rules)), ctypes.c_uint32(0))
    if ruleset < 0:
        return False
    try:
        for path, rights in _rights(room):
            _allow(ruleset, path, rights & handled)
        return _call(_RESTRICT, ctypes.c_int(ruleset), ctypes.c_uint32(0)) == 0
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: Path, rights: int) -> None:
    """Allow access to a path; one that does not exist, or that we may not open ourselves, needs no rule."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        rule = _Beneath(rights if path.is_dir() else rights & _ON_FILES, descriptor)
        _call(_ADD, ctypes.c_int(ruleset), ctypes.c_int(1), ctypes.byref(rule), ctypes.c_uint32(0))
    finally:
        os.close(descriptor)


def _rights(room: Room) -> Iterator[tuple[Path, int]]:
    look = _EXECUTE | _READ_FILE | _READ_DIR
    for path in (*python_and_system(), *room.read):
        yield path, look
    for path in _looked_through():
        yield path, _READ_DIR
    for path in room.write:
        yield path, (_FIRST | _REFER | _TRUNCATE) & ~_SPECIAL
    yield Path(os.devnull), _READ_FILE | _WRITE_FILE
    if room.locks:  # existing ones only: a confined process creates none
        for semaphore in glob.glob("/dev/shm/sem.mp-*"):
            yield Path(semaphore), _READ_FILE | _WRITE_FILE


# Of /etc what the loader, the time zone and a user's name need: it holds keys and passwords too.
_ETC = ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "timezone", "passwd", "group", "nsswitch.conf")
_SYSTEM = (
    *("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/nix/store", "/gnu/store", "/proc", "/sys"),
    *("/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/etc/os-release", *(f"/etc/{file}" for file in _ETC)),
)


def python_and_system() -> list[Path]:
    """Return what every interpreter reads: itself, the installed packages, this one, and the system's libraries.

    ``/proc`` shows names and command lines of other processes, and no more: Landlock and seccomp protect their memory
    and their environment.
    """
    paths = [Path(path) for path in _SYSTEM]
    paths += [Path(path) for path in {sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix}]
    executable = Path(sys.executable)
    paths += [executable, executable.resolve(), Path(__file__).parents[1]]
    paths += [Path(part) for part in os.environ.get("LD_LIBRARY_PATH", "").split(":") if part]
    paths += [path for entry in sys.path for path in _importable(Path(entry or "."))]
    keras = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    return [*paths, keras / "keras.json"]  # Keras does not start where it exists but cannot be read


def _importable(entry: Path) -> Iterator[Path]:
    """Yield all of a folder of installed packages; of any other, which may be a home folder, what was imported."""
    if entry.is_file() or any(entry.glob("*.dist-info")) or (entry / "encodings").is_dir():
        yield entry
    else:
        yield from _imported_from(entry)


def _looked_through() -> list[Path]:
    """Return folders that Python has to list to find what was imported from them before, and this package."""
    entries = [Path(entry or ".").absolute() for entry in sys.path]
    return [Path(__file__).parents[2], *(entry for entry in entries if any(_imported_from(entry)))]


def _imported_from(entry: Path) -> Iterator[Path]:
    inside = str(entry.absolute()) + os.sep
    names = [name for name in list(sys.modules) if "." not in name and name not in ("__main__", "__mp_main__")]
    for name in names:
        origin = getattr(sys.modules.get(name), "__file__", None)
        if origin and origin.startswith(inside):
            path = Path(origin)
            yield path.parent if path.name == "__init__.py" else path


# ---------------------------------------------------------------- seccomp
# A socket of any kind can reach the network or a local service, io_uring opens them past the filter, and the rest
# accesses other processes or parts of the kernel that no model needs. Numbers: asm/unistd_64.h of each.

_NAMES = (
    *("socket", "socketpair", "ptrace", "process_vm_readv", "process_vm_writev", "bpf", "perf_event_open"),
    *("userfaultfd", "keyctl", "add_key", "request_key", "unshare", "setns"),
)
_EVERYWHERE = (425, 426, 427, 438)  # io_uring_setup, _enter and _register, pidfd_getfd
_KERNELS = {  # machine -> (its number in audit.h, that of seccomp, those of _NAMES)
    "x86_64": (0xC000003E, 317, (41, 53, 101, 310, 311, 321, 298, 323, 250, 248, 249, 272, 308)),
    "aarch64": (0xC00000B7, 277, (198, 199, 117, 270, 271, 280, 241, 282, 219, 217, 218, 97, 268)),
}
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000  # the second with an errno
_X32 = 0x40000000  # from here on numbers of another interface to the same calls
_SET_FILTER, _AS_FAST = 1, 4  # the second: without the slow-down of Spectre mitigations


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def _filter(architecture: int, numbers: Iterable[int]) -> bytes:
    """Return the program: refuse calls of other architectures and x32, and each of the numbers; allow the rest."""
    refused = sorted(numbers)
    steps = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, architecture), (_RETURN, 0, 0, _REFUSE | errno.ENOSYS)]
    steps += [(_LOAD, 0, 0, 0), (_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _REFUSE | errno.ENOSYS)]
    for number in refused:
        steps += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _REFUSE | errno.EACCES)]
    steps.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def _seccomp() -> bool:
    kernel = _KERNELS.get(platform.machine())
    if kernel is None or ctypes.sizeof(ctypes.c_void_p) != 8:
        return False
    architecture, seccomp, numbers = kernel
    steps = _filter(architecture, (*numbers, *_EVERYWHERE))
    held = ctypes.create_string_buffer(steps, len(steps))
    program = _Program(len(steps) // 8, ctypes.cast(held, ctypes.c_void_p))
    return _call(seccomp, ctypes.c_uint(_SET_FILTER), ctypes.c_uint(_AS_FAST), ctypes.byref(program)) == 0


# ---------------------------------------------------------------- rights of root, limits, environment

_OWN_FILES = 0b1111  # chown, dac_override, dac_read_search, fowner: a container's root needs them for the user's files


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


def _drop_capabilities() -> None:
    """Keep only root's rights on files, limited by Landlock; no new program regains others (no_new_privs)."""
    header, held = _CapabilityHeader(0x20080522, 0), (ctypes.c_uint32 * 6)()
    if _libc().capget(ctypes.byref(header), ctypes.byref(held)) != 0:
        return
    kept = held[1] & _OWN_FILES
    _libc().capset(ctypes.byref(header), ctypes.byref((ctypes.c_uint32 * 6)(kept, kept, 0, 0, 0, 0)))


_CAN_BOUND = sys.platform.startswith("linux")
LARGEST_FILE = 8 * 2**30  # bytes; a .tflite has at most two GiB, and other files no more than that
_LEAST_MEMORY = 4 * 2**30  # bytes; TensorFlow itself takes one GiB, and a machine with less swaps


def memory_limit() -> int:
    """Return the bytes that a confined process may use: three quarters of the machine's memory."""
    return max(_LEAST_MEMORY, psutil.virtual_memory().total * 3 // 4)


def bound(pid: int) -> None:
    """Limit memory and file sizes of a process just started, and of all that it starts; disable core dumps."""
    if not _CAN_BOUND:
        return
    import resource

    limits = {
        resource.RLIMIT_DATA: memory_limit(),
        resource.RLIMIT_FSIZE: LARGEST_FILE,
        resource.RLIMIT_CORE: 0,
    }
    for which, most in limits.items():
        try:
            _, hard = resource.prlimit(pid, which)
            most = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.prlimit(pid, which, (most, most))
        except (OSError, ValueError):  # it has already ended
            return


# Variables read by Python, TensorFlow, a GPU's driver or us; all others may be tokens.
_KNOWN = {"PATH", "HOME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "USER", "LOGNAME", "VIRTUAL_ENV", "CONDA_PREFIX"}
_KNOWN |= {
    "LD_LIBRARY_PATH",
    "XDG_CACHE_HOME",
    "QUANTBENCH_CACHE",
    "QUANTBENCH_VULKAN",
    "QUANTBENCH_OPENVINO",
    "NO_COLOR",
    "COLUMNS",
    "TERM",
}
_FAMILIES = ("LC_", "PYTHON", "TF_", "KERAS_", "CUDA_", "NVIDIA_", "OMP_", "OPENBLAS_", "MKL_", "MALLOC_", "COVERAGE_")


def harmless(name: str) -> bool:
    """Return whether a confined process may see an environment variable."""
    return name in _KNOWN or name.startswith(_FAMILIES)


def environment() -> dict[str, str]:
    """Return this process's environment as a confined process may see it."""
    return {name: value for name, value in os.environ.items() if harmless(name)}


def forget_environment() -> None:
    """Remove all other variables from the calling process, also from ``/proc/self/environ``; for one just started."""
    secret = {name: value for name, value in os.environ.items() if not harmless(name)}
    if not secret:
        return
    if sys.platform.startswith("linux"):
        held = ctypes.POINTER(ctypes.c_void_p).in_dll(ctypes.CDLL(None), "environ")
        i = 0
        while held and (address := held[i]) is not None:
            entry = ctypes.string_at(address)
            if os.fsdecode(entry.partition(b"=")[0]) in secret:
                ctypes.memset(address + entry.index(b"=") + 1, 0, len(entry) - entry.index(b"=") - 1)
            i += 1
    for name in secret:
        os.environ.pop(name, None)
