"""Half-precision policies in a model's configuration, as Keras 2 and 3 write them."""

from typing import Any

import pytest
from quantbench.reference import precision

KERAS_3 = {
    "module": "keras",
    "class_name": "DTypePolicy",
    "config": {"name": "mixed_float16"},
    "registered_name": None,
}
KERAS_2 = {"class_name": "Policy", "config": {"name": "mixed_bfloat16"}}


def model(policy: Any) -> dict[str, Any]:
    dense = {"class_name": "Dense", "config": {"name": "mixed_float16", "units": 2, "dtype": policy}}
    inner = {"class_name": "Sequential", "config": {"layers": [dense, dense]}}
    given = {"class_name": "InputLayer", "config": {"dtype": "float32", "batch_shape": (None, 4)}}
    return {"name": "m", "layers": [given, inner, {"class_name": "Softmax", "config": {"dtype": "float32"}}]}


@pytest.mark.parametrize(
    ("policy", "name"), [(KERAS_3, "mixed_float16"), (KERAS_2, "mixed_bfloat16"), ("float16", "float16")]
)
def test_policies_are_found_in_layers_of_layers_and_replaced(policy: Any, name: str) -> None:
    config = model(policy)
    assert precision.policies(config) == [name]
    healed = precision.as_float32(config)
    assert precision.policies(healed) == []
    assert healed["layers"][1]["config"]["layers"][0]["config"]["dtype"] == "float32"
    assert healed["layers"][1]["config"]["layers"][0]["config"]["name"] == "mixed_float16"  # a layer's name
    assert healed["layers"][0]["config"]["batch_shape"] == (None, 4)
    assert config == model(policy)  # which stays as it was


@pytest.mark.parametrize("policy", ["float32", {"class_name": "Policy", "config": {"name": "float32"}}, None, 3])
def test_other_policies_are_left(policy: Any) -> None:
    assert precision.policies(model(policy)) == []
    assert precision.as_float32(model(policy)) == model(policy)


def test_the_most_frequent_policy_is_named_first() -> None:
    assert precision.policies([model("float16"), model(KERAS_2), model(KERAS_2)]) == ["mixed_bfloat16", "float16"]
