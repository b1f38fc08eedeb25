"""Two sets of packages compared: environments, turns, which side did it, and the whole way."""

import dataclasses
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, Quantbench, ThreeCells
from made_up_runs import cell
from made_up_runs import side as side_of
from quantbench.ab import check, environments, mixed, result, runs
from quantbench.ab.environments import Resolved, requirements, resolve, side
from quantbench.ab.mixed import Artifact
from quantbench.ab.result import Combination
from quantbench.ab.runs import Runner
from quantbench.build.eviction import clear_environments
from quantbench.build.store import Store, default_root
from quantbench.comparison import Outcome, Timed, compare
from quantbench.comparison.load import read_sides, truths
from quantbench.core import child_process
from quantbench.core.child_process import HERE, Interpreter
from quantbench.core.options import RunOptions
from quantbench.engine import measurements
from quantbench.errors import BadInput
from quantbench.measure.interleaved import Contestant, InterleavedTimes, time_interleaved
from quantbench.measure.latency import LatencyFailed, save_inputs
from quantbench.records import Stalled, Stalls
from quantbench.reference.model import load_models
from quantbench.tflite.edit import without_stamp
from studies.stalls import simulated


@pytest.fixture(autouse=True)
def _one_store(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANTBENCH_CACHE", str(store))


# ---------------------------------------------------------------- requirements


def test_what_the_user_names_replaces_our_own_requirement() -> None:
    wanted, overrides = requirements(side("--new", ["tensorflow==2.20.*"]))
    assert "tensorflow==2.20.*" in wanted
    assert not any(line.startswith("tensorflow>") for line in wanted)
    assert "tf-keras" in wanted  # follows TensorFlow's version, so ours may not hold it
    assert any(line.startswith("numpy") for line in wanted)
    assert not any("altair" in line for line in wanted)
    assert overrides == []


def test_a_nightly_keeps_the_release_that_it_stands_for_out() -> None:
    wanted, overrides = requirements(side("--new", ["tf-nightly"], ["protobuf>=6"]))
    assert "tf-keras-nightly" in wanted
    assert not any(line.startswith(("tensorflow>", "tensorflow=", "tf-keras>", "tf-keras=")) for line in wanted)
    assert "tf-keras" not in wanted
    assert overrides == ["protobuf>=6", "tensorflow ; python_version < '3'", "tf-keras ; python_version < '3'"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "--new: give at least one requirement"),
        (["tensorflow=2.21"], "is no requirement"),
        (["nowhere/x-1.0-py3-none-any.whl"], "is not there; give the path of a wheel"),
        (["rm -rf /"], "is no requirement"),
    ],
)
def test_a_bad_requirement_is_one_sentence(given: list[str], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        side("--new", given)


def test_a_wheel_is_a_requirement_and_its_bytes_name_the_environment(tmp_path: Path) -> None:
    wheel = tmp_path / "numpy-9.9-py3-none-any.whl"
    wheel.write_bytes(b"one")
    one = side("--new", [str(wheel)])
    wanted, _ = requirements(one)
    assert f"numpy @ {wheel.as_uri()}" in wanted
    assert not any(line.startswith("numpy>") for line in wanted)
    keys = [Resolved(one, (f"numpy @ {wheel.as_uri()}",)).key]
    wheel.write_bytes(b"two")
    keys.append(Resolved(one, (f"numpy @ {wheel.as_uri()}",)).key)
    assert keys[0] != keys[1]
    assert Resolved(one, ("a==1", "b==2")).key == Resolved(one, ("b==2", "a==1")).key


def test_without_a_network_the_resolver_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_OFFLINE", "1")
    with pytest.raises(
        BadInput,
        match=r"--old tensorflow==2\.20\.\*: no such set of packages .* uv says: .*[nN]etwork",
    ):
        resolve(side("--old", ["tensorflow==2.20.*"]))


def test_without_uv_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uv", None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BadInput, match=r"pip install 'quantbench\[ab\]'"):
        resolve(side("--old", ["tensorflow==2.20.*"]))


@pytest.mark.parametrize("argument", ["--train", "--no-cache", "--update-baselines=x"])
def test_options_that_make_other_cells_are_refused(argument: str) -> None:
    with pytest.raises(BadInput, match="ab compares stored cells"):
        runs.check_arguments([argument])


@pytest.mark.slow
def test_an_environment_holds_exactly_what_was_resolved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("QUANTBENCH_CACHE", str(tmp_path))
    one = side("--old", ["tabulate==0.9.0"])
    with monkeypatch.context() as small:
        small.setattr(environments, "_own", list)
        found = resolve(one)
    assert found.pins == ("tabulate==0.9.0",)
    python = environments.install(found)
    assert environments.install(found) == python
    told = child_process.start("tabulate", {}, 20, {}, Interpreter(python, tmp_path))
    assert "'tabulate' is a package" in told.stderr  # which it could not say of one that is not there
    [kept] = (tmp_path / "environments").glob("*/requirements.txt")
    assert kept.read_text() == "tabulate==0.9.0\n"


@pytest.mark.slow
def test_a_version_that_is_not_there_is_told_in_the_resolvers_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "_own", list)
    with pytest.raises(BadInput, match=r"uv says: .*tabulate"):
        resolve(side("--old", ["tabulate==0.0.0.1"]))


def test_what_is_used_is_held_and_kept_within_bounds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("QUANTBENCH_CACHE", str(tmp_path / "own"))
    both = (side("--old", ["tabulate==1"]), side("--new", ["tabulate==2"]))

    def pretend(arguments: list[str], *_: str) -> str:
        if arguments[0] == "venv":
            Path(arguments[-1]).mkdir()
        return ""

    def found(asked: result.Asked, say: check.Say) -> Any:
        for one, pin in ((asked.old, "tabulate==1"), (asked.new, "tabulate==2")):
            environments.install(Resolved(one, (pin,)))
        assert len(clear_environments(Store(default_root()), 0).spared) == 2
        assert Path(tempfile.mkdtemp()).is_relative_to(tmp_path / "own" / ".held")

    monkeypatch.setattr(environments.packages, "uv", pretend)
    monkeypatch.setattr(check, "_checked", found)
    told: list[str] = []
    asked = result.Asked(*both, (), ROOT / "models", tmp_path, 0.3)
    check.check(asked, told.append)
    assert (told, len(list((tmp_path / "own" / "environments").glob("*/requirements.txt")))) == ([], 2)
    check.check(dataclasses.replace(asked, cache_size=1e-9), told.append)
    assert "2 installed environments (" in told[0]
    assert list((tmp_path / "own" / ".held").iterdir()) == []


# ---------------------------------------------------------------- turns


def _artifact(variant: str) -> Path:
    from quantbench.build import artifact as build
    from quantbench.variants import VARIANTS

    model = load_models(RunOptions().model_dir)["seed_cnn"]
    built = build.artifact(model, VARIANTS[variant], 0, None, Store(default_root()))
    assert built.path is not None
    return built.path


def test_stalls_are_compared_by_what_took_turns() -> None:
    random = np.random.default_rng(0)

    def turns(new: str, old: str) -> InterleavedTimes:
        made = [simulated(random, 50, 1000, 0.0) for _ in range(12)]  # of which the variant stalls
        return InterleavedTimes([{"new": one[new], "old": one[old]} for one in made])

    found = [check._stalls(turns(*names)) for names in (("variant", "control"), ("control", "variant"))]
    sides = side_of([cell()]), side_of([cell()])
    outcomes = [
        next(item for item in compared.items if item.measurement == "stalls")
        for stalls in found
        for compared in [compare(*sides, lambda _: "", timed={"m/v": Timed([1e-4] * 12, [1e-4] * 12, stalls)})]
    ]
    assert [item.outcome for item in outcomes] == [Outcome.WORSE, Outcome.BETTER]
    assert re.fullmatch(
        r"\d\d stalls of 1 ms and longer, 0 of the old one, in 12 interleaved pairs of fresh processes \(exact "
        r"binomial test\)",
        outcomes[0].why,
    )
    assert (outcomes[0].old, outcomes[1].new) == (0.0, 0.0)


def test_many_short_stalls_beside_a_few_long_ones_are_neither_worse_nor_better() -> None:
    """The new side stalls more often, beyond chance, and the old one loses more time."""
    short = Stalled(stalls=60, lost=0.09, usual=1.0, calls=10_000)
    long = Stalled(stalls=2, lost=4.0, usual=1.0, calls=10_000)
    both = Stalls(longer=1e-3, artifact=short, beside=long)
    sides = side_of([cell()]), side_of([cell()])
    for one in (both, both.swapped):
        measured = measurements.stalls([[one]] * 6)["stalls"]
        compared = compare(*sides, lambda _: "", timed={"m/v": Timed([1e-4] * 6, [1e-4] * 6, measured)})
        [item] = [item for item in compared.items if item.measurement == "stalls"]
        assert item.outcome is Outcome.UNCHANGED


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    return save_inputs(load_models(RunOptions().model_dir)["seed_cnn"], tmp_path)


@pytest.mark.slow
def test_two_artifacts_take_turns(inputs: Path) -> None:
    slow, quick = (Contestant(HERE, _artifact(name)) for name in ("float32", "ptq_static_wi8_ai16"))
    found = time_interleaved({"old": slow, "new": quick, "again": slow}, inputs, 0.3)
    assert all(len(seconds) == 6 for seconds in found.seconds.values())
    assert min(found.ratios("new", "old")) > 1.2  # int16 activations run on slow kernels
    assert 0 < found.undisturbed <= 1


@pytest.mark.slow
def test_a_runtime_that_dies_or_hangs_costs_its_cell_alone(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = Contestant(HERE, _artifact("float32"))
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\necho it broke >&2\nkill -SEGV $$\n")
    script.chmod(0o755)
    with pytest.raises(LatencyFailed, match="a timing process died of SIGSEGV: it broke"):
        time_interleaved({"old": good, "new": Contestant(Interpreter(script, HERE.home), good.artifact)}, inputs, 0.3)
    script.write_text("#!/bin/sh\nexec sleep 100\n")
    monkeypatch.setattr("quantbench.measure.interleaved.START_LIMIT_SECONDS", 0.5)
    with pytest.raises(LatencyFailed, match="died of SIGKILL"):
        time_interleaved({"old": good, "new": Contestant(Interpreter(script, HERE.home), good.artifact)}, inputs, 0.01)


# ---------------------------------------------------------------- which side did it


def _one(score: float | None, changed: int | None, ratio: float = 0.0) -> Combination:
    return Combination(score, changed, "" if changed is not None else "died", [ratio] * 6 if ratio else [])


@pytest.mark.parametrize(
    ("new_converter", "new_runtime", "words"),
    [
        (_one(0.8, 12), _one(0.9, 0), "answers: the converter"),
        (_one(0.9, 0), _one(0.8, 3), "answers: the runtime"),
        (_one(0.8, 12), _one(0.8, 3), "answers: the converter and the runtime"),
        (_one(0.9, 0), _one(0.9, 0), "answers: neither alone"),
        (_one(None, None), _one(0.9, 0), "answers: not known (died)"),
        (_one(0.9, 0, 1.0), _one(0.9, 0, 1.2), "answers: neither alone; time: the runtime"),
        (_one(0.9, 0, 0.7), _one(0.9, 0, 1.0), "answers: neither alone; time: the converter"),
    ],
)
def test_the_mixed_combinations_say_which_side_did_it(
    new_converter: Combination, new_runtime: Combination, words: str
) -> None:
    assert check._words(new_converter, new_runtime) == words


@pytest.mark.slow
def test_the_converters_stamp_is_no_difference() -> None:
    from quantbench.tflite.edit import edited

    artifact = _artifact("ptq_static_wi8_ai8").read_bytes()

    def stamp(model: Any) -> None:
        model.description = "another converter"
        model.buffers[model.metadata[0].buffer].data = np.frombuffer(b"9.99.0", np.uint8)

    def shift(model: Any) -> None:
        buffer = next(one for one in model.buffers if one.data is not None and len(one.data) > 1000)
        buffer.data = buffer.data.copy()
        buffer.data[0] ^= 1

    assert edited(artifact, stamp) != artifact
    assert without_stamp(edited(artifact, stamp)) == without_stamp(artifact)
    assert without_stamp(edited(artifact, shift)) != without_stamp(artifact)
    old, new = Artifact(Path("a"), "1", "same"), Artifact(Path("b"), "2", "same")
    other = Artifact(Path("c"), "3", "other")
    sides = {"x": old, "y": old, "w": old}, {"x": new, "y": other, "w": old}
    assert mixed.compared(*sides, ["w", "x", "y", "z"]) == result.Files(("w",), ("x",), ("y",))


# ---------------------------------------------------------------- the whole way


def _environments_that_are_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Installing TensorFlow twice is what the reports in reports/reference show; here both sides are this Python."""
    monkeypatch.setattr(environments, "resolve", lambda one: Resolved(one, ("ai-edge-litert==1",)))
    monkeypatch.setattr(environments, "install", lambda found: Path(sys.executable))


@pytest.mark.nightly
@pytest.mark.slow
def test_one_version_against_itself_shows_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _environments_that_are_this_one(monkeypatch)
    told: list[str] = []
    both = (side("--old", ["tensorflow"]), side("--new", ["tensorflow"]))
    chosen = ("--models", "seed_cnn", "--variants", "ptq_float16,ptq_static_wi8_ai8")
    found = check.check(result.Asked(*both, chosen, ROOT / "models", tmp_path, 0.3), told.append)
    assert found.comparison.exit_status() == 0
    text = (found.folder / "report.md").read_text()
    assert text.startswith("# tensorflow → tensorflow: Nothing differs: 3 cells are bit-identical")
    assert re.search(r"Not timed: 3 cells \(runtime and artifact are the same on both sides", text)
    assert "Both environments have the same packages." in text
    assert (found.folder / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert any(line.startswith("new: [3/3]") for line in told)


@pytest.mark.slow
def test_what_one_side_does_worse_is_found(three_cells: ThreeCells, tmp_path: Path) -> None:
    """The new side's converter refuses float16; the old one is this checkout."""
    home = runs.copy_sources(tmp_path / "new")
    broken = home / "quantbench" / "variants" / "ptq.py"
    text = broken.read_text()
    assert "def _float16" in text
    broken.write_text(
        text.replace("def _float16(", "def _float16(bench):\n    raise RuntimeError('no such type')\n\n\ndef _unused(")
    )
    new = Runner("new", Interpreter(Path(sys.executable), home), tmp_path / "run-new")
    chosen = ["--models", "seed_cnn", "--variants", "ptq_float16"]
    made = three_cells.run, runs.run(new, ROOT / "models", chosen, print)
    both = read_sides(*made)
    known = truths(ROOT / "models", both[1].report)
    found = compare(*both, known, timed={"seed_cnn/float32": Timed([1e-4] * 6, [1.031e-4] * 6)})
    worse = {(item.cell, item.measurement): item.why for item in found.items if item.outcome is Outcome.WORSE}
    assert "no such type" in worse["seed_cnn/ptq_float16", "cell"]
    assert ("seed_cnn/float32", "latency") in worse
    assert found.exit_status() == 1
    same = compare(*both, known, timed={"seed_cnn/float32": Timed([1e-4] * 6, [1.002e-4] * 6)})
    assert ("seed_cnn/float32", "latency") not in {(i.cell, i.measurement) for i in same.told()}
    shutil.rmtree(home / "quantbench" / "suites")
    with pytest.raises(BadInput, match=r"the new side (ended with status|wrote no report)"):
        runs.run(new, ROOT / "models", chosen, print)


def test_the_command_tells_what_is_wrong_before_it_installs_anything(quantbench: Quantbench) -> None:
    done = quantbench("ab", "--old", "tensorflow==2.20.*", "--new", "what?")
    assert done.status == 4
    assert "--new: 'what?' is no requirement" in done.output
    done = quantbench("ab", "--old", "tensorflow==2.20.*", "--new", "tensorflow==2.21.*", "--train")
    assert done.status == 4
    assert "--train: ab compares stored cells" in done.output
