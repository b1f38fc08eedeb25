"""Complete names for the shell, which asks at each press of a key: no model file is run, and nothing heavy imported."""

from collections.abc import Sequence
from pathlib import Path

import typer

from quantbench.core.options import RunOptions

# As in :data:`quantbench.variants.VARIANTS`, whose import takes half a second; a test compares them.
VARIANT_NAMES = (
    "float32",
    "ptq_float16",
    "ptq_dynamic_wi8_afp32",
    "ptq_static_wi8_ai8",
    "ptq_static_wi8_ai8_int_io",
    "ptq_static_wi8_ai16",
    "ptq_static_wi8_ai8_uint8_io",
    "ptq_static_wi8_ai8_int_only",
    "ptq_static_wi8_ai8_per_tensor",
    "aeq_dynamic_wi8_afp32",
    "aeq_dynamic_wi4_afp32",
    "aeq_weight_only_wi8_afp32",
    "aeq_static_wi8_ai8",
    "aeq_static_wi8_ai8_minmax",
    "aeq_weight_only_wi4_afp32",
    "aeq_float16",
    "aeq_static_wi8_ai16",
    "aeq_static_wi8_ai8_octav",
    "aeq_dynamic_wi4_b32_afp32",
    "aeq_dynamic_wi4_mse_afp32",
    "aeq_dynamic_wi4_octav_afp32",
    "aeq_dynamic_wi4_gptq_afp32",
    "aeq_dynamic_wi4_hadamard_afp32",
    "aeq_dynamic_wi4_oscar_afp32",
    "aeq_dynamic_wi2_dense_afp32",
    "aeq_dynamic_wi2_dense_b32_afp32",
    "aeq_dynamic_wi2_dense_hadamard_afp32",
    "aeq_dynamic_wi8_b32_afp32",
    "aeq_dynamic_wi8_hadamard_afp32",
    "aeq_dynamic_wi4_hadamard_op_afp32",
    "mixed_static_wi8_ai8_ends_float",
    "mixed_static_wi8_ai8_worst_float",
    "tuned",
    "float32_finetuned",
    "qat_wi8_ai8",
    "qat_wi8_ai8_dense_only",
    "float32_finetuned_2x",
    "float32_finetuned_3x",
    "qat_wi8_ai8_per_tensor",
    "qat_wi8_ai8_custom",
    "qat_wi4_ai8",
    "pruned_float32",
    "pruned_static_wi8_ai8",
    "clustered16_float32",
    "clustered16_static_wi8_ai8",
    "clustered32_float32",
    "clustered32_static_wi8_ai8",
    "clustered256_float32",
    "clustered256_static_wi8_ai8",
    "pqat_wi8_ai8",
    "cqat_wi8_ai8",
    "pcqat_wi8_ai8",
    "keras_dynamic_wi8_afp32",
    "keras_weight_only_wi8_afp32",
    "keras_weight_only_wi4_b128_afp32",
    "keras_weight_only_wi4_gptq_afp32",
    "keras_weight_only_wi4_awq_afp32",
    "keras_float8",
)


def models(context: typer.Context, incomplete: str) -> list[str]:
    """Complete the last of comma-separated models, by the names of the files in ``--model-dir``."""
    return _last_of(incomplete, _models(context))


def variants(incomplete: str) -> list[str]:
    """Complete the last of comma-separated variants."""
    return _last_of(incomplete, VARIANT_NAMES)


def cells(context: typer.Context, incomplete: str) -> list[str]:
    """Complete the last of comma-separated cells: the model first, then its variant."""
    model, slash, _ = incomplete.rpartition(",")[2].partition("/")
    if not slash:
        return _last_of(incomplete, [f"{name}/" for name in _models(context)])
    return _last_of(incomplete, [f"{model}/{name}" for name in VARIANT_NAMES])


def _models(context: typer.Context) -> list[str]:
    """List the files of the model folder that define models; a file is named after its model."""
    folder = Path(context.params.get("model_dir") or RunOptions().model_dir)
    return sorted(file.stem for file in folder.glob("*.py") if not file.name.startswith("_"))


def _last_of(incomplete: str, names: Sequence[str]) -> list[str]:
    """Return the text so far with each name that its last part begins, leaving out names that it holds already."""
    before, comma, last = incomplete.rpartition(",")
    given = before.split(",")
    return [f"{before}{comma}{name}" for name in names if name.startswith(last) and name not in given]
