"""Run the whole check: from two sets of packages to two environments, two runs, one comparison, and its report."""

import datetime
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from quantbench import files
from quantbench.ab import environments, missing, runs
from quantbench.ab import mixed as cross
from quantbench.ab.mixed import Artifact, Crossed
from quantbench.ab.result import Asked, Cause, Combination, Found
from quantbench.ab.runs import Runner
from quantbench.build.eviction import GB, clear_all
from quantbench.build.store import Store, default_root
from quantbench.comparison import Item, Outcome, Timed, compare
from quantbench.comparison.load import accepted_spreads, read_sides, truths
from quantbench.core import config
from quantbench.core.child_process import ChildFailed, Interpreter
from quantbench.core.options import check_cache_size
from quantbench.core.stats import trimmed_mean
from quantbench.engine import measurements
from quantbench.errors import BadInput, full_disk_named
from quantbench.measure.interleaved import Contestant, InterleavedTimes, time_interleaved
from quantbench.measure.latency import Latency, LatencyFailed, save_inputs
from quantbench.records import Measurement, Report, parts
from quantbench.records.measurements import STALLS
from quantbench.reference.model import ReferenceModel, load_models
from quantbench.variants import VARIANTS

Say = Callable[[str], None]


def check(asked: Asked, say: Say) -> Found:
    """Make both environments, run both sides, compare.

    Raises:
        BadInput: packages that cannot be installed, or a run that could not begin.
    """
    # Checked before anything is installed.
    runs.check_arguments(asked.arguments)
    check_cache_size(asked.cache_size)
    store = Store(default_root())
    try:
        with store.temporary_files():  # which also holds the store, so that nothing used from now on is evicted
            result = _checked(asked, say)
    finally:
        store.release()
    for cleared in clear_all(store, asked.cache_size * GB):
        if cleared:
            say(f"store {store.root}: {cleared}")
    return result


def _checked(asked: Asked, say: Say) -> Found:
    models = load_models(asked.model_dir)
    resolved = [environments.resolve(side) for side in (asked.old, asked.new)]
    folder = _folder(asked.report_dir)
    for name, packages in zip(("old", "new"), resolved, strict=True):
        files.replace(folder / f"{name}.txt", "\n".join([*packages.pins, ""]))
    with tempfile.TemporaryDirectory(prefix="quantbench-ab-") as temporary:
        home = runs.copy_sources(Path(temporary))
        sides = [
            _side(name, packages, home, folder, say) for name, packages in zip(("old", "new"), resolved, strict=True)
        ]
        made = [runs.run(side, asked.model_dir, asked.arguments, say) for side in sides]
        read = read_sides(*made)
        labels = truths(asked.model_dir, read[1].report)
        trained = [cell.id for cell in read[1].report.cells if cell.seeds]
        spreads = accepted_spreads(baseline_dir(asked.arguments), trained)
        left_out = {
            cell: why
            for side, packages, one in zip(sides, resolved, read, strict=True)
            for cell, why in missing.left_out(one.report, side.name, packages.without).items()
        }
        first = compare(*read, labels, accepted=spreads, left_out=left_out)
        result = Found(asked, folder, resolved[0], resolved[1], first, left_out=left_out)
        result.unmet = {side.name: found for side in sides if (found := missing.unmet(side.python.executable))}
        write(result)  # so that finished work is kept while the rest is timed
        artifacts = _artifacts(sides, read[0].report, read[1].report, asked.model_dir)
        result.compared = cross.compared(*artifacts, (cell.id for cell in read[1].report.cells))
        both = _Both(sides, artifacts, _Inputs(models, Path(temporary)))
        _time(result, both, say)
        result.comparison = compare(*read, labels, timed=result.timed, accepted=spreads, left_out=left_out)
        _tell_apart(result, both, say)
        write(result)
    return result


def baseline_dir(arguments: Sequence[str]) -> Path:
    """Return the folder of baselines that the runs are given, for the spread between trainings."""
    option = "--baseline-dir"
    given = [value.removeprefix(f"{option}=") for value in arguments if value.startswith(f"{option}=")]
    given += [value for name, value in pairwise(arguments) if name == option]
    return Path(given[-1] if given else config.resolve()["baseline_dir"])


def _folder(report_dir: Path) -> Path:
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    folder = report_dir / f"ab-{stamp}"
    try:
        with full_disk_named(report_dir):
            folder.mkdir(parents=True)
    except OSError as error:
        raise BadInput(f"--report-dir: cannot write to {report_dir}: {error.strerror}; give another") from None
    return folder


def _side(name: str, packages: environments.Resolved, home: Path, folder: Path, say: Say) -> Runner:
    without = f", without {', '.join(packages.without)}" if packages.without else ""
    say(f"{name}: {' '.join(packages.side.given)}, {len(packages.pins)} packages{without}")
    return Runner(name, Interpreter(environments.install(packages), home), folder / name)


def _artifacts(
    sides: Sequence[Runner], old: Report, new: Report, model_dir: Path
) -> tuple[dict[str, Artifact], dict[str, Artifact]]:
    wanted = [[cell.id for cell in report.cells if cell.failure is None] for report in (old, new)]
    try:
        artifacts = [cross.find(side, cells, model_dir) for side, cells in zip(sides, wanted, strict=True)]
    except ChildFailed as error:
        raise BadInput(f"the artifacts cannot be found in the store again: the process {error}") from None
    return artifacts[0], artifacts[1]


class _Inputs:
    """Save the prepared examples of each model once, for all timing processes."""

    def __init__(self, models: dict[str, ReferenceModel], folder: Path) -> None:
        self._models, self._folder = models, folder
        self._saved: dict[str, Path] = {}

    def of(self, cell: str) -> Path:
        name = parts(cell)[0]
        if name not in self._saved:
            folder = self._folder / f"inputs-{name}"
            folder.mkdir()
            self._saved[name] = save_inputs(self._models[name], folder)
        return self._saved[name]


@dataclass(frozen=True)
class _Both:
    """Pair the old and the new side: where each runs, and which artifacts it made."""

    sides: Sequence[Runner]
    artifacts: tuple[dict[str, Artifact], dict[str, Artifact]]
    inputs: _Inputs

    def contestant(self, cell: str, converter: int, runtime: int) -> Contestant:
        """Combine the artifact of one side with the runtime of one side; 0 is the old one."""
        return Contestant(self.sides[runtime].python, self.artifacts[converter][cell].path)


def _time(result: Found, both: _Both, say: Say) -> None:
    """Time every differing cell that both sides have, both artifacts interleaved."""
    wanted = []
    for cell in sorted(set(both.artifacts[0]) & set(both.artifacts[1])):
        why = _not_timed(result, cell)
        if why:
            result.untimed[cell] = why
        else:
            wanted.append(cell)
    for place, cell in enumerate(wanted, 1):
        contestants = {runner.name: both.contestant(cell, side, side) for side, runner in enumerate(both.sides)}
        try:
            turns = time_interleaved(contestants, both.inputs.of(cell), result.asked.seconds)
        except LatencyFailed as error:
            result.untimed[cell] = str(error)
            continue
        result.timed[cell] = Timed(turns.seconds["old"], turns.seconds["new"], _stalls(turns))
        change = 100 * (trimmed_mean(turns.ratios("new", "old")).mean - 1)
        say(f"timed {place} of {len(wanted)}: {cell} {change:+.2f} %")


def _stalls(turns: InterleavedTimes) -> Measurement | None:
    pairs = Latency([{"variant": group["new"], "control": group["old"]} for group in turns.groups])
    return measurements.stalls(pairs.stalls("control")).get(STALLS)


def _not_timed(result: Found, cell: str) -> str:
    if not result.asked.seconds:
        return "--latency-budget 0"
    if result.same_runtime and cell in result.alike:
        return "runtime and artifact are the same on both sides, but for the converter's stamp"
    if not (result.asked.time_all or VARIANTS[parts(cell)[1]].timed_in_gate):
        return "not among the variants that the pull-request gate times; --time-all times every cell"
    return ""


def _tell_apart(result: Found, both: _Both, say: Say) -> None:
    """Find which side changed a score or a latency; where both differ, by running both mixed combinations."""
    changed: dict[str, list[Item]] = {}
    for item in result.comparison.items:
        if item.measurement in ("score", "latency") and item.outcome in (Outcome.WORSE, Outcome.BETTER):
            changed.setdefault(item.cell, []).append(item)
    sides, artifacts = both.sides, both.artifacts
    mixed = []
    for cell in changed:
        if cell in result.alike:
            result.causes[cell] = Cause("the runtime: the two artifacts are the same")
        elif result.same_runtime:
            result.causes[cell] = Cause("the converter: the runtime is the same")
        elif cell in artifacts[0] and cell in artifacts[1]:
            mixed.append(cell)
    if not mixed:
        return
    say(f"both converter and runtime differ: running {len(mixed)} changed cells by the other side's runtime too")
    model_dir, folder = result.asked.model_dir, result.folder / "combinations"
    crossed = [
        cross.run_on(on, {cell: made[cell] for cell in mixed}, model_dir, folder / name)
        for name, on, made in (
            ("new-converter-old-runtime", sides[0], artifacts[1]),
            ("old-converter-new-runtime", sides[1], artifacts[0]),
        )
    ]
    base = cross.run_on(sides[0], {cell: artifacts[0][cell] for cell in mixed}, model_dir, folder / "old")
    for cell in mixed:
        turns = None
        if any(item.measurement == "latency" for item in changed[cell]):
            turns = _combinations_in_turns(cell, both, result.asked.seconds)
        combinations = [
            _combination(crossed[0][cell], base[cell], turns, "new-converter"),
            _combination(crossed[1][cell], base[cell], turns, "new-runtime"),
        ]
        result.causes[cell] = Cause(_words(*combinations), *combinations)


def _combinations_in_turns(cell: str, both: _Both, seconds: float) -> InterleavedTimes | None:
    contestants = {
        "old": both.contestant(cell, converter=0, runtime=0),
        "new-converter": both.contestant(cell, converter=1, runtime=0),
        "new-runtime": both.contestant(cell, converter=0, runtime=1),
    }
    try:
        return time_interleaved(contestants, both.inputs.of(cell), seconds)
    except LatencyFailed:  # its score already reports that the combination cannot run
        return None


def _combination(crossed: Crossed, base: Crossed, turns: InterleavedTimes | None, name: str) -> Combination:
    ratios = [] if turns is None else turns.ratios(name, "old")
    if crossed.predictions is None or base.predictions is None:
        return Combination(failure=crossed.failure or base.failure, ratios=ratios)
    changed = int(np.count_nonzero(crossed.predictions != base.predictions))
    return Combination(crossed.score, changed, "", ratios)


def _words(new_converter: Combination, new_runtime: Combination) -> str:
    """Name the side that alone changes the predictions, or the time by more than 1 %."""
    parts = []
    moved = {"the converter": new_converter.changed, "the runtime": new_runtime.changed}
    did = [name for name, changed in moved.items() if changed]
    if None not in moved.values():
        parts.append(f"answers: {' and '.join(did) or 'neither alone'}")
    else:
        parts.append(f"answers: not known ({new_converter.failure or new_runtime.failure})")
    if new_converter.ratios and new_runtime.ratios:
        both = {"the converter": new_converter.ratios, "the runtime": new_runtime.ratios}
        slow = [name for name, ratios in both.items() if abs(trimmed_mean(ratios).mean - 1) > 0.01]
        parts.append(f"time: {' and '.join(slow) or 'neither alone'}")
    return "; ".join(parts)


def write(result: Found) -> None:
    """Write the report as Markdown and as a page, and the timings as JSON."""
    from quantbench.ab.report import page, render

    files.replace(result.folder / "report.md", render(result))
    files.replace(result.folder / "report.html", page(result))
    seconds = {cell: {"old": timed.old, "new": timed.new} for cell, timed in result.timed.items()}
    timings = {"format": "1.0", "unit": "seconds a call, one value a group of processes", "timed": seconds}
    files.replace(result.folder / "timed.json", json.dumps(timings, indent=1) + "\n")
