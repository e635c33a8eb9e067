"""What the rungs of a ladder are worth, in numbers and in words."""

from __future__ import annotations

import math
import textwrap
from dataclasses import asdict, dataclass
from typing import Any, Literal

from daskhpo.analysis.agreement import Estimate
from daskhpo.wording import count

__all__ = ["FEWEST", "Basis", "Reliability", "RungReliability", "Verdict", "reliability_lines"]

Basis = Literal["all", "audit", "finalists", "few"]
Verdict = Literal["reliable", "undecided", "unreliable", "unknown"]

FEWEST = 5  # complete trials below which no number is given
_WIDTH = 96


@dataclass(frozen=True, slots=True)
class RungReliability:
    """What one rung says about the end.

    Parameters
    ----------
    step : int
        The milestone.
    spearman : Estimate
        Rank correlation between the values at ``step`` and those at the end.
    inside : float
        How many of the best trials lie inside the top 1/eta here; with ties at the border, how
        many are to be expected.
    kept : Estimate
        The share of the best trials that a campaign which begins to halve here would keep.
    verdict : {"reliable", "undecided", "unreliable", "unknown"}
        ``unreliable``: below 0.9, and so is the interval. ``undecided``: the interval allows
        either. ``unknown``: too few complete trials, or only such as the scheduler chose.
    """

    step: int
    spearman: Estimate
    inside: float
    kept: Estimate
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Reliability:
    """The rungs of a ladder, judged by trials that were trained to the end.

    Parameters
    ----------
    rungs : tuple of RungReliability
        Lowest first, without the last milestone.
    basis : {"all", "audit", "finalists", "few"}
        Which complete trials were used: all there are, since (nearly) nobody was stopped; those
        drawn at random to be audited; only such as the scheduler chose; too few.
    trials, used : int
        How many there are, and how many complete ones were used.
    best : int
        How many of them count as the best.
    top : float
        The share that this is.
    eta, max_step, unit
        Of the ladder.
    min_step, sure_step : int or None
        The lowest step from which on no rung would be unreliable, and from which on all would be
        reliable; looked for at every power of two, half way between, and the milestones. None
        where that is the end, and while nothing can be said.
    measured : bool
        Whether ``kept`` was counted; else there are too few best trials to count, and it follows
        from the rank correlation.
    learned : bool
        Whether the scheduler learns how many go on; then ``eta`` is only what rungs are judged
        by.
    """

    rungs: tuple[RungReliability, ...]
    basis: Basis
    trials: int
    used: int
    best: int
    top: float
    eta: int
    max_step: int
    unit: str
    min_step: int | None
    sure_step: int | None
    measured: bool
    learned: bool = False

    @property
    def unreliable(self) -> tuple[RungReliability, ...]:
        """The rungs to be warned of."""
        return tuple(rung for rung in self.rungs if rung.verdict == "unreliable")

    def sentence(self, rung: RungReliability) -> str:
        """Say in words what a rung is worth."""
        where = f"rung at {self.unit} {rung.step}"
        if rung.verdict == "unknown":
            return f"{where}: nothing can be said"
        said = f"{where}: {self._evidence(rung)}"
        if rung.verdict == "reliable":
            return said
        if rung.verdict == "undecided":
            return f"{said}; whether that is enough, more complete trials will tell"
        loss = _loss(rung.kept.value)
        return (
            f"{said}. A campaign that starts halving at this {self.unit} loses such a trial "
            f"{loss}; {self._cure()}"
        )

    def to_text(self) -> str:
        """Write it for a terminal; fits in 100 columns."""
        lines = [*_wrapped(self._ground(), ""), ""]
        if self.basis == "few":
            return "\n".join(lines[:-1])
        if not self.rungs:
            return "\n".join([*lines, "There is no rung before the end."])
        kept = f"best {self._share()} kept" if self.measured else "kept (estimated)"
        lines.append(f"{self.unit:>8}  {'rank correlation':<22}{kept:<29}verdict")
        for rung in self.rungs:
            share = _interval(rung.kept, percent=True)
            if self.measured and not math.isnan(rung.inside):
                share = f"{rung.inside:.3g} of {self.best}, {share}"
            lines.append(f"{rung.step:>8}  {_interval(rung.spearman):<22}{share:<29}{rung.verdict}")
        for rung in self.rungs:
            if rung.verdict in ("unreliable", "undecided"):
                label = "WARNING" if rung.verdict == "unreliable" else "note"
                lines += ["", *_wrapped(f"{label}: {self.sentence(rung)}.", "")]
        if self.rungs and all(rung.verdict == "reliable" for rung in self.rungs):
            lines += ["", "Every rung is reliable."]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Give plain JSON data; what has no value is None."""
        plain = {name: getattr(self, name) for name in self.__slots__ if name != "rungs"}
        rungs = [_finite(asdict(rung)) | {"says": self.sentence(rung)} for rung in self.rungs]
        return plain | {"rungs": rungs, "ground": self._ground()}

    def _evidence(self, rung: RungReliability) -> str:
        of = _part(self.eta)
        if self.measured:
            only = "only " if rung.verdict == "unreliable" else ""
            found = f"{only}{round(rung.inside)}" if rung.inside >= 0.5 else "none"
            return (
                f"of the {self.best} trials that end in the best {self._share()}, {found} "
                f"{'is' if found in ('none', 'only 1', '1') else 'are'} among the best {of} here"
            )
        return (
            f"the ranks of {self.used} complete trials here agree with those at the end by "
            f"{_interval(rung.spearman)}, so that about {rung.kept.value:.0%} of the best "
            f"{self._share()} would be among the best {of}"
        )

    def _cure(self) -> str:
        if self.learned:
            return "the scheduler learns that, and lets more go on"
        if self.min_step is None:
            return (
                f"no {self.unit} before {self.max_step} is good enough: lower eta, or train every "
                "trial to the end (scheduler: fifo)"
            )
        sure = self.sure_step not in (None, self.min_step)
        return f"raise min_step to {self.min_step}" + sure * f" ({self.sure_step} to be sure)"

    def _ground(self) -> str:
        used = count(self.used, "complete trial")
        match self.basis:
            case "few":
                return f"{used} of {self.trials:,}: {FEWEST} are needed to judge a rung."
            case "finalists":
                return (
                    f"{used} of {self.trials:,}, each chosen by the scheduler: a selection. "
                    "Whoever was lost on the way is not among them, so they give no verdict; "
                    "trials drawn at random and trained to the end (audits) would."
                )
            case "audit":
                return f"{count(self.used, 'audit trial')}, drawn at random, trained to the end."
        few = self.trials - self.used
        early = f"{few} that ended early are left out" if few else "nobody was stopped early"
        return f"{used}; {early}. Judged as if one in {self.eta} went on."

    def _share(self) -> str:
        return "tenth" if math.isclose(self.top, 0.1) else f"{100 * self.top:.3g} %"


def reliability_lines(found: Reliability) -> list[str]:
    """Lines that the summary of a campaign can end with; none while there is nothing to say.

    Examples
    --------
    >>> import numpy as np
    >>> from daskhpo.analysis.reliability import reliability
    >>> curves = np.tile(np.arange(200.0)[:, None], 4)
    >>> print(*reliability_lines(reliability(curves, milestones=(1, 2), eta=2)), sep="\\n")
    ladder    every rung can be trusted, judging by 200 complete trials
    """
    if not found.rungs or found.basis in ("few", "finalists"):
        return []
    kind = "audit trial" if found.basis == "audit" else "complete trial"
    judging = f"judging by {count(found.used, kind)}"
    if found.unreliable:
        return _wrapped(f"WARNING   {found.sentence(found.unreliable[0])}.", " " * 10)
    if all(rung.verdict == "reliable" for rung in found.rungs):
        return [f"ladder    every rung can be trusted, {judging}"]
    return [f"ladder    whether its rungs can be trusted is open, {judging}"]


def _loss(kept: float) -> str:
    """How often the best trial is lost."""
    lost = round(10 * (1 - kept))
    if lost >= 10:
        return "nearly every time"
    return f"about {count(lost, 'time')} in 10" if lost else "now and then"


def _part(eta: int) -> str:
    return {2: "half", 3: "third", 4: "quarter"}.get(eta, f"1/{eta}")


def _interval(found: Estimate, *, percent: bool = False) -> str:
    if math.isnan(found.value):
        return "-"
    if percent:
        return f"{found.value:.0%} [{100 * found.low:.0f}, {100 * found.high:.0f}]"
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"


def _finite(content: dict[str, Any]) -> dict[str, Any]:
    """The same with None for nan, also one level down."""
    return {
        key: _finite(value)
        if isinstance(value, dict)
        else None
        if isinstance(value, float) and math.isnan(value)
        else value
        for key, value in content.items()
    }


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, subsequent_indent=indent)
