"""A second output that breaks is red by its name while the first one holds, and healthy reruns of both are green."""

from dataclasses import fields, replace

import numpy as np
import pytest
from conftest import ROOT
from quantbench.build.store import Store
from quantbench.core import tensorflow
from quantbench.records import InjectedFault
from quantbench.reference.datasets import Pack
from quantbench.reference.model import ReferenceModel, load_models
from quantbench.selftest import artifact, suite, two_outputs
from quantbench.selftest.artifact import Trial


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    return two_outputs.trial_of(load_models(ROOT / "models")["seed_cnn"], Store(tmp_path_factory.mktemp("two_outputs")))


class Untrained(ReferenceModel):
    """A model whose data has no training examples."""

    def pack(self) -> Pack:
        return replace(super().pack(), train=None)


def test_a_model_without_training_data_gets_no_second_output_and_that_is_told() -> None:
    like = load_models(ROOT / "models")["seed_cnn"]
    model = Untrained(**{one.name: getattr(like, one.name) for one in fields(ReferenceModel)})
    why = "seed_cnn: a second output: it has no training data, which a second output learns from"
    assert suite.faults_in_a_second_output(model, True, lambda _: None) == ([], [], [why])


def test_a_last_layer_of_several_inputs_gets_no_second_output_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    keras = tensorflow.tensorflow().keras
    read = keras.Input((4,))
    summed = keras.layers.Add()([keras.layers.Dense(2)(read), keras.layers.Dense(2)(read)])
    monkeypatch.setattr(two_outputs.float_model, "keras2", lambda _: keras.Model(read, summed))
    found = suite.faults_in_a_second_output(load_models(ROOT / "models")["seed_cnn"], True, lambda _: None)
    assert found == (
        [],
        [],
        ["seed_cnn: a second output: its last layer reads several inputs, and a second output one"],
    )


def test_neighbouring_classes_are_a_group_however_many_there_are() -> None:
    groups = two_outputs.groups_of(np.arange(200, dtype=np.uint8))
    assert [groups.tolist().count(group) for group in range(two_outputs.GROUPS)] == [40] * 5
    assert (np.diff(groups) >= 0).all()


def test_the_first_output_is_that_of_the_model(trial: Trial) -> None:
    outputs = trial.recorded.every
    assert isinstance(outputs, dict)
    shapes = {name: values.shape for name, values in outputs.items()}
    assert shapes == {"output_0": (10_000, 10), "output_1": (10_000, two_outputs.GROUPS)}
    assert abs(trial.recorded.outcome.score - 0.8722) < 0.005
    assert 0.75 < float(np.mean(trial.recorded.outcome.heads["group"] == trial.labels)) < 0.99


def test_each_fault_of_the_quick_selftest_is_red_by_the_name_of_its_output(trial: Trial) -> None:
    found = list(two_outputs.injected_faults(trial, 1, lambda _: None, quick=True))
    of_checks = {one.plant: one.checks for one in found if isinstance(one, InjectedFault) and one.harmful}
    assert of_checks.keys() == two_outputs.QUICK.keys()
    assert of_checks["softmax omitted by the runtime"] == ["output_distance@group"]
    assert of_checks["right answers lost, share"] == ["score@group"]
    assert all(one.caught for one in found if isinstance(one, InjectedFault))


def test_a_softmax_left_out_of_one_output_is_red_by_its_name(trial: Trial) -> None:
    [fault] = [one for one in two_outputs.FAULTS if one.name == "softmax of one output left out"]
    [found] = artifact.repeated(trial, fault, "", 1, lambda _: None)
    assert (found.harmful, found.caught, found.where) == (True, True, "output group")
    assert "output_distance@group" in found.checks


def test_what_is_red_without_the_name_of_the_output_is_not_caught(trial: Trial) -> None:
    outputs = trial.recorded.every
    assert isinstance(outputs, dict)
    first = "output_0"
    seen = trial.judge(trial.subject.artifact, {**outputs, first: np.roll(outputs[first], 1, axis=1)})
    assert seen.red
    assert not trial.caught(seen.red)


def test_healthy_reruns_are_green_and_unchanged(trial: Trial) -> None:
    nulls = two_outputs.null_runs(trial, quick=True)
    assert [one.runs for one in nulls] == [1, two_outputs.QUICK_RUNS, two_outputs.QUICK_RUNS]
    assert all(one.outputs == 2 * one.runs for one in nulls)
    assert not sum(one.red_runs["quantbench"] + one.changed for one in nulls)
