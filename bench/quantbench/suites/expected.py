"""Work out what a run is expected to judge: from models, variants and the command line, never from what was collected.

Whatever takes a test out of the collection in another way (``-k`` in an ini file or PYTEST_ADDOPTS, a conftest,
``python_files``, a deleted suite) thus leaves its judgement behind, and the run says that it is missing.
"""

import argparse
import fnmatch
import os
from collections.abc import Callable, Iterable, Mapping
from functools import cache, cached_property
from pathlib import Path

import pytest
from _pytest.mark.expression import Expression

from quantbench.core.options import PACKAGE, flag
from quantbench.records import Kind

# Options that select by what pytest remembers or finds, so that only pytest knows what they leave.
_SELECTING = ("lf", "stepwise", "stepwise_skip")
_SUITES = "quantbench.suites"
OPTION = "quantbench_"


def suite(kind: Kind) -> Path:
    """Return the file of the suite that judges a kind."""
    return PACKAGE / "suites" / f"test_{kind}.py"


class CommandLine:
    """Hold what the user wrote on the command line, without ini files and environment variables.

    Args:
        given: options and paths, parsed from the command line alone.
        folder: where the command was called.
        root: pytest's root folder, which node ids are relative to.
    """

    def __init__(self, given: argparse.Namespace, folder: Path, root: Path) -> None:
        self._given = given
        self._folder = folder
        self._root = root

    @classmethod
    def of(cls, config: pytest.Config) -> "CommandLine":
        """Parse the arguments of this run's command line again."""
        words = [str(word) for word in config.invocation_params.args]
        return cls(config._parser.parse_known_args(words), config.invocation_params.dir, config.rootpath)

    def option(self, name: str) -> object:
        """Return the value of one of this package's options as the command line gives it, or its default."""
        return getattr(self._given, OPTION + name)

    @property
    def keyword(self) -> str:
        """The expression of ``-k``."""
        return str(self._value("keyword") or "").strip()

    @property
    def markers(self) -> str:
        """The expression of ``-m``."""
        return str(self._value("markexpr") or "").strip()

    @property
    def only_pytest_knows(self) -> bool:
        """Whether the user asked for a selection that only pytest can make, such as ``--lf``."""
        settings = [str(word) for word in self._value("override_ini") or []]
        others = [word for word in settings if not word.startswith("cache_dir=")]
        return bool(others) or any(self._value(name) for name in _SELECTING) or not self._suites_alone

    @property
    def _suites_alone(self) -> bool:
        """Return whether ``--pyargs``, where it is given, names nothing but suites of this package."""
        words = [str(word).partition("::")[0] for word in self._value("file_or_dir") or []]
        return not self._value("pyargs") or (
            not self._value("deselect") and all(word == _SUITES or word.startswith(f"{_SUITES}.") for word in words)
        )

    def in_words(self) -> str:
        """Return the user's selection of cells and tests."""
        given = {
            "--models": self.option("models"),
            "--variants": self.option("variants"),
            "-k": self.keyword,
            "-m": self.markers,
        }
        words = [f"{option} '{value}'" for option, value in given.items() if value]
        for name in ("deselect", "ignore", "ignore_glob"):
            words += [f"{flag(name)} '{value}'" for value in self._value(name) or []]
        words += [{"lf": "--last-failed"}.get(name, flag(name)) for name in _SELECTING if self._value(name)]
        return " ".join(words)

    def elsewhere(self, values: Mapping[str, object]) -> list[str]:
        """Return the options that choose models and variants, and were given anywhere but on the command line.

        Args:
            values: what is in force, by the option's name.
        """
        return [flag(name) for name in ("models", "variants") if values[name] != self.option(name)]

    def selects(self, kind: Kind, cell: str, marks: Iterable[str]) -> bool:
        """Return whether the command line keeps one test: its path, then ``-k`` and ``-m``.

        Args:
            marks: names of the markers of the test.
        """
        marked = {*marks, kind.value}
        return (
            self._by_benchmark(kind)
            and self._by_path(kind, cell)
            and self._by_name(kind, cell, marked)
            and self._by_marker(marked)
        )

    def _by_benchmark(self, kind: Kind) -> bool:
        """Apply pytest-benchmark's own selection."""
        if kind is Kind.LATENCY:
            return not (self._value("benchmark_skip") or self._value("benchmark_disable"))
        return not self._value("benchmark_only")

    def _by_path(self, kind: Kind, cell: str) -> bool:
        name, (tests, suite_of_root) = f"test_{kind}[{cell}]", self._of_suite(kind)
        if not any(_named(name, test) for test in tests):
            return False
        return not any(f"{suite_of_root}::{name}".startswith(prefix) for prefix in self._value("deselect") or [])

    @cache  # noqa: B019  one for a run; asked for each of its tests
    def _of_suite(self, kind: Kind) -> tuple[list[str], str]:
        """Return which tests of a kind's suite its path lets through, an empty name for all, and the path itself."""
        path = suite(kind)
        wanted = [self._place(word) for word in self._value("file_or_dir") or []]
        tests = [test for folder, test in wanted if _within(path, folder)] if wanted else [""]
        if any(_within(path, self._place(word)[0]) for word in self._value("ignore") or []):
            tests = []
        if any(fnmatch.fnmatch(str(path), str(self._folder / word)) for word in self._value("ignore_glob") or []):
            tests = []
        return tests, Path(os.path.relpath(path, self._root)).as_posix()

    def _place(self, word: str) -> tuple[Path, str]:
        """Return the folder or file of ``FILE::TEST``, and the test's name, empty for all."""
        path, _, test = str(word).partition("::")
        if self._value("pyargs") and (path == _SUITES or path.startswith(f"{_SUITES}.")):
            module = PACKAGE.joinpath(*path.split(".")[1:])
            return module if module.is_dir() else module.with_suffix(".py"), test
        return Path(os.path.abspath(self._folder / path)), test

    def _by_name(self, kind: Kind, cell: str, marked: set[str]) -> bool:
        if not self.keyword:
            return True
        folders = Path(os.path.relpath(suite(kind), self._root)).parts
        names = [name.lower() for name in (*folders, f"test_{kind}[{cell}]", *marked)]
        return self._compiled[0].evaluate(_any(lambda word: any(word.lower() in name for name in names)))

    def _by_marker(self, marked: set[str]) -> bool:
        return not self.markers or self._compiled[1].evaluate(_any(lambda word: word in marked))

    @cached_property
    def _compiled(self) -> tuple[Expression, Expression]:
        return Expression.compile(self.keyword or "x"), Expression.compile(self.markers or "x")

    def _value(self, name: str) -> list[str] | str | None:
        value: list[str] | str | None = getattr(self._given, name, None)
        return value


def _any(found: Callable[[str], bool]) -> Callable[..., bool]:
    """Ignore the keyword arguments of a marker in an expression, which no marker here has."""
    return lambda word, /, **_: found(word)


def _within(path: Path, folder: Path) -> bool:
    return path == folder or folder in path.parents


def _named(name: str, test: str) -> bool:
    return not test or name == test or name.partition("[")[0] == test
