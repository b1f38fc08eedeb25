"""What SECURITY.md says, held to the code: files of others are data, and stay in their folders."""

import ast
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import h5py
import made_up_runs
import numpy as np
import pytest
from conftest import ROOT, Quantbench, ThreeCells
from quantbench.adopt import formats, task, understand
from quantbench.adopt.data import Found
from quantbench.errors import BadInput
from quantbench.records import Report, read_record
from quantbench.reference.datasets import read_npz
from quantbench.reference.metrics import ACCURACY
from quantbench.reference.model import Floor, ReferenceModel, Scaled, load_file
from quantbench.safety import archive

SOURCES = sorted((ROOT / "bench").rglob("*.py"))
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "marshal", "shelve", "yaml", "tarfile", "joblib"}
# Of pickle, the one that refuses everything in it but listed classes: multiprocessing knows no other way to answer.
RESTRICTED = {"bench/quantbench/core/pools.py": {"pickle"}}
FORBIDDEN_CALLS = {"eval", "exec", "os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}
UNPACKING = {"extractall", "extract", "unpack_archive"}


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def keyword(call: ast.Call, name: str) -> str:
    return next((ast.unparse(one.value) for one in call.keywords if one.arg == name), "")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_can_run_data(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {
        name.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names
    }
    imported |= {(node.module or "").split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not imported & FORBIDDEN_MODULES - RESTRICTED.get(path.relative_to(ROOT).as_posix(), set())
    for name, call in calls(tree):
        assert not name.startswith("pickle.l"), ast.unparse(call)
        assert name not in FORBIDDEN_CALLS, ast.unparse(call)
        assert name.rpartition(".")[2] not in UNPACKING, ast.unparse(call)
        assert keyword(call, "shell") in ("", "False"), ast.unparse(call)
        if name in ("np.load", "numpy.load"):
            assert keyword(call, "allow_pickle") == "False", ast.unparse(call)


@pytest.mark.parametrize("name", ["../../secret", "/etc/passwd", "..", ".hidden", "a/b", ""])
@pytest.mark.parametrize("field", ["model", "variant"])
def test_a_name_in_a_report_cannot_be_a_path(tmp_path: Path, field: str, name: str) -> None:
    path = made_up_runs.write(tmp_path, made_up_runs.report([made_up_runs.cell()])) / "report.json"
    data = json.loads(path.read_text())
    data["cells"][0] |= {field: name}
    data["cells"][0]["id"] = f"{data['cells'][0]['model']}/{data['cells'][0]['variant']}"
    path.write_text(json.dumps(data))
    with pytest.raises(BadInput, match=rf"report.json: report: field 'cells.0.{field}'"):
        read_record(path, Report, "report")


def test_a_cell_is_called_as_its_model_and_variant(tmp_path: Path) -> None:
    path = made_up_runs.write(tmp_path, made_up_runs.report([made_up_runs.cell()])) / "report.json"
    path.write_text(path.read_text().replace('"id": "m/v"', '"id": "../../m/v"'))
    with pytest.raises(BadInput, match="expected the id m/v as of its model and variant"):
        read_record(path, Report, "report")


def test_a_file_name_that_holds_code_stays_a_name(tmp_path: Path) -> None:
    name = 'a"""\nopen("ran", "w")\nb"""\'.tflite'
    model = ReferenceModel("m", f"adopted from {name}", "w", "", "data/m.npz", "", {"default": Floor(0.5, "x")})
    object.__setattr__(model, "file", tmp_path / "m.py")
    x, y = np.zeros((2, 1), np.float32), np.zeros(2, np.uint8)
    found = Found({"test": (x, y)}, {"test": {"": y}}, [], [], ())
    output = f"o{name}"  # names of outputs are others' text too
    judged = [task.Judged(output, ACCURACY.of(output), y, form="classes", loss="mean_squared_error", made="accuracy")]
    scored = understand._Scored(judged, Scaled("as_given", {"x": "float32"}), [dict(model.floors)], {"": (1,)})
    made = understand._write(model, scored, found, tmp_path, understand.Given(name, None))
    assert made.description == f"adopted from {name}"
    subprocess.run(
        [sys.executable, str(tmp_path / "m.py")], cwd=tmp_path, check=True, env={"PYTHONPATH": str(ROOT / "bench")}
    )
    assert not (tmp_path / "ran").exists()
    assert load_file(tmp_path / "m.py")[0].name == "m"


def keras_file(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


METADATA = b'{"keras_version": "3.0.0"}'


@pytest.mark.parametrize("member", ["../outside", "/outside", "a/../../outside", "C:/outside", "..\\outside"])
def test_a_member_outside_of_its_folder_is_refused(tmp_path: Path, member: str) -> None:
    path = keras_file(tmp_path / "m.keras", {"metadata.json": METADATA, member: b""})
    with pytest.raises(BadInput, match="would be unpacked outside of its folder"):
        formats.detect(path)


@pytest.mark.parametrize(
    "config",
    [b"[" * 100_000, b"\xff", b"null", b'{"a":' * 5000 + b"1" + b"}" * 5000, b" " * (archive.LARGEST_JSON + 1)],
)
def test_a_configuration_that_is_none_is_refused(tmp_path: Path, config: bytes) -> None:
    path = keras_file(tmp_path / "m.keras", {"metadata.json": METADATA, "config.json": config})
    with pytest.raises(BadInput, match=r"m.keras: "):
        formats.check_safe(path, formats.detect(path))


def test_a_lambda_is_found_however_deep(tmp_path: Path) -> None:
    deep = '{"a": [' * 200 + '{"class_name": "Lambda", "config": {"name": "evil"}}' + "]}" * 200
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.attrs["keras_version"] = "2.15.0"
        file.attrs["model_config"] = deep
    with pytest.raises(BadInput, match="layer 'evil' is a Lambda"):
        formats.check_safe(tmp_path / "m.h5", formats.detect(tmp_path / "m.h5"))


def test_an_archive_that_unpacks_to_more_than_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, x=np.zeros(10_000_000, np.uint8))
    assert path.stat().st_size < 100_000
    assert len(read_npz(path, "data")["x"]) == 10_000_000
    small = type("Memory", (), {"total": 15_000_000})
    monkeypatch.setattr("quantbench.reference.datasets.psutil.virtual_memory", small)
    with pytest.raises(BadInput, match=r"it unpacks to 0\.0 GiB, more than half of this machine's memory"):
        read_npz(path, "data")


def test_a_header_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lie.npz"
    content = bytearray(b"\x93NUMPY\x01\x00v\x00")
    content += b"{'descr': '|u1', 'fortran_order': False, 'shape': (999999999999999,), }".ljust(117) + b"\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", bytes(content))
    with pytest.raises(BadInput, match=r"is not a readable \.npz file of plain arrays"):
        read_npz(path, "data")


@pytest.mark.slow
def test_a_run_makes_an_open_store_private(quantbench: Quantbench, tmp_path: Path, three_cells: ThreeCells) -> None:
    selection = ["--models", "seed_cnn", "--variants", "float32", "--no-latency"]
    root = three_cells.copied_store(tmp_path / "open")
    root.chmod(0o777)
    done = quantbench("run", *selection, QUANTBENCH_CACHE=str(root))
    assert f"the store {root} was open to other users; it is private now" in done.output
    assert root.stat().st_mode & 0o077 == 0
    again = quantbench("run", *selection, QUANTBENCH_CACHE=str(root))
    assert "was open to other users" not in again.output
