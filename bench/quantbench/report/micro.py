"""Show what TFLite-Micro made of the artifacts: a table of a model's cells."""

from collections.abc import Sequence

from quantbench.records import Cell, Micro
from quantbench.records.measurements import MICRO_ARENA
from quantbench.report import formatting

HEADERS = (
    "variant",
    "runs",
    "arena, bytes",
    "reused by calls",
    "stays",
    "answered otherwise",
    "newly wrong / right",
    "why not",
)


def section(cells: Sequence[Cell]) -> str:
    """Render the table as Markdown; empty where nothing was run on TFLite-Micro."""
    rows = [[formatting.code(cell.variant), *row(cell, cell.micro)] for cell in cells if cell.micro is not None]
    if not rows:
        return ""
    version = next(cell.micro.version for cell in cells if cell.micro is not None)
    return (
        f"\n\n### TFLite-Micro {formatting.escape(version)}\n\n{formatting.table(rows, list(HEADERS))}\n\n"
        "Arena: as its own allocator used it on this 64-bit machine. Answers: against LiteRT's reference kernels, on "
        "the same examples. Its kernels here are its reference kernels; those of a vendor were not run."
    )


def row(cell: Cell, found: Micro) -> list[str]:
    """Format what was found of one cell, in the order of :data:`HEADERS` without the variant."""
    if found.refusal is not None:
        return ["no", "", "", "", "", "", formatting.escape(found.refusal.words)]
    arena, answers = cell.measurements.get(MICRO_ARENA), found.answers
    sizes = [None if arena is None else arena.value, found.head, found.tail]
    shown = ["" if size is None else f"{size:,.0f}" for size in sizes]
    if answers is None:
        return ["yes", *shown, "not compared", "", ""]
    pairs = "" if answers.lost is None else f"{answers.lost} / {answers.gained}"
    return ["yes", *shown, f"{len(answers.differing)} of {answers.examples}", pairs, ""]
