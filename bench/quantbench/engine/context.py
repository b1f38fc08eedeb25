"""What a run goes by: by what its cells are judged, and the store that it holds."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from quantbench import gate
from quantbench.baselines.effective import Standing
from quantbench.build.store import Store, default_root
from quantbench.core import environment
from quantbench.core.options import RunOptions, given, run_argument
from quantbench.engine.cell import Planned
from quantbench.errors import BadInput, DiskFull, disk_is_full
from quantbench.records import BaselineCell, Environment
from quantbench.report.run_folder import RunFolder


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
class Rules:
    """By what the cells of a run are judged.

    Attributes:
        baselines: model -> what its cells are judged by.
        environment: of the machine whose results these are.
        run: how the commands of its report name this run.
        again: the options that repeat one of its cells.
        train: the float models were trained from scratch.
        drift: whether there can be baselines; models that are tried once have none.
        strict_change: outputs that changed without getting worse are red too.
    """

    baselines: Mapping[str, Standing]
    environment: Environment
    run: str
    again: str = ""
    train: bool = False
    drift: bool = True
    strict_change: bool = False

    @staticmethod
    def of(
        options: RunOptions, folder: Path, baselines: Mapping[str, Standing], environment: Environment, drift: bool
    ) -> "Rules":
        """Those of a run that writes to a folder."""
        again = " ".join(given(options, "model_dir", "baseline_dir", "train", "seeds", "cell_timeout", "strict_change"))
        run = run_argument(folder, options)
        return Rules(baselines, environment, run, again, options.train, drift, options.strict_change)

    def accepted(self, cell: Planned) -> BaselineCell | None:
        """What the cell's baseline says of it."""
        return self.baselines[cell.model.name].cell(cell.variant.name)

    def subject(self, cell: Planned) -> gate.Subject:
        """The cell as its judges name it."""
        return gate.Subject(cell.model.name, cell.variant.name, self.run, self.again)

    def machine(self, threads: int) -> str:
        """The machine class of latencies with so many threads."""
        return environment.with_threads(self.environment.machine_class, threads)


def logs(folder: RunFolder) -> Path:
    """The logs of a run, in its folder."""
    return folder.path.absolute() / "logs"
