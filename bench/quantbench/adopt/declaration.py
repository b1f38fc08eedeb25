"""Edit the file of an adopted model: lines that a command derives anew, leaving what a person wrote in it."""

import re
from collections.abc import Sequence
from pathlib import Path

from quantbench import files
from quantbench.errors import BadInput
from quantbench.reference.model import ReferenceModel, load_file

# Fields that follow from the saved model and its data; floors, recipes and descriptions are the user's.
DERIVED = ("form", "weights", "weights_sha256", "data", "data_sha256", "prepare", "loss", "trusted", "gate_variants")
GATE = "gate_variants"


def with_gate(model: ReferenceModel, variants: Sequence[str]) -> ReferenceModel:
    """Write into the model's file which variants a run measures, and load it again."""
    text = model.file.read_text(encoding="utf-8")
    files.replace(model.file, _put(text, GATE, repr(tuple(variants)), model.file))
    return load_file(model.file)[0]


def updated(old: str, new: str, path: Path, fields: Sequence[str] = DERIVED) -> str:
    """Return the old file with the derived fields of the new one; everything else stays as it is.

    Args:
        path: of the old file, for messages.

    Raises:
        BadInput: a field of the old file is not on a line of its own, so that it cannot be replaced safely.
    """
    for name in fields:
        found = _line(name).search(new)
        if found is not None:
            old = _put(old, name, found["value"], path)
    for name in ("logits_loss", "binary_logits_loss"):
        if re.search(rf"\b{name}\b", old) and not re.search(rf"import .*\b{name}\b", old):
            old = re.sub(r"^(from quantbench import .*)$", rf"\1, {name}", old, count=1, flags=re.MULTILINE)
    return old


def _line(name: str) -> re.Pattern[str]:
    return re.compile(rf"^    {name}=(?P<value>.*),$", re.MULTILINE)


def _put(text: str, name: str, value: str, path: Path) -> str:
    """Set a field on its line; one that is not there gets a line before the floors."""
    found = list(_line(name).finditer(text))
    if len(found) == 1:
        return text[: found[0].start("value")] + value + text[found[0].end("value") :]
    place = list(re.finditer(r"^    floors=", text, re.MULTILINE))
    if found or len(place) != 1 or re.search(rf"^\s*{name}\s*=", text, re.MULTILINE):
        raise BadInput(
            f"{path}: field {name}: expected one line '    {name}=...,' as adopt writes it; put it on one line"
        )
    return f"{text[: place[0].start()]}    {name}={value},\n{text[place[0].start() :]}"
