"""Our distributions drawn over a reference's, each with the ratio of the two below it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from daskhpo.mlpf.events import Events
from daskhpo.mlpf.physics.plots import STYLE, check_matplotlib
from daskhpo.mlpf.simulation.validation import compare, grouped_quantities
from daskhpo.store.disk import disk_error

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["bin_edges", "draw_comparison"]

Float = npt.NDArray[np.float64]

BINS = 40
COLUMNS = 4
PANEL = (3.4, 2.9)  # inches
REFERENCE, OURS = "#000000", "#0072B2"
FEW = 12  # different values; so many or fewer have a bin each
RATIO = (0.5, 1.5)
WIDE = ("[GeV]", "target energy")  # names of what spreads over orders of magnitude end so


def draw_comparison(ours: Events, reference: Events, out: str | os.PathLike[str]) -> list[Path]:
    """Draw all quantities of `validation.compare`, in a figure for each group of them.

    Parameters
    ----------
    ours, reference : Events
        Made of the same process with the same pile-up; any numbers of events.
    out : path
        A directory; made if it is not there.

    Returns
    -------
    list of Path
        ``numbers.png``, ``elements.png``, ``targets.png`` and ``responses.png``. Points are the
        reference, lines are ours, bars and bands statistical errors as if all values were
        independent; what lies beyond an axis is in its outer bins.

    Raises
    ------
    DataError
        If matplotlib is not installed.
    StoreError
        If `out` cannot be written.
    """
    check_matplotlib()
    import matplotlib as mpl

    titles = {
        row.quantity: f"KS {row.ks:.3f} (1 %: {row.noise:.3f})" for row in compare(ours, reference)
    }
    mine, theirs = grouped_quantities(ours), grouped_quantities(reference)
    folder, written = Path(out), []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with mpl.rc_context({**STYLE, "font.size": 8}):
            for group, values in mine.items():
                pairs = {name: (values[name], theirs[group][name]) for name in values}
                figure = _figure(pairs, titles)
                written.append(folder / f"{group}.png")
                figure.savefig(written[-1], dpi=110, metadata={"Software": None})
    except OSError as error:
        raise disk_error("write", folder, error) from error
    return written


def bin_edges(values: Float, *, logarithmic: bool) -> Float:
    """Choose bins for a distribution.

    Parameters
    ----------
    values : (n,) float64
        Of both samples together.
    logarithmic : bool
        Whether values spread over orders of magnitude; those that are not positive go into the
        lowest bin.

    Returns
    -------
    (k + 1,) float64
        A bin for each value where they are few; else `BINS` from the lowest to the highest 0.2 %,
        made of whole numbers where the values are whole.

    Examples
    --------
    >>> bin_edges(np.array([-1.0, 1.0, 1.0]), logarithmic=False)
    array([-2.,  0.,  2.])
    """
    kinds = np.unique(values)
    if len(kinds) < 2:
        centre = float(kinds[0]) if len(kinds) else 0.0
        return np.array([centre - 0.5, centre + 0.5])
    if len(kinds) <= FEW:
        middle = 0.5 * (kinds[1:] + kinds[:-1])
        return np.concatenate([[2 * kinds[0] - middle[0]], middle, [2 * kinds[-1] - middle[-1]]])
    if logarithmic and np.any(values > 0):
        low, high = np.quantile(values[values > 0], [0.002, 0.998])
        return np.geomspace(low, max(high, 1.01 * low), BINS + 1)
    low, high = np.quantile(values, [0.002, 0.998])
    if np.all(kinds == np.round(kinds)):
        step = max(1, round((high - low) / BINS))
        return np.arange(np.floor(low) - 0.5, high + step, step)
    # Where 99.6 % of the values are the same, as shares of rare particles, all have to be shown.
    low, high = (low, high) if high > low else (float(kinds[0]), float(kinds[-1]))
    return np.linspace(low, high, BINS + 1)


def _figure(pairs: dict[str, tuple[Float, Float]], titles: dict[str, str]) -> Figure:
    from matplotlib.figure import Figure

    rows = -(-len(pairs) // COLUMNS)
    figure = Figure(figsize=(PANEL[0] * COLUMNS, PANEL[1] * rows))
    grid = figure.add_gridspec(
        rows,
        COLUMNS,
        left=0.05,
        right=0.99,
        bottom=0.45 / (PANEL[1] * rows),
        top=1 - 0.45 / (PANEL[1] * rows),
        wspace=0.25,
        hspace=0.5,
    )
    for place, (name, (ours, reference)) in enumerate(pairs.items()):
        cell = grid[place // COLUMNS, place % COLUMNS].subgridspec(2, 1, height_ratios=[3, 1])
        above = figure.add_subplot(cell[0])
        below = figure.add_subplot(cell[1], sharex=above)
        _panel(above, below, ours, reference, logarithmic=name.endswith(WIDE))
        above.set_title(f"{name}\n{titles[name]}", fontsize=8, y=1.0)
        if place == 0:
            above.legend(fontsize=7)
    return figure


def _panel(above: Axes, below: Axes, ours: Float, reference: Float, *, logarithmic: bool) -> None:
    edges = bin_edges(np.concatenate([ours, reference]), logarithmic=logarithmic)
    mine, mine_error = _density(ours, edges)
    theirs, their_error = _density(reference, edges)
    centre = np.sqrt(edges[1:] * edges[:-1]) if logarithmic else 0.5 * (edges[1:] + edges[:-1])
    above.stairs(mine, edges, color=OURS, label="ours")
    above.errorbar(centre, theirs, their_error, fmt=".", color=REFERENCE, ms=3, lw=0.8, label="ref")
    both = (mine > 0) & (theirs > 0)
    ratio = np.divide(mine, theirs, out=np.full(len(mine), np.nan), where=both)
    relative = np.hypot(
        np.divide(mine_error, mine, out=np.zeros_like(mine), where=both),
        np.divide(their_error, theirs, out=np.zeros_like(mine), where=both),
    )
    below.errorbar(centre, ratio, ratio * relative, fmt=".", color=OURS, ms=3, lw=0.8)
    below.axhline(1.0, color=REFERENCE, lw=0.8)
    below.set(ylim=RATIO, ylabel="ratio")
    above.tick_params(labelbottom=False)
    if logarithmic:
        above.set_xscale("log")
        above.set_yscale("log", nonpositive="clip")
        for axes in (above, below):
            axes.minorticks_off()  # to draw them takes as long as everything else
    else:
        above.set_ylim(bottom=0)


def _density(values: Float, edges: Float) -> tuple[Float, Float]:
    """Return the share of values per unit of the axis in each bin, and its error."""
    inside = np.clip(values, edges[0], edges[-1])
    counts = np.histogram(inside, edges)[0].astype(np.float64)
    scale = np.diff(edges) * max(1, len(values))
    return counts / scale, np.sqrt(counts) / scale
