"""Make the artifact of a recipe that ``quantbench tune`` wrote, which lies beside its model's file.

The recipe names operators by their place in the float graph, which is the same after another training.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from quantbench import files
from quantbench.core.renamed import QUANTIZER
from quantbench.errors import Unsupported
from quantbench.records import IN_FLOAT, MixedOperator, MixedRecipe, parsed_recipe
from quantbench.records import _recipe as recipes
from quantbench.reference.model import ReferenceModel
from quantbench.tflite.graph import Operator, read
from quantbench.variants import aeq, settings
from quantbench.variants.declare import QuantizationSpec, Taxonomy, Variant, Workbench

TUNED = "tuned"
ENDING = ".recipe.json"
NO_RECIPE = "the model has no recipe: quantbench tune makes one, and adopt --recipe puts it beside the model"
BY_RECIPE = "by operator, as its recipe says"


def recipe_file(model: ReferenceModel) -> Path:
    """Return where the recipe of a model is, if it has one."""
    return model.file.with_name(f"{model.name}{ENDING}")


def operators_of(float_artifact: bytes) -> list[Operator]:
    """Return the operators of the main graph, which are those that a recipe names."""
    return list(read(float_artifact).main().operators)


def listed(operators: Sequence[Operator], chosen: Mapping[int, str]) -> list[MixedOperator]:
    """Return all operators as a recipe lists them."""
    return [
        MixedOperator(
            position=place,
            operator=one.name,
            shape=_shape(one),
            tensor=one.outputs[0].name if one.outputs else "",
            setting=chosen.get(place, IN_FLOAT),
        )
        for place, one in enumerate(operators)
    ]


def _shape(operator: Operator) -> list[int]:
    return list(operator.outputs[0].shape) if operator.outputs else []


def mismatch(recipe: MixedRecipe, operators: Sequence[Operator]) -> str:
    """Say where a graph is not the one that a recipe was made for; empty where it is, whatever its weights."""
    if recipe.variant:
        return ""
    for one, found in zip(recipe.operators, operators, strict=False):
        if (one.operator, one.shape) != (found.name, _shape(found)):
            there, here = f"{one.operator} of shape {one.shape}", f"{found.name} of shape {_shape(found)}"
            return f"operator {one.position} was {there}, and is {here}"
    if len(recipe.operators) != len(operators):
        return f"it was made for {len(recipe.operators)} operators, and the model has {len(operators)}"
    return ""


def quantized(
    bench: Workbench,
    float_artifact: bytes,
    operators: Sequence[Operator],
    chosen: Mapping[int, str],
    ranges: str = "averaged",
    statistics: Any = None,
) -> bytes:
    """Quantize each operator as chosen; without any, the float artifact itself is the result.

    Args:
        statistics: of every operator that may be static, see :func:`statistics_of`; collected now where None.
    """
    if not chosen:
        return float_artifact
    if statistics is None and any(settings.is_static(name) for name in chosen.values()):
        statistics = statistics_of(bench, float_artifact, operators, ranges)
    return aeq.by_rules(float_artifact, settings.rules(operators, chosen), statistics)


def statistics_of(bench: Workbench, float_artifact: bytes, operators: Sequence[Operator], ranges: str) -> Any:
    """Collect the ranges of the activations of every operator that may be static, whichever are in the end."""
    everything = settings.everything_static(operators, list(settings.SETTINGS))
    return aeq.calibrated(bench, float_artifact, everything, widest=ranges == "widest")


def of_recipe(bench: Workbench, recipe: MixedRecipe) -> bytes:
    """Make the artifact of a recipe.

    Raises:
        Unsupported: the model is of another architecture.
    """
    float_artifact = bench.float_artifact()
    operators = operators_of(float_artifact)
    if words := mismatch(recipe, operators):
        raise Unsupported(f"its recipe is of another architecture ({words}): tune this model with quantbench tune")
    return quantized(bench, float_artifact, operators, recipe.settings(), recipe.ranges)


def _without_recipe(_bench: Workbench) -> bytes:
    raise Unsupported(NO_RECIPE)


def _maker(text: str, path: str) -> Callable[[Workbench], bytes]:
    """Return what makes the artifact; the recipe's text is part of the cache key, as the function holds it."""

    def make(bench: Workbench) -> bytes:
        return of_recipe(bench, parsed_recipe(text, Path(path)))

    return make


VARIANT = Variant(
    TUNED,
    "each operator as the model's own recipe says, which quantbench tune makes",
    "ptq",
    QUANTIZER,
    _without_recipe,
    Taxonomy(BY_RECIPE, BY_RECIPE, BY_RECIPE),
    QuantizationSpec(io=None),
    packages=aeq.PACKAGES,
    gate="all",
    timed_in_gate=True,
)


def of_model(model: ReferenceModel, fixed: Mapping[str, Variant]) -> Variant:
    """Return the variant as a model's recipe specifies it; without a recipe, one that says so when it is made.

    Args:
        fixed: the other variants; a recipe may name one of them.

    Raises:
        BadInput: the recipe cannot be read.
    """
    path = recipe_file(model)
    if not path.is_file():
        return VARIANT
    text = files.read_text(path, "recipe", recipes.LARGEST_RECIPE)
    recipe = parsed_recipe(text, path)
    if not recipe.variant:
        return replace(VARIANT, make=_maker(text, path.name))
    if recipe.variant not in fixed or fixed[recipe.variant].trained:
        return replace(VARIANT, make=_unknown(recipe.variant))
    same = fixed[recipe.variant]
    return replace(VARIANT, engine=same.engine, make=same.make, packages=same.packages)


def _unknown(name: str) -> Callable[[Workbench], bytes]:
    def make(_bench: Workbench) -> bytes:
        raise Unsupported(f"its recipe names the variant {name}, which this quantbench does not make")

    return make
