"""Measure how similar healthy trainings are, and how often the gate would tell them apart by their census.

    python -m studies.trainings --models seed_cnn,autoencoder --seeds 3 --report-dir reports/reference

Every trained variant is trained with several seeds, or taken from the user's store; each training is compared with each
other one of its cell, and with the baseline's census, which another machine may have recorded, as if that one were the
accepted one. Every difference that the judge finds is a false alarm.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path

from quantbench import gate
from quantbench.baselines import files as baseline_files
from quantbench.build.store import default_root
from quantbench.core.options import CHECKOUT, RunOptions
from quantbench.core.stats import upper_bound
from quantbench.engine.workers.task import Task, from_store
from quantbench.errors import BadInput
from quantbench.records import Census
from quantbench.reference.model import ReferenceModel, load_models, pick
from quantbench.variants import VARIANTS

from studies import _common

TRAINED = [name for name, variant in VARIANTS.items() if variant.trained]


@dataclass
class Pairs:
    """Count pairs of trainings of one variant, over all models.

    Attributes:
        red: those that the judge tells apart.
        moved: measurement -> its largest change: zeros as a share of all weights, others relative to the value.
    """

    variant: str
    count: int = 0
    red: list[str] = field(default_factory=list)
    moved: dict[str, float] = field(default_factory=dict)

    def take(self, model: str, new: Census, old: Census) -> None:
        """Add one pair."""
        self.count += 1
        differences = gate.differences(new, old, trained=True)
        if differences:
            self.red.append(f"{model}/{self.variant}: {differences[0].words}")
        for what, change in changes(new, old):
            self.moved[what] = max(self.moved.get(what, 0.0), change)


def changes(new: Census, old: Census) -> Iterator[tuple[str, float]]:
    """Yield changes that happen by chance, for each weight tensor and each activation."""
    for a, b in zip(new.compute, old.compute, strict=False):
        if a.zeros is not None and b.zeros is not None:
            yield "zeros", abs(a.zeros - b.zeros)
        for what, now, before in (
            ("distinct", a.distinct, b.distinct),
            ("distinct in a channel", a.distinct_in_channel, b.distinct_in_channel),
            ("scale of weights", a.scale, b.scale),
        ):
            if now and before:
                yield what, abs(now / before - 1)
    for (scale, _), (other, _) in zip(new.ranges, old.ranges, strict=False):
        yield "range of activations", abs(scale / other - 1)


def train(models: list[str], seeds: int) -> None:
    """Train whatever the store lacks. Raises BadInput where a run could not measure."""
    command = [sys.executable, "-m", "quantbench", "run", "--no-latency", "--no-gpu", "-k", "structure"]
    command += [f"--models={','.join(models)}", f"--variants={','.join(TRAINED)}", f"--seeds={seeds}"]
    with tempfile.TemporaryDirectory(prefix="quantbench-") as folder:
        done = subprocess.run([*command, f"--report-dir={folder}"], cwd=CHECKOUT, check=False)
    if done.returncode not in (0, 1):  # this study counts failures of the gate
        raise BadInput(f"the run that trains ended with status {done.returncode}; its own words above say why")


def censuses(model: ReferenceModel, variant: str, seeds: int) -> list[Census]:
    """Read the census of each seed, and of the baseline; empty where the tools refuse the cell."""
    tasks = (Task(model.file, model.name, variant, seed, None, default_root(), Path("-")) for seed in range(seeds))
    contents = [outcome.contents for task in tasks if (outcome := from_store(task)) is not None]
    accepted = baseline_files.load(RunOptions().baseline_dir, model).cell(variant)
    censuses_of_seeds = [content.census for content in contents if content is not None]
    return (
        [*censuses_of_seeds, accepted.census]
        if censuses_of_seeds and accepted is not None and accepted.census is not None
        else censuses_of_seeds
    )


def measure(models: list[ReferenceModel], seeds: int) -> list[Pairs]:
    """Compare all pairs, by variant."""
    by_variant = []
    for variant in TRAINED:
        pairs = Pairs(variant)
        for model in models:
            for new, old in permutations(censuses(model, variant, seeds), 2):
                pairs.take(model.name, new, old)
        by_variant.append(pairs)
    return [pairs for pairs in by_variant if pairs.count]


def report(by_variant: list[Pairs], models: list[str], seeds: int) -> list[str]:
    """Write the report's parts."""
    count, red = sum(pairs.count for pairs in by_variant), [pair for pairs in by_variant for pair in pairs.red]
    bound = upper_bound(len(red), count)
    names = list(dict.fromkeys(what for pairs in by_variant for what in pairs.moved))
    rows = [
        [
            f"`{pairs.variant}`",
            str(pairs.count),
            str(len(pairs.red)),
            *(f"{100 * pairs.moved.get(n, 0):.1f} %" for n in names),
        ]
        for pairs in by_variant
    ]
    parts = [
        "# How alike healthy trainings are made",
        _common.machine(),
        f"{seeds} seeds of {', '.join(models)}, and what the baselines hold of them. {len(red)} of {count:,} pairs are "
        f"red by their census (95 % upper bound {100 * bound:.2f} % if pairs were independent, which those of one cell "
        "are not).",
        "The largest change of any pair: of zeros in points of all weights, else of the other's value.",
        _common.table(["variant", "pairs", "red", *names], rows),
    ]
    return parts + (["Red:\n\n" + "\n".join(f"- {pair}" for pair in red)] if red else [])


def main() -> None:
    """Train, compare, print, and write ``trainings.md``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="seed_cnn", help="comma-separated (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each cell (default: %(default)s)")
    parser.add_argument("--report-dir", type=Path, default=Path("reports/trainings"))
    arguments = parser.parse_args()
    models = load_models(RunOptions().model_dir)
    names = pick(arguments.models, models, "--models")
    train(names, arguments.seeds)
    by_variant = measure([models[name] for name in names], arguments.seeds)
    _common.write(arguments.report_dir, "trainings.md", report(by_variant, names, arguments.seeds))


if __name__ == "__main__":
    main()
