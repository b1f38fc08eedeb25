"""Put into words what is red in a run: for each group of cells what it is, its cause, and the next steps.

A group takes two lines: the first says which cells and how much, the second where, since when and what changed. The
sentences of single cells are details, shown behind them.
"""

from collections.abc import Sequence
from typing import NamedTuple

from quantbench.comparison.earlier import recorded
from quantbench.core.echo import line
from quantbench.records import (
    Action,
    Cell,
    FactChanged,
    Family,
    Judgement,
    Kind,
    Located,
    RedGroup,
    Report,
    Verdict,
)
from quantbench.records.measurements import output_in, shown
from quantbench.report import attribution, formatting, operator_times

RED = (Verdict.REGRESSED, Verdict.ERROR, Verdict.MISSING)
# Of the first line of a group, characters of a judgement's own words; and facts and names that are listed at most.
_CLAUSE, _MOST_FACTS, _MOST_NAMES = 170, 3, 3
_MESSAGE = 300  # characters of an error
LIMIT = "floor"  # that no baseline moves, as judgements name it
LINES = 2  # of an entry, where details are not asked for


class Entry(NamedTuple):
    """Hold one thing that needs attention.

    Attributes:
        name: of the cells, in words; a cell's id where ``cells`` is that one alone.
        lines: what it is, then why; the name comes before the first.
        cells: their ids; of cells together, none.
    """

    name: str
    verdict: Verdict
    lines: list[str]
    actions: list[Action]
    cells: list[str]


def entries(report: Report) -> list[Entry]:
    """List what needs attention, the worst first: groups of red cells, then other cells one by one."""
    found = [entry(group, report) for group in report.reds]
    known = {cell.id for cell in report.cells}
    others = [one for one in formatting.attention(report) if not report.reds or one[1] not in RED]
    return found + [
        Entry(name, verdict, messages, actions, [name] if name in known else [])
        for name, verdict, messages, actions in others
    ]


def details(report: Report) -> list[tuple[str, Verdict, list[str], list[Action]]]:
    """List every red cell by itself, as :func:`quantbench.report.formatting.attention` does; none without groups."""
    return [one for one in formatting.attention(report) if one[1] in RED] if report.reds else []


def folded(report: Report) -> str:
    """Head what :func:`details` lists."""
    known, found = {cell.id for cell in report.cells}, details(report)
    cells = sum(name in known for name, *_ in found)
    told = [f"{cells} red cells, one by one" if cells > 1 else "the red cell in detail"] if cells else []
    text = ", and ".join([*told, *(["what is judged of several together"] if cells < len(found) else [])])
    return text[:1].upper() + text[1:]


def entry(group: RedGroup, report: Report) -> Entry:
    """Put one group into words."""
    by_id = {cell.id: cell for cell in report.cells}
    cells = [by_id[cell] for cell in group.cells if cell in by_id]
    lines = [_what(group, cells, report), why(group, _time(group, cells))]
    return Entry(who(group), group.verdict, [one for one in lines if one], group.actions, _linked(group))


def _linked(group: RedGroup) -> list[str]:
    return [] if group.pool else group.cells


# ------------------------------------------------------------ which cells


def who(group: RedGroup) -> str:
    """Name the cells of a group; "all" only where all cells of the family in this run are red."""
    if group.pool or len(group.cells) == 1:
        return line(group.pool or group.cells[0])
    number = f"all {group.of}" if group.whole else f"{len(group.cells)} of {group.of}"
    return line(f"{number} {family(group.family or Family())}")


def family(common: Family) -> str:
    """Name the cells of a family: ``int4 cells of resnet8``."""
    before = [
        {True: "trained", False: "untrained", None: None}[common.trained],
        common.engine,
        common.ranges,
        common.weights,
    ]
    after = [
        f"with {common.activations} activations" if common.activations else None,
        f"of {common.model}" if common.model else None,
    ]
    words = dict.fromkeys(one for one in (*before, "cells", *after) if one)  # the variant float32 is its own engine
    return " ".join(words)


# ------------------------------------------------------------ what


def _what(group: RedGroup, cells: Sequence[Cell], report: Report) -> str:
    if group.pool:
        together = next((one for one in report.pooled if one.id == group.pool), None)
        return "" if together is None else _clause(together.judgement.message)
    single = len(cells) == 1
    told = _amounts(group, cells) if not single else ""
    if not told and cells:
        first = _first(cells[0], group)
        clause = _clause(first.message, group.verdict is not Verdict.REGRESSED) if first else group.verdict.shown
        such = "the worst" if group.verdict is Verdict.REGRESSED else "such as"
        told = clause if single else f"{group.kind}, {such} {cells[0].id}: {clause}"
    besides = _besides(group, _more(cells[0], group) if single else [])
    if group.whole or single or len(group.cells) > _MOST_NAMES:
        return told + besides
    return line(f"{told}{besides} ({', '.join(_short_names(group))})")


def _short_names(group: RedGroup) -> list[str]:
    alike = group.family is not None and group.family.model is not None
    return [cell.partition("/")[2] if alike else cell for cell in group.cells]


def _first(cell: Cell, group: RedGroup) -> Judgement | None:
    return next((one for one in cell.judgements if one.kind is group.kind and one.verdict is group.verdict), None)


def _clause(message: str, whole: bool = False) -> str:
    """Return the first clause of a judgement's message, cut where it is long.

    Args:
        whole: whether to take all clauses, as of an error, whose end says what is wrong.
    """
    text, depth = line(message), 0
    for place, letter in enumerate(text):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if text.startswith("; ", place) and depth <= 0 and not whole:
            text = text[:place]
            break
    most = _MESSAGE if whole else _CLAUSE
    return text if len(text) <= most else f"{text[: text.rfind(' ', 0, most)]} …"


def _amounts(group: RedGroup, cells: Sequence[Cell]) -> str:
    """Say by how much scores are worse than the accepted ones; empty where they cannot be put together."""
    output = _output(cells)
    metrics = {cell.outputs[output].metric if output in cell.outputs else cell.metric for cell in cells}
    if group.kind is not Kind.ACCURACY or group.low is None or group.high is None or len(metrics) > 1:
        return ""
    low, high = f"{group.low:.2f}", f"{group.high:.2f}"
    amount = low if low == high else f"{low} to {high}"
    whose = f"output {output}: " if output else ""
    return f"{whose}{metrics.pop()} {amount} {group.unit} worse than accepted".replace("  ", " ")


def _output(cells: Sequence[Cell]) -> str:
    """Return the further output whose score is worse than accepted in all cells; empty where it is the main one."""
    worse = [one for one in cells[0].judgements if one.verdict is Verdict.REGRESSED and one.against == "baseline"]
    named = next((one for one in worse if one.kind is Kind.ACCURACY and one.change is not None), None)
    return "" if named is None else output_in(named.measurement)


def _more(cell: Cell, group: RedGroup) -> list[str]:
    """Name further red measurements of a cell in the same kind of check; parts and outputs follow from the score."""
    if group.kind is Kind.ACCURACY:
        return []
    first = _first(cell, group)
    alike = [one for one in cell.judgements if one.kind is group.kind and one.verdict is group.verdict]
    return list(
        dict.fromkeys(shown(one.measurement) for one in alike if first and one.measurement != first.measurement)
    )


def _besides(group: RedGroup, more: Sequence[str] = ()) -> str:
    """Say what else is red: limits, other measurements, and other kinds of check."""
    beyond = group.against.get(LIMIT, 0)
    many = len(group.cells)
    told = []
    if beyond and len(group.against) > 1:
        told.append("beyond the release limit" + ("" if beyond == many else f" in {beyond}"))
    told += more
    also = [(kind, group.also[kind]) for kind in Kind if kind in group.also]
    told += [f"{kind}{'' if number == many else f' in {number}'}" for kind, number in also]
    word = "red" if group.verdict is Verdict.REGRESSED else group.verdict.shown
    return f"; also {word}: {', '.join(told)}" if told else ""


# ------------------------------------------------------------ why


def why(group: RedGroup, time: str = "") -> str:
    """Say in one line where the error comes from or the time goes, since when that is so, and what changed then."""
    told = [time or where(group), since(group), changed(group)]
    text = line("; ".join(one for one in told if one))
    return text[:1].upper() + text[1:]


def _time(group: RedGroup, cells: Sequence[Cell]) -> str:
    """Say where the time of slow cells goes, by the one that was timed first; empty of other cells."""
    if group.kind is not Kind.LATENCY:
        return ""
    timed = next((cell for cell in cells if cell.operator_times is not None), None)
    if timed is None or timed.operator_times is None:
        return ""
    told = operator_times.cause(timed.operator_times).removesuffix(".")
    return told if len(cells) == 1 else f"{told} ({timed.id})"


def where(group: RedGroup) -> str:
    """Name the operators that the errors come from; empty where none was looked for."""
    if not group.searched:
        return ""
    if not group.located:
        return f"cause: no single operator ({group.searched} cell{'s' * (group.searched > 1)} searched)"
    by_words: dict[str, list[Located]] = {}  # of several models, places may have one name: the model's input
    for one in group.located:
        by_words.setdefault(attribution.operator_of(one), []).append(one)
    (words, first), *others = sorted(by_words.items(), key=lambda found: -sum(len(one.cells) for one in found[1]))
    cells = sum(len(one.cells) for one in first)
    many = "" if group.searched == len(group.cells) == cells else f" (in {cells} of {group.searched} cells searched)"
    more = f", else {others[0][0] if len(others) == 1 else f'{len(others)} other places'}" if others else ""
    return f"cause: {words}{_explained(first)}{many}{more}"


def _explained(places: Sequence[Located]) -> str:
    """Say how much an operator explains; of one in several models, the least and the most."""
    if len(places) == 1:
        return attribution.explained(places[0])
    least, most = (attribution.explained(pick(places, key=_share)).removeprefix(_EXPLAINS) for pick in (min, max))
    return f"{_EXPLAINS}{least}" if least == most else f"{_EXPLAINS}from {least} to {most}"


_EXPLAINS = ", which explains "


def _share(place: Located) -> float:
    return place.back / place.lost if place.lost and place.back else place.recovered


def since(group: RedGroup) -> str:
    """Say since which night it is red, or when the values were accepted that it is red against."""
    first, green = group.first_red, group.last_green
    if green is not None:
        started = f"red since the night of {_night(first.started, green.started)}" if first else "red since this run"
        # A run in the working day is compared with one some hours before: without a night between, with the time.
        return f"{started}, last green {_night(green.started, first.started if first else green.started)}"
    if first is not None:
        return f"red in all {group.earlier} earlier run{'s' * (group.earlier > 1)}, since {first.started[:10]} at least"
    if not group.accepted:
        return ""
    days = sorted({one.date for one in group.accepted})
    return f"accepted on {days[0]}" if len(days) == 1 else f"accepted from {days[0]} to {days[-1]}"


def _night(started: str, other: str) -> str:
    """Return a run's day, with the time where the other run is of the same day, to the second where need be."""
    if started[:10] != other[:10]:
        return started[:10]
    return started[: 19 if started[:16] == other[:16] and started[:19] != other[:19] else 16].replace("T", " ")


def changed(group: RedGroup) -> str:
    """Say what changed meanwhile, the more telling first."""
    if group.since == "nothing":
        return ""
    facts = [fact for fact in group.changed if recorded(fact) and fact.used]
    told = [in_words(fact) for fact in facts[:_MOST_FACTS]]
    told += [f"{len(facts) - _MOST_FACTS} more"] if len(facts) > _MOST_FACTS else []
    files = _files(group)
    if not told:
        none = "nothing recorded changed" if group.since == "last green" else "no version changed since then"
        return f"{none}, {files}" if files else none
    then = "changed then" if group.since == "last green" else "changed since then"
    return f"{then}: {', '.join(told)}{f', {files}' if files else ''}"


def in_words(fact: FactChanged) -> str:
    """Say what one fact was and is."""
    if fact.kind == "data":
        return f"the data of {line(fact.name)}"
    if fact.kind == "model":
        return f"the {line(fact.name)}"
    return line(f"{fact.name} {fact.old} → {fact.new}")


def _files(group: RedGroup) -> str:
    """Say whether the artifacts changed, which tells a converter's change from a runtime's."""
    same, many = group.same_file, len(group.cells)
    if same is None:
        return ""
    if same == many:
        return "the .tflite file is the same" if many == 1 else "the .tflite files are the same"
    if same == 0:
        return "the .tflite file changed" if many == 1 else f"all {many} .tflite files changed"
    return f"{many - same} of {many} .tflite files changed"


_NAMED = {"data": "data of "}


def facts(group: RedGroup) -> list[str]:
    """List everything that changed, and the updates that accepted the values; one phrase each."""
    told = [
        line(f"{_NAMED.get(fact.kind, '')}{fact.name} {fact.old} → {fact.new}")
        + ("" if fact.used else " (not used by these cells)")
        for fact in group.changed
    ]
    accepted = "some of them accepted" if len(group.accepted) > 1 else "accepted"
    return [
        *told,
        *(f"{accepted} on {one.date} from run {line(one.run)}: {line(one.reason)}" for one in group.accepted),
    ]
