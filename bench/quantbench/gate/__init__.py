"""Judge measurements: (measurement, baseline) -> judgement, as pure functions that neither measure nor print.

Each measurement is judged for drift against the baseline; the score is also judged for its drop from the float
control of the same run.
"""

from quantbench.gate._accuracy import Answers, accuracy, first_seed, is_score_of, origin
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
from quantbench.gate._gpu import GPU_AGREEMENT, GPU_SLACK, gpu, gpu_limit, no_gpu
from quantbench.gate._latency import LATENCY_TOLERANCE, LATENCY_TOLERANCE_REASON, latency, suspicious, threads
from quantbench.gate._limits import (
    DropSeen,
    Spread,
    beside_limits,
    drop_seen,
    floor,
    limit_alpha,
    spread_of_drops,
    wants_more_seeds,
    with_limits,
)
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
from quantbench.gate.score.flips import Examples, Flips, divisions_count, flips, right_before_less_now
from quantbench.gate.score.hypotheses import Hypothesis, Thresholds, alarms, even_thresholds, split, thresholds
from quantbench.gate.score.notes import of_split
from quantbench.gate.score.parts import SUSPICIOUS, judge_parts, moved_parts
from quantbench.gate.score.pooled import Moved, Pool, pools
from quantbench.gate.score.trainings import Repeats, Seeds, judge_seeds, least_sd, repeats, seeds
from quantbench.gate.score.words import show_score

__all__ = [
    "ARENA_TOLERANCE",
    "ARENA_TOLERANCE_REASON",
    "DEFAULT_BUDGET",
    "DRIFT_SHARE",
    "EXCUSABLE",
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
    "SUSPICIOUS",
    "Answers",
    "DropSeen",
    "Examples",
    "Flips",
    "Hypothesis",
    "Moved",
    "Pool",
    "Repeats",
    "Seeds",
    "Spread",
    "Subject",
    "Thresholds",
    "accuracy",
    "agreement",
    "alarms",
    "as_long",
    "beside_limits",
    "conversion",
    "differences",
    "divisions_count",
    "drift",
    "drift_of",
    "drop_seen",
    "even_thresholds",
    "exceptions",
    "excused",
    "exit_status",
    "failed",
    "first_of",
    "first_seed",
    "flips",
    "floor",
    "gpu",
    "gpu_limit",
    "holm",
    "in_force",
    "is_score_of",
    "judge_parts",
    "judge_seeds",
    "latency",
    "least_sd",
    "limit_alpha",
    "memory",
    "missing",
    "moved_parts",
    "never_judged",
    "no_gpu",
    "not_timed",
    "of_split",
    "origin",
    "over",
    "pools",
    "reference_kernels",
    "repeats",
    "right_before_less_now",
    "seeds",
    "share",
    "show_score",
    "sizes",
    "soon_over",
    "split",
    "spread_of_drops",
    "structure",
    "suspicious",
    "threads",
    "thresholds",
    "timed_ones",
    "wants_more_seeds",
    "with_limits",
    "without_baseline",
]
