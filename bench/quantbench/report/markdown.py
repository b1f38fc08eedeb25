"""Render ``report.md``: regressions first, then one table per model, then the environment."""

import shlex
from collections.abc import Mapping, Sequence

from quantbench.records import Action, Cell, Device, Kind, Report, Verdict
from quantbench.records.measurements import output_in, threads_in
from quantbench.report import advice, built, formatting, instructions, latency, micro, outputs, reds, targets
from quantbench.report.charts import FOLDER, Chart
from quantbench.report.size_breakdown import explain

TOP, ATTENTION, DETAILS, EXCEPTIONS = "what it is", "what needs attention", "details", "exceptions"
CHARTS, TARGETS = "charts", "targets"
DROP = "against the float32 reference; for what trains, that is float32 trained equally long."
OF_MODEL = "tables of "  # followed by its name
SEEN, ENVIRONMENT = "sensitivity", "environment"
HEADERS = [
    "variant",
    "verdict",
    "score",
    "drop vs float32",
    "release limit",
    "since the first baseline",
    "size, KiB",
    "gzip, KiB",
    "smaller",
    "latency, µs",
    "ratio to float32",
]


def render(report: Report, charts: Sequence[Chart] = ()) -> str:
    """Render the whole report as GitHub Markdown.

    Args:
        charts: the pictures beside it.
    """
    return formatting.document(parts(report, charts).values())


def parts(report: Report, charts: Sequence[Chart] = ()) -> dict[str, str]:
    """Render the report's parts in their order, by name."""
    gpus = report.environment.gpus
    models = sorted({cell.model for cell in report.cells})
    sections = (
        _of_try(report)
        if _without_gate(report)
        else {
            TOP: f"# quantbench: {formatting.headline(report)}\n\n{_facts(report)}",
            ATTENTION: _attention(report),
            DETAILS: _details(report),
            EXCEPTIONS: _exceptions(report),
            CHARTS: _charts(charts),
        }
    )
    for model in models:
        cells = [cell for cell in report.cells if cell.model == model]
        sections[f"{OF_MODEL}{model}"] = _model_table(model, cells, gpus, not _without_gate(report))
    sections[TARGETS] = targets.markdown(report)
    sections |= {SEEN: "" if _without_gate(report) else _sensitivity(report), ENVIRONMENT: _environment(report)}
    return {name: text for name, text in sections.items() if text}


def _without_gate(report: Report) -> bool:
    """Check whether it is of a run of ``try`` or ``judge``, which have no baselines."""
    return report.advice is not None or report.built is not None


def _of_try(report: Report) -> dict[str, str]:
    """Render what stands in place of verdicts in a run of ``try`` or ``judge``."""
    top = built.markdown(report.built) if report.built is not None else ""
    top = advice.markdown(report.advice) if report.advice is not None else top
    notes = [f"- Note: {formatting.escape(note)}" for note in report.notes]
    return {TOP: "\n\n".join([top, *(["## Notes\n\n" + "\n".join(notes)] if notes else [])])}


def _facts(report: Report) -> str:
    selection = formatting.escape(report.selection or "everything selected")
    lines = [f"Run {formatting.code(report.run)}, {report.seconds:.0f} s, {selection}."]
    if report.trained_from_scratch:
        lines.append("The float models were trained from scratch (`--train`), not loaded.")
    unjudged = formatting.unjudged_latency(report)
    if unjudged:
        lines.append(f"Note: {formatting.escape(unjudged)}.")
    on_gpu = formatting.gpu_note(report)
    if on_gpu:
        lines.append(f"Note: {formatting.escape(on_gpu)}.")
    lines += [f"Note: {formatting.escape(note)}" for note in report.notes]
    within = formatting.within_tolerance(report)
    if within:
        lines.append(f"{formatting.told_within_tolerance(within)}; `report.html` lists them.")
    return "\n".join(f"- {line}" for line in lines)


def _attention(report: Report) -> str:
    entries = reds.entries(report)
    if not entries:
        return ""
    listed = [text for one in entries for text in _entry(one.name, one.verdict, one.lines, one.actions)]
    return "\n".join(["## What needs attention", "", *listed])


def _entry(name: str, verdict: Verdict, messages: Sequence[str], actions: Sequence[Action]) -> list[str]:
    first, *others = messages or [""]
    return [
        f"- **{formatting.MARKS[verdict]}** {formatting.escape(f'{name}: {first}')}",
        *(f"  - {formatting.escape(message)}" for message in others),
        *(f"  - → {_step(action)}" for action in actions),
    ]


def _details(report: Report) -> str:
    """Render what is behind the groups of red cells: what changed for each, and every cell's own sentences, folded."""
    cells = reds.details(report)
    if not cells:
        return ""
    changes = [
        f"- {formatting.escape(f'{reds.who(group)}: {told}')}" for group in report.reds for told in reds.facts(group)
    ]
    listed = [text for each in cells for text in _entry(*each)]
    changed = ["Changed since it was green, or since the values were accepted:", "", *changes, ""] if changes else []
    folded = f"<details><summary>{reds.folded(report)}</summary>"
    return "\n".join(["## Details", "", folded, "", *changed, *listed, "", "</details>"])


def _exceptions(report: Report) -> str:
    entries = formatting.exceptions(report)
    lines = [f"- {formatting.code(cell)}: {formatting.escape(sentence)}" for cell, sentence in entries]
    return "\n".join(["## Exceptions", "", *lines]) if entries else ""


def _charts(charts: Sequence[Chart]) -> str:
    """Render each picture with its numbers in words, for terminals and screen readers."""
    parts = ["## Charts"] if charts else []
    for chart in charts:
        title = formatting.escape(chart.title)
        parts += [f"![{title}]({FOLDER}/{chart.file})", f"{title}:" if len(chart.description) > 1 else ""]
        parts.append(
            "\n".join(f"- {line}" for line in chart.description) if len(chart.description) > 1 else chart.description[0]
        )
    return "\n\n".join(part for part in parts if part)


def _step(action: Action) -> str:
    """Format ``accept: COMMAND`` with the command in code marks."""
    if action.command:
        return f"{formatting.escape(action.what)}: {formatting.code(shlex.join(action.command))}"
    return formatting.escape(action.what)


def _model_table(model: str, cells: list[Cell], gpus: Mapping[str, Device], judged: bool) -> str:
    """Render the tables of a model.

    Args:
        judged: whether by a gate; the advice of ``try`` has a table of its own in place of verdicts.
    """
    by_id = {cell.id: cell for cell in cells}
    rows = [_row(cell, by_id) for cell in cells]
    table = formatting.table(rows, HEADERS)
    metric = f"Score: {formatting.escape(cells[0].metric)} on the whole test split. Drop: {DROP}"
    if any(formatting.drift(cell) for cell in cells):
        metric += " Since the first baseline: drop of the score, growth of the file."
    brought = [cell.variant for cell in cells if not cell.selected]
    note = f" {', '.join(brought)} was added as the reference." if brought else ""
    scores = f"## {formatting.escape(model)}\n\n{table}\n\n{metric} Latency: lower quartile, 1 thread, batch 1.{note}"
    scores = scores + outputs.section(cells, by_id) if judged else f"## {formatting.escape(model)}"
    tables = (_behaviour_table(cells), _contents_table(cells, by_id), _memory_table(cells))
    more = (
        *tables,
        instructions.section(cells),
        latency.section(cells),
        micro.section(cells),
        *(_gpu_table(cells, name, device) for name, device in gpus.items()),
    )
    return scores + "".join(more)


BEHAVIOUR = [
    "variant",
    "agrees with float32 reference",
    "mean error",
    "worst error",
    "SNR, dB",
    "KL, nats",
    "agrees with reference kernels",
    "agrees with builtin kernels",
    "agrees with the model before conversion",
]


def _behaviour_table(cells: list[Cell]) -> str:
    rows = [
        [formatting.code(cell.variant), *formatting.fidelity(cell)] for cell in cells if any(formatting.fidelity(cell))
    ]
    if not rows:
        return ""
    table = formatting.table(rows, BEHAVIOUR)
    return (
        f"\n\n### Behaviour\n\n{table}\n\nErrors compare the outputs with the reference's on the first examples. "
        "Changed predictions and the range of every tensor: `evidence/` beside this report, or `quantbench inspect`."
    )


CONTENTS = ["variant", "weights", "compute operators", "left in float", "expected KiB", "KiB", "difference"]


def _contents_table(cells: list[Cell], by_id: dict[str, Cell]) -> str:
    rows = [_contents(cell, by_id) for cell in cells if cell.census is not None]
    if not rows:
        return ""
    table = formatting.table(rows, CONTENTS)
    return (
        f"\n\n### Contents\n\n{table}\n\nExpected: the float32 size with every weight as wide as most "
        "weights of this file."
    )


MEMORY = [
    "variant",
    "arena, KiB",
    "peak, KiB",
    "peak / float32",
    "model share, KiB",
    "peak with file pages, KiB",
    "start-up cold, ms",
    "start-up warm, ms",
]


def _memory_table(cells: list[Cell]) -> str:
    rows = [[formatting.code(cell.variant), *formatting.memory(cell)] for cell in cells if any(formatting.memory(cell))]
    if not rows:
        return ""
    table = formatting.table(rows, MEMORY)
    return (
        f"\n\n### Memory and start-up\n\n{table}\n\nArena: memory the runtime plans for all non-constant tensors. "
        "Peak: a whole fresh process, Python included, excluding file-backed pages; model share: peak minus an empty "
        "interpreter. Start-up: from nothing loaded to the first result, timed with latency; cold: the first in a "
        "process, after the file was dropped from the page cache. ±: standard deviation over fresh processes."
    )


GPU = [
    "variant",
    "agrees with litert-cpu",
    "examples",
    "time with read-back, ms",
    "ratio to float32 there",
    "operators left to the CPU",
    "of the multiplications",
    "details",
]


def _gpu_table(cells: list[Cell], name: str, device: Device) -> str:
    judged = [cell for cell in cells if Kind.GPU in cell.verdicts and cell.failure is None]
    if not judged:
        return ""
    rows = [
        [formatting.code(cell.variant), *formatting.gpu(cell, name), formatting.not_on_gpu(cell, name)]
        for cell in judged
    ]
    table = formatting.table(rows, GPU)
    software = " This software device computes on the CPU, so its times say nothing about a GPU." * device.software
    return (
        f"\n\n### Accelerator: {formatting.escape(device.label)}\n\n{table}\n\nBatch 1, from the call until the "
        "outputs are read back, median of a process; ±: standard deviation over fresh processes. Times are shown, not "
        "gated."
        f"{software}"
    )


def _contents(cell: Cell, by_id: dict[str, Cell]) -> list[str]:
    assert cell.census is not None
    explained = explain(cell, by_id.get(f"{cell.model}/float32"))
    sizes = ["", "", ""]
    if explained is not None:
        sizes = [
            f"{explained.predicted / 1024:,.1f}",
            f"{explained.actual / 1024:,.1f}",
            formatting.difference(explained),
        ]
    return [
        formatting.code(cell.variant),
        formatting.weights(cell.census),
        formatting.computing(cell.census),
        formatting.left_in_float(cell.census),
        *sizes,
    ]


def _row(cell: Cell, cells: dict[str, Cell]) -> list[str]:
    verdict = formatting.verdict(cell)
    if cell.failure is not None:
        verdict += f": {cell.failure.reason[:80]}"
    return [
        formatting.code(cell.variant),
        verdict,
        formatting.score(cell),
        _drop(cell, cells),
        formatting.floor_of(cell),
        formatting.drift(cell),
        formatting.kib(cell.measurements.get("size")),
        formatting.kib(cell.measurements.get("gzip_size")),
        formatting.smaller(cell, cells),
        formatting.microseconds(cell),
        formatting.ratio(cell),
    ]


def _drop(cell: Cell, cells: dict[str, Cell]) -> str:
    shown = formatting.drop(cell, cells)
    return f"{shown} (no limit)" if shown and not formatting.has_limit(cell) else shown


def _sensitivity(report: Report) -> str:
    alike: dict[tuple[str, str, str, str], list[str]] = {}
    for cell in report.cells:
        stored = ("baseline", "accepted artifact")
        judged = [j for j in cell.judgements if j.against in stored and threads_in(j.measurement) == 1]
        judged = [j for j in judged if not output_in(j.measurement)]
        seen = {j.kind: j.detectable for j in judged if j.detectable is not None}
        churn = {j.kind: f"{j.churn:,}" for j in judged if j.churn is not None}
        if seen:
            accuracy, slowdown = seen.get(Kind.ACCURACY), seen.get(Kind.LATENCY)
            row = (
                cell.model,
                "" if accuracy is None else f"{accuracy:.2f} {cell.metric_unit}",
                churn.get(Kind.ACCURACY, ""),
                "" if slowdown is None else f"{100 * slowdown:.1f} %",
            )
            alike.setdefault(row, []).append(cell.id)
    rows = [[_and_more(ids), *row[1:]] for row, ids in alike.items()]
    head = (
        f"## Sensitivity\n\n{formatting.budget(report)} A drop of the size below is found in four of five runs, if as "
        "many other predictions as stated flip each way."
        f"{formatting.of_limits(report)}"
    )
    table = formatting.table(rows, ["cell", "smallest drop", "flips each way", "smallest slowdown"])
    return f"{head}\n\n{table}" if rows else head


def _and_more(ids: list[str]) -> str:
    """Name the first of some cells, and how many there are besides."""
    more = len(ids) - 1
    return f"{ids[0]} and {more} more of the model" if more else formatting.code(ids[0])


def _environment(report: Report) -> str:
    e = report.environment
    rows = [
        ["CPU", f"{e.cpu} (ISA {e.isa}), {e.cores} cores, {e.memory_gib} GiB"],
        ["OS", e.os],
        ["Python", e.python],
        *[[name, version] for name, version in sorted(e.packages.items())],
        *([["other packages", formatting.dependencies(e)]] if e.dependencies else []),
        *[list(one) for one in formatting.commits(e)],
        ["GPU", formatting.gpu_device(report)],
        ["machine profile", formatting.code(e.machine_class)],
        *([["machine profile (results)", formatting.code(e.results_class)]] if e.results_class else []),
        *([["other processes while timing", formatting.load(e.load)]] if e.load else []),
    ]
    return "## Environment\n\n" + formatting.table(rows, ["what", "value"])
