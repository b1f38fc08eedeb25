"""Instructions in a run: all artifacts are counted together, once; a growth is red, and its operator is named."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from conftest import accepted
from made_up_cells import FLOAT, HALF, Run, baseline, outcome, run
from made_up_runs import answers
from quantbench import gate
from quantbench.build.store import Store
from quantbench.engine import counting
from quantbench.engine.counting import Counting
from quantbench.engine.progress import Lines
from quantbench.measure.instructions import Count, Wanted
from quantbench.records import BETWEEN, BaselineCell, Judgement, Kind, OperatorCount, Verdict

OUTCOMES = {cell: [outcome(artifact=Path(f"/{cell}.tflite"), artifact_sha256=cell)] for cell in (FLOAT, HALF)}
CALL = [("igemm", 900), ("dwconv", 90), (BETWEEN, 10)]


def counted_before() -> BaselineCell:
    value = accepted(1000, gate.INSTRUCTIONS_TOLERANCE, "instructions")
    return BaselineCell(by_machine={"instructions": {"P": value}}, counted={"P": CALL})


class Valgrind:
    """In place of processes: the same count for every artifact but those given."""

    def __init__(self, **others: Count) -> None:
        self.others = others
        self.asked: list[list[str]] = []

    def through_store(self, wanted: Sequence[Wanted], _store: Store, _processes: int) -> list[Count]:
        self.asked.append([one.sha256 for one in wanted])
        return [self.others.get(one.sha256.partition("/")[2], Count("P", CALL)) for one in wanted]


@pytest.fixture
def made() -> Run:
    cells = baseline({"float32": answers(100)}, float32=counted_before(), ptq_float16=counted_before())
    return run(OUTCOMES, cells, [Kind.INSTRUCTIONS])


def judged(made: Run, valgrind: Valgrind, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Judgement]]:
    monkeypatch.setattr(counting.instructions, "unavailable", lambda: "")
    monkeypatch.setattr(counting.instructions, "find", lambda *_: None)
    monkeypatch.setattr(counting.instructions, "through_store", valgrind.through_store)
    these = Counting(made.plan, made.results, made.rules, Store(folder), Lines(lambda _: None))
    return {cell: these.judge(made.results.of(cell)) for cell in (FLOAT, HALF)}


def test_the_same_artifacts_are_green_and_counted_together(
    made: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    valgrind = Valgrind()
    found = judged(made, valgrind, tmp_path, monkeypatch)
    assert [one.verdict for of_cell in found.values() for one in of_cell] == [Verdict.PASS, Verdict.PASS]
    assert valgrind.asked == [[FLOAT, HALF]]
    assert made.results.of(HALF).measurements["instructions"].value == 1000


def test_an_operator_that_runs_twice_is_red_in_its_cell_alone_and_in_the_report(
    made: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    twice = Count("P", [*CALL[:2], ("dwconv", 90), CALL[2]])
    found = judged(made, Valgrind(ptq_float16=twice), tmp_path, monkeypatch)
    assert [one.verdict for one in found[FLOAT]] == [Verdict.PASS]
    (red,) = found[HALF]
    assert red.verdict is Verdict.REGRESSED
    assert red.detail == "operator 3 (dwconv) is new: 90 (+9.00 % of the call)"
    cell = made.recording.cells()[1]
    assert cell.counted is not None
    assert (cell.id, cell.counted.operators) == (HALF, twice.operators)


def test_a_slower_kernel_is_red(made: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slower = Count("P", [CALL[0], ("dwconv_scalar", 110), CALL[2]])
    (red,) = judged(made, Valgrind(ptq_float16=slower), tmp_path, monkeypatch)[HALF]
    assert red.verdict is Verdict.REGRESSED
    assert "operator 2 (dwconv_scalar) +22.2 %: 90 → 110" in red.message


OTHER_HOST = "87654321_litert-2.1.0"


def accepted_elsewhere(made: Run, artifacts: str) -> Run:
    """Let the baselines be of another kind of processor, and of these artifacts, with the runtime of this run."""
    made.rules.environment.results_class = "12345678_litert-2.1.0"
    for name, cell in made.rules.baselines["m"].file.cells.items():
        cell.by_machine["instructions"]["P"].accepted.results_class = OTHER_HOST
        cell.artifact_sha256 = f"m/{name}" if name in artifacts else "another"
    return made


def test_on_another_kind_of_processor_growth_is_red_where_an_unchanged_artifact_counts_alike(
    made: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slower = Count("P", [CALL[0], ("dwconv_scalar", 110), CALL[2]])
    there = accepted_elsewhere(made, "float32")
    (red,) = judged(there, Valgrind(ptq_float16=slower), tmp_path, monkeypatch)[HALF]
    assert red.verdict is Verdict.REGRESSED


@pytest.mark.parametrize(
    ("artifacts", "float32", "why"),
    [("none", CALL, "no unchanged artifact"), ("float32", [*CALL, ("copy", 50)], "unchanged artifacts differently")],
)
def test_on_another_kind_of_processor_nothing_is_red_without_that(
    made: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, artifacts: str, float32: list[OperatorCount], why: str
) -> None:
    slower = Count("P", [CALL[0], ("dwconv_scalar", 110), CALL[2]])
    valgrind = Valgrind(ptq_float16=slower, float32=Count("P", float32))
    found = judged(accepted_elsewhere(made, artifacts), valgrind, tmp_path, monkeypatch)
    assert found[HALF][0].verdict is Verdict.WARN
    assert why in found[HALF][0].message
    assert all(one.verdict is not Verdict.REGRESSED for of_cell in found.values() for one in of_cell)


def test_a_failure_costs_its_cell(made: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = judged(made, Valgrind(ptq_float16=Count(failure="it died")), tmp_path, monkeypatch)
    assert [found[FLOAT][0].verdict, found[HALF][0].verdict] == [Verdict.PASS, Verdict.ERROR]


def test_where_nothing_can_be_counted_the_reason_is_told(
    made: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    these = Counting(made.plan, made.results, made.rules, Store(tmp_path), Lines(lambda _: None))
    monkeypatch.setattr(counting.instructions, "unavailable", lambda: "valgrind is not installed")
    (one,) = these.judge(made.results.of(HALF))
    assert (one.verdict, one.detail) == (Verdict.ERROR, "valgrind is not installed")
