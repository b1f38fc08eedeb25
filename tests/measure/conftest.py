"""What several tests of measuring share."""

import os
from collections.abc import Iterator

import pytest
from quantbench.errors import BadInput
from quantbench.measure import gpu_devices
from quantbench.records import Device


@pytest.fixture
def asked_afresh() -> Iterator[None]:
    """The devices are asked for once in a process; here once in a test."""
    gpu_devices.find.cache_clear()
    yield
    gpu_devices.find.cache_clear()


def _swiftshader() -> str:
    """Why the real path cannot be tested here; empty where it can."""
    environment = os.environ | {gpu_devices.CHOICE: os.environ.get(gpu_devices.CHOICE) or "swiftshader"}
    try:
        gpu_devices.chosen_drivers(environment)
    except BadInput as error:
        return str(error)
    return "" if gpu_devices.util.find_spec("wgpu") else "the package wgpu is not installed"


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch, asked_afresh: None) -> Device:
    """SwiftShader; without it a test is skipped with the reason, and fails where $QUANTBENCH_REQUIRE_GPU is set."""
    reason = _swiftshader()
    if reason:
        (pytest.fail if gpu_devices.required() else pytest.skip)(reason)
    if not os.environ.get(gpu_devices.CHOICE):
        monkeypatch.setenv(gpu_devices.CHOICE, "swiftshader")
    found = gpu_devices.find()
    assert found.first is not None, found.reason
    return found.first
