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
        calls: of the variant in each recorded process, on average; None where the number does not decide.
        note: what the row says of itself; empty where nothing.
    """

    plant: str
    strength: str
    measurement: str
    trials: int
    caught: dict[str, int]
    calls: float | None = None
    note: str = ""


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


class OutcomeRate(Record):
    """How often rules were red where predictions changed in a stated way, all else being as accepted.

    Attributes:
        plant: what changed; ``strength``: by how much.
        model: whose cells; empty for all of them.
        lost: net examples, or points, that a cell lost on average.
        each_way: answers that flipped in each direction besides.
        red: rule -> number of trials in which it was red; ``quantbench`` is the gate's own, in a run in which nothing
            else changed, and ``quantbench, all changed`` in one in which the predictions of every cell changed too.
        aim: rate that the gate has to reach; None where the row only shows where its sensitivity ends.
        detectable: smallest drop that such a run of the model can show, in pp, where that is more than what was
            injected, so that there is no aim.
    """

    plant: str
    strength: str
    model: str = ""
    lost: float | None = None
    each_way: float | None = None
    trials: int
    red: dict[str, int]
    aim: float | None = None
    detectable: float | None = None


class DetectableRate(Record):
    """How often a drop was red that a judgement called the smallest detectable one; 80 % are promised.

    Attributes:
        of: what is judged: a score, a class, a trained score.
        drop: as printed, in pp; ``each_way``: the flips that it assumes.
    """

    of: str
    model: str
    drop: float
    each_way: float
    trials: int
    red: int


class NullRate(Record):
    """How often runs of all cells were red although nothing got worse.

    Attributes:
        what: what differed from the accepted predictions.
        cells: judged in each run; ``tests``: how many shared the budget, on average.
        red_runs: rule -> number of runs.
        models: from which the draws come; repeated draws say nothing of a model that is not among them.
        changed: cells whose outputs were called changed, of ``outputs``.
        judged: whole runs that the engine itself judged; the others were far from red by their p-values alone.
    """

    what: str
    runs: int
    cells: int
    tests: float
    red_runs: dict[str, int]
    models: int
    changed: int = 0
    outputs: int = 0
    judged: int = 0


class YearlyRate(Record):
    """False alarms of 365 nightly runs.

    Attributes:
        what: which check, and which nights can spend some of its budget.
        nights: how many of them can.
        rate, rate_bound: false alarms of one such night, and its 95 % upper bound.
    """

    what: str
    nights: int
    rate: float
    rate_bound: float


class OutcomeSelftest(Record):
    """Error rates of the judges of scores, by simulation on the accepted predictions.

    Attributes:
        cells: with accepted predictions; ``models``: theirs.
        judged: the same of all kinds together.
        cells_with_seeds: cells whose spread over trainings is known from several seeds.
        years: rows that add up to a year, for a quiet toolchain and for one that changes each week.
    """

    models: list[str]
    cells: int
    cells_with_seeds: int
    judged: int
    power: list[OutcomeRate]
    plants: list[OutcomeRate]
    detectable: list[DetectableRate]
    nulls: list[NullRate]
    years: dict[str, list[YearlyRate]] = Field(default_factory=dict)


class Selftest(Record):
    """Error rates of the gate itself.

    Attributes:
        null_runs: healthy artifacts converted again, and ``false_reds`` among them; ``trained_null_runs`` and
            ``trained_false_reds``: the same of healthy models trained again with other seeds; ``memory_null_runs`` and
            ``memory_false_reds``: of memory measured again; ``instruction_null_runs`` and
            ``instruction_false_reds``: of instructions counted again. ``recordings`` and ``memory_recordings``: of how
            many fresh processes the runs were drawn.
        two_outputs: healthy reruns of a model with a further output, both outputs judged.
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
    outcomes: OutcomeSelftest | None = None
    trained_null_runs: int = 0
    trained_false_reds: int = 0
    skipped: list[str] = Field(default_factory=list)
    recordings: int = 0
    memory_recordings: int = 0
    memory_null_runs: int = 0
    memory_false_reds: int = 0
    instruction_null_runs: int = 0
    instruction_false_reds: int = 0
    two_outputs: list[NullRate] = Field(default_factory=list)
