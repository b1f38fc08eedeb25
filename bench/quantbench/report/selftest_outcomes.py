"""Render the selftest of scores: what is found at which loss, runs in which nothing got worse, and a year of nights."""

from collections.abc import Callable, Iterable, Sequence

from tabulate import tabulate

from quantbench.core.stats import upper_bound
from quantbench.records import DetectableRate, NullRate, OutcomeRate, OutcomeSelftest, YearlyRate

OURS, CHANGED = "quantbench", "quantbench, all changed"


def outcomes(found: OutcomeSelftest) -> str:
    """Render all sections."""
    return "\n".join([_power(found), _nulls(found), _years(found.years)])


def _power(found: OutcomeSelftest) -> str:
    chosen = ", ".join(dict.fromkeys(one.model for one in found.power))
    lines = [
        "## Power",
        "",
        f"Accepted predictions of {chosen}, changed at random and judged. `{OURS}` is the gate if nothing else "
        f"changed, `{CHANGED}` if the predictions of every other cell changed too, so that all of them share the "
        "budget. The other rules are those of tools that compare two scores.",
        "",
        "Newly wrong examples in one cell, while others flip in each direction; share that was caught:",
        "",
        _table(
            _merged(found.power, lambda one: (one.strength, f"{one.each_way:.0f}")), ["newly wrong", "flips each way"]
        ),
        "",
        "Injected regressions; share that was caught:",
        "",
        _table(
            [
                *_merged(found.plants, lambda one: (one.plant, one.strength, one.model), with_aim=True),
            ],
            ["what got worse", "by", "model", "target"],
        ),
        "",
        *_too_small(found.plants),
        "The smallest drop that a judgement states it can detect, injected; it should be caught in 80 % of trials:",
        "",
        _detectable(found.detectable),
        "",
    ]
    return "\n".join(lines)


def _too_small(plants: Sequence[OutcomeRate]) -> list[str]:
    """Say which models have no target, as what was injected is less than they can show."""
    seen: dict[str, list[str]] = {}
    for one in plants:
        if one.detectable is not None:
            seen.setdefault(one.model, []).append(f"{one.plant}: {one.detectable:.2f} pp")
    if not seen:
        return []
    models = "; ".join(f"{model} ({', '.join(drops)})" for model, drops in seen.items())
    return [
        "Too small for a target: with their number of examples and the spread of their trainings, four of five runs "
        f"show no smaller drops than these: {models}.",
        "",
    ]


def _merged(
    rates: Sequence[OutcomeRate], key: Callable[[OutcomeRate], tuple[str, ...]], with_aim: bool = False
) -> list[tuple[list[str], OutcomeRate]]:
    """Add up the rates that share a key."""
    groups: dict[tuple[str, ...], list[OutcomeRate]] = {}
    for one in rates:
        groups.setdefault(key(one), []).append(one)
    rows = []
    for name, members in groups.items():
        counts = {rule: sum(one.red[rule] for one in members) for rule in members[0].red}
        added = members[0].model_copy(update={"red": counts, "trials": sum(one.trials for one in members)})
        aim = [f"{100 * added.aim:.0f} %" if added.aim is not None else "–"] if with_aim else []
        rows.append(([*name, *aim], added))
    return rows


def _table(rows: Sequence[tuple[list[str], OutcomeRate]], headers: list[str]) -> str:
    if not rows:
        return "none"
    rules = _rules(one.red for _, one in rows)
    body = [
        [*names, str(one.trials), *(f"{100 * one.red.get(rule, 0) / one.trials:.1f} %" for rule in rules)]
        for names, one in rows
    ]
    return tabulate(body, headers=[*headers, "trials", *rules], tablefmt="github", disable_numparse=True)


def _detectable(rates: Sequence[DetectableRate]) -> str:
    rows = [
        [
            one.of,
            one.model,
            f"{one.each_way:.0f}",
            f"{one.drop:.2f} pp",
            str(one.trials),
            f"{100 * one.red / one.trials:.1f} %",
        ]
        for one in rates
    ]
    headers = ["of", "model", "flips each way", "drop", "trials", "red"]
    return tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True)


def _nulls(found: OutcomeSelftest) -> str:
    rules = _rules(one.red_runs for one in found.nulls)
    rows = [
        [
            one.what,
            str(one.runs),
            f"{one.tests:,.0f}",
            *(f"{one.red_runs[rule]} ({100 * one.red_runs[rule] / one.runs:.1f} %)" for rule in rules),
            f"{100 * upper_bound(one.red_runs[OURS], one.runs):.1f} %",
            _alone(one),
            f"{100 * one.changed / one.outputs:.1f} %" if one.outputs else "–",
        ]
        for one in found.nulls
    ]
    headers = [
        "what differed",
        "runs",
        "tests",
        *(f"red runs: {rule}" for rule in rules),
        "≤ from draws",
        "≤ from the recordings alone",
        "outputs called changed",
    ]
    cells = found.nulls[0].cells if found.nulls else found.cells
    return "\n".join(
        [
            "## Null runs: nothing got worse",
            "",
            f"Whole runs of {cells} cells of {len(found.models)} models in which nothing got worse. The engine judged "
            f"{found.judged} of them in full: all that came near a threshold, and the first of each kind. Random flips "
            "are equally likely in both directions, and half of them are the same in all cells of a model. New "
            f"trainings are drawn from the spread of the {found.cells_with_seeds} cells with several accepted seeds, "
            "including the uncertainty of that spread; the accepted seeds are not reused. Outputs count as changed by "
            "their flips, each output moving at most as far as different kernels move it. The bounds are 95 % upper "
            "bounds for the gate; the recordings alone are of as many models as stated, each recorded once.",
            "",
            tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True),
            "",
        ]
    )


def _alone(one: NullRate) -> str:
    reds = min(one.red_runs[OURS], one.models)
    return f"{100 * upper_bound(reds, one.models):.0f} % ({one.models} models)"


def _years(years: dict[str, list[YearlyRate]]) -> str:
    rows = []
    for often, rates in years.items():
        rows += [[often, one.what, str(one.nights), *_sums([one])] for one in rates]
        if len(rates) > 1:
            rows.append([often, "all of these", "", *_sums(rates)])
    headers = ["results change", "what", "nights that use budget", "expected false reds", "at least one"]
    return "\n".join(
        [
            "## A year of nights",
            "",
            "False reds in 365 nights, from the rates per run above, and in brackets from their 95 % upper bounds. "
            "Nights are not independent: where nothing changed, results are bit-identical, get the same verdict and "
            "use no budget, so the budget of scores is used only as often as the toolchain changes. The expected "
            "number holds under any dependence; the probability of at least one assumes independent nights, which is "
            "an upper limit where nights resemble each other. A budget of 1 % used every night would give 3.65 false "
            "reds a year.",
            "",
            tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True),
            "",
        ]
    )


def _sums(rates: Sequence[YearlyRate]) -> list[str]:
    expected = sum(one.nights * one.rate for one in rates)
    bound = sum(one.nights * one.rate_bound for one in rates)
    none, none_bound = 1.0, 1.0
    for one in rates:
        none *= (1 - one.rate) ** one.nights
        none_bound *= (1 - one.rate_bound) ** one.nights
    return [f"{expected:.2f} (≤ {bound:.2f})", f"{100 * (1 - none):.0f} % (≤ {100 * (1 - none_bound):.0f} %)"]


def _rules(counts: Iterable[dict[str, int]]) -> list[str]:
    return list(dict.fromkeys(rule for count in counts for rule in count))
