"""What several commands share: options with their defaults, and how a command ends with a run's status."""

from pathlib import Path
from typing import Annotated

import typer

from quantbench.core.options import RunOptions

DEFAULTS = RunOptions()
LATEST = Path("reports/latest")
ModelDir = Annotated[Path, typer.Option(help="folder of model files")]
BaselineDir = Annotated[Path, typer.Option(help="folder of baselines")]


class RunEnded(Exception):
    """Carries a run's exit status past the command line library, which means something else by 2."""
