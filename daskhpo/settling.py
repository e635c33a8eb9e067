"""Where reports, their answers and the end of a job leave a trial."""

from __future__ import annotations

from collections.abc import Mapping

from daskhpo.trial import Answer, Decision, Outcome, Trial, TrialState

__all__ = ["diverge", "follow", "note", "settle", "standing"]

# A trial that has lost its worker this often without a new step is its own worst enemy: what
# kills the worker is most likely the trial (memory), and every further try costs a node.
MAX_LOSSES = 3


def note(
    trial: Trial, step: int, metrics: Mapping[str, float], *, metric: str, sign: float
) -> bool:
    """Note a report; whether the trial has never been better.

    Parameters
    ----------
    trial : Trial
        Changed in place: its values; losses are forgiven.
    step, metrics : int, mapping
        The report.
    metric : str
        The metric that decides.
    sign : float
        +1 to minimise it, -1 to maximise it.

    Examples
    --------
    >>> trial = Trial(0, {})
    >>> [note(trial, n, {"loss": v}, metric="loss", sign=1.0) for n, v in enumerate([3, 2, 2])]
    [True, True, False]
    """
    trial.value, trial.metrics = metrics[metric], metrics
    trial.losses = 0
    if sign * trial.best_value <= sign * trial.value:  # never for nan, before the first report
        return False
    trial.best_value, trial.best_step = trial.value, step
    return True


def follow(trial: Trial, answer: Answer) -> None:
    """Let a decision stand; one to go on says up to where, and may say beyond which rung."""
    trial.decision = answer.decision
    if answer.decision is Decision.CONTINUE:
        trial.stop = answer.stop
        if "rung" in answer.evidence:
            trial.rung = answer.evidence["rung"] + 1


def diverge(trial: Trial, step: int, fault: str) -> Answer:
    """End a trial that has reported what is no number."""
    trial.error = f"{fault} at step {step}"
    trial.decision = Decision.STOP
    return Answer(Decision.STOP, step, {"why": "diverged", "error": trial.error})


def standing(trial: Trial, step: int, closed: str | None) -> Answer:
    """The answer to a report that is not judged: of a step before, or beyond a decision.

    ``closed`` says why nothing may go on, if nothing may.
    """
    if step >= trial.step and trial.decision is not Decision.CONTINUE:
        return Answer(trial.decision, step)
    if closed is not None:
        return Answer(Decision.PAUSE, step, {"why": closed})
    # A pause may stand at a step beyond its milestone: it is given there, not before.
    return Answer(Decision.CONTINUE, max(trial.stop, trial.step))


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
