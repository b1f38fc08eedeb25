"""Keep with a baseline what was measured of its artifacts beside their answers: ``<model>.xz``.

Memory, instruction counts and the answers of LiteRT's other kernels and of TFLite-Micro are functions of what the
store's keys list: artifact, model, data, code, packages, system and processor. Where all of these are as they were when
an artifact was accepted, to measure it again could only repeat what is known, so that a run starts from that. Answers
on the default kernels, from which scores come, and times are measured in every run.
"""

import base64
import hashlib
import json
import lzma
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from quantbench import files
from quantbench.build.store import Store, digest
from quantbench.core.options import CARRIED
from quantbench.errors import BadInput, full_disk_named
from quantbench.measure import accuracy, instructions, memory, micro
from quantbench.records import BaselineFile, MeasuredAlike, MeasuredFile, read_record
from quantbench.reference.model import ReferenceModel

SUFFIX = ".xz"
FOLDER = "measured"  # of a run, with the same files
WHAT = "accepted measurements"
MARK = "accepted.txt"  # in an entry of the store that came from a baseline
_ARTIFACT, _KEY_DIGITS = "artifact", 16
_LARGEST, _MOST_MEMORY = 64 * 2**20, 256 * 2**20  # bytes, unpacked; to unpack
_RESTORE = "restore the file from git, or remove it, and runs measure again what it holds"


class Kind(NamedTuple):
    """Say how one kind of measurement is stored.

    Attributes:
        recipe: hash of an artifact and its model -> everything that affects the measurement.
        needed, more: files of its entry in the store; the first one is always there.
    """

    recipe: Callable[[str, ReferenceModel], dict[str, Any]]
    needed: str
    more: tuple[str, ...] = ()


KINDS = {
    "memory": Kind(memory.recipe, "memory.json"),
    "instructions": Kind(instructions.recipe, "instructions.json"),
    "micro": Kind(micro.recipe, "micro.json", ("predictions.npy",)),
    "other kernels": Kind(accuracy.kernels_recipe, accuracy.FACTS, accuracy.KERNELS),
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
        if not decompressor.eof:
            raise BadInput(f"{path}: {WHAT} are cut short, or larger than {files.show(_LARGEST)}; {_RESTORE}")
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
    for sha256, named in group.results.items():
        known = set(named) <= {kind.needed, *kind.more} and set(named.values()) <= set(plain)
        if kind.needed not in named or not known:
            raise BadInput(f"{path}: {group.what} of artifact {sha256[:12]!r} is not complete; {_RESTORE}")
    results = {sha256: {name: plain[key] for name, key in named.items()} for sha256, named in group.results.items()}
    return Alike(group.what, group.recipe, results)


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
                files.replace(path, lzma.compress(_text(model, groups).encode(), preset=9))
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
    ) -> dict[str, int]:
        """Put what was measured of these artifacts into a store that lacks it, where all is as it was.

        Args:
            artifacts: model -> hashes of its accepted artifacts.

        Returns:
            Kind of measurement -> number of artifacts of which the store holds the accepted one.

        Raises:
            BadInput: a file is damaged.
        """
        found: Counter[str] = Counter()
        for model, (path, content) in self.contents.items():
            if artifacts.get(model):
                found += _put(path, content, sorted(artifacts[model]), models[model], store)
        return dict(found)


def at_hand(folder: Path, models: Iterable[str]) -> AtHand:
    """Read the files of models from a folder of baselines, unopened.

    Raises:
        BadInput: one cannot be read, or is too large.
    """
    paths = {model: path_of(folder, model) for model in models}
    present = {model: path for model, path in paths.items() if os.path.lexists(path)}
    return AtHand({model: (path, files.read_bytes(path, WHAT, _LARGEST)) for model, path in present.items()})


def _put(path: Path, content: bytes, hashes: Sequence[str], model: ReferenceModel, store: Store) -> "Counter[str]":
    here = {what: _recipe(kind, model) for what, kind in KINDS.items()}
    keys = {what: {sha256: _entry(recipe, sha256) for sha256 in hashes} for what, recipe in here.items()}
    done = {"what": WHAT, "file": hashlib.sha256(content).hexdigest(), "entries": digest(keys)}
    if store.get(digest(done)) is None:
        for group in load(path, model.name, content):
            if digest(group.recipe) == digest(here[group.what]):
                for sha256 in group.results.keys() & keys[group.what].keys():
                    _put_one(group, sha256, keys[group.what][sha256], store)
        store.put(digest(done), {}, done)
    marked = {what: sum((store.path(key) / MARK).exists() for key in of.values()) for what, of in keys.items()}
    return Counter({what: count for what, count in marked.items() if count})


def _put_one(group: Alike, sha256: str, key: str, store: Store) -> None:
    if not store.has(key):
        mark = b"taken from the baseline, which was accepted with it\n"
        store.put(key, {**group.results[sha256], MARK: mark}, {**group.recipe, _ARTIFACT: sha256})


def _recipe(kind: Kind, model: ReferenceModel) -> dict[str, Any]:
    """Return everything that affects a kind of measurement here besides the artifact."""
    return {name: value for name, value in kind.recipe("", model).items() if name != _ARTIFACT}


def _entry(recipe: Mapping[str, Any], sha256: str) -> str:
    """Return the key in the store of what was measured of an artifact."""
    return digest({**recipe, _ARTIFACT: sha256})


# ---------------------------------------------------------------- from a store into a run's folder and a baseline


def leave(
    run: Path, artifacts: Mapping[str, Collection[str]], models: Mapping[str, ReferenceModel], store: Store
) -> None:
    """Leave in a run's folder what its store holds of these artifacts, by model, for who accepts them elsewhere."""
    for name, hashes in artifacts.items():
        groups = _all_found(models[name], hashes, [store])
        if groups:
            files.own_folder(run / FOLDER)
            save(run / FOLDER, name, groups)


def keep(
    folder: Path,
    accepted: Iterable[BaselineFile],
    models: Mapping[str, ReferenceModel],
    run: Path,
    stores: Sequence[Store],
) -> None:
    """Write beside baselines what a run left of their artifacts, and what these stores hold of them.

    What was measured on other processors stays, of artifacts that are still accepted.

    Raises:
        BadInput: a file is damaged, or cannot be written.
    """
    for baseline in accepted:
        name, hashes = baseline.model, artifacts_of(baseline)
        sources = [
            load(path_of(folder, name), name),
            load(path_of(run / FOLDER, name), name),
            _all_found(models[name], hashes, stores),
        ]
        save(folder, name, _together(sources, hashes))


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
    return Alike(what, recipe, results)


def _together(sources: Sequence[Sequence[Alike]], accepted: Collection[str]) -> list[Alike]:
    """Join measurements, of each kind and processor those of one recipe: that of the last source that has any."""
    groups: dict[tuple[str, str], Alike] = {}
    for group in (group for source in sources for group in source):
        of = {sha256: content for sha256, content in group.results.items() if sha256 in accepted}
        before = groups.get(machine := (group.what, json.dumps(group.recipe.get("cpu"))))
        if before is not None and digest(before.recipe) == digest(group.recipe):
            of = {**before.results, **of}
        if of:
            groups[machine] = replace(group, results=of)
    return [group for _, group in sorted(groups.items())]
