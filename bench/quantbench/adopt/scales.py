"""Run the float model on a few examples on each scale that its inputs may have, and drop a scale that surely loses.

A pass of a large Keras model takes longer than one of its artifact, so that all examples on every scale would take as
long as scoring a variant.
"""

from collections.abc import Callable, Sequence

import numpy as np

from quantbench.adopt import task
from quantbench.core.arrays import Array, Inputs, length, rows
from quantbench.reference.float_model import batch_of
from quantbench.reference.model import Scaled

FIRST_EXAMPLES = 24  # of each scale, before one may be dropped
# Standard errors by which a scale has to lose on these: what is dropped would not have been chosen by all of them.
SURE = 6.0


def probed(
    scales: Sequence[Scaled],
    few: Inputs,
    run: Callable[[Scaled, Inputs], task.Probe],
    judged: Callable[[list[task.Probe]], task.Judged | None],
) -> list[task.Probe]:
    """Return a probe of each scale, with all of the examples where it may be the best, else with the first ones.

    Args:
        few: the examples, as given.
        run: prepares examples on a scale, and computes the float model's outputs.
        judged: what is scored, worked out from the first examples; None where these do not tell.
    """
    first = _first(scales, few)
    if first >= length(few):
        return [run(scale, few) for scale in scales]
    probes = [run(scale, rows(few, slice(0, first))) for scale in scales]
    scored = judged(probes)
    open_still = list(range(len(scales))) if scored is None else task.maybe_best(scored, probes, SURE)
    for place in open_still:
        probes[place] = _joined(probes[place], run(scales[place], rows(few, slice(first, None))))
    return probes


def _first(scales: Sequence[Scaled], few: Inputs) -> int:
    """Return how many examples come first: whole batches, so that the outputs are those of all examples at once."""
    if len(scales) == 1:
        return length(few)
    batch = batch_of(scales[0](rows(few, slice(0, 1))))
    return batch * -(-FIRST_EXAMPLES // batch)


def _joined(one: task.Probe, other: task.Probe) -> task.Probe:
    outputs = {key: np.concatenate([values, other.outputs[key]]) for key, values in one.outputs.items()}
    if isinstance(one.inputs, dict) and isinstance(other.inputs, dict):
        more = other.inputs
        return task.Probe({name: np.concatenate([part, more[name]]) for name, part in one.inputs.items()}, outputs)
    parts: list[Array] = [given for given in (one.inputs, other.inputs) if not isinstance(given, dict)]
    return task.Probe(np.concatenate(parts), outputs)
