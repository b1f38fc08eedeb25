"""Put into words where an artifact's error comes from: the cause first, then the operators, on one screen."""

import math
import re
from collections import Counter
from collections.abc import Sequence

from tabulate import tabulate

from quantbench.core.echo import line
from quantbench.records import EXPLAINS, ONE_MODEL, Attribution, Change, Located, OperatorError, Suspect, Untried

_GONE = {
    "float": "the outputs' squared error",
    "range": "the outputs' squared error",
    "accepted": "what the outputs' squared error grew by since then",
}
MOST_ROWS = 8
MOST_CHANGES = 4
_NAMES = 3  # of operators that came or went
_WHY = {
    "partner": "{reference} has no operator of this step",
    "inputs": "its partner in {reference} reads something else",
    "subgraph": "it calls other subgraphs than in {reference}",
    "weights": "its weights are not float in {reference}",
    "shapes": "it reads or writes tensors of other shapes or types than in {reference}",
    "runtime": "LiteRT does not run it with float parts",
}
REPAIRS = {
    "float": "left in float",
    "range": "with the range of the float model's values",
    "accepted": "with the accepted weights, options and ranges",
}


def screen(found: Attribution) -> str:
    """Return the explanation as text of at most 30 lines."""
    changed = changes_in_words(found.changes)
    since = ["Changed since the accepted artifact:", *(f"  {line}" for line in changed)] if changed else []
    parts = [first(found), cause(found), untried(found), *since, unmatched(found), "", _table(found)]
    return "\n".join(part for part in parts if part is not None)


def first(found: Attribution) -> str:
    """Say what was compared, and how far apart the two are."""
    if found.score is None or found.float_score is None:
        return f"{found.subject} against {found.reference}, on {found.examples} examples{_distance(found)}"
    whose = f"output {found.output}: " if found.output else ""
    drop = _drop(found, found.score)
    moved = f"{_amount(abs(drop), found)} {'worse' if drop > 0 else 'better'}" if drop else "no difference"
    scores = [shown_score(value, found) for value in (found.score, found.float_score)]
    return (
        f"{found.subject} against {found.reference}: {whose}{found.metric} {scores[0]} where {found.reference} has "
        f"{scores[1]}: {moved} ({_scored_on(found)}){_distance(found)}"
    )


def _scored_on(found: Attribution) -> str:
    return f"first {found.scored:,} examples"


def _distance(found: Attribution) -> str:
    if found.output_error is None:
        return ""
    return f"; outputs differ by {100 * math.sqrt(found.output_error):.3g} % (RMS, {found.examples} examples)"


def _amount(value: float, found: Attribution) -> str:
    return f"{value:.2f} {found.unit}" if found.scale == 100 else f"{value:.3g} {found.unit}"


def _drop(found: Attribution, score: float) -> float:
    """Return by how much a score is worse than the reference's, in the metric's unit."""
    lost = (found.float_score or 0.0) - score
    return (lost if found.higher_is_better else -lost) * found.scale


def shown_score(value: float, found: Attribution) -> str:
    """Format a score of the model's metric."""
    return f"{100 * value:.2f} %" if found.scale == 100 else f"{value:.4g}"


def place(one: OperatorError | Suspect | Untried | Change | Located) -> str:
    """Name an operator by its kind and its layer."""
    return line(f"{one.operator} {layer(one.tensor)}".strip())


def numbered(one: OperatorError | Suspect) -> str:
    """Name an operator by its position and kind; what is no operator, the model's input, by its kind alone."""
    return f"{one.position} {one.operator}" if one.position >= 0 else one.operator


def operator_of(one: Suspect | Located) -> str:
    """Name the operator of a cause; of the model's input its quantization."""
    if one.position < 0 or (one.position == 0 and one.operator == "QUANTIZE"):
        return "the quantization of the model's input"
    return place(one)


def explained(place: Located) -> str:
    """Say how much of the loss a repair of the operator gives back; the share of the error where that is not known."""
    if place.lost is not None and place.back is not None and place.lost > 0 and place.back > 0:
        if place.back >= place.lost:
            return f", which explains all of {place.lost:.2f} {place.unit}"
        return f", which explains {place.back:.2f} of {place.lost:.2f} {place.unit}"
    return f", which explains {100 * place.recovered:.0f} % of the outputs' error"


_PREFIX = re.compile(r"^(?:StatefulPartitionedCall[^/]*|model(?:_\d+)?|functional(?:_\d+)?|sequential(?:_\d+)?)/")


def layer(tensor: str) -> str:
    """Return the layer's name in a tensor's name, which converters join from all that they fused into it."""
    named = [part for part in tensor.split(";") if part]
    if not named:
        return ""
    own = _PREFIX.sub("", named[-1])
    parts = own.split("/")
    return "/".join(parts[:-1] if len(parts) > 1 else parts)[-60:]


def explains(one: Suspect) -> bool:
    """Check whether a repair takes away enough to be a cause."""
    return one.recovered >= EXPLAINS


# Outputs that differ by less than a thousandth (RMS) do so by rounding alone.
_NEGLIGIBLE = 1e-6
# Errors of at least half of the largest one are similar; of so many operators none is the cause by itself.
_MANY = 5


def cause(found: Attribution) -> str:
    """Say in one sentence which operator explains the error, by how much, and what was tried to know it."""
    broken = next((one for one in found.operators if not one.finite), None)
    if broken is not None:
        return f"Cause: {place(broken)} (operator {broken.position}) is the first whose output is no finite number."
    if found.output_error is None:
        return "Cause: not found: an output is no finite number."
    if found.output_error == 0:
        return f"Cause: none: the outputs are those of {found.reference} on {found.examples} examples."
    if found.matched < ONE_MODEL:
        return (
            f"Cause: not found: only {_percent(found.matched)} of the operators have a partner"
            f"{_how_far(found)}; the two take the model's steps in other operators, or are of different models."
        )
    if found.output_error < _NEGLIGIBLE:
        return f"Cause: none to look for: the outputs differ by rounding alone (RMS over {found.examples} examples)."
    best = found.suspects[0] if found.suspects else None
    if best is None or not explains(best):
        return _no_cause(found, best)
    others = len(best.together)
    more = f" and {others} operator{'s' * (others > 1)} with it" if others else ""
    where = f"{place(best)} (operator {best.position}{more})"
    if best.position < 0 or (best.position == 0 and best.operator == "QUANTIZE"):
        where = f"the quantization of the model's input{more and f' ({more[5:]})'}"
    return (
        f"Cause: {where}: {REPAIRS[best.repaired_by]},{_won(found, best)} {_percent(best.recovered)} of "
        f"{_GONE[best.repaired_by]} is gone."
    )


def _how_far(found: Attribution) -> str:
    """Name the first operator without a partner, on the side that has one."""
    first = next(iter([*found.alone, *found.missing]), None)
    if first is None:
        return ""
    return f" (the first without: {first} of {'the artifact' if found.alone else found.reference})"


def _won(found: Attribution, best: Suspect) -> str:
    """Say how much of a lost score a repair gives back, where that is more than a few examples could make up."""
    if best.score is None or found.score is None:
        return ""
    lost = _drop(found, found.score)
    back = lost - _drop(found, best.score)
    if lost <= 0 or back <= 0 or (found.scale == 100 and back * found.scored / 100 < _FEWEST):
        return ""
    whole = back >= lost
    what = f"all of the {_amount(lost, found)}" if whole else f"{_bare(back, found)} of the {_amount(lost, found)}"
    return f" {what} lost on the {_scored_on(found)} come back, and"


_FEWEST = 10  # examples that a repair has to give back to be told


def _bare(value: float, found: Attribution) -> str:
    return _amount(value, found).removesuffix(f" {found.unit}")


def _no_cause(found: Attribution, best: Suspect | None) -> str:
    """Say that nothing that was tried explains the error, and what could not be tried."""
    if best is None:
        tried = "no operator could be repaired alone"
    elif round(100 * best.recovered) <= 0:
        tried = "no repair of a single operator takes anything of the outputs' error away"
    else:
        most = f"{place(best)} explains most, {_percent(best.recovered)} of the outputs' squared error"
        tried = f"no single operator explains a tenth: {most}"
    worst = next(iter(found.untried), None)
    if worst is not None and worst.error > max((one.own or 0.0 for one in found.operators), default=0.0):
        return (
            f"Cause: not proved: {tried}; {place(worst)} (operator {worst.position}) cannot be repaired alone, and its "
            f"output is {100 * worst.error:.2g} % off."
        )
    own = sorted((one.own for one in found.operators if one.own is not None), reverse=True)
    similar = sum(one >= own[0] / 2 for one in own) if own else 0
    integer = any(one.steps is not None for one in found.operators)
    if similar >= _MANY and integer:
        return (
            f"Cause: {tried}; {similar} operators have errors of their own of {100 * own[0]:.1f} % and down to half of "
            "it: 16-bit activations, or training with quantization (QAT), help more than one layer in float."
        )
    return f"Cause: not found: {tried}."


def _percent(share: float) -> str:
    return f"{round(100 * share)} %"


def changes_in_words(changes: Sequence[Change], most: int = MOST_CHANGES) -> list[str]:
    """Group what changed since another artifact: one line for each kind of change, the most frequent first."""
    kinds = Counter(map(_kind, changes))
    lines = [
        _group([one for one in changes if _kind(one) == kind], kind[0], count)
        for kind, count in kinds.most_common(most)
    ]
    more = len(kinds) - most
    return [*lines, f"and {more} more kind{'s' * (more > 1)} of change"] if more > 0 else lines


def _kind(change: Change) -> tuple[str, str]:
    """Tell operators that came, went, or became others apart."""
    return change.what, (change.old or change.new) if change.operator and _came_or_went(change) else ""


def _came_or_went(change: Change) -> bool:
    return change.what.startswith("operator") and {change.old, change.new} <= {"", "added", "removed"}


def _group(changes: Sequence[Change], what: str, count: int) -> str:
    first = changes[0]
    if _came_or_went(first):
        names = ", ".join(place(one) for one in changes[:_NAMES])
        more = f" and {count - _NAMES} more" if count > _NAMES else ""
        return f"{first.old or first.new}{what.removeprefix('operator')}: {names}{more}"
    one = f"of {place(first)}"
    factors = [change.factor for change in changes if change.factor is not None]
    if len(factors) == count:
        alike = max(factors) - min(factors) <= 0.02 * abs(max(factors))
        times = _times(factors[0]) if alike else f"{min(factors):.3g} to {max(factors):.3g} times as large as before"
        ranges = f" ({first.old} → {first.new})" if first.old and first.new else ""
        return f"{what} {one}: {times}{ranges}" if count == 1 else f"{count} × {what}: {times} (e.g. {one[3:]}{ranges})"
    told = f"{first.old} → {first.new}" if first.old and first.new else first.new or first.old
    return f"{what} {one}: {told}" if count == 1 else f"{count} × {what}, e.g. {one[3:]}: {told}"


def _times(factor: float) -> str:
    if factor <= 0:
        return f"{factor:.3g} times as large as before"
    return f"{factor:.3g} times larger" if factor >= 1 else f"{1 / factor:.3g} times smaller"


def untried(found: Attribution) -> str | None:
    """Say in one line which suspects could not be repaired, and why."""
    if not found.untried:
        return None
    told = [
        f"{place(one)} (operator {one.position}; {_WHY[one.why].format(reference=found.reference)})"
        for one in found.untried[:_NAMES]
    ]
    more = f" and {len(found.untried) - _NAMES} more" if len(found.untried) > _NAMES else ""
    return f"Not tried: {', '.join(told)}{more}"


def unmatched(found: Attribution) -> str | None:
    """Say which operators have no partner."""
    if found.matched == 1:
        return None
    told = [f"{len(found.alone)} in the artifact"] if found.alone else []
    told += [f"{len(found.missing)} in {found.reference}"] if found.missing else []
    some = ", ".join([*found.alone, *found.missing][:3])
    return f"Matched {_percent(found.matched)} of the operators; without a partner: {' and '.join(told)} ({some})"


def _table(found: Attribution) -> str:
    """List the suspects, and then the operators with the largest errors of their own."""
    by_place = {one.position: one for one in found.operators}
    listed = [one.position for one in found.suspects]
    rest = sorted(found.operators, key=lambda one: -(one.own if one.own is not None else 0.0))
    listed += [one.position for one in rest if one.position not in listed]
    repaired = {one.position: one for one in found.suspects}
    headers = [
        "operator",
        "layer",
        "own error",
        "error here",
        "clipped",
        "repaired",
        "outputs' error gone",
        *([found.metric] if found.score is not None else []),
    ]
    rows = [_row(by_place.get(at), repaired.get(at), found)[: len(headers)] for at in listed[:MOST_ROWS]]
    table = tabulate(rows, headers, tablefmt="simple", disable_numparse=True)
    return (
        f"{table}\n\nErrors are root mean squares, as a share of the float values'; own: with exact inputs. Error "
        "gone: of the outputs' squared error, by this repair alone."
    )


def _row(one: OperatorError | None, suspect: Suspect | None, found: Attribution) -> list[str]:
    named = one or suspect
    assert named is not None
    own = "" if one is None or one.own is None else f"{100 * one.own:.1f} %"
    clipped = "" if one is None or not one.clipped else f"{100 * one.clipped:.1f} %"
    score = "" if suspect is None or suspect.score is None else shown_score(suspect.score, found)
    return [
        numbered(named),
        line(layer(named.tensor)),
        own,
        "" if one is None else f"{100 * one.error:.1f} %",
        clipped,
        "" if suspect is None else suspect.repaired_by,
        "" if suspect is None else _percent(suspect.recovered),
        score,
    ]
