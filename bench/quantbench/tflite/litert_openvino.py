"""Run artifacts on OpenVINO through LiteRT's dispatch, with LiteRT's CPU kernels for what it does not take.

LiteRT compiles the parts of the artifact that its Intel plugin selects while it loads the file. OpenVINO computes in
the precision that it prefers on the device, such as bfloat16 on a CPU that has it.
"""

from pathlib import Path
from typing import Any

from quantbench.tflite.litert_gpu import LiteRTGPU


class LiteRTOpenVINO(LiteRTGPU):
    """Run one loaded artifact on one example at a time, as :class:`LiteRTGPU` does.

    Args:
        artifact: a ``.tflite`` file.
        device: OpenVINO's name of it: ``CPU``, ``GPU`` or ``NPU``.

    Raises:
        RuntimeError: LiteRT refuses the artifact, or has no such device.
    """

    def __init__(self, artifact: Path, device: str) -> None:
        self._device = device
        super().__init__(artifact)

    def _load(self, artifact: Path) -> Any:
        from ai_edge_litert.compiled_model import CompiledModel, HardwareAccelerator
        from ai_edge_litert.environment import Environment
        from ai_edge_litert.intel_openvino_options import IntelOpenVinoGraphBackend
        from ai_edge_litert.options import Options

        folder = vendor_folder()
        options = Options(hardware_accelerators=HardwareAccelerator.NPU | HardwareAccelerator.CPU)
        options.intel_openvino_options.graph_backend = IntelOpenVinoGraphBackend[self._device]
        environment = Environment.create(
            compiler_plugin_path=str(folder / "compiler"), dispatch_library_path=str(folder / "dispatch")
        )
        return CompiledModel.from_file(str(artifact), environment=environment, options=options)


def vendor_folder() -> Path:
    """Return the folder of LiteRT's plugin for OpenVINO, which not every platform's wheel has."""
    import ai_edge_litert

    return Path(ai_edge_litert.__file__).parent / "vendors" / "intel_openvino"
