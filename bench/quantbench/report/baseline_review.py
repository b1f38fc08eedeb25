"""A run beside the baselines, and what accepting it changes: Markdown, ready for a pull request.

How a measurement compares (outcome, interval, p-value) is the comparer's word, as in ``quantbench compare``; what moves
is that of :mod:`quantbench.baselines.update`.
"""

from collections.abc import Iterable, Mapping, Sequence

from quantbench.baselines.accepted_value import Move
from quantbench.baselines.update import Proposal, distance_to_floor
from quantbench.comparison import Comparison, Item, Outcome
from quantbench.core.environment import class_of
from quantbench.records import Cell
from quantbench.report.comparison import budget, headline
from quantbench.report.comparison_items import LONE, change_text, lone, p_text, value_text
from quantbench.report.formatting import code, document, escape, table

HEADERS = [
    "cell",
    "measurement",
    "outcome",
    "accepted",
    "this run",
    "change for the worse (95 %)",
    "p (needed)",
    "in standard errors",
    "since the first baseline",
    "left to the floor",
]


def render(found: Comparison, proposals: list[Proposal], written: bool) -> str:
    """What moves, the worst first; what else is not as it was accepted; and what goes with it."""
    report = found.new
    moves = [move for proposal in proposals for move in proposal.moves]
    moving = [move for move in moves if move.moves]
    verb = "moved" if written else "would move"
    commit = report.environment.git_commit or "unknown"
    dirty = " with local changes that are in no commit" if report.environment.git_dirty else ""
    facts = (
        f"From run {code(report.run)} ({escape(report.started)}), commit {escape(commit)}{dirty}. {headline(found)}."
    )
    parts = [f"# Baselines: {len(moving)} of {len(moves)} values {verb}", facts]
    if moving:
        parts += [_table(moving, found), budget(found) if found.false_alarms.judgements else "", _between(moving)]
    parts += [_besides(moving, found), *_with_it(proposals, class_of(report.environment))]
    return document(parts)


def _with_it(proposals: list[Proposal], here: str) -> list[str]:
    """What an update writes besides values."""
    declared = {cell: [reason] for proposal in proposals for cell, reason in proposal.declared.items()}
    parts = [_listed("Declared unsupported, or not what its name says", declared)]
    laid = [cell for proposal in proposals for cell in proposal.overlaid]
    if laid:
        names = ", ".join(code(cell) for cell in laid)
        parts.append(f"Written as an overlay of {code(here)}; the base stays: {names}")
    dropped = {one.file.model: [code(name) for name in one.dropped] for one in proposals if one.dropped}
    parts.append(_listed("Started afresh, without these cells of the old baseline", dropped))
    floors = {cell: [change] for proposal in proposals for cell, change in proposal.floors.items()}
    parts.append(_listed("Floors that changed in a model's file since these cells were accepted", floors))
    kept, gone = _all(one.exceptions for one in proposals), _all(one.outgrown for one in proposals)
    how = "`baseline loosen` and `baseline xfail`, with `--remove`, end one"
    parts.append(_listed(f"Exceptions that are kept ({how})", kept))
    parts.append(_listed("Loosened tolerances that go, for the derived ones are as wide by now", gone))
    return parts


def _all(found: Iterable[dict[str, list[str]]]) -> dict[str, list[str]]:
    return {cell: sentences for one in found for cell, sentences in one.items()}


def _listed(title: str, found: Mapping[str, Sequence[str]]) -> str:
    if not found:
        return ""
    lines = [f"- {code(cell)}: {'; '.join(map(escape, told))}" for cell, told in found.items()]
    return f"{title}:\n\n" + "\n".join(lines)


def _between(moving: list[Move]) -> str:
    """What came between old and new of each value that moves; values of one history are told together."""
    told: dict[str, list[str]] = {}
    for move in moving:
        if move.between:
            told.setdefault(move.between, []).append(f"{code(move.cell)} {escape(move.measurement)}")
    lines = [f"- {escape(what)}: {', '.join(values)}" for what, values in told.items()]
    return "What came between old and new:\n\n" + "\n".join(lines) if lines else ""


def _besides(moving: list[Move], found: Comparison) -> str:
    """What is not as it was accepted, and no value that moves: structure, failures, what cannot be compared."""
    shown = {(move.cell, move.measurement) for move in moving}
    rest = [item for item in found.told() if (item.cell, item.measurement) not in shown]
    lines = [
        f"- {item.outcome}: {code(item.cell)} {escape(item.measurement.replace('_', ' '))}: {escape(item.why)}"
        for item in rest
        if item.outcome not in LONE
    ]
    lines += [f"- {escape(line)}" for line in lone(rest)]
    return "Besides:\n\n" + "\n".join(lines) if lines else ""


def _table(moving: list[Move], found: Comparison) -> str:
    items = {(item.cell, item.measurement): item for item in found.items}
    items |= {(item.cell, ""): item for item in found.items if item.measurement == "cell"}  # of a cell that is new
    cells = {cell.id: cell for cell in found.new.cells}
    known = [
        (move, items.get((move.cell, move.measurement)) or items.get((move.cell, "")) or _uncompared(move))
        for move in moving
    ]
    place = {(item.cell, item.measurement): number for number, item in enumerate(found.told())}
    known.sort(key=lambda pair: place.get((pair[1].cell, pair[1].measurement), len(place)))
    rows = [_row(move, item, cells[move.cell]) for move, item in known]
    return table(rows, HEADERS)


def _uncompared(move: Move) -> Item:
    """What is to be said of a value that the comparer does not know, such as the distance of the outputs."""
    return Item("", "", Outcome.NEW if move.old is None else Outcome.UNCHANGED)


def _row(move: Move, item: Item, cell: Cell) -> list[str]:
    left = distance_to_floor(cell) if move.measurement == "score" else None
    return [
        code(move.cell),
        move.measurement,
        str(item.outcome),
        value_text(move.old, move.unit) or "–",
        value_text(move.new, move.unit),
        change_text(item),
        p_text(item),
        "" if move.errors is None else f"{move.errors:.1f}",
        "" if move.first is None else _since(move.first, move, cell),
        "" if left is None else f"{left:.2f} {cell.metric_unit}",
    ]


def _since(first: float, move: Move, cell: Cell) -> str:
    """The change since the first baseline, positive for the worse as all changes are."""
    worse = move.new - first
    if move.measurement == "score":
        return f"{(-worse if cell.higher_is_better else worse) * cell.metric_scale:+.2f} {cell.metric_unit}"
    return f"{100 * worse / first:+.2f} %" if first else f"{worse:+.4g} {move.unit}"
