"""Test the gate with injected regressions: each is really made, really measured, and judged by the real judges.

Two figures result: how many of the harmful faults failed the gate, and how often a healthy artifact, made again, did.
Harm is measured, and how much is harm was fixed before anything was judged, whatever the judges can resolve. In a
converted artifact, or in what a runtime makes of a healthy one, it is a drop of 0.3 pp or more, a class that loses 5 pp
of its recall, outputs that move by 5 %, another structure, or a file that grew by 1 % or cannot run. In training it is
half a point lost on the mean of the trainings with that fault, another structure, or another training than the accepted
one (its steps, rate, examples or control). In the pipeline it is everything that makes a run judge something else than
it reports. Weaker faults are shown too, to find the limit of the gate's sensitivity.

Artifacts of several models are tested. A fault that a model has no place for is listed as not applicable, and counts
neither as caught nor as missed.
"""

from quantbench.selftest.suite import as_good_as_promised, default_models, run

__all__ = ["as_good_as_promised", "default_models", "run"]
