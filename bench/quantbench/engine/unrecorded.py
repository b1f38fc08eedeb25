"""Tell once per run which measurements of latency and memory no baseline holds yet, so that they are not judged."""

from collections.abc import Iterable

from quantbench import gate
from quantbench.core import environment
from quantbench.engine.context import Rules
from quantbench.engine.results import CellResult
from quantbench.records.measurements import shown


def note(results: Iterable[CellResult], rules: Rules) -> list[str]:
    """Say which values no baseline of this machine class holds yet, in how many cells, and how to record them."""
    machine = environment.memory_class(rules.environment)
    count = sum(gate.unrecorded(rules.accepted(result.cell), result.measurements, machine) for result in results)
    if not count:
        return []
    return [
        f"{shown('model_memory')} is not judged in {count} cells, whose baselines hold the memory of whole processes "
        f'alone; record it: quantbench baseline update {rules.run} --reason "memory of the model"'
    ]
