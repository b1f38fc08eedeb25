"""Format words and numbers in the same way for every report."""

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from quantbench.core.echo import line, plain
from quantbench.core.environment import with_threads
from quantbench.core.stats import trimmed_mean
from quantbench.gate import lacking_words
from quantbench.records import (
    ELSEWHERE,
    Action,
    Cell,
    Census,
    Environment,
    Judgement,
    Kind,
    Load,
    Measurement,
    Report,
    Verdict,
    worst,
)
from quantbench.records.measurements import INSTRUCTIONS, RATIO, of_output, output_in, threads_in, without_output
from quantbench.report import attribution, operator_times
from quantbench.report.size_breakdown import Explained

MARKS = {
    Verdict.PASS: "✓ pass",
    Verdict.IMPROVED: "▲ improved",
    Verdict.CHANGED: "≠ changed",
    Verdict.UNJUDGED: f"– {Verdict.UNJUDGED.shown}",
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
ADVICE_WORDS = "ADVICE: ship"
NEEDS_ATTENTION = (Verdict.REGRESSED, Verdict.ERROR, Verdict.MISSING, Verdict.WARN, Verdict.CHANGED, Verdict.IMPROVED)


def headline(report: Report) -> str:
    """Summarize the status in one line, with counts of each kind's verdicts, the worst first; of advice, the choice."""
    if report.advice is not None:
        choice = report.advice.choice
        return f"{ADVICE_WORDS} {choice}" if choice else f"{STATUS_WORDS[3].partition(':')[0]}: nothing to recommend"
    if report.built is not None:
        found = [one.verdict for one in report.built.files]
        words = ", ".join(f"{found.count(verdict)} {verdict}" for verdict in ("beyond", "undecided", "within"))
        return f"{STATUS_WORDS.get(report.exit_status, report.exit_status)} (files: {words})"
    parts = [f"{len(report.cells)} cells"]
    for kind in Kind:
        verdicts = [cell.verdicts[kind] for cell in report.cells if kind in cell.verdicts]
        counts = {verdict: verdicts.count(verdict) for verdict in reversed(Verdict)}
        if verdicts:
            parts.append(f"{kind}: {_counted(counts)}")
    together = [pooled.judgement.verdict for pooled in report.pooled]
    if together:
        counts = {verdict: together.count(verdict) for verdict in reversed(Verdict)}
        parts.append(f"cells together: {_counted(counts)}")
    if report.state != "complete":
        parts.append(f"PARTIAL, the run is {report.state}")
    return f"{STATUS_WORDS.get(report.exit_status, report.exit_status)} ({'; '.join(parts)})"


def _counted(counts: Mapping[Verdict, int]) -> str:
    return ", ".join(f"{count} {verdict.shown}" for verdict, count in counts.items() if count)


def verdict(cell: Cell) -> str:
    """Format a cell's verdict, with the parts that have no baseline and those that are known not to run elsewhere."""
    limited = [kind for kind in ELSEWHERE if cell.verdicts.get(kind) is Verdict.UNSUPPORTED]
    if cell.failure is not None or not limited:
        return _of_own_parts(cell, cell.verdicts)
    known = f"{', '.join(limited)} {Verdict.UNSUPPORTED.shown} (known limitation)"
    own = {kind: outcome for kind, outcome in cell.verdicts.items() if kind not in limited}
    return f"{_of_own_parts(cell, own)}, {known}" if own else f"∅ {known}"


def _of_own_parts(cell: Cell, verdicts: Mapping[Kind, Verdict]) -> str:
    if cell.verdict is Verdict.UNSUPPORTED and cell.failure is None:
        return "∅ not quantized as specified (known limitation)"
    judged: list[Verdict] = [outcome for outcome in verdicts.values() if outcome is not Verdict.UNJUDGED]
    if cell.verdict is not Verdict.UNJUDGED or not judged:
        return MARKS[cell.verdict]
    skipped = ", ".join(kind for kind, outcome in verdicts.items() if outcome is Verdict.UNJUDGED)
    return f"{MARKS[worst(judged)]}, {skipped} {Verdict.UNJUDGED.shown}"


def unjudged_latency(report: Report) -> str | None:
    """Return the note on latencies that were measured and not judged; None where there are none."""
    count = sum(cell.verdicts.get(Kind.LATENCY) is Verdict.UNJUDGED for cell in report.cells)
    if not count:
        return None
    unjudged = [j for cell in report.cells for j in cell.judgements if j.verdict is Verdict.UNJUDGED]
    threads = sorted({threads_in(j.measurement) for j in unjudged if j.kind is Kind.LATENCY})
    classes = ", ".join(with_threads(report.environment.machine_class, count) for count in threads)
    lacking = Counter(lacking_words(j.turns) for j in unjudged if j.turns is not None)
    why = "".join(f"; {number} not timed in turns: {words}" for words, number in lacking.items())
    return f"latency is not gated in {count} cells: no baseline for this machine profile ({classes}){why}"


class Marked(str):
    """Mark text as Markdown that is escaped already, or meant as it is."""

    __slots__ = ()


# Code, tables, HTML, emphasis, links and pictures, entities, GitHub's automatic links, and strikethrough.
_MARKUP = re.compile(r"[\\`|<*]|](?=[(\[:])|&(?=#?\w+;)|:(?=//)|(?<=www)\.|~(?=~)", re.IGNORECASE)
_AS_TEXT = {"<": "&lt;", "&": "&amp;", ":": ":\\"}
_BLOCK = re.compile(r"^\s*([#>]|[-+](?=\s)|[0-9]+(?=[.)]\s))")  # a heading, a quotation, or an item of a list
_MENTION = re.compile(r"(?<![\w`/])@\w[\w/-]*")  # of a GitHub user, who would be notified


def escape(text: str) -> Marked:
    """Escape untrusted text as one line of Markdown that displays it literally, in a table or outside."""
    return text if isinstance(text, Marked) else _escaped(text)


@lru_cache(maxsize=4096)  # the cells of a table say the same again and again
def _escaped(text: str) -> Marked:
    shown = _MARKUP.sub(lambda match: _AS_TEXT.get(match[0], f"\\{match[0]}"), line(text))
    shown = _BLOCK.sub(lambda match: f"{match[1]}\\" if match[1].isdigit() else f"\\{match[1]}", shown)
    return Marked(_MENTION.sub(lambda match: f"`{match[0]}`", shown))


def code(text: str) -> Marked:
    """Put untrusted text into code marks that it cannot close."""
    shown = line(text)
    longest = max((len(backticks) for backticks in re.findall("`+", shown)), default=0)
    room = " " if longest else ""
    marks = "`" * (longest + 1)
    return Marked(f"{marks}{room}{shown}{room}{marks}")


def table(rows: Iterable[Sequence[object]], headers: Sequence[str]) -> Marked:
    """Format a table for GitHub; each cell is escaped unless it is Markdown already.

    As tabulate does it, which looks for numbers, colours and line breaks in each cell in ten times the time.
    """
    heads, *shown = [[_in_table(value).strip() for value in row] for row in (headers, *rows)]
    columns = list(zip(*shown, strict=True)) or [()] * len(heads)
    widths = [max([len(head) + 2, *map(len, column)]) for head, column in zip(heads, columns, strict=True)]
    rule = "|".join("-" * (width + 2) for width in widths)
    lines = ["".join(f"| {text:<{width}} " for text, width in zip(row, widths, strict=True)) for row in (heads, *shown)]
    return Marked("\n".join([f"{lines[0]}|", f"|{rule}|", *(f"{row}|" for row in lines[1:])]))


def _in_table(value: object) -> str:
    """Format a table cell; a pipe would end the cell even in code, so it is escaped."""
    marked = escape(value if isinstance(value, str) else str(value))
    return re.sub(r"(?<!\\)\|", r"\|", marked) if "|" in marked else marked


def document(parts: Iterable[str]) -> str:
    """Join the parts of a Markdown document with blank lines; empty ones are left out."""
    return plain("\n\n".join(part for part in parts if part)) + "\n"


def score(cell: Cell) -> str:
    """Format the score with its unit."""
    measured = cell.measurements.get("score")
    if measured is None:
        return ""
    text = f"{100 * measured.value:.2f} %" if measured.unit == "fraction" else f"{measured.value:.5g} {measured.unit}"
    if measured.spread is not None:
        scale = 100 if measured.unit == "fraction" else 1
        text += f" ± {scale * measured.spread:.2f}"
    return text


def drop_from_control(cell: Cell, cells: dict[str, Cell]) -> float | None:
    """Return the drop from the float control of the same run, in the metric's unit; as the floor judged it, if so."""
    control = cells.get(f"{cell.model}/{cell.control}")
    if control is None or "score" not in cell.measurements or "score" not in control.measurements:
        return None
    judged = _floor_drop(cell)
    if judged is not None:
        return judged
    difference = control.measurements["score"].value - cell.measurements["score"].value
    return cell.metric_scale * (difference if cell.higher_is_better else -difference)


def _floor_drop(cell: Cell) -> float | None:
    of_main = (j for j in cell.judgements if j.against == "floor" and j.measurement == "score")
    return next((judged.change for judged in of_main if judged.change is not None), None)


def drop(cell: Cell, cells: dict[str, Cell]) -> str:
    """Format the drop from the control for tables."""
    change = drop_from_control(cell, cells)
    if change is None:
        return ""
    return f"{_signed(change)} {cell.metric_unit}"


def has_limit(cell: Cell) -> bool:
    """Whether the drop of a cell was judged against a release limit."""
    return _floor_drop(cell) is not None


def _signed(change: float) -> str:
    """Format a signed number with two decimals; one that rounds to zero has no minus."""
    return f"{round(change, 2) + 0.0:+.2f}"


def floor_of(cell: Cell) -> str:
    """Format the release limit, the largest drop that is allowed, and how much of it is left."""
    for judgement in cell.judgements:
        if judgement.against == "floor" and judgement.measurement == "score" and judgement.tolerance is not None:
            left = "" if judgement.change is None else f" ({left_of(judgement.tolerance, judgement.change)})"
            return f"{judgement.tolerance:g} {cell.metric_unit}{left}"
    return ""


def left_of(limit: float, drop: float) -> str:
    """Say how much of a release limit a drop leaves: ``0.36 left`` or ``exceeded by 0.92``."""
    left = limit - drop
    return f"{left:.2f} left" if left >= 0 else f"exceeded by {-left:.2f}"


def of_limits(report: Report) -> str:
    """The budget of the drops from the control, where the limits were judged by an interval."""
    limits = report.false_alarms.limits
    return "" if limits is None else f" The other {100 * limits:g} % is for drops beyond a release limit."


def drift(cell: Cell) -> str:
    """Format the change since the first accepted baseline, over all updates: drop of the score, growth."""
    if cell.drift is None:
        return ""
    score, size = cell.drift.score, cell.drift.size
    parts = [
        "" if score is None else f"{score:+.2f} {cell.metric_unit}",
        "" if size is None else f"{100 * size:+.1f} %",
    ]
    others = {"latency": cell.drift.latency, "memory": cell.drift.memory, "arena": cell.drift.arena}
    parts += [f"{name} {100 * grown:+.1f} %" for name, grown in others.items() if grown and abs(grown) >= 0.005]
    return ", ".join(part.replace("-0.00", "+0.00").replace("-0.0 ", "+0.0 ") for part in parts if part)


def exceptions(report: Report) -> list[tuple[str, str]]:
    """List (cell, sentence) for every loosened tolerance, expected failure and overlay."""
    return [(cell.id, sentence) for cell in report.cells for sentence in cell.exceptions]


def kib(measurement: Measurement | None) -> str:
    """Format bytes in KiB."""
    return "" if measurement is None else f"{measurement.value / 1024:,.1f}"


def instructions(cell: Cell) -> str:
    """Format the instructions of one call."""
    measured = cell.measurements.get(INSTRUCTIONS)
    return "" if measured is None else f"{measured.value:,.0f}"


def microseconds(cell: Cell) -> str:
    """Format the typical latency on one thread, see :mod:`quantbench.measure.latency`."""
    measured = cell.measurements.get("latency")
    return "" if measured is None else f"{measured.value:,.1f}"


def ratio(cell: Cell, name: str = RATIO) -> str:
    """Format a latency ratio with the standard error that its judge uses."""
    measured = cell.measurements.get(name)
    if measured is None or measured.spread is None:
        return ""
    values = measured.values or []
    error = trimmed_mean(values).error if len(values) > 1 else measured.spread / measured.n**0.5
    return f"{measured.value:.3f} ± {error:.3f}"


def load(measured: Load) -> str:
    """Format the CPU load of other processes while the run timed."""
    average = "" if measured.average is None else f", load average {measured.average:.1f}"
    return f"{100 * measured.others:.0f} % of all cores' time{average}"


def smaller(cell: Cell, cells: dict[str, Cell]) -> str:
    """Format how many times smaller an artifact is than float32."""
    control = cells.get(f"{cell.model}/float32")
    if control is None or "size" not in cell.measurements or "size" not in control.measurements:
        return ""
    return f"{control.measurements['size'].value / cell.measurements['size'].value:.2f}×"


def fidelity(cell: Cell) -> list[str]:
    """Format agreements in percent and errors of the outputs for the report's table; empty where not measured."""

    def shown(name: str, style: str, factor: float = 1.0) -> str:
        measured = cell.measurements.get(name)
        return "" if measured is None else style.format(factor * measured.value)

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
    """Format arena, peaks and start-up for the report's table; empty where not measured."""

    def shown(name: str, style: str, factor: float = 1.0) -> str:
        measured = cell.measurements.get(name)
        if measured is None:
            return ""
        text = style.format(factor * measured.value)
        return text if measured.spread is None else f"{text} ± {style.format(factor * measured.spread)}"

    return [
        shown("arena", "{:,.1f}", 2**-10),
        shown("peak_memory", "{:,.0f}", 2**-10),
        shown("memory_ratio", "{:.4f}"),
        shown("model_memory", "{:,.0f}", 2**-10),
        shown("peak_resident", "{:,.0f}", 2**-10),
        shown("start_up_cold", "{:.2f}"),
        shown("start_up_warm", "{:.2f}"),
    ]


def gpu(cell: Cell, device: str = "") -> list[str]:
    """Format agreement, examples, time, ratio, and operators and work left to the CPU, for the report's table.

    Args:
        device: name of a further GPU; empty for the first one.
    """

    def measured_there(name: str) -> Measurement | None:
        return cell.measurements.get(of_output(name, device))

    agreement, left, macs = map(measured_there, ("gpu_agreement", "gpu_left", "gpu_left_macs"))

    def over_processes(name: str, style: str) -> str:
        measured = measured_there(name)
        return "" if measured is None else f"{style.format(measured.value)} ± {style.format(measured.spread or 0)}"

    return [
        "" if agreement is None else f"{100 * agreement.value:.2f} %",
        "" if agreement is None else str(agreement.n),
        over_processes("gpu_time", "{:.2f}"),
        over_processes("gpu_ratio", "{:.2f}"),
        "" if agreement is None else "0" if left is None else f"{left.value:.0f} of {left.n}",
        "" if agreement is None else _share_left(left, macs),
    ]


def _share_left(left: Measurement | None, macs: Measurement | None) -> str:
    if macs is None:
        return "unknown" if left is not None and left.value else "0 %"
    return f"{'at most ' * (macs.low is not None)}{100 * macs.value / macs.n:.3g} %"


def not_on_gpu(cell: Cell, device: str = "") -> str:
    """Say why a cell has no result on a GPU, or which operators were left to the CPU; empty where all ran there.

    Args:
        device: name of a further GPU; empty for the first one.
    """
    judged = [j for j in cell.judgements if j.kind is Kind.GPU and output_in(j.measurement) == device]
    reasons = [j.message for j in judged if j.value is None and without_output(j.measurement) == "gpu_agreement"]
    if reasons:
        return reasons[0]
    counts = Counter(left.operator for left in cell.gpu_left if left.device == device)
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())


def commits(environment: Environment) -> list[tuple[str, str]]:
    """List the commits of the models' repository and of quantbench's checkout, where they are two; name and value."""
    own = _commit(environment.git_commit, environment.git_dirty)
    if environment.repository_commit in (None, environment.git_commit):
        return [("commit", own)]
    theirs = _commit(environment.repository_commit, environment.repository_dirty)
    return [("commit", theirs), *([("quantbench commit", own)] if environment.git_commit else [])]


def dependencies(environment: Environment) -> str:
    """List the further packages that results may depend on, in one line."""
    return ", ".join(f"{name} {version}" for name, version in environment.dependencies.items())


def _commit(commit: str | None, dirty: bool | None) -> str:
    return "unknown" if commit is None else commit[:12] + (" with local changes" if dirty else "")


def gpu_device(report: Report) -> str:
    """Name the GPUs that were measured, or say why none was."""
    gpus, no_gpu = report.environment.gpus, report.environment.no_gpu
    named = " and ".join(device.label for device in gpus.values())
    return named or (f"none measured: {no_gpu}" if no_gpu else "none measured")


def gpu_note(report: Report) -> str | None:
    """Return the note on the GPUs; None where none was looked for."""
    gpus = list(report.environment.gpus.values())
    if not gpus:
        return f"GPU checks skipped: {report.environment.no_gpu}" if report.environment.no_gpu else None
    said = "a software device: its predictions are gated, its times say nothing about a GPU"
    return f"Accelerators: {'; '.join(f'{one.label}, {said}' if one.software else one.label for one in gpus)}"


def weights(census: Census) -> str:
    """Count weight tensors by dtype and granularity: ``10 int8 per-channel``."""
    counts = Counter(f"{operator.weights} {operator.granularity}" for operator in census.compute if operator.weights)
    return ", ".join(f"{count} {what.removesuffix(' float')}" for what, count in counts.most_common())


def computing(census: Census) -> str:
    """Count compute operators by precision; an LSTM counts once for each of its matrices."""
    counts = Counter(operator.precision for operator in census.compute)
    return ", ".join(f"{count} {precision}" for precision, count in counts.most_common())


def left_in_float(census: Census) -> str:
    """List operators that compute in float, the most frequent first."""
    counts = {name: by.get("float", 0) for name, by in census.operators.items()}
    ranked = sorted(((count, name) for name, count in counts.items() if count), key=lambda pair: (-pair[0], pair[1]))
    shown = [f"{count} {name}" for count, name in ranked[:4]]
    return ", ".join(shown) + (f" and {len(ranked) - 4} more kinds" if len(ranked) > 4 else "")


def difference(explained: Explained) -> str:
    """Format the actual size minus the predicted one, part by part, in KiB."""
    parts = {
        "scales": explained.scales,
        "weights of another width": explained.wider,
        "other constants": explained.constants,
        "graph": explained.graph,
    }
    shown = [f"{what} {value / 1024:+.1f}" for what, value in parts.items() if abs(value) >= 52]
    return ", ".join(shown)


def step(action: Action) -> str:
    """Format an action in one line: ``accept: COMMAND``."""
    return f"{action.what}: {shlex.join(action.command)}" if action.command else action.what


def attention(report: Report) -> list[tuple[str, Verdict, list[str], list[Action]]]:
    """List (cell or pool, its verdict, messages, actions) for each that needs attention, the worst first.

    Messages of one cell mostly share their actions, so they are grouped.
    """
    entries = []
    for cell in report.cells:
        judged = [j for j in cell.judgements if j.verdict in NEEDS_ATTENTION]
        if judged:
            judged.sort(key=lambda judgement: NEEDS_ATTENTION.index(judgement.verdict))
            # Every judge has the same message for a cell that could not be computed; it is listed once.
            messages = list(dict.fromkeys(j.message for j in judged))
            actions = {step(action): action for j in judged for action in helpful(judged, j)}
            messages, steps = _with_cause(cell, messages, list(actions.values()))
            entries.append((cell.id, judged[0].verdict, messages, steps))
    for pooled in report.pooled:
        judged_together = pooled.judgement
        if judged_together.verdict in NEEDS_ATTENTION:
            entries.append((pooled.id, judged_together.verdict, [judged_together.message], judged_together.actions))
    entries.sort(key=lambda entry: NEEDS_ATTENTION.index(entry[1]))
    return entries


def _with_cause(cell: Cell, messages: list[str], actions: list[Action]) -> tuple[list[str], list[Action]]:
    """Add where the error of a red score, or the time of a slow cell, is, and the commands that show more of it."""
    causes = [attribution.cause(cell.attribution)] if cell.attribution else []
    causes += [operator_times.cause(cell.operator_times)] if cell.operator_times else []
    if not causes:
        return messages, actions
    looks = next((one.command[2:] for one in actions if one.command[:2] == ["quantbench", "inspect"]), [])
    told = [*messages[:1], *causes, *messages[1:]]
    if not looks:
        return told, actions
    wanted = [more for more, there in (([], cell.attribution), (["--time"], cell.operator_times)) if there]
    folders = _folders(actions)
    explain = [Action(what="explain", command=["quantbench", "explain", *looks, *more, *folders]) for more in wanted]
    return told, [*explain, *actions]


def _folders(actions: Sequence[Action]) -> list[str]:
    """Return the folders of models and baselines, as options, that commands of these were given."""
    found: dict[str, list[str]] = {}
    for option in ("--model-dir", "--baseline-dir"):
        for one in actions:
            if option in one.command:
                at = one.command.index(option)
                found.setdefault(option, one.command[at : at + 2])
    return [word for words in found.values() for word in words]


_UPDATE = ["quantbench", "baseline", "update"]


def helpful(judged: Sequence[Judgement], one: Judgement) -> list[Action]:
    """Return the actions of a judgement; none that accepts values where a broken release limit stays red after it."""
    broken = any(j.against == "floor" and j.verdict is Verdict.REGRESSED for j in judged)
    return [action for action in one.actions if not broken or action.command[:3] != _UPDATE]


UNMOVED = 1e-6  # a change below this is rounding of the report's own numbers
NOISY = 1 / 3  # of the tolerance; a repeated measurement that moved by less is noise


def moved(cell: Cell, judgement: Judgement) -> bool:
    """Check whether a measurement differs from the accepted one; a repeated one by more than a part of its noise.

    A pass without tolerance is bit-identical, although its mean over fewer seeds may differ.
    """
    if judgement.against != "baseline" or judgement.change is None or abs(judgement.change) <= UNMOVED:
        return False
    if judgement.verdict is Verdict.PASS and judgement.tolerance == 0:
        return False
    measured = cell.measurements.get(judgement.measurement)
    noisy = measured is not None and measured.spread is not None
    return not noisy or judgement.tolerance is None or abs(judgement.change) > NOISY * judgement.tolerance


def within_tolerance(report: Report) -> int:
    """Count the measurements that differ from the accepted ones by no more than their tolerance."""
    judged = ((cell, one) for cell in report.cells for one in cell.judgements if one.verdict is Verdict.PASS)
    return sum(moved(cell, one) for cell, one in judged)


def told_within_tolerance(count: int) -> str:
    """Say how many measurements differ from the accepted ones by no more than their tolerance."""
    return f"{count} value{'s' * (count != 1)} changed within tolerance"


def budget(report: Report) -> str:
    """How the false-alarm budget is shared."""
    alarms = report.false_alarms
    scores = (
        f"the {alarms.judgements} comparisons whose predictions changed (cells, classes, slices, seeds, cells together)"
    )
    left_out = f"; {alarms.left_out} more can never fail and take no share" if alarms.left_out else ""
    part = "is" if alarms.limits is None else f"covers the whole run; {100 * alarms.budget:g} % of it is"
    latency = ""
    if alarms.latency is not None:
        latency = (
            f" {alarms.latency.judgements} latencies share their own part evenly: each fails below p = "
            f"{alarms.latency.share:.2g}."
        )
    whole = alarms.budget + (alarms.limits or 0)
    if not alarms.judgements:
        unused = "so the scores' part of it was not used"
        return (
            f"The false-alarm rate is {100 * whole:g} % for the whole run; no predictions changed, {unused}.{latency}"
        )
    return (
        f"The {100 * whole:g} % false-alarm rate {part} shared (Holm) by {scores}{left_out}. "
        f"Unchanged predictions use none of it.{latency}"
    )


def accept_everything(report: Report, folder: Path) -> str | None:
    """Return the one command that accepts all cells, where every cell lacks a baseline; else None.

    It reads and writes the folders that the commands for single cells name, which are those that the run was given.
    """
    if report.cells and all(cell.verdict is Verdict.MISSING for cell in report.cells):
        updates = [
            action
            for cell in report.cells
            for judged in cell.judgements
            for action in judged.actions
            if action.command[:3] == _UPDATE
        ]
        command = shlex.join([*_UPDATE, str(folder), *_folders(updates)])
        return f'record them all: {command} --reason "first baseline"'
    return None
