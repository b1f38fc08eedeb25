"""The ``quantbench`` command. Heavy modules are imported inside the commands, so that ``--help`` is quick."""

import atexit
import dataclasses
import inspect
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from quantbench import __version__, files
from quantbench.cli import ab, baseline_exceptions, cache, report
from quantbench.cli import compare as cli_compare
from quantbench.core import streams
from quantbench.core.echo import guard, guarded, line
from quantbench.core.options import PACKAGE, PYTEST_INI, RunOptions, flag
from quantbench.core.signals import nothing_left_to_stop, settle, stop_in_order
from quantbench.errors import BadInput, DiskFull, Exit

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="A benchmark and regression gate for TensorFlow model quantization.\n\nExample: quantbench run",
)
baseline_app = typer.Typer(no_args_is_help=True, help="Compare a run with the baselines, or accept it.")
app.add_typer(baseline_app, name="baseline")
for _command in (baseline_exceptions.check, baseline_exceptions.loosen, baseline_exceptions.xfail):
    baseline_app.command()(_command)
app.add_typer(cache.app, name="cache")
app.command()(cli_compare.compare)
app.command()(cli_compare.history)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(ab.ab)
app.command()(report.report)

_DEFAULTS = RunOptions()
ModelDir = Annotated[Path, typer.Option(help="folder of model files")]
BaselineDir = Annotated[Path, typer.Option(help="folder of baselines")]
Run = Annotated[Path, typer.Argument(help="run folder, or its report.json")]
_THEIR_STATUSES: dict[Any, int] = {2: Exit.BAD_INPUT, 130: Exit.INTERRUPTED}  # the command line library's -> ours
LATEST = Path("reports/latest")


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"quantbench {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="print version")
    ] = False,
) -> None:
    del version


class _RunEnded(Exception):
    """Carries a run's exit status past the command line library, which means something else by 2."""


def _run(context: typer.Context, **values: Any) -> None:
    """Quantize, measure, judge, and write a report.

    Anything not listed goes to pytest: -k, -m ptq, -x, --benchmark-json FILE, ...

    Exit status: 0 green, 1 a regression, 2 interrupted, 3 could not measure (an error, or no baseline),
    4 bad input, 5 nothing selected, 6 the disk is full.

    Example: quantbench run --models seed_cnn --variants ptq_float16 --no-latency
    """
    import pytest

    arguments = [str(PACKAGE / "suites"), "-c", str(PYTEST_INI), "--rootdir", str(PACKAGE)]
    arguments += ["-o", f"cache_dir={Path(values['report_dir']).resolve() / '.pytest_cache'}"]
    for name, value in values.items():
        if isinstance(value, bool):
            arguments += [flag(name)] if value else []
        else:
            arguments.append(f"{flag(name)}={value}")
    raise _RunEnded(_as_reported(lambda: int(pytest.main(arguments + context.args))))


def _as_reported(run: Callable[[], int]) -> int:
    """The exit status of a run: that in its report, where it has written one, whatever fails or comes afterwards."""
    from quantbench.engine import finish

    try:
        status = run()
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
    for option in dataclasses.fields(RunOptions):
        declared = typer.Option(flag(option.name), help=option.metadata["help"])
        annotation = Annotated[type(option.default), declared]  # type: ignore[valid-type]
        kind = inspect.Parameter.KEYWORD_ONLY
        parameters.append(inspect.Parameter(option.name, kind, default=option.default, annotation=annotation))
    _run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    _run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    app.command("run", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(_run)


_declare_run()


@app.command()
def models(model_dir: ModelDir = _DEFAULTS.model_dir) -> None:
    """List the reference models, one a line.

    Example: quantbench models
    """
    from quantbench.reference.model import load_models

    _list({name: model.description for name, model in load_models(model_dir).items()})


@app.command()
def variants(
    taxonomy: Annotated[
        bool, typer.Option("--taxonomy", help="what is quantized, how, and by which range; Markdown")
    ] = False,
) -> None:
    """List the variants, one a line.

    Example: quantbench variants --taxonomy
    """
    from quantbench.variants import VARIANTS

    if taxonomy:
        from tabulate import tabulate

        rows = [
            [f"`{v.name}`", v.engine, v.taxonomy.weights, v.taxonomy.activations, v.taxonomy.range, v.control or ""]
            for v in VARIANTS.values()
        ]
        headers = ["variant", "engine", "weights", "activations", "range", "compared with"]
        typer.echo(tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True))
        return
    _list({name: variant.description for name, variant in VARIANTS.items()})


def _list(rows: dict[str, str]) -> None:
    width = max(len(name) for name in rows)
    for name, description in rows.items():
        typer.echo(f"{name:<{width}}  {description}")


ModelArgument = Annotated[str, typer.Argument(help="a .keras, .h5, SavedModel folder, float .tflite, or file.py:NAME")]
Data = Annotated[Path | None, typer.Option(help=".npz to evaluate on: x (or x_<input name>) and y")]
Calibration = Annotated[Path | None, typer.Option(help=".npz with x to find ranges with; never evaluation data")]
TrainData = Annotated[Path | None, typer.Option(help=".npz with x and y to fine-tune on (QAT)")]
MetricName = Annotated[str, typer.Option(help="accuracy, top5, auc, mean_absolute_error, ...; worked out if not given")]
MaxDrop = Annotated[
    float, typer.Option(help="largest drop that may be shipped, in the metric's unit (pp for accuracy)")
]
AllowCode = Annotated[bool, typer.Option("--allow-code", help="load Lambda layers, which run code from the file")]


@app.command("try")
def try_model(
    model: ModelArgument,
    data: Data = None,
    calibration: Calibration = None,
    train_data: TrainData = None,
    metric: MetricName = "",
    max_drop: MaxDrop = 0.5,
    variants: Annotated[str, typer.Option(help="variants, comma-separated; all where not given")] = "",
    report_dir: Annotated[Path, typer.Option(help="folder that gets a folder a run, and 'latest'")] = Path("reports"),
    latency_budget: Annotated[float, typer.Option(help="seconds of timing a variant; 0: none")] = 3.0,
    allow_code: AllowCode = False,
) -> None:
    """Quantize a model of your own in every way, and learn which variant to ship.

    A .py model is code that runs as you do: give only files that you trust.

    Example: quantbench try my.keras --data eval.npz --calibration some_training_inputs.npz --max-drop 0.5
    """
    import tempfile

    from quantbench.adopt.commands import try_once
    from quantbench.adopt.understand import Given

    given = Given(model, data, calibration, train_data, metric, max_drop, allow_code)
    with tempfile.TemporaryDirectory(prefix="quantbench-try-") as folder:
        status = try_once(given, Path(folder), variants, report_dir, latency_budget, typer.echo)
    raise _RunEnded(int(status))


@app.command()
def adopt(
    model: ModelArgument,
    name: Annotated[str, typer.Option(help="name of the new reference model")],
    model_dir: ModelDir,
    baseline_dir: BaselineDir,
    data: Data = None,
    calibration: Calibration = None,
    train_data: TrainData = None,
    metric: MetricName = "",
    max_drop: MaxDrop = 0.5,
    report_dir: Annotated[Path, typer.Option(help="folder that gets a folder a run, and 'latest'")] = Path("reports"),
    allow_code: AllowCode = False,
) -> None:
    """Turn a model of your own into a gated reference model in folders of your own, with its first baseline.

    Afterwards: quantbench run --model-dir DIR --baseline-dir DIR

    Example: quantbench adopt my.keras --name my --data eval.npz --model-dir models --baseline-dir baselines
    """
    from quantbench.adopt.commands import adopt_for_good
    from quantbench.adopt.understand import Given

    given = Given(model, data, calibration, train_data, metric, max_drop, allow_code)
    raise _RunEnded(int(adopt_for_good(given, name, model_dir, baseline_dir, report_dir, typer.echo)))


@app.command()
def schema(record: Annotated[str, typer.Argument(help="report or baseline")] = "report") -> None:
    """Print the JSON Schema of a file format.

    Example: quantbench schema report
    """
    import json

    from quantbench import records

    known: dict[str, type[records.Record]] = {"report": records.Report, "baseline": records.BaselineFile}
    if record not in known:
        raise BadInput(f"schema: expected one of {', '.join(known)}, found {record!r}")
    typer.echo(json.dumps(records.schema(known[record]), indent=1, sort_keys=True))


@app.command()
def selftest(
    quick: Annotated[
        bool, typer.Option("--quick", help="few strengths, one seed and few null runs, in about three minutes")
    ] = False,
    model: Annotated[str, typer.Option(help="a reference model that is scored as right or wrong")] = "seed_cnn",
    model_dir: ModelDir = _DEFAULTS.model_dir,
    baseline_dir: BaselineDir = _DEFAULTS.baseline_dir,
    report_dir: Annotated[Path, typer.Option(help="folder that gets selftest.json and selftest.md")] = Path(
        "reports/selftest"
    ),
) -> None:
    """Plant regressions in artifacts, trainings, the pipeline, memory and latency, and see which the gate catches.

    What trains is planted where the model's baseline has QAT, for its noise is needed to judge it. Latency is recorded
    under random load that the command makes itself, on every core.

    Exit status: 0 at least 99 % of the harmful plants caught, and of the slowdowns of 3 % or more, and at most 1 % of
    the null runs red; 1 otherwise.

    Example: quantbench selftest --quick
    """
    from quantbench import selftest as own
    from quantbench.core.output import output_to
    from quantbench.records import write_json
    from quantbench.reference.model import load_models, pick
    from quantbench.report.selftest import render

    models = load_models(model_dir)
    [name] = pick(model, models, "--model")[:1]
    if models[name].metric.correct is None or models[name].build is None:
        raise BadInput(f"--model: {name} is not scored as right or wrong, or not given as code; try seed_cnn")
    report_dir.mkdir(parents=True, exist_ok=True)
    with streams.lenient(os.dup(2), stands_for=2) as told, output_to(report_dir / "selftest.log"):
        found = own.run(models[name], quick, lambda said: print(said, file=guarded(told), flush=True), baseline_dir)
    write_json(report_dir / "selftest.json", found)
    files.replace(report_dir / "selftest.md", render(found))
    typer.echo(render(found), nl=False)
    raise _RunEnded(int(Exit.GREEN if own.as_good_as_promised(found) else Exit.REGRESSED))


@app.command()
def doctor(
    quick: Annotated[bool, typer.Option("--quick", help="without the five seconds that measure the noise")] = False,
    model_dir: ModelDir = _DEFAULTS.model_dir,
    baseline_dir: BaselineDir = _DEFAULTS.baseline_dir,
) -> None:
    """Say what this machine can measure and how well, which baselines apply to it, and what to put right.

    Example: quantbench doctor
    """
    from quantbench.cli.doctor import diagnose

    found = diagnose(model_dir, baseline_dir, quick, lambda said: typer.echo(said, err=True))
    typer.echo(found.text())


_FILES = (".tflite", ".keras", ".h5", ".hdf5", ".npz", ".pb", ".onnx")  # no cell's name ends so


@app.command("inspect")
def inspect_artifact(
    cell: Annotated[str, typer.Argument(help="a cell, e.g. seed_cnn/ptq_static_wi8_ai8; or a .tflite file")],
    run: Annotated[Path, typer.Option(help="run folder, or its report.json")] = LATEST,
) -> None:
    """Show what is in an artifact: its weights one by one, the range of every tensor, which examples flipped.

    Example: quantbench inspect seed_cnn/ptq_static_wi8_ai8 --run reports/latest
    """
    from quantbench.report.inspect import of_cell, render

    if Path(cell).suffix.lower() in _FILES or Path(cell).is_file() or (Path(cell) / "saved_model.pb").exists():
        from quantbench.measure.census import of_file
        from quantbench.records import Evidence

        contents = of_file(Path(cell))
        typer.echo(render(cell, contents.census, Evidence(ranges=contents.ranges)), nl=False)
    else:
        typer.echo(of_cell(run, cell), nl=False)


Only = Annotated[str, typer.Option(help="cells, comma-separated, e.g. seed_cnn/ptq_float16")]
Overlay = Annotated[
    bool, typer.Option("--overlay", help="write only what differs in the run's CPU and runtime; the base stays")
]
RestartDrift = Annotated[
    bool, typer.Option("--restart-drift", help="measure drift from the values that are accepted now")
]
Replace = Annotated[str, typer.Option(help="models, comma-separated, whose baselines are recorded afresh")]


@baseline_app.command()
def diff(
    run: Run = LATEST,
    only: Only = "",
    overlay: Overlay = False,
    restart_drift: RestartDrift = False,
    replace: Replace = "",
    model_dir: ModelDir = _DEFAULTS.model_dir,
    baseline_dir: BaselineDir = _DEFAULTS.baseline_dir,
) -> None:
    """Compare a run with the baselines, and show what accepting it would change.

    Example: quantbench baseline diff reports/latest
    """
    from quantbench.report.baseline_review import render

    ways = {"overlay": overlay, "restart_drift": restart_drift}
    found, proposals = _proposals(run, only, model_dir, baseline_dir, "(diff)", replace, ways)
    typer.echo(render(found, proposals, written=False), nl=False)


@baseline_app.command()
def update(
    run: Run = LATEST,
    reason: Annotated[str, typer.Option(help="why the new values are right; kept in the baseline")] = "",
    only: Only = "",
    overlay: Overlay = False,
    restart_drift: RestartDrift = False,
    replace: Replace = "",
    model_dir: ModelDir = _DEFAULTS.model_dir,
    baseline_dir: BaselineDir = _DEFAULTS.baseline_dir,
) -> None:
    """Accept a run's values as the new baselines, and print a review document.

    Example: quantbench baseline update reports/latest --reason "tensorflow 2.21: new int8 softmax"
    """
    from quantbench.baselines.files import save
    from quantbench.report.baseline_review import render

    if not reason.strip():
        raise BadInput('--reason: say why the new values are right, e.g. --reason "tensorflow 2.21: new int8 softmax"')
    ways = {"overlay": overlay, "restart_drift": restart_drift}
    found, proposals = _proposals(run, only, model_dir, baseline_dir, reason.strip(), replace, ways)
    for proposal in proposals:
        save(baseline_dir, proposal.file, proposal.predictions)
    typer.echo(render(found, proposals, written=True), nl=False)


def _proposals(
    run: Path, only: str, model_dir: Path, baseline_dir: Path, reason: str, replace: str, ways: dict[str, bool]
) -> Any:
    from quantbench.baselines import update as acceptance
    from quantbench.baselines.files import Baseline, load
    from quantbench.comparison import compare
    from quantbench.comparison.load import baseline_sides, truths
    from quantbench.records.run_folder import read
    from quantbench.reference.model import load_models, pick

    loaded, folder = read(run)
    known = load_models(model_dir)
    ids = set(pick(only, {cell.id: cell for cell in loaded.cells}, "--only"))
    acceptance.check_report(loaded, folder, ids)
    names = sorted({cell.model for cell in loaded.cells if cell.id in ids})
    afresh = pick(replace, dict.fromkeys(names), "--replace") if replace else []
    for name in names:
        if name not in known:
            raise BadInput(f"{run}: holds model {name!r}, which {model_dir} does not define; give its --model-dir")
        acceptance.check_data(loaded, folder, known[name])
        acceptance.check_scores(loaded, folder, known[name], ids)
    olds = {name: Baseline() if name in afresh else load(baseline_dir, known[name]) for name in names}
    made = {name: acceptance.propose(loaded, folder, name, olds[name], reason, ids, **ways) for name in names}
    proposals = [acceptance.afresh(one, baseline_dir) if name in afresh else one for name, one in made.items()]
    return compare(*baseline_sides(loaded, folder, olds, ids), truths(model_dir, loaded)), proposals


def main() -> None:
    """Entry point: bad input becomes one sentence and exit status 4."""
    streams.make_lenient()
    stop_in_order()
    guard()
    status = _status_of(app)
    atexit.register(nothing_left_to_stop)
    sys.exit(status)


def _status_of(command: Callable[[], Any]) -> Any:
    """Run a command to its end; no signal changes its exit status any more when this returns."""
    try:
        status = _told(command)
        settle()
    except KeyboardInterrupt:
        settle()
        return Exit.INTERRUPTED
    return status


def _told(command: Callable[[], Any]) -> Any:
    """The exit status of a command, with the sentence where it was refused."""
    try:
        try:
            command()
        except _RunEnded as ended:
            return ended.args[0]  # the run has taken account of a full output, or it filled up after its report
        except SystemExit as stop:
            status = _THEIR_STATUSES.get(stop.code, stop.code)
        else:
            status = Exit.GREEN
        lost = streams.lost_for_want_of_space()
        if lost and status != Exit.REGRESSED:
            raise DiskFull(lost)
        return status
    except BadInput as error:
        typer.echo(f"quantbench: {line(str(error))}", err=True)
        return Exit.BAD_INPUT
    except DiskFull as error:
        typer.echo(f"quantbench: {line(str(error))}", err=True)
        return Exit.DISK_FULL


if __name__ == "__main__":
    main()
