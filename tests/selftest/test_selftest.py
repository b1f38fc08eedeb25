"""The selftest: it catches what is planted, says what it missed, and can itself go red."""

import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from quantbench import gate
from quantbench.build.store import Store
from quantbench.cli.app import main
from quantbench.core.stats import upper_bound
from quantbench.engine import measurements
from quantbench.measure.instructions import Count
from quantbench.measure.latency import Blocks, Latency
from quantbench.records import (
    InjectedFault,
    Kind,
    LatencyFault,
    LatencyNull,
    LatencySelftest,
    NullRate,
    Selftest,
    Sight,
    Verdict,
    write_json,
)
from quantbench.reference.model import load_models
from quantbench.report.selftest import render
from quantbench.selftest import artifact, as_good_as_promised, instructions, latency, pipeline, suite, training, turns
from quantbench.selftest.artifact import Seen, Trial
from quantbench.selftest.faults import SUBJECT_VARIANT, Fault
from quantbench.selftest.flatbuffer import Inapplicable
from quantbench.selftest.operators import DYNAMIC, INT_IO
from quantbench.selftest.runs import Place
from quantbench.variants import of_every_model

MODEL = load_models(ROOT / "models")["seed_cnn"]


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trial]:
    store = Store(tmp_path_factory.mktemp("selftest"))
    first = Trial(MODEL, store)
    return {SUBJECT_VARIANT: first} | {host: Trial(MODEL, store, host, first) for host in (DYNAMIC, INT_IO)}


@pytest.fixture(scope="module")
def rebuilding(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    """A model that has no classes."""
    return Trial(load_models(ROOT / "models")["autoencoder"], Store(tmp_path_factory.mktemp("rebuilding")))


@pytest.fixture(scope="module")
def place(trials: dict[str, Trial], tmp_path_factory: pytest.TempPathFactory) -> Place:
    del trials  # made first, as this process exports the float model once, and a place removes what it exported
    return pipeline.prepare(MODEL, tmp_path_factory.mktemp("pipeline"))


def named(faults: list[Any], name: str) -> Any:
    return next(fault for fault in faults if fault.name == name)


@pytest.mark.parametrize(
    ("name", "strength", "seen_by"),
    [
        ("a channel's sign turned", "", Kind.ACCURACY),
        ("range stretched to", 32.0, Kind.ACCURACY),
        ("range stretched to", 8.0, Kind.STRUCTURE),
        ("smallest weights dropped, share", 0.1, Kind.STRUCTURE),
        ("float32 under its name", "float32", Kind.STRUCTURE),
        ("a file grown by", 0.01, Kind.SIZE),
        ("one more operator", "QUANTIZE", Kind.STRUCTURE),
        ("softmax left out", "", Kind.STRUCTURE),
        ("ReLU left out, layer", 0, Kind.ACCURACY),
        ("classes in another order", 2, Kind.ACCURACY),
        ("scale of the input times", 1.02, Kind.STRUCTURE),
        ("bias not a number, classes", 1, Kind.ACCURACY),
        ("weights from -128", "", Kind.STRUCTURE),
        ("channels of weights random", 1, Kind.ACCURACY),
        ("softmax's beta times", 0.8, Kind.STRUCTURE),
        ("a class pushed down, recall lost", 5, Kind.ACCURACY),
        ("a class that is never the answer", 6, Kind.ACCURACY),
        ("signature removed", "", Kind.STRUCTURE),
        ("signature renamed, its", "outputs", Kind.STRUCTURE),
        ("tensors renamed, the", "inputs", Kind.STRUCTURE),
        ("fused activation replaced by", "RELU6", Kind.STRUCTURE),
    ],
)
def test_what_is_planted_is_seen_by_the_check_that_has_to(
    trials: dict[str, Trial], name: str, strength: float | str, seen_by: Kind
) -> None:
    fault = named(artifact.FAULTS, name)
    trial = trials[fault.host]
    broken = fault.make(trial.subject, strength, np.random.default_rng(0))
    found = artifact.judged(trial, fault, strength, 0, broken)
    assert found.harmful
    assert found.caught
    assert seen_by in found.caught_by


@pytest.mark.parametrize(
    ("name", "strength", "check"),
    [
        ("softmax omitted by the runtime", "", "output_distance"),
        ("softmax heated, temperature", 2.0, "output_distance"),
        ("softmax cooled, temperature", 0.5, "output_distance"),
        ("probabilities times", 0.5, "output_distance"),
        ("one-hot outputs", "", "output_distance"),
        ("a dead output column, class", 6, "classes"),
        ("outputs of two classes swapped", "", "classes"),
        ("noise on the outputs, sd", 0.1, "output_distance"),
        ("right answers lost in a class and regained in others, share", 0.1, "classes"),
        ("outputs of the next example, examples", 1000, "score"),
    ],
)
def test_what_a_runtime_gets_wrong_is_seen(
    trials: dict[str, Trial], name: str, strength: float | str, check: str
) -> None:
    found = in_the_runtime(trials[SUBJECT_VARIANT], name, strength)
    assert found.harmful
    assert check in found.checks


def in_the_runtime(trial: Trial, name: str, strength: float | str) -> InjectedFault:
    (found,) = artifact.repeated(trial, named(artifact.RUNTIME_FAULTS, name), strength, 1, lambda _: None)
    return found


def test_a_class_that_collapses_leaves_the_mean_as_it_is(trials: dict[str, Trial]) -> None:
    found = in_the_runtime(trials[SUBJECT_VARIANT], "right answers lost in a class and regained in others, share", 0.1)
    assert found.drop is not None
    assert found.drop < 0.1
    assert found.caught


@pytest.mark.nightly
def test_a_metric_that_is_no_count_is_judged_too(rebuilding: Trial) -> None:
    swapped = named(artifact.FAULTS, "two channels swapped")
    broken = swapped.make(rebuilding.subject, "", np.random.default_rng(0))
    assert artifact.judged(rebuilding, swapped, "", 0, broken).checks == ["output_distance", "score"]
    garbage = in_the_runtime(rebuilding, "garbage in the outputs of examples", 100)
    assert garbage.harmful
    assert garbage.caught


@pytest.mark.nightly
def test_a_fault_that_a_model_has_no_place_for_is_never_caught(rebuilding: Trial) -> None:
    with pytest.raises(Inapplicable, match="it has no SOFTMAX"):
        named(artifact.FAULTS, "softmax left out").make(rebuilding.subject, "", np.random.default_rng(0))
    with pytest.raises(Inapplicable, match="no probabilities"):
        in_the_runtime(rebuilding, "one-hot outputs", "")


def test_a_trial_is_red_at_an_even_share_of_a_nightly_run(trials: dict[str, Trial]) -> None:
    cells = len(load_models(ROOT / "models")) * len(of_every_model())
    assert gate.beside_limits(gate.DEFAULT_BUDGET) / (16 * cells) < trials[SUBJECT_VARIANT].share
    assert trials[SUBJECT_VARIANT].share < gate.DEFAULT_BUDGET / (9 * cells)  # ten classes a cell, where it has classes


def test_harm_is_fixed_whatever_the_judge_resolves() -> None:
    calm: dict[str, Any] = {"judgements": [], "drop": 0.0}
    assert not Seen(**calm).harmful
    for more in ({"drop": 0.3}, {"drop": float("nan")}, {"lost": 5.0}, {"moved": 0.05}, {"growth": 0.01}):
        assert Seen(**(calm | more)).harmful


@pytest.mark.parametrize(
    ("name", "strength", "seen_by", "check"),
    [
        ("1,000 test examples in train", pipeline.EVERYWHERE, "refusal", ""),
        *(("a field edited in the baseline", field, Kind.ACCURACY, "seal") for field in ("tolerance", "agreement")),
        *(
            pytest.param("a field edited in the baseline", field, Kind.ACCURACY, "seal", marks=pytest.mark.nightly)
            for field in ("noise", "arena", "first")
        ),
        ("evaluated on the calibration data", pipeline.KEPT, "refusal", ""),
        pytest.param("test labels off by a row", pipeline.EVERYWHERE, "refusal", "", marks=pytest.mark.nightly),
        ("the wrong file built", "float32", Kind.STRUCTURE, "promise"),
        ("a cell without a baseline", SUBJECT_VARIANT, Kind.ACCURACY, "score"),
        ("a cell never judged", SUBJECT_VARIANT, Kind.ACCURACY, "cell"),
        ("a cell that nothing makes any more", "ptq_gone", "refusal", ""),
        ("a baseline's file cut, share left", ".json 0.5", "refusal", ""),
        ("stored predictions of two cells swapped", pipeline.UPDATED, "refusal", ""),
        ("a score edited in the baseline, pp", -5, Kind.ACCURACY, "score"),
        ("a size edited in the baseline, share", 0.5, Kind.SIZE, "size"),
    ],
)
def test_what_is_planted_in_the_pipeline_is_seen(
    place: Place, tmp_path: Path, name: str, strength: float | str, seen_by: Sight, check: str
) -> None:
    found = pipeline.judged(place.copy(tmp_path / "copy"), named(pipeline.FAULTS, name), strength)
    assert found.caught_by
    assert seen_by in found.caught_by
    assert not check or check in found.checks


def test_a_stale_entry_of_the_store_is_made_again_and_named(place: Place, tmp_path: Path) -> None:
    copy = place.copy(tmp_path / "copy")
    found = pipeline.judged(copy, named(pipeline.FAULTS, "another cell's entry in the store"), "")
    assert found.caught_by == ["note"]
    assert found.verdict is Verdict.PASS  # what was made again is right
    assert len(copy.store.damaged()) == 1


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> training.Trained:
    return training.prepare(MODEL, ROOT / "baselines", tmp_path_factory.mktemp("training"))


@pytest.mark.slow
@pytest.mark.nightly  # the quick selftest, which CI runs, plants one in a training too
def test_a_training_without_a_step_is_red(subject: training.Trained) -> None:
    found = training.judged(subject, named(training.FAULTS, "QAT trained no step"), 0, 0)
    assert found.harmful
    assert "training_steps" in found.checks


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.parametrize(
    ("name", "strength", "check"),
    [
        ("QAT half a point worse by noise, grey levels", 21.0, "score"),
        ("one of five seeds bad by noise, grey levels", 45.0, "seeds"),
        ("QAT half a point worse by labels, share", 0.12, "training"),
        ("QAT stopped after a share of its steps", 0.25, "training_steps"),
        ("QAT on a share of the examples", 0.5, "training"),
        ("QAT and control trained longer, epochs", 1, "training"),
        ("QAT learning rate times", 10, "training"),
        ("QAT trained on the test data", "", "training"),
    ],
)
def test_a_training_that_goes_wrong_is_red(
    subject: training.Trained, name: str, strength: float | str, check: str
) -> None:
    assert check in training.judged(subject, named(training.FAULTS, name), strength, 0).checks


@pytest.mark.slow
@pytest.mark.nightly
def test_a_healthy_training_with_a_seed_of_its_own_is_green(subject: training.Trained) -> None:
    assert training.null_runs(subject, training.NULL_SEEDS[:1]) == [False]


def test_nulls_have_seeds_that_no_baseline_holds() -> None:
    assert min(training.NULL_SEEDS) > training.SEEDS
    assert len(training.NULL_SEEDS) >= 6


def test_all_trainings_with_a_fault_are_harmful_where_their_mean_lost_half_a_point() -> None:
    fault = named(training.FAULTS, "QAT half a point worse by noise, grey levels")
    for drops, harmful in (((0.4, 0.7), True), ((0.3, 0.6), False)):
        found = [one(True, training.QAT).model_copy(update={"drop": drop, "harmful": False}) for drop in drops]
        assert [each.harmful for each in training.with_mean_harm(found, fault)] == [harmful, harmful]


@pytest.mark.slow
@pytest.mark.nightly
def test_tests_that_are_taken_away_are_missed(place: Place, tmp_path: Path) -> None:
    fault = named(pipeline.FAULTS, "tests taken away")
    healthy = fault.make(place.copy(tmp_path / "healthy"), pipeline.NOTHING_TAKEN)
    assert (healthy.status, healthy.seen()) == (0, ([], []))
    for number, how in enumerate(fault.strengths):
        assert "cell" in pipeline.judged(place.copy(tmp_path / str(number)), fault, how).checks


def test_a_healthy_place_is_green(place: Place, tmp_path: Path) -> None:
    assert place.copy(tmp_path / "copy").run().seen() == ([], [])


@pytest.mark.nightly
def test_a_healthy_artifact_made_again_is_green(trials: dict[str, Trial]) -> None:
    recorded = artifact.record(trials[SUBJECT_VARIANT].model, 2)
    assert artifact.null_runs(trials[SUBJECT_VARIANT], recorded, 2) == [False, False]


def test_at_least_eighty_kinds_by_distinct_names() -> None:
    in_artifacts = [*artifact.FAULTS, *artifact.RUNTIME_FAULTS]
    names = [fault.name for fault in [*in_artifacts, *training.FAULTS, *pipeline.FAULTS]]
    assert len(names) == len(set(names)) >= 80
    known = {fault.name: fault.strengths for fault in in_artifacts}
    for name, strengths in [*artifact.ELSEWHERE.items(), *artifact.QUICK_ELSEWHERE.items()]:
        assert set(strengths) <= set(known[name])


@pytest.mark.parametrize(
    ("given", "told"),
    [("autoencoder,seed_cnn", "autoencoder is not scored as right or wrong"), ("seed_cnn,nn", "unknown name 'nn'")],
)
def test_models_that_cannot_be_tested_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str], given: str, told: str
) -> None:
    monkeypatch.setattr("sys.argv", ["quantbench", "selftest", "--models", given, "--report-dir", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 4
    assert told in capfd.readouterr().err


def one(caught: bool, host: str = SUBJECT_VARIANT) -> InjectedFault:
    return InjectedFault(
        plant="p",
        where="weights",
        host=host,
        strength="1",
        seed=0,
        seen_by=Kind.ACCURACY,
        drop=0.5,
        growth=0.0,
        harmful=True,
        caught=caught,
        caught_by=[Kind.ACCURACY] if caught else [],
    )


def test_the_report_names_what_was_missed_and_bounds_the_false_reds(tmp_path: Path) -> None:
    faults = [
        one(True),
        one(False),
        one(True, training.QAT),
        one(True, pipeline.PIPELINE).model_copy(update={"drop": None}),
    ]
    found = Selftest(model="m", variant="v", plants=faults, null_runs=30, false_reds=0)
    text = render(found)
    write_json(tmp_path / "selftest.json", found)
    assert render(Selftest.model_validate_json((tmp_path / "selftest.json").read_text())) == text
    assert text.startswith("# Selftest: 3 of 4 harmful injected regressions caught")
    assert "## Missed\n\n- p 1, seed 0: drop +0.50 pp" in text
    assert "False reds: 0 in 30 runs drawn from healthy artifacts, each made in a fresh process under load" in text
    for host in ("converted artifacts", "what trains", "the pipeline"):
        assert f"## In {host}\n" in text
    assert upper_bound(3, 3) == 1.0


def test_a_missed_plant_makes_the_command_red(
    trials: dict[str, Trial], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    del trials  # made first, as this process exports the float model once, and a selftest removes what it exported
    nothing = Fault("nothing", "file", Kind.STRUCTURE, ("",), lambda subject, _strength, _random: subject.artifact)
    grown = named(artifact.FAULTS, "a file grown by")
    monkeypatch.setattr("sys.argv", ["quantbench", "selftest", "--quick", "--report-dir", str(tmp_path)])
    monkeypatch.setattr(suite, "faults_elsewhere", lambda *_: ([], ["m: f: it has no SOFTMAX"]))
    monkeypatch.setattr(artifact, "RUNTIME_FAULTS", [])
    monkeypatch.setattr(
        suite, "in_processes_of_their_own", lambda *_: nullcontext(suite.Beside(lambda: ([], []), list, lambda: None))
    )
    monkeypatch.setattr(suite, "faults_in_a_second_output", lambda *_: ([], [], []))
    monkeypatch.setattr(suite, "healthy_runs", lambda *_: [False])
    monkeypatch.setattr(suite, "faults_in_memory", lambda *_: ([], []))
    monkeypatch.setattr(latency, "run", lambda *_: None)
    for injected_faults, status in (([grown], 0), ([nothing, grown], 1)):
        monkeypatch.setattr(artifact, "FAULTS", injected_faults)
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == status
    told = capfd.readouterr().out
    assert "- nothing , seed 0: drop +0.00 pp" in told
    assert "Skipped: not applicable: m: f: it has no SOFTMAX." in told
    assert re.search(r"\| seed_cnn +\| file +\|", told)
    assert (tmp_path / "selftest.json").is_file()


def _processes(
    slower: float, count: int, seed: int, runtime: float = 0.0, at_work: float = 1.0, control: float = 15.0
) -> list[dict[str, Blocks]]:
    """Made-up timing processes: 1 % from one to the next, some blocks interrupted, the variant slower by a fraction.

    Args:
        runtime: by which variant and control are slower.
        control: microseconds of one of its calls.
    """
    random = np.random.default_rng(seed)

    def blocks(micro: float) -> Blocks:
        own = 1e-6 * micro * (1 + 0.01 * random.random(40)) * (1 + 0.005 * random.standard_normal())
        interrupted = np.where(random.random(40) < 0.2, 1e-3, 0.0)
        return Blocks(own + interrupted, own, threads_at_work=at_work)

    variant = 12.0 * (1 + slower) * (1 + runtime)
    speeds = {"control": control * (1 + runtime), "variant": variant, "yardstick": 48.0}
    return [{name: blocks(micro) for name, micro in speeds.items()} for _ in range(count)]


def test_a_slowdown_is_caught_and_nothing_is_red_for_nothing() -> None:
    healthy = _processes(0.0, 36, seed=0)
    slower = latency.injected_faults(latency.SLOWER[2], healthy, _processes(0.03, 36, seed=1), 20, 12, accepted=12)
    assert slower.caught[latency.OURS] == 20
    null = latency.null_runs(healthy, runs=5, cells=28, per_run=12, accepted=12, where="made up")
    assert null.red_judgements[latency.OURS] == 0
    assert null.red_judgements["mean beyond 1 %"] > 0  # its mean takes the interruptions in


def test_a_quick_selftest_records_no_more_processes_than_its_rule_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    def recorded(_model: Any, _control: Any, _variant: Any, counts: dict[Any, int], *_: Any, **more: Any) -> Any:
        assert more == {"quick": True}
        made = {
            latency.HEALTHY: {},
            latency.SLOWER[-1]: {"slower": 0.1},
            latency.NO_XNNPACK: {"runtime": 2.0},
            latency.THREAD_TOO_FEW: {"at_work": 1.0},
            latency.TWO_THREADS: {"at_work": 1.9},
        }
        return {
            one: _processes(**{"slower": 0.0, "count": count, "seed": seed} | made[one])
            for seed, (one, count) in enumerate(counts.items())
        }

    monkeypatch.setattr(latency, "record", recorded)
    found = latency.run(MODEL, Path("control"), Path("variant"), True, lambda _: None)
    assert sum(found.recordings.values()) == (6 + 2 + 2 + 1 + 1) * latency.PER_RUN
    assert [fault.caught for fault in found.plants] == [{latency.OURS: fault.trials} for fault in found.plants]
    assert [[*null.red_runs] for null in found.nulls] == [[latency.OURS]] * 2
    selftest = Selftest(model="m", variant="v", plants=[one(True)], null_runs=9, false_reds=0, latency=found)
    assert "The other rules" not in render(selftest)


def test_a_slowdown_is_caught_in_turns_and_the_machine_is_not_taken_for_one() -> None:
    pools = {latency.HEALTHY: _processes(0.0, 36, seed=0)}
    pools |= {one: _processes(one.planted["slow"]["variant"], 24, seed=1) for one in latency.SLOWER}
    pools |= {one: _in_turns(percent / 100, 2) for percent, one in latency.IN_TURNS.items()}
    faults, nulls = latency.judged_in_turns(pools, trials=10, runs=2, per_run=12, accepted=12)
    caught = {(one.plant, one.strength): one.caught[latency.OURS] for one in faults}
    for percent in ("1 %", "2 %", "3 %", "5 %", "10 %"):
        assert caught[latency.NO_BASELINE, percent] == 10
    for percent in ("3 %", "5 %", "10 %"):
        assert caught[latency.CONFIRMED, percent] == 10
    assert [null.red_runs[latency.OURS] for null in nulls] == [0, 0]
    assert "another machine, on which the variant takes 5 % more" in nulls[1].where
    timed = _timed(200, 0)
    both = timed.model_copy(update={"plants": [*timed.plants, *faults], "nulls": [*timed.nulls, *nulls]})
    told = render(Selftest(model="m", variant="v", plants=[one(True)], null_runs=1, false_reds=0, latency=both))
    assert "no baseline, in turns: the variant slower by 5 %" in told


def test_one_percent_in_turns_with_the_accepted_artifact_is_caught() -> None:
    accepted, slower = latency.NO_BASELINE, _in_turns(0.01, 3)
    found = turns.without_baseline(accepted, "1 %", slower, 20, 12, latency.SUBJECT, latency.SHARE)
    assert found.caught[latency.OURS] >= 19
    same = _in_turns(0.0, 2)
    null = turns.healthy_without_baseline(same, 5, latency.CELLS, 12, latency.SUBJECT, latency.SHARE)
    assert null.red_runs[latency.OURS] == 0


def _in_turns(slower: float, seed: int) -> list[dict[str, Blocks]]:
    """Processes of all stages whose artifact is timed beside itself: what layout does to both cancels, all but .5 %."""
    processes = _processes(slower, 48, seed)
    speed = 12.0 / 15.0
    return [
        process | {"control": Blocks(speed * process["control"].seconds, speed * process["control"].own)}
        for process in processes
    ]


def test_one_thread_where_two_were_asked_for_is_an_error() -> None:
    one = measurements.latency(Latency(_processes(0.0, 6, seed=0)))["threads_at_work"]
    found = gate.threads(2, one)
    assert found is not None
    assert found.verdict is Verdict.ERROR
    assert "2 threads were requested, but one did all the work" in found.message
    assert gate.threads(1, one) is None
    assert gate.threads(2, one.model_copy(update={"value": 1.06})) is None


def _timed(caught: int, red_runs: int, in_turns: int = 190) -> LatencySelftest:
    ours = latency.OURS
    return LatencySelftest(
        recordings={"healthy": 36},
        processes=12,
        seconds=0.25,
        share=1e-3,
        spread={"latency_ratio": 0.01, "control_to_yardstick": 0.01},
        disturbed=0.0,
        plants=[
            LatencyFault(plant=plant, strength=strength, measurement="m", trials=200, caught={ours: times})
            for plant, strength, times in (
                (latency.SLOWER[0].name, "2 %", 0),
                (latency.SLOWER[0].name, "3 %", caught),
                (latency.NO_BASELINE, "1 %", in_turns),
            )
        ],
        nulls=[
            LatencyNull(
                where="here", recordings=36, runs=300, cells=28, red_judgements={ours: 9}, red_runs={ours: red_runs}
            )
        ],
    )


@pytest.mark.parametrize(
    ("calls", "caught", "strength", "good"),
    [
        (1100.0, 0, latency.AIMED_AT, False),  # the judge of stalls is dead
        (1100.0, 170, latency.AIMED_AT, False),
        (1100.0, 190, latency.AIMED_AT, True),
        (350.0, 0, latency.AIMED_AT, True),  # so few calls that it would not be seen
        (1100.0, 0, latency.AIMED_AT.replace("idle", "loaded"), True),
    ],
)
def test_rare_stalls_have_to_be_caught_where_enough_calls_were_made(
    calls: float, caught: int, strength: str, good: bool
) -> None:
    timed = _timed(caught=200, red_runs=0)
    row = LatencyFault(
        plant=latency.STALLS_NAME,
        strength=strength,
        measurement="m",
        trials=200,
        caught={latency.OURS: caught},
        calls=calls,
    )
    assert suite._latency_as_promised(timed.model_copy(update={"plants": [*timed.plants, row]})) is good


def _reruns(red: int, changed: int = 0, outputs: int = 200) -> NullRate:
    reds = {latency.OURS: red}
    return NullRate(what="w", runs=100, cells=1, tests=2.0, red_runs=reds, models=1, changed=changed, outputs=outputs)


@pytest.mark.parametrize(
    ("change", "good"),
    [
        ({}, True),
        ({"false_reds": 1}, False),
        ({"memory_false_reds": 1}, False),
        ({"instruction_false_reds": 1}, False),
        ({"two_outputs": [_reruns(0, changed=10)]}, True),
        ({"two_outputs": [_reruns(1)]}, False),
        ({"two_outputs": [_reruns(0, changed=11)]}, False),
        ({"two_outputs": [_reruns(0, outputs=0)]}, False),
        ({"plants": [one(False)]}, False),
        ({"latency": _timed(198, 3)}, True),
        ({"latency": _timed(197, 3)}, False),
        ({"latency": _timed(200, 4)}, False),
        ({"latency": _timed(200, 0, in_turns=189)}, False),
    ],
)
def test_the_selftest_is_red_where_the_gate_is_not_as_good_as_promised(change: dict[str, Any], good: bool) -> None:
    found = Selftest(model="m", variant="v", plants=[one(True)], null_runs=300, false_reds=0)
    found = found.model_copy(update=change)
    assert as_good_as_promised(found) is good
    assert render(found).startswith("# Selftest")


def _answers(artifact: bytes) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=artifact)
    interpreter.allocate_tensors()
    given, made = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    interpreter.set_tensor(given["index"], np.random.default_rng(0).random(given["shape"], dtype=np.float32))
    interpreter.invoke()
    return interpreter.get_tensor(made["index"])


def test_an_operator_that_changes_nothing_is_red_by_its_instructions_alone(
    trials: dict[str, Trial], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counts are made up here, as valgrind takes a minute: an operator more takes 0.4 %, or 2 %, of the call."""
    healthy = trials[SUBJECT_VARIANT].subject.artifact
    assert np.array_equal(_answers(healthy), _answers(instructions.with_maximum(healthy, 1)))

    def count(of: list[bytes], growth: float) -> list[Count]:
        return [Count("here", [("CONV_2D", 100_000), ("MAXIMUM", round(100_000 * growth))]) for _ in of]

    trial = instructions.InstructionTrial(MODEL, {"variant": healthy}, {"variant": count([healthy], 0.0)[0]})
    for growth, red in ((0.004, False), (0.02, True)):
        monkeypatch.setattr(instructions, "counted", lambda _, of, growth=growth: count(of, growth))
        found = list(instructions.injected_faults(trial, lambda _: None))
        assert len(found) == 6
        assert {(one.harmful, one.caught) for one in found} == {(red, red)}
        assert instructions.null_runs(trial, 1) == [True]  # a count that is not exactly as before
    text = render(Selftest(model="m", variant="v", plants=found, null_runs=0, false_reds=0, instruction_null_runs=10))
    assert "0 in 10 counts of a healthy artifact's instructions" in text
    assert "## In instructions of a call" in text
    monkeypatch.setattr(instructions, "counted", lambda _, of: [Count(failure="it crashed") for _ in of])
    with pytest.raises(RuntimeError, match="it crashed"):
        list(instructions.injected_faults(trial, lambda _: None))
