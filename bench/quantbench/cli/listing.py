"""Define the listing commands: ``models``, ``variants``, ``schema``."""

from typing import Annotated

import typer

from quantbench.cli import _screen
from quantbench.cli._common import DEFAULTS, ModelDir
from quantbench.errors import BadInput


def models(model_dir: ModelDir = DEFAULTS.model_dir) -> None:
    """List the reference models.

    Example: quantbench models
    """
    from quantbench.reference.model import load_models

    _list({name: model.description for name, model in load_models(model_dir).items()})


def variants(
    taxonomy: Annotated[
        bool, typer.Option("--taxonomy", help="what is quantized, how, and by which range; Markdown")
    ] = False,
) -> None:
    """List the variants.

    Example: quantbench variants --taxonomy
    """
    from quantbench.variants import VARIANTS

    if taxonomy:
        from tabulate import tabulate

        rows = [
            [f"`{v.name}`", v.engine, v.taxonomy.weights, v.taxonomy.activations, v.taxonomy.range, v.control or ""]
            for v in VARIANTS.values()
        ]
        headers = ["variant", "engine", "weights", "activations", "range", "compared with"]
        typer.echo(tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True))
        return
    _list({name: variant.description for name, variant in VARIANTS.items()})


def _list(rows: dict[str, str]) -> None:
    if _screen.quiet():
        typer.echo("\n".join(rows))
        return
    width = max(len(name) for name in rows)
    for name, description in rows.items():
        typer.echo(f"{name:<{width}}  {description}")


def schema(
    record: Annotated[
        str,
        typer.Argument(
            help="report (of run and report too) or baseline; of what --json prints: advice (try), verdicts (judge), "
            "comparison, history"
        ),
    ] = "report",
) -> None:
    """Print the JSON Schema of a file format, or of what --json prints.

    Example: quantbench schema report
    """
    import json

    from quantbench import records

    formats: dict[str, type[records.Record]] = {
        "report": records.Report,
        "baseline": records.BaselineFile,
        "advice": records.Advice,
        "verdicts": records.FileVerdicts,
        "comparison": records.ComparisonAnswer,
        "history": records.HistoryAnswer,
    }
    if record not in formats:
        raise BadInput(f"schema: expected one of {', '.join(formats)}, found {record!r}")
    typer.echo(json.dumps(records.schema(formats[record]), indent=1, sort_keys=True))
