"""Which GPUs this machine has, as the Vulkan drivers tell it that LiteRT's GPU accelerator runs on.

The adapters are listed by the package wgpu (extra ``gpu``) in a process of its own: a driver that crashes while it is
asked costs the answer, not the run. ``$QUANTBENCH_VULKAN`` chooses the driver of every GPU process:
``swiftshader`` (which computes on the CPU, and comes with Chromium), or the path of a driver's ``.json``. Without it a
software device is passed over: its times say nothing of a GPU, and its answers take a minute.

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
# Where distributions and Chrome put it. (Mesa's llvmpipe 22.3 was tried and is no choice: LiteRT finds that it lacks
# shaderUniformBufferArrayDynamicIndexing and takes no adapter.)
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
    """The adapters of this machine, the one that is measured first; none, and ``reason`` says why."""

    devices: list[Device] = field(default_factory=list)
    reason: str = ""

    @property
    def first(self) -> Device | None:
        """The one that is measured."""
        return self.devices[0] if self.devices else None


def chosen_driver(environment: Mapping[str, str]) -> str | None:
    """The driver's ``.json`` that ``$QUANTBENCH_VULKAN`` asks for; None where it asks for none.

    Raises:
        BadInput: it asks for a driver that is not installed.
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
    """Hash of the chosen driver's library, for a software one may tell no version; empty where none was chosen.

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
    """The environment of a process that uses the GPU.

    Raises:
        BadInput: see :func:`chosen_driver`.
    """
    driver = chosen_driver(os.environ)
    # VK_ICD_FILENAMES is what loaders of before 1.3.207 read.
    chosen = {} if driver is None else {"VK_DRIVER_FILES": driver, "VK_ICD_FILENAMES": driver}
    return {**os.environ, **child_process.ONE_THREAD, **chosen}


def required() -> bool:
    """Whether ``$QUANTBENCH_REQUIRE_GPU`` makes it an error that there is no GPU."""
    return os.environ.get(REQUIRED, "") not in ("", "0")


@lru_cache
def find() -> Found:
    """The adapters of this machine, real ones before software; asked for once in a process."""
    if util.find_spec("wgpu") is None:
        return Found(reason="the package wgpu is not installed: pip install 'quantbench[gpu]'")
    try:
        environment = child_environment()
    except BadInput as error:
        return Found(reason=str(error))
    try:
        told = child_process.result(
            child_process.start("quantbench.measure.gpu_devices", {}, LIMIT_SECONDS, environment)
        )
    except child_process.ChildFailed as error:
        return Found(reason=f"the process that asked the Vulkan drivers {error}")
    return usable([Device.model_validate(one) for one in told], bool(os.environ.get(CHOICE)))


def usable(devices: list[Device], asked: bool) -> Found:
    """Real GPUs, and software ones where their driver was asked for."""
    real = [device for device in devices if asked or not device.software]
    if real:
        return Found(real)
    if devices:
        return Found(reason=f"only {devices[0].label}, which is no GPU; ${CHOICE} names a driver that is meant anyway")
    return Found(reason="no Vulkan driver lists an adapter")


def real_first(adapters: list[Mapping[str, str]]) -> list[dict[str, str]]:
    """Wgpu's own words for each Vulkan adapter -> fields of :class:`Device`, software last."""
    found = [
        {
            "name": adapter.get("device", "") or "unnamed",
            "kind": _KINDS.get(adapter.get("adapter_type", ""), "unknown"),
            "driver": " ".join((adapter.get("description") or adapter.get("vendor", "")).split()),
        }
        for adapter in adapters
        if adapter.get("backend_type") == "Vulkan"
    ]
    return sorted(found, key=lambda device: _ORDER.index(device["kind"]))


def _ask() -> list[dict[str, str]]:
    import wgpu

    return real_first([adapter.info for adapter in wgpu.gpu.enumerate_adapters_sync()])


if __name__ == "__main__":
    json.dump(_ask(), sys.stdout)
