"""Resolve a model's baseline for one run: the values in force on this machine and date, with their exceptions."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from quantbench import gate
from quantbench.baselines import derived, overlays, seals
from quantbench.baselines.files import Baseline, json_path, load
from quantbench.core import seed_spread
from quantbench.core.environment import class_accepted
from quantbench.errors import BadInput
from quantbench.records import BaselineCell, Overlay
from quantbench.variants import VARIANTS, by_training

if TYPE_CHECKING:
    from quantbench.reference.metrics import Metric
    from quantbench.reference.model import ReferenceModel


@dataclass
class EffectiveBaseline(Baseline):
    """Hold a baseline as the judges of one run see it.

    Attributes:
        exceptions: variant -> one sentence for each exception and for the overlay.
        overlay: variant -> results class of the overlay that applies.
        edited: variant -> fields that were edited by hand since they were sealed, one phrase each.
    """

    exceptions: dict[str, list[str]] = field(default_factory=dict)
    overlay: dict[str, str] = field(default_factory=dict)
    edited: dict[str, list[str]] = field(default_factory=dict)

    def spread_of_drops(self, metric: Metric, variant: str) -> gate.Spread | None:
        """Return how far a variant's drop from its control differs between trainings, as the spread of scores is found
        (:func:`quantbench.core.seed_spread.of_cell`); None where nothing was trained twice.
        """
        samples: dict[str, seed_spread.Sample] = {}
        for name, cell in (self.file.cells if self.file else {}).items():
            control = self.cell(VARIANTS[name].control or "")
            own = cell.measurements.get("score")
            if control is not None and own is not None and own.values and "score" in control.measurements:
                reference = control.measurements["score"]
                drops = gate.drops_over_seeds(metric, own.values, reference.values or [reference.value])
                samples[name] = seed_spread.sample(drops)
        found = seed_spread.of_cell(samples.get(variant, seed_spread.Sample(0.0, 0)), *by_training(variant, samples))
        return None if found is None else gate.Spread(found.sd, found.degrees)


def load_current(folder: Path, model: ReferenceModel) -> Baseline:
    """Load a model's baseline from disk, and check that each cell can still be measured.

    Raises:
        BadInput: the baseline is invalid, or has cells of variants that no longer exist.
    """
    baseline = load(folder, model)
    gone = sorted(name for name in (baseline.file.cells if baseline.file else ()) if name not in VARIANTS)
    if gone:
        raise BadInput(
            f"{json_path(folder, model.name)}: field 'cells.{gone[0]}': no variant has this name, so nothing measures "
            "it any more; restore the variant, or take its entry out"
        )
    return baseline


def effective_baseline(
    baseline: Baseline, score_unit: str, results_class: str, machine_class: str, today: datetime.date
) -> EffectiveBaseline:
    """Apply the overlays and loosened tolerances, and describe each in one sentence.

    Tolerances are no wider than the rule in code makes them, whatever the file says; a loosened one is wider by name.
    """
    seen = overlays.resolve(baseline, results_class)
    if seen.file is None:
        return EffectiveBaseline()
    used = {name: results_class for name, cell in seen.file.cells.items() if results_class in cell.overlays}
    pooled = derived.pooled_noise(seen.file.cells)
    by_rule = {name: derived.by_rule(cell, pooled.get(name)) for name, cell in seen.file.cells.items()}
    sentences = {
        name: [
            *([_overlay(results_class, cell.overlays[results_class])] if name in used else []),
            *gate.exceptions(cell, score_unit, today, machine_class),
            *([] if baseline.sealed else _by_hand(seen, name, pooled.get(name))),
        ]
        for name, cell in seen.file.cells.items()
    }
    cells = {name: gate.in_force(cell, today) for name, cell in by_rule.items()}
    edited: dict[str, list[str]] = {}
    for edit in baseline.edits:
        edited.setdefault(edit.variant, []).append(_told(baseline, edit))
    return EffectiveBaseline(
        seen.file.model_copy(update={"cells": cells}),
        seen.predictions,
        baseline.edits,
        baseline.sealed,
        sentences,
        used,
        edited,
    )


def recorded_elsewhere(cell: BaselineCell | None, results_class: str) -> bool:
    """Check whether a cell's score was accepted on another machine profile than this one."""
    score = cell.measurements.get("score") if cell is not None else None
    return score is not None and class_accepted(score.accepted) not in ("", results_class)


def _told(baseline: Baseline, edit: seals.Edit) -> str:
    """Name an edited field, with the value that follows from its rule where there is one."""
    assert baseline.file is not None
    cell = baseline.file.cells[edit.variant]
    pooled = derived.pooled_noise(baseline.file.cells).get(edit.variant)
    known = derived.mismatches(cell, pooled, _examples(baseline, edit.variant))
    expected = [f" (found {one.found:.6g}, by its rule {one.expected:.6g})" for one in known if one.field == edit.field]
    return f"'{edit.field}' was {edit.what}{''.join(expected)}"


def _by_hand(baseline: Baseline, variant: str, pooled: float | None) -> list[str]:
    """Tell which fields of a cell without a seal do not follow from their rules."""
    assert baseline.file is not None
    found = derived.mismatches(baseline.file.cells[variant], pooled, _examples(baseline, variant))
    return [f"{one}; the computed value is used, as the file has no seals" for one in found]


def _examples(baseline: Baseline, variant: str) -> int | None:
    stored = baseline.predictions.get(variant)
    return None if stored is None else len(stored)


def _overlay(results_class: str, overlay: Overlay) -> str:
    facts = [name for name in Overlay.model_fields if name != "measurements" and getattr(overlay, name) is not None]
    names = [*overlay.measurements, *facts]
    reasons = dict.fromkeys(value.accepted.reason for value in overlay.measurements.values())
    why = f": {'; '.join(reasons)}" if reasons else ""
    return f"judged by values of its machine profile {results_class} ({', '.join(names)}){why}"
