"""Check this machine: available runtimes and devices, applicable baselines, timing noise, and suggested fixes.

Everything is read from system files; only the noise is measured. Nothing is judged.
"""

import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import util
from pathlib import Path

import psutil

from quantbench.baselines.files import json_path
from quantbench.build import arm_root
from quantbench.build.store import Store, default_root
from quantbench.core import environment, walls
from quantbench.core.environment import class_accepted, package_version
from quantbench.core.options import RunOptions
from quantbench.core.stats import trimmed_mean
from quantbench.core.targets import Target
from quantbench.engine.workers.local import LocalExecutor
from quantbench.engine.workers.task import Outcome, Task, from_store
from quantbench.errors import BadInput
from quantbench.gate import LATENCY_TOLERANCE
from quantbench.measure import gpu_devices, instructions, latency, micro
from quantbench.records import BaselineFile, Environment, read_record
from quantbench.records.measurements import INSTRUCTIONS
from quantbench.reference.model import ReferenceModel, load_models
from quantbench.targets import checkup
from quantbench.variants import FLOAT_CONTROL, VARIANTS

TRIAL_SECONDS = 5.0
BUSY = 0.25  # load per core above which other processes disturb timing
STOLEN = 0.02  # fraction of time that a hypervisor may give to others


@dataclass(frozen=True)
class Advice:
    """Suggest a fix, with the command for it."""

    what: str
    command: str


@dataclass
class Diagnosis:
    """Hold lines by section, in order, and suggested fixes."""

    sections: dict[str, list[str]] = field(default_factory=dict)
    advice: list[Advice] = field(default_factory=list)

    def text(self) -> str:
        """Return the text for the terminal."""
        parts = [f"{title}\n" + "\n".join(f"  {line}" for line in lines) for title, lines in self.sections.items()]
        fixes = [f"  - {advice.what}\n      {advice.command}" for advice in self.advice] or ["  none"]
        return "\n\n".join([*parts, "Suggested fixes\n" + "\n".join(fixes)])


def diagnose(
    model_dir: Path,
    baseline_dir: Path,
    quick: bool,
    say: Callable[[str], None],
    declared: Mapping[str, Target] | None = None,
) -> Diagnosis:
    """Run all checks.

    Args:
        quick: whether to skip measuring the noise.
        say: prints one line of progress.
        declared: targets of the repository's config, by name.

    Raises:
        BadInput: the models cannot be read.
    """
    here = environment.collect()
    models = load_models(model_dir)
    gpus = gpu_devices.find()
    diagnosis = Diagnosis()
    diagnosis.sections["What can be measured"] = [*_runtimes(gpus), f"ARM answers: {arm_root.state(not quick)}"]
    diagnosis.sections["This machine"] = _machine(here)
    diagnosis.sections["Baselines that apply"] = _baselines(models, baseline_dir, here)
    diagnosis.sections["Targets"] = checkup.lines(declared or {}, ask=not quick)
    diagnosis.sections["Timing noise"] = ["not measured (--quick)"] if quick else noise(models, say)
    diagnosis.advice = [
        *machine_advice(Path("/")),
        *_load_advice(),
        *gpu_advice(gpus),
        *_counting_advice(),
        *_arm_advice(),
    ]
    return diagnosis


def _runtimes(gpus: gpu_devices.Found) -> list[str]:
    litert = package_version("ai-edge-litert")
    lines = [f"litert-cpu, litert-builtin, litert-reference: yes (ai-edge-litert {litert})"]
    if gpus.first is None:
        lines.append(f"litert-gpu: no: {gpus.reason}")
    note = "; a software device: results are checked, its times are not those of a GPU"
    lines += [f"litert-gpu: yes, on {device.label}{note * device.software}" for device in gpus.devices]
    lines += [f"  also available: {other.label}" for other in gpus.others]
    counting = instructions.unavailable()
    lines.append(f"instructions of a call: {f'no: {counting}' if counting else f'yes ({instructions.version()})'}")
    small = micro.unavailable()
    lines.append(f"tflm (TFLite-Micro): {f'no: {small}' if small else f'yes (tflite-micro {micro.version()})'}")
    building = "yes" if util.find_spec("tensorflow") else "no: tensorflow is not installed"
    lines.append(f"building and training: {building} (tensorflow {package_version('tensorflow')})")
    return [*lines, f"CUDA, for training: {_cuda()}", walls.available().sentence()]


def _cuda(root: Path = Path("/")) -> str:
    driver = root / "proc/driver/nvidia/version"
    if not driver.is_file():
        return "no: no NVIDIA driver"
    return f"driver found, untested: {driver.read_text(encoding='utf-8').splitlines()[0].strip()}"


def _machine(here: Environment) -> list[str]:
    return [
        f"{here.cpu}, {here.cores} cores, {here.memory_gib} GiB, {here.os}, Python {here.python}",
        "machine profile, the keys by which its baselines are found:",
        f"  latency: {here.machine_class}",
        f"  float32's own peak memory: {environment.memory_class(here)}",
        f"  scores: {here.results_class}",
    ]


def _baselines(models: dict[str, ReferenceModel], folder: Path, here: Environment) -> list[str]:
    files = []
    for name in models:
        try:
            files.append(read_record(json_path(folder, name), BaselineFile, "baseline"))
        except BadInput as error:
            return [f"cannot be read: {error}"]
    cells = [cell for file in files for cell in file.cells.values()]
    timed = sum(here.machine_class in cell.latency for cell in cells)
    peaks = sum(environment.memory_class(here) in cell.peak_memory for cell in cells)
    counted = sum(bool(cell.by_machine.get(INSTRUCTIONS)) for cell in cells)
    on_micro = sum(cell.micro is not None for cell in cells)
    loading = sum(cell.micro is not None and cell.micro.refusal is None for cell in cells)
    overlaid = sum(here.results_class in cell.overlays for cell in cells)
    scores = [cell.measurements["score"] for cell in cells if "score" in cell.measurements]
    own = sum(class_accepted(score.accepted) == here.results_class for score in scores)
    in_turns = "; what changed is timed in turns with what was accepted"
    return [
        f"score, size, structure, arena, memory ratio: {len(cells)} cells of {len(files)} models, on every machine",
        f"  scores recorded on this machine profile: {own} of {len(scores)}; cells with per-machine values: {overlaid}",
        f"latency: {timed} cells have one for this machine profile{'' if timed else in_turns}",
        f"float32's own peak memory: {peaks} models have one{'' if peaks else '; shown, but not gated'}",
        f"TFLite-Micro: {on_micro} cells have one, of which {loading} run there",
        f"instructions: {counted} cells have one{'' if counted else '; shown, but not gated'}",
    ]


# ---------------------------------------------------------------- noise


def noise(models: dict[str, ReferenceModel], say: Callable[[str], None], seconds: float = TRIAL_SECONDS) -> list[str]:
    """Time an artifact against itself: any difference is noise."""
    model = models.get("seed_cnn") or next(iter(models.values()))
    outcome = _float_artifact(model, say)
    if outcome.artifact is None:
        return [f"not measured: {outcome.failure.reason if outcome.failure else 'no artifact'}"]
    say(f"timing {model.name}/{FLOAT_CONTROL} against itself for {seconds:.0f} s at most")
    try:
        timed = latency.measure(outcome.artifact, outcome.artifact, model, seconds)
    except latency.LatencyFailed as error:
        return [f"not measured: {error}"]
    ratio = trimmed_mean(timed.ratios())
    calm = "finer than" if 3 * ratio.error < LATENCY_TOLERANCE else "coarser than"
    return [
        f"{model.name}/{FLOAT_CONTROL} against itself: ratio {ratio.mean:.4f} ± {ratio.error:.4f} (standard error), "
        f"{len(timed.processes)} fresh processes",
        f"smallest visible change (three standard errors): {300 * ratio.error:.2f} %, {calm} the latency tolerance of "
        f"{100 * LATENCY_TOLERANCE:g} %",
        f"timing blocks disturbed by other processes: {100 * timed.disturbed():.0f} %",
    ]


def _float_artifact(model: ReferenceModel, say: Callable[[str], None]) -> Outcome:
    """Return the float32 reference's outcome from the cache, or build it first."""
    log = default_root() / "doctor.log"
    task = Task(
        model.file, model.name, VARIANTS[FLOAT_CONTROL].name, 0, None, Store(default_root()).root.absolute(), log
    )
    stored = from_store(task)
    if stored is not None:
        return stored
    say(f"building {model.name}/{FLOAT_CONTROL} first")
    with LocalExecutor(1) as executor:
        return executor.submit(task, RunOptions().cell_timeout).result()


# ---------------------------------------------------------------- suggested fixes


def gpu_advice(gpus: gpu_devices.Found) -> list[Advice]:
    """Return what is needed to measure on a GPU, or on a software device."""
    if gpus.devices:
        return []
    if util.find_spec("wgpu") is None:
        return [Advice("the package that lists GPUs is missing", "pip install 'quantbench[gpu]'")]
    command = f"{gpu_devices.INSTALL}; export {gpu_devices.CHOICE}=swiftshader"
    return [Advice("no Vulkan driver: install the GPU's own, or one that computes on the CPU", command)]


def _counting_advice() -> list[Advice]:
    """Return how to have instructions counted, where only the program is missing."""
    if instructions.unavailable() != instructions.NO_VALGRIND:
        return []
    return [Advice("valgrind is not installed: no instructions are counted", "sudo apt-get install valgrind")]


def _arm_advice() -> list[Advice]:
    """Return how to have answers compared with ARM's, where only the emulator is missing."""
    if platform.system() != "Linux" or arm_root.emulator() is not None:
        return []
    return [Advice("QEMU's emulator is not installed: no answers are compared with ARM's", arm_root.INSTALL)]


def machine_advice(root: Path) -> list[Advice]:
    """Return advice on clocks, threads and limits, from system files.

    Args:
        root: folder that contains ``sys``; another one in tests.
    """
    cpus = root / "sys/devices/system/cpu"
    advice = []
    governors = {_read(path) for path in cpus.glob("cpu[0-9]*/cpufreq/scaling_governor")} - {"performance", ""}
    if governors:
        what = f"the CPU governor is {', '.join(sorted(governors))}: the clock follows the load"
        advice.append(Advice(what, "sudo cpupower frequency-set -g performance"))
    if _read(cpus / "intel_pstate/no_turbo") == "0":
        command = f"echo 1 | sudo tee /{(cpus / 'intel_pstate/no_turbo').relative_to(root)}"
        advice.append(Advice("turbo is on: the clock depends on heat and on the other cores", command))
    if _read(cpus / "cpufreq/boost") == "1":
        command = "echo 0 | sudo tee /sys/devices/system/cpu/cpufreq/boost"
        advice.append(Advice("boost is on: the clock depends on heat and on the other cores", command))
    if _read(cpus / "smt/active") == "1":
        command = "echo off | sudo tee /sys/devices/system/cpu/smt/control"
        advice.append(Advice("hyperthreads are on: two threads share a core", command))
    hot = sum(_number(path) for path in cpus.glob("cpu[0-9]*/thermal_throttle/core_throttle_count"))
    if hot:
        advice.append(Advice(f"the CPU was throttled by heat {hot} times since boot", "sensors  # and cool it"))
    limited = [
        line.split()[1] for line in _read(root / "sys/fs/cgroup/cpu.stat").splitlines() if "nr_throttled" in line
    ]
    if limited and limited[0] != "0":
        what = f"this container was throttled by its CPU limit {limited[0]} times"
        advice.append(Advice(what, "cat /sys/fs/cgroup/cpu.max  # and start it with a higher limit"))
    return advice


def _load_advice() -> list[Advice]:
    advice = []
    cores = os.cpu_count() or 1
    load = os.getloadavg()[0] / cores if hasattr(os, "getloadavg") else 0.0
    if load > BUSY:
        advice.append(Advice(f"machine is busy: load {load:.2f} per core", "ps -eo pcpu,pid,args --sort=-pcpu | head"))
    times = psutil.cpu_times()
    stolen = getattr(times, "steal", 0.0) / sum(times)
    if stolen > STOLEN:
        what = f"the hypervisor took {100 * stolen:.0f} % of this machine's CPU time"
        advice.append(Advice(what, "vmstat 1 5  # column st; ask for dedicated cores"))
    battery = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    if battery is not None and not battery.power_plugged:
        advice.append(Advice("running on battery", "plug it in"))
    if platform.system() != "Linux":
        advice.append(
            Advice("CPU governor and throttling can be checked on Linux only", "see the system's power settings")
        )
    return advice


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _number(path: Path) -> int:
    text = _read(path)
    return int(text) if text.isdigit() else 0
