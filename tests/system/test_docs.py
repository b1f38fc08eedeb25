"""README and docs: short enough, links that lead somewhere, commands that exist, pages that are what the code says."""

import ast
import dataclasses
import importlib
import inspect
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import quantbench
import typer
from conftest import ROOT
from PIL import Image
from quantbench.cli.app import app
from quantbench.core.options import RunOptions
from studies import docs_pages, docs_samples, docs_site

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
OF_OPTIONS = {f"QUANTBENCH_{option.name.upper()}" for option in dataclasses.fields(RunOptions)}
NOT_CODE = re.compile(r"^```.*?^```$|^(?:    |\t).*?$", re.DOTALL | re.MULTILINE)
ONE_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def test_the_readme_is_read_in_two_minutes() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
    assert len((ROOT / "CONTRIBUTING.md").read_text().splitlines()) <= 120


def test_the_readme_has_the_two_commands_and_the_picture() -> None:
    text = (ROOT / "README.md").read_text()
    for job in ("bench", "tests"):
        assert f"\n    python3 -m venv .venv && .venv/bin/pip install tox && .venv/bin/tox run -e {job}\n" in text
    alt, path = re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", "\n".join(text.splitlines()[:12]))[0]
    assert len(alt) > 40
    assert path == str(docs_samples.PICTURE)


def test_the_picture_is_light_and_of_its_stated_size() -> None:
    path = ROOT / docs_samples.PICTURE
    assert path.stat().st_size < 200_000
    with Image.open(path) as picture:
        density = docs_samples.DENSITY
        assert picture.size == (docs_samples.WIDTH * density, docs_samples.HEIGHT * density)


# ---------------------------------------------------------------- links


def anchors(text: str) -> set[str]:
    """The anchors of a Markdown text, as forges make them."""
    plain = NOT_CODE.sub("", text)
    titles = re.findall(r"^#+ (.+)$", plain, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", title).lower()).replace(" ", "-") for title in titles}


def dead_links(page: Path) -> list[str]:
    found = []
    for link, _, anchor in re.findall(r"\]\(([^)\s#]*)(#([^)\s]+))?\)", NOT_CODE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        target = (page.parent / link).resolve() if link else page
        if not target.is_file():
            found.append(link)
        elif anchor and target.suffix == ".md" and anchor not in anchors(target.read_text()):
            found.append(f"{link}#{anchor}")
    return found


@ONE_PAGE
def test_links_lead_somewhere(page: Path) -> None:
    assert dead_links(page) == []


def test_a_dead_link_and_a_dead_anchor_are_found(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# A `title` here\n\n    # no title\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](there.md) [b](there.md#a-title-here) [c](https://x.y) [d](#own)\n\n## own\n\n"
        "[e](gone.md) [f](there.md#no-title) [g](#nothing)\n\n    [h](in-code.md)\n"
    )
    assert dead_links(page) == ["gone.md", "there.md#no-title", "#nothing"]


def strings(path: Path) -> Iterator[str]:
    """The string constants of a module."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_pages_that_messages_name_are_there() -> None:
    named = {
        each
        for path in (ROOT / "bench").rglob("*.py")
        for text in strings(path)
        for each in re.findall(r"\bdocs/[\w-]+\.md(?:#[\w-]+)?", text)
    }
    assert "docs/cli.md" in named  # the search finds what it should
    for each in named:
        page, _, anchor = each.partition("#")
        assert (ROOT / page).is_file(), each
        assert not anchor or anchor in anchors((ROOT / page).read_text()), each


# ---------------------------------------------------------------- commands


def commands(text: str) -> list[str]:
    """The command lines of ``quantbench`` in a page: in blocks, behind other commands, and in code in a line."""
    blocks = "\n".join(NOT_CODE.findall(text)).replace("\\\n", " ")
    blocks = re.sub(r"^(\s*\$ quantbench .*)\n(?=        )\s+", r"\1 ", blocks, flags=re.MULTILINE)  # folded
    prose = re.sub(r"\s*\n\s*", " ", NOT_CODE.sub("", text))
    lines = [re.sub(r"\s{2,}#.*|^\s*#.*", "", line) for line in blocks.splitlines()]
    found = re.findall(
        r"(?:^|&& |run: |-- )\s*(?:\$ )?(?:[A-Z_]+=\S+ )*(quantbench [a-z].*)", "\n".join(lines), re.MULTILINE
    )
    return [re.split(r" (?:&&|>|\|) ", one)[0].strip() for one in found if "[OPTIONS]" not in one] + re.findall(
        r"`(quantbench [a-z][^`>]*)[`>]", prose
    )


def refused(line: str) -> str:
    """Why the command line does not take these arguments; empty where it does. Nothing is executed."""
    root: Any = typer.main.get_command(app)
    arguments = shlex.split(line)[1:]
    context = root.make_context("quantbench", [], resilient_parsing=True)
    command: Any = root
    while arguments and hasattr(command, "get_command"):
        name = arguments.pop(0)
        command = command.get_command(context, name)
        if command is None:
            return f"no command {name}"
        context = type(context)(command, info_name=name, parent=context)
    if not arguments:  # the name of the command, in a sentence
        return ""
    takes_more = command.context_settings.get("ignore_unknown_options", False)
    try:
        if not takes_more:
            command.make_context(command.name, list(arguments), parent=context.parent)
    except Exception as error:
        return str(error.format_message() if hasattr(error, "format_message") else error)
    if takes_more:  # what is not its own goes to a run, and from there to pytest, of whose long options we name these
        both = [*command.params, *root.get_command(context, "run").params]
        own = {option for each in both for option in [*each.opts, *each.secondary_opts]}
        long = {each.partition("=")[0] for each in arguments if each.startswith("--")}
        return ", ".join(f"no option {each}" for each in sorted(long - own) if not each.startswith("--benchmark-"))
    return ""


@pytest.fixture
def in_a_repository_with_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders that commands need, as a table of settings gives them."""
    for name in ("MODEL_DIR", "BASELINE_DIR"):
        monkeypatch.setenv(f"QUANTBENCH_{name}", "folder")


@ONE_PAGE
@pytest.mark.usefixtures("in_a_repository_with_settings")
def test_commands_exist_with_their_options(page: Path) -> None:
    assert {line: why for line in commands(page.read_text()) if (why := refused(line))} == {}


def test_commands_are_found_and_refused() -> None:
    text = (
        "Say `quantbench models` and\n`quantbench\nvariants --taxonomi`.\n\n"
        "    A=b quantbench run --modles x   # `--models`\n    tox exec -- quantbench nothing\n"
        "    $ quantbench run --variants\n        a,b --no-gpu\n"
        "    git add x && quantbench cache gc --cache-size 1 --dry-run\n    quantbench compare \\\n      old\n"
    )
    found = commands(text)
    assert found == [
        "quantbench run --modles x",
        "quantbench nothing",
        "quantbench run --variants a,b --no-gpu",
        "quantbench cache gc --cache-size 1 --dry-run",
        "quantbench compare        old",
        "quantbench models",
        "quantbench variants --taxonomi",
    ]
    reasons = [refused(line) for line in found]
    assert reasons[:4] == ["no option --modles", "no command nothing", "", ""]
    assert "argument" in reasons[4].lower()
    assert reasons[5] == ""
    assert "--taxonomi" in reasons[6]
    assert refused("quantbench cache gc --cache-size much")


def unknown_names(text: str) -> list[str]:
    """What a page names that is not there: environments of tox, extras, studies, environment variables, markers."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    environments = re.findall(r"^\[testenv:([\w-]+)\]", (ROOT / "tox.ini").read_text(), re.MULTILINE)
    code = "\n".join(path.read_text() for path in (ROOT / "bench").rglob("*.py"))
    tox = re.findall(r"tox (?:run|exec) -e ([\w-]+)", text)
    extras = re.findall(r"(?:quantbench|\.)\[([\w,]+)\]", text) + re.findall(r"extra `(\w+)`", text)
    studies = re.findall(r"python -m studies\.(\w+)", text)
    variables = re.findall(r"\bQUANTBENCH_\w+", text)
    return [
        *(f"tox -e {each}" for each in tox if each not in [*environments, "tests"]),
        *(f"extra {one}" for each in extras for one in each.split(",") if one not in project["optional-dependencies"]),
        *(f"study {each}" for each in studies if not (ROOT / "bench" / "studies" / f"{each}.py").is_file()),
        *(f"variable {each}" for each in variables if each not in code and each not in OF_OPTIONS),
    ]


@ONE_PAGE
def test_names_of_things_that_commands_need_are_there(page: Path) -> None:
    assert unknown_names(page.read_text().replace("studies.NAME", "")) == []


def test_unknown_names_are_found() -> None:
    good = (
        "`tox run -e lint`, pip install 'quantbench[ab]' '.[tests,lint]', python -m studies.speed, QUANTBENCH_CACHE=x"
    )
    assert unknown_names(good) == []
    bad = "`tox run -e lints`, the extra `gpus`, '.[tests,lint2]', python -m studies.speeds, QUANTBENCH_CASH=x"
    wrong = ["tox -e lints", "extra lint2", "extra gpus", "study speeds", "variable QUANTBENCH_CASH"]
    assert unknown_names(bad) == wrong


def wrong_calls(text: str) -> list[str]:
    """Calls of ``quantbench.NAME(...)`` in a page's Python that its signature does not take."""
    found = []
    for block in re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        tree = ast.parse(block)
        imported = "import quantbench" in block
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and re.match(r"quantbench\.\w+$", ast.unparse(node.func)):
                name = ast.unparse(node.func).partition(".")[2]
                owner = quantbench if imported else importlib.import_module("quantbench.suites.checks").Checks
                first = () if imported else (None,)
                if not hasattr(owner, name):
                    found.append(f"{name}: not there")
                    continue
                keywords = {each.arg: None for each in node.keywords if each.arg}
                try:
                    inspect.signature(getattr(owner, name)).bind(*first, *node.args, **keywords)
                except TypeError as error:
                    found.append(f"{name}: {error}")
    return found


@ONE_PAGE
def test_python_in_pages_calls_what_is_there(page: Path) -> None:
    assert wrong_calls(page.read_text()) == []


def test_wrong_calls_are_found() -> None:
    good = 'import quantbench\nquantbench.load_report("x")\n'
    text = f"```python\n{good}quantbench.rum()\nquantbench.load_report(file=1)\n```\n\n"
    text += '```python\ndef test(quantbench):\n    quantbench.check("a", "b")\n    quantbench.check()\n```\n'
    assert [found.partition(":")[0] for found in wrong_calls(text)] == ["rum", "load_report", "check"]


SETTINGS = [
    pytest.param(block, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, block in enumerate(re.findall(r"^```toml\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE))
]


@pytest.mark.parametrize("block", SETTINGS)
def test_settings_in_pages_are_taken(block: str, tmp_path: Path) -> None:
    config = pytest.importorskip("quantbench.core.config")
    (tmp_path / "pyproject.toml").write_text(block)
    settings = config.resolve(tmp_path, {})
    said = tomllib.loads(block)["tool"]["quantbench"]
    assert said
    assert set(settings.targets) == set(said.pop("targets", {}))
    assert {name for name, one in settings.by_name.items() if one.origin == "config file"} == set(said)


# ---------------------------------------------------------------- pages from the code, and the site


def test_generated_pages_are_what_the_code_says() -> None:
    assert docs_pages.outdated() == [], "write them with: python -m studies.docs_pages"


def test_an_outdated_page_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docs_pages, "CHECKOUT", tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "one.md").write_text("as the code says\n")
    monkeypatch.setattr(docs_pages, "PAGES", {"docs/one.md": lambda: "as the code says\n", "docs/two.md": str})
    assert docs_pages.outdated() == ["docs/two.md"]
    (tmp_path / "docs" / "one.md").write_text("edited\n")
    assert docs_pages.outdated() == ["docs/one.md", "docs/two.md"]


def test_every_page_is_in_the_navigation() -> None:
    listed = re.findall(r"^ +- .+: ([\w-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(["index.md", *(page.name for page in (ROOT / "docs").glob("*.md"))])


def test_links_out_of_the_docs_stay_inside_the_site() -> None:
    text = "[a](../SECURITY.md#x) [b](baselines.md) [c](../gone.md) ![d](docs/p.png)\n\n    [e](../SECURITY.md)\n"
    known = {"SECURITY.md", "docs/cache.md", "README.md"}
    assert docs_site.relinked(text, "docs/cache.md", known) == (
        "[a](project/SECURITY.md#x) [b](baselines.md) [c](../gone.md) ![d](docs/p.png)\n\n    [e](../SECURITY.md)\n"
    )
    assert docs_site.relinked("[a](docs/cache.md) [b](SECURITY.md)", "README.md", known) == (
        "[a](cache.md) [b](project/SECURITY.md)"
    )
    assert docs_site.relinked("[a](README.md) [b](docs/cache.md)", "SECURITY.md", known) == (
        "[a](../index.md) [b](../cache.md)"
    )


def test_what_a_page_would_load_from_a_network_is_found() -> None:
    page = (
        '<a href="https://dask.org">to click</a><link rel="canonical" href="https://own.site/">'
        '<script src="assets/x.js"></script><link rel="stylesheet" href="https://fonts.x/css"><img src=//x.y/z.png>'
    )
    assert docs_site.loaded_from_a_network(page) == ["https://fonts.x/css", "//x.y/z.png"]
