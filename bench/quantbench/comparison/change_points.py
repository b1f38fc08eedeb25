"""Where the level of a noisy series changes, by ruptures.

It finds the segmentation into means with the least squares under a penalty. Sources: Truong, Oudre & Vayatis 2020,
"Selective review of offline change point detection methods"; PELT: Killick, Fearnhead & Eckley 2012.
"""

import numpy as np

from quantbench.core.arrays import Array


def starts(x: Array, penalty: float) -> list[int]:
    """Where in ``x`` of shape (n,) a new level starts, oldest first.

    Args:
        penalty: of one more level, in squares.
    """
    import ruptures

    search = ruptures.KernelCPD(kernel="linear", min_size=3)  # one or two runs that stand out are no new level
    return [int(end) for end in search.fit_predict(x, pen=penalty)[:-1]]


def best_step(y: Array) -> float:
    """Compute the residual sum of squares of the best single step."""
    n = np.arange(1, len(y))
    sums, squares = np.cumsum(y), float(np.sum(y**2))
    before, after = sums[:-1], sums[-1] - sums[:-1]
    return float(np.min(squares - before**2 / n - after**2 / (len(y) - n)))
