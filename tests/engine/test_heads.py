"""A further output of a model is judged as the main one: paired, in the same budget, by its own limit, by its name."""

import csv
from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
from conftest import accepted
from made_up_cells import FLOAT, HALF, Model, Run, baseline, model, outcome, run
from made_up_runs import LABELS, answers, clustered
from quantbench import gate
from quantbench.baselines.effective import EffectiveBaseline
from quantbench.comparison import Outcome as Compared
from quantbench.comparison import Side, Truth, compare
from quantbench.comparison.reds import Around, red_groups
from quantbench.comparison.summary import summarize
from quantbench.core import distances
from quantbench.core.options import RunOptions
from quantbench.engine import unrecorded
from quantbench.engine.workers.task import Outcome
from quantbench.errors import Exit
from quantbench.records import BaselineCell, Contents, Judgement, Kind, Port, Report, Signature, Verdict
from quantbench.reference.datasets import Pack, Split
from quantbench.reference.metrics import ACCURACY
from quantbench.reference.model import Floor, Head, ReferenceModel
from quantbench.report import cells_csv, markdown, outputs, reds
from quantbench.report.evidence import Behind
from quantbench.report.html import page as page_of_run

COLOURS = (LABELS + 3) % 10
QAT, FINETUNED = "m/qat_wi8_ai8", "m/float32_finetuned"


class TwoHeaded(Model):
    """A made-up model whose further output tells colours."""

    def pack(self) -> Pack:
        test = Split(np.zeros((len(LABELS), 1)), LABELS, {"head1": COLOURS})
        return Pack(None, None, test, "d")


def two_headed(limit: float | None = 0.5) -> ReferenceModel:
    floors = {} if limit is None else {"default": Floor(limit, "colours matter")}
    head, like = Head("colour", ACCURACY, "head1", floors=floors), model()
    fields = {name: getattr(like, name) for name in ReferenceModel.__dataclass_fields__}
    return TwoHeaded(**fields | {"heads": (head,)})


def colours(wrong: int, at: int = 0) -> np.ndarray:
    return (answers(wrong, at) + 3) % 10


def of(wrong: int = 100, wrong_colours: int = 100, at: int = 0, **more: object) -> Outcome:
    return outcome(wrong, heads={"colour": colours(wrong_colours, at)}, **more)


def standing(**changed: BaselineCell) -> EffectiveBaseline:
    """Both outputs of float32 and of ptq_float16 have 100 of 1000 wrong."""
    names = ("float32", "ptq_float16")
    scores = {"score": accepted(0.9), "score@colour": accepted(0.9)}
    cells = {name: BaselineCell(measurements=dict(scores)) for name in names} | changed
    found = baseline({name: answers(100) for name in names}, **cells)
    found.predictions |= {f"{name}@colour": colours(100) for name in names}
    return found


def made(half: Outcome, before: EffectiveBaseline | None = None, limit: float | None = 0.5) -> Run:
    return run({FLOAT: [of()], HALF: [half]}, before or standing(), of=two_headed(limit))


def judged(found: Run, cell: str = HALF) -> dict[tuple[str, str], Judgement]:
    return {(one.measurement, one.against): one for one in found.drive.judge(cell, Kind.ACCURACY)}


def saved(found: Run) -> Report:
    found.recording.save("complete", Exit.GREEN)
    return found.written[-1]


def test_a_head_that_breaks_while_the_first_one_holds_is_red_by_its_name() -> None:
    found = made(of(wrong_colours=180))
    of_cell = judged(found)
    assert of_cell["score", "baseline"].verdict is Verdict.PASS
    broken = of_cell["score@colour", "baseline"]
    assert broken.verdict is Verdict.REGRESSED
    assert broken.message.startswith("output colour: accuracy 82.00 %, baseline 90.00 %")
    limit = of_cell["score@colour", "floor"]
    assert limit.verdict is Verdict.REGRESSED
    assert "the limit's reason: colours matter" in limit.message
    assert all("update" not in action.command for action in broken.actions)  # no update moves the limit
    [_, cell] = saved(found).cells
    assert (cell.verdict, cell.measurements["score@colour"].value) == (Verdict.REGRESSED, 0.82)


def test_heads_share_the_budget_and_the_limits_of_the_run() -> None:
    found = made(of(140, 140))
    assert {judged(found)[name, "baseline"].verdict for name in ("score", "score@colour")} == {Verdict.REGRESSED}
    one = run({FLOAT: [outcome()], HALF: [outcome(140)]}, standing())
    judged(one)
    assert found.budget.false_alarms().judgements > one.budget.false_alarms().judgements
    assert found.budget.even().judgements == 2 * one.budget.even().judgements
    assert found.budget.limit_alpha() == pytest.approx(one.budget.limit_alpha() / 2)
    assert found.budget.holm_threshold("m/ptq_float16@colour") <= gate.beside_limits(0.01)


def test_a_class_of_a_head_that_collapses_is_red_where_its_mean_stays() -> None:
    kept, swapped = colours(100), colours(100)
    right = np.flatnonzero((COLOURS == 3) & (kept == COLOURS))
    wrong = np.flatnonzero((COLOURS != 3) & (kept != COLOURS))[: len(right)]
    swapped[right[: len(wrong)]], swapped[wrong] = 9, COLOURS[wrong]
    of_cell = judged(made(outcome(heads={"colour": swapped})))
    assert of_cell["score@colour", "baseline"].verdict is not Verdict.REGRESSED
    assert of_cell["classes@colour", "baseline"].verdict is Verdict.REGRESSED
    assert of_cell["classes@colour", "baseline"].message.startswith("output colour: class 3")


def test_a_head_that_only_changed_is_no_drop_and_one_without_a_limit_has_none() -> None:
    of_cell = judged(made(of(), limit=None))
    assert ("score@colour", "floor") not in of_cell
    assert {one.verdict for one in of_cell.values()} == {Verdict.PASS}


def test_a_baseline_without_the_heads_lacks_them_in_words() -> None:
    before = standing(ptq_float16=BaselineCell(measurements={"score": accepted(0.9)}))
    lacking = judged(made(of(), before))["score@colour", "baseline"]
    assert (lacking.verdict, lacking.message) == (Verdict.MISSING, "output colour: no baseline for score")


def test_a_head_that_trains_worse_asks_for_more_seeds() -> None:
    before = standing()
    trained = {
        name: accepted(0.9, values=[0.9, 0.901, 0.899, 0.9, 0.9]) for name in ("score", "score@colour")
    }  # of both cells
    for name in ("qat_wi8_ai8", "float32_finetuned"):
        assert before.file is not None
        before.file.cells[name] = BaselineCell(measurements=dict(trained))
        before.predictions |= {name: answers(100), f"{name}@colour": colours(100)}
    seeds = {seed: {"seed": seed, "artifact_sha256": f"{seed}" * 64} for seed in range(8)}
    outcomes = {
        FLOAT: [of()],
        FINETUNED: [of(**more) for more in seeds.values()],
        QAT: [of(101, 150, **more) for more in seeds.values()],
    }
    found = run(outcomes, before, of=two_headed(5.0), options=RunOptions(seeds=1, seeds_on_suspicion=8))
    of_cell = judged(found, QAT)
    assert "reseed m/qat_wi8_ai8 8" in found.computing.calls
    assert of_cell["score", "baseline"].verdict is not Verdict.REGRESSED
    assert of_cell["score@colour", "baseline"].verdict is Verdict.REGRESSED


def test_a_report_shows_each_output_and_history_keeps_a_series_of_it() -> None:
    found = made(of(wrong_colours=180))
    judged(found)
    report = saved(found)
    by_id = {cell.id: cell for cell in report.cells}
    shown = {row.variant: row for row in outputs.rows(report.cells, by_id)}
    assert (shown["ptq_float16"].score, shown["ptq_float16"].drop) == ("82.00 %", "+8.00 pp")
    assert shown["ptq_float16"].limit == "0.5 pp (exceeded by 7.50)"
    assert "### Further outputs" in markdown.render(report)
    page = page_of_run.render(report, Behind())
    assert '<h2 id="outputs">Further outputs</h2>' in page
    assert "<td>accuracy<td>82.00 %<td>+8.00 pp<td>0.5 pp (exceeded by 7.50)" in page
    in_csv = csv.DictReader(StringIO(cells_csv.render(report)))
    of_half = {(row["measurement"], row["output"]): row for row in in_csv if row["cell"] == HALF}
    assert (of_half["score", "colour"]["value"], of_half["score", "colour"]["verdict"]) == ("0.82", "regressed")
    assert of_half["score", ""]["value"] == "0.9"
    summary = summarize(report, 1)
    place = summary.cells.index("m/ptq_float16@colour")
    assert (summary.values["score"][place], summary.values["floor_limit"][place]) == (0.82, 0.5)
    assert summary.scoring["m@colour"].metric == "accuracy"
    assert summary.values["score"][summary.cells.index(HALF)] == 0.9


def test_a_group_of_red_cells_names_the_output() -> None:
    found = run({FLOAT: [of(100, 180)], HALF: [of(100, 180)]}, standing(), of=two_headed())
    for cell in (FLOAT, HALF):
        judged(found, cell)
    report = saved(found)
    [group] = red_groups(report, Around(["runs/r"]))
    [entry] = reds.entries(report.model_copy(update={"reds": [group]}))
    assert entry.lines[0].startswith("output colour: accuracy 8.00 pp worse than accepted")


def test_a_comparison_pairs_the_predictions_of_every_output() -> None:
    def side(wrong_colours: int) -> Side:
        found = made(of(100, wrong_colours))
        judged(found)
        return Side(saved(found), found.results.predictions())

    def truth(name: str) -> Truth:
        return Truth(ACCURACY, COLOURS if name == "m@colour" else LABELS)

    items = {one.measurement: one for one in compare(side(100), side(180), truth).items if one.cell == HALF}
    assert items["score"].outcome is Compared.UNCHANGED
    assert items["score@colour"].outcome is Compared.WORSE
    assert "80 newly wrong, 0 newly right of 1,000" in items["score@colour"].why


# ---------------------------------------------------------------- the values of an output

_RANDOM = np.random.default_rng(1)
BOXES = _RANDOM.normal(0, 100, (len(LABELS), 3)).astype(np.float32)  # of the first output: far larger than those of
OF_COLOURS = _RANDOM.dirichlet(np.ones(5), len(LABELS)).astype(np.float32)  # the second one, which are probabilities


def with_values(boxes: np.ndarray, colours_of: np.ndarray) -> Outcome:
    """Both outputs' values; the file holds the second output first."""
    ports = [Port(name="b", dtype="FLOAT32", shape=[1, 5]), Port(name="a", dtype="FLOAT32", shape=[1, 3])]
    signatures = {"serving_default": Signature(inputs={}, outputs={"output_0": 1, "output_1": 0})}
    census = clustered().model_copy(update={"outputs": ports, "signatures": signatures})
    return of(outputs=np.hstack([boxes, colours_of]), contents=Contents(census=census, ranges=[]))


def of_values(half: Outcome, before: EffectiveBaseline | None = None) -> Run:
    head = replace(two_headed().heads[0], metric=ACCURACY.of("output_1"))
    both = {FLOAT: [with_values(BOXES, OF_COLOURS)], HALF: [half]}
    return run(both, before or standing(), of=replace(two_headed(), heads=(head,)))


def test_each_output_is_held_to_its_own_values_and_a_small_one_is_not_hidden_by_a_large_one() -> None:
    near = of_values(with_values(BOXES * np.float32(1.001), OF_COLOURS))
    near.recording.save("complete", Exit.GREEN)
    before, stored = standing(), near.results.predictions()["m"]
    assert {"ptq_float16#outputs", "ptq_float16@colour#outputs", "float32@colour#outputs"} <= set(stored)
    assert stored["float32@colour#outputs"].shape[1] == 5
    before.predictions |= {name: array for name, array in stored.items() if "#" in name}
    assert before.file is not None
    for name in ("float32", "ptq_float16"):
        found = near.results.of(f"m/{name}").measurements
        distances = {
            key: accepted(found[key].value, gate.SMALLEST_EFFECT, found[key].unit)
            for key in ("output_distance", "output_distance@colour")
        }
        cell = before.file.cells[name]
        before.file.cells[name] = cell.model_copy(update={"measurements": {**cell.measurements, **distances}})
    same = judged(of_values(with_values(BOXES * np.float32(1.001), OF_COLOURS), before))
    assert {one.verdict for one in same.values()} == {Verdict.PASS}
    without_softmax = np.log(OF_COLOURS + 1e-6)
    broken = of_values(with_values(BOXES * np.float32(1.001), without_softmax), before)
    red = [one for one in judged(broken).values() if one.verdict is Verdict.REGRESSED]
    assert [one.measurement for one in red] == ["output_distance@colour"]
    assert red[0].message.startswith("output colour: the outputs differ from the float32 reference's by")
    other = of_values(with_values(BOXES[:, ::-1], OF_COLOURS), before)
    assert [key for key, one in judged(other).items() if one.verdict is Verdict.REGRESSED] == [
        ("output_distance", "baseline")
    ]
    assert other.budget.even().judgements == of_values(with_values(BOXES, OF_COLOURS)).budget.even().judgements + 4


@pytest.mark.parametrize("named", [("output_0",), ()])
def test_an_output_that_a_head_scores_too_is_held_to_its_values(named: tuple[str, ...]) -> None:
    ports = [Port(name="a", dtype="FLOAT32", shape=[1, 5])]
    signatures = {"serving_default": Signature(inputs={}, outputs={"output_0": 0})}
    census = clustered().model_copy(update={"outputs": ports, "signatures": signatures})
    contents = Contents(census=census, ranges=[])
    head = replace(two_headed().heads[0], metric=ACCURACY.of("output_0"))
    like = replace(two_headed(), heads=(head,), metric=ACCURACY.of(*named) if named else ACCURACY)
    cells = {FLOAT: OF_COLOURS, HALF: OF_COLOURS[::-1].copy()}
    found = run(
        {cell: [of(outputs=outputs, contents=contents)] for cell, outputs in cells.items()}, standing(), of=like
    )
    found.recording.save("complete", Exit.GREEN)
    stored = found.results.predictions()["m"]
    assert np.array_equal(stored["float32#outputs"], stored["float32@colour#outputs"])
    measured = found.results.of(HALF).measurements
    assert measured["output_distance"].value == measured["output_distance@colour"].value > 0.1


@pytest.mark.parametrize("cell", [FLOAT, HALF])
def test_a_baseline_of_all_outputs_together_judges_none_of_them_and_is_told(cell: str) -> None:
    before = standing()
    assert before.file is not None
    codes = distances.encode(np.full(len(LABELS), 1e-4))
    before.predictions |= {"float32#outputs": np.hstack([BOXES, OF_COLOURS]), "ptq_float16#outputs": codes}
    for name, value in (("float32", 0.0), ("ptq_float16", float(distances.decode(codes).mean()))):
        held = before.file.cells[name].measurements
        held["output_distance"] = accepted(value, gate.SMALLEST_EFFECT, "squared relative error")
    found = of_values(with_values(BOXES * np.float32(1.5), OF_COLOURS), before)
    assert [key for key in judged(found, cell) if key[0].startswith("output_distance")] == []
    assert {one.verdict for one in judged(found, cell).values()} == {Verdict.PASS}
    [note] = unrecorded.notes([found.results.of(one) for one in (FLOAT, HALF)], found.rules)
    assert f"{unrecorded.OUTPUTS} (2 cells)" in note
    assert "baseline update runs/r" in note
