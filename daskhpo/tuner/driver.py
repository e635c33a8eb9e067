"""A study that writes down what happens: the part that every way of running has in common.

It knows the campaign directory, the budgets and the order in which things must reach the disk;
it knows neither Dask nor the objective.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from daskhpo.campaign import Budget, Campaign
from daskhpo.exceptions import StoreError
from daskhpo.store.directory import CampaignDirectory
from daskhpo.store.earlier import Earlier, Known
from daskhpo.store.requests import stop_requested
from daskhpo.trial import Answer, Fact, Job, Outcome, TrialState
from daskhpo.tuner.ledger import Ledger
from daskhpo.worker.inheritance import bequeath

if TYPE_CHECKING:
    from daskhpo.store.curves import CurveWriter

__all__ = ["Driver"]

logger = logging.getLogger(__name__)

REFRESH = 10.0  # seconds between two signs of life of the lock
FLUSH = 5.0  # seconds between two flushes of the curves, at least
HOPELESS = 5  # trials that fail before any has reported: then the campaign itself is at fault


class Driver:
    """Open a campaign for writing, replay it, and keep it.

    Parameters
    ----------
    campaign : Campaign
        Its settings.
    directory : CampaignDirectory
        Where it lies; it must have been created.
    budget : Budget
        When to end.
    earlier : sequence of Earlier
        What earlier campaigns have to teach; a campaign that has begun learns no more.
    clock : callable
        Seconds, rising.

    Attributes
    ----------
    study : Study
        At the end of the replay, trials that were running when the last driver left are waiting.

    Raises
    ------
    LockedError
        If another driver has the campaign.
    ReplayError, StoreError
        If the journal does not lead to its own decisions, or is damaged.
    """

    def __init__(
        self,
        campaign: Campaign,
        directory: CampaignDirectory,
        budget: Budget,
        *,
        earlier: Sequence[Earlier] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.campaign = campaign
        self.directory = directory
        self.budget = budget
        self._clock = clock
        self._began = clock()
        self._refreshed = self._flushed = self._began
        self.ledger = Ledger()
        self._writer = directory.writer()
        try:
            self.curves, self._apply_fact = _open_curves(campaign, directory, self.seq)
            self.study = campaign.study()
            self.study.replay(self._replayed())
            self.study.emit = self._emit
            self._take_over(earlier)
            self.commit(durable=True)
        except BaseException:
            self._writer.journal.discard()
            self._writer.lock.release()
            raise

    # ------------------------------------------------------------------ events

    def report(self, number: int, attempt: int, step: int, metrics: dict[str, float]) -> Answer:
        """See :meth:`daskhpo.study.Study.report`."""
        return self.study.report(number, attempt, step, metrics)

    def tell(
        self, number: int, attempt: int, outcome: Outcome, seconds: float, error: str, retry: bool
    ) -> TrialState:
        """See :meth:`daskhpo.study.Study.tell`; closes the campaign when nothing works at all."""
        state = self.study.tell(number, attempt, outcome, seconds=seconds, error=error, retry=retry)
        if state is TrialState.FAILED and not self.study.reports and self.study.closed is None:
            failed = [t for t in self.study.trials.values() if t.state is TrialState.FAILED]
            if len(failed) >= HOPELESS:
                self.study.close(f"the first {len(failed)} trials failed and none ever reported")
        return state

    def ask(self, *, inline: bool) -> Job | None:
        """The next job, unless a budget is spent.

        One that begins from another trial's checkpoint gets it here, while that is sure to be
        there: see :mod:`daskhpo.worker.inheritance`.
        """
        job = self.study.ask(inline=inline)
        if job is not None and job.parent is not None and job.attempt == 0:
            parent = self.directory.trial_path(job.parent)
            bequeath(parent, self.directory.trial_path(job.number), job.start)
        return job

    # ------------------------------------------------------------------ keeping

    def commit(self, *, durable: bool) -> None:
        """Acknowledge everything so far; call it before an answer or a job leaves.

        Raises
        ------
        StoreError
            If the disk refuses. Nothing that was acknowledged is lost; what was not may be
            reported again after the cause is mended and the campaign resumed.
        """
        self._writer.journal.commit(durable=durable)

    def tick(self) -> None:
        """What is due by the clock: the lock, the budgets, the curves."""
        now = self._clock()
        if now - self._refreshed > REFRESH:
            self._writer.lock.refresh()
            self._refreshed = now
        if now - self._flushed > FLUSH:
            self.flush()
            if self.study.closed is None and (asked := stop_requested(self.directory.path)):
                self.study.close(asked)
        if self.study.closed is None and (spent := self._spent()):
            self.study.close(spent)

    def flush(self) -> None:
        """Bring the curves up to the journal."""
        self.commit(durable=True)  # the curves must never know more than the journal
        self.curves.flush(self.seq)
        self._flushed = self._clock()

    def close(self) -> None:
        """Leave the campaign complete on disk, and give the lock back."""
        self.flush()
        self._writer.close()

    def abandon(self) -> None:
        """Give the campaign up without writing: after the disk has refused."""
        self._writer.journal.discard()
        self._writer.lock.release()

    @property
    def seq(self) -> int:
        """The number of the newest fact."""
        return self._writer.journal.seq

    @property
    def seconds(self) -> float:
        """How long this run has lasted."""
        return self._clock() - self._began

    @property
    def out_of_time(self) -> bool:
        """Whether this run has lasted for the hours it was given; the next one has its own."""
        return self.budget.hours is not None and self.seconds >= self.budget.hours * 3600

    @property
    def device_seconds(self) -> float:
        """What all trials have held so far, in seconds of one rank's device."""
        return self.study.seconds * self.campaign.workers.ranks

    # ------------------------------------------------------------------ opening

    def _replayed(self) -> Iterator[Fact]:
        """All facts; those that the curves have not seen go there on the way."""
        for fact in self.directory.facts():
            self.ledger.read(fact)
            if fact["seq"] > self.curves.journal_seq:
                self._apply_fact(fact)
            yield fact

    def _take_over(self, earlier: Sequence[Earlier]) -> None:
        """Make a replayed study ready to go on."""
        study = self.study
        new = self.seq == study.known  # what it has learned is all that has happened so far
        if new:
            self._learn(earlier)
        if study.closed is not None:
            study.reopen()
        for number in sorted(study.running):
            trial = study.trials[number]
            study.tell(number, trial.attempt, Outcome.INTERRUPTED, error="its driver went away")
        changed = self.budget.trials is not None and self.budget.trials != study.limit
        if changed or (new and study.known):  # any such fact says that learning is over
            study.set_limit(self.budget.trials)
        for point in list(self.campaign.points)[study.next_number :]:
            study.offer(point, origin="user")

    def _learn(self, earlier: Sequence[Earlier]) -> None:
        """Teach the study what it does not know yet: a driver may have died while it did this."""
        study, told = self.study, set[str]()
        if study.known:
            facts = self.directory.facts()
            told = {Known(fact["params"], fact["steps"], fact["metrics"]).key for fact in facts}
        for store in earlier:
            logger.info("warm start: %s", store)
            for known in store.known:
                if known.key not in told:
                    study.learn(known.params, known.steps, known.metrics)

    def _emit(self, fact: Fact) -> None:
        self._writer.journal.append(fact)
        self._apply_fact(fact)
        self.ledger.read(fact)

    def _spent(self) -> str:
        """Which budget is spent, in words; empty while none is."""
        budget = self.budget
        if budget.steps is not None and self.study.steps >= budget.steps:
            return f"the budget of {budget.steps} steps is spent"
        if self.out_of_time:
            return f"the budget of {budget.hours:g} hours is spent"
        if budget.device_hours is not None and self.device_seconds >= budget.device_hours * 3600:
            return f"the budget of {budget.device_hours:g} device-hours is spent"
        gpu_hours = self.campaign.pool.gpu_hours
        if gpu_hours is not None and self.ledger.gpu_hours(time.time()) >= gpu_hours:
            return f"the budget of {gpu_hours:g} GPU-hours of batch jobs is spent"
        return ""


def _open_curves(
    campaign: Campaign, directory: CampaignDirectory, seq: int
) -> tuple[CurveWriter, Callable[[Fact], None]]:
    """The curves, to be written, and what brings a fact to them.

    They derive from the journal: a store that is damaged, or knows of facts after ``seq`` (which a
    power failure can leave behind), is thrown away, and the replay fills a new one.
    """
    # Not at the top: workers import this module with the user's script, and have no use for
    # zarr, whose import costs them half a second and 50 MB each.
    from daskhpo.store.curves import CurveWriter, apply_fact

    def open_writer() -> CurveWriter:
        return CurveWriter(
            directory.curves_path,
            metric=campaign.metric,
            direction=campaign.mode,
            unit=campaign.unit,
            max_step=campaign.study().scheduler.max_step,
            attrs={"also": dict(campaign.also)} if campaign.also else None,
        )

    try:
        curves = open_writer()
        why = "" if curves.journal_seq <= seq else f"it knows facts after {seq}"
    except StoreError as error:
        why = str(error)
    if why:
        logger.warning("%s is made anew from the journal: %s", directory.curves_path, why)
        shutil.rmtree(directory.curves_path, ignore_errors=True)
        curves = open_writer()
    return curves, partial(apply_fact, curves)
