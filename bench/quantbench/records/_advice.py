"""Describe the advice on a model that was tried once: what was scored, each variant's verdict, and the choice."""

from typing import Literal, Self

from pydantic import Field, model_validator

from quantbench.records._common import Record

Decision = Literal["within", "beyond", "undecided"]
Preference = Literal["size", "latency", "balanced"]


class JudgedOutput(Record):
    """One output of the model that was scored, and the largest drop that it may have.

    Attributes:
        output: its name; empty where the model has only one.
        unit: of drops and of the limit, ``pp`` or the metric's own.
        scale: factor from a score to ``unit``.
        evidence: how metric and labels were found, one line each.
        examples: number of them.
        float_score: of float32; None where it could not be scored.
        limit: largest drop that may be shipped, in ``unit``.
        limit_given: the limit as the user wrote it; empty for the default.
        least_examples: examples that any variant would need, where these are too few even for one that answers all of
            them as float32 does.
        too_few: whether they are.
    """

    output: str = ""
    metric: str
    unit: str
    scale: float
    higher_is_better: bool
    evidence: list[str] = Field(default_factory=list)
    examples: int = Field(ge=0)
    float_score: float | None = None
    limit: float = Field(ge=0)
    limit_given: str = ""
    too_few: bool = False
    least_examples: int | None = None


class OutputVerdict(Record):
    """Whether one output of one variant stays within its limit.

    Attributes:
        drop: from float32, in the metric's unit; positive is worse.
        low, high: its 95 % interval, which holds for all variants together; None where it has no end.
        needed: examples that would decide, where these are too few; None where no number would, or where it is decided.
    """

    output: str = ""
    score: float | None = None
    drop: float
    low: float | None = None
    high: float | None = None
    verdict: Decision
    needed: int | None = None


class DeadColumn(Record):
    """A value of the output that took so few different values that it says nothing any more."""

    column: int
    distinct: int


class AdvisedVariant(Record):
    """One variant as a choice.

    Attributes:
        verdict: ``within`` only where all its outputs are, by their own limits.
        outputs: one verdict for each judged output, in their order.
        bytes: of its file.
        size: the same as a fraction of float32's.
        latency: time of a call as a fraction of float32's; None where it was not timed.
        arena_bytes: of its arena on TFLite-Micro; None where that is not the target.
        arena: the same as a fraction of float32's, or of the largest where float32 does not run there.
        agreement: fraction of examples with float32's own prediction; None for metrics without classes.
        dead: output values that excluded it.
        same_as: variant with the very same file, which stands for both.
        front: whether none is at least as good in drop, size and latency (or arena), and better in one.
        file: its artifact, relative to the run's folder; None where it was not kept.
    """

    variant: str
    verdict: Decision
    outputs: list[OutputVerdict]
    bytes: int = Field(ge=0)
    size: float = Field(gt=0)
    latency: float | None = Field(default=None, gt=0)
    arena_bytes: int | None = Field(default=None, ge=0)
    arena: float | None = Field(default=None, gt=0)
    agreement: float | None = None
    dead: list[DeadColumn] = Field(default_factory=list)
    same_as: str | None = None
    front: bool = False
    file: str | None = None

    @property
    def eligible(self) -> bool:
        """Whether it may be recommended."""
        return self.verdict == "within" and not self.dead and self.same_as is None


class Refusal(Record):
    """Variants that could not be made, or are not what their names say, all for one reason."""

    reason: str
    variants: list[str]
    trained: bool = Field(default=False, description="whether all of them train")


class Machine(Record):
    """Where latencies were measured, and hold."""

    cpu: str
    threads: int = 1


class Advice(Record):
    """What to ship, and why.

    Attributes:
        judged: the scored outputs, the first one first.
        variants: all that were made and scored, float32 among them, the best by ``prefer`` first.
        refused: the others, by reason.
        target: what is shipped to: ``tflm`` (TFLite-Micro), where what does not run is among ``refused``, float32 too;
            empty for a machine like this one.
        choice: the variant to ship, which may be ``float32``; None where nothing can be recommended.
        file: its artifact, relative to the run's folder.
        next_best: the second choice by the same preference; None where there is none.
        better_if_decided: variant that would be chosen if it were known to stay within the limit.
        nothing: why nothing can be recommended; empty where something is.
        warnings: what weakens the advice, one sentence each.
        folder: the run's folder, as the commands in its report name it.
        model: as the user gave it.
        arguments: options that name the model's data and how it is scored, as ``try`` and ``adopt`` take them.
    """

    judged: list[JudgedOutput] = Field(min_length=1)
    variants: list[AdvisedVariant]
    refused: list[Refusal] = Field(default_factory=list)
    prefer: Preference = "balanced"
    machine: Machine
    target: str = ""
    choice: str | None = None
    file: str | None = None
    next_best: str | None = None
    better_if_decided: str | None = None
    nothing: str = ""
    warnings: list[str] = Field(default_factory=list)
    folder: str = ""
    model: str = ""
    arguments: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        names = [one.variant for one in self.variants]
        if len(set(names)) < len(names):
            raise ValueError("two variants have the same name")
        for one in self.variants:
            if len(one.outputs) != len(self.judged):
                raise ValueError(f"expected {len(self.judged)} outputs of {one.variant}, found {len(one.outputs)}")
        for named in (self.choice, self.next_best, self.better_if_decided):
            if named is not None and named not in names:
                raise ValueError(f"expected one of its variants as choice or next, found {named!r}")
        return self

    def of(self, variant: str | None) -> AdvisedVariant | None:
        """Return a variant by name; None where it was not made."""
        return next((one for one in self.variants if one.variant == variant), None)
