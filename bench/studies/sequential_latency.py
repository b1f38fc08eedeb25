"""Measure what timing in stages reaches: false reds, and slowdowns of 1 % caught, by simulation from recordings.

    python -m studies.sequential_latency --record 10 --report-dir reports/reference    # ten more rounds first
    python -m studies.sequential_latency --report-dir reports/reference                # the tables alone

A round records 48 fresh processes of each series, every other time under a random load on every core
(:mod:`quantbench.selftest.load`): artifacts against float32, as a run times them; the same artifact against itself, as
it is timed in turns with the accepted one; and against itself with a slowdown of 1 % injected into the process.
Recordings are kept in ``sequential_latency.json``. Those of ``latency_noise.json``, of an artifact against itself under
load, are used too.

Simulated runs take consecutive processes from a random place of the recordings, so that a burst of load stays one.
A slowdown multiplies the ratios; the injected series shows that it does.
"""

import argparse
import json
import math
import tempfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from quantbench import gate
from quantbench.core.arrays import Array
from quantbench.core.options import RunOptions
from quantbench.core.stats import chi_squared_quantile, trimmed_mean, upper_bound
from quantbench.errors import BadInput
from quantbench.measure.latency import Latency, save_inputs, time_once
from quantbench.reference.model import ReferenceModel, load_models
from quantbench.selftest.latency import CELLS, SHARE
from quantbench.selftest.load import busy

from studies import _common

FIRST = 12  # processes of the first stage, as in a run with the default budget
MOST = FIRST * gate.STAGES[-1]
SECONDS = 0.25
PLANTED = 0.01
ALPHA = gate.beside_share(SHARE)[0]  # of one typical call, in a pull request's run
SLOWDOWNS = (0.0, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05)
LEVELS = (0.05, 0.01, 0.001)
BETWEEN = (0.0, 0.0005, 0.001, 0.0015)
_RECORDING, _OLDER = "sequential_latency.json", "latency_noise.json"
INT8 = "ptq_static_wi8_ai8"


@dataclass(frozen=True)
class Series:
    """Describe what is recorded.

    Attributes:
        in_turns: the artifact against itself; otherwise against float32.
        planted: slowdown that is injected into the artifact's blocks.
    """

    model: str
    in_turns: bool
    planted: float = 0.0

    @property
    def name(self) -> str:
        """Name it in one line."""
        of = "itself" if self.in_turns else "float32"
        slower = f", {100 * self.planted:g} % injected" if self.planted else ""
        return f"{self.model}/{INT8} to {of}{slower}"


RECORDED = (
    Series("seed_cnn", False),
    Series("resnet8", False),
    Series("resnet8", True),
    Series("seed_cnn", True),
    Series("seed_cnn", True, PLANTED),
)


@dataclass(frozen=True)
class Block:
    """Hold consecutive processes of one series in one round.

    Attributes:
        load: whether our random load ran.
        ratios: one per process; ``to_yardstick``: of the artifact to the reference workload.
        disturbed: share of interrupted blocks.
    """

    series: str
    load: bool
    ratios: list[float]
    to_yardstick: list[float]
    disturbed: float


def record(rounds: int, blocks: list[Block], keep: Callable[[], None], processes: int, seconds: float) -> None:
    """Add rounds to ``blocks``; ``keep`` is called after each block."""
    models = load_models(RunOptions().model_dir)
    for _ in range(rounds):
        done = len(blocks) // len(RECORDED)
        for index in np.random.default_rng(done).permutation(len(RECORDED)):
            series = RECORDED[index]
            load = bool((done + index) % 2)
            with busy(seed=len(blocks)) if load else nullcontext():
                timed = _timed(series, models[series.model], processes, seconds, len(blocks))
            beside = [process["variant"].typical / process["yardstick"].typical for process in timed.processes]
            blocks.append(Block(series.name, load, timed.ratios(), beside, timed.disturbed()))
            keep()
            print(f"round {done + 1}: {series.name}, {'loaded' if load else 'no load of ours'}", flush=True)


def _timed(series: Series, model: ReferenceModel, processes: int, seconds: float, seed: int) -> Latency:
    variant = _common.artifact(model, INT8)
    control = variant if series.in_turns else _common.artifact(model, "float32")
    more: dict[str, Any] = {"slow": {"variant": series.planted}} if series.planted else {}
    with tempfile.TemporaryDirectory(prefix="quantbench-") as folder:
        inputs = save_inputs(model, Path(folder))
        first = seed * processes
        return Latency([time_once(variant, control, inputs, seconds, 1, first + i, **more) for i in range(processes)])


# ---------------------------------------------------------------- noise


class Between(NamedTuple):
    """Describe how far means of runs differ beyond the spread of their processes, as fractions.

    Attributes:
        process: robust spread of one process.
        error: standard error of a run's mean.
        sd: estimated between runs; ``low``, ``high``: its 95 % interval.
    """

    runs: int
    process: float
    error: float
    sd: float
    low: float
    high: float


def between(runs: Sequence[Sequence[float]]) -> Between:
    """Estimate the noise that the processes of a run share (DerSimonian & Laird 1986), with its interval from the
    quantiles of Cochran's Q (Viechtbauer 2007).
    """
    found = [trimmed_mean(run) for run in runs]
    means, squares = np.array([one.mean for one in found]), np.array([one.error**2 for one in found])
    centre, weights = means.mean(), 1 / squares

    def q(shared: float) -> float:
        weight = 1 / (squares + shared)
        return float((weight * (means - (weight * means).sum() / weight.sum()) ** 2).sum())

    degrees = len(runs) - 1
    shared = max(0.0, (q(0.0) - degrees) / float(weights.sum() - (weights**2).sum() / weights.sum()))
    low, high = (_where(q, chi_squared_quantile(share, degrees)) for share in (0.975, 0.025))
    values = [np.array(run) / one.mean for run, one in zip(runs, found, strict=True)]
    spread = 1.4826 * float(np.median(np.abs(np.concatenate(values) - 1)))
    ends = [math.sqrt(variance) / centre for variance in (shared, low, high)]
    return Between(len(runs), spread, float(np.sqrt(squares.mean()) / centre), ends[0], ends[1], ends[2])


def _where(falling: Callable[[float], float], value: float) -> float:
    """Return where a falling function of a variance takes a value; 0 where it is below everywhere."""
    low, high = 0.0, 1.0
    if falling(low) <= value:
        return 0.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > value else (low, middle)
    return high


# ---------------------------------------------------------------- rules


Rule = Callable[[Array, gate.Base, float], tuple[bool, int]]


def in_stages(values: Array, base: gate.Base, alpha: float = ALPHA) -> tuple[bool, int]:
    """Apply the gate's rule to up to 48 processes; return (whether red, how many were timed)."""
    stages: list[list[float]] = []
    for count in gate.STAGES:
        stages.append([float(value) for value in values[sum(map(len, stages)) : FIRST * count]])
        found = gate.look(stages, base, alpha)
        if found.step is not gate.Step.MORE:
            return found.step is gate.Step.SLOW, FIRST * count
    raise AssertionError("the last look decides")


def twice(values: Array, base: gate.Base, alpha: float = ALPHA) -> tuple[bool, int]:
    """Apply the rule of before: twelve processes, twelve more where they look slower, and a tolerance of 1 %."""
    parts = values[:FIRST], values[FIRST : 2 * FIRST]
    first, again = (gate.look([list(part)], base, alpha, gate.LATENCY_TOLERANCE) for part in parts)
    if not first.slower(gate.LATENCY_TOLERANCE):
        return False, FIRST
    both = gate.look([list(values[: 2 * FIRST])], base, alpha, gate.LATENCY_TOLERANCE)
    return again.slower(gate.LATENCY_TOLERANCE) and both.p_value <= alpha, 2 * FIRST


def peeking(values: Array, base: gate.Base, alpha: float = ALPHA) -> tuple[bool, int]:
    """Stop as soon as any look after the first twelve is significant at the whole level: plain early stopping."""
    for count in range(FIRST, MOST + 1, 2):
        if gate.look([list(values[:count])], base, alpha).p_value <= alpha:
            return True, count
    return False, MOST


def fixed(values: Array, base: gate.Base, alpha: float = ALPHA) -> tuple[bool, int]:
    """Time 48 processes always, and look once."""
    return gate.look([list(values[:MOST])], base, alpha).p_value <= alpha, MOST


RULES: dict[str, Rule] = {"in stages": in_stages, "twice, 1 % passes": twice, "48 always": fixed}
GATES = ("in stages", "twice, 1 % passes")  # the gate's rule, and that of before


# ---------------------------------------------------------------- simulation


class Counted(NamedTuple):
    """How often a rule was red, and how many processes it took on average."""

    trials: int
    red: int
    processes: float


def in_turns(pools: Sequence[Array], slower: float, rule: Rule, trials: int, alpha: float = ALPHA) -> Counted:
    """Simulate cells that are timed in turns with the accepted artifact."""
    random = np.random.default_rng(0)
    found = [rule((1 + slower) * _piece(pools, MOST, random), gate.IN_TURNS, alpha) for _ in range(trials)]
    return _counted(found)


def of_baseline(pools: Sequence[Array], slower: float, rule: Rule, trials: int, known: int, shift: float) -> Counted:
    """Simulate cells that are judged by a baseline of this machine.

    Args:
        known: processes of the baseline.
        shift: what all processes of a run share (sd, as a fraction), which the rule knows; normal, in both runs.
    """
    random = np.random.default_rng(0)
    found = []
    for _ in range(trials):
        pool = [pools[int(random.integers(len(pools)))]]  # one artifact
        old, new = (_piece(pool, count, random) * (1 + random.normal(0, shift)) for count in (known, MOST))
        found.append(rule((1 + slower) * new, gate.Base(trimmed_mean(list(old)), shift), ALPHA))
    return _counted(found)


def from_other_runs(runs: Sequence[Array], slower: float, rule: Rule, trials: int, known: int) -> Counted:
    """Simulate cells whose baseline is another recorded run of the same artifact, as it was, with the gate's noise
    between runs.
    """
    random = np.random.default_rng(0)
    found = []
    for _ in range(trials):
        old, new = random.choice(len(runs), 2, replace=False)
        base = gate.Base(trimmed_mean(list(runs[old][:known])), gate.between_runs(1))
        found.append(rule((1 + slower) * np.roll(runs[new], random.integers(len(runs[new])))[:MOST], base, ALPHA))
    return _counted(found)


def _counted(found: Sequence[tuple[bool, int]]) -> Counted:
    return Counted(len(found), sum(red for red, _ in found), float(np.mean([count for _, count in found])))


def _piece(pools: Sequence[Array], count: int, random: np.random.Generator) -> Array:
    """Take consecutive processes of a random pool from a random place; after its end its beginning follows."""
    pool = pools[int(random.integers(len(pools)))]
    start = int(random.integers(len(pool)))
    return np.take(pool, range(start, start + count), mode="wrap")


# ---------------------------------------------------------------- report


class Pools(NamedTuple):
    """Sort the recordings by what they are for.

    Attributes:
        in_turns: ratios of an artifact to itself under our load, one array per artifact; ``quiet``: without our load.
        of_float32: series name -> ratios of each recorded run.
        planted, healthy: the series with an injected slowdown, and the same without.
    """

    in_turns: list[Array]
    quiet: list[Array]
    of_float32: dict[str, list[Array]]
    planted: Array
    healthy: Array


def pools(blocks: Sequence[Block], older: Array) -> Pools:
    """Sort recordings.

    Args:
        older: ratios of an artifact to itself under load, recorded by :mod:`studies.latency_noise`.
    """

    def joined(series: Series, load: bool | None = None) -> Array:
        chosen = [one.ratios for one in blocks if one.series == series.name and load in (None, one.load)]
        return np.concatenate([np.zeros(0), *chosen])

    itself = [series for series in RECORDED if series.in_turns and not series.planted]
    loaded = [older, *(joined(series, True) for series in itself)]
    quiet = [joined(series, False) for series in itself]
    beside = {
        series.name: [np.array(one.ratios) for one in blocks if one.series == series.name]
        for series in RECORDED
        if not series.in_turns
    }
    (planted,) = (series for series in RECORDED if series.planted)
    healthy = Series(planted.model, True)
    return Pools(
        [one for one in loaded if len(one) >= MOST],
        [one for one in quiet if len(one) >= MOST],
        beside,
        joined(planted),
        joined(healthy),
    )


def report(blocks: Sequence[Block], found: Pools, machine: str, runs: int, trials: int) -> list[str]:
    """Write the report's paragraphs and tables.

    Args:
        runs: simulated runs of :data:`CELLS` healthy cells.
        trials: simulated cells for each slowdown.
    """
    processes = sum(len(block.ratios) for block in blocks)
    return [
        "# Timing in stages",
        machine,
        f"{processes:,} processes of {SECONDS:g} s were recorded in {len(blocks)} blocks, half of them under random "
        f"load on every core, and {sum(map(len, found.in_turns)) + sum(map(len, found.quiet)):,} ratios of an artifact "
        f"to itself are drawn from. A cell is red at p = {ALPHA:.2g}: half of its share in a run of {CELLS} timed "
        f"cells. Stages end at {', '.join(str(FIRST * count) for count in gate.STAGES)} processes; what is tested is "
        f"more than {100 * gate.MARGIN:g} %.",
        "## What more processes can reduce, and what not",
        *_noise(blocks),
        "## In turns with the accepted artifact",
        _turns(found, trials),
        _nulls(found, runs),
        f"Is the error what it says? Cells that changed by just {100 * gate.MARGIN:g} %, the largest change that is "
        "none, at greater levels, at which enough of them are red to be counted:",
        _levels(found, trials),
        "## Against a baseline of this machine",
        "All processes of a run share a shift, and a baseline has an error of its own: neither gets smaller however "
        "long the run times. Simulated shifts, beside the recorded spread of processes; the gate assumes "
        f"{100 * gate.between_runs(1):g} % for each run.",
        _baselines(found, trials),
        *_recorded(found, trials),
    ]


def _noise(blocks: Sequence[Block]) -> list[str]:
    rows = []
    for series in RECORDED:
        for values, of in (("ratios", ""), ("to_yardstick", ", to the reference workload")):
            runs = [getattr(block, values) for block in blocks if block.series == series.name]
            if len(runs) > 2 and not (series.in_turns and of):
                one = between(runs)
                percents = [f"{100 * value:.3f}" for value in (one.process, one.error, one.sd)]
                interval = f"{100 * one.low:.3f} to {100 * one.high:.3f}"
                rows.append([series.name + of, str(one.runs), *percents, interval])
    headers = ["ratio", "runs", "process, %", f"error of {MOST} processes, %", "between runs, %", "95 % interval"]
    planted, healthy = (
        trimmed_mean([value for block in blocks if block.series == series.name for value in block.ratios])
        for series in (Series("seed_cnn", True, PLANTED), Series("seed_cnn", True))
    )
    error = math.hypot(planted.error, healthy.error)
    return [
        _common.table(headers, rows),
        f"The slowdown of {100 * PLANTED:g} % that was injected into processes came out as "
        f"{100 * (planted.mean / healthy.mean - 1):+.2f} % ± {100 * error:.2f} % (standard error).",
    ]


def _turns(found: Pools, trials: int) -> str:
    rows = []
    for slower in SLOWDOWNS:
        cells = [f"{100 * slower:g} %"]
        for rule in RULES.values():
            count = in_turns(found.in_turns, slower, rule, trials)
            cells.append(_share(count) + f", {count.processes:.1f}")
        rows.append(cells)
    return _common.table(["slower by", *(f"{name}: red, processes" for name in RULES)], rows)


def _nulls(found: Pools, runs: int) -> str:
    rows = []
    for where, chosen in (("our load", found.in_turns), ("no load of ours", found.quiet)):
        if not chosen:
            continue
        cells = [where, f"{runs:,}"]
        for name in GATES:
            random_runs = _red_runs(chosen, RULES[name], runs)
            cells.append(f"{100 * random_runs / runs:.2f} % (≤ {100 * upper_bound(random_runs, runs):.2f} %)")
        rows.append(cells)
    return _common.table(["nothing changed", f"runs of {CELLS} cells", *(f"{name}: red runs" for name in GATES)], rows)


def _levels(found: Pools, trials: int) -> str:
    rows = []
    for level in LEVELS:
        counts = [in_turns(found.in_turns, gate.MARGIN, rule, trials, level) for rule in (in_stages, fixed, peeking)]
        rows.append([f"{100 * level:g} %", *(f"{100 * count.red / count.trials:.2f} %" for count in counts)])
    return _common.table(["level", "in stages", "48 always", "peeking"], rows)


def _red_runs(pools: Sequence[Array], rule: Rule, runs: int) -> int:
    random = np.random.default_rng(1)
    return sum(
        any(rule(_piece(pools, MOST, random), gate.IN_TURNS, ALPHA)[0] for _ in range(CELLS)) for _ in range(runs)
    )


def _baselines(found: Pools, trials: int) -> str:
    rows = []
    for known in (FIRST, MOST):
        for shift in BETWEEN:
            cells = [str(known), f"{100 * shift:g} %"]
            for slower in (0.0, 0.01, 0.015, 0.02, 0.03):
                count = of_baseline(found.in_turns, slower, in_stages, trials, known, shift)
                cells.append(_share(count) + f", {count.processes:.1f}")
            before = of_baseline(found.in_turns, 0.01, twice, trials, known, shift)
            rows.append([*cells, _share(before)])
    headers = ["processes of the baseline", "shift of a run (sd)", *(f"{p} %" for p in (0, 1, 1.5, 2, 3))]
    return _common.table([*headers, "1 %, as before"], rows)


def _recorded(found: Pools, trials: int) -> list[str]:
    rows = []
    for name, runs in found.of_float32.items():
        if len(runs) < 3 or min(map(len, runs)) < MOST:
            continue
        for known in (FIRST, MOST):
            slower = (0.0, 0.01, 0.02, 0.03, 0.05)
            counts = [from_other_runs(runs, one, in_stages, trials, known) for one in slower]
            rows.append([name, str(known), *(_share(count) + f", {count.processes:.1f}" for count in counts)])
    if not rows:
        return []
    headers = ["baseline: another recorded run", "its processes", *(f"{p} %" for p in (0, 1, 2, 3, 5))]
    return ["Recorded runs against each other, half of them under our load:", _common.table(headers, rows)]


def _share(count: Counted) -> str:
    return (
        f"{100 * count.red / count.trials:.1f} %"
        if count.red > count.trials / 1000
        else (f"{count.red} of {count.trials:,}")
    )


def main(arguments: list[str] | None = None) -> None:
    """Record, simulate, print, and write ``sequential_latency.md`` and ``sequential_latency.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", type=int, default=0, help="rounds to add (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=MOST, help="of a block (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of a process (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=4_000, help="simulated healthy runs (default: %(default)s)")
    parser.add_argument("--trials", type=int, default=2_000, help="simulated cells a slowdown (default: %(default)s)")
    parser.add_argument("--report-dir", type=Path, default=Path("reports/reference"))
    given = parser.parse_args(arguments)
    path = given.report_dir / _RECORDING
    kept: dict[str, Any] = _load(path) if path.exists() else {"machine": "", "blocks": []}
    blocks = [Block(**block) for block in kept["blocks"]]
    machine: str = kept["machine"] or _common.machine()
    if given.record:

        def keep() -> None:
            given.report_dir.mkdir(parents=True, exist_ok=True)
            everything = {"machine": machine, "blocks": [asdict(block) for block in blocks]}
            path.write_text(json.dumps(everything) + "\n", encoding="utf-8")

        record(given.record, blocks, keep, given.processes, given.seconds)
    older = given.report_dir / _OLDER
    ratios = [ratio for trial in _load(older)["trials"] for ratio in trial["ratios"]] if older.exists() else []
    found = pools(blocks, np.array(ratios))
    if not found.in_turns:
        raise BadInput(f"{path}: holds too few recordings of an artifact against itself; add some with --record 2")
    _common.write(given.report_dir, "sequential_latency.md", report(blocks, found, machine, given.runs, given.trials))


def _load(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


if __name__ == "__main__":
    _common.quietly(main)
