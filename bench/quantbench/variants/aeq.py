"""Quantize a float ``.tflite`` after training with Google's litert-quantizer, which needs no Keras model.

Until 0.10 it was called ai-edge-quantizer: the names of cells begin with ``aeq``, and either package will do.

Sources: the recipes of the package, whose names follow the same scheme as ours, and the papers of its algorithms:
OCTAV (Sakr et al. 2022, arXiv:2206.06501), GPTQ (Frantar et al. 2022, arXiv:2210.17323), Hadamard rotation (QuaRot,
Ashkboos et al. 2024, arXiv:2404.00456). MSE and OSCAR are only described in the package's ``algorithms`` folder.
"""

import re
import warnings
from collections.abc import Callable
from math import ceil
from typing import Any, Literal

from quantbench.core.renamed import QUANTIZER
from quantbench.core.renamed import quantizer as tool
from quantbench.errors import Unsupported
from quantbench.tflite.graph import Operator, read
from quantbench.variants import calibration
from quantbench.variants.declare import QuantizationSpec, Taxonomy, Variant, Workbench

PACKAGES = ("tensorflow", "tf-keras", QUANTIZER, "ai-edge-litert")
W_INT8 = "int8 per-channel symmetric uniform"
W_INT4 = "int4 per-channel symmetric uniform"
W_INT4_B32 = "int4 symmetric uniform, dense layers in blocks of 32, others per-channel"
A_FLOAT = "float32"
A_INT8 = "int8 per-tensor asymmetric uniform"
PER_CALL = "float32 between operators, int8 inside them"
AVERAGED = "moving average of min and max over calibration"
WIDEST = "min-max over the calibration split"

MINMAX = "MIN_MAX_UNIFORM_QUANT"  # algorithms go by the names of the tool's enumeration
OSCAR = "OSCAR"
GPTQ = "GPTQ"
GPTQ_EXAMPLES = 128  # as in its paper
GPTQ_ROW = 2048  # GPTQ inverts a matrix of the row length squared: 200 s for the 5,408 of seed_cnn
DENSE = ("FULLY_CONNECTED",)
WEIGHTED = ("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D_TRANSPOSE")
DENSE_AND_CONV = ("FULLY_CONNECTED", "CONV_2D")  # what the tool quantizes to int4, which excludes depthwise


def quantize(bench: Workbench, float_artifact: bytes, recipe: Any, widest: bool = False) -> bytes:
    """Quantize the float artifact by a recipe manager's recipe, calibrated where the recipe requires it.

    Args:
        widest: whether ranges cover all calibration examples, instead of averaging each example's own range.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # calibration keeps all tensors, and LiteRT warns about the memory
        worker = tool("quantizer").Quantizer(float_artifact, recipe.get_quantization_recipe())
        calibration_result = calibrated(bench, float_artifact, recipe, widest) if _calibrates(recipe) else None
        return bytes(worker.quantize(calibration_result).quantized_model)


def by_rules(float_artifact: bytes, recipe: Any, statistics: Any = None) -> bytes:
    """Quantize the float artifact by a recipe whose ranges are known.

    Args:
        statistics: see :func:`calibrated`; None where the recipe needs none.
    """
    worker = tool("quantizer").Quantizer(float_artifact, recipe.get_quantization_recipe())
    needed = statistics if recipe.need_calibration() else None
    return bytes(worker.quantize(needed, enable_progress_bar=False, enable_progress_report=False).quantized_model)


def _algorithms(recipe: Any) -> list[str]:
    return [part["algorithm_key"] for part in recipe.get_quantization_recipe()]


def _calibrates(recipe: Any) -> bool:
    # The tool's own check omits OSCAR, which then uses the weights alone and only logs it.
    return bool(recipe.need_calibration()) or OSCAR in _algorithms(recipe)


def calibrated(bench: Workbench, float_artifact: bytes, recipe: Any, widest: bool = False) -> Any:
    """Collect the tensor statistics that the recipe's algorithms need, on the calibration split."""
    examples = representative(bench, float_artifact)
    # Quantizer.calibrate returns nothing for OSCAR.
    update = {"qsv_update_func": tool("utils.qsv_utils").min_max_update} if widest else {}

    def collect(asked: Any) -> Any:
        worker = tool("calibrator").Calibrator(float_artifact, num_threads=1, **update)
        # Recurrent state is only reset at the end of a call.
        for part in [[x] for x in examples] if bench.model.stateful else [examples]:
            worker.calibrate({"serving_default": part}, asked)
        return worker.get_model_qsvs()

    if GPTQ in _algorithms(recipe):  # its statistics, matrices of a row's length squared, are not kept
        examples = examples[:: ceil(len(examples) / GPTQ_EXAMPLES)]
        return collect(recipe)
    key = calibration.digest(float_artifact, examples, widest, bench.model.stateful)
    return calibration.statistics(key, recipe, collect)


def representative(bench: Workbench, float_artifact: bytes) -> list[dict[str, Any]]:
    """Return the representative dataset as the tool takes it: each example as a dict by input name."""
    from quantbench.tflite.litert import LiteRT

    names = LiteRT(float_artifact).input_names()
    return [x if isinstance(x, dict) else {names[0]: x} for x in bench.calibration()]


def everything_by(add: str, algorithm: str = MINMAX, **options: Any) -> Any:
    """Build a recipe for every operator that the tool supports; ``add`` names a recipe manager's method."""
    manager = tool("recipe_manager").RecipeManager()
    key = tool("algorithm_manager").AlgorithmName[algorithm]
    getattr(manager, add)(".*", tool("qtyping").TFLOperationName.ALL_SUPPORTED, algorithm_key=key, **options)
    return manager


def with_rules(
    manager: Any, add: str, algorithm: str, operators: tuple[str, ...], where: str = ".*", **options: Any
) -> Any:
    """Add another algorithm for some operators to the recipe; the last entry for an operator applies."""
    key = tool("algorithm_manager").AlgorithmName[algorithm]
    for operator in operators:
        getattr(manager, add)(where, tool("qtyping").TFLOperationName[operator], algorithm_key=key, **options)
    return manager


def only(operator: Operator) -> str:
    """Build a recipe's regular expression for this operator only, by the name of its output."""
    return f"^{re.escape(''.join(f'{tensor.name};' for tensor in operator.outputs))}$"


def dense_by_row(float_artifact: bytes, suits: Callable[[int], bool]) -> list[str]:
    """Find the dense operators, as regular expressions, whose row length suits the algorithm.

    Raises:
        Unsupported: no dense operator suits.
    """
    dense = [operator for operator in read(float_artifact).operators if operator.name in DENSE]
    weights = [(operator, operator.inputs[1]) for operator in dense]
    expressions = [only(operator) for operator, w in weights if w is not None and w.data and suits(w.shape[-1])]
    if not expressions:
        raise Unsupported("the model has no dense layer whose rows have a length that the algorithm takes")
    return expressions


def dynamic(bits: int) -> Callable[[Workbench], bytes]:
    """Return what quantizes the weights of every operator per channel, and leaves activations to the runtime."""

    def make(bench: Workbench) -> bytes:
        return quantize(bench, bench.float_artifact(), everything_by("add_dynamic_config", num_bits=bits))

    return make


def _int4_by(algorithm: str, operators: tuple[str, ...]) -> Callable[[Workbench], bytes]:
    def make(bench: Workbench) -> bytes:
        manager = everything_by("add_dynamic_config", num_bits=4)
        return quantize(
            bench, bench.float_artifact(), with_rules(manager, "add_dynamic_config", algorithm, operators, num_bits=4)
        )

    return make


def in_blocks(row: int) -> bool:
    """Check whether a row divides into blocks of 32."""
    return row % 32 == 0


def even(row: int) -> bool:
    """Check whether a row can be rotated."""
    return row % 2 == 0  # the tool fails on an odd length


def _invertible(row: int) -> bool:
    return row <= GPTQ_ROW


def _int4_dense_by(
    algorithm: str, suits: Callable[[int], bool], granularity: str = "CHANNELWISE"
) -> Callable[[Workbench], bytes]:
    def make(bench: Workbench) -> bytes:
        float_artifact = bench.float_artifact()
        manager = everything_by("add_dynamic_config", num_bits=4)
        options: dict[str, Any] = {"num_bits": 4, "granularity": tool("qtyping").QuantGranularity[granularity]}
        for where in dense_by_row(float_artifact, suits):
            with_rules(manager, "add_dynamic_config", algorithm, DENSE, where, **options)
        return quantize(bench, float_artifact, manager)

    return make


def _weight_only(bits: int, algorithm: str = MINMAX) -> Callable[[Workbench], bytes]:
    def make(bench: Workbench) -> bytes:
        return quantize(
            bench, bench.float_artifact(), everything_by("add_weight_only_config", algorithm, num_bits=bits)
        )

    return make


def _static(activation_bits: int, algorithm: str = MINMAX, widest: bool = False) -> Callable[[Workbench], bytes]:
    def make(bench: Workbench) -> bytes:
        options: dict[str, Any] = {"activation_num_bits": activation_bits, "weight_num_bits": 8}
        manager = everything_by("add_static_config", **options)
        if algorithm != MINMAX:  # OCTAV would refuse the zero point of constants that are added or multiplied by
            with_rules(manager, "add_static_config", algorithm, WEIGHTED, **options)
        return quantize(bench, bench.float_artifact(), manager, widest)

    return make


def declared(
    name: str,
    description: str,
    make: Callable[[Workbench], bytes],
    taxonomy: Taxonomy,
    promise: QuantizationSpec,
    gate: Literal["all", "small", "nightly"] = "small",
) -> Variant:
    """Declare a variant of this family."""
    described = f"{QUANTIZER}: {description}"
    return Variant(f"aeq_{name}", described, "ptq", QUANTIZER, make, taxonomy, promise, packages=PACKAGES, gate=gate)


def _int4_variant(method: str, description: str, make: Callable[[Workbench], bytes], chosen: str, **of: Any) -> Variant:
    taxonomy = Taxonomy(of.pop("weights", W_INT4), PER_CALL, f"{chosen}; activations per call")
    promise = QuantizationSpec(weights="int4", computes="hybrid", **of)
    described = f"int4 weights, {description}; activations quantized at run time"
    return declared(f"dynamic_wi4_{method}_afp32", described, make, taxonomy, promise)


VARIANTS = [
    declared(
        "dynamic_wi8_afp32",
        "int8 weights, activations quantized at run time",
        dynamic(8),
        Taxonomy(W_INT8, PER_CALL, "weights min-max; activations per call"),
        QuantizationSpec(weights="int8", computes="hybrid"),
        gate="all",
    ),
    declared(
        "dynamic_wi4_afp32",
        "int4 weights, activations quantized at run time",
        dynamic(4),
        Taxonomy(W_INT4, PER_CALL, "weights min-max; activations per call"),
        QuantizationSpec(weights="int4", computes="hybrid"),
        gate="all",
    ),
    declared(
        "weight_only_wi8_afp32",
        "int8 weights, expanded before they are used",
        _weight_only(8),
        Taxonomy(W_INT8, A_FLOAT, "weights min-max"),
        QuantizationSpec(weights="int8", computes="float"),
        gate="all",
    ),
    declared(
        "static_wi8_ai8",
        "int8 weights and activations",
        _static(8),
        Taxonomy(W_INT8, A_INT8, AVERAGED),
        QuantizationSpec(weights="int8", computes="integer", io="int8"),
        gate="all",
    ),
    # The tool's default forgets: each example moves a range by a twentieth of the way to its own extremes, so that the
    # outliers among examples end up outside. Where they matter it costs 10 points and more; where they do not, the
    # narrower range has the finer steps. Neither is the better one for every model.
    declared(
        "static_wi8_ai8_minmax",
        "int8 weights and activations, ranges as wide as all calibration examples (static_wi8_ai8 averages each "
        "example's own range, which cuts off rare large values but has finer steps)",
        _static(8, widest=True),
        Taxonomy(W_INT8, A_INT8, WIDEST),
        QuantizationSpec(weights="int8", computes="integer", io="int8"),
    ),
    declared(
        "weight_only_wi4_afp32",
        "int4 weights, expanded before they are used",
        _weight_only(4),
        Taxonomy(W_INT4, A_FLOAT, "weights min-max"),
        QuantizationSpec(weights="int4", computes="float"),
    ),
    declared(
        "float16",
        "weights stored as float16, expanded before they are used",
        _weight_only(16, "FLOAT_CASTING"),
        Taxonomy("float16", A_FLOAT, "none"),
        QuantizationSpec(weights="float16", computes="float"),
    ),
    declared(
        "static_wi8_ai16",
        "int8 weights, int16 activations",
        _static(16),
        Taxonomy(W_INT8, "int16 per-tensor symmetric uniform", AVERAGED),
        QuantizationSpec(weights="int8", computes="integer", io="int16"),
    ),
    declared(
        "static_wi8_ai8_octav",
        "int8 weights, clipped by OCTAV, and int8 activations",
        _static(8, "OCTAV"),
        Taxonomy(W_INT8, A_INT8, f"weights clipped for least squared error (OCTAV); activations {AVERAGED}"),
        QuantizationSpec(weights="int8", computes="integer", io="int8"),
    ),
    _int4_variant(
        "b32",
        "one scale for each 32 of a dense layer's weights",
        _int4_dense_by(MINMAX, in_blocks, "BLOCKWISE_32"),
        "weights min-max, of dense layers with rows of a multiple of 32 one range per block",
        weights=W_INT4_B32,
        granularity="blockwise",
    ),
    _int4_variant(
        "mse",
        "clipped for least squared error of normally distributed ones",
        _int4_by("MSE", DENSE_AND_CONV),
        "weights: scale from their standard deviation, least squared error of a normal distribution",
    ),
    _int4_variant(
        "octav",
        "clipped for least squared error of their own (OCTAV)",
        _int4_by("OCTAV", DENSE_AND_CONV),
        "weights clipped for least squared error (OCTAV)",
    ),
    _int4_variant(
        "gptq",
        "those of dense layers rounded for least error of the layer's output (GPTQ)",
        _int4_dense_by(GPTQ, _invertible),
        "weights min-max, of dense layers with rows up to 2,048 rounded by GPTQ on the calibration split",
    ),
    _int4_variant(
        "hadamard",
        "those of dense layers rotated first (Hadamard), and their activations with them",
        _int4_dense_by("DECOMPOSED_HADAMARD_ROTATION", even),
        "weights min-max, of dense layers with rows of even length rotated and clipped for least squared error (OCTAV)",
        rotations=True,
    ),
    _int4_variant(
        "oscar",
        "those of dense layers scaled by input channel and clipped for least error of the layer's output (OSCAR)",
        _int4_by(OSCAR, DENSE),
        "weights min-max, of dense layers clipped for least error on the calibration split (OSCAR)",
    ),
]
