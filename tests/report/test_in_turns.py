"""What a report says of cells that were timed in turns with their accepted artifacts."""

from typing import Any

from made_up_runs import cell, environment, measured, report
from quantbench.records import InTurns, Judgement, Kind, Report, Verdict
from quantbench.report import formatting, latency, markdown

RUNTIME = "2.3.0 aaaaaaaaaaaa"


def judged(verdict: Verdict, against: Any, name: str = "latency_ratio", **turns: Any) -> Judgement:
    facts = {"artifact": "changed", "accepted_runtime": RUNTIME, "runtime": RUNTIME} | turns
    return Judgement(
        kind=Kind.LATENCY,
        measurement=name,
        against=against,
        verdict=verdict,
        detectable=0.02,
        message="said",
        turns=InTurns(**facts),
    )


def run_of(*judgements: Judgement) -> Report:
    cells = [
        cell(
            f"v{i}",
            verdict=one.verdict,
            verdicts={Kind.LATENCY: one.verdict},
            judgements=[one],
            measurements={"latency_p50": measured(9.0, "µs"), "latency_ratio": measured(0.5, "ratio", [0.5, 0.5])},
        )
        for i, one in enumerate(judgements)
    ]
    return report(cells, environment=environment())


def test_the_latency_section_tells_what_was_timed_in_turns_and_what_was_not_and_why() -> None:
    timed = judged(Verdict.PASS, "accepted artifact", change=0.002, low=-0.001, high=0.005, values=[1.0, 1.004])
    mean = judged(Verdict.REGRESSED, "accepted artifact", "latency_mean_ratio", change=0.1)
    same = judged(Verdict.PASS, "accepted artifact", artifact="same")
    gone = judged(Verdict.UNJUDGED, "nothing", lacking="artifact")
    found = run_of(timed, mean, same, same, gone)
    assert latency.in_turns(found.cells) == [
        "In turns with the accepted artifact: `v0` +0.2 %, 95 %: -0.1 to +0.5 %; `v1` (latency mean ratio) +10.0 %.",
        "Not timed in turns, as artifact and runtime are the accepted ones: `v2`, `v3`.",
        "Not timed in turns, as the accepted artifact is neither in the cache nor in the folder of the accepted run: "
        "`v4`.",
    ]
    note = formatting.unjudged_latency(found)
    assert note is not None
    assert note.startswith("latency is not gated in 1 cells: no baseline for this machine profile")
    assert note.endswith(
        "; 1 not timed in turns: the accepted artifact is neither in the cache nor in the folder of the accepted run"
    )
    text = markdown.render(found)
    assert "- In turns with the accepted artifact: `v0` +0.2 %" in text
    assert "| 2.0 %" in text  # what could have been seen, without any baseline


def test_a_report_without_turns_says_nothing_of_them() -> None:
    plain = judged(Verdict.PASS, "baseline").model_copy(update={"turns": None})
    assert latency.in_turns(run_of(plain).cells) == []
    assert formatting.unjudged_latency(run_of(plain)) is None


def test_a_red_that_could_not_be_confirmed_is_told_by_its_own_message_alone() -> None:
    red = judged(Verdict.REGRESSED, "baseline", lacking="time")
    assert latency.in_turns(run_of(red).cells) == []
