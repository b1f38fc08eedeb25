"""Read a repository's settings: ``[tool.quantbench]`` in pyproject.toml, or quantbench.toml, and environment variables.

What is given to a command counts before an environment variable, that before the file, and the file before the default.
:func:`parsed` is pure; :func:`resolve` looks at the disk and at the environment.
"""

import dataclasses
import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from quantbench import files
from quantbench.core import amounts, arguments
from quantbench.core.options import CHECKOUT, RunOptions, check, declared, flag, negative
from quantbench.core.targets import Target
from quantbench.core.targets import parsed as parsed_target
from quantbench.core.threads import thread_counts
from quantbench.errors import BadInput

# Version of the keys below; a file that says a larger one is refused, for its keys could mean something else here.
FORMAT = 1
PYPROJECT, OWN = "pyproject.toml", "quantbench.toml"
_TABLE = {PYPROJECT: "tool.quantbench", OWN: ""}
_LARGEST = 2**20  # bytes; the pyproject.toml of a large project has 50 kB
_PREFIX = "QUANTBENCH_"
CACHE = "QUANTBENCH_CACHE"
# Of one command, never of a repository: which part of a run, and what becomes of it.
_OF_ONE_RUN = ("shard", "shard_durations", "update_baselines", "allow_dirty", "train", "no_cache")
TARGETS = "targets"
_LISTS = ("models", "variants", "threads")
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")

Origin = Literal["option", "environment variable", "config file", "default"]


@dataclass(frozen=True)
class Key:
    """Describe one setting.

    Attributes:
        kind: type of its value.
        default: None where it is worked out elsewhere.
    """

    name: str
    kind: type
    default: Any
    text: str

    @property
    def variable(self) -> str:
        """Return its environment variable."""
        return CACHE if self.name == "cache_dir" else f"{_PREFIX}{self.name.upper()}"

    @property
    def expected(self) -> str:
        """Say what its value has to be."""
        if self.name == "max_drop":
            return 'a number or text such as "0.5pp", or a list of them'
        if self.name in _LISTS:
            return "text, or a list of texts"
        return {bool: "true or false", int: "a whole number", float: "a number", Path: "text, a folder"}.get(
            self.kind, "text"
        )


def _kind(option: dataclasses.Field[Any]) -> type:
    return Path if isinstance(option.default, Path) else type(option.default)


def _keys() -> dict[str, Key]:
    of_runs = [
        Key(option.name, _kind(option), option.default, option.metadata["help"])
        for option in declared()
        if option.name not in _OF_ONE_RUN
    ]
    others = [
        Key("cache_dir", Path, None, "folder of the cache (default: the user's cache folder)"),
        Key("max_drop", list, None, "largest drop that `try` recommends and `adopt` allows, as their --max-drop"),
    ]
    return {key.name: key for key in [*of_runs, *others]}


KEYS = _keys()


@dataclass(frozen=True)
class Setting:
    """Hold one setting that is in force.

    Attributes:
        where: environment variable, or file with line; empty for a default.
    """

    name: str
    value: Any
    origin: Origin
    where: str = ""


@dataclass(frozen=True)
class Found:
    """Hold what one config file says.

    Attributes:
        path: as messages name it.
        values: name -> value as options take it; folders as written.
        lines: name -> line of the file, where it is known.
        targets: declared targets, by name.
    """

    path: Path
    values: Mapping[str, Any]
    lines: Mapping[str, int]
    targets: Mapping[str, Target] = dataclasses.field(default_factory=dict)

    def where(self, name: str) -> str:
        """Return file and line of a setting."""
        line = self.lines.get(name)
        return f"{self.path}:{line}" if line else str(self.path)


@dataclass(frozen=True)
class Settings:
    """Hold every setting of a repository, and where each comes from.

    Attributes:
        by_name: name -> setting.
        files: the config files that were read; none where none was found.
        ignored: config files that belong to somebody else, and so were not read.
        of_file: the same settings without environment variables: what a command that is pasted elsewhere finds.
        targets: declared targets, by name.
        unknown: environment variable that is none of ours -> ours that it resembles.
    """

    by_name: Mapping[str, Setting]
    files: tuple[Path, ...] = ()
    ignored: tuple[Path, ...] = ()
    of_file: Mapping[str, Setting] = dataclasses.field(default_factory=dict)
    unknown: Mapping[str, str] = dataclasses.field(default_factory=dict)
    targets: Mapping[str, Target] = dataclasses.field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.by_name[name].value

    @property
    def chosen(self) -> dict[str, Any]:
        """Return what is not a built-in default, name -> value."""
        return {name: one.value for name, one in self.by_name.items() if one.origin != "default" or self.files}

    @property
    def latest(self) -> Path:
        """Return the newest run's folder."""
        return Path(self["report_dir"]) / "latest"

    def options(self, **given: Any) -> RunOptions:
        """Return the options of a run; what is given and not None counts before the settings."""
        usual = RunOptions(**_of_runs(self.of_file), targets=self.targets)
        values = _of_runs(self.by_name) | {name: value for name, value in given.items() if value is not None}
        return RunOptions(**values, usual=usual, targets=self.targets)

    @property
    def of_shipped_models(self) -> bool:
        """Whether the models shipped with the package run because nothing here names others."""
        return self.by_name["model_dir"].origin == "default" and not self.files

    def note(self) -> str:
        """Say in one line that the shipped models run; empty where that is no surprise, as in their own repository."""
        if not self.of_shipped_models or Path.cwd().is_relative_to(CHECKOUT):
            return ""
        return (
            f"no [tool.quantbench] in {PYPROJECT} and no {OWN} here or above: running the models shipped with "
            "quantbench, not yours"
        )

    def unknown_variables(self) -> list[str]:
        """Return a sentence for each environment variable that is nearly one of ours."""
        return [f"{name}: no such environment variable; did you mean {near}?" for name, near in self.unknown.items()]

    def located(self, message: str) -> str:
        """Return an error's sentence with file and line, or the variable, in place of an option that nobody gave.

        Args:
            message: as it is said of an option: ``--model-dir: no such folder: models``.
        """
        option, colon, rest = message.partition(": ")
        name = option.removeprefix("--").replace("-", "_")
        setting = self.by_name.get(name) if option.startswith("--") and colon else None
        if setting is None or setting.origin == "option":
            return message
        where = setting.where or (str(self.files[0]) if self.files and isinstance(setting.value, Path) else "")
        # An option with another value was given then, and is to blame.
        if isinstance(setting.value, Path):
            told = str(setting.value) in rest
        else:
            told = any(repr(part.strip()) in rest for part in str(setting.value).split(","))
        if not where or not told:
            return message
        return f"{where}: {rest}" if setting.origin == "environment variable" else f"{where}: {name}: {rest}"

    @contextmanager
    def locating(self) -> Iterator[None]:
        """Say of an error where the setting comes from that it is about: see :meth:`located`."""
        try:
            yield
        except BadInput as error:
            message = str(error)
            if (said := self.located(message)) == message:
                raise
            raise BadInput(said) from error

    @contextmanager
    def cache_in_force(self) -> Iterator[None]:
        """Let the cache be the one that the file names, for this process and those that it starts."""
        before = os.environ.get(CACHE)
        self.name_cache()
        try:
            yield
        finally:
            if before is None:
                os.environ.pop(CACHE, None)
            else:
                os.environ[CACHE] = before

    def name_cache(self) -> None:
        """Name the file's cache in this process's environment, where nothing else names one."""
        cache = self.by_name["cache_dir"]
        if cache.origin in ("config file", "option"):
            os.environ[CACHE] = os.path.abspath(cache.value)


def _of_runs(settings: Mapping[str, Setting]) -> dict[str, Any]:
    known = {option.name for option in declared()}
    return {name: one.value for name, one in settings.items() if name in known}


# ---------------------------------------------------------------- what holds


def resolve(folder: Path | None = None, environ: Mapping[str, str] | None = None, absolute: bool = False) -> Settings:
    """Find the settings that hold in a folder.

    Args:
        folder: where the search for a config file starts, upward; the working directory where None.
        environ: environment variables; this process's where None.
        absolute: whether folders are absolute, so that they hold when the working directory changes.

    Raises:
        BadInput: a config file or an environment variable is wrong.
    """
    return _in_force(*find(Path.cwd() if folder is None else Path(os.path.abspath(folder))), environ, absolute)


def settings_at(config: Path | str | None = None) -> Settings:
    """Find the settings of this repository, or of another that is named.

    Args:
        config: a folder, from which a config file is looked for, upward; or a pyproject.toml or quantbench.toml. The
            working directory where None; only then there need not be a config.

    Raises:
        BadInput: there is no such folder or file, it holds no config, or a config file or an environment variable is
            wrong.
    """
    if config is None:
        return resolve()
    given = arguments.path(config, "config")
    if not os.path.lexists(given):
        raise BadInput(f"config: no such folder or file: {given}; give a folder with a {PYPROJECT} or {OWN}")
    place = Path(os.path.abspath(given))
    found, ignored = find(place) if place.is_dir() else _named(place)
    if not found and place.is_file():
        raise BadInput(f"config: {given}: holds no [tool.quantbench]; add the table, or leave config out")
    if not found:
        others = f" ({', '.join(map(str, ignored))} belongs to another user)" if ignored else ""
        raise BadInput(
            f"config: {given}: holds no [tool.quantbench] in {PYPROJECT} and no {OWN}, nor above{others}; "
            "make one with quantbench init, or leave config out"
        )
    return _in_force(found, ignored)


def _named(path: Path) -> tuple[list[Found], tuple[Path, ...]]:
    """Return what a config file says that a person named, whomever it belongs to."""
    if path.name not in _TABLE:
        raise BadInput(f"config: {path}: expected a folder, a {PYPROJECT} or a {OWN}, found another file")
    one = _read(path)
    return ([one] if one else []), ()


def _in_force(
    found: Sequence[Found],
    ignored: tuple[Path, ...],
    environ: Mapping[str, str] | None = None,
    absolute: bool = False,
) -> Settings:
    of_file = _defaults()
    if found:
        folder = Path(os.path.abspath(found[0].path)).parent
        of_file = _beside(folder)
        for one in found:
            for name, value in one.values.items():
                at = folder / value.expanduser() if KEYS[name].kind is Path else value
                of_file[name] = Setting(name, at, "config file", one.where(name))
        of_file = {name: _from_here(one, folder) for name, one in of_file.items()}
    here = _of_environment(environ)
    if absolute:
        of_file, here = _absolute(of_file), _absolute(here)
    return Settings(
        {**of_file, **here},
        tuple(one.path for one in found),
        ignored,
        of_file,
        _unknown_variables(environ),
        {name: target for one in found for name, target in one.targets.items()},
    )


def with_words(settings: Settings, words: Sequence[str], option: str, folder: Path) -> Settings:
    """Return settings with ``KEY=VALUE`` of an option, which counts before everything else.

    Args:
        folder: what folders are relative to.

    Raises:
        BadInput: there is no such key, or the value is wrong.
    """
    given = {}
    for word in words:
        name, equals, text = word.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or name not in KEYS:
            raise BadInput(f"{option}: expected KEY=VALUE, found {word!r}; {_hint(name)}")
        key = KEYS[name]
        value = _of_text(key, text, f"{option} {name}")
        _check_range(key, value, f"{option} {name}")
        given[name] = Setting(name, folder / value if key.kind is Path else value, "option", option)
    return dataclasses.replace(settings, by_name={**settings.by_name, **given})


def _defaults() -> dict[str, Setting]:
    return {name: Setting(name, key.default, "default") for name, key in KEYS.items()}


def _beside(folder: Path) -> dict[str, Setting]:
    """Return the defaults of a repository that has a config file: its own folders, never those that are shipped."""
    own = {"model_dir": "models", "baseline_dir": "baselines", "report_dir": "reports"}
    return _defaults() | {name: Setting(name, folder / beside, "default") for name, beside in own.items()}


def _from_here(setting: Setting, folder: Path) -> Setting:
    """Return a setting whose folder is written from the working directory, where it lies below that of the config."""
    if not isinstance(setting.value, Path) or not setting.value.is_relative_to(folder):
        return setting
    return dataclasses.replace(setting, value=Path(os.path.relpath(setting.value)))


def _absolute(settings: Mapping[str, Setting]) -> dict[str, Setting]:
    """Return settings whose folders hold when the working directory changes."""
    return {
        name: dataclasses.replace(one, value=Path(os.path.abspath(one.value))) if isinstance(one.value, Path) else one
        for name, one in settings.items()
    }


def _of_environment(environ: Mapping[str, str] | None) -> dict[str, Setting]:
    environ = os.environ if environ is None else environ
    found = {}
    for key in KEYS.values():
        if text := environ.get(key.variable, ""):
            value = _of_text(key, text, key.variable)
            _check_range(key, value, key.variable)
            found[key.name] = Setting(key.name, value, "environment variable", key.variable)
    return found


def _unknown_variables(environ: Mapping[str, str] | None) -> dict[str, str]:
    """Return variables that nearly have the name of a setting's, and are none; others may be of other tools."""
    known = [key.variable for key in KEYS.values()]
    near = {}
    for name in os.environ if environ is None else environ:
        if name.startswith(_PREFIX) and name not in known:
            # One letter more, less or other, or two swapped: QUANTBENCH_ itself makes all names alike.
            short = {one.removeprefix(_PREFIX): one for one in known}
            for found in difflib.get_close_matches(name.removeprefix(_PREFIX), short, n=1, cutoff=0.8):
                near[name] = short[found]
    return near


def _of_text(key: Key, text: str, field: str) -> Any:
    """Return the value of an environment variable, or of an option. Raises BadInput."""
    wrong = BadInput(f"{field}: expected {key.expected}, found {text!r}")
    if key.kind is bool:
        if text.lower() not in (*_TRUE, *_FALSE):
            raise wrong
        return text.lower() in _TRUE
    if key.kind is list:
        return [each.strip() for each in text.split(",")]
    try:
        return key.kind(text)
    except ValueError:
        raise wrong from None


# ---------------------------------------------------------------- finding the file


def find(start: Path) -> tuple[list[Found], tuple[Path, ...]]:
    """Return the config files of the nearest folder that has one, from ``start`` upward to the repository's root.

    The root is the folder with ``.git``. A file above ``start`` that belongs to another user is left out: it names
    folders of model files, which are code.

    Returns:
        What was found, and the files that were left out.

    Raises:
        BadInput: a file is wrong, or two files of one folder contradict each other.
    """
    ignored: list[Path] = []
    for folder in (start, *start.parents):
        found = []
        for name in (PYPROJECT, OWN):
            path = folder / name
            if not path.is_file():
                continue
            if not _trusted(path, start):
                ignored += [path] if _says_something(path) else []
            elif (one := _read(path)) is not None:
                found.append(one)
        _check_agreement(found)
        if found or (folder / ".git").exists():
            return found, tuple(ignored)
    return [], tuple(ignored)


def _trusted(path: Path, start: Path) -> bool:
    if not hasattr(os, "geteuid"):
        return True
    return path.stat().st_uid in (0, os.geteuid(), start.stat().st_uid)


def _says_something(path: Path) -> bool:
    try:
        return _read(path) is not None
    except BadInput:
        return True


def _read(path: Path) -> Found | None:
    text = files.read_text(path, "config", _LARGEST, follow=True)
    return parsed(text, path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _check_agreement(found: list[Found]) -> None:
    if len(found) < 2:
        return
    one, other = found
    for name in one.values:
        if name in other.values and one.values[name] != other.values[name]:
            raise BadInput(
                f"{one.where(name)} and {other.where(name)}: {name} is {_shown(one.values[name])} in one and "
                f"{_shown(other.values[name])} in the other; keep the settings in one of the files"
            )


# ---------------------------------------------------------------- reading the file


def parsed(text: str, path: Path) -> Found | None:
    """Read the settings of a config file; None where it is a pyproject.toml that says nothing of quantbench.

    Raises:
        BadInput: it is not TOML, is of a newer version, or has an unknown key or a value of the wrong type.
    """
    in_table = _TABLE.get(path.name, "")
    try:
        document: Any = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        if in_table and "quantbench" not in text:
            return None  # another tool's file, and theirs to complain about
        raise BadInput(f"{path}: not valid TOML: {error or 'nested too deeply'}; correct the file") from None
    for part in in_table.split(".") if in_table else []:
        if not isinstance(document, dict) or part not in document:
            return None
        document = document[part]
    if not isinstance(document, dict):
        raise BadInput(f"{path}: {in_table}: expected a table of settings, found {_shown(document)}")
    lines = _lines(text, in_table)
    of_format(document, path, in_table, lines)
    values: dict[str, Any] = {}
    targets: dict[str, Target] = {}
    for written, value in document.items():
        name = written.replace("-", "_")
        at = f"{path}:{lines[name]}" if name in lines else str(path)
        field = f"{in_table}.{written}" if in_table else written
        if name == "format":
            continue
        if name == TARGETS:
            targets = _targets(value, f"{at}: {field}")
            continue
        if name == "tool" and not in_table and isinstance(value, dict) and "quantbench" in value:
            raise BadInput(f"{path}: [tool.quantbench]: keys go at the top level of {path.name}; remove this line")
        if name not in KEYS:
            raise BadInput(f"{at}: {field}: unknown key; {_hint(name)}")
        if name in values:
            raise BadInput(f"{at}: {field}: is given twice, with - and with _; leave one out")
        values[name] = _value(KEYS[name], value, f"{at}: {field}")
    return Found(path, values, lines, targets)


def _targets(value: Any, field: str) -> dict[str, Target]:
    """Read the table of targets. Raises BadInput."""
    if not isinstance(value, dict):
        raise BadInput(f"{field}: expected a table, name = address, found {_shown(value)}")
    return {name: parsed_target(name, one, f"{field}.{name}") for name, one in value.items()}


def of_format(document: Mapping[str, Any], path: Path, in_table: str, lines: Mapping[str, int]) -> None:
    """Raise BadInput where a file is of a newer version than this one reads."""
    number = document.get("format", FORMAT)
    at = f"{path}:{lines['format']}" if "format" in lines else str(path)
    field = f"{at}: {in_table}.format" if in_table else f"{at}: format"
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise BadInput(f"{field}: expected {FORMAT}, found {_shown(number)}")
    if number > FORMAT:
        raise BadInput(
            f"{field}: this config is of version {number}, and this quantbench reads up to version {FORMAT}; "
            "upgrade quantbench"
        )


def _hint(name: str) -> str:
    if name in _OF_ONE_RUN:
        return f"{flag(name)} belongs to one run, so give it on the command line"
    if negative(name).removeprefix("--").replace("-", "_") in KEYS:
        return f"write {negative(name).removeprefix('--').replace('-', '_')} with the opposite value"
    near = difflib.get_close_matches(name, [*KEYS, "format"], n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"known: {', '.join(KEYS)}"


def _value(key: Key, value: Any, field: str) -> Any:
    """Return a value of a config file as options take it. Raises BadInput where it is of another type or range."""
    wrong = BadInput(f"{field}: expected {key.expected}, found {_shown(value)}")
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    if key.kind is list:
        each = value if isinstance(value, list) else [value]
        if not each or not all(isinstance(one, str | int | float) and not isinstance(one, bool) for one in each):
            raise wrong
        limits = [str(one) for one in each]
        _check_range(key, limits, field)
        return limits
    if key.name in _LISTS:
        each = value if isinstance(value, list) else [value]
        kinds = str | int if key.name == "threads" else str
        if value == "" or not all(isinstance(one, kinds) and not isinstance(one, bool) for one in each):
            raise wrong
        if not each:
            raise BadInput(f"{field}: names nothing; leave the key out for all")
        joined = ",".join(str(one) for one in each)
        _check_range(key, joined, field)
        return joined
    if key.kind is bool:
        right = isinstance(value, bool)
    elif key.kind is int:
        right = numeric and isinstance(value, int)
    elif key.kind is float:
        right = numeric
    else:
        right = isinstance(value, str) and (value != "" or key.kind is not Path)
    if not right or (isinstance(value, str) and "\0" in value):
        raise wrong
    made = key.kind(value)
    _check_range(key, made, field)
    return made


def _check_range(key: Key, value: Any, field: str) -> None:
    """Raise BadInput where a value is one that its option would refuse, in the words of the option."""
    try:
        if key.kind in (int, float):
            check(RunOptions(**{key.name: value}))
        elif key.name == "threads":
            thread_counts(value)
        elif key.name == "max_drop":
            amounts.check(value)
    except BadInput as error:
        raise BadInput(f"{field}: {str(error).removeprefix(flag(key.name)).removeprefix(': ').lstrip()}") from None


def _shown(value: Any) -> str:
    """Return a value as TOML writes it, cut where it is long."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a table"
    text = repr(str(value)) if isinstance(value, str | Path) else str(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


_HEADER = re.compile(r"^\s*\[\s*([A-Za-z0-9_.\-\"' ]+?)\s*\]\s*(#.*)?$")
_LINE = re.compile(r"^\s*[\"']?([A-Za-z0-9_-]+)[\"']?\s*=")


def _lines(text: str, in_table: str) -> dict[str, int]:
    """Return name -> line of each key that stands on a line of its own, which the TOML reader does not tell."""
    table = ""
    found: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            table = header[1].replace(" ", "").replace('"', "").replace("'", "")
        elif table == in_table and (key := _LINE.match(line)):
            found.setdefault(key[1].replace("-", "_"), number)
    return found
