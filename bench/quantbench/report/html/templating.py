"""Render pages and pictures from ``templates/``.

Names and messages come from model files and reports, so everything but a template's own markup is escaped, and control
characters are made visible.
"""

import base64
import hashlib
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from markupsafe import Markup

from quantbench.core.echo import plain
from quantbench.report.plots import Sheet

if TYPE_CHECKING:
    from jinja2 import Environment


@dataclass(frozen=True)
class Banner:
    """Describe the top of a page.

    Attributes:
        kind: its colour: ``green``, ``red`` or ``amber``.
    """

    title: str
    sign: str
    kind: str
    facts: list[str]
    counts: str = ""


class Part(NamedTuple):
    """Hold a part of the page, with the name that links use."""

    name: str
    title: str
    content: Markup


@cache
def environment() -> "Environment":
    """Create the template environment: every value is escaped, and a missing one is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined  # slow to load, and Markdown needs none of it

    created = Environment(
        loader=PackageLoader("quantbench.report.html"),
        autoescape=True,
        finalize=_visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    created.filters |= {"anchor": anchor, "breakable": breakable, "shell": shlex.join}
    return created


def _visible(value: object) -> object:
    """Make control characters of text visible; markup has none."""
    return value if type(value) is Markup else plain(str(value))


def fragment(template: str, **values: Any) -> Markup:
    """Render a template as markup that is not escaped again inside another one."""
    return Markup(environment().get_template(template).render(values))


@cache
def macro(template: str, name: str) -> Callable[..., Markup]:
    """Return a macro of a template: it takes half as long for what is shown ten thousand times."""
    function: Callable[..., Markup] = getattr(environment().get_template(template).module, name)
    return function


@lru_cache(maxsize=20_000)  # a cell is linked to from five places
def anchor(cell_id: str) -> str:
    """Return the address of a cell's part of the page; a browser decodes it and finds the element of that id."""
    return "#" + quote(plain(cell_id), safe="/", errors="replace")


def breakable(name: str) -> Markup:
    """Allow a line break in a name after each ``_``."""
    return Markup("_<wbr>").join(plain(name).split("_"))


def page_from(template: str, script: str = "", more_style: str = "", **values: Any) -> str:
    """Render a whole page: one style sheet, at most one script, and nothing from the network."""
    style = asset("colours.css") + asset("page.css") + asset("charts.css") + more_style
    # Nothing is loaded from anywhere, and no other style or script runs, whatever a name may hold.
    scripts = _hash(script) if script else "'none'"
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {scripts}; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )
    return fragment(template, policy=policy, style=Markup(style), script=Markup(script), **values) + "\n"


def picture(sheet: Sheet) -> str:
    """Render an SVG file by itself, with its title for screen readers, on a white background in light and dark."""
    return fragment("picture.svg.j2", sheet=sheet, style=Markup(_without_variables())) + "\n"


@cache
def asset(name: str) -> str:
    """Read a file of ``assets/``, which is part of this package."""
    return (resources.files("quantbench.report.html") / "assets" / name).read_text(encoding="utf-8")


def _without_variables() -> str:
    """Replace the colour variables in the style of charts: outside browsers, few programs support them in SVG."""
    colours = dict(re.findall(r"--([\w-]+): ([^;]+);", asset("colours.css")))
    return re.sub(r"var\(--([\w-]+)\)", lambda name: colours[name[1]], asset("charts.css"))


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
