"""Help mkdocs build the site (``hooks`` in mkdocs.yml): README.md as its home, linked files, no network.

Pages link to files of the repository as they do on a forge: ``../SECURITY.md``. Such a file becomes a page or a
download below ``project/``, and the link follows. A link to a file that does not exist is left alone, and mkdocs
refuses it. A built page that would load anything from a network is an error.
"""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HOME = "README.md"
_LINK = re.compile(r"(\]\(|<img src=\")([^)\s\"#]+)")
_CODE = re.compile(r"^(```.*?^```$|(?:    |\t).*?$)", re.DOTALL | re.MULTILINE)
_LOADED = re.compile(r"<(?:script|img|iframe|source|link)\b[^>]*\b(?:src|href)=[\"']?((?:https?:)?//[^\"'\s>]+)")
_ANCHOR_LINK = re.compile(r"rel=[\"']?(?:canonical|next|prev)")

_sources: dict[str, str] = {}  # page of the site -> file of the repository


def site_path(target: str) -> str:
    """Return where a file of the repository is in the site."""
    if target == HOME:
        return "index.md"
    return target.removeprefix("docs/") if target.startswith("docs/") else f"project/{target}"


def links(text: str) -> Iterator[re.Match[str]]:
    """Yield the relative links of a Markdown text, those in code left out."""
    code = [found.span() for found in _CODE.finditer(text)]
    for link in _LINK.finditer(text):
        outside = not any(start <= link.start() < end for start, end in code)
        if outside and not re.match(r"[a-z]+:|/", link[2]):
            yield link


def _target(source: str, link: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), link))


def linked(root: Path, sources: list[str]) -> list[str]:
    """List the existing files outside docs/ that the pages link to, directly or through each other."""
    found: list[str] = []
    todo = list(sources)
    while todo:
        source = todo.pop()
        for link in links((root / source).read_text(encoding="utf-8")):
            target = _target(source, link[2])
            outside = target != HOME and not target.startswith(("docs/", "../")) and target not in found
            if outside and (root / target).is_file():
                found.append(target)
                if target.endswith(".md"):
                    todo.append(target)
    return found


def relinked(text: str, source: str, known: set[str]) -> str:
    """Return a page's text with the links that the site needs; ``known`` holds the repository files in the site."""
    page = site_path(source)
    for link in reversed(list(links(text))):
        target = _target(source, link[2])
        if target in known or target.startswith("docs/"):
            new = posixpath.relpath(site_path(target), posixpath.dirname(page) or ".")
            text = text[: link.start(2)] + new + text[link.end(2) :]
    return text


def on_files(files: Any, config: Any) -> Any:
    """Add README.md and what is linked to outside docs/ (called by mkdocs)."""
    from mkdocs.structure.files import File, InclusionLevel

    root = Path(config.config_file_path).parent
    pages = [f"docs/{file.src_uri}" for file in files.documentation_pages()]
    _sources.clear()
    _sources.update({site_path(source): source for source in [HOME, *pages, *linked(root, [HOME, *pages])]})
    for uri, source in _sources.items():
        if not source.startswith("docs/"):
            level = InclusionLevel.INCLUDED if source == HOME else InclusionLevel.NOT_IN_NAV
            files.append(File.generated(config, uri, abs_src_path=str(root / source), inclusion=level))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Make a page's links those of the site (called by mkdocs)."""
    del config, files
    source = _sources.get(page.file.src_uri)
    return relinked(markdown, source, set(_sources.values())) if source else markdown


def loaded_from_a_network(page: str) -> list[str]:
    """List the addresses that a page would load something from; what a reader may click on is not loaded."""
    return [found[1] for found in _LOADED.finditer(page) if not _ANCHOR_LINK.search(found[0])]


def on_post_build(config: Any) -> None:
    """Refuse a site that needs a network (called by mkdocs)."""
    from mkdocs.exceptions import PluginError

    for path in sorted(Path(config.site_dir).rglob("*.html")):
        if found := loaded_from_a_network(path.read_text(encoding="utf-8")):
            raise PluginError(f"{path.name}: loads {found[0]} from a network; the site has to work without one")
