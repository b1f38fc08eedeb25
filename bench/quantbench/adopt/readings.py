"""Read labels: in which forms they fit an output, and which metric and loss follow from each, as pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np

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
IGNORED = 255  # by which data sets of segmentation mark pixels without a class
RARE = 0.1  # of two classes, one with a smaller share hardly counts in the accuracy
FAR_MORE = 2  # times as many labels as outputs: no classifier's off-by-one, but identities of an embedding
MOST_NAMES = 3  # of outputs in a sentence
_BOUNDED = ("sigmoid", "hard_sigmoid", "softmax")


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


class Computed(Protocol):
    """What the float model makes of some examples, see :class:`quantbench.adopt.task.Probe`."""

    @property
    def inputs(self) -> Inputs:
        """Return what the model got."""

    @property
    def outputs(self) -> dict[str, Array]:
        """Return its outputs by key."""


@dataclass(frozen=True)
class Seen:
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
    def of(cls, outputs: list[Output], y: Array, probes: Sequence[Computed], array: str, where: object) -> "Seen":
        """Collect what labels and these outputs look like."""
        keys = tuple(one.key for one in outputs)
        found = [select(probe.outputs, keys) for probe in probes]
        activations = {one.activation for one in outputs}
        return cls(
            where,
            array,
            short(outputs),
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
        """Return the output on the first scale of the inputs."""
        return self.outputs[0]

    @property
    def width(self) -> int:
        """Return how many values the output has per example."""
        return width_of(self.out)

    @property
    def numbers(self) -> int:
        """How many numbers each example's labels are."""
        return self.y.size // len(self.y)

    @property
    def whole(self) -> bool:
        """Check whether all labels are whole numbers."""
        return whole_numbers(self.y)

    @property
    def zero_one(self) -> bool:
        """Check whether all labels are 0 or 1."""
        return self.whole and self.y.min() >= 0 and self.y.max() <= 1

    @property
    def probabilities(self) -> bool:
        """Check whether the output's last axis is a distribution over classes."""
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
        """Say which values the output takes."""
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
        """Return the error that begins with the data and the labels' name."""
        return BadInput(f"{self.where}: {self.array} {words}")

    # ---------- worked out

    def worked_out(self, wanted: str) -> Reading:
        """Return the one reading that fits. Raises BadInput where there is none, or two."""
        form, _, normal = wanted.partition(":")
        if form == "normal":
            return self._normal(self._normal_label(normal))
        if not form and (why := self._why_asked()):
            raise self.bad(why)
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

    def _why_asked(self) -> str:
        """Say why labels need a word of the user that no reading stands for; empty where they do not."""
        two = np.unique(self.y)[:3].tolist() if self.whole and not self.zero_one else []
        if len(two) == 2 and two != [-1, 1] and self.numbers == self.width and not self.joined and self.scale == "half":
            low, high = two
            return (
                f"holds only {low:g} and {high:g}, and {self.name!r} gives values from 0 to 1: give "
                f"({self.array} == {high:g}).astype(int) if these are two classes, or --labels values if they are "
                "numbers to come close to"
            )
        one_each = self.whole and self.y.size == len(self.y)
        if one_each and self.like_input and not self.probabilities and self.rebuilt:
            known = np.unique(self.y)
            if len(known) == 1:
                return (
                    f"is {known[0]:g} throughout, and the model rebuilds its input: how well it tells normal from "
                    f"unusual examples needs both; leave {self.array} out, so that variants are judged by how close "
                    "they stay to float32"
                )
            if len(known) > 2 or (len(known) == 2 and 0 not in known):
                shown = ", ".join(f"{value:g}" for value in known[:5]) + ("..." if len(known) > 5 else "")
                return (
                    f"has the values {shown}, and the model rebuilds its input: say which of them is normal, such as "
                    f"--labels normal:{known[-1]:g}, or leave {self.array} out, so that variants are judged by how "
                    "close they stay to float32"
                )
        return ""

    def _readings(self) -> list[Reading]:
        """List the readings that fit, after what the data decides between them."""
        if self.joined:
            return [self._values()] if self.numbers == self.width else []
        if self.numbers == 1 and self.y.size == len(self.y) and self.width == 1:
            return self._of_single()
        if self.y.size == len(self.y):
            return self._of_numbers()
        if self.out.ndim == self.y.ndim == 3 and (self.out.shape[2], self.y.shape[2]) == (boxes.DETECTION, boxes.TRUTH):
            if why := self._why_no_boxes():
                raise self.bad(f"has the shape of boxes, and mean_average_precision {why}")
            return [self._by_metric("mean_average_precision", "as given")]
        if self._at_positions():
            self._check_within(self.out.shape[-1])
            return [self._positions("positions")]
        if self.numbers != self.width:
            return []
        if self.out.ndim == 2 and self._are_shares():
            return self._shares()
        return [self._of_all_values()]

    def _are_shares(self) -> bool:
        """Check whether rows of labels and of outputs are both distributions, and labels mark no class alone."""
        flat = self.y.reshape(len(self.y), -1)
        return self.probabilities and are_probabilities(flat) and not one_hot(flat)

    def _shares(self) -> list[Reading]:
        largest = replace(
            self._classes(),
            form="one-hot",
            why=f"rows of {self.array} are shares of {self.width} classes, of which the largest is the class",
            option="--labels one-hot",
        )
        return [largest, replace(self._values(), why=f"or numbers to come close to, {self.numbers} each")]

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

    @property
    def _rare(self) -> str:
        """Say that one of two classes is rare, and what would show what becomes of it; empty where it is not."""
        ones = float(np.mean(self.y))
        share, value = (ones, 1) if ones <= 0.5 else (1 - ones, 0)
        if not 0 < share < RARE:
            return ""
        return f"; {100 * share:.2g} % are {value}, which accuracy hardly shows (--metric f1 or auc)"

    def _binary(self, form: Form) -> list[Reading]:
        half = Reading(
            form,
            BINARY_ACCURACY,
            "binary_crossentropy",
            f"{self.array} is 0 or 1 and {self.name!r} is cut at 0.5, as a probability: {self.range}{self._rare}",
            f"--metric {BINARY_ACCURACY.name}",
        )
        zero = Reading(
            form,
            BINARY_ACCURACY_LOGITS,
            "binary_logits_loss",
            f"{self.array} is 0 or 1 and {self.name!r} is cut at 0, as a logit: {self.range}{self._rare}",
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
        if self.probabilities:
            return "sparse_categorical_crossentropy"
        return "" if self.activation in _BOUNDED else "logits_loss"  # of sigmoids side by side it is none of both

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
            hint = "; subtract 1, if they count from 1" if least >= 1 and most == classes else ""
            if most == IGNORED and self.y.size > len(self.y):
                hint = "; pixels that do not count (255) are left out by a metric of your own, --metric file.py:NAME"
            elif not hint and self.y.size == len(self.y) and self._may_embed(most):
                hint = "; identities that an embedding tells apart are scored by --metric recall_at:1"
            raise self.bad(f"ranges from {least} to {most}; the model has classes 0 to {classes - 1}{hint}")

    def _may_embed(self, most: int) -> bool:
        """Check whether the output may be an embedding: rows of unit length, or far fewer numbers than identities."""
        if self.probabilities or self.activation in _BOUNDED:
            return False
        lengths = np.linalg.norm(self.out.reshape(len(self.out), -1).astype(np.float64), axis=1)
        return bool(np.allclose(lengths, 1, atol=1e-3)) or most >= FAR_MORE * self.width

    # ---------- asked for

    def asked(self, given: str, wanted: str) -> Reading:
        """Return the reading that a metric given by the user needs. Raises BadInput where the labels do not fit it."""
        if own.is_own(given):
            file, name = own.parts(given)
            metric = own.from_file(file.absolute(), str(file.absolute()), name, self.out.shape[1:])
            why = f"scored by your own {name} in {file}"
            form = self._own_form(wanted)
            labels = in_form(form, self.y)[: len(self.out)]
            own.check_direction(metric, file, name, metric.predict(self.out, self.inputs[0]), labels)
            return Reading(form, metric, "", why, f"--metric {given}", given)
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
            return self._checked(metric, self._why_no_boxes())
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

    def _why_no_boxes(self) -> str:
        """Say why outputs and labels are no boxes of one form on any scale of the inputs; empty where they are."""
        found = [boxes.check(out, self.y) for out in self.outputs]
        return found[0] if all(found) else ""

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


def _left_over(outputs: Array, inputs: Array) -> float:
    """Return the share of the input's variance that the output does not rebuild."""
    flat = inputs.reshape(len(inputs), -1).astype(np.float64)
    spread = float(np.mean((flat - flat.mean(axis=0)) ** 2))
    return float(np.mean((outputs.reshape(flat.shape) - flat) ** 2)) / spread if spread else float("inf")


def _class_skill(reading: Reading, seen: Seen) -> float:
    labels = in_form(reading.form, seen.y)
    best = 0.0
    for out in seen.outputs:
        predictions = np.argmax(out.reshape(len(out), -1), axis=1)
        best = max(best, beyond_chance(float(np.mean(predictions == labels[: len(out)])), labels[: len(out)]))
    return best


def beyond_chance(accuracy: float, labels: Array) -> float:
    """Return accuracy beyond that of always giving the commonest class, from 0 to 1."""
    _, counts = np.unique(labels, return_counts=True)
    commonest = float(counts.max() / counts.sum())
    return (accuracy - commonest) / (1 - commonest) if commonest < 1 else 0.0


def names_of(outputs: Sequence[Output]) -> str:
    """Return the names of outputs, comma-separated."""
    return ", ".join(one.name for one in outputs)


def short(outputs: Sequence[Output]) -> str:
    """Return the names of outputs, many of them abridged."""
    if len(outputs) <= MOST_NAMES:
        return names_of(outputs)
    return f"{outputs[0].name} to {outputs[-1].name} ({len(outputs)} outputs)"


def width_of(output: Array) -> int:
    """Return how many values an output has per example."""
    return int(np.prod(output.shape[1:]))
