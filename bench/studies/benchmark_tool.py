"""Compare this project's latencies with those of LiteRT's own benchmark tool, on the CPU with one thread.

    python -m studies.benchmark_tool --report-dir reports/reference

For each chosen variant, this times the slowest artifact of the reference models; and, as few of the models take more
than 1 ms, a MobileNetV2 of 96x96 pixels with random weights, made here. Each is timed in fresh processes, interleaved:

- *tool*: ``litert-benchmark --use_cpu --num_threads 1``, its ``median_ms``. It runs a ``CompiledModel`` on its own
  buffers, which are filled once with random numbers, and times ``run_by_name`` from Python call by call;
- *ours*: :mod:`quantbench.measure.latency`, with the artifact as variant and control, median of the blocks. It runs an
  ``Interpreter`` on real test examples (random numbers for the model made here) and times ``invoke``, between blocks of
  other work;
- *loop*: an ``Interpreter`` as the tool would use it: one random input, consecutive calls, their median.
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
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from quantbench.build.artifact import REFUSING
from quantbench.core import tensorflow
from quantbench.core.arrays import Inputs
from quantbench.core.options import RunOptions
from quantbench.errors import BadInput
from quantbench.measure.latency import named_for_npz, save_inputs, time_once
from quantbench.reference import training
from quantbench.reference.float_model import export
from quantbench.reference.model import load_models, pick
from quantbench.tflite.litert import LiteRT
from quantbench.variants import VARIANTS

from studies import _common

CHOSEN = "float32,ptq_dynamic_wi8_afp32,ptq_static_wi8_ai8,ptq_static_wi8_ai16"
SLOW_MILLISECONDS = 1.0
ROUNDS = 15
SECONDS = 1.0
TARGET = 0.03
MADE_HERE = "MobileNetV2, 96x96"
_MODULE = "studies.benchmark_tool"
_TOOL = "ai_edge_litert.tools.benchmark_litert_model"


@dataclass(frozen=True)
class Subject:
    """Pair an artifact with the file of its examples."""

    name: str
    artifact: Path
    inputs: Path


@dataclass(frozen=True)
class Timed:
    """Hold medians of a call in milliseconds, one per round."""

    name: str
    tool: list[float]
    ours: list[float]
    loop: list[float]

    def ratio(self, first: str, second: str) -> float:
        """Compute the median of first / second over the rounds."""
        return statistics.median(self._ratios(first, second))

    def half_range(self, first: str, second: str) -> float:
        """Compute half the interquartile range of the rounds' ratios."""
        low, high = np.quantile(self._ratios(first, second), [0.25, 0.75])
        return float(high - low) / 2

    def _ratios(self, first: str, second: str) -> list[float]:
        return [a / b for a, b in zip(getattr(self, first), getattr(self, second), strict=True)]


# ---------------------------------------------------------------- subjects


def random_inputs(runner: LiteRT) -> Inputs:
    """Generate one example as the tool fills its buffers: uniform in -1 to 1, integers uniform in their range."""
    random = np.random.default_rng(0)
    arrays = {}
    for name, (shape, dtype) in runner.input_specs().items():
        if np.dtype(dtype).kind == "f":
            arrays[name] = random.uniform(-1, 1, shape).astype(dtype)
        else:
            limits = np.iinfo(dtype)
            arrays[name] = random.integers(max(limits.min, -128), min(limits.max, 127), shape, dtype, endpoint=True)
    return arrays if len(arrays) > 1 else next(iter(arrays.values()))


def calls_one_after_the_other(artifact: Path, seconds: float) -> list[float]:
    """Time every call of an interpreter on one random input in seconds, after a tenth of the time to warm up."""
    runner = LiteRT(artifact)
    runner.feeder(random_inputs(runner))(0)
    times: list[float] = []
    begin = time.perf_counter()
    while time.perf_counter() < begin + 1.1 * seconds or len(times) < 20:
        start = time.perf_counter()
        runner.invoke()
        times.append(time.perf_counter() - start)
    return times[len(times) // 11 :]


def made_here(folder: Path) -> list[Subject]:
    """Make a MobileNetV2 with random weights, as float and with int8 weights; the values do not affect the times."""
    tf = tensorflow.tensorflow()
    training.seed_everything(0)
    network = tf.keras.applications.MobileNetV2(input_shape=(96, 96, 3), alpha=1.0, weights=None, classes=10)
    saved = export(network)
    subjects = []
    for name, optimizations in {"float32": [], "dynamic int8": [tf.lite.Optimize.DEFAULT]}.items():
        converter = tf.lite.TFLiteConverter.from_saved_model(saved)
        converter.optimizations = optimizations
        artifact = folder / f"{name}.tflite"
        artifact.write_bytes(converter.convert())
        inputs = folder / f"{name}.npz"
        np.savez(inputs, **named_for_npz(random_inputs(LiteRT(artifact))))  # type: ignore[arg-type]
        subjects.append(Subject(f"{MADE_HERE}, {name}", artifact, inputs))
    return subjects


def slowest(models: str, variants: str, folder: Path, say: Callable[[str], None]) -> list[Subject]:
    """Select, for each variant, the model with the slowest artifact, as each variant has its own kernels."""
    all_models = load_models(RunOptions().model_dir)
    inputs = {}
    for name in pick(models, all_models, "--models"):
        (folder / name).mkdir()
        inputs[name] = save_inputs(all_models[name], folder / name)
    subjects = []
    for variant in pick(variants, VARIANTS, "--variants"):
        times: dict[float, Subject] = {}
        for name, examples in inputs.items():
            try:
                artifact = _common.artifact(all_models[name], variant)
                seconds = statistics.median(calls_one_after_the_other(artifact, 0.1))
            except (BadInput, *REFUSING) as refusal:
                say(f"{name}/{variant}: left out: {' '.join(str(refusal).split())[:100]}")
                continue
            times[seconds] = Subject(f"{name}/{variant}", artifact, examples)
            say(f"{name}/{variant}: {1000 * seconds:.3f} ms a call")
        subjects += [times[max(times)]] if times else []
    return subjects


# ---------------------------------------------------------------- timing


def tool_median(artifact: Path, calls: int) -> float:
    """Measure milliseconds by LiteRT's benchmark tool, as it rounds them. Raises BadInput where it fails."""
    with tempfile.TemporaryDirectory(prefix="quantbench-") as folder:
        out = Path(folder) / "out.json"
        arguments = ["--model", str(artifact), "--use_cpu", "--num_threads", "1", "--num_runs", str(calls)]
        _python(["-m", _TOOL, *arguments, "--warmup_runs", str(max(5, calls // 10)), "--result_json", str(out)])
        return float(json.loads(out.read_text(encoding="utf-8"))["latency"]["median_ms"])


def our_median(subject: Subject, seconds: float, seed: int) -> float:
    """Measure milliseconds by a fresh timing process: the median of the variant's undisturbed blocks."""
    blocks = time_once(subject.artifact, subject.artifact, subject.inputs, seconds, 1, seed)["variant"]
    calm = blocks.seconds[blocks.undisturbed] if blocks.undisturbed.any() else blocks.seconds
    return 1000 * float(np.median(calm))


def loop_median(artifact: Path, seconds: float) -> float:
    """Measure milliseconds by consecutive calls in a fresh process."""
    return 1000 * float(_python(["-m", _MODULE, "--loop", str(artifact), "--seconds", str(seconds)]).splitlines()[-1])


def _python(arguments: list[str]) -> str:
    """Run a fresh interpreter and return its output. Raises BadInput where it fails."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    if done.returncode != 0:
        words = [line for line in (done.stdout + done.stderr).splitlines() if "Error" in line]
        raise BadInput(f"{arguments[1]} failed: {' '.join(words or ['it said nothing'])[:300]}")
    return done.stdout


def compare_all(subjects: list[Subject], rounds: int, seconds: float, say: Callable[[str], None]) -> list[Timed]:
    """Compare the subjects that the tool can load; it refuses some that an interpreter runs."""
    timed = []
    for subject in subjects:
        try:
            timed.append(compare(subject, rounds, seconds, say))
        except BadInput as refusal:
            say(f"{subject.name}: left out: {refusal}")
    return timed


def compare(subject: Subject, rounds: int, seconds: float, say: Callable[[str], None]) -> Timed:
    """Time all three interleaved, in a random order for each round."""
    calls = max(20, round(seconds / statistics.median(calls_one_after_the_other(subject.artifact, 0.1))))
    order = np.random.default_rng(0)
    timed = Timed(subject.name, [], [], [])
    for turn in range(rounds):
        for side in order.permutation(["tool", "ours", "loop"]):
            if side == "tool":
                timed.tool.append(tool_median(subject.artifact, calls))
            elif side == "ours":
                timed.ours.append(our_median(subject, seconds, turn))
            else:
                timed.loop.append(loop_median(subject.artifact, seconds))
    say(f"{subject.name}: ours / tool {timed.ratio('ours', 'tool'):.3f} ± {timed.half_range('ours', 'tool'):.3f}")
    return timed


def report(timed: list[Timed], machine: str, rounds: int, seconds: float) -> list[str]:
    """Write the report's paragraphs and table."""
    headers = ["artifact", "tool, ms", "ours, ms", "loop, ms", "ours / tool", "loop / tool", "ours / loop"]
    slow = [entry for entry in timed if statistics.median(entry.tool) >= SLOW_MILLISECONDS]
    near = sum(abs(entry.ratio("ours", "tool") - 1) <= TARGET for entry in slow)
    return [
        "# Beside LiteRT's own benchmark tool",
        machine,
        f"Medians of {rounds} rounds by turns, {seconds:g} s of timing each a round and fresh processes all; ratios"
        " within a round, ± half of what the middle half of the rounds spans. The tool rounds its numbers to 0.01 ms.",
        _common.table(headers, [_row(entry) for entry in timed]),
        f"Ours is within {100 * TARGET:g} % of the tool's median for {near} of the {len(slow)} that take"
        f" {SLOW_MILLISECONDS:g} ms or more. What each of them times:\n\n"
        "- *tool*: `litert-benchmark` runs a `CompiledModel` on one thread: a call is `run_by_name` from Python, which"
        " finds the signature's buffers by name, binds them and runs the kernels. The input is random and written once,"
        " before; outputs are not read.\n"
        "- *ours*: `invoke` of an `Interpreter` on real examples, which are set between blocks and not timed; blocks of"
        " the same artifact's second copy and of the yardstick come between, so that each begins with a call that is"
        " not timed, which warms the caches again.\n"
        "- *loop*: an `Interpreter` on the tool's kind of input, calls one after the other. Loop / tool is what the two"
        " interfaces of the runtime differ by; ours / loop what our way of timing differs by.",
    ]


def _row(timed: Timed) -> list[str]:
    milliseconds = [f"{statistics.median(values):.3f}" for values in (timed.tool, timed.ours, timed.loop)]
    pairs = (("ours", "tool"), ("loop", "tool"), ("ours", "loop"))
    ratios = [f"{timed.ratio(*pair):.3f} ± {timed.half_range(*pair):.3f}" for pair in pairs]
    return [f"`{timed.name}`", *milliseconds, *ratios]


def main(arguments: list[str] | None = None) -> None:
    """Time, print, and write ``benchmark_tool.md``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="", help="comma-separated; all where not given")
    parser.add_argument("--variants", default=CHOSEN, help="comma-separated (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="(default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of timing a side and round (default: 1)")
    parser.add_argument("--quick", action="store_true", help="no model made here, 2 rounds of 0.1 s")
    parser.add_argument("--loop", type=Path, help="only print the median seconds of calls one after the other")
    parser.add_argument("--report-dir", type=Path, default=Path("reports/benchmark_tool"))
    given = parser.parse_args(arguments)
    if given.loop:
        print(statistics.median(calls_one_after_the_other(given.loop, given.seconds)))
        return
    rounds, seconds = (2, 0.1) if given.quick else (given.rounds, given.seconds)
    machine = _common.machine()
    with tempfile.TemporaryDirectory(prefix="quantbench-") as folder:
        subjects = slowest(given.models, given.variants, Path(folder), _say)
        if not given.quick:
            subjects += made_here(Path(folder))
        timed = compare_all(subjects, rounds, seconds, _say)
    _common.write(given.report_dir, "benchmark_tool.md", report(timed, machine, rounds, seconds))


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    _common.quietly(main)
