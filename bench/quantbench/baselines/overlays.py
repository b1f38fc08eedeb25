"""What differs by environment: a cell's base, with the overlay of one results class laid over it.

A base is what most environments give. Where an instruction set or a runtime version rounds otherwise, the cell carries
what differs there and nothing else, so that a base is moved in one place. Predictions of an overlay lie beside the
others, under ``variant@class``.
"""

from quantbench import gate
from quantbench.baselines.files import Baseline
from quantbench.core.arrays import Array
from quantbench.records import Accepted, BaselineCell, BaselineValue, First, Overlay

_FACTS = ("broken_promise", "census", "artifact_sha256", "reference_sha256", "reference_agreement")


def stored_as(variant: str, results_class: str) -> str:
    """The name of an overlay's predictions."""
    return f"{variant}@{results_class}"


def merged(cell: BaselineCell, results_class: str) -> BaselineCell:
    """A cell as an environment of this class sees it; itself where it has no such overlay."""
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


def seen_by(baseline: Baseline, results_class: str) -> Baseline:
    """A whole baseline as an environment of this class sees it."""
    if baseline.file is None:
        return baseline
    cells = {name: merged(cell, results_class) for name, cell in baseline.file.cells.items()}
    predictions = dict(baseline.predictions)
    for name, cell in baseline.file.cells.items():
        own = baseline.predictions.get(stored_as(name, results_class))
        if results_class in cell.overlays and own is not None:
            predictions[name] = own
    return Baseline(baseline.file.model_copy(update={"cells": cells}), predictions)


def taken_apart(
    base: BaselineCell, old: Overlay, seen: BaselineCell, accepted: Accepted, trained: bool, other_predictions: bool
) -> Overlay | None:
    """The overlay that makes ``seen`` of ``base``; None where nothing that is judged differs.

    Hashes alone make no overlay: another artifact that is judged alike needs none.

    Args:
        old: the overlay of this class so far.
        other_predictions: the predictions are others than the base's, though the score may be the same.
    """
    if seen.unsupported is not None:
        return None if seen.unsupported == base.unsupported else Overlay(unsupported=seen.unsupported)
    measurements = {n: value for n, value in seen.measurements.items() if differs(value, base.measurements.get(n))}
    if other_predictions and "score" not in measurements and "score" in seen.measurements:
        measurements["score"] = seen.measurements["score"].model_copy(update={"accepted": accepted})
    measurements = {name: _first_here(name, value, old) for name, value in measurements.items()}
    other = seen.census is not None and (
        base.census is None or bool(gate.differences(seen.census, base.census, trained))
    )
    broken = seen.broken_promise if seen.broken_promise != base.broken_promise else None
    if not measurements and not other and broken is None:
        return None
    hashes = {
        name: getattr(seen, name)
        for name in ("artifact_sha256", "reference_sha256", "reference_agreement")
        if getattr(seen, name) != getattr(base, name)
    }
    return Overlay(measurements=measurements, census=seen.census if other else None, broken_promise=broken, **hashes)


def differs(value: BaselineValue, base: BaselineValue | None) -> bool:
    """Whether a value is not that of the base, by the rule that moves a baseline."""
    if base is None:
        return True
    change = abs(value.value - base.value)
    return change > base.noise / 3 if base.noise else change != 0


def _first_here(name: str, value: BaselineValue, old: Overlay) -> BaselineValue:
    """Drift is measured within a class, for how far classes are from each other is none; loosening is the base's."""
    if name in old.measurements:
        return value
    first = First(value=value.value, date=value.accepted.date, run=value.accepted.run)
    return value.model_copy(update={"first": first, "loosened": None})


def same(one: Array | None, other: Array | None) -> bool:
    """Whether two sets of predictions are equal; absent ones are not."""
    return one is not None and other is not None and one.shape == other.shape and bool((one == other).all())
