"""What maintainers live with for a while: loosened tolerances and expected failures. Pure, as all judges are.

Both carry a reason and a last day. A loosened tolerance stands in for the derived one, and is only ever wider. An
expected failure (xfail) turns a red measurement into a green ``xfail``, and is itself red once the measurement passes
or its day is over, so that it cannot outlive what it excuses.
"""

import datetime
import re
import shlex

from bench.gate._common import Subject
from bench.records import BaselineCell, BaselineValue, Judgement, Loosened, Verdict, Xfail

# Judgements that are not named by their measurement, and those that no baseline value stands for.
EXCUSABLE = ("cell", "floor", "promise", "census", "float_agreement", "threads_at_work")
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
    subject: Subject, judgements: list[Judgement], cell: BaselineCell | None, today: datetime.date
) -> list[Judgement]:
    """The judgements with what is expected to fail excused, and a red one for every xfail that has to go.

    What was not judged stays so: an xfail neither hides nor claims anything about it.
    """
    known = cell.xfail if cell else {}
    found = []
    for judgement in judgements:
        xfail = known.get(excuse_name(judgement))
        found += [judgement] if xfail is None else _excused(subject, judgement, xfail, today)
    return found


def _excused(subject: Subject, judgement: Judgement, xfail: Xfail, today: datetime.date) -> list[Judgement]:
    if judgement.verdict in (Verdict.UNJUDGED, Verdict.MISSING, Verdict.UNSUPPORTED):
        return [judgement]
    name = excuse_name(judgement)
    if over(xfail.expires, today):
        why = f"the xfail of {name} expired on {xfail.expires} ({xfail.ticket}: {xfail.reason})"
        return [judgement, _to_remove(subject, judgement, name, why, "renew it with another --expires, or remove it")]
    if judgement.verdict in (Verdict.PASS, Verdict.IMPROVED):
        why = f"{name} passes, and is expected to fail until {xfail.expires} ({xfail.ticket}: {xfail.reason})"
        return [judgement, _to_remove(subject, judgement, name, why, "remove it")]
    if judgement.verdict is Verdict.WARN:  # chance may explain it: neither clearly over, nor red
        return [judgement]
    message = f"{judgement.message}; expected to fail until {xfail.expires}, {xfail.ticket}: {xfail.reason}"
    return [judgement.model_copy(update={"verdict": Verdict.XFAIL, "message": message, "action": ""})]


def _to_remove(subject: Subject, judgement: Judgement, name: str, why: str, action: str) -> Judgement:
    """A judgement of its own, so that the measurement's keeps its words: an update reads them."""
    folders = shlex.join(shlex.split(subject.run)[1:])
    command = f"quantbench baseline xfail {subject.id} {name} --remove {folders}".rstrip()
    return Judgement(
        kind=judgement.kind,
        measurement=f"xfail of {name}",
        against="nothing",
        verdict=Verdict.REGRESSED,
        message=f"{subject.id}: {why}",
        action=f"{action}: {command}",
    )


def exceptions(cell: BaselineCell, score_unit: str, today: datetime.date, machine: str = "") -> list[str]:
    """Every exception of a cell as one sentence, with its last day, for reports and review documents.

    Args:
        score_unit: of a drop of the score.
        machine: the machine class whose latency counts, with any number of threads; all of them where empty.
    """
    found = [
        _loosening(name, value, value.loosened, score_unit if name == "score" else "%", today)
        for name, value in cell.measurements.items()
        if value.loosened is not None
    ]
    found += [
        _loosening(f"latency of {name}", value, value.loosened, "%", today)
        for name, value in cell.latency.items()
        if value.loosened is not None and (not machine or _but_threads(name) == _but_threads(machine))
    ]
    for name, xfail in cell.xfail.items():
        until = f"expired on {xfail.expires}" if over(xfail.expires, today) else f"until {xfail.expires}"
        found.append(f"{name}: xfail {until}, {xfail.ticket}: {xfail.reason}")
    return found


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
