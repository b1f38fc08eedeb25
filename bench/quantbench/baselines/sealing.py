"""Seal baselines by a command: those of before seals, and what a maintainer edited by hand and means."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from quantbench.baselines import derived, seals
from quantbench.baselines.files import json_path, save
from quantbench.errors import BadInput
from quantbench.records import AcceptedFloor, BaselineCell, BaselineFile, HandEdit, read_record
from quantbench.reference.heads import by_output
from quantbench.variants import VARIANTS

if TYPE_CHECKING:
    from quantbench.reference.model import ReferenceModel


def seal(folder: Path, model: ReferenceModel, reason: str, only: set[str], today: datetime.date) -> list[str]:
    """Seal a model's baseline as it is on disk; return what was done, one sentence each.

    A file of before seals is sealed whole, with the floors that the model's file declares now. Of a sealed one, the
    fields that were edited by hand are listed in the file with the reason, and stay in every report.

    Args:
        reason: why what was edited is right; needed where something was.
        only: variants whose edits are meant; all where empty.

    Raises:
        BadInput: no such file, an edit without a reason, an edit of another cell, or of a field that a rule decides.
    """
    path = json_path(folder, model.name)
    file = read_record(path, BaselineFile, "baseline")
    if not seals.is_sealed(file):
        cells = {variant: _with_floor(cell, variant, model) for variant, cell in file.cells.items()}
        save(folder, file.model_copy(update={"cells": cells}), None)
        return [f"{path}: {len(cells)} cells sealed; no value changed"]
    found = seals.edits(file)
    if not found:
        return [f"{path}: sealed already, and nothing in it was edited"]
    _check(path, file, found, reason, only)
    edited: dict[str, list[str]] = {}
    for edit in found:
        edited.setdefault(edit.variant, []).append(edit.field)
    cells = {
        variant: _with_edit(cell, edited[variant], reason, today) if variant in edited else cell
        for variant, cell in file.cells.items()
    }
    save(folder, file.model_copy(update={"cells": cells}), None)
    return [f"{path}: sealed with {edit}: {reason}" for edit in found]


def _check(path: Path, file: BaselineFile, found: list[seals.Edit], reason: str, only: set[str]) -> None:
    if not reason.strip():
        raise BadInput(f"--reason: say why this is right: {path}: {found[0]}")
    pooled = derived.pooled_noise(file.cells)
    for edit in found:
        if not edit.variant:
            raise BadInput(f"{path}: {edit}; {seals.action(file.model, edit)}")
        if only and edit.variant not in only:
            raise BadInput(f"{path}: {edit}, and is not of the cells to seal; restore it from git, or name it too")
        ruled = {one.field: one for one in derived.mismatches(file.cells[edit.variant], pooled.get(edit.variant))}
        if edit.field in ruled:
            raise BadInput(
                f"{path}: {edit}: {ruled[edit.field]}, which no edit changes; restore it from git, and use "
                f"quantbench baseline loosen {file.model}/{edit.variant} for a wider tolerance"
            )


def _with_edit(cell: BaselineCell, fields: list[str], reason: str, today: datetime.date) -> BaselineCell:
    made = HandEdit(date=today.isoformat(), reason=reason.strip(), fields=fields)
    return cell.model_copy(update={"hand_edits": [*cell.hand_edits, made]})


def _with_floor(cell: BaselineCell, variant: str, model: ReferenceModel) -> BaselineCell:
    if cell.floor is not None or variant not in VARIANTS:
        return cell
    family = VARIANTS[variant].family
    limits = {output: scored.floor(variant, family) for output, scored in by_output(model).items()}
    drops = {output: None if limit is None else limit.max_drop for output, limit in limits.items()}
    return cell.model_copy(update={"floor": AcceptedFloor(max_drop=drops.pop(""), outputs=drops)})
