"""Tell once per run which measurements of latency and memory no baseline holds yet, so that they are not judged."""

from collections.abc import Iterable

from quantbench import gate
from quantbench.core import environment
from quantbench.engine.context import Rules
from quantbench.engine.results import CellResult
from quantbench.records.measurements import MEAN, shown


def note(results: Iterable[CellResult], rules: Rules) -> list[str]:
    """Say which values no baseline of this machine class holds yet, in how many cells, and how to record them."""
    machine = environment.memory_class(rules.environment)
    cells = [(rules.accepted(result.cell), result.measurements) for result in results]
    count = sum(gate.unrecorded(accepted, measured, machine) for accepted, measured in cells)
    notes = []
    if count:
        notes.append(
            f"{shown('model_memory')} is not judged in {count} cells, whose baselines hold the memory of whole "
            f'processes alone; record it: quantbench baseline update {rules.run} --reason "memory of the model"'
        )
    timed = rules.machine(1)
    count = sum(
        accepted is not None and timed in accepted.latency and timed not in accepted.by_machine.get(MEAN, {})
        for accepted, measured in cells
        if MEAN in measured
    )
    if count:
        notes.append(
            f"mean, p90 and first call are not judged in {count} cells, whose baselines hold the typical call alone; "
            f'record them: quantbench baseline update {rules.run} --reason "all calls"'
        )
    host = rules.environment.host
    values = [accepted.latency[timed] for accepted, _ in cells if accepted is not None and timed in accepted.latency]
    others = [value for value in values if gate.elsewhere(value, host) and host not in (value.hosts or {})]
    if others:
        spread = max(gate.spread_of_hosts(value.hosts) for value in others)
        notes.append(
            f"the latency baselines of {len(others)} cells were accepted on another host of this machine class, so "
            f"{100 * spread:.1f} % between hosts count; record this host: quantbench baseline update {rules.run} "
            '--reason "another host"'
        )
    return notes
