"""Every number in README and docs: computed again from the code or from what was measured, or it is not there.

A fact is a piece of a page's text, made here from the value that the code or ``reports/reference/`` has now. A number
in prose that no fact covers fails the last test.
"""

import json
import re
import tomllib
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import dask
import distributed  # noqa: F401 - brings the defaults
import pytest
from conftest import ROOT
from quantbench.adopt import judging, limits, ranking, splitting
from quantbench.comparison import alarms, shifts, slopes
from quantbench.core.options import RunOptions
from quantbench.engine import artifacts, target_answers
from quantbench.engine.workers.cluster_executor import NO_WORKER_SECONDS
from quantbench.errors import Exit
from quantbench.gate import (
    RULES,
    _common,
    _gpu_null,
    _hosts,
    _instructions,
    _latency,
    _memory,
    _micro,
    _sequential,
    _stalls,
    _target_answers,
    _targets,
    exit_status,
)
from quantbench.gate.score import parts
from quantbench.measure import batch, gpu, latency_worker, side, stalls
from quantbench.records import Selftest, Verdict
from quantbench.records.measurements import FIRST_CALL, MEAN, P90
from quantbench.reference.agreement import SAME_IOU
from quantbench.reference.metrics import CONVERSION_AGREEMENT, ROUNDING
from quantbench.reference.model import load_models
from quantbench.selftest import latency as slower
from quantbench.selftest import memory as held
from quantbench.selftest import outcomes, suite
from quantbench.targets import runner
from quantbench.tflite import litert_gpu
from quantbench.variants import VARIANTS, built, of_every_model, settings
from quantbench.variants.collaborative import CENTROIDS
from scipy.stats import beta
from studies import stalls as stalling
from studies.docs_samples import PLANTED
from studies.instruction_counts import PROCESSORS
from studies.sequential_latency import FIRST

GENERATED = ("cli.md", "python-api.md", "variants.md", "taxonomy.md")
PAGES = [ROOT / "README.md", *(path for path in sorted((ROOT / "docs").glob("*.md")) if path.name not in GENERATED)]
STALL = "30 ms, calls of 300 µs, {}"
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven")
CODE = re.compile(
    r"^```.*?^```$|^(?:    |\t).*?$|<!-- output.*?<!-- end -->|`[^`]*`|(?<=\])\([^)]*\)", re.DOTALL | re.MULTILINE
)
NUMBER = re.compile(r"(?<![\w.])\d+(?:[.,]\d+)*(?!\w)")


def prose(text: str) -> str:
    """A page's text without code, links and pasted outputs, its lines joined."""
    return re.sub(r"\s+", " ", CODE.sub("`", text))


def percent(fraction: float) -> str:
    return f"{round(100 * fraction, 6):g} %"


def rule(measurement: str) -> str:
    return percent(RULES[measurement].tolerance)


def rounded(fraction: float) -> int:
    return round(100 * fraction)


# ---------------------------------------------------------------- what was measured


@cache
def selftest() -> dict[str, Any]:
    measured: dict[str, Any] = json.loads((ROOT / "reports" / "reference" / "selftest.json").read_text())
    return measured


def arm_answers() -> list[str]:
    """Facts of the page on ARM answers: its limits, and a row for each model of what was compared."""
    found = json.loads((ROOT / "reports" / "reference" / "arm_answers.json").read_text())
    cells = found["cells"]
    rows = []
    for model in dict.fromkeys(cell["cell"].partition("/")[0] for cell in cells):
        own = [cell for cell in cells if cell["cell"].startswith(f"{model}/")]
        counts = [cell["examples"] for cell in own]
        otherwise = sum(cell["otherwise"] for cell in own)
        each = f"{min(counts)} to {max(counts)}" if min(counts) < max(counts) else f"{min(counts)}"
        rows.append(f"| {model} | {len(own)} | {each} | {sum(counts):,} | {otherwise} |")
    return [
        f"kernels of one runtime cause ({percent(_target_answers.MOST_OTHERWISE)}, beyond",
        f"in about {target_answers.SECONDS:g} s, at least {target_answers.LEAST_EXAMPLES} and at most "
        f"{target_answers.MOST_EXAMPLES}.",
        f"exits with {int(Exit.GREEN)};",
        f"{sum(cell['examples'] for cell in cells):,} answers of {len(cells)} artifacts",
        f"{sum(cell['otherwise'] for cell in cells)} of them differs",
        *rows,
    ]


def in_stages(*start: str) -> list[str]:
    """Return the cells of a row of the study of timing in stages: share that is red, and processes."""
    text = (ROOT / "reports" / "reference" / "sequential_latency.md").read_text()
    rows = ([word.strip() for word in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|"))
    return next(row[len(start) :] for row in rows if row[: len(start)] == list(start))


def of_stalls(table: int, column: int, whole: bool = False) -> list[str]:
    """Return a column of a table of the study of stalls: the first word of each cell, or all of it."""
    text = (ROOT / "reports" / "reference" / "stalls.md").read_text().split("\n## ")[table]
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("|")]
    return [row[column].strip() if whole else row[column].split()[0] for row in rows[2:]]


def odds_of_stalls(artifacts: str) -> list[str]:
    """Return the odds ratio of stalls of 20 ms over all recorded processes, and its interval."""
    text = (ROOT / "reports" / "reference" / "stalls.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith(f"| {artifacts} "))
    return re.findall(r"[\d.]+", row.split("|")[-2])


def odds_of_pairs() -> list[str]:
    """Return the least and the largest odds ratio of stalls of 20 ms of an artifact beside another one."""
    names, odds = (of_stalls(1, column, whole=True) for column in (0, 11))
    pairs = [one.split()[0] for name, one in zip(names, odds, strict=True) if not name.endswith("the workload")]
    return [min(pairs, key=float), max(pairs, key=float)]


def of_means(column: str) -> str:
    """Return how often half a point in mobilenet_v2's restricted QAT is red, of the study of means over cells."""
    text = (ROOT / "reports" / "reference" / "family_means.md").read_text()
    rows = [[word.strip() for word in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    return next(row for row in rows if row[0] == "mobilenet_v2: QAT")[rows[0].index(column)]


def listed(values: Sequence[str]) -> str:
    """Write values as a list in a sentence."""
    return f"{', '.join(values[:-1])} and {values[-1]}"


VARIANT, RUNTIME = "the variant slower by", "the whole runtime slower by"
IN_TURNS = f"no baseline, in turns: {VARIANT}"
BY_FEW = f"{slower.BY_FEW} {VARIANT}"


def caught(plant: str, strength: str) -> float:
    [found] = [
        each for each in selftest()["latency"]["plants"] if (each["plant"], each["strength"]) == (plant, strength)
    ]
    return float(found["caught"]["quantbench"] / found["trials"])


def slowed(plant: str) -> set[str]:
    return {each["strength"] for each in selftest()["latency"]["plants"] if each["plant"] == plant}


def trials() -> int:
    [count] = {each["trials"] for each in selftest()["latency"]["plants"]}
    return int(count)


def spread(shares: list[float]) -> str:
    low, high = rounded(min(shares)), rounded(max(shares))
    return f"{low} %" if low == high else f"{low} to {high} %"


def power(lost: float, each_way: float) -> list[float]:
    return [
        each["red"]["quantbench"] / each["trials"]
        for each in selftest()["outcomes"]["power"]
        if each["plant"] == "examples lost in one cell" and (each["lost"], each["each_way"]) == (lost, each_way)
    ]


def worse_training(rule: str) -> list[float]:
    return [
        each["red"][rule] / each["trials"]
        for each in selftest()["outcomes"]["plants"]
        if each["plant"].startswith("QAT worse") and each["strength"] == "-0.5 pp" and each.get("aim")
    ]


def healthy() -> list[dict[str, Any]]:
    """Simulated runs in which nothing got worse; in the one left out, trainings spread further than was recorded."""
    return [each for each in selftest()["outcomes"]["nulls"] if each["what"] != outcomes.TWICE]


def red_healthy() -> str:
    counts = [each["red_runs"]["quantbench"] for each in healthy()]
    return f"{min(counts)} to {max(counts)}" if min(counts) < max(counts) else str(counts[0])


def upper_bound(red: int, runs: int) -> float:
    return float(beta.ppf(0.95, red + 1, runs - red))


def in_a_year(field: str) -> float:
    [scores] = [
        each
        for each in selftest()["outcomes"]["years"]["four changes of the toolchain"]
        if each["what"].startswith("scores")
    ]
    return float(scores["nights"] * scores[field])


def harmful() -> list[bool]:
    return [each["caught"] for each in selftest()["plants"] if each["harmful"]]


def cost(page: str, what: str) -> float:
    """Seconds of a row of a table of costs."""
    text = (ROOT / "reports" / "reference" / page).read_text()
    [seconds] = re.findall(rf"^\| {what} +\| ([\d.]+) s ", text, re.MULTILINE)
    return float(seconds)


def of_variants(column: int) -> float:
    """Sum of a column of the costs of the whole matrix by variant: cells, or seconds of a core."""
    text = (ROOT / "reports" / "reference" / "speed.md").read_text()
    rows = re.findall(r"^\| `\w+` +\| (\d+) +\| ([\d.]+) +\|", text, re.MULTILINE)
    return sum(float(row[column]) for row in rows)


def megabytes(folder: str) -> list[float]:
    return sorted(path.stat().st_size / 1e6 for path in (ROOT / "models" / folder).glob("*.npz"))


def red_run() -> tuple[int, float]:
    """Cells and accuracy drop of the red run whose output and picture are shown."""
    text = (ROOT / "docs" / "red-night.md").read_text().partition("<!-- output: red -->")[2]
    [drop] = re.findall(rf"^    \w+/{PLANTED} .* ([+-][\d.]+) pp", text, re.MULTILINE)
    [cells] = re.findall(r"^    RED: .*\((\d+) cells;", text, re.MULTILINE)
    return int(cells), abs(float(drop))


# ---------------------------------------------------------------- the facts


def examples() -> int:
    """Test examples of the reference models that have the most."""
    return max(len(model.pack().test.y) for model in load_models(ROOT / "models").values())


def facts() -> dict[str, list[str]]:
    """Page -> pieces of its text, with the numbers of now."""
    options, models = RunOptions(), len(selftest()["outcomes"]["models"])
    budget = percent(options.false_alarms)
    python = [
        each.rpartition(" ")[2]
        for each in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
        if "Python :: 3." in each
    ]
    cells, drop = red_run()
    nights = [each["runs"] for each in healthy()]
    bound = percent(round(upper_bound(int(red_healthy().split()[-1]), nights[0]), 3))
    per_cell = round(of_variants(1) / of_variants(0), 1)
    hours = 400_000 * per_cell / 3600
    slow = [strength.removesuffix(" %") for strength in ("1 %", "2 %", "3 %", "5 %", "10 %")]
    assert slowed(VARIANT) == {f"{each} %" for each in slow}
    assert slowed(RUNTIME) == {f"{each} %" for each in slow[2:]}
    heaviest = megabytes("weights")[-1]
    operator = f"{percent(_instructions.OPERATOR_GREW)} of itself and {percent(_instructions.OF_THE_MODEL)} of the call"
    catches = (
        f"Slowdowns of 5 % {{}} caught in {round(trials() * caught(VARIANT, '5 %'))} of {trials()} trials",
        f"of 3 % in {rounded(caught(VARIANT, '3 %'))} % (one variant) and "
        f"{rounded(caught(RUNTIME, '3 %'))} % (the whole runtime)",
        f"of 1 % in {rounded(caught(IN_TURNS, '1 %'))} %",
    )
    assert caught(RUNTIME, "5 %") == 1
    repeated = (ROOT / "reports" / "reference" / "instruction_counts.md").read_text()
    counted = re.findall(r"(\d+) of (\d+) artifacts have the same number", repeated)[0]
    apart = max(float(share) for share in re.findall(r"[-+]([\d.]+) %\) +\| (?:conv|fully)", repeated))
    return {
        "README.md": [
            f"{WORDS[1]} cell of {WORDS[cells]} has lost {round(drop)} points of accuracy",
            f"with up to {len(of_every_model()) - 1} schemes",
            f"50 more wrong in {examples():,} are red in {spread(power(50, 20))} of runs (with 20 flips each way",
            f"false-alarm budget of {budget}**",
            f"Others: {Exit.INTERRUPTED} interrupted, {Exit.BAD_INPUT} bad input, "
            f"{Exit.NOTHING_SELECTED} nothing selected, {Exit.DISK_FULL} disk full",
            f"It caught {sum(harmful())} of {len(harmful())} harmful regressions",
            f"Of {nights[0]} simulated runs of everything in which nothing got worse, {red_healthy()} were red",
            catches[0].format("were"),
            *catches[1:],
            "Apache-2.0",
        ],
        "instructions.md": [
            f"so a growth of {percent(_instructions.INSTRUCTIONS_TOLERANCE)} is red",
            f"a growth of 1 % of a model inside one operator is seen as {percent(0.01 / 0.05)} of that operator",
            f"grew by more than {operator} is a warning",
            f"{counted[0]} of {counted[1]} artifacts had the same number in each operator",
            f"The others have int4 weights, and differ by at most {apart:.2f} %",
            f"tell of {PROCESSORS} processors of Intel",
            "AVX-512",
            "x86-64 Linux",
        ],
        "baselines.md": ["with 95 % intervals", f"exits with status {Exit.REGRESSED}"],
        "cache.md": [
            f"exit status {Exit.INTERRUPTED}",
            f"from nothing {round(cost('speed_gate.md', 'from nothing') / 60)} minutes, "
            f"again {round(cost('speed_gate.md', 'again, nothing changed'))} seconds",
            f"the whole matrix {round(cost('speed.md', 'from nothing') / 60)} minutes and "
            f"{round(cost('speed.md', 'again, nothing changed'))} seconds",
            f"({options.cache_size:g} GB;",
            "is private (0700)",
        ],
        "ci.md": [f"end with status {Exit.__members__.get('NOT_DELIVERED')} where"],
        "cluster.md": [
            f"allows (`, {dask.config.get('distributed.scheduler.allowed-failures')}) is an error",
            f"no worker is left for {NO_WORKER_SECONDS} s",
            f"the exit status is {Exit.NOT_MEASURED}",
            f"10,000 models × 40 variants, on paper This is an estimate for {10_000 * 40:,} cells",
            f"({of_variants(0):.0f} cells)",
            f"it took {of_variants(1):,.0f} seconds of a core",
            f", {per_cell} per cell",
            f"weights are up to {heaviest:.1f} MB, its data up to {megabytes('data')[-1]:.0f} MB",
            f"400,000 × {per_cell} s = {hours:.0f} core-hours: {hours / 100:.1f} h on 100 workers",
            f"{10_000 * round(megabytes('data')[-1]) // 1000} GB where each of the 10,000 models has data of its own",
            "more than 100 GB",
            f"{options.latency_budget:g} s per cell and more, one after the other: "
            f"{400_000 * options.latency_budget / 3600:.0f} h",
            "100 runs of 100 models each",
        ],
        "glossary.md": [f"half of the weights zero; {CENTROIDS} distinct values", "per block of 32 weights"],
        "arm.md": arm_answers(),
        "gpu.md": [
            "computes in float16 as many GPUs do",
            f"Version {litert_gpu.MESA_THAT_WORKS} works. LiteRT accepts no",
            f"of version {litert_gpu.MESA_TOO_OLD}, which Debian's",
            "in LiteRT's wheels for x86-64, and",
            "bfloat16 where the CPU has it",
            f"(the first {gpu.SOFTWARE.examples} on a software device, the first {gpu.REAL.examples:,} on others)",
            f"as many more as it can within {gpu.ANSWER_SECONDS:g} s",
            f"for one call, it has {gpu.STEP_SECONDS:g} s, and a whole process has {gpu.LIMIT_SECONDS:g} s",
            "on this device, unless an earlier one covers more examples",
            f"by the same test at a level of {percent(_gpu_null.NULL_RED_AT)}",
            f"their boxes overlap by an IoU of {SAME_IOU:g} or more",
            f"their scores differ by at most {percent(ROUNDING)} of the largest one",
            f"Continuous answers agree within {percent(ROUNDING)} of the largest one",
        ],
        "micro.md": [
            f"more than {percent(1 - _micro.MICRO_SHARE)} of them (exact binomial test)",
            "wheels for Linux on x86-64",
            "on a 64-bit processor",
            "On a 32-bit processor",
        ],
        "targets.md": [
            f"Python {'.'.join(map(str, runner.OLDEST_PYTHON))} or newer, NumPy",
            f"a false-alarm budget of {percent(_targets.TARGETS_BUDGET)} besides",
            f"is an error, exit status {Exit.NOT_MEASURED:d}: missing",
        ],
        "how-it-judges.md": [
            f"{STALL.partition(',')[0]} in {slower.STALLS_NAME.removesuffix(' waits')} of 300 µs were red in "
            f"{trials() * caught(slower.STALLS_NAME, STALL.format('idle')):g} of {trials()} trials on an idle machine "
            f"and in {trials() * caught(slower.STALLS_NAME, STALL.format('loaded')):g} under load",
            f"false-alarm budget of {budget}, for",
            f"on the same {examples():,} inputs",
            f"by more than {_memory.ARENA_TOLERANCE:g} bytes",
            f"({percent(_memory.RATIO_TOLERANCE)}; {percent(_memory.OTHER_KERNELS_TOLERANCE)} where",
            f"part of it by {_memory.MODEL_TOLERANCE / 1024:g} KiB",
            f"may not grow by more than {percent(_instructions.INSTRUCTIONS_TOLERANCE)}, and",
            f"grew by more than {operator} is a warning",
            f"in blocks of {1000 * latency_worker.BLOCK_SECONDS:g} ms",
            f"({percent(_hosts.ASSUMED)} is assumed until {WORDS[_hosts.LEAST_HOSTS]} hosts",
            f"that hold {', '.join(f'{100 * share:g}' for share in held.HELD[:-1])} and {percent(held.HELD[-1])} more",
            f"that keep {held.LEAK // 1024} KiB each",
            f"slower by {', '.join(slow[:-1])} and {slow[-1]} %, the whole runtime by "
            f"{', '.join(slow[2:-1])} and {slow[-1]} %",
            f"By a baseline of {FIRST} processes, as an ordinary run leaves it, those of 2 % in "
            f"{rounded(caught(BY_FEW, '2 %'))} % instead of {rounded(caught(VARIANT, '2 %'))} %",
            f"losses of {outcomes.SMALL_PP:g} pp everywhere",
            f"The exit status is {Exit.REGRESSED} if the gate",
            f"{sum(harmful())} of {len(harmful())} harmful injected regressions",
            f"Of {nights[0]} simulated runs of the whole matrix in which nothing got worse, {red_healthy()} were red, "
            f"depending on what changed (95 % upper bound {bound}; "
            f"{rounded(1 - 0.05 ** (1 / models))} % and more from the {WORDS[models]} models alone",
            f"{in_a_year('rate'):.2f} false alarms from scores are expected (at most {in_a_year('rate_bound'):.2f})",
            f"in {spread(worse_training('quantbench'))} of the trials, and in "
            f"{spread(worse_training(outcomes.CHANGED))} where every other cell",
            f"50 of 10,000 examples lost in one cell are red in {spread(power(50, 20))} with 20 flips each way, and in "
            f"{spread(power(50, 100))} with 100",
            f"red in {of_means('5: each cell')} % of the runs by each cell, in "
            f"{of_means('5: mean, by accepted seeds')} % by their mean, and in "
            f"{of_means('5: mean, by its true spread')} % by",
            f"with ten, it is {of_means('10: each cell')} % by each cell",
            catches[0].format("are"),
            *catches[1:],
            f"ends with status {Exit.GREEN}",
        ],
        "latency.md": [
            "(batch 1, one thread",
            "with 95 % intervals",
            f"runs differ by {percent(_latency.BETWEEN_RUNS_SEVERAL)}",
            f"**A batch of {batch.BATCH}**",
            f"in blocks of {1000 * latency_worker.BLOCK_SECONDS:g} ms in random order",
            f"The typical call may be {percent(_latency.MARGIN)} slower, the mean {rule(MEAN)}, the 90th "
            f"percentile {rule(P90)}, the first call {rule(FIRST_CALL)}",
            f"timed in {FIRST} fresh processes (with the default",
            "up to {}, and then up to {} processes".format(*(FIRST * stage for stage in _sequential.STAGES[1:])),
            f"slower by more than {percent(_latency.MARGIN)}, beyond",
            f"unlikely (below {percent(_sequential.HOPELESS)})",
            f"({percent(_latency.BETWEEN_RUNS)} of standard deviation between runs",
            f"times each cell with all {FIRST * _sequential.STAGES[-1]}",
            f"a slowdown of 1 % is red in {in_stages('1 %')[0].split(', ')[0]} of the cells",
            f"a healthy cell takes {in_stages('0 %')[0].split(', ')[-1]} processes",
            "1 % is red in {} of the cells and 2 % in {}".format(
                *(in_stages("12", "0.15 %")[at].split(", ")[0] for at in (1, 3))
            ),
            f"shifted by {percent(_latency.BETWEEN_RUNS)}",
            f"for {1e3 * stalling.STALL[1]:g} ms in one of {stalling.STALL[0]:,} calls",
            f"Stalls of {1e3 * stalling.STALL[1]:g} ms in one of {stalling.STALL[0]:,} calls",
            "at least {:g} ms longer than usual are counted, and again those of at least {:g} ms".format(
                *(1e3 * longer for longer in stalls.LONGER)
            ),
            f"loses more than {percent(_stalls.STALL_TOLERANCE)} of its time in stalls",
            f"is timed further, in up to {FIRST * _sequential.STAGES[-1]} processes",
            f"takes more than {1e3 * stalls.LONGEST_BLOCK:g} ms, because other programs",
            f"red in {listed(of_stalls(3, 2)[1:])} of 200 runs where a call takes {listed(of_stalls(3, 0)[1:])} µs",
            f"one of two artifacts may have {percent(_stalls.UNLIKE - 1)} more stalls than the other",
            f"reference workload { {2.0: 'half'}[_stalls.UNLIKE_WORKLOAD] } as many as float32",
            "an artifact had {} (95 % interval {} to {}) times as many stalls of {:g} ms".format(
                *odds_of_stalls("all beside another artifact"), 1e3 * stalls.LONGER[-1]
            ),
            "between {} and {} in single pairs".format(*odds_of_pairs()),
            "float32 {} ({} to {}) times as many as".format(*odds_of_stalls("float32 beside the workload")),
            f"does, and lost more than {percent(_stalls.STALL_TOLERANCE)}. Then",
            f"take less than {percent(_stalls.STALL_TOLERANCE)} of the time",
            f"compared with the reference workload, in {listed(of_stalls(3, 4)[1:])}",
            f"suspicious at p = {_latency.SUSPICION:g}, or where it stalls twice",
            f"times {WORDS[_stalls.LONGER_PROCESSES]} times as long as one of the first stage",
            f"are red in {listed(of_stalls(2, 5))} of 200 runs where a call takes {listed(of_stalls(2, 1))} µs",
            f"Of {200 * len(of_stalls(1, 5)):,} runs in which nothing was wrong, "
            f"{sum(map(int, of_stalls(1, 5)))} were red",
        ],
        "own-model.md": [
            f"all {len(of_every_model())} variants",
            f"block of {settings.BLOCKS[0]}, {settings.BLOCKS[1]} or {settings.BLOCKS[2]}",
            f"at most {percent(splitting.ALPHA)} of searches",
            f"Exit status: {Exit.GREEN} a variant, or float32, is recommended; {Exit.NOT_MEASURED} nothing could be "
            f"built or scored; {Exit.BAD_INPUT} bad input",
            f"The default is {limits.POINTS:g} pp, or {percent(limits.SHARE_OF_SPREAD)} of the labels' spread",
            f"of 100 tables, at most {100 * ranking.ALPHA:g} recommend",
            "0.0/1.0 flags",
        ],
        "judge.md": [
            f"every ` is kept | {judging.EXITS['within']:d} |",
            f"a limit is broken | {judging.EXITS['beyond']:d} |",
            f"nothing was asked of it | {judging.EXITS['undecided']:d} |",
            f"is an error (exit status {Exit.NOT_MEASURED:d})",
            f"is measured (exit status {Exit.BAD_INPUT:d})",
            f"of less than {built.spec_of('dynamic', VARIANTS).min_elements:,} values",
        ],
        "reading-a-report.md": [
            f"(p ≤ {parts.SUSPICIOUS:g}), but more often",
            f"(p ≤ {_latency.SUSPICION:g}), or that seems",
            f"with {WORDS[options.seeds_on_suspicion - 1]} more seeds",
            f"({side.OTHER_EXAMPLES} examples)",
            f"Below {percent(CONVERSION_AGREEMENT)}, and beyond chance",
            "one thread, batch 1",
            *(f"| {int(status)} | {STATUSES[name]}" for name, status in Exit.__members__.items()),
        ],
        "red-night.md": [
            f"of {round(1 / options.false_alarms)} runs in which nothing got worse, about one",
            f"({artifacts.MOST_SUSPICIOUS} cells and {artifacts.MOST_BYTES // 2**20} MiB at most)",
        ],
        "running.md": [f"exit status {Exit.INTERRUPTED}"],
        "upgrade.md": [
            f"share one false-alarm budget ({percent(_common.DEFAULT_BUDGET)}, Holm)",
            "with 95 % intervals",
            f"Exit status: {Exit.GREEN} nothing is worse, {Exit.REGRESSED} something is worse, {Exit.NOT_MEASURED} "
            f"nothing could be compared or the new run is incomplete, {Exit.BAD_INPUT} bad input",
            f"({shifts.LEAST_RUNS} runs are needed)",
            f"as a slope per {slopes.SLOPE_RUNS} runs",
            f"in the newest {alarms.NEW} runs and stayed so for {alarms.STAYS}; with",
            f"exit status {Exit.REGRESSED}",
        ],
        "": [f"Python {', '.join(python[:-1])} or {python[-1]}"],
    }


STATUSES = {
    "GREEN": "green",
    "REGRESSED": "a regression",
    "INTERRUPTED": "interrupted",
    "NOT_MEASURED": "something could not be measured",
    "BAD_INPUT": "bad input",
    "NOTHING_SELECTED": "nothing selected",
    "DISK_FULL": "disk full",
    "NOT_DELIVERED": "a comment, an issue or a message was refused",
}
# Names and versions of things, which measure nothing.
NAMES = re.compile(r"Keras [23]( or 3)?|TensorFlow 2\.\d+ to 2\.\d+|2\.\d+ to nightly|MkDocs 2|## \d\. |\| [0-9] \|$")
VERDICT_ROW = re.compile(r"^\| (\S .+?) \| .* \| (\d) \|$", re.MULTILINE)
SHOWN = {"not gated": Verdict.UNJUDGED}


def uncovered(text: str, pieces: list[str]) -> Iterator[str]:
    """Numbers of a page that no fact and no name covers, with what is around them."""
    plain = prose(VERDICT_ROW.sub("", text))
    for piece in pieces:
        plain = plain.replace(piece, "`")
    plain = NAMES.sub("`", plain)
    for number in NUMBER.finditer(plain):
        yield plain[max(0, number.start() - 40) : number.end() + 20]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_facts_are_on_their_pages_and_cover_every_number(page: Any) -> None:
    text, pieces = page.read_text(), facts().get(page.name, [])
    assert [piece for piece in pieces if piece not in prose(text)] == []
    assert list(uncovered(text, pieces)) == []


@pytest.mark.parametrize("page", ["README.md", "docs/reading-a-report.md"])
def test_the_table_of_verdicts_has_all_with_their_exit_status(page: str) -> None:
    told = {}
    for names, status in VERDICT_ROW.findall((ROOT / page).read_text()):
        for name in names.split(", "):
            words = name.partition(" ")[2].lower()
            told[SHOWN.get(words) or Verdict(words)] = int(status)
    assert told == {verdict: int(exit_status([verdict])) for verdict in Verdict}


def test_every_status_is_told() -> None:
    assert set(STATUSES) == set(Exit.__members__)


def test_a_number_that_nothing_covers_is_found() -> None:
    text = "Up to 44 schemes of int8, `3` of Keras 3,\n2 of 5,000.\n\n    9 in code\n\n| ✓ pass | fine | 0 |\n"
    assert [NUMBER.findall(found)[0] for found in uncovered(text, ["Up to 44 schemes"])] == ["2", "2"]
    assert list(uncovered(text, ["Up to 44 schemes", "2 of 5,000"])) == []


def test_the_last_full_selftest_is_as_good_as_promised() -> None:
    assert suite.as_good_as_promised(Selftest.model_validate(selftest()))
    assert selftest()["latency"]["recordings"]["healthy"] == slower.PER_BASELINE + 5 * slower.PER_RUN
