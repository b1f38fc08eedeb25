"""Plants in a converted artifact: each is made for real, measured for real, and judged by the real judges."""

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
    Judgement,
    Kind,
    Measurement,
    Planted,
    Verdict,
    worst,
)
from quantbench.reference.model import ReferenceModel, load_file
from quantbench.reference.training import seed_everything
from quantbench.selftest import operators, plants
from quantbench.selftest.load import busy
from quantbench.selftest.plants import HOST, Ground, Plant
from quantbench.tflite.edit import repacked
from quantbench.variants import VARIANTS

HARM_PP = 0.3
HARM_SIZE = 0.01
PLANTS = [*plants.PLANTS, *operators.PLANTS]
# That share the false-alarm budget where chance moved every cell of a nightly run: the hardest case for each of them.
NIGHTLY_JUDGEMENTS = 336


class Trial:
    """A healthy artifact with its baseline, and the judges that hold another one against it.

    Args:
        model: one that is scored as right or wrong.
        store: of this trial alone.
        host: the variant whose artifact it is.

    Attributes:
        answers: predictions of the healthy artifact, shape (n,).
        share: what p-value is red.
    """

    def __init__(self, model: ReferenceModel, store: Store, host: str = HOST) -> None:
        self.model = model
        self._host = VARIANTS[host]
        self._store = store
        seed_everything(0)
        self.bench = StoreWorkbench(model, 0, None, store)
        self.ground = Ground(self.bench, self.healthy())
        self._subject = gate.Subject(model.name, host, "reports/selftest")
        self.share = gate.share(gate.DEFAULT_BUDGET, NIGHTLY_JUDGEMENTS).share
        self.accept(self.measure(self.ground.artifact))

    def accept(self, healthy: "Measured") -> None:
        """Take what was measured of a healthy artifact for the baseline."""
        self.answers = healthy.predictions
        self._baseline = _accepted(healthy)

    def healthy(self) -> bytes:
        """The artifact, converted again."""
        return repacked(self._host.make(self.bench))

    def judge(self, artifact: bytes) -> tuple[list[Judgement], float, float]:
        """(judgements, drop in pp, growth as a fraction) of an artifact; one that cannot run is an error judgement."""
        try:
            measured = self.measure(artifact)
        except (RuntimeError, ValueError) as error:  # what no runtime loads or runs is seen as such
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
        """Run and read an artifact. Raises RuntimeError where no runtime takes it."""
        with tempfile.TemporaryDirectory(prefix="quantbench-") as folder:
            path = Path(folder) / "artifact.tflite"
            path.write_bytes(artifact)
            sha256 = hashlib.sha256(artifact).hexdigest()
            found = accuracy.evaluate(path, sha256, self.model, self._store)
            if found.predictions is None:
                raise RuntimeError(found.refusal)
            contents = structure.through_store(path, sha256, self._store)
            return Measured(found, contents.census, size.sizes(path), sha256)

    def judgements(self, measured: "Measured") -> list[Judgement]:
        """What the judges say of what was measured of an artifact."""
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
    """What is judged of an artifact."""

    def __init__(self, found: accuracy.Evaluation, census: Any, sizes: dict[str, int], sha256: str) -> None:
        assert found.predictions is not None
        self.predictions: Array = found.predictions
        self.score, self.nonfinite = found.score, found.nonfinite
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


def planted(
    model: ReferenceModel, store: Store, seeds: int, say: Callable[[str], None], quick: bool = False
) -> Iterator[Planted]:
    """Every plant at every strength, or at its weakest and strongest; as many seeds as its randomness needs."""
    trials: dict[str, Trial] = {}
    for plant in PLANTS:
        if plant.host not in trials:
            trials[plant.host] = Trial(model, store, plant.host)
        ends = dict.fromkeys((plant.strengths[0], plant.strengths[-1]))
        for strength in ends if quick else plant.strengths:
            yield from _repeated(trials[plant.host], plant, strength, seeds, say)


def _repeated(
    trial: Trial, plant: Plant, strength: float | str, seeds: int, say: Callable[[str], None]
) -> Iterator[Planted]:
    seen: set[str] = set()
    for seed in range(seeds):
        artifact = plant.make(trial.ground, strength, np.random.default_rng(seed))
        sha256 = hashlib.sha256(artifact).hexdigest()
        if sha256 in seen:  # nothing random in it
            return
        seen.add(sha256)
        found = judged(trial, plant, strength, seed, artifact)
        say(described(found))
        yield found


def described(found: Planted) -> str:
    """One line of progress."""
    drop = "" if found.drop is None else f", drop {found.drop:+.2f} pp"
    return f"{found.plant} {found.strength}: {'red' if found.caught else 'green'}{drop}"


def judged(trial: Trial, plant: Plant, strength: float | str, seed: int, artifact: bytes) -> Planted:
    """What the judges make of a broken artifact."""
    judgements, drop, growth = trial.judge(artifact)
    red = [j for j in judgements if j.verdict in (Verdict.REGRESSED, Verdict.ERROR)]
    harmful = drop >= HARM_PP or growth >= HARM_SIZE or plant.seen_by is Kind.STRUCTURE or not np.isfinite(drop)
    return Planted(
        plant=plant.name,
        where=plant.where,
        host=plant.host,
        strength=str(strength),
        seed=seed,
        seen_by=plant.seen_by,
        drop=float(drop) if np.isfinite(drop) else None,
        growth=growth,
        harmful=harmful,
        caught=bool(red),
        caught_by=sorted({j.kind for j in red}),
        checks=sorted({j.measurement for j in red}),
        verdict=worst([j.verdict for j in judgements]),
    )


def record(model: ReferenceModel, count: int) -> list[Measured]:
    """The healthy artifact, converted and measured in so many fresh processes, with nothing from any store, while
    :mod:`quantbench.selftest.load` loads the machine.
    """
    fresh = ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn"), max_tasks_per_child=1)
    with busy(seed=0), fresh as pool:
        return list(pool.map(_from_nothing, [model.file] * count, [model.name] * count))


def _from_nothing(file: Path, name: str) -> Measured:
    model = next(one for one in load_file(file) if one.name == name)
    with tempfile.TemporaryDirectory(prefix="quantbench-") as folder, output_to(Path(folder) / "log"):
        trial = Trial(model, Store(Path(folder) / "store"))
        return trial.measure(trial.ground.artifact)


def null_runs(trial: Trial, recorded: list[Measured], runs: int) -> list[bool]:
    """Whether each run was called red: the baseline and the run are two recordings, drawn at random."""
    random = np.random.default_rng(0)
    reds = []
    for _ in range(runs):
        before, now = random.permutation(len(recorded))[:2]
        trial.accept(recorded[before])
        found = trial.judgements(recorded[now])
        reds.append(any(judgement.verdict in (Verdict.REGRESSED, Verdict.ERROR) for judgement in found))
    return reds
