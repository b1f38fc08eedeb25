"""The review document of a baseline update: Markdown, ready for a pull request."""

from tabulate import tabulate

from bench.acceptance import Move, Proposal, distance_to_floor
from bench.records import Report


def render(report: Report, proposals: list[Proposal], written: bool) -> str:
    """Old and new value of everything that moves, in noise units, with the distance left to the floor."""
    moves = [move for proposal in proposals for move in proposal.moves]
    moving = [move for move in moves if move.moves]
    verb = "moved" if written else "would move"
    title = f"# Baselines: {len(moving)} of {len(moves)} values {verb}"
    facts = f"From run `{report.run}` ({report.started}), commit {report.environment.git_commit or 'unknown'}."
    declared = {cell: reason for proposal in proposals for cell, reason in proposal.declared.items()}
    if declared:
        facts += "\n\nDeclared unsupported, or not what its name says:\n\n"
        facts += "\n".join(f"- `{cell}`: {reason}" for cell, reason in declared.items())
    made_of = {cell: changes for proposal in proposals for cell, changes in proposal.structure.items()}
    if made_of:
        facts += "\n\nWhat the artifacts are made of:\n\n"
        facts += "\n".join(f"- `{cell}`: {'; '.join(changes)}" for cell, changes in made_of.items())
    if not moving:
        return f"{title}\n\n{facts}\n"
    left = {cell.id: distance_to_floor(cell) for cell in report.cells}
    rows = [_row(move, left.get(move.cell)) for move in moving]
    headers = ["cell", "measurement", "old", "new", "change", "in noise units", "left to the floor"]
    table = tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True)
    return f"{title}\n\n{facts}\n\n{table}\n"


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
