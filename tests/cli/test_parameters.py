"""What every command shares: -h, -q and -v, and values that the help names."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from quantbench.cli import _screen
from quantbench.cli.app import app
from quantbench.errors import Exit

ROOT = typer.main.get_command(app)


def commands(group: Any = ROOT, path: str = "quantbench") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


ALL = dict(commands())


def help_of(path: str) -> str:
    context = ROOT.make_context("quantbench", ["models"])
    command = ALL[path]
    return str(command.get_help(type(context)(command, parent=context, info_name=path.removeprefix("quantbench "))))


@pytest.mark.parametrize("path", ALL)
def test_every_command_is_quiet_verbose_and_helpful(path: str) -> None:
    options = [name for parameter in ALL[path].params for name in parameter.opts]
    assert {"-q", "--quiet", "-v", "--verbose"} <= set(options)
    assert len(options) == len(set(options))
    text = help_of(path)
    assert "-h, --help" in text
    assert "Example: " in text


@pytest.mark.parametrize("path", ALL)
def test_every_value_has_a_name_and_no_default_is_empty(path: str) -> None:
    """`--models MODEL[,MODEL]` tells more than `--models <str>`."""
    text = help_of(path)
    assert not re.search(r"--[a-z-]+ (<|TEXT|INTEGER|FLOAT|str\b)", text)
    assert "[default: ]" not in text


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("quantbench ab", "--old REQUIREMENT"),
        ("quantbench compare", "[required]"),
        ("quantbench baseline update", "kept in the baseline  [required]"),
        ("quantbench run", "--models MODEL[,MODEL]"),
        ("quantbench run", "--latency-budget SECONDS"),
    ],
)
def test_the_help_tells(path: str, words: str) -> None:
    assert " ".join(words.split()) in " ".join(help_of(path).split())


@pytest.mark.parametrize("group", [ROOT, ROOT.commands["baseline"], ROOT.commands["cache"]])
def test_no_line_of_a_list_of_commands_is_cut(group: Any) -> None:
    context = ROOT.make_context("quantbench", ["models"])
    text = group.get_help(type(context)(group, info_name="quantbench"))
    assert "..." not in text.partition("Commands:")[2]


def test_the_main_help_lists_variables_and_exit_statuses() -> None:
    text = ROOT.get_help(ROOT.make_context("quantbench", ["models"]))
    variables = text.partition("Environment:")[2].partition("Exit status:")[0]
    assert "QUANTBENCH_CACHE " in variables
    assert "QUANTBENCH_VULKAN " in variables
    statuses = dict(re.findall(r"^  (\d)  (.+)$", text.partition("Exit status:")[2], re.MULTILINE))
    assert set(statuses) == {str(int(status)) for status in Exit}


@pytest.mark.parametrize(
    ("quiet", "verbose", "out", "err"),
    [
        (False, False, "# title\n\nrest\nprogress\n", "said\n"),
        (False, True, "# title\n\nrest\nprogress\n", "said\n"),
        (True, False, "title\n", ""),
    ],
)
def test_quiet_leaves_the_verdict(
    quiet: bool, verbose: bool, out: str, err: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _screen.set_level(quiet, verbose)
    try:
        _screen.document("# title\n\nrest\n")
        _screen.progress("progress")
        _screen.say("said")
        assert _screen.last("a\nb\n") == ("b" if quiet else "a\nb\n")
    finally:
        _screen.set_level(quiet=False, verbose=False)
    assert tuple(capsys.readouterr()) == (out, err)
