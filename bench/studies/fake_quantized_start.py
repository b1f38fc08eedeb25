"""Train the model `detector` with tfmot's default, and with each of its two faults kept from it.

    python -m studies.fake_quantized_start --report-dir reports/reference

*Order*: of the inputs of Concatenate layers, see ``quantbench.variants.in_order``. *Start*: of the ranges of
activations, see ``quantbench.variants.ranges``. Scores are of the Keras model after one fine-tuning, seed 0.
"""

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

from quantbench.build.artifact import StoreWorkbench
from quantbench.build.store import Store
from quantbench.reference.heads import by_output
from quantbench.reference.model import ReferenceModel, load_models
from quantbench.reference.training import score_keras, seed_everything
from quantbench.variants import in_order, ranges

from studies._common import quietly, table, write

NAME = "fake_quantized_start.md"
SEED = 0
# What is trained -> whether the order is kept, and whether ranges start at what calibration shows; None: float32.
TRAINED: dict[str, tuple[bool, bool] | None] = {
    "float32": None,
    "quantize_model": (False, False),
    "quantize_model, order kept": (True, False),
    "quantize_model, start from calibration": (False, True),
    "quantize_model, both": (True, True),
}


def scores(model: ReferenceModel, kept: tuple[bool, bool] | None, store: Path) -> dict[str, float]:
    """Return output -> score after one fine-tuning."""
    seed_everything(SEED)
    import tensorflow_model_optimization as tfmot

    bench = StoreWorkbench(model, SEED, None, Store(store))
    trained = bench.float_model()
    if kept is not None:
        order, start = kept
        with in_order.kept() if order else nullcontext():
            trained = tfmot.quantization.keras.quantize_model(trained)
        if start:
            ranges.started(bench, trained)
    bench.finetune(trained)
    return {output: score_keras(trained, one) for output, one in by_output(model).items()}


def rows(model: ReferenceModel) -> Iterator[list[str]]:
    """Return a row for each training."""
    with tempfile.TemporaryDirectory(prefix="quantbench-") as folder:
        for name, kept in TRAINED.items():
            yield [name, *(f"{score:.4f}" for score in scores(model, kept, Path(folder)).values())]


def main() -> None:
    """Train, print the table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--report-dir", type=Path, required=True)
    arguments = parser.parse_args()
    model = load_models(Path("models"))["detector"]
    outputs = [f"{output or 'boxes and scores apart'}: {one.metric.name}" for output, one in by_output(model).items()]
    found = table(["trained for one epoch", *outputs], rows(model))
    write(arguments.report_dir, NAME, ["# What tfmot's default training does to `detector`, and why", found])


if __name__ == "__main__":
    quietly(main)
