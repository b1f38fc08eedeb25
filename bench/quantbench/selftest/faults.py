"""Declare faults to inject into real artifacts, to test that the gate catches them: what breaks, how strongly, and
which check has to catch it.

A fault gets a :class:`Subject` (a real int8 artifact and what it was made from) and returns the bytes of a broken one.
The strengths were fixed before anything was measured.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from quantbench.build.artifact import StoreWorkbench
from quantbench.core.arrays import Array, Inputs, length, rows
from quantbench.records import Kind
from quantbench.selftest.flatbuffer import Inapplicable, Layer, layers
from quantbench.tflite.edit import edited, repacked
from quantbench.variants import VARIANTS

SUBJECT_VARIANT = "ptq_static_wi8_ai8"
Strength = float | str


@dataclass(frozen=True)
class Subject:
    """Hold the artifact that faults are injected into.

    Attributes:
        bench: makes artifacts of the model, with the model's calibration data.
        artifact: the healthy one, packed as an edited one would be, so that packing itself changes nothing.
    """

    bench: StoreWorkbench
    artifact: bytes


@dataclass(frozen=True)
class Fault:
    """Declare a kind of fault.

    Attributes:
        where: what is broken: ``weights``, ``bias``, ``ranges``, ``calibration``, ``conversion``, ``operators`` or
            ``file``.
        seen_by: kind of the check that has to catch it.
        strengths: the weakest first.
        make: (subject, strength, random generator) -> the broken artifact.
        host: the variant whose artifact is broken.
        always: whether it is harmful whatever is lost.
    """

    name: str
    where: str
    seen_by: Kind
    strengths: tuple[Strength, ...]
    make: Callable[[Subject, Any, np.random.Generator], bytes] = field(repr=False)
    host: str = SUBJECT_VARIANT
    always: bool = False


def _on_weights(
    change: Callable[[Array, Any, np.random.Generator], Array], which: int = -1
) -> Callable[[Subject, Any, np.random.Generator], bytes]:
    """Make a fault that changes the int8 weights, shape (channels, ...), of one layer; by default the last one."""

    def make(subject: Subject, strength: Any, random: np.random.Generator) -> bytes:
        def apply(model: Any) -> None:
            layer = layers(model)[which]
            layer.write(1, change(layer.read(1, "int8"), strength, random).astype(np.int8))

        return edited(subject.artifact, apply)

    return make


def _on_activations(change: Callable[[Any, Any], None]) -> Callable[[Subject, Any, np.random.Generator], bytes]:
    """Make a fault that changes scale or zero point of the first layer's output, and of tensors that only pass it on.

    Pooling, for example, refuses to run where its input and its output differ.
    """

    def make(subject: Subject, strength: Any, _random: np.random.Generator) -> bytes:
        def apply(model: Any) -> None:
            tensors = model.subgraphs[0].tensors
            first = tensors[layers(model)[0].operator.outputs[0]].quantization
            scale, zero = float(first.scale[0]), int(first.zeroPoint[0])
            for quantization in [tensor.quantization for tensor in tensors if tensor.quantization is not None]:
                per_tensor = quantization.scale is not None and len(quantization.scale) == 1
                if per_tensor and (float(quantization.scale[0]), int(quantization.zeroPoint[0])) == (scale, zero):
                    change(quantization, strength)

        return edited(subject.artifact, apply)

    return make


# ---------------------------------------------------------------- weights


def _zero_channels(weights: Array, count: float, random: np.random.Generator) -> Array:
    weights[random.permutation(len(weights))[: int(count)]] = 0
    return weights


def _flip_bits(weights: Array, count: float, random: np.random.Generator) -> Array:
    flat = weights.reshape(-1).view(np.uint8)
    chosen = random.permutation(flat.size)[: int(count)]
    flat[chosen] ^= (1 << random.integers(0, 8, len(chosen))).astype(np.uint8)
    return weights


def _noise(weights: Array, steps: float, random: np.random.Generator) -> Array:
    return np.clip(np.round(weights + random.normal(0, steps, weights.shape)), -127, 127)


def _saturate(weights: Array, limit: float, _random: np.random.Generator) -> Array:
    return np.clip(weights, -limit, limit)


def _coarse(weights: Array, step: float, _random: np.random.Generator) -> Array:
    return np.clip(np.round(weights / step) * step, -127, 127)


def _negate_channel(weights: Array, _strength: Strength, random: np.random.Generator) -> Array:
    channel = random.integers(len(weights))
    weights[channel] = -weights[channel]
    return weights


def _swap_channels(weights: Array, _strength: Strength, random: np.random.Generator) -> Array:
    first, second = random.permutation(len(weights))[:2]
    weights[[first, second]] = weights[[second, first]]
    return weights


def _mirror(weights: Array, _strength: Strength, _random: np.random.Generator) -> Array:
    return np.ascontiguousarray(weights[:, :, ::-1])


def _drop_smallest(weights: Array, share: float, _random: np.random.Generator) -> Array:
    weights[np.abs(weights) <= np.quantile(np.abs(weights), share)] = 0
    return weights


def _shuffle(weights: Array, share: float, random: np.random.Generator) -> Array:
    flat = weights.reshape(-1)
    chosen = random.permutation(flat.size)[: int(share * flat.size)]
    flat[chosen] = flat[random.permutation(chosen)]
    return weights


def _with_lowest(weights: Array, _strength: Strength, _random: np.random.Generator) -> Array:
    """Let the lowest weight be the one value that symmetric quantization leaves out."""
    weights[weights == weights.min()] = -128
    return weights


def _garbage_channels(weights: Array, count: float, random: np.random.Generator) -> Array:
    chosen = random.permutation(len(weights))[: int(count)]
    weights[chosen] = random.integers(-127, 128, weights[chosen].shape)
    return weights


def _truncated(subject: Subject, _strength: Strength, _random: np.random.Generator) -> bytes:
    """Round weights towards minus infinity, as a wrong cast does."""
    floats: list[Layer] = []
    edited(subject.bench.float_artifact(), lambda model: floats.extend(layers(model)))

    def apply(model: Any) -> None:
        own = layers(model)
        if len(own) != len(floats):
            raise Inapplicable("it has other layers than the float artifact")
        for layer, other in zip(own, floats, strict=True):
            stored, exact = layer.read(1, "int8"), other.read(1, "float32")
            if exact.shape != stored.shape:
                raise Inapplicable("its layers have other shapes than those of the float artifact")
            scales = np.asarray(layer.tensor(1).quantization.scale)
            axis = [
                -1 if place == layer.tensor(1).quantization.quantizedDimension else 1 for place in range(exact.ndim)
            ]
            steps = exact / (scales.reshape(axis) if len(scales) > 1 else scales)
            layer.write(1, np.clip(np.floor(steps), -127, 127).astype(np.int8))

    return edited(subject.artifact, apply)


def _zero_bias(subject: Subject, which: int, _random: np.random.Generator) -> bytes:
    def apply(model: Any) -> None:
        layer = layers(model)[which]
        layer.write(2, np.zeros_like(layer.read(2, "int32")))

    return edited(subject.artifact, apply)


def _no_bias(subject: Subject, which: int, _random: np.random.Generator) -> bytes:
    def apply(model: Any) -> None:
        layer = layers(model)[which]
        model.buffers[layer.tensor(2).buffer].data = None
        layer.operator.inputs = [*layer.operator.inputs[:2], -1]

    return edited(subject.artifact, apply)


# ---------------------------------------------------------------- ranges and calibration


def _weight_scale(subject: Subject, factor: float, _random: np.random.Generator) -> bytes:
    def apply(model: Any) -> None:
        quantization = layers(model)[0].tensor(1).quantization
        quantization.scale = [scale * factor for scale in quantization.scale]

    return edited(subject.artifact, apply)


def _scale_range(quantization: Any, factor: float) -> None:
    quantization.scale = [scale * factor for scale in quantization.scale]


def _move_zero(quantization: Any, steps: float) -> None:
    quantization.zeroPoint = [int(point + steps) for point in quantization.zeroPoint]


class _Calibrated(StoreWorkbench):
    """Provide a workbench with wrong calibration data."""

    def __init__(self, healthy: StoreWorkbench, spoil: Callable[[Array], Array]) -> None:
        super().__init__(healthy.model, healthy.seed, None, healthy.store)
        self._spoil = spoil

    def calibration(self) -> Iterator[Inputs]:
        """Yield the model's calibration examples, all changed alike."""
        split = self.model.pack().calibration
        assert split is not None
        inputs, _ = self.model.fit_inputs(split.x, split.y)
        assert isinstance(inputs, np.ndarray)
        spoilt = self._spoil(inputs).astype(np.float32)
        return (rows(spoilt, slice(i, i + 1)) for i in range(length(spoilt)))


def _brighter(x: Array, factor: float) -> Array:
    return np.asarray(x * factor)


def _few(x: Array, count: int) -> Array:
    return x[:count]


def _constant(x: Array, value: float) -> Array:
    return np.full_like(x[:20], value)


def _inverted(x: Array, _strength: Strength) -> Array:
    return np.asarray(1 - x)


def _calibrated_on(spoil: Callable[[Array, Any], Array]) -> Callable[[Subject, Any, np.random.Generator], bytes]:
    def make(subject: Subject, strength: Any, _random: np.random.Generator) -> bytes:
        bench = _Calibrated(subject.bench, lambda x: spoil(x, strength))
        return repacked(VARIANTS[SUBJECT_VARIANT].make(bench))

    return make


# ---------------------------------------------------------------- conversion and file


def _other(subject: Subject, variant: str, _random: np.random.Generator) -> bytes:
    """Return another variant's artifact in place of this one."""
    return repacked(VARIANTS[variant].make(subject.bench))


def _padded(subject: Subject, share: float, random: np.random.Generator) -> bytes:
    from ai_edge_litert import schema_py_generated as schema

    def apply(model: Any) -> None:
        buffer = schema.BufferT()
        buffer.data = random.integers(0, 256, int(share * len(subject.artifact)), dtype=np.uint8)
        model.buffers.append(buffer)

    return edited(subject.artifact, apply)


ACCURACY, SIZE, STRUCTURE = Kind.ACCURACY, Kind.SIZE, Kind.STRUCTURE
UNDER_THIS_NAME = (
    "float32",
    "ptq_float16",
    "ptq_dynamic_wi8_afp32",
    "ptq_static_wi8_ai16",
    "ptq_static_wi8_ai8_int_io",
    "ptq_static_wi8_ai8_uint8_io",
    "ptq_static_wi8_ai8_per_tensor",
    "aeq_weight_only_wi8_afp32",
    "aeq_dynamic_wi4_afp32",
    "mixed_static_wi8_ai8_worst_float",
)

FAULTS = [
    Fault("channels of weights zeroed", "weights", STRUCTURE, (1, 2, 4), _on_weights(_zero_channels)),
    Fault("bits of weights flipped", "weights", ACCURACY, (10, 100, 1000, 5000), _on_weights(_flip_bits)),
    Fault("noise on weights, steps", "weights", ACCURACY, (1, 2, 4, 8, 16), _on_weights(_noise)),
    Fault("weights saturated at", "weights", ACCURACY, (96, 64, 32, 16), _on_weights(_saturate)),
    Fault("weights in coarser steps", "weights", STRUCTURE, (2, 4, 16), _on_weights(_coarse)),
    Fault("weights from -128", "weights", STRUCTURE, ("",), _on_weights(_with_lowest)),
    Fault("channels of weights random", "weights", ACCURACY, (1, 8), _on_weights(_garbage_channels)),
    Fault("a channel's sign turned", "weights", ACCURACY, ("",), _on_weights(_negate_channel)),
    Fault("two channels swapped", "weights", ACCURACY, ("",), _on_weights(_swap_channels)),
    Fault("kernels mirrored", "weights", ACCURACY, ("",), _on_weights(_mirror, 0)),
    Fault("smallest weights dropped, share", "weights", STRUCTURE, (0.1, 0.3, 0.5), _on_weights(_drop_smallest)),
    Fault("weights shuffled, share", "weights", ACCURACY, (0.01, 0.1, 0.5), _on_weights(_shuffle)),
    Fault("weights truncated, not rounded", "weights", ACCURACY, ("",), _truncated),
    Fault("a bias of zeros, layer", "bias", ACCURACY, (0, -1), _zero_bias),
    Fault("a bias left out, layer", "bias", STRUCTURE, (0, -1), _no_bias),
    Fault("scale of weights times", "ranges", STRUCTURE, (1.02, 1.1, 1.5, 3.0), _weight_scale),
    Fault("range clipped to", "ranges", STRUCTURE, (0.9, 0.7, 0.5, 0.25), _on_activations(_scale_range)),
    Fault("range stretched to", "ranges", STRUCTURE, (1.1, 2.0, 8.0, 32.0), _on_activations(_scale_range)),
    Fault("zero point off by", "ranges", STRUCTURE, (1, 4, 16), _on_activations(_move_zero)),
    Fault("calibrated on pixels not scaled", "calibration", ACCURACY, (255,), _calibrated_on(_brighter)),
    Fault("calibrated on images darker by", "calibration", ACCURACY, (0.5, 0.25, 0.1), _calibrated_on(_brighter)),
    Fault("calibrated on few examples", "calibration", ACCURACY, (1, 3), _calibrated_on(_few)),
    Fault("calibrated on a constant", "calibration", ACCURACY, (0.0, 0.5), _calibrated_on(_constant)),
    Fault("calibrated on inverted images", "calibration", ACCURACY, ("",), _calibrated_on(_inverted)),
    *(Fault(f"{name} under its name", "conversion", STRUCTURE, (name,), _other) for name in UNDER_THIS_NAME),
    Fault("a file grown by", "file", SIZE, (0.002, 0.01, 0.05), _padded),
]
