"""Prepare one run: which cells, computed where, judged how, written to which folder.

The user's input is checked here, and the parts of the run are put together: :mod:`quantbench.engine.scheduler`
computes cells, :mod:`quantbench.engine.drive` judges each, :mod:`quantbench.engine.interim_report` writes the report,
and :mod:`quantbench.engine.finish` ends the run.
"""

import datetime
import shlex
import time
from collections.abc import Callable, Collection, Mapping, Set
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from quantbench.baselines import files as baseline_files
from quantbench.baselines import merge_base, update
from quantbench.baselines.effective import EffectiveBaseline, effective_baseline
from quantbench.core import environment
from quantbench.core import targets as core_targets
from quantbench.core.options import RunOptions, check
from quantbench.core.signals import ends_only_this, in_a_hurry, undisturbed
from quantbench.engine import artifacts, causes, finish, morning, shards, slow_cells, unrecorded
from quantbench.engine.as_accepted import AsAccepted
from quantbench.engine.cell import OF_COMPILED, CellId
from quantbench.engine.context import HeldStore, Rules, logs
from quantbench.engine.drive import Drive
from quantbench.engine.exclusive import Alone
from quantbench.engine.false_alarms import Budget
from quantbench.engine.finish import Ending, HowEnded
from quantbench.engine.interim_report import Header, Recording
from quantbench.engine.judging import Judging
from quantbench.engine.kept import Kept
from quantbench.engine.on_targets import Targets
from quantbench.engine.plan import ALONE, IN_ORDER, Plan
from quantbench.engine.progress import Lines, Progress
from quantbench.engine.results import Judgements, Results
from quantbench.engine.scheduler import Computing
from quantbench.engine.timing import Timing
from quantbench.engine.turns import Turns
from quantbench.engine.workers import cluster
from quantbench.engine.workers.cluster_executor import ClusterExecutor
from quantbench.engine.workers.executor import Executor
from quantbench.engine.workers.task import Outcome
from quantbench.errors import BadInput, Exit, NothingSelected
from quantbench.measure import gpu_devices, instructions, micro
from quantbench.records import BaselineCell, Cell, Judgement, Kind, Report, Shard, parts, verdict_of_cell, worst
from quantbench.records.measurements import INSTRUCTIONS
from quantbench.reference.model import ReferenceModel, load_models, pick
from quantbench.report.formatting import MARKS
from quantbench.report.run_folder import RunFolder
from quantbench.variants import built, known, offered


class Session:
    """Run the matrix.

    Args:
        options: see :class:`RunOptions`.
        say: prints one line of progress; see :attr:`progress` for more than lines.
        models: models to try once, instead of those of ``options.model_dir``; they have no baselines, so that only
                their floors are judged.
        start_up: whether timing includes the start-up, which is only shown.
        one_of_several: whether other runs share this one's false-alarm budget, so that each cell with a baseline
            counts, whichever of them this run has.

    Attributes:
        progress: where progress is shown; may be replaced before :meth:`plan`.
        selection: the user's selection of cells, in words; may be set before :meth:`plan`.

    Raises:
        BadInput: some input is wrong; checked before anything is computed.
    """

    def __init__(
        self,
        options: RunOptions,
        say: Callable[[str], None] = print,
        models: dict[str, ReferenceModel] | None = None,
        start_up: bool = True,
        one_of_several: bool = False,
    ) -> None:
        self.options = options
        self.progress: Progress = Lines(say)
        self.selection = ""
        self._drift = models is None
        self.models = load_models(options.model_dir) if models is None else models
        self.model_names = pick(options.models, self.models, "--models", _own_models(options, models))
        self._variants = known(self.models[name] for name in self.model_names)
        self.variant_names = pick(options.variants, self._variants, "--variants")
        check(options)
        for name in self.model_names:
            self._check_model(self.models[name])
        self._cluster = cluster.of_run(options)
        here = environment.collect() if self._cluster is None else self._cluster.environment
        self._environment = environment.of_models(here, options.model_dir)
        morning.check_history(options)
        update.check_length("--update-baselines", options.update_baselines)
        if options.update_baselines and not options.allow_dirty:
            update.check_commit(self._environment, "--update-baselines")
        if self._drift:
            baseline_files.check_folder(options.baseline_dir)
        judged = [self.models[name] for name in self.model_names] if self._drift else []
        self._accepted = merge_base.in_force(options.baseline_dir, options.baselines_from, judged, self.models)
        self.baselines = {name: self._effective_baseline(self.models[name]) for name in self.model_names}
        self._plan = Plan(options, self.models, self._accepted_cells() if one_of_several else None)
        self._timing = Timing(options, self.say, self._cluster.call if self._cluster else None, start_up)
        self._targets = core_targets.of_option(options.target, options.targets)
        self._parts: _Parts | None = None
        self._since = time.perf_counter()
        self._started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")

    def _check_model(self, model: ReferenceModel) -> None:
        if self.options.train and len(model.seed_scores) < 2:
            raise BadInput(f"{model.file}: seed_scores: --train needs scores of at least 2 seeds to judge by")
        pick(",".join(model.gate_variants), known([model]), f"{model.file}: gate_variants")
        model.pack()
        model.check_metric()
        model.check_weights()

    def _effective_baseline(self, model: ReferenceModel) -> EffectiveBaseline:
        """Return the effective baseline, for today and this machine; updates go to the one on disk."""
        accepted = self._accepted.by_model.get(model.name, baseline_files.Baseline())
        here = self._environment
        return effective_baseline(
            accepted, model.metric.unit, here.results_class, here.machine_class, environment.today()
        )

    def _accepted_cells(self) -> dict[CellId, Set[Kind]]:
        """Return every cell that can be red by chance: those with a baseline, for what has none is missing."""
        kinds = {Kind.ACCURACY, Kind.SIZE, Kind.STRUCTURE, Kind.MEMORY}
        kinds |= set() if self.options.no_latency else {Kind.LATENCY}
        return {
            f"{name}/{variant}": kinds
            for name, baseline in self.baselines.items()
            for variant in (baseline.file.cells if baseline.file else ())
        }

    # ------------------------------------------------------------ what to do

    def cell_ids(self) -> list[CellId]:
        """Return every cell within ``--models`` and ``--variants``, models in order, controls first.

        Where ``--variants`` names none, a model is measured in the variants that its file gates; all where it gates
        none, and where it is tried once.
        """
        return [f"{model}/{variant}" for model in self.model_names for variant in self._variants_of(model)]

    def measures(self, cell_id: CellId, kind: Kind) -> bool:
        """Return whether a cell has this kind of check: one whose artifact is compiled has size and structure alone."""
        return kind in OF_COMPILED or cell_id not in self._compiled

    @cached_property
    def _compiled(self) -> frozenset[CellId]:
        listed = {model.name: built.declared(model.file, model.name) for model in self.models.values()}
        return frozenset(
            f"{name}/{key}" for name, found in listed.items() for key, one in found.items() if one.compiled
        )

    def _measured(self, wanted: Mapping[CellId, Set[Kind]]) -> dict[CellId, Set[Kind]]:
        kept = {cell: {kind for kind in kinds if self.measures(cell, kind)} for cell, kinds in wanted.items()}
        return {cell: kinds for cell, kinds in kept.items() if kinds}

    def _variants_of(self, model: str) -> list[str]:
        gated = self.models[model].gate_variants
        if self.options.variants:
            own = built.of_model(self.models[model], self._variants)
            return [name for name in self.variant_names if name in own or not built.is_built(name)]
        here = gated if gated and self._drift else offered(self.models[model])
        return [name for name in self.variant_names if name in here]

    def of_this_shard(self, wanted: Mapping[CellId, Set[Kind]]) -> set[CellId]:
        """Return the cells that this machine measures: all wanted ones, or those of ``--shard``.

        Raises:
            BadInput: there are more shards than cells.
        """
        return self._plan.of_this_shard(wanted)

    def look_for_gpu(self) -> gpu_devices.Found:
        """Find this machine's GPUs, and record those to measure, or why none is, in the environment."""
        gpus = (
            gpu_devices.find()
            if self._cluster is None
            else gpu_devices.Found([], "a run on a cluster does not measure GPUs")
        )
        found = {"gpu": gpus.first, "no_gpu": gpus.reason, "further_gpus": gpus.devices[1:]}
        self._environment = self._environment.model_copy(update=found)
        return gpus

    @property
    def counts_instructions(self) -> bool:
        """Return whether this run counts instructions: valgrind is here, and nobody turned it off."""
        return not (self.options.no_instructions or self._cluster is not None or instructions.unavailable())

    @property
    def runs_micro(self) -> bool:
        """Return whether this run uses TFLite-Micro: its package is here, and nobody turned it off."""
        return not (self.options.no_micro or self._cluster is not None or micro.unavailable())

    @property
    def has_targets(self) -> bool:
        """Return whether cells run on other machines besides this one."""
        return bool(self._targets)

    def plan(self, wanted: Mapping[CellId, Set[Kind]], collected: Mapping[CellId, Set[Kind]] | None = None) -> None:
        """Fix the cells of this run, with the controls that they need, and start computing.

        Args:
            collected: what of it has a test; all of it where None. The rest is missing in the report.

        Raises:
            NothingSelected: no cell is wanted.
            BadInput: the report folder is not writable.
            DiskFull: there is no space for a report.
        """
        wanted = self._measured(wanted)
        if not wanted:
            raise NothingSelected("the selection leaves no cell")
        if self._cluster is not None and any(Kind.LATENCY in kinds for kinds in wanted.values()):
            self._cluster.check_times()
        self._plan.fix(wanted, collected)
        if any(Kind.GPU in kinds for kinds in wanted.values()):
            self.look_for_gpu()
        with undisturbed(then_stop=True):
            self._parts = self._begin()
        self._parts.computing.submit()

    def _begin(self) -> "_Parts":
        """Make the run's folder, and prepare to compute."""
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
        plan, timing, judgements = self._plan, self._timing, Judgements()
        rules = Rules.of(self.options, folder.path, self.baselines, self._environment, self._drift)
        budget = Budget(plan, rules, self.options.false_alarms, timing.threads)
        results = Results(plan.cells, computing.so_far)
        taking = AsAccepted(list(plan.cells.values()), results, held.store)
        self._taking(folder, taking)
        header = Header(folder.path.name, self._since, self._started, self.selection, self._shard(folder, rules))
        targets = Targets(self._targets, plan, results, rules, held.store, self.progress, not self.options.no_latency)
        recording = Recording(
            header,
            plan.cells,
            results,
            judgements,
            rules,
            budget,
            timing.load,
            folder.write,
            lambda report: self._with_reds(report, folder.path),
            targets.records,
            taking.counts,
        )
        drive = Drive(
            plan,
            computing,
            results,
            budget,
            Judging(rules, budget, environment.today(), Kept(held.store)),
            Alone(
                plan,
                results,
                rules,
                budget,
                timing,
                held.store,
                judgements,
                self.progress,
                logs(folder) / "timing.log",
                Turns(plan, results, rules, timing, held.store, self.progress) if self._drift else None,
                targets,
            ),
            judgements,
            has_gpu=self._environment.gpu is not None,
            saved=recording.save_now_and_then,
            seeds_on_suspicion=self.options.seeds_on_suspicion,
            told=Judged(plan, results, judgements, self.progress).tell,
        )
        models = {cell.model.name: cell.model for cell in plan.cells.values()}

        def close(partial: bool) -> None:
            drive.close(partial)
            targets.close()
            if self._cluster is not None:
                self._cluster.close()
            self.progress.close()

        def accept(report: Report, status: Exit) -> tuple[Exit, list[str]]:
            return finish.accept(report, status, folder.path, self.options, models, self._drift)

        ending = Ending(
            folder,
            recording,
            results,
            models,
            close=close,
            notes=lambda: self._notes(results, held, rules, taking),
            accept=accept if self.options.update_baselines else None,
            tidy=lambda: self._tidy(folder, held, taking),
            where_full=computing.where_full,
            say=self.say,
        )
        return _Parts(folder, computing, drive, recording, ending, budget)

    def _taking(self, folder: RunFolder, taking: AsAccepted) -> None:
        """Take what was measured of accepted artifacts; a damaged file of it ends the run before it begins."""
        if self.options.no_cache or not self._keeps:
            return
        try:
            taking.take(self._accepted.measured, self._baseline_of)
        except BadInput:
            folder.remove()
            raise

    @property
    def _keeps(self) -> bool:
        """Whether what is measured here may be accepted; the store of a cluster's workers is theirs."""
        return self._drift and self._cluster is None

    def _tidy(self, folder: RunFolder, held: HeldStore, taking: AsAccepted) -> None:
        """Leave what was measured beside answers in the run's folder, and tidy up."""
        if self._keeps and not in_a_hurry() and (wrong := taking.leave(folder.path)):
            self.say(wrong)
        finish.tidy(folder, held, self.options, self.progress.detail)

    def _with_reds(self, report: Report, folder: Path) -> Report:
        """Add what a red run says in the morning; of shards, whose verdicts are provisional, the merged run says it."""
        if not self._drift or report.shard is not None:
            return report
        return morning.with_reds(report, folder, self.options, self._baseline_of)

    def _baseline_of(self, cell_id: CellId) -> BaselineCell | None:
        model, variant = parts(cell_id)
        return self.baselines[model].cell(variant) if model in self.baselines else None

    def _shard(self, folder: RunFolder, rules: Rules) -> Shard | None:
        if self._plan.shard_of is None:
            return None
        index, of = self._plan.shard_of
        models = sorted({cell.model.name for cell in self._plan.whole.values()})
        return Shard(
            index=index,
            of=of,
            split=self._plan.split,
            options={name: str(getattr(self.options, name)) for name in shards.SAME_IN_ALL},
            baselines={name: self._accepted.fingerprints.get(name, "") for name in models},
            folder=shlex.quote(str(folder.path)),
            again=rules.again,
        )

    def _notes(self, results: Results, held: HeldStore, rules: Rules, taking: AsAccepted) -> list[str]:
        """Return the notes for the reader of the report."""
        of_cells = [results.of(cell_id) for cell_id in self._plan.cells]
        models = {
            result.cell.model.name: result.cell.model for result in of_cells if Kind.ACCURACY in result.cell.kinds
        }
        share = self._planned.share_of_scores()
        strangers = [] if self._cluster is not None else [result.cell.model for result in of_cells]
        return [
            *(note for result in of_cells if self.options.train for note in finish.training_note(result)),
            *(note for model in models.values() for note in finish.split_notes(model, share)),
            *self._planned.drive.notes,
            *self._planned.computing.notes(),
            *held.notes(),
            *(finish.no_baselines_note(self.options.baseline_dir) if self._drift else []),
            *self._accepted.notes,
            *finish.as_accepted_note(taking.counts()),
            *finish.seals_note(self.options.baseline_dir, self.baselines),
            *finish.walls_note(strangers),
            *self._timing.notes(),
            *(unrecorded.notes(of_cells, rules) if self._drift else []),
            *self._not_counted(),
            *self._not_on_micro(),
            *([self._cluster.note()] if self._cluster else []),
            *(f"{result.cell.id}: {reason}" for result in of_cells for reason in result.retried),
            *(f"{result.cell.id}: {finding}" for result in of_cells for finding in result.findings),
        ]

    def _not_counted(self) -> list[str]:
        """Say why baselines of instructions are not compared with anything on this machine."""
        reason = "" if self.options.no_instructions else instructions.unavailable()
        held = any(
            INSTRUCTIONS in cell.by_machine
            for one in self.baselines.values()
            if one.file is not None
            for cell in one.file.cells.values()
        )
        return [f"instructions were not counted: {reason}"] if reason and held and self._cluster is None else []

    def _not_on_micro(self) -> list[str]:
        """Say why baselines of TFLite-Micro are not compared with anything on this machine."""
        reason = "" if self.options.no_micro else micro.unavailable()
        files = [one.file for one in self.baselines.values() if one.file is not None]
        held = any(cell.micro is not None for file in files for cell in file.cells.values())
        return [f"nothing was run on TFLite-Micro: {reason}"] if reason and held and self._cluster is None else []

    def _make_executor(self, folder: RunFolder, held: HeldStore) -> Executor:
        if self._cluster is not None:
            return ClusterExecutor(self._cluster, held.store, folder.path.name, self.options.no_cache, self.say)
        from quantbench.engine.workers.local import LocalExecutor  # with pebble, which a run of stored cells needs not

        return LocalExecutor(self.options.workers or None, logs(folder) / "workers")

    def say(self, line: str) -> None:
        """Print a line that stays."""
        self.progress.say(line)

    # ------------------------------------------------------------ results

    @property
    def planned(self) -> bool:
        """Return whether there is anything to run and report, and a folder for it."""
        return self._parts is not None and self.folder.path.exists()

    @property
    def _planned(self) -> "_Parts":
        assert self._parts is not None, "a run is planned first"
        return self._parts

    @property
    def folder(self) -> RunFolder:
        """Return the folder that the run writes to."""
        return self._planned.folder

    @property
    def report(self) -> Report:
        """Return the report as last written."""
        return self._planned.recording.report

    def artifacts(self) -> dict[CellId, Path]:
        """Return the files that this run made or found in its store, of the first seed of each cell."""
        found = {}
        for cell_id in self._plan.cells:
            first = self._planned.computing.so_far(cell_id)[0]
            if first is not None and first.artifact is not None:
                found[cell_id] = first.artifact
        return found

    def prepare(self, cell_id: CellId, kind: Kind) -> None:
        """Wait for everything that the judgements of one kind for one cell need.

        Raises:
            KeyboardInterrupt: a signal was received.
            DiskFull: no space is left for the store.
        """
        self._planned.drive.prepare(cell_id, kind)

    def judge(self, cell_id: CellId, kind: Kind) -> list[Judgement]:
        """Return the judgements of one kind for one cell, made once; waits for what they need.

        Raises:
            KeyboardInterrupt: a signal was received.
            DiskFull: no space is left for the store or the report.
        """
        return self._planned.drive.judge(cell_id, kind)

    def judge_the_rest(self) -> None:
        """Judge controls that were added to the selection, and wait for all computation.

        Raises:
            KeyboardInterrupt: a signal was received.
            DiskFull: no space is left for the store or the report.
        """
        self._planned.drive.judge_the_rest()
        self._explain_reds()

    def _explain_reds(self) -> None:
        """Look for the causes of red scores, and time slow cells by operator; not where models are tried once.

        Both run in children that a signal ends, and only where there is something to look for. All cells are judged by
        now, so a signal ends the search and not the run. A cluster's cells are timed elsewhere.
        """
        if not self._drift:
            return
        models = {cell.model.name: cell.model for cell in self._plan.cells.values()}

        def accepted(cell: Cell) -> str | None:
            known = self._baseline_of(cell.id)
            return None if known is None else known.artifact_sha256

        recording = self._planned.recording
        files = self.artifacts()
        facts = (recording.cells(), causes.made_here(files), models, accepted, self.say)
        found = causes.of_reds(*facts)

        def look() -> None:
            recording.explain_each(found)
            if self._cluster is None:
                recording.add_times(slow_cells.of_slow(*facts))

        if not ends_only_this(look):
            self.say("the search for causes was stopped; all cells were judged, and what was found is in the report")
        if self._plan.shard_of is not None:
            artifacts.keep_for_merge(recording.cells(), files, self.folder.path)

    def judge_all(
        self,
        wanted: Mapping[CellId, Set[Kind]],
        judged: Collection[CellId] | None = None,
        worth_timing: Callable[[Mapping[CellId, Outcome]], Collection[CellId]] | None = None,
    ) -> None:
        """Plan these cells, and judge each kind of each; what is measured exclusively comes last.

        Args:
            judged: those of them to judge; all where None.
            worth_timing: takes the computed outcomes, and returns the cells to time; all where None.

        Raises:
            NothingSelected, BadInput: see :meth:`plan`.
            KeyboardInterrupt: a signal was received.
            DiskFull: no space is left for the store or the report.
        """
        self.plan(wanted)
        wanted = self._measured(wanted)
        for kind in sorted(Kind, key=lambda kind: IN_ORDER.index(kind) if kind in ALONE else -1):
            if kind is Kind.LATENCY and worth_timing is not None:
                wanted = self._without_losers(wanted, worth_timing)
            for cell_id, kinds in wanted.items():
                if kind in kinds and (judged is None or cell_id in judged):
                    self.judge(cell_id, kind)
        self.judge_the_rest()

    def _without_losers(
        self,
        wanted: Mapping[CellId, Set[Kind]],
        worth_timing: Callable[[Mapping[CellId, Outcome]], Collection[CellId]],
    ) -> Mapping[CellId, Set[Kind]]:
        """Return what is wanted without the latency of those cells that are not worth it."""
        first = {cell_id: self._planned.computing.so_far(cell_id)[0] for cell_id in wanted}
        chosen = worth_timing({cell_id: outcome for cell_id, outcome in first.items() if outcome is not None})
        for cell_id in set(wanted) - set(chosen):
            self._plan.leave_out(cell_id, Kind.LATENCY)
        return {cell_id: kinds if cell_id in chosen else kinds - {Kind.LATENCY} for cell_id, kinds in wanted.items()}

    def latency_blocks(self, cell_id: CellId) -> list[float]:
        """Return the timed blocks of a cell, seconds per call, for pytest-benchmark; empty where it was not timed."""
        return self._timing.blocks(cell_id)

    def finish(self, how: HowEnded | None = None, notes: list[str] | None = None) -> Exit:
        """Write the last report, point ``latest`` at it, trim the store to its size limit, and return the exit status.

        A run that was stopped still judges what was computed: no regression seen goes unreported.

        Args:
            how: what stopped the run; a signal whose exception was lost is noticed here.
        """
        return self._planned.ending.finish(how or HowEnded(), notes or [])


def _own_models(options: RunOptions, given: Mapping[str, ReferenceModel] | None) -> str:
    """Say where models come from, for a name that is none of them."""
    return "" if given is not None else f"models of your own need --model-dir; in {options.model_dir}, "


class Judged:
    """Count the cells that are judged, and tell of each with its verdict and seconds."""

    def __init__(self, plan: Plan, results: Results, judgements: Judgements, progress: Progress) -> None:
        self._plan = plan
        self._results = results
        self._judgements = judgements
        self._progress = progress
        self._done = 0

    def tell(self, cell_id: CellId) -> None:
        """Tell of a cell that has just been judged."""
        self._done += 1
        judgements = self._judgements[cell_id]
        verdict = verdict_of_cell({kind: worst([each.verdict for each in of]) for kind, of in judgements.items()})
        outcomes = self._results.of(cell_id).outcomes
        how = "cached" if outcomes and all(outcome.cached for outcome in outcomes) else None
        took = how or f"{sum(outcome.seconds for outcome in outcomes):.1f} s"
        self._progress.judged(f"{cell_id}: {MARKS[verdict]}, {took}", self._done, len(self._plan.cells))


@dataclass(frozen=True)
class _Parts:
    """Hold the parts that work on a run once its cells are fixed."""

    folder: RunFolder
    computing: Computing
    drive: Drive
    recording: Recording
    ending: Ending
    budget: Budget

    def share_of_scores(self) -> float:
        """What a score could count on if chance had moved all of them."""
        return self.budget.even().share
