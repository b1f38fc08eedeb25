"""Render the preview of an upgrade as Markdown and HTML: the comparison of its two runs, and its own sections."""

from collections import Counter

from quantbench.ab.result import Cause, Combination, Found
from quantbench.core.stats import t_quantile, trimmed_mean
from quantbench.report import comparison
from quantbench.report.comparison import Section


def render(result: Found) -> str:
    """Render Markdown."""
    return comparison.render(result.comparison, _title(result), _sections(result))


def page(result: Found) -> str:
    """Render HTML."""
    return comparison.page(result.comparison, _title(result), _sections(result))


def _title(result: Found) -> str:
    return f"{' '.join(result.asked.old.given)} → {' '.join(result.asked.new.given)}: "


def _sections(result: Found) -> list[Section]:
    sections = [_files(result), _packages(result)]
    sections += [_unmet(result)] if result.unmet else []
    sections += [_without(result)] if result.new.without or result.old.without else []
    sections += [_causes(result)] if result.causes else []
    sections += [_combinations(result)] if any(cause.new_runtime for cause in result.causes.values()) else []
    return [*sections, _latency(result)]


def _packages(result: Found) -> Section:
    old, new = result.old.versions(), result.new.versions()
    names = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
    words = (
        "Both environments have the same packages."
        if not names
        else (f"{len(names)} of {len({*old, *new})} packages differ; full lists: old.txt, new.txt.")
    )
    rows = [[name, old.get(name, "not installed"), new.get(name, "not installed")] for name in names]
    return Section("Packages", words, ["package", "old", "new"], rows)


def _files(result: Found) -> Section:
    files = result.compared
    count = len(files.identical) + len(files.stamped) + len(files.different)
    if not count:
        return Section("Files", "No cell has an artifact on both sides.", [], [])
    if len(files.identical) == count:
        words = f"Identical files: {'the' if count == 1 else 'all'} {_artifacts(count)}, byte for byte."
        return Section("Files", words, [], [])
    words = f"Identical files: {len(files.identical)} of {_artifacts(count)}."
    rows = [[cell, "different"] for cell in files.different]
    rows += [[cell, "the same but for the converter's stamp"] for cell in files.stamped]
    return Section("Files", words, ["cell", "file"], rows)


def _artifacts(count: int) -> str:
    return f"{count} artifact{'' if count == 1 else 's'}"


def _unmet(result: Found) -> Section:
    words = (
        "Packages that a side runs although another one requires other versions; cells that this breaks have failed."
    )
    rows = [
        [side, one.package, one.requires, one.found] for side, found in sorted(result.unmet.items()) for one in found
    ]
    return Section("Overridden requirements", words, ["side", "package", "requires", "installed"], rows)


def _without(result: Found) -> Section:
    sides = (("old", result.old), ("new", result.new))
    words = " ".join(
        f"The {name} side was made without {' and '.join(side.without)}, of which no version suits "
        f"{' '.join(side.side.given)}."
        for name, side in sides
        if side.without
    )
    if result.left_out:
        count = len(result.left_out)
        cells = "1 cell that trains" if count == 1 else f"{count} cells that train"
        words += f" Not compared: {cells} a Keras 2 model, such as quantization-aware training."
    return Section("Without", words, [], [])


def _causes(result: Found) -> Section:
    rows = [[cell, cause.words] for cell, cause in sorted(result.causes.items())]
    return Section("Cause of each change", "For every cell whose score or latency changed.", ["cell", "cause"], rows)


def _combinations(result: Found) -> Section:
    words = (
        "Score, number of predictions that differ, and time ratio (95 % interval), relative to the old converter on "
        "the old runtime."
    )
    headers = ["cell", "new converter, old runtime", "old converter, new runtime"]
    rows = [
        [cell, _combination(cause.new_converter), _combination(cause.new_runtime)]
        for cell, cause in sorted(result.causes.items())
        if isinstance(cause, Cause) and cause.new_converter and cause.new_runtime
    ]
    return Section("Mixed combinations", words, headers, rows)


def _combination(combination: Combination) -> str:
    parts = [
        combination.failure
        or f"{'not finite' if combination.score is None else f'{combination.score:.4f}'}, {combination.changed} changed"
    ]
    if combination.ratios:
        parts.append(f"time {_ratio(combination.ratios)}")
    return "; ".join(parts)


def _ratio(ratios: list[float]) -> str:
    estimate = trimmed_mean(ratios)
    half = t_quantile(0.025, estimate.degrees) * estimate.error
    return f"{estimate.mean:.3f} ({estimate.mean - half:.3f} to {estimate.mean + half:.3f})"


def _latency(result: Found) -> Section:
    rows = []
    for cell, timed in sorted(result.timed.items()):
        times = [f"{1e6 * trimmed_mean(side).mean:.1f} µs" for side in (timed.old, timed.new)]
        rows.append([cell, *times, _ratio(timed.ratios())])
    why = Counter(result.untimed.values())
    words = "Both artifacts timed alternately on the same core, batch 1, one thread; ratios with their 95 % intervals. "
    words += " ".join(f"Not timed: {count} cells ({reason})." for reason, count in sorted(why.items()))
    return Section("Latency", words.strip(), ["cell", "old", "new", "new / old"], rows)
