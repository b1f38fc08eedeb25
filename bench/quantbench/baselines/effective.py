"""Resolve a model's baseline for one run: the values in force on this machine and date, with their exceptions."""

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
class EffectiveBaseline(Baseline):
    """Hold a baseline as the judges of one run see it.

    Attributes:
        exceptions: variant -> one sentence for each exception and for the overlay.
        overlay: variant -> results class of the overlay that applies.
    """

    exceptions: dict[str, list[str]] = field(default_factory=dict)
    overlay: dict[str, str] = field(default_factory=dict)


def load_current(folder: Path, model: ReferenceModel) -> Baseline:
    """Load a model's baseline from disk, and check that each cell can still be measured.

    Raises:
        BadInput: the baseline is invalid, or has cells of variants that no longer exist.
    """
    baseline = load(folder, model)
    gone = sorted(set(baseline.file.cells if baseline.file else ()) - set(VARIANTS))
    if gone:
        raise BadInput(
            f"{json_path(folder, model.name)}: field 'cells.{gone[0]}': no variant has this name, so nothing measures "
            "it any more; restore the variant, or take its entry out"
        )
    return baseline


def effective_baseline(
    baseline: Baseline, score_unit: str, results_class: str, machine_class: str, today: datetime.date
) -> EffectiveBaseline:
    """Apply the overlays and loosened tolerances, and describe each in one sentence."""
    seen = overlays.resolve(baseline, results_class)
    if seen.file is None:
        return EffectiveBaseline()
    used = {name: results_class for name, cell in seen.file.cells.items() if results_class in cell.overlays}
    sentences = {
        name: [
            *([_overlay(results_class, cell.overlays[results_class])] if name in used else []),
            *gate.exceptions(cell, score_unit, today, machine_class),
        ]
        for name, cell in seen.file.cells.items()
    }
    cells = {name: gate.in_force(cell, today) for name, cell in seen.file.cells.items()}
    return EffectiveBaseline(seen.file.model_copy(update={"cells": cells}), seen.predictions, sentences, used)


def _overlay(results_class: str, overlay: Overlay) -> str:
    facts = ("unsupported", "broken_promise", "census", "artifact_sha256", "reference_sha256", "reference_agreement")
    names = [*overlay.measurements, *(name for name in facts if getattr(overlay, name) is not None)]
    reasons = dict.fromkeys(value.accepted.reason for value in overlay.measurements.values())
    why = f": {'; '.join(reasons)}" if reasons else ""
    return f"judged by the overlay of {results_class} ({', '.join(names)}){why}"
