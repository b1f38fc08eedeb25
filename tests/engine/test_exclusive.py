"""What is measured alone, with made-up times in place of timing processes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import accepted
from made_up_cells import FLOAT, HALF, Run, baseline, model, outcome, run, timed
from made_up_runs import answers
from quantbench import gate
from quantbench.build.store import Store
from quantbench.core.options import RunOptions
from quantbench.engine import exclusive, measurements
from quantbench.engine.exclusive import Alone
from quantbench.engine.progress import Lines
from quantbench.engine.timing import Timing
from quantbench.measure import gpu, latency, memory
from quantbench.records import BaselineCell, Device, Judgement, Kind, Verdict
from quantbench.reference.metrics import MEAN_SQUARED_ERROR
from studies.stalls import simulated

OUTCOMES = {cell: [outcome(artifact=Path(f"/{cell}.tflite"))] for cell in (FLOAT, HALF)}


class Machine:
    """In place of fresh processes: the next ratio for each timing, and no start-up."""

    def __init__(self, *ratios: float) -> None:
        self.ratios = list(ratios)
        self.times: list[int] = []
        self.longer: list[int] = []

    def __call__(self, function: Any, *given: Any) -> Any:
        if function is memory.start_up:
            raise memory.MemoryFailed("no process was started")
        assert function is latency.measure
        *_, times, longer = given
        self.times.append(times)
        self.longer.append(longer)
        if not self.ratios:
            raise latency.LatencyFailed("it crashed")
        return timed(self.ratios.pop(0))


def alone(made: Run, machine: Machine, folder: Path, said: list[str] | None = None, **options: Any) -> Alone:
    timing = Timing(RunOptions(**options), lambda _: None, machine)
    progress = Lines((said if said is not None else []).append)
    store = Store(folder / "store")
    return Alone(
        made.plan,
        made.results,
        made.rules,
        made.budget,
        timing,
        store,
        made.judgements,
        progress,
        folder / "timing.log",
    )


@pytest.mark.parametrize("known", [True, False])
def test_what_becomes_a_baseline_is_timed_with_the_processes_of_all_stages(tmp_path: Path, known: bool) -> None:
    before = ratio_of_half(0.5) if known else baseline({"float32": answers(100)})
    made, machine, said = run(OUTCOMES, before, [Kind.LATENCY]), Machine(0.5, 9.0), []  # the second judges nothing
    made.budget.close()
    asked = alone(made, machine, tmp_path, said, update_baselines="a new machine")
    [judged] = asked.judge(Kind.LATENCY, made.results.of(HALF))
    assert judged.verdict is (Verdict.PASS if known else Verdict.UNJUDGED)
    assert machine.times == [1, 3]
    assert len(made.results.of(HALF).measurements["latency_ratio"].values or []) == 2 * 6
    assert said.count(f"{HALF}: timing on, for the baseline that it becomes") == 1


def ratio_of_half(value: float) -> Any:
    values = [value * (1 + i / 1e4) for i in range(6)]
    taken = accepted(value, tolerance=0.05, unit="ratio to float32", values=values, noise=0.001, n=6)
    return baseline({"float32": answers(100)}, ptq_float16=BaselineCell(measurements={}, latency={"A_2-core": taken}))


def latencies(made: Run, machine: Machine, folder: Path, said: list[str] | None = None) -> list[Judgement]:
    made.budget.close()
    return alone(made, machine, folder, said).judge(Kind.LATENCY, made.results.of(HALF))


def test_a_cell_is_timed_once_and_what_was_measured_joins_its_result(tmp_path: Path) -> None:
    made, machine = run(OUTCOMES, ratio_of_half(0.5), [Kind.LATENCY]), Machine(0.5, 9.0)
    before = made.results.of(HALF)
    assert [judged.verdict for judged in latencies(made, machine, tmp_path)] == [Verdict.PASS]
    assert machine.ratios == [9.0]
    after = made.results.of(HALF)
    assert "latency_ratio" not in before.measurements
    assert after.measurements["latency_ratio"].value == pytest.approx(0.5, rel=1e-3)
    assert after.alone.untimed == {"start_up_cold": "no process was started"}
    assert (after.alone.seconds or 0) > 0


def test_what_seems_slower_is_measured_once_more(tmp_path: Path) -> None:
    said: list[str] = []
    made, machine = run(OUTCOMES, ratio_of_half(0.5), [Kind.LATENCY]), Machine(0.9, 0.5, 9.0)
    found = latencies(made, machine, tmp_path, said)
    assert found[0].verdict is not Verdict.REGRESSED
    assert machine.ratios == [9.0]
    assert any("measuring again to confirm" in line for line in said)


def test_what_is_slower_twice_is_red(tmp_path: Path) -> None:
    made = run(OUTCOMES, ratio_of_half(0.5), [Kind.LATENCY])
    assert [one.verdict for one in latencies(made, Machine(0.9, 0.9), tmp_path)] == [Verdict.REGRESSED]


def test_what_stays_unclear_is_measured_twice_as_long_and_no_more(tmp_path: Path) -> None:
    said: list[str] = []
    values = ratio_of_half(0.5)
    values.file.cells["ptq_float16"].latency["A_2-core"].tolerance = 0.01
    made, machine = run(OUTCOMES, values, [Kind.LATENCY]), Machine(0.54, 0.503, 0.506, 9.0)
    [found] = latencies(made, machine, tmp_path, said)
    assert (machine.times, machine.ratios, found.measured) == ([1, 1, 2], [9.0], 3)
    assert any("not clear whether it is slower than its baseline; measuring twice as long" in line for line in said)


class Stalling(Machine):
    """In place of fresh processes: those of an artifact that stalls for 30 ms in one of 1,000 calls of 300 µs."""

    def __call__(self, function: Any, *given: Any) -> Any:
        super().__call__(function, *given)
        random, longer = np.random.default_rng(len(self.times)), self.longer[-1]
        return latency.Latency([simulated(random, 300, 1000, 0.0, longer=longer) for _ in range(12 * self.times[-1])])


def test_where_stalls_are_suspected_later_processes_time_longer(tmp_path: Path) -> None:
    made, machine = run(OUTCOMES, ratio_of_half(1.0), [Kind.LATENCY]), Stalling(*[1.0] * 3)
    found = latencies(made, machine, tmp_path)
    assert [one.measurement for one in found if one.verdict is Verdict.REGRESSED] == ["stalls"]
    assert machine.times == [1, 1, 2][: len(machine.times)]
    assert machine.longer == [1, gate.LONGER_PROCESSES, gate.LONGER_PROCESSES][: len(machine.times)]


@pytest.mark.parametrize(("host", "verdict"), [("here", Verdict.REGRESSED), ("there", Verdict.WARN)])
def test_what_is_slower_on_another_host_than_the_accepted_one_is_a_warning(
    tmp_path: Path, host: str, verdict: Verdict
) -> None:
    standing = ratio_of_half(0.5)
    standing.file.cells["ptq_float16"].latency["A_2-core"].accepted.host = host
    made = run(OUTCOMES, standing, [Kind.LATENCY])
    made.rules.environment.host = "here"
    found = latencies(made, Machine(0.55, 0.55), tmp_path)[0]
    assert found.verdict is verdict
    assert ("accepted on another host of this machine profile" in found.message) is (host == "there")


def test_a_timing_process_that_crashes_is_not_measured(tmp_path: Path) -> None:
    made = run(OUTCOMES, ratio_of_half(0.5), [Kind.LATENCY])
    found = latencies(made, Machine(), tmp_path)
    assert [one.verdict for one in found] == [Verdict.ERROR]
    assert "it crashed" in found[0].message


def test_without_a_float_control_nothing_is_timed(tmp_path: Path) -> None:
    made, machine = run(OUTCOMES | {FLOAT: [outcome()]}, ratio_of_half(0.5), [Kind.LATENCY]), Machine(0.5)
    found = latencies(made, machine, tmp_path)
    assert "its float32 reference could not be made" in found[0].message
    assert machine.ratios == [0.5]


# ---------------------------------------------------------------- GPU


def on_gpu(made: Run, folder: Path) -> Judgement:
    return alone(made, Machine(), folder).judge(Kind.GPU, made.results.of(HALF))[0]


def with_gpu(made: Run) -> Run:
    device = Device(name="G", kind="software")
    made.rules.environment.gpu = device
    return made


def test_where_there_is_no_gpu_nothing_is_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QUANTBENCH_REQUIRE_GPU", raising=False)
    made = run(OUTCOMES, kinds=[Kind.GPU])
    made.rules.environment.no_gpu = "no Vulkan driver"
    judged = on_gpu(made, tmp_path)
    assert judged.verdict is Verdict.UNJUDGED
    assert "no Vulkan driver" in judged.message
    assert made.results.of(HALF).alone.seconds is None


def test_answers_on_the_gpu_join_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = gpu.OnGpu(answers(100), seconds=[1e-3, 1e-3], ratios=[0.5, 0.5])
    monkeypatch.setattr(exclusive.gpu, "through_store", lambda *_: taken)
    made = with_gpu(run(OUTCOMES, kinds=[Kind.GPU]))
    judged = on_gpu(made, tmp_path)
    assert (judged.measurement, judged.value) == ("gpu_agreement", 1.0)
    result = made.results.of(HALF)
    assert result.measurements["gpu_ratio"].value == 0.5
    assert result.alone.on_gpu == {"": taken}


def test_several_gpus_are_judged_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second device is made up, as the first one is; it leaves a convolution to the CPU and answers wrongly."""
    right = gpu.OnGpu(answers(100), seconds=[1e-3, 1e-3], ratios=[0.5, 0.5])
    wrong = gpu.OnGpu(answers(300), left=1, operators=4, left_why=[("CONV_2D", "why")], left_macs=(7, 9), macs=10)
    wrong = replace(wrong, seconds=[2e-3, 2e-3])
    taken = {"G": right, "H": wrong, "I": gpu.OnGpu(refusal="Shape mismatch")}
    monkeypatch.setattr(exclusive.gpu, "through_store", lambda _a, _c, _m, device, _s: taken[device.name])
    made = with_gpu(run(OUTCOMES, kinds=[Kind.GPU]))
    further = [Device(name=name, kind="discrete") for name in ("H", "I")]
    made.rules.environment.further_gpus = further
    judged = alone(made, Machine(), tmp_path).judge(Kind.GPU, made.results.of(HALF))
    assert [(one.measurement, one.verdict) for one in judged] == [
        ("gpu_agreement", Verdict.PASS),
        ("gpu_agreement@H", Verdict.REGRESSED),
        ("gpu_agreement@I", Verdict.UNJUDGED),
    ]
    measured = made.results.of(HALF).measurements
    assert (measured["gpu_agreement"].value, measured["gpu_agreement@H"].value) == (1.0, 0.8)
    assert (measured["gpu_score_change"].value, measured["gpu_score_change@H"].value) == (0, pytest.approx(-0.2))
    of = measured["gpu_left_macs@H"]
    assert (of.value, of.low, of.high, of.n) == (9, 7, 9, 10)
    assert "gpu_left_macs" not in measured


def test_a_number_that_is_none_on_a_gpu_leaves_out_the_score_alone() -> None:
    here = np.array([1.0, 2.0, 100.0], np.float32)
    there = np.array([1.0, np.nan, 100.0], np.float32)
    of_numbers = model(metric=MEAN_SQUARED_ERROR)
    pairs = ((here, here), (there, here), (here, there))
    found = [
        measurements.gpu(of_numbers, gpu.OnGpu(gpus, seconds=[1.0, 1.0]), outcome(predictions=cpu))
        for gpus, cpu in pairs
    ]
    assert [one["gpu_agreement"].n for one in found] == [3, 3, 3]
    for name in ("gpu_score", "gpu_score_change"):
        assert [name in one for one in found] == [True, False, False]


def test_a_gpu_that_fails_costs_that_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exclusive.gpu, "through_store", lambda *_: gpu.OnGpu(failure="the device was lost"))
    judged = on_gpu(with_gpu(run(OUTCOMES, kinds=[Kind.GPU])), tmp_path)
    assert judged.verdict is Verdict.ERROR
    assert "the device was lost" in judged.message
