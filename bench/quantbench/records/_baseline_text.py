"""Write a baseline so that people can review it: an accepted value is one line, and provenance is there once.

What a reviewer reads comes first: the updates with their reasons, then the values. Texts that many values share, and
the seals, are at the end.
"""

from collections.abc import Iterator
from typing import Any

from quantbench.records._baseline import BaselineCell, BaselineFile, BaselineValue
from quantbench.records._json_text import Line, flat, object_text, rounded
from quantbench.records._provenance import Accepted, noted, reference, referred

_HEADER = ("kind", "schema_version", "model", "metric", "outputs", "data_sha256", "predictions_sha256")
_FIRST = (*_HEADER, "updates", "cells")
_SHARED = ("noise_from", "tolerance_from")  # of a value: few texts, in hundreds of values


def baseline_text(file: BaselineFile) -> str:
    """Return the text of a baseline file."""
    updates: dict[str, Accepted] = {}
    notes: dict[str, str] = {}
    data = rounded(file.model_dump(mode="json", exclude_none=True, exclude={"updates", "notes", "seals"}))
    for variant, cell in file.cells.items():
        for table, values in zip(_tables(data["cells"][variant]), _values(cell), strict=True):
            for name, value in values.items():
                table[name] = _line(table[name], value, updates, notes)
    data["updates"] = {name: update.model_dump(exclude_none=True) for name, update in updates.items()}
    data["notes"] = notes
    data["seals"] = {variant: Line(flat(seal)) for variant, seal in file.seals.items()}
    last = [name for name in sorted(data) if name not in _FIRST]
    return object_text({name: data[name] for name in (*_FIRST, *last) if name in data}) + "\n"


def _line(dump: dict[str, Any], value: BaselineValue, updates: dict[str, Accepted], notes: dict[str, str]) -> Line:
    """Write a value on one line, the number first, and note what it refers to."""
    name, update = referred(value.accepted)
    updates[name] = update
    dump["accepted"] = reference(value.accepted)
    for shared in _SHARED:
        dump[shared], name = noted(getattr(value, shared))
        notes[name] = getattr(value, shared)
    fields = [f"{flat(name)}: {flat(dump[name])}" for name in BaselineValue.model_fields if name in dump]
    return Line("{" + ", ".join(fields) + "}")


def _values(cell: BaselineCell) -> Iterator[dict[str, BaselineValue]]:
    """Yield every table of values of a cell."""
    yield from (cell.measurements, cell.latency, cell.peak_memory)
    yield from cell.by_machine.values()
    yield from (overlay.measurements for overlay in cell.overlays.values())


def _tables(dump: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the same tables of its dump, in the same order."""
    yield from (dump["measurements"], dump["latency"], dump["peak_memory"])
    yield from dump.get("by_machine", {}).values()
    yield from (overlay["measurements"] for overlay in dump.get("overlays", {}).values())
