"""Measure how far healthy artifacts differ from the CPU on each kind of device, from what the baselines accepted.

    python -m studies.gpu_null --report-dir reports/reference

The lowest agreement of each kind and arithmetic is what the judge holds an artifact to on a device where nothing was
accepted (``quantbench.gate._gpu_null``). Left out are artifacts of a known fault: pointwise convolutions with a stride
that are not float (``studies.gpu_stride``), and constants of several rows, which Keras 3 writes for weights of
4 bits (``studies.gpu_constants``). So are int16 activations, of which the accelerator takes a few operators of hundreds
and computes some of them wrong (77 of 200 examples of ``keyword``), and detectors: their agreement counts whole
scenes, in which any detection may change. A second table counts which artifacts ran on these devices at all.
"""

import argparse
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from quantbench.core.options import CHECKOUT
from quantbench.gate._gpu_faults import strided_pointwise
from quantbench.gate._gpu_null import ARITHMETIC, Null, arithmetic
from quantbench.records import AcceptedGpu, BaselineCell, BaselineFile, read_record

from studies._common import quietly, table, write

# Baselines name devices, and not their kind. Others are left out: OpenVINO's answers depend on the processor.
KINDS = {"SwiftShader Device (Subzero)": "software"}
DETECTION = "mean_average_precision"
OF_SEVERAL_ROWS = "keras_weight_only_wi4"
HEADERS = ["kind of device", "computes with", "artifacts", "models", "all examples as the CPU", "lowest", "of which"]
TRIED = ["model", "artifacts", "answer", "refused", "not tried"]


@dataclass(frozen=True)
class Seen:
    """One artifact that was accepted on a device."""

    cell: str
    arithmetic: str
    accepted: AcceptedGpu

    @property
    def model(self) -> str:
        """Name the model."""
        return self.cell.partition("/")[0]


def faulty(variant: str, cell: BaselineCell) -> bool:
    """Check whether an artifact has a fault of the accelerator that is known."""
    of_int16 = cell.census is not None and "int16" in cell.census.activations
    return of_int16 or variant.startswith(OF_SEVERAL_ROWS) or bool(strided_pointwise(cell.census))


def healthy(folder: Path = CHECKOUT / "baselines") -> dict[str, list[Seen]]:
    """Return the accepted artifacts by kind of device, without those of a known fault."""
    found = defaultdict(list)
    for path in sorted(folder.glob("*.json")):
        file = read_record(path, BaselineFile, "baseline")
        if file.metric == DETECTION:
            continue
        for variant, cell in file.cells.items():
            computed = arithmetic(cell.census)
            if computed is None or faulty(variant, cell):
                continue
            for device, accepted in cell.gpu.items():
                if device not in KINDS:
                    continue
                found[KINDS[device]].append(Seen(f"{file.model}/{variant}", computed, accepted))
    return dict(found)


def nulls(found: dict[str, list[Seen]]) -> dict[str, dict[str, Null]]:
    """Return the lowest agreement by kind of device and arithmetic."""
    return {
        kind: {
            name: Null(lowest.agreement, lowest.examples)
            for name in ARITHMETIC
            for lowest in [min((one.accepted for one in seen if one.arithmetic == name), key=lambda a: a.agreement)]
        }
        for kind, seen in found.items()
    }


def rows(found: dict[str, list[Seen]]) -> list[list[str]]:
    """Return a row for each kind of device and arithmetic."""
    found_rows = []
    for kind, seen in sorted(found.items()):
        for name in ARITHMETIC:
            of = [one for one in seen if one.arithmetic == name]
            lowest = min(of, key=lambda one: one.accepted.agreement)
            same = sum(one.accepted.agreement == 1 for one in of)
            models = len({one.model for one in of})
            share = f"{100 * lowest.accepted.agreement:.2f} % of {lowest.accepted.examples}"
            where = lowest.cell if lowest.accepted.agreement < 1 else "any"
            found_rows.append([kind, name, str(len(of)), str(models), str(same), share, where])
    return found_rows


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


def main() -> None:
    """Read the baselines, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--report-dir", type=Path, default=Path("reports"))
    given = parser.parse_args()
    told = "The lowest agreement with litert-cpu of artifacts without a known fault, on the devices of the baselines."
    parts = ["# Healthy artifacts on accelerators", told, table(HEADERS, rows(healthy()))]
    counted = "Which artifacts of the baselines ran on these devices, or are refused there as a known limitation:"
    write(given.report_dir, "gpu_null.md", [*parts, counted, table(TRIED, tried())])


if __name__ == "__main__":
    quietly(main)
