"""Judge files that another tool has built, once: the command ``quantbench judge``.

The files become variants of a model that is kept for as long as the run takes, so that they are scored, weighed and
timed by the same workers, and in turns with what they are compared with. There is no training to repeat in a file:
every comparison is paired, example by example.
"""

import datetime
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from quantbench.adopt import formats, inspecting, ranking, understand, verdicts
from quantbench.adopt.commands import arguments
from quantbench.adopt.held import Limits
from quantbench.adopt.inspecting import Inspected
from quantbench.adopt.search import run_predictions
from quantbench.core import environment
from quantbench.core.options import RunOptions
from quantbench.core.output import output_to
from quantbench.core.signals import settle, undisturbed
from quantbench.engine import finish
from quantbench.engine.progress import on_terminal
from quantbench.engine.session import Session
from quantbench.engine.whole_run import whole_run
from quantbench.errors import BadInput, Exit, full_disk_named
from quantbench.records import BuiltArtifact, FalseAlarms, FileVerdicts, Kind, Machine, Report, cell_key
from quantbench.report.run_folder import RunFolder
from quantbench.tflite import vela
from quantbench.variants import FLOAT_CONTROL, VARIANTS, built

Say = Callable[[str], None]
EXITS = {"within": Exit.GREEN, "beyond": Exit.REGRESSED, "undecided": Exit.NOT_MEASURED}


@dataclass(frozen=True)
class Asked:
    """Hold what is to be judged, and by what.

    Attributes:
        quantized: the files.
        against: ``float`` where the model given is float, ``shipped`` where it is an earlier quantized file, empty
            where there is none.
        spec: quantization spec that every file has to keep; empty for none.
        limits: of size, latency and the like.
        vela: summary that Vela wrote of the compiled file.
        latency_budget: seconds of timing for each file; 0: nothing is timed.
    """

    quantized: Sequence[Path]
    against: str = "float"
    spec: str = ""
    limits: Limits = field(default_factory=Limits)
    vela: Path | None = None
    latency_budget: float = 3.0


def judge(
    given: understand.Given, asked: Asked, folder: Path, report_dir: Path, say: Say
) -> tuple[Exit, FileVerdicts | None]:
    """Judge the files, and write the run's folder.

    Args:
        given: its ``model`` is what the files are compared with; empty where there is nothing.
        folder: for what is needed during the run alone.

    Returns:
        The exit status, and what was found; None where it was interrupted.

    Raises:
        BadInput: a file cannot be read or does not fit the model, or model, data or an option are wrong.
    """
    if not 0 <= asked.latency_budget < math.inf:
        raise BadInput(f"--latency-budget: expected seconds, or 0 for none, found {asked.latency_budget}")
    promise = built.spec_of(asked.spec, VARIANTS)
    if given.model and understand.is_code(given.model):
        raise BadInput(
            f"--float: {given.model} is code, beside which files of others are not run; give the saved model"
        )
    found = {f"{built.PREFIX}{name}": inspecting.inspect(path) for name, path in named(asked.quantized).items()}
    found = _with_reports(found, asked.vela)
    runs = {name: one for name, one in found.items() if one.compiled is None}
    if given.max_drop.words() and not runs:
        raise BadInput("--max-drop: a compiled file has no score; leave it out, and judge the file it was made from")
    if given.model and not runs:
        say(f"{given.model} is compared with nothing, as a compiled file has no answers here")
    if given.max_drop.words() and not given.model:
        raise BadInput("--max-drop: there is nothing to drop from; give --float, or --against FILE")
    asked.limits.check_apply([one.compiled is not None for one in found.values()])
    if not runs:
        files = [verdicts.of_compiled(one, asked.limits) for one in found.values()]
        return _alone(FileVerdicts(files=files, machine=_machine(), arguments=_arguments(given, asked)), report_dir)
    reference = given if given.model else replace(given, model=str(next(iter(runs.values())).path))
    say(f"loading {reference.model}")
    with output_to(folder / "loading.log"):
        understood = _understood(replace(reference, quantized=asked.against != "float"), folder)
    for one in runs.values():
        inspecting.check_fits(one, understood.inputs, understood.outputs, Path(reference.model).name)
    outputs = ranking.judged_of(understood)
    ranking.unscored(outputs, given.max_drop)
    for note in understood.notes:
        say(note)
    model = understood.model
    listed = {
        name: BuiltArtifact(name=name.removeprefix(built.PREFIX), file=str(one.path.absolute()), spec=asked.spec)
        for name, one in runs.items()
    }
    built.declare(model.file, model.name, listed)
    session, status, whole = _measured(understood, list(runs), asked, report_dir, say)
    if not whole:
        return status, None
    judged = verdicts.Judging(
        session.report,
        outputs,
        run_predictions(session, model.name),
        given.max_drop,
        promise,
        asked.spec,
        asked.limits,
        reference_file(session, model.name),
    )
    record = judged.record(
        found, reference.model if given.model else "", "" if not given.model else asked.against
    ).model_copy(
        update={"notes": understood.notes, "folder": str(session.folder.path), "arguments": _arguments(given, asked)}
    )
    return _written(session.folder, session.report, record), record


def _understood(given: understand.Given, folder: Path) -> understand.Understood:
    """Derive the model that files are compared with. Raises BadInput."""
    try:
        return understand.understand(given, "model", folder)
    except formats.AlreadyQuantized as error:
        raise BadInput(f"--float: {error}, or where there is none, the file shipped so far with --against") from None


def named(paths: Sequence[Path]) -> dict[str, Path]:
    """Return name -> file; names that can be those of cells, each once.

    Raises:
        BadInput: there is no file, or one is given twice.
    """
    if not paths:
        raise BadInput("--quantized: give at least one .tflite that another tool has built")
    found: dict[str, Path] = {}
    for path in paths:
        if any(path.absolute() == other.absolute() for other in found.values()):
            raise BadInput(f"--quantized: {path} is given twice; give each file once")
        name = re.sub(r"\W+", "_", path.name.removesuffix(".tflite"), flags=re.ASCII).strip("_") or "file"
        name = name if name[0].isalpha() else f"file_{name}"
        others = (f"{name}_{number}" for number in range(2, len(paths) + 2))
        found[next(one for one in (name, *others) if one not in found)] = path
    return found


def _with_reports(found: dict[str, Inspected], report: Path | None) -> dict[str, Inspected]:
    """Add what the compiler's report says to the compiled file. Raises BadInput where there is not exactly one."""
    if report is None:
        return found
    compiled = [name for name, one in found.items() if one.compiled is not None]
    if len(compiled) != 1:
        raise BadInput(
            f"--vela-report: goes with one compiled file, and {len(compiled)} of those given are; judge each by itself"
        )
    one = found[compiled[0]]
    assert one.compiled is not None
    try:
        figures, about = vela.read(report, one.path.stem)
    except BadInput as error:
        raise BadInput(f"--vela-report: {error}") from None
    known = vela.with_share({**one.compiled.figures, **figures})
    return {
        **found,
        compiled[0]: replace(one, compiled=one.compiled.model_copy(update={"figures": known, "about": about})),
    }


def reference_file(session: Session, model: str) -> Path | None:
    """Return the file that a run's others are compared with; None where it made none."""
    return session.artifacts().get(cell_key(model, FLOAT_CONTROL))


def _measured(
    understood: understand.Understood, variants: Sequence[str], asked: Asked, report_dir: Path, say: Say
) -> tuple[Session, Exit, bool]:
    """Score, weigh and time the files in turns with what they are compared with."""
    kinds = {Kind.ACCURACY, Kind.SIZE, Kind.STRUCTURE, Kind.MEMORY}
    kinds |= {Kind.LATENCY} if asked.latency_budget else set()
    options = RunOptions(
        variants=",".join([FLOAT_CONTROL, *variants]),
        report_dir=report_dir,
        latency_budget=asked.latency_budget or 1.0,
    )
    model = understood.model
    session = Session(options, say, models={model.name: model}, start_up=False)
    session.progress = on_terminal(say)
    settle()
    say(f"scoring and timing {len(variants)} file{'s' * (len(variants) > 1)}")
    status, how = whole_run(session, dict.fromkeys(session.cell_ids(), kinds), understood.notes)
    if how.interrupted:
        say(f"interrupted; what was finished is in {session.folder.path / 'report.md'}")
    return session, status, not how.interrupted


def _written(folder: RunFolder, report: Report, record: FileVerdicts) -> Exit:
    """Write the verdicts into the run's folder; the exit status there is the one returned."""
    status = EXITS[record.verdict]
    with full_disk_named(folder.path), undisturbed():
        folder.write_verdicts(report.model_copy(update={"built": record, "exit_status": int(status)}))
        finish.reported = status
    return status


def _alone(record: FileVerdicts, report_dir: Path) -> tuple[Exit, FileVerdicts]:
    """Write a run that has no cells, as nothing of it can be run here."""
    folder = RunFolder.create(report_dir)
    record = record.model_copy(update={"folder": str(folder.path)})
    report = Report(
        run=folder.path.name,
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        seconds=0.0,
        state="complete",
        exit_status=0,
        selection="",
        environment=environment.collect(),
        false_alarms=FalseAlarms(budget=0.0, judgements=0, share=0.0),
        cells=[],
    )
    return _written(folder, report, record), record


def _machine() -> Machine:
    return Machine(cpu=environment.collect().cpu)


def _arguments(given: understand.Given, asked: Asked) -> list[str]:
    """Return the options that repeat this."""
    model = {"float": "--float", "shipped": "--against"}.get(asked.against) if given.model else None
    words = [model, given.model] if model else []
    for path in asked.quantized:
        words += ["--quantized", str(path)]
    words += arguments(given)
    words += ["--spec", asked.spec] if asked.spec else []
    for text in asked.limits.texts:
        words += ["--limit", text]
    return [*words, *(["--vela-report", str(asked.vela)] if asked.vela else [])]
