"""Test which trained cells of a model spread alike over seeds, from the baselines alone.

    python -m studies.training_kinds --report-dir reports/reference

Each way to part the cells with several seeds is tested on every model: Bartlett's test on the pooled variances of the
kinds, and Levene's on the scores less their cell's mean. A partition is worth having where kinds differ, where cells of
one kind do not, and where a cell's spread is foretold better by the others of its kind than by all others.
"""

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from quantbench.baselines.files import scores_over_seeds
from quantbench.core.options import CHECKOUT
from quantbench.core.seed_spread import Sample, pooled, sample
from quantbench.records import BaselineFile, read_record
from quantbench.variants import VARIANTS
from quantbench.variants.declare import Variant

from studies import _common

Scores = Mapping[str, Sequence[float]]  # variant -> scores over seeds
Kind = Callable[[Variant], str]

PARTITIONS: Mapping[str, Kind] = {
    "weights restricted (pruned, clustered, int4)": lambda variant: variant.training,
    "pruned or clustered": lambda variant: str(_compressed(variant)),
    "static int8 after training": lambda variant: str(variant.family == "ptq"),
    "by family": lambda variant: variant.family,
    "pruned": lambda variant: str(variant.promise.sparsity is not None),
    "float": lambda variant: str(variant.promise.computes == "float"),
    "by family, and whether restricted": lambda variant: variant.family + variant.training,
}


def _compressed(variant: Variant) -> bool:
    return variant.training == "restricted" and variant.promise.weights != "int4"


def several_seeds(path: Path) -> Scores:
    """Return the scores of a model's cells with several seeds, in percent of the metric's full scale."""
    found = scores_over_seeds(read_record(path, BaselineFile, "baseline").cells)
    return {name: [100 * score for score in scores] for name, scores in found.items() if len(scores) > 1}


def kinds(scores: Scores, kind: Kind) -> list[dict[str, Sample]]:
    """Return the spreads of the cells of each kind."""
    found: dict[str, dict[str, Sample]] = {}
    for name, values in scores.items():
        found.setdefault(kind(VARIANTS[name]), {})[name] = sample(values)
    return [found[name] for name in sorted(found)]


def bartlett(samples: Sequence[Sample]) -> tuple[float, int]:
    """Return Bartlett's statistic and its degrees of freedom (Bartlett 1937), of variances that are pooled ones."""
    degrees, count = sum(one.degrees for one in samples), len(samples)
    if count < 2:
        return 0.0, 0
    statistic = sum(one.degrees * 2 * math.log(pooled(samples).sd / one.sd) for one in samples)
    correction = 1 + (sum(1 / one.degrees for one in samples) - 1 / degrees) / (3 * (count - 1))
    return statistic / correction, count - 1


def levene(scores: Scores, kind: Kind) -> float:
    """Return the p-value of Levene's test between kinds, on scores less the mean of their cell."""
    from scipy.stats import levene as test

    parts: dict[str, list[float]] = {}
    for name, values in scores.items():
        parts.setdefault(kind(VARIANTS[name]), []).extend(np.asarray(values) - np.mean(values))
    return float(test(*parts.values()).pvalue) if len(parts) > 1 else 1.0


def foretold(scores: Scores, kind: Kind) -> float:
    """Return the log-likelihood of each cell's spread, given those of the other cells of its kind."""
    from scipy.stats import f

    total = 0.0
    for name, values in scores.items():
        own, others = sample(values), {other: sample(one) for other, one in scores.items() if other != name}
        alike = [one for other, one in others.items() if kind(VARIANTS[other]) == kind(VARIANTS[name])]
        known = pooled(alike or others.values())
        total += float(f.logpdf((own.sd / known.sd) ** 2, own.degrees, known.degrees)) - 2 * math.log(known.sd)
    return total


def report() -> str:
    """Write both tables."""
    from scipy.stats import chi2

    models = {path.stem: several_seeds(path) for path in sorted((CHECKOUT / "baselines").glob("*.json"))}
    models = {model: scores for model, scores in models.items() if len(scores) > 2}
    together = {model: foretold(scores, lambda _: "") for model, scores in models.items()}
    rows = []
    for what, kind in PARTITIONS.items():
        between = [bartlett([pooled(one.values()) for one in kinds(scores, kind)]) for scores in models.values()]
        statistic, degrees = (sum(column) for column in zip(*between, strict=True))
        gain = sum(foretold(scores, kind) - together[model] for model, scores in models.items())
        rows.append([what, f"{statistic:.1f} ({degrees})", f"{chi2.sf(statistic, degrees):.2g}", f"{gain:+.1f}"])
    headers = ["cells parted by", "Bartlett's chi² (degrees)", "p", "log-likelihood gained, cells left out"]
    told = [
        "# Which trained cells of a model spread alike over seeds (`studies.training_kinds`)",
        f"{sum(map(len, models.values()))} cells with several seeds, in {len(models)} models.",
        _common.table(headers, rows),
    ]
    chosen, rows = PARTITIONS["weights restricted (pruned, clustered, int4)"], []
    for model, scores in models.items():
        of_kinds = kinds(scores, chosen)
        statistic, degrees = bartlett([pooled(one.values()) for one in of_kinds])
        within = [bartlett(list(one.values())) for one in of_kinds]
        shown = [f"{pooled(one.values()).sd:.3f} ({pooled(one.values()).degrees})" for one in of_kinds]
        p_values = [f"{chi2.sf(statistic, degrees):.3f}", f"{levene(scores, chosen):.3f}"]
        rows.append([model, *shown, *p_values, ", ".join(f"{chi2.sf(*one):.2f}" for one in within)])
    headers = ["model", "free: sd, % (degrees)", "restricted: sd, % (degrees)", "Bartlett p", "Levene p", "p within"]
    return "\n\n".join([*told, "The one that is used, by model:", _common.table(headers, rows)]) + "\n"


def main() -> None:
    """Print the tables, and write them where a folder is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--report-dir", type=Path, help="folder that gets training_kinds.md")
    folder: Path | None = parser.parse_args().report_dir
    text = report()
    print(text, end="")
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "training_kinds.md").write_text(text)


if __name__ == "__main__":
    _common.quietly(main)
