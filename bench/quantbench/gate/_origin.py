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
        parts = ["the .tflite file is identical to the baseline's", *given]
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
            (PREPARE, "the model's prepare code changed"),
            (HARNESS, "the code that runs the model changed"),
        )
        if name in changed
    ]
    found = []
    if INPUTS in changed:
        why = " and ".join(causes) or "data, prepare and code are unchanged, so a library computes them differently"
        found.append(f"its inputs changed ({why})")
    elif causes:
        found.append(" and ".join(causes))
    return [*found, "the metric's code changed"] if METRIC in changed else found


def _around(then: Mapping[str, str], now: Mapping[str, str]) -> str:
    if RUNTIME not in then or RUNTIME not in now:
        return "the runtime or the processor changed"
    if then[RUNTIME] != now[RUNTIME]:
        return f"the runtime changed ({then[RUNTIME]} → {now[RUNTIME]})"
    return "runtime, inputs and code are unchanged, so the processor is the cause"


def _witness(flipped: Flipped | None) -> str:
    if flipped is None or not flipped.asked:
        return ""
    return (
        f"; of {flipped.asked} changed examples, the reference kernels give the old answer to {flipped.as_accepted} "
        "and "
        f"the new one to {flipped.as_now}"
    )


def _artifact(baseline: BaselineCell, reference_sha256: str | None, flipped: Flipped | None) -> str:
    """Say whether a changed artifact computes something else, or is computed differently."""
    if flipped is not None and flipped.asked:
        if flipped.as_now > flipped.as_accepted:
            why = "the cause is the training, converter or quantizer"
        elif flipped.as_accepted > flipped.as_now:
            why = "check the runtime's kernels first"
        else:
            why = "the cause is unclear"
        return f"the .tflite file changed{_witness(flipped)}: {why}"
    if baseline.reference_sha256 is None or reference_sha256 is None:
        return "the .tflite file changed"
    if baseline.reference_sha256 == reference_sha256:
        return (
            "the .tflite file changed, but its outputs on the reference kernels did not: check the runtime's "
            "kernels first"
        )
    return (
        "the .tflite file changed and its outputs changed on the reference kernels too, so the cause is the "
        "converter or "
        "quantizer, not the runtime"
    )
