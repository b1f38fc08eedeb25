"""What is known of a file that is compiled for an accelerator, for a run that judges it."""

import shutil
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from quantbench.errors import BadInput
from quantbench.tflite.compiled import measured

sys.path.insert(0, str(ROOT / "tests" / "adopt"))
from make_built import custom, dense

COMPILED = ROOT / "tests" / "adopt" / "compiled"
SUMMARY = "tiny_summary_Ethos_U55_High_End_Embedded.csv"


def test_operators_and_work_left_and_the_compilers_figures(tmp_path: Path) -> None:
    artifact = (COMPILED / "tiny_vela.tflite").read_bytes()
    assert measured(artifact, "Ethos-U", None, "tiny_vela") == {"left_operators": 2, "left_macs": 0}
    known = measured(artifact, "Ethos-U", COMPILED / SUMMARY, "tiny_vela")
    assert known == {"left_operators": 2, "left_macs": 0, "npu_sram": 4096, "npu_cycles": 1152}
    shutil.copy(COMPILED / SUMMARY, tmp_path / "s.csv")
    cases = [
        (dense(), "Ethos-U", None, "tiny_vela", "adopted as compiled for Ethos-U, and is not compiled"),
        (custom(b"edgetpu-custom-op"), "Ethos-U", None, "tiny_vela", "and is compiled for Edge TPU"),
        (artifact[:200], "Ethos-U", None, "tiny_vela", "it cannot be read: "),
        (artifact, "Ethos-U", tmp_path / "gone.csv", "tiny_vela", "gone.csv: Vela summary not found"),
        (artifact, "Ethos-U", tmp_path / "s.csv", "other_vela", "is of the network tiny, and the file is called other"),
    ]
    for content, compiler, report, network, words in cases:
        with pytest.raises(BadInput) as caught:
            measured(content, compiler, report, network)
        assert words in str(caught.value)
