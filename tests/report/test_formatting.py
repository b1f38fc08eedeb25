"""How reports say things."""

from quantbench.records import Cell, Failure, Measurement, Verdict
from quantbench.report import formatting


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
    assert formatting.verdict(runs) == "∅ not what its name says, as declared"
    refused = runs.model_copy(update={"failure": Failure(what="unsupported", reason="r"), "measurements": {}})
    assert formatting.verdict(refused) == "∅ unsupported"


def test_a_larger_error_is_a_drop_and_a_smaller_one_a_gain() -> None:
    for better, expected in ((False, "+0.50 units (no floor)"), (True, "-0.50 units (no floor)")):
        both = {one.id: one for one in (cell("float32", 1.0, better), cell("v", 1.5, better))}
        assert formatting.drop(both["m/v"], both) == expected
