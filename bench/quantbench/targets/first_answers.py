"""Ask a target for its answers to a fixed number of first examples, and for nothing else."""

import time

from quantbench.reference.model import ReferenceModel
from quantbench.targets.answers import Collected
from quantbench.targets.examples import Examples
from quantbench.targets.failures import WORTH_ANOTHER_TRY, TargetFailed
from quantbench.targets.runner import LIMIT_SECONDS, Artifact, Runner, Taken

SECONDS = 120.0  # for one cell: ten times what the slowest takes on an emulated core


def first_answers(runner: Runner, model: ReferenceModel, artifact: Artifact, count: int) -> Taken:
    """Return the answers to the first ``count`` examples; what a lost connection cost is asked once more.

    Raises:
        TargetFailed: it has none, or not all within :data:`SECONDS`.
    """
    examples = Examples(model, count)
    try:
        return _asked(runner, model, artifact, examples)
    except TargetFailed as failure:
        runner.close()
        if failure.code not in WORTH_ANOTHER_TRY:
            raise
    try:
        return _asked(runner, model, artifact, examples)
    except TargetFailed:
        runner.close()
        raise


def _asked(runner: Runner, model: ReferenceModel, artifact: Artifact, examples: Examples) -> Taken:
    session, got = runner.connect(), Collected(model, examples)
    runner.sent += session.bring([artifact.file(), *examples.files()])
    since = time.monotonic()
    for ports, some in session.answers(
        artifact.sha256, examples.inputs, 0, examples.count, SECONDS, LIMIT_SECONDS, model.stateful
    ):
        got.add(ports, some)
    seconds = time.monotonic() - since
    if got.count < examples.count:
        raise TargetFailed("slow", f"it answered {got.count} of {examples.count} examples within {SECONDS:.0f} s")
    return Taken(got.predictions(), got.outputs(), got.nonfinite, seconds=seconds)
