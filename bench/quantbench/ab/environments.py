"""Make temporary Python environments with uv: one per set of exact packages, kept while the store has room for it."""

import hashlib
import platform
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from quantbench.build import packages
from quantbench.build.store import digest
from quantbench.core.environment import STAND_INS
from quantbench.core.options import CHECKOUT
from quantbench.errors import BadInput

# A nightly installs the same modules as the corresponding release, so the release must be left out.
STANDS_FOR = {stand_in: name for name, stand_ins in STAND_INS.items() for stand_in in stand_ins}
# tf-keras follows TensorFlow's versions: where the user pins one, the resolver chooses the other.
FOLLOWS = {"tf-keras": "tensorflow"}
# What trains Keras 2 models: of a TensorFlow that has none yet, a side goes without it.
KERAS_2 = ("tf-keras", "tf-keras-nightly", "tensorflow-model-optimization")
# The quantizer requires one exact version of it, and works on others: what the user asks for replaces that.
RUNTIME = "ai-edge-litert"
NIGHTLY_OF = {"tf-nightly": "tf-keras-nightly", "tf-nightly-cpu": "tf-keras-nightly"}
# ai-edge-litert needs it; 1.3 only supports Python below 3.11, which pip respects and uv does not.
CONSTRAINTS = ("backports-strenum<1.3",)
_NEVER = "python_version < '3'"


@dataclass(frozen=True)
class Side:
    """Describe the packages of one side of the comparison.

    Attributes:
        option: the option that specified it, for messages.
        given: requirements as the user wrote them: PEP 508, or the path of a wheel.
        overrides: requirements that replace those of other packages, in uv's format.
    """

    option: str
    given: tuple[str, ...]
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Resolved:
    """Hold the packages that the resolver chose, one exact requirement each.

    Attributes:
        without: packages of ours that no version of suits the side, so that it was made without them.
    """

    side: Side
    pins: tuple[str, ...]
    without: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Compute the name of the environment from its packages, the bytes of local wheels, and the Python."""
        wheels = {pin: _sha256(Path(pin.partition("file://")[2])) for pin in self.pins if "file://" in pin}
        return digest({"pins": sorted(self.pins), "wheels": wheels, "python": sys.version})[:16]

    def versions(self) -> dict[str, str]:
        """Return package -> version, or the file it came from."""
        versions = {}
        for pin in self.pins:
            name, _, version = pin.partition("==") if "==" in pin else pin.partition(" @ ")
            versions[name.strip()] = version.partition(";")[0].strip()
        return versions


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def side(option: str, given: Sequence[str], overrides: Sequence[str] = ()) -> Side:
    """Check the requirements of one side.

    Raises:
        BadInput: no requirements, an invalid requirement, or a wheel that does not exist.
    """
    if not given:
        raise BadInput(f'{option}: give at least one requirement, e.g. {option} "tensorflow==2.21.*"')
    lines = tuple(_line(option, text) for text in given)
    for text in overrides:
        _name("--override", text)
    return Side(option, lines, tuple(overrides))


def _line(option: str, text: str) -> str:
    """Rewrite a requirement so that the resolver accepts it from any folder."""
    if text.endswith(".whl"):
        wheel = Path(text).absolute()
        if not wheel.is_file():
            raise BadInput(f"{option}: {text} is not there; give the path of a wheel, or a requirement")
        return f"{_name(option, text)} @ {wheel.as_uri()}"
    _name(option, text)
    return text


def _name(option: str, text: str) -> str:
    try:
        if text.endswith(".whl"):
            return str(parse_wheel_filename(Path(text).name)[0])
        return canonicalize_name(Requirement(text).name)
    except (InvalidRequirement, InvalidWheelFilename) as error:
        why = " ".join(str(error).split())
        raise BadInput(
            f'{option}: {text!r} is no requirement ({why}); expected e.g. "tensorflow==2.21.*", or a wheel'
        ) from None


def requirements(side: Side, without: Sequence[str] = ()) -> tuple[list[str], list[str]]:
    """Return (requirements, overrides) for the resolver: ours, except those that the user's or a nightly replace.

    Args:
        without: packages of ours to leave out.
    """
    given = {_name(side.option, line) for line in side.given}
    wanted = list(side.given)
    for nightly, companion in NIGHTLY_OF.items():
        if nightly in given and not {companion, "tf-keras"} & given and companion not in without:
            wanted.append(companion)
            given.add(companion)
    replaced = {STANDS_FOR[name] for name in given if name in STANDS_FOR}
    for own in _own():
        name = canonicalize_name(own.name)
        if name in given | replaced or name in without:
            continue
        free = FOLLOWS.get(name) in given | replaced
        wanted.append(name if free else str(own))
    freed = [line for line in side.given if _name(side.option, line) == RUNTIME]
    return wanted, [*side.overrides, *freed, *(f"{name} ; {_NEVER}" for name in sorted(replaced))]


def _own() -> list[Requirement]:
    """List what this package requires, without its extras; a checkout's project file has precedence, as the installed
    metadata may be older.
    """
    project = CHECKOUT / "pyproject.toml"
    if project.exists():
        return [Requirement(line) for line in tomllib.loads(project.read_text("utf-8"))["project"]["dependencies"]]
    declared = [Requirement(line) for line in metadata.requires("quantbench") or []]
    return [
        requirement
        for requirement in declared
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    ]


def resolve(side: Side) -> Resolved:
    """Resolve the exact versions for a side, without :data:`KERAS_2` where only that stands in the way.

    Raises:
        BadInput: uv is not installed, or cannot resolve it; with uv's message.
    """
    given = {_name(side.option, line) for line in side.given}
    may_lack = bool(given & {"tensorflow", *STAND_INS["tensorflow"]}) and not given & set(KERAS_2)
    try:
        found = _resolved(side, ())
    except BadInput as error:
        if not may_lack:
            raise
        try:
            return _resolved(side, KERAS_2)
        except BadInput:
            raise error from None
    return _resolved(side, KERAS_2) if may_lack and not _follows(found) else found


def _installed(side: Side) -> list[str]:
    """List what is installed here, except what the side names and what has to follow that."""
    given = {_name(side.option, line) for line in side.given}
    moves = given | {STANDS_FOR[name] for name in given if name in STANDS_FOR}
    moves |= {name for name, leader in FOLLOWS.items() if leader in moves}
    found = ((canonicalize_name(one.metadata["Name"]), one.version) for one in metadata.distributions())
    return sorted({f"{name}=={version}" for name, version in found if name not in moves})


def _follows(found: Resolved) -> bool:
    """Check whether tf-keras is of TensorFlow's own version; old ones name no newest TensorFlow, and break on it."""
    versions = found.versions()
    pair = [
        Version(versions[name]).release[:2]
        for package in ("tensorflow", "tf-keras")
        for name in (package, *STAND_INS[package])
        if name in versions and "/" not in versions[name]
    ]
    return len(set(pair)) < 2


def _resolved(side: Side, without: tuple[str, ...]) -> Resolved:
    wanted, overrides = requirements(side, without)
    with tempfile.TemporaryDirectory(prefix="quantbench-ab-") as folder:
        told = (("wanted", wanted), ("overrides", overrides), ("constraints", CONSTRAINTS), ("pins", _installed(side)))
        for name, lines in told:
            (Path(folder) / f"{name}.txt").write_text("\n".join([*lines, ""]), encoding="utf-8")
        command = ["pip", "compile", "wanted.txt", "--constraint", "constraints.txt"]
        command += ["--override", "overrides.txt"] if overrides else []
        # What an output file holds already is preferred: what a side does not name stays as it is installed here.
        command += ["--output-file", "pins.txt"]
        command += ["--python", sys.executable, "--no-header", "--no-annotate", "--no-progress"]
        compiled = packages.uv(
            command, Path(folder), f"{side.option} {' '.join(side.given)}: no such set of packages can be installed"
        )
    pins = [line.strip() for line in compiled.splitlines() if line.strip() and not line.lstrip().startswith(("#", "-"))]
    return Resolved(side, tuple(pins), tuple(name for name in without if "nightly" not in name))


def install(resolved: Resolved) -> Path:
    """Install exactly these packages into an environment, once, and return its Python; requires holding the store.

    Raises:
        BadInput: something cannot be installed; with uv's message.
    """
    what = f"{resolved.side.option} {' '.join(resolved.side.given)}: cannot be installed"
    python = "Scripts/python.exe" if platform.system() == "Windows" else "bin/python"

    def make(folder: Path) -> None:
        packages.uv(["venv", "--python", sys.executable, str(folder)], folder.parent, what)
        command = ["pip", "install", "--python", str(folder / python), "--no-deps", "-r", str(folder / packages.WANTED)]
        packages.listed(folder, resolved.pins)
        packages.uv(command, folder.parent, what)

    return packages.kept(resolved.key, make) / python
