"""Judge a pull request by what was accepted where it left its target branch, not by what it accepts itself.

The folder of baselines is taken from git as it was at the merge base. A cell that has no accepted value there is new:
nothing was promised about it yet, so the values that the pull request brings are the only ones, and it is judged by
those. What the pull request changes in its own baselines is told, so that a reviewer sees it.
"""

import os
import re
import subprocess
import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from quantbench.baselines import files as baseline_files
from quantbench.baselines.effective import load_current
from quantbench.baselines.files import Baseline, json_path
from quantbench.baselines.measured import AtHand, at_hand
from quantbench.core.distances import owner
from quantbench.errors import BadInput
from quantbench.records import BaselineCell, BaselineFile, read_record
from quantbench.reference.model import ReferenceModel

_SECONDS = 120  # of one git command; an archive of baselines takes under one
_LARGEST = 2**30  # bytes of an archive: 200 times what `baseline check` lets all predictions take
_MOST_NAMED = 3


@dataclass(frozen=True)
class Changes:
    """How the baselines of a pull request differ from those of its merge base.

    Attributes:
        values: cell and measurement of each accepted value, or exception, that is not as it was.
        added: cells that were not accepted before.
        removed: cells that were, and are gone.
        unlike: models whose data or metric changed, so that the values of the merge base do not apply.
    """

    values: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    unlike: list[str] = field(default_factory=list)

    def __add__(self, other: "Changes") -> "Changes":
        return Changes(
            self.values + other.values,
            self.added + other.added,
            self.removed + other.removed,
            self.unlike + other.unlike,
        )


@dataclass(frozen=True)
class AtMergeBase:
    """Hold the baselines of the merge base, taken out of git.

    Attributes:
        folder: a temporary one, with what lay in the folder of baselines; empty where there was none.
        own: the folder of baselines of the working tree.
        ref: as it was given.
        commit: the merge base.
    """

    folder: Path
    own: Path
    ref: str
    commit: str

    def load(self, model: ReferenceModel) -> tuple[Baseline, Changes]:
        """Return what a model is judged by, and what its own baseline changes.

        Raises:
            BadInput: either baseline is invalid.
        """
        before, own = json_path(self.folder, model.name), load_current(self.own, model)
        if not os.path.lexists(before):
            return own, changes(None, own.file)
        old = read_record(before, BaselineFile, "baseline")
        if baseline_files.of_another(old, model):
            return own, changes(old, own.file) + Changes(unlike=[model.name])
        accepted = _without_gone(self.folder, model)
        return judged_by(accepted, own), changes(accepted.file, own.file)

    def fingerprint(self, model: str) -> str:
        """Hash what a model is judged by; empty where there is nothing."""
        hashes = [baseline_files.fingerprint(folder, model) for folder in (self.folder, self.own)]
        return "+".join(hashes) if any(hashes) else ""

    def gone(self, known: Collection[str]) -> list[str]:
        """Return the models that had accepted values and are not defined any more."""
        return sorted(path.stem for path in self.folder.glob("*.json") if path.stem not in known)

    def notes(self, found: Changes, gone: Sequence[str] = ()) -> list[str]:
        """Say what the run was judged by, and what the pull request changes in its own baselines."""
        said = [f"judged by the baselines of {self.commit[:12]}, where this branch left {self.ref}"]
        told = [
            (found.values, "changed value", "changed values"),
            (found.added, "new cell", "new cells"),
            (found.removed, "removed cell", "removed cells"),
        ]
        parts = [
            f"{len(names)} {one if len(names) == 1 else many} ({_some(names)})" for names, one, many in told if names
        ]
        if parts:
            old = " The old values judge this run; the new ones hold once it is merged." if found.values else ""
            new = " New cells are judged by the values that it brings." if found.added else ""
            said.append(f"baselines changed in this pull request: {', '.join(parts)}.{old}{new}")
        said += [
            f"{model}: its data or metric changed in this pull request, so that the baselines of {self.commit[:12]} do "
            "not apply: judged by the values that it brings"
            for model in found.unlike
        ]
        if gone:
            said.append(f"not gated any more, for this pull request removes the model: {', '.join(gone)}")
        return said


def _some(names: list[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _without_gone(folder: Path, model: ReferenceModel) -> Baseline:
    """Load a baseline of the past; a variant that this version does not know any more is not measured either."""
    from quantbench.variants import VARIANTS

    found = baseline_files.load(folder, model)
    if found.file is None:
        return found
    cells = {name: cell for name, cell in found.file.cells.items() if name in VARIANTS}
    return replace(found, file=found.file.model_copy(update={"cells": cells}))


def judged_by(accepted: Baseline, own: Baseline) -> Baseline:
    """Return the values of the merge base, with those of cells that are new since.

    Args:
        accepted: at the merge base.
        own: of the pull request.
    """
    if own.file is None:
        return accepted
    if accepted.file is None:
        return own
    new = set(own.file.cells) - set(accepted.file.cells)
    cells = {**accepted.file.cells, **{name: own.file.cells[name] for name in new}}
    brought = {name: array for name, array in own.predictions.items() if _variant(name) in new}
    return Baseline(
        accepted.file.model_copy(update={"cells": cells}),
        {**accepted.predictions, **brought},
        [*accepted.edits, *(edit for edit in own.edits if edit.variant in new)],
        accepted.sealed and own.sealed,
    )


def _variant(stored: str) -> str:
    """Return the variant of a stored array: its predictions or its outputs, of the base or of an overlay."""
    return (owner(stored) or stored).partition("@")[0]


def changes(old: BaselineFile | None, new: BaselineFile | None) -> Changes:
    """Compare two baselines of a model by the values that a run is judged by."""
    model = (new or old).model if new or old else ""  # type: ignore[union-attr]
    before, after = old.cells if old else {}, new.cells if new else {}
    return Changes(
        values=[
            f"{model}/{variant} {name}"
            for variant in before
            if variant in after
            for name in _moved(before[variant], after[variant])
        ],
        added=[f"{model}/{variant}" for variant in after if variant not in before],
        removed=[f"{model}/{variant}" for variant in before if variant not in after],
    )


def _moved(old: BaselineCell, new: BaselineCell) -> list[str]:
    """Name the values of a cell that differ: measurements of base and overlays, and what else a run is judged by."""
    before, after = _values(old), _values(new)
    return [name for name in dict.fromkeys([*before, *after]) if before.get(name) != after.get(name)]


def _values(cell: BaselineCell) -> dict[str, object]:
    """Return what a cell is judged by, without where and when it was accepted."""
    held = {"": cell.measurements} | {f" of {name}": overlay.measurements for name, overlay in cell.overlays.items()}
    found: dict[str, object] = {
        f"{name}{suffix}": value.model_dump(include=_OF_VALUE)
        for suffix, measurements in held.items()
        for name, value in measurements.items()
    }
    return found | cell.model_dump(include=_JUDGED)


# Of a value, and of a cell besides its values; not where, when and why it was accepted.
_OF_VALUE = {"value", "unit", "n", "noise", "values", "tolerance", "loosened"}
_JUDGED = {"unsupported", "xfail", "broken_promise", "census", "artifact_sha256"}


@dataclass(frozen=True)
class InForce:
    """Hold the baselines that a run is judged by.

    Attributes:
        by_model: of the working tree, or of the merge base.
        fingerprints: model -> hash of what it is judged by; empty where there is nothing.
        notes: what the reader of the report has to know of them.
        measured: of their artifacts, from the same place.
    """

    by_model: dict[str, Baseline] = field(default_factory=dict)
    fingerprints: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    measured: AtHand = field(default_factory=AtHand)


def in_force(own: Path, ref: str, models: Iterable[ReferenceModel], known: Collection[str]) -> InForce:
    """Load the baselines that these models are judged by.

    Args:
        known: names of all models that are defined, also of those that are not judged.
        own: folder of baselines of the working tree.
        ref: branch whose merge base with HEAD they are taken from, such as ``origin/main``; empty for the folder as
            it is.

    Raises:
        BadInput: a baseline is invalid, or git cannot tell the merge base.
    """
    if not ref:
        loaded = {model.name: load_current(own, model) for model in models}
        fingerprints = {name: baseline_files.fingerprint(own, name) for name in loaded}
        return InForce(loaded, fingerprints, measured=at_hand(own, loaded))
    with at_merge_base(ref, own) as base:
        found = {model.name: base.load(model) for model in models}
        whole = sum((changed for _, changed in found.values()), Changes())
        return InForce(
            {name: baseline for name, (baseline, _) in found.items()},
            {name: base.fingerprint(name) for name in found},
            base.notes(whole, base.gone(known)),
            at_hand(base.folder, found),
        )


# ---------------------------------------------------------------- git


@contextmanager
def at_merge_base(ref: str, own: Path) -> Iterator[AtMergeBase]:
    """Take the folder of baselines out of git, as it was where HEAD left ``ref``, into a temporary folder.

    Raises:
        BadInput: no git repository, an unknown ref, or history that was not fetched.
    """
    folder = own if own.is_dir() else own.parent
    top = _git(folder, "rev-parse", "--show-toplevel")
    if top is None:
        hint = "give a --baseline-dir that is in one, or, where git refuses because somebody else owns it, "
        hint += f"`git config --global --add safe.directory {os.path.realpath(folder)}`"
        raise BadInput(f"--baselines-from: {own} is in no git repository that may be read; {hint}")
    commit = merge_base(folder, ref)
    path = os.path.relpath(os.path.realpath(own), os.path.realpath(top.strip()))
    with tempfile.TemporaryDirectory(prefix="quantbench-baselines-") as temporary:
        at = _taken_out(Path(top.strip()), commit, path, Path(temporary))
        yield AtMergeBase(at, own, ref, commit)


def merge_base(folder: Path, ref: str) -> str:
    """Return the commit where HEAD left a branch.

    Raises:
        BadInput: there is no such branch here, or its history was not fetched.
    """
    shallow = (_git(folder, "rev-parse", "--is-shallow-repository") or "").strip() == "true"
    more = "fetch the whole history: `fetch-depth: 0` of actions/checkout, `GIT_DEPTH: 0` in GitLab CI"
    target = _git(folder, "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
    if target is None:
        raise BadInput(f"--baselines-from: there is no commit {ref!r} in this clone; give e.g. origin/main, or {more}")
    base = _git(folder, "merge-base", "HEAD", target.strip())
    if base is None:
        why = "this clone is shallow" if shallow else "they share no history here"
        raise BadInput(f"--baselines-from: HEAD and {ref} have no common commit, for {why}; {more}")
    return base.strip()


def _taken_out(top: Path, commit: str, path: str, into: Path) -> Path:
    """Unpack a folder of a commit; return where its contents are, an empty folder where it was not there."""
    target = into / "baselines"
    target.mkdir()
    inside = "" if path == "." else path.replace(os.sep, "/")
    kind = _git(top, "cat-file", "-t", f"{commit}:{inside}")
    if (kind or "").strip() != "tree":
        return target
    listed = _git(top, "ls-tree", "-z", f"{commit}:{inside}") or ""
    for entry in filter(None, listed.split("\0")):
        facts, _, name = entry.partition("\t")
        if not facts.startswith("100") or not re.fullmatch(r"[^/]+\.(json|npz|xz)", name):  # a link is no file
            continue
        content = _git_bytes(top, "cat-file", "blob", facts.split()[2])
        if content is None or len(content) > _LARGEST:
            raise BadInput(f"--baselines-from: cannot read {name} of commit {commit[:12]}; check the git repository")
        with (target / name).open("xb") as file:
            file.write(content)
    return target


def _git(folder: Path, *arguments: str) -> str | None:
    done = _git_bytes(folder, *arguments)
    return None if done is None else done.decode("utf-8", errors="replace")


def _git_bytes(folder: Path, *arguments: str) -> bytes | None:
    """Return what git prints; None where it fails.

    Raises:
        BadInput: git is not installed, or hangs.
    """
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, timeout=_SECONDS)
    except FileNotFoundError:
        raise BadInput("--baselines-from: git is not installed; install it, or leave the option out") from None
    except subprocess.TimeoutExpired:
        raise BadInput(f"--baselines-from: git took more than {_SECONDS} s; check the repository") from None
    return done.stdout if done.returncode == 0 else None
