"""Manage a run's folder: its report in all its forms, predictions and logs; ``latest`` links to the newest."""

from __future__ import annotations

import datetime
import os
import shutil
import tempfile
import uuid
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from quantbench import files
from quantbench.baselines.files import packed
from quantbench.comparison.summary import write_summary
from quantbench.core.arrays import Array
from quantbench.errors import BadInput, DiskFull, disk_is_full
from quantbench.records import Evidence, Report, json_text, write_json
from quantbench.records.run_folder import EVIDENCE, LATEST, REPORT
from quantbench.report import cells_csv, junit
from quantbench.report.advice import INDEX
from quantbench.report.charts import Chart
from quantbench.report.html import advice, built, page
from quantbench.report.markdown import render

if TYPE_CHECKING:
    from quantbench.reference.model import ReferenceModel

MARKDOWN = "report.md"
# Reserved when a run begins and released when the disk is full, so that the last report can still be written. The
# reports of 308 cells take 6 MB.
_RESERVED_BYTES = 16 * 2**20


@dataclass
class RunFolder:
    """Write a run's files, each under a temporary name that is then renamed."""

    path: Path
    _written: dict[str, int] = field(default_factory=dict)
    _reserve: Callable[[], object] | None = field(default=None, compare=False)

    @staticmethod
    def create(reports: Path) -> RunFolder:
        """Create a folder named by the time (UTC).

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
        """Write the results so far; a killed run leaves the last complete file."""
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
        page.write(self.path / page.HTML, report, self.path, models)
        junit.write(self.path / junit.JUNIT, report)
        cells_csv.write(self.path / cells_csv.CSV, report)
        write_summary(self.path / REPORT, report)
        link = self.path.parent / f".latest-{uuid.uuid4().hex}"
        link.symlink_to(self.path.name)
        link.replace(self.path.parent / LATEST)

    def write_advice(self, report: Report) -> None:
        """Replace the reports of a gate by those of a run of ``try``, which judges by no baseline.

        Args:
            report: with its advice.
        """
        assert report.advice is not None
        write_json(self.path / REPORT, report)
        write_markdown(self.path, report)
        advice.write(self.path / INDEX, report, report.advice)
        write_summary(self.path / REPORT, report)
        for name in (page.HTML, junit.JUNIT):
            files.remove(self.path / name, self.path)

    def write_verdicts(self, report: Report) -> None:
        """Replace the reports of a gate by those of a run of ``judge``.

        Args:
            report: with what was found of the files.
        """
        assert report.built is not None
        write_json(self.path / REPORT, report)
        write_markdown(self.path, report)
        built.write(self.path / INDEX, report, report.built)
        write_summary(self.path / REPORT, report)
        for name in (page.HTML, junit.JUNIT):
            files.remove(self.path / name, self.path)

    def give_back_reserve(self) -> None:
        """Release the reserved space for the last report."""
        if self._reserve is not None:
            self._reserve()

    def remove(self) -> None:
        """Remove the folder of a run that never began."""
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
    """Reserve disk space in an open file without a name; the system frees it however this process ends.

    Raises:
        OSError: there is not enough; the folder is then removed too.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, _RESERVED_BYTES)
            return os.dup(file.fileno())
    except OSError:
        folder.rmdir()
        raise
