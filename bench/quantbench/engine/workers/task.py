"""Compute one cell with one seed in a worker process: build, evaluate, weigh. Nothing here judges."""

import json
import time
import traceback
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from quantbench.build import artifact as build
from quantbench.build import elsewhere, preflight, refusals
from quantbench.build.store import Store, digest
from quantbench.core import counters
from quantbench.core.arrays import Array
from quantbench.core.output import output_to
from quantbench.errors import BadInput, disk_is_full, ran_short
from quantbench.measure import accuracy, census, memory, micro, size
from quantbench.measure.memory import Memory
from quantbench.records import Contents, Failure
from quantbench.reference.metrics import ROUNDING
from quantbench.reference.model import ReferenceModel, load_file
from quantbench.variants import FLOAT_CONTROL, variant_of
from quantbench.variants.built import is_built


@dataclass(frozen=True)
class Task:
    """Describe one cell with one seed.

    Attributes:
        train_seed: seed of a float model trained from scratch; None for the pinned weights.
        log: file for the worker's output.
        interpreters: number that share the test examples, each in its own thread, as long as ``share`` holds no other.
        share: file with that number, which changes while other workers get busy or idle.
        memory: whether its memory is measured, which takes longer than scoring a small model.
        micro: whether it runs on TFLite-Micro too; what comes of it stays in the store, where judging finds it.
        stranger: whether the model was saved by others, so that whatever opens it is confined.
        turn: tasks of a lower one begin first, see :class:`quantbench.engine.workers.task_queue.TaskQueue`.
    """

    model_file: Path
    model: str
    variant: str
    seed: int
    train_seed: int | None
    store: Path
    log: Path
    interpreters: int = 1
    stranger: bool = False
    share: Path | None = None
    memory: bool = True
    micro: bool = False
    turn: int = 0

    @property
    def progress(self) -> Path:
        """Return the file with the number of examples evaluated so far, and of all."""
        return self.log.with_suffix(".progress")


@dataclass(frozen=True)
class Outcome:
    """Hold the result of a task: an artifact with its evaluation and sizes, or a failure.

    Attributes:
        agreement: for the float control only: fraction of examples on which it agrees with the float model itself.
        agreement_of: the number of these examples, the first ones.
        conversion: for fake-quantized models: fraction of examples on which the artifact agrees with its model before
                conversion; ``first_divergent`` names the first tensor that differs, where that fraction is too small.
        trained_sha256: hash of the weights after all training; None where nothing was trained.
        steps: fine-tuning steps counted during training, including those of the stages that it starts from.
        training: facts of each training, in order, see :mod:`quantbench.reference.training_facts`.
        outputs, others, sources, heads: see :class:`quantbench.measure.accuracy.Evaluation`.
        contents: structure of the artifact.
        sizes: measurement name -> bytes.
        memory: of the first seed alone; seeds differ in their weights, which does not change the arena.
        micro_failure: why a run on TFLite-Micro found nothing out, so that judging does not wait for it again; else
            empty.
        seconds: time taken now; near zero where it was cached.
        exhausted: whether it failed because memory ran out or its process was killed from outside.
        retried: why it was computed again, one sentence each time.
        entries: keys of the store entries that hold it, where requested.
        findings: what went wrong beside the result, one sentence each; see
            :class:`quantbench.measure.accuracy.Evaluation`.
        disk_full: whether it failed because the disk is full, so that no other cell can succeed.
    """

    seed: int
    artifact: Path | None = None
    artifact_sha256: str | None = None
    predictions: Array | None = None
    score: float = float("nan")
    nonfinite: int = 0
    agreement: float | None = None
    agreement_of: int | None = None
    conversion: float | None = None
    first_divergent: str = ""
    trained_sha256: str | None = None
    steps: int | None = None
    training: list[dict[str, str]] = field(default_factory=list)
    outputs: Array | None = None
    others: dict[str, Array] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    contents: Contents | None = None
    sizes: dict[str, int] | None = None
    memory: Memory | None = None
    micro_failure: str = ""
    cached: bool = False
    seconds: float = 0.0
    failure: Failure | None = None
    exhausted: bool = False
    retried: tuple[str, ...] = ()
    entries: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    disk_full: bool = False
    heads: dict[str, Array] = field(default_factory=dict)


def from_store(task: Task, store: Store | None = None, model: ReferenceModel | None = None) -> Outcome | None:
    """Return the outcome if the store holds all of it, or it cannot be made; starts nothing and runs no model.

    Args:
        model: the task's, where it is loaded already.
    """
    model, store = model or model_of(task), store or Store(task.store)
    if refused := preflight.refusal(model, variant_of(model, task.variant)):
        return Outcome(task.seed, cached=True, failure=Failure(what="unsupported", reason=refused))
    built = build.find(model, variant_of(model, task.variant), task.seed, task.train_seed, store)
    if built is None:
        return None
    if built.path is None or built.sha256 is None:
        return _refused(task, built, 0.0)
    if variant_of(model, task.variant).compiled:
        return _compiled(task, built, 0.0, store)
    try:
        evaluation = accuracy.find(built.sha256, model, store)
        if evaluation is None or (
            task.variant == FLOAT_CONTROL and not accuracy.float_predictions_known(model, task.train_seed, store)
        ):
            return None
        weighed = task.seed == 0 and task.memory
        taken = memory.find(built.sha256, model, store) if weighed else None
        if taken is None and weighed and evaluation.refusal is None:
            return None
        if _on_micro(task, evaluation) and not store.has(digest(micro.recipe(built.sha256, model))):
            return None
        return _outcome(task, model, built, evaluation, 0.0, _agreement(task, model, evaluation, store), taken, store)
    except Exception:  # the worker meets it again, and reports it as this cell's failure
        return None


def compute(task: Task) -> Outcome:
    """Build and evaluate; errors of this cell are returned as its failure, not raised."""
    start = time.perf_counter()
    store = Store(task.store)
    with output_to(task.log), store.temporary_files():
        try:
            model = model_of(task)
            made_by = elsewhere.artifact if is_built(task.variant) else build.artifact
            built = made_by(model, variant_of(model, task.variant), task.seed, task.train_seed, store)
            if built.path is None or built.sha256 is None:
                return _refused(task, built, time.perf_counter() - start)
            if variant_of(model, task.variant).compiled:
                return _compiled(task, built, time.perf_counter() - start, store)
            evaluation = accuracy.evaluate(built.path, built.sha256, model, store, _pace(task))
            agreement = _agreement(task, model, evaluation, store)
            taken = None
            if task.seed == 0 and task.memory and evaluation.refusal is None:
                taken = memory.through_store(built.path, built.sha256, model, store)
            found = _outcome(task, model, built, evaluation, 0.0, agreement, taken, store)
            if _on_micro(task, evaluation):
                ran = micro.through_store(built.path, built.sha256, model, store)
                found = replace(found, cached=found.cached and ran.cached, micro_failure=ran.failure)
            return replace(found, seconds=time.perf_counter() - start)
        except (Exception, SystemExit) as error:  # sys.exit in somebody's code ends its cell, not the worker
            traceback.print_exc()
            return failed(task, error, time.perf_counter() - start)


def _on_micro(task: Task, evaluation: accuracy.Evaluation) -> bool:
    """Return whether an artifact runs on TFLite-Micro: that of the first seed, where LiteRT runs it."""
    return task.micro and task.seed == 0 and evaluation.refusal is None


def _pace(task: Task) -> accuracy.Pace:
    def interpreters() -> int:
        shared = counters.read(task.share) if task.share is not None else []
        return shared[0] if shared else task.interpreters

    def done(so_far: int, of: int) -> None:
        counters.write(task.progress, so_far, of)

    return accuracy.Pace(interpreters, done)


def salvaged(task: Task, lost: Failure) -> Outcome | None:
    """Return the outcome of a cell whose worker died beside its result; None where the result was lost too.

    A run on TFLite-Micro comes last: where all else is stored, it alone is missing. Else the float model's own answers
    are, and the memory where it was not stored.
    """
    whole = from_store(replace(task, micro=False)) if task.micro else None
    if whole is not None:
        return replace(whole, cached=False, micro_failure=f"the cell's worker ended: {lost.reason}")
    model, store = model_of(task), Store(task.store)
    built = build.find(model, variant_of(model, task.variant), task.seed, task.train_seed, store)
    if built is None or built.path is None or built.sha256 is None:
        return None
    evaluation = accuracy.find(built.sha256, model, store)
    if evaluation is None:
        return None
    finding = f"only its score was measured; the rest ended in a {lost.what}: {lost.reason}"
    outcome = _outcome(task, model, built, evaluation, 0.0, None, None, store)
    taken = memory.find(built.sha256, model, store) or memory.Memory(failure=lost.reason)
    return replace(outcome, findings=(*outcome.findings, finding), memory=taken)


def failed(task: Task, error: BaseException, seconds: float = 0.0) -> Outcome:
    """Return the outcome of a task that an exception ended."""
    words = " ".join(str(error).split())[:500]
    raised = words if isinstance(error, BadInput) else f"{type(error).__name__}: {words}".removesuffix(": ")
    reason = refusals.explained(refusals.raw_words(error)) or raised
    return Outcome(
        task.seed,
        seconds=seconds,
        failure=failure("error", reason, task.log),
        exhausted=ran_short(error),
        disk_full=disk_is_full(error),
    )


def failure(what: str, reason: str, log: Path) -> Failure:
    """Return a failure with the end of its log."""
    return Failure.model_validate({"what": what, "reason": reason, "log": log_tail(log)})


def log_tail(log: Path, characters: int = 2000) -> str:
    """Return the last lines of a log, without the list of extension modules after a crash, which is longer."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(line for line in text.splitlines() if not line.startswith("Extension modules:"))[-characters:]


def model_of(task: Task) -> ReferenceModel:
    """Return the model of a task, as its file declares it now. Raise BadInput."""
    return next(model for model in load_file(task.model_file) if model.name == task.model)


def _compiled(task: Task, built: build.Built, seconds: float, store: Store) -> Outcome:
    """Return the outcome of an artifact that nothing here runs: its contents, its size and its compiler's figures."""
    assert built.path is not None
    assert built.sha256 is not None
    return Outcome(
        seed=task.seed,
        artifact=built.path,
        artifact_sha256=built.sha256,
        contents=census.through_store(built.path, built.sha256, store),
        sizes={**size.through_store(built.path, built.sha256, store), **elsewhere.figures(built.path.parent)},
        cached=built.cached,
        seconds=seconds,
    )


def _refused(task: Task, built: build.Built, seconds: float) -> Outcome:
    return Outcome(task.seed, cached=built.cached, seconds=seconds, failure=_refusal(built.refusal or ""))


def _refusal(raw: str) -> Failure:
    """Return a refusal as a sentence, with the tool's own text as its log where that says more."""
    reason = refusals.reason(raw)
    return Failure(what="unsupported", reason=reason, log="" if raw == reason else raw)


def _agreement(
    task: Task, model: ReferenceModel, evaluation: accuracy.Evaluation, store: Store
) -> tuple[float, int] | None:
    if task.variant != FLOAT_CONTROL or evaluation.predictions is None:
        return None
    own = accuracy.float_predictions(model, task.train_seed, store)
    return None if own is None else (model.metric.agreement(evaluation.predictions[: len(own)], own), len(own))


def _conversion(folder: Path, evaluation: accuracy.Evaluation, model: ReferenceModel) -> tuple[float | None, str]:
    before = folder / build.BEFORE_CONVERSION
    if not before.exists() or evaluation.predictions is None:
        return None, ""
    agreement = model.metric.agreement(evaluation.predictions, np.load(before, allow_pickle=False), ROUNDING)
    first_divergent = folder / build.FIRST_DIVERGENT
    return agreement, first_divergent.read_text(encoding="utf-8") if first_divergent.exists() else ""


def _steps(folder: Path) -> int | None:
    path = folder / build.STEPS
    return int(path.read_text(encoding="utf-8")) if path.exists() else None


def _training(folder: Path) -> list[dict[str, str]]:
    path = folder / build.FACTS
    return [dict(one) for one in json.loads(path.read_text(encoding="utf-8"))] if path.exists() else []


def _trained(folder: Path) -> str | None:
    path = folder / build.TRAINED
    return path.read_text(encoding="utf-8") if path.exists() else None


def _outcome(
    task: Task,
    model: ReferenceModel,
    built: build.Built,
    evaluation: accuracy.Evaluation,
    seconds: float,
    agreement: tuple[float, int] | None,
    taken: Memory | None,
    store: Store,
) -> Outcome:
    assert built.path is not None
    assert built.sha256 is not None
    if evaluation.refusal is not None:
        refusal, cached = _refusal(evaluation.refusal), built.cached and evaluation.cached
        return Outcome(task.seed, cached=cached, seconds=seconds, failure=refusal)
    conversion, first_divergent = _conversion(built.path.parent, evaluation, model)
    return Outcome(
        seed=task.seed,
        artifact=built.path,
        artifact_sha256=built.sha256,
        predictions=evaluation.predictions,
        score=evaluation.score,
        nonfinite=evaluation.nonfinite,
        agreement=None if agreement is None else agreement[0],
        agreement_of=None if agreement is None else agreement[1],
        conversion=conversion,
        first_divergent=first_divergent,
        trained_sha256=_trained(built.path.parent),
        steps=_steps(built.path.parent),
        training=_training(built.path.parent),
        outputs=evaluation.outputs,
        others=evaluation.others,
        sources=evaluation.sources,
        findings=evaluation.findings,
        contents=census.through_store(built.path, built.sha256, store),
        sizes=size.through_store(built.path, built.sha256, store),
        memory=taken,
        cached=built.cached and evaluation.cached and (taken is None or taken.cached),
        seconds=seconds,
        heads=evaluation.heads,
    )
