"""Adopt a model permanently: choose what is gated, measure it with five seeds, and record its first baseline."""

import os
import sys
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from quantbench import files
from quantbench.adopt import artifacts, declaration, understand
from quantbench.adopt.commands import advised
from quantbench.adopt.limits import Limit
from quantbench.adopt.pack import bring_data
from quantbench.adopt.search import search
from quantbench.baselines import files as baseline_files
from quantbench.baselines import update, update_cell
from quantbench.core import config, options
from quantbench.core.options import RunOptions
from quantbench.core.output import output_to
from quantbench.core.signals import check, settle, undisturbed
from quantbench.engine.session import Session
from quantbench.errors import BadInput, Exit, full_disk_named
from quantbench.measure import instructions, micro
from quantbench.records import Advice, BuiltArtifact, Decision, Kind, Report, Verdict, read_recipe, recipe_text
from quantbench.records.measurements import of_output
from quantbench.reference.heads import by_output
from quantbench.reference.model import ReferenceModel, pick
from quantbench.variants import FLOAT_CONTROL, TUNED, VARIANTS, Variant, built, of_every_model, tuned

Say = Callable[[str], None]
_KINDS = frozenset({Kind.ACCURACY, Kind.SIZE, Kind.STRUCTURE, Kind.MEMORY})


@dataclass(frozen=True)
class Folders:
    """Hold where a model is adopted into, and where its runs are written."""

    model_dir: Path
    baseline_dir: Path
    report_dir: Path

    def check(self) -> None:
        """Raise BadInput where one cannot be written to, before anything is measured."""
        for option, folder in (("--model-dir", self.model_dir), ("--baseline-dir", self.baseline_dir)):
            if why := files.unwritable(folder):
                raise BadInput(f"{option}: cannot write to {folder}: {why}; give another folder")


@dataclass(frozen=True)
class Gate:
    """Hold which variants of a model are gated, and what is to be said of the others in one line."""

    variants: tuple[str, ...]
    others: str


def adopt_for_good(
    given: understand.Given,
    name: str,
    folders: Folders,
    gate: str,
    latency_budget: float,
    say: Say,
    recipe: Path | None = None,
    own: Mapping[str, BuiltArtifact] | None = None,
    accept: str = "",
) -> Exit:
    """Write the model's file, weights and data, measure what is gated with five seeds, and record it as the baseline.

    Args:
        gate: variants to gate, comma-separated; empty for float32 and what ``try`` would recommend.
        latency_budget: seconds of timing per variant; 0: nothing is timed.
        recipe: of a mixed artifact, which is gated too, or alone where ``gate`` is empty.
        own: variant -> artifact that another tool builds, which is gated in the same way.
        accept: why one of these that breaks its quantization spec is taken, as a known limitation.

    Returns:
        REGRESSED where a floor, or the agreement of the conversion, fails from the start.

    Raises:
        BadInput: see :func:`quantbench.adopt.understand.understand`; or the name is taken, a variant is unknown, or a
            folder cannot be written.
    """
    understand.check_name(name)
    held = read_recipe(recipe) if recipe is not None else None
    asked = with_tuned(named_gate(gate)) if held is not None else named_gate(gate)
    listed = dict(own or {})
    asked = with_built(asked, listed)
    kinds = kinds_for(latency_budget)
    model_dir, baseline_dir = folders.model_dir, folders.baseline_dir
    if os.path.lexists(model_dir / f"{name}.py") or os.path.lexists(baseline_files.json_path(baseline_dir, name)):
        raise BadInput(
            f"--name: {name} exists already in {model_dir} or {baseline_dir}; give another, remove it first, or take a "
            f"retrained model over with --update {name}"
        )
    if understand.is_code(given.model):
        raise BadInput(f"{given.model}: a .py model is a reference model already; copy it into {model_dir}")
    folders.check()
    reason = f"adopted from {Path(given.model).name}"
    if accept.strip():
        update.check_length("--accept", accept.strip(), f"{reason}: ")
        reason = f"{reason}: {accept.strip()}"
    # Loaded and measured in a temporary folder first, so that a refused model leaves nothing in the user's folders.
    with tempfile.TemporaryDirectory(prefix="quantbench-") as aside:
        folder = Path(aside) / "model"
        with output_to(Path(aside) / "loading.log"):
            understood = understand.understand(given, name, folder)
        for note in understood.notes:
            say(note)
        if held is not None:
            files.replace(tuned.recipe_file(understood.model), recipe_text(held))
        listed = artifacts.checked(listed, understood, given.model, accept)
        artifacts.bring(listed, understood.model)
        chosen = Gate(asked, _rest(asked)) if asked else None
        if chosen is None:
            asked_for = RunOptions(report_dir=folders.report_dir, latency_budget=latency_budget or 1.0)
            session, status, whole = search(understood, asked_for, set(kinds), say, "short")
            if not whole:
                return status
            check_control(session.report, given.model)
            chosen = chosen_gate(session, understood, given.max_drop)
        model = declaration.with_gate(understood.model, chosen.variants)
        session, status, whole = measured(model, chosen.variants, folders.report_dir, latency_budget, say)
        if not whole:
            return status
        check_control(session.report, given.model)
        if recipe is not None:
            check_tuned(session.report, recipe)
        artifacts.check_made(session.report, listed)
        update.check_report(session.report, session.folder.path)
        proposal = update.propose(
            session.report,
            session.folder.path,
            name,
            baseline_files.Baseline(),
            reason,
            floor_of=update.floors_of(model),
        )
        check()
        with undisturbed():  # a model without its baseline would be half adopted
            copied(folder, model_dir)
            artifacts.settle(model_dir, name)
            saved = baseline_files.save(baseline_dir, proposal.file, proposal.predictions)
            settle()
    for path in (model_dir / f"{name}.py", *saved):
        say(f"wrote {path}")
    if session.report.environment.git_dirty:
        say(f"note: {update.of_local_changes(session.report.environment)}; record the baseline again once they are")
    for cell, why in proposal.declared.items():
        say(f"known limitation: {cell}: {why}")
    limits = {output: scored.floors["default"] for output, scored in by_output(model).items() if scored.floors}
    for output, limit in limits.items():
        if open_limits := undecided(session.report, output):
            whose = f" of output {output}" if output else ""
            say(
                f"undecided: {', '.join(open_limits)}: these examples cannot show whether the drop{whose} stays within "
                f"the limit of {limit.max_drop:g}; every run warns until more examples decide"
            )
    red = failures(session.report)
    for message in red:
        say(f"RED {message}")
    if red:
        say(
            f"These stay red in every run until the cause is fixed, or a limit (floors) in {model_dir / name}.py is "
            "raised."
        )
    say(f"gated: {', '.join(chosen.variants)}. {chosen.others}")
    if model.heads:
        rest = ", ".join(head.name for head in model.heads)
        say(f"each output is gated by its own score and limit: the first one, and {rest}")
    alone = name if config.resolve()["models"] else ""  # which selects others
    say(f"gate it with: {gate_command(folders, latency_budget > 0, alone)}")
    return Exit.REGRESSED if red else Exit.GREEN


def gate_command(folders: Folders, timed: bool, model: str = "") -> str:
    """Return the command that gates what was adopted, with what the repository's config does not say.

    Args:
        model: to run alone; empty for all that the config selects.
    """
    usual = config.resolve().options().usual
    wanted = RunOptions(model, "", folders.model_dir, folders.baseline_dir, no_latency=not timed, usual=usual)
    names = ["models"] * bool(model) + ["model_dir", "baseline_dir", "no_latency"]
    return " ".join(["quantbench run", *options.given(wanted, *names)])


def named_gate(gate: str, offered: Mapping[str, Variant] = VARIANTS) -> tuple[str, ...]:
    """Return the named variants, float32 among them, in the order of all; none where none is named.

    Args:
        offered: what may be named; what every model offers where nothing else is given.

    Raises:
        BadInput: a variant is unknown.
    """
    if not gate.strip():
        return ()
    named = pick(gate, dict(offered), "--gate")
    return tuple(name for name in offered if name in named or name == FLOAT_CONTROL)


def with_built(gate: Sequence[str], own: Collection[str]) -> tuple[str, ...]:
    """Return the gate with float32 and these artifacts built elsewhere in it; as it is where there are none."""
    if not own:
        return tuple(gate)
    fixed = [name for name in VARIANTS if name in (FLOAT_CONTROL, *gate)]
    return (*fixed, *dict.fromkeys([*(name for name in gate if built.is_built(name)), *own]))


def with_tuned(gate: Sequence[str]) -> tuple[str, ...]:
    """Return the gate with float32 and the artifact of the model's recipe in it, in the order of all variants."""
    fixed = tuple(name for name in VARIANTS if name in (FLOAT_CONTROL, TUNED, *gate))
    return (*fixed, *(name for name in gate if built.is_built(name)))


def check_tuned(report: Report, recipe: Path) -> None:
    """Raise BadInput where the artifact of a recipe could not be made."""
    cell = next((cell for cell in report.cells if cell.variant == TUNED), None)
    if cell is not None and cell.failure is not None:
        raise BadInput(f"{recipe}: its artifact cannot be made of this model: {cell.failure.reason}")


def _rest(gate: Sequence[str]) -> str:
    others = [name for name in of_every_model() if name not in gate]
    return f"Not gated: {len(others)} other variants, which were not measured."


def kinds_for(latency_budget: float) -> set[Kind]:
    """Return what is measured of each gated variant. Raises BadInput where the budget is no number of seconds."""
    if not 0 <= latency_budget < float("inf"):
        raise BadInput(f"--latency-budget: expected seconds, or 0 for none, found {latency_budget}")
    counted = not (instructions.unavailable() or config.resolve().options().no_instructions)
    on_micro = not (micro.unavailable() or config.resolve().options().no_micro)
    asked = {Kind.LATENCY: bool(latency_budget), Kind.INSTRUCTIONS: counted, Kind.MICRO: on_micro}
    return set(_KINDS) | {kind for kind, wanted in asked.items() if wanted}


def measured(
    model: ReferenceModel, variants: Sequence[str], report_dir: Path, latency_budget: float, say: Say
) -> tuple[Session, Exit, bool]:
    """Measure these variants of a model with as many seeds as a baseline needs; what is cached is not made again."""
    asked_for = RunOptions(
        variants=",".join(variants),
        report_dir=report_dir,
        seeds=update_cell.MINIMUM_SEEDS,
        latency_budget=latency_budget or 1.0,
    )
    return search(understand.Understood(model, []), asked_for, kinds_for(latency_budget), say)


def check_control(report: Report, model: str) -> None:
    """Raise BadInput where float32 was not made or scored: without it, a gate would be green with nothing in it."""
    control = next((cell for cell in report.cells if cell.variant == FLOAT_CONTROL), None)
    if control is None or "score" not in control.measurements:
        failure = control.failure if control is not None else None
        why = f" ({failure.reason})" if failure else ""
        raise BadInput(f"{model}: float32 cannot be made or scored, so nothing can be gated{why}")


def chosen_gate(session: Session, understood: understand.Understood, limit: Limit) -> Gate:
    """Choose float32 and the variant that ``try`` would recommend."""
    advice = advised(session, understood, limit)
    if advice.choice is None:
        raise BadInput(
            f"{understood.model.name}: nothing can be recommended: {advice.nothing}; or name what to gate with --gate"
        )
    gate = tuple(name for name in VARIANTS if name in (FLOAT_CONTROL, advice.choice))
    return Gate(gate, _others(session.report, advice, gate))


def _others(report: Report, advice: Advice, gate: Sequence[str]) -> str:
    """Say in one line what is not gated and why, and how to add it."""
    left = {one.variant: one.verdict for one in advice.variants if one.variant not in gate}
    words: dict[Decision, str] = {
        "within": "within the limit",
        "beyond": "beyond it",
        "undecided": "undecided with these examples",
    }
    groups = {what: [name for name, found in left.items() if found == verdict] for verdict, what in words.items()}
    told = [f"{len(names)} {what} ({_some(names)})" for what, names in groups.items() if names]
    failed = sum(cell.failure is not None for cell in report.cells)
    partly = len(report.cells) - failed - len(left) - len(gate)
    told += [f"{failed} that cannot be made"] if failed else []
    told += [f"{partly} that are only partly quantized, or float references"] if partly > 0 else []
    untried = len(set(of_every_model()) - {cell.variant for cell in report.cells})
    told += [f"{untried} not tried"] if untried > 0 else []
    if not told:
        return ""
    return f"Not gated: {', '.join(told)}. Gate others with --gate VARIANT,..."


_NAMED = 3  # of each group, so that the line stays one line


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")


def copied(folder: Path, model_dir: Path) -> None:
    """Copy a model's file, weights and data into the user's folder. Raises BadInput, DiskFull."""
    try:
        with full_disk_named(model_dir):
            files.copy_tree(folder, model_dir, "the adopted model", limit=sys.maxsize, leave_out=_is_cache)
            for pack in (folder / "data").iterdir():
                bring_data(model_dir / "data" / pack.name)
    except OSError as error:
        words = f"cannot write to {model_dir}: {error.strerror}"
        raise BadInput(f"--model-dir: {words}; give another folder") from None


def _is_cache(name: str) -> bool:
    return name == "__pycache__"


def undecided(report: Report, output: str = "") -> list[str]:
    """List the cells whose limit lies inside the interval of their drop.

    Args:
        output: the further output whose limit it is; empty for the main one.
    """
    name = of_output("score", output)
    return [
        cell.id
        for cell in report.cells
        for one in cell.judgements
        if one.against == "floor" and one.measurement == name and one.verdict is Verdict.WARN
    ]


def failures(report: Report) -> list[str]:
    """List failures that no baseline can accept: floors, and conversions that do not agree with the model."""
    judged = [(cell.id, judgement) for cell in report.cells for judgement in cell.judgements]
    return [
        f"{cell}: {judgement.message}"
        for cell, judgement in judged
        if judgement.verdict is Verdict.REGRESSED and judgement.kind is not Kind.STRUCTURE
    ]
