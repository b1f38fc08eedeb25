"""One cell of ``report.html``: what was judged, what was measured, and what lies behind it."""

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
JUDGED = ["measurement", "against", "verdict", "what was found", "change", "tolerance", "p", "smallest red change"]
MEASURED = ["measurement", "value", "unit", "n", "spread", "95 % interval", "what repeats"]
RANGES = ["tensor", "dtype", "granularity", "from", "to"]


@dataclass(frozen=True)
class Judged:
    """A row of the judgements."""

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
    """A cell's distribution as a picture and in words."""

    plot: plots.Plot
    words: str


@dataclass(frozen=True)
class Ranges:
    """The widest ranges of activations, as rows."""

    caption: str
    rows: list[list[str]]


class Shown(NamedTuple):
    """A picture of an example, and what became of it."""

    picture: Picture
    outcome: str


@dataclass(frozen=True)
class Flipped:
    """Examples that are answered otherwise than by the control."""

    words: str
    pictures: list[Shown]


@dataclass(frozen=True)
class Inside:
    """A cell from the inside."""

    judgements: list[Judged]
    measurements: list[list[str]]
    latency: Latency | None
    contents: list[str]
    ranges: Ranges | None
    flipped: Flipped | None


def details(cell: Cell, cells: dict[str, Cell], behind: Behind, pictures: list[Picture]) -> Markup:
    """The cell, folded; its id is inside, so that a browser unfolds it when it is linked to."""
    evidence = behind.of_cell(cell)
    return _folded(
        cell,
        Inside(
            judgements=[_judged(one) for one in cell.judgements],
            measurements=[measurement(cell, name, one) for name, one in sorted(cell.measurements.items())],
            latency=_latency(cell),
            contents=_contents(cell, cells),
            ranges=_ranges(evidence),
            flipped=_flipped(cell, evidence, pictures),
        ),
    )


def brief(cell: Cell) -> Markup:
    """The cell's outline, folded."""
    return _folded(cell, None)


@cache
def latency_marks() -> Markup:
    """What the marks of a latency mean."""
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
    facts = [f"family {cell.family}", f"control {cell.control}" if cell.control else "no control", cell.metric]
    facts += [f"seeds {', '.join(map(str, cell.seeds))}"] if cell.seeds else []
    facts += [] if cell.selected else ["brought along as control"]
    facts += [f"judged by the overlay of {cell.overlay}"] if cell.overlay else []
    facts += [f"first baseline of {cell.drift.since}"] if cell.drift else []
    return "; ".join([*facts, *cell.exceptions])


def _judged(one: Judgement) -> Judged:
    return Judged(
        measurement=measurements.shown(one.measurement),
        against=one.against,
        verdict=one.verdict,
        mark=formatting.MARKS[one.verdict],
        message=one.message,
        steps=one.actions,
        change=_amount(one.change, one.unit),
        tolerance=_amount(one.tolerance, one.unit),
        p_value="" if one.p_value is None else f"{one.p_value:.2g}",
        detectable=_amount(one.detectable, one.unit),
    )


def _amount(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    if unit == "fraction":
        return f"{100 * value:.4g} pp"
    rounded = 0.0 if abs(value) < 1e-6 else value
    if unit == "ratio":  # a latency judgement: changes of the ratio are shares of it
        return f"{100 * rounded:.3g} %"
    if unit.startswith("ratio"):
        return f"{rounded:.3g}×"
    return f"{rounded:,.0f} bytes" if unit == "bytes" else f"{rounded:.4g} {unit}"


def measurement(cell: Cell, name: str, one: Measurement) -> list[str]:
    """Name, value, unit, n, spread, interval, and what repeats."""
    unit = "%" if one.unit == "fraction" else one.unit
    ends = interval(cell, name, one)
    shown = "" if ends is None else f"{_number(ends[0], one.unit)} to {_number(ends[1], one.unit)}"
    spread = "" if one.spread is None else _number(one.spread, one.unit)
    repeats = one.spread_of or ("examples" if ends is not None else "")
    named = measurements.shown(name)
    return [named, _number(one.value, one.unit), unit, f"{one.n:,}", spread, shown, repeats]


def _number(value: float, unit: str) -> str:
    if unit == "fraction":
        return f"{100 * value:.2f}"
    return f"{value:,.0f}" if unit == "bytes" else f"{value:.4g}"


def _latency(cell: Cell) -> Latency | None:
    row = plots.latency_row(cell)
    return None if row is None else Latency(plots.latencies(f"Latency of {cell.id}", [row]), row.words())


def _contents(cell: Cell, cells: dict[str, Cell]) -> list[str]:
    if cell.census is None:
        return []
    lines = [f"weights: {formatting.weights(cell.census) or 'none'}"]
    lines += [f"operators that compute: {formatting.computing(cell.census) or 'none'}"]
    lines += [f"left in float: {formatting.left_in_float(cell.census) or 'nothing'}"]
    found = explain(cell, cells.get(f"{cell.model}/float32"))
    if found is not None:
        parts = formatting.difference(found)
        lines.append(
            f"size: {found.predicted / 1024:,.1f} KiB predicted from float32's, {found.actual / 1024:,.1f} KiB found"
            + (f" ({parts})" if parts else "")
        )
    return lines


def _ranges(evidence: Evidence | None) -> Ranges | None:
    ranges = [one for one in evidence.ranges if not one.constant] if evidence else []
    if evidence is None or not ranges:
        return None
    widest = sorted(ranges, key=lambda one: one.low - one.high)[:FEW_RANGES]
    method = f", chosen by: {evidence.range_method}" if evidence.range_method else ""
    rows = [[one.tensor[-70:], one.dtype, one.granularity, f"{one.low:.4g}", f"{one.high:.4g}"] for one in widest]
    return Ranges(f"The widest {len(rows)} of {len(ranges)} ranges of activations{method}", rows)


def _flipped(cell: Cell, evidence: Evidence | None, pictures: list[Picture]) -> Flipped | None:
    if evidence is None or not evidence.flipped:
        return None
    count = len(evidence.flipped)
    words = f"{count} test examples are answered otherwise than by {cell.control}"
    if not pictures:
        examples = ", ".join(map(str, evidence.flipped[:20])) + (", …" if count > 20 else "")
        return Flipped(f"{words}: {examples}.", [])
    shown = [Shown(one, _outcome(one)) for one in pictures]
    return Flipped(f"{words}; {len(pictures)} of them, what the control had right first:", shown)


def _outcome(one: Picture) -> str:
    return "lost" if one.control == one.label else "gained" if one.variant == one.label else "both wrong"


def _versions(cell: Cell) -> str:
    hashes = {"artifact": cell.artifact_sha256, "predictions": cell.predictions_sha256}
    facts = [f"{name} sha256 {value[:SHORT_HASH]}…" for name, value in hashes.items() if value]
    facts.append("from the store" if cell.cached else f"made in {cell.seconds:.1f} s")
    return "; ".join(facts)
