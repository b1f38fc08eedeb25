"""Identify an installed package by what is in it, for the store's keys; a rebuilt or patched one keeps its version."""

import base64
import csv
import hashlib
import json
import os
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from quantbench.core.environment import STAND_INS

DIGITS = 12
# Installers write RECORD last, so a file that is newer was edited after it was installed; file systems round times.
_ROUNDING_S = 2.0
# What an editable package is made of, as far as its results depend on it.
_SOURCES = (".py", ".pyi", ".pyx", ".so", ".pyd", ".dylib", ".dll", ".fbs", ".json")


@cache
def package_contents(name: str) -> str:
    """Return version and hash of the contents of a distribution or its stand-in, e.g. ``2.21.0 1f0c54dbb0a2``.

    The hash is that of the RECORD that the installer left, file by file, of the files that were edited since (those
    that are newer than RECORD or of another size), and of the sources of an editable package. Where there is no RECORD,
    as with packages of the system, it is the version alone; ``absent`` where the package is not installed.
    """
    for distribution in (name, *STAND_INS.get(name, ())):
        try:
            found = metadata.distribution(distribution)
        except metadata.PackageNotFoundError:
            continue
        return contents_of(found)
    return "absent"


def contents_of(found: metadata.Distribution, scripts: str = "..") -> str:
    """Return the same of a distribution that was found, wherever it lies.

    Args:
        scripts: with what the paths of its scripts begin, which lie beside the packages in a folder of their own.
    """
    digest = _digest(found, scripts)
    return f"{found.version} {digest}" if digest else found.version


def _digest(found: metadata.Distribution, scripts: str) -> str:
    record = found.read_text("RECORD")
    if record is None:
        return ""
    listed = [one for one in _listed(record) if not one[0].startswith(scripts)]
    digest = hashlib.sha256()
    for path, sha256, _ in listed:
        digest.update(f"{path} {sha256}\n".encode())
    for path, content in _edited(found, listed):
        digest.update(f"edited {path} {content}\n".encode())
    source = _editable(found)
    if source is not None:
        for path, content in _tree(source):
            digest.update(f"source {path} {content}\n".encode())
    return digest.hexdigest()[:DIGITS]


def _listed(record: str) -> list[tuple[str, str, int]]:
    """Return path, hash and size of each file that a package itself brings, sorted.

    Bytecode, scripts outside and the installer's own notes differ between pip and uv, and no result depends on them.
    """
    rows = [row for row in csv.reader(record.splitlines()) if len(row) == 3]
    return sorted(
        (path, sha256, int(size or 0))
        for path, sha256, size in rows
        if sha256 and not path.startswith(("..", "/")) and ".dist-info/" not in path
    )


def _edited(found: metadata.Distribution, listed: list[tuple[str, str, int]]) -> Iterator[tuple[str, str]]:
    """Yield the path and hash of each listed file that is not as it was installed."""
    root = str(found.locate_file(""))
    notes: Any = getattr(found, "_path", None)
    installed = (Path(str(notes)) / "RECORD").stat().st_mtime + _ROUNDING_S if notes is not None else 0.0
    for path, sha256, size in listed:
        file = os.path.join(root, path)  # of 24,000 files: with paths all this took half as long again
        try:
            status = os.stat(file)
        except OSError:
            yield path, "gone"
            continue
        if status.st_size != size or status.st_mtime > installed:
            algorithm, _, expected = sha256.partition("=")
            content = _sha(Path(file), algorithm)
            if content != expected:
                yield path, content


def _sha(file: Path, algorithm: str) -> str:
    """Hash a file as RECORD writes it: url-safe base64 without padding."""
    with file.open("rb") as opened:
        return base64.urlsafe_b64encode(hashlib.file_digest(opened, algorithm).digest()).decode().rstrip("=")


def _editable(found: metadata.Distribution) -> Path | None:
    """Return the folder of the sources of a package that was installed editable."""
    try:
        origin = json.loads(found.read_text("direct_url.json") or "{}")
    except ValueError:
        return None
    if not isinstance(origin, dict) or not origin.get("dir_info", {}).get("editable"):
        return None
    folder = Path(unquote(urlparse(str(origin.get("url", ""))).path))
    return folder if folder.is_dir() else None


def _tree(folder: Path) -> Iterator[tuple[str, str]]:
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(one for one in folders if not one.startswith((".", "__pycache__")))
        for name in sorted(names):
            if name.endswith(_SOURCES):
                file = Path(root, name)
                if file.is_file():
                    yield file.relative_to(folder).as_posix(), _sha(file, "sha256")
