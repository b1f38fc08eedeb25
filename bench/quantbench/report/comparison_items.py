"""Items of a comparison in words: the same for two runs and for a run beside its baselines."""

from collections.abc import Iterable

from quantbench import gate
from quantbench.comparison import Item, Outcome
from quantbench.records.measurements import INSTRUCTIONS

LONE = (Outcome.NOT_COMPARABLE, Outcome.GONE, Outcome.NEW)
MOST_NAMES = 4
_COUNTED = ("bytes", "examples", *gate.OF_ACCELERATOR.values())  # units of whole numbers


def value_text(value: float | None, unit: str) -> str:
    """A measurement with its unit."""
    if value is None:
        return ""
    if unit in (*_COUNTED, INSTRUCTIONS):
        return f"{value:,.0f} {unit}"
    if unit == "fraction":
        return f"{100 * value:.2f} %"
    return f"{value:.4g}×" if unit.startswith("ratio") else f"{value:.4g} {unit}".rstrip()


def change_text(item: Item) -> str:
    """The change, positive for the worse, with its 95 % interval, where there is one."""
    if item.change is None:
        return ""
    style = "{:+,.0f}" if item.change_unit in _COUNTED else "{:+.2f}"
    text = f"{style.format(item.change)} {item.change_unit}"
    if item.low is None or item.high is None:
        return text
    return f"{text} ({style.format(item.low)} to {style.format(item.high)})"


def p_text(item: Item) -> str:
    """The p-value, and the one that is needed."""
    return (
        "" if item.p_value is None or item.holm_threshold is None else f"{item.p_value:.2g} ({item.holm_threshold:.2g})"
    )


def lone(items: Iterable[Item]) -> list[str]:
    """What has no two sides; cells with one reason are one line."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for item in items:
        if item.outcome in LONE:
            groups.setdefault((str(item.outcome), item.measurement, item.why), []).append(item.cell)
    return [
        f"{outcome}: {measurement.replace('_', ' ')} of {_names(cells)}: {why}"
        for (outcome, measurement, why), cells in groups.items()
    ]


def _names(cells: list[str]) -> str:
    shown = ", ".join(cells[:MOST_NAMES])
    return shown if len(cells) <= MOST_NAMES else f"{shown} and {len(cells) - MOST_NAMES} more"
