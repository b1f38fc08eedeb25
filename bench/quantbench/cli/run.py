"""Define the command ``run``."""

import inspect
import re
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from quantbench.cli import _screen, _usage
from quantbench.cli._common import RunEnded
from quantbench.core import config
from quantbench.core.options import PACKAGE, PYTEST_INI, declared, flag, negative
from quantbench.errors import Exit


def run(context: typer.Context, **values: Any) -> None:
    """Quantize, measure, judge, and write a report.

    Anything not listed goes to pytest: -k, -m ptq, -x, --benchmark-json FILE, ... With -v, pytest's own screen and
    pytest-benchmark's table are shown too.

    Exit status: 0 green, 1 a regression, 2 interrupted, 3 could not measure (an error, or no baseline),
    4 bad input, 5 nothing selected, 6 the disk is full.

    Example: quantbench run --models seed_cnn --variants ptq_float16 --no-latency
    """
    import pytest

    from quantbench.suites.screen import Screen

    as_json = values.pop("as_json")
    screen = Screen(_screen.quiet(), _screen.verbose(), _explained)
    settings = config.resolve()
    if values["model_dir"] == settings["model_dir"] and (note := settings.note()):
        _screen.say(f"note: {note}")
    for words in settings.unknown_variables():
        _screen.say(f"note: {words}")
    arguments = [str(PACKAGE / "suites"), "-c", str(PYTEST_INI), "--rootdir", str(PACKAGE)]
    arguments += ["-o", f"cache_dir={Path(values['report_dir']).resolve() / '.pytest_cache'}"]
    arguments += ["-p", "no:unraisableexception"]  # it collects all garbage twice at the end
    arguments += ["-p", "no:hypothesispytest"]  # it imports all of Hypothesis at the end
    for name, value in values.items():
        if isinstance(value, bool):
            taken_back = not value and name in config.KEYS and settings[name]
            arguments += [flag(name)] if value else [negative(name)] if taken_back else []
        else:
            arguments.append(f"{flag(name)}={value}")
    arguments += [*screen.arguments(context.args), *context.args]
    with _screen.answer_alone(as_json) as answer:
        status = _as_reported(lambda: int(pytest.main(arguments, plugins=[screen])))
        if as_json and screen.report is not None:
            answer(_screen.json_of(screen.report))
    if status == Exit.NOTHING_SELECTED and screen.report is None:
        typer.echo(f"{_usage.PREFIX}nothing selected: no cell is left by --models, --variants, -k and -m", err=True)
    raise RunEnded(status)


def _explained(message: str) -> str:
    """Return pytest's message on the command line as one sentence."""
    unknown = re.search(r"unrecognized arguments: (\S+)", message)
    if unknown is None:
        return re.sub(r"^.*?\berror: ", "", message, flags=re.DOTALL).strip()
    options = [flag(option.name) for option in declared() if "help" in option.metadata]
    return _usage.no_such("option", unknown[1].partition("=")[0], options, "quantbench run")


def _as_reported(started: Callable[[], int]) -> int:
    """Return a run's exit status: the one in its report, if written, whatever fails afterwards."""
    from quantbench.engine import finish

    try:
        status = started()
    except KeyboardInterrupt:
        if finish.reported is None:
            raise
        status = int(finish.reported)
    except Exception:
        if finish.reported is None:
            raise
        traceback.print_exc()
    return status if finish.reported is None else int(finish.reported)


def _declare_run() -> None:
    """Give ``run`` the options of RunOptions, which pytest's own command line has too."""
    parameters = [inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)]
    for option in declared():
        names, key = flag(option.name), config.KEYS.get(option.name)
        if isinstance(option.default, bool) and key is not None:
            names += f"/{negative(option.name)}"  # so that a command can take back what a config says
        shown = typer.Option(names, help=option.metadata["help"], envvar=key.variable if key else None)
        annotation = Annotated[type(option.default), shown]  # type: ignore[valid-type]
        kind = inspect.Parameter.KEYWORD_ONLY
        parameters.append(inspect.Parameter(option.name, kind, default=option.default, annotation=annotation))
    as_json = Annotated[bool, typer.Option("--json", help="print report.json alone; everything else goes to stderr")]
    parameters.append(inspect.Parameter("as_json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=as_json))
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}


_declare_run()
