"""Find the smallest mixed artifact of a model that stays within a limit: the command ``quantbench tune``.

The fixed variants are scored first, as ``try`` does. Then each operator is quantized alone in each way that the tool
offers, to see what it costs and saves; choices are searched on a third of the examples, see
:mod:`quantbench.adopt.frontier`, and judged on the rest, see :mod:`quantbench.adopt.candidates`.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from quantbench import files
from quantbench.adopt import candidates, mixed_recipes, understand
from quantbench.adopt.candidates import Judged, Tried
from quantbench.adopt.commands import arguments
from quantbench.adopt.frontier import Chosen, Option, Unit, searched
from quantbench.adopt.prepared import Prepared, prepare
from quantbench.adopt.workshop import Refused, Workshop, unit_of, units_of
from quantbench.core.arrays import Array
from quantbench.core.signals import interruptible, settle, undisturbed
from quantbench.errors import BadInput, Exit, full_disk_named
from quantbench.records import (
    IN_FLOAT,
    SeenDrop,
    TriedArtifact,
    Tuning,
    recipe_text,
)
from quantbench.variants import FLOAT_CONTROL, tuned

Say = Callable[[str], None]
SECONDS = 75.0  # of the search, so that all takes two minutes for a small model
_MEASURING = 0.5  # most of it that is spent on single operators
# Fixed variants that can be the smallest within a limit, besides those that train. Static int8 is larger than int8 with
# ranges found in each call, but for the one with a scale per tensor.
FIXED = (
    FLOAT_CONTROL,
    "ptq_float16",
    "ptq_dynamic_wi8_afp32",
    "ptq_static_wi8_ai8_per_tensor",
    "aeq_float16",
    "aeq_dynamic_wi8_afp32",
    "aeq_weight_only_wi8_afp32",
    "aeq_weight_only_wi4_afp32",
    "aeq_dynamic_wi4_b32_afp32",
    "aeq_dynamic_wi4_octav_afp32",
    "aeq_dynamic_wi4_gptq_afp32",
    "aeq_dynamic_wi2_dense_afp32",
)
# What an operator may get, in the order in which it is measured, as time may run out.
OFFERED = (
    "dynamic_wi8",
    "dynamic_wi4_b64",
    "dynamic_wi4",
    "weight_only_wi8",
    "dynamic_wi8_tensor",
    "dynamic_wi4_b32",
    "dynamic_wi4_b128",
    "dynamic_wi4_tensor",
    "weight_only_wi4",
    "dynamic_wi2",
    "float16",
)
ARTIFACT, RECIPE = "tuned.tflite", f"tuned{tuned.ENDING}"


def tune(
    given: understand.Given, folder: Path, report_dir: Path, seconds: float, say: Say
) -> tuple[Exit, Tuning | None]:
    """Search, judge, and write the artifact and its recipe into the run's folder.

    Returns:
        The exit status, and what was found; None where it was stopped before any variant was scored. ``NOT_MEASURED``
        where nothing is within the limit.

    Raises:
        BadInput: model, data or limit are wrong, or there are too few examples to show that a limit is kept.
    """
    if not 0 < seconds < math.inf:
        raise BadInput(f"--seconds: expected seconds of search, more than 0, found {seconds:g}")
    since = time.monotonic()
    prepared, status = prepare(given, folder, report_dir, list(FIXED), say)
    if prepared is None:
        return status, None
    hunt = Hunt(prepared, seconds, say)
    interrupted = False
    try:
        with interruptible():  # which the run of the fixed variants has ended
            hunt.run()
            found = hunt.judged()
    except KeyboardInterrupt:
        interrupted, found = True, []
    with undisturbed():
        told = _told(given, prepared, hunt, found, time.monotonic() - since).model_copy(
            update={"interrupted": interrupted}
        )
        settle()
    if interrupted:
        return Exit.INTERRUPTED, told
    return (Exit.GREEN if told.choice else Exit.NOT_MEASURED), told


class Hunt:
    """Search and judge the artifacts of one prepared model, and keep the recipe of the best so far.

    Args:
        seconds: for the search; judging takes a few more.
        say: progress.
    """

    def __init__(self, prepared: Prepared, seconds: float, say: Say) -> None:
        self.prepared = prepared
        self._say = say
        self._until = time.monotonic() + seconds
        self._measure_until = time.monotonic() + seconds * _MEASURING
        self.model = prepared.understood.model
        self.float_artifact = prepared.artifact(FLOAT_CONTROL)
        self.tried: list[Tried] = []
        self._mixed: dict[tuple[tuple[int, str], ...], Tried] = {}
        self._best = math.inf
        self.timed_out = False
        self._workshop: Workshop | None = None

    def run(self) -> None:
        """Try the fixed variants, which are scored already, and then mixed ones."""
        for name in self.prepared.fixed:
            if name != FLOAT_CONTROL:
                of_search = _at(self.prepared.predictions[name], self.prepared.searching.places)
                self._add(name, {}, self.prepared.artifact(name), of_search)
        with Workshop(self.model, self.float_artifact, self.prepared.searching.places) as workshop:
            self._workshop = workshop
            try:
                units = self._units(workshop)
                searched(units, self._margin, lambda chosen: self._mixed[_key(chosen)].cost, self._more)
            except Refused as refusal:
                self._say(f"no mixed artifact can be made: {refusal}")

    def _more(self) -> bool:
        self.timed_out = time.monotonic() >= self._until
        return not self.timed_out

    def _units(self, workshop: Workshop) -> list[Unit]:
        """Measure every operator with weights, alone, with every setting, as far as time allows."""
        groups = units_of(workshop.operators(OFFERED))
        options: dict[tuple[int, ...], list[Option]] = {positions: [] for positions, _ in groups}
        done, total = 0, sum(len(offered) for _, offered in groups)
        self._say(
            f"{len(groups)} operator{'s' * (len(groups) != 1)} with weights: measuring what each costs and saves in "
            f"up to {len(OFFERED)} ways"
        )
        for setting in OFFERED:
            for positions, offered in groups:
                if setting not in offered or (done and time.monotonic() >= self._measure_until):
                    continue
                done += 1
                try:
                    options[positions].append(workshop.option(positions, setting))
                except Refused:
                    continue
        if done < total:
            self._say(f"measured {done} of {total} ways in the time; --seconds gives more")
        return [unit_of(positions, options[positions]) for positions, _ in groups]

    def _margin(self, chosen: Chosen) -> float:
        key = _key(chosen)
        if key not in self._mixed:
            settings = dict(key)
            try:
                assert self._workshop is not None
                made = self._workshop.made(settings, self.prepared.searching.places)
                self._mixed[key] = self._add("", settings, made.artifact, made.predictions)
            except Refused:
                self._mixed[key] = Tried("", 0, math.inf, math.inf, -math.inf, settings)
        return self._mixed[key].margin

    def _add(self, name: str, chosen: Chosen, artifact: bytes, predictions: Mapping[str, Array]) -> Tried:
        """Score an artifact on the examples of the search, and keep its recipe where it is the best so far."""
        ask, judging = self.prepared.searching, self.prepared.judging
        drops = ask.drops(predictions)
        margin = candidates.margin_of(drops, ask.limits, len(ask.places), len(judging.places))
        tried = Tried(name, len(artifact), len(artifact), drops[0].estimate, margin, chosen)
        self.tried.append(tried)
        if margin >= 0 and tried.cost < self._best:
            self._best = tried.cost
            self._keep(tried, artifact, None)
            unit = self.prepared.outputs[0].unit
            size = len(artifact) / len(self.float_artifact)
            self._say(
                f"best so far: {len(artifact) / 1024:.1f} KiB, {size:.2f}× float32, a drop of {tried.drop:.2f} {unit} "
                f"on the {len(ask.places):,} examples of the search: {name or words_of(chosen)}"
            )
        return tried

    def judged(self) -> list[Judged]:
        """Judge what was found on the examples that the search never saw; and put the choice in the place of
        the best so far.

        Where nothing may keep the limit, the one that came nearest is judged alone.
        """
        order = candidates.sequence(self.tried)
        order = order or sorted(self.tried, key=lambda one: -one.margin)[:1]
        places = self.prepared.judging.places
        made: dict[int, bytes] = {}
        with Workshop(self.model, self.float_artifact, self.prepared.searching.places) as workshop:

            def predicted(one: Tried) -> Mapping[str, Array] | None:
                if one.name:
                    made[id(one)] = self.prepared.artifact(one.name)
                    return _at(self.prepared.predictions[one.name], places)
                try:
                    again = workshop.made(one.chosen, places)
                except Refused:
                    return None
                made[id(one)] = again.artifact
                return again.predictions

            found = candidates.judged(order, self.prepared.judging, predicted)
        best = candidates.smallest(found)
        folder = self.prepared.session.folder.path
        if best is not None:
            self._keep(best.tried, made[id(best.tried)], best)
        else:
            for name in (ARTIFACT, RECIPE):
                files.remove(folder / name, folder)
        return found

    def _keep(self, one: Tried, artifact: bytes, judged: Judged | None) -> None:
        """Write an artifact with its recipe into the run's folder."""
        folder, first = self.prepared.session.folder.path, self.prepared.outputs[0]
        seen = None
        if judged is not None:
            of = judged.outputs[0]
            known = {"drop": of.drop, "low": of.low, "high": of.high, "examples": first.examples}
            seen = SeenDrop(metric=first.metric, unit=first.unit, limit=first.limit, **known)  # type: ignore[arg-type]
        recipe = mixed_recipes.recipe_of(self.model, self.float_artifact, artifact, one.chosen, one.name, seen)
        with undisturbed(), full_disk_named(folder):
            files.replace(folder / ARTIFACT, artifact)
            files.replace(folder / RECIPE, recipe_text(recipe))


def words_of(chosen: Chosen) -> str:
    """Count the operators of each setting."""
    names = [name for name in chosen.values() if name != IN_FLOAT]
    counts = {name: names.count(name) for name in dict.fromkeys(names)}
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items(), key=lambda pair: -pair[1]))


def _key(chosen: Chosen) -> tuple[tuple[int, str], ...]:
    return tuple(sorted((place, name) for place, name in chosen.items() if name != IN_FLOAT))


def _at(predictions: Mapping[str, Array], places: Array) -> dict[str, Array]:
    return {name: values[places] for name, values in predictions.items()}


def artifact_record(one: Tried, judged: Judged | None = None) -> TriedArtifact:
    """Return the facts of an artifact, with its verdicts where it was judged."""
    names = list(one.chosen.values())
    return TriedArtifact(
        name=one.name,
        settings={name: names.count(name) for name in dict.fromkeys(names)},
        bytes=one.size,
        searched=one.drop if math.isfinite(one.drop) else 1e9,
        outputs=judged.outputs if judged else [],
        verdict=judged.verdict if judged else None,
    )


def _alone(prepared: Prepared, hunt: Hunt, best: Judged) -> list[Judged]:
    """Judge the fixed variants that are smaller than the choice, each by itself; return those within."""
    smaller = [one for one in hunt.tried if one.name and one.cost < best.tried.cost]
    of = {one.name: _at(prepared.predictions[one.name], prepared.judging.places) for one in smaller}
    found = [candidates.judgement(one, prepared.judging, of[one.name]) for one in smaller]
    return [one for one in found if one.verdict == "within"]


def _told(given: understand.Given, prepared: Prepared, hunt: Hunt, found: Sequence[Judged], seconds: float) -> Tuning:
    best = candidates.smallest(found)
    fixed = candidates.smallest([one for one in found if one.tried.name])
    last = found[-1] if found and best is None else None
    operators = tuned.operators_of(hunt.float_artifact)
    folder = prepared.session.folder.path
    kept = (folder / ARTIFACT).exists()
    return Tuning(
        model=given.model,
        judged=prepared.outputs,
        searched=len(prepared.searching.places),
        float_bytes=len(hunt.float_artifact),
        fixed=len(prepared.fixed) - 1,
        mixed=sum(not one.name for one in hunt.tried),
        judgements=[artifact_record(one.tried, one) for one in found],
        choice=artifact_record(best.tried, best) if best else None,
        best_fixed=artifact_record(fixed.tried, fixed) if fixed else None,
        alone=[artifact_record(one.tried, one) for one in _alone(prepared, hunt, best)] if best else [],
        nearest=artifact_record(last.tried, last) if last else None,
        groups=mixed_recipes.groups_of(operators, best.tried.chosen) if best and not best.tried.name else [],
        timed_out=hunt.timed_out,
        seconds=seconds,
        file=str(folder / ARTIFACT) if kept else "",
        recipe=str(folder / RECIPE) if kept else "",
        arguments=arguments(given),
    )
