"""Describe how the gate judged injected faults, and runs in which nothing had changed."""

from typing import Literal

from pydantic import Field

from quantbench.records._common import SCHEMA_VERSION, Kind, Record, Verdict

# A kind of check; a refusal of the input (exit status 4); a repair that the run's report names in a note.
Sight = Kind | Literal["refusal", "note"]


class InjectedFault(Record):
    """How the gate judged one injected fault.

    Attributes:
        model: the model that it was injected into; empty in older files, of a single model.
        host: the variant that it was injected into, ``pipeline`` or ``memory``.
        seen_by: the check that should detect it; ``caught_by``: those that did.
        checks: the measurements that were called red; ``verdict``: the worst of all.
        drop: of the score, in pp; None where it could not be run.
        growth: of the file, or of the memory, as a fraction.
        harmful: whether it must be caught: see :mod:`quantbench.selftest`.
        caught: whether any check called it red; ``caught_by`` says which.
    """

    plant: str
    model: str = ""
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


class LatencyFault(Record):
    """How often an injected slowdown was called red.

    Attributes:
        measurement: the judgement that should detect it.
        trials: number of runs resampled from the recordings.
        caught: rule -> number of trials in which it was red; ``quantbench`` is the gate's own.
    """

    plant: str
    strength: str
    measurement: str
    trials: int
    caught: dict[str, int]


class LatencyNull(Record):
    """How often each rule was red where nothing had changed.

    Attributes:
        where: what was recorded; ``recordings``: their number.
        runs: number of whole runs with ``cells`` cells each, resampled from the recordings.
        red_judgements, red_runs: by rule.
    """

    where: str
    recordings: int
    runs: int
    cells: int
    red_judgements: dict[str, int]
    red_runs: dict[str, int]


class LatencySelftest(Record):
    """Error rates of the latency gate, and of other tools' rules on the same recordings.

    Attributes:
        recordings: condition -> number of fresh processes.
        processes: of one measurement.
        seconds: of timing in each.
        share: per-test alpha of one judgement.
        spread: by measurement, sd of one process as a fraction.
        disturbed: fraction of blocks interrupted by other processes.
    """

    recordings: dict[str, int]
    processes: int
    seconds: float
    share: float
    spread: dict[str, float]
    disturbed: float
    plants: list[LatencyFault]
    nulls: list[LatencyNull]


class FlipRate(Record):
    """How often rules were red where some predictions of the test examples were flipped.

    Attributes:
        net: newly wrong minus newly right examples; 0: each flip went either way at random.
        discordant: number of examples that changed between right and wrong.
        red: rule -> number of trials in which it was red.
    """

    net: int
    discordant: int
    trials: int
    red: dict[str, int]


class Selftest(Record):
    """Error rates of the gate itself.

    Attributes:
        null_runs: healthy artifacts converted again, and ``false_reds`` among them; ``trained_null_runs`` and
            ``trained_false_reds``: the same of healthy models trained again with other seeds; ``memory_null_runs`` and
            ``memory_false_reds``: of memory measured again. ``recordings`` and ``memory_recordings``: of how many fresh
            processes the runs were drawn.
        skipped: what could not be injected, and why.
    """

    schema_version: str = SCHEMA_VERSION
    kind: Literal["quantbench.selftest"] = "quantbench.selftest"
    model: str
    variant: str
    plants: list[InjectedFault]
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
