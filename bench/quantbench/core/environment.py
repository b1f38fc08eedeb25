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

from quantbench.core.dependencies import imported, required
from quantbench.core.renamed import QUANTIZER, installed_name, under_one_name
from quantbench.records import Accepted, Environment

PACKAGES = (
    "quantbench",
    "tensorflow",
    "tf-keras",
    "tensorflow-model-optimization",
    "ai-edge-litert",
    QUANTIZER,
    "numpy",
    "pytest",
    "pytest-benchmark",
)

# Distributions that install the same modules, or the same under a former name: a result depends on the installed one.
STAND_INS = {
    "tensorflow": ("tf-nightly", "tensorflow-cpu", "tf-nightly-cpu"),
    "tf-keras": ("tf-keras-nightly",),
    "tensorflow-model-optimization": ("tf-model-optimization-nightly",),
    "ai-edge-litert": ("ai-edge-litert-nightly",),
    "keras": ("keras-nightly",),
    QUANTIZER: (f"{QUANTIZER}-nightly", "ai-edge-quantizer", "ai-edge-quantizer-nightly"),
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


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _own_checkout() -> tuple[str | None, bool | None]:
    """Return the commit of quantbench's own checkout, and whether it has local changes; None where there is none."""
    here = Path(__file__).parent
    commit = _git(here, "rev-parse", "HEAD")
    changes = _git(here, "status", "--porcelain") if commit else None
    return commit, None if changes is None else bool(changes)


def of_models(environment: Environment, folder: Path) -> Environment:
    """Add to an environment what its models depend on: their repository's commit, and the packages they import."""
    more = {name: version for name, version in imported(folder).items() if name not in environment.packages}
    update = {**repository(folder), "dependencies": dict(sorted({**environment.dependencies, **more}.items()))}
    return environment.model_copy(update=update)


def repository(models: Path) -> dict[str, str | bool | None]:
    """Return the fields of :class:`Environment` on the repository that holds the models.

    Untracked files count as changes only where they lie beside the models: a run's output is untracked too.
    """
    folder = models.absolute()
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return {"repository_commit": None, "repository_dirty": None}
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no") or _git(
        folder, "status", "--porcelain", "."
    )
    return {"repository_commit": commit, "repository_dirty": bool(changes)}


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
    commit, dirty = _own_checkout()
    packages = {installed_name(package): package_version(package) for package in PACKAGES}
    return Environment(
        python=platform.python_version(),
        os=f"{platform.system()} {platform.release()}",
        cpu=name,
        isa=isa,
        cores=os.cpu_count() or 1,
        memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
        packages=packages,
        dependencies={name: version for name, version in required().items() if name not in packages},
        git_commit=commit,
        git_dirty=dirty,
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


# What :func:`describe` writes, taken apart again.
_DESCRIBED = re.compile(
    r"(?P<cpu>.*) \((?P<isa>[0-9a-f]{8})\), Python (?P<python>[^,\s]+)(?P<packages>(?:, \S+ [^,]+)*)"
)


def described(text: str) -> dict[str, str]:
    """Return name -> value of a baseline's line on its environment, named as in :func:`facts`; empty for others."""
    match = _DESCRIBED.fullmatch(text)
    if match is None:
        return {}
    packages = dict(one.split(" ", 1) for one in match["packages"].split(", ") if one)
    return {"Python": match["python"], **packages, CPU: f"{match['cpu']} (ISA {match['isa']})"}


NOT_RECORDED = "(not recorded)"  # by that version of ours, or not installed: which of them, a record does not say
CPU, CORES, OS, COMMIT, OWN_COMMIT = "CPU", "cores", "OS", "commit", "quantbench commit"


def changed_between(old: Environment, new: Environment) -> list[str]:
    """Return what differs between two environments, one phrase each; what the packages require comes last."""
    return [f"{name} {before} → {after}" for name, before, after in differences(old, new)]


def differences(old: Environment, new: Environment) -> list[tuple[str, str, str]]:
    """Return what differs between two environments: name, old and new value each; further packages last."""
    before, after = under_one_name(facts(old), facts(new))
    if all(each.repository_commit in (None, each.git_commit) for each in (old, new)):
        # The models are in quantbench's own checkout, or only that was recorded.
        before[COMMIT], after[COMMIT] = before.pop(OWN_COMMIT), after.pop(OWN_COMMIT)
    found = [
        (name, before.get(name, NOT_RECORDED), after.get(name, NOT_RECORDED))
        for name in dict.fromkeys([*before, *after])
        if before.get(name, NOT_RECORDED) != after.get(name, NOT_RECORDED)
    ]
    return found + changed_dependencies(old, new)


def changed_dependencies(old: Environment, new: Environment) -> list[tuple[str, str, str]]:
    """Return the further packages whose version differs; those that one of the two does not record are left out."""
    both = sorted(old.dependencies.keys() & new.dependencies.keys())
    pairs = ((name, old.dependencies[name], new.dependencies[name]) for name in both)
    return [(name, before, after) for name, before, after in pairs if before != after]


def commit_of(environment: Environment) -> str:
    """Return the commit that a run measured, shortened: of the models' repository, else of quantbench's checkout."""
    if environment.repository_commit:
        return _commit(environment.repository_commit, environment.repository_dirty)
    return _commit(environment.git_commit, environment.git_dirty)


def _commit(commit: str | None, dirty: bool | None) -> str:
    return commit[:12] + ("+changes" if dirty else "") if commit else NOT_RECORDED


def facts(environment: Environment) -> dict[str, str]:
    """Return name -> value of what an environment records, for comparing two of them."""
    return {
        "Python": environment.python,
        **dict(sorted(environment.packages.items())),
        CPU: f"{environment.cpu} (ISA {environment.isa})",
        CORES: str(environment.cores),
        OS: environment.os,
        COMMIT: _commit(environment.repository_commit, environment.repository_dirty),
        OWN_COMMIT: _commit(environment.git_commit, environment.git_dirty),
    }
