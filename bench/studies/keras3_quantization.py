"""Measure what Keras 3's own quantization becomes in LiteRT: for every model and variant of it, what the file is.

    python -m studies.keras3_quantization --report-dir reports/reference

Each reference model is carried over to Keras 3 (the same weights, checked to give the same outputs), quantized by
``model.quantize`` and exported to LiteRT by Keras 3. The first table tells what became of each cell; the second, how
large the files are against float32, what their compute operators are, and how much of the score is lost. The drop is
measured on the first test examples, so that a difference of a few tenths of a point may be chance.
"""

import argparse
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from quantbench.build import refusals
from quantbench.build.artifact import StoreWorkbench, artifact
from quantbench.build.store import Store, default_root
from quantbench.core.arrays import rows
from quantbench.core.environment import package_version
from quantbench.core.options import RunOptions
from quantbench.errors import Unsupported
from quantbench.gate._quantization_spec import violations
from quantbench.measure.census import census
from quantbench.records import FLOAT_CONTROL, Census
from quantbench.reference.model import ReferenceModel, load_models, pick
from quantbench.tflite.litert import LiteRT
from quantbench.variants import Variant, keras3, keras_twin

from studies import _common

EXAMPLES = 1000
VARIANTS = {variant.name: variant for variant in keras3.VARIANTS}
UNQUANTIZED = "not quantized"
CALIBRATED = ("keras_weight_only_wi4_gptq_afp32", "keras_weight_only_wi4_awq_afp32")
ONE_DENSE = "ds_cnn"  # a model with one dense layer, of short rows


@dataclass(frozen=True)
class Cell:
    """Hold what became of one model in one variant.

    Attributes:
        refusal: why there is no file, or none that runs; empty where there is.
        size: of the file, as a share of the float32 file's.
        census: of the file.
        unkept: how it differs from what its name says.
        drop: from float32, in the metric's unit.
    """

    refusal: str = ""
    size: float = 0.0
    census: Census | None = None
    unkept: tuple[str, ...] = ()
    drop: float = 0.0


class Subject:
    """Hold a model with its float32 artifact and the examples that score it.

    Args:
        model: the reference model.
        store: where artifacts are found, or kept.
        examples: how many of the test split are run.
    """

    def __init__(self, model: ReferenceModel, store: Store, examples: int) -> None:
        self.model = model
        self.store = store
        test = model.pack().test
        self._x, self._y = model.prepare(rows(test.x, slice(0, examples))), test.y[:examples]
        float32 = _common.artifact(model, FLOAT_CONTROL, store).read_bytes()
        self._float_size, self._float_score = len(float32), self._score(float32)

    def _score(self, artifact: bytes) -> float:
        outputs = LiteRT(artifact, stateful=self.model.stateful).run(self._x)
        return float(self.model.metric.value(self.model.metric.predict(outputs, self._x), self._y))

    def unquantized(self) -> Cell:
        """Measure the model as Keras 3 exports it, not quantized."""
        bench = StoreWorkbench(self.model, seed=0, train_seed=None, store=self.store)
        try:
            return self._measured(keras_twin.litert(bench, keras_twin.of_float_model(bench)), None)
        except Unsupported as refused:
            return Cell(refusal=str(refused))

    def quantized(self, variant: Variant) -> Cell:
        """Measure a variant, from the store or made now."""
        built = artifact(self.model, variant, 0, None, self.store)
        if built.path is None:
            return Cell(refusal=refusals.reason(built.refusal or ""))
        try:
            return self._measured(built.path.read_bytes(), variant)
        except (RuntimeError, ValueError) as refused:  # of LiteRT
            return Cell(refusal=refusals.reason(refusals.raw_words(refused)))

    def _measured(self, made: bytes, variant: Variant | None) -> Cell:
        found = census(made)
        unkept = () if variant is None else tuple(each.words for each in violations(variant.promise, found))
        drop = self.model.metric.drop(self._score(made), self._float_score)
        return Cell("", len(made) / self._float_size, found, unkept, drop)


def all_cells(model: ReferenceModel, names: list[str], store: Store, examples: int) -> dict[str, Cell]:
    """Measure a model as Keras 3 exports it and in each variant, printing a line for each."""
    subject = Subject(model, store, examples)
    found = {}
    for name in [UNQUANTIZED, *names]:
        cell = found[name] = subject.quantized(VARIANTS[name]) if name in VARIANTS else subject.unquantized()
        says = cell.refusal or f"{cell.size:.2f} x float32, drop {cell.drop:+.2f}; {'; '.join(cell.unkept) or 'kept'}"
        print(f"{model.name} {name}: {says}", flush=True)
    return found


def calibration(model: ReferenceModel, store: Store) -> str:
    """Say how often Keras gives calibration examples to GPTQ and AWQ, as it quantizes a model."""
    bench = StoreWorkbench(model, seed=0, train_seed=None, store=store)
    keras_twin.keras3(bench)
    from keras.src.quantizers.awq import AWQ
    from keras.src.quantizers.gptq import GPTQ

    told = []
    methods = ((GPTQ, "update_hessian_with_batch"), (AWQ, "update_activation_magnitudes"))
    for name, (algorithm, method) in zip(CALIBRATED, methods, strict=True):
        with mock.patch.object(algorithm, method, autospec=True, side_effect=getattr(algorithm, method)) as called:
            VARIANTS[name].make(bench)
        told.append(f"`{name}`: {called.call_count} times")
    files = [artifact(model, VARIANTS[name], 0, None, store).sha256 for name in CALIBRATED]
    same = "the same file" if len(set(files)) == 1 else "different files"
    return (
        f"Calls of what takes the calibration examples, for the one dense layer of {model.name}: {'; '.join(told)}. "
        f"The two make {same}. (Keras hooks the method `call` of each layer, and a layer that is being quantized runs "
        "`quantized_call`: where the numbers are 0, both round the weights without having seen an example.)"
    )


def overview(cells: Mapping[str, Mapping[str, Cell]]) -> str:
    """Format what became of each cell: a row for each variant, a column for each model."""
    names = list(dict.fromkeys(name for of_model in cells.values() for name in of_model))
    table = [[f"`{name}`", *(_short(of_model[name]) for of_model in cells.values())] for name in names]
    return _common.table(["variant", *cells], table)


def _short(cell: Cell) -> str:
    if cell.refusal:
        return "refused"
    kept = "as named" if not cell.unkept else "not as named"
    return f"{kept}, {cell.size:.2f}×, {cell.drop:+.2f}"


def details(of_model: Mapping[str, Cell]) -> str:
    """Format one model's cells: size, drop, compute operators with the dtype of their weights, and what is not kept."""
    table = [
        [f"`{name}`", f"{cell.size:.2f}×", f"{cell.drop:+.2f}", compute(cell.census), "; ".join(cell.unkept)]
        for name, cell in of_model.items()
        if not cell.refusal
    ]
    return _common.table(["variant", "size", "drop", "compute operators", "not what its name says"], table)


def compute(found: Census | None) -> str:
    """Count compute operators by name, dtype of weights and precision."""
    operators = {} if found is None else {each.index: each for each in found.compute}
    each = Counter(f"{one.operator} {one.weights or 'activations'} {one.precision}" for one in operators.values())
    return ", ".join(f"{count} {what}" for what, count in sorted(each.items()))


def reasons(cells: Mapping[str, Mapping[str, Cell]]) -> str:
    """List every refusal with the cells it holds for."""
    by_reason: dict[str, list[str]] = {}
    for model, of_model in cells.items():
        for name, cell in of_model.items():
            if cell.refusal:
                by_reason.setdefault(cell.refusal, []).append(f"{model}/{name}")
    return "\n".join(f"- {reason}: {', '.join(f'`{one}`' for one in where)}" for reason, where in by_reason.items())


def main() -> None:
    """Measure, print, and write ``keras3_quantization.md``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", help="comma-separated (default: all)")
    parser.add_argument("--variants", help="comma-separated (default: all of Keras 3)")
    parser.add_argument("--examples", type=int, default=EXAMPLES, help="test examples (default: %(default)s)")
    parser.add_argument("--report-dir", type=Path, default=Path("reports/keras3_quantization"))
    given = parser.parse_args()
    models = load_models(RunOptions().model_dir)
    names = pick(given.variants, VARIANTS, "--variants")
    machine = f"{_common.machine()} Keras {package_version('keras')}."
    cells: dict[str, dict[str, Cell]] = {}
    for name in pick(given.models, models, "--models"):
        cells[name] = all_cells(models[name], names, Store(default_root()), given.examples)
    words = (__doc__ or "").strip().split("\n\n")[-1].replace("\n", " ")
    parts = ["# Keras 3's own quantization in LiteRT", words, machine]
    parts += [f"Size against float32, and drop from it in the metric's unit, on {given.examples:,} examples:"]
    parts += [overview(cells), "## Refused", reasons(cells) or "None."]
    if ONE_DENSE in cells:
        parts += ["## Calibration of GPTQ and AWQ", calibration(models[ONE_DENSE], Store(default_root()))]
    for name, of_model in cells.items():
        parts += [f"## {name}", f"Drop in {models[name].metric.unit}.", details(of_model)]
    _common.write(given.report_dir, "keras3_quantization.md", parts)


if __name__ == "__main__":
    _common.quietly(main)
