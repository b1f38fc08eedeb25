"""Measure how long ``quantbench try`` takes, beside a bare script of the same conversions and evaluations.

    python -m studies.try_times --report-dir reports/reference
    python -m studies.try_times --models small --report-dir reports/times
    python -m studies.try_times --models mobilenet_v2 --examples 100 --report-dir reports/times

The models are built by ``keras.applications`` without weights, their batch norms settled on the data; *small* is a
convolutional network of some thousand parameters with 10,000 examples. The bare script converts with the same tools and
runs every example with one thread an interpreter, in two processes that share the variants. Both start from nothing:
the store is a new folder. Of the small model the whole command is measured, with its shortlist and timing, and with
``--all``; of the others four variants without timing. Wall times need a machine with nothing else to do; seconds of
CPU, of each with all its processes, can be compared on any.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from quantbench.core.options import PACKAGE

from studies import _common
from studies.speed import _Watcher

SIZE = 224
APPLICATIONS = {"mobilenet_v2": "MobileNetV2", "efficientnet_b0": "EfficientNetB0", "resnet50": "ResNet50"}
SMALL = "small"
SMALL_EXAMPLES = 10_000
CALIBRATION = 50
VARIANTS = ("float32", "ptq_float16", "ptq_dynamic_wi8_afp32", "ptq_static_wi8_ai8")
_CORES = 2


class Seconds(NamedTuple):
    """Hold wall time, and CPU time of a process and all its children, which wall time on a busy machine is not."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Row:
    """Describe one measurement.

    Attributes:
        bare: what the bare script took; None where there is none to compare with.
        tried: what the command took.
        peak: largest resident set of any of its processes, in bytes.
        lines: printed by the command.
    """

    model: str
    what: str
    parameters: int
    examples: int
    bare: Seconds | None
    tried: Seconds
    peak: int
    lines: int

    def cells(self) -> list[str]:
        """Return the row of the table."""
        bare = ["", "", "", ""]
        if self.bare is not None:
            beside = zip(self.tried, self.bare, strict=True)
            bare = [f"{taken:.0f}" for taken in self.bare] + [f"{tried / taken:.2f}" for tried, taken in beside]
        return [
            self.model,
            self.what,
            f"{self.parameters:,}",
            f"{self.examples:,}",
            bare[0],
            f"{self.tried.wall:.0f}",
            bare[2],
            bare[1],
            f"{self.tried.cpu:.0f}",
            bare[3],
            f"{self.peak / 2**30:.1f}",
            str(self.lines),
        ]


# ---------------------------------------------------------------- models, in a process of their own


def make(name: str, examples: int, folder: Path) -> None:
    """Write ``model.h5``, ``eval.npz``, ``calibration.npz`` and ``facts.json``."""
    from quantbench.core.tensorflow import tensorflow

    tf = tensorflow()
    tf.keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    model, shape = _network(tf, name)
    x = _pictures(random, examples + CALIBRATION, shape)
    settled = x[:32].astype(np.float32)
    for layer in model.layers:
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            layer.momentum = 0.3
    for _ in range(6):
        model(settled, training=True)
    labels = np.concatenate([np.argmax(model(x[i : i + 16].astype(np.float32)), 1) for i in range(0, examples, 16)])
    model.save(folder / "model.h5", include_optimizer=False)
    np.savez(folder / "eval.npz", x=x[:examples], y=labels[:examples])
    np.savez(folder / "calibration.npz", x=x[examples:])
    (folder / "facts.json").write_text(json.dumps({"parameters": int(model.count_params())}), encoding="utf-8")


def _network(tf: Any, name: str) -> tuple[Any, tuple[int, int, int]]:
    if name != SMALL:
        built = getattr(tf.keras.applications, APPLICATIONS[name])(weights=None, input_shape=(SIZE, SIZE, 3))
        return built, (SIZE, SIZE, 3)
    layers, shape = tf.keras.layers, (28, 28, 1)
    image = tf.keras.Input(shape)
    out = layers.Rescaling(1 / 255)(image)
    for filters in (16, 32, 64):
        out = layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False)(out)
        out = layers.ReLU()(layers.BatchNormalization()(out))
    return tf.keras.Model(image, layers.Dense(10, activation="softmax")(layers.Flatten()(out))), shape


def _pictures(random: np.random.Generator, count: int, shape: tuple[int, int, int]) -> Any:
    """Return smooth pictures, uint8: noise of a seventh of the size, enlarged."""
    coarse = random.integers(0, 256, (count, shape[0] // 7, shape[1] // 7, shape[2]), dtype=np.uint8)
    return np.repeat(np.repeat(coarse, 7, axis=1), 7, axis=2)


# ---------------------------------------------------------------- the bare script


def bare(folder: Path, variants: Sequence[str]) -> None:
    """Convert and score these variants, as a person would write it."""
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    model = tf.keras.models.load_model(folder / "model.h5", compile=False)
    examples = np.load(folder / "eval.npz", allow_pickle=False)
    few = np.load(folder / "calibration.npz", allow_pickle=False)["x"]
    for variant in variants:
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        if variant != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if variant == "ptq_float16":
            converter.target_spec.supported_types = [tf.float16]
        if variant == "ptq_static_wi8_ai8":
            converter.representative_dataset = lambda: ([few[i : i + 1].astype(np.float32)] for i in range(len(few)))
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        interpreter = Interpreter(model_content=converter.convert(), num_threads=1)
        interpreter.allocate_tensors()
        given, got = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
        right = 0
        for x, y in zip(examples["x"], examples["y"], strict=True):
            interpreter.set_tensor(given, x[None].astype(np.float32))
            interpreter.invoke()
            right += int(np.argmax(interpreter.get_tensor(got)) == y)
        print(f"{variant}: {right / len(examples['y']):.4f}", flush=True)


def _child(*arguments: str) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent), "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.Popen([sys.executable, "-m", "studies.try_times", *arguments], env=environment)


class _Clock:
    """Measure from its creation on; CPU time is that of processes started since that have ended."""

    def __init__(self) -> None:
        self._since = self._now()

    def seconds(self) -> Seconds:
        """Return what has passed."""
        wall, cpu = self._now()
        return Seconds(wall - self._since.wall, cpu - self._since.cpu)

    @staticmethod
    def _now() -> Seconds:
        ended = os.times()
        return Seconds(time.perf_counter(), ended.children_user + ended.children_system)


def _bare_seconds(folder: Path) -> Seconds:
    """Return what the bare script takes on both cores: each process takes every other variant."""
    clock = _Clock()
    running = [_child("--bare", str(folder), ",".join(VARIANTS[i::_CORES])) for i in range(_CORES)]
    if any(process.wait() for process in running):
        raise RuntimeError("the bare script failed")
    return clock.seconds()


# ---------------------------------------------------------------- the command


def _tried(folder: Path, *more: str) -> tuple[Seconds, int, int]:
    """Return seconds, the largest resident set, and the lines printed by ``quantbench try`` from nothing."""
    with tempfile.TemporaryDirectory(prefix="try-times-") as scratch:
        environment = {**os.environ, "QUANTBENCH_CACHE": f"{scratch}/store", "PYTHONPATH": str(PACKAGE.parent)}
        command = [sys.executable, "-m", "quantbench", "try", str(folder / "model.h5")]
        command += ["--data", str(folder / "eval.npz"), "--calibration", str(folder / "calibration.npz")]
        command += ["--metric", "accuracy", "--report-dir", f"{scratch}/reports", *more]
        clock = _Clock()
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        watcher = _Watcher(process)
        output, _ = process.communicate()
        seconds = clock.seconds()
        peak = watcher.stop()
        if process.returncode:
            raise RuntimeError(f"quantbench try ended with status {process.returncode}: {output[-2000:]}")
        print(output, file=sys.stderr)
        return seconds, peak, len(output.splitlines())


def measure(name: str, examples: int) -> list[Row]:
    """Measure one model."""
    with tempfile.TemporaryDirectory(prefix="try-times-") as scratch:
        folder, number = Path(scratch), SMALL_EXAMPLES if name == SMALL else examples
        if _child("--make", name, str(number), str(folder)).wait():
            raise RuntimeError(f"{name} could not be built")
        parameters = json.loads((folder / "facts.json").read_text(encoding="utf-8"))["parameters"]
        if name == SMALL:
            ways = {"advice": (), "--all": ("--all",)}
            return [Row(name, what, parameters, number, None, *_tried(folder, *more)) for what, more in ways.items()]
        beside = _bare_seconds(folder)
        tried = _tried(folder, "--variants", ",".join(VARIANTS), "--latency-budget", "0")
        return [Row(name, f"{len(VARIANTS)} variants", parameters, number, beside, *tried)]


def report(rows: Sequence[Row], machine: str) -> list[str]:
    """Write the report's paragraphs and table."""
    headers = ["model", "what", "parameters", "examples", "bare, s", "try, s", "try / bare"]
    headers += ["bare, CPU s", "try, CPU s", "try / bare", "largest GiB", "lines"]
    return [
        "# How long `quantbench try` takes",
        machine,
        "Wall time from nothing, with a new store, and CPU time of all processes; *bare* is a script of the same "
        f"conversions and evaluations in {_CORES} processes; *largest* is the largest resident set of any one process.",
        _common.table(headers, [row.cells() for row in rows]),
    ]


def main() -> None:
    """See the module."""
    if sys.argv[1:2] == ["--make"]:
        make(sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
        return
    if sys.argv[1:2] == ["--bare"]:
        bare(Path(sys.argv[2]), sys.argv[3].split(","))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default=",".join([SMALL, *APPLICATIONS]))
    parser.add_argument("--examples", type=int, default=1000, help="of the large models")
    parser.add_argument("--report-dir", type=Path, required=True)
    options = parser.parse_args()
    machine = _common.machine()
    rows = [row for name in options.models.split(",") for row in measure(name, options.examples)]
    _common.write(options.report_dir, "try_times.md", report(rows, machine))


if __name__ == "__main__":
    main()
