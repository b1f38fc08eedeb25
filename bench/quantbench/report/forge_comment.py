"""Write what a pull request or an issue is told of a run: the answer, the worst cells, next steps; the rest folded."""

from collections.abc import Sequence
from dataclasses import dataclass

from quantbench.core.echo import line
from quantbench.forge.text import fenced
from quantbench.records import Report, Verdict
from quantbench.report import reds
from quantbench.report.formatting import STATUS_WORDS, code, escape
from quantbench.report.github_summary import cut
from quantbench.report.markdown import ATTENTION, parts

_OF_COMMENT = 55_000  # bytes of the report in a comment of at most 65,536 characters, of which some grow when escaped


@dataclass(frozen=True)
class Around:
    """What a text says besides the report.

    Attributes:
        job: address of the job's page, where the artifacts are; empty where unknown.
        commit: that was pushed; empty where unknown.
        artifact: name of the uploaded run folder; empty where there is none.
        over: what is not so any more, where the run is green, e.g. "this pull request".
    """

    job: str = ""
    commit: str = ""
    artifact: str = ""
    over: str = "what was red here"


def body(report: Report, around: Around) -> str:
    """Render the text for a run: of a red one its report, of a green one a line that takes back what was red."""
    if report.exit_status == 0:
        return _green(around)
    return "\n\n".join(part for part in (_folded(report), _about(around)) if part) + "\n"


_NAMED = 5  # cells in a message, which is read on a telephone


def short(report: Report, link: str) -> tuple[str, str]:
    """Return title and text of a message: the verdict, and the names of the worst cells; no text of strangers."""
    worst = [(cell.id, cell.verdict) for cell in report.cells if cell.verdict in _RED]
    if report.exit_status == 0:
        title, lines = "quantbench: green again", [f"All {len(report.cells)} cells are green."]
    else:
        title = f"quantbench: {STATUS_WORDS.get(report.exit_status, str(report.exit_status))}"
        lines = [f"{len(worst)} of {len(report.cells)} cells:"]
        told = [(reds.who(group), group.verdict) for group in report.reds] or worst
        lines += [f"- {cell}: {verdict}" for cell, verdict in told[:_NAMED]]
        lines += [f"- and {len(told) - _NAMED} more"] if len(told) > _NAMED else []
    return title, "\n".join([*lines, f"Run {line(report.run)}", *([link] if link else [])])


_RED = (Verdict.REGRESSED, Verdict.ERROR, Verdict.MISSING)


def without_report(problem: str, around: Around) -> str:
    """Render the text for a run that wrote no report.

    Args:
        problem: the end of what it printed; shown as it is.
    """
    told = fenced(problem[-_MOST_PROBLEM:]) if problem.strip() else "It printed nothing."
    head = "# quantbench: NOT MEASURED\n\nThe run wrote no report. It ended with:"
    return "\n\n".join(part for part in (head, told, _about(around)) if part) + "\n"


_MOST_PROBLEM = 3_000  # characters: some 40 lines


def _green(around: Around) -> str:
    about = _about(around)
    return f"# quantbench: green again\n\nNothing of {escape(around.over)} is red any more.\n\n{about}".rstrip() + "\n"


def _folded(report: Report) -> str:
    """Show the headline and what needs attention; tables and environment are opened by a click."""
    text = cut(report, _OF_COMMENT)
    attention = parts(report).get(ATTENTION, "").partition("\n")[0]
    head, *sections = _sections(text)
    shown = [head]
    while attention and sections:
        section = sections.pop(0)
        shown.append(section)
        if section.startswith(attention):
            break
    rest = "\n\n".join(section.strip() for section in sections)
    folded = f"<details><summary>All measurements</summary>\n\n{rest}\n\n</details>" if rest else ""
    return "\n\n".join(part.strip() for part in [*shown, folded] if part.strip())


def _sections(text: str) -> Sequence[str]:
    """Split Markdown at its headings of the second level; text of strangers begins no line with one."""
    found: list[list[str]] = [[]]
    for text_line in text.split("\n"):
        if text_line.startswith("## "):
            found.append([])
        found[-1].append(text_line)
    return ["\n".join(lines) for lines in found]


def _about(around: Around) -> str:
    lines = []
    if around.artifact and around.job:
        run = code(around.artifact)
        lines.append(
            f"Report, page and predictions: artifact {run} of [this job]({around.job}). To accept the new values: "
            f'download it, then `quantbench baseline update FOLDER --reason "why"`, and commit the baselines.'
        )
    elif around.job:
        lines.append(f"Report, page and predictions: [this job]({around.job}).")
    if around.commit:
        lines.append(f"Commit {code(around.commit[:12])}. This text is edited by later runs.")
    return "\n".join(lines)
