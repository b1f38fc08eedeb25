"""A run's cells on its targets: what is recorded and judged of each, with real workers on this machine."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up_cells import FLOAT, HALF, outcome, run
from made_up_graphs import layers
from made_up_targets import artifact, four, here, labels, local, planted
from quantbench.baselines import overlays
from quantbench.baselines.effective import EffectiveBaseline
from quantbench.build.store import Store
from quantbench.core.targets import Target
from quantbench.engine.on_targets import Targets
from quantbench.engine.progress import Lines
from quantbench.records import Kind, Verdict
from quantbench.targets.runner import Runner


def made(folder: Path, *targets: Target, baseline: EffectiveBaseline | None = None, timed: bool = False) -> Any:
    files = {FLOAT: artifact(folder, layers(2)), HALF: artifact(folder)}
    outcomes = {
        cell: [outcome(artifact=one.path, artifact_sha256=one.sha256, predictions=here(one))]
        for cell, one in files.items()
    }
    whole = run(outcomes, baseline, [Kind.TARGET], of=four())
    store = Store(folder / "store")
    return whole, Targets(list(targets), whole.plan, whole.results, whole.rules, store, Lines(lambda _: None), timed)


def test_a_cell_is_recorded_and_judged_on_each_target(tmp_path: Path) -> None:
    whole, targets = made(tmp_path, local(tmp_path), timed=True)
    [judged] = targets.judge(whole.results.of(HALF))
    targets.close()
    assert judged.verdict is Verdict.PASS
    there = whole.results.of(HALF).alone.there["t"].record
    assert set(there.measurements) == {
        "score", "agreement", "memory", "peak_memory", "latency", "latency_ratio", "first_call",
    }  # fmt: skip
    assert (there.local, there.lost, there.gained, there.differing, there.lacking) == (0.9, 0, 0, 0, {})
    record = targets.records()["t"]
    assert record.machine is not None
    assert record.results_class == record.machine.results_class
    report = whole.recording
    report.save("complete", 0)
    stored = overlays.stored_as("ptq_float16", record.results_class)
    assert np.array_equal(whole.results.predictions()["m"][stored], here(artifact(tmp_path)))
    assert report.report.cells[1].targets["t"] == there


def test_a_target_that_cannot_be_reached_is_an_error_of_each_cell_and_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = Target("gone", "command:/no/such/program", "command", words=("/no/such/program",))
    whole, targets = made(tmp_path, gone, local(tmp_path))
    asked: list[int] = []
    connect = Runner._check
    monkeypatch.setattr(Runner, "_check", lambda *given: asked.append(1) or connect(*given))
    for cell in (HALF, FLOAT):
        unreached, answered = targets.judge(whole.results.of(cell))
        assert (unreached.verdict, answered.verdict) == (Verdict.ERROR, Verdict.PASS)
        assert "on gone: not run: /no/such/program cannot be started: No such file" in unreached.message
    targets.close()
    assert asked == [1]
    assert targets.records()["gone"].failure
    assert whole.results.of(HALF).alone.there["gone"].record.code == "unreachable"


def test_accepted_answers_of_its_class_are_what_a_target_is_compared_with(tmp_path: Path) -> None:
    """The kernels there are others, and were accepted: equal to that is a pass, whatever is answered here."""
    other = (
        "            held.append([np.array(output) for output in model.answer()])",
        "            held.append([np.array(output)[::-1] for output in model.answer()])",
    )
    target = planted(*other, tmp_path)
    whole, targets = made(tmp_path, target)
    [judged] = targets.judge(whole.results.of(HALF))
    targets.close()
    assert (judged.verdict, judged.against) == (Verdict.REGRESSED, "litert-cpu")
    there = whole.results.of(HALF).alone.there["t"]
    assert there.record.lost is not None
    assert there.record.lost > 1000
    accepted = EffectiveBaseline(None, {overlays.stored_as("ptq_float16", there.results_class): there.predictions})
    whole, targets = made(tmp_path, target, baseline=accepted)
    [judged] = targets.judge(whole.results.of(HALF))
    targets.close()
    assert (judged.verdict, judged.against) == (Verdict.PASS, "baseline")
    record = whole.results.of(HALF).alone.there["t"].record
    assert (record.accepted, record.lost) == (True, there.record.lost)  # told beside this machine's all the same
    assert record.local == float(np.mean(here(artifact(tmp_path)) == labels()))
