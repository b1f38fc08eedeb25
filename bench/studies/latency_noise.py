"""Compare two timings of the same artifact on a loaded machine, by this project and by pytest-benchmark.

    python -m studies.latency_noise --trials 100 --report-dir reports/reference
    python -m studies.latency_noise --trials 30 --more --report-dir reports/reference    # 30 more
    python -m studies.latency_noise --again --report-dir reports/reference               # the tables once more

Every trial measures an artifact against itself, so the true ratio is 1. While all cores run random bursts of other work
(:mod:`quantbench.selftest.load`), the two sides take turns in random order:

- ours: fresh processes with interleaved blocks, 12 of 0.25 s, and the trimmed mean of their ratios, as in a run;
- theirs: two consecutive runs of pytest-benchmark, "A" and "B", and the ratio of their means, medians and minima.

Both sides take the same wall time, including the start of processes: the timing seconds of pytest-benchmark are chosen
so that its two runs last as long as our processes have so far. The times are kept in ``latency_noise.json``.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from quantbench.core.options import RunOptions
from quantbench.core.stats import trimmed_mean
from quantbench.errors import BadInput
from quantbench.measure.latency import Latency, save_inputs, time_once
from quantbench.reference.model import ReferenceModel, load_models
from quantbench.selftest.load import busy

from studies import _common

MODEL, VARIANT = "seed_cnn", "ptq_static_wi8_ai8"
PROCESSES, SECONDS = 12, 0.25
WITHIN = 0.005
# Timing a pair at three budgets: 3 s is one trial, the longer ones pool consecutive trials.
POOLED = {3: 1, 10: 10 / 3, 30: 10}
STATISTICS = ("mean", "median", "min")
LEAST_SECONDS = 0.05
_RECORDING = "latency_noise.json"
_PEER_TEST = """
from pathlib import Path

import numpy as np

from quantbench.tflite.litert import LiteRT


def test_invoke(benchmark):
    with np.load({inputs!r}) as file:
        arrays = {{name: file[name] for name in file.files}}
    inputs = arrays["x"] if list(arrays) == ["x"] else {{name.removeprefix("x_"): x for name, x in arrays.items()}}
    runner = LiteRT(Path({artifact!r}))
    runner.feeder(inputs)(0)
    benchmark(runner.invoke)
"""


@dataclass(frozen=True)
class Trial:
    """Hold the times of one artifact against itself, once by each side.

    Attributes:
        ratios: ours, one per fresh process.
        interrupted: share of our blocks that were disturbed.
        our_wall, their_wall: seconds from start to end, including the start of processes.
        asked: seconds of timing for each of the two runs of pytest-benchmark.
        first, second: statistics of the two runs, name -> seconds per call.
    """

    ratios: list[float]
    interrupted: float
    our_wall: float
    their_wall: float
    asked: float
    first: dict[str, float]
    second: dict[str, float]


@dataclass(frozen=True)
class Pair:
    """Pair the artifact with the file of its examples.

    Attributes:
        processes, seconds: number of our fresh processes, and seconds of timing in each.
    """

    artifact: Path
    inputs: Path
    processes: int = PROCESSES
    seconds: float = SECONDS


def ours(pair: Pair, seed: int) -> tuple[Latency, float]:
    """Return (fresh processes that timed the artifact as variant and as control, seconds that it took)."""
    start = time.perf_counter()
    first = seed * pair.processes
    timed = [
        time_once(pair.artifact, pair.artifact, pair.inputs, pair.seconds, 1, first + i) for i in range(pair.processes)
    ]
    return Latency(timed), time.perf_counter() - start


def theirs(pair: Pair, seconds: float) -> tuple[list[dict[str, float]], float]:
    """Return (statistics of run A and of run B, seconds that both took)."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="quantbench-") as folder:
        runs = [_pytest_benchmark(pair, Path(folder), seconds) for _ in range(2)]
    return runs, time.perf_counter() - start


def _pytest_benchmark(pair: Pair, folder: Path, seconds: float) -> dict[str, float]:
    """Run pytest-benchmark once with its defaults except for the time. Raises BadInput where it fails."""
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    test = _PEER_TEST.format(inputs=str(pair.inputs), artifact=str(pair.artifact))
    (folder / "test_peer.py").write_text(test, encoding="utf-8")
    out = folder / "out.json"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_peer.py"]
    command += [f"--benchmark-json={out}", f"--benchmark-max-time={seconds:.3f}"]
    root = str(Path(__file__).parents[1])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": root}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise BadInput(f"pytest-benchmark failed: {(done.stdout + done.stderr)[-500:]}")
    (result,) = json.loads(out.read_text(encoding="utf-8"))["benchmarks"]
    return {name: float(result["stats"][name]) for name in (*STATISTICS, "rounds")}


def equal_seconds(trials: list[Trial], pair: Pair) -> float:
    """Compute the seconds of timing of each pytest-benchmark run that give both sides the same wall time."""
    if not trials:
        return pair.processes * pair.seconds / 2
    around = statistics.median(trial.their_wall - 2 * trial.asked for trial in trials)
    return max(LEAST_SECONDS, (statistics.median(trial.our_wall for trial in trials) - around) / 2)


def one_trial(pair: Pair, seed: int, asked: float) -> Trial:
    """Measure both sides, in random order."""
    if np.random.default_rng(seed).integers(2):
        timed, our_wall = ours(pair, seed)
        runs, their_wall = theirs(pair, asked)
    else:
        runs, their_wall = theirs(pair, asked)
        timed, our_wall = ours(pair, seed)
    return Trial(timed.ratios(), timed.disturbed(), our_wall, their_wall, asked, runs[0], runs[1])


def record(
    model: ReferenceModel, artifact: Path, recorded: list[Trial], trials: int, quick: bool, keep: Callable[[], None]
) -> None:
    """Add trials under one random load to ``recorded``; ``keep`` is called after each."""
    with tempfile.TemporaryDirectory(prefix="quantbench-") as folder, busy(seed=len(recorded)):
        inputs = save_inputs(model, Path(folder))
        pair = Pair(artifact, inputs, 2, 0.05) if quick else Pair(artifact, inputs)
        for done in range(trials):
            recorded.append(one_trial(pair, len(recorded), equal_seconds(recorded, pair)))
            keep()
            print(f"{done + 1} of {trials}: {described(recorded[-1])}", flush=True)


def described(trial: Trial) -> str:
    """Describe in one line how far each side's ratio is from 1, and how long it took."""
    mean, median = (100 * (trial.second[name] / trial.first[name] - 1) for name in ("mean", "median"))
    return (
        f"ours {100 * (trimmed_mean(trial.ratios).mean - 1):+.2f} % in {trial.our_wall:.1f} s, pytest-benchmark's means"
        f" {mean:+.2f} %, medians {median:+.2f} % in {trial.their_wall:.1f} s"
    )


# ---------------------------------------------------------------- results


@dataclass(frozen=True)
class Spread:
    """Measure how far ratios that should be 1 are from it, as fractions.

    Attributes:
        robust: 1.4826 times the median distance from the median, which is the sd of normal data without outliers.
        within: share of ratios within 0.5 % of 1.
    """

    n: int
    sd: float
    robust: float
    worst: float
    within: float


def spread(ratios: list[float]) -> Spread:
    """Compute the spread of at least two ratios."""
    off = np.array(ratios) - 1
    robust = 1.4826 * float(np.median(np.abs(off - np.median(off))))
    within = float(np.mean(np.abs(off) <= WITHIN))
    return Spread(len(off), float(np.std(off, ddof=1)), robust, float(np.max(np.abs(off))), within)


def our_ratios(trials: list[Trial], pooled: float) -> list[float]:
    """Compute trimmed means over consecutive processes, for ``pooled`` trials each."""
    processes = [ratio for trial in trials for ratio in trial.ratios]
    size = round(pooled * len(trials[0].ratios))
    groups = [processes[i : i + size] for i in range(0, len(processes) - size + 1, size)]
    return [trimmed_mean(group).mean for group in groups]


def their_ratios(trials: list[Trial], statistic: str, pooled: float) -> list[float]:
    """Compute B over A from ``pooled`` consecutive trials (rounded up): the means of their means or medians, or the
    minimum of their minima.
    """
    size = int(np.ceil(pooled))
    of = np.min if statistic == "min" else np.mean
    groups = [trials[i : i + size] for i in range(0, len(trials) - size + 1, size)]
    return [
        float(of([trial.second[statistic] for trial in group]) / of([trial.first[statistic] for trial in group]))
        for group in groups
    ]


def spreads(trials: list[Trial], pooled: float) -> dict[str, Spread]:
    """Compute spreads by rule: ours, and each statistic of pytest-benchmark; empty without at least two pools."""
    ratios = {"ours": our_ratios(trials, pooled)}
    ratios |= {f"pytest-benchmark, {name}": their_ratios(trials, name, pooled) for name in STATISTICS}
    return {name: spread(values) for name, values in ratios.items() if len(values) > 1}


def report(trials: list[Trial], machine: str) -> list[str]:
    """Write the report's paragraphs and tables."""
    our_wall, their_wall = (statistics.median(getattr(t, f"{side}_wall") for t in trials) for side in ("our", "their"))
    asked = statistics.median(trial.asked for trial in trials)
    interrupted = statistics.mean(trial.interrupted for trial in trials)
    rounds = statistics.median(trial.first["rounds"] for trial in trials)
    rows = []
    for seconds, pooled in POOLED.items():
        by_rule = spreads(trials, pooled)
        rows += [_row(seconds, name, measured, by_rule["ours"]) for name, measured in by_rule.items()]
    headers = ["s a pair", "ratio of", "trials", "sd, %", "robust sd, %", "worst, %", "within ±0.5 %"]
    return [
        "# Timing the same artifact twice on a loaded machine",
        machine,
        f"{len(trials)} trials of `{MODEL}/{VARIANT}` against itself, with random load on every core;"
        f" {100 * interrupted:.0f} % of our blocks were interrupted by others. Ours: {len(trials[0].ratios)} fresh"
        f" processes a trial, {our_wall:.1f} s with their start (median). pytest-benchmark: two runs one after the"
        f" other that time {asked:.2f} s each (median; {rounds:.0f} rounds), {their_wall:.1f} s with their start: the"
        " same wall time.",
        _common.table([*headers, "ours is tighter by (sd)", "(robust sd)"], rows),
        "3 s a pair are single trials. 10 s and 30 s pool what followed each other: of ours, 40 and 120 processes; of"
        " pytest-benchmark, 4 and 10 trials (means of means and medians, minimum of minima), so that its A and B take"
        " turns, which flatters it.",
    ]


def _row(seconds: int, name: str, measured: Spread, reference: Spread) -> list[str]:
    times = (
        ["", ""]
        if measured is reference
        else [_times(measured.sd, reference.sd), _times(measured.robust, reference.robust)]
    )
    percents = [f"{100 * value:.3f}" for value in (measured.sd, measured.robust, measured.worst)]
    return [str(seconds), name, str(measured.n), *percents, f"{100 * measured.within:.1f} %", *times]


def _times(wide: float, narrow: float) -> str:
    return f"{wide / narrow:.1f}×" if narrow else "–"


def main(arguments: list[str] | None = None) -> None:
    """Record, print, and write ``latency_noise.md`` and ``latency_noise.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100, help="two at least (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="2 processes of 0.05 s a trial: to see that it works")
    parser.add_argument("--more", action="store_true", help="add to the trials of the last recording")
    parser.add_argument("--again", action="store_true", help="measure nothing; the tables from the last recording")
    parser.add_argument("--report-dir", type=Path, default=Path("reports/latency_noise"))
    given = parser.parse_args(arguments)
    recording = given.report_dir / _RECORDING
    kept: dict[str, Any] = {"machine": _common.machine(), "trials": []}
    if given.more or given.again:
        kept = _load(recording)
    trials = [Trial(**trial) for trial in kept["trials"]]
    if not given.again:
        model = load_models(RunOptions().model_dir)[MODEL]
        given.report_dir.mkdir(parents=True, exist_ok=True)

        def keep() -> None:
            everything = {"machine": kept["machine"], "trials": [asdict(trial) for trial in trials]}
            recording.write_text(json.dumps(everything) + "\n", encoding="utf-8")

        record(model, _common.artifact(model, VARIANT), trials, given.trials, given.quick, keep)
    _common.write(given.report_dir, "latency_noise.md", report(trials, kept["machine"]))


def _load(recording: Path) -> dict[str, Any]:
    if not recording.exists():
        raise BadInput(f"{recording}: there is no recording yet; leave out --more and --again")
    loaded: dict[str, Any] = json.loads(recording.read_text(encoding="utf-8"))
    return loaded


if __name__ == "__main__":
    _common.quietly(main)
