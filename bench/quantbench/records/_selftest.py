"""What the gate made of regressions that were planted, and of runs in which nothing had changed."""

from typing import Literal

from pydantic import Field

from quantbench.records._common import SCHEMA_VERSION, Kind, Record, Verdict

# A kind of check; a refusal of the input (exit status 4); a repair that the run's report names in a note.
Sight = Kind | Literal["refusal", "note"]


class Planted(Record):
    """What the gate did with one planted regression.

    Attributes:
        host: the variant that it was planted in, ``pipeline`` or ``memory``.
        seen_by: the check that has to see it; ``caught_by``: those that did.
        checks: the measurements that were called red; ``verdict``: the worst of all.
        drop: of the score, in pp; None where it could not be run.
        growth: of the file, or of the memory, as a fraction.
        harmful: whether it has to be caught: see :mod:`quantbench.selftest`.
        caught: called red, by any check; ``caught_by`` says which.
    """

    plant: str
    where: str
    strength: str
    seed: int
    host: str = "ptq_static_wi8_ai8"
    seen_by: Sight
    drop: float | None = None
    growth: float
    harmful: bool
    caught: bool
    caught_by: list[Sight]
    checks: list[str] = Field(default_factory=list)
    verdict: Verdict | None = None


class LatencyPlant(Record):
    """How often a planted slowdown was called red.

    Attributes:
        measurement: the judgement that has to see it.
        trials: runs resampled from the recordings.
        caught: by rule, in how many of them; ``quantbench`` is the gate's own.
    """

    plant: str
    strength: str
    measurement: str
    trials: int
    caught: dict[str, int]


class LatencyNull(Record):
    """How often a rule was red where nothing had changed.

    Attributes:
        where: what the recordings are of; ``recordings``: how many there are.
        runs: whole runs of so many ``cells``, resampled from the recordings.
        red_judgements, red_runs: by rule.
    """

    where: str
    recordings: int
    runs: int
    cells: int
    red_judgements: dict[str, int]
    red_runs: dict[str, int]


class LatencySelftest(Record):
    """The latency gate's error rates, beside those of other tools' rules on the same recordings.

    Attributes:
        recordings: by condition, how many fresh processes.
        processes: of one measurement.
        seconds: of timing in each.
        share: of the false-alarm budget, what one judgement is red at.
        spread: by measurement, sd of one process as a fraction.
        disturbed: share of blocks that others interrupted.
    """

    recordings: dict[str, int]
    processes: int
    seconds: float
    share: float
    spread: dict[str, float]
    disturbed: float
    plants: list[LatencyPlant]
    nulls: list[LatencyNull]


class FlipRate(Record):
    """How often rules were red where some of the answers to the test examples were flipped.

    Attributes:
        net: examples lost beyond those gained; 0: each flip went either way by the toss of a coin.
        discordant: examples that changed between right and wrong.
        red: by rule, in how many of the trials.
    """

    net: int
    discordant: int
    trials: int
    red: dict[str, int]


class Selftest(Record):
    """The gate's own error rates.

    Attributes:
        null_runs: healthy artifacts converted again, and ``false_reds`` among them; ``trained_null_runs`` and
            ``trained_false_reds``: the same of healthy models trained again with other seeds; ``memory_null_runs`` and
            ``memory_false_reds``: of memory measured again. ``recordings`` and ``memory_recordings``: of how many fresh
            processes the runs were drawn.
        skipped: what could not be planted, and why.
    """

    schema_version: str = SCHEMA_VERSION
    kind: Literal["quantbench.selftest"] = "quantbench.selftest"
    model: str
    variant: str
    plants: list[Planted]
    null_runs: int
    false_reds: int
    flips: list[FlipRate] = Field(default_factory=list)
    latency: LatencySelftest | None = None
    trained_null_runs: int = 0
    trained_false_reds: int = 0
    skipped: list[str] = Field(default_factory=list)
    recordings: int = 0
    memory_recordings: int = 0
    memory_null_runs: int = 0
    memory_false_reds: int = 0
