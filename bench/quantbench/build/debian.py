"""Download Debian's packages for another architecture and unpack them into a folder.

apt resolves what they need and checks signatures and hashes, with lists and a state of its own in that folder: this
machine's package database is neither read nor changed, and no rights are needed.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from quantbench import files
from quantbench.errors import BadInput, DiskFull, disk_is_full

SOURCES = "QUANTBENCH_ARM_SOURCES"  # names a file of package sources that is used in place of this machine's
UPDATE_SECONDS, DOWNLOAD_SECONDS, UNPACK_SECONDS = 180.0, 300.0, 60.0
_LISTED = (Path("/etc/apt/sources.list"), Path("/etc/apt/sources.list.d"))
_RELEASE = Path("/etc/os-release")
_LARGEST = 2**20  # bytes of a file of sources
# Read by nobody there, and a third of what is unpacked.
_UNREAD = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/lintian")


def codename() -> str:
    """Return the release of this machine's distribution, such as ``bookworm``; empty where it names none."""
    try:
        text = files.read_bytes(_RELEASE.resolve(), "release", _LARGEST).decode("utf-8", "replace")
    except BadInput:
        return ""
    found = re.search(r'^VERSION_CODENAME="?([a-z0-9.-]+)"?$', text, re.MULTILINE)
    return found[1] if found else ""


def sources(release: str, listed: Sequence[Path] = _LISTED) -> dict[str, str]:
    """Return this machine's package sources of its release, by the name of a file to write them to.

    Others, such as those of a vendor's tools, are left out: they have no packages of ours, and cost an answer each.
    """
    named = os.environ.get(SOURCES)
    if named:
        text = files.read_bytes(Path(named), f"{SOURCES}: package sources", _LARGEST).decode("utf-8", "replace")
        return {f"own{Path(named).suffix or '.list'}": text}
    found = {}
    for path in _source_files(listed):
        text = files.read_bytes(path, "package sources", _LARGEST).decode("utf-8", "replace")
        kept = list(_of_release(text, release, path.suffix))
        if kept:
            found[path.name] = "\n\n".join([*kept, ""])
    return found


def _source_files(listed: Sequence[Path]) -> Iterator[Path]:
    for place in listed:
        inside = sorted(place.iterdir()) if place.is_dir() else [place]
        yield from (path for path in inside if path.suffix in (".list", ".sources") and files.is_regular(path))


def _of_release(text: str, release: str, suffix: str) -> Iterator[str]:
    """Yield the entries for a release or its updates: paragraphs of ``.sources``, lines of ``.list``."""
    suite = re.compile(rf"\s{re.escape(release)}(-[a-z-]+)?(?=\s|/|$)")
    for entry in re.split(r"\n\s*\n", text) if suffix == ".sources" else text.splitlines():
        lines = [line for line in entry.splitlines() if not line.lstrip().startswith("#")]
        if suffix == ".sources":
            suites = " ".join(line.partition(":")[2] for line in lines if line.lower().startswith("suites:"))
            wanted = bool(suite.search(f" {suites}"))
        else:
            wanted = bool(lines) and lines[0].startswith("deb ") and bool(suite.search(lines[0]))
        if wanted:
            yield "\n".join(lines)


class Apt:
    """Run apt with a state of its own.

    Args:
        folder: gets the lists, the downloads and the sources.
        architecture: of the packages, as Debian calls it.

    Raises:
        BadInput: apt is missing, or this machine has no sources of a Debian release.
    """

    def __init__(self, folder: Path, architecture: str) -> None:
        if missing := missing_tools():
            raise BadInput(missing)
        self._folder = folder
        release = codename()
        entries = sources(release)
        if not entries:
            raise BadInput(
                f"this machine has no package sources of its release ({release or 'unknown'}) in /etc/apt; name a file "
                f"of Debian's in {SOURCES}"
            )
        for place in ("lists/partial", "archives/partial", "etc/sources.list.d", "etc/preferences.d", "etc/apt.conf.d"):
            (folder / place).mkdir(parents=True)
        (folder / "status").write_text("", encoding="utf-8")
        for name, text in entries.items():
            (folder / "etc/sources.list.d" / name).write_text(text, encoding="utf-8")
        settings = {
            "APT::Architecture": architecture,
            "APT::Architectures": architecture,
            "APT::Sandbox::User": "",  # the folder is this user's alone
            "APT::Install-Recommends": "false",
            "APT::Get::Assume-Yes": "true",
            "APT::Update::Error-Mode": "any",  # else a mirror that does not answer is a mere warning
            "Acquire::Languages": "none",
            "Acquire::Retries": "2",
            "Acquire::http::Timeout": "30",
            "Acquire::https::Timeout": "30",
            "Dir::State": folder,
            "Dir::State::lists": folder / "lists",
            "Dir::State::status": folder / "status",
            "Dir::Cache": folder,
            "Dir::Cache::archives": folder / "archives",
            "Dir::Etc::sourcelist": "/dev/null",
            "Dir::Etc::sourceparts": folder / "etc/sources.list.d",
            "Dir::Etc::preferencesparts": folder / "etc/preferences.d",
            "Dir::Log": folder,
        }
        self._settings = [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
        self.architecture = architecture

    def update(self) -> None:
        """Fetch the lists of packages. Raise BadInput where none of this architecture can be had."""
        self._run(
            "apt-get",
            ["update", "--quiet"],
            UPDATE_SECONDS,
            f"no list of packages for {self.architecture} can be fetched",
        )
        if not any((self._folder / "lists").glob(f"*_binary-{self.architecture}_Packages*")):
            raise BadInput(
                f"the package sources of this machine have no packages for {self.architecture}; name a file of "
                f"Debian's sources in {SOURCES}"
            )

    def dependency(self, package: str, pattern: str) -> str:
        """Return the first dependency of a package that matches a pattern. Raise BadInput where it has none."""
        said = self._run("apt-cache", ["show", "--no-all-versions", package], 60.0, f"{package} is not in the sources")
        depends = re.findall(r"^(?:Pre-)?Depends: (.*)$", said, re.MULTILINE)
        found = re.search(pattern, "\n".join(depends))
        if found is None:
            raise BadInput(f"{package} of {self.architecture} does not depend on {pattern}, as Debian's does")
        return found[0]

    def download(self, names: Sequence[str]) -> list[Path]:
        """Download packages and all that they depend on. Raise BadInput where one cannot be had."""
        what = f"{', '.join(names)} for {self.architecture} cannot be downloaded"
        self._run("apt-get", ["install", "--quiet", "--download-only", *names], DOWNLOAD_SECONDS, what)
        return sorted((self._folder / "archives").glob("*.deb"))

    def _run(self, program: str, arguments: Sequence[str], limit: float, what: str) -> str:
        return _said([program, *self._settings, *arguments], limit, what)


def missing_tools() -> str:
    """Say which of Debian's tools are not here; empty where all are."""
    absent = [name for name in ("apt-get", "apt-cache", "dpkg-deb") if shutil.which(name) is None]
    if not absent:
        return ""
    return f"{', '.join(absent)} not found: the emulated root is made of Debian's packages; use Debian or Ubuntu"


def unpack(packages: Sequence[Path], root: Path) -> None:
    """Unpack packages into a folder that is laid out as Debian's root, with ``/lib`` and ``/bin`` inside ``/usr``."""
    (root / "usr").mkdir(parents=True)
    for name in ("bin", "lib", "sbin"):
        (root / "usr" / name).mkdir()
        (root / name).symlink_to(f"usr/{name}")
    for package in packages:
        _said(["dpkg-deb", "--extract", str(package), str(root)], UNPACK_SECONDS, f"{package.name} cannot be unpacked")
    for place in _UNREAD:
        files.remove(root / place, root)
    (root / "tmp").mkdir(mode=0o700, exist_ok=True)


def version(package: Path) -> str:
    """Return ``name=version`` of a downloaded package, whose file is called by both."""
    name, number, _ = package.name.split("_", 2)
    return f"{name}={number.replace('%3a', ':')}"


def _said(command: Sequence[str], limit: float, what: str) -> str:
    surroundings = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, env=surroundings, check=False)
    except subprocess.TimeoutExpired:
        raise BadInput(f"{what}: {command[0]} was not done after {limit:.0f} s; check the network") from None
    if done.returncode == 0:
        return done.stdout
    complaints = [line for line in done.stderr.splitlines() if line.startswith(("E:", "dpkg-deb: error", "tar:"))]
    why = " ".join((complaints or done.stderr.splitlines() or ["no reason given"])[0].split())[:300]
    if disk_is_full(OSError(None, why)) or disk_is_full(RuntimeError(done.stderr)):
        raise DiskFull(f"no space is left for Debian's packages ({why[:200]}); free some and run again")
    raise BadInput(f"{what}: {command[0]} says: {why}")
