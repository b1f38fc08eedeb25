"""Define ``quantbench cache``: list the cache, explain a missing cell, and free space."""

from pathlib import Path
from typing import Annotated

import typer

from quantbench.core.options import RunOptions
from quantbench.errors import BadInput

app = typer.Typer(no_args_is_help=True, help="Inspect the cache of finished cells, and limit its size.")
_DEFAULTS = RunOptions()


@app.command()
def ls(cell: Annotated[str, typer.Argument(help="part of a cell's id (default: all)")] = "") -> None:
    """List the cached entries with kind, cell, size, age and last use, and what quantbench ab and answers installed.

    Example: quantbench cache ls seed_cnn/ptq
    """
    from quantbench.build.store import Store, default_root
    from quantbench.engine.cache_explain import listing

    typer.echo(listing(Store(default_root()), cell))


@app.command()
def why(
    cell: Annotated[str, typer.Argument(help="a cell, e.g. seed_cnn/ptq_static_wi8_ai8")],
    seed: Annotated[int, typer.Option(help="seed of a cell that trains")] = 0,
    train: Annotated[bool, typer.Option("--train", help="of a run that trains the float models from scratch")] = False,
    model_dir: Annotated[Path, typer.Option(help="folder of model files")] = _DEFAULTS.model_dir,
) -> None:
    """Explain whether a cell is cached and, if not, what has changed since the closest entry.

    Example: quantbench cache why seed_cnn/ptq_static_wi8_ai8
    """
    from quantbench.build.store import Store, default_root
    from quantbench.engine import cache_explain
    from quantbench.reference.model import load_models, pick
    from quantbench.variants import known

    name, slash, variant = cell.partition("/")
    if not (name and slash and variant) or "," in cell:
        raise BadInput(f"CELL: expected a cell such as seed_cnn/ptq_float16, found {cell!r}")
    models = load_models(model_dir)
    pick(name, models, "CELL")
    offered = known([models[name]])
    pick(variant, offered, "CELL")
    selected = offered[variant]
    store = Store(default_root())
    for line in cache_explain.why(models[name], selected, seed if selected.trained else 0, 0 if train else None, store):
        typer.echo(line)


@app.command()
def gc(
    cache_size: Annotated[
        float, typer.Option(help="maximum size of cells and environments in GB; 0 = unlimited")
    ] = _DEFAULTS.cache_size,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only show what would be removed")] = False,
) -> None:
    """Remove leftovers of killed runs, then the least recently used entries until the rest fits.

    What quantbench ab and answers installed gets the space that entries leave. Entries of unfinished runs are kept.

    Example: quantbench cache gc --cache-size 1 --dry-run
    """
    from quantbench.build.eviction import GB, clear_all
    from quantbench.build.store import Store, default_root
    from quantbench.core.options import check_cache_size

    check_cache_size(cache_size)
    cells, environments = clear_all(Store(default_root()), cache_size * GB, dry_run)
    typer.echo(str(cells))
    if environments or environments.left:
        typer.echo(str(environments))
