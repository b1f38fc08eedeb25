"""Measure what LiteRT makes of quantization-aware training for Keras 3: HGQ2 and QKeras for Keras 3.

    pip install hgq2 qkeras-v3    # both have a package qkeras: that of qkeras-v3 has to be the one that is found
    python -m studies.keras3_qat --report-dir reports/reference

The model ``seed_cnn`` (convolution, pooling, dense) is built of each tool's layers with 8-bit weights and activations,
starts from the pinned float weights, and is fine-tuned in one pass over some training examples. Then it is converted
in three ways: as the tool leaves it, with the converter's static int8 on top, and by putting its rounded weights into a
plain model, which gets static int8 after training. A file is sound where its compute operators are integer and it
agrees with the model that was trained. All scores are of the first test examples.
"""

import argparse
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from quantbench.build.artifact import StoreWorkbench
from quantbench.build.refusals import raw_words, reason
from quantbench.build.store import Store, default_root
from quantbench.core.arrays import Array, rows
from quantbench.core.options import RunOptions
from quantbench.measure.census import census
from quantbench.reference import float_model
from quantbench.reference.model import ReferenceModel, load_models
from quantbench.tflite.litert import LiteRT
from quantbench.variants import VARIANTS, keras_twin

from studies import _common
from studies.keras3_quantization import compute

MODEL = "seed_cnn"
BITS = 8
INTEGER_BITS = 2  # of activations after the convolution, beside the sign: they reach 4
TRAINED_ON, BATCH, RATE = 4000, 64, 3e-4  # examples, examples a step, learning rate at the start
CALIBRATED_ON = 200
SCORED_ON = 1000


@dataclass(frozen=True)
class Tool:
    """Describe one tool.

    Attributes:
        name: of its distribution.
        module: that it installs.
        build: Keras module -> untrained model of its layers.
        kernels: trained model -> rounded kernels and biases, in the order of a plain model's weights.
    """

    name: str
    module: str
    build: Callable[[Any], Any]
    kernels: Callable[[Any], list[Array]]


def _hgq(keras: Any) -> Any:
    from hgq.config import QuantizerConfig, QuantizerConfigScope
    from hgq.layers import QConv2D, QDense

    # One width for a tensor, and fixed: LiteRT has int8 kernels, and none of 5 bits here and 7 bits there.
    whole = {"homogeneous_axis": None, "heterogeneous_axis": (), "trainable": False}
    with (
        QuantizerConfigScope(q_type="kbi", place="weight", b0=BITS - 1, i0=0, overflow_mode="SAT_SYM", **whole),
        QuantizerConfigScope(q_type="kbi", place="bias", b0=15, i0=2, overflow_mode="SAT_SYM", **whole),
        QuantizerConfigScope(
            q_type="kbi", place="datalane", b0=BITS - 1, i0=INTEGER_BITS, overflow_mode="SAT", **whole
        ),
    ):
        pixels = QuantizerConfig("kbi", "datalane", k0=False, b0=BITS, i0=0, overflow_mode="SAT", **whole)
        image = keras.Input((28, 28, 1))
        x = QConv2D(32, (3, 3), activation="relu", iq_conf=pixels)(image)
        x = keras.layers.Flatten()(keras.layers.MaxPooling2D((2, 2))(x))
        return keras.Model(image, QDense(10, activation="softmax")(x), name="hgq_cnn")


def _hgq_kernels(keras_model: Any) -> list[Array]:
    layers = [layer for layer in keras_model.layers if hasattr(layer, "qkernel")]
    return [np.asarray(part) for layer in layers for part in (layer.qkernel, layer.qbias)]


def _qkeras(keras: Any) -> Any:
    from qkeras.qconvolutional import QConv2D
    from qkeras.qlayers import QActivation, QDense
    from qkeras.quantizers import quantized_bits, quantized_relu

    def weights() -> dict[str, Any]:
        return {
            "kernel_quantizer": quantized_bits(BITS, 0, 1, alpha=1.0),
            "bias_quantizer": quantized_bits(16, 2, 1, alpha=1.0),
        }

    image = keras.Input((28, 28, 1))
    x = QActivation(quantized_relu(BITS, 0))(image)  # pixels are 0 to 1
    x = QConv2D(32, (3, 3), **weights())(x)
    x = QActivation(quantized_relu(BITS, INTEGER_BITS))(x)
    x = keras.layers.Flatten()(keras.layers.MaxPooling2D((2, 2))(x))
    x = QDense(10, **weights())(x)
    return keras.Model(image, keras.layers.Activation("softmax")(x), name="qkeras_cnn")


def _qkeras_kernels(keras_model: Any) -> list[Array]:
    layers = [layer for layer in keras_model.layers if getattr(layer, "kernel_quantizer_internal", None)]
    return [
        np.asarray(quantizer(part))
        for layer in layers
        for quantizer, part in (
            (layer.kernel_quantizer_internal, layer.kernel),
            (layer.bias_quantizer_internal, layer.bias),
        )
    ]


TOOLS = (
    Tool("hgq2", "hgq", _hgq, _hgq_kernels),
    Tool("qkeras-v3", "qkeras", _qkeras, _qkeras_kernels),
)


class Trained:
    """Hold a tool's model, fine-tuned from the pinned weights."""

    def __init__(self, tool: Tool, model: ReferenceModel) -> None:
        self.tool = tool
        self.bench = StoreWorkbench(model, seed=0, train_seed=None, store=Store(default_root()))
        self.keras = keras_twin.keras3(self.bench)
        self.keras.utils.set_random_seed(0)
        self.keras_model = tool.build(self.keras)
        _set(self.keras_model, model.weight_arrays())
        before = _accuracy(self.predicted(), model)
        train = model.pack().train
        assert train is not None
        x, y = model.fit_inputs(rows(train.x, slice(0, TRAINED_ON)), train.y[:TRAINED_ON])
        rate = self.keras.optimizers.schedules.CosineDecay(RATE, -(-len(y) // BATCH))
        self.keras_model.compile(self.keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
        self.keras_model.fit(x, y, batch_size=BATCH, epochs=1, verbose=0)
        self.answers = self.predicted()
        self.scores = before, _accuracy(self.answers, model)

    def predicted(self) -> Array:
        """Return the class of every test example."""
        return np.asarray(np.argmax(self.keras_model.predict(_x(self.bench.model), batch_size=250, verbose=0), axis=1))

    def as_left(self) -> bytes:
        """Convert the model as the tool leaves it."""
        return keras_twin.litert(self.bench, self.keras_model)

    def static(self) -> bytes:
        """Convert the tool's model with static int8 on top."""
        return _static(self.bench, self.keras_model)

    def plain(self) -> bytes:
        """Convert a plain model of the rounded weights with static int8."""
        assert self.bench.model.build is not None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            plain = self.bench.model.build(self.keras)
        plain.set_weights(self.tool.kernels(self.keras_model))
        return _static(self.bench, plain)


def _set(keras_model: Any, arrays: list[Array]) -> None:
    """Assign kernels and biases in order, and leave what the tool adds."""
    layers = [layer for layer in keras_model.layers if getattr(layer, "kernel", None) is not None]
    parts = iter(arrays)
    for layer in layers:
        layer._kernel.assign(next(parts)) if hasattr(layer, "_kernel") else layer.kernel.assign(next(parts))
        layer.bias.assign(next(parts))


def _static(bench: StoreWorkbench, keras_model: Any) -> bytes:
    """Export to a SavedModel and let the converter quantize it, calibrated."""
    tf = bench.tensorflow()
    folder = float_model.temporary_folder()
    keras_model.export(folder, format="tf_saved_model", verbose=False)
    converter = tf.lite.TFLiteConverter.from_saved_model(float_model.with_batch_of_one(folder))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    examples = [x for _, x in zip(range(CALIBRATED_ON), bench.calibration(), strict=False)]
    converter.representative_dataset = lambda: ([x] for x in examples)
    return bytes(converter.convert())


def _x(model: ReferenceModel) -> Any:
    return model.prepare(rows(model.pack().test.x, slice(0, SCORED_ON)))


def _accuracy(classes: Array, model: ReferenceModel) -> float:
    return 100 * float(np.mean(classes == model.pack().test.y[:SCORED_ON]))


_RUN = """
import sys
import numpy as np
from quantbench.tflite.litert import LiteRT
outputs = LiteRT(open(sys.argv[1], "rb").read()).run(np.load(sys.argv[2], allow_pickle=False))
np.save(sys.argv[3], np.argmax(np.asarray(outputs), axis=1))
"""


def _classes(artifact: bytes, model: ReferenceModel) -> Array | None:
    """Run an artifact in a process of its own; None where it crashes."""
    folder = Path(float_model.temporary_folder())
    (folder / "made.tflite").write_bytes(artifact)
    np.save(folder / "x.npy", _x(model))
    paths = [str(folder / name) for name in ("made.tflite", "x.npy", "classes.npy")]
    done = subprocess.run([sys.executable, "-c", _RUN, *paths], capture_output=True)
    return np.asarray(np.load(paths[-1], allow_pickle=False)) if done.returncode == 0 else None


def _row(words: str, made: Callable[[], bytes], answers: Array, model: ReferenceModel, float_size: int) -> list[str]:
    try:
        artifact = made()
        operators = compute(census(artifact))
    except Exception as refused:
        return [words, f"refused: {reason(raw_words(refused))}", "", "", ""]
    classes = _classes(artifact, model)
    if classes is None:
        return [words, operators, f"{len(artifact) / float_size:.2f}×", "LiteRT aborts", ""]
    agreement = 100 * float(np.mean(classes == answers))
    score, size = _accuracy(classes, model), len(artifact) / float_size
    return [words, operators, f"{size:.2f}×", f"{score:.2f} %", f"{agreement:.2f} %"]


def section(tool: Tool, model: ReferenceModel, float_size: int) -> Iterator[str]:
    """Train with one tool and describe what its files are."""
    yield f"## {tool.name}"
    if find_spec(tool.module) is None:
        yield "Not installed."
        return
    trained = Trained(tool, model)
    before, after = trained.scores
    yield (
        f"Version {metadata.version(tool.name)}. Accuracy in Keras, quantized: {before:.2f} % before fine-tuning, "
        f"{after:.2f} % after it."
    )
    ways = {
        "as the tool leaves it": trained.as_left,
        "static int8 on top": trained.static,
        "its rounded weights in a plain model, static int8": trained.plain,
    }
    measured = [_row(words, made, trained.answers, model, float_size) for words, made in ways.items()]
    headers = ["converted", "compute operators", "size", "accuracy", "same class as the trained model"]
    yield _common.table(headers, measured)


def main() -> None:
    """Train, convert, and write ``keras3_qat.md``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--report-dir", type=Path, default=Path("reports/keras3_qat"))
    given = parser.parse_args()
    model = load_models(RunOptions().model_dir)[MODEL]
    machine = _common.machine()
    words = (__doc__ or "").strip().split("\n\n")[-1].replace("\n", " ")
    parts = ["# Quantization-aware training for Keras 3", words, machine]
    float32 = _common.artifact(model, "float32").read_bytes()
    measured = []
    for name in ("float32", "ptq_static_wi8_ai8", "qat_wi8_ai8"):
        artifact = _common.artifact(model, name).read_bytes()
        score = _accuracy(np.argmax(np.asarray(LiteRT(artifact).run(_x(model))), axis=1), model)
        operators = compute(census(artifact))
        measured.append(
            [f"`{name}`", VARIANTS[name].engine, operators, f"{len(artifact) / len(float32):.2f}×", f"{score:.2f} %"]
        )
    parts += [
        "What this project has:",
        _common.table(["variant", "engine", "compute operators", "size", "accuracy"], measured),
    ]
    for tool in TOOLS:
        parts += section(tool, model, len(float32))
    _common.write(given.report_dir, "keras3_qat.md", parts)


if __name__ == "__main__":
    _common.quietly(main)
