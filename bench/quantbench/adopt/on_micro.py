"""Advise on what to ship to TFLite-Micro: what does not run there is left out, the rest is ranked by arena and size."""

from collections.abc import Sequence

from quantbench import gate
from quantbench.adopt.ranking import choose
from quantbench.core.stats import pareto_front
from quantbench.errors import BadInput
from quantbench.measure import micro
from quantbench.records import FLOAT_CONTROL, Advice, AdvisedVariant, Cell, Refusal, Report
from quantbench.records.measurements import MICRO_ARENA

TFLM = "tflm"


def check(target: str, prefer: str) -> bool:
    """Read ``--target``; return whether TFLite-Micro is what will be shipped to.

    Raises:
        BadInput: there is no such target, its package is missing, or it is to be chosen by a time that it has not.
    """
    if not target:
        return False
    if target != TFLM:
        raise BadInput(f"--target: expected {TFLM} (TFLite-Micro), or nothing for this machine, found {target!r}")
    if reason := micro.unavailable():
        raise BadInput(f"--target {TFLM}: {reason}")
    if prefer == "latency":
        raise BadInput(f"--prefer latency: nothing is timed on {TFLM}; prefer size, or balanced (size × arena)")
    return True


def advised(advice: Advice, report: Report) -> Advice:
    """Return the advice for TFLite-Micro, from the advice for any machine and what the run found there."""
    cells = {cell.variant: cell for cell in report.cells}
    reasons = {one.variant: _why_not(cells[one.variant]) for one in advice.variants}
    kept = _with_arenas([one for one in advice.variants if not reasons[one.variant]], cells)
    refused = [*advice.refused, *_refusals(reasons)]
    found = advice.model_copy(update={"target": TFLM, "variants": kept, "refused": refused})
    return found if advice.nothing else _chosen(found)


def _why_not(cell: Cell) -> str:
    """Say why a cell cannot be shipped to TFLite-Micro; empty where it can."""
    found = cell.micro
    if found is None:
        return "it could not be run on TFLite-Micro"
    if found.refusal is not None:
        return f"does not run on TFLite-Micro: {found.refusal.words}"
    answers = found.answers
    if answers is not None and gate.answers_otherwise(answers):
        return (
            f"TFLite-Micro answers {len(answers.differing)} of {answers.examples} examples otherwise than LiteRT's "
            "reference kernels"
        )
    return ""


def _refusals(reasons: dict[str, str]) -> list[Refusal]:
    groups: dict[str, list[str]] = {}
    for variant, reason in reasons.items():
        if reason:
            groups.setdefault(reason, []).append(variant)
    found = [Refusal(reason=reason, variants=names) for reason, names in groups.items()]
    return sorted(found, key=lambda one: -len(one.variants))


def _with_arenas(variants: Sequence[AdvisedVariant], cells: dict[str, Cell]) -> list[AdvisedVariant]:
    """Add the arenas, as bytes and as a fraction of float32's, or of the largest where float32 does not run."""
    arenas = {one.variant: int(cells[one.variant].measurements[MICRO_ARENA].value) for one in variants}
    unit = arenas.get(FLOAT_CONTROL) or max(arenas.values(), default=1)
    found = [
        one.model_copy(
            update={"arena_bytes": arenas[one.variant], "arena": arenas[one.variant] / unit, "latency": None}
        )
        for one in variants
    ]
    front = pareto_front([(*(v.drop for v in one.outputs), one.size, one.arena) for one in found])
    return [one.model_copy(update={"front": best}) for one, best in zip(found, front, strict=True)]


def _chosen(advice: Advice) -> Advice:
    chosen = choose(advice)
    if chosen.choice is not None:
        return chosen
    words = "nothing that runs on TFLite-Micro is surely within the limit, and float32 does not run there"
    return chosen.model_copy(update={"nothing": words})
