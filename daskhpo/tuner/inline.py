"""Run a campaign in this very process, one trial at a time: for a debugger, and for tests."""

from __future__ import annotations

import math

from daskhpo.trial import Answer, Decision, Job, Outcome
from daskhpo.tuner.driver import Driver
from daskhpo.tuner.school import learn_at_once
from daskhpo.worker.perform import Ending, perform
from daskhpo.worker.session import Session
from daskhpo.worker.work import Work

__all__ = ["run_inline"]


class _Direct:
    """A channel that needs no wire: every report is judged at once."""

    interrupted = False
    ends = math.inf

    def __init__(self, driver: Driver, job: Job) -> None:
        self._driver = driver
        self._job = job
        self._answer: Answer | None = None

    def send(self, step: int, metrics: dict[str, float], *, urgent: bool) -> None:
        self._answer = self._driver.report(self._job.number, self._job.attempt, step, metrics)
        learn_at_once(self._driver.study)
        self._driver.commit(durable=self._answer.decision is not Decision.CONTINUE)
        self._driver.tick()

    def wait(self, step: int) -> Answer:
        return self._answer or Answer(Decision.STOP, step)

    def poll(self) -> Answer | None:
        return self._answer


def run_inline(driver: Driver, work: Work, *, catch: bool) -> None:
    """Train job after job until nothing is left.

    Parameters
    ----------
    driver : Driver
        The open campaign.
    work : Work
        What to call.
    catch : bool
        Whether an exception of the objective is a failed trial; otherwise it is raised here, so
        that a debugger stops where it happened.
    """
    while True:
        driver.tick()
        job = driver.ask(inline=True)
        driver.commit(durable=True)
        if job is None:
            return
        session = Session(work, job, _Direct(driver, job))
        ending = perform(work.objective, session) if catch else _bare(work, session, driver, job)
        driver.tell(
            job.number, job.attempt, ending.outcome, ending.seconds, ending.error, ending.retry
        )


def _bare(work: Work, session: Session, driver: Driver, job: Job) -> Ending:
    """Call the objective with nothing around it; a raised exception leaves the trial waiting."""
    try:
        return Ending(session.finish(work.objective(session)), session.seconds)
    except BaseException as error:
        text = f"{type(error).__name__}: {error}"
        driver.tell(job.number, job.attempt, Outcome.INTERRUPTED, session.seconds, text, True)
        driver.commit(durable=True)
        raise
