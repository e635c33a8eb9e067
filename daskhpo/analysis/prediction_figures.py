"""Figures of predictors: true against forecast, R2 against what is known, Hyperband compared.

In the manner of :mod:`daskhpo.analysis.figures`, as PNG and SVG; the captions stand also in
``forecasts.md`` and ``hyperband.md``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from daskhpo.analysis.compare import slug
from daskhpo.analysis.figure_data import Band
from daskhpo.analysis.figures import (
    _COLOURS,
    _STYLE,
    _band,
    _legend,
    _panels,
    _save,
    _styles,
    check_matplotlib,
)
from daskhpo.analysis.prediction import Protocol
from daskhpo.analysis.prediction_hyperband import Campaigns
from daskhpo.analysis.prediction_hyperband_table import Summary, summaries
from daskhpo.analysis.prediction_runs import Evaluation, Result, forecast
from daskhpo.analysis.prediction_scores import r2
from daskhpo.simulate.problem import Problem
from daskhpo.store.disk import disk_error

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_evaluation", "draw_hyperband"]

_ROW = 4  # panels side by side
_FLOOR = -0.5  # of R2; what is worse is not drawn apart


def draw_evaluation(found: Evaluation, out: Path) -> list[Path]:
    """Draw ``SET-forecasts``, true against forecast, and ``SET-fractions``, R2 against the known.

    The latter where the plan has several fractions.

    Raises
    ------
    CampaignError
        If matplotlib is not installed.
    StoreError
        If ``out`` cannot be written.
    """
    figures = []
    check_matplotlib()
    import matplotlib as mpl

    with mpl.rc_context(_STYLE):
        for place, problem in enumerate(found.problems):
            name = slug(problem)
            figures.append((f"{name}-forecasts", *_forecasts(found, place)))
            if found.plan.fractions:
                figures.append((f"{name}-fractions", *_fractions(found, place)))
        return _written(figures, out, "forecasts.md")


def draw_hyperband(
    problems: Sequence[Problem], found: Sequence[Campaigns], out: Path
) -> list[Path]:
    """Draw ``SET-hyperband``: what each algorithm finds, trains and stops.

    Raises
    ------
    CampaignError
        If matplotlib is not installed.
    StoreError
        If ``out`` cannot be written.
    """
    check_matplotlib()
    import matplotlib as mpl

    with mpl.rc_context(_STYLE):
        figures = []
        for place, problem in enumerate(problems):
            rows = summaries(problem, [one for one in found if one.problem == place])
            figures.append((f"{slug(problem)}-hyperband", *_hyperband(problem, rows)))
        return _written(figures, out, "hyperband.md")


def _written(figures: Sequence[tuple[str, Figure, str]], out: Path, index: str) -> list[Path]:
    paths: list[Path] = []
    captions: list[str] = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for stem, figure, caption in figures:
            paths += _save(figure, caption, out / stem)
            captions += [f"![{stem}]({stem}.svg)", "", caption, ""]
        (out / index).write_text("\n".join(captions), encoding="utf-8")
    except OSError as error:
        raise disk_error("write", out, error) from error
    return [*paths, out / index]


def _forecasts(found: Evaluation, place: int) -> tuple[Figure, str]:
    """True against forecast values of the first split, a panel for each model."""
    from matplotlib.figure import Figure

    problem, exercise, plan = found.problems[place], found.exercises[place], found.plan
    paper = plan.protocol is Protocol.PAPER
    sign = 1.0 if paper else problem.sign
    models = [result.model for result in found.at(place)]
    columns = min(_ROW, len(models))
    rows = math.ceil(len(models) / columns)
    figure = Figure(figsize=(max(5.0, 2.8 * columns), 2.9 * rows + 0.6), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    low, high = np.quantile(sign * exercise.targets, (0, 1))
    pad = 0.05 * (high - low)
    for axes, model in zip(panels, models, strict=False):
        one = forecast(exercise, model, 0, seed=plan.seed)
        axes.axline((low, low), slope=1, color="#888888", lw=1, zorder=1)
        drawn = np.clip(sign * one.forecasts, low - pad, high + pad)
        axes.plot(sign * one.targets, drawn, "o", color=_COLOURS[0], ms=3, alpha=0.5, mew=0)
        axes.set(xlim=(low - pad, high + pad), ylim=(low - pad, high + pad))
        axes.set_title(f"{model.name}\nR2 = {r2(one.targets, one.forecasts):.3f}", fontsize=8)
    for axes in panels[len(models) :]:
        axes.set_visible(False)
    what = f"final {problem.metric}" + (" (quantile)" if paper else "")
    figure.supylabel(f"forecast {what}", fontsize=9)
    caption = (
        f"{problem.name}: forecast against true {what} (across) of the curves that were not "
        f"learned from, when {plan.fraction:.0%} of a curve is known; the first split of the "
        f"protocol {str(plan.protocol)!r}. Forecasts beyond the frame are drawn on it."
    )
    return figure, caption


def _fractions(found: Evaluation, place: int) -> tuple[Figure, str]:
    """R2 against the known share of a curve."""
    problem, plan = found.problems[place], found.plan
    fractions = sorted({plan.fraction, *plan.fractions})
    figure, (axes,) = _panels(1)
    by_fraction = [found.at(place, fraction) for fraction in fractions]
    kinds = {column[0].model.name: column for column in zip(*by_fraction, strict=True)}
    for style, (name, results) in zip(_styles(kinds), kinds.items(), strict=True):
        _band(axes, _quartiles(fractions, results), name, style, markers=True)
    axes.set(xlabel="known share of a curve", ylabel="R2 of the forecasts", title=problem.name)
    axes.set_xlim(0, 1)
    axes.set_ylim(max(_FLOOR, axes.get_ylim()[0]), 1.02)
    _legend(figure, axes)
    least = min(len(result.scores) for results in kinds.values() for result in results)
    caption = (
        "R2 of the forecasts (as it is defined) against the share of a curve that is known: median "
        f"and quartiles of at least {least} splits of the protocol {str(plan.protocol)!r}."
    )
    return figure, caption


def _quartiles(fractions: Sequence[float], results: Sequence[Result]) -> Band:
    scores = [[one.r2 for one in result.scores] for result in results]
    low, middle, high = (np.array([np.quantile(s, q) for s in scores]) for q in (0.25, 0.5, 0.75))
    return Band(np.array(fractions), low, middle, high)


def _hyperband(problem: Problem, rows: Sequence[Summary]) -> tuple[Figure, str]:
    """What was trained as bars, what was found as marks; beside it who was stopped."""
    figure, (left, right) = _panels(2)
    places = np.arange(len(rows))
    epochs, spread = [row.epochs for row in rows], [row.epochs_std for row in rows]
    left.barh(places, epochs, height=0.6, color=_COLOURS[4], xerr=spread, capsize=3)
    left.set(xlabel=f"{problem.unit}s trained (bars)", title=problem.name)
    top = left.twiny()
    top.plot([row.value for row in rows], places, "D", color=_COLOURS[1], ms=6)
    top.set(xlabel=f"final {problem.metric} of what was found (diamonds)")
    top.margins(x=0.15)
    top.grid(visible=False)
    stops = [row.stops for row in rows]
    wrong = [row.stops * row.wrong for row in rows]
    right.barh(places, stops, height=0.6, color=_COLOURS[4], label="stopped on a forecast")
    right.barh(places, wrong, height=0.6, color=_COLOURS[1], hatch="//", label="wrongly")
    for place, row in enumerate(rows):
        if row.stops:
            right.text(row.stops, place, f" {row.wrong:.0%} wrong", va="center", fontsize=8)
    right.set(xlabel="trials stopped per campaign", xlim=(0, 1.25 * max(1.0, *stops)))
    for axes in (left, right):
        axes.set_axisbelow(True)
        axes.set_ylim(len(rows) - 0.5, -0.5)
    left.set_yticks(places, [row.name for row in rows])
    right.set_yticks(places, [""] * len(rows))
    _legend(figure, right)
    few, many = min(row.seeds for row in rows), max(row.seeds for row in rows)
    caption = (
        f"Left: {problem.unit}s trained (bars, mean and standard deviation) and the mean final "
        f"{problem.metric} of the configuration found (diamonds). Right: trials that a forecast "
        "stopped, and those of them that would have been among the best at the next milestone. "
        f"{few if few == many else f'{few} to {many}'} seeds."
    )
    return figure, caption
