"""Say what a side lacks, and which requirements it does not meet: facts of its environment, for the report."""

from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from quantbench.ab.result import Unmet
from quantbench.records import Report, parts
from quantbench.variants import VARIANTS


def left_out(report: Report, name: str, without: Sequence[str]) -> dict[str, str]:
    """Return cell -> why, of the cells that a side could not make because it was made without a package.

    Args:
        name: of the side.
        without: packages that it was made without.
    """
    refused = [cell for cell in report.cells if cell.failure is not None and cell.failure.what == "unsupported"]
    return {
        cell.id: f"the {name} side was made without {without[0]}, which it needs"
        for cell in refused
        if without and (variant := VARIANTS.get(parts(cell.id)[1])) is not None and variant.trains_keras2
    }


def unmet(python: Path) -> list[Unmet]:
    """List the requirements that the packages beside a Python do not meet, sorted; extras are not looked at."""
    folders = [str(folder) for folder in sorted(python.parent.parent.glob("lib/python*/site-packages"))]
    installed = {canonicalize_name(one.metadata["Name"]): one for one in metadata.distributions(path=folders)}
    found = [
        Unmet(f"{one.metadata['Name']} {one.version}", str(asked), installed[canonicalize_name(asked.name)].version)
        for one in installed.values()
        for asked in _requirements(one)
        if canonicalize_name(asked.name) in installed
        and not asked.specifier.contains(installed[canonicalize_name(asked.name)].version, prereleases=True)
    ]
    return sorted(found, key=lambda one: (one.package, one.requires))


def _requirements(of: metadata.Distribution) -> Iterator[Requirement]:
    for line in of.requires or []:
        try:
            asked = Requirement(line)
        except InvalidRequirement:  # of a package that was built before the rules were
            continue
        if asked.marker is None or asked.marker.evaluate({"extra": ""}):
            yield asked
