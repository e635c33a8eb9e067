"""Where the end of a job leaves its trial."""

from __future__ import annotations

from daskhpo.trial import Decision, Outcome, Trial, TrialState

__all__ = ["settle"]

# A trial that has lost its worker this often without a new step is its own worst enemy: what
# kills the worker is most likely the trial (memory), and every further try costs a node.
MAX_LOSSES = 3


def settle(
    trial: Trial, outcome: Outcome, error: str, *, retry: bool, done: bool, metric: str
) -> TrialState:
    """The state that a trial takes when its job has ended; counts its failures and losses.

    A decision that was given stands, however the job ended afterwards; only a failure while
    pausing is a failure still, since it left no checkpoint to be promoted from.

    Parameters
    ----------
    trial : Trial
        Changed in place: ``failures``, ``losses`` and, when it is given up, ``error``.
    outcome : Outcome
        How the job left its worker.
    error : str
        What went wrong, for people.
    retry : bool
        Whether a trial that fails may try again.
    done : bool
        Whether the trial has trained to its last step.
    metric : str
        The metric that it had to report.

    Examples
    --------
    >>> settle(Trial(0, {}), Outcome.LOST, "node down", retry=True, done=False, metric="loss")
    <TrialState.WAITING: 'waiting'>
    """
    if trial.error:
        return TrialState.FAILED
    if trial.decision is Decision.STOP:
        return TrialState.COMPLETED if done else TrialState.STOPPED
    if outcome is Outcome.FAILED:
        trial.failures += 1
        trial.error = "" if retry else error
        return TrialState.WAITING if retry else TrialState.FAILED
    if trial.decision is Decision.PAUSE:
        return TrialState.PAUSED
    if outcome is Outcome.LOST:
        trial.losses += 1
        if trial.losses >= MAX_LOSSES:
            trial.error = f"lost its worker {trial.losses} times without a new step: {error}"
            return TrialState.FAILED
    if outcome is Outcome.COMPLETED:
        if trial.metrics:
            return TrialState.COMPLETED
        trial.error = f"ended without ever reporting {metric!r}"
        return TrialState.FAILED
    return TrialState.WAITING
