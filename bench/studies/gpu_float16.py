"""Tell what an accelerator's float16 does to answers: each artifact in its default arithmetic, and in float32.

    QUANTBENCH_VULKAN=/usr/share/vulkan/icd.d/lvp_icd.json python -m studies.gpu_float16 tiny_lm/ptq_static_wi8_ai8

LiteRT's accelerator computes in float16 where the device can, unless it is told to compute in float32. Where only the
former is wrong, the fault is of the arithmetic, and of no driver.
"""

import argparse
import os
from pathlib import Path
from typing import Any

from quantbench.core.arrays import Inputs, rows
from quantbench.core.options import CHECKOUT
from quantbench.measure import gpu_devices
from quantbench.records import parts
from quantbench.reference.metrics import ROUNDING
from quantbench.reference.model import ReferenceModel, load_models
from quantbench.tflite.litert import LiteRT
from quantbench.tflite.litert_gpu import LiteRTGPU, Reader

from studies import _common

EXAMPLES = 50


class InFloat32(LiteRTGPU):
    """Run an artifact on the accelerator in float32."""

    def _load(self, artifact: Path) -> Any:
        from ai_edge_litert.compiled_model import CompiledModel, HardwareAccelerator
        from ai_edge_litert.options import Options

        options = Options(hardware_accelerators=HardwareAccelerator.GPU | HardwareAccelerator.CPU)
        options.gpu_options.enforce_f32 = True
        return CompiledModel.from_file(str(artifact), options=options)


def differing(kind: type[LiteRTGPU], artifact: Path, model: ReferenceModel, inputs: Inputs) -> str:
    """Return the share of answers (of texts tokens, of maps pixels) that differ from the CPU's."""
    reader = Reader(artifact)
    outputs = reader.real(kind(artifact).run(reader.stored(inputs), lambda _: False))
    there = model.metric.predict(outputs, inputs)
    here = model.metric.predict(LiteRT(artifact).run(inputs), inputs)
    agreeing = model.metric.agreement(there, here, ROUNDING)
    return f"{100 * (1 - agreeing):.1f} %"


def main() -> None:
    """Run each artifact in both arithmetics, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cells", nargs="+")
    parser.add_argument("--report-dir", type=Path, default=Path("reports"))
    given = parser.parse_args()
    found, models = gpu_devices.find(), load_models(CHECKOUT / "models")
    if found.first is None:
        raise SystemExit(found.reason)
    os.environ.update(gpu_devices.child_environment())
    table = []
    for cell in given.cells:
        model, variant = models[parts(cell)[0]], parts(cell)[1]
        artifact, inputs = _common.artifact(model, variant), model.prepare(rows(model.pack().test.x, slice(EXAMPLES)))
        table.append([cell, *(differing(kind, artifact, model, inputs) for kind in (LiteRTGPU, InFloat32))])
    told = f"Answers of {EXAMPLES} examples on {found.first.label} that differ from litert-cpu's."
    shown = _common.table(["artifact", "as the accelerator chooses", "in float32"], table)
    _common.write(given.report_dir, "gpu_float16.md", ["# float16 on an accelerator", told, shown, _common.machine()])


if __name__ == "__main__":
    _common.quietly(main)
