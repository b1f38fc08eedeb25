"""The split of a run among machines: whole, balanced, and the same everywhere."""

from pathlib import Path

import pytest
from made_up_runs import cell, report, write
from quantbench.engine import shards
from quantbench.engine.shards import Duration, Work
from quantbench.errors import BadInput
from quantbench.records import Environment
from quantbench.variants import VARIANTS


@pytest.mark.parametrize("text", ["", "2", "0/6", "7/6", "a/b", "-1/6", "1/6/2", "1/0", "²/6", "1/99999"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="such as 2/6"):
        shards.parse(text)


def test_the_last_shard_is_one() -> None:
    assert shards.parse(" 6/6 ") == (6, 6)


def _matrix(models: dict[str, tuple[float, float]]) -> tuple[dict[str, Work], dict[str, float]]:
    """All variants of models that take so long a cell: (converted, trained)."""
    works = {}
    for model, (converted, trained) in models.items():
        for variant in VARIANTS.values():
            made = trained if variant.trained else converted
            needs = {"float32", *([variant.control] if variant.control else [])} - {variant.name}
            works[f"{model}/{variant.name}"] = Work(
                (model, variant.trained), Duration(made, 10.0), frozenset(f"{model}/{name}" for name in needs)
            )
    return works, {cell_id: work.duration.made for cell_id, work in works.items()}


def _loads(works: dict[str, Work], controls: dict[str, float], home: dict[str, int], of: int) -> list[float]:
    found = []
    for index in range(1, of + 1):
        cells = {cell_id for cell_id, shard in home.items() if shard == index}
        needed = frozenset().union(*(works[cell_id].needs for cell_id in cells)) - cells
        own = sum(works[cell_id].seconds for cell_id in cells)
        found.append(own + sum(controls[cell_id] for cell_id in needed))
    return found


@pytest.mark.parametrize(("of", "over"), [(2, 1.05), (6, 1.2), (12, 1.4)])
def test_shards_are_nearly_as_long_as_each_other_with_the_controls_that_each_makes(of: int, over: float) -> None:
    works, controls = _matrix({"small": (1, 5), "middle": (3, 50), "large": (14, 75), "slow": (4, 70)})
    home = shards.split(works, controls, of)
    assert home.keys() == works.keys()
    assert set(home.values()) == set(range(1, of + 1))
    loads = _loads(works, controls, home, of)
    assert max(loads) < over * sum(work.seconds for work in works.values()) / of


def test_cells_of_one_control_stay_together_where_there_is_room() -> None:
    works, controls = _matrix({"one": (5, 50), "other": (5, 50)})
    home = shards.split(works, controls, 2)
    trained = {model: {home[c] for c, w in works.items() if w.group == (model, True)} for model in ("one", "other")}
    assert trained["one"] != trained["other"]
    assert all(len(found) == 1 for found in trained.values())


def test_no_shard_is_empty_and_more_than_cells_are_refused() -> None:
    works = {f"m/{i}": Work(("m", False), Duration(0.0)) for i in range(5)}
    assert sorted(shards.split(works, {}, 5).values()) == [1, 2, 3, 4, 5]
    with pytest.raises(BadInput, match="6 shards of 5 selected cells; ask for 5 at most"):
        shards.split(works, {}, 6)


def test_the_split_does_not_depend_on_the_order_of_durations() -> None:
    works, controls = _matrix({"one": (5, 50), "other": (5, 50)})
    backwards = dict(reversed(controls.items()))
    assert shards.split(works, controls, 3) == shards.split(works, backwards, 3)


def test_durations_are_recorded_ones_then_those_of_the_like_then_a_guess() -> None:
    seeds = {"m/a": 0, "m/b": 0, "m/t": 5, "n/a": 0}
    found = shards.durations(seeds, {"m/a", "m/b"}, {"m/a": Duration(2.0, 30.0)})
    assert found["m/a"] == Duration(2.0, 30.0)
    assert found["m/b"] == Duration(2.0, 30.0)
    assert found["n/a"] == Duration(2.0, 0.0)
    assert found["m/t"] == Duration(5 * shards.TRAINED, 0.0)


def test_durations_of_a_run_are_of_one_seed_on_all_cores(tmp_path: Path) -> None:
    cells = [cell("v", seconds=8.0, alone_seconds=3.0), cell("t", seconds=40.0, seeds=[0, 1])]
    folder = write(tmp_path, report(cells))
    assert Environment.model_validate(report(cells).environment).cores == 2
    assert shards.recorded(folder) == {"m/v": Duration(4.0, 3.0), "m/t": Duration(10.0, 0.0)}


def test_durations_of_a_part_of_a_run_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path, report([cell("v")], state="interrupted"))
    with pytest.raises(BadInput, match=r"--shard-durations: .* the run is interrupted; give a complete one"):
        shards.recorded(folder)
    with pytest.raises(BadInput, match=r"--shard-durations: .*no run there"):
        shards.recorded(tmp_path / "nowhere")
