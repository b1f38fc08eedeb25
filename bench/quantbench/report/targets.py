"""Render what cells did on TFLite-Micro, on GPUs and on targets as one table: these across, cells down."""

from quantbench.records import Cell, Kind, Measurement, OnTarget, Report, Target
from quantbench.records.measurements import MICRO_ARENA, of_output
from quantbench.report import formatting

TITLE = "On other machines and runtimes"
MICRO = "TFLite-Micro"
OF_MICRO = ("score", "change against the reference kernels", "arena, bytes", "not measured")
OF_GPU = ("score", "change against here", "time / float32 there", "operators left to the CPU", "not measured")
OF_TARGET = ("score", "change against here", "time / float32 there", "memory, KiB", "not measured")


def headers(report: Report) -> list[str]:
    """Return the heads of the columns: the cell, and those of TFLite-Micro, of each GPU and of each target."""
    of_micro = [f"{MICRO}: {what}" for what in OF_MICRO] if _tried_micro(report) else []
    of_gpus = [f"{device.name}: {what}" for device in report.environment.gpus.values() for what in OF_GPU]
    return ["cell", *of_micro, *of_gpus, *(f"{name}: {what}" for name in report.targets for what in OF_TARGET)]


def rows(report: Report) -> list[list[str]]:
    """Return a row of each cell that ran elsewhere, or was to."""
    tried = _tried_micro(report)
    return [
        [
            cell.id,
            *(_of_micro(cell) if tried else []),
            *(text for device in report.environment.gpus for text in _of_gpu(cell, device)),
            *(text for name, target in report.targets.items() for text in _columns(cell, name, target)),
        ]
        for cell in report.cells
        if cell.targets or cell.micro is not None or _tried_gpu(report, cell)
    ]


def _tried_micro(report: Report) -> bool:
    return any(cell.micro is not None for cell in report.cells)


def _tried_gpu(report: Report, cell: Cell) -> bool:
    return bool(report.environment.gpus) and Kind.GPU in cell.verdicts


def _of_micro(cell: Cell) -> list[str]:
    """Format its score and arena, what LiteRT's reference kernels answer otherwise, and what stops it."""
    found, arena = cell.micro, cell.measurements.get(MICRO_ARENA)
    if found is None:
        return ["", "", "", ""]
    if found.refusal is not None:
        return ["", "", "", f"not run: {found.refusal.words}"]
    size, answers = "" if arena is None else f"{arena.value:,.0f}", found.answers
    if answers is None:
        return ["", "", size, "not compared: the reference kernels do not run it"]
    differing, n = len(answers.differing), answers.examples
    turned = "" if answers.lost is None else f": {answers.lost} newly wrong, {answers.gained} newly right"
    if answers.score is None or answers.reference_score is None:  # NaN there, or a report of before 1.11
        return ["", f"{differing:,} of {n:,} differ{turned}", size, ""]
    change = _changed(cell, answers.score - answers.reference_score, differing, n, turned)
    return [_shown(cell, answers.score, n), change, size, ""]


def _of_gpu(cell: Cell, device: str) -> list[str]:
    """Format what a GPU did with a cell.

    Args:
        device: name of a further GPU; empty for the first one.
    """
    if Kind.GPU not in cell.verdicts:
        return [""] * len(OF_GPU)
    agreement, _, _, ratio, left, share = formatting.gpu(cell, device)
    score, change = (cell.measurements.get(of_output(name, device)) for name in ("gpu_score", "gpu_score_change"))
    agreeing, time = (cell.measurements.get(of_output(name, device)) for name in ("gpu_agreement", "gpu_time"))
    if agreeing is None:
        return ["", "", "", "", formatting.not_on_gpu(cell, device)]
    differing = round((1 - agreeing.value) * agreeing.n)
    changed = f"answers as here on {agreement} of {agreeing.n:,}"
    if change is not None:
        changed = _changed(cell, change.value, differing, agreeing.n)
    took = (
        "" if time is None else f"{ratio.partition(' ')[0]}× ({time.value:.2f} ms)" if ratio else f"{time.value:.2f} ms"
    )
    on_cpu = left if left in ("", "0") else f"{left}, {share} of the multiplications"
    return ["" if score is None else _shown(cell, score.value, score.n), changed, took, on_cpu, ""]


def machines(report: Report) -> list[str]:
    """Describe each GPU and target in one line: what it is, and what is wrong there."""
    tried = any(Kind.GPU in cell.verdicts for cell in report.cells)
    gpus = [f"Accelerator: {device.label}" for device in report.environment.gpus.values()] if tried else []
    return [*gpus, *(_machine(name, target) for name, target in report.targets.items())]


def words(report: Report) -> str:
    """Say how to read the table."""
    arena = "arena as its own allocator used it on this 64-bit machine"
    of_micro = f"{MICRO}: {arena}, answers against LiteRT's reference kernels; no time is measured."
    parts = [
        *([of_micro] if _tried_micro(report) else []),
        *([_of_gpus(report)] if any(_tried_gpu(report, cell) for cell in report.cells) else []),
        *([_of_targets(report)] if report.targets else []),
    ]
    return " ".join(parts)


def _of_gpus(report: Report) -> str:
    software = [device.name for device in report.environment.gpus.values() if device.software]
    of_software = f" {', '.join(software)}: computed on the CPU, so the times say nothing of a GPU." if software else ""
    return (
        "GPUs: score of the first test examples, and its change from that on this machine's CPU; time: until the "
        f"outputs are read back, median, shown and not gated.{of_software}"
    )


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


def _shown(cell: Cell, score: float, n: int) -> str:
    unit = "fraction" if cell.metric_scale == 100 else cell.metric_unit
    return _score(cell, Measurement(value=score, unit=unit, n=n))


def _change(cell: Cell, there: OnTarget) -> str:
    score = there.measurements.get("score")
    if score is None or there.local is None:
        return ""
    turned = "" if there.lost is None else f": {there.lost} newly wrong, {there.gained} newly right"
    return _changed(cell, score.value - there.local, there.differing or 0, score.n, turned)


def _changed(cell: Cell, change: float, differing: int, n: int, turned: str = "") -> str:
    """Format a change of a score, for the worse with a minus, and how many answers differ."""
    if not differing and not change:
        return f"none ({n:,} examples)"
    signed = (1 if cell.higher_is_better else -1) * change * cell.metric_scale
    return f"{signed:+.2f} {cell.metric_unit} ({differing:,} of {n:,} differ{turned})"


def _ratio(there: OnTarget, emulated: bool) -> str:
    ratio, latency = there.measurements.get("latency_ratio"), there.measurements.get("latency")
    if latency is None:
        return ""
    text = f"{latency.value:,.0f} µs" if ratio is None else f"{ratio.value:.2f}× ({latency.value:,.0f} µs)"
    return f"{text}, emulated" if emulated else text


def _lacking(there: OnTarget) -> list[str]:
    answers = [f"not run: {there.failure}"] if there.failure else []
    return [*answers, *(f"{what}: {why}" for what, why in there.lacking.items()), *there.retried]
