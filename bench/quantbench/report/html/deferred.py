"""What a large page builds only when it is asked for.

A browser takes long over a hundred thousand table cells, and next to nothing over a text that it does not read. A page
of many cells keeps most of itself as such a text (JSON), and its script puts parts in place: rows when the table is
sorted, filtered or lengthened, a cell when it is linked to, a fold when it is opened. A page of few cells is all
markup, and needs its script for sorting and filtering alone.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from quantbench.report.html.markup import folded, text

WHOLE_PAGE = 400  # cells of a page that is all markup
FIRST_ROWS = 200  # of a larger one's table


@dataclass
class Later:
    """Markup that waits.

    Attributes:
        large: whether anything waits.
        rows: of the table of all cells, what follows its first ones.
        cells: by id, those from the inside.
        folds: what is in each fold.
    """

    large: bool
    rows: list[str] = field(default_factory=list)
    cells: dict[str, str] = field(default_factory=dict)
    folds: list[str] = field(default_factory=list)

    def first_rows(self, rows: Sequence[str]) -> str:
        """The rows that do not wait."""
        here = FIRST_ROWS if self.large else len(rows)
        self.rows += rows[here:]
        return "".join(rows[:here])

    def fold(self, summary: str, content: str) -> str:
        """Something folded away."""
        if not self.large:
            return folded(summary, content)
        self.folds.append(content)
        return f'<details data-later="{len(self.folds) - 1}"><summary>{text(summary)}</summary></details>'

    def script(self) -> str:
        """All that waits, as data: nothing in it runs; empty where nothing waits."""
        if not self.rows and not self.cells and not self.folds:
            return ""
        told = json.dumps({"rows": self.rows, "cells": self.cells, "folds": self.folds}, ensure_ascii=False)
        told = told.replace("</", "<\\/").replace("<!--", "<\\u0021--")  # so that it cannot end, or hide its end
        return f'<script type="application/json" id="later">{told}</script>\n'
