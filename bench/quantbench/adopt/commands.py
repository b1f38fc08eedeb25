"""Run a user's own model: once (``try``), or permanently (``adopt``)."""

import math
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from quantbench import files
from quantbench.adopt import ranking, understand
from quantbench.adopt.limits import Limit
from quantbench.adopt.search import search
from quantbench.baselines import files as baseline_files
from quantbench.baselines import update, update_cell
from quantbench.core.options import RunOptions
from quantbench.core.output import output_to
from quantbench.core.signals import check, settle, undisturbed
from quantbench.engine import artifacts, finish
from quantbench.engine.session import Session
from quantbench.errors import BadInput, Exit, full_disk_named
from quantbench.records import Advice, Kind, Preference, Verdict, json_text, rounded
from quantbench.reference.datasets import read_predictions
from quantbench.report.advice import screen

Say = Callable[[str], None]
# Field of what was given -> the option that repeats it.
_OPTIONS = {
    "evaluation": "--data",
    "calibration": "--calibration",
    "training": "--train-data",
    "metric": "--metric",
    "output": "--output",
    "labels": "--labels",
}


@dataclass(frozen=True)
class Shown:
    """Hold where ``try`` prints to.

    Attributes:
        say: progress and notes.
        answer: the advice, put into text by ``render``.
    """

    say: Say
    answer: Say
    render: Callable[[Advice], str] = screen

    @staticmethod
    def on(out: Say, err: Say, as_json: bool) -> "Shown":
        """Print everything to ``out``; as JSON the advice alone."""
        return Shown(err, out, _as_json) if as_json else Shown(out, out)


def _as_json(advice: Advice) -> str:
    return json_text(rounded(advice.model_dump(mode="json", exclude_none=True)))


def try_once(
    given: understand.Given,
    folder: Path,
    variants: str,
    report_dir: Path,
    latency_budget: float,
    shown: Shown,
    prefer: str = "balanced",
) -> Exit:
    """Quantize, measure and recommend; the run's folder gets the advice and every artifact.

    Returns:
        GREEN where a variant or float32 can be recommended, NOT_MEASURED where even float32 could not be made.

    Raises:
        BadInput: see :func:`quantbench.adopt.understand.understand`; or an option is wrong.
    """
    timed = latency_budget > 0
    if not 0 <= latency_budget < math.inf:
        raise BadInput(f"--latency-budget: expected seconds, or 0 for none, found {latency_budget}")
    preferred = ranking.preference(prefer, timed)
    with output_to(folder / "loading.log"):
        understood = understand.understand(given, "model", folder)
    ranking.unscored(
        ranking.judged_of(understood), given.max_drop
    )  # so that a limit that does not fit is refused before anything is made
    for note in understood.notes:
        shown.say(note)
    kinds = {Kind.ACCURACY, Kind.SIZE, Kind.STRUCTURE, Kind.MEMORY} | ({Kind.LATENCY} if timed else set())
    options = RunOptions(variants=variants, report_dir=report_dir, latency_budget=latency_budget or 1.0)
    session, status, whole = search(understood, options, kinds, shown.say)
    if not whole:
        return status
    advice, status = _recorded(session, advised(session, understood, given.max_drop, preferred), given)
    shown.answer(shown.render(advice))
    return status


def advised(
    session: Session, understood: understand.Understood, limit: Limit, prefer: Preference = "balanced"
) -> Advice:
    """Advise on a finished run of one model, by its report and predictions.

    Raises:
        BadInput: the limit does not fit the metric.
    """
    folder = session.folder.path
    path = folder / "predictions" / f"{understood.model.name}.npz"
    made = path.exists()  # it does not exist if no cell was made
    predictions = read_predictions(path, "predictions", inside=folder) if made else {}
    return ranking.advise(session.report, ranking.judged_of(understood), predictions, limit, prefer)


def _recorded(session: Session, advice: Advice, given: understand.Given) -> tuple[Advice, Exit]:
    """Write the advice and the artifacts into the run's folder; the exit status there is the one returned."""
    folder = session.folder.path
    with full_disk_named(folder):
        kept = artifacts.keep(session.report, folder, session.artifacts())
        advice = ranking.with_files(advice, kept).model_copy(
            update={"folder": str(folder), "model": given.model, "arguments": arguments(given)}
        )
        status = Exit.NOT_MEASURED if advice.choice is None else Exit.GREEN
        with undisturbed():
            session.folder.write_advice(
                session.report.model_copy(update={"advice": advice, "exit_status": int(status)})
            )
            finish.reported = status
    return advice, status


def arguments(given: understand.Given) -> list[str]:
    """Return the options that repeat what was given, as ``try`` and ``adopt`` take them."""
    words = []
    for field, option in _OPTIONS.items():
        if value := getattr(given, field, None):
            words += [option, str(value)]
    for limit in given.max_drop.words():
        words += ["--max-drop", limit]
    return [*words, "--allow-code"] if given.allow_code else words


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
            f"of {understood.model.floors['default'].max_drop:g}; a warning in every run until more examples do"
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
