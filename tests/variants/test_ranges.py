"""Where static ranges come from: litert-quantizer's own averages, and the extremes of all calibration examples."""

from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from quantbench.build import artifact
from quantbench.build.store import Store
from quantbench.reference.model import load_models
from quantbench.tflite.graph import Tensor, read
from quantbench.tflite.litert import LiteRT
from quantbench.variants import VARIANTS


@pytest.mark.slow
def test_ranges_over_all_examples_reach_the_extremes_that_averages_cut_off(store: Path) -> None:
    model = load_models(ROOT / "models")["seed_cnn"]

    def built(variant: str) -> bytes:
        made = artifact.artifact(model, VARIANTS[variant], 0, None, Store(store))
        assert made.path is not None
        return made.path.read_bytes()

    averaged, widest = (_activations(built(name)) for name in ("aeq_static_wi8_ai8", "aeq_static_wi8_ai8_minmax"))
    calibration = model.pack().calibration
    assert calibration is not None
    x, _ = model.fit_inputs(calibration.x, calibration.y)
    assert isinstance(x, np.ndarray)
    runner = LiteRT(built("float32"), runtime="litert-reference", keep_tensors=True)
    highest: dict[str, float] = {}
    for i in range(len(x)):
        runner.run(x[i : i + 1])
        for name, values in runner.tensors().items():
            if values.dtype == np.float32:
                highest[name] = max(highest.get(name, -np.inf), float(values.max()))
    common = sorted(averaged.keys() & widest.keys() & highest.keys())
    assert len(common) >= 3
    for name in common:
        tensor = widest[name]
        top = tensor.scales[0] * (127 - tensor.zero_points[0])
        assert top >= highest[name] - 1.5 * tensor.scales[0], name
    assert any(averaged[name].scales[0] < 0.95 * widest[name].scales[0] for name in common)


def _activations(content: bytes) -> dict[str, Tensor]:
    """Find the int8 tensors that no file stores."""
    graph = read(content)
    return {
        tensor.name: tensor for tensor in graph.tensors if tensor.dtype == "int8" and tensor.scales and not tensor.data
    }
