"""Pages and pictures from ``templates/``.

Names and messages come from model files and reports, so whatever is not markup of a template is escaped, and characters
that are orders to whatever shows them are made visible.
"""

import base64
import hashlib
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from typing import Any, NamedTuple
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from quantbench.core.echo import plain
from quantbench.report.plots import Sheet


@dataclass(frozen=True)
class Banner:
    """What stands above all else.

    Attributes:
        kind: its colour: ``green``, ``red`` or ``amber``.
    """

    title: str
    sign: str
    kind: str
    facts: list[str]
    counts: str = ""


class Part(NamedTuple):
    """A part of the page, with the name by which it is linked to."""

    name: str
    title: str
    content: Markup


@cache
def environment() -> Environment:
    """Every value is escaped; one that is not there is an error."""
    found = Environment(
        loader=PackageLoader("quantbench.report.html"),
        autoescape=True,
        finalize=_visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    found.filters |= {"anchor": anchor, "breakable": breakable, "shell": shlex.join}
    return found


def _visible(value: object) -> object:
    """Text without orders; markup was made of such text."""
    return value if type(value) is Markup else plain(str(value))


def fragment(template: str, **values: Any) -> Markup:
    """A template's own markup, which is not escaped again where another one shows it."""
    return Markup(environment().get_template(template).render(values))


@cache
def macro(template: str, name: str) -> Callable[..., Markup]:
    """A macro of a template: what is shown ten thousand times takes half as long so."""
    found: Callable[..., Markup] = getattr(environment().get_template(template).module, name)
    return found


@lru_cache(maxsize=20_000)  # a cell is linked to from five places
def anchor(cell_id: str) -> str:
    """Address of a cell's part of the page; a browser decodes it and finds the element whose id is the cell's."""
    return "#" + quote(plain(cell_id), safe="/", errors="replace")


def breakable(name: str) -> Markup:
    """A name that a line may end in, after each ``_``."""
    return Markup("_<wbr>").join(plain(name).split("_"))


def page_from(template: str, script: str = "", **values: Any) -> str:
    """A whole page: one style sheet, one script that runs at most, and nothing from anywhere else."""
    style = asset("colours.css") + asset("page.css") + asset("charts.css")
    # Nothing is loaded from anywhere, and no other style or script runs, whatever a name may hold.
    scripts = _hash(script) if script else "'none'"
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {scripts}; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )
    return fragment(template, policy=policy, style=Markup(style), script=Markup(script), **values) + "\n"


def picture(sheet: Sheet) -> str:
    """An SVG file by itself, with its title for those who hear it, on white paper in light and dark."""
    return fragment("picture.svg.j2", sheet=sheet, style=Markup(_without_variables())) + "\n"


@cache
def asset(name: str) -> str:
    """A file of ``assets/``, of our own making."""
    return (resources.files("quantbench.report.html") / "assets" / name).read_text(encoding="utf-8")


def _without_variables() -> str:
    """The style of charts with its colours put in: few programs but browsers know variables in a picture."""
    colours = dict(re.findall(r"--([\w-]+): ([^;]+);", asset("colours.css")))
    return re.sub(r"var\(--([\w-]+)\)", lambda name: colours[name[1]], asset("charts.css"))


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
