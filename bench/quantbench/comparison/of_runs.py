"""Compare two runs in one call, as a library: :func:`compare_runs`."""

from os import PathLike
from pathlib import Path

from quantbench.comparison import Comparison, compare
from quantbench.comparison.load import accepted_spreads, read_sides, truths
from quantbench.core import arguments
from quantbench.core.config import settings_at


def compare_runs(
    old: str | PathLike[str],
    new: str | PathLike[str],
    *,
    model_dir: str | PathLike[str] | None = None,
    baseline_dir: str | PathLike[str] | None = None,
    config: str | Path | None = None,
) -> Comparison:
    """Compare two runs example by example, process by process and byte by byte; prints nothing.

    Args:
        old, new: run folders, or their ``report.json``.
        model_dir: folder of model files, for the labels; that of the repository's config where None.
        config: folder from which a config file is looked for, upward, or such a file; the working directory where None.
        baseline_dir: folder of baselines, of which only the spread between trainings is used; likewise.

    Raises:
        BadInput: a run is missing, damaged, or of a newer version; or a config is wrong.
    """
    settings = settings_at(config)
    models, baselines = (
        Path(settings[name]) if given is None else arguments.path(given, name)
        for name, given in (("model_dir", model_dir), ("baseline_dir", baseline_dir))
    )
    sides = read_sides(arguments.path(old, "old"), arguments.path(new, "new"))
    trained = [cell.id for cell in sides[1].report.cells if cell.seeds]
    return compare(*sides, truths(models, sides[1].report), accepted=accepted_spreads(baselines, trained))
