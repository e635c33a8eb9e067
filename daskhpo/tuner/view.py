"""A campaign at a glance, as HTML for notebooks."""

from __future__ import annotations

from collections import Counter
from html import escape
from pathlib import Path

from daskhpo.study import Study
from daskhpo.wording import count, number

__all__ = ["to_html"]

SHOWN = 10  # trials of the Pareto front


def to_html(name: str, study: Study, path: Path, dashboard: str | None) -> str:
    """A calm card: states, incumbent, rung table, and where to look further.

    Parameters
    ----------
    name : str
        The campaign.
    study : Study
        Its state.
    path : Path
        Its directory.
    dashboard : str or None
        Address of the Dask dashboard, while it runs.
    """
    states = Counter(trial.state.value for trial in study.trials.values())
    rows = [
        ("Trials", ", ".join(f"{n} {state}" for state, n in sorted(states.items())) or "none yet")
    ]
    best = study.best
    if best is not None:
        params = ", ".join(f"{key}={_short(value)}" for key, value in best.params.items())
        rows.append(("Incumbent", f"trial {best.number}: {study.metric} {best.best_value:.6g}"))
        rows.append(("", f"at step {best.best_step}, with {params}"))
    rows += _front(study)
    rows.append(("Steps trained", str(study.steps)))
    if study.known:
        rows.append(("Learned from", f"{count(study.known, 'trial')} of earlier campaigns"))
    if study.closed:
        rows.append(("Closed", study.closed))
    rows.append(("Directory", str(path)))
    body = "".join(
        f"<tr><th style='text-align:left'>{escape(key)}</th>"
        f"<td style='text-align:left'>{escape(text)}</td></tr>"
        for key, text in rows
    )
    if dashboard:
        link = f"<a href='{escape(dashboard)}' target='_blank'>{escape(dashboard)}</a>"
        body += f"<tr><th style='text-align:left'>Dashboard</th><td>{link}</td></tr>"
    return f"<div><h3>{escape(name)}</h3><table>{body}</table>{_rungs(study)}</div>"


def _front(study: Study) -> list[tuple[str, str]]:
    """The best trade-offs, where several metrics are traded off."""
    if study.goal.single:
        return []
    names = (study.metric, *study.goal.also)
    leaders = sorted(study.front, key=lambda trial: study.goal.sign * trial.value)
    lines = [
        f"trial {trial.number}: {', '.join(f'{n} {number(trial.metrics[n])}' for n in names)}"
        for trial in leaders[:SHOWN]
    ]
    if len(leaders) > SHOWN:
        lines.append(f"and {len(leaders) - SHOWN:,} more")
    return [("Pareto front" if not place else "", line) for place, line in enumerate(lines)]


def _rungs(study: Study) -> str:
    table = study.scheduler.table()
    if not table:
        return ""
    head = "".join(
        f"<th>{word}</th>" for word in ("rung", "milestone", "recorded", "promoted", "best")
    )
    sign = study.direction.sign
    lines = "".join(
        f"<tr><td>{row.rung}</td><td>{row.milestone}</td><td>{row.recorded}</td>"
        f"<td>{row.promoted}</td><td>{_short(sign * row.best) if row.recorded else ''}</td></tr>"
        for row in reversed(table)
    )
    return f"<details open><summary>Rungs</summary><table><tr>{head}</tr>{lines}</table></details>"


def _short(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
