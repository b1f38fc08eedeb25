"""Work out what is scored from the float model's outputs and the labels, as pure functions of arrays.

Labels can be read in several forms: whole numbers as classes, rows of a single 1 as classes, numbers to come close to.
Each reading that fits an output is a :class:`Reading`; where two are left that the data does not decide between, the
user is asked, with the option to give.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.special import expit, logsumexp

from quantbench.adopt.outputs import Output
from quantbench.adopt.readings import (
    CLEARLY_BETTER,
    Form,
    Reading,
    Seen,
    are_probabilities,
    beyond_chance,
    in_form,
    names_of,
    short,
    width_of,
)
from quantbench.core.arrays import Array, Inputs
from quantbench.errors import BadInput
from quantbench.reference.metrics import (
    RELATIVE_ERROR,
    Metric,
    select,
)

# An area under the curve of the reconstruction error below this: what was taken for normal is the unusual.
REVERSED = 0.4
# An output column with fewer steps than this where float32 takes many values: 3 bits of a number.
DEAD_LEVELS = 8
# Standard errors by which a scale of the inputs has to lose on some examples: all of them would not choose it either.
SURE = 6.0
_MANY_ALIKE = 20  # examples that all differ by the same amount are as good as sure
_MANY = 4  # times as many values in float32, before a column counts as having lost them


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
        output: name, as the user knows it; many that are scored together are abridged.
        metric: selects its output by itself.
        labels: of the test split, in the form that the metric takes; empty where there are none, so that the float
            model's own outputs have to take their place.
        evidence: why it is scored so, one sentence each.
        form: how labels were read, see :func:`in_form`.
        source: name of the labels in the data: empty for ``y``, NAME for ``y_NAME``.
        loss: for training, as in a model's file; empty where there is none.
        made: name or ``file.py:NAME`` by which the metric is made, see :func:`quantbench.reference.metrics.by_name`.
        shape: of one example's output.
        names: of the outputs that are scored together, in the order of their columns.
        asked: whether the user named the metric.
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
    names: tuple[str, ...] = ()
    asked: bool = False

    @property
    def labelled(self) -> bool:
        """Whether there are labels of it."""
        return self.form != "none"


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
    own = {source: _output_called(source, known, f"{where}: y_{source}: ") for source in labels if source}
    main = _main_source(labels, own, chosen, known)
    for source, output in own.items():
        of_this = metrics if source == main else {name: one for name, one in metrics.items() if name}
        labelled.append(_judged([output], labels[source], source, probes, asked, of_this, where))
    if "" in labels:
        taken = [one.name for one in own.values()]
        chosen_free = [one for one in chosen if one.name not in taken]
        free = chosen_free or [one for one in known if one.name not in taken]
        if not free:
            raise BadInput(f"{where}: y: every output has labels of its own (y_NAME); take y out, or rename it")
        labelled.append(_of_unnamed(labels[""], chosen_free, free, probes, asked, metrics, where))
    if not labelled:
        return _unlabelled(chosen, known, metrics, where)
    order = [one.name for one in known]
    labelled.sort(key=lambda one: order.index(one.names[0]))
    first = tuple(one.name for one in chosen)
    if first in [one.names for one in labelled]:
        labelled.sort(key=lambda one: one.names != first)
    elif chosen:
        raise BadInput(f"--output: {asked.output} has no labels in {where}; give y, or y_{chosen[0].name}")
    covered = {name for one in labelled for name in one.names}
    rest = [_closeness([one], len(known) > 1) for one in known if one.name not in covered]
    return labelled + rest


def by_column(
    probes: Sequence[Probe], known: Sequence[Output], labels: dict[str, Array], asked: Asked, where: object
) -> list[str]:
    """Return the names of the outputs that the columns of ``y`` are labels of, one each; empty where they are not.

    Columns of numbers for outputs of numbers are left together: see :func:`work_out`.
    """
    y = labels.get("")
    if y is None or len(labels) > 1 or asked.output or len(known) < 2 or y.shape[1:] != (len(known),):
        return []
    metrics = _asked_metrics(asked.metric, known)
    if any(_fits([one], y, probes, asked, metrics, where) for one in known):
        return []
    forms = [_fits([one], y[:, place], probes, asked, metrics, where) for place, one in enumerate(known)]
    return [one.name for one in known] if all(forms) and set(forms) != {"values"} else []


def _fits(
    outputs: list[Output], y: Array, probes: Sequence[Probe], asked: Asked, metrics: dict[str, str], where: object
) -> str:
    """Return the form in which labels fit outputs; empty where they do not."""
    try:
        return _judged(outputs, y, "", probes, asked, metrics, where).form
    except BadInput:
        return ""


def _main_source(
    labels: dict[str, Array], own: dict[str, Output], chosen: list[Output], known: Sequence[Output]
) -> str:
    """Return the labels of the main output, which a metric without an output's name is for."""
    named = [source for source, output in own.items() if output in chosen]
    if named or "" in labels or not own:
        return named[0] if named else ""
    return min(own, key=lambda source: known.index(own[source]))


# ---------------------------------------------------------------- which output


def _named_outputs(text: str, known: Sequence[Output]) -> list[Output]:
    return [_output_called(name.strip(), known, "--output: ") for name in text.split(",") if name.strip()]


def _output_called(name: str, known: Sequence[Output], begin: str) -> Output:
    for one in known:
        if name in (one.name, one.key):
            return one
    raise BadInput(f"{begin}the model has no output of that name; its outputs are {names_of(known)}")


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
    """Find the output that ``y`` is of: the one named, the only one that fits, or the one that agrees with it."""
    if chosen or len(free) == 1:
        return _judged(free, y, "", probes, asked, metrics, where)
    found, refused = [], []
    for one in free:
        try:
            found.append(_judged([one], y, "", probes, asked, metrics, where))
        except BadInput as error:
            refused.append(str(error))
    widths = [width_of(probes[0].outputs[one.key]) for one in free]
    if not found and y.size == len(y) * sum(widths):
        together = _judged(free, y, "", probes, asked, metrics, where)
        if _skill(together, probes) < CLEARLY_BETTER:
            raise BadInput(
                f"{where}: y has {sum(widths)} columns, as many as the outputs {short(free)} have values, and float32 "
                "is no better on them than a constant in the model's own order; say --output NAME,NAME,... in the "
                "order of the columns, or give y_NAME for each output"
            )
        word = f"y has {sum(widths)} columns, one for each value of the outputs {short(free)}, in the model's own order"
        return replace(together, evidence=[word, *together.evidence])
    if not found:
        shapes = ", ".join(f"{one.name} {probes[0].outputs[one.key].shape[1:]}" for one in free)
        raise BadInput(
            f"{where}: y has shape {y.shape} ({y.dtype}) and fits none of the outputs ({shapes}); give labels as y_NAME"
        )
    if len(found) == 1:
        word = f"y fits {found[0].output!r} alone among the outputs {names_of(free)}"
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


def _closeness(outputs: Sequence[Output], several: bool) -> Judged:
    """Judge outputs without labels by how close they are to the float model's own."""
    metric = RELATIVE_ERROR.of(*(one.key for one in outputs)) if several else RELATIVE_ERROR
    name = short(outputs)
    word = f"{name!r} has no labels: it is judged by how close it stays to float32"
    names = tuple(one.name for one in outputs)
    return Judged(name, metric, np.zeros(0), [word], made=RELATIVE_ERROR.name, names=names)


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
    name = names_of(outputs)
    array = f"y_{source}" if source else "y"
    seen = Seen.of(outputs, y, probes, array, where)
    given = metrics.get(name, metrics.get("", ""))
    reading = seen.asked(given, asked.labels) if given else seen.worked_out(asked.labels)
    labels = in_form(reading.form, y)
    metric = reading.metric
    if metric.undefined and (why := metric.undefined(labels)):
        raise BadInput(f"{where}: {array}: {why}")
    if reading.form == "normal" and not (given or asked.labels):
        _check_direction(reading, labels, seen)
    if not seen.alone:
        metric = metric.of(*(one.key for one in outputs))
    return Judged(
        short(outputs),
        metric,
        labels,
        [reading.why],
        form=reading.form,
        source=source,
        loss=reading.loss,
        made=reading.made or metric.name,
        shape=seen.out.shape[1:],
        names=tuple(one.name for one in outputs),
        asked=bool(given),
    )


def _check_direction(reading: Reading, labels: Array, seen: Seen) -> None:
    """Raise BadInput where examples that are taken for normal are rebuilt worse than the others."""
    best = 0.0
    for out, inputs in zip(seen.outputs, seen.inputs, strict=True):
        value = reading.metric.value(reading.metric.predict(out, inputs), labels[: len(out)])
        best = max(best, float(np.nan_to_num(value, nan=1.0)))
    if best < REVERSED:
        other = int(np.unique(labels[labels != 0])[0])
        raise seen.bad(
            f"has 0 for normal examples, or so it seems, yet the label 0 is rebuilt worse than others "
            f"(auc {best:.2f}); say --labels normal:{other}, or --labels normal:0 if that is meant"
        )


def check_classes(found: Array, judged: Judged, array: str) -> None:
    """Raise BadInput where classes are not among those of the output that is judged."""
    classes = 2 if judged.metric.takes == "binary" or judged.shape[-1] == 1 else judged.shape[-1]
    if judged.metric.takes in ("classes", "binary") and len(judged.shape) > 1:
        classes = int(np.prod(judged.shape))
    if int(found.min()) < 0 or int(found.max()) >= classes:
        raise BadInput(f"{array} ranges from {found.min()} to {found.max()}; the model has classes 0 to {classes - 1}")


# ---------------------------------------------------------------- how good the float model is


def _skill(judged: Judged, probes: Sequence[Probe]) -> float:
    """Return how much better than chance the float model agrees with the labels: 0 for chance, 1 for perfect."""
    return max(_skill_in(judged, probe) for probe in probes)


def _skill_in(judged: Judged, probe: Probe) -> float:
    metric = judged.metric
    labels = judged.labels[: len(next(iter(probe.outputs.values())))]
    predictions = metric.predict(_as_run(probe.outputs), probe.inputs)
    if metric.takes in ("classes", "binary", "flags", "positions") and metric.kind == "right_or_wrong":
        return beyond_chance(float(metric.value(predictions, labels)), labels)
    if metric.takes in ("flags", "positions"):
        return beyond_chance(float(np.mean(predictions == labels.reshape(predictions.shape))), labels)
    if metric.takes == "values":
        real = labels.reshape(predictions.shape).astype(np.float64)
        constant = np.abs(real - np.median(real, axis=0)).sum()
        return 1 - float(np.abs(predictions - real).sum() / constant) if constant else 0.0
    return 0.0


def _as_run(outputs: dict[str, Array]) -> Inputs:
    return next(iter(outputs.values())) if len(outputs) == 1 else outputs


def float_score(judged: Judged, probe: Probe) -> float:
    """Compute the metric of the float model on the probed examples."""
    count = len(next(iter(probe.outputs.values())))
    return judged.metric.value(judged.metric.predict(_as_run(probe.outputs), probe.inputs), judged.labels[:count])


def best_probe(judged: Judged, probes: Sequence[Probe]) -> int:
    """Choose the scale of the inputs on which the float model is best: the place of its probe.

    A classifier is judged by its likelihood instead of its accuracy: on values 255 times too large it is often as
    accurate, but sure of everything. Where it is surely less accurate, though, the likelihood does not count: one that
    gives every example the same answer, and knows how often that is right, is more likely than one that is always
    right and never sure. A probe with fewer examples than another has lost before, see :func:`maybe_best`.
    """
    most = max(_count(probe) for probe in probes)
    longest = [place for place, probe in enumerate(probes) if _count(probe) == most]
    if judged.metric.kind != "right_or_wrong":
        return max(longest, key=lambda place: _goodness(judged, probes[place]))
    right = {place: _right(judged, probes[place]) for place in longest}
    accurate = max(right.values(), key=lambda one: float(one.mean()))
    able = [place for place in longest if _errors_below(accurate, right[place]) <= SURE]
    return max(able, key=lambda place: float(np.mean(_log_likelihoods(judged, probes[place]))))


def maybe_best(judged: Judged, probes: Sequence[Probe]) -> list[int]:
    """Return the places of the probes, all of the same examples, that may be the best of more examples.

    Left out is one that surely loses against the best one, example by example: in accuracy, or in likelihood where it
    is not more accurate. Where a metric has no likelihood, none is left out.
    """
    if not judged.labelled or judged.metric.kind != "right_or_wrong":
        return list(range(len(probes)))
    likely = [_log_likelihoods(judged, probe) for probe in probes]
    right = [_right(judged, probe) for probe in probes]
    best = best_probe(judged, probes)

    def lost(place: int) -> bool:
        less_likely = _errors_below(likely[best], likely[place]) > SURE and right[place].mean() <= right[best].mean()
        return less_likely or _errors_below(right[best], right[place]) > SURE

    return [place for place in range(len(probes)) if not lost(place)]


def _errors_below(best: Array, one: Array) -> float:
    """Return by how many standard errors the mean of one is below that of the other, example by example."""
    lost = best - one
    mean, error = float(lost.mean()), float(lost.std(ddof=1)) / len(lost) ** 0.5 if len(lost) > 1 else 0.0
    if not error:
        return np.inf if mean > 0 and len(lost) >= _MANY_ALIKE else 0.0
    return mean / error


def _goodness(judged: Judged, probe: Probe) -> float:
    labels = judged.labels[: _count(probe)]
    value = judged.metric.value(judged.metric.predict(_as_run(probe.outputs), probe.inputs), labels)
    return float(np.nan_to_num(value if judged.metric.higher_is_better else -value, nan=-np.inf))


def _right(judged: Judged, probe: Probe) -> Array:
    """Return 1 for each example that the float model has right, else 0, shape (n,)."""
    assert judged.metric.correct is not None
    predictions = judged.metric.predict(_as_run(probe.outputs), probe.inputs)
    return np.asarray(judged.metric.correct(predictions, judged.labels[: _count(probe)])).astype(np.float64)


def _count(probe: Probe) -> int:
    return len(next(iter(probe.outputs.values())))


def _log_likelihoods(judged: Judged, probe: Probe) -> Array:
    """Return the logarithm of what the float model gives the label of each example, shape (n,)."""
    outputs = select(probe.outputs, judged.metric.outputs or tuple(probe.outputs))
    labels, loss = judged.labels[: _count(probe)], judged.loss
    flat = outputs.reshape(len(outputs), -1).astype(np.float64)
    if flat.shape[1] == 1:
        flat = expit(flat) if loss in ("binary_logits_loss", "hinge") else flat
        flat = np.concatenate([1 - flat, flat], axis=1)
    if not are_probabilities(flat):
        flat = np.exp(flat - logsumexp(flat, axis=1, keepdims=True))
    chosen = flat[np.arange(len(flat)), labels.reshape(-1).astype(int)]
    return np.asarray(np.log(np.clip(chosen, 1e-7, 1)))


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


@dataclass(frozen=True)
class Crowded:
    """Describe values of an output that are small beside the others of their tensor, which share one int8 scale.

    Attributes:
        places: on the output's last axis.
        low, high: of the float model's values there.
        least, most: of all its values in the tensor, 0 included.
    """

    places: tuple[int, ...]
    low: float
    high: float
    least: float
    most: float

    @property
    def step(self) -> float:
        """Return what one step of an int8 range over the whole tensor is."""
        return (self.most - self.least) / 255

    @property
    def words(self) -> str:
        """Return the cause, and what to do."""
        shown = ", ".join(map(str, self.places[:3])) + ("…" if len(self.places) > 3 else "")
        what = f"values {shown} of the output share" if len(self.places) > 1 else f"value {shown} of the output shares"
        return (
            f"{what} one int8 scale with the others ({self.low:.3g} to {self.high:.3g} beside {self.least:.3g} to "
            f"{self.most:.3g}, in steps of {self.step:.2g}): give what is so small as an output of its own, or let all "
            "be about as large (boxes as shares of the image)"
        )


def on_one_int8_scale(values: Array) -> bool:
    """Check whether values can be those of one int8 tensor: no two of them are nearer than a 255th of their range."""
    found = np.unique(np.append(values.astype(np.float64), 0.0))
    return len(found) > 1 and bool(np.diff(found).min() >= 0.99 * (found[-1] - found[0]) / 255)


def crowded(float32: Array, dead: Iterable[int]) -> Crowded | None:
    """Return which of the dead columns are too small for the step that their tensor needs; None where none is."""
    flat = float32.reshape(len(float32), -1).astype(np.float64)
    least, most = min(0.0, float(flat.min())), max(0.0, float(flat.max()))
    columns = [column for column in dead if np.ptp(flat[:, column]) < DEAD_LEVELS * (most - least) / 255]
    if not columns:
        return None
    places = sorted({column % float32.shape[-1] if float32.ndim > 1 else 0 for column in columns})
    return Crowded(tuple(places), float(flat[:, columns].min()), float(flat[:, columns].max()), least, most)


def _coarse(values: Array, real: Array) -> bool:
    """Check whether the step between the values is coarse against the range that float32's own values mostly have."""
    if len(values) == 1:
        return True
    low, high = np.quantile(real.astype(np.float64), [0.01, 0.99])
    return bool((high - low) / float(np.diff(values).min()) < DEAD_LEVELS)
