"""Keep the artifacts of a run beside its report, and find one again: in the run's folder, or in the store."""

import difflib
import hashlib
import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from quantbench import files
from quantbench.build.artifact import ARTIFACT
from quantbench.build.store import Store, default_root, read_index, shards
from quantbench.engine.cell import CellId
from quantbench.errors import BadInput
from quantbench.records import FLOAT_CONTROL, Cell, Kind, Report, Verdict
from quantbench.reference.datasets import file_sha256

FOLDER = "artifacts"
STORE = "store"  # of a run that used no cache, in its folder
# What a shard keeps for the run that it is merged into.
MOST_SUSPICIOUS, MOST_BYTES = 5, 2**26


def file_of(variant: str) -> str:
    """Return where a variant's artifact is kept, relative to the run's folder."""
    return f"{FOLDER}/{variant}.tflite"


def keep(report: Report, folder: Path, made: Mapping[CellId, Path]) -> dict[str, str]:
    """Copy the artifacts of a run of one model into its folder.

    Copied and not linked, as a later run may change or evict what the store holds; checked by its hash.

    Args:
        made: cell -> its file.

    Returns:
        Variant -> its file, relative to the run's folder; without those that are gone.

    Raises:
        OSError: the folder cannot be written.
    """
    kept = {}
    for cell in report.cells:
        source = made.get(cell.id)
        if source is None or cell.artifact_sha256 is None or not files.is_regular(source):
            continue
        target = folder / file_of(cell.variant)
        files.own_folder(target.parent)
        files.copy_tree(source, target, "the artifact")
        if file_sha256(target) == cell.artifact_sha256:
            kept[cell.variant] = file_of(cell.variant)
        else:  # the store's entry was damaged meanwhile
            files.remove(target, folder)
    return kept


def keep_for_merge(cells: Sequence[Cell], made: Mapping[CellId, Path], folder: Path) -> None:
    """Copy the artifacts into a shard's folder that its merged run may have to explain: of scores that are suspicious.

    With each goes its float control. What is too large, or gone, is left out.

    Args:
        made: cell -> its file.
    """
    suspicious = [cell for cell in cells if cell.verdicts.get(Kind.ACCURACY) is Verdict.WARN][:MOST_SUSPICIOUS]
    wanted = {cell.id for cell in suspicious} | {f"{cell.model}/{FLOAT_CONTROL}" for cell in suspicious}
    left = MOST_BYTES
    for cell in cells:
        source = made.get(cell.id) if cell.id in wanted else None
        if source is None or not files.is_regular(source) or source.stat().st_size > left:
            continue
        left -= source.stat().st_size
        target = folder / FOLDER / f"{cell.id}.tflite"
        with suppress(OSError, BadInput):  # a full disk is told when the report is written
            files.own_folder(target.parent.parent)
            files.own_folder(target.parent)
            files.copy_tree(source, target, "the artifact")


def find(report: Report, folder: Path, name: str) -> tuple[Cell, bytes]:
    """Return a cell of a run with its artifact.

    Args:
        name: ``MODEL/VARIANT``, or the variant alone where the run has one model.

    Raises:
        BadInput: the run has no such cell, it was not made, or its file is gone.
    """
    cell = _cell(report, folder, name)
    if cell.artifact_sha256 is None:
        reason = f"{cell.failure.what}: {cell.failure.reason}" if cell.failure else "it was not finished"
        raise BadInput(f"{cell.id}: {folder} has no artifact of this cell: {reason}")
    content = _read(folder / file_of(cell.variant), folder, cell.artifact_sha256)
    if content is None:  # as shards keep them, which have several models
        content = _read(folder / FOLDER / f"{cell.id}.tflite", folder, cell.artifact_sha256)
    for root in (folder / STORE, default_root()):
        if content is None and files.is_folder(root):
            stored = in_store(Store(root), cell.artifact_sha256)
            content = None if stored is None else _read(stored, root, cell.artifact_sha256)
    if content is None:
        raise BadInput(
            f"{cell.id}: its artifact (sha256 {cell.artifact_sha256[:12]}…) is neither in {folder / FOLDER} nor in the "
            f"cache {default_root()}; run the same command again to rebuild it"
        )
    return cell, content


def is_own(content: bytes) -> bool:
    """Check whether the cache holds this artifact, so that a run of this user made it."""
    return in_store(Store(default_root()), hashlib.sha256(content).hexdigest()) is not None


def red(report: Report, folder: Path) -> list[tuple[Cell, bytes | None]]:
    """Return the cells of a run that are red, each with its artifact; None where there is none or it is gone."""
    found: list[tuple[Cell, bytes | None]] = []
    for cell in report.cells:
        if cell.verdict in (Verdict.REGRESSED, Verdict.ERROR, Verdict.MISSING):
            try:
                found.append((cell, find(report, folder, cell.id)[1]))
            except BadInput:
                found.append((cell, None))
    return found


def _read(path: Path, inside: Path, sha256: str) -> bytes | None:
    """Read an artifact; None where it is not there, or is another one."""
    try:
        content = files.read_bytes(path, "the artifact", files.LARGEST_MODEL, inside=inside)
    except BadInput:
        return None
    return content if hashlib.sha256(content).hexdigest() == sha256 else None


def _cell(report: Report, folder: Path, name: str) -> Cell:
    alone = len({cell.model for cell in report.cells}) == 1
    by_name = {cell.id: cell for cell in report.cells}
    short = {cell.variant: cell for cell in report.cells} if alone else {}
    if (found := by_name.get(name) or short.get(name)) is not None:
        return found
    known = list(short or by_name)
    near = difflib.get_close_matches(name, known, 1, 0.6)
    hint = f"did you mean {near[0]}?" if near else f"it holds {', '.join(known[:5])}{', …' if len(known) > 5 else ''}"
    raise BadInput(f"{folder}: no cell {name} in this run; {hint}")


def in_store(store: Store, sha256: str) -> Path | None:
    """Return the artifact of this hash in a store; None where no undamaged entry holds it."""
    return all_in_store(store, [sha256]).get(sha256)


def all_in_store(store: Store, wanted: Collection[str]) -> dict[str, Path]:
    """Return hash -> file of those of these artifacts that undamaged entries of a store hold, in one pass over it."""
    found: dict[str, Path] = {}
    for folder in shards(store.root):
        if len(found) == len(wanted):
            break
        if not files.is_folder(folder):
            continue
        for entry in sorted(os.listdir(folder)):
            try:
                stored = read_index(folder / entry)["files"].get(ARTIFACT)
            except (OSError, ValueError):
                continue
            if stored in wanted and stored not in found and store.get(entry) is not None:
                found[stored] = folder / entry / ARTIFACT
    return found


def in_run(folder: Path, variant: str, sha256: str) -> bytes | None:
    """Return the artifact of this hash that a run's folder keeps; None where it keeps another one, or none."""
    return _read(folder / file_of(variant), folder, sha256)
