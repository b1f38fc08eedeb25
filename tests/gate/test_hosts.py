"""A latency that was accepted on another host of its class: what hosts differ by is no slowdown."""

import numpy as np
import pytest
from conftest import accepted
from quantbench import gate
from quantbench.records import BaselineCell, BaselineValue, Judgement, Measurement, Verdict

HERE, THERE = "a1", "b2"
MACHINE, SUBJECT = "class", gate.Subject("m", "v", "reports/r")
CELLS = 21
# Of a run of so many timed cells: half of its 1 % budget is latency's, and half of that the typical call's.
ALPHA = 0.01 / 2 / 2 / CELLS
PROCESSES, BETWEEN_PROCESSES = 10, 0.005


def timed(level: float, random: np.random.Generator) -> list[float]:
    """One ratio a process, of one run."""
    run = level * (1 + random.normal(0, gate.between_runs(1)))
    return [float(one) for one in run * (1 + random.normal(0, BETWEEN_PROCESSES, PROCESSES))]


def known(values: list[float], host: str | None, hosts: dict[str, float] | None = None) -> BaselineValue:
    value = accepted(float(np.mean(values)), 0.01, "ratio", values=values, n=len(values))
    return value.model_copy(update={"hosts": hosts, "accepted": value.accepted.model_copy(update={"host": host})})


def judged(now: list[float], again: list[float], before: BaselineValue, host: str = HERE) -> Judgement:
    first, second = (Measurement(value=1.0, unit="ratio", n=len(one), values=one) for one in (now, again))
    twice = second if gate.suspicious(first, before, 1, host) else None
    cell = BaselineCell(latency={MACHINE: before})
    return gate.latency(SUBJECT, "latency_ratio", first, cell, MACHINE, ALPHA, twice, 1, host)


def reds(between_hosts: float, recorded: int, slower: float = 0.0, there: str | None = THERE) -> float:
    """Simulate which fraction of cells is red on a host that is new to the baseline."""
    random, red, runs = np.random.default_rng(12), 0, 1_500
    for _ in range(runs):
        levels = 0.8 * (1 + random.normal(0, between_hosts, max(2, recorded + 1)))
        hosts = {f"h{i}": float(level) for i, level in enumerate(levels[1:])} if recorded > 1 else None
        before = known(timed(levels[1], random), there, hosts)
        now = levels[0] * (1 + slower)
        red += judged(timed(now, random), timed(now, random), before).verdict is Verdict.REGRESSED
    return red / runs


@pytest.mark.parametrize("between_hosts", [0.005, 0.01, 0.02])
@pytest.mark.parametrize("recorded", [1, 3, 10])
def test_a_run_on_another_host_is_red_in_at_most_one_of_a_hundred(between_hosts: float, recorded: int) -> None:
    """Each cell differs by itself, which is the worst case: a run is red where any of its cells is."""
    assert 1 - (1 - reds(between_hosts, recorded)) ** CELLS <= 0.01


def test_without_hosts_it_would_be_red_much_more_often() -> None:
    """A baseline of before hosts were recorded is judged as if this host had measured it."""
    assert reds(0.02, 1, there=None) > 0.1


def test_a_gross_slowdown_is_red_on_another_host_too_and_a_small_one_where_hosts_are_known() -> None:
    assert reds(0.005, 1, slower=0.25) > 0.95
    assert reds(0.005, 10, slower=0.12) > 0.9


def test_what_is_worse_on_another_host_is_a_warning_that_says_what_to_do() -> None:
    random = np.random.default_rng(3)
    values = timed(0.8, random)
    slow = [1.05 * one for one in values]
    here, there = judged(slow, slow, known(values, HERE)), judged(slow, slow, known(values, THERE))
    assert here.verdict is Verdict.REGRESSED
    assert "another host" not in here.message
    assert there.verdict is Verdict.WARN
    assert (
        "another host of this machine profile, so 1.5 % of noise between hosts is added (assumed until 3"
        in there.message
    )
    assert there.actions[0].what == "time the accepted commit on this host too and compare the two runs"
    assert "another host" not in judged(values, values, known(values, THERE)).message  # a run says it once


def test_a_host_whose_own_level_is_recorded_is_judged_by_that() -> None:
    values = timed(0.8, np.random.default_rng(4))
    slow = [1.05 * one for one in values]
    level = float(np.mean(slow))
    hosts = {THERE: 0.8, HERE: level}
    assert judged(slow, slow, known(values, THERE, hosts)).verdict is Verdict.PASS
    slower = [1.05 * one for one in slow]
    assert judged(slower, slower, known(values, THERE, hosts)).verdict is Verdict.REGRESSED


def test_what_hosts_show_moderates_the_assumption() -> None:
    assert gate.spread_of_hosts(None) == gate.spread_of_hosts({"a": 1.0, "b": 1.5}) == 0.015
    alike = {f"h{i}": 0.8 for i in range(12)}
    assert gate.spread_of_hosts(alike) < 0.01
    random = np.random.default_rng(5)
    apart = {f"h{i}": float(0.8 * (1 + random.normal(0, 0.05))) for i in range(20)}
    assert gate.spread_of_hosts(apart) > 0.03


def test_hosts_are_kept_for_one_artifact_and_not_without_end() -> None:
    first = known([0.8, 0.8], THERE)
    assert gate.hosts_with(None, HERE, 0.81) is None
    both = gate.hosts_with(first, HERE, 0.81)
    assert both == {THERE: pytest.approx(0.8), HERE: 0.81}
    assert gate.hosts_with(first, THERE, 0.79) is None
    assert gate.hosts_with(first, "", 0.81) is None
    many = {f"h{i}": 0.8 for i in range(40)}
    kept = gate.hosts_with(known([0.8, 0.8], "h0", many), HERE, 0.81)
    assert kept is not None
    assert len(kept) == 20
    assert kept[HERE] == 0.81
