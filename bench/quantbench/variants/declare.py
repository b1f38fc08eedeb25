"""Declare a variant: its name, engine, needs, taxonomy, quantization spec, and the function that makes it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from quantbench.core.arrays import Inputs
from quantbench.records import FLOAT_CONTROL
from quantbench.reference.model import ReferenceModel

FINETUNED_CONTROL = "float32_finetuned"
# How a variant trains: with its weights free, or restricted to few values. Scores of one kind spread alike over seeds.
# In most models restricted cells spread further than free ones, in the others no further; within the kinds no model's
# cells differ beyond chance (studies.training_kinds: reports/reference/training_kinds.md).
Training = Literal["", "free", "restricted"]


class Workbench(Protocol):
    """Offer what a variant's ``make`` function needs; :mod:`quantbench.build.artifact` implements it."""

    model: ReferenceModel
    seed: int

    def tensorflow(self) -> Any:
        """Import TensorFlow with this project's settings."""

    def float_model(self) -> Any:
        """Build a new Keras model with the float weights of this run."""

    def stage(self, make: "Callable[[Workbench], Any]") -> Any:
        """Build a new float model with the weights of the Keras model that ``make`` trains.

        Trained once per seed and cached, for all variants that start from it.
        """

    def saved_float_model(self) -> str:
        """Export the float model as a SavedModel with batch size 1, once; return its folder."""

    def export(self, keras_model: Any) -> str:
        """Export any Keras model as a SavedModel with batch size 1; return its folder."""

    def float_artifact(self) -> bytes:
        """Return the float model as a ``.tflite``."""

    def calibration(self) -> Iterator[Inputs]:
        """Yield prepared examples of the calibration split, one at a time, with the batch axis."""

    def finetune(self, keras_model: Any, callbacks: Sequence[Any] = ()) -> None:
        """Train further by the model's ``finetune`` recipe, in place, with this cell's seed."""

    def finetune_steps(self) -> int:
        """Count the optimizer steps of one ``finetune``, for schedules."""

    def expect_answers_of(self, keras_model: Any) -> None:
        """Record the (fake-quantized) model's outputs on the test split, which its artifact must agree with."""


@dataclass(frozen=True)
class Taxonomy:
    """Describe a variant in the field's own terms.

    Attributes:
        weights: dtype, granularity, symmetry, uniformity.
        activations: the same for activations.
        range: how the range was chosen.
    """

    weights: str
    activations: str
    range: str


@dataclass(frozen=True)
class QuantizationSpec:
    """Specify what an artifact of a variant must look like; see :mod:`quantbench.gate._quantization_spec`.

    *Compute operators* are convolutions, fully connected layers, matrix products and LSTMs.

    Attributes:
        weights: dtype of every covered operator's weights, as the file stores them; None: any.
        computes: precision in which every covered operator computes: ``integer``, ``hybrid`` (float activations,
            integer weights), ``float``; None: any.
        min_elements: weight tensors with fewer elements may stay in float (the converter's dynamic range quantizes none
            below 1,024).
        covers: names of the compute operators that ``weights`` and ``computes`` apply to; empty: all of them.
        in_float: least and greatest number of compute operators that may compute in float nevertheless.
        granularity: ``per-tensor``: no weight tensor has more than one scale; ``per-channel``: every convolution has
            one per channel; ``blockwise``: some weight tensor has one per block; None: any.
        stored: dtype that some constant of the file has, where weights are expanded by operators before they are used:
            the compute operator itself then shows no weights; None: any.
        rotations: whether rotations of the activations, products with a square matrix of +c and -c, may be in float.
        activations: dtype of integer activations but inputs and outputs; a variant's follows from its name; None: any.
        io: dtype of inputs and outputs; None: any (a model may take integers).
        all_integer: whether no operator but casts may compute in float.
        sparsity: least share of zeros in the kernel of a convolution or fully connected layer; None: any.
        distinct: greatest number of distinct values along one channel of such a kernel; None: any.
        compressed: least share of all kernels' weights in kernels that meet ``sparsity`` and ``distinct``: tfmot does
            not compress attention, for example, which becomes fully connected operators.
    """

    weights: str | None = None
    computes: Literal["integer", "hybrid", "float"] | None = None
    min_elements: int = 0
    covers: tuple[str, ...] = ()
    in_float: tuple[int, int] = (0, 0)
    granularity: Literal["per-tensor", "per-channel", "blockwise"] | None = None
    stored: str | None = None
    rotations: bool = False
    activations: Literal["int8", "int16"] | None = None
    io: str | None = "float32"
    all_integer: bool = False
    sparsity: float | None = None
    distinct: int | None = None
    compressed: float = 0.45

    @property
    def restricts_weights(self) -> bool:
        """Return whether the weights are pruned, or trained on a limited number of distinct values: clustered, or int4.

        256 clusters are as many values as int8 has, but they are found in training and shared as centroids.
        """
        return self.sparsity is not None or self.distinct is not None


@dataclass(frozen=True)
class Variant:
    """Declare one way of quantizing a reference model.

    Attributes:
        name: systematic: ``ptq_static_wi8_ai8`` = PTQ, static range, weights int8, activations int8.
        description: one line.
        family: ``control``, ``ptq`` or ``qat``; also the pytest marker.
        engine: the tool that quantizes.
        make: workbench -> bytes of a ``.tflite`` file.
        taxonomy: what is quantized, and how.
        promise: the quantization spec that every artifact is checked against.
        control: the variant that this one is compared with; None for the float control itself.
        trained: whether training decides the result, so that it has a seed and a spread.
        packages: distributions whose version decides the result.
        gate: models on which the pull-request gate runs it: ``all``, those ``small`` enough to train in the gate, or
            none (``nightly``).
        compiled: accelerator that its artifact is compiled for, so that nothing here runs it; empty of all others.
        timed_in_gate: whether the pull-request gate times it too; the nightly run times all variants.
    """

    name: str
    description: str
    family: str
    engine: str
    make: Callable[[Workbench], bytes]
    taxonomy: Taxonomy
    promise: QuantizationSpec
    control: str | None = FLOAT_CONTROL
    trained: bool = False
    packages: tuple[str, ...] = ("tensorflow", "tf-keras")
    gate: Literal["all", "small", "nightly"] = "small"
    timed_in_gate: bool = False
    compiled: str = ""

    def __post_init__(self) -> None:
        """Take the dtype of the activations from the name."""
        of_name: Mapping[str, Literal["int8", "int16"]] = {"ai8": "int8", "ai16": "int16"}
        named = next((of_name[word] for word in self.name.split("_") if word in of_name), None)
        if named is not None and self.promise.activations is None:
            object.__setattr__(self, "promise", replace(self.promise, activations=named))

    @property
    def training(self) -> Training:
        """Return how it trains, which decides how far the scores of its seeds lie apart."""
        if not self.trained:
            return ""
        return "restricted" if self.promise.restricts_weights else "free"

    @property
    def trains_keras2(self) -> bool:
        """Return whether it trains a Keras 2 model, which needs tf-keras."""
        return self.trained and "tf-keras" in self.packages
