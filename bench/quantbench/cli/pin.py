"""Define the command ``pin``, for maintainers of reference models."""

from pathlib import Path
from typing import Annotated

import typer

from quantbench.cli import _screen


def pin(
    model: Annotated[Path, typer.Argument(help="a model file, e.g. models/seed_cnn.py")],
    seeds: Annotated[int, typer.Option(help="trainings, with the seeds 0, 1, ...")] = 5,
    seed: Annotated[
        int | None,
        typer.Option("--pin", help="write this seed's weights to the model's weight file (default: none)"),
    ] = None,
) -> None:
    """Train a reference model over several seeds, print its score as mean and sd, and pin one seed's weights.

    Choose the seed before training (0), not after looking at the scores. Put the printed hash into the model's
    file. The file is code that runs with your rights: give only files that you trust.

    Example: quantbench pin models/seed_cnn.py --seeds 5 --pin 0
    """
    from quantbench.build.store import default_root
    from quantbench.core.output import native_output_to
    from quantbench.reference.pinning import check_seeds, only_model, train_and_pin

    check_seeds(seeds, seed)
    reference_model = only_model(model)
    with native_output_to(default_root() / "pin.log"):
        train_and_pin(reference_model, seeds, seed, _screen.progress)
