"""Compare scores: by the spread of trainings, or by the examples whose prediction changed."""

from collections.abc import Iterator
from dataclasses import replace
from math import isfinite
from typing import Any

import numpy as np

from quantbench.baselines.files import stored_hashes
from quantbench.comparison._common import TAIL, Both, beyond, lone
from quantbench.comparison._types import Item, Outcome, Side, Truth
from quantbench.comparison.spread import Spread
from quantbench.core.arrays import Array
from quantbench.core.distances import of_head
from quantbench.core.stats import (
    bootstrap_drop_sd,
    normal_p,
    normal_quantile,
    p_above,
    pair,
    paired_interval,
    t_quantile,
)
from quantbench.records import Cell, Measurement
from quantbench.records.measurements import of_output, output_in


def scores(old: Cell, new: Cell, both: Both) -> Iterator[Item]:
    """Compare the score of each output; where a run has none, the number of NaN or infinite outputs."""
    yield from _main(old, new, both)
    for output in dict.fromkeys([*old.outputs, *new.outputs]):
        before, after = (_seen(cell, output, side) for cell, side in ((old, both.old), (new, both.new)))
        measured = before.measurements.get("score"), after.measurements.get("score")
        if measured[0] is not None and measured[1] is not None:
            item = _score(before, after, measured[0], measured[1], both)
            yield replace(item, cell=new.id, measurement=of_output("score", output))


def _seen(cell: Cell, output: str, side: Side) -> Cell:
    """Return a cell as one of its further outputs has it scored, with the hash of the stored predictions of that."""
    how, name = cell.outputs.get(output), of_head(cell.variant, output)
    stored = side.predictions.get(cell.model, {}).get(name)
    score = cell.measurements.get(of_output("score", output))
    update: dict[str, Any] = {
        "id": of_output(cell.id, output),
        "variant": name,
        "predictions_sha256": None if stored is None else min(stored_hashes(_widest(stored))),
        "measurements": {} if score is None else {"score": score},
    }
    if how is not None:
        update |= {"metric": how.metric, "metric_unit": how.unit, "metric_scale": how.scale}
        update |= {"higher_is_better": how.higher_is_better}
    return cell.model_copy(update=update)


def _widest(stored: Array) -> Array:
    """Return predictions in the dtype whose hash does not depend on how narrowly they were stored."""
    return stored.astype(np.uint64) if stored.dtype.kind == "u" else stored


def _main(old: Cell, new: Cell, both: Both) -> Iterator[Item]:
    broken = [_nonfinite(old), _nonfinite(new)]
    before, after = old.measurements.get("score"), new.measurements.get("score")
    if any(broken) and (before is None or after is None):
        change = broken[1] - broken[0]
        why = f"{broken[1]} examples with a NaN or infinite output, {broken[0]} before"
        item = Item(new.id, "score", beyond(change, 0), why=why, moved=bool(change))
        yield replace(item, change=float(change), change_unit="examples")
    elif before is None or after is None:
        yield from lone("score", new, (before, after), both)
    else:
        yield _score(old, new, before, after, both)


def _nonfinite(cell: Cell) -> int:
    nonfinite = cell.measurements.get("nonfinite")
    return 0 if nonfinite is None else int(nonfinite.value)


def _score(old: Cell, new: Cell, before: Measurement, after: Measurement, both: Both) -> Item:
    item = Item(new.id, "score", Outcome.NOT_COMPARABLE, before.value, after.value, before.unit)
    why = _other_question(old, new, both)
    if why:
        return replace(item, why=why)
    difference = before.value - after.value if new.higher_is_better else after.value - before.value
    item = replace(item, change=difference * new.metric_scale, change_unit=new.metric_unit)
    if old.predictions_sha256 and old.predictions_sha256 == new.predictions_sha256 and _same_seeds(before, after):
        return replace(item, outcome=Outcome.UNCHANGED, why="identical predictions", moved=False)
    if old.seeds or new.seeds:
        return _by_seeds(item, before, after, both.spreads.of(new.id), new.metric_scale)
    if both.old.report.trained_from_scratch or both.new.report.trained_from_scratch:
        return replace(item, why="the float models were retrained (--train), so every score differs")
    return _by_predictions(item, old, new, both)


def _other_question(old: Cell, new: Cell, both: Both) -> str:
    """Say why two scores are not comparable; empty where they are."""
    if (old.metric, old.higher_is_better) != (new.metric, new.higher_is_better):
        return f"different metric: {old.metric} before, {new.metric} now"
    data = [side.report.data_sha256.get(new.model, "unknown")[:12] for side in (both.old, both.new)]
    return "" if data[0] == data[1] else f"different data: pack {data[0]}… before, {data[1]}… now"


def _same_seeds(before: Measurement, after: Measurement) -> bool:
    """Check that the seeds of both runs repeat their scores, as predictions are those of the first seed only."""
    pairs = zip(before.values or [], after.values or [], strict=False)
    return all(abs(a - b) <= 1e-9 for a, b in pairs)


def _by_seeds(item: Item, before: Measurement, after: Measurement, spread: Spread | None, scale: float) -> Item:
    """Compare trained cells: the difference of two means against the spread of one training (Student's t)."""
    n_old, n_new = len(before.values or [0.0]), len(after.values or [0.0])
    if spread is None:
        why = (
            f"trained with {n_old} and {n_new} seeds, and the spread between trainings is unknown: run with --seeds 5, "
            "or give --baseline-dir"
        )
        return replace(item, why=why)
    change, error = item.change or 0.0, scale * spread.error(n_old, n_new)
    p_value = min(1.0, 2 * p_above(abs(change), error, spread.degrees))
    half = t_quantile(TAIL, spread.degrees) * error
    why = f"mean of {n_new} trainings vs {n_old}, sd {scale * spread.sd:.2f} {item.change_unit} from {spread.source}"
    return replace(item, outcome=Outcome.UNCHANGED, p_value=p_value, low=change - half, high=change + half, why=why)


def _by_predictions(item: Item, old: Cell, new: Cell, both: Both) -> Item:
    """Compare predictions of the same examples: exact McNemar, or a paired bootstrap for continuous metrics."""
    answers = []
    for cell, side, name in zip((old, new), (both.old, both.new), both.names, strict=True):
        stored = side.predictions.get(cell.model, {}).get(cell.variant)
        if stored is None:
            return replace(item, why=f"the predictions of {name} are missing: give its whole folder")
        if cell.predictions_sha256 not in stored_hashes(stored):
            return replace(item, why=f"the predictions of {name} do not match its report")
        answers.append(stored)
    truth = both.truth_of(of_output(new.model, output_in(new.variant)))
    if isinstance(truth, str):
        return replace(item, why=truth)
    if not len(answers[0]) == len(answers[1]) == len(truth.labels):
        return replace(item, why="the number of predictions is not that of the examples")
    if not all(truth.metric.fits(answer, truth.labels) for answer in answers):
        return replace(item, why=f"the predictions do not fit the metric {truth.metric.name}")
    return _by_pairs(item, truth, answers) if truth.metric.correct else _by_bootstrap(item, truth, answers)


def _by_pairs(item: Item, truth: Truth, answers: list[Array]) -> Item:
    assert truth.metric.correct is not None
    was, now = (truth.metric.correct(answer, truth.labels) for answer in answers)
    pairs = pair(now, was)
    half = paired_interval(pairs) * truth.metric.scale
    change = pairs.drop * truth.metric.scale
    p_value = min(1.0, 2 * min(pairs.p_worse(), pairs.p_better()))
    why = f"{pairs.lost} newly wrong, {pairs.gained} newly right of {len(was):,} (exact McNemar test)"
    return replace(
        item, outcome=Outcome.UNCHANGED, change=change, low=change - half, high=change + half, p_value=p_value, why=why
    )


def _by_bootstrap(item: Item, truth: Truth, answers: list[Array]) -> Item:
    metric = truth.metric
    old, new = answers
    change = metric.drop(metric.value(new, truth.labels), metric.value(old, truth.labels))
    sd = bootstrap_drop_sd(metric.drop_of_chosen(new, old, truth.labels), len(truth.labels))
    if not isfinite(sd):
        return replace(item, why="too few examples of one class to resample")
    half = normal_quantile(TAIL) * sd
    moved = int(np.count_nonzero(answers[0] != answers[1]))
    return replace(
        item,
        outcome=Outcome.UNCHANGED,
        change=change,
        low=change - half,
        high=change + half,
        p_value=min(1.0, 2 * normal_p(abs(change), sd)),
        why=f"{moved} predictions changed (paired bootstrap)",
    )
