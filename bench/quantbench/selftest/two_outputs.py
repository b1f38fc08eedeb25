"""Give a model a second output, whose faults are to be red by its name while the first output holds.

The second output tells which of a few groups the class of an example belongs to. Its layer reads what the model's last
layer reads and is trained on that alone, so that the first output is the model's own.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import numpy as np

from quantbench.build.store import Store
from quantbench.core import tensorflow
from quantbench.core.arrays import Array, Inputs, rows
from quantbench.records import InjectedFault, Kind, NullRate, Verdict
from quantbench.records.measurements import OUTPUT_DISTANCE, without_output
from quantbench.reference import float_model
from quantbench.reference.datasets import Pack
from quantbench.reference.metrics import ACCURACY
from quantbench.reference.model import Head, ReferenceModel
from quantbench.reference.training import seed_everything
from quantbench.selftest import artifact
from quantbench.selftest.artifact import RED, Measured, Trial
from quantbench.selftest.faults import Fault, Subject
from quantbench.selftest.flatbuffer import Inapplicable, Layer, layers, operators
from quantbench.selftest.nulls import OURS
from quantbench.selftest.runtime import FAULTS as RUNTIME_FAULTS
from quantbench.selftest.runtime import RuntimeFault
from quantbench.tflite.edit import edited
from quantbench.tflite.litert import LiteRT

OUTPUT = "group"
GROUPS = 5
_FIRST, _SECOND = "output_0", "output_1"  # as an exported signature names what Keras returns as a list
_EXAMPLES, _EPOCHS, _BATCH = 4000, 3, 32
QUICK_RUNS, RUNS = 10, 100  # of each kind of healthy rerun
RECORDINGS = 2
# Shares of the values that move by a step of int8, as other kernels round.
_MOVED = (0.01, 0.1)
_STEP = 1 / 256


@dataclass(frozen=True)
class TwoOutputs(ReferenceModel):
    """Describe a model with a second output.

    Attributes:
        one: the model with its only output.
        arrays: all weights, in the order of Keras.
    """

    one: ReferenceModel | None = None
    arrays: tuple[Array, ...] = ()

    def pack(self) -> Pack:
        """Load the model's data, with a label of the second output for each test example."""
        assert self.one is not None
        found = self.one.pack()
        return replace(found, test=replace(found.test, more={OUTPUT: groups_of(found.test.y)}))

    def weight_arrays(self) -> list[Array]:
        """Return the weights of both outputs."""
        return list(self.arrays)


def groups_of(labels: Array) -> Array:
    """Return the group of each class: neighbours belong together."""
    return labels.astype(np.int64) * GROUPS // (int(labels.max()) + 1)


def of(model: ReferenceModel) -> TwoOutputs:
    """Return the model with a second output, which is trained here.

    Raises:
        Inapplicable: it has no training data, or its last layer reads several inputs.
    """
    keras = tensorflow.tensorflow().keras
    seed_everything(0)
    keras_model = _with_second(keras, float_model.keras2(model))
    _train(keras, keras_model, model)
    own = {one.name: getattr(model, one.name) for one in fields(ReferenceModel)}
    own |= {
        "name": f"{model.name}_two_outputs",
        "build": partial(_built, model),
        "metric": model.metric.of(_FIRST),
        "heads": (Head(OUTPUT, ACCURACY.of(_SECOND), OUTPUT, floors=model.floors),),
        "seed_scores": (),
    }
    return TwoOutputs(**own, one=model, arrays=tuple(keras_model.get_weights()))


def _built(model: ReferenceModel, keras: Any) -> Any:
    assert model.build is not None
    return _with_second(keras, model.build(keras))


def _with_second(keras: Any, keras_model: Any) -> Any:
    read = keras_model.layers[-1].input
    if isinstance(read, list):
        raise Inapplicable("its last layer reads several inputs, and a second output one")
    features = keras.layers.Flatten(name="features")(read)
    second = keras.layers.Dense(GROUPS, activation="softmax", name=OUTPUT)(features)
    return keras.Model(keras_model.inputs, [keras_model.outputs[0], second])


def _train(keras: Any, keras_model: Any, model: ReferenceModel) -> None:
    """Train the second output's layer on what it reads of some training examples."""
    train = model.pack().train
    if train is None:
        raise Inapplicable("it has no training data, which a second output learns from")
    inputs, classes = model.fit_inputs(rows(train.x, slice(0, _EXAMPLES)), train.y[:_EXAMPLES])
    read = keras.Model(keras_model.inputs, keras_model.get_layer("features").output).predict(inputs, verbose=0)
    alone = keras.Sequential([keras.layers.Dense(GROUPS, activation="softmax", input_shape=read.shape[1:])])
    alone.compile("adam", "sparse_categorical_crossentropy")
    alone.fit(read, groups_of(classes), _BATCH, _EPOCHS, shuffle=False, verbose=0)
    keras_model.get_layer(OUTPUT).set_weights(alone.get_weights())


# ---------------------------------------------------------------- faults


def _second(model: Any) -> tuple[Layer, Any]:
    """Return the layer of the second output, and its softmax."""
    graph = model.subgraphs[0]
    written = next(int(one.tensorIndex) for one in model.signatureDefs[0].outputs if one.name == _SECOND.encode())
    every, of_classes, softmax = layers(model), operators(model, "SOFTMAX"), None
    while True:
        operator = next(one for one in graph.operators if written in one.outputs)
        softmax = operator if any(operator is one for one in of_classes) else softmax
        layer = next((one for one in every if one.operator is operator), None)
        if layer is not None:
            return layer, softmax
        written = int(operator.inputs[0])


def _on_head(change: Callable[[Array, int, np.random.Generator], Array]) -> Callable[..., bytes]:
    """Make a fault that changes the int8 weights of the second output's layer, shape (groups, ...)."""

    def make(subject: Subject, strength: int, random: np.random.Generator) -> bytes:
        def apply(model: Any) -> None:
            layer, _ = _second(model)
            layer.write(1, change(layer.read(1, "int8"), int(strength), random))

        return edited(subject.artifact, apply)

    return make


def _random(weights: Array, count: int, random: np.random.Generator) -> Array:
    weights[:count] = random.integers(-127, 128, weights[:count].shape)
    return weights


def _zeroed(weights: Array, count: int, _random: np.random.Generator) -> Array:
    weights[:count] = 0
    return weights


def _without_softmax(subject: Subject, _strength: str, _random: np.random.Generator) -> bytes:
    """Let what the softmax reads be the output."""

    def apply(model: Any) -> None:
        graph, (_, softmax) = model.subgraphs[0], _second(model)
        if softmax is None:
            raise Inapplicable("its second output has no softmax")
        read, written = int(softmax.inputs[0]), int(softmax.outputs[0])
        for operator in graph.operators:
            operator.inputs = [read if int(index) == written else int(index) for index in operator.inputs]
        graph.operators = [operator for operator in graph.operators if operator is not softmax]

    return edited(subject.artifact, apply)


FAULTS = [
    Fault("weights of one output's layer random, groups", "", Kind.ACCURACY, (1, GROUPS), _on_head(_random)),
    Fault("weights of one output's layer zeroed, groups", "", Kind.ACCURACY, (1, GROUPS), _on_head(_zeroed)),
    Fault("softmax of one output left out", "", Kind.ACCURACY, ("",), _without_softmax),
]
OF_RUNTIME: artifact.Chosen = {
    "softmax omitted by the runtime": ("",),
    "softmax heated, temperature": (1.2, 2.0),
    "softmax cooled, temperature": (0.5,),
    "probabilities times": (0.5,),
    "one-hot outputs": ("",),
    "a dead output column, class": (0,),
    "outputs of two classes swapped": ("",),
    "noise on the outputs, sd": (0.002, 0.1),
    "right answers lost in a class and regained in others, share": (0.1, 1.0),
    "right answers lost, share": (0.002, 0.005, 0.01),
    "outputs of the next example, examples": (100, 1000),
}
QUICK: artifact.Chosen = {
    FAULTS[0].name: (GROUPS,),
    "softmax omitted by the runtime": ("",),
    "right answers lost, share": (0.005,),
}


def trial_of(model: ReferenceModel, store: Store) -> Trial:
    """Return a trial of the model with a second output, into which faults are injected."""
    return Trial(of(model), store, output=OUTPUT)


def injected_faults(trial: Trial, seeds: int, say: Callable[[str], None], quick: bool) -> Iterator[InjectedFault | str]:
    """Inject faults into the second output; a sentence for each that the model has no place for."""
    chosen = QUICK if quick else {**{fault.name: fault.strengths for fault in FAULTS}, **OF_RUNTIME}
    every: list[Fault | RuntimeFault] = [*FAULTS, *RUNTIME_FAULTS]
    for fault in every:
        for strength in chosen.get(fault.name, ()):
            try:
                yield from artifact.repeated(trial, fault, strength, seeds, say)
            except Inapplicable as why:
                yield f"{trial.model.name}: {fault.name} {strength}".rstrip() + f": {why}"


# ---------------------------------------------------------------- nothing got worse


def null_runs(trial: Trial, quick: bool) -> list[NullRate]:
    """Judge healthy reruns of both outputs: on other kernels, with values that round otherwise, and made again."""
    random, runs = np.random.default_rng(0), QUICK_RUNS if quick else RUNS
    found = [_rate(trial, "the builtin kernels of LiteRT", iter([trial.answered(_on_builtin_kernels(trial))]))]
    for share in _MOVED:
        drawn = (trial.answered(_rounded_otherwise(trial, share, random)) for _ in range(runs))
        found.append(_rate(trial, f"{100 * share:g} % of the values a step of int8 off", drawn))
    if not quick:
        assert isinstance(trial.model, TwoOutputs)
        assert trial.model.one is not None
        again = artifact.record(trial.model.one, RECORDINGS, of)
        found.append(_rate(trial, "made again in fresh processes under load", iter(again)))
    return found


def _rate(trial: Trial, what: str, reruns: Iterator[Measured]) -> NullRate:
    judged = [trial.judgements(one) for one in reruns]
    distances = [one for of_run in judged for one in of_run if without_output(one.measurement) == OUTPUT_DISTANCE]
    return NullRate(
        what=what,
        runs=len(judged),
        cells=1,
        tests=sum(one.p_value is not None for of_run in judged for one in of_run) / len(judged),
        red_runs={OURS: sum(any(one.verdict in RED for one in of_run) for of_run in judged)},
        models=1,
        changed=sum(one.verdict is not Verdict.PASS for one in distances),
        outputs=len(distances),
    )


def _on_builtin_kernels(trial: Trial) -> Inputs:
    model = trial.model
    runner = LiteRT(trial.subject.artifact, stateful=model.stateful, runtime="litert-builtin")
    return runner.run(model.prepare(model.pack().test.x))


def _rounded_otherwise(trial: Trial, share: float, random: np.random.Generator) -> Inputs:
    """Move a share of the values of both outputs by a step of int8, up or down."""
    every = trial.recorded.every
    assert isinstance(every, dict)

    def moved(values: Array) -> Array:
        steps = random.choice((-1, 0, 1), values.shape, p=(share / 2, 1 - share, share / 2))
        return np.asarray(np.clip(values + _STEP * steps, 0, 1), dtype=values.dtype)

    return {name: moved(values) for name, values in every.items()}
