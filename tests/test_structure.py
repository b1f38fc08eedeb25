"""Reading what is really in an artifact, on artifacts that the converter made."""

from pathlib import Path

import pytest
from conftest import ROOT

from bench import build
from bench.reference import load_models
from bench.store import Store
from bench.structure import COMPUTE, float_compute, read
from bench.variants import VARIANTS


@pytest.mark.parametrize(
    ("variant", "in_float"), [("float32", 2), ("ptq_float16", 2), ("ptq_static_wi8_ai8", 0), ("aeq_static_wi8_ai8", 0)]
)
def test_operators_that_compute_in_float(variant: str, in_float: int, store: Path) -> None:
    model = load_models(ROOT / "models")["seed_cnn"]
    made = build.artifact(model, VARIANTS[variant], 0, None, Store(store))
    assert made.path is not None
    artifact = made.path.read_bytes()
    assert float_compute(artifact) == (in_float, 2)
    assert {"CONV_2D", "FULLY_CONNECTED"} <= {operator.name for operator in read(artifact).operators} & set(COMPUTE)
