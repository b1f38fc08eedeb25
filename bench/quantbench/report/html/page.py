"""``report.html``: the whole run as one file that asks the network for nothing.

What regressed comes first, in the words of ``report.md``; then what changed, a table of all cells that sorts and
filters, charts, and every cell from the inside. Only sorting and filtering need its script, and what a page of many
cells keeps for later.
"""

from collections.abc import Mapping
from pathlib import Path

from quantbench import files
from quantbench.records import Cell, Judgement, Report, Verdict
from quantbench.reference.model import ReferenceModel
from quantbench.report import formatting
from quantbench.report.evidence import OF_ATTENTION, OF_OTHERS, Behind, Picture
from quantbench.report.html import cells as html_cells
from quantbench.report.html import charts, deferred, latency
from quantbench.report.html.deferred import FIRST_ROWS, Later
from quantbench.report.html.markup import frame, link, listing, page_file, section, step, table, text

HTML = "report.html"
MOST_LISTED = 50
MODELS_AT_ONCE = 24  # whose charts stand together; more are folded away
MOST_WHOLE = 2000  # cells that are shown from the inside; a browser takes long over more
UNMOVED = 1e-6  # a change below this is rounding of the report's own numbers
NOISY = 1 / 3  # of the tolerance: what is measured with noise and moved by less did not change
COLUMNS = [
    "model",
    "variant",
    "family",
    "verdict",
    "score",
    "drop from control",
    "floor left",
    "since first baseline",
    "size, KiB",
    "smaller",
    "gzip, KiB",
    "memory / float32",
    "latency, µs",
    "latency / float32",
]
PARTS = {
    "attention": "What needs attention",
    "changed": "What changed",
    "all": "All cells",
    "charts": "Charts",
    "one": "Cell by cell",
    "exceptions": "Exceptions",
    "seen": "What this run could have seen",
    "environment": "Environment",
}


def write(path: Path, report: Report, folder: Path, models: Mapping[str, ReferenceModel]) -> None:
    """Write the page of a run atomically, with what its folder holds besides the report."""
    page = render(report, Behind.of(folder, report, models))
    files.replace(path, page)  # which takes a name with half a surrogate pair, too


def render(report: Report, behind: Behind) -> str:
    """The whole page."""
    by_id = {cell.id: cell for cell in report.cells}
    later = Later(len(report.cells) > deferred.WHOLE_PAGE)
    content = {
        "attention": _attention(report, later),
        "changed": _changed(report, later),
        "all": _all_cells(report, by_id, later),
        "charts": _charts(report, by_id, later),
        "one": _one_by_one(report, by_id, behind, later),
        "exceptions": _exceptions(report, later),
        "seen": _sensitivity(report),
        "environment": _environment(report),
    }
    main = "\n".join(section(name, PARTS[name], content[name]) for name in PARTS)
    return _frame(report, main, later)


def _frame(report: Report, main: str, later: Later) -> str:
    links = "".join(f'<li><a href="#{name}">{text(title)}</a></li>' for name, title in PARTS.items())
    nav = f'<nav aria-label="Parts of the report"><ul>{links}</ul></nav>'
    title = f"{_status(report)}: quantbench {report.run}"
    return frame(title, _banner(report), main + later.script(), nav, page_file("page.js"))


def _status(report: Report) -> str:
    return formatting.STATUS_WORDS.get(report.exit_status, f"EXIT STATUS {report.exit_status}")


def _banner(report: Report) -> str:
    mark, kind = {0: ("✓", "green"), 1: ("✗", "red")}.get(report.exit_status, ("!", "amber"))
    counted = formatting.headline(report).removeprefix(_status(report)).strip()
    facts = [f"Run {report.run}, {report.seconds:.0f} s, {report.selection or 'everything selected'}."]
    if report.trained_from_scratch:
        facts.append("The float models were trained from scratch (--train), not loaded.")
    told = [formatting.unjudged_latency(report), formatting.gpu_note(report), *report.notes]
    facts += [f"Note: {note}." for note in told if note]
    lines = "".join(f"<p>{text(fact)}</p>" for fact in facts)
    return (
        f'<header class="{kind}"><h1>quantbench: <span aria-hidden="true">{mark}</span> {text(_status(report))}</h1>'
        f'<p class="counts">{text(counted.strip("()"))}</p>{lines}</header>'
    )


def _attention(report: Report, later: Later) -> str:
    items = []
    cells = {cell.id for cell in report.cells}
    for cell, verdict, messages, actions in formatting.attention(report):
        name = link(cell) if cell in cells else text(cell)
        said = text("; ".join(messages))
        steps = "".join(f"<li>{step(action)}</li>" for action in actions)
        items.append(
            f'<strong class="{verdict}">{text(formatting.MARKS[verdict])}</strong> {name}: {said}'
            + (f"<ul>{steps}</ul>" if steps else "")
        )
    return listing(items, MOST_LISTED, "cells need attention", later.fold) if items else "<p>Nothing.</p>"


def _moved(cell: Cell, one: Judgement) -> bool:
    """Whether a measurement is not what was accepted; of what repeats, only by more than a part of its noise.

    A pass without tolerance is bit for bit as it was, though its mean over fewer seeds may be another.
    """
    if one.against != "baseline" or one.change is None or abs(one.change) <= UNMOVED:
        return False
    if one.verdict is Verdict.PASS and one.tolerance == 0:
        return False
    found = cell.measurements.get(one.measurement)
    noisy = found is not None and found.spread is not None
    return not noisy or one.tolerance is None or abs(one.change) > NOISY * one.tolerance


def _changed(report: Report, later: Later) -> str:
    items = [
        f'<span class="{one.verdict}">{text(formatting.MARKS[one.verdict])}</span> {link(cell.id)}: {text(one.message)}'
        for cell in report.cells
        for one in cell.judgements
        if _moved(cell, one)
    ]
    note = "<p>Against the baseline; noise of less than a third of its tolerance is no change.</p>"
    return note + listing(items, MOST_LISTED, "changes", later.fold) if items else "<p>Nothing.</p>"


def _all_cells(report: Report, by_id: dict[str, Cell], later: Later) -> str:
    heads = "".join(
        f'<th scope="col" data-name="{text(name)}"><button type="button">{text(name)}</button>' for name in COLUMNS
    )
    rows = later.first_rows([_row(cell, by_id) for cell in report.cells])
    lacking = "Sorting and filtering need JavaScript; all else is here without."
    if later.large:
        lacking = f"Without JavaScript, this page holds {FIRST_ROWS} of {len(report.cells)} cells; report.md holds all."
    return (
        f"{_filters(report)}"
        '<div class="box tall" tabindex="0" role="region" aria-label="All cells, a table that scrolls">'
        f'<table class="cells" data-rows="{len(report.cells)}" data-first="{FIRST_ROWS}">'
        "<caption>A row a cell, that is a model and a variant. Press a heading to sort.</caption>"
        f"<thead><tr>{heads}<tbody>{rows}</table></div>"
        f'<p><button type="button" class="more" hidden>Show {FIRST_ROWS} more rows</button></p>'
        "<p>Score: of the whole test split, ± standard deviation over seeds. Latency: one thread, batch 1, ratio ± "
        "standard error. Since first baseline: drop of the score, growth of the file.</p>"
        f"<noscript><p>{lacking}</p></noscript>"
    )


def _filters(report: Report) -> str:
    verdicts = {cell.verdict for cell in report.cells}
    chosen: dict[str, list[str]] = {
        "model": sorted({cell.model for cell in report.cells}),
        "family": sorted({cell.family for cell in report.cells}),
        "verdict": [str(one) for one in reversed(Verdict) if one in verdicts],
    }
    selects = "".join(
        f'<label>{name} <select data-of="{name}"><option value="">all</option>'
        + "".join(f'<option value="{text(value)}">{text(value)}</option>' for value in values)
        + "</select></label>"
        for name, values in chosen.items()
    )
    return (
        '<div class="filters" role="search" aria-label="Filter the cells" hidden><label>text '
        f'<input type="search" placeholder="part of a name"></label>{selects}'
        '<button type="button" class="reset">Show all</button> <output aria-live="polite"></output></div>'
    )


def _row(cell: Cell, by_id: dict[str, Cell]) -> str:
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
        formatting.microseconds(cell),
        formatting.ratio(cell),
    ]
    severity = list(Verdict).index(cell.verdict)
    why = f' title="{text(cell.failure.reason)}"' if cell.failure else ""
    return (
        f'<tr data-model="{text(cell.model)}" data-family="{text(cell.family)}" data-verdict="{cell.verdict}">'
        f'<td>{text(cell.model)}<th scope="row">{link(cell.id, cell.variant)}<td>{text(cell.family)}'
        f'<td data-sort="{severity}" class="{cell.verdict}"{why}>{text(formatting.verdict(cell))}'
        + "".join(f"<td>{text(number)}" for number in numbers)
        + "\n"
    )


def _floor_left(cell: Cell) -> str:
    for one in cell.judgements:
        if one.against == "floor" and one.tolerance is not None and one.change is not None:
            return f"{one.tolerance - one.change:.2f} of {one.tolerance:g} {cell.metric_unit}"
    return ""


def _charts(report: Report, by_id: dict[str, Cell], later: Later) -> str:
    if not report.cells:
        return "<p>No cells.</p>"
    cells_of: dict[str, list[Cell]] = {}
    for cell in report.cells:
        cells_of.setdefault(cell.model, []).append(cell)
    models = list(cells_of)
    timed = any("latency" in cell.measurements for cell in report.cells)
    said = [
        "Each point is a cell; down and left is better. The drop is that from the cell's own control, drawn to a "
        "logarithmic scale on both sides of zero."
    ]
    said += [] if timed else ["Latency was not measured in this run, so there is no chart of it."]
    parts = ["".join(f"<p>{text(one)}</p>" for one in said)]
    for start in range(0, len(models), MODELS_AT_ONCE):
        some = models[start : start + MODELS_AT_ONCE]
        drawn = _charts_of({model: cells_of[model] for model in some}, by_id)
        told = f"Models {start + 1} to {start + len(some)} of {len(models)}: {some[0]} to {some[-1]}"
        parts.append(later.fold(told, drawn) if start else drawn)
    return "".join(parts)


def _charts_of(cells_of: dict[str, list[Cell]], by_id: dict[str, Cell]) -> str:
    """All charts of some models."""
    heat = charts.heat_map([cell for cells in cells_of.values() for cell in cells], by_id)
    scatters = "".join(charts.scatters(model, cells, by_id) for model, cells in cells_of.items())
    latencies = "".join(latency.of_model(model, cells) for model, cells in cells_of.items())
    parts = [f"<h3>Drop by variant and model</h3>{heat}"]
    parts.append(f'<h3>Drop against size and latency</h3>{charts.legend()}<div class="charts">{scatters}</div>')
    if latencies:
        told = f"<p>{latency.legend()}</p>"
        parts.append(f'<h3>Latency distributions</h3>{told}<div class="charts">{latencies}</div>')
    return "".join(parts)


def _one_by_one(report: Report, by_id: dict[str, Cell], behind: Behind, later: Later) -> str:
    urgent = {cell for cell, *_ in formatting.attention(report)}
    ordered = sorted(report.cells, key=lambda cell: cell.id not in urgent)  # the room for all is limited
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
            later.cells[cell.id] = inside
    said = (
        "Intervals: 95 %; of what repeats by Student's t, of a share of the examples by Wilson's method. Changes are "
        "positive where they are worse."
    )
    if later.cells:
        said += f" {len(here)} of {len(report.cells)} cells are listed; each other one comes where a link leads to it."
    if len(whole) < len(report.cells):
        left_out = len(report.cells) - len(whole)
        said += f" Of {left_out} cells only the outline is shown, to keep the page small; report.json has all of it."
    if behind.evidence and not any(behind.evidence.values()):
        said += " The run's folder holds no evidence, so ranges and flipped examples are left out."
    if behind.left_out:
        said += f" Pictures of {behind.left_out} cells are left out, to keep the page small."
    if shown:
        said += f" Pictures: up to {OF_ATTENTION} where a cell needs attention, up to {OF_OTHERS} elsewhere."
    return f"<p>{text(said)}</p>\n" + "\n".join(parts) + '<div class="added"></div>'


def _pictures(cells: list[Cell], urgent: set[str], behind: Behind) -> dict[str, list[Picture]]:
    found = {cell.id: behind.pictures(cell, OF_ATTENTION if cell.id in urgent else OF_OTHERS) for cell in cells}
    return {cell: pictures for cell, pictures in found.items() if pictures}


def _exceptions(report: Report, later: Later) -> str:
    items = [f"{link(cell)}: {text(sentence)}" for cell, sentence in formatting.exceptions(report)]
    return listing(items, MOST_LISTED, "exceptions", later.fold) if items else "<p>None.</p>"


def _sensitivity(report: Report) -> str:
    return (
        f"<p>{text(formatting.budget(report))} The smallest change that each judgement finds in four of five runs is "
        "in its cell.</p>"
    )


def _environment(report: Report) -> str:
    e = report.environment
    commit = "unknown" if e.git_commit is None else e.git_commit[:12] + (" with local changes" if e.git_dirty else "")
    rows = {
        "CPU": f"{e.cpu} (ISA {e.isa}), {e.cores} cores, {e.memory_gib} GiB",
        "OS": e.os,
        "Python": e.python,
        **dict(sorted(e.packages.items())),
        "commit": commit,
        "GPU": formatting.gpu_device(report),
        "others, while timing": formatting.load(e.load) if e.load else "",
        "machine class": e.machine_class,
        "results class": e.results_class,
        **{f"data of {model}": f"sha256 {value[:16]}…" for model, value in sorted(report.data_sha256.items())},
    }
    shown = [[text(name), text(value)] for name, value in rows.items() if value]
    return table("What the numbers depend on", ["what", "value"], shown, "environment")
