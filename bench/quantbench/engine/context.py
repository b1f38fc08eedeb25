"""Hold what a run depends on: the rules that judge its cells, and its leased store."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from quantbench import gate
from quantbench.baselines import outputs
from quantbench.baselines.effective import EffectiveBaseline, recorded_elsewhere
from quantbench.build.store import Store, default_root
from quantbench.core import environment
from quantbench.core.options import RunOptions, given, run_argument
from quantbench.engine.cell import Planned
from quantbench.errors import BadInput, DiskFull, disk_is_full
from quantbench.records import BaselineCell, Environment
from quantbench.records.measurements import threads_in
from quantbench.reference.heads import by_output
from quantbench.reference.model import ReferenceModel
from quantbench.report.run_folder import RunFolder


@dataclass(frozen=True)
class HeldStore:
    """Hold the lease on one run's store.

    Attributes:
        note: what was changed about access rights, or could not be; usually empty.
        damaged_before: number of damaged entries already recorded when the run began.
    """

    store: Store
    note: str
    damaged_before: int

    @staticmethod
    def open(folder: RunFolder, options: RunOptions) -> "HeldStore":
        """Open the user's store, or one in the run's folder; that folder is removed where the store cannot be used.

        Raises:
            BadInput: it is not writable.
            DiskFull: it has no space left.
        """
        store = Store(folder.path / "store" if options.no_cache else default_root())
        try:
            note = store.make_private()
            store.lease()
        except OSError as error:
            folder.remove()
            if disk_is_full(error):
                raise DiskFull(f"no space is left in {store.root}; free some and run again") from None
            raise BadInput(
                f"{store.root}: the cache cannot be written: {error.strerror}; set QUANTBENCH_CACHE to a folder "
                "of your own"
            ) from None
        return HeldStore(store, note, len(store.damaged()))

    def notes(self) -> list[str]:
        """Return notes on entries found damaged since the run began."""
        new = self.store.damaged()[self.damaged_before :]
        notes = [self.note] if self.note else []
        if not new:
            return notes
        return [*notes, f"{len(new)} damaged cache entries were removed and made again, first {new[0]}"]


@dataclass(frozen=True)
class OfOutput:
    """Hold how one scored output of a cell is judged.

    Attributes:
        model: as this output has it scored.
        baseline: of this output.
    """

    subject: gate.Subject
    model: ReferenceModel
    baseline: EffectiveBaseline

    @property
    def accepted(self) -> BaselineCell | None:
        """Return what was accepted of this output of the cell."""
        return self.baseline.cell(self.subject.variant)


@dataclass(frozen=True)
class Rules:
    """Hold what the cells of a run are judged by.

    Attributes:
        baselines: model -> effective baseline of its cells.
        environment: of the machine that produces the results.
        run: name of this run in the commands of its report.
        again: options that repeat one of its cells.
        train: whether the float models are trained from scratch.
        drift: whether baselines can exist; a model that is tried once has none.
        strict_change: whether outputs that changed without getting worse are red too.
    """

    baselines: Mapping[str, EffectiveBaseline]
    environment: Environment
    run: str
    again: str = ""
    train: bool = False
    drift: bool = True
    strict_change: bool = False

    @staticmethod
    def of(
        options: RunOptions,
        folder: Path,
        baselines: Mapping[str, EffectiveBaseline],
        environment: Environment,
        drift: bool,
    ) -> "Rules":
        """Return the rules of a run that writes to ``folder``."""
        folders = ("model_dir", "baseline_dir", "baselines_from")
        again = " ".join(given(options, *folders, "train", "seeds", "cell_timeout", "strict_change"))
        run = run_argument(folder, options)
        return Rules(baselines, environment, run, again, options.train, drift, options.strict_change)

    def accepted(self, cell: Planned) -> BaselineCell | None:
        """Return the cell's baseline; None where it has none."""
        return self.baselines[cell.model.name].cell(cell.variant.name)

    def subject(self, cell: Planned) -> gate.Subject:
        """Return the cell's name as judgements use it."""
        elsewhere = recorded_elsewhere(self.accepted(cell), environment.class_of(self.environment))
        return gate.Subject(cell.model.name, cell.variant.name, self.run, self.again, elsewhere)

    def of_output(self, cell: Planned, output: str) -> "OfOutput":
        """Return how one output of a cell is scored; empty for the main one."""
        return OfOutput(
            replace(self.subject(cell), output=output),
            by_output(cell.model)[output],
            outputs.of_output(self.baselines[cell.model.name], output),
        )

    def machine(self, threads: int) -> str:
        """Return the machine class of latencies measured with this number of threads."""
        return environment.with_threads(self.environment.machine_class, threads)

    def machine_of(self, measurement: str) -> str:
        """The machine class that the accepted value of a measurement belongs to."""
        if measurement in ("peak_memory", "model_memory"):
            return environment.memory_class(self.environment)
        return self.machine(threads_in(measurement))


def logs(folder: RunFolder) -> Path:
    """Return the log folder of a run."""
    return folder.path.absolute() / "logs"
