"""Run the matrix in one call, without pytest."""

from collections.abc import Callable, Collection, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

from quantbench.core import arguments, streams
from quantbench.core import config as settings_of
from quantbench.core.arguments import Names
from quantbench.core.signals import forget, stop_asked
from quantbench.engine.cell import CellId
from quantbench.engine.drive import until_stopped
from quantbench.engine.finish import HowEnded
from quantbench.engine.session import Session
from quantbench.engine.workers.task import Outcome
from quantbench.errors import DiskFull, Exit
from quantbench.records import Kind, Report


def whole_run(
    session: Session,
    wanted: Mapping[CellId, Set[Kind]],
    notes: Sequence[str] = (),
    worth_timing: Callable[[Mapping[CellId, Outcome]], Collection[CellId]] | None = None,
) -> tuple[Exit, HowEnded]:
    """Run these cells up to the last report; a run that is stopped leaves a partial report.

    Args:
        worth_timing: see :meth:`quantbench.engine.session.Session.judge_all`.

    Returns:
        The run's exit status, and what stopped it early, if anything.

    Raises:
        NothingSelected, BadInput: see :meth:`quantbench.engine.session.Session.plan`.
        KeyboardInterrupt: it was stopped before there was anything to report.
        DiskFull: there is no space left; the report of what was finished is written where possible.
    """
    how = until_stopped(lambda: session.judge_all(wanted, worth_timing=worth_timing))
    if how.partial and not session.planned:
        raise DiskFull(how.where_full) if how.disk_full else KeyboardInterrupt
    how = replace(how, interrupted=how.interrupted or stop_asked())
    status = session.finish(how, list(notes))
    if how.disk_full or status is Exit.DISK_FULL:
        lost = streams.lost_for_want_of_space()
        where = session.folder.path
        words = how.where_full or lost or f"no space is left for the report in {where}; free some and run again"
        raise DiskFull(words)
    return status, how


@dataclass(frozen=True)
class Finished:
    """Hold a run that has ended.

    Attributes:
        status: the command line's exit status; ``Exit.GREEN`` where nothing is red.
        folder: the run's folder: its report in all formats, predictions and logs.
        report: every cell with its measurements and judgements.
    """

    status: Exit
    folder: Path
    report: Report


def run(
    *,
    config: Path | str | None = None,
    models: Names = None,
    variants: Names = None,
    model_dir: Path | str | None = None,
    baseline_dir: Path | str | None = None,
    report_dir: Path | str | None = None,
    seeds: int | None = None,
    latency: bool | None = None,
    latency_budget: float | None = None,
    threads: str | int | Sequence[str | int] | None = None,
    gpu: bool | None = None,
    instructions: bool | None = None,
    cache: bool = True,
    workers: int | None = None,
    cell_timeout: float | None = None,
    false_alarms: float | None = None,
    strict_change: bool | None = None,
    target: Names = None,
) -> Finished:
    """Build, measure and judge cells, and write the report of the run; prints nothing and ends no process.

    An argument that is None is what ``quantbench run`` takes without that option: from an environment variable, the
    repository's config (``[tool.quantbench]`` in pyproject.toml, or quantbench.toml), or the default.

    Worker processes are spawned, so a script calls this under ``if __name__ == "__main__":``.

    Args:
        config: folder from which a config file is looked for, upward, or such a file; the working directory where None.
        models, variants: names, comma-separated or a list, such as ``"float32,ptq_float16"``; all where empty.
        model_dir, baseline_dir: folders of model files and of baselines; those shipped with quantbench where no config
            names others.
        report_dir: output folder; each run gets a subfolder, ``latest`` links to the newest.
        seeds: training seeds of every cell that trains.
        latency, latency_budget: whether to time cells, and for how many seconds each.
        threads: numbers of threads to time besides one, comma-separated or a list, ``"all"`` for every core.
        gpu: whether to measure on a GPU, where there is one.
        instructions: whether to count them, where valgrind is installed.
        cache: whether to use cached results.
        workers: number of worker processes; 0 = one per core.
        cell_timeout: per-cell timeout in seconds.
        false_alarms: probability of any red cell where nothing changed.
        strict_change: whether outputs that changed without getting worse are red.
        target: targets that cells run on too, comma-separated or a list: declared names, ``all``, or addresses.

    Returns:
        The run; where a signal stopped it, ``status`` is ``Exit.INTERRUPTED`` and the report holds the finished cells.

    Raises:
        BadInput: an argument, a config, a model or a baseline is wrong.
        NothingSelected: no cell is selected.
        KeyboardInterrupt: it was stopped before there was anything to report.
        DiskFull: no space is left.
    """
    arguments.check(bool, latency=latency, gpu=gpu, instructions=instructions, cache=cache, strict_change=strict_change)
    arguments.check(int, seeds=seeds, workers=workers)
    arguments.check(float, latency_budget=latency_budget, cell_timeout=cell_timeout, false_alarms=false_alarms)
    settings = settings_of.settings_at(config)
    options = settings.options(
        models=arguments.names(models, "models"),
        variants=arguments.names(variants, "variants"),
        model_dir=arguments.optional_path(model_dir, "model_dir"),
        baseline_dir=arguments.optional_path(baseline_dir, "baseline_dir"),
        report_dir=arguments.optional_path(report_dir, "report_dir"),
        seeds=seeds,
        no_cache=not cache,
        no_latency=None if latency is None else not latency,
        no_gpu=None if gpu is None else not gpu,
        no_instructions=None if instructions is None else not instructions,
        latency_budget=latency_budget,
        threads=arguments.names(threads, "threads", numbers=True),
        workers=workers,
        cell_timeout=cell_timeout,
        false_alarms=false_alarms,
        strict_change=strict_change,
        target=arguments.names(target, "target"),
    )
    forget()
    with settings.cache_in_force(), settings.locating():
        session = Session(options, lambda _: None)
        kinds = {Kind.ACCURACY, Kind.SIZE, Kind.STRUCTURE, Kind.MEMORY}
        if not options.no_latency:
            kinds.add(Kind.LATENCY)
        if not options.no_gpu and session.look_for_gpu().devices:
            kinds.add(Kind.GPU)
        if session.counts_instructions:
            kinds.add(Kind.INSTRUCTIONS)
        if session.has_targets:
            kinds.add(Kind.TARGET)
        status, _ = whole_run(session, dict.fromkeys(session.cell_ids(), kinds))
    return Finished(status, session.folder.path, session.report)
