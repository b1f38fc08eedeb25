"""Make the folder in which QEMU runs LiteRT's aarch64 wheels: Debian's Python for arm64, and NumPy and LiteRT.

It is an environment of the store: kept once, named by the versions that it was made for, removed as the least recently
used ones are. Nothing in it is ever executed by this machine's own processor, and nothing is installed on this machine.

It has files of its own in place of the kernel's ``/proc/cpuinfo`` and ``/sys``: LiteRT's detection of the processor
crashes at those of an x86 machine.
"""

import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from quantbench import files
from quantbench.build import debian, packages
from quantbench.build.store import INSTALLED, Store, default_root, digest
from quantbench.core.child_process import ended
from quantbench.core.environment import package_version
from quantbench.errors import BadInput

NAME = "qemu-aarch64"
ARCHITECTURE = "arm64"
EMULATORS = ("qemu-aarch64-static", "qemu-aarch64")  # Debian 12's qemu-user-static, and the qemu-user of later ones
INSTALL = "sudo apt-get install qemu-user-static"
# What a phone or a board computes with: ARMv8.2 with the dot product, as in a Raspberry Pi 5. The emulator's own
# default grows with its version, and kernels are chosen by what the processor has.
PROCESSOR = "cortex-a76"
WHEELS = ("ai-edge-litert", "numpy")
_FORM = 1  # of the folder: raised where it is laid out otherwise
_PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")
_INSIDE = "root"  # of the environment's folder
_SITE = "/usr/lib/quantbench"  # of the wheels, in the root
_EMULATOR = "/usr/bin/emulator"
_VARIABLES = {
    "PATH": "/usr/bin:/bin",
    "LC_ALL": "C.UTF-8",
    "HOME": "/tmp",
    "TMPDIR": "/tmp",
    "PYTHONPATH": _SITE,
    "PYTHONNOUSERSITE": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
_WHEEL_SECONDS, _TRIAL_SECONDS = 300.0, 120.0
# What Linux shows of one such core. LiteRT looks here for what it has; without, no XNNPACK kernel is used.
_CPUINFO = """processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x4
CPU part\t: 0xd0b
CPU revision\t: 1

"""
_KERNEL_FILES = {
    "proc/cpuinfo": _CPUINFO,
    "sys/devices/system/cpu/possible": "0\n",
    "sys/devices/system/cpu/present": "0\n",
    "sys/devices/system/cpu/online": "0\n",
    "sys/devices/system/cpu/kernel_max": "0\n",
}
_TRIAL = """
import platform, sys
import numpy
from importlib import metadata
from ai_edge_litert.interpreter import Interpreter
print(platform.machine(), "%d.%d" % sys.version_info[:2], metadata.version("ai-edge-litert"), numpy.__version__)
"""


@dataclass(frozen=True)
class Root:
    """Describe a finished root.

    Attributes:
        folder: what the emulated program sees as ``/``.
        python: path of its interpreter, in the root.
        versions: package -> version: the emulator, Debian's packages and the wheels.
    """

    folder: Path
    python: str
    versions: Mapping[str, str]

    def command(self, *arguments: str) -> list[str]:
        """Return the command that runs its Python, confined to the root and without this process's variables."""
        seen = [f"{name}={value}" for name, value in _VARIABLES.items()]
        return ["env", "-i", *seen, *_way_in(self.folder), _EMULATOR, "-cpu", PROCESSOR, self.python, *arguments]


class DoesNotStart(BadInput):
    """Raised when everything could be had, and the emulated Python or LiteRT does not run: no fault of this machine."""


def emulator() -> Path | None:
    """Return QEMU's emulator of aarch64 programs; None where it is not installed."""
    found = next((path for path in map(shutil.which, EMULATORS) if path), None)
    return None if found is None else Path(found).resolve()


@cache
def emulator_version(program: Path) -> str:
    """Return the emulator's version. Raise BadInput where it does not run."""
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BadInput(f"{NAME}: {program} does not run ({type(error).__name__}); {INSTALL}") from None
    found = re.search(r"version (\S+)", done.stdout)
    if found is None:
        raise BadInput(f"{NAME}: {program} names no version; {INSTALL}")
    return found[1]


def unavailable() -> str:
    """Say why this target cannot be used on this machine, and what to do; empty where it can be tried."""
    if platform.system() != "Linux":
        return f"{NAME} needs Linux, found {platform.system()}"
    if emulator() is None:
        return f"QEMU's emulator of ARM programs is not installed; {INSTALL}"
    if missing := debian.missing_tools():
        return missing
    return "" if _ways() else f"{_NO_WAY}; run as root, or allow user namespaces"


_NO_WAY = "a program can be confined to a folder neither by chroot nor by a user namespace (unshare, bwrap) here"


def wanted() -> dict[str, str]:
    """Return the versions that a root is made for, by which it is found again. Raise BadInput where one is unknown."""
    if problem := unavailable():
        raise BadInput(f"{NAME}: {problem}")
    program = emulator()
    assert program is not None
    here = {name: package_version(name) for name in WHEELS}
    absent = [name for name, found in here.items() if found == "absent"]
    if absent:
        raise BadInput(f"{NAME}: {', '.join(absent)} is not installed here, so that nothing can be compared with it")
    release = os.environ.get(debian.SOURCES) or debian.codename()
    return {"qemu": emulator_version(program), "release": release, **here}


def find() -> Root | None:
    """Return the root if it was made before and its list is whole; makes nothing."""
    folder = Store(default_root().absolute()).root / "environments" / _key(wanted())
    return _opened(folder) if (folder / INSTALLED).is_file() else None


def is_root(environment: Path) -> bool:
    """Tell such a root from an environment of ``ab``."""
    return (environment / _INSIDE).is_dir()


def root() -> Root:
    """Return the root, made now where the store lacks it.

    Raises:
        BadInput: something that it needs cannot be had, in one sentence.
        DoesNotStart: it was made, and is of no use.
        DiskFull: no space is left for it.
    """
    versions = wanted()
    Store(default_root().absolute()).lease()

    def kept() -> Path:
        return packages.kept(_key(versions), lambda folder: _make(folder, versions))

    folder = kept()
    found = _opened(folder)
    if found is None:
        files.remove(folder, folder.parent)
        found = _opened(kept())
    assert found is not None, "a root that was just made lists its packages"
    return found


def _key(versions: Mapping[str, str]) -> str:
    return digest({NAME: dict(versions), "form": _FORM, "processor": PROCESSOR, "files": _KERNEL_FILES})[:16]


def _opened(folder: Path) -> Root | None:
    """Return a finished root; None where its list of packages was damaged since."""
    try:
        lines = files.read_bytes(folder / INSTALLED, "list of packages", 2**20).decode().splitlines()
    except (BadInput, UnicodeDecodeError):
        return None
    versions = dict(re.split("==?", line, maxsplit=1) for line in lines if "=" in line)
    whole = re.fullmatch(r"3\.\d+", versions.get("python", "")) and {"qemu", *WHEELS} <= set(versions)
    return Root(folder / _INSIDE, f"/usr/bin/python{versions['python']}", versions) if whole else None


def _make(folder: Path, versions: Mapping[str, str]) -> None:
    """Download, unpack and try everything; on the disk it takes about 200 MB."""
    folder.mkdir(mode=0o700)
    inside = folder / _INSIDE
    with tempfile.TemporaryDirectory(prefix="apt-", dir=folder) as scratch:
        apt = debian.Apt(Path(scratch), ARCHITECTURE)
        apt.update()
        python = apt.dependency("python3-minimal", r"python3\.\d+-minimal").removesuffix("-minimal")
        found = apt.download([f"{python}-minimal", f"lib{python}-stdlib", "libstdc++6", "libgcc-s1", "zlib1g"])
        debian.unpack(found, inside)
        listed = [debian.version(package) for package in found]
    number = python.removeprefix("python")
    _install_wheels(inside, number, {name: versions[name] for name in WHEELS})
    _copy_emulator(inside)
    for name, text in _KERNEL_FILES.items():
        (inside / name).parent.mkdir(parents=True, exist_ok=True)
        (inside / name).write_text(text, encoding="ascii")
    wheels = [f"{name}=={versions[name]}" for name in WHEELS]
    packages.listed(folder, [f"python={number}", f"qemu={versions['qemu']}", *wheels, *listed])
    if problem := trial(Root(inside, f"/usr/bin/{python}", versions)):
        raise DoesNotStart(f"{NAME}: the emulated Python does not start: {problem}")


def _install_wheels(inside: Path, python: str, versions: Mapping[str, str]) -> None:
    pins = [f"{name}=={number}" for name, number in versions.items()]
    target = str(inside / _SITE.lstrip("/"))
    what = f"{NAME}: no wheels of {' and '.join(pins)} for aarch64 and Python {python}, which is Debian's, can be had"
    packages.for_other(target, pins, python, _PLATFORMS, what, _WHEEL_SECONDS)


def _copy_emulator(inside: Path) -> None:
    program = emulator()
    assert program is not None
    files.copy_tree(program, inside / _EMULATOR.lstrip("/"), "the emulator")
    (inside / _EMULATOR.lstrip("/")).chmod(0o755)


def trial(made: Root) -> str:
    """Start LiteRT in a root, and say what is wrong; empty where nothing is. The first time takes longest."""
    try:
        done = subprocess.run(
            made.command("-c", _TRIAL), capture_output=True, text=True, timeout=_TRIAL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no answer after {_TRIAL_SECONDS:.0f} s"
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return f"{ended(done.returncode)} ({' '.join(last.split())[:300]})"
    python = made.python.rpartition("/python")[2]
    expected = ["aarch64", python, *(made.versions[name] for name in WHEELS)]
    found = done.stdout.split()
    return "" if found == expected else f"it is {' '.join(found) or 'silent'}, expected {' '.join(expected)}"


def state(ask: bool) -> str:
    """Say whether this machine can use the emulated core; a root that does not start is removed, to be made again.

    Args:
        ask: whether to start it, which takes seconds.
    """
    if problem := unavailable():
        return f"no: {problem}"
    try:
        made = find()
    except BadInput as wrong:
        return f"no: {str(wrong).removeprefix(f'{NAME}: ')}"
    if made is None:
        return "yes; its root of Debian's arm64 packages is made when it is first used"
    problem = trial(made) if ask else ""
    if problem:
        folder = made.folder.parent
        files.remove(folder, folder.parent)
        return f"no: its root does not start ({problem}) and was removed; the next use makes it again"
    wheels = ", ".join(f"{name} {made.versions[name]}" for name in WHEELS)
    return f"yes, as a {PROCESSOR} (QEMU {made.versions['qemu']}, Python {made.versions['python']}, {wheels})"


# ---------------------------------------------------------------- confining


def _way_in(folder: Path) -> list[str]:
    ways = _ways()
    if not ways:
        raise BadInput(f"{NAME}: {_NO_WAY}; run as root, or allow user namespaces")
    return [part.replace("ROOT", str(folder)) for part in ways[0]]


@cache
def _ways() -> tuple[tuple[str, ...], ...]:
    """Return the commands that confine a program to a folder ``ROOT`` here, best first; each is tried on ``/``."""
    possible = (
        ("chroot", "ROOT"),
        ("unshare", "--user", "--map-root-user", "--root=ROOT"),
        ("bwrap", "--unshare-user", "--die-with-parent", "--bind", "ROOT", "/"),
    )
    here = ((shutil.which(way[0], path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"), way) for way in possible)
    return tuple((program, *way[1:]) for program, way in here if program is not None and _works((program, *way[1:])))


def _works(way: Sequence[str]) -> bool:
    command = [*(part.replace("ROOT", "/") for part in way), "true"]
    try:
        return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
