"""Search for the smallest mixed artifact: pure functions of costs and errors, with one callback that tries an artifact.

Each operator has options, a cost in bytes and an error of the outputs that it causes alone. Errors are taken as
additive, so that for each allowed total the cheapest choice lies on the lower convex hulls of the operators' options,
passed in the order of error removed per byte (Shoham & Gersho 1988, "Efficient bit allocation for an arbitrary set of
quantizers"). Where on that path the limit is met is found by trying; then single operators are made smaller again.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

Chosen = Mapping[int, str]
ROOM = (0.5, 0.0)  # to the limit, in standard errors of the search
MOST_MOVES = 12  # exchanges that are tried from one choice; of single changes twice as many
# Choices on the path that are tried above the best one, and how far apart, as a share of what the whole path costs:
# what looks within in the search may be beyond on other examples.
RUNGS, APART = 8, 0.015


@dataclass(frozen=True)
class Option:
    """Describe one setting of a unit.

    Attributes:
        setting: its name; ``float`` leaves the unit as it is.
        cost: bytes, or another price, from that of ``float``.
        error: of the outputs, where nothing else is quantized.
    """

    setting: str
    cost: float
    error: float


@dataclass(frozen=True)
class Unit:
    """Hold operators that get the same setting, as they share their weights.

    Attributes:
        positions: of the operators.
        options: any number, ``float`` among them.
    """

    positions: tuple[int, ...]
    options: tuple[Option, ...]


@dataclass(frozen=True)
class Step:
    """Describe one step along a unit's hull: a dearer setting, with a smaller error."""

    unit: Unit
    before: Option
    after: Option

    @property
    def worth(self) -> float:
        """Return the error removed per cost."""
        return (self.before.error - self.after.error) / (self.after.cost - self.before.cost)


def hull(options: Sequence[Option]) -> list[Option]:
    """Return the options on the lower convex hull of (cost, error), the cheapest first."""
    best: list[Option] = []
    for one in sorted(options, key=lambda one: (one.cost, one.error)):
        if not math.isfinite(one.error) or (best and one.error >= best[-1].error):
            continue
        while len(best) > 1 and _slope(best[-2], best[-1]) <= _slope(best[-2], one):
            best.pop()
        best.append(one)
    return best


def _slope(first: Option, second: Option) -> float:
    """Return the error removed per cost from one option to a dearer one."""
    return (first.error - second.error) / (second.cost - first.cost)


def path(units: Sequence[Unit]) -> list[dict[int, str]]:
    """Return choices from the cheapest to the most exact one, each with one step more than the one before."""
    hulls = [(unit, hull(unit.options)) for unit in units]
    now: dict[int, str] = {}
    for unit, found in hulls:
        if found:
            now.update(dict.fromkeys(unit.positions, found[0].setting))
    steps = [Step(unit, a, b) for unit, found in hulls for a, b in pairwise(found)]
    choices = [dict(now)]
    for step in sorted(steps, key=lambda step: -step.worth):
        now.update(dict.fromkeys(step.unit.positions, step.after.setting))
        choices.append(dict(now))
    return choices


@dataclass(frozen=True)
class Move:
    """Describe a change of a choice.

    Attributes:
        saved: cost.
        added: error.
    """

    chosen: dict[int, str]
    saved: float
    added: float


def _moves(units: Sequence[Unit], chosen: Chosen, cheaper: bool) -> list[Move]:
    """Return the choices in which one unit has another option: all cheaper ones, or the next on its hull."""
    found = []
    for unit in units:
        now = next((one for one in unit.options if one.setting == chosen.get(unit.positions[0])), None)
        if now is None:
            continue
        others = [one for one in unit.options if one.cost < now.cost and math.isfinite(one.error)]
        if not cheaper:
            others = [one for one in hull(unit.options) if one.cost > now.cost and one.error < now.error][:1]
        for after in others:
            changed = {**chosen, **dict.fromkeys(unit.positions, after.setting)}
            found.append(Move(changed, now.cost - after.cost, after.error - now.error))
    return found


def cheaper(units: Sequence[Unit], chosen: Chosen) -> list[dict[int, str]]:
    """Return cheaper choices nearby, in the order in which they are worth trying.

    First those in which one unit gets a cheaper option, by the error that they add for what they save; then those in
    which another unit takes a step forward to make up for at least all of it, by what is saved.
    """
    less = _moves(units, chosen, cheaper=True)
    single = sorted(less, key=lambda move: move.added / move.saved)[: MOST_MOVES * 2]
    both = ((one, other) for one in less for other in _moves(units, one.chosen, cheaper=False))
    exchanges = [
        Move(other.chosen, one.saved + other.saved, one.added + other.added)
        for one, other in both
        if one.saved + other.saved > 0 and one.added + other.added <= 0
    ]
    double = sorted(exchanges, key=lambda move: -move.saved)[:MOST_MOVES]
    return [move.chosen for move in (*single, *double)]


def searched(
    units: Sequence[Unit], margin: Callable[[Chosen], float], cost: Callable[[Chosen], float], more: Callable[[], bool]
) -> None:
    """Try choices until the cheapest that keeps the limit is found, or there is no time for more.

    Twice: with some room to the limit, as the cheapest of many looks better than it is, and without.

    Args:
        margin: tries a choice and returns how far it is on the right side of the limit; negative on the wrong one, and
            where it cannot be made. It keeps what it tried, and tries none twice.
        cost: of a choice that was tried.
        more: whether there is time for another one.
    """
    choices = path(units)
    started = [(room, _bisected(choices, _with(margin, room), more)) for room in ROOM]
    least = next((place for place, one in enumerate(choices) if any(one is best for _, best in started)), len(choices))
    for rung in rungs(units, choices[least:]):
        if more():
            margin(rung)
    for room, best in started:
        while best is not None and more():
            best = _smaller(units, best, _with(margin, room), cost, more)


def rungs(units: Sequence[Unit], choices: Sequence[Chosen]) -> list[Chosen]:
    """Return some of a path's choices above its first one, at even distances in cost."""
    if not choices or not units:
        return []
    span = sum(max(one.cost for one in unit.options) - min(one.cost for one in unit.options) for unit in units)
    found: list[Chosen] = []
    last = _cost_of(units, choices[0])
    for choice in choices[1:]:
        cost = _cost_of(units, choice)
        if cost >= last + APART * span and len(found) < RUNGS:
            found.append(choice)
            last = cost
    return found


def _cost_of(units: Sequence[Unit], chosen: Chosen) -> float:
    """Return the cost of a choice by the costs of its options."""
    return sum(one.cost for unit in units for one in unit.options if one.setting == chosen.get(unit.positions[0]))


def _with(margin: Callable[[Chosen], float], room: float) -> Callable[[Chosen], float]:
    return lambda chosen: margin(chosen) - room


def _bisected(choices: Sequence[Chosen], margin: Callable[[Chosen], float], more: Callable[[], bool]) -> Chosen | None:
    low, high, best = 0, len(choices) - 1, None
    while low <= high and more():
        middle = (low + high) // 2
        if margin(choices[middle]) >= 0:
            best, high = choices[middle], middle - 1
        else:
            low = middle + 1
    return best


def _smaller(
    units: Sequence[Unit],
    chosen: Chosen,
    margin: Callable[[Chosen], float],
    cost: Callable[[Chosen], float],
    more: Callable[[], bool],
) -> Chosen | None:
    """Return a choice nearby that is cheaper and still keeps the limit; None where none was found."""
    for choice in cheaper(units, chosen):
        if not more():
            return None
        if margin(choice) >= 0 and cost(choice) < cost(chosen):
            return choice
    return None
