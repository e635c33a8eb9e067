"""The physics table: a trained network beside the rule-based particle flow.

Both are judged by the target particles, on the same events and the same resamples of them. What
the rule-based flow does is in the event files: it is what the experiments' own reconstruction
would make of these elements, and what a network has to beat.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from daskhpo.mlpf.events import Events
from daskhpo.mlpf.physics.curves import Curve
from daskhpo.mlpf.physics.jets import JetDefinition, definition_of, engine
from daskhpo.mlpf.physics.judgement import Judgement, Reconstruction
from daskhpo.mlpf.physics.uncertainties import Estimate, Quantity, Resamples
from daskhpo.mlpf.schema import ParticleClass

__all__ = ["RESAMPLES", "Evaluation", "Row", "evaluate", "format_table"]

Verdict = Literal["better", "worse", "no difference seen"]

RESAMPLES = 200
Z = 1.96  # standard deviations: of numbers that do not differ one in twenty seems to


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One quantity of the table.

    Parameters
    ----------
    group, name, unit : str
        As in `Quantity`.
    ideal : float
        What a perfect reconstruction has.
    model, rule_based : Estimate
        The quantity and its uncertainty.
    gain : Estimate
        By how much the model is nearer to the ideal, below 0 if it is farther; its uncertainty
        is that of paired resamples.
    verdict : str
        Of the model: "better" or "worse" where the gain is more than 1.96 of its uncertainties.
    """

    group: str
    name: str
    unit: str
    ideal: float
    model: Estimate
    rule_based: Estimate
    gain: Estimate
    verdict: Verdict


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class Evaluation:
    """Model and rule-based flow, judged by the target.

    Parameters
    ----------
    events, resamples : int
        How many.
    jets : JetDefinition
        What jets are.
    engine : str
        What made them.
    rows : tuple of Row
        The table; `format_table` lays it out.
    truth : Reconstruction
        The target particles, their jets and missing momenta.
    model, rule_based : Judgement
        What the rows are made of, with curves and distributions: `plots.draw` draws them.
    """

    events: int
    resamples: int
    jets: JetDefinition
    engine: str
    rows: tuple[Row, ...]
    truth: Reconstruction
    model: Judgement
    rule_based: Judgement

    def __repr__(self) -> str:
        """Name the numbers of events and verdicts."""
        said = [row.verdict for row in self.rows]
        verdicts = ", ".join(f"{said.count(v)} {v}" for v in ("better", "worse"))
        return f"Evaluation({self.events} events, {len(said)} quantities: {verdicts})"

    def to_dict(self) -> dict[str, Any]:
        """Return rows, curves and confusion matrices as JSON data; None where there is no number.

        Examples
        --------
        >>> from daskhpo.mlpf.events import load_sample
        >>> events = load_sample()[:20]
        >>> found = evaluate(events, events.ycand, rng=np.random.default_rng(1), resamples=10)
        >>> sorted(found.to_dict())
        ['classes', 'confusion', 'curves', 'engine', 'events', 'jets', 'resamples', 'rows']
        """
        sides = {"model": self.model, "rule_based": self.rule_based}
        return {
            "events": self.events,
            "resamples": self.resamples,
            "jets": str(self.jets),
            "engine": self.engine,
            "rows": [_row_data(row) for row in self.rows],
            "classes": [kind.name.lower() for kind in ParticleClass],
            "confusion": {name: side.confusion.tolist() for name, side in sides.items()},
            "curves": {
                name: {
                    group: {of: _curve_data(curve) for of, curve in curves.items()}
                    for group, curves in side.curves.items()
                }
                for name, side in sides.items()
            },
        }


def evaluate(
    events: Events,
    predicted: npt.NDArray[np.floating],
    *,
    rng: np.random.Generator,
    definition: JetDefinition | None = None,
    resamples: int = RESAMPLES,
) -> Evaluation:
    """Hold a network's particles and the rule-based candidates against the target.

    Use it for a trained network on events that it has not seen: 2,000 events without pile-up take
    five seconds with FastJet and under a minute without.

    Parameters
    ----------
    events : Events
        N events of M elements, at least two.
    predicted : (M, 7)
        From `checkpoint.predict(model, events)`.
    rng : numpy Generator
        Draws the resamples.
    definition : JetDefinition, optional
        By default the papers' for this detector.
    resamples : int
        Of the bootstrap; the uncertainties are known to 1 / sqrt(2 resamples).

    Returns
    -------
    Evaluation

    Raises
    ------
    DataError
        If `predicted` does not fit the events or is not finite, or there are fewer than two events.

    Examples
    --------
    >>> from daskhpo.mlpf.events import load_sample
    >>> events = load_sample()[:20]
    >>> found = evaluate(events, events.ygen, rng=np.random.default_rng(1), resamples=20)
    >>> row = found.rows[0]
    >>> row.group, row.name, row.model.value, row.verdict
    ('jets', 'matched fraction', 1.0, 'better')
    """
    definition = definition or definition_of(events.schema)
    drawn = Resamples.draw(len(events), resamples, rng)
    truth, model, rule_based = (
        Reconstruction.of(rows, events.counts, definition)
        for rows in (events.ygen, predicted, events.ycand)
    )
    model_found = Judgement.of(truth, model, drawn)
    rule_based_found = Judgement.of(truth, rule_based, drawn)
    pairs = zip(model_found.quantities, rule_based_found.quantities, strict=True)
    return Evaluation(
        events=len(events),
        resamples=resamples,
        jets=definition,
        engine=engine(),
        rows=tuple(_row(ours, theirs) for ours, theirs in pairs),
        truth=truth,
        model=model_found,
        rule_based=rule_based_found,
    )


def format_table(found: Evaluation) -> str:
    """Lay the rows out as text.

    Examples
    --------
    >>> from daskhpo.mlpf.events import load_sample
    >>> events = load_sample()[:20]
    >>> found = evaluate(events, events.ycand, rng=np.random.default_rng(1), resamples=10)
    >>> print(format_table(found).splitlines()[0])  # doctest: +ELLIPSIS
    20 events, jets: anti-kT R=0.4, pT > 5 GeV (...)
    """
    lines = [f"{found.events:,} events, jets: {found.jets} ({found.engine})", ""]
    lines += [f"{'':<30}{'model':>19}{'rule-based':>22}   {'model is'}"]
    for group, rows in groupby(found.rows, key=lambda row: row.group):
        lines.append(group)
        for row in rows:
            name = f"{row.name} [{row.unit}]" if row.unit else row.name
            lines.append(
                f"  {name:<28}{_text(row.model):>19}{_text(row.rule_based):>22}   {row.verdict}"
            )
    note = (
        f"± one standard deviation, from {found.resamples} resamples of the events; better or "
        f"worse: the difference of the two is beyond {Z} of its own."
    )
    return "\n".join([*lines, "", note])


def _row(ours: Quantity, theirs: Quantity) -> Row:
    gain = Estimate.of(np.abs(theirs.samples - theirs.ideal) - np.abs(ours.samples - ours.ideal))
    return Row(
        group=ours.group,
        name=ours.name,
        unit=ours.unit,
        ideal=ours.ideal,
        model=Estimate.of(ours.samples),
        rule_based=Estimate.of(theirs.samples),
        gain=gain,
        verdict=_verdict(gain),
    )


def _verdict(gain: Estimate) -> Verdict:
    """Judge by value and spread: resampled distances are too large, both sides' alike.

    Where all resamples agree, nothing is known of the spread: so it is with a single muon.
    """
    if not (gain.error > 0 and abs(gain.value) > Z * gain.error):
        return "no difference seen"
    return "better" if gain.value > 0 else "worse"


def _text(estimate: Estimate) -> str:
    """Write value and uncertainty with two digits of the latter."""
    value, error = estimate.value, estimate.error
    if not math.isfinite(value):
        return "-"
    if not (math.isfinite(error) and error > 0):
        return f"{value:.4g}"
    digits = min(max(1 - math.floor(math.log10(error)), 0), 6)
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def _row_data(row: Row) -> dict[str, Any]:
    estimates = {
        name: {"value": _number(estimate.value), "error": _number(estimate.error)}
        for name, estimate in (
            ("model", row.model),
            ("rule_based", row.rule_based),
            ("gain", row.gain),
        )
    }
    named = {"group": row.group, "name": row.name, "unit": row.unit, "ideal": row.ideal}
    return {**named, **estimates, "verdict": row.verdict}


def _curve_data(curve: Curve) -> dict[str, list[float | None]]:
    return {
        name: [_number(value) for value in getattr(curve, name)]
        for name in ("edges", "value", "low", "high")
    }


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
