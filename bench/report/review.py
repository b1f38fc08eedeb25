"""The review document of a baseline update: Markdown, ready for a pull request."""

from collections.abc import Iterable

from tabulate import tabulate

from bench.acceptance import Move, Proposal, distance_to_floor
from bench.environment import class_of
from bench.records import Report


def render(report: Report, proposals: list[Proposal], written: bool) -> str:
    """Old and new value of everything that moves, in noise units, with the distance left to the floor."""
    moves = [move for proposal in proposals for move in proposal.moves]
    moving = [move for move in moves if move.moves]
    verb = "moved" if written else "would move"
    title = f"# Baselines: {len(moving)} of {len(moves)} values {verb}"
    facts = f"From run `{report.run}` ({report.started}), commit {report.environment.git_commit or 'unknown'}."
    declared = {cell: [reason] for proposal in proposals for cell, reason in proposal.declared.items()}
    facts += _listed("Declared unsupported, or not what its name says", declared)
    facts += _listed("What the artifacts are made of", _all(proposal.structure for proposal in proposals))
    laid = [cell for proposal in proposals for cell in proposal.overlaid]
    if laid:
        names = ", ".join(f"`{cell}`" for cell in laid)
        facts += f"\n\nWritten as an overlay of `{class_of(report.environment)}`; the base stays: {names}"
    dropped = {one.file.model: [f"`{name}`" for name in one.dropped] for one in proposals if one.dropped}
    facts += _listed("Started afresh, without these cells of the old baseline", dropped)
    kept, gone = _all(one.exceptions for one in proposals), _all(one.outgrown for one in proposals)
    facts += _listed(
        "Exceptions that are kept (`baseline loosen` and `baseline xfail`, with `--remove`, end one)", kept
    )
    facts += _listed("Loosened tolerances that go, for the derived ones are as wide by now", gone)
    if not moving:
        return f"{title}\n\n{facts}\n"
    left = {cell.id: distance_to_floor(cell) for cell in report.cells}
    rows = [_row(move, left.get(move.cell)) for move in moving]
    headers = [
        "cell",
        "measurement",
        "old",
        "new",
        "change",
        "in noise units",
        "since the first baseline",
        "left to the floor",
    ]
    table = tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True)
    return f"{title}\n\n{facts}\n\n{table}{_between(moving)}\n"


def _all(found: Iterable[dict[str, list[str]]]) -> dict[str, list[str]]:
    return {cell: sentences for one in found for cell, sentences in one.items()}


def _listed(title: str, found: dict[str, list[str]]) -> str:
    if not found:
        return ""
    return f"\n\n{title}:\n\n" + "\n".join(f"- `{cell}`: {'; '.join(told)}" for cell, told in found.items())


def _between(moving: list[Move]) -> str:
    """What came between old and new of each value that moves; values of one history are told together."""
    told: dict[str, list[str]] = {}
    for move in moving:
        if move.between:
            told.setdefault(move.between, []).append(f"`{move.cell}` {move.measurement}")
    lines = [f"- {what}: {', '.join(values)}" for what, values in told.items()]
    return "\n\nWhat came between old and new:\n\n" + "\n".join(lines) if lines else ""


def _row(move: Move, left: float | None) -> list[str]:
    change = "new" if move.old is None else _change(move, move.old)
    units = "" if move.noise_units is None else f"{move.noise_units:.1f}"
    floor = f"{left:.2f}" if left is not None and move.measurement == "score" else ""
    return [
        f"`{move.cell}`",
        move.measurement,
        _number(move.old, move.unit),
        _number(move.new, move.unit),
        change,
        units,
        "" if move.first is None else _change(move, move.first),
        floor,
    ]


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    if unit == "bytes":
        return f"{value:,.0f} bytes"
    return f"{100 * value:.2f} %" if unit == "fraction" else f"{value:.4g} {unit}"


def _change(move: Move, old: float) -> str:
    difference = move.new - old
    if move.unit == "fraction":
        return f"{100 * difference:+.2f} pp"
    return f"{100 * difference / old:+.2f} %" if old else f"{difference:+.4g}"
