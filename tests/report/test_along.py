"""The chart of errors along the graph: what it shows, how large it gets, and that it stands on a page of its own."""

import re
from itertools import pairwise

import pytest
from made_up_pages import HOSTILE, Page
from made_up_runs import cell, report
from quantbench.records import Attribution, OperatorError, Suspect, Verdict
from quantbench.report import along
from quantbench.report.evidence import Behind
from quantbench.report.html import causes
from quantbench.report.html import page as html


def operator(position: int, error: float = 0.02, own: float | None = 0.01, finite: bool = True) -> OperatorError:
    names = f"net/re_lu_{position}/Relu;net/conv2d_{position}/Conv2D"
    facts = {"cosine": 0.999, "low": -1.0, "high": 2.0, "steps": 200.0, "finite": finite}
    return OperatorError(position=position, operator="CONV_2D", tensor=names, error=error, own=own, **facts)


def found(count: int = 12, **more: object) -> Attribution:
    of_suspect = {"operator": "CONV_2D", "tensor": "net/conv2d_3/Conv2D", "repaired_by": "float"}
    facts = {
        "subject": "m/v",
        "reference": "float32",
        "metric": "accuracy",
        "unit": "pp",
        "scale": 100.0,
        "examples": 64,
        "scored": 1000,
        "matched": 1.0,
        "float_score": 0.9,
        "score": 0.85,
        "output_error": 0.01,
        "operators": [operator(at, 0.001 * 1.5 ** (at % 20), 0.001 * 1.2 ** (at % 20)) for at in range(count)],
        "suspects": [Suspect(position=at, recovered=0.9 / at, score=0.89, **of_suspect) for at in (3, 5, 7, 9)],
    }
    return Attribution.model_validate(facts | more)


def texts(plot: object) -> list[str]:
    return [item.text for group in plot.groups for item in group.items if item.text]  # type: ignore[attr-defined]


def test_every_operator_has_its_error_and_suspects_a_ring_and_the_score_of_their_repair() -> None:
    drawn = along.along(found())
    told = [group.title for group in drawn.groups if group.title]
    assert "0 CONV_2D net/conv2d_0: error 0.1 %, own 0.1 %" in told
    assert len([one for one in told if " error " in one]) == 12
    rings = [item for group in drawn.groups for item in group.items if item.kind == "ring"]
    assert len(rings) == along.NUMBERED
    assert "1 conv2d_3: 30 % of the error gone, accuracy 89.00 %" in texts(drawn)
    assert {f"{at} conv2d_{at}" for at in range(12)} <= {*texts(drawn)}


def test_a_suspect_that_explains_nothing_has_no_ring_unless_it_is_the_first() -> None:
    little = [one.model_copy(update={"recovered": 0.01}) for one in found().suspects]
    region = little[0].model_copy(update={"together": [4, 5]})
    drawn = along.along(found(suspects=[region, *little[1:]]))
    items = [item for group in drawn.groups for item in group.items]
    assert sum(item.kind == "ring" for item in items) == 1
    assert sum(item.kind == "own suspect" for item in items) == 3


def test_of_a_long_graph_as_many_names_as_can_be_read_and_suspects_among_them() -> None:
    drawn = along.along(found(200))
    names = [item for group in drawn.groups for item in group.items if item.place and item.anchor == "end"]
    places = sorted(float(item.place.split(" ")[0]) for item in names)
    assert 30 < len(places) < 60
    assert min(b - a for a, b in pairwise(places)) >= 12
    assert "3 conv2d_3" in {item.text for item in names}


@pytest.mark.parametrize(
    "odd",
    [
        operator(1, error=0.0, own=0.0),
        operator(1, error=1e-12, own=None),
        operator(1, error=1e9, own=1e9),
        operator(1, error=0.0, own=None, finite=False),
    ],
)
def test_odd_errors_stay_within_the_picture(odd: OperatorError) -> None:
    drawn = along.along(found(operators=[operator(0), odd, operator(2)]))
    paths = " ".join(item.d + " " + item.place for group in drawn.groups for item in group.items)
    numbers = [float(number) for number in re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", paths)]
    assert all(-20 <= number <= 800 for number in numbers)
    assert "nan" not in paths
    assert "inf" not in paths


def red(found: Attribution, variant: str = "v") -> object:
    return cell(variant, verdict=Verdict.REGRESSED, attribution=found)


def test_a_red_page_has_the_chart_of_a_few_cells_and_a_green_one_no_such_part() -> None:
    text = html.render(report([red(found(), f"v{at}") for at in range(9)]), Behind())  # type: ignore[misc]
    page = Page(text)
    assert text.count('class="along"') == causes.MOST_CHARTS
    assert {"causes"} <= {attributes.get("id") for _, attributes in page.tags}
    assert "left in float" in page.said()
    assert "Where the error comes from" not in html.render(report([cell()]), Behind())
    older = found().model_copy(update={"operators": []})
    assert "Where the error comes from" not in html.render(report([red(older)]), Behind())  # type: ignore[list-item]


def test_a_chart_makes_a_page_little_larger() -> None:
    bare = len(html.render(report([cell()]), Behind()))
    assert len(html.render(report([red(found(70))]), Behind())) - bare < 40_000  # type: ignore[list-item]


def test_the_page_of_an_explanation_stands_alone_and_escapes_names() -> None:
    hostile = operator(1).model_copy(update={"tensor": HOSTILE})
    text = causes.page(found(operators=[operator(0), hostile], subject=HOSTILE))
    page = Page(text)
    assert not re.search(r"https?://|@import|url\(", text)
    assert not page.of("script")
    assert not page.of("img")
    assert "SQNR" in page.said()
    assert "Cause: CONV_2D" in page.said()


def test_what_has_no_errors_to_draw_still_has_a_page() -> None:
    text = causes.page(found(operators=[], suspects=[], matched=0.3, alone=["ADD at 4"]))
    assert (
        "only 30 % of the operators have a partner (the first without: ADD at 4 of the artifact)" in Page(text).said()
    )
