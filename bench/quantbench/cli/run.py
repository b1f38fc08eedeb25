"""Define the command ``run``."""

import inspect
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from quantbench.cli._common import RunEnded
from quantbench.core import config
from quantbench.core.options import PACKAGE, PYTEST_INI, declared, flag, negative


def run(context: typer.Context, **values: Any) -> None:
    """Quantize, measure, judge, and write a report.

    Anything not listed goes to pytest: -k, -m ptq, -x, --benchmark-json FILE, ...

    Exit status: 0 green, 1 a regression, 2 interrupted, 3 could not measure (an error, or no baseline),
    4 bad input, 5 nothing selected, 6 the disk is full.

    Example: quantbench run --models seed_cnn --variants ptq_float16 --no-latency
    """
    import pytest

    settings = config.resolve()
    if values["model_dir"] == settings["model_dir"] and (note := settings.note()):
        typer.echo(f"note: {note}", err=True)
    arguments = [str(PACKAGE / "suites"), "-c", str(PYTEST_INI), "--rootdir", str(PACKAGE)]
    arguments += ["-o", f"cache_dir={Path(values['report_dir']).resolve() / '.pytest_cache'}"]
    for name, value in values.items():
        if isinstance(value, bool):
            taken_back = not value and name in config.KEYS and settings[name]
            arguments += [flag(name)] if value else [negative(name)] if taken_back else []
        else:
            arguments.append(f"{flag(name)}={value}")
    raise RunEnded(_as_reported(lambda: int(pytest.main(arguments + context.args))))


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
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}


_declare_run()
