"""Load what a comparison needs: two runs, or a run and the baselines, their predictions, labels and metrics."""

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path

from quantbench.baselines.files import Baseline, json_path, stored_hashes
from quantbench.baselines.overlays import resolve
from quantbench.comparison import Side, Truth
from quantbench.core.arrays import Array
from quantbench.core.environment import class_of, memory_class, threads_of, with_threads
from quantbench.core.seed_spread import Sample, sample
from quantbench.errors import BadInput
from quantbench.records import (
    BaselineCell,
    BaselineFile,
    BaselineValue,
    Cell,
    Environment,
    Failure,
    Kind,
    Measurement,
    Report,
    parts,
    read_record,
)
from quantbench.records.measurements import (
    entry,
    judged_latency,
    kind_of,
    name_at,
    of_output,
    output_in,
    without_output,
)
from quantbench.records.run_folder import read


def read_sides(old: Path, new: Path) -> tuple[Side, Side]:
    """Read two runs, each a folder or its ``report.json``; predictions are read only where they differ.

    Raises:
        BadInput: a missing run, a damaged or newer report, or damaged predictions.
    """
    reports = [read(path) for path in (old, new)]
    models = _differing(reports[0][0], reports[1][0])
    return _side(*reports[0], models), _side(*reports[1], models)


def _differing(old: Report, new: Report) -> list[str]:
    before = {cell.id: cell.predictions_sha256 for cell in old.cells}
    # The report has no hash of the predictions of further outputs.
    return sorted(
        {c.model for c in new.cells if c.id in before and (c.outputs or c.predictions_sha256 != before[c.id])}
    )


def _side(report: Report, folder: Path, models: list[str]) -> Side:
    """Load a side; a missing predictions file makes its cells not comparable, a damaged one is bad input."""
    from quantbench.reference.datasets import read_predictions

    paths = {model: folder / "predictions" / f"{model}.npz" for model in models}
    predictions_of = {
        model: read_predictions(path, "predictions of the run", inside=folder)
        for model, path in paths.items()
        if os.path.lexists(path)
    }
    return Side(report, predictions_of)


def baseline_sides(
    report: Report, folder: Path, baselines: Mapping[str, Baseline], only: Collection[str]
) -> tuple[Side, Side]:
    """Build two sides from the accepted values and a run, limited to what the run judged.

    Args:
        baselines: by model, as stored on disk.
        only: ids of the cells to compare.

    Raises:
        BadInput: the run's predictions are damaged.
    """
    cells = [_judged(cell) for cell in report.cells if cell.id in only]
    new = replace(_side(report.model_copy(update={"cells": cells}), folder, list(baselines)), called="this run")
    here = class_of(report.environment)
    seen = {model: resolve(baseline, here) for model, baseline in baselines.items()}
    judged_cells = [(cell, seen[cell.model]) for cell in cells]
    old = [
        _judged(_accepted(cell, entry, baseline.predictions.get(cell.variant), report.environment))
        for cell, baseline in judged_cells
        if (entry := baseline.cell(cell.variant)) is not None
    ]
    data = {model: baseline.file.data_sha256 for model, baseline in seen.items() if baseline.file is not None}
    accepted = report.model_copy(update={"run": "baselines", "cells": old, "data_sha256": data})
    return Side(accepted, {model: baseline.predictions for model, baseline in seen.items()}, "the baseline"), new


def _accepted(cell: Cell, entry: BaselineCell, predictions: Array | None, environment: Environment) -> Cell:
    """Build a cell from its accepted values, with the metric and kinds of the run's cell."""
    score = entry.measurements.get("score")
    hashes = set() if predictions is None else stored_hashes(predictions)
    same = cell.predictions_sha256 if cell.predictions_sha256 in hashes else min(hashes, default=None)
    return Cell(
        **cell.model_dump(include={"id", "model", "variant", "family", "metric", "metric_unit", "outputs", "verdicts"}),
        higher_is_better=cell.higher_is_better,
        metric_scale=cell.metric_scale,
        seeds=list(range(len(score.values or []))) if score else [],
        predictions_sha256=same,
        measurements={name: _measurement(value) for name, value in _values(cell, entry, environment).items()},
        census=entry.census,
        failure=None if entry.unsupported is None else Failure(what="unsupported", reason=entry.unsupported),
    )


def _values(cell: Cell, entry: BaselineCell, environment: Environment) -> dict[str, BaselineValue]:
    """Map accepted values to a run's measurement names, for the machine classes of the run."""
    values = dict(entry.measurements)
    timed = judged_latency(cell.variant)
    for machine, value in entry.latency.items():
        if machine == with_threads(environment.machine_class, threads_of(machine)):
            values[name_at(timed, threads_of(machine))] = value
    peak = entry.peak_memory.get(memory_class(environment))
    return values if peak is None else {**values, "peak_memory": peak}


def _measurement(value: BaselineValue) -> Measurement:
    spread = value.noise or None
    return Measurement(
        value=value.value,
        unit=value.unit,
        n=value.n,
        spread=spread,
        spread_of=value.noise_from if spread else None,
        values=value.values,
    )


def _judged(cell: Cell) -> Cell:
    """Remove what the run measured without judging it, which accepting leaves unchanged too."""
    judged = (name for name in cell.measurements if entry(name).accepted and kind_of(name) in cell.verdicts)
    kept = {name: cell.measurements[name] for name in judged}
    census = cell.census if Kind.STRUCTURE in cell.verdicts else None
    return cell.model_copy(update={"measurements": kept, "census": census})


def truths(model_dir: Path, new: Report) -> Callable[[str], Truth | str]:
    """Return a function that loads a model's labels and metric, or says why they differ from the run's.

    A further output of a model is asked for as ``MODEL@OUTPUT``.
    """

    def truth_of(scored: str) -> Truth | str:
        from quantbench.reference.heads import by_output  # slow to load, and most comparisons need no label
        from quantbench.reference.model import load_models

        name, output = without_output(scored), output_in(scored)
        try:
            model = load_models(model_dir).get(name)
        except BadInput as error:
            return f"its labels are unknown: {error}"
        if model is None:
            return f"its labels are unknown: {model_dir} does not define {name}; give its --model-dir"
        if model.data_sha256 != new.data_sha256.get(name):
            return (
                f"its labels are unknown: the data pack of {name} has changed since; give the --model-dir of the runs"
            )
        if any(cell.metric != model.metric.name for cell in new.cells if cell.model == name):
            return f"the metric of {name} has changed to {model.metric.name} since; give the --model-dir of the runs"
        of_output = by_output(model).get(output)
        if of_output is None:
            return (
                f"its labels are unknown: {name} scores no output {output} any more; give the --model-dir of the runs"
            )
        return Truth(of_output.metric, of_output.pack().test.y)

    return truth_of


def retrained(old: Side, new: Side) -> list[str]:
    """List the trained cells whose score or predictions differ, as only these are judged by the spread of trainings."""
    before = {cell.id: (cell.predictions_sha256, cell.measurements.get("score")) for cell in old.report.cells}
    return [
        cell.id
        for cell in new.report.cells
        if cell.seeds and before.get(cell.id) != (cell.predictions_sha256, cell.measurements.get("score"))
    ]


def accepted_spreads(folder: Path, cells: Collection[str]) -> dict[str, list[Sample]]:
    """Read the spread of trainings from the baselines of these cells' models; a model without a baseline has none.

    Raises:
        BadInput: a baseline file is damaged or newer than this version can read.
    """
    paths = {model: json_path(folder, model) for model in sorted({parts(cell)[0] for cell in cells})}
    baselines = {
        model: read_record(path, BaselineFile, "baseline") for model, path in paths.items() if os.path.lexists(path)
    }
    values = {
        of_output(f"{model}/{variant}", output): [
            value.values for value in _scores(cell, output) if value.values and len(value.values) > 1
        ]
        for model, baseline in baselines.items()
        for variant, cell in baseline.cells.items()
        for output in ("", *baseline.outputs)
    }
    return {cell: [sample(scores) for scores in found] for cell, found in values.items() if found}


def _scores(cell: BaselineCell, output: str) -> list[BaselineValue]:
    """List the accepted scores of an output of a cell: its base's, and those of its overlays."""
    measured = [cell.measurements, *(overlay.measurements for overlay in cell.overlays.values())]
    name = of_output("score", output)
    return [values[name] for values in measured if name in values]
