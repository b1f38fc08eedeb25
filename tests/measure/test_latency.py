"""Latency besides the gated ratio: single calls, threads, batches, disturbance, and how reports tell them."""

import datetime
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from baselines.test_update import environment as machine
from conftest import ROOT, accepted, instead_of_python
from quantbench import gate
from quantbench.baselines import update_cell
from quantbench.baselines.derived import TOLERANCES, mismatches
from quantbench.core import threads
from quantbench.core.environment import threads_of, with_threads
from quantbench.core.options import RunOptions
from quantbench.core.stats import quantile_interval
from quantbench.engine import measurements, timing
from quantbench.engine import measurements as measured
from quantbench.errors import BadInput
from quantbench.gate import exceptions
from quantbench.measure import batch, keras, latency, stalls
from quantbench.measure.batch_worker import _differs, _enough
from quantbench.measure.keras import InKeras
from quantbench.measure.latency import Blocks, Latency, LatencyFailed
from quantbench.records import Accepted, BaselineCell, Cell, Kind, Loosened, Measurement, Report, Stalls, Verdict
from quantbench.records.measurements import name_at, threads_in
from quantbench.reference.model import load_models
from quantbench.report.latency import section
from studies.stalls import simulated

MODEL: Any = None  # nothing here looks at it


def test_the_interval_of_a_quantile_is_that_of_the_textbook() -> None:
    ordered = [float(i) for i in range(1, 101)]
    assert quantile_interval(ordered, 0.5) == (40.0, 61.0)  # Hahn & Meeker 1991, table A.15a: ranks 40 and 61
    assert quantile_interval(ordered, 0.99)[1] is None  # needs 368 values
    assert quantile_interval([*ordered] * 4, 0.99)[1] == 100.0


def test_the_interval_of_a_quantile_holds_its_confidence() -> None:
    random = np.random.default_rng(0)
    inside = 0
    for values in random.random((400, 300)):
        low, high = quantile_interval(list(values), 0.9)
        inside += low is not None and high is not None and low <= 0.9 <= high
    assert inside / 400 >= 0.93


def _process(micro: float, calm: float = 1.0, at_work: float = 1.0, threads: int = 1, calls: int = 0) -> Any:
    """A made-up process: blocks of 15 µs and the variant's of ``micro``, a share of them undisturbed."""

    def blocks(one: float, several: int = 1, **more: Any) -> Blocks:
        own = np.full(20, 1e-6 * one)
        held_up = np.where(np.arange(20) < 20 * calm, 0.0, 1e-3)
        return Blocks(own + held_up, own, several, threads_at_work=at_work if several > 1 else 1.0, **more)

    single = {"calls": 1e-6 * np.linspace(micro, micro + 1, calls), "timing_cost": 5e-8}
    return {
        "control": blocks(15.0, threads),
        "variant": blocks(micro, threads, **single),
        "yardstick": blocks(48.0),
    }


def test_percentiles_are_those_of_the_calls_of_all_processes() -> None:
    timed = Latency([_process(10.0, calls=200), _process(11.0, calls=200)])
    found = measurements.calls(timed)
    assert found["latency_p50"].value == pytest.approx(11.0, abs=0.01)
    assert found["latency_p99"].value == pytest.approx(11.98, abs=0.01)
    assert found["latency_p50"].n == 400
    assert found["latency_p50"].low is not None
    assert found["latency_p50"].low < 11.0
    assert found["latency_p50"].spread == pytest.approx(0.5**0.5, abs=0.01)
    assert found["timing_cost"].value == pytest.approx(0.05)
    assert found["throughput"].value == pytest.approx(1e6 / 11.0, rel=0.001)
    assert measurements.calls(Latency([_process(10.0)])) == {}


@pytest.mark.parametrize(
    ("text", "found"), [("1", [1]), ("2", [1, 2]), ("4, 1,2", [1, 2, 4]), ("all", sorted({1, threads.cores()}))]
)
def test_thread_counts(text: str, found: list[int]) -> None:
    assert threads.thread_counts(text) == found


def test_what_others_take_of_the_machine_is_a_share() -> None:
    others = timing.Others()
    time.sleep(0.1)
    found = others.load()
    assert found is not None
    assert 0 <= found.others <= 1


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "", "many", "1,,2", "nan"])
def test_numbers_of_threads_that_are_none(text: str) -> None:
    with pytest.raises(BadInput, match="--threads: expected whole numbers of at least 1"):
        threads.thread_counts(text)


def test_more_threads_than_cores_are_told() -> None:
    [note] = timing.Timing(RunOptions(threads="512"), print).notes()
    assert "--threads 512 exceeds this machine's" in note
    assert timing.Timing(RunOptions(threads="all"), print).notes() == []


def test_machine_classes_differ_by_their_threads_alone() -> None:
    assert with_threads("cpu_2-core_litert-2_1-thread", 16) == "cpu_2-core_litert-2_16-thread"
    assert threads_of("cpu_2-core_litert-2_16-thread") == 16
    assert [name_at("latency", 1), name_at("latency", 2)] == ["latency", "latency_2_threads"]
    assert [threads_in("latency"), threads_in("latency_16_threads")] == [1, 16]


def test_a_timing_process_that_a_signal_killed_is_named_by_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    instead_of_python(tmp_path, "kill -9 $$", monkeypatch)
    with pytest.raises(LatencyFailed, match="the timing process died of SIGKILL"):
        latency.run_worker("any", {}, 10)


def _replayed(monkeypatch: pytest.MonkeyPatch, *measurements: Latency) -> None:
    remaining = iter(measurements)
    monkeypatch.setattr(timing.latency, "measure", lambda *_: next(remaining))


def test_a_measurement_that_others_mostly_interrupted_is_taken_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    timed = timing.Timing(RunOptions(), said.append)
    _replayed(monkeypatch, Latency([_process(12.0, calm=0.3)] * 6), Latency([_process(10.0)] * 6))
    found = timed.once("m/v", MODEL, Path("v"), Path("c"))
    assert found["latency"].value == pytest.approx(10.0)
    assert timed.measurements("m/v")["disturbed"].value == 0.0
    assert said == ["m/v: other processes disturbed 70 % of it; measuring again"]
    assert len(timed.blocks("m/v")) == 6 * 20


def test_one_thread_is_no_fault_where_another_models_control_is_split(monkeypatch: pytest.MonkeyPatch) -> None:
    controls: Any = [(MODEL, Path("lstm")), (type("Model", (), {"name": "cnn"}), Path("cnn"))]
    one, two = ([_process(10.0, at_work=share, threads=2)] * 6 for share in (1.0, 1.8))
    timed = timing.Timing(RunOptions(threads="2"), print)
    _replayed(monkeypatch, Latency(one), Latency(two))
    assert timed.splits(2, iter(controls)) == "cnn"
    assert timed.splits(2, iter([])) == "cnn"  # found once, known for the run
    timed = timing.Timing(RunOptions(threads="2"), print)
    _replayed(monkeypatch, Latency(one), Latency(one))
    assert timed.splits(2, iter(controls)) == ""


def test_several_threads_are_told_apart_from_one(monkeypatch: pytest.MonkeyPatch) -> None:
    timed = timing.Timing(RunOptions(threads="2"), print)
    _replayed(monkeypatch, Latency([_process(10.0, calls=20)] * 6), Latency([_process(6.0, threads=2)] * 6))
    timed.once("m/v", MODEL, Path("v"), Path("c"))
    timed.once("m/v", MODEL, Path("v"), Path("c"), threads=2)
    found = timed.measurements("m/v")
    assert found["latency"].value == pytest.approx(10.0)
    assert found["latency_2_threads"].value == pytest.approx(6.0)
    assert found["latency_ratio_2_threads"].value == pytest.approx(0.4)
    assert "latency_p50" in found


def test_what_cannot_be_timed_besides_is_told_in_words_and_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def refused(*_: object) -> list[float]:
        asked.append("once")
        raise LatencyFailed("a fixed reshape")

    monkeypatch.setattr(timing.memory, "start_up", lambda *_: timing.memory.StartUp([2.0, 2.1], [1.0, 1.1], True))
    monkeypatch.setattr(timing.batch, "measure", refused)
    monkeypatch.setattr(timing.keras, "measure", lambda *_: timing.keras.InKeras([2e-4, 2.1e-4, 2e-4]))
    timed = timing.Timing(RunOptions(more_latency=True), print)
    model: Any = type("Model", (), {"name": "m"})
    for _ in range(2):
        timed.besides("m/ptq_float16", model, Path("v"))
    assert timed.untimed["m/ptq_float16"] == {"batch_32_latency": "a fixed reshape"}
    assert asked == ["once"]
    assert timed.measurements("m/float32")["keras_latency"].value == pytest.approx(203.3, abs=0.1)
    assert "start_up_cold" in timed.measurements("m/ptq_float16")


def test_a_model_with_state_has_no_batch() -> None:
    with pytest.raises(LatencyFailed, match="keeps state"):
        batch.measure(Path("v"), type("Model", (), {"stateful": True}))  # type: ignore[arg-type]


def test_a_batch_whose_outputs_are_not_those_of_its_examples_is_seen() -> None:
    one = np.arange(8, dtype=np.float32).reshape(4, 2)
    assert _differs(one, one) == ""
    assert "outputs up to 6 from those of its examples" in _differs(one[::-1], one)
    assert "outputs of shape [1, 2] where [4, 2] was expected" in _differs(one[:1], one)
    assert _differs(np.full_like(one, np.nan), one) != ""
    assert _differs(one.astype(np.int8) + np.int8(1), one.astype(np.int8)) == ""
    filled = _enough({"a": one}, 6)
    assert isinstance(filled, dict)
    assert (filled["a"][4:] == one[:2]).all()


# ---------------------------------------------------------------- baselines and reports


def _ratio(value: float) -> Measurement:
    return Measurement(value=value, unit="ratio to float32", n=6, spread=0.002, values=[value] * 6)


def _cell(variant: str, **measurements: Measurement) -> Cell:
    return Cell(
        id=f"m/{variant}",
        model="m",
        variant=variant,
        family="ptq",
        control="float32",
        metric="accuracy",
        metric_unit="pp",
        verdicts={Kind.LATENCY: Verdict.PASS},
        measurements=measurements,
    )


def test_each_number_of_threads_is_accepted_for_its_own_machine_class() -> None:
    report: Any = type("Report", (), {"environment": machine("isa")})
    report.environment = report.environment.model_copy(update={"machine_class": "cpu_1-thread"})
    stamp = Accepted(date="2026-01-01", reason="r", run="r", environment="e")
    kept = {"cpu_1-thread": accepted(0.8, 0.01, "ratio", values=[0.8] * 6, noise=0.002)}
    cell = _cell("v", latency_ratio=_ratio(0.8), latency_ratio_2_threads=_ratio(0.7))
    moves = update_cell.latency_moves(cell, kept, stamp, report)
    assert [(move.measurement, move.moves) for move in moves] == [
        ("latency_ratio", False),
        ("latency_ratio_2_threads", True),
    ]
    assert kept["cpu_2-thread"].value == 0.7
    assert kept["cpu_1-thread"].value == 0.8


def test_hosts_are_accepted_beside_each_other_and_one_artifact_alone() -> None:
    here = machine("isa").model_copy(update={"machine_class": "cpu_1-thread", "host": "b2"})
    report: Any = type("Report", (), {"environment": here})
    stamp = Accepted(date="2026-01-01", reason="r", run="r", environment="e")
    before = accepted(0.8, 0.01, "ratio", values=[0.8] * 6, noise=0.002)
    before = before.model_copy(update={"accepted": before.accepted.model_copy(update={"host": "a1"})})
    cell = _cell("v", latency_ratio=_ratio(0.82))
    kept = {"cpu_1-thread": before}
    [move] = update_cell.latency_moves(cell, kept, stamp, report, same_artifact=True)
    assert not move.moves  # 2.5 % between hosts is no change
    assert kept["cpu_1-thread"].hosts == {"a1": 0.8, "b2": 0.82}
    assert kept["cpu_1-thread"].accepted.host == "a1"
    kept = {"cpu_1-thread": before}
    [move] = update_cell.latency_moves(_cell("v", latency_ratio=_ratio(1.2)), kept, stamp, report)
    assert move.moves
    assert kept["cpu_1-thread"].hosts is None  # what the other host took is of another artifact
    assert kept["cpu_1-thread"].accepted.host == "b2"


@pytest.mark.parametrize("ratio", [0.8, 1.2])
def test_a_latency_is_of_the_artifact_that_was_timed_last_whether_it_moved_or_not(ratio: float) -> None:
    report: Any = type(
        "Report", (), {"environment": machine("isa").model_copy(update={"machine_class": "cpu_1-thread"})}
    )
    stamp = Accepted(date="2026-01-01", reason="r", run="r", environment="e")
    kept = {"cpu_1-thread": accepted(0.8, 0.01, "ratio", values=[0.8] * 6, noise=0.002, artifact="a")}
    cell = _cell("v", latency_ratio=_ratio(ratio)).model_copy(update={"artifact_sha256": "b"})
    [move] = update_cell.latency_moves(cell, kept, stamp, report)
    assert (move.moves, kept["cpu_1-thread"].artifact) == (ratio > 1, "b")
    untimed = cell.model_copy(update={"artifact_sha256": "c", "verdicts": {}})
    assert update_cell.latency_moves(untimed, kept, stamp, report) == []
    assert kept["cpu_1-thread"].artifact == "b"


def test_a_loosened_latency_is_told_whatever_its_threads() -> None:
    today = datetime.date(2026, 1, 1)
    wide = Loosened(tolerance=0.2, reason="known", expires=today)
    value = accepted(0.8, 0.01, "ratio", values=[0.8, 0.8], loosened=wide)
    cell = BaselineCell(latency={"cpu_2-thread": value, "other_1-thread": value})
    [told] = exceptions(cell, "pp", today, "cpu_1-thread")
    assert told.startswith("latency of cpu_2-thread: tolerance loosened from 1 % to 20 %")


def test_the_table_of_latency_says_what_a_reader_needs() -> None:
    timed = measurements.calls(Latency([_process(10.0, calls=300)] * 6))
    both = timed | measured.latency(Latency([_process(10.0, calm=0.3)] * 6))
    one = measured.latency(Latency([_process(10.0, threads=2)] * 6))
    both |= measurements.at_threads(one, 2) | measurements.batch([3.2e-4] * 3, 32)
    control = _cell("float32", keras_latency=measurements.keras(InKeras([1e-4] * 3))["keras_latency"], **both)
    refused = _cell("v", **timed).model_copy(update={"untimed": {"batch_32_latency": "node 7 | is fixed"}})
    text = section([control, refused])
    head = text.splitlines()[4]
    for words in ("median, µs", "p99, µs", "examples/s", "2 threads, µs", "batch 32, µs/example (examples/s)", "note"):
        assert words in head
    assert "10.00 (100,000)" in text
    assert "other processes disturbed 70 % of it: unreliable" in text
    assert "Reading the clock takes 0.05 µs per call." in text
    assert "float32 beside `float32` (2 threads) used one thread only" in text
    assert "100.0 ± 0.0 µs a call; as float32 on LiteRT" in text
    assert "Not timed: a batch of 32 (`v`): node 7 \\| is fixed." in text
    assert section([_cell("v")]) == ""


# ---------------------------------------------------------------- the real path


@pytest.mark.nightly
@pytest.mark.slow
def test_the_fake_quantized_model_is_timed_before_its_conversion() -> None:
    seed_cnn = load_models(RunOptions().model_dir)["seed_cnn"]
    timed = keras.measure(seed_cnn, 0.3, "qat_wi8_ai8")
    assert len(timed.cpu) == keras.PROCESSES
    assert min(timed.cpu) > 0
    found = measurements.keras(timed)
    assert found["keras_latency"].unit == "µs"
    with pytest.raises(LatencyFailed, match="no fake-quantized model"):
        keras.measure(seed_cnn, 0.3, "ptq_float16")


def test_what_a_gpu_in_keras_gives_is_told_apart() -> None:
    both = measurements.keras(InKeras([2e-4] * 3, [1e-4] * 3, "a GPU"))
    assert both["keras_gpu_latency"].value == pytest.approx(100)
    control = _cell("float32", **measurements.calls(Latency([_process(10.0, calls=300)] * 6)), **both)
    lost = _cell("qat_wi8_ai8", **measurements.keras(InKeras([3e-4] * 3)))
    lost = lost.model_copy(update={"untimed": {"keras_gpu_latency": "the timing process died of SIGABRT"}})
    text = section([control, lost])
    assert "on a GPU with read-back 100.0 ± 0.0 µs" in text
    assert "Fake-quantized model of `qat_wi8_ai8` in Keras" in text
    assert "Not timed: the model in Keras on a GPU (`qat_wi8_ai8`): the timing process died of SIGABRT" in text


def test_planted_waits_and_first_calls_are_seen_in_real_processes(tmp_path: Path) -> None:
    from measure.test_memory import _tflite

    artifact, inputs = tmp_path / "a.tflite", tmp_path / "inputs.npz"
    artifact.write_bytes(_tflite(1000))
    np.savez(inputs, x=np.ones((4, 1000), dtype=np.float32))
    planted = {"wait": 1e-3, "first": 0.2, "calls": 10}
    process = latency.time_once(artifact, artifact, inputs, 0.02, 1, 0, **planted)
    assert process["variant"].off_core > process["control"].off_core
    assert process["variant"].first > 0.2 > 0.0 < process["control"].first
    assert len(process["control"].calls) == len(process["variant"].calls) == 10
    found = measurements.beside(Latency([process, process]), "v")
    assert found["off_core_excess"].value > 0.2
    assert set(found) - {"stalls"} == {*gate.RULES, "off_core_excess", "latency_to_yardstick"}  # 1 ms may hide stalls
    own = measurements.beside(Latency([process, process]), "float32")
    assert own["latency_mean_ratio"].unit == "ratio to yardstick"


def test_a_planted_stall_is_counted_in_a_real_process(tmp_path: Path) -> None:
    """All calls count: those before each block, those in it, and single ones."""
    from measure.test_memory import _tflite

    artifact, inputs = tmp_path / "a.tflite", tmp_path / "inputs.npz"
    artifact.write_bytes(_tflite(1000))
    np.savez(inputs, x=np.ones((4, 1000), dtype=np.float32))
    planted = {"stall": [20, 0.03], "lasting": 1e-4, "calls": 60}
    timed = Latency([latency.time_once(artifact, artifact, inputs, 0.02, 1, seed, **planted) for seed in range(2)])
    found = measurements.beside(timed, "v")["stalls"]
    assert found.stalls is not None
    longest = found.stalls[-1]
    assert longest.longer == stalls.LONGER[-1]
    assert longest.artifact.stalls > longest.beside.stalls
    assert longest.artifact.lost > 0.028 * longest.artifact.stalls
    blocks = sum(len(process["variant"].whole) for process in timed.processes)
    single = sum(len(process["variant"].calls) for process in timed.processes)
    assert longest.artifact.calls == blocks * timed.processes[0]["variant"].in_whole + single
    assert found.value > 1
    assert found.n == 2


def test_a_slow_float32_hides_stalls_and_the_report_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def timed(micro: float, float32: float) -> Latency:
        random = np.random.default_rng(0)
        fast, slow = simulated(random, micro, 0, 0.0), simulated(random, float32, 0, 0.0)
        return Latency([fast | {"control": slow["control"]}] * 6)

    assert measurements.uncounted_stalls(timed(300.0, 600.0), "v") == ""
    found = timing.Timing(RunOptions(), print)
    _replayed(monkeypatch, timed(300.0, 1400.0), timed(1500.0, 300.0))
    found.once("m/v", MODEL, Path("v"), Path("c"))
    assert "stalls" not in found.measurements("m/v")
    assert found.untimed["m/v"]["stalls"] == (
        "float32's blocks take 2.8 ms, and other programs interrupt too many of those that take more than 2 ms"
    )
    found.once("m/w", MODEL, Path("v"), Path("c"))
    assert found.untimed["m/w"]["stalls"].startswith("its own blocks take 3")
    slow, fast = timed(300.0, 1400.0).processes, timed(300.0, 600.0).processes
    _replayed(monkeypatch, Latency([*slow[:4], *fast[:2]]), Latency(fast))  # its median is beyond, two can be counted
    found.once("m/x", MODEL, Path("v"), Path("c"))
    assert "stalls" in found.measurements("m/x")
    assert "stalls" not in found.untimed["m/x"]
    _replayed(monkeypatch, Latency(slow), Latency(fast))  # a later stage can be counted
    found.once("m/y", MODEL, Path("v"), Path("c"))
    assert "stalls" in found.untimed["m/y"]
    found.once("m/y", MODEL, Path("v"), Path("c"))
    assert "stalls" in found.measurements("m/y")
    assert "stalls" not in found.untimed["m/y"]
    common: dict[str, Any] = {"model": "m", "family": "ptq", "metric": "accuracy", "metric_unit": "pp"}
    cells = [
        Cell(**common, id=cell, variant=cell[2:], measurements=found.measurements(cell), untimed=found.untimed[cell])
        for cell in ("m/v", "m/w")
    ]
    text = section(cells)
    assert "- Not counted: stalls (`v`): float32's blocks take 2.8 ms, and other programs" in text
    assert "- Not counted: stalls (`w`): its own blocks take 3" in text


def test_only_an_update_of_what_stalls_accepts_stalls() -> None:
    def cell_with(count: int, processes: int = 12) -> Cell:
        common: dict[str, Any] = {"model": "m", "family": "ptq", "metric": "accuracy", "metric_unit": "pp"}
        side = {"usual": 1.0, "calls": 10_000}
        own = Stalls.model_validate(
            {
                "longer": 1e-3,
                "artifact": {**side, "stalls": count, "lost": 0.03 * count},
                "beside": {**side, "stalls": 1, "lost": 0.004},
            }
        )
        values = measurements.latency(Latency([_process(10.0)] * 6)) | measurements.stalls([[own]] * processes)
        return Cell(**common, id="m/v", variant="v", measurements=values, verdicts={Kind.LATENCY: Verdict.REGRESSED})

    report = Report.model_construct(environment=machine())
    entry, moves = update_cell.taken(cell_with(20, 4), BaselineCell(), accepted(1.0).accepted, report, 0)
    [value] = entry.by_machine["stalls"].values()
    assert (value.value, value.tolerance) == (pytest.approx(0.596), TOLERANCES["stalls"])
    assert [one.artifact.stalls for one in value.stalls or []] == [80]
    assert not list(mismatches(entry, None))
    assert any(move.measurement == "stalls" and move.moves for move in moves)
    again, moves = update_cell.taken(cell_with(0), entry, accepted(1.0).accepted, report, 0)
    assert "stalls" not in again.by_machine
    assert any(move.measurement == "stalls" and move.new == 0 for move in moves)
    for unclear in (cell_with(0, 2), cell_with(1)):  # two processes tell nothing, and fewer stalls are not none
        kept, moves = update_cell.taken(unclear, entry, accepted(1.0).accepted, report, 0)
        assert kept.by_machine["stalls"] == entry.by_machine["stalls"]
        assert not any(move.measurement == "stalls" and move.moves for move in moves)
    uncounted = {here: value.model_copy(update={"stalls": None}) for here in entry.by_machine["stalls"]}
    older = entry.model_copy(update={"by_machine": {"stalls": uncounted}})  # as an earlier version wrote it
    counted, moves = update_cell.taken(cell_with(20, 4), older, accepted(1.0).accepted, report, 0)
    [value] = counted.by_machine["stalls"].values()
    assert [one.artifact.stalls for one in value.stalls or []] == [80]
    assert any(move.measurement == "stalls" and move.moves for move in moves)


def test_a_later_stage_has_as_many_processes_as_several_first_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[tuple[float, int]] = []

    def once(_v: Path, _c: Path, _i: Path, seconds: float, *_: object, calls: int, **__: object) -> dict[str, Blocks]:
        taken.append((seconds, calls))
        return {}

    monkeypatch.setattr(latency, "time_once", once)
    monkeypatch.setattr(latency, "save_inputs", lambda _model, folder: folder / "inputs.npz")
    model = load_models(ROOT / "models")["seed_cnn"]
    for times, longer, count in ((1, 1, 12), (2, 1, 24), (2, 4, 24)):
        taken.clear()
        made = latency.measure(Path("v"), Path("c"), model, 3.0, times=times, longer=longer)
        assert len(made.processes) == count
        assert set(taken) == {(0.25 * longer, latency.CALLS * longer)}


def test_an_update_takes_the_latency_beside_the_typical_call() -> None:
    timed = Latency([_process(10.0 + i / 100, calls=50) for i in range(6)])
    values = measurements.latency(timed) | measurements.beside(timed, "v")
    common: dict[str, Any] = {"model": "m", "family": "ptq", "metric": "accuracy", "metric_unit": "pp"}
    cell = Cell(**common, id="m/v", variant="v", measurements=values, verdicts={Kind.LATENCY: Verdict.UNJUDGED})
    report = Report.model_construct(environment=machine())
    entry, _ = update_cell.taken(cell, BaselineCell(), accepted(1.0).accepted, report, 0)
    assert {"latency_mean_ratio", "latency_cpu_ratio", "latency_to_yardstick"} <= set(entry.by_machine)
    for name, by_class in entry.by_machine.items():
        [value] = by_class.values()
        assert value.tolerance == TOLERANCES[name]
    assert not list(mismatches(entry, None))
    again, moves = update_cell.taken(cell, entry, accepted(1.0).accepted, report, 0)
    assert again.by_machine == entry.by_machine
    assert not any(move.moves for move in moves)
