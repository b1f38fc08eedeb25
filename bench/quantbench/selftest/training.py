"""Inject faults into training: QAT and its control are really trained wrong, and a real run judges them by the
accepted baselines, whose noise comes from five seeds.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from quantbench.baselines import files as baseline_files
from quantbench.build import artifact as build
from quantbench.build.artifact import StoreWorkbench
from quantbench.build.store import Store
from quantbench.records import InjectedFault, Kind, worst
from quantbench.reference.datasets import Pack, Split
from quantbench.reference.model import Recipe, ReferenceModel
from quantbench.reference.training import seed_everything
from quantbench.selftest.artifact import HARM_SIZE, described
from quantbench.selftest.runs import Ended, Place
from quantbench.variants import FLOAT_CONTROL, VARIANTS, convert, qat
from quantbench.variants.declare import FINETUNED_CONTROL

QAT = "qat_wi8_ai8"
CELLS = (FLOAT_CONTROL, FINETUNED_CONTROL, QAT)
Strength = float | str
Files = dict[str, bytes]


@dataclass(frozen=True)
class TrainingFault:
    """Declare a fault of a training.

    Attributes:
        make: (subject, strength, seed) -> the files of the broken cell.
        cell: whose training is broken; the QAT cell is judged in any case.
        always: whether it is harmful whatever the score, because the comparison is invalid.
        seeds: number of trainings in a full selftest.
        quick: strengths for a quick selftest.
    """

    name: str
    where: str
    seen_by: Kind
    strengths: tuple[Strength, ...]
    make: Callable[["Trained", Any, int], Files] = field(repr=False)
    cell: str = QAT
    always: bool = False
    seeds: int = 1
    quick: tuple[Strength, ...] = ()


@dataclass(frozen=True)
class _OtherData(ReferenceModel):
    """Declare a model with wrong data."""

    change: Callable[[Pack], Pack] = lambda pack: pack

    def pack(self) -> Pack:
        """Return the changed data."""
        return self.change(super().pack())


class _Bench(StoreWorkbench):
    """Provide a workbench that deviates from the recipe.

    Args:
        change: change of the training data.
        recipe: change of the recipe.
        callbacks: keras, model -> callbacks of the training.
    """

    def __init__(
        self,
        healthy: StoreWorkbench,
        change: Callable[[Pack], Pack] | None = None,
        recipe: Callable[[Recipe], Recipe] = lambda recipe: recipe,
        callbacks: Callable[[Any, Any], list[Any]] = lambda _keras, _model: [],
    ) -> None:
        super().__init__(healthy.model, healthy.seed, None, healthy.store)
        self._data = self.model if change is None else _on(self.model, change)
        self._recipe = recipe(self.model.finetune)
        self._callbacks = callbacks

    def finetune(self, keras_model: Any, callbacks: Sequence[Any] = ()) -> None:
        """See :class:`quantbench.variants.declare.Workbench`; the deviations apply here."""
        if not self._recipe.epochs:  # Keras refuses to train for none, but a lost call would raise nothing
            return
        more = self._callbacks(self.tensorflow().keras, keras_model)
        self.fit(keras_model, self._data, self._recipe, [*callbacks, *more])


def _on(model: ReferenceModel, change: Callable[[Pack], Pack]) -> ReferenceModel:
    fields = {field.name: getattr(model, field.name) for field in dataclasses.fields(ReferenceModel)}
    return _OtherData(**fields, change=change)


@dataclass
class Trained:
    """Hold the cells whose training goes wrong.

    Attributes:
        place: healthy cells; the controls are already in its store.
        scratch: folder for the stores of broken stages, which must not be taken for healthy ones.
        others: healthy QAT with other seeds, as far as trained.
    """

    place: Place
    scratch: Path
    others: dict[int, Files] = field(default_factory=dict)
    plants: int = 0

    def bench(self, seed: int = 0) -> StoreWorkbench:
        """Create a healthy workbench with every random generator at ``seed``, and an empty store."""
        seed_everything(seed)
        self.plants += 1
        return StoreWorkbench(self.place.model, seed, None, Store(self.scratch / f"stages{self.plants}"))

    def healthy(self, name: str) -> bytes:
        """Read a file of the healthy QAT cell, which is trained when first needed."""
        self.place.compute()
        built = build.find(self.place.model, VARIANTS[QAT], 0, None, self.place.store)
        assert built is not None
        assert built.path is not None
        return (built.path.parent / name).read_bytes()

    def of_seed(self, seed: int) -> Files:
        """Train healthy QAT with another seed, once."""
        if seed not in self.others:
            self.others[seed] = _made(self.bench(seed), QAT)
        return self.others[seed]


def _made(bench: StoreWorkbench, variant: str) -> Files:
    artifact = VARIANTS[variant].make(bench)
    return {build.ARTIFACT: artifact, **bench.kept(artifact)}


# ---------------------------------------------------------------- data and recipe


def _shuffled(pack: Pack, share: float, seed: int) -> Pack:
    assert pack.train is not None
    random = np.random.default_rng(seed)
    y = pack.train.y.copy()
    chosen = random.permutation(len(y))[: int(share * len(y))]
    y[chosen] = y[random.permutation(chosen)]
    return dataclasses.replace(pack, train=Split(pack.train.x, y))


def _on_shuffled_labels(subject: Trained, share: float, seed: int) -> Files:
    return _made(_Bench(subject.bench(seed), change=lambda pack: _shuffled(pack, share, seed)), QAT)


def _on_test_data(subject: Trained, _strength: Strength, seed: int) -> Files:
    return _made(_Bench(subject.bench(seed), change=lambda pack: dataclasses.replace(pack, train=pack.test)), QAT)


def _by_recipe(change: Callable[[Recipe, Any], Recipe], variant: str = QAT) -> Callable[[Trained, Any, int], Files]:
    def make(subject: Trained, strength: Any, seed: int) -> Files:
        return _made(_Bench(subject.bench(seed), recipe=lambda recipe: change(recipe, strength)), variant)

    return make


def _epochs(recipe: Recipe, times: float) -> Recipe:
    return dataclasses.replace(recipe, epochs=int(times * recipe.epochs))


def _rate(recipe: Recipe, times: float) -> Recipe:
    return dataclasses.replace(recipe, learning_rate=times * recipe.learning_rate)


# ---------------------------------------------------------------- fake quantization


def _observers(keras_model: Any) -> list[Any]:
    """List the variables that hold the observed ranges of activations."""
    names = ("_min", "_max")
    weights = [weight for weight in keras_model.weights if weight.name.split(":")[0].endswith(names)]
    return [weight for weight in weights if "kernel" not in weight.name]


def _freezing(after: int) -> Callable[[Any, Any], list[Any]]:
    """Freeze the observed ranges after so many steps."""

    def callbacks(keras: Any, keras_model: Any) -> list[Any]:
        class Freeze(keras.callbacks.Callback):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.kept: list[Any] = []
                self.seen = 0

            def on_train_batch_begin(self, _batch: int, logs: Any = None) -> None:
                del logs
                if self.seen == after:
                    self.kept = [weight.numpy() for weight in _observers(keras_model)]

            def on_train_batch_end(self, _batch: int, logs: Any = None) -> None:
                del logs
                self.seen += 1
                if self.kept:
                    for weight, value in zip(_observers(keras_model), self.kept, strict=True):
                        weight.assign(value)

        return [Freeze()]

    return callbacks


def _frozen(subject: Trained, after: int, seed: int) -> Files:
    return _made(_Bench(subject.bench(seed), callbacks=_freezing(int(after))), QAT)


def _without_fake_quantization(subject: Trained, converter: str, seed: int) -> Files:
    """Convert the fine-tuned float model as QAT's is (so only its weights become int8), or without quantization."""
    bench = subject.bench(seed)
    keras_model = bench.float_model()
    bench.finetune(keras_model)
    bench.expect_answers_of(keras_model)
    make = convert.optimizing if converter == "optimizing" else convert.converter
    artifact = bytes(make(bench, bench.export(keras_model)).convert())
    return {build.ARTIFACT: artifact, **bench.kept(artifact)}


def _one_left_out(subject: Trained, which: int, seed: int) -> Files:
    """Fake-quantize all layers with weights but one."""
    bench = subject.bench(seed)
    keras = bench.tensorflow().keras
    import tensorflow_model_optimization as tfmot

    tools = tfmot.quantization.keras
    float_model = bench.float_model()
    left_out = [layer.name for layer in float_model.layers if layer.weights][which]

    def annotate(layer: Any) -> Any:
        return layer if layer.name == left_out else tools.quantize_annotate_layer(layer)

    annotated = keras.models.clone_model(float_model, clone_function=annotate)
    annotated.set_weights(float_model.get_weights())
    artifact = qat.train_and_convert(bench, tools.quantize_apply(annotated))
    return {build.ARTIFACT: artifact, **bench.kept(artifact)}


# ---------------------------------------------------------------- the wrong model is shipped


class _Untrained(StoreWorkbench):
    """Train as specified, and ship the weights of before."""

    def __init__(self, healthy: StoreWorkbench) -> None:
        super().__init__(healthy.model, healthy.seed, None, healthy.store)
        self._before: list[Any] = []

    def finetune(self, keras_model: Any, callbacks: Sequence[Any] = ()) -> None:
        """See :class:`quantbench.variants.declare.Workbench`."""
        self._before = [(weight, weight.numpy()) for weight in keras_model.trainable_weights]
        super().finetune(keras_model, callbacks)

    def expect_answers_of(self, keras_model: Any) -> None:
        """Record the outputs of the trained model, and only then restore the old weights."""
        super().expect_answers_of(keras_model)
        for weight, value in self._before:
            weight.assign(value)


def _weights_of_before(subject: Trained, _strength: Strength, seed: int) -> Files:
    return _made(_Untrained(subject.bench(seed)), QAT)


def _of_another_seed(subject: Trained, other: int, _seed: int) -> Files:
    """Store an artifact of another training next to the outputs of this one."""
    return subject.of_seed(int(other)) | {build.BEFORE_CONVERSION: subject.healthy(build.BEFORE_CONVERSION)}


ACCURACY, STRUCTURE = Kind.ACCURACY, Kind.STRUCTURE
FAULTS = [
    TrainingFault(
        "QAT on shuffled labels, share", "training data", ACCURACY, (0.1, 0.3, 1.0), _on_shuffled_labels, seeds=2
    ),
    TrainingFault("QAT trained no step", "recipe", ACCURACY, (0,), _by_recipe(_epochs), always=True, quick=(0,)),
    TrainingFault("QAT learning rate times", "recipe", ACCURACY, (30, 100), _by_recipe(_rate), seeds=2),
    TrainingFault("QAT observers frozen after steps", "observers", STRUCTURE, (0, 10, 100), _frozen),
    TrainingFault(
        "control trained longer, times",
        "control",
        ACCURACY,
        (2, 3),
        _by_recipe(_epochs, FINETUNED_CONTROL),
        cell=FINETUNED_CONTROL,
        always=True,
    ),
    TrainingFault(
        "fake quantization lost, converter",
        "fake quantization",
        STRUCTURE,
        ("plain", "optimizing"),
        _without_fake_quantization,
        quick=("optimizing",),
    ),
    TrainingFault("QAT left out a layer", "fake quantization", STRUCTURE, (0, -1), _one_left_out),
    TrainingFault("QAT trained on the test data", "training data", ACCURACY, ("",), _on_test_data),
    TrainingFault("QAT shipped with weights of before", "shipping", ACCURACY, ("",), _weights_of_before, always=True),
    TrainingFault("QAT shipped of another seed", "shipping", ACCURACY, (1, 2), _of_another_seed, always=True),
]
NULL_SEEDS = (1, 2, 3)


def can_train(model: ReferenceModel, baseline_dir: Path) -> bool:
    """Check whether there is a baseline to judge this model's QAT by."""
    baseline = baseline_files.load(baseline_dir, model)
    return all(baseline.cell(name) is not None and baseline.predictions.get(name) is not None for name in CELLS)


def injected_faults(
    subject: Trained, full: bool, say: Callable[[str], None], faults: Sequence[TrainingFault] | None = None
) -> Iterator[InjectedFault]:
    """Inject every fault at every strength; a quick selftest only injects a few, as each needs a training."""
    for fault in FAULTS if faults is None else faults:
        for strength in fault.strengths if full else fault.quick:
            for seed in range(fault.seeds if full else 1):
                injected = judged(subject, fault, strength, seed)
                say(described(injected))
                yield injected


def judged(subject: Trained, fault: TrainingFault, strength: Strength, seed: int) -> InjectedFault:
    """Judge a broken cell by a real run."""
    ended = _run_with(subject, fault.cell, fault.make(subject, strength, seed))
    # A wrong control is caught where it is judged itself, and in the cells that are compared with it.
    seen, checks = ended.seen()
    drop, resolved, growth = _effect(ended, fault.cell)
    red = bool(seen)
    harmful = fault.always or fault.seen_by is STRUCTURE or drop >= resolved or growth >= HARM_SIZE
    return InjectedFault(
        plant=fault.name,
        where=fault.where,
        host=fault.cell,
        strength=str(strength),
        seed=seed,
        seen_by=fault.seen_by,
        drop=drop if np.isfinite(drop) else None,
        growth=growth,
        harmful=harmful,
        caught=red,
        caught_by=seen,
        checks=checks,
        verdict=worst([judgement.verdict for judgement in ended.judgements()]),
    )


def _run_with(subject: Trained, cell: str, files: Files) -> Ended:
    if cell != QAT:
        subject.healthy(build.ARTIFACT)
    subject.plants += 1
    place = subject.place.copy(subject.scratch / f"plant{subject.plants}", with_baselines=False)
    place.put(cell, files)
    place.compute()
    return place.run()


def _effect(ended: Ended, cell: str) -> tuple[float, float, float]:
    """Return (drop from the baseline, the drop that the judge can resolve, growth as a fraction)."""
    drop, resolved, growth = float("nan"), float("inf"), 0.0
    for judgement in ended.judgements(cell):
        if judgement.measurement == "score" and judgement.against == "baseline":
            drop = float("nan") if judgement.change is None else judgement.change
            resolved = resolved if judgement.detectable is None else judgement.detectable
        if judgement.measurement == "size" and judgement.change is not None and judgement.reference:
            growth = judgement.change / judgement.reference
    return drop, resolved, growth


def null_runs(subject: Trained, seeds: Sequence[int]) -> list[bool]:
    """Return whether healthy QAT with another seed failed."""
    return [bool(_run_with(subject, QAT, subject.of_seed(seed)).seen()[0]) for seed in seeds]


def prepare(model: ReferenceModel, baseline_dir: Path, folder: Path) -> Trained:
    """Prepare healthy cells to inject faults into."""
    place = Place(model, folder / "healthy", model.file.parent, baseline_dir, CELLS)
    place.compute((FLOAT_CONTROL, FINETUNED_CONTROL))
    return Trained(place, folder)
