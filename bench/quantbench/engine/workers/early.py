"""Set a variant aside where a random part of the examples shows that it is surely beyond its limit.

A variant that is set aside is never shipped, so that the chance of shipping one that breaks the limit only falls. What
can go wrong is that a variant within the limit is set aside: of all variants and looks together in at most ``LEVEL`` of
the runs, besides what the decision on all examples allows.
"""

from functools import cache

from quantbench.build import artifact as build
from quantbench.build.store import Store
from quantbench.core.arrays import Array
from quantbench.core.drops import FractionDrop, fraction_drop
from quantbench.measure import accuracy, chunks
from quantbench.reference.model import ReferenceModel
from quantbench.variants import FLOAT_CONTROL, VARIANTS

LEVEL = 0.001
SHARES = (1 / 16, 1 / 4)  # of the examples, at each look
LEAST_EXAMPLES = 100  # of a part: fewer tell only a broken artifact


class SurelyBeyond(Exception):
    """Raised to end an evaluation; the message says why, in one sentence."""


def level_each(variants: int) -> float:
    """Share ``LEVEL`` evenly over the variants and the looks at each (Bonferroni)."""
    return LEVEL / (max(1, variants) * len(SHARES))


def is_beyond(drop: FractionDrop, limit: float, level: float) -> bool:
    """Check whether a drop on a part of the examples is surely above the limit."""
    return drop.estimate > limit and drop.p_above(limit) <= level


def looks(
    model: ReferenceModel, variant: str, train_seed: int | None, level: float, store: Store
) -> chunks.Looks | None:
    """Return when to look at a variant's predictions; None where it is scored whole.

    That is where others are compared with it, where the score is no fraction of right predictions, so that no test
    holds at so small a level, or where another output may be what decides.

    Args:
        level: one-sided, of one look; 0 where nothing is set aside.
    """
    known = VARIANTS.get(variant)
    floor = None if known is None else model.floor(variant, known.family)
    count = len(model.pack().test)
    parts = tuple(part for part in (int(share * count) for share in SHARES) if part >= LEAST_EXAMPLES)
    if not level or not parts or floor is None or known is None or known.family == "control":
        return None
    if model.metric.correct is None or model.heads or model.stateful:
        return None
    correct, limit, scale = model.metric.correct, floor.max_drop, model.metric.scale

    @cache
    def float32() -> Array | None:
        built = build.find(model, VARIANTS[FLOAT_CONTROL], 0, train_seed, store)
        found = None if built is None or built.sha256 is None else accuracy.find(built.sha256, model, store)
        return None if found is None else found.predictions

    def look(places: Array, predictions: dict[str, Array]) -> None:
        control = float32()
        if control is None:  # it is being scored
            float32.cache_clear()
            return
        labels = model.pack().test.y[places]
        drop = fraction_drop(correct(predictions[accuracy.MAIN], labels), correct(control[places], labels), scale)
        if is_beyond(drop, limit, level):
            raise SurelyBeyond(
                f"{drop.estimate:.3g} {model.metric.unit} worse than float32 on {len(places):,} of {count:,} examples, "
                f"drawn at random (at least {drop.lower(level):.3g}), where {limit:.3g} is allowed, so that the others "
                "were not scored"
            )

    return chunks.Looks(parts, look)
