"""Describe where an artifact's error comes from, operator by operator."""

from typing import Literal

from pydantic import Field

from quantbench.records._common import Record

EXPLAINS = 0.1  # of the outputs' squared error: what explains less is no cause
# Two graphs are of one model where at least this share of their operators has a partner.
ONE_MODEL = 0.8


class OperatorError(Record):
    """Describe one operator of an artifact beside the float operator of the same step.

    Attributes:
        position: among the operators of the file; -1 for a quantized input of the model.
        operator: name of the builtin.
        tensor: name of its output.
        error: root mean square of (artifact - float) at its output, as a share of the float values' RMS; what it
            inherits from earlier operators is in it.
        own: the same where the operator gets the float model's inputs, rounded to its own types; None where it cannot
            run alone.
        cosine: of the two outputs.
        clipped: share of the float values beyond the range that the output tensor can hold.
        low, high: the range of the float values.
        steps: how many steps of the output tensor the float values span; None for a float tensor.
        finite: whether all values that were seen are; errors are of the examples where they are.
    """

    position: int
    operator: str
    tensor: str
    error: float
    own: float | None = None
    cosine: float
    clipped: float = 0.0
    low: float = 0.0
    high: float = 0.0
    steps: float | None = None
    finite: bool = True


class Change(Record):
    """Describe how one operator differs from the accepted artifact's: names of what differs, with numbers.

    Attributes:
        what: ``weights``, ``weight scale``, ``bias``, ``output range``, ``zero point``, ``options``, ``operator``,
            ``order of inputs``, or ``types``.
        old, new: in words; of a scale the typical factor is in ``factor``.
    """

    position: int
    operator: str
    tensor: str
    what: str
    old: str = ""
    new: str = ""
    factor: float | None = None


class FileChanges(Record):
    """Say what one artifact has otherwise than another one.

    Attributes:
        old, new: files, or cells.
        matched: share of the operators of both that have a partner.
    """

    old: str
    new: str
    matched: float
    changes: list[Change]


class Suspect(Record):
    """Describe an operator that was repaired to see what it explains.

    Attributes:
        together: positions of others that were repaired with it: what passes its range on, or the other parts of a
            normalization.
        repaired_by: ``float``: left in float; ``range``: with the range that its output has in the float model;
            ``accepted``: with the accepted weights, options and ranges.
        recovered: share of the squared error of the outputs that is gone when it is repaired, with accepted parts of
            what that error grew by since the accepted artifact; below 0 where more is left.
        score: of the repaired artifact, on the same examples as :attr:`Attribution.score`; None where not scored.
    """

    position: int
    operator: str
    tensor: str
    together: list[int] = Field(default_factory=list)
    repaired_by: Literal["float", "range", "accepted"]
    recovered: float
    score: float | None = None


class Untried(Record):
    """Describe a suspect that could not be repaired.

    Attributes:
        error: as in :class:`OperatorError`, of its output.
        why: ``partner``: the reference has no operator of this step; ``inputs``: its partner there reads something
            else; ``subgraph``: the two call different subgraphs; ``weights``: its weights are not float in the
            reference; ``shapes``: the two read or write tensors of other shapes, types or numbers; ``runtime``: LiteRT
            refuses the repaired file.
    """

    position: int
    operator: str
    tensor: str
    error: float = 0.0
    why: Literal["partner", "inputs", "subgraph", "weights", "shapes", "runtime"]


class Attribution(Record):
    """Say where an artifact's error comes from.

    Attributes:
        subject, reference: what was compared: a cell and ``float32``, or two files.
        graph: name of the artifact's first subgraph, as Model Explorer calls it.
        output: the further output that scores and the outputs' error are of; empty: the main one.
        metric, unit, scale, higher_is_better: how scores are to be read; as in :class:`JudgedOutput`.
        examples: on which errors were measured; scored: on which scores were.
        matched: share of the operators of the two graphs that have a partner.
        operators: in the order of the artifact; those that could be compared. In a report rounded, and of a long model
            those alone whose errors are largest.
        alone: operators of the artifact without a partner in the float model, and the other way round, as
            ``NAME at POSITION``.
        changes: against the accepted artifact, where it was given.
        suspects: what was repaired, the one that explains most first.
        untried: suspects that could not be repaired, and why; the one with the largest error first.
        output_error: mean squared error of the outputs as a share of the reference's mean square, before any repair;
            None where an output is not finite.
        float_score, score: of the float model and of the artifact on the scored examples.
    """

    subject: str = ""
    reference: str = ""
    graph: str = ""
    output: str = ""
    metric: str = ""
    unit: str = ""
    scale: float = 1.0
    higher_is_better: bool = True
    examples: int
    scored: int = 0
    matched: float
    operators: list[OperatorError]
    alone: list[str] = Field(default_factory=list)
    missing: list[str] = Field(default_factory=list)
    changes: list[Change] = Field(default_factory=list)
    suspects: list[Suspect] = Field(default_factory=list)
    untried: list[Untried] = Field(default_factory=list)
    output_error: float | None = None
    float_score: float | None = None
    score: float | None = None
