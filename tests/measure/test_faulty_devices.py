"""Faults in a real accelerator are red: wrong answers on a few examples, fewer operators, and a silent fallback."""

import sys
from importlib import util
from pathlib import Path

import faulty_device
import pytest
from conftest import ROOT, instead_of_python
from on_devices import float_artifact, measured_there, variant_artifact
from quantbench import gate
from quantbench.measure import openvino_devices
from quantbench.measure.census import census as census_of
from quantbench.measure.gpu import Artifact, GpuFailed
from quantbench.records import AcceptedGpu, BaselineCell, Device
from quantbench.reference.model import load_models
from quantbench.tflite import graph

SUBJECT = gate.Subject("m", "v", "reports/r")
MODELS = load_models(ROOT / "models")
MODEL = MODELS["seed_cnn"]
DETECTED = AcceptedGpu(agreement=0.99, examples=200, compared="detections")


@pytest.fixture(params=["WebGPU", "OpenVINO"])
def accelerator(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Device:
    if request.param == "WebGPU":
        found: Device = request.getfixturevalue("device")
        return found
    if util.find_spec("openvino") is None:
        pytest.skip("the package openvino is not installed")
    monkeypatch.setenv(openvino_devices.CHOICE, "CPU")
    return openvino_devices.find()[0]


def with_faults(faults: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plant faults into the processes of the accelerator from now on."""
    command = f'exec {sys.executable} -P {faulty_device.__file__} {faults} "$@"'
    instead_of_python(folder, f'PYTHONPATH="$PWD:$PYTHONPATH" {command}', monkeypatch)


def accepted(device: Device, artifact: Artifact) -> BaselineCell:
    """A baseline by which the device took all operators, and answered as the CPU."""
    whole = AcceptedGpu(agreement=1.0, examples=200, left=0, operators=operators(artifact), left_macs=0)
    return BaselineCell(gpu={device.name: whole})


def operators(artifact: Artifact) -> int:
    return len(graph.read(artifact.path.read_bytes()).main().operators)


@pytest.mark.slow
def test_a_few_wrong_answers_and_fewer_operators_are_red(
    accelerator: Device, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = float_artifact(MODEL, store)
    with_faults(f"wrong,fewer:{operators(artifact)}", tmp_path, monkeypatch)
    _, measured = measured_there(MODEL, artifact, accelerator)
    before = accepted(accelerator, artifact)
    answers = gate.gpu(SUBJECT, measured, accelerator, "", before)
    left = gate.gpu_left(SUBJECT, measured, accelerator, before)
    assert answers.verdict == "regressed"
    assert "agrees with litert-cpu on 80.00 % of 20 examples" in answers.message
    # The plugin of OpenVINO does not say which operators it leaves: the work may be that of the smallest.
    of_work = "unjudged" if measured["gpu_left_macs"].low == 0 else "regressed"
    assert [one.verdict for one in left] == ["regressed", of_work]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "variant", "before", "compared"),
    [
        ("detector", "aeq_dynamic_wi8_afp32", DETECTED, "% of 80 detections in 20 examples; 99.00 % accepted (p = "),
        (
            "seed_cnn",
            "ptq_static_wi8_ai16",
            AcceptedGpu(agreement=1.0, examples=200, left=6, operators=7),
            "agrees with litert-cpu on 80.00 % of 20 examples; 100.00 % accepted",
        ),
    ],
)
def test_wrong_answers_are_red_of_detectors_and_of_int16_activations(
    name: str,
    variant: str,
    before: AcceptedGpu,
    compared: str,
    device: Device,
    store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And right ones are not."""
    model, artifact = MODELS[name], variant_artifact(MODELS[name], variant, store)
    census = census_of(artifact.path.read_bytes())
    judged = []
    for faults in ("", "wrong"):
        if faults:
            with_faults(faults, tmp_path, monkeypatch)
        _, measured = measured_there(model, artifact, device)
        known = BaselineCell(gpu={device.name: before})
        judged.append(gate.gpu(SUBJECT, measured, device, "", known, False, census))
    assert judged[0].verdict != "regressed", judged[0].message
    assert judged[1].verdict == "regressed", judged[1].message
    assert compared in judged[1].message


@pytest.mark.slow
def test_a_silent_fallback_to_the_cpu_is_an_error_though_every_answer_is_right(
    accelerator: Device, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = float_artifact(MODEL, store)
    with_faults("fallback", tmp_path, monkeypatch)
    with pytest.raises(GpuFailed, match="LiteRT ran it on an adapter that it did not name, not on ") as failed:
        measured_there(MODEL, artifact, accelerator)
    judged = gate.gpu(SUBJECT, {}, accelerator, str(failed.value), accepted(accelerator, artifact))
    assert judged.verdict == "error"
