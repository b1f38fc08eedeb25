"""Keep with a baseline what was measured of its artifacts beside their answers: ``<model>.xz``.

Memory, instruction counts and the answers of LiteRT's other kernels and of TFLite-Micro are functions of what the
store's keys and :func:`surroundings` list. Where all of these are as they were when an accepted artifact was measured,
a run starts from that. Answers on the default kernels, from which scores come, and times are measured in every run.
"""

import base64
import hashlib
import json
import lzma
import os
import platform
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import Field

from quantbench import files
from quantbench.build.artifact import code_sha256
from quantbench.build.eviction import oldest_lease
from quantbench.build.store import Store, digest
from quantbench.core.options import CARRIED
from quantbench.errors import BadInput, full_disk_named
from quantbench.files import remove
from quantbench.measure import accuracy, instructions, memory, micro
from quantbench.records import BaselineFile, MeasuredAlike, MeasuredFile, MicroRefusal, Record, read_record
from quantbench.reference.model import ReferenceModel

SUFFIX = ".xz"
FOLDER = "measured"  # of a run, with the same files
WHAT = "accepted measurements"
MARK = "accepted.txt"  # in an entry of the store that came from a baseline
_ARTIFACT, _AROUND, _LIST, _KEY_DIGITS = "artifact", "surroundings", "entries.json", 16
# Modules that take part in measuring and are in no key of the store, and the beginnings of variables that may.
AROUND = (
    "quantbench.core.arrays",
    "quantbench.core.child_process",
    "quantbench.core.walls",
    "quantbench.core.worker",
    "quantbench.measure.many_calls",
    "quantbench.measure.memory",
    "quantbench.measure.side",
    "quantbench.measure.work",
    "quantbench.tflite.litert",
)
_VARIABLES = ("GLIBC_", "LD_", "MALLOC_", "OMP_", "TFLITE_", "VALGRIND_", "XNN")
_LARGEST, _MOST_MEMORY = 64 * 2**20, 256 * 2**20  # bytes, unpacked; to unpack
_RESTORE = "restore the file from git, or remove it, and runs measure again what it holds"


class Kind(NamedTuple):
    """Say how one kind of measurement is stored.

    Attributes:
        recipe: hash of an artifact and its model -> what the measurement is stored under.
        check: takes the facts of an entry, and raises ValueError where they are no such measurement.
        needed, more: files of its entry in the store; the first one, the facts, is always there.
    """

    recipe: Callable[[str, ReferenceModel], dict[str, Any]]
    check: Callable[[Any], object]
    needed: str
    more: tuple[str, ...] = ()


class _Instructions(Record):
    profile: str
    operators: list[tuple[str, int]]


class _Memory(Record):
    peaks: list[int] = Field(min_length=1)
    resident: list[int] = Field(min_length=1)
    empty: list[int] = Field(min_length=1)
    arena: int | None
    no_arena: str
    reset: bool
    answers: list[list[int]]
    calls: int
    wrong: int
    by_call: list[tuple[int, int]]
    batch: str


class _Micro(Record):
    version: str
    arena: tuple[int, int, int] | None
    refusal: MicroRefusal | None


def _check_kernels(facts: Any) -> None:
    known = {"findings", *accuracy.OTHER_RUNTIMES}
    if not isinstance(facts, dict) or facts.get("findings") != [] or not set(facts) <= known:
        raise ValueError(f"expected no finding, and refusals of {', '.join(accuracy.OTHER_RUNTIMES)}")
    if not all(isinstance(facts[name], str) for name in facts.keys() - {"findings"}):
        raise ValueError("expected refusals in words")


KINDS = {
    "memory": Kind(memory.recipe, _Memory.model_validate, "memory.json"),
    "instructions": Kind(instructions.recipe, _Instructions.model_validate, "instructions.json"),
    "micro": Kind(micro.recipe, _Micro.model_validate, "micro.json", ("predictions.npy",)),
    "other kernels": Kind(accuracy.kernels_recipe, _check_kernels, accuracy.FACTS, accuracy.KERNELS),
}


def path_of(folder: Path, model: str) -> Path:
    """Return the file of a model's accepted measurements."""
    return folder / f"{model}{SUFFIX}"


@dataclass(frozen=True)
class Alike:
    """Hold measurements of one kind that were made in one way, on one machine.

    Attributes:
        recipe: everything that affects them besides the artifact.
        results: hash of the artifact -> the files of its entry in a store.
    """

    what: str
    recipe: dict[str, Any]
    results: dict[str, dict[str, bytes]]


# ---------------------------------------------------------------- reading and writing


def load(path: Path, model: str, content: bytes | None = None) -> list[Alike]:
    """Read and check what was measured of a model's accepted artifacts; nothing where there is no file.

    Args:
        content: of the file, where it was read already.

    Raises:
        BadInput: it is damaged, too large, of another model, or lists contents that it does not hold.
    """
    if content is None:
        if not os.path.lexists(path):
            return []
        content = files.read_bytes(path, WHAT, _LARGEST)
    file = read_record(path, MeasuredFile, WHAT, text=_unpacked(path, content))
    if file.model != model:
        raise BadInput(f"{path}: field 'model': expected {model!r} as in the file's name, found {file.model!r}")
    plain = {key: _plain(path, key, coded) for key, coded in file.contents.items()}
    return [_checked(path, group, plain) for group in file.measured]


def _unpacked(path: Path, content: bytes) -> str:
    try:
        decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MOST_MEMORY)
        plain = decompressor.decompress(content, _LARGEST)
        if decompressor.unused_data:
            raise BadInput(f"{path}: something follows the {WHAT}; {_RESTORE}")
        if not decompressor.eof:
            raise BadInput(f"{path}: {WHAT} are cut short, or more than {files.show(_LARGEST)}; {_RESTORE}")
        return plain.decode()
    except (lzma.LZMAError, UnicodeDecodeError, EOFError) as error:
        raise BadInput(f"{path}: {WHAT} cannot be unpacked ({error}); {_RESTORE}") from None


def _plain(path: Path, key: str, coded: str) -> bytes:
    with suppress(ValueError):
        content = base64.b64decode(coded, validate=True)
        if _key(content) == key:
            return content
    raise BadInput(f"{path}: content {key[:_KEY_DIGITS]!r} is not what was accepted; {_RESTORE}")


def _checked(path: Path, group: MeasuredAlike, plain: Mapping[str, bytes]) -> Alike:
    kind = KINDS.get(group.what)
    if kind is None:
        raise BadInput(f"{path}: field 'what': expected one of {', '.join(KINDS)}, found {group.what!r}; {_RESTORE}")
    results = {}
    for sha256, named in group.results.items():
        known = set(named) <= {kind.needed, *kind.more} and set(named.values()) <= set(plain)
        if kind.needed not in named or not known:
            raise BadInput(f"{path}: {group.what} of artifact {sha256[:12]!r} is not complete; {_RESTORE}")
        results[sha256] = {name: plain[key] for name, key in named.items()}
        try:
            kind.check(json.loads(results[sha256][kind.needed]))
            for name in named.keys() - {kind.needed}:
                _check_array(results[sha256][name])
        except (ValueError, TypeError, RecursionError) as error:
            words = " ".join(str(error).split())[:100]
            raise BadInput(f"{path}: {group.what} of artifact {sha256[:12]!r}: {words}; {_RESTORE}") from None
    return Alike(group.what, group.recipe, results)


def _check_array(content: bytes) -> None:
    array = np.load(BytesIO(content), allow_pickle=False)
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub" or array.ndim < 1 or not array.size:
        raise ValueError("expected an array of numbers")


def _key(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_KEY_DIGITS]


def save(folder: Path, model: str, groups: Sequence[Alike]) -> None:
    """Write a model's file, or remove it where nothing is left of it.

    Raises:
        BadInput: the folder belongs to the installed package, or cannot be written.
    """
    if folder.resolve().parent == CARRIED.resolve():
        raise BadInput(f"--baseline-dir: {folder} belongs to the installed package; give a folder of your own")
    path = path_of(folder, model)
    try:
        with full_disk_named(folder):
            if groups:
                folder.mkdir(parents=True, exist_ok=True)
                files.replace(path, lzma.compress(_text(model, groups).encode()))
            else:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise BadInput(f"--baseline-dir: cannot write to {folder}: {error.strerror}; give another") from None


def _text(model: str, groups: Sequence[Alike]) -> str:
    held = [content for group in groups for named in group.results.values() for content in named.values()]
    file = MeasuredFile(
        model=model,
        measured=[
            MeasuredAlike(
                what=group.what,
                recipe=group.recipe,
                results={
                    sha256: {name: _key(content) for name, content in named.items()}
                    for sha256, named in group.results.items()
                },
            )
            for group in groups
        ],
        contents={_key(content): base64.b64encode(content).decode() for content in held},
    )
    return json.dumps(file.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))


# ---------------------------------------------------------------- from a baseline into a store


@dataclass(frozen=True)
class AtHand:
    """Hold the files of models, unopened: a run whose store has everything does not open them.

    Attributes:
        contents: model -> its file, as a path and bytes; models without one are left out.
    """

    contents: Mapping[str, tuple[Path, bytes]] = field(default_factory=dict)

    def put(
        self, artifacts: Mapping[str, Collection[str]], models: Mapping[str, ReferenceModel], store: Store
    ) -> dict[str, set[str]]:
        """Put what was measured of these artifacts into a store that lacks it, where all is as it was.

        What another file once put there is dropped first, unless another run is using it.

        Args:
            artifacts: model -> hashes of its accepted artifacts.

        Returns:
            Kind of measurement -> hashes of the artifacts of which the store holds the accepted one.

        Raises:
            BadInput: a file is damaged.
        """
        found: dict[str, set[str]] = {what: set() for what in KINDS}
        for model, hashes in artifacts.items():
            path, content = self.contents.get(model, (Path(), b""))
            for what, held in _Putting(path, content, sorted(hashes), models[model], store).done().items():
                found[what] |= held
        return {what: held for what, held in found.items() if held}


def at_hand(folder: Path, models: Iterable[str]) -> AtHand:
    """Read the files of models from a folder of baselines, unopened.

    Raises:
        BadInput: one cannot be read, or is too large.
    """
    paths = {model: path_of(folder, model) for model in models}
    present = {model: path for model, path in paths.items() if os.path.lexists(path)}
    return AtHand({model: (path, files.read_bytes(path, WHAT, _LARGEST)) for model, path in present.items()})


class _Putting:
    """Put what was measured of one model's artifacts into a store."""

    def __init__(self, path: Path, content: bytes, hashes: Sequence[str], model: ReferenceModel, store: Store) -> None:
        self._path = path
        self._content = content
        self._model = model
        self._store = store
        self._mark = hashlib.sha256(content).hexdigest()
        recipes = {what: _recipe(kind, model) for what, kind in KINDS.items()}
        self._keys = {what: {sha256: _entry(of, sha256) for sha256 in hashes} for what, of in recipes.items()}

    def done(self) -> dict[str, set[str]]:
        """Put them, and return those that the store then holds."""
        marks = self._marks()
        stale = [key for key, mark in marks.items() if mark != self._mark]
        if stale:
            _drop(stale, self._store)
        if self._content:
            stamp = {"what": WHAT, "model": self._model.name, "file": self._mark, "entries": digest(self._keys)}
            before = self._store.recall(stamp, _listed)
            if before is None or stale or not set(before) <= marks.keys():
                put = self._put()
                if before is None:
                    self._store.put(digest(stamp), {_LIST: json.dumps(put).encode()}, stamp)
            marks = self._marks()
        return {
            what: {sha256 for sha256, key in of.items() if marks.get(key) == self._mark}
            for what, of in self._keys.items()
        }

    def _marks(self) -> dict[str, str]:
        """Map each entry that came from a baseline to the hash of the file that it came from."""
        found = {}
        for key in (key for of in self._keys.values() for key in of.values()):
            with suppress(OSError, UnicodeDecodeError):
                found[key] = (self._store.path(key) / MARK).read_text(encoding="ascii")[:64]
        return found

    def _put(self) -> list[str]:
        """Put all that was measured alike; return the keys."""
        here, put = surroundings(), []
        for group in load(self._path, self._model.name, self._content):
            recipe = _recipe(KINDS[group.what], self._model)
            if digest(group.recipe) == digest({**recipe, _AROUND: here}):
                for sha256 in group.results.keys() & self._keys[group.what].keys():
                    key = self._keys[group.what][sha256]
                    if not self._store.has(key):
                        content = {**group.results[sha256], MARK: self._mark.encode()}
                        self._store.put(key, content, {**recipe, _ARTIFACT: sha256})
                        put.append(key)
        return put


def _listed(folder: Path, _cached: bool) -> list[str]:
    return [str(key) for key in json.loads((folder / _LIST).read_text(encoding="utf-8"))]


def _drop(keys: Iterable[str], store: Store) -> None:
    """Remove entries, but for those that were used since the oldest run that is alive began."""
    began = oldest_lease(store)
    for folder in map(store.path, keys):
        with suppress(OSError):
            if folder.lstat().st_mtime_ns < began:
                remove(folder, store.root)


def _recipe(kind: Kind, model: ReferenceModel) -> dict[str, Any]:
    """Return what a kind of measurement is stored under, besides the artifact."""
    return {name: value for name, value in kind.recipe("", model).items() if name != _ARTIFACT}


def _entry(recipe: Mapping[str, Any], sha256: str) -> str:
    """Return the key in the store of what was measured of an artifact."""
    return digest({**recipe, _ARTIFACT: sha256})


def surroundings() -> dict[str, Any]:
    """Return what else a measurement might depend on: a store stays on its machine, a baseline does not."""
    return {
        "python": platform.python_version(),
        "system": [platform.system(), platform.release(), *platform.libc_ver()],
        "valgrind": instructions.version(),
        "code": code_sha256(*AROUND),
        "environment": {name: os.environ[name] for name in sorted(os.environ) if name.startswith(_VARIABLES)},
    }


# ---------------------------------------------------------------- from a store into a run's folder and a baseline


def leave(
    run: Path, artifacts: Mapping[str, Collection[str]], models: Mapping[str, ReferenceModel], store: Store
) -> None:
    """Leave in a run's folder what its store holds of these artifacts, by model, for who accepts them elsewhere.

    Raises:
        BadInput: it cannot be written.
        DiskFull: no space is left.
    """
    for name, hashes in artifacts.items():
        groups = _all_found(models[name], hashes, [store])
        if groups:
            files.own_folder(run / FOLDER)
            save(run / FOLDER, name, groups)


def join(runs: Sequence[Path], into: Path, models: Iterable[str]) -> None:
    """Join what several runs left, such as the shards of one, in the folder of another.

    Raises:
        BadInput: a file is damaged, or cannot be written.
        DiskFull: no space is left.
    """
    for name in models:
        left = [load(path_of(run / FOLDER, name), name) for run in runs]
        groups = _together(left, {sha256 for groups in left for group in groups for sha256 in group.results})
        if groups:
            files.own_folder(into / FOLDER)
            save(into / FOLDER, name, groups)


def keep(
    folder: Path,
    accepted: Iterable[BaselineFile],
    models: Mapping[str, ReferenceModel],
    run: Path,
    stores: Sequence[Store],
) -> None:
    """Write beside baselines what these stores hold of their artifacts, and, before that, what a run left of them.

    What was measured on other machines stays, of artifacts that are still accepted.

    Raises:
        BadInput: a file is damaged, or cannot be written.
        DiskFull: no space is left.
    """
    found = []
    for baseline in accepted:
        name, hashes = baseline.model, artifacts_of(baseline)
        sources = [
            load(path_of(folder, name), name),
            _all_found(models[name], hashes, stores),
            load(path_of(run / FOLDER, name), name),
        ]
        found.append((name, _together(sources, hashes)))
    for name, groups in found:
        save(folder, name, groups)


def artifacts_of(baseline: BaselineFile) -> set[str]:
    """Return the hashes of all artifacts that a baseline accepts, on whatever machine."""
    cells = baseline.cells.values()
    held = {cell.artifact_sha256 for cell in cells}
    held |= {overlay.artifact_sha256 for cell in cells for overlay in cell.overlays.values()}
    return {sha256 for sha256 in held if sha256 is not None}


def _all_found(model: ReferenceModel, hashes: Collection[str], stores: Sequence[Store]) -> list[Alike]:
    found = [_found(what, kind, model, hashes, stores) for what, kind in KINDS.items()]
    return [group for group in found if group.results]


def _found(what: str, kind: Kind, model: ReferenceModel, hashes: Collection[str], stores: Sequence[Store]) -> Alike:
    recipe, results = _recipe(kind, model), {}
    for sha256 in sorted(hashes):
        entry = next(filter(None, (store.get(_entry(recipe, sha256)) for store in stores)), None)
        if entry is not None:
            present = [name for name in (kind.needed, *kind.more) if (entry / name).is_file()]
            results[sha256] = {name: (entry / name).read_bytes() for name in present}
    return Alike(what, {**recipe, _AROUND: surroundings()}, results)


def _together(sources: Sequence[Sequence[Alike]], accepted: Collection[str]) -> list[Alike]:
    """Join measurements, of each kind and machine those of one recipe: that of the last source that has any."""
    groups: dict[tuple[str, str], Alike] = {}
    for group in (group for source in sources for group in source):
        of = {sha256: content for sha256, content in group.results.items() if sha256 in accepted}
        before = groups.get(_machine(group))
        if before is not None and digest(before.recipe) == digest(group.recipe):
            of = {**before.results, **of}
        if of:
            groups[_machine(group)] = replace(group, results=of)
    return [group for _, group in sorted(groups.items())]


def _machine(group: Alike) -> tuple[str, str]:
    """Tell machines apart; another version of code or packages replaces what the same machine measured before."""
    around = group.recipe.get(_AROUND, {})
    return group.what, json.dumps([group.recipe.get("cpu"), around.get("system"), around.get("python")])
