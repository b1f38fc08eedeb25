"""Make a text harmless on a forge, and no longer than it takes."""

import re

# Code: what is inside is neither linked nor obeyed. A span ends with as many backticks as it begins with.
_SPAN = re.compile(r"(?<![\\`])(`+)(?!`).*?(?<!`)\1(?!`)")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
# A zero-width space after the first character ends what forges would link, so that nobody is notified and no other
# issue refers here: @somebody, #12, GH-12, and GitLab's !12, $12, &12, ~label and %milestone.
_BETWEEN = "&#8203;"
_REFERENCES = (
    re.compile(r"(?<![\w&])(@)(?=\w)"),
    re.compile(r"(?<!&)([#!$])(?=\d)"),
    re.compile(r"(&)(?=\d)"),
    re.compile(r"\b(GH)(?=-\d)", re.IGNORECASE),
    re.compile(r"(?<!\w)([~%])(?=[A-Za-z\"])"),
)
_QUICK_ACTION = re.compile(r"^([ \t]*)/(?=[A-Za-z])")  # GitLab obeys /close or /merge at the start of a line
_ISSUE_ADDRESS = re.compile(r"(https?):(?=//\S+/(?:issues|pull|merge_requests)/\d)")


def disarmed(markdown: str) -> str:
    """Return Markdown that mentions nobody, refers to nothing and holds no command; code stays as it is."""
    shown, fence = [], ""
    for line in markdown.split("\n"):
        found = _FENCE.match(line)
        if fence:
            shown.append(line)
            if found and found[1].startswith(fence) and not found[2].strip():
                fence = ""
        elif found and "`" not in found[2]:
            fence = found[1]
            shown.append(line)
        else:
            shown.append(_outside_code(line))
    return "\n".join(shown)


def _outside_code(line: str) -> str:
    parts, at = [], 0
    for span in _SPAN.finditer(line):
        parts += [_disarmed(line[at : span.start()]), span[0]]
        at = span.end()
    return _QUICK_ACTION.sub(r"\1\\/", "".join([*parts, _disarmed(line[at:])]))


def _disarmed(text: str) -> str:
    for reference in _REFERENCES:
        text = reference.sub(rf"\1{_BETWEEN}", text)
    return _ISSUE_ADDRESS.sub(rf"\1{_BETWEEN}:", text)


def fitting(text: str, characters: int) -> str:
    """Cut a text to a number of characters, at the end of a line; a cut is said, and what it opened is closed."""
    if len(text) <= characters:
        return text
    note = "\n\n… cut here: the rest is in the run's report.\n"
    kept = text[: characters - len(note) - _ROOM]
    kept = kept[: kept.rfind("\n") + 1] or kept
    fences = re.findall(r"^(`{3,}|~{3,})", kept, re.MULTILINE)
    closing = f"\n{fences[-1]}" if len(fences) % 2 else ""
    folds = kept.count("<details>") - kept.count("</details>")
    return kept.rstrip() + closing + "\n\n</details>" * max(folds, 0) + note


_ROOM = 200  # characters kept free for what closes fences and folded parts


def fenced(text: str) -> str:
    """Show text as it is, in a block that it cannot end."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text.strip()}\n{fence}"
