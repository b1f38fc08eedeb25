"""Describe what TFLite-Micro made of an artifact, and what of that was accepted."""

from pydantic import Field

from quantbench.records._common import Record


class MicroRefusal(Record):
    """Why TFLite-Micro does not load an artifact, or does not call it once.

    Attributes:
        reason: its own words, in one line.
        operator: where it stops, e.g. ``CONV_2D``; empty where it names none.
        missing: whether it has no such operator at all.
    """

    reason: str
    operator: str = ""
    missing: bool = False

    @property
    def words(self) -> str:
        """Say which operator is missing, or which one refuses and why."""
        if self.missing:
            return f"it has no operator {self.operator}"
        return f"{self.operator}: {self.reason}" if self.operator else self.reason


class MicroAnswers(Record):
    """How the answers compare with those of LiteRT's reference kernels on the same examples.

    Attributes:
        examples: that both answered.
        differing: places of those answered otherwise, in the test split.
        lost, gained: of these, newly wrong and newly right ones; None for metrics that do not count right answers.
        score, reference_score: of these examples, there and by the reference kernels; None before 1.11, and where the
            metric has none of so few, or either is NaN or infinite.
    """

    examples: int = Field(ge=1)
    differing: list[int] = Field(default_factory=list)
    lost: int | None = None
    gained: int | None = None
    score: float | None = None
    reference_score: float | None = None


class Micro(Record):
    """What TFLite-Micro made of an artifact.

    Attributes:
        version: of its package.
        refusal: None where it loads and runs.
        head, tail: bytes of the arena that calls reuse, and of what stays for as long as the model is loaded.
        answers: None where the reference kernels cannot run the artifact, or where it does not load.
    """

    version: str
    refusal: MicroRefusal | None = None
    head: int | None = None
    tail: int | None = None
    answers: MicroAnswers | None = None


class AcceptedMicro(Record):
    """What was accepted of an artifact on TFLite-Micro, besides its arena.

    Attributes:
        refusal: a known limitation; None where it loaded.
        examples, differing: answers that were compared, and how many of them differed; None where none were.
    """

    version: str
    refusal: MicroRefusal | None = None
    examples: int | None = None
    differing: int | None = None
