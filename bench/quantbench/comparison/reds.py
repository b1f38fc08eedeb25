"""Describe what is red in a run: which cells belong together, since when, what changed, and what to do next."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from quantbench.comparison import families
from quantbench.comparison.earlier import (
    RED,
    Facts,
    Night,
    Since,
    accepted_of,
    changed_between_runs,
    changed_since_accepted,
    of_all,
    same_files,
    since_when,
)
from quantbench.comparison.summary import located
from quantbench.gate import LIMIT_IS_POLICY
from quantbench.records import (
    Accepted,
    AcceptedOn,
    Action,
    BaselineCell,
    Cell,
    FactChanged,
    Family,
    Judgement,
    Kind,
    Located,
    Pooled,
    RedGroup,
    Report,
    Verdict,
    parts,
)
from quantbench.records.measurements import RATIO, TO_YARDSTICK

_From = Literal["last green", "accepted", "nothing"]
_UPDATE = ["quantbench", "baseline", "update"]
_RUNTIME = ("ai-edge-litert", "numpy")  # every artifact runs on it


@dataclass(frozen=True)
class Around:
    """Hold what is known of a run besides its report.

    Attributes:
        run: its folder, and the folders that it was given, as words of a command.
        nights: earlier runs, oldest first.
        accepted: cell -> its baseline; None where it has none.
    """

    run: Sequence[str]
    nights: Sequence[Night] = ()
    accepted: Callable[[str], BaselineCell | None] = field(default=lambda _: None)


def red_groups(report: Report, around: Around) -> list[RedGroup]:
    """Group everything red in a run, the worst first, then the largest groups."""
    reds = {cell.id: cell for cell in report.cells if cell.verdict in RED}
    together: dict[tuple[object, ...], list[str]] = {}
    since: dict[str, Since] = {}
    for cell in reds.values():
        kind = _kind(cell)
        since[cell.id] = when = since_when(around.nights, cell.id, kind)
        nights = [night.summary.run if night else "" for night in (when.first_red, when.last_green)]
        together.setdefault((cell.verdict, kind, _reason(cell), *nights), []).append(cell.id)
    found = [
        _group(report, around, [reds[one] for one in ids], families.family_of(common), many, since)
        for alike in together.values()
        for common, ids, many in families.grouped(set(alike), report.cells)
    ]
    found += [_pool(one) for one in report.pooled if one.judgement.verdict in RED and not _told(one, reds)]
    severity = list(Verdict)
    return sorted(found, key=lambda one: (-severity.index(one.verdict), -len(one.cells), list(Kind).index(one.kind)))


def _kind(cell: Cell) -> Kind:
    return next((kind for kind in Kind if cell.verdicts.get(kind) is cell.verdict), Kind.ACCURACY)


_REASON = 80  # characters of a failure's reason by which failures are told apart


def _reason(cell: Cell) -> str:
    """Return why a cell has no result, without its name and numbers; empty where it has one."""
    if cell.failure is None:
        return ""
    text = f"{cell.failure.what}: {cell.failure.reason}".replace(cell.id, "").replace(cell.variant, "")
    return re.sub(r"[0-9]+", "", text)[:_REASON]


def _told(pooled: Pooled, reds: Mapping[str, Cell]) -> bool:
    """Whether cells that are red together are red in their scores one by one too, so that nothing is new."""
    scores = [reds[cell].verdicts.get(Kind.ACCURACY) for cell in pooled.cells if cell in reds]
    return scores.count(Verdict.REGRESSED) == len(pooled.cells)


def _pool(pooled: Pooled) -> RedGroup:
    judged = pooled.judgement
    return RedGroup(
        kind=judged.kind,
        verdict=judged.verdict,
        pool=pooled.id,
        cells=pooled.cells,
        of=len(pooled.cells),
        against={judged.against: len(pooled.cells)},
        unit=judged.unit,
        actions=judged.actions,
        acceptable=any(_accepts(action) for action in judged.actions),
    )


def _group(
    report: Report,
    around: Around,
    cells: list[Cell],
    common: Family,
    many: int,
    since: Mapping[str, Since],
) -> RedGroup:
    kind, verdict = _kind(cells[0]), cells[0].verdict
    cells = sorted(cells, key=lambda cell: -_worst_change(cell, kind))
    ids = [cell.id for cell in cells]
    changes = [change for cell in cells if (change := _from_accepted(cell, kind)) is not None]
    units = {one.unit for one in changes}
    comparable = len(changes) == len(cells) and len(units) == 1 and len({one.measurement for one in changes}) == 1
    values = [one.change for one in changes if one.change is not None]
    places = [place for cell in cells if (place := located(cell)) is not None]
    when = since[ids[0]]
    green = when.last_green
    began, changed, same = _changed(report, around, cells, kind, when)
    accepted = [one for cell in cells if (one := _accepted(report, around, cell, kind)) is not None]
    actions, acceptable = _actions(cells, kind, around.run, green, places, whole=len(cells) == len(report.cells))
    return RedGroup(
        kind=kind,
        verdict=verdict,
        also={other: number for other, number in _also(cells, kind).items() if number},
        cells=ids,
        family=common,
        of=many,
        against=dict(Counter(one for cell in cells for one in _violated(cell, kind)).most_common()),
        low=min(values) if comparable else None,
        high=max(values) if comparable else None,
        unit=units.pop() if comparable else "",
        located=_places(places),
        searched=sum(cell.attribution is not None for cell in cells),
        earlier=max(since[one].runs for one in ids),
        first_red=when.first_red.named() if when.first_red else None,
        last_green=green.named() if green else None,
        accepted=_updates(accepted),
        since=began,
        changed=changed,
        same_file=same,
        acceptable=acceptable,
        actions=actions,
    )


# ------------------------------------------------------------ what is violated, and by how much


def _red(cell: Cell, kind: Kind | None = None) -> list[Judgement]:
    return [one for one in cell.judgements if one.verdict in RED and kind in (None, one.kind)]


def _violated(cell: Cell, kind: Kind) -> list[str]:
    return list(dict.fromkeys(one.against for one in _red(cell, kind) if one.verdict is cell.verdict))


def _from_accepted(cell: Cell, kind: Kind) -> Judgement | None:
    """Return the first red judgement of a cell's value against the accepted one; None without such."""
    against = [one for one in _red(cell, kind) if one.against == "baseline" and one.change is not None]
    return next((one for one in against if one.verdict is Verdict.REGRESSED), None)


def _worst_change(cell: Cell, kind: Kind) -> float:
    """Return by how much a cell exceeds what is allowed, for an order among cells of one kind."""
    changes = [one.change - (one.tolerance or 0.0) for one in _red(cell, kind) if one.change is not None]
    return max(changes, default=0.0)


def _also(cells: Sequence[Cell], kind: Kind) -> dict[Kind, int]:
    return {other: sum(cell.verdicts.get(other) in RED for cell in cells) for other in Kind if other is not kind}


def _places(found: Sequence[Located]) -> list[Located]:
    """Put together the cells whose errors come from one operator of one model."""
    alike: dict[tuple[str, str, str], list[Located]] = {}
    for one in found:
        model, _ = parts(one.cells[0])
        alike.setdefault((model, one.operator, one.tensor), []).append(one)
    merged = [
        max(each, key=lambda one: one.recovered).model_copy(update={"cells": [one.cells[0] for one in each]})
        for each in alike.values()
    ]
    return sorted(merged, key=lambda one: (-len(one.cells), -one.recovered))


# ------------------------------------------------------------ since when, and what changed


def _changed(
    report: Report, around: Around, cells: Sequence[Cell], kind: Kind, when: Since
) -> tuple[_From, list[FactChanged], int | None]:
    """Return what the changes start from, the changes until the first red run, and how many artifacts are the same."""
    packages = {name for cell in cells for name in _packages(cell.variant)}
    ids = [cell.id for cell in cells]
    if when.last_green is not None:
        old = Facts.of_summary(when.last_green.summary)
        new = Facts.of_summary(when.first_red.summary) if when.first_red else Facts.of_report(report)
        models = {cell.model for cell in cells}
        return "last green", changed_between_runs(old, new, models, packages), same_files(old, new, ids)
    updates = [_accepted(report, around, cell, kind) for cell in cells]
    if None in updates:
        return "nothing", [], None
    facts = [changed_since_accepted(one, report.environment, packages) for one in updates if one is not None]
    return "accepted", of_all(facts), _same_as_accepted(around, cells)


def _packages(variant: str) -> tuple[str, ...]:
    from quantbench.variants import VARIANTS

    return (*VARIANTS[variant].packages, *_RUNTIME) if variant in VARIANTS else ()


def _same_as_accepted(around: Around, cells: Sequence[Cell]) -> int | None:
    known = [(around.accepted(cell.id), cell.artifact_sha256) for cell in cells]
    pairs = [(baseline.artifact_sha256 if baseline else None, own) for baseline, own in known]
    if any(None in pair for pair in pairs):
        return None
    return sum(before == after for before, after in pairs)


def _accepted(report: Report, around: Around, cell: Cell, kind: Kind) -> Accepted | None:
    baseline = around.accepted(cell.id)
    if baseline is None:
        return None
    values = dict(baseline.measurements)
    here = report.environment.machine_class
    if kind is Kind.LATENCY and here in baseline.latency:
        values = dict.fromkeys((RATIO, TO_YARDSTICK), baseline.latency[here]) | values
    return accepted_of(cell, {name: value.accepted for name, value in values.items()}, kind)


def _updates(found: Sequence[Accepted]) -> list[AcceptedOn]:
    distinct = {(one.date, one.run): one for one in found}
    return [
        AcceptedOn(date=one.date, run=one.run, reason=one.reason, commit=one.commit)
        for _, one in sorted(distinct.items(), reverse=True)
    ]


# ------------------------------------------------------------ what to do next


def _actions(
    cells: Sequence[Cell],
    kind: Kind,
    run: Sequence[str],
    green: Night | None,
    places: Sequence[Located],
    whole: bool,
) -> tuple[list[Action], bool]:
    """Return the next steps, and whether accepting the new values turns all cells green.

    Args:
        whole: whether these are all cells of the run.
    """
    offered = [action for cell in cells for one in _red(cell) for action in one.actions]
    acceptances = [_acceptance(cell) for cell in cells]
    acceptable = all(one is not None for one in acceptances)
    steps = _looks(cells, kind, run, offered, places)
    folder, folders = (run[0], list(run[1:])) if run else ("", [])
    if green is not None and green.folder and folder:
        steps.append(Action(what="compare", command=["quantbench", "compare", green.folder, folder, *folders]))
    if acceptable:
        steps.append(_accept_all([one for one in acceptances if one is not None], cells, whole))
    else:
        steps += _words([action for action in offered if not action.command], cells)
        again = [action for action in offered if action.command[:2] == ["quantbench", "run"]]
        steps += again[:1] if len(steps) < _FEWEST else []
    return steps, acceptable


def _words(offered: Sequence[Action], cells: Sequence[Cell]) -> list[Action]:
    """Return the first step that is no command; release limits of several models share one sentence."""
    told = list({action.what: action for action in offered}.values())
    limits = {LIMIT_IS_POLICY.format(model=cell.model): cell.model for cell in cells}
    models = [limits[action.what] for action in told if action.what in limits]
    if len(models) > 1 and told[0].what in limits:
        return [Action(what=LIMIT_IS_POLICY.format(model=".py, ".join(models)))]
    return told[:1]


_FEWEST = 2  # next steps, of which measuring again is the last


def _looks(
    cells: Sequence[Cell], kind: Kind, run: Sequence[str], offered: Sequence[Action], places: Sequence[Located]
) -> list[Action]:
    """Return how to look closer: where the error comes from, where the time goes, or into the artifact."""
    made = run and cells[0].artifact_sha256 is not None and cells[0].verdict in _MADE
    if made and kind is Kind.ACCURACY:
        cell = next((cell.id for cell in cells if any(cell.id in place.cells for place in places)), cells[0].id)
        return [Action(what="explain", command=["quantbench", "explain", cell, "--run", *run])]
    if made and kind is Kind.LATENCY:
        cell = next((cell.id for cell in cells if cell.operator_times is not None), cells[0].id)
        return [Action(what="explain", command=["quantbench", "explain", cell, "--time", "--run", *run])]
    return [action for action in offered if action.command[:2] == ["quantbench", "inspect"]][:1]


_MADE = (Verdict.REGRESSED,)


def _accepts(action: Action) -> bool:
    return action.command[: len(_UPDATE)] == _UPDATE


def _acceptance(cell: Cell) -> list[str] | None:
    """Return the command that accepts a cell; None where that would not turn it green.

    Each red judgement has to offer it: what offers none, such as a release limit, stays red whatever is accepted.
    """
    offers = [next((action for action in one.actions if _accepts(action)), None) for one in _red(cell)]
    if not offers or any(one is None for one in offers):
        return None
    words = [one.command for one in offers if one is not None]
    longest = max(words, key=len)
    return longest if all(set(_bare(one)) <= set(longest) for one in words) else None


def _bare(command: Sequence[str]) -> list[str]:
    """Return a command without the reason, which differs between judgements."""
    return list(command[: command.index("--reason")]) if "--reason" in command else list(command)


def _accept_all(commands: Sequence[list[str]], cells: Sequence[Cell], whole: bool) -> Action:
    """Put the commands that accept single cells together.

    Args:
        whole: whether these are all cells of the run; a first baseline need not name them.
    """
    longest: list[str] = max(commands, key=len)
    command = list(longest)
    missing = all(cell.verdict is Verdict.MISSING for cell in cells)
    if "--only" in command:
        at = command.index("--only")
        command[at : at + 2] = [] if whole and missing else ["--only", ",".join(cell.id for cell in cells)]
    return Action(what="record" if missing else "accept", command=command)
