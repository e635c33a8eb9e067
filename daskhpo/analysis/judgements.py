"""What a scheduler made of a report, or of a trial that waited: its evidence in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from daskhpo.campaign import Campaign
from daskhpo.study import Study
from daskhpo.trial import Decision
from daskhpo.wording import count, number

__all__ = ["Judgements", "Wait"]


@dataclass(frozen=True, slots=True)
class Wait:
    """How long a trial has waited to be promoted.

    ``others`` were recorded at its milestone since, of whom ``forecast`` did not come there: their
    forecasts stand in. ``off`` says that the same is true of the trial itself.
    """

    milestone: int = 0
    others: int = 0
    forecast: int = 0
    off: bool = False

    def after(self, evidence: Mapping[str, Any]) -> Wait:
        """The same after another trial was recorded."""
        if evidence["milestone"] != self.milestone:
            return self
        stands_in = bool(evidence.get("advice"))
        return replace(self, others=self.others + 1, forecast=self.forecast + stands_in)


class Judgements:
    """Words for the evidence of a campaign's scheduler.

    Parameters
    ----------
    study : Study
        Whose scheduler it is.
    campaign : Campaign
        Its settings.

    Examples
    --------
    >>> campaign = Campaign.from_mapping({
    ...     "metric": "loss", "scheduler": {"type": "asha", "max_step": 9, "eta": 3},
    ...     "space": {"x": {"type": "float", "low": 0.0, "high": 1.0}}, "sampler": "random"})
    >>> evidence = {"rung": 0, "milestone": 1, "rank": 2, "of": 6, "within": 2}
    >>> print(Judgements(campaign.study(), campaign).of(1, 0.5, Decision.CONTINUE, evidence))
    epoch 1: loss 0.5 is rank 2 of the 6 recorded there by then; that is among the best 2 (one in \
3), so it may go on, without waiting
    """

    def __init__(self, study: Study, campaign: Campaign) -> None:
        self._study = study
        self._unit = campaign.unit
        self._metric = campaign.metric
        self._sign = study.direction.sign
        eta = study.scheduler.settings().get("eta")
        self._eta = eta if isinstance(eta, int) else 0  # 0: no fixed share goes on

    def of(self, step: int, value: float, decision: Decision, evidence: Mapping[str, Any]) -> str:
        """What was made of a report; empty if nobody judged it.

        Of a trial that advice took off only where it was: it has not come to the milestone that
        its evidence names, and was not compared there.
        """
        if evidence.get("advice"):
            text = self.report(step, value)
        elif "rung" in evidence:
            judged = self._in_place if "threshold" not in evidence else self._against_bar
            judged = self._in_population if "worst" in evidence else judged
            judged = self._at_barrier if "expected" in evidence else judged
            text = f"{self._ranked(step, value, evidence)}; {judged(decision, evidence)}"
        elif evidence.get("rule") == "median":
            best, median = (number(self._sign * evidence[name]) for name in ("best", "median"))
            text = (
                f"{self._unit} {step}: its best {self._metric} so far, {best}, is worse than "
                f"{median}, the median of the averages of {evidence['of']} other trials; it stopped"
            )
        elif "rule" in evidence:
            text = f"{self.report(step, value)}; {self._by_forecast(decision, evidence)}"
        elif decision is Decision.STOP:
            text = f"{self.report(step, value)}; that is the end: complete"
        elif "why" in evidence:
            text = self.report(step, value)
        else:
            text = ""
        return text

    def promotion(self, evidence: Mapping[str, Any], wait: Wait) -> str:
        """Why a trial that waited goes on."""
        where = f"{self._unit} {evidence['milestone']}"
        if evidence.get("tail"):
            paused = "on its way to" if wait.off else "at"
            return (
                "promoted by the tail rule: nothing ran, nothing was left to start and "
                f"{'no trial was' if self._eta else 'too few trials were'} complete, so the "
                f"best one that paused {paused} the highest milestone, {where}, goes on."
            )
        after = "at once"
        if wait.others:
            after = f"after {count(wait.others, 'other')} had been recorded at {where}"
            after += f" ({wait.forecast} by forecasts)" if wait.forecast else ""
        if evidence.get("turn"):
            return f"called back {after}."
        rank = f"rank {evidence['rank']} of {evidence['of']}"
        within = f"{evidence['within']}{self._share(evidence)}"
        return f"promoted {after}: {rank} is among the best {within}."

    def report(self, step: int, value: float) -> str:
        """What was reported, and nothing else."""
        return f"{self._unit} {step}: {self._metric} {number(value)}"

    def _ranked(self, step: int, value: float, evidence: Mapping[str, Any]) -> str:
        skipped = "" if step == evidence["milestone"] else f" (milestone {evidence['milestone']})"
        said = f"{self._unit} {step}{skipped}: {self._metric} {number(value)}"
        forecast = evidence.get("forecast")
        if isinstance(forecast, float) and forecast != self._sign * value:
            said += f" (heading for {number(self._sign * forecast)})"
        said += " is "
        if evidence["of"] == 1:
            return said + "the first value recorded there"
        return said + f"rank {evidence['rank']} of the {evidence['of']} recorded there by then"

    def _in_place(self, decision: Decision, evidence: Mapping[str, Any]) -> str:
        """What the promotion form of successive halving made of a rank."""
        within = evidence["within"]
        quota = f"the best {within}{self._share(evidence)}"
        if decision is Decision.STOP:
            if evidence["milestone"] < self._study.scheduler.max_step:
                return f"only {quota} may go on, so it stopped"
            return "that is the last milestone: complete"
        if evidence.get("audit"):
            return "it was drawn to train to the end wherever it ranks, so it goes on"
        if evidence.get("tail"):
            return "nothing was left to start and too few trials were complete, so it goes on"
        if decision is Decision.CONTINUE or "why" in evidence:
            return f"that is among {quota}, so it may go on, without waiting"
        if evidence["rank"] <= within:
            return (
                f"that is among {quota}, but another trial came before it (higher milestones "
                "first, then better values), so it paused with a checkpoint"
            )
        if not within:
            few = f"one trial in {self._eta} goes on" if self._eta else "too few have come yet"
            return f"{few}, so it paused with a checkpoint until there are enough to compare with"
        return f"only {quota} may go on, so it paused with a checkpoint; it may be called back"

    def _at_barrier(self, decision: Decision, evidence: Mapping[str, Any]) -> str:
        """What a scheduler that waits for whole rungs made of a rank."""
        if decision is Decision.STOP:
            return self._in_place(decision, evidence)
        if decision is Decision.CONTINUE:
            return "the rung was full with it, and it is among those that go on"
        return (
            f"it waits with a checkpoint until all {evidence['expected']} of this rung are there: "
            f"then the best {evidence['within']} go on"
        )

    def _by_forecast(self, decision: Decision, evidence: Mapping[str, Any]) -> str:
        """What a stop predictor made of a curve."""
        if evidence["rule"] == "parked":
            return (
                f"it waits with a checkpoint until it is forecast who is worth training to "
                f"{self._unit} {evidence['towards']}"
            )
        forecast, bar = (number(self._sign * evidence[name]) for name in ("forecast", "bar"))
        said = f"{forecast} is forecast for {self._unit} {evidence['milestone']}, where {bar} is "
        said += "needed to go on"
        if "probability" in evidence:
            said += f" (worse with probability {evidence['probability']:.2f})"
        return f"{said}; it {'stopped' if decision is Decision.STOP else 'may go on'}"

    def _against_bar(self, decision: Decision, evidence: Mapping[str, Any]) -> str:
        """What the stopping form made of a value."""
        bar = number(self._sign * evidence["threshold"])
        best = (
            f"the best {f'{1 / self._eta:.0%} ' if self._eta else ''}of them are at {bar} or better"
        )
        if decision is Decision.CONTINUE or "why" in evidence:
            return f"{best}, and so is it: it may go on"
        return f"{best}, it is not: it stopped"

    def _in_population(self, decision: Decision, evidence: Mapping[str, Any]) -> str:
        """What population based training made of a rank."""
        kept = "it paused with a checkpoint that others may begin from"
        if evidence["milestone"] >= self._study.scheduler.max_step:
            return "that is the last milestone: complete"
        seen: Mapping[str, Any] = evidence.get("back", evidence)
        worst, rank = seen["worst"], f"rank {seen['rank']} of {seen['of']}"
        where = "that is"
        if "back" in evidence:
            where = (
                f"too few to compare with, but at {self._unit} {seen['milestone']} it is {rank},"
            )
        if not worst:
            return f"too few to compare with, so {kept}"
        if seen["rank"] <= seen["of"] - worst:
            return f"{where} not among the worst {worst}, so {kept}"
        if decision is Decision.STOP:
            return f"{where} among the worst {worst}, who are replaced, so it stopped"
        return f"{where} among the worst {worst}, but nobody better is left to copy, so {kept}"

    def _share(self, evidence: Mapping[str, Any]) -> str:
        """Which share of a rung that is, where a share is the rule."""
        if self._eta:
            return f" (one in {self._eta})"
        size = evidence["of"]
        return f" ({evidence['within'] / size:.0%})" if size and "share" in evidence else ""
