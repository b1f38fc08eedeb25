"""Take an artifact that another tool has built into the store; none of our tools is loaded for it."""

import json
from pathlib import Path

from quantbench.build.artifact import ARTIFACT, FACTS, STEPS, Built, ingredients
from quantbench.build.store import Store
from quantbench.reference.datasets import file_sha256
from quantbench.reference.model import ReferenceModel
from quantbench.variants import Variant, Workbench, built

COMPILED = "compiled.json"


def artifact(model: ReferenceModel, variant: Variant, seed: int, train_seed: int | None, store: Store) -> Built:
    """Return the artifact of a cell, from the store or read now.

    Raises:
        BadInput: its file is not there, or cannot be read.
    """

    def make() -> dict[str, bytes]:
        content = variant.make(_no_workbench())
        made = {ARTIFACT: content, STEPS: b"0", FACTS: json.dumps([]).encode()}
        if variant.compiled:
            made[COMPILED] = json.dumps(built.figures(model, variant, content)).encode()
        return made

    return store.remember(ingredients(model, variant, seed, train_seed), make, _built)


def _built(folder: Path, cached: bool) -> Built:
    return Built(folder / ARTIFACT, file_sha256(folder / ARTIFACT), None, cached)


def figures(folder: Path) -> dict[str, int]:
    """Return what is known of a compiled artifact besides its size, from its folder in the store."""
    return {name: int(value) for name, value in json.loads((folder / COMPILED).read_text(encoding="utf-8")).items()}


def _no_workbench() -> Workbench:
    """Stand for the workbench that a file needs none of."""
    return None  # type: ignore[return-value]
