"""Read what a run's folder holds."""

import json
import os
from pathlib import Path

from quantbench import files
from quantbench.errors import BadInput
from quantbench.records import Evidence, Report, parts, read_record

REPORT = "report.json"

LATEST = "latest"

EVIDENCE = "evidence"


def evidence_of(run: Path, cell_id: str) -> Evidence:
    """What lies behind a cell of a run.

    Raises:
        BadInput: no such run, or no such cell in it.
    """
    model, variant = parts(cell_id)
    folder = run_folder(run)
    path = folder / EVIDENCE / f"{model}.json"
    if not os.path.lexists(path):
        raise BadInput(f"{path}: holds no evidence of {cell_id}; give a run folder and a cell of it")
    text = files.read_text(path, "evidence", files.LARGEST_EVIDENCE, inside=folder)
    try:
        return Evidence.model_validate(json.loads(text)[variant])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BadInput(f"{path}: holds no evidence of {cell_id}; give a run folder and a cell of it") from None


def read(run: Path) -> tuple[Report, Path]:
    """The report of a run folder, or of a ``report.json``, and its folder.

    Raises:
        BadInput: no such run, or a damaged report.
    """
    folder = run_folder(run)
    named = not run.is_dir()  # and then this very file, which may be a link
    path = run if named else folder / REPORT
    if not os.path.lexists(path):
        raise BadInput(f"{run}: no run there; give a run folder such as reports/latest, or its report.json")
    return read_record(path, Report, "report", follow=named), folder


def run_folder(run: Path) -> Path:
    """The folder of a run that a person named, or that of the ``report.json`` that they named.

    ``latest`` is a link that runs make, and may come with a folder of others: it leads to a folder beside it.

    Raises:
        BadInput: it leads anywhere else.
    """
    folder = run if run.is_dir() else run.parent
    if folder.name == LATEST and folder.is_symlink():
        to = os.readlink(folder)
        if to in ("", ".", "..") or "/" in to or not files.is_folder(folder.parent / to):
            raise BadInput(
                f"{folder}: expected a link to a run's folder beside it, found one to {to!r}; remove it, or give that "
                "folder itself"
            )
    return folder


def load_report(run: Path | str) -> Report:
    """Read the report of a finished run.

    Args:
        run: its folder, such as ``reports/latest``, or its ``report.json``.

    Raises:
        BadInput: no such run, or a damaged report; the message says what to do.
    """
    return read(Path(run))[0]
