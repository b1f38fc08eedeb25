"""Try a user's own model once; :mod:`quantbench.adopt.gating` adopts it permanently."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from quantbench.adopt import on_micro, ranking, understand
from quantbench.adopt.limits import Limit
from quantbench.adopt.search import run_predictions, search
from quantbench.core import config
from quantbench.core.options import RunOptions
from quantbench.core.output import output_to
from quantbench.core.signals import undisturbed
from quantbench.engine import artifacts, finish
from quantbench.engine.progress import Progress, before_an_answer
from quantbench.engine.session import Session
from quantbench.errors import BadInput, Exit, full_disk_named
from quantbench.records import Advice, Kind, Preference, Report, json_text, rounded
from quantbench.report.advice import MOST_LINES, screen

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
        answer: the advice, put into text by ``render``, which is told what lines were printed before it.
    """

    say: Say
    answer: Say
    render: Callable[[Advice, Sequence[str]], str]

    @staticmethod
    def on(out: Say, err: Say, as_json: bool) -> "Shown":
        """Print everything to ``out``; as JSON the advice alone."""
        return Shown(err, out, _as_json) if as_json else Shown(out, out, after)


def after(advice: Advice, said: Sequence[str]) -> str:
    """Return the advice for a terminal, in the lines that are left, without warnings that were printed before."""
    new = [each for each in advice.warnings if f"{WARNING}{each}" not in said]
    return screen(advice.model_copy(update={"warnings": new}), MOST_LINES - len(said))


def _as_json(advice: Advice, said: Sequence[str]) -> str:
    del said
    return json_text(rounded(advice.model_dump(mode="json", exclude_none=True)))


@dataclass(frozen=True)
class Tried:
    """Hold a model that was tried.

    Attributes:
        status: the command line's exit status; ``Exit.GREEN`` where a variant or float32 is recommended, and
            ``Exit.NOT_MEASURED`` where even float32 could not be made or scored.
        folder: the run's folder, with its report, and every artifact in ``artifacts/``.
        report: every variant with its measurements.
        advice: the recommendation and what it rests on; None where the run was interrupted.
        notes: what was worked out about model and data, one sentence each.
    """

    status: Exit
    folder: Path
    report: Report
    advice: Advice | None
    notes: tuple[str, ...] = ()


def try_once(
    given: understand.Given,
    folder: Path,
    variants: str,
    report_dir: Path,
    latency_budget: float,
    shown: Shown,
    prefer: str = "balanced",
    everything: bool = False,
    target: str = "",
) -> Exit:
    """Quantize, measure and recommend, and show the advice; see :func:`tried`."""
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        shown.say(line)

    done = tried(given, folder, variants, report_dir, latency_budget, say, prefer, everything, target=target)
    if done.advice is not None:
        shown.answer(shown.render(done.advice, said))
    return done.status


def tried(
    given: understand.Given,
    folder: Path,
    variants: str,
    report_dir: Path,
    latency_budget: float,
    say: Say,
    prefer: str = "balanced",
    everything: bool = False,
    progress: Callable[[Say], Progress] = before_an_answer,
    target: str = "",
) -> Tried:
    """Quantize, measure and recommend; the run's folder gets the advice and every artifact.

    Args:
        say: progress and notes.
        everything: whether to try all variants where none are named, instead of the shortlist.
        target: what will be shipped to: ``tflm`` for TFLite-Micro; empty for a machine like this one.

    Raises:
        BadInput: see :func:`quantbench.adopt.understand.understand`; or an option is wrong.
    """
    to_micro = on_micro.check(target, prefer)
    timed = latency_budget > 0 and not to_micro
    if not 0 <= latency_budget < math.inf:
        raise BadInput(f"--latency-budget: expected seconds, or 0 for none, found {latency_budget}")
    preferred = ranking.preference(prefer, timed)
    say(f"loading {given.model}")
    with output_to(folder / "loading.log"):
        understood = understand.understand(given, "model", folder)
    ranking.unscored(
        ranking.judged_of(understood), given.max_drop
    )  # so that a limit that does not fit is refused before anything is made
    for note in few(understood.notes):
        say(note)
    kinds = {Kind.ACCURACY, Kind.SIZE, Kind.STRUCTURE, Kind.MEMORY} | ({Kind.LATENCY} if timed else set())
    kinds |= {Kind.MICRO} if to_micro else set()
    options = RunOptions(variants=variants, report_dir=report_dir, latency_budget=latency_budget or 1.0)
    session, status, whole = search(understood, options, kinds, say, "all" if everything else "short", progress)
    folder, notes = session.folder.path, tuple(understood.notes)
    if not whole:
        return Tried(status, folder, session.report, None, notes)
    advice = advised(session, understood, given.max_drop, preferred)
    advice = on_micro.advised(advice, session.report) if to_micro else advice
    advice, status = _recorded(session, advice, given)
    report = session.report.model_copy(update={"advice": advice, "exit_status": int(status)})
    return Tried(status, folder, report, advice, notes)


MOST_NOTES = 7
WARNING = "warning: "


def few(notes: Sequence[str]) -> list[str]:
    """Return the first notes, warnings before others, and how many more there are in the report."""
    if len(notes) <= MOST_NOTES:
        return list(notes)
    by_weight = sorted(range(len(notes)), key=lambda place: not notes[place].startswith(WARNING))
    kept = sorted(by_weight[: MOST_NOTES - 1])
    return [*(notes[place] for place in kept), f"… and {len(notes) - len(kept)} more notes in report.md"]


def advised(
    session: Session, understood: understand.Understood, limit: Limit, prefer: Preference = "balanced"
) -> Advice:
    """Advise on a finished run of one model, by its report and predictions.

    Raises:
        BadInput: the limit does not fit the metric.
    """
    predictions = run_predictions(session, understood.model.name)
    advice = ranking.advise(session.report, ranking.judged_of(understood), predictions, limit, prefer)
    return advice.model_copy(update={"warnings": [*advice.warnings, *of_data(understood.notes)]})


def of_data(notes: Sequence[str]) -> list[str]:
    """Return what is wrong with the data, which weakens any advice."""
    return [note.removeprefix(WARNING) for note in notes if note.startswith(WARNING)]


def _recorded(session: Session, advice: Advice, given: understand.Given) -> tuple[Advice, Exit]:
    """Write the advice and the artifacts into the run's folder; the exit status there is the one returned."""
    folder = session.folder.path
    with full_disk_named(folder):
        kept = artifacts.keep(session.report, folder, session.artifacts())
        advice = ranking.with_files(advice, kept).model_copy(
            update={"folder": str(folder), "model": given.model, "arguments": [*arguments(given), *own_folders()]}
        )
        status = Exit.NOT_MEASURED if advice.choice is None else Exit.GREEN
        with undisturbed():
            session.folder.write_advice(
                session.report.model_copy(update={"advice": advice, "exit_status": int(status)})
            )
            finish.reported = status
    return advice, status


def own_folders() -> list[str]:
    """Return the options of ``adopt`` that name the folders of the repository's config; none where it has no config."""
    settings = config.resolve()
    if not settings.files:
        return []
    return ["--model-dir", str(settings["model_dir"]), "--baseline-dir", str(settings["baseline_dir"])]


def arguments(given: understand.Given) -> list[str]:
    """Return the options that repeat what was given, as ``try`` and ``adopt`` take them."""
    words = []
    for field, option in _OPTIONS.items():
        if value := getattr(given, field, None):
            words += [option, str(value)]
    for limit in given.max_drop.words():
        words += ["--max-drop", limit]
    return [*words, "--allow-code"] if given.allow_code else words
