"""Nothing outside the folders that are given is read, written or removed through links, and nothing hangs on a pipe."""

import ast
import datetime
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import made_up_runs
import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from quantbench import files
from quantbench.adopt import understand
from quantbench.baselines import check, update
from quantbench.baselines import files as baseline_files
from quantbench.build.eviction import clear_all
from quantbench.build.store import ENVIRONMENTS, HELD, Store, digest
from quantbench.comparison.history import read_history
from quantbench.comparison.load import read_sides
from quantbench.comparison.summary import SUMMARY, read_summary
from quantbench.engine.durations import Durations
from quantbench.engine.workers.cluster import model_files
from quantbench.errors import BadInput
from quantbench.records import BaselineFile, Report, _files, problems, read_record, write_json
from quantbench.records.run_folder import evidence_of, read
from quantbench.reference.datasets import file_sha256, load_pack, read_npz, read_predictions
from quantbench.reference.model import load_models
from quantbench.report import cells_csv, charts, junit
from quantbench.report.evidence import Behind
from quantbench.report.html import page
from quantbench.report.plots import sheet, trend
from quantbench.report.run_folder import RunFolder, write_markdown

SECRET = "the-secret-of-another-folder"
HANGS_AFTER = 300  # seconds; a pipe without a writer takes for ever, and a busy machine may take many for a command


@pytest.fixture(autouse=True)
def _nothing_hangs() -> Iterator[None]:
    def late(*_: object) -> None:
        raise AssertionError(f"it took more than {HANGS_AFTER} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(HANGS_AFTER)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


class Canary:
    """A folder that nobody gave to anything, with a private file in it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder, self.file = folder, folder / "private"
        self.file.write_text(SECRET)
        for path in (self.file, folder):
            os.utime(path, (1_000_000_000, 1_000_000_000))
        self.before = self.state()

    def state(self) -> list[tuple[str, int, int, bytes]]:
        found = []
        for path in (self.folder, *sorted(self.folder.rglob("*"))):
            status = path.lstat()
            content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
            found.append((path.name, status.st_mode, status.st_mtime_ns, content))
        return found

    def settle(self) -> None:
        """What a test itself has put there is part of it."""
        os.utime(self.folder, (1_000_000_000, 1_000_000_000))
        self.before = self.state()

    def unchanged(self) -> bool:
        return self.state() == self.before


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Canary]:
    found = Canary(tmp_path / "outside")
    yield found
    assert found.unchanged()


def link_to(canary: Canary, path: Path) -> None:
    path.symlink_to(canary.file)


def fifo(_: Canary, path: Path) -> None:
    os.mkfifo(path)


def endless(_: Canary, path: Path) -> None:
    path.symlink_to("/dev/zero")


def listening(_: Canary, path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the address of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(here)


def folder(_: Canary, path: Path) -> None:
    path.mkdir()


def nowhere(_: Canary, path: Path) -> None:
    path.symlink_to("nowhere")


Plant = Callable[[Canary, Path], None]
PLANTS: list[Plant] = [link_to, fifo, endless, listening, folder, nowhere]
planted = pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
SENTENCE = (
    r"cannot be read: it is (a link, which is not followed here|a named pipe|a socket|a folder|a device), and only"
    r" regular files are read; put the file itself there$"
)


# ---------------------------------------------------------------- reading


@planted
def test_nothing_but_a_regular_file_is_read(tmp_path: Path, canary: Canary, plant: Plant) -> None:
    plant(canary, tmp_path / "x")
    with pytest.raises(BadInput, match=rf"x: thing {SENTENCE}"):
        files.read_bytes(tmp_path / "x", "thing", 1000)
    with pytest.raises(files.NotRegular):
        files.open_regular(tmp_path / "x")


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "/proc/self/environ", "/proc/self/status"])
def test_devices_and_what_the_kernel_makes_up_are_not_read_even_where_named(path: str) -> None:
    for follow in (False, True):
        with pytest.raises(BadInput, match=r"it is (a device|no regular file on a disk)"):
            files.read_bytes(Path(path), "report", 1000, follow=follow)


def test_a_file_that_a_person_named_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("text")
    (tmp_path / "link").symlink_to("real")
    assert files.read_text(tmp_path / "link", "thing", 10, follow=True) == "text"
    with pytest.raises(BadInput, match="a link, which is not followed here"):
        files.read_text(tmp_path / "link", "thing", 10)


def test_a_folder_on_the_way_is_no_link_below_the_one_that_was_named(tmp_path: Path, canary: Canary) -> None:
    run = tmp_path / "run"
    (run / "deep").mkdir(parents=True)
    (run / "deep" / "x").write_text("mine")
    (tmp_path / "named").symlink_to(run)
    assert files.read_text(tmp_path / "named" / "deep" / "x", "thing", 10, inside=tmp_path / "named") == "mine"
    (run / "out").symlink_to(canary.folder)
    with pytest.raises(BadInput, match="'out' is a link, which is not followed here"):
        files.read_text(run / "out" / "private", "thing", 100, inside=run)
    with pytest.raises(files.NotRegular, match="outside of its folder"):
        files.open_regular(run / "deep" / ".." / ".." / "outside" / "private", inside=run)


@pytest.fixture
def unlisted() -> Iterator[Path]:
    """A folder whose names are not for us to list; the rights of a folder bind others than root alone."""
    place, nobody = Path(tempfile.mkdtemp()), 65534
    (place / "x").write_text("mine")
    if os.getuid() == 0:
        for path in (place / "x", place):
            os.chown(path, nobody, nobody)
        os.seteuid(nobody)
    place.chmod(0o300)
    yield place
    place.chmod(0o700)
    if os.getuid() == 0:
        os.seteuid(0)
    shutil.rmtree(place)


@pytest.mark.skipif(not hasattr(os, "O_PATH"), reason="Linux alone passes through a folder that it may not list")
def test_a_folder_need_not_be_listed_to_read_and_write_in_it(unlisted: Path) -> None:
    with pytest.raises(PermissionError):
        os.listdir(unlisted)
    assert files.read_text(unlisted / "x", "thing", 10) == "mine"
    files.replace(unlisted / "x", "new")
    assert files.read_text(unlisted / "x", "thing", 10, inside=unlisted) == "new"


def test_what_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "x").open("wb") as file:
        file.truncate(2**40)  # a hole: it takes no room
    with pytest.raises(BadInput, match=r"x: thing is 1024\.0 GiB large, expected at most 1000 bytes; give another"):
        files.read_bytes(tmp_path / "x", "thing", 1000)
    (tmp_path / "y").write_bytes(bytes(1000))
    assert len(files.read_bytes(tmp_path / "y", "thing", 1000)) == 1000
    with pytest.raises(BadInput, match="at most 999 bytes"):
        files.read_bytes(tmp_path / "y", "thing", 999)


def test_other_ways_of_not_reading_a_file_are_sentences_too(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"x: thing not found$"):
        files.read_bytes(tmp_path / "x", "thing", 10)
    (tmp_path / "x").write_bytes(b"\xff")
    with pytest.raises(BadInput, match=r"x: thing is not UTF-8 text \(byte 0 is 0xff\); restore it, or save it"):
        files.read_text(tmp_path / "x", "thing", 10)
    with pytest.raises(BadInput, match="thing cannot be read: Not a directory; check the path"):
        files.read_bytes(tmp_path / "x" / "y", "thing", 10)


# ---------------------------------------------------------------- writing


@given(content=st.one_of(st.binary(), st.text()), old=st.binary())
def test_what_is_written_is_read_again(
    content: bytes | str, old: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("written") / "x"
    path.write_bytes(old)
    files.replace(path, content)
    assert path.read_bytes() == (content if isinstance(content, bytes) else content.encode("utf-8", "replace"))
    assert os.listdir(path.parent) == ["x"]


@pytest.mark.parametrize("plant", [link_to, fifo, endless, listening, nowhere], ids=lambda plant: plant.__name__)
def test_what_is_in_the_way_of_a_file_is_replaced_and_not_written_through(
    tmp_path: Path, canary: Canary, plant: Plant
) -> None:
    plant(canary, tmp_path / "x")
    files.replace(tmp_path / "x", "new")
    assert files.is_regular(tmp_path / "x")
    assert (tmp_path / "x").read_text() == "new"


def test_a_file_gets_the_rights_that_the_umask_gives(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        files.replace(tmp_path / "x", "new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x").write_text("old")

    def fails(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "replace", fails)
    with pytest.raises(OSError, match="No space left"):
        files.replace(tmp_path / "x", "new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"x": "old"}


def test_a_folder_on_the_way_to_a_new_file_is_no_link(tmp_path: Path, canary: Canary) -> None:
    (tmp_path / "charts").symlink_to(canary.folder)
    with pytest.raises(files.NotRegular, match="'charts' is a link"):
        files.replace(tmp_path / "charts" / "x", "new", inside=tmp_path)
    files.replace(tmp_path / "a" / "b" / "x", "new", inside=tmp_path)
    assert (tmp_path / "a" / "b" / "x").read_text() == "new"


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_a_link_that_a_person_names_is_not_written_to(tmp_path: Path, canary: Canary, plant: Plant) -> None:
    plant(canary, tmp_path / "page.html")
    with pytest.raises(BadInput, match=r"--html: cannot write .*page\.html: it is .*; give another file"):
        files.write_named(tmp_path / "page.html", "new", "--html")
    files.write_named(tmp_path / "other.html", "new", "--html")
    assert (tmp_path / "other.html").read_text() == "new"


# ---------------------------------------------------------------- copying


def model_folder(path: Path) -> Path:
    (path / "variables").mkdir(parents=True)
    (path / "saved_model.pb").write_bytes(b"graph")
    (path / "variables" / "data").write_bytes(b"weights")
    return path


@planted
def test_a_model_that_holds_a_link_or_a_special_file_is_not_copied(
    tmp_path: Path, canary: Canary, plant: Plant
) -> None:
    model = model_folder(tmp_path / "model")
    plant(canary, model / "variables" / "more")
    if plant is folder:
        files.copy_tree(model, tmp_path / "copy", "the model")
        assert (tmp_path / "copy" / "variables" / "more").is_dir()
        return
    for act in (lambda: files.check_tree(model, "model"), lambda: files.copy_tree(model, tmp_path / "copy", "model")):
        with pytest.raises(BadInput, match=rf"variables/more: model: entry {SENTENCE}"):
            act()
    assert SECRET not in all_text(tmp_path / "copy")


def all_text(folder: Path) -> str:
    return " ".join(path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file())


def test_a_folder_of_a_model_that_is_a_link_is_not_copied(tmp_path: Path, canary: Canary) -> None:
    model = model_folder(tmp_path / "model")
    (model / "assets").symlink_to(canary.folder)
    with pytest.raises(BadInput, match="assets: the model: entry cannot be read: it is a link"):
        files.copy_tree(model, tmp_path / "copy", "the model")
    assert SECRET not in all_text(tmp_path / "copy")


def test_a_copy_is_whole_and_what_is_in_its_way_is_not_written_through(tmp_path: Path, canary: Canary) -> None:
    model = model_folder(tmp_path / "model")
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "saved_model.pb").symlink_to(canary.file)
    files.copy_tree(model, tmp_path / "copy", "the model")
    assert file_sha256(model) == file_sha256(tmp_path / "copy")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "variables").symlink_to(canary.folder)
    with pytest.raises(files.NotRegular, match="'variables' is a link"):
        files.copy_tree(model, tmp_path / "other", "the model")


def test_a_model_that_a_person_names_may_be_behind_a_link(tmp_path: Path) -> None:
    model = model_folder(tmp_path / "model")
    (tmp_path / "link").symlink_to(model)
    files.copy_tree(tmp_path / "link", tmp_path / "copy", "the model")
    assert file_sha256(model) == file_sha256(tmp_path / "copy")
    (tmp_path / "file").symlink_to(model / "saved_model.pb")
    files.copy_tree(tmp_path / "file", tmp_path / "one", "the model")
    assert (tmp_path / "one").read_bytes() == b"graph"
    assert files.is_regular(tmp_path / "one")


def test_a_copy_has_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_folder(tmp_path / "model")
    with pytest.raises(BadInput, match="the model takes more than 11 bytes, which"):
        files.copy_tree(model, tmp_path / "copy", "the model", limit=11)
    files.check_tree(model, "the model", limit=12)
    with (model / "hole").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(BadInput, match=r"hole: the model takes more than 8\.0 GiB"):
        files.copy_tree(model, tmp_path / "copy", "the model")
    (model / "hole").unlink()
    (model / "/".join("d" * (files.DEEPEST + 1))).mkdir(parents=True)
    with pytest.raises(BadInput, match="nested more than 32 folders deep"):
        files.check_tree(model, "the model")
    monkeypatch.setattr(files, "MOST_ENTRIES", 20)
    with pytest.raises(BadInput, match="holds more than 20 files and folders"):
        files.check_tree(model, "the model")


@planted
def test_try_and_adopt_refuse_a_special_file_before_they_open_it(tmp_path: Path, canary: Canary, plant: Plant) -> None:
    plant(canary, tmp_path / "m.tflite")
    np.savez(tmp_path / "data.npz", x=np.zeros(1))
    asked = understand.Given(str(tmp_path / "m.tflite"), tmp_path / "data.npz")
    with pytest.raises(BadInput, match=r"m\.tflite: "):
        understand.understand(asked, "m", tmp_path / "work")
    assert not (tmp_path / "work").exists()


def test_adopt_does_not_copy_a_private_file_that_a_saved_model_links_to(tmp_path: Path, canary: Canary) -> None:
    model = model_folder(tmp_path / "model")
    (model / "assets").mkdir()
    (model / "assets" / "vocabulary.txt").symlink_to(canary.file)
    np.savez(tmp_path / "data.npz", x=np.zeros(1))
    with pytest.raises(BadInput, match=r"assets/vocabulary\.txt: the model: entry cannot be read: it is a link"):
        understand.understand(understand.Given(str(model), tmp_path / "data.npz"), "m", tmp_path / "work")
    assert SECRET not in all_text(tmp_path / "work")


# ---------------------------------------------------------------- hashes and arrays


@planted
def test_a_hash_of_a_folder_follows_nothing(tmp_path: Path, canary: Canary, plant: Plant) -> None:
    model = model_folder(tmp_path / "model")
    before = file_sha256(model)
    plant(canary, model / "more")
    if plant is folder:
        assert file_sha256(model) == before
        return
    with pytest.raises(BadInput, match=r"more: it is .*, and only regular files are read"):
        file_sha256(model)


@planted
def test_no_array_is_read_from_anything_but_a_regular_file(tmp_path: Path, canary: Canary, plant: Plant) -> None:
    plant(canary, tmp_path / "x.npz")
    for read_it in (read_npz, read_predictions):
        with pytest.raises(BadInput, match=rf"x\.npz: arrays {SENTENCE}"):
            read_it(tmp_path / "x.npz", "arrays")
    with pytest.raises(BadInput, match=r"x\.npz: data pack "):
        load_pack(tmp_path / "x.npz", "0")


def test_a_single_array_is_refused_before_it_is_read(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros(3))
    with (tmp_path / "x.npy").open("r+b") as file:
        file.truncate(2**40)
    with pytest.raises(BadInput, match=r"must be an .npz file of named arrays, not a single .npy array"):
        read_npz(tmp_path / "x.npy", "data")


def test_what_a_worker_is_sent_of_a_model_is_no_link(tmp_path: Path, canary: Canary) -> None:
    text = "from quantbench.reference.model import *\nMODEL = ReferenceModel('m', '', 'w', '', 'data.npz', '', {})\n"
    (tmp_path / "m.py").write_text(text)
    (tmp_path / "data.npz").write_bytes(b"data")
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "assets").symlink_to(canary.folder)
    with pytest.raises(BadInput, match="assets: it is a link"):
        model_files(tmp_path / "m.py", "m")


# ---------------------------------------------------------------- run folders


@pytest.fixture
def run(tmp_path: Path) -> Path:
    made = made_up_runs.report([made_up_runs.cell(predictions=made_up_runs.answers(30))])
    return made_up_runs.write(tmp_path / "reports", made, {"v": made_up_runs.answers(30)})


@planted
def test_no_report_is_read_through_a_link_or_from_a_special_file(
    run: Path, canary: Canary, plant: Plant, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "report.json").unlink()
    plant(canary, run / "report.json")
    with pytest.raises(BadInput, match=rf"report\.json: report {SENTENCE}") as told:
        read(run)
    assert SECRET not in str(told.value)
    with pytest.raises(BadInput, match="holds no run that can be read"):
        read_history(run.parent)


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "/proc/self/environ"])
def test_a_device_is_no_report(path: str) -> None:
    with pytest.raises(BadInput, match=f"{path}: report cannot be read: it is "):
        read(Path(path))


def test_a_report_that_a_person_names_may_be_a_link(run: Path, tmp_path: Path) -> None:
    (tmp_path / "named.json").symlink_to(run / "report.json")
    assert read(tmp_path / "named.json")[0] == read(run)[0]
    (tmp_path / "named").symlink_to(run)
    assert read(tmp_path / "named")[0] == read(run)[0]


def test_the_latest_run_is_one_beside_it(run: Path, tmp_path: Path, canary: Canary) -> None:
    latest = run.parent / "latest"
    latest.symlink_to(run.name)
    assert read(latest)[0] == read(run)[0]
    elsewhere = tmp_path / "elsewhere"
    run.rename(elsewhere)
    (run.parent / "linked").symlink_to(elsewhere)
    for to in (elsewhere, "../elsewhere", "linked"):
        latest.unlink()
        latest.symlink_to(to)
        with pytest.raises(BadInput, match=r"latest: expected a link to a run's folder beside it, found one to"):
            read(latest)
        with pytest.raises(BadInput, match=r"latest: expected a link to a run's folder beside it"):
            evidence_of(latest, "m/v")


@planted
def test_a_summary_is_made_again_where_it_is_no_regular_file(run: Path, canary: Canary, plant: Plant) -> None:
    expected = read_summary(run / "report.json")
    (run / SUMMARY).unlink()
    plant(canary, run / SUMMARY)
    for path in (run / SUMMARY, run / "report.json"):  # so that it looks newer than its report
        with suppress(OSError):
            os.utime(path, (1_000_000_000, 1_000_000_000), follow_symlinks=False)
    assert read_summary(run / "report.json") == expected
    if plant is not folder:
        assert files.is_regular(run / SUMMARY)


def test_history_does_not_write_through_a_link_with_the_name_of_a_temporary_file(run: Path, canary: Canary) -> None:
    (run / f".{SUMMARY}.tmp").symlink_to(canary.file)
    (run / SUMMARY).unlink(missing_ok=True)
    assert len(read_history(run.parent).runs) == 1
    assert files.is_regular(run / SUMMARY)


PREDICTIONS = ("predictions/m.npz", "evidence/m.json")


@planted
@pytest.mark.parametrize("name", PREDICTIONS)
def test_what_is_behind_a_report_is_not_read_through_links(
    run: Path, canary: Canary, plant: Plant, name: str, tmp_path: Path
) -> None:
    other = made_up_runs.report([made_up_runs.cell(predictions=made_up_runs.answers(40))])
    second = made_up_runs.write(tmp_path / "others", other, {"v": made_up_runs.answers(40)})
    path = run / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    plant(canary, path)
    if name.startswith("evidence"):
        with pytest.raises(BadInput, match=rf"m\.json: evidence {SENTENCE}"):
            evidence_of(run, "m/v")
        assert Behind.of(run, read(run)[0], {}).evidence.get("m", {}) == {}
        return
    with pytest.raises(BadInput, match=rf"m\.npz: predictions of the run {SENTENCE}"):
        read_sides(run, second)
    with pytest.raises(BadInput, match=rf"m\.npz: predictions of the run {SENTENCE}"):
        update._stored(read(run)[0].cells, run, "m")


def test_folders_of_a_run_that_are_links_are_not_read(run: Path, canary: Canary, tmp_path: Path) -> None:
    for name in ("predictions", "evidence"):
        if (run / name).exists():
            (run / name).rename(tmp_path / name)
        else:
            (tmp_path / name).mkdir()
            (tmp_path / name / "m.json").write_text('{"v": {}}')
        (run / name).symlink_to(tmp_path / name)
    with pytest.raises(BadInput, match="'evidence' is a link"):
        evidence_of(run, "m/v")
    with pytest.raises(BadInput, match="'predictions' is a link"):
        update._stored(read(run)[0].cells, run, "m")


def test_no_report_in_any_form_is_written_through_a_link(run: Path, canary: Canary) -> None:
    report = read(run)[0]
    forms: dict[str, Callable[[Path], object]] = {
        "report.json": lambda path: write_json(path, report),
        "report.html": lambda path: page.write(path, report, run, {}),
        "junit.xml": lambda path: junit.write(path, report),
        "cells.csv": lambda path: cells_csv.write(path, report),
        "report.md": lambda path: write_markdown(path.parent, report),
    }
    for name, write in forms.items():
        for planted_at in (run / name, run / f".{name}.tmp"):
            planted_at.unlink(missing_ok=True)
            planted_at.symlink_to(canary.file)
        write(run / name)
        assert files.is_regular(run / name), name


def test_no_chart_is_written_behind_a_link(canary: Canary, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = read(run)[0]
    drawn = sheet("one", [trend("one", [1, 2], [1.0, 2.0], ".2f", [])])
    monkeypatch.setattr(charts, "of", lambda _: iter([(charts.Chart("one.svg", "one", []), drawn)]))
    (run / "charts").symlink_to(canary.folder)
    with pytest.raises(BadInput, match=r"--charts: cannot write to .*'charts' is a link"):
        charts.write(run, report)


def test_a_new_run_writes_to_its_own_folder_alone(tmp_path: Path, canary: Canary, run: Path) -> None:
    report = read(run)[0]
    made = RunFolder.create(tmp_path / "fresh")
    (made.path / "predictions").mkdir()
    for name in (".m.npz.tmp", "m.npz"):
        (made.path / "predictions" / name).symlink_to(canary.file)
    (tmp_path / "fresh" / f".latest-{os.getpid()}").symlink_to(canary.folder)
    made.write(report, {"m": {"v": made_up_runs.answers(3)}})
    made.finish(report, {}, {})
    assert os.readlink(tmp_path / "fresh" / "latest") == made.path.name
    assert (tmp_path / "fresh" / f".latest-{os.getpid()}").is_symlink()  # somebody else's: not taken away either


@planted
def test_durations_are_read_and_written_as_a_regular_file(tmp_path: Path, canary: Canary, plant: Plant) -> None:
    name = Durations(tmp_path)._file.name
    plant(canary, tmp_path / name)
    (tmp_path / f"{name}.{os.getpid()}.tmp").symlink_to(canary.file)
    known = Durations(tmp_path)
    known.note("m/v", 3.0)
    known.save()
    if plant is not folder:
        assert Durations(tmp_path).expected("m/v", None) == 3.0


# ---------------------------------------------------------------- records that are made to take memory and time


def record_of(path: Path, cells: str) -> Path:
    path.write_text('{"kind": "quantbench.report", "schema_version": "1.0", "cells": ' + cells + "}")
    return path


def test_a_record_of_more_values_than_any_has_is_not_parsed(tmp_path: Path) -> None:
    commas = record_of(tmp_path / "a.json", f"[{'1,' * _files._MOST_COMMAS}1]")
    with pytest.raises(BadInput, match="report holds 5000002 commas and 2 brackets, expected at most 5000000"):
        read_record(commas, Report, "report")
    brackets = record_of(tmp_path / "b.json", "[" * _files._MOST_BRACKETS)
    with pytest.raises(BadInput, match=r"b\.json: report holds 2 commas and 1500001 brackets"):
        read_record(brackets, Report, "report")
    with (tmp_path / "c.json").open("wb") as file:
        file.truncate(2**36)
    with pytest.raises(BadInput, match=r"c\.json: report is 64\.0 GiB large, expected at most 128\.0 MiB"):
        read_record(tmp_path / "c.json", Report, "report")


def test_of_many_that_are_wrong_the_first_few_are_enough(tmp_path: Path) -> None:
    """A megabyte of empty cells gives 1.8 million errors, which took a minute and 2.4 GB to make."""
    path = record_of(tmp_path / "a.json", f"[{'{},' * 300_000}{{}}]")
    with pytest.raises(BadInput, match=r"a\.json: report: field 'run': Field required, found .* \(and more\)$"):
        read_record(path, Report, "report")
    assert len(problems(path, Report, "report")) == 1


def test_what_is_wrong_in_a_large_record_is_named_by_its_own_place(tmp_path: Path) -> None:
    cells = [made_up_runs.cell(f"v{i}") for i in range(2000)]
    path = made_up_runs.write(tmp_path, made_up_runs.report(cells)) / "report.json"
    assert len(read_record(path, Report, "report").cells) == 2000
    data = json.loads(path.read_text())
    for cell in data["cells"][1000:]:
        cell["seeds"] = ["no number"]
    path.write_text(json.dumps(data))
    with pytest.raises(BadInput, match=r"field 'cells\.(\d+)\.seeds\.0': Input should be a valid integer") as told:
        read_record(path, Report, "report")
    assert int(re.search(r"cells\.(\d+)", str(told.value))[1]) >= 1000  # type: ignore[index]


# ---------------------------------------------------------------- baselines


@planted
@pytest.mark.parametrize("name", ["seed_cnn.json", "seed_cnn.npz"])
def test_no_baseline_is_read_through_a_link(baselines_copy: Path, canary: Canary, plant: Plant, name: str) -> None:
    model = load_models(ROOT / "models")["seed_cnn"]
    assert baseline_files.load(baselines_copy, model).file is not None
    (baselines_copy / name).unlink()
    plant(canary, baselines_copy / name)
    with pytest.raises(BadInput, match=rf"{name}: (baseline|stored predictions) {SENTENCE}"):
        baseline_files.load(baselines_copy, model)
    if name.endswith(".json"):
        with pytest.raises(BadInput):
            baseline_files.fingerprint(baselines_copy, "seed_cnn")
        assert "only regular files are read" in problems(baselines_copy / name, BaselineFile, "baseline")[0]
    found = check.check({"seed_cnn": model}, baselines_copy, datetime.date(2026, 1, 1))
    assert any(one.file.name == name for one in found)


@pytest.fixture
def baselines_copy(tmp_path: Path) -> Path:
    (tmp_path / "baselines").mkdir()
    for name in ("seed_cnn.json", "seed_cnn.npz"):
        shutil.copyfile(ROOT / "baselines" / name, tmp_path / "baselines" / name)
    return tmp_path / "baselines"


def test_no_baseline_is_written_through_a_link(baselines_copy: Path, canary: Canary) -> None:
    file = read_record(baselines_copy / "seed_cnn.json", BaselineFile, "baseline")
    predictions = read_predictions(baselines_copy / "seed_cnn.npz", "predictions")
    for name in ("seed_cnn.json", "seed_cnn.npz", ".seed_cnn.json.tmp", "seed_cnn.npz.tmp"):
        (baselines_copy / name).unlink(missing_ok=True)
        (baselines_copy / name).symlink_to(canary.file)
    for path in baseline_files.save(baselines_copy, file, predictions):
        assert files.is_regular(path)


# ---------------------------------------------------------------- the store


def entry(store: Store, name: str) -> str:
    store.put(digest({"name": name}), {"x": b"content"}, {"name": name})
    store.release()
    return digest({"name": name})


def test_clearing_removes_a_link_in_place_of_a_folder_of_entries_and_nothing_behind_it(
    tmp_path: Path, canary: Canary
) -> None:
    store = Store(tmp_path / "store")
    key = entry(store, "a")
    for name in (key, ".new-1", ".old-2", "other"):
        (canary.folder / name).mkdir()
        (canary.folder / name / "file").write_text("theirs")
    for name in ("one.lock", "two.lock"):
        (canary.folder / name).write_text("")
    canary.settle()
    shard = store.path(key).parent
    store.path(key).rename(tmp_path / "aside")
    shard.rmdir()
    (store.root / HELD).rmdir()
    for path in (shard, store.root / HELD, store.root / ENVIRONMENTS):
        path.symlink_to(canary.folder)
    told = clear_all(store, 1, dry_run=True)
    assert shard.is_symlink()
    assert "3 leftovers" in str(told[0])
    told = clear_all(store, 1)
    assert "3 leftovers" in str(told[0])
    assert not any(path.is_symlink() for path in store.root.iterdir())
    assert canary.unchanged()


def test_an_entry_behind_a_link_is_none_and_stays_where_it_is(tmp_path: Path, canary: Canary) -> None:
    store = Store(tmp_path / "store")
    key = entry(store, "a")
    store.path(key).rename(canary.folder / key)
    canary.settle()
    store.path(key).parent.rmdir()
    store.path(key).parent.symlink_to(canary.folder)
    assert not store.has(key)
    assert store.get(key) is None
    assert canary.unchanged()
    assert entry(store, "a") == key
    assert store.get(key) is not None
    assert not store.path(key).parent.is_symlink()


def test_an_entry_that_is_a_link_goes_alone(tmp_path: Path, canary: Canary) -> None:
    store = Store(tmp_path / "store")
    key = entry(store, "a")
    store.path(key).rename(canary.folder / key)
    canary.settle()
    store.path(key).symlink_to(canary.folder / key)
    assert store.get(key) is None
    assert not os.path.lexists(store.path(key))


@pytest.mark.parametrize("plant", [link_to, fifo, endless, listening, nowhere], ids=lambda plant: plant.__name__)
def test_whatever_is_in_the_place_of_a_lock_or_a_file_of_an_entry_holds_nothing_up(
    tmp_path: Path, canary: Canary, plant: Plant
) -> None:
    store = Store(tmp_path / "store")
    key = entry(store, "a")
    for path in (store.root / ".lock", store.root / f"{key}.lock", store.root / "damaged.log"):
        path.unlink(missing_ok=True)
        plant(canary, path)
    (store.root / HELD).mkdir(exist_ok=True)
    plant(canary, store.root / HELD / "a.lock")
    (store.path(key) / "x").unlink()
    plant(canary, store.path(key) / "x")
    assert store.get(key) is None
    assert SECRET not in " ".join(store.damaged())
    clear_all(store, 1)
    assert entry(store, "a") == key
    assert store.get(key) is not None


def test_a_process_holds_a_store_in_the_store_alone(tmp_path: Path, canary: Canary) -> None:
    store = Store(tmp_path / "store")
    store.root.mkdir()
    (store.root / HELD).symlink_to(canary.folder)
    store.lease()
    try:
        assert files.is_folder(store.root / HELD)
        assert canary.unchanged()
    finally:
        store.release()


def test_nothing_is_removed_through_a_link(tmp_path: Path, canary: Canary) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "a").symlink_to(canary.folder)
    files.remove(root / "a" / "private", root)
    files.remove(root / ".." / "outside" / "private", root)
    files.remove(canary.file, root)
    assert canary.unchanged()
    (root / "b").mkdir()
    (root / "b" / "in").symlink_to(canary.folder)
    files.remove(root / "b", root)
    files.remove(root / "a", root)
    assert not list(root.iterdir())


# ---------------------------------------------------------------- as the commands have it


def command(*arguments: str, store: Path) -> "subprocess.CompletedProcess[str]":
    here = {**os.environ, "QUANTBENCH_CACHE": str(store), "PYTHONPATH": str(ROOT)}
    called = [sys.executable, "-m", "quantbench", *arguments]
    return subprocess.run(called, capture_output=True, text=True, env=here, check=False)


def test_commands_end_with_one_sentence(run: Path, tmp_path: Path, canary: Canary) -> None:
    asked = [
        ["report", "/dev/zero"],
        ["report", str(run), "--html", str(tmp_path / "page.html")],
        ["report", str(tmp_path / "piped")],
    ]
    (tmp_path / "page.html").symlink_to(canary.file)
    (tmp_path / "piped").mkdir()
    os.mkfifo(tmp_path / "piped" / "report.json")
    for arguments in asked:
        done = command(*arguments, store=tmp_path / "store")
        assert done.returncode == 4, done.stderr
        assert done.stderr.startswith("quantbench: ")
        assert done.stderr.count("\n") == 1, done.stderr
        assert SECRET not in done.stdout + done.stderr


# ---------------------------------------------------------------- so that it stays so

# Calls that follow links, or write where something may be already. A module of the package makes them only as often as
# it says here, and why.
FOLLOWING = {"write_text", "write_bytes", "read_text", "read_bytes", "copyfile", "copytree", "copy", "copy2", "rmtree"}
FOLLOWING |= {"savez", "savez_compressed", "save", "load", "open", "move", "rglob"}
OWN = "its own new folder, or a temporary one"
CHECKED = "an entry that the store has just found to be regular files of known hashes"
SYSTEM = "files of this system, or of this package"
TOLD = "what a program of ours has just written into a new folder"
ALLOWED: dict[str, tuple[str, dict[str, int]]] = {
    "quantbench/safety/tflite.py": ("a regular file of a size that it has just looked at", {"read_bytes": 1}),
    "quantbench/safety/saved_model.py": ("regular files of a size that it has just looked at", {"read_bytes": 1}),
    "quantbench/safety/hdf5.py": ("what a person named, once files.check_tree has looked through it", {"open": 1}),
    "quantbench/safety/hdf5_worker.py": ("the same, in a process behind walls, and objects in it", {"open": 3}),
    "quantbench/safety/archive.py": ("what a person named, once files.check_tree has looked through it", {"open": 1}),
    "quantbench/adopt/tuning_worker.py": (
        TOLD,
        {"read_bytes": 1, "read_text": 1, "write_bytes": 1, "load": 2, "savez": 1},
    ),
    "quantbench/adopt/workshop.py": (OWN, {"save": 2}),
    "quantbench/adopt/loading_worker.py": (TOLD, {"savez": 1, "load": 1}),
    "quantbench/adopt/loading.py": (
        "a scratch folder of its own, whose files are opened as regular ones",
        {"savez": 1, "open": 2, "load": 1},
    ),
    "quantbench/ab/mixed.py": (TOLD, {"load": 1}),
    "quantbench/engine/kept.py": (CHECKED, {"read_text": 1}),
    "quantbench/engine/explain.py": (
        f"what a person named, {CHECKED}, and {OWN}",
        {"read_bytes": 4, "load": 1, "write_bytes": 1, "savez": 1},
    ),
    "quantbench/baselines/of_target.py": (OWN, {"write_bytes": 1}),
    "quantbench/targets/link.py": ("the worker's source, a module of this package", {"read_bytes": 1}),
    "quantbench/targets/runner.py": (OWN, {"save": 1, "read_text": 1, "load": 2}),
    "quantbench/targets/worker.py": (
        f"files in a folder of its own on a target, named by their hash, and {SYSTEM}",
        {"open": 6, "read_text": 1},
    ),
    "quantbench/baselines/merge_base.py": (OWN, {"open": 1}),
    "quantbench/cli/forge.py": ("what a person named, and no more of it than is posted", {"open": 1}),
    "quantbench/cli/init.py": (SYSTEM, {"read_text": 1}),
    "quantbench/forge/__main__.py": ("what a person named; it needs Python alone", {"open": 1}),
    "quantbench/forge/http.py": ("an address, which is no file", {"open": 1}),
    "quantbench/forge/notify.py": ("its own state, of which a few known words are believed", {"open": 1}),
    "quantbench/forge/where.py": ("the event that the forge's runner names; it needs Python alone", {"open": 1}),
    "quantbench/comparison/_index_part.py": ("what was read as a regular file, in memory", {"load": 1, "savez": 1}),
    "quantbench/engine/causes.py": (CHECKED, {"read_bytes": 2}),
    "quantbench/engine/explain_time.py": (
        f"what a person named, {CHECKED}, and {OWN}",
        {"read_bytes": 2, "write_bytes": 1, "savez": 1},
    ),
    "quantbench/measure/micro.py": (
        OWN,
        {"read_bytes": 2, "write_bytes": 1, "read_text": 1, "load": 2, "save": 1, "savez": 1},
    ),
    "quantbench/measure/micro_worker.py": (TOLD, {"load": 1, "savez": 1}),
    "quantbench/measure/operator_times.py": (OWN, {"read_bytes": 1}),
    "quantbench/measure/operator_times_worker.py": (TOLD, {"read_bytes": 1, "load": 1}),
    "quantbench/measure/attribution_worker.py": (TOLD, {"read_bytes": 3, "load": 1}),
    "quantbench/ab/mixed_worker.py": (CHECKED, {"save": 1, "read_bytes": 1}),
    "quantbench/ab/environments.py": (
        "wheels that a person named, and " + OWN,
        {"write_text": 1, "read_bytes": 1, "read_text": 1},
    ),
    "quantbench/build/arm_root.py": (OWN, {"write_text": 1}),
    "quantbench/build/debian.py": (OWN, {"write_text": 2}),
    "quantbench/build/packages.py": (OWN, {"write_text": 1}),
    "quantbench/engine/target_answers.py": (CHECKED, {"read_bytes": 1}),
    "quantbench/engine/accepted.py": (CHECKED, {"read_bytes": 1}),
    "quantbench/engine/turns.py": (CHECKED, {"read_bytes": 2}),
    "quantbench/ab/runs.py": (
        "this package, whose files an installer may have linked, and " + OWN,
        {"copytree": 1, "copy": 1, "open": 1},
    ),
    "quantbench/baselines/files.py": ("into memory", {"savez_compressed": 1}),
    "quantbench/baselines/measured.py": (CHECKED, {"read_bytes": 1, "read_text": 2, "load": 1}),
    "quantbench/variants/keras_twin.py": (OWN, {"read_bytes": 1}),
    "quantbench/build/artifact.py": (
        f"{CHECKED}, and {OWN}",
        {"read_bytes": 1, "save": 1, "load": 1, "read_text": 3, "write_bytes": 1, "savez": 1},
    ),
    "quantbench/build/eviction.py": ("sizes alone, of a folder that is no link; rglob follows none", {"rglob": 1}),
    "quantbench/engine/workers/cluster_worker.py": (
        f"{CHECKED}, and {OWN}",
        {"rmtree": 1, "read_text": 2, "read_bytes": 1, "rglob": 1},
    ),
    "quantbench/reference/datasets.py": ("of a file that is open already", {"load": 1}),
    "quantbench/reference/pinning.py": ("into memory", {"savez_compressed": 1}),
    "quantbench/measure/gpu_devices.py": (SYSTEM, {"read_text": 1, "read_bytes": 1}),
    "quantbench/cli/doctor.py": (SYSTEM, {"read_text": 2}),
    "quantbench/adopt/formats.py": (
        "what a person named, once files.check_tree has looked through it, and " + OWN,
        {"open": 2, "savez": 1, "read_bytes": 2, "load": 1},
    ),
    "quantbench/measure/accuracy.py": (CHECKED, {"save": 1, "load": 5, "read_text": 1, "read_bytes": 1}),
    "quantbench/measure/side.py": (f"{OWN}, and {TOLD}", {"savez": 1, "load": 1}),
    "quantbench/measure/side_worker.py": (TOLD, {"savez": 1, "load": 1}),
    "quantbench/measure/instructions.py": (CHECKED, {"read_text": 1}),
    "quantbench/measure/instructions_worker.py": (TOLD, {"load": 1}),
    "quantbench/measure/work.py": (CHECKED, {"read_bytes": 1}),
    "quantbench/measure/gpu.py": (
        f"{CHECKED}, and {TOLD}",
        {"save": 1, "load": 2, "savez": 1, "read_text": 1, "read_bytes": 1},
    ),
    "quantbench/build/package_contents.py": (SYSTEM, {"read_text": 2, "open": 1}),
    "quantbench/core/environment.py": (SYSTEM, {"read_text": 1}),
    "quantbench/engine/trained_twice.py": (OWN, {"rmtree": 1}),
    "quantbench/measure/flipped.py": (TOLD, {"savez": 1, "load": 1}),
    "quantbench/measure/reference_worker.py": (TOLD, {"savez": 1, "load": 1}),
    "quantbench/measure/gpu_worker.py": (TOLD, {"savez": 1, "load": 1}),
    "quantbench/measure/latency.py": (OWN, {"savez": 1}),
    "quantbench/measure/latency_worker.py": (TOLD, {"load": 1}),
    "quantbench/measure/memory.py": (f"{CHECKED}, and {OWN}", {"savez": 1, "open": 1, "save": 1, "read_text": 1}),
    "quantbench/measure/memory_worker.py": (f"{CHECKED}, {TOLD}, and {SYSTEM}", {"open": 4, "load": 1}),
    "quantbench/measure/size.py": (CHECKED, {"read_bytes": 1, "read_text": 1}),
    "quantbench/build/elsewhere.py": (CHECKED, {"read_text": 1}),
    "quantbench/measure/census.py": (f"{CHECKED}, and what a person named", {"read_bytes": 2, "read_text": 1}),
    "quantbench/measure/tflite_worker.py": (TOLD, {"load": 1, "save": 1}),
    "quantbench/core/output.py": (OWN, {"open": 1}),
    "quantbench/core/child_process.py": (f"{OWN}; the errors of its own child, whose end it tells", {"open": 2}),
    "quantbench/report/run_folder.py": (OWN, {"rmtree": 2, "write_bytes": 1}),
    "quantbench/report/html/templating.py": (SYSTEM, {"read_text": 1}),
    "quantbench/engine/session.py": ("HeldStore.open, which is no file", {"open": 1}),
    "quantbench/build/store.py": (OWN, {"write_text": 1, "rmtree": 2, "write_bytes": 1}),
    "quantbench/adopt/understand.py": (
        f"{OWN}; and the metric file that a person named, which is code that runs",
        {"write_text": 1, "write_bytes": 1, "read_bytes": 1},
    ),
    "quantbench/adopt/data.py": (f"{OWN}; Stored.open, which looks first", {"rmtree": 1, "open": 2}),
    "quantbench/adopt/declaration.py": ("the file of an adopted model, which is code that runs", {"read_text": 1}),
    "quantbench/adopt/updating.py": (
        f"{OWN}; the file of an adopted model, which is code that runs; folders of its own that are no links",
        {"read_text": 5, "rmtree": 1, "savez": 1},
    ),
    "quantbench/adopt/trying.py": (OWN, {"savez": 1}),
    "quantbench/adopt/image_worker.py": ("Image.open of a file that was opened by files", {"open": 1}),
    "quantbench/adopt/npy_files.py": (f"{OWN}, and a member of an archive", {"open": 2}),
    "quantbench/cli/export.py": ("the file that a person named to be written", {"read_bytes": 1}),
    "quantbench/reference/metrics/own.py": (
        "a metric file that a person named, which is code that runs",
        {"read_bytes": 1},
    ),
    "quantbench/reference/npy_folder.py": (f"{OWN}; Stored.open, which looks first", {"open": 2, "write_text": 1}),
    "quantbench/engine/workers/task.py": (f"{CHECKED}, and the log of its own run", {"read_text": 5, "load": 1}),
}


def following(path: Path) -> Counter[str]:
    found: Counter[str] = Counter()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        name = called.rpartition(".")[2]
        if called.startswith(("files.", "os.open", "os.fdopen", "zipfile.", "environment.")):
            continue
        if called == name != "open":
            continue  # imported from files by that name
        if name in FOLLOWING and (name not in ("load", "save", "copy") or called.startswith(("np.", "shutil."))):
            found[name] += 1
    return found


SOURCES = sorted(path for path in (ROOT / "bench").rglob("*.py") if path != ROOT / "bench/quantbench/files.py")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT / "bench").as_posix())
def test_what_may_be_anybodys_is_read_and_written_by_files(path: Path) -> None:
    name = path.relative_to(ROOT / "bench").as_posix()
    if name.startswith(("studies/", "quantbench/selftest/")):
        return  # scripts for who works on the package, and plants in copies of their own
    text = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.JoinedStr | ast.Constant):
            assert not ast.unparse(node).rstrip("'\"").endswith(".tmp"), "a temporary name that can be guessed"
    reason, most = ALLOWED.get(name, ("use quantbench.files, or say here why not", {}))
    assert following(path) <= Counter(most), f"{dict(following(path))}: {reason}"


def test_every_exception_is_still_needed() -> None:
    assert set(ALLOWED) <= {path.relative_to(ROOT / "bench").as_posix() for path in SOURCES}
    assert all(reason and counts for reason, counts in ALLOWED.values())


def test_a_folder_that_cannot_be_made_is_known_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert files.unwritable(tmp_path) == ""
    assert files.unwritable(tmp_path / "new" / "deeper") == ""
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]
    for below in (tmp_path / "file", tmp_path / "file" / "deeper"):
        assert files.unwritable(below) == f"{tmp_path / 'file'} is no folder"


def test_a_folder_of_somebody_else_is_not_writable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "access", lambda place, _mode: Path(place) != tmp_path)
    assert "may not be written to" in files.unwritable(tmp_path / "new")
