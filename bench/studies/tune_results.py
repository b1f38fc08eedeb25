"""Measure what ``quantbench tune`` finds, beside every fixed variant that needs no training, and what that costs.

    python -m studies.tune_results --report-dir reports/reference
    python -m studies.tune_results --models outlier --report-dir reports/times

``outlier`` is the model of :mod:`studies.outlier_model`, any other name a reference model. The command starts from an
empty cache. Each fixed variant is then judged on the same examples that the search never saw, by itself and at the same
level; those that are smaller than the answer and within by that are named, if there are any. CPU seconds are those of
all processes of the command, as they depend less on what else the machine does.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quantbench.adopt import candidates, limits
from quantbench.adopt.candidates import Tried
from quantbench.adopt.prepared import Prepared, prepare
from quantbench.adopt.understand import Given
from quantbench.core.options import PACKAGE, RunOptions
from quantbench.errors import BadInput
from quantbench.records import JudgedOutput, TriedArtifact, Tuning
from quantbench.reference.model import load_models
from quantbench.report import advice
from quantbench.report.tuning import settings_words
from quantbench.variants import FLOAT_CONTROL, VARIANTS, of_every_model

from studies import _common, outlier_model

OUTLIER = "outlier"
MODELS = (OUTLIER, "vit_tiny")


@dataclass(frozen=True)
class Result:
    """Hold what was found for one model.

    Attributes:
        cpu: seconds of all processes of the command.
        fixed: every fixed variant that could be made, judged by itself.
    """

    model: str
    found: Tuning
    cpu: float
    fixed: list[TriedArtifact]


def given_for(model: str, folder: Path, limit: str) -> Given:
    """Return the model and its data as the command takes them."""
    drop = limits.parse(limit)
    if model == OUTLIER:
        path = outlier_model.write(folder)
        return Given(str(path), folder / "eval.npz", folder / "calibration.npz", max_drop=drop)
    known = load_models(RunOptions().model_dir)
    if model not in known:
        raise BadInput(f"--models: no model {model!r}; expected {OUTLIER}, {', '.join(known)}")
    return Given(f"{known[model].file}:{model}", None, max_drop=drop)


def tuned(given: Given, folder: Path, limit: str, seconds: float) -> tuple[Tuning, float]:
    """Run the command from an empty cache; return what it found and its CPU seconds."""
    data = ["--data", str(given.evaluation), "--calibration", str(given.calibration)] if given.evaluation else []
    command = [sys.executable, "-m", "quantbench", "tune", given.model, *data, "--max-drop", limit, "--json"]
    command += ["--seconds", str(seconds), "--report-dir", str(folder / "reports")]
    environment = os.environ | {"QUANTBENCH_CACHE": str(folder / "cache"), "PYTHONPATH": _path()}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 3):
        raise BadInput(f"{given.model}: the command ended with status {done.returncode}: {done.stderr[-500:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    answer: dict[str, Any] = json.loads(done.stdout)
    return Tuning.model_validate(answer), cpu


def _path() -> str:
    return os.pathsep.join([str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])


def fixed_beside(given: Given, folder: Path) -> tuple[Prepared, list[TriedArtifact]]:
    """Judge every variant that needs no training, each by itself, on the examples that the search never saw."""
    names = [name for name in of_every_model() if not VARIANTS[name].trained]
    place = folder / "fixed"
    place.mkdir()
    prepared, _ = prepare(given, place, folder / "reports", names, lambda _: None)
    if prepared is None:
        raise KeyboardInterrupt
    found = []
    for name in prepared.fixed:
        if name != FLOAT_CONTROL:
            size = len(prepared.artifact(name))
            unseen = {key: values[prepared.judging.places] for key, values in prepared.predictions[name].items()}
            one = candidates.judgement(Tried(name, size, size, 0.0, 0.0), prepared.judging, unseen)
            found.append(TriedArtifact(name=name, bytes=size, searched=0.0, outputs=one.outputs, verdict=one.verdict))
    return prepared, sorted(found, key=lambda one: one.bytes)


def measured(model: str, limit: str, seconds: float) -> Result:
    """Tune one model, and judge its fixed variants."""
    with tempfile.TemporaryDirectory(prefix="quantbench-") as aside:
        folder = Path(aside)
        given = given_for(model, folder, limit)
        found, cpu = tuned(given, folder, limit, seconds)
        _, fixed = fixed_beside(given, folder)
        return Result(model, found, cpu, fixed)


def text(results: list[Result], limit: str) -> str:
    """Format the page."""
    first = results[0].found.judged[0]
    parts = [
        "# What tune finds",
        f"By `python -m studies.tune_results`; limit {limit} {first.unit}. {_common.machine()}",
        *(part for one in results for part in _of_one(one)),
    ]
    return "\n\n".join(parts) + "\n"


def _of_one(one: Result) -> list[str]:
    found, first = one.found, one.found.judged[0]
    chosen = found.choice
    rows = [[f"**tune**: {_name(chosen)}", *_figures(chosen, found)]] if chosen is not None else []
    rows += [[each.name, *_figures(each, found)] for each in one.fixed]
    headers = ["artifact", "KiB", "/ float32", f"drop on unseen examples, {first.unit} (95 %)", "verdict"]
    return [
        f"## {one.model}",
        f"{found.fixed} fixed variants and {found.mixed} mixed artifacts tried; searched on {found.searched:,} "
        f"examples, judged on {first.examples:,}; {one.cpu:.0f} CPU s in all, from an empty cache. {_beside(one)}",
        _common.table(headers, rows),
    ]


def _beside(one: Result) -> str:
    chosen = one.found.choice
    if chosen is None:
        return "Nothing is within the limit."
    within = [each for each in one.fixed if each.verdict == "within"]
    smaller = [each for each in within if each.bytes < chosen.bytes]
    if smaller:
        return f"Smaller and within when judged by itself: {', '.join(each.name for each in smaller)}."
    if not within:
        return "No fixed variant is within."
    best = min(within, key=lambda each: each.bytes)
    return f"{chosen.bytes / best.bytes:.2f} times the smallest fixed variant within ({best.name})."


def _name(one: TriedArtifact) -> str:
    return one.name or settings_words(one)


def _figures(one: TriedArtifact, found: Tuning) -> list[str]:
    first: JudgedOutput = found.judged[0]
    size = one.bytes / found.float_bytes
    return [f"{one.bytes / 1024:.1f}", f"{size:.2f}", advice.drop(one.outputs[0], first), str(one.verdict)]


def main() -> None:
    """Measure, and write ``tune_results.md``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--max-drop", default="0.5")
    parser.add_argument("--seconds", type=float, default=75.0)
    parser.add_argument("--report-dir", type=Path, default=Path("reports/reference"))
    asked = parser.parse_args()
    results = [measured(name, asked.max_drop, asked.seconds) for name in asked.models.split(",")]
    asked.report_dir.mkdir(parents=True, exist_ok=True)
    (asked.report_dir / "tune_results.md").write_text(text(results, asked.max_drop), encoding="utf-8")


if __name__ == "__main__":
    main()
