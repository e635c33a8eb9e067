"""The figures of a comparison, in the manner of the papers' own.

Lines differ by their dashes and markers as well as by colour. Each figure carries its caption, is
written as SVG and PNG, and is the same to the byte for the same comparison.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daskhpo.analysis.compare import Comparison, slug
from daskhpo.analysis.compare_runs import Record
from daskhpo.analysis.figure_data import (
    Band,
    anytime_loss,
    anytime_regret,
    limits,
    over_samples,
    scaling,
    scaling_caption,
)
from daskhpo.exceptions import CampaignError
from daskhpo.simulate.problem import Problem
from daskhpo.store.disk import disk_error
from daskhpo.wording import count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["check_matplotlib", "draw"]

FORMATS = ("png", "svg")
# Okabe and Ito: told apart by most colour-blind people, and in grey by dashes and markers.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_DASHES = ("-", "--", "-.", ":", (0, (5, 1)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "svg.hashsalt": "daskhpo",
    "svg.fonttype": "none",
}
_CAPTION = 120  # characters in a line below a figure


def check_matplotlib() -> None:
    """Refuse to begin what could not be drawn.

    Raises
    ------
    CampaignError
        If matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise CampaignError(
            "figures need matplotlib, which is not installed: pip install daskhpo[figures]"
        ) from None


def draw(found: Comparison, out: Path) -> list[Path]:
    """Draw five figures for each set.

    ``SET-samples``: steps trained against configurations drawn; ``SET-loss``: what the incumbent
    is worth against steps trained; ``SET-regret``: its distance to the best against time;
    ``SET-scaling``: speed-up against workers; ``SET-rank``: the rank of what was found. The
    captions stand also in ``figures.md``.

    Parameters
    ----------
    found : Comparison
        Made with ``figures=True``.
    out : path
        A directory.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    CampaignError
        If matplotlib is not installed.
    StoreError
        If ``out`` cannot be written.
    """
    check_matplotlib()
    import matplotlib as mpl

    written: list[Path] = []
    captions: list[str] = []
    makers: dict[str, _Maker] = {
        "samples": _samples,
        "loss": _loss,
        "regret": _regret,
        "scaling": _scaling,
        "rank": _rank,
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        with mpl.rc_context(_STYLE):
            for problem in found.problems:
                for name, make in makers.items():
                    if name == "scaling" and len(found.plan.scaling) < 2:
                        continue
                    figure, caption = make(found, problem)
                    stem = f"{slug(problem)}-{name}"
                    written += _save(figure, caption, out / stem)
                    captions += [f"![{stem}]({stem}.svg)", "", caption, ""]
        (out / "figures.md").write_text("\n".join(captions), encoding="utf-8")
    except OSError as error:
        raise disk_error("write", out, error) from error
    return [*written, out / "figures.md"]


_Maker = Callable[[Comparison, Problem], "tuple[Figure, str]"]


def _samples(found: Comparison, problem: Problem) -> tuple[Figure, str]:
    """Figure 1: what drawing more configurations costs."""
    workers = found.plan.workers[0]
    kinds = {
        label: [r for r in records if r.task.workers == workers]
        for label, records in found.of(problem, "samples", "table").items()
    }
    figure, (axes,) = _panels(1)
    for style, (label, records) in zip(_styles(kinds), kinds.items(), strict=True):
        _band(axes, over_samples(records), label, style, markers=True)
    axes.set(xlabel="configurations drawn", ylabel=f"{problem.unit}s trained")
    axes.set(xscale="log", yscale="log", title=_title(problem, workers))
    sizes = sorted({r.task.trials for records in kinds.values() for r in records})
    axes.set_xticks(sizes, [str(size) for size in sizes], minor=False)
    axes.set_xticks([], minor=True)
    _core_hours(axes.secondary_yaxis, found, "right")
    _legend(figure, axes)
    caption = (
        f"{problem.unit.capitalize()}s trained until nothing is left to do against the number of "
        f"configurations drawn, each point campaigns of that size: median and quartiles of "
        f"{found.plan.seeds} seeds on {workers} workers. Schedulers that run brackets one after "
        "another begin with those that halve most: small campaigns end among these."
    )
    return figure, caption


def _loss(found: Comparison, problem: Problem) -> tuple[Figure, str]:
    """Figure 2: what the incumbent is worth after so many steps."""
    figure, panels = _panels(len(found.plan.workers))
    for axes, workers in zip(panels, found.plan.workers, strict=True):
        kinds = _table(found, problem, workers)
        bands = anytime_loss(list(kinds.values()), problem)
        for style, label, band in zip(_styles(kinds), kinds, bands, strict=True):
            _band(axes, band, label, style)
        axes.set_ylim(limits(bands))
        axes.set(xlabel=f"{problem.unit}s trained", xscale="log")
        axes.set(ylabel=f"final {problem.metric} of the incumbent", title=_title(problem, workers))
        _core_hours(axes.secondary_xaxis, found, "top")
    _legend(figure, panels[0])
    caption = (
        f"The {problem.metric} that the incumbent of the moment has at the end of its curve, "
        f"against {problem.unit}s trained by all workers: median and quartiles of "
        f"{found.plan.seeds} seeds. The last two decades."
    )
    return figure, caption


def _regret(found: Comparison, problem: Problem) -> tuple[Figure, str]:
    """Figure 3: how far from the best, after so much time."""
    figure, panels = _panels(len(found.plan.workers))
    for axes, workers in zip(panels, found.plan.workers, strict=True):
        kinds = _table(found, problem, workers)
        bands = anytime_regret(list(kinds.values()), problem)
        least = min((band.least for band in bands), default=1.0)
        for style, label, band in zip(_styles(kinds), kinds, bands, strict=True):
            _band(axes, band, label, style)
        axes.set_yscale("symlog", linthresh=least, linscale=0.5)
        axes.set_ylim(bottom=0)
        axes.set(xlabel=f"time in median {problem.unit}s", xscale="log")
        axes.set(ylabel=f"regret in {problem.metric}", title=_title(problem, workers))
    _legend(figure, panels[0])
    caption = (
        "Distance of the incumbent's final value to the best of all configurations drawn, against "
        f"time (start-ups, checkpoints and waiting included): median and quartiles of "
        f"{found.plan.seeds} seeds; linear near 0, logarithmic above; 0: the best is found. "
        "The last two decades."
    )
    return figure, caption


def _scaling(found: Comparison, problem: Problem) -> tuple[Figure, str]:
    """Figure 4: what more workers bring."""
    kinds = {
        label: [r for r in records if r.task.workers in found.plan.scaling]
        for label, records in found.of(problem, "scaling", "table").items()
    }
    curves = {label: scaling(records) for label, records in kinds.items()}
    figure, panels = _panels(3)
    ticks = sorted(found.plan.scaling)
    few = count(ticks[0], "worker")
    titles = ("whole campaign", "time to a top 1 % configuration", f"{problem.unit}s trained")
    for place, (axes, title) in enumerate(zip(panels, titles, strict=True)):
        for style, (label, curve) in zip(_styles(kinds), curves.items(), strict=True):
            band = (curve.campaign, curve.target, curve.work)[place]
            _band(axes, band, label, style, markers=True)
        axes.set_xscale("log", base=2)
        axes.set(xlabel="workers", title=f"{problem.name}: {title}")
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
    for axes in panels[:2]:
        ideal = [n / ticks[0] for n in ticks]
        axes.plot(ticks, ideal, color="#888888", lw=1, label="ideal", zorder=1)
        axes.set_yscale("log", base=2)
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set(ylabel=f"speed-up over {few}")
    panels[2].set(ylabel=f"relative to {few}", ylim=(0, None))
    _legend(figure, panels[0])
    return figure, scaling_caption(curves, problem.unit, found.plan.seeds)


def _rank(found: Comparison, problem: Problem) -> tuple[Figure, str]:
    """Figure 5: how good what was found is."""
    figure, panels = _panels(len(found.plan.workers))
    for axes, workers in zip(panels, found.plan.workers, strict=True):
        kinds = _table(found, problem, workers)
        boxes = [[r.rank for r in records] for records in kinds.values()]
        drawn = axes.boxplot(
            boxes, orientation="horizontal", whis=(0, 100), showmeans=True, widths=0.5
        )
        for line in drawn["medians"]:
            line.set(color=_COLOURS[1], linewidth=2)
        for mark in drawn["means"]:
            mark.set(marker="D", markerfacecolor="white", markeredgecolor=_COLOURS[0])
        axes.set_yticks(range(1, len(kinds) + 1), list(kinds))
        axes.invert_yaxis()
        axes.set_xscale("symlog", linthresh=1)
        axes.set_xlim(left=-0.2)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set(xlabel="rank of the configuration found (0: the best)")
        axes.set_title(_title(problem, workers))
    for axes in panels[1:]:
        axes.set_yticklabels([])
    caption = (
        "How many of the configurations drawn end better than the one found, over "
        f"{found.plan.seeds} seeds: box of the quartiles, line at the median, diamond at the mean, "
        "whiskers to the extremes; linear up to 1, logarithmic above."
    )
    return figure, caption


def _table(found: Comparison, problem: Problem, workers: int) -> dict[str, list[Record]]:
    kinds = found.of(problem, "table").items()
    return {label: [r for r in records if r.task.workers == workers] for label, records in kinds}


def _title(problem: Problem, workers: int) -> str:
    return f"{problem.name}: {workers} workers"


def _panels(number: int) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.4 + 4.4 * number, 4.4), layout="constrained")
    row = figure.subplots(1, number, squeeze=False)[0]
    return figure, list(row)


def _styles(kinds: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One for each line, told apart without colour."""
    return [
        {
            "color": _COLOURS[place % len(_COLOURS)],
            "linestyle": _DASHES[place % len(_DASHES)],
            "marker": _MARKERS[place % len(_MARKERS)],
            "markersize": 4,
            "linewidth": 1.5,
            "alpha": 0.6 / max(4, len(kinds)),  # of the band; many of them must not hide the lines
        }
        for place in range(len(kinds))
    ]


def _band(
    axes: Axes, band: Band, label: str, style: dict[str, Any], *, markers: bool = False
) -> None:
    """A line at the median, between the quartiles; markers at every point, or at some."""
    area: dict[str, Any] = {"color": style["color"], "alpha": style["alpha"], "lw": 0}
    style = {name: value for name, value in style.items() if name != "alpha"}
    if markers:
        axes.fill_between(band.x, band.low, band.high, **area)
        axes.plot(band.x, band.middle, label=label, **style)
    else:
        every = max(1, len(band.x) // 8)
        axes.fill_between(band.x, band.low, band.high, step="post", **area)
        line: dict[str, Any] = {"label": label, "drawstyle": "steps-post", "markevery": every}
        axes.plot(band.x, band.middle, **line, **style)


def _core_hours(make: Callable[..., Any], found: Comparison, side: str) -> None:
    """A second axis in core-hours, where the plan says what a step costs."""
    hours = found.plan.core_hours
    if hours is None:
        return
    second = make(side, functions=(lambda x: x * hours, lambda x: x / hours))
    (second.set_ylabel if side == "right" else second.set_xlabel)("core-hours")


def _legend(figure: Figure, axes: Axes) -> None:
    """Beside the panels, where it covers nothing."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize=8, handlelength=3.5)


def _save(figure: Figure, caption: str, stem: Path) -> list[Path]:
    """Write a figure with its caption below it."""
    figure.supxlabel(
        "\n".join(textwrap.wrap(caption, _width(figure))), x=0.01, ha="left", fontsize=8
    )
    paths: Sequence[Path] = [stem.with_name(f"{stem.name}.{kind}") for kind in FORMATS]
    for path in paths:
        metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
        figure.savefig(path, dpi=150, metadata=metadata)
        figure.set_layout_engine("none")  # laid out: what takes longest, and is the same for all
    return list(paths)


def _width(figure: Figure) -> int:
    """Characters of a caption that fit below it."""
    return int(figure.get_figwidth() * _CAPTION / 7)
