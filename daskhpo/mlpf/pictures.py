"""Pictures of events: what the detector measured, what was there, what rules make of it.

`daskhpo mlpf inspect FILE --event N --out event.png` draws them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from daskhpo.exceptions import DataError
from daskhpo.mlpf.events import Events
from daskhpo.mlpf.physics.particles import CLASSES, Particles, in_words
from daskhpo.mlpf.physics.plots import STYLE, check_matplotlib
from daskhpo.mlpf.schema import CLIC, DELPHES, Measured, ParticleClass
from daskhpo.store.disk import disk_error

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_event"]

Float = npt.NDArray[np.float64]
Layer = tuple[str, dict[str, Any], Float, Float, Float]  # name, style, eta, phi, pT

FORMATS = (".png", ".svg", ".pdf")
KEY = (1.0, 10.0, 50.0)  # GeV; sizes that the legend shows
AREA = 6.0  # of a mark, in points squared for each GeV, in an event that is not crowded
CROWD = 500  # elements; in larger events marks are smaller
AREAS = (2.0, 1_500.0)  # marks of less or more pT are no smaller or larger

# Okabe and Ito; told apart by their markers as well.
ELEMENTS: dict[str, dict[str, Any]] = {
    "ECAL tower": {"marker": "s", "color": "#56B4E9"},
    "HCAL tower": {"marker": "s", "color": "#E69F00", "hollow": True},
    "ECAL cluster": {"marker": "s", "color": "#56B4E9"},
    "HCAL cluster": {"marker": "s", "color": "#E69F00", "hollow": True},
    "track": {"marker": "^", "color": "#000000"},
}
PARTICLES: dict[ParticleClass, dict[str, Any]] = {
    ParticleClass.CHARGED_HADRON: {"marker": "^", "color": "#000000"},
    ParticleClass.NEUTRAL_HADRON: {"marker": "s", "color": "#E69F00", "hollow": True},
    ParticleClass.PHOTON: {"marker": "s", "color": "#56B4E9"},
    ParticleClass.ELECTRON: {"marker": "D", "color": "#009E73"},
    ParticleClass.MUON: {"marker": "P", "color": "#D55E00"},
}


def draw_event(event: Events, out: str | os.PathLike[str], *, title: str = "") -> Path:
    """Draw one event in pseudorapidity and azimuth, the area of each mark in proportion to pT.

    Use it to see what an event file holds, or what a detector simulation does. Three panels: the
    elements (tracks; towers or clusters, by the calorimeter that holds most of their energy), the
    true particles, and the rule-based candidates.

    Parameters
    ----------
    event : Events
        One event, of any detector.
    out : path ending in `.png`, `.svg` or `.pdf`
        What to write.
    title : str
        Above the panels.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    DataError
        If there is not exactly one event, the name ends in anything else, or matplotlib is not
        installed.
    StoreError
        If the file cannot be written.

    Examples
    --------
    >>> from daskhpo.mlpf.events import load_sample
    >>> draw_event(load_sample()[:1], "event.gif")
    Traceback (most recent call last):
    ...
    daskhpo.exceptions.DataError: event.gif: a picture's name must end in .png, .svg, .pdf
    """
    path = Path(out)
    if len(event) != 1:
        raise DataError(f"{len(event)} events given; a picture shows one")
    if path.suffix not in FORMATS:
        raise DataError(f"{path}: a picture's name must end in {', '.join(FORMATS)}")
    check_matplotlib()
    import matplotlib as mpl

    panels = {
        "measured": list(_elements(event)),
        "true particles": list(_particles(event.ygen, event.counts)),
        "rule-based candidates": list(_particles(event.ycand, event.counts)),
    }
    with mpl.rc_context(STYLE):
        figure = _draw(panels, title, AREA * min(1.0, max(0.2, CROWD / max(1, len(event.X)))))
        try:
            figure.savefig(path, dpi=150)
        except OSError as error:
            raise disk_error("write", path, error) from error
    return path


def _elements(event: Events) -> Iterator[Layer]:
    x = event.X.astype(np.float64)
    phi = np.arctan2(x[:, Measured.SIN_PHI], x[:, Measured.COS_PHI])
    shown = np.array([_name(event, row) for row in x], dtype=object)
    for name, style in ELEMENTS.items():
        mask = shown == name
        if mask.any():
            yield name, style, x[mask, Measured.ETA], phi[mask], x[mask, Measured.PT]


def _name(event: Events, row: Float) -> str:
    """Say what an element is, calorimeters apart."""
    kind = event.schema.kind(int(row[Measured.TYPE]))
    if kind == "track":
        return kind
    ecal, hcal = ENERGY_COLUMNS[event.schema.name]
    return f"{'ECAL' if row[ecal] >= row[hcal] else 'HCAL'} {kind}"


def _columns(kind: int, names: tuple[str, ...]) -> tuple[int, int]:
    return names.index("energy_ecal"), names.index("energy_hcal")


# {schema: columns of X with the energies in ECAL and HCAL}
ENERGY_COLUMNS = {
    schema.name: _columns(kind, names)
    for schema in (DELPHES, CLIC)
    for kind, what, names in schema.kinds
    if what != "track"
}


def _particles(rows: npt.NDArray[np.float32], counts: npt.NDArray[np.int64]) -> Iterator[Layer]:
    found = Particles.from_rows(rows, counts)
    for kind in CLASSES:
        some = found.where(found.kind == kind)
        if len(some):
            yield in_words(kind), PARTICLES[kind], some.eta, some.phi, some.pt


def _draw(panels: dict[str, list[Layer]], title: str, unit: float) -> Figure:
    """Draw the panels; `unit` is the area of a mark for each GeV."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 5.2), layout="constrained")
    columns = list(figure.subplots(1, len(panels), sharex=True, sharey=True))
    reach = max((abs(eta).max() for p in panels.values() for _, _, eta, _, _ in p), default=1.0)
    for axes, (name, layers) in zip(columns, panels.items(), strict=True):
        for _, style, eta, phi, pt in layers:
            axes.scatter(eta, phi, s=np.clip(unit * pt, *AREAS), alpha=0.7, **_look(style))
        total = sum(float(pt.sum()) for *_, pt in layers)
        axes.set(title=f"{name}\nsum of pT {total:,.0f} GeV", xlabel="pseudorapidity")
        axes.set(xlim=(-reach - 0.2, reach + 0.2), ylim=(-np.pi, np.pi))
        axes.set_yticks(np.pi * np.arange(-1, 1.5, 0.5), ["-π", "-π/2", "0", "π/2", "π"])
        _legend(axes, layers, unit)
    columns[0].set(ylabel="azimuth")
    figure.suptitle(title)
    return figure


def _look(style: dict[str, Any]) -> dict[str, Any]:
    """Turn one of our styles into that of a scatter plot."""
    hollow, color = style.get("hollow", False), style["color"]
    return {
        "marker": style["marker"],
        "facecolors": "none" if hollow else color,
        "edgecolors": color,
        "linewidths": 1.0 if hollow else 0.3,
    }


def _legend(axes: Axes, layers: list[Layer], unit: float) -> None:
    """Name the marks below a panel, and say what their areas mean."""
    grey = {"marker": "o", "color": "#888888", "hollow": True}
    rows = [(f"{label} ({len(pt)})", style, 36.0) for label, style, _, _, pt in layers]
    rows += [(f"{pt:g} GeV", grey, float(np.clip(unit * pt, *AREAS))) for pt in KEY]
    handles = [
        axes.scatter([], [], s=area, label=label, **_look(style)) for label, style, area in rows
    ]
    axes.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.13),
        ncols=3,
        fontsize=8,
        labelspacing=0.9,
    )
