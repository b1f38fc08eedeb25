"""Render the one-screen summary after a run."""

from pathlib import Path

from tabulate import tabulate

from quantbench.records import Report
from quantbench.report import formatting

MOST_LINES = 10


def summary(report: Report, folder: Path) -> str:
    """Summarize a run: verdict, a compact table, what needs attention, and where the report is."""
    by_id = {cell.id: cell for cell in report.cells}
    rows = [
        [
            cell.id,
            formatting.verdict(cell),
            formatting.score(cell),
            formatting.drop(cell, by_id).replace(" (no floor)", ""),
            formatting.kib(cell.measurements.get("size")),
            formatting.microseconds(cell),
            formatting.ratio(cell),
        ]
        for cell in report.cells
    ]
    headers = ["cell", "verdict", "score", "drop", "KiB", "µs", "ratio to float32"]
    lines = [tabulate(rows, headers=headers, tablefmt="simple", disable_numparse=True), ""]
    entries = formatting.attention(report)
    for cell, verdict, messages, actions in entries[:MOST_LINES]:
        lines.append(f"{formatting.MARKS[verdict]}  {cell}: {'; '.join(messages)}")
        lines += [f"    → {formatting.step(action)}" for action in actions]
    if len(entries) > MOST_LINES:
        lines.append(f"… and {len(entries) - MOST_LINES} more cells in the report")
    excepted = formatting.exceptions(report)
    lines += [f"exception: {cell}: {sentence}" for cell, sentence in excepted[:MOST_LINES]]
    if len(excepted) > MOST_LINES:
        lines.append(f"… and {len(excepted) - MOST_LINES} more exceptions in the report")
    everything = formatting.accept_everything(report, folder)
    lines += [everything] if everything else []
    unjudged = formatting.unjudged_latency(report)
    if unjudged:
        lines.append(f"note: {unjudged}")
    on_gpu = formatting.gpu_note(report)
    if on_gpu:
        lines.append(f"note: {on_gpu}")
    lines += [f"note: {note}" for note in report.notes]
    lines += ["", formatting.headline(report), f"report: {folder / 'report.md'}"]
    return "\n".join(lines)
