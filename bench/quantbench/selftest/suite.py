"""Run the whole selftest; training and simulations run in processes of their own, so that all cores are used."""

import gc
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from quantbench.build.store import Store, temporary_files_in
from quantbench.core.signals import end_with_parent
from quantbench.core.threads import cores
from quantbench.errors import BadInput
from quantbench.measure import instructions as counting
from quantbench.records import (
    InjectedFault,
    LatencyFault,
    LatencySelftest,
    NullRate,
    OutcomeSelftest,
    Selftest,
)
from quantbench.reference.model import ReferenceModel, load_file
from quantbench.selftest import artifact, instructions, latency, memory, outcomes, pipeline, training, two_outputs
from quantbench.selftest.faults import SUBJECT_VARIANT
from quantbench.selftest.flatbuffer import Inapplicable

QUICK_SEEDS, FULL_SEEDS = 1, 3
QUICK_RECORDINGS, FULL_RECORDINGS = 2, 30
QUICK_NULLS, FULL_NULLS = 20, 300
QUICK_MEMORY = 6
INSTRUCTION_NULLS = 5  # of the variant and its control each
Say = Callable[[str], None]
Found = tuple[list[InjectedFault], list[bool]]


@dataclass(frozen=True)
class Files:
    """Hold a healthy int8 artifact and its float control, as files for other processes to load."""

    variant: Path
    control: Path


def _silent(_line: str) -> None:
    pass


def _begin(folder: Path) -> None:
    """Begin a process that may be killed: all its temporary files are in a folder that its parent removes."""
    end_with_parent()
    tempfile.tempdir = os.environ["TMPDIR"] = str(folder)


def _model(file: Path, name: str) -> ReferenceModel:
    return next(model for model in load_file(file) if model.name == name)


def faults_in_training(file: Path, name: str, baseline_dir: Path, quick: bool) -> Found:
    """Return (injected faults, whether each healthy training failed); both empty without a baseline of QAT."""
    model = _model(file, name)
    if not training.can_train(model, baseline_dir):
        return [], []
    subject = training.prepare(model, baseline_dir, Path(tempfile.mkdtemp()))
    gc.freeze()
    nulls = [] if quick else training.null_runs(subject, training.NULL_SEEDS)
    return list(training.injected_faults(subject, not quick, _silent)), nulls


def faults_in_pipeline(file: Path, name: str, quick: bool) -> list[InjectedFault]:
    """Inject faults into data, store and baselines."""
    with tempfile.TemporaryDirectory(prefix="quantbench-") as folder:
        return list(pipeline.injected_faults(pipeline.prepare(_model(file, name), Path(folder)), not quick, _silent))


def faults_in_artifacts(
    model: ReferenceModel,
    quick: bool,
    say: Say,
    chosen: artifact.Chosen | None = None,
    first: artifact.Trial | None = None,
) -> tuple[list[InjectedFault], list[str]]:
    """Inject faults into artifacts and runtimes: wrong conversions, later changes, wrong outputs.

    Args:
        chosen: name -> strengths, each with one seed; all faults where None.
        first: a trial of this model, where there is one already.

    Returns:
        The faults, and a sentence for each that the model has no place for.
    """
    seeds = QUICK_SEEDS if quick or chosen is not None else FULL_SEEDS
    with tempfile.TemporaryDirectory(prefix="quantbench-") as folder:
        found = list(artifact.injected_faults(model, Store(Path(folder)), seeds, say, quick, chosen, first))
    injected = [one for one in found if isinstance(one, InjectedFault)]
    return injected, [one for one in found if isinstance(one, str)]


def faults_elsewhere(models: Sequence[ReferenceModel], quick: bool, say: Say) -> tuple[list[InjectedFault], list[str]]:
    """Inject faults into artifacts of further models: a choice of them, as their evaluation takes seconds."""
    injected: list[InjectedFault] = []
    inapplicable: list[str] = []
    for model in models:
        more, why = faults_in_artifacts(model, quick, say, artifact.QUICK_ELSEWHERE if quick else artifact.ELSEWHERE)
        injected, inapplicable = injected + more, inapplicable + why
    return injected, inapplicable


def faults_in_a_second_output(
    model: ReferenceModel, quick: bool, say: Say
) -> tuple[list[InjectedFault], list[NullRate], list[str]]:
    """Inject faults into the second output of a model with two, and judge healthy reruns of both.

    Returns:
        The faults, how often the reruns were red or called changed, and a sentence for each fault without a place, or
        one for all where the model gets no second output.
    """
    with tempfile.TemporaryDirectory(prefix="quantbench-") as folder:
        try:
            trial = two_outputs.trial_of(model, Store(Path(folder)))
        except Inapplicable as why:
            return [], [], [f"{model.name}: a second output: {why}"]
        found = list(two_outputs.injected_faults(trial, QUICK_SEEDS if quick else FULL_SEEDS, say, quick))
        nulls = two_outputs.null_runs(trial, quick)
    injected = [one for one in found if isinstance(one, InjectedFault)]
    return injected, nulls, [one for one in found if isinstance(one, str)]


def healthy_runs(trial: artifact.Trial, made_again: list[artifact.Measured]) -> list[bool]:
    """Return whether the healthy artifact failed, made again.

    Args:
        made_again: the artifact of several processes, as a quick selftest has it; where empty, fresh processes make it
            under load.
    """
    if made_again:
        return artifact.null_runs(trial, made_again, QUICK_NULLS)
    return artifact.null_runs(trial, artifact.record(trial.model, FULL_RECORDINGS), FULL_NULLS)


def faults_in_memory(model: ReferenceModel, files: Files, quick: bool, say: Say) -> Found:
    """Inject memory faults: artifacts with a larger arena, and processes that keep more memory."""
    trial = memory.MemoryTrial(model, files.variant, files.control, QUICK_MEMORY if quick else memory.RECORDINGS)
    seeds, held = (1, (memory.MUST_BE_CAUGHT,)) if quick else (FULL_SEEDS, memory.HELD)
    injected = list(memory.injected_faults(trial, seeds, say, held))
    return injected, memory.null_runs(trial, QUICK_NULLS if quick else FULL_NULLS)


def faults_in_instructions(model: ReferenceModel, files: Files, quick: bool, say: Say) -> tuple[Found, str]:
    """Inject operators that a call does not need; a sentence, and nothing else, where nothing is counted."""
    why = "not in the quick selftest" if quick else counting.unavailable()
    if why:
        return ([], []), f"instructions of a call: {why}"
    trial = instructions.InstructionTrial.of(model, files.variant, files.control)
    injected = list(instructions.injected_faults(trial, say))
    return (injected, instructions.null_runs(trial, INSTRUCTION_NULLS)), ""


@contextmanager
def healthy_files(trial: artifact.Trial) -> Iterator[Files]:
    """Write the host artifact and float32."""
    with tempfile.TemporaryDirectory(prefix="quantbench-") as folder:
        files = Files(Path(folder) / "variant.tflite", Path(folder) / "control.tflite")
        files.variant.write_bytes(trial.subject.artifact)
        files.control.write_bytes(trial.subject.bench.float_artifact())
        yield files


@dataclass(frozen=True)
class Beside:
    """Wait for what other processes do beside this one.

    Attributes:
        made_again: the healthy artifact, in a quick selftest.
    """

    training: Callable[[], Found]
    pipeline: Callable[[], list[InjectedFault]]
    simulations: Callable[[], OutcomeSelftest | None]
    made_again: Callable[[], artifact.Measured] | None = None


@contextmanager
def in_processes_of_their_own(model: ReferenceModel, quick: bool, baseline_dir: Path) -> Iterator[Beside]:
    """Start injecting faults into training and the pipeline, simulating, and in a quick selftest making the healthy
    artifact again.

    What loads TensorFlow is done by one process, which imports it once, and simulating by as many as there are cores,
    or by one in a quick selftest. A training takes minutes, so it is killed where nobody waits for it any more.
    """
    with tempfile.TemporaryDirectory(prefix="quantbench-") as folder, ExitStack() as pools:

        def pool(processes: int) -> ProcessPoolExecutor:
            spawning = multiprocessing.get_context("spawn")
            made = ProcessPoolExecutor(processes, spawning, initializer=_begin, initargs=(Path(folder),))
            pools.callback(made.shutdown, cancel_futures=True)
            return made

        loading, simulating = pool(1), pool(1 if quick else cores())
        others = set(multiprocessing.active_children())
        # First, as a process exports the float model once, and a place of the pipeline removes what it exported.
        again = loading.submit(artifact.from_nothing, None, model.file, model.name) if quick else None
        started = loading.submit(faults_in_training, model.file, model.name, baseline_dir, quick)
        in_pipeline = loading.submit(faults_in_pipeline, model.file, model.name, quick)
        places = model.file.parent, baseline_dir, quick
        simulated: Callable[[], OutcomeSelftest | None] = (
            simulating.submit(outcomes.simulated, *places).result if quick else outcomes.start(simulating, *places)
        )
        workers, done = set(multiprocessing.active_children()) - others, False
        try:
            yield Beside(started.result, in_pipeline.result, simulated, again.result if again else None)
            done = started.done() and in_pipeline.done()
        finally:
            if not done:
                for process in workers:
                    process.kill()


def run(
    model: ReferenceModel, quick: bool, say: Say, baseline_dir: Path, others: Sequence[ReferenceModel] = ()
) -> Selftest:
    """Inject every fault, and make healthy artifacts again and again.

    Args:
        others: models whose artifacts get a choice of the faults.
    """
    # Tracing writes Python files, and Python their bytecode, wherever temporary files go; nobody else removes those.
    with tempfile.TemporaryDirectory(prefix="quantbench-") as folder, temporary_files_in(Path(folder)):
        with in_processes_of_their_own(model, quick, baseline_dir) as beside:
            trial = artifact.Trial(model, Store(Path(folder)))
            gc.freeze()  # each conversion collects garbage among all that TensorFlow has imported, which takes .25 s
            in_artifacts, inapplicable = faults_in_artifacts(model, quick, say, first=trial)
            elsewhere, inapplicable_elsewhere = faults_elsewhere(others, quick, say)
            in_second, of_two_outputs, inapplicable_second = faults_in_a_second_output(model, quick, say)
            in_pipeline, (in_training, trained_nulls) = beside.pipeline(), beside.training()
            of_scores = beside.simulations()
            made_again = [trial.recorded, beside.made_again()] if beside.made_again else []
        for injected in [*in_training, *in_pipeline]:
            say(artifact.described(injected))
        nulls = healthy_runs(trial, made_again)
        # From here on, memory and time are measured, so nothing else of this process runs.
        with healthy_files(trial) as files:
            (counted, counted_nulls), uncounted = faults_in_instructions(model, files, quick, say)
            in_memory, memory_nulls = faults_in_memory(model, files, quick, say)
            timed = latency.run(model, files.control, files.variant, quick, say)
    if of_scores is not None:
        memory_rate = (sum(memory_nulls), len(memory_nulls))
        of_scores = of_scores.model_copy(update={"years": outcomes.years(of_scores.nulls, timed, memory_rate)})
    return Selftest(
        model=model.name,
        variant=SUBJECT_VARIANT,
        plants=[
            *in_artifacts,
            *elsewhere,
            *in_second,
            *in_training,
            *in_pipeline,
            *(injected.model_copy(update={"model": model.name}) for injected in [*in_memory, *counted]),
        ],
        skipped=[
            *([uncounted] if uncounted else []),
            *([] if in_training else [f"what trains: no baseline tells how QAT of {model.name} scores over seeds"]),
            *(f"not applicable: {why}" for why in [*inapplicable, *inapplicable_elsewhere, *inapplicable_second]),
        ],
        recordings=QUICK_RECORDINGS if quick else FULL_RECORDINGS,
        memory_recordings=QUICK_MEMORY if quick else memory.RECORDINGS,
        null_runs=len(nulls),
        false_reds=sum(nulls),
        trained_null_runs=len(trained_nulls),
        trained_false_reds=sum(trained_nulls),
        memory_null_runs=len(memory_nulls),
        memory_false_reds=sum(memory_nulls),
        instruction_null_runs=len(counted_nulls),
        instruction_false_reds=sum(counted_nulls),
        two_outputs=of_two_outputs,
        latency=timed,
        outcomes=of_scores,
    )


CAUGHT, FALSE_RED, CHANGED = 0.99, 0.01, 0.05
# Slowdowns that are shown, but need not be caught: what runs differ by, and a baseline's own error, hide them.
TOO_WEAK = ("1 %", "2 %")
# In turns with the accepted artifact they do not: all of them have to be caught there, those of 1 % this often.
CAUGHT_IN_TURNS = 0.95


def default_models(known: Mapping[str, ReferenceModel], usual: str) -> str:
    """Return the models to test where none are named: the usual ones, or those of a user's folder that are code.

    Args:
        usual: comma-separated.

    Raises:
        BadInput: no model of the folder can be tested.
    """
    if set(usual.split(",")) <= set(known):
        return usual
    code = [name for name, model in known.items() if model.build is not None]
    first = next((name for name in code if known[name].metric.correct is not None), None)
    if first is None:
        raise BadInput(
            f"--models: none of {', '.join(known)} is given as code and scored as right or wrong, so that no "
            "fault can be made in it; give a --model-dir with such a model"
        )
    return ",".join([first, *(name for name in code if name != first)])


def as_good_as_promised(selftest: Selftest) -> bool:
    """Check the gate's error rates against this project's claims: see ``quantbench selftest --help``."""
    harmful = [row.caught for row in selftest.plants if row.harmful]
    return (
        bool(harmful)
        and sum(harmful) >= CAUGHT * len(harmful)
        and not (selftest.false_reds + selftest.trained_false_reds)
        and not (selftest.memory_false_reds + selftest.instruction_false_reds)
        and all(_as_healthy(one) for one in selftest.two_outputs)
        and (selftest.outcomes is None or outcomes.kept(selftest.outcomes))
        and (selftest.latency is None or _latency_as_promised(selftest.latency))
    )


def _as_healthy(null: NullRate) -> bool:
    """Whether no healthy rerun was red, and few outputs of them, of which there are some, were called changed."""
    return not any(null.red_runs.values()) and null.outputs > 0 and null.changed <= CHANGED * null.outputs


def _latency_as_promised(selftest: LatencySelftest) -> bool:
    kept = [row.caught[latency.OURS] >= _share_to_catch(row) * row.trials for row in selftest.plants]
    reds = [row.red_runs[latency.OURS] / row.runs for row in selftest.nulls]
    return all(kept) and max(reds) <= FALSE_RED


def _share_to_catch(row: LatencyFault) -> float:
    if row.plant == latency.STALLS_NAME:
        return latency.STALLS_CAUGHT if latency.can_meet_stalls(row) else 0.0
    if row.plant.startswith(latency.BY_FEW):
        return 0.0  # shown beside what a baseline reaches that was recorded as one
    if row.strength not in TOO_WEAK:
        return CAUGHT
    return CAUGHT_IN_TURNS if row.plant == latency.NO_BASELINE else 0.0
