"""Try a user's own model once; :mod:`quantbench.adopt.gating` adopts it permanently."""

import math
from collections.abc import Callable
from pathlib import Path

from quantbench.adopt import ranking, understand
from quantbench.adopt.search import search
from quantbench.core.options import RunOptions
from quantbench.core.output import output_to
from quantbench.errors import BadInput, Exit
from quantbench.records import Kind
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
    session, status, whole = search(understood, options, kinds, say, short=not everything)
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
