"""The selftest: it catches what is planted, says what it missed, and can itself go red."""

from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from bench import plants, selftest
from bench.cli import main
from bench.plants import Plant
from bench.records import Kind, Planted, Selftest
from bench.reference import load_models
from bench.report.selftest import render, upper_bound
from bench.selftest import Trial
from bench.store import Store


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    return Trial(load_models(ROOT / "models")["seed_cnn"], Store(tmp_path_factory.mktemp("selftest")))


def named(name: str) -> Plant:
    return next(plant for plant in plants.PLANTS if plant.name == name)


@pytest.mark.parametrize(
    ("name", "strength", "seen_by"),
    [
        ("a channel's sign turned", "", Kind.ACCURACY),
        ("range stretched to", 32.0, Kind.ACCURACY),
        ("range stretched to", 8.0, Kind.STRUCTURE),
        ("smallest weights dropped, share", 0.1, Kind.STRUCTURE),
        ("float32 under its name", "float32", Kind.STRUCTURE),
        ("a file grown by", 0.01, Kind.SIZE),
    ],
)
def test_what_is_planted_is_seen_by_the_check_that_has_to(
    trial: Trial, name: str, strength: float | str, seen_by: Kind
) -> None:
    plant = named(name)
    artifact = plant.make(trial.ground, strength, np.random.default_rng(0))
    found = selftest._judged(trial, plant, strength, 0, artifact)
    assert found.harmful
    assert found.caught
    assert seen_by in found.caught_by


def test_a_healthy_artifact_made_again_is_green(trial: Trial) -> None:
    assert selftest.null_runs(trial, 2) == [False, False]


def test_at_least_thirty_kinds_by_distinct_names() -> None:
    names = [plant.name for plant in plants.PLANTS]
    assert len(names) == len(set(names)) >= 30


def one(caught: bool) -> Planted:
    return Planted(
        plant="p",
        where="weights",
        strength="1",
        seed=0,
        seen_by=Kind.ACCURACY,
        drop=0.5,
        growth=0.0,
        harmful=True,
        caught=caught,
        caught_by=[Kind.ACCURACY] if caught else [],
    )


def test_the_report_names_what_was_missed_and_bounds_the_false_reds() -> None:
    found = Selftest(model="m", variant="v", plants=[one(True), one(False)], null_runs=30, false_reds=0)
    text = render(found)
    assert text.startswith("# Selftest: 1 of 2 harmful plants caught")
    assert "## Missed\n\n- p 1, seed 0: drop +0.50 pp" in text
    assert "0 in 30 conversions of the healthy model (95 % upper bound 9.5 %)" in text
    assert upper_bound(3, 3) == 1.0


def test_a_missed_plant_makes_the_command_red(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = Plant("nothing", "file", Kind.STRUCTURE, ("",), lambda ground, _strength, _random: ground.artifact)
    grown = named("a file grown by")
    monkeypatch.setattr("sys.argv", ["quantbench", "selftest", "--quick", "--report-dir", str(tmp_path)])
    for planted, status in (([grown], 0), ([nothing, grown], 1)):
        monkeypatch.setattr(selftest, "PLANTS", planted)
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == status
    assert "- nothing , seed 0: drop +0.00 pp" in capsys.readouterr().out
    assert (tmp_path / "selftest.json").is_file()
