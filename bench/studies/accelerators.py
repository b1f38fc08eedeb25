"""Put what accelerators made of the artifacts of one run or several beside each other.

    QUANTBENCH_VULKAN=swiftshader,FILE.json QUANTBENCH_OPENVINO=CPU quantbench run -m "gpu and not nightly"
    python -m studies.accelerators reports/latest --report-dir reports/reference

Of each device: examples answered otherwise than litert-cpu, of those that were compared (of maps and texts the share of
their pixels and tokens; of detectors whole scenes); operators left to the CPU, where there are any; and the time to
float32's on the same device, which says nothing of a GPU where the device is software. A later run replaces what an
earlier one says of the same artifact and device.
"""

import argparse
from pathlib import Path

from quantbench.records import Cell, Kind, Report, read_record
from quantbench.records.measurements import of_output
from quantbench.records.run_folder import REPORT

from studies import _common

REFUSED, FAILED = "refused", "could not be measured"


def seen(cell: Cell, name: str) -> str:
    """Say what a device made of a cell, in a few words."""
    agreement, left, ratio = (
        cell.measurements.get(of_output(f"gpu_{one}", name)) for one in ("agreement", "left", "ratio")
    )
    if agreement is None:
        refused = cell.further_gpu_refusals.get(name, "") if name else cell.gpu_refusal
        return REFUSED if refused else FAILED
    share = 1 - agreement.value
    differing = share * agreement.n
    whole = abs(differing - round(differing)) < 1e-6
    words = f"{round(differing)} of {agreement.n}" if whole else f"{100 * share:.2g} % of {agreement.n}"
    words += f", {left.value:.0f} of {left.n} left" if left is not None and left.value else ""
    return words + (f", {ratio.value:.2f}" if ratio is not None else "")


def columns(reports: list[Report]) -> dict[str, dict[str, str]]:
    """Return by device and cell what was seen."""
    found: dict[str, dict[str, str]] = {}
    for report in reports:
        for name, device in report.environment.gpus.items():
            tried = [cell for cell in report.cells if Kind.GPU in cell.verdicts]
            found.setdefault(device.label, {}).update({cell.id: seen(cell, name) for cell in tried})
    return found


def counts(seen_there: dict[str, str]) -> str:
    """Count what runs on a device, and what answers every example as the CPU does."""
    run = [words for words in seen_there.values() if words not in (REFUSED, FAILED)]
    same = sum(words.startswith("0 of") for words in run)
    return f"{len(run)} of {len(seen_there)} artifacts run, {same} answer every example as the CPU does"


def main() -> None:
    """Read the runs' reports, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--report-dir", type=Path, default=Path("reports"))
    given = parser.parse_args()
    found = columns([read_record(run / REPORT, Report, "report") for run in given.runs])
    cells = list(dict.fromkeys(cell for there in found.values() for cell in there))
    table = _common.table(
        ["artifact", *(label.partition(" (")[0] for label in found)],
        [[cell, *(there.get(cell, "") for there in found.values())] for cell in cells],
    )
    told = [f"- {label}: {counts(there)}." for label, there in found.items()]
    parts = ["# Artifacts on accelerators", (__doc__ or "").strip().split("\n\n")[-1], table, "\n".join(told)]
    _common.write(given.report_dir, "accelerators.md", [*parts, _common.machine()])


if __name__ == "__main__":
    main()
