"""One run: which cells, computed where, judged how, written to which folder.

The pytest side asks for a cell's judgements and waits; everything else happens here.
"""

import datetime
import hashlib
import math
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench import acceptance, baselines, devices, environment, gate, measured
from bench.clearing import GB, clear
from bench.datasets import Array
from bench.errors import BadInput, DiskFull, Exit, NothingSelected, disk_is_full
from bench.executor import Executor, LocalExecutor
from bench.interruption import undisturbed
from bench.measure import behaviour, gpu, latency, memory
from bench.options import RunOptions, check_cache_size, flag
from bench.records import Cell, Device, Evidence, FalseAlarms, Judgement, Kind, Measurement, Report, Verdict, worst
from bench.reference import ReferenceModel, load_models, pick
from bench.report.folder import RunFolder
from bench.standing import Standing, standing
from bench.store import Store, default_root
from bench.timing import Timing
from bench.variants import FLOAT_CONTROL, VARIANTS, Variant
from bench.work import NOT_BEGUN, Outcome, Task, failure, from_store

CellId = str
_TICK_SECONDS = 0.2
_SAVE_SECONDS = 1.0
# Measured when nothing else of ours runs, and not begun in a run that was stopped.
ALONE = frozenset({Kind.GPU, Kind.LATENCY})


@dataclass
class _Planned:
    """A cell of this run: what is asked of it, and what came of it."""

    model: ReferenceModel
    variant: Variant
    kinds: set[Kind]
    selected: bool
    seeds: list[int]
    futures: list["Future[Outcome]"] = field(default_factory=list)
    announced: bool = False

    @property
    def id(self) -> CellId:
        return f"{self.model.name}/{self.variant.name}"


class Session:
    """A run of the matrix.

    Args:
        options: see :class:`RunOptions`.
        say: takes one line of progress.
        models: models to try once, in place of those of ``options.model_dir``; they have no baselines, so that only
            their floors are judged.

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
        self.say = say
        self._drift = models is None
        self.models = load_models(options.model_dir) if models is None else models
        self.model_names = pick(options.models, self.models, "--models")
        self.variant_names = pick(options.variants, VARIANTS, "--variants")
        _check_numbers(options)
        for name in self.model_names:
            if options.train and len(self.models[name].seed_scores) < 2:
                file = self.models[name].file
                raise BadInput(f"{file}: seed_scores: --train needs scores of at least 2 seeds to judge by")
            self.models[name].pack()
            self.models[name].check_weights()
        self._environment = environment.collect()
        self.baselines = {name: self._standing(name) for name in self.model_names}
        self._planned: dict[CellId, _Planned] = {}
        self._executor: Executor | None = None
        self._judgements: dict[CellId, dict[Kind, list[Judgement]]] = {}
        self._timing = Timing(options, say)
        self._on_gpu: dict[CellId, gpu.OnGpu] = {}
        self._behaviours: dict[CellId, dict[str, Measurement]] = {}
        self._red_at: dict[CellId, float] | None = None
        self._partial = False
        self._start = self._saved = time.perf_counter()
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

    def plan(self, wanted: dict[CellId, set[Kind]]) -> None:
        """Fix the cells of this run, with the controls that they need, and start computing.

        Raises:
            NothingSelected: no cell is wanted.
            BadInput: the report folder cannot be written.
            DiskFull: there is no room for a report.
        """
        if not wanted:
            raise NothingSelected("the selection leaves no cell")
        self._choose(wanted)
        try:
            with undisturbed(then_stop=True):
                self.folder = RunFolder.create(self.options.report_dir)
                self._open_store()
            self._submit()
        except (KeyboardInterrupt, DiskFull):
            self._abandon()
            raise

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

    def _choose(self, wanted: dict[CellId, set[Kind]]) -> None:
        for cell_id, kinds in wanted.items():
            self._add(cell_id, kinds, selected=True)
        for planned in list(self._planned.values()):
            for control in _controls(planned.variant) - {planned.variant.name}:
                cell_id = f"{planned.model.name}/{control}"
                if cell_id not in self._planned:
                    self._add(cell_id, planned.kinds - ALONE, selected=False)
        if any(Kind.GPU in kinds for kinds in wanted.values()):
            self.look_for_gpu()
        order = {name: i for i, name in enumerate(VARIANTS)}
        by_name = sorted(self._planned.values(), key=lambda cell: (cell.model.name, order[cell.variant.name]))
        self._planned = {cell.id: cell for cell in by_name}

    def _abandon(self) -> None:
        """Give each cell that was not begun an outcome that says so: a run stopped so early has a report too."""
        for cell in self._planned.values():
            for seed in cell.seeds[len(cell.futures) :]:
                future: Future[Outcome] = Future()
                future.set_result(Outcome(seed, failure=failure("error", NOT_BEGUN, Path())))
                cell.futures.append(future)

    def look_for_gpu(self) -> devices.Found:
        """The GPUs of this machine; the report's environment names the one that is measured, or says why none is."""
        found = devices.find()
        self._environment = self._environment.model_copy(update={"gpu": found.first, "no_gpu": found.reason})
        return found

    @property
    def planned(self) -> bool:
        """Whether there is anything to run and report, and where to."""
        return bool(self._planned) and hasattr(self, "folder") and self.folder.path.exists()

    def _add(self, cell_id: CellId, kinds: set[Kind], selected: bool) -> None:
        model, variant = cell_id.split("/")
        seeds = list(range(self.options.seeds)) if VARIANTS[variant].trained else [0]
        self._planned[cell_id] = _Planned(self.models[model], VARIANTS[variant], set(kinds), selected, seeds)

    def _submit(self) -> None:
        tasks = [(cell, self._task(cell, seed)) for cell in self._planned.values() for seed in cell.seeds]
        # What trains takes longest, so it starts first and the short cells fill the gaps.
        for cell, task in sorted(tasks, key=lambda pair: not pair[0].variant.trained):
            found = from_store(task)
            if found is not None:
                future: Future[Outcome] = Future()
                future.set_result(found)
            else:
                if self._executor is None:
                    self._executor = LocalExecutor(self.options.workers or None)
                future = self._executor.submit(task, self.options.cell_timeout)
            cell.futures.append(future)

    def _task(self, cell: _Planned, seed: int) -> Task:
        name = f"{cell.model.name}.{cell.variant.name}.{seed}.log"
        train_seed = 0 if self.options.train else None
        log = self.folder.path.absolute() / "logs" / name
        return Task(
            cell.model.file, cell.model.name, cell.variant.name, seed, train_seed, self._store.root.absolute(), log
        )

    # ------------------------------------------------------------ results

    def _wait(self, cells: list[_Planned]) -> None:
        waiting = [future for cell in cells for future in cell.futures]
        while True:
            self._announce()
            self._check_disk()
            unfinished = [future for future in waiting if not future.done()]
            if not unfinished:
                return
            try:
                unfinished[0].result(timeout=_TICK_SECONDS)
            except FutureTimeout:
                continue

    def _check_disk(self) -> None:
        """Stop a run that has met a full disk; what is judged of it afterwards is what was finished."""
        if self._partial:
            return
        futures = (future for cell in self._planned.values() for future in cell.futures)
        if any(future.done() and future.result().disk_full for future in futures):
            raise DiskFull(self._where_full())

    def _where_full(self) -> str:
        """What to do, with the folder that is shortest of space."""
        folders = (self._store.root, self.folder.path, Path(tempfile.gettempdir()))
        free = {folder: shutil.disk_usage(folder).free for folder in folders if folder.exists()}
        folder = min(free, key=lambda one: free[one])
        return f"no space is left in {folder}; free some and run again: what was finished is taken from the store"

    def _announce(self) -> None:
        done = [cell for cell in self._planned.values() if all(future.done() for future in cell.futures)]
        for cell in done:
            if cell.announced:
                continue
            cell.announced = True
            outcomes = [future.result() for future in cell.futures]
            how = "from the store" if all(outcome.cached for outcome in outcomes) else f"{_seconds(outcomes):.1f} s"
            failure = next((outcome.failure for outcome in outcomes if outcome.failure), None)
            ended = f" {failure.what}: {failure.reason[:120]}" if failure else ""
            self.say(
                f"[{sum(c.announced for c in self._planned.values())}/{len(self._planned)}] {cell.id} {how}{ended}"
            )

    def _outcomes(self, cell_id: CellId) -> list[Outcome]:
        cell = self._planned[cell_id]
        self._wait([cell])
        return [future.result() for future in cell.futures]

    def false_alarms(self) -> FalseAlarms:
        """The budget, and how many judgements share it: those that chance has moved; until all are known, may move."""
        return gate.share(self.options.false_alarms, len(self._moved_or_may()) + self._timed_ones())

    def _even_share(self) -> float:
        """What every judgement could count on if chance had moved them all."""
        scores = sum(Kind.ACCURACY in cell.kinds for cell in self._planned.values())
        return gate.share(self.options.false_alarms, scores + self._timed_ones()).share

    def _moved_or_may(self) -> Collection[CellId]:
        if self._red_at is not None:
            return self._red_at
        return [cell.id for cell in self._planned.values() if Kind.ACCURACY in cell.kinds]

    def _timed_ones(self) -> int:
        """Latency judgements of this run: of cells that have a latency baseline of its machine classes."""
        here = self._environment.machine_class
        machines = [environment.with_threads(here, threads) for threads in self._timing.threads]
        accepted = [
            self.baselines[cell.model.name].cell(cell.variant.name)
            for cell in self._planned.values()
            if Kind.LATENCY in cell.kinds
        ]
        return sum(machine in known.latency for known in accepted if known is not None for machine in machines)

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
            if time.perf_counter() - self._saved > _SAVE_SECONDS:
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

    def _subject(self, cell: _Planned) -> gate.Subject:
        return gate.Subject(cell.model.name, cell.variant.name, self._run_argument())

    def _run_argument(self) -> str:
        """This run as the commands of a report name it, with the folders that it took from the user."""
        usual = RunOptions()
        given = [name for name in ("model_dir", "baseline_dir") if getattr(self.options, name) != getattr(usual, name)]
        folders = [f"{flag(name)} {shlex.quote(str(getattr(self.options, name)))}" for name in given]
        return " ".join([shlex.quote(str(self.folder.path)), *folders])

    def _judge_accuracy(self, cell: _Planned, outcomes: list[Outcome]) -> list[Judgement]:
        subject, metric = self._subject(cell), cell.model.metric
        baseline = self.baselines[cell.model.name]
        score = self._measurements(cell, outcomes).get("score")
        judgements = [self._score_judgement(cell, self._even_share())]
        if judgements[0].p_value is not None:
            judgements = [self._score_judgement(cell, self._holm()[cell.id])]
        if judgements[0].verdict in (Verdict.REGRESSED, Verdict.WARN, Verdict.IMPROVED):
            accepted = baseline.cell(cell.variant.name)
            why = gate.origin(accepted, outcomes[0].artifact_sha256, _reference_sha256(outcomes[0]))
            message = f"{judgements[0].message}; {why}" if why else judgements[0].message
            judgements[0] = judgements[0].model_copy(update={"message": message})
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

    def _score_judgement(self, cell: _Planned, allowed: float) -> Judgement:
        """Drift of a finished cell's score, red at a p-value of ``allowed``."""
        outcomes = [future.result() for future in cell.futures]
        baseline = self.baselines[cell.model.name]
        accepted = baseline.cell(cell.variant.name)
        failed = next((outcome.failure for outcome in outcomes if outcome.failure), None)
        if failed is not None:
            return gate.failed(self._subject(cell), Kind.ACCURACY, failed, accepted)
        assert outcomes[0].predictions is not None
        score = self._measurements(cell, outcomes).get("score")
        answers = gate.Answers(score, outcomes[0].predictions, sum(outcome.nonfinite for outcome in outcomes))
        return gate.accuracy(
            self._subject(cell),
            cell.model.metric,
            answers,
            cell.model.pack().test.y,
            accepted,
            baseline.predictions.get(cell.variant.name),
            allowed,
            cell.variant.trained,
            self._repeats(cell),
        )

    def _repeats(self, cell: _Planned) -> gate.Repeats | None:
        """What is known of how far one more training may land; None where nothing trains."""
        if self.options.train:
            return gate.repeats(cell.model.metric, [cell.model.seed_scores], 1, 1, "the float model was trained again")
        accepted = self.baselines[cell.model.name].cell(cell.variant.name)
        if not cell.variant.trained or accepted is None or "score" not in accepted.measurements:
            return None
        old = len(accepted.measurements["score"].values or [0])
        samples = self.baselines[cell.model.name].seed_scores()
        return gate.repeats(cell.model.metric, samples, old, len(cell.seeds), "it trained")

    def _judge_memory(self, cell: _Planned, outcomes: list[Outcome]) -> list[Judgement]:
        self._outcomes(f"{cell.model.name}/{FLOAT_CONTROL}")
        baseline = self.baselines[cell.model.name].cell(cell.variant.name)
        taken = outcomes[0].memory or memory.Memory(failure="no process was started")
        machine = environment.memory_class(self._environment)
        found = self._measurements(cell, outcomes)
        return gate.memory(self._subject(cell), found, taken.failure, taken.no_arena, baseline, machine)

    def _float_memory(self, cell: _Planned) -> memory.Memory | None:
        """That of the float control, where it is finished; None of the float control itself."""
        first = self._planned[f"{cell.model.name}/{FLOAT_CONTROL}"].futures[0]
        return first.result().memory if first.done() and cell.variant.name != FLOAT_CONTROL else None

    def _judge_gpu(self, cell: _Planned, outcomes: list[Outcome]) -> Judgement:
        device, reason = self._environment.gpu, self._environment.no_gpu
        if device is not None:
            control = self._outcomes(f"{cell.model.name}/{FLOAT_CONTROL}")[0]
            self._quiet()
            taken = _on_gpu(outcomes[0], control, cell.model, device, self._store)
            self._on_gpu[cell.id], reason = taken, taken.failure or taken.refusal
            if taken.refusal and cell.model.stateful:
                return gate.no_gpu(self._subject(cell), f"LiteRT's GPU accelerator takes no state: {reason}")
        baseline = self.baselines[cell.model.name].cell(cell.variant.name)
        found = self._measurements(cell, outcomes)
        return gate.gpu(self._subject(cell), found, device, reason, baseline, devices.required())

    def _judge_latency(self, cell: _Planned, outcomes: list[Outcome]) -> list[Judgement]:
        self._quiet()
        subject = self._subject(cell)
        name = "control_to_yardstick" if cell.variant.name == FLOAT_CONTROL else "latency_ratio"
        control = self._outcomes(f"{cell.model.name}/{FLOAT_CONTROL}")[0].artifact
        artifact = outcomes[0].artifact
        assert artifact is not None
        if control is None:
            return [gate.not_timed(subject, name, "its float control could not be made")]
        judgements: list[Judgement] = []
        for threads in self._timing.threads:
            try:
                judgements += self._judge_threads(cell, artifact, control, threads)
            except latency.LatencyFailed as error:
                judgements.append(gate.not_timed(subject, environment.name_at(name, threads), str(error)))
        self._timing.besides(cell.id, cell.model, artifact)
        return judgements

    def _judge_threads(self, cell: _Planned, artifact: Path, control: Path, threads: int) -> list[Judgement]:
        """Latency with so many threads, by the baselines of the machine class of so many."""
        subject = self._subject(cell)
        baseline = self.baselines[cell.model.name].cell(cell.variant.name)
        machine = environment.with_threads(self._environment.machine_class, threads)
        known = baseline.latency.get(machine) if baseline else None
        name = "control_to_yardstick" if cell.variant.name == FLOAT_CONTROL else "latency_ratio"
        found = self._timing.once(cell.id, cell.model, artifact, control, threads)
        one = gate.threads(subject, threads, found["threads_at_work"])
        if one is not None and not self._timing.splits(threads, self._other_controls(cell.model)):
            return [one]
        again = None
        if known is not None and gate.suspicious(found[name], known, threads):
            self.say(f"{cell.id}: slower than its baseline; measuring it once more")
            again = self._timing.once(cell.id, cell.model, artifact, control, threads)[name]
        share, label = self.false_alarms().share, environment.name_at(name, threads)
        return [gate.latency(subject, label, found[name], baseline, machine, share, again, threads)]

    def _other_controls(self, model: ReferenceModel) -> Iterator[tuple[ReferenceModel, Path]]:
        """The float controls of this run's other models."""
        for cell in self._planned.values():
            if cell.variant.name == FLOAT_CONTROL and cell.model is not model:
                artifact = cell.futures[0].result().artifact
                if artifact is not None:
                    yield cell.model, artifact

    def latency_blocks(self, cell_id: CellId) -> list[float]:
        """Timed blocks of a cell, seconds a call, for pytest-benchmark; empty where it was not timed."""
        return self._timing.blocks(cell_id)

    def _quiet(self) -> None:
        """Nothing else of ours runs while something is timed."""
        if self._executor is not None:
            self._wait(list(self._planned.values()))
            self._executor.close()
            self._executor = None

    def _measurements(self, cell: _Planned, outcomes: list[Outcome]) -> dict[str, Measurement]:
        """Everything known of a cell so far."""
        found = measured.scores(cell.model, cell.variant.trained, outcomes)
        good = [outcome for outcome in outcomes if outcome.failure is None]
        if good:
            # Asked for at every judgement and every save, over all examples, and the same once all is finished.
            behaves = self._behaviours.get(cell.id) or measured.behaviour(
                cell.model.metric, good, self._control_outcome(cell)
            )
            if len(good) == len(cell.futures) and self._computed(cell):
                self._behaviours[cell.id] = behaves
            found |= behaves | measured.sizes(good[0])
            if good[0].memory is not None:
                found |= measured.memory(good[0].memory, self._float_memory(cell))
            found |= measured.steps(good) if cell.variant.trained else {}
        if cell.id in self._on_gpu and good:
            found |= measured.gpu(cell.model.metric, self._on_gpu[cell.id], good[0])
        return found | self._timing.measurements(cell.id)

    def _control_outcome(self, cell: _Planned) -> Outcome | None:
        """The first seed of the cell's control, where it is finished."""
        if cell.variant.control is None:
            return None
        control = self._planned[f"{cell.model.name}/{cell.variant.control}"]
        return control.futures[0].result() if control.futures and control.futures[0].done() else None

    def _evidence(self) -> dict[str, dict[str, Evidence]]:
        """What lies behind the numbers, by model and variant."""
        found: dict[str, dict[str, Evidence]] = {}
        for cell in self._planned.values():
            outcome = cell.futures[0].result() if cell.futures[0].done() else None
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

    def _finished(self, interrupted: bool, notes: list[str], cut_short: bool, stopped: Exit = Exit.INTERRUPTED) -> Exit:
        partial = self._partial = interrupted or cut_short
        if not partial:
            self._account_for_everything()
        if partial:
            for cell in self._planned.values():
                if self._computed(cell):
                    for kind in cell.kinds - ALONE:
                        self.judge(cell.id, kind)
        if partial and self._executor is not None:
            self._executor.stop()
            self._executor = None
        self._quiet()
        self._red_at = self._red_at or {}  # the first judgement that chance has moved would have filled it
        status = gate.exit_status([cell.verdict for cell in self._cells()], interrupted)
        status = stopped if status is Exit.INTERRUPTED else status
        notes = notes + self._training_notes() + self._store_notes() + self._timing.notes()
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

    def _computed(self, cell: _Planned) -> bool:
        controls = [self._planned[f"{cell.model.name}/{name}"] for name in _controls(cell.variant)]
        return all(future.done() and future.result().begun for one in (cell, *controls) for future in one.futures)

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
                "cells": cells,
            }
        )
        self.folder.write(self.report, self._predictions())
        self._saved = time.perf_counter()

    def _predictions(self) -> dict[str, dict[str, Array]]:
        by_model: dict[str, dict[str, Array]] = {}
        for cell in self._planned.values():
            first = cell.futures[0]
            if first.done() and first.result().predictions is not None:
                by_model.setdefault(cell.model.name, {})[cell.variant.name] = first.result().predictions  # type: ignore[assignment]
        return by_model

    def _cells(self) -> list[Cell]:
        return [self._cell(cell) for cell in self._planned.values()]

    def _cell(self, cell: _Planned) -> Cell:
        outcomes = [future.result() for future in cell.futures if future.done()]
        known = self._judgements.get(cell.id, {})
        judgements = [judgement for kind in Kind for judgement in known.get(kind, [])]
        finished = len(outcomes) == len(cell.futures)
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
            seconds=_seconds(outcomes),
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


def _seconds(outcomes: list[Outcome]) -> float:
    return sum(outcome.seconds for outcome in outcomes)


def _controls(variant: Variant) -> set[str]:
    """What a variant is compared with, what that is compared with, and so on; the float control always."""
    if variant.control is None:
        return {FLOAT_CONTROL}
    return {variant.control} | _controls(VARIANTS[variant.control])


def _check_numbers(options: RunOptions) -> None:
    check_cache_size(options.cache_size)
    limits = {"seeds": 1, "workers": 0}
    for name, least in limits.items():
        if getattr(options, name) < least:
            raise BadInput(f"--{name}: expected a whole number of at least {least}, found {getattr(options, name)}")
    for name in ("latency_budget", "cell_timeout", "false_alarms"):
        if not 0 < getattr(options, name) < math.inf:
            finite = " that is finite" if getattr(options, name) == math.inf else ""
            raise BadInput(f"{flag(name)}: expected a number above 0{finite}, found {getattr(options, name)}")
    if options.false_alarms >= 1:
        raise BadInput(f"--false-alarms: expected a probability below 1, found {options.false_alarms}")
