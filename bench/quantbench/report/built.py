"""Put into words what ``judge`` found of files built elsewhere: the answer first, on one screen, and as Markdown."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tabulate import tabulate

from quantbench.core.echo import line
from quantbench.records import Compiled, FileVerdicts, Held, JudgedFile, JudgedOutput, OutputVerdict, Structure
from quantbench.report import advice, formatting

# Together at most 30 lines: 1 answer, 6 reasons, 10 of the table, 2 blank, 6 of structure, 4 of limits, 1 of where.
MOST_LINES = 30
MOST_WHY, MOST_ROWS, MOST_STRUCTURE, MOST_HELD = 5, 6, 6, 4
LONGEST = 160
SIGNS = {"within": "✓", "beyond": "✗", "undecided": "?"}
WORDS = {"within": "ok", "beyond": "BEYOND", "undecided": "undecided"}


def screen(found: FileVerdicts) -> str:
    """Return the answer as text of at most ``MOST_LINES`` lines."""
    whys = reasons(found)
    parts = [
        answer(found),
        *whys[:MOST_WHY],
        *_more(len(whys) - MOST_WHY, "reasons in report.md"),
        "",
        *_table(found),
        "",
        *structures(found)[:MOST_STRUCTURE],
        *_held_lines(found)[:MOST_HELD],
        *_where(found),
    ]
    return "\n".join(_cut(each) for each in parts)


def answer(found: FileVerdicts) -> str:
    """Say in one line whether the files may be shipped."""
    groups = {verdict: [one for one in found.files if one.verdict == verdict] for verdict in SIGNS}
    many, sign = len(found.files), SIGNS[found.verdict]
    if found.verdict == "within":
        names = found.files[0].name if many == 1 else f"all {many} files"
        return f"{sign} {line(names)}: {_allowed(found)}"
    wrong = groups[found.verdict]
    names = ", ".join(one.name for one in wrong)
    what = "beyond what is allowed" if found.verdict == "beyond" else "undecided"
    of = "" if many == 1 else f" ({len(wrong)} of {many} files)"
    return f"{sign} {line(names)}: {what}{of}"


def _allowed(found: FileVerdicts) -> str:
    first = found.judged[0] if found.judged else None
    if found.reference is None or first is None:
        return "as declared, and within the limits given"
    worst = max(found.files, key=lambda one: one.outputs[0].drop if one.outputs else -1e9)
    if not worst.outputs:
        return "as declared, and within the limits given"
    drop = advice.drop(worst.outputs[0], first)
    limit = advice.number(first.limit, first.limit, first.unit)
    return f"a drop of {drop} {first.unit} from {line(found.reference.name)} where {limit} is allowed"


def reasons(found: FileVerdicts) -> list[str]:
    """Say why files are beyond or undecided, one line each, the worst first."""
    order = {"beyond": 0, "undecided": 1, "within": 2}
    lines = []
    for one in sorted(found.files, key=lambda one: order[one.verdict]):
        lines += [f"{line(one.name)}: {line(why)}" for why in one.why]
        lines += [f"{line(one.name)}: {held(each)}" for each in one.held if each.verdict != "within"]
    return lines


_SHOWN = {
    "left": "operators left to the CPU: it",
    "left_macs": "multiplications left to the CPU: it",
    "left_share": "share of the multiplications that is left to the CPU: it",
}


def held(one: Held) -> str:
    """Say how a figure stands to its limit."""
    value = "is not known" if one.value is None else f"is {_figure(one.name, one.value)}"
    ends = "" if one.low is None or one.high is None else f" (95 %: {one.low:.3f} to {one.high:.3f})"
    what = _SHOWN.get(one.name, one.name.replace("_", " "))
    return f"{what} {value}{ends}; at most {_figure(one.name, one.limit)} allowed"


def _figure(name: str, value: float) -> str:
    if name == "latency":
        return f"{value:.3f}×"
    if name == "left_share":
        return f"{100 * value:.3g} %"
    if name in ("left", "left_macs", "cycles", "npu_cycles", "macs"):
        return f"{value:,.0f}"
    if name == "inference_time":
        return f"{1000 * value:.3g} ms"
    return f"{value / 1024:,.1f} KiB"


# ------------------------------------------------------------ the table


def headers(found: FileVerdicts) -> list[str]:
    """Return the columns of the table of files."""
    if not found.judged:
        return ["file", "verdict", "KiB"]
    first = found.judged[0]
    names = ["file", "verdict", f"{first.metric} (95 %)"]
    if found.reference is not None:
        names += [f"drop, {first.unit} (95 %)", "lost / gained"]
    names += ["KiB"] + (["size", "time (95 %)"] if found.reference is not None else [])
    return [*names, "arena, KiB", "peak, MiB"]


def rows(found: FileVerdicts) -> list[list[str]]:
    """Return the rows of the table: the reference, and the files in the order given."""
    reference = [] if found.reference is None else [_row(found.reference, found, "reference")]
    return reference + [_row(one, found, WORDS[one.verdict]) for one in found.files]


def _row(one: JudgedFile, found: FileVerdicts, verdict: str) -> list[str]:
    if not found.judged:
        return [line(one.name), verdict, f"{one.bytes / 1024:,.1f}"]
    cells = [line(one.name), verdict, _score(one, found)]
    is_reference = one is found.reference
    if found.reference is not None:
        drop = "" if is_reference or not one.outputs else _drop(*advice_pair(one, found), found.judged[0])
        flips = "" if one.lost is None else f"{one.lost} / {one.gained}"
        cells += [drop, flips]
    cells += [f"{one.bytes / 1024:,.1f}"]
    if found.reference is not None:
        cells += ["" if one.size is None else f"{one.size:.2f}×", _time(one)]
    return [*cells, _bytes(one.arena, 1024), _bytes(one.peak, 2**20)]


def _drop(of: OutputVerdict, judged: JudgedOutput, first: JudgedOutput) -> str:
    """Format a drop; one of another output than the column's says of which, and in what."""
    named = "" if judged is first else f" {judged.unit} of {line(judged.output)}"
    return f"{advice.drop(of, judged)}{named}"


def advice_pair(one: JudgedFile, found: FileVerdicts) -> tuple[OutputVerdict, JudgedOutput]:
    """Return the verdict of a file that is nearest to its limit, and the output that it is of."""
    pairs = list(zip(one.outputs, found.judged, strict=True))
    order = {"within": 0, "undecided": 1, "beyond": 2}
    return max(pairs, key=lambda pair: (order[pair[0].verdict], pair[0].drop / (pair[1].limit or 1.0)))


def _score(one: JudgedFile, found: FileVerdicts) -> str:
    first = found.judged[0]
    if not one.outputs or one.outputs[0].score is None:
        return ""
    ends = [end for end in (one.score_low, one.score_high) if end is not None]
    shown = " to ".join(advice.score(end, first) for end in ends)
    return advice.score(one.outputs[0].score, first) + (f" ({shown})" if len(ends) == 2 else "")


def _time(one: JudgedFile) -> str:
    if one.latency is None:
        return ""
    ends = "" if one.latency_low is None else f" ({one.latency_low:.2f} to {one.latency_high:.2f})"
    return f"{one.latency:.2f}×{ends}"


def _bytes(value: float | None, unit: int) -> str:
    return "" if value is None else f"{value / unit:,.1f}"


def _table(found: FileVerdicts) -> list[str]:
    shown = rows(found)
    lines = tabulate(
        shown[: MOST_ROWS + 1], headers=headers(found), tablefmt="simple", disable_numparse=True
    ).splitlines()
    return [*(each.rstrip() for each in lines), *_more(len(shown) - MOST_ROWS - 1, "files in report.md")]


# ------------------------------------------------------------ structure


def structures(found: FileVerdicts) -> list[str]:
    """Say how each file is quantized, one line each."""
    return [f"{line(one.name)}: {structure(one)}" for one in found.files if structure(one)]


def structure(one: JudgedFile) -> str:
    """Say how a file is quantized, and whether that is as declared."""
    if one.compiled is not None:
        return compiled(one.compiled)
    if one.structure is None:
        return ""
    keeps = ", ".join(one.structure.keeps)
    if one.spec:
        declared = f"as {line(one.spec)} asks" if not one.broken else f"not as {line(one.spec)} asks"
    else:
        declared = f"no --spec given; it keeps {keeps}" if keeps else "no --spec given, and it keeps none of them"
    return f"{in_words(one.structure)}; {declared}"


def in_words(of: Structure) -> str:
    """Say what weights, layers, inputs and outputs are."""
    weights = " and ".join(f"{count} {name}" for name, count in sorted(of.weights.items(), key=lambda pair: -pair[1]))
    per = ", ".join(f"{count} {name}" for name, count in of.granularity.items() if name != "float")
    computes = ", ".join(f"{count} {name}" for name, count in sorted(of.computes.items()))
    scales = f" (convolutions: {per})" if per else ""
    ports = f"{'/'.join(dict.fromkeys(of.inputs))} in, {'/'.join(dict.fromkeys(of.outputs))} out"
    return f"weights {weights or 'none'}{scales}; layers {computes or 'none'}; {ports}"


def compiled(of: Compiled) -> str:
    """Say what a compiler made, and what it left to the CPU."""
    left = sum(of.left.values())
    names = ", ".join(f"{count} {line(name)}" for name, count in list(of.left.items())[:4])
    many = "1 operator is" if left == 1 else f"{left} operators are"
    work = _work_left(of.figures)
    rest = f"; {many} left to the CPU: {names}{work}" if left else "; nothing is left to the CPU"
    figures = {name: value for name, value in of.figures.items() if value and not name.startswith("left")}
    shown = ", ".join(f"{name.replace('_', ' ')} {_figure(name, value)}" for name, value in figures.items())
    about = line(of.about.get("accelerator_configuration", ""))
    report = f"; its report: {f'{about}: ' if about else ''}{shown}" if shown else ""
    parts = f"{of.operators} part{'s' * (of.operators > 1)}"
    return f"compiled for {of.compiler} in {parts}{rest}{report}; LiteRT cannot run it here, so it has no score"


def _work_left(figures: Mapping[str, float]) -> str:
    macs, share = figures.get("left_macs"), figures.get("left_share")
    if not macs:
        return ", none of which multiplies by weights" if macs == 0 else ""
    return f", {macs:,.0f} multiplications" + ("" if share is None else f" ({100 * share:.3g} % of all)")


def _held_lines(found: FileVerdicts) -> list[str]:
    kept = [(one, each) for one in found.files for each in one.held if each.verdict == "within"]
    return [f"{line(one.name)}: {held(each)}" for one, each in kept]


def _where(found: FileVerdicts) -> list[str]:
    return [f"page: {Path(found.folder) / advice.INDEX}"] if found.folder else []


def _more(count: int, what: str) -> list[str]:
    return [f"… and {count} more {what}"] if count > 0 else []


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST + 40 else f"{text[: LONGEST + 39]}…"


def note(found: FileVerdicts) -> str:
    """Explain the columns of the table."""
    if found.reference is None:
        return "Without --float or --against there is nothing to compare with: scores stand alone."
    timed = any(one.latency is not None for one in found.files)
    times = f" Times are measured in turns with it, on {found.machine.cpu}, 1 thread." if timed else ""
    what = "the float model" if found.against == "float" else "the file shipped so far"
    return (
        f"Compared with {what}, example by example. Drops are positive where a file is worse; their intervals hold for "
        f"all files together with 95 %. Lost: only the reference is right; gained: only the file is.{times}"
    )


# ------------------------------------------------------------ Markdown


def markdown(found: FileVerdicts) -> str:
    """Return the top of ``report.md``."""
    parts = [f"# quantbench judge: {formatting.escape(answer(found))}"]
    parts.append("\n".join(f"- {formatting.escape(each)}" for each in reasons(found)))
    parts.append(f"## Files\n\n{formatting.table(rows(found), headers(found))}\n\n{formatting.escape(note(found))}")
    parts.append("## Structure\n\n" + _list(structures(found)))
    limits = [f"{one.name}: {held(each)}" for one in found.files for each in one.held]
    parts.append("## Limits\n\n" + _list(limits) if limits else "")
    parts.append("## What was scored\n\n" + _list(scored(found)) if found.judged else "")
    return "\n\n".join(part for part in parts if part)


def scored(found: FileVerdicts) -> list[str]:
    """Say what was scored, and how that was found."""
    lines = []
    for one in found.judged:
        limit = f"; may drop by {advice.limit(one)}" if found.reference is not None else ""
        name = advice.name_of(one) if len(found.judged) > 1 else one.metric
        lines += [f"{name} on {one.examples:,} examples{limit}", *one.evidence]
    return lines


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {formatting.escape(each)}" for each in lines)
