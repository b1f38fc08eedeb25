"""OpenVINO's devices: who names them, what LiteRT's log says, and the real path where the package is installed."""

from importlib import util
from pathlib import Path

import pytest
from conftest import ROOT, Quantbench
from on_devices import float_artifact, measured_there
from quantbench.errors import BadInput
from quantbench.measure import gpu_devices, openvino_devices
from quantbench.measure.gpu import Refused
from quantbench.records import Device
from quantbench.reference.model import load_models
from quantbench.tflite.litert_gpu import adapter, on_cpu

CPU = Device(name="OpenVINO CPU, A processor", kind="software", driver="OpenVINO 1")
LOG = """\
INFO: Partitioned subgraph<0>, selected 10 ops, from a total of 12 ops. resulted in 2 partitions.
INFO: [openvino_compile_context.cc:77] Using Intel OpenVINO device: CPU
"""
MODELS = load_models(ROOT / "models")
installed = pytest.mark.skipif(util.find_spec("openvino") is None, reason="the package openvino is not installed")


def test_devices_are_named_once_and_known() -> None:
    assert openvino_devices.chosen({}) == []
    assert openvino_devices.chosen({openvino_devices.CHOICE: "cpu, NPU,CPU"}) == ["CPU", "NPU"]
    with pytest.raises(BadInput, match="no device 'TPU'; expected CPU, GPU, NPU"):
        openvino_devices.find({openvino_devices.CHOICE: "CPU,TPU"})


def test_without_the_package_it_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_devices.util, "find_spec", lambda _: None)
    with pytest.raises(BadInput, match=r"not installed: pip install 'quantbench\[openvino\]'"):
        openvino_devices.find({openvino_devices.CHOICE: "CPU"})


def test_its_log_tells_the_device_and_what_was_left() -> None:
    assert (adapter(LOG), on_cpu(LOG)) == ("OpenVINO CPU", (2, 12, []))
    assert openvino_devices.is_adapter(adapter(LOG), CPU)
    assert not openvino_devices.is_adapter("OpenVINO C", CPU)
    assert gpu_devices.driver_of(CPU) == "openvino:CPU"
    assert openvino_devices.device_of("openvino:CPU") == "CPU"
    assert openvino_devices.device_of("/etc/vulkan/icd.json") is None


@pytest.mark.usefixtures("asked_afresh")
def test_what_is_wrong_with_it_is_told_beside_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(openvino_devices.CHOICE, "TPU")
    assert "no device 'TPU'" in gpu_devices.find().reason


@pytest.mark.slow
@pytest.mark.usefixtures("asked_afresh")
@installed
@pytest.mark.parametrize("name", ["seed_cnn", "lstm"])
def test_a_model_answers_on_openvino_as_on_the_cpu(name: str, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(openvino_devices.CHOICE, "CPU")
    [device] = openvino_devices.find({openvino_devices.CHOICE: "CPU"})
    model = MODELS[name]
    artifact = float_artifact(model, store)
    if model.stateful:
        with pytest.raises(Refused, match="Variable tensors"):
            measured_there(model, artifact, device)
        return
    taken, shown = measured_there(model, artifact, device)
    assert shown["gpu_agreement"].value >= 0.9  # in bfloat16, where the processor has it
    assert (taken.left, taken.nonfinite) == (0, 0)
    assert taken.operators > 0
    assert taken.left_macs == (0, 0) < (0, taken.macs)


@pytest.mark.slow
@installed
def test_a_run_judges_it_beside_other_accelerators(quantbench: Quantbench) -> None:
    chosen = {openvino_devices.CHOICE: "CPU", gpu_devices.CHOICE: "", gpu_devices.REQUIRED: ""}
    done = quantbench("run", "--models", "seed_cnn", "--variants", "float32,ptq_static_wi8_ai8", "-m", "gpu", **chosen)
    assert done.status == 0, done.output
    assert "### Accelerator: OpenVINO CPU, " in (done.reports / "latest" / "report.md").read_text()
    assert done.cell("seed_cnn/ptq_static_wi8_ai8")["verdicts"] == {"gpu": "pass"}
