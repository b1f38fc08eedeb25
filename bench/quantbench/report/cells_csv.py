"""Write ``cells.csv``: one row per measurement of a run, for spreadsheets and data frames."""

import csv
import re
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

from quantbench import files
from quantbench.core.echo import plain
from quantbench.records import Cell, Measurement, Report, worst
from quantbench.records.measurements import kind_of, output_in, without_output
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
    "output",
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
# A spreadsheet treats text that begins with these as a formula, which may start programs or send data elsewhere.
FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # and their full-width forms
# Where the separator is not a comma, the text after it starts a new cell.
_AFTER_SEPARATOR = re.compile(rf"([;|]\s*)(?=[{''.join(map(re.escape, FORMULA))}])")


def write(path: Path, report: Report) -> None:
    """Write the file atomically."""
    files.replace(path, render(report))


def render(report: Report) -> str:
    """Render the whole file, header first.

    ``low`` and ``high`` are the ends of a 95 % interval; ``output`` is empty where a row is of the main output or of
    the whole artifact. A cell without measurements has one row without a value, so that it is not overlooked. Text that
    a spreadsheet would treat as a formula is prefixed with an apostrophe.
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
        yield ["", "", "", *[""] * 7, str(cell.verdict), *[""] * 4]
    for name, measurement in sorted(cell.measurements.items()):
        judged = [judgement for judgement in cell.judgements if judgement.measurement == name]
        against = next((judgement for judgement in judged if judgement.against == "baseline"), None)
        numbers: list[object] = [""] * 4
        if against is not None:
            numbers = [against.reference, against.change, against.tolerance, against.p_value]
        verdict = str(worst([judgement.verdict for judgement in judged])) if judged else ""
        low, high = _ends(cell, name, measurement)
        spread = [measurement.spread, measurement.spread_of]
        yield [
            str(kind_of(name)),
            without_output(name),
            output_in(name),
            measurement.value,
            measurement.unit,
            measurement.n,
            low,
            high,
            *spread,
            verdict,
            *numbers,
        ]


def _ends(cell: Cell, name: str, measurement: Measurement) -> tuple[float | None, float | None]:
    if measurement.low is not None or measurement.high is not None:
        return measurement.low, measurement.high
    return interval(cell, name, measurement) or (None, None)


def _field(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.9g}"
    if not isinstance(value, str):
        return str(value)
    text = _AFTER_SEPARATOR.sub(r"\1'", plain(value))
    return f"'{text}" if text.lstrip().startswith(FORMULA) or value[:1] in ("\t", "\r", "\n") else text
