"""The latency part of the selftest as Markdown: caught and false alarms of every rule, side by side."""

from collections.abc import Iterable

from tabulate import tabulate

from quantbench.core.stats import upper_bound
from quantbench.records import LatencyNull, LatencySelftest
from quantbench.records.measurements import RATIO, TO_YARDSTICK


def render(found: LatencySelftest) -> str:
    """Two tables: what each rule caught, and how often it was red for nothing."""
    ratio, control = (100 * found.spread[name] for name in (RATIO, TO_YARDSTICK))
    lines = [
        "## Latency",
        "",
        f"- {sum(found.recordings.values())} fresh processes of {found.seconds:g} s were recorded in random turns, with"
        f" random load on every core where not said otherwise; {100 * found.disturbed:.0f} % of their blocks were"
        " interrupted by others.",
        f"- One process spreads by {ratio:.2f} % (sd; variant to control) and {control:.2f} % (control to yardstick)."
        f" A run takes {found.processes}; a judgement is red at p = {found.share:.2g}, its share of 1 % in a"
        " pull-request run whose scores have not moved.",
        "- The other rules judge the variant's own times in three times as many of the same recordings: they time no "
        "control, so the wall time is the same.",
        "",
        "Caught, of so many trials resampled from the recordings:",
        "",
        _caught(found),
        "",
        "Red where nothing had changed; a run is red if any of its cells is (in brackets the 95 % upper bound, if draws"
        " were independent):",
        "",
        _false_reds(found),
    ]
    return "\n".join(lines) + "\n"


def _caught(found: LatencySelftest) -> str:
    rules = _rules(plant.caught for plant in found.plants)
    rows = [
        [f"{plant.plant} {plant.strength}".strip(), plant.measurement, str(plant.trials)]
        + [f"{100 * plant.caught[rule] / plant.trials:.1f} %" for rule in rules]
        for plant in found.plants
    ]
    return tabulate(rows, headers=["planted", "seen by", "trials", *rules], tablefmt="github", disable_numparse=True)


def _false_reds(found: LatencySelftest) -> str:
    rules = _rules(null.red_runs for null in found.nulls)
    rows = []
    for null in found.nulls:
        judged = null.runs * null.cells
        rows.append(
            [f"{null.where}: {judged} judgements", *(_rate(null.red_judgements, rule, judged) for rule in rules)]
        )
        rows.append(
            [
                f"{null.where}: {null.runs} runs of {null.cells} cells, drawn from {null.recordings} recordings",
                *(_runs(null, rule) for rule in rules),
            ]
        )
    return tabulate(rows, headers=["", *rules], tablefmt="github", disable_numparse=True)


def _rate(reds: dict[str, int], rule: str, judged: int) -> str:
    return f"{100 * reds[rule] / judged:.2f} %" if rule in reds else ""


def _runs(null: LatencyNull, rule: str) -> str:
    if rule not in null.red_runs:
        return ""
    reds = null.red_runs[rule]
    return f"{100 * reds / null.runs:.1f} % (≤ {100 * upper_bound(reds, null.runs):.1f} %)"


def _rules(counts: Iterable[dict[str, int]]) -> list[str]:
    return list(dict.fromkeys(rule for count in counts for rule in count))
