"""Save models as users have them, with both Keras versions; runs in a process of its own, with a folder as argument."""

import shutil
import sys
from pathlib import Path

import numpy as np
from quantbench.core import tensorflow
from quantbench.reference import float_model, training
from quantbench.reference.model import load_models

ROOT = Path(__file__).parents[1]


def with_made_up_operator(source: Path, target: Path) -> None:
    """Copy a SavedModel, with an unknown name for the operator of its convolution."""
    from tensorflow.core.protobuf import saved_model_pb2

    shutil.copytree(source, target)
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((target / "saved_model.pb").read_bytes())
    for function in saved.meta_graphs[0].graph_def.library.function:
        for node in function.node_def:
            if node.op == "Conv2D":
                node.op = "SomebodysConv2D"
    (target / "saved_model.pb").write_bytes(saved.SerializeToString())


def main(folder: Path) -> None:
    """Write models and data."""
    tf = tensorflow.tensorflow()
    import keras as keras3

    class ToFloat(tf.keras.layers.Layer):  # type: ignore[misc,name-defined]
        """Scale pixels to 0..1 inside the model."""

        def call(self, x: object) -> object:
            """Convert uint8 to float32."""
            return tf.cast(x, tf.float32) / 255.0

    keras3.utils.set_random_seed(0)
    tf.keras.utils.set_random_seed(0)
    model = load_models(ROOT / "models")["seed_cnn"]
    pack = model.pack()
    few, calibration = slice(0, 400), slice(0, 60)
    np.savez(folder / "eval.npz", x=pack.test.x[few], y=pack.test.y[few])
    np.savez(folder / "calibration.npz", x=pack.train.x[calibration])
    ours = training.load_pinned(model)
    ours.save(folder / "keras2.h5")
    ours.save(folder / "keras2.keras")
    saved = float_model.export(ours)
    Path(saved).rename(folder / "saved_model")
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved_model"))
    (folder / "float.tflite").write_bytes(converter.convert())
    pixels = tf.keras.Sequential([tf.keras.layers.Input((28, 28, 1), batch_size=1, dtype="uint8"), ToFloat(), ours])
    (folder / "uint8_input.tflite").write_bytes(tf.lite.TFLiteConverter.from_keras_model(pixels).convert())
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    (folder / "quantized.tflite").write_bytes(converter.convert())

    image, age = keras3.Input((28, 28, 1), name="image"), keras3.Input((4,), name="age")
    x = keras3.layers.Conv2D(8, 3, strides=2, activation="relu")(keras3.layers.Rescaling(1 / 255)(image))
    x = keras3.layers.Concatenate()([keras3.layers.Flatten()(x), age])
    outputs = [keras3.layers.Dense(10, name="classes")(x), keras3.layers.Dense(1, name="size")(x)]
    keras3.Model([image, age], outputs).save(folder / "two_inputs_keras3.keras")
    ages = np.random.default_rng(0).normal(size=(400, 4)).astype(np.float32)
    np.savez(folder / "two_eval.npz", x_image=pack.test.x[few], x_age=ages)
    np.savez(folder / "two_calibration.npz", x_image=pack.train.x[calibration], x_age=ages[calibration])

    for module, name in ((tf.keras, "2"), (keras3, "3")):
        layers = module.layers
        tricky = module.Sequential([layers.Input((4,)), layers.Lambda(lambda t: t * 2, name="evil"), layers.Dense(2)])
        tricky.save(folder / f"lambda{name}.h5")
        tricky.save(folder / f"lambda{name}.keras")
        free = module.Sequential([layers.Input((None, None, 1)), layers.Conv2D(2, 3), layers.GlobalMaxPooling2D()])
        free.save(folder / f"free{name}.keras")

    several = tf.keras.Input((4,), name="file")
    ten, single = tf.keras.layers.Dense(10)(several), tf.keras.layers.Dense(1)(tf.keras.layers.Dense(3)(several))
    tf.keras.Model(several, {"z": ten, "a": single}).save(folder / "dict_outputs2.keras")
    other = tf.keras.Input((4,), name="other")
    both = tf.keras.layers.Concatenate()([several, other])
    tf.keras.Model([several, other], tf.keras.layers.Dense(2)(both)).save(folder / "input_named_file.keras")
    fours = ages[:40]
    np.savez(folder / "fours.npz", x=fours, x_file=fours, x_other=fours)
    eight = tf.keras.Sequential([tf.keras.layers.Input((4,), batch_size=8), tf.keras.layers.Dense(2)])
    eight.save(folder / "batch_of_8.keras")
    (folder / "batch_of_8.tflite").write_bytes(tf.lite.TFLiteConverter.from_keras_model(eight).convert())
    eight.export(folder / "batch_of_8")
    free = tf.keras.Sequential([tf.keras.layers.Input((None, None, 1)), tf.keras.layers.Conv2D(2, 3)])
    (folder / "free.tflite").write_bytes(tf.lite.TFLiteConverter.from_keras_model(free).convert())
    with_made_up_operator(folder / "saved_model", folder / "made_up_operator")

    class Odd(tf.keras.layers.Layer):  # type: ignore[misc,name-defined]
        """Provide a layer that only this module has."""

    tf.keras.Sequential([tf.keras.layers.Input((4,)), Odd(), tf.keras.layers.Dense(2)]).save(folder / "odd.keras")

    class Calls(tf.Module):  # type: ignore[misc,name-defined]
        """Provide a SavedModel that calls back into Python."""

        @tf.function(input_signature=[tf.TensorSpec([1, 4], tf.float32)])  # type: ignore[untyped-decorator]
        def serve(self, x: object) -> object:
            """Double the input in Python."""
            return tf.numpy_function(lambda a: a * 2, [x], tf.float32)

    calls = Calls()
    tf.saved_model.save(calls, str(folder / "calls_python"), signatures=calls.serve)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
