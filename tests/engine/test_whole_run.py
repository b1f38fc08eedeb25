"""A run in one call, as a library makes it."""

import inspect
from pathlib import Path

import pytest
import quantbench
from conftest import ThreeCells
from quantbench.core import signals
from quantbench.core.options import RunOptions, declared
from quantbench.engine import whole_run
from quantbench.errors import DiskFull, Exit
from quantbench.records import Kind


def test_a_run_of_two_cells(
    three_cells: ThreeCells, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("QUANTBENCH_CACHE", str(three_cells.copied_store(tmp_path / "store")))
    done = quantbench.run(
        models="seed_cnn", variants="float32,ptq_float16", report_dir=tmp_path / "reports", latency=False, gpu=False
    )
    assert done.status is Exit.GREEN
    assert done.folder == (tmp_path / "reports" / "latest").resolve()
    assert [cell.id for cell in done.report.cells] == ["seed_cnn/float32", "seed_cnn/ptq_float16"]
    assert set(done.report.cells[1].verdicts) == {Kind.ACCURACY, Kind.SIZE, Kind.STRUCTURE, Kind.MEMORY}
    assert done.report.state == "complete"
    assert "".join(capfd.readouterr()) == ""
    # The same cells as the command line made of them, but for what each run has of its own.
    ours, theirs = (quantbench.load_report(folder) for folder in (done.folder, three_cells.run))
    for cell, other in zip(ours.cells, theirs.cells[:2], strict=True):
        own = {"cached": False, "seconds": 0.0, "judgements": []}
        assert cell.model_copy(update=own) == other.model_copy(update=own)
        assert [one.verdict for one in cell.judgements] == [one.verdict for one in other.judgements]


def test_what_is_wrong_is_raised(tmp_path: Path) -> None:
    with pytest.raises(quantbench.BadInput, match="no_such_model"):
        quantbench.run(models="no_such_model", report_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_given_is_what_the_config_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Seen(Exception):
        pass

    def session(options: RunOptions, say: object) -> None:
        asked.append(options)
        raise Seen

    monkeypatch.delenv("QUANTBENCH_NO_INSTRUCTIONS", raising=False)
    monkeypatch.delenv("QUANTBENCH_NO_MICRO", raising=False)
    monkeypatch.setattr(whole_run, "Session", session)
    (tmp_path / "quantbench.toml").write_text('model_dir = "mine"\nseeds = 3\nno_latency = true\n')
    for given in ({}, {"config": tmp_path}, {"config": tmp_path, "seeds": 1, "latency": True, "model_dir": "other"}):
        with pytest.raises(Seen):
            quantbench.run(**given)  # type: ignore[arg-type]
    plain, configured, overridden = asked
    assert plain == RunOptions()
    assert (configured.model_dir.resolve(), configured.seeds, configured.no_latency) == (tmp_path / "mine", 3, True)
    assert (overridden.model_dir, overridden.seeds, overridden.no_latency) == (Path("other"), 1, False)


def test_its_arguments_are_options_of_the_command_line() -> None:
    given = inspect.signature(quantbench.run).parameters
    names = {option.name for option in declared()}
    assert {name for name in given if name not in names and f"no_{name}" not in names} == {"config"}
    assert all(one.kind is inspect.Parameter.KEYWORD_ONLY for one in given.values())


class Stopped:
    """In place of a session that is stopped at once."""

    def __init__(self, error: BaseException, planned: bool, folder: Path) -> None:
        self.error = error
        self.planned = planned
        self.folder = RunFolderAt(folder)

    def judge_all(self, wanted: object, worth_timing: object = None) -> None:
        raise self.error

    def finish(self, how: whole_run.HowEnded, notes: list[str]) -> Exit:
        return how.status(Exit.GREEN, output_full=False)


class RunFolderAt:
    def __init__(self, path: Path) -> None:
        self.path = path


@pytest.fixture(autouse=True)
def _no_signal_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "_state", signals._State())


def test_what_is_stopped_in_time_to_report_is_reported(tmp_path: Path) -> None:
    session = Stopped(KeyboardInterrupt(), True, tmp_path)
    status, how = whole_run.whole_run(session, {})  # type: ignore[arg-type]
    assert (status, how.interrupted) == (Exit.INTERRUPTED, True)


def test_what_is_stopped_before_there_is_a_report_is_raised(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        whole_run.whole_run(Stopped(KeyboardInterrupt(), False, tmp_path), {})  # type: ignore[arg-type]
    with pytest.raises(DiskFull, match="no room"):
        whole_run.whole_run(Stopped(DiskFull("no room"), False, tmp_path), {})  # type: ignore[arg-type]


def test_a_full_disk_is_raised_once_the_report_is_written(tmp_path: Path) -> None:
    with pytest.raises(DiskFull, match="no room"):
        whole_run.whole_run(Stopped(DiskFull("no room"), True, tmp_path), {})  # type: ignore[arg-type]


def test_a_signal_that_ended_one_run_does_not_end_the_next() -> None:
    signals._state.came = 1
    signals.forget()
    assert not signals.stop_asked()
