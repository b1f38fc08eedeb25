"""Look up in earlier runs since when a cell is red, and what changed when it turned red."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from quantbench.comparison.nights import LocalNights, Nights
from quantbench.comparison.summary import Summary, short_hash
from quantbench.core.environment import (
    COMMIT,
    CORES,
    CPU,
    NOT_RECORDED,
    OS,
    OWN_COMMIT,
    PACKAGES,
    described,
    differences,
    facts,
)
from quantbench.core.renamed import current_name, under_one_name
from quantbench.records import (
    Accepted,
    Cell,
    EarlierRun,
    Environment,
    FactChanged,
    FactKind,
    Kind,
    ModelHashes,
    Report,
    Verdict,
)

RED = (Verdict.REGRESSED, Verdict.ERROR, Verdict.MISSING)
# Neither red nor green: nothing was judged.
_NOT_JUDGED = (Verdict.UNJUDGED, Verdict.UNSUPPORTED)
# Distributions that run or report the tests: no measured number follows from them.
_OF_TESTS = ("pytest", "pytest-benchmark")
_ORDER: tuple[FactKind, ...] = ("package", "commit", "model", "data", "python", "machine")
_MACHINE = (CPU, CORES, OS)
_SHORT = 12  # digits of a hash


@dataclass(frozen=True)
class Night:
    """Hold an earlier run with the folder that it is in.

    Attributes:
        folder: as a command takes it; empty where the run is not on this machine.
    """

    summary: Summary
    folder: str

    def named(self) -> EarlierRun:
        """Return the run's name as a report holds it."""
        return EarlierRun(run=self.summary.run, started=self.summary.started, folder=self.folder)


@dataclass(frozen=True)
class Since:
    """Say since when a cell is red in one kind of check.

    Attributes:
        runs: number of earlier runs that judged it.
        first_red: first run of the unbroken series; None where that is the present one.
        last_green: the run before it; None where none is known.
    """

    runs: int
    first_red: Night | None = None
    last_green: Night | None = None


def nights_before(nights: Nights, report: Report) -> tuple[list[Night], int]:
    """Read the complete runs of a folder that started before this one, oldest first, and count unreadable ones.

    Raises:
        BadInput: the folder does not exist or cannot be listed.
    """
    found: dict[tuple[str, str], Night] = {}
    unreadable = 0
    for name, summary in nights.summaries():
        if isinstance(summary, str):
            unreadable += 1
        if not isinstance(summary, Summary) or (summary.started, summary.run) >= (report.started, report.run):
            continue
        if summary.state == "complete" and not summary.shard:
            folder = str(Path(nights.where) / name) if isinstance(nights, LocalNights) else ""
            found.setdefault((summary.started, summary.run), Night(summary, folder))
    return [found[key] for key in sorted(found)], unreadable


def since_when(nights: Sequence[Night], cell: str, kind: Kind) -> Since:
    """Go back from the newest run to the last green one."""
    runs, first_red = 0, None
    for night in reversed(nights):
        verdict = verdict_of(night.summary, cell, kind)
        if verdict is None or verdict in _NOT_JUDGED:
            continue
        runs += 1
        if verdict not in RED:
            return Since(runs, first_red, night)
        first_red = night
    return Since(runs, first_red)


def verdict_of(run: Summary, cell: str, kind: Kind) -> Verdict | None:
    """Return the verdict of a kind of check on a cell; of runs before 1.3 that of all its checks, None without one."""
    if cell not in run.cells:
        return None
    place = run.cells.index(cell)
    if run.kinds:
        return run.kinds[kind][place] if kind in run.kinds else None
    return run.verdicts[place]


@dataclass(frozen=True)
class Facts:
    """Hold what results depend on, of one run.

    Attributes:
        artifacts: cell -> first digits of its artifact's hash.
    """

    environment: Environment
    data: Mapping[str, str]
    models: Mapping[str, ModelHashes]
    artifacts: Mapping[str, str | None]

    @staticmethod
    def of_report(report: Report) -> "Facts":
        """Return the facts of a report."""
        artifacts = {cell.id: short_hash(cell.artifact_sha256) for cell in report.cells}
        return Facts(report.environment, report.data_sha256, report.models, artifacts)

    @staticmethod
    def of_summary(run: Summary) -> "Facts":
        """Return the facts of an earlier run."""
        artifacts = dict(zip(run.cells, run.artifacts, strict=True)) if run.artifacts else {}
        return Facts(run.environment, run.data_sha256, run.models, artifacts)


def changed_between_runs(
    old: Facts, new: Facts, models: Collection[str], packages: Collection[str]
) -> list[FactChanged]:
    """List what differs between two runs, the more telling first.

    Args:
        models: those of the cells that it is told of.
        packages: that these cells depend on.
    """
    found = [
        _fact(name, before, after, packages) for name, before, after in differences(old.environment, new.environment)
    ]
    for model in sorted(models):
        before, after = old.data.get(model), new.data.get(model)
        if before and after and before != after:
            found.append(FactChanged(kind="data", name=model, old=before[:_SHORT], new=after[:_SHORT]))
        if model in old.models and model in new.models:
            found += _of_model(model, old.models[model], new.models[model])
    return in_order(found)


def _of_model(model: str, old: ModelHashes, new: ModelHashes) -> list[FactChanged]:
    pairs = (("weights", old.weights, new.weights), ("model file", old.file, new.file))
    return [
        FactChanged(kind="model", name=f"{what} of {model}", old=before[:_SHORT], new=after[:_SHORT])
        for what, before, after in pairs
        if before != after
    ]


def changed_since_accepted(accepted: Accepted, new: Environment, packages: Collection[str]) -> list[FactChanged]:
    """List what differs between the machine and packages that measured an accepted value, and a run.

    What a baseline does not record is left out.
    """
    before, after = under_one_name(described(accepted.environment), facts(new))
    found = [_fact(name, old, after[name], packages) for name, old in before.items() if after.get(name, old) != old]
    commit = accepted.commit and accepted.commit.removesuffix("-dirty")
    now = new.repository_commit or new.git_commit
    if commit and now and commit != now:
        found.append(FactChanged(kind="commit", name=COMMIT, old=commit[:_SHORT], new=now[:_SHORT]))
    return in_order(found)


def _fact(name: str, old: str, new: str, packages: Collection[str]) -> FactChanged:
    kind: FactKind = "package"
    if name in _MACHINE:
        kind = "machine"
    elif name in (COMMIT, OWN_COMMIT):
        kind = "commit"
    elif name == "Python":
        kind = "python"
    of_others = current_name(name) in PACKAGES and packages and current_name(name) not in packages
    used = kind != "package" or (name not in _OF_TESTS and not of_others)
    return FactChanged(kind=kind, name=name, old=old, new=new, used=used)


def in_order(found: Iterable[FactChanged]) -> list[FactChanged]:
    """Sort facts: those that the cells depend on first, the more telling kinds first."""
    return sorted(found, key=_telling)


def _telling(fact: FactChanged) -> tuple[bool, int, bool, str]:
    required_by_others = fact.kind == "package" and current_name(fact.name) not in PACKAGES
    return not fact.used, _ORDER.index(fact.kind), required_by_others, fact.name


def of_all(found: Sequence[Sequence[FactChanged]]) -> list[FactChanged]:
    """Return what changed for every one of several cells; of several old values the lists hold several."""
    if not found:
        return []
    shared = [fact for fact in found[0] if all(any(_same(fact, one) for one in other) for other in found[1:])]
    merged = []
    for fact in shared:
        old = dict.fromkeys(one.old for each in found for one in each if _same(fact, one))
        used = any(one.used for each in found for one in each if _same(fact, one))
        merged.append(fact.model_copy(update={"old": " or ".join(old), "used": used}))
    return in_order(merged)


def _same(fact: FactChanged, other: FactChanged) -> bool:
    return (fact.kind, fact.name, fact.new) == (other.kind, other.name, other.new)


def same_files(old: Facts, new: Facts, cells: Sequence[str]) -> int | None:
    """Count the cells whose artifact is the same; None where it is not known of all."""
    pairs = [(old.artifacts.get(cell), new.artifacts.get(cell)) for cell in cells]
    if any(before is None or after is None for before, after in pairs):
        return None
    return sum(before == after for before, after in pairs)


def recorded(fact: FactChanged) -> bool:
    """Whether both values of a changed fact are known."""
    return NOT_RECORDED not in (fact.old, fact.new)


def accepted_of(cell: Cell, values: Mapping[str, Accepted], kind: Kind) -> Accepted | None:
    """Return the update that accepted what a cell is red against: of its red measurement, else of its score.

    Args:
        values: measurement -> the update that accepted its value.
    """
    red = [one.measurement for one in cell.judgements if one.kind is kind and one.verdict in RED]
    return next((values[name] for name in [*red, "score"] if name in values), None)
