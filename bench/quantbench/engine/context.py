"""A run that is on its way: what all that works on it is told, and the store and the folder that it has."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from quantbench import gate
from quantbench.baselines.effective import Standing, load_current
from quantbench.baselines.files import Baseline
from quantbench.build.store import Store, default_root
from quantbench.core.options import RunOptions, given, run_argument
from quantbench.engine.cell import CellId, Planned
from quantbench.engine.plan import Plan
from quantbench.engine.progress import Progress
from quantbench.engine.scheduler import Computing
from quantbench.engine.timing import Timing
from quantbench.engine.workers.cluster import Cluster
from quantbench.engine.workers.task import Outcome
from quantbench.errors import BadInput, DiskFull, disk_is_full
from quantbench.records import BaselineCell, Environment
from quantbench.reference.model import ReferenceModel
from quantbench.report.run_folder import RunFolder
from quantbench.variants import FLOAT_CONTROL


@dataclass(frozen=True)
class HeldStore:
    """The store of one run, which holds it.

    Attributes:
        note: what was done about the rights of others, or could not be; mostly empty.
        damaged_before: how many entries had been found damaged when the run began.
    """

    store: Store
    note: str
    damaged_before: int

    @staticmethod
    def open(folder: RunFolder, options: RunOptions) -> "HeldStore":
        """The user's store, or a new one in the run's folder; where it cannot be used, that folder goes again.

        Raises:
            BadInput: it cannot be written.
            DiskFull: there is no room in it.
        """
        store = Store(folder.path / "store" if options.no_cache else default_root())
        try:
            note = store.make_private()
            store.hold()
        except OSError as error:
            folder.remove()
            if disk_is_full(error):
                raise DiskFull(f"no space is left in {store.root}; free some and run again") from None
            raise BadInput(
                f"{store.root}: the store cannot be written: {error.strerror}; set QUANTBENCH_CACHE to a folder "
                "of your own"
            ) from None
        return HeldStore(store, note, len(store.damaged()))

    def notes(self) -> list[str]:
        """What of the store was found damaged since this run began."""
        new = self.store.damaged()[self.damaged_before :]
        told = [self.note] if self.note else []
        if not new:
            return told
        return [*told, f"{len(new)} damaged entries of the store were removed and made again, first {new[0]}"]


@dataclass(frozen=True)
class Running:
    """A run whose cells are being computed.

    Attributes:
        selection: what the user chose cells by, in words.
        since, started: when it began, on this process's clock and as a date.
        environment: of the machine whose results these are.
        baselines: model -> what its cells are judged by.
        drift: whether there can be baselines; models that are tried once have none.
    """

    options: RunOptions
    selection: str
    since: float
    started: str
    plan: Plan
    environment: Environment
    baselines: Mapping[str, Standing]
    drift: bool
    progress: Progress
    timing: Timing
    cluster: Cluster | None
    folder: RunFolder
    held: HeldStore
    computing: Computing

    @property
    def logs(self) -> Path:
        """Where every process of the run leaves its output."""
        return logs(self.folder)

    def outcomes(self, cell_id: CellId) -> list[Outcome]:
        """One a seed; waits for them."""
        return self.computing.outcomes(self.plan.cells[cell_id])

    def float_control(self, cell: Planned) -> Outcome:
        """That of the cell's model; waits for it."""
        return self.outcomes(f"{cell.model.name}/{FLOAT_CONTROL}")[0]

    def accepted(self, cell: Planned) -> BaselineCell | None:
        """What the cell's baseline says of it."""
        return self.baselines[cell.model.name].cell(cell.variant.name)

    def baseline_on_disk(self, model: ReferenceModel) -> Baseline:
        """A model's accepted values as they lie there, to be updated: no overlay, no exception is applied to them.

        Raises:
            BadInput: see :func:`quantbench.baselines.effective.load_current`.
        """
        return load_current(self.options.baseline_dir, model) if self.drift else Baseline()

    def subject(self, cell: Planned) -> gate.Subject:
        """The cell as its judges name it."""
        run = run_argument(self.folder.path, self.options)
        return gate.Subject(cell.model.name, cell.variant.name, run, self.again())

    def again(self) -> str:
        """The options that repeat one of its cells."""
        return " ".join(given(self.options, "model_dir", "baseline_dir", "train", "seeds", "cell_timeout"))


def logs(folder: RunFolder) -> Path:
    """The logs of a run, in its folder."""
    return folder.path.absolute() / "logs"
