"""Check cells in the tests of a user's repository; the checks of one pytest session share one false-alarm budget.

What tests will ask for is read from their source and parameters, so that one run makes all of it, in parallel. A cell
that only turns up while a test runs is made by a run of its own. No run is known to see all cells then, so each is
judged as a shard is: at an even share of the budget among all cells with a baseline, whichever of them are asked for.
That takes stronger evidence than ``quantbench run`` does, and keeps the probability of any false alarm in the session
within the budget.

Several processes (pytest-xdist) each have a run, of the cells of all tests, for no process knows which tests it will
get; the first one makes them, and the others find them in the cache.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from quantbench.core import config as settings_of
from quantbench.core.options import RunOptions
from quantbench.core.signals import forget, stop_asked
from quantbench.engine.drive import until_stopped
from quantbench.engine.finish import HowEnded
from quantbench.engine.session import Session
from quantbench.errors import BadInput
from quantbench.records import Judgement, Kind, Verdict, verdict_of_cell, worst
from quantbench.records.run_folder import REPORT
from quantbench.reference.model import ReferenceModel, load_models, pick
from quantbench.suites.outcomes import refused, state_cell
from quantbench.variants import VARIANTS, known, offered
from quantbench.variants.built import is_built

KINDS = frozenset({Kind.ACCURACY, Kind.SIZE, Kind.STRUCTURE, Kind.MEMORY})
FIXTURE, MARKER = "quantbench", "quantbench"
Names = str | Sequence[str] | None


@dataclass(frozen=True)
class Checked:
    """Hold what was judged of a cell that did not fail.

    Attributes:
        cell: name, such as ``kws/ptq_float16``.
        verdict: worst of its judgements.
        run: folder of the run that made it.
    """

    cell: str
    verdict: Verdict
    judgements: tuple[Judgement, ...]
    run: Path


class Checks:
    """Check cells for one test: what the fixture ``quantbench`` is."""

    def __init__(self, shared: "Shared", item: pytest.Item) -> None:
        self._shared = shared
        self._item = item

    def check(self, model: str, variant: str = "", *, latency: bool = False) -> Checked:
        """Build, measure and judge a cell, and fail the test where it is not as good as its baseline.

        A missing baseline and an error fail too. What the converter is known not to support is an expected failure, and
        what this machine cannot judge is skipped.

        Args:
            model: name of a model, or of a cell such as ``kws/ptq_float16``.
            latency: whether to time it too; by itself, and by a baseline of this kind of machine.
        """
        with refused():
            cell = self._shared.cell(model, variant)
            judged, run = self._shared.judge(cell, latency)
        judgements = tuple(one for found in judged.values() for one in found)
        verdicts = {kind: worst([one.verdict for one in found]) for kind, found in judged.items()}
        self._item.user_properties.append(("quantbench.cell", cell))
        self._item.user_properties += [(f"quantbench.{kind}", str(verdict)) for kind, verdict in verdicts.items()]
        state_cell(judgements, judged.get(Kind.LATENCY, []))
        return Checked(cell, verdict_of_cell(verdicts), judgements, run)


class Shared:
    """Hold what all checks of one pytest session share: settings, models and runs.

    Args:
        items: the tests of this session, of which the cells are made together.
        several: whether other processes of pytest run some of these tests.

    Raises:
        BadInput: a config, a model or a baseline is wrong.
    """

    def __init__(
        self, options: RunOptions, settings: settings_of.Settings, items: Sequence[pytest.Item], several: bool
    ) -> None:
        forget()
        self._several = several
        self._options = options
        self._settings = settings
        self._items = items
        self._runs: dict[tuple[str, Kind], Session] = {}
        self.models: dict[str, ReferenceModel] = load_models(options.model_dir)
        self.reports: list[Path] = []

    def cell(self, model: str, variant: str) -> str:
        """Return a cell's name. Raises BadInput where there is no such model or variant."""
        texts = isinstance(model, str) and isinstance(variant, str)
        name, slash, rest = model.partition("/") if texts else ("", "", "")
        if not texts or bool(slash) == bool(variant):
            raise BadInput(
                f'check: expected check("MODEL", "VARIANT") or check("MODEL/VARIANT"), found {model!r} and {variant!r}'
            )
        of = pick(name, self.models, "check")
        named = rest or variant
        offering = known(self.models[one] for one in of) if is_built(named) else VARIANTS
        chosen = of, pick(named, offering, "check")
        if any(len(one) != 1 for one in chosen):
            raise BadInput(f"check: expected one cell, found {model!r} and {variant!r}; call it once a cell")
        return f"{chosen[0][0]}/{chosen[1][0]}"

    def judge(self, cell: str, latency: bool) -> tuple[dict[Kind, list[Judgement]], Path]:
        """Return the judgements of a cell by kind, and the folder of the run that made it.

        Raises:
            BadInput, DiskFull, KeyboardInterrupt: see :class:`quantbench.engine.session.Session`.
        """
        kinds = KINDS | ({Kind.LATENCY} if latency else set())
        missing = {kind for kind in kinds if (cell, kind) not in self._runs}
        with self._settings.cache_in_force():
            if missing:
                self._plan({**self._expected(), cell: kinds})
            ordered = [kind for kind in Kind if kind in kinds and self._runs[cell, kind].measures(cell, kind)]
            judged = {kind: self._runs[cell, kind].judge(cell, kind) for kind in ordered}
        return judged, self._runs[cell, ordered[0]].folder.path

    def _plan(self, wanted: Mapping[str, Iterable[Kind]]) -> None:
        """Start a run of what no run has yet."""
        new = {cell: {kind for kind in kinds if (cell, kind) not in self._runs} for cell, kinds in wanted.items()}
        new = {cell: kinds for cell, kinds in new.items() if kinds}
        run = Session(self._options, lambda _: None, one_of_several=True)
        run.selection = "tests of this repository"
        with self._first_or_later():
            run.plan(new)
            if self._several:
                for cell in new:
                    run.prepare(cell, Kind.ACCURACY)
        self._runs |= {(cell, kind): run for cell, kinds in new.items() for kind in kinds}

    @contextmanager
    def _first_or_later(self) -> Iterator[None]:
        """Let one of several processes make the cells, while the others wait to find them in the cache."""
        if not self._several:
            yield
            return
        folder = self._options.report_dir
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".pytest.lock"):
            yield

    def _expected(self) -> dict[str, frozenset[Kind]]:
        """Return the cells that the tests of this process are seen to ask for, as far as their source says."""
        found: dict[str, frozenset[Kind]] = {}
        for each in self._items:
            for model, variant, latency in asked_in(each):
                try:
                    cell = self.cell(model, variant)
                except BadInput:  # its own test says so
                    continue
                found[cell] = found.get(cell, KINDS) | ({Kind.LATENCY} if latency else set())
        return found

    def finish(self, interrupted: bool, cut_short: bool) -> None:
        """Write the last report of each run, with what no test came to ask for, and release the workers."""
        with self._settings.cache_in_force():
            for run in dict.fromkeys(self._runs.values()):
                if run.planned:
                    how = HowEnded(interrupted=interrupted or stop_asked(), cut_short=cut_short)
                    run.finish(until_stopped(partial(self._judge_all, run), how))
                    self.reports.append(run.folder.path / REPORT.replace(".json", ".md"))

    def _judge_all(self, run: Session) -> None:
        for (cell, kind), its_run in sorted(self._runs.items(), key=lambda one: one[0][1] is Kind.LATENCY):
            if its_run is run:
                run.judge(cell, kind)
        run.judge_the_rest()


def shared_by(config: pytest.Config, items: Sequence[pytest.Item]) -> Shared:
    """Return what the checks of a session share; fail the test that asks where its settings or models are wrong."""
    with refused():
        settings = settings_in(config)
        with settings.locating():
            return Shared(options_in(config, settings), settings, items, hasattr(config, "workerinput"))


def settings_in(config: pytest.Config) -> settings_of.Settings:
    """Return the settings that hold for a session: found from where it was called, or else from pytest's root.

    Raises:
        BadInput: a config, a variable or ``--quantbench KEY=VALUE`` is wrong.
    """
    settings = settings_of.resolve(config.invocation_params.dir, absolute=True)
    if not settings.files and config.rootpath != config.invocation_params.dir:
        settings = settings_of.resolve(config.rootpath, absolute=True)
    return settings_of.with_words(settings, config.option.quantbench_set, "--quantbench", config.invocation_params.dir)


def options_in(config: pytest.Config, settings: settings_of.Settings) -> RunOptions:
    """Return the options of the runs: tests choose the cells, and several processes of pytest share the cores."""
    options = replace(settings.options(), models="", variants="")
    several = hasattr(config, "workerinput")
    return replace(options, workers=1) if several and not options.workers else options


# ---------------------------------------------------------------- which cells


def cells_of(metafunc: pytest.Metafunc) -> list[str]:
    """Return the cells of a test that has the fixture ``quantbench_cell``, by its marker.

    Raises:
        BadInput: the marker, a config or a model is wrong.
    """
    marker = metafunc.definition.get_closest_marker(MARKER)
    given = dict(marker.kwargs) if marker else {}
    models, variants = (_names(given.pop(name, None), name) for name in ("models", "variants"))
    if given or (marker and marker.args):
        wrong = next(iter(given), "") or repr(marker.args[0] if marker else "")
        raise BadInput(f"@pytest.mark.{MARKER}: expected models=... and variants=..., found {wrong}")
    settings = settings_in(metafunc.config)
    where = f"@pytest.mark.{MARKER}"
    with settings.locating():
        of_folder = load_models(Path(settings["model_dir"]))
        chosen = pick(models or settings["models"], of_folder, where if models else "--models")
        asked = variants or settings["variants"]
        offering = {name: known([of_folder[name]]) for name in chosen}
        every = {name: one for each in offering.values() for name, one in each.items()}
        named = pick(asked, every, where if variants else "--variants") if asked else None
    return [
        f"{model}/{name}"
        for model in chosen
        for name in (named or of_folder[model].gate_variants or offered(of_folder[model]))
        if name in offering[model]
    ]


def _names(given: Names, field: str) -> str:
    """Return names as options take them, comma-separated."""
    if given is None or isinstance(given, str):
        return given or ""
    if isinstance(given, Sequence) and given and all(isinstance(one, str) for one in given):
        return ",".join(given)
    raise BadInput(f"@pytest.mark.{MARKER}: {field}: expected text, or a list of texts, found {given!r}")


def asked_in(item: pytest.Item) -> list[tuple[str, str, bool]]:
    """Return the checks that a test's source shows: model, variant and latency of each ``quantbench.check(...)``.

    Its arguments have to be literals or parameters of the test; others are known only when the test runs.
    """
    if not isinstance(item, pytest.Function) or FIXTURE not in item.fixturenames:
        return []
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(item.function)))
    except (OSError, TypeError, SyntaxError, IndentationError):
        return []
    parameters: dict[str, Any] = dict(item.callspec.params) if hasattr(item, "callspec") else {}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _is_check(node.func):
            values = [_value(argument, parameters) for argument in node.args]
            named = {one.arg: _value(one.value, parameters) for one in node.keywords if one.arg}
            model, variant = [*values, *(named.get(name, "") for name in ("model", "variant")[len(values) :])][:2]
            if isinstance(model, str) and isinstance(variant, str) and model:
                found.append((model, variant, named.get("latency") is True))
    return found


def _is_check(function: ast.expr) -> bool:
    return (
        isinstance(function, ast.Attribute)
        and function.attr == "check"
        and isinstance(function.value, ast.Name)
        and function.value.id == FIXTURE
    )


def _value(node: ast.expr, parameters: Mapping[str, Any]) -> Any:
    """Return the value of a literal or a parameter; None where only running the test tells it."""
    if isinstance(node, ast.Constant):
        return node.value
    return parameters.get(node.id) if isinstance(node, ast.Name) else None
