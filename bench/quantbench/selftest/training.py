"""Inject faults into training: QAT and its control are really trained wrong, and a real run judges them by the
accepted baselines, whose noise comes from five seeds.

Harm is fixed beforehand: half a point lost on the mean of the trainings with that fault, whatever the judge can
resolve. A cell that looks worse is trained with more seeds, as in any run; they have the same fault.
"""

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from quantbench import gate
from quantbench.baselines import files as baseline_files
from quantbench.build import artifact as build
from quantbench.build.artifact import StoreWorkbench
from quantbench.build.store import Store
from quantbench.records import BaselineCell, InjectedFault, Judgement, Kind, worst
from quantbench.reference.datasets import Pack, Split
from quantbench.reference.model import Recipe, ReferenceModel
from quantbench.reference.training import seed_everything
from quantbench.selftest.artifact import HARM_SIZE, described
from quantbench.selftest.runs import Ended, Place
from quantbench.variants import FLOAT_CONTROL, VARIANTS, convert, qat
from quantbench.variants.declare import FINETUNED_CONTROL

QAT = "qat_wi8_ai8"
CELLS = (FLOAT_CONTROL, FINETUNED_CONTROL, QAT)
HARM_PP = 0.5
# A nightly run has 119 trained cells. Where all were trained anew, they share the budget: the hardest case for each.
BUDGET = gate.DEFAULT_BUDGET / 119
SEEDS = 5  # of a cell that looks worse: fewer than in a run, to save time
_ORDER, _EXAMPLES = "order of the first epoch", "examples an epoch"
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
        control: makes the files of the QAT cell's control, where that is broken alike.
        one_of_five: only the first seed is broken, and further ones are healthy.
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
    control: Callable[["Trained", Any, int], Files] | None = None
    one_of_five: bool = False


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
        broken: files of each plant, as far as trained: name, strength, seed -> files.
    """

    place: Place
    scratch: Path
    others: dict[int, Files] = field(default_factory=dict)
    broken: dict[tuple[str, Strength, int], Files] = field(default_factory=dict)
    plants: int = 0

    def bench(self, seed: int = 0) -> StoreWorkbench:
        """Create a healthy workbench with every random generator at ``seed``, and an empty store."""
        seed_everything(seed)
        self.plants += 1
        return StoreWorkbench(self.place.model, seed, None, Store(self.scratch / f"stages{self.plants}"))

    def healthy(self, name: str, variant: str = QAT) -> bytes:
        """Read a file of a healthy cell, which is made when first needed."""
        self.place.compute([variant])
        built = build.find(self.place.model, VARIANTS[variant], 0, None, self.place.store)
        assert built is not None
        assert built.path is not None
        return (built.path.parent / name).read_bytes()

    def with_facts(self, variant: str, cell: BaselineCell) -> BaselineCell:
        """Add the facts of the healthy training to a baseline of before these were recorded; they repeat exactly."""
        if variant not in CELLS or not VARIANTS[variant].trained or cell.training:
            return cell
        return cell.model_copy(update={"training": json.loads(self.healthy(build.FACTS, variant))})

    def as_usual(self, files: Files) -> Files:
        """Give a training the order of examples that its place has: another seed's order is no part of the plant."""
        usual = json.loads(self.healthy(build.FACTS))
        facts = json.loads(files.get(build.FACTS, b"[]"))
        for mine, his in zip(facts, usual, strict=False):
            if mine.get(_EXAMPLES) == his.get(_EXAMPLES):
                mine[_ORDER] = his.get(_ORDER, "")
        return files | {build.FACTS: json.dumps(facts).encode()}

    def of_seed(self, seed: int) -> Files:
        """Train healthy QAT with another seed, once."""
        if seed not in self.others:
            self.others[seed] = _made(self.bench(seed), QAT)
        return self.others[seed]

    def with_fault(self, fault: TrainingFault, strength: Strength, seed: int) -> Files:
        """Train with a fault, once for each seed."""
        key = (fault.name, strength, seed)
        if key not in self.broken:
            self.broken[key] = fault.make(self, strength, seed)
        return self.broken[key]


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


def _on_noisy_images(subject: Trained, sd: float, seed: int) -> Files:
    """Train on images with noise of so many grey levels, as a broken augmentation leaves them; no fact shows it."""

    def change(pack: Pack) -> Pack:
        assert pack.train is not None
        assert isinstance(pack.train.x, np.ndarray)
        noise = np.random.default_rng(seed).normal(0, sd, pack.train.x.shape)
        x = np.clip(np.round(pack.train.x + noise), 0, 255).astype(pack.train.x.dtype)
        return dataclasses.replace(pack, train=Split(x, pack.train.y))

    return _made(_Bench(subject.bench(seed), change=change), QAT)


def _on_share(subject: Trained, share: float, seed: int) -> Files:
    """Train on the first examples alone."""

    def change(pack: Pack) -> Pack:
        assert pack.train is not None
        assert isinstance(pack.train.x, np.ndarray)
        count = int(share * len(pack.train.y))
        return dataclasses.replace(pack, train=Split(pack.train.x[:count], pack.train.y[:count]))

    return _made(_Bench(subject.bench(seed), change=change), QAT)


def _stopped(subject: Trained, share: float, seed: int) -> Files:
    """End the training after a share of its steps."""
    bench = subject.bench(seed)
    most = int(share * bench.finetune_steps())

    def callbacks(keras: Any, keras_model: Any) -> list[Any]:
        class Stop(keras.callbacks.Callback):  # type: ignore[misc]
            def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
                del logs
                if batch + 1 >= most:
                    keras_model.stop_training = True

        return [Stop()]

    return _made(_Bench(bench, callbacks=callbacks), QAT)


def _by_recipe(change: Callable[[Recipe, Any], Recipe], variant: str = QAT) -> Callable[[Trained, Any, int], Files]:
    def make(subject: Trained, strength: Any, seed: int) -> Files:
        return _made(_Bench(subject.bench(seed), recipe=lambda recipe: change(recipe, strength)), variant)

    return make


def _epochs(recipe: Recipe, times: float) -> Recipe:
    return dataclasses.replace(recipe, epochs=int(times * recipe.epochs))


def _more_epochs(recipe: Recipe, more: float) -> Recipe:
    return dataclasses.replace(recipe, epochs=recipe.epochs + int(more))


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
    TrainingFault("QAT on shuffled labels, share", "training data", ACCURACY, (0.1, 0.3, 1.0), _on_shuffled_labels),
    # Tuned once, by one training each, to lose about half a point.
    TrainingFault(
        "QAT half a point worse by labels, share", "training data", ACCURACY, (0.12,), _on_shuffled_labels, seeds=3
    ),
    TrainingFault(
        "QAT half a point worse by noise, grey levels", "training data", ACCURACY, (21.0,), _on_noisy_images, seeds=5
    ),
    TrainingFault("QAT stopped after a share of its steps", "recipe", ACCURACY, (0.25,), _stopped, always=True),
    TrainingFault("QAT on a share of the examples", "training data", ACCURACY, (0.5,), _on_share, always=True),
    TrainingFault(
        "QAT and control trained longer, epochs",
        "recipe",
        ACCURACY,
        (1,),
        _by_recipe(_more_epochs),
        always=True,
        control=_by_recipe(_more_epochs, FINETUNED_CONTROL),
    ),
    TrainingFault(
        "one of five seeds bad by noise, grey levels",
        "training data",
        ACCURACY,
        (45.0,),
        _on_noisy_images,
        one_of_five=True,
    ),
    TrainingFault("QAT trained no step", "recipe", ACCURACY, (0,), _by_recipe(_epochs), always=True, quick=(0,)),
    # Another rate is another recipe than the accepted one.
    TrainingFault("QAT learning rate times", "recipe", ACCURACY, (10, 30, 100), _by_recipe(_rate), always=True),
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
    TrainingFault("QAT trained on the test data", "training data", ACCURACY, ("",), _on_test_data, always=True),
    TrainingFault("QAT shipped with weights of before", "shipping", ACCURACY, ("",), _weights_of_before, always=True),
    TrainingFault("QAT shipped of another seed", "shipping", ACCURACY, (1, 2), _of_another_seed, always=True),
]
# None of the baselines' own seeds, 0 to 4; they make the nulls, and serve each other as the seeds on suspicion.
NULL_SEEDS = (101, 102, 103, 104, 105, 106, 107, 108)


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
            found = [judged(subject, fault, strength, seed) for seed in range(fault.seeds if full else 1)]
            for injected in with_mean_harm(found, fault):
                say(described(injected))
                yield injected


def with_mean_harm(found: Sequence[InjectedFault], fault: TrainingFault) -> list[InjectedFault]:
    """Call all trainings with one fault harmful where their mean lost half a point."""
    drops = [injected.drop for injected in found if injected.drop is not None]
    lost = bool(drops) and float(np.mean(drops)) >= HARM_PP
    return [injected.model_copy(update={"harmful": lost or _harmful(fault, injected)}) for injected in found]


def _harmful(fault: TrainingFault, injected: InjectedFault) -> bool:
    lost = injected.drop is not None and injected.drop >= HARM_PP and fault.seeds == 1
    return fault.always or fault.seen_by is STRUCTURE or lost or injected.growth >= HARM_SIZE


def judged(subject: Trained, fault: TrainingFault, strength: Strength, seed: int) -> InjectedFault:
    """Judge a broken cell by a real run."""

    def files(place: int) -> Files:
        if place and fault.one_of_five:
            return subject.of_seed(NULL_SEEDS[place])
        return subject.with_fault(fault, strength, seed + place)

    control = None if fault.control is None else fault.control(subject, strength, seed)
    first, ended = _run_with(subject, fault.cell, files, control)
    # A wrong control is caught where it is judged itself, and in the cells that are compared with it.
    seen, checks = ended.seen()
    drop, growth = _effect(first, fault.cell)  # of this training alone, whatever others were trained on suspicion
    injected = InjectedFault(
        plant=fault.name,
        model=subject.place.model.name,
        where=fault.where,
        host=fault.cell,
        strength=str(strength),
        seed=seed,
        seen_by=fault.seen_by,
        drop=drop if np.isfinite(drop) else None,
        growth=growth,
        harmful=False,
        caught=bool(seen),
        caught_by=seen,
        checks=checks,
        verdict=worst([judgement.verdict for judgement in ended.judgements()]),
    )
    return injected.model_copy(update={"harmful": _harmful(fault, injected)})


def _run_with(
    subject: Trained, cell: str, files: Callable[[int], Files], control: Files | None = None
) -> tuple[Ended, Ended]:
    """Run with these files as the cell's first seed; where that looks worse, again with those of four more seeds.

    Further seeds of a control are not trained: it is judged as it is.

    Returns:
        How the run with one seed ended, and the one that counts, which may be the same.
    """
    if cell != QAT:
        subject.healthy(build.ARTIFACT)
    subject.plants += 1
    place = subject.place.copy(subject.scratch / f"plant{subject.plants}", with_baselines=False)
    place.put(cell, subject.as_usual(files(0)))
    if control is not None:
        place.put(FINETUNED_CONTROL, subject.as_usual(control))
    place.compute()
    first = place.run(budget=BUDGET)
    # Where another measurement is red already, more seeds change nothing.
    if cell != QAT or not _looks_worse(first) or first.seen()[1] not in ([], ["score"]):
        return first, first
    for more in range(1, SEEDS):
        place.put(cell, subject.as_usual(files(more)), more)
        place.compute([cell], seed=more)
    return first, place.run(seeds_on_suspicion=SEEDS, budget=BUDGET)


def _looks_worse(ended: Ended) -> bool:
    return any(
        one.p_value is not None and one.p_value <= gate.SUSPICIOUS for one in ended.judgements(QAT) if _of_score(one)
    )


def _of_score(judgement: Judgement) -> bool:
    return judgement.measurement == "score" and judgement.against == "baseline"


def _effect(ended: Ended, cell: str) -> tuple[float, float]:
    """Return (drop from the baseline, growth as a fraction)."""
    drop, growth = float("nan"), 0.0
    for judgement in ended.judgements(cell):
        if _of_score(judgement) and judgement.change is not None:
            drop = judgement.change
        if judgement.measurement == "size" and judgement.change is not None and judgement.reference:
            growth = judgement.change / judgement.reference
    return drop, growth


def null_runs(subject: Trained, seeds: Sequence[int]) -> list[bool]:
    """Return whether healthy QAT with another seed failed; each looks at the next ones where it looks worse."""
    reds = []
    for start in range(len(seeds)):
        turn = [*seeds[start:], *seeds[:start]]
        ended = _run_with(subject, QAT, lambda place, turn=turn: subject.of_seed(turn[place]))[1]  # type: ignore[misc]
        reds.append(bool(ended.seen()[0]))
    return reds


def prepare(model: ReferenceModel, baseline_dir: Path, folder: Path) -> Trained:
    """Prepare healthy cells to inject faults into, judged by a copy of the accepted baselines."""
    baselines = folder / "baselines"
    place = Place(model, folder / "healthy", model.file.parent, baselines, CELLS)
    subject = Trained(place, folder)
    place.compute()
    accepted = baseline_files.load(baseline_dir, model)
    assert accepted.file is not None
    cells = {name: subject.with_facts(name, cell) for name, cell in accepted.file.cells.items()}
    baseline_files.save(baselines, accepted.file.model_copy(update={"cells": cells}), accepted.predictions)
    return subject
