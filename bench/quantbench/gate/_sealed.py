"""Judge the baseline itself: fields that were edited by hand, and a floor that is not the one it was accepted under."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from quantbench.gate._common import WHY, Subject
from quantbench.records import Action, BaselineCell, Judgement, Kind, Verdict

if TYPE_CHECKING:
    from quantbench.reference.model import Floor

MOST_NAMED = 4  # fields in one sentence; `baseline check` lists all


def seal(subject: Subject, kind: Kind, edited: Sequence[str]) -> list[Judgement]:
    """Judge a cell by what was edited by hand in its baseline: an error, as nothing is known to be accepted then.

    Args:
        kind: the first kind that the run judges of the cell; the edit is told once.
        edited: the fields, one phrase each; no judgement where there are none.
    """
    if not edited:
        return []
    folders = shlex.split(subject.run)[1:]
    more = f", and {len(edited) - MOST_NAMED} more" if len(edited) > MOST_NAMED else ""
    return [
        Judgement(
            kind=kind,
            measurement="seal",
            against="baseline",
            verdict=Verdict.ERROR,
            message=f"its baseline was edited by hand: {', '.join(edited[:MOST_NAMED])}{more}",
            detail="; ".join(edited),
            actions=[
                Action(what="restore both baseline files from git"),
                Action(
                    what="or keep the edit and give a reason, which every report shows",
                    command=["quantbench", "baseline", "seal", subject.id, *folders, "--reason", WHY],
                ),
            ],
        )
    ]


def floor_change(baseline: BaselineCell | None, limit: Floor | None, unit: str) -> str:
    """Describe how the model's floor differs from that of the accepted cell, in a phrase; empty where it does not."""
    if baseline is None or baseline.floor is None:
        return ""
    then, now = baseline.floor.max_drop, None if limit is None else limit.max_drop
    if then == now:
        return ""
    before = "none" if then is None else f"{then:g} {unit}"
    return (
        f"the release limit was {before} when this cell was accepted and is "
        f"{'none' if now is None else f'{now:g} {unit}'} now"
    )


def floor_moved(baseline: BaselineCell | None, limit: Floor | None, unit: str) -> list[Judgement]:
    """Judge a floor that changed in the model's file since the cell was accepted: a warning where it allows more."""
    change = floor_change(baseline, limit, unit)
    if not change:
        return []
    assert baseline is not None
    assert baseline.floor is not None
    then, now = baseline.floor.max_drop, None if limit is None else limit.max_drop
    looser = then is not None and (now is None or now > then)
    return [
        Judgement(
            kind=Kind.ACCURACY,
            measurement="floor_accepted",
            against="baseline",
            verdict=Verdict.WARN if looser else Verdict.PASS,
            value=now,
            reference=then,
            unit=unit,
            message=change,
            actions=[Action(what="check the change of the model file; a baseline update accepts it with a reason")]
            if looser
            else [],
        )
    ]
