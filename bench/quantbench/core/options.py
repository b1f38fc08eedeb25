"""Options of a run, declared once: pytest and the command line both make theirs from this."""

import math
import shlex
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from quantbench.errors import BadInput

# ruff: noqa: RUF009 - `_option` is `field`

PACKAGE = Path(__file__).parents[1]
# In a checkout models/ and baselines/ are beside bench/; a wheel has copies inside the package.
CARRIED = PACKAGE / "carried"
CHECKOUT = PACKAGE.parents[1]
_HOME = CARRIED if CARRIED.is_dir() else CHECKOUT
# Settings of the suites: in a checkout where ``pytest bench`` finds them, in a wheel inside the package.
PYTEST_INI = PACKAGE / "pytest.ini" if (PACKAGE / "pytest.ini").is_file() else PACKAGE.parent / "pytest.ini"


def _option(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass
class RunOptions:
    """What to run and how."""

    models: str = _option("", "models, comma-separated; all where not given, e.g. seed_cnn")
    variants: str = _option("", "variants, comma-separated; all where not given, e.g. ptq_float16,qat_wi8_ai8")
    model_dir: Path = _option(_HOME / "models", "folder of model files")
    baseline_dir: Path = _option(_HOME / "baselines", "folder of baselines")
    report_dir: Path = _option(Path("reports"), "folder that gets a folder a run, and 'latest'")
    seeds: int = _option(1, "seeds of every cell that trains; a baseline of such a cell needs 5")
    train: bool = _option(False, "train the float models from scratch instead of loading pinned weights")
    no_cache: bool = _option(False, "build and evaluate everything again, whatever the store holds")
    cache_size: float = _option(
        5.0, "GB that the store may take; after a run, what was used least recently goes; 0: any"
    )
    no_latency: bool = _option(False, "do not time anything")
    no_gpu: bool = _option(False, "run nothing on a GPU; without one, nothing is anyway")
    latency_budget: float = _option(3.0, "seconds of timing a cell")
    threads: str = _option(
        "1", "threads to time with besides one, comma-separated, or 'all' for every core, e.g. 1,all"
    )
    more_latency: bool = _option(False, "time a larger batch too, and Keras before conversion; shown, not judged")
    workers: int = _option(0, "worker processes; 0: one a core")
    cluster: str = _option(
        "", "compute cells on the Dask workers of this scheduler, e.g. tcp://scheduler:8786; needs quantbench[cluster]"
    )
    cell_timeout: float = _option(1800.0, "seconds after which a cell is given up")
    false_alarms: float = _option(
        0.01, "false-alarm budget of the whole run: the chance of any red where nothing changed"
    )
    strict_change: bool = _option(False, "outputs that changed without getting worse are red, not only told")
    shard: str = _option("", "measure one part of the run, e.g. 2/6; quantbench report makes one report of all parts")
    shard_durations: str = _option(
        "", "run folder, or its report.json, that tells how long each cell takes; for --shard"
    )
    update_baselines: str = _option(
        "", "accept this run's values with the reason given here; the run still ends as it was judged"
    )


def flag(name: str) -> str:
    """``no_cache`` -> ``--no-cache``."""
    return "--" + name.replace("_", "-")


def run_argument(folder: Path, options: RunOptions) -> str:
    """A run as the commands of its report name it, with the folders that it took from the user."""
    return " ".join([shlex.quote(str(folder)), *given(options, "model_dir", "baseline_dir")])


def check_cache_size(found: float) -> None:
    """Raises BadInput unless a store can be so large."""
    if not 0 <= found < math.inf:
        raise BadInput(f"--cache-size: expected GB, or 0 for any size, found {found}")


# Least and most: a seed is trained for minutes, and a worker takes about 300 MB.
_WHOLE = {"seeds": (1, 10_000), "workers": (0, 10_000)}


def _short(found: int) -> str:
    """A number as it is told; one of many digits is none that was meant."""
    return str(found) if found < 10**20 else f"a number of about {found.bit_length() * 3 // 10} digits"


def from_mapping(values: dict[str, Any]) -> RunOptions:
    """Options from name -> value, converted to their types."""
    converted = {}
    for option in fields(RunOptions):
        value = values[option.name]
        kind = option.type
        converted[option.name] = value if isinstance(kind, str) or isinstance(value, kind) else kind(value)
    return RunOptions(**converted)


def given(options: RunOptions, *names: str) -> list[str]:
    """Those of the named options that are not as usual, as a command takes them."""
    usual, found = RunOptions(), []
    for name in names:
        value = getattr(options, name)
        if value != getattr(usual, name):
            found.append(flag(name) if value is True else f"{flag(name)} {shlex.quote(str(value))}")
    return found


def check(options: RunOptions) -> None:
    """Raises BadInput where a number is none that makes sense."""
    for name, (least, most) in _WHOLE.items():
        found = getattr(options, name)
        if found < least:
            raise BadInput(f"--{name}: expected a whole number of at least {least}, found {found}")
        if found > most:
            raise BadInput(f"--{name}: expected a whole number of at most {most}, found {_short(found)}")
    check_cache_size(options.cache_size)
    for name in ("latency_budget", "cell_timeout", "false_alarms"):
        if not 0 < getattr(options, name) < math.inf:
            finite = " that is finite" if getattr(options, name) == math.inf else ""
            raise BadInput(f"{flag(name)}: expected a number above 0{finite}, found {getattr(options, name)}")
    if options.false_alarms >= 1:
        raise BadInput(f"--false-alarms: expected a probability below 1, found {options.false_alarms}")
