"""One output of a cell to be judged, whether a run has just computed them or its folder tells of them."""

from dataclasses import dataclass

import numpy as np

from quantbench import gate
from quantbench.baselines.files import Baseline
from quantbench.core.arrays import Array
from quantbench.core.distances import stored_as
from quantbench.records import Judgement, Measurement
from quantbench.records.measurements import OUTPUT_DISTANCE
from quantbench.reference.metrics import Metric


@dataclass(frozen=True)
class Compared:
    """One output of a cell with all that its judge needs.

    Attributes:
        baseline: of the model as this output has it, as it stands today and there where the outputs were computed.
        distance: from the control's, as measured.
        predictions: of the first seed.
        to_store: what a run stores of the first seed's outputs.
        strict: a change that is not worse is red too.
    """

    subject: gate.Subject
    metric: Metric
    baseline: Baseline
    distance: Measurement | None
    predictions: Array | None
    to_store: Array | None
    trained: bool
    strict: bool

    def judge(self, allowed: float) -> Judgement | None:
        """Distance against the baseline, red at a p-value of ``allowed``; None where the baseline has none."""
        variant = self.subject.variant
        stored = self.baseline.predictions.get(variant)
        flips = None
        if (
            self.metric.kind == "right_or_wrong"
            and stored is not None
            and self.predictions is not None
            and stored.shape == self.predictions.shape
        ):
            flips = int(np.count_nonzero(stored != self.predictions))
        outputs = gate.Outputs(
            self.distance,
            self.to_store,
            self.baseline.predictions.get(stored_as(variant)),
            flips,
            0 if stored is None else len(stored),
        )
        accepted = self.baseline.cell(variant)
        judged = gate.fidelity(
            self.subject, outputs, accepted, allowed, self.trained, self._trainings(), strict=self.strict
        )
        return None if judged is None else gate.of_this_output(judged, self.subject.output)

    def _trainings(self) -> list[list[float]]:
        """Mean distances over seeds of the model's trained cells."""
        cells = self.baseline.file.cells.values() if self.baseline.file else []
        found = [cell.measurements[OUTPUT_DISTANCE].values for cell in cells if OUTPUT_DISTANCE in cell.measurements]
        return [values for values in found if values]
