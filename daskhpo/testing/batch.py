"""What every batch system must do, whichever way it is asked."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator

from daskhpo.cluster.batch import BatchJob, BatchSystem, Blame, Phase

__all__ = ["BatchSuite"]

SLEEP = "sleep 600"
PAUSE = 0.1  # seconds between two questions to a batch system


class BatchSuite:
    """What every :class:`daskhpo.cluster.batch.BatchSystem` must do.

    Attributes
    ----------
    patience : float
        Seconds until anything that should happen has happened.
    crowd : int
        Batch jobs of :meth:`script` that fill the batch system, so that the next one waits.

    Examples
    --------
    In a test module of your own:

    >>> import pathlib, tempfile
    >>> from daskhpo.cluster.processes import Processes
    >>> class TestProcesses(BatchSuite):
    ...     crowd = 1
    ...
    ...     def make(self):
    ...         return Processes(pathlib.Path(tempfile.mkdtemp()), slots=1)
    >>> TestProcesses().test_a_batch_job_that_fails_is_told_from_one_that_does_not()
    """

    patience = 60.0
    crowd = 4

    def make(self) -> BatchSystem:
        """Return the batch system under test, with no batch job of ours in it."""
        raise NotImplementedError(f"{type(self).__name__} must say how to make a batch system")

    def script(self, body: str) -> str:
        """Return a batch script that runs ``body``, with the directives that this system needs."""
        return f"#!/bin/bash\n{body}\n"

    # ---------------------------------------------------------------- what it must do

    def test_nothing_is_listed_and_nothing_cancelled_before_anything_is_submitted(self) -> None:
        """It is empty, and says so."""
        with self.system() as system:
            assert system.jobs() == {}
            system.cancel([])

    def test_a_batch_job_is_listed_from_its_submission_to_its_end(self) -> None:
        """Without being named; it begins before it ends, and runs somewhere."""
        with self.system() as system:
            id = self.submit(system, SLEEP)
            assert id in system.jobs()
            job = self.wait(system, id, Phase.RUNNING)
            assert id in system.jobs()
            assert job.state
            assert job.nodes
            assert abs(time.time() - job.began) < 2 * self.patience
            assert job.ends > job.began
            assert math.isnan(job.ended)
            assert job.blame is Blame.UNKNOWN

    def test_one_that_has_ended_is_answered_when_it_is_named(self) -> None:
        """With when it began and ended; asked for nothing, only what is alive is told as alive."""
        with self.system() as system:
            id = self.submit(system, "exit 0")
            job = self.wait(system, id, Phase.ENDED)
            assert job.began <= job.ended
            assert 0 <= job.seconds < self.patience
            alive = [each for each in system.jobs().values() if each.phase is not Phase.ENDED]
            assert alive == []
            assert system.jobs([id])[id].to_fact() == job.to_fact()

    def test_a_batch_job_that_fails_is_told_from_one_that_does_not(self) -> None:
        """By its state; neither end is the system's doing."""
        with self.system() as system:
            good = self.wait(system, self.submit(system, "exit 0"), Phase.ENDED)
            bad = self.wait(system, self.submit(system, "exit 3"), Phase.ENDED)
            assert good.state != bad.state
            assert good.blame is not Blame.SYSTEM
            assert bad.blame is not Blame.SYSTEM
            assert "3" in str(bad), f"its exit code is in no word about it: {bad}"

    def test_a_running_batch_job_that_is_cancelled_ends_by_the_systems_doing(self) -> None:
        """What trained there goes on elsewhere, for free."""
        with self.system() as system:
            id = self.submit(system, SLEEP)
            self.wait(system, id, Phase.RUNNING)
            system.cancel([id])
            job = self.wait(system, id, Phase.ENDED)
            assert job.blame is Blame.SYSTEM
            assert job.began <= job.ended

    def test_a_batch_job_waits_where_there_is_no_room_and_begins_when_there_is(self) -> None:
        """And has not begun before."""
        with self.system() as system:
            crowd = [self.submit(system, SLEEP) for _ in range(self.crowd)]
            for id in crowd:
                self.wait(system, id, Phase.RUNNING)
            last = self.submit(system, SLEEP)
            time.sleep(5 * PAUSE)
            job = system.jobs()[last]
            assert job.phase is Phase.PENDING
            assert math.isnan(job.began)
            system.cancel(crowd[:1])
            self.wait(system, last, Phase.RUNNING)

    def test_a_waiting_batch_job_that_is_cancelled_never_begins(self) -> None:
        """Its end is the system's doing too."""
        with self.system() as system:
            for _ in range(self.crowd):
                self.wait(system, self.submit(system, SLEEP), Phase.RUNNING)
            id = self.submit(system, SLEEP)
            system.cancel([id])
            job = self.wait(system, id, Phase.ENDED)
            assert job.blame is Blame.SYSTEM
            assert not job.seconds > 0

    def test_cancelling_what_is_over_or_forgotten_is_no_error(self) -> None:
        """And does not keep the others from being cancelled."""
        with self.system() as system:
            over = self.submit(system, "exit 0")
            self.wait(system, over, Phase.ENDED)
            id = self.submit(system, SLEEP)
            system.cancel([over, self.forgotten(over), id])
            self.wait(system, id, Phase.ENDED)
            system.cancel([id])
            assert system.jobs([over])[over].blame is not Blame.SYSTEM

    def test_what_it_has_forgotten_is_missing_from_the_answer(self) -> None:
        """And the rest is in it."""
        with self.system() as system:
            id = self.submit(system, SLEEP)
            unknown = self.forgotten(id)
            assert set(system.jobs([unknown, id])) == {id}

    def test_every_batch_job_is_a_fact(self) -> None:
        """Which is plain JSON, has an id of its own and can be read back."""
        with self.system() as system:
            ended = self.wait(system, self.submit(system, "exit 0"), Phase.ENDED)
            ids = [self.submit(system, SLEEP) for _ in range(2)]
            jobs = system.jobs([ended.id])
            assert set(jobs) == {*ids, ended.id}
            assert len(jobs) == 3
            for id, job in jobs.items():
                assert job.id == id
                fact = json.loads(json.dumps(job.to_fact()))
                assert BatchJob.from_fact(fact).to_fact() == fact

    def test_a_script_that_runs_passes_the_check(self) -> None:
        """Nothing is submitted by it."""
        with self.system() as system:
            system.check(self.script("exit 0"))
            assert system.jobs() == {}

    # ---------------------------------------------------------------- how it is asked

    @contextlib.contextmanager
    def system(self) -> Iterator[BatchSystem]:
        """The batch system, which is left as it was."""
        system = self.make()
        try:
            yield system
        finally:
            system.cancel(list(system.jobs()))
            self.until(lambda: not self.alive(system), "cancelled batch jobs to end")

    def submit(self, system: BatchSystem, body: str) -> str:
        """Submit a batch job that runs ``body``."""
        return system.submit(self.script(body))

    def wait(self, system: BatchSystem, id: str, phase: Phase) -> BatchJob:
        """The batch job, once it has come to a phase."""
        self.until(lambda: system.jobs([id])[id].phase is phase, f"{id} to be {phase.value}")
        return system.jobs([id])[id]

    def forgotten(self, id: str) -> str:
        """An id like this one that no batch job has."""
        return str(int(id) + 50_000)

    def alive(self, system: BatchSystem) -> list[str]:
        """Ids of those that are listed and not over."""
        return [id for id, job in system.jobs().items() if job.phase is not Phase.ENDED]

    def until(self, happened: Callable[[], bool], what: str) -> None:
        """Wait for something, for as long as there is patience."""
        deadline = time.monotonic() + self.patience
        while not happened():
            assert time.monotonic() < deadline, f"waited in vain for {what}"
            time.sleep(PAUSE)
