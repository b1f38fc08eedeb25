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

FIRST_EXAMPLES = 24  # of each scale, before one may be dropped; then after twice as many, and so on


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
        judged: what is scored, worked out from the examples so far; None where these do not tell.
    """
    count, done = length(few), _first(scales, few)
    if done >= count:
        return [run(scale, few) for scale in scales]
    probes = [run(scale, rows(few, slice(0, done))) for scale in scales]
    left = list(range(len(scales)))
    while done < count:
        scored = judged(probes)
        if scored is not None:
            left = [left[i] for i in task.maybe_best(scored, [probes[place] for place in left])]
        stop = count if len(left) == 1 else min(count, 2 * done)
        for place in left:
            probes[place] = _joined(probes[place], run(scales[place], rows(few, slice(done, stop))))
        done = stop
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
