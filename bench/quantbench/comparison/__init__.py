"""Compare two runs, measurement by measurement: (records, stored predictions) of both -> Comparison, as pure functions.

Baselines play no part: the older run is the reference. Rules, tolerances and tests are those of the judges, two-sided:
a change beyond its tolerance and, where chance can move it, beyond chance, is worse or better.
"""

from quantbench.comparison._compare import compare
from quantbench.comparison._types import Comparison, Item, Outcome, Side, Timed, Truth

__all__ = ["Comparison", "Item", "Outcome", "Side", "Timed", "Truth", "compare"]
