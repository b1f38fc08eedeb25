"""Merge and split per-environment overlays: a cell's base, with the overlay of one results class applied to it.

A base holds what most environments measure. Where an instruction set or a runtime version rounds differently, the cell
stores only the differing values, so that a base is updated in one place. Predictions of an overlay are stored beside
the others, under ``variant@class``.
"""

from collections.abc import Collection
from dataclasses import replace

from quantbench import gate
from quantbench.baselines.accepted_value import has_moved
from quantbench.baselines.files import Baseline
from quantbench.baselines.outputs import outputs_in
from quantbench.core.arrays import Array
from quantbench.core.distances import of_head
from quantbench.core.distances import stored_as as of_base
from quantbench.records import Accepted, BaselineCell, BaselineValue, First, Overlay

_OF_ARTIFACT = ("artifact_sha256", "reference_sha256", "reference_agreement", "conversion_agreement")
_FACTS = ("broken_promise", "census", *_OF_ARTIFACT)


def stored_as(variant: str, results_class: str) -> str:
    """Return the name under which an overlay's predictions are stored."""
    return f"{variant}@{results_class}"


def outputs_of(variant: str, results_class: str) -> str:
    """Return the name under which the distances or outputs of an overlay are stored."""
    return of_base(stored_as(variant, results_class))


def merged(cell: BaselineCell, results_class: str) -> BaselineCell:
    """Apply the overlay of this results class to a cell; the cell itself where it has none."""
    overlay = cell.overlays.get(results_class)
    if overlay is None:
        return cell
    if overlay.unsupported is not None:
        return BaselineCell(unsupported=overlay.unsupported, xfail=cell.xfail, overlays=cell.overlays)
    facts = {name: getattr(overlay, name) for name in _FACTS if getattr(overlay, name) is not None}
    works = "score" in overlay.measurements
    return cell.model_copy(
        update={
            **facts,
            "measurements": {**cell.measurements, **overlay.measurements},
            "unsupported": None if works else cell.unsupported,
        }
    )


def resolve(baseline: Baseline, results_class: str) -> Baseline:
    """Apply the overlays of this results class to a whole baseline."""
    if baseline.file is None:
        return baseline
    cells = {name: merged(cell, results_class) for name, cell in baseline.file.cells.items()}
    predictions = dict(baseline.predictions)
    for name, cell in baseline.file.cells.items():
        of_heads = [of_head(name, output) for output in outputs_in(cell)]
        predicted = [(stored_as(one, results_class), one) for one in (name, *of_heads)]
        compared = [(outputs_of(one, results_class), of_base(one)) for one in (name, *of_heads)]
        for here, base in (*predicted, *compared):
            own = baseline.predictions.get(here)
            if results_class in cell.overlays and own is not None:
                predictions[base] = own
    return replace(baseline, file=baseline.file.model_copy(update={"cells": cells}), predictions=predictions)


def split_off(
    base: BaselineCell,
    old: Overlay,
    seen: BaselineCell,
    accepted: Accepted,
    trained: bool,
    other_predictions: Collection[str],
) -> Overlay | None:
    """Compute the overlay that turns ``base`` into ``seen``; None where no judged value differs.

    Differing hashes alone need no overlay, as an artifact that is judged alike needs none.

    Args:
        old: the overlay of this class so far.
        other_predictions: scores whose predictions differ from the base's, even if the score itself is equal.
    """
    if seen.unsupported is not None:
        return None if seen.unsupported == base.unsupported else Overlay(unsupported=seen.unsupported)
    measurements = {n: value for n, value in seen.measurements.items() if differs(value, base.measurements.get(n))}
    for name in other_predictions:
        if name not in measurements and name in seen.measurements:
            measurements[name] = seen.measurements[name].model_copy(update={"accepted": accepted})
    measurements = {name: _first_here(name, value, old) for name, value in measurements.items()}
    other = seen.census is not None and (
        base.census is None or bool(gate.differences(seen.census, base.census, trained))
    )
    broken = seen.broken_promise if seen.broken_promise != base.broken_promise else None
    if not measurements and not other and broken is None:
        return None
    of_artifact = {name: getattr(seen, name) for name in _OF_ARTIFACT if getattr(seen, name) != getattr(base, name)}
    return Overlay(
        measurements=measurements, census=seen.census if other else None, broken_promise=broken, **of_artifact
    )


def differs(value: BaselineValue, base: BaselineValue | None) -> bool:
    """Check whether a value differs from the base by the rule that moves a baseline."""
    return base is None or has_moved("", base, value)


def _first_here(name: str, value: BaselineValue, old: Overlay) -> BaselineValue:
    """Measure drift within a class, as classes differ from each other anyway; a loosening comes from the base."""
    if name in old.measurements:
        return value
    first = First(value=value.value, date=value.accepted.date, run=value.accepted.run)
    return value.model_copy(update={"first": first, "loosened": None})


def same(predictions: Array | None, others: Array | None) -> bool:
    """Check whether two sets of predictions are equal; missing ones are not."""
    return (
        predictions is not None
        and others is not None
        and predictions.shape == others.shape
        and bool((predictions == others).all())
    )
