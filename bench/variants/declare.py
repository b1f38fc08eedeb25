"""How a variant is declared: its name, engine, needs, taxonomy, and the function that makes it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from bench.datasets import Inputs
from bench.reference import ReferenceModel

FLOAT_CONTROL = "float32"
FINETUNED_CONTROL = "float32_finetuned"


class Workbench(Protocol):
    """What a variant's ``make`` function works with; :mod:`bench.build` implements it."""

    model: ReferenceModel
    seed: int

    def tensorflow(self) -> Any:
        """TensorFlow, imported as this project needs it."""

    def float_model(self) -> Any:
        """A fresh Keras model with the float weights of this run."""

    def saved_float_model(self) -> str:
        """Folder of the float model as a SavedModel with batch size 1, exported once."""

    def export(self, keras_model: Any) -> str:
        """Folder of any Keras model as a SavedModel with batch size 1."""

    def float_artifact(self) -> bytes:
        """The float model as a ``.tflite``."""

    def calibration(self) -> Iterator[Inputs]:
        """Prepared examples of the calibration split, one at a time, batch axis kept."""

    def finetune(self, keras_model: Any) -> None:
        """Train further by the model's ``finetune`` recipe, in place, with this cell's seed."""


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
class Variant:
    """One way of quantizing a reference model.

    Attributes:
        name: decodes: ``ptq_static_wi8_ai8`` = PTQ, static range, weights int8, activations int8.
        description: one line.
        family: ``control``, ``ptq`` or ``qat``; also the pytest marker.
        engine: the tool that quantizes.
        make: workbench -> bytes of a ``.tflite`` file.
        taxonomy: what is quantized, how.
        control: the variant that this one is compared with; None for the float control itself.
        trained: training decides the result, so it has a seed and a spread.
        packages: distributions whose version decides the result.
        timed_in_gate: timed by the pull-request gate too; the others' latency is nightly.
    """

    name: str
    description: str
    family: str
    engine: str
    make: Callable[[Workbench], bytes]
    taxonomy: Taxonomy
    control: str | None = FLOAT_CONTROL
    trained: bool = False
    packages: tuple[str, ...] = ("tensorflow", "tf-keras")
    timed_in_gate: bool = False
