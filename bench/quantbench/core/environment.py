"""Record what results depend on: packages, CPU, operating system, commit."""

import datetime
import hashlib
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from functools import lru_cache
from importlib import metadata
from pathlib import Path

import psutil

from quantbench.records import Accepted, Environment

PACKAGES = (
    "quantbench",
    "tensorflow",
    "tf-keras",
    "tensorflow-model-optimization",
    "ai-edge-litert",
    "ai-edge-quantizer",
    "numpy",
    "pytest",
    "pytest-benchmark",
)

# Distributions that install the same modules: a result depends on the installed one.
STAND_INS = {
    "tensorflow": ("tf-nightly", "tensorflow-cpu", "tf-nightly-cpu"),
    "tf-keras": ("tf-keras-nightly",),
    "tensorflow-model-optimization": ("tf-model-optimization-nightly",),
    "ai-edge-litert": ("ai-edge-litert-nightly",),
    "ai-edge-quantizer": ("ai-edge-quantizer-nightly",),
}


@lru_cache
def package_version(name: str) -> str:
    """Return the installed version of a distribution or its stand-in, or ``absent``; does not import it."""
    for distribution in (name, *STAND_INS.get(name, ())):
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return "absent"


HOST_DIGITS = 12  # two of a thousand hosts share a hash in one fleet of a billion
_elsewhere: tuple[str, str] | None = None


def compute_elsewhere(there: tuple[str, str]) -> None:
    """Assign this process's results to machines with another CPU, as :func:`cpu` returns it there."""
    global _elsewhere
    _elsewhere = there


@lru_cache
def host() -> str:
    """Return a hash of this host's name and machine id, so that neither is in a report.

    Hosts with one processor are not one machine for latencies. The machine id alone may come from an image that several
    hosts started from, the name alone from a template.
    """
    ids = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))
    known = [path.read_text("ascii", "replace").strip() for path in ids if path.is_file()][:1]
    text = "\n".join([platform.node(), *known])
    return hashlib.sha256(text.encode()).hexdigest()[:HOST_DIGITS] if text else ""


def cpu() -> tuple[str, str]:
    """Return (model name, hash of the instruction-set flags) of the CPU that results are computed on."""
    return _elsewhere or own_cpu()


@lru_cache
def own_cpu() -> tuple[str, str]:
    """Return the same for this machine."""
    import cpuinfo

    info = cpuinfo.get_cpu_info()
    flags = " ".join(sorted(info.get("flags", [])))
    return info.get("brand_raw", platform.processor() or "unknown"), hashlib.sha256(flags.encode()).hexdigest()[:8]


def _git(*arguments: str) -> str | None:
    here = Path(__file__).parent
    try:
        done = subprocess.run(["git", "-C", str(here), *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def machine_class(threads: int) -> str:
    """Return the key of latency baselines: machines of one class are comparable."""
    name, isa = cpu()
    cores = psutil.cpu_count(logical=True)
    text = f"{name} {isa} {cores}-core litert-{package_version('ai-edge-litert')} {threads}-thread"
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text)


def with_threads(machine: str, threads: int) -> str:
    """Return a machine class for another number of threads."""
    return re.sub(r"\d+-thread$", f"{threads}-thread", machine)


def threads_of(machine: str) -> int:
    """Return the number of threads in a machine class; 1 where it contains none."""
    match = re.search(r"(\d+)-thread$", machine)
    return int(match[1]) if match else 1


def results_class(isa: str = "", packages: Mapping[str, str] | None = None) -> str:
    """Return the key of overlays: within one class, the same artifact gives the same outputs. Default: this process."""
    runtime = package_version("ai-edge-litert") if packages is None else packages.get("ai-edge-litert", "absent")
    return re.sub(r"[^A-Za-z0-9._-]+", "_", f"{isa or cpu()[1]}_litert-{runtime}")


def class_of(environment: Environment) -> str:
    """Return the results class of a recorded environment; reports before 1.2 hold only its ingredients."""
    return environment.results_class or results_class(environment.isa, environment.packages)


def class_accepted(accepted: Accepted) -> str:
    """Return the results class in which a value was measured; from :func:`describe` before 1.2; or empty."""
    match = re.search(r"\(([0-9a-f]{8})\), Python .*\bai-edge-litert ([^,]+)", accepted.environment)
    if accepted.results_class is not None or match is None:
        return accepted.results_class or ""
    return results_class(match[1], {"ai-edge-litert": match[2]})


def isa_accepted(accepted: Accepted) -> str:
    """Return the instruction set, as :attr:`Environment.isa`, of the CPU on which a value was measured; or empty."""
    return class_accepted(accepted).partition("_litert-")[0]


def today() -> datetime.date:
    """Return the date by which exceptions expire and values are accepted; in UTC, as the names of runs."""
    return datetime.datetime.now(datetime.UTC).date()


def memory_class(environment: Environment) -> str:
    """Return the key of peak-memory baselines: it includes Python and NumPy, which are part of a process's peak."""
    python = ".".join(environment.python.split(".")[:2])
    numpy = ".".join(environment.packages.get("numpy", "absent").split(".")[:2])
    return f"{environment.machine_class}_python-{python}_numpy-{numpy}"


def collect(threads: int = 1) -> Environment:
    """Return this process's environment."""
    name, isa = cpu()
    commit = _git("rev-parse", "HEAD")
    dirty = _git("status", "--porcelain") if commit else None
    return Environment(
        python=platform.python_version(),
        os=f"{platform.system()} {platform.release()}",
        cpu=name,
        isa=isa,
        cores=os.cpu_count() or 1,
        memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
        packages={package: package_version(package) for package in PACKAGES},
        git_commit=commit,
        git_dirty=None if commit is None else bool(dirty),
        machine_class=machine_class(threads),
        results_class=results_class(),
        host=host(),
    )


def describe(environment: Environment) -> str:
    """Return one line for a baseline: CPU, Python, and the packages that decide its values."""
    packages = (
        f"{name} {version}"
        for name, version in sorted(environment.packages.items())
        if name not in ("pytest", "quantbench")
    )
    return f"{environment.cpu} ({environment.isa}), Python {environment.python}, {', '.join(packages)}"


NOT_RECORDED = "(not recorded)"  # by that version of ours, or not installed: which of them, a record does not say


def changed_between(old: Environment, new: Environment) -> list[str]:
    """Return what differs between two environments, one phrase each; the commit last."""
    before, after = _facts(old), _facts(new)
    return [
        f"{name} {before.get(name, NOT_RECORDED)} → {after.get(name, NOT_RECORDED)}"
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name)
    ]


def _facts(environment: Environment) -> dict[str, str]:
    commit = environment.git_commit[:12] if environment.git_commit else NOT_RECORDED
    return {
        "Python": environment.python,
        **dict(sorted(environment.packages.items())),
        "CPU": f"{environment.cpu} (ISA {environment.isa})",
        "cores": str(environment.cores),
        "OS": environment.os,
        "commit": commit + ("+changes" if environment.git_dirty else ""),
    }
