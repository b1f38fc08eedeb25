"""The search among mixed artifacts: on additive made-up errors it finds the cheapest choice within the limit."""

import itertools
import math
from collections.abc import Mapping

import numpy as np
import pytest
from quantbench.adopt.frontier import Chosen, Option, Unit, cheaper, hull, path, rungs, searched

FLOAT = Option("float", 0, 0.0)


def unit(position: int, *options: tuple[str, float, float]) -> Unit:
    return Unit((position,), (*(Option(*one) for one in options), FLOAT))


def test_a_hull_leaves_out_what_is_dearer_or_off_the_line() -> None:
    options = [
        FLOAT,
        Option("int4", -90, 8.0),
        Option("int4 clipped", -90, 4.0),
        Option("no better", -80, 6.0),
        Option("off the line", -75, 3.9),
        Option("int8", -60, 0.1),
        Option("broken", -99, math.inf),
    ]
    assert [one.setting for one in hull(options)] == ["int4 clipped", "int8", "float"]
    assert hull([FLOAT]) == [FLOAT]


def test_a_path_goes_from_the_cheapest_to_the_most_exact_choice_by_worth() -> None:
    units = [unit(0, ("int4", -90, 9.0), ("int8", -60, 1.0)), unit(3, ("int4", -900, 9.0), ("int8", -600, 1.0))]
    choices = path(units)
    assert choices[0] == {0: "int4", 3: "int4"}
    assert choices[1] == {0: "int8", 3: "int4"}  # the same error for a tenth of the bytes
    assert choices[-1] == {0: "float", 3: "float"}
    assert len(choices) == 5


def test_operators_with_the_same_weights_take_their_steps_together() -> None:
    shared = Unit((1, 4), (Option("int8", -60, 1.0), FLOAT))
    assert path([shared]) == [{1: "int8", 4: "int8"}, {1: "float", 4: "float"}]
    assert cheaper([shared], {1: "float", 4: "float"}) == [{1: "int8", 4: "int8"}]
    assert cheaper([shared], {1: "int8", 4: "int8"}) == []


def test_a_step_back_of_one_operator_is_made_up_for_by_a_step_forward_of_another() -> None:
    units = [unit(0, ("int8", -100, 1.0)), unit(1, ("int8", -60, 2.0)), unit(2, ("int8", -90, 0.5))]
    choices = cheaper(units, {0: "float", 1: "int8", 2: "int8"})
    assert choices == [{0: "int8", 1: "int8", 2: "int8"}, {0: "int8", 1: "float", 2: "int8"}]


class Additive:
    """A made-up model whose errors add up; it counts what is tried."""

    def __init__(self, units: list[Unit], limit: float) -> None:
        self.units, self.limit, self.tried = units, limit, 0

    def of(self, chosen: Chosen, field: str) -> float:
        options = [next(o for o in unit.options if o.setting == chosen[unit.positions[0]]) for unit in self.units]
        return float(sum(getattr(one, field) for one in options))

    def margin(self, chosen: Chosen) -> float:
        self.tried += 1
        return self.limit - self.of(chosen, "error")

    def cost(self, chosen: Mapping[int, str]) -> float:
        return self.of(chosen, "cost")

    def best(self) -> float:
        everything = itertools.product(*([o.setting for o in unit.options] for unit in self.units))
        all_chosen = [
            {unit.positions[0]: name for unit, name in zip(self.units, names, strict=True)} for names in everything
        ]
        return min((self.cost(one) for one in all_chosen if self.of(one, "error") <= self.limit), default=math.inf)


class Kept(Additive):
    """The same, which keeps the cheapest that it was asked about and that keeps the limit."""

    found = math.inf

    def margin(self, chosen: Chosen) -> float:
        key = tuple(sorted(chosen.items()))
        self.known = getattr(self, "known", {})
        if key in self.known:
            return float(self.known[key])
        self.known[key] = margin = super().margin(chosen)
        if margin >= 0:
            self.found = min(self.found, self.cost(chosen))
        return margin


def test_rungs_above_the_best_choice_are_as_far_apart_as_is_asked_and_few() -> None:
    units = [unit(place, ("int4", -90, 9.0 + place), ("int8", -60, 1.0)) for place in range(40)]
    choices = path(units)
    costs = [
        sum({"int4": -90, "int8": -60, "float": 0}[name] for name in one.values()) for one in rungs(units, choices)
    ]
    assert costs == [-3540 + 60 * number for number in range(8)]  # by 1.5 % of 3,600, in steps of 30
    assert rungs(units, []) == rungs([], [{}]) == []


@pytest.mark.parametrize("seed", range(20))
def test_the_search_comes_near_to_the_best_of_all_choices_with_few_tries(seed: int) -> None:
    random = np.random.default_rng(seed)
    units = []
    for position in range(7):
        size, weight = random.uniform(10, 1000), random.lognormal(0, 2)
        options = [
            ("int4", -0.87 * size, weight),
            ("int8", -0.75 * size, weight / 100),
            ("half", -0.5 * size, weight / 1e5),
        ]
        units.append(unit(position, *options))
    model = Kept(units, limit=float(random.uniform(0.02, 2.0)))
    searched(units, model.margin, model.cost, lambda: True)
    whole = sum(min(one.cost for one in unit.options) for unit in units)
    assert model.found <= model.best() - 0.03 * whole
    assert model.tried < 60  # of 16,384


def test_the_search_stops_where_there_is_no_time_and_where_nothing_keeps_the_limit() -> None:
    units = [unit(place, ("int4", -90, 1.0)) for place in range(9)]
    late = Kept(units, 2.0)
    searched(units, late.margin, late.cost, lambda: late.tried < 2)
    assert late.tried == 2
    never = Kept(units, -1.0)
    searched(units, never.margin, never.cost, lambda: True)
    assert never.found == math.inf
    nothing = Kept([], -1.0)
    searched([], nothing.margin, nothing.cost, lambda: True)
    assert nothing.tried == 1
