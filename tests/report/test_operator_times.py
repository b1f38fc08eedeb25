"""What explain says of time: the operator or the kind that takes it, in one sentence."""

import pytest
from made_up_runs import cell, report
from quantbench.records import Action, Judgement, Kind, KindTime, OperatorTime, OperatorTimes, RedGroup, Verdict
from quantbench.report import reds
from quantbench.report.formatting import attention
from quantbench.report.operator_times import cause, screen

KERNEL = "Convolution (NHWC, QC8) IGEMM"


def one(position: int, microseconds: float, reference: float | None, kernel: str = KERNEL) -> OperatorTime:
    return OperatorTime(
        position=position,
        operator="CONV_2D",
        tensor=f"net/conv2d_{position}/Conv2D1",
        kernel=kernel,
        microseconds=microseconds,
        reference=reference,
        reference_kernel=KERNEL,
    )


def found(call: float, reference: float, *operators: OperatorTime, moved: int = 0) -> OperatorTimes:
    kind = KindTime(
        operator="CONV_2D",
        count=len(operators),
        microseconds=sum(each.microseconds for each in operators),
        reference=sum(each.reference or 0.0 for each in operators),
        moved=moved,
    )
    return OperatorTimes(
        subject="net/ptq",
        reference="the accepted artifact",
        processes=3,
        microseconds=call,
        reference_microseconds=reference,
        operators=list(operators),
        kinds=[kind],
    )


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (
            found(2000, 1550, one(3, 760, 360), one(4, 500, 480)),
            "Time: CONV_2D net/conv2d_3 (operator 3) takes 38 % of the call, 2.1 times as long as in the accepted "
            "artifact: +400 of +450 µs.",
        ),
        (
            found(60, 40, one(3, 25, 0.0, kernel="")),
            "Time: CONV_2D net/conv2d_3 (operator 3) takes 42 % of the call, and less than 1 µs in the accepted "
            "artifact: +25 of +20 µs. It runs on LiteRT's own kernel, and in the accepted artifact on XNNPACK's.",
        ),
        (
            found(60, 40, one(3, 25, None)),
            "Time: CONV_2D net/conv2d_3 (operator 3) takes 42 % of the call, and the accepted artifact does not have "
            "it: +25 of +20 µs.",
        ),
        (
            found(60, 40, *(one(place, 8, 2, kernel="") for place in range(3)), moved=3),
            "Time: the 3 CONV_2D together: +18 of +20 µs; all of them run on LiteRT's own kernels, and in the accepted "
            "artifact on XNNPACK's.",
        ),
        (
            found(60, 40, one(3, 8, 4)),
            "Time: no kind of operator explains half of it; most is in CONV_2D: +4 of +20 µs.",
        ),
        (
            found(41, 40, one(3, 8, 4)),
            "Time: not slower than the accepted artifact when timed in turns (41 µs, 40 µs), so look at the runtime or "
            "the machine; CONV_2D net/conv2d_3 (operator 3) takes most, 20 % of the call.",
        ),
        (found(60, 40), "Time: LiteRT told of no operator."),
    ],
)
def test_the_cause_is_one_sentence(told: OperatorTimes, words: str) -> None:
    assert cause(told) == words


def test_the_screen_begins_with_the_cause_and_marks_litert_s_own_kernels() -> None:
    lines = screen(found(60, 40, *(one(place, 8, 2, kernel="") for place in range(30)))).splitlines()
    assert lines[0] == (
        "net/ptq takes 60 µs a call, the accepted artifact 40 µs (1.50 times as long; in turns, medians of 3 processes)"
    )
    assert lines[1].startswith("Time: the 30 CONV_2D together")
    assert "builtin" in lines[5]
    assert len(lines) <= 30


def test_a_slow_cell_tells_its_cause_and_the_command_for_more() -> None:
    slow = cell(
        operator_times=found(2000, 1550, one(3, 760, 360)),
        judgements=[
            Judgement(
                kind=Kind.LATENCY,
                measurement="latency_ratio",
                against="baseline",
                verdict=Verdict.REGRESSED,
                message="1.29 times as slow",
                actions=[Action(what="inspect", command=["quantbench", "inspect", "m/v", "--run", "R"])],
            )
        ],
    )
    _, _, messages, steps = attention(report([slow]))[0]
    assert messages[1].startswith("Time: CONV_2D net/conv2d_3 (operator 3) takes 38 % of the call")
    assert steps[0].command == ["quantbench", "explain", "m/v", "--run", "R", "--time"]


def test_a_group_of_slow_cells_says_where_the_time_goes() -> None:
    slow = Judgement(kind=Kind.LATENCY, measurement="latency_ratio", against="baseline", verdict=Verdict.REGRESSED,
                     message="latency ratio 1.2, baseline 1")  # fmt: skip
    red = {"verdict": Verdict.REGRESSED, "judgements": [slow]}
    times = found(2000, 1550, one(3, 760, 360), one(4, 500, 480))
    told = report([cell("a", **red), cell("b", operator_times=times, **red)])
    alone = RedGroup(kind=Kind.LATENCY, verdict=Verdict.REGRESSED, cells=["m/b"], of=1)
    assert reds.entry(alone, told).lines[1] == cause(times).removesuffix(".")
    both = alone.model_copy(update={"cells": ["m/a", "m/b"], "of": 2})
    assert reds.entry(both, told).lines[1] == f"{cause(times).removesuffix('.')} (m/b)"
    score = alone.model_copy(update={"kind": Kind.ACCURACY})
    assert reds.entry(score, told).lines[1:] == []
