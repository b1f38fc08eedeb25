"""Say once per run what no baseline holds yet, so that it is not judged, and which baselines are of another host."""

from collections.abc import Iterable

from quantbench import gate
from quantbench.core import environment
from quantbench.engine.context import Rules
from quantbench.engine.results import CellResult
from quantbench.records import BaselineCell, Kind
from quantbench.records.measurements import INSTRUCTIONS, MEAN, OUTPUT_DISTANCE, of_output, shown

OUTPUTS = "the outputs themselves"
INTERFACE = "signatures, options of operators and ranges of weights"
TRAINING = "facts of the training"
COUNTS = "instructions of a call"
CALLS = "mean, p90 and first call"
_FIVE = " (from a run with --seeds 5 where a training does not reproduce the accepted one)"


def notes(results: Iterable[CellResult], rules: Rules) -> list[str]:
    """Return a note each on what is not judged at all, what not here, and what was accepted on another host."""
    cells = [(result, accepted) for result in results if (accepted := rules.accepted(result.cell)) is not None]
    return [
        *_not_held(cells, rules),
        *_not_held_here(cells, rules),
        *_of_other_hosts([accepted for _, accepted in cells], rules),
    ]


def counts(cells: Iterable[tuple[CellResult, BaselineCell]], rules: Rules) -> dict[str, int]:
    """Count the cells whose baselines lack something that later versions judge."""
    found = dict.fromkeys((OUTPUTS, INTERFACE, TRAINING, shown("model_memory"), COUNTS, CALLS), 0)
    memory, timed = environment.memory_class(rules.environment), rules.machine(1)
    for result, accepted in cells:
        kinds, measured = result.cell.kinds, result.measurements
        if not rules.train:
            scored = Kind.ACCURACY in kinds and "score" in accepted.measurements
            distances = {of_output(OUTPUT_DISTANCE, output) for output in ("", *result.to_store)}
            found[OUTPUTS] += scored and not distances <= accepted.measurements.keys()
            census = accepted.census if Kind.STRUCTURE in kinds else None
            found[INTERFACE] += census is not None and census.signatures is None
            trained = Kind.ACCURACY in kinds and any(one.training for one in result.outcomes)
            found[TRAINING] += trained and not accepted.training
        found[shown("model_memory")] += _without_memory(result, accepted, memory) and not _elsewhere(accepted)
        found[COUNTS] += INSTRUCTIONS in measured and INSTRUCTIONS not in accepted.by_machine
        judged = MEAN in measured and timed in accepted.latency
        found[CALLS] += judged and timed not in accepted.by_machine.get(MEAN, {})
    return {what: count for what, count in found.items() if count}


def _without_memory(result: CellResult, accepted: BaselineCell, memory: str) -> bool:
    return gate.unrecorded(accepted, result.measurements, memory)


def _elsewhere(accepted: BaselineCell) -> bool:
    return bool(accepted.by_machine.get("model_memory"))


def _not_held(cells: Iterable[tuple[CellResult, BaselineCell]], rules: Rules) -> list[str]:
    missing = counts(cells, rules)
    if not missing:
        return []
    listed = "; ".join(f"{what} ({count} {'cell' if count == 1 else 'cells'})" for what, count in missing.items())
    return [
        f"not gated, because the baselines are older and hold no values: {listed}; record them: "
        f'quantbench baseline update {rules.run} --reason "record what is new"'
        f"{_FIVE if TRAINING in missing else ''}"
    ]


def _not_held_here(cells: Iterable[tuple[CellResult, BaselineCell]], rules: Rules) -> list[str]:
    """Name the memory of models, which depends on the machine and is accepted for others alone."""
    memory = environment.memory_class(rules.environment)
    count = sum(_without_memory(result, accepted, memory) and _elsewhere(accepted) for result, accepted in cells)
    if not count:
        return []
    return [
        f"not gated, because it was accepted on other machine profiles alone: {shown('model_memory')} "
        f"({count} {'cell' if count == 1 else 'cells'}); record this one: quantbench baseline update {rules.run} "
        '--reason "record this machine"'
    ]


def _of_other_hosts(cells: Iterable[BaselineCell], rules: Rules) -> list[str]:
    host, timed = rules.environment.host, rules.machine(1)
    values = [accepted.latency[timed] for accepted in cells if timed in accepted.latency]
    others = [value for value in values if gate.elsewhere(value, host) and host not in (value.hosts or {})]
    if not others:
        return []
    spread = max(gate.spread_of_hosts(value.hosts) for value in others)
    return [
        f"the latency baselines of {len(others)} cells were accepted on another host of this machine profile, so "
        f"{100 * spread:.1f} % of noise between hosts is added; record this host: quantbench baseline update "
        f"{rules.run} "
        '--reason "another host"'
    ]
