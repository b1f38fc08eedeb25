"""Inject faults into a converted artifact, or into what a runtime answers: each is really made, really measured, and
judged by all that a nightly run judges without timing.

Harm is fixed beforehand, whatever the judges can resolve: 0.3 pp of the score, 5 pp of any class's recall, 5 % of the
outputs (see :func:`quantbench.selftest.nightly.moved`), 1 % of the file, another structure, and anything that cannot be
run.
"""

import hashlib
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from quantbench.build.artifact import REFUSING, StoreWorkbench, refusal_words
from quantbench.build.store import Store
from quantbench.core.arrays import Array, Inputs
from quantbench.core.output import output_to
from quantbench.core.threads import cores
from quantbench.engine.results import CellResult, predicted
from quantbench.engine.workers.task import Outcome
from quantbench.measure import accuracy, census, size
from quantbench.records import FLOAT_CONTROL, Failure, InjectedFault, Judgement, Kind, Verdict, worst
from quantbench.records.measurements import output_in
from quantbench.reference.heads import by_output
from quantbench.reference.metrics import flat_outputs, select
from quantbench.reference.model import ReferenceModel, load_file
from quantbench.reference.training import seed_everything
from quantbench.selftest import faults, operators, runtime
from quantbench.selftest.faults import SUBJECT_VARIANT, Fault, Subject
from quantbench.selftest.flatbuffer import Inapplicable
from quantbench.selftest.load import busy
from quantbench.selftest.nightly import Nightly, moved
from quantbench.selftest.runtime import RuntimeFault, are_probabilities
from quantbench.tflite.edit import repacked
from quantbench.variants import VARIANTS

HARM_PP = 0.3
HARM_SIZE = 0.01
HARM_CLASS_PP = 5.0
HARM_OUTPUTS = 0.05
FAULTS = [*faults.FAULTS, *operators.FAULTS]
RUNTIME_FAULTS = runtime.FAULTS
RED = (Verdict.REGRESSED, Verdict.ERROR)
Prepare = Callable[[ReferenceModel], ReferenceModel]


@dataclass(frozen=True)
class Seen:
    """Hold the judgements on a broken cell, and how much worse it is.

    Attributes:
        drop: of the score, in the metric's unit; NaN where there is none.
        lost: recall that the class lost that lost most, in pp; 0 where the metric knows no classes.
        moved: how far the outputs moved, from 0 to 1.
        growth: of the file, as a fraction.
    """

    judgements: list[Judgement]
    drop: float
    lost: float = 0.0
    moved: float = 0.0
    growth: float = 0.0

    @property
    def red(self) -> list[Judgement]:
        """The judgements that make a run red."""
        return [judgement for judgement in self.judgements if judgement.verdict in RED]

    @property
    def harmful(self) -> bool:
        """Whether so much was lost that a gate has to see it."""
        return (
            not np.isfinite(self.drop)
            or self.drop >= HARM_PP
            or self.lost >= HARM_CLASS_PP
            or self.moved >= HARM_OUTPUTS
            or self.growth >= HARM_SIZE
        )


class Trial:
    """Hold a healthy artifact with its baseline, and judge other artifacts against it.

    Args:
        model: given as code.
        store: of this trial alone.
        host: the variant that made the artifact.
        like: a trial of the same model, whose rules and float control are used again.
        output: the further output that faults are injected into; empty for the main one.

    Attributes:
        scored: the model as that output has it scored.
        healthy_outputs: of the healthy artifact, shape (n, values).
    """

    def __init__(
        self,
        model: ReferenceModel,
        store: Store,
        host: str = SUBJECT_VARIANT,
        like: "Trial | None" = None,
        output: str = "",
    ) -> None:
        self.model, self.host, self.output = model, host, output
        self.scored = by_output(model)[output]
        self._store = store
        seed_everything(0)
        self.bench = StoreWorkbench(model, 0, None, store)
        self._inputs: Inputs = like._inputs if like else model.prepare(model.pack().test.x)
        self._nightly: Nightly = like._nightly if like else Nightly(model)
        self._float: Measured = like._float if like else self.measure(self.bench.float_artifact(), of=FLOAT_CONTROL)
        self.subject = Subject(self.bench, self.healthy())
        self._floats = self._nightly.result(FLOAT_CONTROL, self._float.outcome, self._float.outcome)
        self.accept(self.measure(self.subject.artifact))

    @property
    def share(self) -> float:
        """P-value below which the gate fails."""
        return self._nightly.share

    def accept(self, healthy: "Measured") -> None:
        """Accept the measurements of a healthy artifact as the baseline."""
        self._healthy = healthy
        self._nightly.accept(self._result(healthy))

    def healthy(self) -> bytes:
        """Convert the artifact again."""
        return repacked(VARIANTS[self.host].make(self.bench))

    @property
    def recorded(self) -> "Measured":
        """What was measured of the healthy artifact that is accepted."""
        return self._healthy

    @property
    def healthy_outputs(self) -> Array:
        """Outputs of the healthy artifact, shape (n, values)."""
        return self._healthy.outputs

    @property
    def labels(self) -> Array:
        """Labels of the output that faults are injected into."""
        return self.scored.pack().test.y

    def answering(self, changed: Array) -> Inputs:
        """Return all outputs of the healthy artifact, but these in place of those that faults are injected into."""
        names, every = self.scored.metric.outputs, self._healthy.every
        return {**every, names[0]: changed} if names and isinstance(every, dict) else changed

    def caught(self, red: Sequence[Judgement]) -> bool:
        """Check whether a fault is red; that of a further output by its name, while the first one's score holds."""
        if not self.output:
            return bool(red)
        named = {output_in(judged.measurement) for judged in red}
        return self.output in named and not any(judged.measurement == "score" for judged in red)

    def judge(self, artifact: bytes, outputs: Inputs | None = None) -> Seen:
        """Judge an artifact; one that cannot run is an error judgement.

        Args:
            outputs: what a broken runtime makes of all examples; the artifact is the healthy one.
        """
        measured = self.measure(artifact) if outputs is None else self.answered(outputs)
        judgements = self.judgements(measured)
        if measured.outcome.failure is not None:
            return Seen(judgements, float("nan"))
        before, now = self._healthy.outcome, measured.outcome
        assert before.sizes is not None
        assert now.sizes is not None
        probabilities = are_probabilities(self._healthy.outputs)
        comparable = measured.outputs.shape == self._healthy.outputs.shape
        return Seen(
            judgements,
            self.scored.metric.drop(self._score(now), self._score(before)),
            self._recall_lost(predicted(now, self.output)),
            moved(measured.outputs, self._healthy.outputs, probabilities) if comparable else 1.0,
            now.sizes["size"] / before.sizes["size"] - 1,
        )

    def _score(self, outcome: Outcome) -> float:
        answers = predicted(outcome, self.output)
        if answers is None or outcome.nonfinite:
            return float("nan")
        return self.scored.metric.value(answers, self.labels)

    def _recall_lost(self, predictions: Array | None) -> float:
        """Return the most that any class lost, in pp."""
        metric, labels = self.scored.metric, self.labels
        before = predicted(self._healthy.outcome, self.output)
        if metric.correct is None or predictions is None or before is None:
            return 0.0
        lost = metric.correct(before, labels).astype(float) - metric.correct(predictions, labels)
        return 100 * max(float(np.mean(lost[labels == label])) for label in np.unique(labels))

    def measure(self, artifact: bytes, of: str = "") -> "Measured":
        """Run and read an artifact as a run does, but on the kernels alone that judge it.

        Args:
            of: the variant that it stands for; the host unless given.
        """
        sha256 = hashlib.sha256(artifact).hexdigest()
        with tempfile.TemporaryDirectory(prefix="quantbench-") as folder:
            path = Path(folder) / "artifact.tflite"
            path.write_bytes(artifact)
            try:
                outputs = accuracy.answers(path, self.model.stateful, self._inputs, os.cpu_count() or 1)
                contents = census.through_store(path, sha256, self._store)
                made = Outcome(seed=0, artifact_sha256=sha256, contents=contents, sizes=size.sizes(path))
                measured = self._with(made, outputs)
            except REFUSING as refusal:
                why = Failure(what="unsupported", reason=f"LiteRT cannot run it: {refusal_words(refusal)}")
                return Measured(Outcome(0, failure=why), np.zeros((0, 0)), np.zeros((0, 0)))
        own = accuracy.float_predictions(self.model, None, self._store) if of == FLOAT_CONTROL else None
        if own is None or measured.outcome.predictions is None:
            return measured
        agreement = self.model.metric.agreement(measured.outcome.predictions[: len(own)], own)
        return replace(measured, outcome=replace(measured.outcome, agreement=agreement))

    def answered(self, outputs: Inputs) -> "Measured":
        """Return what is measured of the healthy artifact where a runtime gives these outputs of all examples."""
        return self._with(self._healthy.outcome, outputs)

    def _with(self, made: Outcome, outputs: Inputs) -> "Measured":
        """Score outputs of all examples."""
        metric, inputs = self.model.metric, self._inputs
        predictions, nonfinite = metric.predict(outputs, inputs), accuracy.nonfinite_examples(outputs)
        outcome = replace(
            made,
            predictions=predictions,
            score=float("nan") if nonfinite else metric.value(predictions, self.model.pack().test.y),
            nonfinite=nonfinite,
            outputs=accuracy.first_outputs(outputs),
            heads={head.name: head.metric.predict(outputs, inputs) for head in self.model.heads},
        )
        names = self.scored.metric.outputs
        return Measured(outcome, flat_outputs(select(outputs, names) if names else outputs, {}), outputs)

    def judgements(self, measured: "Measured") -> list[Judgement]:
        """Judge the measurements of an artifact."""
        return self._nightly.judge(self._result(measured), self._floats)

    def _result(self, measured: "Measured") -> CellResult:
        return self._nightly.result(self.host, measured.outcome, self._float.outcome)


@dataclass(frozen=True)
class Measured:
    """Hold what was measured of an artifact.

    Attributes:
        outputs: those that faults are injected into, of all examples, shape (n, values).
        every: all outputs of all examples.
    """

    outcome: Outcome
    outputs: Array
    every: Inputs


def injected_faults(
    model: ReferenceModel,
    store: Store,
    seeds: int,
    say: Callable[[str], None],
    quick: bool = False,
    chosen: "Chosen | None" = None,
    first: Trial | None = None,
) -> Iterator[InjectedFault | str]:
    """Inject every fault at every strength, or at its weakest and strongest, with as many seeds as it needs.

    Where a model has no place for a fault, a sentence says so.

    Args:
        chosen: name -> strengths; all faults where None.
        first: a trial of this model, where there is one already.
    """
    trials = {} if first is None else {first.host: first}

    def trial(host: str) -> Trial:
        if host not in trials:
            trials[host] = Trial(model, store, host, next(iter(trials.values()), None))
        return trials[host]

    def strengths_of(fault: Fault | RuntimeFault) -> Sequence[float | str]:
        if chosen is not None:
            return chosen.get(fault.name, ())
        return list(dict.fromkeys((fault.strengths[0], fault.strengths[-1]))) if quick else fault.strengths

    every: list[Fault | RuntimeFault] = [*FAULTS, *RUNTIME_FAULTS]
    for fault in every:
        for strength in strengths_of(fault):
            try:
                yield from repeated(trial(fault.host), fault, strength, seeds, say)
            except Inapplicable as why:
                yield f"{model.name}: {fault.name} {strength}".rstrip() + f": {why}"


Chosen = dict[str, tuple[float | str, ...]]
# What is planted in the models besides the first: an evaluation takes seconds there, a conversion up to a minute.
ELSEWHERE: Chosen = {
    "channels of weights zeroed": (1,),
    "bits of weights flipped": (100, 1000),
    "noise on weights, steps": (4, 16),
    "weights saturated at": (64, 32),
    "weights in coarser steps": (4,),
    "weights from -128": ("",),
    "channels of weights random": (1,),
    "a channel's sign turned": ("",),
    "two channels swapped": ("",),
    "weights shuffled, share": (0.1,),
    "weights truncated, not rounded": ("",),
    "a bias of zeros, layer": (0, -1),
    "scale of weights times": (1.02, 1.5),
    "range clipped to": (0.7, 0.25),
    "range stretched to": (2.0, 8.0),
    "zero point off by": (4,),
    "calibrated on images darker by": (0.1,),
    "float32 under its name": ("float32",),
    "ptq_dynamic_wi8_afp32 under its name": ("ptq_dynamic_wi8_afp32",),
    "a file grown by": (0.01,),
    "one more operator": ("RESHAPE",),
    "softmax left out": ("",),
    "softmax's beta times": (0.8, 4.0),
    "a class pushed down, recall lost": (5, 20),
    "a class that is never the answer": (6,),
    "classes in another order": (2,),
    "signature removed": ("",),
    "signature renamed, its": ("key", "outputs"),
    "tensors renamed, the": ("inputs",),
    "fused activation replaced by": ("NONE", "RELU6"),
    "average pooling for maximum": ("",),
    "scale of the output not a number": ("",),
    "bias not a number, classes": (1,),
    **{fault.name: fault.strengths for fault in RUNTIME_FAULTS},
}
# The cheapest of them, for a quick selftest.
QUICK_ELSEWHERE: Chosen = {
    "signature removed": ("",),
    "channels of weights random": (1,),
    "garbage in the outputs of examples": (100,),
}


def repeated(
    trial: Trial, fault: Fault | RuntimeFault, strength: float | str, seeds: int, say: Callable[[str], None]
) -> Iterator[InjectedFault]:
    """Inject a fault with as many seeds as make a difference. Raises Inapplicable where there is no place for it."""
    seen: set[str] = set()
    for seed in range(seeds):
        random = np.random.default_rng(seed)
        if isinstance(fault, RuntimeFault):
            changed = fault.make(trial.healthy_outputs, trial.labels, strength, random)
            sha256 = hashlib.sha256(changed.tobytes()).hexdigest()
            broken, outputs = trial.subject.artifact, trial.answering(changed)
        else:
            broken, outputs = fault.make(trial.subject, strength, random), None
            sha256 = hashlib.sha256(broken).hexdigest()
        if sha256 in seen:  # the fault is not random
            return
        seen.add(sha256)
        injected = judged(trial, fault, strength, seed, broken, outputs)
        say(described(injected))
        yield injected


def described(injected: InjectedFault) -> str:
    """Describe the result in one line of progress."""
    drop = "" if injected.drop is None else f", drop {injected.drop:+.2f} pp"
    return f"{injected.model}: {injected.plant} {injected.strength}: {'red' if injected.caught else 'green'}{drop}"


def judged(
    trial: Trial,
    fault: Fault | RuntimeFault,
    strength: float | str,
    seed: int,
    artifact: bytes,
    outputs: Inputs | None = None,
) -> InjectedFault:
    """Judge a broken artifact, or broken outputs of a healthy one."""
    seen = trial.judge(artifact, outputs)
    return InjectedFault(
        plant=fault.name,
        model=trial.model.name,
        where=f"output {trial.output}" if trial.output else fault.where,
        host=fault.host,
        strength=str(strength),
        seed=seed,
        seen_by=fault.seen_by,
        drop=float(seen.drop) if np.isfinite(seen.drop) else None,
        growth=seen.growth,
        harmful=seen.harmful or fault.always or fault.seen_by is Kind.STRUCTURE,
        caught=trial.caught(seen.red),
        caught_by=sorted({j.kind for j in seen.red}),
        checks=sorted({j.measurement for j in seen.red}),
        verdict=worst([j.verdict for j in seen.judgements]),
    )


def record(model: ReferenceModel, count: int, prepare: Prepare | None = None) -> list[Measured]:
    """Convert and measure the healthy artifact in ``count`` fresh processes, each with an empty store, while
    :mod:`quantbench.selftest.load` loads the machine.

    Args:
        prepare: makes the model to be recorded from the one that the file declares; that one where None.
    """
    fresh = ProcessPoolExecutor(cores(), multiprocessing.get_context("spawn"), max_tasks_per_child=1)
    with busy(seed=0), fresh as pool:
        return list(pool.map(partial(from_nothing, prepare, model.file), [model.name] * count))


def from_nothing(prepare: Prepare | None, file: Path, name: str) -> Measured:
    """Convert and measure the healthy artifact with an empty store; the arguments can be sent to another process."""
    model = next(model for model in load_file(file) if model.name == name)
    with tempfile.TemporaryDirectory(prefix="quantbench-") as folder, output_to(Path(folder) / "log"):
        return Trial(model if prepare is None else prepare(model), Store(Path(folder) / "store")).recorded


def null_runs(trial: Trial, recorded: list[Measured], runs: int) -> list[bool]:
    """Judge null runs: baseline and run are two recordings, drawn at random; return whether each failed."""
    random = np.random.default_rng(0)
    reds = []
    for _ in range(runs):
        before, now = random.permutation(len(recorded))[:2]
        trial.accept(recorded[before])
        judgements = trial.judgements(recorded[now])
        reds.append(any(judgement.verdict in RED for judgement in judgements))
    return reds
