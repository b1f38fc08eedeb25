"""Outputs that two shards only warn of, judged again where all of the run is known."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, edit
from made_up_runs import cell, measured, report
from quantbench import gate
from quantbench.baselines.files import load, packed
from quantbench.core import distances
from quantbench.core.options import RunOptions
from quantbench.engine.merge import Whole
from quantbench.engine.outputs import Compared
from quantbench.engine.shard_folders import Piece
from quantbench.records import Kind, Shard, Verdict
from quantbench.reference.datasets import read_predictions
from quantbench.reference.model import load_models

VARIANTS = ("ptq_float16", "ptq_dynamic_wi8_afp32")
CODES = np.full(1000, 60, dtype=np.uint8)
FAR = np.where(np.arange(1000) < 10, 255, CODES).astype(np.uint8)  # ten examples are as far as can be: p = 0.0045
EVENLY, HOLM = 0.01 / 4, 0.01 / 2


def _accepted_outputs(folder: Path) -> None:
    """Write accepted distances into a baseline of seed_cnn."""
    path = folder / "seed_cnn.npz"
    path.write_bytes(
        packed(read_predictions(path, "predictions") | {distances.stored_as(name): CODES for name in VARIANTS})
    )

    def change(data: dict[str, Any]) -> None:
        data["predictions_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
        for name in VARIANTS:
            values = data["cells"][name]["measurements"]
            distance = {"value": float(distances.decode(CODES).mean()), "unit": "squared Hellinger distance", "n": 1000}
            values["output_distance"] = {**values["score"], **distance, "tolerance": gate.SMALLEST_EFFECT}

    edit(folder / "seed_cnn.json", change)


@pytest.mark.parametrize("strict", [False, True])
def test_outputs_share_the_budget_of_the_whole_run(baselines: Path, tmp_path: Path, strict: bool) -> None:
    _accepted_outputs(baselines)
    model = load_models(ROOT / "models")["seed_cnn"]
    accepted = load(baselines, model)
    pieces = []
    for index, name in enumerate(VARIANTS, start=1):
        found = measured(float(distances.decode(FAR).mean()), "squared Hellinger distance")
        predictions = accepted.predictions[name]
        subject = gate.Subject("seed_cnn", name, "run")
        compared = Compared(subject, model.metric, accepted, found, predictions, FAR, trained=False, strict=strict)
        judged = compared.judge(EVENLY)
        assert judged is not None
        assert (judged.verdict, EVENLY < (judged.p_value or 0) < HOLM) == (Verdict.WARN, True)
        one = cell(name).model_copy(
            update={
                "id": f"seed_cnn/{name}",
                "model": "seed_cnn",
                "predictions_sha256": hashlib.sha256(predictions.tobytes()).hexdigest(),
                "measurements": {"output_distance": found},
                "judgements": [judged],
                "verdicts": {Kind.ACCURACY: judged.verdict},
            }
        )
        folder = tmp_path / f"shard-{index}" / "predictions"
        folder.mkdir(parents=True)
        of_head = distances.of_head(name, "colour")
        arrays = {name: predictions, distances.stored_as(name): FAR, of_head: CODES}
        (folder / "seed_cnn.npz").write_bytes(packed(arrays))
        options = {"threads": "1", "strict_change": str(strict)}
        split = {f"seed_cnn/{variant}": number for number, variant in enumerate(VARIANTS, start=1)}
        shard = Shard(index=index, of=2, split=split, options=options, baselines={}, folder="there")
        data = {"seed_cnn": model.data_sha256}
        of_shard = report([one], shard=shard, data_sha256=data, started="2026-01-01T00:00:00+00:00")
        pieces.append(Piece(folder.parent, of_shard, shard))
    whole = Whole(pieces, {"seed_cnn": model}, RunOptions(baseline_dir=baselines), Path("here"))
    merged = whole.report()
    assert [one.verdict for one in merged.cells] == [Verdict.REGRESSED, Verdict.REGRESSED]
    assert merged.false_alarms.judgements == 2
    heads = {distances.of_head(name, "colour") for name in VARIANTS}
    assert set(whole.predictions["seed_cnn"]) == {*VARIANTS, *map(distances.stored_as, VARIANTS), *heads}
