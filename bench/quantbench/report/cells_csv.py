"""``cells.csv``: every measurement of a run in a row of its own, for spreadsheets and data frames."""

import csv
import re
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

from quantbench import files
from quantbench.core.echo import plain
from quantbench.records import Cell, Measurement, Report, worst
from quantbench.records.measurements import kind_of
from quantbench.report.intervals import interval

CSV = "cells.csv"
COLUMNS = [
    "run",
    "cell",
    "model",
    "variant",
    "family",
    "cell_verdict",
    "kind",
    "measurement",
    "value",
    "unit",
    "n",
    "low",
    "high",
    "spread",
    "spread_of",
    "verdict",
    "baseline",
    "change",
    "tolerance",
    "p_value",
]
# A spreadsheet takes text that begins so as a formula, which may call programs and send what it finds elsewhere.
FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # and their wide forms
# Where the separator is another than a comma, what follows it begins a cell.
_AFTER_SEPARATOR = re.compile(rf"([;|]\s*)(?=[{''.join(map(re.escape, FORMULA))}])")


def write(path: Path, report: Report) -> None:
    """Write the file atomically."""
    files.replace(path, render(report))


def render(report: Report) -> str:
    """The whole file, a header first.

    ``low`` and ``high`` are ends of a 95 % interval. A cell of which nothing could be measured has one row without a
    value, so that it is missed. Text that a spreadsheet would take as a formula begins with an apostrophe.
    """
    buffer = StringIO(newline="")
    rows = csv.writer(buffer, lineterminator="\n")
    rows.writerow(COLUMNS)
    for cell in report.cells:
        start = [report.run, cell.id, cell.model, cell.variant, cell.family, str(cell.verdict)]
        for row in _rows(cell):
            rows.writerow([_field(value) for value in (*start, *row)])
    return buffer.getvalue()


def _rows(cell: Cell) -> Iterator[list[object]]:
    if not cell.measurements:
        yield ["", "", *[""] * 7, str(cell.verdict), *[""] * 4]
    for name, one in sorted(cell.measurements.items()):
        judged = [said for said in cell.judgements if said.measurement == name]
        against = next((said for said in judged if said.against == "baseline"), None)
        numbers: list[object] = [""] * 4
        if against is not None:
            numbers = [against.reference, against.change, against.tolerance, against.p_value]
        verdict = str(worst([said.verdict for said in judged])) if judged else ""
        low, high = _ends(cell, name, one)
        spread = [one.spread, one.spread_of]
        yield [str(kind_of(name)), name, one.value, one.unit, one.n, low, high, *spread, verdict, *numbers]


def _ends(cell: Cell, name: str, one: Measurement) -> tuple[float | None, float | None]:
    if one.low is not None or one.high is not None:
        return one.low, one.high
    return interval(cell, name, one) or (None, None)


def _field(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.9g}"
    if not isinstance(value, str):
        return str(value)
    text = _AFTER_SEPARATOR.sub(r"\1'", plain(value))
    return f"'{text}" if text.lstrip().startswith(FORMULA) or value[:1] in ("\t", "\r", "\n") else text
