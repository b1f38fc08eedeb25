"""Render what cells did on TFLite-Micro and on targets as one table: these across, cells down."""

from quantbench.records import Cell, Measurement, OnTarget, Report, Target
from quantbench.records.measurements import MICRO_ARENA
from quantbench.report import formatting

TITLE = "On other machines and runtimes"
MICRO = "TFLite-Micro"
OF_MICRO = ("runs", "arena, bytes", "answers otherwise")
OF_TARGET = ("score", "change against here", "time / float32 there", "memory, KiB", "not measured")


def headers(report: Report) -> list[str]:
    """Return the heads of the columns: the cell, three of TFLite-Micro where it was tried, and five of each target."""
    of_micro = [f"{MICRO}: {what}" for what in OF_MICRO] if _tried_micro(report) else []
    return ["cell", *of_micro, *(f"{name}: {what}" for name in report.targets for what in OF_TARGET)]


def rows(report: Report) -> list[list[str]]:
    """Return a row of each cell that ran elsewhere, or was to."""
    tried = _tried_micro(report)
    return [
        [
            cell.id,
            *(_of_micro(cell) if tried else []),
            *(text for name, target in report.targets.items() for text in _columns(cell, name, target)),
        ]
        for cell in report.cells
        if cell.targets or cell.micro is not None
    ]


def _tried_micro(report: Report) -> bool:
    return any(cell.micro is not None for cell in report.cells)


def _of_micro(cell: Cell) -> list[str]:
    """Format whether it runs, or what stops it; its arena; and what LiteRT's reference kernels answer otherwise."""
    found, arena = cell.micro, cell.measurements.get(MICRO_ARENA)
    if found is None:
        return ["", "", ""]
    if found.refusal is not None:
        return [f"no: {found.refusal.words}", "", ""]
    size = "" if arena is None else f"{arena.value:,.0f}"
    answers = found.answers
    return ["yes", size, "not compared" if answers is None else f"{len(answers.differing):,} of {answers.examples:,}"]


def machines(report: Report) -> list[str]:
    """Describe each target in one line: what it is, and what is wrong there."""
    return [_machine(name, target) for name, target in report.targets.items()]


def words(report: Report) -> str:
    """Say how to read the table."""
    arena = "arena as its own allocator used it on this 64-bit machine"
    of_micro = f"{MICRO}: {arena}, answers against LiteRT's reference kernels."
    return " ".join([*([of_micro] if _tried_micro(report) else []), *([_of_targets(report)] if report.targets else [])])


def _of_targets(report: Report) -> str:
    emulated = [name for name, target in report.targets.items() if target.emulated]
    of_emulated = f" {', '.join(emulated)}: emulated, so its times say nothing of a machine." if emulated else ""
    return (
        "Change: of the same examples' score from that on this machine, with the examples that are answered otherwise. "
        "Time: lower quartile of a call, in turns with float32 on the same target, median of fresh processes; shown, "
        f"not gated, and not comparable with times of this machine.{of_emulated}"
    )


def markdown(report: Report) -> str:
    """Render the part of ``report.md``; empty where no cell ran elsewhere."""
    found = rows(report)
    if not found:
        return ""
    shown = [[formatting.code(row[0]), *row[1:]] for row in found]
    listed = "\n".join(f"- {formatting.escape(one)}" for one in machines(report))
    parts = [f"## {TITLE}", listed, formatting.table(shown, headers(report)), formatting.escape(words(report))]
    return "\n\n".join(part for part in parts if part)


def _machine(name: str, target: Target) -> str:
    machine = target.machine
    where = target.address if target.address != name else ""
    if machine is None:
        return f"{name} ({where or target.address}): {target.failure or 'not asked'}"
    facts = [
        *([where] if where else []),
        f"{machine.cpu} ({machine.machine}), {machine.cores} cores, {machine.memory / 2**30:.1f} GiB",
        machine.os,
        f"Python {machine.python}, NumPy {machine.numpy}, {machine.runtime} {machine.litert}",
        *(["emulated"] if target.emulated else []),
        f"machine profile {target.results_class}",
    ]
    wrong = [*([target.failure] if target.failure else []), *target.notes]
    return "; ".join([f"{name}: {', '.join(facts)}", *wrong])


def _columns(cell: Cell, name: str, target: Target) -> list[str]:
    there = cell.targets.get(name)
    if there is None:
        return ["", "", "", "", target.failure]
    return [
        _score(cell, there.measurements.get("score")),
        _change(cell, there),
        _ratio(there, target.emulated),
        formatting.kib(there.measurements.get("memory")),
        "; ".join(_lacking(there)),
    ]


def _score(cell: Cell, measured: Measurement | None) -> str:
    return "" if measured is None else formatting.score(cell.model_copy(update={"measurements": {"score": measured}}))


def _change(cell: Cell, there: OnTarget) -> str:
    score = there.measurements.get("score")
    if score is None or there.local is None:
        return ""
    if not there.differing and score.value == there.local:
        return f"none ({score.n:,} examples)"
    sign = 1 if cell.higher_is_better else -1
    change = sign * (score.value - there.local) * cell.metric_scale
    turned = "" if there.lost is None else f": {there.lost} newly wrong, {there.gained} newly right"
    return f"{change:+.2f} {cell.metric_unit} ({there.differing:,} of {score.n:,} differ{turned})"


def _ratio(there: OnTarget, emulated: bool) -> str:
    ratio, latency = there.measurements.get("latency_ratio"), there.measurements.get("latency")
    if latency is None:
        return ""
    text = f"{latency.value:,.0f} µs" if ratio is None else f"{ratio.value:.2f}× ({latency.value:,.0f} µs)"
    return f"{text}, emulated" if emulated else text


def _lacking(there: OnTarget) -> list[str]:
    answers = [f"not run: {there.failure}"] if there.failure else []
    return [*answers, *(f"{what}: {why}" for what, why in there.lacking.items()), *there.retried]
