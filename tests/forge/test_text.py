"""What a forge would link, notify or obey is made harmless; code stays as it is; a cut text stays whole Markdown."""

import pytest
from quantbench.forge.text import disarmed, fenced, fitting


@pytest.mark.parametrize(
    "hostile",
    [
        "@somebody",
        "(@team/all)",
        "fixes #12",
        "owner/name#12",
        "GH-12",
        "gh-12",
        "!12 of GitLab",
        "$3",
        "&4",
        "~bug",
        '%"next release"',
        "https://github.com/o/n/issues/12",
    ],
)
def test_nothing_is_mentioned_or_referred_to(hostile: str) -> None:
    shown = disarmed(f"- cell: {hostile}")
    assert "&#8203;" in shown
    assert shown.replace("&#8203;", "") == f"- cell: {hostile}"
    assert disarmed(shown) == shown


@pytest.mark.parametrize("command", ["/close", "  /merge", "\t/assign @me"])
def test_no_command_of_gitlab_stands_at_the_start_of_a_line(command: str) -> None:
    assert disarmed(f"text\n{command}").split("\n")[1].lstrip().startswith("\\/")


@pytest.mark.parametrize(
    "code",
    [
        "`@somebody #12`",
        "`` `@x` ``",
        "```text\n@somebody\n/usr/lib/x\n```",
        "~~~\n#12\n~~~",
        "a path in the middle: /usr/bin, 4 % and 0.5 %, # 1, a@b",
    ],
)
def test_code_and_plain_words_stay_as_they_are(code: str) -> None:
    assert disarmed(code) == code


def test_what_only_looks_like_code_is_made_harmless() -> None:
    assert "@&#8203;x" in disarmed("\\`@x\\`")  # escaped backticks are no code
    assert "@&#8203;x" in disarmed("```text\na\n```\n@x")
    assert "@&#8203;x" in disarmed("` @x")


def test_a_text_that_fits_is_not_cut() -> None:
    assert fitting("a\n" * 50, 100) == "a\n" * 50


def test_a_cut_says_so_and_closes_what_it_opened() -> None:
    text = "head\n\n<details><summary>All</summary>\n\n```text\n" + "line\n" * 500
    shown = fitting(text, 1000)
    assert len(shown) <= 1000
    assert "cut here" in shown
    assert shown.count("```") == 2
    assert shown.index("</details>") > shown.rindex("```")


def test_one_endless_line_is_cut_too() -> None:
    assert len(fitting("x" * 5000, 1000)) <= 1000


def test_a_block_is_not_ended_by_its_text() -> None:
    shown = fenced("a\n````\n@x")
    assert shown.startswith("`````text\n")
    assert disarmed(shown) == shown
