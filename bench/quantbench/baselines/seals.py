"""Show edits by hand: a digest of every field of a baseline, written by the commands that change baselines.

A seal is not secret and prevents nothing: whoever edits a file can compute it too. It makes an edit by hand visible, by
naming the field in ``quantbench baseline check`` and in the next run. Each field has its own short digest, so that the
field itself can be named, over canonical JSON (sorted keys, nine significant digits) without defaults, so that a field
that a later format adds breaks no older seal.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quantbench.errors import BadInput
from quantbench.records import BaselineCell, BaselineFile, flat, rounded

SINCE = (1, 5)  # the first version of the format whose files are sealed
# Hexadecimal digits of a field's digest: an edit passes unseen by chance in one of 4 billion cases, and a cell's seal
# stays below 2 kB.
DIGITS = 8
_BY_ENTRY = ("measurements", "latency", "peak_memory", "overlays")  # fields whose entries have digests field by field
_HEADER = ("model", "metric", "data_sha256", "predictions_sha256")


@dataclass(frozen=True)
class Edit:
    """One field that is not as it was sealed.

    Attributes:
        variant: of the cell; empty where the field is the file's own.
        field: as in the file, from the cell on.
        what: ``changed``, ``added`` or ``removed``.
    """

    variant: str
    field: str
    what: str

    @property
    def place(self) -> str:
        """The field's full name in the file."""
        return f"cells.{self.variant}.{self.field}" if self.variant else self.field

    def __str__(self) -> str:
        return f"field '{self.place}' was {self.what} by hand"


def sealed(file: BaselineFile) -> BaselineFile:
    """Return the file with every cell and its own fields sealed as they are now."""
    found = {variant: seal_of(file.model, variant, cell) for variant, cell in file.cells.items()}
    cells = {variant: cell.model_copy(update={"seal": {}}) for variant, cell in file.cells.items()}
    return file.model_copy(update={"cells": cells, "seals": found, "seal": _joined(_header(file))})


def seal_of(model: str, variant: str, cell: BaselineCell) -> dict[str, str]:
    """Compute a cell's seal: group of fields -> ``field=digest`` of each, separated by spaces.

    Model and variant are part of each digest, so that a cell that is copied over another one is seen.
    """
    return {group: _joined(digests) for group, digests in _digests(model, variant, cell, {}).items()}


def _digests(
    model: str, variant: str, cell: BaselineCell, sealed: Mapping[str, Mapping[str, str]]
) -> dict[str, dict[str, str]]:
    """Map each group of a cell's fields -> field -> digest.

    Args:
        sealed: the digests that are expected; a value that has one of them as it is need not be rounded, which takes
            as long as all the rest.
    """
    start = f"{flat(model)}, {flat(variant)}"
    found: dict[str, dict[str, str]] = {}
    for group, fields in _groups(cell).items():
        place, then = f"[{start}, {flat(group)}", sealed.get(group, {})
        digests = found[group] = {}
        for name, value in fields.items():
            digest = _digest(f"{place}, {flat(name)}, {flat(value)}]") if name in then else ""
            if not digest or digest != then[name]:
                digest = _digest(f"{place}, {flat(name)}, {flat(rounded(value))}]")
            digests[name] = digest
    return found


def is_sealed(file: BaselineFile) -> bool:
    """Check whether the file carries seals, or should: files of older versions have none."""
    sealed_cells = file.seals or any(cell.seal for cell in file.cells.values())
    tables = bool(file.updates or file.notes)  # which no version without seals wrote
    return file.seal is not None or bool(sealed_cells) or tables or _version(file) >= SINCE


def edits(file: BaselineFile) -> list[Edit]:
    """List every field that is not as it was sealed; nothing for a file of before seals."""
    if not is_sealed(file):
        return []
    found = (
        [*_differences("", "", _header(file), _parsed(file.seal or ""))] if file.seal else [Edit("", "seal", "removed")]
    )
    for variant, cell in file.cells.items():
        found += _of_cell(file.model, variant, cell, file.seals.get(variant) or cell.seal)
        found += [Edit(variant, "seal", "added")] if file.seals and cell.seal else []
    return found


def refuse_edited(file: BaselineFile, path: Path) -> None:
    """Raise BadInput where a field was edited by hand, so that no command seals it unseen."""
    found = edits(file)
    if found:
        more = f" (and {len(found) - 1} more: quantbench baseline check)" if len(found) > 1 else ""
        raise BadInput(f"{path}: {found[0]}{more}; {action(file.model, found[0])}")


def action(model: str, edit: Edit) -> str:
    """Say what to do about a broken seal: no reason makes other data or other predictions those that were accepted."""
    if not edit.variant:
        return (
            "restore both files from git, or record the model afresh: quantbench baseline update RUN --replace "
            f'{model} --reason "why"'
        )
    return (
        f"restore the file from git, or keep what is there: quantbench baseline seal {model}/{edit.variant} --reason "
        '"why this is right"'
    )


def _version(file: BaselineFile) -> tuple[int, ...]:
    return tuple(int(part) for part in file.schema_version.split("."))


def _of_cell(model: str, variant: str, cell: BaselineCell, seal: dict[str, str]) -> Iterator[Edit]:
    if not seal:
        yield Edit(variant, "seal", "removed")
        return
    then = {group: _parsed(text) for group, text in seal.items()}
    now = _digests(model, variant, cell, then)
    for group in sorted({*now, *then}):
        yield from _differences(variant, group, now.get(group, {}), then.get(group, {}))


def _differences(variant: str, group: str, now: dict[str, str], then: dict[str, str]) -> Iterator[Edit]:
    if group and not (now and then):
        yield Edit(variant, group, "added" if now else "removed")
        return
    for name in sorted({*now, *then}):
        if now.get(name) != then.get(name):
            what = "added" if name not in then else "removed" if name not in now else "changed"
            yield Edit(variant, f"{group}.{name}" if group and group != _REST else name, what)


_REST = "cell"  # the group of the fields that are no tables of values


def _groups(cell: BaselineCell) -> dict[str, dict[str, Any]]:
    """Group a cell's fields: each accepted value and each overlay, and the rest together."""
    content = cell.model_dump(mode="json", exclude_defaults=True, exclude={"seal"})
    groups: dict[str, dict[str, Any]] = {}
    for name in _BY_ENTRY:
        for key, entry in content.pop(name, {}).items():
            groups[f"{name}.{key}"] = _flat(entry) if name == "overlays" else entry
    for measurement, values in content.pop("by_machine", {}).items():
        for machine, entry in values.items():
            groups[f"by_machine.{measurement}.{machine}"] = entry
    return groups | ({_REST: content} if content else {})


def _flat(overlay: dict[str, Any]) -> dict[str, Any]:
    """Put an overlay's values beside its other fields, each field by its full name."""
    rest = {name: value for name, value in overlay.items() if name != "measurements"}
    values = {
        f"measurements.{key}.{name}": value
        for key, entry in overlay.get("measurements", {}).items()
        for name, value in entry.items()
    }
    return rest | values


def _header(file: BaselineFile) -> dict[str, str]:
    names = (*_HEADER, *(["outputs"] if file.outputs else []))  # which files of before 1.9 have not
    return {name: _digest(flat([name, rounded(getattr(file, name))])) for name in names}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def _joined(digests: dict[str, str]) -> str:
    return " ".join(f"{name}={digests[name]}" for name in sorted(digests))


def _parsed(seal: str) -> dict[str, str]:
    """Take a seal's text apart; a part that is no ``field=digest`` counts as a field of that name."""
    return {name: digest for name, _, digest in (part.partition("=") for part in seal.split(" ")) if name}
