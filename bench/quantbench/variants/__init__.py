"""Declare the variants, by family: each turns a float Keras model into a ``.tflite`` file."""

from quantbench.records import FLOAT_CONTROL
from quantbench.variants import aeq, collaborative, mixed, ptq, qat
from quantbench.variants.declare import FINETUNED_CONTROL, Taxonomy, Variant, Workbench

__all__ = ["FINETUNED_CONTROL", "FLOAT_CONTROL", "VARIANTS", "Taxonomy", "Variant", "Workbench"]


def _by_name(*families: list[Variant]) -> dict[str, Variant]:
    named: dict[str, Variant] = {}
    for variant in (variant for family in families for variant in family):
        if variant.name in named:
            raise ValueError(f"variant {variant.name} is declared twice")
        named[variant.name] = variant
    return named


VARIANTS: dict[str, Variant] = _by_name(
    ptq.VARIANTS, aeq.VARIANTS, mixed.VARIANTS, qat.VARIANTS, collaborative.VARIANTS
)
