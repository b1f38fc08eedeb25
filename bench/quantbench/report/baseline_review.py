"""A run beside the baselines, and what accepting it changes: Markdown, ready for a pull request.

The reader decides by what gets worse, so that comes first; then what stays red whatever is accepted, and the limits
that change in the same diff. How a measurement compares (outcome, interval, p-value) is the comparer's word, as in
``quantbench compare``; what moves is that of :mod:`quantbench.baselines.update`.
"""

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from quantbench.baselines.accepted_value import Move
from quantbench.baselines.update import LimitChange, LimitSeen, Proposal, limit_of
from quantbench.comparison import Comparison, Item, Outcome
from quantbench.core.environment import class_of
from quantbench.records import Cell, Judgement, Verdict
from quantbench.records.measurements import output_in, shown
from quantbench.report.comparison import budget, headline
from quantbench.report.comparison_items import LONE, change_text, lone, p_text, value_text
from quantbench.report.formatting import code, document, escape, table

HEADERS = [
    "cell",
    "measurement",
    "accepted",
    "this run",
    "change (+ is worse; 95 % CI)",
    "p (needed)",
    "change ÷ noise",
    "since the first baseline",
    "release limit",
]
MOST_NAMED = 5  # cells of one line
_NOTHING = Item("", "", Outcome.UNCHANGED)


@dataclass(frozen=True)
class Suggestion:
    """How the review names the command that accepts what it shows.

    Attributes:
        update: its words, with the run and the folders.
        whole: whether the run's cells are all shown, so that the command needs to name none.
    """

    update: Sequence[str]
    whole: bool = True


class Shown(NamedTuple):
    """A value that moves, as the comparer and the judges see it."""

    move: Move
    item: Item
    outcome: Outcome


@dataclass(frozen=True)
class _Review:
    """Everything the document is made of.

    Attributes:
        left_out: red cells of the run that are not part of the update.
    """

    found: Comparison
    proposals: list[Proposal]
    written: bool
    left_out: Sequence[str] = ()
    suggestion: Suggestion | None = None

    @cached_property
    def cells(self) -> dict[str, Cell]:
        return {cell.id: cell for cell in self.found.new.cells}

    @cached_property
    def shown(self) -> list[Shown]:
        """Every value that moves, in the comparer's order."""
        items = {(item.cell, item.measurement): item for item in self.found.items}
        items |= {(item.cell, ""): item for item in self.found.items if item.measurement == "cell"}  # of a new cell
        known = [
            _shown(move, items.get((move.cell, move.measurement)) or items.get((move.cell, "")), self.cells[move.cell])
            for proposal in self.proposals
            for move in proposal.moves
            if move.moves
        ]
        place = {(item.cell, item.measurement): number for number, item in enumerate(self.found.told())}
        return sorted(known, key=lambda one: place.get((one.item.cell, one.item.measurement), len(place)))

    @cached_property
    def besides(self) -> list[Item]:
        """What is not as it was accepted, and no value that moves: structure, failures, what cannot be compared."""
        moving = {(one.move.cell, one.move.measurement) for one in self.shown}
        return [item for item in self.found.told() if (item.cell, item.measurement) not in moving]

    @cached_property
    def worse(self) -> list[str]:
        """The cells in which anything gets worse."""
        cells = [one.move.cell for one in self.shown if one.outcome is Outcome.WORSE]
        return sorted({*cells, *(item.cell for item in self.besides if item.outcome is Outcome.WORSE)})

    @cached_property
    def changed(self) -> list[str]:
        """The cells of which an update writes anything, or that are not as they were accepted."""
        declared = {cell for proposal in self.proposals for cell in proposal.declared}
        return sorted({one.move.cell for one in self.shown} | {item.cell for item in self.besides} | declared)

    @cached_property
    def limits(self) -> dict[str, LimitSeen]:
        """The release limits that the run judged."""
        entries = {
            f"{one.file.model}/{variant}": entry for one in self.proposals for variant, entry in one.file.cells.items()
        }
        seen = {cell.id: limit_of(cell, entries.get(cell.id)) for cell in self.cells.values()}
        return {cell: limit for cell, limit in seen.items() if limit is not None}

    @cached_property
    def failing(self) -> list[str]:
        """The cells that stay beyond their release limit, whatever is accepted."""
        return [cell for cell, limit in self.limits.items() if limit.exceeded]

    @cached_property
    def failing_outputs(self) -> list[tuple[str, Judgement]]:
        """The cells of which a further output is beyond its own limit, with that judgement."""
        return [
            (cell.id, one)
            for cell in self.cells.values()
            for one in cell.judgements
            if one.against == "floor" and output_in(one.measurement) and one.verdict is Verdict.REGRESSED
        ]


def render(
    found: Comparison,
    proposals: list[Proposal],
    written: bool,
    left_out: Sequence[str] = (),
    suggestion: Suggestion | None = None,
) -> str:
    """What gets worse; what stays red; which limits changed; then the rest of what moves and what goes with it.

    Args:
        left_out: red cells of the run that the update does not take.
        suggestion: how to accept it; None where it is accepted already.
    """
    review = _Review(found, proposals, written, left_out, suggestion)
    sections = [
        f"# {_title(review)}",
        _facts(review),
        *_section("Gets worse", _worse(review)),
        *_section("Still red after this update", [_bullets(_still_red(review))]),
        *_section("Limits that change with it", [_bullets(_limits(review))]),
        *_section("The rest", _rest(review)),
        *_section("How to accept it", [_bullets(_accept(review))]),
    ]
    return document(sections)


def _section(title: str, told: Sequence[str]) -> list[str]:
    filled = [part for part in told if part]
    return [f"## {title}", *filled] if filled else []


def _title(review: _Review) -> str:
    what = "Baseline update" if review.written else "Proposed baseline update"
    if not review.changed:
        told = "nothing changes"
    else:
        worse = len(review.worse)
        told = f"{_count(len(review.changed), 'cell')}, {worse or 'none'} get{'s' if worse == 1 else ''} worse"
    failing = len({*review.failing, *(cell for cell, _ in review.failing_outputs)})
    if failing:
        told += f" — {failing} STILL FAIL{'S its limit' if failing == 1 else ' their limits'} after this update"
    return f"{what}: {told}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _facts(review: _Review) -> str:
    report = review.found.new
    here = report.environment
    commit, changed = here.repository_commit or here.git_commit or "(not recorded)", here.git_dirty
    dirty = " with local changes that are in no commit" if changed or here.repository_dirty else ""
    moves = [move for proposal in review.proposals for move in proposal.moves]
    verb = "moved" if review.written else "would move"
    return (
        f"From run {code(report.run)} ({escape(report.started)}), commit {escape(commit)}{dirty}. "
        f"{sum(move.moves for move in moves)} of {_count(len(moves), 'value')} {verb}."
        f"{'' if review.changed else f' {headline(review.found)}.'}"
    )


# ------------------------------------------------------------ what a reviewer decides by


def _worse(review: _Review) -> list[str]:
    rows = [_row(review, one) for one in review.shown if one.outcome is Outcome.WORSE]
    lines = [_line(item) for item in review.besides if item.outcome is Outcome.WORSE]
    return [_table(rows, HEADERS), _bullets(lines)]


def _still_red(review: _Review) -> list[str]:
    """What no update turns green, and what this one leaves as it is."""
    lines = []
    for cell in review.failing:
        seen, unit = review.limits[cell], escape(review.cells[cell].metric_unit)
        lines.append(
            f"{code(cell)}: {review.cells[cell].metric} drop vs float32 {seen.drop:.2f} {unit}, release limit "
            f"{seen.limit:g} {unit}: exceeded by {-seen.left:.2f} {unit}. The limit is `floors` in the model's file; "
            "accepting a baseline does not move it."
        )
    lines += [
        f"{code(cell)}: {escape(judged.message)}. The limit is `floors` of that output in the model's file; accepting "
        "a baseline does not move it."
        for cell, judged in review.failing_outputs
    ]
    moves = [move for proposal in review.proposals for move in proposal.moves if not move.moves]
    lines += [
        f"{code(move.cell)}: {escape(shown(move.measurement))} stays red: its accepted value comes from more seeds, or "
        "differs too little to move"
        for move in moves
        if _is_red(review.cells[move.cell], move.measurement)
    ]
    names = ", ".join(code(cell) for cell in review.left_out)
    return [*lines, *([f"not part of this update, and red: {names}"] if names else [])]


def _limits(review: _Review) -> list[str]:
    """Name the limits that change, the looser ones first; cells whose limit changes alike are one line."""
    alike: dict[tuple[bool, str, bool], list[LimitChange]] = {}
    for change in (change for proposal in review.proposals for change in proposal.limits):
        alike.setdefault((not change.looser, _limit(change), not change.accepted), []).append(change)
    lines = []
    for (_, words, outside), changes in sorted(alike.items()):
        cells = [code(change.cell) for change in changes]
        more = f" and {len(cells) - MOST_NAMED} more" if len(cells) > MOST_NAMED else ""
        left = "; not part of this update" + (", so a warning stays" if changes[0].looser else "") if outside else ""
        lines.append(f"{words}: {', '.join(cells[:MOST_NAMED])}{more}{left}")
    return lines


def _limit(change: LimitChange) -> str:
    how = "looser" if change.looser else "stricter"
    if change.measurement:
        return (
            f"tolerance of {escape(shown(change.measurement))} {change.before:g} → {change.after:g} ({how}; by the "
            "rule of this version)"
        )
    before, after = (
        "none" if limit is None else f"{limit:g} {escape(change.unit)}" for limit in (change.before, change.after)
    )
    why = f", “{escape(change.reason)}”" if change.reason else ""
    model = escape(change.cell.partition("/")[0])
    return f"release limit {before} → {after} ({how}), in the file of model {model}{why}"


# ------------------------------------------------------------ the rest


def _rest(review: _Review) -> list[str]:
    quiet = [one for one in review.shown if one.outcome is Outcome.UNCHANGED]
    rows = [
        [str(one.outcome), *_row(review, one)]
        for one in review.shown
        if one.outcome not in (Outcome.WORSE, Outcome.UNCHANGED)
    ]
    items = [item for item in review.besides if item.outcome is not Outcome.WORSE]
    lines = [_line(item) for item in items if item.outcome not in LONE] + [escape(line) for line in lone(items)]
    return [
        _table(rows, ["outcome", *HEADERS]),
        _bullets(lines),
        _within(quiet),
        budget(review.found) if review.shown and review.found.false_alarms.judgements else "",
        _between([one.move for one in review.shown]),
        *_with_it(review.proposals, class_of(review.found.new.environment)),
    ]


def _within(quiet: Sequence[Shown]) -> str:
    """Count the values that move within chance and tolerance: they are written, and no news."""
    counts = Counter(shown(one.move.measurement) for one in quiet)
    if not counts:
        return ""
    told = ", ".join(f"{escape(name)} {count}" for name, count in counts.most_common())
    return f"Written too, but within tolerance or chance: {_count(len(quiet), 'value')} ({told})."


def _with_it(proposals: list[Proposal], here: str) -> list[str]:
    """What an update writes besides values."""
    declared = {cell: [reason] for proposal in proposals for cell, reason in proposal.declared.items()}
    parts = [_listed("New known limitations (unsupported, or only partly quantized)", declared)]
    laid = [cell for proposal in proposals for cell in proposal.overlaid]
    if laid:
        names = ", ".join(code(cell) for cell in laid)
        parts.append(f"Written for the machine profile {code(here)} only; the common values stay: {names}")
    dropped = {one.file.model: [code(name) for name in one.dropped] for one in proposals if one.dropped}
    parts.append(_listed("Recorded from scratch, without these cells of the old baseline", dropped))
    kept, gone = _all(one.exceptions for one in proposals), _all(one.outgrown for one in proposals)
    how = "`baseline loosen` and `baseline xfail`, with `--remove`, end one"
    parts.append(_listed(f"Exceptions that are kept ({how})", kept))
    parts.append(_listed("Widened tolerances that end, as the computed ones are as wide by now", gone))
    return parts


def _all(found: Iterable[dict[str, list[str]]]) -> dict[str, list[str]]:
    return {cell: sentences for one in found for cell, sentences in one.items()}


def _listed(title: str, found: Mapping[str, Sequence[str]]) -> str:
    if not found:
        return ""
    lines = [f"{code(cell)}: {'; '.join(map(escape, told))}" for cell, told in found.items()]
    return f"{title}:\n\n{_bullets(lines)}"


def _between(moving: list[Move]) -> str:
    """What came between old and new of each value that moves; values of one history are told together."""
    told: dict[str, list[Move]] = {}
    for move in moving:
        if move.between:
            told.setdefault(move.between, []).append(move)
    lines = [f"{escape(what)}: {_named(moves)}" for what, moves in told.items()]
    return f"Changed between the two:\n\n{_bullets(lines)}" if lines else ""


def _named(moves: Sequence[Move]) -> str:
    """Name values by cell, each cell once."""
    by_cell: dict[str, list[str]] = {}
    for move in moves:
        by_cell.setdefault(move.cell, []).append(escape(shown(move.measurement)))
    return "; ".join(f"{code(cell)} {', '.join(names)}" for cell, names in by_cell.items())


# ------------------------------------------------------------ how to accept it


def _accept(review: _Review) -> list[str]:
    """Suggest the command that accepts what accepting turns green, for this machine profile where it is another."""
    replaced = {cell: there for proposal in review.proposals for cell, there in proposal.replaced.items()}
    here, there = class_of(review.found.new.environment), ", ".join(code(one) for one in sorted({*replaced.values()}))
    profiles = (
        f"The accepted values of {_count(len(replaced), 'cell')} come from another machine profile ({there}) than "
    )
    if review.suggestion is None:
        told = f"{profiles}the run ({code(here)}), and were replaced. To keep both, restore the files from git and use "
        return [f"{told}`--per-machine`."] if replaced else []
    good = [cell for cell in review.changed if cell not in review.failing]
    if not good:
        return ["Nothing to accept turns a cell green: see what is still red."] if review.failing else []
    command = [*review.suggestion.update]
    if review.failing or not review.suggestion.whole:
        command += ["--only", ",".join(good)]
    command += ["--per-machine"] if replaced else []
    lines = [f"{profiles}this run ({code(here)}): `--per-machine` keeps both."] if replaced else []
    return [*lines, code(shlex.join([*command, "--reason", "why this is right"]))]


# ------------------------------------------------------------ rows and lines


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(rows: Sequence[Sequence[str]], headers: Sequence[str]) -> str:
    """Return a table without the columns that are empty in every row; empty where there is no row."""
    filled = [column for column in range(len(headers)) if any(row[column] for row in rows)]
    return table([[row[at] for at in filled] for row in rows], [headers[at] for at in filled]) if rows else ""


def _line(item: Item) -> str:
    return f"{item.outcome}: {code(item.cell)} {escape(shown(item.measurement))}: {escape(item.why)}"


def _shown(move: Move, item: Item | None, cell: Cell) -> Shown:
    """Take the comparer's outcome; of what it does not know, such as the distance of the outputs, the judges'."""
    if _is_red(cell, move.measurement):
        return Shown(move, item or _NOTHING, Outcome.WORSE)
    if item is not None:
        return Shown(move, item, item.outcome)
    verdicts = _verdicts(cell, move.measurement)
    outcome = Outcome.NEW if move.old is None else Outcome.UNCHANGED
    if Verdict.WARN in verdicts:
        outcome = Outcome.WORSE
    elif Verdict.IMPROVED in verdicts:
        outcome = Outcome.BETTER
    return Shown(move, _NOTHING, outcome)


def _is_red(cell: Cell, measurement: str) -> bool:
    return Verdict.REGRESSED in _verdicts(cell, measurement)


def _verdicts(cell: Cell, measurement: str) -> list[Verdict]:
    return [one.verdict for one in cell.judgements if one.measurement == measurement and one.against == "baseline"]


def _row(review: _Review, one: Shown) -> list[str]:
    move, cell = one.move, review.cells[one.move.cell]
    limit = review.limits.get(cell.id) if move.measurement == "score" else None
    return [
        code(move.cell),
        shown(move.measurement),
        value_text(move.old, move.unit) or "–",
        value_text(move.new, move.unit),
        change_text(one.item),
        p_text(one.item),
        "" if move.errors is None else f"{move.errors:.1f}",
        "" if move.first is None else _since(move.first, move, cell),
        "" if limit is None else _of_limit(limit, cell.metric_unit),
    ]


def _of_limit(limit: LimitSeen, unit: str) -> str:
    return f"{limit.left:.2f} {unit} left" if limit.left >= 0 else f"exceeded by {-limit.left:.2f} {unit}"


def _since(first: float, move: Move, cell: Cell) -> str:
    """The change since the first baseline, positive for the worse as all changes are."""
    worse = move.new - first
    of_output = cell.outputs.get(output_in(move.measurement))
    if of_output is not None:
        better = of_output.higher_is_better
        return f"{(-worse if better else worse) * of_output.scale:+.2f} {of_output.unit}"
    if move.measurement == "score":
        return f"{(-worse if cell.higher_is_better else worse) * cell.metric_scale:+.2f} {cell.metric_unit}"
    return f"{100 * worse / first:+.2f} %" if first else f"{worse:+.4g} {move.unit}"
