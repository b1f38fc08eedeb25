"""Run a few examples on LiteRT's other kernels, to distinguish a change of the model from one of the runtime.

They run in a process of their own, as these kernels abort on artifacts that the default ones run: what is lost then is
this comparison, and a sentence says so, but never the result.
"""

import atexit
import tempfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from quantbench.core import child_process
from quantbench.core.arrays import Array, Inputs, length
from quantbench.tflite.litert import Runtime

OTHER_RUNTIMES: tuple[Runtime, ...] = ("litert-builtin", "litert-reference")
OTHER_EXAMPLES = 300
# The reference kernels take about a nanosecond a multiplication: 300 examples of so many are 6 s.
SMALL_OPERATIONS = 20_000_000
# They are up to 50 times slower than the default ones, so that one of this many examples is a tenth of the time.
ONE_OF = 500
LIMIT_SECONDS = 60.0
_WORDS = {"litert-builtin": "builtin", "litert-reference": "reference"}


@dataclass(frozen=True)
class Side:
    """Hold what the other kernels answered.

    Attributes:
        outputs: runtime -> outputs of the first examples.
        refusals: runtime -> why its kernels cannot run the artifact.
        findings: what went wrong in these processes, one sentence each; empty where nothing did.
    """

    outputs: dict[str, Inputs] = field(default_factory=dict)
    refusals: dict[str, str] = field(default_factory=dict)
    findings: tuple[str, ...] = ()


def examples_beside(operations: int | None, count: int) -> int:
    """Return how many examples run on the other kernels, the same on every machine.

    Args:
        operations: of one call, see :func:`quantbench.measure.work.operations`; None where unknown.
        count: examples on the default kernels.
    """
    small = operations is not None and operations <= SMALL_OPERATIONS
    return min(count, OTHER_EXAMPLES if small else max(1, min(OTHER_EXAMPLES, count // ONE_OF)))


def on_other_kernels(artifact: Path, inputs: Inputs, stateful: bool, read: Path | None, seconds: float = 0.0) -> Side:
    """Run these examples on each of the other kernels.

    Args:
        inputs: prepared, as many as :func:`examples_beside` says.
        read: the folder of an untrusted model's artifact, the only one that the process may read; None: it may any.
        seconds: that the default kernels took for all examples; the others get as much, and a minute at the least.
    """
    keeper = _standing(read)
    outputs: dict[str, Inputs] = {}
    refusals: dict[str, str] = {}
    findings: list[str] = []
    with tempfile.TemporaryDirectory(prefix="side-", dir=keeper.scratch()) as folder:
        examples = Path(folder) / "examples.npz"
        np.savez(examples, *(inputs.values() if isinstance(inputs, dict) else [inputs]))
        names = list(inputs) if isinstance(inputs, dict) else None
        job = {"artifact": str(artifact.absolute()), "examples": str(examples), "names": names, "stateful": stateful}
        for runtime in OTHER_RUNTIMES:
            file = Path(folder) / f"{runtime}.npz"
            try:
                answer = keeper.ask(job | {"runtime": runtime, "outputs": str(file)}, max(LIMIT_SECONDS, seconds))
                if "refused" in answer:
                    refusals[runtime] = str(answer["refused"])
                else:
                    outputs[runtime] = _read(file, answer["names"], length(inputs))
            except child_process.ChildFailed as error:
                findings.append(_finding(runtime, str(error), length(inputs)))
            except (OSError, ValueError, KeyError, TypeError) as error:
                findings.append(_finding(runtime, f"left no outputs ({type(error).__name__})", length(inputs)))
    return Side(outputs, refusals, tuple(findings))


def _finding(runtime: str, how: str, examples: int) -> str:
    few = "1 example" if examples == 1 else f"{examples} examples"
    return (
        f"LiteRT's {_WORDS[runtime]} kernels were not compared: their process, given {few}, {how}; the result is that "
        "of the default kernels, which ran all examples"
    )


def _read(file: Path, names: list[str] | None, count: int) -> Inputs:
    with np.load(file, allow_pickle=False) as loaded:
        arrays: list[Array] = [loaded[f"arr_{i}"] for i in range(len(loaded.files))]
    if any(len(array) != count for array in arrays):
        raise ValueError("other examples")
    return arrays[0] if names is None else dict(zip(names, arrays, strict=True))


@cache
def _standing(read: Path | None) -> child_process.Standing:
    """Return the process of this worker for artifacts below a folder; a start takes longer than many a model."""
    standing = child_process.Standing("quantbench.measure.side_worker", read)
    atexit.register(standing.end)
    return standing
