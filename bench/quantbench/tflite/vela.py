"""Read the summary that Arm's Vela compiler writes beside a compiled file, ``NAME_summary_CONFIGURATION.csv``.

One line of names and one line for each network. Sizes are KiB there, and bytes here.
"""

import csv
import math
from collections.abc import Mapping
from pathlib import Path

from quantbench import files
from quantbench.errors import BadInput

_LARGEST = 2**20
KIB = 1024
# Figure -> (column, factor to its unit): bytes, cycles, seconds, MACs.
COLUMNS = {
    "sram": ("sram_memory_used", KIB),
    "dram": ("dram_memory_used", KIB),
    "on_chip_flash": ("on_chip_flash_memory_used", KIB),
    "off_chip_flash": ("off_chip_flash_memory_used", KIB),
    "cycles": ("cycles_total", 1),
    "npu_cycles": ("cycles_npu", 1),
    "inference_time": ("inference_time", 1),
    "macs": ("nn_macs", 1),
}
_NEEDED = ("sram", "cycles")
_ABOUT = ("network", "accelerator_configuration", "system_config", "memory_mode")


def read(path: Path, network: str) -> tuple[dict[str, float], dict[str, str]]:
    """Return the figures of a summary, and what it says of the target.

    Args:
        network: name of the compiled file without its ending; it chooses the line where there are several.

    Raises:
        BadInput: it is no summary of Vela, or has no line for this file.
    """
    text = files.read_text(path, "Vela summary", _LARGEST, follow=True)
    try:
        rows = list(csv.DictReader(text.splitlines()))
    except csv.Error as error:
        raise BadInput(f"{path}: is not a CSV file ({error}); give Vela's NAME_summary_*.csv") from None
    lacking = [COLUMNS[name][0] for name in _NEEDED if not rows or COLUMNS[name][0] not in rows[0]]
    if lacking:
        raise BadInput(
            f"{path}: expected the columns {' and '.join(lacking)}, found "
            f"{', '.join(list(rows[0])[:4]) + ', ...' if rows else 'no line'}; give Vela's NAME_summary_*.csv"
        )
    row = _row(rows, network, path)
    figures = {name: number for name in COLUMNS if (number := _number(row, name, path)) is not None}
    return figures, {name: str(row[name])[:80] for name in _ABOUT if row.get(name)}


def with_share(figures: Mapping[str, float]) -> dict[str, float]:
    """Add which share of the multiplications is left to the CPU: Vela counts only those that the accelerator takes."""
    left, taken = figures.get("left_macs"), figures.get("macs")
    if left is None or taken is None or not left + taken:
        return dict(figures)
    return {**figures, "left_share": left / (left + taken)}


def _row(rows: list[dict[str, str]], network: str, path: Path) -> dict[str, str]:
    if len(rows) == 1:
        of = str(rows[0].get("network") or "")
        if not of:
            raise BadInput(f"{path}: names no network in its column network; give Vela's NAME_summary_*.csv")
        if not _is_called(network, of):
            raise BadInput(
                f"{path}: is of the network {of[:80]}, and the file is called {network}; give the summary of this "
                f"file; where it was renamed, call it {of[:80]}_vela.tflite again, as Vela did"
            )
        return rows[0]
    named = [row for row in rows if _is_called(network, str(row.get("network") or ""))]
    if len(named) != 1:
        raise BadInput(
            f"{path}: has {len(rows)} networks, and none or several are called {network}; give the "
            "summary of this file alone"
        )
    return named[0]


def _is_called(file: str, network: str) -> bool:
    """Check whether a file is called as Vela calls one of this network."""
    return bool(network) and file in (network, f"{network}_vela")


def _number(row: Mapping[str, str], name: str, path: Path) -> float | None:
    column, factor = COLUMNS[name]
    text = row.get(column)
    if text is None or text == "":
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        if name in _NEEDED:
            raise BadInput(f"{path}: column {column}: expected a number of at least 0, found {text[:40]!r}")
        return None
    return value * factor
