"""Render the table of instructions: those of one call, beside float32's, and the kernels that most of them are in."""

from collections import Counter

from quantbench.records import BETWEEN, FLOAT_CONTROL, Cell, Counted
from quantbench.records.measurements import INSTRUCTIONS
from quantbench.report import formatting

HEADERS = ["variant", "instructions a call", "baseline", "change", "to float32", "operators", "most of them in"]
KERNELS = 3
UNSEEN = (
    "Counted by valgrind on a synthetic processor with AVX2: the same number in every run, whatever the load. It does "
    "not see kernels for AVX-512, VNNI and AMX, caches and memory bandwidth, several threads, or waiting: those are in "
    "the latency."
)


def section(cells: list[Cell]) -> str:
    """Render the heading, the table and its remark; empty where nothing was counted."""
    counted = [cell for cell in cells if INSTRUCTIONS in cell.measurements]
    if not counted:
        return ""
    float32 = next((one.measurements[INSTRUCTIONS].value for one in counted if one.variant == FLOAT_CONTROL), None)
    table = formatting.table([_row(cell, float32) for cell in counted], HEADERS)
    profiles = sorted({cell.counted.profile for cell in counted if cell.counted is not None})
    seen = f" Profile: {', '.join(formatting.code(profile) for profile in profiles)}." if profiles else ""
    return f"\n\n### Instructions\n\n{table}\n\n{UNSEEN}{seen}"


def _row(cell: Cell, float32: float | None) -> list[str]:
    value = cell.measurements[INSTRUCTIONS].value
    judged = next((one for one in cell.judgements if one.measurement == INSTRUCTIONS and one.reference), None)
    accepted = judged.reference if judged is not None else None
    operators = [kernel for kernel, _ in cell.counted.operators if kernel != BETWEEN] if cell.counted else []
    return [
        formatting.code(cell.variant),
        f"{value:,.0f}",
        "" if accepted is None else f"{accepted:,.0f}",
        "" if accepted is None else f"{100 * (value / accepted - 1):+.2f} %",
        "" if not float32 else f"{value / float32:.3f}",
        str(len(operators)) if operators else "",
        "" if cell.counted is None else largest(cell.counted),
    ]


def largest(counted: Counted) -> str:
    """Name the kernels that most instructions are in, with their share."""
    by_kernel: Counter[str] = Counter()
    for kernel, count in counted.operators:
        by_kernel[kernel] += count
    total = by_kernel.total() or 1
    named = by_kernel.most_common(KERNELS)
    return ", ".join(f"{kernel} {100 * count / total:.0f} %" for kernel, count in named)
