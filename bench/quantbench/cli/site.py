"""Define the command that makes a site of many nights: ``site``."""

import os
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from quantbench.core.options import RunOptions
from quantbench.errors import BadInput

_DEFAULTS = RunOptions()


def site(
    runs: Annotated[
        str,
        typer.Argument(help="folder of run folders, or its address: s3://BUCKET/FOLDER, gs://BUCKET/FOLDER, ..."),
    ],
    out: Annotated[str, typer.Argument(help="folder for the pages; index.html is the first")],
    last: Annotated[int, typer.Option(min=0, help="number of newest nights to show; 0 = all")] = 0,
    links: Annotated[
        str,
        typer.Option(help="where a browser finds RUNS, for links to reports, e.g. https://ci.example.org/nights"),
    ] = "",
    baseline_dir: Annotated[
        Path, typer.Option(help="folder of baselines, for the spread between trainings")
    ] = _DEFAULTS.baseline_dir,
) -> None:
    """Make static pages of many nights: what is red now, verdicts by night, what changed when, each cell's history.

    The pages ask nothing of the network; open index.html in a browser, or upload the folder. A night that cannot be
    read is left out and named. Addresses need the extra `site`, and s3fs or gcsfs.

    Exit status: 0; 4 bad input.

    Example: quantbench site reports site
    """
    from quantbench.comparison.history import read_history, with_accepted
    from quantbench.comparison.load import accepted_spreads
    from quantbench.comparison.nights import LocalNights, at_address
    from quantbench.core.addresses import is_address
    from quantbench.report.site.facts import site as worked_out
    from quantbench.report.site.pages import INDEX, write
    from quantbench.report.site.words import counted

    if is_address(out):
        raise BadInput(f"OUT: expected a folder of this machine, found {out}; upload the folder afterwards")
    folder = Path(out)
    if links and not links.startswith(("https://", "http://", "file:///", "./", "../", "/")):
        raise BadInput(f"--links: expected an address such as https://ci.example.org/nights, found {links}")
    nights = at_address(runs, "RUNS")
    history = read_history(nights, last)
    history = with_accepted(
        history, accepted_spreads(baseline_dir, {one for run in history.runs for one in run.trained})
    )
    base = links.rstrip("/")
    if not base and isinstance(nights, LocalNights):
        base = quote(os.path.relpath(nights.folder.resolve(), folder.resolve()))
    pages = nights.with_page(history.folders) if base else set()
    facts = worked_out(history, {name: f"{base}/{quote(name)}/report.html" for name in pages})
    count = write(folder, facts)
    red = len({now.found.cell for now in facts.red})
    for one in facts.skipped:
        typer.echo(f"left out: {one.name}: {one.why}", err=True)
    said = ", ".join((counted(len(facts.nights), "night"), counted(len(facts.cells), "cell"), f"{red} red now"))
    typer.echo(f"{said}; {counted(count, 'page')}: {folder / INDEX}")
