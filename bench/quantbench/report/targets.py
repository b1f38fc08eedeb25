"""Render what cells answered on targets as one table: targets across, cells down."""

from quantbench.records import Cell, Measurement, OnTarget, Report, Target
from quantbench.report import formatting

TITLE = "On other machines"
OF_TARGET = ("score", "change against here", "time / float32 there", "memory, KiB", "not measured")


def headers(report: Report) -> list[str]:
    """Return the heads of the columns: the cell, then five of each target."""
    return ["cell", *(f"{name}: {what}" for name in report.targets for what in OF_TARGET)]


def rows(report: Report) -> list[list[str]]:
    """Return a row of each cell that ran on a target, or was to."""
    return [
        [cell.id, *(text for name, target in report.targets.items() for text in _columns(cell, name, target))]
        for cell in report.cells
        if cell.targets
    ]


def machines(report: Report) -> list[str]:
    """Describe each target in one line: what it is, and what is wrong there."""
    return [_machine(name, target) for name, target in report.targets.items()]


def words(report: Report) -> str:
    """Say how to read the table."""
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
    if not report.targets or not found:
        return ""
    shown = [[formatting.code(row[0]), *row[1:]] for row in found]
    listed = "\n".join(f"- {formatting.escape(one)}" for one in machines(report))
    return f"## {TITLE}\n\n{listed}\n\n{formatting.table(shown, headers(report))}\n\n{formatting.escape(words(report))}"


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
