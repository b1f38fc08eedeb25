"""How often ``quantbench history`` raises an alarm over nothing, and how soon it sees what is real: made-up nights.

Healthy cells: half are not trained, and an upgrade every 30 nights flips a few of their answers both ways; half are
trained, and every upgrade trains them anew. Memory and latency are noisy every night: independent noise, or noise whose
neighbours are correlated by .5 or .8; on one kind of processor, or on two in turns whose levels differ. An alarm counts
in the night in which it begins.

    python -m studies.history_alarms --cells 200 --nights 365
"""

import argparse
import datetime
from dataclasses import dataclass, replace

import numpy as np
from quantbench.comparison.alarms import CHURN, alarms
from quantbench.comparison.spread import Spread
from quantbench.comparison.summary import VALUES, Scoring, Summary
from quantbench.comparison.trends import Trend
from quantbench.core.arrays import Array
from quantbench.records import Environment, Verdict

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
UPGRADE = 30  # nights
EXAMPLES = 10_000
TRAINING = 0.0013  # sd of one training's score: the median of the shipped baselines is near
NOISE = 0.02  # sd of the noisy ratios: twice their tolerance, so that the tolerance hides no false alarm
SCORING = Scoring(metric="accuracy", unit="pp", scale=100.0, higher_is_better=True)


@dataclass(frozen=True)
class World:
    """Describe the nights to simulate.

    Attributes:
        memory: correlation of the noise of neighbouring nights.
        processors: that take turns.
        real: by how many sds the noisy ratios rise in the last ``nights_since`` nights.
        lost: fraction of the examples that every cell loses then, besides what an upgrade flips.
    """

    cells: int = 200
    nights: int = 365
    warm_up: int = 24
    memory: float = 0.0
    processors: int = 1
    real: float = 0.0
    lost: float = 0.0
    nights_since: int = 0


def noise(random: np.random.Generator, memory: float, shape: tuple[int, int]) -> Array:
    """Return normal noise of variance 1, shape (series, nights), each night correlated by ``memory`` with the last."""
    fresh = random.normal(size=shape)
    found = fresh.copy()
    for night in range(1, shape[1]):
        found[:, night] = memory * found[:, night - 1] + np.sqrt(1 - memory**2) * fresh[:, night]
    return found


def made_up(world: World, seed: int) -> list[Trend]:
    """Return one trend for each cell and kind of processor, over all nights of that processor."""
    random = np.random.default_rng(seed)
    nights = world.warm_up * world.processors + world.nights
    where = np.arange(nights) % world.processors
    since = np.arange(nights) >= nights - world.nights_since
    runs = [_run(night, where[night]) for night in range(nights)]
    eras = np.arange(nights) // UPGRADE + since  # what is real comes with an upgrade
    ratios = noise(random, world.memory, (2 * world.cells, nights)) + world.real * since
    trends = []
    for cell in range(world.cells):
        trained = cell % 2 == 1
        for processor in range(world.processors):
            at = np.flatnonzero(where == processor)
            values = {name: np.full(len(at), np.nan) for name in VALUES}
            values["score"] = (
                _scores(random, trained, eras[at]) - np.round(world.lost * EXAMPLES) / EXAMPLES * since[at]
            )
            values["examples"] = np.full(len(at), float(EXAMPLES))
            level = 0.8 * (1 + 0.05 * processor)
            for place, name in enumerate(("memory_ratio", "latency_ratio")):
                values[name] = level * (1 + NOISE * ratios[2 * cell + place, at])
            name = f"m/{'trained' if trained else 'v'}{cell}"
            mine = [runs[night] for night in at]
            mine[-1] = mine[-1].model_copy(update={"trained": [name] if trained else []})
            trends.append(_trend(name, mine, values, trained))
    return trends


def _scores(random: np.random.Generator, trained: bool, eras: Array) -> Array:
    """Return a score for each night: another one after each upgrade."""
    upgrades = int(eras.max()) + 1
    if trained:
        levels = random.normal(0.87, TRAINING, upgrades)
    else:
        mean = CHURN * EXAMPLES
        net = random.poisson(mean, upgrades) - random.poisson(mean, upgrades)
        levels = 0.87 + np.cumsum(net) / EXAMPLES
    return np.round(levels, 9)[eras]


def _trend(name: str, runs: list[Summary], values: dict[str, Array], trained: bool) -> Trend:
    spread = Spread(TRAINING, 12, "its own seeds") if trained else None
    return Trend(name, SCORING, runs, values, Verdict.PASS, runs[0], None, {}, "A", spread)


def _run(night: int, processor: int) -> Summary:
    started = START + datetime.timedelta(days=night)
    environment = Environment(
        python="3.12.1",
        os="Linux 6",
        cpu=f"processor {processor}",
        isa=f"{processor:08d}",
        cores=2,
        memory_gib=8.0,
        packages={"tensorflow": f"2.{night // UPGRADE}"},
        git_commit=f"{night:040d}",
        git_dirty=False,
        machine_class=f"processor_{processor}",
    )
    return Summary(
        report_bytes=0,
        run=started.strftime("%Y-%m-%dT%H-%M-%SZ"),
        started=started.isoformat(),
        state="complete",
        trained_from_scratch=False,
        environment=environment,
        data_sha256={},
        scoring={"m": SCORING},
        trained=[],
        cells=[],
        verdicts=[],
        values={},
    )


def as_of(trend: Trend, runs: int) -> Trend:
    """Return the trend as it was after its first so many runs."""
    newest = trend.runs[runs - 1].model_copy(update={"trained": trend.runs[-1].trained})
    values = {name: column[:runs] for name, column in trend.values.items()}
    return replace(trend, runs=[*trend.runs[: runs - 1], newest], values=values)


def begun(trend: Trend, first: int) -> list[str]:
    """Return the measurement of each alarm that begins after the first so many runs of a trend."""
    last, found = set[str](), list[str]()
    for runs in range(first, len(trend.runs) + 1):
        now = {alarm.step.measurement for alarm in alarms(as_of(trend, runs))}
        found += sorted(now - last) if runs > first else []
        last = now
    return found


def false_alarms(world: World, seed: int = 0) -> dict[str, int]:
    """Count the alarms over nothing, by measurement."""
    counts: dict[str, int] = {}
    for trend in made_up(world, seed):
        for name in begun(trend, world.warm_up):
            counts[name] = counts.get(name, 0) + 1
    return counts


def seen(world: World, measurement: str, seed: int = 0) -> float:
    """Return the fraction of cells whose alarm is there in the last night or before it, since what is real began."""
    trends = made_up(world, seed)
    since = world.nights_since
    found = [
        any(
            alarm.step.measurement == measurement
            for runs in range(len(trend.runs) - since + 1, len(trend.runs) + 1)
            for alarm in alarms(as_of(trend, runs))
        )
        for trend in trends
        if measurement != "score" or trend.spread is None
    ]
    return float(np.mean(found))


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=200, help="default: %(default)s")
    parser.add_argument("--nights", type=int, default=365, help="default: %(default)s")
    arguments = parser.parse_args()
    print("| noise of neighbouring nights | processors in turns | false alarms in 30 nights | of which |")
    print("|---|---:|---:|---|")
    for memory in (0.0, 0.5, 0.8):
        for processors in (1, 2):
            world = World(arguments.cells, arguments.nights, memory=memory, processors=processors)
            counts = false_alarms(world)
            rate = sum(counts.values()) * 30 / arguments.nights
            listed = ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"
            print(
                f"| correlated by {memory:g} | {processors} | {rate:.2f} | {listed} in {arguments.nights} nights |",
                flush=True,
            )
    print("\n| real change | noise | seen after 3 runs | 5 | 7 |\n|---|---|---:|---:|---:|")
    for memory in (0.0, 0.5, 0.8):
        for sds in (3.0, 5.0):
            rates = [
                seen(World(arguments.cells, 80 + n, memory=memory, real=sds, nights_since=n), "latency_ratio")
                for n in (3, 5, 7)
            ]
            print(
                f"| ratio {sds:g} sd | {memory:g} | {' | '.join(f'{100 * rate:.0f} %' for rate in rates)} |", flush=True
            )
    rates = [seen(World(arguments.cells, 80 + n, lost=0.003, nights_since=n), "score") for n in (3, 5, 7)]
    print(f"| 0.3 pp in every cell | | {' | '.join(f'{100 * rate:.0f} %' for rate in rates)} of the cells |")


if __name__ == "__main__":
    main()
