"""Describe what a search for the smallest mixed artifact found: what was judged, in which order, and what is chosen."""

from pydantic import Field

from quantbench.records._advice import Decision, JudgedOutput, OutputVerdict
from quantbench.records._common import Record


class TriedArtifact(Record):
    """Describe an artifact that the search tried.

    Attributes:
        name: of the fixed variant; empty for a mixed one.
        settings: setting -> number of operators with weights, or of others that it is for, that have it.
        searched: its drop on the examples of the search, in the unit of the first output.
        outputs: one verdict for each output, on the examples that the search never saw; none where it was not judged.
        verdict: of all outputs together; None where it was not judged.
    """

    name: str = ""
    settings: dict[str, int] = Field(default_factory=dict)
    bytes: int = Field(ge=1)
    searched: float
    outputs: list[OutputVerdict] = Field(default_factory=list)
    verdict: Decision | None = None


class MixedGroup(Record):
    """Name the operators of the chosen artifact that have one setting, in the order of the graph."""

    setting: str
    words: str
    operators: list[str]


class Tuning(Record):
    """Say which artifact is the smallest within the limit, and how that was found.

    Attributes:
        model: as the user named it.
        judged: the scored outputs with their limits; ``examples`` are those that judged.
        searched: number of examples that the search looked at.
        float_bytes: of the float ``.tflite``.
        fixed: number of fixed variants that were scored.
        mixed: number of mixed artifacts that were tried.
        judgements: in the order in which they were judged, the surest first; the first that was not within ended it.
        choice: the smallest within; None where none is.
        best_fixed: the smallest fixed variant within; None where none is.
        alone: fixed variants that are smaller than the choice, and within where each is judged by itself, which is
            no proof of one among many.
        nearest: what came nearest to the limit, where nothing is within.
        groups: what the operators of the choice got.
        interrupted: whether the search was stopped, so that nothing was judged.
        timed_out: whether it ran out of time.
        seconds: it took.
        file, recipe: where the choice and its recipe are.
        arguments: options that repeat what was given, for ``adopt``.
    """

    model: str
    judged: list[JudgedOutput]
    searched: int
    float_bytes: int
    fixed: int
    mixed: int
    judgements: list[TriedArtifact] = Field(default_factory=list)
    choice: TriedArtifact | None = None
    best_fixed: TriedArtifact | None = None
    alone: list[TriedArtifact] = Field(default_factory=list)
    nearest: TriedArtifact | None = None
    groups: list[MixedGroup] = Field(default_factory=list)
    interrupted: bool = False
    timed_out: bool = False
    seconds: float = 0.0
    file: str = ""
    recipe: str = ""
    arguments: list[str] = Field(default_factory=list)
