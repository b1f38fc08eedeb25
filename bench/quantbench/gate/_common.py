"""What every judge says alike: who is judged, what is missing, what failed, and how a run ends."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from quantbench.errors import Exit
from quantbench.records import Action, BaselineCell, Failure, FalseAlarms, Judgement, Kind, Verdict, worst

DEFAULT_BUDGET = 0.01
WHY = "why this is right"  # stands where a maintainer gives the reason


@dataclass(frozen=True)
class Subject:
    """Who is judged.

    Attributes:
        run: its name, and what goes with it in the command that would accept a change.
        given: options of the run that it takes to repeat a cell of it.
    """

    model: str
    variant: str
    run: str
    given: str = ""

    @property
    def id(self) -> str:
        """The cell's key."""
        return f"{self.model}/{self.variant}"

    def again(self, what: str = "repeat it alone", *more: str) -> Action:
        """Compute and judge this cell alone."""
        alone = ["--models", self.model, "--variants", self.variant, "--no-cache"]
        return Action(what=what, command=["quantbench", "run", *alone, *shlex.split(self.given), *more])

    def accept(self, what: str = "accept", *more: str, reason: str = WHY) -> Action:
        """Make what this run found the baseline of the cell."""
        update = ["quantbench", "baseline", "update", *shlex.split(self.run), "--only", self.id]
        return Action(what=what, command=[*update, *more, "--reason", reason])

    def choices(self, accept: str = "accept") -> list[Action]:
        """What can be done about a change: look closer, or accept it."""
        return [self.again("look closer"), self.accept(accept)]


def share(budget: float, judgements: int) -> FalseAlarms:
    """The run's false-alarm budget, shared evenly over so many judgements: the first step of Holm's method."""
    return FalseAlarms(budget=budget, judgements=judgements, share=budget / max(1, judgements))


def holm(p_values: Mapping[str, float], budget: float, others: int) -> dict[str, float]:
    """What p-value each judgement is red at, so that the chance of any false alarm among them all is ``budget``.

    The smallest p-value is held against an even share; once it is red, the next has one rival fewer, and so on
    (Holm 1979, "A simple sequentially rejective multiple test procedure").

    Args:
        others: judgements that share the budget too and whose p-values are not known yet.
    """
    rivals = len(p_values) + others
    red_at = {}
    for key in sorted(p_values, key=lambda key: p_values[key]):
        red_at[key] = budget / rivals
        if p_values[key] <= red_at[key]:
            rivals -= 1
    return red_at


def timed_ones(accepted: Sequence[BaselineCell | None], machines: Sequence[str]) -> int:
    """Latency judgements that share the budget: of those that are timed, what has a baseline of these machine classes.

    Args:
        accepted: of each cell that is timed.
        machines: one class for each number of threads.
    """
    return sum(machine in known.latency for known in accepted if known is not None for machine in machines)


def missing(subject: Subject, kind: Kind, measurement: str, baseline: BaselineCell | None = None) -> Judgement:
    """The verdict on a measurement that has no baseline at all."""
    news = "; it was declared unsupported, and works now" if baseline and baseline.unsupported else ""
    return Judgement(
        kind=kind,
        measurement=measurement,
        against="baseline",
        verdict=Verdict.MISSING,
        message=f"no {measurement} baseline{news}",
        actions=[subject.accept("record one")],
    )


def failed(subject: Subject, kind: Kind, failure: Failure, baseline: BaselineCell | None) -> Judgement:
    """The verdict on a cell without a result: ``unsupported`` as declared by the baseline, else an error.

    A cell that used to work and is now refused, or crashes, is an error: it could not be measured.
    """
    declared = baseline.unsupported if baseline else None
    refused = failure.what == "unsupported"
    if refused and declared is not None and _same_reason(declared, failure.reason):
        verdict, message, actions = Verdict.UNSUPPORTED, f"unsupported, as declared: {failure.reason}", []
    elif refused and baseline is None:
        verdict, message = Verdict.MISSING, f"the tools refuse it: {failure.reason}"
        actions = [subject.accept("declare it")]
    else:
        verdict, message = Verdict.ERROR, f"{failure.what}: {failure.reason}"
        message += f" (declared unsupported for another reason: {declared})" if declared else ""
        actions = [subject.again()]
    return Judgement(
        kind=kind,
        measurement="cell",
        against="baseline",
        verdict=verdict,
        message=message,
        detail=failure.reason,
        actions=actions,
    )


def _same_reason(declared: str, found: str) -> bool:
    """Whether a tool refuses in the words that were declared; numbers and addresses in them may differ."""
    return re.sub(r"[0-9]+", "", declared)[:80] == re.sub(r"[0-9]+", "", found)[:80]


def without_baseline(judgement: Judgement) -> Judgement:
    """The same judgement where no baseline is expected: what would be missing is merely unjudged or unsupported."""
    if judgement.verdict is not Verdict.MISSING:
        return judgement
    verdict = Verdict.UNSUPPORTED if judgement.measurement == "cell" else Verdict.UNJUDGED
    return judgement.model_copy(update={"verdict": verdict, "actions": []})


def never_judged(subject: Subject, kind: Kind) -> Judgement:
    """The verdict on what a run was asked for and did not get to."""
    return Judgement(
        kind=kind,
        measurement="cell",
        against="nothing",
        verdict=Verdict.ERROR,
        message=f"{kind} was never judged: its test failed or did not run; see pytest's own output",
        actions=[subject.again()],
    )


def not_measured(subject: Subject, kind: Kind, measurement: str, reason: str) -> Judgement:
    """The verdict on what could not be measured of a cell that could be made."""
    what = "latency" if kind is Kind.LATENCY else measurement.replace("_", " ")
    return Judgement(
        kind=kind,
        measurement=measurement,
        against="nothing",
        verdict=Verdict.ERROR,
        message=f"{what} could not be measured: {reason}",
        detail=reason,
        actions=[subject.again()],
    )


def not_timed(subject: Subject, name: str, reason: str) -> Judgement:
    """The verdict on a latency that could not be measured."""
    return not_measured(subject, Kind.LATENCY, name, reason)


def beyond(change: float, tolerance: float) -> Verdict:
    slack = 1e-9  # of rounding in stored values
    if change > tolerance + slack:
        return Verdict.REGRESSED
    return Verdict.IMPROVED if change < -tolerance - slack else Verdict.PASS


def edited(judged: Judgement, why: str) -> Judgement:
    """A judgement by a baseline that contradicts itself: it can be red, and never passes."""
    red = judged.verdict is Verdict.REGRESSED
    update = {
        "verdict": judged.verdict if red else Verdict.ERROR,
        "message": f"{judged.message}; {why}, so it was edited",
        "actions": judged.actions if red else [Action(what="restore the baseline's two files from git")],
    }
    return judged.model_copy(update=update)


def exit_status(verdicts: list[Verdict], interrupted: bool = False) -> Exit:
    """Exit status of a run: a regression is never hidden by an error, nor by an interruption."""
    decided = worst(verdicts)
    if decided is Verdict.REGRESSED:
        return Exit.REGRESSED
    if interrupted:
        return Exit.INTERRUPTED
    if decided in (Verdict.ERROR, Verdict.MISSING):
        return Exit.NOT_MEASURED
    return Exit.GREEN
