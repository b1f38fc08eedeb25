"""What explain says: the cause first, what it would give back, and what changed in one line a kind."""

import pytest
from made_up_runs import cell, report
from quantbench.records import (
    Action,
    Attribution,
    Change,
    Judgement,
    Kind,
    OperatorError,
    Suspect,
    Untried,
    Verdict,
)
from quantbench.report.attribution import cause, changes_in_words, layer, screen
from quantbench.report.formatting import attention

CONV = {"operator": "CONV_2D", "tensor": "net/re_lu/Relu;net/conv2d_3/Conv2D1"}


def error(position: int, own: float | None = 0.01) -> OperatorError:
    return OperatorError(position=position, error=0.02, own=own, cosine=0.999, **CONV)


def suspect(recovered: float, score: float | None = 0.89, by: str = "float", position: int = 3) -> Suspect:
    return Suspect(position=position, repaired_by=by, recovered=recovered, score=score, **CONV)


def found(*suspects: Suspect, **more: object) -> Attribution:
    facts = {
        "subject": "net/ptq",
        "reference": "float32",
        "metric": "accuracy",
        "unit": "pp",
        "scale": 100.0,
        "examples": 64,
        "scored": 1000,
        "matched": 1.0,
        "operators": [error(position) for position in range(12)],
        "float_score": 0.9,
        "score": 0.85,
        "output_error": 0.01,
    }
    return Attribution.model_validate(facts | {"suspects": list(suspects)} | more)


def test_the_cause_names_the_operator_and_what_comes_back() -> None:
    assert cause(found(suspect(0.93), suspect(0.2, position=5))) == (
        "Cause: CONV_2D net/conv2d_3 (operator 3): left in float, 4.00 of the 5.00 pp lost on the first 1,000 "
        "examples come back, and 93 % of the outputs' squared error is gone."
    )


def test_an_error_measure_that_grew_is_worse_too() -> None:
    told = found(suspect(0.93, 0.2), unit="units", scale=1.0, higher_is_better=False, float_score=0.1, score=0.5)
    assert "0.3 of the 0.4 units lost on the first 1,000 examples come back" in cause(told)
    assert "0.4 units worse" in screen(told).splitlines()[0]
    better = told.model_copy(update={"score": 0.05})
    assert "0.05 units better" in screen(better).splitlines()[0]
    assert "come back" not in cause(better)


@pytest.mark.parametrize(
    ("suspects", "words"),
    [
        ([], "Cause: not found: no operator could be repaired alone."),
        (
            [suspect(0.05)],
            "Cause: not found: no single operator explains a tenth: CONV_2D net/conv2d_3 explains most, 5 %",
        ),
        ([suspect(-0.5)], "no repair of a single operator takes anything of the outputs' error away"),
        ([suspect(0.5, 0.855)], "left in float, 50 % of the outputs'"),  # 5 examples of 1,000 are no proof
        ([suspect(0.9, 0.95)], "all of the 5.00 pp lost on the first 1,000 examples come back"),
        (
            [suspect(0.5, None, "accepted")],
            "options and ranges, 50 % of what the outputs' squared error grew by since then is gone",
        ),
    ],
)
def test_where_nothing_is_to_be_said_nothing_is_claimed(suspects: list[Suspect], words: str) -> None:
    assert words in cause(found(*suspects))


def test_what_is_no_error_has_no_cause() -> None:
    explained = suspect(0.9)
    assert cause(found(explained, output_error=0.0)) == "Cause: none: the outputs are those of float32 on 64 examples."
    assert "by rounding alone" in cause(found(explained, output_error=1e-9))
    assert "only 59 % of the operators have a partner" in cause(found(explained, matched=0.59))
    broken = error(2).model_copy(update={"finite": False})
    words = "CONV_2D net/conv2d_3 (operator 2) is the first whose output is no finite number"
    assert words in cause(found(operators=[error(0), broken], output_error=None))


def test_many_similar_errors_are_told_only_where_there_are_many_and_integers() -> None:
    integers = [error(at).model_copy(update={"steps": 200.0}) for at in range(6)]
    assert "16-bit activations" in cause(found(suspect(0.01), operators=integers))
    assert "16-bit activations" not in cause(found(suspect(0.01)))  # no integer activations
    assert "16-bit activations" not in cause(found(suspect(0.01), operators=integers[:3]))


def test_what_could_not_be_repaired_is_named() -> None:
    facts = {"operator": "WHILE", "tensor": "net/gru/while"}
    loop = Untried(position=7, error=0.64, why="subgraph", **facts)
    told = found(suspect(0.01), operators=[error(0)], untried=[loop, loop, loop, loop])
    assert "WHILE net/gru (operator 7) cannot be repaired alone, and its output is 64 % off" in cause(told)
    line = screen(told).splitlines()[2]
    assert line.startswith("Not tried: WHILE net/gru (operator 7; it calls other subgraphs than in float32), WHILE")
    assert line.endswith(" and 1 more")
    assert "Not tried" not in screen(found(suspect(0.01)))


def test_the_models_input_is_called_so() -> None:
    of_input = Suspect(position=0, repaired_by="range", recovered=0.99, operator="QUANTIZE", tensor="tfl.quantize")
    assert cause(found(of_input)).startswith(
        "Cause: the quantization of the model's input: with the range of the float "
    )


def test_changes_of_a_kind_are_one_line() -> None:
    scales = [Change(position=at, what="weights scale", factor=1.6, **CONV) for at in range(10)]
    ranges = [Change(position=2, what="output range", factor=0.5, old="-4 to 4", new="-2 to 2", **CONV)]
    bias = [Change(position=2, what="bias", new="3 of 8 stored values differ", **CONV)]
    words = [
        "10 × weights scale: 1.6 times larger (e.g. CONV_2D net/conv2d_3)",
        "output range of CONV_2D net/conv2d_3: 2 times smaller (-4 to 4 → -2 to 2)",
        "bias of CONV_2D net/conv2d_3: 3 of 8 stored values differ",
    ]
    assert changes_in_words([*scales, *ranges, *bias]) == words
    shown = screen(found(changes=[*scales, *ranges, *bias])).splitlines()
    assert "\n".join(["Changed since the accepted artifact:", *(f"  {line}" for line in words)]) in "\n".join(shown)
    casts = [Change(position=at, what="operator", new="added", operator="QUANTIZE", tensor=f"q{at}") for at in range(5)]
    assert changes_in_words(casts) == ["added: QUANTIZE q0, QUANTIZE q1, QUANTIZE q2 and 2 more"]
    mixed = [*scales[:1], Change(position=11, what="weights scale", factor=3.0, **CONV)]
    assert "1.6 to 3 times as large as before" in changes_in_words(mixed)[0]


def test_it_fits_on_one_screen_and_escapes_names() -> None:
    many = [Change(position=at, what=f"what {at}", new="x", **CONV) for at in range(40)]
    hostile = Suspect(position=3, repaired_by="float", recovered=0.5, operator="CONV_2D", tensor="a\x1b[2J\n/b")
    text = screen(
        found(hostile, *(suspect(0.2, position=at) for at in range(4, 20)), changes=many, matched=0.9, alone=["X at 1"])
    )
    assert len(text.splitlines()) <= 30
    assert "\x1b" not in text
    assert "Matched 90 % of the operators; without a partner: 1 in the artifact (X at 1)" in text


@pytest.mark.parametrize(
    ("tensor", "name"),
    [
        ("StatefulPartitionedCall:0/net/dense/MatMul", "net/dense"),
        ("model_1/conv/Conv2D", "conv"),
        ("alone", "alone"),
        ("", ""),
    ],
)
def test_a_layer_is_named_by_its_own_operator(tensor: str, name: str) -> None:
    assert layer(tensor) == name


def test_a_red_cell_of_a_report_tells_its_cause_and_the_command_for_more() -> None:
    inspect = Action(what="inspect", command=["quantbench", "inspect", "net/ptq", "--run", "reports/1"])
    again = Action(what="again", command=["quantbench", "run", "--model-dir", "mine", "--no-cache"])
    red = Judgement(
        kind=Kind.ACCURACY,
        measurement="score",
        against="baseline",
        verdict=Verdict.REGRESSED,
        message="worse",
        actions=[inspect, again],
    )
    judged = cell("ptq", verdict=Verdict.REGRESSED, judgements=[red])
    [(_, _, plain, _)] = attention(report([judged]))
    assert plain == ["worse"]
    explained = judged.model_copy(update={"attribution": found(suspect(0.93))})
    [(_, _, messages, actions)] = attention(report([explained]))
    assert messages == ["worse", cause(found(suspect(0.93)))]
    assert actions[0].command == ["quantbench", "explain", *inspect.command[2:], "--model-dir", "mine"]
