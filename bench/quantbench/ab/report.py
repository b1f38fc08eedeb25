"""A pre-release check as Markdown and as one HTML page: the comparison of its two runs, and what else it found."""

from collections import Counter

from quantbench.ab.result import Cause, Combination, Found
from quantbench.core.stats import t_quantile, trimmed_mean
from quantbench.report import comparison
from quantbench.report.comparison import Section


def render(found: Found) -> str:
    """Markdown."""
    return comparison.render(found.comparison, _title(found), _sections(found))


def page(found: Found) -> str:
    """HTML."""
    return comparison.page(found.comparison, _title(found), _sections(found))


def _title(found: Found) -> str:
    return f"{' '.join(found.asked.old.given)} → {' '.join(found.asked.new.given)}: "


def _sections(found: Found) -> list[Section]:
    sections = [_packages(found)]
    sections += [_causes(found)] if found.causes else []
    sections += [_combinations(found)] if any(cause.new_runtime for cause in found.causes.values()) else []
    return [*sections, _latency(found)]


def _packages(found: Found) -> Section:
    old, new = found.old.versions(), found.new.versions()
    names = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
    words = (
        "Both environments hold the same packages."
        if not names
        else (f"{len(names)} of {len({*old, *new})} packages differ; all of them are in old.txt and new.txt.")
    )
    rows = [[name, old.get(name, "absent"), new.get(name, "absent")] for name in names]
    return Section("Packages", words, ["package", "old", "new"], rows)


def _causes(found: Found) -> Section:
    rows = [[cell, cause.words] for cell, cause in sorted(found.causes.items())]
    return Section("Which side did it", "Of every cell whose score or latency changed.", ["cell", "because of"], rows)


def _combinations(found: Found) -> Section:
    words = (
        "Score, and examples answered otherwise than by the old converter on the old runtime; time to that of the old "
        "converter on the old runtime, with its 95 % interval."
    )
    headers = ["cell", "new converter, old runtime", "old converter, new runtime"]
    rows = [
        [cell, _combination(cause.new_converter), _combination(cause.new_runtime)]
        for cell, cause in sorted(found.causes.items())
        if isinstance(cause, Cause) and cause.new_converter and cause.new_runtime
    ]
    return Section("The mixed combinations", words, headers, rows)


def _combination(one: Combination) -> str:
    parts = [one.failure or f"{'not finite' if one.score is None else f'{one.score:.4f}'}, {one.changed} changed"]
    if one.ratios:
        parts.append(f"time {_ratio(one.ratios)}")
    return "; ".join(parts)


def _ratio(ratios: list[float]) -> str:
    found = trimmed_mean(ratios)
    half = t_quantile(0.025, found.degrees) * found.error
    return f"{found.mean:.3f} ({found.mean - half:.3f} to {found.mean + half:.3f})"


def _latency(found: Found) -> Section:
    rows = []
    for cell, timed in sorted(found.timed.items()):
        times = [f"{1e6 * trimmed_mean(side).mean:.1f} µs" for side in (timed.old, timed.new)]
        rows.append([cell, *times, _ratio(timed.ratios())])
    why = Counter(found.untimed.values())
    words = "Both artifacts in turns on the same core, batch 1, one thread; ratios with their 95 % intervals. "
    words += " ".join(f"Not timed: {count} cells: {reason}." for reason, count in sorted(why.items()))
    return Section("Latency", words.strip(), ["cell", "old", "new", "new / old"], rows)
