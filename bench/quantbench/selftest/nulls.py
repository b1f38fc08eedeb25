"""Simulate runs in which nothing got worse, and count how often they are red.

All cells with accepted predictions are drawn anew in each run. The p-values of a run are computed at once for all of
its cells; where any of them comes near its threshold, or a limit near its p-value, the engine judges the whole run.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

import numpy as np

from quantbench import gate
from quantbench.baselines.effective import EffectiveBaseline
from quantbench.baselines.files import scores_over_seeds
from quantbench.core.arrays import Array
from quantbench.core.distances import decode, encode
from quantbench.core.drops import fraction_drop
from quantbench.core.stats import f_above, pooled_sd
from quantbench.records import Accepted, BaselineCell, BaselineValue, Measurement, NullRate, Verdict
from quantbench.records.measurements import OUTPUT_DISTANCE
from quantbench.reference.model import Floor
from quantbench.selftest import draws
from quantbench.selftest.night import SEEDS_ON_SUSPICION, Night
from quantbench.variants import VARIANTS

OURS = "quantbench"
FIXED = (0.1, 0.5)  # pp
UNPAIRED_ALPHA, DEVIATIONS = 0.01, 3.0
CHURNS = (10, 40, 160)  # answers that flip each way in each cell, of 10,000
# Share of itself by which a continuous prediction moves, for each answer that flips each way in other models.
_MOVED = 1e-4
_CONTINUOUS = 3  # cells of such a model that change in a run: an area under a curve takes long to compute
# A run is judged by the engine where a p-value is within this factor of its threshold: the thresholds that are computed
# here count equal evidence twice.
_NEAR = 4.0
_NEAR_LIMIT = 3.5  # standard errors beyond a limit; it is red at 4.5
# Other kernels moved the outputs of an example by this much at most, see quantbench.gate._fidelity.
_KERNELS_MOVE = 0.0053
_ONE_SEED = 1


def mcnemar(lost: Array, gained: Array) -> Array:
    """Return the exact one-sided McNemar p-values of arrays of counts, as :class:`quantbench.core.stats.Paired`."""
    from scipy.special import betainc

    return np.where(lost == 0, 1.0, betainc(np.maximum(lost, 1), gained + 1.0, 0.5))


def share_of(smallest: Array, weights: Array, budget: float) -> float:
    """Return the first threshold of one share, as :func:`quantbench.gate.thresholds` gives it, for many tests."""
    order = np.argsort(smallest / weights)
    reach, taken = (smallest / weights)[order], np.cumsum(weights[order])
    shares = np.arange(1, int(taken[-1]) + 1)
    found = np.searchsorted(reach, budget / shares, side="right")
    reachable = np.where(found > 0, taken[found - 1], 0.0)
    enough = np.flatnonzero(reachable <= shares)
    return float(budget / max(1.0, reachable[enough[0]] if len(enough) else taken[-1]))


@dataclass
class Sharing:
    """Collect what shares the budget in one run: p-values, their smallest possible values, and weights."""

    p_values: list[Array] = field(default_factory=list)
    smallest: list[Array] = field(default_factory=list)
    weights: list[Array] = field(default_factory=list)

    def add(self, p_values: Array, smallest: Array | float = 0.0, weights: Array | float = 1.0) -> None:
        """Add tests."""
        self.p_values.append(np.ravel(p_values))
        self.smallest.append(np.broadcast_to(np.asarray(smallest, dtype=float), np.shape(p_values)).ravel())
        self.weights.append(np.broadcast_to(np.asarray(weights, dtype=float), np.shape(p_values)).ravel())

    def share(self, budget: float) -> float:
        """Return the first threshold of one share."""
        smallest, weights = _joined(self.smallest), _joined(self.weights)
        return share_of(smallest, weights, budget) if len(smallest) else budget

    def nearest(self) -> float:
        """Return the smallest p-value for one share."""
        return float(np.min(_joined(self.p_values) / _joined(self.weights), initial=1.0))

    @property
    def count(self) -> int:
        """Return the number of tests that a flip could have moved."""
        return int(sum(np.count_nonzero(one < 1) for one in self.smallest))


def _joined(arrays: Sequence[Array]) -> Array:
    return np.concatenate([np.empty(0), *arrays])


def peers(drops: Array, right: Array, n: int, spread: Array | float | None = None) -> dict[str, Array]:
    """Return which cells the rules of other tools call red.

    Args:
        drops: in pp; ``right``: accepted fraction right.
        spread: standard deviation of a score from run to run, in pp; None: that of a fraction of n examples.
    """
    binomial = 100 * np.sqrt(np.maximum(right * (1 - right), 1 / n) / n)
    quantile = -_normal_quantile(UNPAIRED_ALPHA)
    return {
        **{f"drop beyond {limit:g} pp": drops > limit + 1e-9 for limit in FIXED},
        "two samples, z at p < .01": drops > quantile * math.sqrt(2) * binomial,
        "drop beyond 3 sd": drops > DEVIATIONS * (binomial if spread is None else np.maximum(spread, 1e-9)),
    }


def _normal_quantile(share: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(share))


PEERS = tuple(peers(np.zeros(1), np.full(1, 0.5), 100))


# ---------------------------------------------------------------- what trains


class TrainedTests:
    """The tests of a model's trained cells, whose trainings did not repeat.

    Args:
        night: whose baselines are judged by.
        model: name.
    """

    def __init__(self, night: Night, model: str, known: draws.Trainings) -> None:
        self.model, self.known = night.models[model], known
        metric, baseline = self.model.metric, night.baselines[model]
        least = metric.scale * known.sd_of_flips if metric.correct is not None else 0.0
        self.olds = np.asarray(known.seeds)
        found = [self.repeats(baseline, place, old, 1) for place, old in enumerate(known.seeds)]
        self.sd_of_seeds = np.asarray([one.sd for one in found])
        self.degrees = np.asarray([one.degrees for one in found])
        self.sd = np.maximum(self.sd_of_seeds, least)
        self.weights = np.asarray([gate.weight_of(value) for value in known.values], dtype=float)
        self.accepted = np.asarray([value.value for value in known.values])
        self.matters = np.asarray([metric.matters(value.value, self.model.smallest_drop) for value in known.values])

    def repeats(self, baseline: EffectiveBaseline, place: int, old: int, new: int) -> gate.Repeats:
        """Return the spread that the judge knows of a cell, by its place."""
        alike, others = baseline.seed_scores(self.known.names[place])
        own = self.known.values[place].values or [0.0]
        found = gate.repeats(self.model.metric, alike, old, new, "", own, others)
        assert found is not None  # as some cell of the model has several seeds
        return found

    def detectable(self, chosen: Array, new: int, budget: float, of_seeds: bool = False) -> float:
        """Return the smallest drop that is red in four of five runs in which this model's cells alone trained anew.

        By the spread that is drawn and the number of examples, not by what the judge makes of them: a judge that took
        the spread for larger would excuse itself.

        Args:
            chosen: cells of which the most sensitive one counts, as booleans.
            new: seeds trained.
            of_seeds: of one seed among the new ones, instead of their mean.
        """
        sharing = Sharing()
        sharing.add(np.zeros(len(self.olds)), weights=self.weights)
        sharing.add(np.zeros(len(self.olds)))
        share, scale = sharing.share(budget), self.model.metric.scale
        found = []
        for place in np.flatnonzero(chosen).tolist():
            degrees, old = self.known.spreads[place].degrees, int(self.olds[place])
            one = gate.Repeats(scale * self.known.spreads[place].sd, degrees, old, 1, "")
            mean = replace(one, new=new).at_least(scale * float(self.known.sd_of_flips[place]))
            repeats = one if of_seeds else mean
            alpha = share / (2 * new) if of_seeds else share * float(self.weights[place])
            found.append(gate.detectable_of(repeats, alpha, 0.0, float(self.matters[place])))
        return min(found)

    def _p(self, drops: Array, sd: Array, new: int) -> Array:
        from scipy.special import stdtr

        return np.asarray(stdtr(self.degrees, -drops / (sd * np.sqrt(1 / new + 1 / self.olds))))

    def drops(self, scores: Array) -> Array:
        """Return drops from the accepted scores."""
        sign = 1 if self.model.metric.higher_is_better else -1
        return np.asarray(sign * self.model.metric.scale * (self.accepted[:, None] - scores))

    def judged(self, scores: Array, seeds: int = 1, more: int = SEEDS_ON_SUSPICION) -> tuple[Array, Array, Array]:
        """Return (p-value of each cell's score or 1 where its drop matters not, of its seeds, whether it trained more).

        Args:
            scores: shape (cells, at least ``more``).
            seeds: trained in the run; ``more``: where a cell looks worse.
        """
        drops = self.drops(scores)
        first = self._p(drops[:, :seeds].mean(axis=1), self.sd, seeds)
        suspect = (first <= gate.SUSPICIOUS) & (more > seeds)
        new = np.where(suspect, more, seeds)
        mean = np.where(suspect, drops[:, :more].mean(axis=1), drops[:, :seeds].mean(axis=1))
        p_values = np.where(suspect, self._p(mean, self.sd, more), first)
        of_seeds = np.ones(len(p_values))
        for cell in np.flatnonzero(new > 1).tolist():
            of_seeds[cell] = self._of_seeds(cell, drops[cell, : new[cell]])
        return np.where(mean >= self.matters, p_values, 1.0), of_seeds, suspect

    def _of_seeds(self, cell: int, drops: Array) -> float:
        """Return the p-value of the worst seed and of the spread, as :class:`quantbench.gate.Seeds`."""
        sd = float(self.sd_of_seeds[cell])
        worst = float(np.max(drops))
        if worst < self.matters[cell]:
            return 1.0
        alone = np.full(len(self.olds), worst)
        of_one = float(self._p(alone, self.sd_of_seeds, 1)[cell])
        freedom = int(self.degrees[cell])
        spread = f_above(float(np.var(drops, ddof=1)) / sd**2, len(drops) - 1, freedom) if sd else 1.0
        return min(1.0, 2 * min(len(drops) * of_one, spread))


# ---------------------------------------------------------------- whole runs


@dataclass
class Matrix:
    """All models of a night, ready to be drawn."""

    night: Night
    stored: dict[str, draws.Stored] = field(default_factory=dict)
    trained: dict[str, TrainedTests] = field(default_factory=dict)
    _scores: dict[str, float] = field(default_factory=dict)
    _limits: dict[str, list[tuple[Floor, str, str, float]]] = field(default_factory=dict)

    @staticmethod
    def of(night: Night) -> "Matrix":
        """Prepare the models."""
        made = Matrix(night)
        for name, model in night.models.items():
            found, known = draws.stored(model, night.baselines[name]), draws.trainings(model, night.baselines[name])
            if found is not None:
                made.stored[name] = found
            if known is not None:
                made.trained[name] = TrainedTests(night, name, known)
        return made

    def limits(self, name: str) -> list[tuple[Floor, str, str, float]]:
        """List (limit, variant, its control, standard error of the drop between the two in pp)."""
        if name not in self._limits:
            self._limits[name] = _limits(self, name)
        return self._limits[name]

    def accepted(self, cell_id: str) -> float:
        """Return the score of a cell's accepted predictions."""
        if cell_id not in self._scores:
            model = self.night.cells[cell_id].model
            self._scores[cell_id] = model.metric.value(self.night.stored(cell_id), model.pack().test.y)
        return self._scores[cell_id]

    @cached_property
    def budget(self) -> float:
        """Return the budget of the scores; counting what shares it takes 3 ms."""
        even = self.night.budget().even()
        return even.share * even.judgements


@dataclass
class Run:
    """One drawn run.

    Attributes:
        answers: model -> (lost, gained) of its untrained cells.
        moved: continuous predictions by cell.
        scores: model -> scores of its trained cells, shape (cells, seeds).
    """

    answers: dict[str, tuple[Array, Array]] = field(default_factory=dict)
    moved: dict[str, Array] = field(default_factory=dict)
    scores: dict[str, Array] = field(default_factory=dict)


def draw(matrix: Matrix, random: np.random.Generator, each_way: float, anew: bool, spread: float = 1.0) -> Run:
    """Draw a run in which nothing got worse.

    Args:
        each_way: flips of each untrained cell; 0: none.
        anew: everything is trained with new seeds.
        spread: factor of the recorded spread of trainings.
    """
    run = Run()
    if each_way:
        run.answers = {name: stored.by_chance(random, each_way) for name, stored in matrix.stored.items()}
        for name, model in matrix.night.models.items():
            if name not in matrix.stored and model.metric.correct is None:
                variants = draws.untrained(matrix.night.baselines[name])
                for variant in random.choice(variants, min(_CONTINUOUS, len(variants)), replace=False):
                    accepted = matrix.night.baselines[name].predictions[variant]
                    run.moved[f"{name}/{variant}"] = draws.perturbed(accepted, random, _MOVED * each_way)
    if anew:
        run.scores = {
            name: tests.known.drawn(random, SEEDS_ON_SUSPICION, spread) for name, tests in matrix.trained.items()
        }
    return run


def sharing_of(matrix: Matrix, run: Run) -> tuple[Sharing, dict[str, Array]]:
    """Return the tests of a run, and which cells other tools' rules call red, by rule."""
    tests = Sharing()
    theirs: dict[str, list[Array]] = {}

    def add_peers(found: dict[str, Array]) -> None:
        for rule, red in found.items():
            theirs.setdefault(rule, []).append(red)

    for name, (lost, gained) in run.answers.items():
        stored = matrix.stored[name]
        by_class = stored.by_class(lost, gained)
        for less, more in ((lost.sum(axis=1), gained.sum(axis=1)), by_class):
            tests.add(mcnemar(less, more), np.where(less + more > 0, 0.5 ** (less + more), 1.0))
        tests.add(roughly_pooled(stored, lost, gained))
        n = len(stored.labels)
        add_peers(peers(100 * (lost.sum(axis=1) - gained.sum(axis=1)) / n, stored.right.mean(axis=1), n))
    # Their bootstrap takes the engine a second, so that it is asked only where a drop is large enough to be red at all.
    tests.add(np.where([_matters(matrix, cell_id, answers) for cell_id, answers in run.moved.items()], 0.0, 1.0))
    for name, scores in run.scores.items():
        trained = matrix.trained[name]
        p_values, of_seeds, _ = trained.judged(scores)
        tests.add(p_values, 0.0, trained.weights)
        tests.add(of_seeds[of_seeds < 1])
        scale, n = trained.model.metric.scale, trained.known.n
        spread = scale * trained.known.sd
        add_peers(peers(trained.drops(scores)[:, 0], trained.accepted, n, spread))
    return tests, {rule: np.concatenate(found) for rule, found in theirs.items()}


def _matters(matrix: Matrix, cell_id: str, answers: Array) -> bool:
    cell = matrix.night.cells[cell_id]
    metric, before = cell.model.metric, matrix.accepted(cell_id)
    drop = metric.drop(metric.value(answers, cell.model.pack().test.y), before)
    return drop >= metric.matters(before, cell.model.smallest_drop)


def roughly_pooled(stored: draws.Stored, lost: Array, gained: Array) -> Array:
    """Return normal approximations of the p-values of all cells of a model together, and of each family."""
    from scipy.special import ndtr

    differences = lost.astype(np.int16) - gained
    families = np.asarray([VARIANTS[name].family for name in stored.names])
    found = []
    for chosen in [np.ones(len(families), dtype=bool), *(families == one for one in np.unique(families))]:
        summed = differences[chosen].sum(axis=0)
        moved = np.sign(summed) * np.sqrt(np.abs(summed))
        sd = math.sqrt(float(np.sum(moved**2)))
        if sd and chosen.sum() > 1:
            found.append(float(ndtr(-moved.sum() / sd)))
    return np.asarray(found)


def near_a_limit(matrix: Matrix, run: Run) -> bool:
    """Whether any release limit may be broken: a drop from the control well beyond it."""
    return any(_beyond(matrix, name, run) for name in matrix.stored)


def _beyond(matrix: Matrix, name: str, run: Run) -> bool:
    stored, baseline = matrix.stored[name], matrix.night.baselines[name]
    n = len(stored.labels)
    now = {
        variant: matrix.accepted(f"{name}/{variant}")
        for variant in baseline.predictions
        if f"{name}/{variant}" in matrix.night.cells
    }
    if name in run.answers:
        lost, gained = run.answers[name]
        for i, variant in enumerate(stored.names):
            now[variant] += (int(gained[i].sum()) - int(lost[i].sum())) / n
    if name in run.scores:
        now |= dict(zip(matrix.trained[name].known.names, run.scores[name][:, 0], strict=True))
    known = matrix.trained.get(name)
    for limit, variant, control, error in matrix.limits(name):
        of_training = 0.0 if known is None else 100 * known.known.of_drop(variant, control)
        if 100 * (now[control] - now[variant]) > limit.max_drop + _NEAR_LIMIT * math.hypot(error, of_training):
            return True
    return False


def _limits(matrix: Matrix, name: str) -> list[tuple[Floor, str, str, float]]:
    """List (limit, variant, its control, standard error of the drop between the two in pp)."""
    found = []
    metric = matrix.stored[name].model.metric
    assert metric.correct is not None
    for cell in matrix.night.cells.values():
        if cell.model.name != name or cell.control not in matrix.night.cells:
            continue
        limit = cell.model.floor(cell.variant.name, cell.variant.family)
        if limit is None:
            continue
        labels = matrix.stored[name].labels
        own, control = matrix.night.stored(cell.id), matrix.night.stored(cell.control)
        pairs = fraction_drop(metric.correct(own, labels), metric.correct(control, labels), 100).pairs
        error = 100 * math.sqrt(pairs.lost + pairs.gained + 1) / pairs.n
        found.append((limit, cell.variant.name, matrix.night.cells[cell.control].variant.name, error))
    return found


def red(matrix: Matrix, run: Run, random: np.random.Generator) -> list[str]:
    """Let the engine judge a run, and say what is red."""
    predictions: dict[str, Sequence[Array]] = {
        name: [answers] for name, answers in run.moved.items() if _matters(matrix, name, answers)
    }
    for name, (lost, gained) in run.answers.items():
        stored = matrix.stored[name]
        for i, variant in enumerate(stored.names):
            if lost[i].any() or gained[i].any():
                predictions[f"{name}/{variant}"] = [stored.answers(i, lost[i], gained[i])]
    seeds: dict[str, Callable[[int], list[Array]]] = {}
    for name, scores in run.scores.items():
        trained = matrix.trained[name]
        for i, variant in enumerate(trained.known.names):
            accepted = matrix.night.baselines[name].predictions[variant]
            seeds[f"{name}/{variant}"] = _of_seeds(trained, i, accepted, scores[i], random)
    predictions |= {name: first(_ONE_SEED) for name, first in seeds.items()}
    verdicts = matrix.night.judge(predictions, more=lambda cell: seeds[cell](SEEDS_ON_SUSPICION))
    return [f"{name} {judged.measurement} ({judged.against})" for name, judged in verdicts.red]


def _of_seeds(
    trained: TrainedTests, cell: int, accepted: Array, scores: Array, random: np.random.Generator
) -> Callable[[int], list[Array]]:
    """Return what gives the predictions of the first seeds of a cell, by their scores.

    Continuous predictions are made where they are asked for: those of one seed take 10 ms, and nothing is drawn.
    """

    def of(score: float) -> Array:
        return draws.scoring(trained.model, accepted, score, trained.known.between[cell], random)

    if trained.model.metric.correct is None:
        return lambda count: [of(score) for score in scores[:count]]
    made = [of(score) for score in scores]
    return lambda count: made[:count]


def null_runs(
    matrix: Matrix,
    what: str,
    runs: range,
    each_way: float = 0.0,
    anew: bool = False,
    spread: float = 1.0,
    always: int = 1,
    seed: int = 7,
) -> NullRate:
    """Return how often runs were red in which nothing got worse.

    Args:
        runs: their numbers; each is drawn by its own, so that they can be divided among processes.
        always: number of runs that the engine judges however far from red they are, the first ones.
    """
    budget = matrix.budget
    reds, told, outputs, judged, counts = dict.fromkeys([OURS, *PEERS], 0), 0, 0, 0, []
    for run_number in runs:
        random = np.random.default_rng([seed, int(10 * each_way), int(anew), int(10 * spread), run_number])
        run = draw(matrix, random, each_way, anew, spread)
        tests, theirs = sharing_of(matrix, run)
        counts.append(tests.count)
        near = bool(tests.count) and tests.nearest() <= _NEAR * tests.share(budget)
        if near or near_a_limit(matrix, run) or run_number < always:
            judged += 1
            reds[OURS] += bool(red(matrix, run, random))
        for rule, cells in theirs.items():
            reds[rule] += bool(cells.any())
        for lost, gained in run.answers.values():
            flips = (lost | gained).sum(axis=1)
            outputs += len(flips)
            told += sum(called_changed(int(count), lost.shape[1]) for count in flips)
    return NullRate(
        what=what,
        runs=len(runs),
        cells=len(matrix.night.cells),
        tests=float(np.mean(counts)),
        red_runs=reds,
        models=len(matrix.night.models),
        changed=told,
        outputs=outputs,
        judged=judged,
    )


def together(rates: Sequence[NullRate]) -> NullRate:
    """Add up the rates of different runs of one kind."""
    runs = sum(one.runs for one in rates)
    sums = {name: sum(getattr(one, name) for one in rates) for name in ("changed", "outputs", "judged")}
    reds = {rule: sum(one.red_runs[rule] for one in rates) for rule in rates[0].red_runs}
    tests = sum(one.tests * one.runs for one in rates) / runs
    return rates[0].model_copy(update={**sums, "runs": runs, "red_runs": reds, "tests": tests})


@lru_cache(maxsize=4096)
def called_changed(flips: int, n: int) -> bool:
    """Whether outputs are called changed that moved as other kernels move them at most, with so many flips."""
    moved, baseline = _moved_by_kernels(n)
    judged = gate.fidelity(
        gate.Subject("selftest", "outputs", "reports/selftest"),
        replace(moved, flips=flips),
        baseline,
        gate.DEFAULT_BUDGET,
        trained=False,
    )
    return judged is not None and judged.verdict is not Verdict.PASS


@lru_cache
def _moved_by_kernels(n: int) -> tuple[gate.Outputs, BaselineCell]:
    """Return outputs of n examples that moved as other kernels move them at most, and what is accepted of them."""
    random = np.random.default_rng(0)
    before = random.lognormal(math.log(0.03), 0.5, n)
    after = np.abs(before + _KERNELS_MOVE * math.sqrt(math.pi / 2) * random.standard_normal(n))
    stamp = Accepted(date="", reason="healthy", run="selftest", environment="")
    stored, now = encode(before), encode(after)
    accepted = BaselineValue(
        value=float(np.mean(decode(stored))),
        unit="distance",
        n=n,
        noise=0.0,
        noise_from="",
        tolerance=gate.SMALLEST_EFFECT,
        tolerance_from="",
        accepted=stamp,
    )
    measured = Measurement(value=float(np.mean(decode(now))), unit="distance", n=n)
    return gate.Outputs(measured, now, stored, n=n), BaselineCell(measurements={OUTPUT_DISTANCE: accepted})


def several_seeds(night: Night) -> int:
    """Count the cells whose spread over trainings is known from several seeds."""
    return sum(
        len(values) > 1 and pooled_sd([values])[1] > 0
        for baseline in night.baselines.values()
        for values in scores_over_seeds(baseline.file.cells if baseline.file else {}).values()
    )
