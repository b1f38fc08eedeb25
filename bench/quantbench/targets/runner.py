"""Run cells on one target: connect, bring what it lacks, take answers, memory and times; try again what may succeed.

A connection that is lost costs at most the request in progress: files continue where they stopped, answers after the
last row that came, and the answers of a finished cell are in the store.
"""

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from quantbench.build import arm_root
from quantbench.build.artifact import code_sha256, model_source
from quantbench.build.store import Store
from quantbench.core.arrays import Array
from quantbench.core.environment import package_version
from quantbench.core.targets import Target
from quantbench.measure.latency import Blocks, Latency
from quantbench.records import TargetMachine
from quantbench.reference.metrics import CODE as METRICS
from quantbench.reference.model import ReferenceModel
from quantbench.targets.answers import Collected
from quantbench.targets.examples import Examples
from quantbench.targets.failures import OF_THE_TARGET, REMADE, WORTH_ANOTHER_TRY, TargetFailed
from quantbench.targets.link import Link
from quantbench.targets.session import Session

LITERT = "ai-edge-litert"
OLDEST_PYTHON = (3, 9)  # that the worker is written for
PROCESSES, PROCESS_SECONDS = 6, 0.25  # of timing, as on this machine
CLOCK_SECONDS = 60.0  # a clock that is off by more is told; nothing here depends on it
LIMIT_SECONDS = 300.0  # for one example
_RESTING = 0.5  # seconds before another try
_FACTS, _PREDICTIONS, _OUTPUTS = "target.json", "predictions.npy", "outputs.npy"

T = TypeVar("T")


@dataclass(frozen=True)
class Artifact:
    """Pair a file with its hash."""

    path: Path
    sha256: str

    def file(self) -> tuple[str, int, Callable[[], bytes]]:
        """Return it as a file to bring."""
        return self.sha256, self.path.stat().st_size, self.path.read_bytes


@dataclass(frozen=True)
class Taken:
    """Hold the answers and the memory of an artifact on a target.

    Attributes:
        predictions: of the first examples, as the model's metric makes them.
        outputs: of the first of these, shape (m, values).
        nonfinite: examples with a NaN or infinite output.
        memory: (peak, before loading) in bytes; None where it could not be measured, for ``no_memory``.
        seconds, cpu: that the answers took there.
    """

    predictions: Array
    outputs: Array
    nonfinite: int
    memory: tuple[int, int] | None = None
    no_memory: str = ""
    seconds: float = 0.0
    cpu: float = 0.0
    cached: bool = False


@dataclass
class Told:
    """Collect what went wrong with a cell and was put right, one sentence each."""

    retried: list[str] = field(default_factory=list)


class Runner:
    """Run cells on one target.

    Args:
        linked: starts the worker.

    Attributes:
        failure: why nothing can be run there at all; None where that is not known.
        machine: what it is; None until it was asked.
        notes: what is wrong there besides, one sentence each.
        sent: bytes that had to be sent.
    """

    def __init__(self, target: Target, store: Store, linked: Callable[[Target], Link] = Link) -> None:
        self.target = target
        self.failure: TargetFailed | None = None
        self.machine: TargetMachine | None = None
        self.notes: list[str] = []
        self.sent = 0
        self._store = store
        self._linked = linked
        self._link: Link | None = None
        self._session: Session | None = None
        self._in_vain = 0
        self._examples: dict[str, Examples] = {}

    # ------------------------------------------------------------ connection

    def connect(self) -> Session:
        """Return the session, of a new connection where there is none.

        Raises:
            TargetFailed: there is none, or LiteRT there is of another version than here.
        """
        if self._session is not None:
            return self._session
        if self.failure is not None:
            raise self.failure
        try:
            self._link = self._linked(self.target)
            session = Session(self._link)
            self._check(session.machine)
        except TargetFailed as failure:
            self.close()
            self._in_vain += 1
            # A machine that answered before may be starting again; one that never did would cost every cell its time.
            if failure.code in OF_THE_TARGET and (self.machine is None or self._in_vain > 1):
                self.failure = failure
            raise
        self._session, self._in_vain = session, 0
        return session

    def _check(self, machine: TargetMachine) -> None:
        here = package_version(LITERT)
        if tuple(int(part) for part in machine.python.split(".")[:2] if part.isdecimal()) < OLDEST_PYTHON:
            raise TargetFailed("no-python", f"Python {machine.python} there is older than 3.9; set 'python'")
        if (machine.runtime, machine.litert) != (LITERT, here) and self.target.versions == "same":
            install = f'run pip install {LITERT}=={here} there, or set the target\'s versions = "any"'
            raise TargetFailed(
                "versions",
                f"{machine.runtime} is {machine.litert} there and {LITERT} is {here} here; "
                f"{REMADE if self.target.scheme == arm_root.NAME else install}",
            )
        before, self.machine = self.machine, machine
        off = machine.clock - time.time()
        if before is None and abs(off) > CLOCK_SECONDS:
            by = f"{_span(abs(off))} {'ahead of' if off > 0 else 'behind'}"
            self.notes.append(f"its clock is {by} this machine's; nothing here depends on it")
        if before is not None and before.results_class != machine.results_class:
            raise TargetFailed("versions", "another machine or runtime answered after the connection was lost")

    def close(self) -> None:
        """End the worker."""
        link, self._link, self._session = self._link, None, None
        if link is not None:
            with suppress(OSError):
                link.close()

    def _tried(self, told: Told, what: str, work: Callable[[Session], T]) -> T:
        """Do some work, and once more over a new connection where that may put right what failed."""
        for last in (False, True):
            try:
                return work(self.connect())
            except TargetFailed as failure:
                self.close()
                if last or failure.code not in WORTH_ANOTHER_TRY:
                    raise
                told.retried.append(f"{what}: {failure}; tried again")
                time.sleep(_RESTING)
        raise AssertionError("there is a last try")

    # ------------------------------------------------------------ a cell

    def answers(self, model: ReferenceModel, artifact: Artifact, told: Told) -> Taken:
        """Return the answers of an artifact there, through the store.

        Raises:
            TargetFailed: it has none.
        """
        if self.machine is None:  # which answers are meant depends on the machine
            self._tried(told, "connecting", lambda session: session.machine)
        assert self.machine is not None

        def make() -> dict[str, bytes]:
            return _stored(self._taken(model, artifact, told))

        return self._store.remember(recipe(artifact.sha256, model, self.target, self.machine), make, _read)

    def scored(self, model: ReferenceModel, artifact: Artifact, told: Told) -> tuple[Collected, float]:
        """Take the answers of an artifact there, and return them with the seconds that they took.

        Raises:
            TargetFailed: it has none.
        """
        examples = self.examples(model)
        got = Collected(model, examples)
        used = 0.0

        def bring_and_answer(session: Session) -> None:
            nonlocal got, used
            self._bring(session, artifact, examples)
            left = max(1.0, self.target.seconds - used)
            since = time.monotonic()
            try:
                if got.count < examples.count:
                    for ports, some in session.answers(
                        artifact.sha256, examples.inputs, got.count, examples.count, left, LIMIT_SECONDS, model.stateful
                    ):
                        got.add(ports, some)
            except TargetFailed as failure:
                if failure.code == "garbled":  # what came before may be as wrong
                    got = Collected(model, examples)
                raise
            finally:
                used += time.monotonic() - since

        self._tried(told, "answers", bring_and_answer)
        return got, used

    def _taken(self, model: ReferenceModel, artifact: Artifact, told: Told) -> Taken:
        got, used = self.scored(model, artifact, told)
        examples, memory, why = self.examples(model), None, ""
        try:
            memory = self._tried(told, "memory", lambda session: self._memory(session, model, artifact, examples))
        except TargetFailed as failure:
            why = str(failure)
        return Taken(got.predictions(), got.outputs(), got.nonfinite, memory, why, used)

    def _memory(
        self, session: Session, model: ReferenceModel, artifact: Artifact, examples: Examples
    ) -> tuple[int, int]:
        self._bring(session, artifact, examples, 1)
        peak, empty, _ = session.memory(artifact.sha256, examples.inputs, model.stateful)
        return peak, empty

    def times(self, model: ReferenceModel, artifact: Artifact, control: Artifact, told: Told) -> Latency:
        """Time an artifact in turns with its control, in several fresh processes there.

        Raises:
            TargetFailed: it could not be timed.
        """
        examples = self.examples(model)
        timed = Latency([])

        def take(session: Session) -> None:
            self._bring(session, artifact, examples, 1)
            self.sent += session.bring([control.file()])
            for seed in range(len(timed.processes), PROCESSES):
                found = session.times(
                    artifact.sha256, control.sha256, examples.inputs, PROCESS_SECONDS, seed, model.stateful
                )
                blocks = {name: Blocks(one.seconds, one.own, first=one.first) for name, one in found.items()}
                timed.processes.append(blocks)

        self._tried(told, "times", take)
        return timed

    def examples(self, model: ReferenceModel) -> Examples:
        """Return the examples of a model that run there."""
        if model.name not in self._examples:
            self._examples = {model.name: Examples(model, self.target.examples)}  # cells come model by model
        return self._examples[model.name]

    def _bring(self, session: Session, artifact: Artifact, examples: Examples, parts: int | None = None) -> None:
        self.sent += session.bring([artifact.file(), *examples.files(parts)])


def _span(seconds: float) -> str:
    for unit, name in ((86_400, "days"), (3600, "h")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:,.0f} {name}"
    return f"{seconds / 60:,.0f} min"


def recipe(artifact_sha256: str, model: ReferenceModel, target: Target, machine: TargetMachine) -> dict[str, Any]:
    """List everything that affects the answers on a target."""
    return {
        "what": "target",
        "artifact": artifact_sha256,
        "model": model.name,
        "source": model_source(model),
        "data": model.data_sha256,
        "machine": [machine.results_class, machine.litert_record, machine.cpu],
        "effort": [target.examples, target.seconds],
        "code": code_sha256(
            "quantbench.targets.runner",
            "quantbench.targets.answers",
            "quantbench.targets.examples",
            "quantbench.targets.session",
            "quantbench.targets.worker",
            "quantbench.measure.chunks",
            "quantbench.tflite.litert",
            "quantbench.reference.model",
            *METRICS,
        ),
    }


def _stored(taken: Taken) -> dict[str, bytes]:
    facts = {
        "nonfinite": taken.nonfinite,
        "memory": taken.memory,
        "no_memory": taken.no_memory,
        "seconds": taken.seconds,
    }
    files = {_PREDICTIONS: _npy(taken.predictions), _OUTPUTS: _npy(taken.outputs)}
    return files | {_FACTS: json.dumps(facts).encode()}


def _npy(array: Array) -> bytes:
    buffer = BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _read(folder: Path, cached: bool) -> Taken:
    facts: Mapping[str, Any] = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
    memory = None if facts["memory"] is None else (int(facts["memory"][0]), int(facts["memory"][1]))
    return Taken(
        np.load(folder / _PREDICTIONS, allow_pickle=False),
        np.load(folder / _OUTPUTS, allow_pickle=False),
        int(facts["nonfinite"]),
        memory,
        str(facts["no_memory"]),
        float(facts["seconds"]),
        cached=cached,
    )
