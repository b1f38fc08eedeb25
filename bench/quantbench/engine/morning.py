"""Find out what a red run is to say in the morning: what is red together, since which night, and what changed then."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from quantbench.comparison.earlier import Night, nights_before
from quantbench.comparison.nights import LocalNights, at_address
from quantbench.comparison.reds import Around, red_groups
from quantbench.core.addresses import is_address
from quantbench.core.options import RunOptions, given
from quantbench.errors import BadInput
from quantbench.records import BaselineCell, Report, Verdict

# Earlier runs that are looked at: a year of nights, of which each takes some milliseconds.
MOST_NIGHTS = 366
_RED = (Verdict.REGRESSED, Verdict.ERROR, Verdict.MISSING)


def with_reds(
    report: Report, folder: Path, options: RunOptions, accepted: Callable[[str], BaselineCell | None]
) -> Report:
    """Add to a report that has ended what is red in it, grouped; a report in which nothing is red stays as it is.

    Earlier runs that cannot be read are told in a note; no run fails for them.

    Args:
        folder: of the run.
        accepted: cell -> its baseline; None where it has none.
    """
    verdicts = [*(cell.verdict for cell in report.cells), *(one.judgement.verdict for one in report.pooled)]
    if not any(verdict in _RED for verdict in verdicts):
        return report
    nights, notes = _nights(report, folder, options)
    run = [str(folder), *_words(options)]
    reds = red_groups(report, Around(run, nights, accepted))
    return report.model_copy(update={"reds": reds, "notes": [*report.notes, *notes]})


def check_history(options: RunOptions) -> None:
    """Raise BadInput where the folder of earlier runs is named and not there; an address is looked at in the end."""
    if options.history and not is_address(options.history) and not Path(options.history).is_dir():
        raise BadInput(f"--history: {options.history} is not a folder; give the one that holds the earlier runs")


def _words(options: RunOptions) -> list[str]:
    return [
        word
        for name in ("model_dir", "baseline_dir")
        if given(options, name)
        for word in (f"--{name.replace('_', '-')}", str(getattr(options, name)))
    ]


def _nights(report: Report, folder: Path, options: RunOptions) -> tuple[list[Night], list[str]]:
    """Return the earlier runs, of the folder that the user named or of that which holds this run."""
    named = bool(options.history)
    try:
        nights = at_address(options.history, "--history") if named else LocalNights(folder.parent, "--report-dir")
        if isinstance(nights, LocalNights):
            nights = replace(nights, newest=MOST_NIGHTS)
        found, unreadable = nights_before(nights, report)
    except (BadInput, OSError) as error:
        return [], [f"earlier runs could not be read: {error}"]
    notes = [f"--history: {unreadable} runs of {options.history} could not be read"] if named and unreadable else []
    if named and not found:
        notes.append(f"--history: {options.history} holds no earlier run")
    return found, notes
