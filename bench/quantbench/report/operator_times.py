"""Put into words where an artifact's time goes: the cause first, then the operators, on one screen."""

from collections.abc import Callable

from tabulate import tabulate

from quantbench.core.echo import line
from quantbench.records import KindTime, OperatorTime, OperatorTimes
from quantbench.report.attribution import layer

MOST_ROWS = 10
# A call that takes less than this much longer is not slower: medians of three processes differ by as much.
_SLOWER = 1.03
# Of what a call takes longer: one operator that explains so much is the cause, else one kind of operator.
_EXPLAINS = 0.5
# Less than a microsecond cannot be told from none, see :class:`quantbench.records.OperatorTime`.
_LEAST = 1.0


def screen(found: OperatorTimes) -> str:
    """Return the times as text of at most 30 lines."""
    ours, theirs = found.microseconds, found.reference_microseconds
    first = (
        f"{found.subject} takes {_time(ours)} a call, {found.reference} {_time(theirs)} ({_times(ours, theirs)}; "
        f"in turns, medians of {found.processes} processes)"
    )
    gone = [f"Operators of {found.reference} without a partner: {_time(found.gone)}"] if found.gone >= _LEAST else []
    note = (
        "Times are LiteRT's own, on one thread. XNNPACK's kernels are timed to whole microseconds: below 1 µs they "
        "read as 0.\nLiteRT's own kernels are marked 'builtin': what runs there was not taken by XNNPACK."
    )
    return "\n".join([first, cause(found), *gone, "", _table(found), "", note])


def cause(found: OperatorTimes) -> str:
    """Say in one sentence what takes the time, or what takes longer than in the reference."""
    more = found.microseconds - found.reference_microseconds
    largest = max(found.operators, key=lambda one: one.microseconds, default=None)
    if largest is None:
        return "Time: LiteRT told of no operator."
    if found.microseconds < _SLOWER * found.reference_microseconds:
        return (
            f"Time: not slower than {found.reference} when timed in turns ({_time(found.microseconds)}, "
            f"{_time(found.reference_microseconds)}), so look at the runtime or the machine; {_place(largest)} takes "
            f"most, {_share(largest.microseconds, found)} of the call."
        )
    best = max(found.operators, key=_growth)
    if _growth(best) >= _EXPLAINS * more:
        return (
            f"Time: {_place(best)} takes {_share(best.microseconds, found)} of the call, {_against(best, found)}: "
            f"{_more(_growth(best), more)}.{_moved(best, found)}"
        )
    kind = found.kinds[0]
    whole = f"{_more(kind.microseconds - kind.reference, more)}"
    if kind.microseconds - kind.reference >= _EXPLAINS * more:
        return f"Time: {_alike(kind)} together: {whole}{_moved_kind(kind, found)}."
    return (
        f"Time: no kind of operator explains half of it; most is in {_alike(kind)}: {whole}{_moved_kind(kind, found)}."
    )


def _growth(one: OperatorTime) -> float:
    return one.microseconds - (one.reference or 0.0)


def _place(one: OperatorTime) -> str:
    return line(f"{one.operator} {layer(one.tensor)}".strip()) + f" (operator {one.position})"


def _against(one: OperatorTime, found: OperatorTimes) -> str:
    if one.reference is None:
        return f"and {found.reference} does not have it"
    if one.reference < _LEAST:
        return f"and less than 1 µs in {found.reference}"
    return f"{one.microseconds / one.reference:.1f} times as long as in {found.reference}"


def _moved(one: OperatorTime, found: OperatorTimes) -> str:
    if one.kernel or not one.reference_kernel:
        return ""
    return f" It runs on LiteRT's own kernel, and in {found.reference} on XNNPACK's."


def _moved_kind(kind: KindTime, found: OperatorTimes) -> str:
    if not kind.moved:
        return ""
    which = "all" if kind.moved == kind.count else str(kind.moved)
    return f"; {which} of them run on LiteRT's own kernels, and in {found.reference} on XNNPACK's"


def _alike(kind: KindTime) -> str:
    return f"the {kind.count} {kind.operator}" if kind.count > 1 else kind.operator


def _more(part: float, whole: float) -> str:
    """Say what takes longer by how much, of how much, in one unit."""
    unit, words, digits = _unit(whole)
    return f"{part / unit:+.{digits}f} of {whole / unit:+.{digits}f} {words}"


def _unit(microseconds: float) -> tuple[float, str, int]:
    return (1000.0, "ms", 2) if microseconds >= 1000 else (1.0, "µs", 0 if microseconds >= 10 else 1)


def _time(microseconds: float) -> str:
    unit, words, digits = _unit(microseconds)
    return f"{microseconds / unit:.{digits}f} {words}"


def _times(ours: float, theirs: float) -> str:
    return f"{ours / theirs:.2f} times as long" if theirs else "nothing"


def _share(microseconds: float, found: OperatorTimes) -> str:
    return f"{100 * min(1.0, microseconds / found.microseconds):.0f} %" if found.microseconds else "0 %"


def _table(found: OperatorTimes) -> str:
    """List the operators that take longer by most; where the artifact is not slower, those that take most."""
    slower = found.microseconds >= _SLOWER * found.reference_microseconds
    key: Callable[[OperatorTime], float] = _growth if slower else lambda one: one.microseconds
    rows = [_row(one) for one in sorted(found.operators, key=key, reverse=True)[:MOST_ROWS]]
    headers = ["operator", "layer", "kernel", "µs", f"µs, {_short(found.reference)}", "kernel there"]
    return tabulate(rows, headers, tablefmt="simple", disable_numparse=True)


def _short(reference: str) -> str:
    return reference if len(reference) < 24 else "reference"


def _row(one: OperatorTime) -> list[str]:
    there = "" if one.reference is None else f"{one.reference:.1f}"
    return [
        f"{one.position} {one.operator}",
        line(layer(one.tensor)),
        one.kernel or "builtin",
        f"{one.microseconds:.1f}",
        there,
        "" if one.reference is None else one.reference_kernel or "builtin",
    ]
