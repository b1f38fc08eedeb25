"""HTML from strings. Names and messages come from model files and reports, so whatever is not markup is escaped."""

from collections.abc import Iterable, Sequence
from html import escape
from urllib.parse import quote


def text(value: object) -> str:
    """Safe as content and as the value of a quoted attribute."""
    return escape(str(value))


def anchor(cell_id: str) -> str:
    """Address of a cell's part of the page; a browser decodes it and finds the element whose id is the cell's."""
    return "#" + text(quote(cell_id, safe="/", errors="replace"))


def link(cell_id: str, shown: str | None = None) -> str:
    """A link to a cell's part of the page."""
    return f'<a href="{anchor(cell_id)}">{text(cell_id if shown is None else shown)}</a>'


def step(action: str) -> str:
    """``accept: COMMAND`` with the command as code."""
    what, separator, command = action.partition(": ")
    if separator and command.startswith("quantbench"):
        return f"{text(what)}: <code>{text(command)}</code>"
    return text(action)


def table(caption: str, headers: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """A table in a box that scrolls by itself. Cells are markup already; the first of a row names the row.

    End tags that HTML lets one leave out are left out: a page of many cells is a third smaller.
    """
    head = "".join(f'<th scope="col">{text(header)}' for header in headers)
    body = "".join(f'<tr><th scope="row">{first}{"".join(f"<td>{one}" for one in rest)}' for first, *rest in rows)
    classes = f' class="{kind}"' if kind else ""
    return (
        f'<div class="box"><table{classes}><caption>{text(caption)}</caption>'
        f"<thead><tr>{head}<tbody>{body}</table></div>"
    )


def section(name: str, title: str, content: str) -> str:
    """A part of the page with a heading, a landmark for those who jump from one to the next."""
    return f'<section aria-labelledby="{name}"><h2 id="{name}">{text(title)}</h2>\n{content}\n</section>'


def listing(items: Iterable[str], most: int, what: str) -> str:
    """A list of markup; whatever is more than ``most`` is folded away."""
    known = list(items)
    first, rest = known[:most], known[most:]
    shown = f"<ul>{''.join(f'<li>{one}</li>' for one in first)}</ul>"
    if rest:
        more = "".join(f"<li>{one}</li>" for one in rest)
        shown += f"<details><summary>{len(rest)} more {text(what)}</summary><ul>{more}</ul></details>"
    return shown
