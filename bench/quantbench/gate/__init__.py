"""Judge measurements: (measurement, baseline) -> judgement, as pure functions that neither measure nor print.

Each measurement is judged for drift against the baseline; the score is also judged for its drop from the float
control of the same run.
"""

from quantbench.gate._accuracy import Answers, Repeats, accuracy, floor, is_score_of, origin, repeats, show_score
from quantbench.gate._agreement import agreement, as_long, conversion, reference_kernels
from quantbench.gate._common import (
    DEFAULT_BUDGET,
    Subject,
    exit_status,
    failed,
    holm,
    missing,
    never_judged,
    not_timed,
    share,
    timed_ones,
    without_baseline,
)
from quantbench.gate._drift import DRIFT_SHARE, drift, drift_of, first_of
from quantbench.gate._exceptions import EXCUSABLE, exceptions, excused, in_force, over, soon_over
from quantbench.gate._fidelity import (
    FIDELITY_REASON,
    FLOAT_EFFECT,
    FLOAT_FIDELITY_REASON,
    SMALLEST_EFFECT,
    Outputs,
    fidelity,
    is_distance_of,
)
from quantbench.gate._gpu import GPU_AGREEMENT, GPU_SLACK, gpu, gpu_limit, no_gpu
from quantbench.gate._latency import LATENCY_TOLERANCE, LATENCY_TOLERANCE_REASON, latency, suspicious, threads
from quantbench.gate._memory import (
    ARENA_TOLERANCE,
    ARENA_TOLERANCE_REASON,
    OTHER_KERNELS_TOLERANCE,
    PEAK_TOLERANCE,
    PEAK_TOLERANCE_REASON,
    RATIO_TOLERANCE,
    RATIO_TOLERANCE_REASON,
    memory,
)
from quantbench.gate._size import SIZE_TOLERANCE_REASONS, SIZE_TOLERANCES, sizes
from quantbench.gate._structure import differences, structure

__all__ = [
    "ARENA_TOLERANCE",
    "ARENA_TOLERANCE_REASON",
    "DEFAULT_BUDGET",
    "DRIFT_SHARE",
    "EXCUSABLE",
    "FIDELITY_REASON",
    "FLOAT_EFFECT",
    "FLOAT_FIDELITY_REASON",
    "GPU_AGREEMENT",
    "GPU_SLACK",
    "LATENCY_TOLERANCE",
    "LATENCY_TOLERANCE_REASON",
    "OTHER_KERNELS_TOLERANCE",
    "PEAK_TOLERANCE",
    "PEAK_TOLERANCE_REASON",
    "RATIO_TOLERANCE",
    "RATIO_TOLERANCE_REASON",
    "SIZE_TOLERANCES",
    "SIZE_TOLERANCE_REASONS",
    "SMALLEST_EFFECT",
    "Answers",
    "Outputs",
    "Repeats",
    "Subject",
    "accuracy",
    "agreement",
    "as_long",
    "conversion",
    "differences",
    "drift",
    "drift_of",
    "exceptions",
    "excused",
    "exit_status",
    "failed",
    "fidelity",
    "first_of",
    "floor",
    "gpu",
    "gpu_limit",
    "holm",
    "in_force",
    "is_distance_of",
    "is_score_of",
    "latency",
    "memory",
    "missing",
    "never_judged",
    "no_gpu",
    "not_timed",
    "origin",
    "over",
    "reference_kernels",
    "repeats",
    "share",
    "show_score",
    "sizes",
    "soon_over",
    "structure",
    "suspicious",
    "threads",
    "timed_ones",
    "without_baseline",
]
