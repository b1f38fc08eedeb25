"""Find which side changed a cell: find artifacts in the store, and run each side's on the other side's runtime."""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from quantbench.ab.result import Files
from quantbench.ab.runs import Runner
from quantbench.core import child_process
from quantbench.core.arrays import Array
from quantbench.core.threads import cores

FIND_LIMIT_SECONDS, RUN_LIMIT_SECONDS = 600.0, 1800.0


@dataclass(frozen=True)
class Artifact:
    """Describe one side's artifact of a cell.

    Attributes:
        sha256: of its bytes.
        plain: of its bytes without the converter's stamp.
    """

    path: Path
    sha256: str
    plain: str


@dataclass(frozen=True)
class Crossed:
    """Hold the results of an artifact on the other side's runtime.

    Attributes:
        score: the metric's value; None where it failed.
        predictions: shape (n,).
        failure: why there are none, in one line.
    """

    score: float | None = None
    predictions: Array | None = field(default=None, repr=False)
    failure: str = ""


def find(side: Runner, cells: list[str], model_dir: Path) -> dict[str, Artifact]:
    """Find one side's artifacts in the store; cells that it could not build are omitted.

    Raises:
        child_process.ChildFailed: the side's environment cannot start.
    """
    answer = _ask(side, {"find": cells, "model_dir": str(model_dir.absolute())}, FIND_LIMIT_SECONDS)
    return {cell: Artifact(Path(fields["path"]), fields["sha256"], fields["plain"]) for cell, fields in answer.items()}


def run_on(side: Runner, artifacts: Mapping[str, Artifact], model_dir: Path, folder: Path) -> dict[str, Crossed]:
    """Run the other side's artifacts on this side's runtime, each in its own process.

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
            answer = _ask(side, job, RUN_LIMIT_SECONDS)
        except child_process.ChildFailed as error:
            return Crossed(failure=f"its process {error}")
        if "refusal" in answer:
            return Crossed(failure=answer["refusal"])
        return Crossed(answer["score"], np.load(to, allow_pickle=False))

    with ThreadPoolExecutor(cores()) as pool:
        return dict(zip(artifacts, pool.map(run, artifacts), strict=True))


def _ask(side: Runner, job: Mapping[str, Any], limit: float) -> Any:
    return child_process.result(
        child_process.start("quantbench.ab.mixed_worker", job, limit, {"PYTHONPATH": ""}, side.python)
    )


def compared(old: Mapping[str, Artifact], new: Mapping[str, Artifact], cells: Iterable[str]) -> Files:
    """Sort the cells that both sides have an artifact of by how the two compare."""
    both = sorted({cell for cell in cells if cell in old and cell in new})
    identical = [cell for cell in both if old[cell].sha256 == new[cell].sha256]
    stamped = [cell for cell in both if cell not in identical and old[cell].plain == new[cell].plain]
    different = [cell for cell in both if cell not in identical and cell not in stamped]
    return Files(tuple(identical), tuple(stamped), tuple(different))
