"""Campaigns made fact by fact, so that a test decides what happened."""

from __future__ import annotations

import pytest

from daskhpo.advice import learn
from daskhpo.campaign import Campaign
from daskhpo.store.directory import CampaignDirectory

SETTINGS = {
    "name": "first",
    "metric": "loss",
    "space": {"x": {"type": "float", "low": 0, "high": 1}},
    "scheduler": {"type": "asha", "max_step": 9, "eta": 3},
    "sampler": "random",
}

_ENDED = {"pause": "paused", "stop": "stopped"}


class Made:
    """A campaign directory, and the study whose facts go into its journal, a second apart."""

    def __init__(self, path, **settings):
        self.campaign = Campaign.from_mapping(SETTINGS | settings)
        self.directory = CampaignDirectory(path)
        self.directory.create(self.campaign.to_mapping())
        self._now = 100.0
        self._writer = self.directory.writer(now=lambda: self._now)
        self.study = self.campaign.study(self._keep)
        self.path = path
        self._curves = {}  # {number: as train() was given it}

    def report(self, number, step, value, **more):
        """Report the metric of a trial's current attempt."""
        metrics = {self.campaign.metric: value, **more}
        return self.study.report(number, self.study.trials[number].attempt, step, metrics)

    def tell(self, number, outcome, **how):
        """End a trial's current job."""
        return self.study.tell(number, self.study.trials[number].attempt, outcome, **how)

    def pause_at(self, *values):
        """Begin as many trials; each reports its value at step 1, and pauses."""
        for value in values:
            job = self.study.ask()
            assert self.report(job.number, 1, value).decision == "pause"
            self.tell(job.number, "paused", seconds=2.0)

    def train(self, *curves):
        """One worker trains new trials along these curves; whoever is promoted goes on."""
        fresh = list(curves)
        while fresh:
            job = self.study.ask()
            if job.number not in self._curves:
                self._curves[job.number] = fresh.pop(0)
            self.go_on(job)

    def go_on(self, job):
        """Train a trial along its curve until it leaves; models learn whatever is due."""
        for step in range(job.start + 1, self.study.scheduler.max_step + 1):
            decision = self.report(job.number, step, self._curves[job.number][step - 1]).decision
            self.learn()
            if decision != "continue":
                break
        ended = "completed" if step == self.study.scheduler.max_step else _ENDED[decision]
        self.tell(job.number, ended, seconds=1.0)

    def learn(self):
        """Fit what is due, as a driver does."""
        if self.study.adviser is None:
            return
        forecaster = self.study.adviser.forecaster
        for lesson in forecaster.due():
            learned = learn(lesson)
            forecaster.take(learned)
            told = {"step": learned.step, "target": learned.target, "labels": learned.labels}
            told |= {"error": learned.error, "baseline": learned.baseline, "seconds": 0.1}
            self.study.note("lesson", **told, **learned.record)

    def close(self):
        self._writer.close()
        return self

    def _keep(self, fact):
        self._now += 1.0
        self._writer.journal.append(fact)
        self._writer.journal.commit(durable=False)


@pytest.fixture
def make(tmp_path):
    """Make a campaign; settings replace those of a small ASHA study."""
    made = []

    def build(**settings):
        made.append(Made(tmp_path / f"campaign{len(made)}", **settings))
        return made[-1]

    yield build
    for one in made:
        one.close()
