"""``curves import``: learning curves from elsewhere."""

from __future__ import annotations

from pathlib import Path

import click

from daskhpo.cli import options

__all__ = ["curves"]


@click.group()
def curves() -> None:
    """Learning curves from elsewhere.

    \b
    Example:
      daskhpo curves import curves.csv --params lr,width --metric 'loss_{step}' curves.zarr
    """


@curves.command("import")
@click.argument(
    "table", metavar="FILE.csv", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.argument("out", metavar="OUT.zarr", type=click.Path(path_type=Path))
@click.option("--params", required=True, metavar="A,B,...", help="Columns with the configuration.")
@click.option(
    "--metric",
    required=True,
    metavar="PATTERN",
    help="Columns with the curve, such as 'loss_{step}'.",
)
@click.option("--mode", type=click.Choice(["min", "max"]), default="min", show_default=True)
@click.option("--name", help="For people; by default that of the table.")
@options.as_json
def import_(
    table: Path, out: Path, params: str, metric: str, mode: str, name: str | None, as_json: bool
) -> None:
    """Turn a table with one learning curve per row into a curve store.

    \b
    Example:
      daskhpo curves import curves.csv --params lr,width --metric 'loss_{step}' curves.zarr
    """
    from daskhpo.store.curves import open_curves
    from daskhpo.store.importer import import_table

    columns = [column.strip() for column in params.split(",") if column.strip()]
    path = import_table(table, params=columns, metric=metric, mode=mode, out=out, name=name)
    sizes = open_curves(path).sizes
    if as_json:
        options.print_json({"curves": str(path), "trials": sizes["trial"], "steps": sizes["step"]})
    else:
        click.echo(f"{path}: {sizes['trial']} trials, {sizes['step']} steps")
