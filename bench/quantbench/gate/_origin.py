"""Say what changed a score: the artifact, the runtime, the processor, or what the artifact is given."""

from collections.abc import Mapping

from quantbench.records import BaselineCell
from quantbench.records.origins import DATA, HARNESS, INPUTS, METRIC, PREPARE, RUNTIME, Flipped


def origin(
    baseline: BaselineCell | None,
    artifact_sha256: str | None,
    reference_sha256: str | None,
    sources: Mapping[str, str] | None = None,
    flipped: Flipped | None = None,
) -> str:
    """Say what changed the answers; empty where that is unknown.

    Args:
        sources: hashes of what this run's answers come from besides the artifact.
        flipped: what the reference kernels say to the examples whose answers changed.
    """
    if baseline is None or baseline.artifact_sha256 is None:
        return ""
    given = _given(baseline.sources, sources or {})
    if baseline.artifact_sha256 == artifact_sha256:
        parts = ["the artifact is that of the baseline, byte for byte", *given]
        if given:
            return "; ".join(parts)
        return f"{parts[0]}: {_around(baseline.sources, sources or {})}{_witness(flipped)}"
    return "; ".join([_artifact(baseline, reference_sha256, flipped), *given])


def _given(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Name what the artifact is given, or what counts its answers, where that is another."""
    changed = {name for name in then if name in now and then[name] != now[name]}
    causes = [
        words
        for name, words in (
            (DATA, "the data pack changed"),
            (PREPARE, "the source of the model's prepare changed"),
            (HARNESS, "the source of the code that runs it changed"),
        )
        if name in changed
    ]
    found = []
    if INPUTS in changed:
        why = " and ".join(causes) or "data, prepare and code are the same: a library computes them in another way"
        found.append(f"what it is given is not what it was given then ({why})")
    elif causes:
        found.append(" and ".join(causes))
    return [*found, "the source of the metric changed"] if METRIC in changed else found


def _around(then: Mapping[str, str], now: Mapping[str, str]) -> str:
    if RUNTIME not in then or RUNTIME not in now:
        return "the runtime changed, or the processor"
    if then[RUNTIME] != now[RUNTIME]:
        return f"the runtime changed ({then[RUNTIME]} before, {now[RUNTIME]} now)"
    return "runtime, inputs and code are those of the baseline, which leaves the processor"


def _witness(flipped: Flipped | None) -> str:
    if flipped is None or not flipped.asked:
        return ""
    return (
        f"; of {flipped.asked} examples whose answers changed, the reference kernels answer {flipped.as_accepted} as "
        f"before and {flipped.as_now} as now"
    )


def _artifact(baseline: BaselineCell, reference_sha256: str | None, flipped: Flipped | None) -> str:
    """Say whether a changed artifact computes something else, or is computed differently."""
    if flipped is not None and flipped.asked:
        if flipped.as_now > flipped.as_accepted:
            why = "the model itself is another: look at what makes it (training, converter)"
        elif flipped.as_accepted > flipped.as_now:
            why = "look at the runtime's kernels first"
        else:
            why = "which tells neither from the other"
        return f"the artifact changed{_witness(flipped)}: {why}"
    if baseline.reference_sha256 is None or reference_sha256 is None:
        return "the artifact changed"
    if baseline.reference_sha256 == reference_sha256:
        return (
            "the artifact changed, and answers as before on the reference kernels: look at the runtime's kernels first"
        )
    return "the artifact changed, and so did its answers on the reference kernels: the model itself is another"
