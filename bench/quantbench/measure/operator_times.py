"""Measure how long each operator takes, beside the operator of the same step in another artifact.

Both are timed in turns, in several fresh processes, by LiteRT's own profiler.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from quantbench.core import walls
from quantbench.measure.latency import LatencyFailed, run_worker
from quantbench.records import KindTime, OperatorTime, OperatorTimes
from quantbench.tflite import graph, kernels, matching
from quantbench.tflite.graph import Graph

PROCESSES = 3
SECONDS = 0.6  # of timing in each process
# Kernels of XNNPACK's cut a time down to whole microseconds, which takes half of one away on average.
_CUT = 0.5

Timed = dict[str, Any]


def measure(artifact: Path, reference: Path, inputs: Path, room: walls.Room | None, seconds: float) -> OperatorTimes:
    """Time an artifact and a reference by operator.

    Args:
        inputs: examples, see :func:`quantbench.measure.latency.save_inputs`; the first is used.
        room: what the processes may access, see :func:`quantbench.core.child_process.start`.
        seconds: that all processes together may take.

    Raises:
        LatencyFailed: LiteRT profiles one of them not, or a process did not finish.
        ValueError: a file is damaged.
    """
    files = {"artifact": str(artifact), "reference": str(reference)}
    job = {"files": files, "inputs": str(inputs), "seconds": SECONDS}
    worker = "quantbench.measure.operator_times_worker"
    timed = [_refusing(worker, {**job, "seed": seed}, seconds / PROCESSES, room) for seed in range(PROCESSES)]
    sides = [
        (graph.read(path.read_bytes()).main(), [process[name] for process in timed])
        for name, path in (("artifact", artifact), ("reference", reference))
    ]
    return joined(*sides)


def _refusing(*arguments: Any) -> Timed:
    timed = run_worker(*arguments)
    if "refused" in timed:
        raise LatencyFailed(str(timed["refused"]))
    return timed


def joined(first: tuple[Graph, Sequence[Timed]], second: tuple[Graph, Sequence[Timed]]) -> OperatorTimes:
    """Put the times of an artifact beside those of a reference, by graph position.

    Args:
        first, second: graph, and what the worker measured of it in each process.
    """
    (ours, timed), (theirs, reference) = first, second
    mine, other = of_operators(ours, timed), of_operators(theirs, reference)
    matched = matching.match(theirs, ours)
    partner = {place: there for there, place in [*matched.pairs, *matched.casts]}
    operators = []
    for place, (microseconds, kernel) in sorted(mine.items()):
        there = partner.get(place, -1)
        beside = other.get(there, (0.0, "")) if there >= 0 else (None, "")
        operator = ours.operators[place]
        operators.append(
            OperatorTime(
                position=place,
                operator=operator.name,
                tensor=operator.outputs[0].name if operator.outputs else "",
                kernel=kernel,
                microseconds=microseconds,
                reference=beside[0],
                reference_kernel=beside[1],
            )
        )
    paired = {partner[place] for place in mine if place in partner}
    return OperatorTimes(
        processes=len(timed),
        microseconds=_call(timed),
        reference_microseconds=_call(reference),
        operators=operators,
        kinds=_kinds(operators),
        matched=matched.share,
        gone=sum(microseconds for place, (microseconds, _) in other.items() if place not in paired),
    )


def _kinds(operators: Sequence[OperatorTime]) -> list[KindTime]:
    found = []
    for kind in dict.fromkeys(one.operator for one in operators):
        alike = [one for one in operators if one.operator == kind]
        times = sum(one.microseconds for one in alike), sum(one.reference or 0.0 for one in alike)
        moved = sum(not one.kernel and bool(one.reference_kernel) for one in alike)
        found.append(KindTime(operator=kind, count=len(alike), microseconds=times[0], reference=times[1], moved=moved))
    return sorted(found, key=lambda one: one.reference - one.microseconds)


def _call(timed: Sequence[Timed]) -> float:
    return float(1e6 * np.median([process["call"] for process in timed]))


def of_operators(whole: Graph, timed: Sequence[Timed]) -> dict[int, tuple[float, str]]:
    """Return the microseconds of each operator, the median over processes, and the kernels that computed it.

    Args:
        timed: what the worker measured in each process; one that ran other kernels than the first is left out.
    """
    told = [(str(name), position) for name, position, _ in timed[0]["kernels"]]
    alike = [process["kernels"] for process in timed if [(name, at) for name, at, _ in process["kernels"]] == told]
    times = np.median([[_whole(*kernel) for kernel in process] for process in alike], axis=0)
    places = _places(whole, told)
    found: dict[int, tuple[float, str]] = {}
    for (name, position), place, microseconds in zip(told, places, times, strict=True):
        if place is None:
            continue
        before, kernels_so_far = found.get(place, (0.0, ""))
        named = "" if position is not None else name
        found[place] = round(before + float(microseconds), 2), kernels_so_far or named
    return found


def _whole(name: str, position: int | None, microseconds: float) -> float:  # noqa: ARG001
    return microseconds if position is not None or not microseconds else microseconds + _CUT


def _places(whole: Graph, told: Sequence[tuple[str, int | None]]) -> list[int | None]:
    """Return the operator of each kernel: LiteRT tells its own, those of XNNPACK's are aligned with the others."""
    own = {position for _, position in told if position is not None}
    rest = [place for place in range(len(whole.operators)) if place not in own]
    delegated = [place for place, (_, position) in enumerate(told) if position is None]
    aligned = kernels.assigned([told[at][0] for at in delegated], [whole.operators[at].name for at in rest])
    found: list[int | None] = [position for _, position in told]
    for at, index in zip(delegated, aligned, strict=True):
        found[at] = None if index is None else rest[index]
    return found


def largest(found: OperatorTimes, count: int) -> OperatorTimes:
    """Keep the operators whose time changed most, in the file's order."""
    by_growth = sorted(found.operators, key=lambda one: -growth(one))[:count]
    return found.model_copy(update={"operators": sorted(by_growth, key=lambda one: one.position)})


def growth(one: OperatorTime) -> float:
    """Return by how many microseconds an operator takes longer than in the reference, or all where it is not there."""
    return one.microseconds - (one.reference or 0.0)
