"""What of a campaign's facts people want to hear of as it happens, in a line each."""

from __future__ import annotations

from daskhpo.campaign import Campaign
from daskhpo.cluster.batch import BatchJob, Phase
from daskhpo.study import Study
from daskhpo.trial import Fact, Outcome
from daskhpo.wording import number

__all__ = ["BEST", "News"]

BEST = "new best"  # how a line on the incumbent begins

# How a stay on workers can end that nobody wanted.
_MISHAPS = {
    Outcome.FAILED: "failed",
    Outcome.LOST: "lost its worker",
    Outcome.EVICTED: "was evicted",
    Outcome.INTERRUPTED: "was interrupted",
}
_WELL = frozenset({"COMPLETED", "CANCELLED"})  # ends of batch jobs that surprise nobody
_WIDTH = 160  # characters of a reason


class News:
    """Turn facts into lines: incumbents, promotions to the top, interruptions and their reasons.

    Parameters
    ----------
    campaign : Campaign
        Whose facts they are.
    study : Study
        Which has seen each fact before it comes here.

    Examples
    --------
    >>> campaign = Campaign.from_mapping({
    ...     "name": "first", "metric": "loss", "space": {"x": [1, 2]}, "sampler": "random",
    ...     "scheduler": {"type": "fifo", "max_step": 3}})
    >>> study = campaign.study()
    >>> news = News(campaign, study)
    >>> news.read({"kind": "closed", "reason": "the budget of 2 hours is spent"})
    ['closed: the budget of 2 hours is spent']
    """

    def __init__(self, campaign: Campaign, study: Study) -> None:
        self._unit = campaign.unit
        self._study = study
        self._top = study.scheduler.max_step
        self._best = study.best.best_value if study.best is not None else None
        trials = study.trials.values()
        self._at_top = {trial.number for trial in trials if trial.stop >= self._top}

    def read(self, fact: Fact) -> list[str]:
        """What to say of a fact; nothing, most of the time."""
        kind, lines = fact["kind"], list[str]()
        if kind in ("asked", "promoted", "reported"):
            lines += self._promotion(fact)
        if kind == "reported":
            lines += self._incumbent(fact)
        elif kind == "ended":
            lines += self._mishap(fact)
        elif kind == "noted" and fact.get("of") == "batch":
            job = BatchJob.from_fact(fact)
            lines += [str(job)] if job.phase is Phase.ENDED and job.state not in _WELL else []
        elif kind == "closed":
            lines.append(f"closed: {fact['reason']}")
        elif kind == "reopened":
            lines.append("a driver goes on")
        return lines

    def _incumbent(self, fact: Fact) -> list[str]:
        best = self._study.best
        if best is None or best.number != fact["number"] or best.best_value == self._best:
            return []
        self._best = best.best_value
        value = f"{self._study.metric} {number(best.best_value)}"
        return [f"{BEST}: {value} (trial {best.number}, {self._unit} {fact['step']})"]

    def _promotion(self, fact: Fact) -> list[str]:
        trial = self._study.trials[fact["number"]]
        if trial.stop < self._top or trial.number in self._at_top:
            return []
        self._at_top.add(trial.number)
        if fact.get("why") == "new":  # there is nothing to be chosen for
            return []
        return [f"trial {trial.number} goes on to the end ({self._unit} {self._top})"]

    def _mishap(self, fact: Fact) -> list[str]:
        said = _MISHAPS.get(Outcome(fact["outcome"]))
        if said is None:
            return []
        trial = self._study.trials[fact["number"]]
        lines = str(fact.get("error", "")).strip().splitlines()
        reason = f": {lines[-1][:_WIDTH]}" if lines else ""
        where = f"trial {trial.number} {said} at {self._unit} {trial.step}"
        return [f"{where}{reason}; now {fact['state']}"]
