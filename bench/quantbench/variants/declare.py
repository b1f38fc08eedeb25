"""How a variant is declared: its name, engine, needs, taxonomy, promise, and the function that makes it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from quantbench.core.arrays import Inputs
from quantbench.records import FLOAT_CONTROL
from quantbench.reference.model import ReferenceModel

FINETUNED_CONTROL = "float32_finetuned"


class Workbench(Protocol):
    """What a variant's ``make`` function works with; :mod:`quantbench.build.artifact` implements it."""

    model: ReferenceModel
    seed: int

    def tensorflow(self) -> Any:
        """TensorFlow, imported as this project needs it."""

    def float_model(self) -> Any:
        """A fresh Keras model with the float weights of this run."""

    def stage(self, make: "Callable[[Workbench], Any]") -> Any:
        """A fresh float model with the weights of the Keras model that ``make`` trains.

        Trained once for a seed and kept in the store, whatever number of variants start from it.
        """

    def saved_float_model(self) -> str:
        """Folder of the float model as a SavedModel with batch size 1, exported once."""

    def export(self, keras_model: Any) -> str:
        """Folder of any Keras model as a SavedModel with batch size 1."""

    def float_artifact(self) -> bytes:
        """The float model as a ``.tflite``."""

    def calibration(self) -> Iterator[Inputs]:
        """Prepared examples of the calibration split, one at a time, batch axis kept."""

    def finetune(self, keras_model: Any, callbacks: Sequence[Any] = ()) -> None:
        """Train further by the model's ``finetune`` recipe, in place, with this cell's seed."""

    def finetune_steps(self) -> int:
        """Optimizer steps of one ``finetune``, for schedules that need to know."""

    def expect_answers_of(self, keras_model: Any) -> None:
        """Record what the (fake-quantized) model answers on the test split; its artifact has to answer alike."""


@dataclass(frozen=True)
class Taxonomy:
    """A variant in the field's own terms.

    Attributes:
        weights: dtype, granularity, symmetry, uniformity.
        activations: the same of activations.
        range: how the range was chosen.
    """

    weights: str
    activations: str
    range: str


@dataclass(frozen=True)
class Promise:
    """What must hold of an artifact for it to be what its variant's name says; see :mod:`quantbench.gate._promise`.

    *Compute operators* are convolutions, fully connected layers, matrix products and LSTMs.

    Attributes:
        weights: dtype of every covered operator's weights, as the file stores them; None: any.
        computes: precision in which every covered operator computes: ``integer``, ``hybrid`` (float activations,
            integer weights), ``float``; None: any.
        min_elements: weight tensors with fewer elements may stay in float (the converter's dynamic range quantizes none
            below 1,024).
        covers: names of the compute operators that the two above speak of; empty: all of them.
        in_float: least and most compute operators that may compute in float in spite of it.
        granularity: ``per-tensor``: no weight tensor has more than one scale; ``per-channel``: every convolution has
            one a channel; ``blockwise``: some weight tensor has one a block; None: any.
        rotations: rotations of the activations, each a product with a square matrix of +c and -c, may compute in float.
        io: dtype of inputs and outputs; None: any (a model may take whole numbers).
        all_integer: no operator but casts computes in float.
        sparsity: least share of zeros in the kernel of a convolution or fully connected layer; None: any.
        distinct: most distinct values along one channel of such a kernel; None: any.
        compressed: least share of all kernels' weights that lie in kernels which keep ``sparsity`` and ``distinct``:
            tfmot does not compress attention, say, which is made of fully connected operators in the end.
    """

    weights: str | None = None
    computes: Literal["integer", "hybrid", "float"] | None = None
    min_elements: int = 0
    covers: tuple[str, ...] = ()
    in_float: tuple[int, int] = (0, 0)
    granularity: Literal["per-tensor", "per-channel", "blockwise"] | None = None
    rotations: bool = False
    io: str | None = "float32"
    all_integer: bool = False
    sparsity: float | None = None
    distinct: int | None = None
    compressed: float = 0.45


@dataclass(frozen=True)
class Variant:
    """One way of quantizing a reference model.

    Attributes:
        name: decodes: ``ptq_static_wi8_ai8`` = PTQ, static range, weights int8, activations int8.
        description: one line.
        family: ``control``, ``ptq`` or ``qat``; also the pytest marker.
        engine: the tool that quantizes.
        make: workbench -> bytes of a ``.tflite`` file.
        taxonomy: what is quantized, how.
        promise: what the name says, checked on every artifact.
        control: the variant that this one is compared with; None for the float control itself.
        trained: training decides the result, so it has a seed and a spread.
        packages: distributions whose version decides the result.
        gate: on which models the pull-request gate runs it: on ``all``, on those that are ``small`` enough to train in
            the gate, or on none (``nightly``).
        timed_in_gate: timed by the pull-request gate too; the others' latency is nightly.
    """

    name: str
    description: str
    family: str
    engine: str
    make: Callable[[Workbench], bytes]
    taxonomy: Taxonomy
    promise: Promise
    control: str | None = FLOAT_CONTROL
    trained: bool = False
    packages: tuple[str, ...] = ("tensorflow", "tf-keras")
    gate: Literal["all", "small", "nightly"] = "small"
    timed_in_gate: bool = False
