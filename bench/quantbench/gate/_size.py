"""Judge file sizes."""

import math
from collections.abc import Sequence

from quantbench.gate._common import Subject, beyond, edited, missing
from quantbench.records import BaselineCell, Judgement, Kind, Measurement, Verdict
from quantbench.records.measurements import shown

# Bytes that a file may always gain: a stamp of the converter's version or a description is metadata of 80 bytes or so,
# more than 0.1 % of a small file; the smallest layer of any model is larger.
SLACK = 256.0

SIZE_TOLERANCES = {"size": 0.001, "gzip_size": 0.01}
SIZE_TOLERANCE_REASONS = {
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
    allowed = max(share, SLACK)
    tolerance = f"{100 * accepted.tolerance:g} %" if share >= SLACK else f"{SLACK:.0f} bytes"
    verdict = beyond(growth, allowed)
    percent = 100 * growth / accepted.value if accepted.value else math.inf
    message = (
        f"{shown(name)} {size.value:,.0f} bytes, baseline {accepted.value:,.0f} "
        f"({growth:+,.0f} bytes, {percent:+.2f} %; tolerance {tolerance})"
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
        unit="bytes",
        change=growth,
        tolerance=allowed,
        detectable=allowed,
        message=message,
        actions=[] if verdict is Verdict.PASS else subject.choices(),
    )
