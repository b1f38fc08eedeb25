"""Judge what TFLite-Micro makes of an artifact: whether it loads, its arena to the byte, and its answers in pairs."""

import re
from collections.abc import Sequence

from quantbench.core.stats import Paired, binomial_tail
from quantbench.gate._agreement import RED_AT
from quantbench.gate._common import Subject, beyond, missing, not_measured
from quantbench.records import (
    Action,
    BaselineCell,
    Judgement,
    Kind,
    Measurement,
    Micro,
    MicroAnswers,
    MicroRefusal,
    Verdict,
)
from quantbench.records.measurements import MICRO_ARENA

MICRO_LOADS, MICRO_AGREEMENT = "micro_loads", "micro_agreement"
MICRO_ARENA_TOLERANCE = 0.0
MICRO_ARENA_TOLERANCE_REASON = "none: its allocator takes the same bytes every time"
# Of the artifacts of seven models that load, none differs on more than 1 % of its examples; a wrong kernel on many.
MICRO_SHARE = 0.99


def micro(
    subject: Subject,
    found: Micro | None,
    measured: dict[str, Measurement],
    failure: str,
    baseline: BaselineCell | None,
) -> list[Judgement]:
    """Judge an artifact on TFLite-Micro.

    Args:
        found: None where nothing was found out.
        measured: ``micro_arena`` and ``micro_agreement``, as far as it runs.
        failure: why nothing was found out; empty where something was.
        baseline: the accepted cell; None where there is none.
    """
    if found is None:
        return [not_measured(subject, Kind.MICRO, MICRO_LOADS, failure)]
    if baseline is None:
        return [missing(subject, Kind.MICRO, MICRO_LOADS if found.refusal else MICRO_ARENA)]
    judged = [_loads(subject, found, baseline)]
    if found.refusal is None:
        judged.append(_arena(subject, found, measured[MICRO_ARENA], baseline))
        judged += _answers(subject, found.answers, measured.get(MICRO_AGREEMENT), baseline)
    return judged


def _same(one: MicroRefusal, other: MicroRefusal) -> bool:
    """Check whether two refusals are one; numbers, such as lines of its source, differ between versions."""
    texts = [re.sub(r"\d+", "", refusal.words) for refusal in (one, other)]
    return texts[0] == texts[1]


def _loads(subject: Subject, found: Micro, baseline: BaselineCell) -> Judgement:
    accepted, refusal = baseline.micro, found.refusal
    version = _versions(found, baseline)
    if accepted is None:
        words = f"does not run: {refusal.words}" if refusal else "loads and runs"
        return _of_loading(
            Verdict.UNJUDGED, f"TFLite-Micro: {words}; not gated: the baseline says nothing of it", refusal
        )
    known = accepted.refusal
    if refusal is None:
        if known is None:
            return _of_loading(Verdict.PASS, "loads and runs on TFLite-Micro", None)
        words = f"runs on TFLite-Micro now; it was known not to ({known.words}){version}"
        return _of_loading(Verdict.IMPROVED, words, None, [subject.accept("record that it runs")])
    if known is None:
        words = f"no longer runs on TFLite-Micro: {refusal.words}{version}"
        return _of_loading(Verdict.REGRESSED, words, refusal, subject.choices())
    if _same(refusal, known):
        return _of_loading(
            Verdict.UNSUPPORTED, f"does not run on TFLite-Micro (known limitation): {refusal.words}", refusal
        )
    words = f"still does not run on TFLite-Micro, for another reason: {refusal.words}; known is {known.words}{version}"
    return _of_loading(Verdict.WARN, words, refusal, subject.choices())


def _arena(subject: Subject, found: Micro, arena: Measurement, baseline: BaselineCell) -> Judgement:
    accepted = baseline.measurements.get(MICRO_ARENA)
    parts = f"{found.head:,} that calls reuse and {found.tail:,} that stay" if found.head is not None else ""
    if accepted is None:
        words = f"arena on TFLite-Micro {arena.value:,.0f} bytes ({parts}); not gated: no baseline"
        return Judgement(
            kind=Kind.MICRO,
            measurement=MICRO_ARENA,
            against="nothing",
            verdict=Verdict.UNJUDGED,
            value=arena.value,
            unit="bytes",
            message=words,
        )
    growth, allowed = arena.value - accepted.value, accepted.tolerance
    verdict = beyond(growth, allowed)
    percent = 100 * growth / accepted.value if accepted.value else 0.0
    changed = f" ({growth:+,.0f} bytes, {percent:+.2f} %; {parts}){_versions(found, baseline)}" if growth else ""
    return Judgement(
        kind=Kind.MICRO,
        measurement=MICRO_ARENA,
        against="baseline",
        verdict=verdict,
        value=arena.value,
        reference=accepted.value,
        unit="bytes",
        change=growth,
        tolerance=allowed,
        detectable=allowed,
        message=f"arena on TFLite-Micro {arena.value:,.0f} bytes, baseline {accepted.value:,.0f}{changed}",
        actions=[] if verdict is Verdict.PASS else subject.choices(),
    )


def _answers(
    subject: Subject, answers: MicroAnswers | None, agreement: Measurement | None, baseline: BaselineCell
) -> list[Judgement]:
    """Compare the answers with those of LiteRT's reference kernels, and how many differ with what was accepted.

    A number that was accepted although it is surely too large is a known fault, and told when it is mended.
    Without an accepted number, red is a share of differing examples that is surely above one in a hundred (exact
    binomial test), or surely more newly wrong than newly right ones (exact McNemar test). With one, red are more than
    were accepted, beyond chance (Fisher's exact test, one-sided). The p-values are those of one judgement: both
    runtimes repeat exactly, so that chance is only in which examples were looked at.
    """
    if answers is None or agreement is None:
        return []
    accepted, differing, n = baseline.micro, len(answers.differing), answers.examples
    words = f"TFLite-Micro answers {differing} of {n} examples otherwise than LiteRT's reference kernels"
    if answers.lost is not None and differing:
        words += f" ({answers.lost} newly wrong, {answers.gained} newly right)"
    if accepted is not None and accepted.examples == n and accepted.differing is not None:
        p_value, before = _more_than(differing, accepted.differing, n), accepted.differing
        verdict = Verdict.REGRESSED if p_value <= RED_AT else _not_more(answers, before)
        words += "; as accepted" if differing == before else f"; {before} were accepted"
        words += " (known limitation)" if verdict is Verdict.UNSUPPORTED else ""
        words += f" ({_p(p_value)}, fails below {RED_AT:g})" if differing > before else ""
    else:
        p_value = _otherwise(answers)
        verdict = Verdict.REGRESSED if p_value <= RED_AT else Verdict.PASS
        words += f" ({_p(p_value)}, fails below {RED_AT:g})" if differing else ""
    asked = verdict not in (Verdict.PASS, Verdict.UNSUPPORTED)
    warned = Action(what="wrong results: do not ship this file to TFLite-Micro")
    return [
        Judgement(
            kind=Kind.MICRO,
            measurement=MICRO_AGREEMENT,
            against="reference kernels",
            verdict=verdict,
            value=agreement.value,
            reference=1.0,
            unit="fraction",
            message=words,
            actions=[*([warned] * (verdict is Verdict.REGRESSED)), *subject.choices()] if asked else [],
        )
    ]


def answers_otherwise(answers: MicroAnswers) -> bool:
    """Check whether the answers are surely others, without an accepted number of differing ones."""
    return _otherwise(answers) <= RED_AT


def _otherwise(answers: MicroAnswers) -> float:
    differing = len(answers.differing)
    return min(binomial_tail(differing, answers.examples, 1 - MICRO_SHARE), _worse(answers))


def _not_more(answers: MicroAnswers, before: int) -> Verdict:
    """Judge answers of which no more differ than accepted: many are a known fault, until they are none any more."""
    if answers_otherwise(answers):
        return Verdict.UNSUPPORTED if len(answers.differing) == before else Verdict.CHANGED
    if before == len(answers.differing):
        return Verdict.PASS
    faulty = binomial_tail(before, answers.examples, 1 - MICRO_SHARE) <= RED_AT
    return Verdict.IMPROVED if faulty else Verdict.CHANGED


def _p(value: float) -> str:
    return f"p = {value:.2g}" if value else "p < 1e-300"


def _worse(answers: MicroAnswers) -> float:
    if answers.lost is None or answers.gained is None:
        return 1.0
    return Paired(answers.examples, answers.lost, answers.gained).p_worse()


def _more_than(differing: int, accepted: int, n: int) -> float:
    """Return the one-sided p-value of Fisher's exact test (1935) that more of n examples differ than were accepted."""
    if differing <= accepted:
        return 1.0
    from scipy.stats import hypergeom  # slow to load

    return float(hypergeom.sf(differing - 1, 2 * n, differing + accepted, n))


def _versions(found: Micro, baseline: BaselineCell) -> str:
    """Name both versions of the package where they differ: its arena and its operators do too."""
    accepted = baseline.micro.version if baseline.micro else found.version
    return "" if accepted == found.version else f"; tflite-micro {accepted} → {found.version}"


def _of_loading(
    verdict: Verdict, words: str, refusal: MicroRefusal | None, actions: Sequence[Action] = ()
) -> Judgement:
    return Judgement(
        kind=Kind.MICRO,
        measurement=MICRO_LOADS,
        against="nothing" if verdict is Verdict.UNJUDGED else "baseline",
        verdict=verdict,
        message=words,
        detail=refusal.words if refusal else "",
        actions=list(actions),
    )
