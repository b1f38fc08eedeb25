"""The judges: (measurement, baseline) -> judgement. Pure functions; they never measure and never print.

A measurement gets two verdicts: drift against the baseline, and, for the score, the floor against the float
control measured in this same run.
"""

from bench.gate._accuracy import Answers, Retrained, accuracy, floor, origin, retrained, show_score
from bench.gate._agreement import agreement, as_long, conversion, reference_kernels
from bench.gate._common import (
    DEFAULT_BUDGET,
    Subject,
    exit_status,
    failed,
    missing,
    never_judged,
    not_timed,
    share,
    without_baseline,
)
from bench.gate._latency import latency
from bench.gate._size import SIZE_TOLERANCE_REASONS, SIZE_TOLERANCES, sizes
from bench.gate._structure import differences, structure

__all__ = [
    "DEFAULT_BUDGET",
    "SIZE_TOLERANCES",
    "SIZE_TOLERANCE_REASONS",
    "Answers",
    "Retrained",
    "Subject",
    "accuracy",
    "agreement",
    "as_long",
    "conversion",
    "differences",
    "exit_status",
    "failed",
    "floor",
    "latency",
    "missing",
    "never_judged",
    "not_timed",
    "origin",
    "reference_kernels",
    "retrained",
    "share",
    "show_score",
    "sizes",
    "structure",
    "without_baseline",
]
