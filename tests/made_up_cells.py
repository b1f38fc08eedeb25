"""Make a run that computes nothing: made-up outcomes of cells, and the parts of the engine around them."""

import datetime
from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from conftest import accepted
from made_up_runs import LABELS, answers, clustered, environment
from quantbench.baselines.effective import EffectiveBaseline
from quantbench.core.arrays import Array
from quantbench.core.options import RunOptions
from quantbench.engine.cell import Planned
from quantbench.engine.context import Rules
from quantbench.engine.drive import Drive
from quantbench.engine.false_alarms import Budget
from quantbench.engine.interim_report import Header, Recording
from quantbench.engine.judging import Judging
from quantbench.engine.plan import Plan
from quantbench.engine.results import CellResult, Judgements, Results
from quantbench.engine.workers.task import Outcome
from quantbench.errors import Exit
from quantbench.measure import latency
from quantbench.records import BaselineCell, BaselineFile, Contents, Judgement, Kind, Report, Verdict
from quantbench.reference.datasets import Pack, Split
from quantbench.reference.model import Floor, ReferenceModel

TODAY = datetime.date(2026, 6, 1)
FLOAT, HALF, FULL = "m/float32", "m/ptq_float16", "m/ptq_static_wi8_ai8"


class Model(ReferenceModel):
    """Provide a reference model without files, whose test labels are LABELS."""

    def pack(self) -> Pack:
        return Pack(None, None, Split(np.zeros((len(LABELS), 1)), LABELS), "d")


def model(name: str = "m", **more: Any) -> ReferenceModel:
    fields: dict[str, Any] = {"floors": {"default": Floor(0.5, "a release may lose half a point")}} | more
    return Model(
        name=name, description="", weights="w.npz", weights_sha256="w", data="d.npz", data_sha256="d", **fields
    )


def outcome(wrong: int = 100, at: int = 0, **more: Any) -> Outcome:
    """Make the outcome of a cell with ``wrong`` of 1000 predictions wrong, from index ``at`` on."""
    predictions = answers(wrong, at)
    fields: dict[str, Any] = {
        "seed": 0,
        "artifact_sha256": "a" * 64,
        "predictions": predictions,
        "score": float(np.mean(predictions == LABELS)),
        "contents": Contents(census=clustered(), ranges=[]),
        "sizes": {"size": 1000, "gzip_size": 800},
        "seconds": 2.0,
    }
    return Outcome(**(fields | more))


def baseline(cells: Mapping[str, Array], **more: BaselineCell) -> EffectiveBaseline:
    """Make accepted scores: variant -> predictions, which are stored too; ``more`` replaces cells."""
    scores = {
        name: BaselineCell(measurements={"score": accepted(float(np.mean(stored == LABELS)))})
        for name, stored in cells.items()
    }
    file = BaselineFile(model="m", metric="accuracy", data_sha256="d", predictions_sha256="p", cells=scores | more)
    return EffectiveBaseline(file, dict(cells))


class Computing:
    """Replace the scheduler: compute at once whatever is waited for, and record it."""

    def __init__(self, plan: Plan, outcomes: Mapping[str, list[Outcome]], computed: Collection[str]) -> None:
        self.partial = False
        self.waited: list[str] = []
        self.calls: list[str] = []
        self._plan = plan
        self._outcomes = outcomes
        self._computed = set(computed)
        self._beside: dict[str, list[Outcome]] = {}

    def so_far(self, cell_id: str) -> list[Outcome | None]:
        outcomes = self._outcomes[cell_id][: len(self._plan.cells[cell_id].seeds)]
        return [*outcomes] if cell_id in self._computed else [None] * len(outcomes)

    def wait(self, cells: Collection[Planned]) -> None:
        self.waited += [cell.id for cell in cells]
        self._computed |= {cell.id for cell in cells}

    def computed(self, cell: Planned) -> bool:
        return {cell.id, *cell.needs} <= self._computed

    def finish(self) -> None:
        self.calls.append("finish")
        if not self.partial:
            self.wait(self._plan.cells.values())

    def reseed(self, cell: Planned) -> None:
        self.calls.append(f"reseed {cell.id} {len(cell.seeds)}")
        self._computed.discard(cell.id)
        if len(cell.seeds) == 1:  # that one is computed
            self._computed.add(cell.id)

    def train_beside(self, cell: Planned, seeds: Collection[int]) -> None:
        self.calls.append(f"beside {cell.id} {len(seeds)}")
        self._beside[cell.id] = [one for one in self._outcomes[cell.id] if one.seed in seeds]

    def beside(self, cell_id: str) -> list[Outcome]:
        return self._beside.get(cell_id, [])

    def stop(self) -> None:
        self.calls.append("stop")

    def where_full(self) -> str:
        return "no space is left in /store"


class Alone:
    """Replace exclusive measuring."""

    def __init__(self) -> None:
        self.measured: list[str] = []

    def judge(self, kind: Kind, result: CellResult) -> list[Judgement]:
        self.measured.append(f"{kind} {result.cell.id}")
        return [Judgement(kind=kind, measurement="latency_ratio", against="baseline", verdict=Verdict.PASS, message="")]


@dataclass
class Run:
    """Hold the parts of a made-up run.

    Attributes:
        written: the saved reports.
    """

    plan: Plan
    computing: Computing
    results: Results
    rules: Rules
    budget: Budget
    judging: Judging
    judgements: Judgements
    alone: Alone
    recording: Recording
    drive: Drive
    written: list[Report] = field(default_factory=list)

    def result(self, cell_id: str, control: str | None = FLOAT) -> tuple[CellResult, CellResult | None]:
        """Return what a judge gets."""
        return self.results.of(cell_id), self.results.of(control) if control and control != cell_id else None


def run(
    outcomes: Mapping[str, list[Outcome]],
    effective_baseline: EffectiveBaseline | None = None,
    kinds: Collection[Kind] = (Kind.ACCURACY, Kind.SIZE),
    *,
    wanted: Collection[str] | None = None,
    computed: Collection[str] | None = None,
    options: RunOptions | None = None,
    of: ReferenceModel | None = None,
    within: Mapping[str, Set[Kind]] | None = None,
    **rules: Any,
) -> Run:
    """Make a run of these cells.

    Args:
        outcomes: cell -> one outcome per seed; controls too.
        effective_baseline: the accepted values; None for none.
        wanted: the cells that the user selected; None for all.
        computed: the cells that are computed before anything waits; None for all.
        within: the cells of several runs that this is one of.
    """
    plan = Plan(options or RunOptions(), {"m": of or model()}, within)
    plan.fix({cell: set(kinds) for cell in (outcomes if wanted is None else wanted)})
    computing = Computing(plan, outcomes, outcomes if computed is None else computed)
    by = Rules({"m": effective_baseline or EffectiveBaseline()}, environment(), "runs/r", **rules)
    budget, judgements, alone = Budget(plan, by, 0.01, [1]), Judgements(), Alone()
    results = Results(plan.cells, computing.so_far)
    written: list[Report] = []
    recording = Recording(
        Header("r", 0.0, "2026-06-01T00:00:00+00:00"),
        plan.cells,
        results,
        judgements,
        by,
        budget,
        lambda: None,
        lambda report, _: written.append(report),
    )
    judging = Judging(by, budget, TODAY)
    drive = Drive(
        plan,
        computing,
        results,
        budget,
        judging,
        alone,
        judgements,
        has_gpu=False,
        seeds_on_suspicion=plan.options.seeds_on_suspicion,
        saved=lambda: recording.save("running", Exit.GREEN),
    )
    return Run(plan, computing, results, by, budget, judging, judgements, alone, recording, drive, written)


def timed(ratio: float) -> latency.Latency:
    """Six processes in which the variant takes so many times its control's millisecond."""

    def blocks(seconds: float) -> latency.Blocks:
        return latency.Blocks(np.full(8, seconds), np.full(8, seconds))

    processes = [
        {"variant": blocks(1e-3 * ratio * (1 + i / 1e4)), "control": blocks(1e-3), "yardstick": blocks(1e-3)}
        for i in range(6)
    ]
    return latency.Latency(processes)
