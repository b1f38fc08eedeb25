"""One run: which cells, computed where, judged how, written to which folder.

The pytest side asks for a cell's judgements and waits; everything else happens here.
"""

import datetime
import hashlib
import shlex
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from bench import acceptance, baselines, cluster, devices, environment, gate, measured, shards
from bench.clearing import GB, clear
from bench.cluster_executor import ClusterExecutor
from bench.computing import CellId, Computing, Planned
from bench.datasets import Array
from bench.errors import BadInput, DiskFull, Exit, NothingSelected, disk_is_full
from bench.executor import Executor, LocalExecutor
from bench.interruption import undisturbed
from bench.measure import behaviour, gpu, latency, memory
from bench.options import RunOptions, check, given, run_argument
from bench.progress import Counts, Lines, Progress
from bench.quiet import native_output_to
from bench.records import (
    Cell,
    Device,
    Evidence,
    FalseAlarms,
    Judgement,
    Kind,
    Measurement,
    Report,
    Shard,
    worst,
)
from bench.reference import ReferenceModel, load_models, pick
from bench.report.folder import RunFolder
from bench.scores import Scored
from bench.standing import Standing, standing
from bench.store import Store, default_root
from bench.timing import Timing
from bench.variants import FLOAT_CONTROL, VARIANTS
from bench.work import Outcome

_SAVE_SECONDS = 1.0
# A save writes all cells, so of many cells it takes long: at most a twentieth of the time goes into saving.
_SAVE_REST = 19
# Measured when nothing else of ours runs, and not begun in a run that was stopped.
ALONE = frozenset({Kind.GPU, Kind.LATENCY})


class Session:
    """A run of the matrix.

    Args:
        options: see :class:`RunOptions`.
        say: takes one line of progress; see :attr:`progress` for more than lines.
        models: models to try once, in place of those of ``options.model_dir``; they have no baselines, so that only
            their floors are judged.

    Attributes:
        progress: where it tells how far it is; may be replaced before :meth:`plan`.

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
        self._drift = models is None
        self.models = load_models(options.model_dir) if models is None else models
        self.model_names = pick(options.models, self.models, "--models")
        self.variant_names = pick(options.variants, VARIANTS, "--variants")
        check(options)
        self._shard_of = shards.parse(options.shard) if options.shard else None
        self._known_durations = shards.recorded(Path(options.shard_durations)) if options.shard_durations else {}
        if options.shard and options.update_baselines:
            raise BadInput("--update-baselines: a shard is a part of a run; accept the report that all shards make")
        for name in self.model_names:
            if options.train and len(self.models[name].seed_scores) < 2:
                file = self.models[name].file
                raise BadInput(f"{file}: seed_scores: --train needs scores of at least 2 seeds to judge by")
            self.models[name].pack()
            self.models[name].check_weights()
        self._cluster = cluster.of_run(options)
        self._environment = environment.collect() if self._cluster is None else self._cluster.environment
        self.baselines = {name: self._standing(name) for name in self.model_names}
        self._planned: dict[CellId, Planned] = {}
        self._whole: dict[CellId, Planned] = {}
        self._split: dict[CellId, int] = {}
        self._computing: Computing | None = None
        self._judgements: dict[CellId, dict[Kind, list[Judgement]]] = {}
        self._timing = Timing(options, self.say, self._cluster.call if self._cluster else None)
        self._on_gpu: dict[CellId, gpu.OnGpu] = {}
        self._alone_seconds: dict[CellId, float] = {}
        self._behaviours: dict[CellId, dict[str, Measurement]] = {}
        self._red_at: dict[CellId, float] | None = None
        self._partial = False
        self._timing_since: float | None = None
        self._start = self._saved = time.perf_counter()
        self._save_took = 0.0
        self._started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self.selection = ""

    def _load_baseline(self, name: str) -> baselines.Baseline:
        if not self._drift:
            return baselines.Baseline()
        found = baselines.load(self.options.baseline_dir, self.models[name])
        gone = sorted(set(found.file.cells if found.file else ()) - set(VARIANTS))
        if gone:
            raise BadInput(
                f"{baselines.json_path(self.options.baseline_dir, name)}: field 'cells.{gone[0]}': no variant has this "
                "name, so nothing measures it any more; restore the variant, or take its entry out"
            )
        return found

    def _standing(self, name: str) -> Standing:
        """What the judges see of a baseline today and here; an update is made to the one on disk."""
        unit, here = self.models[name].metric.unit, self._environment
        return standing(self._load_baseline(name), unit, here.results_class, here.machine_class, environment.today())

    # ------------------------------------------------------------ what to do

    def cell_ids(self) -> list[CellId]:
        """Every cell that ``--models`` and ``--variants`` leave, models in order, controls first."""
        return [f"{model}/{variant}" for model in self.model_names for variant in self.variant_names]

    def of_this_shard(self, wanted: dict[CellId, set[Kind]]) -> set[CellId]:
        """The cells that this machine measures: all that are wanted, or those of ``--shard``.

        Raises:
            BadInput: more shards than cells.
        """
        if self._shard_of is None or not wanted:
            return set(wanted)
        index, of = self._shard_of
        self._whole = self._with_controls(wanted)
        timed = {cell.id for cell in self._whole.values() if cell.kinds & ALONE}
        seeds = {cell.id: len(cell.seeds) if cell.variant.trained else 0 for cell in self._whole.values()}
        expected = shards.durations(seeds, timed, self._known_durations)
        works = {
            cell.id: shards.Work((cell.model.name, cell.variant.trained), expected[cell.id], cell.needs)
            for cell in self._whole.values()
            if cell.selected
        }
        controls = {cell_id: one.made for cell_id, one in expected.items()}
        self._split = shards.split(works, controls, of)
        return {cell_id for cell_id, home in self._split.items() if home == index}

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
        self._planned = self._with_controls(wanted)
        self._whole = self._whole or self._planned
        for cell in self._planned.values():
            if not cell.selected:
                cell.kinds = self._whole[cell.id].kinds - ALONE  # every shard asks the same of a control
        if any(Kind.GPU in kinds for kinds in wanted.values()):
            self.look_for_gpu()
        with undisturbed(then_stop=True):
            self.folder = RunFolder.create(self.options.report_dir)
            self._open_store()
            self._computing = Computing(
                self.options, list(self._planned.values()), self._store, self._logs, self.progress, self._make_executor
            )
        self._computing.submit()

    def _open_store(self) -> None:
        self._store = Store(self.folder.path / "store" if self.options.no_cache else default_root())
        try:
            self._store_note = self._store.make_private()
            self._store.hold()
        except OSError as error:
            self.folder.remove()
            if disk_is_full(error):
                raise DiskFull(f"no space is left in {self._store.root}; free some and run again") from None
            raise BadInput(
                f"{self._store.root}: the store cannot be written: {error.strerror}; set QUANTBENCH_CACHE to a folder "
                "of your own"
            ) from None
        self._damaged_before = len(self._store.damaged())

    def _with_controls(self, wanted: dict[CellId, set[Kind]]) -> dict[CellId, Planned]:
        """What is wanted and the controls that it needs, by model and in the order of the variants."""
        found = {cell_id: self._planned_cell(cell_id, kinds, selected=True) for cell_id, kinds in wanted.items()}
        for cell in list(found.values()):
            for cell_id in cell.needs:
                if cell_id not in found:
                    found[cell_id] = self._planned_cell(cell_id, cell.kinds - ALONE, selected=False)
        order = {name: i for i, name in enumerate(VARIANTS)}
        by_name = sorted(found.values(), key=lambda cell: (cell.model.name, order[cell.variant.name]))
        return {cell.id: cell for cell in by_name}

    def look_for_gpu(self) -> devices.Found:
        """The GPUs of this machine; the report's environment names the one that is measured, or says why none is."""
        found = devices.find() if self._cluster is None else devices.Found([], "on a cluster none is measured")
        self._environment = self._environment.model_copy(update={"gpu": found.first, "no_gpu": found.reason})
        return found

    @property
    def planned(self) -> bool:
        """Whether there is anything to run and report, and where to."""
        return bool(self._planned) and hasattr(self, "folder") and self.folder.path.exists()

    def _planned_cell(self, cell_id: CellId, kinds: set[Kind], selected: bool) -> Planned:
        model, variant = cell_id.split("/")
        seeds = list(range(self.options.seeds)) if VARIANTS[variant].trained else [0]
        return Planned(self.models[model], VARIANTS[variant], set(kinds), selected, seeds)

    def say(self, line: str) -> None:
        """Tell one line that stays."""
        self.progress.say(line)

    def _make_executor(self) -> Executor:
        if self._cluster is not None:
            run, fresh = self.folder.path.name, self.options.no_cache
            return ClusterExecutor(self._cluster, self._store, run, fresh, self.say)
        return LocalExecutor(self.options.workers or None, self._logs / "workers")

    @property
    def _logs(self) -> Path:
        return self.folder.path.absolute() / "logs"

    # ------------------------------------------------------------ results

    def _wait(self, cells: list[Planned]) -> None:
        assert self._computing is not None
        self._computing.wait(cells)

    def _outcomes(self, cell_id: CellId) -> list[Outcome]:
        assert self._computing is not None
        return self._computing.outcomes(self._planned[cell_id])

    def false_alarms(self) -> FalseAlarms:
        """The budget, and how many judgements share it: those that chance has moved; until all are known, may move.

        A shard knows its own only, so to it all of the whole run may move: what is red there is red in the whole run.
        """
        if self._shard_of is not None:
            return self._even()
        return gate.share(self.options.false_alarms, len(self._moved_or_may()) + self._timed_ones())

    def _even(self) -> FalseAlarms:
        """What every judgement of the whole run could count on if chance had moved them all."""
        scores = sum(Kind.ACCURACY in cell.kinds for cell in self._whole.values())
        return gate.share(self.options.false_alarms, scores + self._timed_ones())

    def _moved_or_may(self) -> Collection[CellId]:
        if self._red_at is not None:
            return self._red_at
        return [cell.id for cell in self._planned.values() if Kind.ACCURACY in cell.kinds]

    def _timed_ones(self) -> int:
        """Latency judgements of the whole run: of cells that have a latency baseline of its machine classes."""
        return gate.timed_ones(
            [
                self.baselines[cell.model.name].cell(cell.variant.name)
                for cell in self._whole.values()
                if Kind.LATENCY in cell.kinds
            ],
            [environment.with_threads(self._environment.machine_class, count) for count in self._timing.threads],
        )

    def _holm(self) -> dict[CellId, float]:
        """What p-value each score that chance has moved is red at; waits for all scores of the run."""
        if self._red_at is None:
            cells = [cell for cell in self._planned.values() if Kind.ACCURACY in cell.kinds]
            if self._partial:
                cells = [cell for cell in cells if self._computed(cell)]
            self._wait(cells)
            found = {cell.id: self._score_judgement(cell, self.options.false_alarms).p_value for cell in cells}
            moved = {cell_id: p_value for cell_id, p_value in found.items() if p_value is not None}
            unfinished = len(self._planned) - len(cells) if self._partial else 0
            if self._shard_of is not None:
                self._red_at = dict.fromkeys(moved, self._even().share)
            else:
                self._red_at = gate.holm(moved, self.options.false_alarms, self._timed_ones() + unfinished)
        return self._red_at

    def judge(self, cell_id: CellId, kind: Kind) -> list[Judgement]:
        """The judgements of one kind on one cell; waits for the cell, and is worked out once.

        Raises:
            DiskFull: nothing more can be stored or reported.
        """
        try:
            return self._judged(cell_id, kind)
        except OSError as error:
            if disk_is_full(error):
                raise DiskFull(self._where_full()) from error
            raise

    def _judged(self, cell_id: CellId, kind: Kind) -> list[Judgement]:
        known = self._judgements.setdefault(cell_id, {})
        if kind not in known:
            planned = self._planned[cell_id]
            accepted = self.baselines[planned.model.name].cell(planned.variant.name)
            judged = gate.excused(
                self._subject(planned),
                self._judge(cell_id, kind),
                accepted,
                environment.today(),
                kind is _first(planned.kinds),
            )
            # A control that was brought along is shown, and never called missing.
            expected = self._drift and self._planned[cell_id].selected
            known[kind] = judged if expected else [gate.without_baseline(judgement) for judgement in judged]
            if time.perf_counter() - self._saved > max(_SAVE_SECONDS, _SAVE_REST * self._save_took):
                self._save("running", Exit.GREEN)
        return known[kind]

    def _judge(self, cell_id: CellId, kind: Kind) -> list[Judgement]:
        cell = self._planned[cell_id]
        outcomes = self._outcomes(cell_id)
        baseline = self.baselines[cell.model.name].cell(cell.variant.name)
        failed = next((outcome.failure for outcome in outcomes if outcome.failure), None)
        if failed is not None:
            return [gate.failed(self._subject(cell), kind, failed, baseline)]
        if kind is Kind.ACCURACY:
            return self._judge_accuracy(cell, outcomes)
        if kind is Kind.STRUCTURE:
            censuses = [outcome.contents.census for outcome in outcomes if outcome.contents is not None]
            trained = cell.variant.trained or self.options.train
            return gate.structure(self._subject(cell), censuses, cell.variant.promise, baseline, trained)
        if kind is Kind.SIZE:
            sizes = self._measurements(cell, outcomes)
            return gate.sizes(self._subject(cell), sizes, baseline, outcomes[0].artifact_sha256)
        if kind is Kind.MEMORY:
            return self._judge_memory(cell, outcomes)
        if kind is Kind.GPU:
            return [self._judge_gpu(cell, outcomes)]
        return self._judge_latency(cell, outcomes)

    def _subject(self, cell: Planned) -> gate.Subject:
        run = run_argument(self.folder.path, self.options)
        return gate.Subject(cell.model.name, cell.variant.name, run, self._again())

    def _again(self) -> str:
        return " ".join(given(self.options, "model_dir", "baseline_dir", "train", "seeds", "cell_timeout"))

    def _judge_accuracy(self, cell: Planned, outcomes: list[Outcome]) -> list[Judgement]:
        subject, metric = self._subject(cell), cell.model.metric
        baseline = self.baselines[cell.model.name]
        score = self._measurements(cell, outcomes).get("score")
        scored = self._scored(cell, outcomes)
        judgements = [scored.judge(self._even().share)]
        if judgements[0].p_value is not None:
            judgements = [scored.judge(self._holm()[cell.id])]
        judgements[0] = scored.with_origin(judgements[0])
        found = self._measurements(cell, outcomes)
        if "float_agreement" in found:
            judgements.append(gate.agreement(subject, found["float_agreement"]))
        if "conversion_agreement" in found:
            parting = next((outcome.parting for outcome in outcomes if outcome.parting), "")
            with_control = measured.control_agreement(metric, outcomes[0], self._control_outcome(cell))
            judgements.append(gate.conversion(subject, found["conversion_agreement"], parting, with_control))
        if "reference_agreement" in found:
            accepted = baseline.cell(cell.variant.name)
            judgements.append(gate.reference_kernels(subject, found["reference_agreement"], accepted))
        if cell.variant.control is not None:
            control_id = f"{cell.model.name}/{cell.variant.control}"
            control = self._measurements(self._planned[control_id], self._outcomes(control_id))
            limit = cell.model.floor(cell.variant.name, cell.variant.family)
            against_floor = gate.floor(subject, metric, score, control.get("score"), limit)
            judgements += [against_floor] if against_floor else []
            if "training_steps" in found and "training_steps" in control:
                judgements.append(gate.as_long(subject, found["training_steps"], control["training_steps"]))
        drifted = gate.drift(
            subject,
            metric,
            None if self.options.train else score,
            baseline.cell(cell.variant.name),
            cell.model.floor(cell.variant.name, cell.variant.family),
        )
        return judgements + ([drifted] if drifted else [])

    def _score_judgement(self, cell: Planned, allowed: float) -> Judgement:
        """Drift of a finished cell's score, red at a p-value of ``allowed``."""
        outcomes = [future.result() for future in cell.futures]
        failed = next((outcome.failure for outcome in outcomes if outcome.failure), None)
        if failed is not None:
            accepted = self.baselines[cell.model.name].cell(cell.variant.name)
            return gate.failed(self._subject(cell), Kind.ACCURACY, failed, accepted)
        return self._scored(cell, outcomes).judge(allowed)

    def _scored(self, cell: Planned, outcomes: list[Outcome]) -> Scored:
        assert outcomes[0].predictions is not None
        score = self._measurements(cell, outcomes).get("score")
        return Scored(
            self._subject(cell),
            cell.model,
            self.baselines[cell.model.name],
            gate.Answers(score, outcomes[0].predictions, sum(outcome.nonfinite for outcome in outcomes)),
            seeds=len(cell.seeds) if cell.variant.trained else 0,
            retrained=self.options.train,
            artifact_sha256=outcomes[0].artifact_sha256,
            reference_sha256=_reference_sha256(outcomes[0]),
        )

    def _judge_memory(self, cell: Planned, outcomes: list[Outcome]) -> list[Judgement]:
        self._outcomes(f"{cell.model.name}/{FLOAT_CONTROL}")
        baseline = self.baselines[cell.model.name].cell(cell.variant.name)
        taken = outcomes[0].memory or memory.Memory(failure="no process was started")
        machine = environment.memory_class(self._environment)
        found = self._measurements(cell, outcomes)
        return gate.memory(self._subject(cell), found, taken.failure, taken.no_arena, baseline, machine)

    def _float_memory(self, cell: Planned) -> memory.Memory | None:
        """That of the float control, where it is finished; None of the float control itself."""
        first = self._planned[f"{cell.model.name}/{FLOAT_CONTROL}"].first
        return first.memory if first is not None and cell.variant.name != FLOAT_CONTROL else None

    def _judge_gpu(self, cell: Planned, outcomes: list[Outcome]) -> Judgement:
        device, reason = self._environment.gpu, self._environment.no_gpu
        if device is not None:
            control = self._outcomes(f"{cell.model.name}/{FLOAT_CONTROL}")[0]
            self._quiet()
            with self._alone(cell.id):
                taken = _on_gpu(outcomes[0], control, cell.model, device, self._store)
            self._on_gpu[cell.id], reason = taken, taken.failure or taken.refusal
            if taken.refusal and cell.model.stateful:
                return gate.no_gpu(self._subject(cell), f"LiteRT's GPU accelerator takes no state: {reason}")
        baseline = self.baselines[cell.model.name].cell(cell.variant.name)
        found = self._measurements(cell, outcomes)
        return gate.gpu(self._subject(cell), found, device, reason, baseline, devices.required())

    @contextmanager
    def _alone(self, cell_id: CellId) -> Iterator[None]:
        """Count the time in which nothing but this cell is measured."""
        start = time.perf_counter()
        try:
            with self._store.temporary_files():
                yield
        finally:
            before = self._alone_seconds.get(cell_id, 0.0)
            self._alone_seconds[cell_id] = before + time.perf_counter() - start

    def _judge_latency(self, cell: Planned, outcomes: list[Outcome]) -> list[Judgement]:
        self._quiet()
        self._show_timing()
        self._holm()  # latency shares the budget with the scores that chance has moved, and now all of them are known
        subject = self._subject(cell)
        name = "control_to_yardstick" if cell.variant.name == FLOAT_CONTROL else "latency_ratio"
        control = self._outcomes(f"{cell.model.name}/{FLOAT_CONTROL}")[0].artifact
        artifact = outcomes[0].artifact
        assert artifact is not None
        if control is None:
            return [gate.not_timed(subject, name, "its float control could not be made")]
        judgements: list[Judgement] = []
        with self._alone(cell.id), native_output_to(self._logs / "timing.log"):
            for threads in self._timing.threads:
                try:
                    judgements += self._judge_threads(cell, artifact, control, threads)
                except latency.LatencyFailed as error:
                    judgements.append(gate.not_timed(subject, environment.name_at(name, threads), str(error)))
            self._timing.besides(cell.id, cell.model, artifact)
        return judgements

    def _show_timing(self) -> None:
        """How far the timing is, and how long the rest takes if it goes on like that."""
        cells = [cell.id for cell in self._planned.values() if Kind.LATENCY in cell.kinds]
        done = sum(Kind.LATENCY in self._judgements.get(cell_id, {}) for cell_id in cells)
        now = time.perf_counter()
        self._timing_since = self._timing_since or now
        rest = (now - self._timing_since) / done * (len(cells) - done) if done else None
        self.progress.show(Counts("timed", done, len(cells), 1, 0, rest))

    def _judge_threads(self, cell: Planned, artifact: Path, control: Path, threads: int) -> list[Judgement]:
        """Latency with so many threads, by the baselines of the machine class of so many."""
        subject = self._subject(cell)
        baseline = self.baselines[cell.model.name].cell(cell.variant.name)
        machine = environment.with_threads(self._environment.machine_class, threads)
        known = baseline.latency.get(machine) if baseline else None
        name = "control_to_yardstick" if cell.variant.name == FLOAT_CONTROL else "latency_ratio"
        found = self._timing.once(cell.id, cell.model, artifact, control, threads)
        one = gate.threads(subject, threads, found["threads_at_work"])
        if one is not None and self._timing.splits(threads, self._other_controls(cell.model)):
            one = None
        if one is not None and self._shard_of is None:
            return [one]
        again = None
        if known is not None and gate.suspicious(found[name], known, threads):
            self.say(f"{cell.id}: slower than its baseline; measuring it once more")
            again = self._timing.once(cell.id, cell.model, artifact, control, threads)[name]
        share, label = self.false_alarms().share, environment.name_at(name, threads)
        judged = gate.latency(subject, label, found[name], baseline, machine, share, again, threads)
        # Another shard may hold the model that the runtime does split, so that this error goes when they are merged.
        return [one, judged] if one is not None else [judged]

    def _other_controls(self, model: ReferenceModel) -> Iterator[tuple[ReferenceModel, Path]]:
        """The float controls of this run's other models."""
        for cell in self._planned.values():
            first = cell.first
            if cell.variant.name == FLOAT_CONTROL and cell.model is not model and first and first.artifact:
                yield cell.model, first.artifact

    def latency_blocks(self, cell_id: CellId) -> list[float]:
        """Timed blocks of a cell, seconds a call, for pytest-benchmark; empty where it was not timed."""
        return self._timing.blocks(cell_id)

    def _quiet(self) -> None:
        """Nothing else of ours runs while something is timed."""
        if self._computing is not None:
            self._computing.finish()

    def _measurements(self, cell: Planned, outcomes: list[Outcome]) -> dict[str, Measurement]:
        """Everything known of a cell so far."""
        found = measured.scores(cell.model, cell.variant.trained, outcomes)
        good = [outcome for outcome in outcomes if outcome.failure is None]
        if good:
            # Asked for at every judgement and every save, over all examples, and the same once all is finished.
            behaves = self._behaviours.get(cell.id) or measured.behaviour(
                cell.model.metric, good, self._control_outcome(cell)
            )
            if len(good) == len(cell.seeds) and self._computed(cell):
                self._behaviours[cell.id] = behaves
            found |= behaves | measured.sizes(good[0])
            if good[0].memory is not None:
                found |= measured.memory(good[0].memory, self._float_memory(cell))
            found |= measured.steps(good) if cell.variant.trained else {}
        if cell.id in self._on_gpu and good:
            found |= measured.gpu(cell.model.metric, self._on_gpu[cell.id], good[0])
        return found | self._timing.measurements(cell.id)

    def _control_outcome(self, cell: Planned) -> Outcome | None:
        """The first seed of the cell's control, where it is finished."""
        if cell.variant.control is None:
            return None
        control = self._planned[f"{cell.model.name}/{cell.variant.control}"]
        return control.first

    def _evidence(self) -> dict[str, dict[str, Evidence]]:
        """What lies behind the numbers, by model and variant."""
        found: dict[str, dict[str, Evidence]] = {}
        for cell in self._planned.values():
            outcome = cell.first
            if outcome is None or outcome.contents is None or outcome.predictions is None:
                continue
            control = self._control_outcome(cell)
            others = None if control is None else control.predictions
            found.setdefault(cell.model.name, {})[cell.variant.name] = Evidence(
                flipped=[] if others is None else behaviour.flipped(cell.model.metric, outcome.predictions, others),
                ranges=outcome.contents.ranges,
                range_method=cell.variant.taxonomy.range,
            )
        return found

    # ------------------------------------------------------------ the report

    def finish(
        self, interrupted: bool, notes: list[str] | None = None, cut_short: bool = False, disk_full: bool = False
    ) -> Exit:
        """Write the last report, point ``latest`` at it, keep the store within bounds, and return the exit status.

        A run that did not get to its end still judges what was computed: a regression seen is a regression reported.

        Args:
            interrupted: by the user.
            cut_short: by pytest's own -x or --maxfail; partial too, and its status is that of what was judged.
            disk_full: nothing more can be written but what was set aside for.
        """
        with undisturbed():
            try:
                if not disk_full:
                    return self._finished(interrupted, notes or [], cut_short)
            except (OSError, DiskFull) as error:
                if not disk_is_full(error):
                    raise
            return self._finished_on_full_disk(notes or [])

    def _finished_on_full_disk(self, notes: list[str]) -> Exit:
        self.folder.give_back_reserve()
        status = Exit.DISK_FULL
        try:
            status = self._finished(True, [*notes, self._where_full()], False, Exit.DISK_FULL)
        except OSError as error:
            self.say(f"the report of what was finished could not be written either: {error}")
        return status

    def _where_full(self) -> str:
        assert self._computing is not None
        return self._computing.where_full()

    def _finished(self, interrupted: bool, notes: list[str], cut_short: bool, stopped: Exit = Exit.INTERRUPTED) -> Exit:
        assert self._computing is not None
        partial = self._partial = self._computing.partial = interrupted or cut_short
        if not partial:
            self._account_for_everything()
        if partial:
            for cell in self._planned.values():
                if self._computed(cell):
                    for kind in cell.kinds - ALONE:
                        self.judge(cell.id, kind)
        if partial:
            self._computing.stop()
        self._quiet()
        if self._cluster is not None:
            self._cluster.close()
        self.progress.close()
        self._red_at = self._red_at or {}  # the first judgement that chance has moved would have filled it
        status = gate.exit_status([cell.verdict for cell in self._cells()], interrupted)
        status = stopped if status is Exit.INTERRUPTED else status
        notes = notes + self._training_notes() + self._store_notes() + self._timing.notes()
        notes += [self._cluster.note()] if self._cluster else []
        notes += [f"{cell.id}: {reason}" for cell in self._planned.values() for reason in _retried(cell)]
        self._save("interrupted" if partial else "complete", status, notes)
        if self.options.update_baselines and not partial:
            status = self._update_baselines(status)
        models = {cell.model.name: cell.model for cell in self._planned.values()}
        self.folder.finish(self.report, self._evidence(), models)
        self._tidy()
        return status

    def _tidy(self) -> None:
        """What nobody needs any more goes: the reserve, this run's scratch, and of the store what is too much."""
        self.folder.give_back_reserve()
        self._store.release()
        if self.options.no_cache:
            self.folder.remove_store()
            return
        cleared = clear(self._store, self.options.cache_size * GB)
        if cleared:
            self.say(f"store {self._store.root}: {cleared}")

    def _account_for_everything(self) -> None:
        """In a whole run, what was asked for and never judged (its test failed before) is an error, not an absence."""
        for cell in self._planned.values():
            known = self._judgements.setdefault(cell.id, {})
            for kind in cell.kinds - set(known):
                known[kind] = [gate.never_judged(self._subject(cell), kind)]

    def _store_notes(self) -> list[str]:
        """What of the store was found damaged since this run began."""
        new = self._store.damaged()[self._damaged_before :]
        told = [self._store_note] if self._store_note else []
        if not new:
            return told
        return [*told, f"{len(new)} damaged entries of the store were removed and made again, first {new[0]}"]

    def _training_notes(self) -> list[str]:
        """How far from the pinned weights each model trained again has landed."""
        notes = []
        for cell in self._planned.values():
            known = [future.result() for future in cell.futures if future.done()]
            score = self._measurements(cell, known).get("score") if known else None
            if self.options.train and cell.variant.name == FLOAT_CONTROL and score is not None:
                spread = cell.model.metric.scale * float(np.std(cell.model.seed_scores, ddof=1))
                pinned = cell.model.seed_scores[0]
                away = cell.model.metric.drop(pinned, score.value) / spread
                shown = gate.show_score(cell.model.metric, score.value)
                notes.append(
                    f"{cell.model.name} trained again: {cell.model.metric.name} {shown}, {away:+.1f} seed standard "
                    f"deviations from the pinned weights' {gate.show_score(cell.model.metric, pinned)}"
                )
        return notes

    def _computed(self, cell: Planned) -> bool:
        return all(self._planned[name].finished for name in (cell.id, *cell.needs))

    def _update_baselines(self, status: Exit) -> Exit:
        """Accept this run's values; the run still ends as it was judged against the old ones."""
        reason, folder = self.options.update_baselines, self.folder.path
        names = sorted({cell.model.name for cell in self._planned.values()})
        try:
            acceptance.check_report(self.report, folder)
            proposals = [acceptance.propose(self.report, folder, n, self._load_baseline(n), reason) for n in names]
            for proposal in proposals:
                baselines.save(self.options.baseline_dir, proposal.file, proposal.predictions)
        except BadInput as error:
            self._save("complete", status, [f"baselines not updated: {error}"])
            return status or Exit.BAD_INPUT
        moved = sum(move.moves for proposal in proposals for move in proposal.moves)
        notes = [f"{moved} baseline values accepted into {self.options.baseline_dir}; run again to be judged by them"]
        notes += [f"declared: {cell}: {why}" for proposal in proposals for cell, why in proposal.declared.items()]
        self._save("complete", status, notes)
        return status

    def _save(self, state: str, status: Exit, notes: list[str] | None = None) -> None:
        begin = time.perf_counter()
        cells = self._cells()
        self.report = Report.model_validate(
            {
                "run": self.folder.path.name,
                "started": self._started,
                "seconds": time.perf_counter() - self._start,
                "state": state,
                "exit_status": int(status),
                "selection": self.selection,
                "trained_from_scratch": self.options.train,
                "environment": self._environment.model_copy(update={"load": self._timing.load()}),
                "false_alarms": self.false_alarms(),
                "data_sha256": {cell.model.name: cell.model.data_sha256 for cell in self._planned.values()},
                "notes": notes or [],
                "shard": self._shard(),
                "cells": cells,
            }
        )
        self.folder.write(self.report, self._predictions())
        self._saved = time.perf_counter()
        self._save_took = self._saved - begin

    def _shard(self) -> Shard | None:
        if self._shard_of is None:
            return None
        index, of = self._shard_of
        options = {name: str(getattr(self.options, name)) for name in shards.SAME_IN_ALL}
        models = sorted({cell.model.name for cell in self._whole.values()})
        judged_by = {name: baselines.fingerprint(self.options.baseline_dir, name) for name in models}
        folder = shlex.quote(str(self.folder.path))
        return Shard(
            index=index,
            of=of,
            split=self._split,
            options=options,
            baselines=judged_by,
            folder=folder,
            again=self._again(),
        )

    def _predictions(self) -> dict[str, dict[str, Array]]:
        by_model: dict[str, dict[str, Array]] = {}
        for cell in self._planned.values():
            if cell.first is not None and cell.first.predictions is not None:
                by_model.setdefault(cell.model.name, {})[cell.variant.name] = cell.first.predictions
        return by_model

    def _cells(self) -> list[Cell]:
        return [self._cell(cell) for cell in self._planned.values()]

    def _cell(self, cell: Planned) -> Cell:
        outcomes = [future.result() for future in cell.futures if future.done()]
        known = self._judgements.get(cell.id, {})
        judgements = [judgement for kind in Kind for judgement in known.get(kind, [])]
        finished = cell.finished
        baseline, found = self.baselines[cell.model.name], self._measurements(cell, outcomes) if finished else {}
        return Cell(
            id=cell.id,
            model=cell.model.name,
            variant=cell.variant.name,
            family=cell.variant.family,
            control=cell.variant.control,
            metric=cell.model.metric.name,
            metric_unit=cell.model.metric.unit,
            higher_is_better=cell.model.metric.higher_is_better,
            metric_scale=cell.model.metric.scale,
            seeds=cell.seeds if cell.variant.trained else [],
            verdict=worst([judgement.verdict for judgement in judgements]),
            verdicts={kind: worst([j.verdict for j in found]) for kind, found in known.items()},
            selected=cell.selected,
            cached=finished and all(outcome.cached for outcome in outcomes),
            seconds=sum(outcome.seconds for outcome in outcomes),
            alone_seconds=self._alone_seconds.get(cell.id),
            artifact_sha256=outcomes[0].artifact_sha256 if outcomes else None,
            predictions_sha256=_sha256(outcomes[0].predictions) if outcomes else None,
            measurements=found,
            judgements=judgements,
            census=outcomes[0].contents.census if outcomes and outcomes[0].contents else None,
            reference_sha256=_reference_sha256(outcomes[0]) if outcomes else None,
            failure=next((outcome.failure for outcome in outcomes if outcome.failure), None),
            overlay=baseline.overlay.get(cell.variant.name),
            exceptions=baseline.exceptions.get(cell.variant.name, []),
            gpu_left=self._on_gpu[cell.id].left_why if cell.id in self._on_gpu else [],
            drift=gate.drift_of(cell.model.metric, found, baseline.cell(cell.variant.name)),
            untimed=self._timing.untimed.get(cell.id, {}),
            retried=_retried(cell),
        )

    def unjudged_controls(self) -> list[tuple[CellId, Kind]]:
        """What a selection brought along and no test asks for; judged too, so that a sick control is seen."""
        return [(cell.id, kind) for cell in self._planned.values() if not cell.selected for kind in cell.kinds]


def _first(kinds: set[Kind]) -> Kind:
    return next(kind for kind in Kind if kind in kinds)


def _on_gpu(outcome: Outcome, control: Outcome, model: ReferenceModel, device: Device, store: Store) -> gpu.OnGpu:
    if control.artifact is None or outcome.artifact is None:
        return gpu.OnGpu(failure="its float control could not be made")
    artifacts = [gpu.Artifact(one.artifact, one.artifact_sha256 or "") for one in (outcome, control) if one.artifact]
    return gpu.through_store(artifacts[0], artifacts[1], model, device, store)


def _sha256(predictions: Array | None) -> str | None:
    return None if predictions is None else hashlib.sha256(np.ascontiguousarray(predictions).tobytes()).hexdigest()


def _reference_sha256(outcome: Outcome) -> str | None:
    return _sha256(outcome.others.get("litert-reference"))


def _retried(cell: Planned) -> list[str]:
    """Why it was computed again, one sentence each time; empty for nearly every cell."""
    return [reason for future in cell.futures if future.done() for reason in future.result().retried]
