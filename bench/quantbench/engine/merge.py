"""Merge the reports of all shards of a run into one, with the verdicts of an undivided run.

Everything that concerns one cell alone is judged by the shard that measured it and stays as it is: size, structure,
memory, floors, agreements, errors, and a score whose predictions did not change. What shares the false-alarm budget of
the whole run is judged here, where all of it is known: scores whose predictions changed (Holm's method over all shards)
and latency. Until then each shard judges them by an even share of the whole run's budget, which is stricter than any
step of Holm's method: what a shard calls red is red here too, and what it only warns of may turn red (where shards ran
on several machine classes, a shard counts the latency baselines of its own).

A control built by several shards counts once, as reported by the shard assigned to measure it.
"""

import datetime
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from quantbench import gate
from quantbench.baselines import measured
from quantbench.baselines import outputs as baseline_outputs
from quantbench.baselines.effective import EffectiveBaseline, effective_baseline, recorded_elsewhere
from quantbench.baselines.files import stored_hashes
from quantbench.baselines.merge_base import InForce, in_force
from quantbench.core import environment
from quantbench.core.arrays import Array
from quantbench.core.distances import of_head, outputs_of, stored_as
from quantbench.core.options import RunOptions, run_argument
from quantbench.engine import artifacts, causes, morning
from quantbench.engine.cell import CellId
from quantbench.engine.false_alarms import of_outputs
from quantbench.engine.outputs import Compared
from quantbench.engine.score import PARTS, Scored, judge_pools, pools_of
from quantbench.engine.shard_folders import Piece, read_pieces
from quantbench.errors import BadInput, DiskFull
from quantbench.records import (
    SEVERAL_AT_WORK,
    Action,
    BaselineCell,
    Cell,
    Environment,
    Evidence,
    Judgement,
    Kind,
    Load,
    Measurement,
    Part,
    Report,
    Verdict,
    verdict_of_cell,
    worst,
)
from quantbench.records.measurements import (
    OUTPUT_DISTANCE,
    RATIO,
    TO_YARDSTICK,
    name_at,
    of_output,
    output_in,
    threads_in,
    without_output,
)
from quantbench.reference.heads import by_output
from quantbench.reference.model import ReferenceModel
from quantbench.report.evidence import Behind
from quantbench.report.run_folder import RunFolder
from quantbench.variants import VARIANTS

AT_WORK = "threads_at_work"


@dataclass
class Whole:
    """Hold all shards of one run, and what they are judged by.

    Args:
        options: those with the folders of models and baselines.

    Attributes:
        folder: the merged run's folder, as its commands name it.

    Raises:
        BadInput: a model or a baseline differs from the shards'.
    """

    pieces: list[Piece]
    models: Mapping[str, ReferenceModel]
    options: RunOptions
    folder: Path = Path()
    _effective: dict[tuple[str, int], EffectiveBaseline] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for model, sha256 in self.pieces[0].shard.baselines.items():
            reference_model = self.models.get(model)
            if reference_model is None:
                raise BadInput(
                    f"{self.pieces[0].name}: has model {model!r}, which is not defined here; give its --model-dir"
                )
            for piece in self.pieces:
                data_sha256 = piece.report.data_sha256.get(model, reference_model.data_sha256)
                if data_sha256 != reference_model.data_sha256:
                    raise BadInput(
                        f"{piece.name}: {model} was measured with a different data pack than {reference_model.file} "
                        "uses"
                    )
            if self._accepted.fingerprints[model] != sha256:
                raise BadInput(
                    f"--baseline-dir: {self.options.baseline_dir} differs from the baselines that the shards used "
                    f"for {model}; check "
                    f"out their commit ({self.pieces[0].report.environment.git_commit}), or give the folder that "
                    "they had"
                )

    @cached_property
    def _accepted(self) -> InForce:
        """Return the baselines that the shards were judged by, of the same branch's merge base where they were."""
        shard = self.pieces[0].shard
        ref = self.options.baselines_from or shard.options.get("baselines_from", "")
        named = {*shard.baselines, *(cell.model for piece in self.pieces for cell in piece.report.cells)}
        judged = [model for name, model in self.models.items() if name in named]
        return in_force(self.options.baseline_dir, ref, judged, self.models)

    @cached_property
    def cells(self) -> list[tuple[Cell, Piece]]:
        """Return every cell once, in the order of an undivided run, with the shard whose measurements count."""
        kept: dict[str, tuple[Cell, Piece]] = {}
        for piece in self.pieces:
            for cell in piece.report.cells:
                if cell.selected or cell.id not in kept:
                    kept[cell.id] = cell, piece
        order = {name: place for place, name in enumerate(VARIANTS)}
        return sorted(kept.values(), key=lambda pair: (pair[0].model, order.get(pair[0].variant, len(order))))

    @cached_property
    def predictions(self) -> dict[str, dict[str, Array]]:
        """Map model -> variant -> predictions of the first seed.

        Raises:
            BadInput: they are missing, or differ from those of the report.
        """
        predictions: dict[str, dict[str, Array]] = {}
        for cell, piece in self.cells:
            if cell.predictions_sha256 is None:
                continue
            array = piece.arrays(cell.model).get(cell.variant)
            if array is None or cell.predictions_sha256 not in stored_hashes(array):
                raise BadInput(
                    f"{piece.name}: predictions/{cell.model}.npz does not hold the predictions of {cell.id} of "
                    "this report; give the whole run folder, as the run left it"
                )
            predictions.setdefault(cell.model, {})[cell.variant] = array
            of_heads = of_head(cell.variant, "")
            predictions[cell.model] |= {
                name: found for name, found in piece.arrays(cell.model).items() if name.startswith(of_heads)
            }
            outputs = piece.arrays(cell.model).get(stored_as(cell.variant))
            if outputs is not None:
                predictions[cell.model][stored_as(cell.variant)] = outputs
        return predictions

    def report(self) -> Report:
        """The report of the whole run."""
        budget, timed = self.pieces[0].report.false_alarms.budget, self._timed_ones()
        any_score = any(Kind.ACCURACY in cell.verdicts for cell, _ in self.cells)
        of_scores, of_latency = gate.split(budget, timed, any_score)
        scored = {
            (cell.id, output): self._scored(cell, piece, output)
            for cell, piece in self.cells
            for output in ("", *cell.outputs)
            if any(_shares_budget(one) and one.measurement == of_output("score", output) for one in cell.judgements)
        }
        tested = [test for one in scored.values() for test in one.hypotheses(one.judge(of_scores))]
        tested += [
            gate.Hypothesis(of_outputs(cell.id, output_in(judged.measurement)), judged.p_value)
            for cell, _ in self.cells
            for judged in cell.judgements
            if without_output(judged.measurement) == OUTPUT_DISTANCE
            and _shares_budget(judged)
            and judged.p_value is not None
        ]
        pools = pools_of(scored.values())
        of_pools = [pool.hypothesis() for pool, _ in pools]
        thresholds = gate.thresholds([*tested, *of_pools], of_scores)
        pooled = judge_pools(pools, of_pools, thresholds, run_argument(self.folder, self.options))
        cells = [
            self._judged(
                cell,
                piece,
                {output: one for (scored_id, output), one in scored.items() if scored_id == cell.id},
                thresholds,
                of_latency / max(1, timed),
            )
            for cell, piece in self.cells
        ]
        verdicts = [cell.verdict for cell in cells] + [one.judgement.verdict for one in pooled]
        first = self.pieces[0].report
        return first.model_copy(
            update={
                "run": self.folder.name,
                "started": min(piece.report.started for piece in self.pieces),
                "seconds": max(piece.report.seconds for piece in self.pieces),
                "exit_status": int(gate.exit_status(verdicts)),
                "environment": together([piece.report.environment for piece in self.pieces]),
                "false_alarms": gate.alarms(budget, thresholds, timed, any_score).model_copy(
                    update={"limits": first.false_alarms.limits}
                ),
                "data_sha256": {k: v for piece in self.pieces for k, v in piece.report.data_sha256.items()},
                "models": {k: v for piece in self.pieces for k, v in piece.report.models.items()},
                "notes": self._notes(),
                "as_accepted": dict(sum((Counter(piece.report.as_accepted) for piece in self.pieces), Counter())),
                "shard": None,
                "shards": [_part(piece) for piece in self.pieces],
                "pooled": pooled,
                "targets": {k: v for piece in self.pieces for k, v in piece.report.targets.items()},
                "cells": cells,
            }
        )

    def _timed_ones(self) -> int:
        """Count latency judgements of the whole run that share the budget."""
        return sum(
            gate.timed_ones(
                [self._effective_baseline(cell.model, piece).cell(cell.variant)], piece.machines(), _in_turns(piece)
            )
            for cell, piece in self.cells
            if Kind.LATENCY in cell.verdicts
        )

    def _effective_baseline(self, model: str, piece: Piece) -> EffectiveBaseline:
        key = model, piece.shard.index
        if key not in self._effective:
            here, reference_model = piece.report.environment, self.models[model]
            self._effective[key] = effective_baseline(
                self._accepted.by_model[model],
                reference_model.metric.unit,
                environment.class_of(here),
                here.machine_class,
                piece.day,
            )
        return self._effective[key]

    def accepted(self, cell_id: str) -> BaselineCell | None:
        """Return the baseline of a cell that its shard judged it by; None where it has none."""
        for cell, piece in self.cells:
            if cell.id == cell_id:
                return self._effective_baseline(cell.model, piece).cell(cell.variant)
        return None

    # ------------------------------------------------------------ judging again

    def _subject(self, cell: Cell, piece: Piece) -> gate.Subject:
        accepted = self._effective_baseline(cell.model, piece).cell(cell.variant)
        elsewhere = recorded_elsewhere(accepted, environment.class_of(piece.report.environment))
        run = run_argument(self.folder, self.options)
        return gate.Subject(cell.model, cell.variant, run, piece.shard.again, elsewhere)

    def _judged(
        self, cell: Cell, piece: Piece, scored: Mapping[str, Scored], thresholds: gate.Thresholds, alpha: float
    ) -> Cell:
        """The cell with what shares the budget judged again, and with commands that name the merged run.

        Args:
            scored: the scores of its outputs that chance has moved; the main one is empty.
            alpha: p-value at which a latency is red.
        """
        subject = self._subject(cell, piece)
        baseline = self._effective_baseline(cell.model, piece)
        accepted = baseline.cell(cell.variant)
        judgements: list[Judgement] = []
        outdated: set[str] = set()
        for old in self._settled(cell):
            if old.measurement in outdated:
                continue  # told that the judgement before it passes in spite of an xfail; told again if it still does
            if _shares_budget(old):
                if without_output(old.measurement) == OUTPUT_DISTANCE:
                    output = output_in(old.measurement)
                    allowed = thresholds.of(of_outputs(cell.id, output))
                    new = [self._outputs(cell, piece, output, allowed) or old]
                elif old.kind is Kind.LATENCY:
                    new = [_latency(cell, piece, subject, accepted, old, alpha)]
                else:
                    output = output_in(old.measurement)
                    of = scored[output]
                    score = of.with_origin(of.judge(thresholds.of(of_output(cell.id, output))))
                    new = [score, *of.judge_parts(thresholds)]
                judgements += gate.excused(subject, new, accepted, piece.day, first=False)
                outdated |= {
                    f"xfail of {one.measurement}" for one in new if _live(accepted, one.measurement, piece.day)
                }
            else:
                actions = [_naming(action, piece.shard.folder, str(self.folder)) for action in old.actions]
                judgements.append(old.model_copy(update={"actions": actions}))
        judgements = gate.without_vain_acceptance(judgements)
        verdicts = {kind: worst([j.verdict for j in judgements if j.kind is kind]) for kind in cell.verdicts}
        update = {"judgements": judgements, "verdicts": verdicts, "verdict": verdict_of_cell(verdicts)}
        return cell.model_copy(update=update)

    def _scored(self, cell: Cell, piece: Piece, output: str) -> Scored:
        """The score of one of the cell's outputs as its judge sees it; of the main one where it is empty."""
        nonfinite, name = cell.measurements.get("nonfinite"), of_output("score", output)
        answers = gate.Answers(
            cell.measurements.get(name),
            self.predictions[cell.model][of_head(cell.variant, output) if output else cell.variant],
            0 if nonfinite is None else int(nonfinite.value),
        )
        return Scored(
            replace(self._subject(cell, piece), output=output),
            by_output(self.models[cell.model])[output],
            baseline_outputs.of_output(self._effective_baseline(cell.model, piece), output),
            answers,
            seeds=len(cell.seeds),
            retrained=piece.report.trained_from_scratch,
            artifact_sha256=cell.artifact_sha256,
            reference_sha256=None if output else cell.reference_sha256,
            sources=cell.sources,
            trained_sha256=cell.trained_sha256,
            family=cell.family,
            flipped=next((judged.flipped for judged in cell.judgements if judged.measurement == name), None),
        )

    def _outputs(self, cell: Cell, piece: Piece, output: str, allowed: float) -> Judgement | None:
        compared = Compared(
            replace(self._subject(cell, piece), output=output),
            by_output(self.models[cell.model])[output].metric,
            baseline_outputs.of_output(self._effective_baseline(cell.model, piece), output),
            cell.measurements.get(of_output(OUTPUT_DISTANCE, output)),
            self.predictions[cell.model][of_head(cell.variant, output) if output else cell.variant],
            self.predictions[cell.model].get(outputs_of(cell.variant, output)),
            trained=bool(cell.seeds),
            strict=piece.shard.options.get("strict_change") == "True",
        )
        return compared.judge(allowed)

    def _settled(self, cell: Cell) -> list[Judgement]:
        """Settle what a shard could not without other models: whether the runtime uses the number of threads.

        Where no other model of the shard was split over threads, the shard kept both the error and the latency: drop
        one.
        """
        errors = {int(judgement.reference or 0) for judgement in cell.judgements if judgement.measurement == AT_WORK}
        lifted = {threads for threads in errors if threads > 1 and self._splits(threads, cell.model)}
        kept = []
        for one in cell.judgements:
            if one.kind is Kind.ACCURACY and without_output(one.measurement) in PARTS:
                continue  # judged again with the score
            if one.measurement == AT_WORK:
                kept += [] if int(one.reference or 0) in lifted else [one]
            elif one.kind is not Kind.LATENCY or threads_in(one.measurement) not in errors - lifted:
                kept.append(one)
        return kept

    def _splits(self, threads: int, but: str) -> bool:
        """Return whether any other model was seen to use several threads."""
        name = name_at(AT_WORK, threads)
        counts = [cell.measurements.get(name) for cell, _ in self.cells if cell.model != but]
        return any(count is not None and count.value >= SEVERAL_AT_WORK for count in counts)

    # ------------------------------------------------------------ notes for the reader

    def _notes(self) -> list[str]:
        count, seconds = len(self.pieces), sum(piece.report.seconds for piece in self.pieces)
        notes = [f"merged from {count} shards, {seconds:.0f} s of machine time in all"]
        classes = {piece.report.environment.machine_class for piece in self.pieces}
        if len(classes) > 1:
            names = "; ".join(f"shard {p.shard.index}: {p.report.environment.machine_class}" for p in self.pieces)
            notes.append(
                f"the shards ran on {len(classes)} machine profiles, each compared with its own baselines: {names}"
            )
        notes += self._differing_controls()
        return notes + [f"shard {piece.shard.index}: {note}" for piece in self.pieces for note in piece.report.notes]

    def _differing_controls(self) -> list[str]:
        """Return notes on controls for which another shard has different results than the one that counts."""
        kept = {cell.id: (cell, piece.shard.index) for cell, piece in self.cells}
        notes = []
        for piece in self.pieces:
            for copy in piece.report.cells:
                cell, home = kept[copy.id]
                if piece.shard.index == home:
                    continue
                if copy.predictions_sha256 != cell.predictions_sha256:
                    notes.append(
                        f"{cell.id} gives different predictions in shard {piece.shard.index} and in shard {home}"
                    )
                elif worst([copy.verdict, cell.verdict]) is not cell.verdict and copy.verdict in _TO_TELL:
                    notes.append(
                        f"{cell.id} is {copy.verdict.shown} in shard {piece.shard.index}, which made it as a reference"
                    )
        return notes


_TO_TELL = (Verdict.REGRESSED, Verdict.ERROR)


def _naming(action: Action, old: str, new: str) -> Action:
    """Return the action with its command on another run folder."""
    return action.model_copy(update={"command": [new if word == old else word for word in action.command]})


def _shares_budget(judged: Judgement) -> bool:
    """Return whether a judgement depends on the number of changed scores of the run, and can be repeated."""
    if judged.p_value is None or judged.against != "baseline":
        return False
    if judged.kind is Kind.LATENCY:
        return _is_typical(judged)  # what is judged beside it is judged alike in a shard and in the whole run
    return judged.kind is Kind.ACCURACY and without_output(judged.measurement) in ("score", OUTPUT_DISTANCE)


def _live(accepted: BaselineCell | None, name: str, day: datetime.date) -> bool:
    xfail = accepted.xfail.get(name) if accepted else None
    return xfail is not None and not gate.over(xfail.expires, day)


def _latency(
    cell: Cell,
    piece: Piece,
    subject: gate.Subject,
    accepted: BaselineCell | None,
    old: Judgement,
    alpha: float,
) -> Judgement:
    """Judge latency from the values of each process in the report; those of later stages come last."""
    stages = gate.stages_of(cell.measurements[old.measurement], old.measured or 1)
    threads = threads_in(old.measurement)
    machine = environment.with_threads(piece.report.environment.machine_class, threads)
    host, name = piece.report.environment.host, old.measurement
    of_typical = alpha if threads > 1 else gate.beside_share(alpha)[0]
    judged, _ = gate.latency_in_stages(subject, name, stages, accepted, machine, of_typical, threads, host)
    if threads > 1:
        return _confirmed([judged], old, alpha)[0]
    known = gate.accepted_beside(accepted, machine, host)
    return _confirmed(gate.slower_than_yardstick([judged], cell.measurements, None, known), old, of_typical)[0]


def _in_turns(piece: Piece) -> str:
    """Return the machine class whose cells without a baseline a shard timed in turns; empty where it timed none so."""
    if piece.shard.options.get("no_turns") != "False":  # shards of before 1.8 do not say
        return ""
    return environment.with_threads(piece.report.environment.machine_class, 1)


def _confirmed(new: list[Judgement], old: Judgement, alpha: float) -> list[Judgement]:
    """Ask what the shard timed in turns about what is red here."""
    if old.turns is None:
        return new
    values = old.turns.values or []
    taken = Measurement(value=1.0, unit="ratio to the accepted artifact", n=max(1, len(values)), values=values)
    stages = [{RATIO: stage} for stage in gate.stages_of(taken, old.turns.measured or 1)] if values else []
    return gate.confirmed(new, old.turns, stages, alpha)


def _is_typical(judgement: Judgement) -> bool:
    """Whether a latency is that of the typical call."""
    return judgement.measurement.removesuffix(f"_{threads_in(judgement.measurement)}_threads") in (RATIO, TO_YARDSTICK)


def _part(piece: Piece) -> Part:
    report = piece.report
    return Part(
        index=piece.shard.index,
        run=report.run,
        started=report.started,
        seconds=report.seconds,
        environment=report.environment,
    )


def together(environments: Sequence[Environment]) -> Environment:
    """Combine the environments of several machines; differing values are joined, also those of the machine class."""
    first = environments[0]
    joined = {
        name: " + ".join(sorted({getattr(each, name) for each in environments}))
        for name in ("os", "cpu", "isa", "machine_class", "results_class", "host")
    }
    loads = [each.load for each in environments if each.load is not None]
    averages = [load.average for load in loads if load.average is not None]
    load = Load(others=max(each.others for each in loads), average=max(averages, default=None)) if loads else None
    gpus = {" and ".join(one.label for one in each.gpus.values()) or each.no_gpu for each in environments}
    differ = f"differs between shards: {'; '.join(sorted(gpus))}"
    several: dict[str, object] = {"gpu": None, "further_gpus": [], "no_gpu": differ} if len(gpus) > 1 else {}
    least = {
        "cores": min(each.cores for each in environments),
        "memory_gib": min(each.memory_gib for each in environments),
    }
    return first.model_copy(update={**joined, **least, "load": load, **several})


def with_causes(whole: Whole, report: Report, say: Callable[[str], None]) -> Report:
    """Return the report with the causes of what is red only now, as far as artifacts are at hand.

    They are looked for in the shards' folders and in the cache, within the bounds of an undivided run. Of the causes
    that shards found all are kept, and the errors along the graph of the first few.
    """
    home = {cell.id: piece for cell, piece in whole.cells}

    def artifact(cell: CellId) -> bytes | None:
        piece = home.get(cell)
        try:
            return None if piece is None else artifacts.find(piece.report, piece.path, cell)[1]
        except BadInput:
            return None

    def accepted(cell: Cell) -> str | None:
        known = whole.accepted(cell.id)
        return None if known is None else known.artifact_sha256

    found = dict(causes.of_reds(report.cells, artifact, whole.models, accepted, say, foreign=True))
    cells, drawn = [], 0
    for cell in report.cells:
        cause = found.get(cell.id, cell.attribution)
        if cause is not None:
            drawn += 1
            cause = cause if drawn <= causes.MOST_CELLS else cause.model_copy(update={"operators": []})
        cells.append(cell.model_copy(update={"attribution": cause}))
    return report.model_copy(update={"cells": cells})


def merge(
    paths: Sequence[Path],
    models: Mapping[str, ReferenceModel],
    options: RunOptions,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[Report, Path]:
    """Merge the folders of all shards into one run folder, and return its report and path.

    Args:
        say: prints a line of progress.

    Raises:
        BadInput: they are not the shards of one run; see :func:`quantbench.engine.shard_folders.read_pieces`.
    """
    pieces = read_pieces(paths)
    whole = Whole(pieces, models, options)
    predictions = whole.predictions
    folder = RunFolder.create(options.report_dir)
    whole.folder = folder.path
    with_found = with_causes(whole, whole.report(), say)
    report = morning.with_reds(with_found, folder.path, options, whole.accepted)
    behind = {piece.shard.index: Behind.of(piece.path, piece.report, {}).evidence for piece in pieces}
    evidence: dict[str, dict[str, Evidence]] = {}
    for cell, piece in whole.cells:
        cell_evidence = behind[piece.shard.index].get(cell.model, {}).get(cell.variant)
        if cell_evidence is not None:
            evidence.setdefault(cell.model, {})[cell.variant] = cell_evidence
    folder.write(report, predictions)
    folder.finish(report, evidence, {cell.model: models[cell.model] for cell in report.cells})
    try:
        measured.join([piece.path for piece in pieces], folder.path, {cell.model for cell in report.cells})
    except (BadInput, DiskFull, OSError) as error:  # the merged run is whole without it
        say(f"what the shards measured beside answers was not joined: {error}")
    return report, folder.path
