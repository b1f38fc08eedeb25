"""Which side did it: artifacts found in the store, and each side's artifact run by the other side's runtime."""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from quantbench.ab.runs import Runner
from quantbench.core import child_process
from quantbench.core.arrays import Array
from quantbench.core.threads import cores

FIND_LIMIT_SECONDS, RUN_LIMIT_SECONDS = 600.0, 1800.0


@dataclass(frozen=True)
class Artifact:
    """One side's artifact of a cell.

    Attributes:
        sha256: of its bytes.
        plain: of its bytes without the converter's stamp.
    """

    path: Path
    sha256: str
    plain: str


@dataclass(frozen=True)
class Crossed:
    """What one artifact answers on a runtime that is not its own side's.

    Attributes:
        score: the metric's value; None where it could not be had.
        predictions: shape (n,).
        failure: why there are none, in one line.
    """

    score: float | None = None
    predictions: Array | None = field(default=None, repr=False)
    failure: str = ""


def find(one: Runner, cells: list[str], model_dir: Path) -> dict[str, Artifact]:
    """Where one side's artifacts lie; cells that it could not build are left out.

    Raises:
        child_process.ChildFailed: the side's environment does not even start.
    """
    found = _ask(one, {"find": cells, "model_dir": str(model_dir.absolute())}, FIND_LIMIT_SECONDS)
    return {cell: Artifact(Path(told["path"]), told["sha256"], told["plain"]) for cell, told in found.items()}


def run_on(one: Runner, artifacts: Mapping[str, Artifact], model_dir: Path, folder: Path) -> dict[str, Crossed]:
    """The other side's artifacts on this side's runtime, each in a process of its own.

    Args:
        artifacts: cell -> artifact.
        folder: for predictions.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def run(cell: str) -> Crossed:
        to = folder / f"{cell.replace('/', '.')}.npy"
        job: dict[str, Any] = {"run": str(artifacts[cell].path), "sha256": artifacts[cell].sha256, "cell": cell}
        job |= {"model_dir": str(model_dir.absolute()), "to": str(to)}
        try:
            told = _ask(one, job, RUN_LIMIT_SECONDS)
        except child_process.ChildFailed as error:
            return Crossed(failure=f"its process {error}")
        if "refusal" in told:
            return Crossed(failure=told["refusal"])
        return Crossed(told["score"], np.load(to, allow_pickle=False))

    with ThreadPoolExecutor(cores()) as pool:
        return dict(zip(artifacts, pool.map(run, artifacts), strict=True))


def _ask(one: Runner, job: Mapping[str, Any], limit: float) -> Any:
    return child_process.result(
        child_process.start("quantbench.ab.mixed_worker", job, limit, {"PYTHONPATH": ""}, one.python)
    )


def alike(old: Mapping[str, Artifact], new: Mapping[str, Artifact], cells: Iterable[str]) -> set[str]:
    """Cells whose two artifacts differ in nothing but what the converters say of themselves."""
    return {cell for cell in cells if cell in old and cell in new and old[cell].plain == new[cell].plain}
