"""Give a Keras model that computes in half precision a float32 clone with the same weights.

TFLite has no float16 kernels on a CPU, so that the converter fails on such a model. Mixed precision keeps the weights
in float32 and only computes in half: the clone has the same weights to the last bit, and computes with more digits.
"""

from collections.abc import Iterator
from typing import Any

# Keras' names of policies (https://keras.io/api/mixed_precision/policy) under which no layer can be converted.
HALF = ("mixed_float16", "mixed_bfloat16", "float16", "bfloat16")
_FLOAT = "float32"


def policies(config: Any) -> list[str]:
    """List the half-precision policies that a model's configuration names, the most frequent first."""
    found = list(_named(config))
    return sorted(set(found), key=lambda name: (-found.count(name), name))


def _named(config: Any) -> Iterator[str]:
    if isinstance(config, dict):
        for key, value in config.items():
            name = _policy(value) if key in ("dtype", "dtype_policy") else None
            if name in HALF:
                yield str(name)
            elif name is None:
                yield from _named(value)
    elif isinstance(config, list | tuple):
        for value in config:
            yield from _named(value)


def _policy(value: Any) -> str | None:
    """Return the name of a policy as Keras 2 and 3 write it: a name, or a class with a name in its configuration."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and isinstance(value.get("config"), dict):
        name = value["config"].get("name")
        return name if isinstance(name, str) else None
    return None


def as_float32(config: Any) -> Any:
    """Copy a configuration with every half-precision policy, of layers inside of layers too, replaced by float32."""
    if isinstance(config, dict):
        return {
            key: _FLOAT if key in ("dtype", "dtype_policy") and _policy(value) in HALF else as_float32(value)
            for key, value in config.items()
        }
    if isinstance(config, list | tuple):
        return type(config)(as_float32(value) for value in config)
    return config


def healed(keras_model: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """Return a float32 clone of a half-precision model, and any other model itself.

    Raises:
        ValueError: the clone has other weights; it cannot stand for the model.
    """
    config = keras_model.get_config()
    if not policies(config):
        return keras_model
    if custom_objects is None:
        clone = type(keras_model).from_config(as_float32(config))
    else:
        clone = type(keras_model).from_config(as_float32(config), custom_objects=custom_objects)
    if not clone.built and keras_model.built:
        clone.build(keras_model.input_shape)
    before, after = keras_model.get_weights(), clone.get_weights()
    if [array.shape for array in before] != [array.shape for array in after]:
        raise ValueError(
            f"a float32 clone has {len(after)} weights of other shapes than the {len(before)} of the model"
        )
    clone.set_weights([array.astype(new.dtype) for array, new in zip(before, after, strict=True)])
    return clone
