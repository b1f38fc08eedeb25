"""Define ``baseline loosen``, ``xfail``, ``seal``, ``upgrade`` and ``check``, which need no run of their own."""

from pathlib import Path
from typing import Annotated

import typer

from quantbench.core.options import RunOptions
from quantbench.errors import BadInput, Exit

_DEFAULTS = RunOptions()
_Cell = Annotated[str, typer.Argument(help="a cell, e.g. seed_cnn/ptq_static_wi8_ai8")]
_ModelDir = Annotated[Path, typer.Option("--model-dir", help="folder of model files")]
_BaselineDir = Annotated[Path, typer.Option("--baseline-dir", help="folder of baselines")]
_Reason = Annotated[str, typer.Option(help="why; shown in every report")]
_Expires = Annotated[str, typer.Option(help="last day on which it applies, YYYY-MM-DD")]
_Remove = Annotated[bool, typer.Option("--remove", help="remove the exception")]


def loosen(
    cell: _Cell,
    measurement: Annotated[str, typer.Argument(help="score, size, gzip_size, latency_ratio, control_to_yardstick")],
    tolerance: Annotated[
        float | None, typer.Option(help="in the metric's unit for a score (pp), else as a fraction: 0.05 is 5 %")
    ] = None,
    reason: _Reason = "",
    expires: _Expires = "",
    run: Annotated[
        Path | None,
        typer.Option(help="a run in which it failed: the tolerance becomes what it shows, and a little more"),
    ] = None,
    of_class: Annotated[
        str, typer.Option("--for", help="machine profile of a latency, or of values that only it has")
    ] = "",
    remove: _Remove = False,
    model_dir: _ModelDir = _DEFAULTS.model_dir,
    baseline_dir: _BaselineDir = _DEFAULTS.baseline_dir,
) -> None:
    """Temporarily widen a tolerance, never narrow it (needs a reason and an expiry date).

    It is bounded: by what a run showed and a little more, or without a run by a quarter of the value, or for a score by
    the limit of a release.

    Example: quantbench baseline loosen seed_cnn/ptq_float16 size --run reports/latest --reason "..."
    --expires 2027-01-31
    """
    from quantbench.baselines import exceptions
    from quantbench.core.environment import today
    from quantbench.records.run_folder import read

    target = exceptions.Target(cell, model_dir, baseline_dir)
    if remove:
        typer.echo(exceptions.tighten(target, measurement, of_class))
        return
    if tolerance is None and run is None:
        raise BadInput("--run: expected a run in which it failed, e.g. --run reports/latest, --tolerance or --remove")
    seen = None if run is None else read(run)[0]
    typer.echo(exceptions.loosen(target, measurement, tolerance, reason, expires, of_class, today(), seen))


def xfail(
    cell: _Cell,
    measurement: Annotated[
        str, typer.Argument(help="score, floor, size, gzip_size, promise, census, latency_ratio, cell, ...")
    ],
    ticket: Annotated[str, typer.Option(help="where the failure is tracked")] = "",
    reason: _Reason = "",
    expires: _Expires = "",
    run: Annotated[
        Path | None, typer.Option(help="a run in which it failed: that failure is excused, and a little more")
    ] = None,
    bound: Annotated[
        float | None, typer.Option(help="the largest change for the worse to excuse, in the report's unit")
    ] = None,
    remove: _Remove = False,
    model_dir: _ModelDir = _DEFAULTS.model_dir,
    baseline_dir: _BaselineDir = _DEFAULTS.baseline_dir,
) -> None:
    """Expect a measurement to fail until an expiry date: green while it fails within its bound, red otherwise.

    Example: quantbench baseline xfail seed_cnn/qat_wi8_ai8 floor --run reports/latest --ticket URL --reason "..."
    --expires 2027-01-31
    """
    from quantbench.baselines import exceptions
    from quantbench.core.environment import today
    from quantbench.records.run_folder import read

    target = exceptions.Target(cell, model_dir, baseline_dir)
    if remove:
        typer.echo(exceptions.expect_success(target, measurement))
        return
    seen = None if run is None else read(run)[0]
    typer.echo(exceptions.expect_failure(target, measurement, ticket, reason, expires, today(), bound, seen))


def seal(
    cells: Annotated[str, typer.Argument(help="models or cells, comma-separated, e.g. seed_cnn; all where empty")] = "",
    reason: Annotated[str, typer.Option(help="why what was edited by hand is right; shown in every report")] = "",
    model_dir: _ModelDir = _DEFAULTS.model_dir,
    baseline_dir: _BaselineDir = _DEFAULTS.baseline_dir,
) -> None:
    """Seal baselines of before seals, or what was edited by hand and is meant so.

    A seal is a digest of every field: it shows an edit by hand in ``baseline check`` and in the next run.

    Example: quantbench baseline seal seed_cnn/ptq_float16 --reason "first value restored after a wrong restart"
    """
    from quantbench.baselines import sealing
    from quantbench.baselines.files import json_path
    from quantbench.core.environment import today
    from quantbench.records import parts
    from quantbench.reference.model import load_models, pick

    models = load_models(model_dir)
    asked = [parts(name.strip()) for name in cells.split(",") if name.strip()]
    names = pick(",".join(model for model, _ in asked), models, "CELLS")
    if not asked:
        names = [name for name in names if json_path(baseline_dir, name).exists()]
    for name in names:
        variants = {variant for model, variant in asked if model == name}
        only = set() if "" in variants else variants
        for line in sealing.seal(baseline_dir, models[name], reason, only, today()):
            typer.echo(line)


def upgrade(
    models: Annotated[str, typer.Argument(help="models, comma-separated (default: all that have a baseline)")] = "",
    model_dir: _ModelDir = _DEFAULTS.model_dir,
    baseline_dir: _BaselineDir = _DEFAULTS.baseline_dir,
) -> None:
    """Rewrite baseline files of an older format in the current one; no value changes.

    The next ``baseline update`` does so too; a commit of its own keeps the reformatting out of its diff.

    Example: quantbench baseline upgrade
    """
    from quantbench.baselines import upgrade as rewriting
    from quantbench.baselines.files import json_path
    from quantbench.reference.model import load_models, pick

    known = load_models(model_dir)
    names = pick(models, known, "MODELS") if models else [n for n in known if json_path(baseline_dir, n).exists()]
    for name in names:
        typer.echo(rewriting.upgrade(baseline_dir, name))


def check(model_dir: _ModelDir = _DEFAULTS.model_dir, baseline_dir: _BaselineDir = _DEFAULTS.baseline_dir) -> None:
    """Check the baseline files: orphaned, stale, duplicate, expired, unreadable or hand-edited entries.

    Exit status: 0 clean (notes may be listed), 1 findings.

    Example: quantbench baseline check
    """
    from quantbench.baselines import check as checkup
    from quantbench.core.environment import today
    from quantbench.reference.model import load_models

    findings = checkup.check(load_models(model_dir), baseline_dir, today())
    for finding in findings:
        typer.echo(str(finding))
    wrong = sum(not finding.note for finding in findings)
    typer.echo(f"{baseline_dir}: {wrong} findings" if wrong else f"{baseline_dir}: clean")
    raise typer.Exit(int(Exit.REGRESSED if wrong else Exit.GREEN))
