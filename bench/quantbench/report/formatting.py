"""Words and numbers that every report prints the same way."""

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from tabulate import tabulate

from quantbench.core.echo import line, plain
from quantbench.core.environment import with_threads
from quantbench.core.stats import trimmed_mean
from quantbench.records import Action, Cell, Census, Kind, Load, Measurement, Report, Verdict, worst
from quantbench.records.measurements import RATIO, threads_in
from quantbench.report.size_breakdown import Explained

MARKS = {
    Verdict.PASS: "✓ pass",
    Verdict.IMPROVED: "▲ improved",
    Verdict.CHANGED: "≠ changed",
    Verdict.UNJUDGED: "– unjudged",
    Verdict.UNSUPPORTED: "∅ unsupported",
    Verdict.XFAIL: "x xfail",
    Verdict.WARN: "! warn",
    Verdict.MISSING: "? missing",
    Verdict.ERROR: "✗ error",
    Verdict.REGRESSED: "✗ REGRESSED",
}
STATUS_WORDS = {
    0: "GREEN",
    1: "RED: regressed",
    2: "INTERRUPTED",
    3: "NOT MEASURED: an error, or a baseline is missing",
    6: "STOPPED: the disk is full",
}
NEEDS_ATTENTION = (Verdict.REGRESSED, Verdict.ERROR, Verdict.MISSING, Verdict.WARN, Verdict.CHANGED, Verdict.IMPROVED)


def headline(report: Report) -> str:
    """Status in one line, with the verdicts of each kind counted, the worst first."""
    parts = [f"{len(report.cells)} cells"]
    for kind in Kind:
        found = [cell.verdicts[kind] for cell in report.cells if kind in cell.verdicts]
        counts = {verdict: found.count(verdict) for verdict in reversed(Verdict)}
        if found:
            parts.append(f"{kind}: " + ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count))
    if report.state != "complete":
        parts.append(f"PARTIAL, the run is {report.state}")
    return f"{STATUS_WORDS.get(report.exit_status, report.exit_status)} ({'; '.join(parts)})"


def verdict(cell: Cell) -> str:
    """A cell's verdict; where it is only a measurement without a baseline, what was judged and what was not."""
    if cell.verdict is Verdict.UNSUPPORTED and cell.failure is None:
        return "∅ not what its name says, as declared"
    judged = {kind: found for kind, found in cell.verdicts.items() if found is not Verdict.UNJUDGED}
    if cell.verdict is not Verdict.UNJUDGED or not judged:
        return MARKS[cell.verdict]
    skipped = ", ".join(kind for kind in cell.verdicts if kind not in judged)
    return f"{MARKS[worst(list(judged.values()))]}, {skipped} unjudged"


def unjudged_latency(report: Report) -> str | None:
    """What to say where latencies were measured and not judged."""
    count = sum(cell.verdicts.get(Kind.LATENCY) is Verdict.UNJUDGED for cell in report.cells)
    if not count:
        return None
    unjudged = [j for cell in report.cells for j in cell.judgements if j.verdict is Verdict.UNJUDGED]
    threads = sorted({threads_in(j.measurement) for j in unjudged if j.kind is Kind.LATENCY})
    classes = ", ".join(with_threads(report.environment.machine_class, count) for count in threads)
    return f"latency is unjudged in {count} cells: no baseline for this machine class ({classes})"


class Marked(str):
    """Markdown: text that is escaped already, or meant as it is."""

    __slots__ = ()


# Code, tables, HTML, emphasis, links and pictures; entities; what GitHub makes a link without being asked; strokes.
_MARKUP = re.compile(r"[\\`|<*]|](?=[(\[:])|&(?=#?\w+;)|:(?=//)|(?<=www)\.|~(?=~)", re.IGNORECASE)
_AS_TEXT = {"<": "&lt;", "&": "&amp;", ":": ":\\"}
_BLOCK = re.compile(r"^\s*([#>]|[-+](?=\s)|[0-9]+(?=[.)]\s))")  # a heading, a quotation, or an item of a list
_MENTION = re.compile(r"(?<![\w`/])@\w[\w/-]*")  # of a person, who would get a message


def escape(text: str) -> Marked:
    """Text of other people's making as Markdown that shows it, one line, in a table or outside."""
    if isinstance(text, Marked):
        return text
    shown = _MARKUP.sub(lambda found: _AS_TEXT.get(found[0], f"\\{found[0]}"), line(text))
    shown = _BLOCK.sub(lambda found: f"{found[1]}\\" if found[1].isdigit() else f"\\{found[1]}", shown)
    return Marked(_MENTION.sub(lambda found: f"`{found[0]}`", shown))


def code(text: str) -> Marked:
    """Text of other people's making in code marks, which it cannot end."""
    shown = line(text)
    longest = max((len(found) for found in re.findall("`+", shown)), default=0)
    room = " " if longest else ""
    marks = "`" * (longest + 1)
    return Marked(f"{marks}{room}{shown}{room}{marks}")


def table(rows: Iterable[Sequence[object]], headers: Sequence[str]) -> Marked:
    """A table for GitHub; each cell is escaped unless it is Markdown already."""
    shown = [[_in_table(one) for one in row] for row in rows]
    heads = [_in_table(one) for one in headers]
    return Marked(tabulate(shown, headers=heads, tablefmt="github", disable_numparse=True))


def _in_table(one: object) -> str:
    """A pipe ends a cell in code too."""
    marked = escape(one if isinstance(one, str) else str(one))
    return re.sub(r"(?<!\\)\|", r"\|", marked)


def document(parts: Iterable[str]) -> str:
    """Parts of a Markdown document, a blank line between them; those that are empty are left out."""
    return plain("\n\n".join(part for part in parts if part)) + "\n"


def score(cell: Cell) -> str:
    """The score with its unit."""
    found = cell.measurements.get("score")
    if found is None:
        return ""
    text = f"{100 * found.value:.2f} %" if found.unit == "fraction" else f"{found.value:.5g} {found.unit}"
    if found.spread is not None:
        scale = 100 if found.unit == "fraction" else 1
        text += f" ± {scale * found.spread:.2f}"
    return text


def drop(cell: Cell, cells: dict[str, Cell]) -> str:
    """Drop from the float control of the same run."""
    control = cells.get(f"{cell.model}/{cell.control}")
    if control is None or "score" not in cell.measurements or "score" not in control.measurements:
        return ""
    for judgement in cell.judgements:
        if judgement.against == "floor" and judgement.change is not None:
            return f"{_signed(judgement.change)} {cell.metric_unit}"
    difference = control.measurements["score"].value - cell.measurements["score"].value
    worse = difference if cell.higher_is_better else -difference
    return f"{_signed(cell.metric_scale * worse)} {cell.metric_unit} (no floor)"


def _signed(change: float) -> str:
    """Two decimals; what rounds to nothing has no minus."""
    return f"{round(change, 2) + 0.0:+.2f}"


def floor_of(cell: Cell) -> str:
    """The largest drop that the floor allows, and how much of it is left."""
    for judgement in cell.judgements:
        if judgement.against == "floor" and judgement.tolerance is not None:
            left = "" if judgement.change is None else f", {judgement.tolerance - judgement.change:.2f} left"
            return f"{judgement.tolerance:g} {cell.metric_unit}{left}"
    return ""


def drift(cell: Cell) -> str:
    """What was lost and gained since the first accepted baseline, over all updates: drop of the score, growth."""
    if cell.drift is None:
        return ""
    score, size = cell.drift.score, cell.drift.size
    parts = [
        "" if score is None else f"{score:+.2f} {cell.metric_unit}",
        "" if size is None else f"{100 * size:+.1f} %",
    ]
    return ", ".join(part.replace("-0.00", "+0.00").replace("-0.0 ", "+0.0 ") for part in parts if part)


def exceptions(report: Report) -> list[tuple[str, str]]:
    """(cell, sentence) of every loosened tolerance, expected failure and overlay."""
    return [(cell.id, sentence) for cell in report.cells for sentence in cell.exceptions]


def kib(measurement: Measurement | None) -> str:
    """Bytes in KiB."""
    return "" if measurement is None else f"{measurement.value / 1024:,.1f}"


def microseconds(cell: Cell) -> str:
    """Typical latency on one thread: see :mod:`quantbench.measure.latency`."""
    found = cell.measurements.get("latency")
    return "" if found is None else f"{found.value:,.1f}"


def ratio(cell: Cell, name: str = RATIO) -> str:
    """Latency ratio with the standard error that its judge works with."""
    found = cell.measurements.get(name)
    if found is None or found.spread is None:
        return ""
    values = found.values or []
    error = trimmed_mean(values).error if len(values) > 1 else found.spread / found.n**0.5
    return f"{found.value:.3f} ± {error:.3f}"


def load(found: Load) -> str:
    """What others did while the run timed."""
    average = "" if found.average is None else f", load average {found.average:.1f}"
    return f"{100 * found.others:.0f} % of all cores' time{average}"


def smaller(cell: Cell, cells: dict[str, Cell]) -> str:
    """How many times smaller than float32."""
    control = cells.get(f"{cell.model}/float32")
    if control is None or "size" not in cell.measurements or "size" not in control.measurements:
        return ""
    return f"{control.measurements['size'].value / cell.measurements['size'].value:.2f}×"


def behaviour(cell: Cell) -> list[str]:
    """Agreements in percent and errors of the outputs, as the report's table shows them; empty where not measured."""

    def shown(name: str, style: str, factor: float = 1.0) -> str:
        found = cell.measurements.get(name)
        return "" if found is None else style.format(factor * found.value)

    return [
        shown("agreement", "{:.2f} %", 100),
        shown("output_error_mean", "{:.2g}"),
        shown("output_error_worst", "{:.2g}"),
        shown("output_snr", "{:.1f}"),
        shown("output_kl", "{:.2g}"),
        shown("reference_agreement", "{:.1f} %", 100),
        shown("builtin_agreement", "{:.1f} %", 100),
        shown("conversion_agreement", "{:.2f} %", 100),
    ]


def memory(cell: Cell) -> list[str]:
    """Arena, peaks and start-up, as the report's table shows them; empty where not measured."""

    def shown(name: str, style: str, factor: float = 1.0) -> str:
        found = cell.measurements.get(name)
        if found is None:
            return ""
        text = style.format(factor * found.value)
        return text if found.spread is None else f"{text} ± {style.format(factor * found.spread)}"

    return [
        shown("arena", "{:,.1f}", 2**-10),
        shown("peak_memory", "{:,.0f}", 2**-10),
        shown("memory_ratio", "{:.4f}"),
        shown("model_memory", "{:,.0f}", 2**-10),
        shown("peak_resident", "{:,.0f}", 2**-10),
        shown("start_up_cold", "{:.2f}"),
        shown("start_up_warm", "{:.2f}"),
    ]


def gpu(cell: Cell) -> list[str]:
    """Agreement, examples, time, ratio and operators left to the CPU, as the report's table shows them."""
    found = cell.measurements
    agreement, left = found.get("gpu_agreement"), found.get("gpu_left")

    def over_processes(name: str, style: str) -> str:
        measured = found.get(name)
        return "" if measured is None else f"{style.format(measured.value)} ± {style.format(measured.spread or 0)}"

    return [
        "" if agreement is None else f"{100 * agreement.value:.2f} %",
        "" if agreement is None else str(agreement.n),
        over_processes("gpu_time", "{:.2f}"),
        over_processes("gpu_ratio", "{:.2f}"),
        "" if agreement is None else "0" if left is None else f"{left.value:.0f} of {left.n}",
    ]


def not_on_gpu(cell: Cell) -> str:
    """Why a cell has no result on the GPU, or which operators were left to the CPU; empty where all of it ran there."""
    reasons = [j.message for j in cell.judgements if j.kind is Kind.GPU and j.value is None]
    if reasons:
        return reasons[0]
    counts = Counter(left.operator for left in cell.gpu_left)
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())


def gpu_device(report: Report) -> str:
    """The GPU that was measured, or why none was."""
    gpu, no_gpu = report.environment.gpu, report.environment.no_gpu
    return gpu.label if gpu else f"none measured: {no_gpu}" if no_gpu else "none measured"


def gpu_note(report: Report) -> str | None:
    """What to say of the GPU where one was looked for."""
    gpu = report.environment.gpu
    if gpu is None:
        return f"nothing was measured on a GPU: {report.environment.no_gpu}" if report.environment.no_gpu else None
    if not gpu.software:
        return f"GPU: {gpu.label}"
    return f"GPU: {gpu.label}, a software device: its answers are judged, its times say nothing of a GPU"


def weights(census: Census) -> str:
    """Weight tensors by dtype and granularity: ``10 int8 per-channel``."""
    counts = Counter(f"{one.weights} {one.granularity}" for one in census.compute if one.weights)
    return ", ".join(f"{count} {what.removesuffix(' float')}" for what, count in counts.most_common())


def computing(census: Census) -> str:
    """Compute operators by precision; an LSTM counts once for each of its matrices."""
    counts = Counter(one.precision for one in census.compute)
    return ", ".join(f"{count} {precision}" for precision, count in counts.most_common())


def left_in_float(census: Census) -> str:
    """Operators that compute in float, the most frequent first."""
    counts = {name: by.get("float", 0) for name, by in census.operators.items()}
    found = sorted(((count, name) for name, count in counts.items() if count), key=lambda pair: (-pair[0], pair[1]))
    shown = [f"{count} {name}" for count, name in found[:4]]
    return ", ".join(shown) + (f" and {len(found) - 4} more kinds" if len(found) > 4 else "")


def difference(found: Explained) -> str:
    """Actual size minus the predicted one, part by part, in KiB."""
    parts = {
        "scales": found.scales,
        "weights of another width": found.wider,
        "other constants": found.constants,
        "graph": found.graph,
    }
    shown = [f"{what} {value / 1024:+.1f}" for what, value in parts.items() if abs(value) >= 52]
    return ", ".join(shown)


def step(action: Action) -> str:
    """An action in one line: ``accept: COMMAND``."""
    return f"{action.what}: {shlex.join(action.command)}" if action.command else action.what


def attention(report: Report) -> list[tuple[str, Verdict, list[str], list[Action]]]:
    """(cell, its verdict, messages, actions) of every cell that needs attention, the worst first.

    Messages of one cell mostly share their actions, so they come together.
    """
    found = []
    for cell in report.cells:
        judged = [j for j in cell.judgements if j.verdict in NEEDS_ATTENTION]
        if judged:
            judged.sort(key=lambda judgement: NEEDS_ATTENTION.index(judgement.verdict))
            # A cell that could not be computed is told alike by every judge; once is enough.
            messages = list(dict.fromkeys(j.message for j in judged))
            actions = {step(action): action for j in judged for action in j.actions}
            found.append((cell.id, judged[0].verdict, messages, list(actions.values())))
    found.sort(key=lambda entry: NEEDS_ATTENTION.index(entry[1]))
    return found


def accept_everything(report: Report, folder: Path) -> str | None:
    """The one command where every cell lacks a baseline."""
    if report.cells and all(cell.verdict is Verdict.MISSING for cell in report.cells):
        return f'to record them all: quantbench baseline update {folder} --reason "first baseline"'
    return None
