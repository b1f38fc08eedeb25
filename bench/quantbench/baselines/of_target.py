"""Read a run's report as one of a target: what its cells answered there, so that it can be accepted for its class.

The accepted answers of a target are an overlay of its results class, beside those of the machines that gate; only the
score and its predictions are taken.
"""

from pathlib import Path

from quantbench.baselines.files import packed
from quantbench.errors import BadInput
from quantbench.records import Cell, Kind, Report, Verdict
from quantbench.reference.datasets import read_predictions


def as_of_target(report: Report, name: str, option: str = "--target") -> Report:
    """Return the report as if the target had been the machine of the run.

    Raises:
        BadInput: no cell of the run has answers of such a target.
    """
    target = report.targets.get(name)
    if target is None or target.machine is None:
        known = ", ".join(report.targets) or "none"
        raise BadInput(f"{option}: the run has no target {name!r} that answered; it has: {known}")
    cells = [seen for cell in report.cells if (seen := _as_there(cell, name)) is not None]
    if not cells:
        raise BadInput(f"{option}: no cell of the run has answers of {name}; run them there first")
    machine = target.machine
    packages = {**report.environment.packages, "ai-edge-litert": machine.litert, "numpy": machine.numpy}
    there = report.environment.model_copy(
        update={
            "cpu": machine.cpu,
            "isa": machine.isa,
            "cores": machine.cores,
            "memory_gib": round(machine.memory / 2**30, 1),
            "os": machine.os,
            "python": machine.python,
            "packages": packages,
            "results_class": target.results_class,
            "host": "",
        }
    )
    return report.model_copy(update={"cells": cells, "environment": there, "pooled": [], "reds": []})


def _as_there(cell: Cell, name: str) -> Cell | None:
    there = cell.targets.get(name)
    if there is None or "score" not in there.measurements:
        return None
    return cell.model_copy(
        update={
            "measurements": {"score": there.measurements["score"]},
            "predictions_sha256": there.predictions_sha256,
            "judgements": [],
            "verdict": Verdict.PASS,
            "verdicts": {Kind.ACCURACY: Verdict.PASS},
            "seeds": [],
            "targets": {},
        }
    )


def write_predictions(report: Report, name: str, run_folder: Path, into: Path) -> None:
    """Write what the cells answered on a target as a run there would have left it: ``predictions/<model>.npz``.

    Args:
        report: of the run, with its targets.
        into: a folder of ours.
    """
    results_class = report.targets[name].results_class
    (into / "predictions").mkdir()
    for model in sorted({cell.model for cell in report.cells}):
        path = run_folder / "predictions" / f"{model}.npz"
        if not path.is_file():
            continue
        stored = read_predictions(path, "predictions of the run", inside=run_folder)
        end = f"@{results_class}"
        there = {key.removesuffix(end): values for key, values in stored.items() if key.endswith(end)}
        (into / "predictions" / f"{model}.npz").write_bytes(packed(there))
