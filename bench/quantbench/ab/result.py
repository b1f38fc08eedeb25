"""Declare the request and the result of the pre-release check."""

from dataclasses import dataclass, field
from pathlib import Path

from quantbench.ab import environments
from quantbench.comparison import Comparison, Timed
from quantbench.core.options import RunOptions


@dataclass(frozen=True)
class Files:
    """Sort the cells that both sides made by how their two files compare.

    Attributes:
        identical: the same byte for byte.
        stamped: only the converter's stamp differs.
        different: anything else.
    """

    identical: tuple[str, ...] = ()
    stamped: tuple[str, ...] = ()
    different: tuple[str, ...] = ()


@dataclass(frozen=True)
class Unmet:
    """Name a requirement that the installed packages of a side do not meet, as something overrides it.

    Attributes:
        package: that requires it, with its version.
        requires: what it asks for, e.g. ``ai-edge-litert==2.3.0``.
        found: the version that is installed instead.
    """

    package: str
    requires: str
    found: str


@dataclass(frozen=True)
class Asked:
    """Describe what to compare, and how.

    Attributes:
        arguments: for both runs, such as ``-m`` or ``--models``.
        seconds: of timing per cell; 0 for none.
        time_all: whether to time every cell, beyond those that the pull-request gate times.
        cache_size: GB that entries and environments may take together afterwards; 0 for unlimited.
    """

    old: environments.Side
    new: environments.Side
    arguments: tuple[str, ...]
    model_dir: Path
    report_dir: Path
    seconds: float
    time_all: bool = False
    cache_size: float = RunOptions().cache_size


@dataclass(frozen=True)
class Combination:
    """Hold the results of a cell for one of the two mixed combinations.

    Attributes:
        score: the metric's value; None where it failed.
        changed: number of predictions that differ from the old converter on the old runtime.
        failure: why there are no results.
        ratios: time per call relative to the old converter on the old runtime, one value per group of processes.
    """

    score: float | None = None
    changed: int | None = None
    failure: str = ""
    ratios: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Cause:
    """Describe what changed a cell.

    Attributes:
        words: one phrase.
        new_converter: the new side's artifact on the old side's runtime; None where only one side differs.
        new_runtime: the old side's artifact on the new side's runtime.
    """

    words: str
    new_converter: Combination | None = None
    new_runtime: Combination | None = None


@dataclass
class Found:
    """Hold the results of the check; complete once ``timed`` and ``causes`` are.

    Attributes:
        folder: of the report.
        timed: cell -> both artifacts timed, interleaved.
        untimed: cell -> why it was not timed.
        compared: how the two files of each cell compare.
        left_out: cell -> why one of the sides could not make it: a package that the side was made without.
        unmet: side -> requirements that are overridden on it.
        causes: cell -> what changed it.
    """

    asked: Asked
    folder: Path
    old: environments.Resolved
    new: environments.Resolved
    comparison: Comparison
    timed: dict[str, Timed] = field(default_factory=dict)
    untimed: dict[str, str] = field(default_factory=dict)
    compared: Files = Files()
    left_out: dict[str, str] = field(default_factory=dict)
    unmet: dict[str, list[Unmet]] = field(default_factory=dict)
    causes: dict[str, Cause] = field(default_factory=dict)

    @property
    def alike(self) -> set[str]:
        """Return the cells whose two artifacts differ in the converter's stamp at most."""
        return {*self.compared.identical, *self.compared.stamped}

    @property
    def same_runtime(self) -> bool:
        """Check whether both sides run artifacts on the same runtime."""
        return self.old.versions().get(environments.RUNTIME) == self.new.versions().get(environments.RUNTIME)
