"""Measure how far healthy artifacts differ from the CPU on each kind of device, from what the baselines accepted.

    python -m studies.gpu_null --report-dir reports/reference --write

The lowest agreement of each kind of device, of what is compared (whole examples, values as pixels, or detections) and
of each arithmetic is what the judge holds an artifact to on a device where nothing was accepted. ``--write`` writes
these numbers to ``quantbench/gate/_gpu_null_measured.py``, where the judge has them from. Left out are artifacts of a
known fault: pointwise convolutions with a stride that are not float (``studies.gpu_stride``), constants of several
rows, which Keras 3 writes for weights of 4 bits (``studies.gpu_constants``), and sums and products of int16 values
(``studies.gpu_int16``). So are artifacts of which the device took no operator.

*Red by the others*: artifacts that the judge would call red if it knew only those of other models, or of one model only
the other artifacts: the null is then tried on what it was not made of. Such artifacts are left out too, and named: one
that nobody has explained must not widen the limit of all. A second table counts which artifacts ran on these devices at
all.
"""

import argparse
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from quantbench.core.options import CHECKOUT
from quantbench.gate import _gpu_null_measured
from quantbench.gate._gpu_faults import known_fault
from quantbench.gate._gpu_null import ARITHMETIC, Null, arithmetic, less_than_healthy
from quantbench.records import AcceptedGpu, BaselineCell, BaselineFile, Compared, Measurement, read_record
from quantbench.reference.agreement import compared
from quantbench.reference.metrics import BY_NAME

from studies._common import quietly, table, write

# Baselines name devices, and not their kind. Others are left out: OpenVINO's answers depend on the processor.
KINDS = {"SwiftShader Device (Subzero)": "software"}
OF_SEVERAL_ROWS = "keras_weight_only_wi4"
HEADERS = [
    "kind of device",
    "agreement of",
    "computes with",
    "artifacts",
    "models",
    "whole",
    "lowest",
    "of which",
    "red by the others",
]
TRIED = ["model", "artifacts", "answer", "refused", "not tried"]
Group = tuple[str, str, str]  # kind of device, what is compared, arithmetic


@dataclass(frozen=True)
class Seen:
    """One artifact that was accepted on a device."""

    cell: str
    accepted: AcceptedGpu

    @property
    def model(self) -> str:
        """Name the model."""
        return self.cell.partition("/")[0]


def faulty(variant: str, cell: BaselineCell) -> bool:
    """Check whether an artifact has a fault of the accelerator that is known."""
    return variant.startswith(OF_SEVERAL_ROWS) or known_fault(cell.census) is not None


def compared_of(file: BaselineFile, accepted: AcceptedGpu) -> Compared | None:
    """Return what an accepted agreement is a share of; None of a detector's from before detections were compared."""
    of = compared(BY_NAME[file.metric]) if file.metric in BY_NAME else "examples"
    return None if of == "detections" and accepted.compared is None else of


def ran_there(file: BaselineFile, device: str, accepted: AcceptedGpu) -> bool:
    """Check whether a device took operators of an artifact, and some of its multiplications.

    All were left to the CPU where as many were as of any artifact of the model: a baseline does not hold the total.
    """
    left = [cell.gpu[device].left_macs or 0 for cell in file.cells.values() if device in cell.gpu]
    without_work = bool(accepted.left_macs) and accepted.left_macs == max(left)
    return not without_work and (not accepted.operators or accepted.left < accepted.operators)


def healthy(folder: Path = CHECKOUT / "baselines") -> dict[Group, list[Seen]]:
    """Return the accepted artifacts without those of a known fault."""
    found = defaultdict(list)
    for path in sorted(folder.glob("*.json")):
        file = read_record(path, BaselineFile, "baseline")
        for variant, cell in file.cells.items():
            computed = arithmetic(cell.census)
            if computed is None or faulty(variant, cell):
                continue
            for device, accepted in cell.gpu.items():
                of = compared_of(file, accepted)
                if device in KINDS and of is not None and ran_there(file, device, accepted):
                    found[KINDS[device], of, computed].append(Seen(f"{file.model}/{variant}", accepted))
    return {group: found[group] for group in sorted(found, key=_order)}


def _order(group: Group) -> tuple[str, str, int]:
    kind, of, computed = group
    return kind, of, ARITHMETIC.index(computed)


def null_by(seen: list[Seen], kind: str = "") -> Null:
    """Return the null that these artifacts are."""
    lowest = min(seen, key=lambda one: one.accepted.agreement).accepted
    return Null(lowest.agreement, lowest.examples, len({one.model for one in seen}), kind)


def told_apart(seen: list[Seen]) -> tuple[list[Seen], list[Seen]]:
    """Return the artifacts that pass by those of the other models, or by the others of their only model; and the rest.

    The best model passes, and what is left out is beyond all that stays: the first list is never empty.
    """
    several = len({one.model for one in seen}) > 1
    kept: list[Seen] = []
    red: list[Seen] = []
    for one in seen:
        others = [each for each in seen if (each.model != one.model if several else each is not one)]
        measured = Measurement(value=one.accepted.agreement, unit="fraction", n=one.accepted.examples)
        beyond = bool(others) and less_than_healthy(measured, null_by(others))
        (red if beyond else kept).append(one)
    return kept, red


def rows(found: dict[Group, list[Seen]]) -> list[list[str]]:
    """Return a row for each kind of device, what is compared, and arithmetic."""
    told = []
    for group, seen in found.items():
        kept, red = told_apart(seen)
        null, whole = null_by(kept), sum(one.accepted.agreement == 1 for one in kept)
        lowest = min(kept, key=lambda one: one.accepted.agreement)
        share = f"{100 * null.agreement:.2f} % of {null.examples}"
        where = lowest.cell if null.agreement < 1 else "any"
        out = f"{len(red)} of {len(seen)}" + f": {', '.join(one.cell for one in red)}" * bool(red)
        out = out if len(seen) > 1 else "no others"
        told.append([*group, str(len(kept)), str(null.models), str(whole), share, where, out])
    return told


def module(found: dict[Group, list[Seen]]) -> str:
    """Return the source of the module that the judge has the numbers from."""
    lines = ["LOWEST: dict[tuple[str, Compared, str], tuple[float, int, int, int]] = {"]
    for (kind, of, computed), seen in found.items():
        kept, _ = told_apart(seen)
        null = null_by(kept)
        lines.append(
            f'    ("{kind}", "{of}", "{computed}"): ({null.agreement!r}, {null.examples}, {len(kept)}, {null.models}),'
        )
    head = Path(_gpu_null_measured.__file__).read_text(encoding="utf-8").partition("LOWEST:")[0]
    return head + "\n".join([*lines, "}"]) + "\n"


def tried(folder: Path = CHECKOUT / "baselines") -> list[list[str]]:
    """Return a row for each model, and one for all: artifacts that answer on a device, are refused, were not tried."""
    counts = {}
    for path in sorted(folder.glob("*.json")):
        file = read_record(path, BaselineFile, "baseline")
        made = [cell for cell in file.cells.values() if cell.artifact_sha256]
        answer = sum(any(device in KINDS for device in cell.gpu) for cell in made)
        refused = sum(any(device in KINDS for device in cell.gpu_refusal) for cell in made)
        counts[file.model] = [len(made), answer, refused, len(made) - answer - refused]
    counts["all"] = [sum(column) for column in zip(*counts.values(), strict=True)]
    return [[model, *map(str, row)] for model, row in counts.items()]


def report(found: dict[Group, list[Seen]]) -> list[str]:
    """Return the parts of the report."""
    told = (
        "The lowest agreement with litert-cpu of artifacts without a known fault, on the devices of the baselines, and "
        "how many would be red by those of other models alone (of one model: by its other artifacts)."
    )
    counted = "Which artifacts of the baselines ran on these devices, or are refused there as a known limitation:"
    return ["# Healthy artifacts on accelerators", told, table(HEADERS, rows(found)), counted, table(TRIED, tried())]


def main() -> None:
    """Read the baselines, write the tables, and the judge's numbers where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--report-dir", type=Path, default=Path("reports"))
    parser.add_argument("--write", action="store_true", help="write the numbers that the judge uses")
    given = parser.parse_args()
    found = healthy()
    write(given.report_dir, "gpu_null.md", report(found))
    if given.write:
        Path(_gpu_null_measured.__file__).write_text(module(found), encoding="utf-8")


if __name__ == "__main__":
    quietly(main)
