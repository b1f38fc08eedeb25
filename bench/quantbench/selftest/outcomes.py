"""Measure how often the judges of scores are red, by simulation on the accepted predictions of all models.

Faults in artifacts show what regressions look like; changed predictions show where the gate's sensitivity ends, how the
rules of other tools do on the same answers, and how often a run fails in which nothing got worse.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np

from quantbench import gate
from quantbench.baselines.effective import EffectiveBaseline
from quantbench.core.arrays import Array
from quantbench.core.randomization import detectable_loss
from quantbench.core.stats import upper_bound
from quantbench.records import (
    DetectableRate,
    LatencySelftest,
    NullRate,
    OutcomeRate,
    OutcomeSelftest,
    Verdict,
    YearlyRate,
)
from quantbench.reference.model import ReferenceModel, load_models
from quantbench.selftest import draws
from quantbench.selftest.night import SEEDS_ON_SUSPICION, Night, load_baselines
from quantbench.selftest.nulls import (
    CHURNS,
    OURS,
    PEERS,
    Matrix,
    Sharing,
    TrainedTests,
    draw,
    mcnemar,
    null_runs,
    peers,
    several_seeds,
    sharing_of,
    together,
)
from quantbench.variants import VARIANTS

CHANGED = "quantbench, all changed"
MODELS = ("seed_cnn", "mobilenet_v2", "vit_tiny", "lstm")
SUBJECT = "ptq_static_wi8_ai8"
LOSSES, EACH_WAY = (10, 20, 30, 50, 80), (20, 50, 100)
LATENCY_OURS = "quantbench"
CAUGHT, POOLED, QAT_CAUGHT, PROMISED_POWER = 0.99, 0.95, 0.85, 0.80
MOST_FALSE_REDS = 0.01  # of null runs: what a run's false-alarm budget allows
HARM_PP = 0.5  # of a trained cell
SMALL_PP = 0.1  # in every cell
NIGHTS, WEEKS, QUIET = 365, 52, 4
What = Literal["power", "one cell", "everywhere", "trained", "repeated", "detectable", "null"]
Row = OutcomeRate | DetectableRate | NullRate
RowT = TypeVar("RowT", OutcomeRate, DetectableRate)
_AT_A_TIME = 25  # healthy runs of one part


@dataclass(frozen=True)
class Null:
    """Say how runs differ in which nothing got worse.

    Attributes:
        each_way: answers that flip each way in each untrained cell; 0: none.
        anew: everything is trained with new seeds.
        spread: factor of the recorded spread of trainings.
    """

    each_way: int = 0
    anew: bool = False
    spread: float = 1.0

    @property
    def promised(self) -> bool:
        """Whether few of them may be red: where trainings spread as recorded."""
        return self.spread == 1.0

    def runs(self, quick: bool) -> int:
        """Return how many runs are drawn."""
        return (5 if self.promised else 1) if quick else 300


TWICE = "trained anew, and trainings spread twice as far as recorded"
NULLS = {
    "nothing changed": Null(),
    **{f"untrained: {count} flips each way by chance": Null(count) for count in CHURNS},
    "all trained anew with new seeds": Null(anew=True),
    f"{CHURNS[1]} flips each way, and all trained anew": Null(CHURNS[1], anew=True),
    TWICE: Null(anew=True, spread=2.0),
}


@dataclass(frozen=True)
class Part:
    """Name one part of the simulation, whose numbers are the same in whichever process and order it is computed.

    Attributes:
        of: a model; of healthy runs, what differs in them.
        runs: the first of the healthy runs, and one beyond the last.
    """

    what: What
    of: str
    runs: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Simulation:
    """Hold the accepted predictions of all models, to be changed and judged part by part."""

    models: Mapping[str, ReferenceModel]
    baselines: Mapping[str, EffectiveBaseline]
    quick: bool

    @staticmethod
    def of(models: Mapping[str, ReferenceModel], baseline_dir: Path, quick: bool) -> "Simulation":
        """Load the baselines.

        Models with several labels an example, such as a class for each pixel, are left out: what is drawn are answers
        to whole examples.
        """
        models = {name: model for name, model in models.items() if model.pack().test.y.ndim == 1}
        baselines = load_baselines(models, baseline_dir)
        return Simulation({name: models[name] for name in baselines}, baselines, quick)

    @cached_property
    def matrix(self) -> Matrix:
        """All models of a night that times its cells too."""
        return Matrix.of(Night(self.models, self.baselines))

    @cached_property
    def _untimed(self) -> Matrix:
        return Matrix.of(Night(self.models, self.baselines, latency=False))

    @cached_property
    def _repeating(self) -> Night:
        return Night(self.models, self.baselines, repeats=True)

    @cached_property
    def _crowded(self) -> float:
        return _crowded_share(self.matrix)

    def parts(self) -> list[Part]:
        """List all parts, the long ones first; none where no model has accepted predictions."""
        if not self.models:
            return []
        stored = self.matrix.stored
        chosen = [name for name in MODELS if name in stored] or list(stored)[:4]
        of_models: list[tuple[What, Sequence[str]]] = [
            ("everywhere", chosen),
            ("trained", list(self.matrix.trained)),
            ("repeated", [name for name in chosen if _qat(self._repeating, name)]),
            ("one cell", chosen),
            ("power", chosen),
            ("detectable", chosen),
        ]
        nulls = [
            Part("null", what, (first, min(first + _AT_A_TIME, null.runs(self.quick))))
            for what, null in reversed(NULLS.items())
            for first in range(0, null.runs(self.quick), _AT_A_TIME)
        ]
        return [*nulls, *(Part(what, name) for what, names in of_models for name in names)]

    def compute(self, part: Part) -> list[Row]:
        """Compute one part."""
        name, trials, few = part.of, 100 if self.quick else 1000, self.quick
        match part.what:
            case "power":
                stored, budget = self.matrix.stored[name], self.matrix.budget
                each = [(net, each_way) for each_way in EACH_WAY for net in LOSSES]
                return [_power(stored, budget, self._crowded, net, each_way, trials) for net, each_way in each]
            case "one cell":
                return list(_in_one_cell(self.matrix, name, self._crowded, few))
            case "everywhere":
                return list(_everywhere(self.matrix, name, self._crowded, 5 if few else 60))
            case "trained":
                return list(_trained(self.matrix, name, self._crowded, trials))
            case "repeated":
                return [_repeated(self._repeating, name, self._crowded, 5 if few else 50)]
            case "detectable":
                return list(_detectable(self.matrix, name, self._crowded, trials))
            case "null":
                null = NULLS[name]
                always = 0 if few or not null.promised else 1
                return [
                    null_runs(self._untimed, name, range(*part.runs), null.each_way, null.anew, null.spread, always)
                ]

    def joined(self, found: Mapping[Part, list[Row]]) -> OutcomeSelftest:
        """Put the rows of all parts together, in one order whichever was first."""

        def rows(kind: type[RowT], *whats: What) -> list[RowT]:
            return [
                row
                for what in whats
                for part in found
                if part.what == what
                for row in found[part]
                if isinstance(row, kind)
            ]

        pieces = {what: [row for part in found if part.of == what for row in found[part]] for what in NULLS}
        nulls = {what: [row for row in rows if isinstance(row, NullRate)] for what, rows in pieces.items()}
        return OutcomeSelftest(
            models=list(self.models),
            cells=len(self.matrix.night.cells),
            cells_with_seeds=several_seeds(self.matrix.night),
            judged=sum(row.judged for rows in nulls.values() for row in rows),
            power=rows(OutcomeRate, "power"),
            plants=rows(OutcomeRate, "one cell", "everywhere", "trained", "repeated"),
            detectable=rows(DetectableRate, "detectable"),
            nulls=[together(rows) for rows in nulls.values()],
        )


@lru_cache(maxsize=1)
def _here(model_dir: Path, baseline_dir: Path, quick: bool) -> Simulation:
    return Simulation.of(load_models(model_dir), baseline_dir, quick)


def simulated(model_dir: Path, baseline_dir: Path, quick: bool) -> OutcomeSelftest | None:
    """Simulate everything in this process; None where no model has accepted predictions."""
    here = _here(model_dir, baseline_dir, quick)
    return here.joined({part: here.compute(part) for part in here.parts()}) if here.models else None


def _computed(part: Part, model_dir: Path, baseline_dir: Path, quick: bool) -> list[Row]:
    return _here(model_dir, baseline_dir, quick).compute(part)


def start(pool: Executor, model_dir: Path, baseline_dir: Path, quick: bool) -> Callable[[], OutcomeSelftest | None]:
    """Let a pool simulate everything as :func:`simulated` does; the function returned waits for it."""
    here = _here(model_dir, baseline_dir, quick)
    started = {part: pool.submit(_computed, part, model_dir, baseline_dir, quick) for part in here.parts()}

    def wait() -> OutcomeSelftest | None:
        return here.joined({part: future.result() for part, future in started.items()}) if started else None

    return wait


def _crowded_share(matrix: Matrix) -> float:
    """Return the first threshold of a run in which the predictions of every cell changed."""
    tests, _ = sharing_of(matrix, draw(matrix, np.random.default_rng(0), CHURNS[1], anew=True))
    return tests.share(matrix.budget)


# ---------------------------------------------------------------- one cell, at stated churn


def _cell(stored: draws.Stored) -> int:
    return stored.names.index(SUBJECT) if SUBJECT in stored.names else 0


def _counts(stored: draws.Stored, net: float, each_way: float, trials: int) -> tuple[Array, Array]:
    """Draw counts of (lost, gained) by class, each of shape (trials, classes); all of them Poisson."""
    random = np.random.default_rng([1, int(net), int(each_way)])
    right = stored.right[_cell(stored)]
    of_right, of_wrong = (
        np.bincount(stored.classes[side], minlength=int(stored.classes.max()) + 1) / side.sum()
        for side in (right, ~right)
    )
    shape = (trials, len(of_right))
    lost = random.poisson(net * of_right, shape) + random.poisson(each_way * of_wrong, shape)
    return lost, random.poisson(each_way * of_wrong, shape)


def _power(stored: draws.Stored, budget: float, crowded: float, net: int, each_way: int, trials: int) -> OutcomeRate:
    """Lose ``net`` examples of one cell, and flip others each way."""
    lost, gained = _counts(stored, net, each_way, trials)
    n, sizes = len(stored.labels), np.bincount(stored.classes)
    all_lost, all_gained = lost.sum(axis=1, keepdims=True), gained.sum(axis=1, keepdims=True)
    drops = 100 * np.hstack([(all_lost - all_gained) / n, (lost - gained) / sizes])
    less, more = np.hstack([all_lost, lost]), np.hstack([all_gained, gained])
    p_values = np.where(drops >= _least(stored.model), mcnemar(less, more), 1.0)
    smallest = 0.5 ** (less + more)
    shares = []
    for one in smallest:
        tests = Sharing()
        tests.add(np.ones(len(one)), one)
        shares.append(tests.share(budget))
    found: dict[str, Array] = {
        OURS: np.asarray((p_values <= np.asarray(shares)[:, None]).any(axis=1)),
        CHANGED: np.asarray((p_values <= crowded).any(axis=1)),
        **peers(drops[:, 0], np.full(trials, stored.right[_cell(stored)].mean()), n),
    }
    return _rate("examples lost in one cell", f"{net} of {n:,}", stored.model.name, found, lost=net, each_way=each_way)


def _least(model: ReferenceModel) -> float:
    return model.metric.matters(1.0, model.smallest_drop)


def _rate(
    plant: str,
    strength: str,
    model: str,
    found: Mapping[str, Array],
    lost: float | None = None,
    each_way: float | None = None,
    aim: float | None = None,
) -> OutcomeRate:
    trials = len(next(iter(found.values())))
    counts = {rule: int(np.count_nonzero(red)) for rule, red in found.items()}
    return OutcomeRate(
        plant=plant, strength=strength, model=model, lost=lost, each_way=each_way, trials=trials, red=counts, aim=aim
    )


# ---------------------------------------------------------------- judged by the engine


def _judged(night: Night, drawn: Mapping[str, Array], crowded: float) -> dict[str, bool]:
    """Return whether a run of these predictions is red, alone and among others that changed, and by other rules."""
    verdicts = night.judge({name: [predictions] for name, predictions in drawn.items()})
    found = {OURS: bool(verdicts.red), CHANGED: False}
    for _, judged in verdicts.judgements:
        if judged.against != "baseline":
            continue
        p_values = [part.p_value for part in judged.parts or [] if part.change >= _SMALLEST_PP]
        if judged.p_value is not None and (judged.change or 0) >= _SMALLEST_PP and not judged.parts:
            p_values.append(judged.p_value)
        found[CHANGED] |= min(p_values, default=1.0) <= crowded
    drops, right = [], []
    for name, predictions in drawn.items():
        model = night.cells[name].model
        labels, metric = model.pack().test.y, model.metric
        before = metric.value(night.stored(name), labels)
        drops.append(metric.drop(metric.value(predictions, labels), before))
        right.append(before)
    theirs = peers(np.asarray(drops), np.asarray(right), len(labels))
    return found | {rule: bool(red.any()) for rule, red in theirs.items()}


_SMALLEST_PP = 0.05


def _table(found: list[dict[str, bool]]) -> dict[str, Array]:
    return {rule: np.asarray([one[rule] for one in found]) for rule in found[0]}


def _in_one_cell(matrix: Matrix, name: str, crowded: float, quick: bool) -> Iterator[OutcomeRate]:
    """Let classes collapse, lose 20 examples, or be swapped; as much is regained elsewhere where that is possible."""
    stored = matrix.stored[name]
    cell = _cell(stored)
    cell_id = f"{name}/{stored.names[cell]}"
    random = np.random.default_rng(3)
    classes = range(2 if quick else int(stored.classes.max()) + 1)

    def moved(one: int, count: int | None) -> Array:
        right = stored.right[cell]
        pool = np.flatnonzero(right & (stored.classes == one))
        lost = pool if count is None else random.choice(pool, count, replace=False)
        elsewhere = np.flatnonzero(~right & (stored.classes != one))
        gained = random.choice(elsewhere, min(len(lost), len(elsewhere)), replace=False)
        return stored.answers(cell, lost, gained)

    def swapped(one: int) -> Array:
        new: Array = stored.predictions[cell].copy()
        other = (one + 1) % (int(stored.classes.max()) + 1)
        new[stored.predictions[cell] == one], new[stored.predictions[cell] == other] = other, one
        return new

    for plant, strength, change in (
        ("a class collapses, regained elsewhere", "recall 0", lambda one: moved(one, None)),
        ("examples of a class, regained elsewhere", "20", lambda one: moved(one, 20)),
        ("two classes swapped", "", swapped),
    ):
        found = [_judged(matrix.night, {cell_id: change(one)}, crowded) for one in classes]
        yield _rate(plant, strength, name, _table(found), aim=CAUGHT)


def _everywhere(matrix: Matrix, name: str, crowded: float, trials: int) -> Iterator[OutcomeRate]:
    """Lose a tenth of a point in all cells of a model, and in all of one family; by the pooled tests alone."""
    stored = matrix.stored[name]
    net = round(SMALL_PP / 100 * len(stored.labels))
    families = np.asarray([VARIANTS[variant].family for variant in stored.names])
    for what, chosen in (("all cells of a model", families != ""), ("all cells of a family", families == "ptq")):
        if chosen.sum() < 2:
            continue
        random, found = np.random.default_rng(4), []
        for _ in range(trials):
            lost, gained = stored.losing(random, CHURNS[0], net)
            drawn = {
                f"{name}/{variant}": stored.answers(cell, lost[cell], gained[cell])
                for cell, variant in enumerate(stored.names)
                if chosen[cell]
            }
            pools = [one.judgement for one in matrix.night.pooled({cell: [one] for cell, one in drawn.items()})]
            worse = [one for one in pools if (one.change or 0) >= _SMALLEST_PP]
            drops = 100 * (lost[chosen].sum(axis=1) - gained[chosen].sum(axis=1)) / len(stored.labels)
            theirs = peers(drops, stored.right[chosen].mean(axis=1), len(stored.labels))
            found.append(
                {
                    OURS: any(one.verdict is Verdict.REGRESSED for one in pools),
                    CHANGED: min((one.p_value or 0.0 for one in worse), default=1.0) <= crowded,
                    **{rule: bool(red.any()) for rule, red in theirs.items()},
                }
            )
        each_way = CHURNS[0]
        yield _rate(what, f"-{SMALL_PP:g} pp", name, _table(found), lost=net, each_way=each_way, aim=POOLED)


# ---------------------------------------------------------------- what trains


def _qat(night: Night, name: str) -> str:
    """Return a cell of a model that is quantized during training; empty where there is none."""
    cells = (cell for cell in night.cells.values() if cell.model.name == name and cell.variant.family == "qat")
    return next((cell.id for cell in cells), "")


def _trained(matrix: Matrix, name: str, crowded: float, trials: int) -> Iterator[OutcomeRate]:
    """Make QAT half a point worse: in all its cells, in those whose weights are restricted, and in one seed of five."""
    tests = matrix.trained[name]
    if tests.model.metric.correct is None:
        return
    qat = np.asarray([VARIANTS[variant].family == "qat" for variant in tests.known.names])
    known = qat & (tests.olds > 1)
    if not known.any():
        return
    fraction = HARM_PP / tests.model.metric.scale
    for what, seeds, more in (
        ("QAT worse: one seed against five", 1, 1),
        (f"QAT worse: one seed, {SEEDS_ON_SUSPICION} on suspicion", 1, SEEDS_ON_SUSPICION),
        ("QAT worse: five seeds against five", 5, 5),
    ):
        row = _spread(
            tests, what, f"-{HARM_PP:g} pp", fraction, qat, known, seeds, more, matrix.budget, crowded, trials
        )
        yield (_with_aim(row, QAT_CAUGHT, HARM_PP, tests.detectable(known, more, matrix.budget)) if more > 1 else row)
    restricted = qat & np.asarray([VARIANTS[variant].training == "restricted" for variant in tests.known.names])
    if (restricted & known).any():
        what = f"QAT of restricted weights worse: one seed, {SEEDS_ON_SUSPICION} on suspicion"
        seeds, more, judged = 1, SEEDS_ON_SUSPICION, restricted & known
        strength = f"-{HARM_PP:g} pp"
        yield _spread(tests, what, strength, fraction, restricted, judged, seeds, more, matrix.budget, crowded, trials)
    first = np.arange(len(known)) == np.flatnonzero(known)[0]
    for worse in (1.0, 2.5):
        found = []
        random = np.random.default_rng(6)
        for _ in range(trials):
            scores = tests.known.drawn(random, 5)
            scores[first, 3] -= worse / tests.model.metric.scale
            found.append(_red_of_trained(tests, scores, known, 5, 5, matrix.budget, crowded))
        row = _rate("one bad seed of five", f"-{worse:g} pp", name, _table(found))
        seen = tests.detectable(first, 5, matrix.budget, of_seeds=True)
        yield _with_aim(row, CAUGHT, worse, seen) if worse > 1 else row


def _with_aim(row: OutcomeRate, aim: float, harm: float, detectable: float) -> OutcomeRate:
    """Set an aim where the harm can be seen: where it is no less than the smallest detectable drop of such a run."""
    return row.model_copy(update={"aim": aim} if harm >= detectable else {"detectable": detectable})


def _spread(
    tests: TrainedTests,
    what: str,
    strength: str,
    fraction: float,
    worse: Array,
    judged: Array,
    seeds: int,
    more: int,
    budget: float,
    crowded: float,
    trials: int,
) -> OutcomeRate:
    random, found = np.random.default_rng(5), []
    for _ in range(trials):
        scores = tests.known.drawn(random, more) - fraction * worse[:, None]
        found.append(_red_of_trained(tests, scores, judged, seeds, more, budget, crowded))
    return _rate(what, strength, tests.model.name, _table(found))


def _red_of_trained(
    tests: TrainedTests, scores: Array, judged: Array, seeds: int, more: int, budget: float, crowded: float
) -> dict[str, bool]:
    """Judge the chosen cells of a run in which all cells of the model trained anew."""
    p_values, of_seeds, _ = tests.judged(scores, seeds, more)
    sharing = Sharing()
    sharing.add(p_values, 0.0, tests.weights)
    sharing.add(of_seeds[of_seeds < 1])
    share = sharing.share(budget)
    p_values, of_seeds = np.where(judged, p_values / tests.weights, 1.0), np.where(judged, of_seeds, 1.0)
    drops = tests.drops(scores)[judged, :seeds].mean(axis=1)
    spread = tests.model.metric.scale * tests.known.sd[judged]
    theirs = peers(drops, tests.accepted[judged], tests.known.n, spread)
    return {
        OURS: bool((p_values <= share).any() or (of_seeds <= share).any()),
        CHANGED: bool((p_values <= crowded).any() or (of_seeds <= crowded).any()),
        **{rule: bool(red.any()) for rule, red in theirs.items()},
    }


def _repeated(night: Night, name: str, crowded: float, trials: int) -> OutcomeRate:
    """Lose half a point in the conversion of a QAT cell whose training gave the accepted weights."""
    cell_id = _qat(night, name)
    model = night.cells[cell_id].model
    labels, metric, accepted = model.pack().test.y, model.metric, night.stored(cell_id)
    score = metric.value(accepted, labels) - HARM_PP / metric.scale
    random = np.random.default_rng(8)
    found = [
        _judged(night, {cell_id: draws.scoring(model, accepted, score, EACH_WAY[0], random)}, crowded)
        for _ in range(trials)
    ]
    what = "QAT worse: its training repeats"
    return _rate(what, f"-{HARM_PP:g} pp", name, _table(found), each_way=EACH_WAY[0], aim=CAUGHT)


# ---------------------------------------------------------------- is what is printed true?


def _detectable(matrix: Matrix, name: str, crowded: float, trials: int) -> Iterator[DetectableRate]:
    """Lose just what a judgement prints as the smallest detectable drop."""
    stored, tests = matrix.stored[name], matrix.trained.get(name)
    random, least = np.random.default_rng(9), _least(stored.model)
    size = int(np.bincount(stored.classes).min())
    for of, n, each_way in (
        *(("a score", len(stored.labels), each_way) for each_way in EACH_WAY),
        ("a class", size, 5),
    ):
        loss = max(detectable_loss(each_way, crowded), math.ceil(least * n / 100))
        lost = random.poisson(each_way, trials) + random.poisson(loss, trials)
        gained = random.poisson(each_way, trials)
        red = (mcnemar(lost, gained) <= crowded) & (100 * (lost - gained) / n >= least)
        yield _detected(of, name, 100 * loss / n, each_way, red)
    if tests is None:
        return
    for place in np.flatnonzero(tests.olds > 1)[:1].tolist():
        alpha = crowded * float(tests.weights[place])
        repeats = tests.repeats(matrix.night.baselines[name], place, 5, 5)
        drop = gate.detectable_of(repeats, alpha, 0.0, least)
        seen = drop + repeats.error * random.standard_t(repeats.degrees, trials)
        yield _detected("a trained score, five seeds", name, drop, 0.0, seen > max(repeats.tolerance(alpha), least))


def _detected(of: str, model: str, drop: float, each_way: float, red: Array) -> DetectableRate:
    return DetectableRate(
        of=of, model=model, drop=drop, each_way=each_way, trials=len(red), red=int(np.count_nonzero(red))
    )


# ---------------------------------------------------------------- a year of runs in which nothing got worse


def years(
    nulls: list[NullRate], latency: LatencySelftest | None, memory: tuple[int, int] = (0, 0)
) -> dict[str, list[YearlyRate]]:
    """Add up a year of nights, in which the toolchain changes so often.

    Where it does not, the same bits come back, are judged alike and spend nothing. Times and memory are measured anew
    each night.

    Args:
        memory: (false reds, runs) of memory measured again.
    """
    changed = [one for one in nulls if one.what not in ("nothing changed", TWICE)]
    reds, runs = max(((one.red_runs[OURS], one.runs) for one in changed), key=lambda one: one[0] / one[1])
    found = {}
    for what, nights in (
        ("four changes of the toolchain", QUIET),
        ("one change a week", WEEKS),
        ("every night", NIGHTS),
    ):
        rows = [_yearly("scores, where the bits change", nights, reds, runs)]
        if latency is not None and latency.nulls:
            first = latency.nulls[0]
            rows.append(_yearly("latency", NIGHTS, first.red_runs[LATENCY_OURS], first.runs))
        if memory[1]:
            rows.append(_yearly("memory", NIGHTS, *memory))
        found[what] = rows
    return found


def _yearly(what: str, nights: int, reds: int, runs: int) -> YearlyRate:
    return YearlyRate(what=what, nights=nights, rate=reds / runs, rate_bound=upper_bound(reds, runs))


# ---------------------------------------------------------------- promises


def kept(found: OutcomeSelftest) -> bool:
    """Whether no rate is below its aim beyond chance, few runs are red without a cause, and what is printed is true."""
    aimed = [one for one in [*found.power, *found.plants] if one.aim is not None]
    return (
        all(upper_bound(one.red[OURS], one.trials) >= one.aim for one in aimed if one.aim is not None)
        and all(one.red_runs[OURS] <= MOST_FALSE_REDS * one.runs for one in found.nulls if one.what != TWICE)
        and all(_as_printed(one) for one in found.detectable)
    )


def _as_printed(one: DetectableRate) -> bool:
    """Whether 80 % lie within the simulation's error."""
    error = 3 * math.sqrt(PROMISED_POWER * (1 - PROMISED_POWER) / one.trials)
    return one.red >= (PROMISED_POWER - error) * one.trials


__all__ = ["CHANGED", "OURS", "PEERS", "Simulation", "kept", "simulated", "start", "years"]
