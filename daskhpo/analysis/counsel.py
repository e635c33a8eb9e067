"""What was forecast for a trial on its way to a milestone, and what came of it: in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from daskhpo.advice import Forecasts
from daskhpo.campaign import Campaign
from daskhpo.study import Study
from daskhpo.trial import Decision, Fact
from daskhpo.wording import number

__all__ = ["Counsel", "forecaster"]

_BACKENDS = {  # {what trained a support vector machine: in words}; only one of them is quantum
    "svr": "solved exactly",
    "qubo-sa": "simulated annealing",
    "qubo-sa-embedded": "simulated annealing on the graph of a QPU",
    "mock": "a mock of an annealer, whose answers mean nothing",
    "qpu": "a quantum annealer",
    "leap-hybrid": "a hybrid service",
}
_NEAR = "those that lead today came near to being stopped"  # why margins are wider


def forecaster(predictor: str, advice: Mapping[str, Any]) -> str:
    """Who made a forecast: the predictor, and what answered where a machine was asked.

    Parameters
    ----------
    predictor : str
        Its form in the campaign file.
    advice : mapping
        As the report's fact has it, with the predictor's record.

    Examples
    --------
    >>> forecaster("svr(C=1.75)", {})
    'svr'
    >>> asked = {"backend_requested": "qpu", "backend_used": "qubo-sa"}
    >>> forecaster("qubo_svr(annealer=qpu)", asked)
    'QUBO-SVR (simulated annealing; qpu was asked)'
    >>> forecaster("svr", {"errors_of": 8})
    'the median drop'
    """
    if "errors_of" in advice:
        return "the median drop"
    kind = predictor.partition("(")[0].replace("qubo_svr", "QUBO-SVR")
    used, asked = advice.get("backend_used"), advice.get("backend_requested")
    if not used:
        return kind
    answered = " and ".join(_BACKENDS.get(each, each) for each in used.split(", "))
    return f"{kind} ({answered}{'' if asked in (None, used) else f'; {asked} was asked'})"


class Counsel:
    """Tells what models said of one trial, and whether that turned out right.

    Parameters
    ----------
    trial : int
        Its number.
    study : Study
        Replays the facts: it has seen each one that :meth:`hear` is given, and none after it.
    campaign : Campaign
        Its settings.

    Notes
    -----
    Advice that was not followed is right or wrong once the trial has come to its milestone. No
    fact says so: it is the count of the study's adviser that has changed by then.
    """

    def __init__(self, trial: int, study: Study, campaign: Campaign) -> None:
        self._trial = trial
        self._study = study
        self._adviser = study.adviser
        self._unit = campaign.unit
        self._sign = study.direction.sign
        self._failed: dict[tuple[int, int], str] = {}  # {(step, target): why there is no model}
        self._settled = (0, 0)  # advice not followed that was seen through, and the wrong one of it
        self._spared = 0  # where it was first advised to stop, and went on; 0: it was not
        self._step = 0  # its last report
        # What the last look had no objection to: (milestone, whether but for those that lead).
        self._silent: tuple[int, bool] | None = None

    def hear(self, fact: Fact) -> list[str]:
        """Take in a fact of the campaign; returns what there is to say of a report of the trial."""
        if self._adviser is None:
            return []
        before, tally = self._settled, self._adviser.tally
        self._settled = (tally.audits, tally.wrong)
        if fact["kind"] == "noted" and fact["of"] == "lesson":
            self._learn(fact)
        if fact["kind"] != "reported" or fact["number"] != self._trial:
            return []
        said = []
        if self._spared and self._settled[0] > before[0]:
            said.append(self._turned_out(wrong=self._settled[1] > before[1]))
        if "advice" in fact:
            if not self._repeats(fact["advice"]):
                said.append(self._advice(fact))
        elif "evidence" not in fact:
            said += self._nothing(fact["step"])
        self._step = fact["step"]
        return said

    def _repeats(self, advice: Mapping[str, Any]) -> bool:
        """Whether the look before, on the same stretch, had no objection either."""
        silent = (advice["target"], _held_back(advice)) if advice["heard"] == "" else None
        before, self._silent = self._silent, silent
        return silent is not None and silent == before

    def _learn(self, fact: Fact) -> None:
        key = (fact["step"], fact["target"])
        self._failed.pop(key, None)
        if fact.get("failed"):
            self._failed[key] = fact["failed"]

    def _turned_out(self, *, wrong: bool) -> str:
        step, self._spared = self._spared, 0
        how = "wrong, it is good enough" if wrong else "right"
        return f"the advice of {self._unit} {step} to stop it has turned out {how}"

    def _nothing(self, step: int) -> list[str]:
        """Why no forecast was made at a report, where a model could not be fitted."""
        target = self._study.trials[self._trial].stop
        reasons = [
            why
            for (at, to), why in self._failed.items()
            if to == target and self._step < at <= step
        ]
        return [f"nothing is forecast for {self._unit} {target}: {why}" for why in reasons[-1:]]

    # ------------------------------------------------------------------ advice

    def _advice(self, fact: Fact) -> str:
        advice = fact["advice"]
        match advice["heard"]:
            case "obeyed":
                return self._off(fact)
            case "ranked":
                said = f"{self._forecast(advice)} {self._basis(advice)}"
                return f"{said}, {self._moved(fact)}"
            case "":
                return f"{self._forecast(advice)}, where {self._needed(advice)}: {_silence(advice)}"
            case "doubted":
                what = "it would stop the trial if the next look says so too"
            case "logged":
                what = "it advises to stop, which is only logged"
            case _:
                what = "it advises to stop, which is not followed, to see if it is right"
        if advice["heard"] != "doubted":
            self._spared = self._spared or fact["step"]
        said = f"{self._forecast(advice)}{self._at_best(advice)}, where {self._needed(advice)}"
        return f"{said} {self._basis(advice)}: {what}"

    def _off(self, fact: Fact) -> str:
        """How the trial was taken off, and by which forecast."""
        advice, evidence = fact["advice"], fact["evidence"]
        pauses = fact.get("decision") == Decision.PAUSE
        how = "paused with a checkpoint" if pauses else "stopped"
        name = "milestone" if "rung" in evidence else self._unit
        said = (
            f"it {how} on the way to {name} {advice['target']} by the forecast of "
            f"{self._who(advice)}: {number(self._sign * advice['value'])} there"
            f"{self._at_best(advice)}, where {self._needed(advice)} {self._basis(advice)}"
        )
        if "rung" not in evidence:
            return said
        rank = f"rank {evidence['rank']} of {evidence['of']}"
        return f"{said}. The forecast stands in for its value there, as {rank}"

    def _moved(self, fact: Fact) -> str:
        """What a forecast has made of the trial's rank."""
        shift = fact.get("evidence", {}).get("shift", 0.0)
        if not shift:
            return "which moves no rank"
        moved = fact["metrics"][self._study.metric] + self._sign * shift
        return f"so it is ranked as if it had {number(moved)}"

    def _who(self, advice: Mapping[str, Any]) -> str:
        assert self._adviser is not None  # whose advice it is
        return forecaster(self._adviser.settings()["predictor"], advice)

    def _forecast(self, advice: Mapping[str, Any]) -> str:
        value = number(self._sign * advice["value"])
        return f"{self._who(advice)} forecasts {value} for {self._unit} {advice['target']}"

    def _at_best(self, advice: Mapping[str, Any]) -> str:
        """What the trial may reach, for all that is known of such forecasts."""
        assert self._adviser is not None  # whose advice it is
        caution, one_look = advice["caution"], _above(advice, worst=True) > advice["caution"]
        wider = "" if caution == 1.0 else f"{caution:.3g} times "
        if one_look:
            basis = f"by {wider}the largest error so far"
        else:
            share = self._adviser.share_of_a_look(advice["delta"])
            basis = f"but for {100 * share:.3g}% of such forecasts"
            basis += wider and f", with margins {wider}as wide"
        margin = caution * advice["worst" if one_look else "margin"]
        best = number(self._sign * (advice["value"] - margin))
        return f", at best {best} {basis}" + (wider and f" since {_NEAR}")

    def _needed(self, advice: Mapping[str, Any]) -> str:
        if advice["bar"] is None:
            return "everybody would go on"
        return f"{number(self._sign * advice['bar'])} is needed"

    def _basis(self, advice: Mapping[str, Any]) -> str:
        """What a forecast rests on."""
        curves, error = f"from {advice['labels']} curves", f"{advice['error']:.3g}"
        if "errors_of" in advice:
            lender = f"{self._unit} {advice['errors_of']}"
            basis = f"{curves}, too few to judge it: its margin is that of the way to {lender}, "
            basis += f"mean error {error}"
        else:
            basis = f"{curves}; mean error out of fold {error}, of the median drop "
            basis += f"{advice['baseline']:.3g}"
        if "end" in advice:
            basis += f"; {number(self._sign * advice['end']['value'])} for the end"
        return f"({basis})"


def _above(advice: Mapping[str, Any], *, worst: bool = False) -> float:
    """How many margins a forecast is above the bar, or how many worst errors."""
    bar = math.inf if advice["bar"] is None else advice["bar"]
    return Forecasts.from_dict(advice).next.above(bar, worst=worst)


def _held_back(advice: Mapping[str, Any]) -> bool:
    """Whether there would be a doubt but for those that lead; of a forecast that led to none."""
    return Forecasts.from_dict(advice).next.open and _above(advice) > 1.0


def _silence(advice: Mapping[str, Any]) -> str:
    """Why a forecast led to no advice."""
    if advice["error"] > advice["baseline"]:
        error, baseline = f"{advice['error']:.3g}", f"{advice['baseline']:.3g}"
        return (
            f"no advice, since its mean error out of fold, {error}, is above that of the median "
            f"drop, {baseline} (from {advice['labels']} curves)"
        )
    if math.isinf(advice["margin"]):
        return f"no advice, since {advice['labels']} curves are too few to say how far it may err"
    if not _held_back(advice):
        return "no objection"
    if math.isinf(advice["caution"]):
        return "no advice, since one that leads today would have been stopped by it"
    wider = f"margins are {advice['caution']:.3g} times as wide"
    return f"it would be doubted, but {_NEAR}, so that {wider}"
