"""Judge a score the same way, whether a run has just computed it or its report contains it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from quantbench import gate
from quantbench.baselines.files import Baseline
from quantbench.measure import flipped
from quantbench.records import Action, BaselineCell, BaselineValue, Judgement, Pooled, Verdict
from quantbench.records.measurements import of_output
from quantbench.records.origins import Flipped
from quantbench.reference.model import ReferenceModel

PARTS = frozenset({"classes", "slices", "seeds"})  # measurements of judgements that go with that of a score


@dataclass(frozen=True)
class Scored:
    """Hold a cell's score with everything that its judge needs.

    Attributes:
        baseline: of the model, as it stands today and there where the score was measured.
        seeds: that it was trained with; 0 where nothing trains.
        retrained: the float model itself was trained again (``--train``).
        reference_sha256: of the answers on the reference kernels.
        sources: hashes of what the answers come from besides the artifact.
        ask: gives the reference kernels' answers; None where the artifact is not at hand.
        trained_sha256: of the first seed's weights after all training.
        flipped: what the reference kernels said, where a report tells of it.
    """

    subject: gate.Subject
    model: ReferenceModel
    baseline: Baseline
    answers: gate.Answers
    seeds: int
    retrained: bool
    artifact_sha256: str | None
    reference_sha256: str | None
    sources: Mapping[str, str] = field(default_factory=dict)
    ask: flipped.Ask | None = None
    trained_sha256: str | None = None
    family: str = ""
    flipped: Flipped | None = None

    @property
    def accepted(self) -> BaselineCell | None:
        """Return the cell's baseline; None where it has none."""
        return self.baseline.cell(self.subject.variant)

    @cached_property
    def examples(self) -> gate.Examples:
        """What is known of the test split."""
        return examples_of(self.model)

    def judge(self, alpha: float) -> Judgement:
        """Drift against the baseline, red at a p-value of ``alpha``."""
        judged = gate.accuracy(
            self.subject,
            self.model.metric,
            self.answers,
            self.examples,
            self.accepted,
            self.baseline.predictions.get(self.subject.variant),
            alpha,
            self.seeds > 0,
            self._repeats,
            self.repeated,
            self.model.smallest_drop,
        )
        return gate.of_this_output(judged, self.subject.output)

    def with_origin(self, judged: Judgement) -> Judgement:
        """Return the same judgement; where the score moved, with the cause that the fingerprints show."""
        if judged.verdict not in (Verdict.REGRESSED, Verdict.WARN, Verdict.IMPROVED):
            return judged
        stored, now = self.baseline.predictions.get(self.subject.variant), self.answers.predictions
        witness = self.flipped
        if self.ask is not None and stored is not None and now is not None:
            witness = flipped.origin_of(stored, now, self.ask)
        why = gate.origin(self.accepted, self.artifact_sha256, self.reference_sha256, self.sources, witness)
        message = f"{judged.message}; {why}" if why else judged.message
        return judged.model_copy(update={"message": message, "flipped": witness})

    @property
    def repeated(self) -> bool:
        """Whether the first seed's training gave the very weights that the accepted predictions come from."""
        if not self.seeds or self.retrained or self.accepted is None:
            return False
        weights = self.accepted.trained_sha256
        return weights is not None and weights == self.trained_sha256

    @cached_property
    def _repeats(self) -> gate.Repeats | None:
        """Return what is known of the spread over trainings; None where nothing is trained."""
        metric, accepted = self.model.metric, self.accepted
        if self.retrained:
            return gate.repeats(metric, [self.model.seed_scores], 1, 1, "the float model was trained again")
        if not self.seeds or accepted is None or "score" not in accepted.measurements:
            return None
        own = accepted.measurements["score"].values or [0.0]
        alike, others = self.baseline.seed_scores(self.subject.variant)
        return gate.repeats(metric, alike, len(own), self.seeds, "it was trained", own, others)

    # ------------------------------------------------------------ what shares the budget

    def hypotheses(self, judged: Judgement) -> list[gate.Hypothesis]:
        """The tests that chance may have moved: of the score, and of its classes, slices and seeds.

        Args:
            judged: the score, at any threshold.
        """
        if judged.p_value is None:
            return []
        by_spread = self.seeds > 0 and not self.retrained and not self.repeated
        weight = gate.weight_of(self._value) if by_spread else 1
        found = [gate.Hypothesis(self.subject.key, judged.p_value, weight=weight)]
        if self._whole is not None:
            found = [one.hypothesis(self.subject.key, self.pooled_as) for one in [self._whole, *self._parts]]
        if self._seeds is not None:
            found.append(self._seeds.hypothesis(self.subject.key))
        return found

    def judge_parts(self, thresholds: gate.Thresholds) -> list[Judgement]:
        """The judgements on classes, slices and seeds, as far as any of them moved."""
        accepted = self._value
        if accepted is None:
            return []
        metric, matters = self.model.metric, self.model.metric.matters(accepted.value, self.model.smallest_drop)
        judged = gate.judge_parts(
            self.subject, metric, self._parts, self.examples, thresholds, matters, accepted.tolerance
        )
        score, repeats = self.answers.score, self._repeats
        if self._seeds is not None and score is not None and repeats is not None:
            of_seeds = gate.judge_seeds(
                self.subject, metric, self._seeds, score, accepted, repeats, thresholds, matters
            )
            judged.append(of_seeds)
        return [gate.of_this_output(one, self.subject.output) for one in judged]

    @property
    def pooled_as(self) -> str:
        """Return what cells are pooled by: the model, and its output where that is a further one."""
        return of_output(self.model.name, self.subject.output)

    @property
    def moved(self) -> gate.Moved | None:
        """How it moved, for the pool of its model; None where it did not, or where that is excused."""
        accepted, stored = self.accepted, self.baseline.predictions.get(self.subject.variant)
        if self._whole is None or not len(self._whole.differences) or accepted is None or stored is None:
            return None
        if "score" in accepted.xfail or accepted.measurements["score"].tolerance > 0:
            return None
        differences = gate.right_before_less_now(
            self.model.metric, self.answers.predictions, stored, self.examples.labels
        )
        return gate.Moved(self.subject.id, self.family, differences)

    @property
    def _value(self) -> BaselineValue | None:
        return self.accepted.measurements.get("score") if self.accepted else None

    @cached_property
    def _whole(self) -> gate.Flips | None:
        """What turned right or wrong, where one artifact's answers are compared with another's of the same model."""
        metric, stored = self.model.metric, self.baseline.predictions.get(self.subject.variant)
        if self.retrained or (self.seeds and not self.repeated) or metric.correct is None:
            return None
        if self._value is None or stored is None or self.answers.nonfinite or self.answers.score is None:
            return None
        if not gate.is_score_of(self._value, metric, stored, self.examples.labels, self.seeds > 0):
            return None
        if np.array_equal(self.answers.predictions, stored):
            return None
        return gate.flips(metric, self.answers.predictions, stored, self.examples)

    @cached_property
    def _parts(self) -> list[gate.Flips]:
        stored = self.baseline.predictions.get(self.subject.variant)
        if self._whole is None or stored is None:
            return []
        return gate.moved_parts(self.model.metric, self.answers.predictions, stored, self.examples)

    @cached_property
    def _seeds(self) -> gate.Seeds | None:
        score, accepted = self.answers.score, self._value
        if not self.seeds or self.retrained or score is None or accepted is None or self._repeats is None:
            return None
        return gate.seeds(self.model.metric, score, accepted, self._repeats)


def examples_of(model: ReferenceModel) -> gate.Examples:
    """What is known of a model's test split."""
    pack = model.pack()
    return gate.Examples(pack.test.y, pack.groups, pack.slices)


# ------------------------------------------------------------ several cells together


def pools_of(scored: Iterable[Scored]) -> list[tuple[gate.Pool, ReferenceModel]]:
    """The pools that the cells of a run make, model by model."""
    by_model: dict[str, list[Scored]] = {}
    for one in scored:
        by_model.setdefault(one.pooled_as, []).append(one)
    found = []
    for name, cells in sorted(by_model.items()):
        moved = [one.moved for one in cells]
        known = [one for one in moved if one is not None]
        if known:
            found += [(pool, cells[0].model) for pool in gate.pools(name, known, cells[0].examples.groups)]
    return found


def judge_pools(
    pools: Sequence[tuple[gate.Pool, ReferenceModel]],
    tested: Sequence[gate.Hypothesis],
    thresholds: gate.Thresholds,
    run: str,
) -> list[Pooled]:
    """Judge pools.

    Args:
        tested: the hypothesis of each pool.
        run: how commands name the run.
    """
    return [
        pool.judge(
            model.metric, hypothesis, thresholds, model.metric.matters(1.0, model.smallest_drop), _accept(pool, run)
        )
        for (pool, model), hypothesis in zip(pools, tested, strict=True)
    ]


def _accept(pool: gate.Pool, run: str) -> Action:
    return gate.Subject(pool.model, "", run).accept_all(pool.cells)


def potential(model: ReferenceModel, cells: Sequence[tuple[str, int]]) -> int:
    """How many tests the scores of a model's cells can take in a run.

    Args:
        cells: family and number of seeds of each.
    """
    parts = 0
    if model.metric.correct is not None:
        parts = sum(gate.divisions_count(examples_of(model)).values())
    of_seeds = sum(seeds > 1 for _, seeds in cells)
    pools = 1 + len({family for family, _ in cells}) if parts and len(cells) > 1 else 0
    return len(cells) * (1 + parts) + of_seeds + pools
