"""Do what a plain script would: convert, train and infer, without caching, measuring or judging.

    python -m studies.bare --cells seed_cnn/float32,seed_cnn/ptq_float16

The variants' own functions make the artifacts; training that several variants share runs once, as in a careful script.
Inference is the runtime's interpreter in a loop over the whole test split. One process per core. Prints JSON.
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from quantbench.build.artifact import REFUSING, StoreWorkbench
from quantbench.build.store import Store
from quantbench.core.arrays import Array
from quantbench.core.options import RunOptions
from quantbench.core.threads import cores
from quantbench.errors import Unsupported
from quantbench.reference import training
from quantbench.reference.model import load_models
from quantbench.tflite.litert import LiteRT
from quantbench.variants import VARIANTS


def one_cell(cell: str, shared: Path) -> str:
    """Make the artifact and run every test example; return the reason of a refusal, or nothing.

    Args:
        shared: folder for the weights that several variants start from.
    """
    name, _, variant = cell.partition("/")
    model = load_models(RunOptions().model_dir)[name]
    training.seed_everything(0)
    try:
        artifact = VARIANTS[variant].make(StoreWorkbench(model, 0, None, Store(shared)))
        infer(artifact, LiteRT(artifact).prepare(model.prepare(model.pack().test.x)), model.stateful)
    except Exception as refusal:
        if not is_refusal(refusal):
            raise
        return f"{cell}: {' '.join(str(refusal).split())[:100]}"
    return ""


def is_refusal(error: Exception) -> bool:
    """Check whether a run would count an error of a converter or of LiteRT as what they do not support."""
    return isinstance(error, (Unsupported, *REFUSING)) or type(error).__name__ == "ConverterError"


def infer(artifact: bytes, inputs: list[Array], stateful: bool) -> list[Array]:
    """Run the runtime's own interpreter on one example after the other; return its raw outputs."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=artifact, num_threads=1)
    interpreter.allocate_tensors()
    indices = [detail["index"] for detail in interpreter.get_input_details()]
    output = interpreter.get_output_details()[0]["index"]
    outputs = []
    for i in range(len(inputs[0])):
        if stateful:
            interpreter.reset_all_variables()
        for index, values in zip(indices, inputs, strict=True):
            interpreter.set_tensor(index, values[i : i + 1])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(output))
    return outputs


def main(arguments: list[str] | None = None) -> None:
    """Do the work, and print how long it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", required=True, help="comma-separated")
    given = parser.parse_args(arguments)
    cells = given.cells.split(",")
    # Trained variants take longest, so they start first, as in a run.
    cells.sort(key=lambda cell: not VARIANTS[cell.partition("/")[2]].trained)
    start = time.perf_counter()
    with (
        tempfile.TemporaryDirectory(prefix="quantbench-") as folder,
        ProcessPoolExecutor(cores(), mp_context=multiprocessing.get_context("spawn")) as pool,
    ):
        refused = [refusal for refusal in pool.map(one_cell, cells, [Path(folder)] * len(cells)) if refusal]
    print(json.dumps({"seconds": time.perf_counter() - start, "cells": len(cells), "refused": refused}))


if __name__ == "__main__":
    main()
