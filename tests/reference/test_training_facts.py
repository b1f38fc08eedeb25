"""The facts of a training are read from what was trained, so that a longer, faster or smaller training is seen."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from made_up_cells import Model, model
from quantbench.reference import training
from quantbench.reference.datasets import Pack, Split
from quantbench.reference.metrics import ACCURACY
from quantbench.reference.model import Recipe

pytestmark = pytest.mark.slow
RECIPE = Recipe(epochs=2, batch_size=8, learning_rate=0.001)


@dataclasses.dataclass(frozen=True)
class Few(Model):
    """A model with 40 training examples of two classes."""

    def pack(self) -> Pack:
        x = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
        return Pack(Split(x, np.arange(40) % 2), None, Split(x, np.arange(40) % 2), "d")


def _as_it_is(x: Any) -> Any:
    return x


def trained(recipe: Recipe = RECIPE, seed: int = 0, loss: Any = "sparse_categorical_crossentropy") -> dict[str, str]:
    few = Few(**(vars(model()) | {"prepare": _as_it_is, "loss": loss}))
    keras = training.tensorflow().keras
    keras.utils.set_random_seed(0)
    network = keras.Sequential([keras.layers.Dense(2, activation="softmax", input_shape=(4,))])
    return training.fit(network, few, recipe, seed)


def _three_columns(x: Any, y: Any) -> Any:
    return x, np.stack([y, 1 - y, y], axis=1).astype(np.float32)


@pytest.mark.parametrize(
    ("outputs", "learn"), [(("output_0",), [True, False]), (("output_0", "output_1"), [True, True])]
)
def test_the_outputs_that_have_targets_are_trained(outputs: tuple[str, ...], learn: list[bool]) -> None:
    own = {"training": _three_columns if len(outputs) == 2 else None, "trained_outputs": outputs, "loss": "mse"}
    few = Few(**(vars(model()) | {"prepare": _as_it_is, "metric": ACCURACY.of("output_0")} | own))
    keras = training.tensorflow().keras
    x = keras.Input((4,))
    network = keras.Model(x, [keras.layers.Dense(width)(x) for width in (2, 1)])
    before = [layer.get_weights() for layer in network.layers[1:]]
    training.fit(network, few, RECIPE, 0)
    after = [layer.get_weights() for layer in network.layers[1:]]
    assert [not np.array_equal(b[0], a[0]) for b, a in zip(before, after, strict=True)] == learn


@pytest.fixture(scope="module")
def usual() -> dict[str, str]:
    return trained()


def test_the_facts_of_a_training(usual: dict[str, str]) -> None:
    assert usual["steps"] == "10"
    assert usual["rate"] == "0.001"
    assert usual["examples an epoch"] == "40"
    assert usual["loss"] == "sparse_categorical_crossentropy"
    assert usual == trained()


@pytest.mark.parametrize(
    ("change", "moved"),
    [
        ({"epochs": 3}, {"steps"}),
        ({"learning_rate": 0.01}, {"rate"}),
        ({"schedule": "cosine"}, {"rate"}),
        ({"batch_size": 4}, {"steps", "batch"}),
    ],
)
def test_each_change_of_a_recipe_is_a_fact(usual: dict[str, str], change: dict[str, Any], moved: set[str]) -> None:
    found = trained(dataclasses.replace(RECIPE, **change))
    assert {name for name in usual if usual[name] != found[name]} == moved


def test_another_order_or_loss_is_a_fact(usual: dict[str, str]) -> None:
    other = trained(seed=1)
    assert {name for name in usual if usual[name] != other[name]} == {"order of the first epoch"}
    assert trained(loss="mean_squared_error")["loss"] == "mean_squared_error"


def test_the_order_is_that_of_the_training_and_reading_it_changes_nothing() -> None:
    tf = training.tensorflow()
    tf.keras.utils.set_random_seed(5)
    data = training.batches(tf, (np.arange(40),), 40, 8, 5)
    fed = np.concatenate([np.asarray(batch[0]) for batch in data])
    state = np.random.get_state()[1].tolist()  # type: ignore[index]
    read = np.concatenate([np.asarray(batch) for batch in training._positions(tf, 40, 8, 5)])
    assert fed.tolist() == read.tolist()
    assert np.random.get_state()[1].tolist() == state  # type: ignore[index]
