"""Work out what is scored from the float model's outputs and the labels, as pure functions of arrays.

Labels can be read in several forms: whole numbers as classes, rows of a single 1 as classes, numbers to come close to.
Each reading that fits an output is a :class:`Reading`; where two are left that the data does not decide between, the
user is asked, with the option to give.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from scipy.special import expit, logsumexp

from quantbench.adopt.outputs import Output
from quantbench.core.arrays import Array, Inputs
from quantbench.errors import BadInput
from quantbench.reference.metrics import (
    ACCURACY,
    BINARY_ACCURACY,
    BINARY_ACCURACY_LOGITS,
    COLUMN_ERROR,
    F1,
    F1_LOGITS,
    LABEL_F1,
    LABEL_F1_LOGITS,
    MAE_OF_SPREAD,
    MASK_ACCURACY,
    MASK_ACCURACY_LOGITS,
    MEAN_ABSOLUTE_ERROR,
    PIXEL_ACCURACY,
    RELATIVE_ERROR,
    TOKEN_ACCURACY,
    Metric,
    boxes,
    by_name,
    own,
    select,
    sequences,
    spreads,
)

Form = Literal[
    "classes", "one-hot", "signs", "flags", "values", "positions", "one-hot positions", "normal", "as given", "none"
]
# Columns whose spreads differ by more than this are of unlike kinds: one error over all would be that of the largest.
UNLIKE = 10.0
MOST_COLUMNS = 1000  # more are an image or a signal, not columns that each mean something
# A reading, or an output, is taken for the right one where the float model is better by this than by the next one; 0 is
# no better than always giving the commonest answer, 1 is perfect. Unrelated labels stay near 0.
CLEARLY_BETTER = 0.2
# An autoencoder leaves less than this share of its input's variance; a classifier whose classes happen to be as many as
# its inputs leaves more than all of it.
REBUILT = 0.5
# A logit leaves 0..1 by far; a model trained to come close to 0 and 1 by squared error leaves it by little.
NEAR_UNIT = 0.5
# An output column with fewer steps than this where float32 takes many values: 3 bits of a number.
DEAD_LEVELS = 8
_MANY = 4  # times as many values in float32, before a column counts as having lost them
_BOUNDED = ("sigmoid", "hard_sigmoid", "softmax")


@dataclass(frozen=True)
class Asked:
    """Hold what the user said about the scoring, all empty where it is to be worked out.

    Attributes:
        metric: a name or ``file.py:NAME``, or ``OUTPUT=NAME`` for each of several outputs, comma-separated.
        output: name of the output that the labels ``y`` are of, and that is judged first; several, comma-separated, are
            taken together.
        labels: form of the labels: classes, one-hot, flags, values, positions, or ``normal:N``.
    """

    metric: str = ""
    output: str = ""
    labels: str = ""


@dataclass(frozen=True)
class Probe:
    """Hold what the float model makes of some examples, prepared in one way.

    Attributes:
        inputs: as the model got them.
        outputs: by key, in the model's own order, shape (n, ...).
    """

    inputs: Inputs
    outputs: dict[str, Array]


@dataclass(frozen=True)
class Judged:
    """Hold one scored output.

    Attributes:
        output: name, as the user knows it; several that are scored together are comma-separated.
        metric: selects its output by itself.
        labels: of the test split, in the form that the metric takes; empty where there are none, so that the float
            model's own outputs have to take their place.
        evidence: why it is scored so, one sentence each.
        form: how labels were read, see :func:`in_form`.
        source: name of the labels in the data: empty for ``y``, NAME for ``y_NAME``.
        loss: for training, as in a model's file; empty where there is none.
        made: name or ``file.py:NAME`` by which the metric is made, see :func:`quantbench.reference.metrics.by_name`.
        shape: of one example's output; empty where there are several.
    """

    output: str
    metric: Metric
    labels: Array
    evidence: list[str] = field(default_factory=list)
    form: Form = "none"
    source: str = ""
    loss: str = ""
    made: str = ""
    shape: tuple[int, ...] = ()

    @property
    def labelled(self) -> bool:
        """Whether there are labels of it."""
        return self.form != "none"


@dataclass(frozen=True)
class Reading:
    """Hold one way to read labels as those of an output.

    Attributes:
        why: what in the data speaks for it, as the end of a sentence.
        option: what to give to have it so.
    """

    form: Form
    metric: Metric
    loss: str
    why: str
    option: str
    made: str = ""


def work_out(
    probes: Sequence[Probe], known: Sequence[Output], labels: dict[str, Array], asked: Asked, where: object
) -> list[Judged]:
    """Work out which outputs are scored, and how; the first is the main one.

    Args:
        probes: the float model's outputs on the first test examples, one for each possible scale of the inputs.
        known: the outputs, in the model's own order.
        labels: of all test examples: empty name for ``y``, NAME for ``y_NAME``.
        where: the data, for messages.

    Raises:
        BadInput: labels or options fit no output, or two readings are possible.
    """
    chosen = _named_outputs(asked.output, known)
    metrics = _asked_metrics(asked.metric, known)
    labelled: list[Judged] = []
    for source, y in labels.items():
        if source:
            output = _output_called(source, known, f"{where}: y_{source}: ")
            labelled.append(_judged([output], y, source, probes, asked, metrics, where))
    if "" in labels:
        taken = {one.output for one in labelled}
        free = chosen or [one for one in known if one.name not in taken]
        if not free:
            raise BadInput(f"{where}: y: every output has labels of its own (y_NAME); take y out, or rename it")
        labelled.append(_of_unnamed(labels[""], chosen, free, probes, asked, metrics, where))
    if not labelled:
        return _unlabelled(chosen, known, metrics, where)
    order = [one.name for one in known]
    labelled.sort(key=lambda one: order.index(one.output.split(", ")[0]))
    if chosen and (first := ", ".join(one.name for one in chosen)) in [one.output for one in labelled]:
        labelled.sort(key=lambda one: one.output != first)
    elif chosen:
        raise BadInput(f"--output: {asked.output} has no labels in {where}; give y, or y_{chosen[0].name}")
    covered = {name for one in labelled for name in one.output.split(", ")}
    rest = [_closeness([one], len(known) > 1) for one in known if one.name not in covered]
    return labelled + rest


# ---------------------------------------------------------------- which output


def _named_outputs(text: str, known: Sequence[Output]) -> list[Output]:
    return [_output_called(name.strip(), known, "--output: ") for name in text.split(",") if name.strip()]


def _output_called(name: str, known: Sequence[Output], begin: str) -> Output:
    for one in known:
        if name in (one.name, one.key):
            return one
    raise BadInput(f"{begin}the model has no output of that name; its outputs are {_names(known)}")


def _names(outputs: Sequence[Output]) -> str:
    return ", ".join(one.name for one in outputs)


def _asked_metrics(text: str, known: Sequence[Output]) -> dict[str, str]:
    """Return output name -> metric; an empty name is for whichever output has labels. Raises BadInput."""
    asked: dict[str, str] = {}
    for part in text.split(",") if text else []:
        output, equals, metric = part.strip().partition("=")
        name = _output_called(output, known, "--metric: ").name if equals else ""
        asked[name] = metric if equals else output
    return asked


def _of_unnamed(
    y: Array,
    chosen: list[Output],
    free: list[Output],
    probes: Sequence[Probe],
    asked: Asked,
    metrics: dict[str, str],
    where: object,
) -> Judged:
    """Find the output that ``y`` is of: the one named, the only one that fits, or the one that clearly agrees with it."""
    if chosen or len(free) == 1:
        return _judged(free, y, "", probes, asked, metrics, where)
    found, refused = [], []
    for one in free:
        try:
            found.append(_judged([one], y, "", probes, asked, metrics, where))
        except BadInput as error:
            refused.append(str(error))
    widths = [_width(probes[0].outputs[one.key]) for one in free]
    if not found and y.size == len(y) * sum(widths):
        together = _judged(free, y, "", probes, asked, metrics, where)
        word = (
            f"y has {sum(widths)} columns, one for each value of the outputs {_names(free)}, in the model's own order"
        )
        return replace(together, evidence=[word, *together.evidence])
    if not found:
        shapes = ", ".join(f"{one.name} {probes[0].outputs[one.key].shape[1:]}" for one in free)
        raise BadInput(
            f"{where}: y has shape {y.shape} ({y.dtype}) and fits none of the outputs ({shapes}); give labels as y_NAME"
        )
    if len(found) == 1:
        word = f"y fits {found[0].output!r} alone among the outputs {_names(free)}"
        return replace(found[0], evidence=[word, *found[0].evidence])
    by_skill = sorted(((_skill(one, probes), one) for one in found), key=lambda pair: -pair[0])
    (best, first), (next_best, second) = by_skill[0], by_skill[1]
    if best < max(CLEARLY_BETTER, next_best + CLEARLY_BETTER):
        raise BadInput(
            f"{where}: y may be the labels of {first.output!r} or of {second.output!r} (agreement beyond chance "
            f"{100 * best:.0f} % and {100 * next_best:.0f} %); say --output {first.output}, or name the array "
            f"y_{first.output}"
        )
    word = (
        f"y is taken for the labels of {first.output!r}: float32 agrees with them {100 * best:.0f} % beyond chance, "
        f"and {second.output!r} {100 * max(0.0, next_best):.0f} %"
    )
    return replace(first, evidence=[word, *first.evidence])


def _width(output: Array) -> int:
    return int(np.prod(output.shape[1:]))


def _closeness(outputs: Sequence[Output], several: bool) -> Judged:
    """Judge outputs without labels by how close they are to the float model's own."""
    metric = RELATIVE_ERROR.of(*(one.key for one in outputs)) if several else RELATIVE_ERROR
    name = _names(outputs)
    word = f"{name!r} has no labels: it is judged by how close it stays to float32"
    return Judged(name, metric, np.zeros(0), [word], made=RELATIVE_ERROR.name)


def _unlabelled(chosen: list[Output], known: Sequence[Output], metrics: dict[str, str], where: object) -> list[Judged]:
    for name in metrics.values():
        if name != RELATIVE_ERROR.name:
            raise BadInput(f"{where}: has no labels y, which the metric {name} needs")
    judged = _closeness(chosen or list(known), bool(chosen) and len(known) > 1)
    word = "no labels y: variants are judged by how far their outputs are from the float model's"
    return [replace(judged, evidence=[word])]


# ---------------------------------------------------------------- how labels are read


def _judged(
    outputs: list[Output],
    y: Array,
    source: str,
    probes: Sequence[Probe],
    asked: Asked,
    metrics: dict[str, str],
    where: object,
) -> Judged:
    name = _names(outputs)
    array = f"y_{source}" if source else "y"
    seen = _Seen.of(outputs, y, probes, array, where)
    given = metrics.get(name, metrics.get("", ""))
    reading = seen.asked(given, asked.labels) if given else seen.worked_out(asked.labels)
    labels = in_form(reading.form, y)
    metric = reading.metric
    if metric.undefined and (why := metric.undefined(labels)):
        raise BadInput(f"{where}: {array}: {why}")
    if not seen.alone:
        metric = metric.of(*(one.key for one in outputs))
    made = reading.made or metric.name
    return Judged(name, metric, labels, [reading.why], reading.form, source, reading.loss, made, seen.out.shape[1:])


def in_form(form: Form, y: Array) -> Array:
    """Convert labels to what metric and loss take, by the form in which they were read."""
    if form in ("classes", "normal"):
        return np.asarray(y.reshape(len(y)).astype(np.int64))
    if form == "one-hot":
        return np.asarray(np.argmax(y.reshape(len(y), -1), axis=1).astype(np.int64))
    if form == "signs":
        return np.asarray((y.reshape(len(y)) > 0).astype(np.int64))
    if form == "flags":
        return np.asarray((y.reshape(len(y), -1) > 0.5).astype(np.uint8))
    if form == "positions":
        return np.asarray((y[..., 0] if y.ndim > 2 and y.shape[-1] == 1 else y).astype(np.int32))
    if form == "one-hot positions":
        return np.asarray(np.argmax(y, axis=-1).astype(np.int32))
    return y


@dataclass(frozen=True)
class _Seen:
    """Hold what labels and the outputs of one judgement look like.

    Attributes:
        where, array: the data and the labels' name in it, for messages.
        outputs: one for each probe, several outputs joined.
        alone: whether the model has no other output.
    """

    where: object
    array: str
    name: str
    y: Array
    outputs: list[Array]
    inputs: list[Inputs]
    activation: str
    alone: bool
    joined: bool

    @classmethod
    def of(cls, outputs: list[Output], y: Array, probes: Sequence[Probe], array: str, where: object) -> "_Seen":
        keys = tuple(one.key for one in outputs)
        found = [select(probe.outputs, keys) for probe in probes]
        activations = {one.activation for one in outputs}
        return cls(
            where,
            array,
            _names(outputs),
            y,
            found,
            [probe.inputs for probe in probes],
            activations.pop() if len(activations) == 1 else "",
            len(probes[0].outputs) == 1,
            len(outputs) > 1,
        )

    # ---------- facts

    @property
    def out(self) -> Array:
        return self.outputs[0]

    @property
    def width(self) -> int:
        return _width(self.out)

    @property
    def numbers(self) -> int:
        """How many numbers each example's labels are."""
        return self.y.size // len(self.y)

    @property
    def whole(self) -> bool:
        return whole_numbers(self.y)

    @property
    def zero_one(self) -> bool:
        return self.whole and self.y.min() >= 0 and self.y.max() <= 1

    @property
    def probabilities(self) -> bool:
        flat = [one.reshape(-1, one.shape[-1]) for one in self.outputs]
        return all(are_probabilities(one) for one in flat)

    @property
    def scale(self) -> Literal["half", "zero", "either"]:
        """Say where a score per class 1 is cut: at a half (a probability), at 0 (a logit), or at either of both."""
        if self.activation in _BOUNDED:
            return "half"
        lowest = min(float(one.min()) for one in self.outputs)
        highest = max(float(one.max()) for one in self.outputs)
        if self.activation == "tanh":
            return "zero"
        if lowest >= 0 and highest <= 1:
            return "half"
        return "zero" if lowest < -NEAR_UNIT or highest > 1 + NEAR_UNIT else "either"

    @property
    def range(self) -> str:
        lowest = min(float(one.min()) for one in self.outputs)
        highest = max(float(one.max()) for one in self.outputs)
        ends = f", and it ends with {self.activation}" if self.activation else ""
        return f"its values are {lowest:.3g} to {highest:.3g}{ends}"

    @property
    def like_input(self) -> bool:
        """Whether the output has the shape of the model's only input."""
        given = self.inputs[0]
        return isinstance(given, np.ndarray) and given.shape == self.out.shape and self.width > 1

    @property
    def rebuilt(self) -> bool:
        """Whether the output is the input again, by most of its variance."""
        return any(
            isinstance(given, np.ndarray) and _left_over(out, given) < REBUILT
            for out, given in zip(self.outputs, self.inputs, strict=True)
        )

    def bad(self, words: str) -> BadInput:
        return BadInput(f"{self.where}: {self.array} {words}")

    # ---------- worked out

    def worked_out(self, wanted: str) -> Reading:
        """Return the one reading that fits. Raises BadInput where there is none, or two."""
        form, _, normal = wanted.partition(":")
        if form == "normal":
            return self._normal(self._normal_label(normal))
        found = self._readings()
        if form:
            chosen = [one for one in found if one.form == form or one.form.startswith(f"{form} ")]
            if form == "values" and not chosen and self.numbers == self.width:
                chosen = [self._values()]
            if not chosen:
                raise BadInput(
                    f"--labels: {self.array} of shape {self.y.shape} ({self.y.dtype}) cannot be read as {form} with "
                    f"outputs of shape {self.out.shape[1:]}; it may be one of: "
                    f"{', '.join(sorted({one.form for one in found})) or 'nothing'}"
                )
            found = chosen
        if not found:
            raise self.bad(
                f"has shape {self.y.shape} ({self.y.dtype}), which fits outputs of shape {self.out.shape[1:]} in no "
                "form that is known; give other labels, or --metric file.py:NAME"
            )
        if len(found) > 1:
            words = ", or ".join(f"{one.why} ({one.option})" for one in found)
            raise self.bad(f"can be read in {len(found)} ways: {words}; give the option of the one that is meant")
        return found[0]

    def _readings(self) -> list[Reading]:
        """List the readings that fit, after what the data decides between them."""
        if self.joined:
            return [self._values()] if self.numbers == self.width else []
        if self.numbers == 1 and self.y.size == len(self.y) and self.width == 1:
            return self._of_single()
        if self.y.size == len(self.y):
            return self._of_numbers()
        if self.out.ndim == 3 and self.y.ndim == 3 and not boxes.check(self.out, self.y):
            return [self._by_metric("mean_average_precision", "as given")]
        if self._at_positions():
            self._check_within(self.out.shape[-1])
            return [self._positions("positions")]
        if self.numbers != self.width:
            return []
        return [self._of_all_values()]

    def _of_numbers(self) -> list[Reading]:
        """Read one number per example for several output values: a class, or what the autoencoder is to detect."""
        if not self.whole:
            return []
        within = self.y.min() >= 0 and self.y.max() < self.width
        if self.like_input and not self.probabilities and len(np.unique(self.y)) > 1:
            if self.rebuilt:
                return [self._normal(0)] if (self.y == 0).any() else []
            if within and _class_skill(self._classes(), self) < CLEARLY_BETTER:
                return [self._normal(0), self._classes()]
        self._check_within(self.width)
        return [self._classes()]

    def _of_single(self) -> list[Reading]:
        values = set(np.unique(self.y[:100_000]).tolist()) if self.whole else set()
        if values and values <= {0, 1}:
            return self._binary("classes")
        if values == {-1, 1}:
            loss = "hinge"
            why = f"{self.array} is -1 or 1, so {self.name!r} is cut at 0"
            return [Reading("signs", BINARY_ACCURACY_LOGITS, loss, why, "--labels signs")]
        return [self._values()]

    def _binary(self, form: Form) -> list[Reading]:
        half = Reading(
            form,
            BINARY_ACCURACY,
            "binary_crossentropy",
            f"{self.array} is 0 or 1 and {self.name!r} is cut at 0.5, as a probability: {self.range}",
            f"--metric {BINARY_ACCURACY.name}",
        )
        zero = Reading(
            form,
            BINARY_ACCURACY_LOGITS,
            "binary_logits_loss",
            f"{self.array} is 0 or 1 and {self.name!r} is cut at 0, as a logit: {self.range}",
            f"--metric {BINARY_ACCURACY_LOGITS.name}",
        )
        return {"half": [half], "zero": [zero], "either": [half, zero]}[self.scale]

    def _of_all_values(self) -> Reading:
        """Read as many numbers per example as there are output values."""
        same_shape = self.y.shape[1:] == self.out.shape[1:]
        flat = self.out.ndim == 2
        if flat and one_hot(self.y.reshape(len(self.y), -1)):
            return replace(
                self._classes(), form="one-hot", why=f"rows of {self.array} are one-hot: {self.width} classes"
            )
        if flat and self.zero_one and self.activation != "softmax" and not self.probabilities:
            zero = self.scale == "zero"
            return Reading(
                "flags",
                LABEL_F1_LOGITS if zero else LABEL_F1,
                "binary_logits_loss" if zero else "binary_crossentropy",
                f"rows of {self.array} have any number of ones, so each column is a label by itself: {self.range}",
                "--labels flags",
            )
        channels = self.out.shape[-1]
        if not flat and same_shape and channels > 1 and one_hot(self.y.reshape(-1, channels)):
            return self._positions("one-hot positions")
        if not flat and self.zero_one and channels == 1 and not self._is_input():
            zero = self.scale == "zero"
            return Reading(
                "positions",
                MASK_ACCURACY_LOGITS if zero else MASK_ACCURACY,
                "binary_logits_loss" if zero else "binary_crossentropy",
                f"{self.array} is 0 or 1 at each position: {self.range}",
                "--labels positions",
            )
        return self._values()

    def _is_input(self) -> bool:
        given = self.inputs[0]
        return (
            isinstance(given, np.ndarray)
            and self.y[: len(given)].shape == given.shape
            and np.array_equal(self.y[: len(given)], given)
        )

    def _at_positions(self) -> bool:
        shape = self.y.shape[1:]
        places = self.out.shape[1:-1]
        return self.whole and self.out.ndim > 2 and self.out.shape[-1] > 1 and shape in (places, (*places, 1))

    def _positions(self, form: Form) -> Reading:
        image = self.out.ndim > 3
        metric = PIXEL_ACCURACY if image else TOKEN_ACCURACY
        where = "pixel" if image else "position"
        why = f"{self.array} of shape {self.y.shape} has a class for each {where} of outputs {self.out.shape[1:]}"
        return Reading(form, metric, self._class_loss(), why, "--labels positions")

    def _classes(self) -> Reading:
        dtype = "whole numbers" if self.y.dtype.kind in "iub" else f"whole numbers ({self.y.dtype})"
        why = f"{self.array} is {dtype} {self.y.min():g} to {self.y.max():g} for {self.width} class scores"
        return Reading("classes", ACCURACY, self._class_loss(), why, "--labels classes")

    def _class_loss(self) -> str:
        return "sparse_categorical_crossentropy" if self.probabilities else "logits_loss"

    def _normal(self, normal: int) -> Reading:
        if not self.like_input:
            raise self.bad(
                f"cannot tell normal from unusual inputs by their reconstruction: the output {self.name!r} has shape "
                f"{self.out.shape[1:]}, and not that of the input"
            )
        name = f"reconstruction_auc:{normal}"
        why = (
            f"the model rebuilds its input (equal shapes {self.out.shape[1:]}), so {self.array} tells normal "
            f"({normal}) from unusual examples"
        )
        return Reading("normal", by_name(name), "rebuilt", why, f"--labels normal:{normal}")

    def _normal_label(self, text: str) -> int:
        try:
            normal = int(text or "0")
        except ValueError:
            raise BadInput(f"--labels: normal:N takes a whole number, found {text!r}") from None
        if not self.whole or self.y.size != len(self.y) or not (self.y == normal).any():
            raise BadInput(f"--labels: normal:{normal} needs a whole number per example, and {normal} among them")
        return normal

    def _values(self) -> Reading:
        flat = self.y.reshape(len(self.y), -1)
        spread = spreads(flat)
        least, most = (float(spread[spread > 0].min()), float(spread.max())) if spread.any() else (0.0, 0.0)
        why = f"{self.array} has {self.numbers:,} number{'s'[: self.numbers > 1]} per example to come close to"
        if not most:
            return Reading("values", MEAN_ABSOLUTE_ERROR, "mean_squared_error", f"{why}, all equal", "--labels values")
        unlike = 1 < self.numbers <= MOST_COLUMNS and (self.joined or most > UNLIKE * least)
        if unlike:
            why += f"; the columns' spreads go from {least:.3g} to {most:.3g}, so each is measured by its own"
        else:
            why += f"; 100 % is their spread, a standard deviation of {float(np.sqrt(np.mean(spread**2))):.3g}"
        return Reading(
            "values", COLUMN_ERROR if unlike else MAE_OF_SPREAD, "mean_squared_error", why, "--labels values"
        )

    def _check_within(self, classes: int) -> None:
        least, most = int(self.y.min()), int(self.y.max())
        if least < 0 or most >= classes:
            hint = "; subtract 1, if they count from 1" if (least, most) == (1, classes) else ""
            raise self.bad(f"ranges from {least} to {most}; the model has classes 0 to {classes - 1}{hint}")

    # ---------- asked for

    def asked(self, given: str, wanted: str) -> Reading:
        """Return the reading that a metric given by the user needs. Raises BadInput where the labels do not fit it."""
        if own.is_own(given):
            file, name = own.parts(given)
            metric = own.from_file(file.absolute(), str(file.absolute()), name, self.out.shape[1:])
            why = f"scored by your own {name} in {file}"
            return Reading(self._own_form(wanted), metric, "", why, f"--metric {given}", given)
        metric = by_name(given)
        if self.width == 1 and metric in (ACCURACY, F1):
            return self._binary_by(metric)
        if metric.takes == "normal":
            return self._normal(self._normal_label(given.partition(":")[2]))
        form = self._form_for(metric)
        loss = self._loss_for(metric)
        return Reading(form, metric, loss, f"{metric.name} was asked for", f"--metric {given}", given)

    def _by_metric(self, name: str, form: Form) -> Reading:
        return Reading(form, by_name(name), "", f"{self.array} has boxes of the outputs' form", f"--metric {name}")

    def _own_form(self, wanted: str) -> Form:
        return self.worked_out(wanted).form if wanted else "as given"

    def _binary_by(self, metric: Metric) -> Reading:
        if not self.zero_one or self.y.size != len(self.y):
            raise self.bad(f"has shape {self.y.shape} ({self.y.dtype}); {metric.name} of one output takes 0 or 1 each")
        found = self._binary("classes")
        if len(found) > 1:
            words = ", or ".join(f"{one.why} ({one.option})" for one in found)
            raise self.bad(f"can be read in 2 ways: {words}; give the option of the one that is meant")
        if metric is ACCURACY:
            return replace(found[0], made=found[0].metric.name)
        chosen = F1_LOGITS if found[0].metric is BINARY_ACCURACY_LOGITS else F1
        return replace(found[0], metric=chosen, made=chosen.name)

    def _form_for(self, metric: Metric) -> Form:
        """Return the form in which these labels fit a metric. Raises BadInput where they do not."""
        width, begin = self.width, f"--metric: {metric.name}"
        if metric.takes == "binary":
            if width != 1:
                raise BadInput(f"{begin} takes a model with one output value, this one has {width}")
            if self.whole and self.y.size == len(self.y) and set(np.unique(self.y).tolist()) == {-1, 1}:
                return "signs"
            return self._one_each(metric, 2)
        if metric.takes == "classes":
            if width < 2:
                raise BadInput(f"{begin} takes a model with one output value a class; try binary_accuracy")
            if metric.name.startswith("top") and int(metric.name[3:]) >= width:
                raise BadInput(f"{begin} says nothing about a model with {width} classes")
            if self.numbers == width and one_hot(self.y.reshape(len(self.y), -1)):
                return "one-hot"
            return self._one_each(metric, width)
        if metric.takes == "identities":
            return self._one_each(metric, None)
        if metric.takes == "positions":
            return self._positions_for(metric)
        if metric.takes == "flags" and not (self.zero_one and self.numbers == width):
            raise self.bad(
                f"has shape {self.y.shape} ({self.y.dtype}); {metric.name} takes {width} zeros and ones each"
            )
        if metric.takes == "flags":
            return "flags"
        if metric.takes == "boxes":
            return self._checked(metric, boxes.check(self.out, self.y))
        if metric.takes == "tokens":
            return self._checked(metric, sequences.check_tokens(self.out, self.y))
        if self.y.size != len(self.y) * width:
            raise self.bad(
                f"has shape {self.y.shape}; {metric.name} takes {width} numbers an example, as many as the model's "
                "outputs have"
            )
        return "values"

    def _positions_for(self, metric: Metric) -> Form:
        channels = self.out.shape[-1]
        if metric.name.startswith("mask"):
            if self.zero_one and self.numbers == self.width:
                return "positions"
        elif self._at_positions():
            self._check_within(channels)
            return "positions"
        elif self.out.ndim > 2 and self.numbers == self.width and one_hot(self.y.reshape(-1, channels)):
            return "one-hot positions"
        raise BadInput(
            f"--metric: {metric.name} takes a class for each position of the outputs; outputs have shape "
            f"{self.out.shape[1:]}, {self.array} has {self.y.shape[1:]}"
        )

    def _checked(self, metric: Metric, why: str) -> Form:
        if why:
            raise BadInput(f"--metric: {metric.name} {why}")
        return "as given"

    def _one_each(self, metric: Metric, classes: int | None) -> Form:
        if not self.whole or self.y.size != len(self.y):
            raise self.bad(f"has shape {self.y.shape} ({self.y.dtype}); {metric.name} takes one whole number each")
        if classes is not None:
            self._check_within(classes)
        if len(np.unique(self.y)) < 2 and metric.name == "auc":
            raise self.bad("holds one class only; auc needs examples of both")
        return "classes"

    def _loss_for(self, metric: Metric) -> str:
        zero = metric.name.endswith("_logits")
        if metric.takes == "binary":
            return "binary_logits_loss" if zero or self.scale == "zero" else "binary_crossentropy"
        if metric.takes == "flags" or metric.name.startswith("mask"):
            return "binary_logits_loss" if zero else "binary_crossentropy"
        if metric.takes in ("classes", "positions"):
            return self._class_loss()
        return "mean_squared_error" if metric.takes == "values" else ""


# ---------------------------------------------------------------- forms of arrays


def whole_numbers(y: Array) -> bool:
    """Check whether all values are whole numbers, of whatever dtype."""
    if y.dtype.kind in "iub":
        return True
    return y.dtype.kind == "f" and bool(np.isfinite(y).all()) and bool(np.array_equal(y, np.round(y)))


def one_hot(y: Array) -> bool:
    """Check whether each row marks one class: a single 1 among zeros, or two values as after label smoothing."""
    if y.ndim != 2 or y.shape[1] < 2 or not len(y):
        return False
    most = y.max(axis=1, keepdims=True)
    alike = (y == most).sum(axis=1) == 1
    rest = np.where(y == most, y.min(axis=1, keepdims=True), y)
    sums = np.allclose(y.sum(axis=1, dtype=np.float64), 1, atol=1e-3)
    return bool(alike.all() and sums and np.allclose(rest, rest.flat[0]) and np.allclose(most, most.flat[0]))


def are_probabilities(flat: Array) -> bool:
    """Check whether rows are distributions."""
    return flat.shape[1] > 1 and bool((flat >= 0).all()) and bool(np.allclose(flat.sum(axis=1), 1, atol=1e-3))


def check_classes(found: Array, judged: Judged, array: str) -> None:
    """Raise BadInput where classes are not among those of the output that is judged."""
    classes = 2 if judged.metric.takes == "binary" or judged.shape[-1] == 1 else judged.shape[-1]
    if judged.metric.takes in ("classes", "binary") and len(judged.shape) > 1:
        classes = int(np.prod(judged.shape))
    if int(found.min()) < 0 or int(found.max()) >= classes:
        raise BadInput(f"{array} ranges from {found.min()} to {found.max()}; the model has classes 0 to {classes - 1}")


def _left_over(outputs: Array, inputs: Array) -> float:
    """Return the share of the input's variance that the output does not rebuild."""
    flat = inputs.reshape(len(inputs), -1).astype(np.float64)
    spread = float(np.mean((flat - flat.mean(axis=0)) ** 2))
    return float(np.mean((outputs.reshape(flat.shape) - flat) ** 2)) / spread if spread else float("inf")


# ---------------------------------------------------------------- how good the float model is


def _skill(judged: Judged, probes: Sequence[Probe]) -> float:
    """Return how much better than chance the float model agrees with the labels: 0 for chance, 1 for perfect."""
    return max(_skill_in(judged, probe) for probe in probes)


def _skill_in(judged: Judged, probe: Probe) -> float:
    metric = judged.metric
    labels = judged.labels[: len(next(iter(probe.outputs.values())))]
    predictions = metric.predict(_as_run(probe.outputs), probe.inputs)
    if metric.takes in ("classes", "binary", "flags", "positions") and metric.kind == "right_or_wrong":
        return _beyond(float(metric.value(predictions, labels)), labels)
    if metric.takes in ("flags", "positions"):
        return _beyond(float(np.mean(predictions == labels.reshape(predictions.shape))), labels)
    if metric.takes == "values":
        real = labels.reshape(predictions.shape).astype(np.float64)
        constant = np.abs(real - np.median(real, axis=0)).sum()
        return 1 - float(np.abs(predictions - real).sum() / constant) if constant else 0.0
    return 0.0


def _as_run(outputs: dict[str, Array]) -> Inputs:
    return next(iter(outputs.values())) if len(outputs) == 1 else outputs


def _class_skill(reading: Reading, seen: _Seen) -> float:
    labels = in_form(reading.form, seen.y)
    best = 0.0
    for out in seen.outputs:
        predictions = np.argmax(out.reshape(len(out), -1), axis=1)
        best = max(best, _beyond(float(np.mean(predictions == labels[: len(out)])), labels[: len(out)]))
    return best


def _beyond(accuracy: float, labels: Array) -> float:
    """Return accuracy beyond that of always giving the commonest class, from 0 to 1."""
    _, counts = np.unique(labels, return_counts=True)
    commonest = float(counts.max() / counts.sum())
    return (accuracy - commonest) / (1 - commonest) if commonest < 1 else 0.0


def float_score(judged: Judged, probe: Probe) -> float:
    """Compute the metric of the float model on the probed examples."""
    count = len(next(iter(probe.outputs.values())))
    return judged.metric.value(judged.metric.predict(_as_run(probe.outputs), probe.inputs), judged.labels[:count])


def best_probe(judged: Judged, probes: Sequence[Probe]) -> int:
    """Choose the scale of the inputs on which the float model is best: the place of its probe.

    A classifier is judged by its likelihood instead of its accuracy: on values 255 times too large it is often as
    accurate, but sure of everything.
    """

    def goodness(probe: Probe) -> float:
        count = len(next(iter(probe.outputs.values())))
        labels = judged.labels[:count]
        if judged.metric.kind == "right_or_wrong":
            chosen = select(probe.outputs, judged.metric.outputs or tuple(probe.outputs))
            return _mean_log_likelihood(chosen, labels, judged.loss)
        value = judged.metric.value(judged.metric.predict(_as_run(probe.outputs), probe.inputs), labels)
        return float(np.nan_to_num(value if judged.metric.higher_is_better else -value, nan=-np.inf))

    return max(range(len(probes)), key=lambda place: goodness(probes[place]))


def _mean_log_likelihood(outputs: Array, labels: Array, loss: str) -> float:
    flat = outputs.reshape(len(outputs), -1).astype(np.float64)
    if flat.shape[1] == 1:
        flat = expit(flat) if loss in ("binary_logits_loss", "hinge") else flat
        flat = np.concatenate([1 - flat, flat], axis=1)
    if not are_probabilities(flat):
        flat = np.exp(flat - logsumexp(flat, axis=1, keepdims=True))
    chosen = flat[np.arange(len(flat)), labels.reshape(-1).astype(int)]
    return float(np.mean(np.log(np.clip(chosen, 1e-7, 1))))


# ---------------------------------------------------------------- dead columns


def dead_columns(quantized: Array, float32: Array) -> list[tuple[int, int]]:
    """List the output columns that quantization left a few values of, where float32 takes many.

    One scale for a whole output tensor is as coarse as its widest column needs: scores from 0 to 1 beside boxes from 0
    to 640 are all rounded to 0, without an error over all columns showing it.

    Args:
        quantized, float32: stored predictions of the same examples, shape (n,) or (n, columns).

    Returns:
        (column, how many distinct values it takes), in order.
    """
    if quantized.dtype.kind != "f" or quantized.shape != float32.shape:
        return []
    if float32.ndim == 2 and are_probabilities(float32):
        return []  # of one scale from 0 to 1, which a class that hardly occurs uses little of
    dead = []
    for column, (found, real) in enumerate(
        zip(quantized.reshape(len(quantized), -1).T, float32.reshape(len(float32), -1).T, strict=True)
    ):
        values = np.unique(found)
        if len(values) <= DEAD_LEVELS and len(np.unique(real)) >= _MANY * len(values) and _coarse(values, real):
            dead.append((column, len(values)))
    return dead


def _coarse(values: Array, real: Array) -> bool:
    """Check whether the step between the values is coarse against the range that float32's own values mostly have."""
    if len(values) == 1:
        return True
    low, high = np.quantile(real.astype(np.float64), [0.01, 0.99])
    return bool((high - low) / float(np.diff(values).min()) < DEAD_LEVELS)
