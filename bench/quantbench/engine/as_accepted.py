"""Take from the baselines what was measured of accepted artifacts, and leave what a run measured."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from quantbench.baselines import measured
from quantbench.build.store import Store
from quantbench.engine.cell import Planned
from quantbench.engine.results import CellResult, Results
from quantbench.errors import BadInput, DiskFull, disk_is_full
from quantbench.records import BaselineCell, Kind
from quantbench.reference.model import ReferenceModel


@dataclass
class AsAccepted:
    """Know what of a run is what was measured when its artifacts were accepted.

    Attributes:
        cells: of the run.
        results: theirs, as far as they are computed.
    """

    cells: Iterable[Planned]
    results: Results
    store: Store
    _taken: dict[str, set[str]] = field(default_factory=dict)

    def take(self, at_hand: measured.AtHand, baseline_of: Callable[[str], BaselineCell | None]) -> None:
        """Put it into the run's store, where everything that affects it is as it was.

        Raises:
            BadInput: a file of it is damaged.
        """
        artifacts: dict[str, set[str]] = {}
        for cell in self.cells:
            accepted = baseline_of(cell.id)
            if accepted is not None and accepted.artifact_sha256 is not None:
                artifacts.setdefault(cell.model.name, set()).add(accepted.artifact_sha256)
        try:
            self._taken = at_hand.put(artifacts, self._models(), self.store)
        except OSError as error:
            if not disk_is_full(error):  # else the first result that finds no room says so
                raise

    def counts(self) -> dict[str, int]:
        """Count the artifacts of this run of which each kind of measurement was taken."""
        used: dict[str, set[str]] = {}
        for cell in self.cells:
            result = self.results.of(cell.id)
            sha256 = result.first.artifact_sha256 if result.first is not None else None
            if sha256 is not None:
                for what in _measured(result):
                    used.setdefault(what, set()).update({sha256} & self._taken.get(what, set()))
        return {what: len(artifacts) for what, artifacts in used.items() if artifacts}

    def leave(self, folder: Path) -> str:
        """Leave what was measured in the run's folder, unless all is from the store; return what went wrong, if any.

        The report is written already, and nothing of it depends on this.
        """
        found = [self.results.of(cell.id) for cell in self.cells]
        if not any(_anew(result) for result in found):
            return ""
        artifacts: dict[str, set[str]] = {}
        for result in found:
            if result.first is not None and result.first.artifact_sha256 is not None:
                artifacts.setdefault(result.cell.model.name, set()).add(result.first.artifact_sha256)
        try:
            measured.leave(folder, artifacts, self._models(), self.store)
        except (BadInput, DiskFull, OSError) as error:
            return f"what was measured beside answers is not in {folder / measured.FOLDER}: {error}"
        return ""

    def _models(self) -> Mapping[str, ReferenceModel]:
        return {cell.model.name: cell.model for cell in self.cells}


def _measured(result: CellResult) -> Iterable[str]:
    """Name the kinds of measurement that the report of a cell has."""
    assert result.first is not None
    count = result.alone.count
    has = {
        "memory": result.first.memory is not None and not result.first.memory.failure,
        "instructions": count is not None and not count.failure,
        "micro": Kind.MICRO in result.cell.kinds and result.alone.micro is not None,
        "other kernels": bool(result.first.others),
    }
    return [what for what, there in has.items() if there]


def _anew(result: CellResult) -> bool:
    count = result.alone.count
    counted = count is not None and not count.failure and not count.cached
    return counted or any(not outcome.cached for outcome in result.outcomes)
