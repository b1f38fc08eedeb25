"""Files that another tool has built: judged once, and as cells of the gate."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, run_quantbench

sys.path.insert(0, str(ROOT / "tests" / "adopt"))
from make_built import KERNEL, X, custom, dense, written

pytestmark = pytest.mark.slow


def judged(folder: Path, store: Path, *arguments: str, status: int) -> str:
    asked = ["judge", *arguments, "--latency-budget", "0", "--report-dir", str(folder / "reports")]
    done = run_quantbench(*asked, store=store, cwd=folder)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def test_screen_page_report_and_exit_status_agree(tmp_path: Path, store: Path) -> None:
    folder = written(tmp_path)
    files = ["--float", "float.tflite", "--quantized", "good.tflite", "--quantized", "bad.tflite"]
    said = judged(
        folder,
        store,
        *files,
        "--quantized",
        "nan.tflite",
        "--data",
        "eval.npz",
        "--max-drop",
        "3pp",
        "--spec",
        "dynamic",
        status=1,
    )
    answer = said[said.index("✗ ") :].rstrip("\n").split("\n")
    assert answer[0] == "✗ bad.tflite, nan.tflite: beyond what is allowed (2 of 3 files)"
    assert answer[1] == "bad.tflite: accuracy drops by more than 3 pp"
    assert answer[2] == "nan.tflite: 600 of its answers are NaN or infinite"
    assert len(answer) <= 30
    report = json.loads((folder / "reports" / "latest" / "report.json").read_text())
    good, bad, nan = report["built"]["files"]
    assert (good["verdict"], bad["verdict"], nan["verdict"], report["exit_status"]) == ("within", "beyond", "beyond", 1)
    assert bad["lost"] - bad["gained"] == round(6 * bad["outputs"][0]["drop"])  # of 600 examples, paired
    assert good["structure"]["weights"] == {"int8": 1}
    assert (good["size"] < 0.5, good["broken"], good["arena"] > 0) == (True, [], True)
    page = (folder / "reports" / "latest" / "index.html").read_text()
    assert "bad.tflite, nan.tflite: beyond what is allowed (2 of 3 files)" in page
    assert f"{report['built']['files'][1]['outputs'][0]['score']:.2%}".replace("%", " %") in page


@pytest.mark.nightly
def test_without_a_float_model_the_file_shipped_so_far_is_the_reference(tmp_path: Path, store: Path) -> None:
    folder = written(tmp_path)
    files = ["--against", "good.tflite", "--quantized", "bad.tflite", "--data", "eval.npz"]
    assert "good.tflite" in judged(folder, store, *files, "--max-drop", "3pp", status=1)
    said = judged(folder, store, "--quantized", "good.tflite", "--data", "eval.npz", status=3)
    assert "nothing of it was gated: give --float or --against, --spec or --limit" in said


def test_a_compiled_file_is_gated_by_what_can_be_known_of_it(tmp_path: Path, store: Path) -> None:
    (tmp_path / "npu.tflite").write_bytes(custom(b"ethos-u"))
    said = judged(tmp_path, store, "--quantized", "npu.tflite", "--limit", "left=0", "--limit", "size=9kB", status=1)
    assert "operators left to the CPU: it is 1; at most 0 allowed" in said
    assert "compiled for Ethos-U in 1 part; 1 operator is left to the CPU: 1 SOFTMAX" in said


def test_a_compiled_file_is_a_cell_of_its_size_and_of_what_is_left_to_the_cpu(tmp_path: Path, store: Path) -> None:
    (tmp_path / "float.tflite").write_bytes(dense(KERNEL[:4, :4]))
    (tmp_path / "npu.tflite").write_bytes(custom(b"ethos-u"))
    np.savez(tmp_path / "eval.npz", x=X[:, :4], y=(X[:, :4] @ KERNEL[:4, :4].T).argmax(axis=1))
    folders = ["--model-dir", "models", "--baseline-dir", "baselines", "--report-dir", "reports"]
    given = ["adopt", "float.tflite", "--name", "mine", "--data", "eval.npz", "--latency-budget", "0"]
    done = run_quantbench(*given, "--artifact", "npu=npu.tflite", *folders, store=store, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    [listed] = json.loads((tmp_path / "models" / "mine.artifacts.json").read_text())["artifacts"]
    assert listed == {"name": "npu", "file": "../npu.tflite", "spec": "", "compiled": "Ethos-U"}

    def run(*more: str) -> tuple[int, str, dict[str, dict[str, str]]]:
        done = run_quantbench("run", *folders, "--no-latency", "--no-gpu", *more, store=store, cwd=tmp_path)
        cells = json.loads((tmp_path / "reports" / "latest" / "report.json").read_text())["cells"]
        return done.returncode, done.stdout, {cell["variant"]: cell["verdicts"] for cell in cells}

    status, said, verdicts = run("--variants", "built_npu")
    assert (status, verdicts["built_npu"]) == (0, {"size": "pass", "structure": "pass"}), said
    (tmp_path / "npu.tflite").write_bytes(custom(b"ethos-u", left=2))
    status, said, verdicts = run()
    assert (status, verdicts["built_npu"]) == (1, {"size": "regressed", "structure": "regressed"}), said
    assert "accuracy" in verdicts["float32"]
    assert "operators left to the CPU: 2, accepted 1 (+1; none allowed)" in said
    again = ["adopt", "float.tflite", "--update", "mine", "--latency-budget", "0", *folders]
    updated = run_quantbench(*again, store=store, cwd=tmp_path)
    assert updated.returncode == 1, updated.stdout + updated.stderr
    assert "built_npu: not compared: it is compiled, so it has no score" in updated.stdout
    assert "RED built_npu: operators left to the CPU: 2, accepted 1 (+1; none allowed)" in updated.stdout
    (tmp_path / "npu.tflite").write_bytes((tmp_path / "float.tflite").read_bytes())
    status, said, verdicts = run()
    assert status == 3
    assert "it was adopted as compiled for Ethos-U, and is not compiled" in said


def test_an_adopted_artifact_is_a_cell_and_a_new_file_is_judged_against_the_accepted_one(
    tmp_path: Path, store: Path
) -> None:
    folder = written(tmp_path)
    (folder / "build").mkdir()
    shutil.copy(folder / "good.tflite", folder / "build" / "v.tflite")
    folders = ["--model-dir", "models", "--baseline-dir", "baselines", "--report-dir", "reports"]
    given = ["adopt", "float.tflite", "--name", "mine", "--data", "eval.npz", "--max-drop", "5pp"]
    own = ["--artifact", "vendor=build/v.tflite", "--spec", "vendor=dynamic", "--latency-budget", "0"]
    done = run_quantbench(*given, *own, *folders, store=store, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "gated: float32, built_vendor." in done.stdout
    listed = json.loads((folder / "models" / "mine.artifacts.json").read_text())["artifacts"]
    assert listed == [{"name": "vendor", "file": "../build/v.tflite", "spec": "dynamic"}]

    def run() -> tuple[int, str, dict[str, str]]:
        done = run_quantbench("run", *folders, "--no-latency", "--no-gpu", store=store, cwd=folder)
        cells = json.loads((folder / "reports" / "latest" / "report.json").read_text())["cells"]
        return done.returncode, done.stdout, {cell["variant"]: cell["verdict"] for cell in cells}

    assert run()[0] == 0
    shutil.copy(folder / "bad.tflite", folder / "build" / "v.tflite")
    status, said, verdicts = run()
    assert (status, verdicts) == (1, {"float32": "pass", "built_vendor": "regressed"}), said
