"""What a comparison is made from: two runs, or a run and the baselines; the predictions, and what scores them."""

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path

from quantbench.baselines.files import Baseline, stored_hashes
from quantbench.baselines.overlays import seen_by
from quantbench.comparison import Side, Truth
from quantbench.core.arrays import Array
from quantbench.core.environment import class_of, memory_class, threads_of, with_threads
from quantbench.errors import BadInput
from quantbench.records import BaselineCell, BaselineValue, Cell, Environment, Failure, Kind, Measurement, Report
from quantbench.records.measurements import entry, judged_latency, kind_of, name_at
from quantbench.records.run_folder import read
from quantbench.reference.datasets import read_predictions
from quantbench.reference.model import load_models


def read_sides(old: Path, new: Path) -> tuple[Side, Side]:
    """Two runs, each a folder or its ``report.json``; predictions are read only where they differ.

    Raises:
        BadInput: no such run, a damaged or newer report, or damaged predictions.
    """
    reports = [read(path) for path in (old, new)]
    models = _differing(reports[0][0], reports[1][0])
    return _side(*reports[0], models), _side(*reports[1], models)


def _differing(old: Report, new: Report) -> list[str]:
    before = {cell.id: cell.predictions_sha256 for cell in old.cells}
    return sorted({c.model for c in new.cells if c.id in before and c.predictions_sha256 != before[c.id]})


def _side(report: Report, folder: Path, models: list[str]) -> Side:
    """A file that is not there leaves its cells not comparable; one that is damaged is bad input."""
    paths = {model: folder / "predictions" / f"{model}.npz" for model in models}
    found = {
        model: read_predictions(path, "predictions of the run", inside=folder)
        for model, path in paths.items()
        if os.path.lexists(path)
    }
    return Side(report, found)


def baseline_sides(
    report: Report, folder: Path, baselines: Mapping[str, Baseline], only: Collection[str]
) -> tuple[Side, Side]:
    """What was accepted, in the form of a run, and the run; of both, what the run judged.

    Args:
        baselines: by model, as they lie on disk.
        only: the cells to compare.

    Raises:
        BadInput: the run's predictions are damaged.
    """
    cells = [_judged(cell) for cell in report.cells if cell.id in only]
    new = replace(_side(report.model_copy(update={"cells": cells}), folder, list(baselines)), called="this run")
    here = class_of(report.environment)
    seen = {model: seen_by(baseline, here) for model, baseline in baselines.items()}
    known = [(cell, seen[cell.model]) for cell in cells]
    old = [
        _judged(_accepted(cell, entry, baseline.predictions.get(cell.variant), report.environment))
        for cell, baseline in known
        if (entry := baseline.cell(cell.variant)) is not None
    ]
    data = {model: one.file.data_sha256 for model, one in seen.items() if one.file is not None}
    accepted = report.model_copy(update={"run": "baselines", "cells": old, "data_sha256": data})
    return Side(accepted, {model: one.predictions for model, one in seen.items()}, "the baseline"), new


def _accepted(cell: Cell, entry: BaselineCell, predictions: Array | None, environment: Environment) -> Cell:
    """A cell as it was accepted; metric and kinds are those of the run's."""
    score = entry.measurements.get("score")
    hashes = set() if predictions is None else stored_hashes(predictions)
    same = cell.predictions_sha256 if cell.predictions_sha256 in hashes else min(hashes, default=None)
    return Cell(
        **cell.model_dump(include={"id", "model", "variant", "family", "metric", "metric_unit", "verdicts"}),
        higher_is_better=cell.higher_is_better,
        metric_scale=cell.metric_scale,
        seeds=list(range(len(score.values or []))) if score else [],
        predictions_sha256=same,
        measurements={name: _measurement(value) for name, value in _values(cell, entry, environment).items()},
        census=entry.census,
        failure=None if entry.unsupported is None else Failure(what="unsupported", reason=entry.unsupported),
    )


def _values(cell: Cell, entry: BaselineCell, environment: Environment) -> dict[str, BaselineValue]:
    """Accepted values by the names of a run's measurements, of the classes of machine that the run belongs to."""
    found = dict(entry.measurements)
    timed = judged_latency(cell.variant)
    for machine, value in entry.latency.items():
        if machine == with_threads(environment.machine_class, threads_of(machine)):
            found[name_at(timed, threads_of(machine))] = value
    peak = entry.peak_memory.get(memory_class(environment))
    return found if peak is None else {**found, "peak_memory": peak}


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
    """A cell without what the run measured and did not judge, which accepting leaves alone too."""
    judged = (name for name in cell.measurements if entry(name).accepted and kind_of(name) in cell.verdicts)
    kept = {name: cell.measurements[name] for name in judged}
    census = cell.census if Kind.STRUCTURE in cell.verdicts else None
    return cell.model_copy(update={"measurements": kept, "census": census})


def truths(model_dir: Path, new: Report) -> Callable[[str], Truth | str]:
    """Labels and metric of a model as it is defined now, or why they are not those of the run."""

    def truth_of(name: str) -> Truth | str:
        try:
            model = load_models(model_dir).get(name)
        except BadInput as error:
            return f"its labels are not known: {error}"
        if model is None:
            return f"its labels are not known: {model_dir} does not define {name}; give its --model-dir"
        if model.data_sha256 != new.data_sha256.get(name):
            return f"its labels are not known: {name} uses another data pack by now; give the --model-dir of the runs"
        if any(cell.metric != model.metric.name for cell in new.cells if cell.model == name):
            return f"{name} is scored by {model.metric.name} by now; give the --model-dir of the runs"
        return Truth(model.metric, model.pack().test.y)

    return truth_of
