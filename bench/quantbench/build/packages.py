"""Install packages into folders of the store, once each: whole environments for ``ab``, and one version by itself.

A folder is kept while the store has room for it; it is complete once it holds the list of what was installed.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

from filelock import FileLock
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from quantbench import files
from quantbench.build.package_contents import contents_of
from quantbench.build.store import ENVIRONMENTS, INSTALLED, Store, default_root, digest
from quantbench.errors import BadInput

WANTED = "wanted.txt"  # in an unfinished folder: what is being installed
# A wheel of some 15 MB takes seconds; an index that does not answer is given up.
ALONE_LIMIT_SECONDS = 60.0
_SHOWN = 600  # characters of an installer's message: enough to name what cannot be had together


def kept(key: str, make: Callable[[Path], None]) -> Path:
    """Return the folder of this key, made now where it is not complete.

    Args:
        make: installs into the folder, which does not exist yet, and writes :data:`WANTED` into it.
    """
    store = Store(default_root().absolute())
    folder = store.root / ENVIRONMENTS / key
    store.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    files.own_folder(folder.parent, 0o700)
    files.unlink_unless_regular(Path(f"{folder}.lock"))
    with FileLock(f"{folder}.lock"):
        with store.changing():
            if files.is_folder(folder) and (folder / INSTALLED).exists():
                os.utime(folder)
                return folder
        files.remove(folder, store.root)
        make(folder)
        (folder / WANTED).rename(folder / INSTALLED)
    return folder


def listed(folder: Path, pins: Sequence[str]) -> None:
    """Write what is to be installed into an unfinished folder."""
    (folder / WANTED).write_text("\n".join([*pins, ""]), encoding="utf-8")


def alone(name: str, version: str) -> Path:
    """Install one version of a package without what it requires, for a process that gets the rest from this one.

    Returns:
        A folder to put before all others on the process's path.

    Raises:
        BadInput: it is no version, or cannot be installed, in one sentence.
    """
    try:
        exact = f"{canonicalize_name(name)}=={Version(version)}"
    except InvalidVersion:
        raise BadInput(f"{name} {version!r}: expected a version such as 2.3.0; it names no wheel") from None

    def make(folder: Path) -> None:
        folder.mkdir(mode=0o700)
        listed(folder, [exact])
        command = [*_installer(), "--target", str(folder), "--no-deps", "--only-binary", ":all:", exact]
        _run(command, folder.parent, f"{exact} cannot be installed", ALONE_LIMIT_SECONDS)

    return kept(digest({"alone": exact, "python": sys.version})[:16], make)


def for_other(target: str, pins: Sequence[str], python: str, platforms: Sequence[str], what: str, limit: float) -> None:
    """Unpack wheels for another processor or Python into a folder, without what they require; nothing is run.

    Args:
        python: its version, such as ``3.11``.
        platforms: tags of wheels that are taken.
        what: begins the sentence where one cannot be had.

    Raises:
        BadInput: there is no such wheel, or it cannot be downloaded.
    """
    alike = [part for tag in platforms for part in ("--platform", tag)]
    command = [*_pip(), "--target", target, "--no-deps", "--no-compile", "--only-binary", ":all:"]
    command += ["--implementation", "cp", "--python-version", python, *alike, *pins]
    _run(command, Path(target).parent, what, limit)


def contents_in(folder: Path, name: str) -> str:
    """Return version and contents' hash of a package in a folder, as of an installed one; ``absent`` without it."""
    for found in metadata.distributions(path=[str(folder)]):
        if canonicalize_name(found.metadata["Name"]) == canonicalize_name(name):
            return contents_of(found, "bin/")
    return "absent"


def uv(arguments: Sequence[str], folder: Path, what: str) -> str:
    """Run uv and return what it prints, in a folder without a project, whose settings it would apply.

    Raises:
        BadInput: uv is not there, or fails; with its message, in one line.
    """
    binary = _uv_binary()
    if binary is None:
        raise BadInput("ab needs uv, which makes the environments; install it: pip install 'quantbench[ab]'")
    return _run([binary, *arguments], folder, what, told=_in_one_line)


def _installer() -> list[str]:
    """Return the command that installs packages for this Python: uv's, or pip's."""
    binary = _uv_binary()
    if binary is not None:
        return [binary, "pip", "install", "--python", sys.executable]
    return _pip()


def _pip() -> list[str]:
    """Return the command by which pip installs."""
    if importlib.util.find_spec("pip") is None:
        raise BadInput("neither uv nor pip is here to install it; pip install 'quantbench[ab]'")
    return [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--retries", "1"]


def _run(
    command: Sequence[str],
    folder: Path,
    what: str,
    limit: float | None = None,
    told: Callable[[str], str] = lambda text: f"\n{text.strip()}",
) -> str:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=limit)
    except subprocess.TimeoutExpired:
        raise BadInput(f"{what}: not done after {limit:.0f} s") from None
    if done.returncode != 0:
        says = "pip" if "-m" in command else "uv"
        raise BadInput(f"{what}; {says} says:{told(done.stderr)}")
    return done.stdout


def _in_one_line(text: str) -> str:
    """Return an installer's message without its frame; of a long one both ends."""
    words = " ".join(text.replace("×", " ").replace("╰─▶", " ").split()).removeprefix("error: ")
    if len(words) > _SHOWN:
        words = f"{words[: _SHOWN // 2].rsplit(' ', 1)[0]} \u2026 {words[-_SHOWN // 2 :].split(' ', 1)[-1]}"
    return f" {words.rstrip('. ')}"


def _uv_binary() -> str | None:
    try:
        from uv import find_uv_bin

        return str(find_uv_bin())
    except (ImportError, FileNotFoundError):
        return shutil.which("uv")
