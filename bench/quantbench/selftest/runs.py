"""Run a real session on a store and baselines of its own, to inject faults into."""

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from quantbench import gate
from quantbench.build import artifact
from quantbench.build.store import Store, digest
from quantbench.core.options import RunOptions
from quantbench.engine.session import Session
from quantbench.engine.workers.task import Outcome, Task, compute
from quantbench.errors import BadInput, Exit
from quantbench.records import Judgement, Kind, Report, Sight, Verdict
from quantbench.reference.model import ReferenceModel
from quantbench.variants import VARIANTS

KINDS = frozenset({Kind.ACCURACY, Kind.SIZE, Kind.STRUCTURE})
RED = (Verdict.REGRESSED, Verdict.ERROR, Verdict.MISSING)


@dataclass(frozen=True)
class Ended:
    """Describe how a run ended.

    Attributes:
        report: None where the run was refused, with the reason in ``refusal``.
    """

    status: Exit
    report: Report | None = None
    refusal: str = ""

    def judgements(self, variant: str = "") -> list[Judgement]:
        """List the judgements of one variant's cell, or of all cells."""
        cells = self.report.cells if self.report else []
        return [j for cell in cells if variant in ("", cell.variant) for j in cell.judgements]

    def seen(self, variant: str = "") -> tuple[list[Sight], list[str]]:
        """Return (what noticed that something is wrong, which measurements failed)."""
        if self.refusal:
            return ["refusal"], []
        red = [j for j in self.judgements(variant) if j.verdict in RED]
        kinds: set[Sight] = {j.kind for j in red}
        if self.report and any("damaged" in note for note in self.report.notes):
            kinds.add("note")
        return sorted(kinds), sorted({j.measurement for j in red})


@dataclass(frozen=True)
class Place:
    """Hold the folders of one run.

    Attributes:
        model: as declared by the file in ``models``, unless the fault changes that file.
        root: of this place alone; contains the store and the reports.
    """

    model: ReferenceModel
    root: Path
    models: Path
    baselines: Path
    variants: tuple[str, ...]

    @property
    def store(self) -> Store:
        """Return the run's own store."""
        return Store(self.root / "store")

    def task(self, variant: str, model: ReferenceModel | None = None, seed: int = 0) -> Task:
        """Describe a cell of this place."""
        model = model or self.model
        return Task(model.file, model.name, variant, seed, None, self.store.root, self.root / "worker.log")

    def compute(
        self, variants: Sequence[str] = (), model: ReferenceModel | None = None, seed: int = 0
    ) -> list[Outcome]:
        """Build and measure cells, by default all, in this process: a worker would load TensorFlow again."""
        return [compute(self.task(variant, model, seed)) for variant in variants or self.variants]

    def copy(self, root: Path, with_baselines: bool = True) -> "Place":
        """Copy the place, with its own store and baselines."""
        shutil.copytree(self.store.root, root / "store")
        baselines = self.baselines
        if with_baselines:
            baselines = root / "baselines"
            shutil.copytree(self.baselines, baselines)
        return Place(self.model, root, self.models, baselines, self.variants)

    def put(self, variant: str, files: dict[str, bytes], seed: int = 0) -> None:
        """Replace a cell's artifact, as if its variant had made another one."""
        recipe = artifact.ingredients(self.model, VARIANTS[variant], seed, None)
        key = digest(recipe)
        shutil.rmtree(self.store.path(key), ignore_errors=True)
        self.store.put(key, files, recipe)

    def run(
        self,
        accept: str = "",
        judged: Sequence[str] | None = None,
        seeds_on_suspicion: int = 1,
        budget: float = gate.DEFAULT_BUDGET,
    ) -> Ended:
        """Run a whole real session.

        Args:
            accept: reason to accept the run's values with, or empty to accept nothing.
            judged: the variants whose suites run; None for all.
            seeds_on_suspicion: of a trained cell that looks worse; the place has to hold them already, or they are
                trained as they should be.
            budget: of false alarms.
        """
        options = RunOptions(
            models=self.model.name,
            model_dir=self.models,
            baseline_dir=self.baselines,
            report_dir=self.root / "reports",
            workers=1,
            no_latency=True,
            update_baselines=accept,
            allow_dirty=True,  # its baselines are thrown away
            seeds_on_suspicion=seeds_on_suspicion,
            false_alarms=budget,
        )
        with _store_at(self.store.root):
            try:
                session = Session(options, say=lambda _: None)
                wanted = {f"{self.model.name}/{variant}": KINDS for variant in self.variants}
                asked = None if judged is None else [f"{self.model.name}/{variant}" for variant in judged]
                session.judge_all(wanted, asked)
                status = session.finish()
            except BadInput as error:
                return Ended(Exit.BAD_INPUT, refusal=str(error))
            return Ended(status, session.report)


@contextmanager
def _store_at(root: Path) -> Iterator[None]:
    before = os.environ.get("QUANTBENCH_CACHE")
    os.environ["QUANTBENCH_CACHE"] = str(root)
    try:
        yield
    finally:
        if before is None:
            del os.environ["QUANTBENCH_CACHE"]
        else:
            os.environ["QUANTBENCH_CACHE"] = before


def sha256(content: bytes) -> str:
    """Hash as hex sha256."""
    return hashlib.sha256(content).hexdigest()
