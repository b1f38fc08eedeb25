"""Define the recipe of a mixed artifact: what each operator of a float model gets, and what it was made with.

The file has a version of its own. Its last field is a hash of all others, so that an edit by hand is noticed: the
artifact's hash in it would no longer be that of what the recipe makes.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from quantbench import files
from quantbench.errors import BadInput
from quantbench.records._common import Record
from quantbench.records._json_text import flat, json_text, rounded

RECIPE_VERSION = "1.0"
LARGEST_RECIPE = 16 * 2**20  # bytes; a line an operator, of which the largest models have some ten thousand
IN_FLOAT = "float"  # the setting of an operator that is left as it is
SHA256 = r"^[0-9a-f]{64}$"


class MixedOperator(Record):
    """Say what one operator of the float model's main graph gets.

    Attributes:
        position: among the operators of that graph; with ``operator`` and ``shape`` it names the operator, as training
            changes neither, while names of tensors follow those of layers.
        operator: name of the builtin.
        shape: of its first output.
        tensor: name of its first output when the recipe was made, for people.
        setting: ``float``, or a name of :mod:`quantbench.variants.settings`.
    """

    position: int = Field(ge=0)
    operator: str
    shape: list[int]
    tensor: str = ""
    setting: str


class SeenDrop(Record):
    """Say how an artifact did on the examples that its search never saw.

    Attributes:
        metric, unit: of the model's first output.
        limit, drop, low, high: in that unit; the interval is two-sided.
        examples: number of them; 0 where it was not judged.
    """

    metric: str
    unit: str
    limit: float
    drop: float
    low: float | None = None
    high: float | None = None
    examples: int = Field(ge=0)


class MixedRecipe(Record):
    """Specify a mixed artifact so that it can be made again, byte for byte, or for a retrained model.

    Attributes:
        made_with: package -> version, of what decides the bytes.
        model_sha256: of the saved float model, or of a reference model's weights.
        float_sha256: of the float ``.tflite`` that was quantized.
        calibration_sha256: of the calibration examples; None where no range was found on any.
        ranges: how ranges of activations were found: ``averaged`` over examples or ``widest``.
        variant: name of the fixed variant that the artifact is of; empty where operators were chosen one by one.
        operators: every operator of the main graph; none where it is a fixed variant.
        artifact_sha256, artifact_bytes: of what was made of that float model.
        judged: how it did; None where the search was stopped before that was known.
        sha256: of all other fields.
    """

    kind: Literal["recipe"] = "recipe"
    recipe_version: str = RECIPE_VERSION
    made_with: dict[str, str]
    model_sha256: str = Field(pattern=SHA256)
    float_sha256: str = Field(pattern=SHA256)
    calibration_sha256: str | None = Field(default=None, pattern=SHA256)
    ranges: Literal["averaged", "widest"] = "averaged"
    variant: str = ""
    operators: list[MixedOperator]
    artifact_sha256: str = Field(pattern=SHA256)
    artifact_bytes: int = Field(ge=1)
    judged: SeenDrop | None = None
    sha256: str = ""

    def sealed(self) -> "MixedRecipe":
        """Return the recipe with its hash."""
        return self.model_copy(update={"sha256": _seal(self)})

    def settings(self) -> dict[int, str]:
        """Return position -> setting of the operators that are not left in float."""
        return {one.position: one.setting for one in self.operators if one.setting != IN_FLOAT}


def _seal(recipe: MixedRecipe) -> str:
    held = rounded(recipe.model_dump(mode="json", exclude={"sha256"}, exclude_none=True))
    return hashlib.sha256(flat(held).encode()).hexdigest()


def recipe_text(recipe: MixedRecipe) -> str:
    """Return the text of a recipe file, sealed."""
    return json_text(rounded(recipe.sealed().model_dump(mode="json", exclude_none=True))) + "\n"


def read_recipe(path: Path, follow: bool = True) -> MixedRecipe:
    """Read a recipe file.

    Args:
        follow: whether a person named this very file, which may then be a link.

    Raises:
        BadInput: it is not found, no recipe, of another version, or was edited.
    """
    return parsed_recipe(files.read_text(path, "recipe", LARGEST_RECIPE, follow=follow), path)


def parsed_recipe(text: str, path: Path) -> MixedRecipe:
    """Read the text of a recipe file.

    Args:
        path: of the file, for messages.

    Raises:
        BadInput: see :func:`read_recipe`.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: recipe is not JSON ({error}); make it again with quantbench tune") from None
    if not isinstance(data, dict) or data.get("kind") != "recipe":
        found = data.get("kind") if isinstance(data, dict) else type(data).__name__
        raise BadInput(f"{path}: field 'kind': expected 'recipe', found {found!r}; give a file of quantbench tune")
    _check_version(data.get("recipe_version"), path)
    try:
        recipe = MixedRecipe.model_validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "(whole file)"
        raise BadInput(
            f"{path}: recipe: field '{field}': {first['msg']}, found {repr(first.get('input'))[:60]}; make it again "
            "with quantbench tune"
        ) from None
    if recipe.sha256 != _seal(recipe):
        raise BadInput(
            f"{path}: field 'sha256': the recipe was edited after it was made, so that its hashes and figures are of "
            "another artifact; restore it, or make a new one with quantbench tune"
        )
    return recipe


def _check_version(version: object, path: Path) -> None:
    if not isinstance(version, str) or not re.fullmatch(r"[0-9]{1,4}\.[0-9]{1,4}", version):
        raise BadInput(
            f"{path}: field 'recipe_version': expected a version like {RECIPE_VERSION!r}, found {version!r}; give a "
            "file of quantbench tune"
        )
    if [int(part) for part in version.split(".")] > [int(part) for part in RECIPE_VERSION.split(".")]:
        raise BadInput(
            f"{path}: field 'recipe_version': {version} is newer than this quantbench reads ({RECIPE_VERSION}); "
            "upgrade quantbench"
        )
