"""Carry the history of a baseline over to a model that was retrained or changed under the same name.

Every value is the new model's; what remains is what people decided and where drift is measured from: the first accepted
values, loosened tolerances, expected failures, and values of machines that this run did not measure.
"""

from collections.abc import Mapping
from dataclasses import replace

from quantbench.baselines.accepted_value import following
from quantbench.baselines.files import Baseline
from quantbench.baselines.update import Proposal
from quantbench.records import BaselineCell, BaselineValue


def with_history(proposal: Proposal, old: Baseline) -> Proposal:
    """Return a proposal that was made from no baseline, with the history of the old one.

    Cells that the proposal lacks are dropped and named; overlays are dropped, as they hold answers of the old model.
    """
    before = old.file.cells if old.file else {}
    cells = {name: _cell(cell, before.get(name)) for name, cell in proposal.file.cells.items()}
    file = proposal.file.model_copy(update={"cells": cells})
    return replace(proposal, file=file, dropped=sorted(set(before) - set(cells)))


def _cell(new: BaselineCell, old: BaselineCell | None) -> BaselineCell:
    if old is None or new.unsupported is not None:
        return new
    by_machine = {
        name: _followed(new.by_machine.get(name, {}), old.by_machine.get(name, {}), keep=True)
        for name in {**old.by_machine, **new.by_machine}
    }
    return new.model_copy(
        update={
            "measurements": _followed(new.measurements, old.measurements),
            "latency": _followed(new.latency, old.latency, keep=True),
            "peak_memory": _followed(new.peak_memory, old.peak_memory, keep=True),
            "by_machine": by_machine,
            "counted": {**old.counted, **new.counted},
            "xfail": old.xfail,
        }
    )


def _followed(
    new: Mapping[str, BaselineValue], old: Mapping[str, BaselineValue], keep: bool = False
) -> dict[str, BaselineValue]:
    """Return the new values with the history of the old ones.

    Args:
        keep: whether a value that only the old baseline has stays, as one of another machine.
    """
    kept = dict(old) if keep else {}
    return kept | {name: following(value, old.get(name)) for name, value in new.items()}
