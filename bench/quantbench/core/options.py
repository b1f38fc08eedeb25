"""Declare the options of a run once, for both pytest and the command line."""

import math
import shlex
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from quantbench.core.targets import Target
from quantbench.errors import BadInput

# ruff: noqa: RUF009 - `_option` is `field`

PACKAGE = Path(__file__).parents[1]
# In a checkout models/ and baselines/ are beside bench/; a wheel holds copies inside the package.
CARRIED = PACKAGE / "carried"
CHECKOUT = PACKAGE.parents[1]
_HOME = CARRIED if CARRIED.is_dir() else CHECKOUT
# Settings of the suites: in a checkout where ``pytest bench`` finds them, in a wheel inside the package.
PYTEST_INI = PACKAGE / "pytest.ini" if (PACKAGE / "pytest.ini").is_file() else PACKAGE.parent / "pytest.ini"


def _option(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass
class RunOptions:
    """Say what to run and how.

    Attributes:
        targets: those that the repository's config declares, by name.
        usual: what a command without options would run here, by the repository's config; None for the defaults below.
    """

    models: str = _option("", "comma-separated models, e.g. seed_cnn (default: all)")
    variants: str = _option("", "comma-separated variants, e.g. ptq_float16,qat_wi8_ai8 (default: all)")
    model_dir: Path = _option(_HOME / "models", "folder of model files")
    baseline_dir: Path = _option(_HOME / "baselines", "folder of baselines")
    report_dir: Path = _option(
        Path("reports"), "output folder; each run gets a subfolder, `latest` links to the newest"
    )
    seeds: int = _option(1, "seeds of every cell that trains; a baseline of such a cell needs 5")
    # Against five accepted seeds, half a point less in QAT is seen in 87 % of runs in which everything changed; with 5
    # instead of 8 in 76 %, with 10 in 91 % (simulated for mobilenet_v2 and resnet8, whose seeds differ most).
    seeds_on_suspicion: int = _option(
        8,
        "seeds of a trained cell whose score looks worse or whose limit is undecided, trained before it is judged; "
        "1: never more",
    )
    train: bool = _option(False, "train the float models from scratch instead of loading pinned weights")
    no_cache: bool = _option(False, "build and evaluate everything again, ignoring the cache")
    cache_size: float = _option(
        5.0, "maximum cache size in GB (least recently used entries are removed after the run); 0 = unlimited"
    )
    no_latency: bool = _option(False, "do not time anything")
    no_gpu: bool = _option(False, "skip the GPU checks (they are skipped anyway where there is no GPU)")
    no_micro: bool = _option(
        False, "do not run artifacts on TFLite-Micro (they are not run anyway where its package is not installed)"
    )
    no_instructions: bool = _option(
        False, "do not count instructions (they are not counted anyway where valgrind is not installed)"
    )
    latency_budget: float = _option(3.0, "seconds of timing per cell")
    threads: str = _option(
        "1", "threads to time with besides one, comma-separated, or 'all' for every core, e.g. 1,all"
    )
    no_turns: bool = _option(
        False,
        "do not time cells in turns with their accepted artifacts, where no baseline of this machine gates their "
        "latency or one finds it slower",
    )
    turns_budget: float = _option(60.0, "seconds of a run for timing cells in turns with their accepted artifacts")
    more_latency: bool = _option(False, "time a larger batch too, and Keras before conversion; shown, not judged")
    workers: int = _option(0, "number of worker processes (0 = one per core)")
    cluster: str = _option(
        "", "compute cells on the Dask workers of this scheduler, e.g. tcp://scheduler:8786; needs quantbench[cluster]"
    )
    target: str = _option(
        "",
        "run cells on these targets too: names of [tool.quantbench.targets], all, or addresses such as ssh://pi@board",
    )
    cell_timeout: float = _option(1800.0, "per-cell timeout in seconds")
    false_alarms: float = _option(
        0.01, "false-alarm budget of the whole run: the probability of any red where nothing changed"
    )
    strict_change: bool = _option(False, "outputs that changed without getting worse are red, not only reported")
    shard: str = _option("", "measure one part of the run, e.g. 2/6; quantbench report merges all parts")
    baselines_from: str = _option(
        "", "judge by the baselines of the merge base with this branch, e.g. origin/main, as a pull request is judged"
    )
    history: str = _option(
        "", "folder of earlier runs, in which a red run looks up since when it is red (default: the output folder)"
    )
    shard_durations: str = _option("", "run folder, or its report.json, with the durations of its cells; for --shard")
    update_baselines: str = _option(
        "",
        "accept this run's values as baselines, with this reason; each cell is timed four times as long for it; the "
        "exit status stays that of the judgements",
    )
    allow_dirty: bool = _option(False, "let --update-baselines accept code with local changes that are in no commit")
    targets: Mapping[str, Target] = field(default_factory=dict, repr=False, compare=False)
    usual: "RunOptions | None" = field(default=None, repr=False, compare=False)


def declared() -> list[Field[Any]]:
    """Return the fields that are options of a run."""
    return [one for one in fields(RunOptions) if "help" in one.metadata]


def flag(name: str) -> str:
    """Return ``--no-cache`` for ``no_cache``."""
    return "--" + name.replace("_", "-")


def negative(name: str) -> str:
    """Return the option that turns a switch off: ``--cache`` for ``no_cache``, ``--no-train`` for ``train``."""
    return flag(name.removeprefix("no_")) if name.startswith("no_") else flag(f"no_{name}")


def run_argument(folder: Path, options: RunOptions) -> str:
    """Return a run's name in the commands of its report, with the folders given by the user."""
    return " ".join([shlex.quote(str(folder)), *given(options, "model_dir", "baseline_dir")])


def check_cache_size(gigabytes: float) -> None:
    """Raise BadInput unless the store can have this size."""
    if not 0 <= gigabytes < math.inf:
        raise BadInput(f"--cache-size: expected GB, or 0 for any size, found {gigabytes}")


# Least and most: a seed is trained for minutes, and a worker takes about 300 MB.
_WHOLE = {"seeds": (1, 10_000), "seeds_on_suspicion": (1, 100), "workers": (0, 10_000)}


def _short(number: int) -> str:
    """Return a number for a message; a number of very many digits is abbreviated."""
    return str(number) if number < 10**20 else f"a number of about {number.bit_length() * 3 // 10} digits"


def from_mapping(values: dict[str, Any], usual: RunOptions | None = None) -> RunOptions:
    """Return options from name -> value, converted to their types."""
    converted = {}
    for option in declared():
        value = values[option.name]
        kind = option.type
        converted[option.name] = value if isinstance(kind, str) or isinstance(value, kind) else kind(value)
    return RunOptions(**converted, usual=usual, targets={} if usual is None else usual.targets)


def given(options: RunOptions, *names: str) -> list[str]:
    """Return those of the named options that differ from what is usual here, as command-line arguments."""
    usual, changed = options.usual or RunOptions(), []
    for name in names:
        value = getattr(options, name)
        if value == getattr(usual, name):
            continue
        if isinstance(value, bool):
            changed.append(flag(name) if value else negative(name))
        else:
            changed.append(f"{flag(name)} {shlex.quote(str(value))}")
    return changed


def check(options: RunOptions) -> None:
    """Raise BadInput where a number is out of range."""
    for name, (least, most) in _WHOLE.items():
        number = getattr(options, name)
        if number < least:
            raise BadInput(f"{flag(name)}: expected a whole number of at least {least}, found {number}")
        if number > most:
            raise BadInput(f"{flag(name)}: expected a whole number of at most {most}, found {_short(number)}")
    check_cache_size(options.cache_size)
    for name in ("latency_budget", "turns_budget", "cell_timeout", "false_alarms"):
        if not 0 < getattr(options, name) < math.inf:
            finite = " that is finite" if getattr(options, name) == math.inf else ""
            raise BadInput(f"{flag(name)}: expected a number above 0{finite}, found {getattr(options, name)}")
    if options.false_alarms >= 1:
        raise BadInput(f"--false-alarms: expected a probability below 1, found {options.false_alarms}")
