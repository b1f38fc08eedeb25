"""Running a model of the user's own: once (``try``), or for good (``adopt``)."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench import acceptance, advice, baselines, trial
from bench.datasets import read_npz
from bench.errors import BadInput, Exit
from bench.options import RunOptions
from bench.quiet import output_to
from bench.records import Kind
from bench.reference import ReferenceModel, load_file
from bench.session import Session

Say = Callable[[str], None]


def try_once(
    given: trial.Given, folder: Path, variants: str, report_dir: Path, latency_budget: float, say: Say
) -> Exit:
    """Quantize, measure, rank, advise; the reports are those of a run.

    Returns:
        GREEN where a variant or float32 can be advised, NOT_MEASURED where even float32 could not be made.

    Raises:
        BadInput: see :func:`bench.trial.understand`.
    """
    if latency_budget < 0:
        raise BadInput(f"--latency-budget: expected seconds, or 0 for none, found {latency_budget}")
    with output_to(folder / "loading.log"):
        understood = trial.understand(given, "model", folder)
    model = understood.model
    for note in understood.notes:
        say(note)
    timed = latency_budget > 0
    options = RunOptions(variants=variants, report_dir=report_dir, latency_budget=latency_budget or 1.0)
    session = _run(model, options, {Kind.ACCURACY, Kind.SIZE} | ({Kind.LATENCY} if timed else set()), say)
    session.finish(interrupted=False, notes=understood.notes)
    predictions = read_npz(session.folder.path / "predictions" / f"{model.name}.npz", "predictions")
    found = advice.candidates(session.report, model.metric, predictions, model.pack().test.y, given.max_drop)
    say("")
    say(advice.table(found, model.metric.unit, model.metric.name))
    for line in advice.refused(session.report):
        say(f"refused: {line}")
    say("")
    if not found:
        say("The float model itself could not be converted or scored, so nothing can be advised.")
        return Exit.NOT_MEASURED
    say(advice.sentence(found, model.metric.unit, given.max_drop))
    say(f"report: {session.folder.path / 'report.md'}")
    return Exit.GREEN


def adopt_for_good(
    given: trial.Given, name: str, model_dir: Path, baseline_dir: Path, report_dir: Path, say: Say
) -> Exit:
    """Write the model's file, weights and data, measure it once with five seeds, and record that as its baseline.

    Raises:
        BadInput: see :func:`bench.trial.understand`; or the name is taken.
    """
    trial.check_name(name)
    if (model_dir / f"{name}.py").exists() or baselines.json_path(baseline_dir, name).exists():
        raise BadInput(
            f"--name: {name} exists already in {model_dir} or {baseline_dir}; give another, or remove it first"
        )
    if trial.is_code(given.model):
        raise BadInput(f"{given.model}: a .py model is a reference model already; copy it into {model_dir}")
    # Understood aside first, so that a model that is refused leaves nothing in the user's folder.
    with tempfile.TemporaryDirectory(prefix="quantbench-") as aside:
        with output_to(Path(aside) / "loading.log"):
            understood = trial.understand(given, name, Path(aside) / "model")
        shutil.copytree(Path(aside) / "model", model_dir, dirs_exist_ok=True)
    [model] = load_file(model_dir / f"{name}.py")
    for note in understood.notes:
        say(note)
    options = RunOptions(report_dir=report_dir, seeds=acceptance.MINIMUM_SEEDS)
    session = _run(model, options, {Kind.ACCURACY, Kind.SIZE}, say)
    session.finish(interrupted=False, notes=understood.notes)
    acceptance.check_report(session.report, session.folder.path)
    proposal = acceptance.propose(
        session.report, session.folder.path, name, baselines.Baseline(), f"adopted from {Path(given.model).name}"
    )
    written = [model_dir / f"{name}.py", *baselines.save(baseline_dir, proposal.file, proposal.predictions)]
    for path in written:
        say(f"wrote {path}")
    say(f"gate it with: quantbench run --model-dir {model_dir} --baseline-dir {baseline_dir}")
    return Exit.GREEN


def _run(model: ReferenceModel, options: RunOptions, kinds: set[Kind], say: Say) -> Session:
    session = Session(options, say, models={model.name: model})
    wanted = {cell_id: set(kinds) for cell_id in session.cell_ids()}
    session.plan(wanted)
    for kind in (Kind.ACCURACY, Kind.SIZE, Kind.LATENCY):
        for cell_id in wanted:
            if kind in kinds:
                session.judge(cell_id, kind)
    for cell_id, kind in session.unjudged_controls():
        session.judge(cell_id, kind)
    return session
