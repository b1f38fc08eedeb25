"""Render ``report.html``: the whole run as one file that makes no network requests.

Regressions come first, in the words of ``report.md``; then changes, a table of all cells with sorting and filters,
charts, and the details of every cell. The script is needed only for sorting, filtering and the deferred parts of a
large page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from markupsafe import Markup

from quantbench import files
from quantbench.core.echo import plain
from quantbench.records import Action, Cell, Judgement, Report, Verdict
from quantbench.report import chart_data, formatting, outputs, plots, reds, targets
from quantbench.report.chart_data import LATENCY, LEGEND, SIZE, Axis, Point
from quantbench.report.evidence import OF_ATTENTION, OF_OTHERS, Behind, Picture
from quantbench.report.html import advice, built, causes, deferred
from quantbench.report.html import cells as html_cells
from quantbench.report.html.deferred import FIRST_ROWS, Later
from quantbench.report.html.templating import Banner, Part, asset, fragment, macro, page_from

if TYPE_CHECKING:
    from quantbench.reference.model import ReferenceModel

HTML = "report.html"
MOST_LISTED = 50
_MOST_LINKED = 12  # cells of a group
MODELS_AT_ONCE = 24  # whose charts are shown together; the rest are folded away
MOST_WHOLE = 2000  # cells that are shown with details; a browser is slow with more
COLUMNS = [
    "model",
    "variant",
    "family",
    "verdict",
    "score",
    "drop vs float32",
    "left of the limit",
    "since first baseline",
    "size, KiB",
    "smaller",
    "gzip, KiB",
    "memory / float32",
    "instructions",
    "latency, µs",
    "latency / float32",
]
PARTS = {
    "attention": "What needs attention",
    "causes": "Where the error comes from",
    "changed": "What changed",
    "all": "All cells",
    "outputs": outputs.TITLE,
    "targets": targets.TITLE,
    "charts": "Charts",
    "one": "Cell by cell",
    "exceptions": "Exceptions",
    "seen": "Sensitivity",
    "environment": "Environment",
}


class Note(NamedTuple):
    """Hold the messages about a cell, or about cells together, which have no part of the page to link to."""

    cell: str
    verdict: Verdict
    mark: str
    message: str
    steps: list[Action]
    linked: bool = True
    more: Sequence[str] = ()
    members: Sequence[str] = ()


@dataclass(frozen=True)
class Row:
    """Hold one row of the table of all cells."""

    id: str
    model: str
    variant: str
    family: str
    verdict: Verdict
    judged: str
    severity: int
    why: str
    numbers: list[str]


class Scatter(NamedTuple):
    """Hold a plot with its Pareto front and its number of points."""

    plot: plots.Plot
    front: list[Point]
    points: int
    unit: str


def write(path: Path, report: Report, folder: Path, models: Mapping[str, ReferenceModel]) -> None:
    """Write the page of a run atomically, with the evidence in its folder; of ``try``, the page of its advice."""
    if report.advice is not None:
        advice.write(path, report, report.advice)
        return
    if report.built is not None:
        built.write(path, report, report.built)
        return
    files.replace(path, render(report, Behind.of(folder, report, models)))


def render(report: Report, behind: Behind) -> str:
    """Render the whole page."""
    by_id = {cell.id: cell for cell in report.cells}
    later = Later(len(report.cells) > deferred.WHOLE_PAGE)
    content = {
        "attention": _attention(report, later),
        "causes": causes.of_report(report),
        "changed": _changed(report, later),
        "all": _all_cells(report, by_id, later),
        "outputs": _outputs(report, by_id, later),
        "targets": _targets(report, later),
        "charts": _charts(report, by_id, later),
        "one": _one_by_one(report, by_id, behind, later),
        "exceptions": _exceptions(report, later),
        "seen": _sensitivity(report),
        "environment": _environment(report),
    }
    parts = [Part(name, title, content[name]) for name, title in PARTS.items() if content[name]]
    banner, script = _banner(report), asset("page.js")
    return page_from("report.html.j2", script, banner=banner, run=report.run, parts=parts, waiting=later.script())


def _status(report: Report) -> str:
    return formatting.STATUS_WORDS.get(report.exit_status, f"EXIT STATUS {report.exit_status}")


def _banner(report: Report) -> Banner:
    sign, kind = {0: ("✓", "green"), 1: ("✗", "red")}.get(report.exit_status, ("!", "amber"))
    counted = formatting.headline(report).removeprefix(_status(report)).strip()
    facts = [f"Run {report.run}, {report.seconds:.0f} s, {report.selection or 'everything selected'}."]
    if report.trained_from_scratch:
        facts.append("The float models were trained from scratch (--train), not loaded.")
    notes = [formatting.unjudged_latency(report), formatting.gpu_note(report), *report.notes]
    facts += [f"Note: {note}." for note in notes if note]
    return Banner(_status(report), sign, kind, facts, counted.strip("()"))


def _lines(*lines: str) -> Markup:
    return fragment("paragraphs.html.j2", lines=lines)


def _attention(report: Report, later: Later) -> Markup:
    notes = [
        Note(name, verdict, formatting.MARKS[verdict], lines[0], actions, cells == [name], lines[1:], _members(cells))
        for name, verdict, lines, actions, cells in reds.entries(report)
    ]
    if not notes:
        return _lines("Nothing.")
    listed = later.listing("attention.html.j2", notes, MOST_LISTED, "entries need attention")
    return listed + _details(report, later)


def _members(cells: Sequence[str]) -> Sequence[str]:
    """Return the cells of a group that are linked to, of several."""
    return cells[:_MOST_LINKED] if len(cells) > 1 else ()


def _details(report: Report, later: Later) -> Markup:
    """Show every red cell by itself, folded, where they are grouped."""
    known = {cell.id for cell in report.cells}
    found = [
        Note(cell, verdict, formatting.MARKS[verdict], messages[0], actions, cell in known, messages[1:])
        for cell, verdict, messages, actions in reds.details(report)
    ]
    if not found:
        return Markup("")
    changes = [f"{reds.who(group)}: {told}" for group in report.reds for told in reds.facts(group)]
    changed = fragment("lines.html.j2", items=[plain(one) for one in changes]) if changes else Markup("")
    listed = fragment("attention.html.j2", items=found)  # in one fold: no other is looked for in it
    return later.fold(reds.folded(report), changed + listed)


def _changed(report: Report, later: Later) -> Markup:
    """List what changed beyond its tolerance; what stayed within is folded away."""
    judged = [(cell.id, one) for cell in report.cells for one in cell.judgements if formatting.moved(cell, one)]
    told = (Verdict.PASS, *(reds.RED if report.reds else ()))  # what is red is told above, with its details
    beyond = [_note(cell, one) for cell, one in judged if one.verdict not in told]
    within = [_note(cell, one) for cell, one in judged if one.verdict is Verdict.PASS]
    listed = _lines(f"Nothing{' but what is red' if report.reds else ''} beyond its tolerance.")
    if beyond:
        listed = later.listing("changes.html.j2", beyond, MOST_LISTED, "changes")
    if not within:
        return listed
    return listed + later.fold(formatting.told_within_tolerance(len(within)), fragment("changes.html.j2", items=within))


def _note(cell: str, judgement: Judgement) -> Note:
    return Note(cell, judgement.verdict, formatting.MARKS[judgement.verdict], judgement.message, [])


def _all_cells(report: Report, by_id: dict[str, Cell], later: Later) -> Markup:
    show = macro("row.html.j2", "row")
    rows = later.first_rows([show(_row(cell, by_id)) for cell in report.cells])
    return fragment(
        "all_cells.html.j2",
        filters=_filters(report),
        names={str(verdict): verdict.shown for verdict in Verdict},
        columns=COLUMNS,
        rows=rows,
        first=FIRST_ROWS,
        total=len(report.cells),
        large=later.large,
    )


def _outputs(report: Report, by_id: dict[str, Cell], later: Later) -> Markup:
    """Show a table per model with further outputs, the first one open; empty where no model has any."""
    shown: list[Markup] = []
    for model in dict.fromkeys(cell.model for cell in report.cells if cell.outputs):
        rows = [one.shown() for one in outputs.rows([cell for cell in report.cells if cell.model == model], by_id)]
        if not rows:
            continue
        caption = f"{model}: {outputs.CAPTION}"
        table = fragment("table.html.j2", caption=caption, headers=outputs.HEADERS, rows=rows, kind="")
        shown.append(later.fold(f"{model}: {len(rows)} scores", table) if shown else table)
    return Markup("").join(shown)


def _targets(report: Report, later: Later) -> Markup:
    rows = targets.rows(report)
    if not rows:
        return Markup("")
    machines = [plain(one) for one in targets.machines(report)]
    listed = fragment("lines.html.j2", items=machines) if machines else Markup("")
    caption, headers = "What each cell does there", targets.headers(report)
    here = FIRST_ROWS if later.large else len(rows)
    shown = fragment("table.html.j2", caption=caption, headers=headers, rows=rows[:here], kind="")
    if rows[here:]:
        more = fragment("table.html.j2", caption=caption, headers=headers, rows=rows[here:], kind="")
        shown += later.fold(f"{len(rows) - here} more cells", more)
    return listed + shown + _lines(targets.words(report))


def _filters(report: Report) -> dict[str, list[str]]:
    verdicts = {cell.verdict for cell in report.cells}
    return {
        "model": sorted({cell.model for cell in report.cells}),
        "family": sorted({cell.family for cell in report.cells}),
        "verdict": [str(verdict) for verdict in reversed(Verdict) if verdict in verdicts],
    }


def _row(cell: Cell, by_id: dict[str, Cell]) -> Row:
    measured = cell.measurements
    numbers = [
        formatting.score(cell),
        formatting.drop(cell, by_id),
        _floor_left(cell),
        formatting.drift(cell),
        formatting.kib(measured.get("size")),
        formatting.smaller(cell, by_id),
        formatting.kib(measured.get("gzip_size")),
        f"{measured['memory_ratio'].value:.4f}" if "memory_ratio" in measured else "",
        formatting.instructions(cell),
        formatting.microseconds(cell),
        formatting.ratio(cell),
    ]
    return Row(
        id=cell.id,
        model=cell.model,
        variant=cell.variant,
        family=cell.family,
        verdict=cell.verdict,
        judged=formatting.verdict(cell),
        severity=list(Verdict).index(cell.verdict),
        why=cell.failure.reason if cell.failure else "",
        numbers=numbers,
    )


def _floor_left(cell: Cell) -> str:
    for judgement in cell.judgements:
        of_main = judgement.against == "floor" and judgement.measurement == "score"
        if of_main and judgement.tolerance is not None and judgement.change is not None:
            return f"{judgement.tolerance - judgement.change:.2f} of {judgement.tolerance:g} {cell.metric_unit}"
    return ""


def _charts(report: Report, by_id: dict[str, Cell], later: Later) -> Markup:
    if not report.cells:
        return _lines("No cells.")
    cells_of: dict[str, list[Cell]] = {}
    for cell in report.cells:
        cells_of.setdefault(cell.model, []).append(cell)
    models = list(cells_of)
    timed = any("latency" in cell.measurements for cell in report.cells)
    said = [
        "Each point is a cell; down and left is better. The drop is against the cell's float32 reference, on a "
        "logarithmic scale on both sides of zero."
    ]
    said += [] if timed else ["Latency was not measured in this run, so there is no chart of it."]
    parts = [_lines(*said)]
    for start in range(0, len(models), MODELS_AT_ONCE):
        some = models[start : start + MODELS_AT_ONCE]
        drawn = _charts_of({model: cells_of[model] for model in some}, by_id)
        summary = f"Models {start + 1} to {start + len(some)} of {len(models)}: {some[0]} to {some[-1]}"
        parts.append(later.fold(summary, drawn) if start else drawn)
    return Markup("").join(parts)


def _charts_of(cells_of: dict[str, list[Cell]], by_id: dict[str, Cell]) -> Markup:
    """Render all charts of some models."""
    return fragment(
        "charts.html.j2",
        heat=chart_data.heat([cell for cells in cells_of.values() for cell in cells], by_id),
        keys=LEGEND,
        families=plots.family_legend(),
        scatters=[scatter for model, cells in cells_of.items() for scatter in scatters(model, cells, by_id)],
        latencies=[plot for model, cells in cells_of.items() if (plot := latencies(model, cells))],
        marks=html_cells.latency_marks(),
    )


def scatters(model: str, cells: list[Cell], by_id: dict[str, Cell]) -> list[Scatter]:
    """Plot drop against size and against latency for one model, where there are at least two points."""
    drawn = [(axis, chart_data.points(axis, cells, by_id)) for axis in (SIZE, LATENCY)]
    return [_scatter(model, axis, points) for axis, points in drawn if len(points) > 1]


def _scatter(model: str, axis: Axis, points: list[Point]) -> Scatter:
    front = chart_data.front(points)
    plot = plots.scatter(f"{model}: drop vs float32 by {axis.what}", axis, points, front)
    return Scatter(plot, front, len(points), axis.unit)


def latencies(model: str, cells: list[Cell]) -> plots.Plot | None:
    """Plot one row per variant; None where fewer than two were timed."""
    rows = [row for cell in cells if (row := plots.latency_row(cell))]
    return plots.latencies(f"{model}: latency, one thread, batch 1", rows) if len(rows) > 1 else None


def _one_by_one(report: Report, by_id: dict[str, Cell], behind: Behind, later: Later) -> Markup:
    urgent = {cell for cell, *_ in formatting.attention(report)}
    ordered = sorted(report.cells, key=lambda cell: cell.id not in urgent)  # not every cell may fit
    whole = {cell.id for cell in ordered[:MOST_WHOLE]}
    shown = _pictures(ordered[:MOST_WHOLE], urgent, behind)
    here = {cell.id for cell in ordered[:MOST_LISTED]} if later.large else {cell.id for cell in ordered}
    parts = []
    for cell in report.cells:
        if cell.id in whole:
            inside = html_cells.details(cell, by_id, behind, shown.get(cell.id, []))
        else:
            inside = html_cells.brief(cell)
        if cell.id in here:
            parts.append(inside)
        else:
            later.cells[plain(cell.id)] = inside  # as the links to it name it
    said = (
        "Intervals: 95 %, by Student's t for repeated measurements and Wilson's method for shares of the examples. "
        "A positive change is worse."
    )
    if later.cells:
        said += f" {len(here)} of {len(report.cells)} cells are listed; the others appear when a link leads to them."
    if len(whole) < len(report.cells):
        left_out = len(report.cells) - len(whole)
        said += f" {left_out} cells are shown as an outline only, to keep the page small; report.json has everything."
    if behind.evidence and not any(behind.evidence.values()):
        said += " The run's folder has no evidence, so ranges and changed predictions are left out."
    if behind.left_out:
        said += f" Pictures of {behind.left_out} cells are left out, to keep the page small."
    if shown:
        said += f" Pictures: up to {OF_ATTENTION} where a cell needs attention, up to {OF_OTHERS} elsewhere."
    return fragment("one_by_one.html.j2", words=said, cells=parts)


def _pictures(cells: list[Cell], urgent: set[str], behind: Behind) -> dict[str, list[Picture]]:
    by_cell = {cell.id: behind.pictures(cell, OF_ATTENTION if cell.id in urgent else OF_OTHERS) for cell in cells}
    return {cell: pictures for cell, pictures in by_cell.items() if pictures}


def _exceptions(report: Report, later: Later) -> Markup:
    exceptions = formatting.exceptions(report)
    if not exceptions:
        return _lines("None.")
    return later.listing("exceptions.html.j2", exceptions, MOST_LISTED, "exceptions")


def _sensitivity(report: Report) -> Markup:
    return _lines(
        f"{formatting.budget(report)} Each cell lists the smallest change that would fail in four of five "
        f"runs.{formatting.of_limits(report)}"
    )


def _environment(report: Report) -> Markup:
    e = report.environment
    rows = {
        "CPU": f"{e.cpu} (ISA {e.isa}), {e.cores} cores, {e.memory_gib} GiB",
        "OS": e.os,
        "Python": e.python,
        **dict(sorted(e.packages.items())),
        "other packages": formatting.dependencies(e),
        **dict(formatting.commits(e)),
        "GPU": formatting.gpu_device(report),
        "other processes while timing": formatting.load(e.load) if e.load else "",
        "machine profile": e.machine_class,
        "machine profile (results)": e.results_class,
        **{f"data of {model}": f"sha256 {value[:16]}…" for model, value in sorted(report.data_sha256.items())},
    }
    shown = [(name, value) for name, value in rows.items() if value]
    headers = ["what", "value"]
    return fragment(
        "table.html.j2", caption="What the numbers depend on", headers=headers, rows=shown, kind="environment"
    )
