"""A run's own folder: its report in all its forms, predictions and logs; ``latest`` points to the last one."""

import datetime
import json
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

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
        latest = reports / "latest"
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
            temporary = folder / f".{model}.npz.tmp"
            temporary.write_bytes(packed(arrays))
            temporary.replace(folder / f"{model}.npz")
        write_json(self.path / REPORT, report)

    def finish(
        self, report: Report, evidence: Mapping[str, Mapping[str, Evidence]], models: Mapping[str, ReferenceModel]
    ) -> None:
        """Write the evidence and the report in all its forms, and point ``latest`` here, atomically."""
        folder = self.path / EVIDENCE
        folder.mkdir(exist_ok=True)
        for model, cells in evidence.items():
            data = {variant: cell.model_dump(mode="json") for variant, cell in cells.items()}
            (folder / f"{model}.json").write_text(json_text(data) + "\n", encoding="utf-8")
        write_markdown(self.path, report)
        html.write(self.path / html.HTML, report, self.path, models)
        junit.write(self.path / junit.JUNIT, report)
        rows.write(self.path / rows.CSV, report)
        write_summary(self.path / REPORT, report)
        link = self.path.parent / f".latest-{os.getpid()}"
        link.unlink(missing_ok=True)
        link.symlink_to(self.path.name)
        link.replace(self.path.parent / "latest")

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
    temporary = folder / f".{MARKDOWN}.tmp"
    try:
        temporary.write_text(render(report, charts), encoding="utf-8")
        temporary.replace(folder / MARKDOWN)
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
    path = (run if run.is_dir() else run.parent) / EVIDENCE / f"{model}.json"
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))
        return Evidence.model_validate(cells[variant])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise BadInput(f"{path}: holds no evidence of {cell_id}; give a run folder and a cell of it") from None


def read(run: Path) -> tuple[Report, Path]:
    """The report of a run folder, or of a ``report.json``, and its folder.

    Raises:
        BadInput: no such run, or a damaged report.
    """
    path = run / REPORT if run.is_dir() else run
    if not path.exists():
        raise BadInput(f"{run}: no run there; give a run folder such as reports/latest, or its report.json")
    return read_record(path, Report, "report"), path.parent
