"""Measure what evaluating an artifact on the whole test split costs, compared with the bare calls of the runtime.

    python -m studies.evaluation_cost --report-dir reports/reference

For each artifact, interleaved and several times:

- *invoke*: one call per example on one prepared input that stays in place, which is the lower bound;
- *bare*: prepared inputs are set one after the other, each followed by a call, and no output is read;
- *script*: the same, and each output is read and kept, without which there is nothing to score;
- *run*: :meth:`quantbench.tflite.litert.LiteRT.run`, with quantizing the inputs, collecting and dequantizing the
  outputs;
- *two threads*: two interpreters, each with one half of the examples, in two threads of one process.

And once *evaluate*: all of :func:`quantbench.measure.accuracy.evaluate` on the whole test split, which also prepares
the data, loads the artifact, makes predictions and stores them, and runs 300 examples on each of LiteRT's other kernels
(*others*, also timed separately).
"""

import argparse
import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from quantbench.build.artifact import REFUSING
from quantbench.build.store import Store
from quantbench.core.arrays import Array, Inputs, length, rows
from quantbench.core.options import RunOptions
from quantbench.errors import BadInput
from quantbench.measure import accuracy, side
from quantbench.measure.accuracy import in_threads
from quantbench.reference.model import ReferenceModel, load_models, pick
from quantbench.tflite.litert import LiteRT
from quantbench.variants import VARIANTS

from studies import _common

CHOSEN = "float32,ptq_static_wi8_ai8"
REPEATS = 5
TARGET = 1.1


@dataclass(frozen=True)
class Cost:
    """Hold seconds of one artifact on all examples.

    Attributes:
        seconds: step -> seconds, one per repetition.
        own: the same in CPU seconds, of all threads together.
        whole: number of examples of the whole test split.
        evaluate: seconds of one whole evaluation.
        others: its seconds on the other kernels.
        equal: whether both threads together gave bit-identical outputs to one thread.
    """

    cell: str
    examples: int
    seconds: dict[str, list[float]]
    own: dict[str, list[float]]
    whole: int
    evaluate: float
    others: float
    equal: bool

    def ratio(self, what: str, to: str) -> float:
        """Compute the median over repetitions of the ratio of seconds."""
        return _median_ratio(self.seconds[what], self.seconds[to])

    def evaluate_ratio(self) -> float:
        """Divide a whole evaluation, without the other kernels, by the bare loop over as many examples."""
        bare = statistics.median(self.seconds["bare"]) * self.whole / self.examples
        return (self.evaluate - self.others) / bare

    def own_ratio(self, what: str, to: str) -> float:
        """Compute the same ratio of CPU seconds, which other work on the machine hardly affects."""
        return _median_ratio(self.own[what], self.own[to])


def _median_ratio(first: list[float], second: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(first, second, strict=True))


class Bare:
    """Use the runtime's own interpreter, without any code of this project."""

    def __init__(self, artifact: Path, prepared: list[Array], stateful: bool) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter: Any = Interpreter(model_path=str(artifact), num_threads=1)
        self._interpreter.allocate_tensors()
        indices = [detail["index"] for detail in self._interpreter.get_input_details()]
        self._inputs = list(zip(indices, prepared, strict=True))
        self._n = len(prepared[0])
        self._stateful = stateful

    def invoke(self) -> None:
        """Only call, as often as there are examples."""
        self._set(0)
        for _ in range(self._n):
            self._interpreter.invoke()

    def loop(self) -> None:
        """Set and call every example; state is reset where the model has any, as outputs would be wrong without."""
        for i in range(self._n):
            if self._stateful:
                self._interpreter.reset_all_variables()
            self._set(i)
            self._interpreter.invoke()

    def script(self) -> list[list[Array]]:
        """Set and call every example, and keep its outputs, as the shortest script does that scores them."""
        indices = [detail["index"] for detail in self._interpreter.get_output_details()]
        outputs = []
        for i in range(self._n):
            if self._stateful:
                self._interpreter.reset_all_variables()
            self._set(i)
            self._interpreter.invoke()
            outputs.append([self._interpreter.get_tensor(index) for index in indices])
        return outputs

    def _set(self, i: int) -> None:
        for index, values in self._inputs:
            self._interpreter.set_tensor(index, values[i : i + 1])


def _same(first: Inputs, second: Inputs) -> bool:
    if isinstance(first, dict) and isinstance(second, dict):
        return all(first[name].tobytes() == second[name].tobytes() for name in first)
    return not isinstance(first, dict) and not isinstance(second, dict) and first.tobytes() == second.tobytes()


def _timed(call: Callable[[], object]) -> tuple[float, float]:
    own, start = time.process_time(), time.perf_counter()
    call()
    return time.perf_counter() - start, time.process_time() - own


def measure(model: ReferenceModel, variant: str, artifact: Path, repeats: int, examples: int | None) -> Cost:
    """Measure all steps interleaved, in an order that changes with every repetition.

    Args:
        examples: number of test examples, the first ones; None for all.
    """
    inputs = rows(model.prepare(model.pack().test.x), slice(0, examples))
    runner = LiteRT(artifact, stateful=model.stateful)
    pair = [LiteRT(artifact, stateful=model.stateful) for _ in range(2)]
    bare = Bare(artifact, runner.prepare(inputs), model.stateful)
    calls: dict[str, Callable[[], object]] = {
        "invoke": bare.invoke,
        "bare": bare.loop,
        "script": bare.script,
        "run": lambda: runner.run(inputs),
        "two threads": lambda: in_threads(pair, inputs),
    }
    equal = _same(runner.run(inputs), in_threads(pair, inputs))
    order = np.random.default_rng(0)
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    own: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name in order.permutation(list(calls)):
            wall, on_core = _timed(calls[name])
            seconds[name].append(wall)
            own[name].append(on_core)
    whole = len(model.pack().test)
    evaluate, others = _evaluate(model, artifact), _on_other_kernels(model, artifact)
    return Cost(f"{model.name}/{variant}", length(inputs), seconds, own, whole, evaluate, others, equal)


def _evaluate(model: ReferenceModel, artifact: Path) -> float:
    with tempfile.TemporaryDirectory(prefix="quantbench-") as folder:
        return _timed(lambda: accuracy.evaluate(artifact, "study", model, Store(Path(folder))))[0]


def _on_other_kernels(model: ReferenceModel, artifact: Path) -> float:
    few = model.prepare(rows(model.pack().test.x, slice(0, side.OTHER_EXAMPLES)))

    def all_of_them() -> None:
        for runtime in accuracy.OTHER_RUNTIMES:
            with contextlib.suppress(*REFUSING):
                LiteRT(artifact, stateful=model.stateful, runtime=runtime).run(few)

    return _timed(all_of_them)[0]


def report(costs: list[Cost], machine: str, repeats: int) -> list[str]:
    """Write the report's paragraphs and table."""
    headers = [
        "cell",
        "examples",
        "invoke, s",
        "bare, s",
        "script, s",
        "run, s",
        "evaluate, s",
        "others, s",
        "run / script",
        "on a core",
    ]
    headers += [
        "run / bare",
        "run / invoke",
        "(evaluate - others) / bare",
        "two threads, s",
        "faster than run",
        "same answers",
    ]
    worst = max(costs, key=lambda cost: cost.own_ratio("run", "script"))
    within = sum(cost.own_ratio("run", "script") <= TARGET for cost in costs)
    return [
        "# What evaluation costs",
        machine,
        f"Medians of {repeats} repeats by turns; ratios within a repeat. *invoke*: the runtime's calls alone; *bare*:"
        " setting prepared inputs and calling; *script*: also reading and keeping the outputs; *run*: what evaluation"
        " does with each example, on one thread; *evaluate*: all of it, once, with the whole test split, loading,"
        " predictions, and 300 examples on each of the other kernels, which alone take *others*; *on a core*: run /"
        " script in seconds on a core, which other work on the machine moves less; *two threads*: two interpreters with"
        " one half each, in one process.",
        _common.table(headers, [_row(cost) for cost in costs]),
        f"run / script on a core is at most {TARGET} in {within} of {len(costs)} cells; the worst is"
        f" {worst.own_ratio('run', 'script'):.3f} ({worst.cell}).",
    ]


def _row(cost: Cost) -> list[str]:
    medians = {name: statistics.median(values) for name, values in cost.seconds.items()}
    times = [medians["invoke"], medians["bare"], medians["script"], medians["run"], cost.evaluate, cost.others]
    ratios = [cost.ratio("run", "script"), cost.own_ratio("run", "script"), cost.ratio("run", "bare")]
    ratios += [cost.ratio("run", "invoke"), cost.evaluate_ratio()]
    faster = cost.ratio("run", "two threads")
    return [
        f"`{cost.cell}`",
        f"{cost.examples}",
        *(f"{value:.3f}" for value in times),
        *(f"{value:.3f}" for value in ratios),
        f"{medians['two threads']:.3f}",
        f"{faster:.2f}×",
        "yes" if cost.equal else "no",
    ]


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and write ``evaluation_cost.md``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="", help="comma-separated; all where not given")
    parser.add_argument("--variants", default=CHOSEN, help="comma-separated (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="(default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="500 examples: to see that it works")
    parser.add_argument("--report-dir", type=Path, default=Path("reports/evaluation_cost"))
    given = parser.parse_args(arguments)
    models = load_models(RunOptions().model_dir)
    machine = _common.machine()
    costs = []
    for name in pick(given.models, models, "--models"):
        for variant in pick(given.variants, VARIANTS, "--variants"):
            try:
                artifact = _common.artifact(models[name], variant)
            except BadInput as refusal:
                print(refusal, flush=True)
                continue
            costs.append(measure(models[name], variant, artifact, given.repeats, 500 if given.quick else None))
            print(f"{costs[-1].cell}: run / script {costs[-1].own_ratio('run', 'script'):.3f} on a core", flush=True)
    _common.write(given.report_dir, "evaluation_cost.md", report(costs, machine, given.repeats))


if __name__ == "__main__":
    _common.quietly(main)
