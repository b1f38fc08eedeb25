"""What a script without this project around it would do: convert, train, infer; nothing kept, measured or judged.

    python -m studies.bare --cells seed_cnn/float32,seed_cnn/ptq_float16

The variants' own functions make the artifacts; what several variants train alike is trained once, as a careful script
would. Inference is the runtime's interpreter in a loop over the whole test split. One process a core. Prints JSON.
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
    """Make the artifact and run every test example; returns what a refusal says, or nothing.

    Args:
        shared: folder for the weights that several variants start from.
    """
    name, _, variant = cell.partition("/")
    model = load_models(RunOptions().model_dir)[name]
    training.seed_everything(0)
    try:
        artifact = VARIANTS[variant].make(StoreWorkbench(model, 0, None, Store(shared)))
        infer(artifact, LiteRT(artifact).prepare(model.prepare(model.pack().test.x)), model.stateful)
    except (Unsupported, *REFUSING) as refusal:
        return f"{cell}: {' '.join(str(refusal).split())[:100]}"
    return ""


def infer(artifact: bytes, inputs: list[Array], stateful: bool) -> list[Array]:
    """The runtime's own interpreter on one example after the other; outputs as they come."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=artifact, num_threads=1)
    interpreter.allocate_tensors()
    indices = [detail["index"] for detail in interpreter.get_input_details()]
    output = interpreter.get_output_details()[0]["index"]
    found = []
    for i in range(len(inputs[0])):
        if stateful:
            interpreter.reset_all_variables()
        for index, values in zip(indices, inputs, strict=True):
            interpreter.set_tensor(index, values[i : i + 1])
        interpreter.invoke()
        found.append(interpreter.get_tensor(output))
    return found


def main(arguments: list[str] | None = None) -> None:
    """Do the work and print how long it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", required=True, help="comma-separated")
    given = parser.parse_args(arguments)
    cells = given.cells.split(",")
    # What trains takes longest, so it starts first, as in a run.
    cells.sort(key=lambda cell: not VARIANTS[cell.partition("/")[2]].trained)
    start = time.perf_counter()
    with (
        tempfile.TemporaryDirectory(prefix="quantbench-") as folder,
        ProcessPoolExecutor(cores(), mp_context=multiprocessing.get_context("spawn")) as pool,
    ):
        refused = [told for told in pool.map(one_cell, cells, [Path(folder)] * len(cells)) if told]
    print(json.dumps({"seconds": time.perf_counter() - start, "cells": len(cells), "refused": refused}))


if __name__ == "__main__":
    main()
