"""Run a user's own model: once (``try``), or permanently (``adopt``)."""

import math
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from quantbench import files
from quantbench.adopt import ranking, understand
from quantbench.adopt.search import search
from quantbench.baselines import files as baseline_files
from quantbench.baselines import update, update_cell
from quantbench.core.options import RunOptions
from quantbench.core.output import output_to
from quantbench.core.signals import check, settle, undisturbed
from quantbench.engine.session import Session
from quantbench.errors import BadInput, Exit, full_disk_named
from quantbench.records import Kind, Verdict
from quantbench.reference.datasets import read_predictions

Say = Callable[[str], None]


def try_once(
    given: understand.Given,
    folder: Path,
    variants: str,
    report_dir: Path,
    latency_budget: float,
    say: Say,
    everything: bool = False,
) -> Exit:
    """Quantize, measure, rank and recommend; the reports are those of a run.

    Args:
        everything: whether to try all variants where none are named, instead of the shortlist.

    Returns:
        GREEN where a variant or float32 can be recommended, NOT_MEASURED where even float32 could not be made.

    Raises:
        BadInput: see :func:`quantbench.adopt.understand.understand`.
    """
    if not 0 <= latency_budget < math.inf:
        raise BadInput(f"--latency-budget: expected seconds, or 0 for none, found {latency_budget}")
    say(f"loading {given.model}")
    with output_to(folder / "loading.log"):
        understood = understand.understand(given, "model", folder)
    model = understood.model
    for note in understood.notes:
        say(note)
    timed = latency_budget > 0
    kinds = {Kind.ACCURACY, Kind.SIZE, Kind.STRUCTURE, Kind.MEMORY} | ({Kind.LATENCY} if timed else set())
    options = RunOptions(variants=variants, report_dir=report_dir, latency_budget=latency_budget or 1.0)
    session, status, whole = search(understood, options, kinds, say, "all" if everything else "short")
    if not whole:
        return status
    path = session.folder.path / "predictions" / f"{model.name}.npz"
    made = path.exists()  # it does not exist if no cell was made
    predictions = read_predictions(path, "predictions", inside=session.folder.path) if made else {}
    labels = model.pack().test.y
    candidates = ranking.candidates(session.report, model.metric, predictions, labels, given.max_drop)
    say("")
    say(ranking.table(candidates, model.metric.unit, model.metric.name))
    for line in ranking.refused(session.report):
        say(f"refused: {line}")
    say("")
    if not candidates:
        say("The float model itself could not be converted or scored, so nothing can be recommended.")
        return Exit.NOT_MEASURED
    if told := ranking.too_small(model.metric, predictions, labels, candidates, given.max_drop):
        say(told)
    say(ranking.sentence(candidates, model.metric.unit, given.max_drop))
    say(f"report: {session.folder.path / 'report.md'}")
    return Exit.GREEN


def adopt_for_good(
    given: understand.Given, name: str, model_dir: Path, baseline_dir: Path, report_dir: Path, say: Say
) -> Exit:
    """Write the model's file, weights and data, measure it once with five seeds, and record that as its baseline.

    Returns:
        REGRESSED where a floor, or the agreement of the conversion, fails from the start.

    Raises:
        BadInput: see :func:`quantbench.adopt.understand.understand`; or the name is taken, or a folder cannot be
            written.
    """
    understand.check_name(name)
    if os.path.lexists(model_dir / f"{name}.py") or os.path.lexists(baseline_files.json_path(baseline_dir, name)):
        raise BadInput(
            f"--name: {name} exists already in {model_dir} or {baseline_dir}; give another, or remove it first"
        )
    if understand.is_code(given.model):
        raise BadInput(f"{given.model}: a .py model is a reference model already; copy it into {model_dir}")
    # Loaded and measured in a temporary folder first, so that a refused model leaves nothing in the user's folders.
    with tempfile.TemporaryDirectory(prefix="quantbench-") as aside:
        folder = Path(aside) / "model"
        with output_to(Path(aside) / "loading.log"):
            understood = understand.understand(given, name, folder)
        for note in understood.notes:
            say(note)
        options = RunOptions(report_dir=report_dir, seeds=update_cell.MINIMUM_SEEDS)
        kinds = {Kind.ACCURACY, Kind.SIZE, Kind.STRUCTURE, Kind.MEMORY}
        session, status, whole = search(understood, options, kinds, say)
        if not whole:
            return status
        update.check_report(session.report, session.folder.path)
        proposal = update.propose(
            session.report,
            session.folder.path,
            name,
            baseline_files.Baseline(),
            f"adopted from {Path(given.model).name}",
            floor_of=session.models[name].floor,
        )
        check()
        with undisturbed():  # a model without its baseline would be half adopted
            try:
                with full_disk_named(model_dir):
                    files.copy_tree(folder, model_dir, "the adopted model", leave_out=_is_cache)
            except OSError as error:
                words = f"cannot write to {model_dir}: {error.strerror}"
                raise BadInput(f"--model-dir: {words}; give another folder") from None
            saved = baseline_files.save(baseline_dir, proposal.file, proposal.predictions)
            settle()
    written = [model_dir / f"{name}.py", *saved]
    for path in written:
        say(f"wrote {path}")
    if session.report.environment.git_dirty:
        say(f"note: {update.of_local_changes(session.report.environment)}; record the baseline again once they are")
    for cell, why in proposal.declared.items():
        say(f"declared: {cell}: {why}")
    if open_limits := _undecided(session):
        say(
            f"undecided: {', '.join(open_limits)}: these examples do not tell whether the drop is within the limit "
            f"of {given.max_drop:g}; a warning in every run until more examples do"
        )
    red = _red(session)
    for message in red:
        say(f"RED {message}")
    if red:
        say(f"These are red in every run until the cause is gone, or a floor in {model_dir / name}.py is loosened.")
    say(f"gate it with: quantbench run --model-dir {model_dir} --baseline-dir {baseline_dir}")
    return Exit.REGRESSED if red else Exit.GREEN


def _is_cache(name: str) -> bool:
    return name == "__pycache__"


def _undecided(session: Session) -> list[str]:
    """List the cells whose limit lies inside the interval of their drop."""
    return [
        cell.id
        for cell in session.report.cells
        if any(one.against == "floor" and one.verdict is Verdict.WARN for one in cell.judgements)
    ]


def _red(session: Session) -> list[str]:
    """List failures that no baseline can accept: floors, and conversions that do not agree with the model."""
    judged = [(cell.id, judgement) for cell in session.report.cells for judgement in cell.judgements]
    return [
        f"{cell}: {judgement.message}"
        for cell, judgement in judged
        if judgement.verdict is Verdict.REGRESSED and judgement.kind is not Kind.STRUCTURE
    ]
