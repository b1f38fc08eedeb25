"""One cell of ``report.html``: what was judged, what was measured, and what lies behind it."""

from quantbench.records import Cell, Evidence, Judgement, Measurement, measurements
from quantbench.report import formatting
from quantbench.report.evidence import Behind, Picture
from quantbench.report.html import latency
from quantbench.report.html.markup import step, table, text
from quantbench.report.intervals import interval
from quantbench.report.size_breakdown import explain

FEW_RANGES = 5
SHORT_HASH = 16
JUDGED = ["measurement", "against", "verdict", "what was found", "change", "tolerance", "p", "smallest red change"]
MEASURED = ["measurement", "value", "unit", "n", "spread", "95 % interval", "what repeats"]
RANGES = ["tensor", "dtype", "granularity", "from", "to"]


def details(cell: Cell, cells: dict[str, Cell], behind: Behind, pictures: list[Picture]) -> str:
    """The cell, folded; its id is inside, so that a browser unfolds it when it is linked to."""
    evidence = behind.of_cell(cell)
    parts = [_facts(cell), _failure(cell), _judgements(cell), _measurements(cell), latency.of_cell(cell)]
    parts.append(_contents(cell, cells))
    parts += [_ranges(evidence), _flipped(cell, evidence, pictures), _versions(cell)]
    return _folded(cell, parts)


def brief(cell: Cell) -> str:
    """The cell's outline, folded."""
    return _folded(cell, [_facts(cell), _failure(cell), _versions(cell)])


def _folded(cell: Cell, parts: list[str]) -> str:
    return (
        f'<details class="cell"><summary><h3>{text(cell.id)}</h3> <span class="{cell.verdict}">'
        f'{text(formatting.verdict(cell))}</span></summary><div id="{text(cell.id)}" class="inside">'
        f"{''.join(parts)}</div></details>"
    )


def _facts(cell: Cell) -> str:
    told = [f"family {cell.family}", f"control {cell.control}" if cell.control else "no control", cell.metric]
    told += [f"seeds {', '.join(map(str, cell.seeds))}"] if cell.seeds else []
    told += [] if cell.selected else ["brought along as control"]
    told += [f"judged by the overlay of {cell.overlay}"] if cell.overlay else []
    told += [f"first baseline of {cell.drift.since}"] if cell.drift else []
    told += cell.exceptions
    return f"<p>{text('; '.join(told))}.</p>"


def _failure(cell: Cell) -> str:
    if cell.failure is None:
        return ""
    log = f"<pre>{text(cell.failure.log)}</pre>" if cell.failure.log else ""
    return f"<p><strong>{text(cell.failure.what)}</strong>: {text(cell.failure.reason)}</p>{log}"


def _judgements(cell: Cell) -> str:
    rows = [_judgement(one) for one in cell.judgements]
    return table(f"Judgements of {cell.id}", JUDGED, rows, "judged") if rows else ""


def _judgement(one: Judgement) -> list[str]:
    message = text(one.message)
    actions = "".join(f"<br>→ {step(action)}" for action in one.actions)
    found = [_amount(value, one.unit) for value in (one.change, one.tolerance, one.detectable)]
    p_value = "" if one.p_value is None else f"{one.p_value:.2g}"
    verdict = f'<span class="{one.verdict}">{text(formatting.MARKS[one.verdict])}</span>'
    named = text(measurements.shown(one.measurement))
    return [named, text(one.against), verdict, message + actions, *found[:2], p_value, found[2]]


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
    return text(f"{rounded:,.0f} bytes" if unit == "bytes" else f"{rounded:.4g} {unit}")


def _measurements(cell: Cell) -> str:
    rows = [measurement(cell, name, one) for name, one in sorted(cell.measurements.items())]
    return table(f"Measurements of {cell.id}", MEASURED, rows, "measured") if rows else ""


def measurement(cell: Cell, name: str, one: Measurement) -> list[str]:
    """Name, value, unit, n, spread, interval, and what repeats."""
    unit = "%" if one.unit == "fraction" else one.unit
    ends = interval(cell, name, one)
    shown = "" if ends is None else f"{_number(ends[0], one.unit)} to {_number(ends[1], one.unit)}"
    spread = "" if one.spread is None else _number(one.spread, one.unit)
    repeats = one.spread_of or ("examples" if ends is not None else "")
    named = text(measurements.shown(name))
    return [named, _number(one.value, one.unit), text(unit), f"{one.n:,}", spread, shown, text(repeats)]


def _number(value: float, unit: str) -> str:
    if unit == "fraction":
        return f"{100 * value:.2f}"
    return f"{value:,.0f}" if unit == "bytes" else f"{value:.4g}"


def _contents(cell: Cell, cells: dict[str, Cell]) -> str:
    if cell.census is None:
        return ""
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
    return f"<h4>Contents</h4><ul>{''.join(f'<li>{text(line)}</li>' for line in lines)}</ul>"


def _ranges(evidence: Evidence | None) -> str:
    known = [one for one in evidence.ranges if not one.constant] if evidence else []
    if evidence is None or not known:
        return ""
    widest = sorted(known, key=lambda one: one.low - one.high)[:FEW_RANGES]
    method = f", chosen by: {evidence.range_method}" if evidence.range_method else ""
    rows = [
        [text(one.tensor[-70:]), text(one.dtype), text(one.granularity), f"{one.low:.4g}", f"{one.high:.4g}"]
        for one in widest
    ]
    return table(f"The widest {len(rows)} of {len(known)} ranges of activations{method}", RANGES, rows)


def _flipped(cell: Cell, evidence: Evidence | None, pictures: list[Picture]) -> str:
    if evidence is None or not evidence.flipped:
        return ""
    count = len(evidence.flipped)
    told = f"{count} test examples are answered otherwise than by {cell.control}"
    if not pictures:
        shown = ", ".join(map(str, evidence.flipped[:20])) + (", …" if count > 20 else "")
        return f"<h4>Flipped</h4><p>{text(told)}: {shown}.</p>"
    figures = "".join(_picture(one) for one in pictures)
    said = f"{told}; {len(pictures)} of them, what the control had right first:"
    return f'<h4>Flipped</h4><p>{text(said)}</p><div class="pictures">{figures}</div>'


def _picture(one: Picture) -> str:
    outcome = "lost" if one.control == one.label else "gained" if one.variant == one.label else "both wrong"
    return (
        f'<figure><img src="{one.source}" alt="Test example {one.example}" width="56" height="56">'
        f"<figcaption>#{one.example}: {text(one.control)} → {text(one.variant)}<br>label {text(one.label)}, "
        f"{outcome}</figcaption></figure>"
    )


def _versions(cell: Cell) -> str:
    hashes = {"artifact": cell.artifact_sha256, "predictions": cell.predictions_sha256}
    known = [f"{name} sha256 {value[:SHORT_HASH]}…" for name, value in hashes.items() if value]
    known.append("from the store" if cell.cached else f"made in {cell.seconds:.1f} s")
    return f'<p class="small">{text("; ".join(known))}. Versions: <a href="#environment">environment</a>.</p>'
