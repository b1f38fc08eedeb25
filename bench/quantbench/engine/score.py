"""Judge a score the same way, whether a run has just computed it or its report contains it."""

from dataclasses import dataclass

from quantbench import gate
from quantbench.baselines.files import Baseline
from quantbench.records import BaselineCell, Judgement, Verdict
from quantbench.reference.model import ReferenceModel


@dataclass(frozen=True)
class Scored:
    """Hold a cell's score with everything that its judge needs.

    Attributes:
        baseline: effective baseline of the model, on the day and the machine where the score was measured.
        seeds: number of training seeds; 0 where nothing is trained.
        retrained: whether the float model itself was trained again (``--train``).
        reference_sha256: of the predictions on the reference kernels.
    """

    subject: gate.Subject
    model: ReferenceModel
    baseline: Baseline
    answers: gate.Answers
    seeds: int
    retrained: bool
    artifact_sha256: str | None
    reference_sha256: str | None

    @property
    def accepted(self) -> BaselineCell | None:
        """Return the cell's baseline; None where it has none."""
        return self.baseline.cell(self.subject.variant)

    def judge(self, alpha: float) -> Judgement:
        """Judge drift from the baseline at the per-test ``alpha``."""
        return gate.accuracy(
            self.subject,
            self.model.metric,
            self.answers,
            self.model.pack().test.y,
            self.accepted,
            self.baseline.predictions.get(self.subject.variant),
            alpha,
            self.seeds > 0,
            self._repeats(),
        )

    def with_origin(self, judged: Judgement) -> Judgement:
        """Return the same judgement; where the score moved, with the cause that the fingerprints show."""
        if judged.verdict not in (Verdict.REGRESSED, Verdict.WARN, Verdict.IMPROVED):
            return judged
        why = gate.origin(self.accepted, self.artifact_sha256, self.reference_sha256)
        return judged.model_copy(update={"message": f"{judged.message}; {why}"}) if why else judged

    def _repeats(self) -> gate.Repeats | None:
        """Return what is known of the spread over trainings; None where nothing is trained."""
        metric, accepted = self.model.metric, self.accepted
        if self.retrained:
            return gate.repeats(metric, [self.model.seed_scores], 1, 1, "the float model was trained again")
        if not self.seeds or accepted is None or "score" not in accepted.measurements:
            return None
        old = len(accepted.measurements["score"].values or [0])
        return gate.repeats(metric, self.baseline.seed_scores(), old, self.seeds, "it trained")
