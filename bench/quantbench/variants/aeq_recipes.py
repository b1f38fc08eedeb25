"""Add the recipes of litert-quantizer beyond int4 and int8 per channel: two bits, int8 in blocks, more rotations.

Source: ``recipe.py`` of litert-quantizer 0.11, where their parts are called ``dynamic_wi2c``, ``dynamic_wi2b32``,
``dynamic_wi8b32``, ``dynamic_wi8c_hr`` and ``dynamic_wi2c_hr``. Two bits are for dense layers alone, as the package's
mixed recipes have fewer bits there: with convolutions in int2 too, seed_cnn and ds_cnn end at chance on all kernels.
What the policy of the package or the runtime refuses is a variant all the same: it is tried in every nightly run, and
the run says when it starts to work.
"""

from collections.abc import Callable
from typing import Any

from quantbench.core.renamed import quantizer as tool
from quantbench.errors import Unsupported
from quantbench.variants import aeq
from quantbench.variants.declare import QuantizationSpec, Taxonomy, Variant, Workbench

W_INT2 = "int2 symmetric uniform per-channel in dense layers, int8 in others"
W_INT2_B32 = "int2 symmetric uniform in dense layers, in blocks of 32, int8 per-channel in others"
W_INT8_B32 = "int8 symmetric uniform, dense layers in blocks of 32, others per-channel"
OCTAV = "OCTAV"
ROTATION = "DECOMPOSED_HADAMARD_ROTATION"  # by a matrix product, which any runtime has
ROTATION_OPERATOR = "HADAMARD_ROTATION"  # by an operator of the tool's own
ROTATED = (
    "weights min-max, of dense layers with rows of even length rotated and clipped for least squared error (OCTAV)"
)
IN_BLOCKS = "weights min-max, of dense layers with rows of a multiple of 32 one range per block"
CLIPPED = "weights min-max, of dense layers clipped for least squared error (OCTAV)"
PER_CALL = "activations per call"


def _any(_row: int) -> bool:
    return True


def _dense_by(
    bits: int,
    suits: Callable[[int], bool],
    algorithm: str = aeq.MINMAX,
    granularity: str = "CHANNELWISE",
    others: int = 8,
) -> Callable[[Workbench], bytes]:
    """Return what quantizes the dense operators whose rows suit by a rule of their own.

    Args:
        others: bits of the weights of every other operator, per channel.
    """

    def make(bench: Workbench) -> bytes:
        float_artifact = bench.float_artifact()
        manager = aeq.everything_by("add_dynamic_config", num_bits=others)
        options: dict[str, Any] = {"num_bits": bits, "granularity": tool("qtyping").QuantGranularity[granularity]}
        for where in aeq.dense_by_row(float_artifact, suits):
            try:
                aeq.with_rules(manager, "add_dynamic_config", algorithm, aeq.DENSE, where, **options)
            except ValueError as error:
                refused = f"int{bits} weights of dense layers with {granularity} scales"
                raise Unsupported(f"the quantizer's policy refuses {refused}") from error
        return aeq.quantize(bench, float_artifact, manager)

    return make


def _declared(
    name: str, what: str, make: Callable[[Workbench], bytes], chosen: str, taxonomy_weights: str, **promised: Any
) -> Variant:
    promise = QuantizationSpec(computes="hybrid", **promised)
    taxonomy = Taxonomy(taxonomy_weights, aeq.PER_CALL, f"{chosen}; {PER_CALL}")
    return aeq.declared(name, f"{what}; activations quantized at run time", make, taxonomy, promise, gate="nightly")


VARIANTS = [
    _declared(
        "dynamic_wi2_dense_afp32",
        "int2 weights of dense layers, clipped for least squared error (OCTAV), int8 in others",
        _dense_by(2, _any, OCTAV),
        CLIPPED,
        W_INT2,
        weights="int2",
        covers=aeq.DENSE,
    ),
    _declared(
        "dynamic_wi2_dense_b32_afp32",
        "int2 weights of dense layers, one scale for each 32, int8 in others",
        _dense_by(2, aeq.in_blocks, granularity="BLOCKWISE_32"),
        IN_BLOCKS,
        W_INT2_B32,
        weights="int2",
        covers=aeq.DENSE,
        granularity="blockwise",
    ),
    _declared(
        "dynamic_wi2_dense_hadamard_afp32",
        "int2 weights of dense layers, rotated first (Hadamard), and their activations with them; int8 in others",
        _dense_by(2, aeq.even, ROTATION),
        ROTATED,
        W_INT2,
        weights="int2",
        covers=aeq.DENSE,
        rotations=True,
    ),
    _declared(
        "dynamic_wi8_b32_afp32",
        "int8 weights, one scale for each 32 of a dense layer's",
        _dense_by(8, aeq.in_blocks, granularity="BLOCKWISE_32"),
        IN_BLOCKS,
        W_INT8_B32,
        weights="int8",
        granularity="blockwise",
    ),
    _declared(
        "dynamic_wi8_hadamard_afp32",
        "int8 weights, those of dense layers rotated first (Hadamard), and their activations with them",
        _dense_by(8, aeq.even, ROTATION),
        ROTATED,
        aeq.W_INT8,
        weights="int8",
        rotations=True,
    ),
    _declared(
        "dynamic_wi4_hadamard_op_afp32",
        "int4 weights, those of dense layers rotated first (Hadamard), and their activations by an operator of its own",
        _dense_by(4, aeq.even, ROTATION_OPERATOR, others=4),
        ROTATED,
        aeq.W_INT4,
        weights="int4",
    ),
]
