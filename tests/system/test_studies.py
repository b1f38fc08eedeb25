"""The studies: what they print of made-up points, and one small real measurement each."""

import importlib
import json
import re
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from conftest import ROOT
from made_up_runs import cell as made_up_cell
from made_up_runs import clustered, environment, report
from quantbench.ab.runs import copy_sources
from quantbench.build.store import Store
from quantbench.engine.workers.task import Outcome, Task
from quantbench.records import Device, Kind, Measurement, Report, Stalled, Stalls, Verdict
from quantbench.reference.model import load_models
from quantbench.variants import VARIANTS
from studies import (
    _common,
    _parts,
    _waiting,
    accelerators,
    bare,
    benchmark_tool,
    calibration,
    cluster_scaling,
    cluster_simulation,
    evaluation_cost,
    gate_time,
    growth,
    instruction_counts,
    keras3_quantization,
    latency_noise,
    sequential_latency,
    speed,
    stalls,
    trainings,
    try_times,
)
from studies.benchmark_tool import Timed
from studies.calibration import Point
from studies.cluster_simulation import Recorded
from studies.evaluation_cost import Cost
from studies.keras3_quantization import Cell
from studies.latency_noise import Trial

POINTS = [
    Point("m", "ptq_static_wi8_ai8", 1, [3.0, 5.0]),
    Point("m", "ptq_static_wi8_ai8", 100, [0.1, 0.3]),
]


def test_a_table_and_a_chart_of_drops_against_calibration_examples(tmp_path: Path) -> None:
    text = calibration.table(POINTS, "pp")
    assert "| `ptq_static_wi8_ai8` | min-max over the calibration split | +4.00 (+3.00 to +5.00) | +0.20 (+0.10" in text
    calibration.chart(POINTS, tmp_path / "chart.svg")
    picture = (tmp_path / "chart.svg").read_text()
    assert picture.startswith("<svg")
    assert "calibration examples" in picture


def test_devices_side_by_side_show_what_was_tried_and_a_later_run_replaces_an_earlier_one() -> None:
    device = Device(name="A GPU", kind="software", driver="d")

    def run(verdict: Verdict, **more: Any) -> Report:
        tried = made_up_cell("ptq_float16", verdicts={Kind.GPU: verdict}, **more)
        return report([tried, made_up_cell("not_tried")], environment=environment(gpu=device))

    agreement = Measurement(value=0.9, unit="fraction", n=20)
    failed, refused = run(Verdict.ERROR), run(Verdict.UNJUDGED, gpu_refusal="no such type")
    ran = run(Verdict.PASS, measurements={"gpu_agreement": agreement})
    for runs, words in (
        ([failed], accelerators.FAILED),
        ([failed, refused], accelerators.REFUSED),
        ([failed, ran], "2 of 20"),
    ):
        there = accelerators.columns(runs)
        assert there == {device.label: {"m/ptq_float16": words}}
    assert accelerators.counts(there[device.label]).startswith("1 of 1 artifacts run, 0 answer")


def test_what_became_of_the_cells_of_keras_3() -> None:
    refused = Cell(refusal="no such type")
    cells = {
        "m": {"a": refused, "b": Cell(size=1.5, unkept=("1 of 2 layers stay float32",), drop=0.1)},
        "n": {"a": refused, "b": Cell(size=0.27)},
    }
    rows = [
        [word.strip() for word in line.split("|")[1:-1]] for line in keras3_quantization.overview(cells).splitlines()
    ]
    assert rows[0] == ["variant", "m", "n"]
    assert rows[2:] == [
        ["`a`", "refused", "refused"],
        ["`b`", "not as named, 1.50×, +0.10", "as named, 0.27×, +0.00"],
    ]
    assert keras3_quantization.reasons(cells) == "- no such type: `m/a`, `n/a`"
    assert "1 of 2 layers stay float32" in keras3_quantization.details(cells["m"])


def test_pairs_of_trainings_and_what_of_them_is_red() -> None:
    pairs = trainings.Pairs("clustered16_static_wi8_ai8")
    pairs.take("m", clustered(zeros=0.09, distinct=20), clustered())
    assert not pairs.red
    pairs.take("m", clustered(range=0.04), clustered())
    text = "\n".join(trainings.report([pairs], ["m"], 3))
    assert "1 of 2 pairs are red by their census" in text
    told = "- m/clustered16_static_wi8_ai8: 1 of 1 activation ranges, first scale 0.02, zero point -128 → scale 0.04"
    assert told in text
    row = next(line for line in text.splitlines() if line.startswith("| `clustered16_static_wi8_ai8` |"))
    assert [word.strip() for word in row.split("|")[2:-1]] == ["2", "1", "8.8 %", "33.3 %", "0.0 %", "0.0 %", "100.0 %"]


def test_fewer_calibration_examples_make_another_artifact(store: Path) -> None:
    model = load_models(ROOT / "models")["seed_cnn"]
    one = [calibration.drop(model, "ptq_static_wi8_ai8", count, 0, 0.8736, Store(store)) for count in (1, 1, 30)]
    assert one[0] == one[1]
    assert one[0] != pytest.approx(one[2], abs=1e-6)


def _trial(off: float) -> Trial:
    """Ours is off by a tenth of what pytest-benchmark's means are, and its medians by half of them."""
    first = {"mean": 1.0, "median": 1.0, "min": 1.0, "rounds": 100.0}
    second = {"mean": 1 + 10 * off, "median": 1 + 5 * off, "min": 1.0, "rounds": 100.0}
    return Trial([1 + off] * 12, 0.2, 7.0, 6.0, 1.5, first, second)


def test_the_spread_of_ratios_that_should_be_one() -> None:
    found = latency_noise.spread([1.0, 1.001, 0.999, 1.02])
    assert found.n == 4
    assert found.within == pytest.approx(0.75)
    assert found.worst == pytest.approx(0.02)
    assert found.robust == pytest.approx(1.4826 * 0.001)


def test_longer_timing_pools_trials_that_follow_each_other() -> None:
    trials = [_trial(off) for off in (0.001, -0.001) * 10]
    assert len(latency_noise.our_ratios(trials, 1)) == 20
    assert len(latency_noise.our_ratios(trials, 10 / 3)) == 6
    assert len(latency_noise.their_ratios(trials, "mean", 10 / 3)) == 5
    assert latency_noise.their_ratios(trials, "mean", 10) == pytest.approx([1.0, 1.0])
    text = "\n".join(latency_noise.report(trials, "here"))
    assert "| 3          | ours                     | 20" in text
    assert "10.0×" in text
    assert "5.0×" in text


def test_pytest_benchmark_gets_the_same_wall_time_as_ours() -> None:
    pair = latency_noise.Pair(Path("a"), Path("x"))
    assert latency_noise.equal_seconds([], pair) == pytest.approx(1.5)
    assert latency_noise.equal_seconds([_trial(0.0)], pair) == pytest.approx((7.0 - 3.0) / 2)


def test_timing_in_stages_is_simulated_from_recorded_processes() -> None:
    random = np.random.default_rng(0)

    def block(series: sequential_latency.Series, load: bool) -> sequential_latency.Block:
        ratios = (1 + series.planted) * (1 + 0.004 * random.standard_normal(48)) * (1 + random.normal(0, 0.002))
        return sequential_latency.Block(series.name, load, list(ratios), list(ratios), 0.0)

    blocks = [block(series, load) for _ in range(4) for load in (True, False) for series in sequential_latency.RECORDED]
    found = sequential_latency.pools(blocks, np.array([]))
    assert [len(pool) for pool in (*found.in_turns, *found.quiet)] == [192] * 4
    text = "\n".join(sequential_latency.report(blocks, found, "here", runs=2, trials=20))
    assert "| 1 %         | 100.0 %" in text
    assert "1 % that was injected into processes came out as +" in text
    shared = sequential_latency.between([one.ratios for one in blocks if one.series == blocks[0].series])
    assert shared.low < 0.002 < shared.high
    assert sequential_latency.between([[1.0, 1.001, 0.999, 1.0] * 4] * 5).sd == 0


def test_stalls_are_drawn_from_recorded_processes_and_judged() -> None:
    def process(series: stalls.Series, number: int) -> stalls.Process:
        count = 6.0 if series.stalls else float(number % 6 == 1)
        own = [count, 0.03 * count, 0.07, 1400.0]
        counts = [[longer, *own, float(number % 3 == 0), 0.03, 0.14, 2800.0] for longer in (0.001, 0.02)]
        return stalls.Process(series, False, 50.0, counts, counts)

    recorded = [process(series, number) for series in stalls.RECORDED for number in range(30)]
    text = "\n".join(stalls.report(recorded, "here", trials=5))
    assert "0 of 55 red" in text
    assert "| vit_tiny/float32 beside the workload " in text
    assert "| all beside another artifact | 270         |" in text
    assert text.count("5 of 5") == len(stalls.ALIKE)
    assert "| seed_cnn/ptq_float16 beside float32 " in text
    assert re.search(r"\| 1 ms: odds ratio +\| 1 ms: chi²/df of processes +\|", text)
    assert stalls._flat(recorded[0].stalls()) == recorded[0].counts


@pytest.mark.parametrize(("bursts", "low", "high"), [(1, 0.7, 1.3), (5, 3.0, 8.0)])
def test_the_study_of_stalls_tells_what_scatters_more_than_a_binomial(bursts: int, low: float, high: float) -> None:
    """Twice as many fall on the artifact in the same time, one by one and five together."""
    random = np.random.default_rng(3)

    def counted(stalls: int, usual: float) -> Stalled:
        return Stalled(stalls=stalls, lost=0.01 * stalls, usual=usual, calls=1000)

    own = [int(bursts * one) for one in random.binomial(20, 0.5, 400)]
    both = [Stalls(longer=1e-3, artifact=counted(one, 0.1), beside=counted(20 * bursts - one, 0.2)) for one in own]
    odds, spread = stalls._spread(both)
    value, ends = odds.removesuffix(")").split(" (")
    assert float(value) == pytest.approx(2, abs=0.15)
    lower, upper = map(float, ends.split(" to "))
    assert upper - lower == pytest.approx(0.175, abs=0.04)  # five times the stalls, in bursts, tell no more
    assert low < float(spread.split()[0]) < high


@pytest.mark.nightly
@pytest.mark.alone
@pytest.mark.slow
def test_one_trial_of_an_artifact_against_itself_by_both_sides(store: Path, tmp_path: Path) -> None:
    model = load_models(ROOT / "models")["seed_cnn"]
    artifact = _common.artifact(model, "float32", Store(store))
    pair = latency_noise.Pair(artifact, latency_noise.save_inputs(model, tmp_path), 2, 0.05)
    trial = latency_noise.one_trial(pair, 0, 0.05)
    assert len(trial.ratios) == 2
    assert trial.ratios[0] == pytest.approx(1, abs=0.5)
    assert 1e-6 < trial.first["min"] <= trial.first["median"] < 1e-2
    assert trial.second["rounds"] >= 5


@pytest.mark.nightly
@pytest.mark.alone
@pytest.mark.slow
def test_litert_s_own_tool_times_the_same_artifact(store: Path, tmp_path: Path) -> None:
    model = load_models(ROOT / "models")["seed_cnn"]
    artifact = _common.artifact(model, "ptq_static_wi8_ai8_int_io", Store(store))
    subject = benchmark_tool.Subject("seed_cnn", artifact, latency_noise.save_inputs(model, tmp_path))
    timed = benchmark_tool.compare(subject, 1, 0.05, print)
    assert min(timed.ours[0], timed.loop[0]) > 0
    assert timed.tool[0] < 1  # milliseconds; a call takes about 0.01, which is where the tool rounds


def test_the_table_beside_litert_s_tool() -> None:
    timed = Timed("m/v", tool=[2.0, 2.0, 2.0], ours=[2.02, 2.02, 2.04], loop=[2.0, 1.9, 2.0])
    text = "\n".join(benchmark_tool.report([timed], "here", 3, 1.0))
    assert "| `m/v`      | 2.000      | 2.020      | 2.000      | 1.010 ± 0.003" in text
    assert "within 3 % of the tool's median for 1 of the 1 that take 1 ms or more" in text


@pytest.mark.slow
def test_evaluation_beside_a_bare_loop_and_in_two_threads(store: Path) -> None:
    model = load_models(ROOT / "models")["seed_cnn"]
    cost = evaluation_cost.measure(model, "float32", _common.artifact(model, "float32", Store(store)), 1, 300)
    assert cost.equal
    assert cost.examples == 300
    assert set(cost.seconds) == {"invoke", "bare", "script", "run", "two threads"}


def test_the_table_of_what_evaluation_costs() -> None:
    seconds = {
        "invoke": [1.0, 1.0],
        "bare": [1.0, 2.0],
        "script": [1.0, 2.0],
        "run": [1.1, 2.2],
        "two threads": [0.55, 1.1],
    }
    text = "\n".join(evaluation_cost.report([Cost("m/v", 10, seconds, seconds, 10, 3.0, 1.2, True)], "here", 2))
    assert "run / script on a core is at most 1.1 in 1 of 1 cells; the worst is 1.100 (m/v)" in text
    assert "2.00×" in text


@pytest.mark.nightly
@pytest.mark.slow
def test_what_a_converter_refuses_does_not_end_a_bare_script() -> None:
    refused = type("ConverterError", (Exception,), {})("'tfl.transpose_conv' op operand #1 must be")
    assert bare.is_refusal(refused)
    assert bare.is_refusal(RuntimeError("failed to prepare"))
    assert not bare.is_refusal(KeyError("a fault of the script"))


def test_a_bare_script_makes_and_runs_the_same_cells(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare.main(["--cells", "seed_cnn/ptq_float16,lstm/ptq_static_wi8_ai16"])
    told = json.loads(capsys.readouterr().out)
    assert told["seconds"] > 0
    assert told["cells"] == 2
    [refused] = told["refused"]
    assert refused.startswith("lstm/ptq_static_wi8_ai16: ")


def test_changed_code_of_one_variant_is_another_key_for_it_alone(tmp_path: Path) -> None:
    keys = (
        "import json; from quantbench.build.fingerprint import source_fingerprint\n"
        "from quantbench.variants import VARIANTS\n"
        "print(json.dumps({name: source_fingerprint(variant.make) for name, variant in VARIANTS.items()}))"
    )
    home = copy_sources(tmp_path)

    def found() -> dict[str, str]:
        done = subprocess.run([sys.executable, "-c", keys], cwd=home, capture_output=True, text=True, check=True)
        return dict(json.loads(done.stdout))

    before = found()
    changed = speed.change_one_variant(home)
    after = found()
    assert [name for name in before if before[name] != after[name]] == [changed]


@pytest.mark.nightly
@pytest.mark.slow
def test_synthetic_cells_come_from_a_filled_store() -> None:
    [row] = growth.by_cells([18], 0)
    assert row[0] == "18"
    assert row[1] == "—"
    assert row[2].endswith(" s")


def test_times_of_try_beside_a_bare_script() -> None:
    took = try_times.Seconds
    rows = [
        try_times.Row("small", "advice", 24_000, 10_000, None, took(31, 50), 2**30, 20),
        try_times.Row("resnet50", "4 variants", 25_636_712, 1000, took(200, 390), took(230, 468), 2 * 2**30, 14),
    ]
    text = "\n".join(try_times.report(rows, "a machine"))
    assert "a machine" in text
    assert [word.strip() for word in text.splitlines()[-1].split("|")[1:-1]] == [
        *("resnet50", "4 variants", "25,636,712", "1,000", "200", "230", "1.15"),
        *("390", "468", "1.20", "2.0", "14"),
    ]


def waited(model: str, variant: str, own: float, **trained: float) -> Recorded:
    task = Task(Path(f"{model}.py"), model, variant, 0, None, Path(), Path())
    return Recorded(task, own, trained, {"data": 1_000_000})


def test_workers_on_paper_take_the_next_cell_when_they_are_free() -> None:
    cells = [waited("m", f"v{i}", own) for i, own in enumerate((3.0, 1.0, 1.0, 1.0, 2.0))]
    assert [cluster_simulation.simulate(cells, number).seconds for number in (1, 2, 4)] == [8.0, 5.0, 3.0]


def test_workers_on_paper_keep_to_their_models_as_each_trains_again_what_another_has_trained() -> None:
    cells = [waited(model, variant, 1.0, pruned=10.0) for variant in ("v", "w", "x") for model in ("a", "b", "c")]
    alone, apart = (cluster_simulation.simulate(cells, number) for number in (1, 3))
    assert (alone.seconds, alone.trained, alone.again) == (39.0, 3, 0.0)
    assert (apart.seconds, apart.trained, apart.again) == (13.0, 3, 0.0)
    anyhow = cluster_simulation.simulate(cells, 2, queue=cluster_simulation.InOrder)
    assert (anyhow.trained, anyhow.again) == (6, 30.0)


def test_a_wire_holds_up_what_is_sent() -> None:
    cells = [waited("m", "v", 1.0), waited("m", "w", 1.0)]
    slow = cluster_simulation.simulate(cells, 1, cluster_simulation.Wire(8, 0))
    reply, handing = cluster_simulation.REPLY_BYTES / 1e6, cluster_simulation.HANDING_SECONDS
    assert slow.seconds == pytest.approx(1 + 2 * (1 + reply) + handing)
    assert slow.carried == 1_000_000 + 2 * cluster_simulation.REPLY_BYTES


def test_a_training_takes_what_its_first_cell_took_longer_than_float32() -> None:
    seconds = {"float32": 2.0, "pqat_wi8_ai8": 8.0, "pruned_float32": 12.0, "pruned_static_wi8_ai8": 3.0}
    cells = [
        made_up_cell(name, seconds=took).model_copy(update={"model": "seed_cnn"}) for name, took in seconds.items()
    ]
    found = {
        one.task.variant: one
        for one in cluster_simulation.recorded(cells, {"seed_cnn": load_models(ROOT / "models")["seed_cnn"]})
    }
    assert {name: one.own for name, one in found.items()} == seconds | {"pruned_float32": 2.0}
    assert [found[name].trainings for name in seconds] == [{}, *([{"pruned": 10.0}] * 3)]


@pytest.mark.parametrize("variant", [name for name, one in VARIANTS.items() if one.trained and one.family != "qat"])
def test_the_trainings_of_a_variant_are_those_that_it_asks_the_store_for(variant: str) -> None:
    asked: list[str] = []

    class Bench:
        export = None

        def stage(self, make: Any) -> None:
            asked.append(make.__name__)
            with suppress(AttributeError):  # no model: those that it starts from were asked for before
                make(self)
            raise LookupError

    with pytest.raises(LookupError):
        VARIANTS[variant].make(Bench())  # type: ignore[arg-type]
    named = ["stage" if name.startswith("clustered") else name for name in cluster_simulation.trainings(variant)]
    assert asked[::-1] == named


def test_a_waiting_worker_trains_once_what_its_cells_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = [waited("m", "v", 1.0, pruned=2.0), waited("m", "w", 1.0, pruned=2.0)]
    file = tmp_path / "seconds.json"
    file.write_text(_waiting.written(cells))
    monkeypatch.setenv(_waiting.SECONDS, str(file))
    monkeypatch.setattr(_waiting, "_TRAINED", set())
    monkeypatch.setattr(_waiting.work, "from_store", lambda *_: Outcome(0))
    monkeypatch.setattr(_waiting.time, "sleep", lambda _: None)
    job: Any = None
    tasks = [replace(cell.task, store=tmp_path / "store") for cell in cells]
    assert [_waiting.wait(job, task, 60, None).seconds for task in tasks] == [3.0, 1.0]


def test_waiting_workers_are_told_beside_what_the_same_would_take_on_paper() -> None:
    cells = [waited("m", f"v{i}", 2.0) for i in range(8)]
    runs = [cluster_scaling.Run(number, seconds, 16.0, None, 0) for number, seconds in ((1, 17.0), (2, 9.0), (4, 5.0))]
    text = "\n".join(cluster_scaling.report(runs, len(cells), cluster_scaling.Wire(100, 2), cells))
    row = [word.strip() for word in next(line for line in text.splitlines() if line.startswith("| 4")).split("|")[1:-1]]
    assert row[:4] == ["4", "5.0", "3.40×", "4.0 s, 4.00×"]
    assert row[5:] == ["16.0", "0"]
    assert "2 workers are 1.89 times as fast as one; the target is 1.7." in text
    assert "100 Mbit/s and 2 ms" in text


def test_counts_of_another_host_are_told_by_artifact_and_kernel() -> None:
    alike = instruction_counts.Compared("m/a", "there", True, [("gemm", 100)], [("gemm", 100)])
    differs = instruction_counts.Compared(
        "m/b", "there", False, [("gemm", 100), ("conv", 900)], [("gemm", 100), ("conv", 890)]
    )
    text = "\n".join(instruction_counts.hosts([alike, differs]))
    assert "1 of 2 artifacts have the same number" in text
    assert "1 of the artifacts are other files" in text
    assert [word.strip() for word in text.splitlines()[-1].split("|")[1:-1]] == [
        "m/b",
        "1,000",
        "-10 (-1.000 %)",
        "conv",
    ]


def test_events_of_dumps_are_added_up() -> None:
    dump = "events: Ir Dr D1mr\nfn=(1) f\n0 5 2\n{}: 5 2\n"
    assert instruction_counts.events([dump.format("summary"), dump.format("totals")]) == {"Ir": 10, "Dr": 4}
    with pytest.raises(ValueError, match="without events"):
        instruction_counts.events(["fn=(1) f\n"])


def test_a_part_of_a_run_counts_its_own_seconds_and_not_those_of_the_parts_within_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    module = SimpleNamespace()

    def inner() -> None:
        now[0] += 3

    def outer() -> None:
        now[0] += 1
        module.inner()
        now[0] += 1

    module.inner, module.outer = inner, outer
    monkeypatch.setitem(sys.modules, "made_up_module", cast("ModuleType", module))
    _parts.install([("made_up_module", "inner", "within"), ("made_up_module", "outer", "around")], lambda: now[0])
    module.outer()
    module.inner()
    spent, calls = dict(_parts.spent), dict(_parts.calls)
    _parts.spent.clear()
    _parts.calls.clear()
    assert spent == {"within": 6, "around": 2}
    assert calls == {"within": 2, "around": 1}


def test_every_part_of_a_run_names_a_function_that_is_there() -> None:
    for module, path, _ in (*_parts.IN_WORKERS, *_parts.IN_THE_RUN):
        found: object = importlib.import_module(module)
        for name in path.split("."):
            found = getattr(found, name)
        assert callable(found), path


def test_where_the_time_of_a_run_goes_says_what_each_part_took_and_what_was_idle() -> None:
    seconds = {"memory": 30.0, _parts.START: 1.0}
    cell = {"what": "m/v", "begun": 5.0, "ended": 45.0, "seconds": seconds, "calls": {"memory": 2}, "process": "7"}
    of_run = {"judged": 2.0, _parts.VALGRIND: 20.0}
    run = {"what": gate_time.RUN, "begun": 0.0, "ended": 60.0, "seconds": of_run, "calls": {}, "process": "6"}
    text = "\n".join(gate_time.report(["-m", "not nightly"], 60.0, 5.0, [run, cell]))
    assert "1 cells" in text
    assert re.search(r"56 core seconds, 31 of them in workers", text)
    assert re.search(r"\| memory +\| 30.0 +\| 53.6% +\| 2 ", text)
    assert re.search(r"the run's own process, besides +\| 3.0 ", text), "what valgrind took is not its own"
    assert re.search(r"\| 1 +\| 1 +\| 40 s +\| 5 s +\| 45 s", text)
