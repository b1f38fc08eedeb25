"""Find the artifacts and the runtime that a baseline was accepted with, and keep those artifacts in the store."""

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from quantbench.baselines import measured
from quantbench.build import packages
from quantbench.build.artifact import ARTIFACT
from quantbench.build.store import Store, default_root, digest
from quantbench.core.environment import class_accepted
from quantbench.engine import artifacts
from quantbench.errors import BadInput
from quantbench.files import is_folder
from quantbench.records import BaselineCell, BaselineFile, InTurns, cell_key, parts
from quantbench.records.origins import HARNESS, RUNTIME
from quantbench.reference.model import ReferenceModel

LITERT, NIGHTLY = "ai-edge-litert", "ai-edge-litert-nightly"
KIND = "accepted artifact"


@dataclass(frozen=True)
class Wanted:
    """Name an accepted artifact: of which cell, its hash, and the run that it was accepted from."""

    cell: str
    sha256: str
    run: str = ""

    @property
    def recipe(self) -> dict[str, str]:
        """Return what its entry in the store is keyed by."""
        model, variant = parts(self.cell)
        return {"what": KIND, "model": model, "variant": variant, "sha256": self.sha256}


def wanted(cell_id: str, accepted: BaselineCell) -> Wanted | None:
    """Return the artifact that a cell was accepted with; None where none is recorded."""
    if accepted.artifact_sha256 is None:
        return None
    values = [accepted.measurements[name] for name in ("size", "score") if name in accepted.measurements]
    run = values[0].accepted.run if values else ""
    return Wanted(cell_id, accepted.artifact_sha256, run if run == Path(run).name else "")


def find(asked: Iterable[Wanted], stores: Iterable[Store], report_dir: Path) -> dict[str, Path]:
    """Find accepted artifacts: in the stores, or in the folder of the run that they were accepted from.

    Returns:
        Hash -> file, without those that are nowhere. What a run's folder held is kept in the first store.
    """
    left, found = {one.sha256: one for one in asked}, {}
    homes = list(stores)
    for store in homes:
        for sha256, one in list(left.items()):
            entry = store.get(digest(one.recipe))
            if entry is not None:
                found[sha256] = entry / ARTIFACT
                del left[sha256]
    for store in homes:
        in_store = artifacts.all_in_store(store, left) if left else {}
        found |= in_store
        left = {sha256: one for sha256, one in left.items() if sha256 not in in_store}
    for sha256, one in left.items():
        content = artifacts.in_run(report_dir / one.run, parts(one.cell)[1], sha256) if one.run else None
        if content is not None:
            found[sha256] = homes[0].put(digest(one.recipe), {ARTIFACT: content}, one.recipe) / ARTIFACT
    return found


def pin(asked: Iterable[Wanted], store: Store, folder: Path) -> int:
    """Keep accepted artifacts in the store under names of their own; return how many were added.

    Runs mark those of their cells as used (:func:`touch`), so that what is built later does not push them out.

    Args:
        folder: of the accepted run, which may hold them, or a store of its own.
    """
    left = {one.sha256: one for one in asked if store.get(digest(one.recipe)) is None}
    files = artifacts.all_in_store(Store(folder / artifacts.STORE), left) | artifacts.all_in_store(store, left)
    added = 0
    for sha256, one in left.items():
        path = files.get(sha256)
        content = artifacts.in_run(folder, parts(one.cell)[1], sha256) if path is None else path.read_bytes()
        if content is not None:
            store.put(digest(one.recipe), {ARTIFACT: content}, one.recipe)
            added += 1
    return added


def keep_artifacts(baselines: Iterable[BaselineFile], folder: Path) -> None:
    """Keep the artifacts of baselines that were just written in the user's cache, as far as they are at hand.

    Args:
        folder: of the accepted run.
    """
    asked = [
        Wanted(cell_key(file.model, variant), sha256)
        for file in baselines
        for variant, cell in file.cells.items()
        for sha256 in (cell.artifact_sha256, *(overlay.artifact_sha256 for overlay in cell.overlays.values()))
        if sha256 is not None
    ]
    with suppress(OSError):  # what is accepted does not depend on a cache that can be written
        pin(asked, Store(default_root()), folder)


def keep_measured(
    baseline_dir: Path, accepted: Iterable[BaselineFile], models: Mapping[str, ReferenceModel], folder: Path
) -> None:
    """Keep beside baselines that are about to be written what was measured of their artifacts, as far as it is at hand.

    Args:
        folder: of the accepted run, which left what it measured, and has a store of its own where it used no cache.

    Raises:
        BadInput: a file is damaged, or cannot be written.
    """
    own = folder / artifacts.STORE
    stores = [Store(root) for root in (own, default_root()) if is_folder(root)]
    measured.keep(baseline_dir, accepted, models, folder, stores)


def touch(asked: Iterable[Wanted], store: Store) -> None:
    """Mark the accepted artifacts of a run's cells as used."""
    for one in asked:
        folder = store.path(digest(one.recipe))
        if is_folder(folder):
            os.utime(folder, follow_symlinks=False)


# ---------------------------------------------------------------- what differs from what was accepted


def differences(
    accepted: BaselineCell, overlaid: bool, artifact_sha256: str | None, sources: Mapping[str, str], here: str
) -> InTurns:
    """Return what of a cell is as it was accepted: artifact, runtime, and the code of ours that runs it.

    Args:
        overlaid: whether values of this processor and runtime were accepted beside the common ones.
        sources: what this run's answers come from.
        here: version and contents of the installed runtime.
    """
    runtime = sources.get(RUNTIME, here)
    code = accepted.sources.get(HARNESS)
    return InTurns(
        artifact="same" if artifact_sha256 == accepted.artifact_sha256 else "changed",
        accepted_runtime=runtime if overlaid else _accepted_runtime(accepted, runtime),
        runtime=runtime,
        code="same" if code in (None, sources.get(HARNESS, code)) else "changed",
    )


def _accepted_runtime(accepted: BaselineCell, here: str) -> str:
    """Return version and contents; the version alone in older baselines, which is enough where it is that of here."""
    recorded = accepted.sources.get(RUNTIME, "")
    score = accepted.measurements.get("score")
    if not recorded and score is not None:
        recorded = class_accepted(score.accepted).partition("_litert-")[2]
    return here if recorded == here.partition(" ")[0] else recorded


class Runtimes:
    """Install accepted runtimes, each once a run.

    Args:
        allowed: whether this run may use another runtime than the installed one.
    """

    def __init__(self, allowed: bool) -> None:
        self._allowed = allowed
        self._known: dict[str, tuple[InTurns, Path | None]] = {}

    def of(self, turns: InTurns) -> tuple[InTurns, Path | None]:
        """Return the folder of a cell's accepted runtime, None where it is the installed one; with what it lacks.

        A wheel for another Python has other contents than the accepted one. So the release counts: where the installed
        runtime is the index's of the accepted version, it is the accepted one.
        """
        if turns.accepted_runtime == turns.runtime:
            return turns, None
        found, folder = self._known.get(turns.accepted_runtime) or self._resolved(turns)
        self._known[turns.accepted_runtime] = found, folder
        taken = {"accepted_runtime": found.accepted_runtime, "lacking": found.lacking, "detail": found.detail}
        return turns.model_copy(update=taken), folder

    def _resolved(self, turns: InTurns) -> tuple[InTurns, Path | None]:
        version = turns.accepted_runtime.partition(" ")[0]
        if not version:
            return _lacking(turns, "the baseline does not say which it was"), None
        if not self._allowed:
            return _lacking(turns, "nothing is installed on the workers of a cluster"), None
        try:
            name = NIGHTLY if "dev" in version else LITERT
            folder = packages.alone(name, version)
        except (BadInput, OSError) as error:
            return _lacking(turns, str(error).strip().splitlines()[-1].strip()[:200]), None
        if packages.contents_in(folder, name) == turns.runtime:
            return turns.model_copy(update={"accepted_runtime": turns.runtime}), None
        return turns, folder


def _lacking(turns: InTurns, detail: str) -> InTurns:
    return turns.model_copy(update={"lacking": "runtime", "detail": detail})
