"""What a large page builds only when it is asked for.

A browser takes long over a hundred thousand table cells, and next to nothing over a text that it does not read. A page
of many cells keeps most of itself as such a text (JSON), and its script puts parts in place: rows when the table is
sorted, filtered or lengthened, a cell when it is linked to, a fold when it is opened. A page of few cells is all
markup, and needs its script for sorting and filtering alone.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from quantbench.report.html.templating import fragment

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
    rows: list[Markup] = field(default_factory=list)
    cells: dict[str, Markup] = field(default_factory=dict)
    folds: list[Markup] = field(default_factory=list)

    def first_rows(self, rows: Sequence[Markup]) -> Markup:
        """The rows that do not wait."""
        here = FIRST_ROWS if self.large else len(rows)
        self.rows += rows[here:]
        return Markup("").join(rows[:here])

    def fold(self, summary: str, content: Markup) -> Markup:
        """Something folded away."""
        if not self.large:
            return fragment("fold.html.j2", summary=summary, content=content, place=None)
        self.folds.append(content)
        return fragment("fold.html.j2", summary=summary, content="", place=len(self.folds) - 1)

    def listing(self, template: str, items: Sequence[Any], most: int, what: str) -> Markup:
        """A list from a template; whatever is more than ``most`` is folded away."""
        shown = fragment(template, items=items[:most])
        if len(items) <= most:
            return shown
        return shown + self.fold(f"{len(items) - most} more {what}", fragment(template, items=items[most:]))

    def script(self) -> Markup:
        """All that waits, as data: nothing in it runs; empty where nothing waits.

        Not by Jinja's ``tojson``, which writes six characters for each ``<``.
        """
        if not self.rows and not self.cells and not self.folds:
            return Markup("")
        data = json.dumps({"rows": self.rows, "cells": self.cells, "folds": self.folds}, ensure_ascii=False)
        return Markup(data.replace("</", "<\\/").replace("<!--", "<\\u0021--"))  # it cannot end, or hide its end
