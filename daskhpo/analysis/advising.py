"""How a campaign's advice stands: what was said, how often it was wrong, whether it is trusted."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from daskhpo.analysis.agreement import NOTHING, Estimate, share_of
from daskhpo.schedulers.base import Advised
from daskhpo.study import Study
from daskhpo.trial import Fact
from daskhpo.wording import count

__all__ = ["Advising", "Gate", "GateWatch", "advising"]

_WIDTH = 96


@dataclass(frozen=True, slots=True)
class Gate:
    """How well forecasts for a milestone did in the latest lesson; whether they are trusted.

    Parameters
    ----------
    target, step : int
        The milestone, and how many steps of a curve were known.
    labels : int
        Curves that it was learned from.
    error, baseline : float
        Mean error out of fold, and that of the median drop; nan where nothing was learned.
    failed : str
        Why not; empty if it was.
    """

    target: int
    step: int
    labels: int
    error: float = math.nan
    baseline: float = math.nan
    failed: str = ""

    @property
    def open(self) -> bool:
        """Whether advice may follow."""
        return self.error <= self.baseline  # nan compares False


class GateWatch:
    """Gathers the state of the gates from the facts of a campaign.

    Use it where facts go by anyhow, as :class:`~daskhpo.analysis.rungwatch.RungWatch`.

    Examples
    --------
    >>> watch = GateWatch()
    >>> watch.record({"kind": "noted", "of": "lesson", "step": 6, "target": 8, "labels": 20,
    ...               "seconds": 0.1, "error": 0.3, "baseline": 0.2})
    >>> [gate.open for gate in watch.gates]
    [False]
    """

    def __init__(self) -> None:
        self._gates: dict[int, Gate] = {}  # {target: after the latest lesson}
        self._noted = False  # whether lessons are: they tell more than the forecasts that followed

    @property
    def gates(self) -> tuple[Gate, ...]:
        """One for each milestone that anything was learned for, lowest first."""
        return tuple(self._gates[target] for target in sorted(self._gates))

    def record(self, fact: Fact) -> None:
        """Take a fact in; what says nothing of forecasts is passed over."""
        if fact["kind"] == "noted" and fact.get("of") == "lesson":
            self._noted = True
            self._learn(fact)
        elif fact["kind"] == "reported" and "advice" in fact and not self._noted:
            self._learn(fact["advice"])

    def _learn(self, told: Mapping[str, Any]) -> None:
        target, step, failed = told["target"], told["step"], told.get("failed") or ""
        if failed and target in self._gates and not self._gates[target].failed:
            return  # what was learned before stands
        numbers = (_number(told, "error"), _number(told, "baseline"))
        self._gates[target] = Gate(target, step, told["labels"], *numbers, failed)


@dataclass(frozen=True, slots=True)
class Advising:
    """How advice stands; all of it follows from the facts.

    Parameters
    ----------
    mode, predictor : str
        Of the adviser.
    obeyed : int
        Stops that were advised and carried out.
    spared : int
        Trials that were advised to stop and went on, logged ones and audits, without those that
        failed.
    settled, wrong : int
        How many of these have come to their milestone, and would have been kept there.
    delta, delta_now : float
        The error rate that was asked for, and the one in force.
    labels : int
        Curves that are needed.
    possible : bool
        Whether the scheduler can be advised; if not, nothing is forecast.
    gates : tuple of Gate or None
        Lowest milestone first; None where the facts were not looked at for them.
    """

    mode: str
    predictor: str
    obeyed: int
    spared: int
    settled: int
    wrong: int
    delta: float
    delta_now: float
    labels: int
    possible: bool = True
    gates: tuple[Gate, ...] | None = None

    @property
    def advised(self) -> int:
        """Stops that were advised."""
        return self.obeyed + self.spared

    @property
    def wrong_share(self) -> Estimate:
        """Share of wrong stops, with Wilson's interval, among those seen through; nan before."""
        return share_of(self.wrong, self.settled) if self.settled else NOTHING

    def lines(self, unit: str) -> list[str]:
        """Lines of a summary; fits in 100 columns."""
        if not self.possible:
            return _wrapped(f"advice    none by {self.predictor}: the scheduler cannot be advised")
        what = "audited" if self.mode == "obey" else "not"
        said = f"{self.mode} by {self.predictor}; {count(self.advised, 'stop')} advised"
        if self.advised:
            said += f": {self.obeyed:,} obeyed, {self.spared:,} {what}" * (self.mode == "obey")
        said += f"; {self._seen()}; delta {self.delta:g}"
        if self.delta_now < self.delta:
            said += f", {self.delta_now:.2g} in force"
        gate = [] if self.gates is None else _wrapped(f"          {self._gate(self.gates, unit)}")
        return [*_wrapped(f"advice    {said}"), *gate]

    def to_dict(self) -> dict[str, Any]:
        """Give plain JSON data; what has no value is None."""
        plain = {name: getattr(self, name) for name in self.__slots__ if name != "gates"}
        share = {name: _finite(value) for name, value in asdict(self.wrong_share).items()}
        gates = [
            {name: _finite(value) for name, value in asdict(gate).items()} | {"open": gate.open}
            for gate in self.gates or ()
        ]
        told = {} if self.gates is None else {"gates": gates}
        return plain | {"advised": self.advised, "wrong_share": share, **told}

    def _seen(self) -> str:
        """What became of those that went on."""
        if not self.settled:
            return "none seen through yet"
        share = self.wrong_share
        interval = f"[{100 * share.low:.0f}, {100 * share.high:.0f}]"
        return (
            f"wrong {self.wrong:,} of {self.settled:,} seen through, {share.value:.0%} {interval}"
        )

    def _gate(self, gates: Sequence[Gate], unit: str) -> str:
        if not gates:
            return f"no forecasts yet: {self.labels} trials have to come to a milestone first"
        kinds = {
            "open": [gate for gate in gates if gate.open],
            "closed": [gate for gate in gates if not gate.open and not gate.failed],
            "not learned": [gate for gate in gates if gate.failed],
        }
        told = [
            f"{kind} to {unit} {', '.join(str(gate.target) for gate in some)}"
            for kind, some in kinds.items()
            if some
        ]
        return f"gate {'; '.join(told)}"


def advising(study: Study, gates: Sequence[Gate] | None = None) -> Advising | None:
    """How the advice of a study stands; None without an adviser.

    Examples
    --------
    >>> from daskhpo import ASHA, Float, Space
    >>> from daskhpo.advice import Adviser
    >>> from daskhpo.samplers import Random
    >>> space = Space(x=Float(0, 1))
    >>> adviser = Adviser("last_drop")
    >>> study = Study(space, ASHA(max_step=9), Random(space, seed=0), metric="loss",
    ...               adviser=adviser)
    >>> print(*advising(study, gates=()).lines("epoch"), sep="\\n")
    advice    log by last_drop; 0 stops advised; none seen through yet; delta 0.1
              no forecasts yet: 15 trials have to come to a milestone first
    """
    adviser = study.adviser
    if adviser is None:
        return None
    tally, settings = adviser.tally, adviser.settings()
    return Advising(
        mode=adviser.mode,
        predictor=settings["predictor"],
        obeyed=tally.obeyed,
        spared=tally.audits + len(tally.open),
        settled=tally.audits,
        wrong=tally.wrong,
        delta=adviser.delta,
        delta_now=adviser.delta_now,
        labels=settings["labels"],
        possible=isinstance(study.scheduler, Advised),
        gates=None if gates is None else tuple(gates),
    )


def _number(told: Mapping[str, Any], name: str) -> float:
    value = told.get(name)
    return math.nan if value is None else float(value)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, subsequent_indent=" " * 10)
