"""The selftest as Markdown: caught and planted by host, by kind and strength, and the false reds with their bound."""

from tabulate import tabulate

from quantbench.core.stats import upper_bound
from quantbench.records import Planted, Selftest
from quantbench.report import selftest_flips, selftest_latency
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
    parts += [selftest_flips.render(found.flips)] if found.flips else []
    parts += [selftest_latency.render(found.latency)] if found.latency else []
    return "\n".join(parts)


def _nulls(of: str, reds: int, runs: int, recordings: int = 0) -> str:
    bound = f"95 % upper bound {100 * upper_bound(reds, runs):.1f} %"
    if recordings:
        alone = 100 * upper_bound(min(reds, recordings), recordings)
        bound += f" if draws were independent, {alone:.1f} % from the {recordings} recordings alone"
    return f"- False reds: {reds} in {runs} {of} ({bound})."


def _hosts(plants: list[Planted]) -> dict[str, list[Planted]]:
    """Plants by what they are planted in: converted artifacts, what trains, the pipeline, memory."""
    groups: dict[str, list[Planted]] = {}
    for one in plants:
        variant = VARIANTS.get(one.host)
        in_variant = "what trains" if variant and variant.trained else "converted artifacts"
        groups.setdefault(in_variant if variant else PLACES[one.host], []).append(one)
    return groups


def _by_host(plants: list[Planted]) -> str:
    rows = []
    for host, members in _hosts(plants).items():
        harmful = [one for one in members if one.harmful]
        kinds = len({one.plant for one in members})
        rows.append([host, kinds, len(members), len(harmful), sum(one.caught for one in harmful)])
    return tabulate(rows, headers=["planted in", "kinds", "plants", "harmful", "caught"], tablefmt="github")


def _by_accuracy(plants: list[Planted]) -> str:
    """How far the paired test alone would have got: it has to tell a drop from as many examples lost as gained."""
    converted = _hosts(plants).get("converted artifacts", [])
    dropped = [one for one in converted if one.drop is not None and one.drop >= 0.3]
    alone = sum("accuracy" in one.caught_by for one in dropped)
    return (
        f"- In converted artifacts the accuracy test alone called {alone} of the {len(dropped)} drops of 0.3 pp or "
        "more red; the others changed too many answers both ways."
    )


def _named(one: Planted) -> str:
    drop = "not run" if one.drop is None else f"drop {one.drop:+.2f} pp"
    return f"{one.plant} {one.strength}, seed {one.seed}: {drop}"


def _table(plants: list[Planted]) -> str:
    groups: dict[tuple[str, str], list[Planted]] = {}
    for one in plants:
        groups.setdefault((one.plant, one.strength), []).append(one)
    rows = []
    for (plant, strength), members in groups.items():
        drops = [one.drop for one in members if one.drop is not None]
        harmful = [one for one in members if one.harmful]
        rows.append(
            [
                plant,
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


def _calm(members: list[Planted]) -> str:
    """The worst verdict of what was not called red."""
    return ", ".join(sorted({f"({one.verdict})" for one in members if one.verdict is not None}))
