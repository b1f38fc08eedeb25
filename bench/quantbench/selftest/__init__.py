"""Test the gate with injected regressions: each is really made, really measured, and judged by the real judges.

Two figures result: how many of the harmful faults failed the gate, and how often a healthy artifact, made again, did.
Harm is measured, not assumed. In a converted artifact it is a drop of 0.3 pp or more, another structure, or a file that
grew by 1 % or cannot run. In training it is a drop that the judge can resolve, another structure, or an invalid
comparison (a control trained longer, an artifact of another model). In the pipeline it is everything that makes a run
judge something else than it reports. Weaker faults are shown too, to find the limit of the gate's sensitivity.
"""

from quantbench.selftest.suite import as_good_as_promised, run

__all__ = ["as_good_as_promised", "run"]
