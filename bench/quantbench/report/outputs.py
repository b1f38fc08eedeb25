"""Show how the further outputs of a model are scored and judged: a row for each of a cell's outputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from quantbench.records import Cell, OutputScored, Verdict, worst
from quantbench.records.measurements import of_output, output_in
from quantbench.report import formatting

TITLE = "Further outputs"
CAPTION = "further outputs; the other tables show the first one"
HEADERS = ("variant", "output", "verdict", "metric", "score", "drop from float32", "max drop")


@dataclass(frozen=True)
class Row:
    """Describe one further output of a cell, in words.

    Attributes:
        drop: from the float32 reference of the same run; empty where there is none.
        limit: the largest drop that is allowed, and what is left of it; empty where there is none.
    """

    variant: str
    output: str
    verdict: Verdict
    metric: str
    score: str
    drop: str
    limit: str

    def shown(self) -> list[str]:
        """Return the values below :data:`HEADERS`."""
        return [self.variant, self.output, self.verdict.shown, self.metric, self.score, self.drop, self.limit]


def rows(cells: Sequence[Cell], by_id: Mapping[str, Cell]) -> list[Row]:
    """Return a row for each scored further output of these cells."""
    return [_row(cell, name, how, by_id) for cell in cells for name, how in cell.outputs.items() if cell.measurements]


def _row(cell: Cell, output: str, how: OutputScored, by_id: Mapping[str, Cell]) -> Row:
    name, judged = of_output("score", output), [one for one in cell.judgements if output_in(one.measurement) == output]
    verdict = worst([one.verdict for one in judged])
    score, limits = cell.measurements.get(name), [one for one in judged if one.against == "floor"]
    control = by_id.get(f"{cell.model}/{cell.control}")
    reference = None if control is None else control.measurements.get(name)
    drop: float | None = limits[0].change if limits else None
    if drop is None and score is not None and reference is not None:
        drop = how.scale * (reference.value - score.value) * (1 if how.higher_is_better else -1)
    limit = ""
    if limits and limits[0].tolerance is not None:
        left = "" if drop is None else f" ({formatting.left_of(limits[0].tolerance, drop)})"
        limit = f"{limits[0].tolerance:g} {how.unit}{left}"
    shown = "" if score is None else f"{100 * score.value:.2f} %" if how.scale == 100 else f"{score.value:.5g}"
    dropped = "" if drop is None else f"{round(drop, 2) + 0.0:+.2f} {how.unit}"
    return Row(cell.variant, output, verdict, how.metric, shown, dropped, limit)


def section(cells: Sequence[Cell], by_id: Mapping[str, Cell]) -> str:
    """Return the Markdown table of the further outputs of a model; empty where it has none."""
    found = rows(cells, by_id)
    if not found:
        return ""
    table = formatting.table(
        [
            [
                formatting.code(one.variant),
                *(formatting.escape(value) for value in one.shown()[1:]),
            ]
            for one in found
        ],
        list(HEADERS),
    )
    return f"\n\n### {TITLE}\n\n{table}\n\nThe table above is of the first output."
