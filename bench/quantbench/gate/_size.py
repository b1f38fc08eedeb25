"""Judge file sizes."""

from collections.abc import Sequence

from quantbench.gate._common import WHY, Subject, beyond, edited, missing
from quantbench.records import Action, BaselineCell, Judgement, Kind, Measurement, Verdict
from quantbench.records.measurements import shown

# Bytes that a file may always gain: a stamp of the converter's version or a description is metadata of 80 bytes or so,
# more than 0.1 % of a small file; the smallest layer of any model is larger.
SLACK = 256.0

# Of a file that is compiled for an accelerator -> its unit. Compilers repeat them exactly.
OF_ACCELERATOR = {
    "left_operators": "operators",
    "left_macs": "multiplications",
    "npu_sram": "bytes",
    "npu_cycles": "cycles",
}
SIZE_TOLERANCES = {"size": 0.001, "gzip_size": 0.01, **dict.fromkeys(OF_ACCELERATOR, 0.0)}
SIZE_TOLERANCE_REASONS = {
    **dict.fromkeys(OF_ACCELERATOR, "none: a compiler repeats it"),
    "size": "0.1 % of the size: a string of another converter version, but not a tensor",
    "gzip_size": "1 % of the size: deflate implementations differ a little",
}


def sizes(
    subject: Subject,
    measured: dict[str, Measurement],
    baseline: BaselineCell | None,
    artifact_sha256: str | None = None,
    gone: Sequence[str] = (),
) -> list[Judgement]:
    """Judge size and gzip size, each against its baseline.

    Args:
        artifact_sha256: hash of the measured file; where the baseline has the same hash, the sizes must be equal too.
        gone: what the accepted artifact has and this one lacks.
    """
    judgements = [_size(subject, name, measured[name], baseline, gone) for name in SIZE_TOLERANCES if name in measured]
    known = baseline.measurements if baseline else {}
    judgements += [_lost(subject, name) for name in OF_ACCELERATOR if name in known and name not in measured]
    if baseline is None or artifact_sha256 is None or baseline.artifact_sha256 != artifact_sha256:
        return judgements
    why = "the .tflite file is identical to the baseline's, but the recorded size is not"
    return [edited(judged, why) if judged.measurement == "size" and judged.change else judged for judged in judgements]


def _size(
    subject: Subject, name: str, size: Measurement, baseline: BaselineCell | None, gone: Sequence[str]
) -> Judgement:
    accepted = baseline.measurements.get(name) if baseline else None
    if accepted is None:
        return missing(subject, Kind.SIZE, name, baseline)
    growth = size.value - accepted.value
    share = accepted.tolerance * accepted.value
    unit = OF_ACCELERATOR.get(name, "bytes")
    slack = 0.0 if name in OF_ACCELERATOR else SLACK
    allowed = max(share, slack)
    tolerance = f"{100 * accepted.tolerance:g} %" if share >= slack else f"{slack:.0f} bytes"
    verdict = beyond(growth, allowed)
    percent = f", {100 * growth / accepted.value:+.2f} %" if accepted.value else ""
    message = (
        f"{shown(name)}: {size.value:,.0f}, accepted {accepted.value:,.0f} ({growth:+,.0f}; "
        f"{'none' if not allowed else f'{allowed:,.0f} more'} allowed)"
        if name in OF_ACCELERATOR
        else f"{shown(name)} {size.value:,.0f} {unit}, baseline {accepted.value:,.0f} "
        f"({growth:+,.0f} {unit}{percent}; tolerance {tolerance})"
    )
    if verdict is Verdict.IMPROVED and gone:
        verdict, message = Verdict.WARN, f"{message}; smaller because something is gone: {'; '.join(gone[:4])}"
    return Judgement(
        kind=Kind.SIZE,
        measurement=name,
        against="baseline",
        verdict=verdict,
        value=size.value,
        reference=accepted.value,
        unit=unit,
        change=growth,
        tolerance=allowed,
        detectable=allowed,
        message=message,
        actions=[] if verdict is Verdict.PASS else subject.choices(),
    )


def _lost(subject: Subject, name: str) -> Judgement:
    """Judge a figure that was accepted and is not known any more: its report is declared no longer.

    An error cannot be accepted: who means it takes the file over anew.
    """
    by_report = name.startswith("npu_")
    why = "no report of the compiler is named" if by_report else "the file is not compiled"
    built = f"{subject.variant.removeprefix('built_')}=FILE"
    anew = ["quantbench", "adopt", "MODEL", "--update", subject.model, "--artifact", built, "--accept", WHY]
    actions = [
        subject.again("name its compiler's report again, and run it"),
        Action(what="gate the file without it", command=anew),
    ]
    return Judgement(
        kind=Kind.SIZE,
        measurement=name,
        against="baseline",
        verdict=Verdict.ERROR,
        message=f"{shown(name)} was accepted, and is not known now: {why}",
        actions=actions,
    )
