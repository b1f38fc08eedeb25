"""Judge what chance moves in a score: hypotheses that share one budget, classes and slices, losses, trainings, pools.

:func:`quantbench.gate.accuracy` is the judge of a cell's score; the modules here hold its parts.
"""
