"""Write docs/taxonomy.md: one table of every variant of every model, from what is accepted and what was measured.

Scores, sizes, refusals and what is only partly quantized are those of ``baselines/``; the times are those of
``latency.md`` and ``keras3_latency.md`` in ``reports/reference/``. ``python -m studies.docs_pages`` writes the page,
and a test checks that it is up to date.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from quantbench.baselines import files as baselines
from quantbench.build import refusals
from quantbench.core.options import CHECKOUT
from quantbench.gate._quantization_spec import violations
from quantbench.records import BaselineCell
from quantbench.reference.model import Head, ReferenceModel, load_models
from quantbench.variants import VARIANTS, Variant, of_every_model

from studies._common import table

LATENCIES = ("latency.md", "keras3_latency.md")  # of reports/reference; the later one adds cells
# The drop up to which a file counts in the table of the best ones: in pp; in other units, in percent of the score.
SHIPPED = 0.5
PP = "pp"
AS_NAMED, OTHERWISE, REFUSED, UNKNOWN = "✓", "≠", "∅", "?"
# Groups of rows in their order: heading -> the names in it.
GROUPS = {
    "float32": r"float32.*",
    "PTQ by the TFLite converter": r"ptq_.*",
    "PTQ by litert-quantizer": r"aeq_.*",
    "PTQ, some layers left in float32": r"mixed_.*",
    "Keras 3's own quantization": r"keras_.*",
    "QAT by tfmot": r"qat_.*",
    "Pruning and weight clustering": r"(pruned|clustered\d+)_.*",
    "QAT that keeps pruning, clustering or both": r"(p|c|pc)qat_.*",
    "Others": r".*",
}


@dataclass(frozen=True)
class Entry:
    """Hold one variant of one model.

    Attributes:
        mark: one of ``AS_NAMED``, ``OTHERWISE``, ``REFUSED`` and ``UNKNOWN``.
        note: why it is refused, or how it differs from its name; empty otherwise.
        drop: from the variant's reference, in the metric's unit.
        unit: of the drop.
        lost: the drop in pp, or in percent of the reference's score where the unit is another.
        size: of the file, as a share of float32's.
        time: of a call, as a share of float32's; None where it was not measured.
    """

    mark: str
    note: str = ""
    drop: float | None = None
    size: float | None = None
    time: float | None = None
    unit: str = PP
    lost: float | None = None


def page(made: str) -> str:
    """Return the page.

    Args:
        made: the comment that says how it was made.
    """
    models = load_models(CHECKOUT / "models")
    times = latencies([CHECKOUT / "reports" / "reference" / name for name in LATENCIES])
    accepted = {name: _baseline(model) for name, model in models.items()}
    grouped = groups(of_every_model())
    entries = {
        name: {variant: entry(model, variant, accepted[name], times) for names in grouped.values() for variant in names}
        for name, model in models.items()
    }
    notes = _numbered(entries)
    parts = [
        "# Taxonomy: what becomes of each scheme",
        made,
        *_introduction(entries),
        table(_SUMMARY, [[heading, *_summary(entries, names)] for heading, names in grouped.items()]),
        "## The models",
        table(_MODELS, [_about(model, accepted[name]["float32"]) for name, model in models.items()]),
        "They are in `models/`, `tiny_lm` on text, `keyword` on synthetic speech and the others on Fashion-MNIST.",
        "## Every variant of every model",
        *_legend(models),
        table(["variant", *models], _rows(grouped, entries, notes)),
        "## Why not",
        "\n".join(f"{number}. {note}" for note, number in notes.items()),
        *_further(models, accepted, grouped),
        "## The best of each model",
        f"Among the files that are what their name says and lose at most {SHIPPED:g} pp (`tiny_lm`: {SHIPPED:g} % of "
        "its bits), without those that train:",
        table(["model", "smallest", "fastest"], [_best(name, of_model) for name, of_model in entries.items()]),
        *_sources(accepted),
    ]
    return "\n\n".join(parts) + "\n"


def _baseline(model: ReferenceModel) -> Mapping[str, BaselineCell]:
    file = baselines.load(CHECKOUT / "baselines", model).file
    return file.cells if file is not None else {}


def entry(
    model: ReferenceModel,
    name: str,
    cells: Mapping[str, BaselineCell],
    times: Mapping[tuple[str, str], float],
) -> Entry:
    """Return what is accepted of a variant of a model."""
    variant, cell = VARIANTS[name], cells.get(name)
    if cell is None:
        return Entry(UNKNOWN)
    if cell.unsupported is not None:
        # Refusals that differ in the position of an operator or a tensor alone are one note.
        return Entry(REFUSED, re.sub(r"\b(node|tensor) \d+", r"\1 N", refusals.reason(cell.unsupported)))
    note = _difference(variant, cell) if cell.broken_promise else ""
    size = _value(cell, "size") / _value(cells["float32"], "size")
    made = Entry(OTHERWISE if note else AS_NAMED, note, size=size, time=times.get((name, model.name)))
    if variant.control is None or (reference := cells.get(variant.control)) is None:
        return made
    score, unit = _value(reference, "score"), model.metric.unit
    drop = model.metric.drop(_value(cell, "score"), score)
    return replace(made, drop=drop, unit=unit, lost=drop if unit == PP else 100 * drop / score)


def _value(cell: BaselineCell, measurement: str) -> float:
    return cell.measurements[measurement].value


def _difference(variant: Variant, cell: BaselineCell) -> str:
    """Say how the accepted file differs from what its name says, as reports say it now."""
    found = violations(variant.promise, cell.census) if cell.census is not None else []
    return "; ".join(each.words for each in found) or str(cell.broken_promise)


_RATIO = re.compile(r"(\d+\.\d+)(?: ± \d+\.\d+)?")


def latencies(paths: Iterable[Path]) -> dict[tuple[str, str], float]:
    """Read (variant, model) -> time of a call as a share of float32's from the first table of each report."""
    found: dict[tuple[str, str], float] = {}
    for path in paths:
        if not path.is_file():
            continue
        models: list[str] = []
        for cells in _table_rows(path.read_text(encoding="utf-8")):
            if cells[0] == "variant":
                models = cells[1:]
            elif models and len(cells) == len(models) + 1:
                ratios = {model: _RATIO.fullmatch(text) for model, text in zip(models, cells[1:], strict=True)}
                found |= {(cells[0].strip("`"), model): float(each[1]) for model, each in ratios.items() if each}
    return found


def _table_rows(text: str) -> Iterator[list[str]]:
    """Yield the cells of each row of the first table."""
    started = False
    for line in text.splitlines():
        if line.startswith("|"):
            started = True
            if not set(line) <= set("|-: "):
                yield [word.strip() for word in line.strip().strip("|").split("|")]
        elif started:
            return


def groups(names: Iterable[str]) -> dict[str, list[str]]:
    """Divide the names among the groups, in their order, without the empty ones."""
    found: dict[str, list[str]] = {heading: [] for heading in GROUPS}
    for name in names:
        found[next(heading for heading, pattern in GROUPS.items() if re.fullmatch(pattern, name))].append(name)
    return {heading: inside for heading, inside in found.items() if inside}


def _numbered(entries: Mapping[str, Mapping[str, Entry]]) -> dict[str, int]:
    """Number the notes in the order in which the table shows them, row by row."""
    notes: dict[str, int] = {}
    for of_variant in zip(*(of_model.values() for of_model in entries.values()), strict=True):
        for one in of_variant:
            if one.note:
                notes.setdefault(one.note, len(notes) + 1)
    return notes


def _rows(
    grouped: Mapping[str, list[str]], entries: Mapping[str, Mapping[str, Entry]], notes: Mapping[str, int]
) -> Iterator[list[str]]:
    for heading, names in grouped.items():
        yield [f"**{heading}**", *("" for _ in entries)]
        for name in names:
            yield [f"`{name}`", *(shown(of_model[name], notes) for of_model in entries.values())]


_MODELS = ["model", "what it is", "score of float32", "of", "test examples", "float32's file"]


def _about(model: ReferenceModel, float32: BaselineCell) -> list[str]:
    score, size = float32.measurements["score"], _value(float32, "size")
    value = f"{100 * score.value:.2f} %" if model.metric.unit == PP else f"{score.value:.4f}"
    name = model.metric.name.replace("_", " ")
    return [f"`{model.name}`", model.description, value, name, f"{score.n:,}", f"{size / 1024:,.0f} KiB"]


def _further(
    models: Mapping[str, ReferenceModel],
    accepted: Mapping[str, Mapping[str, BaselineCell]],
    grouped: Mapping[str, list[str]],
) -> Iterator[str]:
    """Make the table of the scores that some models have beside their main one."""
    heads = [(model, head) for model in models.values() for head in model.heads]
    if not heads:
        return
    names = [f"`{model.name}`: {head.name}, {head.metric.unit}" for model, head in heads]
    yield "## Further scores"
    yield (
        "Some models are scored more than once. `detector` joins boxes and scores in one tensor as well, where all "
        "share one int8 scale; `box_iou` says how well its boxes fit; `alarms` of `keyword` are false accepts an hour. "
        "The drop of each, as above:"
    )
    rows = []
    for name in (name for of_group in grouped.values() for name in of_group):
        drops = [_drop_of_head(head, name, accepted[model.name]) for model, head in heads]
        if any(drop is not None for drop in drops):
            rows.append([f"`{name}`", *("–" if drop is None else _signed(drop, 2) for drop in drops)])
    yield table(["variant", *names], rows)


def _drop_of_head(head: Head, name: str, cells: Mapping[str, BaselineCell]) -> float | None:
    of = f"score@{head.name}"
    cell, control = cells.get(name), VARIANTS[name].control
    reference = None if control is None else cells.get(control)
    if cell is None or reference is None or of not in cell.measurements or of not in reference.measurements:
        return None
    return head.metric.drop(_value(cell, of), _value(reference, of))


_SUMMARY = ["", AS_NAMED, OTHERWISE, REFUSED, "drop, pp", "size", "time"]


def _summary(entries: Mapping[str, Mapping[str, Entry]], names: Iterable[str]) -> list[str]:
    """Count a group's files, and give median and range of their figures."""
    inside = [of_model[name] for name in names for of_model in entries.values()]
    count = Counter(one.mark for one in inside)
    figures = [
        [one.drop for one in inside if one.unit == PP],
        [one.size for one in inside],
        [one.time for one in inside],
    ]
    told = [_range([value for value in values if value is not None]) for values in figures]
    return [str(count[AS_NAMED]), str(count[OTHERWISE]), str(count[REFUSED]), *told]


def _range(values: list[float]) -> str:
    if not values:
        return "–"
    return f"{_two(median(values))} ({_two(min(values))} to {_two(max(values))})"


def _two(value: float) -> str:
    return f"{value:.2f}".replace("-0.00", "0.00") if abs(value) < 10 else f"{value:.0f}"


def shown(one: Entry, notes: Mapping[str, int]) -> str:
    """Format an entry: its mark, drop, size and time, and the number of its note."""
    mark = f"{one.mark} {notes[one.note]})" if one.note else one.mark
    figures = [] if one.drop is None else [_signed(one.drop, 2 if one.unit == PP else 3)]
    if one.size is not None:
        figures += [_two(one.size), "–" if one.time is None else _two(one.time)]
    return " · ".join([mark, *figures])


def _signed(value: float, digits: int) -> str:
    return f"{round(value, digits) + 0.0:+.{digits}f}"  # + 0.0: no -0.00


def _introduction(entries: Mapping[str, Mapping[str, Entry]]) -> Iterator[str]:
    count = Counter(one.mark for of_model in entries.values() for one in of_model.values())
    variants = len(next(iter(entries.values())))
    yield (
        f"{variants} ways of making a `.tflite` file of a Keras model with TensorFlow's tools, tried on {len(entries)} "
        f"models{_left_out(entries)}. Of {sum(count.values()) - count[UNKNOWN]} files, {count[AS_NAMED]} are what "
        f"their name says ({AS_NAMED}), {count[OTHERWISE]} can be made and run but are something else ({OTHERWISE}), "
        f"and {count[REFUSED]} cannot be made or do not run ({REFUSED}). All of it is built and measured again every "
        "night; what is refused is tried too, and the run in which it works says so."
    )
    yield (
        "By tool; drop (of models scored in percent), size and time, as explained below, are median and range over the "
        f"files that can be made ({AS_NAMED} and {OTHERWISE}):"
    )


def _left_out(entries: Mapping[str, Mapping[str, Entry]]) -> str:
    """Count the variants of which a model has nothing accepted, in a phrase; empty where there is none."""
    missing = {name: sum(one.mark == UNKNOWN for one in of_model.values()) for name, of_model in entries.items()}
    counted = [f"{count} of them not yet on `{name}`" for name, count in missing.items() if count]
    return f" ({', '.join(counted)})" if counted else ""


def _legend(models: Mapping[str, ReferenceModel]) -> Iterator[str]:
    yield "A cell says `mark · drop · size · time`; where there is no drop, it is itself a reference."
    units = {name: one.metric.unit for name, one in models.items()}
    others = ", in percentage points" + "".join(f" (`{name}`: in {unit})" for name, unit in units.items() if unit != PP)
    yield "\n".join(
        [
            f"- Mark: {AS_NAMED} the operators and the dtypes of weights and activations are those of the name; "
            f"{OTHERWISE} they are not, see the note of that number; {REFUSED} the tools refuse it, or what they make "
            f"does not run or is another network, see the note; {UNKNOWN} nothing is accepted yet.",
            f"- Drop: how much of the score on the test examples is lost{others}, against float32; for variants that "
            "train, the mean of their trainings against that of float32 trained for as long. Negative is better than "
            "float32.",
            "- Size of the file and time of a call on one thread, as a share of float32's: below 1 is smaller and "
            "faster. – where no time was measured.",
        ]
    )
    yield (
        "The parts of the names: [Glossary](glossary.md#names-of-variants). What each variant does: "
        "[Variants](variants.md)."
    )


def _best(name: str, of_model: Mapping[str, Entry]) -> list[str]:
    shipped = {
        variant: one
        for variant, one in of_model.items()
        if one.mark == AS_NAMED and one.lost is not None and one.lost <= SHIPPED and not VARIANTS[variant].trained
    }
    smallest = min(shipped.items(), key=lambda pair: pair[1].size or 0, default=None)
    timed = {variant: one for variant, one in shipped.items() if one.time is not None}
    fastest = min(timed.items(), key=lambda pair: pair[1].time or 0, default=None)
    return [name, _figures(smallest), _figures(fastest) if timed or not shipped else "not timed"]


def _figures(pair: tuple[str, Entry] | None) -> str:
    return "none" if pair is None else f"`{pair[0]}`: {shown(pair[1], {}).removeprefix(f'{AS_NAMED} · ')}"


def _sources(accepted: Mapping[str, Mapping[str, BaselineCell]]) -> Iterator[str]:
    """Say with what, when and how often the scores were measured, and how to cite the page."""
    cells = {(model, name): cell for model, own in accepted.items() for name, cell in own.items()}
    scores = {key: cell.measurements["score"] for key, cell in cells.items() if "score" in cell.measurements}
    dates = sorted(score.accepted.date for score in scores.values())
    trained = Counter(len(score.values or [0]) for (_, name), score in scores.items() if VARIANTS[name].trained)
    times = ", ".join(f"{count} files {_trainings(many)}" for many, count in sorted(trained.items(), reverse=True))
    yield "## Where the figures come from, and how to cite them"
    yield (
        "Scores, sizes and reasons are the accepted values in `baselines/`, each with the date, the "
        f"versions and the processor that it was measured with. The scores were accepted from {dates[0]} to "
        f"{dates[-1]}, with:"
    )
    environments = Counter(score.accepted.environment for score in scores.values())
    yield "\n".join(f"- {count} files: {words}" for words, count in environments.most_common())
    yield (
        f"Of those that train, {times}. How far the trainings of a model lie apart is in `baselines/` (`noise`), and "
        "in the head of the model's file: a drop of a trained file that is smaller may be chance."
    )
    yield (
        "Times are ratios within one process, of [latency.md](../reports/reference/latency.md), which names its "
        "machine: on another processor they differ, and an accelerator has a table of its own. "
        '`quantbench run -m "not latency"` makes all of it again but the times, `quantbench run -m latency` those.'
    )
    yield (
        "To cite it, name the project, this page, and the commit: the page is generated from files of the same commit, "
        "and changes with them."
    )


def _trainings(many: int) -> str:
    return "were trained once" if many == 1 else f"are the mean of {many} trainings"
