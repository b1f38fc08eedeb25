"""What the pre-release check was asked, and what it found."""

from dataclasses import dataclass, field
from pathlib import Path

from quantbench.ab import environments
from quantbench.comparison import Comparison, Timed
from quantbench.core.options import RunOptions

RUNTIME = "ai-edge-litert"


@dataclass(frozen=True)
class Asked:
    """What to compare, and how.

    Attributes:
        arguments: for both runs, such as ``-m`` or ``--models``.
        seconds: of timing a cell; 0 for none.
        time_all: time every cell, not only those that the pull-request gate times.
        cache_size: GB that entries and environments may take together afterwards; 0: any.
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
    """What a cell gives by one of the two mixed combinations, beside the two pure ones.

    Attributes:
        score: the metric's value; None where it could not be had.
        changed: examples that are answered otherwise than by the old converter on the old runtime.
        failure: why it gives nothing.
        ratios: time of a call to that of the old converter on the old runtime, one value a group of processes.
    """

    score: float | None = None
    changed: int | None = None
    failure: str = ""
    ratios: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Cause:
    """What made a cell change.

    Attributes:
        words: one phrase.
        new_converter: the new side's artifact on the old side's runtime; None where one side alone differs.
        new_runtime: the old side's artifact on the new side's runtime.
    """

    words: str
    new_converter: Combination | None = None
    new_runtime: Combination | None = None


@dataclass
class Found:
    """All that the check found; complete once ``timed`` and ``causes`` are.

    Attributes:
        folder: where it is told.
        timed: cell -> both artifacts timed in turns.
        untimed: cell -> why it was not.
        alike: cells whose two artifacts differ in the converter's stamp alone.
        causes: cell -> what changed it.
    """

    asked: Asked
    folder: Path
    old: environments.Resolved
    new: environments.Resolved
    comparison: Comparison
    timed: dict[str, Timed] = field(default_factory=dict)
    untimed: dict[str, str] = field(default_factory=dict)
    alike: set[str] = field(default_factory=set)
    causes: dict[str, Cause] = field(default_factory=dict)

    @property
    def same_runtime(self) -> bool:
        """Whether both sides run artifacts by the same runtime."""
        return self.old.versions().get(RUNTIME) == self.new.versions().get(RUNTIME)
