"""Plan which cells a run computes: the selection, a shard's part of it, and the controls that both need."""

from collections.abc import Mapping, Set
from dataclasses import replace
from pathlib import Path

from quantbench.core.options import RunOptions
from quantbench.engine import shards
from quantbench.engine.cell import CellId, Planned
from quantbench.errors import BadInput
from quantbench.records import Kind, parts
from quantbench.reference.model import ReferenceModel
from quantbench.variants import VARIANTS, variant_of

# Measured once all cells are computed, and not started in a run that was stopped. Instructions do not need the machine
# for themselves, nor does TFLite-Micro: workers have run it by then, and judging finds its answers in the store.
ALONE = frozenset({Kind.INSTRUCTIONS, Kind.MICRO, Kind.GPU, Kind.LATENCY, Kind.TARGET})
IN_ORDER = (Kind.INSTRUCTIONS, Kind.MICRO, Kind.GPU, Kind.LATENCY, Kind.TARGET)


class Plan:
    """Hold the cells of a run; none until they are fixed.

    Args:
        models: reference models by name.
        within: every cell that may be judged beside these, in other runs that share one false-alarm budget with this
            one; None where this run is all there is.

    Attributes:
        options: of the run.
        shard_of: which part of the run this is, and of how many; None where it is all of it.
        cells: what this machine computes, controls among it, in the order of the report.
        whole: the same of the whole run.
        split: cell -> its shard; empty where nothing is divided.
        collected: cell -> what of it has a test; None where everything has.

    Raises:
        BadInput: the shard does not exist, or the durations cannot be read.
    """

    def __init__(
        self,
        options: RunOptions,
        models: Mapping[str, ReferenceModel],
        within: Mapping[CellId, Set[Kind]] | None = None,
    ) -> None:
        self.options = options
        self._within = within
        self._models = models
        self.shard_of = shards.parse(options.shard) if options.shard else None
        self._durations = shards.recorded(Path(options.shard_durations)) if options.shard_durations else {}
        if options.shard and options.update_baselines:
            raise BadInput(
                "--update-baselines: a shard is only part of a run; accept the report merged from all shards"
            )
        self.cells: dict[CellId, Planned] = {}
        self.whole: dict[CellId, Planned] = {}
        self.split: dict[CellId, int] = {}
        self.collected: Mapping[CellId, Set[Kind]] | None = None

    @property
    def is_part(self) -> bool:
        """Return whether cells of other runs share this one's false-alarm budget: each counts as if chance moved it."""
        return self.shard_of is not None or self._within is not None

    def of_this_shard(self, wanted: Mapping[CellId, Set[Kind]]) -> set[CellId]:
        """Return the cells that this machine measures: all wanted ones, or those of ``--shard``.

        Raises:
            BadInput: there are more shards than cells.
        """
        if self.shard_of is None or not wanted:
            return set(wanted)
        index, of = self.shard_of
        self.whole = self._with_controls(wanted)
        timed = {cell.id for cell in self.whole.values() if cell.kinds & ALONE}
        seeds = {cell.id: len(cell.seeds) if cell.variant.trained else 0 for cell in self.whole.values()}
        expected = shards.durations(seeds, timed, self._durations)
        works = {
            cell.id: shards.Work((cell.model.name, cell.variant.trained), expected[cell.id], cell.needs)
            for cell in self.whole.values()
            if cell.selected
        }
        controls = {cell_id: duration.made for cell_id, duration in expected.items()}
        self.split = shards.split(works, controls, of)
        return {cell_id for cell_id, home in self.split.items() if home == index}

    def fix(self, wanted: Mapping[CellId, Set[Kind]], collected: Mapping[CellId, Set[Kind]] | None = None) -> None:
        """Fix the cells of the run, with the controls that they need.

        Args:
            collected: what of it has a test; everything where None.
        """
        self.collected = collected
        cells = self._with_controls(wanted)
        if self._within is not None:
            self.whole = self._with_controls({**self._within, **wanted})
        self.whole = self.whole or cells
        for cell in cells.values():  # every shard asks the same of a control
            kinds = cell.kinds if cell.selected else self.whole[cell.id].kinds - ALONE
            self.cells[cell.id] = replace(cell, kinds=kinds)

    def _with_controls(self, wanted: Mapping[CellId, Set[Kind]]) -> dict[CellId, Planned]:
        """Return the wanted cells and the controls that they need, by model and in the order of the variants."""
        planned = {cell_id: self._planned(cell_id, kinds, selected=True) for cell_id, kinds in wanted.items()}
        for cell in list(planned.values()):
            for cell_id in cell.needs:
                if cell_id not in planned:
                    planned[cell_id] = self._planned(cell_id, cell.kinds - ALONE, selected=False)
        order = {name: i for i, name in enumerate(VARIANTS)}  # artifacts built elsewhere come last, by name

        def place(cell: Planned) -> tuple[str, int, str]:
            return cell.model.name, order.get(cell.variant.name, len(order)), cell.variant.name

        by_name = sorted(planned.values(), key=place)
        return {cell.id: cell for cell in by_name}

    def _planned(self, cell_id: CellId, kinds: Set[Kind], selected: bool) -> Planned:
        name, variant = parts(cell_id)
        seeds = range(self.options.seeds) if VARIANTS[variant].trained else [0]
        model = self._models[name]
        return Planned(model, variant_of(model, variant), frozenset(kinds), selected, tuple(seeds))

    def has_test(self, cell: Planned, kind: Kind) -> bool:
        """Return whether a test asks for this judgement; those of an added control need none."""
        return self.collected is None or not cell.selected or kind in self.collected.get(cell.id, frozenset())

    def reseed(self, cell_id: CellId, seeds: int) -> Planned:
        """Ask for another number of seeds of a cell, and return it as it is planned now."""
        changed = replace(self.cells[cell_id], seeds=tuple(range(seeds)))
        self.cells[cell_id] = changed
        return changed

    def leave_out(self, cell_id: CellId, kind: Kind) -> None:
        """Ask for one kind of a cell no longer."""
        cell = self.cells[cell_id]
        self.cells[cell_id] = replace(cell, kinds=cell.kinds - {kind})

    def asked_for(self, kind: Kind) -> list[Planned]:
        """Return the cells of this machine for which this kind is requested."""
        return [cell for cell in self.cells.values() if kind in cell.kinds]
