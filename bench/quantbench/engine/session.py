"""One run: which cells, computed where, judged how, written to which folder.

The pytest side asks for a cell's judgements and waits. What the user gave is checked here, and the cells are given to
those that work on them: they are computed by :mod:`quantbench.engine.scheduler`, judged in
:mod:`quantbench.engine.judging`, and written into the report by :mod:`quantbench.engine.interim_report`;
:mod:`quantbench.engine.finish` brings the run to its end.
"""

import datetime
import time
from collections.abc import Callable
from dataclasses import dataclass

from quantbench.baselines.effective import Standing, load_current, standing
from quantbench.baselines.files import Baseline
from quantbench.core import environment
from quantbench.core.options import RunOptions, check
from quantbench.core.signals import undisturbed
from quantbench.engine.cell import CellId
from quantbench.engine.context import HeldStore, Running, logs
from quantbench.engine.exclusive import Alone
from quantbench.engine.false_alarms import Budget
from quantbench.engine.finish import Ending, HowEnded
from quantbench.engine.interim_report import Recording
from quantbench.engine.judging import Judging
from quantbench.engine.plan import Plan
from quantbench.engine.progress import Lines, Progress
from quantbench.engine.results import Known
from quantbench.engine.scheduler import Computing
from quantbench.engine.timing import Timing
from quantbench.engine.workers import cluster
from quantbench.engine.workers.cluster_executor import ClusterExecutor
from quantbench.engine.workers.local import Executor, LocalExecutor
from quantbench.errors import BadInput, Exit, NothingSelected
from quantbench.measure import gpu_devices
from quantbench.records import Judgement, Kind, Report
from quantbench.reference.model import ReferenceModel, load_models, pick
from quantbench.report.run_folder import RunFolder
from quantbench.variants import VARIANTS


class Session:
    """A run of the matrix.

    Args:
        options: see :class:`RunOptions`.
        say: takes one line of progress; see :attr:`progress` for more than lines.
        models: models to try once, in place of those of ``options.model_dir``; they have no baselines, so that only
            their floors are judged.

    Attributes:
        progress: where it tells how far it is; may be replaced before :meth:`plan`.
        selection: what the user chose cells by, in words; may be told before :meth:`plan`.

    Raises:
        BadInput: anything the user gave is wrong; checked before anything is computed.
    """

    def __init__(
        self,
        options: RunOptions,
        say: Callable[[str], None] = print,
        models: dict[str, ReferenceModel] | None = None,
    ) -> None:
        self.options = options
        self.progress: Progress = Lines(say)
        self.selection = ""
        self._drift = models is None
        self.models = load_models(options.model_dir) if models is None else models
        self.model_names = pick(options.models, self.models, "--models")
        self.variant_names = pick(options.variants, VARIANTS, "--variants")
        check(options)
        self._plan = Plan(options, self.models)
        for name in self.model_names:
            self._check_model(self.models[name])
        self._cluster = cluster.of_run(options)
        self._environment = environment.collect() if self._cluster is None else self._cluster.environment
        self.baselines = {name: self._standing(self.models[name]) for name in self.model_names}
        self._timing = Timing(options, self.say, self._cluster.call if self._cluster else None)
        self._parts: _Parts | None = None
        self._since = time.perf_counter()
        self._started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")

    def _check_model(self, model: ReferenceModel) -> None:
        if self.options.train and len(model.seed_scores) < 2:
            raise BadInput(f"{model.file}: seed_scores: --train needs scores of at least 2 seeds to judge by")
        model.pack()
        model.check_weights()

    def _standing(self, model: ReferenceModel) -> Standing:
        """What the judges see of a baseline today and here; an update is made to the one on disk."""
        accepted = load_current(self.options.baseline_dir, model) if self._drift else Baseline()
        here = self._environment
        return standing(accepted, model.metric.unit, here.results_class, here.machine_class, environment.today())

    # ------------------------------------------------------------ what to do

    def cell_ids(self) -> list[CellId]:
        """Every cell that ``--models`` and ``--variants`` leave, models in order, controls first."""
        return [f"{model}/{variant}" for model in self.model_names for variant in self.variant_names]

    def of_this_shard(self, wanted: dict[CellId, set[Kind]]) -> set[CellId]:
        """The cells that this machine measures: all that are wanted, or those of ``--shard``.

        Raises:
            BadInput: more shards than cells.
        """
        return self._plan.of_this_shard(wanted)

    def look_for_gpu(self) -> gpu_devices.Found:
        """The GPUs of this machine; the report's environment names the one that is measured, or says why none is."""
        found = gpu_devices.find() if self._cluster is None else gpu_devices.Found([], "on a cluster none is measured")
        self._environment = self._environment.model_copy(update={"gpu": found.first, "no_gpu": found.reason})
        return found

    def plan(self, wanted: dict[CellId, set[Kind]]) -> None:
        """Fix the cells of this run, with the controls that they need, and start computing.

        Raises:
            NothingSelected: no cell is wanted.
            BadInput: the report folder cannot be written.
            DiskFull: there is no room for a report.
        """
        if not wanted:
            raise NothingSelected("the selection leaves no cell")
        if self._cluster is not None and any(Kind.LATENCY in kinds for kinds in wanted.values()):
            self._cluster.check_times()
        self._plan.fix(wanted)
        if any(Kind.GPU in kinds for kinds in wanted.values()):
            self.look_for_gpu()
        with undisturbed(then_stop=True):
            running = self._begin()
            self._parts = _Parts.of(running)
        running.computing.submit()

    def _begin(self) -> Running:
        """Make the run's folder, and get ready to compute."""
        folder = RunFolder.create(self.options.report_dir)
        held = HeldStore.open(folder, self.options)
        computing = Computing(
            self.options,
            list(self._plan.cells.values()),
            held.store,
            logs(folder),
            self.progress,
            lambda: self._make_executor(folder, held),
        )
        return Running(
            options=self.options,
            selection=self.selection,
            since=self._since,
            started=self._started,
            plan=self._plan,
            environment=self._environment,
            baselines=self.baselines,
            drift=self._drift,
            progress=self.progress,
            timing=self._timing,
            cluster=self._cluster,
            folder=folder,
            held=held,
            computing=computing,
        )

    def _make_executor(self, folder: RunFolder, held: HeldStore) -> Executor:
        if self._cluster is not None:
            return ClusterExecutor(self._cluster, held.store, folder.path.name, self.options.no_cache, self.say)
        return LocalExecutor(self.options.workers or None, logs(folder) / "workers")

    def say(self, line: str) -> None:
        """Tell one line that stays."""
        self.progress.say(line)

    # ------------------------------------------------------------ what came of it

    @property
    def planned(self) -> bool:
        """Whether there is anything to run and report, and where to."""
        return self._parts is not None and self.folder.path.exists()

    @property
    def _planned(self) -> "_Parts":
        assert self._parts is not None, "a run is planned first"
        return self._parts

    @property
    def folder(self) -> RunFolder:
        """Where the run writes."""
        return self._planned.running.folder

    @property
    def report(self) -> Report:
        """As it was last written."""
        return self._planned.recording.report

    def judge(self, cell_id: CellId, kind: Kind) -> list[Judgement]:
        """The judgements of one kind on one cell; waits for the cell, and is worked out once.

        Raises:
            DiskFull: nothing more can be stored or reported.
        """
        return self._planned.judging.judge(cell_id, kind)

    def unjudged_controls(self) -> list[tuple[CellId, Kind]]:
        """What a selection brought along and no test asks for; judged too, so that a sick control is seen."""
        return [(cell.id, kind) for cell in self._plan.cells.values() if not cell.selected for kind in cell.kinds]

    def judge_the_rest(self) -> None:
        """Controls that a selection brought along, and wait for whatever is still computed.

        Raises:
            KeyboardInterrupt: a signal came.
            DiskFull: nothing more can be stored or reported.
        """
        for cell_id, kind in self.unjudged_controls():
            self.judge(cell_id, kind)
        self._planned.running.computing.wait(self._plan.cells.values())

    def latency_blocks(self, cell_id: CellId) -> list[float]:
        """Timed blocks of a cell, seconds a call, for pytest-benchmark; empty where it was not timed."""
        return self._timing.blocks(cell_id)

    def finish(
        self,
        interrupted: bool,
        notes: list[str] | None = None,
        cut_short: bool = False,
        disk_full: bool = False,
        crashed: bool = False,
    ) -> Exit:
        """Write the last report, point ``latest`` at it, keep the store within bounds, and return the exit status.

        A run that did not get to its end still judges what was computed: a regression seen is a regression reported.

        Args:
            interrupted: by the user; also where a signal came whose exception was lost.
            cut_short: by pytest's own -x or --maxfail; partial too, and its status is that of what was judged.
            disk_full: nothing more can be written but what was set aside for.
            crashed: pytest itself has failed; the run ends as one that could not measure.
        """
        how = HowEnded(interrupted, cut_short, disk_full, crashed)
        return self._planned.ending.finish(how, notes or [])


@dataclass(frozen=True)
class _Parts:
    """Those that work on a run once its cells are fixed."""

    running: Running
    judging: Judging
    recording: Recording
    ending: Ending

    @staticmethod
    def of(running: Running) -> "_Parts":
        known = Known(running.plan, running.timing)
        budget = Budget(running, known)
        recording = Recording(running, known, budget)
        judging = Judging(running, known, budget, Alone(running, known, budget), recording)
        ending = Ending(running, known, budget, judging, recording)
        return _Parts(running, judging, recording, ending)
