"""With the index a history says what it says without, whatever happened to the nights and to the index meanwhile."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from made_up_runs import cell, environment, floor, measured, report, write
from quantbench.comparison import _index_part, history, history_index, nights, shifts
from quantbench.comparison.history import read_history
from quantbench.comparison.history_index import INDEX, read_indexed
from quantbench.comparison.shifts import steps
from quantbench.comparison.summary import SUMMARY
from quantbench.comparison.trends import trend
from quantbench.errors import BadInput
from quantbench.records import Verdict
from quantbench.records.run_folder import REPORT
from quantbench.report.answers import of_history
from quantbench.report.history import of_cell, overview

VERDICTS = [Verdict.PASS, Verdict.WARN, Verdict.REGRESSED]


def day(number: int) -> str:
    return f"2026-{1 + number // 28:02d}-{1 + number % 28:02d}T00-00-00Z"


def lay(folder: Path, number: int, random: np.random.Generator) -> None:
    """Write a night whose cells, values, seeds and machine vary."""
    made = []
    for variant in ("a", "b", "c"):
        if random.random() < 0.15:
            continue
        found = {"size": measured(float(random.choice([1000, 1100])))}
        if random.random() < 0.8:
            found["latency_ratio"] = measured(float(random.normal(0.85, 0.01)), "ratio")
        if variant == "c":
            found["score"] = measured(0.87, "fraction", [0.86, float(random.choice([0.87, 0.88]))])
        verdict = VERDICTS[random.integers(len(VERDICTS))]
        seeds = [1, 2] if variant == "c" else []
        made.append(cell(variant, measurements=found, verdict=verdict, judgements=floor(0.1), seeds=seeds))
    packages = {"tensorflow": f"2.{random.integers(20, 22)}.0"}
    where = environment(packages=packages, git_commit=f"{number % 10}" * 40, isa=str(random.choice(["12345678", "9"])))
    data = {"m": str(random.choice(["d", "e"], p=[0.9, 0.1])) * 64}
    shutil.rmtree(folder / day(number), ignore_errors=True)
    write(folder, report(made, day(number), environment=where, data_sha256=data))


def told(folder: Path, read: Callable[[Path, str], history.History]) -> list[str]:
    """Everything that the command can say of a folder."""
    whole = read(folder, "")
    answers = [overview(whole), of_history(whole, "").model_dump_json(), str(whole.folders), str(whole.skipped)]
    for name in whole.cells:
        answers += [of_cell(read(folder, name), name), of_history(read(folder, name), name).model_dump_json()]
    return answers


def plainly(folder: Path, _: str) -> history.History:
    return read_history(folder)


def indexed(folder: Path, name: str) -> history.History:
    return read_indexed(folder, cell=name)


def same(folder: Path) -> None:
    expected = told(folder, plainly)
    assert told(folder, indexed) == expected
    assert told(folder, indexed) == expected


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Seven nights that an index holds, in parts of three."""
    random = np.random.default_rng(0)
    for number in range(7):
        lay(tmp_path, number, random)
    read_indexed(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_index, "NIGHTS", 3)


@pytest.mark.parametrize("seed", range(4))
def test_the_same_is_said_with_the_index_whatever_changed(tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    for number in random.permutation(9):
        lay(tmp_path, int(number), random)
    same(tmp_path)
    for _ in range(5):
        chosen = tmp_path / day(int(random.integers(12)))
        match random.integers(5):
            case 0:
                shutil.rmtree(chosen, ignore_errors=True)
            case 1 if chosen.exists():
                (chosen / SUMMARY).unlink(missing_ok=True)
            case 2 if chosen.exists():
                (chosen / REPORT).write_text("{")
            case 3 if chosen.exists():
                shutil.rmtree(tmp_path / "copy", ignore_errors=True)
                shutil.copytree(chosen, tmp_path / "copy")
            case _:
                lay(tmp_path, int(random.integers(12)), random)
        same(tmp_path)


def test_nights_in_the_index_are_not_read_again(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = told(made, plainly)
    read = list[str]()
    real = nights.read_summary
    monkeypatch.setattr(nights, "read_summary", lambda path: read.append(path.parent.name) or real(path))
    assert told(made, indexed) == expected
    assert read == []
    lay(made, 3, np.random.default_rng(5))
    read_indexed(made)
    assert set(read) == {day(3)}


def test_a_night_of_the_same_size_and_time_is_read_again(made: Path) -> None:
    """As by a copy that keeps times: the inode tells."""
    for name in (REPORT, SUMMARY):
        path = made / day(6) / name
        text, status = path.read_text(), path.stat()
        assert "2026-01-07" in text
        changed = text.replace("2026-01-07", "2026-01-09")
        path.rename(made / "kept")
        path.write_text(changed)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert read_indexed(made).runs[-1].run == day(8)
    same(made)


def test_parts_are_filled_and_lost_nights_leave(made: Path) -> None:
    names = sorted(path.name for path in (made / INDEX).iterdir())
    assert names == ["000000.npz", "000001.npz", "000002.npz"]
    for number in (0, 1, 2, 5):
        shutil.rmtree(made / day(number))
    read_indexed(made)
    assert len(list((made / INDEX).iterdir())) == 1
    same(made)


@pytest.mark.parametrize("how", ["cut", "flipped", "empty", "no archive", "another version", "a link", "a folder"])
def test_a_broken_index_is_made_again(made: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    part = made / INDEX / "000001.npz"
    content = part.read_bytes()
    part.unlink()
    if how == "a link":
        (made / "elsewhere").write_bytes(content)
        part.symlink_to(made / "elsewhere")
    elif how == "a folder":
        part.mkdir()
    elif how == "another version":
        part.write_bytes(content)
        monkeypatch.setattr(_index_part, "FORMAT", "0")
    else:
        at = content.index(b"tensorflow")
        broken = {"cut": content[:-30], "empty": b"", "no archive": b"nothing"}
        part.write_bytes(broken.get(how, content[:at] + b"T" + content[at + 1 :]))
    same(made)
    assert all(path.is_file() and not path.is_symlink() for path in (made / INDEX).iterdir())
    monkeypatch.setattr(nights, "read_summary", None)  # all are in the index again
    assert len(read_indexed(made).runs) == 7


@pytest.mark.parametrize("how", ["a file", "a link", "not writable"])
def test_no_index_can_be_written_and_nothing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    lay(tmp_path, 0, np.random.default_rng(0))
    outside = tmp_path / ".outside"
    outside.mkdir()
    if how == "a file":
        (tmp_path / INDEX).write_text("somebody's")
    elif how == "a link":
        (tmp_path / INDEX).symlink_to(outside)
    else:
        monkeypatch.setattr(history_index.files, "own_folder", lambda _: (_ for _ in ()).throw(PermissionError(13)))
    same(tmp_path)
    assert not list(outside.iterdir())


def test_a_folder_without_runs_is_one_sentence_as_before(tmp_path: Path) -> None:
    for read in (read_history, read_indexed):
        with pytest.raises(BadInput, match="holds no run that can be read"):
            read(tmp_path)
        with pytest.raises(BadInput, match="is not a folder"):
            read(tmp_path / "none")
    assert not (tmp_path / INDEX).exists()


def test_what_the_index_lacks_is_not_taken_for_empty(made: Path) -> None:
    run = read_indexed(made).runs[0]
    for name in ("verdicts", "errors", "kinds", "artifacts"):
        with pytest.raises(AttributeError):
            getattr(run, name)


def test_a_cell_that_no_run_holds_is_named_with_those_that_they_hold(made: Path) -> None:
    with pytest.raises(BadInput, match="no run holds cell 'm/x'; they hold m/a, m/b, m/c"):
        of_cell(read_indexed(made, cell="m/x"), "m/x")


@pytest.mark.parametrize("at", [20, 130, 233, 290])
def test_a_long_noisy_series_is_searched_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """The last shift is the one that a search of everything finds, also where it is not among the newest values."""
    monkeypatch.setattr(shifts, "SEARCHED", 100)
    lay(tmp_path, 0, np.random.default_rng(0))
    run = read_history(tmp_path).runs[0]
    for seed in range(5):
        noise = np.random.default_rng(seed).normal(0.85, 0.004, 320)
        values = {"latency_ratio": noise * np.where(np.arange(320) < at, 1, 1.05)}
        runs = [run.model_copy(update={"run": str(number)}) for number in range(320)]
        one = trend(read_history(tmp_path), run.cells[0])
        made = history.replace(one, runs=runs, values=values)
        quick, whole = steps(made, "latency_ratio", quick=True), steps(made, "latency_ratio")
        assert [step.since.run for step in quick] == [step.since.run for step in whole]
        assert [step.new for step in quick] == pytest.approx([step.new for step in whole])


def test_only_trained_cells_whose_score_changed_need_the_spread_of_trainings(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    lay(tmp_path, 0, random)
    lay(tmp_path, 1, random)
    whole = read_history(tmp_path)
    at = whole.cells.index("m/c")
    for scores, expected in (([0.87, 0.87], []), ([0.87, np.nan], []), ([0.87, 0.88], ["m/c"])):
        whole.values["score"][:, at] = scores
        assert history.retrained(whole) == expected
