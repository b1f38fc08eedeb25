"""The judge of TFLite-Micro on made-up findings: what is red, what is a known limitation, and what is only told."""

from typing import Any

import pytest
from conftest import accepted, steps
from quantbench import gate
from quantbench.records import (
    AcceptedMicro,
    BaselineCell,
    Judgement,
    Kind,
    Measurement,
    Micro,
    MicroAnswers,
    MicroRefusal,
    Verdict,
)

SUBJECT = gate.Subject("m", "v", "reports/r")
HYBRID = MicroRefusal(reason="conv_common.cc:42: Hybrid models are not supported on TFLite Micro.", operator="CONV_2D")
NO_GELU = MicroRefusal(reason="Didn't find op for builtin opcode 'GELU'", operator="GELU", missing=True)


def held(arena: float = 29_104, **more: Any) -> BaselineCell:
    facts = {"version": "1", "examples": 300, "differing": 0} | more
    measurements = {} if facts.get("refusal") else {"micro_arena": accepted(arena, 0.0, "bytes")}
    return BaselineCell(measurements=measurements, micro=AcceptedMicro(**facts))


def judged(
    arena: float = 29_104,
    differing: int = 0,
    baseline: BaselineCell | None = None,
    refusal: MicroRefusal | None = None,
    examples: int = 300,
    version: str = "1",
    **pairs: int,
) -> dict[str, Judgement]:
    answers = MicroAnswers(examples=examples, differing=list(range(differing)), **pairs)
    found = Micro(version=version, head=27_040, tail=2_064, answers=answers)
    measured = {
        "micro_arena": Measurement(value=arena, unit="bytes", n=1),
        "micro_agreement": Measurement(value=1 - differing / examples, unit="fraction", n=examples),
    }
    if refusal is not None:
        found, measured = Micro(version=version, refusal=refusal), {}
    found_by = gate.micro(SUBJECT, found, measured, "", baseline or held())
    assert {one.kind for one in found_by} == {Kind.MICRO}
    return {one.measurement: one for one in found_by}


def test_what_is_as_accepted_passes_and_asks_for_nothing() -> None:
    found = judged()
    assert {one.verdict for one in found.values()} == {Verdict.PASS}
    assert list(found) == ["micro_loads", "micro_arena", "micro_agreement"]
    assert not any(one.actions for one in found.values())


def test_sixteen_bytes_more_of_arena_are_red_and_sixteen_less_are_told() -> None:
    more, less = judged(29_120)["micro_arena"], judged(29_088)["micro_arena"]
    assert (more.verdict, less.verdict) == (Verdict.REGRESSED, Verdict.IMPROVED)
    assert more.message == (
        "arena on TFLite-Micro 29,120 bytes, baseline 29,104 (+16 bytes, +0.05 %; 27,040 that calls reuse and 2,064 "
        "that stay)"
    )
    assert "baseline update" in steps(more)


def test_another_version_of_the_package_is_named_where_the_arena_changed() -> None:
    assert judged(29_120, version="2")["micro_arena"].message.endswith("; tflite-micro 1 → 2")
    assert "tflite-micro" not in judged(version="2")["micro_arena"].message


def test_an_artifact_that_ran_and_no_longer_does_is_red_and_names_the_operator() -> None:
    (red,) = judged(refusal=NO_GELU).values()
    assert (red.measurement, red.verdict) == ("micro_loads", Verdict.REGRESSED)
    assert red.message == "no longer runs on TFLite-Micro: it has no operator GELU"


def test_a_known_refusal_stays_one_and_the_day_that_it_works_is_told() -> None:
    known = held(refusal=HYBRID)
    elsewhere = HYBRID.model_copy(update={"reason": HYBRID.reason.replace("42", "57")})
    (still,) = judged(refusal=elsewhere, baseline=known).values()
    assert still.verdict is Verdict.UNSUPPORTED
    works = judged(baseline=known)
    assert works["micro_loads"].verdict is Verdict.IMPROVED
    assert "it was known not to (CONV_2D: conv_common.cc:42: Hybrid models" in works["micro_loads"].message
    assert works["micro_arena"].verdict is Verdict.UNJUDGED
    (other,) = judged(refusal=NO_GELU, baseline=known).values()
    assert other.verdict is Verdict.WARN


def test_nothing_accepted_is_missing_and_an_older_baseline_does_not_gate() -> None:
    answers = Micro(version="1")
    arena = {"micro_arena": Measurement(value=1, unit="bytes", n=1)}
    (missing,) = gate.micro(SUBJECT, answers, arena, "", None)
    assert missing.verdict is Verdict.MISSING
    assert {one.verdict for one in gate.micro(SUBJECT, answers, arena, "", BaselineCell())} == {Verdict.UNJUDGED}


def test_what_could_not_be_found_out_is_an_error() -> None:
    (failed,) = gate.micro(SUBJECT, None, {}, "its process died of SIGKILL", held())
    assert failed.verdict is Verdict.ERROR
    assert "SIGKILL" in failed.message


@pytest.mark.parametrize(
    ("differing", "before", "verdict"),
    [
        (1, 0, "changed"),
        (20, 0, "regressed"),
        (20, 20, "unsupported"),
        (60, 20, "regressed"),
        (19, 20, "changed"),
        (0, 20, "improved"),
        (0, 1, "changed"),
    ],
)
def test_more_differing_answers_than_accepted_are_red_beyond_chance_and_a_known_fault_is_told_when_mended(
    differing: int, before: int, verdict: str
) -> None:
    assert judged(differing=differing, baseline=held(differing=before))["micro_agreement"].verdict == verdict


def test_a_known_fault_says_so_and_asks_for_nothing() -> None:
    known = judged(differing=20, baseline=held(differing=20))["micro_agreement"]
    assert known.message.endswith("than LiteRT's reference kernels; as accepted (known limitation)")
    assert known.actions == []


def test_without_an_accepted_number_a_share_and_a_loss_are_red() -> None:
    never = held(examples=None, differing=None)
    few = judged(differing=3, baseline=never, lost=2, gained=1)["micro_agreement"]
    assert few.verdict is Verdict.PASS
    assert "3 of 300 examples otherwise than LiteRT's reference kernels (2 newly wrong, 1 newly right)" in few.message
    assert judged(differing=15, baseline=never)["micro_agreement"].verdict is Verdict.REGRESSED
    # 11 of 1,000 is no share beyond one in a hundred, and all of them newly wrong is no chance.
    lost = judged(differing=11, baseline=never, examples=1000, lost=11, gained=0)["micro_agreement"]
    assert lost.verdict is Verdict.REGRESSED
    assert judged(differing=11, baseline=never, examples=1000, lost=6, gained=5)["micro_agreement"].verdict == "pass"
    assert "do not ship this file to TFLite-Micro" in steps(lost)
