"""Start the process of an accelerator with faults in the device: ``python faulty_device.py FAULTS -m MODULE``.

FAULTS is one of these, or several with commas between: ``wrong`` gives every fifth call another answer; ``fewer:N``
leaves the first convolution to the CPU, of N operators, as the log says; ``fallback`` runs everything on the CPU, where
OpenVINO's plugin is missing, which LiteRT does by itself and without a word.
"""

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from quantbench.tflite import litert_openvino
from quantbench.tflite.litert_gpu import LiteRTGPU
from quantbench.tflite.litert_openvino import LiteRTOpenVINO


def wrong() -> None:
    right, calls = LiteRTGPU.invoke, [0]

    def invoke(self: LiteRTGPU) -> list[Any]:
        outputs, calls[0] = right(self), calls[0] + 1
        return [np.roll(values, 1) for values in outputs] if calls[0] % 5 == 0 else outputs

    LiteRTGPU.invoke = invoke  # type: ignore[method-assign]


def fewer(operators: int) -> None:
    of_webgpu = (
        "ERROR: Following operations are not supported by GPU delegate:\nCONV_2D: A planted fault.\n"
        f"{operators - 1} operations will run on the GPU, and the remaining 1 operations will run on the CPU."
    )
    of_plugin = f"INFO: Partitioned subgraph<0>, selected {operators - 1} ops, from a total of {operators} ops."
    for kind, log in ((LiteRTGPU, of_webgpu), (LiteRTOpenVINO, of_plugin)):
        kind._load = telling(kind._load, log)  # type: ignore[method-assign]


def telling(load: Callable[[Any, Path], Any], log: str) -> Callable[[Any, Path], Any]:
    def tell(self: Any, artifact: Path) -> Any:
        print(log, file=sys.stderr, flush=True)
        return load(self, artifact)

    return tell


def fallback() -> None:
    from ai_edge_litert.compiled_model import CompiledModel, HardwareAccelerator

    def load(self: Any, artifact: Path) -> Any:
        return CompiledModel.from_file(str(artifact), hardware_accel=HardwareAccelerator.CPU)

    LiteRTGPU._load = load  # type: ignore[method-assign]
    litert_openvino.vendor_folder = lambda: Path("/nowhere")


if __name__ == "__main__":
    for fault in sys.argv[1].split(","):
        name, _, number = fault.partition(":")
        {"wrong": wrong, "fallback": fallback}[name]() if not number else fewer(int(number))
    runpy.run_module(sys.argv[3], run_name="__main__", alter_sys=True)
