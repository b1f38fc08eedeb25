"""Make the artifact of a recipe again: the command ``quantbench tune MODEL --recipe FILE``."""

from collections.abc import Callable
from pathlib import Path

from quantbench import files
from quantbench.adopt import candidates, mixed_recipes, understand
from quantbench.adopt.candidates import Tried
from quantbench.adopt.prepared import Prepared, prepare
from quantbench.adopt.tuning import ARTIFACT, RECIPE, artifact_record
from quantbench.adopt.workshop import Made, Refused, Workshop
from quantbench.core.signals import undisturbed
from quantbench.errors import BadInput, Exit, full_disk_named
from quantbench.records import MixedRecipe, recipe_text
from quantbench.report.tuning import rebuilt
from quantbench.variants import FLOAT_CONTROL, of_every_model, tuned

Say = Callable[[str], None]


def rebuild(
    given: understand.Given, recipe: MixedRecipe, path: Path, folder: Path, report_dir: Path, say: Say
) -> tuple[Exit, str]:
    """Make the artifact of a recipe for this model, and score it on the examples that no search saw.

    Returns:
        The exit status, and what to say.

    Raises:
        BadInput: the recipe is of another architecture; see :func:`tune` too.
    """
    if recipe.variant and recipe.variant not in of_every_model():
        mixed_recipes.check_fits(recipe, path, [], given.model)
    variants = [FLOAT_CONTROL, *([recipe.variant] if recipe.variant else [])]
    prepared, status = prepare(given, folder, report_dir, variants, say)
    if prepared is None:
        return status, ""
    float_artifact, places = prepared.artifact(FLOAT_CONTROL), prepared.judging.places
    mixed_recipes.check_fits(recipe, path, tuned.operators_of(float_artifact), given.model)
    model = prepared.understood.model
    try:
        if recipe.variant:
            made = _of_fixed(prepared, recipe.variant)
        else:
            with Workshop(model, float_artifact, prepared.searching.places, recipe.ranges) as workshop:
                made = workshop.made(recipe.settings(), places)
    except Refused as refusal:
        raise BadInput(f"{path}: the recipe cannot be made for {given.model}: {refusal}") from None
    tried = Tried(recipe.variant, len(made.artifact), len(made.artifact), 0.0, 0.0, recipe.settings())
    verdict = candidates.judgement(tried, prepared.judging, made.predictions)
    fresh = mixed_recipes.recipe_of(model, float_artifact, made.artifact, recipe.settings(), recipe.variant)
    fresh = fresh.model_copy(update={"ranges": recipe.ranges}).sealed()
    target = prepared.session.folder.path
    with undisturbed(), full_disk_named(target):
        files.replace(target / ARTIFACT, made.artifact)
        files.replace(target / RECIPE, recipe_text(fresh))
    answer = rebuilt(recipe, fresh, artifact_record(tried, verdict), prepared.outputs[0], str(target / ARTIFACT))
    return (Exit.GREEN if verdict.verdict == "within" else Exit.REGRESSED), answer


def _of_fixed(prepared: Prepared, variant: str) -> Made:
    if variant not in prepared.fixed:
        raise Refused(f"{variant} could not be made, or not as it is specified")
    places = prepared.judging.places
    predictions = {output: values[places] for output, values in prepared.predictions[variant].items()}
    return Made(prepared.artifact(variant), predictions)
