"""Judge the instructions of one call, which valgrind counts: the same artifact gives the same number every time.

There is no noise, so that a smallest effect that matters takes its place. Counts of one profile are compared only:
what valgrind shows as the processor decides which kernels the runtime chooses.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from quantbench.gate._common import Subject, beyond, missing, not_measured
from quantbench.records import (
    BETWEEN,
    BaselineCell,
    BaselineValue,
    Counted,
    Judgement,
    Kind,
    Measurement,
    OperatorCount,
    Verdict,
)
from quantbench.records.measurements import INSTRUCTIONS

BY_OPERATOR = "instructions_by_operator"
INSTRUCTIONS_TOLERANCE = 0.005
INSTRUCTIONS_TOLERANCE_REASON = (
    "0.5 % of the instructions: policy, the smallest growth that somebody would act on; counts repeat exactly"
)
# A single operator that grew warns from this share of itself on, if that is this share of the model too: the total may
# hide it behind its own tolerance, or behind another operator that shrank.
OPERATOR_GREW, OF_THE_MODEL = 0.05, 0.001
NAMED = 3  # operators that a message names


@dataclass(frozen=True)
class Grown:
    """An operator that takes more instructions than accepted, or less.

    Attributes:
        position: among the operators of this run, counted from 1; 0 where it is gone.
        kernel: what it ran.
        old, new: instructions; 0 where the operator is new, or gone.
    """

    position: int
    kernel: str
    old: int
    new: int

    @property
    def growth(self) -> int:
        """Return how many instructions came on top."""
        return self.new - self.old

    def words(self, of: int) -> str:
        """Say what grew and by how much, of a call with so many instructions."""
        share = f"{100 * self.growth / of:+.2f} % of the call"
        if self.kernel == BETWEEN:
            return f"the runtime {BETWEEN} {self.old:,} → {self.new:,} ({share})"
        if not self.old:
            return f"operator {self.position} ({self.kernel}) is new: {self.new:,} ({share})"
        if not self.new:
            return f"an operator ({self.kernel}) is gone: {self.old:,} ({share})"
        return (
            f"operator {self.position} ({self.kernel}) {100 * self.growth / self.old:+.1f} %: "
            f"{self.old:,} → {self.new:,} ({share})"
        )


def instructions(
    subject: Subject,
    measured: Measurement | None,
    counted: Counted | None,
    failure: str,
    baseline: BaselineCell | None,
    unlike: str = "",
) -> list[Judgement]:
    """Judge the instructions of a call, and those of its operators.

    Args:
        counted: which parts of the call they are in, and the profile of the processor that valgrind showed; accepted
            values of another one are not compared.
        failure: why nothing was counted; empty where something was.
        unlike: why counts of this host may differ from the accepted ones; a growth is then a warning, and never red.
    """
    if measured is None or counted is None:
        return [not_measured(subject, Kind.INSTRUCTIONS, INSTRUCTIONS, failure)]
    profile = counted.profile
    accepted = baseline.by_machine.get(INSTRUCTIONS, {}) if baseline else {}
    if profile not in accepted:
        return [_not_gated(subject, measured, profile, baseline)]
    value = accepted[profile]
    growth, allowed = measured.value - value.value, value.tolerance * value.value
    before = baseline.counted.get(profile) if baseline else None
    grown = differences(before, counted.operators) if before is not None else []
    verdict = beyond(growth, allowed)
    red = verdict is Verdict.REGRESSED
    verdict = Verdict.WARN if red and unlike else verdict
    message = (
        f"instructions {measured.value:,.0f} a call, baseline {value.value:,.0f} "
        f"({100 * growth / value.value:+.2f} %; tolerance {100 * value.tolerance:g} %)"
    )
    told = _told(grown, verdict, value.value)
    message += f"; {unlike}" if red and unlike else ""
    judged = Judgement(
        kind=Kind.INSTRUCTIONS,
        measurement=INSTRUCTIONS,
        against="baseline",
        verdict=verdict,
        value=measured.value,
        reference=value.value,
        unit=measured.unit,
        change=growth,
        tolerance=allowed,
        detectable=allowed,
        message=f"{message}: {told}" if told else message,
        detail=told,
        actions=[] if verdict is Verdict.PASS else subject.choices(),
    )
    hidden = [] if red else _hidden(subject, grown, measured.value)
    return [judged, *hidden]


def counted_alike(measured: float, accepted: BaselineValue) -> bool:
    """Check whether a count is the accepted one, within its tolerance."""
    return abs(measured - accepted.value) <= accepted.tolerance * accepted.value


def _not_gated(subject: Subject, measured: Measurement, profile: str, baseline: BaselineCell | None) -> Judgement:
    """Judge a count without an accepted one of its profile: missing where the cell has no baseline at all."""
    if baseline is None:
        return missing(subject, Kind.INSTRUCTIONS, INSTRUCTIONS)
    return Judgement(
        kind=Kind.INSTRUCTIONS,
        measurement=INSTRUCTIONS,
        against="nothing",
        verdict=Verdict.UNJUDGED,
        value=measured.value,
        unit=measured.unit,
        message=(
            f"instructions {measured.value:,.0f} a call; not gated: no baseline for the processor that valgrind shows "
            f"here ({profile})"
        ),
    )


def _told(grown: Sequence[Grown], verdict: Verdict, of: float) -> str:
    """Name the operators that changed most in the direction of the verdict; empty where it is a pass."""
    if verdict is Verdict.PASS:
        return ""
    sign = -1 if verdict is Verdict.IMPROVED else 1
    named = sorted((one for one in grown if sign * one.growth > 0), key=lambda one: -sign * one.growth)
    more = f"; and {len(named) - NAMED} more" if len(named) > NAMED else ""
    return "; ".join(one.words(round(of)) for one in named[:NAMED]) + more


def _hidden(subject: Subject, grown: Sequence[Grown], of: float) -> list[Judgement]:
    """Warn of operators that grew by much of themselves, where the total does not show it."""
    found = [
        one
        for one in grown
        if one.growth > OF_THE_MODEL * of and one.growth > OPERATOR_GREW * one.old and one.kernel != BETWEEN
    ]
    if not found:
        return []
    worst = max(found, key=lambda one: one.growth)
    more = f"; and {len(found) - 1} more" if len(found) > 1 else ""
    return [
        Judgement(
            kind=Kind.INSTRUCTIONS,
            measurement=BY_OPERATOR,
            against="baseline",
            verdict=Verdict.WARN,
            value=float(worst.new),
            reference=float(worst.old),
            unit="instructions",
            change=float(worst.growth),
            tolerance=max(OF_THE_MODEL * of, OPERATOR_GREW * worst.old),
            message=f"{worst.words(round(of))}{more}, within the tolerance of the whole call",
            detail=worst.words(round(of)),
            actions=subject.choices(),
        )
    ]


def grown_most(old: Counted, new: Counted) -> str:
    """Name the operator that grew most between two counts of one profile; empty where none grew."""
    grown = [one for one in differences(old.operators, new.operators) if one.growth > 0]
    of = sum(count for _, count in old.operators)
    return max(grown, key=lambda one: one.growth).words(of) if grown else ""


def differences(before: Sequence[OperatorCount], after: Sequence[OperatorCount]) -> list[Grown]:
    """Compare the operators of two calls: those that differ, in the order of the new call.

    Operators are matched by their order. Where the kernels of a stretch were exchanged, they are matched one by one if
    it has as many as before, as another kernel computes the same operator.
    """
    matcher = SequenceMatcher(a=[name for name, _ in before], b=[name for name, _ in after], autojunk=False)
    found: list[Grown] = []
    for _, a0, a1, b0, b1 in matcher.get_opcodes():
        pairs = min(a1 - a0, b1 - b0) if a1 - a0 == b1 - b0 else 0
        for i in range(pairs):
            (_, was), (kernel, now) = before[a0 + i], after[b0 + i]
            found.append(Grown(b0 + i + 1, kernel, was, now))
        found += [Grown(0, kernel, was, 0) for kernel, was in before[a0 + pairs : a1]]
        found += [Grown(b0 + pairs + i + 1, kernel, 0, now) for i, (kernel, now) in enumerate(after[b0 + pairs : b1])]
    return [one for one in found if one.old != one.new]
