"""Render one cell of ``report.html``: its judgements, its measurements, and the evidence behind them."""

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from markupsafe import Markup

from quantbench.records import Action, Cell, Evidence, Judgement, Measurement, measurements
from quantbench.report import formatting, plots
from quantbench.report.evidence import Behind, Picture
from quantbench.report.html.templating import fragment, macro
from quantbench.report.intervals import interval
from quantbench.report.size_breakdown import explain

FEW_RANGES = 5
SHORT_HASH = 16
JUDGED = ["measurement", "against", "verdict", "finding", "change", "tolerance", "p", "smallest change that fails"]
MEASURED = ["measurement", "value", "unit", "n", "spread", "95 % interval", "repeated over"]
# What a judgement compares with, in the field's words where the stored one is another.
AGAINST = {"floor": "release limit", "control": "float32 reference", "promise": "quantization spec"}
UNITS = {"ratio to yardstick": "ratio to reference workload"}
RANGES = ["tensor", "dtype", "granularity", "from", "to"]


@dataclass(frozen=True)
class Judged:
    """Hold one row of the judgements."""

    measurement: str
    against: str
    verdict: str
    mark: str
    message: str
    steps: list[Action]
    change: str
    tolerance: str
    p_value: str
    detectable: str


@dataclass(frozen=True)
class Latency:
    """Show a cell's latency distribution as a picture and in words."""

    plot: plots.Plot
    words: str


@dataclass(frozen=True)
class Ranges:
    """Hold the widest ranges of activations, as rows."""

    caption: str
    rows: list[list[str]]


class Shown(NamedTuple):
    """Show a picture of an example with its outcome."""

    picture: Picture
    outcome: str


@dataclass(frozen=True)
class Flipped:
    """List examples whose prediction differs from the control's."""

    words: str
    pictures: list[Shown]


@dataclass(frozen=True)
class Inside:
    """Hold the details of a cell."""

    judgements: list[Judged]
    measurements: list[list[str]]
    latency: Latency | None
    contents: list[str]
    ranges: Ranges | None
    flipped: Flipped | None


def details(cell: Cell, cells: dict[str, Cell], behind: Behind, pictures: list[Picture]) -> Markup:
    """Render the cell, folded; its id is inside, so that a browser unfolds it when it is linked to."""
    evidence = behind.of_cell(cell)
    return _folded(
        cell,
        Inside(
            judgements=[_judged(judgement) for judgement in cell.judgements],
            measurements=[measurement(cell, name, measured) for name, measured in sorted(cell.measurements.items())],
            latency=_latency(cell),
            contents=_contents(cell, cells),
            ranges=_ranges(evidence),
            flipped=_flipped(cell, evidence, pictures),
        ),
    )


def brief(cell: Cell) -> Markup:
    """Render the cell's outline, folded."""
    return _folded(cell, None)


@cache
def latency_marks() -> Markup:
    """Render the legend of the latency marks."""
    return fragment("latency_keys.html.j2", entries=plots.latency_legend())


def _folded(cell: Cell, inside: Inside | None) -> Markup:
    return macro("cell.html.j2", "folded")(
        cell=cell,
        judged=formatting.verdict(cell),
        facts=_facts(cell),
        inside=inside,
        versions=_versions(cell),
        judged_headers=JUDGED,
        measured_headers=MEASURED,
        range_headers=RANGES,
        marks=latency_marks(),
    )


def _facts(cell: Cell) -> str:
    facts = [
        f"family {cell.family}",
        f"reference {cell.control}" if cell.control else "no float32 reference",
        cell.metric,
    ]
    facts += [f"seeds {', '.join(map(str, cell.seeds))}"] if cell.seeds else []
    facts += [] if cell.selected else ["added as the reference"]
    facts += [f"gated by the per-machine baseline of {cell.overlay}"] if cell.overlay else []
    facts += [f"first baseline of {cell.drift.since}"] if cell.drift else []
    return "; ".join([*facts, *cell.exceptions])


def _judged(judgement: Judgement) -> Judged:
    return Judged(
        measurement=measurements.shown(judgement.measurement),
        against=AGAINST.get(judgement.against, judgement.against),
        verdict=judgement.verdict,
        mark=formatting.MARKS[judgement.verdict],
        message=judgement.message,
        steps=judgement.actions,
        change=_amount(judgement.change, judgement.unit),
        tolerance=_amount(judgement.tolerance, judgement.unit),
        p_value="" if judgement.p_value is None else f"{judgement.p_value:.2g}",
        detectable=_amount(judgement.detectable, judgement.unit),
    )


def _amount(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    if unit == "fraction":
        return f"{100 * value:.4g} pp"
    rounded = 0.0 if abs(value) < 1e-6 else value
    if unit == "ratio":  # a latency judgement: changes are fractions of the ratio
        return f"{100 * rounded:.3g} %"
    if unit.startswith("ratio"):
        return f"{rounded:.3g}×"
    return f"{rounded:,.0f} {unit}" if unit in _WHOLE else f"{rounded:.4g} {unit}"


def measurement(cell: Cell, name: str, measured: Measurement) -> list[str]:
    """Format one row: name, value, unit, n, spread, interval, and what repeats."""
    unit = "%" if measured.unit == "fraction" else UNITS.get(measured.unit, measured.unit)
    ends = interval(cell, name, measured)
    shown = "" if ends is None else f"{_number(ends[0], measured.unit)} to {_number(ends[1], measured.unit)}"
    spread = "" if measured.spread is None else _number(measured.spread, measured.unit)
    repeats = measured.spread_of or ("examples" if ends is not None else "")
    named = measurements.shown(name)
    return [named, _number(measured.value, measured.unit), unit, f"{measured.n:,}", spread, shown, repeats]


def _number(value: float, unit: str) -> str:
    if unit == "fraction":
        return f"{100 * value:.2f}"
    return f"{value:,.0f}" if unit in _WHOLE else f"{value:.4g}"


_WHOLE = ("bytes", measurements.INSTRUCTIONS)  # units that are counted


def _latency(cell: Cell) -> Latency | None:
    row = plots.latency_row(cell)
    return None if row is None else Latency(plots.latencies(f"Latency of {cell.id}", [row]), row.words())


def _contents(cell: Cell, cells: dict[str, Cell]) -> list[str]:
    if cell.census is None:
        return []
    lines = [f"weights: {formatting.weights(cell.census) or 'none'}"]
    lines += [f"compute operators: {formatting.computing(cell.census) or 'none'}"]
    lines += [f"left in float: {formatting.left_in_float(cell.census) or 'nothing'}"]
    explained = explain(cell, cells.get(f"{cell.model}/float32"))
    if explained is not None:
        parts = formatting.difference(explained)
        lines.append(
            f"size: {explained.predicted / 1024:,.1f} KiB expected from float32's, "
            f"{explained.actual / 1024:,.1f} KiB found" + (f" ({parts})" if parts else "")
        )
    return lines


def _ranges(evidence: Evidence | None) -> Ranges | None:
    ranges = [tensor_range for tensor_range in evidence.ranges if not tensor_range.constant] if evidence else []
    if evidence is None or not ranges:
        return None
    widest = sorted(ranges, key=lambda tensor_range: tensor_range.low - tensor_range.high)[:FEW_RANGES]
    method = f", chosen by: {evidence.range_method}" if evidence.range_method else ""
    rows = [
        [
            tensor_range.tensor[-70:],
            tensor_range.dtype,
            tensor_range.granularity,
            f"{tensor_range.low:.4g}",
            f"{tensor_range.high:.4g}",
        ]
        for tensor_range in widest
    ]
    return Ranges(f"The widest {len(rows)} of {len(ranges)} ranges of activations{method}", rows)


def _flipped(cell: Cell, evidence: Evidence | None, pictures: list[Picture]) -> Flipped | None:
    if evidence is None or not evidence.flipped:
        return None
    count = len(evidence.flipped)
    words = f"{count} predictions differ from {cell.control}"
    if not pictures:
        examples = ", ".join(map(str, evidence.flipped[:20])) + (", …" if count > 20 else "")
        return Flipped(f"{words}: {examples}.", [])
    shown = [Shown(picture, _outcome(picture)) for picture in pictures]
    return Flipped(f"{words}; {len(pictures)} of them, the newly wrong first:", shown)


def _outcome(picture: Picture) -> str:
    return (
        "newly wrong"
        if picture.control == picture.label
        else "newly right"
        if picture.variant == picture.label
        else "both wrong"
    )


def _versions(cell: Cell) -> str:
    hashes = {"artifact": cell.artifact_sha256, "predictions": cell.predictions_sha256}
    facts = [f"{name} sha256 {value[:SHORT_HASH]}…" for name, value in hashes.items() if value]
    facts.append("from the cache" if cell.cached else f"made in {cell.seconds:.1f} s")
    return "; ".join(facts)
