"""Draw errors along the graph: of each operator's output, its own part, and the suspects with the repaired score."""

import math
from collections.abc import Sequence

from quantbench.core.echo import line
from quantbench.records import Attribution, OperatorError, Suspect
from quantbench.report.attribution import REPAIRS, explains, layer, place, shown_score
from quantbench.report.plots import (
    CHARACTER,
    LATENCY_MARKS,
    RIGHT,
    RING,
    Group,
    Item,
    Place,
    Plot,
    Tick,
    across,
    log_axis,
    mark_at,
    plotted,
    text_at,
    upwards,
)

NUMBERED = 3  # suspects with a ring and a number; more would cover the rest
_LEFT, _HIGH, _BAND = 62, 210, 15  # pixels: left of the axis, of the axis, and of each suspect's line above it
_LONGEST = 22  # letters of a name below the axis
_APART = 12  # pixels between two names
_DECADES = 1e3  # the axis ends where errors are so many times smaller than the largest
_THIN = 60  # operators; the bars of more are thin
_LEAST = 1e-6  # per cent; what is smaller is drawn as this


def drawable(found: Attribution) -> bool:
    """Check whether the errors of at least two operators are known."""
    return sum(one.finite for one in found.operators) > 1


def along(found: Attribution, width: int = 760) -> Plot:
    """Plot the errors of operators in the order of the file; needs :func:`drawable`."""
    steps, suspects = found.operators, _numbered(found)
    top, right = 8 + _BAND * len(suspects), width - RIGHT
    bottom = top + _HIGH
    apart = (right - _LEFT) / max(1, len(steps))
    x_of = [_LEFT + apart * (number + 0.5) for number in range(len(steps))]
    y_of, ticks = _axis(steps, bottom, top)
    y = [_height(one.error, y_of) if one.finite else top for one in steps]
    axes = [*upwards(ticks, _LEFT, right), *across([], top, bottom)]
    axes.append(Item("axis", text="error, % of float values, log", place=f"12 {top + _HIGH / 2:.1f}", anchor="middle"))
    axes.append(Item("trend", "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x_of, y, strict=True))))
    by_place = {one.position: number for number, one in enumerate(suspects, 1)}
    repaired = {at for one in suspects for at in (one.position, *one.together)}
    names = _names(steps, by_place, x_of, bottom)
    groups = [Group([*axes, *names])]
    thin = " thin" if len(steps) > _THIN else ""
    for one, at, high in zip(steps, x_of, y, strict=True):
        suspected = " suspect" if one.position in repaired else ""
        marks = [] if one.own is None else [Item(f"own{thin}{suspected}", _bar(at, bottom, _height(one.own, y_of)))]
        marks.append(mark_at("p99", LATENCY_MARKS["p99"], at, high) if not one.finite else _dot(at, high))
        groups.append(Group(marks, _title(one)))
    shown = {one.position: (at, high) for one, at, high in zip(steps, x_of, y, strict=True)}
    groups += [_marked(found, one, number, shown) for number, one in enumerate(suspects, 1) if one.position in shown]
    title = f"error along the graph of {found.subject} against {found.reference}"
    below = 14 + CHARACTER * max(len(one.text) for one in names)
    return plotted(title, width, bottom + below, groups, "the numbers are in the table")


def _numbered(found: Attribution) -> list[Suspect]:
    """Return the suspects that are worth a ring: the first, and those that explain something."""
    return [one for number, one in enumerate(found.suspects[:NUMBERED]) if number == 0 or explains(one)]


def legend() -> list[tuple[Item, str]]:
    """List the marks with their meaning."""
    return [
        (Item("trend", "M-7 3L0 -3L7 1"), "error of an operator's output"),
        (Item("own", "M0 6V-6"), "its own part: with exact inputs"),
        (Item("own suspect", "M0 6V-6"), "the same of a suspect that was repaired"),
        (Item("ring", "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0z"), "suspects, numbered as in the table"),
    ]


def _axis(steps: Sequence[OperatorError], bottom: float, top: float) -> tuple[Place, list[Tick]]:
    """Place errors, in per cent, on a logarithmic scale."""
    values = [100 * value for one in steps if one.finite for value in (one.error, one.own) if value]
    largest = max(values, default=1.0)
    least = max(min(values, default=0.1), largest / _DECADES, _LEAST)
    place_of, ticks = log_axis([least, max(largest, 2 * least)], bottom, top)
    return lambda value: min(bottom, max(top, place_of(value))), ticks


def _height(share: float, y_of: Place) -> float:
    return y_of(max(100 * share, _LEAST))


def _bar(x: float, bottom: float, y: float) -> str:
    return f"M{x:.1f} {bottom:.0f}V{y:.1f}"


def _dot(x: float, y: float) -> Item:
    return Item("dot", f"M{x:.1f} {y:.1f}h0")


def _title(one: OperatorError) -> str:
    if not one.finite:
        return f"{one.position} {place(one)}: values that are not finite"
    own = "cannot run alone" if one.own is None else f"own {percent(one.own)}"
    clipped = f", {percent(one.clipped)} clipped" if one.clipped else ""
    return f"{one.position} {place(one)}: error {percent(one.error)}, {own}{clipped}"


def percent(share: float) -> str:
    """Format a share with three digits."""
    return f"{100 * share:.3g} %"


def sqnr(share: float) -> str:
    """Format an error as the ratio of signal to noise, in dB."""
    return f"{-20 * math.log10(share):.1f}" if share > 0 else "∞"


def _names(steps: Sequence[OperatorError], first: dict[int, int], x_of: Sequence[float], bottom: float) -> list[Item]:
    """Name as many operators below the axis as can be read, suspects first."""
    order = sorted(range(len(steps)), key=lambda i: (first.get(steps[i].position, math.inf), i))
    taken: list[float] = []
    items = []
    for number in order:
        x = x_of[number]
        if all(abs(x - other) >= _APART for other in taken):
            taken.append(x)
            name = short_name(steps[number])
            items.append(Item("tick", text=name, place=f"{x + 4:.1f} {bottom + 6:.1f}", anchor="end"))
    return items


def short_name(one: OperatorError | Suspect) -> str:
    """Name an operator in few letters: its position, and the end of its layer's name, or its kind."""
    name = line(layer(one.tensor).rpartition("/")[2] or one.operator)
    return f"{one.position} {name if len(name) <= _LONGEST - 4 else '…' + name[5 - _LONGEST :]}"


def _marked(found: Attribution, one: Suspect, number: int, shown: dict[int, tuple[float, float]]) -> Group:
    """Ring a suspect, and say in a line above the axis what its repair gives."""
    x, y = shown[one.position]
    row = 8 + _BAND * (number - 0.3)
    late = x > _LEFT + 350
    score = "" if one.score is None else f", {found.metric} {shown_score(one.score, found)}"
    words = f"{number} {short_name(one).partition(' ')[2]}: {round(100 * one.recovered)} % of the error gone{score}"
    label = text_at("rank", words, x + (-5 if late else 5), row, "end" if late else "start")
    lines = Item("shift", f"M{x:.1f} {row + 2:.1f}V{y - 8:.1f}")
    return Group([lines, mark_at("ring", RING, x, y), label], f"{place(one)}: {REPAIRS[one.repaired_by]}")
