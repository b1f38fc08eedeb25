"""Describe targets: machines that artifacts were run on besides the one that gated, and what came of it."""

import re
from typing import Literal

from pydantic import Field

from quantbench.records._common import Measurement, Record, Verdict

_CLASS = re.compile(r"[^A-Za-z0-9._-]+")
_OF_TARGET = re.compile(r"@\w+-[0-9a-f]{8}_(ai-edge-litert|tflite-runtime)-[^@]+$")


class TargetMachine(Record):
    """What a target's worker says of its machine.

    Attributes:
        isa: hash of what the CPU can do.
        memory, free: bytes, of the machine and of the disk that the worker keeps files on.
        runtime, litert, litert_record: package that the artifacts run on, its version and the hash of its files.
        clock: seconds since 1970, as its clock had it at the start.
    """

    python: str
    machine: str
    os: str
    cpu: str
    isa: str
    cores: int = Field(ge=1)
    memory: int = Field(ge=0)
    free: int = Field(ge=0)
    runtime: str
    litert: str
    litert_record: str = ""
    numpy: str
    folder: str
    clock: float

    @property
    def results_class(self) -> str:
        """Return the key of its overlays: within it, the same artifact gives the same outputs."""
        return _CLASS.sub("_", f"{self.machine}-{self.isa}_{self.runtime}-{self.litert}")


def is_of_target(name: str) -> bool:
    """Check whether stored predictions of this name, ``variant@class``, are of a target's results class."""
    return _OF_TARGET.search(name) is not None


class Target(Record):
    """A target of a run.

    Attributes:
        address: as it was given.
        emulated: whether its times say nothing about any machine.
        machine: None where it could not be asked.
        results_class: key of its overlays in baselines; empty where it could not be asked.
        failure: why no cell could be run there; empty where that was possible.
        notes: what is wrong there besides, one sentence each: a clock that is off.
        sent: bytes of artifacts and data that had to be sent.
    """

    address: str
    emulated: bool = False
    machine: TargetMachine | None = None
    results_class: str = ""
    failure: str = ""
    notes: list[str] = Field(default_factory=list)
    sent: int = 0


class OnTarget(Record):
    """What came of a cell on one target.

    Attributes:
        measurements: ``score``, ``agreement`` (examples answered as on the machine that gated), ``latency`` and
            ``latency_ratio`` to float32 there, ``first_call``, ``memory``; without what could not be measured.
        local: score on the machine that gated, of the same examples.
        lost, gained: examples that are wrong there and right here, and the other way; None where the metric does not
            count them.
        differing: examples whose prediction is another there than here.
        verdict: of its judgements, which are among those of the cell.
        accepted: whether its answers were judged by accepted ones of its results class.
        failure: why it has no answers; empty where it has.
        lacking: what else could not be measured -> why.
        predictions_sha256: of its predictions.
        cached: whether its answers came from the store.
        retried: why something was tried again, one sentence each.
    """

    measurements: dict[str, Measurement] = Field(default_factory=dict)
    local: float | None = None
    lost: int | None = None
    gained: int | None = None
    differing: int | None = None
    verdict: Verdict = Verdict.UNJUDGED
    accepted: bool = False
    failure: str = ""
    code: Literal[
        "",
        "unreachable",
        "not-here",
        "host-key",
        "login",
        "no-python",
        "no-module",
        "no-room",
        "no-folder",
        "versions",
        "lost",
        "silent",
        "slow",
        "garbled",
        "bad-file",
        "bad-request",
        "refused",
        "failed",
        "died",
        "clock",
    ] = Field(default="", description="of the failure, for programs")
    lacking: dict[str, str] = Field(default_factory=dict)
    predictions_sha256: str | None = None
    cached: bool = False
    retried: list[str] = Field(default_factory=list)
