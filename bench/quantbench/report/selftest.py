"""The selftest as Markdown: caught and planted by host, by kind and strength, and the false reds with their
bound; the paired test's error rates; caught and false alarms of every rule that judges latency, side by side.
"""

from collections.abc import Iterable

from tabulate import tabulate

from quantbench.core.stats import upper_bound
from quantbench.records import FlipRate, InjectedFault, LatencyNull, LatencySelftest, Selftest
from quantbench.records.measurements import RATIO, TO_YARDSTICK
from quantbench.variants import VARIANTS

PLACES = {"pipeline": "the pipeline", "memory": "memory"}


def render(found: Selftest) -> str:
    """What was planted and what became of it."""
    harmful = [one for one in found.plants if one.harmful]
    missed = [one for one in harmful if not one.caught]
    kinds = len({one.plant for one in found.plants})
    lines = [
        f"# Selftest: {len(harmful) - len(missed)} of {len(harmful)} harmful plants caught",
        "",
        f"- {len(found.plants)} plants of {kinds} kinds in `{found.model}`, each made, measured and judged for real, "
        "on the whole test split.",
        "- Harmful in a converted artifact: a drop of 0.3 pp or more, a growth of 1 % or more, another structure, "
        "anything that cannot be run.",
        "- Harmful in what trains: a drop that the judge says it can resolve, another structure, a control or a "
        "shipped model that is not the one it is compared as.",
        "- Harmful in the pipeline: everything, for the run judges something else than it says.",
        "- Harmful in memory: 5 % or more of what the process held, and any larger arena.",
        _by_accuracy(found.plants),
        _nulls(
            "runs drawn from healthy artifacts, each made in a fresh process under load",
            found.false_reds,
            found.null_runs,
            found.recordings,
        ),
    ]
    if found.trained_null_runs:
        of = "healthy trainings with other seeds"
        lines.append(_nulls(of, found.trained_false_reds, found.trained_null_runs))
    if found.memory_null_runs:
        of = "reruns of memory, drawn from recorded fresh processes"
        lines.append(_nulls(of, found.memory_false_reds, found.memory_null_runs, found.memory_recordings))
    lines += [f"- Skipped: {why}." for why in found.skipped]
    lines += ["", _by_host(found.plants)]
    if missed:
        lines += ["", "## Missed", "", *(f"- {_named(one)}" for one in missed)]
    for host, members in _hosts(found.plants).items():
        lines += ["", f"## In {host}", "", _table(members)]
    parts = ["\n".join(lines) + "\n"]
    parts += [_flips(found.flips)] if found.flips else []
    parts += [_latency(found.latency)] if found.latency else []
    return "\n".join(parts)


def _nulls(of: str, reds: int, runs: int, recordings: int = 0) -> str:
    bound = f"95 % upper bound {100 * upper_bound(reds, runs):.1f} %"
    if recordings:
        alone = 100 * upper_bound(min(reds, recordings), recordings)
        bound += f" if draws were independent, {alone:.1f} % from the {recordings} recordings alone"
    return f"- False reds: {reds} in {runs} {of} ({bound})."


def _hosts(faults: list[InjectedFault]) -> dict[str, list[InjectedFault]]:
    """Plants by what they are planted in: converted artifacts, what trains, the pipeline, memory."""
    groups: dict[str, list[InjectedFault]] = {}
    for one in faults:
        variant = VARIANTS.get(one.host)
        in_variant = "what trains" if variant and variant.trained else "converted artifacts"
        groups.setdefault(in_variant if variant else PLACES[one.host], []).append(one)
    return groups


def _by_host(faults: list[InjectedFault]) -> str:
    rows = []
    for host, members in _hosts(faults).items():
        harmful = [one for one in members if one.harmful]
        kinds = len({one.plant for one in members})
        rows.append([host, kinds, len(members), len(harmful), sum(one.caught for one in harmful)])
    return tabulate(rows, headers=["planted in", "kinds", "plants", "harmful", "caught"], tablefmt="github")


def _by_accuracy(faults: list[InjectedFault]) -> str:
    """How far the paired test alone would have got: it has to tell a drop from as many examples lost as gained."""
    converted = _hosts(faults).get("converted artifacts", [])
    dropped = [one for one in converted if one.drop is not None and one.drop >= 0.3]
    alone = sum("accuracy" in one.caught_by for one in dropped)
    return (
        f"- In converted artifacts the accuracy test alone called {alone} of the {len(dropped)} drops of 0.3 pp or "
        "more red; the others changed too many answers both ways."
    )


def _named(one: InjectedFault) -> str:
    drop = "not run" if one.drop is None else f"drop {one.drop:+.2f} pp"
    return f"{one.plant} {one.strength}, seed {one.seed}: {drop}"


def _table(faults: list[InjectedFault]) -> str:
    groups: dict[tuple[str, str], list[InjectedFault]] = {}
    for one in faults:
        groups.setdefault((one.plant, one.strength), []).append(one)
    rows = []
    for (fault, strength), members in groups.items():
        drops = [one.drop for one in members if one.drop is not None]
        harmful = [one for one in members if one.harmful]
        rows.append(
            [
                fault,
                strength,
                members[0].where,
                f"{sum(drops) / len(drops):+.2f} pp" if drops else "–",
                f"{100 * members[0].growth:+.2f} %" if members[0].host != "pipeline" else "–",
                f"{sum(one.caught for one in harmful)} of {len(harmful)}" if harmful else "–",
                f"{sum(one.caught for one in members)} of {len(members)}",
                ", ".join(sorted({kind for one in members for kind in one.caught_by})) or _calm(members),
                ", ".join(sorted({check for one in members for check in one.checks})),
            ]
        )
    headers = ["plant", "strength", "where", "mean drop", "growth", "harmful caught", "all caught", "by", "red"]
    return tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True)


def _calm(members: list[InjectedFault]) -> str:
    """The worst verdict of what was not called red."""
    return ", ".join(sorted({f"({one.verdict})" for one in members if one.verdict is not None}))


# ---------------------------------------------------------------- flipped answers


def _flips(found: list[FlipRate]) -> str:
    """One table: how often a rule is red, of true losses and of changes that are none."""
    rules = list(found[0].red)
    rows = [
        [
            f"{one.net} net" if one.net else "none, by the toss of a coin",
            str(one.discordant),
            str(one.trials),
            *(f"{100 * one.red[rule] / one.trials:.1f} %" for rule in rules),
        ]
        for one in found
    ]
    headers = ["examples lost", "changed in all", "trials", *(f"red: {rule}" for rule in rules)]
    table = tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True)
    return f"## Flipped answers\n\nReal predictions with answers flipped at random, judged for real:\n\n{table}\n"


# ---------------------------------------------------------------- latency


def _latency(found: LatencySelftest) -> str:
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
    rules = _rules(fault.caught for fault in found.plants)
    rows = [
        [f"{fault.plant} {fault.strength}".strip(), fault.measurement, str(fault.trials)]
        + [f"{100 * fault.caught[rule] / fault.trials:.1f} %" for rule in rules]
        for fault in found.plants
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
