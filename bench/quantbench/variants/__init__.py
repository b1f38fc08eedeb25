"""Declare the variants, by family: each turns a float Keras model into a ``.tflite`` file."""

from quantbench.records import FLOAT_CONTROL
from quantbench.reference.model import ReferenceModel
from quantbench.variants import aeq, collaborative, keras3, mixed, ptq, qat, tuned
from quantbench.variants.declare import FINETUNED_CONTROL, Taxonomy, Variant, Workbench
from quantbench.variants.tuned import TUNED

__all__ = [
    "FINETUNED_CONTROL",
    "FLOAT_CONTROL",
    "TUNED",
    "VARIANTS",
    "Taxonomy",
    "Variant",
    "Workbench",
    "of_every_model",
    "offered",
    "variant_of",
]


def _by_name(*families: list[Variant]) -> dict[str, Variant]:
    named: dict[str, Variant] = {}
    for variant in (variant for family in families for variant in family):
        if variant.name in named:
            raise ValueError(f"variant {variant.name} is declared twice")
        named[variant.name] = variant
    return named


VARIANTS: dict[str, Variant] = _by_name(
    ptq.VARIANTS,
    aeq.VARIANTS,
    mixed.VARIANTS,
    [tuned.VARIANT],
    qat.VARIANTS,
    collaborative.VARIANTS,
    keras3.VARIANTS,
)


def variant_of(model: ReferenceModel, name: str) -> Variant:
    """Return a variant as it is made of a model: of its recipe, where it is made by one.

    Raises:
        BadInput: the recipe beside the model cannot be read.
    """
    return tuned.of_model(model, VARIANTS) if name == TUNED else VARIANTS[name]


def of_every_model() -> list[str]:
    """Return the names of the variants that need no recipe of the model's own."""
    return [name for name in VARIANTS if name != TUNED]


def offered(model: ReferenceModel) -> list[str]:
    """Return the names of the variants that a model is measured in where none are named."""
    return [name for name in VARIANTS if name != TUNED or tuned.recipe_file(model).is_file()]
