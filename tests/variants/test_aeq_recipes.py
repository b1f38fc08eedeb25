"""The recipes of two bits, blocks and rotations: what is in their files, and what refuses the others."""

from pathlib import Path

import pytest
from conftest import ROOT
from quantbench.build import artifact
from quantbench.build.store import Store
from quantbench.errors import Unsupported
from quantbench.gate._quantization_spec import violations
from quantbench.measure.census import census
from quantbench.reference.model import load_models
from quantbench.tflite.graph import read
from quantbench.variants import VARIANTS


@pytest.mark.slow
def test_each_recipe_makes_what_its_name_says_or_is_refused_in_words(store: Path) -> None:
    bench = artifact.StoreWorkbench(load_models(ROOT / "models")["seed_cnn"], 0, None, Store(store))

    def weights(variant: str) -> dict[str, str]:
        made = VARIANTS[variant].make(bench)
        assert violations(VARIANTS[variant].promise, census(made)) == []
        found = {}
        for one in read(made).operators:
            tensor = one.inputs[1] if one.name in ("CONV_2D", "FULLY_CONNECTED") else None
            if tensor is not None and tensor.dtype != "float32":  # a rotation is a float32 product
                found[one.name] = f"{tensor.dtype} {tensor.granularity}"
        return found

    int2 = {"CONV_2D": "int8 per-channel", "FULLY_CONNECTED": "int2 per-channel"}
    assert weights("aeq_dynamic_wi2_dense_afp32") == int2
    assert weights("aeq_dynamic_wi2_dense_hadamard_afp32") == int2
    assert weights("aeq_dynamic_wi2_dense_b32_afp32") == int2 | {"FULLY_CONNECTED": "int2 blockwise"}
    assert weights("aeq_dynamic_wi8_hadamard_afp32") == dict.fromkeys(int2, "int8 per-channel")
    assert weights("aeq_dynamic_wi4_hadamard_op_afp32") == dict.fromkeys(int2, "int4 per-channel")
    with pytest.raises(Unsupported, match="policy refuses int8 weights of dense layers with BLOCKWISE_32 scales"):
        VARIANTS["aeq_dynamic_wi8_b32_afp32"].make(bench)
