"""Time an artifact with a larger batch, in a short-lived interpreter that :mod:`quantbench.measure.batch` starts.

Reads a job as JSON from standard input and writes JSON to standard output:

    {"artifact": FILE, "inputs": FILE.npz, "batch": 32, "seconds": 0.2}

    {"seconds": seconds per call}    or    {"refused": why it cannot run with this batch}
"""

import time
from pathlib import Path
from typing import Any

import numpy as np

from quantbench.core.arrays import Array, Inputs
from quantbench.core.worker import worker_main
from quantbench.measure.latency_worker import read_inputs
from quantbench.tflite.litert import LiteRT

LEAST_CALLS, WARMUP_CALLS = 20, 5
# Sums are computed in another order: kernels choose it by the shape of their operands.
FLOAT_TOLERANCE, INTEGER_TOLERANCE = 1e-4, 1


def _interpreter(artifact: str) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(model_path=artifact, num_threads=1)


def _resized(artifact: str, prepared: list[Array], batch: int) -> Any:
    """Create an interpreter whose inputs hold ``batch`` examples. Raises ValueError or RuntimeError where it cannot."""
    interpreter = _interpreter(artifact)
    for detail, values in zip(interpreter.get_input_details(), prepared, strict=True):
        interpreter.resize_tensor_input(detail["index"], [batch, *values.shape[1:]])
    interpreter.allocate_tensors()
    for detail, values in zip(interpreter.get_input_details(), prepared, strict=True):
        interpreter.set_tensor(detail["index"], values)
    interpreter.invoke()
    return interpreter


def _outputs(interpreter: Any) -> list[Array]:
    return [np.array(interpreter.get_tensor(detail["index"])) for detail in interpreter.get_output_details()]


def _one_by_one(artifact: str, prepared: list[Array], batch: int) -> list[Array]:
    interpreter = _interpreter(artifact)
    interpreter.allocate_tensors()
    outputs = []
    for i in range(batch):
        for detail, values in zip(interpreter.get_input_details(), prepared, strict=True):
            interpreter.set_tensor(detail["index"], values[i : i + 1])
        interpreter.invoke()
        outputs.append(_outputs(interpreter))
    return [np.concatenate(rows) for rows in zip(*outputs, strict=True)]


def _differs(together: Array, single: Array) -> str:
    """Describe how the outputs of a batch differ from those of its single examples; empty where they agree."""
    if together.shape != single.shape:
        return f"outputs of shape {list(together.shape)} where {list(single.shape)} was expected"
    tolerance = (
        INTEGER_TOLERANCE if together.dtype.kind in "iu" else FLOAT_TOLERANCE * (1 + float(np.abs(single).max()))
    )
    worst = float(np.abs(together.astype(np.float64) - single.astype(np.float64)).max())
    return f"outputs up to {worst:.2g} from those of its examples one by one" if not worst <= tolerance else ""


def _typical(interpreter: Any, seconds: float) -> float:
    """Measure seconds per call: the lower quartile, as for the blocks with batch size 1."""
    for _ in range(WARMUP_CALLS):
        interpreter.invoke()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < LEAST_CALLS or time.perf_counter() < end:
        start = time.perf_counter()
        interpreter.invoke()
        times.append(time.perf_counter() - start)
    return float(np.quantile(times, 0.25))


def _enough(inputs: Inputs, batch: int) -> Inputs:
    """Repeat the examples until they fill a batch."""

    def filled(values: Array) -> Array:
        return np.resize(values, (batch, *values.shape[1:]))

    return {name: filled(x) for name, x in inputs.items()} if isinstance(inputs, dict) else filled(inputs)


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Return seconds per call, or the reason why there are none."""
    artifact, batch = job["artifact"], job["batch"]
    prepared = LiteRT(Path(artifact)).prepare(_enough(read_inputs(job["inputs"]), batch))
    try:
        interpreter = _resized(artifact, prepared, batch)
    except (RuntimeError, ValueError) as error:
        return {"refused": f"it cannot be resized: {' '.join(str(error).split())[:200]}"}
    pairs = zip(_outputs(interpreter), _one_by_one(artifact, prepared, batch), strict=True)
    differing = next(filter(None, (_differs(*pair) for pair in pairs)), "")
    if differing:
        return {"refused": f"it can be resized, and gives {differing}"}
    return {"seconds": _typical(interpreter, job["seconds"])}


if __name__ == "__main__":
    worker_main(run)
