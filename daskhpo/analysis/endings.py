"""How batch jobs, and the stays of trials on them, came to their ends: in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from daskhpo.cluster.batch import BatchJob, Blame, Phase
from daskhpo.trial import Fact, Outcome, Trial, TrialState
from daskhpo.wording import duration

__all__ = ["cause", "culprit", "ending", "fate", "fate_word", "places"]

_FATES = {  # {the batch system's word: what happened to the batch job}
    "BOOT_FAIL": "got a node that did not boot",
    "CANCELLED": "was cancelled",
    "COMPLETED": "ended by itself",
    "DEADLINE": "was ended at its deadline",
    "FAILED": "failed",
    "NODE_FAIL": "lost its node",
    "OUT_OF_MEMORY": "ran out of memory",
    "PREEMPTED": "was preempted",
    "REQUEUED": "was put back into the queue",
    "REVOKED": "was revoked",
    "TIMEOUT": "ran out of walltime",
}

_BROKEN = {  # {how a stay broke off: why, where nobody says more}
    Outcome.EVICTED: "its worker is gone",
    Outcome.FAILED: "no reason given",
    Outcome.INTERRUPTED: "its worker had to go",
    Outcome.LOST: "its worker is gone",
}
_STANDS = "The decision that was given before stands"


def fate(job: BatchJob) -> str:
    """What became of a batch job, and after how long.

    Use it wherever people read why a trial had to go elsewhere; a word of the batch system that
    is not known here is quoted.

    Parameters
    ----------
    job : BatchJob
        As it was last seen.

    Examples
    --------
    >>> fate(BatchJob("17", Phase.ENDED, "PREEMPTED", nodes="node3", began=0.0, ended=720.0))
    'batch job 17 on node3 was preempted after 12 min'
    >>> fate(BatchJob("18", Phase.ENDED, "EXIT", reason="code 9"))
    'batch job 18 ended: EXIT (code 9)'
    """
    where = f" on {job.nodes}" if job.nodes else ""
    more = f" ({job.reason})" if job.reason not in ("", "None", job.state) else ""
    said = f"batch job {job.id}{where} {fate_word(job)}{more}"
    if job.phase is Phase.ENDED and math.isfinite(job.seconds):
        said += f" after {duration(max(0.0, job.seconds))}"
    return said


def fate_word(job: BatchJob) -> str:
    """What became of a batch job, without saying which one.

    Examples
    --------
    >>> fate_word(BatchJob("17", Phase.ENDED, "CANCELLED by 1000"))
    'was cancelled'
    >>> fate_word(BatchJob("17", Phase.RUNNING, "RUNNING"))
    'is running'
    """
    if job.phase is Phase.RUNNING:
        return "is running"
    if job.phase is Phase.PENDING:
        return "waits in the queue"
    word = job.state.split()[0].rstrip("+") if job.state else ""  # Slurm's "CANCELLED+"
    return _FATES.get(word, f"ended: {job.state}" if job.state else "ended")


def culprit(jobs: Iterable[BatchJob]) -> BatchJob | None:
    """Which of a trial's batch jobs took the others with it: the first that is over.

    One whose end has somebody to blame comes before those that ended by themselves.

    Examples
    --------
    >>> first = BatchJob("17", Phase.ENDED, "COMPLETED", ended=5.0)
    >>> second = BatchJob("18", Phase.ENDED, "NODE_FAIL", blame=Blame.SYSTEM, ended=9.0)
    >>> culprit([first, second]).id, culprit([])
    ('18', None)
    """
    over = [job for job in jobs if job.phase is Phase.ENDED]

    def rank(job: BatchJob) -> tuple[bool, float]:
        return job.blame is Blame.UNKNOWN, job.ended if math.isfinite(job.ended) else math.inf

    return min(over, key=rank, default=None)


def cause(outcome: Outcome, error: str, jobs: Iterable[BatchJob]) -> str:
    """Why a stay did not end as it was meant to; empty if it did.

    Parameters
    ----------
    outcome : Outcome
        How it ended.
    error : str
        What went wrong, as its ``ended`` fact says.
    jobs : iterable of BatchJob
        Those that it was on.

    Examples
    --------
    >>> job = BatchJob("17", Phase.ENDED, "TIMEOUT", blame=Blame.SYSTEM, nodes="node3")
    >>> cause(Outcome.EVICTED, "", [job])
    'batch job 17 on node3 ran out of walltime'
    >>> cause(Outcome.INTERRUPTED, "", [job])
    'batch job 17 on node3 ran out of walltime'
    >>> cause(Outcome.FAILED, "Traceback ...\\nValueError: no such file", [])
    'ValueError: no such file'
    """
    if outcome not in _BROKEN:
        return ""
    lines = error.strip().splitlines()
    guilty = None if outcome is Outcome.INTERRUPTED and lines else _guilty(outcome, jobs)
    return fate(guilty) if guilty is not None else lines[-1] if lines else _BROKEN[outcome]


def ending(fact: Fact, trial: Trial, jobs: Iterable[BatchJob], *, retries: int, unit: str) -> str:
    """How a stay ended that failed, was lost or evicted, and what follows from it.

    Parameters
    ----------
    fact : dict
        Its ``ended`` fact.
    trial : Trial
        As that left it.
    jobs : iterable of BatchJob
        Those that it was on.
    retries : int
        How often a trial may fail and be tried again.
    unit : str
        What the campaign calls a step.

    Examples
    --------
    >>> job = BatchJob("17", Phase.ENDED, "TIMEOUT", blame=Blame.SYSTEM, nodes="node3")
    >>> fact = {"kind": "ended", "outcome": "evicted", "state": "waiting"}
    >>> ending(fact, Trial(0, {}), [job], retries=1, unit="epoch").split(". ")[0]
    'its batch job 17 on node3 ran out of walltime'
    """
    outcome, state = Outcome(fact["outcome"]), TrialState(fact["state"])
    guilty = _guilty(outcome, jobs)
    lines = fact.get("error", "").strip().splitlines()
    said = lines[-1] if lines else "no reason given"
    if outcome is Outcome.FAILED:
        how = f"failed: {said if guilty is None else f'its {fate(guilty)}'}"
        return f"{how}. {_after_failure(trial, state, fact.get('retry', True), retries)}"
    how = f"{'lost' if outcome is Outcome.LOST else 'had to leave'} its worker ({said})"
    how = how if guilty is None else f"its {fate(guilty)}"
    return f"{how}. {_after_loss(trial, outcome, state, unit)}"


def places(jobs: Sequence[BatchJob]) -> str:
    """Which batch jobs a stay is on, and where those run.

    Examples
    --------
    >>> places([BatchJob("17", Phase.RUNNING, nodes="node3"), BatchJob("18", Phase.RUNNING)])
    'batch jobs 17 on node3 and 18'
    """
    names = [f"{job.id} on {job.nodes}" if job.nodes else job.id for job in jobs]
    several = "batch jobs" if len(names) > 1 else "batch job"
    *most, last = names
    listed = f"{', '.join(most)} and {last}" if most else last
    return f"{several} {listed}"


def _guilty(outcome: Outcome, jobs: Iterable[BatchJob]) -> BatchJob | None:
    """The batch job whose end is the reason; a trial may fail without any."""
    if outcome in (Outcome.EVICTED, Outcome.LOST):
        return culprit(jobs)
    if outcome is Outcome.FAILED:
        return culprit(job for job in jobs if job.blame is Blame.TRIAL)
    if outcome is Outcome.INTERRUPTED:  # its worker was told to go, and it saved in time
        return culprit(job for job in jobs if job.blame is Blame.SYSTEM)
    return None


def _after_failure(trial: Trial, state: TrialState, retry: bool, retries: int) -> str:
    if state is TrialState.WAITING:
        return (
            f"That was failure {trial.failures} of its own, {retries} may be tried "
            "again: it goes on from its last checkpoint"
        )
    if state is not TrialState.FAILED:
        return _STANDS
    if not retry:
        return "It would only fail the same way again, so it is given up"
    if trial.failures > retries:
        return f"That was failure {trial.failures}, {retries} may be tried again: it is given up"
    return "It is given up"


def _after_loss(trial: Trial, outcome: Outcome, state: TrialState, unit: str) -> str:
    if state is TrialState.WAITING:
        free = ", however often" if outcome is Outcome.EVICTED else ""
        return f"That is not its fault{free}: it goes on from its last checkpoint on another worker"
    if state is TrialState.FAILED and outcome is Outcome.LOST:
        return (
            f"Since it has now lost {trial.losses} workers without a new {unit} in between, it "
            "most likely kills them itself (memory), so it is given up"
        )
    return _STANDS
