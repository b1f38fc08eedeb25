"""Collect the result of each cell of a run: one frozen value, read by its judges and copied into the report."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from quantbench.baselines import overlays
from quantbench.core.arrays import Array
from quantbench.core.distances import of_head, outputs_of
from quantbench.engine import measurements as measured
from quantbench.engine.cell import CellId, Planned, failure_of
from quantbench.engine.there import There
from quantbench.engine.workers.task import Outcome
from quantbench.measure import fidelity, gpu
from quantbench.measure.instructions import Count
from quantbench.records import Evidence, Failure, Judgement, Kind, Measurement, Micro
from quantbench.records.measurements import of_output

Judgements = dict[CellId, dict[Kind, list[Judgement]]]


@dataclass(frozen=True)
class MeasuredAlone:
    """Hold what was measured of a cell while none of our other processes ran.

    Attributes:
        untimed: measurement that could not be timed -> reason.
        seconds: time spent on this cell exclusively; None where none was.
        there: target -> what came of the cell there.
        count: instructions of one call; None where nobody asked.
        micro: what TFLite-Micro made of it; None where nobody asked, or nothing was found out.
        micro_measured: arena and agreement on TFLite-Micro.
    """

    on_gpu: Mapping[str, gpu.OnGpu] = field(default_factory=dict)
    timed: Mapping[str, Measurement] = field(default_factory=dict)
    untimed: Mapping[str, str] = field(default_factory=dict)
    seconds: float | None = None
    count: Count | None = None
    micro: Micro | None = None
    micro_measured: Mapping[str, Measurement] = field(default_factory=dict)
    there: Mapping[str, There] = field(default_factory=dict)


@dataclass(frozen=True)
class CellResult:
    """Hold the result of a cell.

    Attributes:
        outcomes: of the computed seeds, in order.
        finished: whether all seeds are computed; until then nothing counts as measured.
        computed: measurements of the artifact itself, and of its fidelity to its control.
        evidence: details behind the numbers; None where the cell failed or is not computed.
        predictions_sha256, reference_sha256: of the first seed's predictions, and of those on the reference kernels.
        to_store: what later runs compare the first seed's outputs with, by output, the main one empty: distances from
            its control's, or the float control's own outputs.
        control_agreement: fraction of examples on which the first seed agrees with its control, where known.
        beside: of further seeds of a control, which only the limits of its variants use.
    """

    cell: Planned
    outcomes: tuple[Outcome, ...]
    finished: bool
    computed: Mapping[str, Measurement] = field(default_factory=dict)
    evidence: Evidence | None = None
    failure: Failure | None = None
    predictions_sha256: str | None = None
    reference_sha256: str | None = None
    to_store: Mapping[str, Array] = field(default_factory=dict)
    control_agreement: float | None = None
    alone: MeasuredAlone = field(default_factory=MeasuredAlone)
    beside: tuple[Outcome, ...] = ()

    @property
    def first(self) -> Outcome | None:
        """Return the first seed's outcome, once it is computed."""
        return self.outcomes[0] if self.outcomes and self.outcomes[0].seed == self.cell.seeds[0] else None

    @property
    def retried(self) -> list[str]:
        """Return why seeds were computed again, one sentence each time; usually empty."""
        return [reason for outcome in self.outcomes for reason in outcome.retried]

    @property
    def findings(self) -> list[str]:
        """Return what went wrong beside the results of its seeds, one sentence each; usually empty."""
        return list(dict.fromkeys(finding for outcome in self.outcomes for finding in outcome.findings))

    def predictions(self, output: str = "") -> dict[int, Array]:
        """Return seed -> predictions of the test split, of every seed that has them.

        Args:
            output: a further output; empty for the main one.
        """
        of_seeds = {one.seed: predicted(one, output) for one in (*self.outcomes, *self.beside)}
        return {seed: predictions for seed, predictions in of_seeds.items() if predictions is not None}

    def on_gpu(self, device: str) -> Mapping[str, Measurement]:
        """Return what was measured on a GPU, by name as of the first one; empty where nothing was."""
        good = next((outcome for outcome in self.outcomes if outcome.failure is None), None)
        taken = self.alone.on_gpu.get(device)
        return {} if taken is None or good is None else measured.gpu(self.cell.model, taken, good)

    @cached_property
    def measurements(self) -> Mapping[str, Measurement]:
        """Return all measurements of the cell, by name as in a report."""
        on_gpu = {
            of_output(name, device): measurement
            for device in self.alone.on_gpu
            for name, measurement in self.on_gpu(device).items()
        }
        counted = measured.instructions(self.alone.count) if self.alone.count is not None else {}
        return {**self.computed, **counted, **self.alone.micro_measured, **on_gpu, **self.alone.timed}


def predicted(outcome: Outcome, output: str) -> Array | None:
    """Return the predictions of an output, empty for the main one; None where there are none."""
    return outcome.heads.get(output) if output else outcome.predictions


def result_of(
    cell: Planned,
    outcomes: Sequence[Outcome],
    control: Outcome | None,
    float_control: Outcome | None,
    references: Sequence[Outcome] = (),
) -> CellResult:
    """Return the result of a cell from the outcomes of its seeds.

    Args:
        outcomes: of the computed seeds.
        control, float_control: first-seed outcomes of the cells it is compared with; None until computed.
        references: outcomes of all computed seeds of the cell that its outputs are measured from.
    """
    finished, metric = len(outcomes) == len(cell.seeds), cell.model.metric
    result = CellResult(cell, tuple(outcomes), finished, failure=failure_of(outcomes))
    if outcomes:
        result = replace(
            result,
            evidence=_evidence(result, control),
            predictions_sha256=sha256(outcomes[0].predictions),
            reference_sha256=sha256(outcomes[0].others.get("litert-reference")),
        )
    if not finished:
        return result
    return replace(
        result,
        computed=_measurements(cell, outcomes, control, float_control, references),
        to_store=_to_store(cell, outcomes[0], references),
        control_agreement=measured.control_agreement(metric, outcomes[0], control),
    )


def _to_store(cell: Planned, first: Outcome, references: Sequence[Outcome]) -> dict[str, Array]:
    own, others = first.outputs, references[0].outputs if references else None
    is_reference = cell.reference is None
    if first.failure is not None or first.nonfinite or own is None:
        return {}
    if not is_reference and (others is None or others.shape != own.shape):
        return {}
    found = {
        output: fidelity.to_store(own[:, of], None if others is None else others[:, of], is_reference)
        for output, of in measured.columns(cell.model, first).items()
    }
    return {output: array for output, array in found.items() if array is not None}


def _measurements(
    cell: Planned,
    outcomes: Sequence[Outcome],
    control: Outcome | None,
    float_control: Outcome | None,
    references: Sequence[Outcome],
) -> dict[str, Measurement]:
    good = [outcome for outcome in outcomes if outcome.failure is None]
    if cell.variant.compiled:
        return measured.sizes(good[0]) if good else {}
    measurements = measured.scores(cell.model, cell.variant.trained, outcomes)
    if not good:
        return measurements
    measurements |= measured.output_fidelity(cell.model.metric, good, control) | measured.sizes(good[0])
    if references or cell.reference is None:
        measurements |= measured.output_distance(cell.model, good, references, cell.variant.trained)
    if good[0].memory is not None:
        of_float = None if float_control is None or cell.id == cell.float_control else float_control.memory
        measurements |= measured.memory(good[0].memory, of_float)
    return measurements | (measured.steps(good) if cell.variant.trained else {})


def _evidence(result: CellResult, control: Outcome | None) -> Evidence | None:
    first, cell = result.first, result.cell
    if first is None or first.contents is None or (first.predictions is None and not cell.variant.compiled):
        return None
    others = None if control is None else control.predictions
    return Evidence(
        flipped=[]
        if others is None or first.predictions is None
        else fidelity.flipped(cell.model.metric, first.predictions, others),
        ranges=first.contents.ranges,
        range_method=cell.variant.taxonomy.range,
    )


class Results:
    """Hold the results of one run's cells, each made once its seeds and those of its controls are computed.

    Args:
        cells: of the run; may be filled later.
        so_far: cell -> one outcome per seed, None where it is not computed.
    """

    def __init__(self, cells: Mapping[CellId, Planned], so_far: Callable[[CellId], Sequence[Outcome | None]]) -> None:
        self._cells = cells
        self._so_far = so_far
        self._made: dict[CellId, tuple[tuple[bool, bool, int], CellResult]] = {}

    def of(self, cell_id: CellId) -> CellResult:
        """Return a cell's result as far as it is computed; the same object once it and its controls are finished."""
        cell = self._cells[cell_id]
        control, float_control = self._first(cell.control), self._first(cell.float_control)
        references = [] if cell.reference is None else [one for one in self._so_far(cell.reference) if one is not None]
        compared = (control is not None, float_control is not None, len(references))
        before = self._made.get(cell_id)
        if before is not None and before[0] == compared:
            return before[1]
        outcomes = [outcome for outcome in self._so_far(cell_id) if outcome is not None]
        result = result_of(cell, outcomes, control, float_control, references)
        if before is not None:
            result = replace(result, alone=before[1].alone)
        if result.finished:
            self._made[cell_id] = (compared, result)
        return result

    def forget(self, cell_id: CellId) -> None:
        """Make the result of a cell anew, as its seeds are others."""
        self._made.pop(cell_id, None)

    def _first(self, cell_id: CellId | None) -> Outcome | None:
        return None if cell_id is None else self._so_far(cell_id)[0]

    def join(self, cell_id: CellId, alone: MeasuredAlone) -> CellResult:
        """Return a finished cell's result with its exclusive measurements, which replaces the previous result."""
        result = replace(self.of(cell_id), alone=alone)
        self._made[cell_id] = (self._made[cell_id][0], result)
        return result

    def predictions(self) -> dict[str, dict[str, Array]]:
        """Return the predictions of each first seed, those of further outputs, and what later runs compare its outputs
        with, by model.
        """
        by_model: dict[str, dict[str, Array]] = {}
        for cell in self._cells.values():
            first = self._first(cell.id)
            if first is not None and first.predictions is not None:
                arrays = by_model.setdefault(cell.model.name, {})
                arrays[cell.variant.name] = first.predictions
                for there in (self._made[cell.id][1].alone.there if cell.id in self._made else {}).values():
                    if there.predictions is not None:
                        arrays[overlays.stored_as(cell.variant.name, there.results_class)] = there.predictions
                arrays.update({of_head(cell.variant.name, head): found for head, found in first.heads.items()})
                for output, kept in (self._made[cell.id][1].to_store if cell.id in self._made else {}).items():
                    arrays[outputs_of(cell.variant.name, output)] = kept
        return by_model

    def evidence(self) -> dict[str, dict[str, Evidence]]:
        """Return the details behind the numbers, by model and variant."""
        by_model: dict[str, dict[str, Evidence]] = {}
        for cell in self._cells.values():
            evidence = self.of(cell.id).evidence
            if evidence is not None:
                by_model.setdefault(cell.model.name, {})[cell.variant.name] = evidence
        return by_model


def sha256(predictions: Array | None) -> str | None:
    """Hash predictions, as hex; None where there are none."""
    return None if predictions is None else hashlib.sha256(np.ascontiguousarray(predictions).tobytes()).hexdigest()
