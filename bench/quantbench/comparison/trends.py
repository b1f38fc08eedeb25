"""Extract one cell from a history as a series on each kind of machine.

Each kind of machine has a series of its own, because another processor rounds differently. An upgrade of the runtime
does not begin a new series: it is what a history is to date.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from quantbench.comparison.history import VERDICTS, History
from quantbench.comparison.spread import Spread
from quantbench.comparison.summary import Scoring, Summary, scored_as
from quantbench.core.arrays import Array
from quantbench.errors import BadInput
from quantbench.records import Verdict
from quantbench.records.measurements import RATIO, TO_YARDSTICK

ABSENT = "without this cell"
OTHER_PROCESSOR = "on another kind of processor, shown as a series of its own"
RECENT = 30  # newest runs in which a kind of machine must have run, to be shown


@dataclass(frozen=True)
class Trend:
    """Describe one cell over the runs.

    Attributes:
        runs: those with this cell that measured the newest run's data with the same metric.
        values: measurement -> one value per run; NaN where it was not measured, or on another machine class.
        machine: on which these runs were made.
        spread: of a trained cell's score over seeds; None where that is not known.
        verdict, since: of the newest run, and the first run of the unbroken series with this verdict.
        apart: why other runs are not comparable -> number of runs.
    """

    cell: str
    scoring: Scoring
    runs: list[Summary]
    values: dict[str, Array]
    verdict: Verdict
    since: Summary
    verdict_before: Verdict | None
    apart: dict[str, int]
    machine: str = ""
    spread: Spread | None = None

    @property
    def trained(self) -> bool:
        """Return whether the cell's score comes from training."""
        return self.cell in self.runs[-1].trained


def trends(history: History, cell: str) -> list[Trend]:
    """Extract one cell on each kind of machine of the newest runs, the newest run's first.

    Machines with one kind of processor share all but latency, which is then in the first one alone.

    Raises:
        BadInput: no run has the cell.
    """
    first = trend(history, cell)
    column, (_, asked) = history.cells.index(cell), history.questions(scored_as(cell))
    holding = np.flatnonzero(history.verdicts[:, column] >= 0)
    recent = holding[holding >= len(history.runs) - RECENT].tolist() or [holding[-1]]
    found, seen = [first], {(str(history.isas[holding[-1]]), first.machine)}
    for place in reversed(recent):
        isa, machine = str(history.isas[place]), str(history.machines[place])
        if (isa, machine) in seen or asked[place] != asked[holding[-1]]:
            continue
        more = trend(history, cell, int(place))
        if any(isa == other for other, _ in seen):
            for name in set(more.values) - {RATIO, TO_YARDSTICK}:
                more.values[name][:] = np.nan
        found.append(more)
        seen.add((isa, machine))
    return found


def trend(history: History, cell: str, newest_run: int | None = None) -> Trend:
    """Extract one cell as of its newest run, on that run's kind of machine.

    Args:
        newest_run: place of another run to take for the newest.

    Raises:
        BadInput: no run has the cell.
    """
    if cell not in history.cells:
        raise BadInput(f"history: no run holds cell {cell!r}; they hold {', '.join(history.cells[:5])}, …")
    column, model = history.cells.index(cell), scored_as(cell)
    holding = np.flatnonzero(history.verdicts[:, column] >= 0)
    if newest_run is not None:
        holding = holding[holding <= newest_run]
    questions, asked = history.questions(model)
    newest = asked[holding[-1]]
    rows = holding[asked[holding] == newest]
    others = holding[asked[holding] != newest]
    apart = Counter(_why_apart(questions[asked[row]], questions[newest]) for row in others)
    here = rows[history.on("isas", str(history.isas[rows[-1]]))[rows]]
    if len(here) < len(rows):
        apart[OTHER_PROCESSOR] = len(rows) - len(here)
    rows = here
    if newest_run is None and len(holding) < len(history.runs):
        apart[ABSENT] = len(history.runs) - len(holding)
    whole = len(rows) == len(history.runs)  # copied in a fraction of the time
    values = {
        name: table[:, column].copy() if whole else table[:, column][rows] for name, table in history.values.items()
    }
    runs = history.runs if whole else [history.runs[row] for row in rows]
    machine = str(history.machines[rows[-1]])
    timed = [values[name] for name in (RATIO, TO_YARDSTICK)]
    why = "timed on another machine profile, whose latency is left out"
    _leave_out(~history.on("machines", machine)[rows], timed, why, apart)
    verdicts = history.verdicts[rows, column]
    differing = np.flatnonzero(verdicts != verdicts[-1])
    since = int(differing[-1]) + 1 if len(differing) else 0
    before = VERDICTS[verdicts[since - 1]] if since else None
    scoring, verdict = runs[-1].scoring[model], VERDICTS[verdicts[-1]]
    spread = history.spreads.of(cell)
    return Trend(cell, scoring, runs, values, verdict, runs[since], before, dict(apart), machine, spread)


def _why_apart(question: tuple[object, ...], newest: tuple[object, ...]) -> str:
    reasons = (
        "measured on different data",
        "scored by a different metric",
        "made from different float weights (--train)",
    )
    return next(why for why, before, after in zip(reasons, question, newest, strict=True) if before != after)


def _leave_out(elsewhere: Array, columns: list[Array], why: str, apart: Counter[str]) -> None:
    """Set values of runs on machines unlike the newest run's to NaN in place, where they do not compare."""
    if not elsewhere.any():
        return
    lost = int(np.count_nonzero(elsewhere & np.isfinite(columns).any(axis=0)))
    if lost:
        apart[why] = lost
    for column in columns:
        column[elsewhere] = np.nan
