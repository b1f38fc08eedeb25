"""Put into words where an artifact's error comes from: the cause first, then the operators, on one screen."""

import re
from collections import Counter
from collections.abc import Sequence

from tabulate import tabulate

from quantbench.core.echo import line
from quantbench.records import Attribution, Change, OperatorError, Suspect

MOST_ROWS = 8
MOST_CHANGES = 4
# An operator that explains less than this share of the outputs' squared error is no cause.
EXPLAINS = 0.1
_REPAIRS = {
    "float": "left in float",
    "range": "with the range of the float model's values",
    "accepted": "with the accepted weights, options and ranges",
}


def screen(found: Attribution) -> str:
    """Return the explanation as text of at most 30 lines."""
    parts = [_first(found), cause(found), *changes_in_words(found.changes), _unmatched(found), "", _table(found)]
    return "\n".join(part for part in parts if part is not None)


def _first(found: Attribution) -> str:
    if found.score is None or found.float_score is None:
        return f"{found.subject} against {found.reference}, on {found.examples} examples"
    drop = _drop(found, found.score)
    return (
        f"{found.subject} against {found.reference}: {found.metric} {_score(found.score, found)} where "
        f"{found.reference} has {_score(found.float_score, found)}, {drop:+.2f} {found.unit} worse (first "
        f"{found.scored:,} examples)"
    )


def _drop(found: Attribution, score: float) -> float:
    """Return by how much a score is worse than the reference's, in the metric's unit."""
    lost = (found.float_score or 0.0) - score
    return (lost if found.higher_is_better else -lost) * found.scale


def _score(value: float, found: Attribution) -> str:
    return f"{100 * value:.2f} %" if found.scale == 100 else f"{value:.4g}"


def place(one: OperatorError | Suspect | Change) -> str:
    """Name an operator by its kind and its layer."""
    return line(f"{one.operator} {layer(one.tensor)}".strip())


_PREFIX = re.compile(r"^(?:StatefulPartitionedCall[^/]*|model(?:_\d+)?|functional(?:_\d+)?|sequential(?:_\d+)?)/")


def layer(tensor: str) -> str:
    """Return the layer's name in a tensor's name, which converters join from all that they fused into it."""
    named = [part for part in tensor.split(";") if part]
    if not named:
        return ""
    own = _PREFIX.sub("", named[-1])
    parts = own.split("/")
    return "/".join(parts[:-1] if len(parts) > 1 else parts)[-60:]


def cause(found: Attribution) -> str:
    """Say in one sentence which operator explains the error, by how much, and what was tried to know it."""
    best = found.suspects[0] if found.suspects else None
    if best is None:
        return "Cause: not found: no operator could be repaired alone."
    if best.recovered < EXPLAINS:
        return (
            f"Cause: no single operator: {place(best)} explains most, {_percent(best.recovered)} of the outputs' "
            "squared error; many operators round a little each. 16-bit activations, or training with quantization "
            "(QAT), help here rather than one layer in float."
        )
    more = f" and {len(best.together)} operators with it" if best.together else ""
    won = ""
    if best.score is not None and found.score is not None:
        lost, back = _drop(found, found.score), _drop(found, found.score) - _drop(found, best.score)
        won = f" {back:.2f} of the {lost:.2f} {found.unit} come back, and" if lost > 0 else ""
    return (
        f"Cause: {place(best)} (operator {best.position}{more}): {_REPAIRS[best.repaired_by]},{won} "
        f"{_percent(best.recovered)} of the outputs' squared error is gone."
    )


def _percent(share: float) -> str:
    return f"{100 * max(0.0, share):.0f} %"


def changes_in_words(changes: Sequence[Change]) -> list[str]:
    """Group what changed since the accepted artifact: one line for each kind of change, the most frequent first."""
    if not changes:
        return []
    kinds = Counter(one.what for one in changes)
    lines = ["Changed since the accepted artifact:"]
    for what, count in kinds.most_common(MOST_CHANGES):
        lines.append(f"  {_group([one for one in changes if one.what == what], what, count)}")
    if len(kinds) > MOST_CHANGES:
        lines.append(f"  and {len(kinds) - MOST_CHANGES} more kinds of change")
    return lines


def _group(changes: Sequence[Change], what: str, count: int) -> str:
    first = changes[0]
    one = f"of {place(first)}"
    factors = [change.factor for change in changes if change.factor is not None]
    if len(factors) == count:
        alike = max(factors) - min(factors) <= 0.02 * abs(max(factors))
        times = _times(factors[0]) if alike else f"{min(factors):.3g} to {max(factors):.3g} times the accepted one"
        ranges = f" ({first.old} → {first.new})" if first.old and first.new else ""
        return f"{what} {one}: {times}{ranges}" if count == 1 else f"{count} × {what}: {times} (e.g. {one[3:]}{ranges})"
    told = f"{first.old} → {first.new}" if first.old and first.new else first.new or first.old
    return f"{what} {one}: {told}" if count == 1 else f"{count} × {what}, e.g. {one[3:]}: {told}"


def _times(factor: float) -> str:
    return f"{factor:.3g} times larger" if factor >= 1 else f"{1 / factor:.3g} times smaller"


def _unmatched(found: Attribution) -> str | None:
    if found.matched == 1:
        return None
    told = [f"{len(found.alone)} operators of the artifact"] if found.alone else []
    told += [f"{len(found.missing)} of {found.reference}"] if found.missing else []
    some = ", ".join([*found.alone, *found.missing][:3])
    return f"Matched {_percent(found.matched)} of the operators; without a partner: {' and '.join(told)} ({some})"


def _table(found: Attribution) -> str:
    """List the suspects, and then the operators with the largest errors of their own."""
    by_place = {one.position: one for one in found.operators}
    listed = [one.position for one in found.suspects]
    rest = sorted(found.operators, key=lambda one: -(one.own if one.own is not None else 0.0))
    listed += [one.position for one in rest if one.position not in listed]
    repaired = {one.position: one for one in found.suspects}
    rows = [_row(by_place.get(at), repaired.get(at), found) for at in listed[:MOST_ROWS]]
    headers = [
        "operator",
        "layer",
        "own error",
        "error here",
        "clipped",
        "repaired",
        "outputs' error gone",
        found.metric,
    ]
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
    score = "" if suspect is None or suspect.score is None else _score(suspect.score, found)
    return [
        f"{named.position} {named.operator}",
        line(layer(named.tensor)),
        own,
        "" if one is None else f"{100 * one.error:.1f} %",
        clipped,
        "" if suspect is None else suspect.repaired_by,
        "" if suspect is None else _percent(suspect.recovered),
        score,
    ]
