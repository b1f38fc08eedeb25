"""Put into words what one artifact has otherwise than another one."""

from collections.abc import Sequence

from quantbench.records import ONE_MODEL, FileChanges
from quantbench.report.attribution import changes_in_words
from quantbench.report.comparison import Section
from quantbench.report.formatting import document, escape

MOST_KINDS = 20


def render(found: FileChanges) -> str:
    """Describe the changes as Markdown."""
    lines = [f"- {escape(line)}" for line in told(found)]
    return document([f"# {escape(found.new)} against {escape(found.old)}", "\n".join(lines)])


def told(found: FileChanges, most: int = MOST_KINDS) -> list[str]:
    """List the changes in words, one line for each kind of change; how far the two could be matched comes first."""
    share = f"{100 * found.matched:.0f} % of the operators have a partner in the other file"
    if found.matched < ONE_MODEL:
        return [f"only {share}: these are not two artifacts of one model", *changes_in_words(found.changes, most)]
    if not found.changes:
        return ["the same operators, weights, options and ranges; names may differ"]
    matched = [] if found.matched == 1 else [share]
    return [*matched, *changes_in_words(found.changes, most)]


def section(found: Sequence[FileChanges]) -> list[Section]:
    """Make a part of a comparison of runs; none where nothing is known."""
    rows = [[one.new, line] for one in found for line in told(one, 4) if one.changes]
    words = "Operators are matched by their place in the graph, so that a new name is no change."
    return [Section("What changed in the artifacts", words, ["cell", "change"], rows)] if rows else []
