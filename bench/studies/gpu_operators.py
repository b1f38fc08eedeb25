"""Find the operators that LiteRT's GPU accelerator computes otherwise than the CPU.

    python -m studies.gpu_operators --cells resnet8/ptq_static_wi8_ai8 --report-dir reports/reference

The graph is ended at one operator after the other, and the GPU's values there are compared with the CPU's on the same
examples: *here*. Each operator is also run by itself, on the CPU's values as its inputs: *alone*. Where *here* grows
and *alone* is small, the operator only passes on what came before. Of a convolution with a stride the GPU's values are
also compared with the CPU's for a stride of 1, of which the corner is taken. Errors are root mean squares, as a share
of the values' own.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from quantbench import files
from quantbench.core import child_process
from quantbench.core.arrays import Array, rows
from quantbench.measure import gpu_devices
from quantbench.records import parts
from quantbench.reference.model import load_models
from quantbench.tflite import graph, surgery
from quantbench.tflite.edit import edited, unpacked
from quantbench.tflite.litert import LiteRT
from quantbench.tflite.litert_gpu import Reader, on_cpu
from tabulate import tabulate

from studies import _common

EXAMPLES = 8
LIMIT_SECONDS = 120.0


@dataclass(frozen=True)
class Row:
    """Say by how much the GPU's values differ at one operator.

    Attributes:
        here, alone: root mean square, as a share of the values' RMS; None where it does not run.
        unstrided: alone, against the CPU's with a stride of 1; None for an operator without a stride.
        steps: largest difference alone, in steps of the output's scale; None for a float tensor.
    """

    position: int
    operator: str
    shape: str
    here: float | None
    alone: float | None
    unstrided: float | None
    steps: float | None


def _ended(artifact: bytes, position: int) -> bytes:
    """Return an artifact that ends at an operator."""

    def change(model: Any) -> None:
        part = model.subgraphs[0]
        part.operators = part.operators[: position + 1]
        part.outputs = [int(part.operators[position].outputs[0])]
        model.signatureDefs = []

    return edited(artifact, change)


def compare_files(
    doc: str, name: str, title: str, headers: list[str], rows: Callable[[Path | None, str | None], list[list[str]]]
) -> None:
    """Read a study's options, compare its files on the CPU and on each device, and write a table of each.

    Args:
        doc: of the study; its last paragraph explains the columns.
        name: of the report.
        rows: of a table, from the folder to leave the .tflite files in, if any, and the device's driver, if chosen.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=Path, help="folder to leave the .tflite files in")
    parser.add_argument("--report-dir", type=Path, default=Path("reports"))
    given = parser.parse_args()
    if given.files is not None:
        given.files.mkdir(parents=True, exist_ok=True)
    tables = [
        f"{device.label}\n\n{_common.table(headers, rows(given.files, gpu_devices.driver_of(device)))}"
        for device in gpu_devices.find().devices
    ]
    machine = _common.machine().rpartition("; ")[0] + "."
    _common.write(given.report_dir, name, [f"# {title}", doc.strip().split("\n\n")[-1], *tables, machine])


def on_gpu(artifact: bytes, inputs: dict[str, Array], driver: str | None = None) -> Array | None:
    """Return the first output on the GPU, as stored, of shape (n, ...); None where it does not run.

    Args:
        driver: its ``.json``, where several were chosen.
    """
    return on_gpu_with_left(artifact, inputs, driver)[0]


def on_gpu_with_left(artifact: bytes, inputs: dict[str, Array], driver: str | None = None) -> tuple[Array | None, str]:
    """Return the first output on the GPU as :func:`on_gpu` does, and in words how many operators it left to the CPU."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "a.tflite").write_bytes(artifact)
        np.savez(folder / "in.npz", **{f"x_{name}": values for name, values in inputs.items()})  # type: ignore[arg-type]
        job = {
            "artifacts": {"variant": str(folder / "a.tflite")},
            "inputs": {"variant": str(folder / "in.npz")},
            "answers": str(folder / "out.npz"),
            "seconds": 0.0,
            "answer_seconds": LIMIT_SECONDS,
            "step_seconds": LIMIT_SECONDS,
            "seed": 0,
            "driver": driver,
        }
        environment = gpu_devices.child_environment(driver)
        done = child_process.start("quantbench.measure.gpu_worker", job, LIMIT_SECONDS, environment)
        if done.returncode != 0:
            print(done.stderr.strip().splitlines()[-1:], file=sys.stderr)
            return None, ""
        with np.load(folder / "out.npz", allow_pickle=False) as file:
            left, operators, _ = on_cpu(done.stderr)
            return np.asarray(next(iter(file.values()))), f"{left} of {operators}" if operators else "none"


def _error(made: Array | None, exact: Array) -> float | None:
    if made is None or made.size != exact.size:
        return None
    difference = made.reshape(-1).astype(np.float64) - exact.reshape(-1).astype(np.float64)
    signal = float(np.mean(exact.astype(np.float64) ** 2))
    return float(np.sqrt(float(np.mean(difference**2)) / signal)) if signal else None


def _centred(values: Array, tensor: graph.Tensor) -> Array:
    """Subtract the zero point, so that a share of the values' size means the same for all tensors."""
    return values.astype(np.float64) - (tensor.zero_points[0] if tensor.zero_points else 0)


def _unstrided(file: bytes, stored: dict[str, Array], shape: tuple[int, ...]) -> Array | None:
    """Return what a convolution gives with a stride of 1, of which the corner of an output's shape is taken."""
    options = unpacked(file).subgraphs[0].operators[-1].builtinOptions
    if max(getattr(options, "strideH", 1), getattr(options, "strideW", 1)) < 2:
        return None

    def change(model: Any) -> None:
        part = model.subgraphs[0]
        part.operators[-1].builtinOptions.strideH = part.operators[-1].builtinOptions.strideW = 1
        source, target = (part.tensors[int(of[0])] for of in (part.operators[-1].inputs, part.operators[-1].outputs))
        target.shape = [1, *(int(size) for size in source.shape[1:3]), int(target.shape[3])]
        target.shapeSignature = None

    runner, [(_, values)] = LiteRT(edited(file, change), runtime="litert-builtin"), stored.items()
    made = [np.array(runner.call([values[i : i + 1]])[0]) for i in range(len(values))]
    return np.stack(made)[:, :, : shape[1], : shape[2]]


def of_cell(artifact: bytes, examples: Array) -> list[Row]:
    """Compare every operator of an artifact."""
    whole, objects = graph.read(artifact).main(), unpacked(artifact)
    keeper = LiteRT(artifact, runtime="litert-builtin", keep_tensors=True)
    values: list[dict[int, Array]] = []
    for i in range(len(examples)):
        keeper.run(rows(examples, slice(i, i + 1)))
        found = {index: keeper.value(index) for index in range(len(whole.tensors))}
        values.append({index: np.array(value) for index, value in found.items() if value is not None})
    place_of = {id(tensor): index for index, tensor in enumerate(whole.tensors)}
    told = []
    for position, operator in enumerate(whole.operators):
        output = operator.outputs[0]
        exact = np.stack([each[place_of[id(output)]] for each in values])
        ended = _ended(artifact, position)
        with tempfile.TemporaryDirectory() as place:
            (path := Path(place) / "a.tflite").write_bytes(ended)
            here = on_gpu(ended, Reader(path).stored(examples))
        alone = corner = None
        try:
            file, fed = surgery.alone(objects, position)
            names = LiteRT(file, runtime="litert-builtin").input_names()
            stored = {
                name: np.concatenate([each[index] for each in values]) for name, index in zip(names, fed, strict=True)
            }
            alone = on_gpu(file, stored)
            corner = _unstrided(file, stored, output.shape)
        except (surgery.Uncuttable, RuntimeError, ValueError, KeyError) as error:
            print(position, operator.name, error, file=sys.stderr)
        centred = _centred(exact, output)
        here_error, alone_error = (
            _error(None if made is None else _centred(made, output), centred) for made in (here, alone)
        )
        unstrided = None
        if alone is not None and corner is not None:
            unstrided = _error(_centred(alone, output), _centred(corner, output))
        steps = None
        if alone is not None and output.scales and alone.size == exact.size:
            steps = float(np.max(np.abs(alone.reshape(-1).astype(np.float64) - exact.reshape(-1))))
        told.append(
            Row(position, operator.name, "x".join(map(str, output.shape)), here_error, alone_error, unstrided, steps)
        )
        print(told[-1], flush=True)
    return told


def table(told: list[Row]) -> str:
    """Return the rows as Markdown."""
    lines = [
        [
            row.position,
            row.operator,
            row.shape,
            *("" if error is None else f"{100 * error:.2f} %" for error in (row.here, row.alone, row.unstrided)),
            "" if row.steps is None else f"{row.steps:.0f}",
        ]
        for row in told
    ]
    headers = ["operator", "", "output", "differs here", "alone", "alone, stride 1", "largest, in steps"]
    return tabulate(lines, headers, tablefmt="pipe", disable_numparse=True)


def main() -> None:
    """Compare, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", default="resnet8/float32,resnet8/ptq_static_wi8_ai8")
    parser.add_argument("--model-dir", type=Path, default=Path("models"))
    parser.add_argument("--report-dir", type=Path, default=Path("reports"))
    given = parser.parse_args()
    models, machine = load_models(given.model_dir), _common.machine()
    device = ", ".join(one.name for one in gpu_devices.find().devices)
    sections = []
    for cell in given.cells.split(","):
        name, variant = parts(cell)
        model = models[name]
        examples = model.prepare(rows(model.pack().test.x, slice(0, EXAMPLES)))
        assert isinstance(examples, np.ndarray), "models with several inputs are not looked at"
        told = of_cell(_common.artifact(model, variant).read_bytes(), examples)
        sections.append(f"## {cell}\n\n{table(told)}")
    words = __doc__.strip().split("\n\n")[-1]
    text = "\n\n".join(["# Operators on the GPU", words, device, *sections, machine]) + "\n"
    given.report_dir.mkdir(parents=True, exist_ok=True)
    files.replace(given.report_dir / "gpu_operators.md", text)


if __name__ == "__main__":
    main()
