"""Measure accuracy against the number of calibration examples, for each static range method: a table and a chart.

    python -m studies.calibration --models seed_cnn,resnet8 --report-dir reports/calibration

Every point is repeated with other examples, drawn from the training split, to separate chance from method. The chart
needs the extra ``studies`` (Altair and vl-convert).
"""

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from quantbench.build.artifact import StoreWorkbench
from quantbench.build.store import Store
from quantbench.core.arrays import Inputs, length, rows
from quantbench.core.options import RunOptions
from quantbench.errors import BadInput, Unsupported
from quantbench.reference import training
from quantbench.reference.model import ReferenceModel, load_models, pick
from quantbench.tflite.litert import LiteRT
from quantbench.variants import VARIANTS
from tabulate import tabulate

from studies import _common

COUNTS = (1, 3, 10, 30, 100, 300, 1000)
METHODS = ("ptq_static_wi8_ai8", "aeq_static_wi8_ai8", "aeq_static_wi8_ai8_octav")
REPEATS = 3


class FewExamples(StoreWorkbench):
    """Provide a workbench that calibrates with a few training examples, drawn by ``draw``."""

    def __init__(self, model: ReferenceModel, store: Store, count: int, draw: int) -> None:
        super().__init__(model, seed=0, train_seed=None, store=store)
        self._count, self._draw = count, draw

    def calibration(self) -> Iterator[Inputs]:
        """Yield ``count`` prepared training examples, one at a time."""
        train = self.model.pack().train
        if train is None:
            raise Unsupported("it needs training data to draw from")
        inputs, _ = self.model.fit_inputs(train.x, train.y)
        chosen = np.random.default_rng(self._draw).permutation(length(inputs))[: self._count]
        return (rows(inputs, chosen[i : i + 1]) for i in range(len(chosen)))


@dataclass(frozen=True)
class Point:
    """Hold the drops from float32 in the metric's unit, one per draw."""

    model: str
    method: str
    count: int
    drops: list[float]


def drop(model: ReferenceModel, method: str, count: int, draw: int, float_score: float, store: Store) -> float:
    """Measure the drop of one artifact, calibrated with ``count`` examples."""
    training.seed_everything(0)
    artifact = VARIANTS[method].make(FewExamples(model, store, count, draw))
    return model.metric.drop(score(model, artifact), float_score)


def score(model: ReferenceModel, artifact: bytes) -> float:
    """Compute the score on the whole test split."""
    test = model.pack().test
    x = model.prepare(test.x)
    outputs = LiteRT(artifact, stateful=model.stateful).run(x)
    return model.metric.value(model.metric.predict(outputs, x), test.y)


def measure(model: ReferenceModel, counts: tuple[int, ...], methods: list[str], repeats: int) -> list[Point]:
    """Measure all points of one model, printing each."""
    points = []
    with tempfile.TemporaryDirectory(prefix="quantbench-") as folder:
        store = Store(Path(folder))
        float_score = score(model, FewExamples(model, store, 1, 0).float_artifact())
        for method in methods:
            for count in counts:
                drops = [drop(model, method, count, draw, float_score, store) for draw in range(repeats)]
                points.append(Point(model.name, method, count, drops))
                print(f"{model.name} {method} {count}: {' '.join(f'{d:+.2f}' for d in drops)}", flush=True)
    return points


def table(points: list[Point], unit: str) -> str:
    """Format the mean drop and its range over the draws, one row per method, one column per count."""
    counts = sorted({point.count for point in points})
    rows_ = []
    for method in dict.fromkeys(point.method for point in points):
        by_count = {point.count: point.drops for point in points if point.method == method}
        cells = [
            f"{np.mean(by_count[count]):+.2f} ({min(by_count[count]):+.2f} to {max(by_count[count]):+.2f})"
            for count in counts
        ]
        rows_.append([f"`{method}`", VARIANTS[method].taxonomy.range, *cells])
    headers = ["variant", "range", *(f"{count}" for count in counts)]
    text = tabulate(rows_, headers=headers, tablefmt="github", disable_numparse=True)
    return f"Drop from float32 in {unit}, mean and range over draws, by number of calibration examples.\n\n{text}"


def chart(points: list[Point], path: Path) -> None:
    """Draw drop against count: a line per method, a panel per model. Raises BadInput where the extra is missing."""
    try:
        import altair
        import vl_convert
    except ImportError:
        raise BadInput("the chart needs Altair: pip install 'quantbench[studies]'") from None
    values = [
        {"model": point.model, "variant": point.method, "examples": point.count, "drop": drop_of_draw, "draw": draw}
        for point in points
        for draw, drop_of_draw in enumerate(point.drops)
    ]
    base = altair.Chart(altair.InlineData(values=values)).encode(
        x=altair.X("examples:Q", scale=altair.Scale(type="log"), title="calibration examples"),
        color=altair.Color("variant:N", title=None),
        shape=altair.Shape("variant:N", legend=None),
    )
    lines = base.mark_line(point=False).encode(
        y=altair.Y("mean(drop):Q", title="drop from float32, pp (symlog)").scale(
            type="symlog", constant=0.5, nice=False
        )
    )
    dots = base.mark_point(filled=True, size=35).encode(y="drop:Q")
    picture = (lines + dots).properties(width=320, height=220).facet(column=altair.Column("model:N", title=None))
    path.write_text(vl_convert.vegalite_to_svg(picture.to_json()), encoding="utf-8")


def main() -> None:
    """Measure, print, and write ``calibration.md`` and ``calibration.svg``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="seed_cnn", help="comma-separated (default: %(default)s)")
    parser.add_argument(
        "--methods", default=",".join(METHODS), help="variants with a static range (default: %(default)s)"
    )
    parser.add_argument("--repeats", type=int, default=REPEATS, help="draws of examples a point (default: %(default)s)")
    parser.add_argument("--report-dir", type=Path, default=Path("reports/calibration"))
    arguments = parser.parse_args()
    models = load_models(RunOptions().model_dir)
    chosen = [models[name] for name in pick(arguments.models, models, "--models")]
    methods = pick(arguments.methods, VARIANTS, "--methods")
    arguments.report_dir.mkdir(parents=True, exist_ok=True)
    points: list[Point] = []
    parts = ["# Accuracy against calibration", "", f"{arguments.repeats} draws of training examples a point."]
    parts += ["", "![drop against calibration examples](calibration.svg)"]
    for model in chosen:
        measured = measure(model, COUNTS, methods, arguments.repeats)
        points += measured
        parts += ["", f"## {model.name}", "", table(measured, model.metric.unit)]
        (arguments.report_dir / "calibration.md").write_text("\n".join(parts) + "\n", encoding="utf-8")
    chart(points, arguments.report_dir / "calibration.svg")
    print("\n".join(parts))


if __name__ == "__main__":
    _common.quietly(main)
