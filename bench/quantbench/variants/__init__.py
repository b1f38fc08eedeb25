"""Declare the variants, by family: each turns a float Keras model into a ``.tflite`` file."""

from collections.abc import Iterable, Mapping
from typing import TypeVar

from quantbench.records import FLOAT_CONTROL
from quantbench.reference.model import ReferenceModel
from quantbench.variants import aeq, aeq_recipes, built, collaborative, keras3, mixed, ptq, qat, tuned
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
    "by_training",
    "known",
    "of_every_model",
    "offered",
    "variant_of",
]


Known = TypeVar("Known")


class Table(dict[str, Variant]):
    """Map name -> variant; what a model's list of artifacts names is no key, and is found all the same.

    Only what holds for every such artifact is known here: see :func:`variant_of` for the one of a model.
    """

    def __missing__(self, name: str) -> Variant:
        if built.is_built(name):
            return built.variant(name)
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (isinstance(name, str) and built.is_built(name))


def _by_name(*families: list[Variant]) -> dict[str, Variant]:
    named: dict[str, Variant] = {}
    for variant in (variant for family in families for variant in family):
        if variant.name in named:
            raise ValueError(f"variant {variant.name} is declared twice")
        named[variant.name] = variant
    return named


VARIANTS: dict[str, Variant] = Table(
    _by_name(
        ptq.VARIANTS,
        aeq.VARIANTS,
        aeq_recipes.VARIANTS,
        mixed.VARIANTS,
        [tuned.VARIANT],
        qat.VARIANTS,
        collaborative.VARIANTS,
        keras3.VARIANTS,
    )
)


def known(models: Iterable[ReferenceModel]) -> dict[str, Variant]:
    """Return every variant that one of these models may have, artifacts built elsewhere last.

    Raises:
        BadInput: a list of artifacts cannot be read.
    """
    own = [built.of_model(model, VARIANTS) for model in models]
    return {**VARIANTS, **{name: one for each in own for name, one in each.items()}}


def variant_of(model: ReferenceModel, name: str) -> Variant:
    """Return a variant as it is made of a model: of its recipe, or of its list of artifacts, where it is made by one.

    Raises:
        BadInput: the recipe or the list beside the model cannot be read.
    """
    if built.is_built(name):
        return built.of_model(model, VARIANTS).get(name, built.variant(name))
    return tuned.of_model(model, VARIANTS) if name == TUNED else VARIANTS[name]


def of_every_model() -> list[str]:
    """Return the names of the variants that need no recipe of the model's own."""
    return [name for name in VARIANTS if name != TUNED]


def offered(model: ReferenceModel) -> list[str]:
    """Return the names of the variants that a model is measured in where none are named."""
    fixed = [name for name in VARIANTS if name != TUNED or tuned.recipe_file(model).is_file()]
    return [*fixed, *built.of_model(model, VARIANTS)]


def by_training(variant: str, found: Mapping[str, Known]) -> tuple[list[Known], list[Known]]:
    """Split what is known of a model's trained cells: of those that train as this variant does, and of the others.

    Variants that no longer exist, which an older run may name, are alike.
    """
    kinds = {name: VARIANTS[name].training if name in VARIANTS else "" for name in (*found, variant)}
    alike = [one for name, one in found.items() if kinds[name] == kinds[variant]]
    return alike, [one for name, one in found.items() if kinds[name] != kinds[variant]]
