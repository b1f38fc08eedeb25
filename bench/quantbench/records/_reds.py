"""Describe what is red in a run: cells that belong together, since when, and what changed meanwhile."""

from typing import Literal

from pydantic import Field

from quantbench.records._action import Action
from quantbench.records._common import Kind, Record, Verdict

# What a changed fact is about, the more telling ones first.
FactKind = Literal["package", "commit", "model", "data", "python", "machine"]


class ModelHashes(Record):
    """Identify a float model.

    Attributes:
        file: sha256 of the model's file, which holds its architecture, its metric and its limits.
        weights: sha256 of its weights.
    """

    file: str
    weights: str


class Located(Record):
    """Name the operator that an error comes from: the repair that gives back most.

    Attributes:
        position: among the operators of the file; -1 for a quantized input of the model.
        recovered: share of the outputs' squared error that is gone when it is repaired.
        lost, back: of the score on the first examples, what is lost and what the repair gives back, in ``unit``; None
            where it was not scored.
        cells: those of a group for which it comes first.
    """

    operator: str
    tensor: str
    position: int
    repaired_by: Literal["float", "range", "accepted"]
    recovered: float
    lost: float | None = None
    back: float | None = None
    unit: str = ""
    cells: list[str] = Field(default_factory=list)


class Family(Record):
    """Say what cells have in common; None: any.

    Attributes:
        engine: what quantizes, or prepares the model for it: the first word of the variant's name.
        weights, activations: dtype.
        ranges: when the ranges of activations are determined.
        trained: whether training decides the artifact.
    """

    model: str | None = None
    engine: str | None = None
    weights: str | None = None
    activations: str | None = None
    ranges: Literal["static", "dynamic"] | None = None
    trained: bool | None = None


class FactChanged(Record):
    """A fact that differs between two runs, or between the accepted values and a run.

    Attributes:
        name: of the package, the model, ...
        used: whether the cells that it is told of depend on it, as far as is known.
    """

    kind: FactKind
    name: str
    old: str
    new: str
    used: bool = True


class EarlierRun(Record):
    """A run of another night.

    Attributes:
        folder: its folder, as a command takes it; empty where it cannot be reached by a path.
    """

    run: str
    started: str
    folder: str = ""


class AcceptedOn(Record):
    """The update that accepted a value."""

    date: str
    run: str
    reason: str
    commit: str | None = None


class RedGroup(Record):
    """Describe cells that are red in the same way since the same night.

    Attributes:
        kind: what is red; the first kind of those that are worst.
        also: what else is red -> in how many of the cells.
        pool: id of the cells that are red together, where none of them is alone; else empty.
        cells: those that changed most first.
        family: what all cells have in common; None of cells that are red together only.
        of: how many cells of the run are of the family; as many as ``cells`` where all are red.
        against: what is violated -> in how many cells, by the judgements of ``kind``.
        low, high: smallest and largest change for the worse against the accepted values, in ``unit``; None without.
        located: operators that the errors come from, those of most cells first; searched in ``searched`` cells.
        earlier: number of earlier runs that judged these cells.
        first_red: first run of the unbroken series in which they are red; None: this run.
        last_green: the run before that series; None where no earlier run is known to be green.
        accepted: updates that accepted the values, newest first.
        since: what ``changed`` starts from; it ends with the first red run.
        changed: the more telling first.
        same_file: number of cells whose ``.tflite`` file is as it was then; None where that is not known of all.
        acceptable: whether accepting the new values turns all cells green.
        actions: next steps.
    """

    kind: Kind
    verdict: Verdict
    also: dict[Kind, int] = Field(default_factory=dict)
    pool: str = ""
    cells: list[str] = Field(min_length=1)
    family: Family | None = None
    of: int
    against: dict[str, int] = Field(default_factory=dict)
    low: float | None = None
    high: float | None = None
    unit: str = ""
    located: list[Located] = Field(default_factory=list)
    searched: int = 0
    earlier: int = 0
    first_red: EarlierRun | None = None
    last_green: EarlierRun | None = None
    accepted: list[AcceptedOn] = Field(default_factory=list)
    since: Literal["last green", "accepted", "nothing"] = "nothing"
    changed: list[FactChanged] = Field(default_factory=list)
    same_file: int | None = None
    acceptable: bool = False
    actions: list[Action] = Field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether all cells of the family in the run are in the group."""
        return self.family is not None and self.of == len(self.cells) > 1
