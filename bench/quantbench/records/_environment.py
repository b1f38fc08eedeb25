"""Where a run was measured: the machine, its GPU, and what others did on it meanwhile."""

from typing import Literal

from pydantic import Field

from quantbench.records._common import Record


class Load(Record):
    """What others did on the machine while a run timed.

    Attributes:
        others: share of all cores' time that processes besides this run's took.
        average: the system's load average of the last minute, at the end; None where it tells none.
    """

    others: float
    average: float | None = None


class Device(Record):
    """A GPU as its driver tells of it; ``software`` is a driver that computes on the CPU.

    Attributes:
        driver: its name and version, as far as it tells them.
    """

    name: str
    kind: Literal["discrete", "integrated", "virtual", "software", "unknown"]
    driver: str = ""

    @property
    def software(self) -> bool:
        """Whether it is no GPU at all, so that its times say nothing of any."""
        return self.kind == "software"

    @property
    def label(self) -> str:
        """For tables: name, kind and driver."""
        return f"{self.name} ({', '.join(part for part in (self.kind, self.driver) if part)})"


class Environment(Record):
    """What a number depends on."""

    python: str
    os: str
    cpu: str
    isa: str = Field(description="hash of the CPU's instruction-set flags")
    cores: int
    memory_gib: float
    packages: dict[str, str]
    git_commit: str | None = None
    git_dirty: bool | None = None
    machine_class: str = Field(description="key of latency baselines: CPU, ISA, cores, runtime version, threads")
    results_class: str = Field(default="", description="key of overlays: ISA and runtime version; empty before 1.2")
    load: Load | None = Field(default=None, description="of others while this run timed; None where it did not")
    gpu: Device | None = Field(
        default=None, description="the GPU that was measured; None: no_gpu says why there is none"
    )
    no_gpu: str = ""
