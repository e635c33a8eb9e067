"""One trial's facts in words, in the order in which they happened."""

from __future__ import annotations

from dataclasses import dataclass, replace

from daskhpo.analysis.counsel import Counsel
from daskhpo.analysis.endings import ending, places
from daskhpo.analysis.judgements import Judgements, Wait
from daskhpo.campaign import Campaign
from daskhpo.cluster.batch import BatchJob, Phase
from daskhpo.samplers.base import Learner
from daskhpo.study import Study
from daskhpo.trial import Decision, Evidence, Fact, Outcome, TrialState
from daskhpo.wording import count, number
from daskhpo.wording import value as shown

__all__ = ["Moment", "Story"]

_LASTING = 2  # reports in a row that are told as one line from here on


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened to a trial: ``time`` in seconds since the campaign began."""

    time: float
    step: int
    text: str


class Story:
    """Collects the moments of one trial while a journal is read.

    Parameters
    ----------
    number : int
        The trial.
    study : Study
        Has seen every fact that :meth:`tell` is given.
    campaign : Campaign
        Its settings.

    Attributes
    ----------
    moments : list of Moment
        So far.

    Examples
    --------
    >>> campaign = Campaign.from_mapping({
    ...     "metric": "loss", "scheduler": {"type": "asha", "max_step": 9, "eta": 3},
    ...     "space": {"x": {"type": "float", "low": 0.0, "high": 1.0}}, "sampler": "random"})
    >>> facts = []
    >>> study = campaign.study(facts.append)
    >>> _ = study.ask(), study.report(0, 0, 1, {"loss": 0.5})
    >>> story = Story(0, study, campaign)
    >>> for time, fact in enumerate(facts):
    ...     story.tell({"t": time, **fact})
    >>> print(story.moments[1].text)
    epoch 1: loss 0.5 is the first value recorded there; one trial in 3 goes on, so it paused \
with a checkpoint until there are enough to compare with
    """

    def __init__(self, number: int, study: Study, campaign: Campaign) -> None:
        self.moments: list[Moment] = []
        self._number = number
        self._study = study
        self._unit = campaign.unit
        self._metric = campaign.metric
        self._retries = campaign.retries
        self._judgements = Judgements(study, campaign)
        self._counsel = Counsel(number, study, campaign)
        self._said: list[str] = []  # of the report that is told: what there is beside its judgement
        self._brackets = study.scheduler.settings().get("brackets", 1)
        self._origin = ""
        self._known = 0  # trials of earlier campaigns that the sampler has learned from
        self._began: float | None = None  # time of the campaign's first fact
        # (time, step, value) between milestones
        self._unjudged: list[tuple[float, int, float]] = []
        self._waits: Wait | None = None  # while it is paused
        self._batches: dict[str, BatchJob] = {}  # as they were last seen
        self._berths: list[str] = []  # batch jobs of the stay that goes on
        self._departure = ("", "")  # how its beginning is told: before and after where it is
        self._ending = False  # it paused because the campaign was ending

    def tell(self, fact: Fact) -> None:
        """Take a fact in, of this trial or any other."""
        time = fact.get("t", 0.0)
        if self._began is None:
            self._began = time
        self._said = self._counsel.hear(fact)
        if fact.get("number", self._number) != self._number:
            self._tell_other(fact)
            return
        text = getattr(self, f"_on_{fact['kind']}", _silent)(fact)
        if text:
            self._flush()
            self._note(time, fact.get("step", self._step), text)

    def close(self) -> None:
        """Tell what was held back."""
        self._flush()

    # ------------------------------------------------------------------ kinds of facts

    def _on_offered(self, fact: Fact) -> str:
        own = fact["origin"] == "user"
        self._origin = "given by the user" if own else "proposed by the sampler"
        if self._known and not own and isinstance(self._study.sampler, Learner):
            self._origin += f", which knew {count(self._known, 'trial')} of earlier campaigns"
        return ""

    def _on_known(self, fact: Fact) -> str:
        self._known += 1
        return ""

    def _on_bred(self, fact: Fact) -> str:
        evidence, parent = fact["evidence"], fact["parent"]
        before = self._study.trials[parent].params
        failed = ", which failed," if evidence["why"] == "failed" else ""
        changes = [
            f"{name} {shown(before[name])} -> {shown(given)}"
            for name, given in fact["params"].items()
            if given != before[name]
        ]
        return (
            f"took the place of trial {evidence['replaces']}{failed} with the weights of trial "
            f"{parent} at {self._unit} {fact['step']}, {', '.join(changes) or 'nothing changed'}. "
            f"That one is rank {evidence['rank']} of the {evidence['of']} recorded at "
            f"{self._unit} {evidence['milestone']} by then"
        )

    def _on_asked(self, fact: Fact) -> str:
        self._ending = False
        self._berths = []
        towards = self._towards(fact["stop"])
        bracket = f" in bracket {fact['rung']}" if self._brackets > 1 else ""
        if fact["why"] == "new":
            self._departure = ("began", f"{bracket} with a configuration {self._origin}, {towards}")
        elif fact["why"] == "bred":
            self._departure = ("began", f", {towards}")
        elif fact["why"] == "retry":
            seen = f", last seen at {self._unit} {fact['start']}" if fact["start"] else ""
            self._departure = ("went on", f" (attempt {fact['attempt'] + 1}{seen}), {towards}")
            return f"went back to a worker{self._departure[1]}"
        else:
            before = f"{self._promoted(fact['evidence'])} It goes on from its checkpoint"
            self._departure = (before, f", {towards}")
            return "".join(self._departure)
        return " on a worker".join(self._departure)

    def _on_noted(self, fact: Fact) -> str:
        """Where it is, and what becomes of the batch jobs there."""
        if fact["of"] == "batch":
            self._batches[fact["id"]] = BatchJob.from_fact(fact)
        elif fact["of"] == "placed" and self._departure[1]:
            self._berths = list(dict.fromkeys(filter(None, fact["batches"])))
            told = [n for n, m in enumerate(self.moments) if m.text.endswith(self._departure[1])]
            if self._berths and told:
                jobs = [self._batches.get(b, BatchJob(b, Phase.RUNNING)) for b in self._berths]
                text = f" in {places(jobs)}".join(self._departure)
                self.moments[told[-1]] = replace(self.moments[told[-1]], text=text)
        return ""

    def _on_promoted(self, fact: Fact) -> str:
        towards = self._towards(fact["stop"])
        return f"{self._promoted(fact['evidence'])} It goes on once it has paused, {towards}"

    def _on_reported(self, fact: Fact) -> str:
        evidence = fact.get("evidence", {})
        step, value = fact["step"], fact["metrics"].get(self._metric, float("nan"))
        decision = Decision(fact.get("decision", Decision.CONTINUE))
        if evidence.get("why") == "diverged":
            return f"{evidence['error']}: it cannot be judged and has failed"
        if decision is Decision.PAUSE and "rung" in evidence and "why" not in evidence:
            self._waits = Wait(evidence["milestone"], off=bool(evidence.get("advice")))
        text = self._judgements.of(step, value, decision, evidence)
        if self._said:
            text = "; ".join([text or self._judgements.report(step, value), *self._said])
        if not text:
            self._unjudged.append((fact.get("t", 0.0), step, value))
            return ""
        if "why" in evidence:
            self._ending = True
            text += f"; the campaign was ending ({evidence['why']}), so it paused with a checkpoint"
        return text

    def _on_ended(self, fact: Fact) -> str:
        outcome, state = Outcome(fact["outcome"]), TrialState(fact["state"])
        error = fact.get("error", "").strip()
        last = error.splitlines()[-1] if error else "no reason given"
        trial = self._study.trials[self._number]
        if outcome in (Outcome.FAILED, Outcome.LOST, Outcome.EVICTED):
            jobs = [self._batches[batch] for batch in self._berths if batch in self._batches]
            return ending(fact, trial, jobs, retries=self._retries, unit=self._unit)
        if outcome is Outcome.INTERRUPTED and not self._ending:
            why = last if error else "its worker had to go"
            return f"was interrupted ({why}). It goes on from its last checkpoint"
        if state is TrialState.FAILED and not trial.step:
            return trial.error
        if state is TrialState.COMPLETED and trial.step < self._study.scheduler.max_step:
            return f"the objective returned at {self._unit} {trial.step}, before the end"
        return ""

    def _on_closed(self, fact: Fact) -> str:
        return f"the campaign ended: {fact['reason']}" if self._open else ""

    def _on_reopened(self, fact: Fact) -> str:
        return "the campaign was resumed" if self._open else ""

    def _tell_other(self, fact: Fact) -> None:
        """Note who began from its checkpoint or took its place, and count who is compared."""
        evidence = fact.get("evidence", {})
        if fact["kind"] == "bred" and self._number in (fact["parent"], evidence["replaces"]):
            self._flush()
            mine = fact["parent"] == self._number
            how = f"began from its checkpoint of {self._unit} {fact['step']}"
            text = f"trial {fact['number']} {how if mine else 'took its place'}"
            self._note(fact.get("t", 0.0), self._step, text)
        # Others may come to the milestone at which it waits.
        if self._waits and fact["kind"] == "reported" and "rung" in evidence:
            self._waits = self._waits.after(evidence)

    # ------------------------------------------------------------------ inside

    def _promoted(self, evidence: Evidence) -> str:
        wait, self._waits = self._waits or Wait(), None
        return self._judgements.promotion(evidence, wait)

    @property
    def _step(self) -> int:
        trial = self._study.trials.get(self._number)
        return trial.step if trial else 0

    @property
    def _open(self) -> bool:
        trial = self._study.trials.get(self._number)
        return trial is not None and not trial.state.final

    def _towards(self, stop: int) -> str:
        end = "the end" if stop >= self._study.scheduler.max_step else "the next milestone"
        return f"towards {self._unit} {stop}, {end}"

    def _flush(self) -> None:
        """Tell the reports that nobody judged: one by one, or many as one line."""
        held, self._unjudged = self._unjudged, []
        if len(held) >= _LASTING:
            (_, first, start), (time, last, end) = held[0], held[-1]
            text = f"{self._unit}s {first} to {last}: {self._metric} went from {number(start)} "
            self._note(time, last, text + f"to {number(end)}")
            return
        for time, step, value in held:
            self._note(time, step, f"{self._unit} {step}: {self._metric} {number(value)}")

    def _note(self, time: float, step: int, text: str) -> None:
        assert self._began is not None
        self.moments.append(Moment(max(0.0, time - self._began), step, text))


def _silent(fact: Fact) -> str:
    """Facts that say nothing about a single trial."""
    return ""
