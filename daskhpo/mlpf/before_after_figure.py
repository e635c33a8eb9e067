"""Loss and accuracy against epoch, before and after tuning, as lines within bands."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from daskhpo.mlpf.before_after import SIDES
from daskhpo.mlpf.physics.plots import CAPTION, FORMATS, STYLE, check_matplotlib
from daskhpo.store.disk import disk_error

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw"]

PANELS = {"val_loss": "validation loss", "val_accuracy": "classification accuracy"}
STYLES: Mapping[str, dict[str, Any]] = {  # told apart without colour, too
    "default": {"color": "#D55E00", "linestyle": "--"},
    "tuned": {"color": "#0072B2", "linestyle": "-"},
}


def draw(found: Mapping[str, Any], stem: Path) -> list[Path]:
    """Draw figure 2 of Wulff et al. (2022), both sides in one panel for each metric.

    Parameters
    ----------
    found : mapping
        From `before_after.summarise`.
    stem : path
        Of the files, which end in .png and .pdf.

    Returns
    -------
    list of Path

    Raises
    ------
    DataError
        If matplotlib is not installed.
    StoreError
        If the files cannot be written.
    """
    check_matplotlib()
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.0, 3.9), layout="constrained")
        for axes, (metric, title) in zip(figure.subplots(1, 2), PANELS.items(), strict=True):
            for side in SIDES:
                _band(axes, found[side]["curves"][metric], side)
            axes.set(xlabel="epoch", ylabel=title)
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.legend()
        return _save(figure, _caption(found), stem)


def _band(axes: Axes, curve: Mapping[str, list[float | None]], side: str) -> None:
    """A line at the mean, within one standard deviation; a single training has no band."""
    mean, std = (np.array(curve[name], np.float64) for name in ("mean", "std"))
    epochs, some = np.arange(1, len(mean) + 1), np.isfinite(std)
    low, high = (mean - std)[some], (mean + std)[some]
    axes.fill_between(epochs[some], low, high, color=STYLES[side]["color"], alpha=0.2, lw=0)
    axes.plot(epochs, mean, label=side, **STYLES[side])


def _caption(found: Mapping[str, Any]) -> str:
    n = " and ".join(f"{found[side]['trainings']} {side}" for side in SIDES)
    return (
        "Mean and standard deviation of validation loss and classification accuracy (mean recall "
        f"of the classes) as a function of the epoch, from {n} trainings of other seeds on the "
        "same events."
    )


def _save(figure: Figure, caption: str, stem: Path) -> list[Path]:
    width = int(figure.get_figwidth() * CAPTION)
    figure.supxlabel("\n".join(textwrap.wrap(caption, width)), x=0.01, ha="left", fontsize=8)
    paths = [stem.with_name(f"{stem.name}.{kind}") for kind in FORMATS]
    try:
        for path in paths:
            metadata = {"CreationDate": None} if path.suffix == ".pdf" else {"Software": None}
            figure.savefig(path, dpi=150, metadata=metadata)
    except OSError as error:
        raise disk_error("write", stem.parent, error) from error
    return paths
