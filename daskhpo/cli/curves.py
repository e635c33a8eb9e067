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
@click.option(
    "--clean",
    is_flag=True,
    help="Drop rows that are incomplete, restart from scratch in the middle, or repeat another.",
)
@options.as_json
def import_(
    table: Path,
    out: Path,
    params: str,
    metric: str,
    mode: str,
    name: str | None,
    clean: bool,
    as_json: bool,
) -> None:
    """Turn a table with one learning curve per row into a curve store.

    \b
    Example:
      daskhpo curves import curves.csv --params lr,width --metric 'loss_{step}' curves.zarr
      daskhpo curves import curves.csv --params lr --metric 'acc_{step}' --mode max --clean c.zarr
    """
    from daskhpo.store.curves import open_curves
    from daskhpo.store.importer import import_table

    columns = [column.strip() for column in params.split(",") if column.strip()]
    path = import_table(
        table, params=columns, metric=metric, mode=mode, out=out, name=name, clean=clean
    )
    curves = open_curves(path)
    trials, steps, dropped = (
        curves.sizes["trial"],
        curves.sizes["step"],
        curves.attrs.get("dropped"),
    )
    if as_json:
        counts = {"curves": str(path), "trials": trials, "steps": steps}
        options.print_json(counts | ({"dropped": dropped} if dropped else {}))
        return
    click.echo(f"{path}: {trials} trials, {steps} steps")
    if dropped:
        reasons = ", ".join(f"{rows} {reason}" for reason, rows in dropped.items())
        click.echo(f"dropped: {sum(dropped.values())} rows ({reasons})")
