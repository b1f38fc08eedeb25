"""Inject faults into a converted artifact: each is really made, really measured, and judged by the real judges."""

import hashlib
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from quantbench import gate
from quantbench.build.artifact import StoreWorkbench
from quantbench.build.store import Store
from quantbench.core.arrays import Array
from quantbench.core.output import output_to
from quantbench.measure import accuracy, size
from quantbench.measure import census as structure
from quantbench.records import (
    Accepted,
    BaselineCell,
    BaselineValue,
    InjectedFault,
    Judgement,
    Kind,
    Measurement,
    Verdict,
    worst,
)
from quantbench.reference.model import ReferenceModel, load_file
from quantbench.reference.training import seed_everything
from quantbench.selftest import faults, operators
from quantbench.selftest.faults import SUBJECT_VARIANT, Fault, Subject
from quantbench.selftest.load import busy
from quantbench.tflite.edit import repacked
from quantbench.variants import VARIANTS

HARM_PP = 0.3
HARM_SIZE = 0.01
FAULTS = [*faults.FAULTS, *operators.FAULTS]
# The cells that share the false-alarm budget if every cell of a nightly run changed: the hardest case for each.
NIGHTLY_JUDGEMENTS = 336


class Trial:
    """Hold a healthy artifact with its baseline, and judge other artifacts against it.

    Args:
        model: one with a right-or-wrong metric.
        store: of this trial alone.
        host: the variant that made the artifact.

    Attributes:
        answers: predictions of the healthy artifact, shape (n,).
        share: p-value below which the gate fails.
    """

    def __init__(self, model: ReferenceModel, store: Store, host: str = SUBJECT_VARIANT) -> None:
        self.model = model
        self._host = VARIANTS[host]
        self._store = store
        seed_everything(0)
        self.bench = StoreWorkbench(model, 0, None, store)
        self.subject = Subject(self.bench, self.healthy())
        self._subject = gate.Subject(model.name, host, "reports/selftest")
        self.share = gate.share(gate.DEFAULT_BUDGET, NIGHTLY_JUDGEMENTS).share
        self.accept(self.measure(self.subject.artifact))

    def accept(self, healthy: "Measured") -> None:
        """Accept the measurements of a healthy artifact as the baseline."""
        self.answers = healthy.predictions
        self._baseline = _accepted(healthy)

    def healthy(self) -> bytes:
        """Convert the artifact again."""
        return repacked(self._host.make(self.bench))

    def judge(self, artifact: bytes) -> tuple[list[Judgement], float, float]:
        """Return (judgements, drop in pp, growth as a fraction); an artifact that cannot run is an error judgement."""
        try:
            measured = self.measure(artifact)
        except (RuntimeError, ValueError) as error:  # no runtime loads or runs it, which counts as caught
            failed = Judgement(
                kind=Kind.ACCURACY,
                measurement="cell",
                against="nothing",
                verdict=Verdict.ERROR,
                message=f"cannot be run: {type(error).__name__}: {str(error)[:100]}",
            )
            return [failed], float("nan"), 0.0
        return self.judgements(measured), *self._harm(measured)

    def _harm(self, measured: "Measured") -> tuple[float, float]:
        before = self._baseline.measurements
        drop = self.model.metric.drop(measured.score, before["score"].value)
        return drop, measured.sizes["size"] / before["size"].value - 1

    def measure(self, artifact: bytes) -> "Measured":
        """Run and read an artifact. Raises RuntimeError where no runtime can run it."""
        with tempfile.TemporaryDirectory(prefix="quantbench-") as folder:
            path = Path(folder) / "artifact.tflite"
            path.write_bytes(artifact)
            sha256 = hashlib.sha256(artifact).hexdigest()
            evaluation = accuracy.evaluate(path, sha256, self.model, self._store)
            if evaluation.predictions is None:
                raise RuntimeError(evaluation.refusal)
            contents = structure.through_store(path, sha256, self._store)
            return Measured(evaluation, contents.census, size.sizes(path), sha256)

    def judgements(self, measured: "Measured") -> list[Judgement]:
        """Judge the measurements of an artifact."""
        labels = self.model.pack().test.y
        n = len(labels)
        score = None
        if not measured.nonfinite:
            score = Measurement(value=measured.score, unit="fraction", n=n)
        answers = gate.Answers(score, measured.predictions, measured.nonfinite)
        sizes = {name: Measurement(value=value, unit="bytes", n=1) for name, value in measured.sizes.items()}
        metric, baseline, promise = self.model.metric, self._baseline, self._host.promise
        return [
            gate.accuracy(self._subject, metric, answers, labels, baseline, self.answers, self.share, trained=False),
            *gate.sizes(self._subject, sizes, baseline),
            *gate.structure(self._subject, [measured.census], promise, baseline, trained=False),
        ]


class Measured:
    """Hold the judged measurements of an artifact."""

    def __init__(self, evaluation: accuracy.Evaluation, census: Any, sizes: dict[str, int], sha256: str) -> None:
        assert evaluation.predictions is not None
        self.predictions: Array = evaluation.predictions
        self.score, self.nonfinite = evaluation.score, evaluation.nonfinite
        self.census, self.sizes, self.sha256 = census, sizes, sha256


def _accepted(measured: Measured) -> BaselineCell:
    stamp = Accepted(date="", reason="healthy", run="selftest", environment="")

    def value(of: float, unit: str, tolerance: float) -> BaselineValue:
        return BaselineValue(
            value=of,
            unit=unit,
            n=1,
            noise=0.0,
            noise_from="healthy",
            tolerance=tolerance,
            tolerance_from="as recorded by an update",
            accepted=stamp,
        )

    values = {name: value(measured.sizes[name], "bytes", limit) for name, limit in gate.SIZE_TOLERANCES.items()}
    values["score"] = value(measured.score, "fraction", 0.0)
    return BaselineCell(measurements=values, census=measured.census, artifact_sha256=measured.sha256)


def injected_faults(
    model: ReferenceModel, store: Store, seeds: int, say: Callable[[str], None], quick: bool = False
) -> Iterator[InjectedFault]:
    """Inject every fault at every strength, or at its weakest and strongest, with as many seeds as it needs."""
    trials: dict[str, Trial] = {}
    for fault in FAULTS:
        if fault.host not in trials:
            trials[fault.host] = Trial(model, store, fault.host)
        ends = dict.fromkeys((fault.strengths[0], fault.strengths[-1]))
        for strength in ends if quick else fault.strengths:
            yield from _repeated(trials[fault.host], fault, strength, seeds, say)


def _repeated(
    trial: Trial, fault: Fault, strength: float | str, seeds: int, say: Callable[[str], None]
) -> Iterator[InjectedFault]:
    seen: set[str] = set()
    for seed in range(seeds):
        artifact = fault.make(trial.subject, strength, np.random.default_rng(seed))
        sha256 = hashlib.sha256(artifact).hexdigest()
        if sha256 in seen:  # the fault is not random
            return
        seen.add(sha256)
        injected = judged(trial, fault, strength, seed, artifact)
        say(described(injected))
        yield injected


def described(injected: InjectedFault) -> str:
    """Describe the result in one line of progress."""
    drop = "" if injected.drop is None else f", drop {injected.drop:+.2f} pp"
    return f"{injected.plant} {injected.strength}: {'red' if injected.caught else 'green'}{drop}"


def judged(trial: Trial, fault: Fault, strength: float | str, seed: int, artifact: bytes) -> InjectedFault:
    """Judge a broken artifact."""
    judgements, drop, growth = trial.judge(artifact)
    red = [j for j in judgements if j.verdict in (Verdict.REGRESSED, Verdict.ERROR)]
    harmful = drop >= HARM_PP or growth >= HARM_SIZE or fault.seen_by is Kind.STRUCTURE or not np.isfinite(drop)
    return InjectedFault(
        plant=fault.name,
        where=fault.where,
        host=fault.host,
        strength=str(strength),
        seed=seed,
        seen_by=fault.seen_by,
        drop=float(drop) if np.isfinite(drop) else None,
        growth=growth,
        harmful=harmful,
        caught=bool(red),
        caught_by=sorted({j.kind for j in red}),
        checks=sorted({j.measurement for j in red}),
        verdict=worst([j.verdict for j in judgements]),
    )


def record(model: ReferenceModel, count: int) -> list[Measured]:
    """Convert and measure the healthy artifact in ``count`` fresh processes, each with an empty store, while
    :mod:`quantbench.selftest.load` loads the machine.
    """
    fresh = ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn"), max_tasks_per_child=1)
    with busy(seed=0), fresh as pool:
        return list(pool.map(_from_nothing, [model.file] * count, [model.name] * count))


def _from_nothing(file: Path, name: str) -> Measured:
    model = next(model for model in load_file(file) if model.name == name)
    with tempfile.TemporaryDirectory(prefix="quantbench-") as folder, output_to(Path(folder) / "log"):
        trial = Trial(model, Store(Path(folder) / "store"))
        return trial.measure(trial.subject.artifact)


def null_runs(trial: Trial, recorded: list[Measured], runs: int) -> list[bool]:
    """Judge null runs: baseline and run are two recordings, drawn at random; return whether each failed."""
    random = np.random.default_rng(0)
    reds = []
    for _ in range(runs):
        before, now = random.permutation(len(recorded))[:2]
        trial.accept(recorded[before])
        judgements = trial.judgements(recorded[now])
        reds.append(any(judgement.verdict in (Verdict.REGRESSED, Verdict.ERROR) for judgement in judgements))
    return reds
