"""Measure what counting stalls reaches: false reds, and 30 ms in one of 1,000 calls, from recorded processes.

    python -m studies.stalls --record 8 --report-dir reports/reference     # so many more processes of each series first
    python -m studies.stalls --report-dir reports/reference                # the tables alone

Fresh processes of all series are recorded in random order, every other round under a random load on every core
(:mod:`quantbench.selftest.load`); their counts are kept in ``stalls.json``. Each times as long as one that follows a
suspicious first stage; several of a first stage are one of them. Runs are drawn from them, with replacement and without
the order in which they were recorded, and judged as one of 21 timed cells. In the series with a fault, one of 1,000
calls of the artifact sleeps for 30 ms, the first of them at random in each process.
"""

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from quantbench import gate
from quantbench.core.arrays import Array
from quantbench.core.options import RunOptions
from quantbench.core.stats import upper_bound
from quantbench.engine import measurements
from quantbench.engine.turns import EXPECTED, cost_of
from quantbench.measure.latency import CALLS, Blocks, Latency, save_inputs, time_once
from quantbench.measure.latency import Process as TimedProcess
from quantbench.records import Accepted, BaselineValue, Measurement, Stalls, Verdict
from quantbench.records.measurements import RATIO, STALLS, TO_YARDSTICK
from quantbench.reference.model import load_models
from quantbench.selftest.latency import PER_RUN, SECONDS, SHARE, SUBJECT
from quantbench.selftest.load import busy
from quantbench.variants import FLOAT_CONTROL

from studies import _common

STALL = (1000, 0.03)
LENGTH = 2  # processes of each series in one round
ALPHA = gate.beside_share(SHARE)[1]
# Microseconds of a call; blocks that are interrupted, where the machine is loaded; processes from which runs are drawn.
SIMULATED, LOAD, SIMULATED_POOL = (15, 50, 100, 200, 300, 500, 900), 0.05, 240
# Machines on which nothing is wrong: blocks that are interrupted; and a level at which false reds can be counted.
LOADS, LENIENT = (0.0, 0.0003, 0.004, LOAD), 0.05
_RECORDING = "stalls.json"


class Series(NamedTuple):
    """Describe what is recorded: an artifact timed in turns with another, and with the reference workload."""

    model: str
    variant: str
    beside: str
    stalls: bool = False

    @property
    def name(self) -> str:
        """Name it in one line."""
        return f"{self.model}/{self.variant} beside {self.beside}"


ALIKE = (
    ("seed_cnn", "ptq_float16", "float32"),
    ("vit_tiny", "float32", "float32"),
    ("resnet8", "float32", "float32"),
    ("mobilenet_v2", "aeq_dynamic_wi8_afp32", "aeq_dynamic_wi8_afp32"),
)
UNLIKE = (
    ("autoencoder", "ptq_static_wi8_ai8", "float32"),
    ("resnet8", "ptq_static_wi8_ai8", "float32"),
    ("vit_tiny", "ptq_static_wi8_ai8", "float32"),
    ("mobilenet_v2", "aeq_dynamic_wi8_afp32", "float32"),
    ("lstm", "ptq_static_wi8_ai8", "float32"),
)
RECORDED = (
    *(Series(*of, stalls) for of in ALIKE for stalls in (False, True)),
    *(Series(*of) for of in UNLIKE),
)


@dataclass(frozen=True)
class Process:
    """Hold what was counted in one process.

    Attributes:
        load: whether our random load ran.
        microseconds: of a typical call.
        counts: of each length: longer, then stalls, lost, usual and calls of the artifact, and of that beside it.
        workload: the same of the artifact and the reference workload.
    """

    series: Series
    load: bool
    microseconds: float
    counts: list[list[float]]
    workload: list[list[float]]

    def stalls(self, workload: bool = False) -> list[Stalls]:
        """Return the counts as a run has them, beside the other artifact or the reference workload."""
        names = ("stalls", "lost", "usual", "calls")
        return [
            Stalls.model_validate(
                {
                    "longer": longer,
                    "artifact": dict(zip(names, rest[:4], strict=True)),
                    "beside": dict(zip(names, rest[4:], strict=True)),
                }
            )
            for longer, *rest in (self.workload if workload else self.counts)
        ]


def record(count: int, processes: list[Process], keep: Callable[[], None]) -> None:
    """Add ``count`` processes of each series; ``keep`` is called after each round."""
    models = load_models(RunOptions().model_dir)
    files = {
        (one.model, name): _common.artifact(models[one.model], name)
        for one in RECORDED
        for name in (one.variant, one.beside)
    }
    with tempfile.TemporaryDirectory(prefix="quantbench-") as folder:
        inputs = {}
        for name in {one.model for one in RECORDED}:
            (Path(folder) / name).mkdir()
            inputs[name] = save_inputs(models[name], Path(folder) / name)
        for done in range(0, count, LENGTH):
            seed = len(processes)
            load = bool(done // LENGTH % 2)
            turns = [one for one in RECORDED for _ in range(LENGTH)]
            with busy(seed) if load else nullcontext():
                for place in np.random.default_rng(seed).permutation(len(turns)):
                    one = turns[place]
                    more: dict[str, Any] = {"stall": STALL} if one.stalls else {}
                    pair = files[one.model, one.variant], files[one.model, one.beside]
                    more["calls"] = CALLS * gate.LONGER_PROCESSES
                    seconds = SECONDS * gate.LONGER_PROCESSES
                    timed = Latency([time_once(*pair, inputs[one.model], seconds, 1, seed + int(place), **more)])
                    found = [*timed.stalls("control"), *timed.stalls("yardstick")]
                    if len(found) == 2:
                        processes.append(Process(one, load, timed.microseconds()[0], *map(_flat, found)))
            keep()
            print(f"recorded {done + LENGTH} of {count} processes of each series", flush=True)


def _flat(found: Sequence[Stalls]) -> list[list[float]]:
    return [
        [one.longer, *(value for side in (one.artifact, one.beside) for value in side.model_dump().values())]
        for one in found
    ]


# ---------------------------------------------------------------- simulation


def simulated(
    random: np.random.Generator, micro: float, every: float, load: float, length: float = STALL[1], longer: int = 1
) -> TimedProcess:
    """Make up a process of a quarter of a second that times an artifact, float32 and the reference workload in turns.

    Args:
        micro: microseconds of a call of the first two.
        every: calls from one stall of the artifact to the next; 0 for none.
        load: share of blocks that other programs interrupt, for 6 ms on average, whichever is timed.
        length: of a stall, in seconds.
        longer: how many times a quarter of a second it lasts.
    """

    def blocks(call: float, stalling: float) -> Blocks:
        calls = max(1, round(2e-4 / call))
        turns = longer * int(0.25 / (3 * 2e-4 + 3 * call))

        def timed(n: int, in_each: int) -> Array:
            interrupted = np.where(random.random(n) < load * in_each * call / 2e-4, random.gamma(4, 1.5e-3, n), 0.0)
            stalls = random.random(n) < in_each / stalling if stalling else np.zeros(n)
            return in_each * call * (1 + 0.02 * random.random(n)) + interrupted + length * stalls

        whole = timed(turns, calls + 1)
        own = np.full(turns, call)
        return Blocks(own, own, calls=timed(longer * 100, 1), whole=whole, in_whole=calls + 1)

    call = 1e-6 * micro
    return {"control": blocks(call, 0.0), "variant": blocks(call, every), "yardstick": blocks(5e-5, 0.0)}


def _typical() -> tuple[Measurement, BaselineValue]:
    """Return a typical call as accepted, which is not judged here."""
    values = [1.0, 1.0]
    taken = Measurement(value=1.0, unit="ratio", n=2, values=values)
    known = BaselineValue(
        value=1.0,
        unit="ratio",
        n=2,
        noise=0.0,
        noise_from="made up",
        values=values,
        tolerance=gate.LATENCY_TOLERANCE,
        tolerance_from=gate.LATENCY_TOLERANCE_REASON,
        accepted=Accepted(date="", reason="made up", run="", environment=""),
    )
    return taken, known


class Judged(NamedTuple):
    """What one run of a cell came to.

    Attributes:
        processes: that it took.
        cost: time that they took, by those of a first stage.
    """

    verdict: Verdict
    processes: int
    cost: float


def judged(
    pool: Sequence[list[Stalls]], random: np.random.Generator, ratio: str = RATIO, alpha: float = ALPHA
) -> Judged:
    """Draw one run of a cell from its processes, and judge it.

    Args:
        ratio: name of the typical call's measurement, which tells what the artifact is beside.
    """
    typical, accepted = _typical()
    known = gate.AcceptedLatency(accepted, {})
    stages: list[dict[str, Measurement]] = []
    processes, cost, longer = 0, 0.0, 1
    while not stages or gate.unclear_beside(stages, ratio, known, alpha):
        times = gate.next_stage(len(stages))
        drawn = random.integers(len(pool), size=PER_RUN * times * longer // gate.LONGER_PROCESSES)
        stages.append(measurements.stalls([pool[one] for one in drawn]) | {ratio: typical})
        processes, cost = processes + PER_RUN * times, cost + times * cost_of(longer)
        longer = gate.longer_processes(stages[0], ratio, known)
    found = [one for one in gate.latency_beside(SUBJECT, stages, ratio, known, alpha) if one.measurement == STALLS]
    return Judged(found[0].verdict if found else Verdict.PASS, processes, cost)


def _shares(runs: Sequence[Judged]) -> list[str]:
    """Return how many runs are red, how many warn, and the means of their processes and of their cost."""
    verdicts = Counter(run.verdict for run in runs)
    means = np.mean([(run.processes, run.cost) for run in runs], axis=0)
    return [str(verdicts[Verdict.REGRESSED]), str(verdicts[Verdict.WARN]), f"{means[0]:.1f}", f"{means[1]:.2f}"]


def _row(series: Series, processes: Sequence[Process], trials: int, workload: bool = False) -> list[str]:
    own = [one for one in processes if one.series == series]
    pool = [one.stalls(workload) for one in own]
    random, ratio = np.random.default_rng(0), TO_YARDSTICK if workload else RATIO
    red, *more = _shares([judged(pool, random, ratio) for _ in range(trials)])
    shortest, longest = ([one[place] for one in pool] for place in (0, -1))
    calls = sum(one.artifact.calls for one in shortest) / len(own) / gate.LONGER_PROCESSES
    sides = [sum(getattr(one, side).stalls for one in shortest) for side in ("artifact", "beside")]
    usual = [sum(getattr(one, side).usual for one in shortest) for side in ("artifact", "beside")]
    row = [
        f"{series.model}/{series.variant} beside the workload" if workload else series.name,
        f"{np.median([one.microseconds for one in own]):.0f}",
        str(len(own)),
        f"{calls:.0f}",
        f"{sides[0]} of {sum(sides)} ({sum(sides) * usual[0] / sum(usual):.0f})",
        f"{red} of {trials}",
        *more,
    ]
    return row if series.stalls else [*row, *_spread(shortest), *_spread(longest)]


def _spread(counts: Sequence[Stalls]) -> list[str]:
    """Return the odds ratio of a stall on the artifact to one beside it, with its 95 % interval, and whether processes
    scatter more around it than a binomial does (Pearson); where they do, the interval is wider.
    """
    from scipy import optimize, special

    sides = [(one.artifact, one.beside) for one in counts]
    stalls = np.array([[side.stalls for side in both] for both in sides], float)
    if not stalls.sum(axis=0).all():
        return ["", ""]
    own, usual = stalls[:, 0], np.array([[side.usual for side in both] for both in sides])
    n, in_proportion = stalls.sum(axis=1), np.log(usual[:, 0] / usual[:, 1])

    def expected(log_odds: float) -> tuple[Array, Array]:
        share = special.expit(in_proportion + log_odds)
        return n * share, n * share * (1 - share)

    log_odds = float(optimize.brentq(lambda at: float(np.sum(own - expected(at)[0])), -10, 10))
    mean, variance = expected(log_odds)
    any_at_all = n > 0
    chi2 = float(np.sum((own - mean)[any_at_all] ** 2 / variance[any_at_all]))
    df = int(np.count_nonzero(any_at_all)) - 1
    half = 1.96 * np.sqrt(max(1.0, chi2 / df) / np.sum(variance))
    low, odds, high = np.exp([log_odds - half, log_odds, log_odds + half])
    return [
        f"{odds:.2f} ({low:.2f} to {high:.2f})",
        f"{chi2 / df:.2f} (p = {special.chdtrc(df, chi2):.2g})",
    ]


def _pooled(processes: Sequence[Process]) -> list[list[str]]:
    """Return the odds ratios over all processes without a fault, beside another artifact and beside the workload.

    Each process has one of its artifact beside the workload too, whatever it is beside else.
    """
    healthy = [one for one in processes if not one.series.stalls]
    rows = []
    for name, beside, workload in (
        ("all beside another artifact", healthy, False),
        ("all beside the workload", healthy, True),
        ("float32 beside the workload", [one for one in healthy if one.series.variant == FLOAT_CONTROL], True),
    ):
        pool = [one.stalls(workload) for one in beside]
        if pool:
            odds = [_spread([one[place] for one in pool])[0] for place in (0, -1)]
            rows.append([name, str(len(pool)), *odds])
    return rows


def _made_up(random: np.random.Generator, micro: float, every: float, load: float, float32: bool) -> list[list[Stalls]]:
    """Make up processes; what is timed in turns with float32 is the reference workload alone."""
    longer = gate.LONGER_PROCESSES
    timed = Latency([simulated(random, micro, every, load, longer=longer) for _ in range(SIMULATED_POOL)])
    return timed.stalls("yardstick" if float32 else "control")


def _stalling(micro: float, trials: int) -> list[str]:
    """Return the calls of a process, and how often a made-up artifact that stalls is red, and at which cost."""
    row = []
    for load, float32 in ((0.0, False), (LOAD, False), (0.0, True)):
        random = np.random.default_rng(0)
        pool = _made_up(random, micro, STALL[0], load, float32)
        ratio = TO_YARDSTICK if float32 else RATIO
        red, _, _, cost = _shares([judged(pool, random, ratio) for _ in range(trials)])
        row.append(f"{red} ({cost})")
    return [f"{micro:,}", str(pool[0][0].artifact.calls // gate.LONGER_PROCESSES), *row]


def _healthy(micro: float, load: float, trials: int) -> list[str]:
    """Return how often nothing is wrong and red, at the level of a run and at a lenient one, and at which cost."""
    row = [f"{micro:,}", f"{100 * load:g}"]
    for float32 in (False, True):
        random = np.random.default_rng(1)
        pool = _made_up(random, micro, 0.0, load, float32)
        ratio = TO_YARDSTICK if float32 else RATIO
        red, _, _, cost = _shares([judged(pool, random, ratio) for _ in range(trials)])
        lenient = _shares([judged(pool, random, ratio, LENIENT) for _ in range(trials)])[0]
        row += [red, lenient, cost]
    return row


def report(processes: Sequence[Process], machine: str, trials: int) -> list[str]:
    """Write the report's paragraphs and tables."""
    headers = ["artifact", "µs a call", "processes", "calls each", "stalls (in proportion)", "red", "warn"]
    headers += ["processes a cell", "cost"]

    def rows(stalls: bool) -> list[list[str]]:
        counted = {one.series for one in processes}
        return [_row(one, processes, trials) for one in RECORDED if one.stalls == stalls and one in counted]

    of_spread = [f"{longer}: {name}" for longer in ("1 ms", "20 ms") for name in ("odds ratio", "chi²/df of processes")]
    healthy = rows(False)
    counted = {one.series for one in processes}
    alone = [one for one in RECORDED if one.variant == FLOAT_CONTROL and not one.stalls and one in counted]
    healthy += [_row(one, processes, trials, workload=True) for one in alone]
    reds, drawn = sum(int(row[5].split()[0]) for row in healthy), trials * len(healthy)
    return [
        "# Stalls",
        machine,
        f"{len(processes):,} processes of {SECONDS * gate.LONGER_PROCESSES:g} s, "
        f"{sum(one.load for one in processes)} of them beside our load. "
        f"A run is red at p = {ALPHA:.2g}, its share as one of 21 timed cells; stages end at "
        f"{', '.join(str(PER_RUN * stage) for stage in gate.STAGES)} processes. Stalls of 1 ms and longer are those of "
        "the artifact, of it and what is beside it, and in parentheses what its share of the time would give it. "
        "The odds ratio is that of a stall of the artifact to one of what is beside it, in the same time, and in "
        "parentheses its 95 % interval. Chi²/df is 1 "
        "where the artifact's part of the stalls scatters between processes as a binomial does. Series are recorded in "
        "random order and runs drawn without it, so that bursts across processes do not show here. Cost is the time "
        f"that a cell takes, by that of a first stage: a process takes {EXPECTED - 1:g} times as long to "
        f"start as it times, and where the first stage suspects stalls, later ones time {gate.LONGER_PROCESSES} times "
        "as long.",
        "## Nothing is wrong",
        _common.table([*headers, *of_spread], healthy),
        f"{reds} of {drawn:,} red (95 % upper bound {100 * upper_bound(reds, drawn):.2f} %).",
        f"## {1e3 * STALL[1]:g} ms in one of {STALL[0]:,} calls",
        _common.table(headers, rows(True)),
        "## The same by simulation",
        f"Red of {trials} runs, and in parentheses their cost, where other programs interrupt no block, or one in "
        f"{1 / LOAD:.0f} of 0.2 ms for 6 ms. Beside float32 runs the reference workload alone.",
        _common.table(
            ["µs a call", "calls each", "idle", "loaded", "float32, idle"],
            [_stalling(micro, trials) for micro in SIMULATED],
        ),
        "## Nothing is wrong, by simulation",
        f"Red of {trials} runs at the level of a run, and at {100 * LENIENT:g} % instead, by how many of 100 blocks of "
        "0.2 ms other programs interrupt.",
        _common.table(
            ["µs a call", "interrupted, %", "red", f"red at {LENIENT:g}", "cost"]
            + [f"float32: {name}" for name in ("red", f"red at {LENIENT:g}", "cost")],
            [_healthy(micro, load, trials) for micro in SIMULATED[::2] for load in LOADS],
        ),
        "A process makes as many calls as the column says, so that a stall which only comes after more of them in one "
        "process is not seen.",
        "## Odds ratios over all processes in which nothing is wrong",
        _common.table(["artifacts", "processes", *of_spread[::2]], _pooled(processes)),
    ]


def main() -> None:
    """Record if asked to, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", type=int, default=0, help="processes of each series to add")
    parser.add_argument("--trials", type=int, default=200, help="runs of each series")
    parser.add_argument("--report-dir", type=Path, required=True, help="folder of the recording and of the tables")
    options = parser.parse_args()
    recording: Path = options.report_dir / _RECORDING
    kept: dict[str, Any] = {"machine": "", "processes": []}
    kept = json.loads(recording.read_text()) if recording.exists() else kept | {"machine": _common.machine()}
    processes = [Process(**{**one, "series": Series(*one["series"])}) for one in kept["processes"]]

    def keep() -> None:
        kept["processes"] = [asdict(one) for one in processes]
        rounded = json.loads(json.dumps(kept), parse_float=lambda text: float(f"{float(text):.4g}"))
        recording.write_text(json.dumps(rounded, separators=(",", ":")) + "\n")

    if options.record:
        record(options.record, processes, keep)
    text = "\n\n".join(report(processes, kept["machine"], options.trials))
    recording.with_suffix(".md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    _common.quietly(main)
