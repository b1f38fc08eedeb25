"""Measure how the cost of a run grows with the number of its cells, and with the size of a model.

    python -m studies.growth --cells 10,100,1000,10000 --parameters 0.1,1,10,50 --report-dir reports/reference

Cells are synthetic: one dense layer and 50 examples, under as many names as needed. Up to ``--computed`` of them are
computed from nothing; for more, the store is first filled with the same results under the other names, which leaves the
work of a run besides computing: looking up, judging, reporting. Models of growing size are two dense layers, each made,
converted and run in a fresh process.
"""

import argparse
import json
import math
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from quantbench.build.artifact import model_source
from quantbench.build.store import Store, digest
from quantbench.core import tensorflow
from quantbench.core.options import CHECKOUT
from quantbench.errors import BadInput
from quantbench.reference import float_model
from quantbench.reference.datasets import file_sha256
from quantbench.reference.model import load_models
from quantbench.tflite.litert import LiteRT
from quantbench.variants import VARIANTS, of_every_model

from studies import _common

FAMILY = [name for name in of_every_model() if VARIANTS[name].family == "ptq" and VARIANTS[name].gate == "all"][:9]
EXAMPLES, INPUTS = 50, 128
FIRST = "m00000"
SIZES_EXAMPLES = 200
STEPS = [f"{what} {name}" for name in ("float32", "dynamic", "static") for what in ("convert", "run")]
_MODEL = '''"""{name}: one dense layer."""

from quantbench.reference.model import Floor, Recipe, ReferenceModel


def build(keras):
    return keras.Sequential([keras.layers.Dense(10, activation="softmax", input_shape=({inputs},))], name="tiny")


MODEL = ReferenceModel(
    name="{name}",
    description="synthetic",
    build=build,
    train=Recipe(epochs=1, batch_size=8, learning_rate=1e-3),
    finetune=Recipe(epochs=1, batch_size=8, learning_rate=1e-4),
    weights="weights.npz",
    weights_sha256="{weights}",
    data="data.npz",
    data_sha256="{data}",
    prepare=lambda x: x.astype("float32"),
    floors={{"default": Floor(100.0, "synthetic")}},
)
'''


# ---------------------------------------------------------------- cells


def make_models(folder: Path, count: int) -> None:
    """Write ``count`` model files with the same weights and data."""
    folder.mkdir()
    random = np.random.default_rng(0)
    weights = [random.standard_normal((INPUTS, 10)).astype(np.float32), np.zeros(10, np.float32)]
    np.savez(folder / "weights.npz", *weights)
    arrays: dict[str, Any] = {}
    for split in ("train", "test"):
        arrays[f"x_{split}"] = random.standard_normal((EXAMPLES, INPUTS)).astype(np.float32)
        arrays[f"y_{split}"] = (arrays[f"x_{split}"] @ weights[0]).argmax(axis=1).astype(np.uint8)
    np.savez(folder / "data.npz", **arrays)
    hashes = {"weights": file_sha256(folder / "weights.npz"), "data": file_sha256(folder / "data.npz")}
    for i in range(count):
        name = f"m{i:05d}"
        (folder / f"{name}.py").write_text(_MODEL.format(name=name, inputs=INPUTS, **hashes), encoding="utf-8")


@dataclass(frozen=True)
class Ran:
    """Describe a run: seconds by the clock, CPU seconds of all its processes, peak MiB of its own process."""

    seconds: float
    cpu: float
    peak: float


def run(models: Path, folder: Path, chosen: str = "") -> Ran:
    """Run all models, or the chosen one."""
    nothing = folder / "no-baselines"
    nothing.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "quantbench", "run", "--no-latency", "--no-gpu", "-q", f"--model-dir={models}"]
    command += [f"--baseline-dir={nothing}", f"--report-dir={folder / 'reports'}", "--variants", ",".join(FAMILY)]
    command += [f"--models={chosen}"] if chosen else []
    environment = os.environ | {"QUANTBENCH_CACHE": str(folder / "store")}
    start = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=CHECKOUT, env=environment
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (1, 3):  # without baselines, every cell at least lacks one
        raise BadInput(f"a run of synthetic cells ended with status {process.returncode}")
    return Ran(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def fill(store: Store, models: Path) -> None:
    """Copy the first model's entries to the other models' names; files are linked, not copied."""
    models_by_name = load_models(models)
    first = models_by_name.pop(FIRST)
    entries = [
        (index.parent, json.loads(index.read_text(encoding="utf-8"))) for index in store.root.glob("*/*/entry.json")
    ]
    for name, model in models_by_name.items():
        # A key contains a model's name, and its source.
        other = [(FIRST, name), (model_source(first), model_source(model))]
        for folder, entry in entries:
            ingredients = _replaced(entry["ingredients"], other)
            to = store.path(digest(ingredients))
            if to.exists():
                continue
            to.mkdir(parents=True)
            for file in entry["files"]:
                os.link(folder / file, to / file)
            copied = entry | {"key": to.name, "ingredients": ingredients}
            (to / "entry.json").write_text(json.dumps(copied), encoding="utf-8")


def _replaced(value: Any, other: list[tuple[Any, Any]]) -> Any:
    for old, new in other:
        if value == old:
            return new
    if isinstance(value, dict):
        return {key: _replaced(inner, other) for key, inner in value.items()}
    if isinstance(value, list):
        return [_replaced(inner, other) for inner in value]
    return value


def by_cells(counts: list[int], computed: int) -> list[list[str]]:
    """Measure the rows: cells, from nothing, again from the store, a cell of that, peak of the run's own process."""
    rows = []
    per_model = len(FAMILY) + 1  # the float control is added
    for count in counts:
        with tempfile.TemporaryDirectory(prefix="quantbench-") as temporary:
            folder = Path(temporary)
            names = max(1, round(count / per_model))
            make_models(folder / "models", names)
            first = "—"
            if count <= computed:
                first = f"{run(folder / 'models', folder).seconds:.1f} s"
            else:
                run(folder / "models", folder, FIRST)
                fill(Store(folder / "store"), folder / "models")
            shutil.rmtree(folder / "reports")
            again = run(folder / "models", folder)
            report = json.loads((folder / "reports" / "latest" / "report.json").read_text(encoding="utf-8"))
            if not all(cell["cached"] for cell in report["cells"]):
                raise BadInput("the run that should have found everything in the store computed some of it")
            cells = names * per_model
            a_cell = f"{1000 * again.cpu / cells:.1f} ms"
            rows.append([f"{cells:,}", first, f"{again.seconds:.1f} s", f"{again.cpu:.1f} s", a_cell])
            rows[-1].append(f"{again.peak:.0f} MiB")
            print(" | ".join(rows[-1]), flush=True)
    return rows


# ---------------------------------------------------------------- model size


def one_size(millions: float) -> dict[str, float]:
    """Measure seconds to export, convert and run a model of so many parameters, and the process's peak in MiB."""
    tf = tensorflow.tensorflow()
    width = round((-266 + math.sqrt(266**2 + 4e6 * millions)) / 2)  # w² + 266 w parameters, about
    layers = tf.keras.layers
    network = tf.keras.Sequential(
        [layers.Dense(width, activation="relu", input_shape=(256,)), layers.Dense(width, "relu"), layers.Dense(10)]
    )
    figures = {"parameters": float(network.count_params())}
    x = np.random.default_rng(0).standard_normal((SIZES_EXAMPLES, 256)).astype(np.float32)
    start = time.perf_counter()
    saved = float_model.export(network)
    figures["export"] = time.perf_counter() - start
    for name in ("float32", "dynamic", "static"):
        start = time.perf_counter()
        converter = tf.lite.TFLiteConverter.from_saved_model(saved)
        if name != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if name == "static":
            converter.representative_dataset = lambda: ([x[i : i + 1]] for i in range(100))
        artifact = bytes(converter.convert())
        figures[f"convert {name}"] = time.perf_counter() - start
        start = time.perf_counter()
        LiteRT(artifact).run(x)
        figures[f"run {name}"] = time.perf_counter() - start
    figures["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return figures


def by_size(sizes: list[float]) -> list[list[str]]:
    """Measure the rows: parameters, seconds of each step, peak memory."""
    rows = []
    for millions in sizes:
        command = [sys.executable, "-m", "studies.growth", "--one", str(millions)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, check=False)
        if done.returncode != 0:
            raise BadInput(
                f"a model of {millions} million parameters ended with {done.returncode}: {done.stderr[-300:]}"
            )
        figures = json.loads(done.stdout.splitlines()[-1])
        steps = [
            f"{figures[f'{what} {name}']:.2f} s"
            for name in ("float32", "dynamic", "static")
            for what in ("convert", "run")
        ]
        rows.append(
            [f"{figures['parameters']:,.0f}", f"{figures['export']:.2f} s", *steps, f"{figures['peak']:.0f} MiB"]
        )
        print(" | ".join(rows[-1]), flush=True)
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and write ``growth.md``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", default="10,100,1000,10000", help="(default: %(default)s)")
    parser.add_argument("--computed", type=int, default=100, help="most cells to compute from nothing")
    parser.add_argument("--parameters", default="0.1,1,10,50", help="millions (default: %(default)s)")
    parser.add_argument("--one", type=float, help="only print one size's figures as JSON")
    parser.add_argument("--report-dir", type=Path, default=Path("reports/growth"))
    given = parser.parse_args(arguments)
    if given.one:
        figures = one_size(given.one)
        print(json.dumps(figures))
        return
    machine = _common.machine()
    cells = by_cells([int(count) for count in given.cells.split(",")], given.computed)
    sizes = by_size([float(size) for size in given.parameters.split(",")])
    parts = [
        "# How cost grows",
        machine,
        f"Runs of synthetic cells ({len(FAMILY)} variants and the float control of models with one dense layer and "
        f"{EXAMPLES} examples), latency off. Up to {given.computed} cells were computed from nothing too. CPU seconds "
        "are of all processes of a run that finds everything in the store; other work hardly changes them.",
        _common.table(["cells", "from nothing", "from the store", "CPU", "CPU a cell", "peak of its process"], cells),
        "One model of two equal dense layers in a fresh process: export, then converter and LiteRT on "
        f"{SIZES_EXAMPLES} examples, for float32, dynamic range and static range.",
        _common.table(["parameters", "export", *STEPS, "peak"], sizes),
    ]
    _common.write(given.report_dir, "growth.md", parts)


if __name__ == "__main__":
    main()
