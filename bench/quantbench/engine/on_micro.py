"""Run a cell's artifact on TFLite-Micro, compare its answers with the reference kernels', and judge both."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from quantbench import gate
from quantbench.build.store import Store
from quantbench.core.arrays import Array
from quantbench.core.stats import pair
from quantbench.engine.context import Rules
from quantbench.engine.kept import Kept
from quantbench.engine.results import CellResult, Results
from quantbench.engine.workers.task import Outcome
from quantbench.measure import micro
from quantbench.records import Judgement, Measurement, Micro, MicroAnswers
from quantbench.records.measurements import MICRO_ARENA
from quantbench.reference.metrics import ROUNDING, Metric
from quantbench.reference.model import ReferenceModel

# Runs an artifact: it, its hash and its model -> what became of it.
Run = Callable[[Outcome, ReferenceModel], micro.OnMicro]


def runner(store: Store) -> Run:
    """Return what runs an artifact through the store, unless its worker found out nothing in this run."""

    def run(outcome: Outcome, model: ReferenceModel) -> micro.OnMicro:
        if outcome.micro_failure:
            return micro.OnMicro(failure=outcome.micro_failure)
        assert outcome.artifact is not None
        return micro.through_store(outcome.artifact, outcome.artifact_sha256 or "", model, store)

    return run


def judge(result: CellResult, results: Results, rules: Rules, run: Run, kept: Kept | None = None) -> list[Judgement]:
    """Run the first seed's artifact of a cell, keep what was found in its result, and judge it."""
    cell, first = result.cell, result.outcomes[0]
    taken = run(first, cell.model)
    found = None if taken.failure else record(taken, first, cell.model, kept)
    alone = replace(results.of(cell.id).alone, micro=found, micro_measured=measured(taken, found))
    result = results.join(cell.id, alone)
    return gate.micro(rules.subject(cell), found, dict(result.measurements), taken.failure, rules.accepted(cell))


def record(taken: micro.OnMicro, outcome: Outcome, model: ReferenceModel, kept: Kept | None = None) -> Micro:
    """Return what a report says of it."""
    reference = outcome.others.get("litert-reference")
    answers = None
    if taken.predictions is not None and reference is not None:
        n = min(len(reference), len(taken.predictions))
        new, old = taken.predictions[:n], reference[:n]
        anew = partial(compared, model.metric, new, old, model.pack().test.y[:n])
        answers = anew() if kept is None else kept.compared(model, new, old, anew)
    head, tail = (None, None) if taken.arena is None else (taken.arena.head, taken.arena.tail)
    return Micro(version=taken.version, refusal=taken.refusal, head=head, tail=tail, answers=answers)


def measured(taken: micro.OnMicro, found: Micro | None) -> dict[str, Measurement]:
    """Return the arena in bytes, and the share of examples that are answered as by the reference kernels."""
    measurements = {}
    if taken.arena is not None:
        measurements[MICRO_ARENA] = Measurement(value=taken.arena.total, unit="bytes", n=1)
    if found is not None and found.answers is not None:
        n = found.answers.examples
        share = 1 - len(found.answers.differing) / n
        measurements[gate.MICRO_AGREEMENT] = Measurement(value=share, unit="fraction", n=n)
    return measurements


def compared(metric: Metric, new: Array, reference: Array, labels: Array) -> MicroAnswers:
    """Compare two runtimes' predictions of the same examples, one by one."""
    if new.shape != reference.shape:
        return MicroAnswers(examples=len(reference), differing=list(range(len(reference))))
    places = [int(i) for i in np.flatnonzero(_differ(metric, new, reference))]
    answers = MicroAnswers(examples=len(new), differing=places)
    if metric.undefined is None or not metric.undefined(labels):
        scores = {"score": metric.value(new, labels), "reference_score": metric.value(reference, labels)}
        if all(map(math.isfinite, scores.values())):
            answers = answers.model_copy(update=scores)
    if metric.correct is None:
        return answers
    pairs = pair(metric.correct(new, labels), metric.correct(reference, labels))
    return answers.model_copy(update={"lost": pairs.lost, "gained": pairs.gained})


def _differ(metric: Metric, new: Array, reference: Array) -> Array:
    """Return which examples differ, shape (n,); numbers by more than a share of the largest one."""
    differing = new != reference
    if metric.kind != "right_or_wrong" and not metric.by_value:
        within = ROUNDING * float(np.max(np.abs(reference), initial=0.0))
        differing = ~(np.abs(new - reference) <= within)  # what is no number differs
    return np.asarray(differing.reshape(len(new), -1).any(axis=1))
