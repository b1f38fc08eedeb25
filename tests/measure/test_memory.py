"""Memory: the judge on made-up numbers, and real processes on small artifacts written by hand."""

import os
import re
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import accepted, baseline_cell, instead_of_python, steps
from quantbench import gate
from quantbench.baselines import update_cell
from quantbench.build.store import Store
from quantbench.core import environment
from quantbench.engine import measurements
from quantbench.measure import memory
from quantbench.measure.many_calls import batched, many_calls
from quantbench.measure.memory import Memory, MemoryFailed
from quantbench.measure.memory_worker import arena, covered, in_a_fork
from quantbench.records import BaselineCell, Cell, Judgement, Kind, Measurement, Report, Verdict
from quantbench.selftest import memory as faults_memory

SUBJECT = gate.Subject("m", "v", "reports/r")
CONTROL = gate.Subject("m", "float32", "reports/r")
FLOATS = Memory(peaks=[40_000, 40_100, 39_900], resident=[60_000] * 3, empty=[35_000] * 3, arena=9_000)


def _memory(peak: int, arena: int | None) -> Memory:
    return Memory(peaks=[peak, peak + 10, peak - 10], resident=[3 * peak] * 3, empty=[peak - 6_000] * 3, arena=arena)


def found(arena: int | None, peak: int, control: Memory | None = FLOATS) -> dict[str, Measurement]:
    return measurements.memory(_memory(peak, arena), control)


def baseline() -> BaselineCell:
    values = {"arena": accepted(8_000, 64, "bytes"), "memory_ratio": accepted(0.9, 0.01, "ratio to float32")}
    return BaselineCell(measurements=values, peak_memory={"here": accepted(36_000, 0.02, "bytes")})


def verdicts(judged: list[Judgement]) -> list[Verdict]:
    assert {judgement.kind for judgement in judged} == {Kind.MEMORY}
    return [judgement.verdict for judgement in judged]


@pytest.mark.parametrize(
    ("arena", "peak", "expected"),
    [
        (8_000, 36_000, [Verdict.PASS, Verdict.PASS]),
        (8_064, 36_300, [Verdict.PASS, Verdict.PASS]),
        (8_128, 36_000, [Verdict.REGRESSED, Verdict.PASS]),
        (8_000, 36_400, [Verdict.PASS, Verdict.REGRESSED]),
        (7_000, 34_000, [Verdict.IMPROVED, Verdict.IMPROVED]),
    ],
)
def test_arena_and_ratio_against_their_baselines(arena: int, peak: int, expected: list[Verdict]) -> None:
    judged = gate.memory(SUBJECT, found(arena, peak), "", "", baseline(), "here")
    assert verdicts(judged) == expected
    for judgement in judged:
        assert ("baseline update" in steps(judgement)) == (judgement.verdict is not Verdict.PASS)


def test_a_red_sentence_has_both_numbers_and_the_tolerance() -> None:
    arena_, ratio = gate.memory(SUBJECT, found(16_000, 38_000), "", "", baseline(), "here")
    assert arena_.message == "arena 16,000 bytes, baseline 8,000 bytes (+100.00 %; tolerance 64 bytes)"
    assert ratio.message == "memory ratio 0.9500, baseline 0.9000 (+5.56 %; tolerance 1 %)"


@pytest.mark.parametrize(("peak", "verdict"), [(36_500, Verdict.PASS), (37_800, Verdict.REGRESSED)])
def test_the_controls_own_peak_is_judged_on_its_class_of_machine_alone(peak: int, verdict: Verdict) -> None:
    own = found(8_000, peak, control=None)
    assert verdicts(gate.memory(CONTROL, own, "", "", baseline(), "here")) == [Verdict.PASS, verdict]
    elsewhere = gate.memory(CONTROL, own, "", "", baseline(), "there")
    assert verdicts(elsewhere) == [Verdict.PASS, Verdict.UNJUDGED]
    assert "no baseline for this machine profile (there)" in elsewhere[1].message


@pytest.mark.parametrize(
    ("peak", "other_kernels", "verdict"),
    [
        (36_600, False, Verdict.REGRESSED),
        (36_600, True, Verdict.PASS),
        (37_200, True, Verdict.REGRESSED),
        (35_300, True, Verdict.PASS),
        (34_000, True, Verdict.IMPROVED),
    ],
)
def test_a_ratio_of_another_processors_kernels_has_more_room(peak: int, other_kernels: bool, verdict: Verdict) -> None:
    judged = gate.memory(SUBJECT, found(8_000, peak), "", "", baseline(), "here", other_kernels)
    assert verdicts(judged) == [Verdict.PASS, verdict]
    told = "tolerance 3 %, not 1 %: accepted on another processor, with other kernels"
    assert (told in judged[1].message) == other_kernels


def test_no_baseline_is_missing() -> None:
    assert verdicts(gate.memory(SUBJECT, found(1, 36_000), "", "", None, "here")) == [Verdict.MISSING] * 2
    assert verdicts(gate.memory(SUBJECT, found(1, 36_000), "", "", baseline_cell(), "here")) == [Verdict.MISSING] * 2


def test_what_the_builtin_kernels_refuse_has_no_arena_and_may_not_lose_one() -> None:
    without = found(None, 36_000)
    judged = gate.memory(SUBJECT, without, "", "no such kernel", baseline(), "here")
    assert verdicts(judged) == [Verdict.ERROR, Verdict.PASS]
    never = BaselineCell(measurements={"memory_ratio": baseline().measurements["memory_ratio"]})
    judged = gate.memory(SUBJECT, without, "", "no such kernel", never, "here")
    assert verdicts(judged) == [Verdict.UNJUDGED, Verdict.PASS]
    assert "no such kernel" in judged[0].message


def test_a_failure_is_an_error_that_says_why() -> None:
    assert measurements.memory(Memory(failure="died of SIGSEGV"), FLOATS) == {}
    [judgement] = gate.memory(SUBJECT, {}, "the measuring process died of SIGSEGV", "", baseline(), "here")
    assert judgement.verdict is Verdict.ERROR
    assert "SIGSEGV" in judgement.message
    no_control = found(8_000, 36_000, control=Memory(failure="died"))
    assert verdicts(gate.memory(SUBJECT, no_control, "", "", baseline(), "here")) == [Verdict.PASS, Verdict.ERROR]


KIB = 1024


def of_model(value: float) -> BaselineCell:
    """A baseline that holds the memory of the model too."""
    model = accepted(value, gate.MODEL_TOLERANCE, "bytes")
    return baseline().model_copy(update={"by_machine": {"model_memory": {"here": model}}})


@pytest.mark.parametrize(
    ("own", "verdict"),
    [(500, Verdict.PASS), (568, Verdict.PASS), (590, Verdict.REGRESSED), (410, Verdict.IMPROVED)],
)
def test_the_memory_of_the_model_is_judged_and_that_of_python_is_not(own: int, verdict: Verdict) -> None:
    """90 KiB more are 18 % of the model and 0.6 % of a process; some artifacts take 68 KiB more by chance."""
    processes = [14_000 * KIB + own * KIB + noise for noise in (0, 4_096, -4_096)]
    taken = Memory(peaks=processes, resident=[0] * 3, empty=[14_000 * KIB] * 3, arena=8_000)
    judged = gate.memory(SUBJECT, measurements.memory(taken, FLOATS), "", "", of_model(500 * KIB), "here")
    assert [judgement.measurement for judgement in judged] == ["arena", "model_memory"]
    assert verdicts(judged) == [Verdict.PASS, verdict]
    another_python = Memory([p + 400_000 for p in taken.peaks], [0] * 3, [14_000 * KIB + 400_000] * 3, arena=8_000)
    again = gate.memory(SUBJECT, measurements.memory(another_python, FLOATS), "", "", of_model(500 * KIB), "here")
    assert verdicts(again) == [Verdict.PASS, verdict]


def test_a_process_that_holds_more_by_chance_is_no_growth_of_the_model() -> None:
    """Of one artifact, three processes held 12, 88 and 92 KiB more than the three accepted ones."""
    accepted_bytes, seen = 888_832, (978_944, 901_120, 983_040)
    for more, verdict in ((0, Verdict.PASS), (100_000, Verdict.REGRESSED)):
        peaks = [14_000 * KIB + own + more for own in seen]
        taken = Memory(peaks=peaks, resident=[0] * 3, empty=[14_000 * KIB] * 3, arena=8_000)
        judged = gate.memory(SUBJECT, measurements.memory(taken, FLOATS), "", "", of_model(accepted_bytes), "here")
        assert verdicts(judged) == [Verdict.PASS, verdict]


def test_a_baseline_without_the_memory_of_the_model_is_judged_by_the_process() -> None:
    taken = found(8_000, 36_400)
    assert gate.unrecorded(baseline(), taken, "here")
    judged = gate.memory(SUBJECT, taken, "", "", baseline(), "here")
    assert [judgement.measurement for judgement in judged] == ["arena", "memory_ratio"]
    assert gate.unrecorded(of_model(1.0), taken, "there")
    assert not gate.unrecorded(of_model(1.0), taken, "here")
    assert not gate.unrecorded(None, taken, "here")


def test_a_model_that_holds_less_than_its_arena_was_not_measured() -> None:
    """Its memory was taken from what the imports had freed: 28 kB were reported where 2.5 MB are needed."""
    hidden = Memory(peaks=[40_000] * 3, resident=[60_000] * 3, empty=[39_000] * 3, arena=8_000)
    judged = gate.memory(SUBJECT, measurements.memory(hidden, FLOATS), "", "", baseline(), "here")
    assert verdicts(judged) == [Verdict.PASS, Verdict.ERROR]
    assert "holds 1,000 bytes for the model, but the arena alone takes 8,000" in judged[1].message


def test_without_a_restarted_peak_nothing_is_known_of_the_model() -> None:
    taken = Memory(peaks=[40_000] * 3, resident=[60_000] * 3, empty=[39_999] * 3, arena=8_000, reset=False)
    values = measurements.memory(taken, FLOATS)
    assert "model_memory" not in values
    judged = gate.memory(SUBJECT, values, "", "", of_model(6_000), "here")
    assert [judgement.measurement for judgement in judged] == ["arena", "memory_ratio"]


def test_a_rerun_moves_no_baseline_of_the_memory_of_a_model() -> None:
    old = accepted(500_000.0, gate.MODEL_TOLERANCE, "bytes")
    assert update_cell.model_stays(old, accepted(540_000.0))
    assert not update_cell.model_stays(old, accepted(542_000.0))


def of_calls(**facts: Any) -> Memory:
    """Three processes that answered two examples, one of which was called 5,000 times."""
    calls = {"answers": [[11, 22]] * 3, "calls": 5000, "by_call": grown_by(0.0)} | facts
    return Memory(peaks=[36_000] * 3, resident=[60_000] * 3, empty=[30_000] * 3, arena=8_000, **calls)


def grown_by(per_call: float, steps: tuple[int, ...] = ()) -> list[tuple[int, int]]:
    """Bytes held, in pages, at every 80th call: a buffer while warming up, a leak, and 64 KiB more at ``steps``."""
    grown = [
        (call, 10**6 + 10**5 * (call > 40) + int(per_call * call) + sum(65_536 for step in steps if call > step))
        for call in range(1, 5001, 80)
    ]
    return [(call, held // 4096 * 4096) for call, held in grown]


def red(taken: Memory) -> list[str]:
    judged = gate.memory(SUBJECT, measurements.memory(taken, FLOATS), "", "", baseline(), "here")
    return [judgement.measurement for judgement in judged if judgement.verdict is Verdict.REGRESSED]


@pytest.mark.parametrize(
    ("by_call", "found"),
    [
        (grown_by(0.0), []),
        (grown_by(4096.0), ["leak"]),
        (grown_by(40.0), ["leak"]),
        (grown_by(4.0), []),
        (grown_by(0.0, steps=(700,)), []),
        (grown_by(0.0, steps=(700, 3000)), []),
    ],
)
def test_memory_that_every_call_keeps_is_red_and_a_larger_buffer_is_not(
    by_call: list[tuple[int, int]], found: list[str]
) -> None:
    assert red(of_calls(by_call=by_call)) == found


def test_a_leak_is_told_with_its_size() -> None:
    taken = measurements.memory(of_calls(by_call=grown_by(4096.0)), FLOATS)
    assert taken["leak"].value == pytest.approx(4096, rel=0.03)
    leak = gate.memory(SUBJECT, taken, "", "", baseline(), "here")[-1]
    assert re.match(r"each call keeps 4,\d\d\d bytes \(seen over 5,000 calls of one process", leak.message)
    assert "leak" not in measurements.memory(of_calls(by_call=[(1, 0), (5000, 0)]), FLOATS)  # not known without /proc


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        ({}, []),
        ({"wrong": 1}, ["wrong_answers"]),
        ({"answers": [[11, 22], [11, 23], [11, 22]]}, ["wrong_answers"]),
        ({"batch": "permuted"}, ["permuted_batch"]),
        ({"batch": "same"}, []),
        ({"batch": "other"}, []),
    ],
)
def test_answers_repeat_in_a_process_in_a_fresh_one_and_in_a_batch(facts: dict[str, Any], found: list[str]) -> None:
    assert red(of_calls(**facts)) == found


def test_one_corrupted_call_of_two_thousand_and_a_wrong_first_call_are_counted() -> None:
    corrupted = iter(range(10_000))
    facts = many_calls(lambda example: example + (next(corrupted) == 1999), [0, 1, 2, 3], lambda: 1, 5000, 60.0)
    assert (facts["calls"], facts["wrong"]) == (5000, 1)
    first = many_calls(lambda example: example, [99, 1, 2, 3], lambda: 1, 40, 60.0)
    assert first["wrong"] == 10


def test_a_batch_is_compared_example_by_example() -> None:
    single = [np.random.default_rng(0).random((6, 3)).astype(np.float32)]
    assert batched([single[0] + 1e-6], single) == "same"
    assert batched([single[0][[1, 0, 2, 3, 4, 5]]], single) == "permuted"
    assert batched([single[0] + 0.1], single) == "other"
    assert batched([single[0][:1]], single) == "other"


def test_the_median_of_the_peaks_is_not_moved_by_one_process() -> None:
    odd = Memory(peaks=[40_000, 40_010, 80_000], resident=[60_000] * 3, empty=[35_000] * 3)
    assert odd.peak() == 40_010
    ratio = measurements.memory(odd, FLOATS)["memory_ratio"]
    assert ratio.value == pytest.approx(40_010 / 40_000)
    assert ratio.spread is not None


def _cell(variant: str, values: dict[str, Measurement], verdicts: dict[Kind, Verdict]) -> Cell:
    fields = {"model": "m", "family": "ptq", "metric": "accuracy", "metric_unit": "pp"}
    return Cell.model_validate(
        fields | {"id": f"m/{variant}", "variant": variant, "measurements": values, "verdicts": verdicts}
    )


def test_an_update_takes_memory_where_it_was_judged() -> None:
    report = Report.model_construct(environment=environment.collect())
    machine = environment.memory_class(report.environment)
    stamp = accepted(1.0).accepted
    judged = {Kind.MEMORY: Verdict.MISSING}
    entry, _ = update_cell.taken(_cell("v", found(8_000, 36_000), judged), BaselineCell(), stamp, report, 0)
    assert set(entry.measurements) == {"arena", "memory_ratio"}
    assert set(entry.by_machine["model_memory"]) == {machine}
    assert not entry.peak_memory
    assert verdicts(gate.memory(SUBJECT, found(8_000, 36_000), "", "", entry, machine)) == [Verdict.PASS] * 2
    own = found(8_000, 36_000, control=None)
    entry, _ = update_cell.taken(_cell("float32", own, judged), BaselineCell(), stamp, report, 0)
    assert set(entry.measurements) == {"arena"}
    assert set(entry.peak_memory) == {machine}
    entry, moves = update_cell.taken(_cell("v", found(8_000, 36_000), {}), baseline(), stamp, report, 0)
    assert entry == baseline().model_copy(update={"peak_memory": entry.peak_memory})
    assert "by_machine" not in entry.model_dump(mode="json")
    assert not moves


def test_what_reruns_give_moves_no_baseline() -> None:
    old = accepted(1.0, 0.01, noise=0.0015)
    assert update_cell.peak_stays(old, accepted(1.004))
    assert not update_cell.peak_stays(old, accepted(1.006))
    assert not update_cell.peak_stays(accepted(8_000, 64), accepted(8_064))
    assert not update_cell.peak_stays(None, accepted(1.0))


# ---------------------------------------------------------------- real processes


def _tflite(size: int) -> bytes:
    """Float input of ``size`` values -> int8 -> float output."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    def tensor(dtype: int, name: bytes) -> Any:
        made = schema.TensorT()
        made.shape, made.type, made.name = [1, size], dtype, name
        if dtype == schema.TensorType.INT8:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale, made.quantization.zeroPoint = [0.1], [0]
        return made

    def operator(code: int, source: int, target: int) -> Any:
        made = schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = code, [source], [target]
        return made

    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.buffers, model.subgraphs, model.operatorCodes = 3, [schema.BufferT()], [graph], []
    for builtin in (schema.BuiltinOperator.QUANTIZE, schema.BuiltinOperator.DEQUANTIZE):
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = builtin
        code.version = 2
        model.operatorCodes.append(code)
    kinds = schema.TensorType
    graph.tensors = [tensor(kinds.FLOAT32, b"x"), tensor(kinds.INT8, b"q"), tensor(kinds.FLOAT32, b"y")]
    graph.inputs, graph.outputs = [0], [2]
    graph.operators = [operator(0, 0, 1), operator(1, 1, 2)]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    path = tmp_path / "artifact.tflite"
    path.write_bytes(_tflite(1000))
    return path


def a_model(size: int = 1000) -> Any:
    """As much of a reference model as a measurement asks for."""
    split = SimpleNamespace(x=np.ones((20, size), dtype=np.float32))
    pack = SimpleNamespace(test=split)
    return SimpleNamespace(name="m", form="code", stateful=False, prepare=lambda x: x, pack=lambda: pack)


def test_addresses_are_counted_once() -> None:
    assert covered([(0, 64), (0, 128), (64, 192), (1000, 1064)]) == 192 + 64


def test_the_arena_repeats_and_is_what_lives_together(artifact: Path) -> None:
    first = memory.measure(artifact, a_model(), processes=2)
    # Input and int8 live together, then int8 and output, which takes the place of neither; in steps of 64 bytes.
    assert 4032 + 1024 <= (first.arena or 0) <= 2 * 4032 + 1024
    assert first.arena == memory.measure(artifact, a_model(), processes=1).arena == arena(str(artifact))
    for peak, empty, resident in zip(first.peaks, first.empty, first.resident, strict=True):
        assert 1e6 < empty < peak <= resident


@pytest.mark.parametrize("plant", faults_memory.ARTIFACTS, ids=lambda plant: plant.name)
def test_a_real_artifact_that_needs_more_is_red(plant: faults_memory.MemoryFault, artifact: Path) -> None:
    trial = faults_memory.MemoryTrial(a_model(), artifact, artifact, recordings=6)
    caught = faults_memory.grown(trial, plant, seed=0)
    assert caught.growth > 0
    assert caught.checks == ["arena"]


def test_a_process_that_keeps_memory_at_each_call_is_red_and_a_healthy_one_answers_alike(artifact: Path) -> None:
    healthy = memory.measure(artifact, a_model())
    assert (healthy.wrong_answers(), healthy.batch) == (0, "same")
    assert healthy.calls > memory.EXAMPLES
    assert not {"leak", "wrong_answers", "permuted_batch"} & set(red(healthy))
    leaking = memory.measure(artifact, a_model(), processes=2, leak=4096)
    assert "leak" in red(leaking)


@pytest.mark.parametrize(
    ("answer", "said"),
    [(lambda: "same", "same"), (lambda: os.kill(os.getpid(), signal.SIGKILL), ""), (lambda: time.sleep(60), "")],
    ids=["answers", "dies", "hangs"],
)
def test_a_batch_that_crashes_or_hangs_costs_only_itself(answer: Any, said: str) -> None:
    assert in_a_fork(answer, 0.5) == said


def test_planted_memory_is_told_in_its_order_however_many_are_measured_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def grown(_trial: Any, fault: faults_memory.MemoryFault, seed: int) -> str:
        time.sleep(0.05)  # so that the quicker ones behind it are done before
        return f"{fault.name} {seed}"

    monkeypatch.setattr(faults_memory, "grown", grown)
    monkeypatch.setattr(faults_memory, "held", lambda _, strength, where, seed: f"{where} {strength} {seed}")
    monkeypatch.setattr(faults_memory, "leaking", lambda _, seed: f"leak {seed}")
    monkeypatch.setattr(faults_memory, "_reported", lambda injected, _: injected)
    trial: Any = None
    found: list[Any] = list(faults_memory.injected_faults(trial, 2, lambda _: None, (0.02,)))
    each = ["an activation doubled", "an operator more, to float", "variant 0.02", "control 0.02", "leak"]
    assert found == [f"{plant} {seed}" for seed in range(2) for plant in each]


def test_held_memory_is_red_and_a_rerun_green(artifact: Path) -> None:
    trial = faults_memory.MemoryTrial(a_model(), artifact, artifact, recordings=6)
    for where in ("variant", "control"):
        assert faults_memory.held(trial, faults_memory.MUST_BE_CAUGHT, where, seed=0).checks == ["model_memory"]
    assert faults_memory.leaking(trial, seed=0).checks == ["leak"]
    assert faults_memory.null_runs(trial, 50) == [False] * 50


def test_a_process_that_dies_is_told_with_its_signal_and_not_kept(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "recipe", lambda *_: {"what": "memory"})
    store = Store(tmp_path / "store")
    with monkeypatch.context() as broken:
        instead_of_python(tmp_path, "kill -SEGV $$", broken)
        dead = memory.through_store(artifact, "sha", a_model(), store)
    assert dead.failure == "the measuring process died of SIGSEGV: no output"
    again = memory.through_store(artifact, "sha", a_model(), store)
    assert not again.failure
    kept = memory.find("sha", a_model(), store)
    assert kept is not None
    assert (kept.peaks, kept.arena, kept.cached) == (again.peaks, again.arena, True)


def test_a_process_that_hangs_or_talks_nonsense_is_told(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    instead_of_python(tmp_path, "echo hello", monkeypatch)
    with pytest.raises(MemoryFailed, match="wrote no result but 'hello"):
        memory.measure(artifact, a_model())
    instead_of_python(tmp_path, "exec sleep 30", monkeypatch)
    monkeypatch.setattr(memory, "LIMIT_SECONDS", 0.2)
    with pytest.raises(MemoryFailed, match="did not finish within"):
        memory.start_up(artifact, a_model())
    instead_of_python(tmp_path, "echo out of luck >&2; exit 7", monkeypatch)
    monkeypatch.setattr(memory, "LIMIT_SECONDS", 60)
    with pytest.raises(MemoryFailed, match="ended with status 7: out of luck"):
        memory.measure(artifact, a_model())


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the system cannot restart a peak")
def test_imports_that_were_not_compiled_change_nothing(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling them takes 4 MB for a moment, which hid the memory of a model, and its absence."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    memory.compiled_modules.cache_clear()
    usual = memory.measure(artifact, a_model(), processes=1)
    with monkeypatch.context() as absent:
        absent.setattr(memory, "_is_compiled", lambda _: False)
        memory.compiled_modules.cache_clear()
        compiled = memory.measure(artifact, a_model(), processes=1)
        with absent.context() as none_at_all:
            none_at_all.setattr(memory, "compiled_modules", lambda: Path("/nonexistent/folder"))
            bare = memory.measure(artifact, a_model(), processes=1)
    memory.compiled_modules.cache_clear()
    for taken in (compiled, bare):
        assert taken.reset
        assert abs(taken.own()[0] - usual.own()[0]) < gate.MODEL_TOLERANCE
    assert abs(compiled.peaks[0] - usual.peaks[0]) < 2 * gate.MODEL_TOLERANCE


def test_start_up_is_timed_cold_and_warm(artifact: Path) -> None:
    timed = memory.start_up(artifact, a_model(), processes=2)
    shown = measurements.start_up(timed)
    assert len(timed.cold) == len(timed.warm) == 2
    assert all(value > 0 for value in (*timed.cold, *timed.warm))
    assert shown["start_up_cold"].unit == "ms"
    assert (shown["start_up_cold"].spread_of or "").startswith("fresh processes, file")
