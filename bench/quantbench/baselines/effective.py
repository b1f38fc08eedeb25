"""How a run stands to a model's baseline: what is in force today and here, and what has to be said of it."""

import datetime
from dataclasses import dataclass, field
from pathlib import Path

from quantbench import gate
from quantbench.baselines import overlays
from quantbench.baselines.files import Baseline, json_path, load
from quantbench.errors import BadInput
from quantbench.records import Overlay
from quantbench.reference.model import ReferenceModel
from quantbench.variants import VARIANTS


@dataclass
class Standing(Baseline):
    """A baseline as the judges of one run see it.

    Attributes:
        exceptions: variant -> a sentence for each exception and for the overlay.
        overlay: variant -> results class of the overlay that it is judged by.
    """

    exceptions: dict[str, list[str]] = field(default_factory=dict)
    overlay: dict[str, str] = field(default_factory=dict)


def load_current(folder: Path, model: ReferenceModel) -> Baseline:
    """A model's baseline as it lies on disk, each cell of which can still be measured.

    Raises:
        BadInput: it is not as it should be, or has cells of variants that are gone.
    """
    found = load(folder, model)
    gone = sorted(set(found.file.cells if found.file else ()) - set(VARIANTS))
    if gone:
        raise BadInput(
            f"{json_path(folder, model.name)}: field 'cells.{gone[0]}': no variant has this name, so nothing measures "
            "it any more; restore the variant, or take its entry out"
        )
    return found


def standing(
    baseline: Baseline, score_unit: str, results_class: str, machine_class: str, today: datetime.date
) -> Standing:
    """Overlays laid over, loosened tolerances put in place, and a sentence for each."""
    seen = overlays.seen_by(baseline, results_class)
    if seen.file is None:
        return Standing()
    used = {name: results_class for name, cell in seen.file.cells.items() if results_class in cell.overlays}
    sentences = {
        name: [
            *([_overlay(results_class, cell.overlays[results_class])] if name in used else []),
            *gate.exceptions(cell, score_unit, today, machine_class),
        ]
        for name, cell in seen.file.cells.items()
    }
    cells = {name: gate.in_force(cell, today) for name, cell in seen.file.cells.items()}
    return Standing(seen.file.model_copy(update={"cells": cells}), seen.predictions, sentences, used)


def _overlay(results_class: str, overlay: Overlay) -> str:
    facts = ("unsupported", "broken_promise", "census", "artifact_sha256", "reference_sha256", "reference_agreement")
    names = [*overlay.measurements, *(name for name in facts if getattr(overlay, name) is not None)]
    reasons = dict.fromkeys(value.accepted.reason for value in overlay.measurements.values())
    why = f": {'; '.join(reasons)}" if reasons else ""
    return f"judged by the overlay of {results_class} ({', '.join(names)}){why}"
