"""What the gate does with planted regressions: each is made for real, measured for real, and judged by the real judges.

Two figures come out: how many of the plants that do harm were called red, and how often a healthy artifact, made again,
was. Harm is measured, not claimed. In a converted artifact it is a drop of 0.3 pp or more, another structure, a file
that grew by 1 % or does not run. In what trains it is a drop that the judge says it can resolve, another structure, or
a comparison that is none (a control trained longer, an artifact of another model). In the pipeline it is everything
that makes a run judge something else than it says. Weaker plants are shown beside, where the gate's sight ends.
"""

from quantbench.selftest.suite import as_good_as_promised, run

__all__ = ["as_good_as_promised", "run"]
