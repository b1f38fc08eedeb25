"""What an exported model's inputs are called."""

from typing import Any

import pytest
from quantbench.core.tensorflow import tensorflow
from quantbench.reference.float_model import input_names


def _functional(keras: Any, *names: str | None) -> Any:
    inputs = [keras.Input((2,), name=name) for name in names]
    return keras.Model(inputs, keras.layers.Concatenate()(inputs))


def _sequential(keras: Any) -> Any:
    return keras.Sequential([keras.layers.Dense(1, name="conv2d", input_shape=(2,))])


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_input_has_the_same_name_whichever_keras_built_the_model() -> None:
    tf = tensorflow()
    import keras as keras3

    for keras in (tf.keras, keras3):
        keras.backend.clear_session()
        assert input_names(_functional(keras, None, None)) == ["input_1", "input_2"]
        assert input_names(_functional(keras, "image", "age")) == ["image", "age"]
        assert input_names(_sequential(keras)) == ["conv2d_input"]
