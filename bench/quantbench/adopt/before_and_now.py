"""Compare a retrained or changed model with the previous one: each output of each variant, on the same examples."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tabulate import tabulate

from quantbench import gate
from quantbench.adopt import ranking
from quantbench.baselines import update
from quantbench.baselines.files import Baseline
from quantbench.core.arrays import Array
from quantbench.core.distances import of_head
from quantbench.records import Cell, Judgement, Report, Verdict
from quantbench.reference.heads import by_output
from quantbench.reference.metrics import RELATIVE_ERROR, Metric
from quantbench.reference.model import ReferenceModel


@dataclass(frozen=True)
class Row:
    """Describe one variant before and after.

    Attributes:
        old, new: scores; None where there is none.
        drop: of the new from the previous score on the same examples, in the metric's unit; low, high: its interval,
            which holds for all rows together. None where the two cannot be paired.
        size_old, size_new: bytes.
        matters: smallest drop that matters, in the metric's unit.
        worse: whether the drop is surely larger than that.
        why: why it cannot be compared; empty where it can.
        output: the further output that it is of; empty for the main one.
    """

    variant: str
    metric: Metric
    old: float | None
    new: float | None
    drop: float | None = None
    low: float = math.nan
    high: float = math.nan
    size_old: float | None = None
    size_new: float | None = None
    matters: float = 0.0
    worse: bool = False
    why: str = ""
    output: str = ""

    @property
    def name(self) -> str:
        """Return the variant, with the further output that the row is of."""
        return update.named_output(self.variant, self.output)


def accepted_sizes(baseline: Baseline) -> dict[str, float]:
    """Return the accepted size of each variant, in bytes."""
    cells = baseline.file.cells if baseline.file else {}
    return {name: cell.measurements["size"].value for name, cell in cells.items() if "size" in cell.measurements}


def sizes_of(report: Report) -> dict[str, float]:
    """Return the size of each variant of a run, in bytes."""
    cells = {cell.variant: cell.measurements for cell in report.cells}
    return {name: values["size"].value for name, values in cells.items() if "size" in values}


def compared(
    report: Report,
    model: ReferenceModel,
    before: Mapping[str, Array],
    after: Mapping[str, Array],
    sizes: Mapping[str, float],
) -> list[Row]:
    """Compare each output of each variant of a run with its previous self, on the same examples."""
    paired = sum(
        _can_pair(_stored(cell.variant, output), before, after, scored.pack().test.y, scored.metric)
        for output, scored in by_output(model).items()
        for cell in report.cells
    )
    alpha = ranking.ALPHA / 2 / max(1, paired)
    return [
        row
        for output, scored in by_output(model).items()
        for row in _of_output(report, output, scored, before, after, sizes, alpha)
    ]


def _stored(variant: str, output: str) -> str:
    """Return the name of the stored predictions of an output; empty for the main one."""
    return of_head(variant, output) if output else variant


def _of_output(
    report: Report,
    output: str,
    model: ReferenceModel,
    before: Mapping[str, Array],
    after: Mapping[str, Array],
    sizes: Mapping[str, float],
    alpha: float,
) -> list[Row]:
    new_sizes, labels = sizes_of(report), model.pack().test.y
    rows = []
    for cell in report.cells:
        name = _stored(cell.variant, output)
        row = Row(
            cell.variant,
            model.metric,
            _value(model.metric, before.get(name), labels),
            _value(model.metric, after.get(name), labels),
            size_old=sizes.get(cell.variant),
            size_new=new_sizes.get(cell.variant),
            output=output,
        )
        if not _can_pair(name, before, after, labels, model.metric):
            failed = cell.failure is not None and cell.variant in sizes
            worked = failed or (name in before and name not in after)
            rows.append(replace(row, why=_no_pair(cell, cell.variant in sizes), worse=worked))
            continue
        if model.metric.name == RELATIVE_ERROR.name:  # of each model's own outputs, so that the two scores are no pair
            rows.append(replace(row, old=None, why="without labels, each is judged by its own float model"))
            continue
        drop = ranking.drop_between(model.metric, after[name], before[name], labels)
        matters = model.metric.matters(row.old or 0.0, model.smallest_drop)
        worse = drop.p_above(matters) <= alpha and drop.estimate > matters
        low, high = drop.lower(alpha), drop.upper(alpha)
        rows.append(replace(row, drop=drop.estimate, low=low, high=high, matters=matters, worse=worse))
    return rows


def _no_pair(cell: Cell, known: bool) -> str:
    """Say why a cell has no two scores.

    Args:
        known: whether it was gated before.
    """
    if cell.failure is not None:
        return cell.failure.reason
    return "it is compiled, so it has no score" if known and _is_compiled(cell) else "not gated before"


def _is_compiled(cell: Cell) -> bool:
    return not gate.OF_ACCELERATOR.keys().isdisjoint(cell.measurements)


def of_compiled(report: Report, baseline: Baseline) -> dict[str, list[Judgement]]:
    """Judge what is known of compiled files as a run does, against their accepted values: variant -> judgements."""
    cells = baseline.file.cells if baseline.file else {}
    both = [(cell, cells[cell.variant]) for cell in report.cells if cell.variant in cells and cell.failure is None]
    judged = {
        cell.variant: gate.sizes(gate.Subject(cell.model, cell.variant, report.run), cell.measurements, accepted)
        for cell, accepted in both
    }
    return {
        variant: [one for one in found if one.measurement in gate.OF_ACCELERATOR and one.verdict is not Verdict.MISSING]
        for variant, found in judged.items()
    }


def _can_pair(
    name: str, before: Mapping[str, Array], after: Mapping[str, Array], labels: Array, metric: Metric
) -> bool:
    return all(name in side and metric.fits(side[name], labels) for side in (before, after))


def _value(metric: Metric, predictions: Array | None, labels: Array) -> float | None:
    return None if predictions is None or not metric.fits(predictions, labels) else metric.value(predictions, labels)


def worse_words(row: Row) -> str:
    """Say how a row got worse."""
    if row.drop is None:
        return f"it worked before and fails now: {row.why}"
    return (
        f"{row.drop:.2f} {row.metric.unit} worse than before (95 % CI {row.low:.2f} to {row.high:.2f}) on the same "
        "examples"
    )


def review(rows: Sequence[Row], new: ReferenceModel, old: ReferenceModel, kept: bool, same: bool) -> list[str]:
    """Say what changed, line by line."""
    changed = "retrained or changed" if new.weights_sha256 != old.weights_sha256 else "the same"
    examples = "the same examples" if same else "the new examples, also used for the previous model"
    lines = [
        "",
        f"# {new.name}: the model is {changed} ({old.weights_sha256[:8]} → {new.weights_sha256[:8]}), compared on "
        f"{len(new.pack().test.y):,} examples, {examples}",
        "",
        _table([row for row in rows if not row.output]),
    ]
    for head in new.heads:
        lines += ["", f"output {head.name}:", "", _table([row for row in rows if row.output == head.name])]
    gone = [name for name in old.gate_variants if name not in new.gate_variants] if new.gate_variants else []
    added = [name for name in new.gate_variants if old.gate_variants and name not in old.gate_variants]
    if not kept and (gone or added):
        lines.append(f"gate: added {', '.join(added) or 'none'}; removed {', '.join(gone) or 'none'}")
    lines += [f"{row.name}: not compared: {row.why}" for row in rows if row.why]
    return lines


def _table(rows: Sequence[Row]) -> str:
    metric = rows[0].metric
    change = f"{metric.name} drop vs before, {metric.unit} (95 % CI, all rows together)"
    headers = ["variant", "before", "now", change, "KiB before", "KiB now", "verdict"]
    cells = [
        [
            row.variant,
            _number(row.old, metric.scale),
            _number(row.new, metric.scale),
            "" if row.drop is None else f"{row.drop:+.2f} ({row.low:+.2f} to {row.high:+.2f})",
            _number(row.size_old, 1 / 1024, 1),
            _number(row.size_new, 1 / 1024, 1),
            _verdict(row),
        ]
        for row in rows
    ]
    return tabulate(cells, headers=headers, tablefmt="github", disable_numparse=True)


def _number(value: float | None, scale: float, digits: int = 2) -> str:
    return "" if value is None else f"{value * scale:,.{digits}f}"


def _verdict(row: Row) -> str:
    if row.worse:
        return "worse"
    if row.drop is None:
        return "not compared"
    if row.low > 0:
        return f"worse, but not surely by {row.matters:.2g} {row.metric.unit} or more"
    return "better" if row.high < 0 else "no worse, as far as the examples show"
