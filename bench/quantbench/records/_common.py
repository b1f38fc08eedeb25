"""Define the base of all records, and the terms that they share."""

from collections.abc import Mapping
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, model_validator

FLOAT_CONTROL = "float32"  # the variant that all others of a model are compared with
SCHEMA_VERSION = "1.11"
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"  # of a model or variant: part of cell ids and of file names
# Where other processes interrupted a larger fraction of the blocks than this, a latency is measured again, and marked
# if that does not help. At a load average of 5 on two cores 3 to 6 % were; above half, the typical block is disturbed.
DISTURBED = 0.5
# Threads in use: CPU time of all threads by that of the calling one; 1.000 ± .005 with one thread, 1.03 or more with
# two.
SEVERAL_AT_WORK = 1.02
# More than any run counts or times: judging takes memory in proportion to the stalls of a report, whoever wrote it.
MOST_STALLS, MOST_CALLS, MOST_SECONDS = 10_000_000, 10**15, 1e9
LEAST_SECONDS = 1e-9  # that calls take


class Verdict(StrEnum):
    """Verdict of a judge, ordered from best to worst: the worst decides a cell, and missing data never passes."""

    PASS = "pass"
    IMPROVED = "improved"
    CHANGED = "changed"
    UNJUDGED = "unjudged"
    UNSUPPORTED = "unsupported"
    XFAIL = "xfail"
    WARN = "warn"
    MISSING = "missing"
    ERROR = "error"
    REGRESSED = "regressed"

    @property
    def shown(self) -> str:
        """Return the verdict as people read it; files keep its value."""
        return "not gated" if self is Verdict.UNJUDGED else self.value


_ORDER = list(Verdict)


def worst(verdicts: list[Verdict]) -> Verdict:
    """Return the worst verdict; ``unjudged`` where there is none."""
    return max(verdicts, key=_ORDER.index, default=Verdict.UNJUDGED)


class Kind(StrEnum):
    """What a suite measures; there is one suite per kind."""

    ACCURACY = "accuracy"
    SIZE = "size"
    STRUCTURE = "structure"
    MEMORY = "memory"
    INSTRUCTIONS = "instructions"
    MICRO = "micro"
    GPU = "gpu"
    LATENCY = "latency"
    TARGET = "target"


ELSEWHERE = (Kind.MICRO, Kind.GPU, Kind.TARGET)  # other runtimes and machines than those that a cell is accepted for


def verdict_of_cell(verdicts: Mapping[Kind, Verdict]) -> Verdict:
    """Return the verdict of a cell: the worst of its parts, without what is known not to work elsewhere.

    A known limitation of TFLite-Micro, of an accelerator or of a target is a fact of that part alone; it decides only
    where nothing else was judged.
    """
    own = [one for kind, one in verdicts.items() if one is not Verdict.UNSUPPORTED or kind not in ELSEWHERE]
    return worst(own or list(verdicts.values()))


class Record(BaseModel):
    """Base of all records; refuses unknown keys, NaN and infinity, so that a typo in a hand-edited file is noticed."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, defer_build=True)


class Stalled(Record):
    """Count the stalls of one side of a timing in turns.

    Attributes:
        stalls: blocks or calls that lasted far longer than usual.
        lost: seconds by which they lasted longer.
        usual: seconds that all blocks and calls usually take.
        calls: in all that was timed.
    """

    stalls: int = Field(ge=0, le=MOST_STALLS)
    lost: float = Field(ge=0, le=MOST_SECONDS)
    usual: float = Field(ge=0, le=MOST_SECONDS)
    calls: int = Field(ge=0, le=MOST_CALLS)

    @model_validator(mode="after")
    def _counted_in_something(self) -> "Stalled":
        if self.stalls and min(self.lost, self.usual) < LEAST_SECONDS:
            raise ValueError(f"{self.stalls} stalls need `lost` and `usual` of more than 0 seconds")
        if self.calls < self.stalls:
            raise ValueError(f"expected at least as many calls as stalls, {self.stalls}, found {self.calls}")
        return self

    def plus(self, other: "Stalled") -> "Stalled":
        """Add what was counted elsewhere."""
        return Stalled(
            stalls=self.stalls + other.stalls,
            lost=self.lost + other.lost,
            usual=self.usual + other.usual,
            calls=self.calls + other.calls,
        )


class Stalls(Record):
    """Count stalls of at least one length, of an artifact and of what was timed in turns with it.

    Attributes:
        longer: seconds that a stall lasts beyond the usual time, at least.
        beside: what was timed in turns: float32, for float32 the reference workload, or the accepted artifact.
    """

    longer: float = Field(gt=0)
    artifact: Stalled
    beside: Stalled

    def plus(self, other: "Stalls") -> "Stalls":
        """Add what was counted in other processes."""
        return Stalls(
            longer=self.longer, artifact=self.artifact.plus(other.artifact), beside=self.beside.plus(other.beside)
        )

    @property
    def swapped(self) -> "Stalls":
        """Return the same with its sides swapped."""
        return self.model_copy(update={"artifact": self.beside, "beside": self.artifact})

    @property
    def excess(self) -> float:
        """Compute the time that the artifact loses beyond what was timed in turns with it, as a share of the usual."""
        sides = self.artifact, self.beside
        own, others = (side.lost / side.usual if side.usual else 0.0 for side in sides)
        return own - others


class Measurement(Record):
    """A value with its unit, n and spread.

    Attributes:
        value: the estimate, in ``unit``.
        n: number of examples, processes or files it is computed from.
        spread: standard deviation of one repetition (a seed, a process), in ``unit``; None without repetitions.
        spread_of: what is repeated.
        values: one value per repetition.
        low, high: 95 % interval of a quantile; None on a side with too few values.
        stalls: what the share of time lost in stalls is computed from, by least length; None for anything else.
    """

    value: float
    unit: str
    n: int = Field(ge=1)
    spread: float | None = Field(default=None, ge=0)
    spread_of: str | None = None
    values: list[float] | None = None
    low: float | None = None
    high: float | None = None
    stalls: list[Stalls] | None = Field(default=None, description="since 1.11")


def cell_key(model: str, variant: str) -> str:
    """Return the key of a cell: pytest id, baseline key, report row and cache name."""
    return f"{model}/{variant}"


def parts(cell: str) -> tuple[str, str]:
    """Return model and variant of a cell's key; the variant is empty where there is no ``/``."""
    model, _, variant = cell.partition("/")
    return model, variant
