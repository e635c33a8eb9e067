"""The papers' plots of an evaluation: responses, widths against pT, efficiencies, spectra.

Model, rule-based flow and target differ by dashes and markers as well as by colour. Each figure
carries its caption and is written as PNG and PDF.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from daskhpo.exceptions import DataError
from daskhpo.mlpf.physics.curves import JET_PT_EDGES, MOMENTUM_EDGES, Curve
from daskhpo.mlpf.physics.missing import met_response
from daskhpo.mlpf.physics.particles import CHARGED, CLASSES, in_words
from daskhpo.mlpf.physics.report import Evaluation
from daskhpo.mlpf.schema import ParticleClass
from daskhpo.store.disk import disk_error

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["check_matplotlib", "draw"]

Float = npt.NDArray[np.float64]

FORMATS = ("png", "pdf")
RESPONSE_EDGES = np.linspace(0.0, 2.0, 81)
JET_SPECTRUM_EDGES = np.geomspace(5.0, 400.0, 31)  # GeV
PARTICLE_SPECTRUM_EDGES = np.geomspace(0.1, 500.0, 38)  # GeV
# Okabe and Ito: told apart by most colour-blind people, and in grey by dashes and markers.
STYLES: Mapping[str, dict[str, Any]] = {
    "model": {"color": "#0072B2", "linestyle": "-", "marker": "o"},
    "rule-based": {"color": "#D55E00", "linestyle": "--", "marker": "s"},
    "target": {"color": "#000000", "linestyle": ":"},
}
WITHIN_BIN = {"model": 0.42, "rule-based": 0.58}
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "lines.markersize": 4,
}
CAPTION = 17  # characters of a caption in an inch of width


def check_matplotlib() -> None:
    """Refuse to begin what could not be drawn.

    Raises
    ------
    DataError
        If matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise DataError(
            "plots need matplotlib, which is not installed: pip install daskhpo[figures]"
        ) from None


def draw(found: Evaluation, out: Path) -> list[Path]:
    """Draw an evaluation into a directory.

    ``jet-response``, ``met-response``: distributions; ``jet-width``: median, width and matched
    fraction against the reference jets' pT; ``efficiency``, ``efficiency-eta``: efficiency and
    fake rate of each class; ``resolution``: of its momenta; ``spectra``: pT of jets and particles;
    ``confusion``: who is taken for whom.

    Parameters
    ----------
    found : Evaluation
        From `evaluate`.
    out : path
        A directory; made if it is not there.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    DataError
        If matplotlib is not installed.
    StoreError
        If `out` cannot be written.
    """
    check_matplotlib()
    import matplotlib as mpl

    makers: dict[str, Callable[[Evaluation], tuple[Figure, str]]] = {
        "jet-response": _jet_response,
        "jet-width": _jet_width,
        "met-response": _met_response,
        "efficiency": _efficiency,
        "efficiency-eta": _efficiency_in_eta,
        "resolution": _resolution,
        "spectra": _spectra,
        "confusion": _confusion,
    }
    written: list[Path] = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        with mpl.rc_context(STYLE):
            for name, make in makers.items():
                figure, caption = make(found)
                written += _save(figure, f"{caption} {found.events:,} events.", out / name)
    except OSError as error:
        raise disk_error("write", out, error) from error
    return written


def _jet_response(found: Evaluation) -> tuple[Figure, str]:
    figure, ((axes,),) = _panels(1, 1)
    responses = {"model": found.model.jets.response, "rule-based": found.rule_based.jets.response}
    _distributions(axes, responses)
    axes.set(xlabel="jet response $p_T / p_T^\\mathrm{target}$", ylabel="matched jets")
    return figure, (
        f"Response of jets ({found.jets}) to the nearest target jet within Delta R < 0.1, with "
        "its median and interquartile range. Entries beyond the axis are not drawn."
    )


def _met_response(found: Evaluation) -> tuple[Figure, str]:
    figure, ((axes,),) = _panels(1, 1)
    met = found.truth.met
    responses = {
        "model": met_response(met, found.model.reconstruction.met),
        "rule-based": met_response(met, found.rule_based.reconstruction.met),
    }
    _distributions(axes, responses)
    axes.set(xlabel="MET response $p_T^\\mathrm{miss} / p_T^\\mathrm{miss,target}$")
    axes.set(ylabel="events")
    return figure, (
        "Response of the missing transverse momentum to that of the target particles, with its "
        "median and interquartile range. Entries beyond the axis are not drawn."
    )


def _jet_width(found: Evaluation) -> tuple[Figure, str]:
    figure, (row,) = _panels(1, 3)
    titles = ("jet response width", "jet response median", "jet matched fraction")
    labels = ("IQR / median of the response", "median of the response", "matched fraction")
    for axes, name, label in zip(row, titles, labels, strict=True):
        _both(axes, found, "jets", name)
        axes.set(xlabel="target jet $p_T$ [GeV]", ylabel=label, xscale="log")
        axes.set_xticks(JET_PT_EDGES[::2], [f"{edge:g}" for edge in JET_PT_EDGES[::2]])
        axes.set_xticks([], minor=True)
    row[0].set_ylim(bottom=0)
    _legend(figure, row[0])
    return figure, (
        f"Jets ({found.jets}) against the pT of the target jet: width (interquartile range over "
        "median) and median of the response, with standard deviations by a bootstrap over events, "
        "and the matched fraction, with Wilson's intervals."
    )


def _efficiency(found: Evaluation) -> tuple[Figure, str]:
    figure = _per_class(found, ("efficiency", "fake rate"), _momentum_axis)
    return figure, (
        "Efficiency against the true, fake rate against the reconstructed pT (charged classes) or "
        "energy (neutral ones), with Wilson's intervals."
    )


def _efficiency_in_eta(found: Evaluation) -> tuple[Figure, str]:
    figure = _per_class(found, ("efficiency in eta", "fake rate in eta"), _eta_axis)
    return figure, (
        "Efficiency against the true, fake rate against the reconstructed eta, with Wilson's "
        "intervals."
    )


def _resolution(found: Evaluation) -> tuple[Figure, str]:
    figure = _per_class(found, ("resolution",), _momentum_axis)
    return figure, (
        "Interquartile range of (reconstructed - true) / true, of pT for charged classes and of "
        "energy for neutral ones, with standard deviations by a bootstrap over events."
    )


def _spectra(found: Evaluation) -> tuple[Figure, str]:
    figure, (row,) = _panels(1, 2)
    sides = {
        "target": found.truth,
        "model": found.model.reconstruction,
        "rule-based": found.rule_based.reconstruction,
    }
    for label, side in sides.items():
        _spectrum(row[0], side.jets.pt, JET_SPECTRUM_EDGES, label)
        _spectrum(row[1], side.particles.present().pt, PARTICLE_SPECTRUM_EDGES, label)
    row[0].set(xlabel="jet $p_T$ [GeV]", ylabel="jets")
    row[1].set(xlabel="particle $p_T$ [GeV]", ylabel="particles")
    for axes in row:
        axes.set(xscale="log", yscale="log")
    _legend(figure, row[0])
    return figure, f"Spectra of jets ({found.jets}) and of particles of all classes."


def _confusion(found: Evaluation) -> tuple[Figure, str]:
    figure, (row,) = _panels(1, 2)
    names = [in_words(kind) for kind in ParticleClass]
    for axes, title, side in zip(
        row, ("model", "rule-based"), (found.model, found.rule_based), strict=True
    ):
        share = side.confusion / np.maximum(side.confusion.sum(axis=1, keepdims=True), 1)
        axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for (true, said), value in np.ndenumerate(share):
            colour = "white" if value > 0.5 else "black"
            axes.text(said, true, f"{value:.3f}", ha="center", va="center", c=colour, size=7)
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
        axes.set_yticks(range(len(names)), names)
        axes.set(title=title, xlabel="reconstructed", ylabel="true")
        axes.grid(visible=False)
    return figure, "Share of the elements of each true class that are taken for each class."


def _per_class(
    found: Evaluation, names: Sequence[str], set_axis: Callable[[Axes, ParticleClass], None]
) -> Figure:
    """A row for each curve, a column for each class."""
    figure, rows = _panels(len(names), len(CLASSES), width=2.6, height=2.4)
    for name, row in zip(names, rows, strict=True):
        for kind, axes in zip(CLASSES, row, strict=True):
            _both(axes, found, in_words(kind), name)
            set_axis(axes, kind)
            axes.set_ylim(0, 1.05 if name.startswith("efficiency") else _top(axes))
        row[0].set_ylabel(name.removesuffix(" in eta"))
    for kind, axes in zip(CLASSES, rows[0], strict=True):
        axes.set_title(in_words(kind))
    _legend(figure, rows[0][0])
    return figure


def _top(axes: Axes) -> float:
    """Upper limit by the values, not by the intervals of bins with hardly an entry."""
    values = [np.asarray(line.get_ydata(), np.float64) for line in axes.lines]
    return float(1.3 * np.max(np.concatenate([[0.05], *values])))


def _momentum_axis(axes: Axes, kind: ParticleClass) -> None:
    name = "$p_T$" if kind in CHARGED else "energy"
    axes.set(xscale="log", xlim=MOMENTUM_EDGES[[0, -1]], xlabel=f"{name} [GeV]")
    axes.set_xticks([1, 10, 100], ["1", "10", "100"])
    axes.set_xticks([], minor=True)


def _eta_axis(axes: Axes, kind: ParticleClass) -> None:
    axes.set(xlabel="$\\eta$")


def _both(axes: Axes, found: Evaluation, group: str, name: str) -> None:
    for label, side in (("model", found.model), ("rule-based", found.rule_based)):
        _curve(axes, side.curves[group][name], label)


def _curve(axes: Axes, curve: Curve, label: str) -> None:
    """Points with error bars, the two sides a little apart; what has no uncertainty has no bar."""
    some = np.isfinite(curve.value)
    low, high, value = curve.edges[:-1][some], curve.edges[1:][some], curve.value[some]
    within = WITHIN_BIN[label]
    logarithmic = curve.edges[0] > 0
    x = low ** (1 - within) * high**within if logarithmic else low + within * (high - low)
    bars = np.nan_to_num([value - curve.low[some], curve.high[some] - value])
    style = STYLES[label] | {"linewidth": 1.0, "elinewidth": 1.0}
    axes.errorbar(x, value, yerr=np.maximum(bars, 0), label=label, **style)


def _distributions(axes: Axes, values: Mapping[str, Float]) -> None:
    """Steps of the responses, with median and interquartile range in the legend."""
    for label, of in values.items():
        n, _ = np.histogram(of, RESPONSE_EDGES)
        low, median, high = np.percentile(of, (25, 50, 75)) if len(of) else [np.nan] * 3
        said = f"{label}: median {median:.3f}, IQR {high - low:.3f}"
        axes.stairs(n, RESPONSE_EDGES, label=said, **_line(label))
    axes.set_xlim(0.0, 2.0)
    axes.axvline(1.0, color="#888888", linewidth=0.8, zorder=0)
    axes.legend(fontsize=8, loc="upper right")
    axes.margins(y=0.3)


def _spectrum(axes: Axes, values: Float, edges: Float, label: str) -> None:
    n, _ = np.histogram(values, edges)
    axes.stairs(n, edges, label=label, **_line(label))


def _line(label: str) -> dict[str, Any]:
    style = {name: value for name, value in STYLES[label].items() if name != "marker"}
    return style | {"linewidth": 1.5}


def _panels(
    rows: int, columns: int, *, width: float = 4.2, height: float = 3.6
) -> tuple[Figure, list[list[Axes]]]:
    from matplotlib.figure import Figure

    size = (1.4 + width * columns, 0.8 + height * rows)
    figure = Figure(figsize=size, layout="constrained")
    return figure, [list(row) for row in figure.subplots(rows, columns, squeeze=False)]


def _legend(figure: Figure, axes: Axes) -> None:
    """Beside the panels, where it covers nothing."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize=8, handlelength=3.0)


def _save(figure: Figure, caption: str, stem: Path) -> list[Path]:
    """Write a figure with its caption below it; the same to the byte for the same evaluation."""
    width = int(figure.get_figwidth() * CAPTION)
    figure.supxlabel("\n".join(textwrap.wrap(caption, width)), x=0.01, ha="left", fontsize=8)
    paths = [stem.with_name(f"{stem.name}.{kind}") for kind in FORMATS]
    for path in paths:
        metadata = {"CreationDate": None} if path.suffix == ".pdf" else {"Software": None}
        figure.savefig(path, dpi=150, metadata=metadata)
        figure.set_layout_engine("none")  # laid out: what takes longest, and is the same for both
    return paths
