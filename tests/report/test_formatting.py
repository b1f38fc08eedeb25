"""How reports say things."""

import pytest
from made_up_pages import cell as of_page
from made_up_pages import judgement, report
from quantbench.records import Action, Cell, Failure, Kind, Measurement, Verdict, verdict_of_cell
from quantbench.report import formatting
from tabulate import tabulate


def cell(variant: str, score: float, higher_is_better: bool) -> Cell:
    return Cell(
        id=f"m/{variant}",
        model="m",
        variant=variant,
        family="ptq",
        control="float32",
        metric="error",
        metric_unit="units",
        metric_scale=1.0,
        higher_is_better=higher_is_better,
        measurements={"score": Measurement(value=score, unit="units", n=10)},
    )


def test_a_cell_that_runs_and_is_not_what_its_name_says_is_told_from_one_that_does_not_run() -> None:
    runs = cell("v", 1.0, True).model_copy(update={"verdict": Verdict.UNSUPPORTED})
    assert formatting.verdict(runs) == "∅ not quantized as specified (known limitation)"
    apart = {Kind.ACCURACY: Verdict.WARN, Kind.MICRO: Verdict.UNSUPPORTED}
    elsewhere = runs.model_copy(update={"verdicts": apart, "verdict": verdict_of_cell(apart)})
    assert elsewhere.verdict is Verdict.WARN, "TFLite-Micro alone does not take it"
    assert formatting.verdict(elsewhere) == "! warn, micro unsupported (known limitation)"
    alone = runs.model_copy(update={"verdicts": {Kind.MICRO: Verdict.UNSUPPORTED}})
    assert formatting.verdict(alone) == "∅ micro unsupported (known limitation)", "nothing else was judged"
    refused = runs.model_copy(update={"failure": Failure(what="unsupported", reason="r"), "measurements": {}})
    assert formatting.verdict(refused) == "∅ unsupported"


def test_a_larger_error_is_a_drop_and_a_smaller_one_a_gain() -> None:
    for better, expected in ((False, "+0.50 units"), (True, "-0.50 units")):
        both = {one.id: one for one in (cell("float32", 1.0, better), cell("v", 1.5, better))}
        assert formatting.drop(both["m/v"], both) == expected


def test_files_say_unjudged_and_people_read_not_gated() -> None:
    assert Verdict.UNJUDGED == "unjudged"
    one = of_page("m", "v", 0.9, 1000)
    one.verdict, one.verdicts = Verdict.UNJUDGED, {Kind.ACCURACY: Verdict.PASS, Kind.LATENCY: Verdict.UNJUDGED}
    assert formatting.verdict(one) == "✓ pass, latency not gated"
    assert "latency: 1 not gated" in formatting.headline(report([one]))
    assert [verdict.shown for verdict in Verdict if verdict.shown != verdict] == ["not gated"]


def test_accepting_is_not_offered_where_the_release_limit_stays_broken() -> None:
    """A red limit is in the model's file, so that an update of the baseline would leave the cell red."""
    accept = Action(what="accept", command=["quantbench", "baseline", "update", "reports/r", "--only", "m/v"])
    inspect = Action(what="inspect", command=["quantbench", "inspect", "m/v"])
    one = of_page("m", "v", 0.9, 1000, Verdict.REGRESSED)
    one.judgements = [judgement("m/v", Verdict.REGRESSED, 9.0, actions=[inspect, accept])]
    assert formatting.attention(report([one]))[0][3] == [inspect, accept]
    policy = Action(what="accepting the baseline will not turn this green: the limit is 'floors' in m.py")
    one.judgements.append(judgement("m/v", Verdict.REGRESSED, 9.0, against="floor", actions=[policy]))
    assert formatting.attention(report([one]))[0][3] == [inspect, policy]


def test_a_release_limit_says_what_is_left_or_by_how_much_it_is_exceeded() -> None:
    one = of_page("m", "v", 0.9, 1000)
    for change, words in ((0.1, "0.5 pp (0.40 left)"), (1.42, "0.5 pp (exceeded by 0.92)")):
        one.judgements = [judgement("m/v", Verdict.PASS, change, against="floor")]
        assert formatting.floor_of(one) == words


@pytest.mark.parametrize("rows", [[], [["a", 1], ["| `b`", None]], [["longer than its head", "é"], ["", " spaced "]]])
def test_tables_are_those_of_tabulate(rows: list[list[object]]) -> None:
    heads = ["name", "µs |"]
    shown = [[formatting._in_table(value) for value in row] for row in (heads, *rows)]
    expected = tabulate(shown[1:], headers=shown[0], tablefmt="github", disable_numparse=True)
    assert formatting.table(rows, heads) == expected
