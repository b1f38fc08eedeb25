"""Read the summaries of a folder of run folders, on this machine or behind an address."""

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from quantbench import files
from quantbench.comparison.summary import LARGEST, SUMMARY, Summary, parsed, read_summary, summarize
from quantbench.core.addresses import Remote, for_each, opened
from quantbench.errors import BadInput
from quantbench.records import Report, read_record
from quantbench.records.run_folder import REPORT

PAGE = "report.html"
Found = Summary | str | None  # a run's summary; why it cannot be read; None where there is no report


class Nights(Protocol):
    """Read a folder that holds a folder a run.

    Attributes:
        where: the folder, as a person gave it.
        option: what a message calls it, e.g. ``--report-dir``.
    """

    @property
    def where(self) -> str:
        """Return the folder as a person gave it."""

    @property
    def option(self) -> str:
        """Return what a message calls it."""

    def summaries(self) -> Iterator[tuple[str, Found]]:
        """Yield each folder's name with what was found in it, sorted by name."""

    def with_page(self, names: list[str]) -> set[str]:
        """Return those of the named folders that hold a page."""


@dataclass(frozen=True)
class LocalNights:
    """Read a folder of this machine.

    Attributes:
        newest: number of folders to read at most, the last ones by name; all where 0.
    """

    folder: Path
    option: str = "--report-dir"
    newest: int = 0

    @property
    def where(self) -> str:
        """Return the folder as a person gave it."""
        return str(self.folder)

    def summaries(self) -> Iterator[tuple[str, Found]]:
        """Yield each folder's name with what was found in it; links and hidden folders are passed over.

        Raises:
            BadInput: the folder does not exist.
        """
        for name in self.names():
            yield name, self.found(name)

    def names(self) -> list[str]:
        """Return the folders' names, sorted; links and hidden folders are passed over.

        Raises:
            BadInput: the folder does not exist.
        """
        if not self.folder.is_dir():
            raise BadInput(f"{self.option}: {self.folder} is not a folder; give the one that holds the run folders")
        with os.scandir(self.folder) as entries:
            folders = [one.name for one in entries if one.name[:1] != "." and one.is_dir(follow_symlinks=False)]
        return sorted(folders)[-self.newest :]

    def found(self, name: str) -> Found:
        """Return what is in one of the folders."""
        report = self.folder / name / REPORT
        if not os.path.lexists(report):
            return None
        try:
            return read_summary(report)
        except BadInput as error:
            return str(error).removeprefix(f"{report}: ")

    def with_page(self, names: list[str]) -> set[str]:
        """Return those of the named folders that hold a page."""
        return {name for name in names if files.is_regular(self.folder / name / PAGE)}


@dataclass(frozen=True)
class RemoteNights:
    """Read a folder behind an address. A summary is taken as it is there, and nothing is written."""

    remote: Remote

    @property
    def where(self) -> str:
        """Return the address as a person gave it."""
        return self.remote.address

    @property
    def option(self) -> str:
        """Return what a message calls it."""
        return self.remote.option

    def summaries(self) -> Iterator[tuple[str, Found]]:
        """Yield each folder's name with what was found in it.

        Raises:
            BadInput: the folder does not exist or cannot be listed.
        """
        names = [name for name in self.remote.folders() if not name.startswith(".")]
        yield from zip(names, for_each(names, self._found), strict=True)

    def _found(self, name: str) -> Found:
        try:
            summary = parsed(self.remote.read(f"{name}/{SUMMARY}", "summary", LARGEST))
            if summary is not None:
                return summary
        except (FileNotFoundError, BadInput):
            pass  # it is made from the report
        try:
            content = self.remote.read(f"{name}/{REPORT}", "report", files.LARGEST_RECORD)
        except FileNotFoundError:
            return None
        except BadInput as error:
            return str(error).removeprefix(f"{self.where}/{name}/{REPORT}: ")
        return _summarized(content)

    def with_page(self, names: list[str]) -> set[str]:
        """Return those of the named folders that hold a page."""
        held = for_each(names, lambda name: self.remote.holds(f"{name}/{PAGE}"))
        return {name for name, there in zip(names, held, strict=True) if there}


def _summarized(content: bytes) -> Summary | str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / REPORT
        files.replace(path, content)
        try:
            return summarize(read_record(path, Report, "report"), len(content))
        except BadInput as error:
            return str(error).removeprefix(f"{path}: ")


def at_address(address: str, option: str) -> LocalNights | RemoteNights:
    """Return the reader of a folder of runs, given as a path or an address.

    Raises:
        BadInput: a package for this kind of address is missing.
    """
    found = opened(address, option)
    return LocalNights(found, option) if isinstance(found, Path) else RemoteNights(found)
