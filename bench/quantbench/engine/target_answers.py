"""Let a target answer the first test examples with the artifacts of a finished run, and judge what it answers.

Only answers are compared. How many examples a cell gets follows from its file alone, so that every machine asks the
same ones, and the accepted answers stay comparable.
"""

import datetime
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from quantbench import gate
from quantbench.baselines import target_answers as accepted_answers
from quantbench.build import arm_root
from quantbench.build.store import Store, default_root
from quantbench.core.arrays import Array, rows
from quantbench.core.distances import distances
from quantbench.engine import artifacts
from quantbench.errors import BadInput, NothingSelected
from quantbench.measure import accuracy, work
from quantbench.records import AcceptedAnswers, AnsweredCell, AnswersBaseline, Cell, Report, TargetAnswers, Verdict
from quantbench.reference.model import ReferenceModel
from quantbench.targets.failures import TargetFailed
from quantbench.targets.first_answers import first_answers
from quantbench.targets.runner import Artifact, Runner
from quantbench.tflite import graph

# Of the 93 artifacts of the pull-request gate all answer within 60 CPU seconds of one core, if each is given so many.
SECONDS = 1.0
MOST_EXAMPLES, LEAST_EXAMPLES = 200, 20
# What an emulated core takes for a call, and for each of its operations (:mod:`quantbench.measure.work`), measured on
# these artifacts: within a factor of three of it, but for some dynamic-range ones, which are faster.
_CALL, _INTEGER, _FLOAT = 1e-3, 1.2e-9, 9e-9


@dataclass(frozen=True)
class Answer:
    """Hold one cell's answers, ready to be judged; or why there are none.

    Attributes:
        failure: a phrase; empty where there are answers.
    """

    cell: Cell
    seconds: float | None = None
    given: gate.Given | None = None
    failure: str = ""


def examples_of(artifact: bytes, available: int) -> int:
    """Return how many examples an artifact is asked, by what they take on an emulated core; the same anywhere."""
    read = graph.read(artifact)
    kinds = {tensor.dtype for one in read.operators if one.name not in graph.CASTS for tensor in one.outputs}
    cost = _CALL + work.operations_of(read) * (_FLOAT if kinds & set(graph.FLOATS) else _INTEGER)
    return min(available, max(LEAST_EXAMPLES, min(MOST_EXAMPLES, int(SECONDS / cost))))


def compare(
    report: Report,
    run: Path,
    runner: Runner,
    models: Mapping[str, ReferenceModel],
    baseline_dir: Path,
    say: Callable[[str], None],
    only: Sequence[str] = (),
) -> tuple[TargetAnswers, Callable[[str], list[Path]]]:
    """Ask a target for the answers of a run's cells, and judge them.

    Args:
        runner: connected to it.
        only: cells; all that have an artifact where empty.

    Returns:
        The result, and a function that accepts what was answered, with a reason, and returns the files it wrote.

    Raises:
        BadInput: a cell is unknown, or a file of accepted answers is damaged.
        NothingSelected: no cell has an artifact.
    """
    since = time.perf_counter()
    target, machine = runner.target, runner.connect().machine
    versions = {**versions_of(runner), "ai-edge-litert": machine.litert, "numpy": machine.numpy}
    accepted = accepted_answers.load(baseline_dir, target.name)
    answers = list(_answers(_chosen(report, run, only), models, runner, accepted, say))
    given = [answer.given for answer in answers if answer.given is not None]
    alpha = gate.DEFAULT_BUDGET / max(1, sum(map(gate.tests_of, given)))
    cells = [_judged(answer, target.name, alpha) for answer in answers]
    result = TargetAnswers(
        target=target.name,
        emulated=target.emulated,
        machine=f"{machine.machine}, {machine.cpu}",
        run=report.run,
        exit_status=gate.exit_status([cell.verdict for cell in cells]),
        versions=versions,
        changed=_changed(accepted, versions),
        seconds=time.perf_counter() - since,
        cells=cells,
    )
    return result, partial(_accept, baseline_dir, accepted, result, answers, report)


def _chosen(report: Report, run: Path, only: Sequence[str]) -> list[Cell]:
    made = [cell for cell in report.cells if cell.artifact_sha256 is not None]
    unknown = sorted(set(only) - {cell.id for cell in made})
    if unknown:
        raise BadInput(f"--cells: {run} has no artifact of {', '.join(unknown)}; give cells of that run")
    chosen = [cell for cell in made if not only or cell.id in only]
    if not chosen:
        raise NothingSelected(f"{run} has no artifact that a target could answer with")
    return chosen


def _answers(
    cells: Sequence[Cell],
    models: Mapping[str, ReferenceModel],
    runner: Runner,
    accepted: accepted_answers.Accepted,
    say: Callable[[str], None],
) -> Iterator[Answer]:
    store = Store(default_root().absolute())
    store.lease()
    stored = artifacts.all_in_store(store, {cell.artifact_sha256 or "" for cell in cells})
    for number, cell in enumerate(cells, 1):
        model, path = models.get(cell.model), stored.get(cell.artifact_sha256 or "")
        say(f"{runner.target.name}: {cell.id} ({number} of {len(cells)})")
        if model is None:
            yield Answer(cell, failure="its model is not in --model-dir")
        elif path is None:
            yield Answer(cell, failure="its artifact is no longer in the cache; repeat the run first")
        else:
            artifact = Artifact(path, cell.artifact_sha256 or "")
            yield _answer(cell, model, artifact, runner, accepted.predictions.get(cell.id))


def _answer(cell: Cell, model: ReferenceModel, artifact: Artifact, runner: Runner, accepted: Array | None) -> Answer:
    n = examples_of(artifact.path.read_bytes(), len(model.pack().test))
    inputs = model.prepare(rows(model.pack().test.x, slice(0, n)))
    try:
        taken = first_answers(runner, model, artifact, n)
    except TargetFailed as failed:
        return Answer(cell, failure=str(failed))
    except (ValueError, KeyError, TypeError) as wrong:
        return Answer(cell, failure=f"it answered with other outputs than the artifact has ({wrong})")
    outputs = accuracy.answers(artifact.path, model.stateful, inputs, 1)
    here, own = model.metric.predict(outputs, inputs), accuracy.first_outputs(outputs)
    if taken.predictions.shape != here.shape or taken.outputs.shape[1:] != own.shape[1:]:
        return Answer(cell, failure="it answered with outputs of another shape than this machine's")
    kept = min(len(own), len(taken.outputs))
    given = gate.Given(
        here=here,
        there=taken.predictions,
        accepted=None if accepted is None else accepted[:n],
        same=same_answers(model),
        right=right_answers(model),
        distances=distances(taken.outputs[:kept], own[:kept]),
        nonfinite=taken.nonfinite,
    )
    return Answer(cell, taken.seconds, given)


def versions_of(runner: Runner) -> dict[str, str]:
    """Return the versions that an emulated root was made of; empty for any other target."""
    if runner.target.scheme != arm_root.NAME:
        return {}
    return dict(arm_root.root().versions)


def same_answers(model: ReferenceModel) -> Callable[[Array, Array], Array]:
    """Return (predictions, others) -> whether each is the same answer; continuous ones agree within a share."""

    def same(predictions: Array, others: Array) -> Array:
        if model.metric.correct is not None or model.metric.by_value:
            near = predictions == others
        else:
            near = np.abs(predictions - others) <= gate.WITHIN * np.max(np.abs(others), initial=0.0)
        return np.asarray(near.reshape(len(near), -1).all(axis=1))

    return same


def right_answers(model: ReferenceModel) -> Callable[[Array], Array] | None:
    """Return predictions of the first examples -> whether each is right; None where the metric knows no right ones."""
    labels, correct = model.pack().test.y, model.metric.correct
    if correct is None:
        return None
    return lambda predictions: np.asarray(correct(predictions, labels[: len(predictions)]))


def _judged(answer: Answer, target: str, alpha: float) -> AnsweredCell:
    cell = AnsweredCell(
        cell=answer.cell.id,
        artifact_sha256=answer.cell.artifact_sha256,
        verdict=Verdict.ERROR,
        message=f"no answers of {target}: {answer.failure}",
        seconds=answer.seconds,
    )
    if answer.given is None:
        return cell
    found = gate.target_answers(target, answer.given, alpha)
    return cell.model_copy(update={"examples": len(answer.given.there), **vars(found)})


def _changed(accepted: accepted_answers.Accepted, now: Mapping[str, str]) -> list[str]:
    if accepted.file is None:
        return []
    before = accepted.file.versions
    return [
        f"{name} {before.get(name, '(absent)')} → {now.get(name, '(absent)')}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]


def _accept(
    baseline_dir: Path,
    accepted: accepted_answers.Accepted,
    result: TargetAnswers,
    answers: Sequence[Answer],
    report: Report,
    reason: str,
) -> list[Path]:
    """Accept what was answered; cells that were not asked keep what they had.

    Raises:
        BadInput: there is nothing to accept, or no reason; or the folder cannot be written.
    """
    if not reason.strip():
        raise BadInput("--accept: expected a reason, found nothing; say why these answers are right")
    finite = {answer.cell.id: answer.given for answer in answers if answer.given and not answer.given.nonfinite}
    if not finite:
        raise BadInput("--accept: no cell was answered with finite outputs, so that there is nothing to accept")
    cells = dict(accepted.file.cells) if accepted.file else {}
    predictions = dict(accepted.predictions)
    for cell in result.cells:
        if cell.cell in finite:
            cells[cell.cell] = AcceptedAnswers(
                examples=cell.examples, otherwise=cell.otherwise or 0, artifact_sha256=cell.artifact_sha256 or ""
            )
            predictions[cell.cell] = finite[cell.cell].there
    file = AnswersBaseline(
        target=result.target,
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        reason=reason,
        commit=report.environment.git_commit,
        versions=result.versions,
        predictions_sha256="",
        cells=dict(sorted(cells.items())),
    )
    return accepted_answers.save(baseline_dir, file, predictions)
