"""Render the selftest as Markdown.

It lists injected regressions that were caught, by subject, kind and strength, and false reds with their upper bound;
the paired test's error rates; and detections and false alarms of every latency rule, side by side.
"""

from collections.abc import Iterable

from tabulate import tabulate

from quantbench.core.stats import upper_bound
from quantbench.records import FlipRate, InjectedFault, LatencyNull, LatencySelftest, Selftest
from quantbench.records.measurements import RATIO, TO_YARDSTICK
from quantbench.report.selftest_outcomes import outcomes
from quantbench.variants import VARIANTS

PLACES = {"pipeline": "the pipeline", "memory": "memory", "instructions": "instructions of a call"}


BUDGETS = """## Which budget covers what

- Scores share one part of the run's false-alarm budget of 1 %: cells, classes, slices, seeds, all cells of a model
  together, and outputs. That part is 0.45 % where latency is gated too, and 0.9 % otherwise.
- Release limits share 0.1 % evenly, latencies share 0.45 % evenly. Neither reduces the part of the scores.
- The budget applies to one run. Bit-identical results get the same verdict every night and use none of it; each change
  of the toolchain uses it once; timings use theirs every night.
- Structure, quantization specs, seals, size, the arena, missing data, and the facts and steps of trainings are exact:
  they cannot be red where nothing changed.
- Agreement with the model before conversion and on a GPU is tested at a level of its own, 0.1 %; peak memory has a
  fixed tolerance. Both are outside the budget. Their false reds are measured by the null runs above for converted
  artifacts and for memory, but not on a GPU.
- A bound "from draws" assumes independent draws. A bound "from the recordings alone" counts only what was actually
  recorded: processes, trainings, or models.
"""


def render(selftest: Selftest) -> str:
    """Render which regressions were injected and which were caught."""
    harmful = [fault for fault in selftest.plants if fault.harmful]
    missed = [fault for fault in harmful if not fault.caught]
    kinds = len({fault.plant for fault in selftest.plants})
    lines = [
        f"# Selftest: {len(harmful) - len(missed)} of {len(harmful)} harmful injected regressions caught",
        "",
        f"- {len(selftest.plants)} injected regressions of {kinds} kinds in {_models(selftest)}, each built, measured "
        "and judged like a real cell, on the whole test split.",
        "- What counts as harmful was fixed in advance. In a converted artifact, or in how a runtime executes a "
        "healthy one: an accuracy drop of 0.3 pp or more, a class that loses 5 pp of recall, outputs that change by 5 "
        "%, a different structure, a file that grew by 1 % or cannot run.",
        "- In training: half a point lost on the mean of the affected trainings, a different structure, or a training "
        "that differs from the accepted one (steps, learning rate, examples or float32 reference).",
        "- In the pipeline: everything, because the run would report on something it did not measure. In memory: 2 % "
        "or more of what the process used, any larger arena, and memory that each call keeps. In a call's "
        "instructions: 1 % more.",
        _by_accuracy(selftest.plants),
        _nulls(
            "runs drawn from healthy artifacts, each made in a fresh process under load",
            selftest.false_reds,
            selftest.null_runs,
            selftest.recordings,
        ),
    ]
    if selftest.trained_null_runs:
        of = "healthy trainings with other seeds"
        lines.append(_nulls(of, selftest.trained_false_reds, selftest.trained_null_runs))
    if selftest.memory_null_runs:
        of = "repeated memory measurements, drawn from recorded fresh processes"
        lines.append(_nulls(of, selftest.memory_false_reds, selftest.memory_null_runs, selftest.memory_recordings))
    if selftest.instruction_null_runs:
        of = "counts of a healthy artifact's instructions in other processes"
        lines.append(_nulls(of, selftest.instruction_false_reds, selftest.instruction_null_runs))
    if selftest.two_outputs:
        lines.append(
            "- A fault in one of two outputs counts as caught only where a check that names this output failed, and "
            "the score of the first output did not."
        )
    for null in selftest.two_outputs:
        of = f"reruns of a healthy model with two outputs ({null.what})"
        changed = f"{null.changed} of {null.outputs} outputs called changed"
        lines.append(f"{_nulls(of, sum(null.red_runs.values()), null.runs)[:-1]}, {changed}.")
    lines += [f"- Skipped: {why}." for why in selftest.skipped]
    lines += ["", _by_host(selftest.plants), *_by_model(selftest.plants)]
    if missed:
        lines += ["", "## Missed", "", *(f"- {_named(fault)}" for fault in missed)]
    for host, members in _hosts(selftest.plants).items():
        lines += ["", f"## In {host}", "", _table(members)]
    parts = ["\n".join(lines) + "\n"]
    parts += [_flips(selftest.flips)] if selftest.flips else []
    parts += [_latency(selftest.latency)] if selftest.latency else []
    parts += [outcomes(selftest.outcomes)] if selftest.outcomes else []
    parts += [BUDGETS]
    return "\n".join(parts)


def _models(selftest: Selftest) -> str:
    names = dict.fromkeys([selftest.model, *(fault.model for fault in selftest.plants if fault.model)])
    return ", ".join(f"`{name}`" for name in names)


def _nulls(of: str, reds: int, runs: int, recordings: int = 0) -> str:
    bound = f"95 % upper bound {100 * upper_bound(reds, runs):.1f} %"
    if recordings:
        alone = 100 * upper_bound(min(reds, recordings), recordings)
        bound += f" if the draws are independent, {alone:.1f} % from the {recordings} recordings alone"
    return f"- False reds: {reds} in {runs} {of} ({bound})."


def _hosts(faults: list[InjectedFault]) -> dict[str, list[InjectedFault]]:
    """Group faults by what they are injected into: converted artifacts, what trains, the pipeline, memory."""
    groups: dict[str, list[InjectedFault]] = {}
    for fault in faults:
        variant = VARIANTS.get(fault.host)
        in_variant = "what trains" if variant and variant.trained else "converted artifacts"
        groups.setdefault(in_variant if variant else PLACES[fault.host], []).append(fault)
    return groups


def _by_host(faults: list[InjectedFault]) -> str:
    rows = []
    for host, members in _hosts(faults).items():
        harmful = [fault for fault in members if fault.harmful]
        kinds = len({fault.plant for fault in members})
        rows.append([host, kinds, len(members), len(harmful), sum(fault.caught for fault in harmful)])
    return tabulate(rows, headers=["injected in", "kinds", "injected", "harmful", "caught"], tablefmt="github")


def _by_model(faults: list[InjectedFault]) -> list[str]:
    """Count by model and by what is broken; nothing for files of before models had names."""
    groups: dict[tuple[str, str], list[InjectedFault]] = {}
    for fault in faults:
        if fault.model:
            groups.setdefault((fault.model, fault.where), []).append(fault)
    if not groups:
        return []
    rows = []
    for (model, where), members in groups.items():
        harmful = [fault for fault in members if fault.harmful]
        rows.append([model, where, len(members), len(harmful), sum(fault.caught for fault in harmful)])
    return ["", tabulate(rows, headers=["model", "broken part", "injected", "harmful", "caught"], tablefmt="github")]


def _by_accuracy(faults: list[InjectedFault]) -> str:
    """Count what the paired test alone would catch: a drop, against as many newly wrong as newly right examples."""
    converted = _hosts(faults).get("converted artifacts", [])
    dropped = [fault for fault in converted if fault.drop is not None and fault.drop >= 0.3]
    alone = sum("accuracy" in fault.caught_by for fault in dropped)
    return (
        f"- In converted artifacts the accuracy test alone caught {alone} of the {len(dropped)} drops of 0.3 pp or "
        "more; in the others too many predictions changed in both directions."
    )


def _named(fault: InjectedFault) -> str:
    drop = "not run" if fault.drop is None else f"drop {fault.drop:+.2f} pp"
    return f"{fault.plant} {fault.strength}, seed {fault.seed}: {drop}"


def _table(faults: list[InjectedFault]) -> str:
    groups: dict[tuple[str, str], list[InjectedFault]] = {}
    for member in faults:
        groups.setdefault((member.plant, member.strength), []).append(member)
    rows = []
    for (fault, strength), members in groups.items():
        drops = [member.drop for member in members if member.drop is not None]
        harmful = [member for member in members if member.harmful]
        rows.append(
            [
                fault,
                strength,
                members[0].where,
                f"{sum(drops) / len(drops):+.2f} pp" if drops else "–",
                f"{100 * members[0].growth:+.2f} %" if members[0].host != "pipeline" else "–",
                f"{sum(member.caught for member in harmful)} of {len(harmful)}" if harmful else "–",
                f"{sum(member.caught for member in members)} of {len(members)}",
                ", ".join(sorted({kind for member in members for kind in member.caught_by})) or _calm(members),
                ", ".join(sorted({check for member in members for check in member.checks})),
            ]
        )
    headers = [
        "regression",
        "strength",
        "where",
        "mean drop",
        "growth",
        "harmful caught",
        "all caught",
        "by",
        "checks that failed",
    ]
    return tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True)


def _calm(members: list[InjectedFault]) -> str:
    """List the verdicts of regressions that no check failed on."""
    return ", ".join(sorted({f"({fault.verdict})" for fault in members if fault.verdict is not None}))


# ---------------------------------------------------------------- flipped predictions


def _flips(rates: list[FlipRate]) -> str:
    """Tabulate how often each rule is red, for true losses and for changes without a loss."""
    rules = list(rates[0].red)
    rows = [
        [
            f"{rate.net} net" if rate.net else "none (random flips)",
            str(rate.discordant),
            str(rate.trials),
            *(f"{100 * rate.red[rule] / rate.trials:.1f} %" for rule in rules),
        ]
        for rate in rates
    ]
    headers = ["newly wrong", "changed in total", "trials", *(f"red: {rule}" for rule in rules)]
    table = tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True)
    return f"## Flipped predictions\n\nReal predictions, some flipped at random, judged by the real gate:\n\n{table}\n"


# ---------------------------------------------------------------- latency


def _latency(results: LatencySelftest) -> str:
    """Render two tables: what each rule caught, and how often it was red without a cause."""
    ratio, control = (100 * results.spread[name] for name in (RATIO, TO_YARDSTICK))
    lines = [
        "## Latency",
        "",
        f"- {sum(results.recordings.values())} fresh processes of {results.seconds:g} s were recorded in random order, "
        "with random load on every core unless stated otherwise; "
        f"{100 * results.disturbed:.0f} % of their blocks were disturbed by other processes.",
        f"- The standard deviation between processes is {ratio:.2f} % (variant vs float32) and {control:.2f} % "
        f"(float32 vs the reference workload). A run uses {results.processes} processes; a judgement fails at p = "
        f"{results.share:.2g}, its share of latency's part of the budget in a pull-request run.",
        *_of_others(results),
        "",
        "Caught, in trials resampled from the recordings:",
        "",
        _caught(results),
        "",
        "Red although nothing had changed; a run is red if any of its cells is (in brackets the 95 % upper bound if "
        "the draws are independent):",
        "",
        _false_reds(results),
    ]
    return "\n".join(lines) + "\n"


def _of_others(results: LatencySelftest) -> list[str]:
    """Say how other rules judge, where they do: a quick selftest leaves them out."""
    if len(_rules(fault.caught for fault in results.plants)) < 2:
        return []
    return [
        "- The other rules judge the variant's own times in three times as many of the same recordings: they do not "
        "time float32, so the wall time is equal."
    ]


def _caught(results: LatencySelftest) -> str:
    rules = _rules(fault.caught for fault in results.plants)
    rows = [
        [
            f"{fault.plant} {fault.strength}".strip() + (f" ({fault.note})" if fault.note else ""),
            fault.measurement,
            str(fault.trials),
        ]
        + [f"{100 * fault.caught[rule] / fault.trials:.1f} %" if rule in fault.caught else "" for rule in rules]
        for fault in results.plants
    ]
    return tabulate(
        rows, headers=["injected", "measured as", "trials", *rules], tablefmt="github", disable_numparse=True
    )


def _false_reds(results: LatencySelftest) -> str:
    rules = _rules(null.red_runs for null in results.nulls)
    rows = []
    for null in results.nulls:
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
