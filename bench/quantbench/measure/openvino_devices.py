"""List the devices of OpenVINO that LiteRT's dispatch runs artifacts on, where ``$QUANTBENCH_OPENVINO`` names them.

OpenVINO computes on a CPU too, so that the answers of this backend can be checked on any x86-64 machine. Its package
(extra ``openvino``) has to be of the version that LiteRT's plugin was built with.

    python -m quantbench.measure.openvino_devices        # the devices, as JSON
"""

import json
import os
import sys
from collections.abc import Mapping
from importlib import util
from pathlib import Path
from typing import Literal

from quantbench.core import child_process
from quantbench.core.environment import package_version
from quantbench.errors import BadInput
from quantbench.records import Device

CHOICE = "QUANTBENCH_OPENVINO"
INSTALL = "pip install 'quantbench[openvino]'"
LIMIT_SECONDS = 60
PREFIX = "openvino:"  # of what stands for a driver: openvino:CPU
NAME = "OpenVINO "
_APART = ", "  # of a device's name and its model: answers differ between processors
NO_PLUGIN = "this wheel of ai-edge-litert has no plugin for OpenVINO, or OpenVINO has no device here"
KINDS: dict[str, Literal["software", "unknown", "npu"]] = {"CPU": "software", "GPU": "unknown", "NPU": "npu"}


def chosen(environment: Mapping[str, str]) -> list[str]:
    """Return the devices that ``$QUANTBENCH_OPENVINO`` names, each once; none where it is not set.

    Raises:
        BadInput: one is no device of OpenVINO.
    """
    named = [one.strip().upper() for one in environment.get(CHOICE, "").split(",") if one.strip()]
    unknown = next((one for one in named if one not in KINDS), None)
    if unknown is not None:
        raise BadInput(f"${CHOICE}: no device {unknown!r}; expected {', '.join(KINDS)}, or several of them")
    return list(dict.fromkeys(named))


def find(environment: Mapping[str, str] = os.environ) -> list[Device]:
    """Return the chosen devices.

    Raises:
        BadInput: one is not here, OpenVINO is not installed, or LiteRT has no plugin for it.
    """
    names = chosen(environment)
    if not names:
        return []
    if util.find_spec("openvino") is None:
        raise BadInput(f"${CHOICE}: the package openvino is not installed: {INSTALL}")
    try:
        there = child_process.result(
            child_process.start("quantbench.measure.openvino_devices", {}, LIMIT_SECONDS, child_environment())
        )
    except child_process.ChildFailed as error:
        raise BadInput(f"${CHOICE}: the process that asked OpenVINO {error}") from None
    if not there:
        raise BadInput(f"${CHOICE}: {NO_PLUGIN}")
    missing = next((name for name in names if name not in there), None)
    if missing is not None:
        raise BadInput(f"${CHOICE}: OpenVINO has no {missing} here; it has {', '.join(there)}")
    driver = f"OpenVINO {package_version('openvino')}"
    return [Device(name=f"{NAME}{name}{_APART}{there[name]}", kind=KINDS[name], driver=driver) for name in names]


def device_of(driver: str | None) -> str | None:
    """Return OpenVINO's name of a device from what stands for its driver; None for a Vulkan driver."""
    return driver.removeprefix(PREFIX) if driver and driver.startswith(PREFIX) else None


def driver_of(device: Device) -> str | None:
    """Return what stands for the driver of a device of OpenVINO; None for another device."""
    short = device.name.removeprefix(NAME).partition(_APART)[0]
    return f"{PREFIX}{short}" if device.name.startswith(NAME) else None


def is_adapter(name: str, device: Device) -> bool:
    """Check whether a log names this device, which it does without its model."""
    return name == device.name or (name.startswith(NAME) and device.name.startswith(f"{name}{_APART}"))


def child_environment() -> dict[str, str]:
    """Return the environment of a process that uses OpenVINO: LiteRT's plugin looks for its libraries there."""
    found = util.find_spec("openvino")
    libraries = [str(Path(found.origin).parent / "libs")] if found and found.origin else []
    before = [os.environ["LD_LIBRARY_PATH"]] if os.environ.get("LD_LIBRARY_PATH") else []
    return {**os.environ, **child_process.ONE_THREAD, "LD_LIBRARY_PATH": os.pathsep.join([*libraries, *before])}


def _ask() -> dict[str, str]:
    """Return the model of each device by its name; of GPU.0 and GPU.1 the first. None without LiteRT's plugin."""
    import openvino

    from quantbench.tflite.litert_openvino import vendor_folder

    if not any(vendor_folder().glob("dispatch/*")):
        return {}
    core = openvino.Core()
    found = {name: str(core.get_property(name, "FULL_DEVICE_NAME")) for name in sorted(core.available_devices)}
    return {name.partition(".")[0]: model for name, model in reversed(found.items())}


if __name__ == "__main__":
    json.dump(_ask(), sys.stdout)
