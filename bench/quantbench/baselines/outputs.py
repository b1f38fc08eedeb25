"""What a baseline holds of a model's further outputs: their scores, limits and predictions, beside the main one's."""

from dataclasses import replace
from typing import TypeVar

from quantbench import gate
from quantbench.baselines.files import Baseline
from quantbench.core.distances import of_head, outputs_of, stored_as
from quantbench.records import BaselineCell
from quantbench.records.measurements import output_in, without_output

_Baseline = TypeVar("_Baseline", bound=Baseline)


def of_output(baseline: _Baseline, output: str) -> _Baseline:
    """Return a baseline as the judges of one output see it: its scores and predictions in place of the main one's."""
    if not output or baseline.file is None:
        return baseline
    cells = {name: gate.accepted_of(cell, output) or BaselineCell() for name, cell in baseline.file.cells.items()}
    stored = {of_head(name, output): name for name in cells}
    stored |= {outputs_of(name, output): stored_as(name) for name in cells}
    predictions = {stored[name]: array for name, array in baseline.predictions.items() if name in stored}
    return replace(baseline, file=baseline.file.model_copy(update={"cells": cells}), predictions=predictions)


def outputs_in(cell: BaselineCell) -> list[str]:
    """List the further outputs that a cell, or an overlay of it, has an accepted score of."""
    tables = [cell.measurements, *(overlay.measurements for overlay in cell.overlays.values())]
    names = [name for table in tables for name in table if without_output(name) == "score" and output_in(name)]
    return list(dict.fromkeys(map(output_in, names)))
