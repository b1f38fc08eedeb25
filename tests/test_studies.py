"""The studies: what they print of made-up points, and one real point."""

from pathlib import Path

import pytest
from conftest import ROOT

from bench.reference import load_models
from bench.store import Store
from bench.studies import calibration
from bench.studies.calibration import Point

POINTS = [
    Point("m", "ptq_static_wi8_ai8", 1, [3.0, 5.0]),
    Point("m", "ptq_static_wi8_ai8", 100, [0.1, 0.3]),
]


def test_a_table_and_a_chart_of_drops_against_calibration_examples(tmp_path: Path) -> None:
    text = calibration.table(POINTS, "pp")
    assert "| `ptq_static_wi8_ai8` | min-max over the calibration split | +4.00 (+3.00 to +5.00) | +0.20 (+0.10" in text
    calibration.chart(POINTS, tmp_path / "chart.svg")
    picture = (tmp_path / "chart.svg").read_text()
    assert picture.startswith("<svg")
    assert "calibration examples" in picture


def test_fewer_calibration_examples_make_another_artifact(store: Path) -> None:
    model = load_models(ROOT / "models")["seed_cnn"]
    one = [calibration.drop(model, "ptq_static_wi8_ai8", count, 0, 0.8736, Store(store)) for count in (1, 1, 30)]
    assert one[0] == one[1]
    assert one[0] != pytest.approx(one[2], abs=1e-6)
