"""Options of a run, declared once: pytest and the command line both make theirs from this."""

import shlex
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

# ruff: noqa: RUF009 - `_option` is `field`

PACKAGE = Path(__file__).parent
# In a checkout the folders lie beside the package; a wheel carries copies inside it.
CARRIED = PACKAGE / "carried"
_HOME = CARRIED if CARRIED.is_dir() else PACKAGE.parent


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
    no_latency: bool = _option(False, "do not time anything")
    no_gpu: bool = _option(False, "run nothing on a GPU; without one, nothing is anyway")
    latency_budget: float = _option(3.0, "seconds of timing a cell")
    threads: str = _option(
        "1", "threads to time with besides one, comma-separated, or 'all' for every core, e.g. 1,all"
    )
    more_latency: bool = _option(False, "time a larger batch too, and Keras before conversion; shown, not judged")
    workers: int = _option(0, "worker processes; 0: one a core")
    cell_timeout: float = _option(1800.0, "seconds after which a cell is given up")
    false_alarms: float = _option(
        0.01, "false-alarm budget of the whole run: the chance of any red where nothing changed"
    )
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
    usual = RunOptions()
    given = [name for name in ("model_dir", "baseline_dir") if getattr(options, name) != getattr(usual, name)]
    folders = [f"{flag(name)} {shlex.quote(str(getattr(options, name)))}" for name in given]
    return " ".join([shlex.quote(str(folder)), *folders])


def from_mapping(values: dict[str, Any]) -> RunOptions:
    """Options from name -> value, converted to their types."""
    converted = {}
    for option in fields(RunOptions):
        value = values[option.name]
        kind = option.type
        converted[option.name] = value if isinstance(kind, str) or isinstance(value, kind) else kind(value)
    return RunOptions(**converted)
