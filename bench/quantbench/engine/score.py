"""A score to be judged, whether a run has just computed it or its report tells of it: one way to the one judge."""

from dataclasses import dataclass

from quantbench import gate
from quantbench.baselines.files import Baseline
from quantbench.records import BaselineCell, Judgement, Verdict
from quantbench.reference.model import ReferenceModel


@dataclass(frozen=True)
class Scored:
    """A cell's score with all that its judge needs.

    Attributes:
        baseline: of the model, as it stands today and there where the score was measured.
        seeds: that it was trained with; 0 where nothing trains.
        retrained: the float model itself was trained again (``--train``).
        reference_sha256: of the answers on the reference kernels.
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
        """What its baseline says of the cell."""
        return self.baseline.cell(self.subject.variant)

    def judge(self, allowed: float) -> Judgement:
        """Drift against the baseline, red at a p-value of ``allowed``."""
        return gate.accuracy(
            self.subject,
            self.model.metric,
            self.answers,
            self.model.pack().test.y,
            self.accepted,
            self.baseline.predictions.get(self.subject.variant),
            allowed,
            self.seeds > 0,
            self._repeats(),
        )

    def with_origin(self, judged: Judgement) -> Judgement:
        """The same judgement; where the score moved, it says what that goes back to."""
        if judged.verdict not in (Verdict.REGRESSED, Verdict.WARN, Verdict.IMPROVED):
            return judged
        why = gate.origin(self.accepted, self.artifact_sha256, self.reference_sha256)
        return judged.model_copy(update={"message": f"{judged.message}; {why}"}) if why else judged

    def _repeats(self) -> gate.Repeats | None:
        """What is known of how far one more training may land; None where nothing trains."""
        metric, accepted = self.model.metric, self.accepted
        if self.retrained:
            return gate.repeats(metric, [self.model.seed_scores], 1, 1, "the float model was trained again")
        if not self.seeds or accepted is None or "score" not in accepted.measurements:
            return None
        old = len(accepted.measurements["score"].values or [0])
        return gate.repeats(metric, self.baseline.seed_scores(), old, self.seeds, "it trained")
