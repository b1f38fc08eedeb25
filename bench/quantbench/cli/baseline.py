"""Define ``baseline diff`` and ``baseline update``: show what accepting a run would change, and accept it."""

import shlex
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quantbench.cli import baseline_exceptions
from quantbench.cli._common import DEFAULTS, LATEST, BaselineDir, ModelDir
from quantbench.core.options import RunOptions, run_argument
from quantbench.errors import BadInput

if TYPE_CHECKING:
    from quantbench.records import Report

app = typer.Typer(no_args_is_help=True, help="Compare a run with the baselines, or accept it.")
_COMMANDS = (
    baseline_exceptions.check,
    baseline_exceptions.loosen,
    baseline_exceptions.xfail,
    baseline_exceptions.seal,
    baseline_exceptions.upgrade,
)
for _command in _COMMANDS:
    app.command()(_command)

Run = Annotated[Path, typer.Argument(help="run folder, or its report.json")]
Only = Annotated[str, typer.Option(help="comma-separated cells, e.g. seed_cnn/ptq_float16 (default: all)")]
PerMachine = Annotated[
    bool,
    typer.Option(
        "--per-machine",
        help="write only values that differ on the run's machine profile (CPU, runtime); the common ones stay",
    ),
]
Overlay = Annotated[bool, typer.Option("--overlay", hidden=True, help="older name of --per-machine")]
ResetAnchor = Annotated[
    bool, typer.Option("--reset-anchor", help="measure slow drift from the values that are accepted now")
]
RestartDrift = Annotated[bool, typer.Option("--restart-drift", hidden=True, help="older name of --reset-anchor")]
AllowDirty = Annotated[
    bool, typer.Option("--allow-dirty", help="accept a run whose code had local changes that are in no commit")
]
Target = Annotated[
    str, typer.Option(help="accept what the cells answered on this target of the run, for its machine profile alone")
]
Replace = Annotated[str, typer.Option(help="comma-separated models whose baselines are recorded from scratch")]


@app.command()
def diff(
    run: Run = LATEST,
    only: Only = "",
    per_machine: PerMachine = False,
    overlay: Overlay = False,
    reset_anchor: ResetAnchor = False,
    restart_drift: RestartDrift = False,
    replace: Replace = "",
    model_dir: ModelDir = DEFAULTS.model_dir,
    baseline_dir: BaselineDir = DEFAULTS.baseline_dir,
) -> None:
    """Compare a run with the baselines, and show what accepting it would change.

    Example: quantbench baseline diff reports/latest
    """
    from quantbench.report.baseline_review import Suggestion, render

    ways = {"overlay": overlay or per_machine, "restart_drift": restart_drift or reset_anchor}
    comparison, proposals, left_out = _proposals(run, only, model_dir, baseline_dir, "(diff)", replace, ways)
    options = RunOptions(model_dir=model_dir, baseline_dir=baseline_dir)
    command = ["quantbench", "baseline", "update", *shlex.split(run_argument(run, options))]
    command += ["--per-machine"] if ways["overlay"] else []
    command += ["--reset-anchor"] if ways["restart_drift"] else []
    command += ["--replace", replace] if replace else []
    suggestion = Suggestion(command, whole=not only)
    typer.echo(render(comparison, proposals, False, left_out, suggestion), nl=False)


@app.command()
def update(
    run: Run = LATEST,
    reason: Annotated[str, typer.Option(help="why the new values are right; kept in the baseline")] = "",
    only: Only = "",
    per_machine: PerMachine = False,
    overlay: Overlay = False,
    reset_anchor: ResetAnchor = False,
    restart_drift: RestartDrift = False,
    replace: Replace = "",
    allow_dirty: AllowDirty = False,
    target: Target = "",
    model_dir: ModelDir = DEFAULTS.model_dir,
    baseline_dir: BaselineDir = DEFAULTS.baseline_dir,
) -> None:
    """Accept a run's values as the new baselines, and print a review document.

    Example: quantbench baseline update reports/latest --reason "tensorflow 2.21: new int8 softmax"
    """
    from quantbench.baselines.files import save
    from quantbench.baselines.update import check_length
    from quantbench.engine.accepted import keep_artifacts, keep_measured
    from quantbench.reference.model import load_models
    from quantbench.report.baseline_review import render

    if not reason.strip():
        raise BadInput('--reason: say why the new values are right, e.g. --reason "tensorflow 2.21: new int8 softmax"')
    check_length("--reason", reason.strip())
    ways = {"overlay": overlay or per_machine, "restart_drift": restart_drift or reset_anchor}
    comparison, proposals, left_out = _proposals(
        run, only, model_dir, baseline_dir, reason.strip(), replace, ways, allow_dirty, target
    )
    accepted = [proposal.file for proposal in proposals]
    keep_measured(baseline_dir, accepted, load_models(model_dir), run if run.is_dir() else run.parent)
    for proposal in proposals:
        save(baseline_dir, proposal.file, proposal.predictions)
    keep_artifacts(accepted, run)
    typer.echo(render(comparison, proposals, True, left_out), nl=False)


def _proposals(
    run: Path,
    only: str,
    model_dir: Path,
    baseline_dir: Path,
    reason: str,
    replace: str,
    ways: dict[str, bool],
    allow_dirty: bool = True,
    target: str = "",
) -> Any:
    from quantbench.baselines.of_target import as_of_target, write_predictions
    from quantbench.records.run_folder import read

    loaded, folder = read(run)
    if target:
        with tempfile.TemporaryDirectory(prefix="quantbench-") as scratch:
            there = as_of_target(loaded, target)
            write_predictions(loaded, target, folder, Path(scratch))
            given = (model_dir, baseline_dir, reason, replace, {**ways, "overlay": True}, allow_dirty)
            return _proposed(there, Path(scratch), run, only, *given)
    return _proposed(loaded, folder, run, only, model_dir, baseline_dir, reason, replace, ways, allow_dirty)


def _proposed(
    loaded: "Report",
    folder: Path,
    run: Path,
    only: str,
    model_dir: Path,
    baseline_dir: Path,
    reason: str,
    replace: str,
    ways: dict[str, bool],
    allow_dirty: bool,
) -> Any:
    from quantbench.baselines import update as acceptance
    from quantbench.baselines.files import Baseline, load
    from quantbench.comparison import compare
    from quantbench.comparison.load import baseline_sides, truths
    from quantbench.records import Verdict
    from quantbench.reference.model import load_models, pick

    models = load_models(model_dir)
    ids = set(pick(only, {cell.id: cell for cell in loaded.cells}, "--only"))
    acceptance.check_report(loaded, folder, ids)
    if not allow_dirty:
        acceptance.check_commit(loaded.environment, str(folder))
    names = sorted({cell.model for cell in loaded.cells if cell.id in ids})
    afresh = pick(replace, dict.fromkeys(names), "--replace") if replace else []
    for name in names:
        if name not in models:
            raise BadInput(f"{run}: holds model {name!r}, which {model_dir} does not define; give its --model-dir")
        acceptance.check_data(loaded, folder, models[name])
        acceptance.check_scores(loaded, folder, models[name], ids)
    olds = {name: Baseline() if name in afresh else load(baseline_dir, models[name]) for name in names}
    made = {
        name: acceptance.propose(
            loaded, folder, name, olds[name], reason, ids, **ways, floor_of=acceptance.floors_of(models[name])
        )
        for name in names
    }
    proposals = [
        acceptance.afresh(proposal, baseline_dir) if name in afresh else proposal for name, proposal in made.items()
    ]
    left_out = [cell.id for cell in loaded.cells if cell.verdict is Verdict.REGRESSED and cell.id not in ids]
    return compare(*baseline_sides(loaded, folder, olds, ids), truths(model_dir, loaded)), proposals, left_out
