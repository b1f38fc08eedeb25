"""Links and special files where quantbench keeps its own: reports, store, baselines, models."""

import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import made_up_runs

from hostile import tflites
from hostile.room import Hostile, Room

ANY = frozenset({0, 1, 3, 4})  # refused, or read past, as long as nothing outside is touched
FINE = frozenset({0, 4})
RUN = "2026-01-01T00-00-00Z"


def a_run(room: Room, name: str = RUN) -> Path:
    """A run folder of two cells that nobody measured."""
    answers = made_up_runs.answers(30)
    cells = [made_up_runs.cell("v", answers), made_up_runs.cell("w", answers)]
    return made_up_runs.write(room.reports, made_up_runs.report(cells, name), {"v": answers, "w": answers})


def _linked(name: str, to: str = "victim") -> Callable[[Path, Room], None]:
    def change(run: Path, room: Room) -> None:
        path = run / name
        if path.exists():
            path.unlink()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(room.outside / "private.json" if to == "private" else room.victim)

    return change


def _device(name: str, device: str) -> Callable[[Path, Room], None]:
    def change(run: Path, room: Room) -> None:
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to(device)

    return change


def _fifo(name: str) -> Callable[[Path, Room], None]:
    def change(run: Path, room: Room) -> None:
        (run / name).unlink(missing_ok=True)
        os.mkfifo(run / name)

    return change


def _socket(name: str) -> Callable[[Path, Room], None]:
    def change(run: Path, room: Room) -> None:
        (run / name).unlink(missing_ok=True)
        before = Path.cwd()
        os.chdir(run)
        try:
            with socket.socket(socket.AF_UNIX) as one:
                one.bind(name)
        finally:
            os.chdir(before)

    return change


def _folder(name: str) -> Callable[[Path, Room], None]:
    def change(run: Path, room: Room) -> None:
        (run / name).unlink(missing_ok=True)
        (run / name).mkdir()

    return change


Change = Callable[[Path, Room], None]
READ: dict[str, Change] = {
    "link_to_private": _linked("report.json", "private"),
    "link_to_zeros": _device("report.json", "/dev/zero"),
    "link_to_memory": _device("report.json", "/proc/self/mem"),
    "link_to_environment": _device("report.json", "/proc/self/environ"),
    "fifo": _fifo("report.json"),
    "socket": _socket("report.json"),
    "folder": _folder("report.json"),
}
READERS: dict[str, Callable[[Path, Room], list[str]]] = {
    "report": lambda run, room: ["report", str(run)],
    "compare": lambda run, room: ["compare", str(run), str(run)],
    "history": lambda run, room: ["history", "--report-dir", str(room.reports)],
    "diff": lambda run, room: ["baseline", "diff", str(run), *room.baselines_given],
    "update": lambda run, room: [
        "baseline",
        "update",
        str(run),
        "--reason",
        "x",
        "--allow-dirty",
        *room.baselines_given,
    ],
    "inspect": lambda run, room: ["inspect", "m/v", "--run", str(run)],
}


def _with(change: Change, reader: Callable[[Path, Room], list[str]]) -> Callable[[Room], list[str]]:
    def make(room: Room) -> list[str]:
        run = a_run(room)
        change(run, room)
        return reader(run, room)

    return make


def reports_read() -> Iterator[Hostile]:
    """A report that is no regular file."""
    kind = "links in reports"
    for name, change in READ.items():
        for reader, arguments in READERS.items():
            if reader in ("report", "history") or name in ("link_to_private", "fifo"):
                yield Hostile(f"{reader}_{name}", kind, _with(change, arguments), ("read", "time"))
    beside = {"summary": "summary.json", "predictions": "predictions/m.npz", "evidence": "evidence/m.json"}
    for name, path in beside.items():
        command = {"summary": "history", "predictions": "compare", "evidence": "inspect"}[name]
        for how, change in (("private", _linked(path, "private")), ("fifo", _made(path)), ("zeros", _to_zeros(path))):
            make = _with(change, READERS[command])
            yield Hostile(f"{command}_{name}_{how}", kind, make, ("read", "time"), ANY)


def _made(path: str) -> Change:
    def change(run: Path, room: Room) -> None:
        (run / path).parent.mkdir(exist_ok=True)
        _fifo(path)(run, room)

    return change


def _to_zeros(path: str) -> Change:
    def change(run: Path, room: Room) -> None:
        (run / path).parent.mkdir(exist_ok=True)
        _device(path, "/dev/zero")(run, room)

    return change


def reports_written() -> Iterator[Hostile]:
    """Names that quantbench writes to, and names that it may write to first."""
    kind = "links to write through"
    # Name of a file in a run folder -> command that writes it.
    written: dict[str, Callable[[Path, Room], list[str]]] = {
        "summary.json": READERS["history"],
        ".summary.json.tmp": READERS["history"],
        "report.md": lambda run, room: ["report", str(run), "--charts"],
        ".report.md.tmp": lambda run, room: ["report", str(run), "--charts"],
    }
    for name, arguments in written.items():
        label = name.strip(".").replace(".", "_")
        yield Hostile(f"written_{label}", kind, _with(_linked(name), arguments), ("write",), FINE)

    def page(name: str) -> Callable[[Room], list[str]]:
        def make(room: Room) -> list[str]:
            run = a_run(room)
            (room.given / name).symlink_to(room.victim)
            return ["report", str(run), "--html", str(room.given / "page.html")]

        return make

    for name in (".page.html.tmp", "page.html.tmp"):
        yield Hostile(f"page_{name.strip('.').replace('.', '_')}_{name.count('.')}", kind, page(name), ("write",), FINE)

    def chart(room: Room) -> list[str]:
        a_run(room)
        a_run(room, "2026-01-02T00-00-00Z")
        (room.given / ".trend.svg.tmp").symlink_to(room.victim)
        path = str(room.given / "trend.svg")
        return ["history", "m/v", "--report-dir", str(room.reports), "--chart", path]

    def charts(room: Room) -> list[str]:
        run = a_run(room)
        (run / "charts").symlink_to(room.victims)
        return ["report", str(run), "--charts"]

    def update(room: Room) -> list[str]:
        run = a_run(room)
        for name in (".m.json.tmp", ".m.npz.tmp", "m.json", "m.npz"):
            (room.baselines / name).symlink_to(room.victim)
        return ["baseline", "update", str(run), "--reason", "x", "--allow-dirty", *room.baselines_given]

    for make in (chart, charts, update):
        yield Hostile(f"{make.__name__}_linked", kind, make, ("write",), FINE)

    def tried(*names: str) -> Callable[[Room], list[str]]:
        def make(room: Room) -> list[str]:
            for name in names:
                (room.reports / name).symlink_to(room.victims)
            return room.trying(tflites.healthy(room.given / "m.tflite"))

        return make

    yield Hostile("latest_linked_outside", kind, tried("latest"), ("write",), FINE)
    yield Hostile("latest_temporary", kind, tried(f".latest-{os.getpid()}"), ("write",), FINE)


def stores() -> Iterator[Hostile]:
    """A store that others have filled."""
    kind = "stores"
    key = "ab" + "c" * 62

    def entry(room: Room, files: dict[str, str] | None = None) -> Path:
        import hashlib

        path = room.store / key[:2] / key
        path.mkdir(parents=True)
        (path / "x").write_bytes(b"content")
        index = {
            "key": key,
            "files": files or {"x": hashlib.sha256(b"content").hexdigest()},
            "ingredients": {"what": "test"},
        }
        (path / "entry.json").write_text(json.dumps(index))
        os.utime(path, (0, 0))
        return path

    def shard(room: Room) -> None:
        (room.store / "ee").symlink_to(room.victims)

    def whole_entry(room: Room) -> None:
        (room.store / "ab").mkdir()
        (room.store / "ab" / key).symlink_to(room.victims)

    def held(room: Room) -> None:
        (room.victims / "0123.lock").write_text("")
        (room.victims / "0123").mkdir()
        (room.victims / "0123" / "kept.txt").write_text("as it was\n")
        (room.store / ".held").symlink_to(room.victims)

    def environments(room: Room) -> None:
        (room.victims / "environment").mkdir()
        (room.victims / "environment" / "requirements.txt").write_text("numpy\n")
        os.utime(room.victims / "environment", (0, 0))
        (room.store / "environments").symlink_to(room.victims)

    def unfinished(room: Room) -> None:
        (room.store / "ab").mkdir()
        (room.store / "ab" / ".new-1").symlink_to(room.victims)
        (room.store / "ab" / ".old-1").symlink_to(room.victims)

    def unfinished_shard(room: Room) -> None:
        (room.victims / ".new-1").mkdir()
        (room.victims / ".old-1").mkdir()
        (room.store / "ab").symlink_to(room.victims)

    def lock(room: Room) -> None:
        (room.store / ".lock").symlink_to(room.victim)

    def journal(room: Room) -> None:
        entry(room, {"x": "0" * 64})
        (room.store / "damaged.log").symlink_to(room.victim)

    def index(room: Room) -> None:
        path = entry(room)
        (path / "entry.json").unlink()
        (path / "entry.json").symlink_to(room.outside / "private.json")

    def index_of_zeros(room: Room) -> None:
        path = entry(room)
        (path / "entry.json").unlink()
        (path / "entry.json").symlink_to("/dev/zero")

    def index_fifo(room: Room) -> None:
        path = entry(room)
        (path / "entry.json").unlink()
        os.mkfifo(path / "entry.json")

    def file_outside(room: Room) -> None:
        entry(room, {"../../../outside/private.txt": "0" * 64})

    def file_linked(room: Room) -> None:
        path = entry(room)
        (path / "x").unlink()
        (path / "x").symlink_to(room.private)

    def huge_index(room: Room) -> None:
        path = entry(room)
        with (path / "entry.json").open("ab") as file:
            file.write(b" " * 2**25)

    def deep_index(room: Room) -> None:
        path = entry(room)
        (path / "entry.json").write_text("[" * 200_000)

    def escapes(room: Room) -> None:
        path = entry(room)
        told = json.loads((path / "entry.json").read_text())
        told["ingredients"] = {"model": "\x1b]0;owned\x07\x1b[2J", "variant": "\x1b[2J", "what": "\x1b[2J"}
        (path / "entry.json").write_text(json.dumps(told))

    def fifo_beside(room: Room) -> None:
        os.mkfifo(room.store / "ab")

    def lock_fifo(room: Room) -> None:
        os.mkfifo(room.store / ".lock")

    def held_link(room: Room) -> None:
        (room.store / ".held").mkdir()
        (room.store / ".held" / "9999.lock").symlink_to(room.victim)
        (room.store / ".held" / "9999").symlink_to(room.victims)

    fills = (
        shard, whole_entry, held, environments, unfinished, unfinished_shard, lock, journal, index, index_of_zeros,
        index_fifo, file_outside, file_linked, huge_index, deep_index, escapes, fifo_beside, lock_fifo, held_link,
    )  # fmt: skip
    commands = {"gc": ["cache", "gc", "--cache-size", "0.000000001"], "ls": ["cache", "ls"]}
    for fill in fills:
        for name, arguments in commands.items():

            def make(room: Room, fill: Callable[[Room], None] = fill, arguments: list[str] = arguments) -> list[str]:
                fill(room)
                return arguments

            yield Hostile(f"store_{fill.__name__}_{name}", kind, make, ("delete", "read", "time"), FINE)

    for fill in (shard, held, lock):  # each of them a whole run

        def tried(room: Room, fill: Callable[[Room], None] = fill) -> list[str]:
            fill(room)
            return room.trying(tflites.healthy(room.given / "m.tflite"))

        yield Hostile(f"store_{fill.__name__}_try", kind, tried, ("delete", "write"), ANY)


def given() -> Iterator[Hostile]:
    """What the user types leads to something that is no file."""
    kind = "special files"

    def special(name: str, path: Callable[[Room], Path]) -> Iterator[Hostile]:
        def model(room: Room) -> list[str]:
            return room.trying(path(room))

        def data(room: Room) -> list[str]:
            room.data.unlink()
            room.data.symlink_to(path(room))
            return room.trying(tflites.healthy(room.given / "m.tflite"))

        def run(room: Room) -> list[str]:
            return ["report", str(path(room))]

        def adopted(room: Room) -> list[str]:
            return room.trying(path(room), "adopt")

        for what in (model, data, run, adopted):
            yield Hostile(f"{name}_as_{what.__name__}", kind, what, ("read", "time"))

    def fifo(room: Room) -> Path:
        os.mkfifo(room.given / "pipe")
        return room.given / "pipe"

    def unix_socket(room: Room) -> Path:
        _socket("s")(room.given, room)
        return room.given / "s"

    def loop(room: Room) -> Path:
        (room.given / "loop").symlink_to(room.given / "loop")
        return room.given / "loop"

    def private(room: Room) -> Path:
        (room.given / "m.keras").symlink_to(room.private)
        return room.given / "m.keras"

    yield from special("fifo", fifo)
    yield from special("socket", unix_socket)
    yield from special("loop", loop)
    yield from special("private", private)
    yield from special("zeros", lambda room: Path("/dev/zero"))
    yield from special("memory", lambda room: Path("/proc/self/mem"))
    yield from special("random", lambda room: Path("/dev/urandom"))
    yield from special("terminal", lambda room: Path("/dev/tty"))


def model_folders() -> Iterator[Hostile]:
    """Folders of models and baselines, as `baseline check` and `adopt` find them."""
    kind = "links in baselines"

    def check(room: Room) -> list[str]:
        return ["baseline", "check", "--model-dir", str(MODELS), *room.baselines_given]

    def copied(room: Room) -> None:
        for suffix in ("json", "npz"):
            shutil.copy(MODELS.parent / "baselines" / f"seed_cnn.{suffix}", room.baselines)

    def changed(name: str, to: Callable[[Room], Path | str]) -> Callable[[Room], list[str]]:
        def make(room: Room) -> list[str]:
            copied(room)
            (room.baselines / name).unlink()
            (room.baselines / name).symlink_to(to(room))
            return check(room)

        return make

    def fifo(name: str) -> Callable[[Room], list[str]]:
        def make(room: Room) -> list[str]:
            copied(room)
            (room.baselines / name).unlink()
            os.mkfifo(room.baselines / name)
            return check(room)

        return make

    for name in ("seed_cnn.json", "seed_cnn.npz"):
        label = name.rpartition(".")[2]
        yield Hostile(
            f"check_private_{label}", kind, changed(name, lambda room: room.outside / "private.json"), ("read",), ANY
        )
        yield Hostile(f"check_zeros_{label}", kind, changed(name, lambda room: "/dev/zero"), ("memory",), ANY)
        yield Hostile(f"check_fifo_{label}", kind, fifo(name), ("time",), ANY)


MODELS = Path(__file__).parents[3] / "models"
ALL = [*reports_read(), *reports_written(), *stores(), *given(), *model_folders()]
