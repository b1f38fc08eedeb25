"""What a number depends on: packages, CPU, operating system, commit."""

import hashlib
import os
import platform
import re
import subprocess
from functools import lru_cache
from importlib import metadata
from pathlib import Path

import psutil

from bench.records import Environment

PACKAGES = (
    "quantbench",
    "tensorflow",
    "tf-keras",
    "tensorflow-model-optimization",
    "ai-edge-litert",
    "numpy",
    "pytest",
    "pytest-benchmark",
)


@lru_cache
def package_version(name: str) -> str:
    """Installed version of a distribution, or ``absent``; does not import it."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "absent"


@lru_cache
def cpu() -> tuple[str, str]:
    """(model name, hash of the instruction-set flags)."""
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
    """Key of latency baselines: two machines of one class may be compared."""
    name, isa = cpu()
    cores = psutil.cpu_count(logical=True)
    text = f"{name} {isa} {cores}-core litert-{package_version('ai-edge-litert')} {threads}-thread"
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text)


def memory_class(environment: Environment) -> str:
    """Key of peak-memory baselines: Python and NumPy are part of a process's peak, so they are part of its class."""
    python = ".".join(environment.python.split(".")[:2])
    numpy = ".".join(environment.packages.get("numpy", "absent").split(".")[:2])
    return f"{environment.machine_class}_python-{python}_numpy-{numpy}"


def collect(threads: int = 1) -> Environment:
    """This process's environment."""
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
    )


def describe(environment: Environment) -> str:
    """One line for a baseline: CPU, Python, and the packages that decide its values."""
    packages = (
        f"{name} {version}"
        for name, version in sorted(environment.packages.items())
        if name not in ("pytest", "quantbench")
    )
    return f"{environment.cpu} ({environment.isa}), Python {environment.python}, {', '.join(packages)}"
