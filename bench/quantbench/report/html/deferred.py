"""Defer what a large page builds only on demand.

A browser is slow with a hundred thousand table cells, and fast with a text that it does not parse. A page of many cells
keeps most of its content as such a text (JSON, deflated, in base64: a twelfth of it), and its script inserts parts on
demand: rows when the table is sorted, filtered or extended, a cell when it is linked to, a fold when it is opened. A
page of few cells is all markup, and needs its script for sorting and filtering alone.
"""

import base64
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from quantbench.report.html.templating import fragment

WHOLE_PAGE = 400  # most cells of a page that is all markup
FIRST_ROWS = 200  # of a larger page's table, which are not deferred


@dataclass
class Later:
    """Collect deferred markup.

    Attributes:
        large: whether anything is deferred.
        rows: those of the table of all cells after the first ones.
        cells: the details of cells, by id.
        folds: the content of each fold.
    """

    large: bool
    rows: list[Markup] = field(default_factory=list)
    cells: dict[str, Markup] = field(default_factory=dict)
    folds: list[Markup] = field(default_factory=list)

    def first_rows(self, rows: Sequence[Markup]) -> Markup:
        """Return the rows that are not deferred."""
        here = FIRST_ROWS if self.large else len(rows)
        self.rows += rows[here:]
        return Markup("").join(rows[:here])

    def fold(self, summary: str, content: Markup) -> Markup:
        """Fold content away under a summary."""
        if not self.large:
            return fragment("fold.html.j2", summary=summary, content=content, place=None)
        self.folds.append(content)
        return fragment("fold.html.j2", summary=summary, content="", place=len(self.folds) - 1)

    def listing(self, template: str, items: Sequence[Any], most: int, what: str) -> Markup:
        """Render a list from a template; items beyond ``most`` are folded away."""
        shown = fragment(template, items=items[:most])
        if len(items) <= most:
            return shown
        return shown + self.fold(f"{len(items) - most} more {what}", fragment(template, items=items[most:]))

    def script(self) -> Markup:
        """Serialize all deferred markup, as data that does not run; empty where nothing is deferred.

        Base64 can neither close the element that it is in nor hide its end.
        """
        if not self.rows and not self.cells and not self.folds:
            return Markup("")
        data = json.dumps({"rows": self.rows, "cells": self.cells, "folds": self.folds}, ensure_ascii=False)
        # Lone surrogates of a name are no UTF-8: a browser would show the same sign for one of them.
        return Markup(base64.b64encode(zlib.compress(data.encode("utf-8", "replace"))).decode())
