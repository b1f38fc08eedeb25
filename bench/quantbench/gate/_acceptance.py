"""Suggest accepting a change only where that turns the cell green."""

from collections.abc import Sequence

from quantbench.records import Action, Judgement, Verdict

_UPDATE = ["quantbench", "baseline", "update"]


def without_vain_acceptance(judgements: Sequence[Judgement]) -> list[Judgement]:
    """Remove the suggestion to accept a changed score where its drop from float32 is beyond the release limit.

    No update of a baseline moves that limit, so the cell would be red again.

    Args:
        judgements: all of one cell's accuracy, or all of the cell.
    """
    beyond = {one.kind for one in judgements if one.against == "floor" and one.verdict is Verdict.REGRESSED}
    return [_without(one) if one.kind in beyond and one.against == "baseline" else one for one in judgements]


def _without(judgement: Judgement) -> Judgement:
    kept = [action for action in judgement.actions if not _accepts(action)]
    return judgement if len(kept) == len(judgement.actions) else judgement.model_copy(update={"actions": kept})


def _accepts(action: Action) -> bool:
    return action.command[: len(_UPDATE)] == _UPDATE
