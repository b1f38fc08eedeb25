"""The selftest as Markdown: caught and planted by kind, by strength, and the false reds with their bound."""

from scipy import stats
from tabulate import tabulate

from bench.records import Planted, Selftest


def upper_bound(reds: int, runs: int) -> float:
    """Exact one-sided 95 % upper bound of a rate (Clopper & Pearson 1934)."""
    return 1.0 if reds >= runs else float(stats.beta.ppf(0.95, reds + 1, runs - reds))


def render(found: Selftest) -> str:
    """What was planted and what became of it."""
    harmful = [one for one in found.plants if one.harmful]
    missed = [one for one in harmful if not one.caught]
    kinds = len({one.plant for one in found.plants})
    bound = 100 * upper_bound(found.false_reds, found.null_runs)
    lines = [
        f"# Selftest: {len(harmful) - len(missed)} of {len(harmful)} harmful plants caught",
        "",
        f"- {len(found.plants)} plants of {kinds} kinds in `{found.model}/{found.variant}`, each made, measured on the "
        "whole test split and judged for real.",
        "- Harmful: a drop of 0.3 pp or more, a growth of 1 % or more, anything that changes what the artifact is made "
        "of, anything that cannot be run.",
        _by_accuracy(found.plants),
        f"- False reds: {found.false_reds} in {found.null_runs} conversions of the healthy model "
        f"(95 % upper bound {bound:.1f} %).",
        "- Not planted here: latency, memory, and whatever trains.",
    ]
    if missed:
        lines += ["", "## Missed", "", *(f"- {_named(one)}" for one in missed)]
    return "\n".join([*lines, "", "## By kind and strength", "", _table(found.plants)]) + "\n"


def _by_accuracy(plants: list[Planted]) -> str:
    """How far the paired test alone would have got: it has to tell a drop from as many examples lost as gained."""
    dropped = [one for one in plants if one.drop is not None and one.drop >= 0.3]
    alone = sum("accuracy" in one.caught_by for one in dropped)
    return (
        f"- The accuracy test alone called {alone} of the {len(dropped)} drops of 0.3 pp or more red; the others "
        "changed too many answers both ways."
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
                f"{sum(drops) / len(drops):+.2f} pp" if drops else "not run",
                f"{100 * members[0].growth:+.2f} %",
                f"{sum(one.caught for one in harmful)} of {len(harmful)}" if harmful else "–",
                f"{sum(one.caught for one in members)} of {len(members)}",
                ", ".join(sorted({kind for one in members for kind in one.caught_by})),
            ]
        )
    headers = ["plant", "strength", "where", "mean drop", "size", "harmful caught", "all caught", "by"]
    return tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True)
