"""Pool the processes of several measurements of one cell."""

from collections.abc import Mapping

from quantbench.core.stats import trimmed_mean
from quantbench.records import Measurement


def pooled(first: Mapping[str, Measurement], second: Mapping[str, Measurement]) -> dict[str, Measurement]:
    """Pool the processes of two measurements, by name; what only one of them holds is left out."""
    both = {}
    for name in first.keys() & second.keys():
        values = [*(first[name].values or []), *(second[name].values or [])]
        if not values:
            continue
        both[name] = first[name].model_copy(
            update={"values": values, "n": len(values), "value": trimmed_mean(values).mean}
        )
        counts, others = first[name].stalls, second[name].stalls
        if counts and others:
            together = [one.plus(other) for one, other in zip(counts, others, strict=True)]
            both[name] = both[name].model_copy(update={"stalls": together, "value": together[0].excess})
    return both
