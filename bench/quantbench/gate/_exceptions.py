"""What maintainers live with for a while: loosened tolerances and expected failures. Pure, as all judges are.

Both carry a reason and a last day. A loosened tolerance stands in for the derived one, and is only ever wider. An
expected failure (xfail) turns a red measurement into a green ``xfail``, and is itself red once the measurement passes
or its day is over, so that it cannot outlive what it excuses.
"""

import datetime
import re
import shlex
from collections.abc import Mapping

from quantbench.gate._common import Subject
from quantbench.records import Action, BaselineCell, BaselineValue, Judgement, Kind, Loosened, Verdict, Xfail

# Judgements that are not named by their measurement, and those that no baseline value stands for.
EXCUSABLE = (
    "cell",
    "floor",
    "promise",
    "census",
    "float_agreement",
    "conversion_agreement",
    "threads_at_work",
)
_SOON = datetime.timedelta(days=14)


def over(expires: datetime.date, today: datetime.date) -> bool:
    """Whether an exception's last day is behind us."""
    return today > expires


def soon_over(expires: datetime.date, today: datetime.date) -> bool:
    """Whether it is near, and not behind us."""
    return not over(expires, today) and expires - today <= _SOON


def excuse_name(judgement: Judgement) -> str:
    """By which name an xfail excuses a judgement: its measurement, and ``floor`` for the floor of the score."""
    return "floor" if judgement.against == "floor" else judgement.measurement


def in_force(cell: BaselineCell, today: datetime.date) -> BaselineCell:
    """The cell as the judges have to see it: loosened tolerances stand in, expired loosenings are gone."""
    return cell.model_copy(
        update={
            "measurements": {name: _in_force(value, today) for name, value in cell.measurements.items()},
            "latency": {machine: _in_force(value, today) for machine, value in cell.latency.items()},
            "peak_memory": {machine: _in_force(value, today) for machine, value in cell.peak_memory.items()},
        }
    )


def _in_force(value: BaselineValue, today: datetime.date) -> BaselineValue:
    loosened = value.loosened
    if loosened is None:
        return value
    if over(loosened.expires, today):
        return value.model_copy(update={"loosened": None})
    source = f"loosened until {loosened.expires}: {loosened.reason}"
    return value.model_copy(update={"tolerance": loosened.tolerance, "tolerance_from": source})


def excused(
    subject: Subject, judgements: list[Judgement], cell: BaselineCell | None, today: datetime.date, first: bool
) -> list[Judgement]:
    """The judgements of one kind with what is expected to fail excused, and a red one for every xfail that has to go.

    What was not judged, or could not be measured, stays so: an xfail neither hides nor claims anything about it. Only
    ``cell`` excuses a cell that cannot be made.

    Args:
        first: of the kinds of this cell: there an xfail is told to go that no judgement of any kind answers to.
    """
    known = cell.xfail if cell else {}
    found = []
    for judgement in judgements:
        name = excuse_name(judgement)
        live = name in known and not over(known[name].expires, today)
        found += _excused(subject, judgement, name, known[name]) if live else [judgement]
    return found + (_outlived(subject, judgements, known, today) if first else [])


def _excused(subject: Subject, judgement: Judgement, name: str, xfail: Xfail) -> list[Judgement]:
    if judgement.verdict in (Verdict.PASS, Verdict.IMPROVED):
        why = f"{name} passes, and is expected to fail until {xfail.expires} ({xfail.ticket}: {xfail.reason})"
        return [judgement, _to_remove(subject, judgement.kind, name, why, "remove it")]
    # A warning: chance may explain it, so it is neither clearly over nor red.
    if judgement.verdict is not Verdict.REGRESSED and not (judgement.verdict is Verdict.ERROR and name == "cell"):
        return [judgement]
    message = f"{judgement.message}; expected to fail until {xfail.expires}, {xfail.ticket}: {xfail.reason}"
    return [judgement.model_copy(update={"verdict": Verdict.XFAIL, "message": message, "actions": []})]


def _outlived(
    subject: Subject, judgements: list[Judgement], known: Mapping[str, Xfail], today: datetime.date
) -> list[Judgement]:
    """A red judgement for each xfail whose day is over, and for one of the cell where the cell can be made."""
    kind = judgements[0].kind
    found = []
    for name, xfail in known.items():
        why = f"({xfail.ticket}: {xfail.reason})"
        if over(xfail.expires, today):
            why = f"the xfail of {name} expired on {xfail.expires} {why}"
            found.append(_to_remove(subject, kind, name, why, "renew it with another --expires, or remove it"))
        elif name == "cell" and all(judgement.measurement != "cell" for judgement in judgements):
            why = f"the cell can be made, and is expected to fail until {xfail.expires} {why}"
            found.append(_to_remove(subject, kind, name, why, "remove it"))
    return found


def _to_remove(subject: Subject, kind: Kind, name: str, why: str, what: str) -> Judgement:
    """A judgement of its own, beside that of the measurement."""
    folders = shlex.split(subject.run)[1:]
    command = ["quantbench", "baseline", "xfail", subject.id, name, "--remove", *folders]
    return Judgement(
        kind=kind,
        measurement=f"xfail of {name}",
        against="nothing",
        verdict=Verdict.REGRESSED,
        message=why,
        actions=[Action(what=what, command=command)],
    )


def exceptions(cell: BaselineCell, score_unit: str, today: datetime.date, machine: str = "") -> list[str]:
    """Every exception of a cell as one sentence, with its last day, for reports and review documents.

    Args:
        score_unit: of a drop of the score.
        machine: the machine class whose latency counts, with any number of threads; all of them where empty.
    """
    found = [
        _loosening(name, value, value.loosened, _units(score_unit).get(name, "%"), today)
        for name, value in cell.measurements.items()
        if value.loosened is not None
    ]
    for what, values in (("latency", cell.latency), ("peak memory", cell.peak_memory)):
        found += [
            _loosening(f"{what} of {name}", value, value.loosened, "%", today)
            for name, value in values.items()
            if value.loosened is not None and (not machine or _but_threads(name).startswith(_but_threads(machine)))
        ]
    for name, xfail in cell.xfail.items():
        until = f"expired on {xfail.expires}" if over(xfail.expires, today) else f"until {xfail.expires}"
        found.append(f"{name}: xfail {until}, {xfail.ticket}: {xfail.reason}")
    return found


def _units(score_unit: str) -> dict[str, str]:
    """Units of tolerances; those of everything else are fractions."""
    return {"score": score_unit, "arena": "bytes"}


def _but_threads(machine: str) -> str:
    return re.sub(r"_\d+-thread$", "", machine)


def _loosening(name: str, value: BaselineValue, loosened: Loosened, unit: str, today: datetime.date) -> str:
    scale = 100 if unit == "%" else 1
    wide, derived = f"{scale * loosened.tolerance:g} {unit}", f"{scale * value.tolerance:g} {unit}"
    if over(loosened.expires, today):
        return (
            f"{name}: the loosening of its tolerance to {wide} expired on {loosened.expires} ({loosened.reason}); "
            f"the derived {derived} holds again"
        )
    return f"{name}: tolerance loosened from {derived} to {wide} until {loosened.expires}: {loosened.reason}"
