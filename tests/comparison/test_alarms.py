"""Alarms of a history: none over nothing, and soon over what is real. ``studies/history_alarms.py`` measures a year."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Quantbench
from made_up_runs import cell, environment, measured, report, write
from quantbench.comparison.alarms import NEW, STAYS, _noisy, alarms, flips
from quantbench.comparison.history import History, read_history, with_accepted
from quantbench.comparison.noise import autocorrelation, level_change
from quantbench.comparison.shifts import moved
from quantbench.comparison.trends import trend, trends
from quantbench.report.history import overview, raised
from studies.history_alarms import World, false_alarms, noise, seen

Made = tuple[dict[str, Any], dict[str, Any]]  # fields of a cell, fields of the environment


@pytest.mark.parametrize("processors", [1, 2])
@pytest.mark.parametrize("memory", [0.0, 0.5, 0.8])
def test_healthy_cells_raise_at_most_one_alarm_a_month(memory: float, processors: int) -> None:
    """Scaled to 200 cells and 30 nights; the noise remembers, and processors whose levels differ take turns."""
    world = World(cells=15, nights=30, memory=memory, processors=processors)
    expected = (
        world.cells / 200 * world.nights / 30
    )  # 0.075 in this small version, at the most that is allowed: two would be chance in 0.3 %
    assert sum(false_alarms(world, seed=5).values()) <= 1
    assert expected < 1


@pytest.mark.parametrize(
    ("memory", "sds", "runs", "least"),
    [(0.0, 3, 5, 0.8), (0.0, 3, 7, 0.95), (0.5, 5, 5, 0.9), (0.8, 5, 3, 0.9)],
)
def test_a_slowdown_is_seen_within_a_few_nights(memory: float, sds: float, runs: int, least: float) -> None:
    world = World(cells=40, nights=80 + runs, memory=memory, real=sds, nights_since=runs)
    assert seen(world, "latency_ratio") >= least


def test_a_loss_in_every_cell_is_seen_after_three_nights() -> None:
    """0.3 pp of 10,000 examples, at an upgrade that flips 0.2 % of the answers each way besides."""
    world = World(cells=50, nights=40 + STAYS, lost=0.003, nights_since=STAYS)
    assert seen(world, "score") >= 0.7


def test_the_estimated_memory_of_noise_is_that_of_the_noise() -> None:
    random = np.random.default_rng(4)
    for memory in (0.0, 0.5, 0.8):
        found = [autocorrelation(x) for x in noise(random, memory, (200, 100))]
        assert np.mean(found) == pytest.approx(memory, abs=0.06)


def test_a_step_is_as_unlikely_as_it_says() -> None:
    """Size at 5 %: noise that remembers, of which little is known, makes a few more than 5 % look unlikely."""
    random = np.random.default_rng(6)
    for memory in (0.0, 0.5, 0.8):
        p = [level_change(x[:60], x[60:]).p_above for x in noise(random, memory, (800, 65))]
        assert np.mean(np.array(p) <= 0.05) <= 0.09


def test_few_runs_of_noise_that_remembers_are_no_alarm() -> None:
    """These series looked like steps as long as the one estimate of their autocorrelation was taken for the truth."""
    healthy = 0.8 * (1 + 0.02 * noise(np.random.default_rng(2), 0.8, (400, 84)))
    for series, runs in ((41, range(44, 48)), (325, (25, 27, 28, 29))):
        assert all(_noisy("latency_ratio", healthy[series, :newest]) is None for newest in runs)


def test_a_healthy_upgrade_flips_this_many() -> None:
    assert [flips(n) for n in (200, 1000, 10_000)] == [5, 8, 22]


def day(number: int) -> str:
    return f"2026-{1 + number // 28:02d}-{1 + number % 28:02d}T00-00-00Z"


def lay(folder: Path, made: list[Made]) -> History:
    for number, (fields, where) in enumerate(made):
        found = report([cell(**fields)], day(number), environment=environment(**where))
        write(folder, found)
    return read_history(folder)


def of(value: float, name: str = "size", **more: Any) -> dict[str, Any]:
    return {"measurements": {name: measured(value, **more)}}


A: dict[str, Any] = {}
B = {"machine_class": "B_2-core", "isa": "87654321"}


def test_an_alarm_is_new_and_stays(tmp_path: Path) -> None:
    """Not before three runs, then until it is seven runs old; and never for what went away again."""
    sizes = [1000.0] * 5 + [1100.0] * 10
    history = lay(tmp_path / "stays", [(of(size), A) for size in sizes])
    told = []
    for last in range(5, 16):
        found = trend(history, "m/v", last - 1)
        told.append([(alarm.step.since.run, alarm.runs) for alarm in alarms(found)])
    assert told == [[], [], [], *[[(day(5), runs)] for runs in range(STAYS, NEW + 1)], [], [], []]
    gone = lay(tmp_path / "gone", [(of(size), A) for size in [*[1000.0] * 5, 1100, 1100, *[1000.0] * 3]])
    assert raised(gone) == []
    better = lay(tmp_path / "better", [(of(size), A) for size in [*[1000.0] * 5, *[900.0] * 4]])
    assert raised(better) == []


def test_two_processors_in_turns_shift_nothing(tmp_path: Path) -> None:
    made = [(of((0.90, 0.91)[number % 2], "score", unit="fraction"), (A, B)[number % 2]) for number in range(40)]
    history = lay(tmp_path, made)
    for found in trends(history, "m/v"):
        assert (moved(found), list(alarms(found)), len(found.runs)) == ([], [], 20)
    assert overview(history).startswith("# 40 runs, nothing changed (1 cell)")


def test_what_gets_worse_on_the_other_processor_alone_is_an_alarm(tmp_path: Path) -> None:
    def score(number: int) -> float:
        return 0.80 if number % 2 and number >= 20 else 0.90

    made = [(of(score(number), "score", unit="fraction"), (A, B)[number % 2]) for number in range(27)]
    history = lay(tmp_path, made)
    [(found, alarm)] = raised(history)
    assert (found.machine, alarm.step.since.run, alarm.runs) == ("B_2-core", day(21), 3)
    assert "## 1 alarm" in overview(history)
    assert "B_2-core" in overview(history)


def test_an_upgrade_of_the_runtime_begins_no_new_series(tmp_path: Path) -> None:
    def on(number: int) -> dict[str, Any]:
        return {"machine_class": f"A_2-core_litert-2.{number // 5}.0_1-thread"}

    history = lay(tmp_path, [(of(1000 if number < 5 else 1100), on(number)) for number in range(8)])
    [(found, alarm)] = raised(history)
    assert (found.machine, alarm.step.since.run) == ("A_2-core_1-thread", day(5))


def trained(levels: list[float], seeds: int = 1) -> list[Made]:
    """Six runs a level, each the mean over so many seeds, as far apart as 0.1 pp where there are several."""
    made: list[Made] = []
    for level in levels:
        values = [level + 0.001 * (place - (seeds - 1) / 2) for place in range(seeds)]
        score = measured(level, "fraction", values).model_copy(
            update={"spread": float(np.std(values, ddof=1)) if seeds > 1 else None}
        )
        made += [({"seeds": list(range(seeds)), "measurements": {"score": score}}, A)] * 6
    return made


def test_a_trained_cell_may_change_at_an_upgrade_by_what_seeds_do(tmp_path: Path) -> None:
    accepted = {"m/v": [(0.001, 12)]}
    healthy = with_accepted(lay(tmp_path / "healthy", trained([0.900, 0.902, 0.899])), accepted)
    assert moved(trend(healthy, "m/v")) == []
    assert raised(healthy) == []
    worse = with_accepted(lay(tmp_path / "worse", trained([0.900, 0.902, 0.880])), accepted)
    [(_, alarm)] = raised(worse)
    assert alarm.step.old == pytest.approx(0.902)
    assert "sd 0.10 pp" in alarm.how


def test_the_spread_of_trainings_comes_from_the_runs_too(tmp_path: Path) -> None:
    history = lay(tmp_path / "five", trained([0.900, 0.901, 0.880], seeds=5))
    assert [shift.new for shift in moved(trend(history, "m/v"))] == [pytest.approx(0.880)]
    unknown = lay(tmp_path / "one", trained([0.900, 0.880]))
    assert moved(trend(unknown, "m/v")) == []
    assert (
        "Trained cells whose score changed and is not judged, as the spread between seeds is unknown: 1."
        in overview(unknown)
    )


def test_the_command_ends_with_status_1_on_an_alarm_where_asked(quantbench: Quantbench, tmp_path: Path) -> None:
    lay(tmp_path, [(of(size), A) for size in [*[1000.0] * 4, *[1100.0] * 3]])
    done = quantbench("history", "--report-dir", str(tmp_path))
    assert done.status == 0
    assert "## 1 alarm" in done.output
    for more in ([], ["m/v"]):
        assert quantbench("history", *more, "--report-dir", str(tmp_path), "--alarm").status == 1
    lay(tmp_path / "quiet", [(of(1000), A)] * 4)
    assert quantbench("history", "--report-dir", str(tmp_path / "quiet"), "--alarm").status == 0
