"""Measure where an artifact's error comes from: operator by operator beside its float control, on the same examples.

At each operator two errors are told apart: that of its output in the running artifact, which holds what earlier
operators did, and its own, with the float model's values as its inputs. Then the suspects are repaired one at a time,
left in float or with the parts of the accepted artifact, and the error of the outputs is measured again: what a repair
takes away, the operator explains.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from quantbench.core.arrays import Array, Inputs, length, rows
from quantbench.measure import work
from quantbench.records import Attribution, OperatorError
from quantbench.tflite import edit, graph, matching, surgery
from quantbench.tflite.graph import CASTS, Graph, Tensor
from quantbench.tflite.litert import LiteRT, dequantize, quantize

# Examples by the operations of one call, so that a cell takes seconds whatever its size.
_EXAMPLES = ((20_000_000, 64), (200_000_000, 24))
_FEW = 8
_NO_RANGE = (-math.inf, math.inf)
INPUT = -1  # position of what is no operator: a quantized input of the model


@dataclass
class _Sums:
    """Add up, over examples, what the errors of one tensor are made of."""

    noise: float = 0.0
    own: float | None = None
    signal: float = 0.0
    theirs: float = 0.0
    product: float = 0.0
    clipped: int = 0
    count: int = 0
    low: float = math.inf
    high: float = -math.inf
    finite: bool = True

    def add(self, exact: Array, made: Array, limits: tuple[float, float]) -> None:
        """Compare one example's tensor with the float model's; one with values that are not finite is only noted."""
        if not (np.isfinite(made).all() and np.isfinite(exact).all()):
            self.finite = False
            return
        self.noise += float(np.sum((made - exact) ** 2))
        self.signal += float(np.sum(exact**2))
        self.theirs += float(np.sum(made**2))
        self.product += float(np.sum(made * exact))
        self.clipped += int(np.sum((exact < limits[0]) | (exact > limits[1])))
        self.count += exact.size
        self.low, self.high = min(self.low, float(exact.min())), max(self.high, float(exact.max()))


@dataclass(frozen=True)
class _Step:
    """Pair an operator of the artifact with the float tensors that stand for what it reads and writes.

    Attributes:
        exact: index of the float tensor that its output stands for.
        made: index of its output.
        alone: the operator by itself, and the tensors that are fed to it; None where it cannot be.
        output: which of its outputs this is.
    """

    position: int
    exact: int
    made: int
    alone: tuple[LiteRT, list[int]] | None
    output: int = 0


@dataclass
class Pairing:
    """Hold two graphs of one model with what belongs together in them.

    Attributes:
        exact_of: index of a tensor of the artifact -> that of the float tensor that it stands for.
    """

    control: Graph
    artifact: Graph
    matched: matching.Matching
    exact_of: dict[int, int] = field(default_factory=dict)

    def reads_the_same(self, ours: int, theirs: int) -> bool:
        """Check whether an operator of the artifact reads what its partner reads, and not, say, a rotation of it."""
        control, artifact = _indices(self.control), _indices(self.artifact)
        pairs = zip(self.control.operators[ours].inputs, self.artifact.operators[theirs].inputs, strict=False)
        for mine, other in pairs:
            if mine is None or other is None or mine.data is not None or id(other) not in artifact:
                continue
            if mine.variable or other.variable:  # its own state, which is no step's output
                continue
            stands = self.exact_of.get(artifact[id(other)])
            if other.data is None and stands not in (None, control[id(mine)]):
                return False
            if other.data is None and stands is None and not self._is_cast_constant(self.control, mine):
                return False
        return True

    @staticmethod
    def _is_cast_constant(whole: Graph, tensor: Tensor) -> bool:
        """Check whether a tensor is a constant behind a cast."""
        made = [one for one in whole.operators if any(tensor is each for each in one.outputs)]
        return any(one.name in CASTS and one.inputs[0] is not None and one.inputs[0].data is not None for one in made)


# ---------------------------------------------------------------- what belongs together


def paired(control: bytes, artifact: bytes) -> Pairing:
    """Match two artifacts, and say which float tensor each tensor of the second stands for. Raises ValueError."""
    first, second = graph.read(control), graph.read(artifact)
    pairing = Pairing(first, second, matching.match(first.main(), second.main()))
    ours, theirs = _indices(first), _indices(second)
    for mine, other in zip(first.inputs, second.inputs, strict=False):
        pairing.exact_of[theirs[id(other)]] = ours[id(mine)]
    follows = _activations_behind(first)
    partner = {theirs: ours for ours, theirs in pairing.matched.pairs}
    lonely = set(pairing.matched.only_first)
    for place, operator in enumerate(second.main().operators):
        if operator.name in CASTS:
            source, target = operator.inputs[0], operator.outputs[0]
            if source is not None and (exact := pairing.exact_of.get(theirs[id(source)])) is not None:
                pairing.exact_of[theirs[id(target)]] = exact
        elif place in partner:
            step = first.operators[partner[place]]
            for mine, other in zip(step.outputs, operator.outputs, strict=False):
                stands = mine
                if (after := follows.get(id(mine))) is not None and after[0] in lonely:
                    stands = after[1]  # an activation that is fused in the artifact alone
                if stands.shape == other.shape or _size(stands) == _size(other):
                    pairing.exact_of[theirs[id(other)]] = ours[id(stands)]
    return pairing


def _indices(whole: Graph) -> dict[int, int]:
    return {id(tensor): index for index, tensor in enumerate(whole.tensors[: whole.main_tensors])}


def _activations_behind(whole: Graph) -> dict[int, tuple[int, Tensor]]:
    """Map each tensor that an activation reads to the activation's position and output."""
    return {
        id(operator.inputs[0]): (place, operator.outputs[0])
        for place, operator in enumerate(whole.operators[: whole.main_operators])
        if operator.name in surgery.ACTIVATIONS
    }


def _size(tensor: Tensor) -> int:
    return math.prod(max(1, length) for length in tensor.shape)


def _steps(pairing: Pairing, artifact: bytes, stateful: bool) -> Iterator[_Step]:
    objects, indices = edit.unpacked(artifact), _indices(pairing.artifact)
    for tensor in pairing.artifact.inputs:
        if tensor.scales and indices[id(tensor)] in pairing.exact_of:
            yield _Step(INPUT, pairing.exact_of[indices[id(tensor)]], indices[id(tensor)], None)
    quantizing = [place for place, one in enumerate(pairing.artifact.main().operators) if one.name == "QUANTIZE"]
    for place in sorted([*quantizing, *(theirs for _, theirs in pairing.matched.pairs)]):
        operator = pairing.artifact.operators[place]
        made = indices[id(operator.outputs[operator.result])] if operator.outputs else -1
        if made in pairing.exact_of:
            alone = _alone(objects, place, pairing.exact_of, stateful)
            yield _Step(place, pairing.exact_of[made], made, alone, operator.result)


def _alone(objects: object, place: int, exact_of: Mapping[int, int], stateful: bool) -> tuple[LiteRT, list[int]] | None:
    try:
        file, fed = surgery.alone(objects, place)
        if any(index not in exact_of for index in fed):
            return None
        return LiteRT(file, runtime="litert-builtin", stateful=stateful), fed
    except (surgery.Uncuttable, RuntimeError, ValueError):  # LiteRT does not plan every operator by itself
        return None


# ---------------------------------------------------------------- measuring


def examples(artifact: bytes, inputs: Inputs) -> Inputs:
    """Return as many of the first examples as a model of this size is looked at with."""
    whole = graph.read(artifact)
    # Kernels for 16-bit activations take ten times as long.
    needed = work.operations_of(whole) * (10 if any(tensor.dtype == "int16" for tensor in whole.tensors) else 1)
    count = next((count for most, count in _EXAMPLES if needed is not None and needed <= most), _FEW)
    return rows(inputs, slice(0, count))


def errors(control: bytes, artifact: bytes, inputs: Inputs, stateful: bool = False) -> Attribution:
    """Measure the error of every operator that both graphs have.

    Args:
        control: the float ``.tflite`` of the same model, or the accepted artifact, whose values are then exact.
        inputs: prepared examples; the first 8 to 64 are used, by the size of the model.
        stateful: whether to reset recurrent state before each.

    Raises:
        ValueError: a file is damaged.
    """
    pairing = paired(control, artifact)
    few = examples(artifact, inputs)
    steps = list(_steps(pairing, artifact, stateful))
    sums = [_Sums() for _ in steps]
    exact_runner = LiteRT(control, runtime="litert-builtin", keep_tensors=True, stateful=stateful)
    made_runner = LiteRT(artifact, runtime="litert-builtin", keep_tensors=True, stateful=stateful)
    tensors = pairing.artifact.tensors
    for i in range(length(few)):
        one = rows(few, slice(i, i + 1))
        exact_runner.run(one)
        made_runner.run(one)
        for step, total in zip(steps, sums, strict=True):
            exact, made = exact_runner.value(step.exact), made_runner.value(step.made)
            if exact is None or made is None or exact.size != made.size:
                continue
            exact = _real(exact, pairing.control.tensors[step.exact]).reshape(-1)
            total.add(exact, _real(made, tensors[step.made]).reshape(-1), _limits(tensors[step.made]))
            _add_own(step, total, exact, exact_runner, pairing)
    return Attribution(
        graph=pairing.artifact.name,
        examples=length(few),
        matched=pairing.matched.share,
        operators=[
            _told(pairing, step, total)
            for step, total in zip(steps, sums, strict=True)
            if (total.count and total.signal) or not total.finite
        ],
        alone=[_named(pairing.artifact, place) for place in pairing.matched.only_second],
        missing=[_named(pairing.control, place) for place in pairing.matched.only_first],
    )


def _add_own(step: _Step, total: _Sums, exact: Array, runner: LiteRT, pairing: Pairing) -> None:
    """Run an operator on the float model's values, rounded to the types that it reads."""
    if step.alone is None:
        return
    alone, fed = step.alone
    tensors, values = pairing.artifact.tensors, []
    for index in fed:
        value = runner.value(pairing.exact_of[index])
        if value is None:
            return
        values.append(_stored(_real(value, pairing.control.tensors[pairing.exact_of[index]]), tensors[index]))
    try:
        made = alone.call(values)[step.output]
    except (RuntimeError, ValueError):
        return
    real = _real(made, tensors[step.made]).reshape(-1)
    if made.size == exact.size and np.isfinite(real).all() and np.isfinite(exact).all():
        total.own = (total.own or 0.0) + float(np.sum((real - exact) ** 2))


def _stored(value: Array, tensor: Tensor) -> Array:
    shaped = value.reshape(tensor.shape) if value.size == _size(tensor) else value
    if not tensor.scales or tensor.dtype not in ("int8", "uint8", "int16"):
        return np.ascontiguousarray(shaped, dtype=tensor.dtype if tensor.dtype != "bool" else np.bool_)
    return np.ascontiguousarray(quantize(shaped, np.dtype(tensor.dtype), tensor.scales[0], tensor.zero_points[0]))


def _real(stored: Array, tensor: Tensor) -> Array:
    if stored.dtype.kind == "f" or not tensor.scales:
        return np.asarray(stored.astype(np.float64))
    return np.asarray(dequantize(stored, tensor.scales[0], tensor.zero_points[0]).astype(np.float64))


def _limits(tensor: Tensor) -> tuple[float, float]:
    """Return the least and the largest value that a tensor can hold, by half a step more, as rounding allows."""
    if not tensor.scales or tensor.dtype not in ("int8", "uint8", "int16"):
        return _NO_RANGE
    integers, scale = np.iinfo(tensor.dtype), tensor.scales[0]
    zero = tensor.zero_points[0]
    return (integers.min - zero - 0.5) * scale, (integers.max - zero + 0.5) * scale


def _told(pairing: Pairing, step: _Step, total: _Sums) -> OperatorError:
    tensor = pairing.artifact.tensors[step.made]
    name = "INPUT" if step.position == INPUT else pairing.artifact.operators[step.position].name
    scale = tensor.scales[0] if tensor.scales and tensor.dtype in ("int8", "uint8", "int16") else 0.0
    both = math.sqrt(total.signal * total.theirs)
    return OperatorError(
        position=step.position,
        operator=name,
        tensor=tensor.name,
        finite=total.finite,
        error=math.sqrt(total.noise / total.signal) if total.signal else 0.0,
        own=None if total.own is None or not total.signal else math.sqrt(total.own / total.signal),
        cosine=total.product / both if both else 0.0,
        clipped=total.clipped / max(1, total.count),
        low=total.low if total.count else 0.0,
        high=total.high if total.count else 0.0,
        steps=(total.high - total.low) / scale if scale and total.count else None,
    )


def _named(whole: Graph, place: int) -> str:
    return f"{whole.operators[place].name} at {place}"
