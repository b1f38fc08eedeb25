"""A folder for one hostile file: what a user gives, what may be written to, and, outside of them, canaries."""

import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

SECRET = "S3CRET"  # in everything that is private: it may turn up nowhere else
_LINES = 64
CODE = """
import os
with open(os.environ["CANARY_RAN"], "a") as file:
    file.write("imported")


def thing(*args, **kwargs):
    return args[0] if args else None


class Thing:
    def __init__(self, *args, **kwargs):
        pass
"""


@dataclass(frozen=True)
class Room:
    """Where one hostile file is tried out.

    Attributes:
        root: holds ``given``, ``reports``, ``store``, ``models``, ``baselines``, ``tmp`` and ``outside``.
        port: of a server on this machine that nobody has a reason to call.
    """

    root: Path
    port: int

    def __getattr__(self, name: str) -> Path:
        if name in FOLDERS:
            return self.root / name
        raise AttributeError(name)

    @property
    def private(self) -> Path:
        """A text file that nobody may read."""
        return self.outside / "private.txt"

    @property
    def victim(self) -> Path:
        """A file that nobody may change."""
        return self.outside / "victim.txt"

    @property
    def victims(self) -> Path:
        """A folder that nobody may delete."""
        return self.outside / "victims"

    @property
    def ran(self) -> Path:
        """What a hostile file makes when its code runs."""
        return self.outside / "ran"

    @property
    def url(self) -> str:
        """What a hostile file fetches."""
        return f"http://127.0.0.1:{self.port}/{self.root.name}"

    @property
    def data(self) -> Path:
        """Examples to evaluate on."""
        return self.given / "data.npz"

    def furnish(self) -> None:
        """Make the folders and the canaries."""
        for name in FOLDERS:
            (self.root / name).mkdir(parents=True)
        self.private.write_text(f"{SECRET} words\n" * _LINES)
        (self.outside / "private.json").write_text(f'{{"{SECRET}": "{SECRET}"}}')
        (self.outside / "private.raw").write_bytes(f"{SECRET}!!".encode() * 512)
        (self.outside / "code").mkdir()
        (self.outside / "code" / "canary_module.py").write_text(CODE)
        np.savez(self.outside / "private.npz", x=np.frombuffer(f"{SECRET}!!".encode() * 40, np.float32).reshape(20, 4))
        self.victim.write_text("as it was\n")
        (self.victims / ("e" * 64)).mkdir(parents=True)
        (self.victims / ("e" * 64) / "kept.txt").write_text("as it was\n")
        (self.victims / "kept.txt").write_text("as it was\n")
        rng = np.random.default_rng(0)
        np.savez(self.data, x=rng.normal(size=(20, 4)).astype(np.float32), y=np.arange(20) % 2)
        (self.given / "note.txt").write_text("a file\n")

    def trying(self, path: Path, command: str = "try") -> list[str]:
        """The command line that tries a model out."""
        own = ["--data", str(self.data), "--report-dir", str(self.reports)]
        if command == "adopt":
            own += ["--model-dir", str(self.models), *self.baselines_given, "--latency-budget", "0"]
            return ["adopt", str(path), "--name", "m", *own]
        return ["try", str(path), *own, "--variants", "float32", "--latency-budget", "0"]

    @property
    def baselines_given(self) -> list[str]:
        """The option that names the folder of baselines."""
        return ["--baseline-dir", str(self.baselines)]


FOLDERS = ("given", "reports", "store", "models", "baselines", "tmp", "work", "outside")
Arguments = Sequence[str]


@dataclass(frozen=True)
class Hostile:
    """One hostile file, or folder.

    Attributes:
        name: unique; letters, digits and underscores.
        kind: what makes it hostile.
        make: builds it in a room and returns the arguments of the command that it is given to.
        aims: what it is after: "run", "write", "read", "delete", "network", "time", "memory", "words".
        statuses: exit statuses that are right; where 4 is not among them, the file is to be read past.
        forbidden: words that may not turn up in the output, nor in a page that is written.
    """

    name: str
    kind: str
    make: Callable[[Room], Arguments]
    aims: tuple[str, ...]
    statuses: frozenset[int] = frozenset({4})
    forbidden: tuple[str, ...] = field(default=())


def entries(folder: Path) -> Iterator[Path]:
    """Everything under a folder; links are not followed."""
    for at, folders, files in os.walk(folder, followlinks=False):
        for name in (*folders, *files):
            yield Path(at) / name


def picture(folder: Path) -> dict[str, str]:
    """Path -> kind, mode, time of change and content of everything under a folder."""
    found = {}
    for path in entries(folder):
        known = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if stat.S_ISREG(known.st_mode) else ""
        changed = 0 if stat.S_ISDIR(known.st_mode) else known.st_mtime_ns
        found[str(path.relative_to(folder))] = f"{known.st_mode:o} {changed} {known.st_size * bool(content)} {content}"
    return {name: what for name, what in found.items() if "__pycache__" not in name}


def leaks(root: Path, before: dict[str, str]) -> list[str]:
    """Regular files under a room that hold the secret, outside of where it belongs."""
    found = []
    for path in entries(root):
        name = str(path.relative_to(root))
        if name.startswith("outside") or name in before or not stat.S_ISREG(path.lstat().st_mode):
            continue
        if SECRET.encode() in path.read_bytes():
            found.append(name)
    return found


def size(root: Path) -> int:
    """Bytes of all regular files under a folder."""
    return sum(path.lstat().st_blocks * 512 for path in entries(root) if stat.S_ISREG(path.lstat().st_mode))


def changes(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Names of what is new, gone or changed."""
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
