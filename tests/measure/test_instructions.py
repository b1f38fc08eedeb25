"""Instructions of a call: how dumps become counts, what is stored, and real processes under valgrind."""

import platform
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from quantbench import gate
from quantbench.build.store import Store
from quantbench.engine import measurements
from quantbench.measure import callgrind, instructions
from quantbench.measure.callgrind import AFTER, BEFORE, REQUEST, Profile
from quantbench.measure.instructions import Count, Wanted
from quantbench.records import BETWEEN, BaselineCell, Cell, Kind, Report, Verdict

PROFILE = "GenuineIntel-306c3-aa"
SUBJECT = gate.Subject("m", "v", "reports/r")


def dumps(*operators: int) -> list[Profile]:
    """Make the dumps of an artifact whose operators take so many instructions, and the runtime 5 between them."""
    parts = []
    for count in operators:
        parts += [Profile(f"{BEFORE}xnn", Counter({"Invoke": 5})), Profile(f"{AFTER}xnn", Counter({"xnn_f": count}))]
    return [*parts, Profile(f"{REQUEST}artifact {PROFILE}", Counter({"Invoke": 5}))]


def test_the_count_of_a_call_is_the_sum_of_its_operators_and_of_what_is_between_them() -> None:
    count = instructions.count([*dumps(100, 200), Profile("Program termination", Counter({"exit": 9}))], "")
    assert count.operators == [("f", 100), ("f", 200), (BETWEEN, 15)]
    assert count.total() == 315
    assert count.profile.startswith(f"{PROFILE}_")
    assert measurements.instructions(count)["instructions"].value == 315


def test_a_call_that_did_not_end_has_no_count_but_a_reason() -> None:
    died = instructions.count(dumps(100)[:2], "its process died of SIGSEGV")
    assert died.failure == "its process died of SIGSEGV"
    assert measurements.instructions(died) == {}
    assert instructions.count(dumps(100), "its process died of SIGSEGV").total() == 110, "after it was counted"
    assert instructions.count([], "").failure == "callgrind left no counts"


def test_a_runtime_without_the_counted_function_is_told() -> None:
    done = instructions.count([Profile(f"{REQUEST}artifact {PROFILE}")], "")
    assert "has no function tflite::Subgraph::Invoke()" in done.failure


def test_without_valgrind_nothing_is_counted_and_the_reason_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    for cached in (instructions.version, instructions.unavailable):
        cached.cache_clear()
    try:
        assert instructions.unavailable() == "valgrind is not installed; apt-get install valgrind"
        instructions.unavailable.cache_clear()
        monkeypatch.setattr(platform, "machine", lambda: "aarch64")
        assert "x86-64 alone, not on linux and aarch64" in instructions.unavailable()
    finally:
        for cached in (instructions.version, instructions.unavailable):
            cached.cache_clear()


def test_a_second_run_finds_the_counts_and_tries_failures_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def measure(wanted: Sequence[Wanted], _processes: int) -> list[Count]:
        asked.append([one.sha256 for one in wanted])
        return [Count(PROFILE, [("f", 7)]) if one.sha256 != "bad" else Count(failure="died") for one in wanted]

    monkeypatch.setattr(instructions, "measure", measure)
    monkeypatch.setattr(instructions, "recipe", lambda sha256, _: {"what": "instructions", "artifact": sha256})
    store = Store(tmp_path)
    wanted = [Wanted(tmp_path / "a", sha256, a_model()) for sha256 in ("one", "bad", "one", "two")]
    for _ in range(2):
        found = instructions.through_store(wanted, store, 2)
        assert [count.failure for count in found] == ["", "died", "", ""]
        assert [count.operators for count in found if not count.failure] == [[("f", 7)]] * 3
    assert asked == [["one", "bad", "two"], ["bad"]]
    assert [count.cached for count in found] == [True, False, True, True]


def test_artifacts_are_shared_among_processes_by_their_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {f"{i}": 100 * i for i in range(10)}
    monkeypatch.setattr(instructions, "operations", lambda path: sizes[path.name])
    wanted = [Wanted(Path(name), name, a_model("code" if int(name) < 8 else "keras")) for name in sizes]
    batches = list(instructions.batches(wanted, 2))
    assert sorted(place for batch in batches for place in batch) == list(range(10))
    assert [len(batch) for batch in batches] == [4, 4, 1, 1], "untrusted ones are apart"
    assert len(list(instructions.batches(wanted, 1))) == 2
    many = [wanted[0]] * 100
    assert max(len(batch) for batch in instructions.batches(many, 2)) <= instructions.BATCH


def test_a_call_that_would_take_minutes_is_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instructions, "operations", lambda _: 10**12)
    (count,) = instructions.measure([Wanted(tmp_path / "a", "a", a_model())])
    assert count.failure.startswith("a call takes 1,000,000,000,000 multiplications")


# ---------------------------------------------------------------- what a baseline takes


def a_cell(count: Count, sha256: str = "a" * 64) -> Cell:
    fields = {"id": "m/v", "model": "m", "variant": "v", "family": "ptq", "metric": "accuracy", "metric_unit": "pp"}
    measured = measurements.instructions(count)
    verdicts = {Kind.INSTRUCTIONS: Verdict.MISSING}
    more = {"measurements": measured, "verdicts": verdicts, "counted": count.counted(), "artifact_sha256": sha256}
    return Cell.model_validate(fields | more)


def test_an_update_takes_the_count_of_its_profile_and_drops_those_of_another_artifact() -> None:
    from conftest import accepted
    from quantbench.baselines import update_cell

    report, stamp = Report.model_construct(), accepted(1.0).accepted
    entry, moves = update_cell.taken(a_cell(Count("here", [("f", 7)])), BaselineCell(), stamp, report, 0)
    assert [(move.measurement, move.new, move.moves) for move in moves] == [("instructions", 7, True)]
    assert entry.by_machine["instructions"]["here"].tolerance == gate.INSTRUCTIONS_TOLERANCE
    assert entry.counted == {"here": [("f", 7)]}
    there, _ = update_cell.taken(a_cell(Count("there", [("g", 8)])), entry, stamp, report, 0)
    assert set(there.by_machine["instructions"]) == set(there.counted) == {"here", "there"}
    other, _ = update_cell.taken(a_cell(Count("here", [("f", 9)]), "b" * 64), there, stamp, report, 0)
    assert {name: value.value for name, value in other.by_machine["instructions"].items()} == {"here": 9}
    assert other.counted == {"here": [("f", 9)]}


def test_what_a_rerun_counts_moves_no_baseline() -> None:
    from conftest import accepted
    from quantbench.baselines import update_cell

    entry, stamp, report = update_of(Count("here", [("f", 100_000)])), accepted(1.0).accepted, Report.model_construct()
    for count, moves in ((100_040, False), (99_960, False), (100_060, True)):
        found = a_cell(Count("here", [("f", count)]))
        assert [move.moves for move in update_cell.taken(found, entry, stamp, report, 0)[1]] == [moves]


# ---------------------------------------------------------------- real processes


def a_model(form: str = "code", size: int = 4000) -> Any:
    """As much of a reference model as a measurement asks for."""
    split = SimpleNamespace(x=np.random.default_rng(0).random((20, size)).astype(np.float32))
    pack = SimpleNamespace(test=split)
    return SimpleNamespace(name="m", form=form, stateful=False, prepare=lambda x: x, pack=lambda: pack)


def tflite(pairs: int, size: int = 4000) -> bytes:
    """Build float -> int8 -> float, so many times in a row."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    def tensor(dtype: int, name: str) -> Any:
        made = schema.TensorT()
        made.shape, made.type, made.name = [1, size], dtype, name.encode()
        if dtype == schema.TensorType.INT8:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale, made.quantization.zeroPoint = [0.1], [0]
        return made

    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.buffers, model.subgraphs, model.operatorCodes = 3, [schema.BufferT()], [graph], []
    for builtin in (schema.BuiltinOperator.QUANTIZE, schema.BuiltinOperator.DEQUANTIZE):
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = builtin
        code.version = 2
        model.operatorCodes.append(code)
    kinds = (schema.TensorType.FLOAT32, schema.TensorType.INT8)
    graph.tensors = [tensor(kinds[i % 2], f"t{i}") for i in range(2 * pairs + 1)]
    graph.inputs, graph.outputs, graph.operators = [0], [2 * pairs], []
    for i in range(2 * pairs):
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = i % 2, [i], [i + 1]
        graph.operators.append(operator)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@pytest.mark.slow
@pytest.mark.skipif(bool(instructions.unavailable()), reason=instructions.unavailable() or "valgrind is installed")
def test_two_real_processes_count_alike_and_an_operator_more_is_red(tmp_path: Path) -> None:
    wanted = []
    for name, content in (("one", tflite(1)), ("two", tflite(2)), ("broken", b"no artifact")):
        path = tmp_path / f"{name}.tflite"
        path.write_bytes(content)
        wanted.append(Wanted(path, name, a_model()))
    *first, broken = instructions.measure(wanted)
    assert broken.failure.startswith("its inputs could not be prepared")
    again = instructions.measure([wanted[1], wanted[0]])[::-1]  # in another order, in another process
    assert [count.failure for count in (*first, *again)] == [""] * 4
    assert [count.operators for count in first] == [count.operators for count in again]
    assert [len(count.operators) for count in first] == [3, 4], "XNNPACK fuses the two casts in the middle"
    entry = update_of(first[0])
    (green,) = judged(again[0], entry)
    assert (green.verdict, green.change) == (Verdict.PASS, 0)
    (red,) = judged(first[1], entry)
    assert red.verdict is Verdict.REGRESSED
    assert "is new" in red.message


def update_of(count: Count) -> BaselineCell:
    from conftest import accepted
    from quantbench.baselines import update_cell

    return update_cell.taken(a_cell(count), BaselineCell(), accepted(1.0).accepted, Report.model_construct(), 0)[0]


def judged(count: Count, baseline: BaselineCell) -> list[Any]:
    measured = measurements.instructions(count)["instructions"]
    return gate.instructions(SUBJECT, measured, count.counted(), "", baseline)


def test_the_command_names_each_operator_and_the_call() -> None:
    words = instructions.command(Path("/folder"))
    assert words[:2] == ["valgrind", "--tool=callgrind"]
    assert f"--toggle-collect={instructions.CALL}" in words
    assert f"{callgrind.BEFORE}{instructions.BUILTIN}" in words
    assert {f"{when}{instructions.XNNPACK}" for when in (callgrind.BEFORE, callgrind.AFTER)} <= set(words)
