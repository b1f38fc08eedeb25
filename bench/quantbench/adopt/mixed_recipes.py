"""Write the recipe of an artifact that was tuned, and say what of a recipe fits a model."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from quantbench.core.arrays import chunks, rows
from quantbench.core.environment import package_version
from quantbench.core.renamed import installed_name
from quantbench.errors import BadInput
from quantbench.records import MixedGroup, MixedRecipe, SeenDrop
from quantbench.reference.model import ReferenceModel
from quantbench.tflite.graph import Operator
from quantbench.variants import VARIANTS, tuned
from quantbench.variants.settings import SETTINGS, is_static, weights_of


def recipe_of(
    model: ReferenceModel,
    float_artifact: bytes,
    artifact: bytes,
    chosen: Mapping[int, str],
    variant: str = "",
    judged: SeenDrop | None = None,
) -> MixedRecipe:
    """Return the recipe of an artifact.

    Args:
        chosen: position -> setting; none where it is of a fixed variant.
        variant: name of the fixed one.
    """
    packages = VARIANTS[variant].packages if variant else VARIANTS[tuned.TUNED].packages
    static = any(is_static(name) for name in chosen.values()) or (
        bool(variant) and "calibration" in VARIANTS[variant].taxonomy.range
    )
    return MixedRecipe(
        made_with={installed_name(name): package_version(name) for name in ("quantbench", *packages)},
        model_sha256=model.weights_sha256,
        float_sha256=hashlib.sha256(float_artifact).hexdigest(),
        calibration_sha256=calibration_sha256(model) if static else None,
        variant=variant,
        operators=[] if variant else tuned.listed(tuned.operators_of(float_artifact), chosen),
        artifact_sha256=hashlib.sha256(artifact).hexdigest(),
        artifact_bytes=len(artifact),
        judged=judged,
    ).sealed()


def calibration_sha256(model: ReferenceModel) -> str | None:
    """Hash the calibration examples; None where there are none."""
    split = model.pack().calibration
    if split is None:
        return None
    found = hashlib.sha256()
    for part in chunks(split.x):
        some = rows(split.x, part)
        for name, values in sorted(some.items()) if isinstance(some, dict) else [("", some)]:
            found.update(f"{name} {values.dtype.str} {values.shape}".encode())
            found.update(np.ascontiguousarray(values).tobytes())
    return found.hexdigest()


def check_fits(recipe: MixedRecipe, path: Path, operators: Sequence[Operator], model: str) -> None:
    """Raise BadInput where a recipe is of another architecture, or names a setting that is not known."""
    if words := tuned.mismatch(recipe, operators):
        raise BadInput(f"{path}: the recipe is of another model than {model} ({words}); tune it with quantbench tune")
    unknown = sorted({name for name in recipe.settings().values() if name not in SETTINGS})
    if unknown or (recipe.variant and recipe.variant not in VARIANTS):
        what = f"the variant {recipe.variant}" if recipe.variant else f"the setting {unknown[0]}"
        raise BadInput(f"{path}: the recipe names {what}, which this quantbench does not make; tune the model again")


def groups_of(operators: Sequence[Operator], chosen: Mapping[int, str]) -> list[MixedGroup]:
    """Return what the operators got that have weights or a setting, by setting in the order of the graph."""
    held: dict[str, list[str]] = {}
    for place, one in enumerate(operators):
        setting = chosen.get(place, "float")
        if setting != "float" or weights_of(one) is not None:
            name = one.outputs[0].name.partition(";")[0] if one.outputs else ""
            held.setdefault(setting, []).append(f"{one.name} {place} {name}".strip())
    return [
        MixedGroup(setting=name, words=SETTINGS[name].words if name in SETTINGS else "float32", operators=found)
        for name, found in held.items()
    ]
