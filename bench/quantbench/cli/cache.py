"""``quantbench cache``: what lies in the store, why a cell does not, and room for more."""

from pathlib import Path
from typing import Annotated

import typer

from quantbench.core.options import RunOptions
from quantbench.errors import BadInput

app = typer.Typer(no_args_is_help=True, help="Look into the store of finished cells, and keep it small.")
_DEFAULTS = RunOptions()


@app.command()
def ls(cell: Annotated[str, typer.Argument(help="part of a cell's id; everything where not given")] = "") -> None:
    """List what is in the store: kind, cell, size, age and last use; and what environments of quantbench ab take.

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
    """Say whether a run would take a cell from the store and, if not, what has changed since it was stored.

    Example: quantbench cache why seed_cnn/ptq_static_wi8_ai8
    """
    from quantbench.build.store import Store, default_root
    from quantbench.engine import cache_explain
    from quantbench.reference.model import load_models, pick
    from quantbench.variants import VARIANTS

    name, slash, variant = cell.partition("/")
    if not (name and slash and variant) or "," in cell:
        raise BadInput(f"CELL: expected a cell such as seed_cnn/ptq_float16, found {cell!r}")
    models = load_models(model_dir)
    pick(name, models, "CELL")
    pick(variant, VARIANTS, "CELL")
    found = VARIANTS[variant]
    store = Store(default_root())
    for line in cache_explain.why(models[name], found, seed if found.trained else 0, 0 if train else None, store):
        typer.echo(line)


@app.command()
def gc(
    cache_size: Annotated[
        float, typer.Option(help="GB that cells and environments may take together; 0: any")
    ] = _DEFAULTS.cache_size,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would be removed")] = False,
) -> None:
    """Remove what killed runs left, and the entries used least recently until the rest fits.

    Environments of quantbench ab get the room that entries leave; those used least recently go too. What a run that is
    not finished has used stays.

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
