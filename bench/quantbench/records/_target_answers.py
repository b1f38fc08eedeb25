"""Describe what a target answered to the first test examples: as it was accepted, and as a run judged it."""

from typing import Literal

from pydantic import Field

from quantbench.records._common import SCHEMA_VERSION, Record, Verdict


class AcceptedAnswers(Record):
    """What was accepted of one cell on a target; its predictions lie beside the file.

    Attributes:
        examples: how many, the first ones of the test split.
        otherwise: of these, how many this machine answered otherwise.
        artifact_sha256: of the file that answered.
    """

    examples: int = Field(ge=1)
    otherwise: int = Field(ge=0)
    artifact_sha256: str


class AnswersBaseline(Record):
    """``baselines/targets/<target>.json``.

    Attributes:
        versions: of the target: LiteRT, NumPy, the emulator, Debian's packages.
        predictions_sha256: of the ``.npz`` of predictions beside this file, an array for each cell.
    """

    schema_version: str = SCHEMA_VERSION
    kind: Literal["quantbench.answers_baseline"] = "quantbench.answers_baseline"
    target: str
    date: str
    reason: str = Field(min_length=1)
    commit: str | None = None
    versions: dict[str, str]
    predictions_sha256: str
    cells: dict[str, AcceptedAnswers]


class AnsweredCell(Record):
    """What a target answered of one cell, and how it was judged.

    Attributes:
        examples: how many it answered, the first ones of the test split.
        otherwise: of these, how many this machine answered otherwise.
        newly_wrong, newly_right: of those, by the labels; None where the metric knows no right answers.
        distance: mean distance of the outputs from this machine's, see :mod:`quantbench.core.distances`.
        differ_from_accepted: how many of the accepted answers are others now; None where there are none to compare.
        detectable: how many answers have to differ from this machine's to be red.
        seconds: that the target took; None where it did not say.
    """

    cell: str
    artifact_sha256: str | None = None
    verdict: Verdict
    message: str
    examples: int = 0
    otherwise: int | None = None
    newly_wrong: int | None = None
    newly_right: int | None = None
    distance: float | None = None
    differ_from_accepted: int | None = None
    detectable: int | None = None
    seconds: float | None = None


class TargetAnswers(Record):
    """What ``answers --json`` prints.

    Attributes:
        emulated: whether the target is an emulator, whose times say nothing of a device's.
        changed: what differs from the accepted versions of the target, one phrase each.
        seconds: wall time of the whole comparison.
    """

    schema_version: str = SCHEMA_VERSION
    kind: Literal["quantbench.target_answers"] = "quantbench.target_answers"
    target: str
    emulated: bool
    machine: str
    run: str
    exit_status: int
    versions: dict[str, str]
    changed: list[str] = Field(default_factory=list)
    seconds: float
    cells: list[AnsweredCell]
