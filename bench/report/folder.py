"""A run's own folder: its report in all its forms, predictions and logs; ``latest`` points to the last one."""

import datetime
import json
import os
import shutil
import tempfile
import uuid
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import files
from bench.baselines import packed
from bench.datasets import Array
from bench.errors import BadInput, DiskFull, disk_is_full
from bench.records import Evidence, Report, json_text, read_record, write_json
from bench.reference import ReferenceModel
from bench.report import html, junit, rows
from bench.report.charts import Chart
from bench.report.markdown import render
from bench.summary import write_summary

REPORT = "report.json"
LATEST = "latest"
MARKDOWN = "report.md"
EVIDENCE = "evidence"
# Set aside when a run begins and given back when the disk is full, so that the last report can still be written. The
# reports of 308 cells take 6 MB.
_RESERVED_BYTES = 16 * 2**20


@dataclass
class RunFolder:
    """Where a run writes; everything is written under a temporary name and renamed."""

    path: Path
    _written: dict[str, int] = field(default_factory=dict)
    _reserve: Callable[[], object] | None = field(default=None, compare=False)

    @staticmethod
    def create(reports: Path) -> "RunFolder":
        """A new folder named by the time (UTC).

        Raises:
            BadInput: the report folder cannot be written.
            DiskFull: there is no room for a report.
        """
        stamp = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
        latest = reports / LATEST
        if latest.exists() and not latest.is_symlink():
            raise BadInput(f"--report-dir: {latest} is not a link to a run; move it away")
        for attempt in range(100):
            path = reports / (stamp if attempt == 0 else f"{stamp}-{attempt}")
            try:
                reports.mkdir(parents=True, exist_ok=True)
                path.mkdir()
                reserve = _set_aside(path)
                folder = RunFolder(path)
                folder._reserve = weakref.finalize(folder, os.close, reserve)
                return folder
            except FileExistsError:
                if not reports.is_dir():
                    raise BadInput(f"--report-dir: {reports} is not a folder; give another") from None
            except OSError as error:
                if disk_is_full(error):
                    raise DiskFull(f"no space is left for a report in {reports}; free some, or give another") from None
                raise BadInput(f"--report-dir: cannot write to {reports}: {error.strerror}; give another") from None
        raise BadInput(f"--report-dir: {reports} already holds 100 runs of this second")

    def write(self, report: Report, predictions: dict[str, dict[str, Array]]) -> None:
        """Write what is known so far; a killed run leaves the last whole file."""
        folder = self.path / "predictions"
        folder.mkdir(exist_ok=True)
        for model, arrays in predictions.items():
            if self._written.get(model) == len(arrays):
                continue
            self._written[model] = len(arrays)
            files.replace(folder / f"{model}.npz", packed(arrays), inside=self.path)
        write_json(self.path / REPORT, report)

    def finish(
        self, report: Report, evidence: Mapping[str, Mapping[str, Evidence]], models: Mapping[str, ReferenceModel]
    ) -> None:
        """Write the evidence and the report in all its forms, and point ``latest`` here, atomically."""
        folder = self.path / EVIDENCE
        folder.mkdir(exist_ok=True)
        for model, cells in evidence.items():
            data = {variant: cell.model_dump(mode="json") for variant, cell in cells.items()}
            files.replace(folder / f"{model}.json", json_text(data) + "\n", inside=self.path)
        write_markdown(self.path, report)
        html.write(self.path / html.HTML, report, self.path, models)
        junit.write(self.path / junit.JUNIT, report)
        rows.write(self.path / rows.CSV, report)
        write_summary(self.path / REPORT, report)
        link = self.path.parent / f".latest-{uuid.uuid4().hex}"
        link.symlink_to(self.path.name)
        link.replace(self.path.parent / LATEST)

    def give_back_reserve(self) -> None:
        """Make room for the last report."""
        if self._reserve is not None:
            self._reserve()

    def remove(self) -> None:
        """Remove the folder of a run that was never begun."""
        shutil.rmtree(self.path, ignore_errors=True)

    def remove_store(self) -> None:
        """Remove the private store of a run that used no cache."""
        shutil.rmtree(self.path / "store", ignore_errors=True)


def write_markdown(folder: Path, report: Report, charts: Sequence[Chart] = ()) -> None:
    """Write ``report.md`` of a run's folder atomically.

    Raises:
        BadInput: the folder cannot be written.
    """
    try:
        files.replace(folder / MARKDOWN, render(report, charts))
    except OSError as error:
        if disk_is_full(error):
            raise
        raise BadInput(f"{folder}: cannot write {MARKDOWN}: {error.strerror}; make it writable") from None


def _set_aside(folder: Path) -> int:
    """Room on the disk, in an open file without a name: however this process ends, the system gives it back.

    Raises:
        OSError: there is not so much; then the folder goes too.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, _RESERVED_BYTES)
            return os.dup(file.fileno())
    except OSError:
        folder.rmdir()
        raise


def evidence_of(run: Path, cell_id: str) -> Evidence:
    """What lies behind a cell of a run.

    Raises:
        BadInput: no such run, or no such cell in it.
    """
    model, _, variant = cell_id.partition("/")
    folder = run_folder(run)
    path = folder / EVIDENCE / f"{model}.json"
    if not os.path.lexists(path):
        raise BadInput(f"{path}: holds no evidence of {cell_id}; give a run folder and a cell of it")
    text = files.read_text(path, "evidence", files.LARGEST_EVIDENCE, inside=folder)
    try:
        return Evidence.model_validate(json.loads(text)[variant])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BadInput(f"{path}: holds no evidence of {cell_id}; give a run folder and a cell of it") from None


def read(run: Path) -> tuple[Report, Path]:
    """The report of a run folder, or of a ``report.json``, and its folder.

    Raises:
        BadInput: no such run, or a damaged report.
    """
    folder = run_folder(run)
    named = not run.is_dir()  # and then this very file, which may be a link
    path = run if named else folder / REPORT
    if not os.path.lexists(path):
        raise BadInput(f"{run}: no run there; give a run folder such as reports/latest, or its report.json")
    return read_record(path, Report, "report", follow=named), folder


def run_folder(run: Path) -> Path:
    """The folder of a run that a person named, or that of the ``report.json`` that they named.

    ``latest`` is a link that runs make, and may come with a folder of others: it leads to a folder beside it.

    Raises:
        BadInput: it leads anywhere else.
    """
    folder = run if run.is_dir() else run.parent
    if folder.name == LATEST and folder.is_symlink():
        to = os.readlink(folder)
        if to in ("", ".", "..") or "/" in to or not files.is_folder(folder.parent / to):
            raise BadInput(
                f"{folder}: expected a link to a run's folder beside it, found one to {to!r}; remove it, or give that "
                "folder itself"
            )
    return folder
