"""List the GPUs of this machine, as seen by the Vulkan drivers that LiteRT's GPU accelerator runs on.

The package wgpu (extra ``gpu``) lists the adapters in a process of its own, so that a driver that crashes only loses
the list, and the run goes on. ``$QUANTBENCH_VULKAN`` chooses the driver of every GPU process: ``swiftshader`` (which
computes on the CPU, and comes with Chromium), or the path of a driver's ``.json``; or several, comma-separated, whose
devices are measured side by side. Without it a software device is ignored: its times say nothing about a GPU, and its
outputs take a minute. Devices of OpenVINO are measured beside those (:mod:`quantbench.measure.openvino_devices`).

    python -m quantbench.measure.gpu_devices        # the adapters, as JSON
"""

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib import util
from pathlib import Path

from quantbench.core import child_process
from quantbench.errors import BadInput
from quantbench.files import read_bytes
from quantbench.measure import openvino_devices
from quantbench.records import Device

CHOICE = "QUANTBENCH_VULKAN"
REQUIRED = "QUANTBENCH_REQUIRE_GPU"
LIMIT_SECONDS = 60
MOST_BYTES = 2**20  # of a driver's description
# Where distributions and Chrome install it.
SWIFTSHADER = (
    "/usr/lib/chromium/vk_swiftshader_icd.json",
    "/usr/lib64/chromium-browser/vk_swiftshader_icd.json",
    "/opt/google/chrome/vk_swiftshader_icd.json",
)
INSTALL = "apt-get install chromium libvulkan1"
_KINDS = {"DiscreteGPU": "discrete", "IntegratedGPU": "integrated", "VirtualGPU": "virtual", "CPU": "software"}
_ORDER = ("discrete", "integrated", "virtual", "unknown", "software")


@dataclass(frozen=True)
class Found:
    """Hold the adapters of this machine that are measured, one of each driver.

    Attributes:
        reason: why there are none.
        others: what the same drivers list besides; LiteRT takes one of a driver, and its choice is checked.
        drivers: name of a device -> its driver's ``.json``, where drivers were chosen.
    """

    devices: list[Device] = field(default_factory=list)
    reason: str = ""
    others: list[Device] = field(default_factory=list)
    drivers: Mapping[str, str] = field(default_factory=dict)

    @property
    def first(self) -> Device | None:
        """Return the first adapter that is measured."""
        return self.devices[0] if self.devices else None


def chosen_drivers(environment: Mapping[str, str]) -> list[str]:
    """Return the drivers' ``.json`` files that ``$QUANTBENCH_VULKAN`` requests, in its order; none where it is not set.

    Raises:
        BadInput: a requested driver is not installed, is named twice, or its file describes none.
    """
    chosen = [_installed(one.strip()) for one in environment.get(CHOICE, "").split(",") if one.strip()]
    twice = next((driver for driver in chosen if chosen.count(driver) > 1), None)
    if twice is not None:
        raise BadInput(f"${CHOICE}: {twice} is named twice; name each driver once")
    return chosen


def _installed(choice: str) -> str:
    files = SWIFTSHADER if choice == "swiftshader" else (choice,)
    there = next((file for file in files if Path(file).is_file()), None)
    if there is None:
        hint = f"install it: {INSTALL}" if choice == "swiftshader" else "expected swiftshader, or the path of a .json"
        raise BadInput(f"${CHOICE}: no Vulkan driver {choice!r} here; {hint}")
    _library(there)
    return there


def _library(driver: str) -> str:
    """Return what a driver's ``.json`` names as its library. Raise BadInput where it names none."""
    try:
        library = json.loads(read_bytes(Path(driver), "Vulkan driver's description", MOST_BYTES, follow=True))["ICD"][
            "library_path"
        ]
    except (ValueError, KeyError, TypeError):
        library = None
    if not isinstance(library, str):
        raise BadInput(f"${CHOICE}: {driver} describes no Vulkan driver; expected JSON with ICD.library_path")
    return library


def driver_of(device: Device) -> str | None:
    """Return the ``.json`` of the driver that a device was found with; None where the system chooses.

    Raises:
        BadInput: see :func:`chosen_drivers`.
    """
    if openvino := openvino_devices.driver_of(device):
        return openvino
    chosen = chosen_drivers(os.environ)
    return next(iter(chosen), None) if len(chosen) < 2 else find().drivers[device.name]


def driver_sha256(device: Device) -> str:
    """Hash the library of a device's driver, as a software one may have no version; empty where none was chosen.

    Raises:
        BadInput: see :func:`chosen_drivers`.
    """
    driver = driver_of(device)
    if driver is None or openvino_devices.device_of(driver):
        return ""
    file = Path(driver).parent / _library(driver)
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""


def child_environment(driver: str | None = None) -> dict[str, str]:
    """Return the environment of a process that uses the GPU.

    Args:
        driver: its ``.json``; by default the first of those that were chosen, if any.

    Raises:
        BadInput: see :func:`chosen_drivers`.
    """
    if openvino_devices.device_of(driver):
        return openvino_devices.child_environment()
    driver = driver or next(iter(chosen_drivers(os.environ)), None)
    # VK_ICD_FILENAMES is read by loaders older than 1.3.207.
    chosen = {} if driver is None else {"VK_DRIVER_FILES": driver, "VK_ICD_FILENAMES": driver}
    return {**os.environ, **child_process.ONE_THREAD, **chosen}


def required() -> bool:
    """Check whether ``$QUANTBENCH_REQUIRE_GPU`` makes a missing GPU an error."""
    return os.environ.get(REQUIRED, "") not in ("", "0")


@lru_cache
def find() -> Found:
    """List the adapters of this machine, of each driver real ones before software, once per process."""
    try:
        further = openvino_devices.find()
    except BadInput as error:
        return Found(reason=str(error))
    vulkan = _of_vulkan()
    if not further or (vulkan.first is None and os.environ.get(CHOICE)):
        return vulkan
    return replace(vulkan, devices=[*vulkan.devices, *further], reason="")


def _of_vulkan() -> Found:
    if util.find_spec("wgpu") is None:
        return Found(reason="the package wgpu is not installed: pip install 'quantbench[gpu]'")
    try:
        chosen = chosen_drivers(os.environ)
    except BadInput as error:
        return Found(reason=str(error))
    return beside({driver: _listed(driver) for driver in chosen}) if chosen else _listed(None)


def beside(of_drivers: Mapping[str, Found]) -> Found:
    """Join what several drivers list; none is left out without a word."""
    devices: dict[str, tuple[Device, str]] = {}
    for driver, found in of_drivers.items():
        if found.first is None:
            return Found(reason=found.reason if len(of_drivers) == 1 else f"{driver}: {found.reason}")
        name = found.first.name
        if name in devices:  # baselines know a device by its name
            return Found(reason=f"${CHOICE}: {devices[name][1]} and {driver} both drive {name}; name one of them")
        devices[name] = found.first, driver
    others = [device for found in of_drivers.values() for device in found.others]
    return Found([device for device, _ in devices.values()], "", others, {n: d for n, (_, d) in devices.items()})


def _listed(driver: str | None) -> Found:
    try:
        adapters = child_process.result(
            child_process.start("quantbench.measure.gpu_devices", {}, LIMIT_SECONDS, child_environment(driver))
        )
    except child_process.ChildFailed as error:
        return Found(reason=f"the process that asked the Vulkan drivers {error}")
    return usable([Device.model_validate(adapter) for adapter in adapters], driver is not None)


def usable(devices: list[Device], asked: bool) -> Found:
    """Select a real GPU, or a software one where its driver was requested, of what one driver lists."""
    real = [device for device in devices if asked or not device.software]
    if real:
        return Found(real[:1], others=real[1:])
    if devices:
        return Found(reason=f"only a software driver ({devices[0].label}) was found; set ${CHOICE} to use it anyway")
    return Found(reason="no Vulkan driver lists an adapter")


def real_first(adapters: list[Mapping[str, str]]) -> list[dict[str, str]]:
    """Convert wgpu's description of each Vulkan adapter to the fields of :class:`Device`, software last."""
    devices = [
        {
            "name": adapter.get("device", "") or "unnamed",
            "kind": _KINDS.get(adapter.get("adapter_type", ""), "unknown"),
            "driver": " ".join((adapter.get("description") or adapter.get("vendor", "")).split()),
        }
        for adapter in adapters
        if adapter.get("backend_type") == "Vulkan"
    ]
    return sorted(devices, key=lambda device: _ORDER.index(device["kind"]))


def _ask() -> list[dict[str, str]]:
    import wgpu

    return real_first([adapter.info for adapter in wgpu.gpu.enumerate_adapters_sync()])


if __name__ == "__main__":
    json.dump(_ask(), sys.stdout)
