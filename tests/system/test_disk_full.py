"""A full disk stops the run with a sentence, a status of its own and a valid partial report, and loses nothing else."""

import errno
import os
import shlex
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import ROOT, THREE_CELLS, ThreeCells, command, surroundings
from quantbench.build.store import Store
from quantbench.errors import BadInput, DiskFull, Exit, disk_is_full
from quantbench.records import Report, read_record
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
@pytest.mark.parametrize("size", ["100k", "900k"])
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


def test_what_says_that_the_disk_is_full() -> None:
    assert disk_is_full(OSError(errno.ENOSPC, "x"))
    assert disk_is_full(OSError(errno.EDQUOT, "x"))
    assert disk_is_full(RuntimeError("save_op.cc:20 : RESOURCE_EXHAUSTED: x; No space left on device"))
    assert not disk_is_full(OSError(errno.EACCES, "x"))
    assert not disk_is_full(BadInput("x"))
