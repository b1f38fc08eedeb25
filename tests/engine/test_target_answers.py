"""A run's artifacts on a target: what it answers, what is accepted of it, and a target that lies."""

import json
from pathlib import Path
from typing import Any

import made_up_runs
import numpy as np
import pytest
from made_up_graphs import layers
from made_up_targets import artifact, four, here, local, planted, runner
from quantbench.baselines import target_answers as accepted_answers
from quantbench.build.artifact import ARTIFACT
from quantbench.build.store import Store
from quantbench.core.targets import Target
from quantbench.engine.target_answers import LEAST_EXAMPLES, MOST_EXAMPLES, compare, examples_of
from quantbench.errors import BadInput, Exit, NothingSelected
from quantbench.records import Report, TargetAnswers, Verdict
from quantbench.report.target_answers import screen

CELL = "m/float32"
# In place of the worker's own line: answers in another order, as of wrong kernels.
TRUTH = 'return [self.interpreter.get_tensor(detail["index"])[0] for detail in self.outputs]'
LIE = TRUTH.replace("[0] for", "[0][::-1] for")


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Report:
    monkeypatch.setenv("QUANTBENCH_CACHE", str(tmp_path / "store"))
    one = artifact(tmp_path)
    store = Store(tmp_path / "store")
    store.put("a" * 64, {ARTIFACT: one.path.read_bytes()}, {})
    store.release()
    return made_up_runs.report([made_up_runs.cell("float32", artifact_sha256=one.sha256)])


def asked(report: Report, target: Target, folder: Path, **more: Any) -> tuple[TargetAnswers, Any]:
    run = runner(target, folder)
    try:
        return compare(report, folder, run, {"m": four()}, folder / "baselines", lambda _: None, **more)
    finally:
        run.close()


def test_answers_are_accepted_once_and_pass_from_then_on(report: Report, tmp_path: Path) -> None:
    found, take = asked(report, local(tmp_path), tmp_path)
    [cell] = found.cells
    assert (cell.verdict, cell.otherwise, cell.examples) == (Verdict.MISSING, 0, MOST_EXAMPLES)
    assert found.exit_status == Exit.NOT_MEASURED
    with pytest.raises(BadInput, match="--accept: expected a reason"):
        take(" ")
    json_file, arrays = take("first answers")
    assert json.loads(json_file.read_text())["cells"][CELL]["examples"] == MOST_EXAMPLES
    assert np.array_equal(
        accepted_answers.load(tmp_path / "baselines", "t").predictions[CELL], here(artifact(tmp_path))[:MOST_EXAMPLES]
    )
    again, _ = asked(report, local(tmp_path), tmp_path)
    assert (again.exit_status, again.cells[0].verdict, again.cells[0].differ_from_accepted) == (0, Verdict.PASS, 0)
    assert screen(again).startswith("t (")
    assert "all cells pass. It answered 200 examples of 1 cells, 0 of them otherwise" in screen(again)
    arrays.write_bytes(arrays.read_bytes() + b"x")
    with pytest.raises(BadInput, match=r"t\.npz: not the predictions that t\.json was written with"):
        asked(report, local(tmp_path), tmp_path)


def test_a_target_that_lies_is_red_and_says_how(report: Report, tmp_path: Path) -> None:
    asked(report, local(tmp_path), tmp_path)[1]("the truth")
    found, _ = asked(report, planted(TRUTH, LIE, tmp_path), tmp_path)
    [cell] = found.cells
    assert cell.verdict is Verdict.REGRESSED
    assert found.exit_status == Exit.REGRESSED
    assert cell.otherwise is not None
    assert cell.otherwise > 100
    text = screen(found, wrong_alone=True)
    assert f"✗ REGRESSED m/float32: {cell.otherwise} of 200 answers differ from this machine's (" in text
    assert "more wrong than the accepted ones: " in text
    assert "2 % may differ" in text


def test_another_file_than_was_sent_gives_no_answers(report: Report, tmp_path: Path) -> None:
    other = "body = body[:-1] + bytes([body[-1] ^ 1])"
    broken = planted('"""Add the next bytes of a file, and return how many are here."""', other, tmp_path)
    found, _ = asked(report, broken, tmp_path)
    [cell] = found.cells
    assert cell.verdict is Verdict.ERROR
    assert cell.message == "no answers of t: a file arrived with other contents than were sent"
    assert found.exit_status == Exit.NOT_MEASURED


def test_what_is_not_there_is_named(report: Report, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"--cells: .* has no artifact of m/other"):
        asked(report, local(tmp_path), tmp_path, only=["m/other"])
    none = report.model_copy(update={"cells": [made_up_runs.cell("float32")]})
    with pytest.raises(NothingSelected, match="no artifact that a target could answer with"):
        asked(none, local(tmp_path), tmp_path)
    gone = report.model_copy(update={"cells": [made_up_runs.cell("float32", artifact_sha256="b" * 64)]})
    [cell] = asked(gone, local(tmp_path), tmp_path)[0].cells
    assert "its artifact is no longer in the cache" in cell.message


def test_changed_packages_of_the_target_are_named(report: Report, tmp_path: Path) -> None:
    _, take = asked(report, local(tmp_path), tmp_path)
    take("first answers")
    accepted = accepted_answers.load(tmp_path / "baselines", "t")
    assert accepted.file is not None
    older = accepted.file.model_copy(update={"versions": {**accepted.file.versions, "ai-edge-litert": "2.2.0"}})
    accepted_answers.save(tmp_path / "baselines", older, accepted.predictions)
    found, _ = asked(report, local(tmp_path), tmp_path)
    assert len(found.changed) == 1
    assert f"changed on t since accepted: {found.changed[0]}" in screen(found)
    assert found.changed[0].startswith("ai-edge-litert 2.2.0 → ")


def test_the_number_of_examples_follows_from_the_file_alone() -> None:
    assert examples_of(layers(), 10_000) == MOST_EXAMPLES
    assert examples_of(layers(), 50) == 50
    assert LEAST_EXAMPLES <= MOST_EXAMPLES
