"""Name what a cell's answers come from besides its artifact, and what the reference kernels say to changed ones."""

from pydantic import Field

from quantbench.records._common import Record

INPUTS = "prepared inputs"
DATA = "data"
PREPARE = "prepare"
METRIC = "metric"
HARNESS = "harness"
RUNTIME = "runtime"


class Flipped(Record):
    """Count the examples whose answers changed, as far as the reference kernels were asked about them.

    Attributes:
        asked: how many the reference kernels answered.
        as_accepted: of them, those that they answer as the baseline does, or nearer to that.
        as_now: those that they answer as this run does, or nearer to that.
    """

    asked: int = Field(ge=0)
    as_accepted: int = Field(ge=0)
    as_now: int = Field(ge=0)
