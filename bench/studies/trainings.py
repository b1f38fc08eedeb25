"""How alike healthy trainings are made, and how often the gate would take one for another artifact by its census.

    python -m studies.trainings --models seed_cnn,autoencoder --seeds 3 --report-dir reports/reference

Every variant that trains is trained with several seeds, or taken from the user's store; each training is held against
each other one of its cell, and against the baseline's census, which another machine may have recorded, as if the one
were the accepted one. Whatever the judge finds is a false red.
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
    """Pairs of trainings of one variant, of all models.

    Attributes:
        red: of them, those that the judge tells apart.
        moved: what -> its largest change: of zeros a share of all weights, else a share of the other's value.
    """

    variant: str
    count: int = 0
    red: list[str] = field(default_factory=list)
    moved: dict[str, float] = field(default_factory=dict)

    def take(self, model: str, new: Census, old: Census) -> None:
        """One pair."""
        self.count += 1
        found = gate.differences(new, old, trained=True)
        if found:
            self.red.append(f"{model}/{self.variant}: {found[0]}")
        for what, change in changes(new, old):
            self.moved[what] = max(self.moved.get(what, 0.0), change)


def changes(new: Census, old: Census) -> Iterator[tuple[str, float]]:
    """What chance moves, of each weight tensor and each activation."""
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
    if done.returncode not in (0, 1):  # red is what this study counts
        raise BadInput(f"the run that trains ended with status {done.returncode}; its own words above say why")


def censuses(model: ReferenceModel, variant: str, seeds: int) -> list[Census]:
    """Of each seed, and of the baseline; empty where the tools refuse the cell."""
    tasks = (Task(model.file, model.name, variant, seed, None, default_root(), Path("-")) for seed in range(seeds))
    contents = [outcome.contents for task in tasks if (outcome := from_store(task)) is not None]
    accepted = baseline_files.load(RunOptions().baseline_dir, model).cell(variant)
    found = [one.census for one in contents if one is not None]
    return [*found, accepted.census] if found and accepted is not None and accepted.census is not None else found


def measure(models: list[ReferenceModel], seeds: int) -> list[Pairs]:
    """All pairs, by variant."""
    found = []
    for variant in TRAINED:
        pairs = Pairs(variant)
        for model in models:
            for new, old in permutations(censuses(model, variant, seeds), 2):
                pairs.take(model.name, new, old)
        found.append(pairs)
    return [pairs for pairs in found if pairs.count]


def report(found: list[Pairs], models: list[str], seeds: int) -> list[str]:
    """Its parts."""
    count, red = sum(pairs.count for pairs in found), [told for pairs in found for told in pairs.red]
    bound = upper_bound(len(red), count)
    names = list(dict.fromkeys(what for pairs in found for what in pairs.moved))
    rows = [
        [f"`{one.variant}`", str(one.count), str(len(one.red)), *(f"{100 * one.moved.get(n, 0):.1f} %" for n in names)]
        for one in found
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
    return parts + (["Red:\n\n" + "\n".join(f"- {told}" for told in red)] if red else [])


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
    found = measure([models[name] for name in names], arguments.seeds)
    _common.write(arguments.report_dir, "trainings.md", report(found, names, arguments.seeds))


if __name__ == "__main__":
    main()
