"""List the GPUs of this machine, as seen by the Vulkan drivers that LiteRT's GPU accelerator runs on.

The package wgpu (extra ``gpu``) lists the adapters in a process of its own, so that a driver that crashes only loses
the list, and the run goes on. ``$QUANTBENCH_VULKAN`` chooses the driver of every GPU process: ``swiftshader`` (which
computes on the CPU, and comes with Chromium), or the path of a driver's ``.json``. Without it a software device is
ignored: its times say nothing about a GPU, and its outputs take a minute.

    python -m quantbench.measure.gpu_devices        # the adapters, as JSON
"""

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import util
from pathlib import Path

from quantbench.core import child_process
from quantbench.errors import BadInput
from quantbench.records import Device

CHOICE = "QUANTBENCH_VULKAN"
REQUIRED = "QUANTBENCH_REQUIRE_GPU"
LIMIT_SECONDS = 60
# Where distributions and Chrome install it. (Mesa's llvmpipe 22.3 was tried and does not work: it lacks
# shaderUniformBufferArrayDynamicIndexing, so that LiteRT accepts no adapter.)
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
    """Hold the adapters of this machine, the measured one first; ``reason`` says why there are none."""

    devices: list[Device] = field(default_factory=list)
    reason: str = ""

    @property
    def first(self) -> Device | None:
        """Return the adapter that is measured."""
        return self.devices[0] if self.devices else None


def chosen_driver(environment: Mapping[str, str]) -> str | None:
    """Return the driver's ``.json`` that ``$QUANTBENCH_VULKAN`` requests; None where it is not set.

    Raises:
        BadInput: the requested driver is not installed.
    """
    choice = environment.get(CHOICE, "")
    if not choice:
        return None
    files = SWIFTSHADER if choice == "swiftshader" else (choice,)
    there = next((file for file in files if Path(file).is_file()), None)
    if there is None:
        hint = f"install it: {INSTALL}" if choice == "swiftshader" else "expected swiftshader, or the path of a .json"
        raise BadInput(f"${CHOICE}: no Vulkan driver {choice!r} here; {hint}")
    return there


def driver_sha256() -> str:
    """Hash the library of the chosen driver, as a software one may have no version; empty where none was chosen.

    Raises:
        BadInput: see :func:`chosen_driver`.
    """
    chosen = chosen_driver(os.environ)
    if chosen is None:
        return ""
    library = json.loads(Path(chosen).read_text(encoding="utf-8"))["ICD"]["library_path"]
    file = Path(chosen).parent / library
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""


def child_environment() -> dict[str, str]:
    """Return the environment of a process that uses the GPU.

    Raises:
        BadInput: see :func:`chosen_driver`.
    """
    driver = chosen_driver(os.environ)
    # VK_ICD_FILENAMES is read by loaders older than 1.3.207.
    chosen = {} if driver is None else {"VK_DRIVER_FILES": driver, "VK_ICD_FILENAMES": driver}
    return {**os.environ, **child_process.ONE_THREAD, **chosen}


def required() -> bool:
    """Check whether ``$QUANTBENCH_REQUIRE_GPU`` makes a missing GPU an error."""
    return os.environ.get(REQUIRED, "") not in ("", "0")


@lru_cache
def find() -> Found:
    """List the adapters of this machine, real ones before software, once per process."""
    if util.find_spec("wgpu") is None:
        return Found(reason="the package wgpu is not installed: pip install 'quantbench[gpu]'")
    try:
        environment = child_environment()
    except BadInput as error:
        return Found(reason=str(error))
    try:
        adapters = child_process.result(
            child_process.start("quantbench.measure.gpu_devices", {}, LIMIT_SECONDS, environment)
        )
    except child_process.ChildFailed as error:
        return Found(reason=f"the process that asked the Vulkan drivers {error}")
    return usable([Device.model_validate(adapter) for adapter in adapters], bool(os.environ.get(CHOICE)))


def usable(devices: list[Device], asked: bool) -> Found:
    """Select the real GPUs, and software ones where their driver was requested."""
    real = [device for device in devices if asked or not device.software]
    if real:
        return Found(real)
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
