"""The search for levels, against what ruptures documents."""

import numpy as np
import pytest
from quantbench.comparison import change_points


def _series() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    lengths = (6, 20, 100, 500)
    return [np.concatenate([random.normal(level, 1, n) for level in (0, random.integers(0, 4))]) for n in lengths]


@pytest.mark.parametrize("x", _series(), ids=len)
def test_the_compiled_search_alone_finds_what_the_package_finds(x: np.ndarray) -> None:
    assert change_points._search() is not None
    for penalty in (0.5, 4 * np.log(len(x))):
        assert change_points.starts(x, penalty) == change_points.searched_by_package(x, penalty)


def test_the_package_searches_where_its_compiled_part_lies_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_points, "_search", lambda: None)
    assert change_points.starts(np.repeat([0.0, 9.0], 20), 5.0) == [20]
