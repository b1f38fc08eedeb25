"""Make run folders without measuring, for the tests of comparisons between runs."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from quantbench.baselines.files import packed
from quantbench.comparison import Side
from quantbench.core.arrays import Array
from quantbench.records import (
    Cell,
    Census,
    Compute,
    Environment,
    FalseAlarms,
    Judgement,
    Kind,
    Measurement,
    Report,
    Verdict,
    write_json,
)
from quantbench.records.run_folder import REPORT

LABELS = np.arange(1000) % 10


def answers(wrong: int, at: int = 0) -> Array:
    """Make predictions of which ``wrong`` are wrong, from index ``at`` on."""
    predictions = LABELS.astype(np.uint16)
    predictions[at : at + wrong] = (predictions[at : at + wrong] + 1) % 10
    return predictions


def measured(value: float, unit: str = "bytes", values: list[float] | None = None, n: int = 1000) -> Measurement:
    return Measurement(value=value, unit=unit, n=len(values) if values else n, values=values)


def cell(variant: str = "v", predictions: Array | None = None, **more: Any) -> Cell:
    """Make a cell of model ``m``; keyword arguments replace fields, ``measurements`` adds to the score."""
    measurements = {}
    if predictions is not None and len(predictions) == len(LABELS):
        measurements["score"] = measured(float(np.mean(predictions == LABELS)), "fraction")
    measurements |= more.pop("measurements", {})
    sha = None if predictions is None else hashlib.sha256(predictions.tobytes()).hexdigest()
    fields: dict[str, Any] = {"family": "ptq", "metric": "accuracy", "metric_unit": "pp", "predictions_sha256": sha}
    return Cell(id=f"m/{variant}", model="m", variant=variant, measurements=measurements, **(fields | more))


def floor(drop: float, limit: float = 0.5) -> list[Judgement]:
    return [
        Judgement(
            kind=Kind.ACCURACY,
            measurement="score",
            against="floor",
            verdict=Verdict.PASS,
            change=drop,
            tolerance=limit,
            message="",
        )
    ]


def clustered(**moved: Any) -> Census:
    """Take the census of an artifact with one kernel of 16 values per channel and one activation.

    Args:
        moved: facts that replace the default ones.
    """
    facts: dict[str, Any] = {"zeros": 0.002, "distinct": 30, "distinct_in_channel": 16, "scale": 0.01, "range": 0.02}
    facts |= moved
    ranges = [(facts.pop("range"), -128)]
    kernel = Compute(operator="CONV_2D", precision="integer", weights="int8", shape=[64, 3, 3, 8], **facts)
    parts: dict[str, Any] = {"constants": {}, "operators": {}, "activations": {}, "inputs": [], "outputs": []}
    return Census(scales=64, compute=[kernel], ranges=ranges, **parts)


def environment(**more: Any) -> Environment:
    fields: dict[str, Any] = {
        "python": "3.12.1",
        "os": "Linux 6",
        "cpu": "A",
        "isa": "12345678",
        "cores": 2,
        "memory_gib": 8.0,
        "packages": {"tensorflow": "2.20.0"},
        "git_commit": "a" * 40,
        "git_dirty": False,
        "machine_class": "A_2-core",
    }
    return Environment(**(fields | more))


def report(cells: list[Cell], run: str = "2026-01-01T00-00-00Z", **more: Any) -> Report:
    fields: dict[str, Any] = {
        "started": run.replace("Z", "+00:00"),
        "seconds": 1.0,
        "state": "complete",
        "exit_status": 0,
        "selection": "",
        "environment": environment(),
        "false_alarms": FalseAlarms(budget=0.01, judgements=0, share=0.01),
        "data_sha256": {"m": "d" * 64},
    }
    return Report(run=run, cells=cells, **(fields | more))


def side(cells: list[Cell], predictions: dict[str, Array] | None = None, **more: Any) -> Side:
    return Side(report(cells, **more), {"m": predictions or {}})


def write(folder: Path, report: Report, predictions: dict[str, Array] | None = None) -> Path:
    """Write a run folder with the name of the run."""
    path = folder / report.run
    (path / "predictions").mkdir(parents=True)
    write_json(path / REPORT, report)
    if predictions:
        (path / "predictions" / "m.npz").write_bytes(packed(predictions))
    return path
