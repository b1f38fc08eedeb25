"""The doctor: what it makes of a machine's files, and one real look at this machine."""

from pathlib import Path

import pytest
from conftest import ROOT, Quantbench
from quantbench.cli import doctor
from quantbench.measure.gpu_devices import Found
from quantbench.records import Device
from quantbench.reference.model import load_models


def machine(root: Path, **files: str) -> Path:
    """A system's files, by name below ``sys`` with ``__`` for ``/``."""
    for name, text in files.items():
        path = root / "sys" / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


CPU = "devices__system__cpu__"


@pytest.mark.parametrize(
    ("file", "text", "what", "command"),
    [
        (f"{CPU}cpu0__cpufreq__scaling_governor", "powersave", "governor is powersave", "cpupower frequency-set"),
        (f"{CPU}intel_pstate__no_turbo", "0", "turbo is on", "echo 1 | sudo tee /sys/devices/system/cpu/intel_pstate"),
        (f"{CPU}cpufreq__boost", "1", "boost is on", "echo 0 | sudo tee"),
        (f"{CPU}smt__active", "1", "hyperthreads are on", "echo off | sudo tee"),
        (f"{CPU}cpu1__thermal_throttle__core_throttle_count", "12", "throttled by heat 12 times", "sensors"),
        ("fs__cgroup__cpu.stat", "usage_usec 5\nnr_throttled 7", "throttled by its CPU limit 7 times", "cpu.max"),
    ],
)
def test_each_trouble_has_its_command(file: str, text: str, what: str, command: str, tmp_path: Path) -> None:
    [advice] = doctor.machine_advice(machine(tmp_path, **{file: text}))
    assert what in advice.what
    assert command in advice.command


def test_a_quiet_machine_needs_nothing(tmp_path: Path) -> None:
    quiet = {
        f"{CPU}cpu0__cpufreq__scaling_governor": "performance",
        f"{CPU}intel_pstate__no_turbo": "1",
        f"{CPU}smt__active": "0",
        f"{CPU}cpu1__thermal_throttle__core_throttle_count": "0",
        "fs__cgroup__cpu.stat": "nr_throttled 0",
    }
    assert doctor.machine_advice(machine(tmp_path, **quiet)) == []
    assert doctor.machine_advice(tmp_path / "nothing") == []
    assert doctor.Diagnosis().text().endswith("Suggested fixes\n  none")


def test_a_missing_gpu_has_its_command_and_a_software_one_its_label(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.util, "find_spec", lambda _: object())
    [advice] = doctor.gpu_advice(Found(reason="no Vulkan driver lists an adapter"))
    assert "apt-get install chromium" in advice.command
    software = Found([Device(name="Soft", kind="software")])
    assert doctor.gpu_advice(software) == []
    assert any("Soft (software); a software device" in line for line in doctor._runtimes(software))


def test_cuda_is_told_from_its_driver_and_labelled_untested(tmp_path: Path) -> None:
    assert doctor._cuda(tmp_path) == "no: no NVIDIA driver"
    driver = tmp_path / "proc/driver/nvidia/version"
    driver.parent.mkdir(parents=True)
    driver.write_text("NVRM version: 1.2\nGCC\n")
    assert doctor._cuda(tmp_path) == "driver found, untested: NVRM version: 1.2"


def test_the_command_tells_machine_and_baselines(quantbench: Quantbench) -> None:
    done = quantbench("doctor", "--quick")
    assert done.status == 0, done.output
    for words in (
        "litert-cpu",
        "litert-gpu: ",
        "machine profile",
        "  latency: ",
        "  scores: ",
        f"cells of {len(load_models(ROOT / 'models'))} models",
    ):
        assert words in done.output
    assert "not measured (--quick)" in done.output


@pytest.mark.alone
@pytest.mark.slow
def test_an_artifact_against_itself_is_as_fast(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANTBENCH_CACHE", str(store))
    lines = doctor.noise(load_models(ROOT / "models"), lambda _: None, seconds=0.5)
    assert "seed_cnn/float32 against itself: ratio " in lines[0]
    assert 0.8 < float(lines[0].split("ratio ")[1].split()[0]) < 1.25
