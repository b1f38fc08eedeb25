"""What every record is made of, and the words that all of them use."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

FLOAT_CONTROL = "float32"  # the variant that all others of a model are compared with
SCHEMA_VERSION = "1.5"
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"  # of a model or variant: part of cell ids and of file names
# Where others interrupted a larger share of the blocks than this, a latency is measured once more, and marked if it
# stays so. At a load average of 5 on two cores 3 to 6 % were; beyond half, a typical block is one that was held up.
DISTURBED = 0.5
# Threads at work, as the time of all to that of the calling one: 1.000 ± .005 with one thread, 1.03 and more with two.
SEVERAL_AT_WORK = 1.02


class Verdict(StrEnum):
    """What a judge says. Ordered from best to worst: the worst decides a cell, and nothing absent is a pass."""

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


_ORDER = list(Verdict)


def worst(verdicts: list[Verdict]) -> Verdict:
    """The worst verdict; ``unjudged`` where there is none."""
    return max(verdicts, key=_ORDER.index, default=Verdict.UNJUDGED)


class Kind(StrEnum):
    """What a suite measures; one suite a kind."""

    ACCURACY = "accuracy"
    SIZE = "size"
    STRUCTURE = "structure"
    MEMORY = "memory"
    GPU = "gpu"
    LATENCY = "latency"


class Record(BaseModel):
    """Unknown keys, NaN and infinity are refused: a typing slip in a hand-edited file must not pass unseen."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Measurement(Record):
    """A value with its unit, n and spread.

    Attributes:
        value: the estimate, in ``unit``.
        n: how many examples, processes or files it is made from.
        spread: standard deviation of one repetition (a seed, a process), in ``unit``; None where nothing repeats.
        spread_of: what repeats.
        values: one value a repetition.
        low, high: 95 % interval of a quantile; None on a side where there were too few for one.
    """

    value: float
    unit: str
    n: int = Field(ge=1)
    spread: float | None = Field(default=None, ge=0)
    spread_of: str | None = None
    values: list[float] | None = None
    low: float | None = None
    high: float | None = None


def cell_key(model: str, variant: str) -> str:
    """The key of a cell: pytest id, baseline key, report row and cache name."""
    return f"{model}/{variant}"


def parts(cell: str) -> tuple[str, str]:
    """Model and variant of a cell's key; the variant is empty where there is no ``/``."""
    model, _, variant = cell.partition("/")
    return model, variant
