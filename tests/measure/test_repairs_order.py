"""The smallest of the repairs that explain the same is the cause."""

from typing import Any

from quantbench.measure.repairs import _ordered
from quantbench.records import Suspect


def suspect(position: int, recovered: float, together: int = 0, by: Any = "float") -> Suspect:
    others = list(range(100, 100 + together))
    return Suspect(position=position, operator="ADD", tensor="t", together=others, repaired_by=by, recovered=recovered)


def places(*suspects: Suspect) -> list[int]:
    return [one.position for one in _ordered(suspects)]


def test_the_smallest_repair_that_explains_nearly_as_much_comes_first() -> None:
    assert places(suspect(1, 0.998, together=15), suspect(2, 0.94), suspect(3, 0.2)) == [2, 1, 3]


def test_a_range_counts_once_however_many_operators_pass_it_on() -> None:
    assert places(suspect(4, 0.93), suspect(1, 0.99, together=2, by="range")) == [1, 4]


def test_a_repair_that_explains_clearly_more_comes_first_whatever_its_size() -> None:
    assert places(suspect(1, 0.7), suspect(2, 0.95, together=15), suspect(3, 0.2)) == [2, 1, 3]
    assert places(suspect(1, -0.5), suspect(2, -0.1), suspect(3, 0.0)) == [3, 2, 1]
    assert places() == []
