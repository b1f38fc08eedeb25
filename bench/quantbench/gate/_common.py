"""Provide what all judges share: the judged cell, missing and failed results, and the exit status."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from quantbench.errors import Exit
from quantbench.records import Action, BaselineCell, Failure, FalseAlarms, Judgement, Kind, Verdict, worst
from quantbench.records.measurements import of_output, shown

DEFAULT_BUDGET = 0.01
_END = r": died of SIG(ABRT|SEGV|BUS)\b.*"
WHY = "why this is right"  # placeholder for the maintainer's reason


@dataclass(frozen=True)
class Subject:
    """Identify the judged cell.

    Attributes:
        run: the run's name, with the options that a command accepting a change needs.
        given: the run's options that repeating a cell of it needs.
        elsewhere: whether the accepted values are of another machine profile, so that accepting keeps those too.
        output: the further output that is judged; empty for the main one.
    """

    model: str
    variant: str
    run: str
    given: str = ""
    elsewhere: bool = False
    output: str = ""

    @property
    def id(self) -> str:
        """Return the cell's key."""
        return f"{self.model}/{self.variant}"

    @property
    def key(self) -> str:
        """Return the name by which the score of this output shares the budget: the cell's key, for the main one."""
        return of_output(self.id, self.output)

    def again(self, what: str = "run it again alone", *more: str) -> Action:
        """Suggest computing and judging this cell alone."""
        return self._alone(what, "--no-cache", *shlex.split(self.given), *more)

    def more_seeds(self, seeds: int) -> Action:
        """Suggest training this cell with further seeds; those that are stored count."""
        return self._alone("train more seeds", *shlex.split(self.given), "--seeds", str(seeds))

    def _alone(self, what: str, *options: str) -> Action:
        cell = ["--models", self.model, "--variants", self.variant]
        return Action(what=what, command=["quantbench", "run", *cell, *options])

    def accept(self, what: str = "accept", *more: str, reason: str = WHY) -> Action:
        """Suggest accepting this run's values as the cell's baseline."""
        update = ["quantbench", "baseline", "update", *shlex.split(self.run), "--only", self.id]
        update += ["--per-machine"] if self.elsewhere else []
        return Action(what=what, command=[*update, *more, "--reason", reason])

    def accept_all(self, cells: Sequence[str]) -> Action:
        """Suggest accepting this run's values of several cells."""
        only = ["--only", ",".join(cells), "--reason", WHY]
        return Action(what="accept", command=["quantbench", "baseline", "update", *shlex.split(self.run), *only])

    def inspect(self) -> Action:
        """Suggest looking into the cell's artifact, as this run left it."""
        folder = shlex.split(self.run)[0]
        return Action(what="inspect", command=["quantbench", "inspect", self.id, "--run", folder])

    def choices(self, accept: str = "accept") -> list[Action]:
        """Suggest what to do about a change of the artifact: inspect it, measure it again, or accept it."""
        return [self.inspect(), *self.repeats(accept)]

    def repeats(self, accept: str = "accept") -> list[Action]:
        """Suggest what to do about a change that the artifact's contents do not show: measure again, or accept it."""
        return [self.again("measure again"), self.accept(accept)]


def share(budget: float, judgements: int) -> FalseAlarms:
    """Share the run's false-alarm budget evenly over the judgements, the first step of Holm's method."""
    return FalseAlarms(budget=budget, judgements=judgements, share=budget / max(1, judgements))


def holm(p_values: Mapping[str, float], budget: float, others: int) -> dict[str, float]:
    """Return the threshold below which each p-value is red, for a family-wise error rate of ``budget``.

    The smallest p-value is compared with an even share; each further one shares with one judgement fewer
    (Holm 1979, "A simple sequentially rejective multiple test procedure").

    Args:
        others: judgements that share the budget and have no p-value yet.
    """
    rivals = len(p_values) + others
    holm_threshold = {}
    for key in sorted(p_values, key=lambda key: p_values[key]):
        holm_threshold[key] = budget / rivals
        if p_values[key] <= holm_threshold[key]:
            rivals -= 1
    return holm_threshold


def timed_ones(accepted: Sequence[BaselineCell | None], machines: Sequence[str], in_turns: str = "") -> int:
    """Count the latency judgements that share the budget: timed cells with a baseline of these machine classes, and
    those that can be timed in turns with an accepted artifact instead, whether or not that turns out to be another one.

    Args:
        accepted: baseline of each timed cell.
        machines: machine class for each number of threads.
        in_turns: the machine class whose cells without a baseline are timed in turns; empty where none are.
    """
    known = [cell for cell in accepted if cell is not None]
    stored = sum(machine in cell.latency for cell in known for machine in machines)
    turns = sum(bool(in_turns and cell.artifact_sha256) and in_turns not in cell.latency for cell in known)
    return stored + turns


def missing(subject: Subject, kind: Kind, measurement: str, baseline: BaselineCell | None = None) -> Judgement:
    """Judge a measurement that has no baseline."""
    news = "; it was recorded as unsupported and works now" if baseline and baseline.unsupported else ""
    return Judgement(
        kind=kind,
        measurement=measurement,
        against="baseline",
        verdict=Verdict.MISSING,
        message=f"no baseline for {shown(measurement)}{news}",
        actions=[subject.accept("record it")],
    )


def failed(subject: Subject, kind: Kind, failure: Failure, baseline: BaselineCell | None) -> Judgement:
    """Judge a cell without a result: ``unsupported`` where the baseline declares the same reason, else an error.

    A cell that worked before and is now refused, or crashes, is an error, as it could not be measured.
    """
    declared = baseline.unsupported if baseline else None
    refused = failure.what == "unsupported"
    # Baselines of before refusals were translated declare the tool's own text, which is the log now.
    known = declared is not None and any(same_reason(declared, told) for told in (failure.reason, failure.log))
    if refused and known:
        verdict, message, actions = Verdict.UNSUPPORTED, f"unsupported (known limitation): {failure.reason}", []
    elif refused and baseline is None:
        verdict, message = Verdict.MISSING, f"the tools cannot make it: {failure.reason}"
        actions = [subject.accept("record it as a known limitation")]
    else:
        verdict, message = Verdict.ERROR, f"{failure.what}: {failure.reason}"
        message += f" (the known limitation is a different one: {declared})" if declared else ""
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


def same_reason(declared: str, refusal: str) -> bool:
    """Compare a tool's refusal with the declared one, ignoring numbers, addresses, and how a crash ended.

    What damages its memory dies of another signal, with other words, wherever another libc notices it.
    """
    one, other = (re.sub(_END, "", reason) for reason in (declared, refusal))
    return re.sub(r"[0-9]+", "", one)[:80] == re.sub(r"[0-9]+", "", other)[:80]


def without_baseline(judgement: Judgement) -> Judgement:
    """Weaken a judgement where no baseline is expected: missing becomes unjudged or unsupported."""
    if judgement.verdict is not Verdict.MISSING:
        return judgement
    verdict = Verdict.UNSUPPORTED if judgement.measurement == "cell" else Verdict.UNJUDGED
    return judgement.model_copy(update={"verdict": verdict, "actions": []})


def never_judged(subject: Subject, kind: Kind) -> Judgement:
    """Judge a cell that the run was asked for and did not reach."""
    return Judgement(
        kind=kind,
        measurement="cell",
        against="nothing",
        verdict=Verdict.ERROR,
        message=f"{kind} was not checked: its test failed or did not run; see pytest's output",
        actions=[subject.again()],
    )


def not_collected(subject: Subject, kind: Kind) -> Judgement:
    """Judge a cell that the command line asks for and whose test is not there."""
    return Judgement(
        kind=kind,
        measurement="cell",
        against="nothing",
        verdict=Verdict.MISSING,
        message=f"{kind} was not checked: its test was not collected, although it was selected; look for -k, -m or "
        "python_files in an ini file or PYTEST_ADDOPTS, a conftest, or a missing suite",
        actions=[subject.again()],
    )


def not_measured(subject: Subject, kind: Kind, measurement: str, reason: str) -> Judgement:
    """Judge a measurement that failed although the artifact could be made."""
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
    """Judge a latency that could not be measured."""
    return not_measured(subject, Kind.LATENCY, name, reason)


def beyond(change: float, tolerance: float) -> Verdict:
    slack = 1e-9  # of rounding in stored values
    if change > tolerance + slack:
        return Verdict.REGRESSED
    return Verdict.IMPROVED if change < -tolerance - slack else Verdict.PASS


def edited(judged: Judgement, why: str) -> Judgement:
    """Turn a pass into an error where the baseline contradicts itself; red stays red."""
    red = judged.verdict is Verdict.REGRESSED
    update = {
        "verdict": judged.verdict if red else Verdict.ERROR,
        "message": f"{judged.message}; {why}: the baseline was edited by hand",
        "actions": judged.actions if red else [Action(what="restore both baseline files from git")],
    }
    return judged.model_copy(update=update)


def exit_status(verdicts: list[Verdict], interrupted: bool = False) -> Exit:
    """Return the run's exit status: a regression outranks errors and interruptions."""
    decided = worst(verdicts)
    if decided is Verdict.REGRESSED:
        return Exit.REGRESSED
    if interrupted:
        return Exit.INTERRUPTED
    if decided in (Verdict.ERROR, Verdict.MISSING):
        return Exit.NOT_MEASURED
    return Exit.GREEN
