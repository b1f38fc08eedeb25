"""Describe where a run was measured: the machine, its GPU, and the load by other processes."""

from typing import Literal

from pydantic import Field

from quantbench.records._common import Record


class Load(Record):
    """Load by other processes while a run timed.

    Attributes:
        others: fraction of all cores' time used by processes other than this run's.
        average: the system's load average of the last minute, at the end; None where the system reports none.
    """

    others: float
    average: float | None = None


class Device(Record):
    """A GPU as described by its driver; ``software`` is a driver that computes on the CPU.

    Attributes:
        driver: its name and version, where reported.
    """

    name: str
    kind: Literal["discrete", "integrated", "virtual", "software", "npu", "unknown"]
    driver: str = ""

    @property
    def software(self) -> bool:
        """Whether the driver computes on the CPU, so that its times do not apply to any GPU."""
        return self.kind == "software"

    @property
    def label(self) -> str:
        """Name, kind and driver, for tables."""
        return f"{self.name} ({', '.join(part for part in (self.kind, self.driver) if part)})"


class Environment(Record):
    """Everything that a measured number depends on."""

    python: str
    os: str
    cpu: str
    isa: str = Field(description="hash of the CPU's instruction-set flags")
    cores: int
    memory_gib: float
    packages: dict[str, str]
    dependencies: dict[str, str] = Field(
        default_factory=dict, description="what those packages require, and model files import; empty before 1.8"
    )
    git_commit: str | None = Field(default=None, description="of quantbench's own checkout; None where there is none")
    git_dirty: bool | None = None
    repository_commit: str | None = Field(
        default=None, description="of the repository of the models; None outside of one, and before 1.8"
    )
    repository_dirty: bool | None = None
    machine_class: str = Field(description="key of latency baselines: CPU, ISA, cores, runtime version, threads")
    results_class: str = Field(default="", description="key of overlays: ISA and runtime version; empty before 1.2")
    host: str = Field(
        default="", description="hash of the host's name and machine id, which are not recorded; empty where unknown"
    )
    load: Load | None = Field(default=None, description="of others while this run timed; None where it did not")
    gpu: Device | None = Field(
        default=None, description="the GPU that was measured; None: no_gpu says why there is none"
    )
    no_gpu: str = ""
    further_gpus: list[Device] = Field(
        default_factory=list, description="measured besides that one; measurements on them end in @NAME; since 1.11"
    )

    @property
    def gpus(self) -> dict[str, Device]:
        """Return every measured GPU by what the names of its measurements end in; empty for the first one."""
        first = {} if self.gpu is None else {"": self.gpu}
        return first | {device.name: device for device in self.further_gpus}
