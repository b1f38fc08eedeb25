"""Judge file sizes."""

import math

from quantbench.gate._common import Subject, beyond, edited, missing
from quantbench.records import BaselineCell, Judgement, Kind, Measurement, Verdict

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
) -> list[Judgement]:
    """Judge size and gzip size, each against its baseline.

    Args:
        artifact_sha256: hash of the measured file; where the baseline has the same hash, the sizes must be equal too.
    """
    judgements = [_size(subject, name, measured[name], baseline) for name in SIZE_TOLERANCES if name in measured]
    if baseline is None or artifact_sha256 is None or baseline.artifact_sha256 != artifact_sha256:
        return judgements
    why = "the artifact is that of the baseline, byte for byte, and its recorded size is not"
    return [edited(judged, why) if judged.measurement == "size" and judged.change else judged for judged in judgements]


def _size(subject: Subject, name: str, size: Measurement, baseline: BaselineCell | None) -> Judgement:
    accepted = baseline.measurements.get(name) if baseline else None
    if accepted is None:
        return missing(subject, Kind.SIZE, name, baseline)
    growth = size.value - accepted.value
    allowed = accepted.tolerance * accepted.value
    verdict = beyond(growth, allowed)
    percent = 100 * growth / accepted.value if accepted.value else math.inf
    message = (
        f"{name.replace('_', ' ')} {size.value:,.0f} bytes, baseline {accepted.value:,.0f} "
        f"({growth:+,.0f} bytes, {percent:+.2f} %; tolerance {100 * accepted.tolerance:g} %)"
    )
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
