"""Train the model `keyword` with fewer units: what float32 loses to size alone, by which its limits are set.

    python -m studies.keyword_sizes --report-dir reports/reference

*Drop*: of the means from that of all units; a release limit is the drop of the size that the weights' bits pay for.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from quantbench.reference.heads import by_output
from quantbench.reference.model import ReferenceModel, load_models
from quantbench.reference.training import score_keras, train_from_scratch

from studies._common import quietly, table, write

UNITS = {"all": 48, "a half": 31, "a quarter": 19}  # at most that share of the parameters
SEEDS = 5
NAME = "keyword_sizes.md"


def scores(model: ReferenceModel, units: int) -> tuple[int, Mapping[str, list[float]]]:
    """Return the number of parameters, and the scores of each output by seed."""
    build: Callable[..., Any] | None = model.build
    assert build is not None
    smaller = replace(model, build=partial(build, units=units))
    found: dict[str, list[float]] = {output: [] for output in by_output(smaller)}
    for seed in range(SEEDS):
        trained = train_from_scratch(smaller, seed)
        for output, one in by_output(smaller).items():
            found[output].append(score_keras(trained, one))
    return trained.count_params(), found


def rows(model: ReferenceModel) -> Iterator[list[str]]:
    """Return a row for each size and output."""
    means: dict[str, float] = {}
    for share, units in UNITS.items():
        parameters, found = scores(model, units)
        for output, values in found.items():
            metric, mean = by_output(model)[output].metric, float(np.mean(values))
            drop = metric.drop(mean, means.setdefault(output, mean))
            spread = f"{mean:.4g} ± {np.std(values, ddof=1):.2g}"
            yield [share, f"{units}", f"{parameters:,}", metric.name, spread, f"{drop:.3g} {metric.unit}"]


def main() -> None:
    """Train, print the table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--report-dir", type=Path, required=True)
    arguments = parser.parse_args()
    model = load_models(Path("models"))["keyword"]
    found = table(["parameters", "units", "number", "metric", f"mean ± sd of {SEEDS} seeds", "drop"], rows(model))
    write(arguments.report_dir, NAME, ["# What `keyword` loses with fewer units, in float32", found])


if __name__ == "__main__":
    quietly(main)
