"""Computing one cell with one seed, in a worker process: build, evaluate, weigh. Nothing here judges."""

import re
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from quantbench.build import artifact as build
from quantbench.build.store import Store
from quantbench.core.arrays import Array
from quantbench.core.output import output_to
from quantbench.errors import disk_is_full, ran_short
from quantbench.measure import accuracy, census, memory, size
from quantbench.measure.memory import Memory
from quantbench.records import Contents, Failure
from quantbench.reference.metrics import ROUNDING
from quantbench.reference.model import ReferenceModel, load_file
from quantbench.variants import FLOAT_CONTROL, VARIANTS

# What TensorFlow says whenever it is imported.
_CHATTER = re.compile(r"[IW]\d{4} |WARNING: All log messages|INFO: |To enable the following instructions")
# How the lines begin that say where a process was when it crashed or was ended.
_DUMP = ("Fatal Python error:", "Current thread 0x", "Stack (most recent call first):")


@dataclass(frozen=True)
class Task:
    """One cell with one seed.

    Attributes:
        train_seed: seed of a float model trained from scratch; None for the pinned weights.
        log: file that takes the worker's output.
        interpreters: that share the test examples, each in a thread of its own.
        stranger: the model was saved by others, so that whatever opens it is walled.
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


@dataclass(frozen=True)
class Outcome:
    """What computing a task gave: an artifact with its evaluation and sizes, or a failure.

    Attributes:
        agreement: of the float control alone: fraction of examples on which it answers as the float model itself.
        conversion: of what was fake-quantized: fraction of examples on which its artifact answers as it did before
            conversion; ``parting`` names the first tensor that differs, where that is too little.
        trained_sha256: of the weights after all training; None where nothing trained, or where it was not recorded.
        steps: of fine-tuning, counted while it trained; those of the stages that it starts from are included.
        outputs, others: see :class:`quantbench.measure.accuracy.Evaluation`.
        contents: what the artifact is made of.
        sizes: measurement name -> bytes.
        memory: of the first seed alone; seeds differ in their weights, which changes no plan.
        seconds: what it took this time; near zero where it came from the store.
        exhausted: it failed because memory ran out, or its process was killed from outside: no fault of the cell.
        retried: why it was computed again, one sentence each time.
        entries: keys of the entries of the store that hold it, where it was asked which do.
        disk_full: it failed for want of space, so that no other will fare better.
    """

    seed: int
    artifact: Path | None = None
    artifact_sha256: str | None = None
    predictions: Array | None = None
    score: float = float("nan")
    nonfinite: int = 0
    agreement: float | None = None
    conversion: float | None = None
    parting: str = ""
    trained_sha256: str | None = None
    steps: int | None = None
    outputs: Array | None = None
    others: dict[str, Array] = field(default_factory=dict)
    contents: Contents | None = None
    sizes: dict[str, int] | None = None
    memory: Memory | None = None
    cached: bool = False
    seconds: float = 0.0
    failure: Failure | None = None
    exhausted: bool = False
    retried: tuple[str, ...] = ()
    entries: tuple[str, ...] = ()
    disk_full: bool = False


def from_store(task: Task, store: Store | None = None) -> Outcome | None:
    """The outcome if the store holds all of it; imports no TensorFlow and runs no model."""
    model, store = model_of(task), store or Store(task.store)
    built = build.find(model, VARIANTS[task.variant], task.seed, task.train_seed, store)
    if built is None:
        return None
    if built.path is None or built.sha256 is None:
        return _refused(task, built, 0.0)
    try:
        found = accuracy.find(built.sha256, model, store)
        if found is None or (
            task.variant == FLOAT_CONTROL and not accuracy.float_predictions_known(model, task.train_seed, store)
        ):
            return None
        taken = memory.find(built.sha256, model, store) if task.seed == 0 else None
        if taken is None and task.seed == 0 and found.refusal is None:
            return None
        return _outcome(task, model, built, found, 0.0, _agreement(task, model, found, store), taken, store)
    except Exception:  # the worker meets it again, and reports it as this cell's failure
        return None


def compute(task: Task) -> Outcome:
    """Build and evaluate; what goes wrong with this cell comes back as its failure, not as an exception."""
    start = time.perf_counter()
    store = Store(task.store)
    with output_to(task.log), store.temporary_files():
        try:
            model = model_of(task)
            built = build.artifact(model, VARIANTS[task.variant], task.seed, task.train_seed, store)
            if built.path is None or built.sha256 is None:
                return _refused(task, built, time.perf_counter() - start)
            evaluation = accuracy.evaluate(built.path, built.sha256, model, store, task.interpreters)
            agreement = _agreement(task, model, evaluation, store)
            taken = None
            if task.seed == 0 and evaluation.refusal is None:
                taken = memory.through_store(built.path, built.sha256, model, store)
            return _outcome(task, model, built, evaluation, time.perf_counter() - start, agreement, taken, store)
        except (Exception, SystemExit) as error:  # sys.exit of somebody's code ends its cell, not the worker
            traceback.print_exc()
            return failed(task, error, time.perf_counter() - start)


def failed(task: Task, error: BaseException, seconds: float = 0.0) -> Outcome:
    """The outcome of a task that an exception ended."""
    reason = f"{type(error).__name__}: {' '.join(str(error).split())[:500]}".removesuffix(": ")
    return Outcome(
        task.seed,
        seconds=seconds,
        failure=failure("error", reason, task.log),
        exhausted=ran_short(error),
        disk_full=disk_is_full(error),
    )


def failure(what: str, reason: str, log: Path) -> Failure:
    """A failure with the end of its log."""
    return Failure.model_validate({"what": what, "reason": reason, "log": log_tail(log)})


def log_tail(log: Path, characters: int = 2000) -> str:
    """The last lines of a log; without the list of extension modules that a crash ends with, which is longer."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(line for line in text.splitlines() if not line.startswith("Extension modules:"))[-characters:]


def last_line(log: Path) -> str:
    """The last thing that was printed before a crash or its end, if it was anything, and not where that was."""
    lines = log_tail(log, 20_000).splitlines()
    dump = next((i for i, line in enumerate(lines) if line.startswith(_DUMP)), len(lines))
    told = [line.strip() for line in lines[:dump] if line.strip() and not _CHATTER.match(line)]
    return told[-1] if told else ""


def model_of(task: Task) -> ReferenceModel:
    """The model of a task, as its file declares it now. Raises BadInput."""
    return next(model for model in load_file(task.model_file) if model.name == task.model)


def _refused(task: Task, built: build.Built, seconds: float) -> Outcome:
    refusal = Failure(what="unsupported", reason=built.refusal or "")
    return Outcome(task.seed, cached=built.cached, seconds=seconds, failure=refusal)


def _agreement(task: Task, model: ReferenceModel, found: accuracy.Evaluation, store: Store) -> float | None:
    if task.variant != FLOAT_CONTROL or found.predictions is None:
        return None
    own = accuracy.float_predictions(model, task.train_seed, store)
    return None if own is None else model.metric.agreement(found.predictions, own)


def _conversion(folder: Path, found: accuracy.Evaluation, model: ReferenceModel) -> tuple[float | None, str]:
    before = folder / build.BEFORE_CONVERSION
    if not before.exists() or found.predictions is None:
        return None, ""
    agreement = model.metric.agreement(found.predictions, np.load(before, allow_pickle=False), ROUNDING)
    parting = folder / build.PARTING
    return agreement, parting.read_text(encoding="utf-8") if parting.exists() else ""


def _steps(folder: Path) -> int | None:
    path = folder / build.STEPS
    return int(path.read_text(encoding="utf-8")) if path.exists() else None


def _trained(folder: Path) -> str | None:
    path = folder / build.TRAINED
    return path.read_text(encoding="utf-8") if path.exists() else None


def _outcome(
    task: Task,
    model: ReferenceModel,
    built: build.Built,
    found: accuracy.Evaluation,
    seconds: float,
    agreement: float | None,
    taken: Memory | None,
    store: Store,
) -> Outcome:
    assert built.path is not None
    if found.refusal is not None:
        refusal = Failure(what="unsupported", reason=found.refusal)
        return Outcome(task.seed, cached=built.cached and found.cached, seconds=seconds, failure=refusal)
    conversion, parting = _conversion(built.path.parent, found, model)
    return Outcome(
        seed=task.seed,
        artifact=built.path,
        artifact_sha256=built.sha256,
        predictions=found.predictions,
        score=found.score,
        nonfinite=found.nonfinite,
        agreement=agreement,
        conversion=conversion,
        parting=parting,
        trained_sha256=_trained(built.path.parent),
        steps=_steps(built.path.parent),
        outputs=found.outputs,
        others=found.others,
        contents=census.through_store(built.path, built.sha256 or "", store),
        sizes=size.sizes(built.path),
        memory=taken,
        cached=built.cached and found.cached and (taken is None or taken.cached),
        seconds=seconds,
    )
