"""A campaign on batch jobs, made fact by fact: a test says what happened, and when."""

from __future__ import annotations

from daskhpo.campaign import Campaign
from daskhpo.cluster.batch import BatchJob, Blame, Phase
from daskhpo.store.directory import CampaignDirectory

SETTINGS = {
    "name": "first",
    "metric": "loss",
    "space": {"x": {"type": "float", "low": 0, "high": 1}},
    "scheduler": {"type": "asha", "max_step": 9, "eta": 3},
    "sampler": "random",
    "pool": {"kind": "slurm"},
}
START = 1_000_000.0  # when it begins, in seconds since 1970
SYSTEM = ("PREEMPTED", "TIMEOUT", "NODE_FAIL", "CANCELLED")


class Batched:
    """A study whose facts are kept, with times; with a path also in a campaign directory."""

    def __init__(self, path=None, *, gpus=4, cpus=8, **settings):
        self.campaign = Campaign.from_mapping(SETTINGS | settings)
        self.facts = []
        self.gpus, self.cpus = gpus, cpus
        self._now, self._writer, self.path = START, None, path
        if path is not None:
            directory = CampaignDirectory(path)
            directory.create(self.campaign.to_mapping())
            self._writer = directory.writer(now=lambda: self._now)
        self.study = self.campaign.study(self._keep)

    def at(self, seconds):
        """What is told from here on happens ``seconds`` after the campaign began."""
        self._now = START + seconds
        return self

    def starts(self, batch, node="", *, began=None, **more):
        """A batch job has got its nodes."""
        began = self._now - START if began is None else began
        self._note(batch, Phase.RUNNING, "RUNNING", began, nodes=node, **more)

    def waits(self, batch, **more):
        """A batch job is in the queue."""
        job = BatchJob(batch, Phase.PENDING, "PENDING", **more)
        self.study.note("batch", **job.to_fact())

    def ends(self, batch, state="COMPLETED", *, began, node="", ended=None, **more):
        """A batch job is over."""
        if state in SYSTEM:
            more.setdefault("blame", Blame.SYSTEM)
        ended = self._now if ended is None else START + ended
        self._note(batch, Phase.ENDED, state, began, nodes=node, ended=ended, **more)

    def begins(self, *batches, gpus=None, ranks=1, worker=None):
        """The study's next job goes to a worker of each of these batch jobs."""
        job = self.study.ask()
        gpus = self.gpus * len(batches) if gpus is None else gpus
        place = {"number": job.number, "attempt": job.attempt, "gpus": gpus, "ranks": ranks}
        workers = [worker or f"{batch}-0" for batch in batches]
        self.study.note("placed", **place, workers=workers, batches=list(batches))
        return job

    def reports(self, number, step, value):
        """Report a trial's loss from its current attempt; returns the decision."""
        attempt = self.study.trials[number].attempt
        return self.study.report(number, attempt, step, {"loss": value}).decision

    def leaves(self, number, outcome, seconds=0.0, **how):
        """End a trial's current job."""
        attempt = self.study.trials[number].attempt
        return self.study.tell(number, attempt, outcome, seconds=seconds, **how)

    def close(self):
        """Give the directory's lock back."""
        if self._writer is not None:
            self._writer.close()
        return self

    def _note(self, batch, phase, state, began, **more):
        known = {"cpus": self.cpus, "gpus": self.gpus, "began": START + began}
        self.study.note("batch", **BatchJob(batch, phase, state, **known | more).to_fact())

    def _keep(self, fact):
        self.facts.append({"t": self._now, **fact})
        if self._writer is not None:
            self._writer.journal.append(dict(fact))
            self._writer.journal.commit(durable=False)


def preempted(made):
    """Fill a campaign: trial 0 reaches epoch 1, is promoted, preempted, and goes on elsewhere."""
    made.at(0).waits("17")
    made.at(10).starts("17", "node3")
    made.at(20).begins("17")
    made.at(50).reports(0, 1, 0.5)
    made.at(52).leaves(0, "paused", 30.0)
    for number, value in ((1, 0.6), (2, 0.7)):
        made.begins("17")
        made.at(60 + 10 * number).reports(number, 1, value)
        made.leaves(number, "paused", 8.0)
    made.at(90).begins("17")  # trial 0 again, towards epoch 3
    made.at(120).reports(0, 2, 0.4)
    made.at(130).ends("17", "PREEMPTED", began=10, node="node3")
    made.leaves(0, "evicted", 10.0, error="batch job 17 on node3: PREEMPTED")
    made.at(140).starts("21", "node1")
    made.at(150).begins("21")
    made.at(180).reports(0, 3, 0.3)
    made.at(182).leaves(0, "paused", 30.0)
    made.at(260).ends("21", began=140, node="node1")
    return made
