"""Train a reference model over several seeds, and pin the weights of one of them; for who maintains the models."""

import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from quantbench import files
from quantbench.errors import BadInput
from quantbench.reference.datasets import file_sha256
from quantbench.reference.model import ReferenceModel, load_file
from quantbench.reference.training import score_keras, train_from_scratch


def only_model(path: Path) -> ReferenceModel:
    """The one model of a file, which has to be trainable.

    Raises:
        BadInput: it defines several, or one that is not given as code.
    """
    models = load_file(path)
    if len(models) != 1:
        names = ", ".join(model.name for model in models)
        raise BadInput(f"{path}: defines {len(models)} models ({names}), expected one; give each a file of its own")
    if models[0].build is None:
        raise BadInput(f"{path}: {models[0].name} has no function 'build', so it cannot be trained; add it")
    return models[0]


def check_seeds(seeds: int, pinned: int | None) -> None:
    """Whether a spread can be told, and one of the seeds is pinned.

    Raises:
        BadInput: not so.
    """
    if seeds < 2:
        raise BadInput(f"--seeds: expected at least 2, for one training has no spread, found {seeds}")
    if pinned is not None and not 0 <= pinned < seeds:
        raise BadInput(f"--pin: expected one of the seeds 0 to {seeds - 1}, found {pinned}")


def train_and_pin(model: ReferenceModel, seeds: int, pinned: int | None, tell: Callable[[str], object]) -> None:
    """Train with seeds 0, 1, ..., and write the weights of one of them to the model's weight file.

    Args:
        pinned: the seed; None writes nothing.
        tell: gets a line a training, and one of the mean and sd of their scores.
    """
    scores, name = [], model.metric.name
    for seed in range(seeds):
        start = time.perf_counter()
        keras_model = train_from_scratch(model, seed)
        seconds = time.perf_counter() - start
        scores.append(score_keras(keras_model, model))
        tell(f"{model.name} seed {seed}: {name} {scores[-1]:.4f}, trained in {seconds:.0f} s")
        if seed == pinned:
            path = write_weights(keras_model.weights, model.file.parent / model.weights)
            tell(f"{path}: {path.stat().st_size:,} bytes, sha256 {file_sha256(path)}")
    spread = f"{np.mean(scores):.4f} ± {np.std(scores, ddof=1):.4f} (sd, n = {seeds} seeds)"
    tell(f"{model.name}: {keras_model.count_params():,} parameters, {name} {spread}")


def write_weights(weights: list[Any], path: Path) -> Path:
    """Variables of a Keras model as an ``.npz``: numbered in their order, with their names."""
    arrays = {f"{i:03d}_{w.name.split(':')[0].replace('/', '.')}": w.numpy() for i, w in enumerate(weights)}
    buffer = BytesIO()
    np.savez_compressed(buffer, **arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.replace(path, buffer.getvalue())
    return path
