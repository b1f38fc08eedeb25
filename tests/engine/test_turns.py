"""Cells in turns with their accepted artifacts, with made-up times in place of timing processes."""

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import accepted
from made_up_cells import FLOAT, FULL, HALF, Run, baseline, outcome, run, timed
from made_up_runs import answers
from quantbench import gate
from quantbench.build import packages
from quantbench.build.artifact import ARTIFACT
from quantbench.build.store import Store
from quantbench.core.options import RunOptions
from quantbench.engine import accepted as known
from quantbench.engine.exclusive import Alone
from quantbench.engine.progress import Lines
from quantbench.engine.timing import Timing
from quantbench.engine.turns import Turns, cost_of
from quantbench.errors import BadInput
from quantbench.measure import latency, memory, turns, work
from quantbench.records import BaselineCell, Judgement, Kind, Stalls, Verdict

HERE = "2.3.0 aaaaaaaaaaaa"
OLD = "2.2.0 bbbbbbbbbbbb"


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Machine:
    """In place of fresh processes: ratios to float32, and to the accepted artifact by the file that is timed.

    Attributes:
        asked: the files and packages that were timed in turns.
        times, longer: how many processes each, and how long they time, in units of the first stage.
    """

    def __init__(self, in_turns: Mapping[str, float] | None = None, ratio: float = 0.5) -> None:
        self.in_turns, self.ratio = dict(in_turns or {}), ratio
        self.asked: list[tuple[str, str, Path | None]] = []
        self.times: list[int] = []
        self.longer: list[int] = []

    def __call__(self, function: Callable[..., Any], *given: Any) -> Any:
        if function is memory.start_up:
            raise memory.MemoryFailed("no process was started")
        if function is latency.measure:
            return timed(self.ratio)
        assert function is turns.measure
        artifact, accepted_one, _, _, _, folder, times, longer = given
        self.asked.append((artifact.name, accepted_one.read_text(), folder))
        self.times.append(times)
        self.longer.append(longer)
        if artifact.name not in self.in_turns:
            raise latency.LatencyFailed("it crashed")
        return timed(self.in_turns[artifact.name])


class Made:
    """A run of float32 and two variants, each with an artifact of its own.

    Args:
        accepted_of: variant -> content of the accepted artifact.
        runtime: that was accepted.
        stored: variants with a latency baseline of this machine, of half of float32's time.
    """

    def __init__(
        self,
        folder: Path,
        accepted_of: Mapping[str, bytes],
        runtime: str = HERE,
        stored: tuple[str, ...] = (),
        **options: Any,
    ) -> None:
        self.store, self.said, self.folder = Store(folder / "store"), list[str](), folder
        sources = {"runtime": HERE, "harness": "h"}
        outcomes = {}
        for cell in (FLOAT, HALF, FULL):
            file = folder / f"{cell.partition('/')[2]}.tflite"
            file.write_bytes(f"new {cell}".encode())
            outcomes[cell] = [outcome(artifact=file, artifact_sha256=sha(file.read_bytes()), sources=sources)]
        cells = {}
        for name in ("ptq_float16", "ptq_static_wi8_ai8"):
            content = accepted_of.get(name, f"new m/{name}".encode())
            values = [0.5 * (1 + i / 1e4) for i in range(6)]
            ratio = accepted(0.5, 0.01, "ratio to float32", values=values, noise=0.001, n=6)
            cells[name] = BaselineCell(
                measurements={"size": accepted(10.0)},
                latency={"A_2-core": ratio} if name in stored else {},
                artifact_sha256=sha(content),
                sources={"runtime": runtime, "harness": "h"},
            )
        asked = RunOptions(report_dir=folder / "reports", **options)
        standing = baseline({"float32": answers(100)}, **cells)
        self.run: Run = run(outcomes, standing, [Kind.LATENCY], options=asked)
        self.run.rules.environment.host = ""
        self._turns: Turns | None = None

    def keep(self, content: bytes) -> None:
        """Put an artifact into the store, as an earlier run did."""
        self.store.put(sha(content), {ARTIFACT: content}, {"what": "artifact"})

    def judged(self, machine: Machine, cell: str = HALF) -> list[Judgement]:
        made = self.run
        made.budget.close()
        timing = Timing(made.plan.options, lambda _: None, machine)
        progress = Lines(self.said.append)
        if self._turns is None:
            self._turns = Turns(made.plan, made.results, made.rules, timing, self.store, progress)
        alone = Alone(
            made.plan,
            made.results,
            made.rules,
            made.budget,
            timing,
            self.store,
            made.judgements,
            progress,
            self.folder / "timing.log",
            self._turns,
        )
        return alone.judge(Kind.LATENCY, made.results.of(cell))


@pytest.fixture(autouse=True)
def no_cache_of_our_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANTBENCH_CACHE", str(tmp_path / "user"))


# ---------------------------------------------------------------- without a baseline of this machine


def test_what_is_as_accepted_passes_and_is_not_timed(tmp_path: Path) -> None:
    made, machine = Made(tmp_path, {}), Machine()
    [found] = made.judged(machine)
    assert (found.verdict, machine.asked) == (Verdict.PASS, [])
    assert "same artifact, same runtime as accepted" in found.message


@pytest.mark.parametrize(
    ("ratio", "verdict"), [(1.0, Verdict.PASS), (1.05, Verdict.REGRESSED), (0.9, Verdict.IMPROVED)]
)
def test_another_artifact_is_timed_in_turns_with_the_accepted_one(
    tmp_path: Path, ratio: float, verdict: Verdict
) -> None:
    made, machine = Made(tmp_path, {"ptq_float16": b"old"}), Machine({"ptq_float16.tflite": ratio})
    made.keep(b"old")
    found = made.judged(machine)[0]
    assert found.verdict is verdict
    assert machine.asked == [("ptq_float16.tflite", "old", None)] * (2 if ratio > 1 else 1)
    assert "in turns with the accepted artifact, 1 of 1: m/ptq_float16" in made.said
    assert made.run.results.of(HALF).measurements["latency_ratio"].value == pytest.approx(0.5, rel=1e-3)


def test_an_accepted_artifact_that_is_not_at_hand_leaves_the_cell_ungated(tmp_path: Path) -> None:
    made, machine = Made(tmp_path, {"ptq_float16": b"old"}), Machine()
    found = made.judged(machine)[0]
    assert found.verdict is Verdict.UNJUDGED
    assert "the accepted artifact is neither in the cache nor in the folder of the accepted run" in found.message


def test_the_folder_of_the_accepted_run_is_looked_into_and_what_it_held_is_kept(tmp_path: Path) -> None:
    made, machine = Made(tmp_path, {"ptq_float16": b"old"}), Machine({"ptq_float16.tflite": 1.0})
    kept = tmp_path / "reports" / "r" / "artifacts" / "ptq_float16.tflite"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"another")
    wanted = known.Wanted(HALF, sha(b"old"), "r")
    assert known.find([wanted], [made.store], tmp_path / "reports") == {}
    kept.write_bytes(b"old")
    assert made.judged(machine)[0].verdict is Verdict.PASS
    kept.unlink()
    assert known.find([wanted], [made.store], tmp_path / "reports")[sha(b"old")].read_bytes() == b"old"


def test_a_timing_process_that_crashes_leaves_the_cell_ungated(tmp_path: Path) -> None:
    made = Made(tmp_path, {"ptq_float16": b"old"})
    made.keep(b"old")
    found = made.judged(Machine())[0]
    assert (found.verdict, found.turns and found.turns.lacking) == (Verdict.UNJUDGED, "failed")
    assert "failed: it crashed" in found.message


def test_without_turns_everything_is_as_it_was(tmp_path: Path) -> None:
    made, machine = Made(tmp_path, {"ptq_float16": b"old"}, no_turns=True), Machine()
    made.keep(b"old")
    [found] = made.judged(machine)
    assert (found.verdict, found.turns, machine.asked) == (Verdict.UNJUDGED, None, [])
    assert made.run.budget.even().latency is None


def test_cells_with_an_accepted_artifact_share_the_budget_of_latency(tmp_path: Path) -> None:
    made = Made(tmp_path, {"ptq_float16": b"old"}, stored=("ptq_static_wi8_ai8",))
    alarms = made.run.budget.even().latency
    assert alarms is not None
    assert alarms.judgements == 2  # one has a baseline, the other an accepted artifact, and float32 neither


def test_what_looks_worst_from_its_file_is_timed_first_while_there_is_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = {"ptq_float16": b"old half", "ptq_static_wi8_ai8": b"old full"}
    made = Made(tmp_path, old, turns_budget=0.001)
    machine = Machine({"ptq_float16.tflite": 1.0, "ptq_static_wi8_ai8.tflite": 1.0})
    for content in old.values():
        made.keep(content)
    monkeypatch.setattr(work, "operations", lambda path: 200 if path.name.startswith("ptq_static") else 100)
    first = made.judged(machine, HALF)[0]
    assert [name for name, _, _ in machine.asked] == ["ptq_static_wi8_ai8.tflite"]
    assert (first.verdict, first.turns and first.turns.lacking) == (Verdict.UNJUDGED, "time")
    assert made.judged(machine, FULL)[0].verdict is Verdict.PASS


def test_two_artifacts_that_differ_in_their_stamp_alone_are_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, machine = Made(tmp_path, {"ptq_float16": b"old"}), Machine()
    made.keep(b"old")
    monkeypatch.setattr("quantbench.tflite.edit.without_stamp", lambda _: b"alike")
    [found] = made.judged(machine)
    assert (found.verdict, found.turns and found.turns.artifact, machine.asked) == (Verdict.PASS, "stamp", [])


class Ratios(Machine):
    """In place of fresh processes: in turns, these ratios one after the other."""

    def __init__(self, *ratios: float, ratio: float = 0.5) -> None:
        super().__init__(ratio=ratio)
        self.ratios = list(ratios)

    def __call__(self, function: Callable[..., Any], *given: Any) -> Any:
        if function is turns.measure:
            self.in_turns = {given[0].name: self.ratios.pop(0)}
        return super().__call__(function, *given)


def test_what_stays_unclear_in_turns_is_timed_twice_as_long_and_no_more(tmp_path: Path) -> None:
    made, machine = Made(tmp_path, {"ptq_float16": b"old"}), Ratios(1.03, 1.004, 1.006, 9.0)
    made.keep(b"old")
    found = made.judged(machine)[0]
    assert (machine.times, machine.ratios, found.measured) == ([1, 1, 2], [9.0], 3)
    assert "m/ptq_float16: seems slower than its accepted artifact; measuring again to confirm" in made.said
    words = "still not clear whether it is slower than its accepted artifact; measuring twice as long"
    assert f"m/ptq_float16: {words}" in made.said


def test_where_stalls_are_suspected_in_turns_later_processes_time_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, machine = Made(tmp_path, {"ptq_float16": b"old"}, turns_budget=1e9), Ratios(1.0, 1.0, 1.0)
    made.keep(b"old")
    counts = [{"stalls": count, "lost": 0.03 * count, "usual": 1.0, "calls": 5000} for count in (8, 0)]
    stalls = Stalls.model_validate({"longer": 1e-3, "artifact": counts[0], "beside": counts[1]})
    monkeypatch.setattr(latency.Latency, "stalls", lambda timed, *_: [[stalls]] * len(timed.processes))
    found = made.judged(machine)
    assert [one.measurement for one in found if one.verdict is Verdict.REGRESSED] == ["stalls"]
    assert machine.longer == [1, gate.LONGER_PROCESSES][: len(machine.longer)]
    assert len(machine.longer) > 1


def test_a_process_that_times_four_times_as_long_takes_twice_as_long() -> None:
    assert (cost_of(1), cost_of(4)) == (1, 2)


def test_what_the_time_leaves_undecided_is_a_warning_without_a_baseline(tmp_path: Path) -> None:
    made, machine = Made(tmp_path, {"ptq_float16": b"old"}, turns_budget=0.001), Ratios(1.05, 9.0)
    made.keep(b"old")
    found = made.judged(machine)[0]
    assert (found.verdict, machine.ratios, found.measured) == (Verdict.WARN, [9.0], 1)
    assert "not decided: the run's time for timing in turns is used up (--turns-budget)" in found.message


# ---------------------------------------------------------------- another runtime


def installed(monkeypatch: pytest.MonkeyPatch, contents: str) -> list[str]:
    """Pretend that wheels are installed, with these contents; return which were asked for."""
    asked: list[str] = []
    monkeypatch.setattr(packages, "alone", lambda name, version: asked.append(f"{name} {version}") or Path("/wheel"))
    monkeypatch.setattr(packages, "contents_in", lambda folder, name: contents)
    return asked


def test_where_the_runtime_changed_the_accepted_one_runs_the_accepted_artifact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = installed(monkeypatch, OLD)
    made = Made(tmp_path, {"ptq_float16": b"old"}, OLD)
    machine = Machine({"ptq_float16.tflite": 1.05, "ptq_static_wi8_ai8.tflite": 1.0})
    made.keep(b"old")
    found = made.judged(machine)[0]
    assert found.verdict is Verdict.REGRESSED
    assert "in turns with the accepted artifact on LiteRT 2.2.0 on this machine: +5.0 %" in found.message
    wheel = Path("/wheel")
    assert ("ptq_float16.tflite", "old", wheel) in machine.asked
    # The artifact is the accepted one, and the runtime is not.
    assert ("ptq_static_wi8_ai8.tflite", "new m/ptq_static_wi8_ai8", wheel) in machine.asked
    assert asked == ["ai-edge-litert 2.2.0"]  # once a run


def test_a_runtime_that_cannot_be_installed_leaves_the_cell_ungated_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(name: str, version: str) -> Path:
        raise BadInput(f"{name}=={version} cannot be installed; uv says:\nerror: failed\n  the network was disabled\n")

    monkeypatch.setattr(packages, "alone", offline)
    made, machine = Made(tmp_path, {}, OLD), Machine()
    found = made.judged(machine)[0]
    assert (found.verdict, machine.asked) == (Verdict.UNJUDGED, [])
    assert "the accepted one (LiteRT 2.2.0) cannot be used here: the network was disabled" in found.message
    assert "\n" not in found.message


def test_the_wheel_of_the_accepted_version_for_another_python_is_the_accepted_runtime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(monkeypatch, HERE)
    made, machine = Made(tmp_path, {}, "2.3.0 cccccccccccc"), Machine()
    assert (made.judged(machine)[0].verdict, machine.asked) == (Verdict.PASS, [])


def test_a_runtime_edited_in_place_is_timed_against_the_released_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(monkeypatch, "2.3.0 cccccccccccc")
    made = Made(tmp_path, {}, "2.3.0 cccccccccccc")
    machine = Machine({"ptq_float16.tflite": 1.2, "ptq_static_wi8_ai8.tflite": 1.2})
    assert made.judged(machine)[0].verdict is Verdict.REGRESSED


@pytest.mark.parametrize(
    ("recorded", "judged"), [("", ""), ("2.3.0", HERE), ("2.2.0", "2.2.0"), (OLD, OLD), (HERE, HERE)]
)
def test_older_baselines_tell_the_version_of_the_runtime_or_nothing(recorded: str, judged: str) -> None:
    told = {"runtime": recorded} if " " in recorded else {}
    score = accepted(0.9)
    if recorded and not told:
        stamp = score.accepted.model_copy(update={"results_class": f"isa_litert-{recorded}"})
        score = score.model_copy(update={"accepted": stamp})
    cell = BaselineCell(measurements={"score": score}, artifact_sha256="a", sources=told)
    found = known.differences(cell, False, "a", {}, HERE)
    assert (found.accepted_runtime, found.same) == (judged, judged == HERE)
    assert known.differences(cell, True, "a", {}, HERE).same


# ---------------------------------------------------------------- red by a baseline


@pytest.mark.parametrize(("ratio", "verdict"), [(1.0, Verdict.WARN), (1.8, Verdict.REGRESSED)])
def test_red_by_a_baseline_is_confirmed_in_turns(tmp_path: Path, ratio: float, verdict: Verdict) -> None:
    made = Made(tmp_path, {"ptq_float16": b"old"}, stored=("ptq_float16",))
    made.keep(b"old")
    machine = Machine({"ptq_float16.tflite": ratio}, ratio=0.9)
    found = made.judged(machine)[0]
    assert found.verdict is verdict
    assert machine.asked == [("ptq_float16.tflite", "old", None)] * (2 if ratio > 1 else 1)  # red takes two
    assert found.change == pytest.approx(0.8, abs=0.01)
    assert found.turns is not None
    assert found.turns.change == pytest.approx(ratio - 1, abs=0.01)
    assert (found.turns.measured, found.turns.slower) == (len(machine.asked), ratio > 1)
    assert found.low is not None
    assert ("the machine got slower, not the artifact" in found.message) is (verdict is Verdict.WARN)


def test_the_accepted_artifact_that_is_red_by_a_baseline_is_the_machine(tmp_path: Path) -> None:
    made, machine = Made(tmp_path, {}, stored=("ptq_float16",)), Machine(ratio=0.9)
    found = made.judged(machine)[0]
    assert (found.verdict, machine.asked) == (Verdict.WARN, [])
    assert "artifact and runtime are the accepted ones, so the machine got slower" in found.message


def test_a_latency_of_an_earlier_artifact_is_asked_about_that_one(tmp_path: Path) -> None:
    """What was accepted since comes from a run that timed nothing, so that nobody accepted how long it takes."""
    made = Made(tmp_path, {}, stored=("ptq_float16",))
    cells = made.run.rules.baselines["m"].file
    assert cells is not None
    cells.cells["ptq_float16"].latency["A_2-core"].artifact = sha(b"old")
    made.keep(b"old")
    machine = Machine({"ptq_float16.tflite": 1.8}, ratio=0.9)
    assert made.judged(machine)[0].verdict is Verdict.REGRESSED
    assert machine.asked == [("ptq_float16.tflite", "old", None)] * 2


def test_red_stays_red_where_the_accepted_artifact_is_not_at_hand(tmp_path: Path) -> None:
    made, machine = Made(tmp_path, {"ptq_float16": b"old"}, stored=("ptq_float16",)), Machine(ratio=0.9)
    found = made.judged(machine)[0]
    assert found.verdict is Verdict.REGRESSED
    assert "not confirmed in turns: the accepted artifact is neither" in found.message


def test_red_stays_red_where_the_time_is_used_up(tmp_path: Path) -> None:
    old = {"ptq_float16": b"old half", "ptq_static_wi8_ai8": b"old full"}
    made = Made(tmp_path, old, stored=tuple(old), turns_budget=0.001)
    machine = Machine({"ptq_float16.tflite": 1.8, "ptq_static_wi8_ai8.tflite": 1.8}, ratio=0.9)
    for content in old.values():
        made.keep(content)
    early = made.judged(machine, HALF)[0]
    assert early.turns is not None
    assert (early.verdict, early.turns.lacking, early.turns.measured) == (Verdict.REGRESSED, "time", 1)
    assert "which does not decide it: the run's time for timing in turns is used up" in early.message
    late = made.judged(machine, FULL)[0]
    assert (late.verdict, late.turns and late.turns.lacking) == (Verdict.REGRESSED, "time")
    assert len(machine.asked) == 1


# ---------------------------------------------------------------- kept in the store


def test_accepted_artifacts_are_pinned_and_used_by_each_run(tmp_path: Path) -> None:
    store, folder = Store(tmp_path / "store"), tmp_path / "run"
    (folder / "artifacts").mkdir(parents=True)
    (folder / "artifacts" / "ptq_float16.tflite").write_bytes(b"of the run")
    store.put("ab" * 32, {ARTIFACT: b"of the store"}, {"what": "artifact"})
    wanted = [
        known.Wanted(HALF, sha(b"of the run")),
        known.Wanted(FULL, sha(b"of the store")),
        known.Wanted(FLOAT, sha(b"nowhere")),
    ]
    assert known.pin(wanted, store, folder) == 2
    assert known.pin(wanted, store, folder) == 0
    found = known.find(wanted, [store], tmp_path)
    assert {path.read_bytes() for path in found.values()} == {b"of the run", b"of the store"}
    entry = found[sha(b"of the run")].parent
    os.utime(entry, (0, 0))
    known.touch(wanted, store)
    assert entry.stat().st_mtime > 0
