"""Reports and baselines whose words are made for the reader's terminal, browser or spreadsheet, or never end."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from quantbench.records import Judgement, Kind, Verdict

from hostile.links import MODELS, READERS, a_run
from hostile.room import Hostile, Room

FINE = frozenset({0, 1, 3, 4})  # whatever `compare` finds; or refused
ESCAPE = "\x1b]0;owned\x07\x1b[2J\x9b2J\r"
IMAGE = "<img src=x onerror=alert(1)>"
SCRIPT = "</script><script>alert(1)</script>"
FORMULA = '=HYPERLINK("http://127.0.0.1/","x")'


def edited(room: Room, change: Callable[[dict[str, Any]], None], name: str = "2026-01-01T00-00-00Z") -> Path:
    """A run folder whose report somebody changed."""
    run = a_run(room, name)
    data = json.loads((run / "report.json").read_text())
    change(data)
    (run / "report.json").write_text(json.dumps(data))
    return run


def worded(words: str) -> Callable[[dict[str, Any]], None]:
    """The same words wherever a report takes any."""

    def change(data: dict[str, Any]) -> None:
        data["selection"] = words
        data["notes"] = [words]
        data["environment"] |= {"cpu": words, "os": words, "python": words}
        for cell in data["cells"]:
            judged = Judgement(
                kind=Kind.ACCURACY, measurement="score", against="floor", verdict=Verdict.REGRESSED, message="m"
            )
            cell["judgements"] = [json.loads(judged.model_dump_json(exclude_none=True)) | {"message": words}]
            cell["verdict"] = "regressed"
            cell["metric"] = words

    return change


def words() -> Iterator[Hostile]:
    """Words for a terminal, a browser, a spreadsheet, and a Markdown reader."""
    kind = "words in reports"
    texts = {
        "escapes": (ESCAPE, ()),
        "markup": (IMAGE, ("<img src=x",)),
        "script": (SCRIPT, ("<script>alert(1)",)),
        "formula": (FORMULA, ()),
        "direction": ("\u202egnihton\u2066", ()),
    }
    for name, (text, forbidden) in texts.items():
        for reader, arguments in READERS.items():

            def make(
                room: Room,
                text: str = text,
                arguments: Callable[[Path, Room], list[str]] = arguments,
            ) -> list[str]:
                return arguments(edited(room, worded(text)), room)

            yield Hostile(f"{name}_in_{reader}", kind, make, ("words",), FINE, forbidden)

        def page(room: Room, text: str = text) -> list[str]:
            run = edited(room, worded(text))
            return ["report", str(run), "--html", str(room.given / "page.html")]

        def short(room: Room, text: str = text) -> list[str]:
            return ["report", str(edited(room, worded(text))), "--summary"]

        def compared(room: Room, text: str = text) -> list[str]:
            new = edited(room, worded(text), "2026-01-02T00-00-00Z")
            return ["compare", str(a_run(room)), str(new), "--html", str(room.given / "page.html")]

        for own in (page, short, compared):
            yield Hostile(f"{name}_in_{own.__name__}", kind, own, ("words",), FINE, forbidden)


def damaged() -> Iterator[Hostile]:
    """Reports that are no reports."""
    kind = "damaged reports"

    def content(text: Callable[[str], str | bytes]) -> Callable[[Room], Path]:
        def make(room: Room) -> Path:
            run = a_run(room)
            changed = text((run / "report.json").read_text())
            (run / "report.json").write_bytes(changed if isinstance(changed, bytes) else changed.encode())
            return run

        return make

    def named(field: str, name: str) -> Callable[[Room], Path]:
        def change(data: dict[str, Any]) -> None:
            data["cells"][0] |= {field: name}
            data["cells"][0]["id"] = f"{data['cells'][0]['model']}/{data['cells'][0]['variant']}"

        return lambda room: edited(room, change)

    def huge(room: Room) -> Path:
        run = a_run(room)
        with (run / "report.json").open("r+b") as file:
            file.truncate(2**28 - 1)  # as much as this process may write; a hole on the disk
        return run

    many = '"notes": [' + ",".join(['"x"'] * 1_500_000) + "], "
    makers: dict[str, Callable[[Room], Path]] = {
        "deep": content(lambda text: "[" * 200_000),
        "deep_inside": content(lambda text: '{"a":' * 100_000 + "1" + "}" * 100_000),
        "twins": content(lambda text: text.rstrip()[:-1] + ', "kind": "report"}'),
        "digits": content(lambda text: text.replace('"exit_status": 0', f'"exit_status": {"9" * 10_000}')),
        "nan": content(lambda text: text.replace('"seconds": 1.0', '"seconds": NaN')),
        "bytes": content(lambda text: b"\xff\xfe\x00" * 1000),
        "empty": content(lambda text: ""),
        "list": content(lambda text: "[]"),
        "unknown_key": content(lambda text: text.replace('"kind"', '"\x1b[2J": 1, "kind"'.replace("\x1b", "\\u001b"))),
        "newer": content(lambda text: text.replace('"schema_version": "', '"schema_version": "99')),
        "long_notes": content(lambda text: text.replace('"notes": [], ', many).replace('"kind"', f'{many}"kind"', 1)),
        "model_above": named("model", "../../outside/victims"),
        "model_absolute": named("model", "/etc/passwd"),
        "variant_above": named("variant", "../v"),
        "variant_escapes": named("variant", "v\x1b[2J"),
        "huge": huge,
    }
    for name, make in makers.items():
        for reader in ("report", "history", "diff"):
            if reader == "report" or name in ("deep", "huge", "twins", "model_above", "unknown_key"):

                def arguments(room: Room, make: Callable[[Room], Path] = make, reader: str = reader) -> list[str]:
                    return READERS[reader](make(room), room)

                yield Hostile(f"{reader}_of_{name}", kind, arguments, ("time", "memory", "words"))


def baselines() -> Iterator[Hostile]:
    """Baselines that somebody else wrote; `baseline check` lists what is wrong with them."""
    kind = "damaged baselines"
    found = frozenset({1, 4})

    def content(change: Callable[[bytes], bytes], suffix: str = "json") -> Callable[[Room], list[str]]:
        def make(room: Room) -> list[str]:
            for one in ("json", "npz"):
                shutil.copy(MODELS.parent / "baselines" / f"seed_cnn.{one}", room.baselines)
            path = room.baselines / f"seed_cnn.{suffix}"
            path.write_bytes(change(path.read_bytes()))
            return ["baseline", "check", "--model-dir", str(MODELS), *room.baselines_given]

        return make

    def keyed(key: str) -> Callable[[bytes], bytes]:
        return lambda text: text.replace(b'"cells": {', b'"cells": {' + json.dumps(key).encode() + b": {}, ", 1)

    changes: dict[str, Callable[[bytes], bytes]] = {
        "deep": lambda text: b"[" * 200_000,
        "twins": lambda text: text.rstrip()[:-1] + b', "kind": "baseline"}',
        "escapes": keyed("\x1b]0;owned\x07\x1b[2J"),
        "path": keyed("../../outside/victims"),
        "bytes": lambda text: b"\xff" * 5000,
        "empty": lambda text: b"",
    }

    def huge(room: Room) -> list[str]:
        arguments = content(lambda text: text)(room)
        with (room.baselines / "seed_cnn.json").open("r+b") as file:
            file.truncate(2**28 - 1)  # a hole on the disk
        return arguments

    yield Hostile("check_of_huge", kind, huge, ("memory",), found)
    for name, change in changes.items():
        yield Hostile(f"check_of_{name}", kind, content(change), ("words", "time"), found)
    for name, change in {
        "cut": lambda data: data[:500],
        "pickle": lambda data: b"\x80\x04N.",
        "empty": lambda data: b"",
    }.items():
        yield Hostile(f"check_of_predictions_{name}", kind, content(change, "npz"), ("run", "time"), found)


ALL = [*words(), *damaged(), *baselines()]
