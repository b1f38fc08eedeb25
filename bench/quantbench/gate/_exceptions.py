"""Apply temporary exceptions: loosened tolerances and expected failures (xfail), as pure functions.

Both carry a reason and an expiry date. A loosened tolerance replaces the computed one and is only ever wider; beyond it
the measurement is red again. An expected failure turns a red measurement into a green ``xfail`` as far as its bound,
which comes from what was seen: a larger drop, or a failure for another reason, stays red. It is itself red once the
measurement passes or the date is past, so that it cannot outlive what it excuses.
"""

import datetime
import re
import shlex
from collections.abc import Mapping

from quantbench.gate._common import Subject
from quantbench.records import Action, BaselineCell, BaselineValue, Judgement, Kind, Loosened, Verdict, Xfail
from quantbench.records.measurements import INSTRUCTIONS, OUTPUT_DISTANCE, of_output, output_in, shown, without_output

# Judgements whose name is not that of their measurement, and those without a baseline value.
EXCUSABLE = (
    "cell",
    "floor",
    "promise",
    "census",
    "float_agreement",
    "conversion_agreement",
    "micro_loads",
    "micro_agreement",
    "threads_at_work",
    "classes",
    "slices",
    "seeds",
)
# Failures that are words and not numbers: an xfail of one excuses the reason that was seen.
WITHOUT_NUMBER = ("cell", "promise", "census", "micro_loads")
# Policy, where a judge does not tell what it could have seen: how much worse than what was seen is excused, as a share.
FURTHER = 0.25
_SOON = datetime.timedelta(days=14)


def over(expires: datetime.date, today: datetime.date) -> bool:
    """Check whether an exception has expired."""
    return today > expires


def soon_over(expires: datetime.date, today: datetime.date) -> bool:
    """Check whether an exception expires soon and has not expired yet."""
    return not over(expires, today) and expires - today <= _SOON


def excuse_name(judgement: Judgement) -> str:
    """Return the name by which an xfail excuses a judgement: its measurement, or ``floor`` for the score's floor."""
    if judgement.against == "floor":
        return of_output("floor", output_in(judgement.measurement))
    return judgement.measurement


def in_force(cell: BaselineCell, today: datetime.date) -> BaselineCell:
    """Replace tolerances of the cell by loosened ones that have not expired."""
    return cell.model_copy(
        update={
            "measurements": {name: _in_force(value, today) for name, value in cell.measurements.items()},
            "latency": {machine: _in_force(value, today) for machine, value in cell.latency.items()},
            "peak_memory": {machine: _in_force(value, today) for machine, value in cell.peak_memory.items()},
            "by_machine": {
                name: {machine: _in_force(value, today) for machine, value in values.items()}
                for name, values in cell.by_machine.items()
            },
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
    """Excuse the expected failures of one kind of judgement, and add a red one for every xfail that has to go.

    What was not judged or could not be measured stays so, as an xfail neither hides nor claims anything about it. Only
    an xfail of ``cell`` excuses a cell that cannot be made.

    Args:
        first: whether this is the first kind of the cell, where xfails that match no judgement of any kind are listed.
    """
    xfails = cell.xfail if cell else {}
    judged = []
    for judgement in judgements:
        name = excuse_name(judgement)
        live = name in xfails and not over(xfails[name].expires, today)
        judged += _excused(subject, judgement, name, xfails[name]) if live else [judgement]
    return judged + (_outlived(subject, judgements, xfails, today) if first else [])


def _excused(subject: Subject, judgement: Judgement, name: str, xfail: Xfail) -> list[Judgement]:
    if judgement.verdict in (Verdict.PASS, Verdict.IMPROVED, Verdict.CHANGED):
        why = f"{name} passes, but an xfail expects a failure until {xfail.expires} ({xfail.ticket}: {xfail.reason})"
        return [judgement, _to_remove(subject, judgement.kind, name, why, "remove it")]
    # A warning may be due to chance, so the xfail is neither clearly outdated nor needed.
    if judgement.verdict is not Verdict.REGRESSED and not (judgement.verdict is Verdict.ERROR and name == "cell"):
        return [judgement]
    beyond = _beyond(judgement, name, xfail)
    if beyond:
        return [judgement.model_copy(update={"message": f"{judgement.message}; {beyond}"})]
    message = f"{judgement.message}; expected to fail until {xfail.expires}, {xfail.ticket}: {xfail.reason}"
    return [judgement.model_copy(update={"verdict": Verdict.XFAIL, "message": message, "actions": []})]


def _beyond(judgement: Judgement, name: str, xfail: Xfail) -> str:
    """Say why an xfail does not excuse a failure: it is larger than its bound, or another one; empty where it does."""
    change = worse_by(judgement)
    if change is None:
        if xfail.seen is None:
            return f"the xfail of {name} ({xfail.ticket}) does not say which failure it excuses: renew it with --run"
        same = _without_numbers(xfail.seen) == _without_numbers(judgement.detail or judgement.message)
        return "" if same else f"the xfail of {name} ({xfail.ticket}) excuses a different failure: {xfail.seen}"
    if xfail.bound is None:
        return f"the xfail of {name} ({xfail.ticket}) has no bound and excuses nothing: renew it with --run"
    if change <= xfail.bound + 1e-9:
        return ""
    return f"the xfail of {name} ({xfail.ticket}) excuses up to {xfail.bound:.4g}; this is {change:.4g}"


def worse_by(judgement: Judgement) -> float | None:
    """Return how much worse a judgement's value is than its reference, in its unit; None where it has no number."""
    if judgement.change is not None:
        return judgement.change
    if judgement.measurement.endswith("_agreement") and judgement.value is not None:
        return (judgement.reference or 1.0) - judgement.value
    return None


def bound_of(judgement: Judgement) -> float | None:
    """Derive an xfail's bound from the failure that was seen: a further change that the judge itself would call red.

    Where the judge does not tell what it could have seen, a quarter of the change (:data:`FURTHER`). None where the
    failure has no number.
    """
    change = worse_by(judgement)
    if change is None:
        return None
    return change + (abs(change) * FURTHER if judgement.detectable is None else judgement.detectable)


def _without_numbers(reason: str) -> str:
    return re.sub(r"[0-9][0-9.,]*", "", reason)


def _outlived(
    subject: Subject, judgements: list[Judgement], xfails: Mapping[str, Xfail], today: datetime.date
) -> list[Judgement]:
    """Build a red judgement for each expired xfail, and for one of ``cell`` where the cell can be made."""
    kind = judgements[0].kind
    to_remove = []
    for name, xfail in xfails.items():
        why = f"({xfail.ticket}: {xfail.reason})"
        if over(xfail.expires, today):
            why = f"the xfail of {name} expired on {xfail.expires} {why}"
            to_remove.append(_to_remove(subject, kind, name, why, "renew it with another --expires, or remove it"))
        elif name == "cell" and all(judgement.measurement != "cell" for judgement in judgements):
            why = f"the cell can be made, but an xfail expects a failure until {xfail.expires} {why}"
            to_remove.append(_to_remove(subject, kind, name, why, "remove it"))
    return to_remove


def _to_remove(subject: Subject, kind: Kind, name: str, why: str, what: str) -> Judgement:
    """Build a separate judgement, beside that of the measurement."""
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
    """Describe every exception of a cell in one sentence with its expiry date, for reports and review documents.

    Args:
        score_unit: unit of a drop of the score.
        machine: machine class whose latency counts, with any number of threads; all classes where empty.
    """
    sentences = [
        _loosening(name, value, value.loosened, _unit(name, value, score_unit), today)
        for name, value in cell.measurements.items()
        if value.loosened is not None
    ]
    others = [(shown(name), values) for name, values in cell.by_machine.items()]
    for what, values in (("latency", cell.latency), ("peak memory", cell.peak_memory), *others):
        sentences += [
            _loosening(f"{what} of {name}", value, value.loosened, "%", today)
            for name, value in values.items()
            if value.loosened is not None and (what == INSTRUCTIONS or _of(machine, name))
        ]
    for name, xfail in cell.xfail.items():
        until = f"expired on {xfail.expires}" if over(xfail.expires, today) else f"until {xfail.expires}"
        bound = "" if xfail.bound is None else f", up to {xfail.bound:.4g}"
        sentences.append(f"{name}: xfail {until}{bound}, {xfail.ticket}: {xfail.reason}")
    for edit in cell.hand_edits:
        sentences.append(f"edited by hand on {edit.date} and sealed ({', '.join(edit.fields)}): {edit.reason}")
    return sentences


def _unit(name: str, value: BaselineValue, score_unit: str) -> str:
    """Return the unit of a tolerance; per cent where it is a fraction of the value."""
    if without_output(name) == OUTPUT_DISTANCE:
        return "of distance"
    if output_in(name):
        return "pp" if value.unit == "fraction" else value.unit
    return {"score": score_unit, "arena": "bytes"}.get(name, "%")


def _of(machine: str, name: str) -> bool:
    """Whether a machine class is the given one, with any number of threads; any is where none is given."""
    return not machine or _but_threads(name).startswith(_but_threads(machine))


def _but_threads(machine: str) -> str:
    return re.sub(r"_\d+-thread$", "", machine)


def _loosening(name: str, value: BaselineValue, loosened: Loosened, unit: str, today: datetime.date) -> str:
    scale = 100 if unit == "%" else 1
    wide, derived = f"{scale * loosened.tolerance:g} {unit}", f"{scale * value.tolerance:g} {unit}"
    if over(loosened.expires, today):
        return (
            f"{name}: the loosened tolerance of {wide} expired on {loosened.expires} ({loosened.reason}); "
            f"the computed {derived} applies again"
        )
    return f"{name}: tolerance loosened from {derived} to {wide} until {loosened.expires}: {loosened.reason}"
