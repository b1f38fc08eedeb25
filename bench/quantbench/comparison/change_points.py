"""Where the level of a noisy series changes, by ruptures.

It finds the segmentation into means with the least squares under a penalty. Sources: Truong, Oudre & Vayatis 2020,
"Selective review of offline change point detection methods"; PELT: Killick, Fearnhead & Eckley 2012.
"""

from quantbench.core.arrays import Array


def starts(x: Array, penalty: float) -> list[int]:
    """Where in ``x`` of shape (n,) a new level starts, oldest first.

    Args:
        penalty: of one more level, in squares.
    """
    import ruptures

    search = ruptures.KernelCPD(kernel="linear", min_size=3)  # one or two runs that stand out are no new level
    return [int(end) for end in search.fit_predict(x, pen=penalty)[:-1]]
