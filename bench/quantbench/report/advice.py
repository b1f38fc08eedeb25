"""Put advice into words: one screen for the terminal, and the Markdown of a run that was one of ``try``.

Every sentence is made here, from the facts of :class:`quantbench.records.Advice` alone.
"""

import keyword
import math
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tabulate import tabulate

from quantbench.core.echo import line
from quantbench.records import (
    FLOAT_CONTROL,
    Action,
    Advice,
    AdvisedVariant,
    JudgedOutput,
    OutputVerdict,
    Refusal,
)
from quantbench.report import formatting

MOST_LINES = 30  # of what a command prints, before the answer too; the shortest answer may go beyond it
MOST_OUTPUTS = 3


class _Shown(NamedTuple):
    """Hold how much of the advice is shown at most."""

    outputs: int
    rows: int
    refusals: int
    warnings: int
    second: bool


# The first that fits into the lines that are left is taken.
_MOST = (
    _Shown(MOST_OUTPUTS, 8, 4, 2, True),
    _Shown(MOST_OUTPUTS, 8, 2, 2, True),
    _Shown(2, 7, 2, 2, True),
    _Shown(2, 6, 1, 1, True),
    _Shown(1, 5, 1, 1, True),
    _Shown(1, 4, 0, 1, False),
    _Shown(1, 3, 0, 1, False),
)
LONGEST = 160  # characters of a reason or of evidence on the terminal; report.md has all of it
LONGEST_SENTENCE = 600
PREFERENCES = {"size": "size", "latency": "time a call", "balanced": "size × time"}
ON_MICRO = {"size": "size", "balanced": "size × arena"}  # of TFLite-Micro, where nothing is timed
MODEL_DIR, BASELINE_DIR = "quantized/models", "quantized/baselines"
INDEX = "index.html"


# ------------------------------------------------------------ numbers


def number(value: float, of: float, unit: str = "") -> str:
    """Format a drop with as many decimals as its limit asks for, and more where it is smaller than those show.

    Args:
        of: the limit; 0 where there is none.
    """
    if value == 0:
        return "0"
    at_least = 2 if unit == "pp" else 0
    decimals = max(at_least, _decimals(of, 2) if of else 0)
    if abs(value) < (0.5 if unit == "pp" else 5) * 10.0**-decimals:
        decimals = _decimals(value, 2)
    return f"{value:.{decimals}f}" if decimals <= 9 else f"{value:.2g}"


def _decimals(value: float, significant: int) -> int:
    return max(0, significant - 1 - math.floor(math.log10(abs(value))))


def score(value: float, judged: JudgedOutput) -> str:
    """Format a score: fractions in per cent, others with four significant digits; small ones never as nothing."""
    if judged.scale != 100:
        return f"{value:.4g}"
    return f"{100 * value:.2f} %" if not value or abs(value) >= 0.001 else f"{100 * value:.2g} %"


def interval(verdict: OutputVerdict, judged: JudgedOutput) -> str:
    """Format the interval of a drop; an end that it lacks is infinite."""
    low = "-∞" if verdict.low is None else number(verdict.low, judged.limit, judged.unit)
    high = "∞" if verdict.high is None else number(verdict.high, judged.limit, judged.unit)
    return f"{low} to {high}"


def drop(verdict: OutputVerdict, judged: JudgedOutput) -> str:
    """Format a drop with its interval."""
    return f"{number(verdict.drop, judged.limit, judged.unit)} ({interval(verdict, judged)})"


def limit(judged: JudgedOutput) -> str:
    """Format a limit with its unit, and how it was given."""
    given = judged.limit_given
    how = "default" if not given else f"--max-drop {given}"
    return f"{number(judged.limit, judged.limit, judged.unit)} {judged.unit} ({how})"


def name_of(judged: JudgedOutput) -> str:
    """Return metric and output of a judged output."""
    return judged.metric + (f" of {judged.output}" if judged.output else "")


def closest(one: AdvisedVariant, advice: Advice) -> tuple[OutputVerdict, JudgedOutput]:
    """Return the output of a variant that is closest to its limit, or farthest beyond it."""
    pairs = list(zip(one.outputs, advice.judged, strict=True))
    order = {"within": 0, "undecided": 1, "beyond": 2}
    return max(pairs, key=lambda pair: (order[pair[0].verdict], pair[0].drop / (pair[1].limit or 1.0)))


def smaller(one: AdvisedVariant) -> str:
    """Say how much smaller or larger than float32 a file is."""
    return f"{1 / one.size:.1f} times smaller" if one.size < 1 else f"{one.size:.2f} times the size"


def faster(one: AdvisedVariant) -> str:
    """Say how much faster or slower a call is; empty where it was not timed."""
    if one.latency is None:
        return ""
    if abs(one.latency - 1) < 0.005:
        return "as fast"
    return f"{1 / one.latency:.2f} times as fast" if one.latency < 1 else f"{one.latency:.2f} times the time a call"


# ------------------------------------------------------------ sentences


def is_float32(advice: Advice) -> bool:
    """Check whether the advice is to keep float32."""
    return advice.choice == FLOAT_CONTROL


def verdict_words(one: AdvisedVariant) -> str:
    """Say in a few words what is known of a variant."""
    if one.variant == FLOAT_CONTROL:
        return "reference"
    if one.same_as is not None:
        return f"same file as {one.same_as}"
    if one.dead:
        columns = ", ".join(str(column.column) for column in one.dead[:3]) + ("…" if len(one.dead) > 3 else "")
        fewest = min(column.distinct for column in one.dead)
        return f"dead output {columns} ({fewest} distinct {'value' if fewest == 1 else 'values'})"
    if one.verdict != "undecided":
        return f"{one.verdict} the limit"
    needed = [verdict.needed for verdict in one.outputs if verdict.verdict == "undecided"]
    known = [each for each in needed if each is not None]
    return f"undecided (needs about {max(known):,} examples)" if known and len(known) == len(needed) else "undecided"


def recommendation(advice: Advice) -> str:
    """Say what to ship, with the interval of its drop and the machine that its time holds on."""
    best = advice.of(advice.choice)
    if best is None:
        return f"Nothing can be recommended: {advice.nothing or 'no variant was scored'}."
    if is_float32(advice):
        return f"Ship float32: {_why_float32(advice)}."
    fast = faster(best)
    costs = f"{smaller(best)} than float32" if best.size < 1 else f"{smaller(best)} of float32"
    costs += f", {_arena(best)}" if advice.target else f", {fast}{_there(advice)}" if fast else ", not timed"
    within = [one for one in advice.variants if one.eligible and one.variant != FLOAT_CONTROL]
    by = PREFERENCES[advice.prefer] if fast or advice.prefer == "size" else "size"
    by = ON_MICRO[advice.prefer] if advice.target else by
    many = f"; the best of {len(within)} within the limit by {by}" if len(within) > 1 else "; the only one within"
    where = " to TFLite-Micro" if advice.target else ""
    return f"Ship {best.variant}{where}: {costs}, {_drops(best, advice)}{many}."


def _arena(one: AdvisedVariant) -> str:
    """Say how large the arena on TFLite-Micro is; empty where that is not the target."""
    if one.arena_bytes is None or one.arena is None:
        return ""
    return f"arena {one.arena_bytes:,} bytes ({one.arena:.2f}×)"


def _there(advice: Advice) -> str:
    return f" (on {advice.machine.cpu}, {_threads(advice)})"


def _threads(advice: Advice) -> str:
    return f"{advice.machine.threads} thread" + "s" * (advice.machine.threads > 1)


def _drops(one: AdvisedVariant, advice: Advice) -> str:
    """Say how much a variant loses on each output; of many, on the one that is closest to its limit."""
    pairs = list(zip(one.outputs, advice.judged, strict=True))
    head = ""
    if len(pairs) > MOST_OUTPUTS:
        pairs, head = [closest(one, advice)], f"of {len(pairs)} outputs closest to its limit: "
    said = []
    for verdict, judged in pairs:
        value = number(verdict.drop, judged.limit, judged.unit)
        allowed = f"{number(judged.limit, judged.limit, judged.unit)} {judged.unit}"
        what = f" in {name_of(judged)}" if len(advice.judged) > 1 else ""
        said.append(
            f"a drop of {value} {judged.unit}{what} (95 %: {interval(verdict, judged)}) where {allowed} is allowed"
        )
    return head + ", ".join(said)


def _why_float32(advice: Advice) -> str:
    """Say why nothing else is recommended; true of every row of the table."""
    others = [one for one in advice.variants if one.variant != FLOAT_CONTROL and one.same_as is None]
    within = [one for one in others if one.eligible]
    if not others:
        made = sum(len(one.variants) for one in advice.refused)
        return "no variant could be made" if made else "no other variant was asked for"
    if not within:
        return _none_within(others, advice)
    rated = within
    if advice.prefer != "size" and any(one.latency is not None for one in others):
        rated = [one for one in within if one.latency is not None]
    if not rated:
        named = ", ".join(one.variant for one in within[:3])
        return f"what is within the limit was not timed ({named}); --prefer size chooses by size alone"
    least = min(rated, key=lambda one: one.size * (one.latency or one.arena or 1.0))
    fast = f" and {faster(least)}{_there(advice)}" if faster(least) else ""
    tail = f"closest is {least.variant}, {smaller(least)}{fast}"
    by = {"size": "smaller", "latency": "faster", "balanced": "better by size × time"}[advice.prefer]
    by = "better by size × arena" if advice.target and advice.prefer == "balanced" else by
    other = "; --prefer size would take a smaller one" if any(one.size < 1 for one in within) else ""
    if len(within) == 1:
        grows = "but makes the file larger" if least.size >= 1 else f"but not {by}"
        return f"{least.variant} is within the limit {grows}: {smaller(least)}{fast}{other}"
    if len(rated) == 1:
        return (
            f"{least.variant}, the only one within the limit that was timed, is not {by}: {smaller(least)}{fast}{other}"
        )
    timed = "" if len(rated) == len(within) else "timed "
    count = f"of {len(rated)} {timed}variants within the limit"
    if not other and not timed:
        return f"{count}, each makes the file larger and none is {by}; {tail}"
    return f"{count} none is {by}; {tail}{other}"


def _none_within(others: Sequence[AdvisedVariant], advice: Advice) -> str:
    """Say what keeps each variant from being shipped."""
    allowed = _allowed(advice)
    if len(others) == 1:
        only = others[0]
        if only.dead:
            return f"{only.variant} has a {verdict_words(only)}"
        return f"{only.variant} is not shown to stay within {allowed}: it is {verdict_words(only)}"
    counts = Counter("dead" if one.dead else one.verdict for one in others)
    words = {
        "beyond": f"{counts['beyond']} beyond it",
        "undecided": f"{counts['undecided']} undecided for want of examples",
        "dead": f"{counts['dead']} with a dead output",
    }
    split = ", ".join(words[kind] for kind in words if counts[kind])
    if counts["dead"]:
        return f"none of {len(others)} variants can be shipped, where {allowed} is allowed: {split}"
    return f"none of {len(others)} variants is shown to stay within {allowed}: {split}"


def _allowed(advice: Advice) -> str:
    if len(advice.judged) == 1:
        judged = advice.judged[0]
        return f"a drop of {number(judged.limit, judged.limit, judged.unit)} {judged.unit}"
    return "the limits of all outputs"


def undecided(advice: Advice) -> str:
    """Name the variant that would be recommended if the examples told that it keeps the limit; empty where none is."""
    hope = advice.of(advice.better_if_decided)
    if hope is None:
        return ""
    open_ones = [pair for pair in zip(hope.outputs, advice.judged, strict=True) if pair[0].verdict == "undecided"]
    if not open_ones:
        return ""
    verdict, judged = open_ones[0]
    needed = [each.needed for each, _ in open_ones]
    known = [each for each in needed if each is not None]
    many = f"about {max(known):,} examples" if len(known) == len(needed) else "more examples"
    what = f" in {name_of(judged)}" if len(advice.judged) > 1 else ""
    costs = ", ".join(each for each in (smaller(hope), faster(hope)) if each)
    return (
        f"{hope.variant} would be the better choice ({costs}) if it keeps the"
        f" limit, which these examples do not tell: a drop of {drop(verdict, judged)} {judged.unit}{what}; "
        f"{many} would be needed."
    )


def too_few(advice: Advice) -> str:
    """Say once where a set is too small for any variant; empty where it is not, or where that does not matter.

    What answers better than float32 can be within where what answers as float32 does is undecided; and where all are
    beyond, more examples would change nothing.
    """
    others = [one for one in advice.variants if one.variant != FLOAT_CONTROL]
    for place, judged in enumerate(advice.judged):
        verdicts = {one.outputs[place].verdict for one in others}
        if judged.too_few and "undecided" in verdicts and "within" not in verdicts:
            least = judged.least_examples
            many = "would not do with any number" if least is None else f"would need about {least:,}"
            allowed = f"{number(judged.limit, judged.limit, judged.unit)} {judged.unit}"
            return (
                f"{judged.examples:,} examples are too few to show that any variant stays within a drop of {allowed} "
                f"in {name_of(judged)}: even one that answers all of them as float32 does {many}."
            )
    return ""


def next_best(advice: Advice) -> str:
    """Name the second choice; empty where there is none."""
    second = advice.of(advice.next_best)
    if second is None:
        return ""
    if second.variant == FLOAT_CONTROL:
        return "Next best: float32 (no other variant within the limit is better than it)."
    verdict, judged = closest(second, advice)
    fast = "".join(f", {each}" for each in (faster(second), _arena(second)) if each)
    return f"Next best: {second.variant}: {smaller(second)}{fast}, drop {drop(verdict, judged)} {judged.unit}."


def refusal(one: Refusal) -> str:
    """Say what could not be made, and why, in one line."""
    return f"{who(one)}: {one.reason}"


def who(one: Refusal) -> str:
    """Name the variants of a refusal, or count them."""
    names = one.variants
    if len(names) < 3:
        return " and ".join(names)
    if one.trained:
        return f"{len(names)} variants that train (QAT, pruning, clustering)"
    families = {name.split("_")[0] for name in names}
    kind = f"{families.pop()} " if len(families) == 1 else ""
    return f"{len(names)} {kind}variants"


def scored(judged: JudgedOutput) -> str:
    """Say what was scored, on how many examples, and what may be lost."""
    if judged.float_score is None:
        return f"{name_of(judged)}: {judged.examples:,} examples, of which float32 has no score"
    what = f"{name_of(judged)}: float32 {score(judged.float_score, judged)} on {judged.examples:,} examples"
    return f"{what}; may drop by {limit(judged)}"


# ------------------------------------------------------------ the terminal


def screen(advice: Advice, most: int = MOST_LINES) -> str:
    """Return what a terminal shows at the end; the recommendation is the last line.

    Args:
        most: lines, where fewer than all of the table and of the reasons bring them down to it.
    """
    for shown in _MOST:
        lines = _screen(advice, shown)
        if len(lines) <= most:
            break
    return "\n".join(lines)


def _screen(advice: Advice, shown: _Shown) -> list[str]:
    head = [scored(judged) for judged in advice.judged[: shown.outputs]]
    head += _more(len(advice.judged) - shown.outputs, "outputs, each with its own limit")
    refusals = [f"left out: {refusal(one)}" for one in advice.refused[: shown.refusals]]
    left = advice.refused[shown.refusals :]
    refusals += _left_out(left, bool(refusals))
    warnings = _warnings(advice.warnings, shown.warnings)
    table = ["", *_table(advice, shown.rows), ""] if advice.variants else []
    last = [too_few(advice), undecided(advice), next_best(advice) if shown.second else "", _where(advice)]
    return [
        *(_one_line(each, LONGEST) for each in head),
        *table,
        *(_one_line(each, LONGEST) for each in refusals),
        *(_one_line(each, LONGEST_SENTENCE) for each in [*warnings, *last, recommendation(advice)] if each),
    ]


def _where(advice: Advice) -> str:
    folder = Path(advice.folder)
    file = f"file: {folder / advice.file}; " if advice.file else ""
    return f"{file}page: {folder / INDEX}"


def _one_line(text: str, longest: int) -> str:
    shown = line(text)
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


def _more(count: int, what: str) -> list[str]:
    return [f"… and {count} more {what}"] if count > 0 else []


def _left_out(left: Sequence[Refusal], some_named: bool) -> list[str]:
    """Count the variants left out whose reasons are not shown."""
    count = sum(len(one.variants) for one in left)
    if some_named:
        return _more(count, f"variants left out, for {len(left)} other reason{'s' * (len(left) > 1)} (report.md)")
    return [f"{count} variant{'s' * (count > 1)} left out (see report.md)"] if count else []


def _warnings(warnings: Sequence[str], most: int) -> list[str]:
    """Return the first warnings, the last of them with how many more there are."""
    lines = [f"warning: {each}" for each in warnings[:most]]
    if (left := len(warnings) - most) > 0:
        more = f" (and {left} more warning{'s' * (left > 1)} in report.md)"
        lines[-1] = f"{_one_line(lines[-1], LONGEST_SENTENCE - len(more))}{more}"
    return lines


def _table(advice: Advice, most: int) -> list[str]:
    shown = shortlist(advice, most)
    rows = [_row(one, advice) for one in shown]
    lines = tabulate(rows, headers=headers(advice), tablefmt="simple", disable_numparse=True).splitlines()
    left = [one for one in advice.variants if one not in shown]
    counts = Counter("excluded" if one.dead or one.same_as else one.verdict for one in left)
    split = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    return [*(each[:LONGEST] for each in lines), *_more(len(left), f"in report.md: {split}")]


def shortlist(advice: Advice, most: int = _MOST[0].rows) -> list[AdvisedVariant]:
    """Return the best variants, float32 among them, in their order."""
    wanted = {FLOAT_CONTROL, advice.choice, advice.next_best, advice.better_if_decided}
    named = [one for one in advice.variants if one.variant in wanted]
    others = [one for one in advice.variants if one.variant not in wanted]
    kept = [*named, *others[: max(0, most - len(named))]]
    return [one for one in advice.variants if one in kept]


def headers(advice: Advice) -> list[str]:
    """Return the columns of the table of variants."""
    judged = advice.judged[0]
    what = f"drop, {judged.unit} (95 %)" if len(advice.judged) == 1 else "drop of the worst output (95 %)"
    return ["variant", "verdict", what, "KiB", "size / float32", *_last_headers(advice)]


def _last_headers(advice: Advice) -> list[str]:
    if advice.target:
        return ["arena, bytes", "arena / float32" if advice.of(FLOAT_CONTROL) else "arena / largest"]
    return ["time / float32"] if _timed(advice) else []


def _timed(advice: Advice) -> bool:
    return any(one.latency is not None for one in advice.variants)


def _row(one: AdvisedVariant, advice: Advice) -> list[str]:
    verdict, judged = closest(one, advice)
    where = f" {judged.unit}, {line(judged.output)}" if len(advice.judged) > 1 else ""
    return [
        ("→ " if one.variant == advice.choice else "") + one.variant,
        verdict_words(one),
        "0" if one.variant == FLOAT_CONTROL else drop(verdict, judged) + where,
        f"{one.bytes / 1024:,.1f}",
        f"{one.size:.2f}×",
        *([f"{one.arena_bytes:,}", f"{one.arena:.2f}×"] if one.arena_bytes is not None else []),
        *([] if not _timed(advice) else [""] if one.latency is None else [f"{one.latency:.2f}×"]),
    ]


# ------------------------------------------------------------ what to do next


def steps(advice: Advice) -> list[Action]:
    """List the commands that follow, with the arguments of this run."""
    if advice.choice is None:
        return []
    file = f"{advice.choice}.tflite"
    found = []
    if advice.file is not None:
        export = ["quantbench", "export", advice.choice, "--run", advice.folder, "-o", file]
        found.append(Action(what="write the file to ship", command=export))
    name = adopted_name(advice.model)
    if name:
        # In a repository with a config the arguments name its own, and the command that follows finds them by itself.
        named = "--model-dir" in advice.arguments
        folders = [] if named else ["--model-dir", MODEL_DIR, "--baseline-dir", BASELINE_DIR]
        gate = ["--gate", advice.choice] if advice.choice != FLOAT_CONTROL else []
        adopt = ["quantbench", "adopt", advice.model, "--name", name, *advice.arguments, *gate, *folders]
        found.append(Action(what="keep it, gated by a baseline of its own", command=adopt))
        found.append(Action(what="then, in every build", command=["quantbench", "run", *folders]))
    return found


def adopted_name(model: str) -> str:
    """Return a name to adopt a model under; empty for one that is code, which is not adopted."""
    if not model or ".py:" in model or model.endswith(".py"):
        return ""
    stem = re.sub(r"\W+", "_", Path(model).name.split(".")[0], flags=re.ASCII).strip("_")
    usable = stem.isidentifier() and not keyword.iskeyword(stem)
    return stem if usable else f"model_{stem}".rstrip("_")


# ------------------------------------------------------------ Markdown


def markdown(advice: Advice) -> str:
    """Return the top of ``report.md``: the recommendation, the table of all variants, the reasons of the others."""
    parts = [f"# quantbench try: {formatting.escape(recommendation(advice))}"]
    said = [undecided(advice), too_few(advice), next_best(advice), *advice.warnings]
    parts.append("\n".join(f"- {formatting.escape(each)}" for each in said if each))
    lines = [scored(judged) for judged in advice.judged]
    evidence = [each for judged in advice.judged for each in judged.evidence]
    parts.append("## What was scored\n\n" + "\n".join(f"- {formatting.escape(each)}" for each in [*lines, *evidence]))
    if advice.variants:
        table = formatting.table(rows(advice), [*headers(advice), *EXTRA])
        parts.append(f"## Variants\n\n{table}\n\n{note(advice)}")
    if advice.refused:
        refusals = [
            f"- {formatting.escape(each.reason)}: {', '.join(formatting.code(name) for name in each.variants)}"
            for each in advice.refused
        ]
        parts.append("## Left out\n\n" + "\n".join(refusals))
    commands = [
        f"- {formatting.escape(action.what)}: {formatting.code(shlex.join(action.command))}" for action in steps(advice)
    ]
    if commands:
        parts.append("## Next\n\n" + "\n".join(commands))
    return "\n\n".join(part for part in parts if part)


EXTRA = ["agrees with float32", "Pareto", "file"]


def _extra(one: AdvisedVariant) -> Sequence[str]:
    agrees = "" if one.agreement is None else f"{100 * one.agreement:.2f} %"
    return [agrees, "*" if one.front else "", one.file or ""]


def rows(advice: Advice) -> list[list[str]]:
    """Return the rows of the table of all variants, as text."""
    return [[*_row(one, advice), *_extra(one)] for one in advice.variants]


def note(advice: Advice) -> str:
    """Explain the columns of the table."""
    time = f" Times are of {advice.machine.cpu}, {_threads(advice)}, and hold there only." if _timed(advice) else ""
    return (
        "Drops are positive where a variant is worse; intervals hold for all variants together with 95 %. "
        "Within: the whole interval is below the limit; undecided: the limit lies inside it."
        f"{formatting.escape(time)}"
    )
