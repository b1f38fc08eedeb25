"""What is known of each cell of a run so far: what was measured of it, and how it was judged."""

import hashlib

import numpy as np

from quantbench.core.arrays import Array
from quantbench.engine import measurements as measured
from quantbench.engine.cell import CellId, Planned
from quantbench.engine.plan import Plan
from quantbench.engine.timing import Timing
from quantbench.engine.workers.task import Outcome
from quantbench.measure import fidelity, gpu, memory
from quantbench.records import Evidence, Judgement, Kind, Measurement
from quantbench.variants import FLOAT_CONTROL


class Known:
    """All that one run knows of its cells.

    Attributes:
        judgements: cell -> those of each kind that was judged.
        on_gpu: cell -> what came of it there.
        alone_seconds: cell -> how long nothing but this cell was measured.
    """

    def __init__(self, plan: Plan, timing: Timing) -> None:
        self._plan = plan
        self._timing = timing
        self.judgements: dict[CellId, dict[Kind, list[Judgement]]] = {}
        self.on_gpu: dict[CellId, gpu.OnGpu] = {}
        self.alone_seconds: dict[CellId, float] = {}
        self._behaviours: dict[CellId, dict[str, Measurement]] = {}

    def measurements(self, cell: Planned) -> dict[str, Measurement]:
        """Everything measured of a cell, by its name in a report."""
        outcomes = cell.so_far
        found = measured.scores(cell.model, cell.variant.trained, outcomes)
        good = [outcome for outcome in outcomes if outcome.failure is None]
        if good:
            found |= self._behaviour(cell, good) | measured.sizes(good[0])
            if good[0].memory is not None:
                found |= measured.memory(good[0].memory, self._float_memory(cell))
            found |= measured.steps(good) if cell.variant.trained else {}
        if cell.id in self.on_gpu and good:
            found |= measured.gpu(cell.model.metric, self.on_gpu[cell.id], good[0])
        return found | self._timing.measurements(cell.id)

    def _behaviour(self, cell: Planned, good: list[Outcome]) -> dict[str, Measurement]:
        """Asked for at every judgement and every save, over all examples, and the same once all is finished."""
        found = self._behaviours.get(cell.id) or measured.behaviour(cell.model.metric, good, self.control(cell))
        if len(good) == len(cell.seeds) and self._plan.computed(cell):
            self._behaviours[cell.id] = found
        return found

    def control(self, cell: Planned) -> Outcome | None:
        """The first seed of the cell's control, where it is finished."""
        control = self._plan.control_of(cell)
        return None if control is None else control.first

    def _float_memory(self, cell: Planned) -> memory.Memory | None:
        """That of the float control, where it is finished; None of the float control itself."""
        first = self._plan.cells[f"{cell.model.name}/{FLOAT_CONTROL}"].first
        return first.memory if first is not None and cell.variant.name != FLOAT_CONTROL else None

    def predictions(self) -> dict[str, dict[str, Array]]:
        """Those of each first seed, by model and variant."""
        by_model: dict[str, dict[str, Array]] = {}
        for cell in self._plan.cells.values():
            if cell.first is not None and cell.first.predictions is not None:
                by_model.setdefault(cell.model.name, {})[cell.variant.name] = cell.first.predictions
        return by_model

    def evidence(self) -> dict[str, dict[str, Evidence]]:
        """What lies behind the numbers, by model and variant."""
        found: dict[str, dict[str, Evidence]] = {}
        for cell in self._plan.cells.values():
            outcome = cell.first
            if outcome is None or outcome.contents is None or outcome.predictions is None:
                continue
            control = self.control(cell)
            others = None if control is None else control.predictions
            found.setdefault(cell.model.name, {})[cell.variant.name] = Evidence(
                flipped=[] if others is None else fidelity.flipped(cell.model.metric, outcome.predictions, others),
                ranges=outcome.contents.ranges,
                range_method=cell.variant.taxonomy.range,
            )
        return found


def predictions_sha256(outcome: Outcome) -> str | None:
    """Hash of its answers; None where it has none."""
    return _sha256(outcome.predictions)


def reference_sha256(outcome: Outcome) -> str | None:
    """Hash of its answers on the reference kernels; None where it has none."""
    return _sha256(outcome.others.get("litert-reference"))


def _sha256(predictions: Array | None) -> str | None:
    return None if predictions is None else hashlib.sha256(np.ascontiguousarray(predictions).tobytes()).hexdigest()
