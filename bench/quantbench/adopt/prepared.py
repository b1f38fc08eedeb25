"""Prepare a model for tuning: load it, divide its examples, and score the fixed variants on all of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from quantbench import files
from quantbench.adopt import gating, limits, ranking, splitting, understand
from quantbench.adopt.candidates import Question
from quantbench.adopt.search import refusals, run_predictions, search, told
from quantbench.core.arrays import Array
from quantbench.core.options import RunOptions
from quantbench.core.output import output_to
from quantbench.engine.session import Session
from quantbench.errors import BadInput, Exit
from quantbench.records import JudgedOutput, Kind
from quantbench.variants import FLOAT_CONTROL, VARIANTS

Say = Callable[[str], None]


@dataclass(frozen=True)
class Prepared:
    """Hold a model with its fixed variants scored, and how its examples are divided.

    Attributes:
        fixed: variant -> its artifact's file; float32 among them.
        predictions: variant -> output -> of all test examples.
        searching, judging: what artifacts are asked on each side.
    """

    understood: understand.Understood
    session: Session
    fixed: dict[str, Path]
    predictions: dict[str, dict[str, Array]]
    searching: Question
    judging: Question
    outputs: list[JudgedOutput]

    def artifact(self, name: str) -> bytes:
        """Read the artifact of a fixed variant. Raises BadInput where it is gone."""
        return files.read_bytes(self.fixed[name], "artifact", files.LARGEST_MODEL)


def prepare(
    given: understand.Given, folder: Path, report_dir: Path, variants: Sequence[str], say: Say
) -> tuple[Prepared | None, Exit]:
    """Load the model, divide the examples, and score the fixed variants on all of them; None where it was stopped."""
    say(f"loading {given.model}")
    with output_to(folder / "loading.log"):
        understood = understand.understand(given, "model", folder)
    model, limit = understood.model, given.max_drop
    outputs = ranking.judged_of(understood)
    early = ranking.unscored(outputs, limit)
    pack = model.pack()
    seen, unseen = splitting.divided(len(pack.test), pack.groups)
    where = str(given.evaluation or f"the data of {model.name}")
    for one, of in zip(outputs, early, strict=True):
        if of.limit or not of.limit_given.endswith("%"):
            splitting.check_enough(len(seen), len(unseen), one.metric, of.limit, where)
    for note in understood.notes:
        say(note)
    refused = refusals(model, [VARIANTS[name] for name in variants])
    for line in told(refused):
        say(line)
    options = RunOptions(variants=",".join(name for name in variants if name not in refused), report_dir=report_dir)
    session, status, whole = search(understood, options, {Kind.ACCURACY, Kind.SIZE, Kind.STRUCTURE}, say)
    if not whole:
        return None, status
    gating.check_control(session.report, given.model)
    predictions = _by_variant(run_predictions(session, model.name), outputs)
    float32 = predictions[FLOAT_CONTROL]
    largest, described = [], []
    for one, of in zip(outputs, early, strict=True):
        values = float32[one.output if one is not outputs[0] else ""]
        score = float(one.metric.value(values, one.labels))
        most = float(limit.of(one.metric, score, one.labels, one.output, outputs[0].metric))
        reason = limits.unsupported(one.metric, one.labels, values, score, most, one.output)
        if reason is not None and not (reason.by_metric and one.asked):
            raise BadInput(reason.words)
        splitting.check_enough(len(seen), len(unseen), one.metric, most, where)
        largest.append(most)
        described.append(of.model_copy(update={"limit": most, "float_score": score, "examples": len(unseen)}))
    broken = {name for group in ranking.refused(session.report) for name in group.variants}
    made = {cell.rpartition("/")[2]: path for cell, path in session.artifacts().items()}
    fixed = {
        name: path
        for name, path in made.items()
        if name in predictions and (name not in broken or name == FLOAT_CONTROL)
    }
    searching, judging = (Question(outputs, largest, float32, places) for places in (seen, unseen))
    return Prepared(understood, session, fixed, predictions, searching, judging, described), status


def _by_variant(stored: Mapping[str, Array], outputs: Sequence[ranking.Scored]) -> dict[str, dict[str, Array]]:
    """Return variant -> output -> predictions, of the variants whose outputs were all scored."""
    found: dict[str, dict[str, Array]] = {}
    for name in stored:
        if "@" not in name:
            keys = {"": name} | {one.output: f"{name}@{one.output}" for one in outputs[1:]}
            if all(key in stored for key in keys.values()):
                found[name] = {output: stored[key] for output, key in keys.items()}
    return found
