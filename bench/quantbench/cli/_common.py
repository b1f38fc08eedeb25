"""Share options with their defaults among commands, and end a command with a run's status."""

from pathlib import Path
from typing import Annotated

import typer

from quantbench.core.options import RunOptions

DEFAULTS = RunOptions()
LATEST = Path("reports/latest")
ModelDir = Annotated[Path, typer.Option(help="folder of model files")]
BaselineDir = Annotated[Path, typer.Option(help="folder of baselines")]


class RunEnded(Exception):
    """Carry a run's exit status past the command line library, in which 2 has another meaning."""
