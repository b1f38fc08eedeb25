"""Make, score and time the variants of one model: everything that advice is given from.

What cannot work is known before anything starts; then comes a shortlist, and of that only what can still win is timed.
"""

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from quantbench.adopt import data, ranking, task, understand
from quantbench.build import preflight
from quantbench.core.arrays import Array
from quantbench.core.options import RunOptions
from quantbench.core.signals import settle
from quantbench.engine.cell import CellId
from quantbench.engine.progress import Progress, on_terminal
from quantbench.engine.session import Session
from quantbench.engine.whole_run import whole_run
from quantbench.engine.workers.task import Outcome
from quantbench.errors import Exit
from quantbench.records import Kind, cell_key, parts
from quantbench.reference.datasets import read_predictions
from quantbench.reference.model import ReferenceModel
from quantbench.variants import FLOAT_CONTROL, VARIANTS, Variant, of_every_model

Say = Callable[[str], None]

# What an expert would try first, and why. Everything else is a variation of these, or for hardware that needs it.
SHORTLIST = {
    FLOAT_CONTROL: "what all others are compared with",
    "ptq_float16": "half the size, with almost the same outputs: the fallback where int8 loses too much",
    "ptq_dynamic_wi8_afp32": "a quarter of the size without calibration data; activations keep their range",
    "aeq_dynamic_wi8_afp32": "the same by the other tool, which also quantizes small layers and other operators",
    "ptq_static_wi8_ai8": "a quarter of the size and the fastest kernels, with ranges of min and max",
    "aeq_static_wi8_ai8": "the same by the other tool, whose ranges of activations are found in another way",
    "aeq_static_wi8_ai8_minmax": "that tool with ranges of min and max, where its own average cuts them off",
    "mixed_static_wi8_ai8_ends_float": "int8 with the first and the last layer in float, which lose most",
    "aeq_dynamic_wi4_octav_afp32": "an eighth of the size, with clipped weights: whether int4 is worth a look",
    "qat_wi8_ai8": "int8 that training has made up for, where there is data to train on",
}
MOST_REASONS = 3  # lines on what is skipped
CANDIDATE_SECONDS = 1.0  # of timing: enough to tell 10 %, and most of the rest is the start of six processes


@dataclass(frozen=True)
class Scored:
    """Describe a variant that was made and scored, as far as it decides what is timed.

    Attributes:
        kernels: what decides its speed besides the operators: dtypes of weights and activations.
        within, beyond: whether its drop is surely within the limit, or surely beyond it.
        drop: accuracy drop from float32, in the metric's unit.
    """

    variant: str
    sha256: str
    bytes: int
    kernels: tuple[str, str]
    within: bool
    beyond: bool
    drop: float


def search(
    understood: understand.Understood,
    options: RunOptions,
    kinds: set[Kind],
    say: Say,
    advice: Literal["", "short", "all"] = "",
    progress: Callable[[Say], Progress] = on_terminal,
) -> tuple[Session, Exit, bool]:
    """Run what advice needs for one model; an interruption still leaves a partial report.

    Args:
        options: its ``variants`` are what is tried.
        advice: what is tried where the options name no variants: ``short`` the shortlist, without memory; ``all`` every
            variant; of both, only what can still win is timed, and briefly. Where empty, everything is tried and timed.
        progress: takes ``say``, and returns what shows the progress.

    Returns:
        The run, its exit status, and whether it finished.
    """
    model = understood.model
    refused = refusals(model, VARIANTS.values())
    narrow = bool(advice) and not options.variants
    short = narrow and advice == "short"
    if narrow:
        names = [name for name in (shortlist(refused) if short else of_every_model()) if name not in refused]
        seconds = min(CANDIDATE_SECONDS, options.latency_budget)
        options = replace(options, variants=",".join(names), latency_budget=seconds)
    kinds = kinds - {Kind.MEMORY} if short else kinds
    session = Session(options, say, models={model.name: model}, start_up=not narrow)
    session.progress = progress(say)
    settle()
    tried = [name for name in session.variant_names if name not in refused]
    shown = "variant" if len(tried) == 1 else "variants"
    of = len(of_every_model())
    say(f"making and scoring {len(tried)} {shown} of {of}" + (": the shortlist (--all for all)" * short))
    skipped = told(refused) if narrow else []
    for line in few_reasons(skipped):
        say(line)
    wanted = dict.fromkeys(session.cell_ids(), kinds)

    def worth(outcomes: Mapping[CellId, Outcome]) -> Collection[CellId]:
        found = scored(model, outcomes)
        # A variant that is better in the main output may be the worse one in another.
        return [cell_key(model.name, name) for name in (worth_timing(found) if not model.heads else _names(found))]

    status, how = whole_run(session, wanted, [*understood.notes, *skipped], worth if narrow else None)
    if how.interrupted:
        say(f"interrupted; what was finished is in {session.folder.path / 'report.md'}")
    return session, status, not how.interrupted


def _names(found: Sequence[Scored]) -> list[str]:
    return [one.variant for one in found]


def run_predictions(session: Session, model: str) -> dict[str, Array]:
    """Read variant -> predictions of the first seed; none where no cell was made."""
    path = session.folder.path / "predictions" / f"{model}.npz"
    return read_predictions(path, "predictions", inside=session.folder.path) if path.exists() else {}


# ---------------------------------------------------------------- before anything starts


def refusals(model: ReferenceModel, variants: Collection[Variant]) -> dict[str, str]:
    """Return variant -> why it cannot be made, known from the model's form and data alone."""
    found = {variant.name: preflight.refusal(model, variant) for variant in variants}
    return {name: data.with_option(reason) for name, reason in found.items() if reason}


def shortlist(refused: Mapping[str, str]) -> list[str]:
    """Return the variants of the shortlist that exist and may work."""
    return [name for name in SHORTLIST if name in VARIANTS and name not in refused]


def told(refused: Mapping[str, str]) -> list[str]:
    """Return one line a reason for everything that was refused before it was tried."""
    by_reason = Counter(refused.values())
    return [f"{count} variant{'s' * (count > 1)} skipped: {reason}" for reason, count in by_reason.most_common()]


def few_reasons(lines: Sequence[str]) -> list[str]:
    """Return the first of these lines, and how many more there are in the report."""
    if len(lines) <= MOST_REASONS:
        return list(lines)
    kept = lines[: MOST_REASONS - 1]
    return [*kept, f"… and {len(lines) - len(kept)} more reasons in report.md"]


# ---------------------------------------------------------------- what can still win


def scored(model: ReferenceModel, outcomes: Mapping[CellId, Outcome]) -> list[Scored]:
    """Compare each variant with float32 on the same examples; those that failed are left out."""
    by_name = {parts(cell_id)[1]: outcome for cell_id, outcome in outcomes.items()}
    control = by_name.get(FLOAT_CONTROL)
    if control is None or control.predictions is None:
        return []
    good = {
        name: one
        for name, one in by_name.items()
        if one.failure is None and one.predictions is not None and one.sizes and not one.nonfinite
    }
    predictions = [one.predictions for name, one in good.items() if name != FLOAT_CONTROL]
    alpha = ranking.alpha_each([each for each in predictions if each is not None])
    labels = model.pack().test.y
    return [_scored(model, name, one, control.predictions, labels, alpha) for name, one in good.items()]


def _scored(model: ReferenceModel, name: str, one: Outcome, control: Array, labels: Array, alpha: float) -> Scored:
    assert one.predictions is not None
    variant = VARIANTS[name]
    floor = model.floor(name, variant.family)
    limit = math.inf if floor is None else floor.max_drop
    drop = ranking.drop_between(model.metric, one.predictions, control, labels)
    within, beyond = drop.p_below(limit) <= alpha, drop.estimate > limit and drop.p_above(limit) <= alpha
    beyond = beyond or (control.dtype.kind == "f" and bool(task.dead_columns(one.predictions, control)))
    kernels = (variant.taxonomy.weights.split()[0], variant.taxonomy.activations.split(";")[0])
    size = 0 if one.sizes is None else one.sizes["size"]
    return Scored(name, one.artifact_sha256 or "", size, kernels, within, beyond, drop.estimate)


def worth_timing(found: Sequence[Scored]) -> list[str]:
    """Return the variants whose speed can still decide, each artifact once, in the order given.

    Left out is what is surely beyond the limit, and what another variant with the same kernels, and so about the same
    speed, beats: it is no larger, has no larger drop, and is as surely within the limit.
    """
    kept: list[Scored] = []
    for one in found:
        if one.variant == FLOAT_CONTROL or not (one.beyond or any(one.sha256 == other.sha256 for other in kept)):
            kept.append(one)
    return [
        one.variant
        for place, one in enumerate(kept)
        if one.variant == FLOAT_CONTROL or not any(_beats(other, one, i < place) for i, other in enumerate(kept))
    ]


def _beats(other: Scored, one: Scored, comes_first: bool) -> bool:
    if other is one or other.kernels != one.kernels or other.variant == FLOAT_CONTROL:
        return False
    if other.within < one.within or other.bytes > one.bytes or other.drop > one.drop:
        return False
    better = other.within > one.within or other.bytes < one.bytes or other.drop < one.drop
    return better or comes_first
