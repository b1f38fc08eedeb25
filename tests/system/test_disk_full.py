"""A full disk stops the run with a sentence, a status of its own and a valid partial report, and loses nothing else."""

import errno
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import ROOT, THREE_CELLS, ThreeCells, command, surroundings
from quantbench import files
from quantbench.ab import check
from quantbench.adopt.loading import Loading
from quantbench.baselines import files as baseline_files
from quantbench.build.store import Store
from quantbench.cli import report as cli_report
from quantbench.core import child_process
from quantbench.errors import BadInput, DiskFull, Exit, disk_is_full, full_disk_named
from quantbench.records import BaselineFile, Report, read_record
from quantbench.reference.model import Floor, ReferenceModel
from quantbench.report import charts
from quantbench.report.run_folder import RunFolder


def on_small_disk(size: str, disk: Path, kept: Path, store: Path, reports: Path) -> "subprocess.CompletedProcess[str]":
    """A run that sees a disk of that size in a folder, which is copied before it vanishes with the run."""
    run = shlex.join([*command("run", *THREE_CELLS), "--report-dir", str(reports)])
    script = (
        f"mount -t tmpfs -o size={size} none {disk} || exit 99\n"
        f"{run}\nstatus=$?\ndf --output=avail {disk}\ncp -r {disk}/. {kept}\nexit $status"
    )
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script],
        cwd=ROOT,
        env=surroundings(QUANTBENCH_CACHE=str(store)),
        capture_output=True,
        text=True,
        timeout=300,
    )
    if done.returncode == 99 or done.stderr.startswith("unshare:"):
        pytest.skip(f"needs a small disk, and none may be mounted here: {done.stderr.strip()[:100]}")
    return done


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    if shutil.which("unshare") is None:
        pytest.skip("needs util-linux' unshare to mount a small disk")
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    disk.mkdir()
    kept.mkdir()
    return disk, kept


@pytest.mark.slow
@pytest.mark.parametrize("size", ["100k", pytest.param("900k", marks=pytest.mark.nightly)])
def test_no_room_in_the_store(tmp_path: Path, folders: tuple[Path, Path], size: str) -> None:
    disk, kept = folders
    reports = tmp_path / "reports"
    done = on_small_disk(size, disk, kept, disk, reports)
    output = done.stdout + done.stderr
    assert done.returncode == Exit.DISK_FULL, output
    assert f"no space is left in {disk}; free some and run again" in output
    assert "Traceback" not in output
    report = read_record(reports / "latest" / "report.json", Report, "report")
    assert (report.state, report.exit_status) == ("interrupted", Exit.DISK_FULL)
    assert any("no space is left" in note for note in report.notes)
    assert "unsupported" not in {cell.failure.what for cell in report.cells if cell.failure}
    assert "STOPPED: the disk is full" in (reports / "latest" / "report.md").read_text()
    assert not list(kept.glob("??/.new-*"))
    assert not list((kept / ".held").iterdir())


@pytest.mark.slow
def test_no_room_for_the_whole_report(folders: tuple[Path, Path], three_cells: ThreeCells, store: Path) -> None:
    disk, kept = folders
    done = on_small_disk("16460k", disk, kept, store, disk)
    assert done.returncode == Exit.DISK_FULL, done.stdout
    report = read_record(kept / "latest" / "report.json", Report, "report")
    assert report.state == "interrupted"
    assert all(cell.measurements for cell in report.cells)
    assert (kept / "latest" / "report.html").exists()
    assert not [path for path in (kept / "latest").iterdir() if path.name.startswith(".")]


def test_no_room_for_a_report_at_all(folders: tuple[Path, Path], store: Path) -> None:
    disk, kept = folders
    done = on_small_disk("4m", disk, kept, store, disk)
    assert done.returncode == Exit.DISK_FULL, done.stdout
    assert f"no space is left for a report in {disk}; free some, or give another" in done.stdout + done.stderr
    assert not [path for path in kept.iterdir() if path.name != ".pytest_cache"]


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_an_entry_that_finds_no_room_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", full)  # its index, after its files
        with pytest.raises(OSError, match="No space left"):
            store.put("ab12", {"x": b"content"}, {})
    assert not list((tmp_path / "ab").iterdir())
    store.put("ab12", {"x": b"content"}, {})
    assert store.get("ab12") is not None


def test_a_run_folder_without_room_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DiskFull, match="no space is left for a report"):
        RunFolder.create(tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_reserve_has_no_name_and_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []
    allocate = os.posix_fallocate

    def noted(descriptor: int, offset: int, size: int) -> None:
        allocate(descriptor, offset, size)
        opened.append(os.fstat(descriptor).st_ino)
        assert os.fstat(descriptor).st_nlink == 0
        assert os.fstat(descriptor).st_blocks * 512 >= 16 * 2**20

    def held() -> list[int]:
        found = []
        for link in Path("/proc/self/fd").iterdir():
            with suppress(OSError):
                found.append(link.stat().st_ino)
        return [inode for inode in opened if inode in found]

    monkeypatch.setattr(os, "posix_fallocate", noted)
    folder = RunFolder.create(tmp_path)
    assert not list(folder.path.iterdir())  # a process that is killed now leaves nothing
    assert held() == opened != []
    folder.give_back_reserve()
    folder.give_back_reserve()
    assert held() == []


# ---------------------------------------------------------------- what is written outside of a run


def under_a_limit(bytes_a_file: int, *arguments: str, store: Path) -> "subprocess.CompletedProcess[str]":
    """A command whose files, and those of all that it starts, may grow no larger."""
    return subprocess.run(
        ["bash", "-c", f"ulimit -f {bytes_a_file // 1024} && {shlex.join(command(*arguments))}"],
        cwd=ROOT,
        env=surroundings(QUANTBENCH_CACHE=str(store), PYTHONDONTWRITEBYTECODE="1"),
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize(
    ("limit", "words"), [(0, "for temporary files"), (1024, "a copy of"), (20 * 1024, "ulimit -f")]
)
def test_a_model_that_is_tried_without_room(limit: int, words: str, tmp_path: Path) -> None:
    """A copy of the model takes 14 kB, the examples that its process is given 64 kB."""
    model, examples = tmp_path / "m.h5", tmp_path / "d.npz"
    tf_keras_file(model)
    np.savez(examples, x=np.zeros((2000, 32), np.float32), y=np.arange(2000) % 2)
    where = ["--data", str(examples), "--report-dir", str(tmp_path / "reports")]
    done = under_a_limit(limit, "try", str(model), *where, "--variants", "float32", store=tmp_path / "store")
    assert done.returncode == Exit.DISK_FULL, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    [sentence] = [line for line in done.stderr.splitlines() if line.startswith("quantbench: ")]
    assert words in sentence


AB_HERE = """
import sys
from pathlib import Path
from quantbench.ab import environments
environments.resolve = lambda side: environments.Resolved(side, ("ai-edge-litert==1",))
environments.install = lambda resolved: Path(sys.executable)
from quantbench.cli import main
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "limit"),
    [
        *(("adopt", 0), ("adopt", 1024), ("ab", 0), ("ab", 1024), ("ab", 64 * 1024), ("selftest", 0)),
        *(pytest.param(what, 64 * 1024, marks=pytest.mark.nightly) for what in ("adopt", "selftest")),
    ],
)
def test_other_commands_without_room(what: str, limit: int, tmp_path: Path) -> None:
    """By the limit, ab finds none for a temporary file, for its sources, or for the report of a side."""
    model, examples = tmp_path / "m.h5", tmp_path / "d.npz"
    tf_keras_file(model)
    np.savez(examples, x=np.zeros((200, 32), np.float32), y=np.arange(200) % 2)
    folders = ["--model-dir", str(tmp_path / "models"), "--baseline-dir", str(tmp_path / "baselines")]
    commands = {
        "adopt": [
            *command("adopt", str(model), "--name", "m", "--data", str(examples), "--latency-budget", "0"),
            *folders,
        ],
        "ab": [sys.executable, "-c", AB_HERE, "ab", "--old", "tensorflow", "--new", "tensorflow", *THREE_CELLS[:4]],
        "selftest": command("selftest", "--quick"),
    }
    asked = [*commands[what], "--report-dir", str(tmp_path / "reports")]
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f {limit // 1024} && {shlex.join(asked)}"],
        cwd=ROOT,
        env=surroundings(QUANTBENCH_CACHE=str(tmp_path / "store"), PYTHONDONTWRITEBYTECODE="1"),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == Exit.DISK_FULL, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("quantbench: ")]) == 1
    assert not (tmp_path / "models").exists()


def test_native_words_of_a_full_disk_are_a_sentence_too() -> None:
    with pytest.raises(DiskFull, match="ulimit -f"), full_disk_named():
        raise RuntimeError(f"SaveV2: /x/part-00000; {os.strerror(errno.EFBIG)} [Op:SaveV2]")
    with pytest.raises(DiskFull, match="no space is left"), full_disk_named():
        raise shutil.Error([("a", "b", f"[Errno 28] {os.strerror(errno.ENOSPC)}: 'b'")])


def tf_keras_file(path: Path) -> None:
    """A model of one dense layer, written by hand."""
    inner = {"name": "dense", "trainable": True, "dtype": "float32", "units": 2, "activation": "linear"}
    given = {"batch_input_shape": [None, 32], "dtype": "float32", "sparse": False, "ragged": False, "name": "x"}
    layers = [{"class_name": "InputLayer", "config": given}, {"class_name": "Dense", "config": inner}]
    with h5py.File(path, "w") as file:
        config = {"class_name": "Sequential", "config": {"name": "m", "layers": layers}}
        file.attrs.update({"keras_version": "2.21.0", "backend": "tensorflow", "model_config": json.dumps(config)})
        dense = file.create_group("model_weights/dense")
        file["model_weights"].attrs.update({"layer_names": [b"dense"], "keras_version": "2.21.0"})
        dense.attrs["weight_names"] = [b"dense/kernel:0", b"dense/bias:0"]
        dense["dense/kernel:0"], dense["dense/bias:0"] = np.eye(32, 2, dtype=np.float32), np.zeros(2, np.float32)


def test_examples_that_find_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Loading(_model(tmp_path), tmp_path / "m.h5") as loaded:
        monkeypatch.setattr(np, "savez", full)
        with pytest.raises(DiskFull, match="no space is left"):
            loaded.predict(np.zeros((3, 4), np.float32))


@pytest.mark.parametrize("how", ["answers", "dies"])
def test_a_process_that_finds_no_room_for_its_outputs(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"failed": f"OSError: [Errno 28] {os.strerror(errno.ENOSPC)}"}
    lines = {"answers": f"print({json.dumps(told)!r})", "dies": f"raise OSError(28, {os.strerror(errno.ENOSPC)!r})"}
    script = f"import sys; sys.stdin.readline(); sys.stdin.readline(); {lines[how]}"

    def start(self: Loading) -> "subprocess.Popen[str]":
        pipe = subprocess.PIPE
        with self._errors.open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-c", script], stdin=pipe, stdout=pipe, stderr=errors, text=True
            )
        assert process.stdin is not None
        process.stdin.write("{}\n")
        self._process = process
        return process

    monkeypatch.setattr(Loading, "_started", start)
    with Loading(_model(tmp_path), tmp_path / "m.h5") as loaded, pytest.raises(DiskFull, match="no space is left"):
        loaded.predict(np.zeros((3, 4), np.float32))


def _model(folder: Path) -> ReferenceModel:
    return ReferenceModel(
        name="m",
        description="",
        weights="m.h5",
        weights_sha256="",
        data="",
        data_sha256="",
        floors={"default": Floor(0.0, "")},
        form="keras2",
        file=folder / "m.py",
    )


def test_a_child_that_finds_no_room_is_no_fault_of_the_file() -> None:
    done = subprocess.CompletedProcess[str]([], 1, "", f"OSError: [Errno 28] {os.strerror(errno.ENOSPC)}\n")
    with pytest.raises(DiskFull, match="no space is left"):
        child_process.result(done)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("what", ["baseline", "page", "charts", "named", "ab"])
def test_what_is_written_without_room_ends_with_the_status_of_a_full_disk(
    number: int, what: str, three_cells: ThreeCells, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    report = read_record(three_cells.run / "report.json", Report, "report")
    baseline = read_record(ROOT / "baselines" / "seed_cnn.json", BaselineFile, "baseline")
    writes: dict[str, Callable[[], object]] = {
        "baseline": lambda: baseline_files.save(tmp_path, baseline, None),
        "page": lambda: cli_report._page(report, three_cells.run, tmp_path / "x.html", ROOT / "models"),
        "charts": lambda: charts.write(tmp_path, report),
        "named": lambda: files.write_named(tmp_path / "x", "x", "--summary"),
        "ab": lambda: check._folder(tmp_path / "reports"),
    }
    monkeypatch.setattr(files, "replace", short)
    monkeypatch.setattr(Path, "mkdir", short)
    with pytest.raises(DiskFull, match=f"{tmp_path}.*; (free some and run again|raise the limit)"):
        writes[what]()


def test_what_says_that_the_disk_is_full() -> None:
    assert disk_is_full(OSError(errno.ENOSPC, "x"))
    assert disk_is_full(OSError(errno.EDQUOT, "x"))
    assert disk_is_full(OSError(errno.EFBIG, "x"))
    assert disk_is_full(RuntimeError("save_op.cc:20 : RESOURCE_EXHAUSTED: x; No space left on device"))
    assert not disk_is_full(OSError(errno.EACCES, "x"))
    assert not disk_is_full(BadInput("x"))
