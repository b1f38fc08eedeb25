"""Connect to a Dask cluster that computes, and times, the cells of a run, and send models to it.

Its workers must be identical machines with this machine's package versions and code, so that results are comparable.
"""

import asyncio
import logging
import platform
import socket
import time
import uuid
from collections.abc import Callable
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from quantbench.core import environment
from quantbench.core.options import RunOptions
from quantbench.engine.workers.task import Task, model_of
from quantbench.errors import BadInput
from quantbench.files import LARGEST_MODEL, in_tree, read_bytes
from quantbench.measure.latency import LatencyFailed
from quantbench.measure.memory import MemoryFailed
from quantbench.records import Environment
from quantbench.reference.datasets import file_sha256
from quantbench.reference.model import ReferenceModel
from quantbench.variants import built
from quantbench.variants.tuned import recipe_file

CONNECT_SECONDS = 10
# A worker that offers it does nothing else while it times; the machine class is that of all workers.
RESOURCE = {"latency": 1}
TIMING_SECONDS = 600
_TICK_SECONDS = 0.1
SCHEMES = ("tcp", "tls", "ws", "wss", "ucx")
INSTALL = "pip install 'quantbench[cluster]'"


@dataclass(frozen=True)
class Cluster:
    """Hold a connection to a scheduler whose workers have been checked.

    Attributes:
        client: Dask's client.
        cpu: of the workers, see :func:`quantbench.core.environment.cpu`.
        environment: of the workers, which are all of one kind.
        workers: number of cells that they compute at a time.
        times: whether one of them offers the resource ``latency``.
    """

    client: Any
    address: str
    cpu: tuple[str, str]
    environment: Environment
    workers: int
    times: bool
    _carried: dict[str, Any] = field(default_factory=dict)

    def carried(self, path: Path, sha256: str) -> Any:
        """Return a handle to a file's content on the cluster; each file is sent once."""
        from quantbench.engine.workers import cluster_worker

        if sha256 not in self._carried:
            key = f"quantbench-file-{sha256}"
            self._carried[sha256] = self.client.submit(
                cluster_worker.carry, read_bytes(path, "file", LARGEST_MODEL), key=key
            )
        return self._carried[sha256]

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a measuring function on a worker that offers ``latency``; paths and models among its arguments are sent.

        Raises:
            LatencyFailed: the measurement failed, with the reason.
            MemoryFailed: the same, where the function itself raises it.
        """
        from quantbench.engine.workers import cluster_worker

        given: list[Any] = []
        wanted: list[tuple[Path, str]] = []
        for argument in arguments:
            if isinstance(argument, Path):
                files = {argument.name: (argument, file_sha256(argument))}
                given.append(cluster_worker.Files({argument.name: files[argument.name][1]}, argument.name))
            elif isinstance(argument, ReferenceModel):
                files = model_files(argument.file, argument.name)
                given.append(travelling(argument.file, argument.name))
            else:
                files = {}
                given.append(argument)
            wanted += files.values()
        key = f"quantbench-latency-{uuid.uuid4().hex}"
        if self.is_lost:
            raise LatencyFailed(self.lost)
        try:
            contents = [self.carried(path, sha256) for path, sha256 in wanted]
            future = self.client.submit(
                cluster_worker.call, function, given, *contents, key=key, resources=RESOURCE, retries=0, pure=False
            )
            self._wait(future)
            return future.result(timeout=TIMING_SECONDS)
        except (LatencyFailed, MemoryFailed):
            raise
        except Exception as error:  # a lost worker, a lost scheduler, or no worker that offers ``latency`` any more
            if self.is_lost or isinstance(error, CancelledError):  # we cancel nothing, so Dask did
                raise LatencyFailed(self.lost) from None
            words = " ".join(str(error).split())[:300]
            raise LatencyFailed(f"the cluster did not time it ({type(error).__name__}: {words})") from error

    def _wait(self, future: Any) -> None:
        """Wait until the future is done or lost: Dask forgets what is submitted while a client closes."""
        deadline = time.monotonic() + TIMING_SECONDS
        while not future.done():
            if self.is_lost:
                raise LatencyFailed(self.lost)
            if time.monotonic() > deadline:
                raise LatencyFailed(f"the cluster did not time it within {TIMING_SECONDS} s")
            time.sleep(_TICK_SECONDS)

    @property
    def is_lost(self) -> bool:
        """Return whether the scheduler, or the connection to it, is gone."""
        return bool(self.client.status != "running")

    @property
    def lost(self) -> str:
        """Return the message for a lost scheduler, with what to do."""
        return (
            f"the scheduler at {self.address} was lost; start it and its workers again and run again: finished cells "
            "are taken from the cache"
        )

    def check_times(self) -> None:
        """Raise BadInput where no worker offers ``latency``."""
        if not self.times:
            raise BadInput(
                f"--cluster: no worker of {self.address} offers the resource latency; start one with: dask worker "
                f"--nthreads 1 --no-nanny --resources latency=1 {self.address}; or add --no-latency"
            )

    def note(self) -> str:
        """Return the note for the report."""
        return f"computed by the workers of {self.address}; the environment shown is the workers'"

    def close(self) -> None:
        """Disconnect from the scheduler."""
        self._carried.clear()
        with suppress(OSError, TimeoutError):
            self.client.close(timeout=2)


def of_run(options: RunOptions) -> Cluster | None:
    """Return the cluster of a run, if it uses one; from then on results belong to its workers' CPU.

    Raises:
        BadInput: see :func:`connect`.
    """
    if not options.cluster:
        return None
    if options.workers:
        raise BadInput("--workers: counts processes of this machine; --cluster has workers of its own, so give one")
    cluster = connect(options.cluster)
    environment.compute_elsewhere(cluster.cpu)
    return cluster


def connect(address: str, seconds: float = CONNECT_SECONDS) -> Cluster:
    """Connect to a scheduler, and check that its workers would compute the same as this machine.

    Args:
        seconds: to wait for the scheduler, and again for the first worker.

    Raises:
        BadInput: Dask is not installed, nothing answers, there are no workers, or a worker does not match.
    """
    try:
        import dask
        import distributed
    except ImportError:
        raise BadInput(f"--cluster: needs the package distributed: {INSTALL}") from None
    # Errors are reported in one sentence of ours; files as tasks are intended, see `cluster_worker.carry`.
    for name in ("distributed", "distributed.client"):  # the second has a level of its own
        logging.getLogger(name).setLevel(logging.CRITICAL)
    dask.config.set({"distributed.admin.large-graph-warning-threshold": "100GiB"})
    _check_address(address, seconds)
    try:
        client = distributed.Client(address, timeout=seconds, set_as_default=False)
    except Exception as error:  # what answers need not be a scheduler
        raise BadInput(_no_scheduler(address, seconds, error)) from None
    try:
        return _checked(client, address, seconds)
    except BaseException:
        client.close(timeout=2)
        raise


def _check_address(address: str, seconds: float) -> None:
    """Raise BadInput unless a scheduler answers there; a client that fails leaves threads that never end."""
    from distributed.comm import connect as greeted

    scheme, separator, rest = address.rpartition("://")
    host, colon, port = rest.rpartition(":")
    known_scheme = scheme in SCHEMES or not separator
    if not (known_scheme and host and colon and port.isdecimal() and 0 < int(port[:6]) < 2**16):
        raise BadInput(f"--cluster: expected an address such as tcp://scheduler:8786, found {address!r}")
    if scheme not in ("", "tcp"):
        return  # these need keys, or libraries, that Dask's client knows of

    async def greet() -> None:
        comm = await asyncio.wait_for(greeted(f"tcp://{rest}", timeout=seconds / 2), seconds)
        comm.abort()

    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=seconds / 2).close()
        asyncio.run(greet())
    except Exception as error:  # whatever answers there may send anything
        raise BadInput(_no_scheduler(address, seconds, error)) from None


def _no_scheduler(address: str, seconds: float, error: Exception) -> str:
    words = " ".join(str(error).split())[:200] or type(error).__name__
    return (
        f"--cluster: no scheduler answers at {address} within {seconds:g} s ({words}); start one with: dask scheduler"
    )


def _checked(client: Any, address: str, seconds: float) -> Cluster:
    try:
        client.wait_for_workers(1, timeout=seconds)
    except TimeoutError:
        raise BadInput(
            f"--cluster: the scheduler at {address} has had no worker for {seconds:g} s; start some with: "
            f"dask worker --nthreads 1 --no-nanny {address}"
        ) from None
    from quantbench.engine.workers import cluster_worker

    _check_versions(client, cluster_worker.PACKAGES)
    replies = client.run(cluster_worker.about, on_error="return")
    # A worker that was just lost does not matter.
    workers = {worker: about for worker, about in replies.items() if not isinstance(about, OSError)}
    if not workers:
        raise BadInput(f"--cluster: the scheduler at {address} has lost its workers; start others")
    for worker, about in workers.items():
        _check_worker(worker, about, cluster_worker.code())
    first = next(iter(workers.values()))
    kind = first.environment.machine_class
    for worker, about in workers.items():
        if about.environment.machine_class != kind or about.cpu != first.cpu:
            raise BadInput(
                f"--cluster: the workers are of more than one kind: {kind} and, at {worker}, "
                f"{about.environment.machine_class}; results depend on it, so start workers of one kind"
            )
    resources = client.run_on_scheduler(_resources)
    return Cluster(
        client, address, first.cpu, first.environment, sum(client.nthreads().values()), "latency" in resources
    )


def _resources(dask_scheduler: Any) -> list[str]:
    """Return the names of the resources that workers offer."""
    return sorted({name for worker in dask_scheduler.workers.values() for name in worker.resources})


def _check_versions(client: Any, packages: tuple[str, ...]) -> None:
    """Raise BadInput unless scheduler and workers have this machine's versions; needs none of our code there."""
    for package in packages:
        here = _version(package)
        for where, version in {"the scheduler": _of_scheduler(client, package), **_of_workers(client, package)}.items():
            if version != here:
                raise BadInput(_differs(where, package, version, here))
    ours = platform.python_version()
    for worker, version in client.run(platform.python_version, on_error="ignore").items():
        if _minor(version) != _minor(ours):
            raise BadInput(_differs(f"the worker at {worker}", "Python", version, ours))


def _of_workers(client: Any, package: str) -> dict[str, str]:
    versions = client.run(metadata.version, package, on_error="return")
    return {
        f"the worker at {at}": version if isinstance(version, str) else "absent"
        for at, version in versions.items()
        if not isinstance(version, OSError)
    }


def _of_scheduler(client: Any, package: str) -> str:
    try:
        return str(client.run_on_scheduler(metadata.version, package))
    except metadata.PackageNotFoundError:
        return "absent"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]


def _differs(who: str, package: str, there: str, here: str) -> str:
    return f"--cluster: {who} has {package} {there}, this machine {here}; install the same version on both"


def _check_worker(worker: str, about: Any, code: str) -> None:
    if isinstance(about, BaseException):
        words = " ".join(str(about).split())[:200]
        raise BadInput(f"--cluster: the worker at {worker} cannot use quantbench ({type(about).__name__}: {words})")
    if about.code != code:
        raise BadInput(
            f"--cluster: the worker at {worker} has different quantbench code than this machine, under one version; "
            "install the same on both"
        )
    if about.daemon:
        raise BadInput(
            f"--cluster: the worker at {worker} may start no process for a cell; start it with --no-nanny, or with "
            "DASK_DISTRIBUTED__WORKER__DAEMON=False"
        )


# ---------------------------------------------------------------- sending models


def travelling(model_file: Path, name: str) -> Any:
    """Return a model as it is sent, without the contents of its files."""
    from quantbench.engine.workers.cluster_worker import Files

    hashes = {path: sha256_of for path, (_, sha256_of) in model_files(model_file, name).items()}
    return Files(hashes, model_file.name, name)


@lru_cache(maxsize=64)
def model_files(model_file: Path, name: str) -> dict[str, tuple[Path, str]]:
    """Map path relative to the model's folder -> (file, its sha256), for every file that a worker needs of a model.

    Raises:
        BadInput: a path of the model's file is outside the folder, where a worker could not put it.
    """
    from quantbench.engine.workers.cluster_worker import inside

    model = model_of(Task(model_file, name, "", 0, None, Path(), Path()))
    folder = model_file.parent
    model_parts = [model_file, *sorted(folder.glob("_*.py"))]
    model_parts += [recipe] if (recipe := recipe_file(model)).is_file() else []
    model_parts += _built(model)
    for given, field_name in ((model.weights, "weights"), (model.data, "data")):
        if not inside(given):
            raise BadInput(
                f"{model_file}: {field_name}: --cluster takes files inside the model's own folder, found {given!r}"
            )
        path = folder / given
        model_parts += sorted(in_tree(path)) if path.is_dir() else [path]
    return {file.relative_to(folder).as_posix(): (file, file_sha256(file)) for file in model_parts}


def _built(model: ReferenceModel) -> list[Path]:
    """Return a model's list of artifacts built elsewhere, and them. Raises BadInput where one is outside its folder."""
    listed = built.list_of(model.file, model.name)
    files = built.files_of(model.file, model.name)
    for file in files:
        if not file.resolve().is_relative_to(model.file.parent.resolve()):
            raise BadInput(
                f"{listed}: artifacts: --cluster takes files inside the model's own folder, found {str(file)!r}"
            )
    return [listed, *(file.resolve() for file in files if file.is_file())] if files else []
