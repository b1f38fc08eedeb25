"""HTML from strings. Names and messages come from model files and reports, so whatever is not markup is escaped."""

import base64
import hashlib
import shlex
from collections.abc import Callable, Iterable, Sequence
from html import escape
from importlib import resources
from urllib.parse import quote

from quantbench.core.echo import plain
from quantbench.records import Action


def text(value: object) -> str:
    """Safe as content and as the value of a quoted attribute."""
    return escape(plain(str(value)))


def anchor(cell_id: str) -> str:
    """Address of a cell's part of the page; a browser decodes it and finds the element whose id is the cell's."""
    return "#" + text(quote(plain(cell_id), safe="/", errors="replace"))


def link(cell_id: str, shown: str | None = None) -> str:
    """A link to a cell's part of the page."""
    return f'<a href="{anchor(cell_id)}">{text(cell_id if shown is None else shown)}</a>'


def step(action: Action) -> str:
    """``accept: COMMAND`` with the command as code."""
    if action.command:
        return f"{text(action.what)}: <code>{text(shlex.join(action.command))}</code>"
    return text(action.what)


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


def folded(summary: str, content: str) -> str:
    """Markup that is folded away."""
    return f"<details><summary>{text(summary)}</summary>{content}</details>"


def listing(items: Iterable[str], most: int, what: str, fold: Callable[[str, str], str] = folded) -> str:
    """A list of markup; whatever is more than ``most`` is folded away."""
    known = list(items)
    first, rest = known[:most], known[most:]
    shown = f"<ul>{''.join(f'<li>{one}</li>' for one in first)}</ul>"
    if rest:
        more = "".join(f"<li>{one}</li>" for one in rest)
        shown += fold(f"{len(rest)} more {what}", f"<ul>{more}</ul>")
    return shown


def frame(title: str, banner: str, main: str, nav: str = "", script: str = "") -> str:
    """A whole page: one style sheet, one script that runs at most, and nothing from anywhere else."""
    style = page_file("page.css")
    # Nothing is loaded from anywhere, and no other style or script runs, whatever a name may hold.
    scripts = _hash(script) if script else "'none'"
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {scripts}; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )
    run = f"<script>{script}</script>" if script else ""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{text(policy)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><meta name="referrer" content="no-referrer">\n'
        f"<title>{text(title)}</title>\n<style>{style}</style></head>\n"
        f'<body><a class="skip" href="#main">Skip to the report</a>\n{banner}\n{nav}\n'
        f'<main id="main">\n{main}\n</main>\n{run}</body></html>\n'
    )


def page_file(name: str) -> str:
    """A file that lies in ``bench/quantbench/report/html/assets/``."""
    return (resources.files("quantbench.report.html") / "assets" / name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
