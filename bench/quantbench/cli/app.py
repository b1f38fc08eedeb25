"""Define the ``quantbench`` command. Heavy modules are imported inside the commands, so that ``--help`` is fast."""

import atexit
import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from quantbench import __version__, files
from quantbench.cli import (
    _parameters,
    _screen,
    _usage,
    ab,
    absent,
    adopt,
    answers,
    baseline,
    cache,
    compare,
    config,
    explain,
    export,
    forge,
    init,
    judge,
    listing,
    pin,
    site,
    tune,
)
from quantbench.cli import report as reporting
from quantbench.cli import run as running
from quantbench.cli._common import DEFAULTS, LATEST, SETTINGS, BaselineDir, ModelDir, RunEnded, take_config
from quantbench.core import streams
from quantbench.core.echo import guard, guarded, line
from quantbench.core.signals import nothing_left_to_stop, settle, stop_in_order
from quantbench.errors import BadInput, DiskFull, Exit, full_disk_named


class Root(TyperGroup):
    """List environment variables and exit statuses below the commands, and say which setting an error is about."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command; an error about a setting of the config names file and line, not an option nobody gave."""
        try:
            return super().invoke(ctx)
        except BadInput as error:
            settings = ctx.meta.get(SETTINGS)
            raise BadInput(settings.located(str(error)) if settings else str(error)) from error

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the sections that follow the list of commands."""
        del ctx
        with formatter.section("Environment"):
            formatter.write_dl([(one.name, one.text) for one in _parameters.variables(app)])
        with formatter.section("Exit status"):
            formatter.write_dl([(str(int(status)), text) for status, text in _usage.EXIT_STATUSES.items()])


app = typer.Typer(
    cls=Root,
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A benchmark and regression gate for TensorFlow model quantization.\n\nExample: quantbench run",
)
_PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True}  # to pytest
app.command(context_settings=_PASSED_ON)(running.run)
app.command("try")(adopt.try_model)
app.command()(adopt.adopt)
app.command()(tune.tune)
app.command()(judge.judge)
app.command()(reporting.report)
app.command()(compare.compare)
app.command()(compare.history)
app.add_typer(baseline.app, name="baseline")
app.command()(export.export)
app.command()(explain.explain)
app.command()(answers.answers)
app.command()(init.init)
app.command()(config.config)
app.command()(site.site)
app.command()(forge.comment)
app.command()(forge.issue)
app.command()(forge.notify)
app.command(context_settings=_PASSED_ON)(ab.ab)
app.command()(listing.models)
app.command()(listing.variants)
app.add_typer(cache.app, name="cache")
app.command()(listing.schema)
app.command()(pin.pin)

# Python looks for unused cycles after every 700 new objects, and a night's report is a million objects without any: a
# third of the time of `report` and `compare` went there, and still an eighth with a collection after 100,000.
_OBJECTS_BETWEEN_COLLECTIONS = 1_000_000
_THEIR_STATUSES: dict[int, int] = {2: Exit.BAD_INPUT, 130: Exit.INTERRUPTED}  # the command line library's -> ours


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"quantbench {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="print version")
    ] = False,
) -> None:
    del version
    take_config(context)


_SELFTEST, _QUICK_SELFTEST = "seed_cnn,mobilenet_v2,vit_tiny,autoencoder", "seed_cnn,autoencoder"


@app.command()
def selftest(
    quick: Annotated[
        bool, typer.Option("--quick", help="few strengths, one seed and few null runs, in two to three minutes")
    ] = False,
    models: Annotated[
        str,
        typer.Option(
            help="comma-separated: the first gets every fault, training and latency, and has to be scored as right or "
            "wrong; the others get faults in their artifacts and outputs (default: seed_cnn,mobilenet_v2,vit_tiny,"
            "autoencoder; with --quick: seed_cnn,autoencoder)"
        ),
    ] = "",
    model_dir: ModelDir = DEFAULTS.model_dir,
    baseline_dir: BaselineDir = DEFAULTS.baseline_dir,
    report_dir: Annotated[Path, typer.Option(help="output folder for selftest.json and selftest.md")] = Path(
        "reports/selftest"
    ),
) -> None:
    """Inject regressions into artifacts, trainings, the pipeline, memory and latency; report which the gate catches.

    Regressions in training are injected only where the first model has QAT baselines, because their noise must be
    known. Latency is recorded under random load that the command itself puts on every core.

    Exit status: 0 at least 99 % of the harmful regressions caught, and of the slowdowns of 3 % or more, 95 % of
    those of 1 % in turns with the accepted artifact, and at most 1 % of the null runs red; 1 otherwise.

    Example: quantbench selftest --quick
    """
    from quantbench import selftest as own
    from quantbench.core.output import output_to
    from quantbench.records import write_json
    from quantbench.reference.model import load_models, pick
    from quantbench.report.selftest import render

    known = load_models(model_dir)
    asked = models or own.default_models(known, (_QUICK_SELFTEST if quick else _SELFTEST))
    found = pick(asked, known, "--models")
    chosen = sorted(found, key=[each.strip() for each in asked.split(",")].index)
    name, *others = chosen
    if known[name].metric.correct is None:
        raise BadInput(f"--models: {name} is not scored as right or wrong; name seed_cnn first")
    for each in chosen:
        if known[each].build is None:
            raise BadInput(
                f"--models: {each} is not given as code, so that no artifact of it can be made; leave it out"
            )
    report_dir.mkdir(parents=True, exist_ok=True)
    with streams.lenient(os.dup(2), stands_for=2) as terminal, output_to(report_dir / "selftest.log"):
        outcome = own.run(
            known[name],
            quick,
            lambda said: None if _screen.quiet() else print(said, file=guarded(terminal), flush=True),
            baseline_dir,
            [known[each] for each in others],
        )
    write_json(report_dir / "selftest.json", outcome)
    files.replace(report_dir / "selftest.md", render(outcome))
    _screen.document(render(outcome))
    raise RunEnded(int(Exit.GREEN if own.as_good_as_promised(outcome) else Exit.REGRESSED))


@app.command()
def doctor(
    context: typer.Context,
    quick: Annotated[bool, typer.Option("--quick", help="skip the five seconds of noise measurement")] = False,
    model_dir: ModelDir = DEFAULTS.model_dir,
    baseline_dir: BaselineDir = DEFAULTS.baseline_dir,
) -> None:
    """Check this machine: runtimes and devices, applicable baselines, timing noise, and suggested fixes.

    Example: quantbench doctor
    """
    from quantbench.cli.doctor import diagnose

    diagnosis = diagnose(model_dir, baseline_dir, quick, _screen.say, context.meta[SETTINGS].targets)
    typer.echo(diagnosis.text())


_FILES = (".tflite", ".keras", ".h5", ".hdf5", ".npz", ".pb", ".onnx")  # endings that no cell's name has


@app.command("inspect")
def inspect_artifact(
    cell: Annotated[str, typer.Argument(help="a cell, e.g. seed_cnn/ptq_static_wi8_ai8; or a .tflite file")],
    run: Annotated[Path, typer.Option(help="run folder, or its report.json")] = LATEST,
    against: Annotated[
        str, typer.Option(help="show only what changed since this .tflite file, or against this cell of the run")
    ] = "",
) -> None:
    """Show an artifact's weights, the range of every tensor, and the examples whose prediction flipped.

    With --against, list what it has otherwise than another artifact, matched by place in the graph.

    Example: quantbench inspect seed_cnn/ptq_static_wi8_ai8 --run reports/latest
    """
    from quantbench.report.inspect import of_cell, render

    if against:
        from quantbench.engine.file_changes import of_two
        from quantbench.report import file_changes

        typer.echo(file_changes.render(of_two(against, cell, run)), nl=False)
        return

    if Path(cell).suffix.lower() in _FILES or Path(cell).is_file() or (Path(cell) / "saved_model.pb").exists():
        from quantbench.measure.census import of_file
        from quantbench.records import Evidence

        contents = of_file(Path(cell))
        typer.echo(render(cell, contents.census, Evidence(ranges=contents.ranges)), nl=False)
    else:
        typer.echo(of_cell(run, cell), nl=False)


_parameters.share(app)


def main() -> None:
    """Run the command line; bad input becomes one sentence and exit status 4."""
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    streams.make_lenient()
    stop_in_order()
    guard()
    status = _status_of(lambda: app(prog_name="quantbench", standalone_mode=False))
    atexit.register(nothing_left_to_stop)
    sys.exit(status)


def _status_of(command: Callable[[], Any]) -> Any:
    """Run a command to its end; no signal changes its exit status after this returns."""
    try:
        status = _exit_status(command)
        settle()
    except KeyboardInterrupt:
        settle()
        return Exit.INTERRUPTED
    return status


def _exit_status(command: Callable[[], Any]) -> Any:
    """Return the exit status of a command, printing the message where its input was refused."""
    try:
        try:
            with full_disk_named():
                ended = command()
        except RunEnded as ended_run:
            return ended_run.args[0]  # the run considered full output already, or the disk filled up after its report
        except SystemExit as stop:
            ended = stop.code
        except typer.Abort:
            ended = _THEIR_STATUSES[130]
        except _usage.UsageProblem as problem:
            return _refused(problem)
        status = _THEIR_STATUSES.get(ended, ended) if isinstance(ended, int) else Exit.GREEN
        lost = streams.lost_for_want_of_space()
        if lost and status != Exit.REGRESSED:
            raise DiskFull(lost)
        return status
    except BadInput as error:
        _complain(str(error))
        return Exit.BAD_INPUT
    except ModuleNotFoundError as error:
        missing = absent.sentence(error)
        if missing is None:
            raise
        _complain(missing)
        return Exit.BAD_INPUT
    except DiskFull as error:
        _complain(str(error))
        return Exit.DISK_FULL


def _refused(problem: Any) -> Exit:
    """Say what is wrong with the command line; where a command is missing, show the help."""
    if type(problem).__name__ == "NoArgsIsHelpError":
        typer.echo(problem.format_message(), err=True)
    else:
        _complain(_usage.sentence(problem))
    return Exit.BAD_INPUT


def _complain(text: str) -> None:
    typer.echo(f"{_usage.PREFIX}{line(text)}", err=True)


if __name__ == "__main__":
    main()
