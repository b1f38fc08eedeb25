"""A content-addressed store: a result lies under the hash of everything that decides it.

Entries are folders, written under a temporary name and renamed, and checked by checksum when read. One that is damaged,
or lies under a key that is not its own, is removed, so that it is made again, and named in the store's journal.
"""

import hashlib
import inspect
import json
import os
import shutil
import tempfile
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

_INDEX = "entry.json"
_JOURNAL = "damaged.log"


def default_root() -> Path:
    """``$QUANTBENCH_CACHE``, or the user's cache folder."""
    return Path(os.environ.get("QUANTBENCH_CACHE") or platformdirs.user_cache_dir("quantbench"))


def digest(ingredients: Mapping[str, Any]) -> str:
    """Key of a result: sha256 of its ingredients as canonical JSON."""
    return hashlib.sha256(json.dumps(ingredients, sort_keys=True).encode()).hexdigest()


def source_fingerprint(function: Callable[..., Any]) -> str:
    """Hash of a function's source and of every function and constant of its own package that it uses.

    So a change in one variant's code changes that variant's key and no other's.
    """
    parts: dict[str, str] = {}
    _collect_source(function, function.__module__, parts)
    return digest(parts)


def _neighbours(module: str, other: str) -> bool:
    """Whether two modules are one, or lie in one package."""
    package = module.rpartition(".")[0]
    return module == other or (bool(package) and other.rpartition(".")[0] == package)


def _collect_source(function: Callable[..., Any], module: str, parts: dict[str, str]) -> None:
    name = f"{function.__module__}.{function.__qualname__}"
    if name in parts:
        return
    parts[name] = inspect.getsource(function)
    for captured, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        value = cell.cell_contents
        if inspect.isfunction(value):  # its address would make another key in each process
            _collect_source(value, value.__module__, parts)
            parts[f"{name}: {captured}"] = value.__qualname__
        else:
            parts[f"{name}: {captured}"] = repr(value)
    names = set(_all_names(function.__code__))
    for used, value in sorted(vars(inspect.getmodule(function)).items()):
        if used not in names:
            continue
        if inspect.isfunction(value) and _neighbours(module, value.__module__):
            _collect_source(value, module, parts)
        elif inspect.isclass(value) and "." in module and _neighbours(module, value.__module__):
            parts[f"{value.__module__}.{used}"] = inspect.getsource(value)
        elif inspect.ismodule(value) and _neighbours(module, value.__name__):
            for inner, member in sorted(vars(value).items()):
                if inner in names and inspect.isfunction(member) and member.__module__ == value.__name__:
                    _collect_source(member, module, parts)
        elif isinstance(value, str | int | float | tuple | list | dict | frozenset | bytes):
            parts[used] = repr(value)


def _all_names(code: types.CodeType) -> list[str]:
    names = list(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names += _all_names(constant)
    return names


@dataclass(frozen=True)
class Store:
    """A folder of entries.

    Attributes:
        root: made private (0700) when it is created.
    """

    root: Path

    def path(self, key: str) -> Path:
        """Folder of an entry, whether it exists or not."""
        return self.root / key[:2] / key

    def get(self, key: str) -> Path | None:
        """Folder of a whole, undamaged entry of this very key; any other is removed, so that it is made again."""
        folder = self.path(key)
        try:
            index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
            if index["key"] != key:
                raise ValueError(f"it is the entry of {index['key'][:12]}")
            for name, expected in index["files"].items():
                if hashlib.sha256((folder / name).read_bytes()).hexdigest() != expected:
                    raise ValueError(f"checksum of {name} differs")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            if folder.exists():
                self._journal(f"{key[:12]}: {type(error).__name__}: {error}")
                shutil.rmtree(folder, ignore_errors=True)
            return None
        return folder

    def _journal(self, line: str) -> None:
        with (self.root / _JOURNAL).open("a", encoding="utf-8") as file:
            file.write(" ".join(line.split()) + "\n")

    def damaged(self) -> list[str]:
        """What was found damaged so far and removed, one line each."""
        journal = self.root / _JOURNAL
        return journal.read_text(encoding="utf-8").splitlines() if journal.exists() else []

    def put(self, key: str, files: Mapping[str, bytes], ingredients: Mapping[str, Any]) -> Path:
        """Store an entry atomically and return its folder; another process's identical entry may win."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = self.path(key)
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))
        try:
            for name, content in files.items():
                (temporary / name).write_bytes(content)
            index = {
                "key": key,
                "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
                "ingredients": dict(ingredients),
            }
            (temporary / _INDEX).write_text(json.dumps(index, indent=1, sort_keys=True), encoding="utf-8")
            try:
                temporary.rename(folder)
            except OSError:  # somebody else was first; both made the same content
                if self.get(key) is None:
                    raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return folder
